"""When a log changes its key: a receipt of the event that says so, under a checkpoint that both keys signed.

    rotations/<size>  tlog-proof of the `key.rotate` event under the checkpoint of `size` entries, kept for ever

Whoever trusts the old key can follow: note, event, new key. Start at `follow_rotations`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from malan.core.errors import NotFound, ProofError
from malan.ledger.checkpoint import open_checkpoint
from malan.ledger.envelope import open_envelope, public_key_of
from malan.ledger.files import Staged, read_whole
from malan.ledger.note import ED25519, NoteVerifier
from malan.ledger.reader import LogReader
from malan.ledger.receipt import LARGEST_RECEIPT_BYTES, Receipt, check_receipt
from malan.ledger.statement import Statement

FOLDER = "rotations"


def write_rotation(folder: Path, size: int, receipt: bytes) -> None:
    """Keep the receipt that hands over; written again, it stays the same."""
    with Staged(folder) as staged:
        staged.add(f"{FOLDER}/{size}", receipt)


def follow_rotations(folder: Path, verifiers: Sequence[NoteVerifier]) -> list[NoteVerifier]:
    """The keys that may sign this log, for somebody who trusts these: they and their heirs, the oldest first.

    Raises:
        ProofError: A receipt that a trusted key signed does not hand over to anybody.
    """
    trusted = list(verifiers)
    for path in sorted((folder / FOLDER).glob("*"), key=lambda path: (len(path.name), path.name)):
        name = f"{FOLDER}/{path.name}"
        data = read_whole(folder, name, LARGEST_RECEIPT_BYTES)
        try:
            receipt = Receipt.parse(data)
            open_checkpoint(receipt.note, trusted)
        except ProofError:
            continue  # from before the keys we trust: nothing follows from it for us
        try:
            heir = _heir(data, receipt, trusted)
        except ProofError as error:
            raise ProofError("log.rotation_damaged", path=name, detail=error.message()) from error
        if heir not in trusted:
            trusted.append(heir)
    return trusted


def check_rotations(folder: Path, reader: LogReader) -> list[str]:
    """Check every receipt kept here against the log itself; their names.

    Raises:
        ProofError: One is not what both keys signed, or is about another log; its name is in the message.
    """
    names = [f"{FOLDER}/{path.name}" for path in (folder / FOLDER).glob("*")]
    for name in sorted(names):
        data = read_whole(folder, name, LARGEST_RECEIPT_BYTES)
        try:
            receipt = Receipt.parse(data)
            event = _read_event(receipt)
            both = [
                NoteVerifier(reader.origin, ED25519, public_key_of(event.facts[one])) for one in ("key", "replaces")
            ]
            for verifier in both:
                check_receipt(data, [verifier])
            checkpoint, _ = open_checkpoint(receipt.note, both, origin=reader.origin)
            is_ours = checkpoint.root == reader.root(checkpoint.size) and name == f"{FOLDER}/{checkpoint.size}"
        except (ProofError, NotFound) as error:
            raise ProofError("log.rotation_damaged", path=name, detail=error.message()) from error
        if not is_ours:
            raise ProofError("log.rotation_damaged", path=name, detail=checkpoint.origin)
    return names


def rotation_keys(folder: Path, reader: LogReader) -> list[NoteVerifier]:
    """Every key that ever signed for this log, by the receipts kept here; to be asked after `check_rotations`."""
    keys = []
    for path in (folder / FOLDER).glob("*"):
        event = _read_event(Receipt.parse(read_whole(folder, f"{FOLDER}/{path.name}", LARGEST_RECEIPT_BYTES)))
        keys += [NoteVerifier(reader.origin, ED25519, public_key_of(event.facts[one])) for one in ("key", "replaces")]
    return keys


def rotation_note(folder: Path, size: int) -> bytes | None:
    """The checkpoint both keys signed when the log was handed over at this size; None when it was not."""
    if not (folder / FOLDER / str(size)).is_file():
        return None
    return Receipt.parse(read_whole(folder, f"{FOLDER}/{size}", LARGEST_RECEIPT_BYTES)).note


def _heir(data: bytes, receipt: Receipt, trusted: Sequence[NoteVerifier]) -> NoteVerifier:
    """The key the event hands over to; a trusted key and the heir must both have signed event and checkpoint."""
    proved, event = check_receipt(data, trusted), _read_event(receipt)
    heir = NoteVerifier(proved.checkpoint.origin, ED25519, public_key_of(event.facts["key"]))
    known = {verifier.public_key for verifier in trusted}
    if heir not in trusted and public_key_of(event.facts["replaces"]) not in known:
        raise ProofError("log.rotation", size=proved.checkpoint.size)
    check_receipt(data, [heir])
    return heir


def _read_event(receipt: Receipt) -> Statement:
    """The event in a receipt, if both the key that goes and the key that comes have signed it."""
    envelope = open_envelope(receipt.entry or b"")
    statement = Statement.parse(envelope.payload)
    if statement.kind != "key.rotate":
        raise ProofError("log.rotation", size=receipt.index + 1)
    if not {statement.facts["key"], statement.facts["replaces"]} <= set(envelope.key_ids):
        raise ProofError("log.rotation", size=receipt.index + 1)
    return statement
