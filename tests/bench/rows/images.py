# SPDX-License-Identifier: Apache-2.0
"""Images: building, pulling again after a change, absorbing, and what storing takes."""

import json
import os
import re
import subprocess

import measure as m
from measure import Row
from rows.archive import sha256_speed
from wire import Client


def tree_size(path):
    return sum(os.lstat(os.path.join(d, f)).st_blocks * 512 for d, _, files in os.walk(path) for f in files)


def build_rows(scratch, short):
    runs = 2 if short else 5
    for fixture, on in (("synthetic-1000", "1000 tiny paths"), ("python3", "python3's closure")):
        path = m.fixture(fixture)

        def build():
            return m.run([m.NACRE, "build", path, "--from", m.FIXTURES, "-o", "oci:" + scratch.fresh("layout") + ":x", "--platform", "linux/amd64"])
        got = m.interleaved(runs, ours=build)
        nar = sum(int(line.split()[1]) for line in m.output(m.NACRE, "path-info", "--store", m.FIXTURES, "-r", "-s", path).splitlines())
        floor = nar / sha256_speed(scratch, runs)
        yield Row("image build, nothing known: " + on, "nacre build into a fresh layout", on, "cost", m.median(got["ours"]), floor, "s", "",
                  "SHA-256 of the same bytes, one core", bytes=nar)
        # Of tiny paths nothing says for which machine they are.
        server = m.nacre_server(scratch, "images-" + fixture, "--set", "store.architecture=amd64")
        try:
            m.run(["nix", "copy", "--from", m.FIXTURES, "--no-check-sigs", "--to", server.url, path], env=m.NIX)
            client, target = Client(server.port), "/v2/nix/manifests/" + os.path.basename(path)[:32]
            client.expect((200,), "GET", target)
            yield Row("image, all known: " + on, "the manifest from the server, again", on, "value",
                      m.median(m.interleaved(runs, ours=lambda: timed(lambda: client.expect((200,), "GET", target)))["ours"]) * 1000, None, "ms",
                      "<= 50")
        finally:
            server.stop()


def timed(work):
    import time
    start = time.monotonic()
    work()
    return m.Cost(time.monotonic() - start, 0, 0)


ABSORBED = {"none": "tar", "zstd": "tar+zstd, framed", "gzip": "tar+gzip"}


def absorb_rows(scratch, short):
    """A layer that is pushed is a substitutable path when the manifest was taken. The time is the manifest's: that of
    the blobs, which is the same for any registry, is a figure beside it. Bytes are uncompressed, whatever was pushed."""
    path = m.fixture("python3")
    hash_part, images, turn, size = os.path.basename(path)[:32], {}, [0], 0
    for compression in ABSORBED:
        layout = scratch.fresh("absorb-" + compression)
        m.run([m.NACRE, "build", path, "--from", m.FIXTURES, "-o", "oci:" + layout + ":x", "--compression", compression])
        with open(os.path.join(layout, "index.json")) as f:
            manifest = json.load(f)["manifests"][0]["digest"]

        def blob(digest):
            with open(os.path.join(layout, "blobs", *digest.split(":")), "rb") as f:
                return f.read()
        body = json.loads(blob(manifest))
        parts = [(blob(d["digest"]), d["digest"]) for d in [body["config"]] + body["layers"]]
        images[compression] = (blob(manifest), parts)
        if compression == "none":
            size = sum(len(data) for data, _ in parts)

    def push(compression):
        turn[0] += 1
        manifest, parts = images[compression]
        server = m.nacre_server(scratch, "absorb-%d" % turn[0])
        try:
            client = Client(server.port)
            blobs = timed(lambda: [client.push_blob("app", *part) for part in parts])
            before = server.cpu()
            cost = timed(lambda: client.push_manifest("app", "1", manifest))
            cost.cpu, cost.blobs = server.cpu() - before, blobs.wall
            client.expect((200,), "GET", "/%s.narinfo" % hash_part)
            return cost
        finally:
            server.stop()
    got = m.interleaved(2 if short else 5, **{c: (lambda c=c: push(c)) for c in ABSORBED})
    floor = sha256_speed(scratch, 1)
    for compression, what in ABSORBED.items():
        yield Row("absorb: " + what, "manifest PUT until answered, uncompressed bytes a second", "python3's closure", "rate",
                  size / m.median(got[compression]), floor, "B/s", ">= 0.5", "openssl speed sha256", bytes=size,
                  ours_cpu=m.median(got[compression], "cpu") / size * 2**30, blobs_seconds=m.median(got[compression], "blobs"))


def storage_rows(scratch, short):
    path = m.fixture("python3")
    server = m.nacre_server(scratch, "storage")
    try:
        m.run(["nix", "copy", "--from", m.FIXTURES, "--no-check-sigs", "--to", server.url, path], env=m.NIX)
        Client(server.port).expect((200,), "GET", "/v2/nix/manifests/" + os.path.basename(path)[:32])
    finally:
        server.stop()
    ours = tree_size(scratch("storage"))
    for compression in ("xz", "zstd"):
        folder = scratch.fresh("files-" + compression)
        m.run(["nix", "copy", "--from", m.FIXTURES, "--no-check-sigs", "--to", "file://%s?compression=%s" % (folder, compression), path], env=m.NIX)
        yield Row("storage against nix file:// " + compression, "bytes on disk for NARs and layers, against NARs alone", "python3's closure", "cost",
                  ours / 2**20, tree_size(folder) / 2**20, "MiB", "", "nix copy --to file://?compression=" + compression)
    layout = scratch.fresh("both")
    m.run([m.NACRE, "build", path, "--from", m.FIXTURES, "-o", "oci:" + layout + ":x"])
    yield Row("storage against both formats", "bytes on disk", "python3's closure", "cost", ours / 2**20,
              (tree_size(layout) + tree_size(scratch("files-zstd"))) / 2**20, "MiB", "<= 0.7", "NAR+zstd and layers, each stored")


def rows(scratch, short):
    yield from build_rows(scratch, short)
    yield from absorb_rows(scratch, short)
    yield from storage_rows(scratch, short)
