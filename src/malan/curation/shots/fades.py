"""Fades: the picture sinks into black or white, and another one rises out of it.

A fade is a valley of contrast: textured pictures on both sides, next to nothing at the bottom. Fades that open or end
the film are no transitions. Start at `find_fades`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from malan.curation.shots.measure import Blocks, Curve, difference, luma_range

BLANK = 0.02  # part of the picture that may show texture in a blank frame
FAINT = 5  # luma range that counts as texture in a blank frame
LETTERS = 20  # luma range no block of a blank frame reaches: less than a title card
LONGEST = 75  # frames one side of a fade may take
ABRUPT = 2  # frames within which a side is a cut
BLINK = 12  # a blank this short between two pictures of one shot is a flash or a blink
LEADER = 8  # blank frames beside an abrupt side from which that side is a cut of its own


@dataclass(frozen=True)
class Fade:
    """Old picture alone up to `start`, blank from `bottom` to before `rise`, new picture alone from `end`."""

    start: int
    bottom: int
    rise: int
    end: int
    gradual: bool
    confidence: float

    @property
    def middle(self) -> int:
        return (self.start + self.end + 1) // 2

    def hides(self, t: int) -> bool:
        """Whether a cut found at `t` is really part of this fade."""
        return self.start - 1 <= t <= self.end + 1 and self.confidence > 0


def find_fades(blocks: Blocks, cuts: Collection[int], opens: bool = True, ends: bool = True) -> list[Fade]:
    """The fades in neighbouring frames; not `gradual` are blinks, which hide the two cuts around them.

    A side at which one of the `cuts` lies is abrupt, whatever the texture does beyond it. `opens` and `ends` tell
    whether the film begins and ends with these frames, or goes on where nobody looked.
    """
    area = picture_area(blocks)
    texture, blank = _curves(blocks[:, 0], area)
    found: list[Fade] = []
    for bottom, rise in _runs(blank):
        opening, ending = bottom == 0, rise == len(blank)
        if opening or ending:
            goes_on = not ((opening and opens) or (ending and ends))
            if goes_on and (rise if opening else bottom) in cuts:
                continue
            edge = _edge_fade(texture, bottom, rise, opening, ending)
            found += [edge] if edge else []
        else:
            found += _inner_fade(blocks, texture, cuts, bottom, rise)
    return found


def picture_area(blocks: Blocks) -> NDArray[np.bool_]:
    """Blocks inside the letterbox: rows and columns that are not black throughout; all if everything is black."""
    brightest = blocks[:, 0].max(axis=0)
    rows, columns = brightest.max(axis=1) > 30, brightest.max(axis=0) > 30
    area = np.zeros(brightest.shape, bool)
    if rows.any() and columns.any():
        top, left = np.argmax(rows), np.argmax(columns)
        bottom, right = len(rows) - np.argmax(rows[::-1]), len(columns) - np.argmax(columns[::-1])
        area[
            top + (top > 0) * 1 : bottom - (bottom < len(rows)), left + (left > 0) : right - (right < len(columns))
        ] = True
    return area if area.sum() > 40 else np.ones_like(area)


def _curves(luma: NDArray[np.uint8], area: NDArray[np.bool_]) -> tuple[Curve, NDArray[np.bool_]]:
    """Mean texture of each frame, and which frames are blank."""
    texture, blank = np.empty(len(luma), np.float32), np.empty(len(luma), bool)
    for start in range(0, len(luma), 256):
        spans = luma_range(luma[start : start + 256])[:, area]
        texture[start : start + 256] = spans.mean(axis=1)
        blank[start : start + 256] = ((spans > FAINT).mean(axis=1) < BLANK) & (spans.max(axis=1) < LETTERS)
    return texture, blank


def _runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _inner_fade(blocks: Blocks, texture: Curve, cuts: Collection[int], bottom: int, rise: int) -> list[Fade]:
    start = bottom - 1 if bottom in cuts else _shoulder(texture, bottom, -1)
    end = rise if rise in cuts else _shoulder(texture, rise - 1, 1)
    falls, rises = bottom - start > ABRUPT, end - rise + 1 > ABRUPT
    between = difference(blocks[[start]], blocks[[end]])
    same = between.amount[0] < 12 or between.share[0] < 0.35
    if same and end - start <= 2 * BLINK:
        return [Fade(start, bottom, rise, end, False, 0.9)]
    if falls or rises or rise - bottom < LEADER:
        return [Fade(start, bottom, rise, end, True, 0.95 if falls and rises else 0.8)]
    return []


def _edge_fade(texture: Curve, bottom: int, rise: int, opening: bool, ending: bool) -> Fade | None:
    """A blank that opens or ends the stretch: nothing is a transition, unless a side of some length is abrupt."""
    if opening and ending:
        return None
    start, end = (bottom, _shoulder(texture, rise - 1, 1)) if opening else (_shoulder(texture, bottom, -1), rise - 1)
    gradual_side = end - rise + 1 > ABRUPT if opening else bottom - start > ABRUPT
    if gradual_side or rise - bottom < LEADER:
        return Fade(start, bottom, rise, end, False, 0.9)
    return None


def _shoulder(texture: Curve, t: int, way: int) -> int:
    """Walk from the blank up the slope of texture to where it stops rising; back to where it was all but there."""
    edge = t
    for _ in range(LONGEST):
        ahead = edge + way
        if not 0 <= ahead < len(texture):
            break
        further = min(max(ahead + way, 0), len(texture) - 1)
        if max(texture[ahead], texture[further]) <= texture[edge] * 1.03 and texture[edge] > 1:
            break
        edge = ahead
    slope = texture[t : edge + 1] if way > 0 else texture[edge : t + 1][::-1]
    return t + way * int(np.argmax(slope >= 0.94 * texture[edge]))
