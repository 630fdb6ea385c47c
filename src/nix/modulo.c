/* SPDX-License-Identifier: Apache-2.0 */
/* SPEC nix-store-path, hash modulo (Nix source src/libutil/references.cc RewritingSink,
 * HashModuloSink). */
#include <inttypes.h>

#include <nacre/storepath.h>

#include "base/mem.h"

enum { POSITIONS_MAX = 64 << 20, BLOCK = 16384 };

static void hash_both(struct modulo_sink *s, const void *data, size_t len)
{
	hasher_update(&s->with, data, len);
	hasher_update(&s->without, data, len);
}

/* Hashes `len` bytes of `data` except what may begin a match at its end; returns how many were
 * taken. */
static size_t take_block(struct modulo_sink *s, uint8_t *data, size_t len, struct err *err)
{
	size_t at = 0;

	while (len - at >= STORE_HASH_LEN) {
		uint8_t *hit = memmem(data + at, len - at, s->hash_part, STORE_HASH_LEN);

		if (!hit) {
			at = len - (STORE_HASH_LEN - 1);
			break;
		}
		memset(hit, 0, STORE_HASH_LEN);
		at = (size_t)(hit - data) + STORE_HASH_LEN;
		if (buf_addf(&s->positions, "|%" PRIu64, s->offset + (uint64_t)(hit - data)) < 0) {
			err_set(err, E_LIMIT, "too many self-references");
			return SIZE_MAX;
		}
	}
	hash_both(s, data, at);
	return at;
}

static int modulo_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	struct modulo_sink *s = container_of(self, struct modulo_sink, sink);
	const uint8_t *p = data;

	while (len) {
		uint8_t block[BLOCK + STORE_HASH_LEN];
		size_t n = len < BLOCK ? len : BLOCK, taken;

		memcpy(block, s->tail, s->tail_len);
		memcpy(block + s->tail_len, p, n);
		taken = take_block(s, block, s->tail_len + n, err);
		if (taken == SIZE_MAX)
			return err->code;
		s->tail_len = s->tail_len + n - taken;
		memcpy(s->tail, block + taken, s->tail_len);
		s->offset += taken;
		p += n;
		len -= n;
	}
	return 0;
}

void modulo_sink_init(struct modulo_sink *s, struct slice hash_part)
{
	*s = (struct modulo_sink){.sink = {.write = modulo_write},
				  .positions = BUF_INIT(POSITIONS_MAX)};
	hasher_init(&s->with, HASH_SHA256);
	hasher_init(&s->without, HASH_SHA256);
	memcpy(s->hash_part, hash_part.data, STORE_HASH_LEN);
}

int modulo_sink_final(struct modulo_sink *s, struct hash *ret_with, struct hash *ret_without,
		      struct err *err)
{
	(void)err;
	hash_both(s, s->tail, s->tail_len);
	s->tail_len = 0;
	hasher_update(&s->with, s->positions.data ? (char *)s->positions.data : "",
		      s->positions.len);
	hasher_final(&s->with, ret_with);
	hasher_final(&s->without, ret_without);
	return 0;
}

void modulo_sink_release(struct modulo_sink *s)
{
	hasher_release(&s->with);
	hasher_release(&s->without);
	buf_release(&s->positions);
}
