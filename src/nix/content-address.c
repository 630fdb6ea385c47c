/* SPDX-License-Identifier: Apache-2.0 */
/* SPEC nix-store-path content addresses (Nix source src/libstore/content-address.cc). */
#include <nacre/nar.h>
#include <nacre/pathinfo.h>

#include "base/mem.h"
#include "base/sinks.h"

static bool take_prefix(struct slice *text, const char *prefix)
{
	if (!slice_has_prefix(*text, prefix))
		return false;
	slice_advance(text, strlen(prefix));
	return true;
}

int content_address_parse(struct content_address *ret, struct slice text)
{
	struct content_address ca;

	if (take_prefix(&text, "text:"))
		ca.method = CA_TEXT;
	else if (!take_prefix(&text, "fixed:"))
		return E_INVALID;
	else if (take_prefix(&text, "r:"))
		ca.method = CA_NAR;
	else
		ca.method = take_prefix(&text, "git:") ? CA_GIT : CA_FLAT;
	/* An SRI spelling has no ':' and is none here. */
	if (!memchr(text.data, ':', text.len) || hash_parse(&ca.hash, HASH_NONE, text) < 0)
		return E_INVALID;
	if ((ca.method == CA_TEXT && ca.hash.algo != HASH_SHA256) ||
	    (ca.method == CA_GIT && ca.hash.algo != HASH_SHA1 && ca.hash.algo != HASH_SHA256))
		return E_INVALID;
	*ret = ca;
	return 0;
}

/* The references without the path itself. */
static void split_references(const struct path_info *info, struct strv *ret_others, bool *ret_self)
{
	*ret_self = false;
	for (size_t i = 0; i < info->references.len; i++)
		if (strcmp(info->references.items[i], store_path_base(&info->path)) == 0)
			*ret_self = true;
		else
			strv_add(ret_others, info->references.items[i]);
}

int path_info_ca_matches(const struct path_info *info)
{
	cleanup_strv struct strv others = {0};
	struct store_refs refs = {.refs = &others};
	struct content_address ca;
	struct store_path path;
	char dir[STORE_DIR_MAX + 1];
	int r;

	if (!info->ca)
		return 0;
	if (content_address_parse(&ca, slice_str(info->ca)) < 0)
		return E_INVALID;
	split_references(info, &others, &refs.self);
	memcpy(dir, info->path.text, info->path.dir_len);
	dir[info->path.dir_len] = '\0';
	if (ca.method == CA_TEXT)
		r = store_path_text(&path, dir, store_path_name(&info->path), &ca.hash, &refs);
	else
		r = store_path_fixed(&path, dir, store_path_name(&info->path), ca.method, &ca.hash,
				     &refs);
	/* References that the method forbids: the address cannot be this path's. */
	return r >= 0 && strcmp(path.text, info->path.text) == 0;
}

/* Takes a NAR of one plain file and hashes its contents. */
struct flat_hasher {
	struct node_sink node_sink;
	struct hasher hasher;
	bool is_flat;
};

enum verifier_kind { VERIFY_NAR, VERIFY_MODULO, VERIFY_FLAT };

struct ca_verifier {
	struct sink sink;
	enum verifier_kind kind;
	struct hash want;
	struct hasher nar;          /* VERIFY_NAR */
	struct modulo_sink modulo;  /* VERIFY_MODULO */
	struct nar_decoder decoder; /* VERIFY_FLAT, as is `flat` */
	struct flat_hasher flat;
};

static int flat_event(struct node_sink *self, const struct node_event *ev, struct err *err)
{
	struct flat_hasher *f = container_of(self, struct flat_hasher, node_sink);

	(void)err;
	if (ev->type == NODE_REGULAR && ev->depth == 0)
		f->is_flat = !ev->executable;
	else if (ev->type == NODE_CONTENT && f->is_flat)
		hasher_update(&f->hasher, ev->data.data, ev->data.len);
	return 0;
}

static int verifier_write(struct sink *self, const void *data, size_t len, struct err *err)
{
	struct ca_verifier *v = container_of(self, struct ca_verifier, sink);

	switch (v->kind) {
	case VERIFY_NAR:
		hasher_update(&v->nar, data, len);
		return 0;
	case VERIFY_MODULO:
		return sink_write(&v->modulo.sink, data, len, err);
	default:
		return sink_write(&v->decoder.sink, data, len, err);
	}
}

struct ca_verifier *ca_verifier_new(const struct path_info *info, const struct content_address *ca)
{
	cleanup_strv struct strv others = {0};
	struct ca_verifier *v;
	bool self;

	if (ca->method == CA_GIT)
		return NULL;
	split_references(info, &others, &self);
	v = xcalloc(1, sizeof(*v));
	v->sink.write = verifier_write;
	v->want = ca->hash;
	if (ca->method != CA_NAR) {
		v->kind = VERIFY_FLAT;
		v->flat.node_sink.event = flat_event;
		hasher_init(&v->flat.hasher, ca->hash.algo);
		nar_decoder_init(&v->decoder, &v->flat.node_sink);
	} else if (self && ca->hash.algo == HASH_SHA256) {
		v->kind = VERIFY_MODULO;
		modulo_sink_init(&v->modulo, store_path_hash_part(&info->path));
	} else {
		v->kind = VERIFY_NAR;
		hasher_init(&v->nar, ca->hash.algo);
	}
	return v;
}

struct sink *ca_verifier_sink(struct ca_verifier *v)
{
	return &v->sink;
}

int ca_verifier_result(struct ca_verifier *v, struct err *err)
{
	struct hash one, other;
	int r;

	switch (v->kind) {
	case VERIFY_NAR:
		hasher_final(&v->nar, &one);
		return hash_equal(&one, &v->want);
	case VERIFY_MODULO:
		r = modulo_sink_final(&v->modulo, &one, &other, err);
		return r < 0 ? r : hash_equal(&one, &v->want) || hash_equal(&other, &v->want);
	default:
		if (sink_finish(&v->decoder.sink, err) < 0)
			return err->code;
		hasher_final(&v->flat.hasher, &one);
		return v->flat.is_flat && hash_equal(&one, &v->want);
	}
}

void ca_verifier_free(struct ca_verifier *v)
{
	if (!v)
		return;
	if (v->kind == VERIFY_NAR)
		hasher_release(&v->nar);
	else if (v->kind == VERIFY_MODULO)
		modulo_sink_release(&v->modulo);
	else {
		nar_decoder_release(&v->decoder);
		hasher_release(&v->flat.hasher);
	}
	free(v);
}
