# SPDX-License-Identifier: Apache-2.0
"""Store paths: nix32, names, and how the hash part is computed."""

import hashlib
import re

ALPHABET = "0123456789abcdfghijklmnpqrsvwxyz"
STORE_DIR = "/nix/store"
HASH_CHARS = 32
NAME = re.compile(r"(?!\.\Z|\.\.\Z|\.-|\.\.-)[0-9a-zA-Z+._?=-]{1,211}")


def nix32(data):
    """Five bits a character, from the last bits of the bytes (read little-endian) to the first."""
    value = int.from_bytes(data, "little")
    count = (len(data) * 8 + 4) // 5
    return "".join(ALPHABET[(value >> (5 * i)) & 31] for i in reversed(range(count)))


def nix32_decode(text, size):
    value = 0
    for char in text:
        value = value * 32 + ALPHABET.index(char)
    return value.to_bytes(size, "little")


def compress(digest, size=20):
    folded = bytearray(size)
    for i, byte in enumerate(digest):
        folded[i % size] ^= byte
    return bytes(folded)


def make(kind, inner_sha256, name, store_dir=STORE_DIR):
    if not NAME.fullmatch(name):
        raise ValueError("not a store path name: " + name)
    text = f"{kind}:sha256:{inner_sha256.hex()}:{store_dir}:{name}"
    return f"{store_dir}/{nix32(compress(hashlib.sha256(text.encode()).digest()))}-{name}"


def _with_references(kind, references, has_self=False):
    return ":".join([kind, *sorted(references)]) + (":self" if has_self else "")


def text(name, content, references=(), store_dir=STORE_DIR):
    inner = hashlib.sha256(content).digest()
    return make(_with_references("text", references), inner, name, store_dir)


def source(name, nar_sha256, references=(), has_self=False, store_dir=STORE_DIR):
    """Recursive sha256: sources, recursive fixed outputs, content-addressed outputs."""
    return make(_with_references("source", references, has_self), nar_sha256, name, store_dir)


def fixed(name, algo, digest, recursive=False, store_dir=STORE_DIR):
    if recursive and algo == "sha256":
        return source(name, digest, store_dir=store_dir)
    inner = f"fixed:out:{'r:' if recursive else ''}{algo}:{digest.hex()}:"
    return make("output:out", hashlib.sha256(inner.encode()).digest(), name, store_dir)


def hash_modulo(nar, own_hash, with_offsets):
    """sha256 of a NAR with its own hash part blanked. Nix 2.17 to 2.34 leave out the offsets."""
    needle = own_hash.encode()
    digest = hashlib.sha256(nar.replace(needle, bytes(len(needle))))
    at = nar.find(needle)
    while with_offsets and at >= 0:
        digest.update(b"|%d" % at)
        at = nar.find(needle, at + len(needle))
    return digest.digest()


def parse(path, store_dir=STORE_DIR):
    """(hash part, name) or ValueError."""
    prefix = store_dir + "/"
    base = path[len(prefix) :]
    part, dash, name = base[:HASH_CHARS], base[HASH_CHARS : HASH_CHARS + 1], base[HASH_CHARS + 1 :]
    good = len(part) == HASH_CHARS and all(c in ALPHABET for c in part)
    if not path.startswith(prefix) or not good or dash != "-" or not NAME.fullmatch(name):
        raise ValueError("not a store path: " + path)
    return part, name


def base_name(path):
    return path.rsplit("/", 1)[1]


def parse_drv_name(name):
    """(pname, version) by Nix's rule: the version begins after the first '-' before a non-letter."""
    for i, char in enumerate(name[:-1]):
        if char == "-" and not name[i + 1].isalpha():
            return name[:i], name[i + 1 :]
    return name, ""
