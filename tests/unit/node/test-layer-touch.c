/* SPDX-License-Identifier: Apache-2.0 */
/* When an ordinary layer and a store layer cannot lie side by side. */
#include "../unit.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <nacre/tree.h>

#include "base/fs.h"
#include "base/mem.h"
#include "node/layer-touch.h"

static const struct {
	mode_t nix, store; /* modes of the directories; 0: there is none */
	uid_t uid;         /* of the store directory */
	bool is_link;      /* nix is a symlink */
	const char *entry; /* in the store directory */
	bool touches;
} cases[] = {
	{0, 0, 0, false, NULL, false},        {0755, 0, 0, false, NULL, false},
	{0755, 0755, 0, false, NULL, false},  {0755, 0755, 0, false, "other", false},
	{0755, 0755, 0, false, "path", true}, {0700, 0, 0, false, NULL, true},
	{0755, 01775, 0, false, NULL, true},  {0755, 0755, 1000, false, NULL, true},
	{0, 0, 0, true, NULL, true},
};

static void put_layer(int dir, size_t i)
{
	if (cases[i].is_link)
		assert_int_equal(symlinkat("elsewhere", dir, "nix"), 0);
	if (cases[i].nix) {
		assert_int_equal(mkdirat(dir, "nix", 0700), 0);
		assert_int_equal(fchmodat(dir, "nix", cases[i].nix, 0), 0);
	}
	if (cases[i].store) {
		assert_int_equal(mkdirat(dir, "nix/store", 0700), 0);
		assert_int_equal(fchownat(dir, "nix/store", cases[i].uid, 0, 0), 0);
		assert_int_equal(fchmodat(dir, "nix/store", cases[i].store, 0), 0);
	}
	if (cases[i].entry) {
		char name[64];

		snprintf(name, sizeof(name), "nix/store/%s", cases[i].entry);
		assert_int_equal(mkdirat(dir, name, 0755), 0);
	}
}

static void test_cases(void **state)
{
	struct layer_path path = {.base = "path"};
	struct layer_record record = {.store_dir = "/nix/store", .paths = &path, .len = 1};
	char top[64];
	cleanup_fd int fd = unit_tempdir(top);
	struct err err = ERR_INIT;

	(void)state;
	if (geteuid() != 0)
		skip();
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char name[16];
		cleanup_fd int dir = -1;

		snprintf(name, sizeof(name), "%zu", i);
		assert_int_equal(mkdirat(fd, name, 0755), 0);
		dir = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		put_layer(dir, i);
		if (layer_touches(dir, &record) != cases[i].touches)
			fail_msg("case %zu", i);
		if (cases[i].store && !cases[i].touches) {
			char store[80];

			snprintf(store, sizeof(store), "%s/%zu/nix/store", top, i);
			if (setxattr(store, "trusted.overlay.opaque", "y", 1, 0) == 0)
				assert_true(layer_touches(dir, &record));
		}
	}
	assert_true(layer_touches(-1, &record));
	assert_ok(tree_remove(AT_FDCWD, top, &err), err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
