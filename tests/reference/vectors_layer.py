# SPDX-License-Identifier: Apache-2.0
"""Frames, grouping, images and artifacts. SPEC nacre 3, 4, 5."""

import base64
import hashlib
import json

import frames
import grouping
import image
import nar
import storepath
import tar
from grouping import Info

STORE = "/nix/store"
KIB, MIB = 1024, 1024 * 1024


# ---- trees that JSON can describe ------------------------------------------------------------------


def content(size, seed):
    """Byte i is (131 i + 31 (i >> 8) + 7 (i >> 16) + seed) mod 256: easily made in any language."""
    block = bytearray(size)
    for row in range(0, size, 256):
        base = 131 * row + 31 * (row >> 8) + 7 * (row >> 16) + seed
        block[row : row + 256] = bytes((base + 131 * i) & 255 for i in range(min(256, size - row)))
    return bytes(block)


def node_of(tree):
    if tree["type"] == "regular":
        return nar.File(content(tree["size"], tree["seed"]), tree.get("executable", False))
    if tree["type"] == "symlink":
        return nar.Symlink(tree["target"].encode())
    return nar.Directory({name.encode(): node_of(child) for name, child in tree["entries"].items()})


def regular(size, seed=0, executable=False):
    return {"type": "regular", "size": size, "seed": seed, **({"executable": True} if executable else {})}


def folder(**entries):
    return {"type": "directory", "entries": entries}


def symlink(target):
    return {"type": "symlink", "target": target}


# ---- frames ----------------------------------------------------------------------------------------


def path_of(name):
    return storepath.text(name, name.encode())


def frame_cases():
    sizes = {f"f{size:08d}": regular(size, size % 251) for size in
             (0, 1, 512, 16 * KIB - 1, 16 * KIB, 16 * KIB + 1, MIB - 1, MIB, MIB + 1, 2 * MIB, 2 * MIB + 5)}
    small = {f"s{i:03d}": regular(12000, i % 7) for i in range(200)}
    return {
        "empty-file": {"one": regular(0)},
        "small-file": {"one": regular(100)},
        "bulk-file": {"one": regular(16 * KIB)},
        "large-file": {"one": regular(3 * MIB + 1, 3, True)},
        "symlink": {"one": symlink("target")},
        "empty-directory": {"one": folder()},
        "bulk-then-bulk": {"one": folder(a=regular(20000), b=regular(20000, 1))},
        "every-size": {"one": folder(**sizes)},
        # More than 1 MiB of glue: cut at 1 MiB, the rest last.
        "much-glue": {"one": folder(**small)},
        "glue-around-bulk": {"one": folder(a=folder(**small), b=regular(40000), c=folder(**small))},
        # Runs end with each path, though both sides of the border are glue.
        "two-paths": {"one": folder(a=regular(5)), "two": folder(a=regular(5))},
        "three-paths": {"one": regular(MIB), "two": folder(x=regular(20000, 9)), "three": symlink("two")},
    }


def lengths(plan):
    return [[len(data), "bulk" if bulk else "glue"] for bulk, data in plan]


def nodes_of(trees):
    return {path_of(label): node_of(tree) for label, tree in trees.items()}


def frame_row(name, trees, out):
    runs = tar.layer_runs(STORE, nodes_of(trees))
    whole = tar.join(runs)
    rows = []
    for label, tree in sorted(trees.items(), key=lambda item: path_of(item[0])):
        data, plan = nar.write(node_of(tree)), frames.plan(frames.nar_runs(node_of(tree)))
        rows.append({"path": path_of(label), "tree": tree, "narHash": out.nix_sha256(data), "narSize": len(data),
                     "frames": lengths(plan)})
    return {"name": name, "paths": rows, "diffID": out.digest(whole), "size": len(whole),
            "frames": lengths(frames.plan(runs))}


def generate_frames(out):
    rows = [frame_row(name, trees, out) for name, trees in frame_cases().items()]
    for row in rows:
        assert sum(length for length, _ in row["frames"]) == row["size"]
    out.json("frames.json", {"content": content.__doc__, "storeDir": STORE, "cases": rows})


def encoded_row(name, trees, zstd, out):
    """What the frames of a case are when compressed, by path; the layer has the key 'layer'."""
    nodes = nodes_of(trees)
    found = {path: frames.nar_zstd(node, zstd) for path, node in nodes.items()}
    found["layer"] = frames.layer_zstd(STORE, nodes, zstd)
    return {"name": name, **{key: {"size": len(d), "digest": out.digest(d)} for key, d in found.items()}}


# ---- grouping --------------------------------------------------------------------------------------

PNAMES = [
    "bash-5.2.15", "glibc-2.36-lib", "glibc-2.36-dev", "glibc-2.36", "foo-lib", "perl-5.36.0-dev-doc", "foo-1.0-rc1",
    "foo-1.0-dev-2", "foo", "foo-1-", "x-1.0-Lib", "gcc-12-base-12.2.0", "unstable-2023-01-01", "a-b-c-1d-e",
    "nix-2.8.0-man", "foo-1.0--lib", "1-2", "python3.11-numpy-1.24.2-dist",
]


def number(seed, below):
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big") % below


def made_up(count):
    """A closure: the root first, sizes over several powers of ten, some equal."""
    suffixes = ["", "", "-lib", "-dev", "-bin"]
    names = [f"p{i - i % 4 // 3}-{number(f'v{i}', 9)}.{i}{suffixes[number(f's{i}', 5)]}" for i in range(count)]
    paths = [storepath.text(name, b"") for name in names]
    infos = []
    for i in range(count):
        size = 120 * (1 + number(f"size {i}", 10 ** (1 + number(f"power {i}", 5))))
        references = {paths[j] for j in (2 * i + 1, 2 * i + 2) if j < count}
        if i + 1 < count:
            references.add(paths[i + 1 + number(f"edge {i}", count - i - 1)])
        if i % 3 == 0:
            references.add(paths[i])
        infos.append(Info(paths[i], hashlib.sha256(b"").digest(), size, tuple(sorted(references))))
    return infos


def equal_sizes(count, size):
    return [Info(path_of(f"same-{i}"), hashlib.sha256(b"").digest(), size, ()) for i in range(count)]


def grouping_cases():
    small, large = made_up(12), made_up(150)
    threshold = [Info(path_of(f"edge{i}-1"), bytes(32), 256 * KIB + i - 2, ()) for i in range(5)]
    cases = [("fits-exactly", small, 12, False), ("one-too-many", small, 11, False), ("fits-with-root", small, 13, True),
             ("one-too-many-with-root", small, 12, True), ("smallest", small, 1, False),
             ("smallest-with-root", small, 2, True), ("three", small, 3, False), ("native", large, 0, True),
             ("default", large, 100, True), ("forty", large, 40, False), ("all-small", equal_sizes(40, 1000), 20, True),
             ("all-equal-large", equal_sizes(40, 10**6), 20, True), ("threshold", threshold, 4, False)]
    return cases


def refuses(infos, max_layers):
    try:
        grouping.group(infos, max_layers, True)
    except ValueError:
        return True
    return False


def generate_grouping(out):
    rows = []
    for name, infos, max_layers, root in grouping_cases():
        infos = sorted(infos, key=lambda info: info.path)
        index = {info.path: i for i, info in enumerate(infos)}
        groups = grouping.group(infos, max_layers, root)
        assert sorted(path for group in groups for path in group) == [info.path for info in infos]
        rows.append({
            "name": name, "maxLayers": max_layers, "rootLayer": root,
            "paths": [{"path": i.path, "narSize": i.nar_size, "references": [index[r] for r in i.references]}
                      for i in infos],
            "layers": [[index[path] for path in group] for group in groups],
        })
    bad = []
    for name, references, max_layers in (("no-room", [[]], 1), ("circle-of-two", [[1], [0]], 100),
                                         ("circle-of-three", [[1], [2], [0], [0]], 100)):
        paths = sorted(path_of(f"bad-{i}") for i in range(len(references)))
        infos = [Info(path, bytes(32), 1000, tuple(paths[j] for j in row)) for path, row in zip(paths, references)]
        assert refuses(infos, max_layers)
        bad.append({"name": name, "maxLayers": max_layers, "rootLayer": True,
                    "paths": [{"path": p, "narSize": 1000, "references": row} for p, row in zip(paths, references)]})
    out.json("grouping.json", {
        "pnames": [{"name": name, "pname": grouping.pname(name)} for name in PNAMES],
        "bins": [{"name": n, "bins": b, "bin": grouping.bin_of(path_of(n), b)} for n in PNAMES[:6] for b in (1, 5, 16)],
        "cases": rows,
        "bad": bad,
    })


# ---- images and artifacts ----------------------------------------------------------------------------


def example():
    """A closure of four paths: (infos, nodes, root)."""
    trees = {
        "libc-2.36": folder(lib=folder(**{"libc.so.6": regular(40000, 1, True)})),
        "data-1.0": regular(100, 2),
        "tool-1.2-bin": folder(bin=folder(tool=regular(17000, 3, True), helper=symlink("tool"), README=regular(5))),
    }
    nodes = {path_of(name): node_of(tree) for name, tree in trees.items()}
    libc, data, tool = (path_of(name) for name in trees)
    described = {libc: (libc,), data: (), tool: (libc, data)}
    main = path_of("main-3.0")
    nodes[main] = node_of(folder(bin=folder(main=regular(300, 4, True), tool=symlink(tool + "/bin/tool"))))
    described[main] = (tool, libc)
    trees["main-3.0"] = folder(bin=folder(main=regular(300, 4, True), tool=symlink(tool + "/bin/tool")))
    infos = []
    for path, references in described.items():
        digest, size = hashlib.sha256(nar.write(nodes[path])).digest(), len(nar.write(nodes[path]))
        infos.append(Info(path, digest, size, tuple(sorted(references))))
    return sorted(infos, key=lambda info: info.path), nodes, main, {path_of(n): t for n, t in trees.items()}


def blob_rows(blobs, texts):
    rows = []
    for digest, data in sorted(blobs.items()):
        row = {"digest": digest, "size": len(data)}
        if digest in texts:
            row["text"] = data.decode()
        rows.append(row)
    return rows


def artifact_row(manifest, blobs):
    parsed = json.loads(manifest)
    texts = {parsed["config"]["digest"]} | {layer["digest"] for layer in parsed["layers"]
                                            if layer["mediaType"] == image.NARINFO}
    return {"digest": image.digest(manifest), "manifest": manifest.decode(), "blobs": blob_rows(blobs, texts)}


def image_rows(compression, zstd):
    infos, nodes, root, _ = example()
    return [{"compression": compression, "maxLayers": max_layers,
             **artifact_row(*image.image(STORE, infos, nodes, [root], "amd64", compression, max_layers, zstd))}
            for max_layers in (100, 3)]


def generate_images(out, zstd):
    infos, nodes, root, trees = example()
    images = image_rows("none", zstd)
    packages = [artifact_row(*image.package(STORE, info, nodes[info.path], "none", zstd)) for info in infos]
    deriver = storepath.text("main-3.0.drv", b"")
    signatures = [f"key-{i}:{base64.b64encode(bytes([i]) * 64).decode()}" for i in (2, 1)]
    narinfos = {info.path: image.narinfo(info, deriver if info.path == root else None, signatures)
                for info in infos}
    subject = {"mediaType": image.MANIFEST, "digest": images[0]["digest"], "size": len(images[0]["manifest"])}
    out.file("image/root-layer.tar", tar.join(image.root_runs([(root, nodes[root])])))
    out.json("image.json", {
        "storeDir": STORE,
        "content": content.__doc__,
        "architecture": "amd64",
        "root": root,
        "rootLayer": "image/root-layer.tar",
        "paths": [{"path": i.path, "tree": trees[i.path], "narHash": image.nix_sha256(i.nar_hash),
                   "narSize": i.nar_size, "references": list(i.references)} for i in infos],
        "images": images,
        "packages": packages,
        "pathInfos": artifact_row(*image.path_infos(subject, narinfos)),
    })


def generate_encoded(out, zstd):
    """What depends on the encoder: a file a version."""
    out.json(f"encoded-{zstd.version()}.json", {
        "encoder": f"libzstd {zstd.version()} level 3",
        "frames": [encoded_row(name, trees, zstd, out) for name, trees in frame_cases().items()],
        "images": image_rows("zstd", zstd),
    })


def generate(out):
    zstd = frames.Zstd()
    generate_frames(out)
    generate_grouping(out)
    generate_images(out, zstd)
    generate_encoded(out, zstd)
