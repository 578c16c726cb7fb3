"""One decoded frame as a small copy: upright, square pixels, with what only the full size tells measured at once.

    frame ─ Scaler ─┬─▶ Sample: luma and chroma, sharpness, lit rows and columns
                    └─▶ a grey picture, for bursts
          ─ glance ─▶ a few hundred pixels, for telling a changed picture from the same one

Which frames are copied is decided in `samples`. Start at `Scaler.sample`.
"""

from __future__ import annotations

from dataclasses import dataclass

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

from malan.core import Track
from malan.media.bright import brightness_of, small_in_range
from malan.media.picture import matrix

LONG_SIDE_PX = 320  # of a sample
BURST_SIDE_PX = 160
_SIGNATURE = (14, 24)  # rows, columns
_TILE = 64  # side of the full-size patches in which sharpness is measured
_DARK = 34  # luma code (8 bit, studio range) below which a pixel counts as unlit

_U8 = NDArray[np.uint8]
_U16 = NDArray[np.uint16]


@dataclass(frozen=True)
class Sample:
    """One frame, small. Luma and chroma are full-range BT.601, upright, square pixels, HDR as usual screens show it."""

    number: int
    time_s: float
    luma_HW: _U8
    u_HW: _U8  # half the size of luma, rounded up
    v_HW: _U8
    blur: float  # 0 sharp to 1 blurred, at full size; nan where the picture has no structure
    lit_rows: NDArray[np.float32]  # share of lit pixels in each row of the full-size upright picture
    lit_columns: NDArray[np.float32]
    is_damaged: bool = False

    @property
    def rgb_HWC(self) -> _U8:
        """The sample as uint8 RGB."""
        return yuv_to_rgb(self.luma_HW, self.u_HW, self.v_HW)


@dataclass(frozen=True)
class Shape:
    """How a stored picture becomes an upright one with square pixels."""

    sample_size: tuple[int, int]  # width, height as stored, before turning
    burst_size: tuple[int, int]
    quarter_turns: int  # counter-clockwise, as np.rot90 counts

    @classmethod
    def of(cls, track: Track) -> Shape:
        width = max(1.0, (track.width_px or 16) * float(track.sample_aspect or 1))
        height = float(max(1, track.height_px or 16))
        turns = -((track.rotation_deg or 0) // 90) % 4
        return cls(_fit(width, height, LONG_SIDE_PX), _fit(width, height, BURST_SIDE_PX), turns)


def _fit(width: float, height: float, side_px: int) -> tuple[int, int]:
    """Even sides, the long one `side_px` or less, none below 16."""
    scale = min(1.0, side_px / max(width, height))
    even = [max(16, 2 * round(length * scale / 2)) for length in (width, height)]
    return even[0], even[1]


class Scaler:
    """Makes samples and grey pictures of frames, upright."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._colour, self._grey = VideoReformatter(), VideoReformatter()

    def sample(self, frame: av.VideoFrame, number: int, time_s: float) -> Sample:
        turns = self._shape.quarter_turns
        small = self._planes(frame)
        luma, u, v = (np.ascontiguousarray(np.rot90(one, turns)) for one in small)
        full = _luma_in_place(frame)
        full = small[0] if full is None else full
        rows, columns = _lit(full, _dark_code(frame, full))
        return Sample(
            number,
            time_s,
            luma,
            u,
            v,
            _blur(full),
            *_turned_profile(rows, columns, turns),
            is_damaged=bool(frame.is_corrupt),
        )

    def _planes(self, frame: av.VideoFrame) -> tuple[_U8, _U8, _U8]:
        """Luma and chroma of the small picture, as stored; HDR as usual screens show it."""
        if brightness_of(frame):
            return rgb_to_yuv(small_in_range(self._colour, frame, self._shape.sample_size))
        small = self._scaled(self._colour, frame, self._shape.sample_size, "yuv420p")
        return plane(small, 0), plane(small, 1), plane(small, 2)

    def grey(self, frame: av.VideoFrame) -> _U8:
        small = self._scaled(self._grey, frame, self._shape.burst_size, "gray")
        return np.ascontiguousarray(np.rot90(plane(small, 0), self._shape.quarter_turns))

    @staticmethod
    def _scaled(
        scaler: VideoReformatter, frame: av.VideoFrame, size: tuple[int, int], pixel_format: str
    ) -> av.VideoFrame:
        return scaler.reformat(
            frame,
            width=size[0],
            height=size[1],
            format=pixel_format,
            src_colorspace=matrix(frame),
            dst_colorspace=Colorspace.ITU601,
            interpolation=Interpolation.AREA,
            src_color_range=_colour_range(frame),
            dst_color_range=ColorRange.JPEG,
            threads=1,
        )


def plane(frame: av.VideoFrame, number: int) -> _U8:
    """A plane of a frame of one byte a value as an array (H, W); reads in place, copies nothing."""
    part = frame.planes[number]
    values: _U8 = np.frombuffer(memoryview(part), np.uint8)
    return values.reshape(-1, part.line_size)[: part.height, : part.width]


def glance(frame: av.VideoFrame) -> NDArray[np.int16]:
    """A few hundred pixels of luma, enough to see that a picture became another one."""
    full = _luma_in_place(frame)
    if full is None:
        full = plane(frame.reformat(width=_SIGNATURE[1] * 2, height=_SIGNATURE[0] * 2, format="gray"), 0)
    rows, columns = (
        np.linspace(0, length - 1, n).astype(int) for length, n in zip(full.shape, _SIGNATURE, strict=True)
    )
    picked = full[rows[:, None], columns]
    return np.asarray(picked >> (8 * (picked.itemsize - 1)), np.int16)


def yuv_to_rgb(luma_HW: _U8, u_HW: _U8, v_HW: _U8) -> _U8:
    """Full-range BT.601 planes, chroma at half size, to uint8 RGB (H, W, 3)."""
    height, width = luma_HW.shape
    y = luma_HW.astype(np.float32)
    u, v = (np.repeat(np.repeat(c, 2, 0), 2, 1)[:height, :width].astype(np.float32) - 128 for c in (u_HW, v_HW))
    rgb = np.stack([y + 1.402 * v, y - 0.344136 * u - 0.714136 * v, y + 1.772 * u], axis=-1)
    return np.clip(rgb + 0.5, 0, 255).astype(np.uint8)


def rgb_to_yuv(rgb_HWC: _U8) -> tuple[_U8, _U8, _U8]:
    """Full-range BT.601 planes, chroma at half size, of uint8 RGB with even sides: the inverse of `yuv_to_rgb`."""
    height, width = rgb_HWC.shape[:2]
    red, green, blue = (rgb_HWC[..., n].astype(np.float32) for n in range(3))
    y = 0.299 * red + 0.587 * green + 0.114 * blue
    chroma = ((blue - y) / 1.772, (red - y) / 1.402)
    u, v = (c.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3)) + 128 for c in chroma)
    y, u, v = (np.clip(one + 0.5, 0, 255).astype(np.uint8) for one in (y, u, v))
    return y, u, v


def _colour_range(frame: av.VideoFrame) -> ColorRange:
    """The range of the values of a frame; YUV without a tag is studio range, as players take it."""
    if frame.format.is_rgb or frame.format.name.startswith(("yuvj", "pal", "mono")) or frame.color_range == 2:
        return ColorRange.JPEG
    return ColorRange.MPEG


def _luma_in_place(frame: av.VideoFrame) -> NDArray[np.uint8] | NDArray[np.uint16] | None:
    """The full-size luma plane, or None where a frame has none (RGB, palettes, packed formats).

    Values of more than eight bits are shifted up to sixteen so that the high byte is the 8-bit code.
    """
    name = frame.format.name
    if not name.startswith(("yuv", "gray", "nv12", "nv16", "p010")) or name in ("yuyv422", "yuv444p16be"):
        return None
    bits = frame.format.components[0].bits
    if bits == 8:
        return plane(frame, 0)
    if not name.endswith("le"):
        return None
    part = frame.planes[0]
    values: _U16 = np.frombuffer(memoryview(part), np.uint16)
    wide = values.reshape(-1, part.line_size // 2)[: part.height, : part.width]
    return wide if name.startswith("p0") else np.left_shift(wide, np.uint16(16 - bits))


def _dark_code(frame: av.VideoFrame, full: NDArray[np.uint8] | NDArray[np.uint16]) -> int:
    code = _DARK - 16 if _colour_range(frame) == ColorRange.JPEG else _DARK
    return code << (8 * (full.itemsize - 1))


def _lit(full: NDArray[np.uint8] | NDArray[np.uint16], dark: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Share of lit pixels in each row and each column, from about 120 pixels of each."""
    height, width = full.shape
    rows = (full[:, :: max(1, width // 120)] > dark).mean(axis=1, dtype=np.float32)
    columns = (full[:: max(1, height // 120)] > dark).mean(axis=0, dtype=np.float32)
    return rows, columns


def _turned_profile(
    rows: NDArray[np.float32], columns: NDArray[np.float32], turns: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The profiles of a picture after `turns` quarter turns counter-clockwise."""
    for _ in range(turns):
        rows, columns = columns[::-1], rows
    return rows, columns


def _blur(full: NDArray[np.uint8] | NDArray[np.uint16]) -> float:
    """How much of the fine structure survives another blur (after Crete et al. 2007): 0 sharp, 1 blurred.

    Measured in up to twelve patches at full size, each weighted by its structure; nan without structure.
    """
    if min(full.shape) < 24:
        return float("nan")
    tiles = _tiles(full)
    fine = blurred = 0.0
    for axis in (1, 2):
        sharp = np.abs(np.diff(tiles, axis=axis))
        soft = np.abs(np.diff(_box(tiles, axis), axis=axis))
        sharp = np.take(sharp, range(4, sharp.shape[axis] - 4), axis=axis)
        fine += float(sharp.sum())
        blurred += float(np.minimum(sharp, soft).sum())
    if fine < 0.35 * tiles.size:  # less than a code value of change every few pixels: a flat picture
        return float("nan")
    return blurred / fine


def _tiles(full: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.float32]:
    height, width = full.shape
    side = min(_TILE, height, width)
    tops = np.linspace(height * 0.15, height * 0.85 - side, 3).clip(0, height - side).astype(int)
    lefts = np.linspace(width * 0.1, width * 0.9 - side, 4).clip(0, width - side).astype(int)
    tiles = np.stack([full[top : top + side, left : left + side] for top in tops for left in lefts])
    return np.asarray(tiles // 256 ** (full.itemsize - 1), np.float32)


def _box(tiles: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Mean of nine neighbours along an axis, only where all nine exist."""
    total = np.cumsum(tiles, axis=axis)
    ahead, behind = (np.take(total, r, axis=axis) for r in (range(8, tiles.shape[axis]), range(tiles.shape[axis] - 9)))
    first = np.take(ahead, [0], axis=axis)
    rest = np.take(ahead, range(1, ahead.shape[axis]), axis=axis) - behind
    return np.asarray(np.concatenate([first, rest], axis=axis) / 9, np.float32)
