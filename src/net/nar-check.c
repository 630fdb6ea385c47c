/* SPDX-License-Identifier: Apache-2.0 */
#include "net/nar-check.h"

#include <inttypes.h>

#include "base/mem.h"

static int check_hash(struct nar_check *s, struct err *err)
{
	char want[HASH_TEXT_MAX], have[HASH_TEXT_MAX];
	struct hash got;

	hasher_final(&s->hasher, &got);
	if (hash_equal(&got, &s->info->nar_hash))
		return 0;
	hash_format(want, &s->info->nar_hash, HASH_NIX32);
	hash_format(have, &got, HASH_NIX32);
	return err_set(err, E_MISMATCH, "its hash is %s, NarHash is %s", have, want);
}

static int check_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	struct nar_check *s = container_of(self, struct nar_check, sink);
	int r = 0;

	if (len > s->info->nar_size - s->bytes)
		return err_set(err, E_MISMATCH, "it is larger than NarSize, %" PRIu64 " bytes",
			       s->info->nar_size);
	hasher_update(&s->hasher, data, len);
	s->bytes += len;
	/* Before the last bytes go on, so that nobody has a whole NAR that is wrong. */
	if (s->bytes == s->info->nar_size)
		r = check_hash(s, err);
	return r < 0 ? r : sink_write(s->next, data, len, err);
}

static int check_finish(struct sink *self, struct err *err)
{
	struct nar_check *s = container_of(self, struct nar_check, sink);

	if (s->bytes == s->info->nar_size)
		return 0;
	return err_set(err, E_MISMATCH, "it has %" PRIu64 " bytes, NarSize is %" PRIu64, s->bytes,
		       s->info->nar_size);
}

void nar_check_init(struct nar_check *s, const struct path_info *info, struct sink *next)
{
	*s = (struct nar_check){.sink = {check_write, check_finish}, .info = info, .next = next};
	hasher_init(&s->hasher, info->nar_hash.algo);
}

void nar_check_release(struct nar_check *s)
{
	hasher_release(&s->hasher);
}
