"""The letters of the explicit label, drawn from strokes of our own: the same on every machine, with or without fonts.

A glyph is a few strokes on a square of 100 units, y downwards, drawn with a round pen. A stroke is a list of points;
where it bends it is a quadratic curve. Only what the label may say is here. Start at `ink_of`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Point = tuple[float, float]
Stroke = tuple[Point, ...]

PEN = 9.0  # width of a stroke, in units
_OVERSAMPLE = 4
_SIDE_BEARING = 6.0
_CURVE_STEPS = 24


@dataclass(frozen=True)
class Glyph:
    """Strokes of straight lines, strokes that are one curve through a control point, and how wide the glyph is."""

    width: float
    lines: tuple[Stroke, ...] = ()
    curves: tuple[tuple[Point, Point, Point], ...] = ()
    arcs: tuple[tuple[float, float, float, float, float], ...] = ()  # centre, radius, from and to in degrees

    def paths(self) -> Iterator[list[Point]]:
        """Every stroke as points close enough to look smooth."""
        yield from (list(line) for line in self.lines)
        for (ax, ay), (bx, by), (cx, cy) in self.curves:
            steps = [i / _CURVE_STEPS for i in range(_CURVE_STEPS + 1)]
            yield [
                ((1 - t) ** 2 * ax + 2 * t * (1 - t) * bx + t * t * cx,
                 (1 - t) ** 2 * ay + 2 * t * (1 - t) * by + t * t * cy)
                for t in steps
            ]  # fmt: skip
        for x, y, radius, start, end in self.arcs:
            turns = [math.radians(start + (end - start) * i / _CURVE_STEPS) for i in range(_CURVE_STEPS + 1)]
            yield [(x + radius * math.cos(turn), y + radius * math.sin(turn)) for turn in turns]


def _box(left: float, top: float, right: float, bottom: float) -> Stroke:
    return ((left, top), (right, top), (right, bottom), (left, bottom), (left, top))


GLYPHS = {
    " ": Glyph(30),
    "A": Glyph(66, (((5, 88), (33, 12), (61, 88)), ((15, 63), (51, 63)))),
    "I": Glyph(16, (((8, 12), (8, 88)),)),
    "-": Glyph(34, (((4, 60), (30, 60)),)),
    "g": Glyph(50, (((46, 44), (46, 90)),), (), ((25, 65, 21, 0, 360), (25, 90, 21, 0, 150))),
    "e": Glyph(50, (((4, 65), (46, 65)),), (), ((25, 65, 21, 0, -318),)),
    "n": Glyph(46, (((5, 44), (5, 88)), ((41, 62), (41, 88))), (), ((23, 62, 18, 180, 360),)),
    "r": Glyph(32, (((5, 44), (5, 88)),), (((5, 66), (7, 44), (28, 45)),)),
    "a": Glyph(50, (((46, 44), (46, 88)),), (), ((25, 66, 21, 0, 360),)),
    "t": Glyph(36, (((16, 24), (16, 74)), ((4, 45), (32, 45))), (((16, 74), (17, 89), (33, 87)),)),
    "d": Glyph(50, (((46, 12), (46, 88)),), (), ((25, 66, 21, 0, 360),)),
    "生": Glyph(
        100,
        (((24, 29), (87, 29)), ((19, 58), (84, 58)), ((53, 7), (53, 91)), ((7, 91), (95, 91))),
        (((29, 9), (24, 30), (9, 47)),),
    ),
    "成": Glyph(
        100,
        (((14, 26), (92, 26)), ((14, 52), (43, 52)), ((70, 7), (84, 16)), ((88, 91), (94, 72))),
        (
            ((14, 26), (16, 66), (6, 92)),
            ((43, 52), (43, 82), (26, 77)),
            ((53, 7), (56, 66), (88, 91)),
            ((84, 42), (72, 74), (45, 91)),
        ),
    ),
    "合": Glyph(
        100,
        (((30, 45), (70, 45)), _box(23, 61, 77, 91)),
        (((50, 7), (36, 34), (6, 48)), ((50, 7), (64, 34), (94, 48))),
    ),
    "人": Glyph(100, (), (((50, 8), (51, 62), (7, 92)), ((51, 40), (60, 74), (94, 92)))),
    "工": Glyph(100, (((14, 17), (86, 17)), ((50, 17), (50, 87)), ((7, 87), (93, 87)))),
    "智": Glyph(
        100,
        (
            ((16, 18), (51, 18)), ((6, 34), (55, 34)), ((37, 42), (52, 53)),
            _box(65, 17, 92, 49), _box(24, 64, 77, 93), ((24, 78.5), (77, 78.5)),
        ),
        (((21, 7), (18, 20), (7, 26)), ((32, 18), (33, 44), (8, 56))),
    ),
    "能": Glyph(
        100,
        (
            ((27, 7), (12, 27), (43, 26)), ((37, 15), (48, 33)), ((13, 44), (13, 93)),
            ((13, 44), (44, 44), (44, 88), (40, 92), (32, 91)), ((13, 59), (44, 59)), ((13, 74), (44, 74)),
            ((60, 8), (60, 40), (64, 44), (88, 44), (92, 41), (93, 33)),
            ((60, 53), (60, 87), (64, 91), (88, 91), (92, 88), (93, 79)),
        ),
        (((87, 15), (76, 24), (60, 27)), ((87, 61), (76, 70), (60, 73))),
    ),
}  # fmt: skip


def ink_of(text: str, em_px: float) -> NDArray[np.uint8]:
    """Coverage of a line of text, 0 to 255, as (H, W), cut to its ink. `em_px` is the side of a Chinese character.

    All characters must be keys of `GLYPHS`.
    """
    scale, left = em_px * _OVERSAMPLE / 100, PEN
    width = sum(GLYPHS[c].width + 2 * _SIDE_BEARING for c in text) + 2 * PEN
    image = Image.new("L", (math.ceil(width * scale), math.ceil(135 * scale)), 0)
    draw = ImageDraw.Draw(image)
    for character in text:
        left += _SIDE_BEARING
        for path in GLYPHS[character].paths():
            _draw(draw, [((x + left) * scale, (y + PEN) * scale) for x, y in path], PEN * scale)
        left += GLYPHS[character].width + _SIDE_BEARING
    return _cut(image)


def ink_height(character: str, em_px: float) -> int:
    """How high the ink of one character is, in pixels of at least half coverage."""
    rows = (ink_of(character, em_px) >= 128).any(axis=1)
    return int(rows.sum()) and int(np.flatnonzero(rows)[-1] - np.flatnonzero(rows)[0] + 1)


def _draw(draw: ImageDraw.ImageDraw, points: list[Point], width: float) -> None:
    draw.line(points, fill=255, width=round(width), joint="curve")
    for x, y in points:
        draw.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=255)


def _cut(image: Image.Image) -> NDArray[np.uint8]:
    """Cut to the ink and made small; the edge is widened to whole pixels."""
    left, top, right, bottom = image.getbbox() or (0, 0, 1, 1)
    width, height = -(-(right - left) // _OVERSAMPLE), -(-(bottom - top) // _OVERSAMPLE)
    box = (left, top, left + width * _OVERSAMPLE, top + height * _OVERSAMPLE)
    return np.asarray(image.crop(box).reduce(_OVERSAMPLE), np.uint8)
