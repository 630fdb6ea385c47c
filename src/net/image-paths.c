/* SPDX-License-Identifier: Apache-2.0 */
#include "net/image-paths.h"

#include <nacre/image.h>
#include <nacre/nar.h>

#include "base/mem.h"
#include "net/layer-spool.h"
#include "net/referred-infos.h"
#include "net/transfer.h"

CLEANUP_FUNC(struct ref_scanner, ref_scanner_free)

enum { PATH_INFOS_MAX = 256 << 20 }; /* bytes of the narinfos that referrers say, of all images */

struct image_paths {
	struct path_source source;
	struct image_source *from; /* borrowed */
	struct layer_spool spool;
	char store_dir[STORE_DIR_MAX + 1];
	/* While it is opened: what layers claim, and what path infos say; many sets, since two may
	 * speak of one path. */
	struct path_infos claims;
	struct path_infos *said; /* owned */
	size_t n_said, cap_said;
	size_t infos_left; /* bytes that may still be read */
	struct hash *seen; /* owned; layers and manifests done */
	size_t n_seen, cap_seen;
	struct strv packages; /* base names of the packages asked for */
};

static struct image_paths *from_source(struct path_source *self)
{
	return container_of(self, struct image_paths, source);
}

/* True the first time. */
static bool is_new(struct image_paths *p, const struct hash *digest)
{
	for (size_t i = 0; i < p->n_seen; i++)
		if (hash_equal(&p->seen[i], digest))
			return false;
	array_grow(p->seen, p->cap_seen, p->n_seen + 1);
	p->seen[p->n_seen++] = *digest;
	return true;
}

/* ---- What the image says
 * ------------------------------------------------------------------------- */

static void take_claims(struct image_paths *p, const struct descriptor *layer)
{
	struct path_infos claims = {0};
	bool has_references = false;

	/* Malformed ones are those of an ordinary layer; whether it is one, its content says. */
	if (image_layer_claims(&claims, &has_references, &layer->annotations) >= 0 &&
	    has_references)
		for (size_t i = 0; i < claims.len; i++)
			path_infos_take(&p->claims, &claims.items[i]);
	path_infos_release(&claims);
}

static int take_layers(struct image_paths *p, const struct manifest *m, struct err *err)
{
	for (size_t i = 0; i < m->layers.len; i++) {
		const struct descriptor *d = &m->layers.items[i];
		int r;

		if (!media_type_is_layer(d->media_type) || !is_new(p, &d->digest))
			continue;
		r = layer_spool_add(&p->spool, p->from, d, err);
		if (r < 0)
			return r;
		if (r > 0)
			take_claims(p, d);
	}
	return 0;
}

/* The path infos in one referrer. */
static int read_path_infos(struct image_paths *p, const struct descriptor *referrer,
			   const char *store_dir, struct err *err)
{
	struct path_infos set = {0};
	int r = referred_infos_get(&set, p->from, referrer, store_dir, &p->infos_left, err);

	if (r < 0)
		return r;
	array_grow(p->said, p->cap_said, p->n_said + 1);
	p->said[p->n_said++] = set;
	return 0;
}

static int take_path_infos(struct image_paths *p, const struct hash *subject, struct err *err)
{
	cleanup_descriptors struct descriptors list = {0};
	cleanup_free char *store_dir = NULL;
	int r;

	if (!p->spool.len)
		return 0;
	r = image_get_referrers(p->from, subject, MT_NIX_PATH_INFOS, &list, err);
	store_dir = xstrndup(p->spool.items[0].info.path.text, p->spool.items[0].info.path.dir_len);
	for (size_t i = 0; i < list.len && i < REFERRERS_READ_MAX && r >= 0; i++) {
		struct err why = ERR_INIT;

		if (!is_new(p, &list.items[i].digest))
			continue;
		/* Anybody who may write to the repository can attach one. A bad one must not keep
		 * the image from being used; it adds nothing. */
		if (read_path_infos(p, &list.items[i], store_dir, &why) == E_NET) {
			*err = why;
			return E_NET;
		}
	}
	return r < 0 ? r : 0;
}

/* ---- Packages
 * ------------------------------------------------------------------------------------ */

/* What is in a package, and which others it needs. */
static int take_package(struct image_paths *p, const struct manifest *m, struct err *err)
{
	cleanup_buf struct buf text = BUF_INIT(NARINFO_MAX);
	cleanup_path_info struct path_info info = {0};
	int r;

	if (!m->has_config || strcmp(m->config.media_type, MT_NIX_PACKAGE_CONFIG) != 0 ||
	    m->layers.len != 1)
		return err_set(err, E_INVALID,
			       "the package artifact has another config, or more "
			       "than one layer");
	r = image_get_blob_bytes(p->from, &m->config, NARINFO_MAX, &text, err);
	if (r >= 0)
		r = package_config_parse(&info, buf_slice(&text), err);
	if (r >= 0 && media_type_is_nar(m->layers.items[0].media_type))
		r = layer_spool_add_nar(&p->spool, p->from, &m->layers.items[0], &info, err);
	else if (r >= 0)
		r = layer_spool_add(&p->spool, p->from, &m->layers.items[0], err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < info.references.len; i++)
		if (!path_infos_find(&p->claims, info.references.items[i]))
			strv_add(&p->packages, info.references.items[i]);
	path_infos_take(&p->claims, &info);
	return 0;
}

static int take_manifest(struct image_paths *p, const struct manifest_bytes *bytes, unsigned depth,
			 struct err *err);

/* The packages that others need, one after another, and what they need. */
static int take_needed_packages(struct image_paths *p, struct err *err)
{
	for (size_t i = 0; i < p->packages.len; i++) {
		const char *base = p->packages.items[i];
		cleanup_manifest_bytes struct manifest_bytes bytes = {0};
		char tag[STORE_HASH_LEN + 1];
		int r;

		if (layer_spool_find(&p->spool, base))
			continue;
		snprintf(tag, sizeof(tag), "%.*s", STORE_HASH_LEN, base);
		r = image_get_manifest(p->from, tag, &bytes, err);
		if (r >= 0)
			r = take_manifest(p, &bytes, 0, err);
		if (r >= 0 && !layer_spool_find(&p->spool, base))
			r = err_set(err, E_MISMATCH, "is another package");
		if (r < 0)
			return err_wrap(err, "package %s", base);
	}
	return 0;
}

static int take_members(struct image_paths *p, const struct manifest *index, unsigned depth,
			struct err *err)
{
	for (size_t i = 0; i < index->manifests.len; i++) {
		const struct descriptor *d = &index->manifests.items[i];
		cleanup_manifest_bytes struct manifest_bytes bytes = {0};
		char digest[DIGEST_TEXT_MAX];
		int r;

		if (!media_type_is_manifest(d->media_type) || !is_new(p, &d->digest))
			continue;
		digest_format(digest, &d->digest);
		r = image_get_manifest(p->from, digest, &bytes, err);
		if (r >= 0)
			r = take_manifest(p, &bytes, depth + 1, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Recursion: at most TRANSFER_DEPTH_MAX. */
static int take_manifest(struct image_paths *p, const struct manifest_bytes *bytes, unsigned depth,
			 struct err *err)
{
	cleanup_manifest struct manifest m = {0};
	int r;

	if (depth > TRANSFER_DEPTH_MAX)
		return err_set(err, E_LIMIT, "indexes are nested deeper than %d",
			       TRANSFER_DEPTH_MAX);
	r = manifest_parse(&m, bytes->media_type, buf_slice(&bytes->bytes), err);
	if (r >= 0 && m.kind == MANIFEST_INDEX)
		r = take_members(p, &m, depth, err);
	else if (r >= 0 && strcmp(manifest_artifact_type(&m), MT_NIX_PACKAGE) == 0)
		r = take_package(p, &m, err);
	else if (r >= 0)
		r = take_layers(p, &m, err);
	return r < 0 ? r : take_path_infos(p, &bytes->digest, err);
}

/* ---- What the paths are
 * -------------------------------------------------------------------------- */

static bool same_references(const struct strv *a, const struct strv *b)
{
	if (a->len != b->len)
		return false;
	for (size_t i = 0; i < a->len; i++)
		if (strcmp(a->items[i], b->items[i]) != 0)
			return false;
	return true;
}

/* What a set says of this very content, or NULL. */
static const struct path_info *find_said(const struct path_infos *set, const struct path_info *info)
{
	const struct path_info *said = path_infos_find(set, store_path_base(&info->path));

	if (!said || !hash_equal(&said->nar_hash, &info->nar_hash) ||
	    said->nar_size != info->nar_size)
		return NULL;
	return said;
}

static int scan_references(struct image_paths *p, struct spooled_path *path, struct err *err)
{
	cleanup_strv struct strv bases = {0};
	CLEANUP(ref_scanner_free) struct ref_scanner *scanner = NULL;
	int r;

	for (size_t i = 0; i < p->spool.len; i++)
		strv_add(&bases, store_path_base(&p->spool.items[i].info.path));
	scanner = ref_scanner_new(&bases);
	r = layer_spool_read(&p->spool, path, ref_scanner_sink(scanner), err);
	if (r < 0)
		return r;
	ref_scanner_found(scanner, &path->info.references);
	strv_sort_unique(&path->info.references);
	return 0;
}

static int find_references(struct image_paths *p, struct spooled_path *path, struct err *err)
{
	const struct path_info *said = find_said(&p->claims, &path->info);

	for (size_t i = 0; i < p->n_said && !said; i++)
		said = find_said(&p->said[i], &path->info);
	if (!said)
		return scan_references(p, path, err);
	strv_copy(&path->info.references, &said->references);
	return 0;
}

static void take_attributes(struct image_paths *p, struct path_info *info)
{
	for (size_t i = 0; i < p->n_said; i++) {
		const struct path_info *said = find_said(&p->said[i], info);

		if (!said || !same_references(&said->references, &info->references))
			continue;
		referred_info_add(info, said);
	}
	strv_sort_unique(&info->signatures);
}

static int complete_paths(struct image_paths *p, struct err *err)
{
	for (size_t i = 0; i < p->spool.len; i++) {
		int r = find_references(p, &p->spool.items[i], err);

		if (r < 0)
			return r;
		take_attributes(p, &p->spool.items[i].info);
	}
	return 0;
}

/* ---- The source
 * ---------------------------------------------------------------------------------- */

static int query(struct path_source *self, struct slice hash_part, struct path_info *ret,
		 struct err *err)
{
	struct image_paths *p = from_source(self);

	for (size_t i = 0; i < p->spool.len; i++) {
		const struct path_info *info = &p->spool.items[i].info;

		if (!slice_equal(store_path_hash_part(&info->path), hash_part))
			continue;
		path_info_copy(ret, info);
		return 0;
	}
	return err_set(err, E_NOTFOUND, "%s: there is no store path %.*s in it", self->name,
		       (int)hash_part.len, (const char *)hash_part.data);
}

/* Adds a path unless it is there; E_NOTFOUND tells who needs it. */
static int add_to_closure(struct image_paths *p, struct path_infos *set, const char *base,
			  const char *needed_by, struct err *err)
{
	const struct spooled_path *path = layer_spool_find(&p->spool, base);
	struct path_info copy;

	if (path_infos_find(set, base))
		return 0;
	if (!path)
		return err_set(err, E_NOTFOUND, "%s: the image lacks %s%s%s", p->source.name, base,
			       needed_by ? ", which is needed by " : "",
			       needed_by ? needed_by : "");
	path_info_copy(&copy, &path->info);
	path_infos_take(set, &copy);
	return 1;
}

static int closure(struct path_source *self, const struct store_path *path, struct path_infos *set,
		   struct err *err)
{
	struct image_paths *p = from_source(self);
	cleanup_strv struct strv todo = {0};
	int r = add_to_closure(p, set, store_path_base(path), NULL, err);

	if (r > 0)
		strv_add(&todo, store_path_base(path));
	for (size_t i = 0; i < todo.len && r >= 0; i++) {
		const struct spooled_path *next = layer_spool_find(&p->spool, todo.items[i]);
		const struct strv *references = &next->info.references;

		for (size_t j = 0; j < references->len && r >= 0; j++) {
			r = add_to_closure(p, set, references->items[j], todo.items[i], err);
			if (r > 0)
				strv_add(&todo, references->items[j]);
		}
	}
	return r < 0 ? r : 0;
}

static int dump(struct path_source *self, const struct path_info *info, struct node_sink *out,
		struct err *err)
{
	struct image_paths *p = from_source(self);
	const struct spooled_path *path = layer_spool_find(&p->spool, store_path_base(&info->path));
	struct nar_decoder decoder;
	int r;

	if (!path)
		return err_set(err, E_NOTFOUND, "%s: there is no %s in it", self->name,
			       info->path.text);
	nar_decoder_init(&decoder, out);
	r = layer_spool_read(&p->spool, path, &decoder.sink, err);
	if (r >= 0)
		r = sink_finish(&decoder.sink, err);
	nar_decoder_release(&decoder);
	return r;
}

void image_paths_all(const struct path_source *s, struct path_infos *ret)
{
	struct image_paths *p = from_source((struct path_source *)(uintptr_t)s);

	for (size_t i = 0; i < p->spool.len; i++) {
		struct path_info copy;

		path_info_copy(&copy, &p->spool.items[i].info);
		path_infos_take(ret, &copy);
	}
}

/* What is needed only to find out. */
static void release_notes(struct image_paths *p)
{
	path_infos_release(&p->claims);
	for (size_t i = 0; i < p->n_said; i++)
		path_infos_release(&p->said[i]);
	free(p->said);
	free(p->seen);
	strv_release(&p->packages);
	p->said = NULL;
	p->seen = NULL;
	p->n_said = p->cap_said = p->n_seen = p->cap_seen = 0;
}

static void free_source(struct path_source *self)
{
	struct image_paths *p = from_source(self);

	release_notes(p);
	layer_spool_release(&p->spool);
	free(p);
}

static int load(struct image_paths *p, const struct image_paths_options *o, struct err *err)
{
	cleanup_manifest_bytes struct manifest_bytes bytes = {0};
	cleanup_manifest struct manifest m = {0};
	int r = layer_spool_init(&p->spool, err);

	p->spool.progress = o->progress;
	p->spool.progress_data = o->progress_data;
	if (r >= 0 && o->platform)
		r = transfer_resolve(p->from, o->platform, &bytes, &m, err);
	else if (r >= 0)
		r = image_get_manifest(p->from, NULL, &bytes, err);
	if (r >= 0)
		r = take_manifest(p, &bytes, 0, err);
	if (r >= 0)
		r = take_needed_packages(p, err);
	if (r < 0)
		return err_wrap(err, "%s", p->source.name);
	if (!p->spool.len)
		return err_set(err, E_NOTFOUND,
			       "%s: there is no store path in the image: none of its layers is a "
			       "store layer",
			       p->source.name);
	snprintf(p->store_dir, sizeof(p->store_dir), "%.*s",
		 (int)p->spool.items[0].info.path.dir_len, p->spool.items[0].info.path.text);
	return complete_paths(p, err);
}

int image_paths_open(struct path_source **ret, struct image_source *from,
		     const struct image_paths_options *options, struct err *err)
{
	struct image_paths *p = xcalloc(1, sizeof(*p));
	int r;

	p->infos_left = PATH_INFOS_MAX;
	p->from = from;
	p->spool.fd = -1;
	p->source = (struct path_source){.name = from->name,
					 .store_dir = p->store_dir,
					 .query = query,
					 .closure = closure,
					 .dump = dump,
					 .free = free_source};
	r = load(p, options, err);
	if (r < 0) {
		free_source(&p->source);
		return r;
	}
	release_notes(p);
	*ret = &p->source;
	return 0;
}
