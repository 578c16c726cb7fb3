"""Looking pixels up where they come from: all of a frame at once, or some of its cells, laid over what is there.

Numbers stand for the middles of cells, with one more cell around; between them they are linear. A row of a cell is
moved as one number of eight or four bytes. Start at `draw_whole` and `draw_cells`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from malan.media.motion.opencv import cv2
from malan.media.motion.planes import CELL, Frame, Page

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]
Way = tuple[Plane, Plane]  # x and y
Spots = tuple[NDArray[np.intp], NDArray[np.intp]]  # rows and columns

HALF = CELL // 2
_STRIP = 15  # cells of height that are looked up in one go: what stays in the cache
_TOGETHER = 4  # cells in a row of what is looked up cell by cell: longer rows are faster
_NUMBER: dict[int, Any] = {CELL: np.uint64, HALF: np.uint32}  # a row of a cell


class Canvas:
    """A frame being drawn.

    Attributes:
        rows, columns: Cells.
        frame: Its planes; what draws into them draws into the canvas.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        width, height = size
        self.rows, self.columns = -(-height // CELL), -(-width // CELL)
        self.whole = Frame(
            *(np.empty((self.rows * pixels, self.columns * pixels), np.uint8) for pixels in (CELL, HALF, HALF))
        )
        half = np.s_[: height // 2, : width // 2]
        self.frame = Frame(self.whole.y[:height, :width], self.whole.u[half], self.whole.v[half])

    def done(self) -> Frame:
        """The frame, each plane in one piece."""
        return Frame(*(np.ascontiguousarray(plane) for plane in (self.frame.y, self.frame.u, self.frame.v)))


def draw_whole(canvas: Canvas, planes: Frame, full: Way, half: Way) -> None:
    """Draw all of a frame from planes that hold whatever it may come from."""
    for top in range(0, canvas.rows, _STRIP):
        cells = slice(top, top + _STRIP + 2)
        for ways, pixels, pairs in (
            (full, CELL, [(planes.y, canvas.whole.y)]),
            (half, HALF, [(planes.u, canvas.whole.u), (planes.v, canvas.whole.v)]),
        ):
            x, y = (spread(way[cells], pixels) for way in ways)
            for plane, into in pairs:
                _look_up(plane, (x, y), into[top * pixels : (top + _STRIP) * pixels])


def draw_cells(canvas: Canvas, page: Page, full: Way, mask: Mask, fine: float, *, over: bool) -> None:
    """Draw the cells of a mask from a layer: laid over what is there by its alpha, or in the place of it."""
    if not mask.any():
        return
    spots, around = _marked(mask)
    near = full[0].ravel()[around], full[1].ravel()[around]
    alpha, small = (page.cover.alpha, page.cover.half) if over and page.cover else (None, None)
    own, drawn = page.planes, canvas.whole
    _lay(_between(near, CELL), spots, CELL, alpha, [(own.y, drawn.y)])
    _lay(_between(half_of(near, fine), HALF), spots, HALF, small, [(own.u, drawn.u), (own.v, drawn.v)])


def half_of(full: Way, fine: float) -> Way:
    """Where chroma comes from: it lies half a pixel of the frame further left than the middle of its four."""
    half = np.float32(0.5)
    return full[0] * half - np.float32(0.25 + 0.25 * fine), full[1] * half - np.float32(0.25)


def spread(way: Plane, pixels: int) -> Plane:
    """From the middles of cells, with one more around, to every one of so many pixels a cell."""
    height, width = way.shape
    full = cv2.resize(way, (width * pixels, height * pixels), interpolation=cv2.INTER_LINEAR)
    return np.asarray(full[pixels:-pixels, pixels:-pixels], np.float32)


def _marked(mask: Mask) -> tuple[Spots, NDArray[np.intp]]:
    """Rows and columns of the cells of a mask, a multiple of `_TOGETHER`, and the nine numbers around each of them."""
    rows, columns = np.nonzero(mask)
    more = -len(rows) % _TOGETHER  # the last cell again
    rows, columns = (np.pad(one, (0, more), mode="edge") for one in (rows, columns))
    wide = mask.shape[1] + 2
    return (rows, columns), (rows * wide + columns)[:, None] + (np.arange(3)[:, None] * wide + np.arange(3)).ravel()


def _between(near: Way, pixels: int) -> Way:
    """From the nine numbers around each cell to all of its pixels, several cells in a row.

    einsum, for BLAS would keep its other threads busy with waiting, from frame to frame.
    """
    x, y = (np.einsum("nk,kp->np", way, _WEIGHTS[pixels]).reshape(len(way) // _TOGETHER, -1) for way in near)
    return x, y


def _lay(way: Way, spots: Spots, pixels: int, alpha: Pixels | None, pairs: list[tuple[Pixels, Pixels]]) -> None:
    """Cells from planes into planes; laid over what is there where there is an alpha."""
    rows, columns = spots
    clear = None if alpha is None else cv2.bitwise_not(_look_up(alpha, way))
    for plane, into in pairs:
        found = _look_up(plane, way)
        by_cell = into.view(_NUMBER[pixels]).reshape(into.shape[0] // pixels, pixels, -1)
        if clear is not None:
            below = by_cell[rows, :, columns].view(np.uint8).reshape(found.shape)
            cv2.add(found, cv2.multiply(below, clear, below, scale=1 / 255), found)
        by_cell[rows, :, columns] = found.reshape(len(rows), -1).view(_NUMBER[pixels])


def _look_up(plane: Pixels, way: Way, into: Pixels | None = None) -> Pixels:
    found: Pixels = cv2.remap(plane, *way, cv2.INTER_LINEAR, dst=into, borderMode=cv2.BORDER_REPLICATE)
    return found


def _weights(pixels: int) -> Plane:
    """How much each of a cell's neighbourhood counts for each of its pixels, (9, pixels²): linear between middles."""
    off = (np.arange(pixels) + 0.5) / pixels - 0.5
    line = np.stack([np.maximum(-off, 0), 1 - np.abs(off), np.maximum(off, 0)])
    return np.asarray(np.einsum("ip,jq->ijpq", line, line).reshape(9, pixels * pixels), np.float32)


_WEIGHTS = {size: _weights(size) for size in (CELL, HALF)}
