/* SPDX-License-Identifier: Apache-2.0 */
/* Platforms by Go's names (SPEC image-spec image-index.md platform), with the aliases and defaults
 * that containerd's platforms package has made customary. */
#include <sys/utsname.h>

#include <nacre/descriptor.h>
#include <nacre/encode.h>

#include "base/mem.h"

static const struct {
	const char *alias, *architecture, *variant;
} aliases[] = {
	{"x86_64", "amd64", NULL}, {"x86-64", "amd64", NULL},  {"i386", "386", NULL},
	{"i686", "386", NULL},     {"aarch64", "arm64", NULL}, {"armhf", "arm", "v7"},
	{"armv7l", "arm", "v7"},   {"armel", "arm", "v6"},     {"armv6l", "arm", "v6"},
};

/* A platform without a variant is this one. */
static const struct {
	const char *architecture;
	int variant;
} defaults[] = {{"amd64", 1}, {"arm", 7}, {"arm64", 8}};

static void set_architecture(struct platform *p, struct slice name)
{
	for (size_t i = 0; i < ARRAY_LEN(aliases); i++) {
		if (!slice_equal_str(name, aliases[i].alias))
			continue;
		p->architecture = xstrdup(aliases[i].architecture);
		p->variant = aliases[i].variant ? xstrdup(aliases[i].variant) : NULL;
		return;
	}
	p->architecture = xstrndup((const char *)name.data, name.len);
}

static bool is_word(struct slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = s.data[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '_' && c != '.' &&
		    c != '-')
			return false;
	}
	return s.len > 0 && s.len <= 64;
}

/* What stands alone is an architecture; an operating system alone does not tell one. */
static bool is_system(struct slice s)
{
	static const char *const known[] = {"linux",  "windows", "darwin", "freebsd",
					    "netbsd", "openbsd", "solaris"};

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (slice_equal_str(s, known[i]))
			return true;
	return false;
}

int platform_parse(struct platform *ret, struct slice text)
{
	struct slice parts[3];
	size_t n = 0;

	*ret = (struct platform){0};
	for (;;) {
		const uint8_t *slash = text.len ? memchr(text.data, '/', text.len) : NULL;
		size_t len = slash ? (size_t)(slash - text.data) : text.len;

		if (n == ARRAY_LEN(parts) || !is_word(slice_make(text.data, len)))
			return E_INVALID;
		parts[n++] = slice_make(text.data, len);
		if (!slash)
			break;
		slice_advance(&text, len + 1);
	}
	if (n == 1 && is_system(parts[0]))
		return E_INVALID;
	set_architecture(ret, parts[n == 1 ? 0 : 1]);
	ret->os = n == 1 ? xstrdup("linux") : xstrndup((const char *)parts[0].data, parts[0].len);
	if (n == 3) {
		free(ret->variant);
		ret->variant = xstrndup((const char *)parts[2].data, parts[2].len);
	}
	return 0;
}

void platform_host(struct platform *ret)
{
	struct utsname name;

	*ret = (struct platform){.os = xstrdup("linux")};
	/* uname() fails for a bad address alone. */
	set_architecture(ret, slice_str(uname(&name) == 0 ? name.machine : "amd64"));
}

void platform_format(struct buf *ret, const struct platform *p)
{
	buf_addf(ret, "%s/%s%s%s", p->os ? p->os : "unknown",
		 p->architecture ? p->architecture : "unknown", p->variant ? "/" : "",
		 p->variant ? p->variant : "");
}

/* The number of a variant "v<n>" or "<n>", or the default of its architecture; -1: some other text
 * or an architecture without numbered variants. */
static int variant_number(const struct platform *p)
{
	const char *text = p->variant ? p->variant : "";
	uint64_t n;

	for (size_t i = 0; i < ARRAY_LEN(defaults); i++) {
		if (strcmp(p->architecture, defaults[i].architecture) != 0)
			continue;
		if (!*text)
			return defaults[i].variant;
		if (*text == 'v')
			text++;
		return parse_u64(&n, slice_str(text)) == 0 && n < 1000 ? (int)n : -1;
	}
	return -1;
}

int platform_match(const struct platform *wanted, const struct platform *offered)
{
	const char *w, *o;
	int wn, on;

	if (!wanted->os || !offered->os || !wanted->architecture || !offered->architecture)
		return 0;
	if (strcmp(wanted->os, offered->os) != 0 ||
	    strcmp(wanted->architecture, offered->architecture) != 0)
		return 0;
	wn = variant_number(wanted);
	on = variant_number(offered);
	/* Numbered variants run what was built for lower ones; the highest is the best. */
	if (wn >= 0 && on >= 0)
		return on <= wn ? on + 1 : 0;
	w = wanted->variant ? wanted->variant : "";
	o = offered->variant ? offered->variant : "";
	if (strcmp(w, o) == 0)
		return 2;
	return *o ? 0 : 1;
}
