# SPDX-License-Identifier: Apache-2.0
"""Store paths, nix32 and signatures, held against what real versions of Nix say (nix-values/)."""

import glob
import hashlib
import json
import os

import storepath

HERE = os.path.dirname(os.path.realpath(__file__))
HASHES = ("md5", "sha1", "sha256", "sha512")


def recorded():
    for name in sorted(glob.glob(os.path.join(HERE, "nix-values/*.json"))):
        with open(name, encoding="utf-8") as file:
            yield json.load(file)


def raw(text):
    """(algorithm, bytes) of 'sha256:<nix32>'."""
    algo, digest = text.split(":")
    return algo, storepath.nix32_decode(digest, hashlib.new(algo).digest_size)


def computed(row):
    """The store path that a content address gives, by the reference's rules."""
    name = storepath.parse(row["path"])[1]
    method, rest = row["ca"].split(":", 1)
    others = [reference for reference in row["references"] if reference != row["path"]]
    is_self = row["path"] in row["references"]
    if method == "text":
        digest = raw(rest)[1]
        return storepath.make(":".join(["text", *sorted(others)]), digest, name)
    recursive = rest.startswith("r:")
    algo, digest = raw(rest.removeprefix("r:"))
    if recursive and algo == "sha256":
        return storepath.source(name, digest, others, is_self)
    return storepath.fixed(name, algo, digest, recursive)


def fingerprint(row):
    references = ",".join(sorted(row["references"]))
    return f"1;{row['path']};{row['narHash']};{row['narSize']};{references}"


GOOD_PATHS = ["a", "a" * 211, ".a", "_", "?", "=", "a.b", "-", "--", "...", ".a-", "+", "A-Z_0=?.", "a-", "1"]
BAD_PATHS = {
    "no-hash": "/nix/store/name",
    "hash-short": "/nix/store/" + "0" * 31 + "-a",
    "hash-long": "/nix/store/" + "0" * 33 + "-a",
    "hash-letter-e": "/nix/store/" + "0" * 31 + "e-a",
    "hash-letter-o": "/nix/store/" + "0" * 31 + "o-a",
    "hash-letter-u": "/nix/store/" + "0" * 31 + "u-a",
    "hash-letter-t": "/nix/store/" + "0" * 31 + "t-a",
    "hash-upper-case": "/nix/store/" + "0" * 31 + "A-a",
    "no-dash": "/nix/store/" + "0" * 32,
    "dash-other": "/nix/store/" + "0" * 32 + "_a",
    "name-empty": "/nix/store/" + "0" * 32 + "-",
    "name-long": "/nix/store/" + "0" * 32 + "-" + "a" * 212,
    "name-dot": "/nix/store/" + "0" * 32 + "-.",
    "name-dotdot": "/nix/store/" + "0" * 32 + "-..",
    "name-dot-dash": "/nix/store/" + "0" * 32 + "-.-a",
    "name-dotdot-dash": "/nix/store/" + "0" * 32 + "-..-a",
    "name-slash": "/nix/store/" + "0" * 32 + "-a/b",
    "name-slash-last": "/nix/store/" + "0" * 32 + "-a/",
    "name-space": "/nix/store/" + "0" * 32 + "-a b",
    "name-newline": "/nix/store/" + "0" * 32 + "-a\n",
    "name-nul": "/nix/store/" + "0" * 32 + "-a\0",
    "name-tilde": "/nix/store/" + "0" * 32 + "-a~1",
    "name-colon": "/nix/store/" + "0" * 32 + "-a:1",
    "name-umlaut": "/nix/store/" + "0" * 32 + "-\u00e4",
    "other-store": "/gnu/store/" + "0" * 32 + "-a",
    "no-store": "0" * 32 + "-a",
    "double-slash": "/nix//store/" + "0" * 32 + "-a",
    "dotdot": "/nix/store/../store/" + "0" * 32 + "-a",
}


def names():
    good = []
    for name in GOOD_PATHS:
        path = storepath.make("text", bytes(32), name)
        assert storepath.parse(path) == (path[11:43], name)
        good.append({"path": path, "hashPart": path[11:43], "name": name})
    for label, path in BAD_PATHS.items():
        try:
            storepath.parse(path)
        except ValueError:
            continue
        raise AssertionError(f"{label} is taken for a store path")
    return {"good": good, "bad": [{"name": label, "path": path} for label, path in BAD_PATHS.items()]}


def self_reference(version, rows, out):
    """The NAR of a path that names itself, and the hashes that both rules give for it."""
    row = next(row for row in rows if row["kind"] == "ca-self")
    with open(os.path.join(HERE, f"nix-values/ca-self-{version}.nar"), "rb") as file:
        data = file.read()
    assert out.nix_sha256(data) == row["narHash"]
    part, name = storepath.parse(row["path"])
    others = [reference for reference in row["references"] if reference != row["path"]]
    found = {"nix": version, "path": row["path"], "narHash": row["narHash"], "references": row["references"],
             "file": f"storepath/ca-self-{version}.nar"}
    for key, with_offsets in (("withOffsets", True), ("withoutOffsets", False)):
        modulo = storepath.hash_modulo(data, part, with_offsets)
        found[key] = {"hashModulo": "sha256:" + storepath.nix32(modulo),
                      "path": storepath.source(name, modulo, others, True)}
    made = [found[key]["path"] for key in ("withOffsets", "withoutOffsets")]
    assert made.count(row["path"]) == 1
    out.file(found["file"], data)
    return found


def generate(out):
    paths, selves, drv_names, hashes, signatures = [], [], [], [], []
    for values in recorded():
        for row in values["paths"]:
            assert computed(row) == row["path"], row
            signature = {"fingerprint": fingerprint(row), "signature": row["signatures"][0]}
            if signature not in signatures:
                signatures.append(signature)
            kept = {key: row[key] for key in ("path", "ca", "references", "narHash", "narSize")}
            if kept not in paths:
                paths.append(kept)
        selves.append(self_reference(values["nix"], values["paths"], out))
        for row in values["drvNames"]:
            assert storepath.parse_drv_name(row["name"]) == (row["pname"], row["version"]), row
        for row in values["hashes"]:
            for algo in HASHES:
                digest = hashlib.new(algo, row["text"].encode()).digest()
                assert digest.hex() == row[algo]["base16"] and storepath.nix32(digest) == row[algo]["nix32"]
        drv_names, hashes = values["drvNames"], values["hashes"]
        keys = {key: values[key] for key in ("secretKey", "publicKey")}
    out.json("storepath.json", {
        "contentAddressed": paths,
        "selfReferring": selves,
        "parse": names(),
        "drvNames": drv_names,
        "hashes": hashes,
    })
    out.json("signature.json", {**keys, "signatures": signatures})
