"""Signed envelopes around statements: DSSE v1, in one spelling, so that an entry of the log is one sequence of bytes.

A key id *is* the public key (`ed25519:` and base64), so the signatures of an entry can be checked with nothing but the
entry. Whose key it is, `key.register` events of the same log say. Start at `seal` and `open_envelope`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from malan.core.canonical import canonical_json, read_canonical
from malan.core.errors import ProofError

PAYLOAD_TYPE = "application/vnd.in-toto+json"
LARGEST_ENTRY_BYTES = 65_535  # C2SP tlog-tiles: an entry of a bundle has a 16-bit length
MOST_SIGNATURES = 8

_PREFIX = "ed25519:"


class Signer(Protocol):
    """A private key that signs for somebody."""

    @property
    def key_id(self) -> str: ...

    def sign(self, message: bytes) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Envelope:
    """A payload and who signed it; every signature has been checked."""

    payload: bytes
    key_ids: tuple[str, ...]


def seal(payload: bytes, signers: Sequence[Signer]) -> bytes:
    """The payload, signed by each of the signers, as canonical bytes of one log entry.

    Raises:
        ProofError: The entry would be larger than a log can hold.
    """
    message = pre_authentication(payload)
    signatures = [{"keyid": signer.key_id, "sig": _base64(signer.sign(message))} for signer in signers]
    entry = canonical_json({"payload": _base64(payload), "payloadType": PAYLOAD_TYPE, "signatures": signatures})
    if len(entry) > LARGEST_ENTRY_BYTES:
        raise ProofError("event.too_large", size_bytes=len(entry), most_bytes=LARGEST_ENTRY_BYTES)
    return entry


def open_envelope(entry: bytes) -> Envelope:
    """Read an entry and check every signature in it.

    Raises:
        ProofError: It is not a canonical DSSE envelope with one to eight signatures, or a signature does not hold.
    """
    value = read_canonical(entry)
    payload, signatures = _parts(value)
    message = pre_authentication(payload)
    for key_id, signature in signatures:
        try:
            Ed25519PublicKey.from_public_bytes(public_key_of(key_id)).verify(signature, message)
        except InvalidSignature:
            raise ProofError("event.signature", key=key_id) from None
    return Envelope(payload, tuple(key_id for key_id, _ in signatures))


def open_payload(entry: bytes) -> bytes:
    """The payload of an entry whose signatures were checked when it was appended; they are not checked again."""
    return _parts(read_canonical(entry))[0]


def pre_authentication(payload: bytes) -> bytes:
    """The bytes that are signed: type and payload, each with its length (DSSE v1 §"Signature Definition", PAE)."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def key_id_of(public_key: bytes) -> str:
    """The key id of 32 raw bytes of an Ed25519 public key."""
    return _PREFIX + _base64(public_key)


def public_key_of(key_id: str) -> bytes:
    """The 32 raw bytes a key id stands for.

    Raises:
        ProofError: It is not the key id of an Ed25519 key.
    """
    raw = _unbase64(key_id.removeprefix(_PREFIX)) if key_id.startswith(_PREFIX) else None
    if raw is None or len(raw) != 32:
        raise ProofError("event.key_id", key=key_id[:80])
    return raw


def _parts(value: Any) -> tuple[bytes, list[tuple[str, bytes]]]:
    if not isinstance(value, dict) or set(value) != {"payload", "payloadType", "signatures"}:
        raise ProofError("event.not_envelope", detail="payload, payloadType, signatures")
    if value["payloadType"] != PAYLOAD_TYPE:
        raise ProofError("event.not_envelope", detail=f"payloadType {str(value['payloadType'])[:80]!r}")
    payload = _unbase64(value["payload"])
    if payload is None:
        raise ProofError("event.not_envelope", detail="payload")
    held = value["signatures"]
    if not isinstance(held, list) or not 1 <= len(held) <= MOST_SIGNATURES:
        raise ProofError("event.not_envelope", detail="signatures")
    signatures = [_signature(one) for one in held]
    if len({key_id for key_id, _ in signatures}) != len(signatures):
        raise ProofError("event.not_envelope", detail="keyid")
    return payload, signatures


def _signature(value: Any) -> tuple[str, bytes]:
    if not isinstance(value, dict) or set(value) != {"keyid", "sig"} or not isinstance(value["keyid"], str):
        raise ProofError("event.not_envelope", detail="signatures")
    signature = _unbase64(value["sig"])
    if signature is None or len(signature) != 64:
        raise ProofError("event.signature", key=value["keyid"][:80])
    return value["keyid"], signature


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unbase64(text: Any) -> bytes | None:
    """Standard base64 in its one spelling, else None."""
    if not isinstance(text, str) or not text.isascii():
        return None
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    return data if base64.b64encode(data).decode() == text else None
