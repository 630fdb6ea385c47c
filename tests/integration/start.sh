#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What the program loads when it starts, what it loads later, and what it says when that is not there.
. "$(dirname "$0")/lib.sh"
needs unshare readelf xz bzip2
needs_root

# Those that a command loads, in either way, by their names without versions.
loads() { # CMD…
    LD_DEBUG=files "$@" 2>&1 >"$T/out" | sed -n 's|.*calling init: .*/\(lib[^/]*\)\.so[.0-9]*$|\1|p' | sort -u | grep -vx 'ld-linux.*' | xargs
}

# Each that comes to this costs every command its start.
few="libc libjansson libm libprotobuf-c libsqlite3 libz libzstd"
hashing="libc libcrypto ${few#libc }"
echo hello >"$T/file"
"$NACRE" nar dump "$T/file" >"$T/file.nar"
check_eq "nacre --version" "$few" "$(loads "$NACRE" --version)"
check_eq "nacre serve --help" "$few" "$(loads "$NACRE" serve --help)"
check_eq "nacre nar hash" "$hashing" "$(loads "$NACRE" nar hash "$T/file")"
check_match "hashed" "^sha256:" "$(cat "$T/out")"
check_eq "nacre nar ls" "$few" "$(loads "$NACRE" nar ls "$T/file.nar")"
check_eq "a copy between directories" "$hashing" "$(hello_image "$T/image" >/dev/null && loads "$NACRE" copy "oci:$T/image:hello" "oci:$T/copy:x")"
check_match "HTTP has libcurl loaded" '(^| )libcurl( |$)' "$(loads "$NACRE" inspect docker://127.0.0.1:1/x:y)"

# The notes name what is loaded by hand, for packagers.
noted=$(grep -ao '"soname":\["[^"]*"\]' "$NACRE" | cut -d'"' -f4 | sort)
check_match "it is known to the notes" '^libcurl\.so' "$noted"
check_eq "the notes are notes" NOTE "$(readelf -SW "$NACRE" | sed -n 's/.*\.note\.dlopen *\([A-Z]*\) .*/\1/p')"
ldconfig -p >"$T/known"
check_eq "each can be loaded here" "" "$(for name in $noted; do
    grep -qF "	$name " "$T/known" || echo "$name"
done)"
check_eq "none of them is linked" "" "$(readelf -dW "$NACRE" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -xF "$noted")"

# As on a machine that has none of them: each is an empty file. Nearly every command hashes, so that is looked at by itself.
for name in $noted; do
    sed -n "s|^	$name .* => ||p" "$T/known"
done | sort -u >"$T/files"
grep libcrypto "$T/files" >"$T/hashing"
grep -v libcrypto "$T/files" >"$T/files.new" && mv "$T/files.new" "$T/files"
: >"$T/nothing"
without() { # CMD…
    # shellcheck disable=SC2016
    unshare --mount sh -c 'while read -r file; do mount --bind "$2" "$file" || exit 126; done <"$1"; shift 2; exec "$@"' \
        sh "$T/files" "$T/nothing" "$@"
}
check "without them: nar hash" without "$NACRE" nar hash "$T/file"
check "without them: a copy between directories" without "$NACRE" copy "oci:$T/image:hello" "oci:$T/copy:y"
says() { # DESC WHAT PACKAGE CMD…
    check_fails "without $1" "$2 needs $1[^ ]*, which cannot be loaded: .*file too short.*package $3" without "${@:4}"
}
without_hashing() {
    cp "$T/files" "$T/files.all" && cp "$T/hashing" "$T/files"
    says "libcrypto" hashing libssl3 "$@"
    mv "$T/files.all" "$T/files"
}
without_hashing "$NACRE" nar hash "$T/file"
without_hashing "$NACRE" key generate test-1
without_hashing "$NACRE" serve --data "$T/data" --listen 127.0.0.1:0
without_hashing "$NACRE" snapshotter --address "$T/s.sock" --root "$T/node"
says libcurl HTTP libcurl4 "$NACRE" inspect docker://127.0.0.1:1/x:y
says libcurl HTTP libcurl4 "$NACRE" path-info --store http://127.0.0.1:1 /nix/store/00000000000000000000000000000000-x
says libcurl HTTP libcurl4 "$NACRE" admin stats --server http://127.0.0.1:1
"$NACRE" copy "oci:$T/image:hello" "docker-archive:$T/image.tar:x:y" || die "copy to an archive"
says libarchive "reading a tar that others wrote" libarchive13 "$NACRE" inspect "docker-archive:$T/image.tar"
xz -k "$T/image.tar" && bzip2 -k "$T/image.tar"
says liblzma "xz and lzip" liblzma5 "$NACRE" inspect "docker-archive:$T/image.tar.xz"
says libbz2 bzip2 libbz2-1.0 "$NACRE" inspect "docker-archive:$T/image.tar.bz2"
says libmicrohttpd "an HTTP server" libmicrohttpd12 "$NACRE" serve --data "$T/data" --listen 127.0.0.1:0
printf 'data: %s\n' "$T/data" >"$T/nacre.yaml"
says libyaml "reading a configuration file" libyaml-0-2 "$NACRE" serve --config "$T/nacre.yaml"

# Those whose settings stand in a file: all but libyaml are missing.
grep -v libyaml "$T/files" >"$T/files.new" && mv "$T/files.new" "$T/files"
printf 'data: %s\ntls: {certificate: /none, key: /none}\n' "$T/data" >"$T/tls.yaml"
says libgnutls TLS libgnutls30 "$NACRE" serve --config "$T/tls.yaml"
echo 'u:$2y$05$abcdefghijklmnopqrstuuhVw5lZBiB3HTYbBzBqnL0UEfXdPxzGy' >"$T/htpasswd"
printf 'data: %s\nauth: {htpasswd: %s}\n' "$T/data" "$T/htpasswd" >"$T/auth.yaml"
says libcrypt "reading a file of passwords" libcrypt1 "$NACRE" serve --config "$T/auth.yaml"
says libnghttp2 gRPC libnghttp2-14 "$NACRE" snapshotter --address "$T/s.sock" --root "$T/node"
# What a server will ask of others is said when it starts, not when it is needed.
printf 'data: %s\nwebhooks: [{url: "http://127.0.0.1:1/"}]\n' "$T/data" >"$T/hooks.yaml"
says libcurl HTTP libcurl4 "$NACRE" serve --config "$T/hooks.yaml"
printf 'data: %s\nroot: {upstreams: [{url: "http://127.0.0.1:1/", trust: all}]}\n' "$T/data" >"$T/upstream.yaml"
says libcurl HTTP libcurl4 "$NACRE" serve --config "$T/upstream.yaml"

# A server without upstreams and webhooks asks nothing of others.
start_nacre "$T/data"
check_eq "a server has no HTTP client" "" "$(grep -oE 'lib(curl|archive|lzma|bz2|brotli[a-z]*|lz4|nghttp2)\.so' "/proc/$NACRE_PID/maps" | sort -u)"
