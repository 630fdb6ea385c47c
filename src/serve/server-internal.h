/* SPDX-License-Identifier: Apache-2.0 */
/* The server itself, for the files of src/serve. */
#ifndef NACRE_SERVE_SERVER_INTERNAL_H
#define NACRE_SERVE_SERVER_INTERNAL_H

#include "base/log.h"
#include "base/mem.h"
#include "serve/admin.h"
#include "serve/audit.h"
#include "serve/auth.h"
#include "serve/block-pool.h"
#include "serve/conn.h"
#include "serve/http-syntax.h"
#include "serve/metrics.h"
#include "serve/rate.h"
#include "serve/request.h"
#include "serve/settings.h"

/* One listening address. */
struct listener {
	struct server *server;     /* which it is of */
	struct MHD_Daemon *daemon; /* owned */
	_Atomic unsigned connections;
	unsigned connections_max;
	bool tls;
	char *name;      /* owned; see server_address() */
	int fd;          /* owned; the acceptor's while that runs */
	char *unix_path; /* owned; removed at the end; or NULL */
};

struct server {
	struct store *store;       /* borrowed */
	struct auth *auth;         /* owned */
	struct audit *audit;       /* owned */
	struct workers *workers;   /* owned */
	struct answers *answers;   /* owned */
	struct block_pool *blocks; /* owned */
	struct webhooks *webhooks; /* owned */
	pthread_rwlock_t settings_lock;
	struct settings *settings; /* a reference; under settings_lock */
	struct connection_set connections;
	struct listener *listeners; /* owned */
	size_t n_listeners;
	struct acceptor *acceptor; /* owned */
	_Atomic bool draining;     /* takes no more connections */
	_Atomic bool ending;       /* the time for what was under way is over */
	bool lenient_lines;        /* libmicrohttpd leaves it to us how lines end (request.c) */
	struct metrics *metrics;   /* owned */
	struct rate_table *rates;  /* owned */
	uint32_t id_salt;          /* of this process, in the ids of its requests */
	_Atomic uint64_t id_next;
	pthread_mutex_t ready_lock;
	int64_t ready_checked_us;     /* under ready_lock */
	char ready_why[ERR_TEXT_MAX]; /* under ready_lock; empty: the store can be written */
	struct upstreams *upstreams;  /* owned */
	admin_answer_fn *admin;       /* NULL: there is no /admin/ */
};

/* A reference to the settings that hold now. */
struct settings *server_settings(struct server *server);

#endif
