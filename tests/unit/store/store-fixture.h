/* SPDX-License-Identifier: Apache-2.0 */
/* A store in a fresh directory, and what tests put into it. */
#ifndef NACRE_TESTS_STORE_FIXTURE_H
#define NACRE_TESTS_STORE_FIXTURE_H

#include "../unit.h"

#include <fcntl.h>
#include <unistd.h>

#include <sqlite3.h>

#include <nacre/image.h>
#include <nacre/nar.h>

#include "base/mem.h"
#include "codec/codec.h"
#include "store/store.h"

#define UNUSED_OK __attribute__((unused))

struct fixture {
	char path[64]; /* of the temporary directory */
	char dir[80];  /* of the store, in it */
	int dirfd;
	struct store_options options;
	struct store *store;
	struct store_view *root;
	/* Of manifests that are put: as in struct manifest_put. */
	const struct store_trust *fetched;
	bool mirrored;
	struct err err;
};

UNUSED_OK static void fixture_reopen(struct fixture *f)
{
	store_close(f->store);
	f->store = NULL;
	assert_ok(store_open(&f->store, f->dir, &f->options, &f->err), f->err);
	f->root = store_root(f->store);
}

UNUSED_OK static void fixture_open(struct fixture *f)
{
	f->dirfd = unit_tempdir(f->path);
	snprintf(f->dir, sizeof(f->dir), "%s/store", f->path);
	f->store = NULL;
	if (!f->options.nar_max_bytes)
		f->options = STORE_OPTIONS_INIT;
	fixture_reopen(f);
}

UNUSED_OK static void fixture_defect(void *arg, const char *text)
{
	(void)arg;
	print_error("defect: %s\n", text);
}

UNUSED_OK static void fixture_check(struct fixture *f)
{
	int r = store_check(f->store, fixture_defect, NULL, &f->err);

	assert_ok(r, f->err);
	assert_int_equal(r, 0);
}

UNUSED_OK static void fixture_close(struct fixture *f)
{
	fixture_check(f);
	store_close(f->store);
	unit_tempdir_end(f->dirfd, f->path);
}

/* Changes the database of a store that is closed. */
UNUSED_OK static void fixture_sql(struct fixture *f, const char *sql)
{
	char path[100];
	sqlite3 *db;

	snprintf(path, sizeof(path), "%s/meta.sqlite", f->dir);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

/* The path of an object, whose file the query names. */
UNUSED_OK static void fixture_object(char ret[200], struct fixture *f, const char *sql)
{
	sqlite3_stmt *stmt;
	sqlite3 *db;

	snprintf(ret, 200, "%s/meta.sqlite", f->dir);
	assert_int_equal(sqlite3_open(ret, &db), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	snprintf(ret, 200, "%s/objects/%s", f->dir, (const char *)sqlite3_column_text(stmt, 0));
	sqlite3_finalize(stmt);
	sqlite3_close(db);
}

/* Changes one bit of an object, whose file the query names. */
UNUSED_OK static void fixture_damage(struct fixture *f, const char *sql)
{
	char path[200];
	uint8_t byte;
	int fd;

	fixture_object(path, f, sql);
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, 5000), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, 5000), 1);
	close(fd);
}

/* Fails unless `call` fails with this code; the text must have `part` in it (if not NULL). */
#define assert_fails(call, wanted, e, part)                                                 \
	do {                                                                                \
		struct err *unit_e_ = &(e);                                                 \
		*unit_e_ = ERR_INIT;                                                        \
		int unit_got_ = (call);                                                     \
		if (unit_got_ != (wanted) || unit_e_->code != (wanted))                     \
			fail_msg("%s: %d (%s), wanted %d", #call, unit_got_, unit_e_->text, \
				 (wanted));                                                 \
		const char *unit_part_ = (part);                                            \
		if (unit_part_ && !strstr(unit_e_->text, unit_part_))                       \
			fail_msg("%s: '%s' has no '%s'", #call, unit_e_->text, unit_part_); \
		*unit_e_ = ERR_INIT;                                                        \
	} while (0)

/* ---- NARs ---- */

struct entry {
	const char *name;
	const char *content; /* NULL: a directory begins (ended by an entry without a name) */
	size_t size;         /* 0: strlen(content) */
	bool executable;
	bool symlink; /* content is the target */
};

UNUSED_OK static void emit_file(struct node_sink *out, const struct entry *e, unsigned depth,
				struct err *err)
{
	struct node_event ev = {
		.type = e->symlink ? NODE_SYMLINK : NODE_REGULAR,
		.executable = e->executable,
		.depth = depth,
		.name = depth ? slice_str(e->name) : slice_make("", 0),
		.size = e->size ? e->size : strlen(e->content),
	};

	if (e->symlink) {
		ev.size = 0;
		ev.data = slice_str(e->content);
		assert_ok(node_sink_event(out, &ev, err), *err);
		return;
	}
	assert_ok(node_sink_event(out, &ev, err), *err);
	if (ev.size) {
		ev.type = NODE_CONTENT;
		ev.data = slice_make(e->content, (size_t)ev.size);
		assert_ok(node_sink_event(out, &ev, err), *err);
	}
	ev.type = NODE_REGULAR_END;
	ev.data = slice_make(NULL, 0);
	assert_ok(node_sink_event(out, &ev, err), *err);
}

/* The events of a root directory with these entries, or of one file if the first has no name. */
UNUSED_OK static void emit_tree(struct node_sink *out, const struct entry *entries, size_t n)
{
	struct err err = ERR_INIT;
	struct node_event ev = {.type = NODE_DIRECTORY, .name = slice_make("", 0)};
	unsigned depth = 0;

	if (!entries[0].name) {
		emit_file(out, &entries[0], 0, &err);
	} else {
		assert_ok(node_sink_event(out, &ev, &err), err);
		for (size_t i = 0; i < n; i++) {
			if (!entries[i].name) {
				ev = (struct node_event){.type = NODE_DIRECTORY_END,
							 .depth = depth--};
				assert_ok(node_sink_event(out, &ev, &err), err);
			} else if (!entries[i].content) {
				ev = (struct node_event){.type = NODE_DIRECTORY,
							 .depth = ++depth,
							 .name = slice_str(entries[i].name)};
				assert_ok(node_sink_event(out, &ev, &err), err);
			} else {
				emit_file(out, &entries[i], depth + 1, &err);
			}
		}
		ev = (struct node_event){.type = NODE_DIRECTORY_END};
		assert_ok(node_sink_event(out, &ev, &err), err);
	}
	ev = (struct node_event){.type = NODE_END};
	assert_ok(node_sink_event(out, &ev, &err), err);
}

UNUSED_OK static void nar_of(struct buf *ret, const struct entry *entries, size_t n)
{
	struct buf_sink sink;
	struct nar_writer *w;

	ret->max = 256 << 20;
	buf_sink_init(&sink, ret);
	w = nar_writer_new(&sink.sink);
	emit_tree(nar_writer_node_sink(w), entries, n);
	nar_writer_free(w);
}

/* Bytes that do not compress, the same for the same seed. */
UNUSED_OK static char *noise(size_t len, uint64_t seed)
{
	char *data = xmalloc(len + 1);

	for (size_t i = 0; i < len; i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		data[i] = (char)(seed >> 56);
	}
	data[len] = '\0';
	return data;
}

UNUSED_OK static void encode(struct buf *ret, enum codec codec, struct slice bytes)
{
	struct err err = ERR_INIT;
	struct sink *encoder;
	struct buf_sink sink;

	ret->max = 256 << 20;
	buf_sink_init(&sink, ret);
	assert_ok(encoder_new(&encoder, codec, 0, &sink.sink, &err), err);
	assert_ok(sink_write(encoder, bytes.data, bytes.len, &err), err);
	assert_ok(sink_finish(encoder, &err), err);
	encoder_free(encoder);
}

UNUSED_OK static void decode(struct buf *ret, enum codec codec, struct slice bytes)
{
	struct err err = ERR_INIT;
	struct codec_limits limits = {0};
	struct sink *decoder;
	struct buf_sink sink;

	ret->max = 256 << 20;
	buf_sink_init(&sink, ret);
	assert_ok(decoder_new(&decoder, codec, &sink.sink, &limits, &err), err);
	assert_ok(sink_write(decoder, bytes.data, bytes.len, &err), err);
	assert_ok(sink_finish(decoder, &err), err);
	decoder_free(decoder);
}

/* ---- The cache ---- */

UNUSED_OK static int put_nar_named(struct fixture *f, const char *name, struct slice bytes)
{
	struct store_put *put;
	int r = store_nar_put(f->root, name, &put, &f->err);

	if (r < 0)
		return r;
	for (size_t at = 0; at < bytes.len && r >= 0; at += 1000)
		r = store_put_write(put, bytes.data + at,
				    bytes.len - at < 1000 ? bytes.len - at : 1000, &f->err);
	if (r >= 0)
		r = store_put_commit(put, &f->err);
	store_put_free(put);
	return r;
}

UNUSED_OK static const char *codec_suffix(enum codec codec)
{
	switch (codec) {
	case CODEC_XZ:
		return ".nar.xz";
	case CODEC_ZSTD:
		return ".nar.zst";
	case CODEC_BZIP2:
		return ".nar.bz2";
	case CODEC_BROTLI:
		return ".nar.br";
	default:
		return ".nar";
	}
}

/* As Nix does: nar/<hash of the file>.nar<suffix>. `ret_name` has 80 bytes, or is NULL. */
UNUSED_OK static int put_nar(struct fixture *f, struct slice nar, enum codec codec, char *ret_name)
{
	cleanup_buf struct buf file = {0};
	char name[80], hash[HASH_TEXT_MAX];
	struct hash h;

	encode(&file, codec, nar);
	hash_bytes(&h, HASH_SHA256, file.data, file.len);
	hash_format_bare(hash, &h, HASH_NIX32);
	snprintf(name, sizeof(name), "%.52s%s", hash, codec_suffix(codec));
	if (ret_name)
		memcpy(ret_name, name, sizeof(name));
	return put_nar_named(f, name, buf_slice(&file));
}

/* A base name with a hash part made of `name`. */
UNUSED_OK static const char *base_of(const char *name, char *ret)
{
	struct hash h;
	char text[HASH_TEXT_MAX];

	hash_bytes(&h, HASH_SHA256, name, strlen(name));
	hash_format_bare(text, &h, HASH_NIX32);
	snprintf(ret, STORE_BASE_MAX + 1, "%.32s-%s", text + 1, name);
	return ret;
}

/* Path info of a path with this name and NAR; `refs`: names by ' ', or NULL. */
UNUSED_OK static void info_of(struct path_info *ret, const char *name, struct slice nar,
			      const char *refs)
{
	char base[STORE_BASE_MAX + 1];
	cleanup_free char *words = xstrdup(refs ? refs : "");

	*ret = (struct path_info){0};
	assert_int_equal(
		store_path_make(&ret->path, STORE_DIR_DEFAULT, slice_str(base_of(name, base))), 0);
	hash_bytes(&ret->nar_hash, HASH_SHA256, nar.data, nar.len);
	ret->nar_size = nar.len;
	for (char *word = words, *next; *word; word = next) {
		next = word + strcspn(word, " ");
		if (*next)
			*next++ = '\0';
		strv_add(&ret->references, base_of(word, base));
	}
	strv_sort_unique(&ret->references);
}

UNUSED_OK static int put_info(struct fixture *f, const struct path_info *info)
{
	cleanup_buf struct buf text = {0};
	char url[] = "nar/whatever.nar.xz", compression[] = "xz",
	     hash_part[STORE_HASH_LEN + 1] = "";
	struct narinfo n = {.info = *info, .url = url, .compression = compression};

	assert_int_equal(narinfo_format(&text, &n), 0);
	memcpy(hash_part, store_path_base(&info->path), STORE_HASH_LEN);
	return store_narinfo_put(f->root, hash_part, buf_slice(&text), &f->err);
}

UNUSED_OK static int get_info(struct fixture *f, const char *name, struct narinfo *ret)
{
	cleanup_buf struct buf text = {0};
	char base[STORE_BASE_MAX + 1];
	int r;

	base_of(name, base);
	base[STORE_HASH_LEN] = '\0';
	r = store_narinfo(f->root, base, &text, &f->err);
	if (r < 0)
		return r;
	assert_ok(narinfo_parse(ret, STORE_DIR_DEFAULT, buf_slice(&text), &f->err), f->err);
	return 0;
}

/* NAR and narinfo of a path, sent as `codec`. */
UNUSED_OK static void put_path(struct fixture *f, const char *name, struct slice nar,
			       const char *refs, enum codec codec)
{
	cleanup_path_info struct path_info info;

	info_of(&info, name, nar, refs);
	assert_ok(put_nar(f, nar, codec, NULL), f->err);
	assert_ok(put_info(f, &info), f->err);
}

UNUSED_OK static void content_bytes(struct content *c, struct buf *ret)
{
	struct err err = ERR_INIT;
	struct buf_sink sink;

	ret->max = 256 << 20;
	buf_sink_init(&sink, ret);
	assert_ok(content_copy(c, &sink.sink, &err), err);
}

UNUSED_OK static void get_nar(struct fixture *f, const char *url, struct buf *ret)
{
	struct content *c;

	assert_memory_equal(url, "nar/", 4);
	assert_ok(store_nar_open(f->root, url + 4, &c, &f->err), f->err);
	content_bytes(c, ret);
	content_free(c);
}

/* ---- The registry ---- */

UNUSED_OK static int put_blob(struct fixture *f, const char *repository, struct slice bytes,
			      struct hash *ret)
{
	struct upload *u;
	int r;

	hash_bytes(ret, HASH_SHA256, bytes.data, bytes.len);
	assert_ok(store_upload_once(f->root, repository, HASH_NONE, &u, &f->err), f->err);
	r = upload_write(u, bytes.data, bytes.len, &f->err);
	if (r >= 0)
		r = upload_finish(u, ret, &f->err);
	upload_close(u);
	return r;
}

UNUSED_OK static void get_blob(struct fixture *f, const char *repository, const struct hash *digest,
			       struct buf *ret)
{
	struct content *c;

	assert_ok(store_blob_open(f->root, repository, digest, &c, &f->err), f->err);
	content_bytes(c, ret);
	assert_int_equal(content_size(c), ret->len);
	content_free(c);
}

UNUSED_OK static int put_manifest(struct fixture *f, const char *repository, const char *reference,
				  const struct buf *bytes, struct manifest_put_result *ret)
{
	struct manifest_put put = {.reference = reference,
				   .bytes = buf_slice(bytes),
				   .fetched = f->fetched,
				   .mirrored = f->mirrored};

	return store_manifest_put(f->root, repository, &put, ret, &f->err);
}

#endif
