/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "base/mem.h"
#include "base/sinks.h"
#include "net/build.h"

enum { PATH_INFOS_MAX = 256 << 20 };

/* One image under construction. */
struct build {
	struct path_source *source;
	struct image_dest *dest;
	const struct build_options *options;
	struct frame_pool *pool; /* owned */
	struct path_infos set;
	size_t *roots; /* owned: indices into the set */
	size_t n_roots;
	struct path_survey *surveys; /* owned: one for each root */
	uint16_t machine;            /* of all paths */
	bool mixed;                  /* of more than one */
	struct grouping grouping;
	struct image_layer *layers; /* owned; the root layer last */
	size_t n_layers;
};

static void build_release(struct build *b)
{
	for (size_t i = 0; b->surveys && i < b->n_roots; i++)
		path_survey_release(&b->surveys[i]);
	free(b->surveys);
	frame_pool_free(b->pool);
	free(b->roots);
	free(b->layers);
	grouping_release(&b->grouping);
	path_infos_release(&b->set);
}

static int find_closure(struct build *b, const struct store_path *roots, size_t n, struct err *err)
{
	b->roots = xcalloc(n, sizeof(*b->roots));
	b->surveys = xcalloc(n, sizeof(*b->surveys));
	b->n_roots = n;
	for (size_t i = 0; i < n; i++) {
		path_survey_init(&b->surveys[i]);
		for (size_t j = 0; b->options->link_dirs && j < b->options->link_dirs->len; j++)
			path_survey_add_dir(&b->surveys[i], b->options->link_dirs->items[j]);
	}
	for (size_t i = 0; i < n; i++)
		if (b->source->closure(b->source, &roots[i], &b->set, err) < 0)
			return err->code;
	for (size_t i = 0; i < n; i++)
		b->roots[i] = (size_t)(path_infos_find(&b->set, store_path_base(&roots[i])) -
				       b->set.items);
	return path_infos_check_closed(&b->set, err);
}

/* Writes one layer: called by the destination, perhaps more than once. */
struct layer_producer {
	struct blob_producer producer;
	struct build *build;
	const struct layer_group *group; /* NULL: the root layer */
	const struct root_layer *root;
	/* Results: */
	struct hash diff_id;
	uint16_t machine; /* of its paths */
	bool mixed;
};

/* Hands the events of a path to the layer, and to the surveys that want them. */
struct path_tap {
	struct node_sink node_sink;
	struct node_sink *layer;
	struct path_survey any; /* its machine */
	struct path_survey *survey;
	struct build *build;
};

static int tap_event(struct node_sink *self, const struct node_event *ev, struct err *err)
{
	struct path_tap *t = container_of(self, struct path_tap, node_sink);
	const struct build_options *o = t->build->options;

	if (node_sink_event(t->layer, ev, err) < 0 ||
	    node_sink_event(t->survey ? &t->survey->node_sink : &t->any.node_sink, ev, err) < 0)
		return err->code;
	if (ev->type == NODE_CONTENT && o->progress)
		o->progress(o->progress_data, ev->data.len);
	return 0;
}

/* One more path or layer, which has this machine, if any. */
static void note_machine(uint16_t *machine, bool *mixed, uint16_t its_machine, bool is_mixed)
{
	if (is_mixed || (its_machine && *machine && its_machine != *machine))
		*mixed = true;
	if (its_machine)
		*machine = its_machine;
}

static struct path_survey *survey_of_root(struct build *b, size_t index)
{
	for (size_t i = 0; i < b->n_roots; i++)
		if (b->roots[i] == index)
			return &b->surveys[i];
	return NULL;
}

static int write_path(struct layer_producer *p, struct layer_writer *w, size_t index,
		      struct err *err)
{
	struct build *b = p->build;
	const struct path_info *info = &b->set.items[index];
	struct path_tap tap = {.node_sink = {tap_event},
			       .layer = layer_writer_node_sink(w),
			       .build = b,
			       .survey = survey_of_root(b, index)};
	const struct path_survey *seen = tap.survey ? tap.survey : &tap.any;
	int r;

	path_survey_init(&tap.any);
	if (tap.survey) { /* a second call of the producer begins anew */
		strv_release(&tap.survey->programs);
		strv_release(&tap.survey->links);
		buf_reset(&tap.survey->path);
	}
	r = layer_writer_path(w, store_path_base(&info->path), err);
	if (r >= 0)
		r = b->source->dump(b->source, info, &tap.node_sink, err);
	if (r >= 0)
		note_machine(&p->machine, &p->mixed, seen->elf_machine, seen->elf_mixed);
	path_survey_release(&tap.any);
	return r;
}

static int produce_paths(struct layer_producer *p, struct sink *out, struct err *err)
{
	struct build *b = p->build;
	struct layer_writer *w;
	int r;

	if (layer_writer_new(&w, out, b->source->store_dir, b->options->compression, b->pool, err) <
	    0)
		return err->code;
	r = 0;
	p->machine = 0;
	p->mixed = false;
	for (size_t i = 0; r >= 0 && i < p->group->len; i++)
		r = write_path(p, w, p->group->paths[i], err);
	if (r >= 0)
		r = layer_writer_end(w, &p->diff_id, err);
	layer_writer_free(w);
	return r;
}

static int produce_layer(struct blob_producer *self, struct sink *out, struct err *err)
{
	struct layer_producer *p = container_of(self, struct layer_producer, producer);

	if (p->group)
		return produce_paths(p, out, err);
	return root_layer_encode(p->root, p->build->options->compression, out, &p->diff_id, err);
}

static int put_layer(struct build *b, struct layer_producer *p, struct image_layer *ret,
		     struct err *err)
{
	cleanup_descriptor struct descriptor want = {
		.media_type = xstrdup(image_layer_media_type(b->options->compression))};
	struct blob_id id;

	p->producer.produce = produce_layer;
	p->build = b;
	if (image_put_blob(b->dest, &want, &p->producer, &id, err) < 0)
		return err->code;
	*ret = (struct image_layer){.blob = {id.digest, id.size}, .diff_id = p->diff_id};
	return 0;
}

/* Takes the surveys of the given paths of this group from the cache: all, or it is false. */
static bool find_surveys(struct build *b, const struct layer_group *group)
{
	for (size_t i = 0; i < group->len; i++) {
		struct path_survey *s = survey_of_root(b, group->paths[i]);
		const struct hash *nar_hash = &b->set.items[group->paths[i]].nar_hash;

		if (s && !build_cache_find_survey(b->options->cache, nar_hash, s))
			return false;
	}
	return true;
}

/* Whether all is known of a layer, and the destination has it. `group` NULL: the root layer. */
static bool find_layer(struct build *b, const struct layer_group *group, const struct hash *key,
		       struct known_layer *ret)
{
	cleanup_descriptor struct descriptor blob = {0};
	struct err ignored = ERR_INIT; /* what is wrong, putting the layer will tell */

	/* It may keep layers in another form than it is given. */
	if (b->dest->images_only || !build_cache_find_layer(b->options->cache, key, ret) ||
	    (group && !find_surveys(b, group)))
		return false;
	descriptor_make(&blob, image_layer_media_type(b->options->compression), &ret->blob.digest,
			ret->blob.size);
	return image_has_blob(b->dest, &blob, &ignored) > 0;
}

static void keep_layer(struct build *b, const struct layer_group *group, const struct hash *key,
		       const struct known_layer *layer)
{
	if (b->dest->images_only)
		return;
	build_cache_keep_layer(b->options->cache, key, layer);
	for (size_t i = 0; group && i < group->len; i++) {
		const struct path_survey *s = survey_of_root(b, group->paths[i]);

		if (s)
			build_cache_keep_survey(b->options->cache,
						&b->set.items[group->paths[i]].nar_hash, s);
	}
}

/* Puts the layer, unless it is known. */
static int put_known_layer(struct build *b, struct layer_producer *p, const struct hash *key,
			   struct image_layer *ret, struct err *err)
{
	struct known_layer layer = {0};

	if (find_layer(b, p->group, key, &layer)) {
		*ret = (struct image_layer){.blob = {layer.blob.digest, layer.blob.size},
					    .diff_id = layer.diff_id};
	} else {
		if (put_layer(b, p, ret, err) < 0)
			return err->code;
		layer = (struct known_layer){.blob = {ret->blob.digest, ret->blob.size},
					     .diff_id = ret->diff_id,
					     .elf_machine = p->machine,
					     .elf_mixed = p->mixed};
		keep_layer(b, p->group, key, &layer);
	}
	note_machine(&b->machine, &b->mixed, layer.elf_machine, layer.elf_mixed);
	return 0;
}

static int put_store_layer(struct build *b, const struct layer_group *group,
			   struct image_layer *ret, struct err *err)
{
	struct layer_producer p = {.group = group};
	struct hash key;

	build_cache_layer_key(&key, &b->set, group, b->source->store_dir, b->options->compression);
	if (put_known_layer(b, &p, &key, ret, err) < 0)
		return err->code;
	ret->paths = group->paths;
	ret->n_paths = group->len;
	return 0;
}

static int put_root_layer(struct build *b, const struct root_layer *root, struct image_layer *ret,
			  struct err *err)
{
	struct layer_producer p = {.root = root};
	struct hash key, diff_id;

	if (root_layer_encode(root, IMAGE_NONE, null_sink(), &diff_id, err) < 0)
		return err->code;
	build_cache_root_key(&key, &diff_id, b->options->compression);
	return put_known_layer(b, &p, &key, ret, err);
}

static int put_store_layers(struct build *b, struct err *err)
{
	bool has_root = !b->options->no_root_layer;

	if (grouping_make(&b->grouping, &b->set, b->options->max_layers, has_root, err) < 0)
		return err->code;
	for (size_t i = 0; i < b->grouping.len; i++) {
		if (put_store_layer(b, &b->grouping.layers[i], &b->layers[b->n_layers], err) < 0)
			return err->code;
		b->n_layers++;
	}
	return 0;
}

static void replace_text(char **field, const char *value)
{
	if (!value)
		return;
	free(*field);
	*field = xstrdup(value);
}

static void replace_list(struct strv *field, const struct strv *value, bool set)
{
	if (!set)
		return;
	strv_release(field);
	if (value)
		strv_copy(field, value);
}

/* Settings of the environment replace those of the same name. */
static void merge_env(struct strv *env, const struct strv *more)
{
	for (size_t i = 0; more && i < more->len; i++) {
		size_t name_len = strcspn(more->items[i], "=") + 1;
		bool found = false;

		for (size_t j = 0; j < env->len; j++)
			if (strncmp(env->items[j], more->items[i], name_len) == 0) {
				free(env->items[j]);
				env->items[j] = xstrdup(more->items[i]);
				found = true;
			}
		if (!found)
			strv_add(env, more->items[i]);
	}
}

static void apply_options(struct image_config *config, const struct build_options *o)
{
	replace_text(&config->created, o->created);
	replace_text(&config->user, o->user);
	replace_text(&config->working_dir, o->working_dir);
	/* An entry point of one's own does not want the main program as its argument. */
	replace_list(&config->cmd, o->cmd, o->has_cmd || o->has_entrypoint);
	replace_list(&config->entrypoint, o->entrypoint, o->has_entrypoint);
	merge_env(&config->env, o->env);
	if (o->exposed_ports)
		strv_copy(&config->exposed_ports, o->exposed_ports);
	if (o->volumes)
		strv_copy(&config->volumes, o->volumes);
	strv_sort_unique(&config->exposed_ports);
	strv_sort_unique(&config->volumes);
	if (o->labels)
		annotations_copy(&config->labels, o->labels);
	if (o->platform) {
		replace_text(&config->os, o->platform->os);
		replace_text(&config->architecture, o->platform->architecture);
		replace_text(&config->variant, o->platform->variant);
	}
}

static int make_config(struct build *b, struct image_config *config, struct root_layer *root,
		       struct err *err)
{
	cleanup_free struct image_root *roots = xcalloc(b->n_roots, sizeof(*roots));

	for (size_t i = 0; i < b->n_roots; i++)
		roots[i] = (struct image_root){
			.path = &b->set.items[b->roots[i]].path,
			.programs = &b->surveys[i].programs,
			.links = &b->surveys[i].links,
			.elf_machine = b->surveys[i].elf_machine,
			.elf_mixed = b->surveys[i].elf_mixed,
		};
	if (b->options->platform)
		config->architecture = xstrdup(b->options->platform->architecture);
	if (image_defaults(config, root, roots, b->n_roots, b->mixed ? 0 : b->machine, err) < 0)
		return err->code;
	if (b->options->no_root_layer) { /* there is no /bin to find it in */
		strv_release(&config->env);
		if (config->cmd.len) {
			char *program =
				xasprintf("%s%s", roots[0].path->text, config->cmd.items[0]);

			free(config->cmd.items[0]);
			config->cmd.items[0] = program;
		}
	}
	apply_options(config, b->options);
	return 0;
}

/* The path infos travel as a referrer of the image. */
static int put_path_infos(struct build *b, const struct descriptor *subject, struct err *err)
{
	cleanup_buf struct buf text = BUF_INIT(PATH_INFOS_MAX);
	cleanup_manifest_bytes struct manifest_bytes manifest = {
		.bytes = BUF_INIT(MANIFEST_BYTES_MAX), .media_type = xstrdup(MT_OCI_MANIFEST)};
	struct named_bytes layer;
	struct blob_id id;

	if (b->dest->images_only)
		return 0;
	if (path_infos_format(&text, &b->set) < 0)
		return err_set(err, E_LIMIT, "the path infos are too large");
	if (image_put_blob_bytes(b->dest, MT_NIX_NARINFO, buf_slice(&text), &id, err) < 0 ||
	    image_put_blob_bytes(b->dest, MT_OCI_EMPTY, slice_str(OCI_EMPTY_JSON), NULL, err) < 0)
		return err_wrap(err, "path infos");
	layer = (struct named_bytes){id.digest, id.size};
	if (path_infos_manifest(&manifest.bytes, subject, &layer) < 0)
		return err_set(err, E_INTERNAL, "path infos manifest");
	hash_bytes(&manifest.digest, HASH_SHA256, manifest.bytes.data, manifest.bytes.len);
	return image_put_manifest(b->dest, &manifest, NULL, err);
}

static int put_image(struct build *b, struct image_config *config, const char *tag,
		     struct build_result *result, struct err *err)
{
	cleanup_buf struct buf config_json = BUF_INIT(IMAGE_CONFIG_BYTES_MAX);
	cleanup_manifest_bytes struct manifest_bytes manifest = {
		.bytes = BUF_INIT(MANIFEST_BYTES_MAX), .media_type = xstrdup(MT_OCI_MANIFEST)};
	struct image_parts parts = {&b->set, b->layers, b->n_layers, b->options->compression};
	cleanup_descriptor struct descriptor subject = {0};
	cleanup_manifest struct manifest parsed = {0};

	manifest.parsed = &parsed;
	if (image_assemble(&config_json, &manifest.bytes, &parsed, config, &parts, err) < 0 ||
	    image_put_blob_bytes(b->dest, MT_OCI_CONFIG, buf_slice(&config_json), NULL, err) < 0)
		return err->code;
	hash_bytes(&manifest.digest, HASH_SHA256, manifest.bytes.data, manifest.bytes.len);
	descriptor_make(&subject, MT_OCI_MANIFEST, &manifest.digest, manifest.bytes.len);
	/* The image first: some registries want to know the subject. */
	if (image_put_manifest(b->dest, &manifest, tag, err) < 0 ||
	    put_path_infos(b, &subject, err) < 0)
		return err->code;
	result->digest = manifest.digest;
	result->manifest_size = manifest.bytes.len;
	return 0;
}

static int build_image(struct build *b, const char *tag, struct build_result *result,
		       struct err *err)
{
	cleanup_image_config struct image_config config = {0};
	struct root_layer *root = root_layer_new();
	int r;

	/* At most one layer a path, and the root layer. */
	b->layers = xcalloc(b->set.len + 1, sizeof(*b->layers));
	r = put_store_layers(b, err);

	if (r >= 0)
		r = make_config(b, &config, root, err);
	if (r >= 0 && !b->options->no_root_layer) {
		r = put_root_layer(b, root, &b->layers[b->n_layers], err);
		b->n_layers += r >= 0;
	}
	if (r >= 0)
		r = put_image(b, &config, tag, result, err);
	root_layer_free(root);
	return r;
}

int image_build(struct build_result *ret, struct path_source *source, struct image_dest *dest,
		const struct build_options *options, struct err *err)
{
	struct build b = {
		.source = source, .dest = dest, .options = options, .pool = frame_pool_new(0)};
	struct build_result result = {0};
	int r = find_closure(&b, options->roots, options->n_roots, err);

	if (r >= 0)
		r = build_image(&b, options->tag, &result, err);
	if (r >= 0)
		r = image_dest_finish(dest, err);
	if (r >= 0) {
		result.n_paths = b.set.len;
		result.n_layers = b.n_layers;
		for (size_t i = 0; i < b.set.len; i++)
			result.nar_bytes += b.set.items[i].nar_size;
		*ret = result;
	}
	build_release(&b);
	return r;
}
