"""Decode chosen frames of one video track, each with its number in the packet index.

Whoever needs pictures comes here: shots, scan, captions, reader. It decides nothing about which frames matter.
Start at `FrameDecoder`; `PacketSource` below it finds the bytes of a packet by its number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeAlias

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream
from numpy.typing import NDArray

from malan.core.errors import MediaError
from malan.media.index import DISPOSABLE, KEY, PacketIndex
from malan.media.open import open_container, read_only, read_packets, video_stream
from malan.media.sniff import shown

Threads = Literal["frame", "slice", "auto", "one"]
Numbered = tuple[int, av.VideoFrame]
Packet: TypeAlias = "av.Packet[VideoStream]"

_READ_OVER = 64  # packets that are cheaper to read over than to seek past
_LOST_AFTER = 256  # unknown packets after a seek before another place is tried


class FrameDecoder:
    """An open decoder of one video track.

    Every frame comes out with its number in the index, whatever the container thinks of its time: packets go in under
    their rank in presentation order and frames come out under it, so missing, doubled or falling times cannot confuse
    two frames. `frame.pts` and `frame.time_base` are those of the index again when a frame is yielded.

    Damaged packets are counted in `damaged_packets` and left out; they end nothing. Not safe between threads.

    Args:
        path: The file the index was made from.
        index: Its packet index.
        track: Stream index; the first picture track when None.
        threads: `one` burns least CPU, `frame` ends soonest, `auto` lets libav choose.
        loop_filter: False skips the in-loop deblocking filter: faster, a little blocky, errors add up within a GOP.
            `references` skips it on frames no other frame needs: a tenth faster, and no error lives longer than one.
    """

    def __init__(
        self,
        path: str | Path,
        index: PacketIndex,
        *,
        track: int | None = None,
        threads: Threads = "auto",
        loop_filter: bool | Literal["references"] = True,
    ) -> None:
        self._index = index
        self._source = PacketSource(path, index, track)
        self._context = self._source.decoder()
        self._context.thread_type = "SLICE" if threads == "one" else threads.upper()
        self._context.thread_count = 1 if threads == "one" else 0
        if loop_filter is not True:
            self._context.options = {"skip_loop_filter": "noref" if loop_filter else "all"}
        self._ranks = _ranks(index)
        self._by_rank = np.argsort(self._ranks)
        self.frames_decoded = 0
        self.damaged_packets = 0

    @property
    def index(self) -> PacketIndex:
        return self._index

    def frames(self, first: int = 0, end: int | None = None, *, skip_disposable: bool = False) -> Iterator[Numbered]:
        """Frames `first` to `end` (excluded) in presentation order; decodes from the key frame before `first`.

        `skip_disposable` leaves out frames no other frame needs, where codec or container mark them.
        Frames that the decoder cannot make (damage, a start in the middle of a GOP) are missing from the sequence.
        """
        end = self._index.frame_count if end is None else min(end, self._index.frame_count)
        if first >= end:
            return
        start, stop = self.packet_range(first, end)
        numbers = np.arange(start, stop)
        if skip_disposable:
            numbers = numbers[(self._index.flags[numbers] & DISPOSABLE) == 0]
        self._context.skip_frame = "NONREF" if skip_disposable else "DEFAULT"
        for number, frame in self.packets(numbers):
            if first <= number < end:
                yield number, frame

    def key_frames(self, frames: Iterable[int] | None = None) -> Iterator[Numbered]:
        """Key frames alone: those numbered in `frames` (rising), or all. Nothing between them is decoded."""
        wanted = self._index.key_frames if frames is None else np.asarray(list(frames), np.int64)
        self._context.skip_frame = "DEFAULT"
        for packet in self._index.shown[wanted]:
            yield from self.packets(range(int(packet), self._index.end_of(int(packet))))

    def packet_range(self, first: int, end: int) -> tuple[int, int]:
        """Packet numbers `start, stop` that must be decoded to see the frames `first` to `end`, both ends excluded.

        Starts at the last key packet that is shown no later than `first` (so frames that lead an open GOP are never
        decoded without their past) and stops after the last packet in decode order that belongs to the range.
        """
        wanted = self._index.shown[first:end]
        keys = self._index.shown[self._index.key_frames]
        before = keys[: np.searchsorted(self._index.key_frames, first, side="right")]
        before = before[before <= wanted.min()]
        return (int(before[-1]) if len(before) else 0), self._index.end_of(int(wanted.max()))

    def packets(self, numbers: Iterable[int]) -> Iterator[Numbered]:
        """Decode packets by number (rising) from a fresh decoder; shown frames in presentation order.

        The first should be a key packet, and gaps should only leave out what nothing else needs.
        """
        self._context.flush_buffers()
        for number, packet in self._source.read(numbers):
            packet.pts = packet.dts = int(self._ranks[number])
            yield from self._decoded(packet)
        yield from self._decoded(None)
        self._context.flush_buffers()

    def _decoded(self, packet: Packet | None) -> Iterator[Numbered]:
        try:
            frames = self._context.decode(packet)
        except (av.FFmpegError, ValueError):
            self.damaged_packets += 1
            return
        for frame in frames:
            self.frames_decoded += 1
            number = self._number(frame)
            if number >= 0:
                yield number, frame

    def _number(self, frame: av.VideoFrame) -> int:
        """The frame's number, -1 for what is never shown; gives the frame its own time back."""
        rank = frame.pts
        if rank is None or not 0 <= rank < len(self._by_rank):
            return -1
        packet = int(self._by_rank[rank])
        frame.pts, frame.time_base = int(self._index.pts[packet]), self._index.timebase
        return int(self._index.frame_of_packet[packet])

    def close(self) -> None:
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class PacketSource:
    """Reads packets of one track by their number in the index, seeking where that is cheaper than reading on."""

    def __init__(self, path: str | Path, index: PacketIndex, track: int | None) -> None:
        self._path, self._index, self._track = path, index, track
        self._by_position = np.argsort(index.position, kind="stable")
        self._open()

    def _open(self) -> None:
        self._container = open_container(self._path)
        self._stream = video_stream(self._container, self._track, self._path)
        read_only(self._container, self._stream)
        self._next = 0
        self._packets: Iterator[Packet] = read_packets(self._container, self._stream)

    def decoder(self) -> VideoCodecContext:
        """The decoder of the track, not opened yet."""
        context = self._stream.codec_context
        if context is None:
            raise MediaError("media.no_codec", path=shown(self._path), codec="?")
        return context

    def read(self, numbers: Iterable[int]) -> Iterator[tuple[int, Packet]]:
        """The packets with these numbers (rising), each with its number; one that is gone is left out."""
        for number in map(int, numbers):
            if not self._next <= number < self._next + _READ_OVER:
                self._seek(number)
            packet = self._advance(number)
            if packet is not None:
                yield number, packet

    def close(self) -> None:
        self._container.close()

    def _advance(self, number: int) -> Packet | None:
        packet = None
        while self._next <= number:
            packet = next(self._packets, None)
            if packet is None:
                return None
            self._next += 1
        return packet

    def _seek(self, number: int) -> None:
        """Stand at or before a packet. Containers seek by their own idea of time: try, look, try earlier."""
        for ticks in self._targets(number):
            landed = self._land(ticks)
            if landed is not None and landed[0] <= number:
                self._next = landed[0]
                self._packets = chain([landed[1]], read_packets(self._container, self._stream))
                return
        self._container.close()
        self._open()

    def _targets(self, number: int) -> Iterator[int]:
        yield int(self._index.pts[number])
        yield int(self._index.dts[number])
        keys = np.flatnonzero(self._index.flags[:number] & KEY)
        for back in (1, 2, 4, 8):
            if back <= len(keys):
                yield int(self._index.dts[keys[-back]])

    def _land(self, ticks: int) -> tuple[int, Packet] | None:
        """Seek, and read to the first packet that the index knows."""
        try:
            self._container.seek(ticks, stream=self._stream)
        except (av.FFmpegError, OverflowError):
            return None
        for packet in islice(read_packets(self._container, self._stream), _LOST_AFTER):
            number = self._number(packet)
            if number is not None:
                return number, packet
        return None

    def _number(self, packet: Packet) -> int | None:
        """Which packet of the index this is, by place and time."""
        index, order = self._index, self._by_position
        place = -1 if packet.pos is None else packet.pos
        first, end = (int(np.searchsorted(index.position, place, s, sorter=order)) for s in ("left", "right"))
        same = np.sort(order[first:end])
        time, times = (packet.dts, index.dts) if packet.dts is not None else (packet.pts, index.pts)
        fits = same[(times[same] == time) & (index.size_bytes[same] == packet.size)]
        return int(fits[0]) if len(fits) else None


def _ranks(index: PacketIndex) -> NDArray[np.int64]:
    """Place of each packet in presentation order, those never shown included."""
    ranks = np.empty(index.packet_count, np.int64)
    ranks[np.argsort(index.pts, kind="stable")] = np.arange(index.packet_count)
    return ranks
