"""`malan gateway`: a key shown once, what was used, jobs; documented JSON, exit codes, both languages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from malan.cli.main import app
from malan.core.errors import MalanError, NotFound, Rejected, UsageError
from malan.services.access import COMMAND_LINE
from malan.services.accounts.parties import add_party
from malan.services.gateway.keys import policy_of
from malan.services.jobs.queue import Ask, submit
from malan.workspace import Workspace


@pytest.fixture
def root(tmp_path: Path) -> Path:
    add_party(Workspace.create(tmp_path), COMMAND_LINE, "湖南台", kind="organisation", has=("buyer",))
    return tmp_path


def run(root: Path, *arguments: str) -> str:
    result = CliRunner().invoke(app, ["gateway", *arguments, "--workspace", str(root)])
    if isinstance(result.exception, MalanError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def told(root: Path, *arguments: str) -> Any:
    return json.loads(run(root, *arguments, "--json"))


def test_a_key_is_made_shown_once_and_listed(root: Path) -> None:
    made = told(
        root, "key", "make", "湖南台", "--app", "desk", "--model", "gpt-4o", "--budget", "10000", "--rate", "60"
    )
    policy = policy_of(Workspace(root), made["key"])
    assert (policy.app, policy.models) == ("desk", frozenset({"gpt-4o"}))
    [key] = told(root, "key", "list", "--party", "湖南台")["keys"]
    assert (key["prefix"], key["budget_minor"], key["most_a_minute"]) == (made["prefix"], 10000, 60)
    assert made["key"] not in run(root, "key", "list")
    assert "100 CNY" in run(root, "key", "list")


def test_a_key_is_ended_and_its_budget_changed(root: Path) -> None:
    prefix = told(root, "key", "make", "湖南台", "--app", "desk", "--budget", "1")["prefix"]
    assert told(root, "key", "budget", prefix, "500")["budget_minor"] == 500
    assert told(root, "key", "end", prefix)["ended"]
    with pytest.raises(NotFound):
        run(root, "key", "end", "mk_nothing")


def test_a_budget_of_nobody_and_a_bad_currency_are_refused(root: Path) -> None:
    with pytest.raises(NotFound):
        run(root, "key", "make", "nobody", "--app", "desk")
    with pytest.raises(UsageError):
        run(root, "key", "make", "湖南台", "--app", "desk", "--currency", "yuan")


def test_what_was_used_is_told_in_both_languages(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(root, "usage")["usage"] == []
    assert "Nothing was used" in run(root, "usage")
    monkeypatch.setenv("MALAN_LANG", "zh")
    assert "没有用量" in run(root, "usage")


def test_jobs_are_listed_shown_cancelled_and_worked_on(root: Path) -> None:
    job = submit(Workspace(root), Ask("video", {"prompt": "clouds"}, "video", "malan-assemble"))
    [listed] = told(root, "job", "list")["jobs"]
    assert (listed["id"], listed["state"]) == (job.id, "queued")
    assert job.id in run(root, "job", "list")
    assert told(root, "job", "show", job.id)["device"] == "cpu"
    assert told(root, "job", "cancel", job.id)["state"] == "cancelled"
    assert "cancelled" in run(root, "job", "show", job.id)
    with pytest.raises(Rejected):
        run(root, "job", "cancel", job.id)
    assert told(root, "work", "--once") == {"jobs": 0}
