#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nacre run without privileges: a user name space, bind mounts, overlayfs with user xattrs.
. "$(dirname "$0")/lib.sh"
needs nix python3 setpriv crun
needs_root

# A user without a name will do.
USER_ID=54321
as_user() {
    setpriv --reuid "$USER_ID" --regid "$USER_ID" --clear-groups env -u XDG_DATA_HOME HOME="$T/user" ASAN_OPTIONS=detect_leaks=0 "$@"
}
if ! as_user unshare --user --map-root-user true 2>/dev/null; then
    skip "$(basename "$0" .sh)" "users may not have name spaces here"
    exit 0
fi
P=$(fixture shell) || die "no fixture shell"
mkdir "$T/user" && chown "$USER_ID:$USER_ID" "$T/user"
cp "$NACRE" "$T/nacre"
"$NACRE" build --from "$FIXTURES" "$P" -o "oci:$T/image:shell" >/dev/null 2>"$T/build.log" || die "$(cat "$T/build.log")"
chmod -R a+rX "$T/image"
run() {
    as_user "$T/nacre" run "$@"
}

cd "$T/user" || die "cd"
check_eq "a user runs an image" hello "$(run "oci:$T/image:shell" sh -c 'echo hello' 2>&1)"
check_eq "as root of its own" 0 "$(run "oci:$T/image:shell" id -u 2>&1)"
check_eq "only the closure is visible" "$(closure "$P" | sed 's|.*/||')" "$(run "oci:$T/image:shell" ls /nix/store 2>&1)"
check_eq "what it keeps is the user's" "$USER_ID" "$(stat -c %u "$T/user/.local/share/nacre/paths")"
check_eq "it can be written" ok "$(run "oci:$T/image:shell" sh -c 'echo ok >/tmp/x && cat /tmp/x' 2>&1)"
check_fails "a store path cannot" "Read-only" run "oci:$T/image:shell" sh -c "echo x >$P/x"
check_fails "--view erofs-file" "not permitted" run --view erofs-file "oci:$T/image:shell" true
mkdir "$T/user/volume" && chown "$USER_ID" "$T/user/volume"
run -v "$T/user/volume:/v" "oci:$T/image:shell" sh -c 'echo mine >/v/file'
check_eq "volumes, with the user's own name on what is written" "mine $USER_ID" "$(cat "$T/user/volume/file") $(stat -c %u "$T/user/volume/file")"
check_eq "nothing is left" "" "$(find "$T/user/.local/share/nacre/run" -mindepth 1 ! -path '*/.state*')"

# Ordinary layers with owners, whiteouts and opaque directories.
python3 - "$T" <<'PYTHON'
import gzip, hashlib, io, json, os, sys, tarfile
t = sys.argv[1]
d = t + '/image'
def blob(data):
    digest = hashlib.sha256(data).hexdigest()
    open(f'{d}/blobs/sha256/{digest}', 'wb').write(data)
    return {'digest': 'sha256:' + digest, 'size': len(data)}
def layer(entries):
    out = io.BytesIO()
    tar = tarfile.open(fileobj=out, mode='w')
    for name, kind, data, uid in entries:
        info = tarfile.TarInfo(name)
        info.uid = info.gid = uid
        info.mode = 0o755
        if kind == 'd':
            info.type = tarfile.DIRTYPE
        elif kind == 'c':
            info.type, info.devmajor, info.devminor = tarfile.CHRTYPE, *data
        else:
            info.size = len(data)
        tar.addfile(info, io.BytesIO(data) if kind == 'f' else None)
    tar.close()
    return out.getvalue()
index = json.load(open(d + '/index.json'))
old = index['manifests'][0]
manifest = json.load(open(f"{d}/blobs/sha256/{old['digest'][7:]}"))
config = json.load(open(f"{d}/blobs/sha256/{manifest['config']['digest'][7:]}"))
for tar in (layer([('device', 'c', (1, 3), 0), ('host-device', 'c', (10, 200), 0), ('data', 'd', b'', 1000), ('data/old', 'f', b'old', 1000), ('etc/gone', 'f', b'x', 0)]),
            layer([('data', 'd', b'', 0), ('data/.wh..wh..opq', 'f', b'', 0), ('data/new', 'f', b'new', 7), ('etc/.wh.gone', 'f', b'', 0)])):
    manifest['layers'].append(dict(blob(tar), mediaType='application/vnd.oci.image.layer.v1.tar'))
    config['rootfs']['diff_ids'].append('sha256:' + hashlib.sha256(tar).hexdigest())
config['history'] = []
manifest['config'].update(blob(json.dumps(config).encode()))
index['manifests'].append(dict(old, annotations={'org.opencontainers.image.ref.name': 'layers'}, **blob(json.dumps(manifest).encode())))
json.dump(index, open(d + '/index.json', 'w'))
PYTHON
chmod -R a+rX "$T/image"
check_eq "ordinary layers, whiteouts, opaque directories" "new no" \
    "$(run "oci:$T/image:layers" sh -c 'echo $(ls /data) $(test -e /etc/gone || echo no)' 2>&1)"
check_eq "the same as root" "new no" \
    "$("$NACRE" run --root "$T/node" "oci:$T/image:layers" sh -c 'echo $(ls /data) $(test -e /etc/gone || echo no)' 2>&1)"
check_eq "--rootless as root" "new no" \
    "$("$NACRE" run --rootless --root "$T/node-2" "oci:$T/image:layers" sh -c 'echo $(ls /data) $(test -e /etc/gone || echo no)' 2>&1)"

check_eq "devices are left out" no "$(run "oci:$T/image:layers" sh -c 'test -e /device || echo no' 2>&1)"
check_eq "root has them" yes "$("$NACRE" run --root "$T/node" "oci:$T/image:layers" sh -c 'test -c /device && echo yes' 2>&1)"
check_eq "but none of the host's" no "$("$NACRE" run --root "$T/node" "oci:$T/image:layers" sh -c 'test -e /host-device || echo no' 2>&1)"

# With ranges of its own a user can give files to others, and be others.
if command -v newuidmap >/dev/null; then
    { cat /etc/passwd && echo "nacretest:x:$USER_ID:$USER_ID::$T/user:/bin/sh"; } >"$T/passwd"
    echo "nacretest:300000:65536" >"$T/subids"
    with_ranges() {
        unshare --mount sh -c 'mount --bind "$1/passwd" /etc/passwd && touch "$1/mark" && for f in subuid subgid; do
            [ -e /etc/$f ] || exit 9; mount --bind "$1/subids" /etc/$f || exit 9; done; shift; exec "$@"' ranges "$T" "$@"
    }
    if with_ranges true 2>/dev/null; then
        check_eq "users of the image" "1000 7" "$(with_ranges setpriv --reuid "$USER_ID" --regid "$USER_ID" --clear-groups env -u XDG_DATA_HOME \
            HOME="$T/user" ASAN_OPTIONS=detect_leaks=0 "$T/nacre" run --root "$T/user/ranges" -u 1000:1000 "oci:$T/image:layers" \
            sh -c 'echo $(id -u) $(stat -c %u /data/new)' 2>&1)"
        check_eq "are numbers of the range outside" 300006 "$(find "$T/user/ranges/layers" -path '*/data/new' -exec stat -c %u {} +)"
    else
        skip "users of the image" "no /etc/subuid here"
    fi
else
    skip "users of the image" "needs newuidmap"
fi
