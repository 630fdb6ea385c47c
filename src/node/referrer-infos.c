/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include <nacre/image.h>

#include "base/mem.h"
#include "net/referred-infos.h"
#include "node/referrer-infos.h"

/* Anybody who may push can add referrers. */
enum { BYTES_MAX = 64 << 20 };

void referrer_infos_release(struct referrer_infos *infos)
{
	for (size_t i = 0; i < infos->len; i++)
		path_infos_release(&infos->sets[i]);
	free(infos->sets);
	*infos = (struct referrer_infos){0};
}

int referrer_infos_read(struct referrer_infos *ret, struct image_source *source,
			const struct hash *subject, const char *store_dir, struct err *err)
{
	cleanup_descriptors struct descriptors list = {0};
	size_t bytes_left = BYTES_MAX;

	if (image_get_referrers(source, subject, MT_NIX_PATH_INFOS, &list, err) < 0)
		return err->code;
	for (size_t i = 0; i < list.len && i < REFERRERS_READ_MAX && bytes_left; i++) {
		struct path_infos set = {0};
		struct err ignored = ERR_INIT;

		if (referred_infos_get(&set, source, &list.items[i], store_dir, &bytes_left,
				       &ignored) < 0)
			continue;
		array_grow(ret->sets, ret->cap, ret->len + 1);
		ret->sets[ret->len++] = set;
	}
	return 0;
}
