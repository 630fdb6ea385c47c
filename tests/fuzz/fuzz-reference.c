/* SPDX-License-Identifier: Apache-2.0 */
/* References, tags, repository names, digests, media types, platforms: what is accepted is written
 * as it was read. */
#include <nacre/manifest.h>
#include <nacre/reference.h>

#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_parts(const struct reference *r)
{
	if (repository_check(slice_str(r->repository)) < 0 ||
	    (r->tag[0] && tag_check(slice_str(r->tag)) < 0))
		abort();
}

static void check_reference(struct slice in)
{
	char text[REFERENCE_TEXT_MAX], again[REFERENCE_TEXT_MAX];
	struct reference r;
	struct err err = ERR_INIT;

	if (reference_parse(&r, in) == 0) {
		check_parts(&r);
		reference_format(text, &r);
		if (!slice_equal(in, slice_str(text)))
			abort();
	}
	if (reference_parse_err(&r, in, &err) == 0) {
		check_parts(&r);
		reference_format(text, &r);
		if (reference_parse_normalized(&r, slice_str(text)) < 0)
			abort();
		reference_format(again, &r);
		if (strcmp(text, again) != 0)
			abort();
	}
}

static void check_others(struct slice in)
{
	char text[DIGEST_TEXT_MAX], type[MEDIA_TYPE_MAX + 1];
	struct platform p;
	struct hash h;

	if (digest_parse(&h, in) == 0) {
		digest_format(text, &h);
		if (!slice_equal(in, slice_str(text)))
			abort();
	}
	if (media_type_parse(type, in) == 0 && media_type_parse(type, slice_str(type)) < 0)
		abort();
	if (platform_parse(&p, in) == 0) {
		if (platform_match(&p, &p) <= 0)
			abort();
		platform_release(&p);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_reference(slice_make(data, size));
	check_others(slice_make(data, size));
	return 0;
}
