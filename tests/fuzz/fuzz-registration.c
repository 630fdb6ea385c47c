/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include <nacre/closure.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct path_infos set = {0};
	struct err err = ERR_INIT;

	if (registration_parse(&set, "/nix/store", slice_make(data, size), &err) >= 0) {
		uint32_t *heights = malloc((set.len + 1) * sizeof(*heights));

		path_infos_heights(&set, heights, &err);
		free(heights);
	}
	path_infos_release(&set);
	return 0;
}
