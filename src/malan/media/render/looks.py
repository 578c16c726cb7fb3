"""Small pictures along a stretch of a film, for judging what is in it: quick, and exact in time, not in detail.

Only frames that others build upon are decoded, without smoothing their block edges: at a hundred lines nobody sees the
difference, and it takes less than half the time. Suffix letters of arrays: T time, H height, W width, C colour.
Start at `look_along`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from malan.core.errors import MediaError
from malan.media.open import open_media
from malan.media.picture import Painter, Shape, clockwise

_SIMPLE = {"skip_loop_filter": "all", "flags2": "+fast"}


@dataclass(frozen=True)
class Looks:
    """What was seen, and when: seconds from the beginning of the stretch, rising."""

    pictures: tuple[NDArray[np.uint8], ...]  # HWC, RGB, all of one size, upright
    times_s: tuple[float, ...]


def look_along(path: str, track: int, start: Fraction, length_s: float, *, a_second: float, lines: int) -> Looks:
    """Look at a stretch so many times a second, and at its beginning and end.

    Args:
        path: The file.
        track: Stream index.
        start: Where the stretch begins, seconds of the file's clock.
        a_second: Looks a second; fewer where the film has fewer frames that can be seen by themselves.
        lines: Height of the pictures.

    Raises:
        MediaError: Nothing can be decoded there.
    """
    count = max(2, round(length_s * a_second) + 1)
    wished = [length_s * place / (count - 1) for place in range(count)]
    found: list[tuple[float, NDArray[np.uint8]]] = []
    painter: Painter | None = None
    for at, frame in _nearest(_frames(path, track, start, length_s), wished):
        if painter is None:
            shape = Shape(frame.width, frame.height, clockwise(frame), _pixel_shape(frame))
            width, height = shape.shown(None)
            painter = Painter(shape, (max(1, round(width * lines / height)), lines))
        found.append((at, painter.paint(frame).copy()))
    if not found:
        raise MediaError("render.nothing_seen", at=f"{float(start):.2f}")
    return Looks(tuple(picture for _, picture in found), tuple(min(max(at, 0.0), length_s) for at, _ in found))


def _pixel_shape(frame: av.VideoFrame) -> Fraction:
    shape: Any = getattr(frame, "sample_aspect_ratio", None)
    return Fraction(shape) if shape else Fraction(1)


def _frames(path: str, track: int, start: Fraction, length_s: float) -> Iterator[tuple[float, av.VideoFrame]]:
    """Frames from a little before the stretch to a little after it, in the order they are shown."""
    with open_media(path) as container:
        stream: Any = container.streams[track]
        context = stream.codec_context
        context.options = {**context.options, **_SIMPLE}
        context.thread_type, context.thread_count, context.skip_frame = "SLICE", 1, "NONREF"
        base = stream.time_base
        container.seek(max(0, int(start / base)), stream=stream)
        try:
            for frame in container.decode(stream):
                if frame.pts is None:
                    continue
                at = float(frame.pts * base - start)
                yield at, frame
                if at > length_s:
                    return
        except av.FFmpegError:  # what was seen before stands
            return


def _nearest(
    frames: Iterator[tuple[float, av.VideoFrame]], wished: Sequence[float]
) -> Iterator[tuple[float, av.VideoFrame]]:
    """For each wished moment the frame nearest to it, each frame once."""
    waiting, before, told = list(wished), None, None
    for at, frame in frames:
        while waiting and at >= waiting[0]:
            nearer = before if before and waiting[0] - before[0] < at - waiting[0] else (at, frame)
            waiting.pop(0)
            if told is None or nearer[0] > told:
                told = nearer[0]
                yield nearer
        before = (at, frame)
    if waiting and before and (told is None or before[0] > told):
        yield before
