#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Pull-through: caches and registries behind a view. SPEC dist-1.1 ns; docs/upstreams.md
. "$(dirname "$0")/lib.sh"
needs nix curl skopeo python3

P=$(fixture shell) || die "no fixture shell"
hash=$(basename "$P" | cut -c1-32)
mapfile -t paths < <(closure "$P")
"$NACRE" key generate up-1 -o "$T/up.key"
key=$("$NACRE" key public "$T/up.key")
"$NACRE" key generate other-1 -o "$T/other.key"
other=$("$NACRE" key public "$T/other.key")

status() {
    curl -s -o "$T/body" -w '%{http_code}' "$@"
}

# A real file:// cache, signed.
S=$(new_store signed)
nix copy --from "$FIXTURES" --no-check-sigs --to "$S" "$P" 2>"$T/copy.log"
nix store sign --store "$S" --key-file "$T/up.key" -r "$P" 2>"$T/sign.log"
check "a cache of files" nix copy --from "$S" --no-check-sigs --to "file://$T/files" "$P"

UP_PORT=$(free_port)
UP=http://127.0.0.1:$UP_PORT
mode() {
    printf '%s\n' "$1" >"$T/mode.new"
    mv "$T/mode.new" "$T/mode"
}
start_upstream() {
    mode ok
    : >"$T/up.requests"
    start_server upstream python3 "$SRC/tests/integration/lib/upstream_server.py" "$UP_PORT" "$T/files" "$T/up.requests" "$T/mode"
    UP_PID=$SERVER_PID
    wait_http "$UP/nix-cache-info"
    : >"$T/up.requests"
}
requests() { # REGEX
    grep -cE "$1" "$T/up.requests"
}
start_upstream

common="url: $UP, connect-timeout: 2s, stall-timeout: 3s, back-off: 1s"
cat >"$T/nacre.yaml" <<EOF
root:
  upstream-negative-ttl: 1h
  upstreams:
    - {$common, trusted-keys: ["$key"]}
views:
  image: {upstreams: [{$common, trusted-keys: ["$key"]}]}
  distrust: {upstreams: [{$common, trusted-keys: ["$other"]}]}
  all: {upstreams: [{$common, trust: all}]}
  strict: {require-signatures: true, upstreams: [{$common, trust: all}]}
  lied: {upstream-negative-ttl: 0s, upstreams: [{$common, trusted-keys: ["$key"], min-speed: 4KiB}]}
  optional: {upstream-negative-ttl: 0s, upstreams: [{$common, trusted-keys: ["$key"], optional: true}]}
  half: {upstreams: [{url: $UP, trusted-keys: ["$key"]}]}
  alone: {}
  holed: {upstreams: [{url: $UP/holed, trusted-keys: ["$key"]}]}
  full: {upstreams: [{url: $UP, trusted-keys: ["$key"]}]}
  one: {upstreams: [{url: $UP, trusted-keys: ["$key"]}]}
  twice: {upstreams: [{url: $UP, trusted-keys: ["$key"]}, {url: $UP, trusted-keys: ["$other"]}]}
quotas:
  - {caches: full, bytes: 1}
  - {caches: one, paths: 1}
EOF
start_nacre "$T/data" --config "$T/nacre.yaml"

# ---- narinfo and NAR
check_eq "a view without upstreams has nothing" 404 "$(status "$NACRE_URL/alone/$hash.narinfo")"
check_eq "a path that only the upstream has" 200 "$(status "$NACRE_URL/$hash.narinfo")"
cp "$T/body" "$T/narinfo"
check_eq "one request" 1 "$(requests "$hash.narinfo")"
check_eq "asked again" 200 "$(status "$NACRE_URL/$hash.narinfo")"
check_eq "and by HEAD" 200 "$(status -I "$NACRE_URL/$hash.narinfo")"
check_eq "still one request" 1 "$(requests "$hash.narinfo")"
nar=$(sed -n 's/^URL: //p' "$T/narinfo")
check_match "the NAR is named by its NarHash" "^nar/[0-9a-z]{52}.nar\?hash=$hash$" "$nar"
check_match "with the upstream's signature" "^Sig: up-1:" "$(cat "$T/narinfo")"
size=$(sed -n 's/^NarSize: //p' "$T/narinfo")
check_match "HEAD of the NAR knows its size" "Content-Length: $size" "$(curl -sI "$NACRE_URL/$nar")"
check_eq "and fetches nothing" 0 "$(requests /nar/)"
check_eq "a path that nobody has" 404 "$(status "$NACRE_URL/00000000000000000000000000000000.narinfo")"
check_eq "is asked for" 1 "$(requests 00000000000000000000000000000000.narinfo)"
check_eq "asked again" 404 "$(status "$NACRE_URL/00000000000000000000000000000000.narinfo")"
check_eq "it is remembered that nobody has it" 1 "$(requests 00000000000000000000000000000000.narinfo)"
check_eq "what is no hash part is not asked for" 404 "$(status "$NACRE_URL/0000.narinfo")"
check_eq "a NAR that its narinfo does not name" 404 \
    "$(status "$NACRE_URL/nar/0000000000000000000000000000000000000000000000000000.nar?hash=$hash")"

metrics=$(curl -s "$NACRE_URL/metrics" | grep '^nacre_upstream')
metric() { # LINE WITHOUT THE NAME OF THE UPSTREAM
    sed -n "s|upstream=\"$UP\"|upstream|p" <<<"$metrics" | grep -xF "$1" >/dev/null
}
check "metrics: what was found" metric 'nacre_upstream_requests_total{view="",upstream,result="found"} 1'
check "metrics: what was not" metric 'nacre_upstream_requests_total{view="",upstream,result="absent"} 1'
check "metrics: other views asked nobody" metric 'nacre_upstream_requests_total{view="distrust",upstream,result="found"} 0'
check_eq "metrics: no series twice" "" "$(curl -s "$NACRE_URL/metrics" | grep -v '^#' | sed 's/ [^ ]*$//' | sort | uniq -d)"
check "metrics: it is up" metric 'nacre_upstream_up{view="",upstream} 1'
check "metrics: what was remembered" grep -qx 'nacre_upstream_remembered_total{result="absent"} 1' <<<"$metrics"

# ---- many at once
many() {
    local i pids=()
    for i in $(seq 20); do
        curl -s -o "$T/many-$i" "$NACRE_URL/$nar" &
        pids+=($!)
    done
    wait "${pids[@]}"
    cat "$T"/many-* | wc -c
}
check_eq "twenty clients get the NAR" $((20 * size)) "$(many)"
check_eq "by one fetch" 1 "$(grep -c "GET /$(sed -n 's/^URL: //p' "$T/files/$hash.narinfo")" "$T/up.requests")"
check_match "metrics: bytes" "^nacre_upstream_received_bytes_total [1-9][0-9]*$" "$(curl -s "$NACRE_URL/metrics" | grep '^nacre_upstream_received')"
check_eq "what they get is the NAR" "$(sed -n 's/^NarHash: sha256://p' "$T/narinfo")" \
    "$(nix-hash --flat --type sha256 --base32 "$T/many-7")"
bound() { # VIEW: are all paths of the closure bound there?
    local p
    for p in "${paths[@]}"; do
        curl -sf "$NACRE_URL/$1$(basename "$p" | cut -c1-32).narinfo" | grep '^Compression: zstd' >/dev/null || return 1
    done
}
check "the references follow, and all of the closure is bound" wait_for 30 bound ""
check_eq "each by one narinfo" "" "$(grep narinfo "$T/up.requests" | sort | uniq -d)"
check_eq "and one NAR" "" "$(grep /nar/ "$T/up.requests" | sort | uniq -d)"
: >"$T/up.requests"
D=$(new_store client)
check "nix copy from the view" nix copy --from "$NACRE_URL" --to "$D" "$P" --option require-sigs true \
    --option trusted-public-keys "$key"
check "what arrived is right" nix_store_verify "$D"
check_eq "without the upstream" "" "$(cat "$T/up.requests")"

# ---- a substituter, from nothing
D=$(new_store substituted)
check "nix-store --realise through a view that has nothing" nix-store --store "$D" --realise "$P" \
    --option substituters "$NACRE_URL/all" --option require-sigs true --option trusted-public-keys "$key"
check "what arrived is right" nix_store_verify "$D"
check_eq "each NAR was fetched once" "" "$(grep /nar/ "$T/up.requests" | sort | uniq -d)"
check "all of it is bound" wait_for 30 bound all/

# ---- images of paths that only the upstream has
: >"$T/up.requests"
check "the image of a path that only the upstream has" skopeo_copy "docker://$NACRE_ADDR/image/nix:$hash" "oci:$T/image:x"
check_eq "each path was fetched once" "${#paths[@]} " "$(requests /nar/) $(grep -v cache-info "$T/up.requests" | sort | uniq -d)"
check_fails "the image of a path that nobody has" "manifest unknown|not found|404" \
    skopeo_inspect "docker://$NACRE_ADDR/image/nix:00000000000000000000000000000000"
check "and the package of one" skopeo_inspect --raw "docker://$NACRE_ADDR/image/nix/package:$hash"

# An upstream that lost a path of the closure.
cp -a "$T/files" "$T/holed" && mv "$T/holed" "$T/files/holed"
lost=$(basename "$(printf '%s\n' "${paths[@]}" | grep -vxF "$P" | head -n 1)")
rm "$T/files/holed/${lost:0:32}.narinfo"
check_eq "the image of a closure that is not all there" 404 "$(status "$NACRE_URL/v2/holed/nix/manifests/$hash")"
check_match "says what is missing, and what needs it" "\"MANIFEST_UNKNOWN\",\"message\":\"$lost is missing, which [0-9a-z]{32} refers to" "$(cat "$T/body")"
rm -r "$T/files/holed"
# What failed is not tried again and again: the next request does.
: >"$T/up.requests"
sleep 1
check "and it is left at that" [ "$(requests holed)" -lt 20 ]

# ---- documents
mkdir -p "$T/files/log" "$T/files/realisations" "$T/files/build-trace-v2/a.drv"
echo "it was built" >"$T/files/log/$hash-shell.drv"
echo '{"id":"x"}' >"$T/files/realisations/sha256:00!out.doi"
echo '{"outPath":"x"}' >"$T/files/build-trace-v2/a.drv/out.doi"
: >"$T/up.requests"
for _ in 1 2; do
    check_eq "a log" "it was built" "$(curl -s "$NACRE_URL/log/$hash-shell.drv")"
    check_eq "a realisation" '{"id":"x"}' "$(curl -s "$NACRE_URL/realisations/sha256:00!out.doi")"
    check_eq "a build trace" '{"outPath":"x"}' "$(curl -s "$NACRE_URL/build-trace-v2/a.drv/out.doi")"
    check_eq "a log that nobody has" 404 "$(status "$NACRE_URL/log/$hash-none.drv")"
done
check_eq "each is asked for once" 4 "$(grep -vc cache-info "$T/up.requests")"
for name in .. ../nix-cache-info %2e%2e/nix-cache-info a%2f..%2f..%2fnix-cache-info ..%2fnix-cache-info; do
    check_eq "nothing leads out of it: $name" 404 "$(status --path-as-is "$NACRE_URL/log/$name")"
done
check_eq "and nothing was asked for" 4 "$(grep -vc cache-info "$T/up.requests")"

# ---- trust
check_eq "a path that no trusted key signed" 404 "$(status "$NACRE_URL/distrust/$hash.narinfo")"
check_match "and why" "not signed by a trusted key" "$(cat "$T/body")"
check_eq "a view that requires signatures of its own keys" 404 "$(status "$NACRE_URL/strict/$hash.narinfo")"

# ---- while it comes
big=$(du -s "${paths[@]/#/$FIXTURES}" | sort -n | tail -n 1 | sed 's,.*/,,')
curl -s -o "$T/big.narinfo" "$NACRE_URL/half/${big:0:32}.narinfo"
big_nar=$(sed -n 's/^URL: //p' "$T/big.narinfo")
nix-store --store "$FIXTURES" --dump "$FIXTURES/nix/store/$big" >"$T/big.nar"
: >"$T/up.requests"
mode half
curl -sN -o "$T/first" "$NACRE_URL/half/$big_nar" &
first=$!
check "the first bytes come before the last ones were fetched" wait_for 20 test -s "$T/first"
curl -s --max-time 1 -o "$T/leaves" "$NACRE_URL/half/$big_nar"
curl -s -o "$T/joins" "$NACRE_URL/half/$big_nar" &
joins=$!
kill "$first"
mode ok
wait "$joins"
check_same "who reads along gets all of it, though the first one left" "$T/big.nar" "$T/joins"
check_eq "by one fetch" 1 "$(grep -c "GET /$(sed -n 's/^URL: //p' "$T/files/${big:0:32}.narinfo")" "$T/up.requests")"
check_eq "it is in the store then" 200 "$(status -I "$NACRE_URL/half/nar/${big_nar:4:52}.nar")"
check_eq "a range of it" "$(tail -c 100 "$T/big.nar" | sha256sum)" "$(curl -s -r -100 "$NACRE_URL/half/$big_nar" | sha256sum)"

# ---- an upstream that lies
nothing() {
    check_eq "$1: nothing is stored" 404 "$(status -I "$NACRE_URL/lied/nar/${nar:4:52}.nar")"
}
for lie in corrupt short cut endless; do
    mode $lie
    check_eq "$lie: the narinfo is right" 200 "$(status "$NACRE_URL/lied/$hash.narinfo")"
    code=$(curl -s --max-time 60 -o "$T/body" -w '%{http_code}' "$NACRE_URL/lied/$nar")
    curl_status=$?
    if [ "$code" = 502 ] || { [ "$code" = 200 ] && [ $curl_status != 0 ]; }; then
        ok "$lie: no good answer ($code, curl $curl_status)"
    else
        not_ok "$lie: no good answer" "$code, curl $curl_status"
    fi
    nothing $lie
done
mode ok
wait_for 10 curl -sf -o "$T/lied" "$NACRE_URL/lied/$nar"
check_same "and then it does not lie" "$T/many-7" "$T/lied"
q=$(basename "${paths[0]}" | cut -c1-32)
[ "$q" != "$hash" ] || q=$(basename "${paths[1]}" | cut -c1-32)
start_over() { # a server that knows nothing, over an empty store
    stop_nacre
    start_nacre "$T/data-$1" --config "$T/nacre.yaml"
}
start_over lies
for lie in huge other bad-size unsigned; do
    mode $lie
    check_eq "$lie: no narinfo" 404 "$(status "$NACRE_URL/lied/$hash.narinfo")"
done
mode ok
check_eq "and then it is right" 200 "$(status "$NACRE_URL/lied/$hash.narinfo")"
mode drip
code=$(curl -s --max-time 60 -o "$T/body" -w '%{http_code}' "$NACRE_URL/lied/$nar")
check "drip: no good answer ($code)" [ "$code" = 502 ]
nothing drip
mode ok

# ---- an upstream that is gone
start_over gone
mode fail
check_eq "an upstream that fails" 502 "$(status "$NACRE_URL/$hash.narinfo")"
check_eq "an optional one has nothing" 404 "$(status "$NACRE_URL/optional/$hash.narinfo")"
mode ok
check "it is back without a restart" wait_for 20 curl -sf "$NACRE_URL/$hash.narinfo"
check "with the NAR" wait_for 20 curl -sf -o "$T/back" "$NACRE_URL/$nar"
check "and the closure" wait_for 30 bound ""
stop_server "$UP_PID"
check_eq "a dead upstream" 502 "$(status "$NACRE_URL/00000000000000000000000000000001.narinfo")"
D=$(new_store offline)
check "what is stored is served without it" nix copy --from "$NACRE_URL" --to "$D" "$P" --option require-sigs true \
    --option trusted-public-keys "$key"
for _ in 1 2 3; do
    status "$NACRE_URL/00000000000000000000000000000002.narinfo" >"$T/status"
done
check_match "it is left alone for a while" "is asked again" "$(cat "$T/body")"
start_upstream
check "and asked again" wait_for 20 sh -c "curl -s -o $T/body -w '%{http_code}' $NACRE_URL/00000000000000000000000000000003.narinfo | grep -q 404"

# ---- addresses survive a restart
stop_nacre
start_nacre "$T/data-restart" --config "$T/nacre.yaml"
check "a NAR whose narinfo this server never sent" curl -sf -o "$T/restart" "$NACRE_URL/$nar"
check_same "is right" "$T/many-7" "$T/restart"

# ---- a quota that is used up: it keeps nothing from clients
for view in full one; do
    D=$(new_store "$view")
    check "$view: nix copy of what cannot be kept" nix copy --from "$NACRE_URL/$view" --to "$D" "$P" --option require-sigs true \
        --option trusted-public-keys "$key"
    check "$view: what arrived is right" nix_store_verify "$D"
done
check_eq "nothing is kept" 404 "$(status -I "$NACRE_URL/full/nar/${nar:4:52}.nar")"
check_eq "an image of it cannot be made" 403 "$(status "$NACRE_URL/v2/full/nix/manifests/$hash")"
check_match "and why" '"DENIED".*quota of this cache is used up' "$(cat "$T/body")"
mode corrupt
code=$(curl -s --max-time 60 -o "$T/body" -w '%{http_code}' "$NACRE_URL/full/$nar")
curl_status=$?
check "what is wrong is not right because of it ($code, curl $curl_status)" [ "$code/$curl_status" != 200/0 ]
mode ok

# ---- registries
registries() {
    stop_nacre
    start_registry
    REGISTRY_PID=$SERVER_PID
    PEER=127.0.0.1:$(free_port)
    PEER_LOG=$T/peer.log
    start_server peer "$NACRE" serve --listen "$PEER" --data "$T/data-peer"
    wait_http "http://$PEER/nix-cache-info" || die "the peer does not start: $(tail -n 5 "$PEER_LOG")"
    cat >"$T/registries.yaml" <<EOF
root:
  upstream-negative-ttl: 0s
  upstreams:
    - {url: oci+http://$REGISTRY, prefix: hub/, tag-ttl: 0s, back-off: 1s, connect-timeout: 2s}
    - {url: oci+http://$PEER, repositories: ["peer/**"], prefix: peer/, tag-ttl: 1h, trust: all}
views:
  packages: {upstreams: [{url: oci+http://$REGISTRY, packages: pkgs, trusted-keys: ["$key"]}]}
  foreign: {upstreams: [{url: oci+http://$REGISTRY, packages: pkgs, trusted-keys: ["$other"]}]}
quotas:
  - {repositories: peer/app/small, bytes: 1KiB}
EOF
    start_nacre "$T/data-registries" --config "$T/registries.yaml"
}
registries
check_eq "a dead end at docker-registry" 404 "$(status "$NACRE_URL/v2/hub/app/hello/manifests/1")"
hello_image "$T/hello"
check "an image in docker-registry" skopeo_copy "oci:$T/hello:hello" "docker://$REGISTRY/app/hello:1"
check "pulled through" skopeo_copy "docker://$NACRE_ADDR/hub/app/hello:1" "oci:$T/through:x"
check_eq "with its digest" "$(skopeo_inspect "docker://$REGISTRY/app/hello:1" --format '{{.Digest}}')" \
    "$(skopeo_inspect "docker://$NACRE_ADDR/hub/app/hello:1" --format '{{.Digest}}')"
check_fails "a tag that it does not have" "manifest unknown|not found|404" skopeo_inspect "docker://$NACRE_ADDR/hub/app/hello:2"
check_eq "a repository that is nobody's" 404 "$(status "$NACRE_URL/v2/app/hello/manifests/1")"
check_match "by its own name, for who says whose" "OCI-Namespace: $REGISTRY" "$(curl -sI "$NACRE_URL/v2/app/hello/manifests/1?ns=$REGISTRY")"
check_eq "of a registry that is no upstream" 404 "$(status "$NACRE_URL/v2/app/hello/manifests/1?ns=example.com")"
check_match "in the registry's language" NAME_UNKNOWN "$(cat "$T/body")"
layer=$(curl -s "$NACRE_URL/v2/hub/app/hello/manifests/1" | python3 -c 'import json, sys; print(json.load(sys.stdin)["layers"][0]["digest"])')
check_eq "a blob has its digest" "${layer#sha256:}" "$(curl -s "$NACRE_URL/v2/app/hello/blobs/$layer?ns=$REGISTRY" | sha256sum | cut -d' ' -f1)"
check_eq "a blob that nobody has" 404 "$(status "$NACRE_URL/v2/hub/app/hello/blobs/sha256:$(printf x | sha256sum | cut -d' ' -f1)")"

# A blob without bytes, as oras pushes empty files.
empty=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
empty_url=$NACRE_URL/v2/peer/app/empty/blobs/$empty
check_eq "an empty blob at the peer" 201 "$(status -X POST -H 'Content-Length: 0' "http://$PEER/v2/app/empty/blobs/uploads/?digest=$empty")"
check_eq "a range of it is none" 416 "$(status -r 0- "$empty_url")"
stop_nacre
start_nacre "$T/data-empty" --config "$T/registries.yaml"
empty_url=$NACRE_URL/v2/peer/app/empty/blobs/$empty
head_of() { # what stays the same when it is asked again
    tr -d '\r' <"$1" | grep -vE '^(Date|X-Request-Id):' | sort
}
check_eq "is pulled through" "200 0" "$(curl -s -D "$T/empty.first" -o "$T/empty" -w '%{http_code} %{size_download}' "$empty_url")"
check_eq "and is here then" "200 0" "$(curl -s -D "$T/empty.second" -o "$T/empty" -w '%{http_code} %{size_download}' "$empty_url")"
check_eq "with the same head" "$(head_of "$T/empty.second")" "$(head_of "$T/empty.first")"
check_match "that says its digest" "Docker-Content-Digest: $empty" "$(cat "$T/empty.first")"
stop_nacre
start_nacre "$T/data-registries" --config "$T/registries.yaml"

check "an image through podman" podman_pull "$NACRE_ADDR/hub/app/hello:1"

# A quota that is used up keeps no blob from clients; a manifest that cannot be kept is refused.
peer_blob() { # SIZE: a blob at the peer of so many bytes; sets blob
    head -c "$1" /dev/urandom >"$T/blob-$1"
    blob=sha256:$(sha256sum "$T/blob-$1" | cut -d' ' -f1)
    check_eq "a blob of $1 bytes at the peer" 201 "$(status -X POST --data-binary "@$T/blob-$1" "http://$PEER/v2/app/small/blobs/uploads/?digest=$blob")"
}
for size in 600000 1024 500; do
    peer_blob $size
    for try in 1 2; do
        check_eq "goes to the client, $try" 200 "$(status "$NACRE_URL/v2/peer/app/small/blobs/$blob")"
        check_same "whole" "$T/blob-$size" "$T/body"
    done
    fetched=2
    [ $size != 1024 ] || fetched=1
    check_eq "and is kept if there is room" $fetched "$(grep -c "GET /v2/app/small/blobs/$blob" "$PEER_LOG")"
done
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"text/x-note","config":{"mediaType":"application/octet-stream","digest":"%s","size":500},"layers":[]}' \
    "$blob" >"$T/small"
check_eq "a manifest at the peer" 201 "$(status -X PUT -H 'Content-Type: application/vnd.oci.image.manifest.v1+json' --data-binary "@$T/small" "http://$PEER/v2/app/small/manifests/1")"
check_eq "is refused here" 403 "$(status "$NACRE_URL/v2/peer/app/small/manifests/1")"
check_match "with the reason" '"DENIED","message":"the quota of peer/app/small' "$(cat "$T/body")"

# Many at once: each blob is fetched once, whatever the number of clients.
check "an image in another nacre" skopeo_copy "oci:$T/hello:hello" "docker://$PEER/app/hello:1"
peer_requests() {
    tail -n "+$((before + 1))" "$PEER_LOG" | grep -oE 'GET /v2/app/[^ ]*'
}
pull_many() {
    local i pids=() bad=0
    for i in $(seq 8); do
        skopeo_copy "docker://$NACRE_ADDR/peer/app/hello:1" "oci:$T/pull-$i:x" >"$T/pull-$i.log" 2>&1 &
        pids+=($!)
    done
    for i in "${pids[@]}"; do
        wait "$i" || bad=1
    done
    return $bad
}
before=$(wc -l <"$PEER_LOG")
check "eight clients pull the same image at once" pull_many
check_eq "by one fetch of each blob and manifest" "" "$(peer_requests | sort | uniq -d)"
check_match "that were fetched" "GET /v2/app/hello/blobs/sha256:" "$(peer_requests)"

# A tag moves.
python3 "$SRC/tests/integration/lib/hello_image.py" --layout "$T/moved" --tag hello -- /bin/echo moved
check "the tag moves in both" sh -c "$(declare -f skopeo_copy); skopeo_copy oci:$T/moved:hello docker://$REGISTRY/app/hello:1 &&
    skopeo_copy oci:$T/moved:hello docker://$PEER/app/hello:1"
digest() {
    skopeo_inspect "docker://$1" --format '{{.Digest}}'
}
moved=$(digest "$REGISTRY/app/hello:1")
check_eq "without a time to live it is new at once" "$moved" "$(digest "$NACRE_ADDR/hub/app/hello:1")"
check_eq "with one it is the old one" "$(curl -s "$NACRE_URL/v2/peer/app/hello/manifests/1" | sha256sum)" \
    "$(sha256sum <"$T/pull-1/blobs/sha256/$(python3 -c 'import json; print(json.load(open("'"$T"'/pull-1/index.json"))["manifests"][0]["digest"].split(":")[1])')")"

# Referrers come along.
sub=$(curl -sI "$NACRE_URL/v2/peer/app/hello/manifests/1" | sed -n 's/^Docker-Content-Digest: //ip' | tr -d '\r')
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"text/x-note","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[],"subject":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"%s","size":%s}}' \
    "$sub" "$(curl -s "$NACRE_URL/v2/peer/app/hello/manifests/1" | wc -c)" >"$T/referrer"
status -X POST --data-binary '{}' "http://$PEER/v2/app/hello/blobs/uploads/?digest=sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a" >"$T/status"
check_eq "a referrer at the peer" 201 "$(status -X PUT -H 'Content-Type: application/vnd.oci.image.manifest.v1+json' --data-binary "@$T/referrer" \
    "http://$PEER/v2/app/hello/manifests/sha256:$(sha256sum <"$T/referrer" | cut -d' ' -f1)")"
check_match "is listed here" "text/x-note" "$(curl -s "$NACRE_URL/v2/peer/app/hello/referrers/$sub")"

# Store layers that came with an image of an upstream that is believed are paths of the cache.
check "a closure into the peer" nix copy --from "$S" --no-check-sigs --to "http://$PEER" "$P"
check_eq "that this cache does not have" 404 "$(status -I "$NACRE_URL/$hash.narinfo")"
check "its image, pulled through" skopeo_copy "docker://$PEER/nix:$hash" "docker://$PEER/app/shell:1"
check "from here" skopeo_copy "docker://$NACRE_ADDR/peer/app/shell:1" "oci:$T/shell:x"
check_eq "is substitutable here" 200 "$(status -I "$NACRE_URL/$hash.narinfo")"
D=$(new_store absorbed)
check "nix copy of it" nix copy --from "$NACRE_URL" --no-check-sigs --to "$D" "$P"
check "what arrived is right" nix_store_verify "$D"

# Package artifacts in a plain registry are a cache.
for p in "${paths[@]}"; do
    h=$(basename "$p" | cut -c1-32)
    "$NACRE" copy --insecure "docker://$PEER/nix/package:$h" "docker://$REGISTRY/pkgs:$h" >>"$T/packages.log" 2>&1 ||
        not_ok "package $h in docker-registry" "$(tail -n 3 "$T/packages.log")"
done
check_eq "a package of docker-registry is a path" 200 "$(status "$NACRE_URL/packages/$hash.narinfo")"
check_match "with its signature" "^Sig: up-1:" "$(cat "$T/body")"
check_eq "unless nobody here trusts that" 404 "$(status "$NACRE_URL/foreign/$hash.narinfo")"
D=$(new_store packages)
check "nix copy from a plain registry" nix copy --from "$NACRE_URL/packages" --to "$D" "$P" --option require-sigs true \
    --option trusted-public-keys "$key"
check "what arrived is right" nix_store_verify "$D"

# Whose repository is meant decides who may read it.
python3 - "$T/registries.yaml" "$T/rules.yaml" <<'EOF'
import sys
with open(sys.argv[1], encoding="utf-8") as old, open(sys.argv[2], "w", encoding="utf-8") as new:
    new.write(old.read() + 'access:\n- {repositories: "app/**", who: everyone, allow: pull}\n')
EOF
stop_nacre
start_nacre "$T/data-registries" --config "$T/rules.yaml"
check_match "what may not be read may not be read by its other name" "^40[13]$" "$(status "$NACRE_URL/v2/app/hello/manifests/1?ns=$REGISTRY")"
check_match "as by its own" "^40[13]$" "$(status "$NACRE_URL/v2/hub/app/hello/manifests/1")"
stop_nacre
start_nacre "$T/data-registries" --config "$T/registries.yaml"

# Without the upstream.
stop_server "$REGISTRY_PID"
check_eq "what is stored is served without the upstream" "$moved" "$(digest "$NACRE_ADDR/hub/app/hello:1")"
check_eq "what is not is a failure of the upstream" 502 "$(status "$NACRE_URL/v2/hub/app/hello/manifests/3")"
check_match "in the registry's language" '"errors"' "$(cat "$T/body")"
check_eq "a blob, too" 502 "$(status "$NACRE_URL/v2/hub/app/hello/blobs/sha256:$(printf y | sha256sum | cut -d' ' -f1)")"

# ---- containerd by a mirror, which says whose repository it means
if command -v containerd >/dev/null && [ "$(id -u)" = 0 ]; then
    mkdir -p "$T/hosts/${REGISTRY/:/_}_"
    printf '[host."%s"]\n  capabilities = ["pull", "resolve"]\n' "$NACRE_URL" >"$T/hosts/${REGISTRY/:/_}_/hosts.toml"
    start_containerd
    check "ctr pulls from the mirror of a registry that is gone" ctr_ images pull --hosts-dir "$T/hosts" --plain-http "$REGISTRY/app/hello:1"
    check_match "with ns" "GET /v2/app/hello/blobs/.*ns=" "$(cat "$NACRE_LOG")"
else
    skip "ctr pulls from the mirror of a registry that is gone" "needs containerd and root"
fi

# ---- stopped and killed while it fetches
mode half
stop_nacre
start_nacre "$T/data-killed" --config "$T/nacre.yaml" --drain 1
for signal in TERM KILL; do
    : >"$T/part"
    curl -sN -o "$T/part" "$NACRE_URL/half/$big_nar" &
    client=$!
    check "$signal: a fetch is under way" wait_for 20 test -s "$T/part"
    kill -s $signal "$NACRE_PID"
    check "$signal: the server ends" wait_for 9 process_gone "$NACRE_PID"
    wait "$client"
    check "$signal: the client sees that it is not all" [ $? != 0 ]
    start_nacre "$T/data-killed" --config "$T/nacre.yaml" --drain 1
done
check_eq "nothing of it is stored" 404 "$(status -I "$NACRE_URL/half/nar/${big_nar:4:52}.nar")"
mode ok
check "and it is fetched again" curl -sf -o "$T/again" "$NACRE_URL/half/$big_nar"
check_same "as it is" "$T/big.nar" "$T/again"
stop_nacre
check "the store is clean" "$NACRE" fsck --data "$T/data-killed"

# ---- bad configurations
bad() {
    check_fails "$1" "$2" "$NACRE" serve --check --data "$T/d" "${@:3}"
}
bad "an upstream without an address" "has a url" --set 'root.upstreams=[{trust: all}]'
bad "an address that is none" "say https" --set 'root.upstreams=[{url: ftp://x, trust: all}]'
bad "an upstream whose signatures nobody named" "trusted-keys" --set 'root.upstreams=[{url: https://x}]'
bad "a key that is none" "no public key" --set 'root.upstreams=[{url: https://x, trusted-keys: [y]}]'
bad "an unknown key" "trusted-key" --set 'root.upstreams=[{url: https://x, trust: all, trusted-key: y}]'
