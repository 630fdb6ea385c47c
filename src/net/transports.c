/* SPDX-License-Identifier: Apache-2.0 */
#include "net/transports.h"

#include "net/registry.h"

enum transport_kind {
	TRANSPORT_REGISTRY,
	TRANSPORT_OCI,
	TRANSPORT_OCI_ARCHIVE,
	TRANSPORT_DOCKER_ARCHIVE
};

/* A text, taken apart. */
struct place {
	enum transport_kind kind;
	struct reference reference; /* TRANSPORT_REGISTRY */
	char *path;                 /* owned; of the others */
	char *tag;                  /* owned; of the others; NULL: none */
};

static void place_release(struct place *p)
{
	free(p->path);
	free(p->tag);
}
#define cleanup_place __attribute__((cleanup(place_release)))

static const struct {
	const char *prefix;
	enum transport_kind kind;
} prefixes[] = {
	{"docker://", TRANSPORT_REGISTRY},
	{"oci:", TRANSPORT_OCI},
	{"oci-archive:", TRANSPORT_OCI_ARCHIVE},
	{"docker-archive:", TRANSPORT_DOCKER_ARCHIVE},
};

bool transport_is_image(const char *text)
{
	for (size_t i = 0; i < ARRAY_LEN(prefixes); i++)
		if (strncmp(text, prefixes[i].prefix, strlen(prefixes[i].prefix)) == 0)
			return true;
	return false;
}

/* "PATH[:TAG]" or "PATH@DIGEST": the path ends at the first colon, as skopeo has it. */
static int parse_path(struct place *ret, const char *text, const char *whole, struct err *err)
{
	const char *digest = strstr(text, "@sha");
	size_t len = strcspn(text, ":");
	struct hash h;

	if (digest && digest_parse(&h, slice_str(digest + 1)) == 0) {
		len = (size_t)(digest - text);
		ret->tag = xstrdup(digest + 1);
	} else if (text[len] == ':' && text[len + 1] != '\0') {
		ret->tag = xstrdup(text + len + 1);
	} else if (text[len] == ':') {
		return err_set(err, E_USAGE, "'%s': the tag behind the ':' is missing", whole);
	}
	if (len == 0)
		return err_set(err, E_USAGE, "'%s': the path is missing", whole);
	ret->path = xstrndup(text, len);
	return 0;
}

static int parse_reference(struct place *ret, const char *text, struct err *err)
{
	ret->kind = TRANSPORT_REGISTRY;
	if (reference_parse_err(&ret->reference, slice_str(text), err) == 0)
		return 0;
	err->code = E_USAGE;
	return E_USAGE;
}

static int parse_place(struct place *ret, const char *text, bool bare_allowed, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
		size_t len = strlen(prefixes[i].prefix);

		if (strncmp(text, prefixes[i].prefix, len) != 0)
			continue;
		ret->kind = prefixes[i].kind;
		return ret->kind == TRANSPORT_REGISTRY ? parse_reference(ret, text + len, err)
						       : parse_path(ret, text + len, text, err);
	}
	if (bare_allowed && !strstr(text, "://"))
		return parse_reference(ret, text, err);
	return err_set(err, E_USAGE,
		       "'%s' names no image (docker://REF, oci:DIR[:TAG], oci-archive:FILE[:TAG], "
		       "docker-archive:FILE[:REF])",
		       text);
}

static int open_registry(struct registry **ret, const struct place *p,
			 const struct transport_options *options, struct err *err)
{
	const struct registry_options o = {.auth_file = options->authfile,
					   .insecure = options->insecure};

	return registry_open(ret, p->reference.domain, &o, err);
}

static int open_registry_source(struct image_source **ret, const struct place *p,
				const struct transport_options *options, struct err *err)
{
	CLEANUP(registry_free) struct registry *registry = NULL;
	int r = open_registry(&registry, p, options, err);

	if (r >= 0)
		r = registry_image_source(ret, registry, &p->reference, err);
	if (r >= 0)
		take_ptr(registry);
	return r;
}

int transport_open_source(struct image_source **ret, const char *text,
			  const struct transport_options *options, struct err *err)
{
	cleanup_place struct place p = {0};
	int r = parse_place(&p, text, true, err);

	if (r < 0)
		return r;
	switch (p.kind) {
	case TRANSPORT_REGISTRY:
		return open_registry_source(ret, &p, options, err);
	case TRANSPORT_OCI:
		return image_layout_source(ret, p.path, p.tag, err);
	case TRANSPORT_OCI_ARCHIVE:
		return image_archive_source(ret, p.path, p.tag, err);
	case TRANSPORT_DOCKER_ARCHIVE:
		break;
	}
	return image_docker_archive_source(ret, p.path, p.tag, err);
}

/* The repository of the source if it is on the same host: its blobs need not travel. */
static void find_mounts(struct strv *ret, const struct place *p, const char *from)
{
	cleanup_place struct place source = {0};
	struct err ignored = ERR_INIT;

	if (from && parse_place(&source, from, true, &ignored) == 0 &&
	    source.kind == TRANSPORT_REGISTRY &&
	    strcmp(source.reference.domain, p->reference.domain) == 0)
		strv_add(ret, source.reference.repository);
}

static int open_registry_dest(struct image_dest **ret, const struct place *p,
			      const struct transport_options *options, struct err *err)
{
	CLEANUP(registry_free) struct registry *registry = NULL;
	cleanup_strv struct strv mounts = {0};
	int r = open_registry(&registry, p, options, err);

	if (r < 0)
		return r;
	find_mounts(&mounts, p, options->copied_from);
	r = registry_image_dest(ret, registry, &p->reference, &mounts, err);
	if (r >= 0)
		take_ptr(registry);
	return r;
}

/* What is written gets its digest from what it is; a name cannot choose it. */
static int check_no_digest(const struct place *p, const char *text, struct err *err)
{
	struct hash h;

	if (p->kind == TRANSPORT_REGISTRY ? p->reference.digest[0] != '\0'
					  : p->tag && digest_parse(&h, slice_str(p->tag)) == 0)
		return err_set(err, E_USAGE,
			       "'%s': a destination is named by a tag, not by a digest", text);
	return 0;
}

/* SPEC image-spec annotations.md, org.opencontainers.image.ref.name: components of letters and
 * digits with separators between. */
static int check_ref_name(const char *name, struct err *err)
{
	static const char separators[] = "-._:@+/";
	bool separated = true;

	for (const char *p = name; *p; p++) {
		bool letter = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
			      (*p >= '0' && *p <= '9');
		bool doubled = *p == '-' && p > name && p[-1] == '-';

		if (!letter && (!strchr(separators, *p) || (separated && !doubled)))
			return err_set(err, E_USAGE, "'%s' cannot be a tag in an image layout",
				       name);
		separated = !letter;
	}
	return separated ? err_set(err, E_USAGE, "'%s' cannot be a tag in an image layout", name)
			 : 0;
}

int transport_open_dest(struct image_dest **ret, char **ret_tag, const char *text,
			const struct transport_options *options, struct err *err)
{
	cleanup_place struct place p = {0};
	int r = parse_place(&p, text, false, err);

	if (r >= 0)
		r = check_no_digest(&p, text, err);
	if (r >= 0 && p.tag && (p.kind == TRANSPORT_OCI || p.kind == TRANSPORT_OCI_ARCHIVE))
		r = check_ref_name(p.tag, err);
	if (r < 0)
		return r;
	switch (p.kind) {
	case TRANSPORT_REGISTRY:
		reference_default_tag(&p.reference);
		r = open_registry_dest(ret, &p, options, err);
		break;
	case TRANSPORT_OCI:
		r = image_layout_dest(ret, p.path, err);
		break;
	case TRANSPORT_OCI_ARCHIVE:
		r = image_archive_dest(ret, p.path, err);
		break;
	case TRANSPORT_DOCKER_ARCHIVE:
		r = image_docker_archive_dest(ret, p.path, p.tag, err);
		break;
	}
	if (r < 0)
		return r;
	*ret_tag = p.kind == TRANSPORT_REGISTRY ? xstrdup(p.reference.tag) : take_ptr(p.tag);
	return 0;
}
