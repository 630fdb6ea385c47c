# SPDX-License-Identifier: Apache-2.0
"""Nodes: images of many store paths, from nothing to their first output and again, beside containerd's overlayfs, podman and
umoci on the same images from the same server."""

import contextlib
import os
import re
import shutil
import subprocess
import time
import urllib.request

import measure as m
from measure import Row

# What runs: it says a word and ends.
WORD = ["/bin/sh", "-c", "echo ready"]

# Seconds that one program may take.
LIMIT = 300

# What a way says by which it cannot start an image.
FAILURES = (RuntimeError, OSError, subprocess.SubprocessError)


def run(*command, check=True):
    return m.run(command, timeout=LIMIT, check=check).wall


def output(*command):
    return m.output(*command, timeout=LIMIT)


class Image:
    """A shell and N tiny store paths, in the server under both forms of compression (umoci reads gzip alone); grouped in layers as
    `nacre build` does by itself, or one path a layer."""

    def __init__(self, server, n, max_layers=None):
        self.n, self.server = n, server
        self.ref = "127.0.0.1:%d/bench/%s%d" % (server.port, "paths" if max_layers is None else "layers", n)
        paths = [m.fixture("shell"), m.fixture("synthetic-%d" % n)]
        more = [] if max_layers is None else ["--max-layers", str(max_layers)]
        for tag, compression in (("zstd", "zstd"), ("gzip", "gzip")):
            m.run([m.NACRE, "build", *paths, "--from", m.FIXTURES, "-o", "docker://%s:%s" % (self.ref, tag), "--compression", compression, *more])


def sent(server):
    """Bytes of bodies that the server has sent so far."""
    with urllib.request.urlopen(server.url + "/metrics", timeout=30) as answer:
        return int(float(re.search(r"^nacre_http_sent_bytes_total (\S+)", answer.read().decode(), re.M).group(1)))


def disk(path):
    """Bytes on the disk, hard links once; not what is mounted there."""
    return int(output("sh", "-c", 'du -sx --block-size=1 -- "$1" 2>/dev/null || true', "du", path).split()[0])


def mounts_below(*directories):
    with open("/proc/self/mounts") as f:
        targets = [line.split()[1] for line in f]
    return [t for t in targets if t.startswith(tuple(d + "/" for d in directories))]


def unmount_below(*directories):
    for target in reversed(mounts_below(*directories)):
        subprocess.run(["umount", "--lazy", target], stderr=subprocess.DEVNULL, check=False, timeout=LIMIT)


def stop(process):
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def aside(path):
    """Makes room without a deletion, which ext4 charges those who create files in the next minute for: it looks past all inodes
    that were freed lately."""
    if os.path.exists(path):
        n = 1
        while os.path.exists("%s.%d" % (path, n)):
            n += 1
        os.rename(path, "%s.%d" % (path, n))


class Ours:
    name = "nacre run"

    def __init__(self, scratch, _server):
        self.root = scratch("node")

    def clear(self):
        aside(self.root)

    def start(self, image, *more):
        return run(m.NACRE, "run", "--root", self.root, "--host-store", "none", *more, "docker://%s:zstd" % image.ref, *WORD)

    def start_asking(self, image):
        """Does the tag still mean the same?"""
        return self.start(image, "--pull", "newer")

    def mounts(self, image):
        """As it says itself; they are in a name space of its own."""
        said = subprocess.run([m.NACRE, "--verbose", "run", "--root", self.root, "--host-store", "none", "docker://%s:zstd" % image.ref, *WORD],
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True, timeout=LIMIT).stderr.decode()
        return int(re.search(r"view: [a-z-]+, (\d+) mounts", said).group(1))

    def disk(self):
        return disk(self.root)

    def close(self):
        pass


class Containerd:
    name = "containerd overlayfs"
    warm_aim = ">= 1"
    namespace, snapshotter = "default", "overlayfs"

    def __init__(self, scratch, _server):
        self.scratch, self.n = scratch, 0
        self.begin()

    def begin(self):
        self.start_containerd(self.scratch("containerd"),
                              'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]\n')

    def start_containerd(self, directory, config):
        os.makedirs(directory)
        self.dir = directory
        self.address = self.dir + "/containerd.sock"
        with open(self.dir + "/config.toml", "w") as f:
            f.write('root = "%s/root"\nstate = "%s/state"\n%s' % (self.dir, self.dir, config) +
                    '[grpc]\n  address = "%s"\n[ttrpc]\n  address = "%s.ttrpc"\n' % (self.address, self.address))
        self.log = open(self.dir + "/log", "wb")
        self.process = subprocess.Popen(["containerd", "-c", self.dir + "/config.toml"], stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=self.log)
        for _ in range(100):
            # For a containerd that there is not ctr waits ten seconds.
            if self.process.poll() is not None:
                break
            if os.path.exists(self.address) and subprocess.run(["ctr", "--address", self.address, "version"], stdout=subprocess.DEVNULL,
                                                               stderr=subprocess.DEVNULL, check=False, timeout=LIMIT).returncode == 0:
                return
            time.sleep(0.1)
        stop(self.process)
        with open(self.dir + "/log") as f:
            raise RuntimeError("containerd does not start: " + f.read()[-300:])

    def ctr(self, *command, check=True):
        return run("ctr", "--address", self.address, "-n", self.namespace, *command, check=check)

    def ask(self, *command):
        return output("ctr", "--address", self.address, "-n", self.namespace, *command).split()

    def end_containers(self):
        for name in self.ask("tasks", "ls", "-q"):
            self.ctr("tasks", "rm", "--force", name, check=False)
        for name in self.ask("containers", "ls", "-q"):
            self.ctr("containers", "rm", name, check=False)

    def clear(self):
        """A containerd that never had anything."""
        self.close()
        aside(self.dir)
        self.begin()

    def pull(self, name):
        return self.ctr("images", "pull", "--plain-http", name)

    def run(self, option, image, *words):
        self.n += 1
        return self.ctr("run", option, "--snapshotter", self.snapshotter, image.ref + ":zstd", "bench-%d-%d" % (os.getpid(), self.n), *words)

    def start(self, image):
        """Pulled where it is not there, as under Kubernetes with IfNotPresent."""
        name = image.ref + ":zstd"
        return (0 if name in self.ask("images", "ls", "-q") else self.pull(name)) + self.run("--rm", image, *WORD)

    def places(self):
        return [self.dir]

    def mounts(self, image):
        """While a container runs."""
        self.run("--detach", image, "/bin/sh", "-c", "sleep 600")
        try:
            return len(mounts_below(*self.places()))
        finally:
            self.end_containers()

    def disk(self):
        return disk(self.dir + "/root")

    def close(self):
        with contextlib.suppress(*FAILURES):
            self.end_containers()
        stop(self.process)
        self.log.close()


class Snapshotter(Containerd):
    """The CRI pulls, since in containerd 1.6 it is what asks for remote snapshots; ctr runs."""

    name = "containerd, nacre snapshotter"
    namespace, snapshotter = "k8s.io", "nacre"

    # Debian's Python: it is the one that has Debian's grpc. Its start is not the pull's.
    PULL = ("import sys, time; sys.path.insert(0, sys.argv[1]); import grpc_client; client = grpc_client.Client(sys.argv[2]); "
            "start = time.monotonic(); client.pull(sys.argv[3]); print(time.monotonic() - start)")

    def __init__(self, scratch, server):
        self.scratch, self.server, self.n = scratch, server, 0
        self.begin()

    def begin(self):
        directory, self.node, self.process = self.scratch("containerd-nacre"), self.scratch("snapshotter"), None
        output_path = self.scratch("containerd-nacre.log")
        socket = self.scratch("nacre.sock")
        options = ["--address", socket, "--root", self.node]
        self.output = open(output_path, "wb")
        self.daemon = subprocess.Popen([m.NACRE, "snapshotter", *options, "--host-store", "none", "--image-ref", "--registry",
                                        "127.0.0.1:%d" % self.server.port],
                                       stdin=subprocess.DEVNULL, stdout=self.output, stderr=self.output)
        try:
            self.start_containerd(directory, output(m.NACRE, "snapshotter", "--print-config", *options) +
                                  '\n[plugins."io.containerd.grpc.v1.cri"]\n  restrict_oom_score_adj = true\n  disable_apparmor = true\n'
                                  '[plugins."io.containerd.grpc.v1.cri".containerd]\n  snapshotter = "nacre"\n'
                                  '  disable_snapshot_annotations = false\n')
        except FAILURES:
            self.close()
            raise

    def clear(self):
        self.close()
        aside(self.dir)
        aside(self.node)
        self.begin()

    def pull(self, name):
        lib = os.path.join(m.SRC, "tests/integration/lib")
        seconds = float(output("/usr/bin/python3", "-c", self.PULL, lib, self.address, name))
        with open(self.output.name) as f:
            declined = [line for line in f if "left to containerd" in line]
        if declined:
            raise RuntimeError(declined[0].strip())
        return seconds

    def memory(self):
        with open("/proc/%d/status" % self.daemon.pid) as f:
            return int(re.search(r"VmHWM:\s+(\d+)", f.read()).group(1)) * 1024

    def places(self):
        return [self.dir, self.node]

    def disk(self):
        return disk(self.node) + super().disk()

    def close(self):
        if self.process:
            super().close()
        stop(self.daemon)
        self.output.close()
        # They outlive it, so that containers do.
        unmount_below(*self.places())


class Podman:
    name = "podman"
    warm_aim = ">= 1"

    def __init__(self, scratch, _server):
        self.root, self.state = scratch("podman"), scratch("podman-state")

    def podman(self, *command):
        return run("podman", "--root", self.root, "--runroot", self.state, "--cgroup-manager=cgroupfs", "--storage-driver=overlay",
                   "--events-backend=none", "--runtime", "runc", *command)

    def clear(self):
        unmount_below(self.root)
        aside(self.root)
        aside(self.state)

    def start(self, image):
        return self.podman("run", "--rm", "--tls-verify=false", "--network=none", "--ulimit", "nofile=1024:1024", "--ulimit",
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
        aside(self.layout)
        aside(self.bundle)

    def start(self, image):
        wall, self.n = 0, self.n + 1
        if not os.path.isdir(self.bundle):
            wall += run("skopeo", "copy", "--quiet", "--src-tls-verify=false", "docker://%s:gzip" % image.ref, "oci:%s:x" % self.layout)
            wall += run("umoci", "unpack", "--image", self.layout + ":x", self.bundle)
            # Limits as root without CAP_SYS_RESOURCE may set them, no terminal, the same word.
            run("sh", "-c", 'jq \'.process.args = ["/bin/sh", "-c", "echo ready"] | .process.terminal = false | del(.process.rlimits)\' '
                '"$1/config.json" >"$1/new" && mv "$1/new" "$1/config.json"', "edit", self.bundle)
        return wall + run("runc", "run", "--bundle", self.bundle, "bench-%d-%d" % (os.getpid(), self.n))

    def disk(self):
        return disk(self.layout) + disk(self.bundle)

    def close(self):
        self.clear()


class Seen:
    """What one way took for one image; `failed` says why it cannot."""

    def __init__(self):
        self.cold, self.warm, self.asking, self.failed = [], [], [], None
        self.sent = self.disk = self.mounts = self.memory = None

    def median(self, what):
        return m.statistics.median(getattr(self, what))


def observe(way, server, image, seen, warm):
    way.clear()
    os.sync()
    before = sent(server)
    seen.cold.append(way.start(image))
    seen.sent, seen.disk = sent(server) - before, way.disk()
    # What it left unwritten is not the next start's.
    os.sync()
    seen.warm += [way.start(image) for _ in range(warm)]
    if hasattr(way, "start_asking"):
        seen.asking += [way.start_asking(image) for _ in range(warm)]
    if hasattr(way, "memory"):
        seen.memory = way.memory()
    if hasattr(way, "mounts") and seen.mounts is None:
        seen.mounts = way.mounts(image)


def start_all(server, image, ways, runs):
    """What each way takes, by its name. One that cannot is not asked again; one that did not begin is None."""
    seen = {name: Seen() for name in ways}
    for name, way in ways.items():
        if isinstance(way, str):
            seen[name].failed = way
    for _ in range(runs):
        for name, way in ways.items():
            if seen[name].failed:
                continue
            try:
                observe(way, server, image, seen[name], 3)
            except FAILURES as error:
                seen[name].failed = " ".join(str(error).split())[-300:]
    return seen


def own_rows(on, ours, containerd, overlayfs, n):
    """Of both of ours; that of containerd beside containerd's own snapshotter, which may not be there."""
    aim = "<= 2" if n <= 1500 and "each a layer" not in on else ""
    yield Row("cold start, " + on, "from nothing to the first output", on, "value", ours.median("cold"), None, "s", aim)
    yield Row("warm start, " + on, "again, all paths there", on, "value", ours.median("warm") * 1000, None, "ms", "<= 50")
    yield Row("warm start, asking, " + on, "the same with --pull newer: a HEAD asks for the tag", on, "value", ours.median("asking") * 1000, None,
              "ms", "")
    yield Row("mounts, " + on, "of a container's root file system", on, "value", ours.mounts, None, "", "<= 2")
    if containerd is None:
        return
    name = "%s, %s" % (on, Snapshotter.name)
    if containerd.failed:
        yield Row("cold start, " + name, "cannot: " + containerd.failed, on, "value", None, None, "s", aim)
        return
    able = overlayfs is not None and not overlayfs.failed
    peer_name = Containerd.name if able else ""

    def beside(what, of, unit, figures, aim=""):
        return Row("%s, %s" % (what, name), of, on, "value", figures(containerd), figures(overlayfs) if able else None, unit, aim, peer_name)
    yield beside("cold start", "from nothing to the first output", "s", lambda s: s.median("cold"), aim)
    yield beside("warm start", "again, all paths there", "s", lambda s: s.median("warm"))
    yield beside("mounts", "of a container's root file system", "", lambda s: s.mounts, "<= 2")
    yield beside("bytes fetched", "sent by the server", "MiB", lambda s: s.sent / 2**20)
    yield beside("bytes on disk", "what the node and containerd keep", "MiB", lambda s: s.disk / 2**20)
    yield Row("memory, " + name, "of the snapshotter, resident at the most", on, "value", containerd.memory / 2**20, None, "MiB", "<= 32")


def peer_rows(on, ours, peer, way, name):
    if peer.failed:
        yield Row("cold start, %s, %s" % (on, name), "cannot: " + peer.failed, on, "time", ours.median("cold"), None, "s", "", name + ": cannot")
        return
    yield Row("cold start, %s, %s" % (on, name), "from nothing to the first output", on, "time", ours.median("cold"), peer.median("cold"), "s",
              ">= 1", name)
    yield Row("warm start, %s, %s" % (on, name), "again, all paths there", on, "time", ours.median("warm"), peer.median("warm"), "s",
              way.warm_aim, name)
    yield Row("bytes fetched, %s, %s" % (on, name), "sent by the server", on, "cost", ours.sent / 2**20, peer.sent / 2**20, "MiB", "", name)
    yield Row("bytes on disk, %s, %s" % (on, name), "what the node keeps", on, "cost", ours.disk / 2**20, peer.disk / 2**20, "MiB", "", name)


def node_rows(server, image, on, ways, runs):
    seen = start_all(server, image, ways, runs)
    ours = seen.pop(Ours.name)
    if ours.failed:
        raise RuntimeError(ours.failed)
    yield from own_rows(on, ours, seen.pop(Snapshotter.name, None), seen.get(Containerd.name), image.n)
    for name, peer in seen.items():
        yield from peer_rows(on, ours, peer, ways[name], name)


def begin(scratch, server):
    """The ways by their names; one that does not begin is the reason why."""
    ways = {Ours.name: Ours(scratch, server)}
    for way, program in ((Containerd, "ctr"), (Snapshotter, "ctr"), (Podman, "podman"), (Umoci, "umoci")):
        if shutil.which(program):
            try:
                ways[way.name] = way(scratch, server)
            except FAILURES as error:
                ways[way.name] = " ".join(str(error).split())[-300:]
    return ways


def rows(scratch, short):
    if os.geteuid() != 0:
        raise RuntimeError("starting containers needs root")
    server = m.nacre_server(scratch, "node-server")
    ways = {}
    try:
        ways = begin(scratch, server)
        for n in (50, 400) if short else (50, 100, 400, 1500, 5000):
            yield from node_rows(server, Image(server, n), "%d paths" % n, ways, 1 if short else 3)
        # What grouping is for: each path a layer of its own, which the peers are not made for.
        for n in () if short else (400, 1500):
            yield from node_rows(server, Image(server, n, 0), "%d paths, each a layer" % n, ways, 1)
    finally:
        for way in ways.values():
            if not isinstance(way, str):
                way.close()
        server.stop()
