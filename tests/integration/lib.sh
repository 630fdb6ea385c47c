# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# What integration tests share. A test is tests/integration/NAME.sh and begins with
#
#     #!/usr/bin/env bash
#     . "$(dirname "$0")/lib.sh"
#
# and prints lines `ok - …`, `not ok - …`, `skip - … # reason`. The library ends it with status 1 if
# there was a `not ok`, stops every server it started, unmounts and removes its scratch folder
# (KEEP=1 keeps that). Every helper is made for `set -uo pipefail` without `-e`: a failure is a
# `not ok` and the test goes on, or `die`.
#
# Results
#   ok DESC · not_ok DESC [DETAIL…] · skip DESC REASON · note TEXT…
#   die TEXT…                       ends the test as one failure
#   needs PROGRAM…                  skips the whole test, with the reason, if one is missing
#   needs_root                      the same unless root
#   check DESC CMD…                 ok if CMD succeeds; its output is shown if not
#   check_fails DESC REGEX CMD…     ok if CMD fails cleanly (status 1…125) and says REGEX
#   check_eq DESC WANT GOT · check_match DESC REGEX TEXT · check_same DESC FILE FILE
# Variables
#   SRC the source tree · T scratch folder on a disk · NACRE the program · FIXTURES the fixture store
#   LONG 1 with `./test --long`
# Fixtures (tests/fixtures/build --help)
#   fixture NAME                    prints the root store path(s), built if needed; store: $FIXTURES
#   closure STOREPATH…              prints the closure, sorted
#   store_file STOREPATH            prints where that path really lies ($FIXTURES/nix/store/…)
#   bare_image FROM TO              the image layout FROM without its store layers' blobs
#   new_store NAME                  prints an empty folder for `nix --store`
#   nix_store_verify DIR            all NARs of a store against its database
# Servers, all on 127.0.0.1, stopped at the end
#   free_port · wait_for SECONDS CMD… · wait_http URL
#   start_server NAME CMD…          background, log $T/NAME.log; sets SERVER_PID
#   stop_server PID [SIGNAL]        waits until it is gone
#   start_nacre [DATADIR [ARG…]]    sets NACRE_URL, NACRE_ADDR, NACRE_PID, NACRE_DATA
#   stop_nacre [SIGNAL]
#   start_registry [NAME]           Debian's docker-registry; sets REGISTRY (host:port), REGISTRY_DIR; with
#                                   REGISTRY_QUIET=false its log has every request
#   start_containerd                sets CONTAINERD (its socket)
# Clients
#   ctr_ ARG…                       ctr on that containerd
#   ctr_pull REF · ctr_run REF [CMD…]
#   podman_ ARG…                    podman with storage of its own; PODMAN_NODE=NAME chooses among several
#   podman_pull REF · podman_run [-OPTION…] REF [CMD…]
#   skopeo_copy SRC DST [OPTION…] · skopeo_inspect REF [OPTION…]
#   oci_runtime                     prints crun or runc, whichever starts a container here
#   run_bundle DIR                  runs an OCI bundle with it
#   with_crun CMD…                  runs CMD where crun works even on hybrid cgroups
#   hello_image DIR                 an ordinary small image (OCI layout DIR:hello) with /bin/sh, cat, ls, echo
# Measuring
#   peak_rss_kib PID                of a running process
#   measure_rss CMD…                runs CMD, sets MAX_RSS_KIB, returns its status
#   mounts_below DIR

set -uo pipefail
export LC_ALL=C

SRC=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
NACRE=${NACRE:-$SRC/build/release/src/cli/nacre}
FIXTURES=${NACRE_FIXTURES:-$SRC/build/fixtures}
LONG=${LONG:-0}
T=$(mktemp -d "${NACRE_TEST_TMP:-/var/tmp}/nacre-test.XXXXXX")
chmod 755 "$T"

# No test may see or change the Nix, podman or registry settings of whoever runs it.
export HOME=$T/home XDG_CACHE_HOME=$T/.cache XDG_CONFIG_HOME=$T/config XDG_DATA_HOME=$T/share
mkdir -p "$HOME" "$XDG_CACHE_HOME" "$XDG_CONFIG_HOME" "$XDG_DATA_HOME"
unset NIX_REMOTE NIX_PATH NIX_STORE_DIR NIX_STATE_DIR NIX_STORE
export NIX_CONF_DIR=$T/config/nix PODMAN_IGNORE_CGROUPSV1_WARNING=1
export NIX_CONFIG="build-users-group =
sandbox = false
substituters =
require-sigs = false
fsync-metadata = false
experimental-features = nix-command ca-derivations"

# ---- results -------------------------------------------------------------------------------------

tap_failed=0

note() {
    printf '# %s\n' "$*"
}

ok() {
    printf 'ok - %s\n' "$1"
}

not_ok() {
    tap_failed=1
    printf 'not ok - %s\n' "$1"
    shift
    [ $# = 0 ] || printf '%s\n' "$@" | head -n 40 | sed 's/^/#   /'
}

skip() {
    printf 'skip - %s # %s\n' "$1" "$2"
}

die() {
    not_ok "$(basename "$0" .sh)" "$*"
    exit 1
}

needs() {
    local program
    for program; do
        if ! command -v "$program" >/dev/null; then
            skip "$(basename "$0" .sh)" "needs $program, which is not installed"
            exit 0
        fi
    done
}

needs_root() {
    if [ "$(id -u)" != 0 ]; then
        skip "$(basename "$0" .sh)" "needs root"
        exit 0
    fi
}

check() {
    local desc=$1 out
    shift
    if out=$("$@" 2>&1); then
        ok "$desc"
    else
        not_ok "$desc" "status $? of: $*" "$out"
        return 1
    fi
}

# A crash (a signal, a sanitizer's abort) is not a clean refusal.
check_fails() {
    local desc=$1 regex=$2 out status=0
    shift 2
    out=$("$@" 2>&1) || status=$?
    if [ $status = 0 ]; then
        not_ok "$desc" "succeeded: $*" "$out"
    elif [ $status -gt 125 ] || [[ $out == *Sanitizer* || $out == *"runtime error"* ]]; then
        not_ok "$desc" "crashed with status $status: $*" "$out"
    elif ! grep -qE -e "$regex" <<<"$out"; then
        not_ok "$desc" "said nothing like: $regex" "$out"
    else
        ok "$desc"
        return 0
    fi
    return 1
}

check_eq() {
    if [ "$2" = "$3" ]; then
        ok "$1"
    else
        not_ok "$1" "want: $2" "got:  $3"
        return 1
    fi
}

check_match() {
    if grep -qE -e "$2" <<<"$3"; then
        ok "$1"
    else
        not_ok "$1" "no match for: $2" "in: $3"
        return 1
    fi
}

check_same() {
    local out
    if out=$(cmp -- "$2" "$3" 2>&1); then
        ok "$1"
    else
        not_ok "$1" "$out"
        return 1
    fi
}

# ---- the end -------------------------------------------------------------------------------------

server_pids=()

mounts_below() {
    awk -v dir="$1/" 'index($2, dir) == 1 { print $2 }' /proc/self/mounts | sort -r
}

unmount_below() {
    local where
    while read -r where; do
        umount -l "$(printf '%b' "$where")" 2>/dev/null
    done < <(mounts_below "$1")
}

finish() {
    local status=$? i
    trap - EXIT INT TERM
    [ -z "${CONTAINERD:-}" ] || stop_containers
    for ((i = ${#server_pids[@]} - 1; i >= 0; i--)); do
        stop_server "${server_pids[i]}"
    done
    unmount_below "$T"
    if [ "${KEEP:-0}" = 1 ]; then
        note "kept: $T"
    elif [ -z "$(mounts_below "$T")" ]; then
        chmod -R u+w "$T" 2>/dev/null
        rm -rf --one-file-system "$T"
    fi
    [ $tap_failed = 0 ] || status=1
    exit $status
}
trap finish EXIT
trap 'exit 130' INT TERM

# ---- servers -------------------------------------------------------------------------------------

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

wait_for() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.05
    done
}

# Any answer will do: a server that says 401 is there.
wait_http() {
    wait_for 20 curl -s -o "$T/wait" "$1"
}

start_server() {
    local name=$1
    shift
    "$@" >"$T/$name.log" 2>&1 </dev/null &
    SERVER_PID=$!
    server_pids+=("$SERVER_PID")
}

stop_server() {
    local pid=$1
    kill -s "${2:-TERM}" "$pid" 2>/dev/null
    wait_for 10 process_gone "$pid" || kill -KILL "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
    return 0
}

process_gone() {
    local state
    state=$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null) || return 0
    [[ $state == Z* ]]
}

start_nacre() {
    local try
    NACRE_DATA=${1:-$T/data}
    shift
    for try in 1 2 3; do
        NACRE_ADDR=127.0.0.1:$(free_port)
        NACRE_URL=http://$NACRE_ADDR
        start_server "nacre-$try" "$NACRE" serve --listen "$NACRE_ADDR" --data "$NACRE_DATA" "$@"
        NACRE_PID=$SERVER_PID
        NACRE_LOG=$T/nacre-$try.log
        wait_for 20 nacre_settled && process_gone "$NACRE_PID" || return 0
    done
    die "nacre serve does not start:" "$(tail -n 5 "$NACRE_LOG")"
}

nacre_settled() {
    process_gone "$NACRE_PID" || curl -sf "$NACRE_URL/nix-cache-info"
}

stop_nacre() {
    stop_server "$NACRE_PID" "${1:-TERM}"
}

start_registry() {
    local name=${1:-registry}
    REGISTRY=127.0.0.1:$(free_port)
    REGISTRY_DIR=$T/$name
    cat >"$T/$name.yml" <<EOF
version: 0.1
log: {level: warn, accesslog: {disabled: ${REGISTRY_QUIET:-true}}}
storage: {filesystem: {rootdirectory: $REGISTRY_DIR}, delete: {enabled: true}}
http: {addr: $REGISTRY}
EOF
    start_server "$name" docker-registry serve "$T/$name.yml"
    wait_http "http://$REGISTRY/v2/" || die "docker-registry does not start: $(tail -n 5 "$T/$name.log")"
}

start_containerd() {
    local dir=$T/containerd
    CONTAINERD=$dir/containerd.sock
    mkdir -p "$dir"
    cat >"$dir/config.toml" <<EOF
version = 2
root = "$dir/root"
state = "$dir/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = "$CONTAINERD"
[ttrpc]
  address = "$CONTAINERD.ttrpc"
EOF
    start_server containerd containerd -c "$dir/config.toml"
    wait_for 20 ctr_ version || die "containerd does not start: $(tail -n 5 "$T/containerd.log")"
}

# The shims outlive containerd; without this a failed test would leave them.
stop_containers() {
    local id
    for id in $(ctr_ tasks list -q 2>/dev/null); do
        ctr_ tasks kill -s KILL "$id" >/dev/null 2>&1
        ctr_ tasks rm -f "$id" >/dev/null 2>&1
    done
}

# ---- clients -------------------------------------------------------------------------------------

ctr_() {
    ctr --address "$CONTAINERD" "$@"
}

ctr_pull() {
    ctr_ images pull --plain-http "$1" >"$T/ctr-pull.log" 2>&1 || {
        tail -n 20 "$T/ctr-pull.log" >&2
        return 1
    }
}

ctr_run() {
    local ref=$1
    shift
    ctr_ run --rm "$ref" "test-$RANDOM$RANDOM" "$@"
}

podman_() {
    local node=$T/podman-${PODMAN_NODE:-1}
    mkdir -p "$node"
    podman --root "$node/root" --runroot "$node/run" --cgroup-manager=cgroupfs \
        --storage-driver=overlay --runtime "$(oci_runtime)" "$@"
}

podman_pull() {
    podman_ pull --quiet --tls-verify=false "$1"
}

# Root without CAP_SYS_RESOURCE cannot raise limits as podman wants to by default.
podman_run() {
    podman_ run --rm --network=none --ulimit nofile=1024:1024 --ulimit nproc=1000:1000 "$@"
}

skopeo_copy() {
    local src=$1 dst=$2
    shift 2
    skopeo --insecure-policy copy --quiet --src-tls-verify=false --dest-tls-verify=false "$@" "$src" "$dst"
}

skopeo_inspect() {
    local ref=$1
    shift
    skopeo inspect --tls-verify=false "$@" "$ref"
}

# crun refuses cgroup v1 beside a v2 hierarchy that has controllers; runc takes both.
oci_runtime() {
    local bundle=$T/probe-bundle runtime
    if [ ! -e "$T/oci-runtime" ]; then
        python3 "$SRC/tests/integration/lib/hello_image.py" --bundle "$bundle" -- /bin/echo works
        for runtime in crun runc; do
            command -v "$runtime" >/dev/null || continue
            "$runtime" --root "$T/probe-state" run --bundle "$bundle" "probe-$$" >"$T/probe.log" 2>&1 || continue
            echo "$runtime" >"$T/oci-runtime"
            break
        done
    fi
    cat "$T/oci-runtime" 2>/dev/null || echo crun
}

run_bundle() {
    "$(oci_runtime)" --root "$T/runtime-state" run --bundle "$1" "test-$RANDOM$RANDOM"
}

with_crun() {
    unshare --mount sh -c 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"' with_crun "$@"
}

hello_image() {
    python3 "$SRC/tests/integration/lib/hello_image.py" --layout "$1" --tag hello -- /bin/sh
}

# ---- fixtures ------------------------------------------------------------------------------------

fixture() {
    "$SRC/tests/fixtures/build" "$FIXTURES" "$1" >"$T/fixture.log" 2>"$T/fixture.err" || {
        echo "the fixture $1 cannot be built: $(tail -n 5 "$T/fixture.err")" >&2
        return 1
    }
    cat "$FIXTURES/$1.root"
}

closure() {
    nix-store --store "$FIXTURES" --query --requisites "$@" | sort
}

bare_image() {
    cp -a "$1" "$2"
    python3 - "$2" <<'PYTHON'
import json, os, sys
d = sys.argv[1]
index = json.load(open(d + '/index.json'))
manifest = json.load(open(f"{d}/blobs/sha256/{index['manifests'][0]['digest'][7:]}"))
for layer in manifest['layers']:
    if any('nacre.path' in k for k in layer.get('annotations', {})):
        os.unlink(f"{d}/blobs/sha256/{layer['digest'][7:]}")
PYTHON
}

store_file() {
    printf '%s%s\n' "$FIXTURES" "$1"
}

new_store() {
    mkdir -p "$T/store-$1"
    printf '%s\n' "$T/store-$1"
}

nix_store_verify() {
    nix-store --store "$1" --verify --check-contents
}

# ---- measuring -----------------------------------------------------------------------------------

peak_rss_kib() {
    awk '/^VmHWM:/ { print $2 }' "/proc/$1/status"
}

measure_rss() {
    local status=0
    python3 -c '
import os, sys
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(child, 0)
with open(sys.argv[1], "w") as file:
    print(usage.ru_maxrss, file=file)
sys.exit(os.waitstatus_to_exitcode(status) & 255)' "$T/max-rss" "$@" || status=$?
    MAX_RSS_KIB=$(cat "$T/max-rss")
    return $status
}
