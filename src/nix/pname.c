/* SPDX-License-Identifier: Apache-2.0 */
#include <nacre/storepath.h>

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Where the version's '-' is, by Nix's parseDrvName: the first '-' that no letter follows. */
static size_t name_length(const char *name)
{
	for (size_t i = 0; name[i]; i++)
		if (name[i] == '-' && name[i + 1] && !is_letter(name[i + 1]))
			return i;
	return strlen(name);
}

/* SPEC nacre 4.1 */
void store_pname(char *ret, const char *name)
{
	size_t len = name_length(name);
	const char *version = name + len;
	const char *last = strrchr(version, '-');

	if (len > STORE_NAME_MAX)
		len = STORE_NAME_MAX;
	memcpy(ret, name, len);
	ret[len] = '\0';
	/* The version's own '-' is none of its components'. */
	if (!last || last == version || !last[1] ||
	    last[1 + strspn(last + 1, "abcdefghijklmnopqrstuvwxyz")])
		return;
	if (len + strlen(last) <= STORE_NAME_MAX)
		memcpy(ret + len, last, strlen(last) + 1);
}
