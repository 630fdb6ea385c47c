#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Views of images: nacre mount, umount and bundle, every kind of view against the store itself, the image's
# config in full, podman on a mounted root file system, crashes.
. "$(dirname "$0")/lib.sh"
needs nix skopeo python3 fsck.erofs
needs_root

NODE=$T/node
run() {
    "$NACRE" run --root "$NODE" "$@"
}
says() {
    local desc=$1 want=$2
    shift 2
    check_eq "$desc" "$want" "$(run "$@" 2>&1)"
}
# Every name below a folder with kind, mode, size, target and content.
listing() {
    (cd "$1" && find . -not -type d -printf '%p %y %m %s %l\n' -o -type d -printf '%p %y %m\n' | sort -z | sort &&
        find . -type f -print0 | sort -z | xargs -0 -r sha256sum)
}
loops() {
    losetup --noheadings --output BACK-FILE 2>/dev/null | grep -c "$T"
}

P=$(fixture shell) || die "no fixture shell"
O=$(fixture odd) || die "no fixture odd"
I=oci:$T/image:shell
"$NACRE" build --from "$FIXTURES" "$P" -o "$I" >/dev/null 2>"$T/build.log" || die "$(cat "$T/build.log")"
"$NACRE" build --from "$FIXTURES" "$O" --platform linux/amd64 -o "oci:$T/image:odd" >/dev/null 2>"$T/build.log" ||
    die "$(cat "$T/build.log")"

# ---- mount and umount ------------------------------------------------------------------------------

for kind in erofs-file erofs-loop bind auto; do
    mkdir -p "$T/at-$kind"
    "$NACRE" mount --root "$NODE" --view "$kind" --read-only "oci:$T/image:odd" "$T/at-$kind" >"$T/out" 2>&1
    check_eq "mount --view $kind" "0 $T/at-$kind" "$? $(cat "$T/out")"
    closure "$O" | sed 's|.*/||' >"$T/want"
    check_eq "$kind: only the closure is visible" "$(cat "$T/want")" "$(ls "$T/at-$kind/nix/store" | sort)"
    while read -r base; do
        if [ -d "$FIXTURES/nix/store/$base" ] && [ ! -L "$FIXTURES/nix/store/$base" ]; then
            listing "$FIXTURES/nix/store/$base" >"$T/a" 2>&1
            listing "$T/at-$kind/nix/store/$base" >"$T/b" 2>&1
            cmp -s "$T/a" "$T/b" || not_ok "$kind: $base is as in the store" "$(diff "$T/a" "$T/b")"
        elif [ -L "$FIXTURES/nix/store/$base" ]; then
            check_eq "$kind: $base" "$(readlink "$FIXTURES/nix/store/$base")" "$(readlink "$T/at-$kind/nix/store/$base")"
        else
            cmp "$FIXTURES/nix/store/$base" "$T/at-$kind/nix/store/$base" || not_ok "$kind: $base"
        fi
    done <"$T/want"
    ok "$kind: every path is as in the store"
    check_fails "$kind: read-only" "Read-only" touch "$T/at-$kind/new"
    [ "$kind" = bind ] || check_eq "$kind: one mount in sight" 1 "$(grep -c " $T/at-$kind" /proc/self/mountinfo)"
    check_fails "$kind: not twice" "already" "$NACRE" mount --root "$NODE" "oci:$T/image:odd" "$T/at-$kind"
    check "umount" "$NACRE" umount --root "$NODE" "$T/at-$kind"
    check_fails "umount again" "nothing is mounted" "$NACRE" umount --root "$NODE" "$T/at-$kind"
    check_eq "$kind: nothing is left" "0 0" "$(grep -c "$T/at-$kind" /proc/self/mountinfo) $(find "$NODE/mounts" -mindepth 1 | wc -l)"
done
check_eq "no loop devices are left" 0 "$(loops)"

# Two images that share paths: once on disk, once in the page cache.
"$NACRE" build --from "$FIXTURES" "$P" "$O" --platform linux/amd64 -o "oci:$T/image:both" >/dev/null 2>"$T/build.log" ||
    die "$(cat "$T/build.log")"
shared=$(cd "$FIXTURES" && closure "$P" | sed 's|^/||' | xargs -I{} find {} -type f -size +100k | sort | head -n 1)
for kind in erofs-file erofs-loop bind; do
    mkdir -p "$T/one" "$T/other"
    "$NACRE" mount --root "$NODE" --view "$kind" --read-only "$I" "$T/one" >/dev/null 2>&1
    "$NACRE" mount --root "$NODE" --view "$kind" --read-only "oci:$T/image:both" "$T/other" >/dev/null 2>&1
    check_eq "$kind: what one image reads is in memory for the other" shared \
        "$(python3 "$SRC/tests/integration/lib/page_cache.py" "$T/one/$shared" "$T/other/$shared" 2>&1)"
    "$NACRE" umount --root "$NODE" "$T/one" "$T/other" >/dev/null
done
check_eq "each path is on the disk once" "$(closure "$P" "$O" | xargs -I{} nix-store --store "$FIXTURES" --query --hash {} | sort -u | wc -l)" \
    "$(find "$NODE/paths" -mindepth 1 -maxdepth 1 | wc -l)"
check_match "files that are alike and not shared are told apart" "0 of" "$(cp "$FIXTURES/$shared" "$T/copy" && python3 "$SRC/tests/integration/lib/page_cache.py" "$FIXTURES/$shared" "$T/copy" 2>&1)"
check_fails "what is not ours is not unmounted" "not a view" "$NACRE" umount --root "$NODE" /proc
check_fails "a target that is not there" "No such file" "$NACRE" mount --root "$NODE" "$I" "$T/no/such"

M=$("$NACRE" mount --root "$NODE" "$I")
check_match "a place of its own" "^$NODE/mounts/[0-9a-f]{16}/rootfs$" "$M"
echo changed >"$M/etc/new"
check_eq "it can be written" changed "$(cat "$M/etc/new")"
exec 7<"$M/etc/new"
check_fails "not while it is in use" "in use" "$NACRE" umount --root "$NODE" "$M"
exec 7<&-
if command -v podman >/dev/null; then
    podman_run --rootfs "$M" sh -c 'echo from podman' >"$T/out" 2>&1
    check_eq "podman run --rootfs" "from podman" "$(tail -n 1 "$T/out")"
    R=$("$NACRE" mount --root "$NODE" --read-only "$I")
    podman_run --rootfs "$R:O" sh -c 'echo written >/new && cat /new' >"$T/out" 2>&1
    check_eq "podman run --rootfs …:O over a read-only one" "written" "$(tail -n 1 "$T/out")"
    check "umount that" "$NACRE" umount --root "$NODE" "$R"
else
    skip "podman run --rootfs" "podman is not installed"
fi
check "umount it" "$NACRE" umount --root "$NODE" "$M"
check_eq "what was written is gone" "" "$(find "$NODE/mounts" -mindepth 1)"

# ---- how many mounts ---------------------------------------------------------------------------------

# (Of the release build, whatever is tested otherwise: it only has to say it as it is written.)
"$SRC/tests/bench/mount-count" 1 50 1500 >"$T/out" 2>"$T/log" || not_ok "mount-count" "$(tail -n 5 "$T/log")"
check_eq "mount-count: a line for each N, two mounts whatever it is" "1 2 ms 50 2 ms 1500 2 ms" "$(sed -E 's/ [0-9]+\.?[0-9]*$/ ms/' "$T/out" | xargs)"

# ---- larger closures -------------------------------------------------------------------------------

for name in git synthetic-1500 $([ "$LONG" = 0 ] || echo python3 synthetic-5000); do
    L=$(fixture "$name") || die "no fixture $name"
    "$NACRE" build --from "$FIXTURES" "$L" --platform linux/amd64 -o "oci:$T/image:$name" >/dev/null 2>"$T/build.log" ||
        die "$(cat "$T/build.log")"
    "$NACRE" mount --root "$NODE" --read-only "oci:$T/image:$name" "$T/at-auto" >"$T/out" 2>&1 || not_ok "mount $name" "$(cat "$T/out")"
    check_eq "$name: the closure, and nothing else" "$(closure "$L" | sed 's|.*/||')" "$(find "$T/at-auto/nix/store" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort)"
    listing "$FIXTURES$L" >"$T/a" 2>&1
    listing "$T/at-auto$L" >"$T/b" 2>&1
    check_same "$name: its root path is as in the store" "$T/a" "$T/b"
    check_eq "$name: one mount in sight" 1 "$(grep -c " $T/at-auto" /proc/self/mountinfo)"
    check "$name: umount" "$NACRE" umount --root "$NODE" "$T/at-auto"
done
for image in "$NODE"/views/*.erofs; do
    fsck.erofs "$image" >"$T/out" 2>&1 || not_ok "fsck.erofs $image" "$(cat "$T/out")"
done
ok "fsck.erofs takes every image"

# ---- bundles ---------------------------------------------------------------------------------------

B=$T/bundles/mine
check "nacre bundle" "$NACRE" bundle --root "$NODE" -e x=y "$I" "$B" sh -c 'echo $x $(cat /proc/sys/kernel/hostname)'
check_eq "a runtime runs it" "y mine" "$(with_crun "$(oci_runtime)" --root "$T/runtime-state" run --bundle "$B" "bundle-$$" 2>&1)"
check "umount the bundle's" "$NACRE" umount --root "$NODE" "$B/rootfs"
check_fails "an image without a command" "names no command" "$NACRE" bundle --root "$NODE" "oci:$T/image:odd" "$T/bundles/other"
check_eq "nothing is left mounted" 0 "$(grep -c "$T/bundles" /proc/self/mountinfo)"

# ---- the image's config and options ----------------------------------------------------------------

says "tmpfs" "tmpfs 1777" --tmpfs /scratch "$I" sh -c 'echo $(stat -f -c %T /scratch) $(stat -c %a /scratch)'
says "tmpfs with options" 700 --tmpfs /scratch:mode=700,size=1m "$I" stat -c %a /scratch
says "ulimit" "200 300" --ulimit nofile=200:300 "$I" sh -c 'echo $(ulimit -S -n) $(ulimit -H -n)'
says "capabilities, dropped" 0000000000000000 --cap-drop ALL "$I" sh -c 'grep CapEff /proc/self/status | tr -dc 0-9a-f\\n | tail -c 17'
caps() {
    run "$@" "$I" sh -c 'while read -r name value; do [ $name = CapEff: ] && echo $value; done </proc/self/status' 2>&1
}
check_eq "--cap-drop" "$(printf '%016x' $((0x$(caps) & ~1)))" "$(caps --cap-drop chown)"
check_eq "a user that is not root has none" 0000000000000000 "$(caps -u 1000)"
check_eq "but those that were added" 0000000000000400 "$(caps -u 1000 --cap-add NET_BIND_SERVICE)"
check_fails "a capability that is none" "no capability 'FLY'" run --cap-add FLY "$I" true
check_fails "a ulimit that is none" "wanted as nofile" run --ulimit nofiles=3 "$I" true
check_fails "a size that is none" "wanted a size" run --memory lots "$I" true
check_fails "a relative tmpfs" "wanted /DESTINATION" run --tmpfs x "$I" true
says "masked" "" "$I" cat /proc/keys
check_fails "read-only paths" "Read-only|nonexistent|cannot create" run "$I" sh -c 'echo 1 >/proc/sys/kernel/printk'
python3 - "$T" <<'PYTHON'
import json, hashlib, os, sys
d = sys.argv[1] + '/image'
def blob(data):
    digest = hashlib.sha256(data).hexdigest()
    open(f'{d}/blobs/sha256/{digest}', 'wb').write(data)
    return {'digest': 'sha256:' + digest, 'size': len(data)}
index = json.load(open(d + '/index.json'))
old = next(m for m in index['manifests'] if m['annotations']['org.opencontainers.image.ref.name'] == 'shell')
manifest = json.load(open(f"{d}/blobs/sha256/{old['digest'][7:]}"))
config = json.load(open(f"{d}/blobs/sha256/{manifest['config']['digest'][7:]}"))
config['config'].update({'Volumes': {'/data/deep': {}, '/tmp': {}, '/../../evil': {}}, 'WorkingDir': '/data', 'User': '7:8',
                         'Env': ['PATH=/bin', 'A=1'], 'Entrypoint': ['sh', '-c'], 'Cmd': ['echo $A $(pwd) $(id -u) $(id -g)']})
manifest['config'].update(blob(json.dumps(config).encode()))
new = dict(old, annotations={'org.opencontainers.image.ref.name': 'full'}, **blob(json.dumps(manifest).encode()))
index['manifests'].append(new)
json.dump(index, open(d + '/index.json', 'w'))
PYTHON
says "the image's config" "1 /data 7 8" "oci:$T/image:full"
says "volumes exist" "/data/deep" "oci:$T/image:full" 'cd /data/deep && pwd'
says "volumes of a read-only container can be written" ok -u 0 --read-only "oci:$T/image:full" 'echo ok >/data/deep/x && cat /data/deep/x'
check_eq "a volume that leads outside is not made" 1 "$([ -e "$NODE/run/evil" ] || [ -e /evil ] || echo 1)"
if [ -w /sys/fs/cgroup ] && run --memory 64m "$I" true >"$T/out" 2>&1; then
    says "memory limit" ok --memory 64m --pids-limit 50 --cpus 0.5 "$I" echo ok
else
    skip "memory limit" "$(head -n 1 "$T/out" 2>/dev/null)"
fi

# ---- crashes ---------------------------------------------------------------------------------------

for i in 1 2 3 4 5 6 7 8 9 10; do
    "$NACRE" mount --root "$NODE" --view "$([ $((i % 2)) = 0 ] && echo erofs-loop || echo bind)" "$I" "$T/at-auto" >/dev/null 2>&1 &
    sleep "0.0$i"
    kill -KILL $! 2>/dev/null
    wait $! 2>/dev/null
    if grep -q " $T/at-auto " /proc/self/mountinfo; then
        [ "$(ls "$T/at-auto/nix/store" | wc -l)" = "$(closure "$P" | wc -l)" ] || not_ok "a whole view or none"
        "$NACRE" umount --root "$NODE" "$T/at-auto" || not_ok "umount after a crash"
    fi
done
check_eq "crashes leave no mounts" 0 "$(grep -c "$T" /proc/self/mountinfo)"
# The kernel takes a name space that nobody is in any more apart in its own time.
no_loops() {
    [ "$(loops)" = 0 ]
}
check "and no loop devices" wait_for 10 no_loops
check "and what they left is in nobody's way" "$NACRE" mount --root "$NODE" "$I" "$T/at-auto"
"$NACRE" umount --root "$NODE" "$T/at-auto"
