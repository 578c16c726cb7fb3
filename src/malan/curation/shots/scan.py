"""Looks at a film through its key frames: they and the packet sizes tell where anything can have happened at all.

Between two key frames lies an interval. Alike key frames and calm packets: nothing happened. Unlike ones: something did,
at a spike of the packet sizes, slowly in a swell of them, or on the second key frame itself. Intervals in doubt are
decoded from their key frame to behind the last doubt, leaving out what nothing else needs. Start at `scan`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from malan.curation.shots.feed import Feeder
from malan.curation.shots.judge import Stretch, judge, open_steps
from malan.curation.shots.measure import unlikeness
from malan.curation.shots.packets import PacketView
from malan.curation.shots.report import Transition
from malan.curation.shots.sampling import Sampler

CHAPTER = 3000  # frames that are judged at a time
OVERLAP = 160  # frames of the chapter before that are judged again with the next
STEP = 8  # key frames closer than this are not compared one by one
ALIKE = 8.0  # unlikeness of two key frames up to which they show one shot
UNLIKE = 22.0  # … and from which they hardly can
SWOLLEN = 1.7
MARGIN = 8  # frames decoded behind a doubt, to see that it stays
CALM = 1.6  # swell up to which the packets before a key frame are calm


@dataclass(frozen=True)
class Interval:
    """The frames from one key frame to before the next, and what is known of them without decoding."""

    first: int
    end: int
    unlikeness: float  # of the two key frames
    chosen: bool  # the encoder placed the second key frame itself: most likely at a cut


@dataclass(frozen=True)
class Doubt:
    """What is to be decoded of an interval: all before `stop`; and whether its end is taken for a cut as it is."""

    stop: int = 0
    cut_at_end: bool = False


def scan(feeder: Feeder, sampler: Sampler, view: PacketView) -> list[Transition]:
    """The transitions of a film, decoding key frames and doubtful intervals only."""
    anchors = _anchors(view)
    frames = view.index.frame_count
    found: list[Transition] = []
    settled = 0
    for chapter in _chapters(anchors):
        feeder.keys([int(a) for a in chapter if a < frames])
        looker = _Looker(feeder, sampler, view)
        for interval in _intervals(chapter, sampler, view, frames):
            looker.look(interval)
        end = int(chapter[-1])
        until = frames if end >= frames else end - OVERLAP // 2
        found += [t for t in looker.transitions(frames) if settled <= t.boundary < until]
        settled = until
        sampler.forget_before(end - OVERLAP)
    return found


def _anchors(view: PacketView) -> NDArray[np.int64]:
    """The key frames to compare, thinned, and the end of the film."""
    kept: list[int] = []
    for key in np.flatnonzero(view.is_key):
        if not kept or key - kept[-1] >= STEP:
            kept.append(int(key))
    return np.array([*kept, view.index.frame_count], np.int64)


def _chapters(anchors: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    start = 0
    while start < len(anchors) - 1:
        stop = max(int(np.searchsorted(anchors, anchors[start] + CHAPTER)), start + 1)
        stop = min(stop, len(anchors) - 1)
        yield anchors[start : stop + 1]
        start = stop


def _intervals(chapter: NDArray[np.int64], sampler: Sampler, view: PacketView, frames: int) -> Iterator[Interval]:
    keys = [int(a) for a in chapter if a < frames and int(a) in sampler]
    blocks = np.stack([sampler.get(key) for key in keys])
    apart = unlikeness(blocks[:-1], blocks[1:])
    for first, end, amount in zip(keys, keys[1:], apart, strict=False):
        yield Interval(first, end, float(amount), view.is_chosen(end))
    if chapter[-1] >= frames:
        yield Interval(keys[-1], frames, 0.0, False)


class _Looker:
    """Decides on intervals one after the other, and decodes what is in doubt."""

    def __init__(self, feeder: Feeder, sampler: Sampler, view: PacketView) -> None:
        self._feeder, self._sampler, self._view = feeder, sampler, view
        self._taken: list[Transition] = []
        self._looked: list[tuple[int, int]] = []

    def look(self, interval: Interval) -> None:
        doubt = self._doubt(interval)
        if doubt.stop > interval.first:
            self._decode(interval, doubt)
        elif doubt.cut_at_end:
            self._take(interval.end)

    def transitions(self, frames: int) -> list[Transition]:
        """What the decoded stretches hold, and the cuts taken as they are."""
        lone = self._lone_keys()
        found = []
        for stretch in self._sampler.stretches(lone):
            stretch = stretch.placed(frames)
            found += judge(stretch)
        near = [t.boundary for t in found]
        return found + [t for t in self._taken if not any(abs(t.boundary - n) < 3 for n in near)]

    def _lone_keys(self) -> list[int]:
        return []

    def _doubt(self, interval: Interval) -> Doubt:
        view, first, end = self._view, interval.first, interval.end
        spikes = np.flatnonzero(view.is_spike[first + 1 : end]) + first + 1
        sharp = view.is_sharp[first + 1 : end].any()
        swells = np.flatnonzero(view.swell[first + 1 : max(end - 4, first + 2)] > SWOLLEN) + first + 1
        last = max([*spikes[-1:], *swells[-1:] + 8], default=0)
        if interval.unlikeness < ALIKE:
            return Doubt(int(last) + MARGIN if sharp else 0)
        if len(spikes) or len(swells):
            return Doubt(min(int(last) + MARGIN, end + 1), interval.chosen)
        if interval.unlikeness < UNLIKE:
            return Doubt()
        if interval.chosen:
            return Doubt(0, True)
        return Doubt(end + 1)

    def _decode(self, interval: Interval, doubt: Doubt) -> None:
        stop = doubt.stop if interval.end - doubt.stop > MARGIN else interval.end + 1
        self._feed(interval, stop)
        if stop <= interval.end and interval.unlikeness >= ALIKE:
            self._rest(interval, stop, doubt)
        else:
            self._feeder.finish()

    def _rest(self, interval: Interval, stop: int, doubt: Doubt) -> None:
        """Whether what is left of an interval needs a look as well: compare the last picture with the next key frame."""
        seen = max((n for n in range(stop - MARGIN - 4, stop) if n in self._sampler), default=interval.first)
        late = unlikeness(self._sampler.get(seen)[None], self._sampler.get(interval.end)[None])[0] if interval.end in self._sampler else 0
        if late < UNLIKE:
            self._feeder.finish()
        elif doubt.cut_at_end:
            self._feeder.finish()
            self._take(interval.end)
        else:
            self._feed(interval, interval.end + 1, resume=True)
            self._feeder.finish()

    def _feed(self, interval: Interval, stop: int, resume: bool = False) -> None:
        if not resume:
            self._feeder.start(interval.first)
        self._feeder.advance(min(stop, self._view.index.frame_count), self._view.is_near_spike)

    def _take(self, end: int) -> None:
        self._taken.append(Transition("cut", end - 1, end, 0.85))
