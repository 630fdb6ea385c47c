/* SPDX-License-Identifier: Apache-2.0 */
/* What is noted of a view, and when it does not hold. */
#include "../unit.h"

#include <string.h>
#include <sys/stat.h>

#include "base/fs.h"
#include "base/mem.h"
#include "node/node-ready.h"

#define VIEW      "1111111111111111111111111111111111111111111111111111111111111111"
#define FILE_NAME "views/2222222222222222222222222222222222222222222222222222222222222222.ready"

static struct hash manifest(void)
{
	struct hash hash = {.algo = HASH_SHA256};

	memset(hash.bytes, 0x22, hash_size(HASH_SHA256));
	return hash;
}

static void write_text(const char *file, const char *text, size_t len)
{
	cleanup_fd int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write_full(fd, text, len), 0);
}

static int dirfd;
static char dir[64];

static struct node_store *open_store(void)
{
	struct node_store *store;
	struct err err = ERR_INIT;

	dirfd = unit_tempdir(dir);
	assert_int_equal(fchdir(dirfd), 0);
	assert_int_equal(node_store_open(&store, ".", &err), 0);
	assert_int_equal(mkdir("views", 0755), 0);
	write_text("views/" VIEW ".erofs", "x", 1);
	return store;
}

static void close_store(struct node_store *store)
{
	node_store_free(store);
	assert_int_equal(chdir("/"), 0);
	unit_tempdir_end(dirfd, dir);
}

/* As if all had happened long ago. */
static struct node_stamp settled_stamp(const struct node_store *store)
{
	struct node_stamp stamp;

	node_stamp_take(&stamp, store);
	stamp.is_settled = true;
	return stamp;
}

static void note(const struct node_store *store, const struct node_stamp *stamp)
{
	cleanup_free char *image = xasprintf("%s/views/" VIEW ".erofs", node_store_root(store));
	struct node_ready ready = {.image = image, .n_paths = 7};
	struct hash digest = manifest();

	strv_addf(&ready.layers, "%s/layers/" VIEW, node_store_root(store));
	node_ready_store(&ready, store, &digest, stamp);
	strv_release(&ready.layers);
}

static bool is_ready(const struct node_store *store)
{
	struct hash digest = manifest();
	struct node_ready ready = {0};
	bool r = node_ready_load(&ready, store, &digest);

	node_ready_release(&ready);
	return r;
}

static void test_round_trip(void **state)
{
	struct node_store *store = open_store();
	struct node_stamp stamp = settled_stamp(store);
	struct hash digest = manifest();
	struct node_ready ready = {0};

	(void)state;
	assert_false(is_ready(store));
	note(store, &stamp);
	assert_true(node_ready_load(&ready, store, &digest));
	assert_int_equal(ready.n_paths, 7);
	assert_non_null(strstr(ready.image, "/views/" VIEW ".erofs"));
	assert_int_equal(ready.layers.len, 1);
	assert_non_null(strstr(ready.layers.items[0], "/layers/" VIEW));
	node_ready_release(&ready);
	unlink("views/" VIEW ".erofs");
	assert_false(is_ready(store));
	close_store(store);
}

/* A change that was made in the same tick of the clock would not show. */
static void test_not_at_once(void **state)
{
	struct node_store *store = open_store();
	struct node_stamp stamp;

	(void)state;
	mkdir("paths/new", 0755);
	node_stamp_take(&stamp, store);
	assert_false(stamp.is_settled);
	note(store, &stamp);
	assert_false(is_ready(store));
	close_store(store);
}

static void test_changes(void **state)
{
	static const char *const dirs[] = {"paths/a", "layers/a"};
	struct node_store *store = open_store();

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
		struct node_stamp stamp;

		mkdir(dirs[i], 0755);
		usleep(50000);
		stamp = settled_stamp(store);
		note(store, &stamp);
		assert_true(is_ready(store));
		mkdir("paths/a/b", 0755); /* within a path: not what is looked at */
		assert_true(is_ready(store));
		rmdir("paths/a/b");
		assert_int_equal(rmdir(dirs[i]), 0);
		assert_false(is_ready(store));
	}
	close_store(store);
}

static void test_damage(void **state)
{
	static const char *const bad[] = {
		"view " VIEW " 0\nend\n",
		"view " VIEW " x\nend\n",
		"view " VIEW " 99999999999999999999\nend\n",
		"view " VIEW "\nend\n",
		"view ../../etc/passwd 3\nend\n",
		"view " VIEW " 3\n",
		"view " VIEW " 3\nen",
		"view " VIEW " 3\nend\nend\n",
		"view " VIEW " 3\nlayer " VIEW "\n",
		"view " VIEW " 3\nlayer " VIEW "end\n",
		"view " VIEW " 3\nlayer ..\nend\n",
		"",
	};
	struct node_store *store = open_store();
	struct node_stamp stamp = settled_stamp(store);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		cleanup_free char *text = xasprintf("nacre ready 1\n%s%s", stamp.text, bad[i]);

		write_text(FILE_NAME, text, strlen(text));
		if (is_ready(store))
			fail_msg("case %zu", i);
	}
	note(store, &stamp);
	for (off_t size = 0; size < 400; size++) {
		struct stat st;

		note(store, &stamp);
		assert_int_equal(stat(FILE_NAME, &st), 0);
		if (size >= st.st_size)
			break;
		assert_int_equal(truncate(FILE_NAME, size), 0);
		if (is_ready(store))
			fail_msg("cut at %jd", (intmax_t)size);
	}
	close_store(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_not_at_once),
		cmocka_unit_test(test_changes),
		cmocka_unit_test(test_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
