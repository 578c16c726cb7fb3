"""The worker: jobs are done in a process that may die, be killed, take too much, or not be wanted any more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from waiting import until

from malan.apps.queue.work import work
from malan.services.access import COMMAND_LINE
from malan.services.accounts.parties import add_party
from malan.services.gateway.keys import Allowance, gateway_usage, list_gateway_keys, make_gateway_key
from malan.services.jobs.queue import CANCELLED, DONE, FAILED, QUEUED, Ask, Job, cancel, get_job, recover, submit
from malan.workspace import Workspace

PROGRAM = "queue_programs:carry_out"
PRICE = {"currency": "CNY", "request": 10, "second": 0, "seconds": 4.0, "quoted": 0}


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    made = Workspace.create(tmp_path / "workspace")
    party = add_party(made, COMMAND_LINE, "湖南台", kind="organisation", has=("buyer",)).id
    make_gateway_key(made, COMMAND_LINE, party, Allowance("desk", budget_minor=10_000))
    yield made
    made.database.dispose()


def ask(ws: Workspace, prompt: str) -> Job:
    key = list_gateway_keys(ws, COMMAND_LINE)[0]
    return submit(ws, Ask("video", {"prompt": prompt, "seconds": 4}, "video", "malan-assemble", "cpu", key["party"],
                          key["prefix"].removeprefix("mk_"), "desk", price=PRICE))  # fmt: skip


def money(ws: Workspace) -> tuple[int, int]:
    key = list_gateway_keys(ws, COMMAND_LINE)[0]
    return key["spent"]["micro"] // 10**6, key["held"]["micro"] // 10**6


def ran(ws: Workspace) -> list[str]:
    path = ws.root / "ran.txt"
    return path.read_text().split() if path.exists() else []


def test_jobs_are_done_one_after_the_other_and_charged(ws: Workspace) -> None:
    jobs = [ask(ws, "quick") for _ in range(3)]
    assert work(ws, once=True, function=PROGRAM) == 3
    assert [get_job(ws, job.id).state for job in jobs] == [DONE] * 3
    assert ran(ws) == [job.id for job in jobs]
    assert money(ws) == (30, 0)
    assert gateway_usage(ws)["usage"][0]["requests"] == 3


def test_a_job_that_fails_says_why_and_leaves_nothing(ws: Workspace) -> None:
    job = ask(ws, "fails")
    work(ws, once=True, function=PROGRAM)
    found = get_job(ws, job.id)
    assert (found.state, found.code) == (FAILED, "gateway.no_picture")
    assert not (ws.root / found.folder).exists()
    assert money(ws) == (0, 0)


def test_a_job_that_kills_its_process_is_ended_after_three_times(ws: Workspace) -> None:
    job = ask(ws, "dies")
    work(ws, once=True, function=PROGRAM)
    found = get_job(ws, job.id)
    assert (found.state, found.code, found.attempt) == (FAILED, "gateway.worker_died", 3)
    assert len(ran(ws)) == 3


def test_a_job_above_its_memory_is_ended(tmp_path: Path) -> None:
    root = tmp_path / "small"
    root.mkdir()
    (root / "malan.toml").write_text("job_memory_mb = 200\n")
    ws = Workspace(root)
    job = submit(ws, Ask("video", {"prompt": "memory 400"}))
    work(ws, once=True, function=PROGRAM)
    assert get_job(ws, job.id).code == "runtime.out_of_memory"
    ws.database.dispose()


@pytest.mark.parametrize("prompt", ["stuck", "slow 400"])
def test_a_job_at_work_is_cancelled_while_it_does_not_even_look(ws: Workspace, prompt: str) -> None:
    job = ask(ws, prompt)
    worker = threading.Thread(target=work, args=(ws,), kwargs={"once": True, "function": PROGRAM})
    worker.start()
    until(lambda: ran(ws))
    cancel(ws, get_job(ws, job.id))
    worker.join(120)
    assert not worker.is_alive()
    assert get_job(ws, job.id).state == CANCELLED
    assert money(ws) == (0, 0)


def test_a_worker_that_goes_puts_its_job_back(ws: Workspace) -> None:
    job = ask(ws, "stuck")
    going = threading.Event()
    worker = threading.Thread(target=work, args=(ws,), kwargs={"stop": going.is_set, "function": PROGRAM})
    worker.start()
    until(lambda: ran(ws))
    going.set()
    worker.join(120)
    found = get_job(ws, job.id)
    assert (found.state, found.attempt) == (QUEUED, 0)


def test_progress_is_told_while_a_job_is_at_work(ws: Workspace) -> None:
    job = ask(ws, "until go")
    worker = threading.Thread(target=work, args=(ws,), kwargs={"once": True, "function": PROGRAM})
    worker.start()
    until(lambda: get_job(ws, job.id).percent > 0)
    assert get_job(ws, job.id).current.startswith("step")
    (ws.root / "go").touch()
    worker.join(120)
    assert get_job(ws, job.id).percent == 100


def start_worker(ws: Workspace) -> subprocess.Popen[bytes]:
    """A worker as a process of its own."""
    code = (
        "import sys; from pathlib import Path; from malan.workspace import Workspace; "
        "from malan.apps.queue.work import work; "
        "work(Workspace(Path(sys.argv[1])), once=True, function='queue_programs:carry_out')"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.Popen([sys.executable, "-c", code, str(ws.root)], env=environment, start_new_session=True)


@pytest.mark.parametrize("after_s", [0.0, 0.3, 0.9])
def test_a_worker_killed_at_any_moment_leaves_no_job_stuck_and_none_charged_twice(
    ws: Workspace, after_s: float
) -> None:
    job = ask(ws, "slow 8")
    worker = start_worker(ws)
    until(lambda: get_job(ws, job.id).state != QUEUED or worker.poll() is not None)
    with suppress(subprocess.TimeoutExpired):  # it may be done by then
        worker.wait(after_s)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    recover(ws)
    work(ws, once=True, function=PROGRAM)
    assert get_job(ws, job.id).state == DONE
    assert money(ws) == (10, 0)
    assert gateway_usage(ws)["usage"][0]["requests"] == 1
