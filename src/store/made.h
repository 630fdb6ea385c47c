/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the server makes of store paths when it is asked for (SPEC nacre 4.2, 5, 6): images in the
 * repositories `nix` and `nix/<hash>/…`, package artifacts in `nix/package`, and the path infos that refer to them.
 * Made once, it is kept like anything that was pushed, so its digest does not change. Private to
 * src/store.
 */
#ifndef NACRE_STORE_MADE_H
#define NACRE_STORE_MADE_H

#include <nacre/image.h>

#include "store/closures.h"
#include "store/repositories.h"

struct made_tag {
	enum made_kind kind;
	char paths[CLOSURE_NAME_MAX]; /* hash parts with '.' between them */
	enum image_compression compression;
	bool native; /* one path a layer */
};
/* Does the tag name a store path, or several? `ret` may be NULL. */
bool made_tag_parse(const char *repository, const char *tag, struct made_tag *ret);
/* Of the store's own: made_make() may be called from now on. */
void made_begin(struct store *s);
/* Makes it, or waits for another thread that does. E_NOTFOUND, E_UNSUPPORTED: a path cannot be
 * in an image, or its architecture cannot be known. */
int made_make(struct store_view *v, const char *repository, const char *tag, struct err *err);
/* Brings the path infos of something made up to date with the signatures that came since. */
int made_infos_refresh(struct store_view *v, const char *repository, const struct hash *subject,
		       struct err *err);

#endif
