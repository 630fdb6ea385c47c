/* SPDX-License-Identifier: Apache-2.0 */
/* The binary cache as it is written (SPEC nix-cache 1.1, 1.2). */
#include "serve/nix.h"

enum { CACHE_INFO_MAX = 64 << 10 }; /* bytes */

enum codec nix_codec_by_coding(struct slice name)
{
	if (!name.len || slice_equal_str(name, "identity"))
		return CODEC_NONE;
	if (slice_equal_str(name, "x-gzip"))
		return CODEC_GZIP;
	if (slice_equal_str(name, "none"))
		return CODEC_UNKNOWN; /* Nix's word, not HTTP's */
	return codec_by_name(name);
}

bool nix_request_coding(struct request *req, enum codec *ret)
{
	enum codec codec = nix_codec_by_coding(request_header(req, "Content-Encoding"));

	if (codec == CODEC_UNKNOWN) {
		respond_plain(req, 415, "the Content-Encoding of the body is unknown");
		return false;
	}
	*ret = codec;
	return true;
}

/* A text that is taken whole: nix-cache-info, narinfo. */
struct text_state {
	struct buf_sink out;  /* into the request's body */
	struct sink *decoder; /* owned */
};

static void text_state_free(void *arg)
{
	struct text_state *s = arg;

	decoder_free(s->decoder);
	free(s);
}

static void text_begin(struct request *req, size_t max)
{
	struct codec_limits limits = {.max_output = max};
	struct text_state *s = xcalloc(1, sizeof(*s));
	struct err err = ERR_INIT;
	enum codec codec;

	req->state = s;
	req->state_release = text_state_free;
	req->body.max = max;
	buf_sink_init(&s->out, &req->body);
	if (!nix_request_coding(req, &codec))
		return;
	if (req->content_length > (int64_t)max)
		respond_plain(req, 413, "the text is larger than %zu bytes", max);
	else if (decoder_new(&s->decoder, codec, &s->out.sink, &limits, &err) < 0)
		nix_fail_put(req, &err);
}

static void text_body(struct request *req, const void *data, size_t len)
{
	struct text_state *s = req->state;
	struct err err = ERR_INIT;

	if (sink_write(s->decoder, data, len, &err) < 0)
		nix_fail_put(req, &err);
}

static bool text_finish(struct request *req)
{
	struct text_state *s = req->state;
	struct err err = ERR_INIT;

	if (sink_finish(s->decoder, &err) == 0)
		return true;
	nix_fail_put(req, &err);
	return false;
}

static void cache_info_begin(struct request *req)
{
	text_begin(req, CACHE_INFO_MAX);
}

static void cache_info_end(struct request *req)
{
	struct err err = ERR_INIT;

	if (!text_finish(req))
		return;
	if (store_cache_info_put(request_cache(req), buf_slice(&req->body), &err) < 0)
		nix_fail_put(req, &err);
	else
		respond_empty(req, 201);
}

static void narinfo_begin(struct request *req)
{
	text_begin(req, NARINFO_MAX);
}

static void narinfo_end(struct request *req)
{
	char name[NIX_NAME_MAX + 1];
	struct err err = ERR_INIT;

	if (!nix_name(req, name) || !text_finish(req))
		return;
	if (store_narinfo_put(request_cache(req), name, buf_slice(&req->body), &err) < 0)
		nix_fail_put(req, &err);
	else
		respond_empty(req, 201);
}

/* Nix has no such request; it is for people. */
static void narinfo_delete_end(struct request *req)
{
	char name[NIX_NAME_MAX + 1];
	struct err err = ERR_INIT;
	int r;

	if (!nix_name(req, name))
		return;
	r = strlen(name) == STORE_HASH_LEN
		    ? store_path_remove(request_cache(req), name, &err)
		    : err_set(&err, E_NOTFOUND, "there is no %.80s.narinfo", name);
	if (r == E_NOTFOUND)
		nix_fail_get(req, &err);
	else if (r == E_CANCELLED)
		respond_plain(req, 409, "%s", err.text);
	else if (r < 0)
		nix_fail_put(req, &err);
	else
		respond_empty(req, 204);
}

/* What goes to the store as it arrives: NARs, documents. */
static void put_free(void *arg)
{
	store_put_free(arg);
}

static void put_body(struct request *req, const void *data, size_t len)
{
	struct err err = ERR_INIT;

	if (store_put_write(req->state, data, len, &err) < 0)
		nix_fail_put(req, &err);
}

static void put_end(struct request *req)
{
	struct err err = ERR_INIT;

	if (store_put_commit(req->state, &err) < 0)
		nix_fail_put(req, &err);
	else
		respond_empty(req, 201);
}

static void nar_begin(struct request *req)
{
	char name[NIX_NAME_MAX + 1];
	struct store_put *put = NULL;
	struct err err = ERR_INIT;
	enum codec codec;

	if (!nix_name(req, name) || !nix_request_coding(req, &codec))
		return;
	if (codec != CODEC_NONE)
		respond_plain(req, 415, "a NAR is sent without Content-Encoding");
	else if (store_nar_put(request_cache(req), name, &put, &err) < 0)
		nix_fail_put(req, &err);
	req->state = put;
	req->state_release = put_free;
}

static void document_begin(struct request *req)
{
	struct slice header = request_header(req, "Content-Encoding");
	char name[NIX_NAME_MAX + 1], coding[32];
	struct store_put *put = NULL;
	struct err err = ERR_INIT;
	enum codec codec;

	/* Only what can be decoded for clients that do not take it. */
	if (!nix_name(req, name) || !nix_request_coding(req, &codec))
		return;
	slice_to_text(coding, sizeof(coding), header);
	if (store_document_put(request_cache(req), nix_tree(req), name,
			       codec == CODEC_NONE ? NULL : coding, &put, &err) < 0)
		nix_fail_put(req, &err);
	req->state = put;
	req->state_release = put_free;
}

const struct handler cache_info_put = {.begin = cache_info_begin,
				       .body = text_body,
				       .end = cache_info_end,
				       .access = ACCESS_WRITE};
const struct handler narinfo_put = {.begin = narinfo_begin,
				    .body = text_body,
				    .end = narinfo_end,
				    .access = ACCESS_WRITE,
				    .prompt = true};
const struct handler narinfo_delete = {.end = narinfo_delete_end, .access = ACCESS_DELETE};
const struct handler nar_put = {.begin = nar_begin,
				.body = put_body,
				.end = put_end,
				.access = ACCESS_WRITE,
				.prompt = true};
const struct handler document_put = {
	.begin = document_begin, .body = put_body, .end = put_end, .access = ACCESS_WRITE};
