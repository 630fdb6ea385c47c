#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The clients of Debian 13 - oras, cosign, skopeo, podman, buildah, docker 26, Nix 2.26 - in a root of their own, against
# this server: plain, and with TLS and users. Part of ./test --long, for the root is half a gigabyte of packages; it is kept
# in NACRE_ROOTS (default: build/roots).
. "$(dirname "$0")/lib.sh"
if [ "$LONG" != 1 ]; then
    skip "clients of Debian 13" "for ./test --long"
    exit 0
fi
needs_root
needs mmdebstrap unshare curl openssl nix python3

# ---- a Debian 13 with the clients ------------------------------------------------------------------

packages="oras cosign skopeo podman buildah nix-bin docker.io docker-cli crun runc netavark uidmap iptables curl ca-certificates"
roots=${NACRE_ROOTS:-$SRC/build/roots}
mirror=${NACRE_MIRROR:-$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
    sed -n 's/^URIs: *\([^ ]*\).*/\1/p; s/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*\) .*/\2/p' | head -n 1)}
image=$roots/trixie-clients.tar
mkdir -p "$roots"
if [ ! -e "$image" ]; then
    note "making a Debian 13 with the clients ..."
    mmdebstrap --quiet --variant=minbase --include="${packages// /,}" trixie "$image.tmp.tar" "deb $mirror trixie main" \
        "deb $mirror trixie-updates main" "deb ${mirror%/debian}/debian-security trixie-security main" >"$T/mmdebstrap.log" 2>&1 || {
        skip "clients of Debian 13" "no such root can be made: $(tail -n 1 "$T/mmdebstrap.log")"
        rm -f "$image.tmp.tar"
        exit 0
    }
    mv "$image.tmp.tar" "$image"
fi
R=$T/trixie
mkdir "$R" && tar -C "$R" -xf "$image" || die "the root cannot be unpacked"
mkdir -p "$R/work" "$R/etc/containers"
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$R/etc/containers/policy.json"

# Runs a command there, in /work, with mounts and processes of its own; pivot_root, for containers are started inside.
# shellcheck disable=SC2016
inside_root='
set -e
root=$1
shift
mount --bind "$root" "$root"
mount --make-private "$root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
cd "$root"
pivot_root . mnt
exec /usr/sbin/chroot . /bin/sh -c "umount -l /mnt; cd /work; exec \"\$@\"" sh "$@"
'
inside_instead() { # of this shell
    exec env --ignore-environment PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 COSIGN_PASSWORD= \
        ${COSIGN_EXPERIMENTAL:+COSIGN_EXPERIMENTAL=1} NIX_CONFIG="$NIX_CONFIG" \
        unshare --mount --pid --fork --kill-child /bin/sh -c "$inside_root" sh "$R" "$@"
}
inside() {
    (inside_instead "$@")
}
check "the root works" inside true || die "nothing else can"
note "$(inside sh -c 'oras version | head -n 1; skopeo --version; podman --version; buildah --version; docker --version; nix --version' |
    tr -s ' \n' ' ')"

hello_image "$R/work/hello" || die "no image"
start_nacre "$T/data"
A=$NACRE_ADDR
raw() {
    curl -s -H 'Accept: */*' "$NACRE_URL/v2/$1"
}

# ---- oras ----------------------------------------------------------------------------------------

echo "a file" >"$R/work/a.txt"
head -c 3000000 /dev/urandom >"$R/work/b.bin"
head -c 3000000 /dev/urandom >"$R/work/c.bin"
check "oras pushes" inside oras push --plain-http "$A/oras/thing:v1" --artifact-type application/vnd.example.thing \
    a.txt:text/plain b.bin
check "oras attaches" inside oras attach --plain-http --artifact-type application/vnd.example.sbom "$A/oras/thing:v1" c.bin
check "oras attaches to what is attached" inside oras attach --plain-http --artifact-type application/vnd.example.sig \
    "$A/oras/thing@$(inside oras discover --plain-http --format json "$A/oras/thing:v1" | jq -r '.manifests[0].digest')" a.txt
check_match "oras discovers" "application/vnd.example.sbom" "$(inside oras discover --plain-http "$A/oras/thing:v1" 2>&1)"
check_match "and what is attached to that" "application/vnd.example.sig" "$(inside oras discover --plain-http "$A/oras/thing:v1" 2>&1)"
check_eq "oras discovers by type" "0 1" "$(for type in none sbom; do inside oras discover --plain-http --format json \
    --artifact-type "application/vnd.example.$type" "$A/oras/thing:v1" | jq '.manifests | length'; done | xargs)"
check "oras pulls" inside oras pull --plain-http --output pulled "$A/oras/thing:v1"
check_same "what it pushed" "$R/work/b.bin" "$R/work/pulled/b.bin"
check "oras copies with referrers" inside oras cp --recursive --from-plain-http --to-plain-http "$A/oras/thing:v1" "$A/oras/copy:v1"
check_match "which are there" "application/vnd.example.sig" "$(inside oras discover --plain-http "$A/oras/copy:v1" 2>&1)"
check "oras backs up into a folder" inside oras cp --recursive --from-plain-http --to-oci-layout "$A/oras/thing:v1" layout:v1
check "and restores" inside oras cp --recursive --from-oci-layout --to-plain-http layout:v1 "$A/oras/restored:v1"
check_eq "the same" "$(raw oras/thing/manifests/v1)" "$(raw oras/restored/manifests/v1)"
check "oras tags" inside oras tag --plain-http "$A/oras/thing:v1" v2 v3
check_eq "oras lists tags" "v1 v2 v3" "$(inside oras repo tags --plain-http "$A/oras/thing" | xargs)"
check_match "oras lists repositories" "oras/copy oras/restored oras/thing" "$(inside oras repo ls --plain-http "$A" | xargs)"
check "oras pushes a blob" inside oras blob push --plain-http "$A/oras/blob" c.bin
check "oras deletes a blob" inside oras blob delete --plain-http --force \
    "$A/oras/blob@sha256:$(sha256sum <"$R/work/c.bin" | cut -d' ' -f1)"
check "oras deletes a manifest" inside oras manifest delete --plain-http --force "$A/oras/restored:v1"
check_fails "it is gone" "not found" inside oras pull --plain-http "$A/oras/restored:v1"

# ---- cosign --------------------------------------------------------------------------------------

insecure=(--allow-insecure-registry --allow-http-registry)
check "cosign makes a key" inside cosign generate-key-pair
signed=$A/oras/copy@$(inside oras resolve --plain-http "$A/oras/copy:v1")
other=$A/oras/thing@$(inside oras resolve --plain-http "$A/oras/thing:v1")
check "cosign signs" inside cosign sign --yes --key cosign.key --tlog-upload=false "${insecure[@]}" "$signed"
check "cosign verifies" inside cosign verify --key cosign.pub --insecure-ignore-tlog "${insecure[@]}" "$signed"
check_fails "not what is not signed" "no (matching )?signatures" \
    inside cosign verify --key cosign.pub --insecure-ignore-tlog "${insecure[@]}" "$other"
export COSIGN_EXPERIMENTAL=1
check "cosign signs by a referrer" inside cosign sign --yes --key cosign.key --tlog-upload=false \
    --registry-referrers-mode oci-1-1 "${insecure[@]}" "$other"
check "cosign verifies it" inside cosign verify --experimental-oci11 --key cosign.pub --insecure-ignore-tlog "${insecure[@]}" "$other"
unset COSIGN_EXPERIMENTAL
check_match "oras sees it" "application/vnd.dev.cosign.artifact.sig" "$(inside oras discover --plain-http "$A/oras/thing:v1" 2>&1)"
echo '{"built": "here"}' >"$R/work/predicate.json"
check "cosign attests" inside cosign attest --yes --key cosign.key --tlog-upload=false --predicate predicate.json --type custom \
    "${insecure[@]}" "$signed"
check "cosign verifies that" inside cosign verify-attestation --key cosign.pub --type custom --insecure-ignore-tlog "${insecure[@]}" "$signed"
tree=$(inside cosign tree "${insecure[@]}" "$signed" 2>&1)
check_match "cosign tree: signatures" "Signatures for an image tag" "$tree"
check_match "and attestations" "Attestations for an image tag" "$tree"
check "cosign copies with signatures" inside cosign copy "${insecure[@]}" "$A/oras/copy:v1" "$A/cosign/copy:v1"
check "cosign verifies the copy" inside cosign verify --key cosign.pub --insecure-ignore-tlog "${insecure[@]}" "$A/cosign/copy:v1"
check "cosign cleans" inside cosign clean --force "${insecure[@]}" "$A/cosign/copy:v1"
check_fails "and it is not signed" "no (matching )?signatures" \
    inside cosign verify --key cosign.pub --insecure-ignore-tlog "${insecure[@]}" "$A/cosign/copy:v1"

# ---- skopeo, podman, buildah ---------------------------------------------------------------------

skopeo13() {
    inside skopeo --insecure-policy "$1" "${@:2}"
}
copy13() {
    skopeo13 copy --quiet --src-tls-verify=false --dest-tls-verify=false "$@"
}
check "skopeo pushes" copy13 oci:hello:hello "docker://$A/skopeo/hello:1"
check "skopeo pushes zstd" copy13 --dest-compress-format zstd oci:hello:hello "docker://$A/skopeo/hello:zstd"
check "skopeo pushes Docker's format" copy13 --format v2s2 oci:hello:hello "docker://$A/skopeo/hello:docker"
check "skopeo pulls" copy13 "docker://$A/skopeo/hello:1" oci:back:hello
check_eq "the same" "$(raw skopeo/hello/manifests/1 | sha256sum)" "$(inside skopeo inspect --raw oci:back:hello | sha256sum)"
check_match "skopeo lists tags" '"1",[[:space:]]*"docker",[[:space:]]*"zstd"' \
    "$(skopeo13 list-tags --tls-verify=false "docker://$A/skopeo/hello" | tr '\n' ' ')"
check "skopeo deletes" skopeo13 delete --tls-verify=false "docker://$A/skopeo/hello:docker"
check "skopeo copies within the server" copy13 "docker://$A/skopeo/hello:1" "docker://$A/skopeo/again:1"

podman13() {
    inside podman --cgroup-manager=cgroupfs --storage-driver=vfs --runtime=runc "$@"
}
check "podman pulls" podman13 pull --quiet --tls-verify=false "$A/skopeo/hello:1"
check "podman pulls zstd" podman13 pull --quiet --tls-verify=false "$A/skopeo/hello:zstd"
check "podman tags" podman13 tag "$A/skopeo/hello:1" "$A/podman/hello:1"
check "podman pushes" podman13 push --quiet --tls-verify=false "$A/podman/hello:1"
check "podman pushes zstd:chunked" podman13 push --quiet --tls-verify=false --compression-format zstd:chunked --force-compression \
    "$A/podman/hello:1" "$A/podman/hello:chunked"
check "podman removes all" podman13 rmi --all --force
check "podman pulls what it pushed" podman13 pull --quiet --tls-verify=false "$A/podman/hello:chunked"
printf 'FROM %s\nENV A=b\nLABEL n=1\n' "$A/skopeo/hello:1" >"$R/work/Dockerfile"
buildah13() {
    inside buildah --storage-driver=vfs "$@"
}
check "buildah builds" buildah13 build --isolation=chroot --network=host --tls-verify=false --quiet --tag "$A/buildah/app:1" .
check "buildah pushes" buildah13 push --quiet --tls-verify=false "$A/buildah/app:1"
check "buildah makes an index" buildah13 manifest create list
for name in skopeo/hello buildah/app; do
    check "of $name" buildah13 manifest add --tls-verify=false list "docker://$A/$name:1"
done
check "and pushes it" buildah13 manifest push --tls-verify=false --all list "docker://$A/buildah/list:1"
check_match "which is one" 'image.index|manifest.list' "$(raw buildah/list/manifests/1)"
check "skopeo copies all of it" copy13 --all "docker://$A/buildah/list:1" "docker://$A/buildah/list:2"
check_eq "the same" "$(raw buildah/list/manifests/1)" "$(raw buildah/list/manifests/2)"

# ---- docker --------------------------------------------------------------------------------------

start_server dockerd inside_instead dockerd --bridge=none --iptables=false --ip6tables=false --storage-driver=vfs
DOCKERD=$SERVER_PID
docker13() {
    inside docker "$@"
}
if wait_for 60 docker13 version; then
    check "docker pulls" docker13 pull --quiet "$A/skopeo/hello:1"
    check "docker pulls zstd" docker13 pull --quiet "$A/skopeo/hello:zstd"
    check "docker pulls from an index" docker13 pull --quiet "$A/buildah/list:1"
    docker13 tag "$A/skopeo/hello:1" "$A/docker/hello:1"
    check "docker pushes" docker13 push --quiet "$A/docker/hello:1"
    check_eq "docker runs" "from docker" "$(docker13 run --rm --network=none --log-driver=none --pull=always --quiet "$A/docker/hello:1" \
        /bin/sh -c 'echo from docker' 2>&1 | tail -n 1)"
    docker=yes
    # The containerd that came with it, in a name space of its own.
    ctr13() {
        inside ctr --address /run/docker/containerd/containerd.sock --namespace test "$@"
    }
    check "ctr pulls" ctr13 images pull --plain-http "$A/skopeo/hello:1"
    check "ctr pulls zstd" ctr13 images pull --plain-http "$A/skopeo/hello:zstd"
    check "ctr tags" ctr13 images tag "$A/skopeo/hello:1" "$A/ctr/hello:1"
    check "ctr pushes" ctr13 images push --plain-http "$A/ctr/hello:1"
    check_eq "the same" "$(raw skopeo/hello/manifests/1)" "$(raw ctr/hello/manifests/1)"
else
    skip "docker of Debian 13" "its daemon does not run here: $(tail -n 1 "$T/dockerd.log")"
    docker=no
fi

# ---- Nix -----------------------------------------------------------------------------------------

root=$(fixture shell) || die "no fixture"
hash=$(basename "$root" | cut -c 1-32)
check "a closure" nix copy --store "$FIXTURES" --to "$NACRE_URL" "$root"
check "Nix 2.26 downloads" inside nix copy --from "$NACRE_URL" --no-check-sigs --to /work/store "$root"
check "every NarHash is right" inside nix store verify --store /work/store --no-trust --recursive "$root"
# A line that breaks in each large answer, once.
start_proxy() {
    local port
    port=$(free_port)
    : >"$T/requests"
    start_server "proxy-$1" python3 "$SRC/tests/integration/lib/cutting_proxy.py" "$port" "${NACRE_ADDR##*:}" "$1" "$T/requests"
    PROXY=127.0.0.1:$port
    wait_http "http://$PROXY/v2/"
}
resumed() {
    awk -v what="$1" 'index($1, what) && $2 > 0' "$T/requests" | wc -l
}
start_proxy 200000
check "Nix 2.26 downloads over a bad line" inside nix copy --from "http://$PROXY" --no-check-sigs --to /work/store-bad "$root"
check "every NarHash is right" inside nix store verify --store /work/store-bad --no-trust --recursive "$root"
check "it went on in the middle" test "$(resumed /nar/)" -gt 0
start_proxy 1500000 # skopeo goes on only where it has come some way
check "skopeo pulls over a bad line" copy13 "docker://$PROXY/oras/thing:v1" dir:bad
check_same "what arrived is right" "$R/work/b.bin" "$R/work/bad/$(sha256sum <"$R/work/b.bin" | cut -d' ' -f1)"
check "it went on in the middle" test "$(resumed /blobs/)" -gt 0
check "Nix 2.26 signs" inside sh -c "nix key generate-secret --key-name k-1 >key && nix store sign --store /work/store -k key -r $root"
first=("$NACRE_URL" "$NACRE_ADDR")
for compression in xz zstd none; do
    start_nacre "$T/data-$compression"
    check "Nix 2.26 uploads, $compression" inside nix copy --from /work/store --no-check-sigs --to "$NACRE_URL?compression=$compression" "$root"
    check "and downloads" inside nix copy --from "$NACRE_URL" --no-check-sigs --to "/work/store-$compression" "$root"
    check "every NarHash is right" inside nix store verify --store "/work/store-$compression" --no-trust --recursive "$root"
    check_match "its signature came along" '^Sig: k-1:' "$(curl -s "$NACRE_URL/$hash.narinfo")"
    stop_nacre TERM
done
NACRE_URL=${first[0]} NACRE_ADDR=${first[1]}
check "Nix 2.26 lists a path" inside nix store ls --store "$NACRE_URL" -l "$root/bin"
for tag in "$hash" "$hash-tar" "$hash-gzip"; do
    check "podman pulls nix:$tag" podman13 pull --quiet --tls-verify=false "$A/nix:$tag"
    [ $docker = no ] || check "docker pulls nix:$tag" docker13 pull --quiet "$A/nix:$tag"
done
[ $docker = no ] || check_eq "docker runs it" "from the store" \
    "$(docker13 run --rm --network=none --log-driver=none "$A/nix:$hash" /bin/sh -c 'echo from the store' 2>&1 | tail -n 1)"
check "oras pulls a package" inside oras manifest fetch --plain-http "$A/nix/package:$hash"

# ---- TLS, and users --------------------------------------------------------------------------------

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$T/tls.key" -out "$T/tls.crt" -days 2 \
    -subj /CN=nacre -addext subjectAltName=IP:127.0.0.1 2>"$T/openssl.log"
cp "$T/tls.crt" "$R/usr/local/share/ca-certificates/nacre.crt"
check "the root trusts the server" inside update-ca-certificates
python3 -c 'import crypt, warnings
print("alice:" + crypt.crypt("secret", crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16)))' >"$T/htpasswd" 2>/dev/null ||
    perl -e 'print "alice:", crypt("secret", "\$2b\$04\$abcdefghijklmnopqrstuu"), "\n"' >"$T/htpasswd"
port=$(free_port)
start_server tls "$NACRE" serve --listen "127.0.0.1:$port" --data "$T/data-tls" --set "tls.certificate=$T/tls.crt" \
    --set "tls.key=$T/tls.key" --set "auth.htpasswd=$T/htpasswd"
wait_for 20 curl -sk -o "$T/wait" "https://127.0.0.1:$port/healthz" || die "no server with TLS: $(tail -n 3 "$T/tls.log")"
S=127.0.0.1:$port
check_fails "oras may not push as nobody" "401|unauthorized|denied|credential" inside oras blob push "$S/tls/thing" a.txt
check "oras logs in" inside oras login -u alice -p secret "$S"
check "and pushes" inside oras push "$S/tls/thing:1" a.txt
check "and attaches" inside oras attach --artifact-type application/vnd.example.sbom "$S/tls/thing:1" b.bin
check "cosign logs in" inside cosign login -u alice -p secret "$S"
check "and signs" inside cosign sign --yes --key cosign.key --tlog-upload=false "$S/tls/thing@$(inside oras resolve "$S/tls/thing:1")"
check "cosign verifies" inside cosign verify --key cosign.pub --insecure-ignore-tlog "$S/tls/thing:1"
check_fails "skopeo with another password is refused" "401|unauthorized|denied|invalid username" \
    skopeo13 copy --quiet --dest-creds alice:wrong oci:hello:hello "docker://$S/tls/hello:1"
check "skopeo pushes" skopeo13 copy --quiet --dest-creds alice:secret oci:hello:hello "docker://$S/tls/hello:1"
check "podman logs in" podman13 login -u alice -p secret "$S"
check "and pulls" podman13 pull --quiet "$S/tls/hello:1"
check "and pushes" podman13 push --quiet "$A/podman/hello:chunked" "$S/tls/podman:1"
if [ $docker = yes ]; then
    check "docker logs in" docker13 login -u alice -p secret "$S"
    docker13 tag "$A/docker/hello:1" "$S/tls/docker:1"
    check "and pushes" docker13 push --quiet "$S/tls/docker:1"
fi
printf 'machine 127.0.0.1 login alice password secret\n' >"$R/work/netrc"
check_fails "Nix may not upload as nobody" "401|403|denied|unauthor" \
    inside nix copy --from /work/store --no-check-sigs --to "https://$S" "$root"
check "Nix uploads with its netrc" inside nix copy --option netrc-file /work/netrc --from /work/store --no-check-sigs --to "https://$S" "$root"
check "and downloads" inside nix copy --from "https://$S" --no-check-sigs --to /work/store-tls "$root"

check_eq "no error in the logs" "" "$(grep -hE '^(error|.*Sanitizer|.*runtime error)' "$T"/nacre-*.log "$T/tls.log")"

# unshare waits for the daemon, whatever it is told itself.
if [ $docker = yes ]; then
    kill $(cat "/proc/$DOCKERD/task/$DOCKERD/children")
    check "the daemon ends" wait_for 30 process_gone "$DOCKERD"
fi
