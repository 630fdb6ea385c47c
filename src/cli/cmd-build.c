/* SPDX-License-Identifier: Apache-2.0 */
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <nacre/encode.h>
#include <nacre/json.h>

#include "base/mem.h"
#include "cli/build-print.h"
#include "cli/cli.h"
#include "net/build.h"
#include "net/transports.h"

static const char help[] =
	"Usage: nacre build STOREPATH... -o DEST [OPTION]...\n"
	"\n"
	"Builds an image of store paths and their closure. The same paths and options give the "
	"same\n"
	"digest on every machine. The first path is the main one: the image runs its main program\n"
	"unless --entrypoint or --cmd say otherwise.\n"
	"\n"
	"DEST: docker://REGISTRY/REPOSITORY[:TAG], oci:DIR[:TAG], oci-archive:FILE[:TAG] or\n"
	"docker-archive:FILE[:REF].\n"
	"\n"
	"Options:\n"
	"  -o, --output DEST          where the image goes\n"
	"      --from STORE           take paths from a Nix cache (http://, https://, file://), a\n"
	"                             registry with package artifacts (docker://REPOSITORY) or\n"
	"                             the Nix store under this root (default: /)\n"
	"      --trusted-key KEY      only take paths that are signed by this key (NAME:BASE64), "
	"or\n"
	"                             content-addressed; may be given again\n"
	"      --name NAME            name of the image in an archive (docker-archive)\n"
	"      --tag TAG              tag of the image\n"
	"      --entrypoint WORD      entry point; give it again for each word, or a JSON array\n"
	"      --cmd WORD             command; give it again for each word, or a JSON array\n"
	"      --env NAME=VALUE       environment (PATH=/bin is there)\n"
	"      --workdir DIR          working directory\n"
	"      --user USER[:GROUP]    user\n"
	"      --label NAME=VALUE     label\n"
	"      --expose PORT[/PROTO]  port\n"
	"      --volume DIR           volume\n"
	"      --link DIR             also link what the given paths have in DIR (/share, /etc, "
	"...)\n"
	"      --no-root              no root layer: neither /bin nor /etc nor /tmp\n"
	"      --max-layers N         at most N layers (default 100; 0: one store path a layer)\n"
	"      --compression KIND     zstd (default), none, or gzip (for Docker before 23)\n"
	"      --platform OS/ARCH     platform (default: what the programs are for)\n"
	"      --created TIME         RFC 3339 (default: SOURCE_DATE_EPOCH, else "
	"1970-01-01T00:00:01Z)\n"
	"      --no-cache             read all contents, also of layers that DEST is known to "
	"have\n"
	"      --authfile FILE        credentials for registries\n"
	"      --insecure             plain HTTP, or unverified TLS, to the registry\n"
	"      --json                 print the result as JSON\n";

enum {
	OPT_FROM = CLI_OPT,
	OPT_TRUSTED_KEY,
	OPT_NAME,
	OPT_TAG,
	OPT_ENTRYPOINT,
	OPT_CMD,
	OPT_ENV,
	OPT_WORKDIR,
	OPT_USER,
	OPT_LABEL,
	OPT_EXPOSE,
	OPT_VOLUME,
	OPT_LINK,
	OPT_NO_ROOT,
	OPT_MAX_LAYERS,
	OPT_COMPRESSION,
	OPT_PLATFORM,
	OPT_CREATED,
	OPT_NO_CACHE,
	OPT_AUTHFILE,
	OPT_INSECURE,
	OPT_JSON,
};

static const struct option long_options[] = {
	{"output", required_argument, NULL, 'o'},
	{"from", required_argument, NULL, OPT_FROM},
	{"trusted-key", required_argument, NULL, OPT_TRUSTED_KEY},
	{"name", required_argument, NULL, OPT_NAME},
	{"tag", required_argument, NULL, OPT_TAG},
	{"entrypoint", required_argument, NULL, OPT_ENTRYPOINT},
	{"cmd", required_argument, NULL, OPT_CMD},
	{"env", required_argument, NULL, OPT_ENV},
	{"workdir", required_argument, NULL, OPT_WORKDIR},
	{"user", required_argument, NULL, OPT_USER},
	{"label", required_argument, NULL, OPT_LABEL},
	{"expose", required_argument, NULL, OPT_EXPOSE},
	{"volume", required_argument, NULL, OPT_VOLUME},
	{"link", required_argument, NULL, OPT_LINK},
	{"no-root", no_argument, NULL, OPT_NO_ROOT},
	{"max-layers", required_argument, NULL, OPT_MAX_LAYERS},
	{"compression", required_argument, NULL, OPT_COMPRESSION},
	{"platform", required_argument, NULL, OPT_PLATFORM},
	{"created", required_argument, NULL, OPT_CREATED},
	{"no-cache", no_argument, NULL, OPT_NO_CACHE},
	{"authfile", required_argument, NULL, OPT_AUTHFILE},
	{"insecure", no_argument, NULL, OPT_INSECURE},
	{"json", no_argument, NULL, OPT_JSON},
	{0},
};

struct build_request {
	struct build_options build;
	struct transport_options transport;
	struct strv entrypoint, cmd, env, expose, volumes, links;
	struct annotations labels;
	struct platform platform;
	struct public_key *keys; /* owned */
	size_t n_keys, cap_keys;
	const char *output, *from, *name, *tag; /* borrowed from argv */
	bool no_cache, json;
};

static void request_release(struct build_request *r)
{
	strv_release(&r->entrypoint);
	strv_release(&r->cmd);
	strv_release(&r->env);
	strv_release(&r->expose);
	strv_release(&r->volumes);
	strv_release(&r->links);
	annotations_release(&r->labels);
	platform_release(&r->platform);
	free(r->keys);
}

static int set_compression(struct build_request *r, const char *value)
{
	static const char *const names[] = {
		[IMAGE_ZSTD] = "zstd", [IMAGE_NONE] = "none", [IMAGE_GZIP] = "gzip"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(value, names[i]) == 0) {
			r->build.compression = (enum image_compression)i;
			return 0;
		}
	return cli_usage("--compression '%s': wanted zstd, none or gzip", value);
}

static int set_max_layers(struct build_request *r, const char *value)
{
	uint64_t n;

	if (parse_u64(&n, slice_str(value)) < 0 || n > 100000)
		return cli_usage("--max-layers '%s': wanted a number", value);
	r->build.max_layers = (size_t)n;
	return 0;
}

/* One word, or a JSON array of words as in a Dockerfile. */
static int add_words(struct strv *list, bool *set, const char *option, const char *value)
{
	cleanup_json json_t *array = value[0] == '[' ? json_loads(value, 0, NULL) : NULL;
	const json_t *word;
	size_t i;

	*set = true;
	if (value[0] == '[' && !json_is_array(array))
		return cli_usage("%s '%s': wanted a word, or a JSON array of strings", option,
				 value);
	if (!json_is_array(array)) {
		if (*value)
			strv_add(list, value);
		return 0;
	}
	json_array_foreach (array, i, word) {
		if (!json_is_string(word))
			return cli_usage("%s '%s': wanted a JSON array of strings", option, value);
		strv_add(list, json_string_value(word));
	}
	return 0;
}

static int add_label(struct build_request *r, const char *value)
{
	const char *equals = strchr(value, '=');
	cleanup_free char *name = NULL;

	if (!equals || equals == value)
		return cli_usage("--label '%s': wanted NAME=VALUE", value);
	name = xstrndup(value, (size_t)(equals - value));
	annotations_set(&r->labels, name, equals + 1);
	return 0;
}

static int add_port(struct build_request *r, const char *value)
{
	size_t digits = strspn(value, "0123456789");
	const char *proto = value + digits;
	uint64_t port;

	if (parse_u64(&port, slice_make(value, digits)) < 0 || port == 0 || port > 65535 ||
	    (*proto && strcmp(proto, "/tcp") != 0 && strcmp(proto, "/udp") != 0 &&
	     strcmp(proto, "/sctp") != 0))
		return cli_usage("--expose '%s': wanted PORT, PORT/tcp, PORT/udp or PORT/sctp",
				 value);
	strv_addf(&r->expose, "%s%s", value, *proto ? "" : "/tcp");
	return 0;
}

/* RFC 3339: other programs refuse an image whose time they cannot read. */
static int set_created(struct build_request *r, const char *value)
{
	char again[32];
	struct tm tm = {0};
	const char *zone = strptime(value, "%Y-%m-%dT%H:%M:%S", &tm);

	r->build.created = value;
	/* strptime() takes more than the standard: what it took must be what would be written. */
	if (zone && strftime(again, sizeof(again), "%Y-%m-%dT%H:%M:%S", &tm) > 0 &&
	    strncmp(value, again, strlen(again)) == 0 && strcmp(zone, "Z") == 0)
		return 0;
	return cli_usage("--created '%s': wanted a time in UTC, as 2026-01-31T12:00:00Z", value);
}

static int add_env(struct build_request *r, const char *value)
{
	if (!strchr(value, '=') || value[0] == '=')
		return cli_usage("--env '%s': wanted NAME=VALUE", value);
	strv_add(&r->env, value);
	return 0;
}

/* Where runtimes mount something of their own, or the store paths are. */
static bool is_mounted(const char *dir)
{
	static const char *const first[] = {"dev", "proc", "sys", "nix", "gnu"};
	size_t len = strcspn(dir, "/");

	for (size_t i = 0; i < ARRAY_LEN(first); i++)
		if (strlen(first[i]) == len && memcmp(dir, first[i], len) == 0)
			return true;
	return false;
}

static int add_link(struct build_request *r, const char *value)
{
	size_t len;

	value += strspn(value, "/");
	len = strlen(value);
	while (len && value[len - 1] == '/')
		len--;
	if (len == 0 || value[0] == '.' || strstr(value, "/.") || strstr(value, "//"))
		return cli_usage("--link '%s': wanted a directory such as /share", value);
	if (is_mounted(value))
		return cli_usage("--link '%s': containers have something else there", value);
	strv_add_slice(&r->links, slice_make(value, len));
	return 0;
}

static int add_key(struct build_request *r, const char *value)
{
	array_grow(r->keys, r->cap_keys, r->n_keys + 1);
	if (public_key_parse(&r->keys[r->n_keys], slice_str(value)) < 0)
		return cli_usage("--trusted-key '%s': wanted NAME:BASE64", value);
	r->n_keys++;
	return 0;
}

/* Options of the image's configuration. 0, or an exit code. */
static int take_config_option(struct build_request *r, int option, const char *value)
{
	switch (option) {
	case OPT_ENTRYPOINT:
		return add_words(&r->entrypoint, &r->build.has_entrypoint, "--entrypoint", value);
	case OPT_CMD:
		return add_words(&r->cmd, &r->build.has_cmd, "--cmd", value);
	case OPT_ENV:
		return add_env(r, value);
	case OPT_WORKDIR:
		r->build.working_dir = value;
		return value[0] == '/'
			       ? 0
			       : cli_usage("--workdir '%s': wanted an absolute path", value);
	case OPT_USER:
		r->build.user = value;
		return 0;
	case OPT_LABEL:
		return add_label(r, value);
	case OPT_EXPOSE:
		return add_port(r, value);
	case OPT_VOLUME:
		strv_add(&r->volumes, value);
		return value[0] == '/' ? 0
				       : cli_usage("--volume '%s': wanted an absolute path", value);
	case OPT_LINK:
		return add_link(r, value);
	case OPT_CREATED:
		return set_created(r, value);
	default: /* OPT_PLATFORM */
		r->build.platform = &r->platform;
		return platform_parse(&r->platform, slice_str(value)) < 0
			       ? cli_usage("--platform '%s': wanted OS/ARCH, as linux/arm64", value)
			       : 0;
	}
}

static int take_option(struct build_request *r, int option, const char *value)
{
	switch (option) {
	case 'o':
		r->output = value;
		return 0;
	case OPT_FROM:
		r->from = value;
		return 0;
	case OPT_TRUSTED_KEY:
		return add_key(r, value);
	case OPT_NAME:
		r->name = value;
		return 0;
	case OPT_TAG:
		r->tag = value;
		return 0;
	case OPT_NO_ROOT:
		r->build.no_root_layer = true;
		return 0;
	case OPT_MAX_LAYERS:
		return set_max_layers(r, value);
	case OPT_COMPRESSION:
		return set_compression(r, value);
	case OPT_NO_CACHE:
		r->no_cache = true;
		return 0;
	case OPT_AUTHFILE:
		r->transport.authfile = value;
		return 0;
	case OPT_INSECURE:
		r->transport.insecure = true;
		return 0;
	case OPT_JSON:
		r->json = true;
		return 0;
	default:
		return take_config_option(r, option, value);
	}
}

static void finish_options(struct build_request *r)
{
	struct build_options *b = &r->build;

	b->entrypoint = &r->entrypoint;
	b->cmd = &r->cmd;
	b->env = &r->env;
	b->exposed_ports = &r->expose;
	b->volumes = &r->volumes;
	b->labels = &r->labels;
	b->link_dirs = &r->links;
}

static int resolve_roots(struct path_source *source, char **texts, size_t n, struct store_path *ret,
			 struct err *err)
{
	for (size_t i = 0; i < n; i++)
		if (path_source_resolve(source, texts[i], &ret[i], err) < 0)
			return err->code;
	return 0;
}

static int open_dest(const struct build_request *r, struct image_dest **ret, char **ret_tag,
		     struct err *err)
{
	cleanup_free char *text = NULL;

	/* --name and --tag are the reference of an archive that has none in its text. */
	if (r->name)
		text = xasprintf("%s:%s%s%s", r->output, r->name, r->tag ? ":" : "",
				 r->tag ? r->tag : "");
	if (transport_open_dest(ret, ret_tag, text ? text : r->output, &r->transport, err) < 0)
		return err->code;
	if (r->tag && !r->name) {
		free(*ret_tag);
		*ret_tag = xstrdup(r->tag);
	}
	return 0;
}

static void show_progress(void *data, uint64_t bytes)
{
	progress_add(data, bytes);
}

static struct build_cache *open_cache(const struct build_request *r)
{
	cleanup_free char *file = r->no_cache ? NULL : build_cache_default_file();

	return file ? build_cache_open(file) : NULL;
}

static int build(struct build_request *r, char **texts, size_t n, struct build_result *result,
		 struct err *err)
{
	cleanup_path_source struct path_source *source = NULL;
	cleanup_image_dest struct image_dest *dest = NULL;
	cleanup_free struct store_path *roots = xcalloc(n, sizeof(*roots));
	cleanup_free char *tag = NULL;
	struct path_source_options options = {.trusted = r->keys,
					      .n_trusted = r->n_keys,
					      .auth_file = r->transport.authfile,
					      .insecure = r->transport.insecure};
	struct progress progress;
	int code;

	if (path_source_open(&source, r->from, &options, err) < 0 ||
	    resolve_roots(source, texts, n, roots, err) < 0 || open_dest(r, &dest, &tag, err) < 0)
		return err->code;
	r->build.cache = open_cache(r);
	r->build.progress = show_progress;
	r->build.progress_data = &progress;
	progress_begin(&progress, "build", 0);
	r->build.roots = roots;
	r->build.n_roots = n;
	r->build.tag = tag;
	code = image_build(result, source, dest, &r->build, err);
	progress_end(&progress);
	build_cache_free(r->build.cache);
	return code;
}

static void print_result(const struct build_request *r, const struct build_result *result)
{
	build_print(result, r->json);
	cli_note("%zu store paths in %zu layers", result->n_paths, result->n_layers);
}

/* Page by page, the memory of a large closure's infos, manifest and config takes a third of the time of a build
 * that has nothing else to do. As huge pages, and kept when it is free, it is four faults in place of a thousand. */
static void prepare_heap(void)
{
#ifdef M_TRIM_THRESHOLD
	const size_t size = 8 << 20, huge_page = 2 << 20;
	void *volatile heap; /* or the compiler leaves it out */
	uintptr_t begin, end;

	mallopt(M_MMAP_THRESHOLD, (int)size * 2);
	mallopt(M_TRIM_THRESHOLD, (int)size * 8);
	begin = (uintptr_t)sbrk(0);
	heap = malloc(size);
	free(heap);
	end = (uintptr_t)sbrk(0);
	begin = (begin + huge_page - 1) / huge_page * huge_page;
	if (end > begin)
		madvise((void *)begin, end - begin, MADV_HUGEPAGE);
#endif
}

int cmd_build(int argc, char **argv)
{
	struct build_request r = {.build = BUILD_OPTIONS_INIT};
	struct build_result result = {0};
	struct err err = ERR_INIT;
	int option, code = 0;

	while (code == 0 && (option = cli_getopt(argc, argv, "o:", long_options, help)) != -1)
		code = take_option(&r, option, optarg);
	if (code == 0) {
		cli_operands(argc, argv, 1, -1, help);
		if (!r.output)
			code = cli_usage(
				"build: no destination: give one with -o, as -o oci:DIR:TAG");
	}
	if (code == 0) {
		finish_options(&r);
		prepare_heap();
		if (build(&r, argv + optind, (size_t)(argc - optind), &result, &err) < 0)
			code = cli_fail(&err);
		else
			print_result(&r, &result);
	}
	request_release(&r);
	return code;
}
