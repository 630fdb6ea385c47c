/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors, platforms and annotations (SPEC image-spec descriptor.md, image-index.md). All-zero
 * is a valid empty value of each; whoever holds one releases it.
 */
#ifndef NACRE_DESCRIPTOR_H
#define NACRE_DESCRIPTOR_H

#include <nacre/buf.h>
#include <nacre/digest.h>

/* Texts by key, sorted bytewise by key, keys unique. */
struct annotation {
	char *key;   /* owned */
	char *value; /* owned */
};
struct annotations {
	struct annotation *items; /* owned */
	size_t len, cap;
};
/* Adds or replaces. */
NACRE_API void annotations_set(struct annotations *a, const char *key, const char *value);
/* NULL if there is none. Borrowed until the next change. */
NACRE_API const char *annotations_get(const struct annotations *a, const char *key);
NACRE_API void annotations_copy(struct annotations *ret, const struct annotations *from);
/* Many at once: appended without looking at the order, then sorted. Before that nothing else may be
 * asked of them. Of one key that comes more than once the last value counts. */
NACRE_API void annotations_append(struct annotations *a, const char *key, const char *value);
NACRE_API void annotations_sort(struct annotations *a);
NACRE_API void annotations_release(struct annotations *a);

#define ANNOTATION_REF_NAME "org.opencontainers.image.ref.name"

struct platform {
	char *architecture; /* owned; Go's names: amd64, arm64, … */
	char *os;           /* owned */
	char *variant;      /* owned, or NULL */
	char *os_version;   /* owned, or NULL */
	struct strv os_features;
};
/* "os/architecture[/variant]" or "architecture" alone (os linux); aliases as containerd knows them
 * (x86_64, aarch64, armhf, …). 0 or E_INVALID. */
NACRE_API int platform_parse(struct platform *ret, struct slice text);
/* This machine's. */
NACRE_API void platform_host(struct platform *ret);
/* Appends "os/architecture[/variant]". */
NACRE_API void platform_format(struct buf *ret, const struct platform *p);
/* Does `offered` run where `wanted` is asked for? 0 no; else the better the higher (same variant
 * before another that runs as well). */
NACRE_API int platform_match(const struct platform *wanted, const struct platform *offered);
NACRE_API void platform_copy(struct platform *ret, const struct platform *from);
NACRE_API void platform_release(struct platform *p);
#define cleanup_platform __attribute__((cleanup(platform_release)))

struct descriptor {
	char *media_type;   /* owned; never NULL in a parsed one */
	struct hash digest; /* sha256 or sha512; HASH_NONE only in an empty one */
	uint64_t size;      /* bytes, at most INT64_MAX */
	struct strv urls;
	struct annotations annotations;
	char *data;          /* owned base64 as it was written, or NULL; see descriptor_data() */
	char *artifact_type; /* owned, or NULL */
	bool has_platform;
	struct platform platform;
};
/* Media type, digest and size alone. `ret` is overwritten, not released. */
NACRE_API void descriptor_make(struct descriptor *ret, const char *media_type,
			       const struct hash *digest, uint64_t size);
NACRE_API void descriptor_copy(struct descriptor *ret, const struct descriptor *from);
NACRE_API void descriptor_release(struct descriptor *d);
#define cleanup_descriptor __attribute__((cleanup(descriptor_release)))
/* Appends the decoded `data` after proving it against digest and size. E_NOTFOUND: has none;
 * E_INVALID, E_MISMATCH, E_LIMIT. */
NACRE_API int descriptor_data(const struct descriptor *d, struct buf *ret);

struct descriptors {
	struct descriptor *items; /* owned */
	size_t len, cap;
};
/* Takes over the content of `d`, which is empty afterwards. */
NACRE_API void descriptors_take(struct descriptors *list, struct descriptor *d);
NACRE_API void descriptors_release(struct descriptors *list);
#define cleanup_descriptors __attribute__((cleanup(descriptors_release)))

#endif
