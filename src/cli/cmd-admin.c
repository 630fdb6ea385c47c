/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/admin-client.h"
#include "cli/cli.h"

static const char help[] =
	"Usage: nacre admin COMMAND --data DIR [OPTION]... [ARGUMENT]...\n"
	"\n"
	"What the operator of a server does, by the socket in its data directory; where no server\n"
	"runs, all but gc is done without one.\n"
	"\n"
	"Commands:\n"
	"  gc               collect garbage now\n"
	"  fsck             verify everything, and repair\n"
	"  backup TARGET    make a consistent copy\n"
	"  pin WHAT         keep something whatever the rules say\n"
	"  unpin WHAT       let it go again\n"
	"  pins             what is pinned\n"
	"  delete WHAT      remove a tag, a manifest or a store path, also what is immutable\n"
	"  stats            who uses how much\n"
	"  token            make, list or void tokens to log in with\n"
	"\n"
	"Options of all:\n"
	"      --data DIR   the data directory of the server\n"
	"      --json       lines of JSON\n"
	"\n"
	"Of gc --dry-run, pin, unpin, pins, delete and stats, instead of --data:\n"
	"      --server URL   a server elsewhere; its rules say on what you have the right "
	"`admin`\n"
	"      --netrc FILE   where the password for it is (default: /etc/nix/netrc, ~/.netrc)\n";

static const char gc_help[] = "Usage: nacre admin gc --data DIR [--dry-run] [--json]\n"
			      "\n"
			      "Collects garbage now, by the rules of the server that runs; it does "
			      "so by itself every few\n"
			      "minutes. What goes is printed with the reason.\n"
			      "\n"
			      "      --dry-run    only say what would go now\n";

static const char backup_help[] =
	"Usage: nacre admin backup --data DIR [--copy] [--json] TARGET\n"
	"\n"
	"Makes TARGET, a directory that must not be there or be empty, a data directory as that of "
	"the\n"
	"server is at this moment. On the same file system, files are linked and take no room.\n"
	"\n"
	"      --copy       copy all files\n";

static const char pin_help[] = "Usage: nacre admin pin|unpin --data DIR [--view NAME] WHAT\n"
			       "\n"
			       "WHAT is REPOSITORY, REPOSITORY:TAG, REPOSITORY@DIGEST or a store "
			       "path, whose closure is kept\n"
			       "with it. It need not be there yet.\n"
			       "\n"
			       "      --view NAME  the view of a store path (default: the root)\n";

static const char delete_help[] =
	"Usage: nacre admin delete --data DIR [--view NAME] WHAT\n"
	"\n"
	"WHAT is REPOSITORY:TAG, REPOSITORY@DIGEST or a store path. Tags that stand for ever go, "
	"too. A path\n"
	"stays while others refer to it; the bytes go from the disk when nothing names them any "
	"more, after\n"
	"the grace period.\n"
	"\n"
	"      --view NAME  the view of a store path (default: the root)\n";

static const char pins_help[] = "Usage: nacre admin pins --data DIR [--json]\n"
				"\n"
				"Prints what is pinned, one a line, as `pin` takes it.\n";

static const char stats_help[] = "Usage: nacre admin stats --data DIR [--repositories] [--json]\n"
				 "\n"
				 "Prints what is kept, and how much of it is kept once only.\n"
				 "\n"
				 "      --repositories   each repository as well\n";

/* ---- gc ---- */

static void print_gc(const char *key, const json_t *value)
{
	char size[32];

	if (strcmp(key, "gone") == 0) {
		printf("%s %s (%s)\n", admin_text(value, "kind"), admin_text(value, "name"),
		       admin_text(value, "reason"));
		return;
	}
	printf("%s: %llu tags, %llu manifests, %llu blobs, %llu paths; %s freed\n",
	       json_is_true(json_object_get(value, "dry-run")) ? "would go now" : "gone",
	       admin_number(value, "tags"), admin_number(value, "manifests"),
	       admin_number(value, "blobs"), admin_number(value, "paths"),
	       admin_size(size, value, "bytes"));
	if (json_is_true(json_object_get(value, "more")))
		printf("and more\n");
}

static int cmd_gc(int argc, char **argv)
{
	static const struct option options[] = {ADMIN_OPTIONS,
						ADMIN_REMOTE_OPTIONS,
						{"dry-run", no_argument, NULL, ADMIN_OPT_DRY_RUN},
						{0}};
	static const struct admin_subcommand sub = {gc_help, options, 0};
	struct admin_call call = {
		.command = "gc", .where = ADMIN_SERVER, .print = print_gc, .remote = REMOTE_GET};

	admin_options(&call, &sub, argc, argv);
	return admin_call_end(&call, admin_call(&call));
}

/* ---- backup ---- */

static void print_backup(const char *key, const json_t *value)
{
	char size[32];

	(void)key;
	printf("%llu objects, %llu of them linked; %s written\n", admin_number(value, "objects"),
	       admin_number(value, "linked"), admin_size(size, value, "bytes"));
}

/* The server stands in another directory. */
static char *absolute(const char *path)
{
	cleanup_free char *here = path[0] == '/' ? NULL : getcwd(NULL, 0);

	return here ? xasprintf("%s/%s", here, path) : xstrdup(path);
}

static int cmd_backup(int argc, char **argv)
{
	static const struct option options[] = {
		ADMIN_OPTIONS, {"copy", no_argument, NULL, ADMIN_OPT_COPY}, {0}};
	static const struct admin_subcommand sub = {backup_help, options, 1};
	struct admin_call call = {.command = "backup", .print = print_backup};
	cleanup_free char *target = NULL;

	admin_options(&call, &sub, argc, argv);
	target = absolute(argv[optind]);
	json_object_set_new(call.request, "directory", json_string(target));
	return admin_call_end(&call, admin_call(&call));
}

/* ---- Pins ---- */

static void print_pin(const char *key, const json_t *value)
{
	const char *view = admin_text(value, "view"), *reference = admin_text(value, "reference");
	const char *repository = admin_text(value, "repository");

	if (strcmp(key, "pin") != 0)
		return;
	if (!repository[0])
		printf("%s%s%s\n", view, view[0] ? "/" : "", reference);
	else
		printf("%s%s%s%s%s\n", view, view[0] ? "/" : "", repository,
		       !reference[0]            ? ""
		       : strchr(reference, ':') ? "@"
						: ":",
		       reference);
}

/* One thing with a name. */
static int named(const char *command, const char *text, int argc, char **argv)
{
	static const struct option options[] = {ADMIN_OPTIONS,
						ADMIN_REMOTE_OPTIONS,
						{"view", required_argument, NULL, ADMIN_OPT_VIEW},
						{0}};
	struct admin_subcommand sub = {text, options, 1};
	struct admin_call call = {.command = command, .print = print_pin, .remote = REMOTE_POST};

	admin_options(&call, &sub, argc, argv);
	json_object_set_new(call.request, "what", json_string(argv[optind]));
	return admin_call_end(&call, admin_call(&call));
}

static int cmd_pin(int argc, char **argv)
{
	return named("pin", pin_help, argc, argv);
}

static int cmd_unpin(int argc, char **argv)
{
	return named("unpin", pin_help, argc, argv);
}

static int cmd_delete(int argc, char **argv)
{
	return named("delete", delete_help, argc, argv);
}

static int cmd_pins(int argc, char **argv)
{
	static const struct option options[] = {ADMIN_OPTIONS, ADMIN_REMOTE_OPTIONS, {0}};
	static const struct admin_subcommand sub = {pins_help, options, 0};
	struct admin_call call = {.command = "pins", .print = print_pin, .remote = REMOTE_GET};

	admin_options(&call, &sub, argc, argv);
	return admin_call_end(&call, admin_call(&call));
}

/* ---- Statistics ---- */

static void print_totals(const json_t *v)
{
	char a[32], b[32], c[32];

	printf("on disk: %s, of it the database %s\n", admin_size(a, v, "physical-bytes"),
	       admin_size(b, v, "database-bytes"));
	printf("named by repositories and caches: %s, %.2f times the bytes on disk\n",
	       admin_size(a, v, "logical-bytes"),
	       json_real_value(json_object_get(v, "dedupe-ratio")));
	printf("NARs: %llu, %s, framed %s, glue for layers %s; opaque: %s\n",
	       admin_number(v, "nars"), admin_size(a, v, "nar-bytes"),
	       admin_size(b, v, "framed-bytes"), admin_size(c, v, "glue-bytes"),
	       admin_size((char[32]){0}, v, "opaque-bytes"));
	printf("%llu paths, %llu repositories, %llu tags, %llu manifests, %llu blobs (%llu "
	       "spliced),"
	       " %llu uploads\n",
	       admin_number(v, "paths"), admin_number(v, "repositories"), admin_number(v, "tags"),
	       admin_number(v, "manifests"), admin_number(v, "blobs"), admin_number(v, "splices"),
	       admin_number(v, "uploads"));
}

static void print_stats(const char *key, const json_t *v)
{
	const char *name = admin_text(v, "name");
	char a[32], b[32];

	if (strcmp(key, "view") == 0)
		printf("view %s: %llu paths, %s (NARs %s); %llu repositories, %llu tags, %s\n",
		       name[0] ? name : "/", admin_number(v, "paths"),
		       admin_size(a, v, "path-bytes"), admin_size(b, v, "nar-bytes"),
		       admin_number(v, "repositories"), admin_number(v, "tags"),
		       admin_size((char[32]){0}, v, "repository-bytes"));
	else if (strcmp(key, "repository") == 0)
		printf("repository %s%s%s: %s, %llu blobs, %llu manifests, %llu tags\n",
		       admin_text(v, "view"), admin_text(v, "view")[0] ? "/" : "", name,
		       admin_size(a, v, "bytes"), admin_number(v, "blobs"),
		       admin_number(v, "manifests"), admin_number(v, "tags"));
	else if (json_object_get(v, "physical-bytes")) /* are for who may see everything */
		print_totals(v);
}

static int cmd_stats(int argc, char **argv)
{
	static const struct option options[] = {
		ADMIN_OPTIONS,
		ADMIN_REMOTE_OPTIONS,
		{"repositories", no_argument, NULL, ADMIN_OPT_REPOSITORIES},
		{0}};
	static const struct admin_subcommand sub = {stats_help, options, 0};
	struct admin_call call = {.command = "stats", .print = print_stats, .remote = REMOTE_GET};

	admin_options(&call, &sub, argc, argv);
	return admin_call_end(&call, admin_call(&call));
}

int cmd_admin(int argc, char **argv)
{
	static const struct cli_command commands[] = {
		{"gc", "collect garbage now", cmd_gc},
		{"fsck", "verify everything, and repair", cmd_admin_fsck},
		{"backup", "make a consistent copy", cmd_backup},
		{"pin", "keep something whatever the rules say", cmd_pin},
		{"unpin", "let it go again", cmd_unpin},
		{"pins", "what is pinned", cmd_pins},
		{"delete", "remove something, also what is immutable", cmd_delete},
		{"stats", "who uses how much", cmd_stats},
		{"token", "make, list or void tokens to log in with", cmd_admin_token},
		{NULL, NULL, NULL},
	};

	return cli_dispatch(commands, help, argc, argv);
}
