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
COUNTED_MAX = 128 << 20  # of more, counting instructions takes minutes
LAYER = "/nix/store/00000000000000000000000000000000-x"


def trees(scratch, short):
    """Name -> path, smallest first."""
    closure = scratch("closure")
    if not os.path.exists(closure):
        os.makedirs(closure)
        subprocess.run(["cp", "-a", *(m.FIXTURES + p for p in m.closure(m.fixture("python3"))), closure], check=True)
    yield "python3's closure", closure
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


def sha256_speed(scratch, runs):
    """Bytes a second of one core."""
    text = m.output("openssl", "speed", "-elapsed", "-seconds", "1", "-bytes", "1048576", "-evp", "sha256", "-mr")
    return float(re.findall(r"\+F:\d+:[^:]+:([\d.]+)", text)[-1])


def counted(tool, pattern, command, stdin, env):
    """What a tool that counts says of a run of its own; None without the tool."""
    try:
        with open(stdin or os.devnull, "rb") as source:
            r = subprocess.run(tool + command, stdin=source, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True,
                               env=dict(os.environ, **(env or {})))
        return int(re.search(pattern, r.stderr).group(1).replace(b",", b""))
    except (OSError, subprocess.CalledProcessError, AttributeError):
        return None


def syscalls(command, stdin=None, env=None):
    return counted(["strace", "-f", "-c", "-o", "/dev/stderr"], rb"100\.00\s+[\d.]+\s+\d*\s+(\d+)", command, stdin, env)


def instructions(command, stdin=None, env=None):
    """In user space. What hashes is counted as the machine of valgrind does it, without SHA instructions."""
    return counted(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"], rb"refs:\s+([\d,]+)", command, stdin, env)


def quiet(size, ours, peer=None, env=None):
    """The figures that do not depend on what else the machine does."""
    more = {"ours_syscalls": syscalls(ours)}
    if peer:
        more["peer_syscalls"] = syscalls(peer, env=env)
    if size <= COUNTED_MAX:
        more["ours_instructions"] = instructions(ours)
        if peer:
            more["peer_instructions"] = instructions(peer, env=env)
    return more


def costs(got):
    """Processor time and memory."""
    return {"%s_%s" % (who, field): m.median(got[who], field) for who in got if who != "speed" for field in ("cpu", "rss")}


def against(name, what, on, got, peer, aim=">= 1.5", **more):
    return Row(name + ": " + on, what, on, "time", m.median(got["ours"]), m.median(got["peer"]), "s", aim, peer, **costs(got), **more)


def dump_rows(scratch, runs, on, path, nar):
    ours, peer = [m.NACRE, "nar", "dump", path], ["nix-store", "--dump", path]
    m.run(ours, stdout=nar)
    size, out = os.path.getsize(nar), scratch("out")
    got = m.interleaved(runs, ours=lambda: m.run(ours), peer=lambda: m.run(peer, env=m.NIX))
    yield against("dump", "NAR dump to /dev/null", on, got, "nix-store --dump", **quiet(size, ours, peer, m.NIX))

    def to_file(command, env=None):
        os.sync()  # what was written before is not written out meanwhile
        return m.run(command, stdout=out, env=env)
    got = m.interleaved(runs, ours=lambda: to_file(ours), peer=lambda: to_file(peer, m.NIX))
    yield against("dump to a file", "NAR dump to a file", on, got, "nix-store --dump")
    os.unlink(out)


def hash_rows(scratch, runs, on, path, size):
    ours, peer = [m.NACRE, "nar", "hash", path], ["nix-hash", "--type", "sha256", path]
    got = m.interleaved(runs, ours=lambda: m.run(ours), peer=lambda: m.run(peer, env=m.NIX), speed=lambda: sha256_speed(scratch, runs))
    large = "one file" in on
    # nix-hash is at 0.8 of what SHA-256 allows: no aim of 1.5 can be met by who hashes all of a large file.
    yield against("hash", "NAR hash", on, got, "nix-hash", "" if large else ">= 1.5", **quiet(size, ours, peer, m.NIX))
    if large:
        yield Row("hash speed: " + on, "NAR hash, bytes a second", on, "rate", size / m.median(got["ours"]), m.middle(got["speed"]), "B/s",
                  ">= 0.9", "openssl speed sha256")


def restore_rows(scratch, runs, on, nar):
    # Trees stay until the end: for minutes ext4 looks at each inode that was freed before it takes a new one, which
    # would be what is measured.
    def restore(command, env=None):
        target = scratch("restored-%d" % next(TARGETS))
        os.sync()
        cost = m.run(command + [target], stdin=nar, env=env)
        if not os.path.isdir(target):
            os.unlink(target)
        return cost
    got = m.interleaved(3 if "small" in on else runs, ours=lambda: restore([m.NACRE, "nar", "restore"]),
                        peer=lambda: restore(["nix-store", "--restore"], m.NIX))
    yield against("restore", "NAR restore, verified", on, got, "nix-store --restore")


def tar_rows(scratch, runs, on, nar):
    ours = [m.NACRE, "nar", "to-tar", "--digest", LAYER, nar]
    tar = scratch("tar")
    m.run([m.NACRE, "nar", "to-tar", LAYER, nar], stdout=tar)
    size = os.path.getsize(tar)
    os.unlink(tar)
    got = m.interleaved(runs, ours=lambda: m.run(ours), speed=lambda: sha256_speed(scratch, runs))
    yield Row("diffID of a NAR: " + on, "NAR to canonical tar to diffID, bytes of tar a second", on, "rate", size / m.median(got["ours"]),
              m.middle(got["speed"]), "B/s", ">= 0.9", "openssl speed sha256", **costs(got), **quiet(size, ours))


def rows(scratch, short):
    runs = 3 if short else 7
    for on, path in trees(scratch, short):
        nar = scratch("nar")
        yield from dump_rows(scratch, runs, on, path, nar)
        yield from hash_rows(scratch, runs, on, path, os.path.getsize(nar))
        yield from restore_rows(scratch, runs, on, nar)
        yield from tar_rows(scratch, runs, on, nar)
