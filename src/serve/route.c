/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/route.h"
#include "base/mem.h"

/* Whole paths. */
static const struct {
	const char *path;
	enum endpoint endpoint;
} fixed[] = {
	{"/", ENDPOINT_HOME},
	{"/healthz", ENDPOINT_HEALTH},
	{"/readyz", ENDPOINT_READY},
	{"/metrics", ENDPOINT_METRICS},
	{"/token", ENDPOINT_TOKEN},
	{"/v2", ENDPOINT_OCI_BASE},
	{"/v2/", ENDPOINT_OCI_BASE},
	{"/v2/_catalog", ENDPOINT_CATALOG},
	{"/nix-cache-info", ENDPOINT_CACHE_INFO},
};

/* "/v2/" <name> tail [<arg>]. Held against the end of a path, because a name may have components
 * like "blobs" and "tags" itself. The first that fits wins. */
static const struct {
	const char *tail;
	bool arg;
	enum endpoint endpoint;
} registry[] = {
	{"/blobs/uploads/", true, ENDPOINT_UPLOAD},  {"/blobs/uploads/", false, ENDPOINT_UPLOADS},
	{"/blobs/uploads", false, ENDPOINT_UPLOADS}, {"/blobs/", true, ENDPOINT_BLOB},
	{"/manifests/", true, ENDPOINT_MANIFEST},    {"/tags/list", false, ENDPOINT_TAGS},
	{"/referrers/", true, ENDPOINT_REFERRERS},
};

/* head <arg> tail; the argument has no slash unless `deep`. */
static const struct {
	const char *head, *tail;
	enum endpoint endpoint;
	bool deep;
} cache[] = {
	{"/nar/", "", ENDPOINT_NAR},
	{"/log/", "", ENDPOINT_LOG},
	{"/debuginfo/", "", ENDPOINT_DEBUGINFO},
	{"/realisations/", "", ENDPOINT_REALISATION},
	{"/build-trace-v2/", "", ENDPOINT_BUILD_TRACE, true},
	{"/", ".narinfo", ENDPOINT_NARINFO},
	{"/", ".ls", ENDPOINT_LISTING},
};

static bool cut_prefix(struct slice *s, const char *prefix)
{
	if (!slice_has_prefix(*s, prefix))
		return false;
	slice_advance(s, strlen(prefix));
	return true;
}

static bool cut_suffix(struct slice *s, const char *suffix)
{
	size_t n = strlen(suffix);

	if (s->len < n || memcmp(s->data + s->len - n, suffix, n) != 0)
		return false;
	s->len -= n;
	return true;
}

/* Cuts what follows the last slash off the end. */
static bool cut_last(struct slice *s, struct slice *ret)
{
	size_t n = s->len;

	while (n && s->data[n - 1] != '/')
		n--;
	*ret = slice_make(s->data + n, s->len - n);
	s->len = n;
	return ret->len > 0;
}

static void find_registry(struct route *ret, struct slice path)
{
	for (size_t i = 0; i < ARRAY_LEN(registry); i++) {
		struct route r = {registry[i].endpoint, path, {NULL, 0}};

		if (registry[i].arg && !cut_last(&r.name, &r.arg))
			continue;
		if (!cut_suffix(&r.name, registry[i].tail) || !r.name.len)
			continue;
		*ret = r;
		return;
	}
	*ret = (struct route){.endpoint = ENDPOINT_OCI_UNKNOWN};
}

static void find_cache(struct route *ret, struct slice path)
{
	for (size_t i = 0; i < ARRAY_LEN(cache); i++) {
		struct slice arg = path;

		if (!cut_prefix(&arg, cache[i].head) || !cut_suffix(&arg, cache[i].tail))
			continue;
		if (!arg.len || (!cache[i].deep && memchr(arg.data, '/', arg.len)))
			continue;
		*ret = (struct route){cache[i].endpoint, {NULL, 0}, arg};
		return;
	}
	*ret = (struct route){.endpoint = ENDPOINT_NONE};
}

void route_find(struct route *ret, struct slice path)
{
	/* A cache URL that ends in a slash makes clients ask for "//nix-cache-info". */
	while (slice_has_prefix(path, "//"))
		slice_advance(&path, 1);
	for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
		if (slice_equal_str(path, fixed[i].path)) {
			*ret = (struct route){.endpoint = fixed[i].endpoint};
			return;
		}
	}
	if (cut_prefix(&path, "/v2/"))
		find_registry(ret, path);
	else if (cut_prefix(&path, "/admin/"))
		*ret = (struct route){ENDPOINT_ADMIN, {NULL, 0}, path};
	else
		find_cache(ret, path);
}

bool endpoint_is_oci(enum endpoint e)
{
	return e >= ENDPOINT_OCI_BASE && e <= ENDPOINT_REFERRERS;
}

bool endpoint_is_server(enum endpoint e)
{
	return endpoint_is_oci(e) || (e >= ENDPOINT_HEALTH && e <= ENDPOINT_ADMIN);
}
