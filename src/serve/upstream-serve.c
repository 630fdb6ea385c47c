/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/upstream-serve.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "serve/http-syntax.h"
#include "serve/oci.h"
#include "serve/pump.h"
#include "serve/server-internal.h"

enum {
	BLOCK = 128 << 10,
	/* A body of up to this is complete and verified before the status is sent. */
	READY_BYTES = 256 << 10,
	NAR_HASH_LEN = 52, /* characters */
};

struct upstream_ask upstream_ask_for(const struct request *req)
{
	return (struct upstream_ask){req->server->upstreams, req->settings, req->view};
}

int upstream_get_narinfo(struct request *req, const char *hash_part, struct buf *ret,
			 struct err *err)
{
	struct upstream_ask ask = upstream_ask_for(req);

	if (!req->view->upstreams.len)
		return err->code;
	return upstream_narinfo(&ask, hash_part, ret, err);
}

/* ---- A body that is still coming ---- */

struct along {
	struct flight *flight; /* a reference */
	uint64_t offset;       /* of the body */
};

static ssize_t read_along(void *cls, uint64_t pos, char *buf, size_t max)
{
	struct along *a = cls;
	struct err err = ERR_INIT;
	size_t got;

	if (flight_read(a->flight, a->offset + pos, buf, max, &got, &err) < 0) {
		log_error("a response broke off: %s", err.text);
		return MHD_CONTENT_READER_END_WITH_ERROR;
	}
	return got ? (ssize_t)got : MHD_CONTENT_READER_END_OF_STREAM;
}

static void free_along(void *cls)
{
	struct along *a = cls;

	flight_unref(a->flight);
	free(a);
}

/* Takes over the reference. */
static void send_along(struct request *req, struct flight *f, unsigned status,
		       struct byte_range range)
{
	struct along *a = xmalloc(sizeof(*a));
	uint64_t len = range.last - range.first + 1;

	*a = (struct along){f, range.first};
	req->status = status;
	req->response =
		pump_response(req, len, &(struct pump_source){read_along, free_along, a, BLOCK});
	if (!req->response)
		abort(); /* out of memory for a small allocation */
	req->response_bytes = len;
}

/* Nothing is sent before all of it is right, so what has no bytes waits for the end. Takes over the
 * reference. */
static int send_nothing(struct request *req, struct flight *f, struct err *err)
{
	int r = flight_wait(f, err);

	flight_unref(f);
	if (r == 0)
		respond_empty(req, 200);
	return r;
}

static void refuse_range(struct request *req, uint64_t size)
{
	request_refuse(req, 416, "the range is outside of the %llu bytes",
		       (unsigned long long)size);
	respond_header(req, "Content-Range", "bytes */%llu", (unsigned long long)size);
}

static void along_headers(struct request *req, const struct content_reply *reply)
{
	respond_header(req, "Content-Type", "%s", reply->content_type);
	respond_header(req, "Accept-Ranges", "bytes");
	if (reply->tag)
		respond_header(req, "ETag", "\"%s\"", reply->tag);
	if (reply->encode)
		respond_header(req, "Vary", "Accept-Encoding");
}

/* Takes over the reference. */
static int respond_along(struct request *req, struct flight *f, const struct content_reply *reply,
			 struct err *err)
{
	struct slice header = request_header(req, "Range");
	struct byte_range range;
	enum range_kind kind = RANGE_WHOLE;
	uint64_t size;
	int r = flight_size(f, &size, err);

	if (r == 0 && header.data && !request_header(req, "If-Range").data)
		kind = http_range_parse(&range, header, size);
	if (r == 0)
		r = flight_ready(f, size < READY_BYTES ? size : READY_BYTES, err);
	if (r < 0 || kind == RANGE_BAD) {
		flight_unref(f);
		if (r == 0)
			refuse_range(req, size);
		return r;
	}
	if (kind == RANGE_WHOLE)
		range = (struct byte_range){0, size - 1};
	if (size)
		send_along(req, f, kind == RANGE_PART ? 206 : 200, range);
	else
		r = send_nothing(req, f, err);
	if (r < 0)
		return r;
	along_headers(req, reply);
	if (kind == RANGE_PART)
		respond_header(req, "Content-Range", "bytes %llu-%llu/%llu",
			       (unsigned long long)range.first, (unsigned long long)range.last,
			       (unsigned long long)size);
	return 0;
}

/* ---- NARs ---- */

/* "<NarHash>.nar" and the parameter `hash`, as our narinfos have them. */
static bool nar_address(const struct request *req, const char *name, struct hash *ret_nar_hash,
			char *ret_hash_part)
{
	return strlen(name) == NAR_HASH_LEN + 4 && strcmp(name + NAR_HASH_LEN, ".nar") == 0 &&
	       hash_parse(ret_nar_hash, HASH_SHA256, slice_make(name, NAR_HASH_LEN)) == 0 &&
	       query_get(ret_hash_part, STORE_HASH_LEN + 1, req->query, "hash", 0) == 1;
}

bool upstream_answer_nar(struct request *req, const char *name, struct err *err)
{
	struct content_reply reply = {.content_type = "application/x-nix-nar", .encode = true};
	struct upstream_ask ask = upstream_ask_for(req);
	char hash_part[STORE_HASH_LEN + 1];
	struct hash nar_hash;
	struct flight *f = NULL;
	uint64_t size;
	int r;

	if (err->code != E_NOTFOUND || !ask.view->upstreams.len ||
	    !nar_address(req, name, &nar_hash, hash_part))
		return false;
	if (req->method == HTTP_HEAD) {
		if (upstream_nar_size(&ask, hash_part, &nar_hash, &size, err) < 0)
			return false;
		respond_content_head(req, size, &reply);
		return true;
	}
	r = upstream_nar(&ask, hash_part, &nar_hash, &f, err);
	if (r == 0)
		r = respond_along(req, f, &reply, err);
	if (r == E_EXISTS) {
		r = store_nar_stat(ask.view->view, name, &size, err);
		if (r == 0)
			req->handler->end(req);
	}
	return r == 0;
}

int upstream_get_document(struct request *req, enum store_tree tree, const char *name,
			  struct content **ret, struct err *err)
{
	struct upstream_ask ask = upstream_ask_for(req);

	if (err->code != E_NOTFOUND || upstream_document(&ask, tree, name, err) < 0)
		return err->code;
	return store_document_open(ask.view->view, tree, name, ret, err);
}

/* ---- Manifests ---- */

static bool names_paths(const char *tag)
{
	return strnlen(tag, STORE_HASH_LEN) == STORE_HASH_LEN &&
	       store_hash_part_check(slice_make(tag, STORE_HASH_LEN)) == 0;
}

/* `nix`, `nix/<hash>/…`, `nix/package`. */
static bool is_made(const char *repository)
{
	if (strcmp(repository, "nix") == 0 || strcmp(repository, "nix/package") == 0)
		return true;
	return strncmp(repository, "nix/", 4) == 0 && names_paths(repository + 4) &&
	       strchr("/", repository[4 + STORE_HASH_LEN]);
}

/* Fetches the closures of the paths that a name has: hash parts with a separator between them, and perhaps
 * more behind the last one. */
static int fetch_list(const struct upstream_ask *ask, const char *list, char separator,
		      struct err *err)
{
	char hash_part[STORE_HASH_LEN + 1];

	for (const char *at = list;; at += STORE_HASH_LEN + 1) {
		if (!names_paths(at))
			return E_NOTFOUND;
		memcpy(hash_part, at, STORE_HASH_LEN);
		hash_part[STORE_HASH_LEN] = '\0';
		if (upstream_closure(ask, hash_part, err) < 0)
			return err->code;
		if (at[STORE_HASH_LEN] != separator)
			return 0;
	}
}

static int fetch_named(const struct upstream_ask *ask, const char *repository, const char *tag,
		       struct err *err)
{
	if (strncmp(repository, "nix/", 4) == 0 && names_paths(repository + 4) &&
	    fetch_list(ask, repository + 4, '/', err) < 0)
		return err->code;
	return fetch_list(ask, tag, '.', err);
}

void upstream_refresh_tag(struct request *req, const char *repository, const char *reference)
{
	struct upstream_ask ask = upstream_ask_for(req);
	struct err err = ERR_INIT;

	if (!ask.view->upstreams.len || is_made(repository))
		return;
	/* What is stored is better than nothing. */
	if (upstream_tag(&ask, repository, reference, &err) < 0 && err.code != E_NOTFOUND)
		log_warn("tag %s of %s is perhaps out of date: %s", reference, repository,
			 err.text);
}

bool upstream_get_manifest(struct request *req, const char *repository, const char *reference,
			   struct err *err)
{
	struct upstream_ask ask = upstream_ask_for(req);

	if (err->code != E_NOTFOUND || !ask.view->upstreams.len)
		return false;
	if (is_made(repository) && names_paths(reference))
		return fetch_named(&ask, repository, reference, err) == 0;
	return upstream_manifest(&ask, repository, reference, err) == 0;
}

void upstream_refresh_referrers(struct request *req, const char *repository,
				const struct hash *subject)
{
	struct upstream_ask ask = upstream_ask_for(req);
	struct err err = ERR_INIT;

	if (ask.view->upstreams.len && !is_made(repository) &&
	    upstream_referrers(&ask, repository, subject, &err) < 0)
		log_warn("referrers in %s are perhaps out of date: %s", repository, err.text);
}

/* ---- Blobs ---- */

static bool may_have_blobs(const struct request *req, const char *repository, const struct err *err)
{
	return err->code == E_NOTFOUND && req->view->upstreams.len && !is_made(repository) &&
	       upstream_covers(req->view, repository);
}

int upstream_blob_stat(struct request *req, const char *repository, const struct hash *digest,
		       uint64_t *ret, struct err *err)
{
	struct upstream_ask ask = upstream_ask_for(req);

	if (!may_have_blobs(req, repository, err))
		return err->code;
	return upstream_blob_size(&ask, repository, digest, ret, err);
}

bool upstream_answer_blob(struct request *req, const char *repository, const struct hash *digest,
			  const struct content_reply *reply, struct err *err)
{
	struct upstream_ask ask = upstream_ask_for(req);
	struct content *content;
	struct flight *f = NULL;
	int r;

	if (!may_have_blobs(req, repository, err))
		return false;
	r = upstream_blob(&ask, repository, digest, &f, err);
	if (r == 0)
		r = respond_along(req, f, reply, err);
	if (r == E_EXISTS) {
		r = store_blob_open(ask.view->view, repository, digest, &content, err);
		if (r == 0)
			respond_content(req, content, reply);
	}
	return r == 0;
}

/* ---- Whose repository ---- */

bool upstream_namespace(struct request *req)
{
	char host[300], asked[REPOSITORY_MAX + 1], name[REPOSITORY_MAX + 1];
	const struct upstream_settings *up = NULL;
	int r;

	if ((req->method != HTTP_GET && req->method != HTTP_HEAD) || !req->route.name.len ||
	    !upstream_has_registry(req->view))
		return true;
	r = query_get(host, sizeof(host), req->query, "ns", 0);
	if (r == 0)
		return true;
	if (r > 0 && slice_to_text(asked, sizeof(asked), req->route.name))
		up = upstream_of_host(req->view, host, asked, name);
	if (!up) {
		oci_respond(req, 404, "NAME_UNKNOWN",
			    "the registry that the parameter ns names is no upstream here");
		return false;
	}
	req->repository = xstrdup(name);
	req->route.name = slice_str(req->repository);
	req->oci_namespace = up->where;
	return true;
}
