"""How a diffusion model is asked and what it should answer: flow matching, noise, velocity or the clean thing.

Which one a base was made for stands with its scheduler. A level says how much of the mix is noise: between 0 and 1
for flows, a step of the schedule for the others. Start reading at `objective_of`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch

KINDS = ("flow_prediction", "epsilon", "v_prediction", "sample")


class Objective(Protocol):
    """What to mix, and what to expect."""

    def levels(self, where: torch.Tensor) -> torch.Tensor:
        """Levels for numbers between 0 and 1."""
        ...

    def timesteps(self, levels: torch.Tensor) -> torch.Tensor:
        """What the model is told of a level."""
        ...

    def mix(self, clean: torch.Tensor, noise: torch.Tensor, levels: torch.Tensor) -> torch.Tensor: ...

    def target(self, clean: torch.Tensor, noise: torch.Tensor, levels: torch.Tensor) -> torch.Tensor: ...

    def step(self, mixed: torch.Tensor, answer: torch.Tensor, level: torch.Tensor, lower: torch.Tensor) -> torch.Tensor:
        """A mix with less noise, from what the model answered; without any chance."""
        ...


@dataclass(frozen=True)
class Flow:
    """Straight lines from noise to the clean thing; `shift` above 1 looks more often where there is much noise."""

    count: int
    shift: float = 1.0

    def levels(self, where: torch.Tensor) -> torch.Tensor:
        return self.shift * where / (1 + (self.shift - 1) * where)

    def timesteps(self, levels: torch.Tensor) -> torch.Tensor:
        return levels * self.count

    def mix(self, clean: torch.Tensor, noise: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        part = _spread(levels, clean)
        return (1 - part) * clean + part * noise

    def target(self, clean: torch.Tensor, noise: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        del levels
        return noise - clean

    def step(self, mixed: torch.Tensor, answer: torch.Tensor, level: torch.Tensor, lower: torch.Tensor) -> torch.Tensor:
        """Euler's."""
        return mixed - _spread(level - lower, mixed) * answer


@dataclass(frozen=True)
class Schedule:
    """A schedule of noise with numbered steps; `kind` is what the model answers with."""

    kept: torch.Tensor  # the share of the clean thing's power at each step
    kind: str

    def levels(self, where: torch.Tensor) -> torch.Tensor:
        return (where * len(self.kept)).long().clamp(0, len(self.kept) - 1)

    def timesteps(self, levels: torch.Tensor) -> torch.Tensor:
        return levels

    def mix(self, clean: torch.Tensor, noise: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        kept = _spread(self.kept[levels.cpu()].to(clean), clean)
        return kept.sqrt() * clean + (1 - kept).sqrt() * noise

    def target(self, clean: torch.Tensor, noise: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        if self.kind == "epsilon":
            return noise
        if self.kind == "sample":
            return clean
        kept = _spread(self.kept[levels.cpu()].to(clean), clean)
        return kept.sqrt() * noise - (1 - kept).sqrt() * clean

    def step(self, mixed: torch.Tensor, answer: torch.Tensor, level: torch.Tensor, lower: torch.Tensor) -> torch.Tensor:
        """That of DDIM without noise (arXiv 2010.02502, formula 12)."""
        kept = _spread(self.kept[level.cpu()].to(mixed), mixed)
        clean, noise = self._parts(mixed, answer, kept)
        if int(lower) == 0:
            return clean
        after = _spread(self.kept[lower.cpu()].to(mixed), mixed)
        return after.sqrt() * clean + (1 - after).sqrt() * noise

    def _parts(
        self, mixed: torch.Tensor, answer: torch.Tensor, kept: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What of a mix is clean and what is noise, by an answer."""
        of_clean, of_noise = kept.sqrt().clamp(min=1e-3), (1 - kept).sqrt().clamp(min=1e-3)
        if self.kind == "epsilon":
            return (mixed - of_noise * answer) / of_clean, answer
        if self.kind == "sample":
            return answer, (mixed - of_clean * answer) / of_noise
        return of_clean * mixed - of_noise * answer, of_noise * mixed + of_clean * answer


def objective_of(scheduler: Any, shift: float = 0.0) -> Objective:
    """What a base was made for, by its scheduler.

    Args:
        scheduler: Of the base's pipeline.
        shift: For flows; 0 takes what the scheduler says.

    Raises:
        ValueError: A kind of answer nobody here knows.
    """
    config = scheduler.config
    kind = config.get("prediction_type") or "flow_prediction"
    if kind == "flow_prediction" or type(scheduler).__name__.startswith("FlowMatch"):
        said = config.get("shift") or config.get("flow_shift") or 1.0
        return Flow(config.num_train_timesteps, shift or float(said))
    if kind not in KINDS:
        raise ValueError(f"the base answers with {kind}")
    return Schedule(scheduler.alphas_cumprod.float(), kind)


def draw_places(density: str, count: int, lots: torch.Generator, low: float, high: float) -> torch.Tensor:
    """Where on the way from clean (0) to noise (1) to learn next: evenly, or mostly in the middle; within a stretch."""
    if density == "logit-normal":
        places = torch.sigmoid(torch.randn(count, generator=lots))
    else:
        places = torch.rand(count, generator=lots)
    return low + (high - low) * places


def _spread(levels: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return levels.to(like).reshape(-1, *[1] * (like.ndim - 1))
