#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A client for containerd's CRI and for snapshotters, by the numbers on the wire.

    grpc_client.py SOCKET pull REFERENCE          through the CRI
    grpc_client.py SOCKET run REFERENCE WORD…     a pod with one container through the CRI; prints what it wrote
    grpc_client.py SOCKET list                    the snapshots of a snapshotter
"""

import os
import sys
import tempfile
import time

import grpc

SNAPSHOTS = "/containerd.services.snapshots.v1.Snapshots/"


def varint(n):
    out = bytearray()
    n &= (1 << 64) - 1
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def field(number, value):
    """One field: text, bytes (a message), an int, or a dict (a map of texts)."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, dict):
        return b"".join(field(number, field(1, k) + field(2, v)) for k, v in value.items())
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def read_varint(data, at):
    n = shift = 0
    while True:
        n |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            return n, at


def fields(data):
    """{number: [value, …]}; texts and messages as bytes."""
    out, at = {}, 0
    while at < len(data):
        tag, at = read_varint(data, at)
        if tag & 7 == 0:
            value, at = read_varint(data, at)
        else:
            size, at = read_varint(data, at)
            value, at = data[at : at + size], at + size
        out.setdefault(tag >> 3, []).append(value)
    return out


class Error(Exception):
    def __init__(self, error):
        super().__init__(f"{error.code().name}: {error.details()}")
        self.code = error.code().name


class Client:
    def __init__(self, socket):
        options = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)]
        self.channel = grpc.insecure_channel("unix://" + socket, options=options)

    timeout = 600

    def call(self, method, request):
        try:
            return fields(self.channel.unary_unary(method)(request, timeout=self.timeout, wait_for_ready=True))
        except grpc.RpcError as error:
            raise Error(error) from None

    def pull(self, reference):
        return self.call("/runtime.v1.ImageService/PullImage", field(1, field(1, reference)))[1][0].decode()


class Cri(Client):
    """What a kubelet does for a pod in the host's network: cri-api v1, by number."""

    def ask(self, method, *parts):
        return self.call("/runtime.v1.RuntimeService/" + method, b"".join(parts))

    def run(self, reference, words, seconds=60):
        with tempfile.TemporaryDirectory() as logs:
            name = f"test-{os.getpid()}-{time.monotonic_ns()}"
            options = field(1, 2)  # the host's network
            linux = field(1, "/" + name) + field(2, field(1, options))
            pod = field(1, field(1, name) + field(2, name) + field(3, "default")) + field(3, logs) + field(8, linux)
            sandbox = self.ask("RunPodSandbox", field(1, pod))[1][0].decode()
            try:
                config = field(1, field(1, "main")) + field(2, field(1, reference)) + b"".join(field(3, w) for w in words) + field(11, "log")
                container = self.ask("CreateContainer", field(1, sandbox), field(2, config), field(3, pod))[1][0].decode()
                self.ask("StartContainer", field(1, container))
                end = time.monotonic() + seconds
                while self.state(container) != 2 and time.monotonic() < end:
                    time.sleep(0.02)
                with open(logs + "/log", encoding="utf-8") as file:
                    return "".join(line.split(" ", 3)[3] for line in file)
            finally:
                self.ask("StopPodSandbox", field(1, sandbox))
                self.ask("RemovePodSandbox", field(1, sandbox))

    def state(self, container):
        return fields(self.ask("ContainerStatus", field(1, container))[1][0]).get(3, [0])[0]


class Snapshots(Client):
    """Names and arguments as containerd has them."""

    def info(self, data):
        f = fields(data)
        labels = {}
        for pair in f.get(6, []):
            p = fields(pair)
            labels[p.get(1, [b""])[0].decode()] = p.get(2, [b""])[0].decode()
        text = lambda n: f.get(n, [b""])[0].decode()
        time = lambda n: tuple(fields(f[n][0]).get(i, [0])[0] for i in (1, 2))
        kind = ["unknown", "view", "active", "committed"][f.get(3, [0])[0]]
        return {"name": text(1), "parent": text(2), "kind": kind, "labels": labels, "created": time(4), "updated": time(5)}

    def mounts_of(self, reply):
        out = []
        for mount in reply.get(1, []):
            f = fields(mount)
            text = lambda n: f.get(n, [b""])[0].decode()
            out.append({"type": text(1), "source": text(2), "target": text(3), "options": [o.decode() for o in f.get(4, [])]})
        return out

    def prepare(self, key, parent="", labels=None, method="Prepare"):
        request = field(1, "nacre") + field(2, key) + field(3, parent) + field(4, labels or {})
        return self.mounts_of(self.call(SNAPSHOTS + method, request))

    def start_prepare(self, key, parent, labels):
        """A future."""
        request = field(1, "nacre") + field(2, key) + field(3, parent) + field(4, labels)
        return self.channel.unary_unary(SNAPSHOTS + "Prepare").future(request, timeout=self.timeout)

    def view(self, key, parent="", labels=None):
        return self.prepare(key, parent, labels, "View")

    def by_key(self, method, key):
        return self.call(SNAPSHOTS + method, field(1, "nacre") + field(2, key))

    def mounts(self, key):
        return self.mounts_of(self.by_key("Mounts", key))

    def commit(self, name, key, labels=None, parent=""):
        request = field(1, "nacre") + field(2, name) + field(3, key) + field(4, labels or {}) + field(5, parent)
        self.call(SNAPSHOTS + "Commit", request)

    def remove(self, key):
        self.by_key("Remove", key)

    def stat(self, key):
        return self.info(self.by_key("Stat", key)[1][0])

    def update(self, key, labels, *paths):
        request = field(1, "nacre") + field(2, field(1, key) + field(6, labels))
        if paths:
            request += field(3, b"".join(field(1, p) for p in paths))
        return self.info(self.call(SNAPSHOTS + "Update", request)[1][0])

    def usage(self, key):
        f = self.by_key("Usage", key)
        return f.get(1, [0])[0], f.get(2, [0])[0]

    def cleanup(self):
        self.call(SNAPSHOTS + "Cleanup", field(1, "nacre"))

    def list_replies(self, *filters):
        request = field(1, "nacre") + b"".join(field(2, f) for f in filters)
        try:
            return list(self.channel.unary_stream(SNAPSHOTS + "List")(request, timeout=60))
        except grpc.RpcError as error:
            raise Error(error) from None

    def list(self, *filters):
        return [self.info(i) for reply in self.list_replies(*filters) for i in fields(reply).get(1, [])]


if __name__ == "__main__":
    try:
        if sys.argv[2] == "pull":
            print(Client(sys.argv[1]).pull(sys.argv[3]))
        elif sys.argv[2] == "run":
            print(Cri(sys.argv[1]).run(sys.argv[3], sys.argv[4:]), end="")
        else:
            print(*(i["name"] for i in Snapshots(sys.argv[1]).list()), sep="\n")
    except Error as error:
        sys.exit(str(error))
