/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/server-internal.h"

static void set_response(struct request *req, unsigned status, struct MHD_Response *response,
			 uint64_t bytes)
{
	/* The head says how long a body is; there is none to wait for. */
	if (!response)
		abort(); /* out of memory for a small allocation */
	req->status = status;
	req->response = response;
	req->response_bytes = req->method == HTTP_HEAD ? 0 : bytes;
}

void respond_empty(struct request *req, unsigned status)
{
	static char nothing[1];

	set_response(req, status,
		     MHD_create_response_from_buffer(0, nothing, MHD_RESPMEM_PERSISTENT), 0);
}

void respond_text(struct request *req, unsigned status, const char *content_type, struct slice text)
{
	struct MHD_Response *r = MHD_create_response_from_buffer(
		text.len, (void *)(uintptr_t)text.data, MHD_RESPMEM_MUST_COPY);

	set_response(req, status, r, text.len);
	respond_header(req, "Content-Type", "%s", content_type);
}

void respond_buf(struct request *req, unsigned status, const char *content_type, struct buf *b)
{
	size_t len = b->len;
	struct MHD_Response *r;

	if (!len) {
		respond_empty(req, status);
	} else {
		r = MHD_create_response_from_buffer_with_free_callback(len, b->data, free);
		*b = (struct buf){0};
		set_response(req, status, r, len);
	}
	respond_header(req, "Content-Type", "%s", content_type);
}

void respond_shared(struct request *req, unsigned status, const char *content_type,
		    struct slice bytes, const struct shared *owner)
{
	set_response(req, status,
		     MHD_create_response_from_buffer_with_free_callback_cls(
			     bytes.len, (void *)(uintptr_t)bytes.data, owner->release, owner->cls),
		     bytes.len);
	if (content_type)
		respond_header(req, "Content-Type", "%s", content_type);
}

void respond_plain(struct request *req, unsigned status, const char *fmt, ...)
{
	cleanup_buf struct buf text = BUF_INIT(4096);
	char line[2048];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (n > 0)
		buf_add_str(&text, line);
	buf_add_str(&text, "\n");
	respond_buf(req, status, "text/plain; charset=utf-8", &text);
}

void respond_header(struct request *req, const char *name, const char *fmt, ...)
{
	char value[1024];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(value, sizeof(value), fmt, ap);
	va_end(ap);
	/* A header that would break the grammar of the head is left out. */
	if (n < 0 || (size_t)n >= sizeof(value) || strpbrk(value, "\r\n"))
		return;
	MHD_add_response_header(req->response, name, value);
}
