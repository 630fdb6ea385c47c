/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include <nacre/reference.h>

#include "store/made-internal.h"
#include "store/settle.h"
#include "store/stored-content.h"

enum { MAKING_TRIES = 5 };

/* The paths that are in the name of the repository, with a '.' behind each. `ret` has CLOSURE_NAME_MAX
 * bytes; -1: they are too many. */
static int repository_paths(const char *repository, char *ret)
{
	const char *at = repository + strlen(MADE_IMAGE_REPOSITORY);
	size_t len = strlen(at);

	if (len > (size_t)(CLOSURE_ROOTS_MAX - 1) * (STORE_HASH_LEN + 1))
		return -1;
	for (size_t i = 0; i < len; i++)
		ret[i] = at[i + 1] == '/' || !at[i + 1] ? '.' : at[i + 1];
	return (int)len;
}

bool made_tag_parse(const char *repository, const char *tag, struct made_tag *ret)
{
	struct made_tag t = {.kind = repository_made_kind(repository)};
	char name[CLOSURE_NAME_MAX + TAG_MAX + 1];
	const char *suffix = name;
	int prefix = t.kind == MADE_IMAGE ? repository_paths(repository, t.paths) : 0;
	size_t n;

	if (t.kind == MADE_NONE || prefix < 0 || strlen(tag) > TAG_MAX)
		return false;
	memcpy(name, t.paths, (size_t)prefix);
	memcpy(name + prefix, tag, strlen(tag) + 1);
	n = closure_name_parse(name, &suffix);
	if (!n || (t.kind == MADE_PACKAGE && n > 1))
		return false;
	memcpy(t.paths, name, (size_t)(suffix - name));
	if (strcmp(suffix, "-tar") == 0)
		t.compression = IMAGE_NONE;
	else if (strcmp(suffix, "-gzip") == 0)
		t.compression = IMAGE_GZIP;
	else if (strcmp(suffix, "-native") == 0)
		t.native = true;
	else if (suffix[0])
		return false;
	if (t.kind == MADE_PACKAGE && suffix[0])
		return false;
	if (ret)
		*ret = t;
	return true;
}

/* ---- Package artifacts ---- */

/* The layer of exactly this path or, where it cannot be one, its NAR. */
static int package_layer(struct store_view *v, const struct closure *k, struct product_blob *layer,
			 const char **ret_media_type, struct err *err)
{
	cleanup_nar struct nar n = {0};
	struct err why = ERR_INIT;
	struct conn *c;
	int r = made_layer_single(v->store, k, k->roots[0], IMAGE_ZSTD, layer, &why);

	*ret_media_type = MT_OCI_LAYER_ZSTD;
	if (r >= 0)
		return r;
	if (r != E_UNSUPPORTED) {
		*err = why;
		return r;
	}
	c = reader(v, err);
	if (!c)
		return err->code;
	r = nar_find_id(c, k->nars[k->roots[0]], &n, err);
	reader_done(v, c);
	if (r <= 0)
		return r < 0 ? r : err_set(err, E_NOTFOUND, "the NAR is gone");
	*ret_media_type = MT_NIX_NAR_ZSTD;
	layer->name = (struct named_bytes){n.file_hash, n.file_size};
	layer->form = BLOB_OBJECT;
	layer->object = n.object;
	return 0;
}

static int package_make(struct store_view *v, const char *repository, const char *tag,
			const struct closure *k, struct err *err)
{
	__attribute__((cleanup(product_release))) struct product p = {
		.view = v,
		.repository = repository,
		.tag = tag,
		.layers = xcalloc(1, sizeof(struct product_blob)),
		.n_layers = 1,
		.manifest = BUF_INIT(MANIFEST_BYTES_MAX),
	};
	const struct path_info *info = &k->set.items[k->roots[0]];
	cleanup_buf struct buf config = BUF_INIT(MANIFEST_BYTES_MAX);
	const char *type;
	int r = package_layer(v, k, &p.layers[0], &type, err);

	if (r >= 0 && package_config(&config, info) < 0)
		r = err_set(err, E_LIMIT, "%s has too many references", info->path.text);
	if (r >= 0)
		r = product_blob_text(&p.config, v->store, buf_slice(&config), err);
	if (r >= 0 &&
	    package_manifest(&p.manifest, info, &p.config.name, type, &p.layers[0].name) < 0)
		r = err_set(err, E_LIMIT, "%s has too many references", info->path.text);
	return r < 0 ? r : product_store(&p, k, err);
}

/* ---- One at a time ---- */

static int make(struct store_view *v, const char *repository, const char *tag, struct err *err)
{
	CLEANUP(content_free) struct content *guard = content_new(v->store);
	cleanup_closure struct closure k = {0};
	struct made_tag t;
	int r;

	if (!made_tag_parse(repository, tag, &t))
		return err_set(err, E_NOTFOUND, "%s does not name a store path", tag);
	r = closure_read(v, t.paths, t.kind == MADE_IMAGE, &k, err);
	if (r >= 0)
		r = nars_frame(v->store, k.nars, k.set.len, err);
	if (r < 0)
		return r;
	if (t.kind == MADE_PACKAGE)
		return package_make(v, repository, tag, &k, err);
	return made_image(v, repository, tag, &t, &k, err);
}

/* An image or package that somebody makes. */
struct making {
	struct store_view *view;
	const char *repository, *tag; /* borrowed */
};

static bool making_same(const void *a, const void *b)
{
	const struct making *x = a, *y = b;

	return x->view == y->view && strcmp(x->repository, y->repository) == 0 &&
	       strcmp(x->tag, y->tag) == 0;
}

/* Of what changes meanwhile it is made anew; not for ever. */
static int making_work(void *arg, struct err *err)
{
	const struct making *m = arg;
	int r = E_CANCELLED;

	for (int tries = 0; r == E_CANCELLED && tries < MAKING_TRIES; tries++) {
		*err = ERR_INIT;
		r = make(m->view, m->repository, m->tag, err);
	}
	return r;
}

void made_begin(struct store *s)
{
	single_flight_init(&s->making, making_work, making_same);
}

int made_make(struct store_view *v, const char *repository, const char *tag, struct err *err)
{
	return single_flight_do(&v->store->making, &(struct making){v, repository, tag}, err);
}

/* ---- Path infos ---- */

struct made_row {
	int64_t manifest;
	char paths[CLOSURE_NAME_MAX];
	bool whole;
	bool current;
};

static int made_find(struct store_view *v, const char *repository, const struct hash *subject,
		     struct made_row *ret, struct err *err)
{
	struct conn *c = reader(v, err);
	struct query q;
	int r;

	if (!c)
		return err->code;
	query_init(&q, c,
		   "SELECT made.manifest, hash_part, whole, made.generation = view.generation"
		   " FROM repository JOIN view ON view.id = repository.view"
		   " JOIN manifest ON manifest.repository = repository.id AND digest = ?3"
		   " JOIN made ON made.manifest = manifest.id"
		   " WHERE repository.view = ?1 AND repository.name = ?2");
	query_bind_int(&q, 1, v->id);
	query_bind_str(&q, 2, repository);
	query_bind_hash(&q, 3, subject);
	r = query_step(&q, err);
	if (r > 0) {
		struct slice hash = query_bytes(&q, 1);

		*ret = (struct made_row){.manifest = query_int(&q, 0),
					 .whole = query_int(&q, 2),
					 .current = query_int(&q, 3)};
		memcpy(ret->paths, hash.data,
		       hash.len < CLOSURE_NAME_MAX ? hash.len : CLOSURE_NAME_MAX - 1);
	}
	query_end(&q);
	reader_done(v, c);
	return r;
}

int made_infos_refresh(struct store_view *v, const char *repository, const struct hash *subject,
		       struct err *err)
{
	cleanup_closure struct closure k = {0};
	struct made_row row = {0};
	int r;

	if (repository_made_kind(repository) == MADE_NONE)
		return 0;
	r = made_find(v, repository, subject, &row, err);
	if (r <= 0 || row.current)
		return r < 0 ? r : 0;
	r = closure_read(v, row.paths, row.whole, &k, err);
	if (r == E_NOTFOUND && strchr(row.paths, '.')) {
		/* One of several paths has gone: the image stays as it is, and so do they. */
		*err = ERR_INIT;
		return 0;
	}
	return r < 0 ? r : product_infos_replace(v, repository, row.manifest, &k, err);
}
