/* SPDX-License-Identifier: Apache-2.0 */
/* Many narinfos at a time: breadth first, so that the latency is that of the depth of the graph
 * and not of its size. */
#include "base/mem.h"
#include "net/cache-internal.h"

/* Asked for already? Open addressing over hash parts, which are as good as random. */
struct seen {
	char (*keys)[STORE_HASH_LEN]; /* owned; all-zero: free */
	size_t len, cap;              /* cap is a power of two, or 0 */
};

enum { WALK_IN_FLIGHT = 64 /* requests; what else is wanted waits as a few bytes */ };

#define NO_REFERRER SIZE_MAX

/* One narinfo that is to be read. */
struct wanted {
	struct wanted *next;
	struct walk *walk;
	size_t referrer; /* who needs it, in walk->ret; or NO_REFERRER: the caller */
	char base[];     /* hash part, or whole base name */
};

struct walk {
	struct cache *cache;
	bool follow;
	struct narinfos *ret;
	struct seen seen;
	struct wanted *pending, **pending_tail;
	struct wanted *in_flight[WALK_IN_FLIGHT];
	size_t n_in_flight;
};

static size_t place_of(const struct seen *s, const char *key)
{
	uint64_t h = 14695981039346656037U;
	size_t i;

	for (i = 0; i < STORE_HASH_LEN; i++)
		h = (h ^ (uint8_t)key[i]) * 1099511628211U;
	for (i = h & (s->cap - 1); s->keys[i][0]; i = (i + 1) & (s->cap - 1)) {
		if (memcmp(s->keys[i], key, STORE_HASH_LEN) == 0)
			break;
	}
	return i;
}

static void seen_grow(struct seen *s)
{
	struct seen bigger = {.len = s->len, .cap = s->cap ? s->cap * 2 : 64};

	bigger.keys = xcalloc(bigger.cap, sizeof(*bigger.keys));
	for (size_t i = 0; i < s->cap; i++) {
		if (s->keys[i][0])
			memcpy(bigger.keys[place_of(&bigger, s->keys[i])], s->keys[i],
			       STORE_HASH_LEN);
	}
	free(s->keys);
	*s = bigger;
}

/* False if it was there. */
static bool seen_add(struct seen *s, const char *key)
{
	size_t i;

	if (s->len * 2 >= s->cap)
		seen_grow(s);
	i = place_of(s, key);
	if (s->keys[i][0])
		return false;
	memcpy(s->keys[i], key, STORE_HASH_LEN);
	s->len++;
	return true;
}

static int want(struct walk *w, const char *base, size_t referrer, struct err *err)
{
	size_t len = strlen(base);
	struct wanted *x;

	if (!seen_add(&w->seen, base))
		return 0;
	if (w->seen.len > CACHE_CLOSURE_MAX)
		return err_set(err, E_LIMIT, "%s: the closure has more than %d paths",
			       w->cache->name, CACHE_CLOSURE_MAX);
	x = xmalloc(sizeof(*x) + len + 1);
	*x = (struct wanted){.walk = w, .referrer = referrer};
	memcpy(x->base, base, len + 1);
	*w->pending_tail = x;
	w->pending_tail = &x->next;
	return 0;
}

static struct wanted *next_pending(struct walk *w)
{
	struct wanted *x = w->pending;

	w->pending = x->next;
	if (!w->pending)
		w->pending_tail = &w->pending;
	x->next = NULL;
	return x;
}

/* The text of a narinfo is there: keep it, and want what it refers to. */
static int take_text(struct wanted *x, struct slice text, struct err *err)
{
	struct walk *w = x->walk;
	struct narinfos *all = w->ret;
	struct narinfo n;
	int r = cache_check_narinfo(w->cache, text, x->base, &n, err);

	if (r < 0)
		return r;
	array_grow(all->items, all->cap, all->len + 1);
	all->items[all->len++] = n;
	for (size_t i = 0; w->follow && r == 0 && i < n.info.references.len; i++)
		r = want(w, n.info.references.items[i], all->len - 1, err);
	return r;
}

static int missing(const struct wanted *x, struct err *err)
{
	const struct walk *w = x->walk;

	if (!w->follow)
		return 0;
	if (x->referrer == NO_REFERRER)
		return err_set(err, E_NOTFOUND, "%s has no path %s", w->cache->name, x->base);
	return err_set(err, E_NOTFOUND, "%s has no path %s, which %s refers to", w->cache->name,
		       x->base, store_path_base(&w->ret->items[x->referrer].info.path));
}

static int pump(struct walk *w, struct err *err);

static int take_response(struct wanted *x, const struct http_response *resp, struct err *err)
{
	if (resp->status == 404 || resp->status == 410 || resp->status == 403)
		return missing(x, err);
	if (resp->status != 200)
		return http_status_err(resp, "read the cache", err);
	return take_text(x, buf_slice(&resp->body), err);
}

static int on_response(void *arg, struct http_response *resp, const struct err *failure,
		       struct err *err)
{
	struct wanted *x = arg;
	struct walk *w = x->walk;
	size_t at = 0;
	int r;

	while (w->in_flight[at] != x)
		at++;
	w->in_flight[at] = w->in_flight[--w->n_in_flight];
	if (failure) {
		*err = *failure;
		r = failure->code;
	} else {
		r = take_response(x, resp, err);
	}
	free(x);
	return r < 0 ? r : pump(w, err);
}

static int submit(struct walk *w, struct wanted *x, struct err *err)
{
	struct cache *c = w->cache;
	cleanup_free char *url = xasprintf("%s%.*s.narinfo", c->base, STORE_HASH_LEN, x->base);
	struct http_request req = {.method = HTTP_GET,
				   .url = url,
				   .authorization = c->authorization,
				   .max_body = NARINFO_MAX,
				   .accept_encoded = true,
				   .done = on_response,
				   .arg = x};

	w->in_flight[w->n_in_flight++] = x;
	return http_submit(c->http, &req, err);
}

/* Sends as much as may be under way. */
static int pump(struct walk *w, struct err *err)
{
	int r = 0;

	while (r == 0 && w->pending && w->n_in_flight < WALK_IN_FLIGHT)
		r = submit(w, next_pending(w), err);
	return r;
}

static int read_file(struct wanted *x, struct err *err)
{
	cleanup_buf struct buf text = BUF_INIT(NARINFO_MAX);
	cleanup_free char *name = xasprintf("%.*s.narinfo", STORE_HASH_LEN, x->base);
	struct err why = ERR_INIT;
	int r = cache_file_get(x->walk->cache, name, NARINFO_MAX, &text, &why);

	if (r == 0)
		return take_text(x, buf_slice(&text), err);
	if (r == E_NOTFOUND)
		return missing(x, err);
	*err = why;
	return r;
}

static int read_files(struct walk *w, struct err *err)
{
	int r = 0;

	while (r == 0 && w->pending) {
		struct wanted *x = next_pending(w);

		r = read_file(x, err);
		free(x);
	}
	return r;
}

static int run(struct walk *w, struct err *err)
{
	int r;

	if (!w->cache->http)
		return read_files(w, err);
	r = pump(w, err);
	if (r == 0)
		r = http_run(w->cache->http, err);
	if (r < 0)
		http_cancel(w->cache->http); /* nothing that points here may stay behind */
	return r;
}

static int compare_narinfos(const void *a, const void *b)
{
	const struct narinfo *x = a, *y = b;

	return strcmp(x->info.path.text, y->info.path.text);
}

static void walk_release(struct walk *w)
{
	while (w->pending)
		free(next_pending(w));
	while (w->n_in_flight)
		free(w->in_flight[--w->n_in_flight]);
	free(w->seen.keys);
}

int cache_walk(struct cache *c, const struct strv *bases, bool follow, struct narinfos *ret,
	       struct err *err)
{
	cleanup_narinfos struct narinfos all = {0};
	struct walk w = {.cache = c, .follow = follow, .ret = &all};
	int r = 0;

	w.pending_tail = &w.pending;
	for (size_t i = 0; r == 0 && i < bases->len; i++)
		r = want(&w, bases->items[i], NO_REFERRER, err);
	if (r == 0)
		r = run(&w, err);
	if (r == 0 && all.len) {
		qsort(all.items, all.len, sizeof(*all.items), compare_narinfos);
		*ret = all;
		all = (struct narinfos){0};
	}
	walk_release(&w);
	return r;
}

int cache_closure(struct cache *c, const struct store_path *roots, size_t n_roots,
		  struct narinfos *ret, struct err *err)
{
	cleanup_strv struct strv bases = {0};

	for (size_t i = 0; i < n_roots; i++) {
		if (!slice_equal_str(store_path_dir(&roots[i]), c->store_dir))
			return err_set(err, E_USAGE, "%s is not in %s, which %s is for",
				       roots[i].text, c->store_dir, c->name);
		strv_add(&bases, store_path_base(&roots[i]));
	}
	return cache_walk(c, &bases, true, ret, err);
}
