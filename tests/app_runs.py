"""Runs of apps in tests: a worker beside the test, as a server has one, and waiting for what it does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from malan.apps.queue.runs import see_through
from malan.apps.queue.work import work
from malan.services.jobs.queue import DONE, Job
from malan.workspace import Workspace


@contextmanager
def working(ws: Workspace) -> Iterator[None]:
    """A worker on the processor for as long as the block."""
    over = threading.Event()
    worker = threading.Thread(target=work, args=(ws,), kwargs={"stop": over.is_set}, name="worker", daemon=True)
    worker.start()
    try:
        yield
    finally:
        over.set()
        worker.join(20)


def ended(ws: Workspace, job_id: str) -> Job:
    """The job when it is over, by a worker that is there or in this process."""
    return see_through(ws, job_id)


def done(ws: Workspace, job_id: str) -> str:
    """The same, where it must have ended well; its id."""
    job = ended(ws, job_id)
    assert job.state == DONE, job.error
    return job_id
