#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Running the server: metrics, logs, health, limits, systemd.
. "$(dirname "$0")/lib.sh"
needs curl python3

start_nacre "$T/data"
status() {
    curl -s -o "$T/body" -w '%{http_code}' "$@"
}

# ---- health, ids, logs
check_eq "alive" 200 "$(status "$NACRE_URL/healthz")"
check_eq "ready" 200 "$(status "$NACRE_URL/readyz")"
check_match "each answer has an id" '^X-Request-Id: [0-9a-f]{16}' "$(curl -si "$NACRE_URL/v2/")"
check_match "the client's, if it is sane" '^X-Request-Id: my-id_1' "$(curl -si -H 'X-Request-Id: my-id_1' "$NACRE_URL/v2/")"
check_match "and one of ours if not" '^X-Request-Id: [0-9a-f]{16}' "$(curl -si -H 'X-Request-Id: a b"c' "$NACRE_URL/v2/")"
curl -s --path-as-is "$NACRE_URL/x%0aforged: line" -o "$T/body"
curl -s -H 'X-Request-Id: find-me' "$NACRE_URL/nix-cache-info" -o "$T/body"
check_match "the log has the id" 'GET /nix-cache-info 200 .* id=find-me$' "$(cat "$NACRE_LOG")"
check_eq "no line of it is the client's" "" "$(grep '^forged' "$NACRE_LOG")"

# ---- metrics
curl -s "$NACRE_URL/v2/none/manifests/x" -o "$T/body"
metrics=$(curl -s "$NACRE_URL/metrics")
for line in 'nacre_http_requests_total{endpoint="manifest",method="GET",status="4xx"} 1' \
    'nacre_http_request_duration_seconds_count{endpoint="manifest"} 1' \
    'nacre_http_request_duration_seconds_bucket{endpoint="manifest",le="+Inf"} 1' 'nacre_store_paths 0'; do
    check "metrics: $line" grep -qxF "$line" <<<"$metrics"
done
python3 - "$metrics" <<'PY' >"$T/metrics.tap"
import re, sys
types, bad, last = {}, [], {}
for line in sys.argv[1].splitlines():
    if line.startswith("# TYPE "):
        _, _, name, kind = line.split()
        types[name] = kind
    elif not line.startswith("#"):
        m = re.fullmatch(r'([a-z_:]+)(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? (\S+)', line)
        if not m:
            bad.append(line)
            continue
        name = re.sub("_(bucket|sum|count)$", "", m[1]) if re.sub("_(bucket|sum|count)$", "", m[1]) in types else m[1]
        if name not in types:
            bad.append(line)
        float(m[4])
        if m[1].endswith("_bucket"):
            key = re.sub(',le="[^"]*"', "", m[2])
            if float(m[4]) < last.get(key, 0):
                bad.append(line)
            last[key] = float(m[4])
print("ok - the text of metrics is well formed" if not bad else "not ok - malformed: %s" % bad)
PY
cat "$T/metrics.tap"
grep -q '^not ok' "$T/metrics.tap" && tap_failed=1
if command -v promtool >/dev/null; then
    check "promtool takes them" sh -c "curl -s $NACRE_URL/metrics | promtool check metrics"
fi
check_eq "metrics are not for whom a proxy lets in" 403 "$(status -H 'X-Forwarded-For: 10.0.0.1' "$NACRE_URL/metrics")"
stop_nacre TERM

start_nacre "$T/data" --set log-format=json --set limits.client-rate=5 --set limits.client-burst=5
curl -s -H 'X-Request-Id: "; drop' "$NACRE_URL/a%00%22%0a/x?y=%22" -o "$T/body"
check "the log as JSON" python3 -c '
import json, sys
lines = [json.loads(l) for l in open(sys.argv[1]) if l.startswith("{")]
assert any(l["target"].startswith("/a%00") and l["status"] == 400 and l["method"] == "GET" and len(l["id"]) == 16 for l in lines), lines' "$NACRE_LOG"
codes=$(for _ in $(seq 30); do status "$NACRE_URL/v2/none/tags/list"; echo; done | sort | uniq -c | awk '{ print $2 ":" ($1 > 0) }' | paste -sd' ')
check_eq "who asks too fast is told so" "404:1 429:1" "$codes"
check_match "and when to come again" "^Retry-After: [0-9]" "$(for _ in $(seq 10); do curl -si "$NACRE_URL/v2/none/tags/list"; done)"
check_match "in the registry's language" "TOOMANYREQUESTS" "$(for _ in $(seq 10); do curl -s "$NACRE_URL/v2/none/tags/list"; done)"
check_eq "health is always answered" "200" "$(for _ in $(seq 20); do status "$NACRE_URL/healthz"; echo; done | sort -u)"
puts=$(for i in $(seq 12); do status -X PUT --data-binary "x" "$NACRE_URL/log/0000000000000000000000000000000$((i % 10))-x.drv"; echo; done | sort -u | paste -sd' ')
case $puts in *429* | *5*) not_ok "a PUT of the cache waits for its turn" "$puts" ;; *) ok "a PUT of the cache waits for its turn" ;; esac
stop_nacre TERM

# ---- a disk that cannot be written
if [ "$(id -u)" = 0 ]; then
    mkdir "$T/small" && mount -t tmpfs -o size=12m tmpfs "$T/small"
    start_nacre "$T/small/data"
    check_eq "ready on a small disk" 200 "$(status "$NACRE_URL/readyz")"
    head -c 20000000 /dev/zero >"$T/small/fill" 2>"$T/err"
    sleep 2.2
    check_eq "not ready on a full one" 503 "$(status "$NACRE_URL/readyz")"
    check_match "it says why" "cannot be written" "$(cat "$T/body")"
    check_eq "but alive" 200 "$(status "$NACRE_URL/healthz")"
    rm "$T/small/fill"
    sleep 2.2
    check_eq "ready again, without a restart" 200 "$(status "$NACRE_URL/readyz")"
    stop_nacre TERM
    umount "$T/small"
fi

# ---- systemd: sockets, notifications, the watchdog, reloading, draining
cat >"$T/systemd.py" <<'PY'
import os, signal, socket, subprocess, sys, time, urllib.request
program, data = sys.argv[1:]
def check(name, good, detail=""):
    print(("ok - " if good else "not ok - ") + name + ("" if good else "\n#   %s" % (detail,)), flush=True)
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.bind(data + ".notify")
notify.settimeout(20)
listener = socket.create_server(("127.0.0.1", 0))
port = listener.getsockname()[1]
def child():
    os.dup2(listener.fileno(), 3)
    os.set_inheritable(3, True)
    os.environ["LISTEN_PID"] = str(os.getpid())
env = dict(os.environ, NOTIFY_SOCKET=data + ".notify", WATCHDOG_USEC="2000000", LISTEN_FDS="1", LISTEN_FDNAMES="http")
r, w = os.pipe()
pid = os.fork()
if pid == 0:
    child()
    os.environ.update(env, LISTEN_PID=str(os.getpid()))
    os.dup2(w, 1)
    os.execv(program, [program, "serve", "--data", data, "--listen", "127.0.0.1:1"])
def until(word, seconds=20):
    end, seen = time.time() + seconds, []
    while time.time() < end:
        try:
            seen.append(notify.recv(4096).decode())
        except TimeoutError:
            break
        if word in seen[-1]:
            return seen
    return None
check("it says when it is ready", until("READY=1"))
answer = urllib.request.urlopen("http://127.0.0.1:%d/healthz" % port, timeout=10).read()
check("it answers on the socket that it was given", answer == b"ok\n", answer)
check("and says which", os.read(r, 1000) == b"http://127.0.0.1:%d\n" % port)
check("the watchdog hears of it", until("WATCHDOG=1", 5))
os.kill(pid, signal.SIGHUP)
seen = until("READY=1")
check("it says that it reloads", seen and any("RELOADING=1" in s and "MONOTONIC_USEC=" in s for s in seen), seen)
# A transfer that is under way when the server is told to end.
s = socket.create_connection(("127.0.0.1", port))
s.sendall(b"POST /v2/a/blobs/uploads/?digest=sha256:%s HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345" %
          __import__("hashlib").sha256(b"1234567890").hexdigest().encode())
time.sleep(0.3)
os.kill(pid, signal.SIGTERM)
check("it says that it ends", until("STOPPING=1"))
time.sleep(0.3)
s.sendall(b"67890")
answer = s.recv(1000)
check("a transfer that had begun comes to its end", answer.startswith(b"HTTP/1.1 201"), answer)
status = os.waitpid(pid, 0)[1]
check("and then it is gone", status == 0, status)
PY
python3 "$T/systemd.py" "$NACRE" "$T/systemd" >"$T/systemd.tap" 2>"$T/systemd.err" || not_ok "systemd" "$(cat "$T/systemd.err")"
cat "$T/systemd.tap"
grep -q '^not ok' "$T/systemd.tap" && tap_failed=1

if command -v systemd-analyze >/dev/null; then
    mkdir "$T/units"
    for unit in "$SRC"/packaging/systemd/nacre*.service "$SRC"/packaging/systemd/nacre*.socket; do
        [ -e "$unit" ] && sed "s,/usr/bin/nacre,$NACRE," "$unit" >"$T/units/$(basename "$unit")"
    done
    check "the units are what systemd understands" sh -c "out=\$(systemd-analyze verify --man=no $T/units/*.service $T/units/*.socket 2>&1 | grep -E 'units/nacre' | grep -v 'is not executable'); [ -z \"\$out\" ] || { echo \"\$out\"; false; }"
fi
check "the example configuration" "$NACRE" serve --check --config "$SRC/packaging/nacre.yaml"
