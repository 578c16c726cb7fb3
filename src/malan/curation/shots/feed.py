"""Feeds chosen packets to a decoder and samples what comes out.

The decoder runs on one thread, without the in-loop deblocking filter: block samples do not need it, and it is a
third of the work. Frames that nothing else needs can be left out packet by packet. Start at `Feeder`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

import av

from malan.curation.shots.cost import Cost
from malan.curation.shots.packets import PacketView
from malan.curation.shots.sampling import Sampler
from malan.media.decode import PacketSource

LEAPING = frozenset(("h264",))  # decoders that go on when references are missing
STONES = 7  # frames from one stepping stone to the next
TURN = 16  # packets after which the counter of a stream without bidirectional frames may begin anew

Skip = Literal["DEFAULT", "NONREF"]
Near = Callable[[int], bool]
Observe = Callable[[av.VideoFrame, int, bool], None]


class Feeder:
    """An open file whose frames are decoded a stretch at a time. Damaged packets are left out."""

    def __init__(self, path: str | Path, view: PacketView, sampler: Sampler, observe: Observe | None) -> None:
        self._view, self._index, self._sampler, self._observe = view, view.index, sampler, observe
        self._source = PacketSource(path, view.index, None)
        self._context = self._source.decoder()
        self._context.thread_type, self._context.thread_count = "SLICE", 1
        self._context.options = {"skip_loop_filter": "all", "flags2": "+fast"}
        self.cost = Cost(view, self._context.name, self.pixels)
        self._next = 0  # packet to feed next
        self._start = 0  # packet of the key frame it began with
        self._oldest = 0  # frames before this one lack their past
        self._seen: set[int] = set()
        self._at = 0  # frame of the packet fed last
        self._sampled: Near | None = None
        self.is_stale = False  # packets were leapt over: what is predicted from them is wrong
        self.frames_decoded = 0

    @property
    def codec(self) -> str:
        return self._context.name

    @property
    def pixels(self) -> int:
        return self._context.width * self._context.height

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
        self._next = self._start = int(self._index.shown[frame])
        self._oldest, self._at, self.is_stale = frame, frame, False

    def advance(self, stop: int, wanted: Near, near: Near | None = None, sampled: Near | None = None) -> None:
        """Feed packets up to the last that frames before `stop` need.

        Of the frames nothing else needs only those are decoded whose number is `wanted`. The last few frames may stay
        in the decoder until the next call or `finish`.

        With `near`, other frames are leapt over where the codec bears it. What follows is then predicted from an
        older picture: parts that do not change are right, parts that are new are right, what moved is not. It is
        sampled, where `near` or rather `sampled` says so, but not shown to the observer, and gives way when the frame
        is decoded in earnest.
        """
        last = self._view.last_packet(stop)
        frames, leaves = self._index.frame_of_packet, self._view.leaves
        numbers: Iterable[int] = range(self._next, last + 1)
        self._sampled = (sampled or near) if self.codec in LEAPING else None
        if near and self._sampled:
            numbers = self._leaps(numbers, near)
        for number, packet in self._source.read(numbers):
            left_out = leaves[number] and not wanted(int(frames[number]))
            self._feed(number, packet, "NONREF" if left_out else "DEFAULT")
        self._next = max(self._next, last + 1)

    def _leaps(self, numbers: Iterable[int], near: Near) -> Iterator[int]:
        """The packets of frames that are `near`, and stepping stones between, lest the decoder loses count."""
        for number in numbers:
            frame = int(self._index.frame_of_packet[number])
            stone = not self._view.leaves[number] and self._is_stone(number, frame)
            if stone or near(frame) or self._view.is_key[frame]:
                self._at = max(self._at, frame)
                yield number
            elif not self._view.leaves[number]:
                self.is_stale = True

    def _is_stone(self, number: int, frame: int) -> bool:
        """Whether to step on a packet: decoders number pictures in few bits and must see each turn of the counter."""
        if self._view.has_bidirectional:
            return frame >= self._at + STONES
        return (number - self._start) % TURN in (0, TURN - 1)

    def restart(self, frame: int) -> None:
        """Stand before a key frame once more, and leap no longer."""
        self.finish()
        self.start(frame)

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
        if self.is_stale and not self._view.is_key[number]:
            if number not in self._seen and (not self._sampled or self._sampled(number)):
                self._sampler.add(frame, number)
        elif number not in self._seen:
            self._seen.add(number)
            self._sampler.add(frame, number)
            if self._observe:
                frame.pts, frame.time_base = int(self._index.pts[packet]), self._index.timebase
                self._observe(frame, number, bool(self._view.is_key[number]))
