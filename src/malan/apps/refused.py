"""What is wrong with a value somebody sent, in their language: the place and the reason, from pydantic's own words.

Start reading at `refusal`.
"""

from __future__ import annotations

from pydantic import ValidationError

from malan.core.catalogue import catalogue

_LONGEST = 200


def refusal(error: ValidationError) -> tuple[str, str]:
    """Place and reason of the first thing that is wrong; a reason nobody translated stays as pydantic says it."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "–"
    message = catalogue().get(f"refused.{first['type']}")
    values = {name: str(value)[:_LONGEST].replace(" or ", ", ") for name, value in first.get("ctx", {}).items()}
    try:
        reason = message.text(None, values) if message else str(first["msg"])
    except KeyError:
        reason = str(first["msg"])
    return where[:80], reason.removeprefix("Value error, ").rstrip(".。")[:_LONGEST]  # our own words stand without it
