#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a container is, in its configuration (nacre bundle) and at work (nacre run): users and groups of the image, a
# terminal, limits, networks, capabilities, what is masked, where it begins.
. "$(dirname "$0")/lib.sh"
needs nix python3 jq
needs_root

NODE=$T/node
P=$(fixture python3) || die "no fixture python3"
"$NACRE" build --from "$FIXTURES" "$P" -o "oci:$T/image:plain" >/dev/null 2>"$T/log" || die "$(cat "$T/log")"

# variant TAG CONFIG-JSON: the image with files of its own in /etc, as an ordinary layer, and with more in its config.
variant() {
    python3 - "$T/image" "$@" <<'PYTHON' || die "no image $1"
import hashlib, io, json, sys, tarfile
layout, tag, more = sys.argv[1:]
files = {"etc/passwd": "root:x:0:0::/root:/bin/sh\napp:x:1000:100:,,,:/home/app:/bin/sh\nbroken:x:y:z\n4242:x:77:78::/num:/bin/sh\n",
         "etc/group": "root:x:0:\nusers:x:100:\nstaff:x:50:app\nwheel:x:10:root,app\naudio:x:29:somebody,app\n"}
def blob(data):
    digest = hashlib.sha256(data).hexdigest()
    with open(f"{layout}/blobs/sha256/{digest}", "wb") as file:
        file.write(data)
    return {"digest": "sha256:" + digest, "size": len(data)}
index = json.load(open(layout + "/index.json"))
old = next(m for m in index["manifests"] if m["annotations"]["org.opencontainers.image.ref.name"] == "plain")
manifest = json.load(open(f"{layout}/blobs/sha256/{old['digest'][7:]}"))
config = json.load(open(f"{layout}/blobs/sha256/{manifest['config']['digest'][7:]}"))
out = io.BytesIO()
with tarfile.open(fileobj=out, mode="w") as tar:
    for name, text in files.items():
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(text), 0o644
        tar.addfile(info, io.BytesIO(text.encode()))
manifest["layers"].append({"mediaType": "application/vnd.oci.image.layer.v1.tar", **blob(out.getvalue())})
config["rootfs"]["diff_ids"].append("sha256:" + hashlib.sha256(out.getvalue()).hexdigest())
config.pop("history", None)
config["config"].update(json.loads(more))
manifest["config"].update(blob(json.dumps(config).encode()))
index["manifests"].append(dict(old, annotations={"org.opencontainers.image.ref.name": tag}, **blob(json.dumps(manifest).encode())))
json.dump(index, open(layout + "/index.json", "w"))
PYTHON
}
variant users '{}'
I=oci:$T/image:users
NOTHING=(/bin/python3 -V)
run() {
    "$NACRE" run --root "$NODE" --host-store none "$@"
}
python() {
    run "${@:1:$#-1}" /bin/python3 -c "${!#}" 2>&1
}
# config OPTION… IMAGE: the bundle's config.json
config() {
    rm -rf "$T/bundle"
    "$NACRE" bundle --root "$NODE" --host-store none "${@:1:$#-1}" "${!#}" "$T/bundle" /bin/true >"$T/log" 2>&1 || {
        cat "$T/log"
        return 1
    }
    cat "$T/bundle/config.json"
    "$NACRE" umount --root "$NODE" "$T/bundle/rootfs" >"$T/log" 2>&1 || not_ok "umount the bundle" "$(cat "$T/log")"
}

# ---- users and groups of the image -----------------------------------------------------------------------

IDS='import os; print(os.getuid(), os.getgid(), ",".join(map(str, sorted(os.getgroups()))), os.environ["HOME"])'
# user DESC SPEC WANT: uid, gid, all groups, home
user() {
    check_eq "$1 ($2): at work" "$3" "$(python -u "$2" "$I" "$IDS")"
    check_eq "$1 ($2): in the bundle" "${3% *}" \
        "$(config -u "$2" "$I" | jq -r '.process.user | "\(.uid) \(.gid) \(.additionalGids | unique | map(tostring) | join(","))"')"
}
user "a user by name has the groups of /etc/group" app "1000 100 10,29,50,100 /home/app"
user "and so has one by number" 1000 "1000 100 10,29,50,100 /home/app"
user "a number that the image does not know" 4321 "4321 0 0 /"
user "a group by name stands alone" 1000:staff "1000 50 50 /home/app"
user "a group by number" app:4242 "1000 4242 4242 /home/app"
user "both unknown to the image" 4321:777 "4321 777 777 /"
user "an unknown user in a known group" 4321:wheel "4321 10 10 /"
user "a name that is a number is a name" 4242 "77 78 78 /num"
user "root" 0 "0 0 0,10 /root"
check_fails "a name that the image does not know" "no user 'broken' in /etc/passwd" run -u broken "$I" "${NOTHING[@]}"
check_fails "a group that the image does not know" "no group 'nobody' in /etc/group" run -u app:nobody "$I" "${NOTHING[@]}"
variant named '{"User": "1000:staff", "WorkingDir": "/made/by/config", "Env": ["PATH=/bin", "A=1", "B=2"]}'
check_eq "the user that the image's config names" "1000 50 50 /home/app" "$(python "oci:$T/image:named" "$IDS")"
check_eq "--user goes before it" "0 0 0,10 /root" "$(python -u root "oci:$T/image:named" "$IDS")"
variant nobody '{"User": "nosuch"}'
check_fails "a user in the config that the image does not have" "no user 'nosuch'" run "oci:$T/image:nobody" "${NOTHING[@]}"

# ---- where it begins, with what ------------------------------------------------------------------------------

check_eq "a working directory of the config that is not there is made" "/made/by/config" "$(python "oci:$T/image:named" 'import os; print(os.getcwd())')"
check_eq "and one that is asked for" /no/such "$(python -w /no/such "$I" 'import os; print(os.getcwd())')"
check_fails "a working directory that is a file" "etc/passwd" run -w /etc/passwd "$I" "${NOTHING[@]}"
check_fails "a relative one" "not absolute" run -w tmp "$I" "${NOTHING[@]}"
check_eq "environment: of the config, changed, added" "1 x y" \
    "$(python -e B=x -e C=y "oci:$T/image:named" 'import os; print(os.environ["A"], os.environ["B"], os.environ["C"])')"
check_eq "in the bundle as well, each once" "A=1 B=x C=y HOME=/home/app PATH=/bin" "$(config -e B=x -e C=y "oci:$T/image:named" | jq -r '.process.env | sort | join(" ")')"
check_eq "nothing of this machine's environment" none "$(SECRET=1 python "$I" 'import os; print(os.environ.get("SECRET", "none"))')"

# ---- networks --------------------------------------------------------------------------------------------------

NET='import os, socket; s = socket.create_server(("127.0.0.1", 0)); socket.create_connection(s.getsockname()); print(os.readlink("/proc/self/ns/net"), *sorted(os.listdir("/sys/class/net")))'
private=$(python "$I" "$NET")
check_match "a network of its own, with nothing but a loopback that works" "^net:\[[0-9]+\] lo$" "$private"
check_eq "which is not this machine's" other "$([ "${private% lo}" = "$(readlink /proc/self/ns/net)" ] || echo other)"
check_eq "--network host: this machine's" "$(readlink /proc/self/ns/net)" "$(python --network host "$I" "$NET" | cut -d' ' -f1)"
check_eq "with its name servers and hosts" "$(sha256sum </etc/resolv.conf | cut -c1-64) $(sha256sum </etc/hosts | cut -c1-64)" "$(python --network host "$I" \
    'import hashlib; print(*(hashlib.sha256(open(f, "rb").read()).hexdigest() for f in ("/etc/resolv.conf", "/etc/hosts")))')"
NAMES='import socket; print(*sorted({a[4][0] for n in ("localhost", socket.gethostname()) for a in socket.getaddrinfo(n, 80, socket.AF_INET)}), socket.gethostname())'
check_eq "its own name and localhost are known there" "127.0.0.1 box" "$(python --hostname box "$I" "$NAMES")"
check_eq "to any user, in a read-only container" "127.0.0.1 box" "$(python --hostname box --read-only -u app "$I" "$NAMES")"
echo "127.0.0.9 box localhost" >"$T/hosts"
check_eq "a file of the user's goes before that" "127.0.0.9 box" "$(python --hostname box -v "$T/hosts:/etc/hosts" "$I" "$NAMES")"
check_eq "in the bundle: name spaces" "ipc,mount,network,pid,uts ipc,mount,pid,uts" \
    "$(echo "$(config "$I" | jq -r '[.linux.namespaces[].type] | sort | join(",")') $(config --network host "$I" | jq -r '[.linux.namespaces[].type] | sort | join(",")')")"

# ---- what it may ---------------------------------------------------------------------------------------------

default="CHOWN DAC_OVERRIDE FOWNER FSETID KILL NET_BIND_SERVICE SETFCAP SETGID SETPCAP SETUID SYS_CHROOT"
caps() {
    config "$@" "$I" | jq -r '[.process.capabilities.bounding[] | ltrimstr("CAP_")] | sort | join(" ")'
}
check_eq "in the bundle: podman's capabilities" "$default" "$(caps)"
check_eq "with one more, and one less" "$(xargs -n1 <<<"$default NET_RAW" | grep -v '^KILL$' | sort | xargs)" "$(caps --cap-add net_raw --cap-drop CAP_KILL)"
check_eq "without any" "" "$(caps --cap-drop ALL)"
check_eq "those at work are those of the bundle" "$(caps | wc -w)" \
    "$(python "$I" 'print(bin(int(next(l for l in open("/proc/self/status") if l.startswith("CapBnd")).split()[1], 16)).count("1"))')"
check_eq "no new privileges" 1 "$(python "$I" 'print(next(l for l in open("/proc/self/status") if l.startswith("NoNewPrivs")).split()[1])')"
# Each path of the bundle, where the kernel has it: empty, and not to be written.
SHUT='
import errno, os, stat, sys
for kind, *paths in (line.split() for line in sys.argv[1].splitlines()):
    for path in paths:
        if not os.path.exists(path):
            continue
        if kind == "masked":
            good = not os.listdir(path) if os.path.isdir(path) else stat.S_ISCHR(os.stat(path).st_mode)
        else:
            good = os.statvfs(path).f_flag & os.ST_RDONLY
        print(*([] if good else [kind, path, "is open"]), end="" if good else "\n")'
shut=$(config "$I" | jq -r '"masked " + (.linux.maskedPaths | join(" ")), "readonly " + (.linux.readonlyPaths | join(" "))')
check_eq "19 paths are masked or read-only in the bundle" 19 "$(($(wc -w <<<"$shut") - 2))"
check_eq "and in the container" "" "$(run "$I" /bin/python3 -c "$SHUT" "$shut" 2>&1)"

# ---- limits ----------------------------------------------------------------------------------------------------

LIMITS='import resource as r; print(*r.getrlimit(r.RLIMIT_NOFILE), *r.getrlimit(r.RLIMIT_CORE), r.getrlimit(r.RLIMIT_STACK)[0])'
check_eq "limits of each process" "200 300 0 0 1048576" "$(python --ulimit nofile=200:300 --ulimit core=0 --ulimit stack=1048576 "$I" "$LIMITS")"
check_eq "in the bundle" "RLIMIT_CORE 0 0 RLIMIT_NOFILE 200 300" \
    "$(config --ulimit nofile=200:300 --ulimit core=0 "$I" | jq -r '[.process.rlimits[] | "\(.type) \(.soft) \(.hard)"] | sort | join(" ")')"
check_eq "limits of the container, in the bundle" "67108864 50000 100000 50" \
    "$(config --memory 64m --cpus 0.5 --pids-limit 50 "$I" | jq -r '.linux.resources | "\(.memory.limit) \(.cpu.quota) \(.cpu.period) \(.pids.limit)"')"
check_eq "none, where none is asked for, and no devices but the usual" '{"devices":[{"access":"rwm","allow":false}]}' \
    "$(config "$I" | jq -cS .linux.resources)"
if [ -w /sys/fs/cgroup ] && run --memory 64m "$I" "${NOTHING[@]}" >"$T/out" 2>&1; then
    check_eq "memory: who takes more is killed" 137 "$(run --memory 64m "$I" /bin/python3 -c 'x = bytearray(256 << 20)' >"$T/out" 2>&1; echo $?)"
    check_eq "and who does not goes on" ok "$(python --memory 64m "$I" 'x = bytearray(16 << 20); print("ok")')"
    check_match "processes: no more than these" "BlockingIOError|Resource temporarily unavailable" "$(python --pids-limit 5 "$I" '
import os, time
for _ in range(20):
    if os.fork() == 0:
        time.sleep(2)
        os._exit(0)')"
    # A second of work in half a processor takes two; whatever else this machine does, not less.
    check "processor time: half of it" [ "$(python --cpus 0.5 "$I" '
import time
start = time.monotonic()
while time.process_time() < 1:
    pass
print(int((time.monotonic() - start) * 1000))')" -ge 1700 ]
else
    skip "limits of the container" "$(head -n 1 "$T/out" 2>/dev/null)"
fi

# ---- a terminal ------------------------------------------------------------------------------------------------

terminal() {
    python3 "$SRC/tests/integration/lib/terminal.py" "$1" "$NACRE" run --root "$NODE" --host-store none -t "${@:3}" "$I" /bin/python3 -c "$2" 2>&1
}
TTY='
import os, signal, time
sizes = []
signal.signal(signal.SIGWINCH, lambda *_: sizes.append(1))
print(*(os.isatty(i) for i in range(3)), os.ttyname(0), os.environ["TERM"], *os.get_terminal_size())
print("ready", flush=True)
end = time.monotonic() + (3 if WAIT else 0)
while time.monotonic() < end and tuple(os.get_terminal_size()) == (100, 40):
    time.sleep(0.05)
print(*os.get_terminal_size(), bool(sizes))
raise SystemExit(7)'
for runtime in crun runc; do
    command -v $runtime >/dev/null || continue
    check_eq "a terminal of its own, as large as this one; the exit code ($runtime)" "True True True /dev/pts/0 vt9 100 40 ready 100 40 False status 7" \
        "$(TERM=vt9 terminal none "WAIT = False$TTY" --runtime $runtime | xargs)"
    check_eq "that is made smaller with it ($runtime)" "True True True /dev/pts/0 vt9 100 40 ready 22 11 True status 7" \
        "$(TERM=vt9 terminal resize "WAIT = True$TTY" --runtime $runtime | xargs)"
done
check_eq "what is typed arrives, and is echoed" "ready typed got typed status 0" "$(terminal type 'print("got", input("ready\n"))' | xargs)"
check_eq "Control-C interrupts what runs in it" "ready ^Cinterrupted status 9" "$(terminal interrupt '
import time
try:
    print("ready", flush=True)
    while True: # short: Python sleeps on if a signal comes just before
        time.sleep(0.1)
except KeyboardInterrupt:
    print("interrupted")
    raise SystemExit(9)' | xargs)"
TERMINATED='
import os, signal, time
signal.signal(signal.SIGTERM, lambda *_: os._exit(5))
print("ready", flush=True)
while True:
    time.sleep(0.1)'
check_eq "SIGTERM to nacre goes to the container" "ready status 5" "$(terminal term "$TERMINATED" | xargs)"
check_eq "so does SIGHUP, when the terminal goes away" "ready status 5" "$(terminal hangup "${TERMINATED//TERM/HUP}" | xargs)"
check_fails "without a terminal there is none to give" "no terminal" run -t "$I" "${NOTHING[@]}"
check_eq "in the bundle" "true false" "$(config -t "$I" | jq .process.terminal) $(config "$I" | jq .process.terminal)"

# Two that start at once: each takes what nobody has locked for a leftover. The first waits between making and locking.
if command -v strace >/dev/null && strace -f -o /dev/null -e trace=mkdirat -e inject=mkdirat:delay_exit=1 true 2>/dev/null; then
    strace -f -o /dev/null -e trace=mkdirat -e inject=mkdirat:delay_exit=300000 "$NACRE" run --root "$NODE" --host-store none "$I" \
        "${NOTHING[@]}" >"$T/slow" 2>&1 &
    slow=$!
    made() {
        find "$NODE/run" -mindepth 1 -maxdepth 1 ! -name '.*' | grep . >/dev/null
    }
    wait_for 20 made
    check "another start meanwhile" run "$I" "${NOTHING[@]}"
    wait $slow
    check_eq "what it has swept is made again" 0 $?
else
    skip "two starts at once" "needs strace"
fi

check_eq "nothing is left of containers" "" "$(find "$NODE/run" -mindepth 1 -maxdepth 1 ! -name '.*' 2>/dev/null)"
check_eq "nor mounts" "" "$(mounts_below "$T")"
