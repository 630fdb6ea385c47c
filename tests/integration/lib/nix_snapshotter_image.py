#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An image as nix-snapshotter's tools make it: places for store paths, and annotations.

    nix_snapshotter_image.py LAYOUT TAG FORM STORE LINK=TARGET PATH…

One layer: an empty directory, or for a path that is a file an empty file, per store path, and one
symlink. FORM is "paths" (up to its version 0.2: nix-layer and nix-store-path.N), "closure" (0.3:
nix-closure) or "none" (the same layer without annotations). STORE is where the paths are on disk.
"""

import gzip
import hashlib
import io
import json
import os
import sys
import tarfile

PREFIX = "containerd.io/snapshot/nix-"


def layer_tar(store, link, target, paths):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:

        def add(name, kind, mode, linkname=""):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode, entry.linkname = kind, mode, linkname
            tar.addfile(entry)

        for folder in ["dev", "etc", "nix", "nix/store", "proc", "sys", "tmp", os.path.dirname(link)]:
            add(folder, tarfile.DIRTYPE, 0o755)
        for path in paths:
            if os.path.isfile(store + path):
                add(path[1:], tarfile.REGTYPE, 0o555)
            else:
                add(path[1:], tarfile.DIRTYPE, 0o755)
        add(link, tarfile.SYMTYPE, 0o777, target)
    return raw.getvalue()


def annotations(form, paths):
    if form == "paths":
        return {PREFIX + "layer": "true", **{f"{PREFIX}store-path.{i}": p for i, p in enumerate(paths)}}
    return {PREFIX + "closure": paths[0]} if form == "closure" else {}


def main():
    layout, tag, form, store, link = sys.argv[1:6]
    paths = sys.argv[6:]
    link, target = link.split("=", 1)
    blobs = os.path.join(layout, "blobs/sha256")
    os.makedirs(blobs, exist_ok=True)

    def put(media_type, data):
        digest = hashlib.sha256(data).hexdigest()
        with open(os.path.join(blobs, digest), "wb") as file:
            file.write(data)
        return {"mediaType": "application/vnd.oci.image." + media_type, "digest": "sha256:" + digest, "size": len(data)}

    raw = layer_tar(store, link, target, paths)
    layer = put("layer.v1.tar+gzip", gzip.compress(raw, mtime=0))
    layer["annotations"] = annotations(form, paths)
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    config = {
        "architecture": arch,
        "os": "linux",
        "config": {"Cmd": ["/" + link], "Labels": {"tag": tag}},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(raw).hexdigest()]},
    }
    config = put("config.v1+json", json.dumps(config).encode())
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": [layer]}
    manifest = put("manifest.v1+json", json.dumps(manifest).encode())
    manifest["annotations"] = {"org.opencontainers.image.ref.name": tag}
    with open(os.path.join(layout, "index.json"), "w", encoding="utf-8") as file:
        json.dump({"schemaVersion": 2, "manifests": [manifest]}, file)
    with open(os.path.join(layout, "oci-layout"), "w", encoding="utf-8") as file:
        json.dump({"imageLayoutVersion": "1.0.0"}, file)


if __name__ == "__main__":
    main()
