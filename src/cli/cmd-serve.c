/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include <nacre/encode.h>

#include "base/libcrypto.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/processors.h"
#include "cli/cli.h"
#include "serve/admin.h"
#include "serve/server.h"
#include "serve/settings.h"
#include "store/store.h"

enum { MAINTAIN_S = 60, MAINTAIN_PAUSE_NS = 100000000 };

static const char help[] =
	"Usage: nacre serve [--config FILE] [--data DIR] [OPTION]...\n"
	"\n"
	"Serves an OCI registry (/v2/) and a Nix binary cache (/nix-cache-info) over one store:\n"
	"  nix copy --to http://127.0.0.1:5000 PATH; podman pull 127.0.0.1:5000/nix:HASH\n"
	"\n"
	"      --config FILE       the configuration; docs/configuration.md lists its keys\n"
	"      --set KEY=VALUE     any key of the configuration, over what the file says; may be\n"
	"                          repeated: --set limits.body=1GiB --set views.team.priority=20\n"
	"      --check             reads the configuration, says what is wrong with it, and ends\n"
	"      --data DIR          where everything is kept; made if it is missing\n"
	"      --listen ADDRESS    HOST:PORT, [IPv6]:PORT, :PORT (everywhere) or unix:PATH; may "
	"be\n"
	"                          repeated (default: 127.0.0.1:5000)\n"
	"      --allow-write       take writes from anywhere; without it, from this machine alone\n"
	"      --store-dir DIR     the Nix store dir of the cache (default: /nix/store)\n"
	"      --trusted-key KEY   a public key (name:base64), or @FILE with one a line, whose\n"
	"                          signatures bind store paths; may be repeated\n"
	"      --priority N        of the cache in nix-cache-info; the lowest is asked first\n"
	"                          (default: 30)\n"
	"      --drain SECONDS     how long requests in progress may go on after SIGTERM\n"
	"                          (default: 30)\n"
	"      --no-access-log     no line on stderr for each request\n"
	"\n"
	"SIGHUP reads the configuration again; SIGTERM ends the server when the requests in\n"
	"progress have.\n";

enum {
	OPT_CONFIG = CLI_OPT,
	OPT_SET,
	OPT_CHECK,
	OPT_DATA,
	OPT_LISTEN,
	OPT_ALLOW_WRITE,
	OPT_STORE_DIR,
	OPT_TRUSTED_KEY,
	OPT_PRIORITY,
	OPT_DRAIN,
	OPT_NO_ACCESS_LOG,
};

static const struct option options[] = {
	{"config", required_argument, NULL, OPT_CONFIG},
	{"set", required_argument, NULL, OPT_SET},
	{"check", no_argument, NULL, OPT_CHECK},
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

/* The command line, as it stands over the file each time that one is read. */
struct override {
	int option;
	const char *value; /* borrowed from argv */
};

struct command_line {
	const char *config; /* borrowed from argv */
	bool check;
	struct override *overrides; /* owned */
	size_t n;
};

static void read_options(struct command_line *line, int argc, char **argv)
{
	int c;

	/* More than there can be. */
	line->overrides = xcalloc((size_t)argc, sizeof(*line->overrides));
	while ((c = cli_getopt(argc, argv, "", options, help)) != -1) {
		if (c == OPT_CONFIG)
			line->config = optarg;
		else if (c == OPT_CHECK)
			line->check = true;
		else
			line->overrides[line->n++] = (struct override){c, optarg};
	}
	cli_operands(argc, argv, 0, 0, help);
}

/* The options that are short for a key. */
static const struct {
	int option;
	const char *map, *key;
	const char *value; /* NULL: the option's */
	bool list;
} shorts[] = {
	{OPT_DATA, NULL, "data", NULL, false},
	{OPT_LISTEN, NULL, "listen", NULL, true},
	{OPT_ALLOW_WRITE, NULL, "allow-write", "true", false},
	{OPT_STORE_DIR, "root", "store-dir", NULL, false},
	{OPT_TRUSTED_KEY, "root", "trusted-keys", NULL, true},
	{OPT_PRIORITY, "root", "priority", NULL, false},
	{OPT_DRAIN, NULL, "drain", NULL, false},
	{OPT_NO_ACCESS_LOG, NULL, "access-log", "false", false},
};

static int override_apply(struct config *tree, const struct override *o, bool *seen,
			  struct err *err)
{
	struct config *map = tree;
	const char *value;
	size_t i = 0;
	int r;

	if (o->option == OPT_SET)
		return config_set(tree, slice_str(o->value), err);
	while (shorts[i].option != o->option)
		i++;
	value = shorts[i].value ? shorts[i].value : o->value;
	r = shorts[i].map ? config_make_map(tree, shorts[i].map, &map, err) : 0;
	if (r < 0)
		return r;
	/* The first one stands for what the file says, further ones beside it. */
	if (shorts[i].list && seen[i])
		config_add(map, shorts[i].key, value);
	else
		config_put(map, shorts[i].key, value);
	seen[i] = true;
	return 0;
}

static int load(struct settings **ret, const struct command_line *line, struct err *err)
{
	bool seen[ARRAY_LEN(shorts)] = {false};
	struct config *tree = NULL;
	int r = 0;

	if (line->config)
		r = config_read(&tree, line->config, err);
	else
		tree = config_new();
	for (size_t i = 0; i < line->n && r == 0; i++)
		r = override_apply(tree, &line->overrides[i], seen, err);
	if (r < 0) {
		config_free(tree);
		return r;
	}
	r = settings_read(ret, tree, err);
	if (r < 0 && !line->config)
		err->code = E_USAGE;
	return r;
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

static void reload(struct server *server, const struct command_line *line)
{
	struct settings *settings = NULL;
	struct err err = ERR_INIT;
	struct timespec now;
	char state[80];

	clock_gettime(CLOCK_MONOTONIC, &now);
	snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%lld",
		 (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
	notify(state);
	if (load(&settings, line, &err) < 0 || server_reload(server, settings, &err) < 0)
		log_error("the configuration stays as it was: %s", err.text);
	else
		log_info("the configuration was read again");
	settings_unref(settings);
	notify("READY=1");
}

/* How long to sleep: systemd wants to hear of us twice in WATCHDOG_USEC. */
static time_t period_s(void)
{
	const char *text = getenv("WATCHDOG_USEC");
	uint64_t us;

	if (!text || parse_u64(&us, slice_str(text)) < 0 || us / 2000000 >= MAINTAIN_S)
		return MAINTAIN_S;
	return us < 2000000 ? 1 : (time_t)(us / 2000000);
}

/* Between what many clients hold, glibc keeps what is free again: after an hour of load as much as is
 * in use. */
static void release_memory(void)
{
#ifdef M_ARENA_MAX
	malloc_trim(0);
#endif
}

/* Until a signal says to stop. */
static void run(struct server *server, struct store *store, const struct command_line *line,
		const sigset_t *signals)
{
	struct timespec period = {period_s(), 0};

	for (;;) {
		struct err err = ERR_INIT;
		int r, got = sigtimedwait(signals, NULL, &period);

		notify("WATCHDOG=1");

		if (got == SIGTERM || got == SIGINT)
			return;
		if (got == SIGHUP)
			reload(server, line);
		r = store_maintain(store, &err);
		if (r < 0)
			log_error("%s", err.text);
		/* Soon again while there is more to do. */
		if (r <= 0)
			release_memory();
		period = r > 0 ? (struct timespec){0, MAINTAIN_PAUSE_NS}
			       : (struct timespec){period_s(), 0};
	}
}

static int serve(struct settings *settings, const struct command_line *line,
		 const sigset_t *signals, struct err *err)
{
	struct store_options opening = settings->store;
	struct admin_server *admin = NULL;
	struct server *server = NULL;
	struct store *store = NULL;
	int r;

	if (!settings->data)
		return err_set(err, E_USAGE, "say where to keep everything: --data DIR");
	opening.root = view_settings_options(&settings->views[0]);
	opening.framing = STORE_FRAME_LATER;
	r = libcrypto_load(err);
	if (r >= 0)
		r = store_open(&store, settings->data, &opening, err);
	if (r < 0)
		return r;
	/* Before anybody can ask for a collection. */
	r = store_rules_set(store, &settings->rules, err);
	if (r == 0)
		r = admin_server_start(&admin, store, settings->data, err);
	if (r == 0)
		r = server_start(&server, store, settings, err);
	if (r == 0) {
		for (size_t i = 0; server_address(server, i); i++)
			printf("%s\n", server_address(server, i));
		fflush(stdout);
		upstream_repair_enable(server);
		admin_http_enable(server);
		notify("READY=1");
		run(server, store, line, signals);
		notify("STOPPING=1");
	}
	/* What the operator asked for may use the server. */
	admin_server_stop(admin);
	if (server)
		server_stop(server, settings->drain_s * 1000);
	store_close(store);
	return r;
}

/* Workers come and go, and glibc gives each an arena of its own, up to eight a processor, which keeps
 * what was free in it: 60 MiB after some uploads in place of 35. */
static void limit_arenas(void)
{
#ifdef M_ARENA_MAX
	int n = (int)processors_usable();

	mallopt(M_ARENA_MAX, n < 2 ? 2 : n);
#endif
}

int cmd_serve(int argc, char **argv)
{
	struct command_line line = {0};
	struct settings *settings = NULL;
	struct err err = ERR_INIT;
	sigset_t signals;
	int r;

	limit_arenas();
	read_options(&line, argc, argv);
	r = load(&settings, &line, &err);
	/* Every thread inherits this: the signals wait for the main one. */
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	if (r == 0 && line.check)
		printf("the configuration is good\n");
	else if (r == 0)
		r = serve(settings, &line, &signals, &err);
	settings_unref(settings);
	free(line.overrides);
	return r < 0 ? cli_fail(&err) : cli_finish(CLI_OK);
}
