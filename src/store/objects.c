/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <nacre/encode.h>

#include "base/fs.h"
#include "store/objects.h"

enum {
	SHARDS = 256,
	WRITE_BUFFER = 128 << 10, /* bytes gathered before they are written */
	/* Bytes after which the disk begins to take them. All at the end would be a wait of its
	 * own; a small object gains nothing. */
	WRITEBACK_STEP = 8 << 20,
	RANDOM_BYTES = 8,
	/* Of the disk, but no more than so many bytes, is left to the database. */
	RESERVE_PART = 64,
	RESERVE_MAX = 64 << 20,
};

/* A '/' cannot be part of a name in incoming/: there "ab/<rest>" is "ab~<rest>". */
static void incoming_name_of(char *ret, const char *file)
{
	snprintf(ret, OBJECT_FILE_MAX, "%s", file);
	ret[2] = '~';
}

static void random_text(char *ret)
{
	uint8_t bytes[RANDOM_BYTES];

	if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
		abort(); /* cannot happen for so few bytes once the machine is up */
	hex_encode(ret, bytes, sizeof(bytes));
}

static int incoming_write(struct sink *sink, const void *data, size_t len, struct err *err);

void incoming_init(struct incoming *in, struct store *s)
{
	*in = (struct incoming){.sink = {.write = incoming_write}, .store = s, .fd = -1};
	hasher_init(&in->hasher, HASH_SHA256);
}

/* Starts writing back what is not on its way to the disk yet. A hint: only fsync tells whether it
 * got there. */
static void writeback_start(struct incoming *in)
{
	sync_file_range(in->fd, (off_t)in->started, (off_t)(in->written - in->started),
			SYNC_FILE_RANGE_WRITE);
	in->started = in->written;
}

static int incoming_file_write(struct incoming *in, const void *data, size_t len, struct err *err)
{
	if (write_full(in->fd, data, len) < 0)
		return io_errno(err, "write what is received");
	in->written += len;
	if (in->written - in->started >= WRITEBACK_STEP)
		writeback_start(in);
	return 0;
}

static int incoming_flush(struct incoming *in, struct err *err)
{
	int r = incoming_file_write(in, in->buffer, in->buffered, err);

	if (r >= 0)
		in->buffered = 0;
	return r;
}

static int incoming_spill(struct incoming *in, struct err *err)
{
	char digits[2 * RANDOM_BYTES + 1];

	random_text(digits);
	snprintf(in->name, sizeof(in->name), "new-%s", digits);
	in->fd = openat(in->store->incoming_fd, in->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC,
			0600);
	if (in->fd < 0) {
		in->name[0] = '\0';
		return io_errno(err, "create a file for what is received");
	}
	return 0;
}

static void buffer_room(struct incoming *in, size_t need)
{
	size_t size = in->buffer_size ? in->buffer_size : 512;

	while (size < need)
		size *= 2;
	if (size != in->buffer_size) {
		in->buffer = xreallocarray(in->buffer, 1, size);
		in->buffer_size = size;
	}
}

static int incoming_write(struct sink *sink, const void *data, size_t len, struct err *err)
{
	struct incoming *in = container_of(sink, struct incoming, sink);
	size_t limit = in->fd < 0 ? (size_t)OBJECT_INLINE_MAX : (size_t)WRITE_BUFFER;
	int r = 0;

	if (!in->hash_given)
		hasher_update(&in->hasher, data, len);
	in->size += len;
	if (in->fd < 0 && in->buffered + len > limit) {
		r = incoming_spill(in, err);
		limit = WRITE_BUFFER;
	}
	if (r >= 0 && in->buffered + len > limit)
		r = incoming_flush(in, err);
	if (r >= 0 && len > limit / 2 && in->fd >= 0) {
		if (in->buffered)
			r = incoming_flush(in, err);
		return r < 0 ? r : incoming_file_write(in, data, len, err);
	}
	if (r >= 0 && len) {
		buffer_room(in, in->buffered + len);
		memcpy(in->buffer + in->buffered, data, len);
		in->buffered += len;
	}
	return r;
}

int incoming_to_file(struct incoming *in, struct err *err)
{
	int r = in->fd < 0 ? incoming_spill(in, err) : 0;

	return r < 0 ? r : incoming_flush(in, err);
}

/* Renames within incoming/, then links into objects/, whose directory is `dir`. */
static int incoming_link(struct incoming *in, int dir, struct err *err)
{
	char name[OBJECT_FILE_MAX];

	incoming_name_of(name, in->file);
	if (renameat(in->store->incoming_fd, in->name, in->store->incoming_fd, name) < 0)
		return io_errno(err, "rename what was received");
	snprintf(in->name, sizeof(in->name), "%s", name);
	if (linkat(in->store->incoming_fd, in->name, dir, in->file + 3, 0) < 0)
		return io_errno(err, "link an object");
	return 0;
}

/* Names first: no row has them yet, and a file system with a journal then writes file and names at
 * once, when the file is synced, and has nothing left to do for the directory. Where it is not so,
 * the second call is what counts. */
static int incoming_sync(struct incoming *in, struct err *err)
{
	char shard[3] = {in->file[0], in->file[1], '\0'};
	cleanup_fd int dir =
		openat(in->store->objects_fd, shard, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (dir < 0)
		return io_errno(err, "open a directory of objects");
	r = incoming_link(in, dir, err);
	if (r < 0)
		return r;
	if (fsync(in->fd) < 0)
		return io_errno(err, "fsync what was received");
	if (fsync(dir) < 0)
		return io_errno(err, "fsync a directory of objects");
	return 0;
}

void incoming_end(struct incoming *in)
{
	if (!in->hash_given)
		hasher_final(&in->hasher, &in->sha256);
}

int room_check(struct store *s, struct err *err)
{
	struct statvfs fs;
	uint64_t size, reserve;

	if (fstatvfs(s->incoming_fd, &fs) < 0)
		return io_errno(err, "look how much room is left");
	size = (uint64_t)fs.f_blocks * fs.f_frsize;
	reserve = size / RESERVE_PART < RESERVE_MAX ? size / RESERVE_PART : RESERVE_MAX;
	if ((uint64_t)fs.f_bavail * fs.f_frsize >= reserve)
		return 0;
	errno = ENOSPC;
	return io_errno(err, "leave room for the database");
}

int incoming_seal(struct incoming *in, struct err *err)
{
	char hex[65], digits[2 * RANDOM_BYTES + 1];
	int r;

	if (in->fd < 0)
		return 0;
	r = incoming_flush(in, err);
	if (r < 0)
		return r;
	r = room_check(in->store, err);
	if (r < 0)
		return r;
	hex_encode(hex, in->sha256.bytes, 32);
	random_text(digits);
	snprintf(in->file, sizeof(in->file), "%.2s/%s.%s", hex, hex + 2, digits);
	r = incoming_sync(in, err);
	close_fd(&in->fd); /* many may wait for one transaction */
	return r;
}

/* The bytes of a damaged object came again. */
static int object_heal(struct incoming *in, struct conn *c, int64_t id, struct err *err)
{
	struct query q;
	int r;

	query_init(&q, c,
		   "UPDATE object SET damaged = 0, size = ?2, file = ?3, data = ?4 WHERE id = ?1");
	query_bind_int(&q, 1, id);
	query_bind_int(&q, 2, (int64_t)in->size);
	if (in->file[0])
		query_bind_str(&q, 3, in->file);
	else
		query_bind_blob(&q, 4,
				slice_make(in->buffer ? in->buffer : (uint8_t *)"", in->buffered));
	r = query_run(&q, err);
	if (r >= 0)
		in->recorded = true;
	return r;
}

int incoming_record(struct incoming *in, struct conn *c, enum object_kind kind, int64_t *ret_id,
		    struct err *err)
{
	bool damaged = false;
	struct query q;
	int r;

	query_init(&q, c, "SELECT id, damaged FROM object WHERE sha256 = ?1");
	query_bind_hash(&q, 1, &in->sha256);
	r = query_step(&q, err);
	if (r > 0) {
		*ret_id = query_int(&q, 0);
		damaged = query_int(&q, 1);
	}
	query_end(&q);
	if (r > 0 && damaged)
		r = object_heal(in, c, *ret_id, err) < 0 ? err->code : 1;
	if (r > 0 && kind != OBJECT_OPAQUE) {
		query_init(&q, c, "UPDATE object SET kind = ?2 WHERE id = ?1 AND kind = 3");
		query_bind_int(&q, 1, *ret_id);
		query_bind_int(&q, 2, kind);
		return query_run(&q, err);
	}
	if (r != 0)
		return r < 0 ? r : 0;
	query_init(
		&q, c,
		"INSERT INTO object (sha256, size, kind, file, data) VALUES (?1, ?2, ?3, ?4, ?5)");
	query_bind_hash(&q, 1, &in->sha256);
	query_bind_int(&q, 2, (int64_t)in->size);
	query_bind_int(&q, 3, kind);
	if (in->file[0])
		query_bind_str(&q, 4, in->file);
	else
		query_bind_blob(&q, 5,
				slice_make(in->buffer ? in->buffer : (uint8_t *)"", in->buffered));
	r = query_run(&q, err);
	if (r < 0)
		return r;
	in->recorded = true;
	*ret_id = conn_last_id(c);
	return 0;
}

void incoming_settle(struct incoming *in, bool committed)
{
	if (in->file[0] && !(in->recorded && committed))
		unlinkat(in->store->objects_fd, in->file, 0);
	if (in->name[0])
		unlinkat(in->store->incoming_fd, in->name, 0);
	in->file[0] = in->name[0] = '\0';
}

void incoming_release(struct incoming *in)
{
	if (!in->store)
		return;
	incoming_settle(in, false);
	hasher_release(&in->hasher);
	close_fd(&in->fd);
	free(in->buffer);
	*in = (struct incoming){.fd = -1};
}

/* Does a row name this file? */
static int object_recorded(struct conn *c, const char *file, struct err *err)
{
	struct hash sha256 = {.algo = HASH_SHA256};
	char hex[65];
	struct query q;
	int r;

	snprintf(hex, sizeof(hex), "%.2s%.62s", file, file + 3);
	if (hex_decode(sha256.bytes, 32, slice_str(hex)) < 0)
		return 0;
	query_init(&q, c, "SELECT 1 FROM object WHERE sha256 = ?1 AND file = ?2");
	query_bind_hash(&q, 1, &sha256);
	query_bind_str(&q, 2, file);
	r = query_step(&q, err);
	query_end(&q);
	return r;
}

/* Removes one leftover, and the object that it was to become unless a row names that. */
static int recover_one(struct store *s, struct conn *c, const char *name, struct err *err)
{
	char file[OBJECT_FILE_MAX];
	int r = 1;

	if (strlen(name) > 3 && strlen(name) < sizeof(file) && name[2] == '~') {
		snprintf(file, sizeof(file), "%s", name);
		file[2] = '/';
		r = object_recorded(c, file, err);
	}
	if (r < 0)
		return r;
	if (r == 0 && unlinkat(s->objects_fd, file, 0) < 0 && errno != ENOENT)
		return err_errno(err, "remove objects/%s", file);
	if (unlinkat(s->incoming_fd, name, 0) < 0 && errno != ENOENT)
		return err_errno(err, "remove incoming/%s", name);
	return 0;
}

static void close_dir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

int incoming_recover(struct store *s, struct err *err)
{
	cleanup_fd int fd = openat(s->incoming_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	__attribute__((cleanup(close_dir))) DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;
	struct conn *c;
	int r = 0;

	if (!dir)
		return err_errno(err, "open incoming");
	take_fd(&fd); /* is the directory's now */
	c = db_reader(s->db, err);
	if (!c)
		return err->code;
	while (r >= 0 && (errno = 0, entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			r = recover_one(s, c, entry->d_name, err);
	db_reader_done(s->db, c);
	if (r >= 0 && errno)
		return err_errno(err, "read incoming");
	return r;
}

int objects_prepare(struct store *s, struct err *err)
{
	char name[3];

	for (unsigned i = 0; i < SHARDS; i++) {
		snprintf(name, sizeof(name), "%02x", i);
		if (mkdirat(s->objects_fd, name, 0700) < 0 && errno != EEXIST)
			return err_errno(err, "create objects/%s", name);
	}
	if (fsync(s->objects_fd) < 0)
		return err_errno(err, "fsync objects");
	return 0;
}

/* Not E_NOTFOUND: a file of ours that is missing is nothing that a client asked for. */
static int open_failure(struct err *err, const char *file)
{
	int saved = errno;

	err_set(err, E_INTERNAL, "open objects/%s: %s", file, strerror(saved));
	err->sys_errno = saved;
	return E_INTERNAL;
}

static int object_load(struct store *s, struct query *q, struct object *ret, struct err *err)
{
	struct object o = {.fd = -1};
	char file[OBJECT_FILE_MAX];
	struct slice text = query_bytes(q, 3), data = query_bytes(q, 4);

	if (query_int(q, 5))
		return err_set(err, E_NOTFOUND, "it is damaged, and has to be put again");

	o.id = query_int(q, 0);
	o.size = (uint64_t)query_int(q, 1);
	query_hash(q, 2, &o.sha256);
	if (data.data) {
		o.data = xmemdup(data.data, data.len);
	} else {
		snprintf(file, sizeof(file), "%.*s", (int)text.len, (const char *)text.data);
		o.fd = openat(s->objects_fd, file, O_RDONLY | O_CLOEXEC);
		if (o.fd < 0)
			return open_failure(err, file);
	}
	*ret = o;
	return 0;
}

static int object_take(struct store *s, struct query *q, struct object *ret, struct err *err)
{
	int r = query_step(q, err);

	if (r > 0)
		r = object_load(s, q, ret, err);
	else if (r == 0)
		r = err_set(err, E_INTERNAL, "an object is missing in the database");
	query_end(q);
	return r;
}

int object_open(struct store *s, struct conn *c, int64_t id, struct object *ret, struct err *err)
{
	struct query q;

	query_init(&q, c, "SELECT id, size, sha256, file, data, damaged FROM object WHERE id = ?1");
	query_bind_int(&q, 1, id);
	return object_take(s, &q, ret, err);
}

int object_open_hash(struct store *s, struct conn *c, const struct hash *sha256, struct object *ret,
		     struct err *err)
{
	struct query q;

	query_init(&q, c,
		   "SELECT id, size, sha256, file, data, damaged FROM object WHERE sha256 = ?1");
	query_bind_hash(&q, 1, sha256);
	return object_take(s, &q, ret, err);
}

int object_pread(const struct object *o, uint64_t offset, void *buf, size_t len, struct err *err)
{
	ssize_t n;

	if (offset > o->size || len > o->size - offset)
		return err_set(err, E_INTERNAL, "read past the end of an object");
	if (o->data) {
		memcpy(buf, o->data + offset, len);
		return 0;
	}
	n = pread_full(o->fd, buf, len, offset);
	if (n < 0)
		return io_errno(err, "read an object");
	if ((size_t)n < len)
		return err_set(err, E_INTERNAL, "an object is shorter than it was");
	return 0;
}

static int reader_read(struct object_reader *reader, uint64_t offset, void *buf, size_t len,
		       struct err *err)
{
	return object_pread(container_of(reader, struct object, reader), offset, buf, len, err);
}

struct object_reader *object_reader(struct object *o)
{
	o->reader.read = reader_read;
	return &o->reader;
}

void object_release(struct object *o)
{
	close_fd(&o->fd);
	free(o->data);
	*o = OBJECT_INIT;
}
