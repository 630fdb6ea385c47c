#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whose word counts of what is pulled through a registry and of what comes beside an image (SPEC nacre 1 trust,
docs/upstreams.md): readers bind nothing, and have nothing signed. Prints `ok - …`, `not ok - …`."""

import hashlib
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import server_wire as w  # noqa: E402
from server_wire import check, check_eq  # noqa: E402

sys.path.insert(0, os.path.join(w.SRC, "tests/reference"))
import image as oci  # noqa: E402
import nar  # noqa: E402
import storepath  # noqa: E402
from grouping import Info  # noqa: E402

STORE = "/nix/store"
LIE = b"not what its name says\n"


def sha256(data):
    return hashlib.sha256(data).digest()


class Thing:
    """A store path of one file, in an image and in a package artifact. `real`: what its content address says is in it;
    None: it has none."""

    def __init__(self, name, content, real=None):
        node = nar.File(content)
        data = nar.write(node)
        self.ca = real is not None and "fixed:r:sha256:" + storepath.nix32(sha256(nar.write(nar.File(real)))) or None
        if real is None:
            self.path = storepath.make("input", sha256(name.encode()), name)
        else:
            self.path = storepath.source(name, sha256(nar.write(nar.File(real))))
        self.hash_part = storepath.base_name(self.path)[:32]
        self.nar = data
        self.info = Info(self.path, sha256(data), len(data))
        self.node = node

    def image(self):
        return oci.image(STORE, [self.info], {self.path: self.node}, [self.path], "amd64", "tar")

    def package(self):
        return oci.package(STORE, self.info, self.node, "tar")

    def infos(self, manifest, ca=None, deriver=None):
        """The referrer of `manifest` that says this of the path."""
        subject = {"mediaType": oci.MANIFEST, "digest": oci.digest(manifest), "size": len(manifest)}
        return oci.path_infos(subject, {self.path: oci.narinfo(self.info, deriver=deriver, ca=ca)})


class Client:
    """A server, and what somebody asks of it."""

    def __init__(self, server):
        self.server = server

    def __call__(self, method, target, headers=(), body=b""):
        return self.server.request(method, target, headers, body)

    def push(self, repository, reference, pushed):
        """(manifest, blobs); the manifest's status."""
        manifest, blobs = pushed
        for digest, data in blobs.items():
            r = self("POST", "/v2/%s/blobs/uploads/?digest=%s" % (repository, digest), {"Content-Type": "application/octet-stream"},
                     data)
            if r.status != 201:
                return r.status
        return self("PUT", "/v2/%s/manifests/%s" % (repository, reference or oci.digest(manifest)),
                    {"Content-Type": oci.MANIFEST}, manifest).status

    def pull(self, repository, reference):
        """The manifest and its blobs by GETs; the manifest's bytes."""
        r = self("GET", "/v2/%s/manifests/%s" % (repository, reference))
        if r.status != 200:
            return r.status
        manifest = json.loads(r.body)
        for blob in [manifest["config"]] + manifest["layers"]:
            got = self("GET", "/v2/%s/blobs/%s" % (repository, blob["digest"]))
            if got.status != 200 or oci.digest(got.body) != blob["digest"]:
                return "blob %s: %s" % (blob["digest"], got.status)
        return r.body

    def pull_referrers(self, repository, subject):
        r = self("GET", "/v2/%s/referrers/%s" % (repository, oci.digest(subject)))
        return [self.pull(repository, m["digest"]) for m in json.loads(r.body)["manifests"]]

    def narinfo(self, thing, view=""):
        """Its lines, or the status."""
        r = self("GET", "/%s%s.narinfo" % (view, thing.hash_part))
        return r.body.decode().splitlines() if r.status == 200 else r.status

    def becomes(self, thing, view=""):
        """What a pulled image binds is bound when the last blob is stored, which may be after its client has it."""
        w.until(20, lambda: self.narinfo(thing, view) != 404)
        return self.narinfo(thing, view)


def signatures(narinfo):
    return [line.partition(":")[2].strip().partition(":")[0] for line in narinfo if line.startswith("Sig:")]


def start(name, config=None):
    command = [w.NACRE, "serve", "--listen", "127.0.0.1:0", "--data", os.path.join(w.T, name), "--no-access-log"]
    if config:
        path = os.path.join(w.T, name + ".yaml")
        with open(path, "w") as f:
            f.write(config)
        command += ["--config", path]
    return Client(w.Server(*command))


def test_images(upstream, through):
    """An image of an upstream that nobody trusts, and one of an upstream that is believed."""
    thing = Thing("pulled", b"an image has it\n")
    pushed = thing.image()
    check_eq("an image at the upstream", 201, upstream.push("app", "1", pushed))
    check_eq("with path infos", 201, upstream.push("app", None, thing.infos(pushed[0])))
    for believed, repository in ((False, "hub/app"), (True, "all/app")):
        check_eq("%s comes as it is" % repository, pushed[0], through.pull(repository, "1"))
        check_eq("so do its path infos", [bytes], [type(r) for r in through.pull_referrers(repository, pushed[0])])
        if believed:
            narinfo = through.becomes(thing, "all/")
            check("trust: all makes it a path", isinstance(narinfo, list), narinfo)
            check_eq("which is not the server's to sign", [], signatures(narinfo))
            continue
        # Once more, now that the blobs are here: nothing is left that would be looked at later.
        through.pull(repository, "1")
        check_eq("an image that was pulled binds nothing", 404, through.narinfo(thing, "hub/"))

    fixed = Thing("fixed", b"a fixed output\n", b"a fixed output\n")
    pushed = fixed.image()
    upstream.push("app", "fixed", pushed)
    upstream.push("app", None, fixed.infos(pushed[0], fixed.ca))
    through.pull("hub/app", "fixed")
    through.pull_referrers("hub/app", pushed[0])
    narinfo = through.becomes(fixed, "hub/")
    check("what is content-addressed, and so proven, is bound", isinstance(narinfo, list) and "CA: " + fixed.ca in narinfo, narinfo)
    check_eq("and not signed", [], signatures(narinfo))
    lie = Thing("lie", LIE, b"a fixed output\n")
    pushed = lie.image()
    upstream.push("app", "lie", pushed)
    upstream.push("app", None, lie.infos(pushed[0], lie.ca))
    through.pull("hub/app", "lie")
    through.pull_referrers("hub/app", pushed[0])
    through.pull("hub/app", "lie")
    check_eq("what only claims to be is not", 404, through.narinfo(lie, "hub/"))


def test_infos(through):
    """Path infos that are pushed beside an image, where the server signs what is uploaded."""
    thing = Thing("beside", b"pushed\n")
    pushed = thing.image()
    check_eq("an image is pushed", 201, through.push("signing/app", "1", pushed))
    check_eq("its paths are not signed", [], signatures(through.narinfo(thing, "signing/")))
    check_eq("path infos follow", 201, through.push("signing/app", None, thing.infos(pushed[0], deriver=STORE + "/%s-x.drv" % ("0" * 32))))
    narinfo = through.narinfo(thing, "signing/")
    check("they tell what they know", "Deriver: %s-x.drv" % ("0" * 32) in narinfo, narinfo)
    check_eq("and nothing is signed by that", [], signatures(narinfo))
    text = "\n".join(narinfo) + "\n"
    check_eq("a narinfo is put", 201, through("PUT", "/signing/%s.narinfo" % thing.hash_part, (), text.encode()).status)
    check_eq("which is signed", ["server-1"], signatures(through.narinfo(thing, "signing/")))


def fetch(through, thing, view):
    """The NAR of a path that an upstream has: the bytes, or what came in their place."""
    narinfo = through.narinfo(thing, view)
    if not isinstance(narinfo, list):
        return narinfo
    url = next(line[5:] for line in narinfo if line.startswith("URL: "))
    try:
        r = through("GET", "/%s%s" % (view, url))
    except Exception as e:  # noqa: BLE001
        return type(e).__name__
    return r.body if r.status == 200 and len(r.body) == len(thing.nar) else "%d, %d bytes" % (r.status, len(r.body))


def test_packages(upstream, through):
    """Packages of a registry, and what anybody may attach to them."""
    fixed = Thing("package", b"a package\n", b"a package\n")
    lie = Thing("lying-package", LIE, b"a package\n")
    plain = Thing("plain-package", b"not content-addressed\n")
    for thing, ca in ((fixed, fixed.ca), (lie, lie.ca), (plain, fixed.ca)):
        pushed = thing.package()
        check_eq("the package of %s" % thing.path, 201, upstream.push("pkgs", thing.hash_part, pushed))
        check_eq("and path infos", 201, upstream.push("pkgs", None, thing.infos(pushed[0], ca)))
    narinfo = through.narinfo(fixed, "packages/")
    check("a content address counts", isinstance(narinfo, list) and "CA: " + fixed.ca in narinfo, narinfo)
    check_eq("and its content comes", fixed.nar, fetch(through, fixed, "packages/"))
    got = fetch(through, lie, "packages/")
    check("content that it does not have does not come", got != lie.nar, got)
    check_eq("nor is it stored", 404, through("HEAD", "/packages/nar/%s.nar" % storepath.nix32(lie.info.nar_hash)).status)
    check_eq("one that gives another path counts for nothing", 404, through.narinfo(plain, "packages/"))

    # Where the package is believed, a content address that makes no sense does no harm.
    narinfo = through.narinfo(plain, "believed/")
    check("it is left away", isinstance(narinfo, list) and not any(line.startswith("CA:") for line in narinfo), narinfo)
    check_eq("and the content comes", plain.nar, fetch(through, plain, "believed/"))
    check("the path is bound", w.until(20, lambda: not any("?hash=" in line for line in through.narinfo(plain, "believed/"))),
          through.narinfo(plain, "believed/"))
    check_eq("and not signed", [], signatures(through.narinfo(plain, "believed/")))


def test_cache(upstream, through):
    """A Nix cache that is believed: what comes from there is not the server's to sign either."""
    thing = Thing("cached", b"in a cache\n")
    name = "nar/%s.nar" % storepath.nix32(thing.info.nar_hash)
    upstream("PUT", "/" + name, (), thing.nar)
    r = upstream("PUT", "/%s.narinfo" % thing.hash_part, (), oci.narinfo(thing.info).encode())
    check_eq("a path in the cache", 201, r.status)
    check_eq("its NAR comes", thing.nar, fetch(through, thing, "cache/"))
    check("it is bound", w.until(20, lambda: not any("?hash=" in line for line in through.narinfo(thing, "cache/"))),
          through.narinfo(thing, "cache/"))
    check_eq("and not signed", [], signatures(through.narinfo(thing, "cache/")))


def main():
    key = os.path.join(w.T, "server.key")
    subprocess.run([w.NACRE, "key", "generate", "server-1", "-o", key], check=True)
    stranger = os.path.join(w.T, "stranger.key")
    subprocess.run([w.NACRE, "key", "generate", "stranger-1", "-o", stranger], check=True)
    public = subprocess.run([w.NACRE, "key", "public", stranger], check=True, stdout=subprocess.PIPE).stdout.decode().strip()
    upstream = start("upstream")
    registry = "127.0.0.1:%d" % upstream.server.port
    through = start("through", """
views:
  hub: {sign-with: %(key)s, upstream-negative-ttl: 0s, upstreams: [{url: 'oci+http://%(registry)s'}]}
  all: {sign-with: %(key)s, upstreams: [{url: 'oci+http://%(registry)s', trust: all}]}
  signing: {sign-with: %(key)s}
  packages: {sign-with: %(key)s, upstream-negative-ttl: 0s,
    upstreams: [{url: 'oci+http://%(registry)s', packages: pkgs, trusted-keys: ['%(public)s']}]}
  believed: {sign-with: %(key)s, upstreams: [{url: 'oci+http://%(registry)s', packages: pkgs, trust: all}]}
  cache: {sign-with: %(key)s, upstreams: [{url: 'http://%(registry)s', trust: all}]}
""" % {"key": key, "registry": registry, "public": public})
    for test, arguments in ((test_images, (upstream, through)), (test_infos, (through,)), (test_packages, (upstream, through)),
                            (test_cache, (upstream, through))):
        try:
            test(*arguments)
        except Exception as e:  # noqa: BLE001
            check(test.__name__, False, "%s: %s" % (type(e).__name__, e))
    through.server.check_clean_end()
    upstream.server.check_clean_end()
    w.finish()


if __name__ == "__main__":
    main()
