"""Which clips a promo shows, from where on, and why: what speaks for each, variety; no shot twice, none mid-sentence.

What speaks for a clip stands in `weigh`. Numbers only, nothing is decoded. Start reading at `choose`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from malan.apps.promo.board import Shot
from malan.apps.promo.weigh import NEUTRAL, Judged, judge, reasons, seen, usual_parts
from malan.core.errors import NotFound
from malan.services.clips.picking import Candidate
from malan.services.clips.strips import Strip

Floats = NDArray[np.float64]

_POOL = 240  # the best so many are compared with each other
LOOKED_INTO = 72  # of the best so many the filmstrip is read
_EDGE_S = 0.12  # kept away from cuts: codecs and dissolves leave traces there
_SHORTEST = 8  # frames
_SEEN_S = 0.8  # what is shown for less is a flash
_BRIEF_S, _SHOWS = 0.5, 0.15  # the shortest a shot is made so that nothing is shown of which nothing is seen
_APART_S = 0.4  # between two shots of one clip
_GRID = 41  # moments at which a stretch is looked at
_ALIKE = 0.86  # of looks; above this two shots look the same
_NEXT_ALIKE = 0.06  # off what shows people after people, or a place after a place
_UNSEEN, _BLACK = 0.6, 0.1  # off what is dark or fading somewhere in even its best stretch; less than that is black
_WITH_FACES = 0.15  # for a stretch in which people are seen all through, where the film likes people
_SURE = 0.5  # of how sure the surest is
_WRITTEN = 0.25  # off a stretch with old captions all through
_WITH_ENDING = 4  # shots from which on one of the best is kept for the end

Look = Callable[[Sequence[Candidate]], Mapping[str, Strip]]


def choose(
    found: Sequence[Candidate], slots: Sequence[int], rate: int, style: str, look: Look,
    *, keeps_order: bool = False, aspect: float = 0.0, is_heard: bool = False, language: str = "zh",
) -> list[Shot]:  # fmt: skip
    """A shot for every slot.

    Args:
        found: Clips that may be used.
        look: Reads the filmstrips of some of them.
        slots: Frames of each shot.
        aspect: Width over height of the film that matters most; footage of its shape comes first. 0: any.
        keeps_order: Somebody chose the clips: they are shown in that order, as far as there are slots.
        is_heard: The clips' own sound is what the film sounds like.
        language: That of the reasons.

    Raises:
        NotFound: There is too little for the length.
    """
    usable = [one for one in found if one.row.span.end_s - one.row.span.start_s > 2 * _EDGE_S + 0.4]
    seconds = sum(one.row.span.end_s - one.row.span.start_s - 2 * _EDGE_S for one in usable)
    needed = sum(slots) / rate
    if seconds < needed:
        raise NotFound("promo.too_little", found=f"{seconds:.1f}", needed=f"{needed:.1f}")
    if keeps_order:
        strips = look(usable)
        judged = [judge(one, style, strips.get(one.row.id), aspect, is_heard=is_heard) for one in usable]
        usual = usual_parts(judged)
        return [
            _shot(judged[place], frames, rate, _usable(judged[place]), reasons(judged[place], usual, language))
            for place, frames in _in_order(judged, slots, rate)
        ]
    sure = _sure(usable)
    if len(sure) < len(usable):
        with suppress(NotFound):  # too little: then the doubtful ones help out
            return choose(sure, slots, rate, style, look, aspect=aspect, is_heard=is_heard, language=language)
    judged = _best_first(judge(one, style, is_heard=is_heard) for one in usable)
    strips = look([one.candidate for one in judged[: max(LOOKED_INTO, 3 * len(slots))]])
    known = [one.candidate for one in judged if one.candidate.row.id in strips]
    looked = _best_first(judge(one, style, strips[one.row.id], aspect, is_heard=is_heard) for one in known)
    return _Cut(looked or judged[:_POOL], rate, language).fill(slots)


def _sure(found: Sequence[Candidate]) -> list[Candidate]:
    """Those that show what was asked for about as surely as the surest; the others are for want of better."""
    surest = max((one.sure for one in found), default=0.0)
    return [one for one in found if one.sure >= _SURE * surest]


def _best_first(judged: Iterable[Judged]) -> list[Judged]:
    return sorted(judged, key=lambda one: (-one.score, one.candidate.row.id))


class _Cut:
    """The best remaining stretch for each slot, less so the more it resembles what was shown just before.

    A clip is used a second time, elsewhere in it, only when no other will do. A slot nothing is long enough for is
    shared by two. One of the best is kept for the end. People and places take turns where the library has both.
    """

    def __init__(self, judged: Sequence[Judged], rate: int, language: str) -> None:
        self._judged, self._rate, self._language = judged, rate, language
        self._usual = usual_parts(judged)
        self._people = np.asarray([{None: 0.0, True: 1.0, False: -1.0}[one.has_people] for one in judged])
        self._scores = np.asarray([one.score for one in judged])
        self._shows = np.asarray([one.parts["light"] >= _SHOWS for one in judged])
        self._groups = np.asarray([one.candidate.row.group_id or f"-{place}" for place, one in enumerate(judged)])
        self._alike = _likeness(judged)
        self._free = [[_usable(one)] for one in judged]
        self._picks: list[int] = []

    def fill(self, slots: Sequence[int]) -> list[Shot]:
        """A shot for every slot.

        Raises:
            NotFound: There is too little for the length.
        """
        shots, waiting = list[Shot](), list(slots)
        ending: int | None = None
        while waiting:
            frames = waiting.pop(0)
            lengths = self._lengths()
            longest = int(lengths.max())
            if longest < min(frames, round(_BRIEF_S * self._rate)):
                found, needed = (
                    f"{some / self._rate:.1f}" for some in (sum(shot.frames for shot in shots), sum(slots))
                )
                raise NotFound("promo.too_little", found=found, needed=needed)
            if longest < frames:
                frames = self._shared(frames, longest, waiting)
            place = self._best(lengths, frames, ending if waiting else None)
            if ending is not None and not waiting and lengths[ending] >= frames:
                place = ending
            shots.append(self._take(place, frames))
            if len(shots) == 1 and len(slots) >= _WITH_ENDING:
                ending = self._ending(slots[-1])
        return shots

    def _ending(self, frames: int) -> int | None:
        """What the film ends with: the best that is left and does not look like its beginning; people before places."""
        lengths, [first] = self._lengths(), self._picks
        score = self._scores - (self._alike[first] > _ALIKE) - 0.12 * _same_file(self._judged, first)
        score = score + _NEXT_ALIKE * self._people
        fit = [(score[n] - self._hidden(int(n), frames), -n) for n in np.flatnonzero(lengths >= frames)]
        return -int(max(fit)[1]) if fit else None

    def _best(self, lengths: NDArray[np.int64], frames: int, kept: int | None) -> int:
        """The clip worth most of those that are long enough; what is kept for later only where no other is."""
        long = np.flatnonzero(lengths >= frames)
        worth = np.full(len(lengths), -np.inf)
        worth[long] = self._worth()[long] - np.asarray([self._hidden(int(n), frames) for n in long])
        if kept is not None:
            free = np.where(self._groups == self._groups[kept], -np.inf, worth - 0.6 * (self._alike[kept] > _ALIKE))
            worth = free if np.isfinite(free).any() else worth
        return int(np.argmax(worth))

    def _lengths(self) -> NDArray[np.int64]:
        """Whole frames that the longest stretch left of each clip holds.

        None of what there is nothing to see of (black, credits), unless there is nothing else: rather a short shot.
        """
        seconds = [max((end - start for start, end in free), default=0.0) for free in self._free]
        lengths = np.floor(np.asarray(seconds) * self._rate + 1e-6).astype(np.int64)
        return np.where(self._shows, lengths, 0) if self._shows.any() else lengths

    def _shared(self, frames: int, longest: int, waiting: list[int]) -> int:
        """How much of a slot that is too long for every clip is filled now; the rest goes to the slots after it.

        Neither part is a flash: the rest is long enough to be seen, or belongs to the next slot.
        """
        seen = max(_SHORTEST, min(round(_SEEN_S * self._rate), frames // 2))
        first = longest
        if frames - longest < seen and not waiting:
            first = frames - seen
        if first < _SHORTEST:
            raise NotFound("promo.too_little", found=f"{longest / self._rate:.1f}", needed=f"{frames / self._rate:.1f}")
        if frames - first < seen:
            waiting[0] += frames - first
        else:
            waiting.insert(0, frames - first)
        return first

    def _hidden(self, place: int, frames: int) -> float:
        """What it costs a clip that even its best so many frames are dark or fading somewhere; black is refused."""
        start, end = self._longest(place)
        last = max(start, end - frames / self._rate)
        _, shown = _best_start(self._judged[place], start, last, frames / self._rate)
        return _UNSEEN * (1 - shown) + 2.0 * (shown < _BLACK)

    def _longest(self, place: int) -> tuple[float, float]:
        return max(self._free[place], key=lambda free: free[1] - free[0])

    def _worth(self) -> Floats:
        worth = self._scores.copy()
        for back, earlier in enumerate(reversed(self._picks[-6:])):
            worth -= 0.5 * np.maximum(0, self._alike[earlier] - 0.4) / (1 + 0.5 * back)
            worth -= 0.12 * _same_file(self._judged, earlier) / (1 + back)
            worth -= _NEXT_ALIKE * np.maximum(0, self._people * self._people[earlier]) / (1 + back)
        for earlier in set(self._picks):
            worth -= 0.6 * (self._alike[earlier] > _ALIKE)
            worth[earlier] -= 1.0
        return worth

    def _take(self, place: int, frames: int) -> Shot:
        """The shot, and what is then left of its clip; of its near-duplicates nothing is."""
        length = frames / self._rate
        stretch = self._longest(place)
        one = self._judged[place]
        shot = _shot(one, frames, self._rate, stretch, reasons(one, self._usual, self._language))
        rest = [(stretch[0], shot.from_s - _APART_S), (shot.from_s + length + _APART_S, stretch[1])]
        kept = [free for free in self._free[place] if free != stretch]
        for other in np.flatnonzero(self._groups == self._groups[place]):
            self._free[int(other)] = []
        self._free[place] = [*kept, *(free for free in rest if free[1] > free[0])]
        self._picks.append(place)
        return shot


def _in_order(judged: Sequence[Judged], slots: Sequence[int], rate: int) -> list[tuple[int, int]]:
    """The clips as they were named; time is shared out among them, none longer than it is."""
    total, most = sum(slots), [int(_length(one) * rate) for one in judged]
    count = min(len(judged), max(1, total // 8))
    even = [min(total // count, most[place]) for place in range(count)]
    for place in range(count):
        even[place] += min(most[place] - even[place], total - sum(even))
    return [(place, frames) for place, frames in enumerate(even) if frames >= 4]


def _length(one: Judged) -> float:
    start, end = _usable(one)
    return end - start


def _usable(one: Judged) -> tuple[float, float]:
    """The stretch of a clip that may be shown: without its cuts, dissolves and fades."""
    span = one.candidate.row.span
    start, end = one.strip.clear if one.strip else (span.start_s, span.end_s)
    start, end = max(start, span.start_s) + _EDGE_S, min(end, span.end_s) - _EDGE_S
    return _seen_in(one, start, max(start, end))


def _seen_in(one: Judged, start: float, end: float) -> tuple[float, float]:
    """The longest part of a stretch in which there is something to see; all of it where there is none."""
    if one.strip is None or end - start < _BRIEF_S:
        return start, end
    at = np.linspace(start, end, _GRID)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], _seen_at(one, at) >= _BLACK, [0]]).astype(np.int8)))
    runs = [(float(at[first]), float(at[last - 1])) for first, last in zip(edges[::2], edges[1::2], strict=True)]
    return max(runs, key=lambda run: run[1] - run[0], default=(start, end))


def _seen_at(one: Judged, at_s: Floats) -> Floats:
    """How much is to be seen at some moments of the file, between those of the filmstrip."""
    if one.strip is None:
        return np.ones(at_s.shape)
    shown = seen(one.strip)
    return np.asarray(np.interp(at_s, _moments(one, len(shown)), shown))


def _moments(one: Judged, count: int) -> Floats:
    """When the pictures of a filmstrip were, in seconds of the file: the first at its start."""
    span = one.candidate.row.span
    return span.start_s + np.arange(count) / count * (span.end_s - span.start_s)


def _likeness(judged: Sequence[Judged]) -> Floats:
    """How alike clips look, -1 to 1, (N, N); 0 where nothing is known."""
    width = next((len(one.candidate.look) for one in judged if one.candidate.look is not None), 1)
    looks = np.stack([
        np.zeros(width) if one.candidate.look is None else np.asarray(one.candidate.look, np.float64) for one in judged
    ])  # fmt: skip
    looks = looks / np.maximum(np.linalg.norm(looks, axis=1, keepdims=True), 1e-9)
    return np.asarray(looks @ looks.T)


def _same_file(judged: Sequence[Judged], place: int) -> Floats:
    asset = judged[place].candidate.row.clip.asset_id
    return np.asarray([float(one.candidate.row.clip.asset_id == asset) for one in judged])


def _shot(one: Judged, frames: int, rate: int, stretch: tuple[float, float], why: tuple[str, ...]) -> Shot:
    """A part of a stretch of a clip: where most is to be seen, and no sentence is cut where that can be had."""
    length = frames / rate
    first, last = stretch[0], max(stretch[0], stretch[1] - length)
    middle, _ = _best_start(one, first, last, length)
    starts = [
        middle,
        first,
        last,
        *(end + 0.05 for _, end in one.candidate.speech),
        *(a - 0.15 for a, _ in one.candidate.speech),
    ]
    possible = [start for start in starts if first <= start <= last]
    start = min(possible, key=lambda at: (_broken(one.candidate, at, at + length), abs(at - middle)))
    return Shot(
        clip=one.candidate.row.id,
        from_s=round(start, 3),
        frames=frames,
        sound=_broken(one.candidate, start, start + length) == 0,
        score=round(one.score, 3),
        why=why,
    )


def _best_start(one: Judged, first: float, last: float, length: float) -> tuple[float, float]:
    """Where most is to be seen, people first, rather before the middle than elsewhere; and how much, 0 to 1."""
    usual = first + 0.4 * (last - first)
    if one.strip is None:
        return usual, 1.0
    moments = _moments(one, len(one.strip.light))
    starts = np.linspace(first, last, 24) if last - first >= 0.2 else np.asarray([usual])
    inside = np.linspace(0.02, 0.98, 8) * length
    within = starts[:, None] + inside[None, :]
    least = _seen_at(one, within).min(axis=1)
    written = np.mean([[_is_written(one.candidate, at) for at in some] for some in within], axis=1)
    people = np.interp(within, moments, _people_at(one, moments)).mean(axis=1)
    away = np.abs(starts - usual) / max(last - first, 1e-6)
    best = int(np.argmax(least + _WITH_FACES * people - _WRITTEN * written - 0.05 * away))
    return float(starts[best]), float(least[best])


def _is_written(one: Candidate, at: float) -> bool:
    """Whether old captions stand there at a moment of its file."""
    return any(begin <= at < end for begin, end, _ in one.captions)


def _people_at(one: Judged, moments: Floats) -> Floats:
    """1 at the moments of the filmstrip at which faces were seen; nowhere where the film does not ask for people."""
    seen_s = one.strip.faces_s if one.strip and one.parts["faces"] > NEUTRAL else ()
    found = np.zeros(len(moments))
    for at in seen_s:
        found[int(np.argmin(np.abs(moments - at)))] = 1.0
    return found


def _broken(candidate: Candidate, start: float, end: float) -> int:
    """How many sentences are cut in two."""
    return sum(a < start < b for a, b in candidate.speech) + sum(a < end < b for a, b in candidate.speech)
