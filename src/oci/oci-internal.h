/* SPDX-License-Identifier: Apache-2.0 */
/* What several files of src/oci share. */
#ifndef NACRE_OCI_INTERNAL_H
#define NACRE_OCI_INTERNAL_H

#include <nacre/json.h>
#include <nacre/transport.h>

/* Bytes in memory (borrowed) as a blob. */
struct slice_producer {
	struct blob_producer producer;
	struct slice bytes;
};
void slice_producer_init(struct slice_producer *p, struct slice bytes);

/* A copy, NULL for NULL. */
char *copy_or_null(const char *s);

/* Parts of documents. `where` names the object in messages. Results are overwritten, not released;
 * on failure there is nothing to release. */
int parse_annotations(const json_t *obj, const char *where, const char *key,
		      struct annotations *ret, struct err *err);
int parse_descriptor(const json_t *obj, const char *where, struct descriptor *ret, struct err *err);
int parse_descriptors(const json_t *obj, const char *key, struct descriptors *ret, struct err *err);
/* 1: *ret was set; 0: the document has no such member. */
int parse_descriptor_member(const json_t *obj, const char *key, bool required,
			    struct descriptor *ret, struct err *err);

/* An object under construction. A text that is not UTF-8 or memory that is out makes `failed`. */
struct json_builder {
	json_t *obj; /* owned */
	bool failed;
};
/* Takes over `value`, NULL makes it fail. */
void build_value(struct json_builder *b, const char *key, json_t *value);
/* Leaves it out where `text` is NULL. */
void build_text(struct json_builder *b, const char *key, const char *text);
/* Leave it out where the list is empty. */
void build_texts(struct json_builder *b, const char *key, const struct strv *list);
void build_annotations(struct json_builder *b, const char *key, const struct annotations *a);
/* {"item": {}, …}, the way that image configurations write sets. */
void build_set(struct json_builder *b, const char *key, const struct strv *list);
/* NULL on failure. */
json_t *build_descriptor(const struct descriptor *d);
/* An array of texts, empty or not. */
json_t *build_text_array(const struct strv *list);
/* The object, owned by the caller, or NULL if anything failed. */
json_t *build_end(struct json_builder *b);
/* Appends the canonical form of `value`, which it takes over; NULL is E_INVALID. */
int build_write(struct buf *ret, json_t *value, size_t max);

#endif
