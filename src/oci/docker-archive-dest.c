/* SPDX-License-Identifier: Apache-2.0 */
/* Writes a docker-archive: layers uncompressed under their diffIDs as they come, then the
 * configuration, manifest.json and repositories. */
#include <nacre/reference.h>

#include "base/mem.h"
#include "oci/archive-internal.h"
#include "oci/docker-archive.h"
#include "oci/oci-internal.h"
#include "oci/unpack.h"

enum { MEMBER_MAX = 64 + sizeof(".json") };

struct docker_dest {
	struct image_dest dest;
	char *name; /* owned */
	bool tagged;
	struct reference reference;
	struct archive_out out;
	/* Layers by the digest they came under; their diffIDs; equal indexes. */
	struct hash_list digests, diff_ids;
	struct buf config; /* the last one put */
	struct hash config_digest;
	bool complete;
};

static struct docker_dest *from_dest(struct image_dest *self)
{
	return container_of(self, struct docker_dest, dest);
}

/* The diffID of a layer that was put, or NULL. */
static const struct hash *find_diff_id(const struct docker_dest *d, const struct hash *digest)
{
	for (size_t i = 0; i < d->digests.len; i++)
		if (hash_equal(&d->digests.items[i], digest))
			return &d->diff_ids.items[i];
	return NULL;
}

static int has_blob(struct image_dest *self, const struct descriptor *blob, struct err *err)
{
	struct docker_dest *d = from_dest(self);

	return find_diff_id(d, &blob->digest) != NULL ||
	       hash_equal(&d->config_digest, &blob->digest);
}

static void verify_init(struct verify_sink *verify, const struct descriptor *want,
			struct sink *next)
{
	bool known = want->digest.algo != HASH_NONE;

	verify_sink_init(verify, &want->digest, known ? (int64_t)want->size : DIGEST_SIZE_UNKNOWN,
			 next);
}

static int put_config(struct docker_dest *d, const struct descriptor *want,
		      struct blob_producer *from, struct blob_id *ret, struct err *err)
{
	cleanup_verify_sink struct verify_sink verify = {0};
	struct buf_sink to;
	int r;

	buf_reset(&d->config);
	d->config_digest = (struct hash){0};
	buf_sink_init(&to, &d->config);
	verify_init(&verify, want, &to.sink);
	r = from->produce(from, &verify.sink, err);
	if (r >= 0)
		r = sink_finish(&verify.sink, err);
	if (r < 0)
		return r;
	d->config_digest = verify.digest;
	*ret = (struct blob_id){verify.digest, verify.bytes};
	return 0;
}

static void member_name(char *ret, const struct hash *digest, const char *suffix)
{
	char hex[HASH_TEXT_MAX];

	hash_format_bare(hex, digest, HASH_HEX);
	snprintf(ret, MEMBER_MAX, "%.64s%s", hex, suffix);
}

/* Closes the member, or drops it if the layer was there under another digest. */
static int end_layer(struct docker_dest *d, const struct hash *diff_id, struct err *err)
{
	char name[MEMBER_MAX];

	if (hash_list_contains(&d->diff_ids, diff_id))
		return archive_writer_drop(&d->out.writer, err);
	member_name(name, diff_id, ".tar");
	return archive_writer_end(&d->out.writer, name, err);
}

static int put_layer(struct docker_dest *d, const struct descriptor *want,
		     struct blob_producer *from, struct blob_id *ret, struct err *err)
{
	cleanup_verify_sink struct verify_sink verify = {0}, content = {0};
	cleanup_unpack_sink struct unpack_sink unpack = {0};
	const struct hash unknown = {0};
	struct err ignored = ERR_INIT;
	int r = archive_writer_begin(&d->out.writer, NULL, err);

	if (r < 0)
		return r;
	verify_sink_init(&content, &unknown, DIGEST_SIZE_UNKNOWN, &d->out.writer.sink);
	unpack_sink_init(&unpack, &content.sink);
	verify_init(&verify, want, &unpack.sink);
	r = from->produce(from, &verify.sink, err);
	if (r >= 0)
		r = sink_finish(&verify.sink, err);
	if (r < 0) {
		archive_writer_drop(&d->out.writer, &ignored);
		return r;
	}
	r = end_layer(d, &content.digest, err);
	if (r < 0)
		return r;
	hash_list_add(&d->digests, &verify.digest);
	hash_list_add(&d->diff_ids, &content.digest);
	*ret = (struct blob_id){verify.digest, verify.bytes};
	return 0;
}

static int put_blob(struct image_dest *self, const struct descriptor *want,
		    struct blob_producer *from, struct blob_id *ret, struct err *err)
{
	struct docker_dest *d = from_dest(self);
	struct blob_id id = {0};
	int r;

	if (strcmp(want->media_type, MT_OCI_CONFIG) == 0 ||
	    strcmp(want->media_type, MT_DOCKER_CONFIG) == 0)
		r = put_config(d, want, from, &id, err);
	else if (media_type_is_layer(want->media_type))
		r = put_layer(d, want, from, &id, err);
	else
		r = err_set(err, E_UNSUPPORTED,
			    "a docker-archive has no place for '%.100s': copy to oci-archive: "
			    "instead",
			    want->media_type);
	if (r < 0)
		return err_wrap(err, "%s", d->name);
	if (ret)
		*ret = id;
	return 0;
}

/* Are the layers those that the configuration speaks of? */
static int check_layers(struct docker_dest *d, const struct manifest *m, struct err *err)
{
	cleanup_image_config struct image_config config = {0};
	char digest[DIGEST_TEXT_MAX];
	int r;

	if (!hash_equal(&d->config_digest, &m->config.digest))
		return err_set(err, E_INTERNAL, "the configuration was not put");
	r = image_config_parse(&config, buf_slice(&d->config), err);
	if (r < 0)
		return r;
	if (config.n_diff_ids != m->layers.len)
		return err_set(err, E_MISMATCH, "the image has %zu layers and %zu diffIDs",
			       m->layers.len, config.n_diff_ids);
	for (size_t i = 0; i < m->layers.len; i++) {
		const struct hash *diff_id = find_diff_id(d, &m->layers.items[i].digest);

		digest_format(digest, &m->layers.items[i].digest);
		if (!diff_id)
			return err_set(err, E_INTERNAL, "layer %s was not put", digest);
		if (!hash_equal(diff_id, &config.diff_ids[i]))
			return err_set(err, E_MISMATCH,
				       "layer %s does not unpack to what the configuration says",
				       digest);
	}
	return 0;
}

/* SPEC docker image spec v1.2: manifest.json */
static json_t *build_images(const struct docker_dest *d, const struct manifest *m,
			    const char *config_name)
{
	cleanup_strv struct strv layers = {0}, tags = {0};
	char name[MEMBER_MAX], text[REFERENCE_TEXT_MAX];
	struct json_builder b = {0};

	for (size_t i = 0; i < m->layers.len; i++) {
		member_name(name, find_diff_id(d, &m->layers.items[i].digest), ".tar");
		strv_add(&layers, name);
	}
	reference_format(text, &d->reference);
	if (d->tagged)
		strv_add(&tags, text);
	build_text(&b, "Config", config_name);
	build_value(&b, "RepoTags", build_text_array(&tags));
	build_value(&b, "Layers", build_text_array(&layers));
	return json_pack("[o]", build_end(&b));
}

/* SPEC docker image spec v1: repositories, for what reads nothing newer. */
static json_t *build_repositories(const struct docker_dest *d, const struct manifest *m)
{
	struct reference name = d->reference;
	struct json_builder all = {0}, tags = {0};
	char top[MEMBER_MAX], text[REFERENCE_TEXT_MAX];

	member_name(top, find_diff_id(d, &m->layers.items[m->layers.len - 1].digest), "");
	build_text(&tags, name.tag, top);
	name.tag[0] = '\0';
	reference_format(text, &name);
	build_value(&all, text, build_end(&tags));
	return build_end(&all);
}

/* Takes over `value`. */
static int add_json(struct docker_dest *d, const char *name, json_t *value, struct err *err)
{
	cleanup_buf struct buf text = BUF_INIT(DOCKER_MANIFEST_MAX);
	int r = build_write(&text, value, DOCKER_MANIFEST_MAX);

	if (r < 0)
		return err_set(err, r, "%s: cannot be written", name);
	return archive_writer_add(&d->out.writer, name, buf_slice(&text), err);
}

static int write_image(struct docker_dest *d, const struct manifest *m, struct err *err)
{
	char config_name[MEMBER_MAX];
	int r;

	member_name(config_name, &d->config_digest, ".json");
	r = archive_writer_add(&d->out.writer, config_name, buf_slice(&d->config), err);
	if (r >= 0)
		r = add_json(d, "manifest.json", build_images(d, m, config_name), err);
	if (r >= 0 && d->tagged && m->layers.len)
		r = add_json(d, "repositories", build_repositories(d, m), err);
	return r;
}

static int put_manifest(struct image_dest *self, const struct manifest_bytes *manifest,
			const char *tag, struct err *err)
{
	struct docker_dest *d = from_dest(self);
	cleanup_manifest struct manifest own = {0};
	const struct manifest *m = manifest_bytes_parse(manifest, &own, err);
	int r = 0;

	if (!m)
		return err_wrap(err, "%s", d->name);
	if (d->complete || m->kind != MANIFEST_IMAGE || !m->has_config)
		r = err_set(err, E_UNSUPPORTED, "a docker-archive takes one image alone");
	if (r >= 0)
		r = check_layers(d, m, err);
	if (r >= 0)
		r = write_image(d, m, err);
	if (r < 0)
		return err_wrap(err, "%s", d->name);
	d->complete = true;
	return 0;
}

static int finish(struct image_dest *self, struct err *err)
{
	struct docker_dest *d = from_dest(self);

	if (!d->complete)
		return err_set(err, E_INTERNAL, "%s: no image was put", d->name);
	return archive_out_commit(&d->out, err) < 0 ? err_wrap(err, "%s", d->name) : 0;
}

static void free_dest(struct image_dest *self)
{
	struct docker_dest *d = from_dest(self);

	archive_out_release(&d->out);
	hash_list_release(&d->digests);
	hash_list_release(&d->diff_ids);
	buf_release(&d->config);
	free(d->name);
	free(d);
}

static int set_reference(struct docker_dest *d, const char *name, struct err *err)
{
	int r = reference_parse_err(&d->reference, slice_str(name), err);

	if (r >= 0 && d->reference.digest[0])
		return err_set(err, E_USAGE, "'%.200s': a docker-archive has tags, no digests",
			       name);
	reference_default_tag(&d->reference);
	d->tagged = true;
	return r;
}

int image_docker_archive_dest(struct image_dest **ret, const char *file, const char *name,
			      struct err *err)
{
	struct docker_dest *d = xcalloc(1, sizeof(*d));
	int r = 0;

	d->name = xstrdup(file);
	d->config = BUF_INIT(IMAGE_CONFIG_BYTES_MAX);
	d->out = (struct archive_out){.dirfd = -1, .file = TEMP_FILE_INIT};
	d->dest = (struct image_dest){.name = d->name,
				      .images_only = true,
				      .has_blob = has_blob,
				      .put_blob = put_blob,
				      .put_manifest = put_manifest,
				      .finish = finish,
				      .free = free_dest};
	if (name)
		r = set_reference(d, name, err);
	if (r >= 0)
		r = archive_out_open(&d->out, file, err);
	if (r < 0) {
		free_dest(&d->dest);
		return r;
	}
	*ret = &d->dest;
	return 0;
}
