"""Low-rank adapters (LoRA): which tensors belong together, and a pair of factors as plain matrices.

A module's change of weights is `scale · up · down`, with `down` of shape (rank, inputs) and `up` of shape (outputs,
rank). For convolutions the inputs count the kernel too. The four common ways of naming the two are understood; who
knows the names of yet another trainer converts before. Start reading at `find_pairs`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from malan.core.errors import UsageError

Matrix = NDArray[np.floating[Any]]

_WAYS = (
    ("lora_A", "lora_B"),
    ("lora_down", "lora_up"),
    ("lora.down", "lora.up"),
    ("lora_embedding_A", "lora_embedding_B"),
)


@dataclass(frozen=True, slots=True)
class PairNames:
    """The tensors of one adapted module. `alpha` is the name of a stored scaling numerator, where there is one."""

    module: str
    down: str
    up: str
    alpha: str | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """The two factors of one module as matrices, and the factor of their product."""

    up: Matrix  # (outputs, rank)
    down: Matrix  # (rank, inputs × kernel)
    scale: float = 1.0

    @property
    def rank(self) -> int:
        return int(self.down.shape[0])

    def product(self) -> NDArray[np.float64]:
        """The change of weights itself, dense, in float64: (outputs, inputs × kernel)."""
        return np.asarray((self.up.astype(np.float64) * self.scale) @ self.down.astype(np.float64))


def find_pairs(names: Iterable[str]) -> tuple[tuple[PairNames, ...], tuple[str, ...]]:
    """The pairs among the names of a file in the order of their modules, and the names that belong to none."""
    left = set(names)
    pairs = []
    for down in sorted(left):
        found = _counterpart(down, left) if down in left else None
        if found is not None:
            pairs.append(found)
            left -= {found.down, found.up, found.alpha or ""}
    return tuple(pairs), tuple(sorted(left))


def fold_pair(up: NDArray[Any], down: NDArray[Any], scale: float = 1.0) -> Pair:
    """Two arrays of a file as matrices; no number is changed or copied.

    Raises:
        UsageError: They do not fit together, or `up` has a kernel of its own, so that no matrix stands for the two.
    """
    check_fit(up.shape, down.shape)
    rank = down.shape[0]
    return Pair(up.reshape(up.shape[0], rank), down.reshape(rank, -1), float(scale))


def check_fit(up: tuple[int, ...], down: tuple[int, ...]) -> None:
    """Raises:
    UsageError: No product of two arrays of these shapes: (outputs, rank, 1, …) and (rank, inputs, kernel …).
    """
    if len(up) < 2 or len(down) < 2 or up[1] != down[0] or math.prod(up[2:]) != 1:
        raise UsageError("adapters.misfit", up=str(tuple(up))[:60], down=str(tuple(down))[:60])


def _counterpart(down: str, names: set[str]) -> PairNames | None:
    for low, high in _WAYS:
        module, found, rest = down.rpartition(f".{low}")
        if found and module and (not rest or rest.startswith(".")) and f"{module}.{high}{rest}" in names:
            alpha = f"{module}.alpha"
            return PairNames(module, down, f"{module}.{high}{rest}", alpha if alpha in names else None)
    return None
