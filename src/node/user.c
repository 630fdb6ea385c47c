/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/openat2.h>
#include <sys/syscall.h>

#include <nacre/encode.h>

#include "base/fs.h"
#include "base/mem.h"
#include "node/user.h"

enum { FILE_MAX = 4 << 20, FIELDS_MAX = 7 };

/* Takes the next line off `text` and splits it at ':'. Returns the number of fields, or -1 at
 * the end. */
static int next_line(struct slice *text, struct slice fields[FIELDS_MAX])
{
	const uint8_t *end;
	struct slice line;
	int n = 0;

	if (text->len == 0)
		return -1;
	end = memchr(text->data, '\n', text->len);
	line = slice_make(text->data, end ? (size_t)(end - text->data) : text->len);
	slice_advance(text, line.len + (end ? 1 : 0));
	while (n < FIELDS_MAX) {
		const uint8_t *colon = line.len ? memchr(line.data, ':', line.len) : NULL;
		size_t len = colon ? (size_t)(colon - line.data) : line.len;

		fields[n++] = slice_make(line.data, len);
		if (!colon)
			break;
		slice_advance(&line, len + 1);
	}
	return n;
}

static int parse_id(uint32_t *ret, struct slice text)
{
	uint64_t v;

	if (parse_u64(&v, text) < 0 || v >= UINT32_MAX)
		return E_INVALID;
	*ret = (uint32_t)v;
	return 0;
}

/* Finds a user by name or number. passwd: name:password:uid:gid:gecos:home:shell */
static bool find_user(struct slice passwd, struct slice wanted, struct user *user,
		      struct slice *name)
{
	struct slice f[FIELDS_MAX];
	uint32_t number;
	bool by_number = parse_id(&number, wanted) == 0;
	int n;

	while ((n = next_line(&passwd, f)) >= 0) {
		uint32_t uid, gid;

		if (n < 6 || parse_id(&uid, f[2]) < 0 || parse_id(&gid, f[3]) < 0)
			continue;
		if (!slice_equal(f[0], wanted) && !(by_number && uid == number))
			continue;
		user->uid = uid;
		user->gid = gid;
		*name = f[0];
		if (f[5].len && f[5].len < sizeof(user->home) && !memchr(f[5].data, 0, f[5].len)) {
			memcpy(user->home, f[5].data, f[5].len);
			user->home[f[5].len] = '\0';
		}
		return true;
	}
	return false;
}

static bool list_contains(struct slice list, struct slice name)
{
	while (list.len) {
		const uint8_t *comma = memchr(list.data, ',', list.len);
		size_t len = comma ? (size_t)(comma - list.data) : list.len;

		if (slice_equal(slice_make(list.data, len), name))
			return true;
		slice_advance(&list, len + (comma ? 1 : 0));
	}
	return false;
}

/* The supplementary groups of a user. group: name:password:gid:member,member */
static void find_groups(struct slice group, struct slice name, struct user *user)
{
	struct slice f[FIELDS_MAX];
	int n;

	while ((n = next_line(&group, f)) >= 0) {
		uint32_t gid;

		if (n < 4 || parse_id(&gid, f[2]) < 0 || !list_contains(f[3], name))
			continue;
		if (gid != user->gid && user->n_groups < USER_GROUPS_MAX)
			user->groups[user->n_groups++] = gid;
	}
}

static int find_gid(struct slice group, struct slice wanted, uint32_t *ret)
{
	struct slice f[FIELDS_MAX];
	int n;

	while ((n = next_line(&group, f)) >= 0)
		if (n >= 3 && slice_equal(f[0], wanted) && parse_id(ret, f[2]) == 0)
			return 0;
	return parse_id(ret, wanted);
}

int user_resolve(const char *spec, struct slice passwd, struct slice group, struct user *ret,
		 struct err *err)
{
	struct slice wanted = slice_str(spec && *spec ? spec : "0");
	const uint8_t *colon = memchr(wanted.data, ':', wanted.len);
	struct slice user_text =
		colon ? slice_make(wanted.data, (size_t)(colon - wanted.data)) : wanted;
	struct user user = {.home = "/"};
	struct slice name = {0};

	if (user_text.len == 0)
		user_text = slice_str("0");
	if (!find_user(passwd, user_text, &user, &name) && parse_id(&user.uid, user_text) < 0)
		return err_set(err, E_NOTFOUND, "the image has no user '%.*s' in /etc/passwd",
			       (int)user_text.len, (const char *)user_text.data);
	if (colon) { /* a group that is named stands alone */
		struct slice group_text = slice_str((const char *)colon + 1);

		if (find_gid(group, group_text, &user.gid) < 0)
			return err_set(err, E_NOTFOUND,
				       "the image has no group '%.*s' in /etc/group",
				       (int)group_text.len, (const char *)group_text.data);
	} else if (name.len) {
		find_groups(group, name, &user);
	}
	*ret = user;
	return 0;
}

/* Reads a file of the image; one that is missing is empty. */
static int read_inside(int rootfs_fd, const char *path, struct buf *ret, struct err *err)
{
	struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
			       .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
	cleanup_fd int fd = (int)syscall(SYS_openat2, rootfs_fd, path, &how, sizeof(how));
	struct stat st;

	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
		return 0;
	if (fd < 0)
		return err_errno(err, "open the image's %s", path);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return err_set(err, E_INVALID, "the image's %s is not a file", path);
	if (read_fd(fd, FILE_MAX, ret, err) < 0)
		return err_wrap(err, "the image's %s", path);
	return 0;
}

int user_lookup(int rootfs_fd, const char *spec, struct user *ret, struct err *err)
{
	cleanup_buf struct buf passwd = {0};
	cleanup_buf struct buf group = {0};

	if (read_inside(rootfs_fd, "etc/passwd", &passwd, err) < 0 ||
	    read_inside(rootfs_fd, "etc/group", &group, err) < 0)
		return err->code;
	return user_resolve(spec, buf_slice(&passwd), buf_slice(&group), ret, err);
}
