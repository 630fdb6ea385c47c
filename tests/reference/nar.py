# SPDX-License-Identifier: Apache-2.0
"""NAR, the archive format of Nix: nodes, writer, strict reader, file trees.

Written from the format's rules and not from nacre's C code, so that each can find the other's
mistakes. Everything is in memory and as plain as it can be.
"""

import os
import stat
from dataclasses import dataclass, field

MAGIC = b"nix-archive-1"
MAX_NAME, MAX_TARGET, MAX_TAG, MAX_DEPTH = 255, 4095, 32, 64


@dataclass
class File:
    data: bytes = b""
    executable: bool = False


@dataclass
class Symlink:
    target: bytes


@dataclass
class Directory:
    entries: dict = field(default_factory=dict)  # name (bytes) -> node

    def sorted(self):
        return sorted(self.entries.items())


class NarError(ValueError):
    """What is wrong, and `offset`, where in the archive."""

    def __init__(self, offset, what):
        super().__init__(f"{what} (at byte {offset})")
        self.offset = offset


# ---- writing -------------------------------------------------------------------------------------


def string(data):
    return len(data).to_bytes(8, "little") + data + bytes(-len(data) % 8)


def strings(*tokens):
    return b"".join(map(string, tokens))


def pieces(node):
    """The NAR of a node as (True, content of a regular file) and (False, what is around it)."""
    yield False, string(MAGIC)
    yield from _node_pieces(node)


def _node_pieces(node):
    if isinstance(node, File):
        mark = strings(b"executable", b"") if node.executable else b""
        length = len(node.data).to_bytes(8, "little")
        yield False, strings(b"(", b"type", b"regular") + mark + string(b"contents") + length
        yield True, node.data
        yield False, bytes(-len(node.data) % 8) + string(b")")
    elif isinstance(node, Symlink):
        yield False, strings(b"(", b"type", b"symlink", b"target", node.target, b")")
    else:
        yield False, strings(b"(", b"type", b"directory")
        for name, child in node.sorted():
            yield False, strings(b"entry", b"(", b"name", name, b"node")
            yield from _node_pieces(child)
            yield False, string(b")")
        yield False, string(b")")


def write(node):
    return b"".join(data for _, data in pieces(node))


# ---- reading -------------------------------------------------------------------------------------


class _Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def fail(self, what, at=None):
        raise NarError(self.at if at is None else at, what)

    def take(self, count):
        if self.at + count > len(self.data):
            self.fail("truncated", len(self.data))
        self.at += count
        return self.data[self.at - count : self.at]

    def string(self, limit=None):
        start = self.at
        length = int.from_bytes(self.take(8), "little")
        if limit is not None and length > limit:
            self.fail("string too long", start)
        value = self.take(length)
        if any(self.take(-length % 8)):
            self.fail("padding is not zero", start + 8 + length)
        return value

    def expect(self, *tokens):
        for token in tokens:
            start = self.at
            if self.string(MAX_TAG) != token:
                self.fail(f"expected '{token.decode()}'", start)

    def node(self, depth):
        if depth >= MAX_DEPTH:
            self.fail("nested too deep")
        self.expect(b"(", b"type")
        start = self.at
        kind = self.string(MAX_TAG)
        if kind == b"regular":
            return self.file()
        if kind == b"symlink":
            return self.symlink()
        if kind == b"directory":
            return self.directory(depth)
        return self.fail("unknown type", start)

    def file(self):
        start = self.at
        tag = self.string(MAX_TAG)
        executable = tag == b"executable"
        if executable:
            self.expect(b"")
            start = self.at
            tag = self.string(MAX_TAG)
        if tag != b"contents":
            self.fail("expected 'contents'", start)
        data = self.string()
        self.expect(b")")
        return File(data, executable)

    def symlink(self):
        self.expect(b"target")
        start = self.at
        target = self.string(MAX_TARGET)
        if not target or b"\0" in target:
            self.fail("bad symlink target", start)
        self.expect(b")")
        return Symlink(target)

    def directory(self, depth):
        node, previous = Directory(), None
        while True:
            start = self.at
            tag = self.string(MAX_TAG)
            if tag == b")":
                return node
            if tag != b"entry":
                self.fail("expected 'entry' or ')'", start)
            self.expect(b"(", b"name")
            start = self.at
            name = self.string(MAX_NAME)
            if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
                self.fail("bad name", start)
            if previous is not None and name <= previous:
                self.fail("names not sorted", start)
            self.expect(b"node")
            node.entries[name] = self.node(depth + 1)
            self.expect(b")")
            previous = name


def read(data):
    reader = _Reader(data)
    reader.expect(MAGIC)
    node = reader.node(0)
    if reader.at != len(data):
        reader.fail("bytes after the end")
    return node


# ---- file trees ----------------------------------------------------------------------------------


def from_tree(path):
    path = os.fsencode(path)
    info = os.lstat(path)
    if stat.S_ISLNK(info.st_mode):
        return Symlink(os.readlink(path))
    if stat.S_ISDIR(info.st_mode):
        return Directory({name: from_tree(os.path.join(path, name)) for name in os.listdir(path)})
    with open(path, "rb") as file:
        return File(file.read(), bool(info.st_mode & stat.S_IXUSR))


def to_tree(node, path):
    """Writes a node as Nix keeps it: modes 0444 and 0555, times 1."""
    path = os.fsencode(path)
    if isinstance(node, Symlink):
        os.symlink(node.target, path)
    elif isinstance(node, File):
        with open(path, "xb") as file:
            file.write(node.data)
        os.chmod(path, 0o555 if node.executable else 0o444)
    else:
        os.mkdir(path)
        for name, child in node.sorted():
            to_tree(child, os.path.join(path, name))
        os.chmod(path, 0o555)
    os.utime(path, (1, 1), follow_symlinks=False)


def walk(node, path=b""):
    """(path, node) in NAR order; the root has the path b""."""
    yield path, node
    if isinstance(node, Directory):
        for name, child in node.sorted():
            yield from walk(child, path + b"/" + name if path else name)


def read_root(path):
    """A node from a file with a NAR."""
    with open(path, "rb") as file:
        return read(file.read())
