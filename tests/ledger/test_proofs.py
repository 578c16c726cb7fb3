"""Inclusion and consistency proofs: equal to those of the RFC's own definitions, and good for nothing else."""

from __future__ import annotations

from functools import cache

import pytest
import rfc_verifier
from hypothesis import given, settings
from hypothesis import strategies as st

from malan.core.errors import ProofError
from malan.core.merkle import (
    check_consistency,
    check_inclusion,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    merkle_root,
    node_hash,
)
from malan.ledger.proofs import consistency_path, inclusion_path

LARGEST = 1000
ENTRIES = [str(i).encode() for i in range(LARGEST)]
LEAVES = [leaf_hash(entry) for entry in ENTRIES]

# The reference tree of certificate logs: roots of the first n of eight leaves.
CT_LEAVES = [bytes.fromhex(h) for h in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657",
                                        "606162636465666768696a6b6c6d6e6f")]  # fmt: skip
CT_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@cache
def root_of(first: int, end: int) -> bytes:
    if end - first == 1:
        return LEAVES[first]
    half = 1 << (end - first - 1).bit_length() - 1
    return node_hash(root_of(first, first + half), root_of(first + half, end))


sizes = st.integers(1, LARGEST)


def test_the_roots_of_the_reference_tree_are_known() -> None:
    for size, root in enumerate(CT_ROOTS, 1):
        assert rfc_verifier.mth(CT_LEAVES[:size]).hex() == root
        assert merkle_root([leaf_hash(leaf) for leaf in CT_LEAVES[:size]]).hex() == root


def test_every_size_to_a_thousand_proves_its_first_middle_and_last_entry() -> None:
    for size in range(1, LARGEST + 1):
        root = root_of(0, size)
        for index in {0, size // 3, size // 2, size - 1}:
            check_inclusion(LEAVES[index], index, size, inclusion_path(index, size, root_of), root)


def test_every_size_to_a_thousand_is_consistent_with_later_ones() -> None:
    for old in range(LARGEST + 1):
        for new in {old, min(old + 1, LARGEST), (old + LARGEST) // 2, LARGEST}:
            old_root = root_of(0, old) if old else merkle_root([])
            new_root = root_of(0, new) if new else merkle_root([])
            check_consistency(old, old_root, new, new_root, consistency_path(old, new, root_of))


@settings(deadline=None)
@given(sizes, st.data())
def test_an_inclusion_proof_is_the_path_of_the_standard(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    path = rfc_verifier.path(index, ENTRIES[:size])
    assert inclusion_path(index, size, root_of) == path
    assert inclusion_proof(LEAVES[:size], index) == path


@settings(deadline=None)
@given(sizes, st.data())
def test_a_consistency_proof_is_the_proof_of_the_standard(size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, size))
    proof = rfc_verifier.proof(old, ENTRIES[:size])
    assert consistency_path(old, size, root_of) == proof
    assert consistency_proof(LEAVES[:size], old) == proof


@settings(deadline=None)
@given(st.integers(2, LARGEST), st.data())
def test_a_consistency_proof_holds_for_nothing_else(size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, size - 1))
    roots, proof = (root_of(0, old), root_of(0, size)), consistency_path(old, size, root_of)
    at = data.draw(st.integers(0, len(proof) - 1)) if proof else 0
    wrong = [
        (old, roots[0], size, roots[1], [*proof, bytes(32)]),
        (old, bytes(32), size, roots[1], proof),
        (old, roots[0], size, bytes(32), proof),
        (old, roots[1], size, roots[0], proof),
        (size, roots[1], old, roots[0], proof),
        (old, roots[0], size, roots[1], [*proof[:at], bytes(32), *proof[at + 1 :]]),
        (old, roots[0], size, roots[1], proof[:-1]),
    ]
    for case in wrong:
        with pytest.raises(ProofError):
            check_consistency(*case)


def test_nothing_is_a_beginning_of_everything_and_needs_no_proof() -> None:
    check_consistency(0, merkle_root([]), 5, root_of(0, 5), [])
    check_consistency(5, root_of(0, 5), 5, root_of(0, 5), [])
    with pytest.raises(ProofError):
        check_consistency(0, bytes(32), 5, root_of(0, 5), [])
    with pytest.raises(ProofError):
        check_consistency(5, root_of(0, 5), 5, root_of(0, 5), [bytes(32)])
    with pytest.raises(ProofError, match="entries are missing"):
        check_consistency(6, root_of(0, 6), 5, root_of(0, 5), [])


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_there_is_no_proof_of_what_is_not_there(index: int, size: int) -> None:
    with pytest.raises(IndexError):
        inclusion_path(index, size, root_of)
    with pytest.raises(IndexError):
        consistency_path(size + 1, size, root_of)
    with pytest.raises(IndexError):
        consistency_proof(LEAVES[:size], size + 1)
