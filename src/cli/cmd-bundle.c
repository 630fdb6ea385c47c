/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/node-args.h"
#include "node/container-config.h"
#include "node/mount.h"

enum { CONFIG_MAX = 64 << 20 };

static const char help[] =
	"Usage: nacre bundle [OPTION]... IMAGE DIR [COMMAND [ARGUMENT]...]\n"
	"\n"
	"Pulls what this node lacks of IMAGE, mounts its root file system at DIR/rootfs and "
	"writes\n"
	"DIR/config.json: a bundle for crun, runc or youki (crun run --bundle DIR ID). DIR is "
	"created.\n"
	"Needs root. The root file system stays until nacre umount DIR/rootfs.\n"
	"\n"
	"Options:\n" NODE_CONTAINER_HELP
	"      --read-only            no writable root file system\n" NODE_IMAGE_HELP;

static const struct option long_options[] = {
	NODE_CONTAINER_OPTIONS,
	NODE_IMAGE_OPTIONS,
	{0},
};

/* The last component of the directory, as the host name. */
static const char *bundle_name(const char *dir)
{
	const char *slash = strrchr(dir, '/');

	return slash && slash[1] ? slash + 1 : "container";
}

static int write_bundle(const char *dir, int dirfd, const struct node_image *image,
			const struct container_options *o, struct err *err)
{
	cleanup_buf struct buf text = BUF_INIT(CONFIG_MAX);

	if (container_config_format(&text, dir, image, o, bundle_name(dir), err) < 0)
		return err->code;
	return write_file_at(dirfd, "config.json", text.data, text.len, true, err);
}

static int make_bundle(const char *dir, struct node_store *store, const struct node_image *image,
		       const struct container_options *o, struct err *err)
{
	cleanup_free char *absolute = realpath(dir, NULL);
	cleanup_free char *rootfs = absolute ? xasprintf("%s/rootfs", absolute) : NULL;
	cleanup_fd int dirfd = absolute ? open(absolute, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	struct mount_options options = {.target = rootfs, .kind = o->view};
	cleanup_view_mounts struct view_mounts mounts = {0};
	cleanup_free char *target = NULL;
	struct err ignored = ERR_INIT;

	if (dirfd < 0)
		return err_errno(err, "open %s", dir);
	/* Always writable: with --read-only it is the runtime that makes it read-only, once it has
	 * made its mount points there. */
	if (node_mount(store, image, &options, &target, &mounts, err) < 0)
		return err->code;
	o->report(&mounts);
	if (write_bundle(absolute, dirfd, image, o, err) < 0) {
		node_umount(store, target, &ignored);
		return err->code;
	}
	return 0;
}

static int bundle(const char *ref, const char *dir, struct node_args *a, struct err *err)
{
	cleanup_free char *rootfs = xasprintf("%s/rootfs", dir);
	cleanup_node_image struct node_image image = {0};
	struct node_store *store;
	int r, in_use;

	if (node_args_load(a, err) < 0)
		return err->code;
	if (geteuid() != 0)
		return err_set(err, E_DENIED, "mounting needs root: try sudo nacre bundle");
	if (make_dirs_at(AT_FDCWD, rootfs, err) < 0 || node_store_open(&store, a->root, err) < 0)
		return err->code;
	r = in_use = node_store_use(store, err);
	if (r >= 0)
		r = node_args_find_image(&image, store, ref, a, err);
	if (r >= 0)
		r = make_bundle(dir, store, &image, &a->container, err);
	close_fd(&in_use);
	node_store_free(store);
	return r;
}

int cmd_bundle(int argc, char **argv)
{
	struct node_args a = NODE_ARGS_INIT;
	struct err err = ERR_INIT;
	int option, code = 0;

	a.container.report = node_report_view;
	while (code == 0 && (option = cli_getopt(argc, argv, "+" NODE_CONTAINER_LETTERS,
						 long_options, help)) != -1)
		code = node_args_take(&a, option, optarg);
	if (code == 0) {
		cli_operands(argc, argv, 2, -1, help);
		for (int i = optind + 2; i < argc; i++)
			strv_add(&a.container.cmd, argv[i]);
		if (bundle(argv[optind], argv[optind + 1], &a, &err) < 0)
			code = cli_fail(&err);
	}
	node_args_release(&a);
	return code;
}
