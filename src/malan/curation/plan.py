"""Which frames a scan still has to decode after shot detection, so that one pass serves all operators.

The detector showed its frames to the sampler for free. What shots still lack (a picture, a few frames in succession)
is wished for here, cheapest first: a key frame inside the shot costs one packet, anything else its way from the key
frame before. Wishes that need the same packets become one run. Start at `plan_decode`, then `carry_out`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from malan.curation.samples import BURST_FRAMES, BURST_STEP_S, Sampler, exact_seconds
from malan.curation.shots.report import Shot
from malan.media.decode import FrameDecoder
from malan.media.index import PacketIndex

KEY_COST = 3.0  # decoding a key frame, in units of an ordinary frame
WISHED_SHARE = 0.03  # of the file's frames may be decoded for filmstrips; what every shot needs is not counted
WISHED_FRAMES = 120  # on top, so that a short file gets all its pictures
MOST_PICTURES = 5  # of a shot
_NEAR_KEY = 12  # a key frame at most so many frames after the wanted place is taken in its stead


@dataclass(frozen=True)
class Stretch:
    """The frames of a shot, and those of them outside of its transitions."""

    first: int
    end: int
    clean_first: int
    clean_end: int


@dataclass(frozen=True)
class Run:
    """Frames to decode in one go: from the key frame before `first` to `end` (excluded)."""

    first: int
    end: int
    pictures: frozenset[int]
    bursts: frozenset[int]


@dataclass(frozen=True)
class DecodePlan:
    """Runs in file order and what they should cost, in frames decoded."""

    runs: tuple[Run, ...] = ()
    predicted_frames: int = 0


@dataclass(frozen=True)
class Filled:
    """What carrying out a plan took, and which frames would not come."""

    frames_decoded: int
    lost: tuple[int, ...]


@dataclass(frozen=True)
class _Wish:
    first: int
    end: int
    picture: int | None
    burst: int | None
    is_needed: bool


def stretches(shots: Sequence[Shot]) -> list[Stretch]:
    """Each shot without the frames of the transitions at its ends; a shot that is all transition is taken whole."""
    found = []
    for shot, following in zip(shots, [*shots[1:], None], strict=True):
        clean_first = min(max(shot.first, shot.transition.last_frame), shot.end)
        clean_end = shot.end if following is None else min(shot.end, following.transition.first_frame + 1)
        if clean_end <= clean_first:
            clean_first, clean_end = shot.first, shot.end
        found.append(Stretch(shot.first, shot.end, clean_first, clean_end))
    return found


def plan_decode(
    parts: Iterable[Stretch], index: PacketIndex, sampler: Sampler, *, motion: bool, allowance: float
) -> DecodePlan:
    """What to decode so that each of these shots has its pictures and, with `motion`, a burst.

    Args:
        parts: Shots in order.
        index: Packet index of the track.
        sampler: What there is already.
        motion: Whether any operator reads motion.
        allowance: Frames that may be decoded for what is nice to have; what is needed comes on top.
    """
    wishes = [wish for part in parts for wish in _wishes(part, index, sampler, motion)]
    chosen = [wish for wish in wishes if wish.is_needed]
    chosen += _affordable([wish for wish in wishes if not wish.is_needed], chosen, index, allowance)
    runs = tuple(_merged(chosen, index))
    return DecodePlan(runs, sum(_packets(index, run.first, run.end) for run in runs))


def _affordable(
    wishes: Iterable[_Wish], needed: Iterable[_Wish], index: PacketIndex, allowance: float
) -> Iterator[_Wish]:
    """The wishes that cost least beyond what is decoded anyway, as far as the allowance goes."""
    reached: dict[int, int] = {}
    for wish in needed:
        key = _key_before(index, wish.first)
        reached[key] = max(reached.get(key, key), wish.end)
    priced = []
    for wish in sorted(wishes, key=lambda w: w.end):
        key = _key_before(index, wish.first)
        cost = max(0.0, wish.end - reached[key]) if key in reached else wish.end - key + KEY_COST - 1
        reached[key] = max(reached.get(key, key), wish.end)
        priced.append((cost, wish))
    for cost, wish in sorted(priced, key=lambda p: p[0]):
        allowance -= cost
        if allowance < 0:
            return
        yield wish


def carry_out(plan: DecodePlan, decoder: FrameDecoder, sampler: Sampler) -> Filled:
    """Decode the runs and show their frames to the sampler."""
    before, lost = decoder.frames_decoded, list[int]()
    for run in plan.runs:
        missing = set(range(run.first, run.end))
        for number, frame in decoder.frames(run.first, run.end):
            missing.discard(number)
            sampler.observe(frame, number)
            if number in run.pictures:
                sampler.take(frame, number)
            if number in run.bursts:
                sampler.begin_burst(frame, number)
        lost += sorted(missing)
    return Filled(decoder.frames_decoded - before, tuple(lost))


def _wishes(part: Stretch, index: PacketIndex, sampler: Sampler, motion: bool) -> Iterator[_Wish]:
    keys = index.key_frames
    inside = keys[np.searchsorted(keys, part.clean_first) : np.searchsorted(keys, part.clean_end)]
    has_picture = bool(sampler.samples(part.clean_first, part.clean_end))
    if motion and not sampler.bursts(part.clean_first, part.clean_end) and part.clean_end - part.clean_first > 1:
        burst = _burst_wish(part, inside, index, has_picture)
        yield burst
        has_picture = has_picture or burst.picture is not None
    if not has_picture:
        at = int(inside[len(inside) // 2]) if len(inside) else part.clean_first
        yield _Wish(at, at + 1, at, None, is_needed=True)
    yield from _strip_wishes(part, inside, index, sampler)


def _burst_wish(part: Stretch, inside: np.ndarray, index: PacketIndex, has_picture: bool) -> _Wish:
    """A burst from the key frame nearest to the middle that leaves room for it, else from the first frame."""
    length = ceil(BURST_FRAMES * BURST_STEP_S * rate_at(index, part.clean_first)) + 1
    roomy = inside[inside + length <= part.clean_end]
    middle = (part.clean_first + part.clean_end) / 2
    first = int(roomy[np.argmin(np.abs(roomy - middle))]) if len(roomy) else part.clean_first
    end = min(first + length, part.clean_end)
    return _Wish(first, end, None if has_picture else first, first, is_needed=True)


def _strip_wishes(part: Stretch, inside: np.ndarray, index: PacketIndex, sampler: Sampler) -> Iterator[_Wish]:
    """A picture at each even step from the start of the shot, unless there is one near; a key frame near is as good.

    Steps are powers of two of a second, so a copy that was trimmed or encoded anew is seen at the same moments.
    """
    start_s = float(exact_seconds(index, part.clean_first))
    step_s = strip_step_s(float(exact_seconds(index, part.clean_end)) - start_s)
    times = index.frame_pts * float(index.timebase)
    for number in range(MOST_PICTURES):
        at = int(np.searchsorted(times, start_s + number * step_s - 1e-6))
        end = min(int(np.searchsorted(times, start_s + (number + 1) * step_s - 1e-6)), part.clean_end)
        if at >= part.clean_end:
            return
        if sampler.samples(at, end):
            continue
        keys = inside[(inside >= at) & (inside < end)]
        far = at - _key_before(index, at) > _NEAR_KEY
        at = int(keys[0]) if len(keys) and (far or keys[0] == at) else at
        yield _Wish(at, at + 1, at, None, is_needed=False)


def strip_step_s(duration_s: float) -> float:
    """Seconds between the pictures that show what happens in a shot: at most five, at least half a second apart."""
    step_s = 0.5
    while duration_s > MOST_PICTURES * step_s:
        step_s *= 2
    return step_s


def rate_at(index: PacketIndex, frame: int) -> float:
    """Frames per second around a frame, from the real timestamps; 25 where they say nothing."""
    first, end = max(0, frame - 12), min(index.frame_count, frame + 13)
    steps = np.diff(index.frame_pts[first:end])
    steps = steps[steps > 0]
    return min(240.0, 1 / float(int(np.median(steps)) * index.timebase)) if len(steps) else 25.0


def _packets(index: PacketIndex, first: int, end: int) -> int:
    """Frames a decoder makes to show the frames `first` to `end`."""
    return max(end - _key_before(index, first), 1)


def _key_before(index: PacketIndex, frame: int) -> int:
    place = int(np.searchsorted(index.key_frames, frame, side="right")) - 1
    return int(index.key_frames[place]) if place >= 0 else 0


def _merged(wishes: Iterable[_Wish], index: PacketIndex) -> Iterator[Run]:
    """Runs of wishes that start from the same key frame, in file order."""
    groups: dict[int, list[_Wish]] = {}
    for wish in wishes:
        groups.setdefault(_key_before(index, wish.first), []).append(wish)
    for _, group in sorted(groups.items()):
        yield Run(
            min(w.first for w in group),
            max(w.end for w in group),
            frozenset(w.picture for w in group if w.picture is not None),
            frozenset(w.burst for w in group if w.burst is not None),
        )
