#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nacre copy between images and Nix: caches, stores, signatures on their way through plain registries.
. "$(dirname "$0")/lib.sh"
needs nix nix-store skopeo docker-registry podman

N=$NACRE
cd "$T" || exit 1
nix_() {
    nix --extra-experimental-features nix-command "$@"
}
root=$(fixture git) || die "no fixture"
paths=$(closure "$root" | wc -l)

# NarHash and references of a closure in a store or cache, without what an image does not carry.
facts() {
    nix_ path-info --store "$1" -r --json "$root" | python3 -c '
import json, sys
for p in sorted(json.load(sys.stdin), key=lambda p: p["path"]):
    print(p["path"], p["narHash"], p["narSize"], *sorted(p["references"]))'
}
facts "$FIXTURES" >want

# ---- store to cache, signed ------------------------------------------------------------------------

nix_ key generate-secret --key-name test-1 >key
public=$(nix_ key convert-secret-to-public <key)
check_eq "a store to a cache" "{\"paths\":$paths,\"present\":0}" \
    "$("$N" copy --json --sign-key key "$FIXTURES" "file://$T/cache" "$root" 2>&1)"
facts "file://$T/cache" >got
check_same "Nix finds in it what the store has" want got
check "and verifies every NAR" nix_ store verify --store "file://$T/cache" -r "$root" --trusted-public-keys "$public"
check_match "a store to an image, as JSON" "^{\"digest\":\"sha256:[0-9a-f]{64}\",\"size\":[0-9]+,\"paths\":$paths,\"layers\":[0-9]+,\"narSize\":[0-9]+}$" \
    "$("$N" copy --json "$FIXTURES" oci:as-json:x "$root" 2>/dev/null)"
check_eq "nothing is sent twice" "{\"paths\":$paths,\"present\":$paths}" \
    "$("$N" copy --json "$FIXTURES" "file://$T/cache" "$root" 2>&1)"
for kind in none xz gzip; do
    check "compression $kind" "$N" copy --compression $kind "$FIXTURES" "file://$T/cache-$kind" "$root"
    facts "file://$T/cache-$kind" >got
    check_same "compression $kind: Nix reads it" want got
done
check "the hash part is enough" "$N" copy "file://$T/cache" "file://$T/by-hash" "$(basename "$root" | cut -c1-32)"

# ---- cache to image, image to cache ----------------------------------------------------------------

digest=$("$N" copy "file://$T/cache" oci:image:git "$root") || not_ok "a cache to an image"
check_eq "is what build builds" "$digest" "$("$N" build --from "$FIXTURES" "$root" -o oci:built:git)"
check_eq "an image to a cache" "{\"paths\":$paths,\"present\":0}" \
    "$("$N" copy --json oci:image:git "file://$T/unpacked" 2>&1)"
check "signatures came with it" \
    nix_ store verify --store "file://$T/unpacked" -r "$root" --trusted-public-keys "$public"
diff -r cache unpacked >out 2>&1
check_eq "the cache is the same, file by file" "" "$(cat out)"
check "who asks for signatures gets what is signed" \
    "$N" copy --trusted-key "$public" oci:image:git "file://$T/trusted"
other=$(nix_ key generate-secret --key-name other-1 | nix_ key convert-secret-to-public)
check_fails "and nothing else" 'not signed by a trusted key' \
    "$N" copy --trusted-key "$other" oci:image:git "file://$T/untrusted"
[ -z "$(ls untrusted 2>/dev/null)" ] || not_ok "a refused copy wrote a cache"

# Content-addressed paths vouch for themselves.
fixture ca >/dev/null || die "no fixture"
ca=$(cat "$FIXTURES/ca-self.root")
"$N" copy --platform amd64 "$FIXTURES" oci:ca:ca "$ca" >/dev/null || not_ok "an image of a content-addressed path"
check "a content address is as good as a signature" "$N" copy --trusted-key "$other" oci:ca:ca "file://$T/ca-cache"
check "and what Nix takes" nix_ path-info --store "file://$T/ca-cache" "$ca"
check "an image without its path infos" "$N" copy --no-referrers oci:ca:ca oci:ca-bare:ca
check_fails "has neither" 'not signed by a trusted key' \
    "$N" copy --trusted-key "$other" oci:ca-bare:ca "file://$T/ca-none"

# ---- through a plain registry ----------------------------------------------------------------------

start_registry registry
check_eq "to docker-registry" "$digest" "$("$N" copy oci:image:git "docker://$REGISTRY/git:1" 2>&1)"
check_eq "and out of it" "{\"paths\":$paths,\"present\":0}" \
    "$("$N" copy --json "docker://$REGISTRY/git:1" "file://$T/from-registry" 2>&1)"
check "still signed" \
    nix_ store verify --store "file://$T/from-registry" -r "$root" --trusted-public-keys "$public"
check_eq "one path alone, with its closure" '"paths":2,' \
    "$("$N" copy --json "docker://$REGISTRY/git:1" "file://$T/one" "$(closure "$root" | grep libc6)" | grep -o '"paths":2,')"

# Annotations and path infos lost on the way: references are found in the contents.
check "a docker-archive has no annotations" "$N" copy "docker://$REGISTRY/git:1" docker-archive:git.tar:git
"$N" copy docker-archive:git.tar "file://$T/from-archive" 2>out || not_ok "out of it" "$(cat out)"
facts "file://$T/from-archive" >got
check_same "nothing but the signatures is lost" want got
check_fails "which are" 'untrusted|not signed|lacks' \
    nix_ store verify --store "file://$T/from-archive" -r "$root" --trusted-public-keys "$public"
check "skopeo compresses it anew, as schema 2" skopeo_copy docker-archive:git.tar "docker://$REGISTRY/v2:1"
"$N" copy "docker://$REGISTRY/v2:1" "file://$T/from-v2" 2>out || not_ok "out of it" "$(cat out)"
facts "file://$T/from-v2" >got
check_same "and nothing more is lost" want got

# ---- into a store ----------------------------------------------------------------------------------

store=$(new_store copy)
check_fails "Nix asks for signatures" 'lacks a valid signature|no-check-sigs' \
    env NIX_CONFIG="$NIX_CONFIG
require-sigs = true" "$N" copy "docker://$REGISTRY/git:1" "$store"
check "and has them" env NIX_CONFIG="$NIX_CONFIG
require-sigs = true
trusted-public-keys = $public" "$N" copy "docker://$REGISTRY/git:1" "$store"
facts "$store" >got
check_same "the store has the closure" want got
check "which verifies" nix_store_verify "$store"
check "with its signatures" nix_ store verify --store "$store" -r "$root" --trusted-public-keys "$public"
store2=$(new_store copy2)
check "unsigned, if one says so" env NIX_CONFIG="$NIX_CONFIG
require-sigs = true" "$N" copy --no-check-sigs docker-archive:git.tar "local:$store2"
facts "$store2" >got
check_same "the same closure" want got
[ -z "$(find /var/tmp -maxdepth 1 -name 'nacre-??????' -newer key)" ] || not_ok "a scratch directory is left"

# ---- packages --------------------------------------------------------------------------------------

# A package artifact for each path: the layers that the image has, but for one path its NAR.
python3 - image packages "cache-xz" <<'EOF'
import glob, hashlib, json, os, sys
image, folder, cache = sys.argv[1:]
os.makedirs(folder + "/blobs/sha256")
index = json.load(open(image + "/index.json"))
entry = next(e for e in index["manifests"] if e.get("annotations", {}).get("org.opencontainers.image.ref.name"))
manifest = json.load(open(f"{image}/blobs/sha256/{entry['digest'][7:]}"))
tags = []

def put(media_type, data):
    name = hashlib.sha256(data).hexdigest()
    open(f"{folder}/blobs/sha256/{name}", "wb").write(data)
    return {"mediaType": media_type, "digest": "sha256:" + name, "size": len(data)}

def nar(base):
    info = dict(l.split(": ", 1) for l in open(f"{cache}/{base[:32]}.narinfo").read().splitlines())
    return put("application/vnd.nix.store.path.v1.nar+xz", open(f"{cache}/{info['URL']}", "rb").read())

for layer in manifest["layers"]:
    notes = layer.pop("annotations", {})
    if not notes:
        continue
    path, hash, size = notes["containerd.io/snapshot/nacre.path.0"].split(" ")
    base = os.path.basename(path)
    config = {"storeDir": "/nix/store", "path": path, "narHash": hash, "narSize": int(size),
              "references": notes["dev.nacre.references.0"].split()}
    if not tags:
        layer = nar(base)
    else:
        os.link(f"{image}/blobs/sha256/{layer['digest'][7:]}", f"{folder}/blobs/sha256/{layer['digest'][7:]}")
    value = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
             "artifactType": "application/vnd.nix.package.v1", "layers": [layer],
             "config": put("application/vnd.nix.package.config.v1+json", json.dumps(config).encode())}
    tags.append({**put(value["mediaType"], json.dumps(value).encode()),
                 "annotations": {"org.opencontainers.image.ref.name": base[:32]}})
json.dump({"schemaVersion": 2, "manifests": tags}, open(folder + "/index.json", "w"))
json.dump({"imageLayoutVersion": "1.0.0"}, open(folder + "/oci-layout", "w"))
EOF
hash=$(basename "$root" | cut -c1-32)
check_eq "a package stands for its closure" "{\"paths\":$paths,\"present\":0}" \
    "$("$N" copy --json "oci:packages:$hash" "file://$T/from-packages" 2>&1)"
facts "file://$T/from-packages" >got
check_same "and gives it" want got
sed -i "s/$(closure "$root" | grep -- -libc6- | cut -d/ -f4 | cut -c1-32)/moved/" packages/index.json
check_fails "a package that is missing" 'package .*libc6' "$N" copy "oci:packages:$hash" "file://$T/none"

# ---- what is wrong ---------------------------------------------------------------------------------

hello_image hello || die "no image"
check_fails "an image without store paths" 'no store path in the image' "$N" copy oci:hello:hello "file://$T/none"
check_fails "which path?" 'which store paths' "$N" copy "file://$T/cache" oci:x:y
check_fails "a path that is not there" '.' "$N" copy oci:image:git "file://$T/none" "/nix/store/00000000000000000000000000000000-x"
check_fails "no cache" 'nix-cache-info|No such file' "$N" copy "file://$T/nowhere" "file://$T/none" "$root"
check_fails "an image is copied whole" 'copied whole' "$N" copy oci:image:git oci:x:y "$root"
[ ! -e none ] || not_ok "a failed copy made a cache"

# An annotation that names another content for a path does no harm: the content counts.
cp -r image lying
python3 - lying <<'EOF'
import hashlib, json, re, sys
folder = sys.argv[1]
index = json.load(open(folder + "/index.json"))
entry = next(e for e in index["manifests"] if "annotations" in e and "artifactType" not in e)
manifest = json.load(open(f"{folder}/blobs/sha256/{entry['digest'][7:]}"))
for layer in manifest["layers"][:3]:
    for key, value in layer.get("annotations", {}).items():
        if "nacre.path" in key:
            layer["annotations"][key] = re.sub("sha256:[0-9a-z]{52}", "sha256:" + "0" * 52, value)
        else:
            layer["annotations"][key] = ""
data = json.dumps(manifest).encode()
digest = hashlib.sha256(data).hexdigest()
open(f"{folder}/blobs/sha256/{digest}", "wb").write(data)
entry["digest"], entry["size"] = "sha256:" + digest, len(data)
index["manifests"] = [entry]
json.dump(index, open(folder + "/index.json", "w"))
EOF
"$N" copy oci:lying:git "file://$T/from-liar" 2>out || not_ok "annotations that lie" "$(cat out)"
facts "file://$T/from-liar" >got
check_same "annotations that contradict the content are not believed" want got
