/* SPDX-License-Identifier: Apache-2.0 */
/* Listings, page by page: tags (SPEC dist-1.1 end-8) and referrers (end-12, and the tag where
 * there is no such API). */
#include <nacre/json.h>

#include "net/registry-internal.h"
#include "net/url.h"

/* One listing: what to do with a page that is there. */
struct listing {
	struct registry *registry;
	const char *repository;
	const char *what;
	int (*page)(struct listing *l, const struct http_response *resp, struct err *err);
	struct strv *tags;
	const char *artifact_type;
	struct descriptors *referrers;
	struct strv headers;
};

/* The address of the next page, which must be the registry's own: owned; NULL: this was the
 * last. */
static int next_page(const struct listing *l, const struct http_response *resp, char **ret,
		     struct err *err)
{
	const char *header = http_response_header(resp, "link");
	cleanup_free char *target = NULL, *url = NULL;
	int found = header ? link_find(&target, slice_str(header), "next") : 0;

	*ret = NULL;
	if (found == 0)
		return 0;
	if (found < 0 || url_resolve(&url, resp->url, slice_str(target)) < 0 ||
	    !url_same_origin(resp->url, url))
		return err_set(
			err, E_NET,
			"%s: the registry %s names a next page that is malformed or elsewhere",
			l->what, l->registry->domain);
	*ret = take_ptr(url);
	return 0;
}

/* Reads all pages from `url`, which it takes over. The status of the first page that is not 200
 * is returned, or 0, or < 0. */
static int read_pages(struct listing *l, char *first, struct err *err)
{
	struct registry_scope scope = {l->repository, "pull", NULL};
	cleanup_free char *url = first;

	for (unsigned i = 0; url; i++) {
		cleanup_http_response struct http_response resp = {0};
		struct http_request req = {.method = HTTP_GET, .url = url, .headers = &l->headers};
		char *next = NULL;
		int result;

		if (i == REGISTRY_PAGES_MAX)
			return err_set(err, E_LIMIT, "%s: more than %d pages", l->what,
				       REGISTRY_PAGES_MAX);
		req.max_body = REGISTRY_PAGE_BYTES_MAX;
		req.accept_encoded = true;
		result = registry_send(l->registry, &scope, &req, &resp, err);
		if (result < 0)
			return err_wrap(err, "%s", l->what);
		if (resp.status != 200) {
			registry_failed(l->registry, &resp, l->what, err);
			return resp.status;
		}
		result = l->page(l, &resp, err);
		if (result < 0)
			return err_wrap(err, "%s", l->what);
		result = next_page(l, &resp, &next, err);
		if (result < 0)
			return result;
		free(url);
		url = next;
	}
	return 0;
}

/* {"name", "tags": […] or null} */
static int tags_page(struct listing *l, const struct http_response *resp, struct err *err)
{
	cleanup_json json_t *doc = NULL;
	cleanup_strv struct strv tags = {0};
	int r = json_parse(&doc, buf_slice(&resp->body), REGISTRY_PAGE_BYTES_MAX, err);

	if (r == 0 && !json_is_object(doc))
		r = err_set(err, E_INVALID, "not a JSON object");
	if (r == 0)
		r = json_get_texts(doc, "", "tags", &tags, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < tags.len; i++) {
		if (tag_check(slice_str(tags.items[i])) < 0)
			return err_set(err, E_INVALID, "%s is not a tag", tags.items[i]);
		if (l->tags->len == REGISTRY_TAGS_MAX)
			return err_set(err, E_LIMIT, "more than %d tags", REGISTRY_TAGS_MAX);
		strv_add(l->tags, tags.items[i]);
	}
	return 0;
}

int registry_tags(struct registry *r, const char *repository, struct strv *ret, struct err *err)
{
	cleanup_free char *what = xasprintf("list the tags of %s", repository);
	struct listing l = {.registry = r,
			    .repository = repository,
			    .what = what,
			    .page = tags_page,
			    .tags = ret};
	struct err why = ERR_INIT;
	char *url = NULL;
	int result = registry_url(r, repository, &url, err, "tags/list?n=1000");

	if (result < 0)
		return result;
	result = read_pages(&l, url, &why);
	if (result == 0)
		return 0;
	*err = why;
	return why.code;
}

/* Takes what is of the wanted type out of an index. */
static int take_referrers(struct listing *l, const char *media_type, struct slice bytes,
			  struct err *err)
{
	cleanup_manifest struct manifest index = {0};
	int r = manifest_parse(&index, media_type, bytes, err);

	if (r < 0)
		return r;
	if (index.kind != MANIFEST_INDEX)
		return err_set(err, E_INVALID, "not an index");
	for (size_t i = 0; i < index.manifests.len; i++) {
		struct descriptor *d = &index.manifests.items[i];

		if (l->artifact_type &&
		    (!d->artifact_type || strcmp(d->artifact_type, l->artifact_type) != 0))
			continue;
		if (l->referrers->len == MANIFEST_DESCRIPTORS_MAX)
			return err_set(err, E_LIMIT, "more than %d referrers",
				       MANIFEST_DESCRIPTORS_MAX);
		descriptors_take(l->referrers, d);
	}
	return 0;
}

static int referrers_page(struct listing *l, const struct http_response *resp, struct err *err)
{
	return take_referrers(l, NULL, buf_slice(&resp->body), err);
}

/* SPEC dist-1.1 referrers tag schema */
static int referrers_by_tag(struct listing *l, const struct hash *subject, struct err *err)
{
	cleanup_manifest_bytes struct manifest_bytes m = {0};
	char tag[TAG_MAX + 1];
	struct err why = ERR_INIT;
	int r;

	referrers_tag(tag, subject);
	r = registry_get_manifest(l->registry, l->repository, tag, &m, &why);
	if (r == E_NOTFOUND)
		return 0;
	if (r < 0) {
		*err = why;
		return r;
	}
	r = take_referrers(l, m.media_type, buf_slice(&m.bytes), err);
	return r < 0 ? err_wrap(err, "%s: tag %s", l->what, tag) : 0;
}

/* Statuses of registries that don't know the API. */
static bool lacks_referrers(int status)
{
	return status == 400 || status == 404 || status == 405 || status == 406 || status == 501;
}

int registry_referrers(struct registry *r, const char *repository, const struct hash *subject,
		       const char *artifact_type, struct descriptors *ret, struct err *err)
{
	cleanup_free char *what = xasprintf("list the referrers in %s", repository);
	struct listing l = {.registry = r,
			    .repository = repository,
			    .what = what,
			    .page = referrers_page,
			    .artifact_type = artifact_type,
			    .referrers = ret};
	cleanup_buf struct buf query = {0};
	struct err why = ERR_INIT;
	char digest[DIGEST_TEXT_MAX];
	char *url = NULL;
	int result;

	digest_format(digest, subject);
	if (artifact_type) {
		buf_add_str(&query, "?artifactType=");
		url_encode(&query, slice_str(artifact_type), "/");
	}
	result = registry_url(r, repository, &url, err, "referrers/%s%s", digest,
			      query.len ? (char *)query.data : "");
	if (result < 0)
		return result;
	strv_add(&l.headers, "Accept: " MT_OCI_INDEX);
	result = read_pages(&l, url, &why);
	strv_release(&l.headers);
	if (result > 0 && lacks_referrers(result))
		return referrers_by_tag(&l, subject, err);
	if (result == 0)
		return 0;
	*err = why;
	return why.code;
}

int registry_add_fallback_referrer(struct registry *r, const char *repository,
				   const struct hash *subject, const struct descriptor *referrer,
				   struct err *err)
{
	cleanup_manifest_bytes struct manifest_bytes old = {0},
						     new = {.bytes = BUF_INIT(MANIFEST_BYTES_MAX)};
	cleanup_manifest struct manifest index = {0};
	struct descriptor copy;
	char tag[TAG_MAX + 1];
	struct err why = ERR_INIT;
	int result;

	referrers_tag(tag, subject);
	result = registry_get_manifest(r, repository, tag, &old, &why);
	if (result == 0)
		result = manifest_parse(&index, old.media_type, buf_slice(&old.bytes), &why);
	if (result == E_NOTFOUND) {
		index = (struct manifest){.kind = MANIFEST_INDEX,
					  .media_type = xstrdup(MT_OCI_INDEX)};
	} else if (result < 0 || index.kind != MANIFEST_INDEX) {
		*err = why;
		return result < 0 ? err_wrap(err, "tag %s", tag)
				  : err_set(err, E_INVALID, "the tag %s of %s is not an index", tag,
					    repository);
	}
	for (size_t i = 0; i < index.manifests.len; i++) {
		if (hash_equal(&index.manifests.items[i].digest, &referrer->digest))
			return 0;
	}
	descriptor_copy(&copy, referrer);
	descriptors_take(&index.manifests, &copy);
	result = manifest_build(&new.bytes, &index);
	if (result < 0)
		return err_set(err, (enum err_code)result, "the tag %s of %s would be too large",
			       tag, repository);
	new.media_type = xstrdup(index.media_type);
	hash_bytes(&new.digest, HASH_SHA256, new.bytes.data, new.bytes.len);
	return registry_put_manifest(r, repository, tag, &new, NULL, err);
}
