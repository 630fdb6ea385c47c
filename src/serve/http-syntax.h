/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What requests carry besides their body: request targets, ranges, codings, entity tags. Pure
 * functions over borrowed slices; they allocate nothing and never fail otherwise than by what they
 * return. Whatever HTTP says may be ignored when it is malformed, is ignored.
 */
#ifndef NACRE_HTTP_SYNTAX_H
#define NACRE_HTTP_SYNTAX_H

#include <nacre/err.h>
#include <nacre/slice.h>

/* Positions of bytes, both inclusive. */
struct byte_range {
	uint64_t first, last;
};

enum range_kind {
	RANGE_WHOLE, /* no range, or one that may be ignored: other unit, several ranges, no grammar */
	RANGE_PART, /* one that can be served */
	RANGE_BAD,  /* 416: lies behind the end, or ends before it begins */
};

/* SPEC rfc-9110 14.2: a Range header against a representation of `size` bytes. `ret` is written for
 * RANGE_PART alone; its last is below `size`. */
enum range_kind http_range_parse(struct byte_range *ret, struct slice header, uint64_t size);

/* SPEC dist-1.1 end-5: "<first>-<last>"; RFC 9110's "bytes <first>-<last>/<size or *>" is taken as
 * well. 0 or E_INVALID. */
int http_content_range_parse(struct byte_range *ret, struct slice header);

/* SPEC rfc-9110 12.5.3: how welcome a content coding is: thousandths of its quality value, 0 if
 * it is not accepted. Without a header (empty slice) nothing but identity is. */
unsigned http_accept_encoding(struct slice header, const char *coding);

/* SPEC rfc-9110 13.1.2: does an If-None-Match header name `etag` (with its quotes), or "*"? Weak
 * comparison. */
bool http_etag_listed(struct slice header, const char *etag);

/* The media type of a Content-Type header: without parameters and blanks around it. */
struct slice http_media_type(struct slice header);

/* Decodes %XX into `ret` of `size` bytes and puts a NUL behind. Returns the length; E_INVALID for a
 * broken escape or an encoded NUL; E_LIMIT when it does not fit. A '+' stays a '+'. */
int uri_decode(char *ret, size_t size, struct slice text);

/* The decoded value of the `nth` parameter (from 0) called `key` in a query (without its '?'): 1
 * found, 0 there is none, E_INVALID or E_LIMIT as uri_decode(). */
int query_get(char *ret, size_t size, struct slice query, const char *key, size_t nth);

/* Appends `text` to `ret` (of `size` bytes, NUL-terminated) with everything but unreserved
 * characters and '/' escaped. E_LIMIT when it does not fit. */
int uri_encode(char *ret, size_t size, struct slice text);

#endif
