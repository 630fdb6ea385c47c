/* SPDX-License-Identifier: Apache-2.0 */
/* Repositories and the blobs in them; private to src/store. */
#ifndef NACRE_STORE_REPOSITORIES_H
#define NACRE_STORE_REPOSITORIES_H

#include <nacre/splice.h>

#include "store/objects.h"

/* How a blob is kept. */
enum blob_form {
	BLOB_OBJECT = 1, /* an object, whole */
	BLOB_SPLICE,     /* the bytes of a splice */
	BLOB_DECODED,    /* what the frames of a splice decode to */
};

/* Is it a store layer? */
enum layer_kind {
	LAYER_UNKNOWN = 0, /* nobody looked */
	LAYER_ORDINARY,
	LAYER_STORE, /* layer_path says what it holds */
	LAYER_NAR,   /* one NAR */
};

/* Repositories in which the server makes images of store paths (SPEC nacre 6): images in `nix` and in
 * `nix/<hash>/…`, whose name has the first of several paths. */
enum made_kind { MADE_NONE, MADE_IMAGE, MADE_PACKAGE };
#define MADE_IMAGE_REPOSITORY   "nix"
#define MADE_PACKAGE_REPOSITORY "nix/package"
enum made_kind repository_made_kind(const char *name);
/* SQL: is `name` one of them? Others below nix/ have nothing that the server made. */
#define IS_MADE_REPOSITORY "(name = 'nix' OR (name > 'nix/' AND name < 'nix0'))"

/* E_INVALID with a text. */
int repository_name_check(const char *name, struct err *err);
/* 1 found, 0 there is none. */
int repository_find(struct conn *c, const struct store_view *v, const char *name, int64_t *ret,
		    struct err *err);
/* Inside a transaction: finds or makes it. */
int repository_make(struct conn *c, const struct store_view *v, const char *name, int64_t *ret,
		    struct err *err);
/* Inside a transaction: removes it if nothing is left in it. */
int repository_tidy(struct conn *c, int64_t repository, struct err *err);

/* 1 found, 0 there is none: by digest, in whatever repository. For use where existence does not
 * show. */
int blob_find(struct conn *c, const struct hash *digest, int64_t *ret, struct err *err);
struct blob_row {
	int64_t id;
	uint64_t size;      /* bytes */
	int64_t repository; /* where it was found */
};
/* 1 found, 0 there is none in this repository. */
int blob_find_in(struct conn *c, const struct store_view *v, const char *repository,
		 const struct hash *digest, struct blob_row *ret, struct err *err);

/* Inside a transaction: makes a blob, or finds the one of this digest (then *ret_id is it). */
struct new_blob {
	const struct hash *digest;
	uint64_t size;
	enum blob_form form;
	int64_t object;              /* BLOB_OBJECT */
	const struct splice *splice; /* else */
	enum layer_kind layer;
};
int blob_record(struct conn *c, const struct new_blob *blob, int64_t *ret_id, struct err *err);
/* Inside a transaction: a blob that was an object becomes a splice. */
int blob_convert(struct conn *c, int64_t blob, enum blob_form form, const struct splice *splice,
		 struct err *err);
/* Inside a transaction: makes a blob one of a repository. */
int blob_link(struct conn *c, int64_t repository, int64_t blob, struct err *err);
/* The bytes of a blob, by its id. `content` was begun before the id was looked up. */
int blob_content(struct content *content, struct conn *c, int64_t blob, struct err *err);

#endif
