/* SPDX-License-Identifier: Apache-2.0 */
/* Content that is stored with a coding which the client does not take. */
#include "serve/content.h"
#include "serve/oci-error.h"
#include "serve/pump.h"
#include "serve/server-internal.h"

enum {
	/* Decoded at a time. The first block is decoded before the status is sent: what fits into
	 * it has a length, and what is broken from its start on is a 500. */
	BLOCK = 64 << 10,
	/* What decoders keep for a client, who may be slow: as much as `xz -6` and `zstd -19` need. */
	WINDOW_MAX = 8 << 20,
};

struct decoded {
	struct content *content;       /* owned */
	uint64_t offset;               /* of what is decoded next */
	struct decode_reader *decoder; /* owned */
	uint8_t *first;                /* owned: the first block, until it is sent */
	size_t first_len;
};

static void decoded_free(void *cls)
{
	struct decoded *d = cls;

	decode_reader_free(d->decoder);
	content_free(d->content);
	free(d->first);
	free(d);
}

static int read_content(void *arg, void *buf, size_t *ret_got, struct err *err)
{
	struct decoded *d = arg;
	int r = content_read(d->content, d->offset, buf, DECODE_INPUT, ret_got, err);

	if (r == 0)
		d->offset += *ret_got;
	return r;
}

static ssize_t read_decoded(void *cls, uint64_t pos, char *buf, size_t max)
{
	struct decoded *d = cls;
	struct err err = ERR_INIT;
	size_t got;

	if (pos < d->first_len) {
		got = d->first_len - (size_t)pos < max ? d->first_len - (size_t)pos : max;
		memcpy(buf, d->first + pos, got);
		return (ssize_t)got;
	}
	free(d->first);
	d->first = NULL;
	if (decode_reader_read(d->decoder, buf, max, &got, &err) < 0) {
		/* The client sees that it is not all. */
		log_error("a response broke off: %s", err.text);
		return MHD_CONTENT_READER_END_WITH_ERROR;
	}
	return got ? (ssize_t)got : MHD_CONTENT_READER_END_OF_STREAM;
}

static int decode_first(struct decoded *d, enum codec codec, uint64_t max_window, struct err *err)
{
	const struct codec_limits limits = {.max_window = max_window};
	int r;

	decode_reader_free(d->decoder);
	d->decoder = NULL;
	d->offset = 0;
	r = decode_reader_new(&d->decoder, codec, read_content, d, &limits, err);
	return r < 0 ? r : decode_reader_read(d->decoder, d->first, BLOCK, &d->first_len, err);
}

/* The first block. If it is all, the decoder goes before the client has read anything, and may need
 * what it likes. */
static int begin(struct decoded *d, enum codec codec, struct err *err)
{
	struct err why = ERR_INIT;
	int r;

	d->first = xmalloc(BLOCK);
	r = decode_first(d, codec, WINDOW_MAX, &why);
	if (r == E_LIMIT && decode_first(d, codec, 0, err) == 0 && d->first_len < BLOCK)
		return 0;
	if (r < 0)
		*err = why;
	return r;
}

static void refuse(struct request *req, const struct err *err)
{
	if (err->code == E_LIMIT) {
		respond_plain(req, 406, "ask for it with its Content-Encoding: %s", err->text);
		return;
	}
	request_log_failure(req, err);
	respond_plain(req, 500, "it cannot be decoded");
}

/* Takes over `d`. */
static void send_decoded(struct request *req, struct decoded *d)
{
	const struct pump_source source = {read_decoded, decoded_free, d, BLOCK};

	req->status = 200;
	if (d->first_len < BLOCK) {
		req->response = MHD_create_response_from_buffer_with_free_callback(d->first_len,
										   d->first, free);
		req->response_bytes = d->first_len;
		d->first = NULL;
		decoded_free(d);
	} else {
		req->response = pump_response(req, MHD_SIZE_UNKNOWN, &source);
		req->response_bytes = 0;
	}
	if (!req->response)
		abort(); /* out of memory for a small allocation */
}

void respond_decoded(struct request *req, struct content *content, enum codec codec,
		     const char *content_type)
{
	const struct content_reply reply = {.content_type = content_type, .encode = true};
	struct decoded *d;
	struct err err = ERR_INIT;

	/* How many bytes it has is not worth decoding it. */
	if (req->method == HTTP_HEAD) {
		content_free(content);
		respond_content_head(req, CONTENT_SIZE_UNKNOWN, &reply);
		return;
	}
	d = xcalloc(1, sizeof(*d));
	d->content = content;
	if (begin(d, codec, &err) < 0) {
		decoded_free(d);
		refuse(req, &err);
		return;
	}
	send_decoded(req, d);
	respond_header(req, "Content-Type", "%s", content_type);
	respond_header(req, "Vary", "Accept-Encoding");
}
