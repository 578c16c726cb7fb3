from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from malan.core import Clip, Span
from malan.core.errors import NotFound, ProofError, UsageError
from malan.core.merkle import check_inclusion, leaf_hash
from malan.datasets import Entry, Manifest


def entries(count: int) -> list[Entry]:
    spans = [Span(i * 10, i * 10 + 10, Fraction(1, 25)) for i in range(count)]
    return [Entry(Clip("ab" * 32, 0, span), "train", "o" * 64, "t" * 64, ("f2", "f1")) for span in spans]


@given(st.randoms(use_true_random=False))
def test_the_root_does_not_depend_on_the_order_of_choosing(random: object) -> None:
    chosen = entries(20)
    root = Manifest.of(chosen).root
    random.shuffle(chosen)  # type: ignore[attr-defined]
    assert Manifest.of(chosen).root == root


def test_a_manifest_is_read_back_as_it_was_written() -> None:
    manifest = Manifest.of(entries(7))
    again = Manifest.read(b"".join(manifest.lines()), root=manifest.root)
    assert [entry.line() for entry in again.entries] == [entry.line() for entry in manifest.entries]


def test_one_clip_can_be_proved_without_the_others() -> None:
    manifest = Manifest.of(entries(9))
    proof = manifest.prove(manifest.entries[4].clip.id)
    leaf = leaf_hash(proof["leaf"].encode())
    check_inclusion(
        leaf, proof["index"], proof["size"], [bytes.fromhex(n) for n in proof["proof"]], bytes.fromhex(manifest.root)
    )


@given(st.integers(0), st.integers(1, 255))
@example(2, 1)
def test_one_changed_byte_is_found(position: int, change: int) -> None:
    manifest = Manifest.of(entries(5))
    data = bytearray(b"".join(manifest.lines()))
    data[position % len(data)] ^= change
    with pytest.raises(ProofError):
        Manifest.read(bytes(data), root=manifest.root)


def test_a_lost_line_is_found() -> None:
    manifest = Manifest.of(entries(5))
    with pytest.raises(ProofError):
        Manifest.read(b"".join(list(manifest.lines())[1:]), root=manifest.root)


def test_nothing_or_the_same_clip_twice_cannot_be_frozen() -> None:
    with pytest.raises(UsageError):
        Manifest.of([])
    with pytest.raises(UsageError):
        Manifest.of(entries(1) * 2)


def test_a_clip_that_is_not_in_it_cannot_be_proved() -> None:
    with pytest.raises(NotFound):
        Manifest.of(entries(2)).prove("0" * 64)
