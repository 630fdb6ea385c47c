# SPDX-License-Identifier: Apache-2.0
"""The canonical tar of store paths: docs/spec.md, section 2.

A layer is a list of runs (preamble, one body a path, trailer), a run a list of pieces: (True, content
of a regular file) or (False, anything else). Frames need that; joined they are the tar.
"""

import nar
import storepath

BLOCK = 512
TRAILER = bytes(2 * BLOCK)
MAX_FIELD = 100
MAX_SIZE = 8 * 1024**3 - 1
DIRECTORY, FILE, SYMLINK, PAX = b"5", b"0", b"2", b"x"


class TarError(ValueError):
    """Not the canonical tar of store paths."""


# ---- headers -------------------------------------------------------------------------------------


def octal(value, width):
    return b"%0*o\0" % (width - 1, value)


def raw_header(name, mode, size, kind, target=b"", /, **fields):
    """One block. `fields` are for tests that need a wrong one."""
    parts = {
        "name": name.ljust(100, b"\0"),
        "mode": octal(mode, 8),
        "uid": octal(0, 8),
        "gid": octal(0, 8),
        "size": octal(size, 12),
        "mtime": octal(1, 12),
        "checksum": b" " * 8,
        "typeflag": kind,
        "linkname": target.ljust(100, b"\0"),
        "magic": b"ustar\0",
        "version": b"00",
        "uname": bytes(32),
        "gname": bytes(32),
        "devmajor": octal(0, 8),
        "devminor": octal(0, 8),
        "prefix": bytes(155),
        "padding": bytes(12),
    }
    parts.update({key: value for key, value in fields.items() if key != "checksum"})
    total = sum(b"".join(parts.values()))
    parts["checksum"] = fields.get("checksum", b"%06o\0 " % total)
    block = b"".join(parts.values())
    assert len(block) == BLOCK
    return block


def pad(size):
    return bytes(-size % BLOCK)


def pax_record(key, value):
    """The length counts itself."""
    body = b" " + key + b"=" + value + b"\n"
    length = len(body)
    while length != len(b"%d" % length) + len(body):
        length = len(b"%d" % length) + len(body)
    return b"%d" % length + body


def header(name, mode, size, kind, target=b""):
    """The header of an entry, after a pax header where something does not fit."""
    records = b""
    if len(name) > MAX_FIELD:
        records += pax_record(b"path", name)
    if len(target) > MAX_FIELD:
        records += pax_record(b"linkpath", target)
    if size > MAX_SIZE:
        records += pax_record(b"size", b"%d" % size)
        size = 0
    before = b""
    if records:
        before = raw_header(b"././@PaxHeader", 0o644, len(records), PAX) + records + pad(len(records))
    return before + raw_header(name[:MAX_FIELD], mode, size, kind, target[:MAX_FIELD])


# ---- writing -------------------------------------------------------------------------------------


def entry(name, node, modes=(0o555, 0o444, 0o555)):
    """The pieces of one entry, without its children. modes: directory, file, executable."""
    if isinstance(node, nar.Directory):
        return [(False, header(name + b"/", modes[0], 0, DIRECTORY))]
    if isinstance(node, nar.Symlink):
        return [(False, header(name, 0o777, 0, SYMLINK, node.target))]
    mode = modes[2] if node.executable else modes[1]
    size = len(node.data)
    return [(False, header(name, mode, size, FILE)), (True, node.data), (False, pad(size))]


def preamble(store_dir):
    parts = store_dir.strip("/").encode().split(b"/")
    names = [b"/".join(parts[: i + 1]) + b"/" for i in range(len(parts))]
    return [(False, header(name, 0o755, 0, DIRECTORY)) for name in names]


def body(path, node):
    """The entries of a store path."""
    root = path[1:].encode()
    pieces = []
    for inner, child in nar.walk(node):
        if inner.rsplit(b"/", 1)[-1].startswith(b".wh."):
            raise TarError(f"a runtime would take {inner!r} for a whiteout")
        pieces += entry(root + b"/" + inner if inner else root, child)
    return pieces


def layer_runs(store_dir, paths):
    """paths: {store path: node}."""
    if not paths:
        raise TarError("a layer holds at least one store path")
    runs = [preamble(store_dir)]
    runs += [body(path, paths[path]) for path in sorted(paths)]
    return runs + [[(False, TRAILER)]]


def join(runs):
    return b"".join(data for run in runs for _, data in run)


def layer(store_dir, paths):
    return join(layer_runs(store_dir, paths))


# ---- reading -------------------------------------------------------------------------------------


def _number(field):
    return int(field.rstrip(b"\0 ") or b"0", 8)


def _pax(records):
    found = {}
    while records:
        length = int(records.split(b" ", 1)[0])
        key, value = records[:length].split(b" ", 1)[1][:-1].split(b"=", 1)
        found[key] = value
        records = records[length:]
    return found


def _entries(data):
    """(name, mode, type, target, content): read without care for what is canonical."""
    at, pax = 0, {}
    while any(data[at : at + BLOCK]):
        block = data[at : at + BLOCK]
        size = int(pax.get(b"size", _number(block[124:136])))
        content = data[at + BLOCK : at + BLOCK + size]
        at += BLOCK + size + len(pad(size))
        if block[156:157] == PAX:
            pax = _pax(content)
            continue
        name = pax.get(b"path", block[:100].split(b"\0")[0])
        target = pax.get(b"linkpath", block[157:257].split(b"\0")[0])
        yield name, _number(block[100:108]), block[156:157], target, content
        pax = {}


def _put(paths, store, parts, node):
    """Puts a node where its name says, below the store path that its first part is."""
    base, rest = store + "/" + parts[0].decode(), parts[1:]
    if not rest:
        paths[base] = node
        return
    place = paths[base]
    for part in rest[:-1]:
        place = place.entries[part]
    place.entries[rest[-1]] = node


def _node(mode, kind, target, content):
    if kind == DIRECTORY:
        return nar.Directory()
    if kind == SYMLINK:
        return nar.Symlink(target)
    return nar.File(content, mode == 0o555)


def read_layer(data):
    """(store dir, {store path: node}), or TarError unless the tar is canonical.

    It is canonical exactly when the writer makes the same bytes of what it seems to hold."""
    store_dir, paths = "", {}
    try:
        for name, mode, kind, target, content in _entries(data):
            if kind == DIRECTORY and mode == 0o755 and not paths:
                store_dir = "/" + name.rstrip(b"/").decode()
                continue
            prefix = store_dir[1:].encode() + b"/"
            if not name.startswith(prefix):
                raise TarError(f"{name!r} is not in the store dir")
            parts = name[len(prefix) :].rstrip(b"/").split(b"/")
            _put(paths, store_dir, parts, _node(mode, kind, target, content))
        for path, node in paths.items():
            storepath.parse(path, store_dir)
            nar.read(nar.write(node))
        again = layer(store_dir, paths)
    except (ValueError, KeyError, AttributeError, IndexError, UnicodeError) as error:
        raise TarError(str(error)) from error
    if again != data:
        raise TarError("not the bytes that the canonical writer makes")
    return store_dir, paths
