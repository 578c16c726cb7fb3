"""An RFC 3161 time-stamp authority as an anchor."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from datetime import datetime

from cryptography import x509

from malan.core.errors import ProofError, Rejected, RetryLater, UsageError
from malan.ledger.anchors.base import Anchored, check_fresh, digest_of
from malan.ledger.anchors.timestamp import build_request, check_token, token_in
from malan.ledger.post import DEFAULT_TIMEOUT_S, Reply, post

REQUEST_TYPE = "application/timestamp-query"
REPLY_TYPE = "application/timestamp-reply"
LARGEST_REPLY_BYTES = 64 * 1024
NONCE_BITS = 64


class TimestampAuthority:
    """Has checkpoints time-stamped over HTTP (RFC 3161 §3.4).

    Args:
        name: How settings call it.
        url: Where requests go.
        roots: PEM of the certificates that end its chain, from a source you trust.
        clock: The time now (UTC).
        timeout_s: For a whole request.
    """

    def __init__(
        self,
        name: str,
        url: str,
        roots: bytes,
        clock: Callable[[], datetime],
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        self._name = name
        self._url = url
        self._roots = _read_roots(roots, name)
        self._clock = clock
        self._timeout_s = timeout_s

    @property
    def name(self) -> str:
        return self._name

    def anchor(self, note: bytes) -> Anchored:
        """A token for a checkpoint; see `Anchor.anchor`."""
        digest, nonce = digest_of(note), secrets.randbits(NONCE_BITS)
        reply = post(
            self._url,
            build_request(digest, nonce),
            REQUEST_TYPE,
            timeout_s=self._timeout_s,
            most_bytes=LARGEST_REPLY_BYTES,
        )
        token = token_in(_body(reply, self._name), self._name)
        statement = check_token(token, digest, self._roots)
        if statement.nonce != nonce:
            raise ProofError("anchor.nonce", name=self._name)
        check_fresh(self._name, statement.time, self._clock())
        return Anchored(token, statement.time)

    def check(self, token: bytes, note: bytes) -> datetime:
        """The time the token states; see `Anchor.check`."""
        return check_token(token, digest_of(note), self._roots).time


def _body(reply: Reply, name: str) -> bytes:
    if reply.status == 200 and reply.content_type == REPLY_TYPE:
        return reply.body
    if reply.status in (408, 425, 429) or reply.status >= 500:
        raise RetryLater("anchor.later", name=name, status=reply.status)
    if reply.status == 200:
        raise ProofError("anchor.reply_type", name=name, found=reply.content_type[:80], expected=REPLY_TYPE)
    raise Rejected("anchor.refused", name=name, status=reply.status)


def _read_roots(pem: bytes, name: str) -> Sequence[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise UsageError("anchor.roots", name=name) from error
