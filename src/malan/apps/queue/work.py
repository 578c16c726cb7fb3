"""The worker of one device: takes jobs from its queue, one at a time, and ends each.

    recover ─▶ take ─▶ a process of its own: run_app ─▶ finish: state, charge and webhook in one commit
       └ jobs of workers that are gone: into the queue again, or ended

This process only watches: it says twice a second that it is there, asks whether somebody wants the job to end, and
kills the other one at once when so, whatever that is at (loading weights, say), or when it takes more memory or time
than it may. Its own death takes the other along. Start at `work`.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from malan.core.errors import MalanError, Rejected, RetryLater, WorkerDied
from malan.runtime.limits import MIB, Limits
from malan.runtime.pool import Task, WorkerPool
from malan.services.jobs.queue import (
    CANCELLED,
    DONE,
    FAILED,
    Job,
    beat,
    finish,
    leave,
    lose,
    note_worker,
    put_back,
    recover,
    take,
)
from malan.services.runs.rows import me

if TYPE_CHECKING:
    from malan.workspace import Workspace

INSIDE = "malan.apps.queue.inside:carry_out"
_IDLE_S = 0.2
_PRESENT_S = 3.0
_AGAIN_S = 5.0
_DIED = "runtime.worker_died"

_log = logging.getLogger("malan.jobs")


class _Stopped(Exception):
    """The job is not to go on: somebody wants it to end, it is another's, or this worker goes."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(why)


def work(
    ws: Workspace,
    device: str = "cpu",
    *,
    once: bool = False,
    idle_s: float | None = None,
    stop: Callable[[], bool] = lambda: False,
    function: str = INSIDE,
    only: str = "",
) -> int:
    """Work on the jobs of a device until told to stop; how many were brought to an end.

    Args:
        ws: Whose jobs.
        device: Whose queue.
        once: Stop when nothing waits.
        idle_s: Stop when there was nothing to do for so long.
        stop: Asked between jobs and, of a job, to put it back.
        function: What carries a job out, by name.
        only: The one job to do; this process is no worker for others then.
    """
    done, idle_since, presence = 0, time.monotonic(), _Presence(ws, device, is_worker=not only)
    with _Bench(ws, function, presence) as bench:
        try:
            while not stop():
                if presence.say():
                    recover(ws)
                job = _next(ws, device, only)
                if job is not None:
                    bench.carry_out(job, stop)
                    done, idle_since = done + 1, time.monotonic()
                    continue
                if once or (idle_s is not None and time.monotonic() - idle_since > idle_s):
                    break
                time.sleep(_IDLE_S)
        finally:
            if not only:
                with suppress(MalanError):
                    leave(ws)
    return done


def _next(ws: Workspace, device: str, only: str) -> Job | None:
    try:
        return take(ws, device, worker=me(), now_s=time.time(), only=only)
    except RetryLater:
        return None


class _Presence:
    """Says now and then that this worker is there, idle or at work."""

    def __init__(self, ws: Workspace, device: str, *, is_worker: bool) -> None:
        self._ws, self._device, self._is_worker = ws, device, is_worker
        self._said = -_PRESENT_S

    def say(self) -> bool:
        """Whether it was time to."""
        if not self._is_worker or time.monotonic() - self._said < _PRESENT_S:
            return False
        self._said = time.monotonic()
        note_worker(self._ws, self._device, time.time())
        return True


class _Bench:
    """The process in which jobs are done; a fresh one after each that had to be killed."""

    def __init__(self, ws: Workspace, function: str, presence: _Presence) -> None:
        self._ws, self._function, self._presence = ws, function, presence
        hours, memory = ws.settings.job_hours, ws.settings.job_memory_mb * MIB
        self._limits = Limits(memory_bytes=memory, wall_s=hours * 3600.0, cpu_s=hours * 3600.0 * 64)
        self._pool: WorkerPool | None = None

    def __enter__(self) -> _Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def carry_out(self, job: Job, stop: Callable[[], bool]) -> None:
        """Bring a job to an end, or back into the queue."""
        try:
            told = self._run(job, stop)
        except _Stopped as stopped:
            self._end()  # it is dead before anything of it is put away
            self._stopped(job, stopped.why)
        except MalanError as error:
            self._failed(job, error)
        else:
            finish(self._ws, job, DONE, told=told)

    def _run(self, job: Job, stop: Callable[[], bool]) -> dict[str, Any]:
        latest: dict[str, Any] = {}

        def hear(_key: Any, said: Any) -> None:
            latest.update(said)

        def look() -> None:
            self._presence.say()
            is_mine, is_unwanted = beat(self._ws, job, time.time(), **latest)
            if not is_mine or is_unwanted or stop():
                raise _Stopped("lost" if not is_mine else "unwanted" if is_unwanted else "going")

        look()
        arguments = (str(self._ws.root), job.run, job.app, dict(job.request), job.party_id, job.folder)
        self._pool = self._pool or WorkerPool(1, limits=self._limits, threads=2)
        task = Task(self._function, arguments, key=job.id, limits=self._limits)
        outcomes = self._pool.run([task], on_progress=hear, on_wait=look)
        told: dict[str, Any] = next(outcomes).result()
        outcomes.close()
        return told

    def _stopped(self, job: Job, why: str) -> None:
        if why == "unwanted":
            if finish(self._ws, job, CANCELLED, error=Rejected("gateway.cancelled")):
                self._put_away(job)
        elif why == "going":
            put_back(self._ws, job, is_counted=False)

    def _failed(self, job: Job, error: MalanError) -> None:
        if isinstance(error, WorkerDied) and error.code == _DIED:
            _log.warning("job %s: %s", job.id, error)
            lose(self._ws, job)
        elif isinstance(error, RetryLater) and job.attempt < 2:
            put_back(self._ws, job, again_s=_AGAIN_S)
        elif finish(self._ws, job, FAILED, error=error):
            self._put_away(job)

    def _put_away(self, job: Job) -> None:
        """What a job left that nobody will ask for; a run of an app may be taken up again."""
        if job.sort == "app":
            return
        shutil.rmtree(self._ws.root / job.folder, ignore_errors=True)

    def _end(self) -> None:
        if self._pool is not None:
            self._pool.close()
            self._pool = None
