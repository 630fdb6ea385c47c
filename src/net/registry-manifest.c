/* SPDX-License-Identifier: Apache-2.0 */
/* Manifests: get, head, put, delete (SPEC dist-1.1 end-3, end-7, end-9). */
#include <inttypes.h>

#include "net/registry-internal.h"

/* Docker's types are asked for too: registries convert, or answer 404, to those who don't. */
static const char accept_manifests[] =
	"Accept: " MT_OCI_MANIFEST ", " MT_OCI_INDEX ", " MT_DOCKER_MANIFEST ", " MT_DOCKER_LIST
	", " MT_OCI_ARTIFACT_MANIFEST ", */*;q=0.1";

/* Types that say nothing about a manifest. */
static bool is_vague(const char *type)
{
	static const char *const vague[] = {"application/json", "application/octet-stream",
					    "text/plain", "binary/octet-stream", "text/html"};

	for (size_t i = 0; i < ARRAY_LEN(vague); i++) {
		if (strcmp(type, vague[i]) == 0)
			return true;
	}
	return false;
}

/* The media type that the answer's header gives; false if it gives none. `ret` has
 * MEDIA_TYPE_MAX + 1 bytes. */
static bool header_type(const struct http_response *resp, char *ret)
{
	const char *header = http_response_header(resp, "content-type");

	return header && media_type_parse(ret, slice_str(header)) == 0 && !is_vague(ret);
}

/* Which digest should these bytes have? What was asked for, else what the registry says, else
 * (HASH_NONE) nothing is promised. */
static void promised_digest(const struct http_response *resp, const struct hash *asked,
			    struct hash *ret)
{
	const char *header = http_response_header(resp, "docker-content-digest");

	*ret = *asked;
	if (ret->algo == HASH_NONE && (!header || digest_parse(ret, slice_str(header)) < 0))
		*ret = (struct hash){0};
}

static int prove(const struct registry *r, const struct http_response *resp,
		 const struct hash *asked, struct hash *ret, struct err *err)
{
	char want[DIGEST_TEXT_MAX], have[DIGEST_TEXT_MAX];
	struct hash promised, got;

	promised_digest(resp, asked, &promised);
	hash_bytes(&got, promised.algo ? promised.algo : HASH_SHA256, resp->body.data,
		   resp->body.len);
	if (promised.algo && !hash_equal(&promised, &got)) {
		digest_format(want, &promised);
		digest_format(have, &got);
		return err_set(err, E_MISMATCH,
			       "the registry %s answers with a manifest %s in place of %s",
			       r->domain, have, want);
	}
	*ret = got;
	return 0;
}

int registry_get_manifest(struct registry *r, const char *repository, const char *ref,
			  struct manifest_bytes *ret, struct err *err)
{
	struct registry_scope scope = {repository, "pull", NULL};
	cleanup_http_response struct http_response resp = {0};
	struct http_request req = {
		.method = HTTP_GET, .max_body = MANIFEST_BYTES_MAX, .accept_encoded = true};
	cleanup_manifest struct manifest m = {0};
	cleanup_free char *url = NULL,
			  *what = xasprintf("get the manifest %s of %s", ref, repository);
	cleanup_strv struct strv headers = {0};
	char type[MEDIA_TYPE_MAX + 1];
	struct hash asked, digest;
	int result = registry_ref_parse(ref, &asked, err);

	if (result == 0)
		result = registry_url(r, repository, &url, err, "manifests/%s", ref);
	if (result < 0)
		return result;
	strv_add(&headers, accept_manifests);
	req.url = url;
	req.headers = &headers;
	result = registry_send(r, &scope, &req, &resp, err);
	if (result < 0)
		return err_wrap(err, "%s", what);
	if (resp.status != 200)
		return registry_failed(r, &resp, what, err);
	result = prove(r, &resp, &asked, &digest, err);
	if (result == 0)
		result = manifest_parse(&m, header_type(&resp, type) ? type : NULL,
					buf_slice(&resp.body), err);
	if (result < 0)
		return err_wrap(err, "%s", what);
	*ret = (struct manifest_bytes){resp.body, take_ptr(m.media_type), digest};
	resp.body = (struct buf){0};
	return 0;
}

/* Where HEAD does not say enough, the manifest itself does. */
static int head_by_get(struct registry *r, const char *repository, const char *ref,
		       struct descriptor *ret, struct err *err)
{
	cleanup_manifest_bytes struct manifest_bytes m = {0};
	int result = registry_get_manifest(r, repository, ref, &m, err);

	if (result == 0)
		descriptor_make(ret, m.media_type, &m.digest, m.bytes.len);
	return result;
}

int registry_head_manifest(struct registry *r, const char *repository, const char *ref,
			   struct descriptor *ret, struct err *err)
{
	struct registry_scope scope = {repository, "pull", NULL};
	cleanup_http_response struct http_response resp = {0};
	struct http_request req = {.method = HTTP_HEAD};
	cleanup_free char *url = NULL,
			  *what = xasprintf("look for the manifest %s of %s", ref, repository);
	cleanup_strv struct strv headers = {0};
	char type[MEDIA_TYPE_MAX + 1];
	struct hash asked, digest;
	uint64_t size;
	int result = registry_ref_parse(ref, &asked, err);

	if (result == 0)
		result = registry_url(r, repository, &url, err, "manifests/%s", ref);
	if (result < 0)
		return result;
	strv_add(&headers, accept_manifests);
	req.url = url;
	req.headers = &headers;
	result = registry_send(r, &scope, &req, &resp, err);
	if (result < 0)
		return err_wrap(err, "%s", what);
	if (resp.status != 200)
		return registry_failed(r, &resp, what, err);
	promised_digest(&resp, &asked, &digest);
	if (digest.algo == HASH_NONE || !header_type(&resp, type) ||
	    http_response_length(&resp, &size) < 0)
		return head_by_get(r, repository, ref, ret, err);
	descriptor_make(ret, type, &digest, size);
	return 0;
}

int registry_put_manifest(struct registry *r, const char *repository, const char *ref,
			  const struct manifest_bytes *manifest, bool *ret_subject, struct err *err)
{
	struct registry_scope scope = {repository, "pull,push", NULL};
	cleanup_http_response struct http_response resp = {0};
	struct http_request req = {.method = HTTP_PUT};
	cleanup_free char *url = NULL,
			  *what = xasprintf("put the manifest %s of %s", ref, repository);
	cleanup_strv struct strv headers = {0};
	struct http_slice_source body;
	struct hash digest;
	const char *said;
	int result = registry_ref_parse(ref, &digest, err);

	if (result == 0)
		result = registry_url(r, repository, &url, err, "manifests/%s", ref);
	if (result < 0)
		return result;
	strv_addf(&headers, "Content-Type: %s", manifest->media_type);
	http_slice_source_init(&body, buf_slice(&manifest->bytes));
	req.url = url;
	req.headers = &headers;
	req.body = &body.source;
	result = registry_send(r, &scope, &req, &resp, err);
	if (result < 0)
		return err_wrap(err, "%s", what);
	if (resp.status != 201 && resp.status != 200)
		return registry_failed(r, &resp, what, err);
	said = http_response_header(&resp, "docker-content-digest");
	if (said && digest_parse(&digest, slice_str(said)) == 0 &&
	    digest.algo == manifest->digest.algo && !hash_equal(&digest, &manifest->digest))
		return err_set(err, E_MISMATCH, "%s: the registry %s stored it as %s", what,
			       r->domain, said);
	if (ret_subject)
		*ret_subject = http_response_header(&resp, "oci-subject") != NULL;
	return 0;
}

int registry_delete_manifest(struct registry *r, const char *repository, const char *ref,
			     struct err *err)
{
	struct registry_scope scope = {repository, "delete", NULL};
	cleanup_http_response struct http_response resp = {0};
	struct http_request req = {.method = HTTP_DELETE};
	cleanup_free char *url = NULL,
			  *what = xasprintf("delete the manifest %s of %s", ref, repository);
	struct hash digest;
	int result = registry_ref_parse(ref, &digest, err);

	if (result == 0)
		result = registry_url(r, repository, &url, err, "manifests/%s", ref);
	if (result < 0)
		return result;
	req.url = url;
	result = registry_send(r, &scope, &req, &resp, err);
	if (result < 0)
		return err_wrap(err, "%s", what);
	return resp.status == 202 || resp.status == 200 || resp.status == 204
		       ? 0
		       : registry_failed(r, &resp, what, err);
}
