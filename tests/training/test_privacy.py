"""The accountant against published figures, against exact ones, and against what must hold for every input."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from malan.training.privacy import _moments, epsilon_of, noise_for, plan_privacy, privacy_of

PUBLISHED = [
    # noise, rate, steps, δ, ε, who says so
    (4.0, 0.01, 10_000, 1e-5, 1.26, "Abadi and others 2016, section 3.2"),
    (1.3, 256 / 60_000, 3_515, 1e-5, 1.19, "TensorFlow Privacy, table of its tutorial, 15 epochs"),
    (1.1, 256 / 60_000, 14_062, 1e-5, 3.01, "the same, 60 epochs"),
    (0.7, 256 / 60_000, 10_546, 1e-5, 7.10, "the same, 45 epochs"),
]

EXACT = [
    # noise, rate, steps, and ε at δ = 1e-6, as the numerical accountant of Gopi and others (2021) finds it
    (0.8, 0.001, 20_000, 1.29600925757616),
    (1.5, 0.05, 100, 1.95385313568420),
    (2.0, 0.05, 100, 1.28363737962406),
    (1.5, 0.2, 100, 8.49897785912163),
    (2.0, 0.2, 100, 5.67205560882372),
    (3.0, 0.2, 100, 3.38122051022184),
    (1.5, 0.05, 1000, 6.20996924657726),
    (3.0, 0.05, 1000, 2.52757432605973),
    (3.0, 0.05, 20_000, 13.9611146992367),
]


def older_epsilon(noise: float, rate: float, steps: int, delta: float) -> float:
    """The first conversion from Rényi divergence, which the published figures were made with."""
    return min((steps * moment - math.log(delta)) / (order - 1) for order, moment in _moments(rate, noise))


@pytest.mark.parametrize(("noise", "rate", "steps", "delta", "published", "_who"), PUBLISHED)
def test_published_figures_come_out_with_their_conversion_and_lower_ones_with_ours(
    noise: float, rate: float, steps: int, delta: float, published: float, _who: str
) -> None:
    assert older_epsilon(noise, rate, steps, delta) == pytest.approx(published, rel=0.005)
    assert 0.75 * published < epsilon_of(noise, rate, steps, delta) < published


@pytest.mark.parametrize(("noise", "rate", "steps", "exact"), EXACT)
def test_the_bound_is_above_the_exact_value_and_near_it(noise: float, rate: float, steps: int, exact: float) -> None:
    found = epsilon_of(noise, rate, steps, 1e-6)
    assert exact < found < 1.5 * exact


def test_without_sampling_it_is_the_gaussian_mechanism() -> None:
    """Rate 1: the Rényi divergence is α/2σ², whose best order is known in closed form, but for the last term."""
    delta, noise = 1e-5, 20.0
    closed = 1 / (2 * noise**2) + math.sqrt(2 * math.log(1 / delta)) / noise
    assert 0.7 * closed < epsilon_of(noise, 1.0, 1, delta) <= closed


@settings(max_examples=12, deadline=None)
@given(
    noise=st.floats(0.5, 20),
    rate=st.floats(1e-3, 1.0),
    steps=st.integers(1, 5000),
    delta=st.floats(1e-8, 1e-2),
)
def test_less_noise_more_steps_more_sampling_never_cost_less(
    noise: float, rate: float, steps: int, delta: float
) -> None:
    cost = epsilon_of(noise, rate, steps, delta)
    slack = 1e-9 + 1e-9 * cost
    assert cost >= 0
    assert epsilon_of(noise * 1.1, rate, steps, delta) <= cost + slack
    assert epsilon_of(noise, rate, steps + 1, delta) >= cost - slack
    assert epsilon_of(noise, min(1.0, rate * 1.1), steps, delta) >= cost - slack
    assert epsilon_of(noise, rate, steps, delta * 2) <= cost + slack


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 3.0, 8.0])
def test_the_noise_for_an_epsilon_reaches_it_and_hardly_more(epsilon: float) -> None:
    noise = noise_for(epsilon, 0.1, 200, 1e-3)
    assert epsilon_of(noise, 0.1, 200, 1e-3) <= epsilon < epsilon_of(noise * 0.999, 0.1, 200, 1e-3)


def test_no_noise_is_no_privacy_and_no_step_costs_nothing() -> None:
    assert epsilon_of(0.0, 0.1, 1, 1e-5) == math.inf
    assert epsilon_of(1.0, 0.1, 0, 1e-5) == 0.0


@pytest.mark.parametrize(
    ("noise", "rate", "steps", "delta"),
    [(-1, 0.1, 1, 0.1), (1, 0, 1, 0.1), (1, 1.1, 1, 0.1), (1, 0.1, -1, 0.1), (1, 0.1, 1, 0), (math.nan, 0.1, 1, 0.1)],
)
def test_what_makes_no_sense_is_refused(noise: float, rate: float, steps: int, delta: float) -> None:
    with pytest.raises(ValueError, match="noise"):
        epsilon_of(noise, rate, steps, delta)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, math.inf, math.nan, 1e-9])
def test_an_epsilon_out_of_reach_is_refused(epsilon: float) -> None:
    with pytest.raises(ValueError, match="epsilon"):
        noise_for(epsilon, 1.0, 10_000, 1e-5)


def test_delta_stays_below_one_in_the_number_of_units() -> None:
    plan = plan_privacy(3.0, units=200, expected=20, steps=100, clip_norm=1.0)
    assert plan.delta == pytest.approx(0.1 / 200)
    assert (plan.rate, plan.epsilon) == (0.1, pytest.approx(3.0, rel=1e-3))


def test_the_record_rounds_up_and_holds_no_float() -> None:
    record = plan_privacy(3.0, units=200, expected=20, steps=100, clip_norm=0.5).as_record()
    assert all(isinstance(value, int | str) for value in record.values())
    assert float(record["epsilon"]) <= 3.001
    assert record["accountant"] == "rdp/1908.10530"


def test_a_run_and_its_agreement_have_the_same_privacy() -> None:
    parameters = {"epsilon": 4.0, "clip_norm": 1.0, "unit": "owner", "batch": 2, "steps": 50}
    plan = privacy_of(parameters, {"clips": 100, "owners": 10})
    assert plan is not None
    assert (plan.unit, plan.units, plan.rate) == ("owner", 10, 0.2)
    assert privacy_of(parameters | {"epsilon": 0.0}, {"clips": 100}) is None


@pytest.mark.parametrize("facts", [{"clips": 1}, {"clips": 0}])
def test_one_clip_alone_cannot_be_hidden_among_others(facts: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="units"):
        privacy_of({"epsilon": 4.0, "clip_norm": 1.0, "unit": "clip", "batch": 2, "steps": 50}, facts)
