#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nacre snapshotter under containerd: ordinary images, store layers, lies, crashes.
. "$(dirname "$0")/lib.sh"

needs containerd ctr nix skopeo docker-registry jq curl runc
needs_root
. "$SRC/tests/integration/lib/snapshotter.sh"

# The CRI is on: in containerd 1.6 it is what asks for remote snapshots, ctr does not.
start_containerd_with_snapshotter() {
    local dir=$T/containerd
    CONTAINERD=$dir/containerd.sock
    mkdir -p "$dir"
    {
        echo "root = \"$dir/root\""
        echo "state = \"$dir/state\""
        "$NACRE" snapshotter --print-config --address "$SOCKET" --root "$NODE"
        cat <<TOML
[grpc]
  address = "$CONTAINERD"
[ttrpc]
  address = "$CONTAINERD.ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$REGISTRY/pause:1"
  restrict_oom_score_adj = true
  disable_apparmor = true
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "nacre"
  disable_snapshot_annotations = false
TOML
    } >"$dir/config.toml"
    start_server containerd containerd -c "$dir/config.toml"
    CONTAINERD_PID=$SERVER_PID
    wait_for 20 ctr_ version || die "containerd does not start: $(tail -n 5 "$T/containerd.log")"
}

# ---- the calls themselves -----------------------------------------------------------------------------

mkdir -p "$SNAPSHOTS/s" && chmod 0711 "$SNAPSHOTS" "$SNAPSHOTS/s" # as earlier versions made them
start_snapshotter
check_fails "a second one on the same root" "another nacre snapshotter" "$NACRE" snapshotter --address "$T/other.sock" --root "$NODE" --host-store none
check_eq "the drop-in that is shipped is what it prints" "$("$NACRE" snapshotter --print-config)" "$(tail -n +3 "$SRC/packaging/containerd/nacre.toml")"
check_fails "a containerd that there is not" "wanted 1.6, 1.7 or 2" "$NACRE" snapshotter --print-config=3
check_eq "the socket is its owner's alone" 600 "$(stat -c %a "$SOCKET")"
suite suite
check_eq "nothing is left mounted" "" "$(mounts_below "$T")"
stop_server "$SNAPSHOTTER"

PORT=$(free_port)
NODE=$T/node-slow start_snapshotter --source "http://127.0.0.1:$PORT"
suite slow "$PORT"
note "the snapshotter's memory: $(peak_rss_kib "$SNAPSHOTTER") KiB at most"
grep -q __asan_init "$NACRE" || check "slow: with all its threads it takes 32 MiB at most" [ "$(peak_rss_kib "$SNAPSHOTTER")" -le 32768 ]
stop_server "$SNAPSHOTTER" KILL # it waits for the source

# ---- what containerd fetches ----------------------------------------------------------------------------

# Notes the digests of a manifest's store layers: no pull here needs them.
expect_unfetched() {
    jq -r '.layers[]? | select(.annotations["containerd.io/snapshot/nacre.path.0"]).digest' "$@" >>"$T/store-layers"
}
expect_layouts_unfetched() {
    local blob
    for blob in "$T"/*/blobs/sha256/*; do
        [ "$(head -c 1 "$blob" | tr -d '\0')" != '{' ] || expect_unfetched "$blob"
    done
}
# Those that containerd has fetched all the same: docker-registry's log tells who asked; of nacre serve nobody else asks for
# blobs here.
fetched_store_layers() {
    expect_layouts_unfetched
    {
        grep -h '"containerd/' "$T/registry.log"
        cat "$T"/nacre-*.log
    } | grep -a -o 'GET /v2/[^ ]*/blobs/sha256:[0-9a-f]*' | grep -F -f <(sort -u "$T/store-layers") | sort -u
}
check_unfetched() {
    local found
    found=$(fetched_store_layers)
    check_eq "containerd has fetched none of $(sort -u "$T/store-layers" | wc -l) store layers $1" "" "$found" ||
        note "$(cat "$T/snapshotters.log" "$T/snapshotter.log" | grep 'left to containerd' | sort | uniq -c | tail -n 20)"
}

# ---- an ordinary image, with ctr ------------------------------------------------------------------------

start_snapshotter
REGISTRY_QUIET=false start_registry
start_containerd_with_snapshotter
hello_image "$T/hello"
skopeo_copy "oci:$T/hello:hello" "docker://$REGISTRY/hello:1"
check "ctr pull of an ordinary image" ctr_ images pull --plain-http --snapshotter nacre "$REGISTRY/hello:1"
check_eq "ctr run of an ordinary image" works "$(ctr_ run --rm --snapshotter nacre "$REGISTRY/hello:1" t1 /bin/sh -c 'echo works >/tmp/x && cat /tmp/x' 2>&1)"
ctr_ images rm --sync "$REGISTRY/hello:1" >/dev/null

# ---- store layers, as a kubelet pulls ---------------------------------------------------------------------

start_nacre
P=$(fixture python3) || die "no fixture python3"
H=$(basename "$P")
H=${H%%-*}
nix copy --from "$FIXTURES" --no-check-sigs --to "$NACRE_URL?compression=none" "$P" 2>"$T/copy.log" || die "$(tail -n 3 "$T/copy.log")"
"$NACRE" build --from "$FIXTURES" "$P" -o "oci:$T/layout:py" >/dev/null 2>&1 || die "nacre build fails"
stop_server "$SNAPSHOTTER"
check_fails "an address for metrics that is none" "HOST:PORT" "$NACRE" snapshotter --address "$SOCKET" --root "$NODE" --metrics nonsense
if command -v strace >/dev/null; then
    NODE=$T/node-traced start_snapshotter --source "$NACRE_URL"
    strace -f -e trace=syncfs,fsync,fdatasync,renameat2,symlinkat -o "$T/trace" -p "$SNAPSHOTTER" 2>"$T/strace.log" &
    STRACE=$!
    wait_for 20 grep -q attached "$T/strace.log"
    suite layers "$T/layout"
    kill "$STRACE" && wait "$STRACE"
    stop_server "$SNAPSHOTTER"
    layers=$(grep -c 'symlinkat("sha256:' "$T/trace")
    check "each of the $layers layers has a hold" [ "$layers" -gt 20 ]
    syncs=$(grep -c 'sync(\|syncfs(' "$T/trace")
    check "a store layer costs two syncs: $syncs for $layers" [ "$syncs" -le $((2 * layers + 4)) ]
    # What has 52 characters is a path; it is written, synced, named, and its name synced before anything is answered.
    check_eq "one before a path gets its name, one behind its hold" "good" "$(awk '
        /syncfs.* = 0/ { synced++ }
        /renameat2\(/ && match($0, /"[0-9a-z]+", RENAME_NOREPLACE/) && RLENGTH == 72 { if (synced < 1) bad = 1 }
        /symlinkat\("sha256:/ { if (held && synced < 2) bad = 1; held = 1; synced = 0 }
        END { print bad || !held || synced < 1 ? "bad" : "good" }' "$T/trace")"
else
    skip "syncs of a store layer" "needs strace"
fi
METRICS=127.0.0.1:$(free_port)
start_snapshotter --source "$NACRE_URL" --metrics "$METRICS"
suite hostile "$T/layout"
redialled

REF=$NACRE_ADDR/nix:$H
WANT=$(closure "$P" | sed 's|.*/||' | sort | tr '\n' ' ')
PROGRAM='import os; print(*sorted(os.listdir("/nix/store")), "")'
check "pull through the CRI" cri_pull "$REF"
fetched=$(grep -c 'GET /v2/nix/blobs/' "$NACRE_LOG")
check_eq "containerd fetched the config and the root layer, no store layer" 2 "$fetched"
check_eq "the container has its closure and nothing else" "$WANT" "$(run "$REF" /bin/python3 -c "$PROGRAM" 2>&1)"
check_eq "it is healthy" ok "$(curl -s "http://$METRICS/healthz")"
check_eq "metrics: calls, layers, paths, bytes, time" "answered cache call_seconds declined fetch_seconds_total fetched_bytes_total" "$(curl -s "http://$METRICS/metrics" |
    sed -nE 's/^nacre_snapshotter_(layers_total\{outcome=|paths_total\{from=)"([a-z]*)"\} [1-9].*/\2/p; s/^nacre_snapshotter_(fetched_bytes_total|fetch_seconds_total) ([1-9]|0\.0*[1-9]).*/\1/p; s/^nacre_snapshotter_(call_seconds)_count\{method="Prepare"\} [1-9].*/\1/p' | sort | tr '\n' ' ' | sed 's/ $//')"
check_eq "nothing else is there" 404 "$(curl -s -o /dev/null -w '%{http_code}' "http://$METRICS/")"
check_eq "and nothing can be sent" 405 "$(curl -s -o /dev/null -w '%{http_code}' -d x "http://$METRICS/metrics")"
check_eq "its root is one overlay" 1 "$(run "$REF" /bin/python3 -c 'print(sum(l.split()[1] == "/" or "/nix" in l.split()[1] for l in open("/proc/mounts")))' 2>&1)"
lasting() {
    ctr_ -n k8s.io run -d --snapshotter nacre "$1" "$2" /bin/python3 -c 'import time; time.sleep(600)' >/dev/null 2>&1
}
ended() {
    ctr_ -n k8s.io tasks kill -s KILL "$1" >/dev/null 2>&1
    wait_for 10 ctr_ -n k8s.io tasks rm -f "$1"
    ctr_ -n k8s.io containers rm "$1" >/dev/null 2>&1
}
lasting "$REF" counted
check_eq "and one metadata image, as long as it runs" 1 "$(mounts_below "$SNAPSHOTS" | wc -l)"
ended counted
check_eq "what it writes is its own" "1" "$(run "$REF" /bin/python3 -c 'import os; p = "/nix/store/" + os.listdir("/nix/store")[0]; open("/tmp/x", "w").write("1"); print(open("/tmp/x").read())' 2>&1)"
check "nacre node gc while it is pulled" "$NACRE" node gc --root "$NODE"
check_eq "it still runs" "$WANT" "$(run "$REF" /bin/python3 -c "$PROGRAM" 2>&1)"

# ---- images of nix-snapshotter's -----------------------------------------------------------------------------

mapfile -t PATHS < <(closure "$P")
mapfile -t FOLDERS < <(for path in "${PATHS[@]}"; do [ -d "$FIXTURES$path" ] && [ -n "$(ls "$FIXTURES$path")" ] && echo "$path"; done)
suite places "${FOLDERS[@]}"
for form in paths closure; do
    python3 "$SRC/tests/integration/lib/nix_snapshotter_image.py" "$T/nix-$form" "$form" "$form" "$FIXTURES" "usr/python=$P/bin/python3" "${PATHS[@]}" 2>"$T/image.log" ||
        not_ok "an image with $form" "$(tail -n 3 "$T/image.log")"
    skopeo_copy "oci:$T/nix-$form:$form" "docker://$REGISTRY/nix-$form:1"
    check "nix-snapshotter's image with $form: pull" cri_pull "$REGISTRY/nix-$form:1"
    check_eq "nix-snapshotter's image with $form: its paths and nothing else" "$WANT" "$(run "$REGISTRY/nix-$form:1" /usr/python -c "$PROGRAM" 2>&1)"
    check_eq "nix-snapshotter's image with $form: one mount" 1 "$(run "$REGISTRY/nix-$form:1" /usr/python -c 'print(sum(l.split()[1] == "/" or "/nix" in l.split()[1] for l in open("/proc/mounts")))' 2>&1)"
    ctr_ -n k8s.io images rm --sync "$REGISTRY/nix-$form:1" >/dev/null
done

# ---- a pod, as a kubelet starts it; VOLUME is why one mount matters there --------------------------------------

python3 "$SRC/tests/integration/lib/hello_image.py" --layout "$T/pause" --tag pause -- /bin/sleep 600
skopeo_copy "oci:$T/pause:pause" "docker://$REGISTRY/pause:1"
"$NACRE" build --from "$FIXTURES" "$P" --volume /data --volume /etc -o "oci:$T/volumes:v" >/dev/null 2>&1 || die "nacre build fails"
skopeo_copy "oci:$T/volumes:v" "docker://$REGISTRY/volumes:1"
check "pull an image with volumes" cri_pull "$REGISTRY/volumes:1"
check_eq "a pod of an image with volumes has its closure and nothing else" "$WANT" "$(cri_run "$REGISTRY/volumes:1" /bin/python3 -c "$PROGRAM")"
check_eq "its volumes are mounted, its root is one overlay" "/ /data /etc" "$(cri_run "$REGISTRY/volumes:1" /bin/python3 -c \
    'print(*sorted(l.split()[1] for l in open("/proc/mounts") if l.split()[1] in ("/", "/data", "/etc") or "/nix" in l.split()[1]))')"
check_eq "what the image has in a volume is there" True "$(cri_run "$REGISTRY/volumes:1" /bin/python3 -c 'import os; print(os.path.exists("/etc/passwd"))')"
check_eq "a volume can be written" 1 "$(cri_run "$REGISTRY/volumes:1" /bin/python3 -c 'open("/data/x", "w").write("1"); print(open("/data/x").read())')"
ctr_ -n k8s.io images rm --sync "$REGISTRY/volumes:1" >/dev/null

# ---- two images that share paths: once on disk, once in the page cache -------------------------------------------

SHELL_PATH=$(fixture shell) || die "no fixture shell"
nix copy --from "$FIXTURES" --no-check-sigs --to "$NACRE_URL?compression=none" "$SHELL_PATH" 2>"$T/copy.log" || die "$(tail -n 3 "$T/copy.log")"
"$NACRE" build --from "$FIXTURES" "$SHELL_PATH" "$P" -o "oci:$T/both:b" >/dev/null 2>&1 || die "nacre build fails"
skopeo_copy "oci:$T/both:b" "docker://$REGISTRY/both:1"
check "pull another image with the same paths" cri_pull "$REGISTRY/both:1"
root_of() {
    echo "/proc/$(ctr_ -n k8s.io tasks ls | awk -v id="$1" '$1 == id { print $2 }')/root"
}
lasting "$REF" one && lasting "$REGISTRY/both:1" other
# Nobody has it open or mapped: its pages can be dropped.
big=$(cd "$FIXTURES" && closure "$P" | sed 's|^/||' | xargs -I{} find {} -name '*.py' -size +100k | sort | head -n 1)
check_eq "what one container reads is in memory for the other" shared \
    "$(python3 "$SRC/tests/integration/lib/page_cache.py" "$(root_of one)/$big" "$(root_of other)/$big" 2>&1)"
check_eq "each path is on the disk once" "$(closure "$P" "$SHELL_PATH" | wc -l)" "$(find "$NODE/paths" -mindepth 1 -maxdepth 1 | wc -l)"
ended one
ended other
forget_image "$REGISTRY/both:1"

# ---- a layer whose files ask for the content of other images' paths ---------------------------------------------

# Below all layers lies what the whole node has. It is containerd that leaves "trusted." attributes out when it unpacks;
# this is to notice should it stop to.
"$NACRE" build --from "$FIXTURES" "$SHELL_PATH" -o "oci:$T/steered:s" >/dev/null 2>&1 || die "nacre build fails"
victim=$(cd "$NODE/paths" && find . -mindepth 2 -name '*.py' -type f -size +100k | sort | head -n 1)
size=$(stat -c %s "$NODE/paths/$victim")
python3 "$SRC/tests/integration/lib/steering_layer.py" "$T/steered" "/${victim#./}" "$size"
# Not skopeo: it compresses the layer that is not, writes the manifest anew, and loses all annotations.
"$NACRE" copy "oci:$T/steered:s" "docker://$REGISTRY/steered:1" >"$T/log" 2>&1 || die "$(tail -n 3 "$T/log")"
check "pull an image with attributes that steer overlayfs" cri_pull "$REGISTRY/steered:1"
check_eq "they show nothing of another image's paths" "$(head -c "$size" /dev/zero | sha256sum)" \
    "$(run "$REGISTRY/steered:1" /bin/sha256sum /stolen 2>&1 | sed 's/ .*/  -/')"
forget_image "$REGISTRY/steered:1"

# ---- what others do with a container's snapshot: another owner, its changes as a layer ---------------------------

check_eq "in a user name space: owners are mapped, files of the store can be read" "0 0 100000" "$(ctr_ -n k8s.io run --rm --snapshotter nacre \
    --uidmap 0:100000:65536 --gidmap 0:100000:65536 "$REF" userns /bin/python3 -c \
    'import os; print(os.stat("/nix/store").st_uid, os.stat(os.path.realpath("/bin/python3")).st_uid, open("/proc/self/uid_map").read().split()[1])' 2>&1)"
ctr_ -n k8s.io run -d --env PYTHONDONTWRITEBYTECODE=1 --snapshotter nacre "$REF" changed /bin/python3 -c \
    'import os, time; open("/etc/new", "w").write("1"); os.remove("/etc/passwd"); os.chmod(os.path.realpath("/bin/python3"), 0o700); open("/done", "w"); time.sleep(600)' >"$T/changed.log" 2>&1
has_changed() {
    [ -e "$(root_of changed)/done" ]
}
wait_for 30 has_changed || not_ok "the container changes something" "$(cat "$T/changed.log")"
below=$(ctr_ -n k8s.io snapshots --snapshotter nacre ls | awk '$1 == "changed" { print $2 }')
ctr_ -n k8s.io snapshots --snapshotter nacre diff "$below" changed >"$T/diff.tar" 2>"$T/log" || not_ok "its changes" "$(cat "$T/log")"
check_eq "its changes are a layer: the file that was chmodded with its content, a whiteout, a new file" \
    ".wh.passwd new python3.11" "$(tar -tf "$T/diff.tar" | grep -v '/$' | sed 's|.*/||' | grep -v '^done$' | sort | xargs)"
check_eq "with its content" "$(sha256sum <"$(root_of changed)/$(tar -tf "$T/diff.tar" | grep 'bin/python3.11$')")" "$(tar -xOf "$T/diff.tar" --wildcards '*/bin/python3.11' | sha256sum)"
ended changed

# ---- 1500 paths in a grouped image --------------------------------------------------------------------------------

milliseconds() {
    echo $(($(date +%s%N) / 1000000 - $1))
}

many_paths() {
    local n=$1 ref=$NACRE_ADDR/many/paths$1:1 store shell want start before wanted
    shell=$(fixture shell) && store=$(fixture "synthetic-$n") || die "no fixture synthetic-$n"
    nix copy --from "$FIXTURES" --no-check-sigs --to "$NACRE_URL?compression=none" "$shell" "$store" 2>"$T/copy.log" || die "$(tail -n 3 "$T/copy.log")"
    "$NACRE" build --from "$FIXTURES" "$shell" "$store" -o "docker://$ref" >"$T/build.log" 2>&1 || die "$(tail -n 3 "$T/build.log")"
    want=$(closure "$shell" "$store" | wc -l)
    curl -s -H 'Accept: */*' "$NACRE_URL/v2/many/paths$n/manifests/1" >"$T/manifest"
    jq -r '.layers[] | select(.annotations["containerd.io/snapshot/nacre.path.0"]).digest' "$T/manifest" >"$T/these-layers"
    cat "$T/these-layers" >>"$T/store-layers"
    # The root layer may be there from the image before.
    wanted=$((2 + $(jq -r '.layers[] | select(.annotations["containerd.io/snapshot/nacre.path.0"] | not).digest' "$T/manifest" |
        grep -cvxFf <(ctr_ -n k8s.io content ls -q))))
    before=$(grep -c "GET /v2/many/paths$n/" "$NACRE_LOG")
    start=$(milliseconds 0)
    check "$n paths: pull through the CRI" cri_pull "$ref"
    note "$n paths: pulled in $(milliseconds "$start") ms"
    check_eq "$n paths: containerd fetched the manifest, the config and the root layer" "$wanted" "$(($(grep -c "GET /v2/many/paths$n/" "$NACRE_LOG") - before))"
    check_eq "$n paths: and no blob of its $(wc -l <"$T/these-layers") store layers" 0 "$(grep "GET /v2/many/paths$n/blobs/" "$NACRE_LOG" | grep -cFf "$T/these-layers")"
    start=$(milliseconds 0)
    check_eq "$n paths: all of them and nothing else, with ctr" "$want" "$(run "$ref" /bin/sh -c 'ls /nix/store | wc -l' 2>&1)"
    note "$n paths: run with ctr in $(milliseconds "$start") ms"
    start=$(milliseconds 0)
    check_eq "$n paths: all of them and nothing else, in a pod" "$want" "$(cri_run "$ref" /bin/sh -c 'ls /nix/store | wc -l')"
    note "$n paths: run in a pod in $(milliseconds "$start") ms"
    check_eq "$n paths: one mount" 1 "$(run "$ref" /bin/sh -c 'n=0; while read -r _ d _; do case $d in / | /nix*) n=$((n + 1)) ;; esac; done </proc/mounts; echo $n' 2>&1)"
    note "the snapshotter's memory: $(peak_rss_kib "$SNAPSHOTTER") KiB at most"
    grep -q __asan_init "$NACRE" || check "$n paths: the snapshotter's memory is 32 MiB at most" [ "$(peak_rss_kib "$SNAPSHOTTER")" -le 32768 ]
    ctr_ -n k8s.io images rm --sync "$ref" >/dev/null
}

if [ "$LONG" = 1 ]; then
    many_paths 1500
    many_paths 5000
else
    many_paths 100
fi

# ---- the registry that an image is from, with containerd's hosts.toml ----------------------------------------

metric() {
    curl -s "http://$METRICS/metrics" | sed -n "s/^nacre_snapshotter_$1 //p"
}

GIT=$(fixture git) || die "no fixture git"
"$NACRE" build --from "$FIXTURES" "$GIT" -o "oci:$T/git:git" >/dev/null 2>&1 || die "nacre build fails"
skopeo_copy "oci:$T/git:git" "docker://$REGISTRY/git:1"
mkdir -p "$T/certs/${REGISTRY/:/_}_"
stop_server "$SNAPSHOTTER"
start_snapshotter --image-ref --certs-dir "$T/certs" --metrics "$METRICS"
suite image-ref "$T/git" "$REGISTRY" no
check_eq "nothing came from a registry" 0 "$(metric 'paths_total{from="registry"}')"
printf '[host."http://%s"]\n  capabilities = ["pull", "resolve"]\n' "$REGISTRY" >"$T/certs/${REGISTRY/:/_}_/hosts.toml"
suite image-ref "$T/git" "$REGISTRY" yes
redialled
bytes=$(metric fetched_bytes_total)
ahead=$(metric layers_ahead_total)
check "pull from a registry that hosts.toml names" cri_pull "$REGISTRY/git:1"
check_unfetched "so far"
check "its paths came from the registry" [ "$(metric 'paths_total{from="registry"}')" -gt 0 ]
size=$(curl -s -H 'Accept: application/vnd.oci.image.manifest.v1+json' "http://$REGISTRY/v2/git/manifests/1" | python3 -c '
import json, sys
print(sum(l["size"] for l in json.load(sys.stdin)["layers"]))')
check "those behind the first one before containerd asked" [ "$(metric layers_ahead_total)" -gt "$ahead" ]
check "each of them once" [ $(($(metric fetched_bytes_total) - bytes)) -le "$size" ]
check_match "git runs" "git version" "$(run "$REGISTRY/git:1" /bin/git --version 2>&1)"
forget_image "$REGISTRY/git:1"

# ---- and its credentials -------------------------------------------------------------------------------------

SECRET=127.0.0.1:$(free_port)
mkdir -p "$T/certs/${SECRET/:/_}_"
printf '[host."http://%s"]\n  capabilities = ["pull"]\n' "$SECRET" >"$T/certs/${SECRET/:/_}_/hosts.toml"
printf 'user:%s\n' "$(/usr/bin/python3 -W ignore -c 'import crypt; print(crypt.crypt("password", crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16)))')" >"$T/htpasswd"
cat >"$T/secret.yml" <<YAML
version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $T/secret}}
http: {addr: $SECRET}
auth: {htpasswd: {realm: here, path: $T/htpasswd}}
YAML
start_server secret docker-registry serve "$T/secret.yml"
wait_http "http://$SECRET/v2/" || die "docker-registry does not start: $(tail -n 5 "$T/secret.log")"
skopeo_copy "oci:$T/git:git" "docker://$SECRET/git:1" --dest-creds user:password || not_ok "push with a password"
auth_file() {
    printf '{"auths": {"%s": {"auth": "%s"}}}' "$SECRET" "$(printf '%s' "$1" | base64)" >"$T/auth.json"
}
# On a node of its own, which has none of the paths.
ask_secret() {
    local node=$NODE socket=$SOCKET own=$SNAPSHOTTER
    note "asked with $1"
    auth_file "$1"
    NODE=$T/node-secret SOCKET=$T/secret.sock
    start_snapshotter --image-ref --certs-dir "$T/certs" --authfile "$T/auth.json"
    suite image-ref "$T/git" "$SECRET" "$2"
    stop_server "$SNAPSHOTTER"
    NODE=$node SOCKET=$socket SNAPSHOTTER=$own
}
ask_secret user:wrong no
ask_secret user:password yes

# ---- signatures that travel with the image, in its registry ----------------------------------------------------

"$NACRE" key generate test-1 >"$T/key"
"$NACRE" key generate other-1 >"$T/other"
K=$("$NACRE" key public <"$T/key")
O=$("$NACRE" key public <"$T/other")
S=$(new_store signed)
nix copy --from "$FIXTURES" --no-check-sigs --to "$S" "$GIT" 2>"$T/log" || die "$(tail -n 3 "$T/log")"
nix store sign --store "$S" --key-file "$T/key" -r "$GIT" 2>"$T/log" || die "$(tail -n 3 "$T/log")"
"$NACRE" build --from "$S" "$GIT" --env SIGNED=1 -o "oci:$T/signed:git" >/dev/null 2>"$T/log" || die "$(tail -n 3 "$T/log")"
"$NACRE" copy "oci:$T/signed:git" "docker://$REGISTRY/signed:1" >"$T/log" 2>&1 || die "$(tail -n 3 "$T/log")"
restart_strict() {
    stop_server "$SNAPSHOTTER"
    start_snapshotter --require-signatures --metrics "$METRICS" --certs-dir "$T/certs" "$@"
    redialled
}
git_version() {
    run "$REGISTRY/$1" /bin/git --version 2>&1
}
# A mirror comes first, which has the image, and not what refers to it.
own=$REGISTRY
REGISTRY_QUIET=false start_registry mirror
MIRROR=$REGISTRY REGISTRY=$own
skopeo_copy "oci:$T/signed:git" "docker://$MIRROR/signed:1"
printf '[host."http://%s"]\n  capabilities = ["pull", "resolve"]\n' "$MIRROR" "$REGISTRY" >"$T/certs/${REGISTRY/:/_}_/hosts.toml"
restart_strict --trusted-key "$K"
check_fails "what cannot be checked is refused" "not signed by a trusted key|cannot be checked" cri_pull "$REGISTRY/signed:1"
restart_strict --image-ref --trusted-key "$O"
check_fails "signed by another key: refused" "not signed by a trusted key" cri_pull "$REGISTRY/signed:1"
restart_strict --image-ref --trusted-key "$K" --trusted-key "$O"
check_fails "an image that nothing signed refers to: refused" "not signed by a trusted key" cri_pull "$REGISTRY/git:1"
check "signatures that refer to the image count" cri_pull "$REGISTRY/signed:1"
check_match "it runs" "git version" "$(git_version signed:1)"
check "a mirror is told which registry is meant" grep -q "ns=127.0.0.1%3A${REGISTRY#*:} .*nacre" "$T/mirror.log"
check "the same layers of another image are signed too" cri_pull "$REGISTRY/git:1"
forget_image "$REGISTRY/git:1"
restart_strict --trusted-key "$O" --trusted-key "$K"
check_match "found once, it needs no registry" "git version" "$(git_version signed:1)"
check "also to pull" cri_pull "$REGISTRY/git:1"
forget_image "$REGISTRY/git:1"
forget_image "$REGISTRY/signed:1"
restart_strict --trusted-key "$O"
check_fails "under another policy it is looked at again" "not signed by a trusted key" cri_pull "$REGISTRY/git:1"

# ---- the registry gone, the snapshotter killed, a container that runs ---------------------------------------

check_unfetched "before the registry goes"
stop_nacre
lasting "$REF" lasting
stop_server "$SNAPSHOTTER" KILL
start_snapshotter
redialled
check_eq "a container that ran goes on" 2 "$(ctr_ -n k8s.io tasks exec --exec-id e1 lasting /bin/python3 -c 'print(1 + 1)' 2>&1)"
check_eq "another starts without the registry" 42 "$(run "$REF" /bin/python3 -c 'print(42)' 2>&1)"
umount "$(mounts_below "$SNAPSHOTS" | head -n 1)" 2>/dev/null
check_eq "and as after a reboot, with nothing mounted" 42 "$(run "$REF" /bin/python3 -c 'print(42)' 2>&1)"
ended lasting

# ---- the machine restarts: containers and mounts are gone, what was on the disk is there ------------------------

ctr_ -n k8s.io run -d --snapshotter nacre "$REF" restarted /bin/python3 -c \
    'import os, time; n = len(os.listdir("/kept")) if os.path.isdir("/kept") else 0; os.makedirs("/kept", exist_ok=True); open(f"/kept/{n}", "w"); time.sleep(600)' >"$T/restarted.log" 2>&1
has_kept() {
    [ -e "$(root_of restarted)/kept/$1" ]
}
wait_for 30 has_kept 0 || not_ok "a container writes something" "$(cat "$T/restarted.log")"
init=$(ctr_ -n k8s.io tasks ls | awk '$1 == "restarted" { print $2 }')
shim=$(awk '/^PPid:/ { print $2 }' "/proc/$init/status")
sync -f "$T"
stop_server "$CONTAINERD_PID" KILL
stop_server "$SNAPSHOTTER" KILL
kill -KILL "$shim" "$init"
wait_for 10 process_gone "$init"
runc --root /run/containerd/runc/k8s.io delete --force restarted # /run is empty then
unmount_below "$T"
rm -rf "$T/containerd/state" "$SOCKET" "$CONTAINERD"*
check_eq "nothing is mounted any more" "" "$(mounts_below "$T")"
start_snapshotter
start_containerd_with_snapshotter
redialled
check "a container from before starts again" ctr_ -n k8s.io tasks start -d restarted
check "with what it had written" wait_for 30 has_kept 1
check_eq "and its closure" "$WANT" "$(ls "$(root_of restarted)/nix/store" | sort | tr '\n' ' ')"
check_eq "so does another one of its image" "$WANT" "$(run "$REF" /bin/python3 -c "$PROGRAM" 2>&1)"
ended restarted

# ---- images that are forgotten while the snapshotter is away ------------------------------------------------------

no_snapshots() {
    probe && [ -z "$(client "$SOCKET" list)" ] && [ -z "$(mounts_below "$SNAPSHOTS")" ]
}
stop_server "$SNAPSHOTTER" KILL
ctr_ -n k8s.io images ls -q | xargs -r ctr --address "$CONTAINERD" -n k8s.io images rm >/dev/null 2>&1
start_snapshotter
redialled
check "images that were forgotten while it was away leave nothing behind" wait_for 30 no_snapshots ||
    note "$(client "$SOCKET" list; mounts_below "$SNAPSHOTS")"

# ---- kill -9 at random -----------------------------------------------------------------------------------------

remove_image() {
    local name
    for name in $(ctr_ -n k8s.io images ls -q); do
        ctr_ -n k8s.io images rm --sync "$name" >/dev/null 2>&1
    done
}

start_nacre "$NACRE_DATA"
REF=$NACRE_ADDR/nix:$H
rounds=$([ "$LONG" = 1 ] && echo 100 || echo 8)
bad=
for ((round = 0; round < rounds; round++)); do
    remove_image
    { cri_pull "$REF" && run "$REF" /bin/python3 -c 'print(42)'; } >"$T/crash.log" 2>&1 &
    work=$!
    sleep "$(printf '0.%03d' $((RANDOM % 1000)))"
    stop_server "$SNAPSHOTTER" KILL
    start_snapshotter --source "$NACRE_URL"
    wait $work
    redialled
    cri_pull "$REF" >"$T/crash.log" 2>&1 || bad+=" pull:$round"
    [ "$(run "$REF" /bin/python3 -c 'print(42)' 2>>"$T/crash.log")" = 42 ] || bad+=" run:$round"
done
check_eq "killed at random $rounds times: pulls and runs go on" "" "$bad" || note "$(tail -n 5 "$T/crash.log")"
check_unfetched "by then"
check "nacre node verify is clean" "$NACRE" node verify --root "$NODE"
redialled

# ---- what is lost --------------------------------------------------------------------------------------------

says_42() {
    check_eq "$1" 42 "$(run "$REF" /bin/python3 -c 'print(42)' 2>&1)"
}
mv "$NODE/paths/$(curl -s "$NACRE_URL/$H.narinfo" | sed -n 's/^NarHash: sha256://p')" "$T/away"
check_fails "a store path that is gone is named" "/nix/store/[^ ]* is gone from this node" run "$REF" /bin/python3 -c 'print(42)'
remove_image
check "it comes with the image" cri_pull "$REF"
says_42 "which runs"
stop_server "$SNAPSHOTTER" KILL
unmount_below "$NODE"
rm -rf "$NODE"
start_snapshotter --source "$NACRE_URL"
redialled
check_fails "all that the node had is gone" "not found|does not exist" run "$REF" /bin/python3 -c 'print(42)'
remove_image
check "with the images containerd forgets it" cri_pull "$REF"
says_42 "and all is as before"
remove_image
check_eq "without images, no snapshot" "" "$(ctr_ -n k8s.io snapshots --snapshotter nacre ls | tail -n +2)"
stop_server "$SNAPSHOTTER"
start_snapshotter
check_eq "no mount is leaked" "" "$(mounts_below "$SNAPSHOTS")"
check_eq "no directory is leaked" "" "$(find "$SNAPSHOTS/s" "$SNAPSHOTS/trash" -mindepth 1 -maxdepth 1)"
check_eq "no hold is leaked" "" "$(ls "$NODE/holds")"
