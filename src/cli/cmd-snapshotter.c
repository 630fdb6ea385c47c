/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/libcrypto.h"
#include "base/log.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/node-args.h"
#include "node/metrics-listener.h"
#include "node/snapshotter.h"

#define SOCKET_DEFAULT "/run/nacre/snapshotter.sock"

static const char help[] =
	"Usage: nacre snapshotter [OPTION]...\n"
	"\n"
	"A snapshotter for containerd (1.6 and later): store paths that are on this node, or that\n"
	"its Nix store or a --source has, are neither downloaded nor unpacked by containerd. "
	"Layers\n"
	"of any other image work as under overlayfs. Needs root.\n"
	"\n"
	"Options:\n"
	"      --address SOCKET       the unix socket to serve (" SOCKET_DEFAULT ")\n"
	"      --config FILE          the node's configuration (" NODE_CONFIG_DEFAULT ")\n"
	"      --root DIR             where this node keeps paths and layers (" NODE_ROOT_DEFAULT
	")\n"
	"      --source URL           ask this Nix cache or nacre server for store paths, or\n"
	"                             docker://REPOSITORY, a registry with package artifacts\n"
	"      --host-store DIR|none  root of this machine's own Nix store, whose paths are\n"
	"                             used where they are (default: /)\n"
	"      --require-signatures   refuse layers with store paths that no trusted key signed\n"
	"      --trusted-key KEY      such a key, as name:base64\n"
	"      --view KIND            auto (default), erofs-file, erofs-loop, or bind: none\n"
	"      --image-ref            ask the registry that an image is from for its store "
	"layers,\n"
	"                             where containerd passes that and it is configured\n"
	"      --certs-dir DIR        containerd's directory of hosts.toml (" CERTS_DIR_DEFAULT
	")\n"
	"      --registry HOST        one that may be asked without hosts.toml\n"
	"      --authfile FILE        credentials for registries\n"
	"      --metrics HOST:PORT    serve /metrics (for Prometheus) and /healthz there, over "
	"HTTP\n"
	"      --print-config[=VERSION]\n"
	"                             print what belongs into containerd's configuration, and "
	"end;\n"
	"                             with 1.6, 1.7 or 2 all that Kubernetes needs there\n";

enum {
	OPT_ADDRESS = NODE_OPT_OTHER,
	OPT_PRINT_CONFIG,
	OPT_METRICS,
	OPT_IMAGE_REF,
	OPT_CERTS_DIR,
	OPT_REGISTRY
};

static const struct option long_options[] = {
	{"address", required_argument, NULL, OPT_ADDRESS},
	{"config", required_argument, NULL, NODE_OPT_CONFIG},
	{"root", required_argument, NULL, NODE_OPT_ROOT},
	{"source", required_argument, NULL, NODE_OPT_SOURCE},
	{"host-store", required_argument, NULL, NODE_OPT_HOST_STORE},
	{"require-signatures", no_argument, NULL, NODE_OPT_REQUIRE_SIGNATURES},
	{"trusted-key", required_argument, NULL, NODE_OPT_TRUSTED_KEY},
	{"view", required_argument, NULL, NODE_OPT_VIEW},
	{"image-ref", no_argument, NULL, OPT_IMAGE_REF},
	{"certs-dir", required_argument, NULL, OPT_CERTS_DIR},
	{"registry", required_argument, NULL, OPT_REGISTRY},
	{"authfile", required_argument, NULL, NODE_OPT_AUTHFILE},
	{"metrics", required_argument, NULL, OPT_METRICS},
	{"print-config", optional_argument, NULL, OPT_PRINT_CONFIG},
	{0},
};

struct containerd_config {
	const char *version; /* of containerd; as --print-config takes it */
	/* With two arguments: the socket and where Kubernetes is to measure the disk. */
	void (*print)(const char *address, const char *root);
};

/* Without `capabilities`, which 1.6 does not know and which nothing here needs. */
static void print_plugin(const char *address)
{
	printf("[proxy_plugins.nacre]\n"
	       "  type = \"snapshot\"\n"
	       "  address = \"%s\"\n",
	       address);
}

static void print_any(const char *address, const char *root)
{
	(void)root;
	printf("# For ctr --snapshotter nacre and nerdctl --snapshotter nacre, containerd 1.6 and "
	       "later.\n"
	       "# For Kubernetes see nacre snapshotter --print-config=1.6, =1.7, =2.\n"
	       "version = 2\n\n");
	print_plugin(address);
}

static void print_cri(void)
{
	printf("\n[plugins.\"io.containerd.grpc.v1.cri\".containerd]\n"
	       "  snapshotter = \"nacre\"\n"
	       "  disable_snapshot_annotations = false # for --image-ref\n");
}

static void print_1_6(const char *address, const char *root)
{
	(void)root;
	printf("# containerd 1.6: /etc/containerd/config.toml. Not a file of its imports where "
	       "others "
	       "have\n"
	       "# settings of the CRI too: the last table of that name replaces the others whole.\n"
	       "version = 2\n\n");
	print_plugin(address);
	print_cri();
}

static void print_1_7(const char *address, const char *root)
{
	printf("# containerd 1.7: /etc/containerd/config.toml. Not a file of its imports where "
	       "others "
	       "have\n"
	       "# settings of the CRI too: the last table of that name replaces the others whole.\n"
	       "version = 2\n\n");
	print_plugin(address);
	printf("  [proxy_plugins.nacre.exports]\n"
	       "    root = \"%s/snapshots\"\n",
	       root);
	print_cri();
}

static void print_2(const char *address, const char *root)
{
	printf("# containerd 2: /etc/containerd/config.toml, or a file that its imports name\n"
	       "version = 3\n\n");
	print_plugin(address);
	printf("  [proxy_plugins.nacre.exports]\n"
	       "    root = \"%s/snapshots\"\n"
	       "    enable_remote_snapshot_annotations = \"true\" # for --image-ref\n"
	       "\n"
	       "[plugins.'io.containerd.cri.v1.images']\n"
	       "  snapshotter = 'nacre'\n"
	       "  disable_snapshot_annotations = false\n"
	       "\n"
	       "# This replaces the list that containerd has by itself: for ctr without "
	       "--snapshotter, name\n"
	       "# 'overlayfs' here as well.\n"
	       "[[plugins.'io.containerd.transfer.v1.local'.unpack_config]]\n"
	       "  platform = 'linux'\n"
	       "  snapshotter = 'nacre'\n",
	       root);
}

static const struct containerd_config configs[] = {
	{"", print_any}, {"1.6", print_1_6}, {"1.7", print_1_7}, {"2", print_2}};

static int choose_config(const struct containerd_config **ret, const char *version)
{
	for (size_t i = 0; i < ARRAY_LEN(configs); i++)
		if (strcmp(configs[i].version, version ? version : "") == 0) {
			*ret = &configs[i];
			return 0;
		}
	return cli_usage("--print-config=%s: wanted 1.6, 1.7 or 2", version);
}

struct daemon_args {
	const char *address;
	const char *metrics; /* NULL: none */
	const char *certs_dir;
	struct strv registries; /* owned */
	bool has_image_ref;
	const struct containerd_config *config; /* to print, instead of serving; NULL: serve */
};

static int stop_signals(struct err *err)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	fd = signalfd(-1, &set, SFD_CLOEXEC);
	return fd < 0 ? err_errno(err, "signalfd") : fd;
}

static int serve(struct snapshotter *s, const char *address, int stop_fd, struct err *err)
{
	const struct grpc_server_options options = {
		.methods = snapshot_methods,
		.data = s,
		.n_workers = SNAPSHOT_CALLS,
		.observe = snapshotter_observe,
	};
	struct snapshotter_stats stats;
	struct grpc_server *server;
	int inherited = grpc_inherited_socket();
	cleanup_fd int listen_fd = inherited >= 0 ? inherited : grpc_listen(address, err);
	int r;

	if (listen_fd < 0 || grpc_server_new(&server, listen_fd, &options, err) < 0)
		return err->code;
	log_info("serving containerd's snapshots at %s", address);
	r = grpc_server_run(server, stop_fd, err);
	grpc_server_free(server);
	if (inherited < 0 && address)
		unlink(address);
	snapshotter_stats(s, &stats);
	log_info("stopped: %llu store layers answered, %llu left to containerd",
		 (unsigned long long)stats.layers_answered,
		 (unsigned long long)stats.layers_declined);
	return r;
}

static int serve_watched(struct snapshotter *s, const struct daemon_args *d, int stop_fd,
			 struct err *err)
{
	const struct metrics_listener_options options = {
		.address = d->metrics,
		.format = snapshotter_format_metrics,
		.check = snapshotter_check,
		.data = s,
	};
	struct metrics_listener *listener = NULL;
	int r = 0;

	if (d->metrics)
		r = metrics_listener_new(&listener, &options, err);
	if (r >= 0)
		r = serve(s, d->address, stop_fd, err);
	metrics_listener_free(listener);
	return r;
}

/* What each thread that fetches has had in an arena of its own would stay with it. */
static void limit_arenas(void)
{
#ifdef M_ARENA_MAX
	mallopt(M_ARENA_MAX, 2);
#endif
}

static int run(const struct node_args *a, const struct daemon_args *d, struct err *err)
{
	const struct image_registries registries = {
		.certs_dir = d->certs_dir,
		.allowed = &d->registries,
		.auth_file = a->transport.authfile,
	};
	struct snapshotter_options options = {
		.kind = a->container.view,
		.registries = d->has_image_ref ? &registries : NULL,
	};
	struct snapshotter *s;
	cleanup_fd int stop_fd = stop_signals(err);
	int r;

	if (stop_fd < 0)
		return stop_fd;
	limit_arenas();
	if (a->require_signatures && !a->n_keys && !a->settings.n_trusted)
		return err_set(err, E_USAGE, "--require-signatures needs a --trusted-key");
	if (libcrypto_load(err) < 0 || node_store_open(&options.store, a->root, err) < 0)
		return err->code;
	options.sources = node_args_sources(a);
	r = snapshotter_new(&s, &options, err);
	if (r >= 0) {
		r = serve_watched(s, d, stop_fd, err);
		snapshotter_free(s);
	}
	node_sources_free(options.sources);
	node_store_free(options.store);
	return r;
}

/* false: the option is another's. */
static bool daemon_args_take(struct daemon_args *d, int option, const char *value, int *ret_code)
{
	switch (option) {
	case OPT_ADDRESS:
		d->address = value;
		return true;
	case OPT_PRINT_CONFIG:
		*ret_code = choose_config(&d->config, value);
		return true;
	case OPT_METRICS:
		d->metrics = value;
		return true;
	case OPT_IMAGE_REF:
		d->has_image_ref = true;
		return true;
	case OPT_CERTS_DIR:
		d->certs_dir = value;
		return true;
	case OPT_REGISTRY:
		strv_add(&d->registries, value);
		return true;
	default:
		return false;
	}
}

int cmd_snapshotter(int argc, char **argv)
{
	struct node_args a = NODE_ARGS_INIT;
	struct daemon_args d = {.address = SOCKET_DEFAULT, .certs_dir = CERTS_DIR_DEFAULT};
	struct err err = ERR_INIT;
	int option, r, code = 0;

	while (code == 0 && (option = cli_getopt(argc, argv, "", long_options, help)) != -1) {
		if (!daemon_args_take(&d, option, optarg, &code))
			code = node_args_take(&a, option, optarg);
	}
	if (code == 0) {
		cli_operands(argc, argv, 0, 0, help);
		r = node_args_load(&a, &err);
		if (r >= 0 && d.config)
			d.config->print(d.address, a.root ? a.root : NODE_ROOT_DEFAULT);
		else if (r >= 0 && geteuid() != 0)
			r = err_set(&err, E_DENIED, "the snapshotter needs root");
		else if (r >= 0)
			r = run(&a, &d, &err);
		if (r < 0)
			code = cli_fail(&err);
	}
	strv_release(&d.registries);
	node_args_release(&a);
	return cli_finish(code);
}
