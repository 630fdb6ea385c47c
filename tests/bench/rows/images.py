# SPDX-License-Identifier: Apache-2.0
"""Images: building, pulling again after a change, absorbing, and what storing takes."""

import json
import os
import re
import subprocess

import measure as m
import versions
from measure import Row
from rows.archive import costs, instructions, sha256_speed, syscalls
from wire import Client


def tree_size(path):
    return sum(os.lstat(os.path.join(d, f)).st_blocks * 512 for d, _, files in os.walk(path) for f in files)


def file_opens(command, folder, env):
    """How many regular files below the folder a command opens; None without strace."""
    try:
        r = subprocess.run(["strace", "-f", "-y", "-o", "/dev/stderr", "-e", "trace=open,openat,openat2"] + command, stdout=subprocess.DEVNULL,
                           stderr=subprocess.PIPE, check=True, env=dict(os.environ, **env))
    except (OSError, subprocess.CalledProcessError):
        return None
    opened = re.findall(rb"= \d+<([^>]+)>", r.stderr)
    return sum(1 for name in opened if name.startswith(folder.encode() + b"/") and os.path.isfile(name))


def build_rows(scratch, short):
    runs = 2 if short else 5
    for fixture, on in (("synthetic-1000", "1000 tiny paths"), ("python3", "python3's closure")):
        path, env = m.fixture(fixture), {"XDG_CACHE_HOME": scratch("cache-" + fixture)}

        def command(layout, *more):
            # Of tiny paths nothing says for which machine they are.
            return [m.NACRE, "build", path, "--from", m.FIXTURES, "-o", "oci:" + layout + ":x", "--platform", "linux/amd64", *more]
        nar = sum(int(line.split()[1]) for line in m.output(m.NACRE, "path-info", "--store", m.FIXTURES, "-r", "-s", path).splitlines())
        for compression in ("zstd", "none"):
            got = m.interleaved(runs, ours=lambda: m.run(command(scratch.fresh("layout"), "--no-cache", "--compression", compression)),
                                speed=lambda: sha256_speed(scratch, runs))
            yield Row("image build, nothing known, %s: %s" % (compression, on), "nacre build into a fresh layout", on, "cost",
                      m.median(got["ours"]), nar / m.middle(got["speed"]), "s", "", "SHA-256 of the same bytes, one core", bytes=nar,
                      **costs(got))
        layout = scratch.fresh("layout")
        again = command(layout)
        # After the second, index.json stays as it is.
        got = m.interleaved(max(runs, 3), ours=lambda: m.run(again, env=env))
        yield Row("image build, all known: " + on, "nacre build again, from start to end", on, "value", m.median(got["ours"]) * 1000, None, "ms",
                  "<= 50", **costs(got), ours_instructions=instructions(again, env=env), ours_syscalls=syscalls(again, env=env))
        opens = file_opens(again, m.FIXTURES + "/nix/store", env)
        if opens is not None:
            yield Row("image build, all known, files read: " + on, "files of the store that are opened", on, "value", opens, None, "files", "<= 0")
        yield from made_rows(scratch, fixture, on, path, runs)


def made_rows(scratch, fixture, on, path, runs):
    """The image as the server makes it."""
    server = m.nacre_server(scratch, "images-" + fixture, "--set", "store.architecture=amd64")
    try:
        m.run(["nix", "copy", "--from", m.FIXTURES, "--no-check-sigs", "--to", server.url, path], env=m.NIX)
        client, target = Client(server.port), "/v2/nix/manifests/" + os.path.basename(path)[:32]
        client.expect((200,), "GET", target)
        yield Row("image on demand, made: " + on, "the manifest from the server, again", on, "value",
                  m.median(m.interleaved(runs, ours=lambda: timed(lambda: client.expect((200,), "GET", target)))["ours"]) * 1000, None, "ms",
                  "<= 50")
    finally:
        server.stop()


def timed(work):
    import time
    start = time.monotonic()
    work()
    return m.Cost(time.monotonic() - start, 0, 0)


def wait_framed(client, hash_parts):
    """Until the server has compressed what was pushed."""
    import time
    for hash_part in hash_parts:
        while b"Compression: none" in client.expect((200,), "GET", "/%s.narinfo" % hash_part)[1]:
            time.sleep(0.02)


ABSORBED = {"none": "tar", "zstd": "tar+zstd, framed", "gzip": "tar+gzip"}


def absorb_rows(scratch, short):
    """A layer that is pushed is a substitutable path when the manifest was taken. The time is the manifest's: that of
    the blobs, which is the same for any registry, is a figure beside it, and so is the time until the server has
    compressed everything. Bytes are uncompressed, whatever was pushed."""
    path = m.fixture("python3")
    hash_part, images, turn, size = os.path.basename(path)[:32], {}, [0], 0
    hash_parts = [os.path.basename(p)[:32] for p in m.closure(path)]
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
            cost.framed = cost.wall + timed(lambda: wait_framed(client, hash_parts)).wall
            return cost
        finally:
            server.stop()
    got = m.interleaved(2 if short else 5, **{c: (lambda c=c: push(c)) for c in ABSORBED})
    floor = sha256_speed(scratch, 1)
    for compression, what in ABSORBED.items():
        yield Row("absorb: " + what, "manifest PUT until answered, uncompressed bytes a second", "python3's closure", "rate",
                  size / m.median(got[compression]), floor, "B/s", ">= 0.5", "openssl speed sha256", bytes=size,
                  ours_cpu=m.median(got[compression], "cpu") / size * 2**30, blobs_seconds=m.median(got[compression], "blobs"),
                  framed_seconds=m.median(got[compression], "framed"))


def program(path):
    """Of python3's closure, what a new version of the program changes."""
    return next(p for p in m.closure(path) if "-libpython3" in p and "-stdlib-" in p)


def manifest_of(layout):
    """The bytes of the image's manifest, and what it says."""
    with open(os.path.join(layout, "index.json")) as f:
        index = json.load(f)["manifests"]
    digest = next(d["digest"] for d in index if "artifactType" not in d)
    with open(os.path.join(layout, "blobs", *digest.split(":")), "rb") as f:
        data = f.read()
    return data, json.loads(data)


def sent(server):
    """Bytes of bodies that the server has sent so far."""
    _, text = Client(server.port).expect((200,), "GET", "/metrics")
    return int(float(re.search(rb"^nacre_http_sent_bytes_total (\S+)", text, re.M).group(1)))


def pull_rows(scratch, short):
    """An image of 20 layers, then the same with one path changed, into one layout: what is moved."""
    path = m.fixture("python3")
    store, roots = versions.make(scratch, "pull-store", path, path, 2)
    server = m.nacre_server(scratch, "pull")
    layout, moved = scratch("pulled"), []
    try:
        for n, root in enumerate(roots, 1):
            m.run([m.NACRE, "build", root, "--from", store, "-o", "docker://127.0.0.1:%d/app:%d" % (server.port, n), "--insecure", "--max-layers",
                   "20"])
        for n in range(1, len(roots) + 1):
            before = sent(server)
            m.run(["skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", "docker://127.0.0.1:%d/app:%d" % (server.port, n),
                   "oci:%s:%d" % (layout, n)])
            moved.append(sent(server) - before)
    finally:
        server.stop()
    single = scratch.fresh("single")
    m.run([m.NACRE, "build", roots[1], "--from", store, "-o", "oci:" + single + ":x", "--max-layers", "0"])
    data, manifest = manifest_of(single)
    key = "containerd.io/snapshot/nacre.path."
    alone = next(d["size"] for d in manifest["layers"] if any(k.startswith(key) and roots[1] in v for k, v in d.get("annotations", {}).items()))
    yield Row("pull again, one path changed", "bytes that the server sent, by skopeo", "python3's closure in 20 layers", "cost", moved[1] / 2**10,
              alone / 2**10, "KiB", "", "the layer of the changed path alone", first_pull=moved[0], path=alone)
    yield Row("pull again, against the first pull", "bytes that the server sent, by skopeo", "python3's closure in 20 layers", "cost",
              moved[1] / 2**10, moved[0] / 2**10, "KiB", "", "the first pull", path=alone)


def chunked(scratch, store, paths):
    """Bytes that the paths' NARs are as chunks, each kept once and compressed."""
    folder = scratch.fresh("nars")
    for path in paths:
        m.run([m.NACRE, "nar", "dump", store + path], stdout=os.path.join(folder, os.path.basename(path)))
    files = [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
    return int(m.output(os.path.join(m.SRC, "build/release/tests/bench/chunks"), *files).split()[1])


def storage_rows(scratch, short):
    path = m.fixture("python3")
    store, roots = versions.make(scratch, "storage-store", path, program(path), 3)
    on = "three versions of python3's closure"
    server = m.nacre_server(scratch, "storage")
    try:
        m.run(["nix", "copy", "--from", store, "--no-check-sigs", "--to", server.url, *roots], env=m.NIX)
        for root in roots:
            Client(server.port).expect((200,), "GET", "/v2/nix/manifests/" + os.path.basename(root)[:32])
    finally:
        server.stop()
    ours = tree_size(scratch("storage"))
    sizes = {}
    for compression in ("xz", "zstd"):
        folder = scratch.fresh("files-" + compression)
        m.run(["nix", "copy", "--from", store, "--no-check-sigs", "--to", "file://%s?compression=%s" % (folder, compression), *roots], env=m.NIX)
        sizes[compression] = tree_size(folder)
        yield Row("storage against nix file:// " + compression, "bytes on disk for NARs and layers, against NARs alone", on, "cost",
                  ours / 2**20, sizes[compression] / 2**20, "MiB", "", "nix copy --to file://?compression=" + compression)
    layout = scratch.fresh("both")
    for n, root in enumerate(roots):
        m.run([m.NACRE, "build", root, "--from", store, "-o", "oci:%s:%d" % (layout, n)])
    yield Row("storage against both formats", "bytes on disk", on, "cost", ours / 2**20, (tree_size(layout) + sizes["zstd"]) / 2**20, "MiB", "<= 0.7",
              "NAR+zstd and layers, each stored")
    paths = {p for root in roots for p in m.output("nix-store", "--store", store, "--query", "--requisites", root, env=m.NIX).split()}
    yield Row("storage against chunks", "bytes on disk for NARs and layers, against NARs alone", on, "cost", ours / 2**20,
              chunked(scratch, store, paths) / 2**20, "MiB", "", "NARs in chunks of 64 KiB, each once, zstd 8 (computed)")


def rows(scratch, short):
    yield from build_rows(scratch, short)
    yield from absorb_rows(scratch, short)
    yield from pull_rows(scratch, short)
    yield from storage_rows(scratch, short)
