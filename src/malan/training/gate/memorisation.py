"""Has the model learned its footage by heart? Two tests on figures that somebody else measured.

Canaries: clips with a unique mark were planted among the footage; a model that ranks them above their like, which it
never saw, remembers them (exposure, Carlini et al. 2019, §4). Nearest frame: what the model generates is compared with
what it was trained on, and with how near footage that it was *not* trained on comes by chance. Neither proves that
nothing is remembered. Start reading at `canary_exposure` and `nearest_frames`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from malan.core.errors import Rejected
from malan.inference.tensors import Array

_CHUNK = 65_536  # training frames compared at once


@dataclass(frozen=True)
class Exposure:
    """How much a model remembers planted clips.

    `ranks` counts from one, of each canary among itself and the references; `bits` is log2(all) − log2(rank), at most
    `ceiling`. `chance` is the probability that a model which saw no canary ranks them as well or better. `known` is how
    much of the loss on their like (the median) is gone on the canaries: 0 nothing, 1 all of it.
    """

    ranks: tuple[int, ...]
    bits: tuple[float, ...]
    ceiling: float
    chance: float
    known: float = 1.0

    def is_remembered(self, most_chance: float = 1e-3, most_known: float = 0.0) -> bool:
        """Whether chance does not explain it, and it is more than a trace."""
        return self.chance < most_chance and self.known >= most_known


def canary_exposure(canaries: Array, references: Array) -> Exposure:
    """Ranks of planted clips by loss among like clips that were not planted; lower is better known.

    A tie counts against the model: the canary is ranked above its equals. The chance is that of the sum of the ranks,
    or of some canaries coming so early, whichever is smaller, doubled: many known a little and few known well both
    show. One canary shows at 1 in 1,000 only among 2,000 references; eight do among 200.

    Args:
        canaries: Loss on each planted clip, at least one.
        references: Loss on each like clip, drawn the same way and kept out; at least 19.

    Raises:
        Rejected: Too few, or not finite.
    """
    planted, kept = _losses(canaries, 1), _losses(references, 19)
    ranks = 1 + np.searchsorted(np.sort(kept), planted, side="left")
    total = len(kept) + 1
    chance = min(1.0, 2 * min(_chance_of_some(ranks, len(kept)), _chance_of_sum(ranks, len(kept))))
    bits = tuple(float(math.log2(total / rank)) for rank in ranks)
    return Exposure(tuple(int(rank) for rank in ranks), bits, math.log2(total), chance, _known(planted, kept))


@dataclass(frozen=True)
class Nearest:
    """How near generated frames come to training frames, by cosine.

    `index` is the nearest training frame of each generation, `similarity` how near. `threshold` is what footage that
    was not trained on stays below; `copied` tells which generations are above.
    """

    index: NDArray[np.int64]
    similarity: NDArray[np.float64]
    threshold: float
    copied: NDArray[np.bool_]

    @property
    def share(self) -> float:
        return float(self.copied.mean())


def nearest_frames(generated: Array, training: Array, held_out: Array, *, quantile: float = 0.99) -> Nearest:
    """The nearest training frame of each generated frame, and whether it is nearer than unseen footage comes.

    The threshold lies halfway between the similarity that so many of the held-out frames stay below and one: nearer
    than footage of the same owner happens to be, by half the way to identity.

    Args:
        generated: Descriptors of generations, (N, D); any length of vector, not zero.
        training: Descriptors of the frames that were trained on, (M, D).
        held_out: Descriptors of frames of the same kind that were not, (H, D), at least 20.
        quantile: Share of the held-out frames below the threshold.

    Raises:
        Rejected: Shapes that do not fit, nothing to compare, zero or not finite.
    """
    ours, theirs, unseen = _unit(generated, 1), _unit(training, 1), _unit(held_out, 20)
    if not ours.shape[1] == theirs.shape[1] == unseen.shape[1]:
        raise Rejected("gate.cannot_compare")
    index, similarity = _nearest(ours, theirs)
    usual = float(np.quantile(_nearest(unseen, theirs)[1], quantile))
    threshold = usual + (1 - usual) / 2
    return Nearest(index, similarity, threshold, similarity > threshold)


def _nearest(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    best = np.full(len(ours), -np.inf)
    index = np.zeros(len(ours), np.int64)
    for start in range(0, len(theirs), _CHUNK):
        likeness = ours @ theirs[start : start + _CHUNK].T
        at = likeness.argmax(axis=1)
        value = likeness[np.arange(len(ours)), at]
        better = value > best
        best[better], index[better] = value[better], at[better] + start
    return index, np.minimum(best, 1.0)


def _chance_of_some(ranks: NDArray[np.int64], references: int) -> float:
    """That some number of canaries, whichever, comes as early in the order of all as it does here.

    The k-th best canary stands at place `rank + k − 1`; that k of them are among the first so many is hypergeometric.
    The most surprising k counts, times the number of choices (Bonferroni).
    """
    ordered, count = np.sort(ranks).tolist(), len(ranks)
    chances = [_at_least(k, rank + k - 1, count, references) for k, rank in enumerate(ordered, 1)]
    return min(1.0, count * min(chances))


def _at_least(wanted: int, places: int, canaries: int, references: int) -> float:
    """That so many canaries are among the first places, all orders being equally likely."""
    ways = [math.comb(places, k) * math.comb(canaries + references - places, canaries - k) for k in range(wanted)]
    return 1 - sum(ways) / math.comb(canaries + references, canaries)


def _chance_of_sum(ranks: NDArray[np.int64], references: int) -> float:
    """That ranks of so many canaries among so many references sum to this or less (Mann–Whitney, normal)."""
    count = len(ranks)
    u = float(np.sum(ranks - 1))
    mean = count * references / 2
    spread = math.sqrt(count * references * (count + references + 1) / 12)
    return 0.5 * math.erfc((mean - u - 0.5) / spread / math.sqrt(2))


def _known(planted: NDArray[np.float64], kept: NDArray[np.float64]) -> float:
    usual = float(np.median(kept))
    return max(0.0, 1 - float(np.median(planted)) / usual) if usual > 0 else 0.0


def _losses(values: Array, least: int) -> NDArray[np.float64]:
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or len(array) < least or not np.isfinite(array).all():
        raise Rejected("gate.cannot_compare")
    return array


def _unit(values: Array, least: int) -> NDArray[np.float32]:
    array = np.asarray(values, np.float32)
    if array.ndim != 2 or len(array) < least or not np.isfinite(array).all():
        raise Rejected("gate.cannot_compare")
    length = np.linalg.norm(array, axis=1, keepdims=True)
    if not length.all():
        raise Rejected("gate.cannot_compare")
    return np.asarray(array / length)
