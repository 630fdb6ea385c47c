/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/node-args.h"
#include "node/container.h"

enum {
	EXIT_NOT_STARTED = 125, /* as docker and podman: the container was not started */
};

static const char help[] =
	"Usage: nacre run [OPTION]... IMAGE [COMMAND [ARGUMENT]...]\n"
	"\n"
	"Pulls what this node lacks of IMAGE, composes its root file system and runs it in the\n"
	"foreground with crun or runc. The container is removed when it ends; its "
	"exit\n"
	"code is that of nacre (127: there is no such program, 126: it cannot be run, 125: the\n"
	"container was not started for another reason).\n"
	"\n"
	"IMAGE is a reference as for docker and podman (localhost:5000/nix:HASH), or one with a\n"
	"transport: docker://, oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:REF].\n"
	"\n"
	"Options:\n" NODE_CONTAINER_HELP
	"      --read-only            no writable root file system\n"
	"      --rootless             in a user name space of its own, as users other than root "
	"do\n"
	"                             anyway; --root is then ~/.local/share/nacre\n"
	"      --runtime PROGRAM      crun, runc or another one (default: crun, else "
	"runc)\n" NODE_IMAGE_HELP;

static const struct option long_options[] = {
	NODE_CONTAINER_OPTIONS,
	NODE_IMAGE_OPTIONS,
	{"runtime", required_argument, NULL, NODE_OPT_RUNTIME},
	{"rootless", no_argument, NULL, NODE_OPT_ROOTLESS},
	{0},
};

static int run(const char *ref, struct node_args *a, int *ret_exit, struct err *err)
{
	cleanup_node_image struct node_image image = {0};
	struct node_store *store;
	int result, in_use;

	if (node_args_load(a, err) < 0 || node_args_enter(a, err) < 0)
		return err->code;
	if (node_store_open(&store, a->root, err) < 0)
		return err->code;
	result = in_use = node_store_use(store, err);
	a->container.in_use = &in_use;
	if (result >= 0)
		result = node_args_find_image(&image, store, ref, a, err);
	if (result >= 0)
		result = container_run(store, &image, &a->container, ret_exit, err);
	a->container.in_use = NULL;
	close_fd(&in_use);
	node_store_free(store);
	return result;
}

int cmd_run(int argc, char **argv)
{
	struct node_args a = NODE_ARGS_INIT;
	struct err err = ERR_INIT;
	int option, code = 0;

	a.container.report = node_report_view;
	/* '+': what stands behind the image belongs to the container. */
	while (code == 0 && (option = cli_getopt(argc, argv, "+" NODE_CONTAINER_LETTERS,
						 long_options, help)) != -1)
		code = node_args_take(&a, option, optarg);
	if (code == 0) {
		cli_operands(argc, argv, 1, -1, help);
		for (int i = optind + 1; i < argc; i++)
			strv_add(&a.container.cmd, argv[i]);
		if (run(argv[optind], &a, &code, &err) < 0) {
			code = cli_fail(&err);
			code = code == CLI_USAGE ? code : EXIT_NOT_STARTED;
		}
	}
	node_args_release(&a);
	return code;
}
