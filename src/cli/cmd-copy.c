/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "net/transfer.h"
#include "net/transports.h"

cli_run_fn cmd_copy;

static const char help[] =
	"Usage: nacre copy [OPTION]... SRC DST\n"
	"\n"
	"Copies an image with all its platforms and with what refers to it (signatures, the path\n"
	"infos of its store paths), byte for byte. What DST has is not sent again. Prints the\n"
	"digest of the image.\n"
	"\n"
	"SRC and DST are\n"
	"  docker://[HOST[:PORT]/]NAME[:TAG]  a registry (SRC: or @DIGEST; docker:// may be left\n"
	"                                     out)\n"
	"  oci:DIR[:TAG]                      an OCI image layout\n"
	"  oci-archive:FILE[:TAG]             the same as one tar\n"
	"  docker-archive:FILE[:REF]          what docker save writes and docker load reads; "
	"takes\n"
	"                                     one image, with its layers uncompressed, and has no\n"
	"                                     place for what refers to it\n"
	"\n"
	"Options:\n"
	"      --platform OS/ARCH[/VARIANT]  of several platforms, copy this one alone\n"
	"      --no-referrers                leave behind what refers to the image\n"
	"      --authfile FILE               credentials for registries\n"
	"      --insecure                    plain HTTP, or unverified TLS, to registries\n"
	"      --json                        print what was copied as JSON\n";

enum { OPT_PLATFORM = CLI_OPT, OPT_NO_REFERRERS, OPT_AUTHFILE, OPT_INSECURE, OPT_JSON };

static const struct option long_options[] = {
	{"platform", required_argument, NULL, OPT_PLATFORM},
	{"no-referrers", no_argument, NULL, OPT_NO_REFERRERS},
	{"authfile", required_argument, NULL, OPT_AUTHFILE},
	{"insecure", no_argument, NULL, OPT_INSECURE},
	{"json", no_argument, NULL, OPT_JSON},
	{0},
};

struct copy_request {
	struct transport_options transport;
	struct transfer_options transfer;
	struct platform platform;
	bool json;
};

/* 0, or an exit code. */
static int take_option(struct copy_request *c, int option, const char *value)
{
	switch (option) {
	case OPT_PLATFORM:
		platform_release(&c->platform);
		if (platform_parse(&c->platform, slice_str(value)) < 0)
			return cli_usage("--platform '%s': wanted OS/ARCH, as linux/arm64", value);
		c->transfer.platform = &c->platform;
		return 0;
	case OPT_NO_REFERRERS:
		c->transfer.without_referrers = true;
		return 0;
	case OPT_AUTHFILE:
		c->transport.authfile = value;
		return 0;
	case OPT_INSECURE:
		c->transport.insecure = true;
		return 0;
	default:
		c->json = true;
		return 0;
	}
}

/* Progress, and with --verbose a line for each blob. */
struct watcher {
	struct transfer_observer observer;
	struct progress progress;
};

static void watch_blob(struct transfer_observer *self, const struct descriptor *blob, bool present)
{
	char digest[DIGEST_TEXT_MAX];

	digest_format(digest, &blob->digest);
	log_debug("%s %s, %" PRIu64 " bytes", present ? "is there:" : "copy", digest, blob->size);
}

static void watch_bytes(struct transfer_observer *self, uint64_t n)
{
	progress_add(&container_of(self, struct watcher, observer)->progress, n);
}

static void print_result(const struct transfer_result *result, bool json)
{
	char digest[DIGEST_TEXT_MAX];

	digest_format(digest, &result->digest);
	if (!json) {
		puts(digest);
		return;
	}
	printf("{\"blobsPresent\":%" PRIu64 ",\"blobsSent\":%" PRIu64 ",\"bytesSent\":%" PRIu64
	       ",\"digest\":\"%s\",\"manifests\":%zu,\"referrers\":%zu}\n",
	       result->blobs_present, result->blobs_sent, result->bytes_sent, digest,
	       result->manifests, result->referrers);
}

static int copy(const char *src, const char *dst, struct copy_request *c,
		struct transfer_result *ret, struct err *err)
{
	cleanup_image_source struct image_source *from = NULL;
	cleanup_image_dest struct image_dest *to = NULL;
	cleanup_free char *tag = NULL;
	struct watcher watcher = {{watch_blob, watch_bytes}, {0}};
	int r = transport_open_source(&from, src, &c->transport, err);

	if (r < 0)
		return r;
	c->transport.copied_from = src;
	r = transport_open_dest(&to, &tag, dst, &c->transport, err);
	if (r < 0)
		return r;
	c->transfer.observer = &watcher.observer;
	progress_begin(&watcher.progress, "copy", 0);
	r = transfer_image(from, to, tag, &c->transfer, ret, err);
	if (r >= 0)
		r = image_dest_finish(to, err);
	progress_end(&watcher.progress);
	return r;
}

int cmd_copy(int argc, char **argv)
{
	struct copy_request c = {0};
	struct transfer_result result;
	struct err err = ERR_INIT;
	int option, code = 0;

	while (code == 0 && (option = cli_getopt(argc, argv, "", long_options, help)) != -1)
		code = take_option(&c, option, optarg);
	if (code == 0) {
		cli_operands(argc, argv, 2, 2, help);
		if (copy(argv[optind], argv[optind + 1], &c, &result, &err) < 0)
			code = cli_fail(&err);
		else
			print_result(&result, c.json);
	}
	platform_release(&c.platform);
	return code;
}
