"""`malan clip index`, `clip find --meaning | --like`, `asset transcribe`, `asset transcript`: JSON and words."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from onnx_factory import COLOURS
from services.meaning_place import a_picture, stored_colours, with_encoder
from services.spoken_place import spoken_sound, with_ear
from typer.testing import CliRunner

from malan.cli.main import app
from malan.core.errors import MalanError, NotFound, UsageError
from malan.services.footage.assets import add_assets
from malan.workspace import Workspace

pytest.importorskip("tokenizers")
pytest.importorskip("sherpa_onnx")


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    ws = Workspace.create(tmp_path / "workspace")
    yield ws
    ws.database.dispose()


def run(ws: Workspace, *arguments: str) -> str:
    result = CliRunner().invoke(app, [*arguments, "--workspace", str(ws.root)])
    if isinstance(result.exception, MalanError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def as_json(ws: Workspace, *arguments: str) -> Any:
    return json.loads(run(ws, *arguments, "--json"))


def test_an_index_is_made_listed_searched_and_dropped(ws: Workspace, tmp_path: Path) -> None:
    clips = stored_colours(ws, [(name,) for name in COLOURS])
    base = with_encoder(ws, tmp_path)
    made = as_json(ws, "clip", "index")
    assert made == {
        "engine": "eye", "model": base.id, "title": "eye@1", "added": 8, "removed": 0, "total": 8, "bare": 0,
    }  # fmt: skip
    listed = as_json(ws, "clip", "index", "--list")["indexes"]
    assert listed == [{"model": base.id, "title": "eye@1", "engine": "eye", "clips": 8, "width": 8}]
    assert "eye@1" in run(ws, "clip", "index", "--list")
    found = as_json(ws, "clip", "find", "--meaning", "crimson", "--model", "eye")
    assert found["clips"][0]["clip"] == clips[0]
    photo = a_picture(tmp_path / "photo.jpg", "blue")
    assert as_json(ws, "clip", "find", "--like", str(photo))["clips"][0]["clip"] == clips[list(COLOURS).index("blue")]
    assert clips[1] not in [one["clip"] for one in as_json(ws, "clip", "find", "--like", clips[1][:12])["clips"]]
    assert as_json(ws, "clip", "index", "--drop", "eye") == {"dropped": base.id, "title": "eye@1"}
    with pytest.raises(NotFound):
        run(ws, "clip", "find", "--meaning", "red")


def test_words_are_printed_for_people(ws: Workspace, tmp_path: Path) -> None:
    stored_colours(ws, [("red",)])
    with_encoder(ws, tmp_path)
    assert "1" in run(ws, "clip", "index")
    assert "one" in run(ws, "clip", "find", "--meaning", "red")


def test_without_an_encoder_the_hint_says_where_to_name_one(ws: Workspace) -> None:
    with pytest.raises(UsageError) as told:
        run(ws, "clip", "find", "--meaning", "red")
    assert "models.toml" in told.value.hint("zh")


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng speaks in test sounds")
def test_speech_is_written_down_shown_and_exported(ws: Workspace, tmp_path: Path) -> None:
    asset = add_assets(ws, [spoken_sound(tmp_path, {1.0: "马", 1.5: "栏"})], owner="湖南台").added[0].asset_id
    base = with_ear(ws, tmp_path)
    scanned = as_json(ws, "asset", "scan")
    assert (scanned["transcribed"], scanned["transcript_lines"], scanned["speech_problem"]) == (1, 1, None)
    again = as_json(ws, "asset", "transcribe", "--again")
    assert (again["engine"], again["model"], again["heard"], again["lines"]) == ("ear", base.id, [asset], 1)
    srt = tmp_path / "out.srt"
    said = as_json(ws, "asset", "transcript", asset, "--srt", str(srt))
    assert said["lines"][0]["text"] == "马栏"
    assert [word[0] for word in said["lines"][0]["words"]] == ["马", "栏"]
    assert srt.read_text("utf-8").splitlines()[2] == "马栏"
    assert "马栏" in run(ws, "asset", "transcript", asset)


def test_an_asset_without_speech_says_so(ws: Workspace) -> None:
    [clip] = stored_colours(ws, [("red",)])
    asset = ws.library.clip(clip).clip.asset_id
    assert as_json(ws, "asset", "transcript", asset)["lines"] == []
    assert run(ws, "asset", "transcript", asset).strip()
