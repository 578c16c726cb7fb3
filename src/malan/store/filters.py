"""Filter expressions for Lance, built so that no value can become syntax.

Values enter only through `literal`; column names are ours. This module does not decide what is filtered.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import isnan


def literal(value: str | float | bool) -> str:
    """A value as SQL text. Strings are single-quoted, quotes doubled; nothing else has a meaning inside them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _number(value)
    return "'" + sound(value).replace("'", "''") + "'"


def one_of(column: str, values: Iterable[str]) -> str:
    """True where the column has one of the values; no values match nothing."""
    listed = ", ".join(literal(value) for value in sorted(set(values)))
    return f"{column} IN ({listed})" if listed else "false"


def all_of(parts: Iterable[str | None]) -> str | None:
    """All of the conditions that were given; None if there are none."""
    given = [f"({part})" for part in parts if part]
    return " AND ".join(given) or None


def sound(text: str) -> str:
    """The text without what UTF-8 cannot hold (lone surrogates) and without NUL."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\N{REPLACEMENT CHARACTER}")


def _number(value: float) -> str:
    """Not a number and the infinities have no literal: compared with them, keep the meaning of the comparison."""
    if isnan(value):
        raise ValueError("a filter cannot compare with not-a-number")
    return repr(min(max(value, -1e300), 1e300))
