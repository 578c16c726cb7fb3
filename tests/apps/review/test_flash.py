"""Flashing and stripes are judged as their definitions say."""

from __future__ import annotations

import numpy as np
import pytest
from flash_patterns import Pattern, reference_fails, watched

from malan.apps.review.measure.flash import FlashMeter, saturated_red
from malan.apps.review.measure.stripes import AREA, stripe_area


def test_the_meter_agrees_with_the_definition_on_every_pattern() -> None:
    wrong = [one for one in Pattern.all(quick=True) if watched(one) != reference_fails(one)]
    assert wrong == []


@pytest.mark.parametrize("seconds", [2.0, 5.5, 8.0])
def test_slow_flashing_fails_only_when_it_goes_on(seconds: float) -> None:
    one = Pattern(5, 40, 200, 1.0, seconds)
    assert watched(one) == reference_fails(one) == (False, seconds > 4.5)


def _red(level: int) -> np.ndarray:
    """Saturated red of a patch painted with that much pure red, in legal range."""
    red = level / 255
    luma = 16 + 219 * 0.2126 * red
    cb, cr = 128 + 224 * (-0.1146 * red), 128 + 224 * 0.5 * red
    planes = [np.full((8, 8), round(one), np.uint8) for one in (luma, cb, cr)]
    return saturated_red(*planes, False)


def test_pure_red_is_saturated_and_grey_is_not() -> None:
    assert float(_red(255).min()) > 200
    grey = [np.full((8, 8), one, np.uint8) for one in (140, 128, 128)]
    assert float(saturated_red(*grey, False).max()) == 0


@pytest.mark.parametrize(("half", "fails"), [(2, True), (6, False)])
def test_red_flashing_fails_by_itself(half: int, fails: bool) -> None:
    meter = FlashMeter()
    for n in range(75):
        red = _red(255) if n // half % 2 else None
        meter.see(np.full((8, 8), 0.2, np.float32), red, n / 25, 1 / 25)
    assert {one.kind for one in meter.found()} == ({"red_flash"} if fails else set())


def _stripes(pairs: int, angle: float, share: float = 1.0, low: float = 0.05, high: float = 0.7) -> np.ndarray:
    y, x = np.mgrid[0:341, 0:192] / 192
    along = x * np.cos(angle) + y * np.sin(angle)
    wave = np.where(np.sin(2 * np.pi * pairs * along) > 0, high, low)
    rng = np.random.default_rng(5)
    quiet = 0.3 + 0.02 * rng.standard_normal((341, 192))
    return np.where(y < share * 341 / 192, wave, quiet).astype(np.float32)


@pytest.mark.parametrize("angle", [0.0, 0.4, 0.8, np.pi / 2, 2.2])
@pytest.mark.parametrize("pairs", [12, 20, 40])
def test_stripes_in_any_direction_are_a_pattern(pairs: int, angle: float) -> None:
    assert stripe_area(_stripes(pairs, angle)) >= AREA


def test_few_faint_or_small_stripes_are_none() -> None:
    assert stripe_area(_stripes(3, 0.0)) < AREA
    assert stripe_area(_stripes(20, 0.0, low=0.3, high=0.36)) < AREA
    assert stripe_area(_stripes(20, 0.0, share=0.15)) < AREA
    assert stripe_area(_stripes(20, 0.0, low=0.85, high=1.0)) < AREA


def test_noise_and_soft_pictures_are_no_stripes() -> None:
    rng = np.random.default_rng(1)
    assert stripe_area(rng.random((341, 192)).astype(np.float32)) < AREA
    soft = np.cumsum(np.cumsum(rng.standard_normal((341, 192)), 0), 1)
    soft = (soft - soft.min()) / (soft.max() - soft.min())
    assert stripe_area(soft.astype(np.float32)) < AREA


def test_a_stretch_of_flashing_has_its_times() -> None:
    meter = FlashMeter()
    for n in range(100):
        is_light = 25 <= n < 50 and n // 2 % 2
        meter.see(np.full((8, 8), 0.6 if is_light else 0.05, np.float32), None, n / 25, 1 / 25)
    (found,) = meter.found()
    assert (found.kind, found.area) == ("flash", 1.0)
    assert (found.start_s, found.end_s) == pytest.approx((1.0, 2.0), abs=0.13)
