"""Checkpoints: the size and the root of a log in three lines, to be signed as a note (C2SP tlog-checkpoint).

A `Checkpoint` is only the statement. `open_checkpoint` gives one that a trusted key has signed.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass

from malan.core.errors import ProofError
from malan.core.merkle import merkle_root
from malan.ledger.note import Note, NoteVerifier, decode_base64, open_note

LARGEST_SIZE = (1 << 63) - 1

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True)
class Checkpoint:
    """How long a log is and the root over its entries.

    `extensions` are further lines of foreign logs, kept so that the text stays what was signed; we write none.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def text(self) -> str:
        """The text that is signed; its last line is ended."""
        root = base64.b64encode(self.root).decode()
        return "".join(f"{line}\n" for line in (self.origin, str(self.size), root, *self.extensions))

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read the text of a checkpoint.

        Raises:
            ProofError: A line is missing, empty, or not spelled as the standard says; `line` tells which.
        """
        lines = text.split("\n")
        if lines.pop() != "" or len(lines) < 3:
            raise ProofError("checkpoint.lines", found=len(lines))
        for number, line in enumerate(lines, 1):
            if not line:
                raise ProofError("checkpoint.line", line=number)
        root = decode_base64(lines[2])
        if root is None or len(root) != 32:
            raise ProofError("checkpoint.line", line=3)
        checkpoint = cls(lines[0], parse_size(lines[1]), root, tuple(lines[3:]))
        if checkpoint.size == 0 and root != merkle_root([]):
            raise ProofError("checkpoint.empty_root", origin=lines[0][:200])
        return checkpoint


def open_checkpoint(
    data: bytes, verifiers: Iterable[NoteVerifier], *, origin: str | None = None
) -> tuple[Checkpoint, Note]:
    """The checkpoint in a note that one of the keys has signed, and the note.

    Args:
        data: The note as published.
        verifiers: Keys of the log; those of witnesses alone make no checkpoint, see `policy`.
        origin: The log it must be of, if that is known.

    Raises:
        ProofError: The note is not signed by any of the keys, is no checkpoint, or is another log's.
    """
    note = open_note(data, verifiers)
    checkpoint = Checkpoint.parse(note.text)
    if origin is not None and checkpoint.origin != origin:
        raise ProofError("checkpoint.origin", expected=origin, found=checkpoint.origin[:200])
    return checkpoint, note


def parse_size(line: str) -> int:
    """A tree size in decimal without leading zeroes.

    Raises:
        ProofError: It is not one, or larger than any log.
    """
    if not _SIZE.fullmatch(line) or int(line) > LARGEST_SIZE:
        raise ProofError("checkpoint.size", found=line[:40])
    return int(line)
