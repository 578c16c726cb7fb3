import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from malan.core.errors import ProofError
from malan.core.merkle import check_inclusion, inclusion_proof, leaf_hash, merkle_root

# The test vectors of RFC 6962 implementations: eight leaves and the roots of the first n of them.
LEAVES = [bytes.fromhex(h) for h in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657",
                                     "606162636465666768696a6b6c6d6e6f")]  # fmt: skip
ROOTS = {
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    7: "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


@pytest.mark.parametrize("size", ROOTS)
def test_roots_are_those_of_the_standard(size: int) -> None:
    assert merkle_root([leaf_hash(leaf) for leaf in LEAVES[:size]]).hex() == ROOTS[size]


def test_the_root_of_nothing_is_the_hash_of_nothing() -> None:
    assert merkle_root([]) == hashlib.sha256().digest()


@given(st.integers(1, 300), st.data())
def test_every_entry_can_be_proved(size: int, data: st.DataObject) -> None:
    leaves = [leaf_hash(str(i).encode()) for i in range(size)]
    index = data.draw(st.integers(0, size - 1))
    check_inclusion(leaves[index], index, size, inclusion_proof(leaves, index), merkle_root(leaves))


@given(st.integers(2, 100), st.data())
def test_a_proof_holds_for_nothing_else(size: int, data: st.DataObject) -> None:
    leaves = [leaf_hash(str(i).encode()) for i in range(size)]
    index, root = data.draw(st.integers(0, size - 1)), merkle_root(leaves)
    proof = inclusion_proof(leaves, index)
    other = (index + 1) % size
    wrong = [
        (leaves[other], index, size, proof),
        (leaves[index], other, size, proof),
        (leaves[index], index, size, proof[:-1]),
        (leaves[index], index, size, [*proof, root]),
        (leaves[index], index, size, [bytes(32), *proof[1:]]),
        (leaves[index], size, size, proof),
    ]
    for leaf, at, count, steps in wrong:
        with pytest.raises(ProofError):
            check_inclusion(leaf, at, count, steps, root)
