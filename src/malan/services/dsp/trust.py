"""Who calls: bearer tokens (JWT, EdDSA) of partners on a list, each valid for us, for a short while, and once.

    [[partner]]                                  in `exchange.toml`
    id = "did:web:studio.example"
    keys = ["ed25519:…"]

Covered: a token of another key, another algorithm, for somebody else, too old, dated ahead, valid for too long, used
before. Not covered: a partner whose key was stolen, until the key is taken off the list. Start at `Trust.caller`.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Engine, delete

from malan.core.uuid7 import uuid7
from malan.ledger.envelope import public_key_of
from malan.runtime.database import add_new, updating
from malan.services.dsp.errors import NotAuthenticated
from malan.services.dsp.tables import tokens

LOCAL = "urn:malan:local"  # who calls on this machine without a token, where that is allowed
LIFE_S = 300
LONGEST_LIFE_S = 3_600
LEEWAY_S = 30
LONGEST_TOKEN = 4_096


class Key(Protocol):
    """A private key that signs."""

    @property
    def key_id(self) -> str: ...

    def sign(self, message: bytes) -> bytes: ...


@dataclass(frozen=True)
class Partner:
    """Somebody we exchange with: id, the keys believed, and where their connector is."""

    id: str
    keys: tuple[str, ...]
    connector: str = ""
    name: str = ""


@dataclass(frozen=True)
class Trust:
    """Checks tokens for one participant.

    Args:
        engine: Where used tokens are remembered.
        participant: Who we are: what a token must be for.
        partners: Asked each time, so that a change of the list holds at once.
        clock: Seconds since 1970.
    """

    engine: Engine
    participant: str
    partners: Callable[[], Mapping[str, Partner]]
    clock: Callable[[], float] = field(default=time.time)

    def caller(self, authorization: str | None, *, is_local: bool = False) -> str:
        """The participant id of whoever sent a request.

        Args:
            authorization: The header; None without one.
            is_local: The request came from this machine, to a server nobody else can reach.

        Raises:
            NotAuthenticated: There is no token, or it is not good.
        """
        if authorization is None:
            if is_local:
                return LOCAL
            raise NotAuthenticated("exchange.no_token")
        kind, _, token = authorization.strip().partition(" ")
        if kind.lower() != "bearer" or not token or len(token) > LONGEST_TOKEN:
            raise NotAuthenticated("exchange.no_token")
        said = self._verified(token.strip())
        self._use_once(said)
        return str(said["iss"])

    def _verified(self, token: str) -> dict[str, Any]:
        parts = token.split(".")
        if len(parts) != 3:
            raise NotAuthenticated("exchange.bad_token")
        header, said = _object(parts[0]), _object(parts[1])
        if header.get("alg") != "EdDSA" or "crit" in header:
            raise NotAuthenticated("exchange.bad_token")
        partner = self.partners().get(str(said.get("iss")))
        signature = _decoded(parts[2])
        keys = partner.keys if partner else ()
        if header.get("kid") is not None:
            keys = tuple(key for key in keys if key == header["kid"])
        signed = f"{parts[0]}.{parts[1]}".encode()
        if not any(_holds(key, signature, signed) for key in keys):
            raise NotAuthenticated("exchange.unknown_key", issuer=str(said.get("iss"))[:200])
        self._check_claims(said)
        return said

    def _check_claims(self, said: Mapping[str, Any]) -> None:
        audience = said.get("aud")
        if self.participant not in (audience if isinstance(audience, list) else [audience]):
            raise NotAuthenticated("exchange.token_audience")
        now = self.clock()
        times = [said.get("exp"), said.get("iat", now), said.get("nbf", now)]
        if not all(isinstance(at, int | float) and not isinstance(at, bool) for at in times):
            raise NotAuthenticated("exchange.bad_token")
        expires, issued, begins = (float(at) for at in times if at is not None)
        if expires + LEEWAY_S <= now:
            raise NotAuthenticated("exchange.token_expired")
        if max(issued, begins) > now + LEEWAY_S or expires > now + LONGEST_LIFE_S:
            raise NotAuthenticated("exchange.token_time")
        jti = said.get("jti")
        if not isinstance(jti, str) or not 8 <= len(jti) <= 200:
            raise NotAuthenticated("exchange.bad_token")

    def _use_once(self, said: Mapping[str, Any]) -> None:
        now = int(self.clock())
        row = {"issuer": said["iss"], "jti": said["jti"], "expires": int(said["exp"])}
        with updating(self.engine) as connection:
            connection.execute(delete(tokens).where(tokens.c.expires < now - 2 * LEEWAY_S))
            if not add_new(connection, tokens, row):
                raise NotAuthenticated("exchange.token_used")


def issue_token(key: Key, issuer: str, audience: str, *, now_s: float | None = None, life_s: int = LIFE_S) -> str:
    """A token that says who we are to one party, good once within minutes (RFC 7519, RFC 8037)."""
    now = int(time.time() if now_s is None else now_s)
    header = {"alg": "EdDSA", "typ": "JWT", "kid": key.key_id}
    said = {"iss": issuer, "sub": issuer, "aud": audience, "iat": now, "exp": now + life_s, "jti": uuid7()}
    signed = f"{_encoded(json.dumps(header).encode())}.{_encoded(json.dumps(said).encode())}"
    return f"{signed}.{_encoded(key.sign(signed.encode()))}"


def _holds(key_id: str, signature: bytes, signed: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key_of(key_id)).verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def _object(part: str) -> dict[str, Any]:
    try:
        said = json.loads(_decoded(part))
    except (ValueError, RecursionError):
        raise NotAuthenticated("exchange.bad_token") from None
    if not isinstance(said, dict):
        raise NotAuthenticated("exchange.bad_token")
    return said


def _decoded(part: str) -> bytes:
    """base64url without padding, in its one spelling."""
    try:
        data = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise NotAuthenticated("exchange.bad_token") from None
    if _encoded(data) != part:
        raise NotAuthenticated("exchange.bad_token")
    return data


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
