/* SPDX-License-Identifier: Apache-2.0 */
/* The driver's commands for src/net/cache.h. */
#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"
#include "net-driver.h"
#include "net/cache.h"

static int open_cache(struct cache **ret, const struct words *w, int word, const char *store,
		      const struct public_key *key, struct err *err)
{
	struct cache_options o = {
		.store_dir = store,
		.netrc_file = option(w, "netrc"),
		.trusted = key,
		.n_trusted = key ? 1 : 0,
		.create = word > 0,
	};

	http_options_of(w, &o.http);
	return cache_open(ret, w->words[word], &o, err);
}

static void print_narinfo(const struct narinfo *n)
{
	char hash[HASH_TEXT_MAX];

	hash_format(hash, &n->info.nar_hash, HASH_NIX32);
	printf("path %s\nurl %s\ncompression %s\nnar %s %" PRIu64 "\nsignatures %zu\n",
	       n->info.path.text, n->url, n->compression, hash, n->info.nar_size,
	       n->info.signatures.len);
}

/* URL */
static int info(const struct words *w, struct cache *c, struct err *err)
{
	printf("name %s\nstore %s\npriority %d\nmass %d\n", cache_name(c), cache_store_dir(c),
	       cache_info_of(c)->priority, cache_info_of(c)->want_mass_query);
	return 0;
}

/* URL HASH */
static int narinfo(const struct words *w, struct cache *c, struct err *err)
{
	cleanup_narinfo struct narinfo n = {0};
	int r = cache_get_narinfo(c, slice_str(w->words[1]), &n, err);

	if (r == 0)
		print_narinfo(&n);
	return r;
}

/* URL HASH FILE */
static int nar(const struct words *w, struct cache *c, struct err *err)
{
	cleanup_narinfo struct narinfo n = {0};
	cleanup_fd int fd = -1;
	struct fd_sink out;
	int r = cache_get_narinfo(c, slice_str(w->words[1]), &n, err);

	if (r < 0)
		return r;
	fd = open_output(w->words[2], &out, err);
	return fd < 0 ? err->code : cache_get_nar(c, &n, &out.sink, err);
}

static int get_closure(const struct words *w, struct cache *c, int first, struct narinfos *ret,
		       struct err *err)
{
	struct store_path roots[WORDS_MAX];
	size_t n = 0;

	for (int i = first; i < w->n_words; i++) {
		if (store_path_parse_any(&roots[n++], slice_str(w->words[i])) < 0)
			return err_set(err, E_USAGE, "%s is no store path", w->words[i]);
	}
	return cache_closure(c, roots, n, ret, err);
}

/* URL PATH… */
static int closure(const struct words *w, struct cache *c, struct err *err)
{
	cleanup_narinfos struct narinfos all = {0};
	int r = get_closure(w, c, 1, &all, err);

	printf("paths %zu\n", all.len);
	for (size_t i = 0; i < all.len && all.len < 100; i++)
		print_narinfo(&all.items[i]);
	return r;
}

struct cache_producer {
	struct nar_producer producer;
	struct cache *from;
	const struct narinfos *narinfos;
	unsigned calls;
	bool corrupt;
};

/* Changes the last byte. */
struct corrupting_sink {
	struct sink sink;
	struct sink *next;
	uint64_t left;
};

static int corrupting_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	struct corrupting_sink *s = container_of(self, struct corrupting_sink, sink);
	cleanup_free uint8_t *copy = xmemdup(data, len);

	s->left -= len;
	if (!s->left)
		copy[len - 1] ^= 1;
	return sink_write(s->next, copy, len, err);
}

/* Passes bytes on, and is not finished further. */
struct open_sink {
	struct sink sink;
	struct sink *next;
};

static int open_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	return sink_write(container_of(self, struct open_sink, sink)->next, data, len, err);
}

static int produce(struct nar_producer *self, const struct path_info *path, struct sink *out,
		   struct err *err)
{
	struct cache_producer *p = container_of(self, struct cache_producer, producer);
	const struct narinfo *n = narinfos_find(p->narinfos, store_path_base(&path->path));
	struct corrupting_sink corrupting = {
		.sink = {corrupting_write}, .next = out, .left = path->nar_size};
	struct open_sink passing = {.sink = {open_write},
				    .next = p->corrupt ? &corrupting.sink : out};

	p->calls++;
	return cache_get_nar(p->from, n, &passing.sink, err);
}

static void on_progress(void *data, const struct path_info *path, bool present)
{
	printf("%s %s\n", present ? "present" : "put", path->path.text);
}

static int copy_all(const struct words *w, struct cache *to, struct cache_producer *p,
		    struct err *err)
{
	struct secret_key key = {0};
	struct cache_put_options o = {
		.compression = option(w, "compression")
				       ? codec_by_name(slice_str(option(w, "compression")))
				       : CODEC_NONE,
		.level = (int)number_option(w, "level"),
		.keys = &key,
		.replace = option(w, "replace"),
		.progress = on_progress,
	};
	cleanup_path_infos struct path_infos set = {0};
	int r;

	if (option(w, "sign")) {
		o.n_keys = 1;
		if (secret_key_parse(&key, slice_str(option(w, "sign"))) < 0)
			return err_set(err, E_USAGE, "no secret key");
	}
	for (size_t i = 0; i < p->narinfos->len; i++) {
		struct path_info copy = {0};

		path_info_copy(&copy, &p->narinfos->items[i].info);
		path_infos_take(&set, &copy);
	}
	r = cache_put_closure(to, &set, &p->producer, &o, err);
	secret_key_release(&key);
	printf("calls %u\n", p->calls);
	return r;
}

/* FROM TO PATH… */
static int copy(const struct words *w, struct cache *from, struct err *err)
{
	cleanup_narinfos struct narinfos all = {0};
	CLEANUP(cache_free) struct cache *to = NULL;
	struct cache_producer p = {.producer = {produce},
				   .from = from,
				   .narinfos = &all,
				   .corrupt = option(w, "corrupt")};
	int r = get_closure(w, from, 2, &all, err);

	if (r == 0)
		r = open_cache(&to, w, 1, cache_store_dir(from), NULL, err);
	return r < 0 ? r : copy_all(w, to, &p, err);
}

int cache_command(const struct words *w, const char *name, struct err *err)
{
	static const struct {
		const char *name;
		int words;
		int (*run)(const struct words *w, struct cache *c, struct err *err);
	} commands[] = {
		{"info", 1, info},       {"narinfo", 2, narinfo}, {"nar", 3, nar},
		{"closure", 2, closure}, {"copy", 3, copy},
	};
	CLEANUP(cache_free) struct cache *c = NULL;
	struct public_key key;
	bool has_key = option(w, "trust");
	int r;

	if (has_key && public_key_parse(&key, slice_str(option(w, "trust"))) < 0)
		return err_set(err, E_USAGE, "no public key");
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		if (strcmp(name, commands[i].name) != 0 || w->n_words < commands[i].words)
			continue;
		r = open_cache(&c, w, 0, option(w, "store"), has_key ? &key : NULL, err);
		return r < 0 ? r : commands[i].run(w, c, err);
	}
	return err_set(err, E_USAGE, "no such cache command");
}
