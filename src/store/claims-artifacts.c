/* SPDX-License-Identifier: Apache-2.0 */
/* Store paths that come as package artifacts, and path infos that refer to images (SPEC nacre
 * 4, 5). */
#include <string.h>

#include <nacre/image.h>

#include "store/claims-internal.h"
#include "store/stored-content.h"

enum {
	CONFIG_MAX = 4 << 20,
	PATH_INFOS_MAX = 64 << 20, /* bytes of the narinfos of a closure */
};

static int blob_bytes(struct store_view *v, int64_t blob, size_t max, struct buf *ret,
		      struct err *err)
{
	CLEANUP(content_free) struct content *content = content_new(v->store);
	struct conn *c = reader(v, err);
	struct buf_sink sink;
	int r;

	if (!c)
		return err->code;
	r = blob_content(content, c, blob, err);
	reader_done(v, c);
	if (r < 0)
		return r;
	ret->max = max;
	if (content_size(content) > max)
		return err_set(err, E_LIMIT, "a document of %llu bytes, %zu are the limit",
			       (unsigned long long)content_size(content), max);
	buf_sink_init(&sink, ret);
	return content_copy(content, &sink.sink, err);
}

/* ---- Package artifacts ---- */

int claims_of_package(struct collection *k, struct err *err)
{
	const struct manifest_parts *p = k->parts;
	cleanup_layer_paths struct layer_paths paths = {0};
	cleanup_path_info struct path_info info = {0};
	cleanup_buf struct buf config = {0};
	struct err why = ERR_INIT;
	enum layer_kind kind;
	struct claim *claim;
	int r;

	if (!p->config_blob || p->m->layers.len != 1 || !p->layer_blobs[0])
		return 0;
	r = claims_paths_of(k->view, p->layer_blobs[0], &kind, &paths, err);
	if (r < 0)
		return r;
	r = blob_bytes(k->view, p->config_blob, CONFIG_MAX, &config, &why);
	if (r >= 0)
		r = package_config_parse(&info, buf_slice(&config), &why);
	if (r < 0 || !slice_equal_str(store_path_dir(&info.path), k->store_dir)) {
		claims_refuse(k->claims, 1, "package: %s",
			      r < 0 ? why.text : "another store directory");
		return r == E_IO || r == E_INTERNAL ? (*err = why, r) : 0;
	}
	if (paths.len != 1 ||
	    (kind == LAYER_STORE && strcmp(paths.items[0].path, info.path.text) != 0) ||
	    !hash_equal(&paths.items[0].nar_hash, &info.nar_hash) ||
	    paths.items[0].nar_size != info.nar_size) {
		claims_refuse(k->claims, 1,
			      "package: the layer is not %s as the configuration says",
			      info.path.text);
		return 0;
	}
	claim = claim_add(k, &paths.items[0]);
	path_info_copy(&claim->info, &info);
	claim->has_references = true;
	return 0;
}

/* ---- Path infos ---- */

/* A NAR of this hash that the view has, for a path that is bound to it. */
static int bound_nar(struct collection *k, const struct path_info *info, struct nar *ret,
		     struct err *err)
{
	cleanup_binding struct binding b = {0};
	struct conn *c = reader(k->view, err);
	int r;

	if (!c)
		return err->code;
	r = binding_find(c, k->view, k->store_dir, store_path_hash_part(&info->path), &b, err);
	if (r > 0 &&
	    (strcmp(b.info.path.text, info->path.text) != 0 ||
	     !hash_equal(&b.info.nar_hash, &info->nar_hash) || b.info.nar_size != info->nar_size))
		r = 0;
	if (r > 0)
		r = nar_find_id(c, b.nar, ret, err);
	reader_done(k->view, c);
	return r;
}

static int path_compare(const void *a, const void *b)
{
	return strcmp(((const struct layer_path *)a)->path, ((const struct layer_path *)b)->path);
}

static int subject_read(struct collection *k, struct conn *c, struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c,
		   "SELECT manifest_blob.blob FROM repository JOIN manifest"
		   " ON manifest.repository = repository.id AND digest = ?3"
		   " JOIN manifest_blob ON manifest_blob.manifest = manifest.id"
		   " WHERE view = ?1 AND name = ?2");
	query_bind_int(&q, 1, k->view->id);
	query_bind_str(&q, 2, k->parts->repository);
	query_bind_hash(&q, 3, &k->parts->m->subject.digest);
	while ((r = query_step(&q, err)) > 0) {
		r = k->subject.len < IMAGE_PATHS_MAX
			    ? layer_paths_read(c, query_int(&q, 0), &k->subject, err)
			    : 0;
		if (r < 0)
			break;
	}
	query_end(&q);
	if (k->subject.len)
		qsort(k->subject.items, k->subject.len, sizeof(*k->subject.items), path_compare);
	k->subject_read = true;
	return r;
}

/* A NAR of this hash that the subject's layers hold under this path. A view that can read the image
 * can read the NAR, also where the path was refused when the image came. */
static int subject_nar(struct collection *k, const struct path_info *info, struct nar *ret,
		       struct err *err)
{
	struct layer_path wanted = {.path = (char *)(uintptr_t)info->path.text};
	const struct layer_path *found;
	struct conn *c = reader(k->view, err);
	int r = 0;

	if (!c)
		return err->code;
	if (!k->subject_read)
		r = subject_read(k, c, err);
	found = r >= 0 && k->subject.len ? bsearch(&wanted, k->subject.items, k->subject.len,
						   sizeof(wanted), path_compare)
					 : NULL;
	if (found && hash_equal(&found->nar_hash, &info->nar_hash) &&
	    found->nar_size == info->nar_size)
		r = nar_find_id(c, found->nar, ret, err);
	reader_done(k->view, c);
	return r;
}

/* Does the content address verify? Forgets one that does not. */
static int ca_check(struct collection *k, struct claim *claim, const struct nar *n, struct err *err)
{
	struct err why = ERR_INIT;
	struct content_address ca;
	struct ca_verifier *verifier = NULL;
	int r = 0;

	if (path_info_ca_matches(&claim->info) > 0 &&
	    content_address_parse(&ca, slice_str(claim->info.ca)) >= 0)
		verifier = ca_verifier_new(&claim->info, &ca);
	if (verifier) {
		r = nar_decode(k->view->store, n, ca_verifier_sink(verifier), &why);
		if (r >= 0)
			r = ca_verifier_result(verifier, &why);
		ca_verifier_free(verifier);
	}
	if (r == E_IO || r == E_INTERNAL) {
		*err = why;
		return r;
	}
	if (r > 0)
		claim->attested = ATTEST_CONTENT;
	else
		free(take_ptr(claim->info.ca));
	return 0;
}

/* Signatures count over what is here: same path, NarHash and NarSize. */
static int path_info_claim(struct collection *k, const struct path_info *info, struct err *err)
{
	struct layer_path path = {.nar_hash = info->nar_hash, .nar_size = info->nar_size};
	cleanup_nar struct nar n = {0};
	struct claim *claim;
	int r = bound_nar(k, info, &n, err);

	if (r == 0)
		r = subject_nar(k, info, &n, err);
	if (r <= 0)
		return r; /* nothing here that it speaks of */
	path.nar = n.id;
	claim = claim_add(k, &path);
	path_info_copy(&claim->info, info);
	claim->has_references = true;
	/* Who may push images may attach them, and need have no right on the cache. */
	claim->attested = ATTEST_INFOS;
	return info->ca ? ca_check(k, claim, &n, err) : 0;
}

int claims_of_path_infos(struct collection *k, struct err *err)
{
	const struct manifest_parts *p = k->parts;
	cleanup_path_infos struct path_infos set = {0};
	cleanup_buf struct buf text = {0};
	struct err why = ERR_INIT;
	int r;

	if (p->m->layers.len != 1 || !p->layer_blobs[0] ||
	    strcmp(p->m->layers.items[0].media_type, MT_NIX_NARINFO) != 0)
		return 0;
	r = blob_bytes(k->view, p->layer_blobs[0], PATH_INFOS_MAX, &text, &why);
	if (r >= 0)
		r = path_infos_parse(&set, k->store_dir, buf_slice(&text), &why);
	if (r < 0) {
		claims_refuse(k->claims, 1, "path infos: %s", why.text);
		return r == E_IO || r == E_INTERNAL ? (*err = why, r) : 0;
	}
	for (size_t i = 0; i < set.len && r >= 0; i++)
		r = path_info_claim(k, &set.items[i], err);
	return r < 0 ? r : 0;
}
