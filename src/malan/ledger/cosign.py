"""Cosignatures: a witness says, with the time, that a checkpoint follows from all it has seen (C2SP tlog-cosignature).

`Cosigner` makes them and is held by `witness` alone; anyone reads them with `cosignatures`. A cosigner's key serves for
nothing else: what it signs does not hold its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from malan.core.errors import ProofError, UsageError
from malan.ledger.checkpoint import Checkpoint
from malan.ledger.note import (
    COSIGNATURE_V1,
    Note,
    NoteVerifier,
    check_signatures,
    cosigned_message,
    parse_note,
    parse_signature_lines,
    signature_line,
)


class Cosigner:
    """A witness's Ed25519 key. The secret never shows in its text form.

    Args:
        name: How policies and signature lines call the witness, such as `example.com/witness`.
        private: The key.
        clock: The time in whole seconds since 1970.
    """

    __slots__ = ("_clock", "_private", "verifier")

    def __init__(self, name: str, private: Ed25519PrivateKey, clock: Callable[[], int]) -> None:
        self._private = private
        self._clock = clock
        self.verifier = NoteVerifier(name, COSIGNATURE_V1, private.public_key().public_bytes_raw())

    @classmethod
    def generate(cls, name: str, clock: Callable[[], int]) -> Cosigner:
        return cls(name, Ed25519PrivateKey.generate(), clock)

    @classmethod
    def from_private(cls, name: str, private_key: bytes, clock: Callable[[], int]) -> Cosigner:
        """From the 32 bytes of an Ed25519 private key (RFC 8032 §5.1.5)."""
        if len(private_key) != 32:
            raise UsageError("note.private_key", name=name[:80])
        return cls(name, Ed25519PrivateKey.from_private_bytes(private_key), clock)

    @property
    def vkey(self) -> str:
        return self.verifier.vkey

    @property
    def now_s(self) -> int:
        """The time it would sign with."""
        return self._clock()

    def sign(self, text: str) -> str:
        """The cosignature line over the text of a checkpoint, dated now.

        Raises:
            ProofError: The text is no checkpoint; a witness signs nothing else.
            UsageError: The clock tells no time; a cosignature without one says nothing (tlog-witness).
        """
        Checkpoint.parse(text)
        time_s = self.now_s
        if not 0 < time_s < 1 << 63:
            raise UsageError("witness.clock", time=time_s)
        signature = time_s.to_bytes(8, "big") + self._private.sign(cosigned_message(text, time_s))
        return signature_line(self.verifier, signature)

    def __repr__(self) -> str:
        return f"Cosigner({self.vkey!r})"


@dataclass(frozen=True)
class Cosignature:
    """A checked cosignature: whose, and the time it names in seconds since 1970."""

    verifier: NoteVerifier
    time_s: int


def cosignatures(note: Note, verifiers: Iterable[NoteVerifier]) -> tuple[Cosignature, ...]:
    """The cosignatures of these witnesses on a note, checked; of several by one witness, the latest.

    Raises:
        ProofError: One of them does not hold.
    """
    latest: dict[NoteVerifier, int] = {}
    for verifier in check_signatures(note, [v for v in verifiers if v.kind == COSIGNATURE_V1]):
        times_s = [cosignature_time(line.signature) for line in note.signatures if line.by(verifier)]
        latest[verifier] = max(times_s)
    return tuple(Cosignature(verifier, time_s) for verifier, time_s in latest.items())


def cosignature_time(signature: bytes) -> int:
    """The time a cosignature/v1 names, in seconds since 1970.

    Raises:
        ProofError: It is another kind of signature.
    """
    time_s = int.from_bytes(signature[:8], "big")
    if len(signature) != 72 or time_s >= 1 << 63:
        raise ProofError("note.cosignature")
    return time_s


def add_cosignatures(data: bytes, lines: str, verifiers: Iterable[NoteVerifier]) -> bytes:
    """A note with a witness's answer added to its lines; a newer cosignature takes the place of an older one.

    Lines of keys not asked about are left out, so that a witness cannot fill up the checkpoint of a log.

    Raises:
        ProofError: None of the lines is a cosignature of these witnesses over this text, or one is wrong.
    """
    note = parse_note(data)
    answer = Note(note.text, parse_signature_lines(lines))
    fresh = cosignatures(answer, verifiers)
    if not fresh:
        raise ProofError("note.unverified", names=", ".join(line.name for line in answer.signatures)[:200])
    kept = [line for line in note.signatures if not any(line.by(each.verifier) for each in fresh)]
    added = [_line(answer, each) for each in fresh]
    return (note.text + "\n" + "".join(line.line for line in kept) + "".join(added)).encode()


def _line(answer: Note, cosignature: Cosignature) -> str:
    for signature in answer.signatures:
        if signature.by(cosignature.verifier) and cosignature_time(signature.signature) == cosignature.time_s:
            return signature.line
    raise ProofError("note.cosignature")
