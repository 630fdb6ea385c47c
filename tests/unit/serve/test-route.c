/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit.h"

#include "serve/route.h"

#define DIGEST "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

static const struct {
	const char *path;
	enum endpoint endpoint;
	const char *name, *arg;
} cases[] = {
	{"/", ENDPOINT_HOME},
	{"/healthz", ENDPOINT_HEALTH},
	{"/admin/pins", ENDPOINT_ADMIN, "", "pins"},
	{"/admin/a/b", ENDPOINT_ADMIN, "", "a/b"},
	{"/admin", ENDPOINT_NONE},
	/* SPEC dist-1.1 endpoints */
	{"/v2", ENDPOINT_OCI_BASE},
	{"/v2/", ENDPOINT_OCI_BASE},
	{"/v2/_catalog", ENDPOINT_CATALOG},
	{"/v2/a/blobs/" DIGEST, ENDPOINT_BLOB, "a", DIGEST},
	{"/v2/a/b/c/blobs/" DIGEST, ENDPOINT_BLOB, "a/b/c", DIGEST},
	{"/v2/a/blobs/uploads/", ENDPOINT_UPLOADS, "a"},
	{"/v2/a/blobs/uploads", ENDPOINT_UPLOADS, "a"},
	{"/v2/a/b/blobs/uploads/123", ENDPOINT_UPLOAD, "a/b", "123"},
	{"/v2/a/manifests/latest", ENDPOINT_MANIFEST, "a", "latest"},
	{"/v2/a/manifests/" DIGEST, ENDPOINT_MANIFEST, "a", DIGEST},
	{"/v2/a/tags/list", ENDPOINT_TAGS, "a"},
	{"/v2/a/referrers/" DIGEST, ENDPOINT_REFERRERS, "a", DIGEST},
	/* Names with components of the endpoints. */
	{"/v2/blobs/blobs/x", ENDPOINT_BLOB, "blobs", "x"},
	{"/v2/a/blobs/uploads/blobs/x", ENDPOINT_BLOB, "a/blobs/uploads", "x"},
	{"/v2/a/manifests/b/tags/list", ENDPOINT_TAGS, "a/manifests/b"},
	{"/v2/tags/list/tags/list", ENDPOINT_TAGS, "tags/list"},
	{"/v2/a/blobs/uploads/manifests/x", ENDPOINT_MANIFEST, "a/blobs/uploads", "x"},
	{"/v2/v2/manifests/x", ENDPOINT_MANIFEST, "v2", "x"},
	/* Nothing. */
	{"/v2/a", ENDPOINT_OCI_UNKNOWN},
	{"/v2/a/", ENDPOINT_OCI_UNKNOWN},
	{"/v2//blobs/x", ENDPOINT_OCI_UNKNOWN},
	{"/v2/blobs/x", ENDPOINT_OCI_UNKNOWN},
	{"/v2/a/blobs/", ENDPOINT_OCI_UNKNOWN},
	{"/v2/a/manifests/", ENDPOINT_OCI_UNKNOWN},
	{"/v2/manifests/x", ENDPOINT_OCI_UNKNOWN},
	{"/v2/a/tags/list/", ENDPOINT_OCI_UNKNOWN},
	{"/v2/tags/list", ENDPOINT_OCI_UNKNOWN},
	{"/v2/a/tags", ENDPOINT_OCI_UNKNOWN},
	{"/v2/a/referrers/", ENDPOINT_OCI_UNKNOWN},
	{"/v2/_catalog/", ENDPOINT_OCI_UNKNOWN},
	{"/v2x", ENDPOINT_NONE},
	{"/v1/", ENDPOINT_NONE},
	/* SPEC nix-cache endpoints */
	{"/nix-cache-info", ENDPOINT_CACHE_INFO},
	{"//nix-cache-info", ENDPOINT_CACHE_INFO},
	{"/abc.narinfo", ENDPOINT_NARINFO, "", "abc"},
	{"/abc.ls", ENDPOINT_LISTING, "", "abc"},
	{"/nar/abc.nar.xz", ENDPOINT_NAR, "", "abc.nar.xz"},
	{"/log/abc-x.drv", ENDPOINT_LOG, "", "abc-x.drv"},
	{"/debuginfo/00.debug", ENDPOINT_DEBUGINFO, "", "00.debug"},
	{"/realisations/sha256:00!out.doi", ENDPOINT_REALISATION, "", "sha256:00!out.doi"},
	{"/build-trace-v2/x.drv/out.doi", ENDPOINT_BUILD_TRACE, "", "x.drv/out.doi"},
	{"/.narinfo", ENDPOINT_NONE},
	{"/a/b.narinfo", ENDPOINT_NONE},
	{"/nar/", ENDPOINT_NONE},
	{"/nar/a/b", ENDPOINT_NONE},
	{"/nar", ENDPOINT_NONE},
	{"/log/", ENDPOINT_NONE},
	{"/nix-cache-info/x", ENDPOINT_NONE},
	{"/x", ENDPOINT_NONE},
};

static void check(size_t i)
{
	struct route r = {ENDPOINT_COUNT};
	struct slice path = slice_str(cases[i].path);

	route_find(&r, path);
	if (r.endpoint != cases[i].endpoint)
		fail_msg("%s: endpoint %d", cases[i].path, (int)r.endpoint);
	if (!slice_equal_str(r.name, cases[i].name ? cases[i].name : ""))
		fail_msg("%s: name '%.*s'", cases[i].path, (int)r.name.len, r.name.data);
	if (!slice_equal_str(r.arg, cases[i].arg ? cases[i].arg : ""))
		fail_msg("%s: arg '%.*s'", cases[i].path, (int)r.arg.len, r.arg.data);
}

static void test_routes(void **state)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		check(i);
}

static void test_language(void **state)
{
	assert_true(endpoint_is_oci(ENDPOINT_OCI_BASE));
	assert_true(endpoint_is_oci(ENDPOINT_OCI_UNKNOWN));
	assert_true(endpoint_is_oci(ENDPOINT_REFERRERS));
	assert_false(endpoint_is_oci(ENDPOINT_NONE));
	assert_false(endpoint_is_oci(ENDPOINT_NARINFO));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_routes),
		cmocka_unit_test(test_language),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
