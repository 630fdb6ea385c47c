# SPDX-License-Identifier: Apache-2.0
"""Nodes: images of many store paths, from nothing to their first output and again, beside containerd's overlayfs, podman and
umoci on the same images from the same server."""

import os
import re
import shutil
import subprocess
import urllib.request

import measure as m
from measure import Row

# What runs: it says a word and ends.
WORD = ["/bin/sh", "-c", "echo ready"]


class Image:
    """A shell and N tiny store paths, in the server under both forms of compression (umoci reads gzip alone)."""

    def __init__(self, server, n):
        self.n, self.server = n, server
        self.ref = "127.0.0.1:%d/bench/paths%d" % (server.port, n)
        paths = [m.fixture("shell"), m.fixture("synthetic-%d" % n)]
        for tag, compression in (("zstd", "zstd"), ("gzip", "gzip")):
            m.run([m.NACRE, "build", *paths, "--from", m.FIXTURES, "-o", "docker://%s:%s" % (self.ref, tag), "--compression", compression])


def sent(server):
    """Bytes of bodies that the server has sent so far."""
    with urllib.request.urlopen(server.url + "/metrics") as answer:
        return int(float(re.search(r"^nacre_http_sent_bytes_total (\S+)", answer.read().decode(), re.M).group(1)))


def disk(path):
    """Bytes on the disk, hard links once."""
    return int(m.output("sh", "-c", 'du -s --block-size=1 -- "$1" 2>/dev/null || true', "du", path).split()[0])


class Ours:
    name = "nacre run"

    def __init__(self, scratch, _server):
        self.root = scratch("node")

    def clear(self):
        m.remove(self.root)

    def start(self, image):
        command = [m.NACRE, "run", "--root", self.root, "--host-store", "none", "docker://%s:zstd" % image.ref, *WORD]
        return m.run(command).wall

    def disk(self):
        return disk(self.root)

    def close(self):
        pass


class Containerd:
    name = "containerd overlayfs"
    warm_aim = ">= 1"

    def __init__(self, scratch, _server):
        self.dir, self.n = scratch.fresh("containerd"), 0
        self.address = self.dir + "/containerd.sock"
        with open(self.dir + "/config.toml", "w") as f:
            f.write('version = 2\nroot = "%s/root"\nstate = "%s/state"\n' % (self.dir, self.dir) +
                    'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]\n'
                    '[grpc]\n  address = "%s"\n[ttrpc]\n  address = "%s.ttrpc"\n' % (self.address, self.address))
        self.log = open(self.dir + "/log", "wb")
        self.process = subprocess.Popen(["containerd", "-c", self.dir + "/config.toml"], stdout=self.log, stderr=self.log)
        subprocess.run(["sh", "-c", 'for i in $(seq 100); do ctr --address "$1" version >/dev/null 2>&1 && exit; sleep 0.1; done', "wait",
                        self.address], check=True)

    def ctr(self, *command):
        return m.run(["ctr", "--address", self.address, *command]).wall

    def clear(self):
        for name in m.output("ctr", "--address", self.address, "images", "ls", "-q").split():
            self.ctr("images", "rm", "--sync", name)

    def start(self, image):
        self.n += 1
        return (self.ctr("images", "pull", "--plain-http", image.ref + ":zstd") +
                self.ctr("run", "--rm", image.ref + ":zstd", "bench-%d-%d" % (os.getpid(), self.n), *WORD))

    def disk(self):
        return disk(self.dir + "/root")

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()


class Podman:
    name = "podman"
    warm_aim = ">= 1"

    def __init__(self, scratch, _server):
        self.root, self.state = scratch("podman"), scratch("podman-state")

    def podman(self, *command):
        return m.run(["podman", "--root", self.root, "--runroot", self.state, "--cgroup-manager=cgroupfs", "--storage-driver=overlay",
                      "--events-backend=none", "--runtime", "runc", *command]).wall

    def clear(self):
        if os.path.isdir(self.root):
            self.podman("rmi", "--all", "--force")
            subprocess.run(["umount", "--lazy", self.root + "/overlay"], stderr=subprocess.DEVNULL, check=False)
            m.remove(self.root)

    def start(self, image):
        return self.podman("run", "--rm", "--pull=newer", "--tls-verify=false", "--network=none", "--ulimit", "nofile=1024:1024", "--ulimit",
                           "nproc=1000:1000", image.ref + ":zstd", *WORD)

    def disk(self):
        return disk(self.root)

    def close(self):
        self.clear()


class Umoci:
    """skopeo fetches, umoci unpacks, runc runs; a warm start is that of the bundle, which asks no registry."""

    name = "skopeo, umoci, runc"
    warm_aim = ""

    def __init__(self, scratch, _server):
        self.layout, self.bundle, self.n = scratch("umoci"), scratch("umoci-bundle"), 0

    def clear(self):
        m.remove(self.layout)
        m.remove(self.bundle)

    def start(self, image):
        wall, self.n = 0, self.n + 1
        if not os.path.isdir(self.bundle):
            wall += m.run(["skopeo", "copy", "--quiet", "--src-tls-verify=false", "docker://%s:gzip" % image.ref, "oci:%s:x" % self.layout]).wall
            wall += m.run(["umoci", "unpack", "--image", self.layout + ":x", self.bundle]).wall
            # Limits as root without CAP_SYS_RESOURCE may set them, no terminal, the same word.
            m.run(["sh", "-c", 'jq \'.process.args = ["/bin/sh", "-c", "echo ready"] | .process.terminal = false | del(.process.rlimits)\' '
                   '"$1/config.json" >"$1/new" && mv "$1/new" "$1/config.json"', "edit", self.bundle])
        return wall + m.run(["runc", "run", "--bundle", self.bundle, "bench-%d-%d" % (os.getpid(), self.n)]).wall

    def disk(self):
        return disk(self.layout) + disk(self.bundle)

    def close(self):
        self.clear()


def start_all(scratch, server, image, ways, runs):
    """For each way: cold and warm starts in seconds, bytes sent by the server for a cold one, bytes on the disk. A way that cannot
    is left out, and its reason kept."""
    seen, failed = {w.name: {"cold": [], "warm": []} for w in ways}, {}
    for _ in range(runs):
        for way in ways:
            if way.name in failed:
                continue
            got = seen[way.name]
            try:
                way.clear()
                before = sent(server)
                got["cold"].append(way.start(image))
                got["sent"] = sent(server) - before
                got["disk"] = way.disk()
                got["warm"] += [way.start(image) for _ in range(3)]
            except (RuntimeError, subprocess.CalledProcessError) as error:
                failed[way.name] = str(error)[-300:]
    return seen, failed


def node_rows(scratch, server, n, ways, runs):
    on = "%d paths" % n
    image = Image(server, n)
    seen, failed = start_all(scratch, server, image, ways, runs)
    ours = seen[Ours.name]
    if Ours.name in failed:
        raise RuntimeError(failed[Ours.name])
    cold, warm = m.statistics.median(ours["cold"]), m.statistics.median(ours["warm"])
    yield Row("cold start, " + on, "from nothing to the first output", on, "value", cold, None, "s", "<= 2" if n <= 1500 else "")
    yield Row("warm start, " + on, "again, all paths there", on, "value", warm * 1000, None, "ms", "<= 50")
    for way in ways[1:]:
        if way.name in failed:
            yield Row("cold start, %s, %s" % (on, way.name), "cannot: " + failed[way.name], on, "time", cold, None, "s", "", way.name)
            continue
        peer = seen[way.name]
        yield Row("cold start, %s, %s" % (on, way.name), "from nothing to the first output", on, "time", cold, m.statistics.median(peer["cold"]),
                  "s", ">= 1", way.name)
        yield Row("warm start, %s, %s" % (on, way.name), "again, all paths there", on, "time", warm, m.statistics.median(peer["warm"]), "s",
                  way.warm_aim, way.name)
        yield Row("bytes fetched, %s, %s" % (on, way.name), "sent by the server", on, "cost", ours["sent"] / 2**20, peer["sent"] / 2**20, "MiB", "",
                  way.name)
        yield Row("bytes on disk, %s, %s" % (on, way.name), "what the node keeps", on, "cost", ours["disk"] / 2**20, peer["disk"] / 2**20, "MiB",
                  "", way.name)


def rows(scratch, short):
    if os.geteuid() != 0:
        raise RuntimeError("starting containers needs root")
    server = m.nacre_server(scratch, "node-server")
    ways = [Ours(scratch, server)]
    try:
        for way, program in ((Containerd, "ctr"), (Podman, "podman"), (Umoci, "umoci")):
            if shutil.which(program):
                ways.append(way(scratch, server))
        for n in (50, 400) if short else (50, 100, 400, 1500, 5000):
            yield from node_rows(scratch, server, n, ways, 1 if short else 3)
    finally:
        for way in ways:
            way.close()
        server.stop()
