"""What may lie behind a thing in front: its surroundings go on, their texture mirrored at its rim, softer further in.

Done once for a picture, never for a frame. No pixel stays empty. Start at `fill_colour`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from malan.media.motion.opencv import cv2

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]

_COARSE = 4  # the soft fill is made at a quarter of the size
# what lies beside is mirrored rather than what lies above or below (horizons, shelves stay straight), …
_DETOUR = 1.6  # … where that is no further away than so many times the nearest
_FAR = 0.035  # of the short side: beyond that what is mirrored no longer fits


def fill_colour(pixels_HWC: Pixels, hole: Mask, reach_px: float) -> Pixels:
    """A copy whose hole is filled from around it.

    Args:
        reach_px: How far in from its rim it may ever be seen; there it has texture, further in it is soft.
    """
    if not hole.any():
        return pixels_HWC.copy()
    if hole.all():
        return np.full_like(pixels_HWC, 128)
    height, width = hole.shape
    small = (max(1, width // _COARSE), max(1, height // _COARSE))
    known = np.where(hole, 0, 255).astype(np.uint8)
    lit = cv2.resize(cv2.bitwise_and(pixels_HWC, cv2.merge([known] * 3)), small, interpolation=cv2.INTER_AREA)
    weight = cv2.resize(known, small, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    soft = push_pull(lit.astype(np.float32), weight)
    soft = cv2.resize(np.clip(soft + 0.5, 0, 255).astype(np.uint8), (width, height), interpolation=cv2.INTER_LINEAR)
    from_where, share = _mirrored(hole, min(reach_px, _FAR * min(hole.shape)))
    mirrored = cv2.remap(pixels_HWC, from_where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.blendLinear(mirrored, soft, share, 1 - share)
    filled = pixels_HWC.copy()
    cv2.copyTo(inside, hole.view(np.uint8), filled)
    return filled


def push_pull(values: Plane, weight: Plane) -> Plane:
    """Values everywhere from values where there is weight, through ever coarser pictures (Gortler et al., 1996, §3.3).

    Args:
        values: (H, W) or (H, W, C), already multiplied by the weight.
        weight: (H, W), 0 to 1.
    """
    if min(weight.shape) <= 2 or weight.min() >= 1:
        total = max(float(weight.sum()), 1e-6)
        mean = values.reshape(-1, *values.shape[2:]).sum(axis=0) / total
        own = values / np.maximum(_like(weight, values), 1e-6)
        return np.asarray(np.where(_like(weight > 1e-6, values), own, mean), np.float32)
    half = ((weight.shape[1] + 1) // 2, (weight.shape[0] + 1) // 2)
    below = push_pull(
        np.minimum(cv2.pyrDown(values, dstsize=half), 1e9),
        np.asarray(cv2.pyrDown(weight, dstsize=half), np.float32),
    )
    around = cv2.pyrUp(below, dstsize=(weight.shape[1], weight.shape[0]))
    return np.asarray(values + around * _like(1 - weight, values), np.float32)


def _like(weight: NDArray[np.generic], values: Plane) -> NDArray[np.generic]:
    return weight[..., None] if values.ndim == 3 else weight


def _mirrored(hole: Mask, reach_px: float) -> tuple[Plane, Plane]:
    """For each pixel the place it mirrors beyond the nearest rim (x, y), and how much it shows of that, 0 to 1.

    Found at half the size; what mirrors a hole, or what is outside, shows none of it.
    """
    height, width = hole.shape
    half = (max(1, width // 2), max(1, height // 2))
    small = cv2.resize(hole.view(np.uint8), half, interpolation=cv2.INTER_AREA)  # rounds: any three of four
    small = cv2.dilate(small, np.ones((3, 3), np.uint8))
    far, labels = cv2.distanceTransformWithLabels(small, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL)
    known = np.flatnonzero(small.ravel() == 0)
    place = np.zeros(int(labels.max()) + 1, np.int64)
    place[labels.ravel()[known]] = known
    rows, columns = np.nonzero((small > 0) & (far < 0.8 * reach_px))
    rim, own = place[labels[rows, columns]], far[rows, columns]
    beside = _beside(small)[rows, columns]
    is_level = np.abs(beside) <= _DETOUR * own
    up = np.where(is_level, 0, rim // half[0] - rows)
    across = np.where(is_level, beside, rim % half[0] - columns)
    to_rows, to_columns = rows + 2 * up, columns + 2 * across
    fits = (to_rows >= 0) & (to_rows < half[1]) & (to_columns >= 0) & (to_columns < half[0])
    fits[fits] = small[to_rows[fits], to_columns[fits]] == 0
    rows, columns = rows[fits], columns[fits]
    offset, share = np.zeros((half[1], half[0], 2), np.float32), (small == 0).astype(np.float32)
    offset[rows, columns, 0], offset[rows, columns, 1] = 4 * across[fits], 4 * up[fits]
    share[rows, columns] = np.clip(1.6 - own[fits] / max(0.5 * reach_px, 1.0), 0.0, 1.0)
    offset = _evened(offset, share > 0, max(2, round(reach_px / 8)))
    soft = (2 * max(4, round(reach_px / 8)) + 1,) * 2
    share = cv2.blur(cv2.erode(share, np.ones((3, 3), np.uint8)), soft)  # what meets there must not show a line
    where = cv2.resize(offset, (width, height), interpolation=cv2.INTER_LINEAR)
    where[..., 0] += np.arange(width, dtype=np.float32)
    where[..., 1] += np.arange(height, dtype=np.float32)[:, None]
    return where, cv2.resize(share, (width, height), interpolation=cv2.INTER_LINEAR)


def _beside(hole: Pixels) -> NDArray[np.int32]:
    """For each pixel how far its nearest known one in the same row is, to the right if positive."""
    width, none = hole.shape[1], 1 << 20
    spots = np.arange(width, dtype=np.int32)
    left = np.maximum.accumulate(np.where(hole > 0, np.int32(-none), spots), axis=1) - spots
    right = np.minimum.accumulate(np.where(hole > 0, np.int32(none), spots)[:, ::-1], axis=1)[:, ::-1] - spots
    return np.where(-left <= right, left, right)


def _evened(offset: Plane, known: Mask, radius: int) -> Plane:
    """Neighbours mirror at neighbouring places: each at its own point of a ragged rim, they would show a lattice."""
    box = (2 * radius + 1,) * 2
    weight = cv2.blur(known.astype(np.float32), box)
    return np.asarray(cv2.blur(offset, box) / np.maximum(weight, 1e-3)[..., None] * known[..., None], np.float32)
