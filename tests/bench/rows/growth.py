# SPDX-License-Identifier: Apache-2.0
"""What requests cost as the store grows."""

import json

import measure as m
from measure import Row
from wire import MANIFEST, Client, image, parallel


def fill(server, have, want):
    client = Client(server.port)
    base = image(client, "grown", subject=None)
    del base["subject"]
    parallel(server.port, 4, range(have, want), lambda c, n: c.push_manifest("grown", "t%06d" % n, dict(base, annotations={"n": str(n)})))


def refer(client, subject, n):
    """Some referrers, so that the list is not empty."""
    base = image(client, "grown", subject={"mediaType": MANIFEST, "digest": subject, "size": 2})
    for i in range(n):
        client.push_manifest("grown", "r%d" % i, dict(base, artifactType="application/x.n", annotations={"n": str(i)}))


def rows(scratch, short):
    sizes = (10, 1000, 10000) if short else (10, 1000, 100000)
    seconds = 1 if short else 3
    server = m.nacre_server(scratch, "growth")
    rates = {"manifest GET": [], "tag page of 50": [], "referrers": [], "manifest PUT": []}
    have = 0
    try:
        client = Client(server.port)
        subject = client.push_manifest("grown", "subject", image(client, "grown"))
        refer(client, subject, 20)
        for size in sizes:
            fill(server, have, size)
            have = size
            rates["manifest GET"].append(m.wrk(server, "/v2/grown/manifests/t000005", 16, seconds).rate)
            rates["tag page of 50"].append(m.wrk(server, "/v2/grown/tags/list?n=50&last=t000004", 16, seconds).rate)
            rates["referrers"].append(m.wrk(server, "/v2/grown/referrers/" + subject, 16, seconds).rate)
            # New ones, each time.
            data = json.dumps(image(client, "grown", annotations={"size": str(size)})).encode()
            took = parallel(server.port, 4, range(500), lambda c, n: c.push_manifest("grown", "x%d-%d" % (size, n), data))
            rates["manifest PUT"].append(500 / took)
    finally:
        server.stop()
    for name, found in rates.items():
        yield Row("growth: " + name, "requests a second with %d manifests against %d" % (sizes[-1], sizes[0]), "one repository", "rate",
                  found[-1], found[0], "1/s", ">= 0.9", "itself, small", series=[[s, r] for s, r in zip(sizes, found)])
