"""Decoded frames as RGB arrays: size, colour matrix, rotation and pixel shape in one place.

Suffix letters of arrays: T time, H height, W width, C colour (red, green, blue). Start at `Painter`.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

from malan.media.bright import brightness_of, small_in_range

Size = int | tuple[int, int] | None

_UNSPECIFIED = 2  # ISO/IEC 23091-2, matrix coefficients
_HD_LINES = 720  # an untagged picture of so many lines is BT.709, as players assume


@dataclass(frozen=True)
class Shape:
    """What pictures of a track look like: stored size, clockwise turn (0, 90, 180, 270) and pixel shape."""

    width_px: int
    height_px: int
    turn_deg: int = 0
    sample_aspect: Fraction = Fraction(1)

    def shown(self, size: Size) -> tuple[int, int]:
        """Width and height of the picture a caller gets.

        `size` is None (as stored, squeezed pixels widened), a number (the short side) or the width and height.
        """
        if isinstance(size, tuple):
            return size
        width, height = max(1, round(self.width_px * self.sample_aspect)), self.height_px
        if self.turn_deg in (90, 270):
            width, height = height, width
        if size is None:
            return width, height
        scale = Fraction(size, min(width, height))
        return max(1, round(width * scale)), max(1, round(height * scale))


class Painter:
    """Paints frames of one track as RGB arrays of one size. Not safe between threads.

    The matrix is the one the stream names; an unnamed one is BT.709 from 720 lines up, else BT.601.
    Bilinear, wide enough not to alias when shrinking.

    Args:
        in_range: Show HDR as usual screens can (for people to look at); else its values come as they are coded.
    """

    def __init__(self, shape: Shape, size: Size = None, *, in_range: bool = False) -> None:
        self.width_px, self.height_px = shape.shown(size)
        self._in_range = in_range
        self._turns = shape.turn_deg // 90
        self._reformatter = VideoReformatter()

    def paint(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        """The frame as uint8 RGB (H, W, C), 0–255."""
        width, height = self.width_px, self.height_px
        if self._turns % 2:
            width, height = height, width
        if self._in_range and brightness_of(frame):
            toned_HWC = small_in_range(self._reformatter, frame, (width, height))
            return np.rot90(toned_HWC, -self._turns) if self._turns else toned_HWC
        scaled = self._reformatter.reformat(
            frame, width, height, "rgb24", src_colorspace=matrix(frame), interpolation=Interpolation.BILINEAR, threads=1
        )
        plane = scaled.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(height, plane.line_size)
        picture_HWC = rows[:, : width * 3].reshape(height, width, 3)
        return np.rot90(picture_HWC, -self._turns) if self._turns else picture_HWC


def matrix(frame: av.VideoFrame) -> Colorspace | None:
    """The colour matrix to assume for a frame; None leaves the one its stream names."""
    if int(frame.colorspace) != _UNSPECIFIED or frame.format.is_rgb:
        return None
    return Colorspace.ITU709 if frame.height >= _HD_LINES else Colorspace.ITU601


def clockwise(frame: av.VideoFrame) -> int:
    """How far a frame must be turned clockwise to stand upright: 0, 90, 180 or 270."""
    return -round(frame.rotation / 90) % 4 * 90
