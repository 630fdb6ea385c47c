/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <nacre/encode.h>
#include <nacre/pathinfo.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "serve/server.h"
#include "store/store.h"

enum { MAINTAIN_S = 300, DRAIN_DEFAULT_S = 30, DRAIN_MAX_S = 24 * 3600, KEY_FILE_MAX = 64 << 10 };

#define LISTEN_DEFAULT "127.0.0.1:5000"

static const char help[] =
	"Usage: nacre serve --data DIR [OPTION]...\n"
	"\n"
	"Serves an OCI registry (/v2/) and a Nix binary cache (/nix-cache-info) over one store:\n"
	"  nix copy --to http://" LISTEN_DEFAULT " PATH; podman pull " LISTEN_DEFAULT "/nix:HASH\n"
	"\n"
	"      --data DIR          where everything is kept; made if it is missing\n"
	"      --listen ADDRESS    HOST:PORT, [IPv6]:PORT, :PORT (everywhere) or unix:PATH; may "
	"be\n"
	"                          repeated (default: " LISTEN_DEFAULT ")\n"
	"      --allow-write       take writes from anywhere; without it, from this machine alone\n"
	"      --store-dir DIR     the Nix store dir of the cache (default: /nix/store)\n"
	"      --trusted-key KEY   a public key (name:base64), or @FILE with one a line, whose\n"
	"                          signatures bind store paths; may be repeated\n"
	"      --priority N        of the cache in nix-cache-info; the lowest is asked first\n"
	"                          (default: 30)\n"
	"      --drain SECONDS     how long requests in progress may go on after SIGTERM\n"
	"                          (default: 30)\n"
	"      --no-access-log     no line on stderr for each request\n";

struct serve_options {
	const char *data;    /* borrowed from argv */
	const char **listen; /* owned; items borrowed from argv */
	size_t n_listen, listen_cap;
	struct public_key *keys; /* owned */
	size_t n_keys, keys_cap;
	unsigned drain_s;
	struct store_options store;
	struct server_options server;
};

static void options_release(struct serve_options *o)
{
	free(o->listen);
	free(o->keys);
}

static int add_key(struct serve_options *o, struct slice text, struct err *err)
{
	array_grow(o->keys, o->keys_cap, o->n_keys + 1);
	if (public_key_parse(&o->keys[o->n_keys], text) < 0)
		return err_set(err, E_USAGE, "'%.*s' is no public key: say name:base64",
			       (int)(text.len < 200 ? text.len : 200), (const char *)text.data);
	o->n_keys++;
	return 0;
}

static int add_key_file(struct serve_options *o, const char *path, struct err *err)
{
	cleanup_buf struct buf text = BUF_INIT(KEY_FILE_MAX);
	int r = read_file_at(AT_FDCWD, path, KEY_FILE_MAX, &text, err);
	struct slice rest = buf_slice(&text);

	while (r == 0 && rest.len) {
		const uint8_t *end = memchr(rest.data, '\n', rest.len);
		struct slice line =
			slice_make(rest.data, end ? (size_t)(end - rest.data) : rest.len);

		slice_advance(&rest, line.len + (end ? 1 : 0));
		if (line.len && line.data[0] != '#')
			r = add_key(o, line, err);
	}
	return r < 0 ? err_wrap(err, "trusted keys in %s", path) : 0;
}

static int read_number(const char *text, const char *option, unsigned max, unsigned *ret,
		       struct err *err)
{
	uint64_t n;

	if (parse_u64(&n, slice_str(text)) < 0 || n > max)
		return err_set(err, E_USAGE, "%s takes a number up to %u, not '%s'", option, max,
			       text);
	*ret = (unsigned)n;
	return 0;
}

enum {
	OPT_DATA = CLI_OPT,
	OPT_LISTEN,
	OPT_ALLOW_WRITE,
	OPT_STORE_DIR,
	OPT_TRUSTED_KEY,
	OPT_PRIORITY,
	OPT_DRAIN,
	OPT_NO_ACCESS_LOG,
};

static const struct option options[] = {
	{"data", required_argument, NULL, OPT_DATA},
	{"listen", required_argument, NULL, OPT_LISTEN},
	{"allow-write", no_argument, NULL, OPT_ALLOW_WRITE},
	{"store-dir", required_argument, NULL, OPT_STORE_DIR},
	{"trusted-key", required_argument, NULL, OPT_TRUSTED_KEY},
	{"priority", required_argument, NULL, OPT_PRIORITY},
	{"drain", required_argument, NULL, OPT_DRAIN},
	{"no-access-log", no_argument, NULL, OPT_NO_ACCESS_LOG},
	{0},
};

static int read_option(struct serve_options *o, int c, struct err *err)
{
	unsigned n;
	int r = 0;

	switch (c) {
	case OPT_DATA:
		o->data = optarg;
		break;
	case OPT_LISTEN:
		array_grow(o->listen, o->listen_cap, o->n_listen + 1);
		o->listen[o->n_listen++] = optarg;
		break;
	case OPT_ALLOW_WRITE:
		o->server.allow_write = true;
		break;
	case OPT_STORE_DIR:
		o->store.root.store_dir = optarg;
		break;
	case OPT_TRUSTED_KEY:
		r = optarg[0] == '@' ? add_key_file(o, optarg + 1, err)
				     : add_key(o, slice_str(optarg), err);
		break;
	case OPT_PRIORITY:
		r = read_number(optarg, "--priority", 1000000, &n, err);
		if (r == 0)
			o->store.root.priority = (int)n;
		break;
	case OPT_DRAIN:
		r = read_number(optarg, "--drain", DRAIN_MAX_S, &o->drain_s, err);
		break;
	case OPT_NO_ACCESS_LOG:
		o->server.access_log = false;
		break;
	}
	return r;
}

static int read_options(struct serve_options *o, int argc, char **argv, struct err *err)
{
	int c, r = 0;

	while (r == 0 && (c = cli_getopt(argc, argv, "", options, help)) != -1)
		r = read_option(o, c, err);
	if (r < 0)
		return r;
	cli_operands(argc, argv, 0, 0, help);
	if (!o->data)
		return err_set(err, E_USAGE, "say where to keep everything: --data DIR");
	if (store_dir_check(slice_str(o->store.root.store_dir)) < 0)
		return err_set(err, E_USAGE, "--store-dir '%s' is no store dir",
			       o->store.root.store_dir);
	if (!o->n_listen) {
		array_grow(o->listen, o->listen_cap, 1);
		o->listen[o->n_listen++] = LISTEN_DEFAULT;
	}
	o->store.root.trusted = o->keys;
	o->store.root.n_trusted = o->n_keys;
	o->server.listen = o->listen;
	o->server.n_listen = o->n_listen;
	return 0;
}

/* Tells systemd (Type=notify), if it started us. */
static void notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	size_t len = path ? strlen(path) : 0;
	cleanup_fd int fd = -1;

	if (!len || len >= sizeof(un.sun_path))
		return;
	memcpy(un.sun_path, path, len);
	if (path[0] == '@')
		un.sun_path[0] = 0; /* abstract */
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&un,
			     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0)
		log_warn("cannot notify %s: %s", path, strerror(errno));
}

/* Until a signal says to stop. */
static void wait_for_end(struct store *store, const sigset_t *signals)
{
	const struct timespec period = {MAINTAIN_S, 0};

	for (;;) {
		struct err err = ERR_INIT;
		int got = sigtimedwait(signals, NULL, &period);

		if (got == SIGTERM || got == SIGINT)
			return;
		if (store_maintain(store, &err) < 0)
			log_error("%s", err.text);
	}
}

static int serve(const struct serve_options *o, const sigset_t *signals, struct err *err)
{
	struct server_options server_options = o->server;
	struct server *server = NULL;
	struct store *store = NULL;
	int r = store_open(&store, o->data, &o->store, err);

	if (r < 0)
		return r;
	server_options.store = store;
	r = server_start(&server, &server_options, err);
	if (r == 0) {
		for (size_t i = 0; i < o->n_listen; i++)
			printf("%s\n", server_address(server, i));
		fflush(stdout);
		notify("READY=1");
		wait_for_end(store, signals);
		notify("STOPPING=1");
		server_stop(server, o->drain_s * 1000);
	}
	store_close(store);
	return r;
}

int cmd_serve(int argc, char **argv)
{
	struct serve_options o = {
		.drain_s = DRAIN_DEFAULT_S,
		.store = STORE_OPTIONS_INIT,
		.server = SERVER_OPTIONS_INIT,
	};
	struct err err = ERR_INIT;
	sigset_t signals;
	int r = read_options(&o, argc, argv, &err);

	/* Every thread inherits this: the signals wait for the main one. */
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	if (r == 0)
		r = serve(&o, &signals, &err);
	options_release(&o);
	return r < 0 ? cli_fail(&err) : CLI_OK;
}
