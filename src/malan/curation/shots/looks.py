"""Looks into the intervals between key frames: what is in doubt there is decoded, and no more than that.

A doubt is a large packet. Where key frames lie at cuts most doubts are none: each is first touched, that is decoded
right behind the key frame with nothing between, and shows whether it brings another picture. What is looked into is
decoded from its key frame, leaping over what lies between where the codec bears it. Start at `Looker`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from malan.curation.shots.feed import Feeder, Near
from malan.curation.shots.judge import judge, open_steps
from malan.curation.shots.measure import Blocks, luma_range, unlikeness
from malan.curation.shots.packets import PacketView
from malan.curation.shots.report import Transition
from malan.curation.shots.sampling import GAP, Sampler

ALIKE = 8.0  # unlikeness of two key frames up to which they show one shot
UNLIKE = 22.0  # … and from which they hardly can, so long after each other
MOMENT = 25  # frames within which pictures of one shot are more alike than that
CLEAR = 35.0  # … and from which a key frame the encoder chose passes for a cut
SURPRISE = 16.0  # … and from which a key frame surprises after the last frame decoded
TOUCHED = 14.0  # … and from which a frame decoded alone shows that its large packet is a cut, or a flash
RENEWED = 30.0  # … and from which a picture behind a leap is no remainder of the one before
LANDED = 22.0  # … and from which something happened while frames were leapt over
FAINT = 3.0  # mean luma range of a picture that shows next to nothing
BY_A_HAIR = 0.6  # confidence up to which a cut counts only between frames decoded with all they need
LEAD = 6  # frames decoded in front of a doubt
MARGIN = 5  # frames decoded behind a doubt, to see that it stays
LEAP = 10  # frames it takes to make a leap worth while
SETTLED = 7  # frames behind a key frame after which its picture has stayed
TAIL = 12  # frames decoded in front of a key frame in doubt
FADING = 32  # … where one of two key frames shows next to nothing


@dataclass(frozen=True)
class Interval:
    """The frames from one key frame to before the next, and what is known of them without decoding."""

    first: int
    end: int
    unlikeness: float  # of the two key frames
    chosen: bool  # the encoder placed the second key frame itself: most likely at a cut
    faint: bool  # one of the key frames shows next to nothing: a fade, or a flash
    faint_end: bool  # the second of them does


def intervals_between(
    chapter: NDArray[np.int64], sampler: Sampler, view: PacketView, frames: int
) -> Iterator[Interval]:
    """The intervals of a chapter whose key frames could be decoded; the last ends with the film."""
    keys = [int(a) for a in chapter if int(a) in sampler]
    if not keys:
        return
    blocks = np.stack([sampler.get(key) for key in keys])
    apart = unlikeness(blocks[:-1], blocks[1:])
    faint = luma_range(blocks[:, 0].astype(np.int16)).mean(axis=(1, 2)) < FAINT
    for i, (first, end) in enumerate(pairwise(keys)):
        yield Interval(
            first, end, float(apart[i]), view.is_chosen(end), bool(faint[i] or faint[i + 1]), bool(faint[i + 1])
        )
    if chapter[-1] >= frames:
        yield Interval(keys[-1], frames, UNLIKE - 1, False, False, False)


class Looker:
    """Decides on intervals one after the other, and decodes what is in doubt."""

    def __init__(self, feeder: Feeder, sampler: Sampler, view: PacketView) -> None:
        self._feeder, self._sampler, self._view = feeder, sampler, view
        self.touches = view.has_chosen_keys and feeder.can_leap  # where key frames lie at cuts most doubts are none
        self._taken: list[Transition] = []
        self._behind_key: dict[int, list[Blocks]] = {}  # pictures touched right behind a key frame, by that
        self._looked: dict[int, list[int]] = {}  # … that need no further look
        self._real: dict[int, list[int]] = {}  # strong doubts that hold, by first frame of their interval

    def look_early(self, chapter: NDArray[np.int64]) -> dict[int, float]:
        """Decode the key frames of a chapter; those of intervals that need a look anyway together with that look.

        Goes backwards, so that the key frame at the end of an interval is known before the interval is looked into.
        Returns the intervals that need no further look, by first frame, with what they cost.
        """
        self._real.update({int(a): self._strong(int(a), int(b)) for a, b in pairwise(chapter)})
        frames, looked = self._view.index.frame_count, dict[int, float]()
        for first, end in reversed([(int(a), int(b)) for a, b in pairwise(chapter)]):
            if end < frames and end not in self._sampler:
                self._feeder.keys([end])
            if end < frames and end in self._sampler and self._look_at_spikes(first, end):
                looked[first] = self._feeder.cost.look(first, end)
        if int(chapter[0]) not in self._sampler:
            self._feeder.keys([int(chapter[0])])
        return looked

    def _look_at_spikes(self, first: int, end: int) -> bool:
        """Look into an interval because of its packets alone, if they call for it."""
        stops = _behind(self._strong(first, end))
        if not stops or len(self._view.swells(first, end)):
            return False
        self._feeder.start(first)
        self._feeder.advance(min(stops[0], end), self._view.is_near_spike, self._near(first, end))
        if first not in self._sampler:
            self._feeder.finish()
            return False
        self.look(next(intervals_between(np.array([first, end]), self._sampler, self._view, -1)), False, started=True)
        return True

    def touch(self, chapter: NDArray[np.int64]) -> dict[int, float]:
        """Decode the key frames of a chapter, and with each the frames behind it whose packets are strong doubts."""
        for known in (self._behind_key, self._looked, self._real):
            known.clear()
        for first, end in pairwise(chapter.tolist()):
            doubts = {*self._strong(first, end), *self._view.sharp(first, end).tolist()}
            self._real[first] = self._confirmed(first, end, sorted(doubts))
        if chapter[-1] < self._view.index.frame_count:
            self._feeder.keys([int(chapter[-1])])
        return {}

    def _confirmed(self, first: int, end: int, doubts: list[int]) -> list[int]:
        """Those doubts at which the picture really becomes another, or that could not be seen."""
        settling = self._view.settling(first)
        certain = [doubt for doubt in doubts if self._view.is_certain(doubt)]
        near = [f for doubt in certain for f in self._around(doubt, first + 1, end)]
        touched = self._feeder.touch([first, *sorted({*doubts, *settling})], near) if doubts or settling else Sampler()
        self._looked[first] = [doubt for doubt in certain if doubt in self._sampler]
        behind = [touched.get(n) for n in range(first + 1, first + SETTLED) if n in touched]
        self._behind_key[first] = behind
        if first not in self._sampler:
            self._feeder.keys([first])
        if first not in self._sampler:
            return doubts
        confirmed: list[int] = []
        unseen: list[int] = []
        before = self._sampler.get(first)
        for doubt in doubts:
            picture = self._picture(doubt, touched)
            if picture is None:
                unseen.append(doubt)
                continue
            if float(unlikeness(before[None], picture[None])[0]) >= TOUCHED:
                confirmed += [*unseen, doubt]
                unseen = []
            before = picture
        return [*confirmed, *unseen]

    def _around(self, doubt: int, first: int, end: int, lead: int = LEAD) -> list[int]:
        """The frames near a doubt; behind one touched only those predicted from the past, for others miss too much."""
        frames = range(max(doubt - lead, first), min(doubt + MARGIN + 1, end))
        return [
            f
            for f in frames
            if f <= doubt or not self.touches or f >= len(self._view.is_anchor) or self._view.is_anchor[f]
        ]

    def _picture(self, frame: int, touched: Sampler) -> Blocks | None:
        return next((seen.get(frame) for seen in (touched, self._sampler) if frame in seen), None)

    def _strong(self, first: int, end: int) -> list[int]:
        return sorted({*self._view.strong(first, end).tolist(), *self._view.inner_keys(first, end).tolist()})

    def look(self, interval: Interval, optional: bool, started: bool = False) -> None:
        """Decode as much of an interval as it takes to know what happens in it and at its end."""
        stops = sorted({*self.needed(interval), *(self.swells(interval) if optional else [])})
        at_end = interval.chosen and interval.unlikeness >= CLEAR
        if stops:
            at_end = self._decode(interval, stops, started) and at_end
        elif self._settled(interval):
            at_end = at_end and self._surprising(interval.end, interval)
        if at_end and not (self._is_odd(interval) and self._comes_back(interval)):
            self._taken.append(Transition("cut", interval.end - 1, interval.end, 0.85))

    def look_at_all(self, intervals: list[Interval]) -> None:
        """Decode every frame of neighbouring intervals in one go."""
        self._feeder.start(intervals[0].first)
        self._feeder.advance(intervals[-1].end, lambda _: True)
        self._feeder.finish()

    def transitions(self, frames: int) -> list[Transition]:
        """What the decoded stretches hold, and the cuts taken as they are."""
        self._close_steps()
        found = [t for s in self._sampler.stretches() for t in judge(s.placed(frames)) if not self._is_remainder(t)]
        return found + [t for t in self._taken if not any(_covers(f, t.boundary) for f in found)]

    def _is_remainder(self, found: Transition) -> bool:
        """Whether a cut to a key frame is but what the pictures before it lacked, decoded after a leap."""
        early, late = found.first_frame, found.last_frame
        leapt = found.type == "cut" and self._view.is_key[late] and not self._feeder.is_exact(early)
        if not leapt or early not in self._sampler:
            return False
        faint = not self._view.is_chosen(late) and self._unlike(early, late) < UNLIKE
        return faint or found.confidence < BY_A_HAIR

    def needed(self, interval: Interval) -> list[int]:
        """The frames up to which to decode, one after the other, so that no cut is missed and none made up."""
        view, first, end = self._view, interval.first, interval.end
        settled = self._settled(interval)
        strong = _behind(doubt for doubt in self._real[first] if doubt not in settled)
        unlike = UNLIKE * min(max((end - first) / MOMENT, 0.5), 1)
        if interval.unlikeness < (ALIKE if interval.chosen else unlike):
            return strong
        if interval.chosen:
            clear = interval.unlikeness >= CLEAR + 15 * view.is_uneasy(end)
            odd = view.is_restless(end) or view.has_leading(end)
            odd = odd or (view.is_unsettled(end) and len(view.swells(first, end)) > 0)
            plain = clear and not (interval.faint or odd)
            return strong if plain else [end]
        if settled and not strong:
            return [end] if self._surprising(end, interval) else []
        return [*(strong or _behind(view.sharp(first, end)) or _behind(view.spikes(first, end))), end]

    def _settled(self, interval: Interval) -> list[int]:
        """The doubts of an interval that were looked into when its key frame was decoded, if nothing else happened."""
        looked = self._looked.get(interval.first, [])
        return looked if looked and self._is_steady(interval, interval.end) else []

    def _is_odd(self, interval: Interval) -> bool:
        return self._view.is_unsettled(interval.end)

    def _comes_back(self, interval: Interval) -> bool:
        """Whether soon after its end an interval's first picture is there again, as after a flash; a few frames."""
        early = self._sampler.get(interval.first)[None]
        behind = self._behind_key.get(interval.end)
        if behind:
            return float(min(unlikeness(early, late[None])[0] for late in behind)) < self._returned(interval)
        self._feeder.start(interval.end)
        self._feeder.advance(min(interval.end + 6, self._view.index.frame_count), lambda _: True)
        self._feeder.finish()
        after = [interval.end + away for away in (2, 3, 5) if interval.end + away in self._sampler]
        apart = [float(unlikeness(early, self._sampler.get(frame)[None])[0]) for frame in after]
        return min(apart, default=interval.unlikeness) < self._returned(interval)

    def _returned(self, interval: Interval) -> float:
        return min(0.5 * interval.unlikeness, UNLIKE)

    def swells(self, interval: Interval) -> list[int]:
        """The frames up to which to decode to see slow transitions that nothing else tells of."""
        if interval.unlikeness < ALIKE:
            return []
        return _behind(self._view.swells(interval.first, interval.end))

    def _decode(self, interval: Interval, stops: list[int], started: bool) -> bool:
        """Decode from stop to stop until the next key frame is no surprise; whether it still is one."""
        end, feeder = interval.end, self._feeder
        near: Near | None = self._near(interval.first, end)
        thin = self._thin(interval, True)
        if not started:
            feeder.start(interval.first)
        for stop, following in zip(stops, [*stops[1:], 0], strict=True):
            reached, is_last = min(stop, end), not interval.chosen and following >= end
            behind = thin if interval.chosen or feeder.is_stale else None
            leap = near if stop < end else self._tail(interval, stops) or behind
            if behind and len(self._view.swells(interval.first, reached)):
                leap = thin
            feeder.advance(reached, self._view.is_near_spike, leap)
            if feeder.is_stale and not self._is_steady(interval, reached):
                near = thin = self._thin(interval, False)
                feeder.restart(interval.first)
                feeder.advance(reached, self._view.is_near_spike, thin)
            unseen = any(reached <= doubt < end for doubt in self._real[interval.first])
            if is_last and not unseen and not self._surprising(reached, interval):
                break
            if is_last and feeder.is_stale and not self._is_new(reached, interval):
                feeder.restart(interval.first)
        feeder.finish()
        if feeder.is_stale and not interval.chosen and self._surprising(end, interval) and not self._is_fresh(interval):
            feeder.start(interval.first)
            feeder.advance(end, self._view.is_near_spike)
            feeder.finish()
        return max(stops) < end and self._surprising(max(stops), interval)

    def _tail(self, interval: Interval, stops: list[int]) -> Near | None:
        """The last frames of a calm interval, where nothing but the chosen key frame behind it is in doubt."""
        view, first, end = self._view, interval.first, interval.end
        start, fading = end - TAIL, end - FADING * interval.faint_end
        if not interval.chosen or stops != [end] or start <= first + LEAP or len(view.swells(first, start)):
            return None
        spikes = set(view.spikes(first, start).tolist())
        if spikes and view.is_restless(end):
            return None
        rising = first + FADING * (interval.faint and not interval.faint_end)
        return lambda f: f >= start or ((f >= fading or f < rising) and bool(view.is_anchor[f])) or f in spikes

    def _thin(self, interval: Interval, calm: bool) -> Near | None:
        """Frames predicted from the past alone, and all around doubts and before the end: enough for slow changes.

        With `calm` none of those between the first and the first swell.
        """
        view, first, end = self._view, interval.first, interval.end
        if not (view.has_chosen_keys and view.has_bidirectional):
            return None
        near = self._near(first, end)
        calm = calm and not view.is_restless(end)
        skipped = range(first + TAIL, view.calm_until(first, end) - TAIL if calm else 0)
        return lambda frame: (
            near(frame) or frame >= end - TAIL or (bool(view.is_anchor[frame]) and frame not in skipped)
        )

    def _is_steady(self, interval: Interval, stop: int) -> bool:
        """Whether the picture was still the same wherever a leap ended."""
        seen = [n for n in range(interval.first, stop) if n in self._sampler]
        return all(self._unlike(a, b) < LANDED for a, b in pairwise(seen) if b - a > GAP)

    def _near(self, first: int, end: int, more: Iterable[int] = ()) -> Near:
        """Which frames of an interval lie so near a doubt that they must be seen."""
        near, reached, leapt = set[int](), first, False
        for doubt in sorted([*self._doubts(first, end), *more]):
            start = doubt - LEAD if doubt - LEAD > reached + LEAP else reached
            leapt = leapt or start > reached
            near.update(
                self._around(doubt, start, end + MARGIN, doubt - start) if leapt else range(start, doubt + MARGIN + 1)
            )
            reached = doubt + MARGIN
        return near.__contains__

    def _doubts(self, first: int, end: int) -> list[int]:
        """The frames of an interval at which there may be a cut."""
        view = self._view
        for doubts in (self._real.get(first, []), view.sharp(first, end), view.spikes(first, end)):
            if len(doubts):
                return sorted(int(d) for d in doubts)
        return []

    def _surprising(self, stop: int, interval: Interval) -> bool:
        """Whether the next key frame shows something else than the last frame decoded so far."""
        return interval.end in self._sampler and self._unlike(self._last_seen(stop, interval), interval.end) >= SURPRISE

    def _is_new(self, stop: int, interval: Interval) -> bool:
        """Whether the last frame decoded so far shows something else than the first of the interval."""
        return self._unlike(interval.first, self._last_seen(stop, interval)) >= RENEWED

    def _is_fresh(self, interval: Interval) -> bool:
        """Whether a cut was seen in an interval: what comes behind it owes nothing to what was leapt over."""
        if not self._view.has_bidirectional:  # where no frame is spared a leap leaves more behind
            return False
        seen = [n for n in range(interval.first, interval.end) if n in self._sampler]
        close = [(a, b) for a, b in pairwise(seen) if b - a <= GAP]
        cuts = [late for early, late in close if self._unlike(early, late) >= CLEAR]
        return bool(cuts) and not len(self._view.swells(cuts[-1], interval.end))

    def _last_seen(self, stop: int, interval: Interval) -> int:
        return next((n for n in range(stop - 1, interval.first, -1) if n in self._sampler), interval.first)

    def _unlike(self, early: int, late: int) -> float:
        return float(unlikeness(self._sampler.get(early)[None], self._sampler.get(late)[None])[0])

    def _close_steps(self) -> None:
        """Decode the frames left out where a cut hides among them."""
        open_ = [step for stretch in self._sampler.stretches() for step in open_steps(stretch)]
        for before, after in open_:
            if self.touches and not self._view.is_doubtful(after):
                continue
            first = self._view.key_before(before)
            self._feeder.start(first)
            sampled = range(before, after + 1).__contains__
            near = self._near(first, after + 1, [before])
            self._feeder.advance(after, sampled, near, sampled)
            if self._view.is_key[after]:
                self._feeder.advance(after + 1, lambda frame, a=before, b=after: a < frame < b)  # type: ignore[misc]
            self._feeder.finish()


def _behind(doubts: Iterable[int]) -> list[int]:
    """Stops a little behind each doubt, those that are close together as one."""
    stops: list[int] = []
    for frame in sorted(int(d) for d in doubts):
        if stops and frame < stops[-1]:
            stops[-1] = frame + MARGIN
        else:
            stops.append(frame + MARGIN)
    return stops


def _covers(found: Transition, frame: int) -> bool:
    return found.first_frame - 2 <= frame <= found.last_frame + 2
