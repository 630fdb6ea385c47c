# SPDX-License-Identifier: Apache-2.0
"""Framed compression: docs/spec.md, section 3. Where frames are cut, and each frame by libzstd."""

import ctypes
import ctypes.util

import nar
import tar

BULK = 16 * 1024
CHUNK = 1024 * 1024

# zstd.h
_LEVEL, _CONTENT_SIZE, _CHECKSUM, _DICT_ID, _WORKERS = 100, 200, 201, 202, 400


def nar_runs(node):
    """A NAR is one run."""
    return [list(nar.pieces(node))]


def cut(run):
    """The frames of a run, uncompressed: (is bulk, bytes)."""
    glue = b""
    for is_content, data in run:
        if is_content and len(data) >= BULK:
            yield from _chunks(False, glue)
            yield from _chunks(True, data)
            glue = b""
        else:
            glue += data
    yield from _chunks(False, glue)


def _chunks(bulk, data):
    for at in range(0, len(data), CHUNK):
        yield bulk, data[at : at + CHUNK]


def plan(runs):
    return [frame for run in runs for frame in cut(run)]


class Zstd:
    def __init__(self):
        self.lib = ctypes.CDLL(ctypes.util.find_library("zstd") or "libzstd.so.1")
        for name in ("ZSTD_createCCtx", "ZSTD_compressBound", "ZSTD_CCtx_setParameter", "ZSTD_compress2"):
            getattr(self.lib, name).restype = ctypes.c_size_t
        self.lib.ZSTD_createCCtx.restype = ctypes.c_void_p
        self.lib.ZSTD_versionString.restype = ctypes.c_char_p
        self.context = ctypes.c_void_p(self.lib.ZSTD_createCCtx())
        settings = [(_LEVEL, 3), (_CONTENT_SIZE, 1), (_CHECKSUM, 0), (_DICT_ID, 0), (_WORKERS, 0)]
        for parameter, value in settings:
            self._checked(self.lib.ZSTD_CCtx_setParameter(self.context, parameter, value))

    def version(self):
        return self.lib.ZSTD_versionString().decode()

    def compress(self, data):
        room = self.lib.ZSTD_compressBound(ctypes.c_size_t(len(data)))
        out = ctypes.create_string_buffer(room)
        size = self.lib.ZSTD_compress2(self.context, out, ctypes.c_size_t(room), data, ctypes.c_size_t(len(data)))
        return out.raw[: self._checked(size)]

    def _checked(self, result):
        if self.lib.ZSTD_isError(ctypes.c_size_t(result)):
            raise OSError("libzstd refuses")
        return result


def compress(runs, zstd=None):
    zstd = zstd or Zstd()
    return b"".join(zstd.compress(data) for _, data in plan(runs))


def layer_zstd(store_dir, paths, zstd=None):
    return compress(tar.layer_runs(store_dir, paths), zstd)


def nar_zstd(node, zstd=None):
    return compress(nar_runs(node), zstd)
