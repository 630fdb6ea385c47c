/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "node/bundle.h"
#include "node/container-config.h"
#include "node/rootless.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

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

/* One directory of a volume's path. Never through a symlink of the image. Returns its descriptor. */
static int open_or_make(int parent, const char *name)
{
	int fd = safe_openat(parent, name, O_PATH | O_DIRECTORY, 0);

	if (fd < 0 && errno == ENOENT && mkdirat(parent, name, 0755) == 0)
		fd = safe_openat(parent, name, O_PATH | O_DIRECTORY, 0);
	return fd;
}

/* The directory that the image calls a volume exists. False where something else is in its place. */
static bool make_volume_dir(int rootfs, const char *path)
{
	cleanup_free char *copy = xstrdup(path);
	cleanup_fd int dir = dup(rootfs);
	char *rest = copy, *name;

	while (dir >= 0 && (name = strsep(&rest, "/"))) {
		int next;

		if (!*name || strcmp(name, ".") == 0)
			continue;
		next = strcmp(name, "..") == 0 ? -1 : open_or_make(dir, name);
		close_fd(&dir);
		dir = next;
	}
	return dir >= 0;
}

/* What is written to a volume of the image goes with the container; in a read-only root file system
 * it can be written nevertheless, as under podman: the same directory once more. */
static void add_image_volumes(struct bundle *b, const char *dir, int rootfs,
			      const struct node_image *image)
{
	for (size_t i = 0; i < image->config.volumes.len; i++) {
		const char *path = image->config.volumes.items[i];

		if (path[0] == '/' && make_volume_dir(rootfs, path) && b->read_only) {
			cleanup_free char *source = xasprintf("%s/rootfs%s", dir, path);

			bundle_add_mount(b, source, path, false, true);
		}
	}
}

static void add_volumes(struct bundle *b, const struct container_options *o)
{
	for (size_t i = 0; i < o->n_volumes; i++) {
		const struct container_volume *v = &o->volumes[i];

		if (v->source)
			bundle_add_mount(b, v->source, v->destination, v->read_only, true);
		else
			bundle_add_tmpfs(b, v->destination, v->options);
	}
}

/* From the host, where the container uses the host's network. */
static void add_network_files(struct bundle *b)
{
	static const char *const files[] = {"/etc/resolv.conf", "/etc/hosts"};

	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		if (access(files[i], R_OK) == 0)
			bundle_add_mount(b, files[i], files[i], true, false);
}

/* Its own name and "localhost" mean something where the image says nothing of them, as under docker and podman. */
static int add_hosts(struct bundle *b, const char *dir, struct err *err)
{
	cleanup_free char *path = xasprintf("%s/hosts", dir);
	cleanup_free char *text =
		xasprintf("127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.0.1\t%s\n", b->hostname);
	cleanup_fd int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);

	/* Every user of the container reads it. */
	if (fd < 0 || write_full(fd, text, strlen(text)) < 0 || fchmod(fd, 0644) < 0)
		return err_errno(err, "write %s", path);
	bundle_add_mount(b, path, "/etc/hosts", false, false);
	return 0;
}

/* Of the one that this was started in: crun gives the container's no size by itself. */
static void compose_terminal(struct bundle *b, const struct container_options *o)
{
	struct winsize size;

	b->terminal = o->terminal;
	if (!o->terminal || ioctl(STDIN_FILENO, TIOCGWINSZ, &size) < 0)
		return;
	b->rows = size.ws_row;
	b->columns = size.ws_col;
}

static int compose_process(struct bundle *b, int rootfs, const struct node_image *image,
			   const struct container_options *o, struct err *err)
{
	b->cwd = o->cwd ? o->cwd : image->config.working_dir;
	if (!b->cwd || !*b->cwd)
		b->cwd = "/";
	if (b->cwd[0] != '/')
		return err_set(err, E_INVALID, "the working directory '%s' is not absolute",
			       b->cwd);
	if (user_lookup(rootfs, o->user ? o->user : image->config.user, &b->user, err) < 0 ||
	    compose_args(b, image, o, err) < 0)
		return err->code;
	compose_env(b, image, o);
	compose_terminal(b, o);
	b->cap_add = o->cap_add;
	b->cap_drop = o->cap_drop;
	b->rlimits = o->rlimits;
	b->n_rlimits = o->n_rlimits;
	return 0;
}

static int compose_bundle(struct bundle *b, const char *dir, const struct node_image *image,
			  const struct container_options *o, struct err *err)
{
	cleanup_free char *rootfs_path = xasprintf("%s/rootfs", dir);
	cleanup_fd int rootfs = open(rootfs_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (rootfs < 0)
		return err_errno(err, "open %s", rootfs_path);
	b->rootfs = "rootfs";
	b->read_only = o->read_only;
	b->host_network = o->host_network;
	b->is_rootless = rootless_is_inside();
	b->memory_bytes = o->memory_bytes;
	b->cpu_millis = o->cpu_millis;
	b->pids = o->pids;
	if (compose_process(b, rootfs, image, o, err) < 0)
		return err->code;
	if (o->host_network)
		add_network_files(b);
	else if (add_hosts(b, dir, err) < 0)
		return err->code;
	add_image_volumes(b, dir, rootfs, image);
	add_volumes(b, o);
	return 0;
}

int container_config_format(struct buf *ret, const char *dir, const struct node_image *image,
			    const struct container_options *o, const char *hostname,
			    struct err *err)
{
	struct bundle b = {.hostname = o->hostname ? o->hostname : hostname};
	int r = compose_bundle(&b, dir, image, o, err);

	if (r >= 0)
		r = bundle_format(ret, &b, bundle_bounding_set(), err);
	bundle_release(&b);
	return r;
}
