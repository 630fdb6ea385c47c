#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Many clients of both protocols at once, and a server that is killed in the middle: nothing acknowledged is lost, nothing
that is served is torn, memory does not grow. A short run; LONG=1 is ten minutes of load and a hundred kills.
Prints `ok - …`, `not ok - …`, `skip - … # reason`."""

import hashlib
import json
import lzma
import os
import random
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import server_wire as w  # noqa: E402
from server_wire import check, check_eq  # noqa: E402

sys.path.insert(0, os.path.join(w.SRC, "tests/reference"))
import nar as narlib  # noqa: E402
import storepath  # noqa: E402

LONG = os.environ.get("LONG") == "1"
LOAD_SECONDS, CLIENTS, KILLS = (600, 100, 100) if LONG else (12, 40, 6)
INDEX = "application/vnd.oci.image.index.v1+json"
DATA = os.path.join(w.T, "data")


def start():
    return w.Server(w.NACRE, "serve", "--listen", "127.0.0.1:0", "--data", DATA, "--no-access-log")


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def nix32(data):
    return storepath.nix32(hashlib.sha256(data).digest())


class Client:
    """Does one thing after another; remembers what was acknowledged."""

    def __init__(self, port, name, rng):
        self.port, self.name, self.rng = port, name, rng
        self.wire = None
        self.blobs, self.tags, self.paths = {}, {}, {}
        self.seen = set()  # of blobs and paths: those that were there after a kill
        self.requests = 0

    def request(self, *args):
        if self.wire is None:
            self.wire = w.Wire(self.port, 60)
        self.requests += 1
        return self.wire.request(*args)

    def bytes(self):
        size = self.rng.choice([10, 1000, 60000, 70000, 400000])
        # Half of it comes again and again, from many clients.
        return random.Random(self.rng.randrange(50) if self.rng.random() < .5 else self.rng.random()).randbytes(size)

    def push_blob(self):
        repository, data = "load/%d" % self.rng.randrange(5), self.bytes()
        if self.rng.random() < .5:
            r = self.request("POST", "/v2/%s/blobs/uploads/?digest=%s" % (repository, digest(data)), (), data)
        else:
            location = self.request("POST", "/v2/%s/blobs/uploads/" % repository)["Location"]
            half = len(data) // 2
            self.request("PATCH", location, {"Content-Range": "0-%d" % (half - 1)}, data[:half])
            r = self.request("PUT", location + "?digest=" + digest(data), (), data[half:])
        if r.status != 201:
            raise AssertionError("push of a blob: %s" % r)
        self.blobs[(repository, digest(data))] = True

    def push_manifest(self):
        # A repository of its own: nobody else moves its tags.
        body = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "annotations": {"n": str(self.rng.random())}}).encode()
        tag = "t%d" % self.rng.randrange(5)
        # A kill may come between commit and answer: then either manifest is right, until one of them was seen.
        self.tags[tag] = self.tags.get(tag, (None,)) + (digest(body),)
        r = self.request("PUT", "/v2/own/%s/manifests/%s" % (self.name, tag), {"Content-Type": INDEX}, body)
        if r.status != 201:
            raise AssertionError("push of a manifest: %s" % r)
        self.tags[tag] = (digest(body),)

    def push_path(self):
        seed = self.rng.randrange(30) if self.rng.random() < .5 else self.rng.random()
        content = narlib.write(narlib.Directory({b"f": narlib.File(random.Random(seed).randbytes(100000)), b"t": narlib.File(b"x" * 3000)}))
        part = storepath.nix32(hashlib.sha256(str(seed).encode()).digest()[:20])
        packed = lzma.compress(content, preset=0)
        r = self.request("PUT", "/nar/%s.nar.xz" % nix32(packed), (), packed)
        if r.status != 201:
            raise AssertionError("PUT of a NAR: %s" % r)
        text = "StorePath: /nix/store/%s-load\nURL: nar/%s.nar.xz\nCompression: xz\nNarHash: sha256:%s\nNarSize: %d\nReferences: \n" % (
            part, nix32(packed), nix32(content), len(content))
        r = self.request("PUT", "/%s.narinfo" % part, (), text.encode())
        if r.status != 201:
            raise AssertionError("PUT of a narinfo: %s" % r)
        self.paths[part] = nix32(content)

    def pull_blob(self):
        if not self.blobs:
            return self.push_blob()
        repository, d = self.rng.choice(list(self.blobs))
        r = self.request("GET", "/v2/%s/blobs/%s" % (repository, d))
        if r.status != 200 or digest(r.body) != d:
            raise AssertionError("pull of a blob: %s" % r)

    def pull_path(self):
        if not self.paths:
            return self.push_path()
        part = self.rng.choice(list(self.paths))
        r = self.request("GET", "/%s.narinfo" % part)
        if r.status != 200 or self.paths[part] not in r.body.decode():
            raise AssertionError("narinfo: %s" % r)
        r = self.request("GET", "/nar/%s.nar" % self.paths[part])
        if r.status != 200 or nix32(r.body) != self.paths[part]:
            raise AssertionError("NAR: %s" % r)

    def look_around(self):
        for target in ("/v2/", "/v2/_catalog?n=3", "/nix-cache-info", "/v2/own/%s/tags/list" % self.name, "/%s.narinfo" % ("0" * 32)):
            r = self.request("GET", target)
            if r.status not in (200, 404):
                raise AssertionError("GET %s: %s" % (target, r))

    def leave(self):
        """Goes away in the middle."""
        self.wire = self.wire or w.Wire(self.port, 60)
        self.wire.send(w.build_request("PUT", "/nar/%s.nar" % ("0" * 52), {"Content-Length": "100000"}) + b"x" * 20000)
        self.wire.close()
        self.wire = None

    def step(self):
        action = self.rng.choices([self.push_blob, self.push_manifest, self.push_path, self.pull_blob, self.pull_path,
                                   self.look_around, self.leave], [3, 3, 2, 5, 5, 4, 1])[0]
        action()


def run_clients(clients, until, errors, tolerate=False):
    def run(client):
        try:
            while not until():
                client.step()
        except (OSError, EOFError) as e:
            if not tolerate:
                errors.append("%s: %s" % (type(e).__name__, e))
        except Exception as e:  # noqa: BLE001
            errors.append("%s: %s" % (type(e).__name__, e))
        if client.wire:
            client.wire.close()
            client.wire = None

    threads = [threading.Thread(target=run, args=(c,)) for c in clients]
    for thread in threads:
        thread.start()
    return threads


def some(client, items, sample):
    """What a check looks at: all, or all that is new and a few of the others. (All of it after each of a hundred kills
    would take hours, nearly all of them spent on what the kill before it had left in peace, too.)"""
    if sample is None:
        return list(items)
    new = [item for item in items if item not in client.seen]
    old = [item for item in items if item in client.seen]
    client.seen.update(new)
    return new + client.rng.sample(old, min(sample, len(old)))


def missing(server, clients, sample=None):
    """What was acknowledged and is not there, or not what it was."""
    lost = []
    for client in clients:
        client.port, client.wire = server.port, None
        for repository, d in some(client, client.blobs, sample):
            r = client.request("GET", "/v2/%s/blobs/%s" % (repository, d))
            if r.status != 200 or digest(r.body) != d:
                lost.append("blob %s of %s: %d" % (d, repository, r.status))
        for tag, allowed in list(client.tags.items()):
            r = client.request("GET", "/v2/own/%s/manifests/%s" % (client.name, tag))
            got = digest(r.body) if r.status == 200 else None
            if got not in allowed:
                lost.append("tag %s of %s: %d, %s is none of %s" % (tag, client.name, r.status, got, allowed))
            client.tags[tag] = (got,)
        for part in some(client, client.paths, sample):
            nar_hash = client.paths[part]
            info = client.request("GET", "/%s.narinfo" % part)
            r = client.request("GET", "/nar/%s.nar" % nar_hash)
            if info.status != 200 or r.status != 200 or nix32(r.body) != nar_hash:
                lost.append("path %s: %d %d" % (part, info.status, r.status))
        client.wire.close() if client.wire else None
        client.wire = None
    return lost


def least_memory(server, since, until):
    """What is held at any moment goes up and down with what the clients do; what leaks stays. Every minute the server gives back
    what is free."""
    time.sleep(max(0, since - time.monotonic()))
    least = server.memory_kib()
    while time.monotonic() < until:
        time.sleep(0.2)
        least = min(least, server.memory_kib())
    return least


def test_load():
    server, errors = start(), []
    clients = [Client(server.port, "c%d" % i, random.Random(i)) for i in range(CLIENTS)]
    begin = time.monotonic()
    threads = run_clients(clients, lambda: time.monotonic() - begin > LOAD_SECONDS, errors)
    half = least_memory(server, begin + LOAD_SECONDS * 0.35, begin + LOAD_SECONDS * 0.5)
    end = least_memory(server, begin + LOAD_SECONDS * 0.85, begin + LOAD_SECONDS)
    for thread in threads:
        thread.join()
    requests = sum(c.requests for c in clients)
    check("%d clients of both protocols for %d s: no error" % (CLIENTS, LOAD_SECONDS), not errors, "\n".join(errors[:5]))
    print("# %d requests, %d KiB of memory half-way, %d at the end" % (requests, half, end))
    # Caches and the stacks of threads are warm after a few minutes; a short run is over before.
    limit = half * 1.05 + 4096 if LONG else half * 1.5 + 20000
    check("memory does not grow", end < limit, "%d KiB half-way, %d at the end" % (half, end))
    lost = missing(server, clients)
    check("all that was acknowledged is there", not lost, "\n".join(lost[:10]))
    server.check_clean_end()
    server = start()
    lost = missing(server, clients)
    check("and after a restart", not lost, "\n".join(lost[:10]))
    server.check_clean_end()


def leftovers():
    return [name for _, _, files in os.walk(os.path.join(DATA, "incoming")) for name in files]


def test_kills():
    clients = [Client(0, "k%d" % i, random.Random(1000 + i)) for i in range(12)]
    errors, lost, left = [], [], []
    for i in range(KILLS):
        server = start()
        for client in clients:
            client.port = server.port
        stop = threading.Event()
        threads = run_clients(clients, stop.is_set, errors, tolerate=True)
        time.sleep(random.Random(i).uniform(0.2, 1.2))
        server.process.send_signal(signal.SIGKILL)
        stop.set()
        for thread in threads:
            thread.join()
        server.process.wait()
        server = start()
        lost += missing(server, clients, None if i == KILLS - 1 else 20)
        left += leftovers()
        if server.stop() != 0:
            errors.append("the server that came after kill %d ended badly:\n%s" % (i, server.log()[-1000:]))
    check("killed %d times under load: no other error" % KILLS, not errors, "\n".join(errors[:5]))
    check("nothing acknowledged was lost, nothing is torn", not lost, "\n".join(lost[:10]))
    check_eq("no temporary file is left", [], left[:5])
    fsck = subprocess.run([w.NACRE, "fsck", "--data", DATA], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    check("fsck finds nothing", fsck.returncode == 0, fsck.stdout[-2000:])
    print("# %d blobs, %d paths" % (sum(len(c.blobs) for c in clients), sum(len(c.paths) for c in clients)))


def main():
    # Names of tests: only these.
    tests = {"load": test_load, "kills": test_kills}
    for test in [tests[name] for name in sys.argv[1:] or tests]:
        try:
            test()
        except Exception as e:  # noqa: BLE001
            check(test.__name__, False, "%s: %s" % (type(e).__name__, e))
    w.finish()


if __name__ == "__main__":
    main()
