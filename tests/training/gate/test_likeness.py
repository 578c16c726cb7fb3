"""Copies of footage are found however they were changed; pictures that merely look alike are not taken for copies."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from weights_factory import Array

from malan.core.errors import Rejected
from malan.training.gate.likeness import nearest_pictures

SIDE = 64
LUMA = np.array([0.2126, 0.7152, 0.0722])


def pictures(count: int, seed: int, grain: int = 8, shared: float = 0.0) -> Array:
    """Soft shapes in colours, (N, 64, 64, 3) uint8; `shared` of each is one scene that all of them show."""
    scene = _soft(np.random.default_rng(99), 1, grain)
    own = _soft(np.random.default_rng(seed), count, grain)
    mixed = shared * scene + (1 - shared) * own
    low, high = mixed.min(axis=(1, 2, 3), keepdims=True), mixed.max(axis=(1, 2, 3), keepdims=True)
    return np.asarray(20 + 200 * (mixed - low) / (high - low), np.uint8)


def _soft(rng: np.random.Generator, count: int, grain: int) -> Array:
    coarse = rng.normal(0, 1, (count, grain, grain, 3)).repeat(SIDE // grain, axis=1).repeat(SIDE // grain, axis=2)
    for _ in range(4):
        for axis in (1, 2):
            coarse = (np.roll(coarse, 1, axis) + coarse + np.roll(coarse, -1, axis)) / 3
    return np.asarray(coarse)


def cut(found: Array, top: float, left: float, share: float) -> Array:
    side = round(share * SIDE)
    y, x = round(top * (SIDE - side)), round(left * (SIDE - side))
    return found[:, y : y + side, x : x + side]


def brightened(found: Array) -> Array:
    return np.clip(found.astype(int) + 40, 0, 255).astype(np.uint8)


def noisy(found: Array) -> Array:
    grain = np.random.default_rng(4).normal(0, 18, found.shape)
    return np.clip(found + grain, 0, 255).astype(np.uint8)


def shrunk_into_a_frame(found: Array) -> Array:
    """The whole picture, 0.85 of the size, with something else around it."""
    out = pictures(len(found), 77)
    side = round(0.85 * SIDE)
    at = np.linspace(0, SIDE - 1, side).round().astype(int)
    edge = (SIDE - side) // 2
    out[:, edge : edge + side, edge : edge + side] = found[:, at][:, :, at]
    return out


CHANGES: dict[str, Callable[[Array], Array]] = {
    "as it is": lambda found: found,
    "brighter": brightened,
    "darker": lambda found: (found * 0.6).astype(np.uint8),
    "less contrast": lambda found: (90 + 0.4 * (found - 90.0)).astype(np.uint8),
    "mirrored": lambda found: found[:, :, ::-1],
    "cut from the middle": lambda found: cut(found, 0.5, 0.5, 0.85),
    "cut from a corner": lambda found: cut(found, 0, 1, 0.7),
    "cut and mirrored": lambda found: cut(found, 0.5, 0.5, 0.7)[:, :, ::-1],
    "smaller": lambda found: found[:, ::2, ::2],
    "noisy": noisy,
    "grey": lambda found: (found @ LUMA)[..., None].repeat(3, axis=3).astype(np.uint8),
    "other tint": lambda found: (found * np.array([1.0, 0.8, 0.6])).astype(np.uint8),
    "softer": lambda found: ((found.astype(int) + np.roll(found, 2, 1) + np.roll(found, 2, 2)) // 3).astype(np.uint8),
    "within something else": shrunk_into_a_frame,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_is_found_however_it_was_changed(change: str) -> None:
    training = pictures(40, 1)
    found = nearest_pictures(CHANGES[change](training[3:9]), training, pictures(40, 2))
    assert found.copied.mean() > 0.8, (found.similarity, found.threshold)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("shared", [0.0, 0.6])
def test_pictures_that_were_made_anew_are_not_accused(seed: int, shared: float) -> None:
    made, training, unseen = (pictures(n, 1000 * k + seed, shared=shared) for k, n in ((1, 16), (2, 40), (3, 40)))
    found = nearest_pictures(made, training, unseen)
    assert found.share <= 0.05, (found.similarity, found.threshold)


def test_where_all_footage_looks_alike_more_is_asked_of_a_copy() -> None:
    thresholds = [
        nearest_pictures(*(pictures(24, seed, shared=shared) for seed in (1, 2, 3))).threshold for shared in (0.0, 0.8)
    ]
    assert thresholds[0] < thresholds[1]


def test_black_and_plain_pictures_are_copies_of_nothing() -> None:
    training = np.concatenate([pictures(10, 1), np.zeros((10, SIDE, SIDE, 3), np.uint8)])
    found = nearest_pictures(np.zeros((4, SIDE, SIDE, 3), np.uint8), training, pictures(24, 2))
    assert not found.copied.any()
    assert len(found.copied) == 4


@pytest.mark.parametrize("unseen", [pictures(19, 2), np.zeros((40, SIDE, SIDE, 3), np.uint8), pictures(40, 2)[..., :2]])
def test_without_a_yardstick_nothing_is_said(unseen: Array) -> None:
    with pytest.raises(Rejected):
        nearest_pictures(pictures(4, 1), pictures(30, 3), unseen)
