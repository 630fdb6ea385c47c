/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Store paths of a repository with package artifacts (SPEC nacre 5): any registry as a binary cache. The tag is
 * the hash part; the config is the path info, which the content is proven against; signatures are in the path
 * infos that refer to the manifest, and are read only where keys are trusted.
 */
#include <string.h>

#include <nacre/image.h>
#include <nacre/nar.h>
#include <nacre/tar.h>

#include "net/path-source-internal.h"
#include "net/proof.h"
#include "net/referred-infos.h"
#include "net/registry.h"
#include "oci/unpack.h"

enum {
	CONFIG_BYTES_MAX = 4 << 20,
	INFOS_BYTES_MAX = 4 << 20,
	CLOSURE_MAX = 1 << 20,
};

/* One artifact. */
struct package {
	struct path_info info;
	struct descriptor layer; /* the NAR, or the store layer */
};

struct package_source {
	struct path_source source;
	struct image_source *image; /* owned */
	char *name;                 /* owned */
	struct trusted_keys trusted;
	struct package last; /* asked for last: its content comes next */
	char store_dir[STORE_DIR_MAX + 1];
};

static struct package_source *of(struct path_source *self)
{
	return container_of(self, struct package_source, source);
}

static void package_release(struct package *p)
{
	path_info_release(&p->info);
	descriptor_release(&p->layer);
	*p = (struct package){0};
}

/* ---- path infos ---- */

static int get_manifest(struct package_source *s, const char *ref, struct manifest *ret,
			struct hash *ret_digest, struct err *err)
{
	cleanup_manifest_bytes struct manifest_bytes bytes = {0};

	if (image_get_manifest(s->image, ref, &bytes, err) < 0 ||
	    manifest_parse(ret, bytes.media_type, buf_slice(&bytes.bytes), err) < 0)
		return err->code;
	*ret_digest = bytes.digest;
	return 0;
}

/* What somebody says of the path; it counts where a signature is good. */
static void take_signatures(struct package_source *s, const struct descriptor *referrer,
			    struct path_info *info)
{
	cleanup_path_infos struct path_infos set = {0};
	const struct path_info *said;
	struct err ignored = ERR_INIT;
	size_t left = INFOS_BYTES_MAX;

	if (referred_infos_get(&set, s->image, referrer, s->store_dir, &left, &ignored) < 0)
		return;
	said = path_infos_find(&set, store_path_base(&info->path));
	if (said && hash_equal(&said->nar_hash, &info->nar_hash))
		referred_info_add(info, said);
}

static int add_signatures(struct package_source *s, const struct hash *manifest,
			  struct path_info *info, struct err *err)
{
	cleanup_descriptors struct descriptors list = {0};

	if (image_get_referrers(s->image, manifest, MT_NIX_PATH_INFOS, &list, err) < 0)
		return err->code;
	for (size_t i = 0; i < list.len && i < REFERRERS_READ_MAX; i++)
		take_signatures(s, &list.items[i], info);
	strv_sort_unique(&info->signatures);
	return 0;
}

static int read_config(struct package_source *s, const struct manifest *m, struct slice hash_part,
		       struct path_info *ret, struct err *err)
{
	cleanup_buf struct buf json = BUF_INIT(CONFIG_BYTES_MAX);
	cleanup_path_info struct path_info info = {0};
	const char *type = manifest_artifact_type(m);

	if (m->kind != MANIFEST_IMAGE || !type || strcmp(type, MT_NIX_PACKAGE) != 0 ||
	    !m->has_config || strcmp(m->config.media_type, MT_NIX_PACKAGE_CONFIG) != 0 ||
	    !m->layers.len)
		return err_set(err, E_INVALID, "it is no package artifact");
	if (image_get_blob_bytes(s->image, &m->config, CONFIG_BYTES_MAX, &json, err) < 0 ||
	    package_config_parse(&info, buf_slice(&json), err) < 0)
		return err->code;
	if (strncmp(store_path_base(&info.path), (const char *)hash_part.data, hash_part.len) != 0)
		return err_set(err, E_INVALID, "it is the package of %s", info.path.text);
	if (info.path.dir_len != strlen(s->store_dir) ||
	    strncmp(info.path.text, s->store_dir, info.path.dir_len) != 0)
		return err_set(err, E_INVALID, "%s is not in the store %s", info.path.text,
			       s->store_dir);
	*ret = info;
	info = (struct path_info){0};
	return 0;
}

/* Into s->last. */
static int find(struct package_source *s, struct slice hash_part, struct err *err)
{
	cleanup_manifest struct manifest m = {0};
	struct package found = {0};
	struct hash digest;
	char tag[STORE_HASH_LEN + 1];
	int r;

	if (store_hash_part_check(hash_part) < 0)
		return err_set(err, E_INVALID, "a malformed hash part");
	memcpy(tag, hash_part.data, STORE_HASH_LEN);
	tag[STORE_HASH_LEN] = '\0';
	r = get_manifest(s, tag, &m, &digest, err);
	if (r >= 0)
		r = read_config(s, &m, hash_part, &found.info, err);
	if (r >= 0 && s->trusted.len)
		r = add_signatures(s, &digest, &found.info, err);
	if (r < 0) {
		package_release(&found);
		return err_wrap(err, "%s: %s", s->name, tag);
	}
	descriptor_copy(&found.layer, &m.layers.items[0]);
	package_release(&s->last);
	s->last = found;
	return 0;
}

static int package_query(struct path_source *self, struct slice hash_part, struct path_info *ret,
			 struct err *err)
{
	struct package_source *s = of(self);

	if (find(s, hash_part, err) < 0)
		return err->code;
	path_info_copy(ret, &s->last.info);
	return 0;
}

/* ---- closures ---- */

/* Asks for what is not in the set, and remembers what that refers to. */
static int add_package(struct package_source *s, const char *base, struct path_infos *set,
		       struct strv *pending, struct err *err)
{
	struct path_info info = {0};

	if (path_infos_find(set, base))
		return 0;
	if (set->len >= CLOSURE_MAX)
		return err_set(err, E_LIMIT, "%s: the closure has more than %d paths", s->name,
			       CLOSURE_MAX);
	if (package_query(&s->source, slice_make(base, STORE_HASH_LEN), &info, err) < 0)
		return err->code;
	if (strcmp(store_path_base(&info.path), base) != 0) {
		path_info_release(&info);
		return err_set(err, E_NOTFOUND, "%s has no path %s", s->name, base);
	}
	for (size_t i = 0; i < info.references.len; i++)
		strv_add(pending, info.references.items[i]);
	path_infos_take(set, &info);
	return 0;
}

static int package_closure(struct path_source *self, const struct store_path *path,
			   struct path_infos *set, struct err *err)
{
	struct package_source *s = of(self);
	cleanup_strv struct strv pending = {0};
	int r = 0;

	strv_add(&pending, store_path_base(path));
	for (size_t i = 0; r >= 0 && i < pending.len; i++) {
		/* The list may move while it grows. */
		cleanup_free char *base = xstrdup(pending.items[i]);

		r = add_package(s, base, set, &pending, err);
	}
	return r < 0 ? r : path_trust_check(self, set, s->trusted.items, s->trusted.len, err);
}

/* ---- content ---- */

/* A store layer of one path. */
struct layer_decoder {
	struct sink sink;
	struct tar_reader *reader; /* owned */
	struct proof *proof;       /* borrowed */
};

static int take_tar_event(struct layer_decoder *d, const struct tar_event *ev, struct err *err)
{
	const struct store_path *path = &d->proof->info->path;

	switch (ev->type) {
	case TAR_STORE_DIR:
		if (ev->text.len != path->dir_len ||
		    memcmp(ev->text.data, path->text, path->dir_len) != 0)
			return err_set(err, E_MISMATCH, "its layer is of another store");
		return 0;
	case TAR_PATH:
		if (!slice_equal_str(ev->text, store_path_base(path)))
			return err_set(err, E_MISMATCH, "its layer holds another path");
		return 0;
	case TAR_NODE:
		return node_sink_event(&d->proof->node_sink, &ev->node, err);
	default:
		return 0;
	}
}

static int layer_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	struct layer_decoder *d = container_of(self, struct layer_decoder, sink);
	struct slice input = slice_make(data, len);
	struct tar_event ev;
	int r;

	while ((r = tar_reader_step(d->reader, &input, &ev)) > 0)
		if (take_tar_event(d, &ev, err) < 0)
			return err->code;
	return r < 0 ? err_set(err, E_INVALID, "its layer is no store layer: %s at byte %llu",
			       tar_reader_expected(d->reader),
			       (unsigned long long)tar_reader_offset(d->reader))
		     : 0;
}

static int layer_finish(struct sink *self, struct err *err)
{
	struct layer_decoder *d = container_of(self, struct layer_decoder, sink);

	return tar_reader_finish(d->reader) < 0 ? err_set(err, E_TRUNCATED, "its layer is cut off")
						: 0;
}

static int get_content(struct package_source *s, struct sink *to, struct err *err)
{
	cleanup_unpack_sink struct unpack_sink unpack;

	unpack_sink_init(&unpack, to);
	return image_get_blob(s->image, &s->last.layer, &unpack.sink, err);
}

static int read_layer(struct package_source *s, struct proof *proof, struct err *err)
{
	struct layer_decoder d = {.sink = {layer_write, layer_finish}, .proof = proof};
	int r;

	d.reader = tar_reader_new();
	r = get_content(s, &d.sink, err);
	tar_reader_free(d.reader);
	return r;
}

static int read_nar(struct package_source *s, struct proof *proof, struct err *err)
{
	struct nar_decoder d;
	int r;

	nar_decoder_init(&d, &proof->node_sink);
	r = get_content(s, &d.sink, err);
	nar_decoder_release(&d);
	return r;
}

static int read_content(struct package_source *s, const struct path_info *info,
			struct node_sink *out, struct err *err)
{
	struct proof p;
	const char *type = s->last.layer.media_type ? s->last.layer.media_type : "";
	int r;

	proof_init(&p, info, out, "has other content there than its package says");
	if (media_type_is_nar(type))
		r = read_nar(s, &p, err);
	else if (media_type_is_layer(type))
		r = read_layer(s, &p, err);
	else
		r = err_set(err, E_UNSUPPORTED, "content of type %.100s", type);
	if (r >= 0 && !p.is_over)
		r = err_set(err, E_TRUNCATED, "its content is cut off");
	proof_release(&p);
	return r;
}

static int package_dump(struct path_source *self, const struct path_info *info,
			struct node_sink *out, struct err *err)
{
	struct package_source *s = of(self);
	const char *last = s->last.layer.media_type ? s->last.info.path.text : "";

	if (strcmp(last, info->path.text) != 0 &&
	    find(s, store_path_hash_part(&info->path), err) < 0)
		return err->code;
	if (read_content(s, info, out, err) < 0)
		return err_wrap(err, "%s: %s", s->name, store_path_base(&info->path));
	return 0;
}

/* ---- opening ---- */

static void package_free(struct path_source *self)
{
	struct package_source *s = of(self);

	package_release(&s->last);
	if (s->image)
		s->image->free(s->image);
	free(s->trusted.items);
	free(s->name);
	free(s);
}

static int open_repository(struct image_source **ret, const char *text,
			   const struct path_source_options *o, struct err *err)
{
	const struct registry_options options = {.auth_file = o->auth_file,
						 .insecure = o->insecure};
	struct registry *registry = NULL;
	struct reference ref;

	if (reference_parse_err(&ref, slice_str(text), err) < 0)
		return err->code;
	if (*ref.tag || *ref.digest)
		return err_set(err, E_USAGE,
			       "docker://%s: wanted a repository of package artifacts, without tag "
			       "or digest",
			       text);
	if (registry_open(&registry, ref.domain, &options, err) < 0)
		return err->code;
	if (registry_image_source(ret, registry, &ref, err) < 0) {
		registry_free(registry);
		return err->code;
	}
	return 0;
}

int package_source_open(struct path_source **ret, const char *url,
			const struct path_source_options *options, struct err *err)
{
	struct package_source *s = xcalloc(1, sizeof(*s));

	s->source = (struct path_source){
		.query = package_query,
		.closure = package_closure,
		.dump = package_dump,
		.free = package_free,
	};
	s->name = xstrdup(url);
	s->source.name = s->name;
	s->source.store_dir = s->store_dir;
	snprintf(s->store_dir, sizeof(s->store_dir), "%s",
		 options->store_dir ? options->store_dir : STORE_DIR_DEFAULT);
	trusted_keys_copy(&s->trusted, options);
	if (open_repository(&s->image, url + strlen(PACKAGE_SOURCE_PREFIX), options, err) < 0) {
		package_free(&s->source);
		return err->code;
	}
	*ret = &s->source;
	return 0;
}
