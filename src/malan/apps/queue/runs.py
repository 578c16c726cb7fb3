"""Runs of apps that somebody started beside whatever else they do: jobs of the queue, done by a worker.

    start_app ─▶ queued ─▶ a worker of its device ─▶ exports/<app>-<digest>/report.json

The same request of the same party over the same library is the same job: one that waits, is at work or is done is
answered with; one that failed or was stopped is put back and goes on with what lies in its folder. Start at
`start_app`; whose a run is stands in `run_of`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from malan.apps.queue.asks import app_ask
from malan.apps.running import REPORT
from malan.core.errors import NotFound, Rejected
from malan.services.access import HOUSE, Caller, require
from malan.services.jobs.queue import DONE, Job, ask_again, cancel, get_job, live_workers, submit

if TYPE_CHECKING:
    from malan.workspace import Workspace


def start_app(ws: Workspace, name: str, values: Mapping[str, Any], *, caller: Caller = HOUSE) -> str:
    """Ask for a run of an app; the id of its job. Files come into `exports/<app>-<digest>`.

    Raises:
        MalanError: As `running.prepare`; nothing is asked for.
    """
    job = submit(ws, app_ask(ws, name, values, caller=caller))
    if job.is_over and not has_report(ws, job):
        job = ask_again(ws, job)
    return job.id


def has_report(ws: Workspace, job: Job) -> bool:
    """Whether a run is done and what it left still lies there."""
    return job.state == DONE and (ws.root / job.folder / REPORT).is_file()


def run_of(ws: Workspace, job_id: str, *, caller: Caller = HOUSE) -> Job:
    """The job of a run, to whoever started it and to operators.

    Raises:
        NotFound: There is none of the caller's.
    """
    require(caller, "app.see")
    try:
        job = get_job(ws, job_id)
    except NotFound:
        raise NotFound("app.no_run") from None
    if not (caller.is_operator or job.party_id == caller.party_id):
        raise NotFound("app.no_run")
    return job


def cancel_app(ws: Workspace, job_id: str, *, caller: Caller = HOUSE) -> Job:
    """Ask a run to stop, by whoever started it or an operator; nothing is billed for it.

    Raises:
        NotFound: There is none of the caller's.
        Rejected: It has ended.
    """
    return cancel(ws, run_of(ws, job_id, caller=caller))


def resume_app(ws: Workspace, job_id: str, *, caller: Caller = HOUSE) -> Job:
    """Put a run that was stopped or failed back into the queue, by whoever started it or an operator.

    Raises:
        NotFound: There is none of the caller's.
        Rejected: It is done, waits or is at work; or a key of the gateway pays for it.
    """
    job = run_of(ws, job_id, caller=caller)
    if has_report(ws, job):
        raise Rejected("job.not_resumable", id=job.id[:12], state="done")
    return ask_again(ws, job)


def see_through(ws: Workspace, job_id: str, tell: Callable[[int, int, str], None] | None = None) -> Job:
    """Wait until a job is over, and do it in this process where no worker is there for its device."""
    from malan.apps.queue.work import work

    while not (job := get_job(ws, job_id)).is_over:
        if tell:
            tell(job.percent, 100, job.current)
        if job.device not in live_workers(ws, time.time()):
            work(ws, job.device, once=True, only=job.id)
        time.sleep(_LOOK_S)
    return job


_LOOK_S = 0.2
