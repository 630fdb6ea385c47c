/* SPDX-License-Identifier: Apache-2.0 */
/* `nacre inspect`: what an image is, without fetching its layers. */
#include <inttypes.h>
#include <stdio.h>

#include <nacre/image.h>
#include <nacre/json.h>

#include "base/mem.h"
#include "cli/cli.h"
#include "net/transfer.h"
#include "net/transports.h"

static const char help[] =
	"Usage: nacre inspect [OPTION]... IMAGE\n"
	"\n"
	"Shows what IMAGE is: digest, media type, configuration, its layers with the store paths "
	"in\n"
	"them, and what refers to it. Of several platforms, shows the one of this machine.\n"
	"\n"
	"IMAGE is a reference as for docker and podman (localhost:5000/nix:HASH), or one with a\n"
	"transport: docker://, oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:REF].\n"
	"\n"
	"Options:\n"
	"      --raw                         print the bytes of the manifest or index that IMAGE "
	"names\n"
	"      --config                      print the bytes of the configuration\n"
	"      --json                        print it all as JSON\n"
	"      --platform OS/ARCH[/VARIANT]  of several platforms, show this one\n"
	"      --authfile FILE               credentials for registries\n"
	"      --insecure                    plain HTTP, or unverified TLS, to registries\n";

enum { OPT_RAW = CLI_OPT, OPT_CONFIG, OPT_JSON, OPT_PLATFORM, OPT_AUTHFILE, OPT_INSECURE };

static const struct option long_options[] = {
	{"raw", no_argument, NULL, OPT_RAW},
	{"config", no_argument, NULL, OPT_CONFIG},
	{"json", no_argument, NULL, OPT_JSON},
	{"platform", required_argument, NULL, OPT_PLATFORM},
	{"authfile", required_argument, NULL, OPT_AUTHFILE},
	{"insecure", no_argument, NULL, OPT_INSECURE},
	{0},
};

enum format { FORMAT_TEXT = 0, FORMAT_RAW, FORMAT_CONFIG, FORMAT_JSON };

struct inspect_request {
	struct transport_options transport;
	struct platform platform;
	bool has_platform;
	enum format format;
};

/* An image and what was found out about it. */
struct inspected {
	const char *name;           /* borrowed */
	struct manifest_bytes top;  /* what the name names */
	struct manifest top_parsed; /* of kind MANIFEST_INDEX: the index that the image is from */
	struct manifest_bytes bytes;
	struct manifest manifest;
	struct buf config_bytes;
	bool has_config; /* an image configuration; an artifact has others */
	struct image_config config;
	struct descriptors referrers;
};

static void inspected_release(struct inspected *x)
{
	manifest_bytes_release(&x->top);
	manifest_release(&x->top_parsed);
	manifest_bytes_release(&x->bytes);
	manifest_release(&x->manifest);
	buf_release(&x->config_bytes);
	image_config_release(&x->config);
	descriptors_release(&x->referrers);
}

static int take_option(struct inspect_request *q, int option, const char *value)
{
	switch (option) {
	case OPT_PLATFORM:
		platform_release(&q->platform);
		if (platform_parse(&q->platform, slice_str(value)) < 0)
			return cli_usage("--platform '%s': wanted OS/ARCH, as linux/arm64", value);
		q->has_platform = true;
		return 0;
	case OPT_AUTHFILE:
		q->transport.authfile = value;
		return 0;
	case OPT_INSECURE:
		q->transport.insecure = true;
		return 0;
	default:
		if (q->format != FORMAT_TEXT)
			return cli_usage("--raw, --config and --json exclude each other");
		q->format = option == OPT_RAW      ? FORMAT_RAW
			    : option == OPT_CONFIG ? FORMAT_CONFIG
						   : FORMAT_JSON;
		return 0;
	}
}

/* ---- Fetching
 * ------------------------------------------------------------------------------------ */

static int fetch_config(struct inspected *x, struct image_source *from, struct err *err)
{
	const char *type = x->manifest.config.media_type;
	int r;

	if (!x->manifest.has_config)
		return 0;
	x->config_bytes = BUF_INIT(IMAGE_CONFIG_BYTES_MAX);
	r = image_get_blob_bytes(from, &x->manifest.config, IMAGE_CONFIG_BYTES_MAX,
				 &x->config_bytes, err);
	if (r < 0)
		return r;
	if (strcmp(type, MT_OCI_CONFIG) != 0 && strcmp(type, MT_DOCKER_CONFIG) != 0)
		return 0;
	r = image_config_parse(&x->config, buf_slice(&x->config_bytes), err);
	x->has_config = r >= 0;
	return r < 0 ? err_wrap(err, "%s", x->name) : 0;
}

static int fetch(struct inspected *x, struct image_source *from, const struct platform *platform,
		 enum format format, struct err *err)
{
	int r = image_get_manifest(from, NULL, &x->top, err);

	if (r < 0 || format == FORMAT_RAW)
		return r;
	r = manifest_parse(&x->top_parsed, x->top.media_type, buf_slice(&x->top.bytes), err);
	if (r < 0)
		return err_wrap(err, "%s", x->name);
	r = transfer_resolve(from, platform, &x->bytes, &x->manifest, err);
	if (r >= 0)
		r = fetch_config(x, from, err);
	if (r >= 0)
		r = image_get_referrers(from, &x->bytes.digest, NULL, &x->referrers, err);
	return r;
}

/* ---- Text
 * ---------------------------------------------------------------------------------------- */

/* Texts of an image must not reach a terminal as they are: no control character, C1 ones neither. */
static void print_text(const char *text)
{
	for (const char *p = text; *p; p++) {
		uint8_t c = (uint8_t)*p;
		uint8_t next = (uint8_t)p[1];

		if (c < 0x20 || c == 0x7f) {
			printf("\\x%02x", c);
		} else if (c == 0xc2 && next >= 0x80 && next < 0xa0) { /* C1, in UTF-8 */
			printf("\\u%04x", next);
			p++;
		} else {
			putchar(c);
		}
	}
}

static void print_field(const char *label, const char *text)
{
	if (!text)
		return;
	printf("%-14s", label);
	print_text(text);
	putchar('\n');
}

static void print_list(const char *label, const struct strv *list)
{
	if (!list->len)
		return;
	printf("%-14s", label);
	for (size_t i = 0; i < list->len; i++) {
		fputs(i ? " " : "", stdout);
		print_text(list->items[i]);
	}
	putchar('\n');
}

static void print_config(const struct image_config *c)
{
	cleanup_platform struct platform platform = {0};
	cleanup_buf struct buf text = {0};

	image_config_platform(&platform, c);
	platform_format(&text, &platform);
	print_field("Platform:", (const char *)text.data);
	print_field("Created:", c->created);
	print_list("Entrypoint:", &c->entrypoint);
	print_list("Cmd:", &c->cmd);
	print_list("Env:", &c->env);
	print_field("User:", c->user);
	print_field("WorkingDir:", c->working_dir);
	print_list("Ports:", &c->exposed_ports);
	print_list("Volumes:", &c->volumes);
	print_field("StopSignal:", c->stop_signal);
	for (size_t i = 0; i < c->labels.len; i++) {
		printf("%-14s", i ? "" : "Labels:");
		print_text(c->labels.items[i].key);
		putchar('=');
		print_text(c->labels.items[i].value);
		putchar('\n');
	}
}

static void print_layer(const struct descriptor *d)
{
	cleanup_path_infos struct path_infos paths = {0};
	char digest[DIGEST_TEXT_MAX];
	bool has_references;
	int r = image_layer_claims(&paths, &has_references, &d->annotations);

	digest_format(digest, &d->digest);
	printf("  %s %12" PRIu64 " ", digest, d->size);
	print_text(d->media_type);
	putchar('\n');
	if (r < 0 && r != E_NOTFOUND)
		puts("    (its annotations name store paths in a way that is not allowed)");
	for (size_t i = 0; r >= 0 && i < paths.len; i++)
		printf("    %s\n", paths.items[i].path.text);
}

static void print_members(const struct inspected *x)
{
	char digest[DIGEST_TEXT_MAX];

	if (x->top_parsed.kind != MANIFEST_INDEX)
		return;
	digest_format(digest, &x->top.digest);
	print_field("Index:", digest);
	for (size_t i = 0; i < x->top_parsed.manifests.len; i++) {
		const struct descriptor *d = &x->top_parsed.manifests.items[i];
		cleanup_buf struct buf text = {0};

		if (d->has_platform)
			platform_format(&text, &d->platform);
		digest_format(digest, &d->digest);
		printf("  %s ", digest);
		print_text(d->has_platform ? (const char *)text.data : d->media_type);
		putchar('\n');
	}
}

static void print_image(const struct inspected *x)
{
	char digest[DIGEST_TEXT_MAX];

	print_field("Name:", x->name);
	print_members(x);
	digest_format(digest, &x->bytes.digest);
	print_field("Digest:", digest);
	print_field("MediaType:", x->manifest.media_type);
	print_field("ArtifactType:", x->manifest.artifact_type);
	if (x->has_config)
		print_config(&x->config);
	printf("Layers:       %zu\n", x->manifest.layers.len);
	for (size_t i = 0; i < x->manifest.layers.len; i++)
		print_layer(&x->manifest.layers.items[i]);
	if (x->referrers.len)
		printf("Referrers:    %zu\n", x->referrers.len);
	for (size_t i = 0; i < x->referrers.len; i++) {
		const struct descriptor *d = &x->referrers.items[i];

		digest_format(digest, &d->digest);
		printf("  %s ", digest);
		print_text(d->artifact_type ? d->artifact_type : d->media_type);
		putchar('\n');
	}
}

/* ---- JSON
 * ---------------------------------------------------------------------------------------- */

static json_t *json_digest(const struct hash *h)
{
	char digest[DIGEST_TEXT_MAX];

	digest_format(digest, h);
	return json_string(digest);
}

static json_t *json_paths(const struct descriptor *d)
{
	cleanup_path_infos struct path_infos paths = {0};
	json_t *list = json_array();
	bool has_references;

	if (image_layer_claims(&paths, &has_references, &d->annotations) < 0)
		return list;
	for (size_t i = 0; i < paths.len; i++) {
		char hash[HASH_TEXT_MAX];

		hash_format(hash, &paths.items[i].nar_hash, HASH_NIX32);
		json_array_append_new(list,
				      json_pack("{s:s, s:s, s:I}", "path", paths.items[i].path.text,
						"narHash", hash, "narSize",
						(json_int_t)paths.items[i].nar_size));
	}
	return list;
}

static json_t *json_layers(const struct inspected *x)
{
	json_t *list = json_array();

	for (size_t i = 0; i < x->manifest.layers.len; i++) {
		const struct descriptor *d = &x->manifest.layers.items[i];
		json_t *layer = json_pack("{s:o, s:s, s:I, s:o}", "digest", json_digest(&d->digest),
					  "mediaType", d->media_type, "size", (json_int_t)d->size,
					  "storePaths", json_paths(d));

		if (x->has_config && i < x->config.n_diff_ids)
			json_object_set_new(layer, "diffId", json_digest(&x->config.diff_ids[i]));
		json_array_append_new(list, layer);
	}
	return list;
}

static json_t *json_descriptors(const struct descriptors *from)
{
	json_t *list = json_array();

	for (size_t i = 0; i < from->len; i++) {
		const struct descriptor *d = &from->items[i];
		cleanup_buf struct buf platform = {0};
		json_t *item = json_pack("{s:o, s:s, s:I}", "digest", json_digest(&d->digest),
					 "mediaType", d->media_type, "size", (json_int_t)d->size);

		if (d->artifact_type)
			json_object_set_new(item, "artifactType", json_string(d->artifact_type));
		if (d->has_platform) {
			platform_format(&platform, &d->platform);
			json_object_set_new(item, "platform",
					    json_string((const char *)platform.data));
		}
		json_array_append_new(list, item);
	}
	return list;
}

static int print_json(const struct inspected *x, struct err *err)
{
	cleanup_json json_t *doc =
		json_pack("{s:s, s:o, s:s, s:I, s:o, s:o}", "name", x->name, "digest",
			  json_digest(&x->bytes.digest), "mediaType", x->manifest.media_type,
			  "size", (json_int_t)x->bytes.bytes.len, "layers", json_layers(x),
			  "referrers", json_descriptors(&x->referrers));
	cleanup_free char *text = NULL;
	json_t *config = NULL;

	if (x->manifest.artifact_type)
		json_object_set_new(doc, "artifactType", json_string(x->manifest.artifact_type));
	if (x->has_config)
		config = json_loadb((const char *)x->config_bytes.data, x->config_bytes.len, 0,
				    NULL);
	if (config)
		json_object_set_new(doc, "config", config);
	if (x->top_parsed.kind == MANIFEST_INDEX)
		json_object_set_new(doc, "index",
				    json_pack("{s:o, s:o}", "digest", json_digest(&x->top.digest),
					      "manifests",
					      json_descriptors(&x->top_parsed.manifests)));
	/* Not canonical: a configuration may hold numbers that have no such form. */
	text = doc ? json_dumps(doc, JSON_INDENT(2) | JSON_SORT_KEYS) : NULL;
	if (!text)
		return err_set(err, E_INVALID, "%s: a text is not UTF-8", x->name);
	puts(text);
	return 0;
}

static int print_bytes(const struct buf *bytes)
{
	fwrite(bytes->data, 1, bytes->len, stdout);
	return 0;
}

static int print_inspected(const struct inspected *x, enum format format, struct err *err)
{
	switch (format) {
	case FORMAT_RAW:
		return print_bytes(&x->top.bytes);
	case FORMAT_CONFIG:
		if (!x->manifest.has_config)
			return err_set(err, E_NOTFOUND, "%s: has no configuration", x->name);
		return print_bytes(&x->config_bytes);
	case FORMAT_JSON:
		return print_json(x, err);
	case FORMAT_TEXT:
		break;
	}
	print_image(x);
	return 0;
}

static int inspect(const char *name, struct inspect_request *q, struct err *err)
{
	cleanup_image_source struct image_source *from = NULL;
	struct inspected x = {.name = name};
	int r = transport_open_source(&from, name, &q->transport, err);

	if (r < 0)
		return r;
	if (!q->has_platform)
		platform_host(&q->platform);
	r = fetch(&x, from, &q->platform, q->format, err);
	if (r >= 0)
		r = print_inspected(&x, q->format, err);
	inspected_release(&x);
	return r;
}

int cmd_inspect(int argc, char **argv)
{
	struct inspect_request q = {0};
	struct err err = ERR_INIT;
	int option, code = 0;

	while (code == 0 && (option = cli_getopt(argc, argv, "", long_options, help)) != -1)
		code = take_option(&q, option, optarg);
	if (code == 0) {
		cli_operands(argc, argv, 1, 1, help);
		if (inspect(argv[optind], &q, &err) < 0)
			code = cli_fail(&err);
	}
	platform_release(&q.platform);
	return code;
}
