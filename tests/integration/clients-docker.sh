#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Docker's own daemon, of whatever version is here (Debian 12 has 20.10, which knows neither zstd nor more than 127 layers):
# push, pull, run, from ordinary repositories and images of store paths.
. "$(dirname "$0")/lib.sh"
needs_root
needs dockerd containerd runc nix nix-store curl skopeo

docker_=$(PATH=/usr/bin:$PATH command -v docker) || die "no docker"
docker() {
    "$docker_" --host "unix://$T/docker.sock" "$@"
}

# A daemon of its own: no bridge, no packet filter, nothing of the machine's.
start_server dockerd dockerd --bridge=none --iptables=false --ip6tables=false --storage-driver=vfs --data-root "$T/docker" \
    --exec-root "$T/docker-run" --pidfile "$T/docker.pid" --host "unix://$T/docker.sock"
wait_for 30 docker version || {
    skip "docker" "dockerd does not run on this machine: $(tail -n 1 "$T/dockerd.log")"
    exit 0
}
version=$(docker version --format '{{.Server.Version}}')
note "docker $version"
start_nacre "$T/data"
hello_image "$T/hello" || die "no image"
run() {
    docker run --rm --network=none --log-driver=none "$@" 2>&1
}

# ---- what people push ----------------------------------------------------------------------------

check "an image for it" skopeo_copy "oci:$T/hello:hello" "docker://$NACRE_ADDR/hello:1"
check "docker pulls an OCI image" docker pull --quiet "$NACRE_ADDR/hello:1"
check_eq "and runs it" "from docker" "$(run "$NACRE_ADDR/hello:1" /bin/sh -c 'echo from docker')"
check "docker tags" docker tag "$NACRE_ADDR/hello:1" "$NACRE_ADDR/from-docker/hello:1"
check "docker pushes" docker push --quiet "$NACRE_ADDR/from-docker/hello:1"
check "docker pushes again" docker push "$NACRE_ADDR/from-docker/hello:1"
check "what it pushed is another client's" skopeo_copy "docker://$NACRE_ADDR/from-docker/hello:1" "oci:$T/back:hello"
docker tag "$NACRE_ADDR/hello:1" "$NACRE_ADDR/mounted:1"
check_match "docker mounts layers that another repository has" "Mounted from|Layer already exists" \
    "$(docker push "$NACRE_ADDR/mounted:1" 2>&1)"
printf 'FROM %s\nENV A=b\nCMD ["/bin/echo", "built"]\n' "$NACRE_ADDR/hello:1" >"$T/Dockerfile"
check "docker builds on it" env DOCKER_BUILDKIT=0 "$docker_" --host "unix://$T/docker.sock" build --quiet --network=none \
    --tag "$NACRE_ADDR/built:1" --file "$T/Dockerfile" "$T/hello"
check "docker pushes what it built" docker push --quiet "$NACRE_ADDR/built:1"
docker rmi --force "$NACRE_ADDR/built:1" >/dev/null
check_eq "which comes back" built "$(run "$NACRE_ADDR/built:1" 2>&1 | tail -n 1)"
digest=$(skopeo_inspect "docker://$NACRE_ADDR/built:1" --format '{{.Digest}}')
check "docker pulls by digest" docker pull --quiet "$NACRE_ADDR/built@$digest"
check_fails "a tag that is not there" 'manifest unknown|not found' docker pull "$NACRE_ADDR/hello:none"
check_fails "a repository that is not there" 'not found|unknown|does not exist' docker pull "$NACRE_ADDR/none:1"
check "docker manifest inspect" docker manifest inspect --insecure "$NACRE_ADDR/from-docker/hello:1"

# ---- images of store paths -------------------------------------------------------------------------

root=$(fixture shell) || die "no fixture"
hash=$(basename "$root" | cut -c 1-32)
check "a closure for it" nix copy --store "$FIXTURES" --to "$NACRE_URL" "$root"
# Docker before 23 needs gzip.
check "docker pulls nix:<hash>-gzip" docker pull --quiet "$NACRE_ADDR/nix:$hash-gzip"
check_eq "and runs it" "from the store" "$(run "$NACRE_ADDR/nix:$hash-gzip" /bin/sh -c 'echo from the store')"
check "docker pulls nix:<hash>-tar" docker pull --quiet "$NACRE_ADDR/nix:$hash-tar"
check_eq "and runs it" "as tar" "$(run "$NACRE_ADDR/nix:$hash-tar" /bin/sh -c 'echo as tar')"
if [ "${version%%.*}" -ge 23 ]; then
    check "docker pulls nix:<hash>" docker pull --quiet "$NACRE_ADDR/nix:$hash"
    check_eq "and runs it" "as zstd" "$(run "$NACRE_ADDR/nix:$hash" /bin/sh -c 'echo as zstd')"
fi
docker tag "$NACRE_ADDR/nix:$hash-gzip" "$NACRE_ADDR/team/shell:1"
check "docker pushes the image of a store path" docker push --quiet "$NACRE_ADDR/team/shell:1"
check_eq "it is an image of its store paths still" "from docker's" \
    "$(docker rmi --force "$NACRE_ADDR/team/shell:1" >/dev/null; run "$NACRE_ADDR/team/shell:1" /bin/sh -c "echo from docker\\'s" | tail -n 1)"
check_eq "no error in the server's log" "" "$(grep -E '^(error|.*Sanitizer|.*runtime error)' "$NACRE_LOG")"
