# SPDX-License-Identifier: Apache-2.0
"""Manifests: docs/spec.md, sections 4 (image, referrer) and 5 (package artifact)."""

import hashlib
import json

import frames
import grouping
import nar
import storepath
import tar

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
EMPTY = "application/vnd.oci.empty.v1+json"
PACKAGE = "application/vnd.nix.package.v1"
PACKAGE_CONFIG = "application/vnd.nix.package.config.v1+json"
PATH_INFOS = "application/vnd.nix.path-infos.v1"
NARINFO = "text/x-nix-narinfo"
PATH_KEY = "containerd.io/snapshot/nacre.path."
REFERENCES_KEY = "dev.nacre.references."
MAX_MANIFEST = 4 * 1024 * 1024
CREATED = "1970-01-01T00:00:01Z"


def canonical(value):
    """RFC 8785, for values without fractions: sorted by UTF-16, no spaces, nothing escaped in vain."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
        return b"{" + b",".join(canonical(key) + b":" + canonical(value[key]) for key in keys) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(map(canonical, value)) + b"]"
    return json.dumps(value, ensure_ascii=False).encode()


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Blobs(dict):
    """digest -> bytes."""

    def put(self, media_type, data):
        self[digest(data)] = data
        return {"mediaType": media_type, "digest": digest(data), "size": len(data)}


# ---- layers --------------------------------------------------------------------------------------


def nix_sha256(raw):
    return "sha256:" + storepath.nix32(raw)


def base_names(paths):
    return sorted(map(storepath.base_name, paths))


def annotations(infos, with_references):
    found = {}
    for i, info in enumerate(sorted(infos, key=lambda info: info.path)):
        found[f"{PATH_KEY}{i}"] = f"{info.path} {nix_sha256(info.nar_hash)} {info.nar_size}"
        if with_references:
            found[f"{REFERENCES_KEY}{i}"] = " ".join(base_names(info.references))
    return found


def encode(runs, compression, zstd):
    """(media type, bytes) of a layer."""
    if compression == "zstd":
        return LAYER + "+zstd", frames.compress(runs, zstd)
    return LAYER, tar.join(runs)


# ---- the root layer ------------------------------------------------------------------------------

ETC = {
    b"group": b"root:x:0:\nnobody:x:65534:\n",
    b"nsswitch.conf": b"hosts: files dns\n",
    b"passwd": b"root:x:0:0:root:/root:/bin/sh\n"
               b"nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
}
OWN_MODES = {b"root": 0o700, b"tmp": 0o1777, b"var/tmp": 0o1777}


def programs(node):
    """Names in bin/ of a store path that can be started."""
    if not isinstance(node, nar.Directory):
        return []
    folder = node.entries.get(b"bin")
    if not isinstance(folder, nar.Directory):
        return []
    return [name for name, child in folder.sorted()
            if isinstance(child, nar.Symlink) or isinstance(child, nar.File) and child.executable]


def root_tree(roots):
    """roots: [(store path, node)]; the first with a program of a name wins."""
    links = {}
    for path, node in roots:
        for name in programs(node):
            links.setdefault(name, nar.Symlink(path.encode() + b"/bin/" + name))
    top = {name: nar.Directory() for name in (b"dev", b"proc", b"root", b"run", b"sys", b"tmp")}
    top[b"bin"] = nar.Directory(links)
    top[b"etc"] = nar.Directory({name: nar.File(data) for name, data in ETC.items()})
    top[b"var"] = nar.Directory({b"tmp": nar.Directory()})
    return nar.Directory(top)


def root_runs(roots):
    entries = []
    for path, node in nar.walk(root_tree(roots)):
        if path:
            entries += tar.entry(path, node, (OWN_MODES.get(path, 0o755), 0o644, 0o755))
    return [entries, [(False, tar.TRAILER)]]


def main_program(path, node):
    names = programs(node)
    if len(names) == 1:
        return names[0].decode()
    wanted = grouping.pname(storepath.parse(path)[1])
    return wanted if wanted.encode() in names else None


# ---- image ---------------------------------------------------------------------------------------


def image(store_dir, infos, nodes, roots, architecture, compression="zstd", max_layers=100, zstd=None):
    """An image as made on demand. Returns (manifest bytes, blobs)."""
    zstd, blobs = zstd or frames.Zstd(), Blobs()
    by_path = {info.path: info for info in infos}
    layers, diff_ids = [], []
    groups = grouping.group(infos, max_layers, True)
    made = [tar.layer_runs(store_dir, {path: nodes[path] for path in group}) for group in groups]
    for runs in [*made, root_runs([(path, nodes[path]) for path in roots])]:
        layers.append(blobs.put(*encode(runs, compression, zstd)))
        diff_ids.append(digest(tar.join(runs)))

    config = blobs.put(CONFIG, canonical(image_config(roots[0], nodes[roots[0]], architecture, diff_ids)))
    for with_references in (True, False):
        for layer, group in zip(layers, groups):
            layer["annotations"] = annotations([by_path[path] for path in group], with_references)
        manifest = canonical({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers})
        if len(manifest) <= MAX_MANIFEST:
            break
    return manifest, blobs


def image_config(root, node, architecture, diff_ids):
    program = main_program(root, node)
    config = {"Env": ["PATH=/bin"]}
    if program:
        config["Cmd"] = ["/bin/" + program]
    return {
        "architecture": architecture,
        "os": "linux",
        "created": CREATED,
        "config": config,
        "history": [{"created": CREATED, "created_by": "nacre"} for _ in diff_ids],
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }


# ---- package artifact and referrer -----------------------------------------------------------------


def package(store_dir, info, node, compression="zstd", zstd=None):
    """The artifact of one store path. Returns (manifest bytes, blobs)."""
    blobs = Blobs()
    runs = tar.layer_runs(store_dir, {info.path: node})
    layer = blobs.put(*encode(runs, compression, zstd or frames.Zstd()))
    layer["annotations"] = annotations([info], True)
    config = blobs.put(PACKAGE_CONFIG, canonical({
        "storeDir": store_dir,
        "path": info.path,
        "narHash": nix_sha256(info.nar_hash),
        "narSize": info.nar_size,
        "references": base_names(info.references),
    }))
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": PACKAGE,
                "config": config, "layers": [layer]}
    return canonical(manifest), blobs


def narinfo(info, deriver=None, signatures=(), ca=None):
    lines = [
        f"StorePath: {info.path}",
        f"URL: nar/{storepath.nix32(info.nar_hash)}.nar",
        "Compression: none",
        f"NarHash: {nix_sha256(info.nar_hash)}",
        f"NarSize: {info.nar_size}",
        "References: " + " ".join(base_names(info.references)),
    ]
    if deriver:
        lines.append("Deriver: " + storepath.base_name(deriver))
    lines += [f"Sig: {signature}" for signature in sorted(signatures)]
    if ca:
        lines.append("CA: " + ca)
    return "".join(line + "\n" for line in lines)


def path_infos(subject, narinfos):
    """The referrer of an image: narinfos is {store path: text}. Returns (manifest bytes, blobs)."""
    blobs = Blobs()
    text = "".join(narinfos[path] for path in sorted(narinfos))
    layer = blobs.put(NARINFO, text.encode())
    manifest = {
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": PATH_INFOS,
        "config": blobs.put(EMPTY, b"{}"),
        "layers": [layer],
        "subject": {key: subject[key] for key in ("mediaType", "digest", "size")},
    }
    return canonical(manifest), blobs
