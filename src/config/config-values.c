/* SPDX-License-Identifier: Apache-2.0 */
/* Types. */
#include <string.h>

#include <nacre/encode.h>

#include "config/config-internal.h"

static int typed(struct config *map, const char *key, enum config_kind kind, struct config **ret,
		 struct err *err)
{
	static const char *const names[] = {"nothing", "one value", "a list", "a map of keys"};
	struct config *c = config_child(map, key);

	if (!c)
		return 0;
	if (c->kind != kind) {
		config_fail(c, err, "this is %s; it must be %s", names[c->kind], names[kind]);
		return E_INVALID;
	}
	*ret = c;
	return 1;
}

int config_map(struct config *map, const char *key, struct config **ret, struct err *err)
{
	int r = typed(map, key, CONFIG_MAP, ret, err);

	return r < 0 ? r : 0;
}

int config_list(struct config *map, const char *key, struct config **ret, struct err *err)
{
	struct config *c = config_child(map, key);

	if (c && c->kind == CONFIG_MAP)
		return config_fail(c, err, "this is a map of keys; it must be a list");
	if (c)
		*ret = c;
	return 0;
}

int config_as_text(struct config *value, const char **ret, struct err *err)
{
	if (value->kind != CONFIG_TEXT)
		return config_fail(value, err, "one value is expected here");
	*ret = value->text;
	return 0;
}

/* 1: there; 0: missing. */
static int scalar(struct config *map, const char *key, struct config **ret, struct err *err)
{
	return typed(map, key, CONFIG_TEXT, ret, err);
}

int config_text(struct config *map, const char *key, const char **ret, struct err *err)
{
	struct config *c;
	int r = scalar(map, key, &c, err);

	if (r > 0)
		*ret = c->text;
	return r < 0 ? r : 0;
}

int config_bool(struct config *map, const char *key, bool *ret, struct err *err)
{
	static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};
	struct config *c;
	int r = scalar(map, key, &c, err);

	if (r <= 0)
		return r;
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (strcmp(c->text, words[i]) == 0) {
			*ret = i & 1;
			return 0;
		}
	}
	return config_fail(c, err, "'%.100s' is neither true nor false", c->text);
}

int config_number(struct config *map, const char *key, struct config_range range, uint64_t *ret,
		  struct err *err)
{
	struct config *c;
	uint64_t n;
	int r = scalar(map, key, &c, err);

	if (r <= 0)
		return r;
	if (parse_u64(&n, slice_str(c->text)) < 0 || n < range.min || n > range.max)
		return config_fail(c, err, "'%.100s' is not a number from %llu to %llu", c->text,
				   (unsigned long long)range.min, (unsigned long long)range.max);
	*ret = n;
	return 0;
}

struct unit {
	const char *name;
	uint64_t factor;
};

enum { FRACTION_DIGITS = 3 };

/* "<digits>[.<digits>][ ]<unit>". False: not that, or beyond 64 bits. */
static bool with_unit(const char *text, const struct unit *units, size_t n_units, uint64_t *ret)
{
	size_t whole = strspn(text, "0123456789"), fraction = 0;
	const char *rest = text + whole;
	uint64_t n, part = 0, scale = 1;

	if (parse_u64(&n, slice_make(text, whole)) < 0)
		return false;
	if (rest[0] == '.') {
		fraction = strspn(++rest, "0123456789");
		if (!fraction || fraction > FRACTION_DIGITS ||
		    parse_u64(&part, slice_make(rest, fraction)) < 0)
			return false;
		rest += fraction;
		for (size_t i = 0; i < fraction; i++)
			scale *= 10;
	}
	rest += *rest == ' ';
	for (size_t i = 0; i < n_units; i++) {
		if (strcmp(rest, units[i].name) != 0)
			continue;
		/* Half a byte or a quarter of a millisecond is a mistake. */
		if (mul_checked(&n, n, units[i].factor) < 0 || (part * units[i].factor) % scale)
			return false;
		return add_checked(ret, n, part * units[i].factor / scale) == 0;
	}
	return false;
}

static const struct unit byte_units[] = {
	{"", 1},
	{"B", 1},
	{"KiB", 1ull << 10},
	{"MiB", 1ull << 20},
	{"GiB", 1ull << 30},
	{"TiB", 1ull << 40},
	{"kB", 1000},
	{"KB", 1000},
	{"MB", 1000000},
	{"GB", 1000000000},
	{"TB", 1000000000000},
};

int config_bytes(struct config *map, const char *key, uint64_t *ret, struct err *err)
{
	struct config *c;
	uint64_t n;
	int r = scalar(map, key, &c, err);

	if (r <= 0)
		return r;
	if (strcmp(c->text, "none") == 0)
		n = UINT64_MAX;
	else if (!with_unit(c->text, byte_units, ARRAY_LEN(byte_units), &n))
		return config_fail(c, err,
				   "'%.100s' is not a size: say 4096, 64 KiB, 1.5GiB or none",
				   c->text);
	*ret = n;
	return 0;
}

static const struct unit duration_units[] = {
	{"ms", 1},      {"", 1000},     {"s", 1000},     {"m", 60000},
	{"min", 60000}, {"h", 3600000}, {"d", 86400000}, {"w", 604800000},
};

int config_duration(struct config *map, const char *key, struct config_range range_ms,
		    uint64_t *ret_ms, struct err *err)
{
	struct config *c;
	uint64_t n;
	int r = scalar(map, key, &c, err);

	if (r <= 0)
		return r;
	if (!with_unit(c->text, duration_units, ARRAY_LEN(duration_units), &n))
		return config_fail(c, err,
				   "'%.100s' is not a duration: say 250ms, 30s, 5m, 24h or 14d",
				   c->text);
	if (n < range_ms.min || n > range_ms.max)
		return config_fail(c, err, "'%.100s' is not between %llu and %llu milliseconds",
				   c->text, (unsigned long long)range_ms.min,
				   (unsigned long long)range_ms.max);
	*ret_ms = n;
	return 0;
}

int config_choice(struct config *map, const char *key, const char *const *names, unsigned *ret,
		  struct err *err)
{
	cleanup_buf struct buf all = {0};
	struct config *c;
	int r = scalar(map, key, &c, err);

	if (r <= 0)
		return r;
	for (unsigned i = 0; names[i]; i++) {
		if (strcmp(c->text, names[i]) == 0) {
			*ret = i;
			return 0;
		}
		buf_addf(&all, "%s%s", i ? ", " : "", names[i]);
	}
	return config_fail(c, err, "'%.100s' is not one of: %.*s", c->text, (int)all.len,
			   (const char *)all.data);
}
