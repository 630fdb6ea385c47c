#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What containerd expects of a snapshotter, asked over its socket.

    snapshot_suite.py SOCKET DIR suite            ordinary snapshots, mounted with mount(2) as containerd does
    snapshot_suite.py SOCKET DIR places PATH…     layers of nix-snapshotter's, with places for these store paths
    snapshot_suite.py SOCKET DIR image-ref LAYOUT HOST yes|no
                                                  store layers of HOST/git:1, which may (not) be asked for them
    snapshot_suite.py SOCKET DIR hostile LAYOUT   store layers whose annotations lie; LAYOUT is an OCI layout
    snapshot_suite.py SOCKET DIR slow PORT        layers whose source, here at PORT, never answers
    snapshot_suite.py SOCKET DIR layers LAYOUT    its store layers, one on the other
"""

import contextlib
import ctypes
import hashlib
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from grpc_client import Error, Snapshots  # noqa: E402

REF = "containerd.io/snapshot.ref"
PATH = "containerd.io/snapshot/nacre.path."
libc = ctypes.CDLL(None, use_errno=True)
failed = False
case_name = ""


def check(what, condition, detail=""):
    global failed
    failed |= not condition
    print(("ok" if condition else "not ok") + f" - {case_name}: {what}")
    if not condition:
        print(f"#   {detail}")


def check_eq(what, want, got):
    check(what, want == got, f"want {want!r}, got {got!r}")


def check_fails(what, code, call, *args):
    try:
        call(*args)
        check(what, False, "succeeded")
    except Error as error:
        check_eq(what, code, error.code)


@contextlib.contextmanager
def mounted(mounts, directory):
    """The options that are flags, the rest as one text of at most a page: so does containerd."""
    (m,) = mounts
    os.makedirs(directory, exist_ok=True)
    names = {"ro": 1, "rbind": 4096 | 16384, "bind": 4096, "rw": 0}
    flags = sum(names[o] for o in m["options"] if o in names)
    data = ",".join(o for o in m["options"] if o not in names)
    assert len(data) < 4096, f"{len(data)} bytes of options"
    for f in [flags] + ([flags | 32] if flags & 4096 and flags & 1 else []):
        if libc.mount(m["source"].encode(), directory.encode(), m["type"].encode(), f, data.encode()):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), data)
    try:
        yield directory
    finally:
        libc.umount2(directory.encode(), 2)


class Suite:
    def __init__(self, client, directory):
        self.s, self.dir, self.n = client, directory, 0

    def name(self, text="k"):
        self.n += 1
        return f"suite/{self.n}/{text}"

    def active(self, parent, change, commit=True):
        """A snapshot on `parent`, changed by a function of its directory."""
        key = self.name()
        with mounted(self.s.prepare(key, parent), self.dir + "/mnt") as d:
            change(d)
        if not commit:
            return key
        name = self.name("c")
        self.s.commit(name, key)
        return name

    def look(self, parent, look):
        key = self.name("view")
        with mounted(self.s.view(key, parent), self.dir + "/mnt") as d:
            result = look(d)
        self.s.remove(key)
        return result

    def case_basic(self):
        def first(d):
            os.makedirs(d + "/a/b")
            write(d + "/foo", "foo\n")

        def second(d):
            write(d + "/bar", "bar\n")
            os.remove(d + "/foo")
            os.rmdir(d + "/a/b")

        one = self.active("", first)
        two = self.active(one, second)
        check_eq("stat of a committed one", ("committed", one), (self.s.stat(two)["kind"], self.s.stat(two)["parent"]))
        check_eq("what the first holds", ["a", "foo"], self.look(one, lambda d: sorted(os.listdir(d))))
        check_eq("what the second holds", ["a", "bar"], self.look(two, lambda d: sorted(os.listdir(d))))
        check_eq("a directory that was removed", [], self.look(two, lambda d: os.listdir(d + "/a")))

    def case_stat(self):
        key = self.name()
        self.s.prepare(key, "", {"containerd.io/gc.root": "x"})
        info = self.s.stat(key)
        check_eq("active", ("active", "", {"containerd.io/gc.root": "x"}), (info["kind"], info["parent"], info["labels"]))
        check("times", abs(info["created"][0] - time.time()) < 60 and info["created"] == info["updated"], info)
        name = self.name("c")
        self.s.commit(name, key, {"l": "v"})
        check_eq("committed, its labels replaced", ("committed", {"l": "v"}), (self.s.stat(name)["kind"], self.s.stat(name)["labels"]))
        check_fails("its key is gone", "NOT_FOUND", self.s.stat, key)

    def case_errors(self):
        key = self.name()
        self.s.prepare(key)
        check_fails("a key twice", "ALREADY_EXISTS", self.s.prepare, key)
        check_fails("a key twice, as a view", "ALREADY_EXISTS", self.s.view, key)
        check_fails("a parent that is missing", "NOT_FOUND", self.s.prepare, self.name(), "nowhere")
        check_fails("a parent that is active", "INVALID_ARGUMENT", self.s.prepare, self.name(), key)
        check_fails("no key", "INVALID_ARGUMENT", self.s.prepare, "")
        check_fails("mounts of nothing", "NOT_FOUND", self.s.mounts, "nowhere")
        check_fails("commit of nothing", "NOT_FOUND", self.s.commit, self.name(), "nowhere")
        check_fails("remove of nothing", "NOT_FOUND", self.s.remove, "nowhere")
        check_fails("usage of nothing", "NOT_FOUND", self.s.usage, "nowhere")
        check_fails("update of nothing", "NOT_FOUND", self.s.update, "nowhere", {})
        name = self.name("c")
        self.s.commit(name, key)
        check_fails("commit twice", "NOT_FOUND", self.s.commit, self.name(), key)
        check_fails("mounts of a committed one", "FAILED_PRECONDITION", self.s.mounts, name)
        check_fails("commit of a committed one", "FAILED_PRECONDITION", self.s.commit, self.name(), name)
        view, other = self.name("view"), self.name()
        self.s.view(view, name)
        check_fails("commit of a view", "FAILED_PRECONDITION", self.s.commit, self.name(), view)
        self.s.prepare(other)
        check_fails("commit under a name that is taken", "ALREADY_EXISTS", self.s.commit, name, other)
        check_eq("which leaves it active", "active", self.s.stat(other)["kind"])
        check_fails("rebase", "UNIMPLEMENTED", self.s.commit, self.name(), other, {}, name)
        rebased = {REF: "sha256:" + "2" * 64, "containerd.io/snapshot/parent-chain-id": "sha256:" + "1" * 64}
        check_fails("a layer to be rebased later", "FAILED_PRECONDITION", self.s.prepare, self.name(), "", rebased)
        third = self.name()
        self.s.prepare(third, name, rebased)
        check_eq("the same on its parent is ordinary", "active", self.s.stat(third)["kind"])
        check_fails("an unknown method", "UNIMPLEMENTED", self.s.by_key, "Nothing", "k")

    def case_transitivity(self):
        one = self.active("", lambda d: None)
        two = self.active(one, lambda d: None)
        check_eq("parents", [one, ""], [self.s.stat(two)["parent"], self.s.stat(one)["parent"]])

    def case_update(self):
        one = self.active("", lambda d: None)
        check_eq("all labels", {"a": "1", "b": "2"}, self.s.update(one, {"a": "1", "b": "2"})["labels"])
        check_eq("one label", {"a": "1", "b": "3"}, self.s.update(one, {"b": "3", "c": "9"}, "labels.b")["labels"])
        check_eq("a label goes", {"b": "3"}, self.s.update(one, {}, "labels.a")["labels"])
        check_eq("a key with dots", {"b": "3", "x.y/z.0": "v"}, self.s.update(one, {"x.y/z.0": "v"}, "labels.x.y/z.0")["labels"])
        check_eq("the field of labels", {"n": "1"}, self.s.update(one, {"n": "1"}, "labels")["labels"])
        check_fails("a parent", "INVALID_ARGUMENT", self.s.update, one, {}, "parent")
        info = self.s.stat(one)
        check("a later time", info["updated"] > info["created"], info)

    def case_remove(self):
        one = self.active("", lambda d: None)
        two = self.active(one, lambda d: None)
        three = self.active(two, lambda d: None)
        check_fails("with a child", "FAILED_PRECONDITION", self.s.remove, one)
        check_fails("with a child, in between", "FAILED_PRECONDITION", self.s.remove, two)
        for name in (three, two, one):
            self.s.remove(name)
        check_fails("is gone", "NOT_FOUND", self.s.stat, one)
        self.s.prepare(two)
        check_eq("a name can come again", "active", self.s.stat(two)["kind"])
        self.s.remove(two)

    def case_list(self):
        names = {self.active("", lambda d: None) for _ in range(3)}
        listed = {i["name"]: i for i in self.s.list()}
        check("all are there", names <= set(listed), names - set(listed))
        check("as stat says", all(listed[n] == self.s.stat(n) for n in names))

    def case_labels(self):
        """An image's author says how much there is in labels; without a list containerd collects nothing any more."""
        key = "containerd.io/snapshot/x."
        labels = {key + str(n): "y" * 4000 for n in range(900)}
        names = {self.name() for _ in range(20)}
        for name in sorted(names):
            self.s.prepare(name, "", labels)
        listed = [i for i in self.s.list() if i["name"] in names]
        check_eq("70 MiB of them are listed, each snapshot once", sorted(names), sorted(i["name"] for i in listed))
        check("whole", all(i["labels"] == labels for i in listed))
        largest = max(len(reply) for reply in self.s.list_replies())
        check("in messages of a few MiB", largest < 8 << 20, largest)
        for name in names:
            self.s.remove(name)
        check_fails("more than can be listed", "RESOURCE_EXHAUSTED", self.s.prepare, self.name(), "", {key + str(n): "y" * 4000 for n in range(2200)})
        name = self.name()
        self.s.prepare(name, "", {key + str(n): "y" * 4000 for n in range(2000)})
        more = {"z." + str(n): "y" * 4000 for n in range(200)}
        check_fails("or become so", "RESOURCE_EXHAUSTED", self.s.update, name, more, *("labels." + k for k in more))
        self.s.remove(name)
        check_fails("a name that is too long", "INVALID_ARGUMENT", self.s.prepare, "k" * 40000)

    def case_files(self):
        """What layers above change, hide and move."""

        def first(d):
            os.makedirs(d + "/dir/sub")
            os.makedirs(d + "/keep")
            for f in ("a", "b", "dir/x", "dir/sub/y", "keep/old"):
                write(d + "/" + f, f)
            os.chmod(d + "/keep", 0o777)
            os.symlink("a", d + "/link")

        def second(d):
            write(d + "/a", "changed")
            shutil.rmtree(d + "/dir")
            os.rename(d + "/b", d + "/moved")
            os.chown(d + "/keep/old", 7, 8)
            os.chmod(d + "/keep", 0o700)
            os.symlink("moved", d + "/link2")

        def third(d):
            os.makedirs(d + "/dir/new")

        three = self.active(self.active(self.active("", first), second), third)

        def look(d):
            st, mode = os.stat(d + "/keep/old"), stat.S_IMODE(os.stat(d + "/keep").st_mode)
            return read(d + "/a"), os.listdir(d + "/dir"), read(d + "/moved"), os.path.exists(d + "/b"), (st.st_uid, st.st_gid), mode

        check_eq("a file, a directory made anew, a name, an owner, a mode", ("changed", ["new"], "b", False, (7, 8), 0o700), self.look(three, look))

    def case_view(self):
        one = self.active("", lambda d: write(d + "/f", "1"))
        two = self.active(one, lambda d: write(d + "/g", "2"))
        for parent in ("", one, two):
            key = self.name("view")
            with mounted(self.s.view(key, parent), self.dir + "/mnt") as d:
                try:
                    write(d + "/x", "")
                    check("cannot be written", False)
                except OSError as error:
                    check_eq("cannot be written", 30, error.errno)
            check_eq("its mounts again", self.s.mounts(key), self.s.mounts(key))
            self.s.remove(key)

    def case_root(self):
        def change(d):
            os.chown(d, 5, 6)

        one = self.active("", change)
        key = self.name()
        with mounted(self.s.prepare(key, one), self.dir + "/mnt") as d:
            st = os.stat(d)
            check_eq("owner and mode of the root", (5, 6, 0o755), (st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)))

    def case_private(self):
        """What a container makes, set-user-ID files of root's too, is out of reach of the machine's other users."""
        fs = self.s.prepare(self.name())[0]["source"]
        write(fs + "/x", "")
        os.chmod(fs + "/x", 0o4755)
        for directory in ("", "/s", "/m", "/trash", fs[len(self.root()) : -len("/fs")]):
            check_eq(f"snapshots{directory}", 0o700, stat.S_IMODE(os.stat(self.root() + directory).st_mode))

    def case_usage(self):
        def change(d):
            write(d + "/big", "x" * 1000000)
            os.link(d + "/big", d + "/again")

        key = self.active("", change, commit=False)
        size, inodes = self.s.usage(key)
        check("of an active one: a file with two names counts once", 1000000 <= size < 1100000 and inodes == 2, (size, inodes))
        name = self.name("c")
        self.s.commit(name, key)
        check_eq("of a committed one", (size, inodes), self.s.usage(name))
        empty = self.active(name, lambda d: None)
        check("without its parent", self.s.usage(empty)[0] < 100000, self.s.usage(empty))

    def case_layers(self):
        """128, 500, 501 and 700 layers."""
        parent, top = "", 0
        for n in (128, 500, 501, 700):
            while top < n:
                key, top = self.name(), top + 1
                fs = self.s.prepare(key, parent)[0]
                upper = fs["source"] if fs["type"] == "bind" else next(o[9:] for o in fs["options"] if o.startswith("upperdir="))
                write(f"{upper}/{top}", str(top))
                write(f"{upper}/all", str(top))
                parent = self.name("c")
                self.s.commit(parent, key)
            key = self.name()
            with mounted(self.s.prepare(key, parent), self.dir + "/mnt") as d:
                write(d + "/mine", "1")
                os.remove(d + "/1")
                check_eq(f"{n} of them", (n + 1, str(n), "2"), (len(os.listdir(d)), read(d + "/all"), read(d + "/2")))
            self.s.remove(key)

    def case_cleanup(self):
        before = set(os.listdir(self.root() + "/s"))
        key = self.active("", lambda d: os.makedirs(d + "/" + "deep/" * 500), commit=False)
        added = set(os.listdir(self.root() + "/s")) - before
        self.s.remove(key)
        check_eq("remove deletes nothing", 1, len(added & set(os.listdir(self.root() + "/s"))))
        self.s.cleanup()
        check_eq("cleanup does", set(), added & set(os.listdir(self.root() + "/s")))
        check_eq("all of it", [], os.listdir(self.root() + "/trash"))

    def case_cleanup_stuck(self):
        """What cannot be deleted, as a file after chattr +i, is in the way of nothing else."""
        keys = [self.name() for _ in range(8)]
        sources = [self.s.prepare(key)[0]["source"] for key in keys]
        os.mkdir(sources[3] + "/stuck")
        if libc.mount(b"tmpfs", (sources[3] + "/stuck").encode(), b"tmpfs", 0, b""):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        for key in keys:
            self.s.remove(key)
        try:
            self.s.cleanup()
            left = os.listdir(self.root() + "/trash")
            check_eq("all others go", 1, len(left))
            self.s.prepare(keys[0])
            self.s.remove(keys[0])
            self.s.cleanup()
            check_eq("later ones too", left, os.listdir(self.root() + "/trash"))
        finally:
            with open("/proc/self/mounts", encoding="utf-8") as mounts:
                for directory in [m.split()[1] for m in mounts if m.split()[1].endswith("/stuck") and m.split()[1].startswith(self.root())]:
                    libc.umount2(directory.encode(), 2)
        self.s.cleanup()
        check_eq("in the end it goes as well", [], os.listdir(self.root() + "/trash"))

    def root(self):
        return os.environ["SNAPSHOTS"]


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def run_suite(client, directory):
    global case_name
    suite = Suite(client, directory)
    for name in sorted(n for n in dir(suite) if n.startswith("case_")):
        case_name = name[5:]
        try:
            getattr(suite, name)()
        except (Error, OSError, AssertionError) as error:
            check("no error", False, repr(error))
    case_name = "at the end"
    while infos := client.list():
        parents = {i["parent"] for i in infos}
        for info in infos:
            if info["name"] not in parents:
                client.remove(info["name"])
    client.cleanup()
    check_eq("nothing is mounted", [], os.listdir(suite.root() + "/m"))


def blob(layout, digest):
    with open(f"{layout}/blobs/{digest.replace(':', '/')}", "rb") as file:
        return json.load(file)


def run_hostile(client, directory, layout):
    global case_name
    with open(layout + "/index.json", encoding="utf-8") as file:
        manifest = blob(layout, json.load(file)["manifests"][0]["digest"])
    diff_ids = blob(layout, manifest["config"]["digest"])["rootfs"]["diff_ids"]
    layers = [(d, {k: v for k, v in l.get("annotations", {}).items() if k.startswith(PATH)}) for d, l in zip(diff_ids, manifest["layers"])]
    (a, a_labels), (b, b_labels) = layers[0], layers[1]
    path, nar_hash, size = a_labels[PATH + "0"].split()
    b_hash = b_labels[PATH + "0"].split()[1]
    n = 0

    def prepare(ref, labels, parent=""):
        nonlocal n
        n += 1
        try:
            client.prepare(f"hostile/{n}", parent, {REF: ref, **labels})
            client.remove(f"hostile/{n}")
            return "mounts"
        except Error as error:
            return error.code

    def refused(what, ref, labels, parent=""):
        check_eq(what, "mounts", prepare(ref, labels, parent))
        check_eq(what + ": nothing is committed", [], [i for i in client.list() if i["labels"].get(REF) == ref])

    case_name = "hostile"
    refused("annotations that name another path's content", a, b_labels)
    refused("the content of another path", a, {PATH + "0": f"{path} {b_hash} {size}"})
    refused("a NarHash that is none", a, {PATH + "0": f"{path} sha256:{'0' * 51} {size}"})
    refused("a NarHash that nobody has", a, {PATH + "0": f"{path} sha256:{'0' * 52} {size}"})
    for bad in ("/etc/passwd", "/nix/store/../../etc/passwd", "/nix/store", path + "/..", "../" + path, path + "/bin", "/nix/store/./" + path[11:], "nix" + path):
        refused(f"the path {bad}", a, {PATH + "0": f"{bad} {nar_hash} {size}"})
    for bad in ("0", "-1", "x", "", "99999999999999999999999"):
        refused(f"the size '{bad}'", a, {PATH + "0": f"{path} {nar_hash} {bad}"})
    refused("paths twice", a, {PATH + "0": a_labels[PATH + "0"], PATH + "1": a_labels[PATH + "0"]})
    refused("numbers with a gap", a, {PATH + "1": a_labels[PATH + "0"]})
    refused("one path too many", a, dict(zip((PATH + "0", PATH + "1"), sorted([a_labels[PATH + "0"], b_labels[PATH + "0"]]))))
    key = "containerd.io/snapshot/x"
    check_eq("a label of 4096 bytes", "mounts", prepare(a, {key: "y" * (4096 - len(key))}))
    check_eq("a label of 4097 bytes", "INVALID_ARGUMENT", prepare(a, {key: "y" * (4097 - len(key))}))
    start = time.time()
    many = {PATH + str(i): f"/nix/store/{hashlib.sha256(str(i).encode()).hexdigest()[:32].replace('e', '0')}-x sha256:{'0' * 52} 1" for i in range(10000)}
    refused("ten thousand annotations", a, many)
    check("ten thousand annotations: in 10 s", time.time() - start < 10, time.time() - start)
    check_eq("a wrong size: what was proven counts", "ALREADY_EXISTS", prepare(a, {PATH + "0": f"{path} {nar_hash} {int(size) + 1}"}))
    check_eq("the layer itself", "ALREADY_EXISTS", prepare(a, a_labels))
    found = [i for i in client.list(f'labels."{REF}"=={a},parent==""') if i["labels"].get(REF) == a]
    check_eq("is committed once, with its own label alone", [("committed", "", {REF: a})], [(i["kind"], i["parent"], i["labels"]) for i in found])
    check_eq("a copied diffID with the annotations of another", "ALREADY_EXISTS", prepare(a, b_labels))
    found = [i for i in client.list() if i["labels"].get(REF) == a]
    check_eq("gets what was proven, unchanged", 1, len(found))
    with mounted(client.view("hostile/view", found[0]["name"]), directory + "/mnt") as d:
        check_eq("which is its path", [os.path.basename(path)], os.listdir(d + "/nix/store"))
    client.remove("hostile/view")
    client.prepare("hostile/moved", found[0]["name"])
    with elsewhere(nar_hash, directory):
        mounts = client.mounts("hostile/moved")
        client.cleanup()
        with mounted(mounts, directory + "/mnt") as d:
            check_eq("a path that lies elsewhere since: its mount outlives a cleanup", [os.path.basename(path)], os.listdir(d + "/nix/store"))
    client.remove("hostile/moved")
    client.cleanup()
    chain = "sha256:" + hashlib.sha256(f"{a} {b}".encode()).hexdigest()
    refused("a chainID without its parent", chain, b_labels)
    check_eq("the next layer on its parent", "ALREADY_EXISTS", prepare(chain, b_labels, found[0]["name"]))
    refused("a path that is not the layer, on a parent", "sha256:" + "1" * 64, {PATH + "0": f"{path} {b_hash} {size}"}, found[0]["name"])

    # The path of one layer with the content of the other is a layer by itself, which cannot stand above or below the first.
    odd, odd_labels = diff_id_of(path, b_hash, directory), {PATH + "0": f"{path} {b_hash} {size}"}

    def on(parent, diff_id):
        return "sha256:" + hashlib.sha256(f"{parent} {diff_id}".encode()).hexdigest()

    def name_of(ref):
        return next(i["name"] for i in client.list() if i["labels"].get(REF) == ref)

    check_eq("a path with other content, alone", "ALREADY_EXISTS", prepare(odd, odd_labels))
    check_eq("another path on it", "ALREADY_EXISTS", prepare(on(odd, b), b_labels, name_of(odd)))
    for round_ in ("", ", once more"):
        # In turn: what was seen of one chain is not taken for the other's.
        refused("it stands on no layer with the path" + round_, on(a, odd), odd_labels, name_of(a))
        refused("nor that on it" + round_, on(odd, a), a_labels, name_of(odd))
        refused("nor two layers above" + round_, on(on(odd, b), a), a_labels, name_of(on(odd, b)))
        refused("nor the other way round" + round_, on(on(a, b), odd), odd_labels, name_of(on(a, b)))
        check_eq("the same path with the same content may" + round_, "ALREADY_EXISTS", prepare(on(on(a, b), a), a_labels, name_of(on(a, b))))
    client.cleanup()


@contextlib.contextmanager
def elsewhere(nar_hash, directory):
    """The node has the path where this machine's own store would, not in paths/."""
    node, name = os.path.dirname(os.environ["SNAPSHOTS"]), nar_hash.partition(":")[2]
    os.makedirs(node + "/host", exist_ok=True)
    os.rename(f"{node}/paths/{name}", f"{directory}/{name}")
    os.symlink(f"{directory}/{name}", f"{node}/host/{name}")
    try:
        yield
    finally:
        os.remove(f"{node}/host/{name}")
        os.rename(f"{directory}/{name}", f"{node}/paths/{name}")


def diff_id_of(path, nar_hash, directory):
    """Of a layer with this path, out of content that the node has."""
    nacre, file = os.environ["NACRE"], directory + "/odd.nar"
    with open(file, "wb") as out:
        subprocess.run([nacre, "nar", "dump", os.path.dirname(os.environ["SNAPSHOTS"]) + "/paths/" + nar_hash.partition(":")[2]], stdout=out, check=True)
    return subprocess.run([nacre, "nar", "to-tar", "--digest", path, file], stdout=subprocess.PIPE, check=True).stdout.decode().strip()


def store_layers(layout):
    """Of the layout's first image: diffID, digest and claims of each."""
    with open(layout + "/index.json", encoding="utf-8") as file:
        manifest = blob(layout, json.load(file)["manifests"][0]["digest"])
    diff_ids = blob(layout, manifest["config"]["digest"])["rootfs"]["diff_ids"]
    claims = [{k: v for k, v in l.get("annotations", {}).items() if k.startswith(PATH)} for l in manifest["layers"]]
    return [(d, l["digest"], c) for d, l, c in zip(diff_ids, manifest["layers"], claims) if c]


def run_layers(client, layout):
    global case_name
    case_name = "layers"
    chain = parent = ""
    answers = []
    for diff_id, _, claims in store_layers(layout):
        chain = "sha256:" + hashlib.sha256(f"{chain} {diff_id}".encode()).hexdigest() if chain else diff_id
        try:
            client.prepare("layers/key", parent, {REF: chain, **claims})
            answers.append("mounts")
        except Error as error:
            answers.append(error.code)
        parent = next((i["name"] for i in client.list(f'labels."{REF}"=={chain}') if i["labels"].get(REF) == chain), "")
    check_eq("all are answered", ["ALREADY_EXISTS"] * len(answers), answers)


def run_slow(client, port):
    """Layers that come slowly, if at all, are in nobody's way: containers start and end as ever."""
    global case_name
    case_name = "slow"
    limit, n = 48, 52  # SNAPSHOT_TURNS and SNAPSHOT_TURNS_WAITING; pulled here
    with socket.create_server(("127.0.0.1", port)) as source:
        source.settimeout(60)
        calls = []
        for i in range(n):
            claims = {PATH + "0": f"/nix/store/{i:032}-x sha256:{'0' * 52} 1"}
            calls.append(client.start_prepare(f"slow/{i}", "", {REF: "sha256:" + hashlib.sha256(str(i).encode()).hexdigest(), **claims}))
        answered = lambda: sum(c.done() for c in calls)
        connection, _ = source.accept()
        with connection:
            end = time.monotonic() + 60
            while answered() < n - limit and time.monotonic() < end:
                time.sleep(0.02)
            check("more than can wait are left to containerd", n > answered() >= n - limit, answered())
            try:
                client.timeout = 60
                client.prepare("slow/container")
                client.mounts("slow/container")
                check_eq("a container starts", "active", client.stat("slow/container")["kind"])
                client.commit("slow/image", "slow/container")
                client.remove("slow/image")
                client.cleanup()
                check("and ends", "slow/image" not in [i["name"] for i in client.list()])
            except Error as error:
                check("a container starts and ends", False, error)
            check("while the others wait", answered() < n, answered())
            for call in calls:
                call.cancel()


def run_image_ref(client, layout, host, is_allowed):
    global case_name
    case_name = "image-ref"
    layers = store_layers(layout)
    diff_id, digest, claims = layers[0]
    n = 0

    def prepare(ref, layer):
        nonlocal n
        n += 1
        labels = {REF: diff_id, "containerd.io/snapshot/cri.image-ref": ref, "containerd.io/snapshot/cri.layer-digest": layer}
        try:
            client.prepare(f"image-ref/{n}", "", {**labels, **claims})
            client.remove(f"image-ref/{n}")
            return "mounts"
        except Error as error:
            return error.code

    with socket.create_server(("127.0.0.1", 0)) as spy:
        spy.settimeout(0.5)
        address = f"127.0.0.1:{spy.getsockname()[1]}"
        refs = [address + "/git:1", f"localhost:{address[10:]}/git", "user:pass@" + address + "/git", address + "/../../git"]
        refs += ["http://" + address + "/git", "_default/git", "../git", "", "git", "/" + address + "/git", "x" * 4000]
        for ref in refs:
            check_eq(f"the reference {ref[:40]}", "mounts", prepare(ref, digest))
        try:
            spy.accept()
            check("nobody was asked that only a label names", False)
        except TimeoutError:
            check("nobody was asked that only a label names", True)
    for bad in ("", "sha256:x", "sha256:" + "0" * 64, "../" + digest):
        check_eq(f"the layer '{bad}'", "mounts", prepare(host + "/git:1", bad))
    check_eq("another layer's digest", "mounts", prepare(host + "/git:1", layers[1][1]))
    check_eq("the layer", "ALREADY_EXISTS" if is_allowed else "mounts", prepare(host + "/git:1", digest))


def run_places(client, directory, paths):
    """Its annotations name the paths and no content: what counts is the places that the layer has."""
    global case_name
    case_name = "places"
    nix = "containerd.io/snapshot/nix-"
    nobody = "/nix/store/" + "0" * 32 + "-nobody-has-this"
    n = 0

    def layer(places, labels, parent=""):
        """What containerd does for a layer that it unpacks. The name of the snapshot, or the code."""
        nonlocal n
        n += 1
        chain = "sha256:" + hashlib.sha256(str(n).encode()).hexdigest()
        try:
            mounts = client.prepare(f"places/{n}", parent, {REF: chain, **labels})
            with mounted(mounts, directory + "/mnt") as d:
                os.makedirs(d + "/nix/store", exist_ok=True)
                write(d + f"/other{n}", "")
                for place in places:
                    os.makedirs(d + place, exist_ok=True)
                    os.chmod(d + place, 0o700)
                    os.chmod(d + place, 0o755)
            client.commit(f"places/{n}/{chain}", f"places/{n}", {REF: chain})
            return f"places/{n}/{chain}"
        except Error as error:
            return error.code
        finally:
            with contextlib.suppress(Error):
                client.remove(f"places/{n}")

    def shown(name):
        with mounted(client.view("places/view", name), directory + "/mnt") as d:
            found = {f"/nix/store/{p}": len(os.listdir(f"{d}/nix/store/{p}")) > 0 for p in os.listdir(d + "/nix/store")}
        client.remove("places/view")
        return found

    first, second = paths[:2]
    check_eq("annotations that name the places", {first: True, second: True}, shown(layer([first, second], {nix + "layer": "true", nix + "store-path.0": first, nix + "store-path.1": second})))
    check_eq("a closure", {first: True, second: True}, shown(layer([first, second], {nix + "closure": first})))
    check_eq("none: the layer is the same", {first: True, second: True}, shown(layer([first, second], {})))
    check_eq("one that has no place is not shown", {first: True}, shown(layer([first], {nix + "layer": "true", nix + "store-path.0": second})))
    check_eq("a path that nobody has", "FAILED_PRECONDITION", layer([first, nobody], {nix + "layer": "true"}))
    check_eq("the same as an ordinary layer: empty directories", {first: False, nobody: False}, shown(layer([first, nobody], {})))
    for bad in ("/etc/passwd", "/nix/store/../../etc", first + "/bin", "x", "", "/nix/store"):
        check_eq(f"the path '{bad}'", "INVALID_ARGUMENT", layer([first], {nix + "store-path.0": bad}))
    check_eq("two store dirs", "INVALID_ARGUMENT", layer([first], {nix + "store-path.0": first, nix + "closure": "/gnu" + first[4:]}))
    below = layer([first], {})
    check_eq("on another such layer", {first: True, second: True}, shown(layer([second], {nix + "layer": "true"}, below)))
    below = layer([first + "x"], {})
    check_eq("the name of no path", {first + "x": False, second: True}, shown(layer([second], {nix + "layer": "true"}, below)))
    key = "places/ordinary"
    with mounted(client.prepare(key), directory + "/mnt") as d:
        os.makedirs(d + first)
        write(d + first + "/own", "")
    chain = key + "/sha256:" + "f" * 64
    client.commit(chain, key)
    check_eq("on a layer that has files there", "FAILED_PRECONDITION", layer([first], {nix + "layer": "true"}, chain))
    check_eq("the same without annotations is left alone", {first: True}, shown(layer([first], {}, chain)))
    store = layer([first], {nix + "layer": "true"})
    opaque = client.prepare("places/opaque", store)[0]
    upper = next(o[9:] for o in opaque["options"] if o.startswith("upperdir="))
    os.makedirs(upper + first)
    os.setxattr(upper + first, "trusted.overlay.opaque", b"y")
    client.commit("places/opaque/sha256:" + "e" * 64, "places/opaque")
    check_eq("a directory that was emptied", {first: False}, shown("places/opaque/sha256:" + "e" * 64))
    key = "places/container"
    with mounted(client.prepare(key), directory + "/mnt") as d:
        os.makedirs(d + first)
    client.commit(key + "/c", key)
    check_eq("what a container has made is left as it is", {first: False}, shown(key + "/c"))
    for info in sorted(client.list(), key=lambda i: i["created"], reverse=True):
        if info["name"].startswith("places/"):
            client.remove(info["name"])
    client.cleanup()


if __name__ == "__main__":
    snapshots = Snapshots(sys.argv[1])
    if sys.argv[3] == "suite":
        run_suite(snapshots, sys.argv[2])
    elif sys.argv[3] == "image-ref":
        run_image_ref(snapshots, sys.argv[4], sys.argv[5], sys.argv[6] == "yes")
    elif sys.argv[3] == "layers":
        run_layers(snapshots, sys.argv[4])
    elif sys.argv[3] == "slow":
        run_slow(snapshots, int(sys.argv[4]))
    elif sys.argv[3] == "places":
        run_places(snapshots, sys.argv[2], sys.argv[4:])
    else:
        run_hostile(snapshots, sys.argv[2], sys.argv[4])
    sys.exit(failed)
