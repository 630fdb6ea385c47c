#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An ordinary small image out of programs of this machine: an OCI layout or a runtime bundle.

It is what nacre has to store and serve without knowing it, and what shows that podman, containerd
and the runtime work on a machine before anything of nacre is blamed.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import tarfile

PROGRAMS = ["sh", "cat", "ls", "echo", "env", "sleep"]


def program_files():
    """Paths in the image and the files of this machine behind them, with every shared library."""
    files = {}
    for name in PROGRAMS:
        path = next(p for p in ("/bin/" + name, "/usr/bin/" + name) if os.path.exists(p))
        files["bin/" + name] = os.path.realpath(path)
        listing = subprocess.run(["ldd", path], check=True, capture_output=True, text=True).stdout
        for library in re.findall(r"(/\S+) \(0x", listing):
            files[library.lstrip("/")] = os.path.realpath(library)
    return files


def layer_tar():
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        folders = ["dev", "proc", "sys", "tmp", "run", "etc"]
        files = program_files()
        for path in files:
            parts = path.split("/")[:-1]
            folders += ["/".join(parts[: i + 1]) for i in range(len(parts))]
        for folder in sorted(set(folders)):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for path, source in sorted(files.items()):
            with open(source, "rb") as file:
                data = file.read()
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(data), 0o755
            tar.addfile(entry, io.BytesIO(data))
    return raw.getvalue()


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def write_layout(folder, tag, command):
    blobs = os.path.join(folder, "blobs/sha256")
    os.makedirs(blobs, exist_ok=True)

    def put(media_type, data):
        with open(os.path.join(blobs, digest(data)[7:]), "wb") as file:
            file.write(data)
        return {"mediaType": media_type, "digest": digest(data), "size": len(data)}

    def put_json(media_type, value):
        return put(media_type, json.dumps(value, sort_keys=True).encode())

    raw = layer_tar()
    layer = put("application/vnd.oci.image.layer.v1.tar+gzip", gzip.compress(raw, mtime=0))
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    config = put_json("application/vnd.oci.image.config.v1+json", {
        "architecture": arch, "os": "linux",
        "config": {"Cmd": command, "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [digest(raw)]},
    })
    manifest = put_json("application/vnd.oci.image.manifest.v1+json", {
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config, "layers": [layer],
    })
    manifest["annotations"] = {"org.opencontainers.image.ref.name": tag}
    with open(os.path.join(folder, "index.json"), "w", encoding="utf-8") as file:
        json.dump({"schemaVersion": 2, "manifests": [manifest]}, file)
    with open(os.path.join(folder, "oci-layout"), "w", encoding="utf-8") as file:
        json.dump({"imageLayoutVersion": "1.0.0"}, file)


def write_bundle(folder, command):
    rootfs = os.path.join(folder, "rootfs")
    os.makedirs(rootfs, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(layer_tar())) as tar:
        # Our own tar needs no filter; newer versions of Python warn where none is named.
        tar.extraction_filter = lambda member, _: member
        tar.extractall(rootfs)
    mounts = [("/proc", "proc", []), ("/dev", "tmpfs", ["nosuid", "mode=755"])]
    spec = {
        "ociVersion": "1.0.2",
        "process": {"cwd": "/", "args": command, "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}},
        "root": {"path": "rootfs"},
        "mounts": [{"destination": d, "type": t, "source": t, "options": o} for d, t, o in mounts],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")]},
    }
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump(spec, file)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layout", metavar="DIR")
    parser.add_argument("--bundle", metavar="DIR")
    parser.add_argument("--tag", default="hello")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    if options.layout:
        write_layout(options.layout, options.tag, options.command)
    if options.bundle:
        write_bundle(options.bundle, options.command)


if __name__ == "__main__":
    main()
