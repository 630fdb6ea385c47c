#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What clients have sent to registries, or what attackers may send, at the edges of the specifications (SPEC dist-1.1,
rfc-9110, rfc-9112), byte by byte. Prints `ok - …`, `not ok - …`, `skip - … # reason`."""

import gzip
import hashlib
import json
import os
import sys
import time
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import server_wire as w  # noqa: E402
from server_wire import check, check_eq, chunked  # noqa: E402

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
EMPTY = "application/vnd.oci.empty.v1+json"
BLOB = bytes(range(256)) * 8


def digest(data, algorithm="sha256"):
    return "%s:%s" % (algorithm, hashlib.new(algorithm, data).hexdigest())


def manifest(**more):
    return json.dumps(dict({"schemaVersion": 2, "mediaType": MANIFEST, "config": {"mediaType": EMPTY, "digest": digest(b"{}"), "size": 2},
                            "layers": []}, **more)).encode()


class Registry:
    def __init__(self, server):
        self.server = server
        for data in (b"{}", BLOB):
            self("POST", "r/blobs/uploads/?digest=" + digest(data), (), data)
        self("PUT", "r/manifests/v1", {"Content-Type": MANIFEST}, manifest())

    def __call__(self, method, target, headers=(), body=b""):
        return self.server.request(method, target if target.startswith("/") else "/v2/" + target, headers, body)

    def session(self):
        return self("POST", "r/blobs/uploads/")["Location"]


def test_accept(registry):
    """SPEC dist-1.1 end-3: the type that was pushed is the answer, whatever is asked for; clients ask for the wrong one."""
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).encode()
    registry("PUT", "r/manifests/index", {"Content-Type": INDEX}, index)
    for tag, media_type, size in (("v1", MANIFEST, len(manifest())), ("index", INDEX, len(index))):
        for accept in ("text/html", MANIFEST, INDEX, DOCKER, DOCKER_LIST, "*/*", "*/*;q=0", "", "garbage;;;,,"):
            got = [registry(m, "r/manifests/" + tag, {"Accept": accept}) for m in ("HEAD", "GET")]
            check("%s to who accepts %r" % (tag, accept), all(r.status == 200 and r["Content-Type"] == media_type
                                                            and r["Content-Length"] == str(size) for r in got), got[0])


def test_media_types(registry):
    """SPEC dist-1.1 end-7: what Content-Type and document say has to agree; either will do."""
    silent = json.loads(manifest())
    del silent["mediaType"]
    silent = json.dumps(silent).encode()
    for name, body, headers, status, media_type in (
            ("no Content-Type", manifest(), {}, 201, MANIFEST),
            ("a document without its type", silent, {"Content-Type": MANIFEST}, 201, MANIFEST),
            ("neither", silent, {}, 201, MANIFEST),
            ("parameters", manifest(), {"Content-Type": MANIFEST + " ; charset=utf-8"}, 201, MANIFEST),
            ("another type", manifest(), {"Content-Type": INDEX}, 400, None),
            ("application/json", manifest(), {"Content-Type": "application/json"}, 400, None),
            ("compressed, which nobody asked for", gzip.compress(manifest()), {"Content-Type": MANIFEST, "Content-Encoding": "gzip"}, 400, None),
            ("nothing", b"", {"Content-Type": MANIFEST}, 400, None)):
        r = registry("PUT", "r/manifests/typed", headers, body)
        got = registry("HEAD", "r/manifests/typed")
        check("PUT of %s: %d" % (name, status), r.status == status and (status != 201 or got["Content-Type"] == media_type), r)
    wire = registry.server.connect()
    r = wire.request("PUT", "/v2/r/manifests/pieces", {"Content-Type": MANIFEST, "Transfer-Encoding": "chunked"},
                     chunked(manifest()[:7], manifest()[7:]))
    check("a manifest in chunks", r.status == 201 and wire.request("GET", "/v2/r/manifests/pieces").body == manifest(), r)


def test_any_type(registry):
    """SPEC dist-1.1 end-7, end-3: manifests of any media type, byte for byte; also Docker's first schema, and no JSON."""
    schema_1 = "application/vnd.docker.distribution.manifest.v1+"
    old = b'{\n   "schemaVersion": 1,\n   "name": "r",\n   "tag": "old",\n   "fsLayers": [{"blobSum": "%s"}],\n   "signatures": []\n}' % \
        digest(BLOB).encode()
    for name, media_type, body in (("schema 1", schema_1 + "json", old), ("signed schema 1", schema_1 + "prettyjws", old),
                                   ("a picture", "image/png", BLOB), ("a text", "text/plain", "\u00e4\n".encode()),
                                   ("a list", "application/json", b" [1, 2]"), ("8 MiB", "application/x-large", BLOB * (8 << 20 >> 11)),
                                   ("a key twice", "application/vnd.example+json", b'{"a":1,"a":2}')):
        r = registry("PUT", "any/manifests/x", {"Content-Type": media_type}, body)
        check("PUT of %s" % name, r.status == 201 and r["Docker-Content-Digest"] == digest(body), r)
        for reference in ("x", digest(body)):
            for got in (registry("GET", "any/manifests/" + reference), registry("HEAD", "any/manifests/" + reference)):
                check("it comes as it went", (got.status, got["Content-Type"], got["Content-Length"], got["Docker-Content-Digest"])
                      == (200, media_type, str(len(body)), digest(body)) and got.body in (body, b""), got)
        check_eq("by its digest alone", 201, registry("PUT", "any/manifests/" + digest(body), {"Content-Type": media_type}, body).status)
        check_eq("not by another", 400, registry("PUT", "any/manifests/" + digest(b"x"), {"Content-Type": media_type}, body).status)
    subject = {"mediaType": MANIFEST, "digest": digest(manifest()), "size": len(manifest())}
    body = json.dumps({"mediaType": "application/vnd.example+json", "subject": subject}).encode()
    r = registry("PUT", "any/manifests/refers", {"Content-Type": "application/vnd.example+json"}, body)
    listed = json.loads(registry("GET", "any/referrers/" + digest(manifest())).body)["manifests"]
    check("one with a subject is listed", r["OCI-Subject"] == digest(manifest()) and [m["digest"] for m in listed] == [digest(body)], listed)
    for name, media_type, body, status in (("nothing", "text/plain", b"", 400), ("no type", None, b"text", 400), ("8 MiB and one byte",
                                           "text/plain", b"x" * ((8 << 20) + 1), 413), ("what says it is another thing",
                                           "application/vnd.example+json", manifest(), 400)):
        r = registry("PUT", "any/manifests/bad", {"Content-Type": media_type} if media_type else {}, body)
        check("PUT of %s: %d" % (name, status), r.status == status, r)


def test_lists(registry):
    """SPEC dist-1.1 end-8b"""
    tags = sorted(json.loads(registry("GET", "r/tags/list").body)["tags"])
    for query, want in (("n=0", []), ("n=0&last=v1", []), ("last=zzz", []), ("n=5&last=zzz", []), ("last=~", []), ("n=10000", tags),
                        ("last=", tags), ("n=%31", tags[:1]), ("n=1&n=2", tags[:1]), ("n=001", tags[:1]), ("N=1", tags), ("&&n=1&x", tags[:1])):
        r = registry("GET", "r/tags/list?" + query)
        check("tags?%s" % query, r.status == 200 and json.loads(r.body)["tags"] == want
              and bool(r["Link"]) == (query not in ("N=1",) and 0 < len(want) < len(tags)), r)
    for query in ("n", "n=", "n=+1", "n=1.5", "n=0x10", "n=-1", "n=1;last=v", "last=v1%00", "last=%zz", "n=18446744073709551616"):
        for target in ("r/tags/list?", "_catalog?"):
            r = registry("GET", target + query)
            check("%s%s is refused" % (target, query), r.status == 400, r)
    for target in ("r/tags/list", "_catalog", "r/referrers/" + digest(manifest())):
        got, head = registry("GET", target), registry("HEAD", target)
        check("HEAD of %.12s" % target, head.status == 200 and head["Content-Length"] == str(len(got.body))
              and head["Content-Type"] == got["Content-Type"], head)


def test_uploads(registry):
    """SPEC dist-1.1 end-4 to end-6, end-11"""
    location = registry.session()
    for header in ("0-10", "0-8"):
        r = registry("PATCH", location, {"Content-Range": header}, b"0123456789")
        check("Content-Range: %s of 10 bytes is refused" % header, r.status == 400, r)
    check_eq("and nothing taken", "0-0", registry("GET", location)["Range"])
    for name, headers, body in (("no content", {}, b""), ("no chunk", {"Transfer-Encoding": "chunked"}, b"0\r\n\r\n")):
        r = registry("PATCH", location, headers, body)
        check("PATCH of %s" % name, r.status == 202 and r["Range"] == "0-0", r)
    r = registry("PATCH", location, {"Content-Range": "0-4", "Content-Type": "application/octet-stream", "Expect": "100-continue"}, b"01234")
    # libmicrohttpd 1.0 says 100 only where the body is not there already.
    check("PATCH behind 100-continue", r.status in (100, 202), r)
    # Behind a 100 the server may still be at it.
    until = time.monotonic() + 10
    while registry("GET", location)["Range"] != "0-4" and time.monotonic() < until:
        time.sleep(0.01)
    check_eq("PATCH goes on", "0-4", registry("GET", location)["Range"])
    d = digest(b"01234")
    r = registry("PUT", location + "?x=1&digest=" + urllib.parse.quote(d) + "&_state=abc")
    check("PUT among other parameters", r.status == 201 and r["Location"] == "/v2/r/blobs/" + d, r)
    for name, text in (("upper case", d.upper()), ("upper case hex", "sha256:" + d[7:].upper()), ("an algorithm in upper case", "SHA256:" + d[7:]),
                       ("a blank", d + "%20")):
        for r in (registry("GET", "r/blobs/" + text), registry("PUT", registry.session() + "?digest=" + text, (), b"01234"),
                  registry("POST", "r/blobs/uploads/?digest=" + text, (), b"01234")):
            if not r.status == 400:
                check("a digest with " + name, False, r)
                break
        else:
            check("a digest with %s is none" % name, True)
    for text in (d.replace(":", "%3A"), d.replace(":", "%3a")):
        check_eq("a digest with %s" % text[6:9], 200, registry("GET", "r/blobs/" + text).status)
    mount = "blobs/uploads/?mount=%s&from=r" % d
    for name, target, headers, body in (("mount", "m1/" + mount, {}, b""), ("into the same repository", "r/" + mount, {}, b""),
                                        ("that says the digest twice", "m2/%s&digest=%s" % (mount, d), {}, b""),
                                        ("with the content, in case", "m3/%s&digest=%s" % (mount, d), {}, b"01234")):
        r = registry("POST", target, headers, body)
        check("a mount %s: 201" % name, r.status == 201 and r["Docker-Content-Digest"] == d, r)
    for target in ("m4/blobs/uploads/?from=r", "m4/blobs/uploads/?mount=%s&from=nowhere" % d, "m4/blobs/uploads"):
        r = registry("POST", target)
        check("POST %.34s opens a session" % target, r.status == 202 and r["Location"].startswith("/v2/m4/blobs/uploads/"), r)


def test_in_use(registry):
    """SPEC dist-1.1 end-9, end-10: what others name may be deleted; they stay, and it can come again."""
    registry("PUT", "use/manifests/x", {"Content-Type": INDEX}, json.dumps({"schemaVersion": 2, "manifests": []}).encode())
    registry("POST", "use/blobs/uploads/?digest=" + digest(b"{}"), (), b"{}")
    body = manifest(annotations={"in": "use"})
    d = digest(body)
    registry("PUT", "use/manifests/" + d, {"Content-Type": MANIFEST}, body)
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [{"mediaType": MANIFEST, "digest": d, "size": len(body)}]}).encode()
    registry("PUT", "use/manifests/index", {"Content-Type": INDEX}, index)
    check_eq("a member of an index is deleted", 202, registry("DELETE", "use/manifests/" + d).status)
    check_eq("the index stays", [200, 404], [registry("GET", "use/manifests/" + r).status for r in ("index", d)])
    check_eq("the member comes again", 201, registry("PUT", "use/manifests/" + d, {"Content-Type": MANIFEST}, body).status)
    check_eq("a config is deleted", 202, registry("DELETE", "use/blobs/" + digest(b"{}")).status)
    check_eq("the manifest stays", 200, registry("GET", "use/manifests/" + d).status)
    check_eq("and cannot be put again without it", 404, registry("PUT", "use/manifests/t", {"Content-Type": MANIFEST}, body).status)


def test_names(registry):
    """SPEC dist-1.1 end-3, end-7: tags of 128 bytes; what is percent-encoded is what it says."""
    for tag, status in (("a" * 128, 201), ("a" * 129, 400), ("A", 201), ("_x", 201), ("x.", 201), (".x", 400), ("-x", 400), ("%41b", 201),
                        ("a:b", 400), ("v1%2f", 404), ("v1%00", 400), ("latest#x", 400), ("v1?", 201)):
        r = registry("PUT", "names/manifests/" + tag, {"Content-Type": INDEX}, json.dumps(
            {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).encode())
        check("PUT of tag %.8s (%d): %d" % (tag, len(tag), status), r.status == status, r)
    check_eq("the names are plain", ["A", "Ab", "_x", "a" * 128, "v1", "x."],
             json.loads(registry("GET", "names/tags/list").body)["tags"])
    for target, status in (("%72/manifests/v1", 200), ("r/%6danifests/%76%31", 200), ("/v2//r/manifests/v1", 400), ("r/manifests/v1/", 404),
                           ("r/../r/manifests/v1", 400), ("r/%2e%2e/r/manifests/v1", 400), ("a%2fb/manifests/v1", 404), ("r/manifests/v1%20", 404)):
        check_eq("GET %s: %d" % (target, status), status, registry("GET", target).status)


def test_ranges(registry):
    """SPEC rfc-9110 14: one range of bytes is served; of what is none, or several, the whole. Of blobs and manifests."""
    body, target = manifest(), "r/manifests/v1"
    size = len(body)
    for header, status, part in (("bytes=5-9", 206, "5-9/%d" % size), ("bytes=-1", 206, "%d-%d/%d" % (size - 1, size - 1, size)),
                                 ("bytes=7-", 206, "7-%d/%d" % (size - 1, size)), ("bytes=0-99999", 206, "0-%d/%d" % (size - 1, size)),
                                 ("bytes=%d-" % size, 416, "*/%d" % size), ("bytes=0-0,2-2", 200, None), ("lines=1-2", 200, None)):
        for name in (target, "r/manifests/" + digest(body)):
            for again in ("", ", again"):
                r = registry("GET", name, {"Range": header})
                want = body if status == 200 else body[int(part.split("-")[0]):int(part.split("-")[1].split("/")[0]) + 1] if status == 206 else None
                check("Range: %s of a manifest%s" % (header, again), r.status == status
                      and r["Content-Range"] == (part and "bytes " + part) and r["Docker-Content-Digest"] == digest(body)
                      and (want is None or r.body == want and r["ETag"] == '"%s"' % digest(body)), r)
    for tag, status in (('"%s"' % digest(body), 206), ('"x"', 200)):
        check_eq("If-Range of a manifest: %.10s" % tag, status, registry("GET", target, {"Range": "bytes=0-1", "If-Range": tag}).status)
    check_eq("If-None-Match goes before the range", 304, registry(
        "GET", target, {"Range": "bytes=0-1", "If-None-Match": '"%s"' % digest(body)}).status)
    check_eq("HEAD of a manifest knows no range", [200, str(size)], [getattr(
        registry("HEAD", target, {"Range": "bytes=0-1"}), "status"), registry("HEAD", target, {"Range": "bytes=0-1"})["Content-Length"]])
    target, whole = "r/blobs/" + digest(BLOB), (200, None, BLOB)
    for header, want in (("bytes=-1", (206, "2047-2047", BLOB[-1:])), ("bytes=-99999999999999999999", (206, "0-2047", BLOB)),
                         ("bytes=0-18446744073709551615", (206, "0-2047", BLOB)), ("Bytes=0-1", (206, "0-1", BLOB[:2])),
                         ("bytes=-0", (416, "*", None)), ("bytes=18446744073709551616-", (416, "*", None)),
                         ("bytes=0-0,5-6", whole), ("bytes=5-6, 0-0", whole), ("bytes=9999-,9998-", whole), ("bytes=,0-1", whole),
                         ("bytes = 0-1", whole), ("bytes=", whole), ("bytes", whole), ("bytes=-", whole), ("bytes=+0-1", whole),
                         ("bytes=0x0-1", whole), ("bytes=" + ",".join(["0-0"] * 900), whole)):
        r = registry("GET", target, {"Range": header})
        status, part, body = want
        check("Range: %.30s" % header, r.status == status and r["Content-Range"] == (part and "bytes %s/2048" % part)
              and (body is None or r.body == body), r)
    r = registry("HEAD", target, {"Range": "bytes=0-1"})
    check("HEAD knows no range", r.status == 200 and r["Content-Length"] == "2048", r)


def test_conditions(registry):
    """SPEC rfc-9110 13: lists, weak tags, and what is said of changes."""
    for name, target, tag, size in (("a blob", "r/blobs/" + digest(BLOB), '"%s"' % digest(BLOB), 2048),
                                    ("a manifest", "r/manifests/v1", '"%s"' % digest(manifest()), len(manifest()))):
        for header, value, status in (
                ("If-None-Match", tag, 304), ("If-None-Match", "W/" + tag, 304), ("If-None-Match", '"x", ' + tag, 304),
                ("If-None-Match", '"x",%s,"y"' % tag, 304), ("If-None-Match", "*", 304), ("If-None-Match", tag.strip('"'), 200),
                ("If-None-Match", '"x"', 200), ("If-None-Match", "", 200), ("If-None-Match", '"', 200),
                ("If-Match", tag, 200), ("If-Match", '"x", ' + tag, 200), ("If-Match", "*", 200), ("If-Match", '"x"', 412),
                ("If-Modified-Since", "Mon, 23 Nov 2099 00:00:00 GMT", 200), ("If-Unmodified-Since", "Tue, 23 Nov 1999 00:00:00 GMT", 200)):
            for method in ("GET", "HEAD"):
                wire = registry.server.connect()
                r = wire.request(method, "/v2/" + target, {header: value})
                good = r.status == status and (status == 412 or r["ETag"] == tag and r["Content-Length"] == str(size))
                check("%s of %s, %s: %.14s" % (method, name, header, value), good and wire.request("GET", "/v2/").status == 200, r)
    target = "r/blobs/" + digest(BLOB)
    for value, status in (('"%s"' % digest(BLOB), 206), ('W/"%s"' % digest(BLOB), 200), ("Mon, 23 Nov 2099 00:00:00 GMT", 200)):
        check_eq("If-Range: %.10s" % value, status, registry("GET", target, {"Range": "bytes=0-1", "If-Range": value}).status)

    # A manifest is deleted by who saw it, as it is replaced (server-oci.py).
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).encode()
    registry("PUT", "cond/manifests/t", {"Content-Type": INDEX}, index)
    delete = lambda **h: registry("DELETE", "cond/manifests/t", {k.replace("_", "-"): v for k, v in h.items()})  # noqa: E731
    check_eq("DELETE, If-Match of another: 412", 412, delete(If_Match='"x"').status)
    check_eq("it is there", 200, registry("HEAD", "cond/manifests/t").status)
    check_eq("DELETE, If-Match of it: 202", 202, delete(If_Match='"%s"' % digest(index)).status)
    check_eq("again: 412", 412, delete(If_Match="*").status)


def exchange(server, data):
    """What comes back for these bytes and a request behind them: statuses, until the connection ends or is silent."""
    wire, statuses = server.connect(timeout=1), []
    wire.send(data)
    try:
        statuses.append(wire.response("PUT").status)
        wire.send(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
        while True:
            statuses.append(wire.response().status)
    except (EOFError, OSError):
        pass
    wire.close()
    return statuses


def test_framing(server):
    """SPEC rfc-9112 3.2, 5.1, 5.2, 6, 7: who reads where a message ends otherwise than a proxy does, lets requests be smuggled."""
    body = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).encode()
    n = len(body)
    head = b"PUT /v2/f/manifests/t HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\n" % INDEX.encode()
    piece = b"%x\r\n%s\r\n0\r\n\r\n" % (n, body)
    smuggled = b"GET /nix-cache-info HTTP/1.1\r\nHost: x\r\n\r\n"
    also = {"a length in the next line": [], "a header that goes on": [400, 200, 200], "an extension of a chunk": [400],
            "chunked in the next line": [201, 200]}
    for name, data, want in (
            ("Content-Length", head + b"Content-Length:%d\r\n\r\n%s" % (n, body), [201, 200]),
            ("Content-Length twice, the same", head + b"Content-Length: %d\r\nContent-Length: %d\r\n\r\n%s" % (n, n, body), [201, 200]),
            ("a blank before the colon", head + b"Content-Length : %d\r\n\r\n%s" % (n, smuggled), [400]),
            ("a tab before the colon", head + b"Content-Length\t: %d\r\n\r\n%s" % (n, smuggled), [400]),
            ("a length in the next line", head + b"Content-Length:\r\n %d\r\n\r\n%s" % (n, smuggled), [400]),
            ("a length that goes on", head + b"Content-Length: 0\r\n 5\r\n\r\n" + smuggled, [400]),
            ("a header that goes on", head + b"X-A: b\r\n Content-Length: 5\r\n\r\n" + smuggled, [400]),
            ("a sign", head + b"Content-Length: +%d\r\n\r\n%s" % (n, body), [400]),
            ("hexadecimal", head + b"Content-Length: 0x10\r\n\r\n" + body, [400]),
            ("a list", head + b"Content-Length: %d, %d\r\n\r\n%s" % (n, n, body), [400]),
            ("no length", head + b"Content-Length: \r\n\r\n" + body, [400]),
            ("a name with a blank", head + b"X A: b\r\nContent-Length: %d\r\n\r\n%s" % (n, body), [400]),
            ("a line without a colon", head + b"x\r\nContent-Length: %d\r\n\r\n%s" % (n, body), [400]),
            ("chunked", head + b"Transfer-Encoding: Chunked\r\n\r\n" + piece, [201, 200]),
            ("chunked, with trailers", head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\nContent-Length: 5\r\n\r\n" % (n, body), [201, 200]),
            ("an extension of a chunk", head + b"Transfer-Encoding: chunked\r\n\r\n%x;a=b\r\n%s\r\n0\r\n\r\n" % (n, body), [201, 200]),
            ("chunked, a blank before the colon", head + b"Transfer-Encoding : chunked\r\n\r\n" + piece, [400]),
            ("chunked in the next line", head + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + piece, [400]),
            ("chunked twice", head + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + piece, [400]),
            ("chunked in two headers", head + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + piece, [400]),
            ("almost chunked", head + b"Transfer-Encoding: xchunked\r\n\r\n" + piece, [400]),
            ("a control character behind it", head + b"Transfer-Encoding: chunked\x0b\r\n\r\n" + piece, [400]),
            ("a chunk with a sign", head + b"Transfer-Encoding: chunked\r\n\r\n+%x\r\n%s\r\n0\r\n\r\n" % (n, body), [400]),
            ("a chunk with a prefix", head + b"Transfer-Encoding: chunked\r\n\r\n0x%x\r\n%s\r\n0\r\n\r\n" % (n, body), [400]),
            ("a chunk past 64 bits", head + b"Transfer-Encoding: chunked\r\n\r\n1%016x\r\n%s\r\n0\r\n\r\n" % (n, body), [413]),
            ("a chunk that is longer than it says", head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%sXX\r\n0\r\n\r\n" % (n, body), [400]),
            ("HTTP/1.0, chunked", (head + b"Transfer-Encoding: chunked\r\n\r\n" + piece).replace(b"HTTP/1.1", b"HTTP/1.0"), [201]),
            ("HTTP/1.0, 100-continue", (head + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n%s" % (n, body)).replace(
                b"HTTP/1.1", b"HTTP/1.0"), [201]),
            ("no Host", b"GET /v2/ HTTP/1.1\r\n\r\n", [400]),
            ("two Hosts", b"GET /v2/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", [400]),
            ("HTTP/1.0 without a Host", b"GET /v2/ HTTP/1.0\r\n\r\n", [200]),
            ("HTTP/2.0", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [505])):
        got = exchange(server, data)
        # libmicrohttpd 1.0 puts a blank in place of a line's fold, as rfc-9112 5.2 allows, and takes no extensions.
        check("framing: " + name, got in (want, also.get(name)), "want %s, got %s" % (want, got))


def test_upload_limit():
    """SPEC dist-1.1 error codes, code-14: who has to wait for others hears that, and not that something is too large."""
    server = w.Server(w.NACRE, "serve", "--listen", "127.0.0.1:0", "--data", os.path.join(w.T, "limit"), "--no-access-log",
                      "--set", "store.uploads=2")
    sessions = [server.request("POST", "/v2/r/blobs/uploads/") for _ in range(3)]
    r = sessions.pop()
    check("one upload too many: 429 with Retry-After", [s.status for s in sessions] == [202, 202] and r.status == 429
          and int(r["Retry-After"]) > 0 and json.loads(r.body)["errors"][0]["code"] == "TOOMANYREQUESTS", r)
    check_eq("what needs no session goes on", 201, server.request("POST", "/v2/r/blobs/uploads/?digest=" + digest(BLOB), (), BLOB).status)
    check_eq("one comes to its end", 201, server.request("PUT", sessions[0]["Location"] + "?digest=" + digest(b"x"), (), b"x").status)
    check_eq("and the next may begin", 202, server.request("POST", "/v2/r/blobs/uploads/").status)
    server.check_clean_end()


def main():
    server = w.Server(w.NACRE, "serve", "--listen", "127.0.0.1:0", "--data", os.path.join(w.T, "data"), "--no-access-log")
    registry = Registry(server)
    for test in (test_accept, test_media_types, test_any_type, test_lists, test_uploads, test_in_use, test_names, test_ranges, test_conditions):
        try:
            test(registry)
        except Exception as e:  # noqa: BLE001
            check(test.__name__, False, "%s: %s" % (type(e).__name__, e))
    test_framing(server)
    server.check_clean_end()
    test_upload_limit()
    w.finish()


if __name__ == "__main__":
    main()
