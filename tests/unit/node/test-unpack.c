/* SPDX-License-Identifier: Apache-2.0 */
/* Ordinary layers, good and hostile, made with libarchive. Needs root for owners and whiteouts. */
#include "../unit.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "base/fs.h"
#include "base/mem.h"
#include "node/unpack.h"

struct entry {
	const char *path;
	mode_t type; /* AE_IFREG, …; 0: a hard link to target */
	const char *target;
	const char *content;
	const char *xattr; /* with XATTR_VALUE */
	unsigned major, minor;
};

/* CAP_NET_RAW, permitted and effective (struct vfs_cap_data); any other attribute takes it as well. */
static const uint8_t XATTR_VALUE[20] = {1, 0, 0, 2, 0, 0x20};

/* Writes a tar of `entries` into a fresh file of `dirfd`; returns its descriptor, at the start. */
static int make_tar(int dirfd, const struct entry *entries, bool gzip)
{
	int fd = openat(dirfd, "layer.tar", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct archive *a = archive_write_new();

	archive_write_set_format_pax_restricted(a);
	if (gzip)
		archive_write_add_filter_gzip(a);
	assert_int_equal(archive_write_open_fd(a, fd), ARCHIVE_OK);
	for (const struct entry *e = entries; e->path; e++) {
		struct archive_entry *ae = archive_entry_new();
		size_t len = e->content ? strlen(e->content) : 0;

		archive_entry_set_pathname(ae, e->path);
		archive_entry_set_filetype(ae, e->type ? e->type : AE_IFREG);
		archive_entry_set_perm(ae, e->type == AE_IFDIR ? 0755 : 0640);
		archive_entry_set_rdevmajor(ae, e->major);
		archive_entry_set_rdevminor(ae, e->minor);
		archive_entry_set_uid(ae, 12);
		archive_entry_set_gid(ae, 34);
		archive_entry_set_mtime(ae, 1000, 0);
		archive_entry_set_size(ae, (la_int64_t)len);
		if (!e->type)
			archive_entry_set_hardlink(ae, e->target);
		else if (e->type == AE_IFLNK)
			archive_entry_set_symlink(ae, e->target);
		if (e->xattr)
			archive_entry_xattr_add_entry(ae, e->xattr, XATTR_VALUE,
						      sizeof(XATTR_VALUE));
		assert_int_equal(archive_write_header(a, ae), ARCHIVE_OK);
		if (len)
			assert_int_equal(archive_write_data(a, e->content, len), (la_ssize_t)len);
		archive_entry_free(ae);
	}
	assert_int_equal(archive_write_close(a), ARCHIVE_OK);
	archive_write_free(a);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

struct place {
	char path[64];
	int dirfd, root; /* of the test, and where to unpack below it */
};

static int setup(void **state)
{
	struct place *p = calloc(1, sizeof(*p));

	if (geteuid() != 0)
		skip();
	p->dirfd = unit_tempdir(p->path);
	assert_int_equal(mkdirat(p->dirfd, "root", 0755), 0);
	p->root = openat(p->dirfd, "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct place *p = *state;

	close(p->root);
	unit_tempdir_end(p->dirfd, p->path);
	free(p);
	return 0;
}

static int unpack(struct place *p, const struct entry *entries, bool gzip, struct err *err)
{
	int fd = make_tar(p->dirfd, entries, gzip);
	struct hash diff_id;
	int r = layer_unpack(fd, p->root, &diff_id, err);

	close(fd);
	return r;
}

static void test_devices(void **state)
{
	static const struct {
		unsigned type, major, minor;
		bool is_made;
	} cases[] = {
		{AE_IFCHR, 1, 3, true},    {AE_IFCHR, 5, 0, true},  {AE_IFCHR, 0, 0, false},
		{AE_IFCHR, 1, 1, false},   {AE_IFCHR, 5, 1, false}, {AE_IFCHR, 10, 130, false},
		{AE_IFBLK, 1, 3, false},   {AE_IFBLK, 8, 0, false}, {AE_IFBLK, 259, 0, false},
		{AE_IFCHR, 257, 3, false}, /* more than a byte */
	};
	struct place *p = *state;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct entry entries[] = {{"device", cases[i].type}, {"after", AE_IFREG}, {NULL}};
		struct err err = ERR_INIT;
		struct stat st;

		entries[0].major = cases[i].major;
		entries[0].minor = cases[i].minor;
		assert_ok(unpack(p, entries, false, &err), err);
		if ((fstatat(p->root, "device", &st, 0) == 0) != cases[i].is_made)
			fail_msg("case %zu", i);
		if (cases[i].is_made) {
			assert_int_equal(st.st_rdev, makedev(cases[i].major, cases[i].minor));
			assert_int_equal(st.st_mode, S_IFCHR | 0640);
			assert_int_equal(unlinkat(p->root, "device", 0), 0);
		}
		assert_int_equal(unlinkat(p->root, "after", 0), 0);
	}
}

static void test_good(void **state)
{
	static const struct entry entries[] = {
		{"./", AE_IFDIR},
		{"dir/", AE_IFDIR},
		{"dir/file", AE_IFREG, NULL, "old"},
		{"dir/file", AE_IFREG, NULL, "content"}, /* the later one counts */
		{"/absolute/parent/is/made", AE_IFREG, NULL, "x"},
		{"hard", 0, "dir/file"},
		{"link", AE_IFLNK, "dir"},
		{"link/through", AE_IFREG, NULL, "y"}, /* a symlink within the layer */
		{"fifo", AE_IFIFO},
		{"dir", AE_IFDIR}, /* again: keeps its content */
		{".wh.gone", AE_IFREG},
		{"dir/.wh..wh..opq", AE_IFREG},
		{NULL},
	};
	struct place *p = *state;
	struct err err = ERR_INIT;
	struct buf b = {0};
	struct stat st, st2;
	char value[8];
	int fd;

	for (int gzip = 0; gzip < 2; gzip++) {
		assert_ok(unpack(p, entries, gzip, &err), err);
		assert_ok(read_file_at(p->root, "dir/file", 100, &b, &err), err);
		assert_string_equal((char *)b.data, "content");
		buf_release(&b);
		assert_int_equal(fstatat(p->root, "dir/file", &st, 0), 0);
		assert_int_equal(st.st_uid, 12);
		assert_int_equal(st.st_gid, 34);
		assert_int_equal(st.st_mode, S_IFREG | 0640);
		assert_int_equal(st.st_mtime, 1000);
		assert_int_equal(fstatat(p->root, "hard", &st2, 0), 0);
		assert_int_equal(st.st_ino, st2.st_ino);
		assert_int_equal(faccessat(p->root, "absolute/parent/is/made", F_OK, 0), 0);
		assert_int_equal(faccessat(p->root, "dir/through", F_OK, 0), 0);
		assert_int_equal(fstatat(p->root, "gone", &st, 0), 0);
		assert_true(S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0));
		assert_int_equal(faccessat(p->root, ".wh.gone", F_OK, 0), -1);
		fd = openat(p->root, "dir", O_RDONLY | O_CLOEXEC);
		assert_int_equal(fgetxattr(fd, "trusted.overlay.opaque", value, sizeof(value)), 1);
		close(fd);
	}
}

static void need_xattr(int root, const char *path, const char *name, ssize_t want)
{
	char proc[80], value[64];

	snprintf(proc, sizeof(proc), "/proc/self/fd/%d/%s", root, path);
	assert_int_equal(lgetxattr(proc, name, value, sizeof(value)), want);
	if (want > 0)
		assert_memory_equal(value, XATTR_VALUE, (size_t)want);
}

static void need_time(int root, const char *path)
{
	struct stat st;

	assert_int_equal(fstatat(root, path, &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(st.st_mtime, 1000);
}

/* What a file is capable of is not lost to chown; directories keep their attributes and times, whatever
 * comes into them later. */
static void test_attributes(void **state)
{
	static const struct entry entries[] = {
		{"dir/", AE_IFDIR, NULL, NULL, "trusted.of-a-directory"},
		{"dir/ping", AE_IFREG, NULL, "x", "security.capability"},
		{"dir/link", AE_IFLNK, "ping", NULL, "user.none"}, /* there are none */
		{"dir/fifo", AE_IFIFO, NULL, NULL, "security.nacre"},
		{"dir/sneaky", AE_IFREG, NULL, "x", "trusted.overlay.redirect"},
		{"dir/hard", 0, "dir/ping"},
		{"dir/.wh.gone", AE_IFREG},
		{"dir/implied/file", AE_IFREG, NULL, "x"},
		{"other/", AE_IFDIR},
		{"dir/ping", AE_IFREG, NULL, "x", "security.capability"},
		{NULL},
	};
	struct place *p = *state;
	struct err err = ERR_INIT;

	assert_ok(unpack(p, entries, false, &err), err);
	need_xattr(p->root, "dir/ping", "security.capability", sizeof(XATTR_VALUE));
	need_xattr(p->root, "dir/hard", "security.capability", sizeof(XATTR_VALUE));
	need_xattr(p->root, "dir", "trusted.of-a-directory", sizeof(XATTR_VALUE));
	need_xattr(p->root, "dir/fifo", "security.nacre", sizeof(XATTR_VALUE));
	need_xattr(p->root, "dir/sneaky", "trusted.overlay.redirect", -1);
	need_time(p->root, "dir");
	need_time(p->root, "dir/link");
	need_time(p->root, "dir/ping");
}

/* SPEC oci-image layer.md Whiteouts: they apply to lower layers only. And a later entry replaces an earlier one, of whatever
 * kind. */
static void test_in_one_layer(void **state)
{
	static const struct entry entries[] = {
		{".wh.first", AE_IFREG},
		{"first/", AE_IFDIR},
		{"first/file", AE_IFREG, NULL, "x"},
		{"second/file", AE_IFREG, NULL, "x"},
		{".wh.second", AE_IFREG},
		{"file", AE_IFREG, NULL, "x"},
		{".wh.file", AE_IFREG},
		{".wh.twice", AE_IFREG},
		{".wh.twice", AE_IFREG},
		{"tree/a/b", AE_IFREG, NULL, "x"},
		{"tree", AE_IFREG, NULL, "now a file"},
		{"plain/", AE_IFDIR},
		{NULL},
	};
	struct place *p = *state;
	struct err err = ERR_INIT;
	struct buf b = {0};
	struct stat st;

	assert_ok(unpack(p, entries, false, &err), err);
	for (int i = 0; i < 2; i++) {
		const char *name = i ? "second" : "first";
		cleanup_fd int dir = openat(p->root, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		assert_true(dir >= 0);
		assert_int_equal(fgetxattr(dir, "trusted.overlay.opaque", NULL, 0), 1);
		assert_int_equal(faccessat(dir, "file", F_OK, 0), 0);
	}
	need_xattr(p->root, "plain", "trusted.overlay.opaque", -1);
	assert_int_equal(fstatat(p->root, "file", &st, 0), 0);
	assert_true(S_ISREG(st.st_mode));
	assert_int_equal(fstatat(p->root, "twice", &st, 0), 0);
	assert_true(S_ISCHR(st.st_mode));
	assert_ok(read_file_at(p->root, "tree", 100, &b, &err), err);
	assert_string_equal((char *)b.data, "now a file");
	buf_release(&b);
}

/* Each of these tries to write, or to reach, outside. */
static void test_hostile(void **state)
{
	static const struct entry cases[][4] = {
		{{"../escape", AE_IFREG, NULL, "x"}},
		{{"a/../../escape", AE_IFREG, NULL, "x"}},
		{{"hard", 0, "../outside"}},
		{{"hard", 0, "/../outside"}},
		{{"up", AE_IFLNK, "../../../../../../.."},
		 {"up/tmp/nacre-escape", AE_IFREG, NULL, "x"}},
		{{"abs", AE_IFLNK, "/tmp"}, {"abs/nacre-escape", AE_IFREG, NULL, "x"}},
		{{".wh...", AE_IFREG}},
		{{".wh..", AE_IFREG}},
		{{"d/.wh.", AE_IFREG}},
		{{"f", AE_IFREG, NULL, "x"}, {"f/below", AE_IFREG, NULL, "x"}},
	};
	/* Those with symlinks stay inside rather than fail. */
	static const bool may_succeed[] = {[4] = true, [5] = true, [9] = false};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct place *p = *state;
		struct err err = ERR_INIT;
		struct stat st;
		int r;

		close(openat(p->dirfd, "outside", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
		r = unpack(p, cases[i], false, &err);
		if (r >= 0 && !(i < sizeof(may_succeed) && may_succeed[i]))
			fail_msg("case %zu was unpacked", i);
		assert_int_equal(faccessat(p->dirfd, "escape", F_OK, 0), -1);
		assert_int_equal(access("/tmp/nacre-escape", F_OK), -1);
		assert_int_equal(fstatat(p->dirfd, "outside", &st, 0), 0);
		assert_int_equal(st.st_nlink, 1);
	}
}

static void test_damaged(void **state)
{
	static const char junk[] =
		"this is no tar, and long enough to be looked at as one ........";
	struct place *p = *state;
	struct err err = ERR_INIT;
	struct hash diff_id;
	int fd = openat(p->dirfd, "junk", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	for (int i = 0; i < 100; i++)
		assert_int_equal(write_full(fd, junk, sizeof(junk)), 0);
	lseek(fd, 0, SEEK_SET);
	assert_int_equal(layer_unpack(fd, p->root, &diff_id, &err), E_INVALID);
	assert_int_equal(ftruncate(fd, 0), 0);
	lseek(fd, 0, SEEK_SET);
	/* An empty layer is what some tools write for "nothing". */
	assert_ok(layer_unpack(fd, p->root, &diff_id, &err), err);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_good, setup, teardown),
		cmocka_unit_test_setup_teardown(test_devices, setup, teardown),
		cmocka_unit_test_setup_teardown(test_attributes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_in_one_layer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
