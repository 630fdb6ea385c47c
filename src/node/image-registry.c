/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/registry.h"
#include "node/image-registry.h"
#include "node/layer-import.h"

#define LABEL_REF      "containerd.io/snapshot/cri.image-ref"
#define LABEL_LAYER    "containerd.io/snapshot/cri.layer-digest"
#define LABEL_MANIFEST "containerd.io/snapshot/cri.manifest-digest"

/* Somebody waits for a container: containerd can still fetch the layer itself. */
enum { ATTEMPTS = 2, CONNECT_TIMEOUT_MS = 5000 };

/* What is asked of one host after the other. */
struct request {
	const struct image_registries *registries; /* borrowed */
	struct reference ref;
	struct hash digest; /* of the layer, or of the manifest */
	int fd;             /* borrowed; where the layer goes */
	const char *store_dir;
	struct referrer_infos *infos;
	struct manifest *manifest;
};

/* SPEC containerd hosts.md: who stands for another registry is told for which. */
static bool is_mirror(const struct request *q, const struct registry_host *host)
{
	return !host->is_own && strcmp(host->domain, q->ref.domain) != 0 &&
	       !(strcmp(q->ref.domain, "docker.io") == 0 &&
		 strcmp(host->domain, "registry-1.docker.io") == 0);
}

static int open_host(const struct request *q, const struct registry_host *host,
		     struct registry **ret, struct err *err)
{
	const struct registry_options options = {
		.scheme = host->is_own    ? REGISTRY_AUTO
			  : host->is_http ? REGISTRY_HTTP
					  : REGISTRY_HTTPS,
		.insecure = host->skip_verify,
		.auth_file = q->registries->auth_file,
		.mirror_of = is_mirror(q, host) ? q->ref.domain : NULL,
		.http = {.ca_file = host->ca_file,
			 .attempts = ATTEMPTS,
			 .connect_timeout_ms = CONNECT_TIMEOUT_MS},
	};

	return registry_open(ret, host->domain, &options, err);
}

/* Asks one host. Takes over the registry. 1: it has it; 0: it does not know of any. */
typedef int get_fn(struct request *q, struct registry *registry, struct err *err);

/* Into a file without a name, proven against the digest. */
static int fetch_layer(struct request *q, struct registry *registry, struct err *err)
{
	CLEANUP(registry_free) struct registry *own = registry;
	struct fd_sink file;

	if (ftruncate(q->fd, 0) < 0 || lseek(q->fd, 0, SEEK_SET) < 0)
		return err_errno(err, "a temporary file");
	fd_sink_init(&file, q->fd, "a temporary file");
	return registry_get_blob(own, q->ref.repository, &q->digest, DIGEST_SIZE_UNKNOWN,
				 &file.sink, err) < 0
		       ? err->code
		       : 1;
}

/* A mirror may hold images, and not what refers to them. */
static int read_infos(struct request *q, struct registry *registry, struct err *err)
{
	cleanup_image_source struct image_source *source = NULL;

	if (registry_image_source(&source, registry, &q->ref, err) < 0) {
		registry_free(registry);
		return err->code;
	}
	if (referrer_infos_read(q->infos, source, &q->digest, q->store_dir, err) < 0)
		return err->code;
	return q->infos->len > 0;
}

static int read_manifest(struct request *q, struct registry *registry, struct err *err)
{
	CLEANUP(registry_free) struct registry *own = registry;
	cleanup_manifest_bytes struct manifest_bytes bytes = {0};
	char digest[HASH_TEXT_MAX];

	digest_format(digest, &q->digest);
	if (registry_get_manifest(own, q->ref.repository, digest, &bytes, err) < 0)
		return err->code;
	return manifest_parse(q->manifest, bytes.media_type, buf_slice(&bytes.bytes), err) < 0
		       ? err->code
		       : 1;
}

static int ask_host(struct request *q, const struct registry_host *host, get_fn *get,
		    struct err *err)
{
	struct registry *registry;

	if (open_host(q, host, &registry, err) < 0)
		return err->code;
	return get(q, registry, err);
}

/* 1: the first host that has it gave it. 0: none has, as the last says that can be asked: that of a
 * mirror only says that it does not know. */
static int ask(struct request *q, const struct registry_hosts *hosts, get_fn *get, struct err *err)
{
	struct err first = ERR_INIT;
	int r = -1;

	for (size_t i = 0; i < hosts->len && r <= 0; i++) {
		const struct registry_host *host = &hosts->items[i];
		struct err why = ERR_INIT;

		if (host->why_not || !host->can_pull)
			err_set(&why, E_UNSUPPORTED, "%s is left out: %s", host->domain,
				host->why_not ? host->why_not : "it is not for pulls");
		else
			r = ask_host(q, host, get, &why);
		if (!why.code)
			continue;
		log_debug("registry %s: %s", host->domain, why.text);
		if (!first.code)
			first = why;
	}
	if (r < 0)
		*err = first;
	return r < 0 ? first.code : r;
}

static int import(struct node_store *store, int fd, struct sources_stats *stats, struct err *err)
{
	struct layer_record record = {0};
	off_t size = lseek(fd, 0, SEEK_END);
	int r;

	if (size < 0 || lseek(fd, 0, SEEK_SET) < 0)
		return err_errno(err, "a temporary file");
	stats->bytes += (uint64_t)size;
	r = layer_import(store, fd, NULL, &record, &stats->from_registries, err);
	layer_record_release(&record);
	return r == 0 ? err_set(err, E_UNSUPPORTED, "it is no layer of store paths") : r;
}

/* 1: the labels name an image, and the digest that `label` holds; `hosts` may be asked for it. 0: they
 * do not. */
static int read_labels(struct request *q, const struct annotations *labels, const char *label,
		       struct registry_hosts *hosts, struct err *err)
{
	const char *ref = annotations_get(labels, LABEL_REF);
	const char *digest = annotations_get(labels, label);

	if (!ref || !digest)
		return 0;
	if (reference_parse_err(&q->ref, slice_str(ref), err) < 0 ||
	    digest_parse_err(&q->digest, slice_str(digest), err) < 0 ||
	    registry_hosts_find(hosts, q->registries->certs_dir, q->registries->allowed,
				q->ref.domain, err) < 0)
		return err->code;
	return 1;
}

int image_registry_fetch(const struct image_registries *registries, struct node_store *store,
			 const struct annotations *labels, struct sources_stats *stats,
			 struct err *err)
{
	cleanup_registry_hosts struct registry_hosts hosts = {0};
	struct request q = {.registries = registries};
	cleanup_fd int fd = -1;
	int r = read_labels(&q, labels, LABEL_LAYER, &hosts, err);

	if (r <= 0)
		return r;
	fd = node_store_temp_fd(store, err);
	if (fd < 0)
		return fd;
	q.fd = fd;
	r = ask(&q, &hosts, fetch_layer, err);
	return r < 0 ? r : import(store, fd, stats, err);
}

const char *image_registry_manifest(const struct annotations *labels)
{
	return annotations_get(labels, LABEL_REF) ? annotations_get(labels, LABEL_MANIFEST) : NULL;
}

const char *image_registry_layer(const struct annotations *labels)
{
	return annotations_get(labels, LABEL_REF) ? annotations_get(labels, LABEL_LAYER) : NULL;
}

void image_registry_labels(struct annotations *ret, const struct annotations *labels,
			   const char *layer)
{
	annotations_set(ret, LABEL_REF, annotations_get(labels, LABEL_REF));
	annotations_set(ret, LABEL_MANIFEST, annotations_get(labels, LABEL_MANIFEST));
	annotations_set(ret, LABEL_LAYER, layer);
}

int image_registry_read_manifest(const struct image_registries *registries,
				 const struct annotations *labels, struct manifest *ret,
				 struct err *err)
{
	cleanup_registry_hosts struct registry_hosts hosts = {0};
	struct request q = {.registries = registries, .manifest = ret};
	int r = read_labels(&q, labels, LABEL_MANIFEST, &hosts, err);

	if (r <= 0)
		return r;
	r = ask(&q, &hosts, read_manifest, err);
	return r < 0 ? r : 1;
}

int image_registry_infos(const struct image_registries *registries,
			 const struct annotations *labels, const char *store_dir,
			 struct referrer_infos *ret, struct err *err)
{
	cleanup_registry_hosts struct registry_hosts hosts = {0};
	struct request q = {.registries = registries, .store_dir = store_dir, .infos = ret};
	int r = read_labels(&q, labels, LABEL_MANIFEST, &hosts, err);

	if (r <= 0)
		return r;
	r = ask(&q, &hosts, read_infos, err);
	return r < 0 ? r : 1;
}
