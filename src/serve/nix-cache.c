/* SPDX-License-Identifier: Apache-2.0 */
/* The binary cache as it is read (SPEC nix-cache 1.1-1.3), and what it says of failures. */
#include "serve/answers.h"
#include "serve/nix.h"
#include "serve/oci-error.h"
#include "serve/upstream-serve.h"

/* The first row that fits; what has none is a failure of our own. */
struct status_row {
	int code;
	unsigned status;
};

/* A name that breaks the grammar names nothing. */
static const struct status_row get_rows[] = {
	{E_NOTFOUND, 404},
	{E_INVALID, 404},
	{E_UNSUPPORTED, 404},
	{E_LIMIT, 404},
	{E_DENIED, 403},
	/* Of an upstream. */
	{E_NET, 502},
	{E_MISMATCH, 502},
	{E_TRUNCATED, 502},
};

static const struct status_row put_rows[] = {
	{E_INVALID, 400},  {E_TRUNCATED, 400}, {E_MISMATCH, 400},
	{E_NOTFOUND, 409}, {E_CONFLICT, 409},  {E_EXISTS, 409},
	{E_LIMIT, 413},    {E_DENIED, 403},    {E_UNSUPPORTED, 415},
};

static unsigned find_status(const struct status_row *rows, size_t n, const struct err *err)
{
	/* What the operating system said about our own files is nobody's business. */
	for (size_t i = 0; i < n && (!err->sys_errno || err_is_quota(err)); i++)
		if (rows[i].code == err->code)
			return rows[i].status;
	return 0;
}

void nix_fail_get(struct request *req, const struct err *err)
{
	unsigned status = find_status(get_rows, ARRAY_LEN(get_rows), err);

	if (status) {
		respond_plain(req, status, "%s", err->text);
		return;
	}
	request_log_failure(req, err);
	respond_plain(req, err_own_status(err), "%s", err_own_text(err));
}

void nix_fail_put(struct request *req, const struct err *err)
{
	unsigned status = find_status(put_rows, ARRAY_LEN(put_rows), err);

	if (status) {
		respond_plain(req, status, "%s", err->text);
		return;
	}
	request_log_failure(req, err);
	respond_plain(req, 413, "%s", err_own_text(err));
}

bool nix_name(struct request *req, char *ret)
{
	if (slice_to_text(ret, NIX_NAME_MAX + 1, req->route.arg))
		return true;
	respond_plain(req, req->handler->access == ACCESS_READ ? 404 : 400, "the name is too long");
	return false;
}

/* SPEC nix-cache 1.3 */
static void cache_info_end(struct request *req)
{
	cleanup_buf struct buf text = BUF_INIT(64 << 10);
	struct err err = ERR_INIT;

	if (store_cache_info(request_cache(req), &text, &err) < 0)
		nix_fail_get(req, &err);
	else
		respond_buf(req, 200, "text/x-nix-cache-info", &text);
}

/* From the store, or from an upstream. */
static struct answer *get_narinfo(struct request *req, const char *name, struct err *err)
{
	struct answer_source source = {.content_type = "text/x-nix-narinfo"};
	cleanup_buf struct buf text = BUF_INIT(NARINFO_MAX);
	struct hash digest;
	int r;

	source.changes = store_changes(req->server->store);
	r = store_narinfo(request_cache(req), name, &text, err);
	if (r == E_NOTFOUND)
		r = upstream_get_narinfo(req, name, &text, err);
	if (r < 0)
		return NULL;
	hash_bytes(&digest, HASH_SHA256, text.data, text.len);
	source.digest = &digest;
	return answers_keep(req, "", name, &source, &text);
}

static void narinfo_recall(struct request *req)
{
	CLEANUP(answer_release) struct answer *a = NULL;
	char name[NIX_NAME_MAX + 1];

	if (slice_to_text(name, sizeof(name), req->route.arg))
		a = answers_find(req, "", name);
	if (a)
		respond_entity(req, a);
}

static void narinfo_end(struct request *req)
{
	CLEANUP(answer_release) struct answer *a = NULL;
	char name[NIX_NAME_MAX + 1];
	struct err err = ERR_INIT;

	if (!nix_name(req, name))
		return;
	a = get_narinfo(req, name, &err);
	if (a)
		respond_entity(req, a);
	else
		nix_fail_get(req, &err);
}

/* SPEC nix-cache 1.2: ranges on identity bytes, so that a download can be resumed. */
static void nar_end(struct request *req)
{
	struct content_reply reply = {.content_type = "application/x-nix-nar", .encode = true};
	char name[NIX_NAME_MAX + 1], tag[HASH_TEXT_MAX];
	struct content *content;
	struct err err = ERR_INIT;
	uint64_t size;

	if (!nix_name(req, name))
		return;
	/* Who is told by HEAD that it is here may not send it: the collector has to know. */
	if ((req->method == HTTP_HEAD &&
	     store_nar_stat(request_cache(req), name, &size, &err) < 0) ||
	    store_nar_open(request_cache(req), name, &content, &err) < 0) {
		if (!upstream_answer_nar(req, name, &err))
			nix_fail_get(req, &err);
		return;
	}
	/* By its own digest alone: the bytes of a name may change with the encoder. */
	if (content_digest(content)->algo != HASH_NONE) {
		hash_format(tag, content_digest(content), HASH_HEX);
		reply.tag = tag;
	}
	respond_content(req, content, &reply);
}

static const struct {
	enum endpoint endpoint;
	enum store_tree tree;
	const char *content_type;
} trees[] = {
	{ENDPOINT_LISTING, STORE_LISTING, "application/json"},
	{ENDPOINT_LOG, STORE_LOG, "text/plain; charset=utf-8"},
	{ENDPOINT_DEBUGINFO, STORE_DEBUGINFO, "application/json"},
	{ENDPOINT_REALISATION, STORE_REALISATION, "application/json"},
	{ENDPOINT_BUILD_TRACE, STORE_BUILD_TRACE, "application/json"},
};

static size_t find_tree(const struct request *req)
{
	size_t i = 0;

	while (i + 1 < ARRAY_LEN(trees) && trees[i].endpoint != req->route.endpoint)
		i++;
	return i;
}

enum store_tree nix_tree(const struct request *req)
{
	return trees[find_tree(req)].tree;
}

/* SPEC nix-cache 1.1: .ls, log, debuginfo, realisations, build-trace-v2 */
static void document_end(struct request *req)
{
	size_t tree = find_tree(req);
	struct content_reply reply = {.content_type = trees[tree].content_type};
	struct slice accept = request_header(req, "Accept-Encoding");
	char name[NIX_NAME_MAX + 1], coding[32];
	struct content *content;
	struct err err = ERR_INIT;

	if (!nix_name(req, name))
		return;
	if (store_document_open(request_cache(req), trees[tree].tree, name, &content, &err) < 0 &&
	    upstream_get_document(req, trees[tree].tree, name, &content, &err) < 0) {
		nix_fail_get(req, &err);
		return;
	}
	if (!content_coding(content)) {
		respond_content(req, content, &reply);
		return;
	}
	snprintf(coding, sizeof(coding), "%s", content_coding(content));
	if (!http_accept_encoding(accept, coding)) {
		respond_decoded(req, content, nix_codec_by_coding(slice_str(coding)),
				reply.content_type);
		return;
	}
	respond_content(req, content, &reply);
	respond_header(req, "Content-Encoding", "%s", coding);
	respond_header(req, "Vary", "Accept-Encoding");
}

static void home_end(struct request *req)
{
	respond_plain(req, 200,
		      "nacre: an OCI registry (/v2/) and a Nix binary cache (/nix-cache-info)");
}

const struct handler cache_info_get = {.end = cache_info_end};
const struct handler narinfo_get = {.end = narinfo_end, .recall = narinfo_recall};
const struct handler nar_get = {.end = nar_end};
const struct handler document_get = {.end = document_end};
const struct handler home_get = {.end = home_end, .recall = home_end};
