#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A server that is not well, before one that is.

    busy_proxy.py PORT SERVER_PORT LOG ANSWER…

ANSWER is what the first, second, … GET of each file below /nar/ and of each narinfo gets: a status ("503"), with Retry-After
("429:1"), "drop" (the connection ends without an answer), "slow:SECONDS" or "pass"; "*" behind the last one: from then on. What
comes after them passes. LOG gets "milliseconds target answer" for each.
"""

import http.client
import http.server
import sys
import threading
import time

port, server, log_path, answers = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:]
seen, lock = {}, threading.Lock()


def next_answer(target):
    with lock:
        n = seen[target] = seen.get(target, 0) + 1
        at = min(n, len(answers)) - 1
        answer = answers[at].rstrip("*") if n <= len(answers) or answers[at].endswith("*") else "pass"
        with open(log_path, "a", encoding="utf-8") as log:
            log.write(f"{time.monotonic_ns() // 1000000} {target} {answer}\n")
    return answer


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def relay(self):
        upstream = http.client.HTTPConnection("127.0.0.1", server, timeout=60)
        upstream.request(self.command, self.path, headers={k: v for k, v in self.headers.items() if k.lower() != "host"})
        answer = upstream.getresponse()
        body = answer.read()
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", answer.getheader("Content-Length", str(len(body))))
        self.end_headers()
        self.wfile.write(body)
        upstream.close()

    def do_HEAD(self):
        self.relay()

    def do_GET(self):
        counts = self.path.startswith("/nar/") or self.path.endswith(".narinfo")
        what, _, number = (next_answer(self.path) if counts else "pass").partition(":")
        if what == "drop":
            self.close_connection = True
        elif what in ("pass", "slow"):
            time.sleep(float(number or 0))
            self.relay()
        else:
            self.send_response_only(int(what))
            if number:
                self.send_header("Retry-After", number)
            self.send_header("Content-Length", "0")
            self.end_headers()


http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
