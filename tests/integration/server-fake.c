/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server over a store in memory, for tests that need faults. Prints its address; ends on SIGTERM, and with its
 * standard input.
 *
 *	fake-server [listen=ADDRESS] [idle=S] [stall=S] [slow=S] [connections=N] [log=0|1] [write=0|1]
 */
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <nacre/encode.h>

#include "base/mem.h"
#include "serve/server.h"
#include "serve/settings.h"
#include "store/store.h"

/* The number behind `name`= among the arguments. */
static unsigned argument(char **argv, const char *name, unsigned otherwise)
{
	size_t n = strlen(name);
	uint64_t number;

	for (; *argv; argv++) {
		if (strncmp(*argv, name, n) != 0 || (*argv)[n] != '=')
			continue;
		if (parse_u64(&number, slice_str(*argv + n + 1)) < 0)
			exit(2);
		return (unsigned)number;
	}
	return otherwise;
}

/* Readable at SIGTERM. Called before there are threads: a handler would run in any of them, and who waits in another
 * would not hear of it. */
static int watch_signals(void)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

/* The defaults with what the arguments say. */
static struct settings *read_settings(int argc, char **argv)
{
	static const struct {
		const char *argument, *key;
	} limits[] = {
		{"idle", "idle-timeout"},
		{"stall", "stall-timeout"},
		{"slow", "slow-timeout"},
		{"connections", "connections"},
	};
	struct config *tree = config_new(), *map = NULL;
	struct settings *settings;
	struct err err = ERR_INIT;

	config_put(tree, "listen", "127.0.0.1:0");
	for (int i = 1; i < argc; i++)
		if (strncmp(argv[i], "listen=", 7) == 0)
			config_put(tree, "listen", argv[i] + 7);
	config_make_map(tree, "limits", &map, &err);
	config_put(map, "body", "256MiB");
	for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
		unsigned n = argument(argv, limits[i].argument, UINT_MAX);
		char text[24];

		snprintf(text, sizeof(text), "%u", n);
		if (n != UINT_MAX)
			config_put(map, limits[i].key, text);
	}
	config_put(tree, "access-log", argument(argv, "log", 1) ? "true" : "false");
	config_put(tree, "allow-write", argument(argv, "write", 0) ? "true" : "false");
	if (settings_read(&settings, tree, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		exit(2);
	}
	return settings;
}

int main(int argc, char **argv)
{
	struct pollfd ends[] = {
		{.fd = watch_signals(), .events = POLLIN},
		{.fd = STDIN_FILENO, .events = POLLIN},
	};
	struct settings *settings = read_settings(argc, argv);
	struct store *store = NULL;
	struct server *server = NULL;
	struct err err = ERR_INIT;

	if (store_open(&store, "", NULL, &err) < 0)
		return 1;
	if (server_start(&server, store, settings, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	printf("%s\n", server_address(server, 0));
	fflush(stdout);
	while (poll(ends, ARRAY_LEN(ends), -1) < 0)
		;
	server_stop(server, argument(argv, "drain", 10000));
	store_close(store);
	settings_unref(settings);
	return 0;
}
