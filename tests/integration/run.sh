#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nacre run: images of store paths, ordinary images, both at once, and images that lie.
. "$(dirname "$0")/lib.sh"
needs nix skopeo python3
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

P=$(fixture shell) || die "no fixture shell"
I=oci:$T/image:shell
"$NACRE" build --from "$FIXTURES" "$P" -o "$I" --label a=b >/dev/null 2>"$T/build.log" || die "$(cat "$T/build.log")"

says "the output" hello "$I" sh -c 'echo hello'
run "$I" sh -c 'exit 7' >"$T/out" 2>&1
check_eq "the exit code is the container's" 7 $?
"$NACRE" run --root "$NODE" "$I" sh -c 'trap "exit 5" TERM; echo ready; while :; do sleep 0.1; done' >"$T/out" 2>&1 &
wait_for 20 grep -q ready "$T/out"
kill -TERM $!
wait $!
check_eq "SIGTERM goes to the container" 5 $?
# As shells, docker and podman have it.
for runtime in crun runc; do
    command -v $runtime >/dev/null || continue
    for case in "127 /no/such/program" "127 nosuch" "127 bin" "126 /bin" "126 /etc/passwd" "125 -v $T/nosuch:/v sh" "125 --ulimit core=unlimited -v $T/nosuch:/v sh" \
        "7 /bin/sh -c 'exit 7'" "7 bin/sh -c 'exit 7'"; do
        eval "set -- $case"
        want=$1 options=()
        shift
        while [[ $1 == -* ]]; do
            options+=("$1" "$2")
            shift 2
        done
        run --runtime $runtime "${options[@]}" "$I" "$@" >"$T/out" 2>&1
        check_eq "$runtime: the exit code of $case" "$want" $?
    done
done
says "environment" "x=1 PATH=/bin HOME=/root" -e x=1 "$I" sh -c 'echo x=$x PATH=$PATH HOME=$HOME'
y=passed says "environment passed on" passed -e y "$I" sh -c 'echo $y'
says "working directory" /tmp -w /tmp "$I" pwd
says "user by number" "1000 100" -u 1000:100 "$I" sh -c 'echo $(id -u) $(id -g)'
says "user by name" "65534" -u nobody "$I" id -u
check_fails "a user that the image does not know" "no user 'me'" run -u me "$I" id
mkdir "$T/volume" && echo data >"$T/volume/file"
says "volume" data -v "$T/volume:/mnt/v" "$I" cat /mnt/v/file
check_fails "read-only volume" "Read-only" run -v "$T/volume:/v:ro" "$I" sh -c 'echo x >/v/new'
says "a root file system that can be written" ok "$I" sh -c 'echo ok >/etc/x && cat /etc/x'
check_fails "--read-only" "Read-only" run --read-only "$I" sh -c 'echo ok >/etc/x'
says "what is written to a store path is the container's alone" x "$I" sh -c "echo x >$P/x && cat $P/x"
check_fails "and gone with it" "No such file" run "$I" cat "$P/x"
for kind in erofs-file erofs-loop bind; do
    says "--view $kind" hello --view "$kind" "$I" sh -c 'echo hello'
    check_eq "--view $kind: only the closure is visible" "$(closure "$P" | sed 's|.*/||')" \
        "$(run --view "$kind" "$I" ls /nix/store)"
done
check_match "the kind of view is reported" "view: (erofs-file|erofs-loop), 2 mounts" \
    "$("$NACRE" --verbose run --root "$NODE" "$I" true 2>&1)"
check_fails "a kind that is none" "wanted auto" run --view fuse "$I" true
says "standard input" piped "$I" cat < <(echo piped)
says "no network" "lo" "$I" sh -c 'cd /sys/class/net && echo *'
says "host name" box --hostname box "$I" sh -c 'cat /proc/sys/kernel/hostname'
says "entry point" "-c no" --entrypoint /bin/echo "$I" -c no
says "modes of the root layer" "1777 700" "$I" sh -c 'stat -c %a /tmp /root | xargs' # one line
check_eq "only the closure is visible" "$(closure "$P" | sed 's|.*/||')" "$(run "$I" ls /nix/store)"
check_eq "nothing is left of containers" "" "$(find "$NODE/run" "$NODE/tmp" -mindepth 1 2>/dev/null)"
check_eq "no mounts are left" "" "$(mounts_below "$NODE")"
check_eq "what layers hold is its owner's alone" "700 700" "$(stat -c %a "$NODE/layers" "$NODE/tmp" | xargs)"

# A nacre that was killed leaves nothing behind for long.
"$NACRE" run --root "$NODE" "$I" sh -c 'echo ready; sleep 1000' >"$T/out" 2>&1 &
wait_for 20 grep -q ready "$T/out"
kill -KILL $!
wait $! 2>/dev/null
mkdir -p "$NODE/tmp/leftover/dir"
says "after a crash" fine "$I" echo fine
check_eq "the crash left no container" "" "$(find "$NODE/run" "$NODE/tmp" -mindepth 1)"
check_eq "and no process" "" "$(pgrep -f 'sleep 1000')"

# What is there is not fetched again, even when the image is gone.
rm -rf "$T/image/blobs"
says "index.json says that the image is the same" here "$I" echo here
rm -rf "$T/image"
check_fails "the image is gone" "." run "$I" true
says "--pull missing" here --pull missing "$I" echo here
check_fails "--pull never" "never" run --pull never "oci:$T/image:other" true

# The same paths in one layer, in another compression and without annotations: recognised, not unpacked.
"$NACRE" build --from "$FIXTURES" "$P" -o "oci:$T/grouped:1" --max-layers 4 --compression gzip >/dev/null 2>&1
layers=$(find "$NODE/layers" -mindepth 1 -maxdepth 1 -type d | wc -l)
says "grouped and compressed otherwise" hello "oci:$T/grouped:1" sh -c 'echo hello'
check_eq "no store layer was unpacked as a directory" "$layers" "$(find "$NODE/layers" -mindepth 1 -maxdepth 1 -type d | wc -l)"

# Ordinary images.
hello_image "$T/hello"
says "an ordinary image" ordinary "oci:$T/hello:hello" /bin/echo ordinary

# Hostile and odd images, made by hand.
python3 - "$T" "$P" <<'PYTHON'
import copy, gzip, hashlib, io, json, os, shutil, sys, tarfile
top, path = sys.argv[1:]

def blob(dir, data):
    digest = hashlib.sha256(data).hexdigest()
    os.makedirs(f"{dir}/blobs/sha256", exist_ok=True)
    with open(f"{dir}/blobs/sha256/{digest}", "wb") as file:
        file.write(data)
    return {"digest": "sha256:" + digest, "size": len(data)}

def read(dir, digest):
    with open(f"{dir}/blobs/sha256/{digest[7:]}", "rb") as file:
        return file.read()

def layout(dir, manifest):
    ref = blob(dir, json.dumps(manifest).encode())
    ref.update(mediaType=manifest["mediaType"], annotations={"org.opencontainers.image.ref.name": "1"})
    with open(f"{dir}/index.json", "w") as file:
        json.dump({"schemaVersion": 2, "manifests": [ref]}, file)
    with open(f"{dir}/oci-layout", "w") as file:
        file.write('{"imageLayoutVersion":"1.0.0"}')

base = f"{top}/grouped"
index = json.load(open(f"{base}/index.json"))
manifest = next(m for m in (json.loads(read(base, d["digest"])) for d in index["manifests"]) if len(m["layers"]) > 1)
config = json.loads(read(base, manifest["config"]["digest"]))

def variant(name, change):
    dir = f"{top}/{name}"
    shutil.copytree(base, dir)
    m, c = copy.deepcopy(manifest), copy.deepcopy(config)
    change(dir, m, c)
    m["config"].update(blob(dir, json.dumps(c).encode()))
    layout(dir, m)

def lie(dir, m, c):  # the paths of the first layer claim to be the second layer
    m["layers"][0]["annotations"], m["layers"][1]["annotations"] = m["layers"][1]["annotations"], m["layers"][0]["annotations"]
def wrong_hash(dir, m, c):
    a = m["layers"][0]["annotations"]
    a["containerd.io/snapshot/nacre.path.0"] = a["containerd.io/snapshot/nacre.path.0"].replace("sha256:0", "sha256:1").replace("sha256:1", "sha256:0", 1)
def malformed(dir, m, c):
    m["layers"][0]["annotations"] = {"containerd.io/snapshot/nacre.path.0": "/nix/store/../../etc sha256:x 1"}
def many(dir, m, c):
    m["layers"][0]["annotations"] = {f"containerd.io/snapshot/nacre.path.{i}": "/etc/passwd" for i in range(5000)}
def wrong_diff_id(dir, m, c):
    c["rootfs"]["diff_ids"][0] = "sha256:" + "0" * 64
def too_few_diff_ids(dir, m, c):
    c["rootfs"]["diff_ids"].pop()
def damaged(dir, m, c):
    name = f"{dir}/blobs/sha256/{m['layers'][0]['digest'][7:]}"
    data = bytearray(open(name, "rb").read())
    data[len(data) // 2] ^= 1
    os.unlink(name)
    open(name, "wb").write(data)
def extra_layer(files, at=None):  # on top, or at this place
    def change(dir, m, c):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            for name, data in files:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        place = len(m["layers"]) if at is None else at
        m["layers"].insert(place, {"mediaType": "application/vnd.oci.image.layer.v1.tar", **blob(dir, out.getvalue())})
        c["rootfs"]["diff_ids"].insert(place, "sha256:" + hashlib.sha256(out.getvalue()).hexdigest())
        c["history"].append({})
    return change
variant("lie", lie)
variant("wrong-hash", wrong_hash)
variant("malformed", malformed)
variant("many", many)
variant("wrong-diff-id", wrong_diff_id)
variant("too-few", too_few_diff_ids)
variant("damaged", damaged)
variant("mixed", extra_layer([("etc/extra", b"extra\n"), ("bin/.wh.cat", b"")]))
variant("on-top", extra_layer([(path[1:] + "/added", b"added\n")]))
variant("hidden", extra_layer([("nix/.wh..wh..opq", b"")]))
variant("whiteout", extra_layer([(".wh.nix", b"")]))
variant("below", extra_layer([("nix/.wh..wh..opq", b""), ("nix/store/.wh." + os.path.basename(path), b"")], at=0))
variant("escape", extra_layer([("../../escape", b"x")]))
layout_dir = f"{top}/artifact"
os.makedirs(layout_dir)
empty = {"mediaType": "application/vnd.oci.empty.v1+json", **blob(layout_dir, b"{}")}
layout(layout_dir, {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "artifactType": "application/x-test", "config": empty, "layers": [empty]})
PYTHON
for name in lie wrong-hash malformed many; do
    says "annotations that lie ($name) change nothing" hello "oci:$T/$name:1" sh -c 'echo hello'
    NODE=$T/node-$name says "annotations that lie ($name), on an empty node" hello "oci:$T/$name:1" sh -c 'echo hello'
done
check_fails "a diffID that the layer does not have" "diffID" run "oci:$T/wrong-diff-id:1" true
check_fails "fewer diffIDs than layers" "layers" run "oci:$T/too-few:1" true
NODE=$T/node-damaged check_fails "a damaged blob" "sha256|digest|size|bytes" run "oci:$T/damaged:1" true
says "an ordinary layer above store layers" extra "oci:$T/mixed:1" sh -c 'read x </etc/extra; echo $x'
hides() { # DESC OPTION… IMAGE PROGRAM
    run "${@:2}" >"$T/out" 2>&1
    check_eq "$1" 127 $?
}
hides "its whiteout" "oci:$T/mixed:1" cat
says "a layer that reaches into a store path is stacked" added "oci:$T/on-top:1" cat "$P/added"
says "and the path itself stays as it was" "no" "oci:$T/grouped:1" sh -c "test -e $P/added || echo no"
for kind in auto bind; do
    hides "an opaque directory above hides store paths ($kind)" --view $kind "oci:$T/hidden:1" true
    hides "and so does a whiteout ($kind)" --view $kind "oci:$T/whiteout:1" true
    says "below, they do not ($kind)" hello --view $kind "oci:$T/below:1" sh -c 'echo hello'
done
check_fails "a layer that reaches outside" "\.\." run "oci:$T/escape:1" true
check_fails "an artifact is no image" "artifact" run "oci:$T/artifact:1" true
