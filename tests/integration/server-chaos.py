#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A server whose disk is full, cannot be written or breaks, whose database somebody holds, whose clock jumps. Each time: a
clear answer in the protocol's words, what is stored is served, nothing is left behind, and without a restart all works
when the condition has gone. Names of tests as arguments: only these. Prints `ok - …`, `not ok - …`, `skip - … # reason`."""

import base64
import collections
import concurrent.futures
import contextlib
import hashlib
import json
import lzma
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import server_wire as w  # noqa: E402
from lying_server import MANIFEST, Upstream, digest  # noqa: E402

sys.path.insert(0, os.path.join(w.SRC, "tests/reference"))
import nar as narlib  # noqa: E402
import storepath  # noqa: E402

RNG = random.Random(11)
LONG = os.environ.get("LONG") == "1"
KILLS = 20 if LONG else 3
servers = []
# Several tests run at once: most of their time they wait.
LOCK = threading.Lock()


def check(*args):
    with LOCK:
        return w.check(*args)


def skip(*args):
    with LOCK:
        w.skip(*args)


def nix32(data):
    return storepath.nix32(hashlib.sha256(data).digest())


def run(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)


class Path:
    """A store path and all that a client sends of it."""

    def __init__(self, size, name="chaos"):
        self.nar = narlib.write(narlib.File(RNG.randbytes(size)))
        self.packed = lzma.compress(self.nar, preset=0)
        self.part = storepath.nix32(RNG.randbytes(20))
        self.url = "nar/%s.nar.xz" % nix32(self.packed)
        self.info = "StorePath: /nix/store/%s-%s\nURL: %s\nCompression: xz\nNarHash: sha256:%s\nNarSize: %d\nReferences: \n" % (
            self.part, name, self.url, nix32(self.nar), len(self.nar))


class Disk:
    """A file system of its own. kind: tmpfs, ext4."""

    def __init__(self, kind, name, mib=24, inodes=1200):
        self.where = os.path.join(w.T, name)
        os.mkdir(self.where)
        self.filler = os.path.join(self.where, "filler")
        self.image = None
        if kind == "tmpfs":
            self.mount = ["mount", "-t", "tmpfs", "-o", "size=%dm,nr_inodes=%d,mode=700" % (mib, inodes), "tmpfs", self.where]
        else:
            # In memory: the real disk may be slow, and others use it.
            self.memory = self.where + ".memory"
            os.mkdir(self.memory)
            if run("mount", "-t", "tmpfs", "-o", "size=%dm" % (mib + 1), "tmpfs", self.memory).returncode != 0:
                raise OSError("no tmpfs")
            self.image = os.path.join(self.memory, "image")
            with open(self.image, "wb") as file:
                file.truncate(mib << 20)
            if run("mkfs.ext4", "-q", "-F", "-N", str(inodes), self.image).returncode != 0:
                raise OSError("mkfs.ext4 failed")
            self.mount = ["mount", "-o", "loop,errors=remount-ro", self.image, self.where]
        self.attach()

    def attach(self):
        made = run(*self.mount)
        if made.returncode != 0:
            raise OSError(made.stdout.strip())

    def detach(self):
        if not w.until(10, lambda: run("umount", self.where).returncode == 0):
            raise OSError("%s cannot be unmounted" % self.where)

    def end(self):
        self.detach()
        if self.image:
            run("umount", "-l", self.memory)

    def fill(self, leave=0):
        """All bytes but so many."""
        with contextlib.suppress(OSError), open(self.filler, "wb", buffering=0) as file:
            size = 1 << 16
            while size >= 512:
                try:
                    file.write(bytes(size))
                except OSError:
                    size //= 2
        if leave:
            with open(self.filler, "r+b") as file:
                file.truncate(max(0, file.seek(0, 2) - leave))

    def fill_inodes(self):
        os.makedirs(self.filler, exist_ok=True)
        with contextlib.suppress(OSError):
            for i in range(100000):
                os.close(os.open(os.path.join(self.filler, str(i)), os.O_CREAT | os.O_WRONLY))

    def clear(self):
        if os.path.isdir(self.filler):
            shutil.rmtree(self.filler)
        elif os.path.exists(self.filler):
            os.unlink(self.filler)


def disk_or_skip(what, *args, **kwargs):
    if os.geteuid() != 0:
        skip(what, "needs root")
        return None
    try:
        return Disk(*args, **kwargs)
    except OSError as e:
        skip(what, "no %s here: %s" % (args[0], e))
        return None


class Scene:
    """A server, what it has acknowledged, and what it looked like before anything went wrong."""

    def __init__(self, name, data, *options, env=None, headers=None):
        self.name, self.data = name, data
        self.options = options
        self.env = env or {}
        self.headers = headers or {}
        self.blobs, self.paths, self.tags = {}, [], {}
        self.n = 0
        self.start()
        self.warm_up()
        self.before = self.shape()

    def start(self):
        with LOCK, contextlib.ExitStack() as stack:
            for key, value in self.env.items():
                old = os.environ.get(key)
                stack.callback(lambda k=key, v=old: os.environ.__setitem__(k, v) if v is not None else os.environ.pop(k))
                os.environ[key] = value
            self.server = w.Server(w.NACRE, "serve", "--listen", "127.0.0.1:0", "--data", self.data, "--no-access-log",
                                   "--set", "store.architecture=amd64", *self.options)
        servers.append(self.server.process)

    def check(self, name, good, detail=""):
        return check("%s: %s" % (self.name, name), good, detail)

    def request(self, method, target, headers=(), body=b""):
        wire = self.server.connect(60)
        try:
            return wire.request(method, target, dict(self.headers, **dict(headers)), body)
        finally:
            wire.close()

    # ---- what clients send; each returns the answer, and remembers what was taken

    def put_nar(self, path):
        return self.request("PUT", "/" + path.url, (), path.packed)

    def put_path(self, path):
        r = self.put_nar(path)
        if r.status != 201:
            return r
        r = self.request("PUT", "/%s.narinfo" % path.part, (), path.info.encode())
        if r.status == 201:
            self.paths.append(path)
        return r

    def post_blob(self, data, repository="app"):
        r = self.request("POST", "/v2/%s/blobs/uploads/?digest=%s" % (repository, digest(data)), (), data)
        if r.status == 201:
            self.blobs[(repository, digest(data))] = len(data)
        return r

    def patch_blob(self, data, repository="app"):
        """In a session; the first answer that is not as it should be."""
        r = self.request("POST", "/v2/%s/blobs/uploads/" % repository)
        if r.status != 202:
            return r
        location, half = r["Location"], len(data) // 2
        for first, last in ((0, half), (half, len(data))):
            r = self.request("PATCH", location, {"Content-Range": "%d-%d" % (first, last - 1)}, data[first:last])
            if r.status != 202:
                self.request("DELETE", location)
                return r
        r = self.request("PUT", location + "?digest=" + digest(data))
        if r.status == 201:
            self.blobs[(repository, digest(data))] = len(data)
        return r

    def put_manifest(self, tag, repository="app", layer=b"layer of all"):
        config = b"{}"
        for data in (config, layer):
            r = self.post_blob(data, repository)
            if r.status != 201:
                return r
        self.n += 1
        # Larger than what is kept in a row.
        body = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST,
                           "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest(config), "size": len(config)},
                           "layers": [{"mediaType": "x/y", "digest": digest(layer), "size": len(layer)}],
                           "annotations": {"n": "%d" % self.n, "text": RNG.randbytes(40000).hex()}}).encode()
        r = self.request("PUT", "/v2/%s/manifests/%s" % (repository, tag), {"Content-Type": MANIFEST}, body)
        if r.status == 201:
            self.tags[(repository, tag)] = digest(body)
        return r

    def image(self, part):
        return self.request("GET", "/v2/nix/manifests/%s" % part, {"Accept": MANIFEST})

    def delete_tag(self, repository, tag):
        r = self.request("DELETE", "/v2/%s/manifests/%s" % (repository, tag))
        if r.status == 202:
            self.tags.pop((repository, tag), None)
        return r

    def gc(self):
        return run(w.NACRE, "admin", "gc", "--data", self.data)

    # ----

    def warm_up(self):
        """What there is before; the database has its connections then, and its log some room."""
        for i in range(3):
            self.must(self.put_path(Path(100000)))
            self.must(self.post_blob(RNG.randbytes(100000)))
            self.must(self.patch_blob(RNG.randbytes(200000)))
            self.must(self.put_manifest("base%d" % i))
            self.must(self.request("PUT", "/log/%s-base%d.drv" % (self.paths[0].part, i), (), b"x"))
        self.must(self.image(self.paths[0].part))
        threads = [threading.Thread(target=self.served) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def must(self, r):
        if r.status not in (200, 201, 202):
            raise AssertionError("%s: %s\n%s" % (self.name, r, self.server.log()[-2000:]))

    def shape(self):
        """Files and sockets that are open, threads, temporary files. How many connections to the database there are is as
        much as were needed at a time."""
        pid, fds = self.server.process.pid, []
        for fd in os.listdir("/proc/%d/fd" % pid):
            with contextlib.suppress(OSError):
                fds.append(os.readlink("/proc/%d/fd/%s" % (pid, fd)))
        fds = [fd for fd in fds if "/meta.sqlite" not in fd]
        return {"fds": sorted(fds), "threads": len(os.listdir("/proc/%d/task" % pid)), "incoming": os.listdir(os.path.join(self.data, "incoming"))}

    def served(self):
        """What of it is not served as it was taken."""
        bad, wire = [], self.server.connect(60)
        try:
            for repository, d in list(self.blobs):
                r = wire.request("GET", "/v2/%s/blobs/%s" % (repository, d))
                if r.status != 200 or digest(r.body) != d:
                    bad.append("blob %s: %d" % (d, r.status))
            for (repository, tag), d in list(self.tags.items()):
                r = wire.request("GET", "/v2/%s/manifests/%s" % (repository, tag), {"Accept": MANIFEST})
                if r.status != 200 or digest(r.body) != d:
                    bad.append("tag %s: %d" % (tag, r.status))
            for path in list(self.paths):
                info = wire.request("GET", "/%s.narinfo" % path.part)
                r = wire.request("GET", "/nar/%s.nar" % nix32(path.nar))
                if info.status != 200 or r.status != 200 or r.body != path.nar:
                    bad.append("path %s: %d %d" % (path.part, info.status, r.status))
        finally:
            wire.close()
        return bad

    # ---- the checks

    def cache_refuses(self, what, r):
        """SPEC nix-cache: Nix before 2.33.2 hangs on a PUT that is answered 5xx."""
        self.check("%s is answered 413 with a text" % what, r.status == 413 and len(r.body) > 10
                   and r["Content-Type"].startswith("text/plain") and b"its log says why" not in r.body, r)

    def registry_refuses(self, what, r, statuses):
        try:
            good = r.status in statuses and bool(json.loads(r.body)["errors"][0]["code"]) and json.loads(r.body)["errors"][0]["message"].startswith(
                ("the server", "something else holds"))
        except (ValueError, KeyError, IndexError):
            good = False
        self.check("%s is refused in the registry's words" % what, good, r)

    def ready(self, want):
        good = w.until(8, lambda: self.request("GET", "/readyz").status == want)
        self.check("/readyz says %d" % want, good, self.request("GET", "/readyz"))

    def serves(self):
        bad = self.served()
        self.check("what is stored is served", not bad, "\n".join(bad[:5]))
        self.check("it lives", self.request("GET", "/healthz").status == 200)

    def works(self):
        """All that was refused is taken."""
        for what, ask in (("a path", lambda: self.put_path(Path(150000))), ("a small one", lambda: self.put_path(Path(40))),
                          ("a blob", lambda: self.post_blob(RNG.randbytes(150000))),
                          ("a blob in pieces", lambda: self.patch_blob(RNG.randbytes(300000))),
                          ("a manifest", lambda: self.put_manifest("after%d" % self.n)),
                          ("an image is made", lambda: self.image(self.paths[-1].part)),
                          ("a log", lambda: self.request("PUT", "/log/%s-x.drv" % self.paths[-1].part, (), b"text"))):
            r = ask()
            self.check("%s: works again" % what, r.status in (200, 201), r)
        r = self.gc()
        self.check("gc works again", r.returncode == 0, r.stdout)

    def as_before(self, connections=0):
        """Nothing leaks: compared when all clients are gone. So many connections to upstreams may be kept."""
        now = {}

        def same():
            now.update(self.shape())
            return len(now["fds"]) <= len(self.before["fds"]) + connections and now["threads"] <= self.before["threads"] and not now["incoming"]
        good = w.until(10, same)
        more = collections.Counter(now["fds"]) - collections.Counter(self.before["fds"])
        self.check("no descriptor, thread or temporary file is left", good, "%s\n%d threads were %d\n%s" % (
            sorted(more.elements()), self.before["threads"], now["threads"], now["incoming"]))

    def sound(self):
        """The server ends well, and fsck finds nothing."""
        self.as_before()
        self.serves()
        status, log = self.server.stop(), self.server.log()
        self.check("the server ends cleanly", status == 0 and "Sanitizer" not in log and "runtime error" not in log,
                   "status %s\n%s" % (status, log[-3000:]))
        fsck = run(w.NACRE, "fsck", "--data", self.data)
        self.check("fsck finds nothing", fsck.returncode == 0, fsck.stdout[-2000:])

    def refuses(self, full):
        """Every kind of write, while nothing can be written."""
        statuses = (507,) if full else (500, 503)
        fresh, path = Path(300000), self.paths[0]
        info = (path.info + "Deriver: %s-%s.drv\n" % ("0" * 32, "y" * 60)).encode()
        self.cache_refuses("PUT of a NAR", self.put_nar(fresh))
        self.cache_refuses("PUT of a log", self.request("PUT", "/log/%s-n.drv" % fresh.part, (), RNG.randbytes(200000)))
        self.registry_refuses("a blob", self.post_blob(RNG.randbytes(300000)), statuses)
        self.registry_refuses("a blob in pieces", self.patch_blob(RNG.randbytes(900000)), statuses)
        # What is a row alone may find a place that is free.
        for what, r in (("PUT of a small NAR", self.put_nar(Path(40))),
                        ("PUT of a narinfo", self.request("PUT", "/%s.narinfo" % path.part, (), info))):
            if not full or r.status != 201:
                self.cache_refuses(what, r)
        for what, r in (("a small blob", self.post_blob(RNG.randbytes(3000))), ("a manifest", self.put_manifest("refused"))):
            if not full or r.status != 201:
                self.registry_refuses(what, r, statuses)
        made = self.image(self.paths[1].part)
        self.check("an image on demand is made or refused", made.status == 200 or made.status in statuses, made)
        self.check("an image that was made is served", self.image(self.paths[0].part).status == 200)
        self.serves()


# ---- A full disk ---------------------------------------------------------------------------------


def exhaust(scene):
    """Writes until even rows find no room: the log of the database has some of its own."""
    for _ in range(400):
        r = scene.post_blob(RNG.randbytes(3000))
        if r.status != 201:
            return True
    return False


def fill_by_pushing(scene):
    """Until the server takes no more; it has kept some room to delete what is not wanted and to collect it."""
    pushed = []
    for _ in range(1000):
        data = RNG.randbytes(100000)
        r = scene.post_blob(data, "fill")
        if r.status != 201:
            break
        pushed.append(digest(data))
    scene.registry_refuses("one blob too many", r, (507,))
    scene.cache_refuses("and one NAR", scene.put_nar(Path(100000)))
    scene.must(scene.put_manifest("of-rows"))
    scene.check("a tag can be deleted", scene.delete_tag("app", "of-rows").status == 202)
    statuses = {scene.request("DELETE", "/v2/fill/blobs/" + d).status for d in pushed}
    scene.check("and blobs", statuses == {202}, statuses)
    scene.blobs = {key: size for key, size in scene.blobs.items() if key[0] != "fill"}
    scene.check("and gc makes room", w.until(10, lambda: scene.gc().returncode == 0 and scene.post_blob(RNG.randbytes(100000)).status == 201),
                scene.gc().stdout)
    scene.ready(200)


def full_disk(kind, mib, inodes):
    name = "full disk, %s" % kind
    disk = disk_or_skip(name, kind, "full-" + kind, mib, inodes)
    if not disk:
        return
    scene = Scene(name, os.path.join(disk.where, "data"))
    fill_by_pushing(scene)
    for _ in range(2):  # it happens again
        disk.fill()
        # Room that the database had is used up by and by.
        scene.check("rows are refused in the end", exhaust(scene))
        disk.fill()
        scene.ready(503)
        scene.refuses(True)
        gc = scene.gc()
        scene.check("gc works or says that the disk is full", gc.returncode == 0 or "full" in gc.stdout or "space" in gc.stdout, gc.stdout)
        r = scene.delete_tag("app", "base1")
        if r.status not in (202, 404):
            scene.registry_refuses("DELETE of a tag", r, (507,))
        scene.as_before()
        disk.clear()
        scene.ready(200)
        scene.works()
    # Becoming full in the middle of bodies.
    for leave in (70000, 200000):
        disk.fill(leave)
        scene.cache_refuses("full in a NAR at %d bytes" % leave, scene.put_nar(Path(600000)))
        scene.registry_refuses("full in a blob at %d bytes" % leave, scene.patch_blob(RNG.randbytes(900000)), (507,))
        disk.clear()
    scene.works()
    scene.sound()
    disk.end()


def test_full_tmpfs():
    full_disk("tmpfs", 24, 2000)


def test_full_ext4():
    full_disk("ext4", 32, 2000)


def test_full_inodes():
    for kind in ("tmpfs", "ext4"):
        name = "no inodes, %s" % kind
        disk = disk_or_skip(name, kind, "inodes-" + kind, 32, 700)
        if not disk:
            continue
        scene = Scene(name, os.path.join(disk.where, "data"))
        disk.fill_inodes()
        fresh = Path(300000)
        scene.cache_refuses("PUT of a NAR", scene.put_nar(fresh))
        scene.registry_refuses("a blob", scene.post_blob(RNG.randbytes(300000)), (507,))
        scene.registry_refuses("a blob in pieces", scene.patch_blob(RNG.randbytes(900000)), (507,))
        scene.check("what needs none is taken", scene.post_blob(b"small").status == 201)
        scene.serves()
        scene.as_before()
        disk.clear()
        r = scene.put_path(fresh)
        scene.check("the same is taken then", r.status == 201, r)
        scene.works()
        scene.sound()
        disk.end()


def test_full_under_load():
    """Full for some moments while many write: what was acknowledged is there, what was refused may come again."""
    name = "full now and then"
    disk = disk_or_skip(name, "tmpfs", "flapping", *((512, 60000) if LONG else (96, 9000)))  # of that it fills a part
    if not disk:
        return
    scene = Scene(name, os.path.join(disk.where, "data"))
    stop, answers, wrong = threading.Event(), collections.Counter(), []
    allowed = [40]  # requests of each, so that they never fill the disk by themselves, however fast it is

    def client(number):
        rng, n = random.Random(number), 0
        while not stop.is_set():
            if n == allowed[0]:
                time.sleep(0.005)
                continue
            n += 1
            ask = rng.choice([lambda: scene.put_path(Path(rng.choice([40, 20000]))), lambda: scene.post_blob(rng.randbytes(rng.choice([3000, 30000]))),
                              lambda: scene.patch_blob(rng.randbytes(20000)),
                              lambda: scene.put_manifest("c%d-%d" % (number, n), "app", rng.randbytes(9000))])
            try:
                r = ask()
            except (OSError, EOFError) as e:
                wrong.append("%s: %s" % (type(e).__name__, e))
                return
            answers[r.status] += 1
            if r.status not in (201, 413, 507):
                wrong.append(str(r))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(40 if LONG else 8):
        time.sleep(RNG.uniform(0.1, 0.4))
        disk.fill(RNG.choice([0, 0, 5000, 100000]))
        time.sleep(RNG.uniform(0.1, 0.4))
        disk.clear()
        allowed[0] += 40
    stop.set()
    for thread in threads:
        thread.join()
    scene.check("each is taken, or told that there is no room", not wrong, "\n".join(wrong[:3]))
    print("# %s" % dict(answers))
    scene.works()
    scene.sound()
    disk.end()


# ---- A disk that cannot be written ---------------------------------------------------------------


def test_read_only():
    name = "nothing may be written"
    disk = disk_or_skip(name, "ext4", "immutable", 32, 1000)
    if not disk:
        return
    scene = Scene(name, os.path.join(disk.where, "data"))
    def chattr(flag):
        # All that is ever written to, or something made in.
        names = ("", "incoming", "meta.sqlite", "meta.sqlite-wal", "meta.sqlite-shm")
        return run("chattr", flag, *(os.path.join(scene.data, name) for name in names)).returncode == 0

    if not chattr("+i"):
        skip(name, "no chattr +i here")
    else:
        scene.refuses(False)
        scene.ready(503)
        scene.as_before()
        chattr("-i")
        scene.ready(200)
        scene.works()
    # As after an error of the disk: no way back but to mount it again.
    scene.name = "file system of an emergency"
    run("mount", "-o", "remount,abort", disk.where)
    scene.refuses(False)
    scene.ready(503)
    scene.server.stop()
    disk.detach()
    run("e2fsck", "-p", disk.image)
    disk.attach()
    try:
        with open(os.path.join(disk.where, "probe"), "w"):
            pass
    except OSError:
        skip(scene.name, "somebody's mount name space still has the file system")
        return
    scene.start()
    scene.works()
    scene.sound()
    disk.end()


# ---- A database that somebody holds --------------------------------------------------------------


@contextlib.contextmanager
def holding(data):
    other = sqlite3.connect(os.path.join(data, "meta.sqlite"), isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def test_locked():
    scene = Scene("database held", os.path.join(w.T, "locked"))
    results = {}

    def ask(key, fn):
        threading.Thread(target=lambda: results.__setitem__(key, fn())).start()

    with holding(scene.data):
        ask("path", lambda: scene.put_path(Path(100000)))
        ask("blob", lambda: scene.post_blob(RNG.randbytes(100000)))
        time.sleep(1.5)
        scene.serves()
    w.until(20, lambda: len(results) == 2)
    scene.check("held for a short time: writes wait", {k: r.status for k, r in results.items()} == {"path": 201, "blob": 201}, results)
    results.clear()
    with holding(scene.data):
        fresh, small = Path(100000), RNG.randbytes(3000)
        ask("nar", lambda: scene.put_nar(fresh))
        ask("blob", lambda: scene.post_blob(small))
        scene.serves()
        w.until(40, lambda: len(results) == 2)
        scene.cache_refuses("held for long: PUT of a NAR", results["nar"])
        scene.registry_refuses("held for long: a blob", results["blob"], (503,))
        scene.check("which says when to come again", results["blob"]["Retry-After"], results["blob"])
    r = scene.put_path(fresh)
    scene.check("the same is taken then", r.status == 201, r)
    scene.works()
    scene.sound()


# ---- A clock that jumps --------------------------------------------------------------------------


def faketime(name):
    """The environment of a program whose clock stands as a file of this name says; None: not here."""
    library = [os.path.join("/usr/lib", d, "faketime/libfaketimeMT.so.1") for d in os.listdir("/usr/lib")]
    library = [name for name in library if os.path.exists(name)]
    if not library:
        return None
    linked = [line.split() for line in run("ldd", w.NACRE).stdout.splitlines()]
    # A sanitizer wants to be the first.
    first = [words[2] for words in linked if len(words) > 2 and "libasan" in words[0]]
    return {"LD_PRELOAD": ":".join(first + library[:1]), "FAKETIME_TIMESTAMP_FILE": os.path.join(w.T, name + ".clock"),
            "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}


def set_clock(env, days):
    name = env["FAKETIME_TIMESTAMP_FILE"]
    with open(name + ".new", "w") as file:
        file.write("%+d" % (days * 86400))
    os.rename(name + ".new", name)


def test_clock():
    env = faketime("clock")
    if not env:
        skip("a clock that jumps", "needs libfaketime")
        return
    set_clock(env, 0)
    with open(os.path.join(w.T, "htpasswd"), "w") as file:
        file.write("me:$2b$04$qiDH1v2qTw.vHaczehK3EeeBrsO08WEt55lYWxhFIyJYf874h1NE2\n")
    basic = {"Authorization": "Basic " + base64.b64encode(b"me:pw").decode()}
    scene = Scene("clock", os.path.join(w.T, "clocks"), "--set", "auth={htpasswd: %s/htpasswd, token-lifetime: 5m}" % w.T,
                  "--set", "retention=[{repositories: 'ci/**', keep-for: 30d}]", env=env, headers=basic)

    def ask(bearer, target="/v2/app/tags/list"):
        return scene.request("GET", target, {"Authorization": "Bearer " + bearer}).status

    def bearer():
        return json.loads(scene.request("GET", "/token?service=nacre&scope=repository:app:pull,push").body)["token"]

    def patch(location, first, data):
        return scene.request("PATCH", location, {"Content-Range": "%d-%d" % (first, first + len(data) - 1)}, data)

    scene.must(scene.put_manifest("old", "ci/app"))
    orphan = RNG.randbytes(70000)
    scene.must(scene.post_blob(orphan, "ci/app"))
    token, data = bearer(), RNG.randbytes(300000)
    scene.check("a token works", ask(token) == 200)
    location = scene.request("POST", "/v2/app/blobs/uploads/")["Location"]
    scene.must(patch(location, 0, data[:100000]))
    scene.check("gc", scene.gc().returncode == 0)

    scene.name = "clock forward by 40 days"
    set_clock(env, 40)
    scene.check("an old token is refused", ask(token) == 401)
    scene.check("a new one works", ask(bearer()) == 200)
    os.kill(scene.server.process.pid, signal.SIGHUP)  # looks after things
    scene.check("it is in the log", w.until(10, lambda: "the clock was put forward" in scene.server.log()), scene.server.log()[-2000:])
    r = scene.gc()
    scene.check("gc says that it takes nothing, and why", r.returncode != 0 and "the clock was put forward" in r.stdout, r.stdout)
    scene.serves()
    scene.must(patch(location, 100000, data[100000:200000]))
    scene.must(scene.put_path(Path(100000)))
    scene.must(scene.put_manifest("future", "ci/app"))

    scene.name = "clock back again"
    set_clock(env, 0)
    r = scene.gc()
    scene.check("gc takes nothing that has days left", r.returncode == 0 and "gone: 0 tags, 0 manifests, 0 blobs" in r.stdout, r.stdout)

    scene.name = "clock back by two days more"
    set_clock(env, -2)
    seen = scene.request("GET", "/v2/")["Date"]
    scene.check("it is that of the server", "%02d" % time.gmtime(time.time() - 2 * 86400).tm_mday == seen.split()[1], seen)
    scene.check("a token of the future is refused", ask(token) == 401)
    scene.check("a new one works", ask(bearer()) == 200)
    r = scene.request("PUT", location + "?digest=" + digest(data), (), data[200000:])
    scene.check("an upload that began before all this comes to its end", r.status == 201, r)
    scene.serves()
    r = scene.gc()
    scene.check("gc says that it takes nothing, and why", r.returncode != 0 and "behind that of the last" in r.stdout, r.stdout)

    scene.name = "clock right again"
    set_clock(env, 0)
    scene.works()
    os.kill(scene.server.process.pid, signal.SIGHUP)
    scene.sound()


# ---- Upstreams that fail and lie -----------------------------------------------------------------


BROKEN = ["failing", "circle", "astray", "garbled", "noise", "stalling", "silent", "reset", "cut", "short", "longer", "endless", "not_http"]
LIES = ([("narinfo", how) for how in BROKEN + ["another_path", "another_hash"] if how != "longer"] +
        [("nar", how) for how in BROKEN + ["flipped", "bomb", "other"]] +
        [("manifest", how) for how in BROKEN + ["flipped"]] + [("blob", how) for how in BROKEN + ["flipped"]])


def upstreams_of(up):
    common = "connect-timeout: 1s, stall-timeout: 1s, back-off: 1s"
    return ("{upstream-negative-ttl: 0s, upstreams: [{url: 'http://127.0.0.1:%d', trust: all, %s},"
            " {url: 'oci+http://127.0.0.1:%d', prefix: hub/, tag-ttl: 0s, %s}]}" % (up.port, common, up.port, common))


def attempt(scene, target, headers=()):
    """The answer, or None: it broke off."""
    try:
        return scene.request("GET", target, headers)
    except (EOFError, OSError, ValueError):
        return None


def lied_to(scene, up, kind, how):
    """In a view of its own: asks for something that comes wrong, and then for the same when it does not. What was wrong."""
    view, path, layer = "%s-%s" % (kind, how.replace("_", "-")), Path(150000), RNG.randbytes(150000)
    up.add_path(path)
    tag, manifest = up.add_image(layer)
    cache, registry = "/" + view, "/v2/%s/hub/app" % view
    info = ("/%s.narinfo" % path.part, cache + "/%s.narinfo" % path.part, None)
    image = ("/v2/app/manifests/" + digest(manifest), registry + "/manifests/" + digest(manifest), manifest)
    steps = {"narinfo": [info],
             "nar": [info, ("/" + path.url, cache + "/nar/%s.nar?hash=%s" % (nix32(path.nar), path.part), path.nar)],
             "manifest": [image],
             "blob": [image, ("/v2/app/blobs/" + digest(layer), registry + "/blobs/" + digest(layer), layer)]}[kind]

    def good(target, want):
        r = attempt(scene, target, {"Accept": MANIFEST})
        return r is not None and r.status == 200 and (r.body == want if want else path.part.encode() in r.body)

    for _, target, want in steps[:-1]:
        if not good(target, want):
            return "what comes before is not right: %s" % attempt(scene, target, {"Accept": MANIFEST})
    remote, target, want = steps[-1]
    up.lies[remote] = how
    begin = time.monotonic()
    r = attempt(scene, target, {"Accept": MANIFEST})
    took = time.monotonic() - begin
    if took > 30 or not (r is None or (r.status in (404, 502) and len(r.body) > 10)):
        return "a good answer, or none soon: %.1f s\n%s" % (took, r)
    if kind == "nar" and scene.request("HEAD", cache + "/nar/%s.nar" % nix32(path.nar)).status != 404:
        return "it is stored"
    del up.lies[remote]
    if not w.until(20, lambda: good(target, want)):
        return "the right one does not come: %s" % attempt(scene, target, {"Accept": MANIFEST})
    return None


def test_lies():
    up = Upstream()
    names = ["%s-%s" % (kind, how.replace("_", "-")) for kind, how in LIES]
    with open(os.path.join(w.T, "lies.yaml"), "w") as file:
        file.write("views:\n" + "".join("  %s: %s\n" % (name, upstreams_of(up)) for name in names))
    scene = Scene("lies", os.path.join(w.T, "lies"), "--config", os.path.join(w.T, "lies.yaml"))
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        wrong = dict(zip(LIES, pool.map(lambda lie: lied_to(scene, up, *lie), LIES)))
    for (kind, how), text in wrong.items():
        check("an upstream's %s, %s: no good answer, and then the right one" % (kind, how), text is None, text)
    scene.works()
    # Connections that may be used again.
    scene.as_before(4 * len(LIES))
    scene.before = scene.shape()
    scene.sound()


def test_upstream_gone():
    up = Upstream()
    scene = Scene("an upstream that goes", os.path.join(w.T, "upstreams"), "--set", "root=" + upstreams_of(up))
    path, fresh = Path(3000000), Path(1000)
    up.add_path(path)
    up.add_path(fresh)
    scene.check("the narinfo", attempt(scene, "/%s.narinfo" % path.part).status == 200)
    up.lies["/" + path.url] = "silent"
    threading.Timer(0.3, up.stop).start()
    r = attempt(scene, "/nar/%s.nar?hash=%s" % (nix32(path.nar), path.part))
    scene.check("in the middle of a NAR", r is None or r.status == 502, r)
    r = attempt(scene, "/%s.narinfo" % fresh.part)
    scene.check("is a 502 with a text", r and r.status == 502 and len(r.body) > 10, r)
    scene.serves()
    up.lies.clear()
    up.start()
    scene.check("when it is back it is asked", w.until(40, lambda: attempt(scene, "/%s.narinfo" % fresh.part).status == 200))
    r = attempt(scene, "/nar/%s.nar?hash=%s" % (nix32(path.nar), path.part))
    scene.check("and the NAR comes", r and r.body == path.nar, r)
    scene.works()
    scene.as_before(16)
    scene.before = scene.shape()
    scene.sound()


def test_upstream_full_disk():
    disk = disk_or_skip("an upstream and a full disk", "tmpfs", "full-upstream", 24, 2000)
    if not disk:
        return
    up = Upstream()
    scene = Scene("an upstream and a full disk", os.path.join(disk.where, "data"), "--set", "root=" + upstreams_of(up))
    path, layer = Path(700000), RNG.randbytes(700000)
    up.add_path(path)
    tag, manifest = up.add_image(layer)
    info = "/%s.narinfo" % path.part
    nar = "/nar/%s.nar?hash=%s" % (nix32(path.nar), path.part)
    blob = "/v2/hub/app/blobs/" + digest(layer)
    scene.check("the manifest", attempt(scene, "/v2/hub/app/manifests/" + tag, {"Accept": MANIFEST}).status == 200)
    scene.check("the narinfo", attempt(scene, info).status == 200)
    disk.fill()
    scene.check("rows are refused in the end", exhaust(scene))
    disk.fill()
    for what, target, want in (("a NAR", nar, path.nar), ("a blob", blob, layer)):
        r = attempt(scene, target)
        scene.check("%s is right, or the server's disk is full" % what, r is None or (r.body == want if r.status == 200 else
                    r.status == 507 and b"no space" in r.body), r)
    scene.serves()
    scene.as_before(16)
    disk.clear()
    for what, target, want in (("a NAR", nar, path.nar), ("a blob", blob, layer)):
        scene.check("%s comes then" % what, w.until(20, lambda t=target, d=want: getattr(attempt(scene, t), "body", b"") == d))
    scene.works()
    scene.as_before(16)
    scene.before = scene.shape()
    scene.sound()
    disk.end()


# ---- Killed in the middle of something -----------------------------------------------------------


def killed(scene, seconds):
    """Kills the server then, and starts it again; nothing of the moment may be left."""
    time.sleep(seconds)
    scene.server.process.kill()
    scene.server.process.wait()
    scene.start()
    left = os.listdir(os.path.join(scene.data, "incoming"))
    bad = scene.served()
    fsck = run(w.NACRE, "admin", "fsck", "--data", scene.data)
    if fsck.returncode != 0 or left or bad:
        return "killed after %.3f s\n%s\n%s\n%s" % (seconds, fsck.stdout, left[:5], bad[:5])
    return None


def test_kill_gc():
    """Tags, manifests and blobs go, with their files; the last two tags stay. A day passes between pushes and gc."""
    env = faketime("kill-gc")
    if not env:
        skip("killed in gc", "needs libfaketime")
        return
    set_clock(env, 0)
    scene = Scene("killed in gc", os.path.join(w.T, "kill-gc"), "--set", "gc={upload-grace: 1h, untagged-grace: 1h}",
                  "--set", "retention=[{repositories: 'ci/**', keep-last: 2}]", env=env)
    scene.blobs.clear()  # without a manifest they may go
    wrong, took = [], 0.0
    for i in range(KILLS + 1):
        for n in range(12):
            scene.must(scene.put_manifest("t%d-%d" % (i, n), "ci/app", RNG.randbytes(70000)))
        scene.blobs.clear()
        scene.tags = {(repository, tag): d for (repository, tag), d in scene.tags.items()
                      if repository != "ci/app" or tag in ("t%d-10" % i, "t%d-11" % i)}
        set_clock(env, i + 1)
        wrong.append(killed(scene, 0))
        begin = time.monotonic()
        gc = subprocess.Popen([w.NACRE, "admin", "gc", "--data", scene.data], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if i == 0:
            gc.wait()
            took = time.monotonic() - begin
        else:
            wrong.append(killed(scene, RNG.uniform(0, took)))
        gc.wait()
    wrong = [text for text in wrong if text]
    scene.check("%d times: nothing is lost, torn or left over" % KILLS, not wrong, "\n".join(wrong[:3]))
    set_clock(env, KILLS + 2)
    wrong = killed(scene, 0)
    r = scene.gc()
    scene.check("the next gc ends it", r.returncode == 0 and not wrong, "%s\n%s" % (wrong, r.stdout))
    tags = json.loads(scene.request("GET", "/v2/ci/app/tags/list").body)["tags"]
    scene.check("and takes all that may go", sorted(tags) == ["t%d-10" % KILLS, "t%d-11" % KILLS], tags)
    # Manifests have their grace when the tag has gone, and then blobs theirs. In the end there are two layers of tags, three
    # paths and what belongs to them; what somebody reads goes with the next gc.
    for days in (3, 4):
        set_clock(env, KILLS + days)
        wrong = wrong or killed(scene, 0)
        scene.gc()
    scene.check("with its files", not wrong and w.until(10, lambda: scene.gc() and sum(
        len(names) for _, _, names in os.walk(os.path.join(scene.data, "objects"))) < 20))
    print("# gc takes %.3f s" % took)
    scene.before = scene.shape()
    scene.sound()


def test_kill_fetch():
    up = Upstream()
    scene = Scene("killed in a fetch", os.path.join(w.T, "kill-fetch"), "--set", "root=" + upstreams_of(up))
    wrong = []
    for i in range(KILLS):
        paths, layers = [Path(400000) for _ in range(3)], [RNG.randbytes(400000) for _ in range(3)]
        images = [up.add_image(layer) for layer in layers]
        for path in paths:
            up.add_path(path)

        def fetch(path, image, layer):
            # Those that know its name come along; it is right, whoever asks.
            right = attempt(scene, "/%s.narinfo" % path.part)
            for target, want in (("/nar/%s.nar?hash=%s" % (nix32(path.nar), path.part), path.nar),
                                 ("/v2/hub/app/manifests/" + image[0], image[1]), ("/v2/hub/app/blobs/" + digest(layer), layer)):
                r = attempt(scene, target, {"Accept": MANIFEST})
                if r is not None and r.status == 200 and r.body != want:
                    wrong.append("%s is torn" % target)
                right = right and r is not None and r.status == 200
            return right

        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            asked = [pool.submit(fetch, *triple) for triple in list(zip(paths, images, layers)) * 2]
            wrong.append(killed(scene, RNG.uniform(0, 0.4)))
            for future in asked:
                future.result()
        for triple in zip(paths, images, layers):
            if not w.until(10, lambda t=triple: fetch(*t)):
                wrong.append("what was fetched when the server was killed cannot be had any more")
    wrong = [text for text in wrong if text]
    scene.check("%d times: nothing is lost, torn or left over, and all can be had" % KILLS, not wrong, "\n".join(wrong[:3]))
    scene.as_before(32)
    scene.before = scene.shape()
    scene.sound()


def downgrade(data):
    """Makes the database one of version 1, of the rows that it has."""
    new, name = os.path.join(data, "meta.new"), os.path.join(data, "meta.sqlite")
    db = sqlite3.connect(new, isolation_level=None)
    with open(os.path.join(w.SRC, "src/store/schema.sql")) as file:
        db.executescript(file.read())
    db.execute("ATTACH ? AS now", (name,))
    db.execute("BEGIN")
    for (table,) in db.execute("SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'").fetchall():
        columns = ", ".join('"%s"' % row[1] for row in db.execute('PRAGMA main.table_info("%s")' % table))
        db.execute('DELETE FROM main."%s"' % table)
        db.execute('INSERT INTO main."%s" (%s) SELECT %s FROM now."%s"' % (table, columns, columns, table))
    db.execute("COMMIT")
    db.execute("PRAGMA user_version = 1")
    db.close()
    for end in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name + end)
    os.rename(new, name)


def test_kill_upgrade():
    scene = Scene("killed in an upgrade", os.path.join(w.T, "kill-upgrade"))
    for n in range(300 if LONG else 60):
        scene.must(scene.put_manifest("t%d" % n, "app", RNG.randbytes(9000)))
        scene.must(scene.put_path(Path(5000)))
    scene.server.stop()
    downgrade(scene.data)
    old, data = scene.data + ".old", scene.data
    os.rename(data, old)

    def version():
        # Of a copy: who opens a database repairs it.
        copy = scene.data + ".copy"
        shutil.rmtree(copy, ignore_errors=True)
        os.mkdir(copy)
        for end in ("", "-wal"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copy(os.path.join(data, "meta.sqlite" + end), copy)
        with contextlib.closing(sqlite3.connect(os.path.join(copy, "meta.sqlite"))) as db:
            return db.execute("PRAGMA user_version").fetchone()[0]

    wrong, seen, took = [], set(), 1.0
    for i in range(KILLS + 1):
        shutil.rmtree(data, ignore_errors=True)
        shutil.copytree(old, data, ignore=lambda d, names: [n for n in names if n.endswith(".sock")])
        begin = time.monotonic()
        process = subprocess.Popen([w.NACRE, "serve", "--listen", "127.0.0.1:0", "--data", data, "--set", "store.architecture=amd64"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        servers.append(process)
        if i == 0:
            process.stdout.readline()
            took = time.monotonic() - begin
        else:
            time.sleep(RNG.uniform(0, took))
        process.kill()
        process.communicate()
        seen.add(version())
        scene.start()
        wrong += ["%s at %d" % (bad, i) for bad in scene.served()]
        if i == KILLS:
            break
        if scene.server.stop() != 0:
            wrong.append(scene.server.log()[-1000:])
        fsck = run(w.NACRE, "fsck", "--data", data)
        if fsck.returncode != 0:
            wrong.append(fsck.stdout)
    scene.check("%d times: nothing is lost" % KILLS, not wrong, "\n".join(wrong[:3]))
    print("# killed with the database at versions %s; an upgrade takes %.3f s" % (sorted(seen), took))
    scene.works()
    scene.before = scene.shape()
    scene.sound()


def main():
    tests = {name[5:]: test for name, test in globals().items() if name.startswith("test_")}

    def one(name):
        try:
            tests[name]()
        except (Exception, SystemExit) as e:  # noqa: BLE001
            check(name, False, "%s: %s" % (type(e).__name__, e))

    # Those that wait for long first.
    names = sys.argv[1:] or sorted(tests, key=lambda name: name not in ("lies", "locked"))
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        list(pool.map(one, names))
    for process in servers:
        process.kill() if process.poll() is None else None
    for line in open("/proc/self/mounts"):
        if line.split()[1].startswith(w.T):
            run("umount", "-l", line.split()[1])
    w.finish()


if __name__ == "__main__":
    main()
