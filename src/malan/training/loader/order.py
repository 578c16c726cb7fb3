"""In which order clips come: shuffled by seed and epoch, in shards, buckets and batches. Pure, and the same everywhere.

    clips × repeats (or × windows) ─ shuffle ─ shard ─ bucket ─▶ batches of slots

A slot is a clip and a turn: which of its windows, or the how-manieth repeat. Start reading at `Pass`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from malan.training.loader.requests import Order

Slots = NDArray[np.int32]
"""Shape (M, 2): clip number and turn."""


class Pass:
    """One pass over the clips: batch `i` without making the others.

    Args:
        turns_N: How often each clip comes, before repeats: 1, or how many windows it has.
        order: How.
        seed: With the epoch, what the order follows from.
        epoch: Which pass.
        bucket_N: What clips of a batch must have in common; None: nothing.
    """

    def __init__(
        self,
        turns_N: NDArray[np.int32],
        order: Order,
        *,
        seed: int,
        epoch: int,
        bucket_N: NDArray[np.int64] | None = None,
    ) -> None:
        slots = _slots(turns_N * np.int32(order.repeats))
        rng = np.random.default_rng([seed, epoch])
        if order.shuffle:
            slots = slots[rng.permutation(len(slots))]
        part, parts = order.shard
        self._slots, self._size = slots[part::parts], order.size
        self._ends: NDArray[np.int64] | None = None
        if bucket_N is not None:
            self._gather(bucket_N, rng if order.shuffle else None)

    def __len__(self) -> int:
        if self._ends is not None:
            return len(self._ends)
        return (len(self._slots) + self._size - 1) // self._size

    def __getitem__(self, batch: int) -> Slots:
        """The slots of a batch; none past the end."""
        if self._ends is None:
            return self._slots[batch * self._size : (batch + 1) * self._size]
        if batch >= len(self._ends):
            return self._slots[:0]
        return self._slots[self._starts[batch] : self._ends[batch]]

    def _gather(self, bucket_N: NDArray[np.int64], rng: np.random.Generator | None) -> None:
        """Put slots of a bucket together, cut each bucket into batches, and mix the batches."""
        of_slot = bucket_N[self._slots[:, 0]]
        by_bucket = np.argsort(of_slot, kind="stable")
        self._slots = self._slots[by_bucket]
        edges = np.flatnonzero(np.diff(of_slot[by_bucket])) + 1
        starts = [
            at
            for first, end in zip([0, *edges], [*edges, len(by_bucket)], strict=True)
            for at in range(int(first), int(end), self._size)
        ]
        limits = np.array([*edges, len(by_bucket)], np.int64)
        self._starts = np.array(starts, np.int64)
        self._ends = np.minimum(self._starts + self._size, limits[np.searchsorted(limits, self._starts, "right")])
        if rng is not None:
            mixed = rng.permutation(len(self._starts))
            self._starts, self._ends = self._starts[mixed], self._ends[mixed]


def draw(seed: int, epoch: int, clip: int, turn: int) -> float:
    """Where in a clip a random window lies, from 0 to 1 (excluded); the same for the same four numbers."""
    return float(np.random.default_rng([seed, epoch, clip, turn]).random())


def alike(values: Sequence[float]) -> NDArray[np.int64]:
    """A bucket for each value: those of one bucket differ by a quarter at most. Values are above zero."""
    logarithms = np.log(np.maximum(np.asarray(values, np.float64), 1e-6))
    return np.asarray(np.round(logarithms / np.log(1.25)), np.int64)


def _slots(turns_N: NDArray[np.int32]) -> Slots:
    clips = np.repeat(np.arange(len(turns_N), dtype=np.int32), turns_N)
    first = np.repeat(np.cumsum(turns_N) - turns_N, turns_N)
    return np.stack([clips, (np.arange(len(clips)) - first).astype(np.int32)], axis=1)
