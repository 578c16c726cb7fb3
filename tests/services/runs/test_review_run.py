"""`review-classifier` under a grant, from labels to tags that several may apply to one clip."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from run_place import BUYER, SET, grant_on

from malan.services.clips.search import find
from malan.services.clips.tagging import apply_model
from malan.services.clips.where import condition
from malan.services.models.exports import classifier_of
from malan.services.models.registry import get_model
from malan.services.runs.submission import Asked, get_run, submit_run
from malan.services.runs.worker import work
from malan.workspace import Workspace


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    ws = Workspace.create(tmp_path / "workspace")
    yield ws
    ws.database.dispose()


def test_it_is_released_with_thresholds_and_tags_by_them(ws: Workspace) -> None:
    grant = grant_on(ws)
    run = submit_run(ws, "review-classifier", grant, {"label_set": SET}, asked=Asked(name="审核", seed=1), caller=BUYER)
    work(ws, once=True)
    run = get_run(ws, run.id)
    assert run.state == "released"
    model = get_model(ws, run.model_id or "")
    classifier = classifier_of(ws, model)
    assert (classifier.output, len(classifier.thresholds)) == ("sigmoid", 2)
    figures = {name: float(value) for name, value in model.evaluation["metrics"].items()}
    assert figures["worst_recall"] >= 0.9
    done = apply_model(ws, "审核", condition(""))
    assert set(done.names) == {"日", "夜"}
    assert find(ws, condition(f"tag={SET}=夜")).total > 0
