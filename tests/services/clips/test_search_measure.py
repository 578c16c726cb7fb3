"""Search is measured on questions whose answers are known: words beside meaning, in one command."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from services.meaning_place import stored_colours, with_encoder
from typer.testing import CliRunner

from malan.core.errors import MalanError, NotFound, UsageError
from malan.services.clips.meaning import build_index
from malan.services.clips.search_measure import MOST_ROWS, measure_search
from malan.workspace import Workspace


@pytest.fixture
def place(tmp_path: Path) -> tuple[Workspace, list[str]]:
    """Three shots, of which words speak of the first alone."""
    ws = Workspace.create(tmp_path / "ws")
    with_encoder(ws, tmp_path)
    return ws, stored_colours(ws, [("red",), ("green",), ("blue",)], captions={0: "red scene"})


def listed(path: Path, rows: list[tuple[str, str]]) -> Path:
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows([("query", "clip"), *rows])
    return path


def test_meaning_finds_what_words_do_not(place, tmp_path: Path) -> None:
    ws, (red, green, _) = place
    build_index(ws)
    truth = listed(tmp_path / "q.csv", [("red scene", red), ("green scene", green[:12]), ("绿色的画面", green)])
    found = measure_search(ws, truth, top=1)
    words, meaning = found.ways
    assert (found.questions, found.clips, found.top) == (3, 2, 1)
    assert (words.way, meaning.way) == ("words", "meaning")
    assert meaning.recall == meaning.reciprocal_rank == 1.0
    assert words.recall < 1.0
    assert "绿色的画面" in words.lost


def test_the_command_shows_both_ways(place, tmp_path: Path) -> None:
    from malan.cli.main import app

    ws, (red, *_) = place
    build_index(ws)
    truth = listed(tmp_path / "q.csv", [("red scene", red)])
    asked = ["clip", "measure-search", str(truth), "--workspace", str(ws.root)]
    said = CliRunner().invoke(app, [*asked, "--json"])
    assert said.exit_code == 0
    assert [one["way"] for one in json.loads(said.output)["ways"]] == ["words", "meaning"]
    assert "100.0%" in CliRunner().invoke(app, asked).output


def test_without_an_index_it_says_so(place, tmp_path: Path) -> None:
    ws, (red, *_) = place
    with pytest.raises(NotFound) as refused:
        measure_search(ws, listed(tmp_path / "q.csv", [("red", red)]))
    assert refused.value.code == "meaning.no_index"


@pytest.mark.parametrize(
    ("data", "code"),
    [(b"", "measure.no_columns"), (b"a,b\n1,2\n", "measure.no_columns"), (b"query,clip\n", "measure.no_rows"),
     (b"query,clip\nred,\n", "measure.bad_row"), (b"query,clip\n,abc\n", "measure.bad_row"),
     (b"query,clip\nred,zzzzzzzzzzzz\n", "measure.unknown_clip"), (b"\xff\xfe\x00", "measure.unreadable"),
     (b"query,clip\n\"open\x00", "measure.bad_row"), (b"query,clip\n" + b"a,b\n" * (MOST_ROWS + 1), "measure.too_long"),
     (b"query,clip\n" + b"x" * 5_000_000, "measure.too_long")],
)  # fmt: skip
def test_a_list_that_is_none_is_refused_with_its_line(place, tmp_path: Path, data: bytes, code: str) -> None:
    (tmp_path / "q.csv").write_bytes(data)
    with pytest.raises(MalanError) as refused:
        measure_search(place[0], tmp_path / "q.csv")
    assert refused.value.code in (code, "measure.unreadable")
    assert refused.value.hint("zh") is not None


def test_what_cannot_be_counted_is_refused(place, tmp_path: Path) -> None:
    for top in (0, -1, 1000):
        with pytest.raises(UsageError):
            measure_search(place[0], tmp_path / "none.csv", top=top)
    with pytest.raises(UsageError) as refused:
        measure_search(place[0], tmp_path / "none.csv")
    assert refused.value.code == "measure.unreadable"
