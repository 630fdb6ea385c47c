# SPDX-License-Identifier: Apache-2.0
"""Which store paths share a layer: docs/spec.md, section 4.1, version g1."""

import hashlib
import re
from dataclasses import dataclass

import storepath

LARGE = 256 * 1024
MAX_BINS = 16


@dataclass(frozen=True)
class Info:
    path: str
    nar_hash: bytes  # sha256
    nar_size: int
    references: tuple = ()  # store paths


def pname(name):
    """The package name: without version, with the output (`-lib`, `-dev`)."""
    package, version = storepath.parse_drv_name(name)
    outputs = [part for part in version.split("-")[1:] if re.fullmatch("[a-z]+", part)]
    return f"{package}-{outputs[-1]}" if outputs else package


def bin_of(path, bins):
    name = storepath.base_name(path)[storepath.HASH_CHARS + 1 :]
    digest = hashlib.sha256(f"g1:{pname(name)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % bins


def heights(infos):
    """0 for a path that refers to none but itself. Without recursion: chains can be long."""
    by_path = {info.path: info for info in infos}
    height, begun = {}, set()
    todo = list(by_path)
    while todo:
        path = todo[-1]
        needed = [ref for ref in by_path[path].references if ref != path and ref in by_path]
        missing = [ref for ref in needed if ref not in height]
        if missing:
            if path in begun:
                raise ValueError("references in a circle at " + path)
            begun.add(path)
            todo += missing
            continue
        todo.pop()
        height[path] = 1 + max((height[ref] for ref in needed), default=-1)
    return height


def group(infos, max_layers, has_root_layer):
    """[[store path, …], …] in layer order, without the root layer."""
    root = 1 if has_root_layer else 0
    if max_layers and max_layers < 1 + root:
        raise ValueError("max-layers leaves no room for a store layer")
    single, bins = list(infos), {}
    if max_layers and len(infos) > max_layers - root:
        count = max(1, min(MAX_BINS, (max_layers - root) // 2))
        large = sorted((i for i in infos if i.nar_size >= LARGE), key=lambda i: (-i.nar_size, i.path))
        single = large[: max_layers - root - count]
        alone = {info.path for info in single}
        for info in infos:
            if info.path not in alone:
                bins.setdefault(bin_of(info.path, count), []).append(info.path)
    height = heights(infos)
    single.sort(key=lambda i: (height[i.path], -i.nar_size, i.path))
    return [[info.path] for info in single] + [sorted(bins[number]) for number in sorted(bins)]
