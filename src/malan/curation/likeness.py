"""Thumbs of pictures, 16 × 16 grey values without bars, and how alike two of them are.

    thumb ─ signs of its lowest frequencies, by region ─▶ which may be alike
          ─ correlation, the worst sixth left out ─▶ which are

Knows nothing of clips and time; `fingerprint` does. Start at `thumb_of` and `likeness_of`.

Arrays: N thumbs as (N, 16, 16).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

SIDE = 16  # of a thumb
_ROUGHLY = 0.55  # least correlation of whole thumbs, logo and all
SIGNS = 16  # of each region

# Top, bottom, left, right of the parts of a thumb that are looked at on their own: a logo spoils only those it lies in.
REGIONS = (
    (0, 16, 0, 16),
    (0, 9, 0, 9),
    (0, 9, 7, 16),
    (7, 16, 0, 9),
    (7, 16, 7, 16),
    (4, 12, 4, 12),
    (0, 8, 2, 14),
    (8, 16, 2, 14),
)

_F32 = NDArray[np.float32]


def thumb_of(luma_HW: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture without its bars as a square of 16 × 16 mean values."""
    return np.round(_area_weights(luma_HW.shape[0]) @ luma_HW @ _area_weights(luma_HW.shape[1]).T).astype(np.uint8)


def signs_of(thumbs: _F32 | NDArray[np.uint8]) -> NDArray[np.uint16]:
    """For each thumb (N) and region the signs of its 16 lowest frequencies, as one number: (N, 8)."""
    positive = (thumbs.reshape(len(thumbs), SIDE * SIDE).astype(np.float32, copy=False) @ _waves()).reshape(
        len(thumbs), len(REGIONS), SIGNS
    ) > 0
    powers = np.left_shift(np.uint16(1), np.arange(SIGNS, dtype=np.uint16))
    return np.ascontiguousarray((positive * powers).sum(axis=2, dtype=np.uint16))


def cropped(thumbs: _F32, crop: tuple[float, float]) -> _F32:
    """The middle part of each thumb, stretched to a thumb again."""
    if crop == (1.0, 1.0):
        return thumbs
    across, down = (_stretch(kept) for kept in crop)
    return np.asarray(np.einsum("kh,nhw,lw->nkl", down, thumbs, across, optimize=True), np.float32)


def _stretch(kept: float) -> _F32:
    """Weights (bilinear) that take 16 values from the middle `kept` of 16."""
    at = (np.arange(SIDE) + 0.5) / SIDE * kept * SIDE + (1 - kept) / 2 * SIDE - 0.5
    at = np.clip(at, 0, SIDE - 1)
    low = np.minimum(at.astype(int), SIDE - 2)
    weights = np.zeros((SIDE, SIDE), np.float32)
    weights[np.arange(SIDE), low] = 1 - (at - low)
    weights[np.arange(SIDE), low + 1] += at - low
    return weights


def _normal(thumbs: _F32 | NDArray[np.uint8]) -> _F32:
    """Thumbs as vectors (N, 256) of mean 0 and length 1."""
    flat = thumbs.reshape(len(thumbs), SIDE * SIDE).astype(np.float32, copy=False)
    flat = flat - flat.mean(axis=1, keepdims=True)
    return np.asarray(flat / (np.linalg.norm(flat, axis=1, keepdims=True) + 1e-3), np.float32)


def roughly_alike(one: _F32, other: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pairs whose plain correlation leaves hope; cheap, so that few are compared with care."""
    return np.asarray(np.einsum("nk,nk->n", _normal(one), _normal(other)) >= _ROUGHLY)


def likeness_of(a: _F32, b: _F32) -> _F32:
    """Correlation of pictures (N, 16, 16) without the sixth of pixels that differ most: a logo, a subtitle."""
    flat = [part.reshape(len(part), SIDE * SIDE) for part in (a, b)]
    normal = [(x - x.mean(axis=1, keepdims=True)) / (x.std(axis=1, keepdims=True) + 1e-3) for x in flat]
    differ = np.abs(normal[0] - normal[1])
    keep = flat[0].shape[1] * 5 // 6
    chosen = np.argpartition(differ, keep, axis=1)[:, :keep] if len(differ) else np.zeros((0, keep), int)
    x, y = (np.take_along_axis(part, chosen, axis=1) for part in flat)
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    scale = np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1)) + 1e-3
    return np.asarray((x * y).sum(axis=1) / scale, np.float32)


@lru_cache(maxsize=32)
def _area_weights(length: int) -> _F32:
    """Weights (16, length) that average `length` values into 16 equal stretches."""
    edges = np.linspace(0, length, SIDE + 1)
    cells = np.arange(length)
    overlap = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
    weights = np.clip(overlap, 0, None)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


@lru_cache(maxsize=1)
def _waves() -> _F32:
    """The cosine waves of all regions as columns over the pixels of a thumb: (256, 128)."""
    frequencies = sorted(
        ((k, m) for k in range(5) for m in range(5) if k + m), key=lambda p: (p[0] ** 2 + p[1] ** 2, p)
    )
    columns = []
    for top, bottom, left, right in REGIONS:
        for k, m in frequencies[:SIGNS]:
            wave = np.zeros((SIDE, SIDE))
            down = np.cos((np.arange(bottom - top) + 0.5) * np.pi * k / (bottom - top))
            across = np.cos((np.arange(right - left) + 0.5) * np.pi * m / (right - left))
            wave[top:bottom, left:right] = np.outer(down, across)
            columns.append(wave.ravel())
    return np.stack(columns, axis=1).astype(np.float32)
