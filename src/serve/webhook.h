/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Webhooks: whoever wants to hear of pushes and deletes is sent a CloudEvent (SPEC cloudevents 1.0,
 * structured JSON over HTTP POST). Events wait in memory, a bounded number of them, for a thread of
 * their receiver's, which sends them; no request waits for it, and no receiver for another. What a
 * receiver does not take is tried again for some minutes, and what is given up is said in the log.
 *
 * Threads: any.
 */
#ifndef NACRE_SERVE_WEBHOOK_H
#define NACRE_SERVE_WEBHOOK_H

#include <stdbool.h>

#include <nacre/buf.h>
#include <nacre/err.h>

struct config;
struct request;
struct webhooks;

struct webhook {
	const char *url;
	struct buf secret; /* empty: not signed */
	struct strv repositories, caches;
};

struct webhook_settings {
	struct webhook *hooks; /* owned */
	size_t n;
};

int webhook_settings_read(struct webhook_settings *ret, struct config *root, struct err *err);
void webhook_settings_release(struct webhook_settings *s);

struct webhooks *webhooks_new(void);
/* What was not sent by then is given up. NULL is nothing. */
void webhooks_free(struct webhooks *w);
/* Copies `body`; refers to the settings, which hold the hook. */
struct settings;
void webhooks_submit(struct webhooks *w, struct settings *settings, const struct webhook *hook,
		     const char *body);
/* The answer is there; it tells whether something happened that somebody wants to hear of. */
void webhooks_request(struct webhooks *w, const struct request *req);

#endif
