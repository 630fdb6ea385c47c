/* SPDX-License-Identifier: Apache-2.0 */
/* docker-archive: manifest.json, and layers that may be compressed (SPEC docker image spec v1.2,
 * "Combined Image JSON + Filesystem Changeset Format"). */
#ifndef NACRE_OCI_DOCKER_ARCHIVE_H
#define NACRE_OCI_DOCKER_ARCHIVE_H

#include <nacre/buf.h>
#include <nacre/sink.h>

enum { DOCKER_MANIFEST_MAX = 16 << 20 }; /* bytes of a manifest.json */

struct docker_image {
	char *config;       /* owned; name of a member of the archive; never NULL */
	struct strv tags;   /* repository tags */
	struct strv layers; /* names of members, lowest first */
};
struct docker_images {
	struct docker_image *items; /* owned */
	size_t len, cap;
};
int docker_images_parse(struct docker_images *ret, struct slice text, struct err *err);
void docker_images_release(struct docker_images *list);
#define cleanup_docker_images __attribute__((cleanup(docker_images_release)))
/* By repository tag, by "@<n>", or with NULL the only one. E_NOTFOUND, E_USAGE: several; both tell
 * what there is. Borrowed from `list`. */
int docker_images_find(const struct docker_images *list, const char *name,
		       const struct docker_image **ret, struct err *err);

#endif
