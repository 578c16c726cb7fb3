"""Frames in memory as a film: H.264 in MP4, exact to the frame, cropped and scaled to the size asked for.

Suffix letters of arrays: T time, H height, W width, C colour. Start at `write_film`.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from numpy.typing import NDArray

from malan.core.errors import StoreError, UsageError
from malan.media.sniff import shown

_X264 = "threads=2:lookahead-threads=1:sync-lookahead=0"  # the same bytes each time
_OPTIONS = {"preset": "veryfast", "crf": "18", "threads": "2", "x264-params": _X264}
_RATES = 1001 * 240


def write_film(
    frames_THWC: NDArray[np.uint8], rate: float | Fraction, out: str | Path, *, size: tuple[int, int] | None = None
) -> None:
    """Write RGB frames as a film without sound; the same frames give the same bytes.

    Args:
        frames_THWC: uint8, RGB.
        rate: Frames a second.
        out: The file; a part of one is never left.
        size: Width and height in pixels, even; the middle of the frames fills it. None: as they are, made even.

    Raises:
        UsageError: No frames, or of an impossible size.
        StoreError: It could not be written.
    """
    if frames_THWC.ndim != 4 or frames_THWC.shape[-1] != 3 or not frames_THWC.size:
        raise UsageError("film.no_frames", shape=str(frames_THWC.shape)[:60])
    height, width = frames_THWC.shape[1:3]
    size = size or (width - width % 2, height - height % 2)
    if min(size) < 2 or size[0] % 2 or size[1] % 2 or max(size) > 8192:
        raise UsageError("film.no_frames", shape=str(size))
    top, left, high, wide = _middle(height, width, size)
    try:
        shown_THWC = frames_THWC[:, top : top + high, left : left + wide]
        _write(shown_THWC, Fraction(rate).limit_denominator(_RATES), out, size)
    except (OSError, av.FFmpegError) as error:
        Path(out).unlink(missing_ok=True)
        raise StoreError("cutting.not_written", path=shown(out), detail=error.strerror or str(error)) from error


def _write(frames_THWC: NDArray[np.uint8], rate: Fraction, out: str | Path, size: tuple[int, int]) -> None:
    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with av.open(str(out), "w", format="mp4", options=options) as film:
        stream = film.add_stream("libx264", rate=rate, options=_OPTIONS)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.time_base = 1 / rate
        context = stream.codec_context
        context.color_primaries = context.color_trc = 1  # BT.709
        context.colorspace, context.color_range = Colorspace.ITU709.value, ColorRange.MPEG.value
        for number, frame_HWC in enumerate(frames_THWC):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame_HWC), format="rgb24").reformat(
                width=size[0], height=size[1], format="yuv420p", dst_colorspace=Colorspace.ITU709,
                dst_color_range=ColorRange.MPEG, interpolation=Interpolation.LANCZOS,
            )  # fmt: skip
            frame.pts, frame.time_base = number, 1 / rate
            film.mux(stream.encode(frame))
        film.mux(stream.encode(None))


def _middle(height: int, width: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Top, left, height and width of the largest part in the middle with the aspect of the size."""
    wide = min(width, round(height * size[0] / size[1]))
    high = min(height, round(width * size[1] / size[0]))
    return (height - high) // 2, (width - wide) // 2, max(1, high), max(1, wide)
