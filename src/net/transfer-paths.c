/* SPDX-License-Identifier: Apache-2.0 */
#include "net/transfer-paths.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

#include <nacre/nar.h>
#include <nacre/tree.h>

#include "base/mem.h"

CLEANUP_FUNC(struct nar_writer, nar_writer_free)

enum { NIX_COPY_PATHS = 500 }; /* a call; a command line has its limits */

bool nix_place_parse(struct nix_place *ret, const char *text)
{
	static const char *const schemes[] = {"http://", "https://", "file://"};

	for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
		if (strncmp(text, schemes[i], strlen(schemes[i])) != 0)
			continue;
		*ret = (struct nix_place){.cache = true, .where = text};
		return true;
	}
	if (text[0] == '/') {
		*ret = (struct nix_place){.where = text};
		return true;
	}
	if (strncmp(text, "local:", 6) == 0) {
		*ret = (struct nix_place){.where = text[6] ? text + 6 : "/"};
		return true;
	}
	return false;
}

/* NARs out of a source. */
struct source_producer {
	struct nar_producer producer;
	struct path_source *from;
};

static int produce_nar(struct nar_producer *self, const struct path_info *info, struct sink *out,
		       struct err *err)
{
	struct source_producer *p = container_of(self, struct source_producer, producer);
	CLEANUP(nar_writer_free) struct nar_writer *w = nar_writer_new(out);

	return p->from->dump(p->from, info, nar_writer_node_sink(w), err);
}

static int put_into_cache(struct path_source *from, const struct path_infos *set, const char *url,
			  const struct cache_put_options *put, struct err *err)
{
	struct source_producer producer = {{produce_nar}, from};
	const struct cache_options options = {.store_dir = from->store_dir, .create = true};
	CLEANUP(cache_free) struct cache *cache = NULL;
	int r = cache_open(&cache, url, &options, err);

	return r < 0 ? r : cache_put_closure(cache, set, &producer.producer, put, err);
}

/* ---- The store of this machine: Nix alone may write to it
 * --------------------------------------- */

static int run_nix(char **argv, struct err *err)
{
	int status, r;
	pid_t pid;

	r = posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ);
	if (r == ENOENT)
		return err_set(
			err, E_UNSUPPORTED,
			"copying into a Nix store needs Nix, and there is no program 'nix' here");
	errno = r;
	if (r != 0)
		return err_errno(err, "run nix");
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return err_errno(err, "wait for nix");
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return err_set(err, E_IO,
			       "nix copy failed; what it said stands above (--no-check-sigs takes "
			       "paths without a signature)");
	return 0;
}

static int import_some(const struct path_infos *set, size_t begin, const char *url,
		       const struct nix_place *to, bool no_check_sigs, struct err *err)
{
	cleanup_strv struct strv argv = {0};

	strv_add(&argv, "nix");
	strv_add(&argv, "--extra-experimental-features");
	strv_add(&argv, "nix-command");
	strv_add(&argv, "copy");
	if (no_check_sigs)
		strv_add(&argv, "--no-check-sigs");
	strv_add(&argv, "--from");
	strv_add(&argv, url);
	if (strcmp(to->where, "/") != 0) {
		strv_add(&argv, "--to");
		strv_add(&argv, to->where);
	}
	for (size_t i = begin; i < set->len && i < begin + NIX_COPY_PATHS; i++)
		strv_add(&argv, set->items[i].path.text);
	return run_nix(argv.items, err);
}

/* By way of a binary cache in a scratch directory: that is the one way into a store that keeps
 * signatures and lets Nix apply its own policy to them. */
static int put_into_store(struct path_source *from, const struct path_infos *set,
			  const struct nix_place *to, const struct paths_options *o,
			  struct err *err)
{
	const char *tmp = getenv("TMPDIR");
	cleanup_free char *dir = xasprintf("%s/nacre-XXXXXX", tmp && *tmp ? tmp : "/var/tmp");
	cleanup_free char *url = NULL;
	struct cache_put_options put = o->put;
	struct err ignored = ERR_INIT;
	int r;

	if (!mkdtemp(dir))
		return err_errno(err, "create a scratch directory (see TMPDIR)");
	url = xasprintf("file://%s", dir);
	put.compression = CODEC_NONE;
	r = put_into_cache(from, set, url, &put, err);
	for (size_t i = 0; i < set->len && r >= 0; i += NIX_COPY_PATHS)
		r = import_some(set, i, url, to, o->no_check_sigs, err);
	tree_remove(AT_FDCWD, dir, &ignored);
	return r;
}

int transfer_paths(struct path_source *from, const struct path_infos *set,
		   const struct nix_place *to, const struct paths_options *options, struct err *err)
{
	int r = path_trust_check(from, set, options->trusted, options->n_trusted, err);

	if (r < 0)
		return r;
	return to->cache ? put_into_cache(from, set, to->where, &options->put, err)
			 : put_into_store(from, set, to, options, err);
}
