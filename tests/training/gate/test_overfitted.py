"""Real models that learned canaries by heart are found, and those that never saw them are not accused.

The models are small: ridge regression on random features, with more features than items. Without a penalty they repeat
every item they saw, which is what memorising is.
"""

from __future__ import annotations

import numpy as np
import pytest
from weights_factory import Array

from malan.training.gate.memorisation import Exposure, canary_exposure

ITEMS, CANARIES, REFERENCES, SIDES = 120, 8, 250, 16


def losses_of(seed: int, *, is_shown: bool, penalty: float) -> Exposure:
    """Train on items, with the canaries among them or not; how well it then knows canaries and their like."""
    rng = np.random.default_rng(seed)
    lens = rng.standard_normal((SIDES, 600)) / SIDES**0.5

    def features(inputs: Array) -> Array:
        return np.maximum(inputs @ lens, 0)

    wanted = rng.standard_normal(SIDES)
    inputs = rng.standard_normal((ITEMS + CANARIES + REFERENCES, SIDES))
    targets = inputs @ wanted
    targets[ITEMS:] = (
        rng.standard_normal(CANARIES + REFERENCES) * 4
    )  # canaries and references: nothing to learn but them
    seen = slice(0, ITEMS + CANARIES if is_shown else ITEMS)
    shown = features(inputs[seen])
    gram = shown @ shown.T + penalty * np.eye(len(shown))
    weights = shown.T @ np.linalg.solve(gram, targets[seen])
    losses = (features(inputs[ITEMS:]) @ weights - targets[ITEMS:]) ** 2
    return canary_exposure(losses[:CANARIES], losses[CANARIES:])


@pytest.mark.parametrize("seed", range(10))
def test_a_model_that_repeats_its_canaries_is_found(seed: int) -> None:
    found = losses_of(seed, is_shown=True, penalty=1e-6)
    assert found.is_remembered()
    assert max(found.bits) == pytest.approx(found.ceiling)


def test_models_that_never_saw_them_are_not_accused() -> None:
    accused = [losses_of(seed, is_shown=False, penalty=1e-6).is_remembered() for seed in range(40)]
    assert not any(accused)


def test_a_penalty_lowers_what_is_remembered() -> None:
    chances = [losses_of(3, is_shown=True, penalty=penalty).chance for penalty in (1e-6, 1e3)]
    assert chances[0] < chances[1]
