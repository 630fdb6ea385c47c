#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The registry's API, every endpoint, good and bad (SPEC dist-1.1). Prints `ok - …`, `not ok - …`, `skip - … # reason`.

    server-oci.py [COMMAND…]     default: $NACRE serve, on a fresh directory. COMMAND prints the server's URL.
"""

import hashlib
import json
import os
import re
import sys
import threading
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import server_wire as w  # noqa: E402
from server_wire import check, check_eq, chunked  # noqa: E402

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
EMPTY = "application/vnd.oci.empty.v1+json"


def digest(data, algorithm="sha256"):
    return "%s:%s" % (algorithm, hashlib.new(algorithm, data).hexdigest())


def descriptor(data, media_type, **more):
    return dict(mediaType=media_type, digest=digest(data), size=len(data), **more)


def error_code(response):
    """The code of an answer in the form that the specification gives."""
    try:
        error = json.loads(response.body)["errors"][0]
        return error["code"] if isinstance(error["message"], str) else "no message"
    except (ValueError, KeyError, IndexError, TypeError) as e:
        return "malformed: %r" % e


def check_error(name, response, status, code):
    check("%s: %d %s" % (name, status, code), response.status == status and error_code(response) == code
          and response["Content-Type"] == "application/json", response)


class Registry:
    def __init__(self, server):
        self.server = server

    def __call__(self, method, target, headers=(), body=b""):
        return self.server.request(method, "/v2/" + target, headers, body)

    def push_blob(self, repository, data, algorithm="sha256"):
        return self("POST", "%s/blobs/uploads/?digest=%s" % (repository, digest(data, algorithm)), (), data)

    def put_manifest(self, repository, reference, document, media_type=MANIFEST, query=""):
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return self("PUT", "%s/manifests/%s%s" % (repository, reference, query), {"Content-Type": media_type}, body), body

    def session(self, repository, query=""):
        r = self("POST", "%s/blobs/uploads/%s" % (repository, query))
        return r["Location"][len("/v2/"):] if r["Location"] else None


def image(registry, repository, salt, **more):
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}, "salt": salt}).encode()
    layer = b"layer " + salt.encode()
    for blob in (config, layer):
        registry.push_blob(repository, blob)
    return dict({"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(config, CONFIG),
                 "layers": [descriptor(layer, LAYER)]}, **more)


def test_base(registry):
    """SPEC dist-1.1 end-1"""
    for method in ("GET", "HEAD"):
        r = registry(method, "")
        check(method + " /v2/", r.status == 200 and r["Docker-Distribution-Api-Version"] == "registry/2.0", r)
    check_error("what is no endpoint", registry("GET", "a/b"), 404, "UNSUPPORTED")
    check_error("POST /v2/", registry("POST", ""), 405, "UNSUPPORTED")


def test_names(registry):
    good = ["a", "0", "a/b", "a/b/c/d", "a.b", "a_b", "a__b", "a-b", "a---b", "blobs/uploads", "tags/list", "a" * 255]
    bad = ["A", "a//b", "-a", "a-", "a..b", "a___b", ".a", "a/_b", "a%20b", "a%0ab", "_a", "a" * 256, "%c3%a4"]
    for name in good:
        r = registry("GET", name + "/manifests/t")
        check("repository name %.20s" % name, r.status == 404 and error_code(r) == "NAME_UNKNOWN", r)
    for name in bad:
        for method, tail in (("GET", "/manifests/t"), ("POST", "/blobs/uploads/"), ("GET", "/tags/list"),
                             ("PUT", "/manifests/t"), ("GET", "/blobs/" + digest(b"")), ("GET", "/referrers/" + digest(b""))):
            r = registry(method, name + tail)
            if r.status != 400 or error_code(r) != "NAME_INVALID":
                check("%s %s%s is refused" % (method, name, tail), False, r)
                break
        else:
            check("%.20s is no repository name" % name, True)


def test_digests(registry):
    bad = ["sha256:abc", "sha256:" + "0" * 63, "sha256:" + "A" * 64, "sha256:" + "g" * 64, "sha512:" + "0" * 64,
           "md5:" + "0" * 32, "sha256", "sha256:", "x" * 300, "sha1:" + "0" * 40]
    for text in bad:
        for method, target in (("GET", "a/blobs/%s"), ("HEAD", "a/blobs/%s"), ("DELETE", "a/blobs/%s"),
                               ("GET", "a/referrers/%s"), ("POST", "a/blobs/uploads/?digest=%s"),
                               ("POST", "a/blobs/uploads/?mount=%s")):
            r = registry(method, target % text)
            if r.status != 400 or (method != "HEAD" and error_code(r) != "DIGEST_INVALID"):
                check("%s %s" % (method, target % text), False, r)
                break
        else:
            check("%.30s is no digest" % text, True)


def check_blob(registry, name, repository, data, algorithm="sha256"):
    d = digest(data, algorithm)
    r = registry("GET", "%s/blobs/%s" % (repository, d))
    h = registry("HEAD", "%s/blobs/%s" % (repository, d))
    check(name, r.status == h.status == 200 and r.body == data and h["Content-Length"] == str(len(data))
          and r["Docker-Content-Digest"] == h["Docker-Content-Digest"] == d
          and r["Content-Type"] == "application/octet-stream", "%s\n%s" % (h, r))


def check_created(registry, name, response, repository, data, algorithm="sha256"):
    d = digest(data, algorithm)
    check(name + ": 201, Location, Docker-Content-Digest", response.status == 201
          and response["Location"] == "/v2/%s/blobs/%s" % (repository, d) and response["Docker-Content-Digest"] == d, response)
    check_blob(registry, name + ": is there", repository, data, algorithm)


def test_monolithic(registry):
    """SPEC dist-1.1 end-4a, end-4b, end-6"""
    for algorithm in ("sha256", "sha512"):
        for size in (0, 1, 1000, 3 << 20):
            data = os.urandom(size)
            name = "%s, %d bytes" % (algorithm, size)
            check_created(registry, "POST alone, " + name, registry.push_blob("mono/post", data, algorithm), "mono/post",
                          data, algorithm)
            hint = "?digest-algorithm=" + algorithm if size else ""
            location = registry.session("mono/put", hint)
            r = registry("PUT", "%s?digest=%s" % (location, digest(data, algorithm)), (), data)
            check_created(registry, "POST and PUT, " + name, r, "mono/put", data, algorithm)
            check_eq("its session is gone", 404, registry("GET", location).status)
    r = registry("POST", "mono/post/blobs/uploads/")
    check("POST: 202, Location with the state in its path", r.status == 202 and "?" not in r["Location"]
          and re.fullmatch(r"/v2/mono/post/blobs/uploads/[0-9A-Za-z_-]+", r["Location"]), r)
    check("POST: Range 0-0 and an id", r["Range"] == "0-0" and r["Docker-Upload-UUID"], r)
    data = b"the wrong bytes"
    r = registry("POST", "mono/bad/blobs/uploads/?digest=" + digest(b"the right bytes"), (), data)
    check_error("POST with another digest", r, 400, "DIGEST_INVALID")
    location = registry.session("mono/bad")
    check_error("PUT with another digest", registry("PUT", "%s?digest=%s" % (location, digest(b"x")), (), data), 400, "DIGEST_INVALID")
    for d in (digest(data), digest(b"x"), digest(b"the right bytes")):
        check_eq("neither made a blob", 404, registry("HEAD", "mono/bad/blobs/" + d).status)
    location = registry.session("mono/bad")
    check_error("PUT without a digest", registry("PUT", location, (), data), 400, "DIGEST_INVALID")
    check_error("PUT with no digest", registry("PUT", location + "?digest=x", (), data), 400, "DIGEST_INVALID")
    check_error("digest-algorithm=md5", registry("POST", "a/blobs/uploads/?digest-algorithm=md5"), 400, "DIGEST_INVALID")
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        for session in ("x", "0" * 32, "../../x", "%2e%2e"):
            r = registry(method, "mono/bad/blobs/uploads/%s?digest=%s" % (session, digest(b"")))
            if r.status != 404 or error_code(r) != "BLOB_UPLOAD_UNKNOWN":
                if session != "../../x" or r.status not in (404, 405):
                    check("%s of session %s" % (method, session), False, r)
                    break
        else:
            check_error("%s of a session that is not there" % method, registry(
                method, "mono/bad/blobs/uploads/%s?digest=%s" % ("0" * 32, digest(b""))), 404, "BLOB_UPLOAD_UNKNOWN")
    location = registry.session("mono/bad")
    other = location.replace("mono/bad", "mono/other")
    check_error("a session of another repository", registry("PUT", other + "?digest=" + digest(b""), (), b""), 404, "BLOB_UPLOAD_UNKNOWN")


def test_chunked(registry):
    """SPEC dist-1.1 end-5, end-13"""
    data = os.urandom(100000)
    location = registry.session("chunk/a")
    r = registry("PATCH", location, {"Content-Range": "0-39999"}, data[:40000])
    check("PATCH: 202, Range, Location", r.status == 202 and r["Range"] == "0-39999" and r["Location"] == "/v2/" + location, r)
    r = registry("GET", location)
    check("GET of a session: 204, Range, Location", r.status == 204 and r["Range"] == "0-39999"
          and r["Location"] == "/v2/" + location, r)
    for name, header, body in (("behind the end", "50000-59999", data[50000:60000]), ("again", "0-39999", data[:40000]),
                               ("far behind", "99999999999999999999-99999999999999999999", b"x"),
                               ("inside", "39999-49998", data[39999:49999])):
        r = registry("PATCH", location, {"Content-Range": header}, body)
        if name == "far behind":
            check(name + ": 4xx", r.status in (400, 416), r)
            continue
        check("PATCH %s: 416 with where it stands" % name, r.status == 416 and r["Range"] == "0-39999"
              and r["Location"] == "/v2/" + location and error_code(r) == "BLOB_UPLOAD_INVALID", r)
    r = registry("PUT", location + "?digest=" + digest(data), {"Content-Range": "70000-99999"}, data[70000:])
    check("PUT of a last chunk out of order: 416", r.status == 416 and r["Range"] == "0-39999", r)
    for header in ("x", "5", "5-", "-5", "9-5", "bytes=40000-40000", "40000-40000/5"):
        r = registry("PATCH", location, {"Content-Range": header}, b"x")
        check("Content-Range: %s is refused" % header, r.status == 400 and error_code(r) == "BLOB_UPLOAD_INVALID", r)
    r = registry("PATCH", location, {"Content-Range": "40000-49999"}, data[40000:50001])
    check_error("a body longer than its Content-Range", r, 400, "SIZE_INVALID")
    check_eq("nothing of these was taken", "0-39999", registry("GET", location)["Range"])
    r = registry("PATCH", location, {"Transfer-Encoding": "chunked"}, chunked(data[40000:60000], data[60000:70000]))
    check("a streamed PATCH without Content-Range", r.status == 202 and r["Range"] == "0-69999", r)
    r = registry("PATCH", location, {"Content-Range": "bytes 70000-79999/*"}, data[70000:80000])
    check("Content-Range as HTTP spells it", r.status == 202 and r["Range"] == "0-79999", r)
    r = registry("PUT", location + "?digest=" + digest(data), {"Content-Range": "80000-99999"}, data[80000:])
    check_created(registry, "a last chunk in PUT", r, "chunk/a", data)
    location = registry.session("chunk/b")
    registry("PATCH", location, (), data)
    check_created(registry, "PATCH of all, empty PUT", registry("PUT", location + "?digest=" + digest(data)), "chunk/b", data)


def test_cancel(registry):
    """SPEC dist-1.1 end-14"""
    location = registry.session("cancel")
    registry("PATCH", location, (), b"data")
    r = registry("DELETE", location)
    check("DELETE of a session: 204", r.status == 204, r)
    for method in ("GET", "DELETE", "PATCH"):
        check_error("%s of a cancelled session" % method, registry(method, location), 404, "BLOB_UPLOAD_UNKNOWN")


def test_mount(registry):
    """SPEC dist-1.1 end-11"""
    data = os.urandom(500)
    d = digest(data)
    registry.push_blob("mount/from", data)
    r = registry("POST", "mount/to/blobs/uploads/?mount=%s&from=mount/from" % d)
    check_created(registry, "mount", r, "mount/to", data)
    check_created(registry, "mount with an escaped from", registry(
        "POST", "mount/esc/blobs/uploads/?mount=%s&from=mount%%2Ffrom" % urllib.parse.quote(d)), "mount/esc", data)
    check_created(registry, "mount without from", registry("POST", "mount/anon/blobs/uploads/?mount=" + d), "mount/anon", data)
    for name, query in (("of what is not there", "mount=%s&from=mount/from" % digest(b"nowhere")),
                        ("from where it is not", "mount=%s&from=mount/nowhere" % d),
                        ("from no repository", "mount=%s&from=UPPER" % d)):
        r = registry("POST", "mount/no/blobs/uploads/?" + query)
        check("mount %s opens a session" % name, r.status == 202 and "/blobs/uploads/" in r["Location"], r)
    check_eq("and mounts nothing", 404, registry("HEAD", "mount/no/blobs/" + d).status)
    registry("DELETE", "mount/from/blobs/" + d)
    check_blob(registry, "a mounted blob outlives its source", "mount/to", data)


def test_blobs(registry):
    """SPEC dist-1.1 end-2, end-10"""
    data = bytes(range(256)) * 8
    registry.push_blob("blobs/a", data)
    target = "blobs/a/blobs/" + digest(data)
    for header, status, first, last in (("bytes=500-1499", 206, 500, 1499), ("bytes=500-", 206, 500, 2047),
                                        ("bytes=-500", 206, 1548, 2047), ("bytes=2000-5000", 206, 2000, 2047),
                                        ("bytes=0-0", 206, 0, 0), ("bytes=-5000", 206, 0, 2047),
                                        ("bytes=500-0", 416, 0, 0), ("bytes=5000-10000", 416, 0, 0),
                                        ("bytes=2048-", 416, 0, 0), ("bytes=-0", 416, 0, 0),
                                        ("lines=0-1", 200, 0, 2047), ("bytes=x", 200, 0, 2047)):
        r = registry("GET", target, {"Range": header})
        good = r.status == status
        if status == 206:
            good = good and r.body == data[first:last + 1] and r["Content-Range"] == "bytes %d-%d/2048" % (first, last)
        elif status == 416:
            good = good and r["Content-Range"] == "bytes */2048"
        check("Range: %s" % header, good and r["Docker-Content-Digest"] == digest(data), r)
    r = registry("GET", target)
    check("Accept-Ranges, ETag", r["Accept-Ranges"] == "bytes" and r["ETag"] == '"%s"' % digest(data), r)
    r = registry("GET", target, {"If-None-Match": r["ETag"]})
    check("If-None-Match: 304", r.status == 304, r)
    for method in ("GET", "HEAD"):
        r = registry(method, "blobs/b/blobs/" + digest(data))
        check("%s in another repository: 404" % method, r.status == 404, r)
    check_error("a blob that is not there", registry("GET", "blobs/a/blobs/" + digest(b"no")), 404, "BLOB_UNKNOWN")
    check_eq("DELETE: 202", 202, registry("DELETE", target).status)
    check_error("DELETE again", registry("DELETE", target), 404, "BLOB_UNKNOWN")
    check_eq("it is gone", 404, registry("HEAD", target).status)
    check_created(registry, "pushed again", registry.push_blob("blobs/a", data), "blobs/a", data)


def test_manifests(registry):
    """SPEC dist-1.1 end-3, end-7a, end-9"""
    document = image(registry, "man/a", "one")
    # Byte for byte, blanks and all.
    body = json.dumps(document, indent=3).encode() + b"\n"
    r, _ = registry.put_manifest("man/a", "v1", body)
    d = digest(body)
    check("PUT by tag", r.status == 201 and r["Docker-Content-Digest"] == d and r["Location"] == "/v2/man/a/manifests/" + d, r)
    for reference in ("v1", d):
        g, h = registry("GET", "man/a/manifests/" + reference), registry("HEAD", "man/a/manifests/" + reference)
        check("GET and HEAD of %.10s" % reference, g.status == h.status == 200 and g.body == body
              and h["Content-Length"] == str(len(body)) and g["Content-Type"] == h["Content-Type"] == MANIFEST
              and g["Docker-Content-Digest"] == h["Docker-Content-Digest"] == d, "%s\n%s" % (h, g))
    r = registry("GET", "man/a/manifests/v1", {"Accept": "text/html"})
    check("Accept of something else gets what is there", r.status == 200 and r["Content-Type"] == MANIFEST, r)
    r = registry("GET", "man/a/manifests/v1", {"If-None-Match": '"%s"' % d})
    check("If-None-Match: 304", r.status == 304 and r["ETag"] == '"%s"' % d, r)
    r, _ = registry.put_manifest("man/a", d, body)
    check("PUT by digest", r.status == 201 and r["Docker-Content-Digest"] == d, r)
    r, _ = registry.put_manifest("man/a", digest(body, "sha512"), body)
    check("PUT by sha512", r.status == 201 and r["Docker-Content-Digest"] == digest(body, "sha512"), r)
    g = registry("GET", "man/a/manifests/" + digest(body, "sha512"))
    check("GET by sha512", g.body == body and g["Docker-Content-Digest"] == digest(body, "sha512"), g)
    r, _ = registry.put_manifest("man/a", digest(b"x"), body)
    check_error("PUT by another digest", r, 400, "DIGEST_INVALID")
    for name, bad in (("not JSON", b"{"), ("nothing", b""), ("an array", b"[]"), ("a text", b'"x"'), ("twice a key", b'{"a":1,"a":2}')):
        r, _ = registry.put_manifest("man/a", "bad", bad)
        check_error("PUT of %s" % name, r, 400, "MANIFEST_INVALID")
    for reference in ("-a", ".a", "a" * 129, "a%20b", "%c3%a4"):
        r, _ = registry.put_manifest("man/a", reference, body)
        check_error("PUT by tag %.10s" % reference, r, 400, "MANIFEST_INVALID")
        # SPEC dist-1.1 end-3: what cannot be there is not there.
        check_error("GET of it", registry("GET", "man/a/manifests/" + reference), 404, "MANIFEST_UNKNOWN")
    missing = dict(document, layers=[descriptor(b"never pushed", LAYER)])
    r, _ = registry.put_manifest("man/a", "missing", missing)
    check_error("a layer that is not there", r, 404, "MANIFEST_BLOB_UNKNOWN")
    check_error("it is not there either", registry("GET", "man/a/manifests/missing"), 404, "MANIFEST_UNKNOWN")
    document["annotations"] = {"padding": "x" * (4 << 20)}
    r, big = registry.put_manifest("man/a", "big", document)
    check("a manifest of 4 MiB", r.status == 201 and registry("GET", "man/a/manifests/big").body == big, r)
    document["annotations"] = {"padding": "x" * (20 << 20)}
    r, _ = registry.put_manifest("man/a", "huge", document)
    check_error("one of 20 MiB", r, 413, "SIZE_INVALID")
    wire = registry.server.connect()
    r = wire.request("PUT", "/v2/man/a/manifests/huge", {"Content-Type": MANIFEST, "Transfer-Encoding": "chunked"},
                     chunked(json.dumps(document).encode()))
    check_error("and chunked", r, 413, "SIZE_INVALID")
    # Deleting a tag leaves the manifest, deleting a manifest its tags not.
    registry.put_manifest("man/a", "v2", body)
    check_eq("DELETE of a tag: 202", 202, registry("DELETE", "man/a/manifests/v2").status)
    check_eq("it is gone", 404, registry("GET", "man/a/manifests/v2").status)
    check_eq("the manifest is not", 200, registry("GET", "man/a/manifests/" + d).status)
    check_error("DELETE of a tag that is not there", registry("DELETE", "man/a/manifests/v2"), 404, "MANIFEST_UNKNOWN")
    check_eq("DELETE of a manifest: 202", 202, registry("DELETE", "man/a/manifests/" + d).status)
    for reference in ("v1", d):
        check_error("gone: %.10s" % reference, registry("GET", "man/a/manifests/" + reference), 404, "MANIFEST_UNKNOWN")
    check_error("DELETE again", registry("DELETE", "man/a/manifests/" + d), 404, "MANIFEST_UNKNOWN")
    check_error("DELETE in no repository", registry("DELETE", "man/no/manifests/" + d), 404, "NAME_UNKNOWN")


def test_kinds(registry):
    """Manifests of every kind, byte for byte."""
    child, body = image(registry, "kinds", "child"), None
    r, body = registry.put_manifest("kinds", digest(json.dumps(child).encode()), child)
    check_eq("an image by digest", 201, r.status)
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(body, MANIFEST, platform={
        "architecture": "amd64", "os": "linux"}), descriptor(b"sparse", MANIFEST)]}
    r, index_body = registry.put_manifest("kinds", "index", index, INDEX)
    check("an index with a member that is not there", r.status == 201, r)
    r, _ = registry.put_manifest("kinds", "nested", dict(index, manifests=[descriptor(index_body, INDEX)]), INDEX)
    check("an index of an index", r.status == 201, r)
    registry.push_blob("kinds", b"{}")
    artifact = {"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/vnd.example", "config": descriptor(b"{}", EMPTY),
                "layers": [descriptor(b"{}", EMPTY)]}
    r, _ = registry.put_manifest("kinds", "artifact", artifact)
    check("an artifact", r.status == 201, r)
    foreign = dict(child, layers=[descriptor(b"elsewhere", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
                                             urls=["https://example.org/layer"])])
    r, _ = registry.put_manifest("kinds", "foreign", foreign)
    check("a layer that is not distributable", r.status == 201, r)
    r, _ = registry.put_manifest("kinds", "none", dict(child, layers=[]))
    check("no layers", r.status == 201, r)
    docker = "application/vnd.docker.distribution.manifest.v2+json"
    document = dict(child, mediaType=docker)
    r, _ = registry.put_manifest("kinds", "docker", document, docker)
    check("Docker's manifest", r.status == 201 and registry("HEAD", "kinds/manifests/docker")["Content-Type"] == docker, r)
    r, _ = registry.put_manifest("kinds", "params", child, MANIFEST + "; charset=utf-8")
    check("parameters of Content-Type are dropped", registry("HEAD", "kinds/manifests/params")["Content-Type"] == MANIFEST, r)


def test_tag_parameters(registry):
    """SPEC dist-1.1 end-7b"""
    document = image(registry, "params", "p")
    body = json.dumps(document).encode()
    tags = ["t%d" % i for i in range(10)] + ["x" * 128]
    r, _ = registry.put_manifest("params", digest(body), body, query="?" + "&".join("tag=" + t for t in tags))
    got = [t.strip() for v in r.all("OCI-Tag") for t in v.split(",")]
    check("tags as parameters, each with OCI-Tag", r.status == 201 and sorted(got) == sorted(tags), r)
    check_eq("they are there", [200] * 11, [registry("HEAD", "params/manifests/" + t).status for t in tags])
    r, _ = registry.put_manifest("params", digest(body), body, query="?tag=-bad")
    check_eq("a bad one is refused", 400, r.status)
    r, _ = registry.put_manifest("params", digest(body), body, query="?" + "&".join("tag=a%d" % i for i in range(100)))
    check_eq("100 are too many", 414, r.status)


def next_page(registry, response):
    match = re.fullmatch(r'<(/v2/[^>]*)>; rel="next"', response["Link"] or "")
    return registry.server.request("GET", match.group(1)) if match else None


def test_preconditions(registry):
    """SPEC rfc-9110 13.1: a PUT that would undo another one's work."""
    document = image(registry, "cond", "c")
    put = lambda n, **h: registry("PUT", "cond/manifests/t", {"Content-Type": MANIFEST, **{  # noqa: E731
        k.replace("_", "-"): v for k, v in h.items()}}, json.dumps(dict(document, annotations={"n": str(n)})).encode())
    check_eq("If-Match where nothing stands: 412", 412, put(0, If_Match="*").status)
    r = put(1, If_None_Match="*")
    check("If-None-Match: * where nothing stands: 201", r.status == 201, r)
    check_eq("and where something stands: 412", 412, put(2, If_None_Match="*").status)
    tag = registry("GET", "cond/manifests/t")["ETag"]
    check_eq("If-Match of what stands: 201", 201, put(3, If_Match=tag).status)
    check_error("If-Match of what stood before", put(4, If_Match=tag), 412, "DENIED")
    check_eq("nothing was undone", "3", json.loads(registry("GET", "cond/manifests/t").body)["annotations"]["n"])
    tag, statuses = registry("GET", "cond/manifests/t")["ETag"], []
    threads = [threading.Thread(target=lambda i=i: statuses.append(put(i, If_Match=tag).status)) for i in range(10, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check_eq("of 10 at once one wins", [201] + [412] * 9, sorted(statuses))
    # Whoever comes first, the one without a condition stands in the end: the other one comes before it or not at all.
    undone = 0
    for i in range(100, 140):
        tag = registry("GET", "cond/manifests/t")["ETag"]
        threads = [threading.Thread(target=lambda h=h, n=n: put(n, **h)) for n, h in ((i, {}), (1000 + i, {"If_Match": tag}))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        undone += json.loads(registry("GET", "cond/manifests/t").body)["annotations"]["n"] != str(i)
    check_eq("and none undoes what it did not see", 0, undone)


def test_tags(registry):
    """SPEC dist-1.1 end-8"""
    document = image(registry, "tags/a", "t")
    names = sorted(["a", "B", "b", "c.1", "c-1", "c_1", "1", "latest", "Z", "z"])
    for name in names:
        registry.put_manifest("tags/a", name, document)
    r = registry("GET", "tags/a/tags/list")
    check("all, sorted", r.status == 200 and json.loads(r.body) == {"name": "tags/a", "tags": names} and r["Link"] is None, r)
    for n in (1, 3, 9):
        got, r = [], registry("GET", "tags/a/tags/list?n=%d" % n)
        while r:
            page = json.loads(r.body)["tags"]
            if len(page) > n:
                break
            got += page
            r = next_page(registry, r)
        check_eq("pages of %d by Link" % n, names, got)
    for n in (10, 100, 10 ** 30):
        r = registry("GET", "tags/a/tags/list?n=%d" % n)
        if n < 10 ** 20:
            check("n=%d: all, no Link" % n, json.loads(r.body)["tags"] == names and r["Link"] is None, r)
        else:
            check("n past 64 bits", r.status in (200, 400), r)
    r = registry("GET", "tags/a/tags/list?n=0")
    check("n=0: none, no Link", json.loads(r.body)["tags"] == [] and r["Link"] is None, r)
    for last in ("a", "b", "bb", "0", "~"):
        r = registry("GET", "tags/a/tags/list?n=3&last=" + last)
        check_eq("last=%s" % last, [t for t in names if t > last][:3], json.loads(r.body)["tags"])
    r = registry("GET", "tags/a/tags/list?last=b")
    check_eq("last without n", [t for t in names if t > "b"], json.loads(r.body)["tags"])
    for query in ("n=x", "n=-1", "n=", "last=%zz", "last=" + "x" * 1000):
        r = registry("GET", "tags/a/tags/list?" + query)
        check("%.10s is refused" % query, r.status == 400, r)
    check_error("no such repository", registry("GET", "tags/no/tags/list"), 404, "NAME_UNKNOWN")
    registry.push_blob("tags/blobs", b"x")
    r = registry("GET", "tags/blobs/tags/list")
    check("a repository without tags", r.status == 200 and json.loads(r.body)["tags"] == [], r)


def test_blobs_again(registry):
    """What is answered from memory is the same, is as long as it is there, and is nobody else's."""
    for size in (1, 70 << 10, 1 << 20, (1 << 20) + 1):
        data = os.urandom(size)
        registry.push_blob("again/a", data)
        name = "again/a/blobs/" + digest(data)
        answers = [registry("GET", name) for _ in range(4)]
        heads = [[r[n] for n in ("Content-Type", "ETag", "Vary", "Accept-Ranges", "Docker-Content-Digest", "Cache-Control", "Content-Length")]
                 for r in answers]
        check("%d bytes, four times" % size, all(r.status == 200 and r.body == data for r in answers), answers[-1].status)
        check("with the same head", heads[0] == heads[3] and heads[0][0] == "application/octet-stream"
              and all(h[2:] == heads[0][2:] for h in heads) and len(answers[3].headers) == len(answers[0].headers), heads)
        r = registry("HEAD", name)
        check("HEAD", r.status == 200 and r["Content-Length"] == str(size) and r["ETag"] == heads[0][1] and not r.body, r)
        r = registry("GET", name, [("If-None-Match", heads[0][1])])
        check("304", r.status == 304 and r["ETag"] == heads[0][1] and r["Docker-Content-Digest"] == heads[0][4] and not r.body, r)
        r = registry("GET", name, [("If-Match", '"other"')])
        check("412", r.status == 412, r)
        r = registry("GET", name, [("Range", "bytes=0-0")])
        check("a range", r.status == 206 and r.body == data[:1], r)
        r = registry("GET", name, [("Accept-Encoding", "zstd, gzip")])
        check("a coding that it is not stored in", r.status == 200 and r.body == data and r["Content-Encoding"] is None, r)
        check("not in another repository", registry("GET", name.replace("again/a", "again/b")).status == 404)
        check("deleted", registry("DELETE", name).status == 202)
        check("and gone", registry("GET", name).status == 404)


def check_again(registry, target):
    """What is answered from memory is the same."""
    first, again = registry("GET", target), registry("GET", target)
    names = ("Content-Type", "Link", "OCI-Filters-Applied")
    check("%.40s again: the same" % target, again.status == 200 and again.body == first.body and first.body
          and [again[n] for n in names] == [first[n] for n in names], again)
    head = registry("HEAD", target)
    check("HEAD of it, too", head.status == 200 and head["Content-Length"] == str(len(first.body)) and not head.body, head)


def test_tags_again(registry):
    for query in ("", "?n=3", "?n=3&last=b", "?n=0", "?last=Z"):
        check_again(registry, "tags/a/tags/list" + query)
    registry.put_manifest("tags/a", "newest", image(registry, "tags/a", "t"))
    check("a new tag is there at once", "newest" in json.loads(registry("GET", "tags/a/tags/list").body)["tags"])
    registry("DELETE", "tags/a/manifests/newest")
    check("and not when it is deleted", "newest" not in json.loads(registry("GET", "tags/a/tags/list").body)["tags"])


def test_catalog(registry):
    r = registry("GET", "_catalog")
    names = json.loads(r.body)["repositories"]
    check("_catalog: sorted, all", r.status == 200 and names == sorted(names) and {"tags/a", "kinds", "man/a"} <= set(names), r)
    got, r = [], registry("GET", "_catalog?n=2")
    while r:
        got += json.loads(r.body)["repositories"]
        r = next_page(registry, r)
    check_eq("pages by Link", names, got)
    check_eq("n=0", [], json.loads(registry("GET", "_catalog?n=0").body)["repositories"])
    check_eq("last", [n for n in names if n > names[0]], json.loads(registry("GET", "_catalog?last=" + names[0]).body)["repositories"])


def test_referrers(registry):
    """SPEC dist-1.1 end-12, OCI-Subject"""
    subject = image(registry, "ref/a", "subject")
    r, body = registry.put_manifest("ref/a", "subject", subject)
    check("a manifest without subject: no OCI-Subject", r["OCI-Subject"] is None, r)
    d = digest(body)
    registry.push_blob("ref/a", b"{}")
    want = {}
    for i in range(5):
        artifact = {"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(b"{}", EMPTY), "layers": [],
                    "subject": descriptor(body, MANIFEST), "annotations": {"i": str(i)}}
        kind = EMPTY
        if i % 2:
            kind = artifact["artifactType"] = "application/vnd.example.%d+json" % i
        r, referrer = registry.put_manifest("ref/a", digest(json.dumps(artifact).encode()), artifact)
        check("OCI-Subject", r.status == 201 and r["OCI-Subject"] == d, r)
        want[digest(referrer)] = {"mediaType": MANIFEST, "digest": digest(referrer), "size": len(referrer), "artifactType": kind,
                                  "annotations": {"i": str(i)}}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "subject": descriptor(body, MANIFEST)}
    r, referrer = registry.put_manifest("ref/a", "index", index, INDEX)
    check("OCI-Subject of an index", r["OCI-Subject"] == d, r)
    want[digest(referrer)] = {"mediaType": INDEX, "digest": digest(referrer), "size": len(referrer)}

    def listed(target):
        response = registry("GET", target)
        document = json.loads(response.body)
        ok = response.status == 200 and response["Content-Type"] == INDEX and document["schemaVersion"] == 2 \
            and document["mediaType"] == INDEX
        return response, {m["digest"]: m for m in document["manifests"]} if ok else None

    r, got = listed("ref/a/referrers/" + d)
    check_eq("all of them, each with its type and annotations", want, got)
    check("no filter, no OCI-Filters-Applied", r["OCI-Filters-Applied"] is None, r)
    kind = "application/vnd.example.1+json"
    for spelled in (urllib.parse.quote(kind, safe=""), kind):
        r, got = listed("ref/a/referrers/%s?artifactType=%s" % (d, spelled))
        check("artifactType=%s" % spelled, [m["artifactType"] for m in got.values()] == [kind]
              and r["OCI-Filters-Applied"] == "artifactType", r)
    for query in ("", "?artifactType=", "?artifactType=" + urllib.parse.quote(kind, safe=""), "?artifactType=x/y"):
        check_again(registry, "ref/a/referrers/%s%s" % (d, query))
    check_eq("of no such type", {}, listed("ref/a/referrers/%s?artifactType=x/y" % d)[1])
    check_eq("of nothing", {}, listed("ref/a/referrers/" + digest(b"nothing"))[1])
    check_eq("in no such repository", {}, listed("ref/no/referrers/" + d)[1])
    missing = dict(index, subject=descriptor(b"not there yet", MANIFEST))
    r, referrer = registry.put_manifest("ref/a", "missing", missing, INDEX)
    check("a subject that is not there", r.status == 201 and r["OCI-Subject"] == digest(b"not there yet"), r)
    check_eq("is listed", [digest(referrer)], list(listed("ref/a/referrers/" + digest(b"not there yet"))[1]))
    registry("DELETE", "ref/a/manifests/" + digest(referrer))
    check_eq("and not when it is deleted", {}, listed("ref/a/referrers/" + digest(b"not there yet"))[1])

    # More than fit in one page: each with 100 KB of annotations.
    for i in range(60):
        artifact = {"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(b"{}", EMPTY), "layers": [],
                    "subject": descriptor(b"many", MANIFEST), "annotations": {"i": str(i), "x": "y" * 100000}}
        registry.put_manifest("ref/a", digest(json.dumps(artifact).encode()), artifact)
    seen, pages, r = set(), 0, registry("GET", "ref/a/referrers/" + digest(b"many"))
    while r and pages < 100:
        check("a page is at most 4 MiB", len(r.body) <= 4 << 20) if pages == 0 else None
        seen |= {m["annotations"]["i"] for m in json.loads(r.body)["manifests"]}
        pages, r = pages + 1, next_page(registry, r)
    check("60 referrers of 100 KB come in pages", len(seen) == 60 and 1 < pages < 100, "%d in %d pages" % (len(seen), pages))


def test_parallel(registry):
    """Many clients push the same and different things at once."""
    shared, errors = os.urandom(300000), []

    def client(i):
        try:
            for k in range(5):
                repository = "par/%d" % (i % 4)
                for data in (shared, b"%d %d" % (i, k)):
                    r = registry.push_blob(repository, data)
                    if r.status != 201:
                        errors.append(str(r))
                document = image(registry, repository, "%d-%d" % (i, k))
                r, body = registry.put_manifest(repository, "t%d" % (k % 2), document)
                if r.status != 201 or registry("GET", "%s/manifests/%s" % (repository, digest(body))).body != body:
                    errors.append(str(r))
        except Exception as e:  # noqa: BLE001
            errors.append(repr(e))

    threads = [threading.Thread(target=client, args=(i,)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check("12 clients at once", not errors, "\n".join(errors[:5]))
    location = registry.session("par/session")
    statuses = []

    def patch():
        statuses.append(registry("PATCH", location, {"Content-Range": "0-299999"}, shared).status)

    threads = [threading.Thread(target=patch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check("of 4 that write to one session, one does", sorted(statuses)[0] == 202 and statuses.count(202) == 1
          and set(statuses) <= {202, 409, 416}, statuses)


def main():
    command = sys.argv[1:] or [w.NACRE, "serve", "--listen", "127.0.0.1:0", "--data", os.path.join(w.T, "data"), "--no-access-log"]
    server = w.Server(*command)
    registry = Registry(server)
    for test in (test_base, test_names, test_digests, test_monolithic, test_chunked, test_cancel, test_mount, test_blobs,
                 test_manifests, test_kinds, test_tag_parameters, test_preconditions, test_blobs_again, test_tags, test_tags_again,
                 test_catalog, test_referrers, test_parallel):
        try:
            test(registry)
        except Exception as e:  # noqa: BLE001
            check(test.__name__, False, "%s: %s" % (type(e).__name__, e))
    server.check_clean_end()
    w.finish()


if __name__ == "__main__":
    main()
