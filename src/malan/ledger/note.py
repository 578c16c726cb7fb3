"""Signed notes: text with signature lines under it (C2SP signed-note), the form of every checkpoint.

Start at `open_note`, which believes a text only when a key the caller trusts has signed it, and `sign_note`. A key is
known by its name and its key id together; lines of unknown keys are carried along and never believed. Two kinds of
signature are understood: Ed25519 (0x01) and the timestamped cosignature of a witness (0x04, made in `cosign`).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from malan.core.errors import ProofError, UsageError

ED25519 = 0x01
COSIGNATURE_V1 = 0x04

LARGEST_NOTE_BYTES = 256 * 1024
MOST_SIGNATURES = 64
LONGEST_NAME_BYTES = 255

_DASH = "— "
_CONTROL = re.compile(rb"[\x00-\x09\x0b-\x1f]")
_NOT_IN_NAME = re.compile(r"[\s+\x00-\x1f]")


@dataclass(frozen=True)
class NoteVerifier:
    """A public key with the name and the kind of signature it is used for."""

    name: str
    kind: int
    public_key: bytes

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.kind not in (ED25519, COSIGNATURE_V1):
            raise UsageError("note.kind", kind=f"0x{self.kind:02x}")
        if len(self.public_key) != 32:
            raise UsageError("note.vkey", text=self.name[:80])

    @property
    def key_id(self) -> bytes:
        """Four bytes that, with the name, say which key signed: a handle, not a fingerprint."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public_key).digest()[:4]

    @property
    def vkey(self) -> str:
        """The key as one line that other tools read: `name+key id in hex+base64`."""
        material = base64.b64encode(bytes([self.kind]) + self.public_key).decode()
        return f"{self.name}+{self.key_id.hex()}+{material}"

    @classmethod
    def parse(cls, vkey: str) -> NoteVerifier:
        """Read a verifier key.

        Raises:
            UsageError: It is not one, its key id does not belong to it, or its kind is not understood.
        """
        name, _, rest = vkey.partition("+")
        hex_id, _, encoded = rest.partition("+")
        material = decode_base64(encoded)
        if not re.fullmatch(r"[0-9a-f]{8}", hex_id) or material is None or len(material) != 33:
            raise UsageError("note.vkey", text=vkey[:80])
        verifier = cls(name, material[0], material[1:])
        if verifier.key_id.hex() != hex_id:
            raise UsageError("note.vkey_id", text=vkey[:80], expected=verifier.key_id.hex())
        return verifier

    def holds(self, text: str, signature: bytes) -> bool:
        """Whether the signature (without key id) is this key's over the text."""
        try:
            message, raw = _signed_message(self.kind, text, signature)
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(raw, message)
        except (InvalidSignature, ValueError):
            return False
        return True


class LineSigner(Protocol):
    """What can add a signature line to a text: a log's key, a witness's key."""

    @property
    def verifier(self) -> NoteVerifier: ...

    def sign(self, text: str) -> str: ...


class NoteSigner:
    """An Ed25519 key that signs notes. The secret never shows in its text form."""

    __slots__ = ("_private", "verifier")

    def __init__(self, name: str, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.verifier = NoteVerifier(name, ED25519, private.public_key().public_bytes_raw())

    @classmethod
    def generate(cls, name: str) -> NoteSigner:
        return cls(name, Ed25519PrivateKey.generate())

    @classmethod
    def from_private(cls, name: str, private_key: bytes) -> NoteSigner:
        """From the 32 bytes of an Ed25519 private key (RFC 8032 §5.1.5)."""
        if len(private_key) != 32:
            raise UsageError("note.private_key", name=name[:80])
        return cls(name, Ed25519PrivateKey.from_private_bytes(private_key))

    @property
    def vkey(self) -> str:
        return self.verifier.vkey

    def sign(self, text: str) -> str:
        """The signature line over a text, with its newline."""
        return signature_line(self.verifier, self._private.sign(text.encode()))

    def __repr__(self) -> str:
        return f"NoteSigner({self.vkey!r})"


@dataclass(frozen=True)
class NoteSignature:
    """One signature line: who says to have signed, and the bytes; checked only where a `Note` lists it as verified."""

    name: str
    key_id: bytes
    signature: bytes

    @property
    def line(self) -> str:
        return f"{_DASH}{self.name} {base64.b64encode(self.key_id + self.signature).decode()}\n"

    def by(self, verifier: NoteVerifier) -> bool:
        """Whether the line claims to be this key's: same name and same key id."""
        return self.name == verifier.name and self.key_id == verifier.key_id


@dataclass(frozen=True)
class Note:
    """A text with its signature lines, and which of the keys asked about truly signed it."""

    text: str
    signatures: tuple[NoteSignature, ...]
    verified_by: tuple[NoteVerifier, ...] = ()

    @property
    def verified(self) -> tuple[str, ...]:
        """Names of the keys whose signature was checked and holds."""
        return tuple(verifier.name for verifier in self.verified_by)

    def to_bytes(self) -> bytes:
        return (self.text + "\n" + "".join(signature.line for signature in self.signatures)).encode()


def sign_note(text: str, signers: Sequence[LineSigner]) -> bytes:
    """A note of this text, signed by each signer in order.

    Raises:
        UsageError: The text does not end its last line, holds a control character, or nobody signs it.
    """
    if not text.endswith("\n") or not signers or _CONTROL.search(text.encode()):
        raise UsageError("note.text")
    return (text + "\n" + "".join(signer.sign(text) for signer in signers)).encode()


def open_note(data: bytes, verifiers: Iterable[NoteVerifier]) -> Note:
    """The note in these bytes, believed because at least one of the keys signed it.

    A line of a known key that does not verify spoils the note, also when another one holds (signed-note, "Signatures").
    Lines of unknown keys are kept, unchecked.

    Raises:
        ProofError: It is no note, too large, signed by none of the keys, or a known key's signature is wrong.
    """
    note = parse_note(data)
    verified = check_signatures(note, verifiers)
    if not verified:
        raise ProofError("note.unverified", names=_shown(note))
    return Note(note.text, note.signatures, verified)


def check_signatures(note: Note, verifiers: Iterable[NoteVerifier]) -> tuple[NoteVerifier, ...]:
    """Those of the keys that signed the note, in the order of its lines; none may be wrong.

    Raises:
        ProofError: A line names one of the keys and its signature does not hold, or two keys share name and key id.
    """
    known = _by_name_and_id(verifiers)
    verified: dict[NoteVerifier, None] = {}
    for signature in note.signatures:
        verifier = known.get((signature.name, signature.key_id))
        if verifier is None:
            continue
        if not verifier.holds(note.text, signature.signature):
            raise ProofError("note.bad_signature", name=signature.name)
        verified[verifier] = None
    return tuple(verified)


def parse_note(data: bytes) -> Note:
    """Split a note into text and signature lines without believing any of it.

    Raises:
        ProofError: Too large, not UTF-8, control characters, no signature lines, or a malformed one.
    """
    if len(data) > LARGEST_NOTE_BYTES:
        raise ProofError("note.too_large", size=len(data), most=LARGEST_NOTE_BYTES)
    if found := _CONTROL.search(data):
        raise ProofError("note.control_character", position=found.start())
    try:
        whole = data.decode()
    except UnicodeDecodeError as error:
        raise ProofError("note.encoding", position=error.start) from error
    text, blank, below = whole.rpartition("\n\n")
    if not blank or not below.endswith("\n"):
        raise ProofError("note.no_signatures")
    return Note(text + "\n", parse_signature_lines(below))


def parse_signature_lines(lines: str) -> tuple[NoteSignature, ...]:
    """Signature lines as they stand under a note, or as a witness returns them; each ends with a newline."""
    if not lines.endswith("\n"):
        raise ProofError("note.no_signatures")
    each = lines[:-1].split("\n")
    if len(each) > MOST_SIGNATURES:
        raise ProofError("note.too_many", found=len(each), most=MOST_SIGNATURES)
    return tuple(_signature(line, number) for number, line in enumerate(each, 1))


def signature_line(verifier: NoteVerifier, signature: bytes) -> str:
    return NoteSignature(verifier.name, verifier.key_id, signature).line


def check_name(name: str) -> None:
    """Refuse a name for one of our keys that a signature line cannot carry, or that is longer than 255 bytes.

    Raises:
        UsageError: It is such a name.
    """
    if not is_name(name) or len(name.encode()) > LONGEST_NAME_BYTES:
        raise UsageError("note.name", name=name[:80])


def is_name(name: str) -> bool:
    """Whether a signature line can carry it: not empty, no Unicode space, plus sign or control character."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return bool(name) and not _NOT_IN_NAME.search(name)


def decode_base64(text: str) -> bytes | None:
    """The bytes behind standard base64 in its only spelling (RFC 4648 §4, §3.5), else None."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if base64.b64encode(data).decode() == text else None


def cosigned_message(text: str, time_s: int) -> bytes:
    """What a cosignature/v1 signs: a header, the time and the whole text of the checkpoint (tlog-cosignature)."""
    return f"cosignature/v1\ntime {time_s}\n{text}".encode()


def _signed_message(kind: int, text: str, signature: bytes) -> tuple[bytes, bytes]:
    if kind == ED25519:
        return text.encode(), signature
    time_s = int.from_bytes(signature[:8], "big")
    if len(signature) != 72 or time_s >= 1 << 63:
        raise ValueError("not a timestamped signature")
    return cosigned_message(text, time_s), signature[8:]


def _signature(line: str, number: int) -> NoteSignature:
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    held = decode_base64(encoded)
    if not line.startswith(_DASH) or not space or not is_name(name) or held is None or len(held) < 5:
        raise ProofError("note.signature_line", number=number)
    return NoteSignature(name, held[:4], held[4:])


def _by_name_and_id(verifiers: Iterable[NoteVerifier]) -> dict[tuple[str, bytes], NoteVerifier]:
    known: dict[tuple[str, bytes], NoteVerifier] = {}
    for verifier in verifiers:
        if known.setdefault((verifier.name, verifier.key_id), verifier) != verifier:
            raise ProofError("note.ambiguous", name=verifier.name)
    return known


def _shown(note: Note) -> str:
    return ", ".join(dict.fromkeys(signature.name for signature in note.signatures))[:200]
