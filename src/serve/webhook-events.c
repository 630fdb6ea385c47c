/* SPDX-License-Identifier: Apache-2.0 */
/* From a request to the events that it makes. */
#include <jansson.h>
#include <sys/random.h>
#include <time.h>

#include <nacre/encode.h>
#include <nacre/reference.h>

#include "base/pattern.h"
#include "serve/server-internal.h"
#include "serve/webhook.h"

enum { ID_SIZE = 16 };

/* What happened, and to what. */
struct happening {
	const char *type;
	bool cache;
	char name[2 * REPOSITORY_MAX + 2]; /* full, of the repository or cache */
	struct slice object;               /* tag, digest or hash part; borrowed */
};

/* POST /admin/delete: route.name is what it was about (admin-http.c). */
static bool find_removal(const struct request *req, struct happening *ret)
{
	struct slice what = req->route.name;
	const uint8_t *mark;

	if (!slice_equal_str(req->route.arg, "delete") || !what.len)
		return false;
	ret->cache = what.data[0] == '/';
	ret->type = ret->cache ? "nacre.path.delete" : "nacre.manifest.delete";
	mark = ret->cache ? memrchr(what.data, '/', what.len) : memchr(what.data, '@', what.len);
	if (!mark)
		mark = memrchr(what.data, ':', what.len);
	if (!mark)
		return false;
	ret->object = what;
	slice_advance(&ret->object, (size_t)(mark + 1 - what.data));
	if (ret->cache) {
		ret->object.len = ret->object.len < STORE_HASH_LEN ? 0 : STORE_HASH_LEN;
		snprintf(ret->name, sizeof(ret->name), "%s",
			 req->view->name_len ? req->view->name : "/");
	} else {
		snprintf(ret->name, sizeof(ret->name), "%.*s", (int)(mark - what.data),
			 (const char *)what.data);
	}
	return true;
}

static bool find_happening(const struct request *req, struct happening *ret)
{
	const struct route *r = &req->route;

	if (!req->handler || req->status / 100 != 2)
		return false;
	if (r->endpoint == ENDPOINT_ADMIN)
		return find_removal(req, ret);
	ret->object = r->arg;
	if (r->endpoint == ENDPOINT_MANIFEST && req->handler->access == ACCESS_WRITE)
		ret->type = "nacre.manifest.push";
	else if (r->endpoint == ENDPOINT_MANIFEST && req->handler->access == ACCESS_DELETE)
		ret->type = "nacre.manifest.delete";
	else if (r->endpoint == ENDPOINT_NARINFO && req->handler->access == ACCESS_WRITE)
		ret->type = "nacre.path.bound";
	else if (r->endpoint == ENDPOINT_NARINFO && req->handler->access == ACCESS_DELETE)
		ret->type = "nacre.path.delete";
	else
		return false;
	ret->cache = r->endpoint == ENDPOINT_NARINFO;
	if (ret->cache)
		snprintf(ret->name, sizeof(ret->name), "%s",
			 req->view->name_len ? req->view->name : "/");
	else
		snprintf(ret->name, sizeof(ret->name), "%s%.*s", req->view->prefix,
			 (int)r->name.len, (const char *)r->name.data);
	return true;
}

static void add_text(json_t *map, const char *key, struct slice text)
{
	json_t *value = text.len ? json_stringn((const char *)text.data, text.len) : NULL;

	if (value)
		json_object_set_new(map, key, value);
}

static json_t *make_data(const struct request *req, const struct happening *h)
{
	const char *digest = MHD_get_response_header(req->response, "Docker-Content-Digest");
	json_t *data = json_object();

	add_text(data, h->cache ? "cache" : "repository", slice_str(h->name));
	add_text(data, h->cache ? "hashPart" : "reference", h->object);
	if (digest)
		add_text(data, "digest", slice_str(digest));
	if (req->user)
		add_text(data, "user", slice_str(req->user));
	add_text(data, "request", slice_str(req->id));
	return data;
}

/* SPEC cloudevents 1.0: id and source together name an event for ever. */
static char *make_body(const struct request *req, const struct happening *h)
{
	char id[2 * ID_SIZE + 1], now[40], source[sizeof(h->name) + 8];
	struct timespec ts;
	uint8_t random[ID_SIZE];
	struct tm tm;
	json_t *event;
	char *text;

	if (getrandom(random, sizeof(random), 0) < 0)
		return NULL;
	hex_encode(id, random, sizeof(random));
	id[2 * ID_SIZE] = '\0';
	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	strftime(now, sizeof(now), "%Y-%m-%dT%H:%M:%SZ", &tm);
	if (h->cache)
		snprintf(source, sizeof(source), "/%s", req->view->name);
	else
		snprintf(source, sizeof(source), "/v2/%s", h->name);
	event = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o}", "specversion", "1.0", "id", id,
			  "source", source, "type", h->type, "time", now, "datacontenttype",
			  "application/json", "data", make_data(req, h));
	if (event)
		add_text(event, "subject", h->object);
	text = event ? json_dumps(event, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
	json_decref(event);
	return text;
}

void webhooks_request(struct webhooks *w, const struct request *req)
{
	const struct webhook_settings *s = &req->settings->webhooks;
	struct happening h;
	char *body = NULL;

	if (!s->n || !find_happening(req, &h))
		return;
	for (size_t i = 0; i < s->n; i++) {
		const struct webhook *hook = &s->hooks[i];

		if (!patterns_fit(h.cache ? &hook->caches : &hook->repositories, h.name))
			continue;
		if (!body)
			body = make_body(req, &h);
		if (!body)
			return;
		webhooks_submit(w, req->settings, hook, body);
	}
	free(body);
}
