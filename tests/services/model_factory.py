"""Models for tests of the registry: adapters and classifiers drawn by script, released as a run would release them."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
from weights_factory import as_file, lora_tensors

from malan.core.ids import digest_bytes
from malan.inference.tensors import Tensor, write_tensors
from malan.rights.terms import party_id
from malan.services.models.registry import register_model
from malan.services.models.rows import ModelRow
from malan.workspace import Workspace

ANN, BOB = party_id("安"), party_id("波")
CLASSES = ["中景", "特写", "远景"]
WIDTH = 6


def run_facts(number: int = 1, **more: Any) -> dict[str, Any]:
    """What a run tells of itself."""
    return {
        "id": digest_bytes(b"run %d" % number),
        "grant": digest_bytes(b"grant"),
        "algorithm": "tagger",
        "version": "1.0.0",
        "tier": "recipe",
        "parameters": {"label_set": "shot-size"},
        "facts": {"classes": CLASSES, "descriptor": WIDTH, "features": "clip-features/1"},
        **more,
    }


def adapter_bytes(seed: int = 1, rank: int = 4) -> bytes:
    return as_file(lora_tensors(seed, rank=rank))


def release_adapter(
    ws: Workspace, seed: int = 1, *, rank: int = 4, shares: Mapping[str, Fraction] | None = None, **more: Any
) -> ModelRow:
    """An adapter of its own run."""
    given = {"name": f"adapter-{seed}", "licence": "Apache-2.0", "run": run_facts(seed), "family": "wan"} | more
    return register_model(ws, adapter_bytes(seed, rank), shares=shares or {ANN: Fraction(1)}, **given)


def classifier_tensors(seed: int = 0, *, hidden: int = 0) -> list[Tensor]:
    """Weights of a linear classifier, or of one with a hidden layer, with the names the built-in trainers use."""
    rng = np.random.default_rng(seed)
    sizes = [WIDTH, hidden, len(CLASSES)] if hidden else [WIDTH, len(CLASSES)]
    tensors = [Tensor.of("mean", rng.standard_normal(WIDTH)), Tensor.of("scale", rng.uniform(0.5, 2, WIDTH))]
    for number, (inputs, outputs) in enumerate(pairwise(sizes)):
        tensors.append(Tensor.of(f"layers.{number}.weight", rng.standard_normal((inputs, outputs))))
        tensors.append(Tensor.of(f"layers.{number}.bias", rng.standard_normal(outputs)))
    return tensors


def release_classifier(ws: Workspace, seed: int = 0, *, hidden: int = 0, **more: Any) -> ModelRow:
    given = {"name": "景别", "licence": "Apache-2.0", "run": run_facts(100 + seed)} | more
    given.setdefault("shares", {ANN: Fraction(2, 3), BOB: Fraction(1, 3)})
    return register_model(ws, write_tensors(classifier_tensors(seed, hidden=hidden)), **given)
