#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Do two files share their pages in the page cache?

    page_cache.py ONE OTHER

drops the pages of both, reads ONE, and prints "shared" if all pages are then there for OTHER, else how many. They may lie in
different mounts; inode numbers say nothing there, the pages do. Needs what mincore(2) wants: to own the file.
"""

import ctypes
import mmap
import os
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def resident(path):
    """(pages in memory, pages)"""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        pages = (size + mmap.PAGESIZE - 1) // mmap.PAGESIZE
        vector = ctypes.create_string_buffer(pages)
        address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), 0)
        assert address != ctypes.c_void_p(-1).value, os.strerror(ctypes.get_errno())
        try:
            if libc.mincore(address, size, vector):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
        finally:
            libc.munmap(address, size)
        return sum(byte & 1 for byte in vector.raw), pages


def drop(path):
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main(one, other):
    os.sync()  # pages that are to be written stay
    for _ in range(50):
        drop(one)
        drop(other)
        if resident(other)[0] == 0:
            break
        time.sleep(0.1)
    else:
        sys.exit("its pages cannot be dropped: somebody uses them")
    with open(one, "rb") as file:
        while file.read(1 << 20):
            pass
    found, pages = resident(other)
    print("shared" if found == pages > 0 else f"{found} of {pages} pages")


main(*sys.argv[1:])
