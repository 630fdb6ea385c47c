/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of images (SPEC distribution/reference grammar):
 *
 * 	reference       = name [ ":" tag ] [ "@" digest ]
 * 	name            = [ domain "/" ] path-component *( "/" path-component )
 * 	domain          = host [ ":" port ]          host: name, IPv4 or "[" IPv6 "]"
 * 	path-component  = [a-z0-9]+ ( ( "." | "_" | "__" | "-"+ ) [a-z0-9]+ )*
 * 	tag             = [A-Za-z0-9_][A-Za-z0-9_.-]{0,127}
 *
 * A `struct reference` is a plain value without pointers. Absent parts are empty texts.
 */
#ifndef NACRE_REFERENCE_H
#define NACRE_REFERENCE_H

#include <nacre/buf.h>
#include <nacre/digest.h>

enum {
	REFERENCE_DOMAIN_MAX = 255 + 6, /* bytes; a DNS name, ":" and a port */
	REPOSITORY_MAX = 255,           /* bytes */
	TAG_MAX = 128,                  /* bytes */
	REFERENCE_TEXT_MAX =
		REFERENCE_DOMAIN_MAX + 1 + REPOSITORY_MAX + 1 + TAG_MAX + 1 + DIGEST_TEXT_MAX,
};

struct reference {
	char domain[REFERENCE_DOMAIN_MAX + 1]; /* may be empty */
	char repository[REPOSITORY_MAX + 1];
	char tag[TAG_MAX + 1];        /* empty: none */
	char digest[DIGEST_TEXT_MAX]; /* empty: none; else the text of a digest */
};

/* By the grammar alone: whatever precedes the first "/" is the domain if it can be one ("a/b" is
 * repository b of host a). 0, E_INVALID, E_LIMIT (domain, repository or tag too long),
 * E_UNSUPPORTED (digest of an unknown algorithm). */
NACRE_API int reference_parse(struct reference *ret, struct slice text);

/* As people write them to docker, podman and skopeo: without a domain (first component has no "."
 * and no ":", is not "localhost" and has no upper-case letter) it is docker.io, and there a
 * repository of one component is in "library/"; index.docker.io is docker.io. A bare hex digest is
 * no name. Adds no tag: see reference_default_tag(). Errors as reference_parse(). */
NACRE_API int reference_parse_normalized(struct reference *ret, struct slice text);
/* The same with a text for people. */
NACRE_API int reference_parse_err(struct reference *ret, struct slice text, struct err *err);

/* Sets the tag "latest" where there is neither tag nor digest. */
NACRE_API void reference_default_tag(struct reference *r);

/* Writes "domain/repository:tag@digest" without the absent parts and a NUL; `ret` has
 * REFERENCE_TEXT_MAX bytes. */
NACRE_API void reference_format(char *ret, const struct reference *r);

/* Repository name without a domain, and tag, as they occur in the URLs of a registry. */
NACRE_API int repository_check(struct slice name);
NACRE_API int tag_check(struct slice tag);
/* "<algo>-<hex>", the tag under which referrers of `digest` are listed where a registry has no
 * referrers API (SPEC dist-1.1 referrers tag schema); at most 64 characters of hex, as the schema
 * says. `ret` has TAG_MAX + 1 bytes. */
NACRE_API void referrers_tag(char *ret, const struct hash *digest);

#endif
