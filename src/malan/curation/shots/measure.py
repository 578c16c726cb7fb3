"""How different two pictures are: block maps that forgive motion and exposure, and curves over a run of frames.

Arrays: T frames, C = Y, U, V, H × W blocks (18 × 32). Blocks are uint8, luma 16–235. Start at `difference`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ROWS, COLUMNS = 18, 32  # blocks; the longer side of the picture always lies along the columns
REACH = 2  # blocks a thing may move between two frames and still be the same thing
TEXTURED = 8  # luma range around a block from which it says anything
CHANGED = 12  # sum of Y, U and V steps from which a textured block counts as changed

Blocks = NDArray[np.uint8]
Curve = NDArray[np.float32]


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


def difference(early_TCHW: Blocks, late_TCHW: Blocks) -> Difference:
    """Compare pairs of pictures; costs about a tenth of a millisecond a pair."""
    if not len(early_TCHW):
        nothing = np.zeros(0, np.float32)
        return Difference(nothing, nothing, nothing)
    early, late = early_TCHW.astype(np.int16), late_TCHW.astype(np.int16)
    textured = (luma_range(early[:, 0]) > TEXTURED) | (luma_range(late[:, 0]) > TEXTURED)
    weight = textured + np.float32(0.02)
    there, back = _unmatched(early, late)
    raw = _weighted(there, back, weight)
    lit = np.flatnonzero(_relit(early, late))
    if len(lit):
        there[lit], back[lit] = _unmatched(*_same_exposure(early[lit], late[lit]))
    changed = (np.maximum(there, back) > CHANGED) & textured
    share = changed.sum((1, 2)) / np.maximum(textured.sum((1, 2)), 1)
    return Difference(np.minimum(raw, _weighted(there, back, weight)), share.astype(np.float32), raw)


def moving_amount(early_TCHW: Blocks, late_TCHW: Blocks) -> Curve:
    """The raw amount of `difference` alone, at half the cost."""
    early, late = early_TCHW.astype(np.int16), late_TCHW.astype(np.int16)
    textured = (luma_range(early[:, 0]) > TEXTURED) | (luma_range(late[:, 0]) > TEXTURED)
    return _weighted(*_unmatched(early, late), textured + np.float32(0.02))


def unlikeness(early_TCHW: Blocks, late_TCHW: Blocks) -> Curve:
    """How little two pictures some seconds apart have in common: colours and rough places. Above 20 rarely one shot."""
    early, late = _rough(early_TCHW), _rough(late_TCHW)
    there, back = _unmatched(early, late)
    places = np.maximum(there.mean(axis=(1, 2)), back.mean(axis=(1, 2)))
    colours = np.abs(_colours(early_TCHW) - _colours(late_TCHW)).sum(axis=1) / 2
    spread = np.maximum(early[:, 0].std(axis=(1, 2)), late[:, 0].std(axis=(1, 2)))
    result: Curve = (places / np.clip(spread / 25, 0.4, 1) + 20 * colours).astype(np.float32)
    return result


def _rough(blocks: Blocks) -> NDArray[np.int16]:
    """Blocks of twice the size."""
    halves = blocks.reshape(len(blocks), 3, ROWS // 2, 2, COLUMNS // 2, 2)
    rough: NDArray[np.int16] = (halves.sum(axis=(3, 5), dtype=np.uint16) // 4).astype(np.int16)
    return rough


def _colours(blocks: Blocks) -> NDArray[np.float32]:
    """Histograms of Y, U and V, sixteen soft bins each."""
    result = np.zeros((len(blocks), 48), np.float32)
    bins, part = blocks >> 4, (blocks & 15).astype(np.float32) / 16
    for frame in range(len(blocks)):
        for channel in range(3):
            low, share = bins[frame, channel].ravel(), part[frame, channel].ravel()
            row = result[frame, 16 * channel : 16 * channel + 16]
            row += np.bincount(low, 1 - share, 16)
            row += np.bincount(np.minimum(low + 1, 15), share, 16)
    return result / np.float32(ROWS * COLUMNS)


def luma_range(luma_THW: NDArray[np.int16]) -> NDArray[np.int16]:
    """Largest minus smallest luma among a block and its eight neighbours."""
    padded = np.pad(luma_THW, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = [padded[:, i : i + ROWS] for i in range(3)]
    high, low = np.maximum.reduce(rows), np.minimum.reduce(rows)
    columns = [slice(i, i + COLUMNS) for i in range(3)]
    span: NDArray[np.int16] = np.maximum.reduce([high[:, :, c] for c in columns]) - np.minimum.reduce(
        [low[:, :, c] for c in columns]
    )
    return span


def structure_change(early_HW: NDArray[np.uint8], late_HW: NDArray[np.uint8]) -> float:
    """How much of the luma detail is another, motion forgiven; slow changes of light do not count. About 0 to 1."""
    a, b = _detail(early_HW), _detail(late_HW)
    usual = max(float(np.abs(a).mean() + np.abs(b).mean()) / 2, 1.0)
    return max(_detail_unmatched(a, b), _detail_unmatched(b, a)) / usual


def _detail(luma_HW: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Luma minus its mean over five by five blocks."""
    around = np.lib.stride_tricks.sliding_window_view(np.pad(luma_HW.astype(np.float32), 2, mode="edge"), (5, 5))
    result: NDArray[np.float32] = luma_HW - around.mean(axis=(2, 3))
    return result


def _detail_unmatched(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    nearby = np.lib.stride_tricks.sliding_window_view(np.pad(b, 2, mode="edge"), (5, 5))
    return float(np.abs(a[:, :, None, None] - nearby).min(axis=(2, 3)).mean())


def _unmatched(a: NDArray[np.int16], b: NDArray[np.int16]) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """For each block of one picture its distance to the best block nearby in the other, in both directions."""
    there, back = np.full((2, len(a), *a.shape[2:]), 32_000, np.int16)
    rows, columns = a.shape[2:]
    for dy in range(-REACH, REACH + 1):
        for dx in range(-REACH, REACH + 1):
            here = (slice(None), slice(max(-dy, 0), rows - max(dy, 0)), slice(max(-dx, 0), columns - max(dx, 0)))
            moved = (slice(None), slice(max(dy, 0), rows + min(dy, 0)), slice(max(dx, 0), columns + min(dx, 0)))
            apart = np.abs(a[:, :, here[1], here[2]] - b[:, :, moved[1], moved[2]])
            apart[:, 0] += apart[:, 1]
            apart[:, 0] += apart[:, 2]
            np.minimum(there[here], apart[:, 0], out=there[here])
            np.minimum(back[moved], apart[:, 0], out=back[moved])
    return there, back


def _weighted(there: NDArray[np.int16], back: NDArray[np.int16], weight: Curve) -> Curve:
    total = weight.sum((1, 2))
    result: Curve = np.maximum((there * weight).sum((1, 2)), (back * weight).sum((1, 2))) / total
    return result.astype(np.float32)


def _relit(a: NDArray[np.int16], b: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Pairs of which one is lighter by enough for exposure to explain something."""
    light_a, light_b = (np.maximum(x[:, 0].mean((1, 2)) - 12, 4) for x in (a, b))
    result: NDArray[np.bool_] = np.abs(np.log(light_a / light_b)) > 0.04
    return result


def _same_exposure(a: NDArray[np.int16], b: NDArray[np.int16]) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Both pictures brought to the luma halfway between them, each by a factor of two at most."""
    light_a, light_b = (np.maximum(x[:, 0].mean((1, 2)) - 12, 4) for x in (a, b))
    middle = np.sqrt(light_a * light_b)
    return _gain(a, middle / light_a), _gain(b, middle / light_b)


def _gain(blocks: NDArray[np.int16], factor: NDArray[np.float64]) -> NDArray[np.int16]:
    result = blocks.copy()
    factor = np.clip(factor, 0.5, 2)[:, None, None]
    result[:, 0] = (blocks[:, 0] - 12) * factor + 12
    return result
