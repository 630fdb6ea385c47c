#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# buildah: builds on an image of a store path, pushes layers in every compression, and indexes.
. "$(dirname "$0")/lib.sh"
needs_root
needs buildah skopeo nix curl

start_nacre "$T/data"
buildah_() {
    buildah --storage-driver=overlay --root "$T/buildah" --runroot "$T/buildah-run" "$@"
}
note "$(buildah --version)"
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$T/policy.json"
root=$(fixture shell) || die "no fixture"
hash=$(basename "$root" | cut -c 1-32)
check "a closure" nix copy --store "$FIXTURES" --to "$NACRE_URL?compression=zstd" "$root"
echo "from a file" >"$T/file"
printf 'FROM %s\nCOPY file /file\nENV A=b\nLABEL n=1\n' "$NACRE_ADDR/nix:$hash" >"$T/Dockerfile"
check "buildah builds on a store path" buildah_ bud --isolation=chroot --signature-policy "$T/policy.json" --tls-verify=false \
    --quiet --tag "$NACRE_ADDR/app:1" --file "$T/Dockerfile" "$T"
for compression in gzip zstd; do
    check "buildah pushes, $compression" buildah_ push --signature-policy "$T/policy.json" --quiet --tls-verify=false \
        --compression-format "$compression" "$NACRE_ADDR/app:1" "docker://$NACRE_ADDR/app:$compression"
done
check "buildah makes an index" buildah_ manifest create list
for tag in gzip zstd; do
    check "of $tag" buildah_ manifest add --tls-verify=false list "docker://$NACRE_ADDR/app:$tag"
done
check "and pushes it" buildah_ manifest push --signature-policy "$T/policy.json" --tls-verify=false --all list "docker://$NACRE_ADDR/app:list"
check_match "which is one" 'image.index|manifest.list' "$(curl -s "$NACRE_URL/v2/app/manifests/list")"
check "skopeo copies all of it" skopeo_copy "docker://$NACRE_ADDR/app:list" "docker://$NACRE_ADDR/copy:list" --all
check_eq "the same" "$(curl -s "$NACRE_URL/v2/app/manifests/list")" "$(curl -s "$NACRE_URL/v2/copy/manifests/list")"
buildah_ rmi --all --force >/dev/null
check "buildah pulls what it pushed" buildah_ pull --policy always --signature-policy "$T/policy.json" --quiet --tls-verify=false \
    "docker://$NACRE_ADDR/app:zstd"
container=$(buildah_ from --signature-policy "$T/policy.json" --tls-verify=false "$NACRE_ADDR/app:gzip" 2>"$T/from.log")
mounted=$(buildah_ mount "$container")
check_eq "it has the file" "from a file" "$(cat "$mounted/file")"
check "and the store path" test -e "$mounted$root/bin"
buildah_ rm --all >/dev/null
check_eq "no error in the log" "" "$(grep -E '^(error|.*Sanitizer|.*runtime error)' "$NACRE_LOG")"
