"""Flashing patterns whose verdict follows from their definition: frequency, depth, darkness, area, colour.

The reference counts opposite changes by hand from the levels that were drawn; it shares no line with the meter.
Start at `Pattern.all`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from malan.apps.review.measure.flash import FlashMeter, luminance_table

RATE = 25
SIDE = 40
CODES = luminance_table(False)


@dataclass(frozen=True)
class Pattern:
    """Square flashing between two luma codes on a part of the picture."""

    half_frames: int  # frames of each level
    low: int
    high: int
    area: float
    seconds: float = 3.0
    is_checkered: bool = False  # neighbours flash in turn

    @staticmethod
    def all(*, quick: bool = False) -> Iterator[Pattern]:
        """Frequencies, depths, darkness and areas around every limit."""
        for half in (1, 2, 3, 4, 5, 6, 8) if not quick else (2, 5):
            for low, high in ((40, 200), (100, 130), (60, 100), (16, 90), (222, 235), (180, 235), (120, 235)):
                for area in (0.1, 0.2, 0.3, 0.6, 1.0) if not quick else (0.2, 1.0):
                    yield Pattern(half, low, high, area)
                    if area >= 0.6:
                        yield Pattern(half, low, high, area, is_checkered=True)
        for half in (4, 5, 6, 7):
            for seconds in (2.0, 4.0, 5.5, 8.0):
                yield Pattern(half, 40, 200, 1.0, seconds)


def reference_fails(one: Pattern) -> tuple[bool, bool]:
    """Whether a pattern must fail for more than three flashes a second, and for flashing that goes on."""
    low, high = float(CODES[one.low]), float(CODES[one.high])
    if high - low < 0.1 or low >= 0.8 or round(one.area * SIDE) / SIDE < 0.25:
        return False, False
    frames = round(one.seconds * RATE)
    changes = [n / RATE for n in range(1, frames) if n // one.half_frames != (n - 1) // one.half_frames]
    fast = any(sum(t - 1 + 1e-6 < u <= t for u in changes) > 6 for t in changes)
    slow = 0
    worst = 0.0
    marks = []
    for n in range(frames):
        now = n / RATE
        is_slow = sum(now - 1 + 1e-6 < u <= now for u in changes) >= 4
        marks.append(is_slow)
        slow = sum(marks[max(0, n - 5 * RATE + 1) : n + 1])
        worst = max(worst, slow / RATE) if is_slow else worst
    return fast, worst >= 4.0 - 1e-6


def watched(one: Pattern) -> tuple[bool, bool]:
    """What the meter says of it."""
    meter = FlashMeter()
    rest = CODES[one.low]
    rows = round(one.area * SIDE)
    board = np.indices((SIDE, SIDE)).sum(axis=0) % 2
    for n in range(round(one.seconds * RATE)):
        picture = np.full((SIDE, SIDE), rest, np.float32)
        phase = n // one.half_frames % 2
        levels = np.where((board if one.is_checkered else 0) ^ phase, CODES[one.high], CODES[one.low])
        picture[:rows] = np.broadcast_to(levels, (SIDE, SIDE))[:rows]
        meter.see(picture, None, n / RATE, 1 / RATE)
    kinds = {found.kind for found in meter.found()}
    return "flash" in kinds, "flash_long" in kinds
