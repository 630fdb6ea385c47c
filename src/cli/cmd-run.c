/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <unistd.h>

#include <nacre/reference.h>

#include "base/log.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "net/transports.h"
#include "node/container.h"

#define DEFAULT_ROOT "/var/lib/nacre"

enum {
	EXIT_NOT_STARTED = 125, /* as docker and podman: the container was not started */
};

static const char help[] =
	"Usage: nacre run [OPTION]... IMAGE [COMMAND [ARGUMENT]...]\n"
	"\n"
	"Pulls what this node lacks of IMAGE, composes its root file system and runs it in the\n"
	"foreground with crun or runc. Needs root. The container is removed when it ends; its "
	"exit\n"
	"code is that of nacre (125: it was not started).\n"
	"\n"
	"IMAGE is a reference as for docker and podman (localhost:5000/nix:HASH), or one with a\n"
	"transport: docker://, oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:REF].\n"
	"\n"
	"Options:\n"
	"  -e, --env NAME[=VALUE]     set an environment variable, or pass one on\n"
	"      --entrypoint PROGRAM   run this in place of the image's entry point\n"
	"  -w, --workdir DIR          working directory in the container\n"
	"  -u, --user USER[:GROUP]    run as this user of the image\n"
	"  -v, --volume SRC:DST[:ro]  mount a directory or file of this machine\n"
	"      --view KIND            how store paths appear: auto (default), erofs-file, "
	"erofs-loop\n"
	"                             or bind; nacre --verbose run tells which it was\n"
	"      --read-only            no writable root file system\n"
	"      --network host|none    the host's network, or none (default: none)\n"
	"      --hostname NAME        host name in the container\n"
	"  -t, --tty                  give the container a terminal\n"
	"      --pull POLICY          always (default), missing or never\n"
	"      --platform OS/ARCH     which image of an index\n"
	"      --root DIR             where this node keeps paths and layers (" DEFAULT_ROOT ")\n"
	"      --runtime PROGRAM      crun, runc or another one (default: crun, else runc)\n"
	"      --authfile FILE        credentials for registries\n"
	"      --insecure             plain HTTP, or unverified TLS, to the registry\n";

enum {
	OPT_ENTRYPOINT = CLI_OPT,
	OPT_READ_ONLY,
	OPT_NETWORK,
	OPT_HOSTNAME,
	OPT_PULL,
	OPT_PLATFORM,
	OPT_ROOT,
	OPT_RUNTIME,
	OPT_AUTHFILE,
	OPT_INSECURE,
	OPT_VIEW,
};

static const struct option long_options[] = {
	{"env", required_argument, NULL, 'e'},
	{"entrypoint", required_argument, NULL, OPT_ENTRYPOINT},
	{"workdir", required_argument, NULL, 'w'},
	{"user", required_argument, NULL, 'u'},
	{"volume", required_argument, NULL, 'v'},
	{"read-only", no_argument, NULL, OPT_READ_ONLY},
	{"network", required_argument, NULL, OPT_NETWORK},
	{"hostname", required_argument, NULL, OPT_HOSTNAME},
	{"tty", no_argument, NULL, 't'},
	{"pull", required_argument, NULL, OPT_PULL},
	{"platform", required_argument, NULL, OPT_PLATFORM},
	{"root", required_argument, NULL, OPT_ROOT},
	{"runtime", required_argument, NULL, OPT_RUNTIME},
	{"authfile", required_argument, NULL, OPT_AUTHFILE},
	{"insecure", no_argument, NULL, OPT_INSECURE},
	{"view", required_argument, NULL, OPT_VIEW},
	{0},
};

enum pull_policy { PULL_ALWAYS, PULL_MISSING, PULL_NEVER };

struct run_request {
	struct container_options container;
	struct transport_options transport;
	const char *root, *platform; /* borrowed from argv */
	enum pull_policy pull;
};

static int set_pull(struct run_request *r, const char *value)
{
	static const char *const names[] = {"always", "missing", "never"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(value, names[i]) == 0) {
			r->pull = (enum pull_policy)i;
			return 0;
		}
	return cli_usage("--pull '%s': wanted always, missing or never", value);
}

static int add_volume(struct container_options *o, const char *value)
{
	struct err err = ERR_INIT;

	array_grow(o->volumes, o->cap_volumes, o->n_volumes + 1);
	if (container_parse_volume(&o->volumes[o->n_volumes], value, &err) < 0)
		return cli_fail(&err);
	o->n_volumes++;
	return 0;
}

/* 0, or an exit code. */
static int take_option(struct run_request *r, int option, const char *value)
{
	struct container_options *c = &r->container;

	switch (option) {
	case 'e':
		strv_add(&c->env, value);
		return 0;
	case OPT_ENTRYPOINT:
		c->entrypoint = value;
		return 0;
	case 'w':
		c->cwd = value;
		return 0;
	case 'u':
		c->user = value;
		return 0;
	case 'v':
		return add_volume(c, value);
	case OPT_READ_ONLY:
		c->read_only = true;
		return 0;
	case OPT_NETWORK:
		c->host_network = strcmp(value, "host") == 0;
		if (!c->host_network && strcmp(value, "none") != 0)
			return cli_usage("--network '%s': wanted host or none", value);
		return 0;
	case OPT_HOSTNAME:
		c->hostname = value;
		return 0;
	case 't':
		c->terminal = true;
		return 0;
	case OPT_PULL:
		return set_pull(r, value);
	case OPT_PLATFORM:
		r->platform = value;
		return 0;
	case OPT_ROOT:
		r->root = value;
		return 0;
	case OPT_RUNTIME:
		c->runtime = value;
		return 0;
	case OPT_VIEW:
		if (view_kind_parse(&c->view, value) < 0)
			return cli_usage("--view '%s': wanted auto, erofs-file, erofs-loop or bind",
					 value);
		return 0;
	case OPT_AUTHFILE:
		r->transport.authfile = value;
		return 0;
	default:
		r->transport.insecure = true;
		return 0;
	}
}

static void report_view(const struct view_mounts *mounts)
{
	log_debug("view: %s, %zu mounts%s%s", view_kind_names[mounts->kind], mounts->n_mounts,
		  mounts->reason ? "; not " : "", mounts->reason ? mounts->reason : "");
}

static void show_progress(void *data, uint64_t bytes)
{
	progress_add(data, bytes);
}

static int pull_image(struct node_image *ret, struct node_store *store, const char *ref,
		      const struct run_request *r, struct err *err)
{
	cleanup_image_source struct image_source *source = NULL;
	cleanup_platform struct platform platform = {0};
	struct pull_stats stats = {0};
	struct progress progress;
	struct pull_options options = {&platform, show_progress, &progress};
	int result;

	if (!r->platform)
		platform_host(&platform);
	else if (platform_parse(&platform, slice_str(r->platform)) < 0)
		return err_set(err, E_USAGE, "--platform '%s': wanted OS/ARCH, as linux/arm64",
			       r->platform);
	if (transport_open_source(&source, ref, &r->transport, err) < 0)
		return err->code;
	progress_begin(&progress, "pull", 0);
	result = node_image_pull(ret, store, source, &options, &stats, err);
	progress_end(&progress);
	if (result >= 0)
		result = node_store_put_ref(store, ref, &ret->digest, err);
	return result;
}

static int find_image(struct node_image *ret, struct node_store *store, const char *ref,
		      const struct run_request *r, struct err *err)
{
	struct err local = ERR_INIT;
	struct hash digest;

	if (r->pull == PULL_ALWAYS)
		return pull_image(ret, store, ref, r, err);
	if (node_store_get_ref(store, ref, &digest, &local) >= 0 &&
	    node_image_load(ret, store, &digest, &local) >= 0)
		return 0;
	if (r->pull == PULL_NEVER)
		return err_set(err, E_NOTFOUND,
			       "%s is not on this node, and --pull never forbids to fetch it", ref);
	return pull_image(ret, store, ref, r, err);
}

static int run(const char *ref, const struct run_request *r, int *ret_exit, struct err *err)
{
	cleanup_node_image struct node_image image = {0};
	struct node_store *store;
	int result;

	if (geteuid() != 0)
		return err_set(err, E_DENIED, "running a container needs root: try sudo nacre run");
	if (node_store_open(&store, r->root, err) < 0)
		return err->code;
	result = find_image(&image, store, ref, r, err);
	if (result >= 0)
		result = container_run(store, &image, &r->container, ret_exit, err);
	node_store_free(store);
	return result;
}

int cmd_run(int argc, char **argv)
{
	struct run_request r = {.root = DEFAULT_ROOT, .container = {.report = report_view}};
	struct err err = ERR_INIT;
	int option, code = 0;

	/* '+': what stands behind the image belongs to the container. */
	while (code == 0 &&
	       (option = cli_getopt(argc, argv, "+e:w:u:v:t", long_options, help)) != -1)
		code = take_option(&r, option, optarg);
	if (code == 0) {
		cli_operands(argc, argv, 1, -1, help);
		for (int i = optind + 1; i < argc; i++)
			strv_add(&r.container.cmd, argv[i]);
		if (run(argv[optind], &r, &code, &err) < 0) {
			code = cli_fail(&err);
			code = code == CLI_USAGE ? code : EXIT_NOT_STARTED;
		}
	}
	container_options_release(&r.container);
	return code;
}
