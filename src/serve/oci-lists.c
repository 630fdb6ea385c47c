/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of tags, repositories and referrers (SPEC dist-1.1 end-8, end-12, _catalog): pages that
 * cost what they hold. */
#include <nacre/encode.h>
#include <nacre/json.h>

#include "serve/answers.h"
#include "serve/oci.h"
#include "serve/policy.h"
#include "serve/server-internal.h"
#include "serve/upstream-serve.h"

enum {
	/* Also what a request without `n` gets; what is left is behind the Link. */
	PAGE_MAX = 10000,
	CATALOG_STEP = 1000, /* names that are looked at in one query, where few may be seen */
	REFERRERS_PAGE = 256,
	REFERRERS_BYTES = 4 << 20, /* clients take no larger index */
	LAST_MAX = 512,            /* bytes of `last` */
	PAGE_KEY_MAX = 256,
	NAMES_BYTES = PAGE_MAX * (2 * REPOSITORY_MAX + 3) + 1024,
};

struct page {
	size_t n;
	bool nothing; /* n=0 */
	bool has_last;
	char last[LAST_MAX];
};

/* False: answered. */
static bool read_page(struct request *req, struct page *ret)
{
	char text[24];
	uint64_t n = PAGE_MAX;
	int has_n = query_get(text, sizeof(text), req->query, "n", 0);
	int has_last = query_get(ret->last, sizeof(ret->last), req->query, "last", 0);

	if (has_n && (has_n < 0 || parse_u64(&n, slice_str(text)) < 0)) {
		oci_respond(req, 400, NULL, "the parameter n is no number");
		return false;
	}
	if (has_last < 0) {
		oci_respond(req, 400, NULL, "the parameter last is malformed");
		return false;
	}
	ret->n = n < PAGE_MAX ? (size_t)n : PAGE_MAX;
	ret->nothing = n == 0;
	ret->has_last = has_last == 1 && ret->last[0];
	return true;
}

/* {"name": …, "tags": […]}, written as the names come: a tree for a page of names, or a copy of each,
 * costs more than finding them. */
struct names_page {
	struct store_names names;
	struct buf body;
	size_t n; /* names in it */
	char last[LAST_MAX];
};

/* `name` may be NULL. */
static void page_begin(struct names_page *p, const char *name, const char *key)
{
	buf_add_str(&p->body, "{");
	if (name) {
		buf_add_str(&p->body, "\"name\":");
		json_write_text(&p->body, slice_str(name));
		buf_add_str(&p->body, ",");
	}
	buf_addf(&p->body, "\"%s\":[", key);
}

static int page_take(struct store_names *self, struct slice name, struct err *err)
{
	struct names_page *p = container_of(self, struct names_page, names);

	if ((p->n++ && buf_add(&p->body, ",", 1) < 0) || json_write_text(&p->body, name) < 0)
		return err_set(err, E_LIMIT, "the page is too large");
	/* Of tags and repositories, which are shorter. */
	slice_to_text(p->last, sizeof(p->last), name);
	return 0;
}

/* Says where the next page begins, if there is one; NULL otherwise. */
static char *page_end(struct names_page *p, const char *path, const struct page *page, bool more)
{
	char query[1024] = "", last[900] = "";

	buf_add_str(&p->body, "]}");
	if (!more || !p->n || uri_encode(last, sizeof(last), slice_str(p->last)) < 0)
		return NULL;
	snprintf(query, sizeof(query), "last=%s&n=%zu", last, page->n);
	return oci_link_next(path, query);
}

/* What a page is kept by beside its repository: the arguments of its question. What is longer than
 * clients make them is not kept. */
static bool page_key(char ret[PAGE_KEY_MAX], const struct request *req)
{
	char arg[DIGEST_TEXT_MAX] = "", query[PAGE_KEY_MAX] = "";
	int n;

	if (!slice_to_text(arg, sizeof(arg), req->route.arg) ||
	    !slice_to_text(query, sizeof(query), req->query))
		return false;
	n = snprintf(ret, PAGE_KEY_MAX, "%s?%s", arg, query);
	return n > 0 && n < PAGE_KEY_MAX;
}

/* A page that was made a moment ago; private repositories are not told apart here, since the rules
 * were asked before. */
static bool page_recall(struct request *req)
{
	char repository[REPOSITORY_MAX + 1], key[PAGE_KEY_MAX];
	CLEANUP(answer_release) struct answer *a = NULL;

	if (slice_to_text(repository, sizeof(repository), req->route.name) && page_key(key, req))
		a = answers_find(req, repository, key);
	if (a)
		respond_answer(req, a);
	return a != NULL;
}

static void page_keep(struct request *req, const char *repository,
		      const struct answer_source *source, struct buf *body)
{
	CLEANUP(answer_release) struct answer *a = NULL;
	char key[PAGE_KEY_MAX];

	/* Too long a key is not kept. */
	a = answers_keep(req, repository, page_key(key, req) ? key : NULL, source, body);
	respond_answer(req, a);
}

static int nothing_take(struct store_names *self, struct slice name, struct err *err)
{
	(void)self, (void)name, (void)err;
	return 0;
}

/* SPEC dist-1.1 end-8a, end-8b */
static void tags_end(struct request *req)
{
	char repository[REPOSITORY_MAX + 1];
	struct names_page names = {.names = {.take = page_take}, .body = {.max = NAMES_BYTES}};
	struct answer_source source = {.changes = store_changes(req->server->store),
				       .content_type = "application/json"};
	cleanup_free char *name = NULL, *path = NULL, *link = NULL;
	struct page page = {0};
	struct store_page wanted;
	struct err err = ERR_INIT;
	bool more = false;

	if (!oci_repository(req, repository) || !read_page(req, &page))
		return;
	wanted = (struct store_page){page.nothing ? 1 : page.n, page.has_last ? page.last : NULL};
	/* n=0 asks whether there is such a repository. */
	if (page.nothing)
		names.names.take = nothing_take;
	name = xasprintf("%s%s", req->view->prefix, repository);
	page_begin(&names, name, "tags");
	if (store_tags(request_view(req), repository, &wanted, &names.names, &more, &err) < 0) {
		buf_release(&names.body);
		oci_fail(req, OCI_NAME, &err);
		return;
	}
	path = xasprintf("/v2/%s%s/tags/list", req->view->prefix, repository);
	link = page_end(&names, path, &page, more);
	source.link = link;
	page_keep(req, repository, &source, &names.body);
}

static void tags_recall(struct request *req)
{
	page_recall(req);
}

/* ---- The catalog: repositories of all views, as far as the user may read them ---- */

/* Where a page of this view begins, in its own names; false: the view lies before the page. `ret` is
 * NULL for its start. */
static bool view_start(const struct view_settings *v, const char *last, const char **ret)
{
	size_t n = strlen(v->prefix);
	int order = last ? strncmp(last, v->prefix, n) : -1;

	*ret = order == 0 && last ? last + n : NULL;
	if (*ret && !**ret)
		*ret = NULL;
	return order <= 0;
}

/* Adds up to `n` names of a view that the user may see. */
static int catalog_view(struct request *req, const struct view_settings *v,
			const struct store_page *page, struct strv *ret, struct err *err)
{
	cleanup_free char *last = NULL;
	const char *start;
	size_t added = 0, step = page->n;
	bool more = true;

	if (!view_start(v, page->last, &start))
		return 0;
	last = start ? xstrdup(start) : NULL;
	while (more && added < page->n) {
		const struct store_page wanted = {step, last};
		struct names_list found = NAMES_LIST_INIT;
		cleanup_strv struct strv names = {0};
		int r = store_catalog(v->view, &wanted, &found.names, &more, err);

		names = found.list;
		if (r < 0)
			return r;
		for (size_t i = 0; i < names.len && added < page->n; i++) {
			cleanup_free char *name = xasprintf("%s%s", v->prefix, names.items[i]);

			/* A repository whose name belongs to another view by now has no address. */
			if (settings_view(req->settings, slice_str(name)) != v ||
			    !policy_may_pull(req, name))
				continue;
			strv_add(ret, name);
			added++;
		}
		free(last);
		last = names.len ? xstrdup(names.items[names.len - 1]) : NULL;
		more = more && last;
		/* Who may see few of many asks for few: not a query for each of those between. */
		step = step < CATALOG_STEP ? CATALOG_STEP : step;
	}
	return 0;
}

static void catalog_end(struct request *req)
{
	cleanup_strv struct strv names = {0};
	struct names_page shown = {.names = {.take = page_take}, .body = {.max = NAMES_BYTES}};
	cleanup_free char *link = NULL;
	struct page page = {0};
	struct store_page wanted;
	struct err err = ERR_INIT;
	int r = 0;

	if (!policy_admit_catalog(req) || !read_page(req, &page))
		return;
	/* One more than is shown tells whether there are more. */
	wanted = (struct store_page){page.n + 1, page.has_last ? page.last : NULL};
	for (size_t i = 0; !page.nothing && r >= 0 && i < req->settings->n_views; i++)
		r = catalog_view(req, &req->settings->views[i], &wanted, &names, &err);
	if (r < 0) {
		oci_fail(req, OCI_NAME, &err);
		return;
	}
	strv_sort_unique(&names);
	page_begin(&shown, NULL, "repositories");
	for (size_t i = 0; i < names.len && i < page.n; i++)
		shown.names.take(&shown.names, slice_str(names.items[i]), &err);
	link = page_end(&shown, "/v2/_catalog", &page, names.len > page.n);
	respond_buf(req, 200, "application/json", &shown.body);
	if (link)
		respond_header(req, "Link", "%s", link);
}

/* One page. Descriptors carry annotations, so what fits in a page is found by trying. */
static int referrers_page(struct request *req, const char *repository, struct referrers_query *q,
			  struct buf *ret, uint64_t *ret_after, struct err *err)
{
	for (;;) {
		int r;

		buf_release(ret);
		/* A single one has to fit, however large. */
		*ret = BUF_INIT(q->n > 1 ? REFERRERS_BYTES : 2 * MANIFEST_BYTES_MAX);
		*err = ERR_INIT;
		r = store_referrers(request_view(req), repository, q, ret, ret_after, err);
		if (r != E_LIMIT || q->n == 1)
			return r;
		q->n = (q->n + 3) / 4;
	}
}

static char *link_referrers(struct request *req, const char *repository, const char *type,
			    uint64_t after)
{
	char more[900], encoded[800] = "";
	cleanup_free char *path = NULL;
	char text[DIGEST_TEXT_MAX];

	slice_to_text(text, sizeof(text), req->route.arg);
	path = xasprintf("/v2/%s%s/referrers/%s", req->view->prefix, repository, text);
	if (type && uri_encode(encoded, sizeof(encoded), slice_str(type)) < 0)
		return NULL;
	snprintf(more, sizeof(more), "after=%llu%s%s", (unsigned long long)after,
		 type ? "&artifactType=" : "", encoded);
	return oci_link_next(path, more);
}

/* SPEC dist-1.1 end-12a, end-12b */
static void referrers_end(struct request *req)
{
	char repository[REPOSITORY_MAX + 1], type[MEDIA_TYPE_MAX + 1], after_text[24];
	struct referrers_query q = {.n = REFERRERS_PAGE};
	struct answer_source source = {.changes = store_changes(req->server->store),
				       .content_type = MT_OCI_INDEX};
	cleanup_buf struct buf body = {0};
	cleanup_free char *link = NULL;
	struct err err = ERR_INIT;
	uint64_t after = 0;
	int has_type, has_after;

	if (!oci_repository(req, repository) || !oci_digest(req, req->route.arg, &q.subject))
		return;
	has_type = query_get(type, sizeof(type), req->query, "artifactType", 0);
	has_after = query_get(after_text, sizeof(after_text), req->query, "after", 0);
	if (has_type < 0 || has_after < 0 ||
	    (has_after && parse_u64(&q.after, slice_str(after_text)) < 0)) {
		oci_respond(req, 400, NULL, "the parameters are malformed");
		return;
	}
	q.artifact_type = has_type && type[0] ? type : NULL;
	upstream_refresh_referrers(req, repository, &q.subject);
	if (referrers_page(req, repository, &q, &body, &after, &err) < 0) {
		oci_fail(req, OCI_MANIFEST, &err);
		return;
	}
	if (after)
		link = link_referrers(req, repository, q.artifact_type, after);
	source.link = link;
	page_keep(req, repository, &source, &body);
	if (q.artifact_type)
		respond_header(req, "OCI-Filters-Applied", "artifactType");
}

static void referrers_recall(struct request *req)
{
	char type[MEDIA_TYPE_MAX + 1];

	/* Those of another registry's may be out of date by now. */
	if (!req->view->upstreams.len && page_recall(req) &&
	    query_get(type, sizeof(type), req->query, "artifactType", 0) > 0 && type[0])
		respond_header(req, "OCI-Filters-Applied", "artifactType");
}

const struct handler tags_get = {.end = tags_end, .recall = tags_recall};
const struct handler catalog_get = {.end = catalog_end};
const struct handler referrers_get = {.end = referrers_end, .recall = referrers_recall};
