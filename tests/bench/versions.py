# SPDX-License-Identifier: Apache-2.0
"""More versions of a program: a path of its closure with some files changed, and those that refer to it, as a rebuild would
give them, in a store of their own."""

import hashlib
import json
import os
import shutil

import measure as m

DIGITS = b"0123456789abcdfghijklmnpqrsvwxyz"
KEPT = 64  # bytes of a file's head, by which programs are told apart


def hash_part(path):
    return os.path.basename(path)[:32]


def rename(text, names):
    for old, new in names.items():
        text = text.replace(old, new)
    return text


def changed(data, number):
    return data[:KEPT] + b"# version %d\n" % number + data[KEPT:]


def rewrite(folder, names, number):
    """The same tree, with the new names of the paths; with a number, each tenth file has something more in it."""
    for place, folders, files in os.walk(folder):
        os.chmod(place, 0o755)
        for name in files + folders:
            path = os.path.join(place, name)
            if os.path.islink(path):
                target = os.readlink(path)
                os.unlink(path)
                os.symlink(rename(target, names), path)
            elif os.path.isfile(path):
                os.chmod(path, os.stat(path).st_mode | 0o200)
                with open(path, "rb") as f:
                    data = f.read()
                fresh = rename(data, {old.encode(): new.encode() for old, new in names.items()})
                if number and hashlib.sha256(b"%d %s" % (number, os.path.relpath(path, folder).encode())).digest()[0] < 26:
                    fresh = changed(fresh, number)
                if fresh != data:
                    with open(path, "wb") as f:
                        f.write(fresh)


def query(store, what, path):
    return m.output("nix-store", "--store", store, "--query", what, path, env=m.NIX).split()


def add(scratch, cache, store, path, names, number):
    """The new form of the path, in the cache (file://)."""
    tree, new = scratch("version-tree"), names[hash_part(path)]
    shutil.copytree(store + path, tree, symlinks=True)
    rewrite(tree, names, number)
    nar = os.path.join(cache, "nar", new + ".nar")
    m.run([m.NACRE, "nar", "dump", tree], stdout=nar)
    m.remove(tree)
    said = json.loads(m.output(m.NACRE, "nar", "hash", "--json", "--nar", nar))
    references = [rename(os.path.basename(r), names) for r in query(store, "--references", path)]
    with open(os.path.join(cache, new + ".narinfo"), "w") as f:
        f.write("StorePath: %s\nURL: nar/%s.nar\nCompression: none\nNarHash: %s\nNarSize: %d\nReferences: %s\n" % (
            rename(path, names), new, said["narHash"], said["narSize"], " ".join(references)))


def version(scratch, cache, store, path, target, number):
    """The path as it would be with another version of `target`, which is in its closure."""
    affected = [p for p in query(store, "--requisites", path) if target in query(store, "--requisites", p)]
    names = {}
    for p in affected:
        digest = hashlib.sha256(b"%d %s" % (number, os.path.basename(p).encode())).digest()
        names[hash_part(p)] = bytes(DIGITS[b % 32] for b in digest).decode()
    for p in affected:
        add(scratch, cache, store, p, names, number if p == target else 0)
    fresh = rename(path, names)
    m.run(["nix", "copy", "--from", "file://" + cache, "--no-check-sigs", "--to", store, fresh], env=m.NIX)
    return fresh


def make(scratch, name, path, target, count):
    """A store with so many versions of the path and its closure: (its folder, their paths)."""
    store, cache = scratch(name), scratch(name + "-cache")
    for to in ("file://%s?compression=none" % cache, store):
        m.run(["nix", "copy", "--from", m.FIXTURES, "--no-check-sigs", "--to", to, path], env=m.NIX)
    return store, [path] + [version(scratch, cache, store, path, target, n) for n in range(2, count + 1)]
