"""What expressions of rules are about: moments, numbers, texts and truths, each of which may be unknown.

Logic has three values (Kleene): unknown is not false, and a rule that ends unknown goes to a person. A set of moments
may be incomplete: what is in it is known, what is not in it may still exist. `missing` names what would settle it.
Start at `Value`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["truth", "number", "text", "moments", "words"]
Box = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels of the picture as shown, ends excluded

NONE: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Moment:
    """A stretch of an episode in which something was found. Seconds on the clock of the file, end excluded."""

    start_s: float
    end_s: float
    text: str = ""
    box: Box | None = None
    height_share: float | None = None  # of the letters, of the short side of the picture
    inset_share: float | None = None  # least distance of the box from an edge of the picture, of that side
    source: str = ""  # which detector: caption, persistent, card, speech, title, black, …
    detail: tuple[tuple[str, Any], ...] = ()  # what was measured, by name
    confidence: float | None = None
    hits: tuple[tuple[int, int, str], ...] = ()  # words found: start and end in `text`, and the word of the list

    @property
    def length_s(self) -> float:
        return self.end_s - self.start_s

    def meets(self, start_s: float, end_s: float) -> bool:
        """Whether it has time in common with a stretch; an instant counts where it lies."""
        if self.start_s == self.end_s:
            return start_s <= self.start_s < end_s
        return self.start_s < end_s and self.end_s > start_s


@dataclass(frozen=True, slots=True)
class Value:
    """A value of an expression. `data` None is unknown; moments are a tuple, incomplete if something is missing."""

    kind: Kind
    data: Any
    missing: frozenset[str] = NONE
    dim: str = ""  # of a number: s, share, dB, px, yuan, or nothing

    @property
    def is_known(self) -> bool:
        return self.data is not None and not self.missing


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a rule ended: what it found, whether that is all, and what was missing to know."""

    state: Literal["found", "clear", "unknown", "not_applicable"]
    moments: tuple[Moment, ...] = ()
    missing: frozenset[str] = NONE
    facts: tuple[tuple[str, Any], ...] = field(default=())


def truth(data: bool | None, missing: Iterable[str] = ()) -> Value:
    return Value("truth", data, NONE if data is not None else frozenset(missing))


def number(data: float | None, dim: str = "", missing: Iterable[str] = ()) -> Value:
    return Value("number", data, NONE if data is not None else frozenset(missing), dim)


def text(data: str | None, missing: Iterable[str] = ()) -> Value:
    return Value("text", data, NONE if data is not None else frozenset(missing))


def moments(data: Iterable[Moment], missing: Iterable[str] = ()) -> Value:
    found = tuple(sorted(data, key=lambda m: (m.start_s, m.end_s, m.source, m.text)))
    return Value("moments", found, frozenset(missing))


def both(one: Value, other: Value) -> Value:
    """Kleene's and: false settles it."""
    if one.data is False or other.data is False:
        return truth(False)
    return _together(one, other, True)


def either(one: Value, other: Value) -> Value:
    """Kleene's or: true settles it."""
    if one.data is True or other.data is True:
        return truth(True)
    return _together(one, other, False)


def opposite(one: Value) -> Value:
    return truth(None if one.data is None else not one.data, one.missing)


def exists(found: Value) -> Value:
    """True if there is one; false only if nothing could be missing."""
    if found.data:
        return truth(True)
    return truth(None, found.missing) if found.missing else truth(False)


def _together(one: Value, other: Value, settled: bool) -> Value:
    if one.data is None or other.data is None:
        return truth(None, one.missing | other.missing)
    return truth(settled)
