#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `nacre nar` against Nix: dumps, restores, listings and hashes of odd trees are equal; what is
# malformed is refused and leaves nothing; a 5 GiB file needs no memory.
. "$(dirname "$0")/lib.sh"
needs nix-store nix nix-hash xz gzip bzip2 python3

trees=$T/trees
python3 - "$trees" <<'EOF' || die "no trees"
import os, sys
root = os.fsencode(sys.argv[1])
os.makedirs(root)
os.umask(0o022)

def file(path, data=b"", mode=0o644):
    with open(os.path.join(root, path), "wb") as out:
        out.write(data)
    os.chmod(os.path.join(root, path), mode)

def folder(path):
    os.makedirs(os.path.join(root, path), exist_ok=True)

def link(path, target):
    os.symlink(target, os.path.join(root, path))

file(b"file", b"hello\n")
file(b"empty-file")
file(b"executable", b"#!/bin/sh\n", 0o755)
file(b"empty-executable", b"", 0o700)
link(b"symlink", b"/nowhere/at/all")
folder(b"empty-dir")
folder(b"modes")
for mode in (0o444, 0o555, 0o600, 0o711, 0o744, 0o674, 0o666):
    file(b"modes/%03o" % mode, b"x", mode)
folder(b"sizes")
for size in (0, 1, 7, 8, 9, 4095, 4096, 4097, 65535, 65536, 262143, 262144, 262145, 1 << 20):
    file(b"sizes/%d" % size, bytes(i * 7 % 251 for i in range(size)))
folder(b"order")
for name in (b"a", b"a-", b"a.b", b"ab", b"B", b"Z", b"_", b"10", b"9", b"-", b"...", b"..a"):
    file(b"order/" + name)
folder(b"order/A/x")
folder(b"names")
for name in (b"n" * 255, b"new\nline", b"tab\t", b"q\"uote", b"back\\slash", b"\x01\x1f\x7f", b"\x08\x0c\x0d",
             b"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", b".wh.x", b".wh..wh..opq", b"~nix~case~hack~1", b" ", b"a:b", b"<&>"):
    file(b"names/" + name, name)
link(b"names/link", b"\xe2\x82\xac \"\\\n" + b"x" * 3000)
folder(b"bytes")
for name in (b"\xff", b"\x80a", b"a\xe2\x82b", b"\xed\xa0\x80"):
    file(b"bytes/" + name, name)
link(b"bytes/link", b"\xff\xfe")
folder(b"deep" + b"/d" * 62)
file(b"deep" + b"/d" * 62 + b"/f", b"bottom")
folder(b"holes")
with open(os.path.join(root, b"holes/f"), "wb") as out:
    for at, data in ((0, b"a"), (1 << 20, b"b"), ((5 << 20) + 123, b"c" * 70000), (9 << 20, b"d")):
        out.seek(at)
        out.write(data)
    out.truncate(12 << 20)
folder(b"many")
for i in range(3000):
    file(b"many/%x" % (i * 2654435761 % (1 << 32)), b"%d" % i)
EOF

# Type, mode, size, symlink target and, on demand, time of everything in a tree. A folder's size says nothing.
describe() {
    python3 - "$@" <<'EOF'
import os, stat, sys
def line(path, name):
    info = os.lstat(path)
    target = os.readlink(path) if stat.S_ISLNK(info.st_mode) else b""
    size = 0 if stat.S_ISDIR(info.st_mode) else info.st_size
    print(name, oct(info.st_mode), size, target, info.st_mtime_ns if sys.argv[2:] else "")
top = os.fsencode(sys.argv[1])
line(top, b"")
for folder, folders, files in os.walk(top):
    folders.sort()
    for name in sorted(folders + files):
        path = os.path.join(folder, name)
        line(path, path[len(top):])
EOF
}

same_tree() {
    local times=${3:-}
    diff <(describe "$1" $times) <(describe "$2" $times) | head -n 10
}

for tree in "$trees"/*; do
    name=${tree##*/}
    tree=$trees/$name nar=$T/$name.nar
    nix-store --dump "$tree" >"$nar"
    "$NACRE" nar dump "$tree" >"$T/out.nar"
    check_same "dump of $name equals nix-store --dump" "$nar" "$T/out.nar"
    check_eq "hash of $name" "sha256:$(nix-hash --type sha256 --base32 "$tree")" "$("$NACRE" nar hash "$tree")"
    check "restore of $name" "$NACRE" nar restore -f "$nar" "$T/restored"
    nix-store --restore "$T/by-nix" <"$nar"
    check_eq "restore of $name equals nix-store --restore" "" "$(same_tree "$T/restored" "$T/by-nix")"
    check_same "contents of $name are restored" "$nar" <(nix-store --dump "$T/restored")
    rm -rf "$T/restored" "$T/by-nix"
done
check_same "a slash at the end of a symlink changes nothing" "$T/symlink.nar" <("$NACRE" nar dump "$trees/symlink/")
check "restore reads standard input" "$NACRE" nar restore "$T/h" <"$T/holes.nar"
check_eq "holes stay holes" yes "$([ "$(du -k "$T/h/f" | cut -f1)" -lt 1024 ] && echo yes)"

# ---- what a store looks like -----------------------------------------------------------------------

store=$(new_store store)
cache=$T/cache-with-listings
for name in file empty-executable symlink empty-dir modes sizes order names deep many; do
    # Not every name can be a store path's.
    if ! path=$(nix-store --store "$store" --add "$trees/$name" 2>"$T/add.log"); then
        # Nix 2.26 runs out of stack at 63 levels.
        skip "what Nix makes of $name" "nix-store --add: $(tail -n 1 "$T/add.log")"
        continue
    fi
    "$NACRE" nar restore --canonical -f "$T/$name.nar" "$T/canonical"
    check_eq "restore --canonical of $name is what Nix keeps" "" "$(same_tree "$T/canonical" "$store$path" times)"
    [ -L "$T/canonical" ] || chmod -R u+w "$T/canonical"
    rm -rf "$T/canonical"
    nix copy --no-check-sigs --store "$store" --to "file://$cache?write-nar-listing=1&compression=none" "$path" 2>"$T/copy.log" || die "nix copy $name: $(cat "$T/copy.log")"
    listing=$cache/$(basename "$path" | cut -c1-32).ls
    "$NACRE" nar ls --json "$T/$name.nar" >"$T/ours.ls"
    case $(nix --version) in
    *' 2.8.'*) check_eq "listing of $name is what Nix writes" "$(cat "$listing")" "$(cat "$T/ours.ls")" ;;
    # Later ones write the same, sorted.
    *) check_eq "listing of $name says what Nix writes" "$(jq -cS . <"$listing")" "$(jq -cS . <"$T/ours.ls")" ;;
    esac
done

# ---- looking into NARs -----------------------------------------------------------------------------

check_eq "ls lists a directory" "$(printf '%s\n' - ... ..a 10 9 A B Z _ a a- a.b ab)" "$("$NACRE" nar ls "$T/order.nar")"
check_eq "ls -R goes on" A/x "$("$NACRE" nar ls -R "$T/order.nar" | grep x)"
check_eq "ls -l tells type and size" "dr-xr-xr-x            0 A/x" "$("$NACRE" nar ls -lR "$T/order.nar" | grep x$)"
check_eq "ls of a file" "-r--r--r--            6 /" "$("$NACRE" nar ls -l "$T/file.nar")"
check_eq "ls of a symlink" "lrwxrwxrwx            0 / -> /nowhere/at/all" "$("$NACRE" nar ls -l "$T/symlink.nar")"
check_eq "ls keeps the terminal in order" 'new\x0aline' "$("$NACRE" nar ls "$T/names.nar" | grep ^new)"
check_eq "ls --json of a part" '{"version":1,"root":{"type":"directory","entries":{}}}' "$("$NACRE" nar ls --json "$T/order.nar" A/x)"
check_eq "names that are not UTF-8 are escaped" '\udcff' "$("$NACRE" nar ls --json "$T/bytes.nar" | grep -o '\\udcff' | head -n 1)"
check_eq "ls reads a stream" "$("$NACRE" nar ls -lR "$T/names.nar")" "$("$NACRE" nar ls -lR - < <(cat "$T/names.nar"))"
check_same "cat prints a file" "$trees/sizes/262145" <("$NACRE" nar cat "$T/sizes.nar" 262145)
check_same "cat reads a stream" "$trees/sizes/262145" <("$NACRE" nar cat - 262145 < <(cat "$T/sizes.nar"))
check_eq "cat goes deep" bottom "$("$NACRE" nar cat "$T/deep.nar" "$(printf 'd/%.0s' {1..62})f")"
check_fails "cat of a directory" 'is a directory' "$NACRE" nar cat "$T/order.nar" A
check_fails "cat of a symlink says where to" 'symlink to "/nowhere' "$NACRE" nar cat "$T/symlink.nar" /
check_fails "cat of what is not there" 'the NAR has no "C"' "$NACRE" nar cat "$T/order.nar" C
check_fails "ls of what is not there" 'the NAR has no "A/y"' "$NACRE" nar ls "$T/order.nar" A/y
check_fails "paths are not relative" 'no meaning' "$NACRE" nar cat "$T/order.nar" ../a

hex=$(nix-hash --type sha256 "$trees/order")
check_eq "hash --format hex" "sha256:$hex" "$("$NACRE" nar hash --format hex --nar "$T/order.nar")"
check_eq "hash --format base64" "sha256:$(nix hash to-base64 "sha256:$hex")" "$("$NACRE" nar hash --format base64 --nar "$T/order.nar")"
check_eq "hash --format sri" "$(nix hash to-sri "sha256:$hex")" "$("$NACRE" nar hash --format sri --nar "$T/order.nar")"
for type in md5 sha1 sha512; do
    check_eq "hash --type $type" "$type:$(nix-hash --type $type --base32 "$trees/order")" "$("$NACRE" nar hash --type $type "$trees/order")"
done
check_eq "hash --json" "{\"narHash\":\"$("$NACRE" nar hash "$trees/file")\",\"narSize\":$(stat -c %s "$T/file.nar")}" "$("$NACRE" nar hash --json "$trees/file")"

# ---- compressed input ------------------------------------------------------------------------------

xz -k "$T/names.nar" && gzip -k "$T/names.nar" && bzip2 -k "$T/names.nar"
command -v zstd >/dev/null && zstd -q "$T/names.nar"
for file in "$T"/names.nar.*; do
    kind=${file##*.}
    check_eq "hash of a NAR in $kind" "$("$NACRE" nar hash "$trees/names")" "$("$NACRE" nar hash --nar "$file")"
    check_eq "ls of a NAR in $kind" "$("$NACRE" nar ls "$T/names.nar")" "$("$NACRE" nar ls "$file")"
    check_same "cat of a NAR in $kind" "$trees/names/.wh.x" <("$NACRE" nar cat "$file" .wh.x)
    check "restore from $kind" "$NACRE" nar restore -f "$file" "$T/r-$kind"
    check_eq "restored from $kind" "" "$(diff -r --no-dereference "$trees/names" "$T/r-$kind" 2>&1)"
    head -c 300 "$file" >"$T/cut"
    check_fails "truncated $kind" 'xz|gzip|bzip2|zstd' "$NACRE" nar restore -f "$T/cut" "$T/r-cut"
    check_eq "truncated $kind leaves nothing" "" "$(find "$T" -maxdepth 1 -name r-cut)"
done

# ---- store layers ----------------------------------------------------------------------------------

item=/nix/store/00000000000000000000000000000000-x
other=/nix/store/11111111111111111111111111111111-y
cat >"$T/layer.py" <<'EOF'
import sys
sys.path.insert(0, sys.argv[1] + "/tests/reference")
import nar, tar
sys.stdout.buffer.write(tar.layer("/nix/store", {sys.argv[3]: nar.read_root(sys.argv[2])}))
EOF
for name in file executable symlink empty-dir modes sizes order bytes deep many; do
    "$NACRE" nar to-tar $item "$T/$name.nar" >"$T/layer.tar"
    python3 "$T/layer.py" "$SRC" "$T/$name.nar" "$item" >"$T/want.tar"
    check_same "the store layer of $name is what the reference writes" "$T/want.tar" "$T/layer.tar"
    check_same "and back" "$T/$name.nar" <("$NACRE" nar from-tar "$T/layer.tar")
done
gzip -k "$T/layer.tar"
check_same "from-tar reads a compressed stream" "$T/many.nar" <("$NACRE" nar from-tar - < <(cat "$T/layer.tar.gz"))
"$NACRE" nar to-tar $item "$T/file.nar" $other "$T/modes.nar" >"$T/two.tar"
check_eq "to-tar --digest prints the diffID" "sha256:$(sha256sum <"$T/two.tar" | cut -d' ' -f1)" \
    "$("$NACRE" nar to-tar --digest $item "$T/file.nar" $other "$T/modes.nar")"
check_fails "to-tar --digest refuses a torn NAR" 'truncated' "$NACRE" nar to-tar --digest $item <(head -c -8 "$T/file.nar")
mkdir "$T/nars"
check "from-tar --to writes all" "$NACRE" nar from-tar --to "$T/nars" "$T/two.tar"
check_same "the first" "$T/file.nar" "$T/nars/${item##*/}.nar"
check_same "the second" "$T/modes.nar" "$T/nars/${other##*/}.nar"
check_same "from-tar of one of two" "$T/modes.nar" <("$NACRE" nar from-tar "$T/two.tar" $other)
check_fails "from-tar does not choose" 'several store paths' "$NACRE" nar from-tar "$T/two.tar"
check_fails "from-tar of none" 'no store path' "$NACRE" nar from-tar "$T/two.tar" /nix/store/22222222222222222222222222222222-z
check_fails "from-tar of another store dir" 'no store path' "$NACRE" nar from-tar "$T/two.tar" "/gnu/store/${item##*/}"
check_fails "from-tar replaces no file" 'exists' "$NACRE" nar from-tar --to "$T/nars" "$T/two.tar"
check_fails "order matters to to-tar" "${item##*/}" "$NACRE" nar to-tar $other "$T/modes.nar" $item "$T/file.nar"
check_fails "to-tar wants a store path" 'not a store path' "$NACRE" nar to-tar /tmp/x "$T/file.nar"
check_fails "whiteouts cannot be in a layer" '\.wh\.' "$NACRE" nar to-tar $item "$T/names.nar"
tar -cf "$T/plain.tar" -C "$trees" order
check_fails "an ordinary tar is no store layer" 'not a store layer' "$NACRE" nar from-tar "$T/plain.tar"
head -c 2000 "$T/two.tar" >"$T/cut"
check_fails "a truncated store layer" 'truncated|canonical' "$NACRE" nar from-tar "$T/cut" $item

# ---- what is refused -------------------------------------------------------------------------------

mkdir "$T/bad"
count=0
for file in "$SRC"/tests/vectors/nar/should-fail-*.nar; do
    rule=$(basename "$file" .nar)
    check_fails "$rule" 'NAR' "$NACRE" nar restore -f "$file" "$T/bad/out" && count=$((count + 1))
    "$NACRE" nar hash --nar "$file" >"$T/second" 2>&1 && not_ok "$rule has a hash"
done
check_eq "malformed NARs leave nothing" "" "$(ls -A "$T/bad")"
check_match "there are many of them" '^[5-9][0-9]$' "$count"
for there in file modes symlink; do
    cp -a "$trees/$there" "$T/there"
    for name in executable order symlink; do
        check_fails "restore of $name over $there" 'exists' "$NACRE" nar restore -f "$T/$name.nar" "$T/there"
    done
    check_eq "$there is as it was" "" "$(same_tree "$T/there" "$trees/$there" times)"
    rm -rf "$T/there"
done
mkdir "$T/special"
mkfifo "$T/special/fifo" "$T/fifo"
check_fails "a fifo does not hang a dump" 'special/fifo is a fifo' timeout 10 "$NACRE" nar dump "$T/special"
check_fails "a fifo as root" 'is a fifo' timeout 10 "$NACRE" nar dump "$T/fifo"
check_fails "a file without a size" 'changed while it was read' "$NACRE" nar dump /proc/self/status
mkdir -p "$T/too-deep/$(printf 'd/%.0s' {1..64})"
check_fails "64 levels" 'too deep' "$NACRE" nar dump "$T/too-deep"
check_fails "a missing path" 'No such file' "$NACRE" nar dump "$T/missing"
check_fails "a full disk" 'No space left' sh -c '"$1" nar dump "$2" >/dev/full' - "$NACRE" "$trees/sizes"
check_fails "a closed pipe" 'Broken pipe' bash -c 'set -o pipefail; "$1" nar dump "$2" | true' - "$NACRE" "$trees/sizes"

status_of() {
    "$NACRE" nar "$@" >"$T/status.out" 2>&1 </dev/null
    printf '%s ' $?
}
check_eq "usage errors are 2" "2 2 2 2 2 2 2 " "$(
    status_of
    status_of bogus
    status_of dump
    status_of dump a b
    status_of hash --type x a
    status_of ls --bogus x
    status_of to-tar "$item"
)"
for command in dump restore ls cat hash to-tar from-tar; do
    check_match "nar $command --help" "^Usage: nacre nar $command" "$("$NACRE" nar $command --help)"
done
check_match "no binary on a terminal" 'output is binary' "$(python3 -c '
import pty, sys
pty.spawn(sys.argv[1:])' "$NACRE" nar dump "$trees/file" 2>&1 </dev/null)"

# ---- 5 GiB -----------------------------------------------------------------------------------------

small() {
    note "$1: $MAX_RSS_KIB KiB"
    check_eq "5 GiB: memory of $1 is below 64 MiB" yes "$([ "$MAX_RSS_KIB" -lt 65536 ] && echo yes)"
}
truncate -s 5G "$T/large"
printf one | dd of="$T/large" bs=1 seek=$((1 << 30)) conv=notrunc status=none
printf across | dd of="$T/large" bs=1 seek=$(((4 << 30) - 3)) conv=notrunc status=none
mkfifo "$T/pipe"
"$NACRE" nar dump "$T/large" >"$T/pipe" &
measure_rss "$NACRE" nar restore "$T/large.back" <"$T/pipe"
small restore
wait $!
check_eq "5 GiB: on less than 1 MiB of disk" yes "$([ "$(du -k "$T/large.back" | cut -f1)" -lt 1024 ] && echo yes)"
measure_rss "$NACRE" nar hash --json "$T/large" >"$T/large.hash"
small hash
check_match "5 GiB: size of the NAR" "\"narSize\":$(((5 << 30) + 112))}" "$(cat "$T/large.hash")"
"$NACRE" nar hash --json --nar - < <("$NACRE" nar dump "$T/large.back") >"$T/back.hash"
check_same "5 GiB: the hash of the NAR is that of the tree" "$T/large.hash" "$T/back.hash"
