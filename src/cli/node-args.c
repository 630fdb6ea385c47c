/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "cli/node-args.h"
#include "node/rootless.h"

void node_args_release(struct node_args *a)
{
	container_options_release(&a->container);
	strv_release(&a->sources);
	free(a->keys);
	free(a->own_root);
	node_settings_release(&a->settings);
}

int node_args_load(struct node_args *a, struct err *err)
{
	if (node_settings_load(&a->settings, a->config, err) < 0)
		return err->code;
	/* The machine's configuration names a place of root's. */
	if (!a->root && (a->config || (geteuid() == 0 && !a->rootless)))
		a->root = a->settings.root;
	if (!a->host_store)
		a->host_store = a->settings.host_store ? a->settings.host_store : "none";
	if (!a->has_view)
		a->container.view = a->settings.view;
	if (!a->root && geteuid() == 0 && !a->rootless)
		a->root = NODE_ROOT_DEFAULT;
	return 0;
}

int node_args_enter(struct node_args *a, struct err *err)
{
	const char *data = getenv("XDG_DATA_HOME");
	const char *home = getenv("HOME");

	if (geteuid() == 0 && !a->rootless)
		return 0;
	if (!a->root) {
		if ((!data || data[0] != '/') && (!home || home[0] != '/'))
			return err_set(err, E_USAGE, "HOME is not set: say where with --root");
		a->own_root = data && data[0] == '/' ? xasprintf("%s/nacre", data)
						     : xasprintf("%s/.local/share/nacre", home);
		a->root = a->own_root;
	}
	return rootless_enter(err);
}

static int add_key(struct node_args *a, const char *value)
{
	array_grow(a->keys, a->cap_keys, a->n_keys + 1);
	if (public_key_parse(&a->keys[a->n_keys], slice_str(value)) < 0)
		return cli_usage("--trusted-key '%s': wanted NAME:BASE64", value);
	a->n_keys++;
	return 0;
}

static int set_pull(struct node_args *a, const char *value)
{
	static const struct {
		const char *name;
		enum pull_policy policy;
	} policies[] = {
		{"missing", PULL_MISSING},
		{"newer", PULL_NEWER},
		{"always", PULL_ALWAYS},
		{"never", PULL_NEVER},
	};

	for (size_t i = 0; i < ARRAY_LEN(policies); i++)
		if (strcmp(value, policies[i].name) == 0) {
			a->pull = policies[i].policy;
			return 0;
		}
	return cli_usage("--pull '%s': wanted missing, newer, always or never", value);
}

static int set_network(struct container_options *c, const char *value)
{
	c->host_network = strcmp(value, "host") == 0;
	if (!c->host_network && strcmp(value, "none") != 0)
		return cli_usage("--network '%s': wanted host or none", value);
	return 0;
}

static int set_view(struct container_options *c, const char *value)
{
	if (view_kind_parse(&c->view, value) < 0)
		return cli_usage("--view '%s': wanted auto, erofs-file, erofs-loop or bind", value);
	return 0;
}

/* Options whose values have a grammar of their own. */
static int parse_value(struct container_options *c, int option, const char *value, struct err *err)
{
	switch (option) {
	case 'v':
		return container_add_volume(c, value, err);
	case NODE_OPT_TMPFS:
		return container_add_tmpfs(c, value, err);
	case NODE_OPT_ULIMIT:
		return container_add_rlimit(c, value, err);
	case NODE_OPT_CAP_ADD:
		return container_add_capability(&c->cap_add, value, err);
	case NODE_OPT_CAP_DROP:
		return container_add_capability(&c->cap_drop, value, err);
	case NODE_OPT_MEMORY:
		return container_parse_bytes(&c->memory_bytes, value, err);
	case NODE_OPT_CPUS:
		return container_parse_cpus(&c->cpu_millis, value, err);
	case NODE_OPT_PIDS:
		return container_parse_count(&c->pids, value, err);
	default:
		return err_set(err, E_INTERNAL, "option %d is handled nowhere", option);
	}
}

static int take_container_option(struct container_options *c, int option, const char *value)
{
	struct err err = ERR_INIT;

	switch (option) {
	case 'e':
		strv_add(&c->env, value);
		return 0;
	case NODE_OPT_ENTRYPOINT:
		c->entrypoint = value;
		return 0;
	case 'w':
		c->cwd = value;
		return 0;
	case 'u':
		c->user = value;
		return 0;
	case NODE_OPT_READ_ONLY:
		c->read_only = true;
		return 0;
	case NODE_OPT_NETWORK:
		return set_network(c, value);
	case NODE_OPT_HOSTNAME:
		c->hostname = value;
		return 0;
	case 't':
		c->terminal = true;
		return 0;
	case NODE_OPT_RUNTIME:
		c->runtime = value;
		return 0;
	default:
		return parse_value(c, option, value, &err) < 0 ? cli_fail(&err) : 0;
	}
}

int node_args_take(struct node_args *a, int option, const char *value)
{
	switch (option) {
	case NODE_OPT_PULL:
		return set_pull(a, value);
	case NODE_OPT_PLATFORM:
		a->platform = value;
		return 0;
	case NODE_OPT_ROOT:
		a->root = value;
		return 0;
	case NODE_OPT_CONFIG:
		a->config = value;
		return 0;
	case NODE_OPT_VIEW:
		a->has_view = true;
		return set_view(&a->container, value);
	case NODE_OPT_AUTHFILE:
		a->transport.authfile = value;
		return 0;
	case NODE_OPT_SOURCE:
		strv_add(&a->sources, value);
		return 0;
	case NODE_OPT_HOST_STORE:
		a->host_store = value;
		return 0;
	case NODE_OPT_TRUSTED_KEY:
		return add_key(a, value);
	case NODE_OPT_REQUIRE_SIGNATURES:
		a->require_signatures = true;
		return 0;
	case NODE_OPT_ROOTLESS:
		a->rootless = true;
		return 0;
	case NODE_OPT_INSECURE:
		a->transport.insecure = true;
		return 0;
	default:
		return take_container_option(&a->container, option, value);
	}
}

void node_report_view(const struct view_mounts *mounts)
{
	log_debug("view: %s, %zu mounts%s%s", view_kind_names[mounts->kind], mounts->n_mounts,
		  mounts->reason ? "; not " : "", mounts->reason ? mounts->reason : "");
}

static void show_progress(void *data, uint64_t bytes)
{
	progress_add(data, bytes);
}

struct node_sources *node_args_sources(const struct node_args *a)
{
	struct node_sources_options options;

	node_settings_sources(&a->settings, &options);
	options.host = strcmp(a->host_store, "none") == 0 ? NULL : a->host_store;
	if (a->sources.len) {
		options.caches = (const char *const *)a->sources.items;
		options.n_caches = a->sources.len;
	}
	if (a->n_keys) {
		options.trusted = a->keys;
		options.n_trusted = a->n_keys;
	}
	options.auth_file = a->transport.authfile;
	options.insecure = a->transport.insecure;
	options.require_signatures |= a->require_signatures;
	return node_sources_new(&options);
}

static void report_pull(const struct pull_stats *stats)
{
	log_debug("pull: %zu layers fetched, %zu there; %zu paths from this machine's store, %zu "
		  "from "
		  "caches",
		  stats->layers_fetched, stats->layers_present, stats->sources.from_host,
		  stats->sources.from_caches);
	if (*stats->why)
		cli_note("a source could not be used: %s", stats->why);
}

struct reopen {
	const char *ref;                           /* borrowed */
	const struct transport_options *transport; /* borrowed */
};

static int open_again(void *data, struct image_source **ret, struct err *err)
{
	const struct reopen *r = data;

	return transport_open_source(ret, r->ref, r->transport, err);
}

/* Opening one reads it from end to end. */
static bool is_archive(const char *ref)
{
	return strncmp(ref, "oci-archive:", 12) == 0 || strncmp(ref, "docker-archive:", 15) == 0;
}

/* The platform that is wanted: the one that was said, or this machine's. */
static int wanted_platform(struct platform *ret, const struct node_args *a, struct err *err)
{
	if (!a->platform)
		platform_host(ret);
	else if (platform_parse(ret, slice_str(a->platform)) < 0)
		return err_set(err, E_USAGE, "--platform '%s': wanted OS/ARCH, as linux/arm64",
			       a->platform);
	return 0;
}

static bool is_registry(const char *ref)
{
	return !transport_is_image(ref) || strncmp(ref, "docker://", 9) == 0;
}

static int pull_image(struct node_image *ret, struct node_store *store, const char *ref,
		      const struct node_args *a, struct err *err)
{
	cleanup_image_source struct image_source *source = NULL;
	cleanup_platform struct platform platform = {0};
	struct pull_stats stats = {0};
	struct progress progress;
	struct reopen reopen = {ref, &a->transport};
	struct err ignored = ERR_INIT;
	struct hash known;
	struct pull_options options = {
		.platform = &platform,
		.progress = show_progress,
		.progress_data = &progress,
		.open_source = is_archive(ref) ? NULL : open_again,
		.open_data = &reopen,
		.n_jobs = a->settings.n_jobs,
	};
	int result;

	if (a->require_signatures && !a->n_keys && !a->settings.n_trusted)
		return err_set(err, E_USAGE, "--require-signatures needs a --trusted-key");
	if (wanted_platform(&platform, a, err) < 0)
		return err->code;
	if (transport_open_source(&source, ref, &a->transport, err) < 0)
		return err->code;
	options.sources = node_args_sources(a);
	if (node_store_get_ref(store, ref, &known, &ignored) >= 0)
		options.known = &known;
	progress_begin(&progress, "pull", 0);
	result = node_image_pull(ret, store, source, &options, &stats, err);
	progress_end(&progress);
	node_sources_free(options.sources);
	report_pull(&stats);
	if (result >= 0 && !(options.known && hash_equal(&known, &ret->digest)))
		result = node_store_put_ref(store, ref, &ret->digest, err);
	return result;
}

/* What is here of an index may be its image for another platform; and what an index says of its images goes
 * before what they say. */
static int check_platform(const struct node_image *image, const struct node_store *store,
			  const char *ref, const struct node_args *a, struct err *err)
{
	cleanup_platform struct platform wanted = {0}, here = {0};
	int r;

	if (wanted_platform(&wanted, a, err) < 0)
		return err->code;
	r = node_store_member_for(store, &image->digest, &wanted);
	image_config_platform(&here, &image->config);
	if (r > 0 || (r == E_NOTFOUND && platform_match(&wanted, &here)))
		return 0;
	return err_set(err, E_UNSUPPORTED, "%s is on this node for another platform alone", ref);
}

/* The image as it was pulled before; it may have been pulled under another policy. */
static int load_image(struct node_image *ret, struct node_store *store, const char *ref,
		      const struct node_args *a, bool any_platform, struct err *err)
{
	cleanup_node_image struct node_image image = {0};
	struct node_sources *sources;
	struct hash digest;
	int r;

	if (node_store_get_ref(store, ref, &digest, err) < 0)
		return err->code;
	sources = node_args_sources(a);
	/* For signatures the layers must be known. */
	r = node_sources_require_signatures(sources)
		    ? node_image_load(&image, store, &digest, err)
		    : node_image_load_ready(&image, store, &digest, err);
	if (r >= 0)
		r = node_image_check(&image, store, sources, err);
	node_sources_free(sources);
	if (r >= 0 && !any_platform)
		r = check_platform(&image, store, ref, a, err);
	if (r < 0)
		return r;
	*ret = image;
	image = (struct node_image){0};
	return 0;
}

/* The registry's word, or what is here where it cannot be reached: also for another platform than this machine's, if none was
 * said, since an image that is not in an index is taken for what it is. */
static int pull_newer(struct node_image *ret, struct node_store *store, const char *ref,
		      const struct node_args *a, struct err *err)
{
	struct err why = ERR_INIT, ignored = ERR_INIT;
	int r = pull_image(ret, store, ref, a, &why);

	if (r == E_NET && load_image(ret, store, ref, a, !a->platform, &ignored) >= 0) {
		cli_note("warning: %s; this is the image as it was pulled before", why.text);
		return 0;
	}
	if (r < 0)
		*err = why;
	return r;
}

int node_args_find_image(struct node_image *ret, struct node_store *store, const char *ref,
			 const struct node_args *a, struct err *err)
{
	enum pull_policy policy = a->pull;
	struct err local = ERR_INIT;

	if (policy == PULL_NOT_SAID)
		policy = is_registry(ref) ? PULL_MISSING : PULL_NEWER;
	if (policy == PULL_ALWAYS)
		return pull_image(ret, store, ref, a, err);
	if (policy == PULL_NEWER)
		return pull_newer(ret, store, ref, a, err);
	if (load_image(ret, store, ref, a, policy == PULL_NEVER && !a->platform, &local) >= 0)
		return 0;
	if (policy == PULL_MISSING)
		return pull_newer(ret, store, ref, a, err);
	if (local.code == E_NOTFOUND)
		return err_set(err, E_NOTFOUND,
			       "%s is not on this node, and --pull never forbids to fetch it", ref);
	*err = local;
	return err->code;
}
