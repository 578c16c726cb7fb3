"""Several adapters of one base made into one: exactly, and with the owners' shares in it.

    Σ wᵢ · sᵢ · upᵢ · downᵢ  =  [w₁s₁up₁ │ w₂s₂up₂ │ …] · [down₁ ; down₂ ; …]

Products are added, never factors: adding up-factors and down-factors apart gives cross terms up₁·down₂ that no part
contains. Ranks may differ. The result is exact, or the nearest of a wished rank with its distance told. Start reading
at `merge_adapters`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from malan.core.errors import Rejected, UsageError
from malan.inference.adapters import Matrix, Pair
from malan.inference.lowrank import best_of_rank
from malan.models.safetensors import Adapter

Shares = Mapping[str, Fraction]
Term = tuple[Pair, float]  # a pair and the factor of its product


@dataclass(frozen=True)
class Part:
    """One adapter that goes in: how strongly, and whose it is.

    Args:
        adapter: What is merged.
        weight: The factor of its product; below zero takes it away. Not zero.
        shares: Owner → share of it; they add to exactly one.
        base_model_id: What it was trained from; all parts of a merge have the same.

    Raises:
        UsageError: A weight that is zero or not exact, or shares that are not above zero or do not add to one.
    """

    adapter: Adapter
    weight: Fraction
    shares: Shares
    base_model_id: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.weight, Fraction) or not self.weight:
            raise UsageError("merge.bad_weight", weight=str(self.weight)[:40])
        exact = all(isinstance(share, Fraction) and share > 0 for share in self.shares.values())
        if not exact or sum(self.shares.values(), Fraction()) != 1:
            raise UsageError("merge.bad_shares", total=str(sum(self.shares.values()))[:40])


@dataclass(frozen=True)
class Merged:
    """What came out: the adapter, how far each module is from the exact sum, and whose it is.

    `errors` are relative, in the Frobenius norm, before the numbers are stored in a file's type. Empty means exact.
    """

    adapter: Adapter
    shares: Shares
    errors: Mapping[str, float]

    @property
    def error(self) -> float:
        """The worst module's."""
        return max(self.errors.values(), default=0.0)


def merge_adapters(parts: Sequence[Part], *, rank: int | None = None) -> Merged:
    """Add the products of some adapters.

    A module that only some of them change is changed by those. The order of the parts does not matter.

    Args:
        parts: At least one.
        rank: The most that a module of the result may have; None keeps all that is needed to be exact: the sum of the
            ranks, or the smaller side of the module where that is less.

    Raises:
        Rejected: Parts of different bases, or a module with different shapes.
        UsageError: Nothing to merge, or a rank below one.
    """
    if not parts or (rank is not None and rank < 1):
        raise UsageError("merge.nothing")
    if len({part.base_model_id for part in parts}) != 1:
        raise Rejected("merge.other_base")
    inputs = _inputs(parts)
    found = {module: _terms(parts, module) for module in inputs}
    wanted = {module: _rank_of(terms, rank) for module, terms in found.items()}
    pairs = _stack_all({module: terms for module, terms in found.items() if wanted[module] == _total(terms)})
    errors: dict[str, float] = {}
    for module in inputs.keys() - pairs.keys():
        up, down = _stacked(found[module])
        if wanted[module] == min(up.shape[0], down.shape[1]):
            pairs[module] = _dense(up @ down)
        else:
            new_up, new_down, errors[module] = best_of_rank(up, down, wanted[module])
            pairs[module] = Pair(new_up, new_down)
    shares = merge_shares([(part.weight, part.shares) for part in parts])
    return Merged(Adapter({module: pairs[module] for module in inputs}, inputs), shares, errors)


def merge_shares(weighted: Sequence[tuple[Fraction, Shares]]) -> dict[str, Fraction]:
    """Owner → share of a merge: each part's shares in proportion to the size of its weight; they add to exactly one.

    What was merged before keeps its proportions when it is merged again. A part that is taken away (a weight below
    zero) was used no less than one that is added.
    """
    whole = sum((abs(weight) for weight, _ in weighted), Fraction())
    merged: dict[str, Fraction] = {}
    for weight, shares in weighted:
        for owner, share in shares.items():
            merged[owner] = merged.get(owner, Fraction()) + abs(weight) / whole * share
    return dict(sorted(merged.items()))


def _inputs(parts: Sequence[Part]) -> dict[str, tuple[int, ...]]:
    """The shape of every module's inputs, the same in all parts that have it."""
    found: dict[str, tuple[int, tuple[int, ...]]] = {}
    for part in parts:
        for module, pair in part.adapter.pairs.items():
            sides = (pair.up.shape[0], part.adapter.inputs[module])
            if found.setdefault(module, sides) != sides:
                raise Rejected("merge.other_shape", module=module)
    return {module: found[module][1] for module in sorted(found)}


def _terms(parts: Sequence[Part], module: str) -> list[Term]:
    held = [(part.adapter.pairs[module], part.weight) for part in parts if module in part.adapter.pairs]
    return [(pair, float(weight) * pair.scale) for pair, weight in held]


def _total(terms: Sequence[Term]) -> int:
    return sum(pair.rank for pair, _ in terms)


def _rank_of(terms: Sequence[Term], rank: int | None) -> int:
    """The rank a module gets: never more than it needs to be exact."""
    pair = terms[0][0]
    enough = min(_total(terms), int(pair.up.shape[0]), int(pair.down.shape[1]))
    return enough if rank is None else min(rank, enough)


def _stack_all(found: Mapping[str, Sequence[Term]]) -> dict[str, Pair]:
    """All factors of all modules side by side, in one piece of memory: each number is written once, in large pages."""
    sides = {name: (terms[0][0].up.shape[0], terms[0][0].down.shape[1]) for name, terms in found.items()}
    room = np.empty(sum(_total(found[name]) * sum(sides[name]) for name in found), np.float32)
    pairs, at = {}, 0
    for name, terms in found.items():
        (rows, columns), total = sides[name], _total(terms)
        up_T = room[at : at + total * rows].reshape(total, rows)
        at += total * rows
        down = room[at : at + total * columns].reshape(total, columns)
        at += total * columns
        _fill(terms, up_T, down)
        pairs[name] = Pair(up_T.T, down)
    return pairs


def _stacked(terms: Sequence[Term]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The factors of one module side by side, in float64."""
    pair, total = terms[0][0], _total(terms)
    up_T, down = np.empty((total, pair.up.shape[0])), np.empty((total, pair.down.shape[1]))
    _fill(terms, up_T, down)
    return up_T.T, down


def _fill(terms: Sequence[Term], up_T: Matrix, down: Matrix) -> None:
    """Write factors into rows of both targets; the weights go to the side whose rows lie together."""
    start = 0
    for pair, weight in terms:
        end = start + pair.rank
        up_T[start:end] = pair.up.T
        np.multiply(pair.down, down.dtype.type(weight), out=down[start:end], casting="same_kind")
        start = end


def _dense(product: NDArray[np.float64]) -> Pair:
    """Where the ranks add to more than a module has sides: the sum itself, with the unit matrix as the other factor."""
    narrow = product.astype(np.float32)
    rows, columns = narrow.shape
    if rows <= columns:
        return Pair(np.eye(rows, dtype=np.float32), narrow)
    return Pair(narrow, np.eye(columns, dtype=np.float32))
