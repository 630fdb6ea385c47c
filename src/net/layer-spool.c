/* SPDX-License-Identifier: Apache-2.0 */
#include "net/layer-spool.h"

#include <nacre/nar.h>
#include <nacre/tar.h>

#include "base/fs.h"
#include "base/mem.h"
#include "oci/unpack.h"

enum { BLOCK = 256 << 10 };

int layer_spool_init(struct layer_spool *s, struct err *err)
{
	*s = (struct layer_spool){.fd = -1};
	s->fd = scratch_file(err);
	return s->fd < 0 ? s->fd : 0;
}

void layer_spool_release(struct layer_spool *s)
{
	for (size_t i = 0; i < s->len; i++)
		path_info_release(&s->items[i].info);
	free(s->items);
	close_fd(&s->fd);
	*s = (struct layer_spool){.fd = -1};
}

/* Place of a base name among the paths. Store dirs are one by then. */
static size_t find_place(const struct layer_spool *s, const char *base, bool *ret_found)
{
	size_t low = 0, high = s->len;

	*ret_found = false;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int c = strcmp(store_path_base(&s->items[mid].info.path), base);

		if (c == 0) {
			*ret_found = true;
			return mid;
		}
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct spooled_path *layer_spool_find(const struct layer_spool *s, const char *base)
{
	bool found;
	size_t i = find_place(s, base, &found);

	return found ? &s->items[i] : NULL;
}

/* A layer on its way: tar bytes in, NARs to the end of the file. */
struct layer_taker {
	struct sink sink;
	struct layer_spool *spool;
	struct tar_reader *reader; /* owned */
	bool ordinary;             /* it turned out to be no store layer */
	char store_dir[STORE_DIR_MAX + 1];
	/* The path that is being read. */
	struct store_path path;
	struct fd_sink file;
	struct hash_sink hash;
	struct nar_writer *nar; /* owned */
	/* Those that were read: taken over when the whole layer is proven. */
	struct spooled_path *paths; /* owned */
	size_t n_paths, cap_paths;
	uint64_t end; /* bytes in the file */
};

static void drop_path(struct layer_taker *t)
{
	if (!t->nar)
		return;
	nar_writer_free(t->nar);
	hash_sink_release(&t->hash);
	t->nar = NULL;
}

static void begin_nar(struct layer_taker *t)
{
	fd_sink_init(&t->file, t->spool->fd, "a scratch file (see TMPDIR)");
	hash_sink_init(&t->hash, HASH_SHA256, &t->file.sink);
	t->nar = nar_writer_new(&t->hash.sink);
}

static int begin_path(struct layer_taker *t, struct slice base, struct err *err)
{
	if (store_path_make(&t->path, t->store_dir, base) < 0)
		return err_set(err, E_INTERNAL, "a canonical layer with a wrong base name");
	begin_nar(t);
	return 0;
}

static void end_path(struct layer_taker *t)
{
	struct spooled_path *p;

	array_grow(t->paths, t->cap_paths, t->n_paths + 1);
	p = &t->paths[t->n_paths++];
	*p = (struct spooled_path){.offset = t->end};
	p->info.path = t->path;
	p->info.nar_size = t->hash.bytes;
	hash_sink_final(&t->hash, &p->info.nar_hash);
	t->end += p->info.nar_size;
	drop_path(t);
}

static int take_event(struct layer_taker *t, const struct tar_event *ev, struct err *err)
{
	int r;

	switch (ev->type) {
	case TAR_STORE_DIR:
		snprintf(t->store_dir, sizeof(t->store_dir), "%.*s", (int)ev->text.len,
			 (const char *)ev->text.data);
		return 0;
	case TAR_PATH:
		return begin_path(t, ev->text, err);
	case TAR_NODE:
		r = node_sink_event(nar_writer_node_sink(t->nar), &ev->node, err);
		if (r >= 0 && ev->node.type == NODE_END)
			end_path(t);
		return r;
	case TAR_END:
		break;
	}
	return 0;
}

static int taker_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	struct layer_taker *t = container_of(self, struct layer_taker, sink);
	struct slice in = slice_make(data, len);
	struct tar_event ev;
	int r;

	if (t->spool->progress)
		t->spool->progress(t->spool->progress_data, len);
	while ((r = tar_reader_step(t->reader, &in, &ev)) > 0)
		if (take_event(t, &ev, err) < 0)
			return err->code;
	if (r == 0)
		return 0;
	/* The rest need not be fetched. */
	t->ordinary = true;
	return err_set(err, E_CANCELLED, "not a store layer");
}

static int taker_finish(struct sink *self, struct err *err)
{
	struct layer_taker *t = container_of(self, struct layer_taker, sink);

	t->ordinary = tar_reader_finish(t->reader) < 0;
	return 0;
}

/* Is everything in the layer in keeping with what is there? */
static int check_paths(const struct layer_taker *t, struct err *err)
{
	for (size_t i = 0; i < t->n_paths; i++) {
		const struct path_info *new = &t->paths[i].info;
		const struct spooled_path *old =
			layer_spool_find(t->spool, store_path_base(&new->path));

		if (t->spool->len && !slice_equal(store_path_dir(&new->path),
						  store_path_dir(&t->spool->items[0].info.path)))
			return err_set(err, E_CONFLICT,
				       "the image has paths of two stores, %s and %s",
				       new->path.text, t->spool->items[0].info.path.text);
		if (old && !hash_equal(&old->info.nar_hash, &new->nar_hash))
			return err_set(err, E_CONFLICT, "the image has %s twice, with two contents",
				       new->path.text);
	}
	return 0;
}

static void keep_paths(struct layer_taker *t)
{
	struct layer_spool *s = t->spool;

	for (size_t i = 0; i < t->n_paths; i++) {
		bool found;
		size_t at = find_place(s, store_path_base(&t->paths[i].info.path), &found);

		if (found)
			continue;
		array_grow(s->items, s->cap, s->len + 1);
		memmove(s->items + at + 1, s->items + at, (s->len - at) * sizeof(*s->items));
		s->items[at] = t->paths[i];
		s->len++;
	}
	s->end = t->end;
}

static int take_layer(struct layer_taker *t, struct image_source *from,
		      const struct descriptor *layer, struct err *err)
{
	cleanup_unpack_sink struct unpack_sink unpack = {0};
	struct err why = ERR_INIT;
	int r;

	unpack_sink_init(&unpack, &t->sink);
	r = image_get_blob(from, layer, &unpack.sink, &why);
	if (t->ordinary)
		return 0;
	if (r < 0) {
		*err = why;
		return r;
	}
	r = check_paths(t, err);
	if (r < 0)
		return r;
	keep_paths(t);
	return 1;
}

/* What a layer left that was none is written over. */
static int seek_to_end(const struct layer_spool *s, struct err *err)
{
	if (lseek(s->fd, (off_t)s->end, SEEK_SET) < 0 || ftruncate(s->fd, (off_t)s->end) < 0)
		return err_errno(err, "a scratch file");
	return 0;
}

int layer_spool_add(struct layer_spool *s, struct image_source *from,
		    const struct descriptor *layer, struct err *err)
{
	struct layer_taker t = {.sink = {taker_write, taker_finish}, .spool = s, .end = s->end};
	int r = seek_to_end(s, err);

	if (r < 0)
		return r;
	t.reader = tar_reader_new();
	r = take_layer(&t, from, layer, err);
	drop_path(&t);
	tar_reader_free(t.reader);
	free(t.paths);
	return r;
}

static int take_nar(struct layer_taker *t, struct image_source *from, const struct descriptor *blob,
		    const struct path_info *info, struct err *err)
{
	cleanup_unpack_sink struct unpack_sink unpack = {0};
	struct nar_decoder decoder;
	int r;

	t->path = info->path;
	begin_nar(t);
	nar_decoder_init(&decoder, nar_writer_node_sink(t->nar));
	unpack_sink_init(&unpack, &decoder.sink);
	r = image_get_blob(from, blob, &unpack.sink, err);
	nar_decoder_release(&decoder);
	if (r < 0)
		return r;
	end_path(t);
	if (!hash_equal(&t->paths[0].info.nar_hash, &info->nar_hash) ||
	    t->paths[0].info.nar_size != info->nar_size)
		return err_set(err, E_MISMATCH, "%s: the NAR is not the one that its package names",
			       info->path.text);
	r = check_paths(t, err);
	if (r >= 0)
		keep_paths(t);
	return r;
}

int layer_spool_add_nar(struct layer_spool *s, struct image_source *from,
			const struct descriptor *blob, const struct path_info *info,
			struct err *err)
{
	struct layer_taker t = {.spool = s, .end = s->end};
	int r = seek_to_end(s, err);

	if (r >= 0)
		r = take_nar(&t, from, blob, info, err);
	drop_path(&t);
	free(t.paths);
	return r;
}

int layer_spool_read(const struct layer_spool *s, const struct spooled_path *p, struct sink *out,
		     struct err *err)
{
	cleanup_free uint8_t *block = xmalloc(BLOCK);
	uint64_t done = 0;

	while (done < p->info.nar_size) {
		uint64_t left = p->info.nar_size - done;
		size_t len = left < BLOCK ? (size_t)left : BLOCK;
		ssize_t n = pread_full(s->fd, block, len, p->offset + done);

		if (n != (ssize_t)len)
			return err_errno(err, "read a scratch file");
		if (sink_write(out, block, len, err) < 0)
			return err->code;
		done += len;
	}
	return 0;
}
