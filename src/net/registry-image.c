/* SPDX-License-Identifier: Apache-2.0 */
/* A repository as a source or destination of images (nacre/transport.h). */
#include "net/registry-internal.h"

_Static_assert((int)TAG_MAX < (int)DIGEST_TEXT_MAX, "a tag fits where a digest does");

struct registry_place {
	struct image_source source;
	struct image_dest dest;
	struct registry *registry; /* owned */
	char *name;                /* owned */
	char repository[REPOSITORY_MAX + 1];
	char ref[DIGEST_TEXT_MAX]; /* tag or digest; a tag is shorter */
	bool ref_is_digest;
	struct strv mount_from;
};

static struct registry_place *of_source(struct image_source *s)
{
	return container_of(s, struct registry_place, source);
}

static struct registry_place *of_dest(struct image_dest *d)
{
	return container_of(d, struct registry_place, dest);
}

static void place_free(struct registry_place *p)
{
	registry_free(p->registry);
	strv_release(&p->mount_from);
	free(p->name);
	free(p);
}

static void copy_text(char *ret, size_t size, const char *from)
{
	snprintf(ret, size, "%s", from);
}

static struct registry_place *place_new(struct registry *r, const struct reference *ref)
{
	struct registry_place *p = xcalloc(1, sizeof(*p));
	struct reference named = *ref;
	char text[REFERENCE_TEXT_MAX];

	reference_default_tag(&named);
	reference_format(text, &named);
	p->name = xasprintf("docker://%s", text);
	p->registry = r;
	copy_text(p->repository, sizeof(p->repository), named.repository);
	/* With both, the digest says which image is meant. SPEC distribution/reference */
	p->ref_is_digest = named.digest[0] != '\0';
	copy_text(p->ref, sizeof(p->ref), p->ref_is_digest ? named.digest : named.tag);
	return p;
}

static int source_get_manifest(struct image_source *self, const char *ref,
			       struct manifest_bytes *ret, struct err *err)
{
	struct registry_place *p = of_source(self);

	return registry_get_manifest(p->registry, p->repository, ref ? ref : p->ref, ret, err);
}

/* A digest says it itself. */
static int source_resolve(struct image_source *self, struct hash *ret, struct err *err)
{
	struct registry_place *p = of_source(self);
	cleanup_descriptor struct descriptor d = {0};

	if (p->ref_is_digest && digest_parse(ret, slice_str(p->ref)) == 0)
		return 0;
	if (registry_head_manifest(p->registry, p->repository, p->ref, &d, err) < 0)
		return err->code;
	*ret = d.digest;
	return 0;
}

static int source_get_blob(struct image_source *self, const struct descriptor *blob,
			   struct sink *out, struct err *err)
{
	struct registry_place *p = of_source(self);

	return registry_get_blob(p->registry, p->repository, &blob->digest, (int64_t)blob->size,
				 out, err);
}

static int source_get_referrers(struct image_source *self, const struct hash *subject,
				const char *artifact_type, struct descriptors *ret, struct err *err)
{
	struct registry_place *p = of_source(self);

	return registry_referrers(p->registry, p->repository, subject, artifact_type, ret, err);
}

static void source_free(struct image_source *self)
{
	place_free(of_source(self));
}

int registry_image_source(struct image_source **ret, struct registry *r,
			  const struct reference *ref, struct err *err)
{
	struct registry_place *p;

	if (repository_check(slice_str(ref->repository)) < 0)
		return err_set(err, E_USAGE, "%s is not the name of a repository", ref->repository);
	p = place_new(r, ref);
	p->source = (struct image_source){.name = p->name,
					  .get_manifest = source_get_manifest,
					  .get_blob = source_get_blob,
					  .get_referrers = source_get_referrers,
					  .resolve = source_resolve,
					  .free = source_free};
	*ret = &p->source;
	return 0;
}

static int dest_has_blob(struct image_dest *self, const struct descriptor *blob, struct err *err)
{
	struct registry_place *p = of_dest(self);
	struct err why = ERR_INIT;
	int result = registry_has_blob(p->registry, p->repository, &blob->digest, NULL, err);

	for (size_t i = 0; result == 0 && i < p->mount_from.len; i++) {
		if (strcmp(p->mount_from.items[i], p->repository) == 0)
			continue;
		/* A mount that is refused is no failure: the blob is uploaded then. */
		if (registry_mount_blob(p->registry, p->repository, &blob->digest,
					p->mount_from.items[i], &why) > 0)
			result = 1;
	}
	return result;
}

static int dest_put_blob(struct image_dest *self, const struct descriptor *want,
			 struct blob_producer *from, struct blob_id *ret, struct err *err)
{
	struct registry_place *p = of_dest(self);

	return registry_push_blob(p->registry, p->repository, want, from, ret, err);
}

/* SPEC dist-1.1 pushing manifests with subject: without OCI-Subject in the answer, the client
 * keeps the list. */
static int keep_referrers_tag(struct registry_place *p, const struct manifest *m,
			      const struct manifest_bytes *bytes, struct err *err)
{
	cleanup_descriptor struct descriptor d = {0};
	const char *type = manifest_artifact_type(m);

	descriptor_make(&d, m->media_type, &bytes->digest, bytes->bytes.len);
	if (type[0])
		d.artifact_type = xstrdup(type);
	annotations_copy(&d.annotations, &m->annotations);
	return registry_add_fallback_referrer(p->registry, p->repository, &m->subject.digest, &d,
					      err);
}

static int dest_put_manifest(struct image_dest *self, const struct manifest_bytes *bytes,
			     const char *tag, struct err *err)
{
	struct registry_place *p = of_dest(self);
	cleanup_manifest struct manifest own = {0};
	const struct manifest *m = manifest_bytes_parse(bytes, &own, err);
	char digest[DIGEST_TEXT_MAX];
	bool listed = false;
	int result;

	if (!m)
		return err_wrap(err, "put a manifest to %s", p->name);
	digest_format(digest, &bytes->digest);
	result = registry_put_manifest(p->registry, p->repository, tag ? tag : digest, bytes,
				       &listed, err);
	if (result == 0 && m->has_subject && !listed)
		result = keep_referrers_tag(p, m, bytes, err);
	return result;
}

/* Each step was final already. */
static int dest_finish(struct image_dest *self, struct err *err)
{
	return 0;
}

static void dest_free(struct image_dest *self)
{
	place_free(of_dest(self));
}

int registry_image_dest(struct image_dest **ret, struct registry *r, const struct reference *ref,
			const struct strv *mount_from, struct err *err)
{
	struct registry_place *p;

	if (repository_check(slice_str(ref->repository)) < 0)
		return err_set(err, E_USAGE, "%s is not the name of a repository", ref->repository);
	p = place_new(r, ref);
	if (mount_from)
		strv_copy(&p->mount_from, mount_from);
	p->dest = (struct image_dest){.name = p->name,
				      .has_blob = dest_has_blob,
				      .put_blob = dest_put_blob,
				      .put_manifest = dest_put_manifest,
				      .finish = dest_finish,
				      .free = dest_free};
	*ret = &p->dest;
	return 0;
}
