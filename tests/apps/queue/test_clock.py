"""What a server starts by itself: a worker where work waits, another for the processor while all are busy."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from malan.apps.queue import clock as module
from malan.apps.queue.clock import JobClock
from malan.services.jobs.queue import Ask, note_worker, submit, take
from malan.services.runs.rows import me
from malan.workspace import Workspace


class Started:
    """A process that is there until it is told to be gone."""

    def __init__(self) -> None:
        self.code: int | None = None

    def poll(self) -> int | None:
        return self.code


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    made = Workspace.create(tmp_path / "ws")
    yield made
    made.database.dispose()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Started]]:
    listed: list[tuple[str, Started]] = []

    def start(_: Workspace, device: str) -> subprocess.Popen[bytes]:
        listed.append((device, Started()))
        return listed[-1][1]  # type: ignore[return-value]

    monkeypatch.setattr(module, "_start", start)
    return listed


def devices(started: list[tuple[str, Started]]) -> list[str]:
    return [device for device, _ in started]


def test_a_worker_is_started_for_each_device_that_has_work(ws: Workspace, started: list[tuple[str, Started]]) -> None:
    clock = JobClock(ws)
    clock.look()
    assert started == []
    for device in ("cpu", "cuda:0", "cuda:0"):
        submit(ws, Ask("video", {}, device=device))
    for _ in range(3):  # one that has not come up yet is waited for
        clock.look()
    assert devices(started) == ["cpu", "cuda:0"]


def test_the_processor_gets_a_second_one_while_the_first_is_at_work(
    ws: Workspace, started: list[tuple[str, Started]]
) -> None:
    clock = JobClock(ws)
    for _ in range(4):
        submit(ws, Ask("video", {}))
    clock.look()
    note_worker(ws, "cpu", time.time())
    take(ws, "cpu", worker=me(), now_s=time.time())
    for _ in range(3):
        clock.look()
    assert devices(started) == ["cpu", "cpu"]
    take(ws, "cpu", worker=me(), now_s=time.time())
    clock.look()
    assert devices(started) == ["cpu", "cpu"]  # so many and no more (`cpu_jobs`)


def test_a_worker_that_keeps_dying_is_started_less_and_less_often(
    ws: Workspace, started: list[tuple[str, Started]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BACK_OFF_S", (0.0, 10_000.0))
    clock = JobClock(ws)
    submit(ws, Ask("video", {}, device="cuda:0"))
    clock.look()
    started[0][1].code = 1
    clock.look()
    assert len(started) == 1  # later
    started[0][1].code = 0


def test_a_worker_started_elsewhere_is_enough(ws: Workspace, started: list[tuple[str, Started]]) -> None:
    clock = JobClock(ws)
    submit(ws, Ask("video", {}, device="cuda:0"))
    note_worker(ws, "cuda:0", time.time())
    clock.look()
    assert started == []


def test_a_server_without_workers_starts_none_and_sees_to_the_dead(
    ws: Workspace, started: list[tuple[str, Started]]
) -> None:
    clock = JobClock(ws, has_workers=False)
    job = submit(ws, Ask("video", {}))
    take(ws, "cpu", worker="elsewhere:1:1", now_s=time.time() - 100)
    clock.look()
    assert started == []
    from malan.services.jobs.queue import QUEUED, get_job

    assert get_job(ws, job.id).state == QUEUED
