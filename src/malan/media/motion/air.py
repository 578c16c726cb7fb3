"""What drifts between the camera and the picture: mist and light, drawn by rule, without a band.

Both follow depth: mist grows with the distance, behind what stands in front and, less, before it; shafts of light fall
behind it and less over it. Both are made at an eighth of the size, where they are smooth anyway, and dithered when they
are laid on. A loop brings every sheet back to where it began. Start at `Air`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from malan.media.motion.opencv import cv2
from malan.media.motion.planes import Frame

Plane = NDArray[np.float32]
Kind = Literal["light", "mist"]
Part = Literal["plain", "behind", "before"]  # of what it is laid on
Tone = tuple[float, float, float]  # of yuv

_PART = 8  # of the frame's size at which air is made
_TILE = 256  # a sheet of noise, which goes on where it ends
_BRIGHTEST, _DARKEST = 212.0, 60.0  # luma of mist
_MIST, _PLAIN = (
    1.5,
    0.68,
)  # how dense it is at its thickest: before what is farthest, and before a picture without depth
_FADES = 3  # the power of the distance by which it thins towards what is near
_GLOW, _WARM = 0.72, 9.0
_SUN = (-0.12, -0.22)  # in widths of the frame, from the corner the light comes from
_LIGHT_BEFORE = 0.4  # of the light, over what is in front
_SPEED = 0.045  # of the frame's width a second


class Air:
    """Mist or light over a film.

    Args:
        size: Of a frame.
        frames: Of the film.
        seconds: Its length.
        tone: Luma of the brightest and mean chroma of what it lies over: mist has the light of its place.
        parting: The nearness at which what is in front begins.
    """

    def __init__(
        self,
        kind: Kind,
        size: tuple[int, int],
        frames: int,
        seconds: float,
        *,
        loop: bool,
        seed: int,
        tone: Tone,
        parting: float = 1.0,
    ) -> None:
        self._colour, self._parting = _mist_in(tone), min(max(parting, 0.1), 1.0)
        self._kind, self._size, self._frames, self._seconds, self._loop = kind, size, frames, seconds, loop
        rng = np.random.default_rng([seed, 11])
        self._sheets = [_noise(rng, steep) for steep in (1.7, 1.5, 1.9)]
        self._grain = (rng.random((2, 128, 128), np.float32).sum(axis=0) - 1.0).astype(np.float32)
        self._small = (max(2, size[0] // _PART), max(2, size[1] // _PART))
        x, y = np.meshgrid(*(np.linspace(0, 1, side, dtype=np.float32) for side in self._small))
        self._x, self._y = x, y
        self._rays = _fan(rng)
        self._side = 1.0 if rng.random() < 0.5 else -1.0

    def laid(self, number: int, layers: int) -> dict[int, Callable[[Frame, Plane], None]]:
        """What to lay on a frame of so many layers, by the layer, counted from the back, that lies behind it."""
        lay = self._light if self._kind == "light" else self._mist
        found: dict[int, Callable[[Frame, Plane], None]] = {}
        if layers > 1:
            found[layers - 2] = partial(lay, number=number, part="behind")
        return found | {layers - 1: partial(lay, number=number, part="before" if layers > 1 else "plain")}

    def _dense(self, near: Plane, part: Part) -> Plane | float:
        """How dense mist is where something is so near: what is seen through more of it is paler."""
        if part == "plain":
            return _PLAIN
        split = np.float32((1 - self._parting) ** _FADES)
        fog = np.clip(1 - near, 0, 1) ** _FADES
        deep = _MIST * (np.maximum(fog - split, 0) if part == "behind" else np.minimum(fog, split))
        return np.asarray(cv2.resize(deep, self._small, interpolation=cv2.INTER_LINEAR), np.float32)

    def _mist(self, frame: Frame, near: Plane, number: int, part: Part) -> None:
        """Two sheets that pass each other: where both are thick it is thick, most over the lower half."""
        dense, sheet = self._dense(near, part), 0 if part == "behind" else 1
        ahead = self._sheet(sheet, number, (1.0 + 0.5 * sheet, 0.08), 1.3)
        far = self._sheet(2, number, (-0.6, 0.05), 0.8)
        thick = np.clip((0.55 * ahead + 0.45 * far - 0.38) * 2.4, 0, 1)
        thick = thick * thick * (3 - 2 * thick)
        low = np.clip(0.25 + 0.95 * np.exp(-(((self._y - 0.66) / 0.3) ** 2)), 0, 1)
        start = min(1.0, 0.35 + number / max(1.0, 0.25 * self._frames)) if not self._loop else 1.0
        share = 1 - np.exp(-dense * start * thick * low)
        self._blend(frame, number, np.asarray(share, np.float32), self._colour)

    def _light(self, frame: Frame, _near: Plane, number: int, part: Part) -> None:
        """Shafts that spread from beyond an upper corner and come and go, and a warm glow where they come from."""
        x = self._x if self._side > 0 else 1 - self._x
        tall = self._size[1] / self._size[0]
        right, down = x - _SUN[0], self._y * tall - _SUN[1]
        far = np.hypot(right, down) / math.hypot(1 - _SUN[0], tall - _SUN[1])
        shafts = self._shafts(number, np.arctan2(down, right))
        fade = np.clip(1.2 - far, 0, 1)
        glow = np.exp(-((x**2 + (self._y * 0.8) ** 2) / 0.28))
        breath = 0.85 + 0.15 * math.sin(self._angle(number))
        begun = 1.0 if self._loop else min(1.0, 0.45 + number / max(1.0, 0.3 * self._frames))
        amount = {"plain": 1.0, "behind": 1 - _LIGHT_BEFORE, "before": _LIGHT_BEFORE}[part]
        share = amount * _GLOW * begun * breath * (0.95 * shafts * fade + 0.4 * glow)
        self._screen(frame, number, share.astype(np.float32))

    def _shafts(self, number: int, angle: Plane) -> Plane:
        """How light it is in a direction from the sun, 0 to 1: two fans that turn against each other."""
        drift = self._drift(number)
        places = (angle * 0.62 + 0.25 + 0.05 * drift[0]) % 1.0 * _TILE
        other = (angle * 0.45 + 0.60 - 0.03 * drift[0]) % 1.0 * _TILE
        spots = np.arange(_TILE + 1)
        found = np.interp(places, spots, self._rays) * 0.6 + np.interp(other, spots, self._rays) * 0.4
        clear = np.clip(0.3 + 0.5 * found, 0, 1)
        return np.asarray(clear * clear * (3 - 2 * clear), np.float32)

    def _angle(self, number: int) -> float:
        return 2 * math.pi * number / max(1, self._frames)

    def _drift(self, number: int) -> tuple[float, float]:
        """How far it has drifted, −1 to 1 and back in a loop, on and on otherwise."""
        if self._loop:
            return math.sin(self._angle(number)), 1 - math.cos(self._angle(number))
        return number / max(1, self._frames) * self._seconds / 2.5, number / max(1, self._frames)

    def _sheet(self, which: int, number: int, speed: tuple[float, float], size: float) -> Plane:
        """A sheet of noise where it has drifted to; in a loop it passes into itself, a whole film behind."""
        share = number / self._frames
        if not self._loop:
            return self._drifted(which, share, speed, size)
        early, late = (self._drifted(which, one, speed, size) for one in (share, share - 1))
        kept = (1 + math.cos(math.pi * share)) / 2
        mixed = (early - 0.5) * np.float32(kept) + (late - 0.5) * np.float32(1 - kept)
        return np.asarray(mixed / np.float32(math.hypot(kept, 1 - kept)) + 0.5, np.float32)  # as rich as either

    def _drifted(self, which: int, share: float, speed: tuple[float, float], size: float) -> Plane:
        moved = speed[0] * _SPEED * self._seconds * share, speed[1] * _SPEED * self._seconds * share
        wide = self._small[0] / max(self._small)
        high = self._small[1] / max(self._small)
        x = ((self._x * wide / size - self._side * moved[0]) % 1.0) * _TILE
        y = ((self._y * high / size * 1.6 + moved[1] + 0.3 * which) % 1.0) * _TILE
        sheet = np.pad(self._sheets[which], ((0, 2), (0, 2)), mode="wrap")
        return np.asarray(cv2.remap(sheet, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR), np.float32)

    def _blend(self, frame: Frame, number: int, share: Plane, colour: tuple[float, float, float]) -> None:
        """Towards a colour by a share of each place."""
        for plane, value in zip((frame.y, frame.u, frame.v), colour, strict=True):
            full = cv2.resize(share, plane.shape[::-1], interpolation=cv2.INTER_CUBIC)
            lit = plane.astype(np.float32)
            lit += (value - lit) * full
            self._store(lit, plane, number)

    def _screen(self, frame: Frame, number: int, share: Plane) -> None:
        """Light added as on film: the brighter it is already, the less; shadows keep their depth."""
        full = cv2.resize(share, frame.y.shape[::-1], interpolation=cv2.INTER_CUBIC)
        luma = frame.y.astype(np.float32)
        half = cv2.resize(luma, frame.u.shape[::-1], interpolation=cv2.INTER_AREA)
        luma += (235 - luma) * full * (0.38 + luma * (0.62 / 235))
        self._store(luma, frame.y, number)
        warm = cv2.resize(share, frame.u.shape[::-1], interpolation=cv2.INTER_CUBIC) * (0.35 + half * (0.65 / 235))
        for plane, way in ((frame.u, -1.6), (frame.v, 1.0)):
            self._store(plane + warm * (way * _WARM), plane, number)

    def _store(self, lit: Plane, plane: NDArray[np.uint8], number: int) -> None:
        """Rounded to whole values with triangular dither, other grains at each frame."""
        height, width = plane.shape
        shift = (37 * number) % 128, (53 * number) % 128
        grain = np.roll(self._grain, shift, axis=(0, 1))
        tiles = np.tile(grain, (-(-height // 128), -(-width // 128)))[:height, :width]
        np.copyto(plane, cv2.add(lit, tiles, dtype=cv2.CV_8U))


def _mist_in(tone: Tone) -> tuple[float, float, float]:
    """White by day, hardly lit by night, and a little of the place's colour."""
    y, u, v = tone
    return min(max(40 + 0.75 * y, _DARKEST), _BRIGHTEST), 131 + 0.35 * (u - 128), 126 + 0.35 * (v - 128)


def _fan(rng: np.random.Generator) -> NDArray[np.float64]:
    """Shafts and gaps around a circle, (_TILE + 1,), mean 0, deviation 1: none so broad that it is only bright."""
    angle = 2 * np.pi * np.arange(_TILE + 1) / _TILE
    found = np.zeros(_TILE + 1)
    for count in range(3, 19):
        found += count**-0.6 * np.sin(count * angle + 2 * np.pi * rng.random())
    return np.asarray(found / found.std())


def _noise(rng: np.random.Generator, steep: float) -> Plane:
    """Noise of a tile that goes on where it ends, 0 to 1, softer the steeper its spectrum falls."""
    spots = np.fft.fftfreq(_TILE) * _TILE
    far = np.hypot(*np.meshgrid(spots, spots))
    far[0, 0] = np.inf
    phases = np.exp(2j * np.pi * rng.random((_TILE, _TILE)))
    field = np.fft.ifft2(phases * far**-steep).real
    low, high = np.quantile(field, (0.01, 0.99))
    return np.asarray(np.clip((field - low) / (high - low), 0, 1), np.float32)
