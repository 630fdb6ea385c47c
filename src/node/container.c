/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/wait.h>

#include <nacre/encode.h>
#include <nacre/tree.h>

#include "base/fs.h"
#include "base/mem.h"
#include "node/bundle.h"
#include "node/container.h"
#include "node/rootfs.h"

#define RUNTIME_STATE "/run/nacre"
#define DEFAULT_PATH  "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

enum { ID_BYTES = 6, CONFIG_MAX = 64 << 20 };

/* One container while it runs. */
struct container {
	char id[2 * ID_BYTES + 1];
	char *dir;     /* owned; ROOT/run/ID, absolute */
	int run_fd;    /* owned; ROOT/run */
	int dirfd;     /* owned; also its lock */
	char *runtime; /* owned */
	bool is_crun;
};

void container_options_release(struct container_options *o)
{
	strv_release(&o->cmd);
	strv_release(&o->env);
	for (size_t i = 0; i < o->n_volumes; i++) {
		free(o->volumes[i].source);
		free(o->volumes[i].destination);
	}
	free(o->volumes);
	*o = (struct container_options){0};
}

int container_parse_volume(struct container_volume *ret, const char *text, struct err *err)
{
	const char *first = strchr(text, ':');
	const char *second = first ? strchr(first + 1, ':') : NULL;
	const char *mode = second ? second + 1 : "rw";

	if (!first || text[0] != '/' || first[1] != '/' ||
	    (strcmp(mode, "ro") != 0 && strcmp(mode, "rw") != 0))
		return err_set(
			err, E_USAGE,
			"volume '%s': wanted /SOURCE:/DESTINATION or /SOURCE:/DESTINATION:ro",
			text);
	ret->source = xstrndup(text, (size_t)(first - text));
	ret->destination =
		second ? xstrndup(first + 1, (size_t)(second - first - 1)) : xstrdup(first + 1);
	ret->read_only = strcmp(mode, "ro") == 0;
	return 0;
}

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
	strv_addf(ret, "--root=%s", RUNTIME_STATE);
	/* Limits are not ours to set, and many machines that run CI have no cgroup to give. */
	if (c->is_crun)
		strv_add(ret, access("/sys/fs/cgroup", W_OK) == 0 ? "--cgroup-manager=cgroupfs"
								  : "--cgroup-manager=disabled");
}

/* Starts a program; its standard error goes nowhere if `silent`. */
static pid_t spawn(const struct strv *argv, bool silent)
{
	pid_t pid = fork();

	if (pid == 0) {
		sigset_t none;

		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		signal(SIGPIPE, SIG_DFL);
		if (silent) {
			int null = open("/dev/null", O_RDWR | O_CLOEXEC);

			dup2(null, STDIN_FILENO);
			dup2(null, STDOUT_FILENO);
			dup2(null, STDERR_FILENO);
		}
		execv(argv->items[0], argv->items);
		_exit(127);
	}
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

/* Creates ROOT/run/ID and locks it. */
static int container_create_dir(struct container *c, const char *root, struct err *err)
{
	cleanup_free char *run = xasprintf("%s/run", root);
	cleanup_free char *absolute = NULL;
	uint8_t bytes[ID_BYTES];

	if (make_dirs_at(AT_FDCWD, run, err) < 0)
		return err->code;
	absolute = realpath(run, NULL);
	c->run_fd = absolute ? open(absolute, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (c->run_fd < 0)
		return err_errno(err, "open %s", run);
	sweep_leftovers(c);
	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		return err_errno(err, "random number");
	hex_encode(c->id, bytes, sizeof(bytes));
	c->dir = xasprintf("%s/%s", absolute, c->id);
	if (mkdirat(c->run_fd, c->id, 0700) < 0)
		return err_errno(err, "create %s", c->dir);
	c->dirfd = openat(c->run_fd, c->id, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (c->dirfd < 0 || flock(c->dirfd, LOCK_EX | LOCK_NB) < 0)
		return err_errno(err, "lock %s", c->dir);
	return 0;
}

static void container_release(struct container *c)
{
	struct err ignored = ERR_INIT;

	if (c->dirfd >= 0) {
		cleanup_free char *rootfs = xasprintf("%s/rootfs", c->dir);

		runtime_delete(c, c->id);
		umount2(rootfs, MNT_DETACH);
		tree_remove(c->run_fd, c->id, &ignored);
	}
	close_fd(&c->dirfd);
	close_fd(&c->run_fd);
	free(c->dir);
	free(c->runtime);
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
	umount2("/sys/fs/cgroup/unified", MNT_DETACH);
	return 0;
}

static void set_env(struct strv *env, const char *setting)
{
	size_t name_len = strcspn(setting, "=");

	for (size_t i = 0; i < env->len; i++)
		if (strncmp(env->items[i], setting, name_len) == 0 &&
		    env->items[i][name_len] == '=') {
			free(env->items[i]);
			env->items[i] = xstrdup(setting);
			return;
		}
	strv_add(env, setting);
}

static void compose_env(struct bundle *b, const struct node_image *image,
			const struct container_options *o)
{
	cleanup_free char *home = xasprintf("HOME=%s", b->user.home);
	const char *term = getenv("TERM");

	set_env(&b->env, "PATH=" DEFAULT_PATH);
	set_env(&b->env, home);
	if (o->terminal && term) {
		cleanup_free char *setting = xasprintf("TERM=%s", term);

		set_env(&b->env, setting);
	}
	for (size_t i = 0; i < image->config.env.len; i++)
		if (strchr(image->config.env.items[i], '='))
			set_env(&b->env, image->config.env.items[i]);
	for (size_t i = 0; i < o->env.len; i++) {
		const char *value = strchr(o->env.items[i], '=') ? "" : getenv(o->env.items[i]);

		if (value && !*value && strchr(o->env.items[i], '=')) {
			set_env(&b->env, o->env.items[i]);
		} else if (value) {
			cleanup_free char *setting = xasprintf("%s=%s", o->env.items[i], value);

			set_env(&b->env, setting);
		}
	}
}

/* SPEC oci-image config.md Entrypoint, Cmd */
static int compose_args(struct bundle *b, const struct node_image *image,
			const struct container_options *o, struct err *err)
{
	const struct image_config *config = &image->config;

	if (o->entrypoint && *o->entrypoint)
		strv_add(&b->args, o->entrypoint);
	for (size_t i = 0; !o->entrypoint && i < config->entrypoint.len; i++)
		strv_add(&b->args, config->entrypoint.items[i]);
	for (size_t i = 0; i < o->cmd.len; i++)
		strv_add(&b->args, o->cmd.items[i]);
	for (size_t i = 0; !o->cmd.len && !o->entrypoint && i < config->cmd.len; i++)
		strv_add(&b->args, config->cmd.items[i]);
	if (b->args.len == 0)
		return err_set(err, E_USAGE,
			       "the image names no command: give one behind the image");
	return 0;
}

/* Directories that the image calls volumes exist, at the least; what is written there goes with
 * the container. */
static void make_volume_dirs(const struct node_image *image, int rootfs)
{
	for (size_t i = 0; i < image->config.volumes.len; i++) {
		const char *path = image->config.volumes.items[i];
		struct err ignored = ERR_INIT;
		cleanup_fd int fd = -1;

		if (path[0] != '/' || strstr(path, ".."))
			continue;
		path += strspn(path, "/");
		fd = *path ? safe_openat(rootfs, path, O_PATH, 0) : -1;
		/* Never through a symlink of the image: its parents must open safely. */
		if (fd < 0 && errno == ENOENT && *path && !strchr(path, '/'))
			mkdirat(rootfs, path, 0755);
		else if (fd < 0 && errno == ENOENT && *path) {
			cleanup_free char *parent =
				xstrndup(path, (size_t)(strrchr(path, '/') - path));
			cleanup_fd int pfd = safe_openat(rootfs, parent, O_RDONLY | O_DIRECTORY, 0);

			if (pfd >= 0)
				make_dirs_at(pfd, strrchr(path, '/') + 1, &ignored);
		}
	}
}

static int compose_bundle(struct container *c, const struct node_image *image,
			  const struct container_options *o, struct bundle *b, struct err *err)
{
	cleanup_free char *rootfs_path = xasprintf("%s/rootfs", c->dir);
	cleanup_fd int rootfs = open(rootfs_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const char *user = o->user ? o->user : image->config.user;

	if (rootfs < 0)
		return err_errno(err, "open %s", rootfs_path);
	b->rootfs = "rootfs";
	b->hostname = o->hostname ? o->hostname : c->id;
	b->cwd = o->cwd ? o->cwd : image->config.working_dir;
	if (!b->cwd || !*b->cwd)
		b->cwd = "/";
	if (b->cwd[0] != '/')
		return err_set(err, E_INVALID, "the working directory '%s' is not absolute",
			       b->cwd);
	b->terminal = o->terminal;
	b->read_only = o->read_only;
	b->host_network = o->host_network;
	if (user_lookup(rootfs, user, &b->user, err) < 0 || compose_args(b, image, o, err) < 0)
		return err->code;
	compose_env(b, image, o);
	make_volume_dirs(image, rootfs);
	if (o->host_network && access("/etc/resolv.conf", R_OK) == 0)
		bundle_add_mount(b, "/etc/resolv.conf", "/etc/resolv.conf", true, false);
	for (size_t i = 0; i < o->n_volumes; i++)
		bundle_add_mount(b, o->volumes[i].source, o->volumes[i].destination,
				 o->volumes[i].read_only, true);
	return 0;
}

static int write_config(struct container *c, const struct node_image *image,
			const struct container_options *o, struct err *err)
{
	cleanup_buf struct buf text = BUF_INIT(CONFIG_MAX);
	struct bundle b = {0};
	int r = compose_bundle(c, image, o, &b, err);

	if (r >= 0)
		r = bundle_format(&text, &b, bundle_bounding_set(), err);
	bundle_release(&b);
	return r < 0 ? r : write_file_at(c->dirfd, "config.json", text.data, text.len, false, err);
}

/* Waits for `pid`, handing on the signals in `set`. Returns the wait status. */
static int wait_and_forward(const struct container *c, pid_t pid, const sigset_t *set)
{
	for (;;) {
		int status, signal_number = sigwaitinfo(set, NULL);
		pid_t ended;

		if (signal_number < 0)
			continue; /* EINTR */
		if (signal_number != SIGCHLD) {
			runtime_kill(c, signal_number);
			continue;
		}
		while ((ended = waitpid(-1, &status, WNOHANG)) > 0)
			if (ended == pid)
				return status;
	}
}

static int start_and_wait(const struct container *c, int *ret_exit, struct err *err)
{
	static const int forwarded[] = {SIGCHLD, SIGTERM, SIGINT, SIGHUP,
					SIGQUIT, SIGUSR1, SIGUSR2};
	cleanup_strv struct strv argv = {0};
	sigset_t set, old;
	int status;
	pid_t pid;

	runtime_argv(c, &argv);
	strv_add(&argv, "run");
	strv_addf(&argv, "--bundle=%s", c->dir);
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
	*ret_exit = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	return 0;
}

static int mount_rootfs(struct container *c, const struct node_store *store,
			const struct node_image *image, const struct container_options *o,
			struct err *err)
{
	/* What is written goes with the container. */
	struct rootfs_options options = {.kind = o->view, .is_volatile = true};
	cleanup_view_mounts struct view_mounts mounts = {0};

	if (rootfs_mount(store, image, &options, c->dirfd, c->dir, &mounts, err) < 0)
		return err->code;
	if (o->report)
		o->report(&mounts);
	return 0;
}

int container_run(struct node_store *store, const struct node_image *image,
		  const struct container_options *options, int *ret_exit, struct err *err)
{
	struct container c = {.run_fd = -1, .dirfd = -1};
	int r = enter_mount_namespace(err);

	if (r >= 0)
		r = find_runtime(&c, options->runtime, err);
	if (r >= 0)
		r = container_create_dir(&c, node_store_root(store), err);
	if (r >= 0)
		r = mount_rootfs(&c, store, image, options, err);
	if (r >= 0)
		r = write_config(&c, image, options, err);
	if (r >= 0)
		r = start_and_wait(&c, ret_exit, err);
	container_release(&c);
	return r;
}
