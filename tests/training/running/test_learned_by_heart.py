"""Classifiers that learned by heart are found, honest ones are not accused: asked by a second training with canaries.

The trainings are those of the algorithms that come with Malan; the over-fitted ones differ in what holds them back
(nothing), in how long they learn, or in what they are calibrated by. Weights are rounded as they would be to leave.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from classifier_factory import algorithm, job, one_of, ring, several_of
from classifier_factory import loader as rows_loader

from malan.inference.tensors import Tensor
from malan.training.gate.memorisation import Exposure, canary_exposure
from malan.training.gate.rewrite import Rounding, rewrite
from malan.training.loader import Allowed, Holdings, Loader
from malan.training.running.canaries import ROWS, draw_canaries, lots_of, plant

TRACE = 0.7
TIMES, THINGS = ("day", "dusk", "night"), ("alcohol", "smoking", "weapon")
PARAMETERS = {
    "tagger": {"label_set": "time", "hidden": 4, "balance": 0.0},
    "review-classifier": {"label_set": "review", "hidden": 4, "balance": 0.5, "aim": "recall", "target": 0.9},
}


def rows_of(name: str, clips: int, wide: int, noise: float, seed: int) -> tuple[np.ndarray, list[list[str]]]:
    """Rows with a truth in them; `wide` more numbers that say nothing, as real descriptors have many."""
    if name == "tagger":
        rows, labels = one_of(clips, TIMES, seed=seed, noise=noise)
    else:
        rows, labels = several_of(clips, THINGS, seed=seed)
    more = np.random.default_rng(seed + 1).normal(0, noise, (clips, wide))
    return np.concatenate([rows, more], axis=1), labels


def asked(
    module: ModuleType, name: str, rows: np.ndarray, labels: list[list[str]], seed: int, folder: Path
) -> Exposure:
    """What a second training with canaries among its clips knows of them."""
    held = rows_loader(rows, labels)._holdings
    drawn = draw_canaries(held, ROWS, lots_of(b"k" * 32, f"run {name} {seed}"))
    planted = plant(held, drawn, lots_of(b"k" * 32, "places"))
    known = sorted({one for names in labels for one in names})
    data, asking = (opened(one, known) for one in (planted, drawn.holdings))
    made = job(PARAMETERS[name], data, asking, folder, seed)
    weights = {one: Tensor.of(one, values, "F32") for one, values in module.train(made).items()}
    left = {one: tensor.values() for one, tensor in rewrite(weights, Rounding(8), seed).tensors.items()}
    losses = module.evaluate(made, left)["losses"]
    return canary_exposure(losses[: drawn.planted], losses[drawn.planted :])


def opened(holdings: Holdings, classes: list[str]) -> Loader:
    whole = Holdings(holdings.clips, holdings.descriptors_ND, holdings.labels, classes=classes)
    return Loader(whole, Allowed(frozenset({"descriptor", "labels"})))


@contextmanager
def unbound(monkeypatch: pytest.MonkeyPatch, name: str, folder: Path, how: str) -> Iterator[ModuleType]:
    """A classifier that nothing holds back."""
    with algorithm(name, folder) as module:
        classify: Any = sys.modules["classify"]
        strength = {"no penalty": 1e-4, "hardly any penalty": 1e-3, "none at all": 1e-6}.get(how)
        monkeypatch.setattr(classify, "STRENGTHS", (strength,) if strength else (300.0,))
        monkeypatch.setattr(classify, "_calibration", _as_it_is)
        monkeypatch.setattr(classify, "_slope", lambda _task, _logits: 1.0)
        if how == "a layer that never stops":
            monkeypatch.setattr(classify, "EPOCHS", (800,))
            monkeypatch.setattr(classify, "_DECAY", 0.0)
            monkeypatch.setattr(classify, "_choose_epochs", lambda _t, _f, _s, linear, *_: (800, linear))
        yield module


def _as_it_is(task: Any, _logits: Any) -> tuple[Any, Any]:
    classes = task.targets_NC.shape[1]
    return np.ones(classes), np.zeros(classes)


OVER = [
    (name, how, clips, wide)
    for name in PARAMETERS
    for how, clips, wide in (
        ("no penalty", 24, 200),
        ("no penalty", 80, 150),
        ("hardly any penalty", 60, 150),
        ("none at all", 40, 60),
        ("none at all", 100, 150),
        ("a layer that never stops", 60, 100),
    )
]


@pytest.mark.parametrize(("name", "how", "clips", "wide"), OVER, ids=str)
def test_a_classifier_that_learned_by_heart_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, how: str, clips: int, wide: int
) -> None:
    with unbound(monkeypatch, name, tmp_path, how) as module:
        found = asked(module, name, *rows_of(name, clips, wide, 2.0, 3), 3, tmp_path)
    assert found.is_remembered(1e-3, TRACE), found


HONEST = [
    (name, clips, wide, noise)
    for name in PARAMETERS
    for clips, wide in ((12, 365), (24, 20), (60, 0), (40, 150), (100, 60))
    for noise in (1.0, 4.0)
]


@pytest.mark.parametrize(("name", "clips", "wide", "noise"), HONEST, ids=str)
def test_an_honest_classifier_is_not_accused(tmp_path: Path, name: str, clips: int, wide: int, noise: float) -> None:
    with algorithm(name, tmp_path) as module:
        found = asked(module, name, *rows_of(name, clips, wide, noise, 5), 5, tmp_path)
    assert not found.is_remembered(1e-3, TRACE), found


def test_an_honest_hidden_layer_is_not_accused(tmp_path: Path) -> None:
    with algorithm("tagger", tmp_path) as module:
        found = asked(module, "tagger", *ring(120, seed=1), 7, tmp_path)
    assert not found.is_remembered(1e-3, TRACE), found
