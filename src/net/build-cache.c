/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <nacre/frame.h>

#include "base/fs.h"
#include "base/mem.h"
#include "net/build-cache.h"

enum {
	BUSY_MS = 1000,
	ROWS_MAX = 200000,   /* of a table: some 30 MB */
	NAMES_MAX = 1 << 20, /* of the names of a survey, bytes */
};

/* The number tells other versions that this file is not theirs. */
static const char schema[] =
	"PRAGMA journal_mode = WAL;"
	"PRAGMA synchronous = NORMAL;"
	"CREATE TABLE IF NOT EXISTS layers_1(id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE,"
	" digest BLOB NOT NULL, size INTEGER NOT NULL, diff_id BLOB NOT NULL,"
	" machine INTEGER NOT NULL, mixed INTEGER NOT NULL);"
	"CREATE TABLE IF NOT EXISTS surveys_1(id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE,"
	" programs BLOB NOT NULL, links BLOB NOT NULL,"
	" machine INTEGER NOT NULL, mixed INTEGER NOT NULL);";

/* The oldest go. */
static const char shrink[] =
	"DELETE FROM layers_1 WHERE id <= (SELECT max(id) FROM layers_1) - %d;"
	"DELETE FROM surveys_1 WHERE id <= (SELECT max(id) FROM surveys_1) - %d;";

struct build_cache {
	sqlite3 *db;                                                       /* owned */
	sqlite3_stmt *find_layer, *keep_layer, *find_survey, *keep_survey; /* owned */
	bool is_changed;
};

char *build_cache_default_file(void)
{
	const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");

	if (cache && cache[0] == '/')
		return xasprintf("%s/nacre/layers.sqlite", cache);
	return home && home[0] == '/' ? xasprintf("%s/.cache/nacre/layers.sqlite", home) : NULL;
}

static bool is_private(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_uid == geteuid() &&
	       (st.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

/* Makes the file where it is missing. What another user can have written is not believed: what is in
 * the file becomes a layer of an image. */
static bool is_ours(const char *file)
{
	cleanup_free char *folder = xstrndup(file, (size_t)(strrchr(file, '/') - file));
	struct err ignored = ERR_INIT;
	cleanup_fd int dir = -1, fd = -1;

	if (make_dirs_at(AT_FDCWD, folder, &ignored) < 0)
		return false;
	dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 || !is_private(dir))
		return false;
	fd = safe_openat(dir, file + strlen(folder) + 1, O_RDWR | O_CREAT | O_NONBLOCK, 0600);
	return fd >= 0 && is_private(fd) && lseek(fd, 0, SEEK_END) >= 0; /* not a fifo */
}

static bool prepare(struct build_cache *c)
{
	const struct {
		sqlite3_stmt **statement;
		const char *text;
	} all[] = {
		{&c->find_layer, "SELECT digest, size, diff_id, machine, mixed FROM layers_1"
				 " WHERE key = ?1"},
		{&c->keep_layer, "INSERT OR REPLACE INTO layers_1"
				 "(key, digest, size, diff_id, machine, mixed)"
				 " VALUES(?1, ?2, ?3, ?4, ?5, ?6)"},
		{&c->find_survey, "SELECT programs, links, machine, mixed FROM surveys_1"
				  " WHERE key = ?1"},
		{&c->keep_survey, "INSERT OR REPLACE INTO surveys_1"
				  "(key, programs, links, machine, mixed)"
				  " VALUES(?1, ?2, ?3, ?4, ?5)"},
	};

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (sqlite3_prepare_v2(c->db, all[i].text, -1, all[i].statement, NULL) != SQLITE_OK)
			return false;
	return true;
}

struct build_cache *build_cache_open(const char *file)
{
	struct build_cache *c;

	if (!is_ours(file))
		return NULL;
	c = xcalloc(1, sizeof(*c));
	if (sqlite3_open_v2(file, &c->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) ==
		    SQLITE_OK &&
	    sqlite3_busy_timeout(c->db, BUSY_MS) == SQLITE_OK &&
	    sqlite3_exec(c->db, schema, NULL, NULL, NULL) == SQLITE_OK && prepare(c))
		return c;
	build_cache_free(c);
	return NULL;
}

void build_cache_free(struct build_cache *c)
{
	if (!c)
		return;
	if (c->is_changed) {
		cleanup_free char *text = xasprintf(shrink, ROWS_MAX, ROWS_MAX);

		(void)sqlite3_exec(c->db, text, NULL, NULL, NULL);
	}
	sqlite3_finalize(c->find_layer);
	sqlite3_finalize(c->keep_layer);
	sqlite3_finalize(c->find_survey);
	sqlite3_finalize(c->keep_survey);
	sqlite3_close(c->db);
	free(c);
}

/* Text with its NUL, so that no two lists make the same bytes. */
static void hash_text(struct hasher *h, const char *text)
{
	hasher_update(h, text, strlen(text) + 1);
}

static void hash_hash(struct hasher *h, const struct hash *hash)
{
	char text[HASH_TEXT_MAX];

	hash_format(text, hash, HASH_HEX);
	hash_text(h, text);
}

static void begin_key(struct hasher *h, const char *kind, enum image_compression compression)
{
	char encoder[FRAME_ENCODER_MAX] = "";

	if (compression == IMAGE_ZSTD)
		frame_encoder_identity(encoder);
	else if (compression == IMAGE_GZIP)
		snprintf(encoder, sizeof(encoder), "zlib %s", zlibVersion());
	hasher_init(h, HASH_SHA256);
	hash_text(h, kind);
	hash_text(h, image_layer_media_type(compression));
	hash_text(h, encoder);
}

void build_cache_root_key(struct hash *ret, const struct hash *diff_id,
			  enum image_compression compression)
{
	struct hasher h;

	begin_key(&h, "root layer", compression);
	hash_hash(&h, diff_id);
	hasher_final(&h, ret);
	hasher_release(&h);
}

void build_cache_layer_key(struct hash *ret, const struct path_infos *set,
			   const struct layer_group *group, const char *store_dir,
			   enum image_compression compression)
{
	struct hasher h;

	begin_key(&h, "store layer", compression);
	hash_text(&h, store_dir);
	for (size_t i = 0; i < group->len; i++) {
		const struct path_info *info = &set->items[group->paths[i]];

		hash_text(&h, store_path_base(&info->path));
		hash_hash(&h, &info->nar_hash);
	}
	hasher_final(&h, ret);
	hasher_release(&h);
}

static void survey_key(struct hash *ret, const struct hash *nar_hash, const struct path_survey *s)
{
	struct hasher h;

	hasher_init(&h, HASH_SHA256);
	hash_hash(&h, nar_hash);
	for (size_t i = 0; i < s->dirs.len; i++)
		hash_text(&h, s->dirs.items[i]);
	hasher_final(&h, ret);
	hasher_release(&h);
}

static void bind_hash(sqlite3_stmt *st, int column, const struct hash *hash)
{
	sqlite3_bind_blob(st, column, hash->bytes, (int)hash_size(hash->algo), SQLITE_STATIC);
}

static bool column_hash(struct hash *ret, sqlite3_stmt *st, int column)
{
	*ret = (struct hash){.algo = HASH_SHA256};
	if ((size_t)sqlite3_column_bytes(st, column) != hash_size(HASH_SHA256))
		return false;
	memcpy(ret->bytes, sqlite3_column_blob(st, column), hash_size(HASH_SHA256));
	return true;
}

/* Whether there is a row; reset the statement in any case. */
static bool find(sqlite3_stmt *st, const struct hash *key)
{
	bind_hash(st, 1, key);
	return sqlite3_step(st) == SQLITE_ROW;
}

static void keep(struct build_cache *c, sqlite3_stmt *st)
{
	c->is_changed = true;
	(void)sqlite3_step(st);
	sqlite3_reset(st);
	sqlite3_clear_bindings(st);
}

bool build_cache_find_layer(struct build_cache *c, const struct hash *key, struct known_layer *ret)
{
	struct known_layer layer = {0};
	bool found;

	if (!c)
		return false;
	found = find(c->find_layer, key) && column_hash(&layer.blob.digest, c->find_layer, 0) &&
		column_hash(&layer.diff_id, c->find_layer, 2);
	if (found) {
		layer.blob.size = (uint64_t)sqlite3_column_int64(c->find_layer, 1);
		layer.elf_machine = (uint16_t)sqlite3_column_int(c->find_layer, 3);
		layer.elf_mixed = sqlite3_column_int(c->find_layer, 4);
		*ret = layer;
	}
	sqlite3_reset(c->find_layer);
	return found;
}

void build_cache_keep_layer(struct build_cache *c, const struct hash *key,
			    const struct known_layer *layer)
{
	if (!c)
		return;
	bind_hash(c->keep_layer, 1, key);
	bind_hash(c->keep_layer, 2, &layer->blob.digest);
	sqlite3_bind_int64(c->keep_layer, 3, (sqlite3_int64)layer->blob.size);
	bind_hash(c->keep_layer, 4, &layer->diff_id);
	sqlite3_bind_int(c->keep_layer, 5, layer->elf_machine);
	sqlite3_bind_int(c->keep_layer, 6, layer->elf_mixed);
	keep(c, c->keep_layer);
}

/* Names, each with its NUL. */
static void split_names(struct strv *ret, sqlite3_stmt *st, int column)
{
	struct slice names = slice_make(sqlite3_column_blob(st, column),
					(size_t)sqlite3_column_bytes(st, column));

	while (names.len) {
		size_t len = strnlen((const char *)names.data, names.len);

		strv_add_slice(ret, slice_make(names.data, len));
		slice_advance(&names, len < names.len ? len + 1 : len);
	}
}

static int join_names(struct buf *ret, const struct strv *names)
{
	for (size_t i = 0; i < names->len; i++)
		if (buf_add(ret, names->items[i], strlen(names->items[i]) + 1) < 0)
			return E_LIMIT;
	return 0;
}

bool build_cache_find_survey(struct build_cache *c, const struct hash *nar_hash,
			     struct path_survey *s)
{
	struct hash key;
	bool found;

	if (!c)
		return false;
	survey_key(&key, nar_hash, s);
	found = find(c->find_survey, &key);
	if (found) {
		strv_release(&s->programs);
		strv_release(&s->links);
		split_names(&s->programs, c->find_survey, 0);
		split_names(&s->links, c->find_survey, 1);
		s->elf_machine = (uint16_t)sqlite3_column_int(c->find_survey, 2);
		s->elf_mixed = sqlite3_column_int(c->find_survey, 3);
	}
	sqlite3_reset(c->find_survey);
	return found;
}

void build_cache_keep_survey(struct build_cache *c, const struct hash *nar_hash,
			     const struct path_survey *s)
{
	cleanup_buf struct buf programs = BUF_INIT(NAMES_MAX), links = BUF_INIT(NAMES_MAX);
	struct hash key;

	if (!c || join_names(&programs, &s->programs) < 0 || join_names(&links, &s->links) < 0)
		return;
	survey_key(&key, nar_hash, s);
	bind_hash(c->keep_survey, 1, &key);
	/* Of no bytes at all a blob would be NULL. */
	sqlite3_bind_blob(c->keep_survey, 2, programs.len ? (void *)programs.data : "",
			  (int)programs.len, SQLITE_STATIC);
	sqlite3_bind_blob(c->keep_survey, 3, links.len ? (void *)links.data : "", (int)links.len,
			  SQLITE_STATIC);
	sqlite3_bind_int(c->keep_survey, 4, s->elf_machine);
	sqlite3_bind_int(c->keep_survey, 5, s->elf_mixed);
	keep(c, c->keep_survey);
}
