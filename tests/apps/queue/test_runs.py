"""Runs of apps as jobs: one for the same request, taken up again where it stood, seen by whoever asked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from app_runs import done, ended
from media_factory import draw_film
from typer.testing import CliRunner

from malan.apps.queue.runs import cancel_app, resume_app, run_of, start_app
from malan.apps.running import REPORT
from malan.cli.main import app
from malan.core.errors import NotFound, NotGranted, Rejected, UsageError
from malan.rights import load_terms
from malan.services.access import COMMAND_LINE, Caller
from malan.services.footage.assets import add_assets
from malan.services.footage.scan import scan_assets
from malan.services.jobs import watch
from malan.services.jobs.control import cancel_job, list_jobs, retry_job, show_job, watch_job
from malan.services.jobs.queue import CANCELLED, DONE, FAILED, QUEUED, finish, get_job, take
from malan.services.runs.rows import me
from malan.workspace import Workspace

ASKED = {"length": 3, "lines": 360}
BUYER = Caller("party-1", frozenset({"buyer"}), "key")


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    root = tmp_path_factory.mktemp("runs")
    made = Workspace.create(root / "ws")
    (root / "terms.toml").write_text('uses = ["retrieve", "derive", "export", "publish"]\n')
    film = draw_film(root / "film.mp4", (60,) * 4, size=(320, 180), options={"g": "50"})
    add_assets(made, [film.path], owner="湖南台", terms=load_terms(root / "terms.toml", "湖南台"))
    scan_assets(made, captions=False)
    yield made
    made.database.dispose()


def test_a_run_is_done_by_a_worker_and_leaves_its_files_among_the_exports(ws: Workspace) -> None:
    job = get_job(ws, done(ws, start_app(ws, "promo", ASKED)))
    folder = ws.root / job.folder
    assert job.folder.startswith("exports/promo-")
    assert (folder / "promo-16x9.mp4").is_file()
    assert (folder / REPORT).is_file()
    assert job.percent == 100


def test_the_same_request_is_the_same_run_until_what_it_left_is_gone(ws: Workspace) -> None:
    asked = {**ASKED, "plan_only": True}
    job = start_app(ws, "promo", asked)
    assert start_app(ws, "promo", asked) == job
    other = start_app(ws, "promo", {**asked, "seed": 9})
    assert other != job
    cancel_app(ws, other)
    done(ws, job)
    assert start_app(ws, "promo", asked) == job
    assert get_job(ws, job).state == DONE
    with pytest.raises(Rejected):
        resume_app(ws, job)
    (ws.root / get_job(ws, job).folder / REPORT).unlink()
    assert start_app(ws, "promo", asked) == job
    assert get_job(ws, job).state == QUEUED
    done(ws, job)


def test_what_failed_or_was_stopped_is_asked_for_again(ws: Workspace) -> None:
    job = start_app(ws, "promo", {"query": "zzqq", "length": 3})
    assert (ended(ws, job).state, get_job(ws, job).code) == (FAILED, "promo.nothing")
    assert resume_app(ws, job).state == QUEUED
    assert get_job(ws, job).error is None
    with pytest.raises(Rejected):
        resume_app(ws, job)
    assert cancel_app(ws, job).state == CANCELLED
    with pytest.raises(Rejected):
        cancel_app(ws, job)
    assert start_app(ws, "promo", {"query": "zzqq", "length": 3}) == job
    assert get_job(ws, job).state == QUEUED
    cancel_app(ws, job)


def test_a_run_is_seen_by_whoever_asked_and_by_operators(ws: Workspace) -> None:
    job = start_app(ws, "promo", {"query": "qqzz", "length": 3}, caller=BUYER)
    assert run_of(ws, job, caller=BUYER).id == job
    assert run_of(ws, job, caller=COMMAND_LINE).party_id == "party-1"
    for see in (run_of, cancel_app, resume_app):
        with pytest.raises(NotFound):
            see(ws, job, caller=Caller("party-2", frozenset({"buyer"}), "key"))
    with pytest.raises(NotFound):
        run_of(ws, "app_" + "0" * 32, caller=COMMAND_LINE)
    cancel_app(ws, job, caller=BUYER)


def test_nobody_but_an_operator_names_files_of_this_machine(ws: Workspace) -> None:
    before = list_jobs(ws)
    with pytest.raises(NotGranted):
        start_app(ws, "promo", {"music": "/etc/passwd"}, caller=BUYER)
    assert list_jobs(ws) == before


def test_what_needs_the_providers_code_is_refused_before_anything_is_queued(ws: Workspace) -> None:
    before = list_jobs(ws)
    for name, asked in (("music", {"tags": ["piano"]}), ("promo", {"bed": "piano", "length": 3})):
        with pytest.raises(UsageError) as failed:
            start_app(ws, name, asked)
        assert failed.value.code == "publish.no_producer"
    assert list_jobs(ws) == before


def test_runs_stand_among_the_jobs_of_the_library(ws: Workspace) -> None:
    job = start_app(ws, "promo", {"query": "stands", "length": 3})
    assert [one.kind for one in list_jobs(ws, limit=100)].count("asset.scan") == 1
    assert list_jobs(ws, limit=1)[0].id == job
    assert show_job(ws, job[:14]).job.state == "queued"
    row = next(one for one in watch.jobs(ws, "zh").jobs if one.id == job)
    assert (row.state, row.total, row.can_cancel, row.can_retry) == ("queued", 100, True, False)
    assert row.title.startswith("宣发短片 · promo-")
    taken = take(ws, "cpu", worker=me(), now_s=time.time(), only=job)
    assert taken is not None
    assert watch.count_running(ws) == 1
    assert cancel_job(ws, job).is_cancelling
    assert watch.jobs(ws, "zh").running == 1
    assert finish(ws, taken, CANCELLED)
    assert watch.count_running(ws) == 0


def test_the_command_line_takes_a_run_up_and_sees_it_through(ws: Workspace) -> None:
    job = start_app(ws, "promo", {"query": "zq", "length": 3})
    cancel_app(ws, job)
    assert retry_job(ws, job).state == QUEUED
    threading.Thread(target=ended, args=(ws, job), daemon=True).start()
    assert [one.state for one in watch_job(ws, job)][-1] == "failed"
    assert show_job(ws, job).job.code == "promo.nothing"


def test_the_command_line_lists_and_shows_runs(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALAN_WORKSPACE", str(ws.root))
    monkeypatch.setenv("MALAN_LANG", "en")
    job = start_app(ws, "promo", {"query": "listed", "length": 3})

    def said(*words: str) -> str:
        done = CliRunner().invoke(app, ["job", *words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    assert job[:12] in said("list")
    assert said("show", job).startswith("Promo")
    assert json.loads(said("show", job, "--json"))["spec"]["app"] == "promo"
    assert "cancelled" in said("cancel", job[:12])
    assert "promo.nothing" in said("retry", job, "--json")


def test_a_run_outlives_the_server_it_was_started_from(ws: Workspace) -> None:
    """Killed with its worker at work, started again: the run goes on by itself."""
    asked = {**ASKED, "seed": 77, "length": 6}
    first = serve(ws)
    job = start_app(ws, "promo", asked)
    until(lambda: get_job(ws, job).state == "in_progress")
    first.kill()
    first.wait()
    second = serve(ws)
    try:
        until(lambda: get_job(ws, job).is_over)
        assert get_job(ws, job).state == DONE
    finally:
        second.send_signal(signal.SIGTERM)
        second.wait(30)


def serve(ws: Workspace) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "malan.server", str(ws.root), "127.0.0.1", "0"]
    return subprocess.Popen(command, env={**os.environ}, stdout=subprocess.DEVNULL, start_new_session=True)


def until(true: Callable[[], object]) -> None:
    """Wait for something that is about to be so."""
    deadline = time.monotonic() + 300
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
