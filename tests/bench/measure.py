# SPDX-License-Identifier: Apache-2.0
"""Running programs and servers, and what they cost."""

import contextlib
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

SRC = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
NACRE = os.environ.get("NACRE", os.path.join(SRC, "build/release/src/cli/nacre"))
FIXTURES = os.environ.get("NACRE_FIXTURES", os.path.join(SRC, "build/fixtures"))
TICKS = os.sysconf("SC_CLK_TCK")
PINNED = os.cpu_count() >= 2 and shutil.which("taskset")

NIX = {
    "LC_ALL": "C",
    "NIX_CONFIG": "build-users-group =\nsandbox = false\nsubstituters =\nrequire-sigs = false\nfsync-metadata = false\n"
    "experimental-features = nix-command ca-derivations",
}


class Row:
    """One line of the table.

    kind "time": seconds, the ratio is peer / ours; "rate": the ratio is ours / peer; "cost": the ratio is
    ours / peer and wants to be small; "value": no peer, the figure itself is held against the aim.
    """

    def __init__(self, name, what, on, kind, ours, peer, unit, aim, peer_name="", **more):
        self.name, self.what, self.on, self.kind, self.unit, self.aim = name, what, on, kind, unit, aim
        self.ours, self.peer, self.peer_name, self.more = ours, peer, peer_name, more
        if kind == "value":
            self.ratio = ours
        elif not ours or not peer:
            self.ratio = None
        else:
            self.ratio = peer / ours if kind == "time" else ours / peer

    @property
    def met(self):
        if not self.aim or self.ratio is None:
            return None
        op, limit = self.aim.split()[:2]
        return self.ratio >= float(limit) if op == ">=" else self.ratio <= float(limit)

    def as_dict(self):
        return dict(name=self.name, what=self.what, on=self.on, ours=self.ours, peer=self.peer, peer_name=self.peer_name,
                    unit=self.unit, ratio=self.ratio, aim=self.aim, met=self.met, **self.more)


class Cost:
    def __init__(self, wall, cpu, rss):
        self.wall, self.cpu, self.rss = wall, cpu, rss


def run(command, stdin=None, stdout=None, env=None, check=True, timeout=None):
    """One program from start to end. With a timeout (seconds) it is ended, with all that it started in its session, and that is
    an error; what it leaves behind elsewhere is not waited for."""
    with open(stdin or os.devnull, "rb") as source, open(stdout or os.devnull, "wb") as sink, tempfile.TemporaryFile() as said:
        start, late = time.monotonic(), threading.Event()
        child = subprocess.Popen(command, stdin=source, stdout=sink, stderr=said, env=dict(os.environ, **(env or {})),
                                 start_new_session=timeout is not None)

        def end():
            late.set()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        watch = threading.Timer(timeout or 0, end)
        try:
            if timeout is not None:
                watch.start()
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            child.kill()
            raise
        finally:
            watch.cancel()
        child.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - start
        said.seek(0)
        text = said.read().decode(errors="replace")[-500:]
    if late.is_set():
        raise RuntimeError("%s: not done in %d s: %s" % (" ".join(command), timeout, text))
    if check and child.returncode:
        raise RuntimeError("%s: status %d: %s" % (" ".join(command), child.returncode, text))
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def touch_memory():
    """Half of what is free, at most 4 GiB, once. In a virtual machine a page that nobody has used yet is fetched from the host at its
    first touch, which takes longer than copying it: who happened to get such pages would pay. By a process of its own: a child's
    peak memory begins with its parent's."""
    with open("/proc/meminfo") as f:
        free = next(int(line.split()[1]) for line in f if line.startswith("MemAvailable")) << 10
    code = "import mmap\nm = mmap.mmap(-1, %d)\nfor at in range(0, len(m), mmap.PAGESIZE): m[at] = 1" % min(free // 2, 4 << 30)
    subprocess.run([sys.executable, "-c", code], check=True)


def median(costs, field="wall"):
    return statistics.median(getattr(c, field) for c in costs)


def middle(numbers):
    return statistics.median(numbers)


def interleaved(runs, **ways):
    """Each way `runs` times, in turn, so that what disturbs the machine disturbs all; after one run of each that does not
    count. A way is a function that returns a Cost or a number."""
    results = {name: [] for name in ways}
    for i in range(runs + 1):
        for name, way in ways.items():
            result = way()
            if i:
                results[name].append(result)
    return results


def output(*command, env=None, timeout=None):
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, env=dict(os.environ, **(env or {})), timeout=timeout).stdout.decode().strip()


def fixture(name):
    subprocess.run([os.path.join(SRC, "tests/fixtures/build"), FIXTURES, name], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    with open(os.path.join(FIXTURES, name + ".root")) as f:
        return f.read().strip()


def closure(path):
    return sorted(output("nix-store", "--store", FIXTURES, "--query", "--requisites", path, env=NIX).split())


class Scratch:
    """A folder on a disk that goes with the program."""

    def __init__(self):
        self.path = tempfile.mkdtemp(prefix="nacre-bench.", dir=os.environ.get("BENCH_TMP", "/var/tmp"))
        os.chmod(self.path, 0o755)

    def __call__(self, *names):
        return os.path.join(self.path, *names)

    def fresh(self, name):
        path = self(name)
        if os.path.isdir(path):
            remove(path)
        os.makedirs(path)
        return path

    def close(self):
        remove(self.path)


def remove(path):
    subprocess.run(["chmod", "-R", "u+w", path], check=False)
    shutil.rmtree(path, ignore_errors=True)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """A program that listens; on the first processor alone, where there are two."""

    def __init__(self, command, port, log, env=None, pin=True):
        self.port, self.url = port, "http://127.0.0.1:%d" % port
        prefix = ["taskset", "-c", "0"] if pin and PINNED else []
        with open(log, "wb") as out:
            self.process = subprocess.Popen(prefix + command, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                                            env=dict(os.environ, **(env or {})))
        for _ in range(400):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.05)
        with open(log) as f:
            raise RuntimeError("%s does not start: %s" % (command[0], f.read()[-500:]))

    def pids(self):
        children = output("sh", "-c", "ps -o pid= --ppid %d || true" % self.process.pid).split()
        return [self.process.pid] + [int(c) for c in children]

    def cpu(self):
        """Seconds of processor time so far."""
        total = 0
        for pid in self.pids():
            with open("/proc/%d/stat" % pid) as f:
                fields = f.read().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICKS

    def memory(self, key="VmRSS"):
        """Bytes resident now, or at the most (VmHWM)."""
        total = 0
        for pid in self.pids():
            with open("/proc/%d/status" % pid) as f:
                total += int(re.search(key + r":\s+(\d+)", f.read()).group(1)) * 1024
        return total

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def nacre_server(scratch, name="data", *options):
    port = free_port()
    return Server([NACRE, "serve", "--listen", "127.0.0.1:%d" % port, "--data", scratch(name), "--no-access-log", *options], port,
                  scratch(name + ".log"))


def registry_server(scratch, name="registry"):
    port = free_port()
    with open(scratch(name + ".yml"), "w") as f:
        f.write("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
                "storage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}\n"
                "http: {addr: '127.0.0.1:%d'}\n" % (scratch(name), port))
    return Server(["docker-registry", "serve", scratch(name + ".yml")], port, scratch(name + ".log"))


def nginx_server(scratch, root, name="nginx", tls=None):
    port = free_port()
    os.makedirs(scratch(name), exist_ok=True)
    secure = "ssl_certificate %s; ssl_certificate_key %s; ssl_protocols TLSv1.3;" % tls if tls else ""
    with open(scratch(name, "nginx.conf"), "w") as f:
        f.write("worker_processes 1; daemon off; pid %s/pid; error_log %s/error.log;\n" % (scratch(name), scratch(name)) +
                "events { worker_connections 4096; }\nhttp { access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;\n"
                "open_file_cache max=10000; open_file_cache_valid 600s; default_type application/octet-stream;\n"
                "%s client_body_temp_path %s/body; proxy_temp_path %s/p; fastcgi_temp_path %s/f; uwsgi_temp_path %s/u; scgi_temp_path %s/s;\n"
                % (secure, *[scratch(name)] * 5) +
                "server { listen 127.0.0.1:%d%s; root %s; } }\n" % (port, " ssl" if tls else "", root))
    if os.geteuid() == 0:
        with open(scratch(name, "nginx.conf"), "a") as f:
            f.write("user root;\n")
    return Server(["nginx", "-c", scratch(name, "nginx.conf"), "-e", scratch(name, "error.log")], port, scratch(name + ".log"))


class Load:
    """What wrk saw, and what it cost the server."""

    def __init__(self, text, server_cpu):
        def seconds(value, unit):
            return float(value) * {"us": 1e-6, "ms": 1e-3, "s": 1}[unit]
        def size(value, unit):
            return float(value) * {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}[unit]
        self.requests = int(re.search(r"(\d+) requests in", text).group(1))
        self.rate = float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1))
        # With what was read of bodies that did not end in time: of large ones that is a good part.
        self.bytes = size(*re.search(r"requests in [^,]+, ([\d.]+)([KMG]?B) read", text).groups())
        self.speed = size(*re.search(r"Transfer/sec:\s+([\d.]+)([KMG]?B)", text).groups())
        self.cpu_byte = server_cpu / max(self.bytes, 1)
        self.p99 = seconds(*re.search(r"99%\s+([\d.]+)(us|ms|s)", text).groups())
        bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
        if bad and int(bad.group(1)):
            raise RuntimeError("%s answers that are no success" % bad.group(1))
        errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
        if errors and any(int(n) for n in errors.groups()):
            raise RuntimeError(errors.group(0))
        self.cpu = server_cpu / max(self.requests, 1)


@contextlib.contextmanager
def client_processor():
    """Threads that begin meanwhile stay off the server's processor, as wrk does."""
    before = os.sched_getaffinity(0)
    if PINNED and 1 in before:
        os.sched_setaffinity(0, {1})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Loading:
    """A load that nobody measures."""

    def __init__(self, server, path, connections, seconds):
        self.process = subprocess.Popen(["wrk", "-t1", "-c%d" % connections, "-d%ds" % seconds, "--timeout", "30s",
                                         "http://127.0.0.1:%d%s" % (server.port, path)], stdout=subprocess.DEVNULL)

    def wait(self):
        if self.process.wait():
            raise RuntimeError("wrk ended with status %d" % self.process.returncode)


def wrk(server, path, connections, seconds, script=None, scheme="http"):
    prefix = ["taskset", "-c", "1"] if PINNED else []
    before = server.cpu()
    text = output(*prefix, "wrk", "-t1", "-c%d" % connections, "-d%ds" % seconds, "--latency", "--timeout", "30s",
                  *(["-s", script] if script else []), "%s://127.0.0.1:%d%s" % (scheme, server.port, path))
    return Load(text, server.cpu() - before)
