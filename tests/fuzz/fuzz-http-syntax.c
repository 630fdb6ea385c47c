/* SPDX-License-Identifier: Apache-2.0 */
/* What requests carry: ranges, codings, tags, targets, routes. The first byte says which parser. */
#include "serve/http-syntax.h"
#include "serve/listen.h"
#include "serve/route.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
	if (!ok)
		abort();
}

static void fuzz_range(struct slice text)
{
	static const uint64_t sizes[] = {0, 1, 10, 1 << 20, UINT64_MAX};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct byte_range r = {1, 0};

		if (http_range_parse(&r, text, sizes[i]) == RANGE_PART)
			check(r.first <= r.last && r.last < sizes[i]);
	}
}

static void fuzz_content_range(struct slice text)
{
	struct byte_range r = {1, 0};

	if (http_content_range_parse(&r, text) == 0)
		check(r.first <= r.last && r.last < UINT64_MAX);
}

static void fuzz_headers(struct slice text)
{
	check(http_accept_encoding(text, "zstd") <= 1000);
	http_etag_listed(text, "\"sha256:00\"");
	check(http_media_type(text).len <= text.len);
}

/* What is decoded is never longer, and encoding it again gives the same text back. */
static void fuzz_target(struct slice text)
{
	char path[512], again[2048] = "", twice[512];
	struct route route;
	int n = uri_decode(path, sizeof(path), text);

	if (n < 0)
		return;
	check((size_t)n <= text.len && path[n] == 0);
	check(uri_encode(again, sizeof(again), slice_make(path, (size_t)n)) == 0);
	check(uri_decode(twice, sizeof(twice), slice_str(again)) == n);
	check(memcmp(path, twice, (size_t)n) == 0);
	if (path[0] != '/')
		return;
	route_find(&route, slice_make(path, (size_t)n));
	check(route.endpoint < ENDPOINT_COUNT);
	check(route.name.len + route.arg.len <= (size_t)n);
}

static void fuzz_query(struct slice text)
{
	char value[64];

	for (size_t nth = 0; nth < 4; nth++)
		if (query_get(value, sizeof(value), text, "n", nth) == 1)
			check(strlen(value) < sizeof(value));
}

static void fuzz_listen(struct slice text)
{
	struct listen_address a;
	struct err err = ERR_INIT;

	if (listen_parse(&a, text, &err) == 0)
		check(a.path[0] || a.port[0]);
	else
		check(err.code == E_USAGE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const parsers[])(struct slice) = {
		fuzz_range, fuzz_content_range, fuzz_headers, fuzz_target, fuzz_query, fuzz_listen,
	};

	if (!size)
		return 0;
	parsers[data[0] % (sizeof(parsers) / sizeof(parsers[0]))](slice_make(data + 1, size - 1));
	return 0;
}
