#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The programs that other tests lean on work on this machine, with an image that nacre never touched.
. "$(dirname "$0")/lib.sh"
needs_root
needs podman ctr containerd docker-registry skopeo

hello_image "$T/hello" || die "no image"
start_registry
check "skopeo pushes to docker-registry" skopeo_copy "oci:$T/hello:hello" "docker://$REGISTRY/hello:1"
check_match "skopeo inspects it" '"Architecture"' "$(skopeo_inspect "docker://$REGISTRY/hello:1" 2>&1)"

check_match "an OCI runtime starts a container" '^(crun|runc)$' "$(oci_runtime)"
cat "$T/probe.log" | sed 's/^/# /'
check_eq "crun starts one" works "$(with_crun crun --root "$T/crun-state" run --bundle "$T/probe-bundle" "crun-$$" 2>&1)"

podman_pull "$REGISTRY/hello:1" >/dev/null || die "podman pull"
check_eq "podman runs it" "from podman" "$(podman_run "$REGISTRY/hello:1" /bin/sh -c 'echo from podman' 2>&1)"
PODMAN_NODE=2 podman_ image exists "$REGISTRY/hello:1" && not_ok "podman nodes are apart" || ok "podman nodes are apart"

start_containerd
check "containerd pulls it" ctr_pull "$REGISTRY/hello:1"
check_eq "containerd runs it" "from containerd" "$(ctr_run "$REGISTRY/hello:1" /bin/sh -c 'echo from containerd' 2>&1)"

measure_rss /bin/sh -c 'exit 3'
check_eq "measure_rss returns the status" 3 $?
check_match "measure_rss measures" '^[0-9]+$' "$MAX_RSS_KIB"
