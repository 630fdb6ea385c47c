/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <sys/file.h>
#include <sys/random.h>

#include <nacre/encode.h>
#include <nacre/nar.h>
#include <nacre/tree.h>

#include "base/fs.h"
#include "base/group-sync.h"
#include "base/mem.h"
#include "base/sinks.h"
#include "base/thread-sink.h"
#include "node/node-store.h"
#include "node/unpack.h"

enum {
	NAME_SIZE = 140,
	RECORD_MAX = 64 << 20,
	BLOB_MAX = 16 << 20,
	INDEXES_BYTES_MAX = 16 << 10,
	REF_BYTES_MAX = 64 << 10,
	LINK_TEXT_MAX = 4096,
};

struct node_store {
	char *root;                          /* owned */
	int paths, layers, blobs, refs, tmp; /* owned descriptors */
	struct group_sync sync;              /* layers are taken in beside each other */
};

struct path_import {
	struct node_store *store;  /* borrowed */
	char name[NAME_SIZE];      /* in tmp/ */
	struct tree_writer *tree;  /* owned until finished */
	struct nar_writer *nar;    /* owned until finished */
	struct thread_sink thread; /* hashes, while the tree is written */
	struct hash_sink hash;
	struct node_tee tee;
	struct hash nar_hash; /* once finished */
	bool published;
};

static int open_dir(const char *root, const char *name, struct err *err)
{
	cleanup_free char *path = xasprintf("%s/%s", root, name);

	return open_made_dir(path, err);
}

int node_open_private_dir(const char *path, struct err *err)
{
	cleanup_fd int fd = open_made_dir(path, err);
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0 || ((st.st_mode & 0777) != 0700 && fchmod(fd, 0700) < 0))
		return err_errno(err, "make %s its owner's alone", path);
	return take_fd(&fd);
}

/* Removes what crashes have left in tmp/, unless another process works there: each holds a shared
 * lock as long as it has the store open. */
static void sweep_tmp(struct node_store *s)
{
	DIR *dir = flock(s->tmp, LOCK_EX | LOCK_NB) == 0 ? fdopendir(dup(s->tmp)) : NULL;
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		struct err ignored = ERR_INIT;

		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			tree_remove(s->tmp, entry->d_name, &ignored);
	}
	if (dir)
		closedir(dir);
	flock(s->tmp, LOCK_SH);
}

int node_store_open(struct node_store **ret, const char *root, struct err *err)
{
	struct node_store *s = xcalloc(1, sizeof(*s));
	struct {
		const char *name;
		int *fd;
		bool is_private; /* an image's files as they are, with whatever modes and owners */
	} dirs[] = {{"paths", &s->paths, false},
		    {"layers", &s->layers, true},
		    {"blobs", &s->blobs, false},
		    {"refs", &s->refs, false},
		    {"tmp", &s->tmp, true}};

	for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
		*dirs[i].fd = -1;
	group_sync_init(&s->sync);
	if (make_dirs_at(AT_FDCWD, root, err) < 0) {
		node_store_free(s);
		return err->code;
	}
	/* What is mounted must not depend on where this process is. */
	s->root = realpath(root, NULL);
	if (!s->root)
		s->root = xstrdup(root);
	for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
		cleanup_free char *path = xasprintf("%s/%s", s->root, dirs[i].name);

		*dirs[i].fd = dirs[i].is_private ? node_open_private_dir(path, err)
						 : open_made_dir(path, err);
		if (*dirs[i].fd < 0) {
			node_store_free(s);
			return err->code;
		}
	}
	sweep_tmp(s);
	*ret = s;
	return 0;
}

void node_store_free(struct node_store *s)
{
	if (!s)
		return;
	close_fd(&s->paths);
	close_fd(&s->layers);
	close_fd(&s->blobs);
	close_fd(&s->refs);
	close_fd(&s->tmp);
	group_sync_release(&s->sync);
	free(s->root);
	free(s);
}

const char *node_store_root(const struct node_store *s)
{
	return s->root;
}

static void temp_name(char ret[NAME_SIZE])
{
	uint8_t bytes[16];

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		abort(); /* cannot happen for so few bytes */
	hex_encode(ret, bytes, sizeof(bytes));
}

/* Where the content of a path is: in paths/, else where host/ leads to. NULL: nowhere. Owned by the
 * caller. */
static char *locate_path(const struct node_store *s, const struct hash *nar_hash)
{
	cleanup_free char *link = NULL;
	char name[NAME_SIZE], target[LINK_TEXT_MAX];
	ssize_t n;

	hash_format_bare(name, nar_hash, HASH_NIX32);
	if (faccessat(s->paths, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return xasprintf("%s/paths/%s", s->root, name);
	link = xasprintf("%s/host/%s", s->root, name);
	n = readlink(link, target, sizeof(target) - 1);
	if (n <= 0)
		return NULL;
	target[n] = '\0';
	return faccessat(AT_FDCWD, target, F_OK, AT_SYMLINK_NOFOLLOW) == 0 ? xstrdup(target) : NULL;
}

bool node_store_has_path(const struct node_store *s, const struct hash *nar_hash)
{
	cleanup_free char *file = locate_path(s, nar_hash);

	return file != NULL;
}

bool node_store_has_paths(const struct node_store *s, const struct layer_record *record)
{
	for (size_t i = 0; i < record->len; i++)
		if (!node_store_has_path(s, &record->paths[i].nar_hash))
			return false;
	return true;
}

char *node_store_path_file(const struct node_store *s, const struct hash *nar_hash)
{
	return locate_path(s, nar_hash);
}

static int not_here(const struct hash *nar_hash, struct err *err)
{
	char name[NAME_SIZE];

	hash_format_bare(name, nar_hash, HASH_NIX32);
	return err_set(err, E_NOTFOUND, "the path with NarHash %s is not on this node", name);
}

int node_store_stat_path(const struct node_store *s, const struct hash *nar_hash, struct stat *ret,
			 struct err *err)
{
	cleanup_free char *file = locate_path(s, nar_hash);

	if (!file)
		return not_here(nar_hash, err);
	return fstatat(AT_FDCWD, file, ret, AT_SYMLINK_NOFOLLOW) < 0 ? err_errno(err, "%s", file)
								     : 0;
}

int node_store_dump(const struct node_store *s, const struct hash *nar_hash, struct node_sink *out,
		    struct err *err)
{
	cleanup_free char *file = locate_path(s, nar_hash);

	return file ? tree_dump(AT_FDCWD, file, out, err) : not_here(nar_hash, err);
}

struct path_import *path_import_new(struct node_store *s)
{
	static const struct tree_restore_options options = {.canonical = true};
	struct path_import *p = xcalloc(1, sizeof(*p));

	p->store = s;
	temp_name(p->name);
	hash_sink_init(&p->hash, HASH_SHA256, NULL);
	thread_sink_init(&p->thread, &p->hash.sink);
	p->nar = nar_writer_new(&p->thread.sink);
	p->tree = tree_writer_new(s->tmp, p->name, &options);
	/* The NAR writer first: it checks the rules of names before the tree sees them. */
	node_tee_init(&p->tee, nar_writer_node_sink(p->nar), tree_writer_node_sink(p->tree));
	return p;
}

struct node_sink *path_import_sink(struct path_import *p)
{
	return &p->tee.node_sink;
}

static void release_writers(struct path_import *p)
{
	tree_writer_free(take_ptr(p->tree));
	nar_writer_free(take_ptr(p->nar));
	thread_sink_release(&p->thread);
	hash_sink_release(&p->hash);
}

void path_import_finish(struct path_import *p, struct hash *ret_nar_hash, uint64_t *ret_nar_size)
{
	struct err never = ERR_INIT; /* hashing does not fail */

	(void)sink_finish(&p->thread.sink, &never);
	hash_sink_final(&p->hash, &p->nar_hash);
	*ret_nar_hash = p->nar_hash;
	*ret_nar_size = nar_writer_offset(p->nar);
	release_writers(p);
}

int path_import_publish(struct path_import *p, struct err *err)
{
	char name[NAME_SIZE];

	hash_format_bare(name, &p->nar_hash, HASH_NIX32);
	if (renameat2(p->store->tmp, p->name, p->store->paths, name, RENAME_NOREPLACE) == 0)
		p->published = true;
	else if (errno != EEXIST) /* else somebody else was faster: theirs is the same */
		return err_errno(err, "%s/paths/%s", p->store->root, name);
	return 0;
}

void path_import_free(struct path_import *p)
{
	struct err ignored = ERR_INIT;

	if (!p)
		return;
	if (p->tree)
		release_writers(p);
	if (!p->published)
		tree_remove(p->store->tmp, p->name, &ignored);
	free(p);
}

int node_store_sync(struct node_store *s, struct err *err)
{
	return group_sync(&s->sync, s->tmp) < 0 ? err_errno(err, "sync %s", s->root) : 0;
}

void layer_record_release(struct layer_record *r)
{
	free(r->paths);
	*r = (struct layer_record){0};
}

static void record_name(char ret[NAME_SIZE], const struct hash *diff_id)
{
	hash_format_bare(ret, diff_id, HASH_HEX);
	memcpy(ret + hex_len(hash_size(diff_id->algo)), ".paths", sizeof(".paths"));
}

/* One line "<base> <NarHash in nix32>". */
static int parse_record_line(struct slice line, struct layer_path *ret)
{
	const uint8_t *space = memchr(line.data, ' ', line.len);
	size_t len;

	if (!space)
		return E_INVALID;
	len = (size_t)(space - line.data);
	if (store_base_check(slice_make(line.data, len)) < 0)
		return E_INVALID;
	memcpy(ret->base, line.data, len);
	ret->base[len] = '\0';
	slice_advance(&line, len + 1);
	return hash_parse(&ret->nar_hash, HASH_SHA256, line);
}

static int parse_record(struct slice text, struct layer_record *ret)
{
	for (bool first = true; text.len; first = false) {
		const uint8_t *end = memchr(text.data, '\n', text.len);
		struct slice line;

		if (!end)
			return E_INVALID;
		line = slice_make(text.data, (size_t)(end - text.data));
		slice_advance(&text, line.len + 1);
		if (first) {
			if (store_dir_check(line) < 0)
				return E_INVALID;
			memcpy(ret->store_dir, line.data, line.len);
			continue;
		}
		array_grow(ret->paths, ret->cap, ret->len + 1);
		ret->paths[ret->len] = (struct layer_path){0};
		if (parse_record_line(line, &ret->paths[ret->len]) < 0)
			return E_INVALID;
		ret->len++;
	}
	return ret->len ? 0 : E_INVALID;
}

int node_store_layer_record(const struct node_store *s, const struct hash *diff_id,
			    struct layer_record *ret, struct err *err)
{
	cleanup_buf struct buf text = {0};
	char name[NAME_SIZE];

	record_name(name, diff_id);
	if (read_file_at(s->layers, name, RECORD_MAX, &text, err) < 0)
		return err->code;
	*ret = (struct layer_record){0};
	if (parse_record(buf_slice(&text), ret) < 0) {
		layer_record_release(ret);
		return err_set(err, E_INVALID, "%s/layers/%s is damaged: remove it", s->root, name);
	}
	return 0;
}

static int format_record(const struct layer_record *record, struct buf *ret, struct err *err)
{
	int r = buf_addf(ret, "%s\n", record->store_dir);

	for (size_t i = 0; r >= 0 && i < record->len; i++) {
		char hash[HASH_TEXT_MAX];

		hash_format_bare(hash, &record->paths[i].nar_hash, HASH_NIX32);
		r = buf_addf(ret, "%s %s\n", record->paths[i].base, hash);
	}
	return r < 0 ? err_set(err, r, "the layer has too many paths") : 0;
}

int node_store_put_layer_record(struct node_store *s, const struct hash *diff_id,
				const struct layer_record *record, struct err *err)
{
	cleanup_buf struct buf text = BUF_INIT(RECORD_MAX);
	char name[NAME_SIZE];

	if (format_record(record, &text, err) < 0)
		return err->code;
	record_name(name, diff_id);
	return write_file_at(s->layers, name, text.data, text.len, true, err);
}

int node_store_stage_record(struct node_store *s, const struct layer_record *record,
			    struct staged_record *ret, struct err *err)
{
	cleanup_buf struct buf text = BUF_INIT(RECORD_MAX);

	staged_record_release(ret);
	if (format_record(record, &text, err) < 0 || temp_file_open(&ret->file, s->tmp, err) < 0)
		return err->code;
	if (write_full(ret->file.fd, text.data, text.len) < 0)
		return err_errno(err, "write a layer's record");
	ret->sync = group_sync_next(&s->sync);
	return 0;
}

int node_store_name_record(struct node_store *s, const struct hash *diff_id,
			   struct staged_record *staged, struct err *err)
{
	char name[NAME_SIZE];

	record_name(name, diff_id);
	if (!group_sync_is_past(&s->sync, staged->sync) && fsync(staged->file.fd) < 0)
		return err_errno(err, "fsync layers/%s", name);
	return temp_file_commit(&staged->file, s->layers, name, true, false, err);
}

void staged_record_release(struct staged_record *staged)
{
	temp_file_release(&staged->file);
	staged->sync = 0;
}

int node_store_put_signed(struct node_store *s, const struct hash *diff_id,
			  const struct hash *policy, struct err *err)
{
	cleanup_fd int dir = open_dir(s->root, "signed", err);
	char name[NAME_SIZE], text[HASH_TEXT_MAX];

	if (dir < 0)
		return dir;
	hash_format_bare(name, diff_id, HASH_HEX);
	hash_format(text, policy, HASH_HEX);
	return write_file_at(dir, name, text, strlen(text), true, err);
}

bool node_store_was_signed(const struct node_store *s, const struct hash *diff_id,
			   const struct hash *policy)
{
	cleanup_free char *path = NULL;
	cleanup_buf struct buf text = {0};
	char name[NAME_SIZE];
	struct err ignored = ERR_INIT;
	struct hash found;

	hash_format_bare(name, diff_id, HASH_HEX);
	path = xasprintf("%s/signed/%s", s->root, name);
	return read_file_at(AT_FDCWD, path, HASH_TEXT_MAX, &text, &ignored) >= 0 &&
	       hash_parse(&found, HASH_SHA256, buf_slice(&text)) >= 0 && hash_equal(&found, policy);
}

bool node_store_has_layer(const struct node_store *s, const struct hash *diff_id)
{
	char name[NAME_SIZE];

	hash_format_bare(name, diff_id, HASH_HEX);
	return faccessat(s->layers, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

char *node_store_layer_dir(const struct node_store *s, const struct hash *diff_id)
{
	char name[NAME_SIZE];

	hash_format_bare(name, diff_id, HASH_HEX);
	return xasprintf("%s/layers/%s", s->root, name);
}

/* Unpacks into tmp/NAME, checks, and renames. */
static int unpack_into(struct node_store *s, const char *temp, int blob_fd,
		       const struct hash *diff_id, struct err *err)
{
	cleanup_fd int dir = openat(s->tmp, temp, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	char name[NAME_SIZE];
	struct hash got;

	if (dir < 0)
		return err_errno(err, "open %s/tmp/%s", s->root, temp);
	if (layer_unpack(blob_fd, dir, &got, err) < 0)
		return err->code;
	hash_format_bare(name, diff_id, HASH_HEX);
	if (!hash_equal(&got, diff_id))
		return err_set(err, E_MISMATCH,
			       "a layer's content does not have its diffID sha256:%s", name);
	if (node_store_sync(s, err) < 0)
		return err->code;
	if (renameat2(s->tmp, temp, s->layers, name, RENAME_NOREPLACE) < 0 && errno != EEXIST)
		return err_errno(err, "%s/layers/%s", s->root, name);
	return 0;
}

int node_store_unpack_layer(struct node_store *s, int blob_fd, const struct hash *diff_id,
			    struct err *err)
{
	struct err ignored = ERR_INIT;
	char temp[NAME_SIZE];
	int r;

	temp_name(temp);
	if (mkdirat(s->tmp, temp, 0755) < 0)
		return err_errno(err, "create a directory in %s/tmp", s->root);
	r = unpack_into(s, temp, blob_fd, diff_id, err);
	tree_remove(s->tmp, temp, &ignored); /* gone already where it was renamed */
	return r;
}

int node_store_put_blob(struct node_store *s, const struct hash *digest, struct slice data,
			struct err *err)
{
	char name[NAME_SIZE];

	hash_format_bare(name, digest, HASH_HEX);
	return write_file_at(s->blobs, name, data.data, data.len, true, err);
}

int node_store_get_blob(const struct node_store *s, const struct hash *digest, struct buf *ret,
			struct err *err)
{
	cleanup_buf struct buf data = BUF_INIT(BLOB_MAX);
	char name[NAME_SIZE];
	struct hash got;

	hash_format_bare(name, digest, HASH_HEX);
	if (read_file_at(s->blobs, name, BLOB_MAX, &data, err) < 0)
		return err->code;
	hash_bytes(&got, digest->algo, data.data, data.len);
	if (!hash_equal(&got, digest))
		return err_set(err, E_MISMATCH, "%s/blobs/%s is damaged: remove it", s->root, name);
	buf_release(ret);
	*ret = data;
	data = (struct buf){0};
	return 0;
}

/* Of what is noted beside a manifest. */
static void note_name(char ret[NAME_SIZE], const struct hash *manifest, const char *ending)
{
	hash_format_bare(ret, manifest, HASH_HEX);
	memcpy(ret + hex_len(hash_size(manifest->algo)), ending, strlen(ending) + 1);
}

int node_store_put_config_of(struct node_store *s, const struct hash *manifest,
			     const struct hash *config, struct err *err)
{
	char name[NAME_SIZE], text[HASH_TEXT_MAX];

	note_name(name, manifest, ".config");
	hash_format(text, config, HASH_HEX);
	return write_file_at(s->blobs, name, text, strlen(text), true, err);
}

int node_store_get_config_of(const struct node_store *s, const struct hash *manifest,
			     struct hash *ret, struct err *err)
{
	cleanup_buf struct buf text = {0};
	char name[NAME_SIZE];

	note_name(name, manifest, ".config");
	if (read_file_at(s->blobs, name, HASH_TEXT_MAX, &text, err) < 0)
		return err->code;
	if (hash_parse(ret, HASH_NONE, buf_slice(&text)) < 0)
		return err_set(err, E_INVALID, "%s/blobs/%s is damaged: remove it", s->root, name);
	return 0;
}

static void index_line(struct buf *ret, const struct hash *index, const struct platform *platform)
{
	char digest[HASH_TEXT_MAX];

	hash_format(digest, index, HASH_HEX);
	buf_addf(ret, "%s ", digest);
	platform_format(ret, platform);
	buf_add_str(ret, "\n");
}

/* Takes the next line, with its end, off the text. */
static bool next_line(struct slice *text, struct slice *ret)
{
	const uint8_t *end = text->len ? memchr(text->data, '\n', text->len) : NULL;

	if (!end)
		return false;
	*ret = slice_make(text->data, (size_t)(end - text->data) + 1);
	slice_advance(text, ret->len);
	return true;
}

static int read_indexes(const struct node_store *s, const struct hash *manifest, struct buf *ret)
{
	struct err ignored = ERR_INIT;
	char name[NAME_SIZE];

	note_name(name, manifest, ".index");
	return read_file_at(s->blobs, name, INDEXES_BYTES_MAX, ret, &ignored);
}

bool node_store_is_member(const struct node_store *s, const struct hash *manifest,
			  const struct hash *index, const struct platform *platform)
{
	cleanup_buf struct buf wanted = {0};
	cleanup_buf struct buf text = {0};
	struct slice rest, line;

	index_line(&wanted, index, platform);
	if (read_indexes(s, manifest, &text) < 0)
		return false;
	rest = buf_slice(&text);
	while (next_line(&rest, &line))
		if (slice_equal(line, buf_slice(&wanted)))
			return true;
	return false;
}

int node_store_member_for(const struct node_store *s, const struct hash *manifest,
			  const struct platform *platform)
{
	cleanup_buf struct buf text = {0}, wanted = {0};
	struct slice rest, line;
	int r = E_NOTFOUND;

	platform_format(&wanted, platform);
	buf_add_str(&wanted, "\n");
	if (read_indexes(s, manifest, &text) < 0)
		return r;
	rest = buf_slice(&text);
	while (r <= 0 && next_line(&rest, &line)) {
		const uint8_t *space = memchr(line.data, ' ', line.len);

		slice_advance(&line, space ? (size_t)(space - line.data) + 1 : line.len);
		r = slice_equal(line, buf_slice(&wanted));
	}
	return r;
}

int node_store_put_index_of(struct node_store *s, const struct hash *manifest,
			    const struct hash *index, const struct platform *platform,
			    struct err *err)
{
	cleanup_buf struct buf wanted = {0};
	cleanup_buf struct buf old = {0}, text = BUF_INIT(INDEXES_BYTES_MAX);
	struct slice rest, line;
	char name[NAME_SIZE];
	int n = 1, r;

	index_line(&wanted, index, platform);
	r = buf_add(&text, wanted.data, wanted.len);
	read_indexes(s, manifest, &old);
	rest = buf_slice(&old);
	/* What no longer finds room was noted long ago, or is not ours. */
	while (r >= 0 && n < NODE_INDEXES_MAX && next_line(&rest, &line)) {
		if (slice_equal(line, buf_slice(&wanted)))
			continue;
		if (buf_add(&text, line.data, line.len) < 0)
			break;
		n++;
	}
	if (r < 0)
		return err_set(err, r, "what is noted of an index is too long");
	note_name(name, manifest, ".index");
	return write_file_at(s->blobs, name, text.data, text.len, true, err);
}

/* References are long and hold any character: the file's name is the sha256 of the text. */
static void ref_name(char ret[NAME_SIZE], const char *ref)
{
	struct hash h;

	hash_bytes(&h, HASH_SHA256, ref, strlen(ref));
	hash_format_bare(ret, &h, HASH_HEX);
}

int node_store_put_ref(struct node_store *s, const char *ref, const struct hash *digest,
		       struct err *err)
{
	cleanup_buf struct buf line = {0};
	char name[NAME_SIZE], text[HASH_TEXT_MAX];

	ref_name(name, ref);
	hash_format(text, digest, HASH_HEX);
	if (buf_addf(&line, "%s %s", text, ref) < 0)
		return err_set(err, E_LIMIT, "the reference is too long");
	return write_file_at(s->refs, name, line.data, line.len, true, err);
}

int node_store_get_ref(const struct node_store *s, const char *ref, struct hash *ret,
		       struct err *err)
{
	cleanup_buf struct buf text = {0};
	const uint8_t *space;
	char name[NAME_SIZE];

	ref_name(name, ref);
	if (read_file_at(s->refs, name, REF_BYTES_MAX, &text, err) < 0)
		return err->code;
	space = memchr(text.data, ' ', text.len);
	if (hash_parse(ret, HASH_NONE,
		       slice_make(text.data, space ? (size_t)(space - text.data) : text.len)) < 0)
		return err_set(err, E_INVALID, "%s/refs/%s is damaged: remove it", s->root, name);
	utimensat(s->refs, name, NULL, 0); /* used now */
	return 0;
}

static int lock_store(struct node_store *s, int operation, struct err *err)
{
	cleanup_free char *path = xasprintf("%s/lock", s->root);
	cleanup_fd int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return err_errno(err, "open %s", path);
	while (flock(fd, operation) < 0)
		if (errno != EINTR)
			return err_errno(err, "lock %s", path);
	return take_fd(&fd);
}

int node_store_use(struct node_store *s, struct err *err)
{
	return lock_store(s, LOCK_SH, err);
}

int node_store_use_alone(struct node_store *s, struct err *err)
{
	return lock_store(s, LOCK_EX, err);
}

int node_store_open_locks(struct node_store *s, struct err *err)
{
	cleanup_free char *path = xasprintf("%s/locks", s->root);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	return fd < 0 ? err_errno(err, "open %s", path) : fd;
}

/* One byte of a file stands for a hash: locks of open file descriptions are held by threads as well as
 * by processes, and leave nothing behind. */
static int lock_byte(int fd, int command, const struct hash *hash)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
	int r;

	memcpy(&lock.l_start, hash->bytes, sizeof(lock.l_start));
	lock.l_start &= INT64_MAX >> 1;
	do
		r = fcntl(fd, command, &lock);
	while (r < 0 && errno == EINTR);
	return r;
}

int node_store_try_lock(int locks, const struct hash *hash, struct err *err)
{
	if (lock_byte(locks, F_OFD_SETLK, hash) >= 0)
		return 1;
	return errno == EAGAIN || errno == EACCES ? 0 : err_errno(err, "lock a store path");
}

int node_store_lock_content(struct node_store *s, const struct hash *hash, struct err *err)
{
	cleanup_fd int fd = node_store_open_locks(s, err);

	if (fd < 0)
		return fd;
	if (lock_byte(fd, F_OFD_SETLKW, hash) < 0)
		return err_errno(err, "lock %s/locks", s->root);
	return take_fd(&fd);
}

int node_store_temp_fd(struct node_store *s, struct err *err)
{
	struct temp_file t;
	int r = temp_file_open(&t, s->tmp, err);

	if (r < 0)
		return r;
	if (t.name[0])
		unlinkat(s->tmp, t.name, 0);
	return t.fd;
}
