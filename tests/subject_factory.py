"""Draws short films of a known subject: where it is in every frame is known to the pixel.

A subject is a figure (head, body, swinging arms) in colours of its own before a textured ground; what makes it hard is
the camera, the ground, and what else there is. Suffix letters of arrays: T time, H height, W width, C colour.
Start at `SCENES` and `draw_subject`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
RATE = 25


@dataclass(frozen=True)
class Scene:
    """What happens, as shares of the picture over time 0 to 1: middle of the subject, camera, size.

    `ground` is what the background does: still, leaves (restless), crowd (small things that move).
    """

    x: Callable[[Floats], Floats]
    wide: float = 0.12
    high: float = 0.55
    camera: Callable[[Floats], Floats] = np.zeros_like
    shake: float = 0.0
    ground: str = "still"
    second: Callable[[Floats], Floats] | None = None  # another figure; both are the subject
    growth: float = 0.0
    contrast: float = 1.0
    swing: bool = True


def _between(start: float, end: float) -> Callable[[Floats], Floats]:
    return lambda t: start + (end - start) * t


def _eased(start: float, end: float) -> Callable[[Floats], Floats]:
    return lambda t: start + (end - start) * (3 * t**2 - 2 * t**3)


SCENES: Mapping[str, Scene] = {
    "stands at the left": Scene(_between(0.18, 0.18)),
    "stands at the right, far away": Scene(_between(0.8, 0.8), wide=0.06, high=0.28),
    "sits large, off the middle": Scene(_between(0.36, 0.36), wide=0.24, high=0.85),
    "walks across": Scene(_between(0.15, 0.85)),
    "runs across": Scene(lambda t: 0.1 + 0.8 * np.clip((t - 0.2) / 0.5, 0, 1)),
    "walks, stops, walks on": Scene(
        lambda t: 0.2 + 0.25 * np.clip(t / 0.3, 0, 1) + 0.3 * np.clip((t - 0.7) / 0.3, 0, 1)
    ),
    "turns back": Scene(lambda t: 0.25 + 0.45 * np.sin(np.pi * t)),
    "bobs while it walks": Scene(lambda t: 0.25 + 0.4 * t + 0.025 * np.sin(2 * np.pi * 6 * t)),
    "is followed by the camera": Scene(_between(0.3, 0.3), camera=_between(0.0, 0.5)),
    "is passed by the camera": Scene(_between(0.75, 0.3), camera=_between(0.0, 0.45), swing=False),
    "is filmed by hand": Scene(_between(0.7, 0.62), shake=0.012),
    "stands before leaves": Scene(_between(0.7, 0.7), ground="leaves"),
    "walks before leaves": Scene(_eased(0.2, 0.7), ground="leaves"),
    "walks through a crowd": Scene(_eased(0.75, 0.35), ground="crowd", wide=0.14, high=0.7),
    "is one of two": Scene(_between(0.62, 0.66), second=_between(0.74, 0.78), wide=0.08),
    "comes nearer": Scene(_between(0.3, 0.34), growth=0.8),
    "wears the colours of the ground": Scene(_between(0.25, 0.7), contrast=0.35),
}
"""By what happens; everything a camera crew meets in a day that is about one subject."""


@dataclass(frozen=True)
class Subject:
    """A drawn film, and where its subject is: left, top, right, bottom as shares of the picture, a row a frame."""

    path: Path
    boxes_T4: Floats
    seconds: float


def draw_subject(
    path: Path, scene: Scene, *, seconds: float = 3.0, size: tuple[int, int] = (640, 360), seed: int = 0,
    turned: bool = False, ground: Callable[[int], NDArray[np.uint8]] | None = None,
) -> Subject:  # fmt: skip
    """Write a film of a scene.

    Args:
        turned: Draw it upright in a vertical picture: what was along the width is then along the height.
        ground: Gives the background of frame N, (H, W, 3); drawn here unless given.
    """
    count = round(seconds * RATE)
    t = np.linspace(0, 1, count)
    rng = np.random.default_rng(seed)
    shake = np.cumsum(rng.normal(0, scene.shake, (count, 2)), axis=0) * 0.6 if scene.shake else np.zeros((count, 2))
    shake -= np.linspace(0, 1, count)[:, None] * shake[-1]
    shown = (size[1], size[0]) if turned else size
    boxes = np.zeros((count, 4))
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=RATE, options={"preset": "ultrafast", "crf": "22", "g": "50"})
        stream.width, stream.height = shown
        stream.pix_fmt = "yuv420p"
        painter = _Painter(scene, size, seed)
        for number in range(count):
            picture, boxes[number] = painter.paint(number, t[number], shake[number], ground(number) if ground else None)
            if turned:
                picture = np.rot90(picture)
            film.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        film.mux(stream.encode(None))
    if turned:  # a quarter turn to the left: x becomes height from below
        boxes = np.stack([boxes[:, 1], 1 - boxes[:, 2], boxes[:, 3], 1 - boxes[:, 0]], axis=1)
    return Subject(path, boxes, seconds)


class _Painter:
    """Paints the frames of one scene."""

    def __init__(self, scene: Scene, size: tuple[int, int], seed: int) -> None:
        self._scene, self._size = scene, size
        self._rng = np.random.default_rng(seed + 100)
        width, height = size
        self._ground = self._texture(round(width * 1.9), round(height * 1.3))
        colours = self._rng.permutation(np.asarray([[200, 40, 40], [40, 60, 190], [230, 200, 60], [240, 240, 235]]))
        calm = self._ground.reshape(-1, 3).mean(axis=0)
        self._coat, self._legs = (calm + (colour - calm) * scene.contrast for colour in colours[:2])
        self._skin = calm + (np.asarray([214, 160, 128]) - calm) * max(scene.contrast, 0.6)
        self._dots = self._rng.uniform(0, 1, (14, 4))

    def _texture(self, width: int, height: int) -> Floats:
        """A landscape of soft patches and some hard edges."""
        rng, found = self._rng, np.zeros((height, width, 3))
        for cell, strength in ((64, 70), (24, 40), (8, 22)):
            coarse = rng.uniform(-1, 1, (height // cell + 2, width // cell + 2, 3)).mean(axis=2, keepdims=True)
            tint = rng.uniform(0.7, 1.0, 3)
            found += strength * np.kron(coarse, np.ones((cell, cell, 1)))[:height, :width] * tint
        for _ in range(6):  # trunks, poles
            left, wide = rng.integers(0, width - 12), rng.integers(3, 12)
            found[:, left : left + wide] += rng.uniform(-35, 35)
        return np.clip(found + rng.uniform(85, 140), 0, 255)

    def paint(
        self, number: int, t: float, shake: Floats, given: NDArray[np.uint8] | None
    ) -> tuple[NDArray[np.uint8], Floats]:
        """Frame and box."""
        width, height = self._size
        scene = self._scene
        now = np.asarray([t])
        camera = float(scene.camera(now)[0])
        left = round((camera + 0.2 + shake[0]) * width)
        top = round((0.15 + shake[1]) * height)
        if given is None:
            picture = self._ground[top : top + height, left : left + width].copy()
        else:
            picture = given.astype(np.float64)
        if scene.ground == "leaves":
            cells = self._rng.normal(0, 24, (height // 12 + 1, width // 12 + 1, 1))
            picture[: height // 2] += np.kron(cells, np.ones((12, 12, 1)))[: height // 2, :width]
        if scene.ground == "crowd":
            self._crowd(picture, t)
        grown = 1 + scene.growth * t
        boxes = []
        for place in [scene.x, *([scene.second] if scene.second else [])]:
            middle = float(place(now)[0]) - shake[0]
            boxes.append(self._figure(picture, middle, 0.55 - shake[1], scene.wide * grown, scene.high * grown, number))
        box = np.asarray([*np.min(boxes, axis=0)[:2], *np.max(boxes, axis=0)[2:]])
        noisy = picture + self._rng.normal(0, 4, picture.shape)
        return np.clip(noisy, 0, 255).astype(np.uint8), box

    def _crowd(self, picture: Floats, t: float) -> None:
        """Small grey figures that cross in both ways."""
        width, height = self._size
        for start, row, speed, tone in self._dots:
            x = (start + (speed - 0.5) * 0.6 * t) % 1
            left, top = round(x * width), round((0.45 + 0.2 * row) * height)
            picture[top : top + height // 9, left : left + width // 50] = 70 + 60 * tone

    def _figure(
        self, picture: Floats, x: float, y: float, wide: float, high: float, number: int
    ) -> tuple[float, float, float, float]:
        width, height = self._size
        w, h = wide * width, min(high, 0.95) * height
        left, top = x * width - w / 2, y * height - h / 2
        rows, columns = np.mgrid[0:height, 0:width]
        u, v = (columns - left) / w, (rows - top) / h  # 0 to 1 within the box
        inside = (v >= 0) & (v <= 1)
        head = ((u - 0.5) / 0.24) ** 2 + ((v - 0.1) / 0.1) ** 2 < 1
        body = inside & (v > 0.2) & (v < 0.6) & (np.abs(u - 0.5) < 0.34)
        legs = inside & (v >= 0.6) & (np.abs(np.abs(u - 0.5) - 0.16) < 0.12)
        bend = 0.1 * np.sin(number * 0.5) if self._scene.swing else 0.0
        arms = inside & (v > 0.22) & (v < 0.55) & (np.abs(np.abs(u - 0.5) - 0.4 - bend * (v - 0.22)) < 0.07)
        picture[legs] = self._legs
        picture[body | arms] = self._coat
        picture[head] = self._skin
        right, bottom = (left + w) / width, (top + h) / height
        return max(0.0, left / width), max(0.0, top / height), min(1.0, right), min(1.0, bottom)
