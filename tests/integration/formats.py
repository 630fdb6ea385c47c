#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`nacre nar` and `nacre build` against the reference writer and Nix: every path of every fixture, every
vector, every image."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile

SRC = os.path.realpath(os.path.join(os.path.dirname(__file__), "../.."))
sys.path.insert(0, os.path.join(SRC, "tests/reference"))

import frames
import grouping
import image
import nar
import storepath
import tar

NACRE = os.environ.get("NACRE", os.path.join(SRC, "build/release/src/cli/nacre"))
FIXTURES = os.environ.get("NACRE_FIXTURES", os.path.join(SRC, "build/fixtures"))
VECTORS = os.path.join(SRC, "tests/vectors")
NAMES = ["shell", "python3", "git", "odd", "ca", "synthetic-100"]
STORE = "/nix/store"

failed = False


def result(desc, problems):
    """One line for many comparisons; `problems` says which went wrong."""
    global failed
    print("not ok - " + desc if problems else "ok - " + desc)
    for problem in problems[:10]:
        print(f"#   {problem}")
    failed = failed or bool(problems)


def run(*command):
    """(status, stdout, stderr)"""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return done.returncode, done.stdout, done.stderr.decode(errors="replace").strip()


def nacre(*arguments):
    return run(NACRE, *arguments)


def fixture(name):
    """Builds it if needed; returns its root."""
    status, _, error = run(os.path.join(SRC, "tests/fixtures/build"), FIXTURES, name)
    if status != 0:
        raise SystemExit(f"not ok - fixture {name}: {error}")
    with open(os.path.join(FIXTURES, name + ".root"), encoding="utf-8") as file:
        return file.read().strip()


def query(*arguments):
    done = subprocess.run(["nix-store", "--store", FIXTURES, "--query", *arguments], check=True, capture_output=True,
                          env=dict(os.environ, NIX_CONFIG="build-users-group =\n"))
    return done.stdout.decode().split()


def closure(root):
    return sorted(query("--requisites", root))


def same(problems, what, wanted, got):
    status, data, error = got
    if status != 0:
        problems.append(f"{what}: {error}")
    elif data != wanted:
        at = next((i for i, (a, b) in enumerate(zip(wanted, data)) if a != b), min(len(wanted), len(data)))
        problems.append(f"{what}: {len(data)} bytes for {len(wanted)}, the first difference at {at}")


def check_path(path, folder, problems):
    """Dump, restore, tar and back of one store path. Returns (node, file with its NAR)."""
    node = nar.from_tree(FIXTURES + path)
    data = nar.write(node)
    nar_file = os.path.join(folder, os.path.basename(path) + ".nar")
    with open(nar_file, "wb") as file:
        file.write(data)
    same(problems, f"dump {path}", data, nacre("nar", "dump", FIXTURES + path))

    tree = os.path.join(folder, "tree")
    status, _, error = nacre("nar", "restore", "--canonical", "-f", nar_file, tree)
    if status != 0:
        problems.append(f"restore {path}: {error}")
    elif nar.from_tree(tree) != node:
        problems.append(f"restore {path}: another tree")
    subprocess.run(["chmod", "-R", "u+w", tree] if os.path.isdir(tree) and not os.path.islink(tree) else ["true"], check=True)
    subprocess.run(["rm", "-rf", tree], check=True)

    layer = tar.layer(STORE, {path: node})
    same(problems, f"to-tar {path}", layer, nacre("nar", "to-tar", path, nar_file))
    tar_file = os.path.join(folder, "layer.tar")
    with open(tar_file, "wb") as file:
        file.write(layer)
    same(problems, f"from-tar {path}", data, nacre("nar", "from-tar", tar_file))
    return node, nar_file


def check_group(name, nodes, files, folder):
    """All of a closure in one layer."""
    problems, arguments = [], []
    for path in sorted(nodes):
        arguments += [path, files[path]]
    layer = tar.layer(STORE, nodes)
    same(problems, "to-tar", layer, nacre("nar", "to-tar", *arguments))
    tar_file, out = os.path.join(folder, "group.tar"), os.path.join(folder, "group")
    with open(tar_file, "wb") as file:
        file.write(layer)
    os.mkdir(out)
    status, _, error = nacre("nar", "from-tar", "--to", out, tar_file)
    if status != 0:
        problems.append(error)
    for path in nodes:
        with open(files[path], "rb") as wanted:
            written = os.path.join(out, os.path.basename(path) + ".nar")
            got = open(written, "rb").read() if os.path.exists(written) else b""
            same(problems, path, wanted.read(), (0, got, ""))
    result(f"{name}: {len(nodes)} paths in one layer, there and back", problems)


def info_of(path, node):
    data = nar.write(node)
    return grouping.Info(path, hashlib.sha256(data).digest(), len(data), tuple(query("--references", path)))


def check_images(name, root, nodes, zstd):
    """The digest covers every byte of the image: layers, config, annotations."""
    problems = []
    infos = [info_of(path, node) for path, node in nodes.items()]
    for compression, max_layers in (("zstd", 100), ("zstd", 10), ("none", 100), ("none", 0)):
        manifest, _ = image.image(STORE, infos, nodes, [root], "amd64", compression, max_layers, zstd)
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
            status, _, error = nacre("build", "--from", FIXTURES, root, "-o", f"oci:{folder}/image:it", "--compression", compression,
                                     "--max-layers", str(max_layers), "--platform", "linux/amd64")
            if status != 0:
                problems.append(f"{compression}, {max_layers} layers: {error}")
                continue
            with open(f"{folder}/image/index.json", encoding="utf-8") as file:
                digest = json.load(file)["manifests"][0]["digest"]
            if digest != image.digest(manifest):
                problems.append(f"{compression}, {max_layers} layers: {digest} for {image.digest(manifest)}")
    result(f"{name}: the images have the digests of the reference", problems)


def check_fixture(name, zstd):
    problems, nodes, files = [], {}, {}
    root = fixture(name)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        for path in closure(root):
            nodes[path], files[path] = check_path(path, folder, problems)
        result(f"{name}: dump, restore, to-tar and from-tar of {len(nodes)} paths agree with the reference", problems)
        check_group(name, nodes, files, folder)
    check_images(name, root, nodes, zstd)


def check_whiteout():
    fixture("odd")
    with open(os.path.join(FIXTURES, "odd-whiteout.root"), encoding="utf-8") as file:
        path = file.read().strip()
    problems = []
    with tempfile.NamedTemporaryFile() as file:
        file.write(nar.write(nar.from_tree(FIXTURES + path)))
        file.flush()
        status, _, error = nacre("nar", "to-tar", path, file.name)
        if status != 1 or ".wh." not in error:
            problems.append(f"status {status}: {error}")
    result("a path with a name like a whiteout is refused as a layer, by that name", problems)


# ---- vectors ---------------------------------------------------------------------------------------


def vectors(name):
    with open(os.path.join(VECTORS, name), encoding="utf-8") as file:
        return json.load(file)


def refused(problems, row, arguments):
    status, out, error = nacre("nar", *arguments)
    if status == 0:
        problems.append(f"{row['name']}: taken")
    elif status != 1 or not error or "Sanitizer" in error:
        problems.append(f"{row['name']}: status {status}, {error}")
    return out


def check_vectors():
    rows = vectors("nar.json")
    problems = []
    for row in rows["good"]:
        same(problems, row["name"], (row["narHash"] + "\n").encode(), nacre("nar", "hash", "--nar", os.path.join(VECTORS, row["file"])))
    result(f"the {len(rows['good'])} good NARs have their hashes", problems)
    problems = []
    for row in rows["bad"]:
        with tempfile.TemporaryDirectory() as folder:
            target = os.path.join(folder, "target")
            refused(problems, row, ["restore", "-f", os.path.join(VECTORS, row["file"]), target])
            if os.path.lexists(target):
                problems.append(f"{row['name']}: left something")
    result(f"the {len(rows['bad'])} bad NARs are refused and leave nothing", problems)

    rows = vectors("tar.json")
    problems = []
    for row in rows["good"]:
        for path in row["paths"]:
            status, data, error = nacre("nar", "from-tar", os.path.join(VECTORS, row["file"]), path["path"])
            got = "sha256:" + storepath.nix32(hashlib.sha256(data).digest())
            if status != 0 or got != path["narHash"]:
                problems.append(f"{row['name']} {path['path']}: {error or got}")
    result(f"the {len(rows['good'])} good layers hold their NARs", problems)
    problems = []
    for row in rows["bad"]:
        with tempfile.TemporaryDirectory() as folder:
            refused(problems, row, ["from-tar", "--to", folder, os.path.join(VECTORS, row["file"])])
            if os.listdir(folder):
                problems.append(f"{row['name']}: left {os.listdir(folder)}")
    result(f"the {len(rows['bad'])} bad layers are refused and leave nothing", problems)


def main():
    check_vectors()
    check_whiteout()
    zstd = frames.Zstd()
    for name in NAMES:
        check_fixture(name, zstd)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
