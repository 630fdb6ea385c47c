#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The reference writer against Nix, GNU tar, bsdtar and zstd; the vectors against the reference writer.
. "$(dirname "$0")/lib.sh"
needs python3 nix-store tar bsdtar zstd

vectors=$SRC/tests/vectors

check "the vectors are what the reference writes" "$SRC/tests/reference/vectors" --check

nar_hash() {
    nix-store --dump "$1" | sha256sum
}

bad=0 count=0
for nar in "$vectors"/nar/*.nar; do
    [[ $nar != */should-fail-* ]] || continue
    count=$((count + 1))
    nix-store --restore "$T/restored" <"$nar" && nix-store --dump "$T/restored" | cmp -s - "$nar" || {
        bad=1
        note "$nar"
    }
    chmod -R u+w "$T/restored" 2>/dev/null
    rm -rf "$T/restored"
done
check_eq "Nix restores and dumps the $count good NARs" 0 $bad

# What runtimes do with a layer: unpack it below a root.
check_tars() {
    local program=$1 file path hash bad=0
    while IFS=$'\t' read -r file path hash; do
        mkdir "$T/unpacked"
        "$program" -xpf "$vectors/$file" -C "$T/unpacked" 2>"$T/tar.err" &&
            [ "$(nix-store --dump "$T/unpacked$path" | nix hash file --base32 --type sha256 /dev/stdin)" = "$hash" ] || {
            bad=1
            note "$file $path: $(cat "$T/tar.err")"
        }
        chmod -R u+w "$T/unpacked"
        rm -rf "$T/unpacked"
    done < <(python3 -c '
import json, sys
for row in json.load(open(sys.argv[1]))["good"]:
    for path in row["paths"]:
        print(row["file"], path["path"], path["narHash"].split(":")[1], sep="\t")' "$vectors/tar.json")
    check_eq "$program unpacks the good tars to the NARs they stand for" 0 $bad
}
check_tars tar
check_tars bsdtar

python3 - "$SRC" >"$T/frames" 2>&1 <<'EOF'
import subprocess, sys
sys.path.insert(0, sys.argv[1] + "/tests/reference")
import frames, nar, tar, vectors_layer as v
for name, trees in v.frame_cases().items():
    nodes = v.nodes_of(trees)
    pairs = [(frames.layer_zstd(v.STORE, nodes), tar.layer(v.STORE, nodes))]
    pairs += [(frames.nar_zstd(node), nar.write(node)) for node in nodes.values()]
    for packed, plain in pairs:
        assert subprocess.run(["zstd", "-dc"], input=packed, stdout=subprocess.PIPE, check=True).stdout == plain, name
    # The promise of the format: NAR and tar share every bulk frame.
    bulk = [data for is_bulk, data in frames.plan(tar.layer_runs(v.STORE, nodes)) if is_bulk]
    assert bulk == [data for path in sorted(nodes) for is_bulk, data in frames.plan(frames.nar_runs(nodes[path])) if is_bulk]
EOF
check_eq "zstd unpacks the frames, NAR and tar share the large ones" "" "$(cat "$T/frames")"
