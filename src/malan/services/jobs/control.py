"""The jobs of a workspace as people see them: what runs, what failed and why, stop it, go on with it.

Start reading at `list_jobs`; `retry_job` goes on with work that was stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from malan.core.errors import MalanError, Rejected
from malan.runtime.jobs import FAILED, QUEUED, ItemRow, JobRow
from malan.services.access import HOUSE, Caller, require
from malan.services.jobs import lines as job_lines
from malan.services.jobs import queue as app_queue
from malan.services.jobs.lines import is_of_queue
from malan.services.jobs.waiting import unattended

if TYPE_CHECKING:
    from malan.workspace import Workspace

__all__ = [
    "ItemRow",
    "JobRow",
    "JobView",
    "cancel_job",
    "describe_absence",
    "describe_error",
    "describe_item",
    "describe_job",
    "is_of_queue",
    "list_jobs",
    "retry_job",
    "show_job",
    "unattended",
    "watch_job",
]

Progress = Callable[[int, int, str], None]
_LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class JobView:
    """A job with the first of its failed items."""

    job: JobRow
    failures: tuple[ItemRow, ...]


def list_jobs(
    ws: Workspace, *, state: str | None = None, limit: int = 50, offset: int = 0, caller: Caller = HOUSE
) -> Sequence[JobRow]:
    """Jobs of the library and of the queue, the latest first."""
    require(caller, "jobs.see")
    both = [*ws.jobs.list(state=state, limit=limit + offset), *job_lines.lines(ws, state=state, limit=limit + offset)]
    return sorted(both, key=lambda job: job.created_s, reverse=True)[offset : offset + limit]


def show_job(ws: Workspace, job_id: str, *, limit: int = 100, caller: Caller = HOUSE) -> JobView:
    """One job by its id or a unique beginning of it, with what failed and why."""
    require(caller, "jobs.see")
    if is_of_queue(job_id):
        return JobView(job_lines.line(ws, job_id), ())
    job = ws.jobs.get(job_id)
    return JobView(job, tuple(ws.jobs.items(job.id, state=FAILED, limit=limit)))


def watch_job(ws: Workspace, job_id: str, *, caller: Caller = HOUSE) -> Iterator[JobRow]:
    """The job as it stands, again and again, until it has ended or its process is gone."""
    require(caller, "jobs.see")
    of_queue = is_of_queue(job_id)
    while True:
        job = job_lines.line(ws, job_id) if of_queue else ws.jobs.get(job_id)
        yield job
        if not job.is_alive and not (of_queue and job.state == QUEUED):  # a worker will come for it
            return
        time.sleep(_LOOK_S)


def cancel_job(ws: Workspace, job_id: str, *, caller: Caller = HOUSE) -> JobRow:
    """Ask a job to stop; what it has done stays."""
    require(caller, "jobs.change")
    if is_of_queue(job_id):
        app_queue.cancel(ws, app_queue.get_job(ws, job_lines.line(ws, job_id).id))
        return job_lines.line(ws, job_id)
    return ws.jobs.cancel(job_id)


def retry_job(ws: Workspace, job_id: str, progress: Progress | None = None, *, caller: Caller = HOUSE) -> Any:
    """Go on with a job that was stopped, cancelled or has failed items; returns the report of its service.

    A job of the queue is put back into it, for a worker to go on with.
    """
    require(caller, "jobs.change")
    if is_of_queue(job_id):
        return app_queue.ask_again(ws, app_queue.get_job(ws, job_lines.line(ws, job_id).id))
    from malan.services.clips.choice import KIND as EXPORT
    from malan.services.clips.choice import resume_export
    from malan.services.footage.assets import resume_add
    from malan.services.footage.kinds import ADD, SCAN, TRANSCRIBE
    from malan.services.footage.previews import KIND as PREVIEW
    from malan.services.footage.previews import resume_preview
    from malan.services.footage.scan import resume_scan
    from malan.services.footage.transcripts import resume_transcripts

    job = ws.jobs.get(job_id)
    known: dict[str, Any] = {ADD: resume_add, SCAN: resume_scan, PREVIEW: resume_preview, EXPORT: resume_export}
    resume = {**known, TRANSCRIBE: resume_transcripts}.get(job.kind)
    if resume is None:
        raise Rejected("job.not_resumable", id=job.id[:12], state=job.state)
    if not job.can_go_on:
        ws.jobs.retry(job.id)
    return resume(ws, job.id, progress)


def describe_job(job: JobRow, absent: MalanError | None = None) -> dict[str, Any]:
    """A job as one JSON object; the same on the command line and in the console. `absent` says that nobody takes it."""
    error = MalanError(job.code, **job.values) if job.code else None
    remaining_s = job.remaining_s(time.time())
    return {
        "id": job.id,
        "kind": job.kind,
        "state": "stopped" if job.is_stopped else job.state,
        "is_alive": job.is_alive,
        "is_cancelling": job.is_cancelling,
        "spec": dict(job.spec),
        "total": job.total,
        "done": job.done,
        "failed": job.failed,
        "current": job.current,
        "created_s": job.created_s,
        "started_s": job.started_s,
        "ended_s": job.ended_s,
        "remaining_s": None if remaining_s is None else round(remaining_s, 1),
        "host": job.host,
        "pid": job.pid,
        "error": None if error is None else describe_error(error),
        "no_worker": None if absent is None else describe_absence(absent),
    }


def describe_absence(absent: MalanError) -> dict[str, Any]:
    """That no worker is there for a job: since when, and what to start."""
    return {**describe_error(absent), "device": absent.values["device"], "since_s": absent.values["since_s"]}


def describe_item(item: ItemRow) -> dict[str, Any]:
    """An item of a job as one JSON object."""
    error = MalanError(item.code, **item.values) if item.code else None
    return {
        "key": item.key,
        "state": item.state,
        "attempts": item.attempts,
        "updated_s": item.updated_s,
        "error": None if error is None else describe_error(error),
    }


def describe_error(error: MalanError) -> dict[str, str]:
    """Code, sentence and hint in the language of the session."""
    return {"code": error.code, "message": error.message(), "hint": error.hint()}
