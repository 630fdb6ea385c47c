# SPDX-License-Identifier: Apache-2.0
"""Reads of the server against nginx's static files, the practical limit."""

import os
import statistics
import subprocess

import measure as m
from measure import Row
from wire import Client, image


def loads(runs, seconds, connections, **ways):
    """Each way is (server, path[, scheme]); the medians of rate, cpu and p99 of each."""
    got = {name: [] for name in ways}
    for _ in range(runs):
        for name, (server, path, *scheme) in ways.items():
            got[name].append(m.wrk(server, path, connections, seconds, scheme=scheme[0] if scheme else "http"))
    return {name: {f: statistics.median(getattr(load, f) for load in found) for f in ("rate", "cpu", "p99", "speed", "cpu_byte")}
            for name, found in got.items()}


def small(name, on, got):
    ours, peer = got["ours"], got["peer"]
    yield Row(name + ": rate", "requests a second, 64 connections", on, "rate", ours["rate"], peer["rate"], "1/s", ">= 0.8", "nginx")
    yield Row(name + ": CPU", "processor time a request", on, "value", ours["cpu"] * 1e6, peer["cpu"] * 1e6, "us", "<= 25", "nginx")
    yield Row(name + ": p99", "99th percentile of latency", on, "cost", ours["p99"], peer["p99"], "s", "<= 2", "nginx")


def large(name, on, got, rate_aim, cpu_aim):
    ours, peer = got["ours"], got["peer"]
    yield Row(name, "bytes a second", on, "rate", ours["speed"], peer["speed"], "B/s", rate_aim, "nginx")
    yield Row(name + ": CPU", "processor time a GiB", on, "cost", ours["cpu_byte"] * 2**30, peer["cpu_byte"] * 2**30, "s/GiB", cpu_aim,
              "nginx")


def spliced_layer(client, hash_part):
    """Path and size of the largest layer of an image that the server makes of frames."""
    import json
    _, body = client.expect((200,), "GET", "/v2/nix/manifests/" + hash_part)
    layer = max(json.loads(body)["layers"], key=lambda l: l["size"])
    return "/v2/nix/blobs/" + layer["digest"], layer["size"]


def certificate(scratch):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", "/CN=localhost", "-keyout", scratch("tls.key"), "-out", scratch("tls.crt")], check=True,
                   stderr=subprocess.DEVNULL)
    return scratch("tls.crt"), scratch("tls.key")


def rows(scratch, short):
    runs, seconds = (3, 2) if short else (5, 3)
    root = scratch.fresh("static")
    path = m.fixture("python3")
    hash_part = os.path.basename(path)[:32]
    server, nginx = m.nacre_server(scratch, "serving"), m.nginx_server(scratch, root)
    try:
        m.run(["nix", "copy", "--from", m.FIXTURES, "--no-check-sigs", "--to", server.url, path], env=m.NIX)
        client = Client(server.port)

        def same(target, name):
            with open(os.path.join(root, name), "wb") as f:
                f.write(client.expect((200,), "GET", target)[1])
            return "/" + name
        narinfo = "/%s.narinfo" % hash_part
        yield from small("narinfo GET", "the narinfo of python3",
                         loads(runs, seconds, 64, ours=(server, narinfo), peer=(nginx, same(narinfo, "narinfo"))))
        manifest = "/v2/nix/manifests/" + hash_part
        yield from small("manifest GET", "the image of python3's closure",
                         loads(runs, seconds, 64, ours=(server, manifest), peer=(nginx, same(manifest, "manifest"))))
        client.push_manifest("plain", "small", image(client, "plain"))
        yield from small("small manifest GET", "an image without layers",
                         loads(runs, seconds, 64, ours=(server, "/v2/plain/manifests/small"),
                               peer=(nginx, same("/v2/plain/manifests/small", "small"))))
        for size, connections in ((1 << 20, 8), (100 << 20, 2)):
            blob = "/v2/plain/blobs/" + client.push_blob("plain", os.urandom(size))
            yield from large("blob GET %d MiB" % (size >> 20), "a plain blob",
                             loads(runs, seconds, connections, ours=(server, blob), peer=(nginx, same(blob, "blob%d" % size))), ">= 0.95",
                             "<= 1.2")
        layer, size = spliced_layer(client, hash_part)
        yield from large("spliced layer GET %d MiB" % (size >> 20), "the largest layer of python3's image",
                         loads(runs, seconds, 4, ours=(server, layer), peer=(nginx, same(layer, "layer"))), ">= 0.8", "<= 2")
        yield Row("memory: loaded", "resident memory after these", "the server", "value", server.memory("VmHWM") / 2**20,
                  nginx.memory("VmHWM") / 2**20, "MiB", "<= 64", "nginx")
        yield crowd(server, nginx, client, layer, root, seconds)
    finally:
        server.stop()
        nginx.stop()
    yield from idle(scratch)
    yield from secure(scratch, runs, seconds)


def crowd(server, nginx, client, layer, root, seconds):
    """Half of 256 connections read a plain blob of 1 GiB, the other half one that is spliced."""
    data = os.urandom(1 << 20) * 1024
    blob = "/v2/plain/blobs/" + client.push_blob("plain", data)
    with open(os.path.join(root, "gib"), "wb") as f:
        f.write(data)
    plain = m.Loading(server, blob, 128, seconds)
    m.wrk(server, layer, 128, seconds)
    plain.wait()
    m.wrk(nginx, "/gib", 256, seconds)
    return Row("memory: 256 connections", "largest resident memory", "128 read a blob of 1 GiB, 128 a spliced layer", "value",
               server.memory("VmHWM") / 2**20, nginx.memory("VmHWM") / 2**20, "MiB", "<= 64", "nginx")


def idle(scratch):
    server = m.nacre_server(scratch, "idle")
    try:
        Client(server.port).expect((200,), "GET", "/v2/")
        yield Row("memory: idle", "resident memory", "a fresh server", "value", server.memory() / 2**20, None, "MiB", "<= 16")
    finally:
        server.stop()


def secure(scratch, runs, seconds):
    crt, key = certificate(scratch)
    nginx = m.nginx_server(scratch, scratch("static"), "nginx-tls", (crt, key))
    plain = m.nacre_server(scratch, "serving")
    try:
        source = Client(plain.port)
        _, manifest = source.expect((200,), "GET", "/v2/plain/manifests/small")
        blob = source.push_blob("plain", b"\0" * (100 << 20))
        with open(scratch("static", "zeros"), "wb") as f:
            f.write(b"\0" * (100 << 20))
    finally:
        plain.stop()
    server = m.nacre_server(scratch, "serving", "--set", "tls={certificate: %s, key: %s}" % (crt, key))
    try:
        yield Row("TLS: manifest GET", "requests a second, 64 connections", "an image without layers", "rate",
                  *pair(loads(runs, seconds, 64, ours=(server, "/v2/plain/manifests/small", "https"), peer=(nginx, "/small", "https")), "rate"),
                  "1/s", ">= 0.8", "nginx")
        yield Row("TLS: blob GET 100 MiB", "bytes a second", "a plain blob", "rate",
                  *pair(loads(runs, seconds, 2, ours=(server, "/v2/plain/blobs/" + blob, "https"), peer=(nginx, "/zeros", "https")), "speed"),
                  "B/s", ">= 0.8", "nginx")
    finally:
        server.stop()
        nginx.stop()


def pair(got, field):
    return got["ours"][field], got["peer"][field]
