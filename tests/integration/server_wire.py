# SPDX-License-Identifier: Apache-2.0
"""What the tests of the server share: results, starting a server, and HTTP spoken byte by byte, so that a test sees what
really goes over the wire."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse

SRC = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NACRE = os.environ.get("NACRE", os.path.join(SRC, "build/release/src/cli/nacre"))
T = tempfile.mkdtemp(prefix="nacre-server.", dir=os.environ.get("NACRE_TEST_TMP", "/var/tmp"))
failed = 0


def until(seconds, condition):
    """Waits for the condition; was it there in time?"""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def check(name, condition, detail=""):
    global failed
    if condition:
        print("ok - " + name)
    else:
        failed += 1
        print("not ok - " + name)
        for line in str(detail).splitlines()[:20]:
            print("#   " + line[:300])
    sys.stdout.flush()
    return bool(condition)


def check_eq(name, want, got):
    return check(name, want == got, "want: %r\ngot:  %r" % (want, got))


def skip(name, reason):
    print("skip - %s # %s" % (name, reason))


class Server:
    """A server process. `url`, `port`; what it said in `log()`."""

    def __init__(self, *command):
        self.log_path = os.path.join(T, "server-%d.log" % time.monotonic_ns())
        env = dict(os.environ, UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1")
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=env)
        self.url = self.process.stdout.readline().decode().strip()
        if not self.url:
            sys.exit("not ok - %s does not start\n%s" % (command[0], self.log()))
        self.port = None if self.url.startswith("unix:") else urllib.parse.urlsplit(self.url).port

    def log(self):
        with open(self.log_path, errors="replace") as log:
            return log.read()

    def connect(self, timeout=20):
        return Wire(self.port, timeout)

    def request(self, method, target, headers=(), body=b""):
        wire = self.connect()
        try:
            return wire.request(method, target, headers, body)
        finally:
            wire.close()

    def memory_kib(self):
        with open("/proc/%d/status" % self.process.pid) as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1))

    def stop(self, signal_number=signal.SIGTERM):
        """Ends the server; returns its exit status (a sanitizer's finding is not 0)."""
        self.process.send_signal(signal_number)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return "killed"

    def check_clean_end(self):
        status = self.stop()
        log = self.log()
        check("the server ends cleanly", status == 0 and "Sanitizer" not in log and "runtime error" not in log,
              "status %s\n%s" % (status, log[-3000:]))


class Response:
    def __init__(self, version, status, headers, body):
        self.version, self.status, self.headers, self.body = version, status, headers, body

    def all(self, name):
        return [v for k, v in self.headers if k.lower() == name.lower()]

    def __getitem__(self, name):
        values = self.all(name)
        return values[0] if values else None

    def __str__(self):
        head = "\n".join("%s: %s" % h for h in self.headers)
        return "%s %d\n%s\n\n%r" % (self.version, self.status, head, self.body[:300])


def build_request(method, target, headers=(), body=b"", version="HTTP/1.1"):
    if isinstance(headers, dict):
        headers = list(headers.items())
    headers = list(headers)
    names = {k.lower() for k, _ in headers}
    if "host" not in names:
        headers.insert(0, ("Host", "localhost"))
    if (body or method in ("PUT", "POST", "PATCH")) and not names & {"content-length", "transfer-encoding"}:
        headers.append(("Content-Length", str(len(body))))
    head = "%s %s %s\r\n" % (method, target, version) + "".join("%s: %s\r\n" % h for h in headers) + "\r\n"
    return head.encode("latin-1") + body


class Wire:
    """One connection."""

    def __init__(self, port, timeout=20, address="127.0.0.1", source=None):
        if address.startswith("unix:"):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(timeout)
            self.socket.connect(address[5:])
        else:
            self.socket = socket.create_connection((address, port), timeout, (source, 0) if source else None)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data = b""

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def more(self):
        got = self.socket.recv(1 << 18)
        self.data += got
        return bool(got)

    def take(self, n):
        while len(self.data) < n:
            if not self.more():
                raise EOFError("the connection ended after %d of %d bytes" % (len(self.data), n))
        got, self.data = self.data[:n], self.data[n:]
        return got

    def take_line(self):
        while b"\r\n" not in self.data:
            if not self.more():
                raise EOFError("the connection ended: %r" % self.data[:100])
        line, self.data = self.data.split(b"\r\n", 1)
        return line.decode("latin-1")

    def ended(self):
        """Does the server end the connection now?"""
        try:
            return not self.data and not self.more()
        except ConnectionError:
            return True
        except socket.timeout:
            return False

    def read_chunked(self):
        pieces = []
        while True:
            size = int(self.take_line().split(";")[0], 16)
            pieces.append(self.take(size))
            if not size:
                while self.take_line():
                    pass
                return b"".join(pieces)
            self.take_line()

    def read_body(self, method, status, headers):
        fields = {k.lower(): v for k, v in headers}
        if method == "HEAD" or status in (204, 304) or status < 200:
            return b""
        if fields.get("transfer-encoding", "").lower() == "chunked":
            return self.read_chunked()
        if "content-length" in fields:
            return self.take(int(fields["content-length"]))
        while self.more():
            pass
        body, self.data = self.data, b""
        return body

    def response(self, method="GET"):
        version, status, _ = (self.take_line() + "  ").split(" ", 2)
        headers = []
        while True:
            line = self.take_line()
            if not line:
                break
            name, _, value = line.partition(":")
            headers.append((name, value.strip()))
        return Response(version, int(status), headers, self.read_body(method, int(status), headers))

    def request(self, method, target, headers=(), body=b"", version="HTTP/1.1"):
        self.send(build_request(method, target, headers, body, version))
        return self.response(method)


def chunked(*pieces):
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


def finish():
    shutil.rmtree(T, ignore_errors=True)
    sys.exit(1 if failed else 0)
