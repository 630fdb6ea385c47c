/* SPDX-License-Identifier: Apache-2.0 */
/* Store paths of a binary cache. */
#include <nacre/nar.h>

#include "base/mem.h"
#include "net/cache.h"
#include "net/path-source-internal.h"

struct cache_source {
	struct path_source source;
	struct cache *cache;        /* owned */
	struct public_key *trusted; /* owned */
	struct narinfos known;      /* of the closure asked for last */
	char store_dir[STORE_DIR_MAX + 1];
};

static int cache_query(struct path_source *self, struct slice hash_part, struct path_info *ret,
		       struct err *err)
{
	struct cache_source *s = container_of(self, struct cache_source, source);
	struct narinfo n = {0};

	if (cache_get_narinfo(s->cache, hash_part, &n, err) < 0)
		return err->code;
	*ret = n.info;
	n.info = (struct path_info){0};
	narinfo_release(&n);
	return 0;
}

static int cache_source_closure(struct path_source *self, const struct store_path *path,
				struct path_infos *set, struct err *err)
{
	struct cache_source *s = container_of(self, struct cache_source, source);
	struct narinfos found = {0};

	if (cache_closure(s->cache, path, 1, &found, err) < 0)
		return err->code;
	for (size_t i = 0; i < found.len; i++) {
		struct path_info info;

		if (path_infos_find(set, store_path_base(&found.items[i].info.path)))
			continue;
		path_info_copy(&info, &found.items[i].info);
		path_infos_take(set, &info);
	}
	narinfos_release(&s->known);
	s->known = found;
	return 0;
}

/* Reads the NAR, and lets NODE_END through only when the client has proven the whole: that is when
 * it finishes the sink. */
struct held_nar {
	struct sink sink;
	struct node_sink node_sink;
	struct nar_decoder decoder;
	struct node_sink *out; /* borrowed */
};

static int held_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	struct held_nar *h = container_of(self, struct held_nar, sink);

	return sink_write(&h->decoder.sink, data, len, err);
}

static int held_finish(struct sink *self, struct err *err)
{
	struct held_nar *h = container_of(self, struct held_nar, sink);
	struct node_event end = {.type = NODE_END};

	if (sink_finish(&h->decoder.sink, err) < 0)
		return err->code;
	return node_sink_event(h->out, &end, err);
}

static int held_event(struct node_sink *self, const struct node_event *ev, struct err *err)
{
	struct held_nar *h = container_of(self, struct held_nar, node_sink);

	return ev->type == NODE_END ? 0 : node_sink_event(h->out, ev, err);
}

static int get_nar(struct cache_source *s, const struct narinfo *n, struct node_sink *out,
		   struct err *err)
{
	struct held_nar h = {
		.sink = {held_write, held_finish}, .node_sink = {held_event}, .out = out};
	int r;

	nar_decoder_init(&h.decoder, &h.node_sink);
	r = cache_get_nar(s->cache, n, &h.sink, err);
	nar_decoder_release(&h.decoder);
	return r;
}

static int cache_dump(struct path_source *self, const struct path_info *info, struct node_sink *out,
		      struct err *err)
{
	struct cache_source *s = container_of(self, struct cache_source, source);
	const struct narinfo *known = narinfos_find(&s->known, store_path_base(&info->path));
	cleanup_narinfo struct narinfo n = {0};

	if (!known) {
		if (cache_get_narinfo(s->cache, store_path_hash_part(&info->path), &n, err) < 0)
			return err->code;
		known = &n;
	}
	/* The NAR is proven by what the cache says now. */
	if (!hash_equal(&known->info.nar_hash, &info->nar_hash) ||
	    known->info.nar_size != info->nar_size)
		return err_set(err, E_CONFLICT,
			       "the cache has said something else of %s before: try again",
			       info->path.text);
	return get_nar(s, known, out, err);
}

static void cache_source_free(struct path_source *self)
{
	struct cache_source *s = container_of(self, struct cache_source, source);

	narinfos_release(&s->known);
	cache_free(s->cache);
	free(s->trusted);
	free(s);
}

int cache_source_open(struct path_source **ret, const char *url,
		      const struct path_source_options *options, struct err *err)
{
	struct cache_source *s = xcalloc(1, sizeof(*s));
	struct cache_options cache_options = {.store_dir = options->store_dir};

	if (options->n_trusted)
		s->trusted = xmemdup(options->trusted, options->n_trusted * sizeof(*s->trusted));
	cache_options.trusted = s->trusted;
	cache_options.n_trusted = options->n_trusted;
	if (cache_open(&s->cache, url, &cache_options, err) < 0) {
		free(s->trusted);
		free(s);
		return err->code;
	}
	snprintf(s->store_dir, sizeof(s->store_dir), "%s", cache_store_dir(s->cache));
	s->source = (struct path_source){
		.name = cache_name(s->cache),
		.store_dir = s->store_dir,
		.query = cache_query,
		.closure = cache_source_closure,
		.dump = cache_dump,
		.free = cache_source_free,
	};
	*ret = &s->source;
	return 0;
}
