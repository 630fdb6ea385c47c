# SPDX-License-Identifier: Apache-2.0
"""Writes, tags and referrers against Debian's docker-registry; nix copy against a folder.

Both servers are durable: docker-registry 2.8.2 syncs each file that it writes (some ten a blob), though not the directories. Nix syncs
nothing of a file:// cache."""

import hashlib
import json
import os
import statistics

import measure as m
from measure import Row
from wire import Client, image, parallel


def blobs(size, count):
    data = [os.urandom(size) for _ in range(count)]
    return [(d, "sha256:" + hashlib.sha256(d).hexdigest()) for d in data]


def push_rows(server, registry, short):
    runs = 2 if short else 5
    for size, count, clients, aim in ((1 << 20, 40, 4, ">= 10"), (100 << 20, 2, 1, ">= 3")):
        rates, cpus = {"ours": [], "peer": []}, {"ours": [], "peer": []}
        for _ in range(runs):
            for name, s in (("ours", server), ("peer", registry)):
                # Other bytes each time: what is there already is not pushed.
                jobs = blobs(size, count)
                before = s.cpu()
                with m.client_processor():
                    took = parallel(s.port, clients, jobs, lambda c, job: c.push_blob("push", *job))
                rates[name].append(size * count / took)
                cpus[name].append((s.cpu() - before) / (size * count) * 2**30)
        yield Row("blob push %d MiB" % (size >> 20), "bytes a second, durable", "random bytes, %d clients" % clients, "rate",
                  statistics.median(rates["ours"]), statistics.median(rates["peer"]), "B/s", aim, "docker-registry",
                  ours_cpu=statistics.median(cpus["ours"]), peer_cpu=statistics.median(cpus["peer"]))


def manifest_rows(server, registry, short):
    count = {"ours": 2000, "peer": 200}
    rates = {"ours": [], "peer": []}
    for i in range(2 if short else 5):
        for name, s in (("ours", server), ("peer", registry)):
            client = Client(s.port)
            base = image(client, "tags")
            with m.client_processor():
                took = parallel(s.port, 4, range(count[name]), lambda c, n: c.push_manifest(
                    "tags", "%d-%d" % (i, n), dict(base, annotations={"n": "%d-%d" % (i, n)})))
            rates[name].append(count[name] / took)
    yield Row("manifest PUT", "new tags a second, durable", "4 clients", "rate", statistics.median(rates["ours"]),
              statistics.median(rates["peer"]), "1/s", ">= 10", "docker-registry")
    for s in (server, registry):
        client = Client(s.port)
        data = json.dumps(image(client, "many"), separators=(",", ":")).encode()
        parallel(s.port, 4, range(1000), lambda c, n: c.push_manifest("many", "tag%04d" % n, data))
    found = {name: m.wrk(s, "/v2/many/tags/list", 4, 2 if short else 4) for name, s in (("ours", server), ("peer", registry))}
    yield Row("tag list of 1000", "lists a second", "one repository", "rate", found["ours"].rate, found["peer"].rate, "1/s", ">= 20",
              "docker-registry")
    client = Client(server.port)
    subject = client.push_manifest("referred", "it", image(client, "referred"))
    base = image(client, "referred", subject={"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": subject,
                                              "size": len(client.expect((200,), "GET", "/v2/referred/manifests/it")[1])})
    for n in range(50):
        client.push_manifest("referred", "r%d" % n, dict(base, artifactType="application/x.n", annotations={"n": str(n)}))
    load = m.wrk(server, "/v2/referred/referrers/" + subject, 4, 2 if short else 4)
    yield Row("referrers of 50", "lists a second", "one subject; tag lists of docker-registry, which has no referrers", "rate", load.rate,
              found["peer"].rate, "1/s", ">= 20", "docker-registry")


def nix_rows(scratch, short):
    runs = 2 if short else 5
    for fixture, on in (("synthetic-1000", "1000 tiny paths"), ("python3", "python3's closure")):
        path, turn = m.fixture(fixture), [0]
        times, cpus = {"ours": [], "peer": []}, {"server": [], "client": []}

        def copy(url):
            return m.run(["nix", "copy", "--from", m.FIXTURES, "--no-check-sigs", "--to", url, path],
                         env=dict(m.NIX, XDG_CACHE_HOME=scratch.fresh("nix-cache")))
        for i in range(runs):
            server = m.nacre_server(scratch, "nix-%s-%d" % (fixture, i))
            try:
                before = server.cpu()
                cost = copy(server.url)
                times["ours"].append(cost.wall)
                cpus["client"].append(cost.cpu)
                cpus["server"].append(server.cpu() - before)
            finally:
                server.stop()
            turn[0] += 1
            times["peer"].append(copy("file://" + scratch.fresh("nix-files")).wall)
        yield Row("nix copy --to: " + on, "time of nix copy", on, "cost", statistics.median(times["ours"]), statistics.median(times["peer"]), "s",
                  "<= 1.2", "nix copy --to file://")
        yield Row("nix copy --to, CPU: " + on, "the server's processor time", on, "cost", statistics.median(cpus["server"]),
                  statistics.median(cpus["client"]), "s", "<= 0.333", "nix's own")


def rows(scratch, short):
    server, registry = m.nacre_server(scratch, "pushing"), m.registry_server(scratch)
    try:
        yield from push_rows(server, registry, short)
        yield from manifest_rows(server, registry, short)
    finally:
        server.stop()
        registry.stop()
    yield from nix_rows(scratch, short)
