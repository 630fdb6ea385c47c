/* SPDX-License-Identifier: Apache-2.0 */
/* SPEC nacre 4, 4.2: the image of a closure, put together from what is stored. */
#include <string.h>

#include <nacre/nar.h>

#include "store/bodies.h"
#include "store/made-internal.h"
#include "store/parallel.h"
#include "store/stored-content.h"

/* ---- One layer ---- */

static void layer_paths_of(struct layer_paths *ret, const struct closure *k, const size_t *indices,
			   size_t n)
{
	ret->items = xcalloc(n, sizeof(*ret->items));
	ret->len = ret->cap = n;
	for (size_t i = 0; i < n; i++) {
		const struct path_info *info = &k->set.items[indices[i]];

		ret->items[i] = (struct layer_path){
			.path = xstrdup(info->path.text),
			.nar = k->nars[indices[i]],
			.nar_hash = info->nar_hash,
			.nar_size = info->nar_size,
		};
	}
}

/* The digest of a splice's bytes, or of what they decode to. */
static int splice_name(struct store *s, const struct splice *splice, enum content_form form,
		       struct named_bytes *ret, struct err *err)
{
	CLEANUP(content_free) struct content *content = content_new(s);
	struct splice copy;

	splice_copy(&copy, splice);
	content_set_splice(content, form, &copy);
	ret->size = content_size(content);
	return content_hash(content, HASH_SHA256, &ret->digest, err);
}

struct layer_names {
	struct named_bytes tar, zstd; /* HASH_NONE: not known */
	int64_t body;                 /* that they can be noted with; 0: none */
};

/* A layer of one path may have been named when its glue was made, or by now. */
static int names_known(struct store *s, const struct layer_paths *paths, struct layer_names *ret,
		       struct err *err)
{
	struct body body = {0};
	struct store_path path;
	int r;

	if (paths->len != 1)
		return 0;
	store_path_parse_any(&path, slice_str(paths->items[0].path));
	r = body_make(s, paths->items[0].nar, &path, &body, err);
	if (r < 0)
		return r;
	if (body.current_encoder)
		*ret = (struct layer_names){body.tar, body.zstd, body.id};
	body_release(&body);
	return 0;
}

/* What a layer is called, in a compression: `names` is what is known of it, and is completed. */
static int names_find(struct store *s, const struct splice *splice,
		      enum image_compression compression, struct layer_names *names,
		      struct err *err)
{
	bool tar = names->tar.digest.algo == HASH_NONE, any = tar;
	int r = 0;

	if (tar)
		r = splice_name(s, splice, CONTENT_DECODED, &names->tar, err);
	if (r >= 0 && compression == IMAGE_ZSTD && names->zstd.digest.algo == HASH_NONE) {
		any = true;
		r = splice_name(s, splice, CONTENT_SPLICE, &names->zstd, err);
	}
	if (r >= 0 && any && names->body)
		r = body_name(s, names->body, &names->tar.digest, &names->zstd.digest, err);
	return r;
}

/* gzip is made once and kept: another zlib might not make the same bytes again. */
static int layer_gzip(struct store *s, struct product_blob *b, struct err *err)
{
	CLEANUP(content_free) struct content *content = content_new(s);
	struct sink *encoder;
	int r;

	content_set_splice(content, CONTENT_DECODED, &b->splice);
	incoming_init(&b->bytes, s);
	r = encoder_new(&encoder, CODEC_GZIP, 0, &b->bytes.sink, err);
	if (r < 0)
		return r;
	r = content_copy(content, encoder, err);
	if (r >= 0)
		r = sink_finish(encoder, err);
	encoder_free(encoder);
	return r < 0 ? r : product_blob_written(b, err);
}

/* b->paths is set. */
static int layer_make(struct store *s, enum image_compression compression, struct product_blob *b,
		      struct err *err)
{
	struct layer_names names = {0};
	int r = layer_splice(s, &b->paths, &b->splice, err);

	if (r < 0)
		return r;
	b->layer = LAYER_STORE;
	r = names_known(s, &b->paths, &names, err);
	if (r >= 0)
		r = names_find(s, &b->splice, compression, &names, err);
	if (r < 0)
		return r;
	b->diff_id = names.tar.digest;
	if (compression == IMAGE_GZIP)
		return layer_gzip(s, b, err);
	b->form = compression == IMAGE_ZSTD ? BLOB_SPLICE : BLOB_DECODED;
	b->name = compression == IMAGE_ZSTD ? names.zstd : names.tar;
	return 0;
}

int made_layer_single(struct store *s, const struct closure *k, size_t path,
		      enum image_compression compression, struct product_blob *ret, struct err *err)
{
	layer_paths_of(&ret->paths, k, &path, 1);
	int r = layer_make(s, compression, ret, err);

	if (r < 0)
		product_blob_release(ret);
	return r;
}

/* ---- All layers ---- */

struct image {
	struct store_view *view;
	const struct made_tag *tag;
	const struct closure *closure;
	struct grouping grouping;
	struct product product;
	struct image_layer *layers; /* owned; as many as product.layers */
	struct path_survey roots[CLOSURE_ROOTS_MAX];
	uint16_t machine; /* of the closure, if no root has one */
};

static void image_release(struct image *im)
{
	product_release(&im->product);
	grouping_release(&im->grouping);
	for (size_t i = 0; i < CLOSURE_ROOTS_MAX; i++)
		path_survey_release(&im->roots[i]);
	free(im->layers);
}

/* The i-th run of paths. */
static int derive_run(void *arg, size_t i, struct err *err)
{
	struct image *im = arg;
	const struct closure *k = im->closure;
	struct body_wanted wanted[BODIES_MAX];
	size_t n = 0;

	for (size_t at = i * BODIES_MAX; at < k->set.len && n < BODIES_MAX; at++)
		wanted[n++] = (struct body_wanted){k->nars[at], &k->set.items[at].path};
	return bodies_derive(im->view->store, wanted, n, err);
}

static int layer_one(void *arg, size_t i, struct err *err)
{
	struct image *im = arg;
	const struct layer_group *group = &im->grouping.layers[i];
	struct product_blob *b = &im->product.layers[i];
	struct image_layer *layer = &im->layers[i];
	int r;

	layer_paths_of(&b->paths, im->closure, group->paths, group->len);
	r = layer_make(im->view->store, im->tag->compression, b, err);
	layer->blob = b->name;
	layer->diff_id = b->diff_id;
	layer->paths = group->paths;
	layer->n_paths = group->len;
	return r;
}

static int layers_make(struct image *im, struct err *err)
{
	unsigned threads = im->view->store->options.threads;
	size_t max = im->tag->native ? 0 : GROUP_MAX_LAYERS_DEFAULT;
	size_t runs = (im->closure->set.len + BODIES_MAX - 1) / BODIES_MAX;
	int r = parallel_run(threads, runs, derive_run, im, err);

	if (r >= 0)
		r = grouping_make(&im->grouping, &im->closure->set, max, true, err);
	if (r < 0)
		return r;
	im->product.n_layers = im->grouping.len + 1; /* the root layer is the last */
	im->product.layers = xcalloc(im->product.n_layers, sizeof(*im->product.layers));
	im->layers = xcalloc(im->product.n_layers, sizeof(*im->layers));
	return parallel_run(threads, im->grouping.len, layer_one, im, err);
}

/* ---- What is in the paths ---- */

static int survey_path(struct image *im, size_t i, struct path_survey *survey, struct err *err)
{
	cleanup_nar struct nar n = {0};
	struct nar_decoder decoder;
	struct conn *c = reader(im->view, err);
	int r;

	if (!c)
		return err->code;
	r = nar_find_id(c, im->closure->nars[i], &n, err);
	reader_done(im->view, c);
	if (r <= 0)
		return r < 0 ? r : err_set(err, E_NOTFOUND, "a NAR is gone");
	nar_decoder_init(&decoder, &survey->node_sink);
	r = nar_decode(im->view->store, &n, &decoder.sink, err);
	nar_decoder_release(&decoder);
	return r;
}

struct machines {
	struct image *image;
	uint16_t *of; /* owned; by path; UINT16_MAX: more than one */
};

static int machine_one(void *arg, size_t i, struct err *err)
{
	struct machines *m = arg;
	struct path_survey survey;
	int r;

	path_survey_init(&survey);
	r = survey_path(m->image, i, &survey, err);
	m->of[i] = survey.elf_mixed ? UINT16_MAX : survey.elf_machine;
	path_survey_release(&survey);
	return r;
}

/* The machine that all paths agree on, or 0. */
static int closure_machine(struct image *im, struct err *err)
{
	size_t n = im->closure->set.len;
	struct machines m = {im, xcalloc(n, sizeof(*m.of))};
	int r = parallel_run(im->view->store->options.threads, n, machine_one, &m, err);

	for (size_t i = 0; i < n && r >= 0; i++) {
		if (m.of[i] && im->machine && m.of[i] != im->machine) {
			im->machine = 0;
			break;
		}
		if (m.of[i])
			im->machine = m.of[i];
	}
	if (im->machine == UINT16_MAX)
		im->machine = 0;
	free(m.of);
	return r;
}

static bool has_machine(const struct image *im)
{
	for (size_t i = 0; i < im->closure->n_roots; i++)
		if (im->roots[i].elf_machine)
			return true;
	return false;
}

static int survey(struct image *im, struct err *err)
{
	for (size_t i = 0; i < im->closure->n_roots; i++) {
		int r = survey_path(im, im->closure->roots[i], &im->roots[i], err);

		if (r < 0)
			return r;
	}
	return has_machine(im) || im->view->store->options.architecture ? 0
									: closure_machine(im, err);
}

/* ---- The rest ---- */

static int root_layer_make(struct image *im, const struct root_layer *root, struct err *err)
{
	size_t i = im->product.n_layers - 1;
	struct product_blob *b = &im->product.layers[i];
	int r;

	incoming_init(&b->bytes, im->view->store);
	b->layer = LAYER_ORDINARY;
	r = root_layer_encode(root, im->tag->compression, &b->bytes.sink, &im->layers[i].diff_id,
			      err);
	if (r >= 0)
		r = product_blob_written(b, err);
	im->layers[i].blob = b->name;
	return r;
}

static int config_make(struct image *im, struct image_config *config, struct root_layer *root,
		       struct err *err)
{
	const struct closure *k = im->closure;
	struct image_root roots[CLOSURE_ROOTS_MAX] = {0};
	const char *architecture = im->view->store->options.architecture;
	int r;

	for (size_t i = 0; i < k->n_roots; i++)
		roots[i] = (struct image_root){
			.path = &k->set.items[k->roots[i]].path,
			.programs = &im->roots[i].programs,
			.elf_machine = im->roots[i].elf_machine,
			.elf_mixed = im->roots[i].elf_mixed,
		};
	/* Not the time that the server's own environment asks for. */
	config->created = xstrdup(IMAGE_CREATED_DEFAULT);
	if (!has_machine(im) && architecture)
		config->architecture = xstrdup(architecture);
	r = image_defaults(config, root, roots, k->n_roots, im->machine, err);
	return r == E_USAGE
		       ? err_set(err, E_UNSUPPORTED,
				 "%s: the architecture of its image cannot be known: there is no"
				 " program in it, or there are some for several machines",
				 k->set.items[k->roots[0]].path.text)
		       : r;
}

static int assemble(struct image *im, struct image_config *config, struct err *err)
{
	cleanup_buf struct buf json = BUF_INIT(IMAGE_CONFIG_BYTES_MAX);
	struct image_parts parts = {&im->closure->set, im->layers, im->product.n_layers,
				    im->tag->compression};
	cleanup_manifest struct manifest parsed = {0};
	int r;

	im->product.manifest = BUF_INIT(MANIFEST_BYTES_MAX);
	r = image_assemble(&json, &im->product.manifest, &parsed, config, &parts, err);
	return r < 0 ? r
		     : product_blob_text(&im->product.config, im->view->store, buf_slice(&json),
					 err);
}

int made_image(struct store_view *v, const char *repository, const char *tag,
	       const struct made_tag *t, const struct closure *k, struct err *err)
{
	__attribute__((cleanup(image_release))) struct image im = {
		.view = v,
		.tag = t,
		.closure = k,
		.product = {.view = v, .repository = repository, .tag = tag},
	};
	cleanup_image_config struct image_config config = {0};
	struct root_layer *root = root_layer_new();
	int r;

	for (size_t i = 0; i < CLOSURE_ROOTS_MAX; i++)
		path_survey_init(&im.roots[i]);
	r = survey(&im, err);
	if (r >= 0)
		r = config_make(&im, &config, root, err);
	if (r >= 0)
		r = layers_make(&im, err);
	if (r >= 0)
		r = root_layer_make(&im, root, err);
	root_layer_free(root);
	if (r >= 0)
		r = assemble(&im, &config, err);
	return r < 0 ? r : product_store(&im.product, k, err);
}
