"""Whole numbers as people write them into forms. Start at `read_whole`."""

from __future__ import annotations


def read_whole(text: str, digits: int = 15) -> int | None:
    """The number that ASCII digits spell, blanks around them aside; None for all else: no sign, point or exponent.

    Args:
        text: As it was written.
        digits: How many are read at most.
    """
    plain = text.strip()
    return int(plain) if plain.isascii() and plain.isdigit() and len(plain) <= digits else None
