"""The gate's trial of a result: the algorithm's own `evaluate`, with the base and with the weights as they leave.

Each in a fresh sandbox, on the held-out clips. In the tier `code` this `evaluate` is the buyer's own; what it says is
evidence for the owner, no proof. Start reading at `make_trial`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from malan.core.errors import Rejected
from malan.inference.tensors import Tensor
from malan.training.gate import Trial
from malan.training.gate.effect import Effect
from malan.training.gate.gate import Memory
from malan.training.running.memory import measure_memory
from malan.training.running.plan import RunPlan
from malan.training.running.run import EVALUATION, Phase, run_phase


def make_trial(plan: RunPlan, *, stop: Callable[[], bool] | None = None) -> Trial:
    """What the gate calls; the held-out loader of the plan must be open still, and counts as ever.

    Args:
        plan: The run whose result is tried.
        stop: As for `run_algorithm`; a trial that was stopped is refused as one that did not end well.
    """
    return _AgainInside(plan, stop)


class _AgainInside:
    """Runs `evaluate` of a plan's package."""

    def __init__(self, plan: RunPlan, stop: Callable[[], bool] | None) -> None:
        self._plan, self._stop = plan, stop

    def effect(self, weights: Mapping[str, Tensor]) -> Effect:
        """Outputs and losses of base and model.

        Raises:
            Rejected: `evaluate` did not end well, or handed in nothing that can be compared.
        """
        base = self._evaluate(None)
        model = self._evaluate(weights)
        wanted = sorted(weights)
        matched = model.evaluation["matched"].reshape(-1)
        if matched.size != len(wanted):
            raise Rejected("gate.cannot_compare")
        return Effect(
            wanted=wanted,
            matched=[name for name, is_there in zip(wanted, matched.tolist(), strict=True) if is_there],
            base_outputs=base.evaluation["outputs"],
            outputs=model.evaluation["outputs"],
            base_losses=base.evaluation["losses"],
            losses=model.evaluation["losses"],
        )

    def memory(self, weights: Mapping[str, Tensor]) -> Memory:
        """What the model remembers, where the plan says how to ask it: of our own recipes. Code of a buyer's would say
        of itself whatever its author likes, so it is not asked."""
        return measure_memory(self._plan, weights, self._stop)

    def _evaluate(self, weights: Mapping[str, Tensor] | None) -> Phase:
        values = None if weights is None else {name: tensor.values() for name, tensor in weights.items()}
        phase = run_phase(self._plan, EVALUATION, values, stop=self._stop)
        if phase.ran.end != "ok" or phase.evaluation.keys() != {"losses", "outputs", "matched"}:
            raise Rejected("running.trial_failed", end=phase.ran.limit or phase.ran.end)
        return phase
