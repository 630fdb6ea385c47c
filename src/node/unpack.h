/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unpacks an ordinary OCI layer (a tar that others wrote, in whatever compression libarchive knows)
 * into a directory of its own, in the form that overlayfs wants of a lower directory: whiteouts
 * become character devices 0/0, opaque directories carry trusted.overlay.opaque.
 *
 * The layer is hostile: names are resolved by openat2 with the directory as the root, so neither
 * "..", absolute names nor symlinks lead outside; hard links are made within the directory only.
 * (SPEC oci-image layer.md: "Applying Changesets", "Whiteouts", "Opaque Whiteout".)
 */
#ifndef NACRE_NODE_UNPACK_H
#define NACRE_NODE_UNPACK_H

#include <nacre/hash.h>

/* Reads the layer from `blob_fd` (from its current position to its end) and unpacks it into
 * `dirfd`, which is empty. `ret_diff_id` is the sha256 of the uncompressed bytes, trailing ones
 * included; the caller compares it. On failure what was unpacked stays for the caller to remove.
 * E_INVALID with the entry's name. Blocks. */
int layer_unpack(int blob_fd, int dirfd, struct hash *ret_diff_id, struct err *err);

#endif
