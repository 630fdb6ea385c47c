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

/* SPEC nacre 4.1: the last component of the version that is letters alone, with its '-'. */
static struct slice output_suffix(const char *version)
{
	struct slice found = {0};

	/* The version itself begins with what is no letter. */
	for (const char *dash = version; (dash = strchr(dash, '-')); dash++) {
		size_t len = strspn(dash + 1, "abcdefghijklmnopqrstuvwxyz");

		if (len && (dash[1 + len] == '-' || dash[1 + len] == '\0'))
			found = slice_make(dash, 1 + len);
	}
	return found;
}

void store_pname(char *ret, const char *name)
{
	size_t len = name_length(name);
	struct slice suffix = output_suffix(name + len);

	memcpy(ret, name, len);
	if (suffix.len)
		memcpy(ret + len, suffix.data, suffix.len);
	ret[len + suffix.len] = '\0';
}
