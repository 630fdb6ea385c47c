# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# What tests of nacre snapshotter share; read after lib.sh.
#
#   SOCKET, NODE, SNAPSHOTS          where it serves and what it keeps
#   start_snapshotter [OPTION…]      sets SNAPSHOTTER, its process; what all have logged is in $T/snapshotters.log
#   suite NAME…                      cases of snapshot_suite.py, as results
#   redialled                        waits until containerd has found it again
#   cri_pull REF · cri_run REF CMD…  through the CRI of the containerd at $CONTAINERD
#   run REF CMD…                     with ctr, what the CRI has pulled
#   forget_image REF                 by all its names

# Debian's Python: it is the one that has Debian's grpc.
/usr/bin/python3 -c 'import grpc' 2>/dev/null || {
    skip "$(basename "$0" .sh)" "needs python3-grpcio"
    exit 0
}

SOCKET=$T/snapshotter.sock
NODE=$T/node
export NACRE SNAPSHOTS=$NODE/snapshots

client() {
    /usr/bin/python3 "$SRC/tests/integration/lib/grpc_client.py" "$@"
}

suite() {
    local out
    out=$(timeout 500 /usr/bin/python3 "$SRC/tests/integration/lib/snapshot_suite.py" "$SOCKET" "$T" "$@" 2>&1) || tap_failed=1
    printf '%s\n' "$out" | sed '/^\(ok\|not ok\|#\)/!s/^/not ok - snapshot_suite: /'
}

is_serving() {
    [ -S "$SOCKET" ] && client "$SOCKET" list
}

start_snapshotter() {
    [ ! -e "$T/snapshotter.log" ] || cat "$T/snapshotter.log" >>"$T/snapshotters.log"
    start_server snapshotter "$NACRE" snapshotter --address "$SOCKET" --root "$NODE" --host-store none "$@"
    SNAPSHOTTER=$SERVER_PID
    wait_for 20 is_serving || die "nacre snapshotter does not start: $(tail -n 5 "$T/snapshotter.log")"
}

cri_pull() {
    client "$CONTAINERD" pull "$1"
}

# containerd dials a snapshotter that was away again after up to three seconds, and fails until then; under
# systemd the socket stays and nobody is refused.
probe() {
    ctr_ snapshots --snapshotter nacre prepare probe && ctr_ snapshots --snapshotter nacre rm probe
}

redialled() {
    wait_for 20 probe || die "containerd does not find the snapshotter again"
}

# The CRI gives an image a name by its digest and one by its config as well.
forget_image() {
    local digest
    digest=$(ctr_ -n k8s.io images ls | awk -v ref="$1" '$1 == ref { print $3 }')
    ctr_ -n k8s.io images ls | awk -v digest="${digest:-none}" '$3 == digest { print $1 }' |
        xargs -r ctr --address "$CONTAINERD" -n k8s.io images rm --sync >/dev/null
    redialled
}

run() {
    local ref=$1
    shift
    ctr_ -n k8s.io run --rm --snapshotter nacre "$ref" "test-$RANDOM$RANDOM" "$@"
}

cri_run() {
    client "$CONTAINERD" run "$@" 2>&1
}
