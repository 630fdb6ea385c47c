/* SPDX-License-Identifier: Apache-2.0 */
#include <stdatomic.h>

#include <nacre/encode.h>
#include <nacre/hash.h>

#include "base/libcrypto.h"
#include "base/mem.h"
#include "base/sha256.h"

/* So many bytes are hashed without libcrypto, see hash_bytes(). */
enum { SMALL_TOTAL = 256 << 10 };

static const struct {
	const char *name;
	size_t size;
} algos[] = {
	[HASH_NONE] = {"none", 0},      [HASH_MD5] = {"md5", 16},       [HASH_SHA1] = {"sha1", 20},
	[HASH_SHA256] = {"sha256", 32}, [HASH_SHA512] = {"sha512", 64},
};

size_t hash_size(enum hash_algo algo)
{
	return algos[algo].size;
}

const char *hash_algo_name(enum hash_algo algo)
{
	return algos[algo].name;
}

enum hash_algo hash_algo_parse(struct slice name)
{
	for (enum hash_algo a = HASH_MD5; a <= HASH_SHA512; a++)
		if (slice_equal_str(name, algos[a].name))
			return a;
	return HASH_NONE;
}

bool hash_equal(const struct hash *a, const struct hash *b)
{
	return a->algo == b->algo && memcmp(a->bytes, b->bytes, hash_size(a->algo)) == 0;
}

/* Decodes a hash without its algorithm; the length tells the notation. */
static int parse_bare(struct hash *ret, enum hash_algo algo, struct slice text, bool sri)
{
	struct hash h = {.algo = algo};
	size_t size = hash_size(algo);
	int r = E_INVALID;

	if (!sri && text.len == hex_len(size))
		r = hex_decode(h.bytes, size, text);
	else if (!sri && text.len == nix32_len(size))
		r = nix32_decode(h.bytes, size, text);
	else if (text.len == base64_len(size))
		r = base64_decode(h.bytes, size, text);
	if (r != (int)size)
		return E_INVALID;
	*ret = h;
	return 0;
}

int hash_parse(struct hash *ret, enum hash_algo algo, struct slice text)
{
	for (size_t i = 0; i < text.len && i < 8; i++) {
		bool sri = text.data[i] == '-';
		enum hash_algo named;

		if (text.data[i] != ':' && !sri)
			continue;
		named = hash_algo_parse(slice_make(text.data, i));
		if (named == HASH_NONE || (algo != HASH_NONE && algo != named))
			return E_INVALID;
		slice_advance(&text, i + 1);
		return parse_bare(ret, named, text, sri);
	}
	return algo == HASH_NONE ? E_INVALID : parse_bare(ret, algo, text, false);
}

void hash_format_bare(char *ret, const struct hash *h, enum hash_notation notation)
{
	size_t size = hash_size(h->algo);

	switch (notation) {
	case HASH_NIX32:
		nix32_encode(ret, h->bytes, size);
		break;
	case HASH_HEX:
		hex_encode(ret, h->bytes, size);
		break;
	case HASH_BASE64:
	case HASH_SRI:
		base64_encode(ret, h->bytes, size);
		break;
	}
}

void hash_format(char *ret, const struct hash *h, enum hash_notation notation)
{
	const char *name = hash_algo_name(h->algo);
	size_t len = strlen(name);

	memcpy(ret, name, len);
	ret[len] = notation == HASH_SRI ? '-' : ':';
	hash_format_bare(ret + len + 1, h, notation);
}

/* Looked for once: with EVP_sha256() and the like libcrypto does so for each hash. Kept until the
 * process ends; NULL: libcrypto does not have it. */
static const EVP_MD *implementation(enum hash_algo algo)
{
	static _Atomic(EVP_MD *) found[ARRAY_LEN(algos)];
	EVP_MD *md = found[algo], *none = NULL;

	if (md)
		return md;
	md = EVP_MD_fetch(NULL, algos[algo].name, NULL);
	if (md && !atomic_compare_exchange_strong(&found[algo], &none, md)) {
		EVP_MD_free(md);
		md = none;
	}
	return md;
}

void hasher_init(struct hasher *h, enum hash_algo algo)
{
	const EVP_MD *md;

	libcrypto_need();
	md = implementation(algo);
	h->algo = algo;
	h->ctx = EVP_MD_CTX_new();
	/* Fails only without memory, or where MD5 is switched off by a policy of the machine. */
	if (!h->ctx || !md || EVP_DigestInit_ex(h->ctx, md, NULL) != 1) {
		fprintf(stderr, "nacre: libcrypto offers no %s\n", algos[algo].name);
		abort();
	}
}

void hasher_update(struct hasher *h, const void *data, size_t len)
{
	EVP_DigestUpdate(h->ctx, data, len);
}

void hasher_final(struct hasher *h, struct hash *ret)
{
	*ret = (struct hash){.algo = h->algo};
	EVP_DigestFinal_ex(h->ctx, ret->bytes, NULL);
}

void hasher_release(struct hasher *h)
{
	if (h->ctx)
		EVP_MD_CTX_free(h->ctx);
	h->ctx = NULL;
}

/* Until so much was hashed that loading libcrypto is worth it. Counted for the whole process, so that many small texts are not
 * hashed slowly for ever. */
static bool is_small(size_t len)
{
	static _Atomic size_t total;

	return len <= SMALL_TOTAL &&
	       atomic_load_explicit(&total, memory_order_relaxed) <= SMALL_TOTAL &&
	       atomic_fetch_add_explicit(&total, len + 64, memory_order_relaxed) + len <=
		       SMALL_TOTAL;
}

void hash_bytes(struct hash *ret, enum hash_algo algo, const void *data, size_t len)
{
	struct hasher h;

	if (algo == HASH_SHA256 && is_small(len)) {
		*ret = (struct hash){.algo = algo};
		sha256_small(ret->bytes, data, len);
		return;
	}
	hasher_init(&h, algo);
	hasher_update(&h, data, len);
	hasher_final(&h, ret);
	hasher_release(&h);
}

static int hash_sink_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	struct hash_sink *s = container_of(self, struct hash_sink, sink);

	hasher_update(&s->hasher, data, len);
	s->bytes += len;
	return s->next ? sink_write(s->next, data, len, err) : 0;
}

static int hash_sink_finish(struct sink *self, struct err *err)
{
	struct hash_sink *s = container_of(self, struct hash_sink, sink);

	return s->next ? sink_finish(s->next, err) : 0;
}

void hash_sink_init(struct hash_sink *s, enum hash_algo algo, struct sink *next)
{
	*s = (struct hash_sink){.sink = {hash_sink_write, hash_sink_finish}, .next = next};
	hasher_init(&s->hasher, algo);
}

void hash_sink_final(struct hash_sink *s, struct hash *ret)
{
	hasher_final(&s->hasher, ret);
}

void hash_sink_release(struct hash_sink *s)
{
	hasher_release(&s->hasher);
}
