#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Referrers where a client or a registry does not know the API for them: lists under a tag that clients keep themselves
(SPEC dist-1.1 referrers tag schema, enabling the referrers API). Prints `ok - …`, `not ok - …`, `skip - … # reason`."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import server_wire as w  # noqa: E402
from server_wire import check, check_eq  # noqa: E402

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def descriptor(data, media_type=MANIFEST, **more):
    return dict(mediaType=media_type, digest=digest(data), size=len(data), **more)


def dump(document):
    return json.dumps(document).encode()


def artifact(note, subject=None, **more):
    """A manifest that says `note`, about `subject` (bytes of a manifest)."""
    document = dict({"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "text/x-note", "config": descriptor(b"{}", EMPTY),
                     "layers": [descriptor(b"{}", EMPTY)], "annotations": {"note": note}}, **more)
    if subject is not None:
        document["subject"] = descriptor(subject)
    return dump(document)


class Registry:
    """Any registry at this port, and a repository in it."""

    def __init__(self, port, repository):
        self.port, self.repository = port, repository

    def __call__(self, method, target, headers=(), body=b""):
        wire = w.Wire(self.port)
        try:
            return wire.request(method, "/v2/%s/%s" % (self.repository, target), headers, body)
        finally:
            wire.close()

    def put(self, reference, body, media_type=MANIFEST, **headers):
        return self("PUT", "manifests/" + reference, dict({"Content-Type": media_type}, **headers), body)

    def push_blob(self, data):
        location = self("POST", "blobs/uploads/")["Location"]
        target = location[location.index("/v2/"):] + ("&" if "?" in location else "?") + "digest=" + digest(data)
        wire = w.Wire(self.port)
        r = wire.request("PUT", target, {"Content-Type": "application/octet-stream"}, data)
        wire.close()
        return r

    def referrers(self, subject, query=""):
        r = self("GET", "referrers/" + digest(subject) + query)
        return {m["digest"] for m in json.loads(r.body)["manifests"]} if r.status == 200 else r


def tag_of(subject):
    return "sha256-" + hashlib.sha256(subject).hexdigest()


def index_of(*manifests):
    return dump({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
        descriptor(m, artifactType="text/x-note", annotations={"note": "as the list words it"}) for m in manifests]})


def test_tag(server):
    """A client that keeps lists under tags, beside one that asks the API."""
    registry = Registry(server.port, "old/client")
    registry.push_blob(b"{}")
    subject = artifact("the subject")
    registry.put("v1", subject)
    first, second, later = (artifact(note, subject) for note in ("first", "second", "later"))
    stranger, none = artifact("of another", b"another subject"), artifact("of none")
    for body in (first, stranger, none):
        registry.put(digest(body), body)
    listed = index_of(first, stranger, none, later)
    r = registry.put(tag_of(subject), listed, INDEX)
    check("a list of referrers is put under its tag", r.status == 201, r)
    check_eq("the API lists what is here and has that subject", {digest(first)}, registry.referrers(subject))
    check_eq("by type, too", {digest(first)}, registry.referrers(subject, "?artifactType=text/x-note"))
    registry.put(digest(later), later)
    check_eq("what the list named comes later", {digest(first), digest(later)}, registry.referrers(subject))
    registry.put(digest(second), second)
    check_eq("what it does not name is listed, too", {digest(m) for m in (first, later, second)}, registry.referrers(subject))
    r = registry("GET", "referrers/" + digest(subject))
    check("each as its manifest words it", all(m["annotations"]["note"] in ("first", "second", "later")
                                              for m in json.loads(r.body)["manifests"]), r)
    r = registry("GET", "manifests/" + tag_of(subject))
    check("the list stays as it was put", r.status == 200 and r.body == listed and r["Content-Type"] == INDEX, r)

    # SPEC dist-1.1 pushing manifests with subject: conditional requests, so that no entry of another client is lost.
    tag = r["ETag"]
    r = registry.put(tag_of(subject), index_of(first, later, second), INDEX, **{"If-Match": tag})
    check("the list is replaced by who saw it", r.status == 201, r)
    check_eq("and by nobody who did not", 412, registry.put(tag_of(subject), index_of(first), INDEX, **{"If-Match": tag}).status)

    registry("DELETE", "manifests/" + digest(first))
    check_eq("a referrer that is deleted is not listed, whatever the list says", {digest(later), digest(second)},
             registry.referrers(subject))
    registry("DELETE", "manifests/" + tag_of(subject))
    check_eq("without the list the API is as it was", {digest(later), digest(second)}, registry.referrers(subject))
    r = registry("GET", "tags/list")
    check_eq("and its tag gone", ["v1"], json.loads(r.body)["tags"])


def start_plain_registry():
    """Debian's docker-registry, which has no API for referrers. (process, port), or None."""
    if not shutil.which("docker-registry"):
        return None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = os.path.join(w.T, "registry.yml")
    with open(config, "w") as f:
        f.write("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nhttp: {addr: '127.0.0.1:%d'}\n"
                "storage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}\n" % (port, os.path.join(w.T, "registry")))
    with open(os.path.join(w.T, "registry.log"), "wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", config], stdout=log, stderr=log)
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return process, port
        except OSError:
            time.sleep(0.05)
    process.kill()
    process.wait()
    return None


def test_upstream():
    """Pulled through from a registry that has such lists and no API."""
    plain = start_plain_registry()
    if not plain:
        w.skip("referrers of a plain registry", "needs docker-registry, which is not installed")
        return
    process, port = plain
    try:
        upstream = Registry(port, "app")
        upstream.push_blob(b"{}")
        subject = artifact("the subject")
        notes = [artifact(note, subject) for note in ("first", "second")]
        for reference, body in [("v1", subject)] + [(digest(n), n) for n in notes]:
            r = upstream.put(reference, body)
            if not check("a manifest is put there", r.status == 201, r):
                return
        upstream.put(tag_of(subject), index_of(*notes), INDEX)
        check_eq("it has no API for referrers", 404, upstream("GET", "referrers/" + digest(subject)).status)
        config = os.path.join(w.T, "nacre.yaml")
        with open(config, "w") as f:
            f.write("views:\n  hub: {upstreams: [{url: 'http://127.0.0.1:%d', kind: registry}]}\n" % port)
        server = w.Server(w.NACRE, "serve", "--listen", "127.0.0.1:0", "--data", os.path.join(w.T, "through"), "--no-access-log",
                          "--config", config)
        registry = Registry(server.port, "hub/app")
        check_eq("the list is honoured here", {digest(n) for n in notes}, registry.referrers(subject))
        check_eq("what it names is here", [200, 200], [registry("HEAD", "manifests/" + digest(n)).status for n in notes])
        server.check_clean_end()
    finally:
        process.kill()
        process.wait()


def main():
    server = w.Server(w.NACRE, "serve", "--listen", "127.0.0.1:0", "--data", os.path.join(w.T, "data"), "--no-access-log")
    for test, arguments in ((test_tag, (server,)), (test_upstream, ())):
        try:
            test(*arguments)
        except Exception as e:  # noqa: BLE001
            check(test.__name__, False, "%s: %s" % (type(e).__name__, e))
    server.check_clean_end()
    w.finish()


if __name__ == "__main__":
    main()
