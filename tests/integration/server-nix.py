#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The binary cache's API, every endpoint, good and bad (SPEC nix-cache). Prints `ok - …`, `not ok - …`, `skip - … # reason`.

    server-nix.py [COMMAND…]     default: $NACRE serve, on a fresh directory. COMMAND prints the server's URL.
"""

import base64
import bz2
import gzip
import hashlib
import json
import lzma
import os
import shutil
import socket
import subprocess
import sys
import threading
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import server_wire as w  # noqa: E402
from server_wire import check, check_eq, chunked, skip  # noqa: E402

sys.path.insert(0, os.path.join(w.SRC, "tests/reference"))
import nar as narlib  # noqa: E402
import storepath  # noqa: E402

STORE = "/nix/store"


def nix32(data):
    return storepath.nix32(hashlib.sha256(data).digest())


def piped(*command):
    return lambda data: subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout


# Compression -> (extension, encoder, decoder); as Nix's clients name the files.
CODECS = {
    "none": ("", bytes, bytes),
    "xz": (".xz", lzma.compress, lzma.decompress),
    "bzip2": (".bz2", bz2.compress, bz2.decompress),
    "gzip": ("", gzip.compress, gzip.decompress),
    "zstd": (".zst", piped("zstd", "-q", "-c"), piped("zstd", "-q", "-d", "-c")),
    "br": (".br", piped("brotli", "-c"), piped("brotli", "-d", "-c")),
    "lz4": (".lz4", piped("lz4", "-q", "-c"), piped("lz4", "-q", "-d", "-c")),
    "lzip": (".lzip", piped("lzip", "-c"), piped("lzip", "-d", "-c")),
}
PROGRAMS = {"zstd": "zstd", "br": "brotli", "lz4": "lz4", "lzip": "lzip"}


def bytes_after_head(cache, url):
    """What a client would take for the beginning of the next answer."""
    with socket.create_connection(("127.0.0.1", cache.server.port), 10) as s:
        s.sendall(("HEAD /%s HTTP/1.1\r\nHost: x\r\n\r\n" % url).encode())
        s.settimeout(0.3)
        got = b""
        try:
            while piece := s.recv(4096):
                got += piece
        except TimeoutError:
            pass
    return got.partition(b"\r\n\r\n")[2]


class Package:
    """A store path and what a client sends for it."""

    def __init__(self, name, node, references=(), compression="xz", salt=b""):
        self.nar = narlib.write(node)
        self.hash_part = storepath.nix32(hashlib.sha256(name.encode() + salt).digest()[:20])
        self.base = "%s-%s" % (self.hash_part, name)
        self.path = STORE + "/" + self.base
        self.references = list(references)
        self.encode_as(compression)

    def encode_as(self, compression):
        extension, encode, _ = CODECS[compression]
        self.compression = compression
        self.file = encode(self.nar)
        self.url = "nar/%s.nar%s" % (nix32(self.file), extension)
        return self

    def narinfo(self, **change):
        fields = {
            "StorePath": self.path, "URL": self.url, "Compression": self.compression, "FileHash": "sha256:" + nix32(self.file),
            "FileSize": len(self.file), "NarHash": "sha256:" + nix32(self.nar), "NarSize": len(self.nar),
            "References": " ".join(self.references), "Deriver": self.base + ".drv"}
        fields.update(change)
        lines = [(k, v) for k, v in fields.items() if v is not None and k != "Sig"]
        lines += [("Sig", s) for s in fields.get("Sig", [])]
        return "".join("%s: %s\n" % line for line in lines).encode()


def tree(**files):
    return narlib.Directory({k.encode(): narlib.File(v) for k, v in files.items()})


def parse(text):
    fields = {}
    for line in text.decode().splitlines():
        key, _, value = line.partition(": ")
        fields.setdefault(key.rstrip(":"), []).append(value)
    return fields


class Cache:
    def __init__(self, server):
        self.server = server
        self.bad_statuses = []

    def get(self, target, headers=(), method="GET"):
        return self.server.request(method, "/" + target, headers)

    def put(self, target, body, headers=()):
        r = self.server.request("PUT", "/" + target, headers, body)
        if r.status == 202 or 300 <= r.status < 400 or r.status in (408, 429) or r.status >= 500:
            self.bad_statuses.append("%s: %d" % (target, r.status))
        return r

    def url(self, hash_part):
        """Where the server has its NAR."""
        return parse(self.get(hash_part + ".narinfo").body)["URL"][0]

    def elf(self, name, references=()):
        """Uploads a path that an image can be made of: it has a program for this machine."""
        with open(sys.executable, "rb") as f:
            program = f.read(20) + name.encode() * 2000
        package = Package(name, narlib.Directory({b"bin": narlib.Directory({name.encode(): narlib.File(program, True)})}), references)
        self.upload(package)
        return package

    def upload(self, package):
        self.put(package.url, package.file, {"Content-Type": "application/x-nix-nar"})
        return self.put(package.hash_part + ".narinfo", package.narinfo(), {"Content-Type": "text/x-nix-narinfo"})


def refused(name, response, *statuses):
    """A refusal that clients stop at, with a text for people."""
    check(name, response.status in (statuses or (400, 403, 409, 413, 415)) and response.body, response)


def test_cache_info(cache):
    r = cache.get("nix-cache-info")
    fields = parse(r.body)
    check("nix-cache-info", r.status == 200 and r["Content-Type"] == "text/x-nix-cache-info"
          and fields["StoreDir"] == [STORE] and fields["WantMassQuery"] == ["1"] and int(fields["Priority"][0]) > 0, r)
    h = cache.get("nix-cache-info", method="HEAD")
    check("HEAD", h.status == 200 and h["Content-Length"] == str(len(r.body)), h)
    check_eq("PUT of the same store dir", 201, cache.put("nix-cache-info", b"StoreDir: /nix/store\n").status)
    refused("PUT of another one", cache.put("nix-cache-info", b"StoreDir: /gnu/store\n"), 409)
    for bad in (b"StoreDir: nix\n", b"StoreDir: /nix/../x\n", b"x" * 100000):
        refused("PUT of %.20r" % bad, cache.put("nix-cache-info", bad), 400, 413)
    check_eq("none changed it", r.body, cache.get("nix-cache-info").body)


def test_absent(cache):
    absent = ["0" * 32 + ".narinfo", "0" * 32 + ".ls", "nar/%s.nar" % ("0" * 52), "nar/%s.nar.xz" % ("0" * 52), "log/x.drv",
              "debuginfo/%s.debug" % ("0" * 40), "realisations/sha256:%s!out.doi" % ("0" * 64), "build-trace-v2/x.drv/out.doi"]
    broken = ["e" * 32 + ".narinfo", "0" * 31 + ".narinfo", "x.narinfo", "nar/x", "nar/..%2fx", "log/", "nar/" + "x" * 2000,
              "%ff.narinfo", "robots.txt"]
    for target in absent + broken:
        for method in ("GET", "HEAD"):
            r = cache.get(target, method=method)
            check("%s /%.60s: 404" % (method, target), r.status == 404, r)
    for target in absent:
        for method in ("POST", "DELETE", "PATCH"):
            r = cache.server.request(method, "/" + target)
            if method == "DELETE" and target.endswith(".narinfo"):
                check("DELETE of a path that is not there: 404", r.status == 404, r)
            elif r.status != 405 or not r["Allow"]:
                check("%s /%s: 405" % (method, target), False, r)


def check_nar(cache, name, url, package, compression):
    """The file behind a URL is the NAR in that compression."""
    r = cache.get(url)
    try:
        content = CODECS[compression][2](r.body)
    except Exception as e:  # noqa: BLE001
        content = repr(e)
    check(name, r.status == 200 and content == package.nar and r["Content-Type"] == "application/x-nix-nar", r)
    h = cache.get(url, method="HEAD")
    check(name + ": HEAD", h.status == 200 and h["Content-Length"] == r["Content-Length"], "%s\n%s" % (h, r))
    return r


def test_uploads(cache):
    for compression in CODECS:
        if shutil.which(PROGRAMS.get(compression, "true")) is None:
            skip("upload as " + compression, "needs " + PROGRAMS[compression])
            continue
        content = tree(a=b"hello " + compression.encode(), big=os.urandom(3 << 20), text=b"text\n" * 20000)
        package = Package("as-" + compression, content, compression=compression)
        check_eq("%s: HEAD of the NAR is 404 before" % compression, 404, cache.get(package.url, method="HEAD").status)
        r = cache.put(package.url, package.file)
        check("%s: PUT of the NAR" % compression, r.status in (200, 201, 204), r)
        check_eq("%s: its HEAD is 200 now" % compression, 200, cache.get(package.url, method="HEAD").status)
        check_eq("%s: and has no body" % compression, b"", bytes_after_head(cache, package.url))
        check_eq("%s: no narinfo yet" % compression, 404, cache.get(package.hash_part + ".narinfo").status)
        r = cache.put(package.hash_part + ".narinfo", package.narinfo())
        check("%s: PUT of the narinfo" % compression, r.status in (200, 201, 204), r)
        r = cache.get(package.hash_part + ".narinfo")
        h = cache.get(package.hash_part + ".narinfo", method="HEAD")
        info = parse(r.body)
        check("%s: narinfo" % compression, r.status == h.status == 200 and r["Content-Type"] == "text/x-nix-narinfo"
              and h["Content-Length"] == str(len(r.body)) and info["StorePath"] == [package.path]
              and info["NarHash"] == ["sha256:" + nix32(package.nar)] and info["NarSize"] == [str(len(package.nar))]
              and b"References: \n" in r.body, "%s\n%s" % (h, r))
        served = check_nar(cache, "%s: the URL of the narinfo" % compression, info["URL"][0], package, info["Compression"][0])
        check("%s: FileHash and FileSize" % compression, info.get("FileHash", ["sha256:" + nix32(served.body)])
              == ["sha256:" + nix32(served.body)] and info.get("FileSize", [str(len(served.body))]) == [str(len(served.body))], r)
        check_nar(cache, "%s: the URL it was put under" % compression, package.url, package, compression)
        check_nar(cache, "%s: the NAR by its hash" % compression, "nar/%s.nar" % nix32(package.nar), package, "none")


def test_ranges(cache):
    """SPEC nix-cache 1.2: a download that broke off is resumed."""
    package = Package("ranges", tree(a=os.urandom(2 << 20), b=b"x" * 100000, c=os.urandom(1 << 20)))
    cache.upload(package)
    info = parse(cache.get(package.hash_part + ".narinfo").body)
    for url in (info["URL"][0], "nar/%s.nar" % nix32(package.nar)):
        whole = cache.get(url)
        size = len(whole.body)
        check(url[-10:] + ": Accept-Ranges", whole["Accept-Ranges"] == "bytes" and whole["Content-Encoding"] is None, whole)
        for first in (0, 1, 511, 65536, 1 << 20, (1 << 20) + 200, size // 2, size - 1):
            r = cache.get(url, {"Range": "bytes=%d-" % first})
            check("%s from %d" % (url[-10:], first), r.status == 206 and r.body == whole.body[first:]
                  and r["Content-Range"] == "bytes %d-%d/%d" % (first, size - 1, size), r)
        r = cache.get(url, {"Range": "bytes=%d-" % size})
        check(url[-10:] + " from its end: 416", r.status == 416 and r["Content-Range"] == "bytes */%d" % size, r)


def test_transport_coding(cache):
    package = Package("coding", tree(a=b"compress me " * 50000, b=os.urandom(100000)))
    cache.upload(package)
    url = "nar/%s.nar" % nix32(package.nar)
    r = cache.get(url, {"Accept-Encoding": "zstd, br, gzip, deflate, bzip2, xz"})
    decoded = CODECS["zstd"][2](r.body) if r["Content-Encoding"] == "zstd" else r.body
    check("an uncompressed NAR goes zstd to who takes it", r.status == 200 and r["Content-Encoding"] == "zstd"
          and decoded == package.nar and r["Vary"] == "Accept-Encoding" and r["Accept-Ranges"] is None, r)
    r = cache.get(url, {"Accept-Encoding": "zstd", "Range": "bytes=10-19"})
    check("a range is one of identity bytes", r.status == 206 and r.body == package.nar[10:20] and r["Content-Encoding"] is None, r)
    r = cache.get(url)
    check("identity otherwise", r.body == package.nar and r["Content-Encoding"] is None, r)
    info = parse(cache.get(package.hash_part + ".narinfo").body)
    if info["Compression"][0] != "none":
        r = cache.get(info["URL"][0], {"Accept-Encoding": "zstd"})
        check("a compressed NAR is not coded again", r["Content-Encoding"] is None, r)


def test_bad_nars(cache):
    package = Package("bad", tree(a=b"a", b=b"b"))

    def bad(name, data, compression="none", url=None, *statuses):
        extension, encode, _ = CODECS[compression]
        file = encode(data)
        url = url or "nar/%s.nar%s" % (nix32(file), extension)
        refused("NAR: " + name, cache.put(url, file), *(statuses or (400, 413)))
        check_eq("NAR: %s: not there" % name, 404, cache.get(url, method="HEAD").status)

    strings = narlib.strings
    head = strings(b"nix-archive-1")
    file_node = [b"(", b"type", b"regular", b"contents", b"x", b")"]
    entry = lambda name: [b"entry", b"(", b"name", name, b"node", *file_node, b")"]  # noqa: E731
    directory = lambda *names: head + strings(b"(", b"type", b"directory", *sum(map(entry, names), []), b")")  # noqa: E731
    bad("empty", b"")
    bad("not one", b"hello")
    bad("truncated", package.nar[:-8])
    bad("with a byte behind", package.nar + b"x")
    bad("unsorted", directory(b"b", b"a"))
    bad("twice a name", directory(b"a", b"a"))
    bad("a name ..", directory(b".."))
    bad("a name with a slash", directory(b"a/b"))
    bad("a name with NUL", directory(b"a\0b"))
    bad("an empty name", directory(b""))
    bad("a name of 256 bytes", directory(b"a" * 256))
    bad("padding that is not zero", package.nar[:16 + 8 + 5] + b"\1" + package.nar[16 + 8 + 6:])
    bad("a length past the end", head + b"\xff" * 8)
    bad("depth 64", head + strings(*[b"(", b"type", b"directory", b"entry", b"(", b"name", b"a", b"node"] * 64, *file_node,
                                   *[b")", b")"] * 64))
    bad("not what its name says", package.nar, "xz", "nar/%s.nar.xz" % nix32(b"another"))
    bad("broken xz", package.nar, "none", "nar/%s.nar.xz" % nix32(package.nar), 400)
    broken = lzma.compress(package.nar)[:-5]
    refused("truncated xz", cache.put("nar/%s.nar.xz" % nix32(broken), broken), 400)
    refused("an unknown compression", cache.put("nar/%s.nar.rar" % nix32(package.nar), package.nar), 400, 415)
    refused("no name", cache.put("nar/x", package.nar), 400)
    refused("Content-Encoding", cache.put(package.url, gzip.compress(package.file), {"Content-Encoding": "gzip"}), 415)


def test_bombs():
    """Well formed, and larger than a decoder may make them, in every compression."""
    server = w.Server(w.NACRE, "serve", "--listen", "127.0.0.1:0", "--data", os.path.join(w.T, "bombs"), "--no-access-log",
                      "--set", "store.decode-free=1MiB", "--set", "store.decode-ratio=100")
    cache = Cache(server)
    size = 1 << 30
    head = narlib.write(tree(a=b""))
    at = head.index(b"contents") + 8
    parts = head[:at] + size.to_bytes(8, "little"), head[at + 8:]
    for name, (extension, *_), command in [(n, CODECS[n], c) for n, c in (
            ("zstd", "zstd -q -c -3"), ("xz", "xz -c -1"), ("gzip", "gzip -c -1"), ("bzip2", "bzip2 -c -1"),
            ("br", "brotli -c -q 5 -w 24"), ("lz4", "lz4 -q -c"))]:
        if not shutil.which(command.split()[0]):
            skip("a bomb in " + name, "needs " + command.split()[0])
            continue
        child = subprocess.Popen(command, shell=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

        def feed():
            child.stdin.write(parts[0])
            for _ in range(size >> 20):
                child.stdin.write(bytes(1 << 20))
            child.stdin.write(parts[1])
            child.stdin.close()
        threading.Thread(target=feed).start()
        bomb = child.stdout.read()
        url = "nar/%s.nar%s" % (nix32(bomb), extension)
        refused("a bomb in " + name, cache.put(url, bomb), 400, 413)
        check_eq("%s: nothing of it is there" % name, 404, cache.get(url).status)
    package = Package("after bombs", tree(a=b"small"))
    cache.upload(package)
    check_nar(cache, "after bombs", package.url, package, package.compression)
    stored = sum(os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(os.path.join(w.T, "bombs")) for f in files)
    check("and nothing on the disk", stored < 4 << 20, stored)
    server.check_clean_end()


def test_bad_narinfos(cache):
    package = Package("badinfo", tree(a=b"a"))
    other = Package("otherinfo", tree(a=b"something else"))
    target = package.hash_part + ".narinfo"
    refused("narinfo before its NAR", cache.put(target, package.narinfo()), 400, 409)
    cache.put(package.url, package.file)
    cache.put(other.url, other.file)
    good = package.narinfo()
    for name, text in (
            ("empty", b""), ("not one", b"hello\n"), ("CRLF", good.replace(b"\n", b"\r\n")), ("no final newline", good[:-1]),
            ("no StorePath", package.narinfo(StorePath=None)), ("no URL", package.narinfo(URL=None)),
            ("no NarHash", package.narinfo(NarHash=None)), ("NarSize 0", package.narinfo(NarSize=0)),
            ("no NarSize", package.narinfo(NarSize=None)), ("a negative NarSize", package.narinfo(NarSize=-1)),
            ("another store dir", package.narinfo(StorePath="/gnu/store/" + package.base)),
            ("a path of another hash part", package.narinfo(StorePath=other.path)),
            ("a malformed path", package.narinfo(StorePath=STORE + "/x")), ("..", package.narinfo(StorePath=STORE + "/../etc/passwd")),
            ("another NarHash", package.narinfo(NarHash="sha256:" + nix32(b"x"))),
            ("a malformed NarHash", package.narinfo(NarHash="sha256:x")), ("another NarSize", package.narinfo(NarSize=5)),
            ("an unknown compression", package.narinfo(Compression="rar")),
            ("a reference that is not there", package.narinfo(References="0" * 32 + "-missing")),
            ("a malformed reference", package.narinfo(References="../x")),
            ("a malformed signature", package.narinfo(Sig=["key:xx"])), ("a malformed CA", package.narinfo(CA="magic:x")),
            ("a CA that is not the content's", package.narinfo(CA="fixed:r:sha256:" + nix32(b"x"))),
            ("two lines of References", good + b"References: x\nReferences: y\n"),
            ("one of 5 MB", good + b"X: " + b"x" * 5000000 + b"\n")):
        refused("narinfo: " + name, cache.put(target, text), 400, 409, 413)
    check_eq("none of them was taken", 404, cache.get(target).status)
    refused("under another name", cache.put("0" * 32 + ".narinfo", good), 400)
    refused("under no name", cache.put("x.narinfo", good), 400)
    check_eq("the good one is", 201, cache.put(target, good).status)


def test_bindings(cache):
    """SPEC nacre 1: a path is bound once; what does not contradict is merged."""
    package = Package("bound", tree(a=b"first"))
    check_eq("a path is bound", 201, cache.upload(package).status)
    first = cache.get(package.hash_part + ".narinfo").body
    intruder = Package("bound", tree(a=b"second"))
    refused("other content for the path", cache.upload(intruder), 409)
    check_eq("changes nothing", first, cache.get(package.hash_part + ".narinfo").body)
    check_eq("the same again is fine", 201, cache.upload(package).status)
    check_eq("in another compression as well", 201, cache.upload(package.encode_as("bzip2")).status)
    signature = lambda k: "%s:%s" % (k, base64.b64encode(hashlib.sha512(k.encode()).digest()).decode())  # noqa: E731
    for key in ("one-1", "two-1"):
        cache.put(package.hash_part + ".narinfo", package.narinfo(Sig=[signature(key)]))
    info = parse(cache.get(package.hash_part + ".narinfo").body)
    check_eq("signatures add up", sorted([signature("one-1"), signature("two-1")]), sorted(info.get("Sig", [])))

    a = Package("dep-a", tree(a=b"a"))
    b = Package("dep-b", tree(b=b"b " + a.path.encode()), [a.base])
    refused("a path before its reference", cache.upload(b), 409)
    check_eq("the reference first", 201, cache.upload(a).status)
    check_eq("then the path", 201, cache.upload(b).status)
    check_eq("References", [a.base], parse(cache.get(b.hash_part + ".narinfo").body)["References"])
    c = Package("self", tree(c=b"self"))
    c.references = [c.base]
    check_eq("a path that refers to itself", 201, cache.upload(c).status)
    same = Package("same-content", tree(a=b"first"))
    check_eq("two paths of one content", 201, cache.upload(same).status)


def test_bodies(cache):
    package = Package("chunked", tree(a=os.urandom(500000)))
    r = cache.server.request("PUT", "/" + package.url, {"Transfer-Encoding": "chunked"}, chunked(package.file[:1000], package.file[1000:]))
    check("a chunked NAR", r.status == 201, r)
    r = cache.put(package.hash_part + ".narinfo", gzip.compress(package.narinfo()), {"Content-Encoding": "gzip"})
    check("a narinfo with Content-Encoding: gzip", r.status == 201, r)
    check("is decoded", b"StorePath: " + package.path.encode() in cache.get(package.hash_part + ".narinfo").body)
    r = cache.put(package.hash_part + ".narinfo", package.narinfo(), {"Content-Encoding": "rot13"})
    refused("an unknown Content-Encoding", r, 415)
    r = cache.put(package.hash_part + ".narinfo", b"\x1f\x8bbroken", {"Content-Encoding": "gzip"})
    refused("a broken one", r, 400)


def test_documents(cache):
    package = Package("docs", narlib.Directory({b"bin": narlib.Directory({b"x": narlib.File(b"#!/bin/sh\n", True)}),
                                                b"link": narlib.Symlink(b"bin/x")}))
    cache.upload(package)
    r = cache.get(package.hash_part + ".ls")
    try:
        root = json.loads(r.body)
    except ValueError:
        root = None
    check(".ls is made from the NAR", r.status == 200 and r["Content-Type"] == "application/json" and root
          and root["version"] == 1 and root["root"]["entries"]["link"] == {"type": "symlink", "target": "bin/x"}
          and root["root"]["entries"]["bin"]["entries"]["x"]["executable"] is True, r)
    narinfo = root["root"]["entries"]["bin"]["entries"]["x"] if root else {}
    offset = narinfo.get("narOffset", 0)
    check("its narOffset is right", package.nar[offset:offset + 10] == b"#!/bin/sh\n", narinfo)

    drv = "0" * 32 + "-a+b_c?d=e.drv"
    cases = [("log/" + urllib.parse.quote(drv), "text/plain; charset=utf-8"), ("log/" + "1" * 32 + "-empty.drv", "text/plain; charset=utf-8"),
             ("debuginfo/" + "0a" * 20 + ".debug", "application/json"),
             ("realisations/sha256:%s!out.doi" % ("a" * 64), "application/json"),
             ("realisations/sha256%%3A%s%%21dev.doi" % ("b" * 64), "application/json"),
             ("build-trace-v2/%s/out.doi" % urllib.parse.quote(drv), "application/json")]
    for target, content_type in cases:
        body = b"" if "empty" in target else json.dumps({"for": target}).encode()
        r = cache.put(target, body)
        check("PUT /%.40s" % target, r.status == 201, r)
        r = cache.get(target)
        h = cache.get(target, method="HEAD")
        check("GET /%.40s" % target, r.status == h.status == 200 and r.body == body and r["Content-Type"] == content_type
              and h["Content-Length"] == str(len(body)), "%s\n%s" % (h, r))
    check_eq("escaped and not is one name", 200, cache.get("realisations/sha256:%s!dev.doi" % ("b" * 64)).status)
    cache.put(cases[0][0], b"again")
    check_eq("put again replaces", b"again", cache.get(cases[0][0]).body)
    text = b"line\n" * 10000
    for coding, encoded in (("gzip", gzip.compress(text)), ("xz", lzma.compress(text))):
        r = cache.put("log/%s-x.drv" % ("2" * 32), encoded, {"Content-Encoding": coding})
        check("a log with Content-Encoding: %s" % coding, r.status == 201, r)
        r = cache.get("log/%s-x.drv" % ("2" * 32), {"Accept-Encoding": "gzip, xz"})
        check("is replayed to who takes it", r["Content-Encoding"] == coding and r.body == encoded and r["Vary"], r)
        r = cache.get("log/%s-x.drv" % ("2" * 32))
        check("and decoded for who does not", r["Content-Encoding"] is None and r.body == text, r)
    for target in ("log/..%2fx.drv", "log/a%2fb.drv", "realisations/..%2f..%2fx", "build-trace-v2/../x", "build-trace-v2/..%2fx/y",
                   "debuginfo/" + "x" * 3000):
        r = cache.put(target, b"x")
        check("PUT /%.30s is refused" % target, r.status in (400, 404, 405), r)


def broken_end(cache, target):
    """The status, and whether the body broke off."""
    wire = cache.server.connect()
    try:
        return wire.request("GET", "/" + target).status, False
    except (EOFError, ConnectionError, ValueError):
        return 200, True
    finally:
        wire.close()


def test_decoded_documents(cache):
    """A document for who does not take its coding: decoded while it is sent, whatever its size, and in little memory."""
    large = (os.urandom(8 << 10).hex().encode() + b"\n") * 4200
    log = "log/%s-%%s.drv" % ("4" * 32)
    check_eq("a log of %d MiB" % (len(large) >> 20), 201, cache.put(log % "large", gzip.compress(large, 1), {"Content-Encoding": "gzip"}).status)
    r = cache.get(log % "large")
    check("is decoded", r.status == 200 and r.body == large and r["Content-Encoding"] is None and r["Vary"] == "Accept-Encoding"
          and r["Content-Type"] == "text/plain; charset=utf-8", "%d of %d bytes\n%s" % (len(r.body), len(large), r))
    h = cache.get(log % "large", method="HEAD")
    check("HEAD", h.status == 200 and h["Vary"] == "Accept-Encoding", h)
    check_eq("has no body", b"", bytes_after_head(cache, log % "large"))
    for size in (0, 1, (64 << 10) - 1, 64 << 10, (64 << 10) + 1, 128 << 10, 1 << 20):
        cache.put(log % "edge", gzip.compress(large[:size]), {"Content-Encoding": "gzip"})
        r = cache.get(log % "edge")
        check("a log of %d bytes" % size, r.status == 200 and r.body == large[:size], r)
    for name, data, want in (("at its end", gzip.compress(large[:200 << 10])[:-1], (200, True)), ("behind it", gzip.compress(large[:200 << 10]) + b"x", (200, True)),
                             ("at the end of a small one", gzip.compress(b"text")[:-1], (500, False)), ("all over", b"text", (500, False))):
        check_eq("PUT of a log", 201, cache.put(log % "broken", data, {"Content-Encoding": "gzip"}).status)
        check_eq("a log that is broken %s" % name, want, broken_end(cache, log % "broken"))
    wide = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 16 << 20}]
    small, big = lzma.compress(b"text", filters=wide), lzma.compress(large[:200 << 10], filters=wide)
    cache.put(log % "window", small, {"Content-Encoding": "xz"})
    r = cache.get(log % "window")
    check("a small log with a wide window", r.status == 200 and r.body == b"text", r)
    cache.put(log % "window", big, {"Content-Encoding": "xz"})
    r = cache.get(log % "window")
    check("a larger one needs too much memory", r.status == 406 and b"Content-Encoding" in r.body, r)
    r = cache.get(log % "window", {"Accept-Encoding": "xz"})
    check("unless the client decodes it", r.status == 200 and r.body == big, r)


def test_slow_readers(cache):
    """Many who ask for what unpacks to much, and do not read it."""
    readers, unpacked = 16, 64 << 20
    target = "log/%s-bomb.drv" % ("5" * 32)
    cache.put(target, gzip.compress(bytes(unpacked)), {"Content-Encoding": "gzip"})
    before = cache.server.memory_kib()
    wires = [cache.server.connect() for _ in range(readers)]
    for wire in wires:
        wire.send(w.build_request("GET", "/" + target))
    for wire in wires:
        wire.take(1 << 10)
    used = cache.server.memory_kib() - before
    check("%d slow readers of %d MiB" % (readers, unpacked >> 20), used << 10 < readers * unpacked // 4, "%d KiB" % used)
    for wire in wires:
        wire.close()


def test_heads(cache):
    """HEAD is GET without the body, whatever the client takes."""
    package = cache.elf("heads")
    cache.put("log/%s-heads.drv" % ("3" * 32), gzip.compress(b"line\n" * 100), {"Content-Encoding": "gzip"})
    cache.put("realisations/sha256:%s!heads.doi" % ("c" * 64), b"{}")
    plain = "nar/%s.nar" % nix32(package.nar)
    for encoded in ("none", "xz"):
        package.encode_as(encoded)
        cache.put(package.url, package.file)
    tag = package.hash_part
    manifest = cache.get("v2/nix/manifests/" + tag)
    layers = json.loads(manifest.body)["layers"] if manifest.status == 200 else []
    tar = json.loads(cache.get("v2/nix/manifests/%s-tar" % tag).body)["layers"]
    targets = ["", "v2/", "v2/_catalog", "v2/_catalog?n=1", "nix-cache-info", tag + ".narinfo", tag + ".ls", "0" * 32 + ".narinfo", "nothing",
               cache.url(tag), plain, package.url, "log/%s-heads.drv" % ("3" * 32), "realisations/sha256:%s!heads.doi" % ("c" * 64),
               "v2/nix/manifests/" + tag, "v2/nix/manifests/%s" % manifest["Docker-Content-Digest"], "v2/nix/manifests/none",
               "v2/nix/tags/list", "v2/nix/tags/list?n=1", "v2/nix/referrers/%s" % manifest["Docker-Content-Digest"],
               "v2/nix/referrers/%s?artifactType=a/b" % manifest["Docker-Content-Digest"], "healthz", "readyz"]
    targets += ["v2/nix/blobs/" + layer["digest"] for layer in layers + tar[:1]]
    codings = ({}, {"Accept-Encoding": "identity"}, {"Accept-Encoding": "zstd, gzip"}, {"Accept-Encoding": "gzip"})
    for target in targets:
        different = []
        for headers in codings:
            got, head = cache.get(target, headers), cache.get(target, headers, method="HEAD")
            a, b = ({k.lower(): v for k, v in r.headers if k.lower() not in ("date", "x-request-id")} for r in (got, head))
            # SPEC rfc-9110 8.6, 9.3.2: what is only known when the body is made may be left out.
            if "content-length" not in b and b.get("connection") == "close":
                b.pop("connection")
                a.pop("transfer-encoding", None)
                a.pop("content-length", None)
            if got.status != head.status or a != b or head.body:
                different.append("%s\n%s\n%s" % (headers, got, head))
        check("HEAD is like GET: /%.60s" % target.replace(tag, "<hash>"), not different, "\n".join(different))
        etag = cache.get(target)["ETag"]
        if etag:
            h = cache.get(target, {"If-None-Match": etag}, method="HEAD")
            check_eq("and conditional", 304, h.status)
    check("a NAR has an ETag", cache.get(cache.url(tag), method="HEAD")["ETag"] and cache.get(plain, method="HEAD")["ETag"])


def test_narinfo_conditions(cache):
    """SPEC rfc-9110 13, 14: a narinfo is tagged by its text, so that a proxy before us asks for it anew without its body."""
    package = cache.elf("conditions")
    check_eq("the path", 201, cache.upload(package).status)
    target = package.hash_part + ".narinfo"
    first = cache.get(target)
    tag, text = first["ETag"], first.body
    check_eq("its tag is its digest", '"sha256:%s"' % hashlib.sha256(text).hexdigest(), tag)
    for header, value, status in (("If-None-Match", tag, 304), ("If-None-Match", "W/" + tag, 304), ("If-None-Match", '"x", ' + tag, 304),
                                  ("If-None-Match", '"x"', 200), ("If-Match", tag, 200), ("If-Match", '"x"', 412)):
        for method in ("GET", "HEAD"):
            r = cache.get(target, {header: value}, method=method)
            check("%s, %s: %.12s" % (method, header, value), r.status == status and (status == 412 or r["ETag"] == tag)
                  and r.body == (text if status == 200 and method == "GET" else b"" if status != 412 or method == "HEAD" else r.body), r)
    r = cache.get(target, {"Range": "bytes=2-9"})
    check("a range", r.status == 206 and r.body == text[2:10] and r["Content-Range"] == "bytes 2-9/%d" % len(text), r)
    check_eq("past its end", 416, cache.get(target, {"Range": "bytes=%d-" % len(text)}).status)
    check_eq("a signature comes", 201, cache.put(target, package.narinfo(Sig=["later-1:" + base64.b64encode(b"s" * 64).decode()])).status)
    r = cache.get(target, {"If-None-Match": tag})
    check("it is another text then", r.status == 200 and r["ETag"] != tag and b"later-1" in r.body, r)


def test_many_paths(cache):
    """SPEC nacre 6: the first of several paths are in the name of the repository, the last ones in the tag."""
    hashes = [cache.elf("many-%d" % i).hash_part for i in range(11)]

    def get(before, behind, suffix="", method="GET"):
        return cache.get("v2/%s/manifests/%s%s" % ("/".join(["nix"] + before), ".".join(behind), suffix), method=method)

    same = [get([], hashes[:3]), get(hashes[:1], hashes[1:3]), get(hashes[:2], hashes[2:3])]
    check_eq("where the names are is one image", {same[0]["Docker-Content-Digest"]}, {r["Docker-Content-Digest"] for r in same})
    check("in another order it is another", get(hashes[1::-1], hashes[2:3])["Docker-Content-Digest"] != same[0]["Docker-Content-Digest"])
    r = get(hashes[:7], hashes[7:10])
    layers = json.loads(r.body)["layers"] if r.status == 200 else []
    found = {v.split()[0][11:43] for layer in layers for k, v in layer.get("annotations", {}).items() if ".path." in k}
    check("ten paths", found == set(hashes[:10]), r)
    name = "/".join(["nix"] + hashes[:7])
    for layer in layers[:2] + layers[-1:]:
        got = cache.get("v2/%s/blobs/%s" % (name, layer["digest"]))
        check("a layer of it", got.status == 200 and "sha256:" + hashlib.sha256(got.body).hexdigest() == layer["digest"], got)
    check_eq("by HEAD and by digest", [200, 200], [get(hashes[:7], hashes[7:10], method="HEAD").status,
                                                   cache.get("v2/%s/manifests/%s" % (name, r["Docker-Content-Digest"])).status])
    check_eq("the other forms", [200, 200, 200], [get(hashes[:2], hashes[2:3], s).status for s in ("-tar", "-gzip", "-native")])
    check_eq("path infos refer to it", 1, len(json.loads(cache.get("v2/%s/referrers/%s" % (name, r["Docker-Content-Digest"])).body)["manifests"]))
    check_eq("its tags", [".".join(hashes[7:10])], json.loads(cache.get("v2/%s/tags/list" % name).body)["tags"])
    missing = "0" * 32
    check_eq("a name can have no more than 255 characters", 400, get(hashes[:8], hashes[8:11]).status)
    bad = [(hashes[:1], hashes[:1], ""), (hashes[:2] + hashes[:1], hashes[3:4], ""), (hashes[:1], ["latest"], ""),
           (hashes[:1], [], ""), ([missing], hashes[:1], ""), (hashes[:1], [missing], ""), (hashes[:1], hashes[1:2], "-x"),
           (["package"] + hashes[:1], hashes[1:2], ""), (hashes[:1] + ["x"], hashes[1:2], "")]
    check_eq("what is no image", [404] * len(bad), [get(*b).status for b in bad])
    check("what is missing is named", missing in get(hashes[:1], [missing]).body.decode())
    r = cache.server.request("PUT", "/v2/nix/%s/manifests/%s" % (hashes[0], hashes[1]), {"Content-Type": "application/vnd.oci.image.index.v1+json"},
                             b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}')
    check("nobody pushes them", 400 <= r.status < 500, r)


def test_concurrent(cache):
    """Many clients with the same path."""
    package = Package("concurrent", tree(a=os.urandom(1 << 20)))
    results = []

    def client():
        try:
            results.append((cache.put(package.url, package.file).status,
                            cache.put(package.hash_part + ".narinfo", package.narinfo()).status))
        except Exception as e:  # noqa: BLE001
            results.append(repr(e))

    threads = [threading.Thread(target=client) for _ in range(25)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check_eq("25 uploads of one path", [(201, 201)] * 25, results)
    info = parse(cache.get(package.hash_part + ".narinfo").body)
    check_nar(cache, "it is whole", info["URL"][0], package, info["Compression"][0])


def test_pipelining(cache):
    """Guix asks for all narinfos of a list on one connection."""
    packages = [Package("pipe-%d" % i, tree(a=b"%d" % i)) for i in range(10)]
    for package in packages:
        cache.upload(package)
    wire = cache.server.connect()
    names = [p.hash_part for p in packages] + ["0" * 32] + [p.hash_part for p in packages]
    wire.send(b"".join(w.build_request("GET", "/%s.narinfo" % n) for n in names))
    got = [wire.response().status for _ in names]
    check_eq("21 pipelined narinfos", [200] * 10 + [404] + [200] * 10, got)


def main():
    command = sys.argv[1:] or [w.NACRE, "serve", "--listen", "127.0.0.1:0", "--data", os.path.join(w.T, "data"), "--no-access-log"]
    server = w.Server(*command)
    cache = Cache(server)
    for test in (test_cache_info, test_absent, test_uploads, test_ranges, test_transport_coding, test_bad_nars, test_bad_narinfos,
                 test_bindings, test_bodies, test_documents, test_decoded_documents, test_slow_readers, test_heads, test_narinfo_conditions,
                 test_many_paths, test_concurrent, test_pipelining):
        try:
            test(cache)
        except Exception as e:  # noqa: BLE001
            check(test.__name__, False, "%s: %s" % (type(e).__name__, e))
    check("no PUT was answered 202, 3xx, 408, 429 or 5xx", not cache.bad_statuses, "\n".join(cache.bad_statuses))
    server.check_clean_end()
    if not sys.argv[1:]:
        test_bombs()
    w.finish()


if __name__ == "__main__":
    main()
