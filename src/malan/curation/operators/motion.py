"""How the camera and the scene move: static, pan, tilt, zoom, handheld or action, with speeds.

From a few frames in quick succession: the movement of the whole picture is fitted to each pair, what it leaves over is
movement inside the scene. Speeds are in picture widths a second. Start at `MotionClass`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from malan.core import Finding
from malan.curation.operator import Batch, ClipView, finding
from malan.curation.samples import Burst

SLOW = 0.012  # below this speed (widths a second) the camera counts as still
ACTIVE = 0.09  # above this speed of what moves within the scene it counts as action
FLASH = 20.0  # mean luma codes from one picture to the next
NOISE = 1.3  # luma codes by which still pictures differ, at the small size

_BURSTS = 2  # of a clip, from its inside
_ROUNDS = 6
_F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Movement:
    """Between two pictures, a second: the content's shift in widths, its growth, and what moves within it."""

    right: float
    down: float
    growth: float
    local: float

    @property
    def speed(self) -> float:
        return float(np.hypot(self.right, self.down))


class MotionClass:
    """`motion.class` for each clip of which frames in succession are known."""

    name = "motion.class"
    version = "1"
    reads = frozenset({"motion"})
    emits = ("motion.class",)

    def run(self, batch: Batch) -> Sequence[Finding]:
        found = []
        for view in batch.views:
            moves = [move for burst in _inner(view.bursts) for move in movements(burst)]
            if moves:
                found.append(self._name(view, moves))
        return found

    def _name(self, view: ClipView, moves: Sequence[Movement]) -> Finding:
        mean = Movement(*(float(np.median([getattr(m, f) for m in moves])) for f in Movement.__dataclass_fields__))
        wobble = float(np.sqrt(np.mean([(m.right - mean.right) ** 2 + (m.down - mean.down) ** 2 for m in moves])))
        spread = float(np.mean([m.speed for m in moves]))
        name, confidence = classify(mean, wobble)
        value = {
            "class": name,
            "magnitude": spread + 0.25 * abs(mean.growth) + mean.local,
            "camera_right": -mean.right,
            "camera_up": mean.down,
            "zoom_in": mean.growth,
            "wobble": wobble,
            "local": mean.local,
            "pairs": len(moves),
        }
        sure = confidence * (1.0 if len(moves) > 2 else 0.7)
        return finding(self, view, "motion.class", value, confidence=sure)


def classify(mean: Movement, wobble: float) -> tuple[str, float]:  # noqa: PLR0911 (a table of cases)
    """The name of a movement and how far it lies from another one (0.5 to 1)."""
    zoom_speed = 0.25 * abs(mean.growth)  # at half way from the middle to the edge
    camera = max(mean.speed, zoom_speed, wobble)
    if camera < SLOW:
        if mean.local > ACTIVE:
            return "action", _margin(mean.local, ACTIVE)
        return "static", _margin(SLOW, camera)
    if mean.local > ACTIVE and mean.local > 0.6 * camera:
        return "action", _margin(mean.local, max(ACTIVE, 0.6 * camera))
    if wobble > 0.7 * max(mean.speed, zoom_speed):
        return "handheld", _margin(wobble, 0.7 * max(mean.speed, zoom_speed))
    if zoom_speed > mean.speed:
        return "zoom", _margin(zoom_speed, mean.speed)
    if abs(mean.right) >= abs(mean.down):
        return "pan", _margin(abs(mean.right), max(abs(mean.down), SLOW))
    return "tilt", _margin(abs(mean.down), max(abs(mean.right), SLOW))


def movements(burst: Burst) -> list[Movement]:
    """The movement between each picture of a burst and the next."""
    small = [_halved(picture) for picture in burst.luma_THW]
    found = []
    for (a, b), (start_s, end_s) in zip(pairwise(small), pairwise(burst.times_s), strict=True):
        if end_s > start_s and min(a.shape) >= 8 and not _is_flash(a, b):
            found.append(_movement(a, b - (b.mean() - a.mean()), end_s - start_s))
    return found


def _is_flash(a: _F32, b: _F32) -> bool:
    """Whether the light changed so much that shapes cannot be followed."""
    return abs(float(a.mean() - b.mean())) > FLASH or not 0.6 < (float(a.std()) + 1) / (float(b.std()) + 1) < 1.6


def _movement(a: _F32, b: _F32, seconds: float) -> Movement:
    """Fit shift and growth that carry `a` to `b` (Gauss-Newton on brightness, outliers weighted down)."""
    height, width = a.shape
    grad_y, grad_x = np.gradient(a)
    ys, xs = np.mgrid[:height, :width].astype(np.float32)
    ys, xs = ys - (height - 1) / 2, xs - (width - 1) / 2
    change = np.stack([grad_x, grad_y, grad_x * xs + grad_y * ys], axis=-1).reshape(-1, 3)
    guess = np.array([*_first_guess(a, b, xs, ys), 0.0])
    difference, inside = b - a, np.ones_like(a)
    for _ in range(_ROUNDS):
        moved, inside = _moved_back(b, guess, xs, ys)
        difference = moved - a
        scale = 1.5 * float(np.median(np.abs(difference))) + 1.0
        weight = inside / (1 + (difference / scale) ** 2)
        weighted = change * weight.reshape(-1, 1)
        step = np.linalg.lstsq(
            weighted.T @ change + np.eye(3) * 1e-3, -weighted.T @ difference.reshape(-1), rcond=None
        )[0]
        guess = guess + step
        if np.abs(step[:2]).max() < 0.01:
            break
    structure = float(np.hypot(grad_x, grad_y).sum()) + 2.0 * a.size * 0.25
    local = float(np.maximum(np.abs(difference) - NOISE, 0)[inside > 0].sum()) / structure / width
    return Movement(guess[0] / width / seconds, guess[1] / width / seconds, guess[2] / seconds, local / seconds)


def _moved_back(b: _F32, guess: NDArray[np.float64], xs: _F32, ys: _F32) -> tuple[_F32, _F32]:
    """`b` seen from where `a` was (bilinear), and 1 where that lies inside of it."""
    height, width = b.shape
    at_x = xs * (1 + guess[2]) + guess[0] + (width - 1) / 2
    at_y = ys * (1 + guess[2]) + guess[1] + (height - 1) / 2
    inside = (at_x >= 0) & (at_x <= width - 1) & (at_y >= 0) & (at_y <= height - 1)
    left = np.clip(at_x.astype(int), 0, width - 2)
    top = np.clip(at_y.astype(int), 0, height - 2)
    part_x, part_y = np.clip(at_x - left, 0, 1), np.clip(at_y - top, 0, 1)
    flat, place = b.ravel(), top * width + left
    upper = flat[place] * (1 - part_x) + flat[place + 1] * part_x
    lower = flat[place + width] * (1 - part_x) + flat[place + width + 1] * part_x
    return upper * (1 - part_y) + lower * part_y, inside.astype(np.float32)


def _first_guess(a: _F32, b: _F32, xs: _F32, ys: _F32) -> tuple[float, float]:
    """The shift by phase correlation where it explains the pictures clearly better than standing still."""
    shift = _coarse_shift(a, b)
    moved, inside = _moved_back(b, np.array([*shift, 0.0]), xs, ys)
    covered = inside > 0
    if covered.mean() < 0.3 or float(np.abs(moved - a)[covered].mean()) > 0.8 * float(np.abs(b - a)[covered].mean()):
        return 0.0, 0.0
    return shift


def _coarse_shift(a: _F32, b: _F32) -> tuple[float, float]:
    """Whole-pixel shift from `a` to `b` by phase correlation; none where the peak is not clear."""
    if min(float(a.std()), float(b.std())) < 2.0:
        return 0.0, 0.0
    window = np.outer(np.hanning(a.shape[0]), np.hanning(a.shape[1]))
    spectrum = np.fft.rfft2((b - b.mean()) * window) * np.conj(np.fft.rfft2((a - a.mean()) * window))
    surface = np.fft.irfft2(spectrum / (np.abs(spectrum) + 1e-3 * np.abs(spectrum).max()), a.shape)
    peak = np.unravel_index(int(np.argmax(surface)), a.shape)
    if surface[peak] < 6 * float(np.std(surface)):
        return 0.0, 0.0
    down, right = (int(p) - n * (int(p) > n // 2) for p, n in zip(peak, a.shape, strict=True))
    return float(right), float(down)


def _halved(picture_HW: NDArray[np.uint8]) -> _F32:
    height, width = picture_HW.shape[0] // 2 * 2, picture_HW.shape[1] // 2 * 2
    blocks = picture_HW[:height, :width].reshape(height // 2, 2, width // 2, 2)
    return np.asarray(blocks.mean(axis=(1, 3)), np.float32)


def _inner(bursts: Sequence[Burst]) -> Sequence[Burst]:
    """The bursts to look at: the longest, those from the inside first."""
    middle = len(bursts) / 2
    order = sorted(range(len(bursts)), key=lambda i: (-len(bursts[i].times_s), abs(i + 0.5 - middle)))
    return [bursts[i] for i in sorted(order[:_BURSTS])]


def _margin(winner: float, other: float) -> float:
    return float(np.clip(0.5 + 0.5 * (winner - other) / (winner + other + 1e-9), 0.5, 1.0))
