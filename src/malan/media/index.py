"""The packet index: time, size, key flag and position of every packet of a video track, from one demux pass.

Everything fast in Malan stands on it: shots, sampling, reading, cutting. It decodes nothing. Start at `build_index`.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

from malan.core import Span
from malan.media.open import open_media, read_only, read_packets, video_stream

KEY = 1  # a decoder may start here
DISPOSABLE = 2  # no other frame needs it
DISCARD = 4  # decoded but never shown (edit lists, pre-roll)
CORRUPT = 8  # the container says so


@dataclass(frozen=True)
class PacketIndex:
    """The packets of one video track, arrays of equal length in file (decode) order.

    Frame numbers count shown frames from 0 in presentation order. Times are ticks of `timebase`.
    """

    timebase: Fraction
    pts: NDArray[np.int64]
    dts: NDArray[np.int64]
    size_bytes: NDArray[np.int32]
    position: NDArray[np.int64]  # byte offset in the file, -1 where the container does not tell
    flags: NDArray[np.uint8]
    end_ticks: int  # end of the last shown frame

    @property
    def packet_count(self) -> int:
        return len(self.pts)

    @cached_property
    def shown(self) -> NDArray[np.int64]:
        """Packet number of each shown frame: `shown[frame] -> packet`, presentation order."""
        packets = np.flatnonzero((self.flags & DISCARD) == 0)
        return packets[np.argsort(self.pts[packets], kind="stable")]

    @cached_property
    def frame_of_packet(self) -> NDArray[np.int64]:
        """Frame number of each packet; -1 for what is never shown."""
        frames = np.full(self.packet_count, -1, np.int64)
        frames[self.shown] = np.arange(len(self.shown))
        return frames

    @property
    def frame_count(self) -> int:
        return len(self.shown)

    @cached_property
    def frame_pts(self) -> NDArray[np.int64]:
        """Start of each shown frame in ticks, not falling."""
        return self.pts[self.shown]

    @cached_property
    def key_frames(self) -> NDArray[np.int64]:
        """Frame numbers of shown key frames, rising."""
        return np.flatnonzero(self.flags[self.shown] & KEY)

    def frame_at(self, ticks: int) -> int:
        """Number of the frame shown at a time; clamped to the first and last frame."""
        return int(np.clip(np.searchsorted(self.frame_pts, ticks, side="right") - 1, 0, self.frame_count - 1))

    def span(self, first: int, end: int) -> Span:
        """The exact span of the frames `first` to `end`, `end` excluded."""
        stop = self.end_ticks if end >= self.frame_count else int(self.frame_pts[end])
        return Span(int(self.frame_pts[first]), max(stop, int(self.frame_pts[first])), self.timebase)


def build_index(path: str | Path, track: int | None = None) -> PacketIndex:
    """Read the packet index of a file's video track (the first one unless `track` names another stream).

    One demux pass; decodes nothing. A missing presentation time is filled from the decode time.

    Raises:
        MediaError: The file cannot be opened or has no such video track.
    """
    with open_media(path) as container:
        stream = video_stream(container, track, path)
        read_only(container, stream)
        rows = [_row(packet) for packet in read_packets(container, stream)]
        return _from_rows(rows, stream.time_base or Fraction(1), int(stream.duration or 0))


def _row(packet: av.Packet[VideoStream]) -> tuple[int | None, int | None, int, int, int]:
    flags = (
        KEY * packet.is_keyframe
        | DISPOSABLE * packet.is_disposable
        | DISCARD * packet.is_discard
        | CORRUPT * packet.is_corrupt
    )
    return packet.pts, packet.dts, packet.size, -1 if packet.pos is None else packet.pos, flags


def _from_rows(
    rows: list[tuple[int | None, int | None, int, int, int]], timebase: Fraction, duration: int
) -> PacketIndex:
    dts = np.array([d if d is not None else p or 0 for p, d, *_ in rows], np.int64)
    pts = np.array([p if p is not None else int(d) for (p, *_), d in zip(rows, dts, strict=True)], np.int64)
    step = int(np.median(np.diff(np.sort(pts)))) if len(pts) > 1 else duration
    return PacketIndex(
        timebase=timebase,
        pts=pts,
        dts=dts,
        size_bytes=np.array([r[2] for r in rows], np.int32),
        position=np.array([r[3] for r in rows], np.int64),
        flags=np.array([r[4] for r in rows], np.uint8),
        end_ticks=(int(pts.max()) if len(pts) else 0) + max(step, 1),
    )
