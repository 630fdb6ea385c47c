#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Path infos, closures and keys against Nix's own, and a Nix store that is read without being touched.
. "$(dirname "$0")/lib.sh"
needs nix python3 sqlite3

P=$(fixture shell) || die "no fixture shell"
S=$(new_store copy)
nix copy --from "$FIXTURES" --no-check-sigs --to "$S" "$P" 2>"$T/copy.log" || die "$(cat "$T/copy.log")"
"$NACRE" key generate test-1 -o "$T/key" || die "no key"
check_eq "a key of ours as Nix sees it" "$(nix key convert-secret-to-public <"$T/key")" "$("$NACRE" key public "$T/key")"
check_eq "a key of Nix as we see it" "$(nix key generate-secret --key-name n-1 | tee "$T/nix-key" | nix key convert-secret-to-public)" \
    "$("$NACRE" key public <"$T/nix-key")"
check_fails "a key is never overwritten" "exists" "$NACRE" key generate test-1 -o "$T/key"
check_eq "nobody else can read it" 600 "$(stat -c %a "$T/key")"
check "Nix signs with it" nix store sign --store "$S" --key-file "$T/key" -r "$P"

# The same facts, one line a path.
ours() {
    python3 -c '
import json, sys
for path, i in sorted(json.load(sys.stdin).items()):
    print(path, i["narHash"], i["narSize"], i.get("deriver"), i.get("ca"), *sorted(i["references"]), *sorted(i["signatures"]))'
}
theirs() {
    python3 -c '
import json, sys
infos = json.load(sys.stdin) # a list until Nix 2.18, by path since then
if isinstance(infos, dict):
    infos = [dict(info, path=path) for path, info in infos.items()]
for i in sorted(infos, key=lambda i: i["path"]):
    print(i["path"], i["narHash"], i["narSize"], i.get("deriver"), i.get("ca"), *sorted(i["references"]), *sorted(i.get("signatures", [])))'
}
sri() {
    python3 -c '
import re, subprocess, sys
for line in sys.stdin:
    words = line.rstrip("\n").split(" ")
    if not words[1].startswith("sha256-"):
        words[1] = subprocess.run(["nix", "hash", "to-sri", words[1]], capture_output=True, text=True).stdout.strip()
    print(*words)'
}
# Without the index of the log: readers may mark in it that they read.
state() {
    (cd "$1/nix/var/nix/db" && find . -type f ! -name '*.lock' ! -name '*-shm' -printf '%p %s %T@\n' | sort && sha256sum db.sqlite)
}

before=$(state "$S")
check_eq "path-info -r is nix path-info -r" "$(nix path-info --store "$S" -r --json "$P" | theirs | sri)" \
    "$("$NACRE" path-info --store "$S" -r --json "$P" | ours)"
check_eq "sizes of closures" "$(nix path-info --store "$S" -s -S "$P" | awk '{print $1, $2, $3}')" \
    "$("$NACRE" path-info --store "$S" -s -S "$P" | awk '{print $1, $2, $3}')"
check_eq "by hash part" "$P" "$("$NACRE" path-info --store "$S" "$(basename "$P" | cut -c1-32)")"
check_fails "a path that is not valid" "not valid" "$NACRE" path-info --store "$S" /nix/store/00000000000000000000000000000000-x
check_fails "what is no store path" "not a store path|No such" "$NACRE" path-info --store "$S" nothing
check_fails "no store" "no Nix store" "$NACRE" path-info --store "$T" "$P"
check_eq "the store is as it was" "$before" "$(state "$S")"

if [ "$(id -u)" = 0 ]; then
    check_eq "a store on a read-only file system" "$P" "$(unshare -m sh -c "
        mount --bind '$S' '$S' && mount -o remount,bind,ro '$S' && exec '$NACRE' path-info --store '$S' '$P'")"
fi

# A database that somebody writes: what is committed but still in the log must be seen.
sqlite3 "$S/nix/var/nix/db/db.sqlite" >"$T/sqlite.log" 2>&1 <<'SQL' &
pragma journal_mode = wal;
pragma wal_autocheckpoint = 0;
update ValidPaths set deriver = '/nix/store/00000000000000000000000000000000-changed.drv';
.shell sleep 3
SQL
sleep 1
check_match "a database in use" "changed.drv" "$("$NACRE" path-info --store "$S" --json "$P" 2>&1)"
wait

# The same over a cache.
check "nix copy --to file://" nix copy --from "$FIXTURES" --no-check-sigs --to "file://$T/cache?compression=none" "$P"
check_eq "path-info of a cache" "$("$NACRE" path-info --store "$FIXTURES" -r -s "$P")" "$("$NACRE" path-info --store "file://$T/cache" -r -s "$P")"
rm "$T/cache/$(closure "$P" | head -n 1 | xargs basename | cut -c1-32).narinfo"
check_fails "a cache that lacks a path of the closure" "refer|missing|not" "$NACRE" path-info --store "file://$T/cache" -r "$P"
sed -i 's/10/11/' "$S/nix/var/nix/db/schema"
check_fails "a schema that is not known" "schema" "$NACRE" path-info --store "$S" "$P"
