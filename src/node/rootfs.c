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

int rootfs_mount(const struct node_store *store, const struct node_image *image,
		 const struct rootfs_options *options, struct view_mounts *ret, struct err *err)
{
	cleanup_free char *upper = xasprintf("%s/upper", options->dir);
	cleanup_free char *work = xasprintf("%s/work", options->dir);
	cleanup_free char *target = xasprintf("%s/rootfs", options->dir);
	cleanup_image_view struct image_view v = {0};

	if (image_view_init(&v, store, image, err) < 0 ||
	    make_dir(options->dirfd, "rootfs", err) < 0)
		return err->code;
	if (!options->read_only) {
		if (make_dir(options->dirfd, "upper", err) < 0 ||
		    make_dir(options->dirfd, "work", err) < 0)
			return err->code;
		v.spec.upper = upper;
		v.spec.work = work;
	}
	v.spec.kind = options->kind;
	v.spec.is_volatile = options->is_volatile;
	return view_mount(&v.spec, options->target ? options->target : target, ret, err);
}
