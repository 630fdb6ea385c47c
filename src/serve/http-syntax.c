/* SPDX-License-Identifier: Apache-2.0 */
#include <strings.h>

#include <nacre/encode.h>

#include "serve/http-syntax.h"

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t';
}

static bool is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

static struct slice trim(struct slice s)
{
	while (s.len && is_blank(s.data[0]))
		slice_advance(&s, 1);
	while (s.len && is_blank(s.data[s.len - 1]))
		s.len--;
	return s;
}

static bool equal_nocase(struct slice a, const char *b)
{
	return a.len == strlen(b) && strncasecmp((const char *)a.data, b, a.len) == 0;
}

/* Cuts the part up to `sep` (or the end) off the front of `rest`; false when nothing is left. */
static bool next_item(struct slice *ret, struct slice *rest, uint8_t sep)
{
	const uint8_t *end;

	if (!rest->data)
		return false;
	end = rest->len ? memchr(rest->data, sep, rest->len) : NULL;
	if (end) {
		*ret = slice_make(rest->data, (size_t)(end - rest->data));
		slice_advance(rest, ret->len + 1);
	} else {
		*ret = *rest;
		*rest = slice_make(NULL, 0);
	}
	return true;
}

/* Takes digits off the front; a number past 64 bits counts as the largest. False without a
 * digit. */
static bool take_number(uint64_t *ret, struct slice *s)
{
	uint64_t n = 0;

	if (!s->len || !is_digit(s->data[0]))
		return false;
	for (; s->len && is_digit(s->data[0]); slice_advance(s, 1)) {
		if (__builtin_mul_overflow(n, 10, &n) ||
		    __builtin_add_overflow(n, (uint64_t)(s->data[0] - '0'), &n))
			n = UINT64_MAX;
	}
	*ret = n;
	return true;
}

static bool take_char(struct slice *s, uint8_t c)
{
	if (!s->len || s->data[0] != c)
		return false;
	slice_advance(s, 1);
	return true;
}

/* "-<length>": the last bytes. */
static enum range_kind parse_suffix(struct byte_range *ret, struct slice s, uint64_t size)
{
	uint64_t length;

	if (!take_number(&length, &s) || s.len)
		return RANGE_WHOLE;
	if (!length || !size)
		return RANGE_BAD;
	*ret = (struct byte_range){length < size ? size - length : 0, size - 1};
	return RANGE_PART;
}

enum range_kind http_range_parse(struct byte_range *ret, struct slice header, uint64_t size)
{
	struct slice s = trim(header);
	uint64_t first, last = UINT64_MAX;

	if (s.len < 6 || strncasecmp((const char *)s.data, "bytes=", 6) != 0)
		return RANGE_WHOLE;
	slice_advance(&s, 6);
	s = trim(s);
	/* Several ranges would need a multipart body, which no client of ours asks for. */
	if (s.len && memchr(s.data, ',', s.len))
		return RANGE_WHOLE;
	if (take_char(&s, '-'))
		return parse_suffix(ret, s, size);
	if (!take_number(&first, &s) || !take_char(&s, '-'))
		return RANGE_WHOLE;
	if (s.len && (!take_number(&last, &s) || s.len))
		return RANGE_WHOLE;
	if (first >= size || last < first)
		return RANGE_BAD;
	*ret = (struct byte_range){first, last < size ? last : size - 1};
	return RANGE_PART;
}

int http_content_range_parse(struct byte_range *ret, struct slice header)
{
	struct slice s = trim(header);
	struct byte_range range;
	uint64_t whole;
	bool standard = false;

	if (s.len > 6 && strncasecmp((const char *)s.data, "bytes ", 6) == 0) {
		slice_advance(&s, 6);
		s = trim(s);
		standard = true;
	}
	if (!take_number(&range.first, &s) || !take_char(&s, '-') || !take_number(&range.last, &s))
		return E_INVALID;
	if (standard && take_char(&s, '/') && !take_char(&s, '*')) {
		if (!take_number(&whole, &s) || range.last >= whole)
			return E_INVALID;
	}
	if (s.len || range.last < range.first || range.last == UINT64_MAX)
		return E_INVALID;
	*ret = range;
	return 0;
}

/* "1", "0.5", "0.123": thousandths. A value of no grammar is 0: the coding is not used then. */
static unsigned parse_quality(struct slice s)
{
	unsigned q = 0, unit = 100;

	if (!s.len || (s.data[0] != '0' && s.data[0] != '1'))
		return 0;
	q = s.data[0] == '1' ? 1000 : 0;
	slice_advance(&s, 1);
	if (!s.len)
		return q;
	if (!take_char(&s, '.') || s.len > 3)
		return 0;
	for (; s.len; slice_advance(&s, 1), unit /= 10) {
		if (!is_digit(s.data[0]))
			return 0;
		q += (unsigned)(s.data[0] - '0') * unit;
	}
	return q > 1000 ? 0 : q;
}

/* The quality among the parameters behind an item's name. */
static unsigned item_quality(struct slice params)
{
	struct slice param;

	while (next_item(&param, &params, ';')) {
		param = trim(param);
		if (param.len >= 2 && (param.data[0] | 0x20) == 'q' && param.data[1] == '=') {
			slice_advance(&param, 2);
			return parse_quality(param);
		}
	}
	return 1000;
}

unsigned http_accept_encoding(struct slice header, const char *coding)
{
	struct slice item, name;
	unsigned any = 0;

	while (next_item(&item, &header, ',')) {
		if (!next_item(&name, &item, ';'))
			continue;
		name = trim(name);
		if (equal_nocase(name, coding))
			return item_quality(item);
		if (slice_equal_str(name, "*"))
			any = item_quality(item);
	}
	return any;
}

bool http_etag_listed(struct slice header, const char *etag)
{
	struct slice item;

	while (next_item(&item, &header, ',')) {
		item = trim(item);
		if (slice_equal_str(item, "*"))
			return true;
		if (slice_has_prefix(item, "W/"))
			slice_advance(&item, 2);
		if (slice_equal_str(item, etag))
			return true;
	}
	return false;
}

struct slice http_media_type(struct slice header)
{
	struct slice type = header;

	next_item(&type, &header, ';');
	return trim(type);
}

static int hex_digit(uint8_t c)
{
	if (is_digit(c))
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int uri_decode(char *ret, size_t size, struct slice text)
{
	size_t n = 0;

	for (; text.len; slice_advance(&text, 1)) {
		int c = text.data[0];

		if (c == '%') {
			int high = text.len > 2 ? hex_digit(text.data[1]) : -1;
			int low = text.len > 2 ? hex_digit(text.data[2]) : -1;

			if (high < 0 || low < 0)
				return E_INVALID;
			c = high << 4 | low;
			slice_advance(&text, 2);
		}
		if (c == 0)
			return E_INVALID;
		if (n + 1 >= size)
			return E_LIMIT;
		ret[n++] = (char)c;
	}
	if (n >= size)
		return E_LIMIT;
	ret[n] = 0;
	return (int)n;
}

int query_get(char *ret, size_t size, struct slice query, const char *key, size_t nth)
{
	struct slice item, name;

	while (next_item(&item, &query, '&')) {
		int r;

		if (!next_item(&name, &item, '=') || !slice_equal_str(name, key) || nth--)
			continue;
		r = uri_decode(ret, size, item);
		return r < 0 ? r : 1;
	}
	return 0;
}

int uri_encode(char *ret, size_t size, struct slice text)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t n = strlen(ret);

	for (; text.len; slice_advance(&text, 1)) {
		uint8_t c = text.data[0];
		bool plain = is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
			     (c && strchr("-._~/", c));

		if (n + (plain ? 1 : 3) >= size)
			return E_LIMIT;
		if (plain) {
			ret[n++] = (char)c;
		} else {
			ret[n++] = '%';
			ret[n++] = hex[c >> 4];
			ret[n++] = hex[c & 15];
		}
		ret[n] = 0;
	}
	return 0;
}
