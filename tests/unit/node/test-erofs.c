/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images are checked three ways: by fsck.erofs (where it is installed), by mounting them on a loop
 * device or from the file (as root) and comparing every name, kind, size, target, link count and
 * xattr with the model, and by writing them twice.
 */
#include "../unit.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "base/fs.h"
#include "base/mem.h"
#include "node/erofs.h"
#include "node/view-internal.h"

/* The model: one node a line of a tree, in pre-order. */
struct model_node {
	enum node_event_type type; /* DIRECTORY, REGULAR, SYMLINK */
	unsigned depth;
	char *name; /* owned */
	bool executable;
	uint64_t size;
	char *target; /* owned */
};

struct model {
	struct model_node *nodes;
	size_t n, cap;
};

static void model_add(struct model *m, struct model_node node)
{
	array_grow(m->nodes, m->cap, m->n + 1);
	m->nodes[m->n++] = node;
}

static void model_release(struct model *m)
{
	for (size_t i = 0; i < m->n; i++) {
		free(m->nodes[i].name);
		free(m->nodes[i].target);
	}
	free(m->nodes);
	*m = (struct model){0};
}

static int send_model(const struct model *m, struct node_sink *out, struct err *err)
{
	unsigned open = 0;

	for (size_t i = 0; i <= m->n; i++) {
		unsigned depth = i < m->n ? m->nodes[i].depth : 0;
		const struct model_node *n = &m->nodes[i];

		while (open > depth) {
			struct node_event end = {.type = NODE_DIRECTORY_END, .depth = --open};

			if (node_sink_event(out, &end, err) < 0)
				return err->code;
		}
		if (i < m->n) {
			struct node_event ev = {
				.type = n->type,
				.depth = n->depth,
				.name = slice_str(n->name),
				.executable = n->executable,
				.size = n->size,
				.data = n->target ? slice_str(n->target) : slice_make(NULL, 0),
			};

			if (node_sink_event(out, &ev, err) < 0)
				return err->code;
			open += n->type == NODE_DIRECTORY;
		}
	}
	return node_sink_event(out, &(struct node_event){.type = NODE_END}, err);
}

static int open_temp(const char *dir, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
}

/* Writes an image of these trees; returns its size. */
static uint64_t write_image(int fd, const struct model *models, const char *const *paths, size_t n)
{
	struct erofs_writer *w = erofs_writer_new(fd);
	struct err err = ERR_INIT;
	uint64_t size = 0;

	for (size_t i = 0; i < n; i++) {
		char data_name[32];

		snprintf(data_name, sizeof(data_name), "content-%zu", i);
		assert_ok(erofs_writer_path(w, paths[i], data_name, &err), err);
		assert_ok(send_model(&models[i], erofs_writer_node_sink(w), &err), err);
	}
	assert_ok(erofs_writer_finish(w, &size, &err), err);
	erofs_writer_free(w);
	return size;
}

static bool have_fsck(void)
{
	return access("/usr/bin/fsck.erofs", X_OK) == 0;
}

static void check_fsck(const char *image)
{
	int status;
	pid_t pid;

	if (!have_fsck())
		return;
	pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY);

		dup2(null, 1);
		execl("/usr/bin/fsck.erofs", "fsck.erofs", image, NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		fail_msg("fsck.erofs %s: %d", image, status);
}

/* The model's node and all below it, compared with what is at `name` of `dir`. Returns the index
 * behind them. */
static size_t compare_node(const struct model *m, size_t i, int dir, const char *name,
			   const char *redirect)
{
	const struct model_node *n = &m->nodes[i];
	char proc[64], value[8192];
	struct stat st;
	int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	ssize_t len;

	if (fd < 0 || fstat(fd, &st) < 0)
		fail_msg("%s: %s", redirect, strerror(errno));
	assert_int_equal(st.st_mtime, 1);
	assert_int_equal(st.st_uid, 0);
	assert_int_equal(st.st_gid, 0);
	if (n->type == NODE_SYMLINK) {
		assert_int_equal(st.st_mode, 0120777);
		len = readlinkat(dir, name, value, sizeof(value));
		assert_int_equal(len, (ssize_t)strlen(n->target));
		assert_memory_equal(value, n->target, (size_t)len);
		close(fd);
		return i + 1;
	}
	if (n->type == NODE_REGULAR) {
		assert_int_equal(st.st_mode, n->executable ? 0100555 : 0100444);
		assert_int_equal(st.st_nlink, 1);
		assert_true((uint64_t)st.st_size == n->size);
		snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
		len = getxattr(proc, "trusted.overlay.redirect", value, sizeof(value));
		if (n->size) {
			assert_int_equal(len, (ssize_t)strlen(redirect));
			assert_memory_equal(value, redirect, (size_t)len);
			assert_int_equal(
				getxattr(proc, "trusted.overlay.metacopy", value, sizeof(value)),
				0);
		} else {
			assert_int_equal(len, -1);
		}
		close(fd);
		return i + 1;
	}
	assert_int_equal(st.st_mode, 040555);
	size_t end = i + 1, n_children = 0, n_dirs = 0, seen = 0;
	int dirfd = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fdopendir(dirfd);

	while (end < m->n && m->nodes[end].depth > n->depth) {
		char *below = xasprintf("%s/%s", redirect, m->nodes[end].name);

		n_dirs += m->nodes[end].type == NODE_DIRECTORY;
		n_children++;
		end = compare_node(m, end, fd, m->nodes[end].name, below);
		free(below);
	}
	assert_true(st.st_nlink == 2 + n_dirs);
	while (readdir(d))
		seen++;
	assert_true(seen == n_children + 2);
	closedir(d);
	close(fd);
	return end;
}

static void compare_mounted(const char *image_path, const struct model *models,
			    const char *const *paths, size_t n)
{
	struct view_image image = {.path = (char *)image_path, .fd = -1};
	struct err err = ERR_INIT;
	int mnt;

	if (geteuid() != 0)
		return;
	mnt = view_image_mount(&image, VIEW_EROFS_FILE, &err);
	if (mnt < 0) {
		err = ERR_INIT;
		mnt = view_image_mount(&image, VIEW_EROFS_LOOP, &err);
	}
	if (mnt < 0) { /* a kernel without EROFS, or root that may not mount */
		print_message("not mounted: %s\n", err.text);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		char redirect[32];

		snprintf(redirect, sizeof(redirect), "/content-%zu", i);
		assert_true(compare_node(&models[i], 0, mnt, paths[i] + 1, redirect) ==
			    models[i].n);
	}
	close(mnt);
}

static void check_models(const struct model *models, const char *const *paths, size_t n)
{
	char dir[64], path[128], other[128];
	int dirfd = unit_tempdir(dir), fd, fd2;
	cleanup_buf struct buf a = BUF_INIT(1 << 30), b = BUF_INIT(1 << 30);
	struct err err = ERR_INIT;
	uint64_t size;

	fd = open_temp(dir, "image");
	fd2 = open_temp(dir, "again");
	snprintf(path, sizeof(path), "%s/image", dir);
	snprintf(other, sizeof(other), "%s/again", dir);
	size = write_image(fd, models, paths, n);
	assert_true(size % 4096 == 0);
	assert_true(write_image(fd2, models, paths, n) == size);
	close(fd);
	close(fd2);
	assert_ok(read_file_at(AT_FDCWD, path, 1 << 30, &a, &err), err);
	assert_ok(read_file_at(AT_FDCWD, other, 1 << 30, &b, &err), err);
	assert_true(a.len == size && b.len == size && memcmp(a.data, b.data, size) == 0);
	check_fsck(path);
	compare_mounted(path, models, paths, n);
	unit_tempdir_end(dirfd, dir);
}

static struct model_node file_node(unsigned depth, const char *name, uint64_t size)
{
	return (struct model_node){NODE_REGULAR, depth, xstrdup(name), size % 2 == 1, size, NULL};
}

static struct model_node dir_node(unsigned depth, const char *name)
{
	return (struct model_node){NODE_DIRECTORY, depth, xstrdup(name), false, 0, NULL};
}

static struct model_node link_node(unsigned depth, const char *name, const char *target)
{
	return (struct model_node){NODE_SYMLINK, depth, xstrdup(name), false, 0, xstrdup(target)};
}

static void test_small(void **state)
{
	static const char *const paths[] = {"/nix/store/b", "/nix/store/a", "/gnu/store/c", "/top"};
	struct model models[4] = {0};

	(void)state;
	model_add(&models[0], dir_node(0, ""));
	/* Names on both sides of "." and "..". */
	model_add(&models[0], file_node(1, "!first", 1));
	model_add(&models[0], dir_node(1, "-"));
	model_add(&models[0], file_node(1, ".-", 0));
	model_add(&models[0], file_node(1, "...", 4096));
	model_add(&models[0], dir_node(1, "bin"));
	model_add(&models[0], file_node(2, "hello", 12345));
	model_add(&models[0], link_node(2, "link", "hello"));
	model_add(&models[0], file_node(1, "\xff\xfe", UINT64_C(5) << 30));
	model_add(&models[1], file_node(0, "", 77));
	model_add(&models[2], link_node(0, "", "/gnu/store/elsewhere"));
	model_add(&models[3], dir_node(0, ""));
	check_models(models, paths, 4);
	for (size_t i = 0; i < 4; i++)
		model_release(&models[i]);
}

static void test_nothing(void **state)
{
	(void)state;
	check_models(NULL, NULL, 0);
}

/* A directory of many blocks, sizes at the edges of what an inode holds, targets at the edge of a
 * block. */
static void test_large(void **state)
{
	static const char *const paths[] = {"/nix/store/large"};
	struct model m = {0};
	char name[256], target[4096];

	(void)state;
	model_add(&m, dir_node(0, ""));
	model_add(&m, dir_node(1, "a"));
	for (int i = 0; i < 100000; i++) {
		snprintf(name, sizeof(name), "entry-%06d", i);
		model_add(&m, file_node(2, name, (uint64_t)i));
	}
	model_add(&m, dir_node(1, "b"));
	for (int i = 0; i < 600; i++) {
		memset(name, 'x', 255);
		name[255] = '\0';
		snprintf(name, 6, "%05d", i);
		name[5] = 'x';
		model_add(&m, dir_node(2, name));
	}
	model_add(&m, dir_node(1, "c"));
	for (unsigned len = 4050; len <= 4095; len++) {
		memset(target, 't', len);
		target[len] = '\0';
		snprintf(name, sizeof(name), "%u", len);
		model_add(&m, link_node(2, name, target));
	}
	model_add(&m, dir_node(1, "sizes"));
	for (unsigned bits = 11; bits < 63; bits++)
		for (int d = -1; d <= 1; d++) {
			snprintf(name, sizeof(name), "%02u%c", bits, 'b' + d);
			model_add(&m, file_node(2, name, (UINT64_C(1) << bits) + (uint64_t)d));
			if (bits > 46) /* the holes of larger ones are many entries */
				m.nodes[--m.n].size = 0, free(m.nodes[m.n].name);
		}
	check_models(&m, paths, 1);
	model_release(&m);
}

/* More subdirectories than a compact inode can count. */
static void test_many_links(void **state)
{
	static const char *const paths[] = {"/nix/store/links"};
	struct model m = {0};
	char name[16];

	(void)state;
	model_add(&m, dir_node(0, ""));
	for (int i = 0; i < 65540; i++) {
		snprintf(name, sizeof(name), "%05d", i);
		model_add(&m, dir_node(1, name));
	}
	check_models(&m, paths, 1);
	model_release(&m);
}

static void test_deep(void **state)
{
	static const char *const paths[] = {"/a/b/c/d/e/f/g/deep"};
	struct model m = {0};
	char name[64];

	(void)state;
	memset(name, 'n', sizeof(name));
	name[60] = '\0';
	model_add(&m, dir_node(0, ""));
	for (unsigned depth = 1; depth < 63; depth++)
		model_add(&m, dir_node(depth, name));
	model_add(&m, file_node(63, "f", 9));
	check_models(&m, paths, 1);
	model_release(&m);
}

static uint32_t next_random(uint64_t *seed)
{
	*seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (uint32_t)(*seed >> 33);
}

/* Names of random bytes in order. */
static void random_tree(struct model *m, unsigned depth, uint64_t *seed)
{
	struct strv names = {0};
	unsigned n = next_random(seed) % (depth == 1 ? 400 : 12);

	for (unsigned i = 0; i < n; i++) {
		char name[256];
		size_t len = next_random(seed) % 20 == 0 ? 255 : 1 + next_random(seed) % 30;

		for (size_t j = 0; j < len; j++) {
			name[j] = (char)(1 + next_random(seed) % 255);
			if (name[j] == '/')
				name[j] = '.';
		}
		name[len] = '\0';
		if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
			strv_add(&names, name);
	}
	strv_sort_unique(&names);
	for (size_t i = 0; i < names.len; i++) {
		uint32_t dice = next_random(seed) % 8;
		char target[4096];

		if (dice < 2 && depth < 6) {
			model_add(m, dir_node(depth, names.items[i]));
			random_tree(m, depth + 1, seed);
		} else if (dice == 3) {
			size_t len =
				next_random(seed) % 10 == 0 ? 4095 : 1 + next_random(seed) % 99;

			memset(target, 'q', len);
			target[len] = '\0';
			model_add(m, link_node(depth, names.items[i], target));
		} else {
			model_add(m, file_node(depth, names.items[i],
					       next_random(seed) % 5 == 0 ? 0 : next_random(seed)));
		}
	}
	strv_release(&names);
}

static void test_random(void **state)
{
	(void)state;
	for (uint64_t round = 1; round <= 12; round++) {
		struct model models[8] = {0};
		char names[8][32];
		const char *paths[8];
		uint64_t seed = round;

		for (size_t i = 0; i < 8; i++) {
			snprintf(names[i], sizeof(names[i]), "/nix/store/path-%zu", i ^ 5);
			paths[i] = names[i];
			model_add(&models[i], dir_node(0, ""));
			random_tree(&models[i], 1, &seed);
		}
		check_models(models, paths, 8);
		for (size_t i = 0; i < 8; i++)
			model_release(&models[i]);
	}
}

/* What is refused, and as what. */
static void test_refused(void **state)
{
	static const struct {
		const char *first, *second;
		int code;
	} cases[] = {
		{"/nix/store/a", "/nix/store/a", E_EXISTS},
		{"/nix/store/a", "/nix/store/a/b", E_CONFLICT},
		{"/nix/store/a/b", "/nix/store/a", E_CONFLICT},
		{"/nix/store/a", "nix/store/b", E_INVALID},
		{"/nix/store/a", "/", E_INVALID},
		{"/nix/store/a", "", E_INVALID},
		{"/nix/store/a", "/nix/../b", E_INVALID},
		{"/nix/store/a", "/nix/./b", E_INVALID},
		{"/nix/store/a", "/nix//b", E_INVALID},
		{"/nix/store/a", "/nix/b/", E_INVALID},
	};
	struct model m = {0};

	(void)state;
	model_add(&m, dir_node(0, ""));
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char dir[64];
		int dirfd = unit_tempdir(dir), fd = open_temp(dir, "image"), r;
		struct erofs_writer *w = erofs_writer_new(fd);
		struct err err = ERR_INIT;
		uint64_t size;

		assert_ok(erofs_writer_path(w, cases[i].first, "a", &err), err);
		assert_ok(send_model(&m, erofs_writer_node_sink(w), &err), err);
		r = erofs_writer_path(w, cases[i].second, "b", &err);
		if (r >= 0)
			r = send_model(&m, erofs_writer_node_sink(w), &err);
		if (r >= 0)
			r = erofs_writer_finish(w, &size, &err);
		if (r != cases[i].code)
			fail_msg("case %zu: %d %s", i, r, err.text);
		erofs_writer_free(w);
		close(fd);
		unit_tempdir_end(dirfd, dir);
	}
	model_release(&m);
}

/* Event sequences that are no tree, and a path that overlayfs cannot follow. */
static void test_bad_events(void **state)
{
	static const struct node_event dir = {.type = NODE_DIRECTORY};
	static const struct node_event cases[][3] = {
		{{.type = NODE_END}},
		{{.type = NODE_DIRECTORY_END}},
		{dir, {.type = NODE_END}},
		{dir, {.type = NODE_REGULAR, .depth = 1}},
		{dir, {.type = NODE_REGULAR, .depth = 2, .name = {(const uint8_t *)"a", 1}}},
		{dir, {.type = NODE_REGULAR, .depth = 1, .name = {(const uint8_t *)"..", 2}}},
		{dir, {.type = NODE_REGULAR, .depth = 1, .name = {(const uint8_t *)"a/b", 3}}},
		{dir, {.type = NODE_SYMLINK, .depth = 1, .name = {(const uint8_t *)"a", 1}}},
		{dir,
		 {.type = NODE_REGULAR, .depth = 1, .name = {(const uint8_t *)"b", 1}},
		 {.type = NODE_REGULAR, .depth = 1, .name = {(const uint8_t *)"a", 1}}},
		{dir,
		 {.type = NODE_REGULAR, .depth = 1, .name = {(const uint8_t *)"a", 1}},
		 {.type = NODE_REGULAR, .depth = 1, .name = {(const uint8_t *)"a", 1}}},
		{{.type = NODE_REGULAR}, {.type = NODE_REGULAR}},
	};
	struct model m = {0};
	struct err err = ERR_INIT;
	char name[256];
	char path[64];
	int dirfd = unit_tempdir(path), fd = open_temp(path, "image");

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct erofs_writer *w = erofs_writer_new(fd);
		int r = 0;

		assert_ok(erofs_writer_path(w, "/nix/store/a", "a", &err), err);
		for (size_t j = 0; r >= 0 && j < 3 && cases[i][j].type; j++)
			r = node_sink_event(erofs_writer_node_sink(w), &cases[i][j], &err);
		if (r != E_INVALID)
			fail_msg("case %zu: %d", i, r);
		erofs_writer_free(w);
	}
	memset(name, 'n', sizeof(name));
	name[255] = '\0';
	model_add(&m, dir_node(0, ""));
	for (unsigned depth = 1; depth < 17; depth++)
		model_add(&m, dir_node(depth, name));
	model_add(&m, file_node(17, "f", 9));

	struct erofs_writer *w = erofs_writer_new(fd);

	assert_ok(erofs_writer_path(w, "/nix/store/a", "a", &err), err);
	assert_int_equal(send_model(&m, erofs_writer_node_sink(w), &err), E_LIMIT);
	erofs_writer_free(w);
	model_release(&m);
	close(fd);
	unit_tempdir_end(dirfd, path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing), cmocka_unit_test(test_small),
		cmocka_unit_test(test_large),   cmocka_unit_test(test_many_links),
		cmocka_unit_test(test_deep),    cmocka_unit_test(test_random),
		cmocka_unit_test(test_refused), cmocka_unit_test(test_bad_events),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
