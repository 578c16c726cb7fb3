"""Decides what happens in a stretch of pictures: cuts, fades and dissolves, with their frames and confidence.

The same code judges a film that was decoded whole and the short stretches a cheaper strategy looks at. It works on
block samples only and knows nothing about files. Start at `judge`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from malan.curation.shots.fades import Fade, find_fades
from malan.curation.shots.measure import Blocks, Curve, difference, moving_amount, plain_steps, remains
from malan.curation.shots.mixes import Mix, find_dissolves
from malan.curation.shots.report import Transition

NEAR = 6  # frames on each side that tell what motion is normal here
AWAY = (2, 3, 5)  # frames after which a flash or a strobe shows the old picture again
TWIN = 3  # frames within which only the strongest of several cuts stands
FAINTEST = 8.0  # amount of the faintest cut; key frames of coarse encodes stand out by up to 7
LOCAL = 0.25  # part of the picture up to which a change is a title, or something that pops up
PLAIN_MORE = 1.5  # factor by which plain steps are sure to exceed what is left when motion is forgiven
REST = 4.5  # what a step must exceed where nothing else moves
SURE = 1.0  # cut score from which it is a cut
SAME = 0.5  # a picture that comes back this close was never gone


@dataclass(frozen=True)
class Stretch:
    """Neighbouring frames of a film; those that were not decoded are filled in between and marked."""

    first: int  # film frame number of blocks[0]
    blocks: Blocks  # (T, 3, H, W)
    known: NDArray[np.bool_]
    opens_film: bool = False
    ends_film: bool = False

    @cached_property
    def steps(self) -> Curve:
        """Plain difference from each frame to the next."""
        return plain_steps(self.blocks)

    def placed(self, frames: int) -> Stretch:
        """The same stretch, knowing whether it holds the first or the last frame of a film of so many frames."""
        opens, ends = self.first == 0, self.first + len(self) >= frames
        return replace(self, opens_film=opens, ends_film=ends) if opens or ends else self

    def __len__(self) -> int:
        return len(self.blocks)


def judge(stretch: Stretch) -> list[Transition]:
    """The transitions inside a stretch, in order. Fades swallow the cuts inside them; dissolves cross no cuts."""
    if len(stretch) < 2:
        return []
    cuts = find_cuts(stretch)
    fades = find_fades(stretch.blocks, cuts, stretch.opens_film, stretch.ends_film)
    cuts = {t: s for t, s in cuts.items() if not any(f.hides(t) for f in fades)}
    mixes = [m for m in find_dissolves(stretch.blocks, sorted(cuts)) if not _is_fade(m, fades, stretch)]
    base = stretch.first
    found = [Transition("cut", base + t - 1, base + t, _confidence(s)) for t, s in cuts.items()]
    found += [Transition("fade", base + f.start, base + f.end, f.confidence) for f in fades if f.gradual]
    found += [Transition("dissolve", base + m.start, base + m.end, m.confidence) for m in mixes]
    return sorted(found, key=lambda t: t.boundary)


def _is_fade(mix: Mix, fades: list[Fade], stretch: Stretch) -> bool:
    """Half a fade is a mixture too, with black; so is the fade that opens or ends a film without a blank frame."""
    opens = stretch.opens_film and mix.start <= 1
    ends = stretch.ends_film and mix.end >= len(stretch) - 2
    return opens or ends or any(mix.start < f.end and mix.end > f.start for f in fades)


def find_cuts(stretch: Stretch) -> dict[int, float]:
    """Position of each cut's first new frame in the stretch, and its score; 1 is a cut by a hair."""
    peaks, amounts, scores = _likely(stretch)
    likely = [(int(t), float(s), float(a)) for t, s, a in zip(peaks, scores, amounts, strict=True)]
    strongest = [(t, s, a) for t, s, a in likely if not any(0 < abs(t - o) <= TWIN and s < r for o, r, _ in likely)]
    back = _come_back(stretch.blocks, [t for t, _, _ in strongest], [a for _, _, a in strongest])
    return {t: s for (t, s, _), returned in zip(strongest, back, strict=True) if not returned}


def _likely(stretch: Stretch) -> tuple[NDArray[np.int64], Curve, Curve]:
    """Peaks that rise over the motion around them, their amounts and scores. Looks around only where it pays."""
    peaks = _peaks(stretch)
    at = difference(stretch.blocks[peaks - 1], stretch.blocks[peaks], FAINTEST)
    enough = at.amount * (0.5 + at.share)
    kept = (at.amount >= FAINTEST) & (at.share >= LOCAL) & (enough >= SURE * REST)
    kept[kept] = ~remains(stretch.blocks[peaks[kept] - 1], stretch.blocks[peaks[kept]])
    peaks, amounts, enough = peaks[kept], at.amount[kept], enough[kept]
    scores = enough / _resistance(*_plain_around(stretch, peaks))
    close = np.flatnonzero(scores < SURE)
    known: dict[int, float] = {int(t): float(a) for t, a in zip(peaks, amounts, strict=True)}
    beside = _largest(stretch, peaks[close], (-1, 1), known, rank=1)
    still = enough[close] / _resistance(beside, np.zeros_like(beside)) >= SURE
    close, beside = close[still], beside[still]
    around = tuple(i for i in range(-NEAR, NEAR + 1) if i)
    scores[close] = enough[close] / _resistance(beside, _largest(stretch, peaks[close], around, known, rank=3))
    kept = scores >= SURE
    return peaks[kept], amounts[kept], scores[kept].astype(np.float32)


def _resistance(beside: Curve, usual: Curve) -> Curve:
    """What a step must exceed: more, the more moves right beside it and around."""
    return REST + np.float32(1.8) * beside + np.float32(0.4) * usual


def _plain_around(stretch: Stretch, peaks: NDArray[np.int64]) -> tuple[Curve, Curve]:
    """Steps right beside each peak and the third-largest around, motion not forgiven: no less than what is."""
    steps = np.pad(stretch.steps * PLAIN_MORE, NEAR)
    windows = steps[(peaks - 1)[:, None] + np.arange(2 * NEAR + 1)[None]]
    beside = np.maximum(windows[:, NEAR - 1], windows[:, NEAR + 1])
    windows[:, NEAR] = 0
    usual = np.sort(windows, axis=1)[:, -3]
    return beside.astype(np.float32), usual.astype(np.float32)


def _largest(
    stretch: Stretch, peaks: NDArray[np.int64], away: tuple[int, ...], known: dict[int, float], rank: int
) -> Curve:
    """Of the steps at these distances from each peak the `rank`-th largest, motion forgiven. `known` grows."""
    steps = stretch.steps
    around = [[t + i for i in away if 1 <= t + i < len(stretch)] for t in peaks.tolist()]
    wanted = np.array(sorted({t for ts in around for t in ts if t not in known and steps[t - 1] > 4}), np.int64)
    known.update(
        zip(wanted.tolist(), moving_amount(stretch.blocks[wanted - 1], stretch.blocks[wanted]).tolist(), strict=True)
    )
    return np.array([sorted([known.get(t, 0.0) for t in ts] + [0.0] * rank)[-rank] for ts in around], np.float32)


def _peaks(stretch: Stretch) -> NDArray[np.int64]:
    """Frames whose step from the frame before stands out; both must have been decoded."""
    steps, known = stretch.steps, stretch.known
    padded = np.pad(steps, 1)
    beside = np.minimum(padded[:-2], padded[2:])
    return np.flatnonzero((steps > 5) & (steps > 1.3 * beside) & known[1:] & known[:-1]) + 1


def open_steps(stretch: Stretch) -> list[tuple[int, int]]:
    """Film frames between which a cut must lie that was not decoded closely enough: (last old, first new) each."""
    known = np.flatnonzero(stretch.known)
    blocks = stretch.blocks[known]
    steps = np.pad(plain_steps(blocks), 1)
    beside = np.maximum(steps[:-2], steps[2:])
    at = np.flatnonzero((np.diff(known) > 1) & (steps[1:-1] > 12) & (steps[1:-1] > 1.8 * beside))
    apart = difference(blocks[at], blocks[at + 1], FAINTEST)
    at = at[(apart.amount > FAINTEST + 4) & (apart.share > 0.35)]
    return [(stretch.first + int(known[i]), stretch.first + int(known[i + 1])) for i in at]


def _come_back(blocks: Blocks, cuts: list[int], amounts: list[float]) -> NDArray[np.bool_]:
    """Of each cut: whether the picture before returns soon after, or the one after was there before: a flash."""
    pairs = [(i, t - 1, t + away) for i, t in enumerate(cuts) for away in AWAY if t + away < len(blocks)]
    pairs += [(i, t - 1 - away, t) for i, t in enumerate(cuts) for away in AWAY if t - 1 - away >= 0]
    returned = np.zeros(len(cuts), bool)
    if pairs:
        which, early, late = np.array(pairs).T
        same = difference(blocks[early], blocks[late]).amount < SAME * np.array(amounts)[which]
        np.logical_or.at(returned, which, same)
    return returned


def _confidence(score: float) -> float:
    return round(float(np.clip(0.5 + 0.25 * (score - SURE), 0.5, 0.99)), 3)
