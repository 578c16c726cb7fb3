"""Dissolves: frames between are a mixture of the frames before and after.

For a dissolve the frame in the middle is the mean of the two ends, while in motion it is another picture. The share of
the new picture then rises steadily from 0 to 1. Start at `find_dissolves`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from malan.curation.shots.measure import Blocks, Curve, difference, luma_range, rough, structure_change

HALVES = (4, 7, 12, 20, 32)  # frames from the middle to each end at which mixtures are sought
APART = 7.0  # half the difference of the ends, Y + U + V, from which it is worth a look; also added to that in the end
MIXED = 0.5  # what the middle may be off the mean of the ends, as a part of that
SHORTEST, LONGEST = 4, 80  # frames
LEAP = 0.45  # the share never rises by more in one frame: that would be a cut
DOUBTFUL = 0.33  # what no steady mixture explains, as a part of the ends' difference, up to which it is a dissolve
RELIT = 0.15  # change of structure below which only the light changed


@dataclass(frozen=True)
class Mix:
    """Old picture alone up to `start`, new picture alone from `end`."""

    start: int
    end: int
    confidence: float
    weight: float  # of two that overlap the heavier one stands


def find_dissolves(blocks: Blocks, cuts: Sequence[int]) -> list[Mix]:
    """The dissolves in neighbouring frames; they do not cross the given cuts."""
    found: list[Mix] = []
    edges = [0, *cuts, len(blocks)]
    for first, end in pairwise(edges):
        if end - first > 2 * HALVES[0]:
            found += [Mix(m.start + first, m.end + first, m.confidence, m.weight) for m in _within(blocks[first:end])]
    return found


def _within(blocks: Blocks) -> list[Mix]:
    coarse = _coarse(blocks)
    spans = {_span(coarse, middle, half) for half in HALVES for middle in _middles(coarse, half)}
    tried = _confirmed(blocks, {span: _doubt(blocks, coarse, *span) for span in spans if span})
    found: list[Mix] = []
    for mix in sorted(tried, key=lambda m: (-m.weight, m.start, m.end)):
        if not any(m.start < mix.end and mix.start < m.end for m in found):
            found.append(mix)
    return found


def _coarse(blocks: Blocks) -> NDArray[np.int16]:
    """Blocks of twice the size, one row a frame."""
    return rough(blocks).reshape(len(blocks), -1)


def _middles(coarse: NDArray[np.int16], half: int) -> list[int]:
    """Frames that look more like the middle of a mixture than their neighbours do."""
    if len(coarse) <= 2 * half:
        return []
    early, middle, late = coarse[: -2 * half], coarse[half:-half], coarse[2 * half :]
    apart = 3 * np.abs(late - early).mean(axis=1) / 2
    far = np.flatnonzero(apart > APART)
    off = 3 * np.abs(2 * middle[far] - early[far] - late[far]).mean(axis=1) / 2
    gain = np.zeros(len(apart))
    gain[far] = np.where(off < MIXED * apart[far], apart[far] - off, 0)
    return [int(t) + half for t in np.flatnonzero(gain) if gain[t] >= gain[max(t - half, 0) : t + half + 1].max()]


def _span(coarse: NDArray[np.int16], middle: int, half: int) -> tuple[int, int] | None:
    """The frames around a middle that show the old picture alone and the new one alone, if there are such."""
    lo, hi = max(middle - 2 * half, 0), min(middle + 2 * half, len(coarse) - 1)
    start, end = _ends(_mixture(coarse, lo, hi)[0], middle - lo)
    if start is None or end is None or not SHORTEST <= end - start <= LONGEST:
        return None
    return lo + start, lo + end


def _doubt(blocks: Blocks, coarse: NDArray[np.int16], start: int, end: int) -> float:
    """How far the frames are from a steady mixture of the first and the last; infinite where one frame is a cut."""
    share, off = _mixture(coarse, start, end)
    doubt = float(off[1:-1].mean() + 2 * np.abs(share - np.linspace(0, 1, len(share))).mean())
    if np.diff(share).max() > LEAP or doubt > DOUBTFUL:
        return math.inf
    return doubt + max(0.0, _dip(blocks[start : end + 1, 0]) - 0.85) / 2


def _confirmed(blocks: Blocks, doubts: dict[tuple[int, int], float]) -> Iterator[Mix]:
    """Those mixtures, by their first and last frame, whose ends show different pictures."""
    spans = [span for span, doubt in doubts.items() if doubt <= DOUBTFUL]
    starts, ends = np.array(spans, np.int64).reshape(-1, 2).T
    apart = difference(blocks[starts], blocks[ends], APART)
    for (start, end), amount, share in zip(spans, apart.amount.tolist(), apart.share.tolist(), strict=True):
        doubt = doubts[start, end]
        if share < 0.45 or amount < APART + 40 * max(doubt, 0.15):
            continue
        if structure_change(blocks[start, 0], blocks[end, 0]) >= RELIT:
            yield Mix(start, end, round(float(np.clip(1.1 - 1.5 * doubt, 0.5, 0.98)), 3), amount * (1 - 2 * doubt))


def _dip(luma_THW: NDArray[np.uint8]) -> float:
    """Texture in the middle, relative to the ends: two pictures laid over each other have less of it."""
    texture = luma_range(luma_THW[[0, len(luma_THW) // 2, -1]]).mean(axis=(1, 2))
    return float(2 * texture[1] / max(texture[0] + texture[2], 1))


def _mixture(coarse: NDArray[np.int16], lo: int, hi: int) -> tuple[Curve, Curve]:
    """Share of the last picture in each frame of [lo, hi], and what no share explains of the ends' difference."""
    x = coarse[lo : hi + 1].astype(np.float32)
    way = x[-1] - x[0]
    share = ((x - x[0]) @ way) / max(float(way @ way), 1.0)
    off = np.abs(x - x[0] - share[:, None] * way).mean(axis=1) / max(float(np.abs(way).mean()), 1e-3)
    return share, off


def _ends(share: Curve, at: int) -> tuple[int | None, int | None]:
    before, after = np.flatnonzero(share[: at + 1] < 0.06), np.flatnonzero(share[at:] > 0.94)
    return (int(before[-1]) if len(before) else None), (int(after[0]) + at if len(after) else None)
