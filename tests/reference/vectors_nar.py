# SPDX-License-Identifier: Apache-2.0
"""NARs, good and bad: one bad archive a rule."""

import nar
from nar import Directory, File, Symlink, string, strings

MAGIC = string(nar.MAGIC)


def listing(node, at=None):
    """What Nix keeps as .ls; offsets are those of the contents in the NAR."""
    at = at or [len(MAGIC)]
    if isinstance(node, File):
        mark = len(strings(b"executable", b"")) if node.executable else 0
        at[0] += len(strings(b"(", b"type", b"regular", b"contents")) + mark + 8
        entry = {"type": "regular", "size": len(node.data), "executable": node.executable, "narOffset": at[0]}
        at[0] += len(node.data) + -len(node.data) % 8 + len(string(b")"))
        return entry
    if isinstance(node, Symlink):
        at[0] += len(strings(b"(", b"type", b"symlink", b"target", node.target, b")"))
        return {"type": "symlink", "target": node.target.decode()}
    at[0] += len(strings(b"(", b"type", b"directory"))
    entries = {}
    for name, child in node.sorted():
        at[0] += len(strings(b"entry", b"(", b"name", name, b"node"))
        entries[name.decode()] = listing(child, at)
        at[0] += len(string(b")"))
    at[0] += len(string(b")"))
    return {"type": "directory", "entries": entries}


def chain(depth, leaf):
    for _ in range(depth):
        leaf = Directory({b"d": leaf})
    return leaf


def good():
    tree = Directory({
        b"bin": Directory({b"hello": File(b"#!/bin/sh\necho hello\n", True)}),
        b"empty": Directory(),
        b"file": File(b"content"),
        b"link": Symlink(b"bin/hello"),
    })
    names = {name: File() for name in (
        b"-", b"...", b"..a", b".a", b".wh.x", b"A", b"a", b"a-", b"a.b", b"new\nline", b"tab\t", b"\x01", b"\x7f",
        b"\xff\xfe", b"\xc3\xa4", b"x" * 255, b"~nix~case~hack~1")}
    return {
        "file": File(b"hello"),
        "file-empty": File(),
        "file-8": File(b"12345678"),
        "file-9": File(b"123456789"),
        "executable": File(b"#!/bin/sh\n", True),
        "executable-empty": File(b"", True),
        "symlink": Symlink(b"/nix/store/target"),
        "symlink-longest": Symlink(b"t" * 4095),
        "symlink-bytes": Symlink(b"\xff\n"),
        "directory-empty": Directory(),
        "tree": tree,
        "names": Directory(names),
        # The name is less than the path of what lies in its sibling.
        "sort-by-name": Directory({b"a": Directory({b"b": File()}), b"a-": File(), b"a0": File()}),
        "deepest": chain(63, File(b"bottom")),
    }


# ---- bad -----------------------------------------------------------------------------------------


def entry(name, node):
    return strings(b"entry", b"(", b"name", name, b"node") + node + string(b")")


def directory(*entries):
    return strings(b"(", b"type", b"directory") + b"".join(entries) + string(b")")


def regular(*tokens):
    return strings(b"(", b"type", b"regular", *tokens, b")")


def bad_padding(data):
    """The string with its last padding byte set."""
    whole = bytearray(string(data))
    assert len(data) % 8
    whole[-1] = 1
    return bytes(whole)


def length_only(value):
    return value.to_bytes(8, "little")


def bad_strings():
    file = regular(b"contents", b"x")
    before = strings(b"(", b"type", b"regular", b"contents")
    return {
        "magic-wrong": string(b"nix-archive-2") + file,
        "magic-padding": bad_padding(nar.MAGIC) + file,
        "magic-long": string(b"nix-archive-1" + b"x" * 100) + file,
        "tag-padding": MAGIC + bad_padding(b"(") + file[16:],
        "tag-long": MAGIC + string(b"(" * 33) + file[16:],
        "contents-padding": MAGIC + before + bad_padding(b"x") + string(b")"),
        "contents-length-huge": MAGIC + before + length_only(2**64 - 1),
        "contents-length-wraps": MAGIC + before + length_only(2**64 - 8) + string(b")"),
        "contents-length-half": MAGIC + before + length_only(2**63) + b"x",
        "tag-length-huge": MAGIC + length_only(2**63 - 1),
    }


def bad_nodes():
    file = regular(b"contents", b"x")
    return {
        "root-missing": MAGIC,
        "root-not-opened": MAGIC + file[16:],
        "type-missing": MAGIC + strings(b"(", b"regular", b"contents", b"x", b")"),
        "type-unknown": MAGIC + strings(b"(", b"type", b"device", b")"),
        "type-empty": MAGIC + strings(b"(", b"type", b"", b")"),
        "file-without-contents": MAGIC + regular(),
        "file-contents-first": MAGIC + regular(b"contents", b"x", b"executable", b""),
        "file-contents-twice": MAGIC + regular(b"contents", b"x", b"contents", b"y"),
        "file-executable-value": MAGIC + regular(b"executable", b"1", b"contents", b"x"),
        "file-executable-twice": MAGIC + regular(b"executable", b"", b"executable", b"", b"contents", b"x"),
        "file-executable-only": MAGIC + regular(b"executable", b""),
        "file-unknown-field": MAGIC + regular(b"mode", b"0755", b"contents", b"x"),
        "file-not-closed": MAGIC + file[:-16] + string(b"]"),
        "symlink-without-target": MAGIC + strings(b"(", b"type", b"symlink", b")"),
        "symlink-target-empty": MAGIC + strings(b"(", b"type", b"symlink", b"target", b"", b")"),
        "symlink-target-nul": MAGIC + strings(b"(", b"type", b"symlink", b"target", b"a\0b", b")"),
        "symlink-target-4096": MAGIC + strings(b"(", b"type", b"symlink", b"target", b"t" * 4096, b")"),
        "symlink-target-padding": MAGIC + strings(b"(", b"type", b"symlink", b"target") + bad_padding(b"abc") + string(b")"),
        "symlink-executable": MAGIC + strings(b"(", b"type", b"symlink", b"executable", b"", b"target", b"a", b")"),
        "trailing-bytes": MAGIC + file + bytes(8),
        "trailing-node": MAGIC + file + file,
    }


def bad_directories():
    file = regular(b"contents", b"x")
    result = {
        "directory-not-closed": MAGIC + strings(b"(", b"type", b"directory") + entry(b"a", file),
        "directory-unknown-field": MAGIC + strings(b"(", b"type", b"directory", b"mode", b"0555", b")"),
        "directory-contents": MAGIC + strings(b"(", b"type", b"directory", b"contents", b"x", b")"),
        "entry-without-name": MAGIC + directory(strings(b"entry", b"(", b"node") + file + string(b")")),
        "entry-node-first": MAGIC + directory(
            strings(b"entry", b"(", b"node") + file + strings(b"name", b"a", b")")),
        "entry-without-node": MAGIC + directory(strings(b"entry", b"(", b"name", b"a", b")")),
        "entry-name-twice": MAGIC + directory(
            strings(b"entry", b"(", b"name", b"a", b"name", b"b", b"node") + file + string(b")")),
        "entry-node-twice": MAGIC + directory(
            strings(b"entry", b"(", b"name", b"a", b"node") + file + string(b"node") + file + string(b")")),
        "entry-not-opened": MAGIC + directory(strings(b"entry", b"name", b"a", b"node") + file + string(b")")),
        "entries-unsorted": MAGIC + directory(entry(b"b", file), entry(b"a", file)),
        "entries-unsorted-deep": MAGIC + directory(entry(b"a", directory(entry(b"b", file), entry(b"a", file)))),
        "entries-sorted-by-path": MAGIC + directory(entry(b"a-", file), entry(b"a", directory())),
        "entries-sorted-signed": MAGIC + directory(entry(b"\xff", file), entry(b"a", file)),
        "entries-sorted-without-case": MAGIC + directory(entry(b"a", file), entry(b"B", file)),
        "entries-duplicate": MAGIC + directory(entry(b"a", file), entry(b"a", file)),
        "entries-prefix-after": MAGIC + directory(entry(b"ab", file), entry(b"a", file)),
        "name-padding": MAGIC + directory(
            strings(b"entry", b"(", b"name") + bad_padding(b"a") + string(b"node") + file + string(b")")),
        "depth-64": MAGIC + nar.write(chain(64, File()))[len(MAGIC) :],
    }
    names = {"empty": b"", "dot": b".", "dotdot": b"..", "slash": b"a/b", "slash-only": b"/", "nul": b"a\0",
             "256": b"n" * 256, "escape": b"../a"}
    for label, name in names.items():
        result["name-" + label] = MAGIC + directory(entry(name, file))
    return result


def bad():
    whole = nar.write(good()["tree"])
    cuts = {f"truncated-{at}": whole[:at] for at in (0, 7, 23, 24, 100, 333, len(whole) - 16, len(whole) - 1)}
    return {**bad_strings(), **bad_nodes(), **bad_directories(), **cuts}


def generate(out):
    rows = {"good": [], "bad": []}
    for name, node in good().items():
        data = nar.write(node)
        assert nar.read(data) == node
        out.file(f"nar/{name}.nar", data)
        row = {"name": name, "file": f"nar/{name}.nar", "narHash": out.nix_sha256(data), "narSize": len(data)}
        try:
            row["listing"] = {"version": 1, "root": listing(node)}
        except UnicodeDecodeError:
            pass  # JSON has no word for these names
        rows["good"].append(row)
    for name, data in bad().items():
        try:
            nar.read(data)
        except nar.NarError as error:
            rows["bad"].append({"name": name, "file": f"nar/should-fail-{name}.nar", "why": str(error)})
            out.file(f"nar/should-fail-{name}.nar", data)
        else:
            raise AssertionError(f"the reader takes {name}")
    out.json("nar.json", rows)
