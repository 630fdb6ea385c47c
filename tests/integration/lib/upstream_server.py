# SPDX-License-Identifier: Apache-2.0
"""A static HTTP server over a directory that counts and, told so, lies.

    upstream_server.py PORT DIR LOG MODE

Each request is a line "METHOD PATH" in LOG. The file MODE says how to answer:
  ok           as it is
  corrupt      NARs with a wrong byte in the middle
  short        NARs that end too early, cleanly
  cut          NARs that break off
  endless      NARs that go on after their end
  huge         narinfos of 64 MiB
  other        narinfos of another path
  bad-size     narinfos with another NarSize
  unsigned     narinfos without signatures
  drip         one byte a second
  fail         500
  half         the first half of a NAR, and the rest when MODE says something else
"""
import http.server
import os
import socketserver
import sys
import threading
import time

PORT, DIR, LOG, MODE = int(sys.argv[1]), *sys.argv[2:5]
LOCK = threading.Lock()
PIECE, HUGE = b"x" * 65536, 64 << 20


def mode():
    with open(MODE, encoding="ascii") as file:
        return file.read().strip()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def narinfo(self, how, data):
        if how == "other":
            return data.replace(b"StorePath: /nix/store/", b"StorePath: /nix/store/00000000000000000000000000000000-", 1)
        if how == "bad-size":
            return b"".join(b"NarSize: 4096\n" if line.startswith(b"NarSize:") else line for line in data.splitlines(True))
        if how == "unsigned":
            return b"".join(line for line in data.splitlines(True) if not line.startswith(b"Sig:"))
        return data

    def send_huge(self, data):
        """Piece by piece: making all of it first would take a slow machine as long as a client waits."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(data) + 5 + HUGE + 1))
        self.end_headers()
        self.wfile.write(data + b"Foo: ")
        for _ in range(HUGE // len(PIECE)):
            self.wfile.write(PIECE)
        self.wfile.write(b"\n")

    def send_nar(self, how, data):
        middle = len(data) // 2
        if how == "corrupt":
            data = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1:]
        self.send_response(200)
        if how in ("short", "endless"):
            self.send_header("Connection", "close")
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if how == "short":
            self.wfile.write(data[:middle])
        elif how == "cut":
            self.wfile.write(data[:middle])
            self.close_connection = True
        elif how == "endless":
            self.wfile.write(data)
            while True:
                self.wfile.write(bytes(65536))
        elif how == "half":
            self.wfile.write(data[:middle])
            self.wfile.flush()
            while mode() == "half":
                time.sleep(0.02)
            self.wfile.write(data[middle:])
        elif how == "drip":
            for byte in data:
                self.wfile.write(bytes([byte]))
                time.sleep(1)
        else:
            self.wfile.write(data)

    def answer(self):
        path = self.path.split("?")[0]
        with LOCK, open(LOG, "a", encoding="ascii") as file:
            file.write(f"{self.command} {path}\n")
        how = mode()
        name = os.path.join(DIR, path.lstrip("/"))
        if how == "fail":
            self.send_response(500)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if ".." in path or not os.path.isfile(name):
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        with open(name, "rb") as file:
            data = file.read()
        if path.startswith("/nar/") and self.command == "GET":
            self.send_nar(how, data)
            return
        if path.endswith(".narinfo") and how == "huge" and self.command == "GET":
            self.send_huge(data)
            return
        if path.endswith(".narinfo"):
            data = self.narinfo(how, data)
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    do_GET = do_HEAD = answer


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request, client_address):
        pass


Server(("127.0.0.1", PORT), Handler).serve_forever()
