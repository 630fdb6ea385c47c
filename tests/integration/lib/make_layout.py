#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Image layouts and archives that no tool at hand writes: an index over platforms with referrers, what
dockerTools writes, and damaged ones."""

import gzip
import hashlib
import io
import json
import os
import sys
import tarfile

OCI = "application/vnd.oci.image."


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def dump(value):
    return json.dumps(value, sort_keys=True).encode()


def small_tar(text):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        entry = tarfile.TarInfo("file")
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text))
    return raw.getvalue()


class Layout:
    def __init__(self, folder):
        self.folder = folder
        self.manifests = []
        os.makedirs(folder + "/blobs/sha256", exist_ok=True)

    def put(self, media_type, data, **more):
        with open(f"{self.folder}/blobs/sha256/{digest(data)[7:]}", "wb") as file:
            file.write(data)
        return {"mediaType": media_type, "digest": digest(data), "size": len(data), **more}

    def image(self, arch, text):
        tar = small_tar(text)
        config = {"architecture": arch, "os": "linux", "config": {},
                  "rootfs": {"type": "layers", "diff_ids": [digest(tar)]}}
        manifest = {
            "schemaVersion": 2, "mediaType": OCI + "manifest.v1+json",
            "config": self.put(OCI + "config.v1+json", dump(config)),
            "layers": [self.put(OCI + "layer.v1.tar+gzip", gzip.compress(tar, mtime=0))],
        }
        return self.put(manifest["mediaType"], dump(manifest))

    def referrer(self, subject, kind, text):
        manifest = {
            "schemaVersion": 2, "mediaType": OCI + "manifest.v1+json", "artifactType": kind,
            "config": self.put("application/vnd.oci.empty.v1+json", b"{}"),
            "layers": [self.put("text/plain", text)], "subject": subject,
        }
        return self.put(manifest["mediaType"], dump(manifest), artifactType=kind)

    def index(self, members):
        value = {"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": members}
        return self.put(value["mediaType"], dump(value))

    def name(self, descriptor, tag=None):
        if tag:
            descriptor = {**descriptor, "annotations": {"org.opencontainers.image.ref.name": tag}}
        self.manifests.append(descriptor)

    def finish(self):
        with open(self.folder + "/index.json", "w", encoding="utf-8") as file:
            json.dump({"schemaVersion": 2, "manifests": self.manifests}, file)
        with open(self.folder + "/oci-layout", "w", encoding="utf-8") as file:
            json.dump({"imageLayoutVersion": "1.0.0"}, file)


def platforms(folder):
    """An index in an index over two platforms; the index and one image have referrers, one of which
    has one itself."""
    layout = Layout(folder)
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    here = layout.image(arch, b"here")
    there = layout.image("riscv64", b"there")
    inner = layout.index([{**here, "platform": {"architecture": arch, "os": "linux"}}])
    outer = layout.index([
        {**inner, "platform": {"architecture": arch, "os": "linux"}},
        {**there, "platform": {"architecture": "riscv64", "os": "linux"}},
    ])
    layout.name(outer, "all")
    signature = layout.referrer(here, "application/vnd.example.signature", b"signed")
    layout.name(signature)
    layout.name(layout.referrer(signature, "application/vnd.example.witness", b"seen"))
    layout.name(layout.referrer(outer, "application/vnd.nix.path-infos.v1", b"infos"))
    layout.finish()


def docker_tools(path):
    """As nixpkgs' dockerTools.buildLayeredImage: layers in folders, gzip around it all."""
    tars = [small_tar(b"one"), small_tar(b"two")]
    config = dump({"architecture": "amd64", "os": "linux", "created": "1970-01-01T00:00:01Z",
                   "config": {"Cmd": ["/bin/sh"]}, "history": [],
                   "rootfs": {"type": "layers", "diff_ids": [digest(t) for t in tars]}})
    names = [digest(t)[7:] + "/layer.tar" for t in tars]
    manifest = dump([{"Config": digest(config)[7:] + ".json", "RepoTags": ["tools:latest"], "Layers": names}])
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, data in [*zip(names, tars), (digest(config)[7:] + ".json", config), ("manifest.json", manifest)]:
            entry = tarfile.TarInfo("./" + name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    with open(path, "wb") as file:
        file.write(gzip.compress(raw.getvalue(), mtime=0))


if __name__ == "__main__":
    {"platforms": platforms, "docker-tools": docker_tools}[sys.argv[1]](sys.argv[2])
