"""Exact time: integer ticks of a rational timebase.

Seconds as float exist for showing only; nothing is computed from them. Start reading at `Span`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from malan.core.errors import UsageError

_FRAGMENT = re.compile(r"t=(?:npt:)?(\d+(?:\.\d+)?)?(?:,(\d+(?:\.\d+)?))?")


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of one track: integer ticks, the end excluded.

    Text assets count characters: `timebase` is then 1 and a tick is one character.

    Raises:
        UsageError: `end` lies before `start`, or the timebase is not above zero.
    """

    start: int
    end: int
    timebase: Fraction

    def __post_init__(self) -> None:
        if self.end < self.start or self.timebase <= 0:
            raise UsageError("time.bad_span", start=self.start, end=self.end, timebase=str(self.timebase))

    @property
    def duration_ticks(self) -> int:
        return self.end - self.start

    @property
    def duration(self) -> Fraction:
        """Length in seconds, exact."""
        return self.duration_ticks * self.timebase

    @property
    def start_s(self) -> float:
        """Start in seconds, for showing."""
        return float(self.start * self.timebase)

    @property
    def end_s(self) -> float:
        """End in seconds, for showing."""
        return float(self.end * self.timebase)

    @property
    def is_empty(self) -> bool:
        return self.end == self.start

    def overlaps(self, other: Span) -> bool:
        """Whether both share at least one instant; timebases may differ."""
        return (
            self.start * self.timebase < other.end * other.timebase
            and other.start * other.timebase < self.end * self.timebase
        )

    def to_timebase(self, timebase: Fraction) -> Span:
        """The same stretch in other ticks, each edge rounded to the nearest tick (half to even)."""
        return Span(round(self.start * self.timebase / timebase), round(self.end * self.timebase / timebase), timebase)

    def fragment(self) -> str:
        """The temporal part of a media fragment, `t=12.5,18.2` (W3C Media Fragments 1.0, §4.2.1, NPT)."""
        return f"t={_npt(self.start * self.timebase)},{_npt(self.end * self.timebase)}"

    @classmethod
    def from_fragment(cls, text: str, timebase: Fraction, *, end: int) -> Span:
        """Read `t=a,b`, `t=a` or `t=,b`; an absent end means `end` (ticks). Edges go to the nearest tick."""
        match = _FRAGMENT.fullmatch(text)
        if match is None or text == "t=":
            raise UsageError("time.bad_fragment", text=text)
        first, last = match.groups()
        start_ticks = round(Fraction(first or 0) / timebase)
        end_ticks = round(Fraction(last) / timebase) if last else end
        return cls(start_ticks, end_ticks, timebase)


def _npt(seconds: Fraction) -> str:
    """Seconds to nine places, trailing zeros dropped: enough to find every tick of a nanosecond clock again."""
    return f"{float(round(seconds, 9)):.9f}".rstrip("0").rstrip(".")


def timecode(seconds: Fraction | float) -> str:
    """`HH:MM:SS.mmm`, for showing."""
    millis = round(seconds * 1000)
    minutes, millis = divmod(millis, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{millis // 1000:02d}.{millis % 1000:03d}"
