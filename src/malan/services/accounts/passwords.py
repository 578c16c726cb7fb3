"""Passwords: what one must be, its hash, and the check of one. Knows no accounts.

scrypt (RFC 7914) with N = 2^17, r = 8, p = 1: 128 MiB and about half a second for each guess, the first of the OWASP
settings. The settings stand in the hash, so that they can be raised: `is_outdated` tells. Start at `hash_password`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import secrets
import threading
import unicodedata
from dataclasses import dataclass

from malan.core.errors import UsageError

LEAST, MOST = 12, 256  # characters
_LEAST_DIFFERENT = 5
_SALT_BYTES, _HASH_BYTES = 16, 32


@dataclass(frozen=True, slots=True)
class Cost:
    """What one guess costs: memory is 128 · r · 2^log2_n bytes."""

    log2_n: int = 17
    r: int = 8
    p: int = 1


COST = Cost()
_AT_ONCE = threading.BoundedSemaphore(2)  # of the whole process: many sign-ins at once must not take all its memory


def check_new_password(password: str, *names: str) -> None:
    """Refuse what is guessed first; no rules about kinds of letters (NIST SP 800-63B, §3.1.1.2).

    Args:
        password: What somebody chose.
        names: What it must not be made of: login, name of the party.

    Raises:
        UsageError: It is too short, too long, or too easily guessed.
    """
    plain = _normal(password)
    if not LEAST <= len(plain) <= MOST:
        raise UsageError("access.password_length", least=LEAST, most=MOST)
    folded = plain.casefold()
    steps = {ord(b) - ord(a) for a, b in itertools.pairwise(plain)}
    rest = folded
    for name in names:
        rest = rest.replace(name.casefold(), "") if name else rest
    if len(set(folded)) < _LEAST_DIFFERENT or len(steps) == 1 or len(rest) < LEAST // 2:
        raise UsageError("access.password_weak")


def hash_password(password: str, cost: Cost = COST) -> str:
    """`scrypt$17$8$1$salt$hash`, with a salt of its own."""
    salt = secrets.token_bytes(_SALT_BYTES)
    parts = (base64.b64encode(raw).decode() for raw in (salt, _scrypt(password, salt, cost)))
    return "$".join(("scrypt", str(cost.log2_n), str(cost.r), str(cost.p), *parts))


def check_password(password: str, hashed: str | None, cost: Cost = COST) -> bool:
    """Whether a password has this hash. Without a hash the answer is no, after the same work."""
    if not hashed:
        _scrypt(password, b"\0" * _SALT_BYTES, cost)
        return False
    _, log2_n, r, p, salt, digest = hashed.split("$")
    found = _scrypt(password, base64.b64decode(salt), Cost(int(log2_n), int(r), int(p)))
    return hmac.compare_digest(found, base64.b64decode(digest))


def is_outdated(hashed: str, cost: Cost = COST) -> bool:
    """Whether a hash was made with other settings than today's."""
    return hashed.split("$")[1:4] != [str(cost.log2_n), str(cost.r), str(cost.p)]


def new_password() -> str:
    """A password nobody guesses: 120 bits, without letters that look alike, in groups of five."""
    letters = "".join(secrets.choice("abcdefghjkmnpqrstuvwxyz23456789") for _ in range(25))
    return "-".join(letters[at : at + 5] for at in range(0, 25, 5))


def _normal(password: str) -> str:
    return unicodedata.normalize("NFKC", password)


def _scrypt(password: str, salt: bytes, cost: Cost) -> bytes:
    n, memory = 1 << cost.log2_n, 128 * cost.r * (1 << cost.log2_n)
    with _AT_ONCE:
        data = _normal(password[: 4 * MOST]).encode("utf-8", "surrogatepass")
        return hashlib.scrypt(data, salt=salt, n=n, r=cost.r, p=cost.p, maxmem=memory + (8 << 20), dklen=_HASH_BYTES)
