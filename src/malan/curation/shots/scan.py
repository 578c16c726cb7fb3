"""Looks at a film through its key frames: they and the packet sizes tell where anything can have happened at all.

Between two key frames lies an interval. Alike key frames and calm packets: nothing happened. Unlike ones: something
did, at a spike of the packet sizes, slowly in a swell of them, or on the second key frame itself. Intervals in doubt
are looked into (`looks.py`). Start at `scan`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from malan.curation.shots.cost import Cost
from malan.curation.shots.feed import Feeder
from malan.curation.shots.looks import Interval, Looker, intervals_between
from malan.curation.shots.packets import PacketView
from malan.curation.shots.report import Transition
from malan.curation.shots.sampling import Sampler

CHAPTER = 3000  # frames that are judged at a time
OVERLAP = 160  # frames of the chapter before that are judged again with the next
SHARE = 0.06  # of what decoding the film costs, that looks may take before slow transitions are left to chance
LONG_GOP = 260  # mean frames from key frame to key frame up to which they are worth comparing
HOPELESS = 0.62  # part of what decoding costs, from which looks no longer pay
STEP = 8  # key frames closer than this are not compared one by one


class Budget:
    """Chooses the looks that only serve slow transitions: the most telling first, while a share of the film lasts."""

    def __init__(self, view: PacketView, cost: Cost) -> None:
        self._view, self._cost = view, cost

    def is_hopeless(self, intervals: list[Interval], looker: Looker) -> bool:
        """Whether the looks still needed in a chapter come near to what decoding all of it costs."""
        looks = [self._look(interval, looker.needed(interval)) for interval in intervals]
        return bool(looks) and sum(looks) > HOPELESS * self._cost.whole(intervals[0].first, intervals[-1].end)

    def choose(self, intervals: list[Interval], looker: Looker, spent: float) -> set[Interval]:
        """The intervals of a chapter in which swells are worth a look."""
        if not intervals:
            return set()
        whole = self._cost.whole(intervals[0].first, intervals[-1].end)
        left = SHARE * whole - spent - sum(self._look(i, looker.needed(i)) for i in intervals)
        offers = []
        for interval in intervals:
            stops = looker.swells(interval)
            more = self._look(interval, stops) - self._look(interval, looker.needed(interval)) if stops else 0
            strength = self._view.swell[interval.first + 1 : interval.end].max() if stops else 0
            offers += [((strength - 1) / max(more, 1e-4), more, interval)] if stops else []
        chosen = set()
        for _, more, interval in sorted(offers, key=lambda offer: -offer[0]):
            if more <= left:
                chosen.add(interval)
                left -= max(more, 0)
        return chosen

    def _look(self, interval: Interval, stops: list[int]) -> float:
        return self._cost.look(interval.first, min(max(stops), interval.end)) if stops else 0.0


def can_scan(view: PacketView) -> bool:
    """Whether key frames come often enough for their intervals to be told apart."""
    return view.index.frame_count <= LONG_GOP * max(int(view.is_key.sum()) - 1, 0)


def scan(feeder: Feeder, sampler: Sampler, view: PacketView) -> list[Transition]:
    """The transitions of a film, decoding key frames and doubtful intervals only."""
    compared = anchors(view)
    frames = view.index.frame_count
    found: list[Transition] = []
    settled = 0
    looker = Looker(feeder, sampler, view)
    budget = Budget(view, feeder.cost)
    for chapter in _chapters(compared):
        looked = looker.touch(chapter) if looker.touches else looker.look_early(chapter)
        intervals = list(intervals_between(chapter, sampler, view, frames))
        intervals = [interval for interval in intervals if interval.first not in looked]
        if budget.is_hopeless(intervals, looker):
            looker.look_at_all(intervals)
            intervals = []
        chosen = budget.choose(intervals, looker, sum(looked.values()))
        for interval in intervals:
            looker.look(interval, interval in chosen)
        end = int(chapter[-1])
        until = frames if end >= frames else end - OVERLAP // 2
        found += [t for t in looker.transitions(frames) if settled <= t.boundary < until]
        settled = until
        sampler.forget_before(end - OVERLAP)
    return found


def anchors(view: PacketView) -> NDArray[np.int64]:
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
