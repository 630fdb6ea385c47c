/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "base/fs.h"
#include "base/mem.h"
#include "node/rootless.h"

enum { MAP_BYTES_MAX = 4096, SUBIDS_BYTES_MAX = 1 << 20 };

bool rootless_is_inside(void)
{
	cleanup_buf struct buf text = {0};
	struct err ignored = ERR_INIT;
	unsigned long inside, outside, count;
	char *rest;

	if (read_file_at(AT_FDCWD, "/proc/self/uid_map", MAP_BYTES_MAX, &text, &ignored) < 0)
		return false;
	inside = strtoul((char *)text.data, &rest, 10);
	outside = strtoul(rest, &rest, 10);
	count = strtoul(rest, &rest, 10);
	return inside != 0 || outside != 0 || count != UINT32_MAX;
}

/* A range that a user may map. */
struct range {
	unsigned long first, count;
};

/* SPEC subuid(5): "name:first:count", the name may be the number. */
static bool find_range(const char *file, const char *user, uid_t uid, struct range *ret)
{
	cleanup_buf struct buf text = BUF_INIT(SUBIDS_BYTES_MAX);
	cleanup_free char *number = xasprintf("%u", uid);
	struct err ignored = ERR_INIT;
	char *rest, *line;

	if (read_file_at(AT_FDCWD, file, SUBIDS_BYTES_MAX, &text, &ignored) < 0 || !text.len)
		return false;
	rest = (char *)text.data;
	while ((line = strsep(&rest, "\n"))) {
		const char *name = strsep(&line, ":");

		if (!line || (strcmp(name, number) != 0 && (!user || strcmp(name, user) != 0)))
			continue;
		ret->first = strtoul(line, &line, 10);
		ret->count = *line == ':' ? strtoul(line + 1, NULL, 10) : 0;
		if (ret->count)
			return true;
	}
	return false;
}

/* Runs newuidmap or newgidmap on the parent. */
static int run_helper(const char *helper, pid_t parent, unsigned id, const struct range *range)
{
	cleanup_free char *pid = xasprintf("%d", parent);
	cleanup_free char *own = xasprintf("%u", id);
	cleanup_free char *first = xasprintf("%lu", range->first);
	cleanup_free char *count = xasprintf("%lu", range->count);
	const char *const argv[] = {helper, pid, "0", own, "1", "1", first, count, NULL};
	pid_t child = fork();
	int status;

	if (child == 0) {
		execvp(helper, (char *const *)argv);
		_exit(127);
	}
	return child < 0 || waitpid(child, &status, 0) != child || status != 0 ? -1 : 0;
}

static int write_proc(pid_t pid, const char *file, const char *text)
{
	cleanup_free char *name = xasprintf("/proc/%d/%s", pid, file);
	cleanup_fd int fd = open(name, O_WRONLY | O_CLOEXEC);

	return fd < 0 ? -1 : write_full(fd, text, strlen(text));
}

/* Everybody: only somebody with privileges outside of the name space can do that. */
static int map_all(pid_t parent)
{
	static const char all[] = "0 0 4294967294";

	return write_proc(parent, "uid_map", all) < 0 || write_proc(parent, "gid_map", all) < 0 ? -1
												: 0;
}

static int map_ranges(pid_t parent, const char *user)
{
	struct range uids, gids;

	return !find_range("/etc/subuid", user, geteuid(), &uids) ||
			       !find_range("/etc/subgid", user, geteuid(), &gids) ||
			       run_helper("newuidmap", parent, geteuid(), &uids) < 0 ||
			       run_helper("newgidmap", parent, getegid(), &gids) < 0
		       ? -1
		       : 0;
}

/* A child that maps users once its parent has entered its name space (a byte comes through the pipe).
 * Exits with 0 when it did. */
static void map_from_outside(pid_t parent, int pipe_fd, const char *user)
{
	char byte;

	if (read_full(pipe_fd, &byte, 1) != 1)
		_exit(1);
	_exit((geteuid() == 0 ? map_all(parent) : map_ranges(parent, user)) < 0);
}

/* The user alone. */
static int map_self(uid_t uid, gid_t gid, struct err *err)
{
	cleanup_free char *uids = xasprintf("0 %u 1", uid);
	cleanup_free char *gids = xasprintf("0 %u 1", gid);
	pid_t self = getpid();

	if (write_proc(self, "setgroups", "deny") < 0 || write_proc(self, "uid_map", uids) < 0 ||
	    write_proc(self, "gid_map", gids) < 0)
		return err_errno(err, "map this user into a name space");
	return 0;
}

static int unshare_user(struct err *err)
{
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0)
		return 0;
	return errno == EPERM || errno == ENOSPC || errno == EUSERS
		       ? err_set(err, E_DENIED,
				 "this system does not let its users have name spaces (see "
				 "user.max_user_namespaces and "
				 "kernel.unprivileged_userns_clone in sysctl)")
		       : err_errno(err, "a user name space");
}

int rootless_enter(struct err *err)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	const struct passwd *entry = getpwuid(uid);
	int fds[2], status = -1;
	pid_t self = getpid(), child;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_errno(err, "pipe");
	child = fork();
	if (child == 0) {
		close(fds[1]);
		map_from_outside(self, fds[0], entry ? entry->pw_name : NULL);
	}
	close(fds[0]);
	if (child > 0 && unshare_user(err) >= 0)
		write_full(fds[1], "", 1);
	close(fds[1]);
	if (child < 0 || (waitpid(child, &status, 0) < 0 && !err->code))
		return err_errno(err, "start a helper");
	if (err->code)
		return err->code;
	if (status != 0 && map_self(uid, gid, err) < 0)
		return err->code;
	if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		return err_errno(err, "become root of a name space");
	return 0;
}
