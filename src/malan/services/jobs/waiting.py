"""Jobs that wait although nobody is there to take them: told with since when, and what to start.

A server starts workers as they are needed, so for some seconds there may be none; after that something is amiss: it was
told not to (`--no-worker`), there is no server, or workers die. Start at `unattended`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import select

from malan.core.errors import RetryLater
from malan.runtime.database import reading
from malan.runtime.jobs import JobRow
from malan.services.jobs.queue import QUEUED, SILENCE_S, Job, is_alive
from malan.services.jobs.queue_tables import WORKERS, queue_tables

if TYPE_CHECKING:
    from malan.workspace import Workspace

GRACE_S = SILENCE_S  # a worker that died is missed as late as this; one that is started is there long before


def unattended(ws: Workspace, jobs: Iterable[JobRow | Job], now_s: float | None = None) -> dict[str, RetryLater]:
    """Of jobs that wait with no worker at their device: what there is to say, by their ids."""
    now = time.time() if now_s is None else now_s
    waiting = [one for one in jobs if one.state == QUEUED and _device(one) and now - one.created_s > GRACE_S]
    if not waiting:
        return {}
    last = _last_seen(ws, now)
    found = {}
    for one in waiting:
        since_s = max(one.created_s, last.get(_device(one), 0.0))
        if now - since_s > GRACE_S:
            since = datetime.fromtimestamp(since_s, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
            found[one.id] = RetryLater("job.no_worker", device=_device(one), since=since, since_s=round(since_s))
    return found


def _device(job: JobRow | Job) -> str:
    """Whose queue it stands in; empty for jobs of the library, which no worker takes."""
    return job.device if isinstance(job, Job) else str(job.spec.get("device") or "")


def _last_seen(ws: Workspace, now: float) -> dict[str, float]:
    """When a worker was at each device the last time."""
    with reading(queue_tables(ws)) as connection:
        rows = connection.execute(select(WORKERS)).all()
    found: dict[str, float] = {}
    for row in rows:
        seen = now if is_alive(row.worker, row.beat_s, now) else row.beat_s
        found[row.device] = max(found.get(row.device, 0.0), seen)
    return found
