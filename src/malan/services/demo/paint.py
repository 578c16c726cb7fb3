"""What the films of the demo are painted with: layers that move at different speeds, and materials for them.

Everything is drawn from a seed with NumPy; nothing is loaded. A `Stage` is a backdrop and layers, wider than the
picture, so that a camera can travel over it. What is painted is in `scenes`. Start reading at `Stage` and `render`.

Arrays: `_HWC` uint8 RGB; `_HW` float32, 0–1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Field = NDArray[np.float32]
Colour = tuple[int, int, int]
MARGIN = 1.7  # a stage is this much wider than the picture


@dataclass(frozen=True)
class Layer:
    """One depth: colour times cover, and what of the picture behind shows through; both 0–256 in 16 bits.

    `speed` is its share of the camera's travel, `drift_px` what it moves by itself in a frame.
    """

    paint_HWC: NDArray[np.uint16]
    through_HW: NDArray[np.uint16]
    speed: float
    drift_px: float = 0.0


@dataclass(frozen=True)
class Stage:
    """A backdrop with layers before it, and something alive that is drawn last on every frame."""

    backdrop_HWC: Picture
    layers: tuple[Layer, ...]
    alive: Callable[[Picture, int], None] = field(default=lambda _picture, _frame: None)


def render(stage: Stage, width: int, frame: int, travel_px: float) -> Picture:
    """The picture `width` wide at a frame, after the camera has travelled so far."""
    picture = _window(stage.backdrop_HWC, width, travel_px * 0.15).astype(np.uint16)
    for depth in stage.layers:
        shift = travel_px * depth.speed + depth.drift_px * frame
        picture *= _window(depth.through_HW, width, shift)[..., None]
        picture += _window(depth.paint_HWC, width, shift)
        picture >>= 8
    shown = picture.astype(np.uint8)
    stage.alive(shown, frame)
    return shown


def _window(wide: NDArray[Any], width: int, shift: float) -> NDArray[Any]:
    """A view of the stage; what drifts out on one side comes in on the other."""
    start = int(shift) % wide.shape[1]
    if start + width <= wide.shape[1]:
        return wide[:, start : start + width]
    return np.concatenate([wide[:, start:], wide[:, : start + width - wide.shape[1]]], axis=1)


# --- materials ---------------------------------------------------------------------------------------------------


def vertical(height: int, width: int, *colours: Colour) -> Picture:
    """Bands of colour from top to bottom, blended."""
    stops = np.linspace(0, 1, len(colours))
    rows = np.linspace(0, 1, height)
    column = np.stack([np.interp(rows, stops, [c[k] for c in colours]) for k in range(3)], axis=-1)
    grain = np.random.default_rng(1).normal(0, 1.5, (height, width, 1))
    return np.clip(column[:, None, :] + grain, 0, 255).astype(np.uint8)


def smooth_noise(rng: np.random.Generator, height: int, width: int, cell: int) -> Field:
    """Noise of several scales, each half as strong as the one before; wraps around sideways. 0–1."""
    total, weight = np.zeros((height, width), np.float32), 1.0
    while cell >= 2:
        rows, columns = height // cell + 3, max(2, width // cell)
        coarse = rng.random((rows, columns), np.float32)
        y, x = np.arange(height) / cell, np.arange(width) * columns / width
        y0, x0 = y.astype(int), x.astype(int)
        fy, fx = _ease(y - y0)[:, None], _ease(x - x0)[None, :]
        x0, x1 = x0 % columns, (x0 + 1) % columns
        top = coarse[y0][:, x0] * (1 - fx) + coarse[y0][:, x1] * fx
        low = coarse[y0 + 1][:, x0] * (1 - fx) + coarse[y0 + 1][:, x1] * fx
        total += weight * (top * (1 - fy) + low * fy)
        weight, cell = weight / 2, cell // 2
    total -= total.min()
    return np.asarray(total / max(float(total.max()), 1e-6), np.float32)


def _ease(x: NDArray[np.float64]) -> Field:
    return (x * x * (3 - 2 * x)).astype(np.float32)


def ridge(rng: np.random.Generator, height: int, width: int, base: float, reach: float, cell: int) -> NDArray[np.int64]:
    """The upper edge of hills, one row number a column."""
    line = smooth_noise(rng, 4, width, cell)[1]
    return np.asarray(height * (base - reach * line), np.int64)


def below(edge: NDArray[np.int64], height: int, softness: float = 2.0) -> Field:
    """Cover of everything below an edge."""
    rows = np.arange(height, dtype=np.float32)[:, None]
    return np.asarray(np.clip((rows - edge[None, :]) / softness, 0, 1), np.float32)


def layer(colour: Picture, cover: Field, speed: float, drift_px: float = 0.0) -> Layer:
    """A depth from its colour and its cover, 0–1."""
    share = np.clip(cover * 256, 0, 256).astype(np.uint16)
    return Layer(colour * share[..., None], 256 - share, speed, drift_px)


def shaded(
    rng: np.random.Generator, height: int, width: int, top: Colour, low: Colour, strength: float = 0.35
) -> Picture:
    """A colour from top to bottom with the texture of earth or leaves."""
    base = vertical(height, width, top, low).astype(np.float32)
    texture = smooth_noise(rng, height, width, 24)[..., None]
    return np.clip(base * (1 - strength / 2 + strength * texture), 0, 255).astype(np.uint8)


def glow(picture: Picture, x: float, y: float, radius: float, colour: Colour, strength: float = 1.0) -> None:
    """Add light around a point."""
    height, width = picture.shape[:2]
    yy, xx = np.ogrid[:height, :width]
    fall = np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / (2 * radius**2)).astype(np.float32)[..., None]
    np.clip(picture + fall * strength * np.array(colour, np.float32), 0, 255, out=picture, casting="unsafe")


def mist(
    rng: np.random.Generator, height: int, width: int, base: float, thickness: float, colour: Colour
) -> tuple[Picture, Field]:
    """A bank of cloud lying at a height."""
    rows = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    band = np.exp(-(((rows - base) / thickness) ** 2))
    cloud = smooth_noise(rng, height, width, 64)
    return np.full((height, width, 3), colour, np.uint8), np.clip(band * (0.35 + 1.1 * cloud), 0, 0.95)
