"""When a log changes its key: a receipt of the event that says so, under a checkpoint that both keys signed.

    rotations/<size>  tlog-proof of the `key.rotate` event at `size` − 1, kept for ever

Whoever trusts the old key can follow: note, event, new key. Start at `follow_rotations`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from malan.core.errors import ProofError
from malan.ledger.checkpoint import open_checkpoint
from malan.ledger.envelope import open_envelope, public_key_of
from malan.ledger.files import Staged, read_whole
from malan.ledger.note import ED25519, NoteVerifier
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
        receipt = read_whole(folder, f"{FOLDER}/{path.name}", LARGEST_RECEIPT_BYTES)
        try:
            open_checkpoint(Receipt.parse(receipt).note, trusted)
        except ProofError:
            continue  # from before the keys we trust: nothing follows from it for us
        heir = _heir(receipt, trusted)
        if heir not in trusted:
            trusted.append(heir)
    return trusted


def _heir(receipt: bytes, trusted: Sequence[NoteVerifier]) -> NoteVerifier:
    """The key the event hands over to; a trusted key and the heir must both have signed event and checkpoint."""
    proved = check_receipt(receipt, trusted)
    envelope = open_envelope(proved.entry)
    statement = Statement.parse(envelope.payload)
    if statement.kind != "key.rotate" or proved.index + 1 != proved.checkpoint.size:
        raise ProofError("log.rotation", size=proved.checkpoint.size)
    key_id, replaced = statement.facts["key"], statement.facts["replaces"]
    trusted_keys = {verifier.public_key for verifier in trusted}
    if not {key_id, replaced} <= set(envelope.key_ids) or public_key_of(replaced) not in trusted_keys:
        raise ProofError("log.rotation", size=proved.checkpoint.size)
    heir = NoteVerifier(proved.checkpoint.origin, ED25519, public_key_of(key_id))
    open_checkpoint(Receipt.parse(receipt).note, [heir])
    return heir
