/* SPDX-License-Identifier: Apache-2.0 */
/* Views over small trees, mounted in every way that this kernel has; needs root. */
#include "../unit.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "base/fs.h"
#include "base/mem.h"
#include "node/view.h"

struct place {
	char dir[64];
	int fd;
	char *cache, *target, *erofs;
};

static int count_lines(const char *needle)
{
	cleanup_buf struct buf text = BUF_INIT(64 << 20);
	struct err err = ERR_INIT;
	int n = 0;

	assert_ok(read_file_at(AT_FDCWD, "/proc/self/mountinfo", 64 << 20, &text, &err), err);
	for (const char *p = (char *)text.data; (p = strstr(p, needle)); p++)
		n++;
	return n;
}

static void put(const struct place *p, const char *name, const char *text)
{
	cleanup_free char *path = xasprintf("%s/%s", p->dir, name);
	cleanup_free char *parent = xstrndup(path, (size_t)(strrchr(path, '/') - path));
	struct err err = ERR_INIT;
	int fd;

	assert_ok(make_dirs_at(AT_FDCWD, parent, &err), err);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write_full(fd, text, strlen(text)), 0);
	close(fd);
}

static int setup(void **state)
{
	struct place *p = xcalloc(1, sizeof(*p));
	struct err err = ERR_INIT;

	p->fd = unit_tempdir(p->dir);
	p->cache = xasprintf("%s/cache", p->dir);
	p->target = xasprintf("%s/target", p->dir);
	p->erofs = xasprintf("%s/erofs", p->dir);
	assert_ok(make_dirs_at(p->fd, "target", &err), err);
	assert_ok(make_dirs_at(p->fd, "erofs", &err), err);
	assert_ok(make_dirs_at(p->fd, "upper", &err), err);
	assert_ok(make_dirs_at(p->fd, "work", &err), err);
	put(p, "paths/one/bin/hello", "hello one");
	put(p, "paths/one/share/empty", "");
	put(p, "paths/two", "a path that is a file");
	put(p, "other/three/lib/x", "from another store");
	put(p, "paths/hidden/secret", "not in the view");
	assert_int_equal(symlinkat("/nix/store/one", p->fd, "paths/link"), 0);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct place *p = *state;

	umount2(p->target, MNT_DETACH);
	umount2(p->erofs, MNT_DETACH);
	unit_tempdir_end(p->fd, p->dir);
	free(p->cache);
	free(p->target);
	free(p->erofs);
	free(p);
	return 0;
}

/* The spec of the four paths; its strings live in `strings`. */
static struct view_spec make_spec(const struct place *p, struct view_path paths[4],
				  struct strv *strings, bool known)
{
	static const char *const names[][2] = {{"two", "paths/two"},
					       {"one", "paths/one"},
					       {"link", "paths/link"},
					       {"three", "other/three"}};

	for (size_t i = 0; i < 4; i++) {
		strv_addf(strings, "/nix/store/%s", names[i][0]);
		strv_addf(strings, "%s/%s", p->dir, names[i][1]);
	}
	for (size_t i = 0; i < 4; i++) {
		paths[i] = (struct view_path){.path = strings->items[2 * i],
					      .content = strings->items[2 * i + 1]};
		if (known)
			hash_bytes(&paths[i].nar_hash, HASH_SHA256, names[i][0], 3);
	}
	return (struct view_spec){.paths = paths, .n_paths = 4, .cache = p->cache};
}

static void check_file(const struct place *p, const char *name, const char *want)
{
	cleanup_free char *path = xasprintf("%s/%s", p->target, name);
	cleanup_buf struct buf text = {0};
	struct err err = ERR_INIT;

	if (!want) {
		assert_int_equal(faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW), -1);
		return;
	}
	assert_ok(read_file_at(AT_FDCWD, path, 1 << 20, &text, &err), err);
	if (!slice_equal_str(buf_slice(&text), want))
		fail_msg("%s: %.*s", name, (int)text.len, (char *)text.data);
}

static void check_content(const struct place *p)
{
	char target[64] = "";
	cleanup_free char *link = xasprintf("%s/nix/store/link", p->target);

	check_file(p, "nix/store/one/bin/hello", "hello one");
	check_file(p, "nix/store/one/share/empty", "");
	check_file(p, "nix/store/two", "a path that is a file");
	check_file(p, "nix/store/three/lib/x", "from another store");
	check_file(p, "nix/store/hidden", NULL);
	check_file(p, "hidden", NULL);
	check_file(p, "one", NULL);
	assert_int_equal(readlink(link, target, sizeof(target)), 14);
	assert_string_equal(target, "/nix/store/one");
}

/* Root may be kept from mounting: in a container, in a chroot. */
static bool can_mount(void)
{
	int status;
	pid_t child = fork();

	if (child == 0)
		_exit(unshare(CLONE_NEWNS) < 0 ||
		      mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0);
	return waitpid(child, &status, 0) == child && status == 0;
}

static bool is_root(void)
{
	if (geteuid() == 0 && can_mount())
		return true;
	skip();
	return false;
}

/* 1 when this kind works here. */
static bool mount_or_skip(const struct view_spec *spec, const struct place *p,
			  struct view_mounts *mounts)
{
	struct err err = ERR_INIT;
	int r = view_mount(spec, p->target, mounts, &err);

	if (r == E_UNSUPPORTED && spec->kind != VIEW_BIND) {
		print_message("%s: %s\n", view_kind_names[spec->kind], err.text);
		return false;
	}
	assert_ok(r, err);
	return true;
}

static void test_kinds(void **state)
{
	struct place *p = *state;
	int before;

	if (!is_root())
		return;
	before = count_lines("\n");
	for (int round = 0; round < 12; round++) {
		struct view_path paths[4];
		cleanup_strv struct strv strings = {0};
		cleanup_view_mounts struct view_mounts mounts = {0};
		struct view_spec spec = make_spec(p, paths, &strings, round % 2);
		struct err err = ERR_INIT;

		spec.kind = (enum view_kind)(VIEW_EROFS_FILE + round % 3);
		view_force_old_options(round >= 6);
		if (mount_or_skip(&spec, p, &mounts)) {
			assert_int_equal(mounts.kind, spec.kind);
			assert_int_equal(mounts.n_mounts, spec.kind == VIEW_BIND ? 5 : 2);
			check_content(p);
			check_file(p, "nix/store/one/bin/hello", "hello one");
			/* Read-only. */
			cleanup_free char *path = xasprintf("%s/new", p->target);

			assert_int_equal(open(path, O_WRONLY | O_CREAT, 0644), -1);
			assert_int_equal(errno, EROFS);
			assert_ok(view_umount(p->target, &err), err);
			assert_int_equal(view_umount(p->target, &err), E_NOTFOUND);
		}
		view_force_old_options(false);
		assert_int_equal(count_lines("\n"), before);
	}
}

static void test_upper_and_layers(void **state)
{
	struct place *p = *state;

	if (!is_root())
		return;
	put(p, "base/etc/motd", "from the base");
	put(p, "base/etc/gone", "x");
	put(p, "base/bin/sh", "shell");
	put(p, "top/etc/motd", "from the top");
	cleanup_free char *whiteout = xasprintf("%s/top/etc/gone", p->dir);
	cleanup_free char *base = xasprintf("%s/base", p->dir);
	cleanup_free char *top = xasprintf("%s/top", p->dir);

	assert_int_equal(mknod(whiteout, S_IFCHR, makedev(0, 0)), 0);
	for (int kind = VIEW_AUTO; kind <= VIEW_BIND; kind++) {
		const char *layers[] = {top, base};
		cleanup_free char *upper = xasprintf("%s/upper%d", p->dir, kind);
		cleanup_free char *work = xasprintf("%s/work%d", p->dir, kind);
		cleanup_free char *hello = xasprintf("%s/nix/store/one/bin/hello", p->target);
		struct view_path paths[4];
		cleanup_strv struct strv strings = {0};
		cleanup_view_mounts struct view_mounts mounts = {0};
		struct view_spec spec = make_spec(p, paths, &strings, true);
		struct err err = ERR_INIT;
		int fd;

		assert_ok(make_dirs_at(AT_FDCWD, upper, &err), err);
		assert_ok(make_dirs_at(AT_FDCWD, work, &err), err);
		spec.kind = (enum view_kind)kind;
		spec.upper = upper;
		spec.work = work;
		spec.layers = layers;
		spec.n_layers = 2;
		spec.is_volatile = kind == VIEW_EROFS_FILE;
		if (!mount_or_skip(&spec, p, &mounts))
			continue;
		check_content(p);
		check_file(p, "etc/motd", "from the top");
		check_file(p, "etc/gone", NULL);
		check_file(p, "bin/sh", "shell");
		put(p, "target/etc/motd", "changed");
		check_file(p, "etc/motd", "changed");
		check_file(p, "../base/etc/motd", "from the base");
		/* A store path is copied up when it is written, or is read-only; it never
		 * changes. */
		fd = open(hello, O_WRONLY | O_TRUNC | O_CLOEXEC);
		assert_true(fd >= 0 || mounts.kind == VIEW_BIND);
		if (fd >= 0)
			close(fd);
		check_file(p, "nix/store/one/bin/hello", fd >= 0 ? "" : "hello one");
		check_file(p, "../paths/one/bin/hello", "hello one");
		assert_ok(view_umount(p->target, &err), err);
	}
}

static void test_no_paths(void **state)
{
	struct place *p = *state;

	if (!is_root())
		return;
	for (int kind = VIEW_AUTO; kind <= VIEW_BIND; kind++) {
		struct view_spec spec = {.cache = p->cache, .kind = (enum view_kind)kind};
		cleanup_view_mounts struct view_mounts mounts = {0};
		struct err err = ERR_INIT;

		assert_ok(view_mount(&spec, p->target, &mounts, &err), err);
		assert_int_equal(mounts.n_mounts, 1);
		assert_ok(view_umount(p->target, &err), err);
	}
}

static void test_prepare(void **state)
{
	struct place *p = *state;
	struct view_path paths[4];
	cleanup_strv struct strv strings = {0};
	cleanup_view_mounts struct view_mounts mounts = {0}, again = {0};
	cleanup_buf struct buf options = {0};
	struct view_spec spec = make_spec(p, paths, &strings, true);
	struct err err = ERR_INIT;

	if (!is_root())
		return;
	assert_ok(view_prepare(&spec, p->erofs, &mounts, &err), err);
	assert_ok(view_prepare(&spec, p->erofs, &again, &err), err);
	for (size_t i = 0; i < mounts.options.len; i++)
		buf_addf(&options, "%s%s", i ? "," : "", mounts.options.items[i]);
	assert_int_equal(mount("overlay", p->target, "overlay", MS_RDONLY, (char *)options.data),
			 0);
	check_content(p);
	assert_int_equal(umount2(p->target, 0), 0);
	assert_ok(view_umount(p->erofs, &err), err);
	assert_int_equal(view_umount(p->erofs, &err), E_NOTFOUND);
	spec.kind = VIEW_BIND;
	assert_int_equal(view_prepare(&spec, p->erofs, &again, &err), E_UNSUPPORTED);
}

/* The caches: a listing that is damaged, an image that is there. */
static void test_cache(void **state)
{
	struct place *p = *state;
	struct view_path path = {.path = "/nix/store/many"};
	struct view_spec spec = {.paths = &path, .n_paths = 1, .cache = p->cache};
	cleanup_free char *content = xasprintf("%s/paths/many", p->dir);
	cleanup_free char *listing = NULL;
	char hash[HASH_TEXT_MAX];
	struct stat st;

	if (!is_root())
		return;
	for (int i = 0; i < 100; i++) {
		char name[64];

		snprintf(name, sizeof(name), "paths/many/dir-%d/file", i);
		put(p, name, "x");
	}
	path.content = content;
	hash_bytes(&path.nar_hash, HASH_SHA256, "many", 4);
	hash_format_bare(hash, &path.nar_hash, HASH_NIX32);
	listing = xasprintf("%s/%s.list", p->cache, hash);
	for (int round = 0; round < 3; round++) {
		cleanup_view_mounts struct view_mounts mounts = {0};
		struct err err = ERR_INIT;

		assert_ok(view_mount(&spec, p->target, &mounts, &err), err);
		check_file(p, "nix/store/many/dir-77/file", "x");
		assert_ok(view_umount(p->target, &err), err);
		assert_int_equal(stat(listing, &st), 0);
		if (mounts.image)
			assert_int_equal(unlink(mounts.image), 0);
		if (round == 0) /* the second round finds it damaged and makes it anew */
			assert_int_equal(truncate(listing, st.st_size - 100), 0);
	}
}

static void test_refused(void **state)
{
	struct place *p = *state;
	struct view_path paths[4], bad[2] = {0};
	cleanup_strv struct strv strings = {0};
	cleanup_view_mounts struct view_mounts mounts = {0};
	struct view_spec spec = make_spec(p, paths, &strings, true);
	struct err err = ERR_INIT;
	int before;

	if (!is_root())
		return;
	before = count_lines("\n");
	assert_int_equal(view_mount(&spec, "/nonexistent/place", &mounts, &err), E_NOTFOUND);
	put(p, "other/one/bin/hello", "of the same name");
	bad[0] = paths[1];
	bad[1] = (struct view_path){.path = "/nix/store/zzz"};
	cleanup_free char *same = xasprintf("%s/other/one", p->dir);

	bad[1].content = same;
	spec.paths = bad;
	spec.n_paths = 2;
	for (int kind = VIEW_EROFS_FILE; kind <= VIEW_EROFS_LOOP; kind++) {
		err = ERR_INIT;
		spec.kind = (enum view_kind)kind;
		assert_int_equal(view_mount(&spec, p->target, &mounts, &err), E_CONFLICT);
	}
	/* Bind mounts can do it. */
	spec.kind = VIEW_AUTO;
	assert_ok(view_mount(&spec, p->target, &mounts, &err), err);
	assert_int_equal(mounts.kind, VIEW_BIND);
	assert_non_null(mounts.reason);
	check_file(p, "nix/store/zzz/bin/hello", "of the same name");
	assert_ok(view_umount(p->target, &err), err);
	bad[1].content = "/nonexistent";
	assert_true(view_mount(&spec, p->target, &mounts, &err) < 0);
	bad[1].path = "/nix/../escape";
	err = ERR_INIT;
	assert_int_equal(view_mount(&spec, p->target, &mounts, &err), E_INVALID);
	bad[1] = (struct view_path){.path = bad[0].path, .content = same};
	err = ERR_INIT;
	assert_int_equal(view_mount(&spec, p->target, &mounts, &err), E_CONFLICT);
	assert_int_equal(view_umount("/proc", &err), E_CONFLICT);
	assert_int_equal(count_lines("\n"), before);
}

static void test_probe(void **state)
{
	struct place *p = *state;
	cleanup_free char *reason = NULL;
	enum view_kind kind = VIEW_AUTO;
	struct err err = ERR_INIT;

	if (!is_root())
		return;
	assert_ok(view_probe(p->cache, &kind, &reason, &err), err);
	assert_true(kind != VIEW_AUTO);
	print_message("%s%s%s\n", view_kind_names[kind], reason ? ": " : "", reason ? reason : "");
	assert_int_equal(view_kind_parse(&kind, "bind"), 0);
	assert_int_equal(kind, VIEW_BIND);
	assert_int_equal(view_kind_parse(&kind, "fuse"), E_USAGE);
}

/* Names of more than 255 bytes go to the kernel as descriptors. */
static void test_long_names(void **state)
{
	struct place *p = *state;
	struct view_path path = {.path = "/nix/store/one"};
	char name[201];

	if (!is_root())
		return;
	memset(name, 'l', 200);
	name[200] = '\0';
	cleanup_free char *dir = xasprintf("%s/%s/%s:\\,", p->dir, name, name);
	cleanup_free char *content = xasprintf("%s/one", dir);
	cleanup_free char *cache = xasprintf("%s/cache", dir);
	cleanup_free char *file = xasprintf("%s/%s:\\,/one/f", name, name);
	struct view_spec spec = {.paths = &path, .n_paths = 1, .cache = cache};

	put(p, file, "far away");
	path.content = content;
	for (int kind = VIEW_EROFS_FILE; kind <= VIEW_BIND; kind++)
		for (int old = 0; old < 2; old++) {
			cleanup_view_mounts struct view_mounts mounts = {0};
			struct err err = ERR_INIT;

			view_force_old_options(old);
			spec.kind = (enum view_kind)kind;
			path.nar_hash.algo = old ? HASH_SHA256 : HASH_NONE;
			if (mount_or_skip(&spec, p, &mounts)) {
				check_file(p, "nix/store/one/f", "far away");
				assert_ok(view_umount(p->target, &err), err);
			}
		}
	view_force_old_options(false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_kinds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_upper_and_layers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_paths, setup, teardown),
		cmocka_unit_test_setup_teardown(test_prepare, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cache, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_probe, setup, teardown),
		cmocka_unit_test_setup_teardown(test_long_names, setup, teardown),
	};

	/* Mounts are counted: what others mount meanwhile must not be seen. */
	if (geteuid() == 0 && unshare(CLONE_NEWNS) == 0)
		mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
