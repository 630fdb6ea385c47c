# SPDX-License-Identifier: Apache-2.0
"""NARs and tars, against Nix and openssl."""

import itertools
import os
import re
import subprocess

import measure as m
from measure import Row

GIB = 1 << 30
TARGETS = itertools.count()


def trees(scratch, short):
    """Name -> (path, bytes of its NAR), smallest first."""
    closure = m.closure(m.fixture("python3"))
    biggest = max(closure, key=lambda p: tree_bytes(m.FIXTURES + p))
    yield "python3's largest path", m.FIXTURES + biggest
    size = GIB // 4 if short else GIB
    big = scratch("big")
    if not os.path.exists(big):
        with open(big, "wb") as f:
            for _ in range(size >> 20):
                f.write(os.urandom(1 << 20))
    yield "one file of %d MiB" % (size >> 20), big
    count = 20000 if short else 100000
    many = scratch("many")
    if not os.path.exists(many):
        for i in range(count):
            if i % 1000 == 0:
                os.makedirs("%s/%03d" % (many, i // 1000))
            with open("%s/%03d/%03d" % (many, i // 1000, i % 1000), "wb") as f:
                f.write(b"%d" % i * 20)
    yield "%d small files" % count, many


def tree_bytes(path):
    return int(m.output("du", "-s", "-b", path).split()[0])


def sha256_speed(scratch, runs):
    """Bytes a second of one core."""
    text = m.output("openssl", "speed", "-elapsed", "-seconds", "1", "-bytes", "1048576", "-evp", "sha256", "-mr")
    return float(re.findall(r"\+F:\d+:[^:]+:([\d.]+)", text)[-1])


def syscalls(command, stdin=None):
    """How many, counted in a run of its own; None without strace."""
    try:
        with open(stdin or os.devnull, "rb") as source:
            r = subprocess.run(["strace", "-f", "-c", "-o", "/dev/stderr"] + command, stdin=source, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, check=True)
        return int(re.search(rb"100\.00\s+[\d.]+\s+\d*\s+(\d+)", r.stderr).group(1))
    except (OSError, subprocess.CalledProcessError, AttributeError):
        return None


def processor_time(got):
    return dict(ours_cpu=m.median(got["ours"], "cpu"), peer_cpu=m.median(got["peer"], "cpu"))


def rows(scratch, short):
    runs = 3 if short else 7
    speed = sha256_speed(scratch, runs)
    for on, path in trees(scratch, short):
        ours, peer = [m.NACRE, "nar", "dump", path], ["nix-store", "--dump", path]
        nar = scratch("nar")
        m.run(ours, stdout=nar)
        size = os.path.getsize(nar)

        got = m.interleaved(runs, ours=lambda: m.run(ours), peer=lambda: m.run(peer, env=m.NIX))
        yield Row("dump: " + on, "NAR dump to /dev/null", on, "time", m.median(got["ours"]), m.median(got["peer"]), "s", ">= 1.5",
                  "nix-store --dump", **processor_time(got), ours_rss=m.median(got["ours"], "rss"),
                  peer_rss=m.median(got["peer"], "rss"), ours_syscalls=syscalls(ours))
        out = scratch("out")
        got = m.interleaved(runs, ours=lambda: m.run(ours, stdout=out), peer=lambda: m.run(peer, stdout=out, env=m.NIX))
        yield Row("dump to a file: " + on, "NAR dump to a file", on, "time", m.median(got["ours"]), m.median(got["peer"]), "s",
                  ">= 1.5", "nix-store --dump", **processor_time(got))
        got = m.interleaved(runs, ours=lambda: m.run([m.NACRE, "nar", "hash", path]), peer=lambda: m.run(["nix-hash", "--type", "sha256",
                                                                                                           path], env=m.NIX))
        yield Row("hash: " + on, "NAR hash", on, "time", m.median(got["ours"]), m.median(got["peer"]), "s", ">= 1.5", "nix-hash",
                  **processor_time(got))
        if "one file" in on:
            yield Row("hash speed: " + on, "NAR hash, bytes a second", on, "rate", size / m.median(got["ours"]), speed, "B/s",
                      ">= 0.9", "openssl speed sha256")

        # Trees stay until the end: for minutes ext4 looks at each inode that was freed before it takes a new one, which
        # would be what is measured.
        def restore(command, env=None):
            target = scratch("restored-%d" % next(TARGETS))
            cost = m.run(command + [target], stdin=nar, env=env)
            if not os.path.isdir(target):
                os.unlink(target)
            return cost
        got = m.interleaved(3 if "small" in on else runs, ours=lambda: restore([m.NACRE, "nar", "restore"]),
                            peer=lambda: restore(["nix-store", "--restore"], m.NIX))
        yield Row("restore: " + on, "NAR restore, verified", on, "time", m.median(got["ours"]), m.median(got["peer"]), "s", ">= 1.5",
                  "nix-store --restore", **processor_time(got))
        tar = [m.NACRE, "nar", "to-tar", "/nix/store/00000000000000000000000000000000-x", nar]
        got = m.interleaved(runs, ours=lambda: m.run(tar))
        yield Row("to tar: " + on, "NAR to canonical tar", on, "rate", size / m.median(got["ours"]), speed, "B/s", ">= 0.9",
                  "openssl speed sha256")
