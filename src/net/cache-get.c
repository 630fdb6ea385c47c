/* SPDX-License-Identifier: Apache-2.0 */
/* A NAR out of a cache: file -> FileHash -> decompressor -> NarHash (-> content address) -> the
 * caller's sink. */
#include <inttypes.h>

#include <nacre/digest.h>

#include "base/mem.h"
#include "base/sinks.h"
#include "net/ca-proof.h"
#include "net/cache-internal.h"
#include "net/nar-check.h"

/* A compressed file is hardly larger than what it holds. */
static uint64_t file_limit(const struct narinfo *n)
{
	uint64_t limit;

	if (n->file_size)
		return n->file_size;
	return __builtin_add_overflow(n->info.nar_size, n->info.nar_size / 2 + (1 << 20), &limit)
		       ? UINT64_MAX
		       : limit;
}

static int stream_file(struct cache *c, const struct narinfo *n, enum codec codec,
		       struct sink *decoder, struct err *err)
{
	/* FileHash may be of an algorithm that proves nothing; NarHash proves everything anyway. */
	bool strong = n->file_hash.algo == HASH_SHA256 || n->file_hash.algo == HASH_SHA512;
	bool sized = n->file_size && n->file_size <= INT64_MAX;
	cleanup_verify_sink struct verify_sink file = {0};
	struct limit_sink limit;
	int r;

	verify_sink_init(&file, strong ? &n->file_hash : &(struct hash){0},
			 sized ? (int64_t)n->file_size : DIGEST_SIZE_UNKNOWN, decoder);
	limit_sink_init(&limit, &file.sink, file_limit(n), "the compressed NAR");
	if (c->http)
		r = cache_http_stream(c, n->url, file_limit(n), codec == CODEC_NONE, &limit.sink,
				      err);
	else
		r = cache_file_stream(c, n->url, &limit.sink, err);
	return r < 0 ? r : sink_finish(&limit.sink, err);
}

/* Writes the NAR behind the checks of hash and size; finishes nothing of the caller's. */
static int read_nar(struct cache *c, const struct narinfo *n, struct nar_check *check,
		    struct err *err)
{
	enum codec codec = codec_by_name(slice_str(n->compression));
	struct codec_limits limits = {.max_output = n->info.nar_size};
	struct sink *decoder;
	int r;

	if (codec == CODEC_UNKNOWN)
		return err_set(err, E_UNSUPPORTED, "the compression %s is not supported",
			       n->compression);
	r = decoder_new(&decoder, codec, &check->sink, &limits, err);
	if (r < 0)
		return r;
	r = stream_file(c, n, codec, decoder, err);
	decoder_free(decoder);
	return r;
}

int cache_get_nar(struct cache *c, const struct narinfo *n, struct sink *out, struct err *err)
{
	struct ca_verifier *ca = NULL;
	struct nar_check check = {0};
	struct tee_sink tee;
	int r = c->n_trusted ? ca_proof_open(&n->info, c->trusted, c->n_trusted, &ca, err) : 0;

	if (r < 0)
		return r;
	if (ca)
		tee_sink_init(&tee, ca_verifier_sink(ca), out);
	nar_check_init(&check, &n->info, ca ? &tee.sink : out);
	r = read_nar(c, n, &check, err);
	if (r == 0)
		r = ca_proof_check(ca, &n->info, err);
	nar_check_release(&check);
	ca_verifier_free(ca);
	if (r < 0)
		return err_wrap(err, "%s: NAR of %s", c->name, store_path_base(&n->info.path));
	return sink_finish(out, err);
}
