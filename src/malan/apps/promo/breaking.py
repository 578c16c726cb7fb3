"""Where lines break: as even as can be, better after a mark than within a phrase, never within a word.

Chinese is broken by the rules of the language (GB/T 15834: no mark begins a line, no opening bracket ends one). There
is no dictionary here: particles and the commonest words tell most of the places where a reader would not stop. Start
reading at `break_lines`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from itertools import accumulate
from math import ceil, inf

_NOT_FIRST = set("，。、；：？！）》」』】〉”’…—～·,.;:?!)]}%‰℃")
_NOT_LAST = set("（《「『【〈“‘([{￥$")
_NARROW, _BROAD = set("iljtfrI.,'!|:;()[]· "), set("mwMWGOQ@%—…")
_HOLDS = _NOT_LAST | {"\u200d"}  # what follows belongs to it
_HANGING = 2.0  # characters a run of marks may be wider than a line
_TOO_WIDE = 0.01  # of a character; sums of widths are not exact
_ENDS = set("的了着过地得吗呢吧啊们里上下中后前时")  # what a phrase ends with
_BEGINS = set("在和与把被从对向为让给将跟因但而却又也都就才这那每各第不没")  # what one begins with


def break_lines(text: str, most: float) -> list[str]:
    """A text in lines that fit, as even as can be; Chinese anywhere the rules allow, Latin words whole.

    A single word wider than a line is broken: nothing may leave the picture.

    Args:
        most: Full-width characters that fit a line.
    """
    pieces = _pieces(" ".join(text.split()), most)
    widths = [width_of(piece) for piece in pieces]
    total = sum(widths)
    count = max(1, ceil(total / (most + _HANGING)))
    while True:
        found = _shared_out(pieces, widths, count, total, most)
        if found is not None or count > len(pieces):
            return found or [piece.strip() for piece in pieces]
        count += 1


def width_of(text: str) -> float:
    """In full-width characters, as a grotesque sets them; what only modifies another character has none."""
    return sum(_width(one) for one in text)


def _width(one: str) -> float:
    if unicodedata.east_asian_width(one) in "WF":
        return 1.0
    if unicodedata.combining(one) or unicodedata.category(one) in ("Cf", "Mn"):
        return 0.0
    if one in _NARROW:
        return 0.32
    return 0.9 if one in _BROAD else 0.7 if one.isupper() or unicodedata.east_asian_width(one) == "A" else 0.56


def _shared_out(
    pieces: Sequence[str], widths: Sequence[float], count: int, total: float, most: float
) -> list[str] | None:
    """A text in so many lines: as even as can be, where a reader would stop. None: it does not fit.

    The least sum over lines of how far each is from even (Knuth and Plass 1981, without stretching).
    """
    ends = [0.0, *accumulate(widths)]
    rough = [0.0, *(_roughness(pieces, end) for end in range(1, len(pieces) + 1))]
    table = [[(0.0, 0), *[(inf, 0)] * len(pieces)]]
    for _ in range(count):
        row = [(inf, 0)] * (len(pieces) + 1)
        for end in range(1, len(pieces) + 1):
            for start in range(end - 1, -1, -1):
                width = ends[end] - ends[start]
                if width > most + _TOO_WIDE and end - start > 1:
                    break  # and wider from further back
                if table[-1][start][0] < inf:
                    uneven = ((width - total / count) / most) ** 2
                    row[end] = min(row[end], (table[-1][start][0] + uneven + rough[end], start))
        table.append(row)
    return None if table[-1][-1][0] == inf else _lines_of(pieces, table)


def _lines_of(pieces: Sequence[str], table: Sequence[Sequence[tuple[float, int]]]) -> list[str]:
    lines, end = [], len(pieces)
    for row in reversed(table[1:]):
        start = row[end][1]
        lines.append("".join(pieces[start:end]).strip())
        end = start
    return lines[::-1]


def _roughness(pieces: Sequence[str], end: int) -> float:
    """How much a break there disturbs: nothing after a mark, a space or between Latin words, most within a word."""
    if end == len(pieces):
        return 0.0
    before, after = pieces[end - 1].rstrip()[-1:], pieces[end][:1]
    if before in _NOT_FIRST or _is_spaced_chinese(pieces, end):
        return 0.0
    if not _is_chinese(before) and not _is_chinese(after):
        return 0.03
    if before + after in _words():
        return 0.4
    if before in _ENDS or after in _BEGINS:
        return 0.03
    within = _ends_word(pieces, end) or _begins_word(pieces, end)
    return 0.05 if within else 0.1


@lru_cache(maxsize=1)
def _words() -> frozenset[str]:
    """The commonest words of two characters."""
    return frozenset(resources.files(__package__).joinpath("words.txt").read_text("utf-8").split())


def _is_spaced_chinese(pieces: Sequence[str], end: int) -> bool:
    """A space somebody set between Chinese characters says where to stop."""
    return pieces[end - 1].endswith(" ") and _is_chinese(pieces[end][:1])


def _ends_word(pieces: Sequence[str], end: int) -> bool:
    return end >= 2 and pieces[end - 2][-1:] + pieces[end - 1][:1] in _words()


def _begins_word(pieces: Sequence[str], end: int) -> bool:
    return end + 1 < len(pieces) and pieces[end][:1] + pieces[end + 1][:1] in _words()


def _is_chinese(char: str) -> bool:
    return bool(char) and unicodedata.east_asian_width(char) in "WF"


def _pieces(text: str, most: float) -> list[str]:
    """What no break may go through: a character with its marks, a Latin word with the space after it."""
    pieces: list[str] = []
    word = False  # whether the last piece is a word that goes on
    for char in text:
        joins = char in _NOT_FIRST or char == " " or _modifies(char)
        if pieces and (joins or (word and not _is_chinese(char)) or pieces[-1][-1] in _HOLDS):
            pieces[-1] += char
        else:
            pieces.append(char)
        word = char != " " and not _is_chinese(char)
    return [part for piece in pieces for part in _torn(piece, most)]


def _modifies(char: str) -> bool:
    """A mark, a joiner or a variation of the character before it."""
    return unicodedata.category(char) in ("Mn", "Me", "Cf") or "\U0001f3fb" <= char <= "\U0001f3ff"


def _torn(piece: str, most: float) -> list[str]:
    """A piece in parts that fit a line; a mark may hang over its end."""
    parts = [""]
    for char in piece:
        room = most + _HANGING if char in _NOT_FIRST or _modifies(char) else most
        if parts[-1] and width_of((parts[-1] + char).rstrip()) > room:
            parts.append("")
        parts[-1] += char
    return parts
