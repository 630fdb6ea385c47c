#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A bad line to a server: of each large answer to GET the first time only a part arrives.

    cutting_proxy.py PORT SERVER_PORT BYTES LOG      LOG gets "target first-byte-of-the-range" for each GET
"""

import re
import socket
import sys
import threading

port, server, limit, log_path = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
seen, lock = set(), threading.Lock()


def read_head(peer):
    data = b""
    while b"\r\n\r\n" not in data:
        got = peer.recv(65536)
        if not got:
            return None, b""
        data += got
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def pump(source, sink, limit=None):
    sent = 0
    try:
        while limit is None or sent < limit:
            got = source.recv(65536 if limit is None else min(65536, limit - sent))
            if not got:
                return
            sink.sendall(got)
            sent += len(got)
    except OSError:
        pass


def serve(client):
    """One request a connection; the rest of what the client sends goes as it is."""
    head, rest = read_head(client)
    if head is None:
        client.close()
        return
    line = head.split(b"\r\n", 1)[0].decode("latin-1")
    method, target = line.split(" ")[:2]
    cut = None
    if method == "GET":
        first = re.search(rb"\r\nrange: *bytes=(\d+)", head, re.I)
        with lock:
            with open(log_path, "a") as log:
                log.write("%s %s\n" % (target, first.group(1).decode() if first else "0"))
            if target not in seen:
                seen.add(target)
                cut = limit
    head = re.sub(rb"\r\nConnection: [^\r]*", b"", head, flags=re.I) + b"\r\nConnection: close"
    upstream = socket.create_connection(("127.0.0.1", server))
    upstream.sendall(head + b"\r\n\r\n" + rest)
    threading.Thread(target=pump, args=(client, upstream), daemon=True).start()
    pump(upstream, client, cut)
    for peer in (client, upstream):
        try:
            peer.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        peer.close()


listener = socket.create_server(("127.0.0.1", port), backlog=64)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
