#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""src/net against real and misbehaving servers, by way of net-driver. Prints `ok - …`, `not ok - …`, `skip - … # reason`.

    net.py [DRIVER]     default: $NET_DRIVER, else what is built beside $NACRE
"""

import base64
import email.utils
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import net_server  # noqa: E402

SRC = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
failed = 0


def find_driver():
    if len(sys.argv) > 1:
        return sys.argv[1]
    nacre = os.environ.get("NACRE", os.path.join(SRC, "build/release/src/cli/nacre"))
    beside = os.path.join(os.path.dirname(nacre), "../../tests/integration/net-driver")
    return os.environ.get("NET_DRIVER", beside)


DRIVER = find_driver()
T = tempfile.mkdtemp(prefix="nacre-net.", dir=os.environ.get("NACRE_TEST_TMP", "/var/tmp"))
ENV = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
for name in ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "DOCKER_CONFIG", "SSL_CERT_FILE", "NIX_SSL_CERT_FILE"):
    ENV.pop(name, None)
ENV.update(HOME=T, XDG_CONFIG_HOME=T + "/config", NIX_CONF_DIR=T + "/nix")
ENV.setdefault("UBSAN_OPTIONS", "halt_on_error=1")


def check(name, condition, detail=""):
    global failed
    if condition:
        print("ok - " + name)
    else:
        failed += 1
        print("not ok - " + name)
        for line in str(detail).splitlines()[:30]:
            print("#   " + line)
    sys.stdout.flush()


def skip(name, reason):
    print("skip - %s # %s" % (name, reason))


class Result:
    """What the driver said: .status, .body, .error (its code) and .text."""

    def __init__(self, process):
        self.text = process.stdout.decode(errors="surrogateescape") + process.stderr.decode(errors="replace")
        self.code = process.returncode
        self.fields, self.lines = {}, self.text.splitlines()
        for line in self.lines:
            key, _, value = line.partition(" ")
            self.fields.setdefault(key, value)
        self.error = self.fields.get("error", "").split(" ")[0] if self.code else ""
        self.status = int(self.fields.get("status", 0))
        self.body = self.fields.get("body", "")

    def __str__(self):
        return self.text


def drive(*words, env=None, timeout=120):
    environment = dict(ENV, **(env or {}))
    return Result(subprocess.run([DRIVER, *map(str, words)], capture_output=True, env=environment, timeout=timeout))


def clean(result):
    """A refusal, not a crash."""
    return result.code in (0, 1) and "Sanitizer" not in result.text and "runtime error" not in result.text


def scratch(name, content=None):
    path = os.path.join(T, name)
    if content is not None:
        with open(path, "wb") as file:
            file.write(content)
    return path


def content(path):
    with open(path, "rb") as file:
        return file.read()


def fails(name, result, error, text=""):
    check(name, clean(result) and result.error == error and text in result.text, result)


# ---- HTTP ------------------------------------------------------------------------------------------


def test_http_plain(s):
    r = drive("http-get", s.url + "/ok")
    check("http: get to a buffer", r.status == 200 and r.body == "hello", r)
    r = drive("http-get", s.url + "/big", scratch("big"))
    check("http: get to a sink", r.status == 200 and content(scratch("big")) == net_server.BIG, r)
    r = drive("http-get", s.url + "/big", "method=HEAD")
    check("http: head", r.status == 200 and "header content-length: %d" % len(net_server.BIG) in r.lines, r)
    r = drive("http-get", s.url + "/nothing", scratch("none"))
    check("http: 404 is an answer, and its body goes to no sink",
          r.code == 0 and r.status == 404 and content(scratch("none")) == b"" and "nothing here" in r.body, r)
    r = drive("http-get", s.url + "/nothing?secret=1", "strict=1")
    fails("http: 404 as an error names address and reason", r, "not-found", "HTTP 404 Not Found from " + s.url + "/nothing")
    check("http: errors don't show queries", "secret" not in r.fields["error"], r)
    r = drive("http-get", s.url + "/echo-agent")
    check("http: user agent", r.body.startswith("nacre/"), r)
    fails("http: a password in the address is refused", drive("http-get", "http://u:p@127.0.0.1:1/"), "usage")
    fails("http: another scheme is refused", drive("http-get", "file:///etc/passwd"), "usage")
    fails("http: a header with a line break is refused", drive("http-get", s.url + "/ok", "header=A: b\nC: d"), "usage")


def test_http_limits(s):
    fails("http: endless body to a buffer", drive("http-get", s.url + "/endless"), "limit", "larger than the 1048576 bytes")
    r = drive("http-get", s.url + "/endless", scratch("endless"), "max=100000")
    fails("http: endless body to a sink", r, "limit", "100000 bytes")
    check("http: no byte past the limit reaches the sink", os.path.getsize(scratch("endless")) <= 100000)
    r = drive("http-get", s.url + "/headers?n=60")
    check("http: 60 KiB of headers", r.status == 200, r)
    fails("http: more than 64 KiB of headers", drive("http-get", s.url + "/headers?n=70"), "limit", "header of the response")
    start = time.time()
    r = drive("http-get", s.url + "/stall", "stall=1", "attempts=1")
    check("http: a stalled transfer ends", r.error == "network" and time.time() - start < 12, r)


def test_http_retry(s):
    r = drive("http-get", s.url + "/busy?key=a&times=2")
    check("http: 503 twice, then 200", r.status == 200 and r.body == "3", r)
    r = drive("http-get", s.url + "/busy?key=b&times=9&status=500", "attempts=3")
    check("http: 500 for good is the answer after 3 attempts",
          r.status == 500 and len(s.requests("/busy?key=b")) == 3, r)
    start = time.time()
    r = drive("http-get", s.url + "/busy?key=c&times=1&status=429&after=1")
    check("http: Retry-After in seconds", r.status == 200 and time.time() - start >= 1, r)
    date = urllib.parse.quote(email.utils.formatdate(time.time() + 2, usegmt=True))
    start = time.time()
    r = drive("http-get", s.url + "/busy?key=d&times=1&after=" + date)
    check("http: Retry-After as a date", r.status == 200 and time.time() - start >= 0.9, r)
    r = drive("http-get", s.url + "/busy?key=e&times=1&status=501")
    check("http: 501 is not tried again", r.status == 501, r)
    r = drive("http-get", s.url + "/drop?key=a&times=2")
    check("http: closed connections are tried again", r.status == 200 and r.body == "3", r)
    r = drive("http-put", s.url + "/drop?key=post&times=1", scratch("small", b"x"), "method=POST")
    check("http: a POST that may have been carried out is not repeated",
          r.error == "network" and len(s.requests("/drop?key=post")) == 1, r)
    r = drive("http-put", s.url + "/busy?key=post&times=1", scratch("small"), "method=POST")
    check("http: a POST that was refused is repeated", r.status == 200 and r.body == "2", r)
    r = drive("http-put", s.url + "/busy?key=post5&times=1&status=500", scratch("small"), "method=POST")
    check("http: a POST that failed is not repeated", r.status == 500, r)
    start = time.time()
    r = drive("http-get", "http://127.0.0.1:1/")
    check("http: nobody there", r.error == "network" and "3 attempts" in r.text and time.time() - start < 3, r)
    r = drive("http-get", "http://nowhere.invalid/")
    fails("http: no such host", r, "network", "nowhere.invalid")


def test_http_resume(s):
    out = scratch("cut")
    r = drive("http-get", s.url + "/cut", out)
    check("http: a cut body is resumed", r.status == 206 and content(out) == net_server.BIG, r)
    wanted = [e[2].get("Range") for e in s.requests("/cut")]
    check("http: with ranges that continue", wanted == [None, "bytes=1000000-", "bytes=2000000-", "bytes=3000000-"], wanted)
    check("http: of the same representation", s.requests("/cut")[1][2].get("If-Range") == '"v1"')
    r = drive("http-get", s.url + "/cut?how=none", out)
    fails("http: without Accept-Ranges it is an error", r, "network", "broke off at byte 1000000")
    r = drive("http-get", s.url + "/cut?how=none", "max=4000000", "attempts=2")
    fails("http: a buffer begins again, but not for ever", r, "network", "(2 attempts)")
    fails("http: a server that ignores the range", drive("http-get", s.url + "/cut?how=ignore", out), "network", "does not resume")
    check("http: and what it sent again is not in the sink", content(out) == net_server.BIG[:1000000])
    fails("http: a range from elsewhere", drive("http-get", s.url + "/cut?how=shifted", out), "network", "does not resume")
    fails("http: a range that ends early", drive("http-get", s.url + "/cut?how=short", out), "network", "does not resume")
    fails("http: 404 in place of the rest", drive("http-get", s.url + "/cut?how=gone", out), "network", "HTTP 404 came instead")
    r = drive("http-get", s.url + "/cut?step=200000", out, "attempts=4")
    fails("http: too little progress in too many attempts", r, "network", "(4 attempts)")
    r = drive("http-get", s.url + "/cut?step=1060000", out, "attempts=2")
    check("http: enough progress counts as a new beginning", content(out) == net_server.BIG, r)
    r = drive("http-get", s.url + "/cut-encoded", out, "encoded=1")
    check("http: an encoded body is resumed unencoded", content(out) == net_server.BIG, r)


def test_http_encodings(s):
    out = scratch("encoded")
    for how in ("gzip", "x-gzip", "zstd", "identity"):
        r = drive("http-get", s.url + "/encoded?as=" + how, out)
        check("http: Content-Encoding " + how, r.status == 200 and content(out) == net_server.BIG, r)
    r = drive("http-get", s.url + "/encoded?as=asked", out, "encoded=1")
    check("http: zstd is asked for", content(out) == net_server.BIG and "header content-encoding: zstd" in r.lines, r)
    r = drive("http-get", s.url + "/encoded?as=asked", out)
    check("http: and only if wanted", content(out) == net_server.BIG and "content-encoding" not in r.text, r)
    r = drive("http-get", s.url + "/encoded?as=gzip&zeros=50000000", out, "max=1000000")
    fails("http: a bomb in Content-Encoding", r, "limit", "1000000 bytes allowed")
    fails("http: an unknown encoding", drive("http-get", s.url + "/encoded?as=rot13", out), "unsupported", "rot13")
    r = drive("http-get", s.url + "/encoded?as=gzip&short=1", "max=4000000", "attempts=2")
    fails("http: an encoded body that ends early", r, "network", "(2 attempts)")


def test_http_redirects(s, other):
    def to(target, **more):
        return s.url + "/redirect?" + urllib.parse.urlencode(dict(to=target, **more))

    for status in (301, 302, 303, 307, 308):
        r = drive("http-get", to("/ok", status=status))
        check("http: GET follows %d" % status, r.body == "hello" and r.fields["url"] == s.url + "/ok", r)
    r = drive("http-get", to("/echo-auth"), "auth=Bearer s3cret")
    check("http: authorization stays at the origin", r.body == "Bearer s3cret", r)
    r = drive("http-get", to(other.url + "/echo-auth"), "auth=Bearer s3cret")
    check("http: authorization goes to no other origin", r.body == "none", r)
    back = other.url + "/redirect?to=" + urllib.parse.quote(s.url + "/echo-auth")
    check("http: and not back from there either", drive("http-get", to(back), "auth=Bearer s3cret").body == "none")
    r = drive("http-get", to(s.url.replace("//", "//u:p@") + "/echo-auth"))
    check("http: user information in a redirect is not used", r.body == "none", r)
    fails("http: eleven redirects", drive("http-get", s.url + "/loop"), "network", "more than 10 redirects")
    fails("http: to a file", drive("http-get", to("file:///etc/passwd")), "network", "malformed or not http")
    fails("http: to nonsense", drive("http-get", to("http://[nonsense/")), "network", "malformed or not http")
    body = scratch("body", net_server.BIG)
    for status in (307, 308):
        s.state.stored = None
        r = drive("http-put", to("/store", status=status), body)
        check("http: PUT follows %d with its body" % status, r.status == 201 and s.state.stored == net_server.BIG, r)
    s.state.stored = None
    r = drive("http-put", to("/store", status=302), body)
    check("http: PUT does not follow 302", r.status == 302 and s.state.stored is None, r)


def test_http_uploads(s):
    body = scratch("body", net_server.BIG)
    r = drive("http-put", s.url + "/store", body, "auth=Basic eDp5")
    check("http: PUT", r.status == 201 and r.body == "Basic eDp5" and s.state.stored == net_server.BIG, r)
    r = drive("http-put", s.url + "/store", scratch("empty", b""))
    check("http: PUT of nothing", r.status == 201 and s.state.stored == b"", r)
    r = drive("http-put", s.url + "/cut-put?key=a", body)
    check("http: a broken PUT begins again", r.status == 201 and s.state.stored == net_server.BIG, r)
    r = drive("http-put", s.url + "/busy?key=put&times=1", body)
    check("http: a refused PUT begins again", r.status == 200 and r.body == "2", r)
    r = drive("http-put", s.url + "/early", body)
    check("http: an early refusal is the answer", r.status == 413 and "too much for me" in r.body, r)
    for piece in (1000, 65536, 10 ** 7):
        s.state.stored = None
        r = drive("http-stream", s.url + "/store", body, "piece=%d" % piece)
        check("http: pushed body in pieces of %d" % piece, r.status == 201 and s.state.stored == net_server.BIG, r)
    s.state.stored = None
    r = drive("http-stream", s.url + "/store", body, "chunked=1")
    check("http: pushed body of unknown size", r.status == 201 and s.state.stored == net_server.BIG, r)
    r = drive("http-stream", s.url + "/store", scratch("empty"))
    check("http: pushed empty body", r.status == 201 and s.state.stored == b"", r)
    r = drive("http-stream", s.url + "/early", body)
    check("http: a pushed body is refused early", r.status == 413, r)
    r = drive("http-stream", s.url + "/cut-put?key=b", body)
    check("http: a pushed body is not repeated", r.error == "network", r)
    fails("http: pushed to nobody", drive("http-stream", "http://127.0.0.1:1/", body), "network")
    r = drive("http-get", s.url + "/store", "method=DELETE")
    check("http: DELETE", r.status == 201, r)


def test_http_parallel(s):
    r = drive("http-many", s.url + "/ok", 300, "parallel=10")
    check("http: 300 requests, 10 at a time", r.fields.get("done") == "300" and r.fields.get("failed") == "0", r)
    r = drive("http-many", s.url + "/ok", 5, "more=100", "parallel=4")
    check("http: requests from callbacks", r.fields.get("done") == "105", r)
    r = drive("http-many", s.url + "/nothing", 5)
    check("http: answers of any status", r.fields.get("failed") == "5" and r.code == 0, r)
    r = drive("http-many", s.url + "/big", 20, "max=1000", "parallel=3")
    fails("http: a callback gives up the whole run", r, "limit", "given up")


def make_certificate():
    """A certificate for 127.0.0.1 that nobody knows, and its key."""
    key, cert = scratch("key.pem"), scratch("cert.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=127.0.0.1",
                    "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    return cert, key


def test_http_tls():
    if not shutil.which("openssl"):
        skip("http: TLS", "needs openssl")
        return
    cert, key = make_certificate()
    s, plain = net_server.Server((cert, key)), net_server.Server()
    fails("tls: an unknown certificate", drive("http-get", s.url + "/ok", "attempts=2"), "network", "certificate")
    check("tls: by ca file", drive("http-get", s.url + "/ok", "ca=" + cert).body == "hello")
    for name in ("SSL_CERT_FILE", "NIX_SSL_CERT_FILE"):
        check("tls: by $" + name, drive("http-get", s.url + "/ok", env={name: cert}).body == "hello")
    check("tls: unverified on request", drive("http-get", s.url + "/ok", "insecure=1").body == "hello")
    r = drive("http-get", s.url + "/redirect?to=" + plain.url + "/ok", "ca=" + cert)
    fails("tls: no redirect from https to http", r, "denied", "from https to http")
    r = drive("http-get", plain.url + "/redirect?to=" + s.url + "/echo-auth", "ca=" + cert, "auth=Basic x")
    check("tls: redirect from http to https, without authorization", r.body == "none", r)


def test_http():
    s, other = net_server.Server(), net_server.Server()
    test_http_plain(s)
    test_http_limits(s)
    test_http_retry(s)
    test_http_resume(s)
    test_http_encodings(s)
    test_http_redirects(s, other)
    test_http_uploads(s)
    test_http_parallel(s)
    test_http_tls()


# ---- registries ------------------------------------------------------------------------------------


def reg(command, where, *words, **options):
    env = options.pop("env", None)
    named = ["%s=%s" % item for item in options.items()]
    return drive("registry-" + command, where, *words, *named, env=env)


def host(server):
    return "127.0.0.1:%d" % server.server_address[1]


def test_registry_client():
    s = net_server.Server(handler=net_server.Registry)
    h, big = host(s), net_server.digest_of(net_server.BIG)
    manifest = net_server.digest_of(net_server.MANIFEST)
    r = reg("get-manifest", h + "/a:t")
    check("registry: manifest by tag", r.fields.get("digest") == manifest and r.fields.get("type") == net_server.OCI_MANIFEST, r)
    check("registry: manifest by digest", reg("get-manifest", h + "/a@" + manifest).code == 0)
    r = reg("get-manifest", h + "/vague:t")
    check("registry: a vague Content-Type is not believed", r.fields.get("type") == net_server.OCI_MANIFEST, r)
    fails("registry: manifest that is not what its tag promises", reg("get-manifest", h + "/lies:t"), "mismatch", manifest)
    fails("registry: manifest of another digest", reg("get-manifest", h + "/lies@" + manifest), "mismatch", manifest)
    fails("registry: manifest past the limit", reg("get-manifest", h + "/huge:t"), "limit", "larger than")
    fails("registry: manifest that is none", reg("get-manifest", h + "/nonsense:t"), "invalid")
    r = reg("get-manifest", h + "/errors:t")
    fails("registry: its own words", r, "not-found", "NAME_UNKNOWN: no such \\x1b[31mrepository")
    r = reg("head", h + "/a:t")
    check("registry: head of a manifest", r.fields.get("size") == str(len(net_server.MANIFEST)), r)
    r = reg("head", h + "/vague:t")
    check("registry: head that says too little", r.fields.get("digest") == manifest, r)

    out = scratch("blob")
    r = reg("get-blob", h + "/a@" + big, out, size=len(net_server.BIG))
    check("registry: blob", r.code == 0 and content(out) == net_server.BIG, r)
    r = reg("get-blob", h + "/zipped@" + big, out, size=len(net_server.BIG))
    check("registry: blob with Content-Encoding", r.code == 0 and content(out) == net_server.BIG, r)
    fails("registry: blob of another digest", reg("get-blob", h + "/lies@" + big, out), "mismatch")
    fails("registry: blob that is too short", reg("get-blob", h + "/short@" + big, out, size=len(net_server.BIG)), "mismatch")
    fails("registry: blob that is too long", reg("get-blob", h + "/long@" + big, out, size=len(net_server.BIG)), "mismatch")
    fails("registry: blob that is missing", reg("get-blob", h + "/missing@" + big, out), "not-found")
    check("registry: has a blob", reg("has-blob", h + "/a@" + big).fields.get("size") == str(len(net_server.BIG)))
    check("registry: has it not", reg("has-blob", h + "/missing@" + big).fields.get("has") == "0")

    r = reg("tags", h + "/pages")
    check("registry: tags of three pages", [line for line in r.lines] == ["tag t%03d" % i for i in range(25)], r)
    check("registry: no tags", reg("tags", h + "/null").code == 0)
    fails("registry: tags that are none", reg("tags", h + "/badtag"), "invalid")
    fails("registry: a malformed Link", reg("tags", h + "/badlink"), "network", "next page")
    fails("registry: a Link to elsewhere", reg("tags", h + "/elsewhere"), "network", "next page")
    fails("registry: pages without end", reg("tags", h + "/forever"), "limit", "more than 1000 pages")
    r = reg("referrers", h + "/a@" + manifest)
    check("registry: referrers", len(r.lines) == 2, r)
    r = reg("referrers", h + "/a@" + manifest, type="a/b")
    check("registry: referrers of one type", r.lines == ["referrer %s a/b" % net_server.digest_of(b"r")], r)
    check("registry: no referrers API, no tag", reg("referrers", h + "/norefs@" + manifest).text == "")
    fails("registry: referrers that are no index", reg("referrers", h + "/notindex@" + manifest), "invalid")
    fails("registry: a name that would be a path", reg("tags", h + "/a/../b"), "invalid")


def test_registry_uploads():
    s, other = net_server.Server(handler=net_server.Registry), net_server.Server()
    h, body = host(s), scratch("body", net_server.BIG)
    big = net_server.digest_of(net_server.BIG)
    s.state.elsewhere = other.url
    for repository in ("absolute", "relative", "query"):
        for how in ({"put": 1}, {"known": 1}, {}):
            s.state.stored = s.state.patched = None
            r = reg("put-blob", h + "/" + repository, body, **how)
            check("registry: upload, Location %s, %s" % (repository, how or "digest unknown"),
                  r.fields.get("digest") == big and s.state.stored == net_server.BIG, r)
    check("registry: the query of a Location stays", any("state=a%3Db&digest=sha256:" in e[1] for e in s.state.log))
    s.state.patched = b""
    r = reg("put-blob", h + "/a", scratch("empty", b""), known=1)
    check("registry: upload of nothing", r.code == 0 and s.state.stored == b"", r)
    s.state.auth = "basic"
    r = reg("put-blob", h + "/elsewhere", body, put=1, user="u", password="p")
    sent = other.requests("/store")
    check("registry: upload to another host, without authorization",
          r.code == 0 and other.state.stored == net_server.BIG and "Authorization" not in sent[0][2], r)
    s.state.auth = None
    fails("registry: upload without Location", reg("put-blob", h + "/nolocation", body, put=1), "network", "without saying where")
    fails("registry: upload to a file", reg("put-blob", h + "/bad", body, put=1), "network", "without saying where")
    fails("registry: upload that does not have its digest", reg("put-blob", h + "/a", body, known=1, lie=1), "mismatch")
    fails("registry: upload refused early", reg("put-blob", h + "/full", body, known=1), "limit", "SIZE_INVALID: too big")
    r = reg("put-blob", h + "/a", body, known=1, stop=200000)
    fails("registry: producer that fails", r, "io", "the producer stops")
    check("registry: is not asked again", "calls 1" in r.lines, r)
    check("registry: and the upload is cancelled", any(e[0] == "DELETE" for e in s.state.log), s.state.log)
    for repository in ("cuts", "refuses", "expires"):
        r = reg("put-blob", h + "/" + repository, body, known=1)
        check("registry: upload that %s begins again" % repository, "calls 2" in r.lines and s.state.stored == net_server.BIG, r)
    r = reg("mount", h + "/mounts@" + big, **{"from": "a"})
    check("registry: mount", r.fields.get("mounted") == "1", r)
    r = reg("mount", h + "/a@" + big, **{"from": "b"})
    check("registry: mount that is refused", r.fields.get("mounted") == "0" and s.state.log[-1][0] == "DELETE", r)
    r = reg("put-manifest", h + "/subjects:t", scratch("manifest", net_server.MANIFEST))
    check("registry: OCI-Subject", r.fields.get("subject") == "1", r)


def test_registry_auth():
    s = net_server.Server(handler=net_server.Registry)
    h, body = host(s), scratch("body", net_server.BIG)

    def authfile(entry):
        return scratch("auth.json", json.dumps({"auths": {h: entry}}).encode())

    basic = authfile({"auth": base64.b64encode(b"u:p").decode()})
    s.state.auth = "basic"
    check("auth: Basic", reg("get-manifest", h + "/a:t", authfile=basic).code == 0)
    check("auth: nothing is sent before it is asked for", "Authorization" not in s.state.log[0][2])
    check("auth: ping", reg("ping", h + "/a", authfile=basic).code == 0)
    fails("auth: Basic without credentials", reg("get-manifest", h + "/a:t"), "denied", "needs a user and a password")
    r = reg("get-manifest", h + "/a:t", user="u", password="wrong")
    fails("auth: wrong password", r, "denied", "UNAUTHORIZED")
    check("auth: no password in errors", "wrong" not in r.text)
    check("auth: REGISTRY_AUTH_FILE", reg("get-manifest", h + "/a:t", env={"REGISTRY_AUTH_FILE": basic}).code == 0)

    s.state.auth = "bearer"
    s.state.log.clear()
    check("auth: Bearer for everybody", reg("get-manifest", h + "/a:t").code == 0)
    token = s.requests("/token")[0]
    check("auth: scope and service", token[1] == "/token?service=fake&scope=repository%3Aa%3Apull", token[1])
    s.state.anonymous = False
    fails("auth: Bearer for nobody", reg("get-manifest", h + "/a:t"), "denied", "needs a user and a password")
    check("auth: Bearer by password", reg("get-manifest", h + "/a:t", authfile=basic).code == 0)
    fails("auth: Bearer by a wrong one", reg("ping", h + "/a", user="x", password="y"), "denied", "refuses the user")
    s.state.log.clear()
    r = reg("put-blob", h + "/a", body, known=1, authfile=basic)
    asked = [e for e in s.state.log if not e[1].startswith("/token")]
    check("auth: one token for a whole push", r.code == 0 and len(s.requests("/token")) == 1 and len(asked) == 3, s.state.log)
    check("auth: for pull and push", "scope=repository%3Aa%3Apull%2Cpush" in s.requests("/token")[0][1])
    r = reg("mount", h + "/mounts@" + net_server.digest_of(b"x"), authfile=basic, **{"from": "b"})
    check("auth: a mount asks for both", r.fields.get("mounted") == "1" and
          "scope=repository%3Amounts%3Apull%2Cpush&scope=repository%3Ab%3Apull" in s.requests("/token")[-1][1], r)
    token_file = authfile({"identitytoken": "r3fresh"})
    check("auth: identity token", reg("get-manifest", h + "/a:t", authfile=token_file).code == 0)
    for what, extra in (("empty token", {"access_token": ""}), ("token with a line break", {"token": "a\r\nX: y"}),
                        ("token that is no text", {"token": 5}), ("negative time", {"expires_in": -1})):
        s.state.token_extra = extra
        fails("auth: " + what, reg("get-manifest", h + "/a:t", authfile=basic), "invalid", "token")
    s.state.token_extra = {}
    for what, header in (("malformed challenge", 'Bearer realm="x'), ("realm that is no address", 'Bearer realm="file:///x"'),
                         ("no realm", "Bearer service=x")):
        s.state.auth = header
        fails("auth: " + what, reg("get-manifest", h + "/a:t", authfile=basic), "network")
    s.state.auth, other = None, net_server.Server()
    s.state.elsewhere = other.url + "/demand"
    r = reg("get-blob", h + "/elsewhere@" + net_server.digest_of(net_server.BIG), scratch("blob"), authfile=basic)
    fails("auth: another host, where a redirect leads, asks for credentials", r, "denied")
    r = reg("put-blob", h + "/elsewhere", body, put=1, authfile=basic)
    fails("auth: another host, where an upload goes, asks for credentials", r, "denied")
    check("auth: and gets none", not other.requests("/token") and not any("Authorization" in e[2] for e in other.state.log), other.state.log)
    s.state.auth = "Negotiate"
    fails("auth: a scheme that is not ours", reg("get-manifest", h + "/a:t", authfile=basic), "denied", "no way")


# User u, password p:w.
HTPASSWD = b"u:$2y$05$iDxBgQL9xyUkUrfgUh3/9OIR5ILBuN460U8nZQDaKTQLMOOPbtReK\n"


def start_docker_registry(name, auth=None, tls=None):
    """host:port and the process of a docker-registry of our own."""
    folder = scratch(name)
    os.makedirs(folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        where = "127.0.0.1:%d" % probe.getsockname()[1]
    config = ("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
              "storage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}\nhttp: {addr: '%s'}\n" % (folder, where))
    if auth:
        config += "auth: {htpasswd: {realm: r, path: %s}}\n" % auth
    if tls:
        config = config.replace("addr: '%s'" % where, "addr: '%s', tls: {certificate: %s, key: %s}" % (where, *tls))
    log = open(scratch(name + ".log"), "wb")
    process = subprocess.Popen(["docker-registry", "serve", scratch(name + ".yml", config.encode())], stdout=log, stderr=log)
    for _ in range(100):
        try:
            socket.create_connection(where.split(":"), 1).close()
            return where, process
        except OSError:
            time.sleep(0.1)
    process.kill()
    raise RuntimeError("docker-registry does not start: see " + log.name)


def use_docker_registry(h, name, **options):
    """The whole of a push and pull; `options` go to each command."""
    body, empty = scratch("body", net_server.BIG), scratch("empty.json", b"{}")
    big, config = net_server.digest_of(net_server.BIG), net_server.digest_of(b"{}")
    out = scratch("pulled")
    check(name + ": ping", reg("ping", h + "/a", **options).code == 0)
    check(name + ": has no blob yet", reg("has-blob", h + "/team/app@" + big, **options).fields.get("has") == "0")
    for how in ({"put": 1}, {"known": 1}, {}):
        r = reg("put-blob", h + "/team/app" + str(len(how)) + "".join(how), body, **how, **options)
        check("%s: upload %s" % (name, how), r.fields.get("digest") == big, r)
    r = reg("mount", h + "/team/app@" + big, **{"from": "team/app1put"}, **options)
    check(name + ": mount", r.fields.get("mounted") == "1", r)
    check(name + ": config", reg("put-blob", h + "/team/app", empty, known=1, **options).code == 0)
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": net_server.OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": big, "size": len(net_server.BIG)}]})
    digest = net_server.digest_of(manifest.encode())
    for tag in ("v1", "v2"):
        r = reg("put-manifest", h + "/team/app:" + tag, scratch("m", manifest.encode()), **options)
        check(name + ": put manifest " + tag, r.code == 0 and r.fields.get("subject") == "0", r)
    r = reg("get-manifest", h + "/team/app:v1", **options)
    check(name + ": get manifest", r.fields.get("digest") == digest and r.body == manifest, r)
    r = reg("head", h + "/team/app@" + digest, **options)
    check(name + ": head manifest", r.fields.get("size") == str(len(manifest)), r)
    r = reg("get-blob", h + "/team/app@" + big, out, size=len(net_server.BIG), **options)
    check(name + ": get blob", r.code == 0 and content(out) == net_server.BIG, r)
    r = reg("tags", h + "/team/app", **options)
    check(name + ": tags", sorted(r.lines) == ["tag v1", "tag v2"], r)
    referrer = json.dumps({
        "schemaVersion": 2, "mediaType": net_server.OCI_MANIFEST, "artifactType": "application/vnd.nix.path-infos.v1",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2}, "layers": [],
        "subject": {"mediaType": net_server.OCI_MANIFEST, "digest": digest, "size": len(manifest)}})
    for _ in range(2):
        r = reg("put-referrer", h + "/team/app", scratch("r", referrer.encode()), **options)
        check(name + ": put a referrer", r.code == 0, r)
    r = reg("referrers", h + "/team/app@" + digest, **options)
    want = "referrer %s application/vnd.nix.path-infos.v1" % net_server.digest_of(referrer.encode())
    check(name + ": it is listed once, by the fallback tag", r.lines == [want], r)
    r = reg("referrers", h + "/team/app@" + digest, type="other/type", **options)
    check(name + ": and by its type", r.code == 0 and r.lines == [], r)
    check(name + ": delete", reg("delete", h + "/team/app@" + digest, **options).code == 0)
    fails(name + ": it is gone", reg("get-manifest", h + "/team/app@" + digest, **options), "not-found", "MANIFEST_UNKNOWN")


def test_docker_registry():
    if not shutil.which("docker-registry"):
        skip("docker-registry", "is not installed")
        return
    h, process = start_docker_registry("registry")
    try:
        use_docker_registry(h, "docker-registry")
    finally:
        process.terminate()
        process.wait()
    if shutil.which("openssl"):
        cert, key = make_certificate()
        h, process = start_docker_registry("encrypted", tls=(cert, key))
        try:
            use_docker_registry(h, "docker-registry by HTTP/2", https=1, ca=cert)
            fails("docker-registry by HTTP/2: an unknown certificate", reg("ping", h + "/a", https=1, attempts=1), "network")
            check("docker-registry by HTTP/2: unverified", reg("ping", h + "/a", https=1, insecure=1).code == 0)
        finally:
            process.terminate()
            process.wait()
    h, process = start_docker_registry("private", scratch("htpasswd", HTPASSWD))
    try:
        auth = {"auths": {h + "/team": {"auth": base64.b64encode(b"u:p:w").decode()}, h: {"auth": "eDp5"}}}
        file = scratch("private.json", json.dumps(auth).encode())
        fails("docker-registry with htpasswd: the user of the host", reg("ping", h + "/a", authfile=file), "denied", "UNAUTHORIZED")
        use_docker_registry(h, "docker-registry with htpasswd", user="u", password="p:w")
        check("docker-registry with htpasswd: the user of the namespace", reg("tags", h + "/team/app", authfile=file).code == 0)
        fails("docker-registry with htpasswd: nobody", reg("tags", h + "/team/app"), "denied", "needs a user and a password")
    finally:
        process.terminate()
        process.wait()


# ---- binary caches -------------------------------------------------------------------------------

NIX_CONFIG = """build-users-group =
sandbox = false
substituters =
require-sigs = false
fsync-metadata = false
experimental-features = nix-command
"""

PACKAGES = """
let make = name: text: derivation {
      inherit name; system = builtins.currentSystem; PATH = "/usr/bin:/bin";
      builder = "/bin/sh"; args = [ "-c" text ]; };
    a = make "a" "mkdir -p $out/bin; echo a > $out/bin/a; head -c 3000000 /dev/zero > $out/zeros; echo $out > $out/self";
    b = make "b" "mkdir $out; echo ${a} > $out/a; seq 1 200000 > $out/seq; ln -s ${c} $out/c";
    c = make "c" "echo nothing > $out";
in make "d" "mkdir $out; ln -s ${b} $out/b; echo ${a} > $out/a"
"""


class Nix:
    """A store of our own, with store paths below T."""

    def __init__(self):
        self.dir = os.path.join(T, "nix")
        self.env = dict(ENV, NIX_CONFIG=NIX_CONFIG, NIX_STORE_DIR=self.dir + "/store", NIX_STATE_DIR=self.dir + "/var",
                        NIX_LOG_DIR=self.dir + "/log", NIX_CONF_DIR=self.dir + "/etc")
        self.store = self.dir + "/store"
        self.root = self.run("nix-build", "--no-out-link", scratch("packages.nix", PACKAGES.encode())).strip()
        self.closure = sorted(self.run("nix-store", "-qR", self.root).split())
        self.run("nix-store", "--generate-binary-cache-key", "test-1", scratch("sk"), scratch("pk"))
        self.secret, self.public = (content(scratch(n)).decode().strip() for n in ("sk", "pk"))

    def run(self, *argv, **more):
        r = subprocess.run(argv, env=dict(self.env, **more), capture_output=True, text=True)
        if r.returncode:
            raise RuntimeError("%s: %s" % (argv, r.stderr))
        return r.stdout

    def cache(self, name, compression, sign=False):
        """A cache made by Nix: its folder."""
        folder = scratch("cache-" + name)
        key = "&secret-key=" + scratch("sk") if sign else ""
        self.run("nix", "copy", "--to", "file://%s?compression=%s%s" % (folder, compression, key), self.root)
        return folder

    def dump(self, path):
        return subprocess.run(["nix-store", "--dump", path], env=self.env, capture_output=True, check=True).stdout

    def accepts(self, url, name):
        """Can Nix substitute all from there into an empty store, and is it sound?"""
        other = "local?root=" + scratch("second-" + name)
        try:
            self.run("nix", "copy", "--no-check-sigs", "--from", url, "--to", other, self.root)
            self.run("nix", "store", "verify", "--no-trust", "--store", other, "--all")
            return True
        except RuntimeError as e:
            return str(e)


def hash_part(path):
    return os.path.basename(path)[:32]


def narinfo_of(folder, path):
    return os.path.join(folder, hash_part(path) + ".narinfo")


def edit(path, change):
    data = content(path)
    with open(path, "wb") as file:
        file.write(change(data))


def same_nars(nix, where, *options):
    """Every NAR out of the cache is what Nix dumps."""
    out = scratch("nar")
    for path in nix.closure:
        r = drive("cache-nar", where, hash_part(path), out, *options)
        if r.code or content(out) != nix.dump(path):
            return "%s\n%s" % (path, r)
    return True


def test_cache_read(nix):
    plain = nix.cache("none", "none")
    s = net_server.Server(handler=net_server.Cache)
    s.state.folder = plain
    for compression in ("none", "gzip", "zstd", "xz", "bzip2", "br", "lz4", "lzip"):
        folder = plain if compression == "none" else nix.cache(compression, compression)
        good = same_nars(nix, "file://" + folder)
        check("cache: NARs with compression %s by file://" % compression, good is True, good)
        s.state.folder = folder
        good = same_nars(nix, s.url + "/x")
        check("cache: NARs with compression %s by http://" % compression, good is True, good)
    s.state.folder = plain
    for how in ("zipped", "absolute", "query"):
        good = same_nars(nix, s.url + "/" + how + "/")
        check("cache: NARs, %s" % how, good is True, good)
    for where in ("file://" + plain, s.url + "/x", s.url + "/zipped"):
        r = drive("cache-closure", where, nix.root)
        paths = [line[5:] for line in r.lines if line.startswith("path ")]
        check("cache: closure by " + where.split(":")[0], paths == nix.closure, r)
    r = drive("cache-info", "file://" + plain)
    check("cache: store dir from nix-cache-info", r.fields.get("store") == nix.store, r)
    fails("cache: another store dir", drive("cache-info", "file://" + plain, "store=/nix/store"), "mismatch", nix.store)
    check("cache: percent in file://", drive("cache-info", "file://" + plain.replace("cache", "%63ache")).code == 0)
    fails("cache: no cache", drive("cache-info", "file://" + scratch("..")), "not-found", "not a binary cache")
    fails("cache: no directory", drive("cache-info", "file:///nowhere"), "not-found")
    fails("cache: no address", drive("cache-info", "ssh://host"), "usage")
    nothing = "0" * 32
    for where in ("file://" + plain, s.url + "/x", s.url + "/s3"):
        fails("cache: no such path by " + where.split(":")[0], drive("cache-narinfo", where, nothing), "not-found", nothing)
    fails("cache: no hash part", drive("cache-narinfo", "file://" + plain, "../../etc/passwd"), "usage")
    hole = [path for path in nix.closure if path.endswith("-c")][0]
    os.rename(narinfo_of(plain, hole), scratch("away"))
    base = os.path.basename(hole)
    for where in ("file://" + plain, s.url + "/x"):
        r = drive("cache-closure", where, nix.root)
        fails("cache: a closure with a hole", r, "not-found", base + ", which ")
    os.rename(scratch("away"), narinfo_of(plain, hole))


def test_cache_lies(nix):
    def bad(name, change, error, text="", path=None, compression="none"):
        folder = scratch("lies")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(scratch("cache-" + compression), folder)
        change(folder, narinfo_of(folder, path or nix.root))
        s.state.folder = folder
        for where in ("file://" + folder, s.url + "/x"):
            r = drive("cache-nar", where, hash_part(path or nix.root), scratch("nar"))
            fails("cache: %s, by %s" % (name, where.split(":")[0]), r, error, text)

    def nar_file(folder, info):
        url = [line[5:] for line in content(info).decode().splitlines() if line.startswith("URL: ")][0]
        return os.path.join(folder, url)

    def in_nar(change):
        return lambda folder, info: edit(nar_file(folder, info), change)

    def in_info(old, new):
        return lambda folder, info: edit(info, lambda data: re.sub(old, new, data))

    s = net_server.Server(handler=net_server.Cache)
    flip = in_nar(lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    bad("changed NAR", flip, "mismatch")
    bad("changed NAR without FileHash", lambda f, i: (flip(f, i), in_info(rb"File(Hash|Size): .*\n", b"")(f, i)),
        "mismatch", "NarHash is sha256:")
    bad("short NAR", in_nar(lambda data: data[:-8]), "mismatch")
    bad("long NAR", in_nar(lambda data: data + bytes(8)), "limit")
    bad("wrong FileHash", in_info(rb"FileHash: sha256:.{52}", b"FileHash: sha256:" + b"0" * 52), "mismatch")
    bad("wrong NarHash", in_info(rb"NarHash: sha256:.{52}", b"NarHash: sha256:" + b"0" * 52), "mismatch", "NarHash is")
    bad("NarSize too small", in_info(rb"(NarSize: .*)\d\n", rb"\1\n"), "limit")
    bad("NarSize too large", in_info(rb"NarSize: ", b"NarSize: 1"), "mismatch", "NarSize is 1")
    bad("another compression", in_info(rb"Compression: none", b"Compression: xz"), "invalid", "xz: wrong magic")
    bad("unknown compression", in_info(rb"Compression: none", b"Compression: rot13"), "invalid")
    bad("narinfo of another path", lambda f, i: shutil.copy(narinfo_of(f, nix.closure[0]), i)
        if nix.closure[0] != nix.root else shutil.copy(narinfo_of(f, nix.closure[1]), i), "mismatch", "is about")
    bad("narinfo that is none", lambda f, i: edit(i, lambda data: b"hello"), "invalid", "line 1")
    bad("narinfo that is too large", lambda f, i: edit(i, lambda data: data * 30000), "limit")
    bad("NAR that is missing", lambda f, i: os.unlink(nar_file(f, i)), "not-found")
    a = [p for p in nix.closure if p.endswith("-a")][0]
    for compression in ("gzip", "zstd", "xz", "bzip2", "br", "lz4", "lzip"):
        bad("bomb in " + compression, in_info(rb"NarSize: .*", b"NarSize: 1000"), "limit", "1000 bytes allowed", a, compression)
        bad("truncated " + compression, lambda f, i: (in_nar(lambda data: data[:-20])(f, i),
            in_info(rb"File(Hash|Size): .*\n", b"")(f, i)), "truncated", "", a, compression)
    for name, url in (("leads out of a file:// cache", b"../../etc/passwd"), ("is absolute in a file:// cache", b"/etc/passwd"),
                      ("is elsewhere", b"file:///etc/passwd")):
        folder = scratch("lies")
        edit(narinfo_of(folder, a), lambda data: re.sub(rb"URL: .*", b"URL: " + url, data))
        r = drive("cache-nar", "file://" + folder, hash_part(a), scratch("nar"))
        check("cache: a NAR that " + name, clean(r) and r.error in ("invalid", "unsupported"), r)
    s.state.folder = scratch("cache-none")
    r = drive("cache-nar", s.url + "/file", hash_part(nix.root), scratch("nar"))
    fails("cache: file:// out of an http:// cache", r, "invalid", "not an http address")


def test_cache_trust(nix):
    signed, unsigned = nix.cache("signed", "zstd", sign=True), scratch("cache-zstd")
    trust = "trust=" + nix.public
    r = drive("cache-closure", "file://" + signed, nix.root, trust)
    check("cache: signed paths", r.fields.get("paths") == str(len(nix.closure)), r)
    fails("cache: unsigned paths", drive("cache-closure", "file://" + unsigned, nix.root, trust), "denied", "not signed")
    other = "trust=test-1:" + base64.b64encode(bytes(range(32))).decode()
    fails("cache: another key", drive("cache-closure", "file://" + signed, nix.root, other), "denied", "not signed")
    edit(narinfo_of(signed, nix.root), lambda data: re.sub(rb"References: \S+ ", b"References: ", data))
    fails("cache: a changed narinfo", drive("cache-narinfo", "file://" + signed, hash_part(nix.root), trust), "denied")
    fixed = nix.run("nix-store", "--add", scratch("added", b"content")).strip()
    folder = scratch("cache-ca")
    nix.run("nix", "copy", "--to", "file://%s?compression=xz" % folder, fixed)
    r = drive("cache-nar", "file://" + folder, hash_part(fixed), scratch("nar"), trust)
    check("cache: a content address counts", r.code == 0 and content(scratch("nar")) == nix.dump(fixed), r)
    nar = nix.dump(nix.closure[0])
    with open(os.path.join(folder, "forged.nar"), "wb") as file:
        file.write(nar)
    edit(narinfo_of(folder, fixed), lambda data: re.sub(rb"File(Hash|Size): .*\n", b"", data)
         .replace(b"Compression: xz", b"Compression: none"))
    edit(narinfo_of(folder, fixed), lambda data: re.sub(rb"URL: .*", b"URL: forged.nar", data))
    edit(narinfo_of(folder, fixed), lambda data: re.sub(rb"NarHash: .*", b"NarHash: sha256:" + hashlib.sha256(nar).hexdigest().encode(), data))
    edit(narinfo_of(folder, fixed), lambda data: re.sub(rb"NarSize: .*", b"NarSize: %d" % len(nar), data))
    r = drive("cache-nar", "file://" + folder, hash_part(fixed), scratch("nar"), trust)
    fails("cache: if the content has it", r, "mismatch", "content address")


def test_cache_auth(nix):
    s, other = net_server.Server(handler=net_server.Cache), net_server.Server(handler=net_server.Cache)
    s.state.folder = other.state.folder = scratch("cache-none")
    s.state.elsewhere = other.url
    private, where = s.url + "/private", "machine 127.0.0.1\nlogin u\npassword p\n"
    netrc = scratch("netrc", where.encode())
    fails("cache: nobody", drive("cache-info", private), "denied", "401")
    check("cache: password in the URL", drive("cache-info", private.replace("//", "//u:p@")).code == 0)
    check("cache: not in its name", "p@" not in drive("cache-info", private.replace("//", "//u:p@")).text)
    check("cache: netrc", drive("cache-closure", private, nix.root, "netrc=" + netrc).code == 0)
    check("cache: everything is sent with it at once", all("Authorization" in e[2] for e in s.state.log[-6:]))
    os.makedirs(T + "/nix-conf", exist_ok=True)
    scratch("nix-conf/netrc", where.encode())
    check("cache: netrc of Nix", drive("cache-info", private, env={"NIX_CONF_DIR": T + "/nix-conf"}).code == 0)
    r = drive("cache-nar", s.url + "/elsewhere", hash_part(nix.root), scratch("nar"), "netrc=" + netrc)
    sent = other.state.log[-1]
    fails("cache: a NAR elsewhere gets no password", r, "denied", "401")
    check("cache: indeed", "Authorization" not in sent[2], sent)


def test_cache_write(nix):
    source = "file://" + scratch("cache-xz")
    s = net_server.Server(handler=net_server.Cache)
    for compression in ("none", "gzip", "zstd", "xz", "bzip2", "br"):
        for kind in ("file", "http"):
            folder = scratch("out-%s-%s" % (kind, compression))
            os.makedirs(folder) if kind == "http" else None
            s.state.folder = folder
            to = "file://" + folder if kind == "file" else s.url + "/x"
            r = drive("cache-copy", source, to, nix.root, "compression=" + compression, "level=1", "sign=" + nix.secret)
            check("cache: put with %s by %s" % (compression, kind), r.code == 0 and r.text.count("put ") == 4, r)
            good = same_nars(nix, "file://" + folder, "trust=" + nix.public)
            check("cache: and get it back, signed", good is True, good)
            good = nix.accepts("file://" + folder, "%s-%s" % (kind, compression))
            check("cache: and Nix accepts it", good is True, good)
    put = [e[1] for e in s.state.log if e[0] == "PUT" and e[1].endswith(".narinfo")][:4]
    order = [hash_part(line[4:]) for line in drive("cache-copy", source, "file://" + scratch("order"), nix.root).lines
             if line.startswith("put ")]
    check("cache: references first", [p[3:35] for p in put] == order and order[-1] == hash_part(nix.root) and
          order.index(hash_part([p for p in nix.closure if p.endswith("-b")][0])) == 2, (put, order))
    r = drive("cache-copy", source, s.url + "/x", nix.root, "compression=br")
    check("cache: what is there is skipped", r.text.count("present ") == 4 and "calls 0" in r.lines, r)
    count = len([e for e in s.state.log if e[0] == "PUT"])
    r = drive("cache-copy", source, s.url + "/x", nix.root, "compression=br", "level=1", "replace=1")
    puts = [e[1] for e in s.state.log if e[0] == "PUT"][count:]
    check("cache: or only its narinfo replaced", r.code == 0 and len(puts) == 4 and "narinfo" in puts[0], puts)
    for compression in ("none", "zstd"):
        s.state.folder = scratch("flaky-" + compression)
        os.makedirs(s.state.folder)
        r = drive("cache-copy", source, s.url + "/flaky", nix.root, "compression=" + compression)
        good = same_nars(nix, "file://" + s.state.folder)
        check("cache: uploads that break off, " + compression, good is True, "%s\n%s" % (good, r))
    s.state.folder = scratch("readonly")
    os.makedirs(s.state.folder)
    scratch("readonly/nix-cache-info", b"StoreDir: " + nix.store.encode() + b"\n")
    r = drive("cache-copy", source, s.url + "/readonly", nix.root)
    fails("cache: a cache that takes nothing", r, "unsupported", "405")
    for kind, to in (("file", "file://" + scratch("corrupt")), ("http", s.url + "/x")):
        for compression in ("none", "zstd"):
            s.state.folder = scratch("corrupt-" + compression)
            os.makedirs(s.state.folder, exist_ok=True)
            r = drive("cache-copy", source, to, nix.root, "corrupt=1", "compression=" + compression)
            seen = scratch("corrupt") if kind == "file" else s.state.folder
            fails("cache: a producer that lies, %s by %s" % (compression, kind), r, "mismatch", "NarHash is")
            left = [f for _, _, files in os.walk(seen) for f in files if f != "nix-cache-info"]
            check("cache: leaves nothing", left == [], left)


def test_cache_many(nix):
    """A wide and deep graph of narinfos, without NARs."""
    folder, count = scratch("many"), 3000
    os.makedirs(folder)
    scratch("many/nix-cache-info", b"StoreDir: /nix/store\n")
    letters = "0123456789abcdfghijklmnpqrsvwxyz"

    def base(i):
        return "".join(letters[i // 32 ** k % 32] for k in range(32)) + "-p%d" % i

    for i in range(count):
        references = " ".join(base(j) for j in {i, 2 * i + 1, 2 * i + 2} if j < count)
        text = "StorePath: /nix/store/%s\nURL: nar/x.nar\nCompression: none\nNarHash: sha256:%s\nNarSize: 1\nReferences: %s\n"
        scratch("many/%s.narinfo" % base(i)[:32], (text % (base(i), "0" * 52, references)).encode())
    s = net_server.Server(handler=net_server.Cache)
    s.state.folder = folder
    for where in ("file://" + folder, s.url + "/x"):
        start = time.time()
        r = drive("cache-closure", where, "/nix/store/" + base(0))
        check("cache: a closure of %d paths by %s (%.1f s)" % (count, where.split(":")[0], time.time() - start),
              r.fields.get("paths") == str(count), r)
    start = time.time()
    small = drive("cache-closure", s.url + "/slow", "/nix/store/" + base(count // 64))
    took, n = time.time() - start, int(small.fields.get("paths", 0))
    check("cache: narinfos are asked for at the same time (%d in %.1f s)" % (n, took), n > 50 and took < n * 0.05, small)
    fails("cache: gives up at the first failure", drive("cache-closure", s.url + "/x", "/nix/store/" + "0" * 32 + "-other"),
          "mismatch", "is about")


def test_caches():
    if not shutil.which("nix"):
        skip("cache", "needs nix")
        return
    nix = Nix()
    test_cache_read(nix)
    test_cache_lies(nix)
    test_cache_trust(nix)
    test_cache_auth(nix)
    test_cache_write(nix)
    test_cache_many(nix)


def main():
    if not os.access(DRIVER, os.X_OK):
        skip("net", "no driver at " + DRIVER)
        return 0
    test_http()
    test_registry_client()
    test_registry_uploads()
    test_registry_auth()
    test_docker_registry()
    test_caches()
    shutil.rmtree(T, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
