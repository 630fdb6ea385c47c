/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds hash parts as Nix does (src/libutil/references.cc search): look at the last character of a
 * window first; a character outside nix32 moves the window past it.
 */
#include <nacre/encode.h>
#include <nacre/storepath.h>

#include "base/mem.h"

struct wanted {
	char hash[STORE_HASH_LEN];
	size_t index;
};

struct ref_scanner {
	struct sink sink;
	const struct strv *bases; /* borrowed */
	struct wanted *sorted;    /* owned, by hash */
	bool *found;              /* owned, by index */
	size_t n_missing;         /* stop looking when all were found */
	bool is_char[256];
	uint8_t tail[STORE_HASH_LEN - 1];
	size_t tail_len;
};

static int compare_wanted(const void *a, const void *b)
{
	return memcmp(((const struct wanted *)a)->hash, ((const struct wanted *)b)->hash,
		      STORE_HASH_LEN);
}

static void mark(struct ref_scanner *s, const uint8_t *hash)
{
	struct wanted key, *hit;

	memcpy(key.hash, hash, STORE_HASH_LEN);
	hit = bsearch(&key, s->sorted, s->bases->len, sizeof(key), compare_wanted);
	if (!hit)
		return;
	/* Two paths may share a hash part. */
	while (hit > s->sorted && compare_wanted(hit - 1, &key) == 0)
		hit--;
	for (; hit < s->sorted + s->bases->len && compare_wanted(hit, &key) == 0; hit++)
		if (!s->found[hit->index]) {
			s->found[hit->index] = true;
			s->n_missing--;
		}
}

static void search(struct ref_scanner *s, const uint8_t *data, size_t len)
{
	for (size_t i = 0; s->n_missing && i + STORE_HASH_LEN <= len;) {
		size_t j = STORE_HASH_LEN;

		while (j && s->is_char[data[i + j - 1]])
			j--;
		if (j) {
			i += j;
			continue;
		}
		mark(s, data + i);
		i++;
	}
}

static int scan_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	struct ref_scanner *s = container_of(self, struct ref_scanner, sink);
	uint8_t border[2 * (STORE_HASH_LEN - 1)];
	size_t head = len < STORE_HASH_LEN - 1 ? len : STORE_HASH_LEN - 1;
	size_t border_len, keep;

	(void)err;
	/* What lies across the border of the last write and this one. */
	memcpy(border, s->tail, s->tail_len);
	memcpy(border + s->tail_len, data, head);
	border_len = s->tail_len + head;
	search(s, border, border_len);
	search(s, data, len);
	if (len >= STORE_HASH_LEN - 1) {
		memcpy(s->tail, (const uint8_t *)data + len - (STORE_HASH_LEN - 1),
		       STORE_HASH_LEN - 1);
		s->tail_len = STORE_HASH_LEN - 1;
		return 0;
	}
	keep = border_len < STORE_HASH_LEN - 1 ? border_len : STORE_HASH_LEN - 1;
	memcpy(s->tail, border + border_len - keep, keep);
	s->tail_len = keep;
	return 0;
}

struct ref_scanner *ref_scanner_new(const struct strv *base_names)
{
	struct ref_scanner *s = xcalloc(1, sizeof(*s));

	s->sink.write = scan_write;
	s->bases = base_names;
	s->sorted = xcalloc(base_names->len, sizeof(*s->sorted));
	s->found = xcalloc(base_names->len, sizeof(*s->found));
	s->n_missing = base_names->len;
	for (size_t i = 0; i < base_names->len; i++) {
		memcpy(s->sorted[i].hash, base_names->items[i], STORE_HASH_LEN);
		s->sorted[i].index = i;
	}
	qsort(s->sorted, base_names->len, sizeof(*s->sorted), compare_wanted);
	for (int c = 0; c < 256; c++)
		s->is_char[c] = nix32_is_char((char)c);
	return s;
}

struct sink *ref_scanner_sink(struct ref_scanner *s)
{
	return &s->sink;
}

void ref_scanner_found(const struct ref_scanner *s, struct strv *ret)
{
	for (size_t i = 0; i < s->bases->len; i++)
		if (s->found[i])
			strv_add(ret, s->bases->items[i]);
}

void ref_scanner_free(struct ref_scanner *s)
{
	if (!s)
		return;
	free(s->sorted);
	free(s->found);
	free(s);
}
