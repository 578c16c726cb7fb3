"""JSON in one spelling only, for what is signed: RFC 8785 (JCS), narrowed to what every language reads the same.

No floats, no integer beyond ±(2^53−1), text in normal form C, no key twice. What is read must already be spelled so:
two different byte strings never mean the same statement. Records that are only hashed use `core.ids.canonical_bytes`.
"""

from __future__ import annotations

import json
import unicodedata
from typing import Any, NoReturn

from malan.core.errors import ProofError

LARGEST_INTEGER = 2**53 - 1
DEEPEST = 32

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode
_encode_sorted = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), check_circular=False, sort_keys=True
).encode


def canonical_json(value: Any) -> bytes:
    """The one spelling of a value as UTF-8 JSON (RFC 8785 §3).

    Args:
        value: None, booleans, integers, text, lists, tuples, and dicts with text keys.

    Raises:
        ProofError: It holds a float, an integer that JavaScript would round, text not in NFC, a lone surrogate, or
            anything else JSON has no word for.
    """
    plain = _check(value, "$", 0)
    return (_encode_sorted(value) if plain else _encode(_in_utf16_order(value))).encode()


def read_canonical(data: bytes) -> Any:
    """The value canonical bytes stand for.

    Raises:
        ProofError: They are not JSON, or not its canonical spelling: a key twice, spaces, another order, a float.
    """
    try:
        value = json.loads(
            data.decode(), object_pairs_hook=_no_key_twice, parse_float=_refuse_float, parse_constant=_refuse_float
        )
    except (ValueError, RecursionError) as error:
        raise ProofError("canonical.not_json", detail=str(error)[:200]) from error
    if canonical_json(value) != data:
        raise ProofError("canonical.spelling")
    return value


def _check(value: Any, where: str, depth: int) -> bool:
    """Refuse what has no canonical spelling; true when sorting keys by code point is sorting by UTF-16 (§3.2.3)."""
    if isinstance(value, str):
        _check_text(value, where)
        return True
    if value is None or isinstance(value, bool):
        return True
    if isinstance(value, int):
        if abs(value) > LARGEST_INTEGER:
            raise ProofError("canonical.integer", where=where, value=str(value)[:40])
        return True
    if depth >= DEEPEST:
        raise ProofError("canonical.depth", where=where[:200], most=DEEPEST)
    if isinstance(value, dict):
        plain = True
        for key, held in value.items():
            plain &= _check_key(key, where) & _check(held, f"{where}.{key}", depth + 1)
        return plain
    if isinstance(value, list | tuple):
        plain = True
        for i, held in enumerate(value):
            plain &= _check(held, f"{where}[{i}]", depth + 1)
        return plain
    raise ProofError("canonical.type", where=where, type=type(value).__name__)


def _check_key(key: Any, where: str) -> bool:
    if not isinstance(key, str):
        raise ProofError("canonical.type", where=where, type=type(key).__name__)
    _check_text(key, where)
    return key.isascii() or max(key) < "\ud800"


def _check_text(text: str, where: str) -> None:
    if text.isascii():
        return
    if not text.isprintable() and any("\ud800" <= c <= "\udfff" for c in text):
        raise ProofError("canonical.surrogate", where=where)
    if not unicodedata.is_normalized("NFC", text):
        raise ProofError("canonical.nfc", where=where)


def _in_utf16_order(value: Any) -> Any:
    """The same value with the keys of every object in the order of their UTF-16 code units (§3.2.3)."""
    if isinstance(value, dict):
        return {key: _in_utf16_order(value[key]) for key in sorted(value, key=lambda k: k.encode("utf-16-be"))}
    if isinstance(value, list | tuple):
        return [_in_utf16_order(held) for held in value]
    return value


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    held = dict(pairs)
    if len(held) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ProofError("canonical.key_twice", key=next(key for key in keys if keys.count(key) > 1)[:80])
    return held


def _refuse_float(text: str) -> NoReturn:
    raise ProofError("canonical.float", value=text[:40])
