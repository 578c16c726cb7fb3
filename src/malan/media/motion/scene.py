"""From a picture to something a camera can move through: framed, taken apart, ready to be drawn.

    photo, relief ─ weight ─ frame_picture ─▶ the part that is ever seen, at the size it is needed ─ take_apart ─▶ Stage

Everything here is done once for a film. Start at `make_scene`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from malan.media.motion.camera import Camera, Move
from malan.media.motion.framing import Framed, Wish, frame_picture, loses_too_much
from malan.media.motion.layers import Layer, take_apart
from malan.media.motion.opencv import cv2
from malan.media.motion.planes import CELL
from malan.media.motion.relief import Relief
from malan.media.motion.warp import Stage

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float32]

FINE = 1.2  # pixels of a layer for one of the frame: looking up between them must not soften by turns
_RELIEF_CELL = 3.5  # pixels of a layer for one of the relief it is taken apart by
_CARD, _CARD_NEAR, _GROUND_NEAR = (
    0.9,
    0.62,
    0.2,
)  # of a picture shown whole: its share of the frame, and where it stands
_CARD_DEPTH = 1.4  # the ground is soft: it may part from the card more than things in a picture
_BLUR, _DIM = 0.045, 0.62


@dataclass(frozen=True)
class Scene:
    """What is drawn, and how it is seen at each frame.

    Args:
        stage: Draws a frame.
        path: A pose for each frame.
        layers: How many there are.
        is_whole: Whether the picture is shown whole before a ground of itself.
        framed: The view; of a picture shown whole, of the ground with it.
        move: The one that was made.
    """

    stage: Stage
    path: tuple[Camera, ...]
    layers: int
    is_whole: bool
    framed: Framed
    move: Move


def make_scene(pixels_HWC: Pixels, relief: Relief, weight: Plane, wish: Wish, *, whole: bool | None = None) -> Scene:
    """Everything that is done once for a film.

    Args:
        pixels_HWC: The picture, sRGB.
        weight: (h, w), how much each place draws the eye.
        wish: The move; its depth is 0 of a flat relief.
        whole: Show all of the picture before a blurred ground of itself; None: where a crop would lose too much.
    """
    size = (pixels_HWC.shape[1], pixels_HWC.shape[0])
    keep, weight = (_with_heads(weight, relief, ground) for ground in (0.0, 0.3))
    is_whole = loses_too_much(size, wish.size, keep) if whole is None else whole and _is_other(size, wish.size)
    if is_whole:
        move: Move = "push" if wish.move in ("pan", "dolly-zoom") else wish.move
        return _on_ground(pixels_HWC, replace(wish, move=move, depth=_CARD_DEPTH, focus=_CARD_NEAR))
    wish = replace(wish, depth=0.0 if relief.is_flat else wish.depth, focus=relief.focus)
    framed = frame_picture(size, weight, wish)
    fine = min(FINE, max(1.0, framed.per_px))
    plate, corner, scale = _plate(pixels_HWC, framed, fine)
    middle = ((framed.middle[0] - corner[0]) * scale, (framed.middle[1] - corner[1]) * scale)
    if relief.is_flat:
        layers = [Layer(plate, None, np.zeros((2, 2), np.float32))]
    else:
        near = _relief_of(relief.near, size, corner, scale, plate.shape[:2])
        layers = take_apart(plate, near, strength_px(framed.path, wish.size) * fine, fine * CELL, max(1.0, scale))
    stage = Stage(layers, wish.size, fine, middle, wish.focus)
    return Scene(stage, framed.path, len(layers), False, framed, wish.move)


def _with_heads(weight: Plane, relief: Relief, ground: float) -> Plane:
    """Where to look, when a subject is known: at it, rather at its upper part, and at its ground by a share."""
    if relief.origin not in ("mask", "subject"):
        return weight
    front = cv2.resize(
        (relief.near > relief.focus).astype(np.float32), weight.shape[::-1], interpolation=cv2.INTER_AREA
    )
    rows = np.flatnonzero(front.max(axis=1) > 0.5)
    if not len(rows):
        return weight
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    share = np.clip((np.arange(len(front)) - top) / (bottom - top), 0, 1)
    return np.asarray(ground * weight + front * np.exp(-3 * share)[:, None], np.float32)


def strength_px(path: tuple[Camera, ...], size: tuple[int, int]) -> float:
    """By how many pixels of the frame the nearest ever moves against the farthest, about."""
    short, half = min(size), 0.3 * max(size)  # what matters is rarely at the rim
    shift = max(float(np.hypot(*camera.shift)) for camera in path) * short
    return shift + max(abs(camera.dolly) for camera in path) * half


def _is_other(picture: tuple[int, int], size: tuple[int, int]) -> bool:
    return abs((picture[0] / picture[1]) / (size[0] / size[1]) - 1) > 0.02


def _plate(pixels: Pixels, framed: Framed, fine: float) -> tuple[Pixels, tuple[int, int], float]:
    """The part of the picture that is ever seen at `fine` pixels for one of the frame, even; its corner, its scale."""
    height, width = pixels.shape[:2]
    left, top, right, bottom = framed.reach
    x0, y0 = max(0, int(np.floor(left))), max(0, int(np.floor(top)))
    x1, y1 = min(width, int(np.ceil(right))), min(height, int(np.ceil(bottom)))
    scale = fine / framed.per_px
    part = pixels[y0:y1, x0:x1]
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    plate = cv2.resize(part, None, fx=scale, fy=scale, interpolation=way)
    high, wide = plate.shape[0] + plate.shape[0] % 2, plate.shape[1] + plate.shape[1] % 2
    plate = cv2.copyMakeBorder(plate, 0, high - plate.shape[0], 0, wide - plate.shape[1], cv2.BORDER_REPLICATE)
    return plate, (x0, y0), scale


def _relief_of(
    near: Plane, picture: tuple[int, int], corner: tuple[int, int], scale: float, shape: tuple[int, int]
) -> Plane:
    """The relief of a plate."""
    rows, columns = max(2, round(shape[0] / _RELIEF_CELL)), max(2, round(shape[1] / _RELIEF_CELL))
    x = (np.arange(columns, dtype=np.float32) + 0.5) * (shape[1] / columns / scale) + corner[0]
    y = (np.arange(rows, dtype=np.float32) + 0.5) * (shape[0] / rows / scale) + corner[1]
    at_x, at_y = np.meshgrid(x * (near.shape[1] / picture[0]) - 0.5, y * (near.shape[0] / picture[1]) - 0.5)
    found = cv2.remap(
        near, at_x.astype(np.float32), at_y.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(found, np.float32)


# A picture shown whole


def _on_ground(pixels: Pixels, wish: Wish) -> Scene:
    """The picture as a card before a blurred, darker ground of itself, which goes along less."""
    width, height = wish.size
    even = np.ones((16, 16), np.float32)
    framed = frame_picture(wish.size, even, wish)
    fine = min(FINE, 1 / framed.per_px)
    canvas = (round(width * fine / framed.per_px / 2) * 2, round(height * fine / framed.per_px / 2) * 2)
    scale = canvas[0] / width
    per = min(_CARD * canvas[0] / pixels.shape[1], _CARD * canvas[1] / pixels.shape[0])
    card = cv2.resize(pixels, None, fx=per, fy=per, interpolation=cv2.INTER_AREA if per < 1 else cv2.INTER_CUBIC)
    left, top = (canvas[0] - card.shape[1]) // 2, (canvas[1] - card.shape[0]) // 2
    spot = np.s_[top : top + card.shape[0], left : left + card.shape[1]]
    ground = _ground(pixels, canvas, spot)
    front, alpha = ground.copy(), np.zeros(ground.shape[:2], np.uint8)
    front[spot], alpha[spot] = card, 255
    alpha = cv2.blur(alpha, (3, 3))
    grid = (max(2, canvas[1] // 16), max(2, canvas[0] // 16))
    layers = [
        Layer(ground, None, np.full(grid, _GROUND_NEAR, np.float32)),
        Layer(front, alpha, np.full(grid, _CARD_NEAR, np.float32)),
    ]
    middle = (framed.middle[0] * scale, framed.middle[1] * scale)
    stage = Stage(layers, wish.size, framed.per_px * scale, middle, wish.focus)
    return Scene(stage, framed.path, 2, True, framed, wish.move)


def _ground(pixels: Pixels, canvas: tuple[int, int], spot: tuple[slice, slice]) -> Pixels:
    """The picture blurred until only its light is left, darker, with the shadow of the card on it. Dithered."""
    small = (canvas[0] // 8, canvas[1] // 8)
    share = max(small[0] / pixels.shape[1], small[1] / pixels.shape[0])
    cover = cv2.resize(pixels, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    cover = cv2.resize(cover, (max(small[0], cover.shape[1]), max(small[1], cover.shape[0])))
    left, top = (cover.shape[1] - small[0]) // 2, (cover.shape[0] - small[1]) // 2
    light = cover[top : top + small[1], left : left + small[0]].astype(np.float32)
    light = cv2.GaussianBlur(light, (0, 0), _BLUR * max(small), borderType=cv2.BORDER_REFLECT)
    shade = np.zeros((small[1], small[0]), np.float32)
    shade[spot[0].start // 8 : spot[0].stop // 8, spot[1].start // 8 : spot[1].stop // 8] = 1
    shade = cv2.GaussianBlur(shade, (0, 0), 0.012 * max(small))
    light *= (_DIM * (1 - 0.35 * shade))[..., None]
    full = cv2.resize(light, canvas, interpolation=cv2.INTER_CUBIC)
    grain = np.random.default_rng(1).random((canvas[1], canvas[0], 1), np.float32)
    return np.asarray(np.clip(full + grain, 0, 255), np.uint8)


def framed_still(pixels_HWC: Pixels, weight: Plane, size: tuple[int, int]) -> Pixels:
    """The part of a picture that a frame of another shape shows best, at the frame's size, RGB."""
    framed = frame_picture((pixels_HWC.shape[1], pixels_HWC.shape[0]), weight, Wish("swing", 2, 1.0, size))
    plate, corner, scale = _plate(pixels_HWC, framed, 1.0)
    x = round((framed.middle[0] - corner[0]) * scale - size[0] / 2)
    y = round((framed.middle[1] - corner[1]) * scale - size[1] / 2)
    part = plate[max(0, y) : max(0, y) + size[1], max(0, x) : max(0, x) + size[0]]
    return np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_LINEAR), np.uint8)
