/* SPDX-License-Identifier: Apache-2.0 */
/* Link headers (SPEC rfc8288 3): `<target>; rel="next", <other>; rel=prev`. */
#include "base/mem.h"
#include "net/challenge.h"
#include "net/header-scan.h"

enum { LINK_PARAMS_MAX = 32 };

/* Is `rel` one of the blank-separated relation types? */
static bool has_relation(const char *types, const char *rel)
{
	struct slice s = slice_str(types);

	for (;;) {
		struct slice word;

		header_skip_blanks(&s);
		if (!s.len)
			return false;
		word = slice_make(s.data, 0);
		while (s.len && s.data[0] != ' ' && s.data[0] != '\t') {
			word.len++;
			slice_advance(&s, 1);
		}
		if (header_name_is(word, rel))
			return true;
	}
}

static int take_target(struct slice *s, struct slice *ret)
{
	const uint8_t *end;

	if (!header_take_char(s, '<'))
		return E_INVALID;
	end = s->len ? memchr(s->data, '>', s->len) : NULL;
	if (!end)
		return E_INVALID;
	*ret = slice_make(s->data, (size_t)(end - s->data));
	slice_advance(s, ret->len + 1);
	return 0;
}

/* The parameters of one link; *ret says whether its relation (the first `rel` counts) is the one
 * looked for. */
static int take_link_params(struct slice *s, const char *rel, bool *ret)
{
	bool seen = false, found = false;

	for (size_t n = 0; n <= LINK_PARAMS_MAX; n++) {
		cleanup_free char *value = NULL;
		struct slice name;

		header_skip_blanks(s);
		if (!header_take_char(s, ';')) {
			*ret = found;
			return 0;
		}
		header_skip_blanks(s);
		name = header_take_token(s);
		if (!name.len)
			continue; /* "; ;" and a last ";" occur */
		header_skip_blanks(s);
		if (!header_take_char(s, '='))
			continue;
		header_skip_blanks(s);
		if (header_take_value(s, &value) < 0)
			return E_INVALID;
		if (!seen && header_name_is(name, "rel")) {
			seen = true;
			found = has_relation(value, rel);
		}
	}
	return E_LIMIT;
}

int link_find(char **ret, struct slice header, const char *rel)
{
	struct slice s = header;

	for (;;) {
		struct slice target;
		bool found;
		int r;

		header_skip_blanks(&s);
		while (header_take_char(&s, ','))
			header_skip_blanks(&s);
		if (!s.len)
			return 0;
		r = take_target(&s, &target);
		if (r == 0)
			r = take_link_params(&s, rel, &found);
		if (r < 0)
			return E_INVALID;
		if (found) {
			*ret = xstrndup((const char *)target.data, target.len);
			return 1;
		}
		if (s.len && s.data[0] != ',')
			return E_INVALID;
	}
}
