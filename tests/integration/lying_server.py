# SPDX-License-Identifier: Apache-2.0
"""A Nix cache and registry for tests, over what they put into it, that lies about the files that they name."""

import contextlib
import hashlib
import json
import lzma
import os
import random
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../reference"))
import nar as narlib  # noqa: E402

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Upstream:
    """A cache and a registry; `lies` says of which file it answers how."""

    def __init__(self):
        self.files, self.lies, self.port = {}, {}, 0
        self.start()

    def start(self):
        self.listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, args=(self.listener,), daemon=True).start()

    def stop(self):
        # The accept() of another thread ends.
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def add_path(self, path):
        self.files["/%s.narinfo" % path.part] = ("text/x-nix-narinfo", path.info.encode())
        self.files["/" + path.url] = ("application/x-nix-nar", path.packed)

    def add_image(self, layer):
        config = b"{}"
        body = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST,
                           "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest(config), "size": 2},
                           "layers": [{"mediaType": "x/y", "digest": digest(layer), "size": len(layer)}]}).encode()
        for data in (config, layer):
            self.files["/v2/app/blobs/" + digest(data)] = ("application/octet-stream", data)
        for name in ("t" + digest(body)[7:15], digest(body)):
            self.files["/v2/app/manifests/" + name] = (MANIFEST, body)
        return "t" + digest(body)[7:15], body

    def serve(self, listener):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self.talk, args=(listener.accept()[0],), daemon=True).start()

    def talk(self, s):
        data = b""
        with contextlib.suppress(OSError), s:
            while True:
                while b"\r\n\r\n" not in data:
                    more = s.recv(65536)
                    if not more:
                        return
                    data += more
                head, data = data.split(b"\r\n\r\n", 1)
                method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
                if not self.answer(s, method, target.split("?")[0]):
                    return

    @staticmethod
    def send(s, status, headers, body, length=None):
        lines = ["HTTP/1.1 %s" % status] + ["%s: %s" % h for h in headers]
        if length != "close":
            lines.append("Content-Length: %d" % (len(body) if length is None else length))
        s.sendall(("\r\n".join(lines) + "\r\n\r\n").encode() + body)

    def answer(self, s, method, target):
        """False: the connection ends."""
        if target == "/nix-cache-info":
            self.send(s, "200 OK", [], b"StoreDir: /nix/store\n")
            return True
        content_type, body = self.files.get(target, ("", None))
        if target == "/v2/":
            self.send(s, "200 OK", [], b"{}")
        elif body is None:
            self.send(s, "404 Not Found", [], b"")
        elif method == "HEAD":
            headers = [("Content-Type", content_type)] + ([("Docker-Content-Digest", digest(body))] if "/manifests/" in target else [])
            self.send(s, "200 OK", headers, b"", len(body))
        elif target in self.lies:
            return getattr(self, self.lies[target])(s, [("Content-Type", content_type)], body, target)
        else:
            self.send(s, "200 OK", [("Content-Type", content_type)], body)
        return True

    # ---- how; True: the connection goes on

    def failing(self, s, headers, body, target):
        self.send(s, "500 Internal Server Error", [], b"sorry")
        return True

    def circle(self, s, headers, body, target):
        self.send(s, "302 Found", [("Location", target + "?again")], b"")
        return True

    def astray(self, s, headers, body, target):
        self.send(s, "302 Found", [("Location", "file:///etc/passwd")], b"")
        return True

    def garbled(self, s, headers, body, target):
        self.send(s, "200 OK", headers + [("Content-Encoding", "gzip")], b"\x1f\x8b\x08\0" + random.Random(1).randbytes(5000))
        return True

    def noise(self, s, headers, body, target):
        self.send(s, "200 OK", headers, random.Random(1).randbytes(len(body)))
        return True

    def stalling(self, s, headers, body, target):
        self.send(s, "200 OK", headers, body[:len(body) // 2], len(body))
        time.sleep(20)
        return False

    def silent(self, s, headers, body, target):
        time.sleep(20)
        return False

    def reset(self, s, headers, body, target):
        self.send(s, "200 OK", headers, body[:len(body) // 2], len(body))
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False

    def cut(self, s, headers, body, target):
        self.send(s, "200 OK", headers, body[:len(body) // 2], len(body))
        return False

    def short(self, s, headers, body, target):
        self.send(s, "200 OK", headers, body[:len(body) // 2])
        return True

    def longer(self, s, headers, body, target):
        self.send(s, "200 OK", headers, body + b"more" * 1000)
        return True

    def endless(self, s, headers, body, target):
        self.send(s, "200 OK", headers, body, "close")
        while True:
            s.sendall(bytes(65536))

    def flipped(self, s, headers, body, target):
        self.send(s, "200 OK", headers, body[:-1] + bytes([body[-1] ^ 1]))
        return True

    def bomb(self, s, headers, body, target):
        self.send(s, "200 OK", headers, lzma.compress(bytes(64 << 20), preset=0))
        return True

    def other(self, s, headers, body, target):
        self.send(s, "200 OK", headers, lzma.compress(narlib.write(narlib.File(random.Random(2).randbytes(100000))), preset=0))
        return True

    def another_path(self, s, headers, body, target):
        self.send(s, "200 OK", headers, body.replace(b"/nix/store/", b"/nix/store/" + b"0" * 32 + b"-"))
        return True

    def another_size(self, s, headers, body, target):
        self.send(s, "200 OK", headers, body.replace(b"NarSize: ", b"NarSize: 1"))
        return True

    def another_hash(self, s, headers, body, target):
        self.send(s, "200 OK", headers, body.replace(b"NarHash: sha256:", b"NarHash: sha256:0")[:-1])
        return True

    def not_http(self, s, headers, body, target):
        s.sendall(b"SSH-2.0-OpenSSH_9.2\r\n" * 3)
        return False
