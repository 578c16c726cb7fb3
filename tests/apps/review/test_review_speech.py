"""With a recogniser configured, what is said in an episode is held against the rules as well."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from onnx_factory import write_listener
from services.spoken_place import EAR, spoken_sound

from malan.apps.review.report import read_report
from malan.apps.running import run_app
from malan.core.errors import NotGranted
from malan.services.models.bases import add_base
from malan.workspace import Workspace

pytest.importorskip("sherpa_onnx")
pytestmark = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng speaks in test sounds")
TOLD = {"title": "老地方见", "drama_class": 3, "platform": "马栏", "as_of": "2026-10-01", "pdf": False, "ai": False}


def _hearing(tmp_path: Path, licence: str = "MIT") -> Workspace:
    """A workspace whose recogniser takes the four tones for 赌场山水."""
    ws = Workspace.create(tmp_path / "workspace")
    folder = write_listener(tmp_path / "ear")
    (folder / "tokens.txt").write_text("<blk> 0\n赌 1\n场 2\n山 3\n水 4\n", "utf-8")
    add_base(ws, folder, licence=licence, family="zipformer", name="ear")
    (ws.root / "models.toml").write_text(EAR)
    return ws


def test_a_word_that_is_spoken_is_found_where_it_is_spoken(tmp_path: Path) -> None:
    ws = _hearing(tmp_path)
    path = spoken_sound(tmp_path, {1.0: "马", 1.5: "栏"})
    run_app(ws, "review", {**TOLD, "paths": [str(path)]}, tmp_path / "out")
    report = read_report(tmp_path / "out" / "review.json")
    [found] = [one for one in report["findings"] if one["rule"] == "CON-13" and one["state"] == "found"]
    assert found["words"] == "赌场"
    assert found["start_s"] == pytest.approx(1.0, abs=0.1)
    opened = {one["rule"]: one["missing"] for one in report["findings"] if one["state"] == "open"}
    assert not any("speech" in missing for missing in opened.values())
    ws.database.dispose()


def test_a_model_that_may_not_be_used_stops_the_review(tmp_path: Path) -> None:
    ws = _hearing(tmp_path, "CC-BY-NC-4.0")
    path = spoken_sound(tmp_path, {1.0: "马"})
    with pytest.raises(NotGranted):
        run_app(ws, "review", {**TOLD, "paths": [str(path)]}, tmp_path / "out")
    ws.database.dispose()
