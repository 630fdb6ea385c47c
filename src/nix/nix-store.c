/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nix's database, schema 10, read-only (Nix source src/libstore/local-store.cc, schema.sql):
 *	ValidPaths(id, path, hash, registrationTime, deriver, narSize, ultimate, sigs, ca)
 *	Refs(referrer, reference)
 */
#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <sqlite3.h>

#include <nacre/closure.h>
#include <nacre/encode.h>

#include "base/fs.h"
#include "base/mem.h"

#define SCHEMA "10"
#define COLUMNS                                                                               \
	"SELECT id, path, hash, registrationTime, deriver, narSize, ultimate, sigs, ca FROM " \
	"ValidPaths "

enum { BUSY_MS = 10000, OPEN_ATTEMPTS = 5 };

struct nix_store {
	char *store_dir;                         /* owned; as in the paths */
	int dirfd;                               /* owned; where it really is */
	sqlite3 *db;                             /* owned */
	sqlite3_stmt *by_path, *by_range, *refs; /* owned */
};

enum {
	COL_ID,
	COL_PATH,
	COL_HASH,
	COL_TIME,
	COL_DERIVER,
	COL_SIZE,
	COL_ULTIMATE,
	COL_SIGS,
	COL_CA
};

static int check_schema(const char *state_dir, struct err *err)
{
	cleanup_free char *file = xasprintf("%s/db/schema", state_dir);
	cleanup_buf struct buf text = {0};

	if (read_file_at(AT_FDCWD, file, 64, &text, err) < 0)
		return err_wrap(err, "no Nix store here");
	while (text.len && text.data[text.len - 1] == '\n')
		text.data[--text.len] = '\0';
	if (!slice_equal_str(buf_slice(&text), SCHEMA))
		return err_set(err, E_UNSUPPORTED,
			       "%s: schema '%s' of Nix's database, wanted " SCHEMA, file,
			       (char *)text.data);
	return 0;
}

/* The URI form of a file name: '?', '#' and '%' escaped. */
static char *file_uri(const char *file, const char *query)
{
	struct buf b = {0};

	buf_add_str(&b, "file:");
	for (const char *p = file; *p; p++)
		if (strchr("?#%", *p))
			buf_addf(&b, "%%%02x", (unsigned char)*p);
		else
			buf_add(&b, p, 1);
	buf_add_str(&b, query);
	return buf_take_str(&b);
}

static int db_error(struct nix_store *s, const char *what, struct err *err)
{
	return err_set(err, E_IO, "Nix's database: %s: %s", what, sqlite3_errmsg(s->db));
}

static int try_open(struct nix_store *s, const char *file, const char *query)
{
	cleanup_free char *uri = file_uri(file, query);
	int r = sqlite3_open_v2(uri, &s->db,
				SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX, NULL);

	if (r == SQLITE_OK) {
		sqlite3_busy_timeout(s->db, BUSY_MS);
		/* Opening is lazy: this reads the file. */
		r = sqlite3_exec(s->db, "SELECT 1 FROM ValidPaths LIMIT 1", NULL, NULL, NULL);
	}
	if (r != SQLITE_OK) {
		sqlite3_close(s->db);
		s->db = NULL;
	}
	return r;
}

/* SPEC sqlite fileformat2 1.3: the read version is 2 in WAL mode. */
static int is_in_wal_mode(const char *file, bool *ret, struct err *err)
{
	cleanup_fd int fd = open(file, O_RDONLY | O_CLOEXEC);
	uint8_t version = 0;

	if (fd < 0 || pread(fd, &version, 1, 19) < 0)
		return err_errno(err, "open %s", file);
	*ret = version == 2;
	return 0;
}

/*
 * A database in WAL mode needs its -wal and -shm. SQLite creates them when they are missing and the
 * folder can be written, which we must not do to a store that is not ours: where there is no -wal,
 * nobody has it open and all is in the main file, so it is read as immutable. Else, and in the mode
 * with a journal (Nix's use-sqlite-wal = false), it is opened as every reader does.
 */
static int open_database(struct nix_store *s, const char *state_dir, struct err *err)
{
	cleanup_free char *file = xasprintf("%s/db/db.sqlite", state_dir);
	cleanup_free char *wal = xasprintf("%s-wal", file);
	int r = SQLITE_CANTOPEN;

	/* The last Nix that ends takes the -wal away, maybe after we saw it. */
	for (int i = 0; r == SQLITE_CANTOPEN && i < OPEN_ATTEMPTS; i++) {
		struct stat st;
		bool has_wal = stat(wal, &st) == 0 && st.st_size > 0, in_wal_mode = false;

		if (is_in_wal_mode(file, &in_wal_mode, err) < 0)
			return err->code;
		if (i)
			nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
		r = try_open(s, file, in_wal_mode && !has_wal ? "?immutable=1" : "?mode=ro");
	}
	if (r != SQLITE_OK)
		return err_set(err, E_IO, "open %s: %s", file, sqlite3_errstr(r));
	return 0;
}

static int prepare(struct nix_store *s, sqlite3_stmt **ret, const char *sql, struct err *err)
{
	return sqlite3_prepare_v3(s->db, sql, -1, SQLITE_PREPARE_PERSISTENT, ret, NULL) == SQLITE_OK
		       ? 0
		       : db_error(s, "prepare", err);
}

static int open_parts(struct nix_store *s, const char *root, struct err *err)
{
	bool is_root = strcmp(root, "/") == 0 || !*root;
	const char *prefix = is_root ? "" : root;
	const char *state = is_root ? getenv("NIX_STATE_DIR") : NULL;
	cleanup_free char *state_dir =
		state && *state ? xstrdup(state) : xasprintf("%s/nix/var/nix", prefix);
	cleanup_free char *dir = xasprintf("%s%s", prefix, s->store_dir);

	if (check_schema(state_dir, err) < 0 || open_database(s, state_dir, err) < 0)
		return err->code;
	s->dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dirfd < 0)
		return err_errno(err, "open %s", dir);
	if (prepare(s, &s->by_path, COLUMNS "WHERE path = ?1", err) < 0 ||
	    /* Nix's own way to look up a hash part. */
	    prepare(s, &s->by_range, COLUMNS "WHERE path >= ?1 ORDER BY path LIMIT 1", err) < 0 ||
	    prepare(s, &s->refs,
		    "SELECT path FROM Refs JOIN ValidPaths ON reference = id WHERE referrer = ?1",
		    err) < 0)
		return err->code;
	return 0;
}

int nix_store_open(struct nix_store **ret, const char *root, const char *store_dir, struct err *err)
{
	struct nix_store *s;

	if (store_dir_check(slice_str(store_dir)) < 0)
		return err_set(err, E_INVALID, "'%s' is not a store dir", store_dir);
	s = xcalloc(1, sizeof(*s));
	s->dirfd = -1;
	s->store_dir = xstrdup(store_dir);
	if (open_parts(s, root, err) < 0) {
		nix_store_free(s);
		return err_wrap(err, "Nix store %s", root);
	}
	*ret = s;
	return 0;
}

void nix_store_free(struct nix_store *s)
{
	if (!s)
		return;
	sqlite3_finalize(s->by_path);
	sqlite3_finalize(s->by_range);
	sqlite3_finalize(s->refs);
	sqlite3_close(s->db);
	close_fd(&s->dirfd);
	free(s->store_dir);
	free(s);
}

int nix_store_dirfd(const struct nix_store *s)
{
	return s->dirfd;
}

static struct slice column(sqlite3_stmt *q, int i)
{
	return slice_make(sqlite3_column_text(q, i), (size_t)sqlite3_column_bytes(q, i));
}

static int damaged(const char *path, const char *field, struct err *err)
{
	return err_set(err, E_INVALID, "Nix's database: %s of %s is malformed", field, path);
}

static void add_signatures(struct path_info *info, struct slice sigs)
{
	while (sigs.len) {
		const uint8_t *space = memchr(sigs.data, ' ', sigs.len);
		size_t len = space ? (size_t)(space - sigs.data) : sigs.len;
		struct slice one = slice_make(sigs.data, len);

		/* Nix keeps whatever it was given; one that is malformed proves nothing. */
		if (signature_check(one) >= 0)
			strv_add_slice(&info->signatures, one);
		slice_advance(&sigs, len + (space ? 1 : 0));
	}
	strv_sort_unique(&info->signatures);
}

static int read_references(struct nix_store *s, sqlite3_int64 id, struct path_info *info,
			   struct err *err)
{
	int r;

	sqlite3_bind_int64(s->refs, 1, id);
	while ((r = sqlite3_step(s->refs)) == SQLITE_ROW) {
		struct store_path ref;

		if (store_path_parse(&ref, s->store_dir, column(s->refs, 0)) < 0) {
			sqlite3_reset(s->refs);
			return damaged(info->path.text, "a reference", err);
		}
		strv_add(&info->references, store_path_base(&ref));
	}
	sqlite3_reset(s->refs);
	strv_sort_unique(&info->references);
	return r == SQLITE_DONE ? 0 : db_error(s, "references", err);
}

static int read_row(struct nix_store *s, sqlite3_stmt *q, struct path_info *info, struct err *err)
{
	struct slice deriver = column(q, COL_DERIVER), ca = column(q, COL_CA);
	struct store_path path;

	if (store_path_parse(&info->path, s->store_dir, column(q, COL_PATH)) < 0)
		return damaged((const char *)sqlite3_column_text(q, COL_PATH), "the path", err);
	if (hash_parse(&info->nar_hash, HASH_SHA256, column(q, COL_HASH)) < 0)
		return damaged(info->path.text, "the hash", err);
	info->nar_size = (uint64_t)sqlite3_column_int64(q, COL_SIZE);
	info->registration_time = sqlite3_column_int64(q, COL_TIME);
	info->ultimate = sqlite3_column_int(q, COL_ULTIMATE) != 0;
	if (deriver.len && store_path_parse(&path, s->store_dir, deriver) >= 0)
		info->deriver = xstrdup(store_path_base(&path));
	if (ca.len)
		info->ca = xstrndup((const char *)ca.data, ca.len);
	add_signatures(info, column(q, COL_SIGS));
	return read_references(s, sqlite3_column_int64(q, COL_ID), info, err);
}

int nix_store_query(struct nix_store *s, const struct store_path *path, struct path_info *ret,
		    struct err *err)
{
	struct path_info info = {0};
	int r;

	sqlite3_bind_text(s->by_path, 1, path->text, -1, SQLITE_STATIC);
	r = sqlite3_step(s->by_path);
	if (r == SQLITE_ROW)
		r = read_row(s, s->by_path, &info, err);
	else if (r == SQLITE_DONE)
		r = err_set(err, E_NOTFOUND, "%s is not valid in this Nix store", path->text);
	else
		r = db_error(s, path->text, err);
	sqlite3_reset(s->by_path);
	if (r < 0) {
		path_info_release(&info);
		return r;
	}
	*ret = info;
	return 0;
}

int nix_store_query_hash_part(struct nix_store *s, struct slice hash_part, struct path_info *ret,
			      struct err *err)
{
	cleanup_free char *prefix = xasprintf("%s/%.*s", s->store_dir, (int)hash_part.len,
					      (const char *)hash_part.data);
	struct store_path path = {0};
	int r = E_INVALID;

	if (store_hash_part_check(hash_part) < 0)
		return err_set(err, E_INVALID, "not the hash part of a store path");
	sqlite3_bind_text(s->by_range, 1, prefix, -1, SQLITE_STATIC);
	if (sqlite3_step(s->by_range) == SQLITE_ROW &&
	    slice_has_prefix(column(s->by_range, COL_PATH), prefix))
		r = store_path_parse(&path, s->store_dir, column(s->by_range, COL_PATH));
	sqlite3_reset(s->by_range);
	if (r < 0)
		return err_set(err, E_NOTFOUND, "%s-… is not valid in this Nix store", prefix);
	return nix_store_query(s, &path, ret, err);
}

/* A walk over references: what was found, and a tree (search.h) of the base names that were met. */
struct closure_walk {
	struct path_infos found; /* in the order of the walk */
	struct strv pending;
	void *met; /* owned; its keys are strings of `names` */
	struct strv names;
};

static int compare_infos(const void *a, const void *b)
{
	return strcmp(((const struct path_info *)a)->path.text,
		      ((const struct path_info *)b)->path.text);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* Enters a base name, and lists it for a visit if it is new. */
static void meet(struct closure_walk *w, const char *base, bool visit)
{
	if (tfind(base, &w->met, compare_names))
		return;
	strv_add(&w->names, base);
	tsearch(w->names.items[w->names.len - 1], &w->met, compare_names);
	if (visit)
		strv_add(&w->pending, base);
}

static int visit(struct nix_store *s, struct closure_walk *w, const char *base, struct err *err)
{
	const struct strv *references;
	struct store_path path;

	array_grow(w->found.items, w->found.cap, w->found.len + 1);
	if (store_path_make(&path, s->store_dir, slice_str(base)) < 0)
		return err_set(err, E_INVALID, "'%s' is not a store path", base);
	if (nix_store_query(s, &path, &w->found.items[w->found.len], err) < 0)
		return err->code;
	references = &w->found.items[w->found.len++].references;
	for (size_t i = 0; i < references->len; i++)
		meet(w, references->items[i], true);
	return 0;
}

static void keep_key(void *key)
{
	(void)key; /* owned by `names` */
}

int nix_store_closure(struct nix_store *s, const struct store_path *path, struct path_infos *set,
		      struct err *err)
{
	struct closure_walk w = {0};
	int r = 0;

	for (size_t i = 0; i < set->len; i++)
		meet(&w, store_path_base(&set->items[i].path), false);
	meet(&w, store_path_base(path), true);
	while (r >= 0 && w.pending.len) {
		cleanup_free char *base = w.pending.items[--w.pending.len];

		r = visit(s, &w, base, err);
	}
	/* In order, so that taking them is appending. */
	if (w.found.len)
		qsort(w.found.items, w.found.len, sizeof(*w.found.items), compare_infos);
	if (r >= 0 && !set->len) {
		path_infos_release(set);
		*set = w.found;
		w.found = (struct path_infos){0};
	}
	for (size_t i = 0; r >= 0 && i < w.found.len; i++)
		path_infos_take(set, &w.found.items[i]);
	path_infos_release(&w.found);
	tdestroy(w.met, keep_key);
	strv_release(&w.names);
	strv_release(&w.pending);
	return r;
}
