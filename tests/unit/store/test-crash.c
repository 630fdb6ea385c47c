/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Killed at any point: what was acknowledged is there, nothing is torn, nothing is left over.
 * Once at random moments under load, once before each call that changes a file.
 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <linux/ptrace.h>

#include "image-fixture.h"

enum {
	RANDOM_KILLS = 12,
	WRITERS = 4,
	SAMPLE = 7, /* of the calls, if not all */
	KINDS = 3,
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

static void test_steps(void **state)
{
	cleanup_buf struct buf layer = {0};
	const char *thorough = getenv("LONG");
	int k, step = thorough && strcmp(thorough, "1") == 0 ? 1 : SAMPLE;
	char manifest[1024];
	bool more = true;

	(void)state;
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
		for (size_t i = 0; n > 0 && i < (size_t)n / sizeof(acks[0]); i++) {
			cleanup_narinfo struct narinfo info = {0};

			if (acks[i].kind < KINDS)
				check_one(&f, acks[i].kind, acks[i].number);
			else
				assert_ok(get_info(&f, "in-image", &info), f.err);
		}
		/* And it all can be done again. */
		for (int i = 0; i < KINDS; i++)
			assert_ok(put_one(&f, i, i + 1), f.err);
		assert_ok(push_layer(&f, &layer, manifest), f.err);
		fixture_close(&f);
	}
	print_message("killed before each of %d calls\n", k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_steps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
