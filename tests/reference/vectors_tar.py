# SPDX-License-Identifier: Apache-2.0
"""Store layers as tars, good and bad: one bad tar a rule. SPEC nacre 2."""

import nar
import storepath
import tar
import vectors_nar
from nar import Directory, File, Symlink
from tar import BLOCK, TRAILER, header, pad, pax_record, raw_header

STORE = "/nix/store"
A = storepath.text("vector-a", b"a")
B = storepath.text("vector-b", b"b")
A, B = sorted((A, B))


def long_names(path):
    """Around the 100 bytes of the name and target fields."""
    room = 100 - len(path[1:]) - 1
    entries = {}
    for over in (-1, 0, 1):
        entries[b"f%d" % (over + 1) + b"f" * (room - 2 + over)] = File(b"x")
        entries[b"d%d" % (over + 1) + b"d" * (room - 3 + over)] = Directory()
        entries[b"s%d" % (over + 1)] = Symlink(b"t" * (100 + over))
    entries[b"both" + b"b" * 100] = Symlink(b"t" * 200)
    entries[b"longest"] = Symlink(b"t" * 4095)
    # Lengths at which the length of a pax record gets a digit more.
    for length in (980, 981, 982, 983, 984):
        entries[b"p%d" % length] = Symlink(b"t" * length)
    return Directory(entries)


def good():
    """{name: (store dir, {path: node})}"""
    layers = {}
    for name, node in vectors_nar.good().items():
        if name not in ("names", "deepest"):
            layers["one-" + name] = (STORE, {A: node})
    names = dict(vectors_nar.good()["names"].entries)
    del names[b".wh.x"]
    layers["one-names"] = (STORE, {A: Directory(names)})
    layers["one-deepest"] = (STORE, {A: vectors_nar.good()["deepest"]})
    layers["one-long-names"] = (STORE, {A: long_names(A)})
    layers["one-block"] = (STORE, {A: Directory({b"511": File(b"x" * 511), b"512": File(b"x" * 512), b"513": File(b"x" * 513)})})
    layers["two"] = (STORE, {A: File(b"a", True), B: vectors_nar.good()["tree"]})
    many = [storepath.text(f"vector-{i}", b"%d" % i) for i in range(9)]
    layers["nine"] = (STORE, {path: Directory({b"me": File(path.encode())}) for path in many})
    for label, store_dir in (("guix", "/gnu/store"), ("top", "/store"), ("long", "/" + "/".join(["long" * 10] * 4))):
        path = storepath.text("vector", b"", store_dir=store_dir)
        layers["dir-" + label] = (store_dir, {path: Directory({b"f": File(b"x")})})
    longest = storepath.text("n" * 211, b"")
    layers["longest-store-path"] = (STORE, {longest: Directory({b"f": File(b"x")})})
    return layers


# ---- bad -----------------------------------------------------------------------------------------

ROOT = A[1:].encode()
DIR = header(ROOT + b"/", 0o555, 0, tar.DIRECTORY)
PREAMBLE = tar.join([tar.preamble(STORE)])


def file(name=b"f", content=b"x", mode=0o444, **fields):
    return raw_header(ROOT + b"/" + name, mode, len(content), tar.FILE, **fields) + content + pad(len(content))


def folder(name, mode=0o555, **fields):
    return raw_header(ROOT + b"/" + name + b"/", mode, 0, tar.DIRECTORY, **fields)


def link(name=b"l", target=b"t", mode=0o777, **fields):
    return raw_header(ROOT + b"/" + name, mode, 0, tar.SYMLINK, target, **fields)


def whole(*entries):
    return PREAMBLE + DIR + b"".join(entries) + TRAILER


def bad_fields():
    """A header that says the same, or nearly, in another way."""
    entries = {
        "mode-file-0644": file(mode=0o644),
        "mode-file-0755": file(mode=0o755),
        "mode-file-0000": file(mode=0),
        "mode-file-setuid": file(mode=0o4555),
        "mode-directory-0755": folder(b"d", 0o755),
        "mode-symlink-0444": link(mode=0o444),
        "uid": file(uid=b"0000001\0"),
        "gid": file(gid=b"0000001\0"),
        "mtime-0": file(mtime=b"00000000000\0"),
        "mtime-now": file(mtime=b"15157560403\0"),
        "mtime-directory": folder(b"d", mtime=b"00000000000\0"),
        "uname": file(uname=b"root".ljust(32, b"\0")),
        "gname": file(gname=b"root".ljust(32, b"\0")),
        "devmajor": file(devmajor=b"0000001\0"),
        "devminor": file(devminor=b"0000001\0"),
        "devmajor-empty": file(devmajor=bytes(8)),
        "magic-gnu": file(magic=b"ustar ", version=b" \0"),
        "magic-none": file(magic=bytes(6), version=bytes(2)),
        "version": file(version=b"0\0"),
        "checksum": file(checksum=b"000000\0 "),
        "header-padding": file(padding=b"\1".ljust(12, b"\0")),
        "mode-spaces": file_with(mode=b"   444 \0"),
        "uid-empty": file(uid=bytes(8)),
        "size-base-256": file(size=b"\x80" + (1).to_bytes(11, "big")),
        "size-twelve-digits": file(size=b"000000000001"),
        "size-spaces": file(size=b"          1\0"),
        "size-with-space": file(size=b"00000000001 "),
        "size-not-octal": file(size=b"00000000009\0", content=b"xxxxxxxxx"),
        "size-directory": folder(b"d", size=b"00000000001\0"),
        "size-symlink": link(size=b"00000000001\0"),
        "name-after-nul": file(name=b"f\0g"),
        "target-after-nul": link(target=b"t\0u"),
        "target-of-file": raw_header(ROOT + b"/f", 0o444, 0, tar.FILE, b"t"),
        "target-empty": link(target=b""),
        "prefix": raw_header(b"f", 0o444, 0, tar.FILE, prefix=ROOT.ljust(155, b"\0")),
    }
    block = file()[:BLOCK]
    seven = block[:148] + b"%07o\0" % sum(block[:148] + b" " * 8 + block[156:]) + block[156:]
    entries["checksum-seven-digits"] = seven + file()[BLOCK:]
    return {name: whole(entry) for name, entry in entries.items()}


def file_with(**fields):
    return raw_header(ROOT + b"/f", 0o444, 1, tar.FILE, **fields) + b"x" + pad(1)


def bad_types():
    def typed(kind, size=0, **fields):
        return raw_header(ROOT + b"/f", 0o444, size, kind, **fields)

    long_name = ROOT + b"/" + b"n" * 100
    return {
        "type-old-file": whole(file(typeflag=b"\0")),
        "type-hard-link": whole(file(b"a"), raw_header(ROOT + b"/f", 0o444, 0, b"1", ROOT + b"/a")),
        "type-character-device": whole(typed(b"3", devmajor=b"0000001\0", devminor=b"0000003\0")),
        "type-block-device": whole(typed(b"4")),
        "type-fifo": whole(typed(b"6")),
        "type-contiguous": whole(file(typeflag=b"7")),
        "type-unknown": whole(typed(b"Z")),
        "type-gnu-long-name": whole(
            raw_header(b"././@LongLink", 0o644, len(long_name) + 1, b"L") + long_name + b"\0" + pad(len(long_name) + 1)
            + raw_header(long_name[:100], 0o444, 0, tar.FILE)),
        "type-global-pax": PREAMBLE[:0] + raw_header(b"././@PaxHeader", 0o644, 12, b"g") + b"12 mtime=1\n\n"
                           + pad(12) + whole(),
    }


def bad_names():
    def named(name, kind=tar.FILE, mode=0o444):
        return raw_header(name, mode, 0, kind)

    other = storepath.text("vector", b"", store_dir="/gnu/store")[1:].encode()
    layers = {
        "directory-without-slash": whole(named(ROOT + b"/d", tar.DIRECTORY, 0o555)),
        "file-with-slash": whole(named(ROOT + b"/f/")),
        "dot-first": b"".join([raw_header(b"./" + n, 0o755, 0, tar.DIRECTORY) for n in (b"nix/", b"nix/store/")])
                     + raw_header(b"./" + ROOT, 0o444, 0, tar.FILE) + TRAILER,
        "absolute": b"".join([raw_header(b"/" + n, 0o755, 0, tar.DIRECTORY) for n in (b"nix/", b"nix/store/")])
                    + raw_header(b"/" + ROOT, 0o444, 0, tar.FILE) + TRAILER,
        "component-dot": whole(named(ROOT + b"/./f")),
        "component-dotdot": whole(named(ROOT + b"/../" + B[1:].encode().split(b"/")[-1])),
        "component-dotdot-last": whole(named(ROOT + b"/..")),
        "component-empty": whole(named(ROOT + b"//f")),
        "component-256": whole(header(ROOT + b"/" + b"n" * 256, 0o444, 0, tar.FILE)),
        "name-empty": whole(named(b"")),
        "store-path-bad-hash": PREAMBLE + named(b"nix/store/" + b"e" * 32 + b"-name") + TRAILER,
        "store-path-short": PREAMBLE + named(b"nix/store/name") + TRAILER,
        "store-path-bad-name": PREAMBLE + named(ROOT + b"~1") + TRAILER,
        "store-path-long": PREAMBLE + header(ROOT[: 10 + 33] + b"n" * 212, 0o444, 0, tar.FILE) + TRAILER,
        "other-store-dir": whole(named(other)),
        "outside": PREAMBLE + DIR + named(b"nix/store/.links") + TRAILER,
        "outside-root": PREAMBLE + DIR + raw_header(b"etc/", 0o755, 0, tar.DIRECTORY) + TRAILER,
        "whiteout": whole(named(ROOT + b"/.wh.f")),
        "whiteout-opaque": whole(named(ROOT + b"/.wh..wh..opq")),
        "target-4096": whole(header(ROOT + b"/l", 0o777, 0, tar.SYMLINK, b"t" * 4096)),
    }
    return {"name-" + name.removeprefix("name-"): data for name, data in layers.items()}


def deep_tar(depth):
    names = [ROOT + b"/" + b"d/" * i for i in range(depth + 1)]
    return PREAMBLE + b"".join(header(name, 0o555, 0, tar.DIRECTORY) for name in names) + TRAILER


def bad_order():
    body_a, body_b = tar.body(A, File(b"a")), tar.body(B, File(b"b"))
    two = [tar.preamble(STORE), body_b, body_a, [(False, TRAILER)]]
    twice = [tar.preamble(STORE), body_a, body_a, [(False, TRAILER)]]
    inner = raw_header(ROOT + b"/d/f", 0o444, 0, tar.FILE)
    return {
        "order-unsorted": whole(file(b"b"), file(b"a")),
        # As sorting by whole paths gives it: '-' is less than '/'.
        "order-by-path": whole(folder(b"d"), file(b"d-"), inner),
        "order-directory-by-slash": whole(file(b"d0"), folder(b"d")),
        "order-breadth-first": whole(folder(b"d"), file(b"e"), inner),
        "order-paths": tar.join(two),
        "duplicate-entry": whole(file(b"a"), file(b"a")),
        "duplicate-directory": whole(folder(b"d"), folder(b"d")),
        "duplicate-kinds": whole(folder(b"d"), file(b"d")),
        "duplicate-path": tar.join(twice),
        "parent-missing": whole(inner),
        "parent-root-missing": PREAMBLE + file() + TRAILER,
        "parent-is-file": whole(file(b"d"), inner),
        "parent-is-symlink": whole(link(b"d"), inner),
        "child-of-root-file": PREAMBLE + raw_header(ROOT, 0o444, 0, tar.FILE) + file() + TRAILER,
        "depth-64": deep_tar(64),
    }


def bad_preambles():
    nix, store = PREAMBLE[:BLOCK], PREAMBLE[BLOCK:]
    body = DIR + file()
    return {
        "preamble-none": body + TRAILER,
        "preamble-only": PREAMBLE + TRAILER,
        "preamble-without-top": store + body + TRAILER,
        "preamble-without-store": nix + body + TRAILER,
        "preamble-swapped": store + nix + body + TRAILER,
        "preamble-twice": nix + store + store + body + TRAILER,
        "preamble-mode-0555": raw_header(b"nix/", 0o555, 0, tar.DIRECTORY) + store + body + TRAILER,
        "preamble-mtime": raw_header(b"nix/", 0o755, 0, tar.DIRECTORY, mtime=b"00000000000\0") + store + body + TRAILER,
        "preamble-more": nix + store + raw_header(b"nix/var/", 0o755, 0, tar.DIRECTORY) + body + TRAILER,
        "preamble-between": PREAMBLE + DIR + store + file() + TRAILER,
        "preamble-dot": raw_header(b"./", 0o755, 0, tar.DIRECTORY) + PREAMBLE + body + TRAILER,
    }


def bad_ends():
    full = whole(file())
    content = bytearray(full)
    content[-2 * BLOCK - 1] = 1
    return {
        "empty": b"",
        "zeros": TRAILER,
        "padding-not-zero": bytes(content),
        "trailer-none": full[: -2 * BLOCK],
        "trailer-one-block": full[:-BLOCK],
        "trailer-three-blocks": full + bytes(BLOCK),
        "trailer-blocking-factor": full + bytes(-len(full) % 10240),
        "trailer-then-data": full + full,
        "trailer-not-zero": full[:-1] + b"\1",
        "trailer-first-block-not-zero": full[: -2 * BLOCK] + bytes(BLOCK - 1) + b"\1" + bytes(BLOCK),
        "truncated-header": full[: 2 * BLOCK + 100],
        "truncated-content": whole(file(content=b"x" * 1000))[: -2 * BLOCK - 100],
        "truncated-padding": full[: -2 * BLOCK - 100],
    }


def pax_block(records, **fields):
    name = fields.pop("name", b"././@PaxHeader")
    mode = fields.pop("pax_mode", 0o644)
    kind = fields.pop("kind", tar.PAX)
    return raw_header(name, mode, len(records), kind, **fields) + records + pad(len(records))


def bad_pax():
    name = ROOT + b"/" + b"n" * 100
    target = b"t" * 101
    short = ROOT + b"/f"
    path, linkpath = pax_record(b"path", name), pax_record(b"linkpath", target)
    main = raw_header(name[:100], 0o444, 0, tar.FILE)
    both = raw_header(name[:100], 0o777, 0, tar.SYMLINK, target[:100])

    def entry(records, last=main, **fields):
        return whole(pax_block(records, **fields) + last)

    dirty = bytearray(pax_block(path))
    dirty[-1] = 1
    return {
        "pax-header-name": entry(path, name=b"PaxHeader/f"),
        "pax-header-mode": entry(path, pax_mode=0o444),
        "pax-header-mtime": entry(path, mtime=b"00000000000\0"),
        "pax-header-type": entry(path, kind=b"X"),
        "pax-padding": whole(bytes(dirty) + main),
        "pax-twice": whole(pax_block(path) + pax_block(path) + main),
        "pax-apart": whole(pax_block(path) + pax_block(linkpath) + both),
        "pax-at-end": PREAMBLE + DIR + pax_block(path) + TRAILER,
        "pax-empty": entry(b""),
        "pax-not-needed": entry(pax_record(b"path", short), raw_header(short, 0o444, 0, tar.FILE)),
        "pax-linkpath-not-needed": entry(pax_record(b"linkpath", b"t"), link()),
        "pax-size-not-needed": entry(path + pax_record(b"size", b"0")),
        "pax-order": entry(linkpath + path, both),
        "pax-record-twice": entry(path + path),
        "pax-record-unknown": entry(path + pax_record(b"mtime", b"1")),
        "pax-record-xattr": entry(path + pax_record(b"SCHILY.xattr.user.a", b"b")),
        "pax-record-comment": entry(path + pax_record(b"comment", b"b")),
        "pax-length-leading-zero": entry(b"0" + b"%d" % (len(path) + 1) + path[path.index(b" ") :]),
        "pax-length-short": entry(b"%d" % (len(path) - 1) + path[path.index(b" ") :]),
        "pax-length-long": entry(b"%d" % (len(path) + 1) + path[path.index(b" ") :]),
        "pax-length-huge": entry(b"99999999999999999999" + path[path.index(b" ") :]),
        "pax-length-none": entry(path[path.index(b" ") :]),
        "pax-record-no-newline": entry(path[:-1] + b"x"),
        "pax-record-no-equals": entry(path.replace(b"=", b"-", 1)),
        "pax-path-nul": entry(pax_record(b"path", name + b"\0")),
        "pax-path-empty": entry(pax_record(b"path", b"")),
        "pax-path-of-directory": entry(path, raw_header(name[:100], 0o555, 0, tar.DIRECTORY)),
        "pax-main-name": entry(path, raw_header(b"f", 0o444, 0, tar.FILE)),
        "pax-main-name-99": entry(path, raw_header(name[:99], 0o444, 0, tar.FILE)),
        "pax-main-target": entry(linkpath, link(target=target[:99])),
        "pax-linkpath-on-file": entry(linkpath, raw_header(short, 0o444, 0, tar.FILE)),
    }


def bad():
    return {**bad_fields(), **bad_types(), **bad_names(), **bad_order(), **bad_preambles(), **bad_ends(), **bad_pax()}


# ---- headers of files that are too large for a vector -----------------------------------------------


def headers():
    name = b"nix/store/" + b"0" * 32 + b"-large/file"
    rows = []
    for size in (0, 1, 8 * 1024**3 - 1, 8 * 1024**3, 8 * 1024**3 + 1, 2**40):
        rows.append((name, size))
    rows.append((name + b"n" * 100, 8 * 1024**3))
    return [{"name": n.decode(), "size": size, "mode": "0444", "header": header(n, 0o444, size, tar.FILE).hex()}
            for n, size in rows]


def generate(out):
    rows = {"good": [], "bad": [], "headers": headers()}
    for name, (store_dir, paths) in good().items():
        data = tar.layer(store_dir, paths)
        assert tar.read_layer(data) == (store_dir, paths), name
        out.file(f"tar/{name}.tar", data)
        rows["good"].append({
            "name": name, "file": f"tar/{name}.tar", "storeDir": store_dir, "diffID": out.digest(data),
            "size": len(data),
            "paths": [{"path": path, "narHash": out.nix_sha256(nar.write(node)), "narSize": len(nar.write(node))}
                      for path, node in sorted(paths.items())],
        })
    for name, data in bad().items():
        try:
            tar.read_layer(data)
        except tar.TarError:
            out.file(f"tar/should-fail-{name}.tar", data)
            rows["bad"].append({"name": name, "file": f"tar/should-fail-{name}.tar"})
        else:
            raise AssertionError(f"the reader takes {name}")
    out.json("tar.json", rows)
