"""Why a clip was found: the field and the piece of it that holds the words.

The full-text index only says that a clip matches; here the few clips on a page are looked at again. Start reading at
`evidence_of`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from malan.store.rows import ClipRow
from malan.store.words import is_ideographic, runs

_AROUND = 24  # characters shown before and after
_ENDINGS = re.compile(r"(?:ies|ied|ing|ed|es|ly|s|y|e)$")  # what English words differ in that share a stem


@dataclass(frozen=True)
class Evidence:
    """A field of a clip, and a piece of it with the words of the query in it."""

    field: str  # caption, title, tag, look, file_name
    snippet: str
    marks: tuple[tuple[int, int], ...] = ()  # where in the snippet the words are, ends excluded


def evidence_of(row: ClipRow, text: str) -> tuple[Evidence, ...]:
    """The places where parts of a query are in a clip, captions first."""
    parts = runs(text)
    if not parts:
        return ()
    return tuple(
        Evidence(field, *_snippet(value, marks)) for field, value in _fields(row) if (marks := _marks(value, parts))
    )


def _fields(row: ClipRow) -> Iterator[tuple[str, str]]:
    for line in row.caption.splitlines():
        yield "caption", line
    yield "title", row.title
    for tag in row.tags:
        yield "tag", tag
    for name in row.look:
        yield "look", name
    yield "file_name", row.file_name


def _marks(value: str, parts: Sequence[str]) -> list[tuple[int, int]]:
    """Stretches of a text that one of the parts matches, joined where they touch, in order."""
    text, origin = _folded_with_origin(value)
    found = [stretch for part in parts for stretch in _matches(text, part)]
    joined: list[tuple[int, int]] = []
    for begin, end in sorted((origin[begin], origin[end - 1] + 1) for begin, end in found):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return joined


def _folded_with_origin(value: str) -> tuple[str, list[int]]:
    """The text as it is compared, and for each of its characters the place in the text it came from."""
    characters, origin = [], []
    for place, character in enumerate(value):
        folded = unicodedata.normalize("NFKC", character).lower()
        characters.append(folded)
        origin += [place] * len(folded)
    return "".join(characters), origin


def _matches(text: str, part: str) -> Iterator[tuple[int, int]]:
    if not is_ideographic(part):
        root = re.escape(_ENDINGS.sub("", part) if len(part) > 3 else part)
        for match in re.finditer(rf"(?<![^\W_]){root}[^\W_]{{0,3}}(?![^\W_])", text):
            yield match.span()
        return
    whole = [match.span() for match in re.finditer(re.escape(part), text)]
    pairs = [part[i : i + 2] for i in range(len(part) - 1)]
    yield from whole or (match.span() for pair in pairs for match in re.finditer(re.escape(pair), text))


def _snippet(value: str, marks: Sequence[tuple[int, int]]) -> tuple[str, tuple[tuple[int, int], ...]]:
    """The piece around the first match, with the matches in it."""
    begin = max(0, marks[0][0] - _AROUND)
    end = min(len(value), max(marks[0][1], begin) + 2 * _AROUND)
    before, after = "…" if begin else "", "…" if end < len(value) else ""
    shift = len(before) - begin
    inside = tuple((a + shift, min(b, end) + shift) for a, b in marks if a < end)
    return before + value[begin:end] + after, inside
