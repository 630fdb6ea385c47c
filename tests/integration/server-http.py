#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The server as an HTTP server, and what it does when its store fails or its clients misbehave. Drives fake-server (a
store in memory that fails on demand: server-fake.c). Prints `ok - …`, `not ok - …`, `skip - … # reason`.

    server-http.py [FAKE_SERVER]     default: $FAKE_SERVER, else what is built beside $NACRE
"""

import hashlib
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import server_wire as w  # noqa: E402
from server_wire import check, check_eq, chunked  # noqa: E402

BESIDE = os.path.join(os.path.dirname(w.NACRE), "../../tests/integration/fake-server")
FAKE = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("FAKE_SERVER", BESIDE)


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def push(server, repository, data):
    return server.request("POST", "/v2/%s/blobs/uploads/?digest=%s" % (repository, digest(data)), (), data)


def test_connections(server):
    wire = server.connect()
    for i in range(3):
        r = wire.request("GET", "/v2/")
    check("HTTP/1.1: a connection serves many requests", r.status == 200 and r["Connection"] is None, r)
    r = wire.request("GET", "/v2/", {"Connection": "close"})
    check("Connection: close ends it", r.status == 200 and wire.ended(), r)

    wire = server.connect()
    r = wire.request("GET", "/v2/", {"Connection": "keep-alive"}, version="HTTP/1.0")
    again = wire.request("GET", "/v2/", {"Connection": "keep-alive"}, version="HTTP/1.0")
    check("HTTP/1.0 with keep-alive", r.status == again.status == 200 and "keep-alive" in (r["Connection"] or "").lower(), r)
    r = wire.request("GET", "/v2/", version="HTTP/1.0")
    check("HTTP/1.0 without keep-alive ends the connection", r.status == 200 and wire.ended(), r)

    wire = server.connect()
    wire.send(b"".join(w.build_request(m, t) for m, t in [("GET", "/v2/"), ("HEAD", "/"), ("GET", "/no"), ("GET", "/healthz")]))
    got = [wire.response(m).status for m in ("GET", "HEAD", "GET", "GET")]
    check_eq("pipelined requests are answered in order", [200, 200, 404, 200], got)

    wire = server.connect()
    body = b'{"a":1}'
    for i in range(3):
        r = wire.request("PUT", "/v2/keep/manifests/t", {"Content-Type": "application/x"}, body)
    check("a PUT keeps the connection", r.status == 201 and wire.request("GET", "/v2/").status == 200, r)
    for i in range(2):
        r = wire.request("PUT", "/nar/x", (), b"x" * 100000)
    check("so does one that was refused", r.status == 400 and wire.request("GET", "/v2/").status == 200, r)


def test_expect(server):
    """SPEC nix-cache 1.2: 100 at once, or the final 4xx before the body."""
    wire = server.connect()
    body = b"x" * 300000
    headers = {"Expect": "100-continue", "Content-Length": str(len(body))}
    started = time.monotonic()
    wire.send(w.build_request("PUT", "/nar/%s.nar" % ("0" * 52), headers))
    r = wire.response()
    took = time.monotonic() - started
    check("Expect: 100-continue is answered at once", r.status == 100 and took < 0.5, "%s after %.1f s" % (r.status, took))
    wire.send(body)
    check_eq("and the body taken", 201, wire.response().status)
    check_eq("and the connection kept", 200, wire.request("GET", "/v2/").status)

    wire = server.connect()
    wire.send(w.build_request("PUT", "/nar/bad-name", headers))
    r = wire.response()
    check("a PUT that will be refused hears so before its body", r.status == 400 and wire.ended(), r)
    wire = server.connect()
    wire.send(w.build_request("PUT", "/v2/a/blobs/uploads/nowhere?digest=" + digest(b""), headers))
    check_eq("as in the registry", 404, wire.response().status)


def test_early_refusal(server):
    """A refusal must be heard, whatever the client still sends."""
    for name, target in (("at its head", "/nar/bad-name"), ("in its middle", "/nar/refuse.nar")):
        wire = server.connect()
        body = b"\xbd" * (64 << 20)
        r = wire.request("PUT", target, (), body)
        check("a PUT of 64 MiB that is refused %s gets its 400" % name, r.status == 400 and r.body, r)
        check_eq("and the connection goes on", 200, wire.request("GET", "/v2/").status)


def test_chunked(server):
    wire = server.connect()
    data = os.urandom(200000)
    pieces = [data[:1], data[1:5], data[5:100000], data[100000:]]
    target = "/v2/chunked/blobs/uploads/?digest=" + digest(data)
    r = wire.request("POST", target, {"Transfer-Encoding": "chunked"}, chunked(*pieces))
    check("a chunked body", r.status == 201, r)
    check_eq("arrives whole", data, wire.request("GET", r["Location"]).body)
    wire.send(w.build_request("POST", target, {"Transfer-Encoding": "chunked"}) + b"zz\r\n")
    check_eq("a malformed chunk is 400", 400, wire.response().status)
    r = server.request("POST", target, {"Transfer-Encoding": "gzip, chunked"}, chunked(data))
    check("another transfer coding is 400", r.status == 400 and r["Connection"] == "close", r)


def test_framing(server):
    """SPEC rfc-9112 6.3"""
    bad = [
        ("Content-Length and Transfer-Encoding", [("Content-Length", "5"), ("Transfer-Encoding", "chunked")]),
        ("two Content-Lengths", [("Content-Length", "5"), ("Content-Length", "6")]),
        ("a negative Content-Length", [("Content-Length", "-5")]),
        ("a Content-Length of no number", [("Content-Length", "5x")]),
        ("a Content-Length past 64 bits", [("Content-Length", "99999999999999999999")]),
        ("Transfer-Encoding: identity", [("Transfer-Encoding", "identity")]),
    ]
    for name, headers in bad:
        wire = server.connect()
        wire.send(w.build_request("PUT", "/v2/a/manifests/t", headers) + b"0\r\n\r\nGET /v2/ HTTP/1.1\r\n\r\n")
        status = wire.take_line()
        while wire.more():
            pass
        check(name + " is refused, and ends the connection", status[9:12] in ("400", "413") and b" 200 OK" not in wire.data,
              status)


def test_lines(server):
    """SPEC rfc-9112 2.2, 5.1: what a proxy and we may read differently is refused."""
    tail = b"GET /v2/second HTTP/1.1\r\nHost: b\r\n\r\n"
    bad = [
        ("a line without a name", b"GET /v2/ HTTP/1.1\r\nHost: a\r\n:\r\n" + tail),
        ("a line without a name behind an empty value", b"GET /v2/ HTTP/1.1\r\nHost: a\r\nX:\r\n:\r\n" + tail),
        ("a line without a name, with a value", b"GET /v2/ HTTP/1.1\r\nHost: a\r\n: v\r\n" + tail),
        ("a line feed alone behind the request line", b"GET /v2/ HTTP/1.1\nHost: a\r\n\r\n" + tail),
        ("a line feed alone behind a header", b"GET /v2/ HTTP/1.1\r\nHost: a\nX: y\r\n\r\n" + tail),
        ("a line feed alone behind the head", b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\n" + tail),
        ("line feeds alone", b"GET /v2/ HTTP/1.1\nHost: a\n\n" + tail),
        ("a folded line", b"GET /v2/ HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n" + tail),
        ("a zero in a value", b"GET /v2/ HTTP/1.1\r\nHost: a\r\nX: y\0z\r\n\r\n" + tail),
    ]
    for name, head in bad:
        wire = server.connect()
        wire.send(head)
        try:
            while wire.more():
                pass
        except OSError:
            pass
        check(name + " is refused, and ends the connection", wire.data[9:12] == b"400" and wire.data.count(b"HTTP/1.1 ") == 1, wire.data)
        wire.close()
    good = [
        ("an empty value at the end", b"GET /v2/ HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n"),
        ("an empty value with blanks at the end", b"GET /v2/ HTTP/1.1\r\nHost: a\r\nX:  \r\n\r\n"),
        ("no blank behind the colon", b"GET /v2/?a=b&c=d%20e HTTP/1.1\r\nHost:a\r\nX:y\r\nCookie: a=b; c=d\r\n\r\n"),
        ("blanks around a value", b"GET /v2/ HTTP/1.1\r\nHost: \t a \t \r\nX:  y  \r\n\r\n"),
        ("an empty line before the request", b"\r\nGET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("no header at all", b"GET /v2/ HTTP/1.0\r\n\r\n"),
    ]
    for name, head in good:
        wire = server.connect()
        wire.send(head)
        check_eq(name + " is taken", 200, wire.response().status)
        wire.close()
    wire = server.connect()
    wire.send(good[0][1] * 5)
    check_eq("requests behind each other are taken", [200] * 5, [wire.response().status for _ in range(5)])
    wire.close()


def test_targets(server):
    cases = [
        ("/v2/%61/manifests/t", 404),
        ("/v2/a%00b/manifests/t", 400),
        ("/v2/a%zz/manifests/t", 400),
        ("http://localhost/v2/", 200),
        ("//nix-cache-info", 404),
        ("/%2e%2e/%2e%2e/etc/passwd", 404),
        ("/nar/..%2f..%2fetc%2fpasswd", 404),
        ("*", 400),
        ("/v2/?x=%zz", 200),
    ]
    for target, status in cases:
        r = server.request("GET", target)
        check("GET %s is %d" % (target, status), r.status == status, r)
    r = server.request("GET", "/" + "x" * 20000)
    check("a target of 20000 bytes is 414", r.status == 414, r)
    r = server.request("GET", "/v2/", [("X-%d" % i, "y" * 1000) for i in range(100)])
    check("a head of 100 KB is 431", r.status in (413, 431), r)
    r = server.request("BREW", "/v2/")
    check("an unknown method is 405", r.status == 405 and r["Allow"] == "GET, HEAD", r)
    r = server.request("POST", "/nix-cache-info", (), b"x")
    check("a method that an endpoint lacks is 405", r.status == 405 and r["Allow"] == "GET, HEAD, PUT", r)


def test_bodies(server):
    """The ways a body is sent: from memory, a file, a splice, a stream."""
    for repository, size in (("file", 10), ("file", 1 << 16), ("file", (1 << 16) + 1), ("file", 5 << 20),
                             ("splice", 10), ("splice", 5 << 20), ("splice/x", 0)):
        data = os.urandom(size)
        r = push(server, repository, data)
        wire = server.connect()
        got = wire.request("GET", r["Location"])
        name = "%s, %d bytes" % (repository, size)
        check(name, got.body == data and got["Content-Length"] == str(size), got)
        head = wire.request("HEAD", r["Location"])
        check(name + ": HEAD says the same", head.status == 200 and head["Content-Length"] == str(size), head)
        if size > 100:
            for header, first, last in (("bytes=5-9", 5, 9), ("bytes=-7", size - 7, size - 1),
                                        ("bytes=%d-" % (size - 70000), max(size - 70000, 0), size - 1)):
                if size < 70000 and header.startswith("bytes=%d" % (size - 70000)):
                    continue
                part = wire.request("GET", r["Location"], {"Range": header})
                check("%s: %s" % (name, header), part.status == 206 and part.body == data[first:last + 1]
                      and part["Content-Range"] == "bytes %d-%d/%d" % (first, last, size), part)
    r = push(server, "stream", b"y" * 300000)
    got = server.request("GET", r["Location"])
    check("content of unknown size is chunked", got.body == b"y" * 300000 and got["Transfer-Encoding"] == "chunked"
          and got["Accept-Ranges"] is None, got)
    wire = server.connect()
    got = wire.request("GET", r["Location"], version="HTTP/1.0")
    check("and ends with the connection in HTTP/1.0", got.body == b"y" * 300000, got)


def test_conditions(server):
    data = os.urandom(100000)
    location = push(server, "splice", data)["Location"]
    tag = '"%s"' % digest(data)
    get = lambda **h: server.request("GET", location, {k.replace("_", "-"): v for k, v in h.items()})  # noqa: E731
    check_eq("ETag is the digest", tag, get()["ETag"])
    r = get(If_None_Match=tag)
    check("If-None-Match of the tag is 304", r.status == 304 and not r.body and r["ETag"] == tag, r)
    check_eq("of another one 200", 200, get(If_None_Match='"x"').status)
    check_eq("If-Range of the tag", 206, get(Range="bytes=0-1", If_Range=tag).status)
    check_eq("If-Range of another one", 200, get(Range="bytes=0-1", If_Range='"x"').status)
    r = get(Accept_Encoding="zstd")
    check("Accept-Encoding: zstd", r.status == 200 and r["Content-Encoding"] == "zstd" and r.body[:4] == b"\x28\xb5\x2f\xfd"
          and r["Vary"] == "Accept-Encoding" and r["Accept-Ranges"] is None, r)
    check("its tag is another one, its digest the same", r["ETag"] != tag and r["Docker-Content-Digest"] == digest(data), r)
    check_eq("304 for that tag, too", 304, get(Accept_Encoding="zstd", If_None_Match=r["ETag"]).status)
    check_eq("the tag of the coded bytes is not that of the others", 200, get(If_None_Match=r["ETag"]).status)
    r = get(Accept_Encoding="zstd", Range="bytes=3-5")
    check("a range is one of identity bytes", r.status == 206 and r.body == data[3:6] and r["Content-Encoding"] is None, r)
    check_eq("zstd;q=0 is identity", None, get(Accept_Encoding="zstd;q=0")["Content-Encoding"])


def test_store_faults(server):
    """SPEC nix-cache 1.2: never 5xx on a PUT."""
    for name in ("fault-full", "fault-io"):
        r = server.request("PUT", "/nar/%s.nar" % name, (), b"x" * 1000)
        check("Nix: %s on a PUT is 413 with a text" % name, r.status == 413 and r.body, r)
        check("which names no file of ours", b"secret" not in r.body, r)
        r = push(server, name, b"x" * 1000)
        check("OCI: %s on an upload is 5xx" % name, r.status == (507 if name == "fault-full" else 500), r)
        check("which names no file of ours", b"secret" not in r.body and b'"errors"' in r.body, r)
        r = server.request("PUT", "/v2/%s/manifests/t" % name, {"Content-Type": "application/x"}, b"{}")
        check("OCI: %s on a manifest is 5xx" % name, r.status >= 500 and b"secret" not in r.body, r)
    check("the log does", "/var/lib/secret/object" in server.log())


def test_broken_read(server):
    """A body that cannot be read to its end must not look whole."""
    data = os.urandom(1 << 20)
    # What comes in under another name cannot be read back.
    wire = server.connect()
    r = push(server, "source", data)
    r = server.request("POST", "/v2/read-fault-io/blobs/uploads/?mount=%s&from=source" % digest(data))
    if not check("a blob that cannot be read is there", r.status == 201, r):
        return
    try:
        got = wire.request("GET", r["Location"])
        check("its body breaks off", False, got)
    except (EOFError, ConnectionError):
        check("its body breaks off", True)


def test_disconnects(server):
    for i in range(30):
        wire = server.connect()
        wire.send(w.build_request("PUT", "/nar/gone-%d.nar" % i, {"Content-Length": "1000000"}) + b"x" * 300000)
        if i % 2:
            wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wire.close()
    time.sleep(0.5)
    got = [server.request("HEAD", "/nar/gone-%d.nar" % i).status for i in range(30)]
    check_eq("uploads that break off leave nothing", [404] * 30, got)
    data = b"z" * 100000
    wire = server.connect()
    wire.send(w.build_request("POST", "/v2/gone/blobs/uploads/?digest=" + digest(data), {"Content-Length": "100000"}) + data[:5000])
    wire.close()
    time.sleep(0.2)
    check_eq("a POST that breaks off as well", 404, server.request("HEAD", "/v2/gone/blobs/" + digest(data)).status)
    location = push(server, "splice/big", os.urandom(8 << 20))["Location"]
    for i in range(20):
        wire = server.connect()
        wire.send(w.build_request("GET", location))
        wire.take(1000)
        wire.close()
    check_eq("downloads that break off harm nobody", 200, server.request("GET", "/v2/").status)


def test_half_closed(server):
    """A client may say that nothing more comes from it and still wait for the answer."""
    location = push(server, "half/big", os.urandom(3 << 20))["Location"]
    for target in ("/v2/", "/v2/_catalog", "/nix-cache-info", "/" + "0" * 32 + ".narinfo", location):
        wire = server.connect()
        wire.send(w.build_request("GET", target))
        wire.socket.shutdown(socket.SHUT_WR)
        try:
            r = wire.response()
            check("a half-closed connection gets its answer: " + target[:40], r.status in (200, 404), r)
        except (EOFError, OSError) as e:
            check("a half-closed connection gets its answer: " + target[:40], False, e)
        wire.close()


def test_session_after_disconnect(server):
    """The session keeps what arrived, and is free again."""
    location = server.request("POST", "/v2/resume/blobs/uploads/")["Location"]
    data = os.urandom(200000)
    wire = server.connect()
    wire.send(w.build_request("PATCH", location, {"Content-Length": "200000"}) + data[:50000])
    time.sleep(0.3)
    r = server.request("PATCH", location, (), b"x")
    check("a session that a request holds is 409", r.status == 409, r)
    wire.close()
    time.sleep(0.3)
    r = server.request("GET", location)
    last = int(r["Range"].split("-")[1])
    check("after a disconnect it says where it stands", r.status == 204 and 0 < last < 50000, r)
    r = server.request("PATCH", location, {"Content-Range": "%d-199999" % (last + 1)}, data[last + 1:])
    check("and goes on from there", r.status == 202 and r["Range"] == "0-199999", r)
    r = server.request("PUT", location + "?digest=" + digest(data))
    check("to the end", r.status == 201, r)


def test_concurrency(server):
    """Nobody waits for somebody else's work."""
    slow = [threading.Thread(target=lambda: server.request("GET", "/v2/fault-slow/manifests/t")) for _ in range(8)]
    for thread in slow:
        thread.start()
    time.sleep(0.1)
    started = time.monotonic()
    for i in range(20):
        server.request("GET", "/v2/")
    took = time.monotonic() - started
    check("8 requests that work for a second delay no other", took < 0.7, "20 requests took %.2f s" % took)
    for thread in slow:
        thread.join()

    stalled = []
    for i in range(25):
        wire = server.connect()
        wire.send(w.build_request("PUT", "/nar/stalled-%d.nar" % i, {"Content-Length": "1000000"}) + b"x" * 10000)
        stalled.append(wire)
    results = [None] * 25

    def upload(i):
        results[i] = server.request("PUT", "/nar/parallel-%d.nar" % i, (), os.urandom(1 << 20)).status

    threads = [threading.Thread(target=upload, args=(i,)) for i in range(25)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check_eq("25 uploads beside 25 that stall", [201] * 25, results)
    for wire in stalled:
        wire.close()


def test_many_idle(server):
    idle = [server.connect() for _ in range(256)]
    answers = [wire.request("GET", "/v2/").status for wire in idle]
    check_eq("256 connections are served", [200] * 256, answers)
    again = [wire.request("GET", "/v2/").status for wire in idle]
    check_eq("and kept", [200] * 256, again)
    for wire in idle:
        wire.close()


def test_limits():
    server = w.Server(FAKE, "idle=2", "stall=3", "connections=10")
    idle = [server.connect() for _ in range(10)]
    for wire in idle[:5]:
        wire.request("GET", "/v2/")
    extra = server.connect()
    check("past the limit a connection is refused", extra.ended())
    time.sleep(4)
    check("idle connections end", all(wire.ended() for wire in idle))
    check_eq("and make room", 200, server.request("GET", "/v2/").status)

    wire = server.connect()
    started = time.monotonic()
    try:
        for byte in b"GET /v2/ HTTP/1.1\r\nX: " + b"y" * 100:
            wire.send(bytes([byte]))
            time.sleep(0.1)
        ended = wire.ended()
    except ConnectionError:
        ended = True
    took = time.monotonic() - started
    check("a head that comes byte by byte is not waited for", ended and took < 8, "%.1f s" % took)

    wire = server.connect()
    wire.send(w.build_request("PUT", "/nar/stall.nar", {"Content-Length": "1000"}) + b"x")
    started = time.monotonic()
    ended = wire.ended()
    took = time.monotonic() - started
    check("a body that stalls is given up", ended and 2 < took < 10, "%.1f s" % took)
    check_eq("and leaves nothing", 404, server.request("HEAD", "/nar/stall.nar").status)
    server.check_clean_end()


def test_client_connections():
    server = w.Server(w.NACRE, "serve", "--listen", "127.0.0.1:0", "--data", os.path.join(w.T, "one-client"), "--no-access-log",
                      "--set", "limits.client-connections=3")
    wires = [server.connect() for _ in range(3)]
    check_eq("a client has so many connections", [200] * 3, [wire.request("GET", "/v2/").status for wire in wires])
    check("and no more", server.connect().ended())
    other = w.Wire(server.port, 20, source="127.0.0.2")
    check_eq("another one has its own", 200, other.request("GET", "/v2/").status)
    wires.pop().close()
    other.close()
    time.sleep(0.3)
    check_eq("one that ends makes room", 200, server.request("GET", "/v2/").status)
    server.check_clean_end()


def test_drain():
    server = w.Server(FAKE)
    idle = server.connect()
    idle.request("GET", "/v2/")
    busy = server.connect()
    busy.send(w.build_request("GET", "/v2/fault-slow/manifests/t"))
    upload = server.connect()
    data = os.urandom(1 << 20)
    upload.send(w.build_request("POST", "/v2/a/blobs/uploads/?digest=" + digest(data), {"Content-Length": str(len(data))}) + data[:1000])
    time.sleep(0.3)
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    check("SIGTERM: idle connections end at once", idle.ended())
    try:
        socket.create_connection(("127.0.0.1", server.port), 1).close()
        refused = False
    except ConnectionError:
        refused = True
    check("new ones are refused", refused)
    upload.send(data[1000:])
    check_eq("an upload in progress is finished", 201, upload.response().status)
    check_eq("a request in progress is answered", 404, busy.response().status)
    try:
        status = server.process.wait(20)
    except Exception as e:  # noqa: BLE001
        status = e
    check("and the server ends", status == 0, "%s\n%s" % (status, server.log()[-2000:]))


def test_end_with_uploads():
    """When the time for what is under way is over, bodies that still come do not hold the server up."""
    server = w.Server(FAKE, "drain=300")
    slow = [server.connect() for _ in range(4)]
    uploads = [server.connect() for _ in range(6)]
    over = threading.Event()

    def feed(wire, method, target):
        try:
            wire.send(w.build_request(method, target, {"Content-Length": str(250 << 20)}))
            while not over.wait(0.01):
                wire.send(bytes(65536))
        except OSError:
            pass

    kinds = [("PUT", "/nar/endless.nar"), ("POST", "/v2/a/blobs/uploads/?digest=" + digest(b""))]
    feeders = [threading.Thread(target=feed, args=(wire, *kinds[i % 2])) for i, wire in enumerate(uploads)]
    for thread in feeders:
        thread.start()
    time.sleep(0.3)
    # The workers stop once these are answered; until then blocks are filled that nobody takes any more.
    for wire in slow:
        wire.send(w.build_request("GET", "/v2/fault-slow/manifests/t"))
    server.process.send_signal(signal.SIGTERM)
    try:
        status = server.process.wait(30)
    except subprocess.TimeoutExpired:
        status = "still there after 30 s"
        server.process.kill()
    over.set()
    for thread in feeders:
        thread.join()
    check("uploads without an end do not hold up the server's", status == 0, "%s\n%s" % (status, server.log()[-2000:]))


def test_gone():
    """Of a client whose end comes along with its last bytes, no connection is left."""
    server = w.Server(FAKE)
    part = b"x" * 20000
    location = server.request("POST", "/v2/a/blobs/uploads/")["Location"]

    def descriptors():
        return len(os.listdir("/proc/%d/fd" % server.process.pid))

    def leave(data, how_many=20):
        for _ in range(how_many):
            # Behind another request: what has just been accepted is looked at anyway.
            wire = server.connect()
            wire.request("GET", "/v2/")
            wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            wire.send(data)
            wire.close()

    before = descriptors()
    for name, data in (
            ("within a NAR", w.build_request("PUT", "/nar/gone.nar", {"Content-Length": "100000"}) + part),
            ("within a chunk", w.build_request("PUT", "/nar/gone.nar", {"Transfer-Encoding": "chunked"}) + b"ffff\r\n" + part),
            ("behind a head", w.build_request("PUT", "/nar/gone.nar", {"Content-Length": "100000"})),
            ("within a head", b"PUT /nar/gone.nar HTTP/1.1\r\nHost: "),
            ("within a manifest", w.build_request("PUT", "/v2/a/manifests/t", {"Content-Length": "30000"}) + part),
            ("behind a request", w.build_request("GET", "/v2/")),
            ("before a request", b"")):
        leave(data)
        check("a client that is gone %s leaves no connection" % name, w.until(20, lambda: descriptors() <= before),
              "%d, not %d" % (descriptors(), before))
    # What it sent of an upload counts.
    leave(w.build_request("PATCH", location, {"Content-Range": "0-99999", "Content-Length": "100000"}) + part, 1)
    w.until(20, lambda: server.request("GET", location)["Range"] == "0-19999")
    check_eq("and what came of an upload is kept", "0-19999", server.request("GET", location)["Range"])
    server.check_clean_end()


def test_slow_clients():
    """A connection on which a byte moves now and then is not held for ever."""
    server = w.Server(FAKE, "slow=2")
    location = push(server, "splice", os.urandom(16 << 20))["Location"]

    def drip(step):
        started = time.monotonic()
        try:
            while time.monotonic() - started < 15:
                step()
                time.sleep(0.1)
        except (EOFError, OSError):
            pass
        return time.monotonic() - started

    wire = server.connect()
    wire.send(w.build_request("PUT", "/nar/slow.nar", {"Content-Length": "1000000"}))
    took = drip(lambda: wire.send(b"x"))
    check("an upload of 10 bytes a second is ended", 1.5 < took < 10, "%.1f s" % took)
    check_eq("and leaves nothing", 404, server.request("HEAD", "/nar/slow.nar").status)
    wire = server.connect()
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    wire.send(w.build_request("GET", location))
    drip(lambda: wire.socket.recv(10) and "GET %s 200 aborted" % location not in server.log() or wire.close())
    check("so is a download", "GET %s 200 aborted" % location in server.log(), server.log()[-500:])
    data = os.urandom(60000)
    wire = server.connect()
    wire.send(w.build_request("PUT", "/nar/fair.nar", {"Content-Length": str(len(data))}))
    for at in range(0, len(data), 1000):
        wire.send(data[at:at + 1000])
        time.sleep(0.1)
    check_eq("an upload of 10 KB a second is not", 201, wire.response().status)
    r = server.request("GET", "/v2/fault-sleep/manifests/t")
    check_eq("neither is a request that the server works on", 404, r.status)
    server.check_clean_end()


def own_address():
    """An address of this machine that is not loopback, or None."""
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        probe.connect(("192.0.2.1", 9))  # sends nothing
        return probe.getsockname()[0]
    except OSError:
        return None
    finally:
        probe.close()


def test_policy():
    """Writes come from this machine, not through a proxy, not from web pages; reads from anywhere."""
    writes = [("PUT", "/v2/a/manifests/t"), ("POST", "/v2/a/blobs/uploads/"), ("DELETE", "/v2/a/manifests/t"),
              ("DELETE", "/v2/a/blobs/" + digest(b"")), ("PATCH", "/v2/a/blobs/uploads/x"), ("PUT", "/nix-cache-info"),
              ("PUT", "/%s.narinfo" % ("0" * 32)), ("PUT", "/nar/x.nar"), ("PUT", "/log/x.drv")]
    server = w.Server(FAKE, "listen=0.0.0.0:0")
    cases = [("through a proxy", "127.0.0.1", {"X-Forwarded-For": "192.0.2.1"}), ("through another", "127.0.0.1", {"Via": "1.1 x"}),
             ("from a web page", "127.0.0.1", {"Origin": "http://example.org"})]
    if own_address():
        cases.append(("from elsewhere", own_address(), {}))
    else:
        w.skip("writes from elsewhere", "this machine has no address but loopback")
    for name, address, headers in cases:
        refusals = []
        for method, target in writes:
            wire = w.Wire(server.port, address=address)
            r = wire.request(method, target, headers, b"x")
            if r.status != 403 or not r.body or ("/v2/" in target and b'"DENIED"' not in r.body):
                refusals.append("%s %s\n%s" % (method, target, r))
        check("writes %s are refused" % name, not refusals, "\n".join(refusals))
        r = w.Wire(server.port, address=address).request("GET", "/v2/", headers)
        check_eq("reads %s are not" % name, 200, r.status)
    server.check_clean_end()
    if own_address():
        server = w.Server(FAKE, "listen=0.0.0.0:0", "write=1")
        r = w.Wire(server.port, address=own_address()).request("POST", "/v2/a/blobs/uploads/")
        check("--allow-write allows them", r.status == 202, r)
        server.check_clean_end()


def test_unix_socket():
    path = os.path.join(w.T, "socket")
    server = w.Server(FAKE, "listen=unix:" + path)
    check_eq("listens on a unix socket", "unix:" + path, server.url)
    data = os.urandom(3 << 20)
    wire = w.Wire(0, address="unix:" + path)
    r = wire.request("POST", "/v2/a/blobs/uploads/?digest=" + digest(data), (), data)
    check("takes writes there", r.status == 201, r)
    check_eq("and answers", data, wire.request("GET", r["Location"]).body)
    server.check_clean_end()
    check("and removes the socket", not os.path.exists(path))


def main():
    server = w.Server(FAKE)
    for test in (test_connections, test_expect, test_early_refusal, test_chunked, test_framing, test_lines, test_targets, test_bodies,
                 test_conditions, test_store_faults, test_broken_read, test_disconnects, test_half_closed, test_session_after_disconnect,
                 test_concurrency, test_many_idle):
        try:
            test(server)
        except Exception as e:  # noqa: BLE001
            check(test.__name__, False, "%s: %s" % (type(e).__name__, e))
    server.check_clean_end()
    for test in (test_limits, test_client_connections, test_slow_clients, test_policy, test_unix_socket, test_drain, test_end_with_uploads, test_gone):
        try:
            test()
        except Exception as e:  # noqa: BLE001
            check(test.__name__, False, "%s: %s" % (type(e).__name__, e))
    w.finish()


if __name__ == "__main__":
    main()
