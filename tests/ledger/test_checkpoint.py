"""Checkpoints: three lines, spelled in one way."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from malan.core.errors import ProofError
from malan.core.merkle import merkle_root
from malan.ledger.checkpoint import Checkpoint, open_checkpoint
from malan.ledger.note import NoteSigner, sign_note

SOFA = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"


def test_the_example_of_the_specification_reads_and_writes_the_same() -> None:
    checkpoint = Checkpoint.parse(SOFA)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert checkpoint.root.hex().startswith("0ac5186a9186")
    assert checkpoint.text() == SOFA


@settings(deadline=None)
@given(st.integers(0, (1 << 63) - 1), st.binary(min_size=32, max_size=32), st.lists(st.sampled_from("abc"), max_size=2))
def test_any_checkpoint_reads_back(size: int, root: bytes, more: list[str]) -> None:
    checkpoint = Checkpoint("例.example/log", size, root if size else merkle_root([]), tuple(more))
    assert Checkpoint.parse(checkpoint.text()) == checkpoint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a\n",
        SOFA[:-1],
        SOFA.replace("20852163", "020852163"),
        SOFA.replace("20852163", "+20852163"),
        SOFA.replace("20852163", " 20852163"),
        SOFA.replace("20852163", "２０８５２１６３"),
        SOFA.replace("20852163", "9223372036854775808"),
        SOFA.replace("20852163", "1" * 5000),
        SOFA.replace("20852163", ""),
        SOFA.replace("20852163", "0"),
        SOFA.replace("q2I=", "q2I"),
        SOFA.replace("q2I=", "q2J="),
        SOFA.replace("CsUY", ""),
        SOFA + "\n",
        "\n" + SOFA,
        SOFA + "extension\n\n",
    ],
)
def test_another_spelling_is_refused(text: str) -> None:
    with pytest.raises(ProofError):
        Checkpoint.parse(text)


def test_the_longest_log_there_can_be_is_read() -> None:
    assert Checkpoint.parse(SOFA.replace("20852163", str((1 << 63) - 1))).size == (1 << 63) - 1


def test_a_checkpoint_of_another_log_is_refused_even_when_the_key_is_trusted() -> None:
    signer = NoteSigner.generate("example.com/a")
    data = sign_note(Checkpoint("example.com/b", 0, merkle_root([])).text(), [signer])
    assert open_checkpoint(data, [signer.verifier])[0].origin == "example.com/b"
    with pytest.raises(ProofError) as refused:
        open_checkpoint(data, [signer.verifier], origin="example.com/a")
    assert refused.value.code == "checkpoint.origin"
