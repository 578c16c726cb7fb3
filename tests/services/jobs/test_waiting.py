"""A job that nobody takes says so, since when, and what to start: wherever jobs are shown."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from malan.apps.view import run_view
from malan.cli.main import app
from malan.services.access import COMMAND_LINE
from malan.services.jobs.control import describe_job, list_jobs, unattended
from malan.services.jobs.queue import Ask, Job, note_worker, submit, take
from malan.services.jobs.waiting import GRACE_S
from malan.services.jobs.watch import jobs
from malan.services.runs.rows import me
from malan.workspace import Workspace

LONG_AGO_S = 4 * GRACE_S


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    made = Workspace.create(tmp_path / "ws")
    yield made
    made.log.close()
    made.database.dispose()


def waiting(ws: Workspace, ago_s: float = LONG_AGO_S, device: str = "cpu") -> Job:
    return submit(ws, Ask("music", {"tags": ["pop"]}, device=device), now_s=time.time() - ago_s)


def test_a_job_nobody_takes_says_since_when_and_what_to_start(ws: Workspace) -> None:
    job = waiting(ws, device="cuda:0")
    error = unattended(ws, [job])[job.id]
    assert error.values["since_s"] == round(job.created_s)
    assert "malan gateway work --device cuda:0" in error.hint("en")
    assert "没有可用的工作进程" in error.message("zh")


def test_one_asked_for_a_moment_ago_is_given_time(ws: Workspace) -> None:
    job = waiting(ws, 0.0)
    assert unattended(ws, [job]) == {}
    assert unattended(ws, [job], time.time() + LONG_AGO_S) != {}


def test_where_a_worker_is_it_only_waits(ws: Workspace) -> None:
    job = waiting(ws)
    note_worker(ws, "cpu", time.time())
    assert unattended(ws, [job]) == {}
    assert unattended(ws, [waiting(ws, device="cuda:0")]) != {}


def test_a_worker_that_fell_silent_is_missed_since_then(ws: Workspace) -> None:
    job, now = waiting(ws), time.time()
    note_worker(ws, "cpu", now - 2 * GRACE_S)
    assert unattended(ws, [job], now)[job.id].values["since_s"] == round(now - 2 * GRACE_S)


def test_what_is_at_work_or_over_misses_nobody(ws: Workspace) -> None:
    waiting(ws)
    job = take(ws, "cpu", worker=me(), now_s=time.time())
    assert job is not None
    assert unattended(ws, [job]) == {}


def test_lists_pages_and_commands_say_it(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALAN_LANG", "en")
    job = waiting(ws)
    assert "malan gateway work" in jobs(ws, "en").jobs[0].detail
    shown = run_view(ws, job.id, "zh", caller=COMMAND_LINE).no_worker
    assert shown is not None
    assert "malan gateway work" in shown.hint
    rows = list_jobs(ws)
    told = describe_job(rows[0], unattended(ws, rows)[job.id])
    assert told["no_worker"]["device"] == "cpu"
    assert describe_job(rows[0])["no_worker"] is None
    where = ["--workspace", str(ws.root)]
    for command in (
        ["job", "list"],
        ["job", "show", job.id],
        ["gateway", "job", "list"],
        ["gateway", "job", "show", job.id],
    ):
        plain = CliRunner().invoke(app, [*command, *where])
        assert (plain.exit_code, "malan gateway work --device cpu" in " ".join(plain.output.split())) == (0, True)
        said = json.loads(CliRunner().invoke(app, [*command, *where, "--json"]).output)
        assert said.get("jobs", [said])[0]["no_worker"]["code"] == "job.no_worker"
