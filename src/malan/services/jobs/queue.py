"""Generation jobs as rows: asked for once, taken by one worker at a time, taken away from one that died, settled once.

    queued ─ take ─▶ in_progress ─┬─ finish ─▶ completed   charged, with the same commit
       ▲                          ├──────────▶ failed      nothing is owed
       └──── lose, put back ──────┴──────────▶ cancelled   nothing is owed

A step is written only if nobody moved the job since it was read (`turn`), so a worker that was given up for dead and
wakes up again can change nothing. Money, state and whom to tell change in one transaction. Start at `submit`, `take`,
`finish`.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from sqlalchemy import and_, delete, func, or_, select, update

from malan.core.errors import MalanError, NotFound, Rejected, RetryLater, UsageError
from malan.core.ids import digest_record
from malan.runtime.database import add_new, put, reading, updating, writing
from malan.runtime.limits import started_ticks
from malan.services.gateway.budget import Use, release, reserve, settle
from malan.services.jobs.queue_costs import dearest_of, owed_for
from malan.services.jobs.queue_tables import JOBS, TURNS, WEBHOOKS, WORKERS, queue_tables
from malan.services.runs.rows import me

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from malan.workspace import Workspace

QUEUED, RUNNING, DONE, FAILED, CANCELLED = STATES = ("queued", "in_progress", "completed", "failed", "cancelled")
EXPIRED = "expired"  # it was done, and what it made was taken away since
OPEN = (QUEUED, RUNNING)
OVER = (DONE, FAILED, CANCELLED, EXPIRED)
PRIORITIES: Mapping[str, int] = {"low": -1, "normal": 0, "high": 1}
MOST_ATTEMPTS = 3  # a job whose worker died so often is not tried again
SILENCE_S = 15.0  # a worker that says nothing for so long is dead, whatever its process looks like
FOLDER = "jobs"
_MOST_LISTED = 100


class TooManyJobs(RetryLater):
    """The party has as many jobs open as it may."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A job to be done.

    Args:
        app: Which makes it.
        request: Its values, as `apps.running` reads them.
        sort: `video`, `music` or `app`: what its id begins with.
        model: As it was asked for.
        device: Whose queue it stands in.
        party_id: On whose behalf; empty: this program's operator.
        prefix: Of the gateway's key that pays; empty: nobody does.
        key_app: The program of that key.
        asked: What answers repeat.
        price: currency, request, second, in minor units; `seconds` is the most it may become.
        priority: low, normal, high.
        idempotency: The client's own name for it; the same again is the same job.
        remixed_from: The job it is a change of.
        webhook: Whom to tell.
        job_id: Where it has one already, because files lie under it.
        folder: In the workspace, where what it makes lies; without one a folder of its own.
    """

    app: str
    request: Mapping[str, Any]
    sort: str = "app"
    model: str = ""
    device: str = "cpu"
    party_id: str = ""
    prefix: str = ""
    key_app: str = ""
    asked: Mapping[str, Any] = field(default_factory=dict)
    price: Mapping[str, Any] = field(default_factory=dict)
    priority: str = "normal"
    idempotency: str | None = None
    remixed_from: str = ""
    webhook: str = ""
    job_id: str = ""
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it stands; times in seconds since 1970, UTC."""

    id: str
    sort: str
    party_id: str
    prefix: str
    key_app: str
    app: str
    model: str
    device: str
    request: Mapping[str, Any]
    asked: Mapping[str, Any]
    price: Mapping[str, Any]
    state: str
    turn: int
    priority: int
    attempt: int
    worker: str | None
    beat_s: float | None
    not_before_s: float
    cancel_asked: int
    percent: int
    current: str
    created_s: float
    started_s: float | None
    ended_s: float | None
    idempotency: str | None
    digest: str
    folder: str
    remixed_from: str
    webhook: str
    code: str
    said: Mapping[str, Any]
    told: Mapping[str, Any]
    micro: int

    @property
    def is_over(self) -> bool:
        return self.state in OVER

    @property
    def currency(self) -> str:
        return str(self.price.get("currency", ""))

    @property
    def run(self) -> str:
        """What the run of the app is called: it is billed once under that name."""
        return str(self.asked.get("run") or self.id)

    @property
    def error(self) -> MalanError | None:
        """What ended it."""
        return MalanError(self.code, **self.said) if self.code else None

    def is_lost(self, now_s: float) -> bool:
        """It should be worked on, and whoever took it is gone."""
        return self.state == RUNNING and not is_alive(self.worker, self.beat_s, now_s)


def new_id(sort: str) -> str:
    """The id of a job to be."""
    return f"{sort}_{uuid4().hex}"


def submit(ws: Workspace, ask: Ask, *, now_s: float | None = None) -> Job:
    """Write a job down, with what it may cost held; the one that stands, where the client asked for it before.

    Raises:
        Rejected: The client used the same name for something else.
        OverBudget, TooFast, NotSignedIn: The key may not.
        TooManyJobs: The party has as many open as it may (`open_jobs`).
    """
    now = time.time() if now_s is None else now_s
    if ask.priority not in PRIORITIES:
        raise UsageError("gateway.bad_priority", priority=str(ask.priority)[:40], known=", ".join(PRIORITIES))
    row = _new_row(ask, now)
    with updating(queue_tables(ws), durable=True) as connection:
        if not add_new(connection, JOBS, row):
            return _same(connection, ask, row)
        _check_room(connection, ask.party_id, ws.settings.open_jobs)
        if ask.prefix:
            refused = reserve(connection, ask.prefix, row["id"], dearest_of(ask.price), now, None)
            if refused is not None:
                raise refused
    return Job(**row)


def get_job(ws: Workspace, job_id: str, *, party_id: str | None = None, sort: str | None = None) -> Job:
    """A job; with `party_id`, of anybody else there is none.

    Raises:
        NotFound: There is none.
    """
    with reading(queue_tables(ws)) as connection:
        row = connection.execute(select(JOBS).where(JOBS.c.id == job_id)).one_or_none()
    is_theirs = row is not None and party_id is not None and row.party_id != party_id
    if row is None or is_theirs or (sort is not None and row.sort != sort):
        raise NotFound("gateway.no_job", id=job_id[:80])
    return _job(row)


def list_jobs(
    ws: Workspace,
    *,
    party_id: str | None = None,
    sort: str | None = None,
    after: str = "",
    limit: int = 20,
    is_rising: bool = False,
    states: Sequence[str] = (),
) -> tuple[list[Job], bool]:
    """Jobs, the latest first unless `is_rising`, from after the one named; and whether there are more.

    Raises:
        NotFound: There is no job of that name to go on after.
    """
    jobs, most = JOBS.c, max(1, min(limit, _MOST_LISTED))
    query = select(JOBS)
    if party_id is not None:
        query = query.where(jobs.party_id == party_id)
    if sort is not None:
        query = query.where(jobs.sort == sort)
    if states:
        query = query.where(jobs.state.in_(states))
    if after:
        last = get_job(ws, after, party_id=party_id, sort=sort)
        further = jobs.created_s > last.created_s if is_rising else jobs.created_s < last.created_s
        tie = jobs.id > last.id if is_rising else jobs.id < last.id
        query = query.where(or_(further, and_(jobs.created_s == last.created_s, tie)))
    order = (jobs.created_s, jobs.id) if is_rising else (jobs.created_s.desc(), jobs.id.desc())
    with reading(queue_tables(ws)) as connection:
        rows = connection.execute(query.order_by(*order).limit(most + 1)).all()
    return [_job(row) for row in rows[:most]], len(rows) > most


def take(ws: Workspace, device: str, *, worker: str, now_s: float, only: str = "") -> Job | None:
    """The next job of a device's queue, now this worker's own; None when there is none; `only` one, where it is named.

    What was raised goes first. Then parties take turns: the one with the fewest jobs at work, of those the one whose
    last began the longest ago; of its own the oldest.
    """
    jobs = JOBS.c
    with writing(queue_tables(ws)) as connection:
        mine = and_(jobs.state == QUEUED, jobs.device == device, jobs.not_before_s <= now_s)
        mine = and_(mine, jobs.id == only) if only else mine
        waiting = connection.execute(
            select(jobs.party_id, func.max(jobs.priority)).where(mine).group_by(jobs.party_id)
        ).all()
        if not waiting:
            return None
        first = max(row[1] for row in waiting)
        party = _next_party(connection, device, [row[0] for row in waiting if row[1] == first])
        query = select(JOBS).where(mine, jobs.party_id == party, jobs.priority == first)
        row = connection.execute(query.order_by(jobs.created_s).limit(1)).one()
        put(connection, TURNS, {"party_id": party, "device": device, "started_s": now_s})
        started = {"state": RUNNING, "turn": row.turn + 1, "attempt": row.attempt + 1, "worker": worker,
                   "beat_s": now_s, "started_s": now_s, "percent": 0, "current": ""}  # fmt: skip
        connection.execute(update(JOBS).where(jobs.id == row.id).values(**started))
        return _job(row, started)


def beat(ws: Workspace, job: Job, now_s: float, *, percent: int = 0, current: str = "") -> tuple[bool, bool]:
    """Say that a worker is still at its job; whether it is its job yet, and whether somebody wants it to end."""
    jobs = JOBS.c
    said = {"beat_s": now_s, "percent": max(0, min(99, percent)), "current": current[:200]}
    with updating(queue_tables(ws)) as connection:
        mine = update(JOBS).where(jobs.id == job.id, jobs.turn == job.turn, jobs.worker == job.worker)
        if not connection.execute(mine.values(**said)).rowcount:
            return False, False
        return True, bool(connection.scalar(select(jobs.cancel_asked).where(jobs.id == job.id)))


def finish(
    ws: Workspace,
    job: Job,
    state: str,
    *,
    told: Mapping[str, Any] | None = None,
    error: MalanError | None = None,
    now_s: float | None = None,
) -> bool:
    """End a job: its state, what it cost and whom to tell, in one commit; False when somebody else moved it.

    Args:
        ws: Whose.
        job: As it was read.
        state: One of `OVER`.
        told: What the app left; the seconds it made are charged.
        error: Why it failed.
        now_s: The time.
    """
    now = time.time() if now_s is None else now_s
    values = {} if error is None else json.loads(json.dumps(error.values, default=str))
    over = {"state": state, "turn": job.turn + 1, "worker": None, "ended_s": now, "told": dict(told or {}),
            "code": error.code if error else "", "said": values}  # fmt: skip
    over |= {"percent": 100} if state == DONE else {}
    with updating(queue_tables(ws), durable=True) as connection:
        mine = update(JOBS).where(JOBS.c.id == job.id, JOBS.c.turn == job.turn)
        if not connection.execute(mine.values(**over)).rowcount:
            return False
        charged = _settle(connection, job, state, told or {}, now)
        if charged:
            connection.execute(update(JOBS).where(JOBS.c.id == job.id).values(micro=charged))
        if job.webhook:
            connection.execute(WEBHOOKS.insert().values(**_event(job, state, now)))
    return True


def put_back(ws: Workspace, job: Job, *, again_s: float = 0.0, is_counted: bool = True) -> bool:
    """Into the queue again, to go on from what is there; False when somebody else moved it."""
    attempt = job.attempt if is_counted else job.attempt - 1
    back = {"state": QUEUED, "turn": job.turn + 1, "worker": None, "attempt": attempt,
            "not_before_s": time.time() + again_s if again_s else 0.0}  # fmt: skip
    with updating(queue_tables(ws), durable=True) as connection:
        mine = update(JOBS).where(JOBS.c.id == job.id, JOBS.c.turn == job.turn)
        return bool(connection.execute(mine.values(**back)).rowcount)


def ask_again(ws: Workspace, job: Job) -> Job:
    """Put a job that is over back into the queue, to go on with what lies in its folder.

    Raises:
        Rejected: It is not over, or a key pays for it: what was given back is not held again without being asked for.
    """
    if not job.is_over or job.prefix:
        raise Rejected("job.not_resumable", id=job.id[:12], state=job.state)
    fresh = {"state": QUEUED, "turn": job.turn + 1, "worker": None, "attempt": 0, "not_before_s": 0.0,
             "cancel_asked": 0, "percent": 0, "current": "", "started_s": None, "ended_s": None, "code": "", "said": {},
             "told": {}}  # fmt: skip
    with updating(queue_tables(ws), durable=True) as connection:
        connection.execute(update(JOBS).where(JOBS.c.id == job.id, JOBS.c.turn == job.turn).values(**fresh))
    return get_job(ws, job.id)  # when somebody else moved it, as that left it


def cancel(ws: Workspace, job: Job) -> Job:
    """Ask a job to end: one that waits ends at once, one at work when its worker looks, within a second.

    Raises:
        Rejected: It is over.
    """
    for _ in range(8):  # it may move between the look and the step
        if job.is_over:
            raise Rejected("gateway.job_over", id=job.id[:80], state=job.state)
        if job.state == QUEUED:
            if finish(ws, job, CANCELLED, error=Rejected("gateway.cancelled")):
                return get_job(ws, job.id)
        else:
            with updating(queue_tables(ws)) as connection:
                asked = update(JOBS).where(JOBS.c.id == job.id, JOBS.c.turn == job.turn)
                if connection.execute(asked.values(cancel_asked=1)).rowcount:
                    return get_job(ws, job.id)
        job = get_job(ws, job.id)
    raise RetryLater("gateway.job_busy", id=job.id[:80])


def forget(ws: Workspace, job: Job) -> None:
    """Take a job that is over off the list.

    Raises:
        RetryLater: It is at work yet.
    """
    with updating(queue_tables(ws), durable=True) as connection:
        gone = delete(JOBS).where(JOBS.c.id == job.id, JOBS.c.state.in_(OVER))
        if not connection.execute(gone).rowcount:
            raise RetryLater("gateway.job_busy", id=job.id[:80])


def recover(ws: Workspace, now_s: float | None = None) -> int:
    """See to jobs whose worker is gone: into the queue again, or ended after some deaths; how many moved."""
    now = time.time() if now_s is None else now_s
    return sum(lose(ws, job) for job in _at_work(ws) if job.is_lost(now))


def lose(ws: Workspace, job: Job) -> bool:
    """What becomes of a job whose worker died."""
    if job.cancel_asked:
        return finish(ws, job, CANCELLED, error=Rejected("gateway.cancelled"))
    if job.attempt >= MOST_ATTEMPTS:
        return finish(ws, job, FAILED, error=RetryLater("gateway.worker_died", times=job.attempt))
    return put_back(ws, job)


def waiting_devices(ws: Workspace, now_s: float) -> list[str]:
    """Devices in whose queue something waits."""
    query = select(JOBS.c.device).where(JOBS.c.state == QUEUED, JOBS.c.not_before_s <= now_s).distinct()
    with reading(queue_tables(ws)) as connection:
        return sorted(connection.scalars(query))


def busy_devices(ws: Workspace) -> list[str]:
    """The device of each job that is at work."""
    with reading(queue_tables(ws)) as connection:
        return list(connection.scalars(select(JOBS.c.device).where(JOBS.c.state == RUNNING)))


def job_counts(ws: Workspace) -> dict[tuple[str, str], int]:
    """How many jobs there are, by device and state."""
    query = select(JOBS.c.device, JOBS.c.state, func.count()).group_by(JOBS.c.device, JOBS.c.state)
    with reading(queue_tables(ws)) as connection:
        return {(row[0], row[1]): int(row[2]) for row in connection.execute(query)}


def longest_waits(ws: Workspace, now_s: float) -> dict[str, float]:
    """Seconds since the oldest job that waits was asked for, by device."""
    query = select(JOBS.c.device, func.min(JOBS.c.created_s)).where(JOBS.c.state == QUEUED).group_by(JOBS.c.device)
    with reading(queue_tables(ws)) as connection:
        return {row[0]: max(0.0, now_s - float(row[1])) for row in connection.execute(query)}


def note_worker(ws: Workspace, device: str, now_s: float) -> None:
    """Say that this process is here to take jobs; those not heard of any more are forgotten."""
    with updating(queue_tables(ws)) as connection:
        put(connection, WORKERS, {"worker": me(), "device": device, "beat_s": now_s})
        connection.execute(delete(WORKERS).where(WORKERS.c.beat_s < now_s - 10 * SILENCE_S))


def leave(ws: Workspace) -> None:
    """Say that this process goes."""
    with updating(queue_tables(ws)) as connection:
        connection.execute(delete(WORKERS).where(WORKERS.c.worker == me()))


def live_workers(ws: Workspace, now_s: float) -> list[str]:
    """The device of each worker that is here."""
    with reading(queue_tables(ws)) as connection:
        rows = connection.execute(select(WORKERS)).all()
    return [row.device for row in rows if is_alive(row.worker, row.beat_s, now_s)]


def is_alive(worker: str | None, beat_s: float | None, now_s: float) -> bool:
    """On this host the process itself is asked as well; a number given to another process does not count."""
    if worker is None or now_s - (beat_s or 0.0) > SILENCE_S:
        return False
    host, pid, ticks = worker.rsplit(":", 2)
    return host != socket.gethostname() or str(started_ticks(int(pid))) == ticks


def _new_row(ask: Ask, now: float) -> dict[str, Any]:
    job_id = ask.job_id or new_id(ask.sort)
    same = [ask.app, ask.model, dict(ask.request), dict(ask.asked), ask.remixed_from]
    digest = digest_record("app.ask", [json.dumps(same, sort_keys=True).replace(job_id, "")])
    return {
        "id": job_id, "sort": ask.sort, "party_id": ask.party_id, "prefix": ask.prefix, "key_app": ask.key_app,
        "app": ask.app, "model": ask.model, "device": ask.device, "request": dict(ask.request),
        "asked": dict(ask.asked), "price": dict(ask.price), "state": QUEUED, "turn": 0,
        "priority": PRIORITIES[ask.priority], "attempt": 0, "worker": None, "beat_s": None, "not_before_s": 0.0,
        "cancel_asked": 0, "percent": 0, "current": "", "created_s": now, "started_s": None, "ended_s": None,
        "idempotency": ask.idempotency, "digest": digest,
        "folder": ask.folder or f"{FOLDER}/{job_id}", "remixed_from": ask.remixed_from, "webhook": ask.webhook,
        "code": "", "said": {}, "told": {}, "micro": 0,
    }  # fmt: skip


def _check_room(connection: Connection, party_id: str, most: int) -> None:
    """The job just written down is one of them; this program's operator has no bound."""
    if not party_id or not most:
        return
    theirs = func.coalesce(JOBS.c.party_id, "") == party_id  # by state, which few have, not by party, which many have
    found = connection.scalar(select(func.count()).select_from(JOBS).where(JOBS.c.state.in_(OPEN), theirs))
    if (found or 0) > most:
        raise TooManyJobs("gateway.too_many_jobs", most=most, wait_s=30)


def _same(connection: Connection, ask: Ask, row: Mapping[str, Any]) -> Job:
    jobs = JOBS.c
    found = connection.execute(
        select(JOBS).where(jobs.party_id == ask.party_id, jobs.idempotency == ask.idempotency)
    ).one_or_none()
    if found is None or found.digest != row["digest"]:
        raise Rejected("gateway.other_request", key=str(ask.idempotency)[:80])
    return _job(found)


def _next_party(connection: Connection, device: str, parties: Sequence[str]) -> str:
    at_work = select(JOBS.c.party_id, func.count()).where(JOBS.c.state == RUNNING, JOBS.c.device == device)
    busy = {row[0]: int(row[1]) for row in connection.execute(at_work.group_by(JOBS.c.party_id))}
    turns = select(TURNS.c.party_id, TURNS.c.started_s).where(TURNS.c.device == device)
    last = {row[0]: float(row[1]) for row in connection.execute(turns)}
    return min(parties, key=lambda party: (busy.get(party, 0), last.get(party, 0.0), party))


def _at_work(ws: Workspace) -> list[Job]:
    with reading(queue_tables(ws)) as connection:
        return [_job(row) for row in connection.execute(select(JOBS).where(JOBS.c.state == RUNNING))]


def _settle(connection: Connection, job: Job, state: str, told: Mapping[str, Any], now: float) -> int:
    """What is owed for a job that is over; nothing, unless it was done."""
    if not job.prefix:
        return 0
    if state != DONE:
        release(connection, job.id, job.prefix)
        return 0
    seconds = float(told.get("seconds") or job.price.get("seconds", 0))
    owed, billed = owed_for(job.price, told, seconds)
    use = Use(job.id, job.prefix, job.party_id, job.key_app, now, job.sort, job.model,
              str(told.get("engine") or told.get("app") or job.app), str(told.get("mode") or ""),
              job.currency or "CNY", output_amount=round(seconds * 1000),
              micro=owed, billed_micro=billed)  # fmt: skip
    return settle(connection, use) or 0


def _event(job: Job, state: str, now: float) -> dict[str, Any]:
    """What a webhook says: which job, what became of it; the receiver asks for the rest with its key."""
    name = uuid4().hex
    kind = f"{job.sort}.{'completed' if state == DONE else 'failed'}"
    body = {"id": f"evt_{name}", "object": "event", "created_at": int(now), "type": kind, "data": {"id": job.id}}
    return {"id": f"evt_{name}", "job_id": job.id, "prefix": job.prefix, "url": job.webhook,
            "body": json.dumps(body, separators=(",", ":")), "state": "waiting", "tries": 0, "next_s": now,
            "last": ""}  # fmt: skip


def _job(row: Row[Any], changes: Mapping[str, Any] | None = None) -> Job:
    return Job(**{**row._mapping, **(changes or {})})
