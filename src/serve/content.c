/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>

#include "serve/answers.h"
#include "serve/content.h"
#include "serve/pump.h"
#include "serve/server-internal.h"

enum {
	/* Up to here a body is read into memory and sent with its head in one call: twice as many
	 * responses a second as with sendfile (docs/performance.md). */
	SMALL_BODY = 64 << 10,
	/* What a splice is read in. Larger blocks are hardly faster and cost memory a
	 * connection. */
	BLOCK = 128 << 10,
	/* What is encoded at a time. */
	ENCODED_BLOCK = 64 << 10,
};

/* What a body is read from. */
struct reader {
	struct content *content; /* owned */
	uint64_t offset;         /* of the body in the content */
};

static void reader_free(void *cls)
{
	struct reader *r = cls;

	content_free(r->content);
	free(r);
}

static ssize_t reader_read(void *cls, uint64_t pos, char *buf, size_t max)
{
	struct reader *r = cls;
	struct err err = ERR_INIT;
	size_t got;

	if (content_read(r->content, r->offset + pos, buf, max, &got, &err) < 0) {
		/* The status is out already: the connection ends, and the client sees that the
		 * body is short. */
		log_error("a response broke off: %s", err.text);
		return MHD_CONTENT_READER_END_WITH_ERROR;
	}
	return got ? (ssize_t)got : MHD_CONTENT_READER_END_OF_STREAM;
}

/* What is encoded while it is read takes a worker's time. */
static struct MHD_Response *from_reader(struct request *req, struct content *content,
					uint64_t offset, uint64_t len)
{
	struct reader *r = xcalloc(1, sizeof(*r));

	r->content = content;
	r->offset = offset;
	if (len == CONTENT_SIZE_UNKNOWN)
		return pump_response(
			req, MHD_SIZE_UNKNOWN,
			&(struct pump_source){reader_read, reader_free, r, ENCODED_BLOCK});
	return MHD_create_response_from_callback(len, len < BLOCK ? len : BLOCK, reader_read, r,
						 reader_free);
}

/* NULL: not this way. */
static struct MHD_Response *from_memory(struct request *req, struct content *content,
					uint64_t offset, uint64_t len)
{
	struct err err = ERR_INIT;
	bool is_small = len <= SMALL_BODY;
	void (*give)(void *) = is_small ? free : block_give;
	char *body = is_small ? xmalloc((size_t)len + 1) : block_take(req->server->blocks);
	struct MHD_Response *r;
	size_t got;

	if (!body)
		return NULL;
	if (content_read(content, offset, body, (size_t)len, &got, &err) < 0 || got != len) {
		give(body);
		return NULL;
	}
	r = MHD_create_response_from_buffer_with_free_callback((size_t)len, body, give);
	content_free(content);
	return r;
}

/* NULL: the range is not one piece of one file. */
static struct MHD_Response *from_file(struct content *content, uint64_t offset, uint64_t len)
{
	struct MHD_Response *r;
	uint64_t at, run;
	int fd = content_file(content, offset, len, &at, &run);

	if (fd < 0 || run < len)
		return NULL;
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return NULL;
	r = MHD_create_response_from_fd_at_offset64(len, fd, at);
	if (!r)
		close_fd(&fd);
	else
		content_free(content);
	return r;
}

static ssize_t read_nothing(void *cls, uint64_t pos, char *buf, size_t max)
{
	(void)cls, (void)pos, (void)buf, (void)max;
	return MHD_CONTENT_READER_END_WITH_ERROR;
}

/* A response that has a length and, as the answer to HEAD, no body. */
static struct MHD_Response *from_size(uint64_t len)
{
	static char nothing[1];

	if (!len)
		return MHD_create_response_from_buffer(0, nothing, MHD_RESPMEM_PERSISTENT);
	return MHD_create_response_from_callback(
		len == CONTENT_SIZE_UNKNOWN ? MHD_SIZE_UNKNOWN : len, 1, read_nothing, NULL, NULL);
}

static void set_response(struct request *req, unsigned status, struct MHD_Response *r, uint64_t len)
{
	if (!r)
		abort(); /* out of memory for a small allocation */
	req->status = status;
	req->response = r;
	/* Of a body without a length libmicrohttpd sends the last chunk in an answer to HEAD, too,
	 * and the client takes that for the next answer. */
	if (req->method == HTTP_HEAD && len == CONTENT_SIZE_UNKNOWN) {
		MHD_set_response_options(r, MHD_RF_HTTP_1_0_COMPATIBLE_STRICT, MHD_RO_END);
		req->close = true;
	}
	req->response_bytes = req->method == HTTP_HEAD || len == CONTENT_SIZE_UNKNOWN ? 0 : len;
}

static void send_range(struct request *req, unsigned status, struct content *content,
		       struct byte_range range)
{
	uint64_t len = range.last - range.first + 1;
	struct MHD_Response *r = NULL;

	/* While few are at work, also what is larger: libmicrohttpd sends a file in pieces of 128
	 * KiB, and the client wakes up for each. */
	if (len <= POOL_BLOCK)
		r = from_memory(req, content, range.first, len);
	/* Of a file libmicrohttpd reads for TLS no more than a record at a time. */
	if (!r && !req->connection->tls)
		r = from_file(content, range.first, len);
	if (!r)
		r = from_reader(req, content, range.first, len);
	set_response(req, status, r, len);
}

static void common_headers(struct request *req, const struct content_reply *reply,
			   const char *coding, bool ranges)
{
	respond_header(req, "Content-Type", "%s", reply->content_type);
	if (reply->tag)
		respond_header(req, "ETag", coding ? "\"%s-%s\"" : "\"%s\"", reply->tag, coding);
	if (coding)
		respond_header(req, "Content-Encoding", "%s", coding);
	if (reply->encode)
		respond_header(req, "Vary", "Accept-Encoding");
	if (ranges)
		respond_header(req, "Accept-Ranges", "bytes");
}

bool respond_condition(struct request *req, const char *etag, uint64_t size)
{
	struct slice if_match = request_header(req, "If-Match");
	struct slice if_none_match = request_header(req, "If-None-Match");

	if (if_match.data && !http_etag_listed(if_match, etag)) {
		request_refuse(req, 412, "it is not what was expected");
		return true;
	}
	if (!if_none_match.data || !http_etag_listed(if_none_match, etag))
		return false;
	/* A length, if there is one, is that of the body that is not sent. */
	set_response(req, 304, from_size(size == CONTENT_SIZE_UNKNOWN ? 0 : size), 0);
	respond_header(req, "ETag", "%s", etag);
	return true;
}

static bool is_answered(struct request *req, const struct content_reply *reply, const char *coding,
			uint64_t size)
{
	char tag[256];

	if (!reply->tag)
		return false;
	snprintf(tag, sizeof(tag), coding ? "\"%s-%s\"" : "\"%s\"", reply->tag, coding);
	if (!respond_condition(req, tag, size))
		return false;
	if (reply->encode)
		respond_header(req, "Vary", "Accept-Encoding");
	return true;
}

/* SPEC rfc-9110 13.1.5: a range of other bytes than the client has the rest of is of no use. `tag`
 * may be NULL. */
static bool if_range_holds(struct request *req, const char *tag)
{
	struct slice header = request_header(req, "If-Range");
	char quoted[256];

	if (!header.data)
		return true;
	if (!tag)
		return false;
	snprintf(quoted, sizeof(quoted), "\"%s\"", tag);
	return slice_equal_str(header, quoted);
}

/* What a client asks for of `size` identity bytes. */
static enum range_kind find_range(struct request *req, const char *tag, uint64_t size,
				  struct byte_range *ret)
{
	struct slice header = request_header(req, "Range");

	if (!header.data || req->method != HTTP_GET || !if_range_holds(req, tag))
		return RANGE_WHOLE;
	return http_range_parse(ret, header, size);
}

static void refuse_range(struct request *req, uint64_t size)
{
	request_refuse(req, 416, "the range is outside of the %llu bytes",
		       (unsigned long long)size);
	respond_header(req, "Content-Range", "bytes */%llu", (unsigned long long)size);
}

static void range_header(struct request *req, struct byte_range range, uint64_t size)
{
	respond_header(req, "Content-Range", "bytes %llu-%llu/%llu",
		       (unsigned long long)range.first, (unsigned long long)range.last,
		       (unsigned long long)size);
}

/* The coding that the client likes best among those the store can make, or NULL. On success
 * `content` is replaced. */
static const char *encode(struct request *req, struct content **content)
{
	static const struct {
		const char *name;
		enum codec codec;
	} codings[] = {{"zstd", CODEC_ZSTD}, {"gzip", CODEC_GZIP}};
	struct slice accept = request_header(req, "Accept-Encoding");
	unsigned q[ARRAY_LEN(codings)];

	if (!accept.data)
		return NULL;
	for (size_t i = 0; i < ARRAY_LEN(codings); i++)
		q[i] = http_accept_encoding(accept, codings[i].name);
	for (size_t i = 0; i < ARRAY_LEN(codings); i++) {
		size_t best = q[1] > q[0] ? 1 - i : i;
		struct content *encoded = NULL;
		struct err err = ERR_INIT;

		if (!q[best] || content_encoded(*content, codings[best].codec, &encoded, &err) < 0)
			continue;
		content_free(*content);
		*content = encoded;
		return codings[best].name;
	}
	return NULL;
}

/* Small bodies at once; what takes more memory when it is asked for again, since layers mostly are
 * not. What has other forms, or is one, is another answer to who accepts them. */
static bool is_worth_keeping(struct request *req, const struct content *content,
			     const struct content_reply *reply, const char *coding)
{
	uint64_t size = content_size(content);

	return !coding && reply->kept_for && reply->tag && req->method == HTTP_GET &&
	       size <= POOL_BLOCK && !content_has_encoded(content) &&
	       (size <= SMALL_BODY || answers_asked_before(req, reply->kept_for, reply->tag));
}

/* False: it could not be read. */
static bool send_and_keep(struct request *req, struct content *content,
			  const struct content_reply *reply)
{
	const struct answer_source source = {.changes = reply->changes};
	size_t size = (size_t)content_size(content), got;
	cleanup_buf struct buf body = BUF_INIT(POOL_BLOCK);
	CLEANUP(answer_release) struct answer *a = NULL;
	struct err err = ERR_INIT;

	if (buf_reserve(&body, size) < 0 ||
	    content_read(content, 0, body.data, size, &got, &err) < 0 || got != size)
		return false;
	body.len = size;
	a = answers_keep(req, reply->kept_for, reply->tag, &source, &body);
	respond_answer(req, a);
	content_free(content);
	return true;
}

static void send_whole(struct request *req, struct content *content,
		       const struct content_reply *reply, const char *coding)
{
	uint64_t size = content_size(content);

	if (req->method == HTTP_HEAD || !size) {
		set_response(req, 200, from_size(size), size);
		content_free(content);
	} else if (is_worth_keeping(req, content, reply, coding) &&
		   send_and_keep(req, content, reply)) {
		/* It was sent. */
	} else if (size == CONTENT_SIZE_UNKNOWN) {
		set_response(req, 200, from_reader(req, content, 0, size), size);
	} else {
		send_range(req, 200, content, (struct byte_range){0, size - 1});
	}
}

void respond_content(struct request *req, struct content *content,
		     const struct content_reply *reply)
{
	uint64_t size = content_size(content);
	enum range_kind kind = RANGE_WHOLE;
	const char *coding = NULL;
	struct byte_range range;
	bool ranges = size != CONTENT_SIZE_UNKNOWN;

	/* A range is one of identity bytes, always. */
	if (ranges)
		kind = find_range(req, reply->tag, size, &range);
	if (kind == RANGE_WHOLE && reply->encode && !request_header(req, "Range").data)
		coding = encode(req, &content);
	if (is_answered(req, reply, coding, content_size(content))) {
		content_free(content);
		return;
	}
	if (kind == RANGE_BAD) {
		content_free(content);
		refuse_range(req, size);
		return;
	}
	if (kind == RANGE_PART)
		send_range(req, 206, content, range);
	else
		send_whole(req, content, reply, coding);
	common_headers(req, reply, coding, ranges && !coding);
	if (kind == RANGE_PART)
		range_header(req, range, size);
}

bool respond_kept(struct request *req, const struct content_reply *reply)
{
	CLEANUP(answer_release) struct answer *a = NULL;

	if (request_header(req, "Range").data)
		return false;
	a = answers_find(req, reply->kept_for, reply->tag);
	if (!a)
		return false;
	if (!is_answered(req, reply, NULL, a->len)) {
		respond_answer(req, a);
		common_headers(req, reply, NULL, true);
	}
	return true;
}

void respond_content_head(struct request *req, uint64_t size, const struct content_reply *reply)
{
	if (is_answered(req, reply, NULL, size))
		return;
	set_response(req, 200, from_size(size), size);
	common_headers(req, reply, NULL, size != CONTENT_SIZE_UNKNOWN && !reply->whole);
}

void respond_entity(struct request *req, struct answer *a)
{
	enum range_kind kind;
	struct byte_range range;
	char etag[DIGEST_TEXT_MAX + 2];

	snprintf(etag, sizeof(etag), "\"%s\"", a->digest);
	if (respond_condition(req, etag, a->len))
		return;
	kind = find_range(req, a->digest, a->len, &range);
	if (kind == RANGE_BAD) {
		refuse_range(req, a->len);
		return;
	}
	if (kind == RANGE_PART) {
		respond_answer_range(req, a, range);
		range_header(req, range, a->len);
	} else {
		respond_answer(req, a);
	}
	respond_header(req, "ETag", "%s", etag);
}
