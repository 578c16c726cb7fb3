"""Feeds chosen packets to a decoder and samples what comes out.

The decoder runs on one thread, without the in-loop deblocking filter: block samples do not need it, and it is a
third of the work. Frames that nothing else needs can be left out packet by packet. Start at `Feeder`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import av

from malan.curation.shots.cost import Cost
from malan.curation.shots.packets import PacketView
from malan.curation.shots.sampling import Sampler
from malan.media.decode import PacketSource

Skip = Literal["DEFAULT", "NONREF"]
Observe = Callable[[av.VideoFrame, int, bool], None]


class Feeder:
    """An open file whose frames are decoded a stretch at a time. Damaged packets are left out."""

    def __init__(self, path: str | Path, view: PacketView, sampler: Sampler, observe: Observe | None) -> None:
        self._view, self._index, self._sampler, self._observe = view, view.index, sampler, observe
        self._source = PacketSource(path, view.index, None)
        self._context = self._source.decoder()
        self._context.thread_type, self._context.thread_count = "SLICE", 1
        self._context.options = {"skip_loop_filter": "all", "flags2": "+fast"}
        self.cost = Cost(view, self._context.name, self._context.width * self._context.height)
        self._next = 0  # packet to feed next
        self._oldest = 0  # frames before this one lack their past
        self._seen: set[int] = set()
        self.frames_decoded = 0

    @property
    def codec(self) -> str:
        return self._context.name

    def keys(self, frames: Iterable[int]) -> None:
        """Decode key frames alone."""
        self._oldest = 0
        for number, packet in self._source.read(self._index.shown[frame] for frame in frames):
            self._context.flush_buffers()  # a decoder that sees nothing but key frames holds them back, or drops them
            self._feed(number, packet, "DEFAULT")
            self._take(None)

    def start(self, frame: int) -> None:
        """Stand before a key frame, with a fresh decoder."""
        self._context.flush_buffers()
        self._next, self._oldest = int(self._index.shown[frame]), frame

    def advance(self, stop: int, wanted: Callable[[int], bool]) -> None:
        """Feed packets up to the last that frames before `stop` need.

        Of the frames nothing else needs only those are decoded whose number is `wanted`. The last few frames may stay
        in the decoder until the next call or `finish`.
        """
        last = self._view.last_packet(stop)
        frames, leaves = self._index.frame_of_packet, self._view.leaves
        for number, packet in self._source.read(range(self._next, last + 1)):
            left_out = leaves[number] and not wanted(int(frames[number]))
            self._feed(number, packet, "NONREF" if left_out else "DEFAULT")
        self._next = max(self._next, last + 1)

    def finish(self) -> None:
        """Take the last frames out of the decoder."""
        self._take(None)
        self._context.flush_buffers()

    def close(self) -> None:
        self._source.close()

    def _feed(self, number: int, packet: av.Packet, skip_frame: Skip) -> None:  # type: ignore[type-arg]
        packet.pts = packet.dts = int(self._view.ranks[number])
        self._context.skip_frame = skip_frame
        self._take(packet)

    def _take(self, packet: av.Packet | None) -> None:  # type: ignore[type-arg]
        try:
            frames = self._context.decode(packet)
        except (av.FFmpegError, ValueError):
            return
        for frame in frames:
            self._keep(frame)

    def _keep(self, frame: av.VideoFrame) -> None:
        self.frames_decoded += 1
        rank = frame.pts
        if rank is None or not 0 <= rank < len(self._view.by_rank):
            return
        packet = int(self._view.by_rank[rank])
        number = int(self._index.frame_of_packet[packet])
        if number < self._oldest:
            return
        if number not in self._seen:
            self._seen.add(number)
            self._sampler.add(frame, number)
            if self._observe:
                frame.pts, frame.time_base = int(self._index.pts[packet]), self._index.timebase
                self._observe(frame, number, bool(self._view.is_key[number]))
