"""The loop: examples in, gradients, steps of AdamW, checkpoints; plainly, or with differential privacy.

    fit(parameters, loss_of, examples, plan, job)

All lots of a step depend on the seed and the number of the step, so a run that goes on from a checkpoint gives the same
bits as one that was never interrupted. With privacy the lots are the system's instead, which nobody can repeat or take
off again. Start reading at `fit`; the figures of privacy are in `privacy.py`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from base_model import generator
from privacy import Privacy

LossOf = Callable[[list[int], int], torch.Tensor]
"""The mean loss of some examples in a step, ready for `backward`."""

Parameters = Mapping[str, torch.nn.Parameter]

_LONGEST = 1.0  # gradients are cut to this length in plain training
_SAMPLES = 2**53
_DRAWS = 4  # normal numbers to make one of: rounding of a single one would tell something (arXiv 2107.10138)


@dataclass(frozen=True)
class Plan:
    """How long and how fast. `together` examples go through the model at once, `batch` make a step."""

    steps: int
    batch: int
    together: int
    rate: float
    warmup: int
    seed: int
    checkpoint_every: int = 0
    decay: float = 0.0
    privacy: Privacy | None = None
    planted: int = 0  # invented clips among the others, of whom privacy takes no account

    @classmethod
    def of(cls, job: Any, privacy: Privacy | None) -> Plan:
        """From the parameters every recipe has."""
        said = job.parameters
        return cls(
            steps=said["steps"],
            batch=said["batch"],
            together=min(said["batch"], said.get("together", said["batch"])),
            rate=said["rate"],
            warmup=min(said.get("warmup", 0), said["steps"] // 2),
            seed=job.seed,
            checkpoint_every=said.get("checkpoint_every", 0),
            decay=said.get("decay", 0.0),
            privacy=privacy,
            planted=int(job.facts.get("planted", 0)),
        )


def fit(parameters: Parameters, loss_of: LossOf, units: Sequence[Sequence[int]], plan: Plan, job: Any) -> list[float]:
    """Train in place.

    Args:
        parameters: What changes.
        loss_of: Of examples and a step.
        units: Groups of examples. With privacy a unit is protected as one; without, they are only laid end to end.
        plan: How.
        job: For progress, checkpoints, and what to go on from.

    Returns:
        The loss of each step done here; empty with privacy, for a loss is a figure about the data.

    Raises:
        ValueError: A loss is no number; training went nowhere.
    """
    optimiser = torch.optim.AdamW(list(parameters.values()), lr=plan.rate, weight_decay=plan.decay, betas=(0.9, 0.99))
    begin = _restore(parameters, optimiser, job.restored)
    gradients = _Private(parameters, loss_of, units, plan) if plan.privacy else _Plain(parameters, loss_of, units, plan)
    losses = []
    for step in range(begin, plan.steps):
        for group in optimiser.param_groups:
            group["lr"] = plan.rate * _pace(step, plan)
        optimiser.zero_grad(set_to_none=True)
        losses += gradients.fill(step)
        optimiser.step()
        job.progress((step + 1) / plan.steps)
        if plan.checkpoint_every and (step + 1) % plan.checkpoint_every == 0 and step + 1 < plan.steps:
            job.checkpoint(_checkpoint(parameters, optimiser, step + 1))
    return losses


def in_units(count: int, groups: Sequence[int] | None = None) -> list[list[int]]:
    """Examples as units: each its own, or all of a group together."""
    if groups is None:
        return [[number] for number in range(count)]
    return [[n for n, group in enumerate(groups) if group == one] for one in sorted(set(groups))]


def figures(losses: Sequence[float], privacy: Privacy | None) -> dict[str, float]:
    """What a training says of itself: the mean loss of its last tenth, and what it cost in ε and δ, rounded up.

    With privacy the loss is -1, not told: ε covers the weights alone. Without, ε and δ are 0: nothing is promised.
    """
    last = losses[-max(1, len(losses) // 10) :]
    loss = sum(last) / len(last) if last else -1.0
    epsilon, delta = (privacy.epsilon, privacy.delta) if privacy else (0.0, 0.0)
    return {"loss": -1.0 if privacy else loss, "epsilon": _up(epsilon), "delta": _up(delta)}


def _up(value: float) -> float:
    """To three digits, never less: figures leave with three."""
    if not value:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(value)) - 2)
    return math.ceil(value / unit) * unit


class _Plain:
    """The gradient of the mean loss of the next batch, in an order that is shuffled anew each epoch."""

    def __init__(self, parameters: Parameters, loss_of: LossOf, units: Sequence[Sequence[int]], plan: Plan) -> None:
        self._parameters, self._loss_of, self._plan = parameters, loss_of, plan
        self._examples = [number for unit in units for number in unit]

    def fill(self, step: int) -> list[float]:
        batch, plan, whole = self._batch(step), self._plan, 0.0
        for start in range(0, len(batch), plan.together):
            part = batch[start : start + plan.together]
            loss = self._loss_of(part, step) * (len(part) / len(batch))
            loss.backward()  # type: ignore[no-untyped-call]
            whole += float(loss.detach())
        if not math.isfinite(whole):
            raise ValueError(f"the loss is no number in step {step}")
        torch.nn.utils.clip_grad_norm_(list(self._parameters.values()), _LONGEST)
        return [whole]

    def _batch(self, step: int) -> list[int]:
        """As if all epochs lay end to end."""
        size, found = len(self._examples), []
        for place in range(step * self._plan.batch, (step + 1) * self._plan.batch):
            found.append(self._examples[self._order(place // size)[place % size]])
        return found

    def _order(self, epoch: int) -> list[int]:
        order: list[int] = torch.randperm(len(self._examples), generator=generator(self._plan.seed, 1, epoch)).tolist()
        return order


class _Private:
    """A sum of gradients of units, each cut to a length, and noise; divided by what a step expects.

    One pass backward for each unit: exact for every model, without hooks that a model could slip past. A unit of
    several examples stands for their mean.
    """

    def __init__(self, parameters: Parameters, loss_of: LossOf, units: Sequence[Sequence[int]], plan: Plan) -> None:
        assert plan.privacy is not None  # noqa: S101  # the caller looked
        self._parameters, self._loss_of, self._plan, self.privacy = parameters, loss_of, plan, plan.privacy
        self._units = [list(unit) for unit in units]
        most = self.privacy.units + plan.planted
        if len(self._units) > most:  # how many there are does no harm: each has the chance that was accounted
            raise ValueError(f"{len(self._units)} units instead of {self.privacy.units}")

    def fill(self, step: int) -> list[float]:
        sums = [torch.zeros_like(one) for one in self._parameters.values()]
        for unit in self._chosen():
            for total, part in zip(sums, self.clipped(unit, step), strict=True):
                total.add_(part)
        deviation = self.privacy.noise * self.privacy.clip_norm
        for parameter, total in zip(self._parameters.values(), sums, strict=True):
            noise = secret_normal(total.numel()).reshape(total.shape)
            parameter.grad = (total + deviation * noise.to(total)) / self.privacy.expected
        return []

    def clipped(self, unit: list[int], step: int) -> list[torch.Tensor]:
        """The gradient of one unit, no longer than agreed; one that is no number counts as none."""
        for parameter in self._parameters.values():
            parameter.grad = None
        for start in range(0, len(unit), self._plan.together):
            part = unit[start : start + self._plan.together]
            (self._loss_of(part, step) * (len(part) / len(unit))).backward()  # type: ignore[no-untyped-call]
        found = [torch.zeros_like(one) if one.grad is None else one.grad for one in self._parameters.values()]
        length = math.sqrt(sum(float(one.double().square().sum()) for one in found))
        if not math.isfinite(length):
            return [torch.zeros_like(one) for one in found]
        factor = min(1.0, self.privacy.clip_norm / max(length, 1e-30))
        return [one * factor for one in found]

    def _chosen(self) -> list[list[int]]:
        """Each unit by itself with the chance that was accounted, so that a step may have none."""
        lots = _secret_uniform(len(self._units))
        return [unit for unit, lot in zip(self._units, lots, strict=True) if lot < self.privacy.rate]


def secret_normal(count: int) -> torch.Tensor:
    """Normal numbers out of the system's own randomness: no seed, no state, nothing to guess."""
    pairs = (count + 1) // 2
    total = np.zeros(2 * pairs)
    for _ in range(_DRAWS):
        first, second = 1.0 - _secret_uniform(pairs), _secret_uniform(pairs)
        length = np.sqrt(-2.0 * np.log(first))
        total += np.concatenate([length * np.cos(2 * np.pi * second), length * np.sin(2 * np.pi * second)])
    return torch.from_numpy((total / math.sqrt(_DRAWS))[:count].astype(np.float32))


def _secret_uniform(count: int) -> Any:
    """From 0 to below 1, in steps of 2⁻⁵³."""
    return (np.frombuffer(os.urandom(8 * count), "<u8") % _SAMPLES) / _SAMPLES


def _pace(step: int, plan: Plan) -> float:
    """Up in a line, then down half a cosine to a tenth."""
    if step < plan.warmup:
        return (step + 1) / (plan.warmup + 1)
    done = (step - plan.warmup) / max(1, plan.steps - plan.warmup)
    return 0.55 + 0.45 * math.cos(math.pi * done)


def _checkpoint(parameters: Parameters, optimiser: torch.optim.Optimizer, step: int) -> dict[str, Any]:
    """Weights and both moments, as float32: exactly what the next step needs."""
    arrays: dict[str, Any] = {"step": np.int64(step)}
    for name, parameter in parameters.items():
        state = optimiser.state[parameter]
        for kind, tensor in (("w", parameter), ("m", state["exp_avg"]), ("v", state["exp_avg_sq"])):
            arrays[f"{kind}.{name}"] = tensor.detach().float().cpu().numpy().copy()
    return arrays


def _restore(parameters: Parameters, optimiser: torch.optim.Optimizer, arrays: Mapping[str, Any] | None) -> int:
    """Put a checkpoint back; returns the step to go on with.

    Raises:
        ValueError: It is one of another training.
    """
    if arrays is None:
        return 0
    wanted = {"step", *(f"{kind}.{name}" for kind in "wmv" for name in parameters)}
    if set(arrays) != wanted:
        raise ValueError("the checkpoint is one of another training")
    step = int(np.asarray(arrays["step"]))
    for name, parameter in parameters.items():
        weight, first, second = (torch.from_numpy(np.array(arrays[f"{kind}.{name}"], np.float32)) for kind in "wmv")
        parameter.data.copy_(weight)
        moments = {"exp_avg": first.to(parameter), "exp_avg_sq": second.to(parameter)}
        optimiser.state[parameter] = {"step": torch.tensor(float(step)), **moments}
    return step
