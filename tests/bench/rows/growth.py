# SPDX-License-Identifier: Apache-2.0
"""What requests cost as the store grows, and what things cost the more of them there are."""

import hashlib
import math
import os
import statistics
import time

import measure as m
from measure import Row
from wire import MANIFEST, Client, image, parallel

CLIENTS = 4


def cpu(server):
    """Seconds of processor time of a server without children, to the nanosecond: its clock, as the kernel numbers them."""
    return time.clock_gettime(~server.process.pid << 3 | 2)


# ---- Requests, beside more and more manifests ----

def fill(server, have, want):
    client = Client(server.port)
    base = image(client, "grown")
    parallel(server.port, CLIENTS, range(have, want),
             lambda c, n: c.push_manifest("grown", "t%06d" % n, dict(base, annotations={"n": str(n)})))


def refer(client, subject, n):
    """Some referrers, so that the list is not empty."""
    base = image(client, "grown", subject={"mediaType": MANIFEST, "digest": subject, "size": 2})
    for i in range(n):
        client.push_manifest("grown", "r%d" % i, dict(base, artifactType="application/x.n", annotations={"n": str(i)}))


def put_cost(server, size, turns):
    """New manifests with new tags, each time."""
    client, found = Client(server.port), []
    base = image(client, "grown")
    for turn in range(turns):
        start = cpu(server)
        parallel(server.port, CLIENTS, range(500), lambda c, n: c.push_manifest(
            "grown", "x%d-%d-%d" % (size, turn, n), dict(base, annotations={"x": "%d-%d-%d" % (size, turn, n)})))
        found.append((cpu(server) - start) / 500)
    return statistics.median(found)


def request_rows(scratch, short):
    sizes = (10, 1000, 10000) if short else (10, 1000, 100000)
    seconds, turns = (1, 1) if short else (3, 5)
    server = m.nacre_server(scratch, "growth")
    costs = {"manifest GET": [], "tag page of 50": [], "referrers": [], "manifest PUT": []}
    have = 0
    try:
        client = Client(server.port)
        subject = client.push_manifest("grown", "subject", image(client, "grown"))
        refer(client, subject, 20)
        for size in sizes:
            fill(server, have, size)
            have = size
            for name, path in (("manifest GET", "manifests/t000005"), ("tag page of 50", "tags/list?n=50&last=t000004"),
                               ("referrers", "referrers/" + subject)):
                costs[name].append(m.wrk(server, "/v2/grown/" + path, 16, seconds).cpu)
            costs["manifest PUT"].append(put_cost(server, size, turns))
    finally:
        server.stop()
    # By processor time: what else the machine does hides less of it than of the rate.
    for name, found in costs.items():
        yield Row("growth: " + name, "requests a second of processor time, with %d manifests against %d" % (sizes[-1], sizes[0]),
                  "one repository", "rate", 1 / found[-1], 1 / found[0], "1/s", ">= 0.9", "itself, small",
                  series=[[s, 1 / c] for s, c in zip(sizes, found)])


# ---- Things, more and more of them ----

def nix32(data):
    digits, n = "0123456789abcdfghijklmnpqrsvwxyz", (len(data) * 8 + 4) // 5
    number = int.from_bytes(data, "little")
    return "".join(digits[number >> 5 * i & 31] for i in reversed(range(n)))


def nar(content):
    def text(b):
        return len(b).to_bytes(8, "little") + b + bytes(-len(b) % 8)
    return b"".join(map(text, (b"nix-archive-1", b"(", b"type", b"regular", b"contents", content, b")")))


def put_path(client, n):
    data = nar(b"path %d\n" % n)
    digest = nix32(hashlib.sha256(data).digest())
    part = nix32(hashlib.sha256(b"%d" % n).digest()[:20])
    client.expect((200, 201), "PUT", "/nar/%s.nar" % digest, data)
    client.expect((200, 201), "PUT", "/%s.narinfo" % part, (
        "StorePath: /nix/store/%s-p%d\nURL: nar/%s.nar\nCompression: none\nNarHash: sha256:%s\nNarSize: %d\nReferences: \n"
        % (part, n, digest, digest, len(data))).encode())


def layers_put(server, n):
    """Seconds of processor time to take a manifest of n layers, whose blobs are there."""
    repository = "layers%d" % n
    parallel(server.port, CLIENTS, range(n), lambda c, i: c.push_blob(repository, b"layer %d" % i))
    client = Client(server.port)
    base = image(client, repository, layers=[b"layer 0"])
    base["layers"] = [dict(base["layers"][0], digest="sha256:" + hashlib.sha256(data).hexdigest(), size=len(data))
                      for data in (b"layer %d" % i for i in range(n))]
    before = cpu(server)
    client.push_manifest(repository, "it", base)
    return cpu(server) - before


def exponent(costs):
    """Of n in what n things cost together: one more than the slope of what one more costs, least squares, both logarithms."""
    points = [(math.log(n), math.log(c)) for n, c in costs]
    x, y = (statistics.mean(v) for v in zip(*points))
    return 1 + sum((a - x) * (b - y) for a, b in points) / sum((a - x) ** 2 for a, _ in points)


def decades(last):
    return [10 ** i for i in range(2, round(math.log10(last)) + 1)]


def grown(server, last, put, before=lambda client: None):
    """What one more costs, in seconds of processor time, up to each power of ten."""
    costs, have = [], 0
    before(Client(server.port))
    parallel(server.port, CLIENTS, range(-50, 0), put)  # statements are prepared, pages are there
    for n in decades(last):
        start = cpu(server)
        parallel(server.port, CLIENTS, range(have, n), put)
        costs.append((n, (cpu(server) - start) / (n - have)))
        have = n
    return costs


def cost_rows(scratch, short):
    last = int(os.environ.get("BENCH_ITEMS", 10000 if short else 100000))
    base = {}
    ways = {
        "tags": lambda c, n: c.push_manifest("tags", "t%d" % n, dict(base, annotations={"n": str(n)})),
        "blobs": lambda c, n: c.push_blob("blobs", b"blob %d" % n),
        "paths": lambda c, n: put_path(c, n + 50),
        "repositories": lambda c, n: c.push_blob("r/n%d" % (n + 50), b"the same"),
    }
    for name, put in ways.items():
        server = m.nacre_server(scratch, "grow-" + name)
        try:
            costs = grown(server, last, put, lambda client: base.update(image(client, "tags")) if name == "tags" else None)
        finally:
            server.stop()
        yield cost_row(name, costs)
    server = m.nacre_server(scratch, "grow-layers")
    try:
        layers_put(server, 10)
        costs = [(n, layers_put(server, n) / n) for n in decades(min(last, 10000))]
    finally:
        server.stop()
    yield cost_row("layers of an image", costs)


def cost_row(name, costs):
    # n log n has an exponent of 1.22 at 100 and of 1.07 at a million.
    return Row("growth: cost of " + name, "exponent of n in the server's processor time, %d to %d" % (costs[0][0], costs[-1][0]),
               "one more at a time", "value", exponent(costs), None, "", "<= 1.1", series=[[n, 1 / c] for n, c in costs])


def rows(scratch, short):
    yield from request_rows(scratch, short)
    yield from cost_rows(scratch, short)
