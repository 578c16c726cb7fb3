"""A library whose clips were measured, labelled by a person, and a model that learned those labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
from store.library_factory import a_scan, an_asset, shot

from malan.core import Clip, Finding, Terms
from malan.core.ids import digest_bytes
from malan.inference.tensors import Tensor, write_tensors
from malan.rights.terms import party_id
from malan.services.clips.where import condition
from malan.services.datasets.freezing import freeze_snapshot
from malan.services.footage.owners import remember_owner, remember_terms
from malan.services.journal import record
from malan.services.log.facts import unlogged
from malan.services.models.registry import register_model
from malan.services.models.rows import ModelRow
from malan.store.features import NAMES, WIDTH
from malan.workspace import Workspace

OWNER, LIGHT = "湖南台", "scene.light.brightness"


def stored(ws: Workspace, brightness: tuple[float, ...] = (0.1, 0.8, 0.15, 0.7), name: str = "one") -> list[Clip]:
    """A film with one shot for each brightness."""
    owner = remember_owner(ws, OWNER)
    terms = remember_terms(ws, Terms(owner, "open", ("retrieve", "train")))
    row = an_asset(name, owner=owner, terms=terms, title="")
    clips = [shot(row, number) for number in range(len(brightness))]
    found = [
        Finding(clip, "scene.light", "scene.light", "1", {"brightness": light})
        for clip, light in zip(clips, brightness, strict=True)
    ]
    ws.library.put_assets([row])
    scan = a_scan(row, ("",) * len(clips))
    ws.library.put_scan(replace(scan, findings=tuple(found), producers={"scene.light": "1"}, descriptors={}))
    record(ws, unlogged(ws, [row.asset], with_terms=True))
    return clips


def weights(*, thresholds: bool = False) -> bytes:
    """A classifier that calls dark what is darker than 0.4, the surer the further off."""
    towards = np.zeros((WIDTH, 4), np.float32)
    towards[NAMES.index(LIGHT)] = [20, -20, 0, 0]
    tensors = {
        "mean": np.zeros(WIDTH),
        "scale": np.ones(WIDTH),
        "layers.0.weight": towards,
        "layers.0.bias": np.array([-8, 8, 0, 0]),
        "layers.1.weight": np.array([[1, -1], [-1, 1], [0, 0], [0, 0]]),
        "layers.1.bias": np.zeros(2),
    } | ({"thresholds": np.array([0.9, 0.2])} if thresholds else {})
    return write_tensors([Tensor.of(name, values) for name, values in sorted(tensors.items())])


def released(
    ws: Workspace, *, name: str = "日夜", facts: Mapping[str, Any] | None = None, thresholds: bool = False, **more: Any
) -> ModelRow:
    """The classifier of day and night, as a run would have released it."""
    run = {
        "id": digest_bytes(name.encode()),
        "grant": digest_bytes(b"grant"),
        "algorithm": "tagger",
        "version": "1.0.0",
        "parameters": {"label_set": "day-night"},
        "facts": {"classes": ["day", "night"], "features": "clip-features/1", **(facts or {})},
    }
    given = {"licence": "LicenseRef-Malan-Agreement", "shares": {party_id(OWNER): Fraction(1)}} | more
    return register_model(ws, weights(thresholds=thresholds), name=name, run=run, **given)


def frozen(ws: Workspace) -> str:
    """A snapshot of all clips; its id."""
    return freeze_snapshot(ws, "all", condition("")).saved.snapshot.id
