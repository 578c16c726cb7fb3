"""A server sees to runs by itself: a worker comes when there is work, and another when it dies."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import run_programs as programs
from run_place import BUYER, SET, grant_on
from waiting import until

from malan.rights.meter import RUNS
from malan.services.runs.algorithms import submit_algorithm
from malan.services.runs.approvals import approve_algorithm
from malan.services.runs.clock import RunClock
from malan.services.runs.folder import RunFolder
from malan.services.runs.submission import get_run, submit_run
from malan.services.settlement.metering import meter, page_event, seal_usage
from malan.web.built import FOLDER
from malan.workspace import Workspace


@pytest.fixture
def place(tmp_path):
    """A workspace and a grant in it."""
    ws = Workspace.create(tmp_path / "local")
    grant = grant_on(ws)
    yield ws, grant
    ws.database.dispose()


@pytest.fixture(autouse=True)
def _found(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))


def test_a_worker_that_is_killed_is_replaced_and_the_run_ends(place):
    ws, grant = place
    submit_algorithm(ws, programs.package(), grant=grant, caller=BUYER)
    approve_algorithm(ws, "line")
    run = submit_run(ws, "line", grant, {"epochs": 6, "pause": 0.3}, caller=BUYER)
    clock = RunClock(Workspace(ws.root))
    clock.start()
    try:
        until(lambda: RunFolder(ws, run.id).has_checkpoint())
        worker = get_run(ws, run.id).worker
        os.kill(int(worker.split(":")[1]), signal.SIGKILL)
        until(lambda: get_run(ws, run.id).state == "held")
    finally:
        clock.stop()
    assert {one.unit: one.consumed for one in meter(ws).accounts(grant)}[RUNS] == 1
    assert get_run(ws, run.id).attempt == 2


def test_usage_is_sealed_by_the_clock(place):
    ws, grant = place
    clock = RunClock(ws, seal_s=0)
    from malan.services.settlement.metering import usage_of

    clip = ws.library.clips(ws.library.assets()[0].asset.id)[0].clip
    rows = usage_of(ws, grant, "s" * 64, [clip], work="run:elsewhere")
    hold = meter(ws).reserve(grant, "clip_seconds", rows[0].amount, "k")
    meter(ws).consume(hold, rows[0].amount, rows, key="k")
    clock.look()
    page = seal_usage(ws)[-1]
    assert page.rows == 1
    assert page_event(ws, page) is not None


@pytest.mark.skipif(not (FOLDER / "manifest.json").is_file(), reason="the console is not built")
def test_up_needs_nothing_else_to_train(place):
    ws, grant = place
    command = [sys.executable, "-m", "malan", "up", "--workspace", str(ws.root), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        run = submit_run(ws, "tagger", grant, {"label_set": SET}, caller=BUYER)
        until(lambda: get_run(ws, run.id).state == "released")
    finally:
        process.send_signal(signal.SIGTERM)
        _out, said = process.communicate(timeout=30)
    assert "Traceback" not in said
    assert not workers_of(ws.root)


def workers_of(root: Path) -> list[int]:
    """Worker processes of a workspace that are there still."""
    found = []
    for place in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"MALAN_WORKSPACE={root}".encode() in place.read_bytes():
                found.append(int(place.parent.name))
        except OSError:
            continue
    return found
