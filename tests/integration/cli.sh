#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every command with wrong words and bad input: it says what, where and what to do, and leaves nothing.
. "$(dirname "$0")/lib.sh"
needs nix python3 skopeo

P=$(fixture shell) || die "no fixture shell"
leaf=$(closure "$P" | head -n 1)
out=$T/out
commands=$("$NACRE" --help | sed -n 's/^  \([a-z-]\{1,\}\)  .*/\1/p')

# Nothing may be left of a failed command: what it was to write does not exist afterwards.
refuses() { # DESC REGEX CMD…
    rm -rf "$out"
    check_fails "$@"
    [ ! -e "$out" ] || not_ok "$1: left something" "$(find "$out")"
}

for command in $commands; do
    check_match "$command --help" "^Usage: nacre $command" "$("$NACRE" "$command" --help)"
    check_fails "$command: an unknown option" "nacre.*--no-such-option" "$NACRE" "$command" --no-such-option
    status=0
    "$NACRE" "$command" --help >/dev/full 2>"$T/err" || status=$?
    check_eq "$command: help that cannot be written" 1 "$status"
done
check_fails "no command" "Usage|command" "$NACRE"
check_fails "an unknown command" "no command|unknown|not a command" "$NACRE" frobnicate
check_fails "an unknown subcommand" "frobnicate" "$NACRE" nar frobnicate

# ---- nar
"$NACRE" nar dump "$(store_file "$leaf")" >"$T/good.nar" || die "dump"
head -c 200 "$T/good.nar" >"$T/short.nar"
head -c 4096 /dev/urandom >"$T/garbage"
: >"$T/empty"
mkdir "$T/dir"
check_fails "dump: nothing there" "No such file" "$NACRE" nar dump "$T/missing"
check_fails "dump: no operand" "Usage|operand|wanted" "$NACRE" nar dump
check_fails "dump: two operands" "Usage|operand|many" "$NACRE" nar dump a b
check_fails "dump: a device" "regular|device|type" "$NACRE" nar dump /dev/null
check_fails "dump: standard output is full" "No space left" sh -c "'$NACRE' nar dump '$(store_file "$leaf")' >/dev/full"
for bad in short.nar garbage empty; do
    refuses "restore: $bad" "NAR|offset|byte|truncated|end" "$NACRE" nar restore -f "$T/$bad" "$out"
    check_fails "ls: $bad" "NAR|offset|byte|truncated|end" "$NACRE" nar ls "$T/$bad"
    check_fails "hash: $bad" "NAR|offset|byte|truncated|end" "$NACRE" nar hash --nar "$T/$bad"
    check_fails "to-tar: $bad" "NAR|offset|byte|truncated|end" "$NACRE" nar to-tar "$leaf" "$T/$bad"
    check_fails "from-tar: $bad" "tar|canonical|offset|byte|end" "$NACRE" nar from-tar "$T/$bad"
done
check_fails "restore: there is something already" "exists" "$NACRE" nar restore -f "$T/good.nar" "$T/dir"
check_fails "restore: no such directory" "No such file" "$NACRE" nar restore -f "$T/good.nar" "$T/missing/x"
check_fails "restore: a directory as the NAR" "directory" "$NACRE" nar restore -f "$T/dir" "$out"
check_fails "hash: an unknown type" "sha3|type" "$NACRE" nar hash -t sha3 "$T/dir"
check_fails "hash: an unknown format" "format" "$NACRE" nar hash --format rot13 "$T/dir"
check_fails "cat: what is not in it" "no-such" "$NACRE" nar cat "$T/good.nar" /no-such
check_fails "to-tar: no store path" "store path" "$NACRE" nar to-tar nonsense "$T/good.nar"
check_fails "to-tar: a path without a NAR" "Usage|operand|pairs|NARFILE" "$NACRE" nar to-tar "$leaf"
mkdir -p "$T/whiteout" && : >"$T/whiteout/.wh.x"
"$NACRE" nar dump "$T/whiteout" >"$T/whiteout.nar"
check_fails "to-tar: a name that is a whiteout" "\.wh\.x" "$NACRE" nar to-tar "$leaf" "$T/whiteout.nar"

# ---- key
check_fails "key generate: a name with a colon" "name" "$NACRE" key generate a:b -o "$out"
check_fails "key generate: no name" "name|Usage|operand" "$NACRE" key generate "" -o "$out"
check_fails "key public: garbage" "key" sh -c "'$NACRE' key public <'$T/garbage'"
[ ! -e "$out" ] || not_ok "key generate left a file"

# ---- path-info
check_fails "path-info: no store" "No such|no Nix store" "$NACRE" path-info --store "$T/missing" "$P"
check_fails "path-info: a URL of another kind" "http|file" "$NACRE" path-info --store ftp://x "$P"
check_fails "path-info: nobody listens" "onnect" "$NACRE" path-info --store http://127.0.0.1:9 "$P"
check_fails "path-info: no cache there" "nix-cache-info|cache" "$NACRE" path-info --store "file://$T/dir" "$P"

# ---- build
build=("$NACRE" build "$P" --from "$FIXTURES" -o "oci:$out:x")
refuses "build: no output" "output|-o" "$NACRE" build "$P" --from "$FIXTURES"
refuses "build: an unknown place" "oci:|docker" "$NACRE" build "$P" --from "$FIXTURES" -o "nowhere:$out"
refuses "build: no store path" "not a store path|No such" "$NACRE" build nonsense --from "$FIXTURES" -o "oci:$out:x"
refuses "build: a path that is not there" "not valid|no path|not there" "$NACRE" build /nix/store/00000000000000000000000000000000-x --from "$FIXTURES" -o "oci:$out:x"
refuses "build: --env without a value" "NAME=VALUE" "${build[@]}" --env FOO
refuses "build: --env without a name" "NAME=VALUE" "${build[@]}" --env =x
refuses "build: --label without a value" "NAME=VALUE" "${build[@]}" --label x
refuses "build: --max-layers of words" "max-layers" "${build[@]}" --max-layers many
refuses "build: --max-layers below what the root layer needs" "layer" "${build[@]}" --max-layers 1
refuses "build: an unknown compression" "compression|zstd" "${build[@]}" --compression lzma
refuses "build: a platform that is none" "platform|OS/ARCH" "${build[@]}" --platform linux
refuses "build: a date that is none" "created|RFC 3339" "${build[@]}" --created yesterday
refuses "build: SOURCE_DATE_EPOCH that is no number" "SOURCE_DATE_EPOCH" env SOURCE_DATE_EPOCH=now "${build[@]}"
refuses "build: SOURCE_DATE_EPOCH past the year 9999" "SOURCE_DATE_EPOCH" env SOURCE_DATE_EPOCH=253402300800 "${build[@]}"
refuses "build: --entrypoint that is broken JSON" "entrypoint|JSON" "${build[@]}" --entrypoint '["a"'
refuses "build: --workdir that is relative" "workdir|absolute|/" "${build[@]}" --workdir relative
refuses "build: --expose that is no port" "expose|port" "${build[@]}" --expose http
refuses "build: --expose past all ports" "expose|port" "${build[@]}" --expose 65536
refuses "build: --volume that is relative" "volume|absolute|/" "${build[@]}" --volume data
for dir in . .. / nix nix/store proc dev ../x a//b; do
    refuses "build: --link $dir" "link" "${build[@]}" --link "$dir"
done
refuses "build: a tag that is none" "tag" "$NACRE" build "$P" --from "$FIXTURES" -o "oci:$out:-x"
refuses "build: a trusted key that is none" "key" "${build[@]}" --trusted-key x
key=$("$NACRE" key generate other-1 -o "$T/other.key" && "$NACRE" key public "$T/other.key")
refuses "build: paths that no trusted key signed" "not signed by a trusted key" "${build[@]}" --trusted-key "$key"
S=$(new_store signed)
nix copy --from "$FIXTURES" --no-check-sigs --to "$S" "$P" 2>"$T/log" && nix store sign --store "$S" --key-file "$T/other.key" -r "$P" 2>>"$T/log"
built=$("$NACRE" build "$P" --from "$S" -o "oci:$T/signed:x" --trusted-key "$key")
check_match "build: paths that it signed" "^sha256:" "$built"
file=$(find "$S$leaf" -type f | head -n 1)
chmod u+w "$file" && printf 'x' >>"$file"
refuses "build: a path that was changed on disk" "$(basename "$leaf").*NarHash|NarHash.*$(basename "$leaf")" "$NACRE" build "$P" --from "$S" -o "oci:$out:x"
refuses "build: the same into an archive" "NarHash" "$NACRE" build "$P" --from "$S" -o "oci-archive:$out"
# What it is known by was proven before it was changed, and the layers are there.
known=$(cd "$T/signed" && find . -type f ! -name index.json | sort | xargs stat -c '%n %Y %s')
check_eq "build: what the destination has is not read again" "$built" "$("$NACRE" build "$P" --from "$S" -o "oci:$T/signed:x")"
check_eq "build: nor written" "$known" "$(cd "$T/signed" && find . -type f ! -name index.json | sort | xargs stat -c '%n %Y %s')"
check_fails "build --no-cache reads it" "NarHash" "$NACRE" build "$P" --from "$S" -o "oci:$T/signed:x" --no-cache
check_fails "build: another compression is another layer" "NarHash" "$NACRE" build "$P" --from "$S" -o "oci:$T/signed:x" --compression none
rm "$T/signed/blobs/sha256/$("$NACRE" inspect --raw "oci:$T/signed:x" | python3 -c 'import json, sys
print(max(json.load(sys.stdin)["layers"], key=lambda l: l["size"])["digest"].split(":")[1])')"
check_eq "build: a layer that is missing is made again" "$built" "$("$NACRE" build "$P" --from "$FIXTURES" -o "oci:$T/signed:x")"
check "build: and is whole" "$NACRE" copy "oci:$T/signed:x" "oci-archive:$T/whole.tar"
nix copy --from "$FIXTURES" --no-check-sigs --to "file://$T/cache?compression=none" "$P" 2>"$T/log"
rm "$T/cache/$(basename "$leaf" | cut -c1-32).narinfo"
refuses "build: a closure with a hole" "$(basename "$leaf")" "$NACRE" build "$P" --from "file://$T/cache" -o "oci:$out:x"
fixture odd >"$T/log" 2>&1
odd=$(find "$FIXTURES/nix/store" -maxdepth 1 -name '*-odd-whiteout' -printf '%f\n' | head -n 1)
[ -z "$odd" ] || refuses "build: a path that cannot be a layer" "\.wh\." "$NACRE" build "/nix/store/$odd" --from "$FIXTURES" -o "oci:$out:x" --platform linux/amd64
if [ "$(id -u)" = 0 ]; then
    mkdir "$T/small" && mount -t tmpfs -o size=1m tmpfs "$T/small"
    check_fails "build: a full disk" "No space left" "$NACRE" build "$P" --from "$FIXTURES" -o "oci-archive:$T/small/x.tar"
    check_eq "build: nothing of it is left there" "" "$(ls -A "$T/small")"
    check_fails "build: a full disk under a layout" "No space left" "$NACRE" build "$P" --from "$FIXTURES" -o "oci:$T/small/l:x"
    check_fails "restore: a full disk" "No space left" sh -c "head -c 3000000 /dev/urandom >'$T/3m' && '$NACRE' nar dump '$T/3m' | '$NACRE' nar restore '$T/small/r'"
    [ ! -e "$T/small/r" ] || not_ok "restore left something on the full disk"
    umount "$T/small"
fi

# ---- copy, inspect
"$NACRE" build "$P" --from "$FIXTURES" -o "oci-archive:$T/good.tar:x" >"$T/log" || die "build"
"$NACRE" build "$P" --from "$FIXTURES" -o "docker-archive:$T/docker.tar:shell:1" >"$T/log" || die "build docker-archive"
"$NACRE" build "$P" --from "$FIXTURES" -o "oci:$T/layout:x" >"$T/log" || die "build"
check "a docker-archive is what skopeo reads" skopeo --insecure-policy copy --quiet "docker-archive:$T/docker.tar" "dir:$T/skopeo"
head -c 100000 "$T/good.tar" >"$T/cut.tar"
head -c 100000 "$T/docker.tar" >"$T/dcut.tar"
for place in "oci-archive:$T/cut.tar" "oci-archive:$T/garbage" "oci-archive:$T/empty" "oci-archive:$T/missing" "oci-archive:$T/dir" \
    "docker-archive:$T/dcut.tar" "docker-archive:$T/garbage" "docker-archive:$T/empty" "oci:$T/dir:x" "oci:$T/missing:x" "oci:$T/layout:y" \
    "docker://127.0.0.1:9/x:1" "docker://UPPER/x" "docker://" "oci:" "nothing:x" "$T/missing"; do
    refuses "copy: ${place#*:"$T"/} (${place%%:*})" "." "$NACRE" copy "$place" "oci:$out:x"
    check_fails "inspect: ${place#*:"$T"/} (${place%%:*})" "." "$NACRE" inspect "$place"
done
cp -r "$T/layout" "$T/broken"
blob=$(find "$T/broken/blobs/sha256" -type f -printf '%s %f\n' | sort -rn | head -n 1 | cut -d' ' -f2)
chmod u+w "$T/broken/blobs/sha256/$blob" && printf x | dd of="$T/broken/blobs/sha256/$blob" bs=1 seek=5000 conv=notrunc 2>"$T/log"
refuses "copy: a blob that was changed" "$blob|digest" "$NACRE" copy "oci:$T/broken:x" "oci-archive:$out"
rm "$T/broken/blobs/sha256/$blob"
refuses "copy: a blob that is missing" "$blob" "$NACRE" copy "oci:$T/broken:x" "oci-archive:$out"
check_fails "copy: one operand" "Usage|operand|DST" "$NACRE" copy "oci:$T/layout:x"
"$NACRE" build "$P" --from "$FIXTURES" --label "who=Élodie 漢字" --label "$(printf 'c1=a\302\233b\033c')" -o "oci:$T/labels:x" >"$T/log" || die "build with labels"
check_match "inspect: texts are shown" 'who.*Élodie 漢字' "$("$NACRE" inspect "oci:$T/labels:x")"
check_match "inspect: but no control characters" 'a\\u009bb\\x1bc' "$("$NACRE" inspect "oci:$T/labels:x")"
start_registry registry
check "copy to a registry" "$NACRE" copy --insecure "oci:$T/layout:x" "docker://$REGISTRY/app:1"
refuses "copy: a tag that is not there" "not found|unknown|404" "$NACRE" copy --insecure "docker://$REGISTRY/app:2" "oci:$out:x"
refuses "copy: a repository that is not there" "not found|unknown|404" "$NACRE" copy --insecure "docker://$REGISTRY/none:1" "oci:$out:x"

# ---- run, serve
check_fails "run: an image that is not there" "." "$NACRE" run --root "$T/node" "oci:$T/missing:x"
check_fails "serve: no directory" "data" "$NACRE" serve
check_fails "serve: an address that is none" "listen|HOST:PORT" "$NACRE" serve --data "$T/d" --listen nonsense
check_fails "serve: a port that is none" "listen|HOST:PORT|port" "$NACRE" serve --data "$T/d" --listen 127.0.0.1:99999
check_fails "serve: a directory that is a file" "directory|Not a" "$NACRE" serve --data "$T/empty" --listen 127.0.0.1:0
check_fails "serve: a directory that is something else" "nacre|version|store" sh -c "mkdir -p '$T/other' && : >'$T/other/meta.sqlite' && '$NACRE' serve --data '$T/other' --listen 127.0.0.1:0"
start_nacre "$T/data"
check_fails "serve: a directory in use" "in use" "$NACRE" serve --data "$T/data" --listen 127.0.0.1:0
check_fails "serve: an address in use" "in use|Address" "$NACRE" serve --data "$T/data2" --listen "$NACRE_ADDR"

# Without standard streams: what is opened first must not take their place.
port=$(free_port)
start_server closed sh -c 'exec "$@" 0<&- >&- 2>&-' sh "$NACRE" serve --data "$T/data3" --listen "127.0.0.1:$port"
check "serve: without standard streams" wait_for 20 curl -sf "http://127.0.0.1:$port/healthz"
check_eq "serve: no file of its own is one" "/dev/null /dev/null /dev/null" "$(readlink "/proc/$SERVER_PID/fd/0" "/proc/$SERVER_PID/fd/1" "/proc/$SERVER_PID/fd/2" | xargs)"

# A server that dies in the middle of a transfer.
start_server slow python3 -c '
import socket, time
s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1], flush=True)
while True:
    c, _ = s.accept(); c.recv(1000)
    c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\nContent-Type: application/vnd.oci.image.manifest.v1+json\r\n\r\n{"); time.sleep(0.2); c.close()'
wait_for 10 test -s "$T/slow.log"
refuses "copy: a registry that breaks off" "." timeout 120 "$NACRE" copy --insecure "docker://127.0.0.1:$(head -n 1 "$T/slow.log")/x:1" "oci:$out:x"
