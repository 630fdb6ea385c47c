/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/pattern.h"

int pattern_check(struct slice pattern)
{
	if (pattern.len > PATTERN_MAX)
		return E_LIMIT;
	for (size_t i = 0; i < pattern.len; i++)
		if (pattern.data[i] <= ' ' || pattern.data[i] == 0x7f)
			return E_INVALID;
	return pattern.len ? 0 : E_INVALID;
}

/* All positions of the pattern that can be reached at once: no backtracking. A star may stand for
 * nothing, so behind it is reached with it. */
static void reach(const char *p, bool *at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (at[i] && p[i] == '*')
			at[i + 1] = true;
}

bool pattern_fits(const char *p, const char *name)
{
	bool at[PATTERN_MAX + 2] = {true}, next[PATTERN_MAX + 2];
	size_t len = strlen(p);

	if (pattern_check(slice_str(p)) < 0)
		return false;
	reach(p, at, len);
	for (; *name; name++) {
		memset(next, 0, len + 1);
		for (size_t i = 0; i < len; i++) {
			bool deep = p[i] == '*' && (p[i + 1] == '*' || (i && p[i - 1] == '*'));

			if (!at[i])
				continue;
			if (p[i] == '*' && (deep || *name != '/'))
				next[i] = true;
			else if (p[i] == *name || (p[i] == '?' && *name != '/'))
				next[i + 1] = true;
		}
		memcpy(at, next, len + 1);
		reach(p, at, len);
	}
	return at[len];
}

bool patterns_fit(const struct strv *patterns, const char *name)
{
	for (size_t i = 0; i < patterns->len; i++)
		if (pattern_fits(patterns->items[i], name))
			return true;
	return false;
}
