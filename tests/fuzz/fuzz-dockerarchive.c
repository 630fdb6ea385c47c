/* SPDX-License-Identifier: Apache-2.0 */
/* Whole archives: input that begins with '[' is a manifest.json, any other a tar, opened as either
 * kind of archive and read through. */
#include <sys/mman.h>

#include <nacre/transport.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/sinks.h"
#include "oci/docker-archive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_through(struct image_source *s)
{
	cleanup_manifest_bytes struct manifest_bytes m = {0};
	cleanup_manifest struct manifest parsed = {0};
	struct descriptors referrers = {0};
	struct err err = ERR_INIT;

	if (image_get_manifest(s, NULL, &m, &err) < 0)
		return;
	if (manifest_parse(&parsed, m.media_type, buf_slice(&m.bytes), &err) < 0)
		abort();
	for (size_t i = 0; i < parsed.layers.len; i++) {
		err = ERR_INIT;
		if (image_get_blob(s, &parsed.layers.items[i], null_sink(), &err) != err.code)
			abort();
	}
	image_get_referrers(s, &m.digest, NULL, &referrers, &err);
	descriptors_release(&referrers);
}

static void try_tar(const uint8_t *data, size_t size)
{
	cleanup_fd int fd = memfd_create("fuzz", MFD_CLOEXEC);
	struct image_source *s;
	struct err err = ERR_INIT;
	char path[40];

	if (fd < 0 || write_full(fd, data, size) < 0)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (image_docker_archive_source(&s, path, NULL, &err) == 0) {
		read_through(s);
		image_source_free(s);
	} else if (!err.text[0]) {
		abort();
	}
	if (image_archive_source(&s, path, NULL, &err) == 0) {
		read_through(s);
		image_source_free(s);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_docker_images struct docker_images list = {0};
	const struct docker_image *image;
	struct err err = ERR_INIT;

	if (!size || data[0] != '[') {
		try_tar(data, size);
		return 0;
	}
	if (docker_images_parse(&list, slice_make(data, size), &err) < 0)
		return 0;
	docker_images_find(&list, NULL, &image, &err);
	docker_images_find(&list, "@1", &image, &err);
	docker_images_find(&list, "busybox", &image, &err);
	return 0;
}
