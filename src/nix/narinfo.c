/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SPEC nix-narinfo (Nix source src/libstore/nar-info.cc):
 *	narinfo = *( key ":" " " value LF )
 * Nix itself skips the octet behind the ':' unread and does not end a key at a line's end; texts
 * that only pass because of that are refused here.
 */
#include <inttypes.h>

#include <nacre/encode.h>
#include <nacre/pathinfo.h>

#include "base/mem.h"

struct parser {
	struct narinfo n;
	const char *store_dir;
	unsigned line;
	bool has_path, has_hash, has_size, has_references;
};

void narinfo_release(struct narinfo *n)
{
	path_info_release(&n->info);
	free(n->url);
	free(n->compression);
	*n = (struct narinfo){0};
}

static void set_text(char **field, struct slice value)
{
	free(*field);
	*field = xstrndup((const char *)value.data, value.len);
}

static int bad(const char **ret_why, const char *why)
{
	*ret_why = why;
	return E_INVALID;
}

static int parse_store_path(struct parser *p, struct slice v, const char **why)
{
	if (store_path_parse(&p->n.info.path, p->store_dir, v) < 0)
		return bad(why, "is not a path of this store dir");
	p->has_path = true;
	return 0;
}

static int parse_url(struct parser *p, struct slice v, const char **why)
{
	if (v.len == 0)
		return bad(why, "is empty");
	for (size_t i = 0; i < v.len; i++)
		if (v.data[i] <= 0x20 || v.data[i] == 0x7f)
			return bad(why, "has a blank or a control character");
	set_text(&p->n.url, v);
	return 0;
}

static int parse_compression(struct parser *p, struct slice v, const char **why)
{
	static const char *const known[] = {"none", "xz",    "bzip2", "gzip", "zstd",
					    "br",   "lz4",   "lzip",  "lzma", "compress",
					    "lzop", "lrzip", "grzip"};

	if (v.len == 0)
		v = slice_str("bzip2");
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (slice_equal_str(v, known[i])) {
			set_text(&p->n.compression, v);
			return 0;
		}
	return bad(why, "is not a compression that Nix knows");
}

static int parse_file_hash(struct parser *p, struct slice v, const char **why)
{
	return hash_parse(&p->n.file_hash, HASH_NONE, v) < 0 ? bad(why, "is not a hash") : 0;
}

static int parse_file_size(struct parser *p, struct slice v, const char **why)
{
	return parse_u64(&p->n.file_size, v) < 0 ? bad(why, "is not a number") : 0;
}

static int parse_nar_hash(struct parser *p, struct slice v, const char **why)
{
	if (hash_parse(&p->n.info.nar_hash, HASH_NONE, v) < 0 ||
	    p->n.info.nar_hash.algo != HASH_SHA256)
		return bad(why, "is not a sha256 hash");
	p->has_hash = true;
	return 0;
}

static int parse_nar_size(struct parser *p, struct slice v, const char **why)
{
	if (parse_u64(&p->n.info.nar_size, v) < 0 || p->n.info.nar_size == 0)
		return bad(why, "is not a number above 0");
	p->has_size = true;
	return 0;
}

/* Takes the next word, ended by a space or the end; an empty one is a double space. */
static struct slice next_word(struct slice *v)
{
	const uint8_t *space = memchr(v->data, ' ', v->len);
	size_t len = space ? (size_t)(space - v->data) : v->len;
	struct slice word = slice_make(v->data, len);

	slice_advance(v, len + (space ? 1 : 0));
	return word;
}

static int parse_references(struct parser *p, struct slice v, const char **why)
{
	if (p->has_references && p->n.info.references.len)
		return bad(why, "is there twice");
	p->has_references = true;
	while (v.len) {
		struct slice word = next_word(&v);

		if (word.len == 0)
			continue; /* Nix's tokenizer skips blanks */
		if (store_base_check(word) < 0)
			return bad(why, "has what is not the base name of a store path");
		strv_add_slice(&p->n.info.references, word);
	}
	strv_sort_unique(&p->n.info.references);
	return 0;
}

static int parse_deriver(struct parser *p, struct slice v, const char **why)
{
	free(p->n.info.deriver);
	p->n.info.deriver = NULL;
	if (v.len == 0 || slice_equal_str(v, "unknown-deriver"))
		return 0;
	if (store_base_check(v) < 0)
		return bad(why, "is not the base name of a store path");
	set_text(&p->n.info.deriver, v);
	return 0;
}

static int parse_sig(struct parser *p, struct slice v, const char **why)
{
	if (signature_check(v) < 0)
		return bad(why, "is not KEYNAME:BASE64 of 64 bytes");
	strv_add_slice(&p->n.info.signatures, v);
	return 0;
}

static int parse_ca(struct parser *p, struct slice v, const char **why)
{
	struct content_address ca;

	if (p->n.info.ca)
		return bad(why, "is there twice");
	if (v.len == 0)
		return 0;
	if (content_address_parse(&ca, v) < 0)
		return bad(why, "is not a content address");
	set_text(&p->n.info.ca, v);
	return 0;
}

static const struct {
	const char *key;
	int (*parse)(struct parser *p, struct slice value, const char **why);
} keys[] = {
	{"StorePath", parse_store_path},
	{"URL", parse_url},
	{"Compression", parse_compression},
	{"FileHash", parse_file_hash},
	{"FileSize", parse_file_size},
	{"NarHash", parse_nar_hash},
	{"NarSize", parse_nar_size},
	{"References", parse_references},
	{"Deriver", parse_deriver},
	{"Sig", parse_sig},
	{"CA", parse_ca},
};

static int parse_line(struct parser *p, struct slice line, struct err *err)
{
	const uint8_t *colon = memchr(line.data, ':', line.len);
	struct slice key, value;
	const char *why;

	if (!colon)
		return err_set(err, E_INVALID, "narinfo, line %u: no ':'", p->line);
	if (memchr(line.data, '\r', line.len) || memchr(line.data, '\0', line.len))
		return err_set(err, E_INVALID, "narinfo, line %u: a carriage return or NUL",
			       p->line);
	key = slice_make(line.data, (size_t)(colon - line.data));
	value = slice_make(colon + 1, line.len - key.len - 1);
	if (value.len == 0 || value.data[0] != ' ')
		return err_set(err, E_INVALID, "narinfo, line %u: no space behind '%.*s:'", p->line,
			       (int)key.len, (const char *)key.data);
	slice_advance(&value, 1);
	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		if (slice_equal_str(key, keys[i].key) && keys[i].parse(p, value, &why) < 0)
			return err_set(err, E_INVALID, "narinfo, line %u: %s '%.*s' %s", p->line,
				       keys[i].key, (int)(value.len > 200 ? 200 : value.len),
				       (const char *)value.data, why);
	return 0;
}

static int parse_lines(struct parser *p, struct slice text, struct err *err)
{
	while (text.len) {
		const uint8_t *end = memchr(text.data, '\n', text.len);
		struct slice line;

		p->line++;
		if (!end)
			return err_set(err, E_INVALID, "narinfo, line %u: no newline at the end",
				       p->line);
		line = slice_make(text.data, (size_t)(end - text.data));
		if (parse_line(p, line, err) < 0)
			return err->code;
		slice_advance(&text, line.len + 1);
	}
	return 0;
}

static int check_complete(const struct parser *p, struct err *err)
{
	const char *missing = !p->has_path   ? "StorePath"
			      : !p->n.url    ? "URL"
			      : !p->has_hash ? "NarHash"
			      : !p->has_size ? "NarSize"
					     : NULL;

	return missing ? err_set(err, E_INVALID, "narinfo: no %s", missing) : 0;
}

int narinfo_parse(struct narinfo *ret, const char *store_dir, struct slice text, struct err *err)
{
	struct parser p = {.store_dir = store_dir};
	int r = 0;

	if (text.len > NARINFO_MAX)
		return err_set(err, E_LIMIT, "narinfo: more than %d bytes", NARINFO_MAX);
	r = parse_lines(&p, text, err);
	if (r >= 0)
		r = check_complete(&p, err);
	if (r < 0) {
		narinfo_release(&p.n);
		return r;
	}
	if (!p.n.compression)
		p.n.compression = xstrdup("bzip2");
	strv_sort_unique(&p.n.info.signatures);
	*ret = p.n;
	return 0;
}

/* Not by buf_addf(): of a thousand path infos it took a tenth of building their image. */
static int add_line(struct buf *ret, const char *key, const char *value)
{
	return buf_add_str(ret, key) < 0 || buf_add_str(ret, value) < 0 ? E_LIMIT
									: buf_add_str(ret, "\n");
}

static int add_hash(struct buf *ret, const char *key, const struct hash *h)
{
	char text[HASH_TEXT_MAX];

	hash_format(text, h, HASH_NIX32);
	return add_line(ret, key, text);
}

static int add_references(struct buf *ret, const struct strv *references)
{
	/* The space behind the ':' must be there even when nothing follows. */
	int r = buf_add_str(ret, references->len ? "References:" : "References: ");

	for (size_t i = 0; r >= 0 && i < references->len; i++) {
		r = buf_add_str(ret, " ");
		if (r >= 0)
			r = buf_add_str(ret, references->items[i]);
	}
	return r < 0 ? r : buf_add_str(ret, "\n");
}

static int add_tail(struct buf *ret, const struct path_info *info)
{
	int r = info->deriver ? add_line(ret, "Deriver: ", info->deriver) : 0;

	for (size_t i = 0; r >= 0 && i < info->signatures.len; i++)
		r = add_line(ret, "Sig: ", info->signatures.items[i]);
	if (r >= 0 && info->ca)
		r = add_line(ret, "CA: ", info->ca);
	return r;
}

int narinfo_format(struct buf *ret, const struct narinfo *n)
{
	const struct path_info *info = &n->info;
	int r = add_line(ret, "StorePath: ", info->path.text);

	if (r >= 0)
		r = add_line(ret, "URL: ", n->url);
	if (r >= 0)
		r = add_line(ret, "Compression: ", n->compression);
	if (r >= 0 && n->file_hash.algo != HASH_NONE)
		r = add_hash(ret, "FileHash: ", &n->file_hash);
	if (r >= 0 && n->file_size)
		r = buf_addf(ret, "FileSize: %" PRIu64 "\n", n->file_size);
	if (r >= 0)
		r = add_hash(ret, "NarHash: ", &info->nar_hash);
	if (r >= 0)
		r = buf_addf(ret, "NarSize: %" PRIu64 "\n", info->nar_size);
	if (r >= 0)
		r = add_references(ret, &info->references);
	return r < 0 ? r : add_tail(ret, info);
}
