#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Warm starts: what is known of an image from its last start holds for as long as nothing has changed, costs the same whatever
# the number of store paths, and is never taken for more than it is.
. "$(dirname "$0")/lib.sh"
needs nix python3
needs_root

NODE=$T/node
run() {
    "$NACRE" run --root "$NODE" --host-store none "$@"
}
says_hello() {
    check_eq "$1" hello "$(run "${@:2}" sh -c 'echo hello' 2>&1)"
}
ready() {
    find "$NODE/views" -name '*.ready' | sort
}
# The clock of files is coarse: what is a little old can be told from what comes.
settle() {
    sleep 2.1
}
P=$(fixture shell) || die "no fixture shell"
S=$(fixture synthetic-100) || die "no fixture synthetic-100"
I=oci:$T/image:shell
"$NACRE" build --from "$FIXTURES" "$P" -o "$I" >/dev/null 2>"$T/log" || die "$(cat "$T/log")"
"$NACRE" build --from "$FIXTURES" "$P" "$S" -o "oci:$T/more:more" >/dev/null 2>"$T/log" || die "$(cat "$T/log")"

says_hello "a first start" "$I"
case $("$NACRE" --verbose run --root "$NODE" --host-store none "$I" true 2>&1) in
*"view: erofs"*) ;;
*)
    skip "warm starts" "no view with EROFS here"
    exit 0
    ;;
esac
settle
says_hello "a second" "$I"
check_eq "it is noted" 1 "$(ready | wc -l)"
R=$(ready)
cp "$R" "$T/ready"
says_hello "a third" "$I"
for pull in newer always missing never; do
    says_hello "--pull $pull" --pull $pull "$I"
done
check_eq "all of the closure is there" "$(closure "$P" | wc -l)" "$(run "$I" sh -c 'ls /nix/store | wc -l' 2>&1)"
check_same "nothing is written anew" "$T/ready" "$R"

# Looks at the files of this image and of one with a hundred more paths.
if command -v strace >/dev/null; then
    looks() {
        strace -f -e trace=%file -o "$T/trace" "$NACRE" run --root "$NODE" --host-store none --pull never "$1" true >/dev/null 2>&1
        grep -c "$NODE\|, \"[0-9a-z]\{52\}\"" "$T/trace"
    }
    run "oci:$T/more:more" true
    settle
    for image in "$I" "oci:$T/more:more" "$I" "oci:$T/more:more"; do
        run "$image" true
    done
    few=$(looks "$I")
    many=$(looks "oci:$T/more:more")
    check "as many looks at files for $(closure "$P" "$S" | wc -l) paths as for $(closure "$P" | wc -l): $many and $few" \
        [ $((many - few)) -le 5 ] && [ $((few - many)) -le 5 ]
    # The runtime's file is on a read-only mount, or crun would copy itself aside and start twice.
    strace -f -e trace=execve,execveat -o "$T/trace" "$NACRE" run --root "$NODE" --host-store none --pull never "$I" true >/dev/null 2>&1
    check_eq "the runtime starts once" 1 "$(grep -c 'execve.*crun.*"run"' "$T/trace")"
    check_eq "and nothing of that is seen outside" "" "$(grep crun /proc/self/mounts)"
else
    skip "looks at files" "needs strace"
fi

# ---- what it must not be taken for -----------------------------------------------------------------------

says_hello "with bind mounts, which need each path" --view bind "$I"
says_hello "read in full where the metadata image is gone" "$I"
rm "$NODE"/views/*.erofs
says_hello "made again" --pull never "$I"
settle
says_hello "and noted" --pull never "$I"
R=$NODE/views/$(basename "$R")
size=$(stat -c %s "$R")
bad=
for n in 0 1 14 15 60 $((size / 2)) $((size - 5)) $((size - 1)); do
    cp "$R" "$T/ready"
    head -c "$n" "$T/ready" >"$R"
    [ "$(run --pull never "$I" sh -c 'echo hello' 2>&1)" = hello ] || bad+=" cut:$n"
    sed 's/^view .*/view ..\/..\/..\/etc\/passwd 3/' "$T/ready" >"$R"
    [ "$(run --pull never "$I" sh -c 'echo hello' 2>&1)" = hello ] || bad+=" view:$n"
done
check_eq "damaged, it counts as missing" "" "$bad"
run --pull never "$I" true
hash=$(nix-store --store "$FIXTURES" --query --hash "$P")
mv "$NODE/paths/${hash#sha256:}" "$T/away" || not_ok "$P is in paths/"
check_fails "a path that was taken away is missed" "not on this node" run --pull never "$I" true
says_hello "and comes again" "$I"
settle
says_hello "noted again" "$I"
K=$("$NACRE" key generate test-1 | "$NACRE" key public)
check_fails "signatures are looked at all the same" "not signed by a trusted key" run --pull never --require-signatures --trusted-key "$K" "$I" true
"$NACRE" node rm --root "$NODE" "$I" >/dev/null
"$NACRE" node gc --root "$NODE" >/dev/null
check_eq "it goes with the image" 0 "$(ready | grep -c "$(basename "$R")")"
check_fails "which is gone" "not on this node" run --pull never "$I" true
check "nacre node verify is clean" "$NACRE" node verify --root "$NODE"

# ---- whether the tag still means the same ----------------------------------------------------------------

start_nacre
put() { # IMAGE
    "$NACRE" copy "$1" "docker://$NACRE_ADDR/app:1" 2>"$T/log" || die "$(cat "$T/log")"
}
D=docker://$NACRE_ADDR/app:1
paths_of() {
    run "$@" sh -c 'ls /nix/store | wc -l' 2>&1
}
mounted() {
    local at
    at=$("$NACRE" mount --root "$NODE" --host-store none "$@") || return
    find "$at/nix/store" -mindepth 1 -maxdepth 1 | wc -l
    "$NACRE" umount --root "$NODE" "$at"
}
few=$(closure "$P" | wc -l) many=$(closure "$P" "$S" | wc -l)
put "$I"
check_eq "from a registry" "$few" "$(paths_of "$D")"
put "oci:$T/more:more"
check_eq "the tag was moved: by itself, as it was pulled" "$few" "$(paths_of "$D")"
check_eq "with --pull missing, too" "$few" "$(paths_of --pull missing "$D")"
libraries() {
    LD_DEBUG=files run "$@" true 2>&1 | sed -n 's/.*calling init: .*\/\(lib[a-z]*\).*/\1/p' | grep -x 'libcurl\|libssl\|libarchive' | sort -u | xargs
}
check_eq "nothing for the network is loaded" "" "$(libraries "$D")"
check_match "but for asking" libcurl "$(libraries --pull newer "$D")"
check_eq "with --pull newer that is seen" "$many" "$(paths_of --pull newer "$D")"
check_eq "and stays" "$many" "$(paths_of "$D")"
put "$I"
check_eq "nacre mount does not ask either" "$many" "$(mounted "$D")"
check_eq "unless it is told to" "$few" "$(mounted --pull always "$D")"
put "oci:$T/more:more"
check_eq "the tag was moved back, and is asked for" "$many" "$(paths_of --pull always "$D")"
stop_nacre
check_match "the registry is gone: what is here does, with a warning" "warning: pull $D: .*as it was pulled before"$'\n'"$many\$" \
    "$(paths_of --pull newer "$D")"
check_eq "by itself it does not ask" "$many" "$(paths_of "$D")"
check_fails "--pull always does" "pull $D" run --pull always "$D" true
check_fails "what is not here cannot be had" "pull docker://$NACRE_ADDR/app:2" run "docker://$NACRE_ADDR/app:2" true
check_fails "what is here is not signed, and does not do" "pull $D" run --require-signatures --trusted-key "$K" "$D" true
check_fails "another policy is none" "wanted missing, newer, always or never" run --pull sometimes "$D" true
# An image layout is on this machine, and may be made anew at any time.
L=oci:$T/made:app
"$NACRE" copy "$I" "$L" 2>"$T/log" || die "$(cat "$T/log")"
check_eq "an image layout" "$few" "$(paths_of "$L")"
"$NACRE" copy "oci:$T/more:more" "$L" 2>"$T/log" || die "$(cat "$T/log")"
check_eq "made anew: not with --pull missing" "$few" "$(paths_of --pull missing "$L")"
check_eq "by itself, that is seen" "$many" "$(paths_of "$L")"
