/* SPDX-License-Identifier: Apache-2.0 */
/* A body that is pushed: each write runs the client until libcurl has taken the bytes. */
#include "net/http-internal.h"

struct http_upload {
	struct sink sink;
	struct http_source source;
	struct http *http;         /* borrowed */
	struct transfer *transfer; /* borrowed; NULL: over */
	struct slice chunk;        /* borrowed during a write: what libcurl has not taken yet */
	bool ended;                /* the body is complete */
	bool stop;                 /* nothing to run for: the chunk is taken, or all is over */
	struct http_response response;
	struct err failure;
};

static int64_t upload_read(struct http_source *self, void *data, size_t max, struct err *err)
{
	struct http_upload *u = container_of(self, struct http_upload, source);
	size_t n = u->chunk.len < max ? u->chunk.len : max;

	if (!n)
		return u->ended ? 0 : HTTP_SOURCE_LATER;
	memcpy(data, u->chunk.data, n);
	slice_advance(&u->chunk, n);
	/* The loop goes on until the next read finds nothing, or the write returns: whichever
	 * comes first. */
	u->stop = !u->chunk.len && !u->ended;
	return (int64_t)n;
}

static int upload_done(void *arg, struct http_response *resp, const struct err *failure,
		       struct err *err)
{
	struct http_upload *u = arg;

	u->stop = true;
	if (failure) {
		u->failure = *failure;
	} else {
		u->response = *resp;
		*resp = (struct http_response){0};
	}
	return 0;
}

/* Runs the client until the chunk is taken or all is over. */
static int upload_run(struct http_upload *u, struct err *err)
{
	u->stop = false;
	if (u->transfer->easy)
		curl_easy_pause(u->transfer->easy, CURLPAUSE_CONT);
	if (u->stop)
		return 0;
	return http_run_until(u->http, &u->stop, err);
}

static int upload_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	struct http_upload *u = container_of(self, struct http_upload, sink);
	int r;

	u->chunk = slice_make(data, len);
	while (u->transfer && u->chunk.len) {
		r = upload_run(u, err);
		if (r < 0)
			return r;
	}
	if (!u->chunk.len)
		return 0;
	if (u->failure.code) {
		*err = u->failure;
		return err->code;
	}
	return err_set(err, E_CANCELLED, "the server answered before the body was complete");
}

int http_upload_new(struct http_upload **ret, struct http *h, const struct http_request *req,
		    uint64_t size, struct err *err)
{
	struct http_upload *u = xcalloc(1, sizeof(*u));
	struct http_request copy = *req;
	int r;

	u->sink.write = upload_write;
	u->source = (struct http_source){.size = size, .read = upload_read};
	u->http = h;
	copy.body = &u->source;
	copy.done = upload_done;
	copy.arg = u;
	r = http_submit_transfer(h, &copy, &u->transfer, err);
	if (r < 0) {
		free(u);
		return r;
	}
	u->transfer->handle = &u->transfer;
	h->uploads++;
	*ret = u;
	return 0;
}

struct sink *http_upload_sink(struct http_upload *u)
{
	return &u->sink;
}

bool http_upload_is_over(const struct http_upload *u)
{
	return !u->transfer;
}

int http_upload_response(struct http_upload *u, struct http_response *ret, struct err *err)
{
	int r;

	u->ended = true;
	while (u->transfer) {
		r = upload_run(u, err);
		if (r < 0)
			return r;
	}
	if (u->failure.code) {
		*err = u->failure;
		return err->code;
	}
	http_response_release(ret);
	*ret = u->response;
	u->response = (struct http_response){0};
	return 0;
}

void http_upload_free(struct http_upload *u)
{
	if (!u)
		return;
	if (u->transfer)
		http_drop(u->http, u->transfer);
	u->http->uploads--;
	http_response_release(&u->response);
	free(u);
}
