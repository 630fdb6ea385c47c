# SPDX-License-Identifier: Apache-2.0
"""An HTTP server that misbehaves on request, for net.py. What it does is in the path; see Handler."""

import base64
import gzip
import hashlib
import http.server
import json
import os
import socket
import ssl
import subprocess
import threading
import time
import urllib.parse

BIG = b"".join(hashlib.sha256(str(i).encode()).digest() for i in range(100000))  # 3 200 000 bytes


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # one segment an answer

    def log_message(self, *args):
        pass

    def setup(self):
        super().setup()
        self.request.settimeout(20)

    def handle_expect_100(self):
        more = super().handle_expect_100()
        self.wfile.flush()
        return more

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
        self.wfile.flush()

    def refuse(self, body):
        """Answers 413 before the body was read, and then reads it all the same for a moment: closing
        with bytes unread resets the connection, and the answer may be lost with it (RFC 9112 9.6)."""
        self.answer(413, body, [("Connection", "close")])
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(0.5)
        try:
            while self.connection.recv(65536):
                pass
        except OSError:
            pass

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
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        if len(body) < length:
            raise ConnectionError("the client went away")
        return body

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

    def on_demand(self):
        """Somebody else who asks for credentials."""
        self.read_body()
        self.answer(401, b"", [("WWW-Authenticate", 'Bearer realm="%s/token",service="x"' % self.server.url)])

    def on_loop(self):
        self.answer(302, b"", [("Location", "/loop?n=%d" % self.count("loop"))])

    # -- writing

    def on_store(self):
        body = self.read_body()
        self.state.stored = body
        self.answer(201, self.headers.get("Authorization", "none").encode())

    def on_early(self):
        self.refuse(b"too much for me\n")

    def on_cut_put(self):
        """Breaks the first upload off after some of its body."""
        if self.count("cut_put " + self.query["key"]) == 1:
            self.rfile.read(100000)
            self.cut()
        else:
            self.on_store()


MANIFEST = json.dumps({
    "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
    "config": {"mediaType": "application/vnd.oci.empty.v1+json", "size": 2,
               "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},
    "layers": []}).encode()
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Registry(Handler):
    """A registry whose repositories misbehave by their names. `state.auth`: None, "bearer", "basic" or a WWW-Authenticate."""

    def handle_any(self):
        with self.server.lock:
            self.state.log.append((self.command, self.path, dict(self.headers)))
        split = urllib.parse.urlsplit(self.path)
        self.query = urllib.parse.parse_qs(split.query)
        if split.path == "/token":
            return self.on_token()
        if not self.may():
            self.read_body()
            return
        parts = split.path.strip("/").split("/")
        if parts == ["v2"]:
            return self.answer(200, b"{}")
        self.repository, kind, self.ref = parts[1], parts[2], "/".join(parts[3:])
        getattr(self, kind)()

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = handle_any

    def may(self):
        auth, given = self.state.auth, self.headers.get("Authorization", "")
        if auth is None or (auth == "basic" and given == "Basic " + base64.b64encode(b"u:p").decode()):
            return True
        if auth == "bearer":
            name = self.path.split("/")[2] if self.path != "/v2/" else ""
            action = "pull" if self.command in ("GET", "HEAD") else "push"
            if given.startswith("Bearer ") and given[7:] not in self.state.revoked:
                scope = base64.urlsafe_b64decode(given[7:] + "=" * (-len(given) % 4)).decode().split("#")[1]
                if not name or any(s.startswith("repository:%s:" % name) and action in s for s in scope.split(" ")):
                    return True
            auth = 'Bearer realm="%s/token",service="fake",scope="repository:%s:%s"' % (self.server.url, name, action)
        elif auth == "basic":
            auth = 'Basic realm="fake"'
        self.answer(401, b'{"errors":[{"code":"UNAUTHORIZED","message":"log in"}]}', [("WWW-Authenticate", auth)])
        return False

    def on_token(self):
        body = self.read_body().decode()
        if self.command == "POST":
            self.query = urllib.parse.parse_qs(body)
            good = self.query.get("refresh_token") == ["r3fresh"] and self.query.get("grant_type") == ["refresh_token"]
        else:
            given = self.headers.get("Authorization")
            good = given == "Basic " + base64.b64encode(b"u:p").decode() or (given is None and self.state.anonymous)
        if not good:
            return self.answer(401, b"{}")
        text = "%d#%s" % (self.count("token"), " ".join(self.query.get("scope", [])))
        token = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
        self.answer(200, json.dumps(dict({"access_token": token}, **self.state.token_extra)).encode())

    def manifests(self):
        repository, headers = self.repository, [("Content-Type", OCI_MANIFEST)]
        if self.command == "PUT":
            self.state.stored = self.read_body()
            return self.answer(201, b"", [("OCI-Subject", "x")] if repository == "subjects" else [])
        if repository == "huge":
            return self.answer(200, b" " * (9 << 20), headers)
        if repository == "lies":
            return self.answer(200, MANIFEST + b" ", headers + [("Docker-Content-Digest", digest_of(MANIFEST))])
        if repository == "vague":
            return self.answer(200, MANIFEST, [("Content-Type", "application/json; charset=utf-8")])
        if repository == "nonsense":
            return self.answer(200, b"<html>", headers)
        if repository == "errors":
            body = {"errors": [{"code": "NAME_UNKNOWN", "message": "no such \x1b[31mrepository"}]}
            return self.answer(404, json.dumps(body).encode(), [("Content-Type", "application/json")])
        if repository == "norefs":
            return self.answer(404)
        self.answer(200, MANIFEST, headers + [("Docker-Content-Digest", digest_of(MANIFEST))])

    def blobs(self):
        if self.ref.startswith("uploads"):
            return self.uploads()
        data = {"lies": b"other", "short": BIG[:-1], "long": BIG + b"x", "missing": None}.get(self.repository, BIG)
        if data is None:
            return self.answer(404)
        if self.repository == "zipped":
            return self.answer(200, gzip.compress(BIG), [("Content-Encoding", "gzip")])
        if self.repository == "elsewhere":
            return self.answer(307, b"", [("Location", self.state.elsewhere)])
        self.answer(200, data)

    def uploads(self):
        repository, address = self.repository, "/v2/%s/blobs/uploads/id" % self.repository
        if self.command == "POST":
            self.read_body()
            if repository == "nolocation":
                return self.answer(202)
            if "mount" in self.query and repository == "mounts":
                return self.answer(201, b"", [("Location", "/v2/x/blobs/x")])
            where = {"relative": address, "query": self.server.url + address + "?state=a%3Db",
                     "elsewhere": (self.state.elsewhere or "") + "/store?q=1", "bad": "file:///x"}
            return self.answer(202, b"", [("Location", where.get(repository, self.server.url + address))])
        if self.command == "PATCH":
            self.state.patched = self.read_body()
            return self.answer(202, b"", [("Location", address + "?patched=1")])
        if self.command == "DELETE":
            return self.answer(204)
        n = self.count("put " + repository)
        if repository in ("cuts", "refuses") and n == 1:
            self.rfile.read(1000)
            if repository == "cuts":
                return self.cut()
            self.close_connection = True
            return self.answer(503, b"", [("Connection", "close")])
        if repository == "expires" and n == 1:
            self.read_body()
            return self.answer(401, b"", [("WWW-Authenticate", 'Bearer realm="%s/token"' % self.server.url)])
        if repository == "full":
            self.close_connection = True
            return self.refuse(b'{"errors":[{"code":"SIZE_INVALID","message":"too big"}]}')
        body = self.read_body() or self.state.patched
        self.state.stored = body
        if self.query.get("digest") != [digest_of(body)]:
            return self.answer(400, b'{"errors":[{"code":"DIGEST_INVALID","message":"no"}]}')
        self.answer(201)

    def tags(self):
        tags = ["t%03d" % i for i in range(25)]
        first = int(self.query.get("last", ["0"])[0])
        page = json.dumps({"name": self.repository, "tags": tags[first: first + 10]}).encode()
        links = {"pages": "</v2/pages/tags/list?n=10&last=%d>; rel=\"next\"" % (first + 10),
                 "forever": "</v2/forever/tags/list?last=0>; rel=next",
                 "badlink": "<x; rel=next", "elsewhere": "<http://127.0.0.1:1/>; rel=next"}
        if self.repository == "null":
            return self.answer(200, b'{"name":"null","tags":null}')
        if self.repository == "badtag":
            return self.answer(200, b'{"name":"x","tags":["a/b"]}')
        last = self.repository == "pages" and first + 10 >= len(tags)
        link = None if last else links.get(self.repository)
        self.answer(200, page, [("Link", link)] if link else [])

    def referrers(self):
        if self.repository == "norefs":
            return self.answer(404, b"404 page not found\n")
        entry = {"mediaType": OCI_MANIFEST, "digest": digest_of(b"r"), "size": 1, "artifactType": "a/b"}
        other = dict(entry, digest=digest_of(b"s"), artifactType="c/d")
        if self.repository == "notindex":
            return self.answer(200, MANIFEST, [("Content-Type", OCI_MANIFEST)])
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry, other]}
        self.answer(200, json.dumps(index).encode(), [("Content-Type", OCI_INDEX)])


class Cache(Handler):
    """The files of a folder, as a web server serves a cache; PUT writes. The first path component says how: see serve()."""

    def handle_any(self):
        with self.server.lock:
            self.state.log.append((self.command, self.path, dict(self.headers)))
        how, _, name = self.path.strip("/").partition("/")
        name = name.split("?")[0]
        if how == "private" and self.headers.get("Authorization") != "Basic " + base64.b64encode(b"u:p").decode():
            self.read_body()
            return self.answer(401)
        path = os.path.join(self.state.folder, name)
        if self.command == "PUT":
            return self.put(how, path)
        if not os.path.isfile(path):
            return self.answer(403 if how == "s3" else 404)
        with open(path, "rb") as file:
            self.serve(how, name, file.read())

    do_GET = do_HEAD = do_PUT = handle_any

    def serve(self, how, name, data):
        info, headers = name.endswith(".narinfo"), []
        if how == "zipped" and "gzip" in self.headers.get("Accept-Encoding", ""):
            data, headers = gzip.compress(data), [("Content-Encoding", "gzip")]
        if how == "absolute" and info:
            data = data.replace(b"URL: ", b"URL: " + self.server.url.encode() + b"/x/")
        if how == "elsewhere" and info:
            data = data.replace(b"URL: ", b"URL: " + self.state.elsewhere.encode() + b"/private/")
        if how == "query" and info:
            data = data.replace(b".nar", b".nar?a=b", 1)
        if how == "file" and info:
            data = data.replace(b"URL: ", b"URL: file:///")
        if how == "slow" and info:
            time.sleep(0.05)
        self.answer(200, data, headers)

    def put(self, how, path):
        n = self.count("put " + path)
        if how == "readonly":
            self.read_body()
            return self.answer(405)
        if how == "flaky" and n == 1:
            self.rfile.read(100)
            return self.cut()
        body = self.read_body()
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(body)
        self.answer(200)


class State:
    def __init__(self):
        self.counts = {}
        self.log = []
        self.stored = self.patched = self.elsewhere = self.auth = None
        self.revoked, self.anonymous, self.token_extra = set(), True, {"expires_in": 300}


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
