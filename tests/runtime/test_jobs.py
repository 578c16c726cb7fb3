"""Jobs: nothing is lost when a process dies, nothing runs twice, and everyone sees how far it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from sqlalchemy import Engine

from malan.core.errors import MalanError, MediaError, NotFound, Rejected, RetryLater, StoreError
from malan.runtime.jobs import CANCELLED, DONE, FAILED, QUEUED, RUNNING, Cancelled, Jobs

KEEP_RUNNING = """
import sys, time
from pathlib import Path
from malan.runtime.database import open_database
from malan.runtime.jobs import Jobs
jobs = Jobs(open_database(sys.argv[1]))
with jobs.running(sys.argv[2]) as run:
    for key in run.waiting()[:2]:
        run.finish([key])
    print("ready", flush=True)
    while True:
        run.stop_if_asked()
        time.sleep(0.05)
"""


@pytest.fixture
def jobs(database: Engine) -> Jobs:
    return Jobs(database)


def start_elsewhere(database_place: str, job_id: str) -> subprocess.Popen[str]:
    """Another process that takes the job up, finishes two items and goes on running."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", KEEP_RUNNING, database_place, job_id]
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_a_new_job_waits_with_its_items_in_order(jobs: Jobs) -> None:
    job = jobs.create("asset.scan", {"captions": True}, ["b", "a", "c"])
    assert (job.state, job.total, job.done) == (QUEUED, 3, 0)
    assert [item.key for item in jobs.items(job.id)] == ["b", "a", "c"]


def test_a_job_that_did_all_its_items_is_done(jobs: Jobs) -> None:
    job = jobs.create("asset.scan", {}, ["a", "b"])
    with jobs.running(job.id) as run:
        run.finish(["a"])
        run.finish(["b", "b"])
        assert jobs.get(job.id).state == RUNNING
    ended = jobs.get(job.id)
    assert (ended.state, ended.done, ended.failed) == (DONE, 2, 0)
    assert ended.ended_s is not None


def test_ticking_off_twice_counts_once(jobs: Jobs) -> None:
    job = jobs.create("asset.scan", {}, ["a", "b"])
    with jobs.running(job.id) as run:
        run.finish(["a"])
        run.finish(["a"])
        assert jobs.get(job.id).done == 1


def test_a_failed_item_keeps_its_code_and_values_and_the_rest_goes_on(jobs: Jobs) -> None:
    job = jobs.create("asset.scan", {}, ["a", "b"])
    with jobs.running(job.id) as run:
        run.fail("a", MediaError("media.no_video", path="odd \udcff name"))
        run.finish(["b"])
    (item,) = jobs.items(job.id, state=FAILED)
    assert (item.key, item.code, item.values) == ("a", "media.no_video", {"path": "odd \udcff name"})
    assert (jobs.get(job.id).done, jobs.get(job.id).failed) == (1, 1)


def test_an_error_ends_the_job_and_is_kept(jobs: Jobs) -> None:
    job = jobs.create("asset.scan", {})
    with pytest.raises(StoreError), jobs.running(job.id):
        raise StoreError("database.unusable", path="x", detail="disk full")
    assert (jobs.get(job.id).state, jobs.get(job.id).code) == (FAILED, "database.unusable")


def test_an_interrupted_job_goes_back_into_the_queue(jobs: Jobs) -> None:
    job = jobs.create("asset.scan", {}, ["a"])
    with pytest.raises(KeyboardInterrupt), jobs.running(job.id):
        raise KeyboardInterrupt
    assert jobs.get(job.id).can_go_on


def test_a_killed_job_is_taken_up_where_it_stood(jobs: Jobs, database_place: str) -> None:
    job = jobs.create("asset.scan", {"n": 1}, ["a", "b", "c", "d"])
    other = start_elsewhere(database_place, job.id)
    assert jobs.get(job.id).is_alive
    assert jobs.unfinished("asset.scan", {"n": 1}) is None
    end(other)
    assert jobs.get(job.id).is_stopped
    found = jobs.unfinished("asset.scan", {"n": 1})
    assert found is not None
    with jobs.running(found.id) as run:
        assert run.waiting() == ["c", "d"]
        run.finish(["c", "d"])
    assert (jobs.get(job.id).state, jobs.get(job.id).done) == (DONE, 4)


def test_kinds_that_must_not_run_beside_each_other_do_not(jobs: Jobs, database_place: str) -> None:
    first, second = jobs.create("asset.scan", {}), jobs.create("asset.add", {})
    other = start_elsewhere(database_place, first.id)
    try:
        with pytest.raises(RetryLater) as caught, jobs.running(second.id, not_beside=("asset.scan",)):
            pass
        assert caught.value.values["pid"] == other.pid
        assert jobs.get(second.id).state == QUEUED
    finally:
        end(other)
    with jobs.running(second.id, not_beside=("asset.scan",)):
        pass


def test_other_kinds_run_beside_each_other(jobs: Jobs) -> None:
    first, second = jobs.create("asset.scan", {}), jobs.create("clip.export", {})
    with jobs.running(first.id), jobs.running(second.id, not_beside=("asset.add",)):
        assert [job.state for job in jobs.list()] == [RUNNING, RUNNING]


def test_a_job_is_not_run_twice_at_once(jobs: Jobs) -> None:
    job = jobs.create("clip.export", {})
    with jobs.running(job.id), pytest.raises(RetryLater), jobs.running(job.id):
        pass


def test_a_running_job_stops_when_asked(jobs: Jobs, database_place: str) -> None:
    job = jobs.create("asset.scan", {})
    other = start_elsewhere(database_place, job.id)
    try:
        found = jobs.cancel(job.id[:10])
        assert found.is_cancelling or found.state == CANCELLED  # it may have stopped before it is looked at
        assert other.wait(20) == 0
    finally:
        end(other)
    assert jobs.get(job.id).state == CANCELLED


def test_a_waiting_job_is_cancelled_at_once(jobs: Jobs) -> None:
    assert jobs.cancel(jobs.create("asset.scan", {}).id).state == CANCELLED


def test_an_ended_job_cannot_be_cancelled(jobs: Jobs) -> None:
    job = jobs.create("asset.scan", {})
    with jobs.running(job.id):
        raise Cancelled
    with pytest.raises(Rejected):
        jobs.cancel(job.id)


def test_retry_waits_for_what_failed_and_keeps_what_is_done(jobs: Jobs) -> None:
    job = jobs.create("asset.scan", {}, ["a", "b"])
    with jobs.running(job.id) as run:
        run.finish(["a"])
        run.fail("b", MalanError("runtime.worker_died", how="SIGSEGV"))
    again = jobs.retry(job.id)
    assert (again.state, again.done, again.failed) == (QUEUED, 1, 0)
    with jobs.running(job.id) as run:
        assert run.waiting() == ["b"]


def test_a_job_without_failures_has_nothing_to_retry(jobs: Jobs) -> None:
    job = jobs.create("asset.scan", {}, ["a"])
    with jobs.running(job.id) as run:
        run.finish(["a"])
    with pytest.raises(Rejected):
        jobs.retry(job.id)


def test_work_that_keeps_no_list_counts_anew_when_taken_up(jobs: Jobs) -> None:
    job = jobs.create("asset.add", {})
    with jobs.running(job.id) as run:
        run.expect(10)
        run.advance(4, current="c.mp4", failures={"d.mp4": MediaError("media.no_video", path="d.mp4")})
        now = jobs.get(job.id)
        assert (now.total, now.done, now.failed, now.current) == (10, 4, 1, "c.mp4")
        run.expect(10)
        assert (jobs.get(job.id).done, jobs.get(job.id).failed) == (0, 0)


def test_jobs_are_listed_latest_first(jobs: Jobs) -> None:
    ids = [jobs.create("asset.scan", {"n": n}).id for n in range(3)]
    assert [job.id for job in jobs.list()] == ids[::-1]


def test_an_unknown_job_is_not_found(jobs: Jobs) -> None:
    with pytest.raises(NotFound):
        jobs.get("abcdef")


def test_a_percent_sign_is_no_wildcard(jobs: Jobs) -> None:
    jobs.create("asset.scan", {})
    with pytest.raises(NotFound):
        jobs.get("%")


def test_twenty_thousand_items_are_no_trouble(jobs: Jobs) -> None:
    job = jobs.create("asset.scan", {}, (f"{n:06}" for n in range(20_000)))
    with jobs.running(job.id) as run:
        run.finish(run.waiting()[:19_999])
        assert run.waiting() == ["019999"]
