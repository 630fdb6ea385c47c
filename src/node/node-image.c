/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <sys/stat.h>

#include <nacre/image.h>
#include <nacre/tar.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/sinks.h"
#include "node/layer-import.h"
#include "node/layer-touch.h"
#include "node/node-image.h"
#include "node/referrer-infos.h"

enum { JOBS_DEFAULT = 4, JOBS_MAX = 16 };

/* One pull. */
struct pull {
	struct node_store *store;           /* borrowed */
	struct image_source *source;        /* borrowed */
	const struct pull_options *options; /* borrowed */
	struct pull_stats *stats;           /* borrowed */
	pthread_mutex_t *lock;              /* borrowed; guards the progress; NULL: one thread */
};

/* Counts what is fetched on its way to a file. */
struct progress_sink {
	struct sink sink;
	struct sink *next;
	const struct pull *pull;
};

void node_image_release(struct node_image *image)
{
	for (size_t i = 0; i < image->n_layers; i++)
		layer_record_release(&image->layers[i].record);
	free(image->layers);
	image_config_release(&image->config);
	node_ready_release(&image->ready);
	*image = (struct node_image){0};
}

static int progress_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	struct progress_sink *s = container_of(self, struct progress_sink, sink);

	s->pull->stats->bytes_fetched += len;
	if (s->pull->lock)
		pthread_mutex_lock(s->pull->lock);
	if (s->pull->options->progress)
		s->pull->options->progress(s->pull->options->progress_data, len);
	if (s->pull->lock)
		pthread_mutex_unlock(s->pull->lock);
	return sink_write(s->next, data, len, err);
}

/* Fetches a blob into a file without a name, proven against its descriptor. Returns its descriptor,
 * at the beginning. */
static int fetch_blob(struct pull *p, const struct descriptor *blob, struct err *err)
{
	cleanup_fd int fd = node_store_temp_fd(p->store, err);
	struct progress_sink sink = {.sink = {.write = progress_write}, .pull = p};
	struct fd_sink file;

	if (fd < 0)
		return fd;
	fd_sink_init(&file, fd, "a temporary file");
	sink.next = &file.sink;
	if (image_get_blob(p->source, blob, &sink.sink, err) < 0)
		return err->code;
	if (lseek(fd, 0, SEEK_SET) < 0)
		return err_errno(err, "seek");
	p->stats->layers_fetched++;
	return take_fd(&fd);
}

static bool has_all_paths(const struct node_store *store, const struct layer_record *record)
{
	return record->len > 0 && node_store_has_paths(store, record);
}

/* Is the layer there, as the record of an earlier proof or as a directory? Of one that is there as both the record is kept:
 * what it holds must be signed all the same. */
static bool layer_is_present(struct node_store *store, struct node_layer *layer)
{
	struct err ignored = ERR_INIT;

	layer_record_release(&layer->record);
	layer->is_store =
		node_store_layer_record(store, &layer->diff_id, &layer->record, &ignored) >= 0 &&
		has_all_paths(store, &layer->record);
	if (layer->is_store || node_store_has_layer(store, &layer->diff_id))
		return true;
	layer_record_release(&layer->record);
	return false;
}

/* Does the node have the paths that the annotations name, and are they this layer? */
static int prove_from_annotations(struct pull *p, const struct descriptor *blob,
				  struct node_layer *layer, struct err *err)
{
	cleanup_staged_record struct staged_record staged = STAGED_RECORD_INIT;
	struct layer_record claimed = {0};
	struct hash diff_id;
	int r = layer_record_from_annotations(&claimed, &blob->annotations);

	if (r >= 0 && p->options->sources && !has_all_paths(p->store, &claimed)) {
		char why[ERR_TEXT_MAX] = "";

		/* The sync of the paths is that of their record, too. */
		r = node_store_stage_record(p->store, &claimed, &staged, err);
		if (r >= 0)
			r = node_sources_provide(p->options->sources, p->store, &claimed,
						 &p->stats->sources, why, err);
		if (*why)
			memcpy(p->stats->why, why, sizeof(why));
		if (r < 0) {
			layer_record_release(&claimed);
			return r;
		}
	}
	if (r >= 0 && has_all_paths(p->store, &claimed)) {
		r = layer_record_diff_id(p->store, &claimed, &diff_id, err);
		if (r >= 0 && hash_equal(&diff_id, &layer->diff_id)) {
			if (staged.file.fd < 0)
				r = node_store_stage_record(p->store, &claimed, &staged, err);
			if (r >= 0)
				r = node_store_name_record(p->store, &layer->diff_id, &staged, err);
			layer->record = claimed;
			layer->is_store = true;
			return r < 0 ? r : 1;
		}
	}
	layer_record_release(&claimed);
	return r == E_INVALID || r >= 0 ? 0 : r;
}

/* Fetches a layer and takes it in as store paths, or else as a directory. */
static int fetch_layer(struct pull *p, const struct descriptor *blob, struct node_layer *layer,
		       bool as_directory, struct err *err)
{
	cleanup_fd int fd = fetch_blob(p, blob, err);
	int r = 0;

	if (fd < 0)
		return fd;
	if (!as_directory)
		r = layer_import(p->store, fd, &layer->diff_id, &layer->record,
				 &p->stats->paths_added, err);
	if (r < 0)
		return r;
	layer->is_store = r > 0;
	if (layer->is_store)
		return 0;
	if (lseek(fd, 0, SEEK_SET) < 0)
		return err_errno(err, "seek");
	return node_store_unpack_layer(p->store, fd, &layer->diff_id, err);
}

static int pull_layer(struct pull *p, const struct descriptor *blob, struct node_layer *layer,
		      struct err *err)
{
	cleanup_fd int lock = -1;
	int r;

	if (!layer_is_present(p->store, layer)) {
		lock = node_store_lock_content(p->store, &layer->diff_id, err);
		if (lock < 0)
			return lock;
	}
	/* Somebody else may have brought it meanwhile. */
	if (lock < 0 || layer_is_present(p->store, layer)) {
		p->stats->layers_present++;
		return 0;
	}
	r = prove_from_annotations(p, blob, layer, err);
	if (r > 0)
		p->stats->layers_present++;
	if (r != 0)
		return r < 0 ? r : 0;
	return fetch_layer(p, blob, layer, false, err);
}

/* One that is not there (yet) is in nobody's way. */
static bool touches_path(const struct node_store *store, const struct node_layer *ordinary,
			 const struct layer_record *record)
{
	cleanup_free char *dir = node_store_layer_dir(store, &ordinary->diff_id);
	cleanup_fd int layer = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	return layer >= 0 && layer_touches(layer, record);
}

/* Stacks as directories what must be stacked. `p` NULL: nothing can be fetched, and there is no
 * manifest. */
static int unmix_layers(struct node_store *store, struct pull *p, struct node_image *image,
			const struct manifest *manifest, struct err *err)
{
	for (size_t i = 0; i < image->n_layers; i++) {
		struct node_layer *layer = &image->layers[i];

		for (size_t j = 0; layer->is_store && j < image->n_layers; j++) {
			if (image->layers[j].is_store ||
			    !touches_path(store, &image->layers[j], &layer->record))
				continue;
			layer->is_store = false;
			if (node_store_has_layer(store, &layer->diff_id))
				continue;
			if (!p)
				return err_set(err, E_NOTFOUND, "layer %zu is not on this node", i);
			if (fetch_layer(p, &manifest->layers.items[i], layer, true, err) < 0)
				return err->code;
		}
	}
	return 0;
}

static int init_layers(struct node_image *image, struct err *err)
{
	image->n_layers = image->config.n_diff_ids;
	image->layers = xcalloc(image->n_layers, sizeof(*image->layers));
	for (size_t i = 0; i < image->n_layers; i++) {
		image->layers[i].diff_id = image->config.diff_ids[i];
		if (image->layers[i].diff_id.algo != HASH_SHA256)
			return err_set(err, E_UNSUPPORTED, "diffIDs other than sha256");
	}
	return 0;
}

static int pull_config(struct pull *p, const struct manifest *manifest, struct node_image *image,
		       struct err *err)
{
	cleanup_buf struct buf bytes = {0};

	if (!manifest->has_config || (strcmp(manifest->config.media_type, MT_OCI_CONFIG) != 0 &&
				      strcmp(manifest->config.media_type, MT_DOCKER_CONFIG) != 0))
		return err_set(err, E_UNSUPPORTED,
			       "this is an artifact, not an image that can be run");
	if (image_get_blob_bytes(p->source, &manifest->config, IMAGE_CONFIG_BYTES_MAX, &bytes,
				 err) < 0 ||
	    image_config_parse(&image->config, buf_slice(&bytes), err) < 0)
		return err_wrap(err, "image config");
	if (image->config.n_diff_ids != manifest->layers.len)
		return err_set(err, E_INVALID, "the manifest has %zu layers, its config %zu",
			       manifest->layers.len, image->config.n_diff_ids);
	if (node_store_put_blob(p->store, &manifest->config.digest, buf_slice(&bytes), err) < 0)
		return err->code;
	return init_layers(image, err);
}

/* The image manifest itself, or the member of an index for the platform: then *ret_index is the index. */
static int pull_manifest(struct pull *p, struct manifest *ret, struct manifest_bytes *bytes,
			 struct hash *ret_index, struct err *err)
{
	char digest[DIGEST_TEXT_MAX];
	const struct descriptor *member;

	if (image_get_manifest(p->source, NULL, bytes, err) < 0 ||
	    manifest_parse(ret, bytes->media_type, buf_slice(&bytes->bytes), err) < 0)
		return err->code;
	if (ret->kind == MANIFEST_IMAGE)
		return 0;
	member = ret->kind == MANIFEST_INDEX ? manifest_select(ret, p->options->platform) : NULL;
	if (!member)
		return err_set(err, E_NOTFOUND, "there is no image for this platform");
	digest_format(digest, &member->digest);
	*ret_index = bytes->digest;
	manifest_release(ret);
	manifest_bytes_release(bytes);
	if (image_get_manifest(p->source, digest, bytes, err) < 0 ||
	    manifest_parse(ret, bytes->media_type, buf_slice(&bytes->bytes), err) < 0)
		return err->code;
	return ret->kind == MANIFEST_IMAGE
		       ? 0
		       : err_set(err, E_UNSUPPORTED, "an index within an index");
}

/* Several threads that take one layer after another. */
struct crew {
	const struct pull *pull;         /* borrowed; what all have in common */
	const struct manifest *manifest; /* borrowed */
	struct node_image *image;        /* borrowed; each layer is one thread's */
	pthread_mutex_t lock;            /* guards what follows */
	size_t next;
	struct err err; /* the first failure */
};

static void crew_fail(struct crew *c, const struct err *err)
{
	pthread_mutex_lock(&c->lock);
	if (!c->err.code)
		c->err = *err;
	pthread_mutex_unlock(&c->lock);
}

/* The next layer; false: none is left, or somebody failed. */
static bool crew_next(struct crew *c, size_t *ret)
{
	bool is_there;

	pthread_mutex_lock(&c->lock);
	is_there = !c->err.code && c->next < c->image->n_layers;
	*ret = c->next;
	c->next += is_there;
	pthread_mutex_unlock(&c->lock);
	return is_there;
}

static void crew_work(struct crew *c, struct pull *p)
{
	size_t i;

	while (crew_next(c, &i)) {
		struct err err = ERR_INIT;

		if (pull_layer(p, &c->manifest->layers.items[i], &c->image->layers[i], &err) < 0) {
			err_wrap(&err, "layer %zu", i);
			crew_fail(c, &err);
		}
	}
}

static void add_stats(struct pull_stats *to, const struct pull_stats *from)
{
	to->layers_fetched += from->layers_fetched;
	to->layers_present += from->layers_present;
	to->paths_added += from->paths_added;
	to->bytes_fetched += from->bytes_fetched;
	to->sources.from_host += from->sources.from_host;
	to->sources.from_caches += from->sources.from_caches;
	if (*from->why)
		memcpy(to->why, from->why, sizeof(to->why));
}

static void *crew_main(void *data)
{
	struct crew *c = data;
	cleanup_image_source struct image_source *source = NULL;
	struct pull_stats stats = {0};
	struct pull p = *c->pull;
	struct err err = ERR_INIT;

	if (p.options->open_source(p.options->open_data, &source, &err) < 0) {
		crew_fail(c, &err);
		return NULL;
	}
	p.source = source;
	p.stats = &stats;
	p.lock = &c->lock;
	crew_work(c, &p);
	pthread_mutex_lock(&c->lock);
	add_stats(c->pull->stats, &stats);
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

/* The caller works as well, with the source that it has. */
static int pull_layers(struct pull *p, const struct manifest *manifest, struct node_image *image,
		       struct err *err)
{
	struct crew c = {.pull = p, .manifest = manifest, .image = image};
	unsigned n_jobs = p->options->n_jobs ? p->options->n_jobs : JOBS_DEFAULT, n_threads = 0;
	pthread_t threads[JOBS_MAX];
	struct pull_stats stats = {0};
	struct pull own = *p;

	own.stats = &stats;
	own.lock = &c.lock;
	pthread_mutex_init(&c.lock, NULL);
	while (p->options->open_source && n_threads + 1 < n_jobs && n_threads < JOBS_MAX &&
	       n_threads + 1 < image->n_layers &&
	       pthread_create(&threads[n_threads], NULL, crew_main, &c) == 0)
		n_threads++;
	crew_work(&c, &own);
	for (unsigned i = 0; i < n_threads; i++)
		pthread_join(threads[i], NULL);
	pthread_mutex_destroy(&c.lock);
	add_stats(p->stats, &stats);
	if (c.err.code)
		*err = c.err;
	return c.err.code;
}

static bool claims_paths(const struct annotations *a)
{
	for (size_t i = 0; i < a->len; i++)
		if (strncmp(a->items[i].key, ANNOTATION_PATH_PREFIX,
			    strlen(ANNOTATION_PATH_PREFIX)) == 0)
			return true;
	return false;
}

/* Where signatures are wanted: a layer that says that it is one of store paths, and is not, has none that anybody could
 * have signed. */
static int refuse_unchecked(const struct node_sources *sources, const struct node_image *image,
			    const struct manifest *manifest, struct err *err)
{
	if (!node_sources_require_signatures(sources))
		return 0;
	if (manifest->layers.len != image->n_layers)
		return err_set(err, E_INVALID, "the manifest has %zu layers, its config %zu",
			       manifest->layers.len, image->n_layers);
	for (size_t i = 0; i < image->n_layers; i++)
		if (!image->layers[i].record.len &&
		    claims_paths(&manifest->layers.items[i].annotations))
			return err_set(err, E_DENIED,
				       "layer %zu: the signatures of its store paths cannot be "
				       "checked: its annotations name some, but its content is not "
				       "that of a store layer",
				       i);
	return 0;
}

/* Signatures, where they are wanted, of what each layer is, however it is mounted. Those that refer to the image are asked
 * for once it is clear that they are needed. */
static int check_signatures(struct pull *p, const struct node_image *image,
			    const struct manifest *manifest, struct err *err)
{
	struct node_sources *sources = p->options->sources;
	cleanup_referrer_infos struct referrer_infos said = {0};
	bool is_asked = false;

	if (sources && refuse_unchecked(sources, image, manifest, err) < 0)
		return err->code;
	for (size_t i = 0; sources && i < image->n_layers; i++) {
		const struct node_layer *layer = &image->layers[i];

		if (!layer->record.len ||
		    node_sources_is_settled(sources, p->store, &layer->diff_id))
			continue;
		if (!is_asked && referrer_infos_read(&said, p->source, &image->digest,
						     layer->record.store_dir, err) < 0)
			return err->code;
		is_asked = true;
		if (node_sources_check(sources, p->store, &layer->diff_id, &layer->record, &said,
				       err) < 0)
			return err->code;
	}
	return 0;
}

/* The manifest of an image that was pulled. */
static int load_manifest(struct node_store *store, const struct hash *digest, struct manifest *ret,
			 struct err *err)
{
	cleanup_buf struct buf bytes = {0};

	return node_store_get_blob(store, digest, &bytes, err) < 0
		       ? err->code
		       : manifest_parse(ret, NULL, buf_slice(&bytes), err);
}

/* refuse_unchecked() of an image that was pulled. */
static int refuse_loaded(const struct node_sources *sources, const struct node_image *image,
			 struct node_store *store, struct err *err)
{
	cleanup_manifest struct manifest manifest = {0};

	if (!node_sources_require_signatures(sources))
		return 0;
	if (load_manifest(store, &image->digest, &manifest, err) < 0)
		return err->code;
	return refuse_unchecked(sources, image, &manifest, err);
}

int node_image_check(const struct node_image *image, struct node_store *store,
		     struct node_sources *sources, struct err *err)
{
	if (refuse_loaded(sources, image, store, err) < 0)
		return err->code;
	for (size_t i = 0; i < image->n_layers; i++)
		if (image->layers[i].record.len &&
		    node_sources_check(sources, store, &image->layers[i].diff_id,
				       &image->layers[i].record, NULL, err) < 0)
			return err->code;
	return 0;
}

static int load_layers(struct node_image *image, struct node_store *store, struct err *err)
{
	if (init_layers(image, err) < 0)
		return err->code;
	for (size_t i = 0; i < image->n_layers; i++)
		if (!layer_is_present(store, &image->layers[i]))
			return err_set(err, E_NOTFOUND, "layer %zu is not on this node", i);
	return 0;
}

/* The digest of the config: as it was noted when the image was pulled, else from the manifest. */
static int find_config(struct node_store *store, const struct hash *digest, struct hash *ret,
		       struct err *err)
{
	cleanup_manifest struct manifest manifest = {0};
	struct err ignored = ERR_INIT;

	if (node_store_get_config_of(store, digest, ret, &ignored) >= 0)
		return 0;
	if (load_manifest(store, digest, &manifest, err) < 0)
		return err->code;
	if (!manifest.has_config)
		return err_set(err, E_UNSUPPORTED, "this is an artifact, not an image");
	*ret = manifest.config.digest;
	return 0;
}

static int load(struct node_image *ret, struct node_store *store, const struct hash *digest,
		bool may_be_ready, struct err *err)
{
	cleanup_buf struct buf config = {0};
	struct node_image image = {.digest = *digest};
	struct hash config_digest;
	int r;

	if (find_config(store, digest, &config_digest, err) < 0 ||
	    node_store_get_blob(store, &config_digest, &config, err) < 0)
		return err->code;
	r = image_config_parse(&image.config, buf_slice(&config), err);
	if (r >= 0 && !(may_be_ready && node_ready_load(&image.ready, store, digest))) {
		r = load_layers(&image, store, err);
		if (r >= 0)
			r = unmix_layers(store, NULL, &image, NULL, err);
	}
	if (r < 0) {
		node_image_release(&image);
		return r;
	}
	*ret = image;
	return 0;
}

int node_image_load(struct node_image *ret, struct node_store *store, const struct hash *digest,
		    struct err *err)
{
	return load(ret, store, digest, false, err);
}

int node_image_load_ready(struct node_image *ret, struct node_store *store,
			  const struct hash *digest, struct err *err)
{
	return load(ret, store, digest, true, err);
}

/* Were all layers found to be signed before? */
static bool is_settled(const struct pull *p, const struct node_image *image)
{
	const struct node_sources *sources = p->options->sources;
	struct err ignored = ERR_INIT;

	if (!sources)
		return true;
	for (size_t i = 0; i < image->n_layers; i++)
		if (image->layers[i].record.len &&
		    !node_sources_is_settled(sources, p->store, &image->layers[i].diff_id))
			return false;
	return refuse_loaded(sources, image, p->store, &ignored) >= 0;
}

/* What the tag names is the image that was pulled before, or an index that has it for this platform. */
static bool is_known(const struct pull *p, const struct hash *digest)
{
	return hash_equal(digest, p->options->known) ||
	       node_store_is_member(p->store, p->options->known, digest, p->options->platform);
}

/* Last: a manifest that is there says that all it names was there, and it is under its names on the disk by then. `index` HASH_NONE: it is no member. */
static int note_manifest(struct pull *p, const struct manifest_bytes *bytes,
			 const struct manifest *manifest, const struct hash *index, struct err *err)
{
	if (node_store_sync(p->store, err) < 0 ||
	    node_store_put_blob(p->store, &bytes->digest, buf_slice(&bytes->bytes), err) < 0 ||
	    node_store_put_config_of(p->store, &bytes->digest, &manifest->config.digest, err) < 0)
		return err->code;
	return index->algo == HASH_NONE ? 0
					: node_store_put_index_of(p->store, &bytes->digest, index,
								  p->options->platform, err);
}

/* 1: the image is still the one that was pulled before, and all of it is here. Signatures are
 * looked for where the image is: where they are wanted and were not found yet, all is asked anew. */
static int pull_known(struct pull *p, struct node_image *ret, struct err *err)
{
	const struct pull_options *o = p->options;
	struct node_image image = {0};
	struct err why = ERR_INIT;
	struct hash digest;
	bool is_strict;

	if (!o->known || !p->source->resolve)
		return 0;
	if (p->source->resolve(p->source, &digest, &why) < 0) {
		/* What else is wrong, the manifest itself will show. */
		if (why.code == E_NET)
			*err = why;
		return why.code == E_NET ? E_NET : 0;
	}
	/* For signatures the layers must be known. */
	is_strict = o->sources && node_sources_require_signatures(o->sources);
	if (!is_known(p, &digest) || load(&image, p->store, o->known, !is_strict, &why) < 0)
		return 0;
	if (!is_settled(p, &image)) {
		node_image_release(&image);
		return 0;
	}
	p->stats->layers_present += image.config.n_diff_ids;
	*ret = image;
	return 1;
}

int node_image_pull(struct node_image *ret, struct node_store *store, struct image_source *source,
		    const struct pull_options *options, struct pull_stats *stats, struct err *err)
{
	struct pull p = {store, source, options, stats, NULL};
	cleanup_manifest_bytes struct manifest_bytes bytes = {0};
	cleanup_manifest struct manifest manifest = {0};
	struct node_image image = {0};
	struct hash index = {0};
	int r = pull_known(&p, ret, err);

	if (r != 0)
		return r < 0 ? err_wrap(err, "pull %s", source->name) : 0;
	r = pull_manifest(&p, &manifest, &bytes, &index, err);
	if (r >= 0) {
		image.digest = bytes.digest;
		r = pull_config(&p, &manifest, &image, err);
	}
	if (r >= 0)
		r = pull_layers(&p, &manifest, &image, err);
	if (r >= 0)
		r = unmix_layers(store, &p, &image, &manifest, err);
	if (r >= 0)
		r = check_signatures(&p, &image, &manifest, err);
	if (r >= 0)
		r = note_manifest(&p, &bytes, &manifest, &index, err);
	if (r < 0) {
		node_image_release(&image);
		return err_wrap(err, "pull %s", source->name);
	}
	*ret = image;
	return 0;
}
