# SPDX-License-Identifier: Apache-2.0
"""An HTTP server that misbehaves on request, for net.py. What it does is in the path; see Handler."""

import gzip
import hashlib
import http.server
import ssl
import subprocess
import threading
import time
import urllib.parse

BIG = b"".join(hashlib.sha256(str(i).encode()).digest() for i in range(100000))  # 3 200 000 bytes


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def setup(self):
        super().setup()
        self.request.settimeout(20)

    @property
    def state(self):
        return self.server.state

    def count(self, key):
        with self.server.lock:
            self.state.counts[key] = self.state.counts.get(key, 0) + 1
            return self.state.counts[key]

    def answer(self, status, body=b"", headers=(), length=None):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def cut(self):
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(2)

    def range_start(self):
        value = self.headers.get("Range")
        return int(value.split("=")[1].rstrip("-")) if value else None

    def handle_any(self):
        split = urllib.parse.urlsplit(self.path)
        self.query = dict(urllib.parse.parse_qsl(split.query))
        name = split.path.strip("/").split("/")[0].replace("-", "_")
        with self.server.lock:
            self.state.log.append((self.command, self.path, dict(self.headers)))
        getattr(self, "on_" + name, self.on_missing)()

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = handle_any

    def read_body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while True:
                size = int(self.rfile.readline().strip(), 16)
                chunk = self.rfile.read(size)
                self.rfile.readline()
                if not size:
                    return body
                body += chunk
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    # -- reading

    def on_missing(self):
        self.answer(404, b"there is nothing here\n", [("Content-Type", "text/plain")])

    def on_ok(self):
        self.answer(200, b"hello")

    def on_echo_auth(self):
        self.answer(200, self.headers.get("Authorization", "none").encode())

    def on_echo_agent(self):
        self.answer(200, self.headers.get("User-Agent", "none").encode())

    def on_big(self):
        self.answer(200, BIG)

    def on_cut(self):
        """Sends `step` bytes a request and breaks off, until the end is reached. Ranges as `how` says."""
        how = self.query.get("how", "good")
        start, step = self.range_start(), int(self.query.get("step", 1000000))
        ranges = [] if how == "none" else [("Accept-Ranges", "bytes"), ("ETag", '"v1"')]
        if start is None or how == "ignore":
            self.answer(200, BIG[:step], ranges, len(BIG))
        elif how == "gone":
            self.answer(404)
            return
        else:
            first = start + 1 if how == "shifted" else start
            last = len(BIG) - 1
            body = BIG[start:]
            if how == "short":
                last -= 10
                body = body[:-10]
            headers = ranges + [("Content-Range", "bytes %d-%d/%d" % (first, last, len(BIG)))]
            self.answer(206, body[:step], headers, len(body))
            if len(body) <= step:
                return
        self.cut()

    def on_cut_encoded(self):
        """The first answer is gzip and breaks off; ranges get identity bytes."""
        start = self.range_start()
        if start is not None:
            body = BIG[start:]
            headers = [("Content-Range", "bytes %d-%d/%d" % (start, len(BIG) - 1, len(BIG)))]
            self.answer(206, body, headers)
            return
        packed = gzip.compress(BIG)
        headers = [("Content-Encoding", "gzip"), ("Accept-Ranges", "bytes"), ("ETag", '"gz"')]
        self.answer(200, packed[: len(packed) // 2], headers, len(packed))
        self.cut()

    def on_busy(self):
        """`status` for the first `times` requests of `key`, then 200."""
        n = self.count("busy " + self.query["key"])
        self.read_body()
        if n <= int(self.query["times"]):
            after = self.query.get("after")
            self.answer(int(self.query.get("status", 503)), b"busy", [("Retry-After", after)] if after else [])
        else:
            self.answer(200, str(n).encode())

    def on_drop(self):
        """Closes the connection without an answer for the first `times` requests."""
        n = self.count("drop " + self.query["key"])
        if n <= int(self.query["times"]):
            self.cut()
        else:
            self.read_body()
            self.answer(200, str(n).encode())

    def on_headers(self):
        self.answer(200, b"x", [("X-%d" % i, "y" * 1000) for i in range(int(self.query["n"]))])

    def on_endless(self):
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        try:
            while True:
                self.wfile.write(b"\0" * 65536)
        except OSError:
            pass

    def on_stall(self):
        self.answer(200, b"begin", length=100)
        time.sleep(15)
        self.close_connection = True

    def on_encoded(self):
        """`as`: the encoding; whatever was asked for."""
        how, data = self.query["as"], BIG
        if "zeros" in self.query:
            data = bytes(int(self.query["zeros"]))
        if how == "asked":
            how = "zstd" if "zstd" in self.headers.get("Accept-Encoding", "") else "identity"
        packed = data
        if how in ("gzip", "x-gzip"):
            packed = gzip.compress(data)
        elif how == "zstd":
            packed = subprocess.run(["zstd", "-q"], input=data, capture_output=True, check=True).stdout
        if "short" in self.query:
            packed = packed[:-100]
        self.answer(200, packed, [] if how == "identity" else [("Content-Encoding", how)])

    def on_redirect(self):
        self.read_body()
        self.answer(int(self.query.get("status", 302)), b"elsewhere", [("Location", self.query["to"])])

    def on_loop(self):
        self.answer(302, b"", [("Location", "/loop?n=%d" % self.count("loop"))])

    # -- writing

    def on_store(self):
        body = self.read_body()
        self.state.stored = body
        self.answer(201, self.headers.get("Authorization", "none").encode())

    def on_early(self):
        self.answer(413, b"too much for me\n", [("Connection", "close")])
        self.close_connection = True

    def on_cut_put(self):
        """Breaks the first upload off after some of its body."""
        if self.count("cut_put " + self.query["key"]) == 1:
            self.rfile.read(100000)
            self.cut()
        else:
            self.on_store()


class State:
    def __init__(self):
        self.counts = {}
        self.log = []
        self.stored = None


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, certificate=None, handler=Handler):
        super().__init__(("127.0.0.1", 0), handler)
        self.lock = threading.Lock()
        self.state = State()
        self.scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)
            self.scheme = "https"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        pass

    @property
    def url(self):
        return "%s://127.0.0.1:%d" % (self.scheme, self.server_address[1])

    def requests(self, prefix):
        return [entry for entry in self.state.log if entry[1].startswith(prefix)]
