#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What an operator does: rules, garbage, pins, quotas, tags that stand for good, fsck, backup and restore; kill -9 and a
# full disk in between. The rules themselves are proven by tests/unit/store/test-gc*.c.
. "$(dirname "$0")/lib.sh"
needs curl python3 sha256sum

admin() { local command=$1; shift; "$NACRE" admin "$command" --data "$T/data" "$@"; }

cat > "$T/nacre.yaml" <<END
retention:
  - repositories: "ci/**"
    keep-last: 2
    keep-tags: keep-*
quotas:
  - repositories: small/*
    bytes: 1KiB
  - caches: /
    paths: 3
immutable-tags:
  - repositories: "prod/**"
    tags: v*
END

# put_blob REPOSITORY FILE: prints the status
put_blob() {
    curl -s -o "$T/answer" -w '%{http_code}' -X POST -H 'Content-Type: application/octet-stream' --data-binary "@$2" \
        "$NACRE_URL/v2/$1/blobs/uploads/?digest=sha256:$(sha256sum "$2" | cut -d' ' -f1)"
}
# put_image REPOSITORY TAG TEXT: prints the status of the manifest
put_image() {
    printf '%s' "$3" > "$T/layer"
    printf '{}' > "$T/empty.json"
    put_blob "$1" "$T/layer" > /dev/null
    put_blob "$1" "$T/empty.json" > /dev/null
    printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"%s","digest":"sha256:%s","size":2},"layers":[{"mediaType":"x/y","digest":"sha256:%s","size":%d}]}' \
        application/vnd.oci.empty.v1+json "$(sha256sum "$T/empty.json" | cut -d' ' -f1)" \
        "$(sha256sum "$T/layer" | cut -d' ' -f1)" "$(stat -c %s "$T/layer")" > "$T/manifest"
    curl -s -o "$T/answer" -w '%{http_code}' -X PUT -H 'Content-Type: application/vnd.oci.image.manifest.v1+json' \
        --data-binary "@$T/manifest" "$NACRE_URL/v2/$1/manifests/$2"
}
status() { curl -s -o /dev/null -w '%{http_code}' "$@"; }
tags() { curl -s "$NACRE_URL/v2/$1/tags/list" | python3 -c 'import json,sys; print(*json.load(sys.stdin)["tags"])'; }

start_nacre "$T/data" --config "$T/nacre.yaml"

# ---- Rules, dry run, pins ------------------------------------------------------------------------

for tag in a b c keep-1 d; do
    check_eq "push ci/app:$tag" 201 "$(put_image ci/app "$tag" "image $tag")"
done
check_eq "push other:a" 201 "$(put_image other a "other")"
check "pin" admin pin ci/app:a
check_eq "the pin is listed" "ci/app:a" "$(admin pins)"
check_match "a dry run says what would go, and why" 'tag ci/app:b \(.*not among the last 2\)' "$(admin gc --dry-run)"
check_eq "and nothing goes" "a b c d keep-1" "$(tags ci/app)"
check_match "gc" 'gone: 2 tags' "$(admin gc)"
check_eq "the last, the pinned and the excepted stay" "a d keep-1" "$(tags ci/app)"
check "unpin" admin unpin ci/app:a
check_match "gc takes what was pinned" 'gone: 1 tags' "$(admin gc)"
check_fails "what is not pinned" 'no such pin' admin unpin ci/app:a
check_fails "what is no name" 'not a name' admin pin 'UPPER/case'
check_match "JSON" '"result":\{"tags":0' "$(admin gc --json)"

# ---- Quotas, tags that stand for good -------------------------------------------------------------

head -c 600 /dev/urandom > "$T/600"
head -c 601 /dev/urandom > "$T/601"
check_eq "within the quota" 201 "$(put_blob small/a "$T/600")"
check_eq "beyond it" 403 "$(put_blob small/a "$T/601")"
check_match "with the code of the specification" '"code":"DENIED","message":"the quota of small/a' "$(cat "$T/answer")"
check_eq "each has its own" 201 "$(put_blob small/b "$T/601")"
check_eq "delete" 202 "$(status -X DELETE "$NACRE_URL/v2/small/a/blobs/sha256:$(sha256sum "$T/600" | cut -d' ' -f1)")"
check_eq "is free at once" 201 "$(put_blob small/a "$T/601")"
check_eq "push prod/app:v1" 201 "$(put_image prod/app v1 one)"
check_eq "the same again" 201 "$(put_image prod/app v1 one)"
check_eq "another" 409 "$(put_image prod/app v1 two)"
check_match "with a text" 'take another tag' "$(cat "$T/answer")"
check_eq "delete it" 409 "$(status -X DELETE "$NACRE_URL/v2/prod/app/manifests/v1")"
check_eq "another tag" 201 "$(put_image prod/app latest two)"

if command -v nix-store > /dev/null; then
    root=$(fixture shell) || die "no fixture"
    mapfile -t paths < <(closure "$root")
    if ((${#paths[@]} > 3)); then
        check_fails "Nix hears of the quota, and does not hang" 'quota of this cache' \
            timeout 60 nix copy --store "$FIXTURES" --to "$NACRE_URL" "$root"
    fi
fi

# ---- The socket ------------------------------------------------------------------------------------

# ask TEXT: what the socket answers
ask() {
    python3 - "$T/data/admin.sock" "$1" <<'END'
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(20)
s.connect(sys.argv[1])
try:
    s.sendall(sys.argv[2].encode() * (200000 if sys.argv[2] == "x" else 1))
    if sys.argv[2] != "hangup":
        sys.stdout.write(s.recv(65536).decode())
except (BrokenPipeError, ConnectionResetError):
    print("closed")
END
}
check_match "no JSON" '"error":' "$(ask $'hello\n')"
check_match "no command" '"error":.*command' "$(ask $'{}\n')"
check_match "an unknown one" "there is no command 'rm'" "$(ask $'{"command":"rm"}\n')"
check_match "another type" '"error":' "$(ask $'{"command":"gc","dry-run":3}\n')"
check_match "a relative directory" 'absolute' "$(ask $'{"command":"backup","directory":"x"}\n')"
check_match "too much" 'larger than|closed' "$(ask x)"
ask hangup
check_match "and it goes on" '"result"' "$(ask $'{"command":"pins"}\n')"

check_match "metrics count what was collected" 'nacre_gc_collected_total\{kind="tag"\} 3' "$(curl -s "$NACRE_URL/metrics")"

# ---- Statistics, backup, restore -------------------------------------------------------------------

check_match "statistics" 'repository prod/app: .* 2 tags' "$(admin stats --repositories)"
check_match "backup" 'objects' "$(admin backup "$T/backup")"
check_fails "not over something" 'not empty' admin backup "$T/backup"
check_eq "push after the backup" 201 "$(put_image prod/app later three)"
check "fsck while it serves" admin fsck
check_fails "fsck without a server" 'in use by another process' "$NACRE" fsck --data "$T/data"
stop_nacre
check "fsck of the backup" "$NACRE" fsck --data "$T/backup"
start_nacre "$T/backup" --config "$T/nacre.yaml"
check_eq "the backup serves what was there" 200 "$(status "$NACRE_URL/v2/prod/app/manifests/v1")"
check_eq "and not what came later" 404 "$(status "$NACRE_URL/v2/prod/app/manifests/later")"
stop_nacre

# ---- A configuration that is refused --------------------------------------------------------------

start_nacre "$T/data" --config "$T/nacre.yaml"
for tag in 1 2 3; do put_image kept/app "$tag" "kept $tag" >"$T/out"; done
cp "$T/nacre.yaml" "$T/good.yaml"
printf 'retention: [{repositories: "kept/**", keep-last: 1}]\naudit: {file: %s}\n' "$T/no/such/folder/audit" >"$T/nacre.yaml"
kill -HUP "$NACRE_PID"
check "it is told" wait_for 10 grep -q "the configuration stays as it was: open the audit log" "$NACRE_LOG"
admin gc >"$T/out" 2>&1
check_eq "and none of its rules counts" "200200200" "$(for tag in 1 2 3; do status "$NACRE_URL/v2/kept/app/manifests/$tag"; done)"
stop_nacre
cp "$T/good.yaml" "$T/nacre.yaml"

# ---- Damage ---------------------------------------------------------------------------------------

start_nacre "$T/data" --config "$T/nacre.yaml"
head -c 100000 /dev/urandom > "$T/big"
big=$NACRE_URL/v2/big/blobs/sha256:$(sha256sum "$T/big" | cut -d' ' -f1)
check_eq "push" 201 "$(put_blob big "$T/big")"
file=$(find "$T/data/objects" -type f -size 100000c)
printf 'x' | dd of="$file" bs=1 seek=50000 conv=notrunc status=none
check_match "fsck finds it" 'another digest' "$(admin fsck)"
check_eq "and changes nothing by itself" 200 "$(status "$big")"
check_match "repair puts it aside" '1 quarantined, 0 repaired, 1 lost' "$(admin fsck --repair)"
check_eq "it is not served" 404 "$(status "$big")"
check_eq "a client sends it again" 201 "$(put_blob big "$T/big")"
check_eq "and it is whole" "$(sha256sum < "$T/big")" "$(curl -s "$big" | sha256sum)"
check "says fsck" admin fsck

# ---- Damage, and an upstream -----------------------------------------------------------------------

if command -v nix-store > /dev/null; then
    stop_nacre
    start_nacre "$T/up" --allow-write
    upstream=$NACRE_URL upstream_pid=$NACRE_PID
    path=$(fixture shell)
    check "an upstream has a path" timeout 120 nix copy --store "$FIXTURES" --to "$NACRE_URL" "$path"
    hash=${path##*/}
    hash=${hash%%-*}
    start_nacre "$T/through" --set "root={upstreams: [{url: \"$upstream\", trust: all}]}"
    check "it is pulled through" timeout 120 nix copy --store "$T/client" --from "$NACRE_URL" --no-check-sigs "$path"
    check "all of it is bound" wait_for 20 curl -sf -o /dev/null "$NACRE_URL/$hash.narinfo"
    file=$(find "$T/through/objects" -type f -size +100k | head -n 1)
    printf 'x' | dd of="$file" bs=1 seek=50000 conv=notrunc status=none
    check_match "repair gets it from there" '1 quarantined, 1 repaired, 0 lost' \
        "$("$NACRE" admin fsck --data "$T/through" --repair)"
    check "and all is well" "$NACRE" admin fsck --data "$T/through"
    stop_server "$upstream_pid"
    printf 'y' | dd of="$(find "$T/through/objects" -type f -size +100k | head -n 1)" bs=1 seek=50001 conv=notrunc status=none
    check_match "without it, it is lost until it comes again" '1 quarantined, 0 repaired, 1 lost' \
        "$("$NACRE" admin fsck --data "$T/through" --repair)"
    stop_nacre
    start_nacre "$T/data" --config "$T/nacre.yaml"
fi

# ---- Killed ---------------------------------------------------------------------------------------

for i in 1 2 3; do
    for n in $(seq 1 15); do put_image ci/killed "$i-$n" "image $i $n" > /dev/null; done
    admin gc > /dev/null 2>&1 &
    sleep "0.0$((i * 2))"
    stop_nacre KILL > /dev/null 2>&1
    wait $! 2> /dev/null
    check "fsck after kill -9 in gc" "$NACRE" fsck --data "$T/data"
    start_nacre "$T/data" --config "$T/nacre.yaml"
done
admin gc > /dev/null
check_eq "and the next gc ends it" "3-14 3-15" "$(tags ci/killed)"
check "no socket is in the way" test -S "$T/data/admin.sock"
check_eq "which is nobody else's" 600 "$(stat -c %a "$T/data/admin.sock")"
stop_nacre
check_fails "gc follows a server's rules" 'no server runs' admin gc
check "statistics need none" admin stats

# ---- A full disk ----------------------------------------------------------------------------------

if [ "$(id -u)" = 0 ] && mkdir "$T/small" && mount -t tmpfs -o size=3m tmpfs "$T/small" 2> /dev/null; then
    start_nacre "$T/data" --config "$T/nacre.yaml"
    head -c 4000000 /dev/urandom > "$T/4M"
    check_eq "push" 201 "$(put_blob big "$T/4M")"
    check_fails "a backup that does not fit" 'No space|disk is full' admin backup "$T/small/backup"
    check "leaves nothing" test ! -e "$T/small/backup"
    check "and the server is as it was" admin fsck
    stop_nacre
    start_nacre "$T/small/data" --config "$T/nacre.yaml"
    check_eq "push" 201 "$(put_image ci/full a a)"
    check_eq "push" 201 "$(put_image ci/full b b)"
    check_eq "push" 201 "$(put_image ci/full c c)"
    head -c 3000000 /dev/zero > "$T/small/fill" 2> /dev/null
    "$NACRE" admin gc --data "$T/small/data" > "$T/gc.log" 2>&1
    rm "$T/small/fill"
    check "gc on a full disk: works when there is room again" "$NACRE" admin gc --data "$T/small/data"
    check_eq "as it should" "b c" "$(tags ci/full)"
    check "nothing is damaged" "$NACRE" admin fsck --data "$T/small/data"
    stop_nacre
    umount "$T/small"
else
    skip "a full disk" "needs root and tmpfs"
fi
