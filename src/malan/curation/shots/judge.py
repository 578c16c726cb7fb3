"""Decides what happens in a stretch of pictures: cuts, fades and dissolves, with their frames and confidence.

The same code judges a film that was decoded whole and the short stretches a cheaper strategy looks at. It works on
block samples only and knows nothing about files. Start at `judge`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from malan.curation.shots.fades import Fade, find_fades
from malan.curation.shots.measure import Blocks, Curve, difference, plain_steps
from malan.curation.shots.mixes import Mix, find_dissolves
from malan.curation.shots.report import Transition

NEAR = 6  # frames on each side that tell what motion is normal here
RETURN = 6  # frames within which a flash or strobe is over
TWIN = 3  # frames within which only the strongest of several cuts stands
FAINTEST = 8.0  # amount of the faintest cut; key frames of coarse encodes stand out by up to 7
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

    def __len__(self) -> int:
        return len(self.blocks)


def judge(stretch: Stretch) -> list[Transition]:
    """The transitions inside a stretch, in order. Fades swallow the cuts inside them; cuts are never inside dissolves."""
    if len(stretch) < 2:
        return []
    cuts = find_cuts(stretch)
    fades = find_fades(stretch.blocks, cuts)
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
    peaks = _peaks(stretch)
    if not len(peaks):
        return {}
    scores, amounts = _scores(stretch, peaks)
    likely = [(int(t), float(s), float(a)) for t, s, a in zip(peaks, scores, amounts, strict=True) if s >= SURE]
    strongest = [(t, s, a) for t, s, a in likely if not any(0 < abs(t - o) <= TWIN and s < r for o, r, _ in likely)]
    return {t: s for t, s, a in strongest if not _comes_back(stretch.blocks, t, a)}


def _peaks(stretch: Stretch) -> NDArray[np.int64]:
    """Frames whose step from the frame before stands out; both must have been decoded."""
    steps, known = stretch.steps, stretch.known
    padded = np.pad(steps, 1)
    beside = np.minimum(padded[:-2], padded[2:])
    peaks = np.flatnonzero((steps > 5) & (steps > 1.3 * beside) & known[1:] & known[:-1]) + 1
    return peaks


def _scores(stretch: Stretch, peaks: NDArray[np.int64]) -> tuple[Curve, Curve]:
    """How far each peak rises over the motion around it, and its amount."""
    last = len(stretch) - 1
    at = difference(stretch.blocks[peaks - 1], stretch.blocks[peaks])
    around = np.unique(np.clip(peaks[:, None] + np.arange(-NEAR, NEAR + 1)[None], 1, last))
    moving = around[stretch.steps[around - 1] > 4]
    amount = np.zeros(last + 2, np.float32)
    amount[moving] = difference(stretch.blocks[moving - 1], stretch.blocks[moving]).amount
    amount[peaks] = at.amount
    usual = np.array([_usual(amount, t, last) for t in peaks], np.float32)
    beside = np.maximum(amount[peaks - 1], amount[np.minimum(peaks + 1, last + 1)])
    score: Curve = at.amount * (0.5 + at.share) / (4.5 + 0.4 * usual + 1.8 * beside)
    score[at.amount < FAINTEST] = 0
    return score, at.amount


def _usual(amount: Curve, t: int, last: int) -> float:
    """The third-largest step around, this one left out: two neighbouring cuts do not hide each other."""
    around = np.concatenate([amount[max(t - NEAR, 1) : t], amount[t + 1 : min(t + NEAR, last) + 1]])
    return float(np.sort(around)[-3]) if len(around) > 2 else 0.0


def _comes_back(blocks: Blocks, t: int, amount: float) -> bool:
    """Whether the picture before returns soon after, or the picture after was there shortly before: a flash."""
    after = np.arange(t + 1, min(t + RETURN, len(blocks)))
    before = np.arange(max(t - RETURN, 0), t - 1)
    early = np.concatenate([np.full(len(after), t - 1), before])
    late = np.concatenate([after, np.full(len(before), t)])
    return bool((difference(blocks[early], blocks[late]).amount < SAME * amount).any()) if len(early) else False


def _confidence(score: float) -> float:
    return round(float(np.clip(0.5 + 0.25 * (score - SURE), 0.5, 0.99)), 3)
