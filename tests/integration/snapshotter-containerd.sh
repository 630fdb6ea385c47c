#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nacre snapshotter under the containerds of other Debians: 1.7 (Debian 13) and 2.x (unstable), run beside this machine's
# own. Their packages are fetched with apt, its signatures checked, and kept in NACRE_ROOTS (default: build/roots).
# Part of ./test --long, or where the packages are there already.
. "$(dirname "$0")/lib.sh"
needs apt-get dpkg-deb containerd nix skopeo docker-registry jq
needs_root
. "$SRC/tests/integration/lib/snapshotter.sh"

roots=${NACRE_ROOTS:-$SRC/build/roots}
mirror=${NACRE_MIRROR:-$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
    sed -n 's/^URIs: *\([^ ]*\).*/\1/p; s/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*\) .*/\2/p' | head -n 1)}

# With apt's state in a folder of its own: this machine's stays as it is.
fetch_containerd() {
    local suite=$1 apt=$T/apt-$1
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$roots" &&
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$apt/sources.list" &&
        cat >"$apt/apt.conf" <<CONF &&
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State::Lists "$apt/lists";
Dir::State::status "/dev/null";
Dir::Cache "$apt/cache";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Check-Valid-Until "false";
CONF
        APT_CONFIG=$apt/apt.conf apt-get -q update &&
        (cd "$apt" && APT_CONFIG=$apt/apt.conf apt-get -q download containerd) &&
        mv "$apt"/containerd_*.deb "$roots/containerd-$suite.deb"
}

# ---- images ----------------------------------------------------------------------------------------------

start_registry
start_nacre
P=$(fixture python3) || die "no fixture python3"
GIT=$(fixture git) || die "no fixture git"
H=$(basename "$P")
REF=$NACRE_ADDR/nix:${H%%-*}
nix copy --from "$FIXTURES" --no-check-sigs --to "$NACRE_URL?compression=none" "$P" 2>"$T/copy.log" || die "$(tail -n 3 "$T/copy.log")"
WANT=$(closure "$P" | sed 's|.*/||' | sort | tr '\n' ' ')
PROGRAM='import os; print(*sorted(os.listdir("/nix/store")), "")'
hello_image "$T/hello"
skopeo_copy "oci:$T/hello:hello" "docker://$REGISTRY/hello:1"
python3 "$SRC/tests/integration/lib/hello_image.py" --layout "$T/pause" --tag pause -- /bin/sleep 600
skopeo_copy "oci:$T/pause:pause" "docker://$REGISTRY/pause:1"
"$NACRE" build --from "$FIXTURES" "$P" --volume /data --volume /etc -o "oci:$T/volumes:v" >/dev/null 2>&1 || die "nacre build fails"
skopeo_copy "oci:$T/volumes:v" "docker://$REGISTRY/volumes:1"
"$NACRE" build --from "$FIXTURES" "$GIT" -o "oci:$T/git:git" >/dev/null 2>&1 || die "nacre build fails"
skopeo_copy "oci:$T/git:git" "docker://$REGISTRY/git:1"
host=$T/certs/${REGISTRY/:/_}_
mkdir -p "$host"
printf '[host."http://%s"]\n  capabilities = ["pull", "resolve"]\n' "$REGISTRY" >"$host/hosts.toml"

# ---- one containerd ----------------------------------------------------------------------------------------

# What containerd makes of its configuration: a line "name = value" for each setting.
settings() {
    /usr/bin/python3 -c '
import sys, tomllib
def walk(table, name):
    for key, value in table.items():
        if isinstance(value, dict):
            walk(value, name + [key])
        else:
            print("/".join(name + [key]), "=", value)
walk(tomllib.load(sys.stdin.buffer), [])' 2>&1
}

# The printed file is read by `imports` of one with everything else, as an administrator would have it.
write_config() {
    local version=$1 dir=$2 more=$3
    "$NACRE" snapshotter "--print-config=$version" --address "$SOCKET" --root "$NODE" >"$dir/nacre.toml"
    {
        echo "version = $([ "$version" = 2 ] && echo 3 || echo 2)"
        [ "$version" != 2 ] || echo "imports = [\"$dir/nacre.toml\"]"
        cat <<TOML
root = "$dir/root"
state = "$dir/state"
[grpc]
  address = "$CONTAINERD"
[ttrpc]
  address = "$CONTAINERD.ttrpc"
TOML
        # 1.x: one table of the CRI in all.
        [ "$version" = 2 ] || sed '/^version/d' "$dir/nacre.toml"
        printf '%s\n' "$more"
    } >"$dir/config.toml"
}

CRI_1='[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "REGISTRY/pause:1"
  restrict_oom_score_adj = true
  disable_apparmor = true'
CRI_2="[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = 'REGISTRY/pause:1'
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  disable_apparmor = true"

check_config() {
    local version=$1 dir=$2 dump
    dump=$(containerd -c "$dir/config.toml" config dump 2>"$dir/dump.log" | settings)
    check_eq "$NAME: it says nothing about its configuration" "" "$(grep -E 'level=(warn|err)' "$dir/dump.log")"
    check_match "$NAME: the plugin" "^proxy_plugins/nacre/address = $SOCKET$" "$dump"
    [ "$version" = 1.6 ] || check_match "$NAME: where it keeps things" "^proxy_plugins/nacre/exports/root = $SNAPSHOTS$" "$dump"
    if [ "$version" = 2 ]; then
        check_match "$NAME: the CRI's snapshotter" "^plugins/io.containerd.cri.v1.images/snapshotter = nacre$" "$dump"
        check_match "$NAME: the transfer service's" "io.containerd.transfer.v1.local/unpack_config = .*'snapshotter': 'nacre'" "$dump"
        check_match "$NAME: the annotations of images" "exports/enable_remote_snapshot_annotations = true" "$dump"
    else
        check_match "$NAME: the CRI's snapshotter" "^plugins/io.containerd.grpc.v1.cri/containerd/snapshotter = nacre$" "$dump"
        check_match "$NAME: the annotations of images" "cri/containerd/disable_snapshot_annotations = False" "$dump"
    fi
    check_match "$NAME: the rest is as it was" "pause:1$" "$dump"
}

# The blobs of this repository that the registry was asked for.
blobs_asked() {
    grep -c "GET /v2/$1/blobs/" "$NACRE_LOG"
}

forget_all() {
    ctr_ -n k8s.io images ls -q | xargs -r ctr --address "$CONTAINERD" -n k8s.io images rm --sync >/dev/null 2>&1
    ctr_ images ls -q | xargs -r ctr --address "$CONTAINERD" images rm --sync >/dev/null 2>&1
}

try_images() {
    local before
    check "$NAME: ctr pulls an ordinary image" ctr_ images pull --plain-http --snapshotter nacre "$REGISTRY/hello:1"
    check_eq "$NAME: ctr runs it" works "$(ctr_ run --rm --snapshotter nacre "$REGISTRY/hello:1" t1 /bin/sh -c 'echo works >/tmp/x && cat /tmp/x' 2>&1)"
    before=$(blobs_asked nix)
    check "$NAME: an image of store layers, through the CRI" cri_pull "$REF"
    check_eq "$NAME: containerd fetched the config and the root layer, no store layer" 2 "$(($(blobs_asked nix) - before))"
    check_eq "$NAME: ctr runs it: its closure and nothing else" "$WANT" "$(run "$REF" /bin/python3 -c "$PROGRAM" 2>&1)"
    check_eq "$NAME: one mount" 1 "$(run "$REF" /bin/python3 -c 'print(sum(l.split()[1] == "/" or "/nix" in l.split()[1] for l in open("/proc/mounts")))' 2>&1)"
    check "$NAME: an image with volumes" cri_pull "$REGISTRY/volumes:1"
    check_eq "$NAME: in a pod" "$WANT" "$(cri_run "$REGISTRY/volumes:1" /bin/python3 -c "$PROGRAM")"
    check_eq "$NAME: its volumes are mounted" "/ /data /etc" "$(cri_run "$REGISTRY/volumes:1" /bin/python3 -c \
        'print(*sorted(l.split()[1] for l in open("/proc/mounts") if l.split()[1] in ("/", "/data", "/etc") or "/nix" in l.split()[1]))')"
    # ctr of 1.7 and 2.x unpacks with what it is told, and it too asks for the layers.
    check "$NAME: ctr pulls an image of store layers" ctr_ images pull --plain-http --snapshotter nacre "$REF"
    check_eq "$NAME: and runs it" 42 "$(ctr_ run --rm --snapshotter nacre "$REF" t2 /bin/python3 -c 'print(42)' 2>&1)"
    check "$NAME: layers from the image's own registry" cri_pull "$REGISTRY/git:1"
    check_eq "$NAME: containerd has none of them" 0 "$(jq -r '.layers[] | select(.annotations["containerd.io/snapshot/nacre.path.0"]).digest' \
        "$T/git/blobs/$(jq -r '.manifests[0].digest' "$T/git/index.json" | tr : /)" | sort | comm -12 - <(ctr_ -n k8s.io content ls -q | sort) | wc -l)"
    check_match "$NAME: it runs" "git version" "$(run "$REGISTRY/git:1" /bin/git --version 2>&1)"
}

try_crash() {
    stop_server "$SNAPSHOTTER" KILL
    start_snapshotter --source "$NACRE_URL"
    redialled
    check_eq "$NAME: killed and started again, containers start" 42 "$(run "$REF" /bin/python3 -c 'print(42)' 2>&1)"
    # Both name spaces stand on the same snapshots.
    ctr_ -n k8s.io images ls -q | xargs -r ctr --address "$CONTAINERD" -n k8s.io images rm --sync >/dev/null 2>&1
    redialled
    check_eq "$NAME: what one name space forgets, another keeps" 42 "$(ctr_ run --rm --snapshotter nacre "$REF" t3 /bin/python3 -c 'print(42)' 2>&1)"
    forget_all
    redialled
    check_eq "$NAME: without images, no snapshot" "" "$(ctr_ -n k8s.io snapshots --snapshotter nacre ls | tail -n +2)"
    client "$SOCKET" list >/dev/null
    stop_server "$SNAPSHOTTER"
    check "$NAME: nacre node verify is clean" "$NACRE" node verify --root "$NODE"
}

try_containerd() {
    local suite=$1 version=$2 path=$PATH dir=$T/$1
    if [ ! -e "$roots/containerd-$suite.deb" ] && [ "$LONG" != 1 ]; then
        skip "containerd of Debian $suite" "for ./test --long"
        return
    elif [ ! -e "$roots/containerd-$suite.deb" ] && ! fetch_containerd "$suite" >"$T/apt.log" 2>&1; then
        skip "containerd of Debian $suite" "its package cannot be fetched: $(tail -n 1 "$T/apt.log")"
        return
    fi
    mkdir -p "$dir" && dpkg-deb -x "$roots/containerd-$suite.deb" "$dir/files" || die "the package cannot be unpacked"
    PATH=$dir/files/usr/bin:$PATH
    NAME="containerd $(containerd --version 2>&1 | sed -n 's/.* \(v\{0,1\}[0-9]*\.[0-9]*\.[0-9]*\).*/\1/p')"
    if [ "$NAME" = "containerd " ]; then
        skip "containerd of Debian $suite" "it does not run here: $(containerd --version 2>&1 | head -n 1)"
        PATH=$path
        return
    fi
    SOCKET=$dir/nacre.sock NODE=$dir/node SNAPSHOTS=$dir/node/snapshots CONTAINERD=$dir/containerd.sock
    mkdir -p "$NODE"
    case $version in
    2) write_config 2 "$dir" "${CRI_2//REGISTRY/$REGISTRY}" ;;
    *) write_config "$version" "$dir" "${CRI_1//REGISTRY/$REGISTRY}" ;;
    esac
    check_config "$version" "$dir"
    start_snapshotter --source "$NACRE_URL" --image-ref --certs-dir "$T/certs"
    start_server "containerd-$suite" containerd -c "$dir/config.toml"
    local pid=$SERVER_PID
    wait_for 20 ctr_ version || die "$NAME does not start: $(tail -n 5 "$T/containerd-$suite.log")"
    note "$(ctr_ version | sed -n 's/ *Version: */ /p' | tr -d '\n')"
    try_images
    try_crash
    stop_containers
    stop_server "$pid"
    PATH=$path
}

try_containerd trixie 1.7
try_containerd sid 2
