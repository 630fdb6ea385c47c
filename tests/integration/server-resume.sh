#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Transfers that break off in the middle, by the programs that people use: each goes on where it was, or begins anew, and
# ends with what was pushed. (skopeo goes on since 1.11: clients-trixie.sh.)
. "$(dirname "$0")/lib.sh"
needs nix skopeo curl python3

start_nacre "$T/data"
# A line that breaks after so many bytes; sets PROXY.
start_proxy() {
    local port
    port=$(free_port)
    : >"$T/requests"
    start_server "proxy-$1" python3 "$SRC/tests/integration/lib/cutting_proxy.py" "$port" "${NACRE_ADDR##*:}" "$1" "$T/requests"
    PROXY=127.0.0.1:$port
    wait_http "http://$PROXY/v2/"
}
# Answers of which a second part was asked for.
resumed() {
    awk -v what="$1" 'index($1, what) && $2 > 0' "$T/requests" | wc -l
}

root=$(fixture shell) || die "no fixture"
check "a closure" nix copy --store "$FIXTURES" --to "$NACRE_URL?compression=zstd" "$root"
start_proxy 200000
store=$(new_store back)
check "nix downloads over a bad line" nix copy --from "http://$PROXY" --to "$store" "$root"
check "what arrived is right" nix_store_verify "$store"
check "it went on in the middle" test "$(resumed /nar/)" -gt 0

head -c 3000000 /dev/urandom >"$T/large"
tar -C "$T" -cf "$T/large.tar" large
python3 - "$T" <<'PYTHON'
import hashlib, json, os, sys
blobs = os.path.join(sys.argv[1], "image/blobs/sha256")
os.makedirs(blobs)
def put(data, media_type):
    name = hashlib.sha256(data).hexdigest()
    with open(os.path.join(blobs, name), "wb") as f:
        f.write(data)
    return {"mediaType": media_type, "digest": "sha256:" + name, "size": len(data)}
with open(os.path.join(sys.argv[1], "large.tar"), "rb") as f:
    layer = put(f.read(), "application/vnd.oci.image.layer.v1.tar")
config = put(json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}}).encode(),
             "application/vnd.oci.image.config.v1+json")
manifest = put(json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config,
                           "layers": [layer]}).encode(), "application/vnd.oci.image.manifest.v1+json")
manifest["annotations"] = {"org.opencontainers.image.ref.name": "large"}
top = os.path.join(sys.argv[1], "image")
with open(os.path.join(top, "index.json"), "w") as f:
    json.dump({"schemaVersion": 2, "manifests": [manifest]}, f)
with open(os.path.join(top, "oci-layout"), "w") as f:
    json.dump({"imageLayoutVersion": "1.0.0"}, f)
PYTHON
check "a large image" skopeo_copy "oci:$T/image:large" "docker://$NACRE_ADDR/large:1"
start_proxy 200000
check "nacre copies over a bad line" "$NACRE" copy --insecure "docker://$PROXY/large:1" "oci:$T/ours:large"
check "what arrived is right" sh -c 'cd "$1" && for f in *; do echo "$f  $f"; done | sha256sum --check --quiet' sh "$T/ours/blobs/sha256"
check "it went on in the middle" test "$(resumed /blobs/)" -gt 0
if [ "$(id -u)" = 0 ] && command -v containerd >/dev/null; then
    start_containerd
    start_proxy 200000
    check "containerd pulls over a bad line" ctr_pull "$PROXY/large:1"
fi

# Uploads: the session says where it stands, and the client goes on there.
python3 - "$NACRE_URL" "$T/large.tar" >"$T/upload" <<'PYTHON'
import hashlib, http.client, sys, urllib.parse
address = urllib.parse.urlsplit(sys.argv[1]).netloc
with open(sys.argv[2], "rb") as f:
    data = f.read()
def request(method, target, body=None, headers={}):
    connection = http.client.HTTPConnection(address)
    connection.request(method, target, body, headers)
    response = connection.getresponse()
    response.read()
    return response
location = request("POST", "/v2/up/blobs/uploads/").headers["Location"]
connection = http.client.HTTPConnection(address)
connection.putrequest("PATCH", location)
connection.putheader("Content-Length", str(len(data)))
connection.endheaders()
connection.send(data[:1000000])
connection.close()
for attempt in range(100):
    status = request("GET", location)
    at = int(status.headers["Range"].split("-")[1]) + 1
    r = request("PATCH", location, data[at:], {"Content-Range": "%d-%d" % (at, len(data) - 1)})
    if r.status == 202:
        break
r = request("PUT", "%s?digest=sha256:%s" % (location, hashlib.sha256(data).hexdigest()))
print(r.status, "resumed" if 0 < at < len(data) else at)
PYTHON
check_eq "an upload that broke off goes on" "201 resumed" "$(cat "$T/upload")"
check_eq "no error in the log" "" "$(grep -E '^(error|.*Sanitizer|.*runtime error)' "$NACRE_LOG" | grep -v 'broke off')"
