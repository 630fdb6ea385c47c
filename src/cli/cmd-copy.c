/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "cli/build-print.h"
#include "cli/cli.h"
#include "net/build.h"
#include "net/image-paths.h"
#include "net/transfer-paths.h"
#include "net/transfer.h"
#include "net/transports.h"

static const char help[] =
	"Usage: nacre copy [OPTION]... SRC DST [STOREPATH]...\n"
	"\n"
	"Copies images and store paths. What DST has is not sent again.\n"
	"\n"
	"An image goes from and to\n"
	"  docker://[HOST[:PORT]/]NAME[:TAG]  a registry (SRC: or @DIGEST; docker:// may be left\n"
	"                                     out)\n"
	"  oci:DIR[:TAG]                      an OCI image layout\n"
	"  oci-archive:FILE[:TAG]             the same as one tar\n"
	"  docker-archive:FILE[:REF]          what docker save writes and docker load reads; "
	"takes\n"
	"                                     one image, with its layers uncompressed, and has no\n"
	"                                     place for what refers to it\n"
	"byte for byte, with all its platforms and with what refers to it (signatures, the path\n"
	"infos of its store paths). Prints the digest of the image.\n"
	"\n"
	"Store paths go from and to\n"
	"  http://, https://, file://         a Nix binary cache\n"
	"  local:[ROOT], /ROOT                a Nix store of this machine (DST: by way of nix "
	"copy)\n"
	"with their closure. STOREPATH says which; without, all that is in SRC, if it is an "
	"image.\n"
	"Store paths to an image: the image of their closure is built as nacre build would. An "
	"image\n"
	"to store paths: what its store layers hold, with the signatures that travel with it.\n"
	"\n"
	"Options:\n"
	"      --platform OS/ARCH[/VARIANT]  of several platforms, copy this one alone\n"
	"      --no-referrers                leave behind what refers to the image\n"
	"      --authfile FILE               credentials for registries\n"
	"      --insecure                    plain HTTP, or unverified TLS, to registries\n"
	"      --compression KIND            of NARs in a cache: zstd (default), xz, gzip, bzip2, "
	"br\n"
	"                                    or none\n"
	"      --sign-key FILE               sign what goes into a cache; may be given again\n"
	"      --trusted-key KEY             take only store paths that are signed by this key\n"
	"                                    (NAME:BASE64) or content-addressed; may be given "
	"again\n"
	"      --no-check-sigs               let Nix take what its own keys do not vouch for\n"
	"      --json                        print what was copied as JSON\n";

enum {
	OPT_PLATFORM = CLI_OPT,
	OPT_NO_REFERRERS,
	OPT_AUTHFILE,
	OPT_INSECURE,
	OPT_COMPRESSION,
	OPT_SIGN_KEY,
	OPT_TRUSTED_KEY,
	OPT_NO_CHECK_SIGS,
	OPT_JSON,
};

static const struct option long_options[] = {
	{"platform", required_argument, NULL, OPT_PLATFORM},
	{"no-referrers", no_argument, NULL, OPT_NO_REFERRERS},
	{"authfile", required_argument, NULL, OPT_AUTHFILE},
	{"insecure", no_argument, NULL, OPT_INSECURE},
	{"compression", required_argument, NULL, OPT_COMPRESSION},
	{"sign-key", required_argument, NULL, OPT_SIGN_KEY},
	{"trusted-key", required_argument, NULL, OPT_TRUSTED_KEY},
	{"no-check-sigs", no_argument, NULL, OPT_NO_CHECK_SIGS},
	{"json", no_argument, NULL, OPT_JSON},
	{0},
};

struct copy_request {
	const char *src, *dst; /* borrowed from argv */
	char **paths;          /* borrowed from argv */
	size_t n_paths;
	struct transport_options transport;
	struct transfer_options transfer;
	struct paths_options store_paths;
	struct platform platform;
	struct secret_key *sign_keys; /* owned */
	size_t n_sign_keys, cap_sign_keys;
	struct public_key *trusted; /* owned */
	size_t n_trusted, cap_trusted;
	bool json;
	struct progress progress;
};

static void request_release(struct copy_request *c)
{
	platform_release(&c->platform);
	for (size_t i = 0; i < c->n_sign_keys; i++)
		secret_key_release(&c->sign_keys[i]);
	free(c->sign_keys);
	free(c->trusted);
}

static int set_platform(struct copy_request *c, const char *value)
{
	platform_release(&c->platform);
	if (platform_parse(&c->platform, slice_str(value)) < 0)
		return cli_usage("--platform '%s': wanted OS/ARCH, as linux/arm64", value);
	c->transfer.platform = &c->platform;
	return 0;
}

static int set_compression(struct copy_request *c, const char *value)
{
	enum codec codec = codec_by_name(slice_str(value));

	if (codec == CODEC_UNKNOWN || !codec_can_encode(codec))
		return cli_usage("--compression '%s': wanted zstd, xz, gzip, bzip2, br or none",
				 value);
	c->store_paths.put.compression = codec;
	return 0;
}

static int add_sign_key(struct copy_request *c, const char *file)
{
	cleanup_buf struct buf text = BUF_INIT(4096);
	struct err err = ERR_INIT;

	if (read_file_at(AT_FDCWD, file, 4096, &text, &err) < 0)
		return cli_fail(&err);
	array_grow(c->sign_keys, c->cap_sign_keys, c->n_sign_keys + 1);
	if (secret_key_parse(&c->sign_keys[c->n_sign_keys], buf_slice(&text)) < 0)
		return cli_usage("--sign-key '%s': is no secret key (see nacre key generate)",
				 file);
	memset(text.data, 0, text.len);
	c->n_sign_keys++;
	return 0;
}

static int add_trusted_key(struct copy_request *c, const char *value)
{
	array_grow(c->trusted, c->cap_trusted, c->n_trusted + 1);
	if (public_key_parse(&c->trusted[c->n_trusted], slice_str(value)) < 0)
		return cli_usage("--trusted-key '%s': wanted NAME:BASE64", value);
	c->n_trusted++;
	return 0;
}

/* 0, or an exit code. */
static int take_option(struct copy_request *c, int option, const char *value)
{
	switch (option) {
	case OPT_PLATFORM:
		return set_platform(c, value);
	case OPT_NO_REFERRERS:
		c->transfer.without_referrers = true;
		return 0;
	case OPT_AUTHFILE:
		c->transport.authfile = value;
		return 0;
	case OPT_INSECURE:
		c->transport.insecure = true;
		return 0;
	case OPT_COMPRESSION:
		return set_compression(c, value);
	case OPT_SIGN_KEY:
		return add_sign_key(c, value);
	case OPT_TRUSTED_KEY:
		return add_trusted_key(c, value);
	case OPT_NO_CHECK_SIGS:
		c->store_paths.no_check_sigs = true;
		return 0;
	default:
		c->json = true;
		return 0;
	}
}

/* ---- Image to image
 * ------------------------------------------------------------------------------ */

/* Progress, and with --verbose a line for each blob. */
struct watcher {
	struct transfer_observer observer;
	struct progress *progress; /* borrowed */
};

static void watch_blob(struct transfer_observer *self, const struct descriptor *blob, bool present)
{
	char digest[DIGEST_TEXT_MAX];

	digest_format(digest, &blob->digest);
	log_debug("%s %s, %" PRIu64 " bytes", present ? "is there:" : "copy", digest, blob->size);
}

static void watch_bytes(struct transfer_observer *self, uint64_t n)
{
	progress_add(container_of(self, struct watcher, observer)->progress, n);
}

static void print_digest(const struct hash *h)
{
	char digest[DIGEST_TEXT_MAX];

	digest_format(digest, h);
	puts(digest);
}

static void print_transfer(const struct transfer_result *result)
{
	char digest[DIGEST_TEXT_MAX];

	digest_format(digest, &result->digest);
	printf("{\"blobsPresent\":%" PRIu64 ",\"blobsSent\":%" PRIu64 ",\"bytesSent\":%" PRIu64
	       ",\"digest\":\"%s\",\"manifests\":%zu,\"referrers\":%zu}\n",
	       result->blobs_present, result->blobs_sent, result->bytes_sent, digest,
	       result->manifests, result->referrers);
}

static int copy_image(struct copy_request *c, struct err *err)
{
	cleanup_image_source struct image_source *from = NULL;
	cleanup_image_dest struct image_dest *to = NULL;
	cleanup_free char *tag = NULL;
	struct watcher watcher = {{watch_blob, watch_bytes}, &c->progress};
	struct transfer_result result;
	int r;

	if (c->n_paths)
		return err_set(err, E_USAGE,
			       "an image is copied whole: '%s' is one argument too many",
			       c->paths[0]);
	r = transport_open_source(&from, c->src, &c->transport, err);
	if (r < 0)
		return r;
	r = transport_open_dest(&to, &tag, c->dst, &c->transport, err);
	if (r < 0)
		return r;
	c->transfer.observer = &watcher.observer;
	r = transfer_image(from, to, tag, &c->transfer, &result, err);
	if (r >= 0)
		r = image_dest_finish(to, err);
	if (r < 0)
		return r;
	progress_end(&c->progress);
	if (c->json)
		print_transfer(&result);
	else
		print_digest(&result.digest);
	return 0;
}

/* ---- Store paths
 * --------------------------------------------------------------------------------- */

static void add_progress(void *data, uint64_t bytes)
{
	progress_add(data, bytes);
}

static int open_paths(struct copy_request *c, const struct nix_place *from,
		      struct path_source **ret, struct err *err)
{
	const struct path_source_options options = {.trusted = c->trusted,
						    .n_trusted = c->n_trusted};

	if (!c->n_paths)
		return err_set(err, E_USAGE, "which store paths of %s? Name them behind DST",
			       c->src);
	return path_source_open(ret, from->where, &options, err);
}

/* The store paths that were named; owned by the caller. */
static int resolve_paths(struct copy_request *c, struct path_source *from, struct store_path **ret,
			 struct err *err)
{
	struct store_path *roots = xcalloc(c->n_paths + 1, sizeof(*roots));

	for (size_t i = 0; i < c->n_paths; i++) {
		int r = path_source_resolve(from, c->paths[i], &roots[i], err);

		if (r < 0) {
			free(roots);
			return r;
		}
	}
	*ret = roots;
	return 0;
}

/* Store paths to an image. */
static int build_image(struct copy_request *c, const struct nix_place *place, struct err *err)
{
	struct build_options options = BUILD_OPTIONS_INIT;
	cleanup_path_source struct path_source *from = NULL;
	cleanup_image_dest struct image_dest *to = NULL;
	cleanup_free struct store_path *roots = NULL;
	cleanup_free char *tag = NULL;
	struct build_result result;
	int r = open_paths(c, place, &from, err);

	if (r >= 0)
		r = resolve_paths(c, from, &roots, err);
	if (r >= 0)
		r = transport_open_dest(&to, &tag, c->dst, &c->transport, err);
	options.roots = roots;
	options.n_roots = c->n_paths;
	options.tag = tag;
	options.platform = c->transfer.platform;
	options.progress = add_progress;
	options.progress_data = &c->progress;
	if (r >= 0)
		r = image_build(&result, from, to, &options, err);
	if (r < 0)
		return r;
	progress_end(&c->progress);
	build_print(&result, c->json);
	return 0;
}

struct path_counter {
	struct progress *progress; /* borrowed */
	size_t present;
};

static void count_path(void *data, const struct path_info *info, bool present)
{
	struct path_counter *counter = data;

	counter->present += present;
	log_debug("%s %s", present ? "is there:" : "copied", info->path.text);
	progress_add(counter->progress, info->nar_size);
}

static int put_paths(struct copy_request *c, struct path_source *from, const struct path_infos *set,
		     const struct nix_place *to, struct err *err)
{
	struct path_counter counter = {&c->progress, 0};
	int r;

	c->store_paths.put.keys = c->sign_keys;
	c->store_paths.put.n_keys = c->n_sign_keys;
	c->store_paths.put.progress = count_path;
	c->store_paths.put.progress_data = &counter;
	c->store_paths.trusted = c->trusted;
	c->store_paths.n_trusted = c->n_trusted;
	r = transfer_paths(from, set, to, &c->store_paths, err);
	if (r < 0)
		return r;
	progress_end(&c->progress);
	if (c->json && to->cache)
		printf("{\"paths\":%zu,\"present\":%zu}\n", set->len, counter.present);
	else if (c->json)
		printf("{\"paths\":%zu}\n", set->len);
	else if (to->cache)
		cli_note("%zu store paths, of which %zu were there", set->len, counter.present);
	else
		cli_note("%zu store paths", set->len);
	return 0;
}

static int copy_closures(struct copy_request *c, struct path_source *from,
			 const struct nix_place *to, struct err *err)
{
	cleanup_path_infos struct path_infos set = {0};
	cleanup_free struct store_path *roots = NULL;
	int r = resolve_paths(c, from, &roots, err);

	for (size_t i = 0; i < c->n_paths && r >= 0; i++)
		r = from->closure(from, &roots[i], &set, err);
	return r < 0 ? r : put_paths(c, from, &set, to, err);
}

static int copy_store_paths(struct copy_request *c, const struct nix_place *place,
			    const struct nix_place *to, struct err *err)
{
	cleanup_path_source struct path_source *from = NULL;
	int r = open_paths(c, place, &from, err);

	return r < 0 ? r : copy_closures(c, from, to, err);
}

/* What is in an image, to a cache or store. */
static int unpack_image(struct copy_request *c, const struct nix_place *to, struct err *err)
{
	const struct image_paths_options options = {c->transfer.platform, add_progress,
						    &c->progress};
	cleanup_image_source struct image_source *image = NULL;
	cleanup_path_source struct path_source *from = NULL;
	cleanup_path_infos struct path_infos set = {0};
	int r = transport_open_source(&image, c->src, &c->transport, err);

	if (r >= 0)
		r = image_paths_open(&from, image, &options, err);
	if (r < 0)
		return r;
	if (c->n_paths)
		return copy_closures(c, from, to, err);
	image_paths_all(from, &set);
	return put_paths(c, from, &set, to, err);
}

static int copy(struct copy_request *c, struct err *err)
{
	struct nix_place from, to;
	bool from_nix = nix_place_parse(&from, c->src), to_nix = nix_place_parse(&to, c->dst);
	int r;

	c->transport.copied_from = c->src;
	progress_begin(&c->progress, "copy", 0);
	if (from_nix && to_nix)
		r = copy_store_paths(c, &from, &to, err);
	else if (from_nix)
		r = build_image(c, &from, err);
	else if (to_nix)
		r = unpack_image(c, &to, err);
	else
		r = copy_image(c, err);
	progress_end(&c->progress);
	return r;
}

int cmd_copy(int argc, char **argv)
{
	struct copy_request c = {.store_paths = {.put = {.compression = CODEC_ZSTD}}};
	struct err err = ERR_INIT;
	int option, code = 0;

	while (code == 0 && (option = cli_getopt(argc, argv, "", long_options, help)) != -1)
		code = take_option(&c, option, optarg);
	if (code == 0) {
		cli_operands(argc, argv, 2, -1, help);
		c.src = argv[optind];
		c.dst = argv[optind + 1];
		c.paths = argv + optind + 2;
		c.n_paths = (size_t)(argc - optind - 2);
		if (copy(&c, &err) < 0)
			code = cli_fail(&err);
	}
	request_release(&c);
	return code;
}
