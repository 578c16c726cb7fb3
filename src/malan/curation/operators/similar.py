"""A short vector for "similar to this" that needs no trained weights: layout, colours, edges, movement.

Cosine similarity of two vectors says how alike two clips look. It compares looks, not meaning.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from malan.curation.colour import small_rgb, to_oklab
from malan.curation.operator import Batch, ClipView, Vector
from malan.curation.operators.quality import active_area
from malan.curation.pictures import spread

DIMENSIONS = 192
_PICTURES = 3
_LAYOUT, _EDGE_GRID, _ANGLES = (4, 6), (3, 4), 6  # rows, columns
_WEIGHTS = {"layout": 0.9, "colours": 1.0, "edges": 0.9, "movement": 0.3}
_F32 = NDArray[np.float32]


class LooksLike:
    """`descriptor.look`, 192 float32 of length one, for each clip with a picture."""

    name = "descriptor.look"
    version = "1"
    reads = frozenset({"pictures", "motion"})
    emits = ("descriptor.look",)

    def run(self, batch: Batch) -> Sequence[Vector]:
        return [
            Vector(view.clip, "descriptor.look", self.name, self.version, describe(view))
            for view in batch.views
            if view.samples
        ]


def describe(view: ClipView) -> _F32:
    """The vector of one clip: the mean of a few pictures, then movement; float32, length one."""
    area = active_area(view.samples)
    blocks: list[list[_F32]] = [[], [], []]
    for sample in spread(view.samples, _PICTURES):
        rgb = small_rgb(sample)
        lab = to_oklab(np.stack([area.cut(rgb[..., c]) for c in range(3)], -1))
        luma = area.cut(sample.luma_HW[::2, ::2]).astype(np.float32)
        for block, part in zip(blocks, (_layout(lab), _colours(lab), _edges(luma)), strict=True):
            block.append(part)
    means = [_unit(np.mean(block, axis=0)) for block in blocks]
    parts = [*means, _unit(_movement(view))]
    vector = np.concatenate([w * p for w, p in zip(_WEIGHTS.values(), parts, strict=True)])
    return np.asarray(_unit(vector), np.float32)


def _layout(lab_HWC: _F32) -> _F32:
    """Mean colour of each cell of a grid, about mid grey: 72 numbers."""
    cells = _cells(lab_HWC, _LAYOUT)
    means = np.array([cell.mean(axis=(0, 1)) for cell in cells]) - [0.45, 0, 0]
    return np.asarray((means * [1, 3, 3]).ravel(), np.float32)


def _colours(lab_HWC: _F32) -> _F32:
    """Square root of how much of the picture has each of 12 hues × 3 and 6 greys by lightness: 42 numbers."""
    lab = lab_HWC.reshape(-1, 3)
    chroma, hue = np.hypot(lab[:, 1], lab[:, 2]), np.arctan2(lab[:, 2], lab[:, 1])
    hue_bin = ((hue + np.pi) / (2 * np.pi) * 12).astype(int) % 12
    strength = np.digitize(chroma, (0.08, 0.16))
    bins = np.where(chroma < 0.03, 36 + np.clip(lab[:, 0] * 6, 0, 5).astype(int), hue_bin * 3 + strength)
    return np.asarray(np.sqrt(np.bincount(bins, minlength=42) / len(bins)), np.float32)


def _edges(luma_HW: _F32) -> _F32:
    """How strongly edges run in each of six directions in each cell of a grid: 72 numbers."""
    down, right = np.gradient(luma_HW)
    strength = np.hypot(down, right)
    angle = ((np.arctan2(down, right) % np.pi) / np.pi * _ANGLES).astype(int) % _ANGLES
    planes = np.stack([np.where(angle == k, strength, 0) for k in range(_ANGLES)], -1)
    means = np.array([cell.mean(axis=(0, 1)) for cell in _cells(planes, _EDGE_GRID)])
    return np.asarray(np.sqrt(means).ravel(), np.float32)


def _movement(view: ClipView) -> _F32:
    """How much changes within a tenth of a second and over the clip, as a soft one-of-six place: 6 numbers."""
    quick = [np.abs(np.diff(b.luma_THW[:, ::2, ::2].astype(np.int16), axis=0)).mean() for b in view.bursts]
    lumas = [s.luma_HW[::8, ::8].astype(np.int16) for s in view.samples]
    slow = [np.abs(a - b).mean() for a, b in pairwise(lumas)]
    found = []
    for amount in (np.mean(quick or [0.0]), np.mean(slow or [0.0])):
        place = min(2.0, np.log1p(float(amount)) / 1.6)
        found += [max(0.0, 1 - abs(place - k)) for k in range(3)]
    return np.array(found, np.float32)


def _cells(picture: _F32, grid: tuple[int, int]) -> list[_F32]:
    rows = np.linspace(0, picture.shape[0], grid[0] + 1).astype(int)
    columns = np.linspace(0, picture.shape[1], grid[1] + 1).astype(int)
    return [
        picture[top : max(bottom, top + 1), left : max(right, left + 1)]
        for top, bottom in pairwise(rows)
        for left, right in pairwise(columns)
    ]


def _unit(vector: _F32) -> _F32:
    length = float(np.linalg.norm(vector))
    return np.asarray(vector / length, np.float32) if length > 0 else vector
