#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The fixtures are what they promise: closures that Nix finds sound, that run by themselves, and that
# come out the same a second time.
. "$(dirname "$0")/lib.sh"
needs nix-store patchelf dpkg-deb unshare

for name in shell python3 git odd ca synthetic-100; do
    fixture "$name" >/dev/null || die "$name"
done
check_eq "python3 is a closure of dozens of paths" yes "$([ "$(closure "$(fixture python3)" | wc -l)" -ge 24 ] && echo yes)"
check_eq "synthetic-100 reaches 100 paths" 100 "$(closure "$(fixture synthetic-100)" | wc -l)"

python3 - "$SRC" "$FIXTURES" >"$T/hashes" 2>&1 <<'EOF'
import hashlib, subprocess, sys
sys.path.insert(0, sys.argv[1] + "/tests/reference")
import nar, storepath
store, count = sys.argv[2], 0
for name in ("shell", "python3", "git", "odd", "odd-whiteout", "ca", "synthetic-100"):
    root = open(f"{store}/{name}.root").read().strip()
    def query(*what):
        return subprocess.run(["nix-store", "--store", store, "--query", *what], check=True, capture_output=True, text=True).stdout.split()
    paths = query("--requisites", root)
    for path, known in zip(paths, query("--hash", *paths)):
        node = nar.from_tree(store + path)
        data = nar.write(node)
        assert known == "sha256:" + storepath.nix32(hashlib.sha256(data).digest()), path
        assert nar.read(data) == node, path
        count += 1
print(count > 150)
EOF
check_eq "the reference NAR writer agrees with Nix on every path" True "$(cat "$T/hashes")"

cat >"$T/alone" <<'EOF'
# Runs a program with nothing in sight but the closure of a store path, read-only.
set -eu
store=$1 root=$2
shift 2
mkdir -p "$T/alone-root"
mount -t tmpfs tmpfs "$T/alone-root"
cd "$T/alone-root"
mkdir -p nix/store dev tmp
for device in null urandom; do
    touch dev/$device
    mount --bind /dev/$device dev/$device
done
nix-store --store "$store" --query --requisites "$root" | while read -r path; do
    mkdir ".$path"
    mount --bind "$store$path" ".$path"
    mount -o remount,ro,bind ".$path"
done
exec env -i PATH="$root/bin" HOME=/tmp /usr/sbin/chroot . "$@"
EOF
if [ "$(id -u)" = 0 ]; then
    export T
    alone() {
        local root
        root=$(fixture "$1")
        shift
        unshare --mount sh "$T/alone" "$FIXTURES" "$root" "$@" 2>&1
    }
    check_eq "python3 runs with nothing but its closure" "ok [1] 2cf24dba" "$(alone python3 python3 -c '
import bz2, ctypes, curses, decimal, hashlib, json, lzma, os, readline, sqlite3, ssl, uuid, xml.parsers.expat
assert sorted(os.listdir("/")) == ["dev", "nix", "tmp"] and ssl.OPENSSL_VERSION and sqlite3.connect(":memory:")
print("ok", json.dumps([1]), hashlib.sha256(b"hello").hexdigest()[:8])')"
    check_eq "the shell does" "jello" "$(alone shell sh -c 'echo hello | sed s/h/j/ | grep j')"
    check_eq "the main program of the shell is bash" "5" "$(alone shell shell -c 'echo ${BASH_VERSION%%.*}')"
    dash=$(closure "$(fixture git)" | grep -- -dash-)
    check_match "git does" "root-commit.* first" "$(alone git "$dash/bin/dash" -c '
        cd /tmp && git init -q r && cd r && echo x >f && git add f &&
        git -c user.name=n -c user.email=e commit -m first && git fsck')"
else
    skip "fixtures run by themselves" "needs root"
fi

# Only what the build makes can differ between two runs; Debian's packages are taken from the first.
again=$(new_store again)
cp -r "$FIXTURES/debs" "$again/"
"$SRC/tests/fixtures/build" "$again" shell odd ca synthetic-100 >"$T/again.out" 2>&1 || note "$(cat "$T/again.out")"
differ=$(for name in shell odd ca synthetic-100; do
    diff <(nix-store --store "$again" -q --hash $(nix-store --store "$again" -qR "$(cat "$again/$name.root")" | sort) 2>&1) \
        <(nix-store --store "$FIXTURES" -q --hash $(closure "$(fixture "$name")") 2>&1)
done)
check_eq "a second build gives the same paths and NarHashes" "" "$differ"
