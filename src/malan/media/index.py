"""The packet index: time, size, key flag and position of every packet of a video track, from one demux pass.

Everything fast in Malan stands on it: shots, sampling, reading, cutting. It decodes nothing. Start at `build_index`.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

from malan.core import Span
from malan.core.errors import MediaError
from malan.media.packed import pack, unpack
from malan.media.sniff import shown

KEY = 1  # a decoder may start here
DISPOSABLE = 2  # no other frame needs it
DISCARD = 4  # decoded but never shown (edit lists, pre-roll)
CORRUPT = 8  # the container says so
UNDECODABLE = 16  # gives no picture of its own: it needs what lies before the start of the file
SECOND_FIELD = 32  # gives no picture of its own: it completes the frame of the packet before

MAX_PACKETS = 10_000_000  # 46 hours at 60 frames a second

_HIDDEN = DISCARD | UNDECODABLE | SECOND_FIELD
_NO_TIME = -(2**63)
_REORDERED = 17
_FAR = 2**60  # times beyond are damage; sums of two still fit


@dataclass(frozen=True)
class PacketIndex:
    """The packets of one video track, arrays of equal length in file (decode) order.

    Frame numbers count shown frames from 0 in presentation order. Times are ticks of `timebase`. Where the file's
    clock falls back, `pts` runs on; `dts` is always as the container has it.
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
        packets = np.flatnonzero((self.flags & _HIDDEN) == 0)
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

    def end_of(self, packet: int) -> int:
        """One past the last packet of the frame that begins with a packet: two further on where fields are apart."""
        pair = packet + 1 < self.packet_count and self.flags[packet + 1] & SECOND_FIELD
        return packet + (2 if pair else 1)

    def frame_at(self, ticks: int) -> int:
        """Number of the frame shown at a time; clamped to the first and last frame."""
        return int(np.clip(np.searchsorted(self.frame_pts, ticks, side="right") - 1, 0, self.frame_count - 1))

    def span(self, first: int, end: int) -> Span:
        """The exact span of the frames `first` to `end`, `end` excluded."""
        stop = self.end_ticks if end >= self.frame_count else int(self.frame_pts[end])
        return Span(int(self.frame_pts[first]), max(stop, int(self.frame_pts[first])), self.timebase)

    def to_bytes(self) -> bytes:
        """A few bytes per frame; the layout is told in `malan.media.packed`."""
        head = (self.timebase.numerator, self.timebase.denominator, self.end_ticks)
        return pack(head, (self.pts, self.dts, self.size_bytes, self.position, self.flags))

    @classmethod
    def from_bytes(cls, data: bytes) -> PacketIndex:
        """The index that `to_bytes` wrote.

        Raises:
            MediaError: `media.bad_index`: the bytes are something else, or damaged.
        """
        (numerator, denominator, end_ticks), columns = unpack(data)
        return cls(Fraction(numerator, denominator), *columns, end_ticks=end_ticks)


def build_index(path: str | Path, track: int | None = None) -> PacketIndex:
    """Read the packet index of a file's video track (the first one unless `track` names another stream).

    One demux pass; decodes the first frame, and more only where times are missing or the first frames may not decode.

    Raises:
        NotFound: There is no such file.
        MediaError: It cannot be opened or has no such picture track.
    """
    from malan.media.survey import survey_index

    return survey_index(path, track)


class PacketRows:
    """Packets of one track as they come by: 37 bytes each, so ten hours at 60 frames a second take 80 MB."""

    def __init__(self) -> None:
        self.pts, self.dts, self.position, self.duration = array("q"), array("q"), array("q"), array("q")
        self.size, self.flags = array("i"), array("B")

    def __len__(self) -> int:
        return len(self.size)

    def add(self, packet: av.Packet[VideoStream], path: str | Path) -> None:
        if len(self.size) >= MAX_PACKETS:
            raise MediaError("media.too_long", path=shown(path), most=MAX_PACKETS)
        pts, dts, position = packet.pts, packet.dts, packet.pos
        self.pts.append(_NO_TIME if pts is None else pts)
        self.dts.append(_NO_TIME if dts is None else dts)
        self.position.append(-1 if position is None else position)
        self.duration.append(packet.duration or 0)
        self.size.append(packet.size)
        self.flags.append(
            packet.is_keyframe | packet.is_disposable << 1 | packet.is_discard << 2 | packet.is_corrupt << 3
        )


@dataclass(frozen=True)
class Repaired:
    """Times made whole, and what had to be done for it."""

    pts: NDArray[np.int64]
    dts: NDArray[np.int64]
    step_ticks: int  # usual time between two frames, above zero
    missing: bool = False  # some packets had no presentation time
    fell: bool = False  # the clock jumped back
    untimed: bool = False  # no two frames had different times


def repair_times(rows: PacketRows, nominal_step_ticks: int) -> Repaired:
    """Presentation times that order the packets of a track as they are shown.

    A missing one is taken from the decode time. Where the clock falls back (a recorder restarted, files were joined),
    what follows is moved behind what was there. Where all times are equal, frames get the nominal rate.
    """
    raw_pts, raw_dts = np.frombuffer(rows.pts, np.int64), np.frombuffer(rows.dts, np.int64)
    no_pts = raw_pts == _NO_TIME
    dts = _filled(raw_dts, np.where(no_pts, 0, raw_pts))
    pts = np.clip(np.where(no_pts, dts, raw_pts), -_FAR, _FAR)
    steps = np.diff(np.sort(pts))
    step = int(np.median(steps)) if len(steps) else nominal_step_ticks
    if len(steps) and step <= 0:
        if not steps.any():
            return Repaired(
                np.arange(len(pts)) * nominal_step_ticks, dts, nominal_step_ticks, bool(no_pts.any()), untimed=True
            )
        step = max(1, int(steps.mean()))
    pts, fell = _unwrapped(pts, dts, max(step, 1))
    return Repaired(pts, dts, max(step, 1), bool(no_pts.any()), fell)


def _filled(dts: NDArray[np.int64], instead: NDArray[np.int64]) -> NDArray[np.int64]:
    """Decode times; a missing one repeats the one before, or takes the presentation time where there is none."""
    known = dts != _NO_TIME
    if not known.any():
        return instead.copy()
    last = np.maximum.accumulate(np.where(known, np.arange(len(dts)), -1))
    return np.where(last >= 0, dts[np.maximum(last, 0)], instead)


def _unwrapped(pts: NDArray[np.int64], dts: NDArray[np.int64], step: int) -> tuple[NDArray[np.int64], bool]:
    """Times that do not fall back: each stretch that lies before the one before it is moved behind its end.

    No codec holds more than 16 frames back to reorder them, so a packet that is shown further back than that, and is
    decoded further back too, is of another stretch.
    """
    behind = np.maximum.accumulate(pts)[:-1] - pts[1:]
    falls = np.flatnonzero((dts[1:] < dts[:-1]) & (behind > _REORDERED * step)) + 1
    falls = falls[np.diff(falls, prepend=-1) > 1]
    if not len(falls):
        return pts, False
    pts = pts.copy()
    for first, end in zip(falls, [*falls[1:], len(pts)], strict=True):
        pts[first:end] += max(0, int(pts[:first].max()) + step - int(pts[first:end].min()))
    return pts, True
