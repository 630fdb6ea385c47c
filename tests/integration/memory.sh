#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A path of 5 GiB passes through every program of ours in less than 64 MiB of resident memory each.
. "$(dirname "$0")/lib.sh"
needs nix curl
LIMIT_KIB=65536

# A quarter of that in the short form: memory that grows with size shows as well.
if [ "$LONG" = 1 ]; then
    P=$(fixture sparse) || die "no fixture sparse"
    STORE=$FIXTURES
    SIZE=$(stat -c %s "$(store_file "$P")")
else
    STORE=$(new_store big)
    SIZE=$((1280 << 20))
    truncate -s $SIZE "$T/big-file"
    printf 'not only zeros' >>"$T/big-file"
    P=$(nix store add-file --store "$STORE" "$T/big-file" 2>"$T/add.log") || die "$(cat "$T/add.log")"
    rm "$T/big-file"
fi
H=$(basename "$P")
H=${H%%-*}
note "a file of $SIZE bytes"

small() {
    local desc=$1 status=0
    shift
    measure_rss "$@" >"$T/out" 2>"$T/err" || status=$?
    if [ $status != 0 ]; then
        not_ok "$desc" "status $status" "$(tail -n 5 "$T/err")"
    elif [ "$MAX_RSS_KIB" -ge $LIMIT_KIB ]; then
        not_ok "$desc" "$MAX_RSS_KIB KiB resident"
    else
        ok "$desc"
        note "$MAX_RSS_KIB KiB resident"
    fi
}

small "nar dump" sh -c "exec '$NACRE' nar dump '$STORE$P' >/dev/null"
small "nar hash" "$NACRE" nar hash "$STORE$P"
mkfifo "$T/pipe"
"$NACRE" nar dump "$STORE$P" >"$T/pipe" &
small "nar restore" "$NACRE" nar restore --file "$T/pipe" "$T/restored"
wait $!
check "what was restored is the same" diff -r "$STORE$P" "$T/restored"
rm -rf "$T/restored"
small "build" "$NACRE" build --from "$STORE" "$P" --platform linux/amd64 -o "oci:$T/image:big"

start_nacre "$T/data"
small "push (copy) of the image" "$NACRE" copy "oci:$T/image:big" "docker://$NACRE_ADDR/big:1"
check "absorbed" curl -sf -o "$T/narinfo" "$NACRE_URL/$H.narinfo"
small "pull (run) of the image" "$NACRE" copy "docker://$NACRE_ADDR/big:1" "oci:$T/image2:big"
URL=$(sed -n 's/^URL: //p' "$T/narinfo")
check "the NAR" curl -sf -o /dev/null "$NACRE_URL/$URL"
PEAK=$(peak_rss_kib "$NACRE_PID")
check "the server, absorbing and serving: $PEAK KiB resident" test "$PEAK" -lt $LIMIT_KIB
stop_nacre

start_nacre "$T/data-nix"
check "nix copy --to the server" nix copy --from "$STORE" --no-check-sigs --to "$NACRE_URL?compression=zstd" "$P"
check "nix copy --from the server" nix copy --from "$NACRE_URL" --no-check-sigs --to "$(new_store back)" "$P"
PEAK=$(peak_rss_kib "$NACRE_PID")
check "the server, taking and giving NARs: $PEAK KiB resident" test "$PEAK" -lt $LIMIT_KIB
