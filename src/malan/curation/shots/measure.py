"""How different two pictures are: block maps that forgive motion and exposure, and curves over a run of frames.

Arrays: T frames, C = Y, U, V, H × W blocks (18 × 32). Blocks are uint8, luma 16–235. Start at `difference`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

ROWS, COLUMNS = 18, 32  # blocks; the longer side of the picture always lies along the columns
REACH = 2  # blocks a thing may move between two frames and still be the same thing
TEXTURED = 8  # luma range around a block from which it says anything
SHIFTS = 2 * REACH + 1  # each way
FAR = 10_000  # distance of what lies outside the picture
AT_ONCE = 6  # pairs searched together; their distances fit the processor's cache
REMAINS = 0.8  # part of the blocks that a title or a thing that pops up leaves as they were
SHOWING = 6.0  # spread of the luma of blocks that show more than a plain ground
CHANGED = 12  # sum of Y, U and V steps from which a textured block counts as changed

Blocks = NDArray[np.uint8]
Curve = NDArray[np.float32]
Kind = TypeVar("Kind", bound=np.generic)


@dataclass(frozen=True)
class Difference:
    """What separates pairs of pictures, one value a pair."""

    amount: Curve  # mean colour step of textured blocks, motion forgiven, exposure too where that explains more
    share: Curve  # part of the textured blocks that changed, 0–1
    raw: Curve  # the amount without forgiving exposure


def plain_steps(blocks_TCHW: Blocks, gap: int = 1) -> Curve:
    """Mean absolute difference to the frame `gap` later, Y + U + V; cheap, blind to motion."""
    early, late = blocks_TCHW[:-gap], blocks_TCHW[gap:]
    apart = np.maximum(early, late) - np.minimum(early, late)
    result: Curve = apart.reshape(len(apart), -1).mean(axis=1, dtype=np.float32) * 3
    return result


def difference(early_TCHW: Blocks, late_TCHW: Blocks, least: float = 0) -> Difference:
    """Compare pairs of pictures; costs about a twentieth of a millisecond a pair.

    Exposure is not looked at where motion explains so much that less than `least` is left.
    """
    if not len(early_TCHW):
        nothing = np.zeros(0, np.float32)
        return Difference(nothing, nothing, nothing)
    textured = _textured(early_TCHW, late_TCHW)
    weight = textured + np.float32(0.02)
    apart = _unmatched(early_TCHW, late_TCHW)
    raw = amount = _weighted(apart, weight)
    light = _light(early_TCHW), _light(late_TCHW)
    lit = np.flatnonzero(_relit(*light) & (raw >= least))
    if len(lit):
        apart[:, lit] = _unmatched(*_same_exposure(early_TCHW[lit], late_TCHW[lit], light[0][lit], light[1][lit]))
        amount = np.minimum(raw, _weighted(apart, weight))
    changed = (np.maximum(*apart) > CHANGED) & textured
    share = changed.reshape(len(raw), -1).sum(1) / np.maximum(textured.reshape(len(raw), -1).sum(1), 1)
    return Difference(amount, share.astype(np.float32), raw)


def moving_amount(early_TCHW: Blocks, late_TCHW: Blocks) -> Curve:
    """The raw amount of `difference` alone, at half the cost."""
    if not len(early_TCHW):
        return np.zeros(0, np.float32)
    weight = _textured(early_TCHW, late_TCHW) + np.float32(0.02)
    return _weighted(_unmatched(early_TCHW, late_TCHW), weight)


def remains(early_TCHW: Blocks, late_TCHW: Blocks) -> NDArray[np.bool_]:
    """Of pairs of pictures: whether most of the first is still there block by block, and shows something."""
    apart = np.abs(early_TCHW.astype(np.int16) - late_TCHW).sum(axis=1)
    same = apart <= CHANGED
    count = np.maximum(same.sum(axis=(1, 2)), 1)
    luma = early_TCHW[:, 0] * same
    mean = luma.sum(axis=(1, 2)) / count
    spread = np.sqrt((((early_TCHW[:, 0] - mean[:, None, None]) * same) ** 2).sum(axis=(1, 2)) / count)
    result: NDArray[np.bool_] = (same.mean(axis=(1, 2)) > REMAINS) & (spread > SHOWING)
    return result


def _textured(early: Blocks, late: Blocks) -> NDArray[np.bool_]:
    """Blocks around which at least one picture of a pair shows anything."""
    result: NDArray[np.bool_] = np.maximum(luma_range(early[:, 0]), luma_range(late[:, 0])) > TEXTURED
    return result


def unlikeness(early_TCHW: Blocks, late_TCHW: Blocks) -> Curve:
    """How little two pictures some seconds apart have in common: colours and rough places. Above 20 rarely one shot."""
    early, late = rough(early_TCHW), rough(late_TCHW)
    places = _unmatched(early, late).mean(axis=(2, 3)).max(axis=0)
    colours = np.abs(_colours(early_TCHW) - _colours(late_TCHW)).sum(axis=1) / 2
    spread = np.maximum(early[:, 0].std(axis=(1, 2)), late[:, 0].std(axis=(1, 2)))
    result: Curve = (places / np.clip(spread / 25, 0.4, 1) + 20 * colours).astype(np.float32)
    return result


def rough(blocks: Blocks) -> NDArray[np.int16]:
    """Blocks of twice the size."""
    sides = blocks[..., ::2].astype(np.int16) + blocks[..., 1::2]
    result: NDArray[np.int16] = (sides[..., ::2, :] + sides[..., 1::2, :]) >> 2
    return result


def _colours(blocks: Blocks) -> NDArray[np.float32]:
    """Histograms of Y, U and V, sixteen soft bins each."""
    channels = 3 * len(blocks)
    values = blocks.reshape(channels, -1) + 256 * np.arange(channels)[:, None]
    counts = np.bincount(values.ravel(), minlength=256 * channels).reshape(channels, 256)
    soft: NDArray[np.float32] = np.einsum("cv,bv->cb", counts.astype(np.float32), _SOFT)
    return soft.reshape(len(blocks), 48) / np.float32(ROWS * COLUMNS)


def _soft_bins() -> NDArray[np.float32]:
    """What each of 256 values adds to each of sixteen bins: a value between two bins belongs to both."""
    values = np.arange(256)
    soft = np.zeros((16, 256), np.float32)
    np.add.at(soft, (values >> 4, values), 1 - (values & 15) / 16)
    np.add.at(soft, (np.minimum((values >> 4) + 1, 15), values), (values & 15) / 16)
    return soft


_SOFT = _soft_bins()


def luma_range(luma_THW: NDArray[Any]) -> NDArray[Any]:
    """Largest minus smallest luma among a block and its eight neighbours."""
    span: NDArray[Any] = _of_neighbours(luma_THW, np.maximum) - _of_neighbours(luma_THW, np.minimum)
    return span


def _of_neighbours(luma_THW: NDArray[Any], of_two: np.ufunc) -> NDArray[Any]:
    """The largest or smallest of three by three blocks, of fewer at the edges."""
    rows = luma_THW.copy()
    of_two(rows[:, 1:], luma_THW[:, :-1], out=rows[:, 1:])
    of_two(rows[:, :-1], luma_THW[:, 1:], out=rows[:, :-1])
    result = rows.copy()
    of_two(result[:, :, 1:], rows[:, :, :-1], out=result[:, :, 1:])
    of_two(result[:, :, :-1], rows[:, :, 1:], out=result[:, :, :-1])
    return result


def structure_change(early_HW: NDArray[np.uint8], late_HW: NDArray[np.uint8]) -> float:
    """How much of the luma detail is another, motion forgiven; slow changes of light do not count. About 0 to 1."""
    a, b = _detail(early_HW), _detail(late_HW)
    usual = max(float(np.abs(a).mean() + np.abs(b).mean()) / 2, 1.0)
    there, back = _search(_framed(a[None, None]), _framed(b[None, None]))
    return max(float(there.mean()), float(back.mean())) / usual


def _detail(luma_HW: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Luma minus its mean over five by five blocks."""
    padded = _framed(luma_HW[None, None].astype(np.float32), 0)[0, 0]
    padded[:REACH], padded[-REACH:] = padded[REACH], padded[-REACH - 1]
    padded[:, :REACH], padded[:, -REACH:] = padded[:, REACH, None], padded[:, -REACH - 1, None]
    rows = sum(padded[i : i + ROWS] for i in range(SHIFTS))
    sums = sum(rows[:, i : i + COLUMNS] for i in range(SHIFTS))
    result: NDArray[np.float32] = luma_HW - sums / np.float32(SHIFTS**2)
    return result


def _unmatched(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.int16]:
    """For each block of one picture its distance to the best block nearby in the other: there, and back."""
    apart = np.empty((2, len(a), *a.shape[2:]), np.int16)
    for i in range(0, len(a), AT_ONCE):
        part = slice(i, i + AT_ONCE)
        apart[0, part], apart[1, part] = _search(*(_framed(x[part].astype(np.int16)) for x in (a, b)))
    return apart


def _framed(blocks: NDArray[Kind], far: int = FAR) -> NDArray[Kind]:
    """Pictures with a margin as wide as the search reaches; luma there is `far` from any other."""
    count, channels, rows, columns = blocks.shape
    framed = np.zeros((count, channels, rows + 2 * REACH, columns + 2 * REACH), blocks.dtype)
    framed[:, 0] = far
    framed[:, :, REACH:-REACH, REACH:-REACH] = blocks
    return framed


def _search(a: NDArray[Kind], b: NDArray[Kind]) -> tuple[NDArray[Kind], NDArray[Kind]]:
    """Distances of `_unmatched` between framed pictures.

    In a flat picture a shift is a step, and the margins keep rows apart: all shifts are one subtraction. The same
    distances, read slantwise, are those of the way back.
    """
    count, channels, rows, width = a.shape
    margin = REACH * width + REACH
    run = rows * width - 2 * margin  # from the first block inside the margins to the last
    ahead, behind = a.reshape(count, channels, -1)[:, :, margin:-margin], b.reshape(count, channels, -1)
    by_picture, by_channel, step = behind.strides
    shifted = as_strided(
        behind, (count, channels, SHIFTS, SHIFTS, run), (by_picture, by_channel, width * step, step, step)
    )
    apart = np.subtract(ahead[:, :, None, None], shifted)
    np.abs(apart, out=apart)
    sums = np.full((count, SHIFTS, SHIFTS, run + 2 * margin), FAR, a.dtype)
    there = sums[..., margin:-margin]
    there[:] = apart[:, 0]
    for channel in range(1, channels):
        there += apart[:, channel]
    by_picture, by_row, by_column, step = sums.strides
    slant = (by_picture, by_row - width * step, by_column - step, step)
    back = as_strided(sums[..., 2 * margin :], there.shape, slant)
    nearest = (distances.min(axis=1).min(axis=1) for distances in (there, back))
    there, back = (_unframed(values, rows - 2 * REACH, width) for values in nearest)
    return there, back


def _unframed(runs: NDArray[Kind], rows: int, width: int) -> NDArray[Kind]:
    """Blocks of a flat run, the margins between its rows left out."""
    flat = np.empty((len(runs), rows * width), runs.dtype)
    flat[:, REACH:-REACH] = runs
    return flat.reshape(-1, rows, width)[:, :, REACH:-REACH]


def _weighted(apart: NDArray[np.int16], weight: Curve) -> Curve:
    """The larger of the two mean distances of each pair."""
    sums = (apart * weight).reshape(2, len(weight), -1).sum(axis=2)
    result: Curve = np.maximum(*sums) / weight.reshape(len(weight), -1).sum(axis=1)
    return result


def _light(blocks: Blocks) -> NDArray[np.float64]:
    """Mean luma above black."""
    result: NDArray[np.float64] = np.maximum(blocks[:, 0].mean((1, 2)) - 12, 4)
    return result


def _relit(light_a: NDArray[np.float64], light_b: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Pairs of which one is lighter by enough for exposure to explain something."""
    result: NDArray[np.bool_] = np.abs(np.log(light_a / light_b)) > 0.04
    return result


def _same_exposure(
    a: Blocks, b: Blocks, light_a: NDArray[np.float64], light_b: NDArray[np.float64]
) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Both pictures brought to the luma halfway between them, each by a factor of two at most."""
    middle = np.sqrt(light_a * light_b)
    return _gain(a, middle / light_a), _gain(b, middle / light_b)


def _gain(blocks: Blocks, factor: NDArray[np.float64]) -> NDArray[np.int16]:
    result = blocks.astype(np.int16)
    result[:, 0] = (result[:, 0] - 12) * np.clip(factor, 0.5, 2)[:, None, None] + 12
    return result
