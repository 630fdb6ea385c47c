/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <unistd.h>

#include <nacre/image.h>
#include <nacre/tar.h>

#include "base/fs.h"
#include "base/mem.h"
#include "codec/codec.h"
#include "node/layer-import.h"

/* A layer on its way into the store. */
struct layer_import {
	struct sink sink;
	struct node_store *store;   /* borrowed */
	struct tar_reader *reader;  /* owned */
	struct hasher hasher;       /* of the uncompressed layer */
	struct path_import **paths; /* owned; the last one may be unfinished */
	size_t n_paths, cap_paths;
	struct layer_record record;
	struct staged_record staged;
	bool ordinary; /* not canonical: read on for nothing but the end */
};

static void begin_path(struct layer_import *i, struct slice base)
{
	array_grow(i->paths, i->cap_paths, i->n_paths + 1);
	i->paths[i->n_paths++] = path_import_new(i->store);
	array_grow(i->record.paths, i->record.cap, i->record.len + 1);
	i->record.paths[i->record.len] = (struct layer_path){0};
	memcpy(i->record.paths[i->record.len].base, base.data, base.len);
	i->record.len++;
}

static int take_event(struct layer_import *i, const struct tar_event *ev, struct err *err)
{
	struct path_import *last = i->n_paths ? i->paths[i->n_paths - 1] : NULL;
	uint64_t nar_size;

	switch (ev->type) {
	case TAR_STORE_DIR:
		memcpy(i->record.store_dir, ev->text.data, ev->text.len);
		return 0;
	case TAR_PATH:
		begin_path(i, ev->text);
		return 0;
	case TAR_NODE:
		if (node_sink_event(path_import_sink(last), &ev->node, err) < 0)
			return err->code;
		if (ev->node.type == NODE_END)
			path_import_finish(last, &i->record.paths[i->record.len - 1].nar_hash,
					   &nar_size);
		return 0;
	default:
		return 0;
	}
}

static int import_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	struct layer_import *i = container_of(self, struct layer_import, sink);
	struct slice input = slice_make(data, len);
	struct tar_event ev;
	int r = 0;

	hasher_update(&i->hasher, data, len);
	while (!i->ordinary && (r = tar_reader_step(i->reader, &input, &ev)) > 0)
		if (take_event(i, &ev, err) < 0)
			return err->code;
	if (r < 0)
		i->ordinary = true;
	/* There is nothing to be had from an ordinary layer: stop reading. */
	return i->ordinary ? err_set(err, E_UNSUPPORTED, "an ordinary layer") : 0;
}

static void import_release(struct layer_import *i)
{
	for (size_t j = 0; j < i->n_paths; j++)
		path_import_free(i->paths[j]);
	free(i->paths);
	tar_reader_free(i->reader);
	hasher_release(&i->hasher);
	layer_record_release(&i->record);
	staged_record_release(&i->staged);
}

/* Reads the blob through the decoder that its first bytes ask for. */
static int read_blob(struct layer_import *i, int blob_fd, struct err *err)
{
	static const struct codec_limits
		limits; /* an image that somebody wants to run may be any size */
	struct sink *decoder;
	uint8_t head[16];
	ssize_t n = pread_full(blob_fd, head, sizeof(head), 0);
	int r;

	if (n < 0)
		return err_errno(err, "read a layer");
	if (decoder_new(&decoder, codec_sniff(slice_make(head, (size_t)n)), &i->sink, &limits,
			err) < 0)
		return err->code;
	r = copy_fd_to_sink(blob_fd, "a layer", decoder, err);
	if (r >= 0)
		r = sink_finish(decoder, err);
	decoder_free(decoder);
	return r;
}

/* One sync for the paths and the record, before either has its name. */
static int publish(struct layer_import *i, const struct hash *diff_id, size_t *paths_added,
		   struct err *err)
{
	if (diff_id && node_store_stage_record(i->store, &i->record, &i->staged, err) < 0)
		return err->code;
	if (node_store_sync(i->store, err) < 0)
		return err->code;
	for (size_t j = 0; j < i->n_paths; j++)
		if (path_import_publish(i->paths[j], err) < 0)
			return err->code;
	*paths_added += i->n_paths;
	return diff_id ? node_store_name_record(i->store, diff_id, &i->staged, err) : 0;
}

/* 1, 0 or an error, as layer_import(). */
static int settle(struct layer_import *i, int result, const struct hash *diff_id,
		  size_t *paths_added, struct err *err)
{
	struct hash got;

	if (i->ordinary)
		return 0;
	if (result < 0)
		return result;
	if (tar_reader_finish(i->reader) < 0)
		return 0; /* canonical as far as it goes: whoever unpacks it says what is wrong */
	hasher_final(&i->hasher, &got);
	if (diff_id && !hash_equal(&got, diff_id))
		return err_set(err, E_MISMATCH, "a layer's content does not have its diffID");
	return publish(i, diff_id, paths_added, err) < 0 ? err->code : 1;
}

int layer_import(struct node_store *store, int blob_fd, const struct hash *diff_id,
		 struct layer_record *ret, size_t *paths_added, struct err *err)
{
	struct layer_import i = {
		.sink = {.write = import_write}, .store = store, .staged = STAGED_RECORD_INIT};
	struct err local = ERR_INIT;
	int r;

	i.reader = tar_reader_new();
	hasher_init(&i.hasher, HASH_SHA256);
	r = read_blob(&i, blob_fd, &local);
	r = settle(&i, r, diff_id, paths_added, &local);
	if (r > 0) {
		*ret = i.record;
		i.record = (struct layer_record){0};
	} else if (r < 0) {
		*err = local;
	}
	import_release(&i);
	return r;
}

int layer_record_from_annotations(struct layer_record *ret, const struct annotations *annotations)
{
	cleanup_path_infos struct path_infos claims = {0};
	struct layer_record record = {0};
	bool has_references;
	int r = image_layer_claims(&claims, &has_references, annotations);

	if (r < 0)
		return E_INVALID;
	memcpy(record.store_dir, claims.items[0].path.text, claims.items[0].path.dir_len);
	for (size_t i = 0; i < claims.len; i++) {
		struct layer_path *path;

		array_grow(record.paths, record.cap, record.len + 1);
		path = &record.paths[record.len++];
		*path = (struct layer_path){.nar_hash = claims.items[i].nar_hash};
		snprintf(path->base, sizeof(path->base), "%s",
			 store_path_base(&claims.items[i].path));
	}
	*ret = record;
	return 0;
}

int layer_record_diff_id(const struct node_store *store, const struct layer_record *record,
			 struct hash *ret, struct err *err)
{
	struct hash_sink hash;
	struct tar_writer *w;
	int r;

	hash_sink_init(&hash, HASH_SHA256, NULL);
	w = tar_writer_new(&hash.sink, record->store_dir);
	r = tar_writer_preamble(w, err);
	for (size_t i = 0; r >= 0 && i < record->len; i++) {
		r = tar_writer_path(w, record->paths[i].base, err);
		if (r >= 0)
			r = node_store_dump(store, &record->paths[i].nar_hash,
					    tar_writer_node_sink(w), err);
	}
	if (r >= 0)
		r = tar_writer_trailer(w, err);
	if (r >= 0)
		hash_sink_final(&hash, ret);
	tar_writer_free(w);
	hash_sink_release(&hash);
	return r;
}
