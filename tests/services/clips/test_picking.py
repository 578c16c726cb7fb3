"""What is offered when nothing matches: the nearest first, something in the end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from store.library_factory import a_scan, an_asset, shot

from malan.core import Finding
from malan.services.clips.picking import candidates, nearest
from malan.services.clips.where import condition
from malan.workspace import Workspace

USES = ("retrieve",)


@pytest.fixture
def library(tmp_path: Path) -> Workspace:
    """Two clips; the first says 远处的雪线."""
    ws = Workspace.create(tmp_path / "ws")
    row = replace(an_asset(), title="")
    ws.library.put_assets([row])
    said = Finding(shot(row, 0), "text.caption", "captions", "1", {"text": "远处的雪线"})
    ws.library.put_scan(a_scan(row, findings=(said,)))
    return ws


@pytest.fixture(autouse=True)
def _all_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("malan.services.clips.picking.allowed_terms", lambda *_, **__: None)


@pytest.mark.parametrize("asked", ["远处的雪线 沙漠", "雪山", "滑雪场"])
def test_the_nearest_shares_a_word_or_else_a_character(library: Workspace, asked: str) -> None:
    first, *_ = nearest(library, condition(asked), USES)
    assert "雪线" in first.caption


def test_where_nothing_is_near_something_is_offered_all_the_same(library: Workspace) -> None:
    assert nearest(library, condition("xyzzy"), USES)


def test_without_words_all_clips_fit_as_well(library: Workspace) -> None:
    found = candidates(library, condition(""), USES)
    assert {one.fit for one in found} == {1.0}
    assert {one.proof for one in found} == {None}


def test_a_clip_with_the_words_says_where_they_stand(library: Workspace) -> None:
    best, *_ = candidates(library, condition("雪线"), USES)
    assert best.proof is not None
    assert (best.proof.of_shot, best.proof.field, best.sure) == (("雪线",), "caption", 1.0)
