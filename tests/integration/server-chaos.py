#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A server whose disk is full, cannot be written or breaks, whose database somebody holds, whose clock jumps. Each time: a
clear answer in the protocol's words, what is stored is served, nothing is left behind, and without a restart all works
when the condition has gone. Names of tests as arguments: only these. Prints `ok - …`, `not ok - …`, `skip - … # reason`."""

import base64
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
from server_wire import check, check_eq, skip  # noqa: E402

sys.path.insert(0, os.path.join(w.SRC, "tests/reference"))
import nar as narlib  # noqa: E402
import storepath  # noqa: E402

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
RNG = random.Random(11)
servers = []


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def nix32(data):
    return storepath.nix32(hashlib.sha256(data).digest())


def run(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def until(seconds, condition):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


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
            self.image = os.path.join(w.T, name + ".img")
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
        if not until(10, lambda: run("umount", self.where).returncode == 0):
            raise OSError("%s cannot be unmounted" % self.where)

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
        with contextlib.ExitStack() as stack:
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

    def put_manifest(self, tag, repository="app"):
        config, layer = b"{}", b"layer of all"
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
        return {"fds": len(fds), "threads": len(os.listdir("/proc/%d/task" % pid)), "incoming": os.listdir(os.path.join(self.data, "incoming"))}

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

    def cache_refuses(self, what, r, statuses=(413,)):
        """SPEC nix-cache: Nix before 2.33.2 hangs on a PUT that is answered 5xx."""
        self.check("%s is answered 413 with a text" % what, r.status in statuses and len(r.body) > 10
                   and r["Content-Type"].startswith("text/plain") and b"its log says why" not in r.body, r)

    def registry_refuses(self, what, r, statuses):
        try:
            good = r.status in statuses and bool(json.loads(r.body)["errors"][0]["code"]) and json.loads(r.body)["errors"][0]["message"].startswith(
                ("the server", "something else holds"))
        except (ValueError, KeyError, IndexError):
            good = False
        self.check("%s is refused in the registry's words" % what, good, r)

    def ready(self, want):
        good = until(8, lambda: self.request("GET", "/readyz").status == want)
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

    def as_before(self):
        """Nothing leaks: compared when all clients are gone."""
        now = {}

        def same():
            now.update(self.shape())
            return now["fds"] <= self.before["fds"] and now["threads"] <= self.before["threads"] and not now["incoming"]
        self.check("no descriptor, thread or temporary file is left", until(10, same), "%s\n%s" % (self.before, now))

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
        fresh = Path(300000)
        self.cache_refuses("PUT of a NAR", self.put_nar(fresh))
        self.cache_refuses("PUT of a small NAR", self.put_nar(Path(40)))
        self.cache_refuses("PUT of a narinfo", self.request("PUT", "/%s.narinfo" % self.paths[0].part, (), (self.paths[0].info + "Deriver: x-x.drv\n").replace("-x.drv", "-%s.drv" % ("y" * 60)).replace("x-", "%s-" % ("0" * 32)).encode()), (413, 201, 400))
        self.cache_refuses("PUT of a log", self.request("PUT", "/log/%s-n.drv" % fresh.part, (), RNG.randbytes(200000)))
        self.registry_refuses("a blob", self.post_blob(RNG.randbytes(300000)), statuses)
        self.registry_refuses("a blob in pieces", self.patch_blob(RNG.randbytes(900000)), statuses)
        self.registry_refuses("a small blob", self.post_blob(RNG.randbytes(3000)), statuses)
        self.registry_refuses("a manifest", self.put_manifest("refused"), statuses)
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


def full_disk(kind, mib, inodes):
    name = "full disk, %s" % kind
    disk = disk_or_skip(name, kind, "full-" + kind, mib, inodes)
    if not disk:
        return
    scene = Scene(name, os.path.join(disk.where, "data"))
    doomed = Path(100000)
    scene.must(scene.put_path(doomed))
    for _ in range(2):  # it happens again
        disk.fill()
        # Room that the database had is used up by and by.
        scene.check("rows are refused in the end", exhaust(scene))
        disk.fill()
        scene.refuses(True)
        scene.ready(503)
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
    disk.detach()


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
        disk.detach()


# ---- A disk that cannot be written ---------------------------------------------------------------


def test_read_only():
    name = "nothing may be written"
    disk = disk_or_skip(name, "ext4", "immutable", 32, 1000)
    if not disk:
        return
    scene = Scene(name, os.path.join(disk.where, "data"))
    def chattr(flag):
        return run("find", scene.data, "(", "-type", "f", "-o", "-type", "d", ")", "-exec", "chattr", flag, "{}", "+").returncode == 0

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
    scene.start()
    scene.works()
    scene.sound()
    disk.detach()


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
    until(20, lambda: len(results) == 2)
    scene.check("held for a short time: writes wait", {k: r.status for k, r in results.items()} == {"path": 201, "blob": 201}, results)
    results.clear()
    with holding(scene.data):
        fresh, small = Path(100000), RNG.randbytes(3000)
        ask("nar", lambda: scene.put_nar(fresh))
        ask("blob", lambda: scene.post_blob(small))
        scene.serves()
        until(40, lambda: len(results) == 2)
        scene.cache_refuses("held for long: PUT of a NAR", results["nar"])
        scene.registry_refuses("held for long: a blob", results["blob"], (503,))
        scene.check("which says when to come again", results["blob"]["Retry-After"], results["blob"])
    r = scene.put_path(fresh)
    scene.check("the same is taken then", r.status == 201, r)
    scene.works()
    scene.sound()


# ---- A clock that jumps --------------------------------------------------------------------------


def faketime():
    """The environment of a program whose clock stands as a file says; None: not here."""
    library = [os.path.join("/usr/lib", d, "faketime/libfaketimeMT.so.1") for d in os.listdir("/usr/lib")]
    library = [name for name in library if os.path.exists(name)]
    if not library:
        return None
    linked = [line.split() for line in run("ldd", w.NACRE).stdout.splitlines()]
    # A sanitizer wants to be the first.
    first = [words[2] for words in linked if len(words) > 2 and "libasan" in words[0]]
    return {"LD_PRELOAD": ":".join(first + library[:1]), "FAKETIME_TIMESTAMP_FILE": os.path.join(w.T, "clock"),
            "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}


def set_clock(days):
    with open(os.path.join(w.T, "clock.new"), "w") as file:
        file.write("%+d" % (days * 86400))
    os.rename(os.path.join(w.T, "clock.new"), os.path.join(w.T, "clock"))


def test_clock():
    env = faketime()
    if not env:
        skip("a clock that jumps", "needs libfaketime")
        return
    set_clock(0)
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
    set_clock(40)
    scene.check("an old token is refused", ask(token) == 401)
    scene.check("a new one works", ask(bearer()) == 200)
    os.kill(scene.server.process.pid, signal.SIGHUP)  # looks after things
    scene.check("it is in the log", until(10, lambda: "the clock was put forward" in scene.server.log()), scene.server.log()[-2000:])
    r = scene.gc()
    scene.check("gc says that it takes nothing, and why", r.returncode != 0 and "the clock was put forward" in r.stdout, r.stdout)
    scene.serves()
    scene.must(patch(location, 100000, data[100000:200000]))
    scene.must(scene.put_path(Path(100000)))
    scene.must(scene.put_manifest("future", "ci/app"))

    scene.name = "clock back again"
    set_clock(0)
    r = scene.gc()
    scene.check("gc takes nothing that has days left", r.returncode == 0 and "gone: 0 tags, 0 manifests, 0 blobs" in r.stdout, r.stdout)

    scene.name = "clock back by two days more"
    set_clock(-2)
    seen = scene.request("GET", "/v2/")["Date"]
    scene.check("it is that of the server", "%02d" % time.gmtime(time.time() - 2 * 86400).tm_mday == seen.split()[1], seen)
    scene.check("a token of the future is refused", ask(token) == 401)
    scene.check("a new one works", ask(bearer()) == 200)
    r = scene.request("PUT", location + "?digest=" + digest(data), (), data[200000:])
    scene.check("an upload that began before all this comes to its end", r.status == 201, r)
    scene.serves()
    scene.works()
    os.kill(scene.server.process.pid, signal.SIGHUP)
    scene.sound()


def main():
    tests = {name[5:]: test for name, test in globals().items() if name.startswith("test_")}
    for name in sys.argv[1:] or tests:
        try:
            tests[name]()
        except (Exception, SystemExit) as e:  # noqa: BLE001
            check(name, False, "%s: %s" % (type(e).__name__, e))
    for process in servers:
        process.kill() if process.poll() is None else None
    for line in open("/proc/self/mounts"):
        if line.split()[1].startswith(w.T):
            run("umount", "-l", line.split()[1])
    w.finish()


if __name__ == "__main__":
    main()
