"""`malan settle` as a person and a program use it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from malan.cli.main import app
from malan.core.errors import MalanError
from malan.rights.holders import Holders
from malan.rights.meter import Meter
from malan.rights.terms import party_id
from malan.rights.usage import MICROSECONDS, Usage
from malan.workspace import Workspace

OWNERS = ("湖南台", "Ann")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A workspace in which footage of two owners was used, two thirds of it the first one's."""
    ws = Workspace.create(tmp_path / "ws")
    meter, owners = Meter(ws.database), {f"asset{n}": party_id(name) for n, name in enumerate(OWNERS)}
    holders = Holders(ws.database).now(owners)
    meter.open("grant-1", {"clip_seconds": None})
    for n, (asset, owner) in enumerate(owners.items()):
        row = Usage("grant-1", "s", asset, owner, holders[asset], "run:r", (60 - 30 * n) * MICROSECONDS)
        meter.consume(meter.reserve("grant-1", "clip_seconds", row.amount, f"k{n}"), row.amount, [row])
    ws.database.dispose()
    return tmp_path / "ws"


def malan(root: Path, *arguments: object) -> Result:
    return CliRunner().invoke(app, ["settle", *map(str, arguments), "--workspace", str(root)])


def output(root: Path, *arguments: object) -> dict[str, Any]:
    result = malan(root, *arguments, "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    said: dict[str, Any] = json.loads(result.stdout)
    return said


def this_month() -> str:
    from datetime import UTC, datetime

    return datetime.now(UTC).strftime("%Y-%m")


def settled(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    output(root, "charge", "grant-1", "--amount", 10_000, "--key", "invoice-1")
    from malan.services.settlement import periods as settlement

    monkeypatch.setattr(settlement, "now_us", lambda: settlement.period_end_us(this_month()) + 1)
    return output(root, "run", "--period", this_month(), "--fee", "platform=1/10")


def test_a_draft_shows_the_month_as_it_stands(root: Path) -> None:
    output(root, "charge", "grant-1", "--amount", 10_000, "--key", "invoice-1")
    said = output(root, "run", "--period", this_month(), "--fee", "platform=1/10", "--draft")
    assert (said["state"], said["totals"]) == ("draft", {"CNY": {"gross": 10_000, "fees": 1_000, "net": 9_000}})
    refused = malan(root, "run", "--period", this_month())
    assert isinstance(refused.exception, MalanError)
    assert refused.exception.code == "settle.period_open"


def test_a_statement_goes_to_a_file_and_is_checked(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = settled(root, monkeypatch)
    file = tmp_path / "statement.json"
    written = output(root, "show", said["statement"][:10], "--party", "湖南台", "--out", file)
    checked = output(root, "verify", file)
    assert (checked["holds"], checked["amounts"], checked["rows"]) == (True, {"CNY": 6_000}, 1)
    assert "6000.00" not in malan(root, "verify", file).stdout
    assert "60.00 CNY" in malan(root, "verify", file, "--key", written["vkey"]).stdout
    file.write_bytes(file.read_bytes().replace(b"6000", b"6001"))
    bad = malan(root, "verify", file)
    assert isinstance(bad.exception, MalanError)
    assert bad.exception.exit_code == 4


def test_statements_are_listed_and_shown(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no statements" in malan(root, "show").stdout
    said = settled(root, monkeypatch)
    assert output(root, "show")["statements"][0]["statement"] == said["statement"]
    parts = output(root, "show", this_month())["parts"]
    assert parts == [
        {"party": party_id("湖南台"), "currency": "CNY", "amount": 6_000},
        {"party": party_id("Ann"), "currency": "CNY", "amount": 3_000},
    ]
    monkeypatch.setenv("MALAN_LANG", "zh")
    assert "60.00 CNY" in malan(root, "show", this_month()).stdout


def test_a_dispute_is_opened_and_decided(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = settled(root, monkeypatch)
    opened = output(root, "dispute", said["statement"], "--party", "Ann", "--reason", "too little")
    assert [one["state"] for one in opened["disputes"]] == ["open"]
    assert output(root, "dispute", said["statement"], "--uphold")["state"] == "reversed"


@pytest.mark.parametrize(
    "arguments",
    [
        ("dispute", "x"),
        ("dispute", "x", "--party", "Ann"),
        ("dispute", "x", "--uphold", "--reject"),
        ("run", "--period", "2026-11", "--fee", "platform"),
        ("run", "--period", "2026-11", "--fee", "platform=0.1"),
        ("run", "--period", "2026-11", "--fee", "=1/10"),
        ("run", "--period", "November"),
        ("charge", "g", "--amount", "-5", "--key", "k"),
        ("charge", "g", "--amount", "5", "--key", "k", "--currency", "yuan"),
        ("verify", "/nowhere"),
    ],
)
def test_what_makes_no_sense_is_misuse(root: Path, arguments: tuple[str, ...]) -> None:
    result = malan(root, *arguments)
    code = result.exception.exit_code if isinstance(result.exception, MalanError) else result.exit_code
    assert code == 2
