#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Several views on one server: SPEC nacre 1, trust and existence; configuration, reloading.
. "$(dirname "$0")/lib.sh"
needs nix curl skopeo python3

P=$(fixture shell) || die "no fixture shell"
hash=$(basename "$P" | cut -c1-32)
"$NACRE" key generate tenant-1 -o "$T/tenant.key"
"$NACRE" key generate server-1 -o "$T/server.key"
tenant=$("$NACRE" key public "$T/tenant.key")
server=$("$NACRE" key public "$T/server.key")

config() {
    cat >"$T/nacre.yaml" <<EOF
root: {priority: ${1:-30}}
views:
  a: {}
  b: {priority: 41}
  team/strict: {require-signatures: true, trusted-keys: ["$tenant"]}
  signing: {sign-with: $T/server.key}
  signing/all: {sign-with: $T/server.key, sign-images: true}
  guix: {store-dir: auto}
EOF
}
config
check "serve --check takes the configuration" "$NACRE" serve --check --config "$T/nacre.yaml"
start_nacre "$T/data" --config "$T/nacre.yaml"
status() {
    curl -s -o "$T/body" -w '%{http_code}' "$@"
}

# ---- names
check_match "a view has its own priority" "Priority: 41" "$(curl -s "$NACRE_URL/b/nix-cache-info")"
check_match "the root has another" "Priority: 30" "$(curl -s "$NACRE_URL/nix-cache-info")"
check_eq "what is no view is nothing" 404 "$(status "$NACRE_URL/c/nix-cache-info")"
check_eq "a view within a path that is none" 404 "$(status "$NACRE_URL/team/nix-cache-info")"
check_eq "a longer name is another view" 200 "$(status "$NACRE_URL/team/strict/nix-cache-info")"
check_eq "the registry has one entrance" 404 "$(status "$NACRE_URL/a/v2/")"
check_eq "a view whose store dir nobody said yet" 404 "$(status "$NACRE_URL/guix/nix-cache-info")"
check_eq "the first client says it" 201 "$(status -X PUT --data-binary 'StoreDir: /gnu/store' "$NACRE_URL/guix/nix-cache-info")"
check_match "and it stays" "StoreDir: /gnu/store" "$(curl -s "$NACRE_URL/guix/nix-cache-info")"
check_eq "the next one cannot change it" 409 "$(status -X PUT --data-binary 'StoreDir: /nix/store' "$NACRE_URL/guix/nix-cache-info")"

# ---- existence is per view
check "nix copy --to a view" nix copy --from "$FIXTURES" --no-check-sigs --to "$NACRE_URL/a" "$P"
check_eq "it is there" 200 "$(status -I "$NACRE_URL/a/$hash.narinfo")"
for view in "" b/ signing/ guix/ team/strict/; do
    check_eq "and not in '$view'" 404 "$(status -I "$NACRE_URL/$view$hash.narinfo")"
done
nar=$(curl -s "$NACRE_URL/a/$hash.narinfo" | sed -n 's/^URL: //p')
nar_hash=$(curl -s "$NACRE_URL/a/$hash.narinfo" | sed -n 's/^NarHash: sha256://p')
check_eq "its NAR is there" 200 "$(status -I "$NACRE_URL/a/$nar")"
check_eq "and not in another view" 404 "$(status -I "$NACRE_URL/b/$nar")"
check_eq "nor by its NarHash" 404 "$(status -I "$NACRE_URL/b/nar/$nar_hash.nar")"
check_eq "its listing is there" 200 "$(status "$NACRE_URL/a/$hash.ls")"
check_eq "and not in another view" 404 "$(status "$NACRE_URL/b/$hash.ls")"
curl -s "$NACRE_URL/a/$hash.narinfo" | sed "s,^URL:.*,URL: nar/$nar_hash.nar," >"$T/narinfo"
check_eq "a narinfo cannot name a NAR of another view" 409 "$(status -X PUT --data-binary "@$T/narinfo" "$NACRE_URL/b/$hash.narinfo")"

check "the image of a view" skopeo_inspect "docker://$NACRE_ADDR/a/nix:$hash"
check_fails "the same in another view" "manifest unknown|not found|404" skopeo_inspect "docker://$NACRE_ADDR/b/nix:$hash"
layer=$(curl -s "$NACRE_URL/v2/a/nix/manifests/$hash" | python3 -c 'import json, sys; print(json.load(sys.stdin)["layers"][0]["digest"])')
check_eq "its layer is there" 200 "$(status -I "$NACRE_URL/v2/a/nix/blobs/$layer")"
check_eq "and not in another view" 404 "$(status -I "$NACRE_URL/v2/b/nix/blobs/$layer")"
check_eq "nor in the root" 404 "$(status -I "$NACRE_URL/v2/nix/blobs/$layer")"
check_eq "it can be mounted within the view" 201 "$(status -X POST "$NACRE_URL/v2/a/copy/blobs/uploads/?mount=$layer&from=a/nix")"
check_eq "not from another view" 202 "$(status -X POST "$NACRE_URL/v2/b/copy/blobs/uploads/?mount=$layer&from=a/nix")"
check_eq "nor without saying from where" 202 "$(status -X POST "$NACRE_URL/v2/b/copy/blobs/uploads/?mount=$layer")"
check_match "addresses name the view" "^[Ll]ocation: /v2/b/copy/blobs/uploads/" "$(curl -si -X POST "$NACRE_URL/v2/b/copy/blobs/uploads/")"
curl -s "$NACRE_URL/v2/a/nix/manifests/$hash" >"$T/manifest"
check_eq "an image cannot name blobs of another view" 404 "$(status -X PUT -H 'Content-Type: application/vnd.oci.image.manifest.v1+json' \
    --data-binary "@$T/manifest" "$NACRE_URL/v2/b/stolen/manifests/latest")"
check_match "lists name the repository with its view" '"name":"a/nix"' "$(curl -s "$NACRE_URL/v2/a/nix/tags/list")"

check "an image from view to view" skopeo_copy "docker://$NACRE_ADDR/a/nix:$hash" "docker://$NACRE_ADDR/b/app:1"
check_eq "binds its paths there" 200 "$(status -I "$NACRE_URL/b/$hash.narinfo")"
check_eq "and nowhere else" 404 "$(status -I "$NACRE_URL/$hash.narinfo")"
S=$(new_store second)
check "nix copy --from the view" nix copy --from "$NACRE_URL/b" --no-check-sigs --to "$S" "$P"
check "what arrived is right" nix_store_verify "$S"

# ---- two tenants, one store path, two contents
tenant_put() { # VIEW TEXT
    local dir=$T/tenant-$1 base=00000000000000000000000000000001-thing file
    mkdir -p "$dir"
    printf '%s\n' "$2" >"$dir/content"
    file=$dir/thing.nar
    "$NACRE" nar dump "$dir/content" >"$file"
    local hash32 size
    hash32=$(nix-hash --type sha256 --base32 --flat "$file")
    size=$(stat -c %s "$file")
    status -X PUT --data-binary "@$file" "$NACRE_URL/$1/nar/$hash32.nar" >"$T/nar-status"
    printf 'StorePath: /nix/store/%s\nURL: nar/%s.nar\nCompression: none\nFileHash: sha256:%s\nFileSize: %s\nNarHash: sha256:%s\nNarSize: %s\nReferences: \n' \
        "$base" "$hash32" "$hash32" "$size" "$hash32" "$size" >"$dir/narinfo"
    status -X PUT --data-binary "@$dir/narinfo" "$NACRE_URL/$1/${base%%-*}.narinfo"
}
tenant_get() {
    nix store cat --store "$NACRE_URL/$1" /nix/store/00000000000000000000000000000001-thing 2>&1
}
check_eq "one tenant's content" 201 "$(tenant_put a 'of a')"
check_eq "another tenant's other content for the same path" 201 "$(tenant_put b 'of b')"
check_eq "each reads its own" "of a, of b" "$(tenant_get a), $(tenant_get b)"
cp -r "$T/tenant-a" "$T/tenant-a.first"
check_eq "within a view it is one" 409 "$(tenant_put a 'something else')"
check_eq "and stays what it was" "of a" "$(tenant_get a)"

# ---- signatures
check_fails "unsigned paths are refused where signatures are required" "signed by a key|HTTP error 403" \
    nix copy --from "$FIXTURES" --no-check-sigs --to "$NACRE_URL/team/strict" "$P"
check "an image of them is stored all the same" skopeo_copy "docker://$NACRE_ADDR/a/nix:$hash" "docker://$NACRE_ADDR/team/strict/app:1"
check_eq "and nothing is substitutable by it" 404 "$(status -I "$NACRE_URL/team/strict/$hash.narinfo")"
S=$(new_store signed)
nix copy --from "$FIXTURES" --no-check-sigs --to "$S" "$P" 2>"$T/copy.log"
nix store sign --store "$S" --key-file "$T/tenant.key" -r "$P" 2>"$T/sign.log"
check "signed ones are taken" nix copy --from "$S" --no-check-sigs --to "$NACRE_URL/team/strict" "$P"
signatures() {
    curl -s "$NACRE_URL/$1/$hash.narinfo" | sed -n 's/^Sig: //p' | cut -d: -f1 | sort | paste -sd' '
}
check_eq "with their signatures" "tenant-1" "$(signatures team/strict)"
check "the server signs what is uploaded" nix copy --from "$FIXTURES" --no-check-sigs --to "$NACRE_URL/signing" "$P"
check_eq "with its key" "server-1" "$(signatures signing)"
# In a cache of narinfos of its own: Nix remembers what it uploaded, without the server's signature.
check "and Nix takes the signature" env XDG_CACHE_HOME="$T/other" nix copy --from "$NACRE_URL/signing" --to "$(new_store verified)" "$P" \
    --option require-sigs true --option trusted-public-keys "$server"
check "signatures are added to those that are there" nix copy --from "$S" --no-check-sigs --to "$NACRE_URL/signing" "$P"
curl -s -X PUT --data-binary "@-" "$NACRE_URL/signing/$hash.narinfo" -o "$T/put" <<EOF
$(curl -s "$NACRE_URL/team/strict/$hash.narinfo")
EOF
check_eq "both stand" "server-1 tenant-1" "$(signatures signing)"
check "an image into the view that signs uploads" skopeo_copy "docker://$NACRE_ADDR/a/nix:$hash" "docker://$NACRE_ADDR/signing/all/app:1"
check_eq "is signed where images are, too" "server-1" "$(signatures signing/all)"
Q=$(fixture git 2>/dev/null | head -n 1)
if [ -n "$Q" ]; then
    q=$(basename "$Q" | cut -c1-32)
    nix copy --from "$FIXTURES" --no-check-sigs --to "$NACRE_URL/a" "$Q" 2>"$T/copy.log"
    skopeo_copy "docker://$NACRE_ADDR/a/nix:$q" "docker://$NACRE_ADDR/signing/git:1"
    check_eq "an image does not make the server sign" "" "$(curl -s "$NACRE_URL/signing/$q.narinfo" | grep ^Sig:)"
fi

# ---- reloading
config 7
printf '  late: {}\n' >>"$T/nacre.yaml"
kill -HUP "$NACRE_PID"
check "a new priority" wait_for 10 sh -c "curl -s $NACRE_URL/nix-cache-info | grep -q 'Priority: 7'"
check_eq "a new view" 200 "$(status "$NACRE_URL/late/nix-cache-info")"
printf 'late: [\n' >"$T/nacre.yaml"
kill -HUP "$NACRE_PID"
check "a broken file is refused" wait_for 10 grep -q "the configuration stays as it was: .*nacre.yaml:2" "$NACRE_LOG"
check_eq "and changes nothing" 200 "$(status "$NACRE_URL/late/nix-cache-info")"
config 8
sed -i 's,store-dir: auto,store-dir: /nix/store,' "$T/nacre.yaml"
kill -HUP "$NACRE_PID"
check "a store dir cannot change" wait_for 10 grep -q "holds paths of /gnu/store in guix" "$NACRE_LOG"
check_match "and nothing else did then" "Priority: 7" "$(curl -s "$NACRE_URL/nix-cache-info")"

# ---- bad configurations
bad() {
    check_fails "$1" "$2" "$NACRE" serve --check --data "$T/d" "${@:3}"
}
bad "an unknown key" "did you mean 'listen'" --set lisen=1
bad "a view that is an address" "another meaning" --set 'views.v2={}'
bad "a view that is no name" "cannot be the name" --set 'views={A: {}}'
bad "a key that is none" "no public key" --trusted-key nonsense
bad "a signing key that is none" "no secret key" --set "root.sign-with=$T/narinfo"
bad "a signing key that is not there" "No such file" --set "root.sign-with=$T/missing"
bad "a store dir that is none" "no store dir" --set root.store-dir=nix/store
bad "a number that is none" "not a number" --set root.priority=high
bad "a value without a key" "KEY=VALUE" --set priority
bad "a file that is not there" "No such file" --config "$T/missing.yaml"
