/* SPDX-License-Identifier: Apache-2.0 */
#include <nacre/digest.h>

#include <nacre/encode.h>

#include "base/mem.h"

static bool is_alnum_lower(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* SPEC image-spec descriptor.md digests: algorithm-component *( [+._-] algorithm-component ), of
 * lower-case letters and digits. */
static bool is_algorithm(struct slice s)
{
	bool word = false;

	for (size_t i = 0; i < s.len; i++) {
		if (is_alnum_lower(s.data[i]))
			word = true;
		else if (word && memchr("+._-", s.data[i], 4))
			word = false;
		else
			return false;
	}
	return word;
}

/* SPEC image-spec descriptor.md digests: encoded is [a-zA-Z0-9=_-]+ whatever the algorithm. */
static bool is_encoded(struct slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = s.data[i];

		if (!is_alnum_lower(c) && !(c >= 'A' && c <= 'Z') && c != '=' && c != '_' &&
		    c != '-')
			return false;
	}
	return s.len > 0;
}

int digest_parse(struct hash *ret, struct slice text)
{
	struct hash h = {0};
	const uint8_t *colon = text.len ? memchr(text.data, ':', text.len) : NULL;
	struct slice algorithm, encoded;

	if (!colon)
		return E_INVALID;
	algorithm = slice_make(text.data, (size_t)(colon - text.data));
	encoded = slice_make(colon + 1, text.len - algorithm.len - 1);
	if (!is_algorithm(algorithm) || !is_encoded(encoded))
		return E_INVALID;
	h.algo = hash_algo_parse(algorithm);
	if (h.algo != HASH_SHA256 && h.algo != HASH_SHA512)
		return E_UNSUPPORTED;
	if (hex_decode(h.bytes, hash_size(h.algo), encoded) < 0)
		return E_INVALID;
	*ret = h;
	return 0;
}

void digest_format(char *ret, const struct hash *h)
{
	hash_format(ret, h, HASH_HEX);
}

int digest_parse_err(struct hash *ret, struct slice text, struct err *err)
{
	int shown = text.len > 150 ? 150 : (int)text.len;
	int r = digest_parse(ret, text);

	if (r == E_UNSUPPORTED)
		return err_set(err, E_UNSUPPORTED,
			       "digest '%.*s': the algorithm is not supported (sha256, sha512 are)",
			       shown, (const char *)text.data);
	if (r < 0)
		return err_set(
			err, E_INVALID,
			"'%.*s' is not a digest (sha256:<64 hex digits>, sha512:<128 hex digits>)",
			shown, shown ? (const char *)text.data : "");
	return 0;
}

static int verify_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	struct verify_sink *s = container_of(self, struct verify_sink, sink);

	if (s->size != DIGEST_SIZE_UNKNOWN && len > (uint64_t)s->size - s->bytes)
		return err_set(err, E_MISMATCH,
			       "content is larger than the %lld bytes that were promised",
			       (long long)s->size);
	hasher_update(&s->hasher, data, len);
	s->bytes += len;
	return s->next ? sink_write(s->next, data, len, err) : 0;
}

static int verify_finish(struct sink *self, struct err *err)
{
	struct verify_sink *s = container_of(self, struct verify_sink, sink);
	char wanted[DIGEST_TEXT_MAX], found[DIGEST_TEXT_MAX];
	struct hash h;

	if (s->size != DIGEST_SIZE_UNKNOWN && s->bytes != (uint64_t)s->size)
		return err_set(err, E_MISMATCH, "content has %llu bytes, %lld were promised",
			       (unsigned long long)s->bytes, (long long)s->size);
	hasher_final(&s->hasher, &h);
	if (!s->known) {
		s->digest = h;
	} else if (!hash_equal(&h, &s->digest)) {
		digest_format(wanted, &s->digest);
		digest_format(found, &h);
		return err_set(err, E_MISMATCH, "content has the digest %s, %s was promised", found,
			       wanted);
	}
	return s->next ? sink_finish(s->next, err) : 0;
}

void verify_sink_init(struct verify_sink *s, const struct hash *digest, int64_t size,
		      struct sink *next)
{
	*s = (struct verify_sink){.sink = {verify_write, verify_finish},
				  .next = next,
				  .digest = *digest,
				  .known = digest->algo != HASH_NONE,
				  .size = size};
	hasher_init(&s->hasher, s->known ? digest->algo : HASH_SHA256);
}

void verify_sink_release(struct verify_sink *s)
{
	hasher_release(&s->hasher);
}
