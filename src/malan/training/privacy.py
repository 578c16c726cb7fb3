"""Differential privacy of noisy training in figures: how much ε so many steps cost, how much noise an ε asks for.

Each step takes every unit (a clip, or all clips of an owner) with the same chance, cuts its gradient to a length, adds
up and adds Gaussian noise: the subsampled Gaussian mechanism, neighbours differ by one unit more or less. Accounted by
Rényi divergence (Mironov, Talwar, Zhang, arXiv 1908.10530, 3.3), turned into (ε, δ) by theorem 21 of Balle and others
(arXiv 1905.09982). Whole orders are sums of positive terms; between them the logarithm of the moment is convex, so the
chord is an upper bound. Nothing but Python: it runs before an agreement and inside a run. Start at `privacy_of`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

_WHOLE = (*range(1, 65), *range(72, 257, 8), *range(288, 1025, 32))
_BETWEEN = 10  # orders tried between two neighbours below `_FINE`
_FINE = 12
_FAR = 3  # times the best order so far that is still looked at
_MOST_NOISE = 1e4
_CLOSE = 1e-4


@dataclass(frozen=True, slots=True)
class Privacy:
    """What a private training is agreed to be. The guarantee holds for the weights, not for figures about them.

    Args:
        unit: `clip` or `owner`: what one neighbour has more than the other.
        units: How many there are.
        expected: Units a step takes on average; each is drawn by itself, with the chance `expected / units`.
        steps: How often weights change.
        noise: Standard deviation of the noise per length of the cut.
        clip_norm: The length gradients are cut to; no part of the guarantee.
        delta: The chance that the guarantee fails; below one in `units`.
    """

    unit: str
    units: int
    expected: int
    steps: int
    noise: float
    clip_norm: float
    delta: float

    @property
    def rate(self) -> float:
        """The chance of a unit to be in a step."""
        return min(1.0, self.expected / self.units)

    @property
    def epsilon(self) -> float:
        """What the whole training costs, at most."""
        return epsilon_of(self.noise, self.rate, self.steps, self.delta)

    def as_record(self) -> dict[str, int | str]:
        """For agreement and receipt: whole numbers and decimal text, ε and δ rounded up."""
        whole: dict[str, int | str] = {"unit": self.unit, "units": self.units, "expected": self.expected}
        noise, clip = f"{self.noise:.6g}", f"{self.clip_norm:.6g}"
        epsilon = f"{math.ceil(self.epsilon * 1000) / 1000:.3f}" if math.isfinite(self.epsilon) else "inf"
        return {**whole, "steps": self.steps, "noise": noise, "clip_norm": clip, "delta": f"{self.delta:.3g}"} | {
            "epsilon": epsilon,
            "accountant": "rdp/1908.10530",
        }


def plan_privacy(
    epsilon: float, *, units: int, expected: int, steps: int, clip_norm: float, unit: str = "clip"
) -> Privacy:
    """A training that costs at most `epsilon`, with δ a tenth of one in `units`.

    Raises:
        ValueError: Fewer than two units, no step, an ε that no noise reaches, or a number that makes no sense.
    """
    if units < 2 or expected < 1 or steps < 1 or not (math.isfinite(clip_norm) and clip_norm > 0):
        raise ValueError("units, expected, steps, clip_norm")
    delta, rate = 0.1 / units, min(1.0, expected / units)
    return Privacy(unit, units, expected, steps, noise_for(epsilon, rate, steps, delta), clip_norm, delta)


def privacy_of(parameters: Mapping[str, Any], facts: Mapping[str, Any]) -> Privacy | None:
    """What a recipe with these parameters promises on such data; None when it promises nothing (`epsilon` is 0).

    The same inside a run, where it sets the noise, and outside, where it is agreed on and written in the receipt.

    Raises:
        ValueError: Too few units, or an ε out of reach.
    """
    if not parameters.get("epsilon"):
        return None
    unit = str(parameters.get("unit", "clip"))
    units = int(facts.get("clips" if unit == "clip" else "owners", 0))
    asked = {name: int(parameters[key]) for name, key in (("expected", "batch"), ("steps", "steps"))}
    clip_norm, epsilon = float(parameters["clip_norm"]), float(parameters["epsilon"])
    return plan_privacy(epsilon, units=units, clip_norm=clip_norm, unit=unit, **asked)


def epsilon_of(noise: float, rate: float, steps: int, delta: float) -> float:
    """The ε of so many steps; infinite without noise. An upper bound, for every input.

    Args:
        noise: Standard deviation of the noise, per length gradients are cut to.
        rate: The chance of a unit to be in a step, above 0 to 1.
        steps: How many.
        delta: Above 0, below 1.

    Raises:
        ValueError: Outside these ranges.
    """
    if not (0 < rate <= 1 and 0 < delta < 1 and steps >= 0 and noise >= 0):
        raise ValueError("noise, rate, steps, delta")
    if not steps:
        return 0.0
    if not noise:
        return math.inf
    best, best_order = math.inf, 1.0
    for order, moment in _moments(rate, noise):
        if order > _FAR * best_order + _FINE:
            break  # the cost falls, then rises with the order; what is found holds in any case
        if (cost := _converted(order, steps * moment, delta)) < best:
            best, best_order = cost, order
    return max(0.0, best)


@cache
def noise_for(epsilon: float, rate: float, steps: int, delta: float) -> float:
    """The least noise, to a hundredth of a percent from above, whose ε is no more than this.

    Raises:
        ValueError: No noise up to 10,000 reaches it, or ε is not above 0.
    """
    if not (math.isfinite(epsilon) and epsilon > 0):
        raise ValueError("epsilon")
    low, high = 0.0, 1.0
    while epsilon_of(high, rate, steps, delta) > epsilon:
        low, high = high, 2 * high
        if high > _MOST_NOISE:
            raise ValueError("epsilon out of reach")
    while high - low > _CLOSE * high:
        middle = (low + high) / 2
        low, high = (middle, high) if epsilon_of(middle, rate, steps, delta) > epsilon else (low, middle)
    return high


def _converted(order: float, log_moment: float, delta: float) -> float:
    """ε at one order, from (order - 1) times the Rényi divergence."""
    return (log_moment - math.log(delta) - math.log(order)) / (order - 1) + math.log1p(-1 / order)


def _moments(rate: float, noise: float) -> Iterator[tuple[float, float]]:
    """Orders, and the logarithm of the moment of one step at each."""
    before, below = 1, 0.0
    for order in _WHOLE[1:]:
        moment = _log_moment(order, rate, noise)
        if order <= _FINE:
            for part in range(1, _BETWEEN):
                share = part / _BETWEEN
                yield before + share * (order - before), below + share * (moment - below)
        yield order, moment
        before, below = order, moment


def _log_moment(order: int, rate: float, noise: float) -> float:
    """log Σₖ C(α, k) (1-q)^(α-k) q^k exp((k² - k) / 2σ²)."""
    if rate == 1:
        return order * (order - 1) / (2 * noise**2)
    terms = [
        _log_choose(order, k) + (order - k) * math.log1p(-rate) + k * math.log(rate) + (k * k - k) / (2 * noise**2)
        for k in range(order + 1)
    ]
    largest = max(terms)
    return largest + math.log(math.fsum(math.exp(term - largest) for term in terms))


@cache
def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
