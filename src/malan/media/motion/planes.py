"""Pictures as they are looked up and drawn: planes of yuv420p, BT.709, limited range, chroma sited left (ITU-T H.273).

Layers lie below each other in one sheet, so that one look-up draws whatever layer is in front. Start at `make_sheet`.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from malan.media.motion.layers import Layer
from malan.media.motion.opencv import cv2

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float32]

CELL = 8  # pixels of a frame that share one number: where they come from
GUARD = 16  # rows above and below a page, as its rim: a look-up just beyond it stays off the next page
_MARGIN = 0.45  # of a cell of the relief around a layer: what a cell that is moved and stretched may touch as well
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
class Cover:
    """Where a layer is: its alpha, whole and at half the size; by cells of the relief, 255 where there is anything of
    it, and 255 where nothing shows through."""

    alpha: Pixels
    half: Pixels
    seen: Pixels
    solid: Pixels


@dataclass(frozen=True)
class Page:
    """A layer in a sheet: its planes, multiplied by the alpha where there is one."""

    planes: Frame
    relief: Plane
    cover: Cover | None = None


@dataclass(frozen=True)
class Sheet:
    """Layers below each other, from back to front, all of one size, guards between them; pages are views of it."""

    planes: Frame
    pages: tuple[Page, ...]

    @property
    def extent(self) -> tuple[int, int]:
        """Width and height of a layer."""
        height, width = self.pages[0].planes.y.shape
        return width, height

    def at(self, y: Plane, page: NDArray[np.int16], share: int) -> Plane:
        """Where rows of pages are in the sheet, of planes of one size or half of it (`share` 1 or 2)."""
        height, guard = self.extent[1] // share, GUARD // share
        inside = np.clip(y, np.float32(1 - guard), np.float32(height + guard - 2))
        return inside + page * np.float32(height + 2 * guard) + np.float32(guard)


def make_sheet(layers: Sequence[Layer]) -> Sheet:
    """Layers, ready to be looked up."""
    height, width = layers[0].pixels_HWC.shape[:2]
    stride = height + 2 * GUARD
    luma = np.empty((len(layers) * stride, width), np.uint8)
    u, v = (np.empty((len(layers) * stride // 2, width // 2), np.uint8) for _ in range(2))

    def page(number: int) -> Page:
        whole, half = (_rows(number * stride, height, share) for share in (1, 2))
        return _page(layers[number], Frame(luma[whole], u[half], v[half]))

    with ThreadPoolExecutor(2) as pool:
        pages = tuple(pool.map(page, range(len(layers))))
    for plane, share in ((luma, 1), (u, 2), (v, 2)):
        for number in range(len(layers)):
            _guard(plane, _rows(number * stride, height, share), GUARD // share)
    return Sheet(Frame(luma, u, v), pages)


def _rows(top: int, height: int, share: int) -> slice:
    """Rows of a page whose guard begins at `top`."""
    return slice((top + GUARD) // share, (top + GUARD + height) // share)


def _guard(plane: Pixels, rows: slice, guard: int) -> None:
    plane[rows.start - guard : rows.start] = plane[rows.start]
    plane[rows.stop : rows.stop + guard] = plane[rows.stop - 1]


def _page(layer: Layer, into: Frame) -> Page:
    to_planes(layer.pixels_HWC, into)
    if layer.alpha is None:
        return Page(into, layer.relief)
    alpha = layer.alpha
    half: Pixels = cv2.resize(alpha, into.u.shape[::-1], interpolation=cv2.INTER_AREA)
    for plane, share in ((into.y, alpha), (into.u, half), (into.v, half)):
        cv2.multiply(plane, share, plane, scale=1 / 255)
    open_ = _cells_with(cv2.bitwise_not(alpha), layer.relief)
    return Page(into, layer.relief, Cover(alpha, half, _cells_with(alpha, layer.relief), cv2.bitwise_not(open_)))


def _cells_with(amount: Pixels, relief: Plane) -> Pixels:
    """255 in every cell of a relief that holds any of an amount, or is close to where there is any."""
    reach = max(1, round(_MARGIN * max(amount.shape[0] / relief.shape[0], amount.shape[1] / relief.shape[1])))
    around = cv2.dilate(amount, np.ones((2 * reach + 1,) * 2, np.uint8))
    share = cv2.resize((around > 0).astype(np.float32), relief.shape[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray((share > 0) * np.uint8(255), np.uint8)


def to_planes(pixels_HWC: Pixels, into: Frame) -> None:
    """Luma, and both of chroma at half the size, of an RGB picture with even sides."""
    cv2.transform(pixels_HWC, _TO_YUV[:1], into.y)
    half = cv2.resize(pixels_HWC, into.u.shape[::-1], interpolation=cv2.INTER_AREA)
    cv2.split(cv2.transform(half, _TO_YUV[1:]), [into.u, into.v])
