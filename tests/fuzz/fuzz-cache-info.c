/* SPDX-License-Identifier: Apache-2.0 */
/* nix-cache-info. */
#include <stdlib.h>

#include "net/cache.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cache_info info;

	if (cache_info_parse(&info, slice_make(data, size)) < 0)
		return 0;
	if (info.store_dir[0] && store_dir_check(slice_str(info.store_dir)) < 0)
		abort();
	return 0;
}
