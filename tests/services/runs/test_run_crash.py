"""Workers killed with SIGKILL at any moment: the run goes on from its checkpoint or ends, and nothing counts twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import run_programs as programs
from run_place import BUYER, OWNER, grant_on
from waiting import until

from malan.rights.meter import OUTPUT_BYTES, RUNS
from malan.runtime.limits import started_ticks
from malan.services.runs import rows as run_rows
from malan.services.runs.algorithms import submit_algorithm
from malan.services.runs.approvals import approve_algorithm
from malan.services.runs.folder import RunFolder
from malan.services.runs.submission import Asked, decide_run, get_run, run_log, submit_run
from malan.services.runs.worker import MOST_ATTEMPTS, recover
from malan.services.settlement.metering import meter
from malan.workspace import Workspace

EPOCHS = 6


@pytest.fixture
def slow(workspace):
    """A workspace with a slow run in the queue, on SQLite and then on PostgreSQL."""
    return queued(workspace)


@pytest.fixture
def slow_here(tmp_path):
    """The same on SQLite alone."""
    ws = Workspace.create(tmp_path / "local")
    yield queued(ws)
    ws.database.dispose()


def queued(workspace: Any) -> tuple[Any, str, Any]:
    grant = grant_on(workspace)
    submit_algorithm(workspace, programs.package(), grant=grant, caller=BUYER)
    approve_algorithm(workspace, "line")
    asked = Asked(seed=7)
    run = submit_run(workspace, "line", grant, {"epochs": EPOCHS, "pause": 0.15}, asked=asked, caller=BUYER)
    return workspace, grant, run


class Worker:
    """`malan run work --once` in a process of its own."""

    def __init__(self, root: Path) -> None:
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MALAN_WORKSPACE": str(root), "MALAN_LANG": "en"}
        command = [sys.executable, "-m", "malan", "run", "work", "--once", "--json"]
        self.process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()

    def end(self) -> None:
        _out, said = self.process.communicate(timeout=120)
        assert self.process.returncode == 0, said.decode()


def test_a_killed_worker_takes_its_sandbox_along_and_the_run_goes_on_from_its_checkpoint(slow):
    ws, grant, run = slow
    worker = Worker(ws.root)
    until(lambda: RunFolder(ws, run.id).has_checkpoint())
    inside = children(worker.process.pid)
    assert inside
    worker.kill()
    until(lambda: all(started_ticks(pid) is None for pid in inside))
    began = time.monotonic()
    back = get_run(ws, run.id)  # whoever looks sees to it
    assert time.monotonic() - began < 10
    assert (back.state, back.attempt) == ("queued", 1)
    assert all(one.reserved == 0 for one in meter(ws).accounts(grant))
    Worker(ws.root).end()
    assert get_run(ws, run.id).state == "held"
    assert "starts at epoch 0" not in run_log(ws, run.id)
    released = decide_run(ws, run.id, "release", "fine", caller=OWNER)
    found = {one.unit: one for one in meter(ws).accounts(grant)}
    assert (found[RUNS].consumed, found[OUTPUT_BYTES].consumed) == (1, released.charged_bytes)
    assert released.state == "released"


def test_killed_at_random_moments_a_run_ends_once(slow_here):
    ws, grant, run = slow_here
    moments = random.Random(1)
    for _ in range(MOST_ATTEMPTS - 1):
        worker = Worker(ws.root)
        until(lambda: get_run(ws, run.id).worker is not None)
        time.sleep(moments.uniform(0.0, 2.5))
        worker.kill()
    Worker(ws.root).end()
    found = get_run(ws, run.id)
    assert found.state == "held", run_rows.steps_of(ws, run.id)
    accounts = {one.unit: one for one in meter(ws).accounts(grant)}
    assert accounts[RUNS].consumed == 1
    assert accounts[OUTPUT_BYTES].consumed == found.charged_bytes == 64
    assert all(one.reserved == 0 for one in accounts.values())


def test_a_run_that_kills_every_worker_is_ended(slow_here):
    ws, grant, run = slow_here
    for _ in range(MOST_ATTEMPTS):
        worker = Worker(ws.root)
        until(lambda: get_run(ws, run.id).worker is not None)
        worker.kill()
        recover(ws)
    found = get_run(ws, run.id)
    assert found.state == "failed"
    assert all(one.reserved == 0 for one in meter(ws).accounts(grant))
    assert [one.code for one in run_rows.steps_of(ws, run.id)[-1].why] == ["runs.worker_died"]


def children(pid: int) -> list[int]:
    """All processes below one."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *children(int(child))]
    return found
