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

url_of() { # of a Location
    case $1 in http*) echo "$1" ;; *) echo "$NACRE_URL$1" ;; esac
}
start_nacre "$T/data" --set log-format=json --set limits.client-rate=5 --set limits.client-burst=5
curl -s -H 'X-Request-Id: "; drop' "$NACRE_URL/a%00%22%0a/x?y=%22" -o "$T/body"
check "the log as JSON" python3 -c '
import json, sys
lines = [json.loads(l) for l in open(sys.argv[1]) if l.startswith("{")]
assert any(l["target"].startswith("/a%00") and l["status"] == 400 and l["method"] == "GET" and len(l["id"]) == 16 for l in lines), lines' "$NACRE_LOG"
# One program for all of them, so that they are fast on any machine.
codes=$(curl -s -o "$T/body" -w '%{http_code}\n' "$NACRE_URL/v2/none/tags/list?n=[1-60]" | sort | uniq -c | awk '{ print $2 ":" ($1 > 0) }' | paste -sd' ')
check_eq "who asks too fast is told so" "404:1 429:1" "$codes"
check_match "and when to come again" "^Retry-After: [0-9]" "$(curl -si "$NACRE_URL/v2/none/tags/list?n=[1-30]")"
check_match "in the registry's language" "TOOMANYREQUESTS" "$(curl -s "$NACRE_URL/v2/none/tags/list?n=[1-30]")"
check_eq "health is always answered" "200" "$(for _ in $(seq 20); do status "$NACRE_URL/healthz"; echo; done | sort -u)"
puts=$(for i in $(seq 12); do status -X PUT --data-binary "x" "$NACRE_URL/log/0000000000000000000000000000000$((i % 10))-x.drv"; echo; done | sort -u | paste -sd' ')
case $puts in *429* | *5*) not_ok "a PUT of the cache waits for its turn" "$puts" ;; *) ok "a PUT of the cache waits for its turn" ;; esac
stop_nacre TERM

# ---- the largest body, in however many pieces
start_nacre "$T/data" --set limits.body=100KiB
head -c 60000 /dev/urandom >"$T/piece"
where=$(curl -si -X POST "$NACRE_URL/v2/pieces/blobs/uploads/" | tr -d '\r' | sed -n 's/^[Ll]ocation: //p')
check_eq "a piece within the limit" 202 "$(status -X PATCH --data-binary "@$T/piece" -H 'Content-Type: application/octet-stream' "$(url_of "$where")")"
check_eq "two beyond it" 413 "$(status -X PATCH --data-binary "@$T/piece" -H 'Content-Type: application/octet-stream' "$(url_of "$where")")"
check_match "it says why" "larger than 102400 bytes" "$(cat "$T/body")"
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

# ---- the audit log
cat >"$T/htpasswd" <<'EOF'
alice:$2y$05$8i0Q2qkjYJBfJsQ6X2ZQ8uQh0qzq1sH6sHqVQk8pWkqk0uYw7y9bW
EOF
audit() {
    python3 -c '
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
want = eval("dict(%s)" % sys.argv[2])
good = [l for l in lines if all(l.get(k) == v for k, v in want.items())]
assert good and all(l["time"].endswith("Z") and l["id"] and l["peer"] for l in good), lines' "$T/audit" "$1"
}
blob() { # REPOSITORY TEXT
    status -X POST --data-binary "$2" "$NACRE_URL/v2/$1/blobs/uploads/?digest=sha256:$(printf %s "$2" | sha256sum | cut -d' ' -f1)"
}
manifest() { # REPOSITORY TAG
    status -X PUT -H 'Content-Type: application/vnd.oci.image.index.v1+json' --data-binary \
        '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}' "$NACRE_URL/v2/$1/manifests/$2"
}
start_nacre "$T/data-audit" --set "audit.file=$T/audit"
blob team/a hello >"$T/out"
check_eq "a manifest is pushed" 201 "$(manifest team/a 1)"
check_eq "and deleted" 202 "$(status -X DELETE "$NACRE_URL/v2/team/a/manifests/1")"
manifest team/a 'bad%0a%22tag' >"$T/out"
manifest team/a 'bad%ff' >"$T/out"
curl -s "$NACRE_URL/v2/team/a/tags/list" -o "$T/body"
curl -s -X POST "$NACRE_URL/v2/team/a/blobs/uploads/" -o "$T/body"
status -H 'X-Forwarded-For: 10.0.0.1' -X DELETE "$NACRE_URL/v2/team/a/manifests/1" >"$T/out"
check "audit: a blob" audit 'action="blob.put", result="done", status=201, repository="team/a"'
check "audit: a push" audit 'action="manifest.put", result="done", repository="team/a", object="1", digest="sha256:'"$(printf %s '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}' | sha256sum | cut -d' ' -f1)"'"'
check "audit: a delete" audit 'action="manifest.delete", result="done", status=202, object="1"'
check "audit: a refusal" audit 'action="manifest.delete", result="refused", status=403'
check "audit: names that are none" audit 'action="manifest.put", result="refused", object="bad\n\"tag"'
check_eq "audit: a line for each, and none for what changed nothing" 6 "$(wc -l <"$T/audit")"
check_eq "audit: its owner's alone" 600 "$(stat -c %a "$T/audit")"
mv "$T/audit" "$T/audit.1"
kill -HUP "$NACRE_PID"
check "audit: SIGHUP makes a new file" wait_for 10 test -e "$T/audit"
manifest team/a 2 >"$T/out"
check "audit: and lines go there" audit 'action="manifest.put", object="2"'
stop_nacre TERM
check_fails "audit: a file that cannot be is an error" "audit log" "$NACRE" serve --listen 127.0.0.1:0 --data "$T/data-audit" --set audit.file=/nowhere/x
check_fails "audit: without a file" "file" "$NACRE" serve --check --set 'audit={sync: true}'
check_fails "audit: a relative path" "must begin" "$NACRE" serve --check --set 'audit.file=x'

# Lines that cannot be written.
start_nacre "$T/data-audit" --set audit.file=/dev/full
check_eq "audit: a full disk stops nobody" "201 201" "$(manifest team/a 3) $(manifest team/a 4)"
check_eq "audit: and is told once" 1 "$(grep -c 'audit log cannot be written' "$NACRE_LOG")"
stop_nacre TERM
if [ "$(id -u)" = 0 ]; then
    mkdir "$T/full" && mount -t tmpfs -o size=64k tmpfs "$T/full"
    start_nacre "$T/data-audit" --set "audit={file: $T/full/audit, required: true, sync: true}"
    manifest team/a 5 >"$T/out"
    head -c 100000 /dev/zero >"$T/full/fill" 2>"$T/err"
    for _ in $(seq 40); do manifest team/a 6 >"$T/out"; done
    check_eq "audit: required, and full" "503 413" "$(manifest team/a 7) $(status -X PUT --data-binary x "$NACRE_URL/log/00000000000000000000000000000000-x.drv")"
    check_match "audit: it says why" "audit log" "$(cat "$T/body")"
    check_eq "audit: nothing was changed" 404 "$(status "$NACRE_URL/v2/team/a/manifests/7")"
    check_eq "audit: reads go on" 200 "$(status "$NACRE_URL/v2/team/a/manifests/5")"
    rm "$T/full/fill"
    check_eq "audit: and all does when there is room" 201 "$(manifest team/a 7)"
    cp "$T/full/audit" "$T/audit.torn"
    grep -v '^$' "$T/audit.torn" | python3 -c '
import json, sys
bad = 0
for line in sys.stdin:
    try:
        last = json.loads(line)
    except ValueError:
        bad += 1
sys.exit(bad > 1 or last["object"] != "7")' && ok "audit: half a line spoils no other" || not_ok "audit: half a line spoils no other" "$(tail -n 5 "$T/audit.torn")"
    stop_nacre TERM
    umount "$T/full"
fi
# The password is no good: what counts is that it was tried.
printf 'auth: {htpasswd: %s}\naudit: {file: %s}\n' "$T/htpasswd" "$T/audit" >"$T/auth.yaml"
start_nacre "$T/data-audit" --config "$T/auth.yaml"
curl -s -u alice:wrong "$NACRE_URL/v2/" -o "$T/body"
check "audit: a login that failed" audit 'action="auth.failure", status=401, result="refused"'
curl -s --data 'grant_type=password&username=alice&password=wrong' "$NACRE_URL/token" -o "$T/body"
check "audit: one by a form for a token, too" audit 'action="auth.failure", method="POST", target="/token", status=401'
check_match "and both are counted" "^nacre_auth_failures_total 2$" "$(curl -s "$NACRE_URL/metrics" | grep ^nacre_auth_failures)"
check_eq "audit: without the password" "" "$(grep wrong "$T/audit")"
stop_nacre TERM

# ---- webhooks
cat >"$T/receiver.py" <<'PY'
import hashlib, hmac, http.server, json, sys, threading
out, secret, seen = open(sys.argv[1], "w", buffering=1), sys.argv[2].encode(), set()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        event = json.loads(body)
        # The first attempt of each fails.
        first = event["id"] not in seen
        seen.add(event["id"])
        self.send_response(503 if first else 204)
        self.end_headers()
        if not first:
            mac = "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()
            event["signed"] = self.headers.get("X-Nacre-Signature-256") == mac
            event["contentType"] = self.headers["Content-Type"]
            print(json.dumps(event), file=out)
    def log_message(self, *args):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[3])), Handler).serve_forever()
PY
printf 'the secret\n' >"$T/secret"
port=$(free_port)
start_server receiver python3 "$T/receiver.py" "$T/events" "the secret" "$port"
wait_for 10 test -e "$T/events"
# Another never comes to the end of its answer.
cat >"$T/trickle.py" <<'PY'
import socket, sys, threading, time
calls = open(sys.argv[1], "w", buffering=1)
def trickle(peer):
    try:
        while peer.send(b"x"):
            time.sleep(0.2)
    except OSError:
        print("left", file=calls)
listener = socket.create_server(("127.0.0.1", int(sys.argv[2])))
while True:
    peer = listener.accept()[0]
    print("call", file=calls)
    peer.send(b"HTTP/1.1 204 No Content\r\nX-A: ")
    threading.Thread(target=trickle, args=(peer,), daemon=True).start()
PY
trickle_port=$(free_port)
start_server trickle python3 "$T/trickle.py" "$T/calls" "$trickle_port"
wait_for 10 test -e "$T/calls"
printf 'webhooks:\n- {url: "http://127.0.0.1:%s/", repositories: "team/**"}\n- {url: "http://127.0.0.1:%s/x", secret-file: %s, repositories: "team/**", caches: /}\n- {url: "http://127.0.0.1:1/", repositories: other}\n' "$trickle_port" "$port" "$T/secret" >"$T/webhooks.yaml"
start_nacre "$T/data-hooks" --config "$T/webhooks.yaml"
manifest team/a 1 >"$T/out"
manifest elsewhere 1 >"$T/out"
check_eq "a receiver that is gone is nobody's business" 201 "$(manifest other 1)"
manifest team/a 'bad%0atag' >"$T/out"
status -X DELETE "$NACRE_URL/v2/team/a/manifests/1" >"$T/out"
if command -v nix >/dev/null; then
    echo content >"$T/some-file"
    path=$(nix-store --store "$T/nix-store" --add "$T/some-file")
    check "webhooks: a path is put" nix copy --from "$T/nix-store" --no-check-sigs --to "$NACRE_URL" "$path"
    hash=$(basename "$path" | cut -c1-32)
    check "webhooks: a path" wait_for 20 grep -q "nacre.path.bound.*$hash" "$T/events"
    check_eq "a path is deleted" 204 "$(status -X DELETE "$NACRE_URL/$hash.narinfo")"
    check "webhooks: of a path that is deleted" wait_for 20 grep -q "nacre.path.delete.*$hash" "$T/events"
fi
check "webhooks: events come, at the second attempt" wait_for 20 grep -q manifest.delete "$T/events"
wait_for 20 grep -q manifest.push "$T/events"
check "webhooks: they say what happened, and are signed" python3 -c '
import json, re, sys
events = [json.loads(line) for line in open(sys.argv[1])]
kinds = [(e["type"], e["source"], e["data"].get("reference")) for e in events]
assert kinds.count(("nacre.manifest.push", "/v2/team/a", "1")) == 1, kinds
assert kinds.count(("nacre.manifest.delete", "/v2/team/a", "1")) == 1, kinds
assert not any("elsewhere" in k[1] or "other" in k[1] for k in kinds), kinds
for e in events:
    assert e["specversion"] == "1.0" and e["signed"] and e["datacontenttype"] == "application/json", e
    assert e["contentType"].startswith("application/cloudevents+json"), e
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", e["time"]), e
assert len({e["id"] for e in events}) == len(events)
push = [e for e in events if e["type"] == "nacre.manifest.push"][0]
assert re.fullmatch("sha256:[0-9a-f]{64}", push["data"]["digest"]) and push["subject"] == "1", push' "$T/events"
check "webhooks: a receiver that trickles is left after a while" wait_for 25 grep -q left "$T/calls"
stop_nacre TERM
check_match "webhooks: what is given up is in the log" "webhooks: given up: .*nacre.manifest.push" "$(cat "$NACRE_LOG")"
# "U*U", of the test vectors of bcrypt
printf 'ops:$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\n' >"$T/ops"
{
    cat "$T/webhooks.yaml"
    printf 'auth: {htpasswd: %s}\naccess: [{repositories: "**", caches: "**", who: ops, allow: [pull, push, delete, admin]}]\n' "$T/ops"
} >"$T/hooks-ops.yaml"
start_nacre "$T/data-hooks" --config "$T/hooks-ops.yaml"
NACRE_URL=http://ops:U%2AU@$NACRE_ADDR
check_eq "an operator pushes" 201 "$(manifest team/a gone)"
check "and deletes by the command" "$NACRE" admin delete --server "$NACRE_URL" team/a:gone
check "webhooks: that makes an event, too" wait_for 20 grep -q 'nacre.manifest.delete.*"repository": "team/a", "reference": "gone"' "$T/events"
stop_nacre TERM
for bad in '[{repositories: a}]' '[{url: "ftp://x", repositories: a}]' '[{url: "http://x"}]' '[{url: "http://x", caches: a, secret-file: /nowhere}]' '[{url: "http://x", caches: a, secrets: x}]'; do
    check_fails "webhooks: $bad" "webhooks" "$NACRE" serve --check --set "webhooks=$bad"
done

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
