/* SPDX-License-Identifier: Apache-2.0 */
/* Image configurations, and the canonical form of any JSON. */
#include <nacre/json.h>
#include <nacre/manifest.h>

#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_config(struct slice in)
{
	cleanup_image_config struct image_config c = {0}, again = {0};
	cleanup_buf struct buf first = BUF_INIT(IMAGE_CONFIG_BYTES_MAX),
			       second = BUF_INIT(IMAGE_CONFIG_BYTES_MAX);
	struct err err = ERR_INIT;
	int r = image_config_parse(&c, in, &err);

	if (r != err.code || (r < 0 && (!err.text[0] || c.os)))
		abort();
	if (r < 0)
		return;
	if (image_config_build(&first, &c) < 0 ||
	    image_config_parse(&again, buf_slice(&first), &err) < 0 ||
	    image_config_build(&second, &again) < 0 ||
	    !slice_equal(buf_slice(&first), buf_slice(&second)))
		abort();
}

/* The canonical form is its own canonical form. */
static void check_canonical(struct slice in)
{
	cleanup_json json_t *value = NULL, *again = NULL;
	cleanup_buf struct buf first = {0}, second = {0};
	struct err err = ERR_INIT;

	if (json_parse(&value, in, 1 << 20, &err) < 0 || json_canonical(&first, value) < 0)
		return;
	if (json_parse(&again, buf_slice(&first), 1 << 24, &err) < 0 ||
	    json_canonical(&second, again) < 0 || !json_equal(value, again) ||
	    !slice_equal(buf_slice(&first), buf_slice(&second)))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_config(slice_make(data, size));
	check_canonical(slice_make(data, size));
	return 0;
}
