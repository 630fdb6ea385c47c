/* SPDX-License-Identifier: Apache-2.0 */
/* What operators' programs ask for: health, readiness, metrics. */
#include "serve/metrics.h"
#include "serve/nix.h"
#include "serve/server-internal.h"

enum { READY_CHECK_US = 2000000 };

static void health_end(struct request *req)
{
	respond_plain(req, 200, "ok");
}

/* Can the store be written? Asked of it every two seconds at most. */
static bool store_is_ready(struct server *server, char *ret_why, size_t size)
{
	struct err err = ERR_INIT;
	bool ready;

	pthread_mutex_lock(&server->ready_lock);
	if (clock_us() - server->ready_checked_us > READY_CHECK_US) {
		server->ready_why[0] = '\0';
		if (store_probe(server->store, &err) < 0)
			snprintf(server->ready_why, sizeof(server->ready_why), "%s", err.text);
		server->ready_checked_us = clock_us();
	}
	ready = !server->ready_why[0];
	snprintf(ret_why, size, "%s", server->ready_why);
	pthread_mutex_unlock(&server->ready_lock);
	return ready;
}

static void ready_end(struct request *req)
{
	char why[ERR_TEXT_MAX];

	if (atomic_load(&req->server->draining))
		respond_plain(req, 503, "the server is about to end");
	else if (store_is_ready(req->server, why, sizeof(why)))
		respond_plain(req, 200, "ok");
	else
		respond_plain(req, 503, "the store cannot be written: %s", why);
}

static void metrics_end(struct request *req)
{
	cleanup_buf struct buf text = {0};

	metrics_format(req->server, &text);
	respond_buf(req, 200, "text/plain; version=0.0.4; charset=utf-8", &text);
}

const struct handler health_get = {.end = health_end, .recall = health_end};
const struct handler ready_get = {.end = ready_end};
const struct handler metrics_get = {.end = metrics_end};
