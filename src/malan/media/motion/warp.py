"""Layers seen by a camera: one frame, ready to be encoded.

For each layer where every eighth pixel comes from is computed, the rest follows; one look-up for luma and alpha, one
for colour, and the layer is laid over what lies behind it. Planes are yuv420p of BT.709, limited range, chroma sited
left (ITU-T H.273). Start at `Stage`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from malan.media.motion.camera import Camera
from malan.media.motion.layers import Layer
from malan.media.motion.opencv import cv2

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float32]
Box = tuple[int, int, int, int]  # left, top, right, bottom
Between = Callable[["Frame", int, int], None]

CELL = 8
_AROUND = np.ones((3, 3), np.uint8)
_STEPS = 3
_STRIP = 12  # cells of height that are drawn in one go
_SHORT = 8  # cells: a shorter run is drawn with its neighbours
_MIXED, _SOLID = 1, 2
_TO_YUV = np.asarray(  # BT.709, limited range (Rec. ITU-R BT.709-6, 3.2 to 3.5)
    [
        [0.182586, 0.614231, 0.062007, 16.0],
        [-0.100644, -0.338572, 0.439216, 128.0],
        [0.439216, -0.398942, -0.040274, 128.0],
    ],
    np.float32,
)


@dataclass(frozen=True)
class Frame:
    """uint8 planes of one frame: luma (H, W), chroma (H/2, W/2) each."""

    y: Pixels
    u: Pixels
    v: Pixels


@dataclass(frozen=True)
class _Cover:
    """Where a layer is: its alpha, whole and at half the size; by cells of the relief, 255 where there is anything of
    it, and 255 where nothing shows through."""

    alpha: Pixels
    half: Pixels
    seen: Pixels
    solid: Pixels


@dataclass(frozen=True)
class _Sheet:
    """A layer as it is looked up: luma, two of chroma at half the size, multiplied by the alpha where there is one."""

    luma: Pixels
    chroma: tuple[Pixels, Pixels]
    relief: Plane
    cover: _Cover | None = None


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
    """

    def __init__(
        self, layers: Sequence[Layer], size: tuple[int, int], fine: float, middle: tuple[float, float], focus: float
    ) -> None:
        self._size, self._fine, self._middle, self._focus = size, fine, middle, focus
        self.extent = layers[0].pixels_HWC.shape[1::-1]
        self._sheets = [_sheet(layer) for layer in layers]
        self._short = min(size)
        width, height = size
        x = (np.arange(-(-width // CELL) + 2, dtype=np.float32) - 0.5) * CELL - width / 2  # from one cell outside on
        y = (np.arange(-(-height // CELL) + 2, dtype=np.float32) - 0.5) * CELL - height / 2
        self._x, self._y = np.meshgrid(x, y)

    def draw(self, camera: Camera, between: Between | None = None) -> Frame:
        """The frame a camera sees.

        Args:
            between: Called when a layer has been drawn, with the frame, the number of the layer from the back, and how
                many there are: what lies in the air behind the next one.
        """
        width, height = self._size
        frame = Frame(
            np.empty((height, width), np.uint8), *(np.empty((height // 2, width // 2), np.uint8) for _ in range(2))
        )
        wheres = [self._source(sheet, camera) for sheet in self._sheets]
        visible = self._visible(wheres)
        for number, (sheet, where, runs) in enumerate(zip(self._sheets, wheres, visible, strict=True)):
            for box, is_solid in runs:
                _draw(sheet, where, box, self._fine, frame, is_solid=is_solid)
            if between:
                between(frame, number, len(self._sheets))
        return frame

    def reach(self, camera: Camera) -> tuple[float, float, float, float]:
        """Where in the back layer the frame looks: left, top, right, bottom, in its pixels. Beyond it is nothing."""
        seen = _fine_map(self._source(self._sheets[0], camera), (0, 0, *self._size))
        x, y = seen[..., 0], seen[..., 1]
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())

    def _visible(self, wheres: Sequence[Plane]) -> list[list[tuple[Box, bool]]]:
        """For each layer the boxes of the frame in which it may be seen, and whether all of a box is solid."""
        inner = np.s_[1:-1, 1:-1]
        covered = np.zeros(wheres[0][inner].shape[:2], np.bool_)
        found: list[list[tuple[Box, bool]]] = []
        for sheet, where in zip(reversed(self._sheets), reversed(wheres), strict=True):
            if sheet.cover is None:
                found.append(self._runs(~covered, ~covered))
                break
            x, y = where[inner][..., 0] + 0.5, where[inner][..., 1] + 0.5
            solid = self._at(sheet.cover.solid, x, y) == 255
            found.append(self._runs((self._at(sheet.cover.seen, x, y) > 0) & ~covered, solid))
            covered |= solid
        return found[::-1]

    def _runs(self, seen: NDArray[np.bool_], solid: NDArray[np.bool_]) -> list[tuple[Box, bool]]:
        """Boxes that hold all cells that are seen, strip by strip: what is solid throughout apart from the rest."""
        width, height = self._size
        tops = np.arange(0, len(seen), _STRIP)
        shown = np.logical_or.reduceat(seen, tops, axis=0)
        whole = (
            shown & np.logical_and.reduceat(solid | ~seen, tops, axis=0) & np.logical_and.reduceat(solid, tops, axis=0)
        )
        state = shown.astype(np.int8) + whole
        steps = np.diff(state, axis=1, prepend=np.int8(-1)) != 0
        found = []
        for row, top in enumerate(tops * CELL):
            starts = np.flatnonzero(steps[row]).tolist()
            bottom = min(height, int(top) + _STRIP * CELL)
            for left, right, kind in _merged(starts, state[row], state.shape[1]):
                if kind and left * CELL < width:
                    found.append(((left * CELL, int(top), min(width, right * CELL), bottom), kind == _SOLID))
        return found

    def _source(self, sheet: _Sheet, camera: Camera) -> Plane:
        """Where the middle of each cell comes from, in pixels of the layer (rows, columns, xy).

        The nearness that decides is that of the place it comes from: found by three steps towards it.
        """
        short, fine = self._short, self._fine
        to_x, to_y = self._x + camera.zoom * short * camera.pan[0], self._y + camera.zoom * short * camera.pan[1]
        x, y = to_x / camera.zoom, to_y / camera.zoom
        is_flat = camera.dolly == 0 and camera.shift == (0.0, 0.0)
        for _ in range(0 if is_flat else _STEPS):
            w = self._at(sheet.relief, x * fine + self._middle[0], y * fine + self._middle[1]) - self._focus
            grown = (1 - camera.dolly * w) / camera.zoom
            x, y = (to_x - short * camera.shift[0] * w) * grown, (to_y - short * camera.shift[1] * w) * grown
        return np.dstack([x * fine + (self._middle[0] - 0.5), y * fine + (self._middle[1] - 0.5)])

    def _at(self, cells: NDArray[Any], x: Plane, y: Plane) -> Any:
        """What stands in the cells at places of a layer, in its pixels."""
        rows, columns = cells.shape
        at_x, at_y = x * (columns / self.extent[0]) - 0.5, y * (rows / self.extent[1]) - 0.5
        return cv2.remap(cells, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _sheet(layer: Layer) -> _Sheet:
    luma, chroma = to_planes(layer.pixels_HWC)
    if layer.alpha is None:
        return _Sheet(luma, chroma, layer.relief)
    half: Pixels = cv2.resize(layer.alpha, (luma.shape[1] // 2, luma.shape[0] // 2), interpolation=cv2.INTER_AREA)
    seen: Pixels = cv2.dilate(_in_cells(layer.alpha > 0, layer.relief) * np.uint8(255), _AROUND)
    open_: Pixels = cv2.dilate(_in_cells(layer.alpha < 255, layer.relief) * np.uint8(255), _AROUND)
    lit = cv2.multiply(luma, layer.alpha, scale=1 / 255)
    u, v = (cv2.multiply(one, half, scale=1 / 255) for one in chroma)
    return _Sheet(lit, (u, v), layer.relief, _Cover(layer.alpha, half, seen, np.uint8(255) - open_))


def _in_cells(mask: NDArray[np.bool_], relief: Plane) -> Pixels:
    """1 in every cell that holds any of a mask."""
    share = cv2.resize(mask.astype(np.float32), relief.shape[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(share > 0, np.uint8)


def to_planes(pixels_HWC: Pixels) -> tuple[Pixels, tuple[Pixels, Pixels]]:
    """Luma, and both of chroma at half the size, of an RGB picture with even sides."""
    height, width = pixels_HWC.shape[:2]
    luma: Pixels = cv2.transform(pixels_HWC, _TO_YUV[:1]).reshape(height, width)
    half = cv2.resize(pixels_HWC, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    u, v = cv2.split(cv2.transform(half, _TO_YUV[1:]))
    return luma, (u, v)


def _merged(starts: list[int], state: NDArray[np.int8], end: int) -> list[tuple[int, int, int]]:
    """Runs of cells of one kind (start, end, kind); a solid run or a gap that is not worth it counts as mixed."""
    found: list[tuple[int, int, int]] = []
    for start, stop in zip(starts, [*starts[1:], end], strict=True):
        is_short = stop - start < _SHORT and (start > 0 or bool(state[start])) and (stop < end or bool(state[start]))
        kind = _MIXED if is_short else int(state[start])
        if found and found[-1][2] == kind:
            found[-1] = (found[-1][0], stop, kind)
        else:
            found.append((start, stop, kind))
    return found


def _draw(sheet: _Sheet, where: Plane, box: Box, fine: float, frame: Frame, *, is_solid: bool) -> None:
    """Draw a box of a layer over what is there."""
    left, top, right, bottom = box
    spot, small = np.s_[top:bottom, left:right], np.s_[top // 2 : bottom // 2, left // 2 : right // 2]
    full, half = _fine_map(where, box), _half_map(where, box, fine)
    if is_solid or sheet.cover is None:
        frame.y[spot] = _looked_up(sheet.luma, full)
        frame.u[small], frame.v[small] = (_looked_up(own, half) for own in sheet.chroma)
        return
    _over(frame.y[spot], _looked_up(sheet.luma, full), cv2.bitwise_not(_looked_up(sheet.cover.alpha, full)))
    clear = cv2.bitwise_not(_looked_up(sheet.cover.half, half))
    for plane, own in zip((frame.u, frame.v), sheet.chroma, strict=True):
        _over(plane[small], _looked_up(own, half), clear)


def _fine_map(where: Plane, box: Box) -> Plane:
    """For each pixel of a box of the frame, where it comes from."""
    left, top, right, bottom = box
    part = _cells(where, box)
    full: Plane = cv2.resize(part, (part.shape[1] * CELL, part.shape[0] * CELL), interpolation=cv2.INTER_LINEAR)
    return full[CELL : CELL + bottom - top, CELL : CELL + right - left]


def _half_map(where: Plane, box: Box, fine: float) -> Plane:
    """The same for chroma, which lies half a pixel further left than the middle of its four."""
    left, top, right, bottom = box
    part = _cells(where, box) * 0.5 - np.asarray((0.25 + 0.25 * fine, 0.25), np.float32)
    half = CELL // 2
    full: Plane = cv2.resize(part, (part.shape[1] * half, part.shape[0] * half), interpolation=cv2.INTER_LINEAR)
    return full[half : half + (bottom - top) // 2, half : half + (right - left) // 2]


def _cells(where: Plane, box: Box) -> Plane:
    """The cells of a box, and one around."""
    left, top, right, bottom = box
    return where[top // CELL : -(-bottom // CELL) + 2, left // CELL : -(-right // CELL) + 2]


def _looked_up(plane: Pixels, where: Plane) -> Pixels:
    found: Pixels = cv2.remap(plane, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return found


def _over(below: Pixels, above: Pixels, clear: Pixels) -> None:
    """Lay what is multiplied by its alpha over a plane, in place; `clear` is what the alpha leaves of 255."""
    cv2.multiply(below, clear, below, scale=1 / 255)
    cv2.add(below, above, below)
