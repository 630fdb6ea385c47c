/* SPDX-License-Identifier: Apache-2.0 */
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/registry.h"
#include "node/image-registry.h"
#include "node/layer-import.h"

#define LABEL_REF   "containerd.io/snapshot/cri.image-ref"
#define LABEL_LAYER "containerd.io/snapshot/cri.layer-digest"

/* Somebody waits for a container: containerd can still fetch the layer itself. */
enum { ATTEMPTS = 2, CONNECT_TIMEOUT_MS = 5000 };

/* From one host into a file without a name, proven against the digest. */
static int fetch_from(const struct registry_host *host, const struct reference *ref,
		      const struct hash *digest, const char *auth_file, int fd, struct err *err)
{
	const struct registry_options options = {
		.scheme = host->is_own    ? REGISTRY_AUTO
			  : host->is_http ? REGISTRY_HTTP
					  : REGISTRY_HTTPS,
		.insecure = host->skip_verify,
		.auth_file = auth_file,
		.http = {.ca_file = host->ca_file,
			 .attempts = ATTEMPTS,
			 .connect_timeout_ms = CONNECT_TIMEOUT_MS},
	};
	CLEANUP(registry_free) struct registry *registry = NULL;
	struct fd_sink file;

	if (ftruncate(fd, 0) < 0 || lseek(fd, 0, SEEK_SET) < 0)
		return err_errno(err, "a temporary file");
	if (registry_open(&registry, host->domain, &options, err) < 0)
		return err->code;
	fd_sink_init(&file, fd, "a temporary file");
	return registry_get_blob(registry, ref->repository, digest, DIGEST_SIZE_UNKNOWN, &file.sink,
				 err);
}

/* The first host that has it. */
static int fetch(const struct registry_hosts *hosts, const struct reference *ref,
		 const struct hash *digest, const char *auth_file, int fd, struct err *err)
{
	struct err first = ERR_INIT;

	for (size_t i = 0; i < hosts->len; i++) {
		const struct registry_host *host = &hosts->items[i];
		struct err why = ERR_INIT;

		if (host->why_not || !host->can_pull) {
			err_set(&why, E_UNSUPPORTED, "%s is left out: %s", host->domain,
				host->why_not ? host->why_not : "it is not for pulls");
		} else if (fetch_from(host, ref, digest, auth_file, fd, &why) >= 0) {
			return 0;
		}
		log_debug("registry %s: %s", host->domain, why.text);
		if (!first.code)
			first = why;
	}
	*err = first;
	return first.code;
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

int image_registry_fetch(const struct image_registries *registries, struct node_store *store,
			 const struct annotations *labels, struct sources_stats *stats,
			 struct err *err)
{
	const char *ref_text = annotations_get(labels, LABEL_REF);
	const char *digest_text = annotations_get(labels, LABEL_LAYER);
	cleanup_registry_hosts struct registry_hosts hosts = {0};
	cleanup_fd int fd = -1;
	struct reference ref;
	struct hash digest;
	int r;

	if (!ref_text || !digest_text)
		return 0;
	if (reference_parse_err(&ref, slice_str(ref_text), err) < 0 ||
	    digest_parse_err(&digest, slice_str(digest_text), err) < 0 ||
	    registry_hosts_find(&hosts, registries->certs_dir, registries->allowed, ref.domain,
				err) < 0)
		return err->code;
	fd = node_store_temp_fd(store, err);
	if (fd < 0)
		return fd;
	r = fetch(&hosts, &ref, &digest, registries->auth_file, fd, err);
	return r < 0 ? r : import(store, fd, stats, err);
}
