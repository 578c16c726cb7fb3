"""Captions as SubRip text, with times from the exact ticks of their frames."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from malan.curation.captions.records import Caption
from malan.media.index import PacketIndex


def to_srt(captions: Iterable[Caption], index: PacketIndex) -> str:
    """SubRip of the captions, to be written as UTF-8. Times count from the first frame, as players show them."""
    start = int(index.frame_pts[0]) if index.frame_count else 0
    blocks = []
    for number, caption in enumerate(captions, 1):
        span = index.span(caption.first_frame, caption.end_frame)
        times = [_srt_time((ticks - start) * index.timebase) for ticks in (span.start, span.end)]
        blocks.append(f"{number}\n{times[0]} --> {times[1]}\n{caption.text}\n")
    return "\n".join(blocks)


def _srt_time(seconds: Fraction) -> str:
    millis = round(seconds * 1000)
    minutes, millis = divmod(millis, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{millis // 1000:02d},{millis % 1000:03d}"
