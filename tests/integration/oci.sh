#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nacre copy and nacre inspect between layouts, archives and a registry, against skopeo and podman.
. "$(dirname "$0")/lib.sh"
needs skopeo podman docker-registry python3

N=$NACRE
make() {
    python3 "$SRC/tests/integration/lib/make_layout.py" "$@"
}

# What skopeo says of the digest, and what the layers unpack to.
skopeo_digest() {
    skopeo_inspect "$1" --format '{{.Digest}}' 2>&1
}
diff_ids() {
    skopeo_inspect "$1" --config | python3 -c 'import json, sys; print(json.load(sys.stdin)["rootfs"]["diff_ids"])'
}

cd "$T" || exit 1
hello_image hello || die "no image"
digest=$(skopeo_digest oci:hello:hello)
ids=$(diff_ids oci:hello:hello)

# ---- OCI layouts and archives keep every byte ------------------------------------------------------

check_eq "copy prints the digest" "$digest" "$("$N" copy oci:hello:hello oci:layout:one 2>&1)"
check_eq "skopeo reads our layout" "$digest" "$(skopeo_digest oci:layout:one)"
check "a second image in one layout" "$N" copy oci:hello:hello oci:layout:two
check_eq "both tags are there" "$digest $digest" "$(skopeo_digest oci:layout:one) $(skopeo_digest oci:layout:two)"
check_fails "which one must be said" 'one, two' "$N" copy oci:layout oci-archive:x.tar
check_fails "a tag that is not there" "no image 'three'" "$N" inspect oci:layout:three
check "layout to oci-archive" "$N" copy oci:layout:two oci-archive:a.tar:t
check_eq "skopeo reads our oci-archive" "$digest" "$(skopeo_digest oci-archive:a.tar:t)"
check "again" "$N" copy oci:layout:one oci-archive:b.tar:t
check_same "the same image makes the same archive" a.tar b.tar
check "skopeo writes an oci-archive" skopeo_copy oci:hello:hello oci-archive:s.tar:s
check_eq "nacre copies it" "$(skopeo_digest oci-archive:s.tar:s)" "$("$N" copy oci-archive:s.tar oci:from-skopeo:s 2>&1)"
gzip -k s.tar
check_eq "nacre reads it in gzip" "$(skopeo_digest oci-archive:s.tar:s)" "$("$N" copy oci-archive:s.tar.gz oci:from-gzip:s 2>&1)"
check_eq "by digest" "$digest" "$("$N" copy "oci:layout@$digest" oci:by-digest:t 2>&1)"

# ---- docker-archive --------------------------------------------------------------------------------

check "layout to docker-archive" "$N" copy oci:hello:hello docker-archive:d.tar:hello:1
check_eq "skopeo sees the same layers" "$ids" "$(diff_ids docker-archive:d.tar)"
check_match "and the name" 'hello:1' "$(tar xOf d.tar manifest.json)"
check "skopeo writes a docker-archive" skopeo_copy oci:hello:hello docker-archive:e.tar:hello:2
check "nacre reads it" "$N" copy docker-archive:e.tar:hello:2 oci:from-docker:t
check_eq "with the same layers" "$ids" "$(diff_ids oci:from-docker:t)"
check_eq "ours and skopeo's are one image" \
    "$("$N" copy docker-archive:d.tar oci:x:x)" "$("$N" copy docker-archive:e.tar oci:y:y)"
make docker-tools tools.tar.gz
check "nacre reads what dockerTools writes" "$N" copy docker-archive:tools.tar.gz:tools oci:tools:t
gunzip -k tools.tar.gz # skopeo 1.9 cannot
check_eq "with its layers" "$(diff_ids docker-archive:tools.tar)" "$(diff_ids oci:tools:t)"
check_fails "another name" 'it has: tools:latest' "$N" inspect docker-archive:tools.tar.gz:other

if [ "$(id -u)" = 0 ]; then
    check "podman load takes our docker-archive" podman_ load --quiet -i d.tar
    check_eq "and runs it" "from podman" \
        "$(podman_run docker.io/library/hello:1 /bin/sh -c 'echo from podman' 2>&1)"
    check "podman save, docker-archive" podman_ save --quiet --format docker-archive -o p.tar docker.io/library/hello:1
    check "podman save, oci-archive" podman_ save --quiet --format oci-archive -o q.tar docker.io/library/hello:1
    "$N" copy docker-archive:p.tar oci:podman:p >/dev/null
    "$N" copy oci-archive:q.tar oci:podman:q >/dev/null
    check_eq "nacre reads both" "$ids $ids" "$(diff_ids oci:podman:p) $(diff_ids oci:podman:q)"
    check "podman load takes our oci-archive" podman_ load --quiet -i a.tar
else
    skip "podman load and save" "needs root"
fi

# ---- a registry ------------------------------------------------------------------------------------

start_registry registry
check_eq "layout to registry" "$digest" "$("$N" copy oci:hello:hello "docker://$REGISTRY/hello:1" 2>&1)"
check_eq "skopeo sees it" "$digest" "$(skopeo_digest "docker://$REGISTRY/hello:1")"
check_match "nothing is sent twice" '"blobsSent":0,"bytesSent":0' \
    "$("$N" copy --json oci:hello:hello "docker://$REGISTRY/hello:2" 2>&1)"
check_match "what the registry has is mounted" '"blobsSent":0,"bytesSent":0' \
    "$("$N" copy --json "docker://$REGISTRY/hello:1" "docker://$REGISTRY/other:1" 2>&1)"
check_eq "registry to archive" "$digest" "$("$N" copy "$REGISTRY/hello:1" oci-archive:r.tar:t 2>&1)"
check_eq "by digest" "$digest" "$("$N" copy "docker://$REGISTRY/hello@$digest" oci:rd:t 2>&1)"
check "registry to docker-archive" "$N" copy "docker://$REGISTRY/hello:1" docker-archive:rd.tar:x
check_eq "with its layers" "$ids" "$(diff_ids docker-archive:rd.tar)"
check "skopeo pushes schema 2" skopeo_copy oci:hello:hello "docker://$REGISTRY/v2:1" --format v2s2
check_eq "which stays schema 2" "$(skopeo_digest "docker://$REGISTRY/v2:1")" \
    "$("$N" copy "docker://$REGISTRY/v2:1" oci:v2:1 2>&1)"
check_fails "an image that is not there" 'unknown|not found|404' "$N" copy "docker://$REGISTRY/nothing:1" oci:x:x

# ---- platforms and referrers -----------------------------------------------------------------------

make platforms platforms
all=$(skopeo inspect --raw oci:platforms:all | sha256sum | cut -d' ' -f1)
check_match "an index with all below it" '"manifests":7,"referrers":3' \
    "$("$N" copy --json oci:platforms:all oci-archive:all.tar:all 2>&1)"
check_match "to a registry" "\"digest\":\"sha256:$all\",\"manifests\":7,\"referrers\":3" \
    "$("$N" copy --json oci:platforms:all "docker://$REGISTRY/all:1" 2>&1)"
check_eq "skopeo sees the index" "$all" \
    "$(skopeo_inspect "docker://$REGISTRY/all:1" --raw | sha256sum | cut -d' ' -f1)"
check_match "a registry without the referrers API gets the fallback tag" "sha256-$all" \
    "$(skopeo --insecure-policy list-tags --tls-verify=false "docker://$REGISTRY/all" 2>&1)"
check_match "which is read again" '"manifests":7,"referrers":3' \
    "$("$N" copy --json "docker://$REGISTRY/all:1" oci:again:all 2>&1)"
check_eq "and lost nothing" "$("$N" copy --json oci:platforms:all oci:p1:all)" "$("$N" copy --json oci:again:all oci:p2:all)"
check_match "referrers may stay behind" '"manifests":4,"referrers":0' \
    "$("$N" copy --json --no-referrers oci:platforms:all oci:bare:all 2>&1)"
check_match "one platform alone" '"manifests":1,"referrers":0' \
    "$("$N" copy --json --platform linux/riscv64 oci:platforms:all oci:riscv:t 2>&1)"
check_match "is that one" 'linux/riscv64' "$("$N" inspect oci:riscv:t)"
check "docker-archive takes this machine's" "$N" copy oci:platforms:all docker-archive:here.tar:here
check_fails "a platform that is not there" 'no image for linux/s390x.*riscv64' \
    "$N" copy --platform s390x oci:platforms:all oci:none:t
check_fails "nor alone" 'is for linux/riscv64, not for linux/s390x' "$N" copy --platform s390x oci:riscv:t oci:none:t
check_fails "skopeo's word for it" '.' skopeo_copy --override-arch=s390x oci:platforms:all oci:none:t

# ---- inspect ---------------------------------------------------------------------------------------

check_eq "inspect --raw" "$all" "$("$N" inspect --raw oci:platforms:all | sha256sum | cut -d' ' -f1)"
check_eq "inspect --config" "$(skopeo_inspect oci:hello:hello --config --raw | sha256sum)" \
    "$("$N" inspect --config oci:hello:hello | sha256sum)"
check_match "inspect shows the referrers" 'vnd.example.signature' "$("$N" inspect oci:platforms:all)"
check_match "and the members" 'linux/riscv64' "$("$N" inspect oci:platforms:all)"
check_eq "inspect --json" "$digest" \
    "$("$N" inspect --json oci:hello:hello | python3 -c 'import json, sys; print(json.load(sys.stdin)["digest"])')"

# ---- the command line ------------------------------------------------------------------------------

for args in "copy" "copy oci:hello:hello" "copy a b c" "copy oci:hello:hello nothing:x" "copy ftp://x oci:y" \
    "copy oci: oci:y" "copy oci:hello: oci:y" "copy --platform // oci:hello oci:y" "copy UPPER oci:y" \
    "copy oci:hello:hello docker://$REGISTRY/x@$digest" "inspect --raw --json oci:hello" "inspect --what oci:hello"; do
    # shellcheck disable=SC2086
    "$N" $args >out 2>&1
    check_eq "usage: $args" 2 $?
done

# ---- what is damaged or hostile is refused, and leaves nothing -------------------------------------

damaged() { # NAME REGEX: the layout bad-NAME is refused by every destination
    check_fails "$1: not into a layout" "$2" "$N" copy "oci:bad-$1" oci:refused:t
    check_fails "$1: not into an archive" "$2" "$N" copy "oci:bad-$1" oci-archive:refused.tar:t
    check_fails "$1: not into a docker-archive" "$2" "$N" copy "oci:bad-$1" docker-archive:refused.tar:t
    check_fails "$1: not into a registry" "$2" "$N" copy "oci:bad-$1" "docker://$REGISTRY/refused:t"
    [ ! -e refused.tar ] || not_ok "$1 left an archive"
    [ ! -e refused/index.json ] || not_ok "$1 left an image"
    [ -z "$(find . -name '.tmp-*')" ] || not_ok "$1 left a temporary file"
    curl -sf "http://$REGISTRY/v2/refused/manifests/t" >/dev/null && not_ok "$1 left an image in the registry"
    rm -rf refused refused.tar
}

layer=$(skopeo inspect --raw oci:hello:hello | python3 -c 'import json, sys; print(json.load(sys.stdin)["layers"][0]["digest"][7:])')
for name in flipped truncated longer missing symlink fifo; do cp -r hello "bad-$name"; done
printf X | dd of="bad-flipped/blobs/sha256/$layer" bs=1 seek=1000 conv=notrunc status=none
damaged flipped 'digest|corrupt'
truncate -s -1 "bad-truncated/blobs/sha256/$layer"
damaged truncated 'bytes|digest'
echo >>"bad-longer/blobs/sha256/$layer"
damaged longer 'bytes'
rm "bad-missing/blobs/sha256/$layer"
damaged missing 'No such file'
ln -sf "$PWD/hello/blobs/sha256/$layer" "bad-symlink/blobs/sha256/$layer"
damaged symlink 'symbolic links'
rm "bad-fifo/blobs/sha256/$layer" && mkfifo "bad-fifo/blobs/sha256/$layer"
damaged fifo 'not a regular file'

cp -r hello bad-path
sed -i "s/sha256:[0-9a-f]*/sha256:..\/..\/..\/..\/..\/etc\/passwd/" bad-path/index.json
damaged path 'not a digest'
cp -r hello bad-json
echo '{"schemaVersion":2,"schemaVersion":2,"manifests":[]}' >bad-json/index.json
damaged json 'duplicate'

head -c 2000000 d.tar >cut.tar
check_fails "a docker-archive that is cut" 'cut.tar' "$N" copy docker-archive:cut.tar oci:refused:t
gzip -c d.tar | head -c 100000 >cut.tar.gz
check_fails "and one in gzip" 'cut.tar.gz' "$N" copy docker-archive:cut.tar.gz oci:refused:t
head -c 300M /dev/zero | zstd -q >bomb.tar.zst
check_fails "a decompression bomb" 'bomb.tar.zst' env TMPDIR="$T" "$N" inspect oci-archive:bomb.tar.zst
check_fails "no tar" 'not a tar' "$N" inspect docker-archive:hello/index.json
