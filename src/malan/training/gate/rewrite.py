"""Weights written anew, so that only what they do leaves, not how they were written down.

    up, down ─ SVD of the product ─ weak directions dropped ─ close ones turned at random ─ rounded by lot ─▶ up, down
    other tensor ────────────────────────────────────────────────────────────────────────── rounded by lot ─▶ tensor

What a pair does is its product alone; r × r numbers in it are free, and a buyer could keep a file there. They are gone:
the pair that leaves is a function of the product and of our own lots. Rounding follows the principle of reverse
water-filling: every direction gets the same absolute error, so directions too weak to matter carry nothing.
Start reading at `rewrite`. docs/design/gate.md says what this does not destroy.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from malan.core.errors import UsageError
from malan.inference.adapters import Pair, find_pairs, fold_pair
from malan.inference.lowrank import Matrix, Svd, Vector, distance, frobenius, product_svd, random_rotation
from malan.inference.tensors import SIGNIFICANT_BITS, Array, Tensor

_CLOSE = 4  # times what the rounding blurs
_STEP_VARIANCE = 1 / 6  # of a step, rounding by lot: the mean of f (1 - f) over fractions f


@dataclass(frozen=True, slots=True)
class Rounding:
    """How much is kept: significant bits of the strongest direction, and noise in standard deviations per RMS.

    Raises:
        UsageError: Fewer than 2 or more than 11 bits, or noise outside 0 to 1.
    """

    bits: int = 8
    noise: float = 0.0

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 11 or not 0 <= self.noise <= 1:
            raise UsageError("gate.bad_rounding", bits=str(self.bits)[:10], noise=str(self.noise)[:10])


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The new tensors, and what was measured on the way.

    `error` is the largest relative change of a module's product (of a tensor, where there is no pair), in the Frobenius
    norm. `ceiling_bytes` is what the numbers could still carry at best, as a Gaussian channel with our rounding as its
    noise. `dropped` counts directions that were too weak to be kept.
    """

    tensors: Mapping[str, Tensor]
    error: float
    ceiling_bytes: int
    dropped: int


def seed_of(secret: bytes, digest: str) -> int:
    """The seed of a rewrite: nobody without the secret foresees it, and the same file is always rewritten the same.

    So nobody can round in advance, nor hand the same file in twice and average our lots away.

    Raises:
        UsageError: A secret under 32 bytes.
    """
    if len(secret) < 32:
        raise UsageError("gate.short_secret", least=32)
    return int.from_bytes(hmac.digest(secret, b"malan.gate.rewrite.v1\n" + digest.encode(), "sha256"), "big")


def rewrite(
    tensors: Mapping[str, Tensor], rounding: Rounding, seed: int, fixed: Collection[str] = frozenset()
) -> Rewritten:
    """Write all tensors anew, with their names, shapes and types. The order of the file does not matter.

    Args:
        tensors: What the run wrote.
        rounding: How much is kept.
        seed: Of our lots, see `seed_of`.
        fixed: Tensors that were compared with a declared value already; they stay as they are.

    Raises:
        UsageError: More bits than a type can hold.
    """
    for tensor in tensors.values():
        if rounding.bits > SIGNIFICANT_BITS[tensor.dtype]:
            raise UsageError("gate.too_many_bits", bits=rounding.bits, dtype=tensor.dtype)
    pairs, others = find_pairs(tensors)
    new: dict[str, Tensor] = {name: tensors[name] for name in fixed}
    total = _Sums()
    for names in pairs:
        up, down = tensors[names.up], tensors[names.down]
        made = rewrite_pair(fold_pair(up.values(), down.values()), rounding, _lots(seed, names.module))
        new[up.name] = Tensor.of(up.name, made.pair.up.reshape(up.shape), up.dtype)
        new[down.name] = Tensor.of(down.name, made.pair.down.reshape(down.shape), down.dtype)
        total.add(_change(up, down, new[up.name], new[down.name]), made.ceiling_bits, made.dropped)
    for name in (*others, *(pair.alpha for pair in pairs if pair.alpha)):
        if name in fixed:
            continue
        values = tensors[name].values().astype(np.float64)
        rounded, ceiling = round_rows(values, rounding, _lots(seed, name))
        new[name] = Tensor.of(name, rounded, tensors[name].dtype)
        total.add(_relative(values, new[name].values()), ceiling, 0)
    return Rewritten(dict(sorted(new.items())), total.error, int(total.bits // 8) + 1, total.dropped)


@dataclass(frozen=True, slots=True)
class NewPair:
    """A pair written anew, the bits it could carry, the directions dropped."""

    pair: Pair
    ceiling_bits: float
    dropped: int


def rewrite_pair(pair: Pair, rounding: Rounding, rng: np.random.Generator) -> NewPair:
    """The canonical pair of a product: `U √Σ` and `√Σ Vᵀ`, falling, signs fixed; then rounded by lot.

    A direction 2ʲ times weaker than the strongest keeps j bits less, and none is kept with less than one. Directions
    whose strengths differ by less than four times what the rounding blurs are turned among themselves at random: which
    basis of such a subspace the buyer chose says next to nothing about the product, and must not survive.
    """
    svd = product_svd(pair.up, pair.down)
    strongest = float(svd.sigma[0]) if svd.sigma.size else 0.0
    up, down = np.zeros_like(pair.up), np.zeros_like(pair.down)
    if strongest == 0.0:
        return NewPair(Pair(up, down, pair.scale), 0.0, 0)
    kept = int(np.count_nonzero(svd.sigma >= strongest * 2.0 ** (1 - rounding.bits)))
    runs = _runs(svd.sigma[:kept], _CLOSE * strongest * 2.0 ** (1 - rounding.bits))
    left, right = _turned(svd, runs, rng)
    bits = _bits(svd.sigma, runs, rounding.bits)
    ceiling = 0.0
    for columns, target in ((left, up), (right, down.T)):
        noisy = columns + rounding.noise * _rms(columns) * rng.standard_normal(columns.shape)
        rounded, carried = _round_columns(noisy, bits, rounding.bits, rng)
        target[:, :kept] = rounded
        ceiling += carried
    return NewPair(Pair(up, down, pair.scale), ceiling, int(np.count_nonzero(svd.sigma)) - kept)


def round_rows(values: Array, rounding: Rounding, rng: np.random.Generator) -> tuple[Array, float]:
    """A tensor rounded by lot, row by row of its first axis (a vector is one row), and the bits it could carry."""
    rows = values.reshape(values.shape[0] if values.ndim > 1 else 1, -1)
    level = np.sqrt(np.mean(np.square(rows), axis=1, keepdims=True))
    noisy = rows + rounding.noise * level * rng.standard_normal(rows.shape)
    floor = _power_of_two(level) * 2.0 ** (1 - rounding.bits)
    rounded = round_by_lot(noisy, rounding.bits, floor, rng)
    return rounded.reshape(values.shape), _capacity(noisy, _steps(noisy, rounding.bits, floor))


def round_by_lot(values: Matrix, bits: int, floor: Array, rng: np.random.Generator) -> Matrix:
    """Each number on the grid of so many significant bits, and of `floor` where that is coarser.

    Up or down by a lot whose odds are the fraction, so the mean stays (stochastic rounding). What is on the grid stays;
    minus zero becomes zero.

    Args:
        values: What is rounded, finite.
        bits: Significant bits, the leading one counted.
        floor: Smallest step, a power of two or zero; broadcast over the values.
        rng: Our lots.
    """
    steps = _steps(values, bits, floor)
    lots = rng.random(values.shape)
    divisor = np.where(steps > 0, steps, 1.0)
    return np.where(steps > 0, np.floor(values / divisor + lots) * steps, 0.0) + 0.0


class _Sums:
    """The worst error, and the sums of the rest."""

    def __init__(self) -> None:
        self.error, self.bits, self.dropped = 0.0, 0.0, 0

    def add(self, error: float, bits: float, dropped: int) -> None:
        self.error, self.bits, self.dropped = max(self.error, error), self.bits + bits, self.dropped + dropped


def _lots(seed: int, name: str) -> np.random.Generator:
    """Lots of one module: independent of all others, whatever their number."""
    word = int.from_bytes(hashlib.sha256(name.encode()).digest(), "big")
    return np.random.Generator(np.random.PCG64DXSM(np.random.SeedSequence([seed, word])))


def _runs(sigma: Vector, close: float) -> list[slice]:
    """Stretches of neighbours, each closer to the next than that."""
    ends = [*(np.flatnonzero(-np.diff(sigma) > close) + 1).tolist(), len(sigma)]
    return [slice(start, end) for start, end in pairwise([0, *ends])]


def _bits(sigma: Vector, runs: list[slice], most: int) -> Vector:
    """Bits of each direction: less by the binary logarithm of how much weaker its run is than the strongest one."""
    levels = np.concatenate([np.full(run.stop - run.start, np.sqrt(np.mean(np.square(sigma[run])))) for run in runs])
    return np.asarray(np.clip(most + np.floor(np.log2(levels / sigma[0])), 1, most))


def _turned(svd: Svd, runs: list[slice], rng: np.random.Generator) -> tuple[Matrix, Matrix]:
    """Both factors with the root of sigma in each; the directions of a run are turned together."""
    kept = runs[-1].stop
    root = np.sqrt(svd.sigma[:kept])
    left, right = svd.left[:, :kept] * root, svd.right[:, :kept] * root
    for run in runs:
        if run.stop - run.start > 1:
            turn = random_rotation(run.stop - run.start, rng)
            left[:, run], right[:, run] = left[:, run] @ turn, right[:, run] @ turn
    return left, right


def _round_columns(columns: Matrix, bits: Vector, most: int, rng: np.random.Generator) -> tuple[Matrix, float]:
    floor = _power_of_two(_rms(columns)) * 2.0 ** (1 - bits)
    return round_by_lot(columns, most, floor, rng), _capacity(columns, _steps(columns, most, floor))


def _steps(values: Array, bits: int, floor: Array) -> Array:
    _, exponents = np.frexp(values)
    own = np.where(values != 0, np.ldexp(1.0, exponents - bits), 0.0)
    return np.maximum(own, floor)


def _capacity(values: Array, steps: Array) -> float:
    """Bits through a Gaussian channel of this power whose noise is the rounding by lot."""
    noise = np.square(steps) * _STEP_VARIANCE
    ratio = np.divide(np.square(values), noise, out=np.zeros_like(noise), where=noise > 0)
    return float(np.sum(0.5 * np.log2(1 + ratio)))


def _rms(columns: Matrix) -> Vector:
    return np.asarray(np.sqrt(np.mean(np.square(columns), axis=0)))


def _power_of_two(level: Array) -> Array:
    """The largest power of two not above; zero stays zero."""
    _, exponents = np.frexp(level)
    return np.where(level > 0, np.ldexp(1.0, exponents - 1), 0.0)


def _change(up: Tensor, down: Tensor, new_up: Tensor, new_down: Tensor) -> float:
    """The relative error of a pair's product, as it stands in the new file's types."""
    old, new = fold_pair(up.values(), down.values()), fold_pair(new_up.values(), new_down.values())
    size = frobenius(old.up, old.down)
    return distance(old.up, old.down, new.up, new.down) / size if size else 0.0


def _relative(before: Array, after: Array) -> float:
    size = float(np.linalg.norm(before))
    return float(np.linalg.norm(after - before)) / size if size else 0.0
