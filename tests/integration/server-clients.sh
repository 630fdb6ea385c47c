#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The programs that people use, against the server: skopeo, podman, containerd and Nix push, pull, list and delete.
. "$(dirname "$0")/lib.sh"
needs_root
needs skopeo podman ctr containerd nix nix-store curl

start_nacre "$T/data"
hello_image "$T/hello" || die "no image"

# ---- skopeo --------------------------------------------------------------------------------------

check "skopeo pushes" skopeo_copy "oci:$T/hello:hello" "docker://$NACRE_ADDR/hello:1"
check "skopeo pushes again" skopeo_copy "oci:$T/hello:hello" "docker://$NACRE_ADDR/hello:2"
check "skopeo pushes to another repository" skopeo_copy "oci:$T/hello:hello" "docker://$NACRE_ADDR/a/b/c:latest"
check "skopeo pushes Docker's format" skopeo_copy "oci:$T/hello:hello" "docker://$NACRE_ADDR/hello:docker" --format v2s2
check_match "skopeo inspects" '"Name": ".*/hello"' "$(skopeo_inspect "docker://$NACRE_ADDR/hello:1" 2>&1)"
check_match "skopeo lists tags" '"1",[[:space:]]*"2",[[:space:]]*"docker"' \
    "$(skopeo list-tags --tls-verify=false "docker://$NACRE_ADDR/hello" 2>&1 | tr '\n' ' ')"
check "skopeo pulls" skopeo_copy "docker://$NACRE_ADDR/hello:1" "oci:$T/back:hello"
check_eq "what it pulls is what it pushed" \
    "$(skopeo inspect --raw "oci:$T/hello:hello" | sha256sum)" "$(skopeo inspect --raw "oci:$T/back:hello" | sha256sum)"
check "skopeo copies within the server" skopeo_copy "docker://$NACRE_ADDR/hello:1" "docker://$NACRE_ADDR/copy:1"
digest=$(skopeo_inspect "docker://$NACRE_ADDR/copy:1" --format '{{.Digest}}')
check "skopeo deletes" skopeo delete --tls-verify=false "docker://$NACRE_ADDR/copy:1"
check_eq "it is gone" 404 "$(curl -s -o /dev/null -w '%{http_code}' "$NACRE_URL/v2/copy/manifests/$digest")"

# ---- podman --------------------------------------------------------------------------------------

check "podman pulls" podman_pull "$NACRE_ADDR/hello:1"
check_eq "podman runs it" "from podman" "$(podman_run "$NACRE_ADDR/hello:1" /bin/sh -c 'echo from podman' 2>&1)"
podman_ tag "$NACRE_ADDR/hello:1" "$NACRE_ADDR/from-podman:1"
check "podman pushes" podman_ push --quiet --tls-verify=false "$NACRE_ADDR/from-podman:1"
check "podman pushes gzip" podman_ push --quiet --tls-verify=false --compression-format gzip "$NACRE_ADDR/from-podman:1" \
    "$NACRE_ADDR/from-podman:gzip"
check "podman pushes zstd" podman_ push --quiet --tls-verify=false --compression-format zstd "$NACRE_ADDR/from-podman:1" \
    "$NACRE_ADDR/from-podman:zstd"
for tag in 1 gzip zstd; do
    export PODMAN_NODE=$tag
    check "another podman pulls :$tag" podman_pull "$NACRE_ADDR/from-podman:$tag"
    check_eq "and runs it" "as $tag" "$(podman_run "$NACRE_ADDR/from-podman:$tag" /bin/sh -c "echo as $tag" 2>&1)"
done
unset PODMAN_NODE

# ---- containerd ----------------------------------------------------------------------------------

start_containerd
check "containerd pulls" ctr_pull "$NACRE_ADDR/hello:1"
check_eq "containerd runs it" "from containerd" "$(ctr_run "$NACRE_ADDR/hello:1" /bin/sh -c 'echo from containerd' 2>&1)"
ctr_ images tag "$NACRE_ADDR/hello:1" "$NACRE_ADDR/from-containerd:1" >/dev/null
check "containerd pushes" ctr_ images push --plain-http "$NACRE_ADDR/from-containerd:1"
check_eq "the same manifest" "$(skopeo_inspect "docker://$NACRE_ADDR/hello:1" --format '{{.Digest}}')" \
    "$(skopeo_inspect "docker://$NACRE_ADDR/from-containerd:1" --format '{{.Digest}}')"

# ---- Nix -----------------------------------------------------------------------------------------

root=$(fixture shell) || die "no fixture"
mapfile -t paths < <(closure "$root")
main=("$NACRE_URL" "$NACRE_ADDR" "$NACRE_PID" "$NACRE_LOG")
for compression in zstd none bzip2 gzip; do
    start_nacre "$T/data-$compression"
    check "nix copy --to, $compression" nix copy --store "$FIXTURES" --to "$NACRE_URL?compression=$compression" "$root"
    store=$(new_store "$compression")
    check "nix copy --from" nix copy --from "$NACRE_URL" --to "$store" "$root"
    check "every NarHash is right" nix_store_verify "$store"
    stop_nacre TERM
done
NACRE_URL=${main[0]} NACRE_ADDR=${main[1]} NACRE_PID=${main[2]} NACRE_LOG=${main[3]}
check "nix copy --to" nix copy --store "$FIXTURES" --to "$NACRE_URL" "${paths[@]}"
check_eq "the cache knows the closure" "$(printf '%s\n' "${paths[@]}")" \
    "$(nix path-info --store "$NACRE_URL" -r "$root" 2>&1 | sort)"
store=$(new_store back)
check "nix copy --from" nix copy --from "$NACRE_URL" --to "$store" "$root"
check "every NarHash is right" nix_store_verify "$store"
check_eq "every reference, too" \
    "$(nix path-info --json -r --store "$FIXTURES" "$root" | python3 -c 'import json,sys
for p in sorted(json.load(sys.stdin), key=lambda p: p["path"]): print(p["path"], p["narHash"], p["narSize"], *sorted(p["references"]))')" \
    "$(nix path-info --json -r --store "$store" "$root" | python3 -c 'import json,sys
for p in sorted(json.load(sys.stdin), key=lambda p: p["path"]): print(p["path"], p["narHash"], p["narSize"], *sorted(p["references"]))')"
check "nix copy --to with listings" nix copy --store "$FIXTURES" --to "$NACRE_URL?write-nar-listing=true" "$root"
check_match "nix store ls" '^-r|^dr|^lr' "$(nix store ls --store "$NACRE_URL" -l "$root/bin" 2>&1)"
check_fails "a path that is not there" 'does not exist|is not valid|no substituter' \
    nix copy --from "$NACRE_URL" --to "$store" /nix/store/00000000000000000000000000000000-missing
drv=$(nix-store --store "$FIXTURES" --query --deriver "$root" | grep -v unknown)
if [ -n "$drv" ]; then
    printf 'a build log\n' >"$T/log"
    check "a build log is put" curl -sf -T "$T/log" "$NACRE_URL/log/$(basename "$drv")"
    check_eq "nix log" "a build log" "$(nix log --store "$NACRE_URL" "$root" 2>/dev/null)"
else
    skip "nix log" "the fixture has no deriver"
fi

# ---- from one world into the other -----------------------------------------------------------------

hash=$(basename "$root" | cut -c 1-32)
check_match "skopeo inspects nix:<hash>" '"Layers"' "$(skopeo_inspect "docker://$NACRE_ADDR/nix:$hash" 2>&1)"
check "podman pulls nix:<hash>" podman_pull "$NACRE_ADDR/nix:$hash"
check_eq "podman runs it" "from the store" "$(podman_run "$NACRE_ADDR/nix:$hash" /bin/sh -c 'echo from the store' 2>&1)"
# SPEC nacre 6: several paths in one image; the first one's programs go before.
bash=$(printf '%s\n' "${paths[@]}" | grep -e '-bash-' | head -n 1)
sed=$(printf '%s\n' "${paths[@]}" | grep -e '-sed-' | head -n 1)
several=$(basename "$bash" | cut -c 1-32).$(basename "$sed" | cut -c 1-32)
check_eq "an image of two paths is what nacre build makes of them" \
    "$("$NACRE" build --from "$FIXTURES" "$bash" "$sed" -o "oci:$T/two:x" 2>/dev/null)" \
    "$(skopeo_inspect "docker://$NACRE_ADDR/nix:$several" --format '{{.Digest}}' 2>&1)"
check "podman pulls it" podman_pull "$NACRE_ADDR/nix:$several"
check_eq "podman runs both" "seen" "$(podman_run "$NACRE_ADDR/nix:$several" bash -c 'echo been | sed s/b/s/' 2>&1)"
check_eq "also with the first path in the name" "seen" "$(podman_pull "$NACRE_ADDR/nix/${several%.*}:${several#*.}" >/dev/null 2>&1 &&
    podman_run "$NACRE_ADDR/nix/${several%.*}:${several#*.}" bash -c 'echo been | sed s/b/s/' 2>&1)"
check_eq "its path infos are there" 200 "$(curl -s -o "$T/referrers" -w '%{http_code}' \
    "$NACRE_URL/v2/nix/referrers/$(skopeo_inspect "docker://$NACRE_ADDR/nix:$several" --format '{{.Digest}}')")"
check_match "a path of them is missing: the answer names it" "no store path 0{32}" \
    "$(curl -s "$NACRE_URL/v2/nix/manifests/${several%%.*}.00000000000000000000000000000000")"
for bad in "${several%%.*}.${several%%.*}" "$several.x" "$several." "$several-native-tar"; do
    check_eq "no image: $bad" 404 "$(curl -s -o "$T/refused" -w '%{http_code}' "$NACRE_URL/v2/nix/manifests/$bad")"
done
check "containerd pulls it" ctr_pull "$NACRE_ADDR/nix:$hash"
check_eq "containerd runs it" "from the store" "$(ctr_run "$NACRE_ADDR/nix:$hash" /bin/sh -c 'echo from the store' 2>&1)"

# What stands for a store path may be kept in the format of Docker before 1.10, too.
check "skopeo pushes Docker's first format" skopeo_copy "docker://$NACRE_ADDR/nix:$hash-gzip" "docker://$NACRE_ADDR/first:1" \
    --format v2s1
check_eq "which comes as it went" application/vnd.docker.distribution.manifest.v1+prettyjws \
    "$(curl -s -o "$T/first" -w '%{content_type}' "$NACRE_URL/v2/first/manifests/1")"
check "skopeo pulls it" skopeo_copy "docker://$NACRE_ADDR/first:1" "dir:$T/back-first"
check_fails "nacre copies none of it, and says what does" "schema 1.*skopeo copy --format oci" \
    "$NACRE" copy --insecure "docker://$NACRE_ADDR/first:1" "oci:$T/first-format:1"
check "which makes an image of today of it" skopeo_copy "docker://$NACRE_ADDR/first:1" "docker://$NACRE_ADDR/first:oci" --format oci

# ---- the end ---------------------------------------------------------------------------------------

note "peak memory of the server: $(peak_rss_kib "$NACRE_PID") KiB"
stop_nacre TERM
wait "$NACRE_PID" 2>/dev/null
check_eq "no error in the log" "" "$(grep -E '^(error|.*Sanitizer|.*runtime error)' "$NACRE_LOG")"
start_nacre "$T/data"
check "all is there after a restart" nix copy --from "$NACRE_URL" --to "$(new_store again)" "$root"
check "images, too" skopeo_inspect "docker://$NACRE_ADDR/hello:1"
