"""Layers seen by a camera: one frame, ready to be encoded.

    pose ─▶ where each cell comes from, in each layer ─▶ which layer is in front there
        ─ all cells as if one layer were there alone ─▶ frame ◀─ cells where several meet: layer on layer

Where every eighth pixel comes from is computed, the rest follows. Start at `Stage.draw`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from malan.media.motion.camera import Camera
from malan.media.motion.layers import Layer
from malan.media.motion.lookup import Canvas, Way, draw_cells, draw_whole, half_of, spread
from malan.media.motion.opencv import cv2
from malan.media.motion.planes import CELL, Frame, Page, make_sheet

Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]
Laid = Mapping[int, Callable[[Frame, Plane], None]]

_STEPS = 3
_INNER = np.s_[1:-1, 1:-1]
_AROUND = np.ones((3, 3), np.uint8)


@dataclass(frozen=True)
class _Place:
    """Where the middles of a frame's cells, and of one more around, come from, in pixels of a layer; whether a cell
    may show anything of it, and nothing but it."""

    where: Way
    seen: Mask
    solid: Mask


class Stage:
    """Draws frames of one scene.

    Args:
        layers: From back to front, all of one size; `fine` of their pixels make one of the frame at rest.
        size: Width and height of a frame, both even.
        fine: Pixels of a layer for one of the frame.
        middle: Where in the layers the middle of the frame lies at rest, in pixels.
        focus: The nearness that stands still.

    Attributes:
        extent: Width and height of the layers.
        layers: How many there are.
    """

    def __init__(
        self, layers: Sequence[Layer], size: tuple[int, int], fine: float, middle: tuple[float, float], focus: float
    ) -> None:
        self._size, self._fine, self._middle, self._focus = size, fine, middle, focus
        self._sheet = make_sheet(layers)
        self.extent, self.layers = self._sheet.extent, len(layers)
        x, y = (  # from one cell outside on
            (np.arange(-(-side // CELL) + 2, dtype=np.float32) - 0.5) * CELL - side / 2 for side in size
        )
        self._x, self._y = np.meshgrid(x, y)

    def draw(self, camera: Camera, laid: Laid | None = None) -> Frame:
        """The frame a camera sees.

        Args:
            laid: What is in the air before a layer, by the layer's number from the back: it is handed the frame with
                everything up to that layer, and how near each cell of it is.
        """
        canvas, laid = Canvas(self._size), laid or {}
        places = [self._place(page, camera) for page in self._sheet.pages]
        first = 0
        for last in sorted({*laid, self.layers - 1}):
            self._compose(canvas, places, first, last)
            if last in laid:
                laid[last](canvas.frame, self._near(places[: last + 1]))
            first = last + 1
        return canvas.done()

    def reach(self, camera: Camera) -> tuple[float, float, float, float]:
        """Where in the back layer the frame looks: left, top, right, bottom, in its pixels. Beyond it is nothing."""
        ways = self._place(self._sheet.pages[0], camera).where
        x, y = (spread(way, CELL)[: self._size[1], : self._size[0]] for way in ways)
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())

    def tone(self) -> tuple[float, float, float]:
        """Luma of the brightest, and mean chroma, of the back layer."""
        back = self._sheet.pages[0].planes
        return float(np.quantile(back.y[::8, ::8], 0.95)), float(back.u.mean()), float(back.v.mean())

    def parting(self) -> float:
        """The nearness at which what is in front begins; 1 where all is one layer."""
        cover, relief = self._sheet.pages[-1].cover, self._sheet.pages[-1].relief
        own = relief[cover.seen > 0] if cover else relief[:0]
        return float(np.quantile(own, 0.05)) if own.size else 1.0

    def _near(self, places: Sequence[_Place]) -> Plane:
        """How near what is seen of some layers is, by cells of the frame."""
        found: Plane = np.zeros(self._x.shape, np.float32)
        for page, place in zip(self._sheet.pages, places, strict=False):
            rows, columns = page.relief.shape
            x, y = (
                (way + np.float32(0.5)) * np.float32(cells / extent) - np.float32(0.5)
                for way, cells, extent in zip(place.where, (columns, rows), self.extent, strict=True)
            )
            np.copyto(found, _at(page.relief, x, y), where=place.seen)
        return found[_INNER]

    def _compose(self, canvas: Canvas, places: Sequence[_Place], first: int, last: int) -> None:
        """Draw layers over what is there."""
        front = np.full(self._x.shape, 0 if first == 0 else -1, np.int16)  # the foremost that nothing shows through
        for number in range(max(first, 1), last + 1):
            front[places[number].solid] = number
        meets = np.ones(front.shape, np.bool_)
        if first == 0:
            draw_whole(canvas, self._sheet.planes, *self._in_front(places, front))
            meets = cv2.dilate(front, _AROUND) != cv2.erode(front, _AROUND)
        for number in range(first, last + 1):
            page, place = self._sheet.pages[number], places[number]
            alone, above = meets & (front == number), place.seen & (front < number)
            draw_cells(canvas, page, place.where, alone[_INNER], self._fine, over=False)
            draw_cells(canvas, page, place.where, above[_INNER], self._fine, over=True)

    def _in_front(self, places: Sequence[_Place], front: NDArray[np.int16]) -> tuple[Way, Way]:
        """Where cells come from in the sheet, each in the layer in front, whole and at half the size; no look-up leaves
        its page."""
        x, y = (way.copy() for way in places[0].where)
        for number in range(1, int(front.max()) + 1):
            for into, way in zip((x, y), places[number].where, strict=True):
                np.copyto(into, way, where=front == number)
        half_x, half_y = half_of((x, y), self._fine)
        return (x, self._sheet.at(y, front, 1)), (half_x, self._sheet.at(half_y, front, 2))

    def _place(self, page: Page, camera: Camera) -> _Place:
        """Where cells come from in a layer.

        The nearness that decides is that of the place it comes from: found by three steps towards it, in cells of the
        relief.
        """
        rows, columns = page.relief.shape
        x, per_x, mid_x, shift_x = self._along(0, columns, camera)
        y, per_y, mid_y, shift_y = self._along(1, rows, camera)
        at_x, at_y = x * np.float32(1 / camera.zoom) + mid_x, y * np.float32(1 / camera.zoom) + mid_y
        is_flat = camera.dolly == 0 and camera.shift == (0.0, 0.0)
        zoom, dolly, focus = (np.float32(one) for one in (1 / camera.zoom, camera.dolly / camera.zoom, self._focus))
        for _ in range(0 if is_flat else _STEPS):
            near = _at(page.relief, at_x, at_y)
            near -= focus
            grown = zoom - dolly * near if camera.dolly else zoom
            at_x, at_y = (x - shift_x * near) * grown + mid_x, (y - shift_y * near) * grown + mid_y
        seen = solid = np.ones(at_x.shape, np.bool_)
        if page.cover:
            seen, solid = _at(page.cover.seen, at_x, at_y) > 0, _at(page.cover.solid, at_x, at_y) == 255
        half = np.float32(0.5)
        return _Place(((at_x + half) / per_x - half, (at_y + half) / per_y - half), seen, solid)

    def _along(self, axis: int, cells: int, camera: Camera) -> tuple[Plane, np.float32, np.float32, np.float32]:
        """Along an axis, in cells of a relief: where cells of the frame look but for zoom and nearness; how many there
        are to a pixel of the layer; where the middle of the frame is; how far nearness shifts."""
        per, short = cells / self.extent[axis], min(self._size)
        to = (self._x, self._y)[axis] + np.float32(camera.zoom * short * camera.pan[axis])
        shift = short * camera.shift[axis] * self._fine * per
        return (
            to * np.float32(self._fine * per), np.float32(per),
            np.float32(self._middle[axis] * per - 0.5), np.float32(shift),
        )  # fmt: skip


def _at(cells: NDArray[Any], x: Plane, y: Plane) -> Any:
    """What stands at places among cells."""
    return cv2.remap(cells, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
