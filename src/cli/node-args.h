/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands that work on a node's images share: `nacre run`, `mount`, `bundle`. */
#ifndef NACRE_CLI_NODE_ARGS_H
#define NACRE_CLI_NODE_ARGS_H

#include "cli/cli.h"
#include "net/transports.h"
#include "node/container-options.h"
#include "node/node-image.h"
#include "node/node-settings.h"

/* When to ask where the image is from. NEWER: as ALWAYS, but what is here does where the registry cannot be
 * reached. Not said: MISSING for a registry; NEWER for what lies on this machine, where asking is cheap
 * and `nacre build` may have made it anew. */
enum pull_policy { PULL_NOT_SAID, PULL_MISSING, PULL_NEWER, PULL_ALWAYS, PULL_NEVER };

struct node_args {
	struct container_options container;
	struct transport_options transport;
	const char *config, *root, *platform; /* borrowed from argv; NULL: not said */
	enum pull_policy pull;
	const char *host_store;  /* borrowed; "none": not used; NULL: not said */
	struct strv sources;     /* URLs of caches */
	struct public_key *keys; /* owned */
	size_t n_keys, cap_keys;
	bool require_signatures, has_view;
	bool rootless;
	char *own_root; /* owned; the default without privileges */
	struct node_settings settings;
};
#define NODE_ARGS_INIT ((struct node_args){0})
void node_args_release(struct node_args *a);

enum {
	NODE_OPT_PULL = CLI_OPT,
	NODE_OPT_PLATFORM,
	NODE_OPT_ROOT,
	NODE_OPT_CONFIG,
	NODE_OPT_AUTHFILE,
	NODE_OPT_INSECURE,
	NODE_OPT_VIEW,
	NODE_OPT_SOURCE,
	NODE_OPT_HOST_STORE,
	NODE_OPT_TRUSTED_KEY,
	NODE_OPT_REQUIRE_SIGNATURES,
	NODE_OPT_READ_ONLY,
	NODE_OPT_ENTRYPOINT,
	NODE_OPT_NETWORK,
	NODE_OPT_HOSTNAME,
	NODE_OPT_TMPFS,
	NODE_OPT_ULIMIT,
	NODE_OPT_CAP_ADD,
	NODE_OPT_CAP_DROP,
	NODE_OPT_MEMORY,
	NODE_OPT_CPUS,
	NODE_OPT_PIDS,
	NODE_OPT_RUNTIME,
	NODE_OPT_ROOTLESS,
	NODE_OPT_OTHER, /* options of one command begin here */
};

/* Rows of a `struct option` table: of all, and of those that make a container. */
/* clang-format off */
#define NODE_IMAGE_OPTIONS                                              \
	{"pull", required_argument, NULL, NODE_OPT_PULL},               \
	{"platform", required_argument, NULL, NODE_OPT_PLATFORM},       \
	{"root", required_argument, NULL, NODE_OPT_ROOT},               \
	{"config", required_argument, NULL, NODE_OPT_CONFIG},           \
	{"authfile", required_argument, NULL, NODE_OPT_AUTHFILE},       \
	{"insecure", no_argument, NULL, NODE_OPT_INSECURE},             \
	{"view", required_argument, NULL, NODE_OPT_VIEW},               \
	{"source", required_argument, NULL, NODE_OPT_SOURCE},           \
	{"host-store", required_argument, NULL, NODE_OPT_HOST_STORE},   \
	{"trusted-key", required_argument, NULL, NODE_OPT_TRUSTED_KEY}, \
	{"require-signatures", no_argument, NULL, NODE_OPT_REQUIRE_SIGNATURES}, \
	{"read-only", no_argument, NULL, NODE_OPT_READ_ONLY}
#define NODE_CONTAINER_LETTERS "e:w:u:v:t"
#define NODE_CONTAINER_OPTIONS                                          \
	{"env", required_argument, NULL, 'e'},                          \
	{"entrypoint", required_argument, NULL, NODE_OPT_ENTRYPOINT},   \
	{"workdir", required_argument, NULL, 'w'},                      \
	{"user", required_argument, NULL, 'u'},                         \
	{"volume", required_argument, NULL, 'v'},                       \
	{"tmpfs", required_argument, NULL, NODE_OPT_TMPFS},             \
	{"network", required_argument, NULL, NODE_OPT_NETWORK},         \
	{"hostname", required_argument, NULL, NODE_OPT_HOSTNAME},       \
	{"tty", no_argument, NULL, 't'},                                \
	{"ulimit", required_argument, NULL, NODE_OPT_ULIMIT},           \
	{"cap-add", required_argument, NULL, NODE_OPT_CAP_ADD},         \
	{"cap-drop", required_argument, NULL, NODE_OPT_CAP_DROP},       \
	{"memory", required_argument, NULL, NODE_OPT_MEMORY},           \
	{"cpus", required_argument, NULL, NODE_OPT_CPUS},               \
	{"pids-limit", required_argument, NULL, NODE_OPT_PIDS}
/* clang-format on */

#define NODE_CONTAINER_HELP                                                               \
	"  -e, --env NAME[=VALUE]     set an environment variable, or pass one on\n"      \
	"      --entrypoint PROGRAM   run this in place of the image's entry point\n"     \
	"  -w, --workdir DIR          working directory in the container\n"               \
	"  -u, --user USER[:GROUP]    run as this user of the image\n"                    \
	"  -v, --volume SRC:DST[:ro]  mount a directory or file of this machine\n"        \
	"      --tmpfs DST[:OPTIONS]  mount a tmpfs (size=64m,mode=1777)\n"               \
	"      --network host|none    the host's network, or none (default: none)\n"      \
	"      --hostname NAME        host name in the container\n"                       \
	"  -t, --tty                  give the container a terminal\n"                    \
	"      --ulimit NAME=N[:MAX]  a resource limit of each process, as nofile=1024\n" \
	"      --cap-add CAPABILITY   beyond the default ones, or ALL\n"                  \
	"      --cap-drop CAPABILITY  less than the default ones, or ALL\n"               \
	"      --memory SIZE          limits of the container: memory, as 512m;\n"        \
	"      --cpus NUMBER          CPU time, as 1.5 CPUs;\n"                           \
	"      --pids-limit NUMBER    processes\n"

#define NODE_IMAGE_HELP                                                                            \
	"      --view KIND            how store paths appear: auto (default), erofs-file,\n"       \
	"                             erofs-loop or bind; nacre --verbose says which it was\n"     \
	"      --source URL           ask this Nix cache or nacre server for store paths first, "  \
	"or\n"                                                                                     \
	"                             docker://REPOSITORY, a registry with package artifacts\n"    \
	"      --host-store DIR|none  root of this machine's own Nix store, whose paths are\n"     \
	"                             used where they are (default: /)\n"                          \
	"      --require-signatures   refuse images with store paths that no trusted key signed\n" \
	"      --trusted-key KEY      such a key, as name:base64\n"                                \
	"      --pull POLICY          when to ask a registry: missing (default), newer, always "   \
	"or\n"                                                                                     \
	"                             never\n"                                                     \
	"      --platform OS/ARCH     which image of an index\n"                                   \
	"      --root DIR             where this node keeps paths and layers (" NODE_ROOT_DEFAULT  \
	")\n"                                                                                      \
	"      --config FILE          the node's configuration (" NODE_CONFIG_DEFAULT ")\n"        \
	"      --authfile FILE        credentials for registries\n"                                \
	"      --insecure             plain HTTP, or unverified TLS, to the registry\n"

/* Takes an option of the tables above: 0, or an exit code. */
int node_args_take(struct node_args *a, int option, const char *value);

/* Reads the configuration; what the command line says goes before it. */
int node_args_load(struct node_args *a, struct err *err);
/* Without privileges, or with --rootless: enters name spaces of its own; the default of --root is then
 * in the user's home. After node_args_load(), before any thread is started. */
int node_args_enter(struct node_args *a, struct err *err);

/* What the configuration and the options name as sources. After node_args_load(). */
struct node_sources *node_args_sources(const struct node_args *a);

/* The image that `ref` names, pulled as the policy says. */
int node_args_find_image(struct node_image *ret, struct node_store *store, const char *ref,
			 const struct node_args *a, struct err *err);

/* For container_options.report: a line on stderr with --verbose. */
void node_report_view(const struct view_mounts *mounts);

#endif
