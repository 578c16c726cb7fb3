"""What jobs of the gateway made is kept for a while (`result_days`), then taken away; the job says so from then on.

Runs of apps in `exports` are their owners' to keep. Start at `expire`; `sweep` takes away what belongs to no job.
"""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING

from sqlalchemy import select, update

from malan.runtime.database import reading, updating
from malan.services.jobs.queue import DONE, EXPIRED, FOLDER, Job
from malan.services.jobs.queue_tables import JOBS, queue_tables

if TYPE_CHECKING:
    from malan.workspace import Workspace

_DAY_S = 86_400
_MOST_AT_ONCE = 200


def expires_s(ws: Workspace, job: Job) -> float | None:
    """When what a job made is taken away; None where it is kept, or nothing was made."""
    days = ws.settings.result_days
    if job.state == EXPIRED:
        return job.ended_s
    return job.ended_s + days * _DAY_S if job.state == DONE and days and job.ended_s is not None else None


def expire(ws: Workspace, now_s: float | None = None) -> int:
    """Take away what is too old, as many as are due up to a bound; how many. Files first: a kill between leaves them
    to the next turn."""
    if not ws.settings.result_days:
        return 0
    jobs = JOBS.c
    before = (time.time() if now_s is None else now_s) - ws.settings.result_days * _DAY_S
    due = select(jobs.id, jobs.turn, jobs.folder).where(
        jobs.state == DONE, jobs.ended_s < before, jobs.folder.startswith(f"{FOLDER}/")
    )
    with reading(queue_tables(ws)) as connection:
        rows = connection.execute(due.limit(_MOST_AT_ONCE)).all()
    for row in rows:
        shutil.rmtree(ws.root / row.folder, ignore_errors=True)
        with updating(queue_tables(ws)) as connection:
            mine = update(JOBS).where(jobs.id == row.id, jobs.turn == row.turn)
            connection.execute(mine.values(state=EXPIRED, turn=row.turn + 1))
    return len(rows)


def sweep(ws: Workspace, now_s: float | None = None) -> int:
    """Take away folders of jobs that were never written down, as a server that was killed leaves them; how many."""
    place, before = ws.root / FOLDER, (time.time() if now_s is None else now_s) - _DAY_S
    names = [one.name for one in os.scandir(place) if one.stat().st_mtime < before] if place.is_dir() else []
    gone = 0
    for start in range(0, len(names), _MOST_AT_ONCE):
        some = names[start : start + _MOST_AT_ONCE]
        with reading(queue_tables(ws)) as connection:
            known = set(connection.scalars(select(JOBS.c.id).where(JOBS.c.id.in_(some))))
        for name in set(some) - known:
            shutil.rmtree(place / name, ignore_errors=True)
            gone += 1
    return gone
