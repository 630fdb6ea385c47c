/* SPDX-License-Identifier: Apache-2.0 */
/* Members of JSON objects by type, see nacre/json.h. */
#include <nacre/json.h>

static const char *type_name(const json_t *value)
{
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "an array";
	case JSON_STRING:
		return "a text";
	case JSON_INTEGER:
	case JSON_REAL:
		return "a number";
	case JSON_TRUE:
	case JSON_FALSE:
		return "a boolean";
	case JSON_NULL:
		break;
	}
	return "null";
}

/* "where.key", or "key" at the top. */
static int wrong_type(const char *where, const char *key, const char *wanted, const json_t *value,
		      struct err *err)
{
	return err_set(err, E_INVALID, "%s%s%s: must be %s, is %s", where, *where ? "." : "", key,
		       wanted, type_name(value));
}

/* 1: *ret is the member; 0: absent or null; E_INVALID: absent although required. */
static int get_member(const json_t *obj, const char *where, const char *key, bool required,
		      json_t **ret, struct err *err)
{
	json_t *value = json_object_get(obj, key);

	if (value && !json_is_null(value)) {
		*ret = value;
		return 1;
	}
	if (required)
		return err_set(err, E_INVALID, "%s%s%s: is missing", where, *where ? "." : "", key);
	return 0;
}

int json_get_text(const json_t *obj, const char *where, const char *key, bool required,
		  const char **ret, struct err *err)
{
	json_t *value;
	int r = get_member(obj, where, key, required, &value, err);

	if (r <= 0)
		return r;
	if (!json_is_string(value))
		return wrong_type(where, key, "a text", value, err);
	*ret = json_string_value(value);
	return 1;
}

int json_get_size(const json_t *obj, const char *where, const char *key, bool required,
		  uint64_t *ret, struct err *err)
{
	json_t *value;
	int r = get_member(obj, where, key, required, &value, err);

	if (r <= 0)
		return r;
	if (!json_is_integer(value))
		return wrong_type(where, key, "a whole number", value, err);
	if (json_integer_value(value) < 0)
		return err_set(err, E_INVALID, "%s%s%s: must not be negative", where,
			       *where ? "." : "", key);
	*ret = (uint64_t)json_integer_value(value);
	return 1;
}

int json_get_bool(const json_t *obj, const char *where, const char *key, bool *ret, struct err *err)
{
	json_t *value;
	int r = get_member(obj, where, key, false, &value, err);

	if (r <= 0)
		return r;
	if (!json_is_boolean(value))
		return wrong_type(where, key, "true or false", value, err);
	*ret = json_is_true(value);
	return 1;
}

int json_get_array(const json_t *obj, const char *where, const char *key, bool required,
		   json_t **ret, struct err *err)
{
	json_t *value;
	int r = get_member(obj, where, key, required, &value, err);

	if (r <= 0)
		return r;
	if (!json_is_array(value))
		return wrong_type(where, key, "an array", value, err);
	*ret = value;
	return 1;
}

int json_get_object(const json_t *obj, const char *where, const char *key, bool required,
		    json_t **ret, struct err *err)
{
	json_t *value;
	int r = get_member(obj, where, key, required, &value, err);

	if (r <= 0)
		return r;
	if (!json_is_object(value))
		return wrong_type(where, key, "an object", value, err);
	*ret = value;
	return 1;
}

int json_get_texts(const json_t *obj, const char *where, const char *key, struct strv *ret,
		   struct err *err)
{
	json_t *list, *item;
	size_t i;
	int r = json_get_array(obj, where, key, false, &list, err);

	if (r <= 0)
		return r;
	json_array_foreach (list, i, item)
		if (!json_is_string(item))
			return wrong_type(where, key, "an array of texts", item, err);
	json_array_foreach (list, i, item)
		strv_add(ret, json_string_value(item));
	return 1;
}
