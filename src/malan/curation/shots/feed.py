"""Feeds chosen packets to a decoder and samples what comes out.

The decoder runs on one thread, without the in-loop deblocking filter: block samples do not need it, and it is a
third of the work. Frames that nothing else needs can be left out packet by packet. Start at `Feeder`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal

import av

from malan.curation.shots.cost import Cost
from malan.curation.shots.packets import PacketView
from malan.curation.shots.sampling import Sampler
from malan.media.decode import PacketSource
from malan.media.nal import h264_order_period, parameter_sets

LEAPING = frozenset(("h264",))  # decoders that go on when references are missing
CORRUPT = 1 << 3  # codec flag: pictures whose references are missing are shown all the same
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
        self._touched: Sampler | None = None
        self._period = self._order_period()
        self.is_stale = False  # packets were leapt over: what is predicted from them is wrong
        self.frames_decoded = 0

    @property
    def codec(self) -> str:
        return self._context.name

    @property
    def pixels(self) -> int:
        return self._context.width * self._context.height

    def is_exact(self, frame: int) -> bool:
        """Whether a frame was decoded with all that it needs."""
        return frame in self._seen

    def keys(self, frames: Iterable[int]) -> None:
        """Decode key frames alone."""
        self._oldest = 0
        for number, packet in self._source.read(self._index.shown[frame] for frame in frames):
            self._context.flush_buffers()  # a decoder that sees nothing but key frames holds them back, or drops them
            self._feed(number, packet, "DEFAULT")
            self._take(None)

    @property
    def can_leap(self) -> bool:
        """Whether the decoder goes on when references are missing."""
        return self.codec in LEAPING

    def touch(self, frames: Sequence[int], near: Iterable[int] = ()) -> Sampler:
        """Decode a key frame and, of all that follows, these frames alone (rising): what each adds to the one before.

        What is new in a picture is right, however much was left out before it: a cut is told from a large packet for
        the price of one frame. The key frame is decoded as any other; the pictures behind it come in a sampler of
        their own. One that the decoder could not place is missing there. Frames `near` are sampled as after a leap.
        """
        self.start(frames[0])
        self._mind_gaps(False)
        touched, leaves, shown = Sampler(), self._view.leaves, self._index.shown
        self._touched, beside = touched, {f for f in near if not leaves[shown[f]] or self._view.is_near_spike(f)}
        self._sampled = beside.__contains__
        frames = sorted({*frames, *beside})
        for number, packet in self._source.read(sorted(int(shown[f]) for f in self._with_stones(frames))):
            self._feed(number, packet, "DEFAULT")
        self.finish()
        self._touched = None
        return touched

    def _with_stones(self, frames: Sequence[int]) -> Iterator[int]:
        """The frames, and one between two that are so far apart that the decoder would take the later for the earlier.

        It knows the order of frames modulo a period: what is less than half of it ahead is later.
        """
        yield frames[0]
        for early, late in pairwise(frames):
            if not (self._is_ahead(late - early) or self._view.is_key[late]):
                between = self._view.anchors_between(early, late)
                fit = [int(f) for f in between if self._is_ahead(int(f) - early) and self._is_ahead(late - int(f))]
                yield from sorted(fit, key=lambda f: self._view.sizes[f])[:1]
            yield late

    def _is_ahead(self, frames: int) -> bool:
        period = self._period
        return frames % TURN != 0 if period is None else 0 < frames % period < period // 2

    def _order_period(self) -> int | None:
        if self.codec not in LEAPING:
            return None
        return h264_order_period(parameter_sets(self.codec, self._context.extradata or b""))

    def start(self, frame: int) -> None:
        """Stand before a key frame, with a fresh decoder."""
        self._context.flush_buffers()
        self._next = self._start = int(self._index.shown[frame])
        self._oldest, self._at, self.is_stale = frame, frame, False
        self._mind_gaps(True)

    def _mind_gaps(self, mind: bool) -> None:
        """Whether the decoder keeps back pictures that follow a gap."""
        flags = self._context.flags & ~CORRUPT
        self._context.flags = flags if mind else flags | CORRUPT

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
            self._mind_gaps(False)
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
        if self._touched is not None and not self._view.is_key[number]:
            if not (self._sampled and self._sampled(number)):
                self._touched.add(frame, number)
            elif number not in self._seen:
                self._sampler.add(frame, number)
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
