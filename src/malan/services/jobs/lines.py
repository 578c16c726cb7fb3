"""Jobs of the queue beside the library's own, as the same kind of row: for lists, pages and the command line.

Ids of the queue say what they are about before an underscore (`app_…`, `video_…`); others are the library's. What a job
left and what it was asked is not read here, for lists are looked at twice a second. Start at `lines`, `line`.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from malan.core.errors import NotFound, UsageError
from malan.runtime import jobs as library
from malan.runtime.database import reading
from malan.services.jobs import queue as app_queue
from malan.services.jobs.queue_tables import JOBS, queue_tables

if TYPE_CHECKING:
    from sqlalchemy import Row

    from malan.runtime.jobs import JobRow
    from malan.workspace import Workspace

KIND = "app.run"
_STATES = {app_queue.RUNNING: library.RUNNING, app_queue.EXPIRED: library.DONE, app_queue.DONE: library.DONE}
_QUEUE_STATES = {said: kept for kept, said in _STATES.items()}
_READ = ("id", "app", "state", "party_id", "prefix", "folder", "percent", "current", "created_s", "started_s",
         "ended_s", "beat_s", "worker", "cancel_asked", "code", "said", "device")  # fmt: skip
_COLUMNS = [JOBS.c[name] for name in _READ]


def is_of_queue(job_id: str) -> bool:
    """Whether an id, or the beginning of one, is of the queue."""
    return "_" in job_id


def state_of(state: str) -> str:
    """A state of the queue as people read it: queued, running, done, failed, cancelled."""
    return _STATES.get(state, state)


def lines(ws: Workspace, *, state: str | None = None, limit: int = 50) -> list[JobRow]:
    """Jobs of the queue, the latest first."""
    query = select(*_COLUMNS).order_by(JOBS.c.created_s.desc(), JOBS.c.id.desc()).limit(limit)
    if state is not None:
        query = query.where(JOBS.c.state == _QUEUE_STATES.get(state, state))
    with reading(queue_tables(ws)) as connection:
        return [_line(row) for row in connection.execute(query)]


def line(ws: Workspace, id_or_prefix: str) -> JobRow:
    """One of them, by its id or a unique beginning of it.

    Raises:
        NotFound: There is none.
        UsageError: Several begin so.
    """
    query = select(*_COLUMNS).where(JOBS.c.id.startswith(id_or_prefix.strip(), autoescape=True)).limit(2)
    with reading(queue_tables(ws)) as connection:
        found = connection.execute(query).all()
    if not found:
        raise NotFound("job.not_found", id=id_or_prefix[:80])
    if len(found) > 1:
        raise UsageError("job.ambiguous", id=id_or_prefix[:80])
    return _line(found[0])


def count_running(ws: Workspace) -> int:
    """How many are at work."""
    with reading(queue_tables(ws)) as connection:
        at_work = select(func.count()).select_from(JOBS).where(JOBS.c.state == app_queue.RUNNING)
        return int(connection.scalar(at_work) or 0)


def _line(row: Row[Any]) -> JobRow:
    """Counted in percent. One whose worker is gone is at work yet: the queue sees to it by itself."""
    host, pid, _ = (row.worker or "::").rsplit(":", 2)
    is_running = row.state == app_queue.RUNNING
    told = {"app": row.app, "file": PurePosixPath(row.folder).name, "party": row.party_id, "key": row.prefix,
            "device": row.device}  # fmt: skip
    return library.JobRow(
        row.id, KIND, told, state_of(row.state), row.created_s, row.started_s, row.ended_s, row.beat_s,
        host or None, int(pid) if pid else None, is_running, is_running and bool(row.cancel_asked), 100, row.percent, 0,
        row.current, row.code or None, row.said,
    )  # fmt: skip
