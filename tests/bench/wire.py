# SPDX-License-Identifier: Apache-2.0
"""A client that costs little: requests are bytes, answers are read to their end and no further."""

import hashlib
import json
import socket
import threading
import time

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Client:
    def __init__(self, port):
        self.port, self.socket = port, None

    def connect(self):
        self.socket = socket.create_connection(("127.0.0.1", self.port), 60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def request(self, method, target, body=b"", headers=""):
        """Status, headers, body."""
        if not self.socket:
            self.connect()
        head = "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Length: %d\r\n%s\r\n" % (method, target, self.port, len(body), headers)
        self.socket.sendall(head.encode() + body if len(body) < 65536 else head.encode())
        if len(body) >= 65536:
            self.socket.sendall(body)
        data = b""
        while b"\r\n\r\n" not in data:
            piece = self.socket.recv(65536)
            if not piece:
                raise RuntimeError("the connection ended")
            data += piece
        head, _, rest = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        fields = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        length = 0 if method == "HEAD" else int(fields.get("content-length", 0))
        while len(rest) < length:
            rest += self.socket.recv(min(1 << 20, length - len(rest)))
        if fields.get("connection", "").lower() == "close":
            self.socket.close()
            self.socket = None
        return int(lines[0].split()[1]), fields, rest

    def expect(self, statuses, method, target, body=b"", headers=""):
        status, fields, rest = self.request(method, target, body, headers)
        if status not in statuses:
            raise RuntimeError("%s %s: %d %s" % (method, target[:200], status, rest[:300]))
        return fields, rest

    def push_blob(self, repository, data, digest=None):
        digest = digest or "sha256:" + hashlib.sha256(data).hexdigest()
        fields, _ = self.expect((202,), "POST", "/v2/%s/blobs/uploads/" % repository)
        where = fields["location"]
        if where.startswith("http"):
            where = "/" + where.split("/", 3)[3]
        self.expect((201,), "PUT", "%s%sdigest=%s" % (where, "&" if "?" in where else "?", digest), data,
                    "Content-Type: application/octet-stream\r\n")
        return digest

    def push_manifest(self, repository, tag, manifest, media_type=MANIFEST):
        data = manifest if isinstance(manifest, bytes) else json.dumps(manifest, separators=(",", ":")).encode()
        self.expect((201,), "PUT", "/v2/%s/manifests/%s" % (repository, tag), data, "Content-Type: %s\r\n" % media_type)
        return "sha256:" + hashlib.sha256(data).hexdigest()


def image(client, repository, config=b"{}", layers=(), **more):
    """A manifest whose blobs were pushed."""
    def descriptor(media_type, data):
        return {"mediaType": media_type, "digest": client.push_blob(repository, data), "size": len(data)}
    return dict(schemaVersion=2, mediaType=MANIFEST, config=descriptor("application/vnd.oci.image.config.v1+json", config),
                layers=[descriptor("application/vnd.oci.image.layer.v1.tar", data) for data in layers], **more)


def parallel(port, clients, jobs, work):
    """Seconds until all jobs are done by so many clients; work(client, job)."""
    queue, lock, failures = iter(jobs), threading.Lock(), []

    def loop():
        client = Client(port)
        while not failures:
            with lock:
                job = next(queue, None)
            if job is None:
                return
            try:
                work(client, job)
            except (OSError, RuntimeError) as e:
                failures.append(e)
    threads = [threading.Thread(target=loop) for _ in range(clients)]
    start = time.monotonic()
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failures:
        raise failures[0]
    return time.monotonic() - start
