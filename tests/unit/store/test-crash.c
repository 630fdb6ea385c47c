/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Killed at any point: what was acknowledged is there, nothing is torn, nothing is left over.
 * Once at random moments under load, once before each call that changes a file. What the kernel has
 * outlives a process, but no power cut: so it is also watched what is synced, and when.
 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <linux/ptrace.h>

#include "image-fixture.h"

enum {
	RANDOM_KILLS = 12,
	WRITERS = 4,
	SAMPLE = 7, /* of the calls, if not all */
	KINDS = 3,
	SEEN_MAX = 64,
};

/* What a child says over the pipe once it was told so. */
struct ack {
	int kind, number;
};

static size_t leftovers(const struct fixture *f)
{
	char path[100];
	size_t n = 0;
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), "%s/incoming", f->dir);
	d = opendir(path);
	assert_non_null(d);
	while ((e = readdir(d)))
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

/* ---- What is put, and whether it is there ---- */

static void blob_bytes(struct buf *ret, int number)
{
	cleanup_free char *data = noise((size_t)(number % 3) * 9000 + 10, (uint64_t)number);

	buf_add(ret, data, (size_t)(number % 3) * 9000 + 10);
}

static void nar_bytes(struct buf *ret, int number)
{
	cleanup_free char *data = noise(30000, (uint64_t)number + 7);

	nar_of(ret, (struct entry[]){{"a", data, 30000}, {"b", "x"}}, 2);
}

static int put_one(struct fixture *f, int kind, int number)
{
	cleanup_buf struct buf bytes = {0};
	char name[32];
	int r;

	snprintf(name, sizeof(name), "n%d", number);
	if (kind == 0) {
		struct hash digest;

		blob_bytes(&bytes, number);
		return put_blob(f, "blobs", buf_slice(&bytes), &digest);
	}
	if (kind == 1) {
		struct path_info info;

		nar_bytes(&bytes, number);
		info_of(&info, name, buf_slice(&bytes), NULL);
		r = put_nar(f, buf_slice(&bytes), CODEC_NONE, NULL);
		if (r >= 0)
			r = put_info(f, &info);
		path_info_release(&info);
		return r;
	}
	struct manifest_put_result result;

	buf_addf(&bytes,
		 "{\"schemaVersion\":2,\"mediaType\":\"" MT_OCI_INDEX
		 "\",\"manifests\":[],\"annotations\":{\"n\":\"%d\"}}",
		 number);
	return put_manifest(f, "manifests", name, &bytes, &result);
}

static void check_one(struct fixture *f, int kind, int number)
{
	cleanup_buf struct buf bytes = {0}, got = {0};
	struct manifest_stat stat;
	char name[32];

	snprintf(name, sizeof(name), "n%d", number);
	if (kind == 0) {
		struct hash digest;

		blob_bytes(&bytes, number);
		hash_bytes(&digest, HASH_SHA256, bytes.data, bytes.len);
		get_blob(f, "blobs", &digest, &got);
		assert_true(slice_equal(buf_slice(&bytes), buf_slice(&got)));
	} else if (kind == 1) {
		cleanup_narinfo struct narinfo n = {0};
		cleanup_buf struct buf plain = {0};

		nar_bytes(&bytes, number);
		assert_ok(get_info(f, name, &n), f->err);
		get_nar(f, n.url, &got);
		decode(&plain, CODEC_ZSTD, buf_slice(&got));
		assert_true(slice_equal(buf_slice(&bytes), buf_slice(&plain)));
	} else {
		assert_ok(store_manifest_stat(f->root, "manifests", name, &stat, &f->err), f->err);
	}
}

/* ---- At random ---- */

struct writer {
	pthread_t thread;
	struct fixture f;
	int fd, first;
};

static void *write_on(void *arg)
{
	struct writer *w = arg;

	for (int i = 0;; i++) {
		struct ack ack = {i % KINDS, w->first + i};

		if (put_one(&w->f, ack.kind, ack.number) < 0 ||
		    write(w->fd, &ack, sizeof(ack)) != sizeof(ack))
			_exit(1);
	}
	return NULL;
}

static void child_of_random(const struct fixture *f, int fd, int round)
{
	struct writer writers[WRITERS];
	struct fixture own = *f;

	own.store = NULL;
	if (store_open(&own.store, own.dir, &own.options, &own.err) < 0)
		_exit(2);
	own.root = store_root(own.store);
	for (int i = 0; i < WRITERS; i++) {
		writers[i] =
			(struct writer){.f = own, .fd = fd, .first = round * 100000 + i * 10000};
		pthread_create(&writers[i].thread, NULL, write_on, &writers[i]);
	}
	pause();
}

static void test_random(void **state)
{
	struct fixture f = {0};
	size_t n = 0, cap = 0;
	cleanup_free struct ack *acks = NULL;

	(void)state;
	fixture_open(&f);
	for (int round = 0; round < RANDOM_KILLS; round++) {
		int fds[2], status;
		struct ack ack;
		pid_t pid;

		store_close(f.store);
		assert_int_equal(pipe(fds), 0);
		pid = fork();
		if (pid == 0) {
			close(fds[0]);
			child_of_random(&f, fds[1], round);
		}
		close(fds[1]);
		/* However slow the machine is, there is something to lose. */
		assert_int_equal(read(fds[0], &ack, sizeof(ack)), sizeof(ack));
		array_grow(acks, cap, n + 1);
		acks[n++] = ack;
		usleep((useconds_t)(60000 + (round * 7919) % 150000));
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		while (read(fds[0], &ack, sizeof(ack)) == sizeof(ack)) {
			array_grow(acks, cap, n + 1);
			acks[n++] = ack;
		}
		close(fds[0]);
		f.store = NULL;
		fixture_reopen(&f);
		assert_int_equal(leftovers(&f), 0);
	}
	for (size_t i = 0; i < n; i++)
		check_one(&f, acks[i].kind, acks[i].number);
	print_message("%zu acknowledged\n", n);
	fixture_close(&f);
}

/* ---- Before each call that changes a file ---- */

static bool changes_files(uint64_t nr)
{
	switch (nr) {
	case SYS_write:
	case SYS_pwrite64:
	case SYS_fsync:
	case SYS_fdatasync:
	case SYS_ftruncate:
	case SYS_linkat:
	case SYS_renameat:
	case SYS_renameat2:
	case SYS_unlinkat:
#ifdef SYS_unlink
	case SYS_unlink:
#endif
		return true;
	default:
		return false;
	}
}

/* An image with a layer in our frames: taken in, recorded, converted. */
static int push_layer(struct fixture *f, const struct buf *layer, const char *manifest)
{
	struct manifest_put put = {.reference = "t", .bytes = slice_str(manifest)};
	struct manifest_put_result result;
	struct hash h;
	int r = put_blob(f, "image", slice_str(OCI_EMPTY_JSON), &h);

	if (r >= 0)
		r = put_blob(f, "image", buf_slice(layer), &h);
	return r < 0 ? r : store_manifest_put(f->root, "image", &put, &result, &f->err);
}

static void child_of_steps(struct fixture *f, int fd, const struct buf *layer, const char *manifest)
{
	struct ack ack = {0};

	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	f->store = NULL;
	if (store_open(&f->store, f->dir, &f->options, &f->err) < 0)
		_exit(2);
	f->root = store_root(f->store);
	for (int i = 0; i < KINDS; i++) {
		ack = (struct ack){i, i + 1};
		if (put_one(f, ack.kind, ack.number) < 0 ||
		    write(fd, &ack, sizeof(ack)) != sizeof(ack))
			_exit(1);
	}
	if (push_layer(f, layer, manifest) < 0)
		_exit(1);
	ack.kind = KINDS;
	if (write(fd, &ack, sizeof(ack)) != sizeof(ack))
		_exit(1);
	if (store_settle(f->store, &f->err) < 0)
		_exit(1);
	for (int i = 0; i < 3; i++)
		store_maintain(f->store, &f->err);
	_exit(0);
}

/* Runs until `k` such calls were made, and kills it before the next. False: it ended before. */
static bool run_steps(pid_t pid, int k)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	/* Without it, PTRACE_GET_SYSCALL_INFO knows nothing. */
	assert_int_equal(ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACESYSGOOD), 0);
	for (int calls = 0;;) {
		struct __ptrace_syscall_info info = {0};

		if (ptrace(PTRACE_SYSCALL, pid, NULL, NULL) < 0 || waitpid(pid, &status, 0) < 0)
			fail_msg("ptrace: %s", strerror(errno));
		if (WIFEXITED(status)) {
			assert_int_equal(WEXITSTATUS(status), 0);
			return false;
		}
		if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, (void *)sizeof(info), &info) < 0)
			fail_msg("PTRACE_GET_SYSCALL_INFO: %s", strerror(errno));
		if (info.op == PTRACE_SYSCALL_INFO_ENTRY && changes_files(info.entry.nr) &&
		    calls++ == k)
			break;
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return true;
}

static bool can_trace(void)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0)
		_exit(ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0);
	waitpid(pid, &status, 0);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void image_texts(struct buf *layer, char *manifest, size_t size)
{
	cleanup_free char *bulk = noise(40000, 3);
	const struct entry entries[] = {{"bulk", bulk, 40000}, {"small", "x"}};
	char base[STORE_BASE_MAX + 1], digest[DIGEST_TEXT_MAX];
	struct err err = ERR_INIT;
	struct layer_writer *lw;
	struct buf_sink sink;
	struct hash h;

	layer->max = 1 << 20;
	buf_sink_init(&sink, layer);
	assert_ok(layer_writer_new(&lw, &sink.sink, STORE_DIR_DEFAULT, IMAGE_ZSTD, NULL, &err),
		  err);
	assert_ok(layer_writer_path(lw, base_of("in-image", base), &err), err);
	emit_tree(layer_writer_node_sink(lw), entries, 2);
	assert_ok(layer_writer_end(lw, &h, &err), err);
	layer_writer_free(lw);
	hash_bytes(&h, HASH_SHA256, layer->data, layer->len);
	digest_format(digest, &h);
	snprintf(manifest, size,
		 "{\"schemaVersion\":2,\"mediaType\":\"" MT_OCI_MANIFEST "\",\"config\":{"
		 "\"mediaType\":\"" MT_OCI_EMPTY "\",\"digest\":\"" OCI_EMPTY_DIGEST
		 "\",\"size\":2},\"layers\":[{\"mediaType\":\"" MT_OCI_LAYER_ZSTD
		 "\",\"digest\":\"%s\",\"size\":%zu}]}",
		 digest, layer->len);
}

/* The path of the image, its NAR whole, however it is kept by now. */
static void check_image(struct fixture *f)
{
	cleanup_narinfo struct narinfo info = {0};
	cleanup_buf struct buf got = {0}, plain = {0};
	enum codec codec;
	struct hash h;

	assert_ok(get_info(f, "in-image", &info), f->err);
	codec = strcmp(info.compression, "none") == 0 ? CODEC_NONE : CODEC_ZSTD;
	get_nar(f, info.url, &got);
	decode(&plain, codec, buf_slice(&got));
	hash_bytes(&h, HASH_SHA256, plain.data, plain.len);
	assert_true(hash_equal(&h, &info.info.nar_hash));
}

static void steps(enum store_framing framing)
{
	cleanup_buf struct buf layer = {0};
	const char *thorough = getenv("LONG");
	int k, step = thorough && strcmp(thorough, "1") == 0 ? 1 : SAMPLE;
	char manifest[1024];
	bool more = true;

	if (!can_trace())
		skip();
	image_texts(&layer, manifest, sizeof(manifest));
	/* All of them where there is time; a sample else. */
	for (k = 0; more; k += step) {
		struct fixture f = {.options = STORE_OPTIONS_INIT};
		struct ack acks[KINDS + 1];
		int fds[2];
		ssize_t n;
		pid_t pid;

		f.options.threads = 1;
		f.options.framing = framing;
		fixture_open(&f);
		store_close(f.store);
		f.store = NULL;
		assert_int_equal(pipe(fds), 0);
		pid = fork();
		if (pid == 0)
			child_of_steps(&f, fds[1], &layer, manifest);
		close(fds[1]);
		more = run_steps(pid, k);
		n = read(fds[0], acks, sizeof(acks));
		close(fds[0]);
		fixture_reopen(&f);
		assert_int_equal(leftovers(&f), 0);
		fixture_check(&f);
		for (size_t i = 0; n > 0 && i < (size_t)n / sizeof(acks[0]); i++) {
			if (acks[i].kind < KINDS)
				check_one(&f, acks[i].kind, acks[i].number);
			else
				check_image(&f);
		}
		/* And it all can be done again. */
		for (int i = 0; i < KINDS; i++)
			assert_ok(put_one(&f, i, i + 1), f.err);
		assert_ok(push_layer(&f, &layer, manifest), f.err);
		assert_ok(store_settle(f.store, &f.err), f.err);
		check_image(&f);
		fixture_close(&f);
	}
	print_message("killed before each of %d calls\n", k);
}

static void test_steps(void **state)
{
	(void)state;
	steps(STORE_FRAME_AT_ONCE);
}

/* The layer is bound, acknowledged, and then framed. */
static void test_steps_later(void **state)
{
	(void)state;
	steps(STORE_FRAME_WHEN_ASKED);
}

/* ---- Synced before acknowledged ---- */

/* A file or directory of the store, by what the traced child did to it. */
struct seen {
	ino_t inode;
	char name[100]; /* for people */
	bool is_log, is_object;
	bool unsynced; /* bytes of a file, or new names in a directory of objects */
};

struct watch {
	pid_t pid;
	const char *dir;
	uint64_t ack_fd;
	struct seen seen[SEEN_MAX];
	size_t n;
	int objects, commits, acks;
};

/* NULL: nothing of the store. */
static struct seen *seen_at(struct watch *w, const char *path)
{
	char is[PATH_MAX] = "";
	struct stat st;

	if (stat(path, &st) < 0 || readlink(path, is, sizeof(is) - 1) < 0 ||
	    strncmp(is, w->dir, strlen(w->dir)) != 0)
		return NULL;
	for (size_t i = 0; i < w->n; i++)
		if (w->seen[i].inode == st.st_ino)
			return &w->seen[i];
	assert_true(w->n < SEEN_MAX);
	w->seen[w->n] = (struct seen){.inode = st.st_ino, .is_log = strstr(is, "-wal") != NULL};
	snprintf(w->seen[w->n].name, sizeof(w->seen[w->n].name), "%.99s", is + strlen(w->dir));
	return &w->seen[w->n++];
}

static struct seen *seen_fd(struct watch *w, uint64_t fd)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)w->pid, (int)fd);
	return seen_at(w, path);
}

/* The file that is linked; its name lies in the child's memory. */
static struct seen *seen_named(struct watch *w, uint64_t dirfd, uint64_t name)
{
	char text[256] = "", path[PATH_MAX];
	struct iovec here = {text, sizeof(text) - 1}, there = {(void *)(uintptr_t)name, 100};
	struct stat st;

	assert_true(process_vm_readv(w->pid, &here, 1, &there, 1, 0) > 0);
	snprintf(path, sizeof(path), "/proc/%d/fd/%d/%s", (int)w->pid, (int)dirfd, text);
	assert_int_equal(stat(path, &st), 0);
	for (size_t i = 0; i < w->n; i++)
		if (w->seen[i].inode == st.st_ino)
			return &w->seen[i];
	fail_msg("%s was linked, and never written", text);
	return NULL;
}

/* `log`: the log itself has to be synced, too. */
static void assert_synced(const struct watch *w, bool log, const char *when)
{
	for (size_t i = 0; i < w->n; i++)
		if (w->seen[i].unsynced && (w->seen[i].is_object || (log && w->seen[i].is_log)))
			fail_msg("%s: %s is not synced", when, w->seen[i].name);
}

static void watch_entry(struct watch *w, uint64_t nr, const uint64_t *args)
{
	struct seen *s;

	if (nr == SYS_write && args[0] == w->ack_fd) {
		w->acks++;
		assert_synced(w, true, "acknowledged");
	}
	if (nr != SYS_fdatasync && nr != SYS_fsync)
		return;
	s = seen_fd(w, args[0]);
	if (s && s->is_log && s->unsynced) {
		w->commits++;
		assert_synced(w, false, "a commit names it");
	}
}

static void watch_exit(struct watch *w, uint64_t nr, const uint64_t *args, int64_t result)
{
	struct seen *s;

	if (result < 0)
		return;
	if (nr == SYS_openat && args[2] & O_CREAT) {
		/* May have the inode of one that is gone. */
		s = seen_fd(w, (uint64_t)result);
		if (s)
			s->is_object = s->unsynced = false;
	} else if (nr == SYS_linkat) {
		struct seen *into = seen_fd(w, args[2]);

		/* A name in incoming/ only helps to clean up. */
		if (!into || strncmp(into->name, "/objects/", 9) != 0)
			return;
		into->is_object = into->unsynced = true;
		seen_named(w, args[0], args[1])->is_object = true;
		w->objects++;
	} else if (nr == SYS_write || nr == SYS_pwrite64 || nr == SYS_fsync ||
		   nr == SYS_fdatasync) {
		s = seen_fd(w, args[0]);
		if (s)
			s->unsynced = nr == SYS_write || nr == SYS_pwrite64;
	}
}

static void watch_run(struct watch *w)
{
	struct __ptrace_syscall_info info = {0}, entry = {0};
	int status;

	assert_int_equal(waitpid(w->pid, &status, 0), w->pid);
	assert_int_equal(ptrace(PTRACE_SETOPTIONS, w->pid, NULL, PTRACE_O_TRACESYSGOOD), 0);
	for (;;) {
		if (ptrace(PTRACE_SYSCALL, w->pid, NULL, NULL) < 0 ||
		    waitpid(w->pid, &status, 0) < 0)
			fail_msg("ptrace: %s", strerror(errno));
		if (WIFEXITED(status))
			break;
		if (ptrace(PTRACE_GET_SYSCALL_INFO, w->pid, (void *)sizeof(info), &info) < 0)
			fail_msg("PTRACE_GET_SYSCALL_INFO: %s", strerror(errno));
		if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
			entry = info;
			watch_entry(w, info.entry.nr, info.entry.args);
		} else if (info.op == PTRACE_SYSCALL_INFO_EXIT) {
			watch_exit(w, entry.entry.nr, entry.entry.args, info.exit.rval);
		}
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_synced(void **state)
{
	struct fixture f = {.options = STORE_OPTIONS_INIT};
	struct watch w = {.dir = f.dir};
	cleanup_buf struct buf layer = {0};
	char manifest[1024];
	int fds[2];

	(void)state;
	if (!can_trace())
		skip();
	image_texts(&layer, manifest, sizeof(manifest));
	f.options.threads = 1;
	fixture_open(&f);
	store_close(f.store);
	f.store = NULL;
	assert_int_equal(pipe(fds), 0);
	w.ack_fd = (uint64_t)fds[1];
	w.pid = fork();
	if (w.pid == 0)
		child_of_steps(&f, fds[1], &layer, manifest);
	close(fds[1]);
	watch_run(&w);
	close(fds[0]);
	assert_int_equal(w.acks, KINDS + 1);
	/* Something was watched: a blob, a NAR, a layer; each put is at least a commit. */
	assert_true(w.objects >= 3);
	assert_true(w.commits >= w.acks);
	fixture_reopen(&f);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_steps),
		cmocka_unit_test(test_steps_later),
		cmocka_unit_test(test_synced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
