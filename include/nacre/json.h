/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON from outside, read strictly, and JSON of ours, written canonically (RFC 8785), over jansson
 * values.
 */
#ifndef NACRE_JSON_H
#define NACRE_JSON_H

#include <jansson.h>

#include <nacre/buf.h>
#include <nacre/err.h>

enum {
	JSON_DEPTH_MAX = 64,       /* nesting of objects and arrays */
	JSON_VALUES_MAX = 1 << 19, /* values in one document; bounds memory beyond the text */
};

/* Parses a whole document. Refused: more than `max_bytes` (E_LIMIT), deeper than JSON_DEPTH_MAX or
 * more than JSON_VALUES_MAX values (E_LIMIT), duplicate keys, NUL in a text, text that is not
 * UTF-8, anything behind the document (E_INVALID with line and column). The value is owned by the
 * caller (json_decref, cleanup_json). */
NACRE_API int json_parse(json_t **ret, struct slice text, size_t max_bytes, struct err *err);

/* Appends the canonical form (RFC 8785): no blanks, keys by UTF-16 code units, minimal escapes.
 * Integers only, up to 2^53 - 1 either way: a real is E_INVALID, a larger integer or a depth past
 * JSON_DEPTH_MAX is E_LIMIT, as is the buffer's maximum. */
NACRE_API int json_canonical(struct buf *ret, const json_t *value);

/* Appends one text, in quotes, escaped as json_canonical() does; it is UTF-8. E_LIMIT. */
NACRE_API int json_write_text(struct buf *out, struct slice text);

/* Members of an object by type. Absent and null are 0 with *ret untouched, or E_INVALID if
 * `required`; present is 1; another type is E_INVALID. `where` names the object in messages:
 * "layers[3]". Results are borrowed from `obj`. */
NACRE_API int json_get_text(const json_t *obj, const char *where, const char *key, bool required,
			    const char **ret, struct err *err);
NACRE_API int json_get_size(const json_t *obj, const char *where, const char *key, bool required,
			    uint64_t *ret, struct err *err);
NACRE_API int json_get_bool(const json_t *obj, const char *where, const char *key, bool *ret,
			    struct err *err);
NACRE_API int json_get_array(const json_t *obj, const char *where, const char *key, bool required,
			     json_t **ret, struct err *err);
NACRE_API int json_get_object(const json_t *obj, const char *where, const char *key, bool required,
			      json_t **ret, struct err *err);
/* An array of texts, copied to the end of `ret`. */
NACRE_API int json_get_texts(const json_t *obj, const char *where, const char *key,
			     struct strv *ret, struct err *err);

static inline void json_decref_ptr(json_t **value)
{
	json_decref(*value);
}
#define cleanup_json __attribute__((cleanup(json_decref_ptr)))

#endif
