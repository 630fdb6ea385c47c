/* SPDX-License-Identifier: Apache-2.0 */
/* Logs, debug infos, realisations and build traces from the cache upstreams of a view: passed on and
 * kept as they are. What is signed in them is for the clients to check. */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "net/cache.h"
#include "serve/upstream-internal.h"

enum { DOCUMENT_MAX = 64 << 20 }; /* bytes */

/* NULL: nobody sends these. Listings are made from the NAR. */
static const char *directory_of(enum store_tree tree)
{
	static const char *const directories[STORE_TREES] = {
		[STORE_LOG] = "log",
		[STORE_DEBUGINFO] = "debuginfo",
		[STORE_REALISATION] = "realisations",
		[STORE_BUILD_TRACE] = "build-trace-v2",
	};

	return directories[tree];
}

static int ask_one(const struct upstream_ask *ask, const struct upstream_settings *up,
		   const char *name, struct buf *ret, struct err *err)
{
	struct cache *c;
	int r = upstream_take_cache(up, ask->view->store_dir, &ask->upstreams->flights.stopping, &c,
				    err);

	if (r < 0)
		return r;
	buf_release(ret);
	*ret = BUF_INIT(DOCUMENT_MAX);
	r = cache_get_file(c, name, DOCUMENT_MAX, ret, err);
	upstream_give_cache(up, c, r);
	return r;
}

static int ask_all(const struct upstream_ask *ask, const char *name, struct buf *ret,
		   struct err *err)
{
	const struct upstream_list *l = &ask->view->upstreams;
	struct err down = ERR_INIT;

	for (size_t i = 0; i < l->len; i++) {
		const struct upstream_settings *up = &l->items[i];
		struct err why = ERR_INIT;
		int r;

		if (up->kind != UPSTREAM_CACHE)
			continue;
		r = ask_one(ask, up, name, ret, &why);
		if (r == 0)
			return 0;
		if (r == E_NOTFOUND)
			continue;
		log_warn("upstream %s: %s", up->name, why.text);
		if (r != E_DENIED && r != E_USAGE && !up->optional && !down.code)
			down = why;
	}
	if (down.code)
		return err_set(err, E_NET, "an upstream could not be asked for %s: %s", name,
			       down.text);
	return err_set(err, E_NOTFOUND, "neither this cache nor its upstreams have %s", name);
}

static int fetch(const struct upstream_ask *ask, enum store_tree tree, const char *name,
		 const char *address, struct err *err)
{
	cleanup_buf struct buf text = BUF_INIT(DOCUMENT_MAX);
	struct store_put *put = NULL;
	int r = ask_all(ask, address, &text, err);

	if (r == 0)
		r = store_document_put(ask->view->view, tree, name, NULL, &put, err);
	if (r == 0 && text.len)
		r = store_put_write(put, text.data, text.len, err);
	if (r == 0)
		r = store_put_commit(put, err);
	store_put_free(put);
	return r;
}

int upstream_document(const struct upstream_ask *ask, enum store_tree tree, const char *name,
		      struct err *err)
{
	struct upstreams *u = ask->upstreams;
	const char *directory = directory_of(tree);
	cleanup_free char *key = NULL, *address = NULL, *where = NULL, *text = NULL;
	struct flight *f;
	bool mine;
	int r;

	if (!directory || !ask->view->upstreams.len)
		return err->code;
	address = xasprintf("%s/%s", directory, name);
	key = xasprintf("d/%s/%s", ask->view->name, address);
	if (known_find(u, key, false, &where, &text))
		return err_set(err, E_NOTFOUND, "%s", text);
	f = flights_join(&u->flights, key, &mine);
	if (mine) {
		struct err why = ERR_INIT;

		r = fetch(ask, tree, name, address, &why);
		if (r == E_NOTFOUND)
			known_set(u, key, NULL, why.text, ask->view->upstreams.negative_ttl_ms);
		flight_end(f, r < 0 ? r : 0, &why);
	}
	r = flight_wait(f, err);
	flight_unref(f);
	return r;
}
