"""`malan clip label`, `labels`, `unlabel`, `trace` and `find --tag`: documented JSON, and words people read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from services.tagged_library import released, stored
from typer.testing import CliRunner

from malan.cli.main import app
from malan.core import Clip
from malan.core.errors import MalanError, NotFound, UsageError
from malan.services.access import COMMAND_LINE
from malan.services.accounts.parties import add_party
from malan.services.clips.tagging import apply_model
from malan.services.clips.where import condition
from malan.workspace import Workspace


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    ws = Workspace.create(tmp_path / "workspace")
    yield ws
    ws.database.dispose()


@pytest.fixture
def clips(ws: Workspace) -> list[Clip]:
    return stored(ws)


def run(ws: Workspace, *arguments: str, stdin: str = "") -> str:
    result = CliRunner().invoke(app, ["clip", *arguments, "--workspace", str(ws.root)], input=stdin)
    if isinstance(result.exception, MalanError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def told(ws: Workspace, *arguments: str, stdin: str = "") -> Any:
    return json.loads(run(ws, *arguments, "--json", stdin=stdin))


def test_clips_are_labelled_listed_found_and_unlabelled(ws: Workspace, clips: list[Clip]) -> None:
    add_party(ws, COMMAND_LINE, "小李", has=("annotator",))
    dark = [clips[0].id[:12], clips[2].id[:12]]
    assert told(ws, "label", *dark, "--as", "day-night=night", "--by", "小李") == {"clips": 2, "new": 2, "replaced": 0}
    [shown] = told(ws, "labels")["sets"]
    assert shown == {"set": "day-night", "labels": {"night": 2}, "people": ["小李"], "orphans": 0}
    assert {one["clip"] for one in told(ws, "find", "--tag", "day-night=night")["clips"]} == {clips[0].id, clips[2].id}
    assert told(ws, "unlabel", dark[0], "--as", "day-night") == {"taken_back": 1}
    assert told(ws, "find", "--tag", "day-night=night")["total"] == 1


def test_a_query_names_clips_too(ws: Workspace, clips: list[Clip]) -> None:
    assert told(ws, "label", "min-duration=0.1", "--as", "shot-size=wide")["clips"] == len(clips)


def test_a_table_comes_from_a_pipe(ws: Workspace, clips: list[Clip]) -> None:
    table = f"clip,label\n{clips[0].id},night\n{clips[1].id},day\n"
    assert told(ws, "label", "--csv", "-", "--set", "day-night", stdin=table)["new"] == 2


def test_a_tag_is_traced(ws: Workspace, clips: list[Clip]) -> None:
    model = released(ws)
    apply_model(ws, "日夜", condition(""))
    [tag] = told(ws, "trace", clips[0].id, "--tag", "day-night")["tags"]
    assert (tag["tag"], tag["model"]["model"], tag["person"]) == ("day-night=night", model.id, None)
    assert "footage of 湖南台: 100.0%" in run(ws, "trace", clips[0].id)


@pytest.mark.parametrize(
    "arguments",
    [
        ("label",),
        ("label", "--as", "a=b"),
        ("label", "", "--as", "a=b"),
        ("label", "min-duration=0"),
        ("unlabel", "min-duration=0"),
        ("label", "min-duration=0", "--as", "night"),
    ],
)
def test_what_says_too_little_is_refused(ws: Workspace, clips: list[Clip], arguments: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, ["clip", *arguments, "--workspace", str(ws.root)])
    assert isinstance(result.exception, UsageError) or result.exit_code == 2


def test_a_table_that_is_not_there_is_said(ws: Workspace) -> None:
    with pytest.raises(NotFound):
        run(ws, "label", "--csv", "nowhere.csv")
