#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Where a node takes store paths from: this machine's own Nix store, caches, the registry; signatures.
. "$(dirname "$0")/lib.sh"
needs nix skopeo python3 sqlite3 curl jq docker-registry zstd
needs_root

run() {
    "$NACRE" run --root "$NODE" --host-store none "$@"
}
count() {
    find "$NODE/$1" -mindepth 1 -maxdepth 1 ! -name '*.root' 2>/dev/null | wc -l
}

P=$(fixture shell) || die "no fixture shell"
n=$(closure "$P" | wc -l)
"$NACRE" build --from "$FIXTURES" "$P" --max-layers 0 -o "oci:$T/image:shell" >/dev/null 2>"$T/build.log" || die "$(cat "$T/build.log")"
bare_image "$T/image" "$T/bare"

# ---- this machine's own store ----------------------------------------------------------------------

H=$(new_store host)
nix copy --from "$FIXTURES" --no-check-sigs --to "$H" "$P" 2>"$T/log" || die "$(cat "$T/log")"
NODE=$T/node-host
check_eq "paths of this machine's store are used in place" hello \
    "$("$NACRE" run --root "$NODE" --host-store "$H" "oci:$T/bare:shell" sh -c 'echo hello' 2>&1)"
check_eq "nothing is copied" "0 $n" "$(count paths) $(count host)"
check_eq "only the closure is visible" "$(closure "$P" | sed 's|.*/||')" "$(run --pull never "oci:$T/bare:shell" ls /nix/store)"
check_eq "bind mounts too" hello "$(run --pull never --view bind "oci:$T/bare:shell" sh -c 'echo hello')"
check_match "verified" "^$n paths, .* 0 damaged" "$("$NACRE" node verify --root "$NODE")"
check_eq "each path has a root" "$n" "$(nix-store --store "$H" --gc --print-roots 2>/dev/null | grep -c "$NODE/host/")"
nix-store --store "$H" --gc >/dev/null 2>&1
check_eq "Nix does not collect what is used" hello "$(run --pull never "oci:$T/bare:shell" sh -c 'echo hello')"
check_match "a dry run counts each once" "^would delete $n paths, " "$("$NACRE" node gc --root "$NODE" --older-than 0 --dry-run)"
"$NACRE" node gc --root "$NODE" --older-than 0 >/dev/null
check_eq "nor is it kept for ever" 0 "$(nix-store --store "$H" --gc --print-roots 2>/dev/null | grep -c "$NODE")"
nix-store --store "$H" --gc >/dev/null 2>&1
check_eq "it is collected" 0 "$(find "$H/nix/store" -mindepth 1 -maxdepth 1 ! -name '.*' | wc -l)"

# A collection of Nix's that is under way has read its roots already.
nix copy --from "$FIXTURES" --no-check-sigs --to "$H" "$P" 2>"$T/log"
check "Nix has a lock for its collections" test -f "$H/nix/var/nix/gc.lock"
NODE=$T/node-collected
collecting() {
    flock -x "$H/nix/var/nix/gc.lock" "$NACRE" run --root "$NODE" --host-store "$H" "$@"
}
check_fails "while one is under way nothing is used in place" "blob|no such|not found|No such" collecting "oci:$T/bare:shell" true
check_eq "and no root is left" "0 0" "$(count host) $(find "$NODE/host" -name '*.root' | wc -l)"
check_eq "the paths come from elsewhere" hello "$(collecting "oci:$T/image:shell" sh -c 'echo hello' 2>&1)"
check_eq "all of them" "$n 0" "$(count paths) $(count host)"
NODE=$T/node-collector-gone
check_eq "and are used in place when it is over" "hello $n" \
    "$("$NACRE" run --root "$NODE" --host-store "$H" "oci:$T/bare:shell" sh -c 'echo hello' 2>&1) $(count host)"
check "the lock is let go" flock -n -x "$H/nix/var/nix/gc.lock" true
"$NACRE" node rm --root "$NODE" "oci:$T/bare:shell" && "$NACRE" node gc --root "$NODE" >/dev/null
nix-store --store "$H" --gc >/dev/null 2>&1

# A store whose database says another NarHash, and one whose content is not what its database says.
nix copy --from "$FIXTURES" --no-check-sigs --to "$H" "$P" 2>"$T/log"
first=$(closure "$P" | head -n 1)
sqlite3 "$H/nix/var/nix/db/db.sqlite" "UPDATE ValidPaths SET hash = 'sha256:' || '$(printf %064d 0)' WHERE path = '$first'"
NODE=$T/node-other
check_fails "another NarHash is another path" "blob|no such|not found|No such" "$NACRE" run --root "$NODE" --host-store "$H" "oci:$T/bare:shell" true
check_eq "the registry has it" hello "$("$NACRE" run --root "$NODE" --host-store "$H" "oci:$T/image:shell" sh -c 'echo hello' 2>&1)"
check_eq "that one alone was fetched" "1 $((n - 1))" "$(count paths) $(count host)"
H2=$(new_store lying)
nix copy --from "$FIXTURES" --no-check-sigs --to "$H2" "$P" 2>"$T/log"
chmod u+w "$H2$P" && echo more >"$H2$P/more"
NODE=$T/node-lying
check_eq "content that is not what the database says is not used" "no" \
    "$("$NACRE" run --root "$NODE" --host-store "$H2" "oci:$T/image:shell" sh -c "test -e $P/more && echo used || echo no" 2>&1)"
check_eq "no store, no harm" hello "$("$NACRE" run --root "$T/node-none" --host-store "$T/no/such" "oci:$T/image:shell" sh -c 'echo hello' 2>&1)"

# ---- caches ----------------------------------------------------------------------------------------

start_nacre
nix copy --from "$FIXTURES" --no-check-sigs --to "$NACRE_URL" "$P" 2>"$T/log" || die "$(cat "$T/log")"
NODE=$T/node-cache
check_eq "paths come from a cache" hello "$(run --source "$NACRE_URL" "oci:$T/bare:shell" sh -c 'echo hello' 2>&1)"
check_eq "all of them" "$n" "$(count paths)"
rm -r "$NODE/paths/$(ls "$NODE/paths" | head -n 1)"
check_match "only what is missing is fetched" "0 layers fetched.* 1 from caches" \
    "$("$NACRE" --verbose run --root "$NODE" --host-store none --source "$NACRE_URL" "oci:$T/bare:shell" true 2>&1)"
NODE=$T/node-known
I=docker://$NACRE_ADDR/nix:$(basename "$P" | cut -c1-32)
check_eq "an image of the server" hello "$(run "$I" sh -c 'echo hello' 2>&1)"
before=$(wc -l <"$NACRE_LOG")
check_eq "that is here" hello "$(run "$I" sh -c 'echo hello' 2>&1)"
check_eq "asks nobody by itself" "$before" "$(wc -l <"$NACRE_LOG")"
check_eq "that is still the same" hello "$(run --pull newer "$I" sh -c 'echo hello' 2>&1)"
check_eq "costs one HEAD" "HEAD /v2/nix/manifests/$(basename "$P" | cut -c1-32)" \
    "$(tail -n "+$((before + 1))" "$NACRE_LOG" | sed -n 's/^.* \(HEAD\|GET\) \([^ ]*\).*/\1 \2/p')"
D=docker://$NACRE_ADDR/nix@$("$NACRE" inspect --json "$I" | jq -r .digest)
check_eq "by digest" hello "$(run --pull newer "$D" sh -c 'echo hello' 2>&1)"
before=$(wc -l <"$NACRE_LOG")
check_eq "once more" hello "$(run --pull newer "$D" sh -c 'echo hello' 2>&1)"
check_eq "asks nobody" "$before" "$(wc -l <"$NACRE_LOG")"
rm -r "$NODE/paths/$(ls "$NODE/paths" | head -n 1)"
check_eq "what is gone is fetched again" hello "$(run "$I" sh -c 'echo hello' 2>&1)"

# An index: what it has for a platform is remembered, so that it costs as little.
put_index() {
    local tag=$1
    shift
    python3 - "$T" "$@" >"$T/index.json" <<'PYTHON'
import hashlib, json, sys
members = []
for platform, tag in (word.split("=") for word in sys.argv[2:]):
    data = open(f"{sys.argv[1]}/manifest-{tag}", "rb").read()
    members.append({"mediaType": json.loads(data)["mediaType"], "digest": "sha256:" + hashlib.sha256(data).hexdigest(),
                    "size": len(data), "platform": {"os": "linux", "architecture": platform}})
print(json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": members}))
PYTHON
    curl -sf -o /dev/null -X PUT -H 'Content-Type: application/vnd.oci.image.index.v1+json' --data-binary "@$T/index.json" \
        "$NACRE_URL/v2/many/manifests/$tag" || not_ok "an index can be pushed"
}
requests() {
    tail -n "+$((before + 1))" "$NACRE_LOG" | sed -n 's/^.* \(HEAD\|GET\) \([^ ]*\).*/\1 \2/p'
}
for member in one two; do
    "$NACRE" build --from "$FIXTURES" "$P" --env "MEMBER=$member" -o "docker://$NACRE_ADDR/many:$member" >/dev/null 2>"$T/build.log" || die "$(cat "$T/build.log")"
    curl -s -H 'Accept: */*' "$NACRE_URL/v2/many/manifests/$member" >"$T/manifest-$member"
done
host=$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')
put_index both "$host=one" s390x=two
NODE=$T/node-index
B=docker://$NACRE_ADDR/many:both
says_member() {
    check_eq "$1" "$2" "$(run "${@:3}" sh -c 'echo $MEMBER' 2>&1)"
}
says_member "an index: the image for this platform" one "$B"
before=$(wc -l <"$NACRE_LOG")
says_member "that is still the same" one --pull newer "$B"
check_eq "costs one HEAD" "HEAD /v2/many/manifests/both" "$(requests)"
D=docker://$NACRE_ADDR/many@sha256:$(sha256sum <"$T/index.json" | cut -c1-64)
says_member "an index by digest" one --pull newer "$D"
before=$(wc -l <"$NACRE_LOG")
says_member "once more" one --pull newer "$D"
check_eq "asks nobody" "" "$(requests)"
says_member "by itself the tag neither" one "$B"
check_eq "asks for it" "" "$(requests)"
says_member "another platform is another image" two --platform linux/s390x "$B"
says_member "and stays it" two --platform linux/s390x "$B"
says_member "without asking, where it is said again" two --platform linux/s390x --pull never "$B"
check_fails "what is here is not for any other" "for another platform" run --platform linux/riscv64 --pull never "$B" true
says_member "and this one is what it was" one "$B"
put_index both "$host=two" s390x=one
says_member "an index that has changed is not asked for" one "$B"
says_member "or else read again" two --pull newer "$B"
put_index again "$host=two"
says_member "another index with the same member" two "docker://$NACRE_ADDR/many:again"
before=$(wc -l <"$NACRE_LOG")
says_member "is remembered as well" two --pull newer "docker://$NACRE_ADDR/many:again"
says_member "and so is the first" two --pull newer "$B"
check_eq "a HEAD each" "HEAD /v2/many/manifests/again HEAD /v2/many/manifests/both" "$(requests | xargs)"
for damaged in "" x "sha256:0 linux/$host"; do
    for file in "$NODE"/blobs/*.index; do
        printf '%s' "$damaged" >"$file"
    done
    says_member "what is noted is damaged ('$damaged')" two "$B"
done
check_match "nacre node verify is clean" " 0 damaged" "$("$NACRE" node verify --root "$NODE")"
"$NACRE" node gc --root "$NODE" --older-than 0 >/dev/null
check_eq "what is noted goes with the images" 0 "$(count blobs)"
NODE=$T/node-dead
check_match "a cache that does not answer is said, and the registry is asked" "could not be used.*hello" \
    "$(run --source http://127.0.0.1:1 "oci:$T/image:shell" sh -c 'echo hello' 2>&1 | tr '\n' ' ')"

# A bad line: of each large answer the first time only a part arrives.
port=$(free_port)
: >"$T/requests"
start_server proxy python3 "$SRC/tests/integration/lib/cutting_proxy.py" "$port" "${NACRE_ADDR##*:}" 200000 "$T/requests"
wait_http "http://127.0.0.1:$port/v2/"
NODE=$T/node-bad-line
check_eq "over a bad line" hello "$(run --source "http://127.0.0.1:$port" "oci:$T/bare:shell" sh -c 'echo hello' 2>&1)"
check_eq "all paths arrive" "$n" "$(count paths)"
check "in more than one piece" test "$(awk 'index($1, "/nar/") && $2 > 0' "$T/requests" | wc -l)" -gt 0
check_match "and are right" "^$n paths, .* 0 damaged" "$("$NACRE" node verify --root "$NODE")"

# ---- registries with package artifacts ---------------------------------------------------------------

start_registry
while read -r path; do
    base=$(basename "$path")
    "$NACRE" copy "docker://$NACRE_ADDR/nix/package:${base%%-*}" "docker://$REGISTRY/packages:${base%%-*}" >/dev/null 2>"$T/log" || not_ok "copy the package of $base" "$(tail -n 3 "$T/log")"
done < <(closure "$P")
NODE=$T/node-packages
check_eq "a plain registry is a binary cache" hello "$(run --source "docker://$REGISTRY/packages" "oci:$T/bare:shell" sh -c 'echo hello' 2>&1)"
check_eq "all paths came from there" "$n" "$(count paths)"
check_match "nacre node verify is clean" " 0 damaged" "$("$NACRE" node verify --root "$NODE")"
check_eq "images can be built from it" "$("$NACRE" inspect --json "oci:$T/image:shell" | jq -r '.digest')" "$("$NACRE" build --from "docker://$REGISTRY/packages" "$P" --max-layers 0 -o "oci:$T/built:shell" >/dev/null 2>"$T/log" && "$NACRE" inspect --json "oci:$T/built:shell" | jq -r '.digest' || tail -n 3 "$T/log")"
check_fails "a repository with a tag" "without tag" "$NACRE" build --from "docker://$REGISTRY/packages:x" "$P" -o "oci:$T/built:x"
NODE=$T/node-no-packages
check_match "a repository that has none is said, and the registry is asked" "hello" \
    "$(run --source "docker://$REGISTRY/none" "oci:$T/image:shell" sh -c 'echo hello' 2>&1 | tr '\n' ' ')"

# One package in other forms, and packages that lie.
python3 - "$REGISTRY" "$FIXTURES" "$P" <<'PYTHON' >"$T/log" 2>&1 || not_ok "packages by hand" "$(tail -n 5 "$T/log")"
import gzip, hashlib, json, lzma, subprocess, sys, urllib.request
registry, store, path = sys.argv[1:]
tag = path.split("/")[-1][:32]
types = "application/vnd.nix.store.path.v1.nar"
accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
nar = subprocess.run(["nix-store", "--store", store, "--dump", store + path], capture_output=True, check=True).stdout

def get(what, headers={}):
    return urllib.request.urlopen(urllib.request.Request(f"http://{registry}/v2/packages/{what}", headers=headers)).read()

def put(name, what, data, kind):
    urllib.request.urlopen(urllib.request.Request(f"http://{registry}/v2/{name}/{what}", data, {"Content-Type": kind}, method="PUT"))

def blob(name, data):
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    start = urllib.request.urlopen(urllib.request.Request(f"http://{registry}/v2/{name}/blobs/uploads/", b"", method="POST"))
    where = start.headers["Location"]
    where += ("&" if "?" in where else "?") + "digest=" + digest
    urllib.request.urlopen(urllib.request.Request(where if where.startswith("http") else f"http://{registry}{where}", data, {"Content-Type": "application/octet-stream"}, method="PUT"))
    return {"digest": digest, "size": len(data)}

manifest = json.loads(get("manifests/" + tag, accept))
config = json.loads(get("blobs/" + manifest["config"]["digest"]))
layer = manifest["layers"][0], get("blobs/" + manifest["layers"][0]["digest"])

def package(name, content=layer[1], kind=layer[0]["mediaType"], artifact=manifest["artifactType"], **change):
    m = dict(manifest, artifactType=artifact, layers=[{"mediaType": kind, **blob(name, content)}])
    m["config"] = {"mediaType": manifest["config"]["mediaType"], **blob(name, json.dumps({**config, **change}).encode())}
    put(name, "manifests/" + tag, json.dumps(m).encode(), m["mediaType"])

package("form-layer")
package("form-nar", nar, types)
package("form-nar-gzip", gzip.compress(nar), types + "+gzip")
package("form-nar-xz", lzma.compress(nar), types + "+xz")
package("form-nar-zstd", subprocess.run(["zstd", "-c"], input=nar, capture_output=True, check=True).stdout, types + "+zstd")
other = next(r for r in config["references"] if not r.startswith(tag))
package("lie-path", path="/nix/store/" + other)
package("lie-store", storeDir="/gnu/store", path="/gnu" + path[4:])
package("lie-hash", narHash="sha256:" + "0" * 52)
package("lie-size", narSize=config["narSize"] - 1)
package("lie-content", nar.replace(b"regular", b"regulbr", 1), types)
package("lie-cut", nar[:-64], types)
package("lie-more", nar + bytes(8), types)
package("lie-bomb", gzip.compress(nar + bytes(1 << 28)), types + "+gzip")
package("lie-type", nar, "application/x-other")
package("lie-artifact", artifact="application/x-other")
small = json.loads(get("manifests/" + other[:32], accept))["layers"][0]
package("lie-layer", get("blobs/" + small["digest"]))
PYTHON
for form in layer nar nar-gzip nar-xz nar-zstd; do
    check_eq "a package as $form: taken" "1 from caches" "$("$NACRE" --verbose run --root "$T/node-$form" --host-store none --source "docker://$REGISTRY/form-$form" "oci:$T/image:shell" true 2>&1 | grep -o '[0-9]* from caches')"
done
for lie in path store hash size content cut more bomb type artifact layer; do
    check_eq "a package that lies ($lie): its layer is taken from the image" "0 from caches hello" \
        "$("$NACRE" --verbose run --root "$T/node-lie-$lie" --host-store none --source "docker://$REGISTRY/lie-$lie" "oci:$T/image:shell" sh -c 'echo hello' 2>&1 | grep -o '[0-9]* from caches\|^hello' | xargs)"
done

# ---- at the same time ------------------------------------------------------------------------------

NODE=$T/node-twice
pids=()
layers=$("$NACRE" inspect --raw "oci:$T/image:shell" | jq '.layers | length')
for i in 1 2 3; do
    "$NACRE" --verbose run --root "$NODE" --host-store none "oci:$T/image:shell" sh -c 'echo hello' >"$T/twice.$i" 2>&1 &
    pids[i]=$!
done
wait "${pids[@]}"
check_eq "three at once" 3 "$(cat "$T"/twice.? | grep -c '^hello')"
check_eq "fetch each layer once" "$layers" "$(sed -n 's/.*pull: \([0-9]*\) layers fetched.*/\1/p' "$T"/twice.? | awk '{ n += $1 } END { print n }')"

# Images that have their paths in other layers.
"$NACRE" build --from "$FIXTURES" "$P" --max-layers 4 -o "oci:$T/grouped:shell" >/dev/null 2>"$T/build.log" || die "$(cat "$T/build.log")"
NODE=$T/node-shared
before=$(grep -c 'GET /nar/' "$NACRE_LOG")
pids=()
for image in bare grouped image bare grouped image; do
    "$NACRE" run --root "$NODE" --host-store none --source "$NACRE_URL" "oci:$T/$image:shell" sh -c 'echo hello' >"$T/shared.${#pids[@]}" 2>&1 &
    pids+=($!)
done
wait "${pids[@]}"
check_eq "six of two groupings at once" 6 "$(cat "$T"/shared.? | grep -c '^hello')"
check_eq "fetch each path once" "$n" "$(($(grep -c 'GET /nar/' "$NACRE_LOG") - before))"
check_eq "and have all" "$n" "$(count paths)"

# ---- signatures ------------------------------------------------------------------------------------

"$NACRE" key generate test-1 >"$T/key"
K=$("$NACRE" key public <"$T/key")
"$NACRE" key generate other-1 >"$T/other"
O=$("$NACRE" key public <"$T/other")
NODE=$T/node-signed
check_fails "unsigned paths are refused" "not signed by a trusted key" run --require-signatures --trusted-key "$K" "oci:$T/image:shell" true
check_fails "and stay so" "not on this node" run --pull never "oci:$T/image:shell" true
check_fails "a policy without keys" "needs a --trusted-key" run --require-signatures "oci:$T/image:shell" true
check_fails "a key that is none" "wanted NAME:BASE64" run --trusted-key nonsense "oci:$T/image:shell" true
S=$(new_store signed)
nix copy --from "$FIXTURES" --no-check-sigs --to "$S" "$P" 2>"$T/log"
nix store sign --store "$S" --key-file "$T/key" -r "$P" 2>"$T/log" || die "$(cat "$T/log")"
nix copy --from "$S" --no-check-sigs --to "file://$T/cache?compression=none" "$P" 2>"$T/log" || die "$(cat "$T/log")"
check_eq "signatures of a cache count" hello "$(run --require-signatures --trusted-key "$K" --source "file://$T/cache" "oci:$T/image:shell" sh -c 'echo hello' 2>&1)"
check_fails "of the right key alone" "not signed by a trusted key" run --require-signatures --trusted-key "$O" --source "file://$T/cache" "oci:$T/image:shell" true
"$NACRE" build --from "$S" "$P" -o "oci:$T/said:shell" >/dev/null 2>"$T/build.log" || die "$(cat "$T/build.log")"
run "oci:$T/image:shell" true
check_fails "also for what was pulled without" "not signed by a trusted key" run --pull never --require-signatures --trusted-key "$O" "oci:$T/image:shell" true
check_eq "what was found to be signed is remembered" hello "$(run --pull never --require-signatures --trusted-key "$K" "oci:$T/image:shell" sh -c 'echo hello' 2>&1)"
check_fails "for these keys" "not signed by a trusted key" run --pull never --require-signatures --trusted-key "$O" --trusted-key "$O" "oci:$T/image:shell" true
NODE=$T/node-signed-host
check_eq "what the host's own store has counts" hello \
    "$("$NACRE" run --root "$NODE" --host-store "$S" --require-signatures --trusted-key "$O" "oci:$T/image:shell" sh -c 'echo hello' 2>&1)"
check_fails "as long as it is the host's" "not signed by a trusted key" run --pull never --require-signatures --trusted-key "$O" "oci:$T/image:shell" true
NODE=$T/node-said
check_eq "and those that travel with the image" hello "$(run --require-signatures --trusted-key "$K" "oci:$T/said:shell" sh -c 'echo hello' 2>&1)"
check_fails "of the right key alone" "not signed by a trusted key" run --require-signatures --trusted-key "$O" "oci:$T/said:shell" true

# Unsigned paths in layers that are not mounted as store paths: an ordinary layer touches them, or their tar is not canonical.
hello_image "$T/hello"
python3 - "$T" "$P" <<'PYTHON' || die "images by hand"
import copy, hashlib, io, json, shutil, subprocess, sys, tarfile
top, path = sys.argv[1:]
base = f"{top}/image"

def read(digest):
    with open(f"{base}/blobs/sha256/{digest[7:]}", "rb") as file:
        return file.read()

def blob(dir, data):
    digest = hashlib.sha256(data).hexdigest()
    with open(f"{dir}/blobs/sha256/{digest}", "wb") as file:
        file.write(data)
    return {"digest": "sha256:" + digest, "size": len(data)}

index = json.load(open(f"{base}/index.json"))
ref = next(m for m in index["manifests"] if m["annotations"]["org.opencontainers.image.ref.name"] == "shell")
manifest = json.loads(read(ref["digest"]))
config = json.loads(read(manifest["config"]["digest"]))

def put_layer(dir, m, c, at, tar, annotations):
    m["layers"][at:at + 1] = [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "annotations": annotations, **blob(dir, tar)}]
    c["rootfs"]["diff_ids"][at:at + 1] = ["sha256:" + hashlib.sha256(tar).hexdigest()]

def variant(name, change):
    dir = f"{top}/{name}"
    shutil.copytree(base, dir)
    m, c = copy.deepcopy(manifest), copy.deepcopy(config)
    c.pop("history", None)
    change(dir, m, c)
    m["config"].update(blob(dir, json.dumps(c).encode()))
    new = dict(ref, **blob(dir, json.dumps(m).encode()))
    with open(f"{dir}/index.json", "w") as file:
        json.dump({"schemaVersion": 2, "manifests": [new]}, file)

def on_top(*members):
    def change(dir, m, c):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            for name, mode in members:
                info = tarfile.TarInfo(name)
                info.type, info.mode = tarfile.DIRTYPE, mode
                tar.addfile(info)
        put_layer(dir, m, c, len(m["layers"]), out.getvalue(), {})
    return change

def loose(claims):  # more blocks of zeros at the end of each layer of store paths
    def change(dir, m, c):
        for i, layer in enumerate(m["layers"]):
            if any("nacre.path." in key for key in layer.get("annotations", {})):
                tar = subprocess.run(["zstd", "-dc"], input=read(layer["digest"]), capture_output=True, check=True).stdout
                put_layer(dir, m, c, i, tar + bytes(10240), claims(layer["annotations"]))
    return change

variant("touched-path", on_top((path[1:] + "/added", 0o755)))
variant("touched-store", on_top(("nix", 0o755), ("nix/store", 0o775)))
variant("loose", loose(lambda said: said))
variant("loose-malformed", loose(lambda said: {"containerd.io/snapshot/nacre.path.0": "nonsense"}))
variant("loose-silent", loose(lambda said: {}))
PYTHON
strict() {
    run --require-signatures --trusted-key "$K" "$@"
}
for name in touched-path touched-store loose loose-malformed; do
    case $name in
        touched-*) why="not signed by a trusted key" ;;
        *) why="signatures of its store paths cannot be checked" ;;
    esac
    NODE=$T/node-$name
    I=oci:$T/$name:shell
    check_fails "$name: refused" "$why" strict "$I" true
    check_eq "$name: an image like others without the policy" hello "$(run "$I" sh -c 'echo hello' 2>&1)"
    check_fails "$name: what is here is refused as well" "$why" strict --pull never "$I" true
    check_fails "$name: and what is pulled again" "$why" strict --pull newer "$I" true
    check_fails "$name: a bundle as well" "$why" "$NACRE" bundle --root "$NODE" --host-store none --require-signatures --trusted-key "$K" "$I" "$T/bundle-$name"
done
NODE=$T/node-touched-path
check_eq "signed paths that a layer touches" added "$(strict --source "file://$T/cache" "oci:$T/touched-path:shell" sh -c "test -d $P/added && echo added" 2>&1)"
check_eq "are remembered" added "$(strict --pull never "oci:$T/touched-path:shell" sh -c "test -d $P/added && echo added" 2>&1)"
NODE=$T/node-ordinary
check_eq "layers that name no store paths are ordinary ones" hello "$(strict "oci:$T/loose-silent:shell" sh -c 'echo hello' 2>&1)"
check_eq "and so are those of an ordinary image" hello "$(strict "oci:$T/hello:hello" /bin/sh -c 'echo hello' 2>&1)"

# ---- the configuration -----------------------------------------------------------------------------

cat >"$T/node.yaml" <<YAML
root: $T/node-configured
host-store: none
sources: [ "file://$T/cache" ]
trusted-keys: [ "$K" ]
require-signatures: true
view: bind
jobs: 2
YAML
check_match "a configuration" "view: bind.*configured" \
    "$("$NACRE" --verbose run --config "$T/node.yaml" "oci:$T/bare:shell" sh -c 'echo configured' 2>&1 | tr '\n' ' ')"
check_eq "its root" "$n" "$(find "$T/node-configured/paths" -mindepth 1 -maxdepth 1 | wc -l)"
check_match "the command line goes before it" "view: erofs" \
    "$("$NACRE" --verbose run --config "$T/node.yaml" --view auto "oci:$T/bare:shell" true 2>&1)"
check_fails "its keys count" "not signed" "$NACRE" run --config "$T/node.yaml" --trusted-key "$O" "oci:$T/bare:shell" true
check_match "for nacre node as well" "oci:$T/bare:shell" "$("$NACRE" node ls --config "$T/node.yaml")"
bad_config() {
    printf '%s\n' "$2" >"$T/bad.yaml"
    check_fails "a configuration with $1" "bad.yaml:1.*$3" "$NACRE" run --config "$T/bad.yaml" "oci:$T/bare:shell" true
}
bad_config "a key that is none" "rooot: /x" "rooot"
bad_config "a relative root" "root: x" "not absolute"
bad_config "a view that is none" "view: fuse" "view"
bad_config "a key that is malformed" "trusted-keys: [ x ]" "no public key"
bad_config "no job" "jobs: 0" "jobs"
bad_config "signatures without keys" "require-signatures: true" "needs trusted-keys"
check_fails "a configuration that is not there" "No such file" "$NACRE" run --config "$T/no.yaml" "oci:$T/bare:shell" true
