/* SPDX-License-Identifier: Apache-2.0 */
/* Measures views: mount-view [--view KIND] [--cold] FOLDER N…; see tests/bench/mount-count. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <nacre/tree.h>

#include "base/fs.h"
#include "base/mem.h"
#include "node/view.h"

enum { ROUNDS = 5, FILES = 10, PATHS_MAX = 1000000 };

struct bench {
	char *dir; /* owned */
	enum view_kind kind;
	bool is_cold;
};

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* One store path: a directory with a few files and a symlink. */
static int make_path(const char *dir, struct err *err)
{
	cleanup_free char *bin = xasprintf("%s/bin", dir);
	cleanup_free char *link = xasprintf("%s/link", dir);

	if (make_dirs_at(AT_FDCWD, bin, err) < 0)
		return err->code;
	for (int i = 0; i < FILES; i++) {
		cleanup_free char *name = xasprintf("%s/program-%d", bin, i);
		cleanup_fd int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0555);

		if (fd < 0 || write_full(fd, name, strlen(name)) < 0)
			return err_errno(err, "create %s", name);
	}
	return symlink("bin/program-0", link) < 0 && errno != EEXIST
		       ? err_errno(err, "create %s", link)
		       : 0;
}

static int make_paths(const struct bench *b, size_t n, struct view_path *ret, struct strv *strings,
		      struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		strv_addf(strings, "/nix/store/%032zu-path", i);
		strv_addf(strings, "%s/paths/%052zu", b->dir, i);
		if (make_path(strings->items[2 * i + 1], err) < 0)
			return err->code;
	}
	for (size_t i = 0; i < n; i++) {
		ret[i].path = strings->items[2 * i];
		ret[i].content = strings->items[2 * i + 1];
		hash_bytes(&ret[i].nar_hash, HASH_SHA256, ret[i].path, strlen(ret[i].path));
	}
	return 0;
}

static int measure(const struct bench *b, const struct view_path *paths, size_t n, struct err *err)
{
	cleanup_free char *cache = xasprintf("%s/cache", b->dir);
	cleanup_free char *target = xasprintf("%s/target", b->dir);
	struct view_spec spec = {.paths = paths, .n_paths = n, .cache = cache, .kind = b->kind};
	double best = 1e9;
	size_t n_mounts = 0;

	if (make_dirs_at(AT_FDCWD, target, err) < 0)
		return err->code;
	for (int i = 0; i < ROUNDS; i++) {
		cleanup_view_mounts struct view_mounts mounts = {0};
		double began;

		if (b->is_cold && tree_remove(AT_FDCWD, cache, err) < 0)
			return err->code;
		began = now_ms();
		if (view_mount(&spec, target, &mounts, err) < 0)
			return err->code;
		/* The first one fills the cache, unless that is what is measured. */
		if ((i > 0 || b->is_cold) && now_ms() - began < best)
			best = now_ms() - began;
		n_mounts = mounts.n_mounts;
		if (view_umount(target, err) < 0)
			return err->code;
	}
	printf("%zu %zu %.2f\n", n, n_mounts, best);
	fflush(stdout);
	return 0;
}

static int bench_one(const struct bench *b, size_t n, struct err *err)
{
	cleanup_free struct view_path *paths = xcalloc(n + 1, sizeof(*paths));
	cleanup_strv struct strv strings = {0};
	int r = make_paths(b, n, paths, &strings, err);

	return r < 0 ? r : measure(b, paths, n, err);
}

static int usage(void)
{
	fprintf(stderr, "Usage: mount-view [--view KIND] [--cold] FOLDER N...\n");
	return 2;
}

int main(int argc, char **argv)
{
	struct bench b = {0};
	struct err err = ERR_INIT;
	int i = 1, r = 0;

	for (; i < argc && argv[i][0] == '-'; i++) {
		if (strcmp(argv[i], "--cold") == 0)
			b.is_cold = true;
		else if (strcmp(argv[i], "--view") != 0 || ++i == argc ||
			 view_kind_parse(&b.kind, argv[i]) < 0)
			return usage();
	}
	if (i + 1 >= argc)
		return usage();
	b.dir = argv[i++];
	for (; r >= 0 && i < argc; i++) {
		char *end;
		unsigned long n = strtoul(argv[i], &end, 10);

		if (*end || n > PATHS_MAX)
			return usage();
		r = bench_one(&b, n, &err);
	}
	if (r < 0)
		fprintf(stderr, "mount-view: %s\n", err.text);
	return r < 0;
}
