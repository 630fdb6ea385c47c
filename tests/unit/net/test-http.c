/* SPDX-License-Identifier: Apache-2.0 */
/* What of the HTTP client needs no server: responses, sources, and refusals before anything is sent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>

#include "base/fs.h"
#include "net/http.h"

static void test_headers(void **state)
{
	cleanup_http_response struct http_response r = {0};
	uint64_t length = 0;

	(void)state;
	assert_int_equal(http_response_length(&r, &length), E_NOTFOUND);
	strv_add(&r.headers, "content-length-x: 1");
	strv_add(&r.headers, "content-length: 12");
	strv_add(&r.headers, "empty: ");
	assert_int_equal(http_response_length(&r, &length), 0);
	assert_int_equal(length, 12);
	assert_string_equal(http_response_header(&r, "empty"), "");
	assert_null(http_response_header(&r, "content"));
	strv_release(&r.headers);
	strv_add(&r.headers, "content-length: -1");
	assert_int_equal(http_response_length(&r, &length), E_INVALID);
}

static void test_status(void **state)
{
	static const struct {
		int status, code;
	} cases[] = {
		{400, E_INVALID},     {401, E_DENIED},      {403, E_DENIED},   {404, E_NOTFOUND},
		{405, E_UNSUPPORTED}, {408, E_NET},         {409, E_CONFLICT}, {410, E_NOTFOUND},
		{412, E_CONFLICT},    {413, E_LIMIT},       {422, E_INVALID},  {429, E_NET},
		{500, E_NET},         {501, E_UNSUPPORTED}, {503, E_NET},      {302, E_NET},
		{999, E_NET},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		cleanup_http_response struct http_response r = {
			.status = cases[i].status, .url = xstrdup("http://h/a?token=1")};
		struct err err = ERR_INIT;

		buf_add_str(&r.body, "first line\nsecond line");
		assert_int_equal(http_status_err(&r, "do it", &err), cases[i].code);
		assert_non_null(strstr(err.text, "http://h/a"));
		assert_non_null(strstr(err.text, "first line"));
		assert_null(strstr(err.text, "second"));
		assert_null(strstr(err.text, "token"));
	}
}

static void read_all(struct http_source *s, struct buf *ret)
{
	struct err err = ERR_INIT;
	char piece[3];
	int64_t n;

	buf_reset(ret);
	while ((n = s->read(s, piece, sizeof(piece), &err)) > 0)
		assert_int_equal(buf_add(ret, piece, (size_t)n), 0);
	assert_int_equal(n, 0);
}

static void test_sources(void **state)
{
	cleanup_fd int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	cleanup_buf struct buf got = {0};
	struct http_slice_source slice;
	struct http_fd_source file;
	struct err err = ERR_INIT;
	char c;

	(void)state;
	http_slice_source_init(&slice, slice_str("0123456789"));
	for (int i = 0; i < 2; i++) {
		read_all(&slice.source, &got);
		assert_string_equal((char *)got.data, "0123456789");
		assert_int_equal(slice.source.rewind(&slice.source, &err), 0);
	}
	assert_true(fd >= 0);
	assert_int_equal(write_full(fd, "0123456789", 10), 0);
	http_fd_source_init(&file, fd, 2, 5, "file");
	for (int i = 0; i < 2; i++) {
		read_all(&file.source, &got);
		assert_string_equal((char *)got.data, "23456");
		assert_int_equal(file.source.rewind(&file.source, &err), 0);
	}
	/* A file that became shorter. */
	http_fd_source_init(&file, fd, 9, 5, "file");
	assert_int_equal(file.source.read(&file.source, &c, 1, &err), 1);
	assert_int_equal(file.source.read(&file.source, &c, 1, &err), E_CONFLICT);
}

static void test_refuses(void **state)
{
	static const char *const urls[] = {
		"", "x", "ftp://h/", "file:///etc/passwd", "http://u:p@h/", "http://h/\r\nX: y"};
	CLEANUP(http_free) struct http *http = NULL;
	cleanup_strv struct strv headers = {0};
	struct http_request req = {.url = "http://127.0.0.1:1/"};
	struct err err = ERR_INIT;

	(void)state;
	assert_int_equal(http_new(&http, NULL, &err), 0);
	assert_int_equal(http_run(http, &err), 0);
	for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
		struct http_request bad = {.url = urls[i]};

		err = ERR_INIT;
		assert_int_equal(http_submit(http, &bad, &err), E_USAGE);
		assert_null(strstr(err.text, "u:p"));
	}
	strv_add(&headers, "no colon");
	req.headers = &headers;
	assert_int_equal(http_submit(http, &req, &err), E_USAGE);
	req.headers = NULL;
	req.authorization = "Basic x\nX: y";
	assert_int_equal(http_submit(http, &req, &err), E_USAGE);
	/* What is queued is dropped with the client. */
	req.authorization = "Basic x";
	assert_int_equal(http_submit(http, &req, &err), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_headers),
		cmocka_unit_test(test_status),
		cmocka_unit_test(test_sources),
		cmocka_unit_test(test_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
