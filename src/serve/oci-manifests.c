/* SPDX-License-Identifier: Apache-2.0 */
/* Manifests (SPEC dist-1.1 end-3, end-7, end-9). */
#include <pthread.h>

#include "serve/answers.h"
#include "serve/content.h"
#include "serve/oci.h"
#include "serve/upstream-serve.h"

enum { TAGS_PER_PUT_MAX = 64 };

/* Tag or digest, as text; `ret` has DIGEST_TEXT_MAX bytes, which a tag fits in, too. */
static bool read_reference(struct request *req, char *ret)
{
	struct slice text = req->route.arg;
	struct hash digest;

	_Static_assert((int)DIGEST_TEXT_MAX > (int)TAG_MAX, "a tag fits");
	if (text.len && memchr(text.data, ':', text.len))
		return oci_digest(req, text, &digest) && slice_to_text(ret, DIGEST_TEXT_MAX, text);
	if (tag_check(text) == 0 && slice_to_text(ret, DIGEST_TEXT_MAX, text))
		return true;
	/* What cannot be there is not there; to put it there is another matter. */
	if (req->handler->access == ACCESS_READ)
		oci_respond(req, 404, "MANIFEST_UNKNOWN", "this is neither a tag nor a digest");
	else
		oci_invalid(req, OCI_MANIFEST, "'%.*s' is neither a tag nor a digest",
			    (int)(text.len < 200 ? text.len : 200), (const char *)text.data);
	return false;
}

/* SPEC dist-1.1: a repository that does not exist is another error than a manifest that does
 * not. */
static void not_there(struct request *req, const char *repository, const struct err *err)
{
	struct err ignored = ERR_INIT;

	if (err->code == E_NOTFOUND && !err->sys_errno &&
	    store_repository_exists(request_view(req), repository, &ignored) == 0)
		oci_fail(req, OCI_NAME, err);
	else
		oci_fail(req, OCI_MANIFEST, err);
}

/* Looks at the upstreams, too, if there are any. */
static int get_manifest(struct request *req, const char *repository, const char *reference,
			struct manifest_bytes *ret, struct err *err)
{
	int r;

	upstream_refresh_tag(req, repository, reference);
	r = store_manifest_get(request_view(req), repository, reference, ret, err);
	if (r == E_NOTFOUND && upstream_get_manifest(req, repository, reference, err))
		r = store_manifest_get(request_view(req), repository, reference, ret, err);
	return r < 0 ? err->code : 0;
}

/* The answer is the type that was stored, whatever the client says that it accepts: there is no
 * other, and clients that say nothing mean all. */
static struct answer *read_manifest(struct request *req, const char *repository,
				    const char *reference, struct err *err)
{
	cleanup_manifest_bytes struct manifest_bytes m = {0};
	struct answer_source source = {.changes = store_changes(req->server->store)};

	if (get_manifest(req, repository, reference, &m, err) < 0)
		return NULL;
	source.content_type = m.media_type;
	source.digest = &m.digest;
	return answers_keep(req, repository, reference, &source, &m.bytes);
}

static void respond_manifest(struct request *req, struct answer *a)
{
	respond_entity(req, a);
	respond_header(req, "Docker-Content-Digest", "%s", a->digest);
	/* The type is the pusher's word: no browser shall take it for a page. */
	respond_header(req, "X-Content-Type-Options", "nosniff");
	respond_header(req, "Content-Security-Policy", "sandbox");
}

static void manifest_recall(struct request *req)
{
	char repository[REPOSITORY_MAX + 1], reference[DIGEST_TEXT_MAX];
	CLEANUP(answer_release) struct answer *a = NULL;

	if (!slice_to_text(repository, sizeof(repository), req->route.name) ||
	    !slice_to_text(reference, sizeof(reference), req->route.arg))
		return;
	/* A tag of another registry's may be out of date by now. */
	if (req->view->upstreams.len && !strchr(reference, ':'))
		return;
	a = answers_find(req, repository, reference);
	if (a)
		respond_manifest(req, a);
}

/* SPEC dist-1.1 end-3 */
static void manifest_get_end(struct request *req)
{
	char repository[REPOSITORY_MAX + 1], reference[DIGEST_TEXT_MAX];
	CLEANUP(answer_release) struct answer *a = NULL;
	struct err err = ERR_INIT;

	if (!oci_repository(req, repository) || !read_reference(req, reference))
		return;
	a = read_manifest(req, repository, reference, &err);
	if (a)
		respond_manifest(req, a);
	else
		not_there(req, repository, &err);
}

/* What a PUT holds. */
struct put_state {
	char repository[REPOSITORY_MAX + 1];
	char reference[DIGEST_TEXT_MAX];
	char media_type[MEDIA_TYPE_MAX + 1]; /* empty: the document says it */
	struct strv tags;
};

static void put_state_free(void *arg)
{
	struct put_state *s = arg;

	strv_release(&s->tags);
	free(s);
}

/* SPEC dist-1.1 end-7b */
static bool read_tags(struct request *req, struct put_state *s)
{
	char tag[TAG_MAX + 1];

	for (size_t i = 0;; i++) {
		int r = query_get(tag, sizeof(tag), req->query, "tag", i);

		if (r == 0)
			return true;
		if (i == TAGS_PER_PUT_MAX) {
			oci_respond(req, 414, NULL, "too many tags in one request");
			return false;
		}
		if (r < 0 || tag_check(slice_str(tag)) < 0) {
			oci_invalid(req, OCI_MANIFEST, "a parameter tag is no tag");
			return false;
		}
		strv_add(&s->tags, tag);
	}
}

static void manifest_put_begin(struct request *req)
{
	struct put_state *s = xcalloc(1, sizeof(*s));
	struct slice type = http_media_type(request_header(req, "Content-Type"));
	uint64_t max = req->settings->limits.manifest_max_bytes;

	req->state = s;
	req->state_release = put_state_free;
	req->body.max = (size_t)max;
	if (!oci_repository(req, s->repository) || !read_reference(req, s->reference) ||
	    !read_tags(req, s))
		return;
	if (!slice_to_text(s->media_type, sizeof(s->media_type), type))
		oci_invalid(req, OCI_MANIFEST, "Content-Type is no media type");
	else if (req->content_length > (int64_t)max)
		oci_respond(req, 413, "SIZE_INVALID", "the manifest is too large");
}

static void manifest_put_body(struct request *req, const void *data, size_t len)
{
	if (buf_add(&req->body, data, len) < 0)
		oci_respond(req, 413, "SIZE_INVALID", "the manifest is too large");
}

static void put_headers(struct request *req, const struct put_state *s,
			const struct manifest_put_result *result)
{
	char text[DIGEST_TEXT_MAX];

	digest_format(text, &result->digest);
	respond_header(req, "Location", "/v2/%s%s/manifests/%s", req->view->prefix, s->repository,
		       text);
	respond_header(req, "Docker-Content-Digest", "%s", text);
	for (size_t i = 0; i < s->tags.len; i++)
		respond_header(req, "OCI-Tag", "%s", s->tags.items[i]);
	if (result->has_subject) {
		digest_format(text, &result->subject);
		respond_header(req, "OCI-Subject", "%s", text);
	}
	/* SPEC dist-1.1 warnings: the image stands, but what it claims of store paths does not. */
	if (result->paths_refused && !strpbrk(result->refusal, "\"\\"))
		respond_header(
			req, "Warning",
			"299 - \"%zu store paths of this image are not in the cache: %.700s\"",
			result->paths_refused, result->refusal);
}

struct condition {
	struct manifest_condition condition;
	struct slice if_match, if_none_match;
};

static bool condition_holds(const struct manifest_condition *self, const struct hash *is)
{
	const struct condition *c = container_of(self, struct condition, condition);
	char text[DIGEST_TEXT_MAX], etag[DIGEST_TEXT_MAX + 2];

	if (!is)
		return !c->if_match.data;
	digest_format(text, is);
	snprintf(etag, sizeof(etag), "\"%s\"", text);
	return (!c->if_match.data || http_etag_listed(c->if_match, etag)) &&
	       (!c->if_none_match.data || !http_etag_listed(c->if_none_match, etag));
}

/* SPEC rfc-9110 13.1.1, 13.1.2: what a client says about the manifest that stands, so as not to
 * undo what another one did (the lists of referrers that clients keep under tags). A tag that a proxy
 * has made weak is as good as ours: it names the bytes. NULL: it says nothing. */
static const struct manifest_condition *read_condition(struct request *req, struct condition *ret)
{
	*ret = (struct condition){
		.condition = {condition_holds},
		.if_match = request_header(req, "If-Match"),
		.if_none_match = request_header(req, "If-None-Match"),
	};
	return ret->if_match.data || ret->if_none_match.data ? &ret->condition : NULL;
}

/* SPEC dist-1.1 end-7a */
static void manifest_put_end(struct request *req)
{
	struct put_state *s = req->state;
	struct condition condition;
	struct manifest_put put = {
		.reference = s->reference,
		.media_type = s->media_type[0] ? s->media_type : NULL,
		.bytes = buf_slice(&req->body),
		.tags = s->tags.len ? &s->tags : NULL,
		.mirrored = upstream_covers(req->view, s->repository),
		.condition = read_condition(req, &condition),
	};
	struct manifest_put_result result = {0};
	struct err err = ERR_INIT;

	if (store_manifest_put(request_view(req), s->repository, &put, &result, &err) < 0) {
		oci_fail(req, OCI_MANIFEST_PUT, &err);
		return;
	}
	respond_empty(req, 201);
	put_headers(req, s, &result);
}

/* SPEC dist-1.1 end-9 */
static void manifest_delete_end(struct request *req)
{
	char repository[REPOSITORY_MAX + 1], reference[DIGEST_TEXT_MAX];
	struct condition condition;
	struct err err = ERR_INIT;

	if (!oci_repository(req, repository) || !read_reference(req, reference))
		return;
	if (store_manifest_delete_if(request_view(req), repository, reference,
				     read_condition(req, &condition), &err) == 0)
		respond_empty(req, 202);
	else if (err.code == E_EXISTS)
		oci_fail(req, OCI_MANIFEST_PUT, &err);
	else
		not_there(req, repository, &err);
}

const struct handler manifest_get = {.end = manifest_get_end, .recall = manifest_recall};
const struct handler manifest_put = {.begin = manifest_put_begin,
				     .body = manifest_put_body,
				     .end = manifest_put_end,
				     .access = ACCESS_WRITE,
				     .prompt = true};
const struct handler manifest_delete = {.end = manifest_delete_end, .access = ACCESS_DELETE};
