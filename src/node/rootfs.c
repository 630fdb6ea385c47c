/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/fs.h"
#include "base/mem.h"
#include "node/rootfs.h"

/* Two strings a path; the paths borrow them once all are there. */
static int add_record(struct image_view *v, const struct node_store *store,
		      const struct layer_record *record, struct err *err)
{
	for (size_t i = 0; i < record->len; i++) {
		char *content = node_store_path_file(store, &record->paths[i].nar_hash);

		if (!content)
			return err_set(err, E_NOTFOUND, "%s/%s is not on this node",
				       record->store_dir, record->paths[i].base);
		strv_addf(&v->strings, "%s/%s", record->store_dir, record->paths[i].base);
		strv_take(&v->strings, content);
	}
	return 0;
}

static size_t count_paths(const struct node_image *image)
{
	size_t n = 0;

	for (size_t i = 0; i < image->n_layers; i++)
		n += image->layers[i].is_store ? image->layers[i].record.len : 0;
	return n;
}

static void fill_paths(struct image_view *v, const struct node_image *image)
{
	struct view_path *path = v->paths;
	char **string = v->strings.items;

	if (!string)
		return; /* no store layers */
	for (size_t i = image->n_layers; i-- > 0;) {
		const struct layer_record *record = &image->layers[i].record;

		for (size_t j = 0; image->layers[i].is_store && j < record->len; j++) {
			*path++ = (struct view_path){.path = string[0],
						     .content = string[1],
						     .nar_hash = record->paths[j].nar_hash};
			string += 2;
		}
	}
}

int image_view_init(struct image_view *ret, const struct node_store *store,
		    const struct node_image *image, struct err *err)
{
	cleanup_image_view struct image_view v = {0};

	node_stamp_take(&v.stamp, store);
	for (size_t i = image->n_layers; i-- > 0;) {
		const struct node_layer *layer = &image->layers[i];

		if (!layer->is_store)
			strv_take(&v.layers, node_store_layer_dir(store, &layer->diff_id));
		else if (add_record(&v, store, &layer->record, err) < 0)
			return err->code;
	}
	v.cache = xasprintf("%s/views", node_store_root(store));
	v.paths = xcalloc(count_paths(image) + 1, sizeof(*v.paths));
	*ret = v;
	v = (struct image_view){0};
	fill_paths(ret, image);
	ret->spec = (struct view_spec){
		.paths = ret->paths,
		.n_paths = count_paths(image),
		.layers = (const char *const *)ret->layers.items,
		.n_layers = ret->layers.len,
		.cache = ret->cache,
	};
	return 0;
}

void image_view_release(struct image_view *v)
{
	free(v->paths);
	free(v->cache);
	strv_release(&v->strings);
	strv_release(&v->layers);
	*v = (struct image_view){0};
}

static int make_dir(int dirfd, const char *name, struct err *err)
{
	if (mkdirat(dirfd, name, 0755) < 0 && errno != EEXIST)
		return err_errno(err, "create %s", name);
	return 0;
}

/* Where all contents lie in the node's own directory, and the metadata image in its cache. */
static void note_ready(const struct image_view *v, const struct node_store *store,
		       const struct node_image *image, const struct view_mounts *mounts)
{
	struct node_ready ready = {.image = mounts->image, .n_paths = v->spec.n_paths};
	cleanup_free char *data = xasprintf("%s/paths/", node_store_root(store));

	if (!mounts->image || !v->spec.n_paths)
		return;
	for (size_t i = 0; i < v->spec.n_paths; i++)
		if (strncmp(v->paths[i].content, data, strlen(data)) != 0)
			return;
	ready.layers = v->layers; /* borrowed */
	node_ready_store(&ready, store, &image->digest, &v->stamp);
}

static int mount_image(const struct node_store *store, const struct node_image *image,
		       const struct view_spec *how, const char *target, struct view_mounts *ret,
		       struct err *err)
{
	cleanup_image_view struct image_view v = {0};

	if (image_view_init(&v, store, image, err) < 0)
		return err->code;
	v.spec.upper = how->upper;
	v.spec.work = how->work;
	v.spec.kind = how->kind;
	v.spec.is_volatile = how->is_volatile;
	if (view_mount(&v.spec, target, ret, err) < 0)
		return err->code;
	note_ready(&v, store, image, ret);
	return 0;
}

/* 1: mounted as the time before; 0: it must be looked at in full. */
static int mount_ready(const struct node_store *store, const struct node_image *image,
		       const struct view_spec *how, const char *target, struct view_mounts *ret)
{
	cleanup_free char *cache = xasprintf("%s/views", node_store_root(store));
	struct view_spec spec = *how;
	struct err ignored = ERR_INIT;

	if (!image->ready.image || how->kind == VIEW_BIND)
		return 0;
	spec.cache = cache;
	spec.image = image->ready.image;
	spec.data_dir = image->ready.data_dir;
	spec.n_paths = image->ready.n_paths;
	spec.layers = (const char *const *)image->ready.layers.items;
	spec.n_layers = image->ready.layers.len;
	return view_mount(&spec, target, ret, &ignored) >= 0;
}

int rootfs_mount(struct node_store *store, const struct node_image *image,
		 const struct rootfs_options *options, struct view_mounts *ret, struct err *err)
{
	cleanup_free char *upper = xasprintf("%s/upper", options->dir);
	cleanup_free char *work = xasprintf("%s/work", options->dir);
	cleanup_free char *rootfs = xasprintf("%s/rootfs", options->dir);
	const char *target = options->target ? options->target : rootfs;
	struct view_spec how = {.kind = options->kind, .is_volatile = options->is_volatile};
	cleanup_node_image struct node_image full = {0};

	if (make_dir(options->dirfd, "rootfs", err) < 0)
		return err->code;
	if (!options->read_only) {
		if (make_dir(options->dirfd, "upper", err) < 0 ||
		    make_dir(options->dirfd, "work", err) < 0)
			return err->code;
		how.upper = upper;
		how.work = work;
	}
	if (mount_ready(store, image, &how, target, ret))
		return 0;
	if (image->ready.image) {
		if (node_image_load(&full, store, &image->digest, err) < 0)
			return err->code;
		image = &full;
	}
	return mount_image(store, image, &how, target, ret, err);
}
