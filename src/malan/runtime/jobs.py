"""Durable jobs: pieces of work with many items that survive a kill at any moment.

    job = jobs.create("asset.scan", {"assets": 3}, items=ids)
    with jobs.running(job.id) as run:
        for key in run.waiting():
            ...                      # do it, write the result where it belongs
            run.finish([key])        # then say so

A job does not hold results. Work is written where it belongs first and ticked off after; whoever resumes a job asks
the library what is there already. A running job is alive while its process is; a dead one can be taken up by anyone.
Other processes read all of this while it runs. Start reading at `Jobs.running`.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy import Connection, Engine, Integer, delete, func, select, update

from malan.core.errors import MalanError, NotFound, Rejected, RetryLater, UsageError
from malan.core.ids import canonical_bytes, digest_bytes, digest_record
from malan.runtime.database import add_new, ensure_tables, put, reading, writing
from malan.runtime.job_tables import (
    CANCELLED,
    DONE,
    FAILED,
    ITEMS,
    JOBS,
    METADATA,
    QUEUED,
    RUNNING,
    WAITING,
    ItemRow,
    JobRow,
    item_row,
    job_row,
)
from malan.runtime.limits import started_ticks

__all__ = [
    "CANCELLED",
    "DONE",
    "FAILED",
    "QUEUED",
    "RUNNING",
    "WAITING",
    "Cancelled",
    "ItemRow",
    "JobRow",
    "Jobs",
    "Run",
]

_BEAT_S = 1.0


class Jobs:
    """The jobs of a workspace, in its database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        ensure_tables(engine, METADATA)

    def create(self, kind: str, spec: Mapping[str, Any], items: Iterable[str] = ()) -> JobRow:
        """A new job, queued, with items that wait. The id is the digest of what is asked for and when."""
        now = time.time()
        job_id = digest_record("job", [kind, dict(spec), repr(now), os.getpid()])
        row = {"id": job_id, "kind": kind, "spec": dict(spec), "spec_digest": _spec_digest(spec)}
        with writing(self._engine) as connection:
            connection.execute(JOBS.insert().values(**row, state=QUEUED, created_s=now))
            _add_items(connection, job_id, items)
        return self.get(job_id)

    def unfinished(self, kind: str, spec: Mapping[str, Any]) -> JobRow | None:
        """The latest job that asks for the same and can go on: never started, or its process is gone."""
        where = (JOBS.c.kind == kind, JOBS.c.spec_digest == _spec_digest(spec), JOBS.c.state.in_([QUEUED, RUNNING]))
        with reading(self._engine) as connection:
            found = connection.execute(select(JOBS).where(*where).order_by(JOBS.c.created_s.desc())).mappings()
            return next((job for job in map(job_row, found) if job.can_go_on), None)

    def latest(self, kind: str, spec: Mapping[str, Any]) -> JobRow | None:
        """The latest job that asks for the same, whatever became of it."""
        where = (JOBS.c.kind == kind, JOBS.c.spec_digest == _spec_digest(spec))
        with reading(self._engine) as connection:
            query = select(JOBS).where(*where).order_by(JOBS.c.created_s.desc(), JOBS.c.id).limit(1)
            found = connection.execute(query).mappings().one_or_none()
        return job_row(found) if found else None

    @contextmanager
    def running(self, job_id: str, *, not_beside: Collection[str] = ()) -> Iterator[Run]:
        """Take up a job and work on it; leaving ends it: done, failed with the error raised, or cancelled.

        Leaving with an interrupt puts it back into the queue.

        Args:
            job_id: The job; one that runs already, anywhere, is not run a second time.
            not_beside: Kinds of jobs that must not be running now.

        Raises:
            RetryLater: It is running, or one of those kinds is.
            Rejected: It has ended.
        """
        self._claim(job_id, not_beside)
        run = Run(self._engine, job_id)
        try:
            with _beating(self._engine, job_id):
                yield run
        except Cancelled:
            self._end(job_id, CANCELLED)
        except MalanError as error:
            self._end(job_id, FAILED, error)
            raise
        except Exception as error:
            self._end(job_id, FAILED, _unexpected(error))
            raise
        except BaseException:  # interrupted by a person: whoever comes next goes on
            self._end(job_id, QUEUED)
            raise
        else:
            self._end(job_id, DONE)

    def get(self, id_or_prefix: str) -> JobRow:
        """One job by its id or a unique beginning of it."""
        where = JOBS.c.id.startswith(id_or_prefix.strip().lower(), autoescape=True)
        with reading(self._engine) as connection:
            found = connection.execute(select(JOBS).where(where).limit(2)).mappings().all()
        if not found:
            raise NotFound("job.not_found", id=id_or_prefix)
        if len(found) > 1:
            raise UsageError("job.ambiguous", id=id_or_prefix)
        return job_row(found[0])

    def list(self, *, state: str | None = None, limit: int = 50, offset: int = 0) -> Sequence[JobRow]:
        """Jobs, the latest first."""
        query = select(JOBS).order_by(JOBS.c.created_s.desc()).limit(limit).offset(offset)
        if state is not None:
            query = query.where(JOBS.c.state == state)
        with reading(self._engine) as connection:
            return [job_row(row) for row in connection.execute(query).mappings()]

    def items(self, job_id: str, *, state: str | None = None, limit: int = 1000, offset: int = 0) -> Sequence[ItemRow]:
        """Items of a job in their order."""
        query = select(ITEMS).where(ITEMS.c.job_id == job_id).order_by(ITEMS.c.position).limit(limit).offset(offset)
        if state is not None:
            query = query.where(ITEMS.c.state == state)
        with reading(self._engine) as connection:
            return [item_row(row) for row in connection.execute(query).mappings()]

    def pace(self, job_ids: Iterable[str], since_s: float, step_s: float) -> dict[int, int]:
        """How many listed items of these jobs ended in each step of time after `since_s`, by number of the step."""
        step = ((ITEMS.c.updated_s - since_s) / step_s).cast(Integer)
        where = (ITEMS.c.job_id.in_(list(job_ids)), ITEMS.c.updated_s >= since_s)
        with reading(self._engine) as connection:
            rows = connection.execute(select(step, func.count()).where(*where).group_by(step))
            return {int(number): int(count) for number, count in rows}

    def cancel(self, id_or_prefix: str) -> JobRow:
        """Ask a running job to stop, which it does within a second or so; any other is cancelled at once."""
        job = self.get(id_or_prefix)
        if job.state not in (QUEUED, RUNNING):
            raise Rejected("job.over", id=job.id[:12], state=job.state)
        change = {"cancel_asked": 1} if job.is_alive else {"state": CANCELLED, "ended_s": time.time()}
        with writing(self._engine) as connection:
            connection.execute(update(JOBS).where(JOBS.c.id == job.id).values(**change))
        return self.get(job.id)

    def retry(self, id_or_prefix: str) -> JobRow:
        """Put a job back into the queue: what failed waits again, what is done stays done."""
        job = self.get(id_or_prefix)
        if job.is_alive or (job.state == DONE and not job.failed):
            raise Rejected("job.not_resumable", id=job.id[:12], state=job.state)
        again = update(ITEMS).where(ITEMS.c.job_id == job.id, ITEMS.c.state == FAILED)
        with writing(self._engine) as connection:
            connection.execute(again.values(state=WAITING, code=None, values=None))
            fresh = {"state": QUEUED, "failed": 0, "cancel_asked": 0, "ended_s": None, "code": None, "values": None}
            connection.execute(update(JOBS).where(JOBS.c.id == job.id).values(**fresh))
        return self.get(job.id)

    def _claim(self, job_id: str, not_beside: Collection[str]) -> None:
        with writing(self._engine) as connection:
            running = connection.execute(select(JOBS).where(JOBS.c.state == RUNNING)).mappings()
            for other in map(job_row, running):
                if other.is_alive and (other.id == job_id or other.kind in not_beside):
                    raise RetryLater("job.busy", kind=other.kind, id=other.id[:12], pid=other.pid, host=other.host)
            state = connection.execute(select(JOBS.c.state).where(JOBS.c.id == job_id)).scalar_one_or_none()
            if state not in (QUEUED, RUNNING):
                raise Rejected("job.not_resumable", id=job_id[:12], state=state)
            me = {"host": socket.gethostname(), "pid": os.getpid(), "pid_started": started_ticks(os.getpid())}
            times = {"started_s": time.time(), "beat_s": time.time(), "ended_s": None}
            mine = update(JOBS).where(JOBS.c.id == job_id)
            connection.execute(mine.values(**me, **times, state=RUNNING, cancel_asked=0))

    def _end(self, job_id: str, state: str, error: MalanError | None = None) -> None:
        said = {"code": error.code, "values": _plain(error.values)} if error else {"code": None, "values": None}
        with writing(self._engine) as connection:
            ended = {"state": state, "ended_s": None if state == QUEUED else time.time(), "current": ""}
            connection.execute(update(JOBS).where(JOBS.c.id == job_id).values(**ended, **said))


class Cancelled(BaseException):
    """A person asked the job to stop; raised where the work asks, caught by `Jobs.running`."""


class Run:
    """The hand that works on a job. One thread at a time."""

    def __init__(self, engine: Engine, job_id: str) -> None:
        self._engine = engine
        self.job_id = job_id

    def expect(self, total: int) -> None:
        """Start counting anew, for work that finds its items itself and keeps no list of them here."""
        with writing(self._engine) as connection:
            connection.execute(delete(ITEMS).where(ITEMS.c.job_id == self.job_id))
            self._set(connection, total=total, done=0, failed=0)

    def add_items(self, keys: Iterable[str]) -> None:
        """Items that wait; one that is there already stays as it is."""
        with writing(self._engine) as connection:
            _add_items(connection, self.job_id, keys)

    def waiting(self) -> list[str]:
        """Keys of all items nobody has finished, in their order."""
        where = (ITEMS.c.job_id == self.job_id, ITEMS.c.state == WAITING)
        with reading(self._engine) as connection:
            return [
                str(key) for key in connection.scalars(select(ITEMS.c.key).where(*where).order_by(ITEMS.c.position))
            ]

    def finish(self, keys: Iterable[str]) -> None:
        """Tick off items whose results are safe where they belong."""
        listed = [_sound(key) for key in keys]
        with writing(self._engine) as connection:
            for begin in range(0, len(listed), 500):
                part = listed[begin : begin + 500]
                where = (ITEMS.c.job_id == self.job_id, ITEMS.c.key.in_(part), ITEMS.c.state == WAITING)
                ended = {"state": DONE, "updated_s": time.time(), "attempts": ITEMS.c.attempts + 1}
                count = connection.execute(update(ITEMS).where(*where).values(**ended)).rowcount
                self._set(connection, done=JOBS.c.done + count)

    def fail(self, key: str, error: MalanError) -> None:
        """Note why an item could not be done; the job goes on. An item that was not listed is added."""
        self.advance(0, failures={key: error})

    def advance(self, done: int, *, current: str = "", failures: Mapping[str, MalanError] | None = None) -> None:
        """Count items that are done without being listed, note failures, and tell what is at hand."""
        with writing(self._engine) as connection:
            for key, error in (failures or {}).items():
                _fail_item(connection, self.job_id, _sound(key), error)
            failed = _count(connection, self.job_id, FAILED) if failures else JOBS.c.failed
            self._set(connection, done=JOBS.c.done + done, failed=failed, current=_sound(current))

    def stop_if_asked(self) -> None:
        """Raise `Cancelled` when a person has asked for it."""
        with reading(self._engine) as connection:
            if connection.scalar(select(JOBS.c.cancel_asked).where(JOBS.c.id == self.job_id)):
                raise Cancelled

    def _set(self, connection: Connection, **values: Any) -> None:
        connection.execute(update(JOBS).where(JOBS.c.id == self.job_id).values(beat_s=time.time(), **values))


def _add_items(connection: Connection, job_id: str, keys: Iterable[str]) -> None:
    first = _count(connection, job_id)
    rows = [
        {"job_id": job_id, "key": _sound(key), "position": first + n, "state": WAITING, "attempts": 0}
        for n, key in enumerate(keys)
    ]
    if rows:
        add_new(connection, ITEMS, rows)
    total = {"total": _count(connection, job_id)} if rows else {}
    if total:
        connection.execute(update(JOBS).where(JOBS.c.id == job_id).values(**total))


def _fail_item(connection: Connection, job_id: str, key: str, error: MalanError) -> None:
    said = {"state": FAILED, "code": error.code, "values": _plain(error.values), "updated_s": time.time()}
    row = {"job_id": job_id, "key": key, "position": _count(connection, job_id), "attempts": 1, **said}
    put(connection, ITEMS, row, {**said, "attempts": ITEMS.c.attempts + 1})


def _count(connection: Connection, job_id: str, state: str | None = None) -> int:
    query = select(func.count()).select_from(ITEMS).where(ITEMS.c.job_id == job_id)
    return int(connection.scalar(query if state is None else query.where(ITEMS.c.state == state)) or 0)


@contextmanager
def _beating(engine: Engine, job_id: str) -> Iterator[None]:
    """Say every second that the job is alive, until the block is left."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(_BEAT_S):
            with suppress(MalanError), writing(engine) as connection:
                connection.execute(update(JOBS).where(JOBS.c.id == job_id).values(beat_s=time.time()))

    thread = threading.Thread(target=beat, name="malan-job-beat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _spec_digest(spec: Mapping[str, Any]) -> str:
    return digest_bytes(canonical_bytes(_plain(spec)))


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as JSON can hold them; what it cannot becomes text."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(values), default=str, ensure_ascii=True))
    return plain


def _sound(text: str) -> str:
    """Text that UTF-8 can hold: bytes of odd file names become escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _unexpected(error: Exception) -> MalanError:
    return MalanError("runtime.task_failed", task="", detail=f"{type(error).__name__}: {error}", where="-")
