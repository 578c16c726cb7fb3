"""How a picture fills a frame of another shape while the camera moves: which part of it is seen, and how large.

The frame never looks beyond the picture: how far the moves reach is computed first, then the largest view that fits is
placed so that what matters stays in it. A picture that would lose too much is shown whole, before a blurred ground of
itself. Start at `frame_picture`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from malan.media.motion.camera import Camera, Move, Travel, path_of

Plane = NDArray[np.float32]

_NARROW, _KEPT = 0.62, 0.5  # a view of less of the picture's area must keep so much of what draws the eye, …
_SLIT, _KEPT_BY_SLIT = 0.4, 0.85  # … and one that is a slit nearly all; else the picture is shown whole
_PAN_PER_S, _MOST_PAN = 0.075, 0.55  # of the short side
_SPARE_PX = 1.5  # of the frame


@dataclass(frozen=True)
class Framed:
    """A view of a picture and the path of the camera.

    Args:
        middle: What the middle of the first frame shows, in pixels of the picture.
        per_px: Pixels of the picture for one of the frame, at rest.
        reach: What the whole move sees: left, top, right, bottom, in pixels of the picture.
        path: A pose for each frame.
    """

    middle: tuple[float, float]
    per_px: float
    reach: tuple[float, float, float, float]
    path: tuple[Camera, ...]


@dataclass(frozen=True)
class Wish:
    """What is asked of a move."""

    move: Move
    frames: int
    seconds: float
    size: tuple[int, int]
    loop: bool = False
    seed: int = 0
    depth: float = 0.0  # strength of the parallax
    focus: float = 0.5


def loses_too_much(picture: tuple[int, int], size: tuple[int, int], weight: Plane) -> bool:
    """Whether the best view of a frame's shape leaves out most of what draws the eye."""
    wide, high = _share(picture, size)
    if wide * high > _NARROW:
        return False
    kept = _best(weight.sum(axis=0), wide)[1] if wide < high else _best(weight.sum(axis=1), high)[1]
    return kept < (_KEPT if wide * high > _SLIT else _KEPT_BY_SLIT)


def frame_picture(picture: tuple[int, int], weight: Plane, wish: Wish) -> Framed:
    """Place the largest view that a move allows.

    Args:
        picture: Width and height.
        weight: (h, w), how much each place draws the eye.
    """
    subject = _subject(picture, weight)
    travel = Travel(depth=wish.depth)
    framed = _placed(picture, subject, wish, travel)
    for _ in range(2):  # where a push goes to depends on where the view is, and the other way round
        travel = _travel(picture, subject, wish, framed)
        framed = _placed(picture, subject, wish, travel)
    return framed


def _share(picture: tuple[int, int], size: tuple[int, int]) -> tuple[float, float]:
    """How much of the picture's width and height the largest view of a frame's shape takes."""
    per_px = min(picture[0] / size[0], picture[1] / size[1])
    return min(1.0, per_px * size[0] / picture[0]), min(1.0, per_px * size[1] / picture[1])


def _subject(picture: tuple[int, int], weight: Plane) -> tuple[float, float]:
    """The middle of what draws the eye, in pixels of the picture."""
    total = max(float(weight.sum()), 1e-9)
    along_x, along_y = weight.sum(axis=0) / total, weight.sum(axis=1) / total
    x = float((along_x * (np.arange(len(along_x)) + 0.5)).sum()) / len(along_x)
    y = float((along_y * (np.arange(len(along_y)) + 0.5)).sum()) / len(along_y)
    return x * picture[0], y * picture[1]


def _best(profile: NDArray[np.floating], share: float) -> tuple[float, float]:
    """The middle of the window of a share of a side that keeps most, as a share, and how much of all it keeps."""
    total = np.concatenate([[0.0], np.cumsum(profile)]) / max(float(profile.sum()), 1e-9)
    length = len(profile)
    starts = np.linspace(0, (1 - share) * length, 49)
    spots = np.arange(length + 1)
    kept = np.interp(starts + share * length, spots, total) - np.interp(starts, spots, total)
    near = kept >= kept.max() - 0.01
    best = starts[near].mean()  # in the middle of what is as good
    return float((best + share * length / 2) / length), float(kept.max())


def _travel(picture: tuple[int, int], subject: tuple[float, float], wish: Wish, framed: Framed) -> Travel:
    short, per_px = min(wish.size), framed.per_px
    off = [(subject[axis] - framed.middle[axis]) / per_px for axis in (0, 1)]
    about = [math.copysign(min(abs(off[axis]), 0.36 * wish.size[axis]), off[axis]) / short for axis in (0, 1)]
    pan = (0.0, 0.0)
    if wish.move == "pan":
        pan = _panned(picture, wish, framed)
    return Travel((about[0], about[1]), pan, wish.depth)


def _panned(picture: tuple[int, int], wish: Wish, framed: Framed) -> tuple[float, float]:
    """Along the side that has more to show, no faster than it can be looked at; a picture without such a side is
    looked at a little closer by `_placed` beforehand."""
    short = min(wish.size)
    most = min(_MOST_PAN, _PAN_PER_S * wish.seconds)
    free = [picture[axis] / framed.per_px / wish.size[axis] - 1 for axis in (0, 1)]
    axis = 0 if free[0] * wish.size[0] >= free[1] * wish.size[1] else 1
    length = min(most, 0.96 * max(0.0, free[axis]) * wish.size[axis] / short)
    ahead = framed.middle[axis] < picture[axis] / 2
    way = length if ahead or abs(framed.middle[axis] - picture[axis] / 2) < 1 else -length
    return (way, 0.0) if axis == 0 else (0.0, way)


def _placed(picture: tuple[int, int], subject: tuple[float, float], wish: Wish, travel: Travel) -> Framed:
    path = path_of(wish.move, wish.frames, wish.seconds, travel, loop=wish.loop, seed=wish.seed)
    left, top, right, bottom = reach_of(path, wish.size, wish.focus, depth=wish.depth)
    closer = 0.86 if wish.move == "pan" else 1.0  # a pan needs somewhere to go
    per_px = min(
        min(picture[0] / wish.size[0], picture[1] / wish.size[1]) * closer,
        picture[0] / (right - left),
        picture[1] / (bottom - top),
    )
    middle = []
    for axis, (low, high) in enumerate(((left, right), (top, bottom))):
        least, most = -low * per_px, picture[axis] - high * per_px
        wished = subject[axis] - _thirds(subject[axis] / picture[axis]) * wish.size[axis] * per_px
        if wish.move == "pan":  # the subject in the middle of the way
            way = travel.pan[axis] * min(wish.size) * per_px
            wished -= way / 2
        middle.append(min(max(wished, least), most))
    x, y = middle
    reach = (x + left * per_px, y + top * per_px, x + right * per_px, y + bottom * per_px)
    return Framed((x, y), per_px, reach, tuple(path))


def _thirds(place: float) -> float:
    """How far off the middle of the frame a subject may stay, as a share: it is not dragged to the centre."""
    return 0.35 * (place - 0.5)


def reach_of(
    path: Sequence[Camera], size: tuple[int, int], focus: float, *, depth: float
) -> tuple[float, float, float, float]:
    """How far from the middle of the first frame a move sees: left, top, right, bottom, in pixels of the frame."""
    width, height = size
    short = min(size)
    xs, ys = [-width / 2, width / 2], [-height / 2, height / 2]
    nears = (0.0, 1.0) if depth else (focus,)
    for camera in path:
        for near in nears:
            grown = 1 / camera.scale(near, focus)
            part = near - focus
            for sign in (-1, 1):
                to_x = sign * width / 2 + camera.zoom * short * camera.pan[0] - short * camera.shift[0] * part
                to_y = sign * height / 2 + camera.zoom * short * camera.pan[1] - short * camera.shift[1] * part
                xs.append(to_x * grown)
                ys.append(to_y * grown)
    return min(xs) - _SPARE_PX, min(ys) - _SPARE_PX, max(xs) + _SPARE_PX, max(ys) + _SPARE_PX
