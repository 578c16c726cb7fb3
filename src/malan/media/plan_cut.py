"""Which frames of a span can be copied and which must be encoded.

    span        [==========================)
    groups   |--------|--------|--------|--------|
    plan        [encode|  copy  |  copy  |cp|enc)      the tail encodes only what its last packets do not close

Numbers only: nothing is read or decoded here. Start at `plan_span`; `Layout` lays several
spans out in one file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from malan.core import Span
from malan.media.index import DISCARD, PacketIndex

_WORTH_COPYING = 2  # packets; below this a copy gains nothing


@dataclass(frozen=True)
class Piece:
    """Frames `first` to `end` (excluded). `packets` are copied, in decode order; None means encode."""

    first: int
    end: int
    packets: NDArray[np.int64] | None = None

    @property
    def frame_count(self) -> int:
        return self.end - self.first


def plan_span(index: PacketIndex, first: int, end: int, may_start: Callable[[int, bool], bool]) -> tuple[Piece, ...]:
    """The pieces of the frames `first` to `end` (excluded), in order.

    Args:
        may_start: Whether a copy may begin at a key packet, given its number and whether anything of the span comes
            before it.
    """
    for frame in index.key_frames[np.searchsorted(index.key_frames, first) :].tolist():
        if frame >= end:
            break
        if may_start(int(index.shown[frame]), frame > first):
            packets, stop = _copyable(index, frame, end)
            if len(packets) >= min(_WORTH_COPYING, end - first):
                pieces = [Piece(first, frame), Piece(frame, stop, packets), Piece(stop, end)]
                return tuple(p for p in pieces if p.frame_count)
    return (Piece(first, end),)


def _copyable(index: PacketIndex, first: int, end: int) -> tuple[NDArray[np.int64], int]:
    """The longest run of packets from a key frame on that shows exactly the frames `first` to some frame ≤ `end`.

    Packets whose frames lead the key frame (shown before it, or undecodable for want of what was before) are left out:
    nothing else needs them. Empty when there is none.
    """
    start = int(index.shown[first])
    stop = index.end_of(int(index.shown[first:end].max()))
    packets = np.arange(start, stop)
    frames = index.frame_of_packet[packets]
    hidden = np.flatnonzero(index.flags[packets] & DISCARD)
    if len(hidden):  # decoded but never shown: what follows may need it, and a copy would show it
        packets, frames = packets[: hidden[0]], frames[: hidden[0]]
    kept = frames >= first
    last = np.maximum.accumulate(frames)
    closed = np.flatnonzero((last - first + 1 == np.cumsum(kept)) & (last < end))
    if not len(closed):
        return packets[:0], first
    count = int(closed[-1]) + 1
    return packets[:count][kept[:count]], int(last[count - 1]) + 1


@dataclass(frozen=True)
class Layout:
    """The pieces of all spans of one output file, and the times that follow from them, in ticks of the index."""

    index: PacketIndex
    plans: tuple[tuple[Piece, ...], ...]

    @property
    def pieces(self) -> list[Piece]:
        return [piece for plan in self.plans for piece in plan]

    @cached_property
    def encodes_any(self) -> bool:
        return any(p.packets is None for p in self.pieces)

    @cached_property
    def encodes_all(self) -> bool:
        return all(p.packets is None for p in self.pieces)

    @cached_property
    def spans(self) -> tuple[Span, ...]:
        """What each plan covers, in the time of the source."""
        return tuple(self.index.span(plan[0].first, plan[-1].end) for plan in self.plans)

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """Where each span starts in the output, and the end of the last."""
        return tuple(accumulate((span.duration_ticks for span in self.spans), initial=0))

    @cached_property
    def shown_ticks(self) -> NDArray[np.int64]:
        """Start of every frame of the output, rising."""
        stretches = [
            self.index.frame_pts[plan[0].first : plan[-1].end] - span.start + start
            for plan, span, start in zip(self.plans, self.spans, self.starts, strict=False)
        ]
        return np.concatenate(stretches).astype(np.int64)

    @cached_property
    def durations(self) -> dict[int, int]:
        """How long the frame that starts at a tick of the output is shown."""
        ends = np.append(self.shown_ticks[1:], self.starts[-1])
        return dict(zip(self.shown_ticks.tolist(), (ends - self.shown_ticks).tolist(), strict=True))

    def decode_ticks(self, depth: int) -> NDArray[np.int64]:
        """A decode time for every packet of the output: the showing times, delayed by `depth` frames.

        Rises strictly and never passes a packet's own showing time as long as no piece reorders deeper than that.
        """
        steps = np.diff(self.shown_ticks)
        step = max(1, int(np.median(steps))) if len(steps) else 1
        before = self.shown_ticks[0] - step * np.arange(depth, 0, -1)
        return np.concatenate([before, self.shown_ticks])[: len(self.shown_ticks)]

    @property
    def mean_rate(self) -> Fraction:
        """Frames a second of the source, for encoders that want to know."""
        duration = self.index.span(0, self.index.frame_count).duration
        return (self.index.frame_count / duration).limit_denominator(1001) if duration else Fraction(25)

    def with_encoded(self, spans: Iterable[int]) -> Layout:
        """The same with some spans encoded as a whole."""
        whole = {i: (Piece(self.plans[i][0].first, self.plans[i][-1].end),) for i in spans}
        return Layout(self.index, tuple(whole.get(i, plan) for i, plan in enumerate(self.plans)))
