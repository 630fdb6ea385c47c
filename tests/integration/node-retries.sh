#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Sources that are not well: asked again, later and later, not for ever; caches that lie; how many are asked at a time; and
# fetches of one path by several, of which one is killed. (What breaks off and goes on: node-sources.sh.)
. "$(dirname "$0")/lib.sh"
needs nix python3 curl
needs_root

P=$(fixture shell) || die "no fixture shell"
n=$(closure "$P" | wc -l)
"$NACRE" build --from "$FIXTURES" "$P" --max-layers 0 -o "oci:$T/image:shell" >/dev/null 2>"$T/build.log" || die "$(cat "$T/build.log")"
bare_image "$T/image" "$T/bare"
start_nacre
nix copy --from "$FIXTURES" --no-check-sigs --to "$NACRE_URL" "$P" 2>"$T/log" || die "$(cat "$T/log")"
run() {
    "$NACRE" run --root "$NODE" --host-store none --source "http://127.0.0.1:$port" "$@" sh -c 'echo hello' 2>&1
}
paths() {
    find "$NODE/paths" -mindepth 1 -maxdepth 1 | wc -l
}
# busy NAME ANSWER…: on a node of that name
busy() {
    [ -z "${proxy:-}" ] || stop_server "$proxy"
    NODE=$T/node-$1 port=$(free_port) requests=$T/requests-$1
    : >"$requests"
    start_server "proxy-$1" python3 "$SRC/tests/integration/lib/busy_proxy.py" "$port" "${NACRE_ADDR##*:}" "$requests" "${@:2}"
    proxy=$SERVER_PID
    wait_http "http://127.0.0.1:$port/nix-cache-info" || die "no proxy: $(cat "$T/proxy-$1.log")"
}
# The least number of milliseconds between the Kth request for a file and the next, over all files.
gap() {
    awk -v k="$1" '{ if (++n[$2] == k + 1 && (least == "" || $1 - last[$2] < least)) least = $1 - last[$2]; last[$2] = $1 } END { print least + 0 }' "$requests"
}
# How many requests for a file did not succeed, at the most.
failures() {
    awk '$3 != "pass" { if (++n[$2] > most) most = n[$2] } END { print most + 0 }' "$requests"
}

# ---- again, later -----------------------------------------------------------------------------------------

busy unwell 503 500 502
check_eq "a source that is busy three times, and then answers" hello "$(run "oci:$T/bare:shell")"
check_eq "all paths come from it" "$n" "$(paths)"
pauses="$(gap 1) $(gap 2) $(gap 3)"
check_eq "pauses grow: an eighth, a quarter and half a second at least" yes "$(awk '{ print ($1 >= 120 && $2 >= 245 && $3 >= 495) ? "yes" : $0 }' <<<"$pauses")"
check_match "what came is right" "^$n paths, .* 0 damaged" "$("$NACRE" node verify --root "$NODE")"
busy closing drop drop
check_eq "a source that closes connections without an answer" hello "$(run "oci:$T/bare:shell")"
check_eq "all paths come from it as well" "$n" "$(paths)"
busy later 429:2
check_eq "a source that says when to come again" hello "$(run "oci:$T/bare:shell")"
check "is asked then, not before" [ "$(gap 1)" -ge 1990 ]

# ---- not for ever -------------------------------------------------------------------------------------------

busy never '503*'
check_fails "a source that never answers, and no registry: an error" "503" run "oci:$T/bare:shell"
check_eq "nothing came" 0 "$(paths)"
busy never-mind '503*'
check_match "it is said, and the registry has the paths" "could not be used.*hello" "$(run "oci:$T/image:shell" | tr '\n' ' ')"
check "no file was asked for more than five times" [ "$(failures)" -le 5 ]
busy gone '404*'
check_eq "a source that has nothing" hello "$(run "oci:$T/image:shell")"
check_eq "is asked once" 1 "$(failures)"
stop_server "$proxy"
proxy=
start=$SECONDS
check_match "a source that refuses connections is said, and the registry has the paths" "could not be used.*hello" \
    "$(NODE=$T/node-refused run "oci:$T/image:shell" | tr '\n' ' ')"
check "within half a minute" [ $((SECONDS - start)) -le 30 ]

# ---- caches that lie -----------------------------------------------------------------------------------------

nix copy --from "$FIXTURES" --no-check-sigs --to "file://$T/cache?compression=none" "$P" 2>"$T/log" || die "$(cat "$T/log")"
# lie NAME: the cache with one path in another way, its main one
lie() {
    cp -a "$T/cache" "$T/cache-$1"
    python3 - "$T/cache-$1" "$(basename "$P")" "$1" <<'PYTHON'
import lzma, re, sys
cache, base, lie = sys.argv[1:]
info = f"{cache}/{base[:32]}.narinfo"
text = open(info).read()
name = cache + "/" + re.search("^URL: (.*)", text, re.M).group(1)
nar = open(name, "rb").read()
def say(key, value):
    global text
    text = re.sub(f"^{key}: .*", f"{key}: {value}", text, flags=re.M)
if lie == "content":
    at = len(nar) // 2
    while not nar[at:at + 4].isalpha():
        at += 1
    nar = nar[:at] + bytes([nar[at] ^ 32]) + nar[at + 1:]
elif lie == "cut":
    nar = nar[:-64]
elif lie == "more":
    nar += bytes(8)
elif lie == "grammar":
    nar = nar.replace(b"directory", b"directorx", 1)
elif lie == "outside":
    nar = nar.replace(b"name" + bytes(4) + (3).to_bytes(8, "little") + b"bin", b"name" + bytes(4) + (3).to_bytes(8, "little") + b"../", 1)
elif lie == "bomb":
    nar = lzma.compress(nar + bytes(1 << 28))
    say("Compression", "xz")
elif lie == "size":
    say("NarSize", int(re.search("^NarSize: (.*)", text, re.M).group(1)) - 1)
elif lie == "endless":
    say("NarSize", 1 << 60)
elif lie == "hash":
    say("NarHash", "sha256:" + "0" * 52)
elif lie == "path":
    say("StorePath", "/nix/store/" + "0" * 32 + "-other")
elif lie == "nothing":
    text = ""
elif lie == "junk":
    text = "\0" * 4096
text = re.sub("^(FileHash|FileSize): .*\n", "", text, flags=re.M)
open(info, "w").write(text)
open(name, "wb").write(nar)
PYTHON
}
runs=()
lies="none content cut more grammar outside bomb size endless hash path nothing junk"
# Most of it is waiting before asking again.
for lie in $lies; do
    lie $lie
    "$NACRE" --verbose run --root "$T/node-lie-$lie" --host-store none --source "file://$T/cache-$lie" "oci:$T/image:shell" \
        sh -c 'echo hello' >"$T/lie-$lie" 2>&1 &
    runs+=($!)
    [ $lie = none ] || {
        "$NACRE" run --root "$T/node-lie-$lie-bare" --host-store none --source "file://$T/cache-$lie" "oci:$T/bare:shell" \
            true >"$T/lie-$lie-bare" 2>&1 || echo failed >>"$T/lie-$lie-bare"
    } &
    runs+=($!)
done
wait "${runs[@]}"
for lie in $lies; do
    NODE=$T/node-lie-$lie
    want=$((n - 1))
    [ $lie != none ] || want=$n
    check_eq "a cache that lies about one path ($lie): that one comes from the image" "$want from caches hello" \
        "$(grep -o '[0-9]* from caches\|^hello' "$T/lie-$lie" | xargs)"
    check_match "and all is right ($lie)" "^$n paths, .* 0 damaged" "$("$NACRE" node verify --root "$NODE")"
    [ $lie = none ] || check_match "where the image has none either, nothing runs ($lie)" "^nacre: .* failed$" \
        "$(tr '\n' ' ' <"$T/lie-$lie-bare" | sed 's/ *$//')"
    check_eq "and what was wrong is not there ($lie)" "" "$(find "$NODE/tmp" "$NODE-bare/tmp" -mindepth 1 2>/dev/null)"
done

# ---- how many at a time; on the disk before it is seen -----------------------------------------------------------

busy bounded 'slow:0.2*'
check_eq "slow answers" hello "$(run "oci:$T/bare:shell")"
most=$(sort -n "$requests" | awk '{ at[NR] = $1 } END { for (i = 1; i <= NR; i++) { n = 0; for (j = i; j <= NR && at[j] < at[i] + 190; j++) n++; if (n > most) most = n }; print most }')
check_eq "four files at a time, no more" 4 "$most"
if command -v strace >/dev/null; then
    NODE=$T/node-traced
    strace -f -e trace=syncfs,renameat2 -o "$T/trace" "$NACRE" run --root "$NODE" --host-store none "oci:$T/image:shell" true >"$T/out" 2>&1
    # What has 52 characters is a path; between two of a thread there is a sync, which may be another thread's.
    check_eq "a path gets its name when it is on the disk, and in one step" "$n" "$(awk '
        /syncfs.* = 0/ { synced = NR }
        /renameat2\(/ && match($0, /"[0-9a-z]+", RENAME_NOREPLACE/) && RLENGTH == 72 { good += synced > last[$1]; last[$1] = NR }
        END { print good + 0 }' "$T/trace")"
else
    skip "a path gets its name when it is on the disk" "needs strace"
fi

# ---- several want the same, and one is killed -----------------------------------------------------------------

fetching() {
    grep -q '/nar/' "$requests"
}
for round in 1 2 3; do
    busy "killed-$round" slow:0.2 slow:0.05
    "$NACRE" run --root "$NODE" --host-store none --source "http://127.0.0.1:$port" "oci:$T/bare:shell" sh -c 'echo hello' >"$T/first" 2>&1 &
    first=$!
    wait_for 20 fetching
    run "oci:$T/bare:shell" >"$T/second" &
    second=$!
    sleep "0.$((round * 2))"
    kill -KILL "$first"
    wait "$first" 2>/dev/null
    wait "$second"
    check_eq "who fetches is killed, who waits goes on ($round)" hello "$(cat "$T/second")"
    check_eq "all paths are there ($round)" "$n" "$(paths)"
    check_match "and right ($round)" "^$n paths, .* 0 damaged" "$("$NACRE" node verify --root "$NODE")"
    check_eq "nothing half is left ($round)" "" "$("$NACRE" node gc --root "$NODE" >/dev/null 2>&1; find "$NODE/tmp" "$NODE/trash" -mindepth 1 2>/dev/null)"
done
