#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What `meson install` puts in place is enough to build a program with libnacre, shared and static.
. "$(dirname "$0")/lib.sh"
needs meson ninja cc pkg-config man

BUILD=$(dirname "$(dirname "$(dirname "$NACRE")")")
check "meson install" meson install -C "$BUILD" --destdir "$T/dest" --quiet
PREFIX=$(find "$T/dest" -path '*/include/nacre/nar.h' -printf '%h\n' | head -n 1)
PREFIX=${PREFIX%/include/nacre}
PC=$(dirname "$(find "$T/dest" -name nacre.pc)")
LIB=$(dirname "$PC")
check "headers, pkg-config file, program, manual page" test -x "$PREFIX/bin/nacre" -a -f "$PC/nacre.pc" -a -f "$PREFIX/share/man/man1/nacre.1"
check_match "the manual page can be read" "registry" "$(man -P cat "$PREFIX/share/man/man1/nacre.1" 2>&1)"

cat >"$T/program.c" <<'C'
#include <stdio.h>
#include <string.h>
#include <nacre/absorb.h>
#include <nacre/closure.h>
#include <nacre/image.h>
#include <nacre/nar.h>
#include <nacre/reference.h>
#include <nacre/splice.h>
#include <nacre/tar.h>
#include <nacre/transport.h>
#include <nacre/tree.h>
#include <nacre/version.h>

/* A name that the library uses too: each keeps its own. */
int digest_parse(struct hash *ret, struct slice text)
{
	(void)ret, (void)text;
	return 42;
}

int main(int argc, char **argv)
{
	struct err err = ERR_INIT;
	struct hash_sink sink;
	struct nar_writer *w;
	struct hash h;
	char text[HASH_TEXT_MAX];

	hash_sink_init(&sink, HASH_SHA256, NULL);
	w = nar_writer_new(&sink.sink);
	if (argc != 2 || tree_dump(AT_FDCWD, argv[1], nar_writer_node_sink(w), &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	hash_sink_final(&sink, &h);
	hash_format(text, &h, HASH_NIX32);
	printf("%s %s\n", nacre_version(), text);
	nar_writer_free(w);
	hash_sink_release(&sink);
	return 0;
}
C
sed -i 's/#include <stdio.h>/#include <fcntl.h>\n#include <stdio.h>/' "$T/program.c"
export PKG_CONFIG_PATH=$PC PKG_CONFIG_SYSROOT_DIR=$T/dest
CFLAGS=$(pkg-config --cflags nacre)
check "compile and link, shared" sh -c "cc -Wall -Werror $CFLAGS '$T/program.c' -o '$T/shared' $(pkg-config --libs nacre)"
sed '/A name that/,/^}/d' "$T/program.c" >"$T/plain.c"
# libnacre static, what it needs shared: `pkg-config --static` would want static archives of everything.
NEEDS=$(pkg-config --print-requires-private nacre | sed 's/ .*//' | xargs pkg-config --libs)
check "compile and link, static" sh -c "cc -Wall -Werror $CFLAGS '$T/plain.c' -o '$T/static' '$LIB/libnacre.a' $NEEDS -pthread"
WANT=$("$NACRE" nar hash "$SRC/docs")
check_eq "shared" "$("$NACRE" --version | cut -d' ' -f2) $WANT" "$(LD_LIBRARY_PATH=$LIB "$T/shared" "$SRC/docs")"
check_eq "static" "$("$NACRE" --version | cut -d' ' -f2) $WANT" "$("$T/static" "$SRC/docs")"
EXPORTED=$(nm -D --defined-only "$LIB"/libnacre.so.0.* | awk '{print $3}' | sort)
check_match "exports what the headers declare" '^tar_reader_step$' "$EXPORTED"
check_eq "and no more" "" "$(for s in $EXPORTED; do grep -rqw "$s" "$PREFIX/include/nacre" || echo "$s"; done)"
