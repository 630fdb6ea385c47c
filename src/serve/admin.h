/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an operator asks of a store: one request, some events, one result, all JSON. A server takes
 * requests on a socket in its data directory; where none runs, `nacre admin` has the same done
 * without a server.
 *
 * 	DATA/admin.sock    a unix socket, mode 0600; who connects must be root or the server's user
 *
 * A connection is one line of JSON there, {"command": "gc", …}, and lines back: objects with a key
 * that says what they are, the last of them {"result": …} or {"error": text, "code": name}. Who
 * hangs up cancels what he asked for.
 *
 * Commands and what they take:
 *
 * 	gc        dry-run                         {"gone": {kind, name, reason, bytes}}…
 * 	fsck      repair                          {"defect": text}…
 * 	backup    directory, copy
 * 	pin, unpin, pins   what, view             {"pin": {view, repository, reference, added}}…
 * 	delete    what, view
 * 	stats     repositories                    {"view": {…}}…, {"repository": {…}}…
 *
 * Whoever the rules give the right `admin` on something does with that, by HTTP and from anywhere, what
 * needs nothing of the machine (admin-http.c): GET /admin/pins, /admin/stats and /admin/gc (what would go),
 * POST /admin/pin, /admin/unpin and /admin/delete. Names of what is not his are not in the answers.
 *
 * Threads: admin_execute() by any; a server has a thread of its own for each connection.
 */
#ifndef NACRE_SERVE_ADMIN_H
#define NACRE_SERVE_ADMIN_H

#include <stdatomic.h>
#include <stdbool.h>

#include <jansson.h>

#include <nacre/err.h>

struct store;
struct server;

/* Where the lines go. */
struct admin_output {
	void (*line)(struct admin_output *o, json_t *line); /* borrowed */
	_Atomic bool cancel;                                /* the work ends soon */
};
/* Whom it is done for. */
struct admin_caller {
	/* May he see and change this? `name` as access_rights() takes it. */
	bool (*may)(void *arg, bool cache, const char *name);
	void *arg;
	bool everything; /* sums over all, too */
};
/* Does what `request` says, and writes all lines but that of an error. `caller` NULL: whoever has the
 * machine. */
typedef int admin_answer_fn(struct store *s, const json_t *request,
			    const struct admin_caller *caller, struct admin_output *o,
			    struct err *err);
admin_answer_fn admin_answer;

/* Does what `request` says. The last line is written here, too. Returns 0 or what went wrong, which
 * is in the last line then. */
int admin_execute(struct store *s, const json_t *request, struct admin_output *o);

enum { ADMIN_REQUEST_MAX = 64 << 10, ADMIN_CONNECTIONS_MAX = 8 };
#define ADMIN_SOCKET "admin.sock"

struct admin_server;
/* Listens in the data directory. */
int admin_server_start(struct admin_server **ret, struct store *s, const char *data,
		       struct err *err);
/* Cancels what goes on, and waits for its end. NULL is nothing. */
void admin_server_stop(struct admin_server *a);

/* From now on the server answers /admin/. */
void admin_http_enable(struct server *server);

/* From now on `fsck --repair` asks the upstreams of the server for what is damaged, as long as
 * there is a server: admin_server_stop() comes before its end. */
void upstream_repair_enable(struct server *server);

/* Connects to the server of a data directory; returns a descriptor. E_NOTFOUND: none runs. */
int admin_connect(const char *data, struct err *err);

#endif
