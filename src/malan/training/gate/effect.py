"""Does the model do anything, and is it better than what it was made from?

The commonest failure of adapters is silence: the names do not match, the run succeeds, nothing changes. Pure functions
on figures that somebody else measured, on the weights as they will leave. Start reading at `check_effect`.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from malan.core.errors import Rejected
from malan.inference.tensors import Array

_HALF = 2


@dataclass(frozen=True)
class Effect:
    """What was measured with the base and with the new model, on the same inputs with the same seed.

    Args:
        wanted: Names the architecture has.
        matched: Names the loader found a place for.
        base_outputs: What the base answers; any array.
        outputs: What the model answers; the same shape.
        base_losses: Loss of the base on each held-out item, at least two.
        losses: Loss of the model on the same items in the same order.
    """

    wanted: Collection[str]
    matched: Collection[str]
    base_outputs: Array
    outputs: Array
    base_losses: Array
    losses: Array


@dataclass(frozen=True, slots=True)
class Gain:
    """How much changed: outputs by relative distance, held-out loss by its relative fall; `z` is the paired mean
    difference in standard errors."""

    changed: float
    gain: float
    z: float


def check_effect(effect: Effect, *, least_change: float = 1e-4, least_gain: float = 0.0, least_z: float = 2.0) -> Gain:
    """The change and the gain.

    Raises:
        Rejected: Not every name matched, nothing changed, no gain that stands out from chance on the held-out items,
            or what was measured cannot be compared: other shapes, one item, not finite.
    """
    _check_measured(effect)
    wanted, matched = set(effect.wanted), set(effect.matched)
    if wanted != matched:
        raise Rejected("gate.keys_matched", matched=len(wanted & matched), wanted=len(wanted))
    changed = _change(effect.base_outputs, effect.outputs)
    if not changed >= least_change:
        raise Rejected("gate.no_change", changed=f"{changed:.3g}", least=f"{least_change:.3g}")
    gain, z = _gain(np.asarray(effect.base_losses, np.float64), np.asarray(effect.losses, np.float64))
    if not (gain > least_gain and z >= least_z):
        raise Rejected("gate.no_gain", gain=f"{gain:.3g}", least=f"{least_gain:.3g}", z=f"{z:.3g}")
    return Gain(changed, gain, z)


def _change(base: Array, outputs: Array) -> float:
    size = float(np.linalg.norm(np.asarray(base, np.float64)))
    distance = float(np.linalg.norm(np.asarray(outputs, np.float64) - base))
    return distance / size if size else (math.inf if distance else 0.0)


def _gain(base: Array, losses: Array) -> tuple[float, float]:
    with np.errstate(over="ignore", invalid="ignore"):  # losses near the largest number: the comparison then fails
        differences = base - losses
        mean, level = float(differences.mean()), float(np.abs(base).mean())
        spread = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    z = mean / spread if spread else math.copysign(math.inf, mean) if mean else 0.0
    return (mean / level if level else 0.0), z


def _check_measured(effect: Effect) -> None:
    pairs = ((effect.base_outputs, effect.outputs), (effect.base_losses, effect.losses))
    alike = all(a.shape == b.shape and a.size and np.isfinite(a).all() and np.isfinite(b).all() for a, b in pairs)
    if not alike or effect.losses.ndim != 1 or effect.losses.size < _HALF or not effect.wanted:
        raise Rejected("gate.cannot_compare")
