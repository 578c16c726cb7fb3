"""A series of eighty tiny episodes: what is missing, broken or twice in it, and a review that is killed half-way."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from episode_factory import Plan, draw_episode

from malan.apps.review.measure import episode as measuring
from malan.apps.review.report import read_report
from malan.apps.running import run_app
from malan.core.errors import Rejected
from malan.workspace import Workspace

EPISODES, GONE, EMPTY, AGAIN = 80, 7, 13, 30
ASKED = {"as_of": "2026-10-01", "title": "老地方见", "drama_class": 3, "ai": False, "pdf": False, "episodes": EPISODES}


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Episodes 1 to 80: one is not there, one lasts no time, one is another's copy."""
    folder = tmp_path_factory.mktemp("series")
    for number in range(1, EPISODES + 1):
        if number not in (GONE, EMPTY, AGAIN):
            draw_episode(folder / f"第{number}集.mkv", Plan(seconds=0.6, size=(96, 170), seed=number))
    shutil.copy(folder / f"第{AGAIN - 1}集.mkv", folder / f"第{AGAIN}集.mkv")
    (folder / f"第{EMPTY}集.mkv").write_bytes((folder / "第1集.mkv").read_bytes()[:300])
    return folder


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were measured, in order."""
    listed: list[str] = []
    measure = measuring.measure

    def noted(path: Path, *more: Any, **named: Any) -> Any:
        listed.append(path.name)
        return measure(path, *more, **named)

    monkeypatch.setattr(measuring, "measure", noted)
    return listed


def test_eighty_episodes_killed_half_way_are_measured_once(series: Path, tmp_path: Path, measured: list[str]) -> None:
    ws, told = Workspace.create(tmp_path / "ws"), []

    def kill(done: int, total: int, current: str) -> None:
        told.append((done, total, current))
        if done == 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_app(ws, "review", {**ASKED, "paths": [str(series)]}, tmp_path / "out", progress=kill)
    assert told[1][:2] == (1, EPISODES - 1)
    half = list(measured)
    assert not (tmp_path / "out" / "review.json").exists()
    run_app(ws, "review", {**ASKED, "paths": [str(series)]}, tmp_path / "out")
    twice = {name for name in measured if measured.count(name) > 1}
    assert twice <= {f"第{EMPTY}集.mkv"}  # what cannot be read leaves nothing to keep
    assert len(half) >= 38
    report = read_report(tmp_path / "out" / "review.json")
    found = {(one["rule"], one["episode"]) for one in report["findings"] if one["state"] == "found"}
    words = " ".join(one["words"] for one in report["findings"])
    assert len(report["episodes"]) == EPISODES - 2
    assert [one["file"] for one in report["refused"]] == [f"第{EMPTY}集.mkv"]
    assert report["verdict"] == "block"  # an episode nobody could look at
    assert f"第{GONE}集" in words  # the empty file is there, and told as unreadable
    assert ("QC-20", f"第{AGAIN}集.mkv") in found
    assert ("QC-19", "第1集.mkv") in found  # told once, with the first


def test_a_review_that_was_cancelled_goes_on_where_it_stood(series: Path, tmp_path: Path, measured: list[str]) -> None:
    ws = Workspace.create(tmp_path / "ws")
    asked = {**ASKED, "paths": [str(series / f"第{n}集.mkv") for n in range(1, 6)], "episodes": 5}

    def cancel() -> None:
        if len(measured) >= 2:
            raise Rejected("gateway.cancelled")

    with pytest.raises(Rejected):
        run_app(ws, "review", asked, tmp_path / "out", stop_if_asked=cancel)
    run_app(ws, "review", asked, tmp_path / "out")
    assert len(measured) <= 6  # at most the one that was at hand is measured again
    assert len(set(measured)) == 5
