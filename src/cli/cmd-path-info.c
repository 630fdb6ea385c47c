/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/mem.h"
#include "cli/cli.h"
#include "net/path-source.h"

static const char help[] =
	"Usage: nacre path-info [OPTION]... PATH...\n"
	"\n"
	"Shows what a Nix store or a binary cache knows of store paths. PATH is a store path, its\n"
	"base name or its hash part; with a local store also a file in one or a link to one.\n"
	"\n"
	"Options:\n"
	"      --store STORE   a Nix cache (http://, https://, file://), or the root of a Nix "
	"store\n"
	"                      (default: /)\n"
	"  -r, --recursive     the whole closure\n"
	"  -s, --size          sizes of the NARs, bytes\n"
	"  -S, --closure-size  sizes of the closures, bytes\n"
	"      --sigs          signatures\n"
	"      --json          an object by store path, in Nix's form\n";

enum { OPT_STORE = CLI_OPT, OPT_SIGS, OPT_JSON };

static const struct option long_options[] = {
	{"store", required_argument, NULL, OPT_STORE},
	{"recursive", no_argument, NULL, 'r'},
	{"size", no_argument, NULL, 's'},
	{"closure-size", no_argument, NULL, 'S'},
	{"sigs", no_argument, NULL, OPT_SIGS},
	{"json", no_argument, NULL, OPT_JSON},
	{0},
};

struct path_info_request {
	const char *store; /* borrowed from argv */
	bool recursive, size, closure_size, sigs, json;
};

static int closure_size(struct path_source *source, const struct path_info *info, uint64_t *ret,
			struct err *err)
{
	cleanup_path_infos struct path_infos set = {0};

	*ret = 0;
	if (source->closure(source, &info->path, &set, err) < 0)
		return err->code;
	for (size_t i = 0; i < set.len; i++)
		*ret += set.items[i].nar_size;
	return 0;
}

static json_t *texts(const struct path_info *info, const struct strv *items, bool paths)
{
	json_t *array = json_array();

	for (size_t i = 0; i < items->len; i++) {
		cleanup_free char *text = paths ? xasprintf("%.*s/%s", (int)info->path.dir_len,
							    info->path.text, items->items[i])
						: xstrdup(items->items[i]);

		json_array_append_new(array, json_string(text));
	}
	return array;
}

/* The form of `nix path-info --json` from 2.19 on. */
static int add_json(json_t *all, struct path_source *source, const struct path_info *info,
		    const struct path_info_request *r, struct err *err)
{
	json_t *entry = json_object();
	char hash[HASH_TEXT_MAX];
	uint64_t size;

	hash_format(hash, &info->nar_hash, HASH_SRI);
	json_object_set_new(entry, "narHash", json_string(hash));
	json_object_set_new(entry, "narSize", json_integer((json_int_t)info->nar_size));
	json_object_set_new(entry, "references", texts(info, &info->references, true));
	if (info->deriver) {
		cleanup_free char *deriver = xasprintf("%.*s/%s", (int)info->path.dir_len,
						       info->path.text, info->deriver);

		json_object_set_new(entry, "deriver", json_string(deriver));
	}
	if (info->ca)
		json_object_set_new(entry, "ca", json_string(info->ca));
	json_object_set_new(entry, "signatures", texts(info, &info->signatures, false));
	if (info->registration_time)
		json_object_set_new(entry, "registrationTime",
				    json_integer(info->registration_time));
	if (info->ultimate)
		json_object_set_new(entry, "ultimate", json_true());
	json_object_set_new(all, info->path.text, entry); /* owned by `all` from here */
	if (!r->closure_size)
		return 0;
	if (closure_size(source, info, &size, err) < 0)
		return err->code;
	json_object_set_new(entry, "closureSize", json_integer((json_int_t)size));
	return 0;
}

static int print_line(struct path_source *source, const struct path_info *info,
		      const struct path_info_request *r, struct err *err)
{
	uint64_t size;

	printf("%s", info->path.text);
	if (r->size)
		printf("\t%" PRIu64, info->nar_size);
	if (r->closure_size) {
		if (closure_size(source, info, &size, err) < 0)
			return err->code;
		printf("\t%" PRIu64, size);
	}
	for (size_t i = 0; r->sigs && i < info->signatures.len; i++)
		printf("%c%s", i ? ' ' : '\t', info->signatures.items[i]);
	printf("\n");
	return 0;
}

static int collect(struct path_source *source, char **operands, size_t n,
		   const struct path_info_request *r, struct path_infos *set, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		struct path_info info = {0};
		struct store_path path;

		if (path_source_resolve(source, operands[i], &path, err) < 0)
			return err->code;
		if (r->recursive) {
			if (source->closure(source, &path, set, err) < 0)
				return err->code;
			continue;
		}
		if (source->query(source, store_path_hash_part(&path), &info, err) < 0)
			return err->code;
		path_infos_take(set, &info);
	}
	return 0;
}

static int print_all(struct path_source *source, const struct path_infos *set,
		     const struct path_info_request *r, struct err *err)
{
	json_t *all = r->json ? json_object() : NULL;
	int code = 0;

	for (size_t i = 0; code >= 0 && i < set->len; i++)
		code = r->json ? add_json(all, source, &set->items[i], r, err)
			       : print_line(source, &set->items[i], r, err);
	if (code >= 0 && r->json) {
		json_dumpf(all, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
		printf("\n");
	}
	json_decref(all);
	return code;
}

static int run(char **operands, size_t n, const struct path_info_request *r, struct err *err)
{
	cleanup_path_source struct path_source *source = NULL;
	cleanup_path_infos struct path_infos set = {0};
	struct path_source_options options = {0};

	if (path_source_open(&source, r->store, &options, err) < 0 ||
	    collect(source, operands, n, r, &set, err) < 0)
		return err->code;
	return print_all(source, &set, r, err);
}

int cmd_path_info(int argc, char **argv)
{
	struct path_info_request r = {0};
	struct err err = ERR_INIT;
	int option;

	while ((option = cli_getopt(argc, argv, "rsS", long_options, help)) != -1) {
		if (option == OPT_STORE)
			r.store = optarg;
		r.recursive |= option == 'r';
		r.size |= option == 's';
		r.closure_size |= option == 'S';
		r.sigs |= option == OPT_SIGS;
		r.json |= option == OPT_JSON;
	}
	cli_operands(argc, argv, 1, -1, help);
	return run(argv + optind, (size_t)(argc - optind), &r, &err) < 0 ? cli_fail(&err) : CLI_OK;
}
