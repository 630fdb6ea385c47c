/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies images from a source to a destination: bytes and digests as they are, blobs before the
 * manifests that name them, members before their index, and with an image what refers to it
 * (signatures, path infos; SPEC nacre 4). What the destination has is not sent again.
 */
#ifndef NACRE_NET_TRANSFER_H
#define NACRE_NET_TRANSFER_H

#include <nacre/transport.h>

enum {
	TRANSFER_DEPTH_MAX = 8,          /* index in index, referrer of referrer */
	TRANSFER_MANIFESTS_MAX = 100000, /* of one copy */
};

/* Told of every step; any may be NULL. */
struct transfer_observer {
	void (*blob)(struct transfer_observer *self, const struct descriptor *blob, bool present);
	void (*bytes)(struct transfer_observer *self, uint64_t n);
};

/* All-zero: everything. */
struct transfer_options {
	const struct platform *platform; /* NULL: all of an index */
	bool without_referrers;
	struct transfer_observer *observer; /* borrowed; may be NULL */
};

struct transfer_result {
	struct hash digest; /* of the manifest that the tag names now; as it was at the source */
	uint64_t blobs_sent, blobs_present, bytes_sent;
	size_t manifests, referrers;
};

/* Copies what `from` was opened for, to `tag` (may be NULL). Does not finish the destination. Where
 * an index meets a destination that takes images alone, the member for options->platform or this
 * machine is copied. E_NOTFOUND: no member for the platform. */
int transfer_image(struct image_source *from, struct image_dest *to, const char *tag,
		   const struct transfer_options *options, struct transfer_result *ret,
		   struct err *err);

/* The manifest that `from` was opened for, or if that is an index its member for `platform`,
 * down to an image. E_NOTFOUND: there is none; the platforms that there are are named. */
int transfer_resolve(struct image_source *from, const struct platform *platform,
		     struct manifest_bytes *ret, struct manifest *ret_parsed, struct err *err);

#endif
