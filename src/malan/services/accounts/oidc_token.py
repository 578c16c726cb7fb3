"""ID tokens of another identity provider: signature first, then every claim (OpenID Connect Core 1.0, §3.1.3.7).

Three signatures are known: EdDSA (Ed25519), RS256 with 2048 bits or more, ES256. `none` and shared secrets are not, so
nothing can be passed off as one of those. Pure: keys and time are given. Start at `check_id_token`.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicNumbers
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from malan.core.errors import ProofError

ALGORITHMS = ("EdDSA", "RS256", "ES256")
LEEWAY_S, LONGEST_LIFE_S, LONGEST_TOKEN = 60, 24 * 3600, 16_384
_LEAST_RSA_BITS, _MOST_RSA_BITS = 2048, 8192
_EXPONENT = 65_537
_KINDS = {"EdDSA": "OKP", "RS256": "RSA", "ES256": "EC"}


@dataclass(frozen=True)
class Expected:
    """What a token must say: from whom, for whom, and the number that ties it to one sign-in."""

    issuer: str
    client_id: str
    nonce: str


def check_id_token(token: str, keys: Sequence[Mapping[str, Any]], expected: Expected, now_s: float) -> dict[str, Any]:
    """The claims of a token that is what it should be.

    Args:
        token: Three parts of base64url.
        keys: The provider's keys, as JSON Web Keys (RFC 7517).
        expected: See there.
        now_s: The time, in seconds since 1970.

    Raises:
        ProofError: It is not signed by one of the keys, or says something else; `detail` names what.
    """
    if len(token) > LONGEST_TOKEN or token.count(".") != 2:
        raise _bad("form")
    head, body, signature = token.split(".")
    header, said = _object(head), _object(body)
    if header.get("alg") not in ALGORITHMS or "crit" in header:
        raise _bad("alg")
    signed, raw = f"{head}.{body}".encode(), _decoded(signature)
    if not any(_holds(key, header["alg"], raw, signed) for key in _fitting(keys, header)):
        raise _bad("signature")
    _check_claims(said, expected, now_s)
    return said


def _fitting(keys: Sequence[Mapping[str, Any]], header: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Keys of the right kind; with a `kid`, that one alone."""
    kind, wanted = _KINDS[header["alg"]], header.get("kid")
    fits = [key for key in keys[:100] if isinstance(key, dict) and key.get("kty") == kind]
    fits = [key for key in fits if key.get("use", "sig") == "sig" and key.get("alg", header["alg"]) == header["alg"]]
    return [key for key in fits if wanted is None or key.get("kid") == wanted]


def _holds(key: Mapping[str, Any], algorithm: str, signature: bytes, signed: bytes) -> bool:
    try:
        if algorithm == "EdDSA":
            return key.get("crv") == "Ed25519" and _ed25519(key, signature, signed)
        return _rsa(key, signature, signed) if algorithm == "RS256" else _ecdsa(key, signature, signed)
    except (InvalidSignature, ValueError, KeyError, TypeError, ProofError):
        return False


def _ed25519(key: Mapping[str, Any], signature: bytes, signed: bytes) -> bool:
    Ed25519PublicKey.from_public_bytes(_decoded(key["x"])).verify(signature, signed)
    return True


def _rsa(key: Mapping[str, Any], signature: bytes, signed: bytes) -> bool:
    modulus, exponent = _number(key["n"]), _number(key["e"])
    if not _LEAST_RSA_BITS <= modulus.bit_length() <= _MOST_RSA_BITS or exponent != _EXPONENT:
        return False
    RSAPublicNumbers(exponent, modulus).public_key().verify(signature, signed, PKCS1v15(), SHA256())
    return True


def _ecdsa(key: Mapping[str, Any], signature: bytes, signed: bytes) -> bool:
    if key.get("crv") != "P-256" or len(signature) != 64:
        return False
    numbers = EllipticCurvePublicNumbers(_number(key["x"]), _number(key["y"]), SECP256R1())
    pair = encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))
    numbers.public_key().verify(pair, signed, ECDSA(SHA256()))
    return True


def _check_claims(said: Mapping[str, Any], expected: Expected, now_s: float) -> None:
    audience = said.get("aud")
    listed = audience if isinstance(audience, list) else [audience]
    if said.get("iss") != expected.issuer:
        raise _bad("iss")
    if expected.client_id not in listed or (len(listed) > 1 and said.get("azp") != expected.client_id):
        raise _bad("aud")
    if said.get("azp", expected.client_id) != expected.client_id:
        raise _bad("azp")
    expires, issued, begins = map(_moment, (said.get("exp"), said.get("iat"), said.get("nbf", 0)))
    if expires + LEEWAY_S <= now_s or max(issued, begins) > now_s + LEEWAY_S or issued < now_s - LONGEST_LIFE_S:
        raise _bad("exp")
    if said.get("nonce") != expected.nonce:
        raise _bad("nonce")
    subject = said.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= 255:
        raise _bad("sub")


def _moment(at: Any) -> float:
    if not isinstance(at, int | float) or isinstance(at, bool):
        raise _bad("exp")
    return float(at)


def _object(part: str) -> dict[str, Any]:
    try:
        said = json.loads(_decoded(part))
    except (ValueError, RecursionError):
        raise _bad("json") from None
    if not isinstance(said, dict):
        raise _bad("json")
    return said


def _number(text: str) -> int:
    return int.from_bytes(_decoded(text))


def _decoded(part: str) -> bytes:
    """base64url without padding."""
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise _bad("base64") from None


def _bad(detail: str) -> ProofError:
    return ProofError("oidc.bad_token", detail=detail)
