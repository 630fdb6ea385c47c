/* SPDX-License-Identifier: Apache-2.0 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nacre/closure.h>
#include <nacre/image.h>

#include "store/claims-internal.h"
#include "store/layer-scan.h"
#include "store/parallel.h"
#include "store/stored-content.h"

void claims_release(struct claims *c)
{
	for (size_t i = 0; i < c->len; i++)
		path_info_release(&c->infos[i]);
	free(c->infos);
	free(c->nars);
	free(c->attested);
	*c = (struct claims){0};
}

static void collection_release(struct collection *k)
{
	for (size_t i = 0; i < k->len; i++)
		path_info_release(&k->items[i].info);
	free(k->items);
	free(k->again);
	layer_paths_release(&k->subject);
}

void claims_refuse(struct claims *c, size_t n, const char *fmt, ...)
{
	struct err text = ERR_INIT;
	va_list ap;

	va_start(ap, fmt);
	err_vset(&text, E_INVALID, fmt, ap);
	va_end(ap);
	if (!c->refusal[0])
		snprintf(c->refusal, sizeof(c->refusal), "%s", text.text);
	c->refused += n;
}

struct claim *claim_add(struct collection *k, const struct layer_path *path)
{
	struct claim *claim;

	array_grow(k->items, k->cap, k->len + 1);
	claim = &k->items[k->len];
	*claim = (struct claim){.nar = path->nar, .attested = ATTEST_IMAGE};
	claim->info.nar_hash = path->nar_hash;
	claim->info.nar_size = path->nar_size;
	k->len++;
	return claim;
}

/* ---- Blobs ---- */

int claims_paths_of(struct store_view *v, int64_t blob, enum layer_kind *ret_kind,
		    struct layer_paths *ret, struct err *err)
{
	int r = blob_ingest(v, blob, ret_kind, err);
	struct conn *c;

	if (r < 0 || *ret_kind == LAYER_ORDINARY)
		return r;
	c = reader(v, err);
	if (!c)
		return err->code;
	r = layer_paths_read(c, blob, ret, err);
	reader_done(v, c);
	return r;
}

/* ---- Images ---- */

/* Do the annotations say what the layer holds? */
static bool claims_agree(const struct path_infos *claimed, const struct layer_paths *paths)
{
	if (claimed->len != paths->len)
		return false;
	for (size_t i = 0; i < paths->len; i++) {
		const struct path_info *info = &claimed->items[i];
		const struct layer_path *path = &paths->items[i];

		if (strcmp(info->path.text, path->path) != 0 ||
		    !hash_equal(&info->nar_hash, &path->nar_hash) ||
		    info->nar_size != path->nar_size)
			return false;
	}
	return true;
}

static void layer_take(struct collection *k, const struct layer_paths *paths,
		       const struct path_infos *claimed, bool has_references)
{
	for (size_t i = 0; i < paths->len; i++) {
		struct claim *claim = claim_add(k, &paths->items[i]);

		store_path_parse_any(&claim->info.path, slice_str(paths->items[i].path));
		claim->has_references = has_references;
		if (has_references)
			strv_copy(&claim->info.references, &claimed->items[i].references);
	}
}

static bool in_store_dir(const struct collection *k, const struct layer_paths *paths)
{
	struct store_path path;

	return paths->len &&
	       store_path_parse(&path, k->store_dir, slice_str(paths->items[0].path)) >= 0;
}

static int refuse_many(struct collection *k, size_t n)
{
	claims_refuse(k->claims, n, "the image has more than %d store paths", IMAGE_PATHS_MAX);
	return 0;
}

static int image_layer(struct collection *k, const struct descriptor *layer, int64_t blob,
		       struct err *err)
{
	cleanup_layer_paths struct layer_paths paths = {0};
	cleanup_path_infos struct path_infos claimed = {0};
	enum layer_kind kind;
	bool has_references = false;
	int r;

	if (k->len == IMAGE_PATHS_MAX)
		return refuse_many(k, 0);
	r = claims_paths_of(k->view, blob, &kind, &paths, err);
	if (r < 0 || kind != LAYER_STORE)
		return r < 0 ? r : 0;
	if (paths.len > IMAGE_PATHS_MAX - k->len)
		return refuse_many(k, paths.len);
	if (!in_store_dir(k, &paths)) {
		claims_refuse(k->claims, paths.len,
			      "a layer holds paths of another store directory than %s",
			      k->store_dir);
		return 0;
	}
	r = image_layer_claims(&claimed, &has_references, &layer->annotations);
	if (r == E_INVALID || (r >= 0 && !claims_agree(&claimed, &paths))) {
		claims_refuse(
			k->claims, paths.len,
			"the annotations of a layer contradict its content: it is taken as an "
			"ordinary"
			" layer");
		return 0;
	}
	layer_take(k, &paths, &claimed, r >= 0 && has_references);
	return 0;
}

/* ---- References that nobody told ---- */

struct scan {
	struct collection *k;
	struct strv bases; /* of all paths of the image */
};

static int known_references(struct collection *k, struct claim *claim, struct err *err)
{
	cleanup_binding struct binding b = {0};
	struct conn *c = reader(k->view, err);
	int r;

	if (!c)
		return err->code;
	r = binding_find(c, k->view, k->store_dir, store_path_hash_part(&claim->info.path), &b,
			 err);
	reader_done(k->view, c);
	if (r > 0 && b.nar == claim->nar) {
		strv_copy(&claim->info.references, &b.info.references);
		claim->has_references = true;
	}
	return r;
}

/* As Nix finds them: by the hash parts in the content. */
static int scan_one(void *arg, size_t i, struct err *err)
{
	struct scan *scan = arg;
	struct claim *claim = &scan->k->items[i];
	cleanup_nar struct nar n = {0};
	struct ref_scanner *scanner;
	struct conn *c;
	int r = claim->has_references ? 1 : known_references(scan->k, claim, err);

	if (r < 0 || claim->has_references)
		return r;
	c = reader(scan->k->view, err);
	if (!c)
		return err->code;
	r = nar_find_id(c, claim->nar, &n, err);
	reader_done(scan->k->view, c);
	if (r <= 0)
		return r < 0 ? r : err_set(err, E_NOTFOUND, "a NAR is gone");
	scanner = ref_scanner_new(&scan->bases);
	r = nar_decode(scan->k->view->store, &n, ref_scanner_sink(scanner), err);
	if (r >= 0)
		ref_scanner_found(scanner, &claim->info.references);
	ref_scanner_free(scanner);
	strv_sort_unique(&claim->info.references);
	return r;
}

static int references_scan(struct collection *k, struct err *err)
{
	struct scan scan = {k, {0}};
	int r;

	for (size_t i = 0; i < k->len; i++)
		strv_add(&scan.bases, store_path_base(&k->items[i].info.path));
	strv_sort_unique(&scan.bases);
	r = parallel_run(k->view->store->options.threads, k->len, scan_one, &scan, err);
	strv_release(&scan.bases);
	return r;
}

/* ---- All together ---- */

static int claim_compare(const void *a, const void *b)
{
	return strcmp(((const struct claim *)a)->info.path.text,
		      ((const struct claim *)b)->info.path.text);
}

/* Does the claim count? What was fetched counts as a path of a cache upstream does: signed by a key that
 * is trusted here or that is the upstream's, content-addressed, or whatever it is where the
 * operator says so. */
static bool claim_admit(struct collection *k, struct claim *claim)
{
	const struct store_trust *t = k->parts->fetched;

	claim->attested = attestation_of(k->view, &claim->info, claim->attested);
	if (!t || claim->attested >= ATTEST_CONTENT)
		return true;
	if (t->n_keys && path_info_verify(&claim->info, t->keys, t->n_keys))
		claim->attested = ATTEST_WRITER;
	else if (!t->all)
		claims_refuse(k->claims, 1,
			      "%s comes from an upstream, and is neither signed by a key that is"
			      " trusted nor content-addressed",
			      claim->info.path.text);
	return claim->attested == ATTEST_WRITER || t->all;
}

static void claims_admit(struct collection *k)
{
	size_t n = 0;

	for (size_t i = 0; i < k->len; i++) {
		if (claim_admit(k, &k->items[i]))
			k->items[n++] = k->items[i];
		else
			path_info_release(&k->items[i].info);
	}
	k->len = n;
}

/* Gives the claims away, sorted; of two for one path the first counts. */
static void collection_end(struct collection *k, struct claims *ret)
{
	claims_admit(k);
	qsort(k->items, k->len, sizeof(*k->items), claim_compare);
	ret->infos = xcalloc(k->len + 1, sizeof(*ret->infos));
	ret->nars = xcalloc(k->len + 1, sizeof(*ret->nars));
	ret->attested = xcalloc(k->len + 1, sizeof(*ret->attested));
	for (size_t i = 0; i < k->len; i++) {
		struct claim *claim = &k->items[i];

		if (i > 0 && claim_compare(claim, claim - 1) == 0) {
			if (claim->nar != claim[-1].nar)
				claims_refuse(ret, 1,
					      "%s is in the image twice, with different content",
					      claim->info.path.text);
			claim->nar = claim[-1].nar;
			continue;
		}
		ret->nars[ret->len] = claim->nar;
		ret->attested[ret->len] = claim->attested;
		ret->infos[ret->len++] = claim->info;
		claim->info = (struct path_info){0};
		claim->info.path = ret->infos[ret->len - 1].path; /* to compare the next with */
	}
}

static bool is_of_interest(const struct descriptor *d)
{
	return media_type_is_layer(d->media_type) ||
	       strncmp(d->media_type, MT_NIX_NAR, strlen(MT_NIX_NAR)) == 0;
}

/* ---- What the layers hold ---- */

struct layers {
	const struct collection *k;
	struct layer_scan *scans; /* owned; one a layer */
	atomic_size_t n_paths;    /* found so far */
};

static void layers_release(struct layers *l)
{
	for (size_t i = 0; l->scans && i < l->k->parts->m->layers.len; i++)
		layer_scan_release(&l->scans[i]);
	free(l->scans);
}

struct blob_at {
	int64_t blob;
	size_t index;
};

static int blob_compare(const void *a, const void *b)
{
	const struct blob_at *x = a, *y = b;

	return x->blob != y->blob ? (x->blob > y->blob) - (x->blob < y->blob)
				  : (x->index > y->index) - (x->index < y->index);
}

/* Anybody may name one layer ten thousand times: it is looked at, and counts, once. */
static void find_again(struct collection *k)
{
	size_t n = k->parts->m->layers.len;
	cleanup_free struct blob_at *all = xcalloc(n + 1, sizeof(*all));

	k->again = xcalloc(n + 1, sizeof(*k->again));
	for (size_t i = 0; i < n; i++)
		all[i] = (struct blob_at){k->parts->layer_blobs[i], i};
	qsort(all, n, sizeof(*all), blob_compare);
	for (size_t i = 1; i < n; i++)
		k->again[all[i].index] = all[i].blob == all[i - 1].blob;
}

static int layer_look(void *arg, size_t i, struct err *err)
{
	struct layers *l = arg;
	const struct manifest_parts *p = l->k->parts;
	enum layer_kind kind;
	int r;

	if (!p->layer_blobs[i] || l->k->again[i] || !is_of_interest(&p->m->layers.items[i]) ||
	    atomic_load(&l->n_paths) >= IMAGE_PATHS_MAX)
		return 0;
	if (frames_later(l->k->view->store)) {
		r = layer_scan(l->k->view, p->layer_blobs[i], &l->scans[i], err);
		atomic_fetch_add(&l->n_paths, l->scans[i].paths.len);
		return r;
	}
	return blob_ingest(l->k->view, p->layer_blobs[i], &kind, err);
}

static int layers_job(struct conn *c, void *arg, struct err *err)
{
	const struct layers *l = arg;
	int r = 0;

	for (size_t i = 0; i < l->k->parts->m->layers.len && r >= 0; i++)
		r = layer_scan_record(c, &l->scans[i], err);
	return r;
}

/* All layers beside each other, and what is found is recorded together. */
static int layers_look(const struct collection *k, bool *ret_any, struct err *err)
{
	size_t n = k->parts->m->layers.len;
	__attribute__((cleanup(layers_release))) struct layers l = {
		.k = k, .scans = xcalloc(n + 1, sizeof(*l.scans))};
	struct store *s = k->view->store;
	bool any = false;
	int r = parallel_run(s->options.threads, n, layer_look, &l, err);

	for (size_t i = 0; i < n; i++)
		any = any || l.scans[i].kind != LAYER_UNKNOWN;
	if (r >= 0 && any)
		r = db_write(s->db, layers_job, &l, err);
	*ret_any = any;
	return r;
}

static int collect(struct collection *k, struct err *err)
{
	const struct manifest_parts *p = k->parts;
	const char *type = manifest_artifact_type(p->m);
	int r = 0;

	if (p->m->has_subject && strcmp(type, MT_NIX_PATH_INFOS) == 0)
		return claims_of_path_infos(k, err);
	/* Images and packages have no signatures in them. */
	if (p->fetched && !p->fetched->all)
		return 0;
	if (strcmp(type, MT_NIX_PACKAGE) == 0)
		return claims_of_package(k, err);
	for (size_t i = 0; i < p->m->layers.len && r >= 0; i++)
		if (p->layer_blobs[i] && !k->again[i] &&
		    media_type_is_layer(p->m->layers.items[i].media_type))
			r = image_layer(k, &p->m->layers.items[i], p->layer_blobs[i], err);
	return r < 0 ? r : references_scan(k, err);
}

bool claims_possible(struct store_view *v, const struct manifest *m)
{
	char store_dir[STORE_DIR_MAX + 1];

	return m->kind == MANIFEST_IMAGE && view_store_dir(v, store_dir) &&
	       (m->layers.len || m->has_subject ||
		strcmp(manifest_artifact_type(m), MT_NIX_PACKAGE) == 0);
}

int claims_collect(struct store_view *v, const struct manifest_parts *parts, struct claims *ret,
		   struct err *err)
{
	CLEANUP(content_free) struct content *guard = content_new(v->store);
	__attribute__((cleanup(collection_release))) struct collection k = {
		.view = v, .parts = parts, .claims = ret};
	bool any;
	int r;

	if (parts->m->kind != MANIFEST_IMAGE || !view_store_dir(v, k.store_dir))
		return 0;
	find_again(&k);
	r = layers_look(&k, &any, err);
	if (r >= 0)
		r = collect(&k, err);
	if (r >= 0 && k.len)
		collection_end(&k, ret);
	ret->fetched = parts->fetched != NULL;
	ret->to_settle = frames_later(v->store) && (any || ret->len);
	return r < 0 ? r : 0;
}

/* ---- Binding ---- */

struct by_height {
	uint32_t height;
	size_t index;
};

static int height_compare(const void *a, const void *b)
{
	const struct by_height *x = a, *y = b;

	return x->height != y->height ? (x->height < y->height ? -1 : 1)
				      : (x->index > y->index) - (x->index < y->index);
}

/* What a path refers to before the path. In a cycle nothing can be bound, and nothing is. */
static struct by_height *order_make(const struct claims *claims)
{
	struct path_infos set = {.items = claims->infos, .len = claims->len};
	struct by_height *order = xcalloc(claims->len + 1, sizeof(*order));
	uint32_t *heights = xcalloc(claims->len + 1, sizeof(*heights));
	struct err ignored = ERR_INIT;

	path_infos_heights(&set, heights, &ignored);
	for (size_t i = 0; i < claims->len; i++)
		order[i] = (struct by_height){heights[i], i};
	qsort(order, claims->len, sizeof(*order), height_compare);
	free(heights);
	return order;
}

static int claim_bind(struct conn *c, struct store_view *v, const struct claims *claims, size_t i,
		      struct err *err)
{
	cleanup_nar struct nar n = {0};
	struct offer offer;
	int r = nar_find_id(c, claims->nars[i], &n, err);

	if (r > 0 && !hash_equal(&n.nar_hash, &claims->infos[i].nar_hash))
		r = 0;
	if (r == 0)
		return err_set(err, E_NOTFOUND, "the NAR of %s is gone",
			       claims->infos[i].path.text);
	offer = (struct offer){.info = &claims->infos[i],
			       .nar = &n,
			       .attested = claims->attested[i],
			       .later = frames_later(v->store),
			       .fetched = claims->fetched};
	return r < 0 ? r : binding_put(c, v, &offer, err);
}

int claims_bind(struct conn *c, struct store_view *v, struct claims *claims, size_t *ret_bound,
		struct err *err)
{
	cleanup_free struct by_height *order = order_make(claims);
	size_t bound = 0;

	for (size_t i = 0; i < claims->len; i++) {
		struct err why = ERR_INIT;
		int r = claim_bind(c, v, claims, order[i].index, &why);

		if (r >= 0) {
			bound++;
		} else if (r == E_CONFLICT || r == E_NOTFOUND || r == E_LIMIT || r == E_DENIED) {
			claims_refuse(claims, 1, "%s", why.text);
		} else {
			*err = why;
			return r;
		}
	}
	*ret_bound = bound;
	return 0;
}
