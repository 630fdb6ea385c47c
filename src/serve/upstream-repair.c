/* SPDX-License-Identifier: Apache-2.0 */
/* What a check found damaged, again from upstream. */
#include <string.h>

#include "serve/admin.h"
#include "serve/server-internal.h"
#include "serve/settings.h"
#include "serve/upstream.h"

static const struct view_settings *find_view(const struct settings *s,
					     const struct store_view *view)
{
	for (size_t i = 0; i < s->n_views; i++)
		if (s->views[i].view == view)
			return &s->views[i];
	return NULL;
}

/* It is stored, and so whole, when its flight has ended. */
static int fetch(const struct upstream_ask *ask, const struct store_repair_request *request,
		 struct err *err)
{
	char hash_part[STORE_HASH_LEN + 1] = "";
	struct flight *f = NULL;
	int r;

	if (request->kind == STORE_REPAIR_BLOB) {
		if (!upstream_covers(ask->view, request->repository))
			return err_set(err, E_NOTFOUND, "no upstream has %s", request->repository);
		r = upstream_blob(ask, request->repository, request->hash, &f, err);
	} else {
		memcpy(hash_part, request->path, STORE_HASH_LEN);
		r = upstream_nar(ask, hash_part, request->hash, &f, err);
	}
	if (r == 0)
		r = flight_wait(f, err);
	flight_unref(f);
	return r;
}

static int repair(void *arg, const struct store_repair_request *request, struct err *err)
{
	struct server *server = arg;
	struct settings *settings = server_settings(server);
	struct upstream_ask ask = {server->upstreams, settings, NULL};
	int r;

	ask.view = find_view(settings, request->view);
	if (!ask.view || !ask.view->upstreams.len)
		r = err_set(err, E_NOTFOUND, "the view has no upstream");
	else
		r = fetch(&ask, request, err);
	settings_unref(settings);
	return r;
}

void upstream_repair_enable(struct server *server)
{
	store_set_repair(server->store, repair, server);
}
