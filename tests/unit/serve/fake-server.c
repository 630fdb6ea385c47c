/* SPDX-License-Identifier: Apache-2.0 */
/* The server over a store in memory, for tests that need faults. Prints its addresses; ends on
 * SIGTERM, or when its standard input ends. Usage: fake-server [IDLE_S [STALL_S [CONNECTIONS [LOG]]]] */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <nacre/encode.h>

#include "serve/server.h"
#include "store/store.h"

static unsigned argument(int argc, char **argv, int i, unsigned otherwise)
{
	uint64_t n = otherwise;

	if (i < argc && parse_u64(&n, slice_str(argv[i])) < 0)
		exit(2);
	return (unsigned)n;
}

static volatile sig_atomic_t stopped;

static void stop(int signal_number)
{
	(void)signal_number;
	stopped = 1;
}

int main(int argc, char **argv)
{
	static const char *const listen[] = {"127.0.0.1:0"};
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
	options.listen = listen;
	options.n_listen = 1;
	options.idle_timeout_s = argument(argc, argv, 1, options.idle_timeout_s);
	options.stall_timeout_s = argument(argc, argv, 2, options.stall_timeout_s);
	options.connections_max = argument(argc, argv, 3, options.connections_max);
	options.access_log = argument(argc, argv, 4, 1);
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
