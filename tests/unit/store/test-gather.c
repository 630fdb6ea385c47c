/* SPDX-License-Identifier: Apache-2.0 */
/* Pieces of several objects, read together, are what each is by itself. */
#include "store-fixture.h"

#include <sys/mman.h>

#include "base/mem.h"
#include "store/gather.h"

enum { SIZE = 1 << 20, OBJECTS = 4, PIECES = 300, PIECE_MAX = 9000, OUT = PIECES * PIECE_MAX };

static uint8_t byte_at(size_t object, uint64_t offset)
{
	return (uint8_t)(offset * 31 + (offset >> 8) * 17 + object * 101);
}

/* The last one is in memory. */
static void make_objects(struct object *objects)
{
	for (size_t i = 0; i < OBJECTS; i++) {
		struct object *o = &objects[i];
		cleanup_free uint8_t *bytes = xmalloc(SIZE);

		*o = OBJECT_INIT;
		o->size = SIZE;
		for (size_t k = 0; k < SIZE; k++)
			bytes[k] = byte_at(i, k);
		if (i == OBJECTS - 1) {
			o->data = take_ptr(bytes);
			continue;
		}
		o->fd = memfd_create("object", MFD_CLOEXEC);
		assert_true(o->fd >= 0);
		assert_int_equal(write(o->fd, bytes, SIZE), SIZE);
	}
}

static void free_objects(struct object *objects)
{
	for (size_t i = 0; i < OBJECTS; i++)
		object_release(&objects[i]);
}

struct wanted {
	size_t object;
	uint64_t offset;
	size_t len;
};

/* Mostly on from where the object was left, as a layer has it: next to it, over a gap, over one that
 * is too wide, or back. */
static struct wanted next_piece(uint64_t *ends, size_t objects)
{
	struct wanted w = {.object = (size_t)rand() % objects,
			   .len = 1 + (size_t)rand() % PIECE_MAX};
	uint64_t gaps[] = {0, 1, 117, GATHER_GAP_MAX, GATHER_GAP_MAX + 1, 70000};
	uint64_t at = ends[w.object] + gaps[rand() % 6];

	if (at + w.len > SIZE || rand() % 20 == 0)
		at = (uint64_t)rand() % (SIZE - w.len);
	w.offset = at;
	ends[w.object] = at + w.len;
	return w;
}

static void check_rounds(struct object *objects, size_t n_objects)
{
	cleanup_free uint8_t *out = xmalloc(OUT);
	struct wanted wanted[PIECES];
	uint64_t ends[OBJECTS] = {0};
	struct err err = ERR_INIT;
	struct gather g;
	size_t n = 0;

	gather_init(&g);
	for (size_t i = 0; i < PIECES; i++) {
		struct iovec to;

		wanted[i] = next_piece(ends, n_objects);
		to = (struct iovec){out + n, wanted[i].len};
		assert_ok(gather_add(&g, &objects[wanted[i].object], wanted[i].offset, &to, &err),
			  err);
		n += wanted[i].len;
	}
	assert_ok(gather_finish(&g, &err), err);
	n = 0;
	for (size_t i = 0; i < PIECES; i++)
		for (size_t k = 0; k < wanted[i].len; k++, n++)
			if (out[n] != byte_at(wanted[i].object, wanted[i].offset + k))
				fail_msg("piece %zu, byte %zu", i, k);
}

static void test_pieces(void **state)
{
	struct object objects[OBJECTS];

	(void)state;
	srand(1);
	make_objects(objects);
	for (size_t i = 0; i < 40; i++)
		check_rounds(objects, 1 + i % OBJECTS);
	free_objects(objects);
}

/* An object that is shorter than it was, and one that is asked for what it never had. */
static void test_short(void **state)
{
	struct object objects[OBJECTS];
	struct err err = ERR_INIT;
	uint8_t out[200];
	struct iovec to = {out, 100}, more = {out + 100, 100};
	struct gather g;

	(void)state;
	make_objects(objects);
	gather_init(&g);
	assert_int_equal(ftruncate(objects[0].fd, 1100), 0);
	assert_ok(gather_add(&g, &objects[0], 900, &to, &err), err);
	assert_ok(gather_add(&g, &objects[0], 1050, &more, &err), err);
	assert_fails(gather_finish(&g, &err), E_INTERNAL, err, "shorter");
	gather_init(&g);
	assert_fails(gather_add(&g, &objects[1], SIZE - 99, &to, &err), E_INTERNAL, err,
		     "past the end");
	assert_fails(gather_add(&g, &objects[1], UINT64_MAX, &to, &err), E_INTERNAL, err,
		     "past the end");
	assert_ok(gather_add(&g, &objects[1], SIZE - 100, &to, &err), err);
	assert_ok(gather_finish(&g, &err), err);
	free_objects(objects);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_short),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
