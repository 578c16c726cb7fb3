"""Lay a label over decoded frames, plane by plane, in the pixels they are stored in.

No frame goes through RGB: outside the plate not one sample changes. Turned and squeezed pictures get a turned and
squeezed label, so that it stands upright where it is shown. Start at `Stamp`.
"""

from __future__ import annotations

from dataclasses import replace

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from malan.media.explicit.overlay import Overlay
from malan.media.picture import Shape

_FULL_RANGE = 2
WHITE = {16: 0.58, 18: 0.75}  # graphics white in PQ and HLG (ITU-R BT.2408, 203 cd/m²), as a share of the signal
_FORMATS = {f"yuv{j}{kind}p{bits}" for kind in ("420", "422", "444") for j, bits in (("", ""), ("j", ""), ("", "10le"))}


def can_stamp(pixel_format: str | None) -> bool:
    """Whether frames of a pixel format are drawn on as they are."""
    return pixel_format in _FORMATS


class Stamp:
    """A label fitted to the stored pixels of one track.

    Args:
        overlay: Made for pictures of `shown_px`.
        shape: How the pixels are stored: turned, squeezed.
        shown_px: Width and height the picture is shown at.
    """

    def __init__(self, overlay: Overlay, shape: Shape, shown_px: tuple[int, int]) -> None:
        ink, plate = (_stored(part, overlay, shape, shown_px) for part in (overlay.ink_HW, overlay.plate_HW))
        rows, columns = np.flatnonzero(plate.any(axis=1)), np.flatnonzero(plate.any(axis=0))
        self._top, self._left = int(rows[0]) & ~1, int(columns[0]) & ~1
        area = np.s_[self._top : (int(rows[-1]) + 2) & ~1, self._left : (int(columns[-1]) + 2) & ~1]
        self._ink, self._plate = ink[area], plate[area]

    def fitted(self, overlay: Overlay) -> Overlay:
        """The label as it lies in the stored pixels, for a renderer that draws there."""
        ink, plate = (np.round(part * 255).astype(np.uint8) for part in (self._ink, self._plate))
        return replace(overlay, x=self._left, y=self._top, ink_HW=ink, plate_HW=plate)

    def put(self, frame: av.VideoFrame) -> None:
        """Draw on a frame. Its buffer is copied first where the decoder still refers to it."""
        frame.make_writable()
        full = int(frame.color_range) == _FULL_RANGE or frame.format.name.startswith("yuvj")
        bits = frame.format.components[0].bits
        black, white, middle = _levels(bits, full, int(frame.color_trc))
        shown = 1 - (1 - self._ink) * (1 - self._plate)
        luma = black + (white - black) * self._ink / np.maximum(shown, 1e-6)
        for number, plane in enumerate(frame.planes):
            samples = np.frombuffer(plane, np.uint8 if bits == 8 else np.dtype("<u2"))  # type: ignore[call-overload]
            samples = samples.reshape(plane.height, -1)[:, : plane.width]
            across, down = frame.width // plane.width, frame.height // plane.height
            cover = _reduced(shown, across, down)
            level = luma if number == 0 else np.full_like(cover, middle)
            top, left = self._top // down, self._left // across
            area = samples[top : top + cover.shape[0], left : left + cover.shape[1]]
            cover, level = cover[: area.shape[0], : area.shape[1]], level[: area.shape[0], : area.shape[1]]
            area[...] = np.round(area * (1 - cover) + level * cover)

    def contrast(self, frame: av.VideoFrame) -> float:
        """How much brighter the ink is than the plate around it, as a share of the range: what was really drawn."""
        bits, plane = frame.format.components[0].bits, frame.planes[0]
        samples = np.frombuffer(plane, np.uint8 if bits == 8 else np.dtype("<u2"))  # type: ignore[call-overload]
        samples = samples.reshape(plane.height, -1)[self._top :, self._left :]
        height, width = min(self._ink.shape[0], samples.shape[0]), min(self._ink.shape[1], samples.shape[1])
        ink, plate, area = self._ink[:height, :width], self._plate[:height, :width], samples[:height, :width]
        ground = area[(plate > 0.5) & (ink < 0.02)]
        return float(area[ink > 0.95].mean() - ground.mean()) / (1 << bits)


def _stored(part: NDArray[np.uint8], overlay: Overlay, shape: Shape, shown_px: tuple[int, int]) -> NDArray[np.float32]:
    """Coverage from 0 to 1 over the whole stored picture."""
    width, height = shown_px
    canvas = np.zeros((height, width), np.uint8)
    canvas[overlay.y : overlay.y + overlay.height_px, overlay.x : overlay.x + overlay.width_px] = part
    turned = np.ascontiguousarray(np.rot90(canvas, shape.turn_deg // 90))
    if turned.shape != (shape.height_px, shape.width_px):
        size = (shape.width_px, shape.height_px)
        turned = np.asarray(Image.fromarray(turned).resize(size, Image.Resampling.BOX))
    padded = np.pad(turned, ((0, turned.shape[0] % 2), (0, turned.shape[1] % 2)))
    covered: NDArray[np.float32] = padded.astype(np.float32) / np.float32(255)
    return covered


def _levels(bits: int, full: bool, transfer: int) -> tuple[float, float, float]:
    """Black, white and no colour, in code values (ITU-R BT.709, 3.4)."""
    scale, most = float(1 << (bits - 8)), float((1 << bits) - 1)
    black, white = (0.0, most) if full else (16 * scale, 235 * scale)
    return black, black + (white - black) * WHITE.get(transfer, 1.0), 128 * scale


def _reduced(cover: NDArray[np.float32], across: int, down: int) -> NDArray[np.float32]:
    height, width = cover.shape
    smaller: NDArray[np.float32] = cover.reshape(height // down, down, width // across, across).mean(axis=(1, 3))
    return smaller
