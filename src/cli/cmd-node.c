/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nacre/digest.h>

#include "base/mem.h"
#include "cli/cli.h"
#include "cli/node-args.h"
#include "node/node-gc.h"
#include "node/node-image.h"
#include "node/node-verify.h"

static const char help[] =
	"Usage: nacre node COMMAND [OPTION]... [ARGUMENT]...\n"
	"\n"
	"What this node keeps: store paths, layers, images.\n"
	"\n"
	"Commands:\n"
	"  ls                         the images that are here\n"
	"  rm REFERENCE...            forget images; gc deletes what no other needs\n"
	"  gc                         delete what no image, container, mount or snapshot uses\n"
	"  verify                     read everything and compare it with its name\n"
	"  stats                      what is here, and how large\n"
	"\n"
	"Options:\n"
	"      --root DIR             where this node keeps paths and layers (" NODE_ROOT_DEFAULT
	")\n"
	"      --config FILE          the node's configuration (" NODE_CONFIG_DEFAULT ")\n"
	"      --rootless             what nacre run --rootless keeps\n"
	"      --paths                ls: the store paths of the images as well\n"
	"      --older-than AGE       gc: forget images that were not used for AGE (30d, 12h, 0)\n"
	"      --dry-run              gc: only say what would be deleted\n"
	"      --remove               verify: remove what is damaged; it is fetched anew when "
	"needed\n";

enum { OPT_PATHS = NODE_OPT_OTHER, OPT_OLDER_THAN, OPT_DRY_RUN, OPT_REMOVE };

static const struct option long_options[] = {
	{"root", required_argument, NULL, NODE_OPT_ROOT},
	{"config", required_argument, NULL, NODE_OPT_CONFIG},
	{"rootless", no_argument, NULL, NODE_OPT_ROOTLESS},
	{"paths", no_argument, NULL, OPT_PATHS},
	{"older-than", required_argument, NULL, OPT_OLDER_THAN},
	{"dry-run", no_argument, NULL, OPT_DRY_RUN},
	{"remove", no_argument, NULL, OPT_REMOVE},
	{0},
};

struct node_request {
	struct node_args args;
	struct gc_options gc;
	bool paths, remove;
	struct node_store *store;
};

/* "30d", "12h", "5m", "90s" or "90": seconds. */
static int parse_age(int64_t *ret, const char *text)
{
	static const char units[] = "smhd";
	static const int64_t seconds[] = {1, 60, 3600, 86400};
	char *end;
	long n = strtol(text, &end, 10);
	const char *unit = *end ? strchr(units, *end) : units;

	if (end == text || n < 0 || n > 1000000000 || !unit || (*end && end[1]))
		return E_USAGE;
	*ret = n * seconds[unit - units];
	return 0;
}

static int take_option(struct node_request *r, int option, const char *value)
{
	switch (option) {
	case NODE_OPT_ROOT:
	case NODE_OPT_CONFIG:
	case NODE_OPT_ROOTLESS:
		return node_args_take(&r->args, option, value);
	case OPT_PATHS:
		r->paths = true;
		return 0;
	case OPT_DRY_RUN:
		r->gc.dry_run = true;
		return 0;
	case OPT_REMOVE:
		r->remove = true;
		return 0;
	default:
		if (parse_age(&r->gc.older_than_s, value) < 0)
			return cli_usage("--older-than '%s': wanted as 30d or 12h", value);
		return 0;
	}
}

static void print_paths(const struct node_image *image)
{
	for (size_t i = 0; i < image->n_layers; i++) {
		const struct layer_record *record = &image->layers[i].record;

		for (size_t j = 0; image->layers[i].is_store && j < record->len; j++)
			printf("\t%s/%s\n", record->store_dir, record->paths[j].base);
	}
}

static size_t count_paths(const struct node_image *image)
{
	size_t n = 0;

	for (size_t i = 0; i < image->n_layers; i++)
		n += image->layers[i].is_store ? image->layers[i].record.len : 0;
	return n;
}

static int node_ls(struct node_request *r, int argc, char **argv, struct err *err)
{
	cleanup_node_refs struct node_refs refs = {0};

	(void)argc, (void)argv;
	if (node_refs_list(&refs, r->store, err) < 0)
		return err->code;
	for (size_t i = 0; i < refs.len; i++) {
		cleanup_node_image struct node_image image = {0};
		const char *name = refs.items[i].text ? refs.items[i].text : refs.items[i].file;
		struct err local = ERR_INIT;
		char digest[DIGEST_TEXT_MAX];

		digest_format(digest, &refs.items[i].digest);
		if (node_image_load(&image, r->store, &refs.items[i].digest, &local) < 0)
			printf("%s\t%s\tincomplete\n", name, digest);
		else
			printf("%s\t%s\t%zu layers\t%zu paths\n", name, digest, image.n_layers,
			       count_paths(&image));
		if (r->paths)
			print_paths(&image);
	}
	return 0;
}

static int node_rm(struct node_request *r, int argc, char **argv, struct err *err)
{
	cleanup_buf struct buf failed = {0};
	struct err first = ERR_INIT;

	if (!argc)
		return err_set(err, E_USAGE, "nacre node rm: which image?");
	for (int i = 0; i < argc; i++) {
		struct err why = ERR_INIT;

		if (node_store_remove_ref(r->store, argv[i], &why) >= 0)
			continue;
		if (failed.len)
			buf_add_str(&failed, "; ");
		buf_add_str(&failed, why.text);
		if (!first.code)
			first = why;
	}
	if (!first.code)
		return 0;
	buf_add(&failed, "", 1);
	return err_set(err, first.code, "%s", (const char *)failed.data);
}

static int node_collect(struct node_request *r, int argc, char **argv, struct err *err)
{
	struct gc_stats stats;

	(void)argc, (void)argv;
	if (node_gc(r->store, &r->gc, &stats, err) < 0)
		return err->code;
	printf("%s %zu paths, %zu layers, %zu documents, %zu views, %zu references: %" PRIu64
	       " bytes\n",
	       r->gc.dry_run ? "would delete" : "deleted", stats.paths, stats.layers, stats.blobs,
	       stats.views, stats.refs, stats.bytes);
	return 0;
}

static void print_damaged(void *data, const char *what)
{
	(void)data;
	printf("%s\n", what);
}

static int verify(struct node_request *r, int argc, char **argv, struct err *err)
{
	struct verify_options options = {.damaged = print_damaged, .remove = r->remove};
	struct verify_stats stats;

	(void)argc, (void)argv;
	if (node_verify(r->store, &options, &stats, err) < 0)
		return err->code;
	printf("%zu paths, %zu layers, %zu documents: %zu damaged\n", stats.paths, stats.layers,
	       stats.blobs, stats.damaged);
	if (stats.damaged && !r->remove)
		return err_set(err, E_MISMATCH, "this node has damaged content: --remove drops it");
	return 0;
}

static int node_show_stats(struct node_request *r, int argc, char **argv, struct err *err)
{
	struct node_stats s;

	(void)argc, (void)argv;
	if (node_statistics(r->store, &s, err) < 0)
		return err->code;
	printf("images\t%zu\n", s.images);
	printf("paths\t%zu\t%" PRIu64 " bytes\n", s.paths, s.path_bytes);
	printf("paths of this machine's own store\t%zu\n", s.host_paths);
	printf("layers\t%zu\t%" PRIu64 " bytes\n", s.layers, s.layer_bytes);
	printf("views\t%zu\t%" PRIu64 " bytes\n", s.views, s.view_bytes);
	printf("containers\t%zu\nmounts\t%zu\nholds\t%zu\n", s.containers, s.mounts, s.holds);
	return 0;
}

static const struct {
	const char *name;
	int (*run)(struct node_request *r, int argc, char **argv, struct err *err);
	int max; /* operands, with the command; -1: any */
} commands[] = {
	{"ls", node_ls, 1},    {"rm", node_rm, -1},           {"gc", node_collect, 1},
	{"verify", verify, 1}, {"stats", node_show_stats, 1},
};

int cmd_node(int argc, char **argv)
{
	struct node_request r = {.gc = {.older_than_s = -1}};
	struct err err = ERR_INIT;
	int option, code = 0;

	while (code == 0 && (option = cli_getopt(argc, argv, "", long_options, help)) != -1)
		code = take_option(&r, option, optarg);
	if (code)
		return code;
	cli_operands(argc, argv, 1, -1, help);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		if (strcmp(argv[optind], commands[i].name) != 0)
			continue;
		cli_operands(argc, argv, 1, commands[i].max, help);
		if (node_args_load(&r.args, &err) < 0 || node_args_enter(&r.args, &err) < 0 ||
		    node_store_open(&r.store, r.args.root, &err) < 0 ||
		    commands[i].run(&r, argc - optind - 1, argv + optind + 1, &err) < 0)
			code = cli_fail(&err);
		node_store_free(r.store);
		node_args_release(&r.args);
		return cli_finish(code);
	}
	return cli_usage("nacre node has no command '%s' (see nacre node --help)", argv[optind]);
}
