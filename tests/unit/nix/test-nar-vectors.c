/* SPDX-License-Identifier: Apache-2.0 */
/* The vectors that another implementation wrote: good NARs with hash and listing, and one bad NAR a
 * rule, with the offset at which that implementation stopped. */
#include "nar-spec.h"

#include <jansson.h>

#include <nacre/hash.h>

#include "base/fs.h"
#include "base/sinks.h"

struct vectors {
	int dir; /* tests/vectors */
	json_t *json;
};

static int vectors_setup(void **state)
{
	struct vectors *v = xcalloc(1, sizeof(*v));
	const char *path = getenv("NACRE_VECTORS");
	cleanup_buf struct buf text = {0};
	struct err err = ERR_INIT;

	v->dir = open(path ? path : "tests/vectors", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (read_file_at(v->dir, "nar.json", 1 << 20, &text, &err) < 0)
		print_error("%s\n", err.text);
	v->json = json_loadb((const char *)text.data, text.len, 0, NULL);
	*state = v;
	return v->json ? 0 : -1;
}

static int vectors_teardown(void **state)
{
	struct vectors *v = *state;

	json_decref(v->json);
	close(v->dir);
	free(v);
	return 0;
}

static const char *text_of(const json_t *item, const char *key)
{
	const char *text = json_string_value(json_object_get(item, key));

	assert_non_null(text);
	return text;
}

static void read_vector(const struct vectors *v, const json_t *item, struct buf *ret)
{
	struct err err = ERR_INIT;

	assert_ok(read_file_at(v->dir, text_of(item, "file"), 16 << 20, ret, &err), err);
}

/* Newer Nix writes "executable" always, and orders keys: equal as JSON once it is added. */
static void add_executable(json_t *node)
{
	json_t *entries = json_object_get(node, "entries"), *child;
	const char *name;

	json_object_foreach (entries, name, child)
		add_executable(child);
	if (strcmp(text_of(node, "type"), "regular") == 0 && !json_object_get(node, "executable"))
		json_object_set_new(node, "executable", json_false());
}

static void check_listing(const json_t *item, struct slice listing)
{
	json_t *want = json_object_get(item, "listing"), *got;

	if (!want) /* names that are not UTF-8 */
		return;
	got = json_loadb((const char *)listing.data, listing.len, 0, NULL);
	assert_non_null(got);
	add_executable(json_object_get(got, "root"));
	assert_true(json_equal(got, want));
	json_decref(got);
}

static void check_good(const struct vectors *v, const json_t *item)
{
	cleanup_buf struct buf nar = {0}, again = {0};
	struct nar_lister *lister = nar_lister_new(0);
	struct hash want, got;
	struct buf_sink out;
	struct nar_writer *writer;
	struct nar_decoder decoder;
	struct node_tee tee;
	struct err err = ERR_INIT;

	read_vector(v, item, &nar);
	buf_sink_init(&out, &again);
	writer = nar_writer_new(&out.sink);
	node_tee_init(&tee, nar_writer_node_sink(writer), nar_lister_node_sink(lister));
	nar_decoder_init(&decoder, &tee.node_sink);
	assert_ok(sink_write(&decoder.sink, nar.data, nar.len, &err), err);
	assert_ok(sink_finish(&decoder.sink, &err), err);
	assert_int_equal(again.len, json_integer_value(json_object_get(item, "narSize")));
	hash_bytes(&got, HASH_SHA256, again.data, again.len);
	assert_int_equal(hash_parse(&want, HASH_NONE, slice_str(text_of(item, "narHash"))), 0);
	assert_true(hash_equal(&got, &want));
	check_listing(item, nar_lister_json(lister));
	nar_decoder_release(&decoder);
	nar_writer_free(writer);
	nar_lister_free(lister);
}

static void test_good(void **state)
{
	const struct vectors *v = *state;
	const json_t *items = json_object_get(v->json, "good");

	assert_true(json_array_size(items) >= 10);
	for (size_t i = 0; i < json_array_size(items); i++)
		check_good(v, json_array_get(items, i));
}

/* "… (at byte N)" */
static uint64_t blamed(const char *why)
{
	const char *at = strstr(why, "(at byte ");
	uint64_t n = 0;

	assert_non_null(at);
	at += strlen("(at byte ");
	assert_int_equal(parse_u64(&n, slice_make(at, strspn(at, "0123456789"))), 0);
	return n;
}

/* A size that no NAR can have is refused where it stands, not where the bytes run out. */
static uint64_t size_token(const char *name, uint64_t offset)
{
	return slice_has_prefix(slice_str(name), "contents-length-") ? 88 : offset;
}

static int ignore_event(struct node_sink *self, const struct node_event *ev, struct err *err)
{
	return 0;
}

static void check_bad(const struct vectors *v, const json_t *item, size_t step)
{
	struct node_sink ignore = {ignore_event};
	const char *name = text_of(item, "name");
	cleanup_buf struct buf nar = {0};
	struct nar_decoder decoder;
	struct err err = ERR_INIT;
	uint64_t want = size_token(name, blamed(text_of(item, "why"))), got;
	int r = 0;

	read_vector(v, item, &nar);
	nar_decoder_init(&decoder, &ignore);
	for (size_t at = 0; r == 0 && at < nar.len; at += step)
		r = sink_write(&decoder.sink, nar.data + at,
			       nar.len - at < step ? nar.len - at : step, &err);
	if (r == 0)
		r = sink_finish(&decoder.sink, &err);
	got = nar_reader_offset(decoder.reader);
	nar_decoder_release(&decoder);
	if (r >= 0 || got != want)
		fail_msg("%s: got %d %s, want offset %" PRIu64, name, r, err.text, want);
}

static void test_bad(void **state)
{
	const struct vectors *v = *state;
	const json_t *items = json_object_get(v->json, "bad");

	assert_true(json_array_size(items) >= 50);
	for (size_t i = 0; i < json_array_size(items); i++)
		for (size_t step = 1; step < 100000; step *= 10)
			check_bad(v, json_array_get(items, i), step);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
	};

	return cmocka_run_group_tests(tests, vectors_setup, vectors_teardown);
}
