/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sources and destinations of images by the text that people write:
 *
 *	docker://REF            a registry; REF as for docker and podman
 *	oci:DIR[:TAG]           an image layout directory
 *	oci-archive:FILE[:TAG]  the same as one tar
 *	docker-archive:FILE[:REF]
 *	REF                     (sources alone) docker://REF
 */
#ifndef NACRE_NET_TRANSPORTS_H
#define NACRE_NET_TRANSPORTS_H

#include <nacre/transport.h>

/* All-zero is the default of each. */
struct transport_options {
	const char *authfile; /* borrowed; credentials for registries */
	bool insecure;        /* plain HTTP, or unverified TLS */
	/* Borrowed; the text of the source, for a destination: a registry is asked to mount what it
	 * has there already. */
	const char *copied_from;
};

/* Does the text begin with one of the prefixes? */
bool transport_is_image(const char *text);

/* E_USAGE for a text that is none of these. */
int transport_open_source(struct image_source **ret, const char *text,
			  const struct transport_options *options, struct err *err);
/* *ret_tag (owned, may be set to NULL) is the tag that the text names, for put_manifest(). */
int transport_open_dest(struct image_dest **ret, char **ret_tag, const char *text,
			const struct transport_options *options, struct err *err);

#endif
