/* SPDX-License-Identifier: Apache-2.0 */
/* WWW-Authenticate, Link and URL references; the first byte chooses. */
#include "base/mem.h"
#include "net/challenge.h"
#include "net/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void one_url(struct slice in)
{
	cleanup_free char *text = NULL;
	cleanup_url struct url u = {0};

	if (url_resolve(&text, "https://host.example/prefix/", in) < 0)
		return;
	/* What comes out is an address by our own rules, without user information. */
	if (url_parse(&u, slice_str(text)) < 0 || u.user || u.password)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice in = slice_make(data, size);
	uint8_t which;

	if (!size)
		return 0;
	which = data[0];
	slice_advance(&in, 1);
	if (which % 3 == 0) {
		cleanup_challenges struct challenges all = {0};

		if (challenges_parse(&all, in) < 0 && all.len)
			abort();
	} else if (which % 3 == 1) {
		cleanup_free char *target = NULL;

		link_find(&target, in, "next");
	} else {
		one_url(in);
	}
	return 0;
}
