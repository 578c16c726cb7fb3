"""`malan algorithm`: a newcomer's way from a new package to an approved one, in text and JSON, in both languages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from market_place import BUYER_NAME, STATION, STUDIO, granted
from typer.testing import CliRunner

from malan.cli.main import app
from malan.core.errors import MalanError, NotFound, Rejected, UsageError
from malan.workspace import Workspace


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace, and commands that stand in the folder beside it."""
    place = tmp_path / "ws"
    Workspace.create(place)
    monkeypatch.setenv("MALAN_WORKSPACE", str(place))
    monkeypatch.chdir(tmp_path)
    return place


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["algorithm", *arguments])
    if isinstance(result.exception, MalanError):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


def told(*arguments: str, code: int = 0) -> Any:
    return json.loads(run(*arguments, "--json", code=code))


def test_a_new_package_is_sound_and_works_unchanged(root: Path) -> None:
    made = told("new", "mine", "--publisher", BUYER_NAME)
    assert made["files"] == ["algorithm.toml", "algorithm.py"]
    checked = told("check", "mine")
    assert (checked["sound"], checked["problems"], checked["hints"]) == (True, [], [])
    tried = told("smoke", "mine")
    assert (tried["passed"], tried["level"], tried["attempts"]) == (True, "sandbox", {})
    with pytest.raises(UsageError, match="there already"):
        run("new", "mine")


@pytest.mark.parametrize("name", ["Mine", "x", "1st", "a_b", "..", "-h me"])
def test_a_name_that_is_none_writes_nothing(root: Path, name: str) -> None:
    with pytest.raises((UsageError, AssertionError)):
        run("new", name)
    assert [path.name for path in Path.cwd().iterdir()] == ["ws"]


def test_everything_wrong_is_told_with_exit_code_one(root: Path) -> None:
    run("new", "mine")
    place = Path("mine/algorithm.toml")
    place.write_text(
        place.read_text("utf-8").replace("epochs", "9epochs").replace('use = "train"', 'use = "all"'), "utf-8"
    )
    found = told("check", "mine", code=1)
    assert found["sound"] is False
    assert len(found["problems"]) >= 2
    shown = run("check", "mine", code=1)
    assert "algorithm.toml:" in shown
    assert "→" in shown


def test_a_package_that_fails_shows_what_it_printed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("new", "mine")
    with Path("mine/algorithm.py").open("a") as file:
        file.write("\nprint('\\x1b[2Jhello')\nraise SystemExit(9)\n")
    monkeypatch.setenv("MALAN_LANG", "zh")
    shown = run("smoke", "mine", code=1)
    assert "试运行未通过" in shown
    assert "hello" in shown
    assert "\x1b" not in shown


def test_from_submission_to_approval(root: Path) -> None:
    grant = granted(Workspace(root))
    run("new", "mine", "--publisher", BUYER_NAME)
    sent = told("submit", "mine", "--grant", grant, "--as", BUYER_NAME)
    assert {one["state"] for one in sent["approval"]["owners"]} == {"waiting"}
    assert told("approve", "mine", "--as", STATION, "--reason", "read it")["owners"][0]["state"] == "approved"
    shown = told("show", "mine")
    assert {one["name"]: one["state"] for one in shown["approval"]["owners"]} == {
        STATION: "approved",
        STUDIO: "waiting",
    }
    assert told("trust", BUYER_NAME, "--as", STUDIO)["owners"] == [{"owner": STUDIO, "trusts": [BUYER_NAME]}]
    assert told("show", sent["algorithm"][:12])["approval"]["allowed"] is True
    assert told("reject", "mine", "--as", STUDIO, "--reason", "no")["allowed"] is False
    assert told("revoke", "mine", "--as", STATION, "--reason", "no")["allowed"] is False
    assert told("trust", BUYER_NAME, "--as", STUDIO, "--stop")["owners"] == [{"owner": STUDIO, "trusts": []}]
    assert run("show", "mine")


def test_the_buyer_alone_sees_what_nobody_was_asked_about(root: Path) -> None:
    granted(Workspace(root))
    run("new", "mine", "--publisher", BUYER_NAME)
    run("submit", "mine", "--as", BUYER_NAME)
    assert "mine" in {one["name"] for one in told("list", "--as", BUYER_NAME)["algorithms"]}
    assert "mine" not in {one["name"] for one in told("list", "--as", STATION)["algorithms"]}
    with pytest.raises(NotFound):
        run("approve", "mine", "--as", STATION)
    with pytest.raises(UsageError, match="nobody"):
        run("approve", "mine")


def test_it_says_for_whom_it_is_submitted(root: Path) -> None:
    run("new", "mine")
    with pytest.raises(UsageError, match="for whom"):
        run("submit", "mine")
    with pytest.raises(Rejected, match="publishes it"):
        run("submit", "mine", "--as", BUYER_NAME)


def test_a_difference_of_folders_and_of_versions(root: Path) -> None:
    run("new", "mine", "--publisher", BUYER_NAME)
    run("submit", "mine", "--as", BUYER_NAME)
    assert told("diff", "mine@0.1.0")["after"] is None
    place = Path("mine/algorithm.toml")
    place.write_text(place.read_text("utf-8").replace("0.1.0", "0.2.0"), "utf-8")
    assert told("diff", "mine")["settings"]["version"] == {"was": "0.1.0", "is": "0.2.0"}
    run("submit", "mine", "--as", BUYER_NAME)
    Path("other").mkdir()
    found = told("diff", "mine@0.2.0")
    assert found["files"] == {"algorithm.toml": "changed"}
    assert '+version = "0.2.0"' in run("diff", "mine@0.2.0", "--from", "mine@0.1.0")


def test_what_comes_with_malan_is_listed_and_shown(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"tagger", "review-classifier"} <= {one["name"] for one in told("list")["algorithms"] if one["built_in"]}
    monkeypatch.setenv("MALAN_LANG", "zh")
    assert "Malan 自带" in run("show", "tagger")


def test_tiers_say_what_they_do_not_guarantee(root: Path) -> None:
    found = told("tiers", "--bytes", "50000000")
    assert [one["tier"] for one in found["tiers"]] == ["recipe", "recipe-dp", "code"]
    assert found["worst_case"]["audio_s"] == 6250
    allowed = told("tiers", "--grant", granted(Workspace(root)))
    assert [one["tier"] for one in allowed["tiers"]] == ["recipe", "recipe-dp"]
    assert allowed["worst_case"]["budget_bytes"] == 50_000_000
    assert "✗" in run("tiers")
