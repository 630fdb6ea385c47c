#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a node keeps: ls, rm, gc, verify, stats; nothing in use is ever collected.
. "$(dirname "$0")/lib.sh"
needs nix python3
needs_root

NODE=$T/node
node() {
    "$NACRE" node "$@" --root "$NODE"
}
run() {
    "$NACRE" run --root "$NODE" "$@"
}
count() {
    find "$NODE/$1" -mindepth 1 -maxdepth 1 2>/dev/null | wc -l
}

P=$(fixture shell) || die "no fixture shell"
S=$(fixture synthetic-50) || die "no fixture synthetic-50"
"$NACRE" build --from "$FIXTURES" "$P" -o "oci:$T/image:shell" >/dev/null 2>"$T/build.log" || die "$(cat "$T/build.log")"
"$NACRE" build --from "$FIXTURES" "$P" "$S" -o "oci:$T/image:both" >/dev/null 2>"$T/build.log" || die "$(cat "$T/build.log")"
paths=$(closure "$P" | wc -l)
both=$(closure "$P" "$S" | wc -l)

check_eq "an empty node" "" "$(node ls)"
check_match "has nothing to collect" "^deleted 0 paths, 0 layers, 0 documents, 0 views, 0 references" "$(node gc)"
run "oci:$T/image:shell" true || die "nacre run"
run "oci:$T/image:both" true || die "nacre run"
check_eq "paths are there once" "$both" "$(count paths)"
check_match "ls" "oci:$T/image:both.*sha256:[0-9a-f]{64}.*layers.*$both paths" "$(node ls | head -n 1)"
check_eq "ls --paths" "$(closure "$P" "$S")" "$(node ls --paths | grep -A 1000 image:both | sed '/image:shell/,$d' | sed 1d | tr -d '\t' | sort)"
check_match "verify" "^$both paths, .* 0 damaged$" "$(node verify)"
check_match "stats" "paths	$both	[0-9]* bytes" "$(node stats)"
check_match "nothing of what is referred to is collected" "^deleted 0 paths, 0 layers, 0 documents" "$(node gc)"

check "forget an image" "$NACRE" node rm --root "$NODE" "oci:$T/image:both"
check_fails "twice" "not on this node" "$NACRE" node rm --root "$NODE" "oci:$T/image:both"
cp -a "$NODE/refs" "$T/refs"
check_fails "several: all that are missing are named" "oci:gone-1 is not on this node; oci:gone-2 is not on this node" \
    "$NACRE" node rm --root "$NODE" oci:gone-1 "oci:$T/image:shell" oci:gone-2
check_eq "and the others are forgotten" 0 "$(node ls | grep -c image:shell)"
rm -r "$NODE/refs" && mv "$T/refs" "$NODE/refs"
check_match "a dry run" "^would delete $((both - paths)) paths" "$(node gc --dry-run)"
check_eq "deletes nothing" "$both" "$(count paths)"
check_match "and waits for nobody" "^would delete" "$(flock --shared "$NODE/lock" timeout 10 "$NACRE" node gc --dry-run --root "$NODE" 2>&1)"

# In use by a container, by a mount, by a hold.
mkfifo "$T/fifo"
"$NACRE" run --root "$NODE" "oci:$T/image:both" sh -c 'echo ready; read -r line; echo "$line"' <"$T/fifo" >"$T/out" 2>&1 &
pid=$!
exec 7>"$T/fifo"
wait_for 20 grep -q ready "$T/out"
"$NACRE" node rm --root "$NODE" "oci:$T/image:both"
check_match "what a container uses is not collected" "^deleted 0 paths" "$(node gc)"
echo over >&7
exec 7>&-
wait "$pid"
check_eq "the container was not disturbed" over "$(tail -n 1 "$T/out")"
M=$("$NACRE" mount --root "$NODE" "oci:$T/image:both") || die "nacre mount"
"$NACRE" node rm --root "$NODE" "oci:$T/image:both"
check_match "what is mounted is not collected" "^deleted 0 paths" "$(node gc)"
check_eq "and can be read" "$both" "$(ls "$M/nix/store" | wc -l)"
"$NACRE" umount --root "$NODE" "$M"
mkdir -p "$NODE/holds"
one=$(find "$NODE/paths" -mindepth 1 -maxdepth 1 | sort | head -n 1)
for p in "$NODE"/paths/*; do
    echo "path $(basename "$p")"
done >"$NODE/holds/test"
check_match "what is held is not collected" "^deleted 0 paths" "$(node gc)"
echo rubbish >"$NODE/holds/test"
check_fails "a hold that is damaged stops it" "damaged" "$NACRE" node gc --root "$NODE"
rm "$NODE/holds/test"
check_match "and then it goes" "^deleted $((both - paths)) paths" "$(node gc)"
check_eq "the others stay" "$paths" "$(count paths)"
check_eq "nothing is left in the trash" 0 "$(count trash)"
check_eq "what was collected is fetched anew" "$both" "$(run "oci:$T/image:both" ls /nix/store | wc -l)"
check_match "still clean" " 0 damaged$" "$(node verify)"

# What cannot be deleted, as a file after chattr +i, is in the way of nothing else.
mkdir -p "$NODE/trash/stuck/mounted" "$NODE"/trash/other-{1,2,3,4,5,6,7,8}
mount -t tmpfs tmpfs "$NODE/trash/stuck/mounted" || die "mount tmpfs"
"$NACRE" node gc --root "$NODE" >"$T/out" 2>&1
check_eq "a collection passes over what cannot be deleted" 0 $?
check_match "says so" "trash/stuck cannot be deleted: .*mounted" "$(cat "$T/out")"
check_eq "and deletes all others" stuck "$(ls "$NODE/trash")"
umount "$NODE/trash/stuck/mounted"
node gc >/dev/null
check_eq "in the end it goes as well" 0 "$(count trash)"

# Damage is found, and mended by fetching anew.
one=$(find "$NODE/paths" -name '*' -type f -path '*/bin/*' | sort | head -n 1)
chmod u+w "$one" && echo damaged >>"$one"
check_fails "a damaged path is found" "has another NarHash" "$NACRE" node verify --root "$NODE"
check_match "and removed" "1 paths?|1 damaged|2 damaged" "$(node verify --remove | tail -n 1)"
check_eq "and fetched again" hello "$(run "oci:$T/image:shell" sh -c 'echo hello')"
check_match "all is well" " 0 damaged$" "$(node verify --remove | tail -n 1; node verify | tail -n 1)"

# So it does if something damaged cannot be removed: that is told when all else is gone.
for n in 1 2 3 4; do
    mkdir -p "$NODE/paths/rubbish$n/sub" && touch "$NODE/paths/rubbish$n"/{before,zlast}
done
mount -t tmpfs tmpfs "$NODE/paths/rubbish2/sub" || die "mount tmpfs"
check_fails "what is damaged and cannot be removed is told" "rubbish2.*mount" "$NACRE" node verify --root "$NODE" --remove
check_eq "and nothing of it is among the paths" 0 "$(find "$NODE/paths" -name 'rubbish*' | wc -l)"
check_eq "all else is deleted" 1 "$(count trash)"
umount "$NODE"/trash/*/sub
check_match "no damage is left" " 0 damaged$" "$(node verify | tail -n 1)"
node gc >"$T/out"
check_eq "in the end that goes, too" 0 "$(count trash)"

# A restart of the machine: mounts of before count for nothing.
M=$("$NACRE" mount --root "$NODE" "oci:$T/image:shell")
umount "$M"
echo other-boot >"$(dirname "$M")/boot"
node gc >/dev/null
check_eq "mounts of before a restart are gone" 0 "$(count mounts)"

# Killed anywhere, a collection leaves a clean node.
for i in 1 2 3 4 5 6 7 8; do
    run "oci:$T/image:both" true >/dev/null 2>&1 || not_ok "run $i"
    "$NACRE" node gc --root "$NODE" --older-than 0 >/dev/null 2>&1 &
    sleep "0.00$((i * 3))"
    kill -KILL $! 2>/dev/null
    wait $! 2>/dev/null
    check_match "clean after kill $i" " 0 damaged$" "$(node verify | tail -n 1)"
done
node gc --older-than 0 >/dev/null
check_eq "everything is gone" "0 0 0 0" "$(count paths) $(count layers) $(count blobs) $(count trash)"

# Collections and pulls at the same time.
for i in 1 2 3 4 5 6; do
    while [ ! -e "$T/stop" ]; do node gc --older-than 0; done >/dev/null 2>&1 &
    collector=$!
    check_eq "a pull while collections run" "$both" "$(run "oci:$T/image:both" ls /nix/store 2>&1 | wc -l)"
    touch "$T/stop"
    wait "$collector"
    rm "$T/stop"
done
check_fails "a command that is none" "no command" "$NACRE" node dance --root "$NODE"
for command in ls gc verify stats; do
    check_fails "node $command takes no operand" "one argument too many: 'extra'" "$NACRE" node $command --root "$NODE" extra
    "$NACRE" node $command --root "$T/node-no-operand" extra >/dev/null 2>&1
    check_eq "node $command with one: a mistake on the command line, and nothing is made" "2 no" "$? $([ -e "$T/node-no-operand" ] && echo yes || echo no)"
done
check_fails "an age that is none" "wanted as 30d" "$NACRE" node gc --root "$NODE" --older-than soon
