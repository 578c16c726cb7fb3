"""Which clips a promo shows, from where on, and why: fit, picture, movement, variety; no shot twice, none mid-sentence.

Numbers only, nothing is decoded. Start reading at `choose`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from malan.apps.promo.board import Shot
from malan.core.errors import NotFound
from malan.services.picking import Candidate

Floats = NDArray[np.float64]

_POOL = 240  # the best so many are compared with each other
_EDGE_S = 0.12  # kept away from cuts: codecs and dissolves leave traces there
_ALIKE = 0.86  # of looks; above this two shots look the same
_MOTION = {"lively": 0.25, "calm": 0.03, "documentary": 0.08}
WEIGHTS = {"fit": 3.0, "sharp": 1.0, "light": 1.0, "motion": 0.8, "clean": 1.2, "long": 0.6}


@dataclass(frozen=True)
class Judged:
    """A candidate with what it scored, part by part, each 0 to 1."""

    candidate: Candidate
    parts: dict[str, float]

    @property
    def score(self) -> float:
        return sum(WEIGHTS[name] * value for name, value in self.parts.items()) / sum(WEIGHTS.values())


def choose(
    found: Sequence[Candidate], slots: Sequence[int], rate: int, style: str, *, keeps_order: bool = False
) -> list[Shot]:
    """A shot for every slot.

    Args:
        found: Clips that may be used.
        slots: Frames of each shot.
        keeps_order: Somebody chose the clips: they are shown in that order, as far as there are slots.

    Raises:
        NotFound: There is too little for the length.
    """
    usable = [one for one in found if one.row.span.end_s - one.row.span.start_s > 2 * _EDGE_S + 0.4]
    seconds = sum(one.row.span.end_s - one.row.span.start_s - 2 * _EDGE_S for one in usable)
    needed = sum(slots) / rate
    if seconds < needed:
        raise NotFound("promo.too_little", found=f"{seconds:.1f}", needed=f"{needed:.1f}")
    judged = [judge(one, style) for one in usable]
    if not keeps_order:
        judged = sorted(judged, key=lambda one: (-one.score, one.candidate.row.id))[:_POOL]
    picks = _in_order(judged, slots, rate) if keeps_order else _varied(judged, slots, rate)
    return [_shot(judged[place], frames, rate) for place, frames in picks]


def judge(one: Candidate, style: str) -> Judged:
    """What speaks for a clip."""
    measures = one.row.measures
    exposure, contrast = measures.get("exposure", 0.45), measures.get("contrast", 0.3)
    wrong = max(measures.get(name, 0.0) for name in ("black_share", "freeze_share", "letterbox_share"))
    written = measures.get("caption_share", 0.0)
    length = one.row.span.end_s - one.row.span.start_s
    wished = _MOTION[style]
    moving = measures.get("motion", wished)
    return Judged(
        one,
        {
            "fit": one.fit,
            "sharp": float(np.clip(measures.get("sharpness", 0.5), 0, 1)),
            "light": float(np.clip(1 - abs(exposure - 0.47) / 0.42, 0, 1) * np.clip(contrast / 0.22, 0, 1)),
            "motion": float(np.exp(-abs(np.log((moving + 0.01) / (wished + 0.01))) / 2)),
            "clean": float(np.clip(1 - wrong, 0, 1) * (1 - 0.6 * min(1.0, written))),
            "long": float(np.clip(length / 3.0, 0, 1)),
        },
    )


def _varied(judged: Sequence[Judged], slots: Sequence[int], rate: int) -> list[tuple[int, int]]:
    """The best remaining clip for each slot, less so the more it resembles what was shown just before.

    A slot no clip is long enough for is shared by two.
    """
    scores = np.asarray([one.score for one in judged])
    lengths = np.asarray([_length(one) for one in judged])
    groups = [one.candidate.row.group_id or str(place) for place, one in enumerate(judged)]
    alike = _likeness(judged)
    left = np.ones(len(judged), bool)
    picks: list[tuple[int, int]] = []
    waiting = list(slots)
    while waiting:
        frames = waiting.pop(0)
        worth = scores.copy()
        for back, (earlier, _) in enumerate(reversed(picks[-6:])):
            worth -= 0.5 * np.maximum(0, alike[earlier] - 0.4) / (1 + 0.5 * back)
            worth -= 0.12 * _same_file(judged, earlier) / (1 + back)
        for earlier, _ in picks:
            worth -= 0.6 * (alike[earlier] > _ALIKE)
        fits = left & (lengths >= frames / rate)
        if not fits.any():
            fits = _share(waiting, frames, left, lengths, rate)
            frames = frames if fits is None else frames - waiting[0]
            if fits is None:
                raise NotFound("promo.too_little", found=f"{lengths[left].sum():.1f}", needed=f"{frames / rate:.1f}")
        place = int(np.argmax(np.where(fits, worth, -np.inf)))
        picks.append((place, frames))
        for other, group in enumerate(groups):
            left[other] &= group != groups[place]
        left[place] = False
        if not left.any() and waiting:
            raise NotFound("promo.too_little", found="0", needed=f"{sum(waiting) / rate:.1f}")
    return picks


def _share(waiting: list[int], frames: int, left: NDArray[np.bool_], lengths: Floats, rate: int) -> NDArray[np.bool_] | None:
    """Put the second part of a slot back into the queue, so that the first fits the longest clip; which clips do."""
    if not left.any():
        return None
    first = min(frames - 4, int(lengths[left].max() * rate))
    if first < 8:
        return None
    waiting.insert(0, frames - first)
    return left & (lengths >= first / rate)


def _in_order(judged: Sequence[Judged], slots: Sequence[int], rate: int) -> list[tuple[int, int]]:
    """The clips as they were named; time is shared out among them, none longer than it is."""
    total, most = sum(slots), [int(_length(one) * rate) for one in judged]
    count = min(len(judged), max(1, total // 8))
    even = [min(total // count, most[place]) for place in range(count)]
    for place in range(count):
        even[place] += min(most[place] - even[place], total - sum(even))
    return [(place, frames) for place, frames in enumerate(even) if frames >= 4]


def _length(one: Judged) -> float:
    span = one.candidate.row.span
    return span.end_s - span.start_s - 2 * _EDGE_S


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


def _shot(one: Judged, frames: int, rate: int) -> Shot:
    """The stretch of a clip: away from its cuts, not in the middle of a sentence where that can be had."""
    span, length = one.candidate.row.span, frames / rate
    first, last = span.start_s + _EDGE_S, max(span.start_s + _EDGE_S, span.end_s - _EDGE_S - length)
    middle = first + 0.4 * (last - first)
    starts = [middle, first, last, *(end + 0.05 for _, end in one.candidate.speech), *(a - 0.15 for a, _ in one.candidate.speech)]
    possible = [start for start in starts if first <= start <= last]
    start = min(possible, key=lambda at: (_broken(one.candidate, at, at + length), abs(at - middle)))
    best = sorted(one.parts.items(), key=lambda part: -WEIGHTS[part[0]] * part[1])[:3]
    return Shot(
        clip=one.candidate.row.id,
        from_s=round(start, 3),
        frames=frames,
        sound=_broken(one.candidate, start, start + length) == 0,
        score=round(one.score, 3),
        why=tuple(f"{name} {value:.2f}" for name, value in best),
    )


def _broken(candidate: Candidate, start: float, end: float) -> int:
    """How many sentences are cut in two."""
    return sum(a < start < b for a, b in candidate.speech) + sum(a < end < b for a, b in candidate.speech)
