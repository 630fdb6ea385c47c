/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/cli.h"
#include "cli/node-args.h"
#include "node/mount.h"

static const char mount_help[] =
	"Usage: nacre mount [OPTION]... IMAGE [TARGET]\n"
	"\n"
	"Pulls what this node lacks of IMAGE, mounts its root file system at the directory TARGET\n"
	"(default: a new one below --root) and prints where that is. Needs root. It stays until\n"
	"nacre umount TARGET, and with it what is written there; the image's contents stay on the\n"
	"node as long.\n"
	"\n"
	"	podman run --rootfs \"$(nacre mount IMAGE)\" COMMAND\n"
	"\n"
	"Options:\n"
	"      --read-only            nothing can be written\n" NODE_IMAGE_HELP;

static const struct option mount_options[] = {NODE_IMAGE_OPTIONS, {0}};

static const char umount_help[] =
	"Usage: nacre umount [--root DIR] [--config FILE] TARGET...\n"
	"\n"
	"Unmounts root file systems that nacre mount or nacre bundle has mounted, and drops what "
	"was\n"
	"written to them.\n"
	"\n"
	"Options:\n"
	"      --root DIR             where this node keeps paths and layers (" NODE_ROOT_DEFAULT
	")\n"
	"      --config FILE          the node's configuration (" NODE_CONFIG_DEFAULT ")\n";

static const struct option umount_options[] = {
	{"root", required_argument, NULL, NODE_OPT_ROOT},
	{"config", required_argument, NULL, NODE_OPT_CONFIG},
	{0},
};

static int need_root(struct err *err)
{
	return geteuid() == 0
		       ? 0
		       : err_set(err, E_DENIED,
				 "mounting needs root: try sudo, or nacre run, which does not");
}

static int do_mount(const char *ref, const char *target, struct node_args *a, struct err *err)
{
	struct mount_options options = {.target = target, .read_only = a->container.read_only};
	cleanup_node_image struct node_image image = {0};
	cleanup_view_mounts struct view_mounts mounts = {0};
	cleanup_free char *mounted = NULL;
	struct node_store *store;
	int r, in_use;

	if (node_args_load(a, err) < 0 || need_root(err) < 0 ||
	    node_store_open(&store, a->root, err) < 0)
		return err->code;
	options.kind = a->container.view;
	r = in_use = node_store_use(store, err);
	if (r >= 0)
		r = node_args_find_image(&image, store, ref, a, err);
	if (r >= 0)
		r = node_mount(store, &image, &options, &mounted, &mounts, err);
	close_fd(&in_use);
	node_store_free(store);
	if (r < 0)
		return r;
	node_report_view(&mounts);
	puts(mounted);
	return 0;
}

int cmd_mount(int argc, char **argv)
{
	struct node_args a = NODE_ARGS_INIT;
	struct err err = ERR_INIT;
	int option, code = 0;

	while (code == 0 && (option = cli_getopt(argc, argv, "", mount_options, mount_help)) != -1)
		code = node_args_take(&a, option, optarg);
	if (code == 0) {
		cli_operands(argc, argv, 1, 2, mount_help);
		if (do_mount(argv[optind], argv[optind + 1], &a, &err) < 0)
			code = cli_fail(&err);
	}
	node_args_release(&a);
	return cli_finish(code);
}

int cmd_umount(int argc, char **argv)
{
	struct node_args a = NODE_ARGS_INIT;
	struct node_store *store;
	struct err err = ERR_INIT;
	int option, code = 0;

	while (code == 0 &&
	       (option = cli_getopt(argc, argv, "", umount_options, umount_help)) != -1)
		code = node_args_take(&a, option, optarg);
	if (code)
		return code;
	cli_operands(argc, argv, 1, -1, umount_help);
	if (node_args_load(&a, &err) < 0 || need_root(&err) < 0 ||
	    node_store_open(&store, a.root, &err) < 0) {
		node_args_release(&a);
		return cli_fail(&err);
	}
	for (int i = optind; i < argc; i++) {
		err = ERR_INIT;
		if (node_umount(store, argv[i], &err) < 0)
			code = cli_fail(&err);
	}
	node_store_free(store);
	node_args_release(&a);
	return code;
}
