"""Ids by digest: the same content has the same id everywhere.

An id is 64 lower-case hex digits of SHA-256 (FIPS 180-4). People may type any unique prefix of six or more.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from malan.core.errors import UsageError

_PREFIX = re.compile(r"[0-9a-f]{6,64}")


def digest_bytes(data: bytes) -> str:
    """SHA-256 of bytes as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def canonical_bytes(value: Any) -> bytes:
    """The one JSON spelling of a value: keys sorted, no spaces, UTF-8.

    Equal to RFC 8785 for what records hold (strings, integers, booleans, null, lists, objects). Not a number and
    infinity are refused.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest_record(kind: str, value: Any) -> str:
    """Id of a record: the digest of its kind and its canonical bytes, so that two kinds never share an id."""
    return digest_bytes(kind.encode() + b"\n" + canonical_bytes(value))


def check_prefix(text: str) -> str:
    """The id prefix a person typed, in lower case.

    Raises:
        UsageError: It is not 6 to 64 hex digits.
    """
    lowered = text.strip().lower()
    if not _PREFIX.fullmatch(lowered):
        raise UsageError("id.bad", text=text)
    return lowered
