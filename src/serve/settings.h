/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything that an operator can decide about the server: the configuration file, read and checked.
 *
 * A `struct settings` is immutable once the server has it. SIGHUP reads another and puts it in its
 * place; requests in progress keep theirs (req->settings) until they end. Each section belongs to
 * the file of its module, which reads, checks and frees it.
 */
#ifndef NACRE_SERVE_SETTINGS_H
#define NACRE_SERVE_SETTINGS_H

#include <stdatomic.h>

#include <nacre/err.h>
#include <nacre/pathinfo.h>

#include "config/config.h"
#include "serve/audit.h"
#include "serve/auth.h"
#include "serve/tls.h"
#include "serve/upstream-settings.h"
#include "serve/webhook.h"
#include "store/store.h"
#include "store/upkeep.h"

/* One name space (SPEC nacre 1): the binary cache under /NAME/ and the repositories NAME/…. */
struct view_settings {
	const char *name; /* "" is the root, else "team" or "team/sub" */
	char *prefix;     /* owned; "", "team/" */
	size_t name_len;
	const char *store_dir;      /* NULL: the first client decides ("auto") */
	struct public_key *trusted; /* owned */
	size_t n_trusted, trusted_cap;
	struct secret_key *signing; /* owned */
	size_t n_signing, signing_cap;
	bool sign_images, require_signatures;
	bool mount_without_from; /* a blob that any repository of the view has is mounted */
	enum store_sparse sparse;
	int priority;
	struct upstream_list upstreams;
	struct store_view *view; /* borrowed; the server opens it */
};

/* What one client may ask of the server; see docs/configuration.md for the defaults. */
struct limit_settings {
	unsigned connections_max;        /* per listening address */
	unsigned client_connections_max; /* per listening address and client */
	unsigned client_rate;            /* requests a second of one client; 0: any */
	unsigned client_burst;           /* requests at once, beyond the rate */
	unsigned idle_timeout_s;  /* between requests, and for the head of a request to arrive */
	unsigned stall_timeout_s; /* a transfer that does not move at all */
	unsigned slow_timeout_s;  /* a transfer slower than 1 KiB/s over so long a time */
	uint64_t manifest_max_bytes;
	uint64_t body_max_bytes; /* of a blob or NAR; UINT64_MAX: no limit */
};

struct settings {
	_Atomic unsigned refs;
	uint64_t serial;     /* no two have the same */
	struct config *tree; /* owned; the texts of all sections */

	/* Looked at when the server starts, and then no more. */
	const char *data;    /* NULL: not said */
	const char **listen; /* owned array */
	size_t n_listen;
	struct store_options store; /* without the root view */

	bool allow_write;  /* writes from anywhere, not from this machine alone */
	bool access_log;   /* one line a request */
	bool log_json;     /* and that as JSON */
	bool metrics_open; /* to everybody, not to this machine alone */
	unsigned drain_s;  /* for requests in progress after SIGTERM */
	struct limit_settings limits;
	struct view_settings *views; /* owned; the first is the root */
	size_t n_views;
	struct store_rules rules; /* keep-settings.h */
	struct tls_settings tls;
	struct auth_settings auth;
	struct access_settings access;
	struct audit_settings audit;
	struct webhook_settings webhooks;
	/* Sections of other modules: `struct X_settings x;`, read by X_settings_read(). */
};

/* Takes over `tree`, also on failure. */
int settings_read(struct settings **ret, struct config *tree, struct err *err);
struct settings *settings_ref(struct settings *s);
void settings_unref(struct settings *s); /* NULL is nothing */

/* The options of the store's view. Valid as long as `v`. */
struct store_view_options view_settings_options(const struct view_settings *v);
/* Opens the views in the store. */
int settings_open_views(struct settings *s, struct store *store, struct err *err);
/* The view with the longest name that `path` ("team/sub/app/x", without a slash in front) lies
 * in; the root if there is none. */
const struct view_settings *settings_view(const struct settings *s, struct slice path);

#endif
