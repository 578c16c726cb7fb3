"""An evidence service (存证) as an anchor: POST a digest as JSON, keep the signed receipt.

Such services have no common interface, so the names of the fields are settings; what must be there is a receipt number,
a time and a signature over both, or the receipt proves nothing. Request and receipt are signed over plain lines:

    malan-evidence-request/v1 ⏎ time ⏎ nonce ⏎ SHA-256 of the body in hex ⏎
    malan-evidence-receipt/v1 ⏎ digest in hex ⏎ name ⏎ receipt number ⏎ time as in the reply ⏎

by Ed25519, or by HMAC-SHA256 where the service has nothing better; the latter convinces nobody but the two. Start at
`EvidenceChain`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from malan.core.canonical import canonical_json, read_canonical
from malan.core.errors import MalanError, ProofError, Rejected, RetryLater, UsageError
from malan.ledger.anchors.base import Anchored, check_fresh, digest_of
from malan.ledger.checkpoint import Checkpoint
from malan.ledger.note import decode_base64, parse_note
from malan.ledger.post import DEFAULT_TIMEOUT_S, Reply, post

RECEIPT_KIND = "malan-evidence/v1"
JSON_TYPE = "application/json"
LARGEST_REPLY_BYTES = 64 * 1024
LEAST_SECRET_BYTES = 16
LONGEST_VALUE = 512

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII)
_FIELD = re.compile(r"[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64}){0,7}")
_MILLISECONDS_FROM = 10**11


class Authentication(Protocol):
    """How requests are signed and receipts are checked."""

    def sign(self, message: bytes) -> bytes: ...

    def holds(self, message: bytes, signature: bytes) -> bool: ...


class SharedSecret:
    """HMAC-SHA256 under one secret for both directions. The secret never shows."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        if len(secret) < LEAST_SECRET_BYTES:
            raise UsageError("anchor.secret", least=LEAST_SECRET_BYTES)
        self._secret = secret

    def sign(self, message: bytes) -> bytes:
        return hmac.digest(self._secret, message, "sha256")

    def holds(self, message: bytes, signature: bytes) -> bool:
        return hmac.compare_digest(self.sign(message), signature)

    def __repr__(self) -> str:
        return "SharedSecret(…)"


class KeyPair:
    """Ed25519: our key signs requests, the key of the service signs receipts."""

    __slots__ = ("_private", "_service")

    def __init__(self, private_key: bytes, service_key: bytes) -> None:
        if len(private_key) != 32 or len(service_key) != 32:
            raise UsageError("anchor.key")
        self._private = Ed25519PrivateKey.from_private_bytes(private_key)
        self._service = Ed25519PublicKey.from_public_bytes(service_key)

    def sign(self, message: bytes) -> bytes:
        return self._private.sign(message)

    def holds(self, message: bytes, signature: bytes) -> bool:
        try:
            self._service.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    def __repr__(self) -> str:
        return "KeyPair(…)"


@dataclass(frozen=True)
class EvidenceFields:
    """What the fields of a service are called; a dot leads into an object.

    Args:
        digest, name, time: Where the digest (hex), our name for it and our time go in the request.
        constants: Further fields of every request, such as a product number.
        receipt, stated_time, signature: Where receipt number, time and signature (base64) stand in the reply.
        key_header, time_header, nonce_header, signature_header: Headers that carry who asks and the signature.
    """

    digest: str = "hash"
    name: str = "name"
    time: str = "time"
    constants: Mapping[str, str] = field(default_factory=dict)
    receipt: str = "receipt"
    stated_time: str = "time"
    signature: str = "signature"
    key_header: str = "X-Evidence-Key"
    time_header: str = "X-Evidence-Time"
    nonce_header: str = "X-Evidence-Nonce"
    signature_header: str = "X-Evidence-Signature"

    def __post_init__(self) -> None:
        paths = (self.digest, self.name, self.time, *self.constants, self.receipt, self.stated_time, self.signature)
        headers = (self.key_header, self.time_header, self.nonce_header, self.signature_header)
        for each in (*paths, *headers):
            if not _FIELD.fullmatch(each):
                raise UsageError("anchor.field", field=each[:80])


class EvidenceChain:
    """Has checkpoints recorded by an evidence service.

    Args:
        name: How settings call it.
        url: Where requests go.
        authentication: How both sides prove themselves.
        clock: The time now (UTC).
        key_id: How the service knows us; sent as it is.
        fields: What its fields are called.
        timeout_s: For a whole request.
    """

    def __init__(
        self,
        name: str,
        url: str,
        authentication: Authentication,
        clock: Callable[[], datetime],
        *,
        key_id: str = "",
        fields: EvidenceFields | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        if not key_id.isprintable() or not key_id.isascii():
            raise UsageError("anchor.field", field=key_id[:80])
        self._name = name
        self._url = url
        self._authentication = authentication
        self._clock = clock
        self._key_id = key_id
        self._fields = fields or EvidenceFields()
        self._timeout_s = timeout_s

    @property
    def name(self) -> str:
        return self._name

    def anchor(self, note: bytes) -> Anchored:
        """A receipt for a checkpoint; see `Anchor.anchor`."""
        digest, subject = digest_of(note).hex(), _subject(note)
        reply = self._ask(digest, subject)
        fields = self._fields
        token = canonical_json(
            {
                "type": RECEIPT_KIND,
                "service": self._name,
                "hash": digest,
                "name": subject,
                "receipt": self._value(reply, fields.receipt),
                "time": self._value(reply, fields.stated_time),
                "signature": self._value(reply, fields.signature),
            }
        )
        time = self.check(token, note)
        check_fresh(self._name, time, self._clock())
        return Anchored(token, time)

    def check(self, token: bytes, note: bytes) -> datetime:
        """The time the receipt states; see `Anchor.check`."""
        held = _read_token(token)
        if held["service"] != self._name:
            raise ProofError("anchor.other", expected=self._name, found=held["service"][:80])
        digest, subject = digest_of(note).hex(), _subject(note)
        if not hmac.compare_digest(held["hash"], digest):
            raise ProofError("anchor.imprint", expected=digest, found=held["hash"][:64])
        signature = decode_base64(held["signature"])
        message = receipt_message(digest, subject, held["receipt"], held["time"])
        if held["name"] != subject or signature is None or not self._authentication.holds(message, signature):
            raise ProofError("anchor.signature")
        return _time(held["time"])

    def _ask(self, digest: str, subject: str) -> Any:
        now = self._clock().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        nonce = secrets.token_hex(16)
        fields = self._fields
        body: dict[str, Any] = {}
        for path, value in {
            fields.digest: digest,
            fields.name: subject,
            fields.time: now,
            **fields.constants,
        }.items():
            _put(body, path, value)
        data = canonical_json(body)
        signature = self._authentication.sign(request_message(now, nonce, data))
        headers = {
            fields.key_header: self._key_id,
            fields.time_header: now,
            fields.nonce_header: nonce,
            fields.signature_header: base64.b64encode(signature).decode(),
        }
        reply = post(
            self._url, data, JSON_TYPE, headers=headers, timeout_s=self._timeout_s, most_bytes=LARGEST_REPLY_BYTES
        )
        return self._read(reply)

    def _read(self, reply: Reply) -> Any:
        if reply.status in (408, 425, 429) or reply.status >= 500:
            raise RetryLater("anchor.later", name=self._name, status=reply.status)
        if reply.status not in (200, 201):
            raise Rejected("anchor.refused", name=self._name, status=reply.status)
        if reply.content_type != JSON_TYPE:
            raise ProofError("anchor.reply_type", name=self._name, found=reply.content_type[:80], expected=JSON_TYPE)
        try:
            return json.loads(reply.body.decode())
        except (ValueError, RecursionError) as error:
            raise ProofError("anchor.reply", name=self._name, field="JSON") from error

    def _value(self, reply: Any, path: str) -> str:
        """The text or whole number at a place of the reply."""
        for part in path.split("."):
            reply = reply.get(part) if isinstance(reply, dict) else None
        if isinstance(reply, int) and not isinstance(reply, bool):
            reply = str(reply) if abs(reply) < 1 << 63 else None
        if not isinstance(reply, str) or not reply or len(reply) > LONGEST_VALUE or not reply.isprintable():
            raise ProofError("anchor.reply", name=self._name, field=path)
        return reply


def request_message(time: str, nonce: str, body: bytes) -> bytes:
    """What we sign in a request."""
    return f"malan-evidence-request/v1\n{time}\n{nonce}\n{hashlib.sha256(body).hexdigest()}\n".encode()


def receipt_message(digest: str, name: str, receipt: str, time: str) -> bytes:
    """What the service signs in a receipt."""
    return f"malan-evidence-receipt/v1\n{digest}\n{name}\n{receipt}\n{time}\n".encode()


def _subject(note: bytes) -> str:
    """Our name for a checkpoint, such as `example.com/log@7`."""
    checkpoint = Checkpoint.parse(parse_note(note).text)
    return f"{checkpoint.origin}@{checkpoint.size}"


def _read_token(token: bytes) -> dict[str, str]:
    names = {"type", "service", "hash", "name", "receipt", "time", "signature"}
    try:
        held = read_canonical(token) if len(token) <= LARGEST_REPLY_BYTES else None
    except MalanError as error:
        raise ProofError("anchor.shape") from error
    if not isinstance(held, dict) or set(held) != names or not all(isinstance(v, str) for v in held.values()):
        raise ProofError("anchor.shape")
    if held["type"] != RECEIPT_KIND or not held["hash"].isascii() or not all(v.isprintable() for v in held.values()):
        raise ProofError("anchor.shape")
    return held


def _time(text: str) -> datetime:
    """RFC 3339, or whole seconds or milliseconds since 1970."""
    try:
        if re.fullmatch(r"[1-9][0-9]{0,15}", text):
            number = int(text)
            return datetime.fromtimestamp(number / 1000 if number >= _MILLISECONDS_FROM else number, UTC)
        if _TIME.fullmatch(text):
            return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise ProofError("anchor.reply", name="", field="time")


def _put(body: dict[str, Any], path: str, value: str) -> None:
    *folders, last = path.split(".")
    for folder in folders:
        body = body.setdefault(folder, {})
        if not isinstance(body, dict):
            raise UsageError("anchor.field", field=path)
    body[last] = value
