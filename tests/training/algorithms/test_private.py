"""Differential privacy where it happens: each unit's gradient is cut, and noise that nobody foresees is added."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed here; `make test-train` runs these")

import torch
from drawn_job import DrawnJob, drawn_video, loaded, modules_of
from drawn_words import drawn_scores

from malan.training.privacy import Privacy, epsilon_of, privacy_of


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    with modules_of("video-lora", tmp_path_factory.mktemp("loop"), "fitting") as found:
        yield found["fitting"]


def private(
    units: int = 6, *, expected: int = 3, noise: float = 0.0, clip_norm: float = 1.0, steps: int = 1
) -> Privacy:
    return Privacy("clip", units, expected, steps, noise, clip_norm, 1e-3)


def linear(count: int = 6, sides: int = 5) -> tuple[dict[str, Any], Any, Any]:
    """A linear model whose gradient for each example is known: 2 (w·x - y) x."""
    lots = torch.Generator().manual_seed(0)
    x, y = torch.randn(count, sides, generator=lots) * 3, torch.randn(count, generator=lots)
    weight = torch.nn.Parameter(torch.randn(sides, generator=lots))
    gradients = 2 * ((x @ weight.detach() - y)[:, None] * x)
    return {"w": weight}, lambda numbers, _step: ((x[numbers] @ weight - y[numbers]) ** 2).mean(), gradients


def plan_of(loop: ModuleType, privacy: Privacy | None, **more: Any) -> Any:
    wanted = {"steps": 1, "batch": 3, "together": 3, "rate": 0.1, "warmup": 0, "seed": 0}
    return loop.Plan(**{**wanted, **more}, privacy=privacy)


def private_gradient(loop: ModuleType, plan: Any, units: list[list[int]], parts: Any) -> Any:
    parameters, loss_of, _gradients = parts
    step = loop._Private(parameters, loss_of, units, plan)
    step.fill(0)
    return parameters["w"].grad.clone()


@pytest.mark.parametrize("clip_norm", [0.1, 1.0, 10.0, 1e6])
def test_no_unit_counts_for_more_than_the_length_agreed_on(loop: ModuleType, clip_norm: float) -> None:
    parts = linear()
    step = loop._Private(parts[0], parts[1], loop.in_units(6), plan_of(loop, private(clip_norm=clip_norm)))
    for number, expected in enumerate(parts[2]):
        (cut,) = step.clipped([number], 0)
        factor = min(1.0, clip_norm / float(expected.norm()))
        assert torch.allclose(cut, factor * expected, rtol=1e-5)
        assert float(cut.norm()) <= clip_norm * (1 + 1e-6)


def test_without_noise_the_gradient_is_the_sum_of_the_cut_ones(loop: ModuleType) -> None:
    parts = linear()
    found = private_gradient(loop, plan_of(loop, private(expected=6)), loop.in_units(6), parts)
    cut = [one * min(1.0, 1.0 / float(one.norm())) for one in parts[2]]
    assert torch.allclose(found, sum(cut) / 6, rtol=1e-5)


def test_one_unit_more_or_less_moves_the_sum_by_no_more_than_the_length(loop: ModuleType) -> None:
    """What the accountant takes for granted, with units of several examples and one that is a thousand times larger."""
    parameters, loss_of, _gradients = linear()
    units = [[0, 1], [2], [3, 4], [5]]

    def wild(numbers: list[int], step: int) -> Any:
        return loss_of(numbers, step) * (1000 if 5 in numbers else 1)

    sums = []
    for held in (units, units[:-1]):
        step = loop._Private(parameters, wild, held, plan_of(loop, private(4, expected=4)))
        step.fill(0)
        sums.append(parameters["w"].grad * 4)
    assert float((sums[0] - sums[1]).norm()) == pytest.approx(1.0, rel=1e-5)


def test_examples_of_one_owner_are_cut_together(loop: ModuleType) -> None:
    parts = linear()
    step = loop._Private(
        parts[0], parts[1], [[0, 1, 2], [3, 4, 5]], plan_of(loop, private(2, clip_norm=1e6), together=1)
    )
    (cut,) = step.clipped([0, 1, 2], 0)
    assert torch.allclose(cut, parts[2][:3].mean(0), rtol=1e-5)


def test_a_gradient_that_is_no_number_counts_as_none(loop: ModuleType) -> None:
    parameters, loss_of, _gradients = linear()
    step = loop._Private(parameters, lambda n, s: loss_of(n, s) * float("nan"), [[0], [1]], plan_of(loop, private(2)))
    assert not step.clipped([0], 0)[0].any()


def test_the_noise_has_the_strength_that_was_accounted(loop: ModuleType) -> None:
    """20,000 numbers of pure noise: nothing to learn from, so what is left is the noise alone."""
    parameters = {"w": torch.nn.Parameter(torch.zeros(20_000))}
    privacy = private(noise=1.5, clip_norm=2.0, expected=3)
    step = loop._Private(
        parameters, lambda _n, _s: (parameters["w"] * 0).sum(), loop.in_units(6), plan_of(loop, privacy)
    )
    step.fill(0)
    noise = parameters["w"].grad.numpy()
    wanted = 1.5 * 2.0 / 3
    assert noise.std() == pytest.approx(wanted, rel=0.03)
    assert abs(noise.mean()) < 5 * wanted / 20_000**0.5
    assert abs((np.abs(noise) < wanted).mean() - 0.6827) < 0.02


def test_noise_is_never_the_same_whatever_the_seed(loop: ModuleType) -> None:
    torch.manual_seed(0)
    first = loop.secret_normal(1000)
    torch.manual_seed(0)
    second = loop.secret_normal(1000)
    assert abs(float(np.corrcoef(first, second)[0, 1])) < 0.2
    assert len(set(first.tolist())) == 1000


def test_units_are_drawn_each_by_itself_with_the_chance_accounted(loop: ModuleType) -> None:
    parts = linear()
    step = loop._Private(parts[0], parts[1], [[n % 6] for n in range(400)], plan_of(loop, private(400, expected=100)))
    sizes = [len(step._chosen()) for _ in range(200)]
    assert np.mean(sizes) == pytest.approx(100, rel=0.05)
    assert np.std(sizes) == pytest.approx((400 * 0.25 * 0.75) ** 0.5, rel=0.25)


def test_more_units_than_were_accounted_are_refused(loop: ModuleType) -> None:
    parts = linear()
    with pytest.raises(ValueError, match="6 units instead of 5"):
        loop._Private(parts[0], parts[1], loop.in_units(6), plan_of(loop, private(5)))


def test_the_optimiser_moves_what_was_cut_and_noised_and_nothing_else(loop: ModuleType) -> None:
    """Private adapters fail silently when an optimiser steps on other tensors: here the step is done by hand."""
    parameters, loss_of, _gradients = linear()
    before, kept = parameters["w"].detach().clone(), []
    fill = loop._Private.fill

    def watched(self: Any, step: int) -> list[float]:
        found: list[float] = fill(self, step)
        kept.append(parameters["w"].grad.clone())
        return found

    loop._Private.fill = watched
    try:
        job = SimpleNamespace(restored=None, progress=lambda _x: None, checkpoint=lambda _x: None)
        plan = plan_of(loop, private(noise=1.0))
        assert loop.fit(parameters, loss_of, loop.in_units(6), plan, job) == []
    finally:
        loop._Private.fill = fill
    step = plan.rate * kept[0] / (kept[0].abs() + 1e-8)  # the first step of Adam: its sign
    assert torch.allclose(parameters["w"], before - step, atol=1e-5)


def test_a_private_adapter_costs_what_it_says_and_tells_no_loss(bases: Path, tmp_path: Path) -> None:
    data = drawn_video(12, 9, 32, 0)
    wanted = {"rank": 2, "frames": 9, "size_px": 32, "tokens": 16, "steps": 6, "batch": 4, "together": 4, "rate": 1e-3}
    more = {"epsilon": 8.0, "clip_norm": 0.1, "checkpoint_every": 0}
    job = DrawnJob("video-lora", tmp_path, data, data, base=bases / "ltx", **wanted, **more)
    with loaded("video-lora", tmp_path / "code") as recipe:
        first, second = recipe.train(job), recipe.train(job)
    assert job.said["loss"] == -1.0
    plan = privacy_of(job.parameters, job.facts)
    assert plan is not None
    assert epsilon_of(plan.noise, 4 / 12, 6, plan.delta) <= 8.0
    assert plan.epsilon <= job.said["epsilon"] <= 8.01
    assert any(not np.array_equal(first[name], second[name]) for name in first)


def test_all_clips_of_an_owner_are_one_unit(bases: Path, tmp_path: Path) -> None:
    data = drawn_video(12, 9, 32, 0)
    wanted = {"rank": 2, "frames": 9, "size_px": 32, "tokens": 16, "steps": 2, "batch": 2, "together": 4, "rate": 1e-3}
    more = {"epsilon": 8.0, "unit": "owner", "checkpoint_every": 0}
    job = DrawnJob("video-lora", tmp_path, data, data, base=bases / "ltx", facts={"owners": 4}, **wanted, **more)
    with loaded("video-lora", tmp_path / "code") as recipe:
        recipe.train(job)
    plan = privacy_of(job.parameters, job.facts)
    assert plan is not None
    assert (plan.unit, plan.units, plan.rate) == ("owner", 4, 0.5)


def test_music_is_learned_privately_too(tmp_path: Path) -> None:
    data = drawn_scores(40, 0)
    wanted = {"width": 16, "layers": 1, "heads": 2, "length": 32, "steps": 4, "batch": 8, "together": 8, "epsilon": 8.0}
    job = DrawnJob("music-lm", tmp_path, data, data, **wanted, checkpoint_every=0)
    with loaded("music-lm", tmp_path / "code") as recipe:
        assert all(np.isfinite(one).all() for one in recipe.train(job).values())
    assert job.said["loss"] == -1.0


@pytest.mark.parametrize(("noise", "rate", "steps", "delta"), [(1.1, 0.01, 1000, 1e-5), (2.0, 0.2, 100, 1e-3)])
def test_the_accountant_agrees_with_that_of_opacus(noise: float, rate: float, steps: int, delta: float) -> None:
    accountants = pytest.importorskip("opacus.accountants")
    theirs = accountants.RDPAccountant()
    theirs.history = [(noise, rate, steps)]
    exact = accountants.PRVAccountant()
    exact.history = [(noise, rate, steps)]
    ours = epsilon_of(noise, rate, steps, delta)
    assert theirs.get_epsilon(delta) * 0.999 <= ours <= theirs.get_epsilon(delta) * 1.02
    assert ours > exact.get_epsilon(delta)
