"""Looking at the luma of decoded frames in place: no colour conversion, no scaling, only strides.

`View` knows how the frames of one film are turned and thinned out. "Small" coordinates are those of the thinned,
upright picture; one small pixel stands for `step` by `step` pixels as shown before the sample aspect is applied.
"""

from __future__ import annotations

from dataclasses import dataclass

import av
import numpy as np
from numpy.typing import NDArray

from malan.media.picture import clockwise

Luma = NDArray[np.uint8]  # (H, W), 0-255
Mask = NDArray[np.bool_]  # (H, W)
Plane = NDArray[np.uint8] | NDArray[np.uint16]
Box = tuple[int, int, int, int]  # x0, y0, x1, y1, ends excluded

SMALL_SIDE_PX = 340  # the short side of a small picture has at least so many pixels, where the film has them


@dataclass(frozen=True)
class View:
    """How to look at the frames of one film."""

    step: int

    @classmethod
    def of(cls, width_px: int, height_px: int) -> View:
        return cls(max(1, min(width_px, height_px) // SMALL_SIDE_PX))

    def small(self, frame: av.VideoFrame) -> Luma:
        """The whole picture, every `step`-th pixel of every `step`-th row."""
        return _eight_bits(_plane(frame)[:: self.step, :: self.step], frame)

    def small_part(self, frame: av.VideoFrame, box: Box) -> Luma:
        """A part of the small picture, without making the rest."""
        x0, y0, x1, y1 = (edge * self.step for edge in box)
        return _eight_bits(_plane(frame)[y0 : y1 : self.step, x0 : x1 : self.step], frame)

    def part(self, frame: av.VideoFrame, box: Box) -> Luma:
        """A part of the picture at full size; `box` in small coordinates."""
        x0, y0, x1, y1 = (edge * self.step for edge in box)
        return _eight_bits(_plane(frame)[y0:y1, x0:x1], frame)


def differs(one: Luma, other: Luma, limit: int) -> Mask:
    """Whether pixels differ by more than `limit` (below 127). Bytes wrap around, on purpose: one comparison does it."""
    wrapped = one - other
    wrapped += np.uint8(limit)
    return wrapped > np.uint8(2 * limit)


def _plane(frame: av.VideoFrame) -> Plane:
    """The luma plane, upright; a view of the decoder's memory, valid as long as the frame lives."""
    if not _has_luma_plane(frame):
        frame = frame.reformat(format="gray")
    plane = frame.planes[0]
    deep = frame.format.components[0].bits > 8
    memory = memoryview(plane)
    rows: Plane = np.frombuffer(memory, "<u2") if deep else np.frombuffer(memory, np.uint8)
    upright = rows.reshape(plane.height, -1)[:, : plane.width]
    turn = clockwise(frame) // 90
    return np.rot90(upright, -turn) if turn else upright


def _has_luma_plane(frame: av.VideoFrame) -> bool:
    shape = frame.format
    return shape.name.startswith(("yuv4", "yuvj4", "gray", "nv", "p0")) and not shape.name.endswith("be")


def _eight_bits(part: Plane, frame: av.VideoFrame) -> Luma:
    """A contiguous copy of a part, scaled to 8 bits."""
    if part.dtype == np.uint8:
        return np.ascontiguousarray(part, np.uint8)
    stored = 16 if frame.format.name.startswith("p0") else frame.format.components[0].bits
    return (part >> (stored - 8)).astype(np.uint8)
