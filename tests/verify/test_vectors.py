"""What the authors of the formats published: see the shared vectors' README."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from undersigned_verify.checkpoint import open_checkpoint
from undersigned_verify.errors import Fault
from undersigned_verify.merkle import (
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    range_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from undersigned_verify.note import VerifierKey
from undersigned_verify.tile import node_reader, parse_bundle, tile_path
from undersigned_verify.token import TokenKey, encode_spki, parse_spki

from tests.support import shared_dir

TESSERA = VerifierKey.parse(
    "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx"
)


def decode(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def check_inclusion(case: dict[str, Any]) -> None:
    verify_inclusion(
        leaf_hash=decode(case["leafHash"]),
        index=case["leafIdx"],
        size=case["treeSize"],
        proof=[decode(item) for item in case["proof"] or []],
        root=decode(case["root"]),
    )


def check_consistency(case: dict[str, Any]) -> None:
    verify_consistency(
        old_size=case["size1"],
        new_size=case["size2"],
        old_root=decode(case["root1"]),
        new_root=decode(case["root2"]),
        proof=[decode(item) for item in case["proof"] or []],
    )


@pytest.mark.parametrize(
    "kind,check", [("inclusion", check_inclusion), ("consistency", check_consistency)]
)
def test_merkle_proofs(kind: str, check: Any) -> None:
    paths = sorted(shared_dir("vectors", "merkle-proofs", kind).rglob("*.json"))
    assert len(paths) > 50
    for path in paths:
        case = json.loads(path.read_bytes())
        try:
            check(case)
            accepted = True
        except Fault:
            accepted = False
        assert accepted is not case["wantErr"], path


@pytest.mark.parametrize("size", range(16))
def test_a_tlog_tiles_log(size: int) -> None:
    folder = shared_dir("vectors", "tlog-tiles")
    data = (folder / f"checkpoint.{size}").read_bytes()
    checkpoint = open_checkpoint(data, TESSERA)
    assert checkpoint.size == size
    if size == 0:
        assert checkpoint.root == root_of([])
        return

    def read(path: str) -> bytes:
        return Path(folder, path).read_bytes()

    leaves = parse_bundle(read(tile_path("entries", 0, size)))
    hashes = [leaf_hash(data) for data in leaves]
    assert root_of(hashes) == checkpoint.root
    read_node = node_reader(
        size, lambda level, n, width: read(tile_path(level, n, width))
    )
    assert range_hash(0, size, read_node) == checkpoint.root
    for index in range(size):
        verify_inclusion(
            leaf_hash=hashes[index],
            index=index,
            size=size,
            proof=inclusion_proof(index, size, read_node),
            root=checkpoint.root,
        )
    for old in range(1, size + 1):
        verify_consistency(
            old_size=old,
            new_size=size,
            old_root=root_of(hashes[:old]),
            new_root=checkpoint.root,
            proof=consistency_proof(old, size, read_node),
        )


def test_rfc_9578_tokens() -> None:
    path = shared_dir("vectors", "rfc9578", "type-2.json")
    cases = json.loads(path.read_bytes())
    assert len(cases) == 5
    for case in cases:
        spki, token = bytes.fromhex(case["pkS"]), bytes.fromhex(case["token"])
        assert encode_spki(parse_spki(spki)) == spki
        key = TokenKey(spki)
        assert token[66:98] == key.key_id
        assert key.verify(token[:98], token[98:])
        assert not key.verify(token[:97] + b"\0", token[98:])
