"""A receipt proves one entry to whoever has the key of the log, and every changed byte of it is found."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
import rfc_verifier
from log_factory import ANOTHER, KEY, ORIGIN, SIGNER, entries, flipped, reader, write_log

from malan.core.errors import NotFound, ProofError
from malan.ledger.cosign import Cosigner
from malan.ledger.log import LogWriter
from malan.ledger.policy import Policy
from malan.ledger.receipt import KIND, Receipt, check_receipt, receipt_for

SIZE = 700


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("receipts") / "log", [SIZE])


@pytest.fixture(scope="module")
def receipt(folder: Path) -> bytes:
    return receipt_for(reader(folder), 300)


@pytest.mark.parametrize("index", [0, 255, 256, SIZE - 1])
def test_a_receipt_gives_back_the_entry_and_its_place(folder: Path, index: int) -> None:
    proved = check_receipt(receipt_for(reader(folder), index), [KEY])
    assert (proved.entry, proved.index) == (entries(index, index + 1)[0], index)
    assert proved.checkpoint == reader(folder).checkpoint()
    assert proved.accepted.is_self_attested


def test_a_receipt_is_a_proof_any_verifier_of_such_logs_reads(receipt: bytes) -> None:
    top, note = receipt.split(b"\n\n", 1)
    kind, extra, index, *hashes = top.decode().split("\n")
    assert (kind, index) == ("c2sp.org/tlog-proof@v1", "index 300")
    assert base64.b64decode(extra.removeprefix("extra ")) == entries(300, 301)[0]
    size, root = rfc_verifier.read_checkpoint(note, KEY.vkey)
    assert [base64.b64decode(line) for line in hashes] == rfc_verifier.path(300, entries(0, size))
    assert rfc_verifier.mth(entries(0, size)) == root


def test_a_receipt_is_small(receipt: bytes) -> None:
    assert len(receipt) < 1000


def test_what_is_not_published_has_no_receipt(tmp_path: Path) -> None:
    folder = write_log(tmp_path, [3], pending=2)
    with pytest.raises(NotFound, match="published with the next checkpoint"):
        receipt_for(reader(folder), 3)


def test_every_changed_byte_is_found(receipt: bytes) -> None:
    for at in range(len(receipt)):
        with pytest.raises(ProofError):
            check_receipt(flipped(receipt, at, 1 << at % 8), [KEY])


def test_every_cut_is_found(receipt: bytes) -> None:
    for end in range(len(receipt)):
        with pytest.raises(ProofError):
            check_receipt(receipt[:end], [KEY])


LINES = [KIND, "extra ZQ==", "index 5", *[base64.b64encode(bytes(32)).decode()] * 2, "", "note"]


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({0: "c2sp.org/tlog-proof@v2"}, 1),
        ({0: ""}, 1),
        ({1: "extra !"}, 2),
        ({1: "extra ZR=="}, 2),
        ({1: "extra  ZQ=="}, 2),
        ({1: "Extra ZQ=="}, 2),
        ({2: "index 05"}, 3),
        ({2: "index -5"}, 3),
        ({2: "index 9223372036854775808"}, 3),
        ({2: "Index 5"}, 3),
        ({3: "AAAA"}, 4),
        ({4: "AAAA AAAA"}, 5),
        ({4: "é"}, 5),
        ({4: "\n".join(LINES[3:4] * 63)}, 67),
    ],
)
def test_a_malformed_line_is_named(changed: dict[int, str], line: int) -> None:
    lines = [changed.get(i, text) for i, text in enumerate(LINES)]
    if not lines[0]:
        lines = lines[1:]
    with pytest.raises(ProofError) as error:
        Receipt.parse("\n".join(lines).encode())
    assert error.value.values["line"] == line


def test_a_proof_without_its_entry_is_read_and_not_believed(receipt: bytes) -> None:
    bare = Receipt.parse(receipt)
    without = Receipt(None, bare.index, bare.proof, bare.note).to_bytes()
    assert Receipt.parse(without).entry is None
    assert Receipt.parse(receipt).to_bytes() == receipt
    with pytest.raises(ProofError, match="does not hold the entry"):
        check_receipt(without, [KEY])


def test_a_receipt_that_is_too_large_is_not_read() -> None:
    with pytest.raises(ProofError, match="at most"):
        Receipt.parse(bytes(1_000_000))


def test_another_key_another_log_and_another_entry_are_refused(receipt: bytes, folder: Path) -> None:
    with pytest.raises(ProofError, match="None of the trusted keys"):
        check_receipt(receipt, [ANOTHER.verifier])
    with pytest.raises(ProofError):
        check_receipt(receipt)
    held, other = Receipt.parse(receipt), Receipt.parse(receipt_for(reader(folder), 301))
    for wrong in (
        Receipt(other.entry, held.index, held.proof, held.note),
        Receipt(held.entry, other.index, held.proof, held.note),
        Receipt(held.entry, held.index, other.proof, held.note),
        Receipt(held.entry, SIZE, held.proof, held.note),
    ):
        with pytest.raises(ProofError):
            check_receipt(wrong.to_bytes(), [KEY])


def test_a_policy_may_ask_for_witnesses(tmp_path: Path) -> None:
    witness = Cosigner.from_private("witness.example", b"\x09" * 32, lambda: 1_760_000_000)
    policy = Policy.at_least(1, [witness.verifier], logs=[KEY])
    with LogWriter.open(tmp_path, SIGNER) as log:
        log.append([b"witnessed"])
        checkpoint = log.publish()
        with pytest.raises(ProofError, match=ORIGIN):
            check_receipt(receipt_for(log.reader, 0), policy=policy)
        log.publish_cosigned(log.reader.note() + witness.sign(checkpoint.text()).encode())
        proved = check_receipt(receipt_for(log.reader, 0), policy=policy)
    assert [one.verifier.name for one in proved.accepted.cosignatures] == ["witness.example"]
