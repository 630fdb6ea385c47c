/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server over a store in memory, for tests that need faults. Prints its address; ends on SIGTERM.
 *
 *	fake-server [listen=ADDRESS] [idle=S] [stall=S] [slow=S] [connections=N] [log=0|1] [write=0|1]
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <nacre/encode.h>

#include "serve/server.h"
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

static volatile sig_atomic_t stopped;

static void stop(int signal_number)
{
	(void)signal_number;
	stopped = 1;
}

int main(int argc, char **argv)
{
	const char *listen = "127.0.0.1:0";
	struct server_options options = SERVER_OPTIONS_INIT;
	struct sigaction action = {.sa_handler = stop};
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
	struct store *store = NULL;
	struct server *server = NULL;
	struct err err = ERR_INIT;

	signal(SIGPIPE, SIG_IGN);
	sigaction(SIGTERM, &action, NULL);
	if (store_open(&store, "", NULL, &err) < 0)
		return 1;
	options.store = store;
	for (int i = 1; i < argc; i++)
		if (strncmp(argv[i], "listen=", 7) == 0)
			listen = argv[i] + 7;
	options.listen = &listen;
	options.n_listen = 1;
	options.idle_timeout_s = argument(argv, "idle", options.idle_timeout_s);
	options.stall_timeout_s = argument(argv, "stall", options.stall_timeout_s);
	options.slow_timeout_s = argument(argv, "slow", options.slow_timeout_s);
	options.connections_max = argument(argv, "connections", options.connections_max);
	options.access_log = argument(argv, "log", 1);
	options.allow_write = argument(argv, "write", 0);
	options.body_max_bytes = 256 << 20;
	if (server_start(&server, &options, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	printf("%s\n", server_address(server, 0));
	fflush(stdout);
	while (!stopped && poll(&input, 1, -1) < 0)
		;
	server_stop(server, 10000);
	store_close(store);
	return 0;
}
