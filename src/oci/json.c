/* SPDX-License-Identifier: Apache-2.0 */
/* Strict reading and canonical writing of JSON, see nacre/json.h. */
#include <nacre/json.h>

#include "base/mem.h"

/* Nesting and number of values, counted before jansson builds anything: it recurses, and a value of
 * two bytes of text costs it a hundred. Up to the first syntax error this sees what jansson sees;
 * behind it, jansson sees nothing. */
static int scan_limits(struct slice text, struct err *err)
{
	size_t depth = 0, values = 1;
	bool quoted = false;

	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.data[i];

		if (quoted) {
			if (c == '\\')
				i++;
			else if (c == '"')
				quoted = false;
			continue;
		}
		if (c == '"')
			quoted = true;
		else if (c == '{' || c == '[')
			depth++;
		else if ((c == '}' || c == ']') && depth)
			depth--;
		if (c == '{' || c == '[' || c == ',')
			values++;
		if (depth > JSON_DEPTH_MAX)
			return err_set(err, E_LIMIT, "JSON is nested deeper than %d at byte %zu",
				       JSON_DEPTH_MAX, i);
		if (values > JSON_VALUES_MAX)
			return err_set(err, E_LIMIT, "JSON has more than %d values",
				       JSON_VALUES_MAX);
	}
	return 0;
}

int json_parse(json_t **ret, struct slice text, size_t max_bytes, struct err *err)
{
	json_error_t where;
	json_t *value;
	int r;

	if (text.len > max_bytes)
		return err_set(err, E_LIMIT, "JSON of %zu bytes is larger than the limit of %zu",
			       text.len, max_bytes);
	r = scan_limits(text, err);
	if (r < 0)
		return r;
	value = json_loadb(text.len ? (const char *)text.data : "", text.len,
			   JSON_REJECT_DUPLICATES, &where);
	if (!value)
		return err_set(err, E_INVALID, "malformed JSON at line %d, column %d: %s",
			       where.line, where.column, where.text);
	*ret = value;
	return 0;
}

/* RFC 8785, 3.2.3: keys are sorted by UTF-16 code units. UTF-8 sorts by code point; the two differ
 * where a code point past U+FFFF (lead byte F0 and up, in UTF-16 a surrogate D800 and up) meets one
 * of U+E000 to U+FFFF (lead byte EE or EF). */
static int utf16_compare(struct slice a, struct slice b)
{
	size_t n = a.len < b.len ? a.len : b.len;

	for (size_t i = 0; i < n; i++) {
		uint8_t x = a.data[i], y = b.data[i];

		if (x == y)
			continue;
		if (x >= 0xee && y >= 0xee && (x >= 0xf0) != (y >= 0xf0))
			return x >= 0xf0 ? -1 : 1;
		return x < y ? -1 : 1;
	}
	return (a.len > b.len) - (a.len < b.len);
}

struct member {
	struct slice key; /* borrowed from the object */
	const json_t *value;
};

static int compare_members(const void *a, const void *b)
{
	return utf16_compare(((const struct member *)a)->key, ((const struct member *)b)->key);
}

/* RFC 8785, 3.2.2.2. */
int json_write_text(struct buf *out, struct slice text)
{
	static const char letters[] = "btn\0fr"; /* of 0x08 to 0x0d */
	size_t plain = 0;
	int r = buf_add(out, "\"", 1);

	for (size_t i = 0; i < text.len && r >= 0; i++) {
		uint8_t c = text.data[i];

		if (c >= 0x20 && c != '"' && c != '\\')
			continue;
		r = buf_add(out, text.data + plain, i - plain);
		plain = i + 1;
		if (r < 0)
			break;
		if (c >= 0x20)
			r = buf_addf(out, "\\%c", c);
		else if (c >= 0x08 && c <= 0x0d && letters[c - 0x08])
			r = buf_addf(out, "\\%c", letters[c - 0x08]);
		else
			r = buf_addf(out, "\\u%04x", c);
	}
	if (r >= 0)
		r = buf_add(out, text.data + plain, text.len - plain);
	return r < 0 ? r : buf_add(out, "\"", 1);
}

static int write_value(struct buf *out, const json_t *value, int depth);

static int write_object(struct buf *out, const json_t *value, int depth)
{
	size_t n = json_object_size(value), i = 0;
	cleanup_free struct member *members = xcalloc(n + 1, sizeof(*members));
	json_t *object = (json_t *)value; /* jansson's iterator is not const; nothing is changed */
	int r;

	for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it))
		members[i++] = (struct member){
			slice_make(json_object_iter_key(it), json_object_iter_key_len(it)),
			json_object_iter_value(it)};
	qsort(members, n, sizeof(*members), compare_members);
	r = buf_add(out, "{", 1);
	for (i = 0; i < n && r >= 0; i++) {
		if (i)
			r = buf_add(out, ",", 1);
		if (r >= 0)
			r = json_write_text(out, members[i].key);
		if (r >= 0)
			r = buf_add(out, ":", 1);
		if (r >= 0)
			r = write_value(out, members[i].value, depth + 1);
	}
	return r < 0 ? r : buf_add(out, "}", 1);
}

static int write_array(struct buf *out, const json_t *value, int depth)
{
	size_t n = json_array_size(value);
	int r = buf_add(out, "[", 1);

	for (size_t i = 0; i < n && r >= 0; i++) {
		if (i)
			r = buf_add(out, ",", 1);
		if (r >= 0)
			r = write_value(out, json_array_get(value, i), depth + 1);
	}
	return r < 0 ? r : buf_add(out, "]", 1);
}

/* RFC 8785, 3.2.2.3: numbers are IEEE doubles; up to here an integer is one exactly. */
static int write_integer(struct buf *out, json_int_t n)
{
	const json_int_t max = ((json_int_t)1 << 53) - 1;

	if (n > max || n < -max)
		return E_LIMIT;
	return buf_addf(out, "%" JSON_INTEGER_FORMAT, n);
}

static int write_value(struct buf *out, const json_t *value, int depth)
{
	if (depth > JSON_DEPTH_MAX)
		return E_LIMIT;
	if (!value)
		return E_INVALID;
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		return write_object(out, value, depth);
	case JSON_ARRAY:
		return write_array(out, value, depth);
	case JSON_STRING:
		return json_write_text(
			out, slice_make(json_string_value(value), json_string_length(value)));
	case JSON_INTEGER:
		return write_integer(out, json_integer_value(value));
	case JSON_TRUE:
		return buf_add_str(out, "true");
	case JSON_FALSE:
		return buf_add_str(out, "false");
	case JSON_NULL:
		return buf_add_str(out, "null");
	case JSON_REAL:
		break;
	}
	return E_INVALID;
}

int json_canonical(struct buf *ret, const json_t *value)
{
	size_t before = ret->len;
	int r = write_value(ret, value, 0);

	if (r < 0 && ret->data) {
		ret->len = before;
		ret->data[before] = '\0';
	}
	return r;
}
