#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From a Nix store to running containers and back, through one server, with real programs throughout.
. "$(dirname "$0")/lib.sh"
needs nix skopeo podman containerd ctr docker-registry python3
needs_root

PROGRAM='import hashlib, json, os, sqlite3, ssl, zlib
print(json.dumps(sorted(os.listdir("/nix/store"))))'

P=$(fixture python3) || die "no fixture python3"
H=$(basename "$P")
H=${H%%-*}
closure "$P" | sed 's|.*/||' | sort >"$T/closure"
WANT=$(python3 -c 'import json, sys; print(json.dumps(sorted(sys.stdin.read().split())))' <"$T/closure")

# What a container prints must be its closure and nothing else.
runs() {
    local desc=$1
    shift
    check_eq "$desc: prints what it should, and only its closure is there" "$WANT" "$("$@" 2>"$T/run.err" || tail -n 5 "$T/run.err")"
}

# NarHash, NarSize and references of a closure, as comparable lines.
infos() {
    nix path-info "$@" --json -r "$P" | python3 -c '
import json, sys
infos = json.load(sys.stdin)
for i in sorted(infos, key=lambda i: i["path"]):
    print(i["path"], i["narHash"], i["narSize"], *sorted(i["references"]))'
}
infos --store "$FIXTURES" >"$T/infos"

same_paths() {
    local desc=$1 store=$2
    infos --store "$store" >"$T/infos.got"
    check_same "$desc: every NarHash and reference equal" "$T/infos" "$T/infos.got"
    check "$desc: nix store verify is clean" nix_store_verify "$store"
}

# ---- 1. nix copy in, containers out ---------------------------------------------------------------

start_nacre "$T/data1"
check "nix copy --to the server" nix copy --from "$FIXTURES" --no-check-sigs --to "$NACRE_URL" "$P"
check_match "skopeo inspect nix:<hash>" '"Architecture": "amd64"' "$(skopeo_inspect "docker://$NACRE_ADDR/nix:$H" 2>&1)"
check "podman pull nix:<hash>" podman_pull "$NACRE_ADDR/nix:$H"
runs "podman run nix:<hash>" podman_run "$NACRE_ADDR/nix:$H" python3 -c "$PROGRAM"
start_containerd
check "ctr pull nix:<hash>" ctr_pull "$NACRE_ADDR/nix:$H"
runs "ctr run nix:<hash>" ctr_run "$NACRE_ADDR/nix:$H" /bin/python3 -c "$PROGRAM"
for kind in tar gzip native; do
    PODMAN_NODE=$kind check "podman pull nix:<hash>-$kind" podman_pull "$NACRE_ADDR/nix:$H-$kind"
    PODMAN_NODE=$kind runs "podman run nix:<hash>-$kind" podman_run "$NACRE_ADDR/nix:$H-$kind" python3 -c "$PROGRAM"
done
runs "nacre run nix:<hash>" "$NACRE" run --root "$T/node" "$NACRE_ADDR/nix:$H" python3 -c "$PROGRAM"
S=$(new_store back)
check "nix copy --from the server" nix copy --from "$NACRE_URL" --no-check-sigs --to "$S" "$P"
same_paths "nix copy --from the server" "$S"
SERVED=$(skopeo_inspect "docker://$NACRE_ADDR/nix:$H" | python3 -c 'import json, sys; print(json.load(sys.stdin)["Digest"])')
PACKAGE=$(skopeo_inspect --raw "docker://$NACRE_ADDR/nix/package:$H" 2>&1)
check_match "the package artifact" '"artifactType":"application/vnd.nix.package.v1"' "$PACKAGE"
physical=$(du -sb "$NACRE_DATA/objects" | cut -f1)
both=$(awk '{s += $3} END {print 2 * s}' "$T/infos")
note "physical bytes $physical, NARs and tars uncompressed about $both"

# ---- 2. nacre build ----------------------------------------------------------------------------------

mkdir "$T/build"
A=$("$NACRE" build --from "$FIXTURES" "$P" -o "oci:$T/build/a:py" 2>/dev/null)
check_eq "nacre build has the digest of the image made on demand" "$SERVED" "$A"
S2=$(new_store second)
nix copy --from "$FIXTURES" --no-check-sigs --to "$S2" "$P" 2>"$T/copy.log" || die "cannot copy the closure"
check_eq "nacre build from a second store" "$A" "$("$NACRE" build --from "$S2" "$P" -o "oci:$T/build/b:py" 2>/dev/null)"
check_eq "nacre build from a cache by URL" "$A" "$("$NACRE" build --from "$NACRE_URL" "$P" -o "oci-archive:$T/build/c.tar:py" 2>/dev/null)"

nix key generate-secret --key-name test-1 >"$T/key" && nix key convert-secret-to-public <"$T/key" >"$T/key.pub"
check "sign the second store" nix store sign --store "$S2" --key-file "$T/key" -r "$P"
start_registry
check_eq "nacre build into docker-registry" "$A" "$("$NACRE" build --from "$S2" "$P" -o "docker://$REGISTRY/py:1" 2>/dev/null)"
PODMAN_NODE=registry check "podman pull from docker-registry" podman_pull "$REGISTRY/py:1"
PODMAN_NODE=registry runs "podman run from docker-registry" podman_run "$REGISTRY/py:1" python3 -c "$PROGRAM"
check "ctr pull from docker-registry" ctr_pull "$REGISTRY/py:1"
runs "ctr run from docker-registry" ctr_run "$REGISTRY/py:1" /bin/python3 -c "$PROGRAM"

# ---- 3. the image into nacre, the paths out --------------------------------------------------------------

stop_nacre
start_nacre "$T/data-skopeo"
check "skopeo copy from docker-registry" skopeo_copy "docker://$REGISTRY/py:1" "docker://$NACRE_ADDR/py:1"
S=$(new_store from-skopeo)
check "nix copy --from, pushed by skopeo" nix copy --from "$NACRE_URL" --no-check-sigs --to "$S" "$P"
same_paths "pushed by skopeo" "$S"
check_eq "pushed by skopeo: unsigned" 0 "$(nix path-info --store "$S" --json -r "$P" | grep -c 'test-1:')"
check_eq "pushed by skopeo: the bytes stay as they were" "$A" \
    "$(skopeo_inspect "docker://$NACRE_ADDR/py:1" | python3 -c 'import json, sys; print(json.load(sys.stdin)["Digest"])')"
stop_nacre

start_nacre "$T/data-copy"
check "nacre copy from docker-registry" "$NACRE" copy "docker://$REGISTRY/py:1" "docker://$NACRE_ADDR/py:1"
S=$(new_store from-copy)
check "nix copy --from, brought by nacre copy, signatures required" nix copy --from "$NACRE_URL" --to "$S" "$P" \
    --option require-sigs true --option trusted-public-keys "$(cat "$T/key.pub")"
same_paths "brought by nacre copy" "$S"
check "brought by nacre copy: signatures valid" nix store verify --store "$S" --no-contents -r "$P" \
    --sigs-needed 1 --option trusted-public-keys "$(cat "$T/key.pub")"
check_fails "without that key it is refused" "signature|untrusted|required" nix copy --from "$NACRE_URL" --to "$(new_store refused)" "$P" \
    --option require-sigs true --option trusted-public-keys "other-1:REkgFeK9UWIFiZNbPONzgRhuGrwXRvUO8gghR6mUqXk="
stop_nacre

start_nacre "$T/data-podman"
PODMAN_NODE=registry podman_ push --quiet --tls-verify=false "$REGISTRY/py:1" "docker://$NACRE_ADDR/py:podman" >"$T/push.log" 2>&1
check_eq "podman push" 0 $?
S=$(new_store from-podman)
check "nix copy --from, pushed by podman" nix copy --from "$NACRE_URL" --no-check-sigs --to "$S" "$P"
same_paths "pushed by podman" "$S"
stop_nacre

start_nacre "$T/data-ctr"
check "ctr push" ctr_ images push --plain-http "$NACRE_ADDR/py:ctr" "$REGISTRY/py:1"
S=$(new_store from-ctr)
check "nix copy --from, pushed by ctr" nix copy --from "$NACRE_URL" --no-check-sigs --to "$S" "$P"
same_paths "pushed by ctr" "$S"
