"""Flashing that may trigger seizures, counted for every point of the picture.

After ITU-R BT.1702 and WCAG 2.3.1, with the default thresholds of public checkers: a flash is a pair of opposite
changes of at least 0.1 of full luminance whose darker side is below 0.8; more than three in any second over a quarter
of the picture fail, and so do four to six changes a second that go on for four of five seconds. Saturated red counts by
itself: R / (R+G+B) ≥ 0.8 and a change of (R−G−B) × 320 by more than 20. This is no certified instrument.

    picture ─ luminance, red ─▶ opposite changes of each point ─ last second ─▶ share of points over the limit

Start at `FlashMeter`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STEP = 0.1  # of full luminance
DARK = 0.8  # the darker side of a change lies below
RED_STEP = 20.0  # of (R - G - B) x 320
RED_SHARE = 0.8  # of R in R + G + B
AREA = 0.25  # of the picture
MOST_CHANGES = 6  # in a second: three flashes
SLOW_CHANGES = 4  # in a second, that must not go on
SLOW_S, SLOW_OF_S = 4.0, 5.0
_SECOND = 1.0 - 1e-6

_F32 = NDArray[np.float32]


class Changes:
    """Opposite changes of each point, and how many of them lie in the last second.

    Args:
        step: How large a change counts.
        dark: The darker side must lie below this; None for no such limit.
    """

    def __init__(self, step: float, dark: float | None) -> None:
        self._step, self._dark = np.float32(step - 1e-6), dark
        self._most: _F32 | None = None
        self._least: _F32 = np.zeros(0, np.float32)
        self._way: NDArray[np.int8] = np.zeros(0, np.int8)
        self._count: NDArray[np.int16] = np.zeros(0, np.int16)
        self._recent: deque[tuple[float, NDArray[np.bool_]]] = deque()

    def see(self, values: _F32, time_s: float) -> None:
        """Take the next picture."""
        if self._most is None or self._most.shape != values.shape:
            self._begin(values)
            return
        up = (values - self._least >= self._step) & (self._way <= 0)
        down = (self._most - values >= self._step) & (self._way >= 0)
        if self._dark is not None:
            up &= self._least < self._dark
            down &= values < self._dark
        changed = up | down
        self._forget(time_s)
        if changed.any():
            self._count += changed
            self._recent.append((time_s, changed))
            self._way[up], self._way[down] = 1, -1
            self._most[changed] = self._least[changed] = values[changed]
        np.maximum(self._most, values, out=self._most)
        np.minimum(self._least, values, out=self._least)

    def share_over(self, changes: int) -> float:
        """Share of the points that changed more often than this in the last second."""
        if not self._recent:
            return 0.0
        return float(np.count_nonzero(self._count > changes)) / max(1, self._count.size)

    @property
    def span_s(self) -> tuple[float, float]:
        """When the oldest and the latest change that still count were."""
        return (self._recent[0][0], self._recent[-1][0]) if self._recent else (0.0, 0.0)

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing above zero has been seen of late."""
        return not self._recent and (self._most is None or not self._most.any())

    def _begin(self, values: _F32) -> None:
        self._most, self._least = values.copy(), values.copy()
        self._way, self._count = np.zeros(values.shape, np.int8), np.zeros(values.shape, np.int16)
        self._recent.clear()

    def _forget(self, time_s: float) -> None:
        while self._recent and time_s - self._recent[0][0] >= _SECOND:
            self._count -= self._recent.popleft()[1]


@dataclass(frozen=True, slots=True)
class Failing:
    """A stretch that fails one of the tests, and the greatest share of the picture that did."""

    kind: str  # flash, flash_long, red_flash
    start_s: float
    end_s: float
    area: float


class FlashMeter:
    """Watches a film for flashing. Pictures come in order, small: some thousand points are enough."""

    def __init__(self) -> None:
        self._light, self._red = Changes(STEP, DARK), Changes(RED_STEP, None)
        self._found: list[Failing] = []
        self._slow: deque[tuple[float, float]] = deque()  # time and length of frames with slow flashing
        self._slow_sum = 0.0

    def see(self, luminance: _F32, red: _F32 | None, time_s: float, length_s: float) -> None:
        """Take the next picture.

        Args:
            luminance: Of each point, 0 to 1, linear.
            red: `saturated_red` of each point; None when no point of the picture is saturated red.
        """
        self._light.see(luminance, time_s)
        self._judge("flash", self._light, length_s)
        if red is not None or not self._red.is_at_rest:
            self._red.see(np.zeros_like(luminance) if red is None else red, time_s)
            self._judge("red_flash", self._red, length_s)
        self._judge_slow(time_s, length_s)

    def found(self) -> list[Failing]:
        """What failed, in order; stretches of one kind that touch are one."""
        return sorted(self._found, key=lambda one: (one.start_s, one.kind))

    def _judge(self, kind: str, changes: Changes, length_s: float) -> None:
        share = changes.share_over(MOST_CHANGES)
        if share >= AREA:
            first_s, last_s = changes.span_s
            self._add(kind, first_s, last_s + length_s, share)

    def _judge_slow(self, time_s: float, length_s: float) -> None:
        share = self._light.share_over(SLOW_CHANGES - 1)
        if share >= AREA:
            self._slow.append((time_s, length_s))
            self._slow_sum += length_s
        while self._slow and time_s - self._slow[0][0] >= SLOW_OF_S:
            self._slow_sum -= self._slow.popleft()[1]
        if share >= AREA and self._slow_sum >= SLOW_S - 1e-6:
            self._add("flash_long", self._slow[0][0], time_s + length_s, share)

    def _add(self, kind: str, start_s: float, end_s: float, area: float) -> None:
        for place in range(len(self._found) - 1, max(-1, len(self._found) - 4), -1):
            last = self._found[place]
            if last.kind == kind and start_s <= last.end_s + 1e-6:
                self._found[place] = Failing(kind, last.start_s, max(last.end_s, end_s), max(last.area, area))
                return
        self._found.append(Failing(kind, start_s, end_s, area))


def luminance_table(full_range: bool) -> _F32:
    """Relative luminance, linear, of each 8-bit luma code (display gamma 2.4, BT.1886)."""
    codes = np.arange(256, dtype=np.float32)
    signal = codes / 255 if full_range else (codes - 16) / 219
    return np.asarray(np.clip(signal, 0, 1) ** 2.4, np.float32)


def saturated_red(luma: NDArray[np.uint8], cb: NDArray[np.uint8], cr: NDArray[np.uint8], full_range: bool) -> _F32:
    """(R−G−B) × 320 of each point that is saturated red, else 0; linear light, BT.709."""
    low, wide, chroma = (0.0, 255.0, 255.0) if full_range else (16.0, 219.0, 224.0)
    y = (luma.astype(np.float32) - low) / wide
    b, r = ((plane.astype(np.float32) - 128) / chroma for plane in (cb, cr))
    red, blue = y + 1.5748 * r, y + 1.8556 * b
    green = y - 0.1873 * b - 0.4681 * r
    red, green, blue = (np.clip(one, 0, 1) ** 2.4 for one in (red, green, blue))
    total = red + green + blue
    is_red = (total > 1e-4) & (red >= RED_SHARE * total)
    return np.where(is_red, np.maximum(0, red - green - blue) * 320, 0).astype(np.float32)
