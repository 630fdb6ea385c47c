#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every way to upload a blob and every kind of content, in both digest algorithms: pushed, listed, asked for, pulled and
deleted, and each answer compared with what the specification says of it. What the conformance suites of the distribution
specification (HEAD and 1.1.1) check, is checked here or in server-oci.py. Prints `ok - …`, `not ok - …`, `skip - … # reason`.

    server-oci-suite.py [COMMAND…]     default: $NACRE serve, on a fresh directory. COMMAND prints the server's URL.
"""

import base64
import hashlib
import json
import os
import re
import sys
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import server_wire as w  # noqa: E402
from server_wire import check, check_eq, chunked  # noqa: E402

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar"
EMPTY = "application/vnd.oci.empty.v1+json"
EXAMPLE = "application/vnd.example.thing.v1"
ALGORITHMS = ("sha256", "sha512")
# SPEC dist-1.1 error codes
CODES = {"BLOB_UNKNOWN", "BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN", "DIGEST_INVALID", "MANIFEST_BLOB_UNKNOWN", "MANIFEST_INVALID",
         "MANIFEST_UNKNOWN", "NAME_INVALID", "NAME_UNKNOWN", "SIZE_INVALID", "UNAUTHORIZED", "DENIED", "UNSUPPORTED", "TOOMANYREQUESTS"}


def digest(data, algorithm="sha256"):
    return "%s:%s" % (algorithm, hashlib.new(algorithm, data).hexdigest())


class Wrong(Exception):
    """An answer that is not as it should be."""


def need(what, condition, response=""):
    if not condition:
        raise Wrong("%s\n%s" % (what, response))


def need_error(what, response, *statuses):
    need(what + ": one of %s" % (statuses,), response.status in statuses, response)
    if response.body:
        errors = json.loads(response.body)["errors"]
        need(what + ": the form of errors", errors and all(e["code"] in CODES for e in errors), response)


class Repository:
    def __init__(self, server, name):
        self.server, self.name = server, name

    def __call__(self, method, target, headers=(), body=b""):
        """`target`: below the repository, or a whole path as a Location gives it."""
        return self.server.request(method, target if target.startswith("/") else "/v2/%s/%s" % (self.name, target), headers, body)

    # ---- blobs ----

    def session(self, algorithm="sha256"):
        """SPEC dist-1.1 end-4a; end-4c: the algorithm is told where it is not sha256."""
        hint = "" if algorithm == "sha256" else "?digest-algorithm=" + algorithm
        r = self("POST", "blobs/uploads/" + hint, {"Content-Length": "0"})
        need("POST: 202 with a Location of this repository", r.status == 202
             and (r["Location"] or "").startswith("/v2/%s/blobs/uploads/" % self.name), r)
        return r["Location"]

    def need_created(self, r, data, algorithm):
        """SPEC dist-1.1 end-6: 201, and a Location that gives the blob."""
        need("201 with Location and digest", r.status == 201 and r["Location"]
             and r["Docker-Content-Digest"] == digest(data, algorithm), r)
        got = self("GET", r["Location"])
        need("Location gives the blob", got.status == 200 and got.body == data, got)

    def need_blob(self, data, algorithm="sha256"):
        """SPEC dist-1.1 end-2"""
        d = digest(data, algorithm)
        for method in ("HEAD", "GET"):
            r = self(method, "blobs/" + d)
            need(method + " of the blob", r.status == 200 and r["Content-Length"] == str(len(data)) and r["Content-Type"]
                 and r["Docker-Content-Digest"] == d and r.body == (data if method == "GET" else b""), r)

    def need_no_blob(self, data, algorithm="sha256"):
        for method in ("HEAD", "GET"):
            need_error(method + " of no blob", self(method, "blobs/" + digest(data, algorithm)), 404)

    def delete_blob(self, data, algorithm="sha256"):
        """SPEC dist-1.1 end-10"""
        r = self("DELETE", "blobs/" + digest(data, algorithm))
        need("DELETE of the blob: 202", r.status == 202, r)
        self.need_no_blob(data, algorithm)

    def push_blob(self, data, algorithm="sha256"):
        self.need_created(self("POST", "blobs/uploads/?digest=" + digest(data, algorithm), (), data), data, algorithm)

    # ---- manifests ----

    def need_manifest(self, reference, body, media_type, algorithm):
        """SPEC dist-1.1 end-3"""
        for method in ("HEAD", "GET"):
            r = self(method, "manifests/" + reference, {"Accept": media_type})
            need("%s of manifest %.20s" % (method, reference), r.status == 200 and r["Content-Type"] == media_type
                 and r["Content-Length"] == str(len(body)) and r["Docker-Content-Digest"] == digest(body, algorithm)
                 and r.body == (body if method == "GET" else b""), r)

    def put_manifest(self, reference, body, media_type, algorithm="sha256"):
        """SPEC dist-1.1 end-7a"""
        r = self("PUT", "manifests/" + reference, {"Content-Type": media_type}, body)
        need("PUT of manifest %.20s: 201" % reference, r.status == 201 and r["Location"]
             and r["Docker-Content-Digest"] == digest(body, algorithm), r)
        got = self("GET", r["Location"])
        need("Location gives the manifest", got.status == 200 and got.body == body and got["Content-Type"] == media_type, got)
        subject = json.loads(body).get("subject")
        need("OCI-Subject", r["OCI-Subject"] == (subject["digest"] if subject else None), r)
        return r


# ---- Blobs, every way ----

def post_only(repository, data, name, algorithm):
    """SPEC dist-1.1 end-4b"""
    return repository("POST", "blobs/uploads/?digest=" + name, {"Content-Type": "application/octet-stream"}, data)


def post_put(repository, data, name, algorithm):
    """SPEC dist-1.1 end-6"""
    return repository("PUT", repository.session(algorithm) + "?digest=" + name, {"Content-Type": "application/octet-stream"}, data)


def stream(repository, data, name, algorithm):
    """SPEC dist-1.1 end-5: without Content-Range"""
    location = repository.session(algorithm)
    r = repository("PATCH", location, {"Content-Type": "application/octet-stream", "Transfer-Encoding": "chunked"}, chunked(data))
    need("a streamed PATCH: 202 with Location", r.status == 202 and r["Location"], r)
    return repository("PUT", r["Location"] + "?digest=" + name)


def in_chunks(repository, data, name, algorithm, pieces, last_in_put=False, disorder=False):
    """SPEC dist-1.1 end-5, end-6, end-13: in pieces; `disorder`: the second one first, which is refused, and the state asked for"""
    size = -(-len(data) // pieces)
    location = repository.session(algorithm)
    ends = list(range(0, len(data), size))

    def headers(at):
        piece = data[at:at + size]
        return {"Content-Type": "application/octet-stream", "Content-Range": "%d-%d" % (at, at + len(piece) - 1)}

    if disorder:
        at = ends[1]
        r = repository("PATCH", location, headers(at), data[at:at + size])
        need("the second piece first: 416", r.status == 416, r)
    for i, at in enumerate(ends):
        if last_in_put and i == len(ends) - 1:
            return repository("PUT", location + "?digest=" + name, headers(at), data[at:])
        r = repository("PATCH", location, headers(at), data[at:at + size])
        need("PATCH: 202 with Location and Range", r.status == 202 and r["Location"]
             and r["Range"] == "0-%d" % (min(at + size, len(data)) - 1), r)
        location = r["Location"]
        if disorder and i == 0:
            r = repository("PATCH", location, headers(at), data[at:at + size])
            need("a piece again: 416", r.status == 416, r)
            r = repository("GET", location)
            need("GET of the session: 204 with Location and Range", r.status == 204 and r["Location"]
                 and r["Range"] == "0-%d" % (size - 1), r)
            location = r["Location"]
    return repository("PUT", location + "?digest=" + name, {"Content-Length": "0"})


WAYS = {
    "POST alone": post_only,
    "POST and PUT": post_put,
    "a stream": stream,
    "one chunk": lambda *a: in_chunks(*a, pieces=1),
    "chunks": lambda *a: in_chunks(*a, pieces=3),
    "chunks, the last in PUT": lambda *a: in_chunks(*a, pieces=3, last_in_put=True),
    "chunks out of order": lambda *a: in_chunks(*a, pieces=3, disorder=True),
    "chunks out of order, the last in PUT": lambda *a: in_chunks(*a, pieces=3, last_in_put=True, disorder=True),
}


def each(name, function, *arguments):
    try:
        function(*arguments)
        check(name, True)
    except Wrong as e:
        check(name, False, e)
    except Exception:  # noqa: BLE001
        check(name, False, traceback.format_exc())


def one_way(repository, way, algorithm):
    data = os.urandom(30000)
    repository.need_no_blob(data, algorithm)
    repository.need_created(way(repository, data, digest(data, algorithm), algorithm), data, algorithm)
    repository.need_blob(data, algorithm)
    repository.delete_blob(data, algorithm)


def one_way_bad(repository, way, algorithm):
    """SPEC dist-1.1 end-6: content of another digest makes no blob."""
    data, other = os.urandom(30000), os.urandom(10)
    need_error("another digest", way(repository, data, digest(other, algorithm), algorithm), 400)
    repository.need_no_blob(data, algorithm)
    repository.need_no_blob(other, algorithm)


def mounts(server, algorithm):
    """SPEC dist-1.1 end-11: with `from`, without, and of what is not there"""
    source, target, third = (Repository(server, "suite/mount-%d" % i) for i in range(3))
    data, missing = os.urandom(1000), os.urandom(1000)
    d = digest(data, algorithm)
    source.push_blob(data, algorithm)
    target.need_no_blob(data, algorithm)
    target.need_created(target("POST", "blobs/uploads/?mount=%s&from=%s" % (d, source.name)), data, algorithm)
    third.need_created(third("POST", "blobs/uploads/?mount=" + d), data, algorithm)
    for query in ("mount=%s&from=%s" % (digest(missing, algorithm), source.name), "mount=" + digest(missing, algorithm)):
        r = target("POST", "blobs/uploads/?" + query)
        need("a mount that cannot be is a session", r.status == 202 and "/blobs/uploads/" in (r["Location"] or ""), r)
        hint = "&" if "?" in r["Location"] else "?"
        target.need_created(target("PUT", r["Location"] + hint + "digest=" + digest(missing, algorithm), (), missing), missing, algorithm)
        target.delete_blob(missing, algorithm)
    source.delete_blob(data, algorithm)
    for repository in (target, third):
        repository.need_blob(data, algorithm)
        repository.delete_blob(data, algorithm)


def small_blobs(repository, algorithm):
    for data in (b"", b"{}"):
        repository.need_created(post_put(repository, data, digest(data, algorithm), algorithm), data, algorithm)
        repository.need_blob(data, algorithm)
        repository.delete_blob(data, algorithm)


def cancel(repository, algorithm):
    """SPEC dist-1.1 end-14"""
    location = repository.session(algorithm)
    r = repository("DELETE", location)
    need("DELETE of a session: 204", r.status == 204, r)
    need_error("it is gone", repository("GET", location), 404)


def ranges(repository, algorithm):
    """SPEC dist-1.1 end-2, rfc-9110 14: parts of a blob"""
    data = os.urandom(2048)
    repository.push_blob(data, algorithm)
    for header, first, last in (("500-1499", 500, 1499), ("500-", 500, 2047), ("-500", 1548, 2047), ("2000-5000", 2000, 2047)):
        r = repository("GET", "blobs/" + digest(data, algorithm), {"Range": "bytes=" + header})
        need("bytes=" + header, r.status == 206 and r.body == data[first:last + 1] and r["Content-Length"] == str(last + 1 - first)
             and r["Content-Range"] == "bytes %d-%d/2048" % (first, last), r)
    for header in ("500-0", "5000-10000"):
        r = repository("GET", "blobs/" + digest(data, algorithm), {"Range": "bytes=" + header})
        need("bytes=" + header, r.status == 416, r)
    repository.delete_blob(data, algorithm)


def test_blobs(server):
    for algorithm in ALGORITHMS:
        repository = Repository(server, "suite/blobs")
        for name, way in WAYS.items():
            each("%s: %s" % (algorithm, name), one_way, repository, way, algorithm)
            each("%s: %s, of another digest" % (algorithm, name), one_way_bad, repository, way, algorithm)
        each("%s: mounts" % algorithm, mounts, server, algorithm)
        each("%s: the empty blob, and {}" % algorithm, small_blobs, repository, algorithm)
        each("%s: a session is cancelled" % algorithm, cancel, repository, algorithm)
        each("%s: ranges" % algorithm, ranges, repository, algorithm)


# ---- Content of every kind ----

class Content:
    """Blobs, and manifests in the order in which they can be pushed; tags of them."""

    def __init__(self, algorithm):
        self.algorithm, self.blobs, self.manifests, self.tags = algorithm, [], [], {}

    def describe(self, content, media_type, **more):
        return dict({"mediaType": media_type, "digest": digest(content, self.algorithm), "size": len(content)}, **more)

    def blob(self, content, media_type, pushed=True, **more):
        if pushed and content not in self.blobs:
            self.blobs.append(content)
        return self.describe(content, media_type, **more)

    def manifest(self, document, tag=None, pushed=True):
        """Its bytes."""
        body = json.dumps(dict({"schemaVersion": 2}, **document)).encode()
        if pushed:
            self.manifests.append((body, document["mediaType"]))
        if tag:
            self.tags[tag] = body
        return body

    def image(self, salt, tag=None, config=None, layers=None, pushed=True, **more):
        if config is None:
            text = json.dumps({"architecture": "amd64", "os": "linux", "salt": salt, "rootfs": {"type": "layers", "diff_ids": []}})
            config = self.blob(text.encode(), CONFIG, pushed)
        if layers is None:
            layers = [self.blob(b"layer %d of %s" % (i, salt.encode()), LAYER, pushed) for i in range(2)]
        return self.manifest(dict({"mediaType": MANIFEST, "config": config, "layers": layers}, **more), tag, pushed)

    def index(self, bodies, tag=None, media_type=MANIFEST, **more):
        platforms = [{"architecture": a, "os": "linux"} for a in ("amd64", "arm64", "riscv64")]
        return self.manifest(dict({"mediaType": INDEX, "manifests": [self.describe(b, media_type, platform=p)
                                                                     for b, p in zip(bodies, platforms)]}, **more), tag)

    def artifact(self, salt, tag=None, kind=EXAMPLE, **more):
        layer = self.blob(b"artifact " + salt.encode(), kind)
        return self.image(salt, tag, config=self.blob(b"{}", EMPTY), layers=[layer], artifactType=kind, **more)


def images(c, salt):
    return [c.image("%s %d" % (salt, i)) for i in range(2)]


def with_data(c):
    inline = lambda b, t: c.blob(b, t, data=base64.b64encode(b).decode())  # noqa: E731
    c.image("", "data-field", config=inline(b'{"architecture":"amd64","os":"linux"}', CONFIG), layers=[inline(b"inline", LAYER)])


def with_subject(c):
    subject = c.describe(c.image("subject", "subject"), MANIFEST)
    c.image("image", subject=subject, annotations={"org.example.n": "0"})
    c.artifact("one", "tagged-1", subject=subject, annotations={"org.example.n": "1"})
    c.artifact("two", "tagged-2", kind="application/vnd.example.other.v1", subject=subject, annotations={"org.example.n": "2"})


def index_with_subject(c):
    subject = c.describe(c.index(images(c, "subject"), "subject"), INDEX)
    c.index([c.artifact("member")], "tagged", artifactType=EXAMPLE, subject=subject, annotations={"org.example.n": "3"})


def custom_fields(c):
    body = c.image("custom", **{"org.example.field": {"a": [1, None, "x"]}, "annotations": {"k": "v"}})
    c.index([body], "custom-fields", **{"org.example.field": True})


def sparse_image(c):
    c.image("never pushed", "sparse-image", layers=[c.blob(b"never pushed", LAYER, pushed=False)])


def sparse_index(c):
    c.index([c.image("pushed"), c.image("not pushed", pushed=False)], "sparse-index")


KINDS = {
    "an image": lambda c: c.image("image", "image"),
    "an image without layers": lambda c: c.image("none", "no-layers", layers=[]),
    "an image with a layer that is not distributable": lambda c: c.image("foreign", "foreign", layers=[
        c.blob(b"here", LAYER), c.blob(b"elsewhere", FOREIGN, pushed=False, urls=["https://example.org/layer"])]),
    "an image whose manifest is large": lambda c: c.image("large", "large", annotations={
        "org.example.%d" % i: "x" * 1000 for i in range(3900)}),
    "content in its descriptors": with_data,
    "an index": lambda c: c.index(images(c, "member"), "index"),
    "an index of indexes": lambda c: c.index([c.index(images(c, "a")), c.index(images(c, "b"))], "nested", INDEX),
    "an index of nothing": lambda c: c.index([], "empty-index"),
    "an artifact": lambda c: c.artifact("artifact", "artifact"),
    "an artifact without layers": lambda c: c.image("", "artifact-empty", config=c.blob(b"{}", EMPTY),
                                                   layers=[c.blob(b"{}", EMPTY)], artifactType=EXAMPLE),
    "an index of artifacts": lambda c: c.index([c.artifact("a"), c.artifact("b")], "artifact-index", artifactType=EXAMPLE),
    "artifacts with a subject": with_subject,
    "an index with a subject": index_with_subject,
    "a subject that is not there": lambda c: c.artifact("missing", "missing-subject", subject=c.describe(b"not there", MANIFEST)),
    "fields that nobody knows": custom_fields,
    "an image whose layers never come": sparse_image,
    "an index whose member never comes": sparse_index,
}


def push(repository, c, by_parameter):
    for data in c.blobs:
        repository.push_blob(data, c.algorithm)
    for body, media_type in c.manifests:
        tags = [t for t, b in c.tags.items() if b == body]
        query = ""
        if by_parameter and tags:
            tags.append(tags[0] + "-again")
            c.tags[tags[1]] = body
            query = "?" + "&".join("tag=" + t for t in tags)
        r = repository.put_manifest(digest(body, c.algorithm) + query, body, media_type, c.algorithm)
        # SPEC dist-1.1 end-7b
        told = {t.strip() for value in r.all("OCI-Tag") for t in value.split(",")}
        need("OCI-Tag names each of them", told == set(tags if query else ()), r)
        # A tag has no algorithm: what is put by it is sha256.
        for tag in tags if not query and c.algorithm == "sha256" else ():
            repository.put_manifest(tag, body, media_type)


def tags_are(repository, c):
    """SPEC dist-1.1 end-8a, end-8b"""
    r = repository("GET", "tags/list")
    tags = json.loads(r.body)["tags"]
    need("the list of tags", r.status == 200 and json.loads(r.body)["name"] == repository.name and tags == sorted(c.tags), r)
    for i, last in enumerate(tags):
        r = repository("GET", "tags/list?last=" + last)
        need("behind " + last, json.loads(r.body)["tags"] == tags[i + 1:], r)


def referrers_are(repository, c):
    """SPEC dist-1.1 end-12a, end-12b"""
    want = {}
    for body, media_type in c.manifests:
        document = json.loads(body)
        if "subject" in document:
            d = c.describe(body, media_type)
            kind = document.get("artifactType") or document.get("config", {}).get("mediaType")
            if kind:
                d["artifactType"] = kind
            if document.get("annotations"):
                d["annotations"] = document["annotations"]
            want.setdefault(document["subject"]["digest"], []).append(d)
    by_digest = lambda d: d["digest"]  # noqa: E731
    for subject, descriptors in want.items():
        r = repository("GET", "referrers/" + subject)
        need("referrers", r.status == 200 and r["Content-Type"] == INDEX and r["OCI-Filters-Applied"] is None
             and json.loads(r.body)["schemaVersion"] == 2 and json.loads(r.body)["mediaType"] == INDEX
             and sorted(json.loads(r.body)["manifests"], key=by_digest) == sorted(descriptors, key=by_digest), r)
        for kind in {d["artifactType"] for d in descriptors}:
            r = repository("GET", "referrers/%s?artifactType=%s" % (subject, kind))
            need("referrers of type " + kind, r.status == 200 and r["OCI-Filters-Applied"] == "artifactType"
                 and sorted(json.loads(r.body)["manifests"], key=by_digest) == sorted(
                     (d for d in descriptors if d["artifactType"] == kind), key=by_digest), r)


def pull(repository, c):
    for tag, body in c.tags.items():
        repository.need_manifest(tag, body, json.loads(body)["mediaType"], c.algorithm)
    for body, media_type in c.manifests:
        repository.need_manifest(digest(body, c.algorithm), body, media_type, c.algorithm)
    for data in c.blobs:
        repository.need_blob(data, c.algorithm)


def delete(repository, c, blobs_first):
    """SPEC dist-1.1 end-9, end-10"""
    for data in c.blobs if blobs_first else ():
        repository.delete_blob(data, c.algorithm)
    for tag in c.tags:
        r = repository("DELETE", "manifests/" + tag)
        need("DELETE of a tag: 202", r.status == 202, r)
        need_error("it is gone", repository("GET", "manifests/" + tag), 404)
    for body, _ in c.manifests:
        target = "manifests/" + digest(body, c.algorithm)
        r = repository("DELETE", target)
        need("DELETE of a manifest: 202", r.status == 202, r)
        for method in ("HEAD", "GET"):
            need_error("it is gone", repository(method, target), 404)
    for data in () if blobs_first else c.blobs:
        repository.delete_blob(data, c.algorithm)
    need_error("nothing is left of the repository", repository("GET", "tags/list"), 404)


def one_kind(server, number, kind, algorithm, by_parameter):
    c = Content(algorithm)
    repository = Repository(server, "suite/kind-%d-%s-%d" % (number, algorithm, by_parameter))
    kind(c)
    if algorithm != "sha256" and not by_parameter:
        c.tags = {}
    push(repository, c, by_parameter)
    tags_are(repository, c)
    referrers_are(repository, c)
    pull(repository, c)
    delete(repository, c, blobs_first=by_parameter)


def test_kinds(server):
    for number, (name, kind) in enumerate(KINDS.items()):
        for algorithm in ALGORITHMS:
            for by_parameter in (False, True):
                each("%s, %s%s" % (name, algorithm, ", tags as parameters" if by_parameter else ""),
                     one_kind, server, number, kind, algorithm, by_parameter)


def sparse_refused(server, kind, message):
    """SPEC dist-1.1 end-7: whether what a manifest names may be missing is the operator's policy."""
    c = Content("sha256")
    repository = Repository(server, "suite/not-sparse")
    kind(c)
    for data in c.blobs:
        repository.push_blob(data)
    for body, media_type in c.manifests[:-1]:
        repository.put_manifest(digest(body), body, media_type)
    body, media_type = c.manifests[-1]
    r = repository("PUT", "manifests/" + digest(body), {"Content-Type": media_type}, body)
    need_error(message, r, 404)
    need(message, json.loads(r.body)["errors"][0]["code"] == "MANIFEST_BLOB_UNKNOWN", r)
    need_error("it is not there", repository("GET", "manifests/" + digest(body)), 404)


# ---- What is not there, and what cannot be ----

def nothing_there(server):
    """SPEC dist-1.1 end-8, end-12: of a repository of which nothing was pushed yet"""
    repository = Repository(server, "suite/nothing")
    need_error("tags of no repository", repository("GET", "tags/list"), 404)
    r = repository("GET", "referrers/" + digest(b"x"))
    need("referrers: an empty index", r.status == 200 and r["Content-Type"] == INDEX and json.loads(r.body)["manifests"] == [], r)
    repository.push_blob(b"a blob")
    r = repository("GET", "tags/list")
    need("tags, where there are only blobs: none", r.status == 200 and json.loads(r.body)["tags"] == [], r)


def bad_references(server):
    """SPEC dist-1.1 end-3, end-7: digests that are none, of nothing, of something else"""
    repository = Repository(server, "suite/bad")
    c = Content("sha256")
    body = c.image("bad")
    for data in c.blobs:
        repository.push_blob(data)
    for reference, put, get in (("sha256:baddigeststring", (400,), (400, 404)), (digest(b"other"), (400,), (404,)),
                                (digest(b"other", "sha512"), (400,), (404,)), ("missing-tag", (), (404,))):
        if put:
            need_error("PUT " + reference, repository("PUT", "manifests/" + reference, {"Content-Type": MANIFEST}, body), *put)
        for method in ("GET", "HEAD", "DELETE"):
            need_error("%s %s" % (method, reference), repository(method, "manifests/" + reference), *get)
    need_error("a manifest that is none", repository("PUT", "manifests/" + digest(b"blah"), {"Content-Type": MANIFEST}, b"blah"), 400, 404)
    need_error("a tag that is none", repository("PUT", "manifests/-x", {"Content-Type": MANIFEST}, body), 400)
    r = repository("GET", "tags/list")
    need("nothing was tagged", json.loads(r.body)["tags"] == [], r)


def page_of_tags(server):
    """SPEC dist-1.1 end-8b: n and last, in lexical order, each page with a Link to the next"""
    repository = Repository(server, "suite/tags")
    c = Content("sha256")
    body = c.image("tags")
    for data in c.blobs:
        repository.push_blob(data)
    tags = ["test%d" % i for i in range(4)] + ["A", "_z"]
    for tag in tags:
        repository.put_manifest(tag, body, MANIFEST)
    for n in (1, 2, 4, 6):
        got, target = [], "tags/list?n=%d" % n
        while target:
            r = repository("GET", target)
            page = json.loads(r.body)["tags"]
            need("at most %d" % n, r.status == 200 and len(page) <= n, r)
            got += page
            link = re.fullmatch(r'<([^>]*)>; rel="next"', r["Link"] or "")
            need("a Link exactly where there is more", bool(link) == (len(got) < len(tags)), r)
            target = link.group(1) if link else None
        need("all of them, in order: %s" % got, got == sorted(tags))
    r = repository("GET", "tags/list?n=2&last=" + sorted(tags)[1])
    need("n and last", json.loads(r.body)["tags"] == sorted(tags)[2:4], r)


def ping(server):
    """SPEC dist-1.1 end-1"""
    for target in ("/v2/", "/v2"):
        r = server.request("GET", target)
        need("GET %s: 200" % target, r.status == 200, r)


def mount_is_upload(server):
    """SPEC dist-1.1 end-11: to look for the blob of a mount without `from` is the operator's policy."""
    data = b"of another repository"
    Repository(server, "suite/from").push_blob(data)
    r = Repository(server, "suite/to")("POST", "blobs/uploads/?mount=" + digest(data))
    need("an upload begins", r.status == 202 and "/blobs/uploads/" in r["Location"], r)
    r = Repository(server, "suite/to")("POST", "blobs/uploads/?mount=%s&from=suite/from" % digest(data))
    need("with `from` it is mounted", r.status == 201, r)


def main():
    base = [w.NACRE, "serve", "--listen", "127.0.0.1:0", "--no-access-log"]
    server = w.Server(*(sys.argv[1:] or base + ["--data", os.path.join(w.T, "data"), "--set", "root.sparse=all"]))
    each("the API is there", ping, server)
    each("of nothing", nothing_there, server)
    each("references that are none", bad_references, server)
    each("pages of tags", page_of_tags, server)
    test_blobs(server)
    test_kinds(server)
    server.check_clean_end()
    if not sys.argv[1:]:
        server = w.Server(*base, "--data", os.path.join(w.T, "default"))
        each("by default a layer has to be there", sparse_refused, server, sparse_image, "a layer that is not there")
        server.check_clean_end()
        server = w.Server(*base, "--data", os.path.join(w.T, "never"), "--set", "root.sparse=never",
                          "--set", "root.mount-without-from=false")
        each("and by another policy a member of an index", sparse_refused, server, sparse_index, "a member that is not there")
        each("and a mount without from is an upload", mount_is_upload, server)
        server.check_clean_end()
    w.finish()


if __name__ == "__main__":
    main()
