/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/wait.h>

#include <nacre/digest.h>
#include <nacre/encode.h>
#include <nacre/tree.h>

#include "base/fs.h"
#include "base/mem.h"
#include "node/container-config.h"
#include "node/container.h"
#include "node/rootfs.h"
#include "node/rootless.h"
#include "node/unstarted.h"

#define RUNTIME_STATE "/run/nacre"
#define PID_FILE      "pid"
#define DEFAULT_PATH  "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

enum { ID_BYTES = 6, CREATE_TRIES = 16, CONFIG_MAX = 64 << 20 };

/* One container while it runs. */
struct container {
	char id[2 * ID_BYTES + 1];
	char *dir;     /* owned; ROOT/run/ID, absolute */
	int run_fd;    /* owned; ROOT/run */
	int dirfd;     /* owned; also its lock */
	char *runtime; /* owned */
	char *state;   /* owned; where the runtime keeps its own */
	bool is_crun;
	bool is_over; /* the runtime has ended, and deleted it */
};

static char *find_program(const char *name)
{
	const char *path = getenv("PATH");
	cleanup_free char *copy = xstrdup(path && *path ? path : DEFAULT_PATH);
	char *rest = copy, *dir;

	while ((dir = strsep(&rest, ":"))) {
		cleanup_free char *file = xasprintf("%s/%s", dir, name);

		if (*dir == '/' && access(file, X_OK) == 0)
			return take_ptr(file);
	}
	return NULL;
}

static int find_runtime(struct container *c, const char *wanted, struct err *err)
{
	static const char *const known[] = {"crun", "runc"};

	if (wanted && strchr(wanted, '/'))
		c->runtime = xstrdup(wanted);
	else if (wanted)
		c->runtime = find_program(wanted);
	for (size_t i = 0; !wanted && !c->runtime && i < ARRAY_LEN(known); i++)
		c->runtime = find_program(known[i]);
	if (!c->runtime)
		return err_set(err, E_NOTFOUND,
			       "%s is not installed: install crun or runc (apt-get install crun)",
			       wanted ? wanted : "neither crun nor runc");
	c->is_crun = strstr(c->runtime, "crun") != NULL;
	return 0;
}

/* argv of the runtime: options that come before its command. */
static void runtime_argv(const struct container *c, struct strv *ret)
{
	strv_add(ret, c->runtime);
	strv_addf(ret, "--root=%s", c->state);
	/* Limits are not ours to set, and many machines that run CI have no cgroup to give. */
	if (c->is_crun)
		strv_add(ret, !rootless_is_inside() && access("/sys/fs/cgroup", W_OK) == 0
				      ? "--cgroup-manager=cgroupfs"
				      : "--cgroup-manager=disabled");
}

/* Starts a program, which hears and says nothing if `silent`. -1: errno. Not by fork(): copying the page
 * tables takes longer than all else that is done here. */
static pid_t spawn(const struct strv *argv, bool silent)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t signals;
	pid_t pid;

	posix_spawnattr_init(&attr);
	posix_spawn_file_actions_init(&files);
	sigemptyset(&signals);
	posix_spawnattr_setsigmask(&attr, &signals);
	sigaddset(&signals, SIGPIPE);
	posix_spawnattr_setsigdefault(&attr, &signals);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	for (int fd = STDIN_FILENO; silent && fd <= STDERR_FILENO; fd++)
		posix_spawn_file_actions_addopen(&files, fd, "/dev/null", O_RDWR, 0);
	errno = posix_spawn(&pid, argv->items[0], &files, &attr, argv->items, environ);
	if (errno)
		pid = -1;
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	return pid;
}

static void runtime_delete(const struct container *c, const char *id)
{
	cleanup_strv struct strv argv = {0};
	pid_t pid;

	runtime_argv(c, &argv);
	strv_add(&argv, "delete");
	strv_add(&argv, "--force");
	strv_add(&argv, id);
	pid = spawn(&argv, true);
	if (pid > 0)
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
}

static void runtime_kill(const struct container *c, int signal_number)
{
	cleanup_strv struct strv argv = {0};

	runtime_argv(c, &argv);
	strv_add(&argv, "kill");
	strv_add(&argv, c->id);
	strv_addf(&argv, "%d", signal_number);
	spawn(&argv, true); /* reaped by the loop that waits for the container */
}

/* Removes containers whose nacre was killed: their directories are locked by nobody. */
static void sweep_leftovers(const struct container *c)
{
	DIR *dir = fdopendir(dup(c->run_fd));
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		cleanup_fd int fd = entry->d_name[0] == '.'
					    ? -1
					    : openat(c->run_fd, entry->d_name,
						     O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		struct err ignored = ERR_INIT;

		if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
			continue;
		runtime_delete(c, entry->d_name);
		tree_remove(c->run_fd, entry->d_name, &ignored);
	}
	if (dir)
		closedir(dir);
}

/* Creates ROOT/run/ID and locks it. 0: between the two another one's sweep has taken it for a leftover. */
static int try_create_dir(struct container *c, const char *run, struct err *err)
{
	uint8_t bytes[ID_BYTES];
	struct stat st;

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		return err_errno(err, "random number");
	hex_encode(c->id, bytes, sizeof(bytes));
	free(c->dir);
	c->dir = xasprintf("%s/%s", run, c->id);
	if (mkdirat(c->run_fd, c->id, 0700) < 0)
		return err_errno(err, "create %s", c->dir);
	c->dirfd = openat(c->run_fd, c->id, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (c->dirfd < 0)
		return errno == ENOENT ? 0 : err_errno(err, "open %s", c->dir);
	if (flock(c->dirfd, LOCK_EX | LOCK_NB) == 0 && fstat(c->dirfd, &st) == 0 && st.st_nlink)
		return 1;
	close_fd(&c->dirfd);
	return 0;
}

static int container_create_dir(struct container *c, const char *root, struct err *err)
{
	cleanup_free char *run = xasprintf("%s/run", root);
	cleanup_free char *absolute = NULL;
	int r = 0;

	if (make_dirs_at(AT_FDCWD, run, err) < 0)
		return err->code;
	absolute = realpath(run, NULL);
	c->run_fd = absolute ? open(absolute, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (c->run_fd < 0)
		return err_errno(err, "open %s", run);
	c->state = rootless_is_inside() ? xasprintf("%s/.state", absolute) : xstrdup(RUNTIME_STATE);
	sweep_leftovers(c);
	for (int tries = 0; r == 0 && tries < CREATE_TRIES; tries++)
		r = try_create_dir(c, absolute, err);
	return r == 0  ? err_set(err, E_IO, "%s: what is made here is removed at once", absolute)
	       : r < 0 ? r
		       : 0;
}

static void container_release(struct container *c)
{
	struct err ignored = ERR_INIT;

	if (c->dirfd >= 0) {
		cleanup_free char *rootfs = xasprintf("%s/rootfs", c->dir);

		if (!c->is_over)
			runtime_delete(c, c->id);
		umount2(rootfs, MNT_DETACH);
		tree_remove(c->run_fd, c->id, &ignored);
	}
	close_fd(&c->dirfd);
	close_fd(&c->run_fd);
	free(c->dir);
	free(c->runtime);
	free(c->state);
}

/* Mounts of ours must not reach the host. */
static int enter_mount_namespace(struct err *err)
{
	if (geteuid() != 0)
		return err_set(err, E_DENIED, "running a container needs root: try sudo nacre run");
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return err_errno(err, "a mount name space of its own");
	/* crun refuses to run where cgroup v2 stands beside v1; it need not see the v2
	 * hierarchy. */
	if (umount2("/sys/fs/cgroup/unified", MNT_DETACH) < 0 && rootless_is_inside() &&
	    access("/sys/fs/cgroup/unified", F_OK) == 0)
		mount("none", "/sys/fs/cgroup", "tmpfs", MS_RDONLY, NULL);
	return 0;
}

/* crun and runc copy themselves aside and start a second time, lest a container writes to their file
 * (CVE-2019-5736), unless it lies on a read-only file system. In our mount name space it does now.
 * Where that fails they do as ever. */
static void protect_runtime(const struct container *c)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
	cleanup_fd int tree = open_tree(AT_FDCWD, c->runtime, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (tree >= 0 && mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) == 0)
		move_mount(tree, "", AT_FDCWD, c->runtime, MOVE_MOUNT_F_EMPTY_PATH);
}

/* crun hands SIGWINCH on, but gives the container's terminal no other size. Whatever else the container has made of its
 * standard input is left alone. */
static void resize_terminal(const struct container *c)
{
	char text[32] = "", path[64];
	cleanup_fd int pid_file = openat(c->dirfd, PID_FILE, O_RDONLY | O_CLOEXEC);
	cleanup_fd int tty = -1;
	struct winsize size;

	if (pid_file < 0 || read(pid_file, text, sizeof(text) - 1) <= 0)
		return;
	snprintf(path, sizeof(path), "/proc/%ld/fd/0", strtol(text, NULL, 10));
	tty = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (tty >= 0 && ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0)
		ioctl(tty, TIOCSWINSZ, &size);
}

/* Waits for `pid`, handing on the signals in `set`. Returns the wait status. */
static int wait_and_forward(const struct container *c, pid_t pid, const sigset_t *set)
{
	for (;;) {
		int status, signal_number = sigwaitinfo(set, NULL);
		pid_t ended;

		if (signal_number < 0)
			continue; /* EINTR */
		if (signal_number == SIGWINCH) {
			resize_terminal(c);
			continue;
		}
		if (signal_number != SIGCHLD) {
			runtime_kill(c, signal_number);
			continue;
		}
		while ((ended = waitpid(-1, &status, WNOHANG)) > 0)
			if (ended == pid)
				return status;
	}
}

static int start_and_wait(struct container *c, int *ret_exit, struct err *err)
{
	static const int forwarded[] = {SIGCHLD, SIGTERM, SIGINT,  SIGHUP,
					SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH};
	cleanup_strv struct strv argv = {0};
	sigset_t set, old;
	int status;
	pid_t pid;

	runtime_argv(c, &argv);
	strv_add(&argv, "run");
	strv_addf(&argv, "--bundle=%s", c->dir);
	strv_addf(&argv, "--pid-file=%s/" PID_FILE, c->dir);
	strv_add(&argv, c->id);
	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_LEN(forwarded); i++)
		sigaddset(&set, forwarded[i]);
	sigprocmask(SIG_BLOCK, &set, &old);
	pid = spawn(&argv, false);
	if (pid < 0) {
		sigprocmask(SIG_SETMASK, &old, NULL);
		return err_errno(err, "start %s", c->runtime);
	}
	status = wait_and_forward(c, pid, &set);
	sigprocmask(SIG_SETMASK, &old, NULL);
	c->is_over = WIFEXITED(status);
	*ret_exit = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	/* A failure of the runtime's own, before there was a process: it has said what is wrong. */
	if (c->is_over && *ret_exit && faccessat(c->dirfd, PID_FILE, F_OK, 0) < 0)
		*ret_exit = unstarted_exit_code(c->dirfd);
	return 0;
}

/* Nothing of a container outlives the machine: it need not be on the disk. */
static int write_here(const struct container *c, const char *name, const void *data, size_t len,
		      struct err *err)
{
	cleanup_fd int fd = openat(c->dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0 || write_full(fd, data, len) < 0)
		return err_errno(err, "write %s/%s", c->dir, name);
	return 0;
}

static int write_config(struct container *c, const struct node_image *image,
			const struct container_options *o, struct err *err)
{
	cleanup_buf struct buf text = BUF_INIT(CONFIG_MAX);

	if (container_config_format(&text, c->dir, image, o, c->id, err) < 0)
		return err->code;
	return write_here(c, "config.json", text.data, text.len, err);
}

/* Keeps the image from being collected. */
static int write_image(const struct container *c, const struct node_image *image, struct err *err)
{
	char text[DIGEST_TEXT_MAX];

	digest_format(text, &image->digest);
	return write_here(c, "image", text, strlen(text), err);
}

static int mount_rootfs(struct container *c, struct node_store *store,
			const struct node_image *image, const struct container_options *o,
			struct err *err)
{
	/* What is written goes with the container. */
	struct rootfs_options options = {
		.dir = c->dir, .dirfd = c->dirfd, .kind = o->view, .is_volatile = true};
	cleanup_view_mounts struct view_mounts mounts = {0};

	if (rootfs_mount(store, image, &options, &mounts, err) < 0)
		return err->code;
	if (o->report)
		o->report(&mounts);
	return 0;
}

int container_run(struct node_store *store, const struct node_image *image,
		  const struct container_options *options, int *ret_exit, struct err *err)
{
	struct container c = {.run_fd = -1, .dirfd = -1};
	int r;

	if (options->terminal && !isatty(STDIN_FILENO))
		return err_set(err, E_INVALID,
			       "--tty: the standard input is no terminal; leave --tty out");
	r = enter_mount_namespace(err);
	if (r >= 0)
		r = find_runtime(&c, options->runtime, err);
	if (r >= 0)
		protect_runtime(&c);
	if (r >= 0)
		r = container_create_dir(&c, node_store_root(store), err);
	if (r >= 0)
		r = write_image(&c, image, err);
	if (r >= 0 && options->in_use)
		close_fd(options->in_use);
	if (r >= 0)
		r = mount_rootfs(&c, store, image, options, err);
	if (r >= 0)
		r = write_config(&c, image, options, err);
	if (r >= 0)
		r = start_and_wait(&c, ret_exit, err);
	container_release(&c);
	return r;
}
