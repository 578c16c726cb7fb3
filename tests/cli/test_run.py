"""`malan run` as a buyer, an owner and a program use it, in both languages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import run_programs as programs
from market_place import BUYER_NAME, STATION
from run_place import BUYER, SET, grant_on
from typer.testing import CliRunner, Result

from malan.cli.main import app
from malan.services.runs.algorithms import submit_algorithm
from malan.services.runs.approvals import approve_algorithm
from malan.workspace import Workspace


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A workspace with a grant of the buyer's, and code of the buyer's that its owner has approved."""
    ws = Workspace.create(tmp_path_factory.mktemp("cli") / "ws")
    grant = grant_on(ws, price="2500:CNY/run")
    submit_algorithm(ws, programs.package(), grant=grant, caller=BUYER)
    approve_algorithm(ws, "line")
    ws.database.dispose()
    return ws.root, grant


def malan(root: Path, *arguments: object) -> Result:
    return CliRunner().invoke(app, ["run", *map(str, arguments), "--workspace", str(root)])


def said(root: Path, *arguments: object) -> dict[str, Any]:
    result = malan(root, *arguments, "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def shown(root: Path, *arguments: object) -> str:
    result = malan(root, *arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def test_a_buyer_submits_watches_and_keeps_the_receipt(place, tmp_path, monkeypatch):
    root, grant = place
    sets = ("--set", f"label_set={SET}", "--set", "hidden=0")
    run = said(root, "submit", "tagger", "--grant", grant[:12], *sets, "--name", "日夜", "--as", BUYER_NAME)["run"]
    assert "No worker is running" in shown(root, "show", run[:8], "--as", BUYER_NAME)
    assert said(root, "work", "--once") == {"runs": 1}
    told = shown(root, "watch", run, "--as", BUYER_NAME)
    for words in ("released", "Used: ", "Left of the grant: ", "25.00 CNY", "Figures: accuracy"):
        assert words in told
    monkeypatch.setenv("MALAN_LANG", "zh")
    in_chinese = shown(root, "show", run, "--as", STATION)
    for words in ("已放行", "授权余量：", "应付：25.00 CNY", "出域审查" if "gate" in in_chinese else "指标：", "✓"):
        assert words in in_chinese
    out = tmp_path / "receipt.json"
    assert str(out) in shown(root, "receipt", run, "--out", out, "--as", BUYER_NAME)
    assert json.loads(out.read_bytes())["type"] == "malan-run-receipt/v1"
    assert said(root, "receipt", run)["receipt"]["copy"] == "owner"
    assert run[:12] in shown(root, "list")


def test_an_owner_reads_the_log_and_decides(place):
    root, grant = place
    run = said(root, "submit", "line", "--grant", grant, "--as", BUYER_NAME)["run"]
    shown(root, "work", "--once")
    assert [one["run"] for one in said(root, "list", "--state", "held")["runs"]] == [run]
    assert "starts at epoch 0" in shown(root, "log", run, "--as", STATION)
    assert malan(root, "log", run, "--as", BUYER_NAME).exit_code != 0
    assert malan(root, "decide", run, "release", "--reason", "mine", "--as", BUYER_NAME).exit_code != 0
    told = shown(root, "decide", run, "release", "--reason", "figures are right", "--as", STATION)
    assert "released" in told
    assert "figures are right" in told
    assert "figures are right" not in shown(root, "show", run, "--as", BUYER_NAME)


def test_a_run_is_cancelled_and_cannot_be_resumed(place):
    root, grant = place
    run = said(root, "submit", "tagger", "--grant", grant, "--set", f"label_set={SET}", "--as", BUYER_NAME)["run"]
    assert said(root, "cancel", run, "--reason", "wrong set", "--as", BUYER_NAME)["state"] == "cancelled"
    assert malan(root, "resume", run, "--as", BUYER_NAME).exit_code == 1
    assert malan(root, "show", "ffffffff").exit_code == 1
