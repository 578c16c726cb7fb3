"""Runs as rows: read, moved one step at a time, taken by a worker, and taken away from one that died.

A step is written only if nobody moved the run since it was read (`turn`), so of two that would move it one does, and a
worker that was given up for dead and wakes up again can change nothing. Start reading at `move`, `take`, `find_lost`.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, and_, delete, func, or_, select, update

from malan.core.decisions import Reason
from malan.core.errors import NotFound, RetryLater, UsageError
from malan.runtime.database import put, reading, updating, writing
from malan.runtime.limits import started_ticks
from malan.services.market.tables import dump, load
from malan.services.runs import states
from malan.services.runs.tables import RUNS, STEPS, WORKERS, run_tables

if TYPE_CHECKING:
    from malan.workspace import Workspace

SILENCE_S = 20.0  # a worker that says nothing for so long is dead, whatever its process looks like
HOLDS_GONE, ALL_GONE = 1, 2  # of what a run left
_LEAST_LETTERS = 6


@dataclass(frozen=True)
class Run:
    """A run as it stands. Times are seconds since 1970, UTC."""

    id: str
    grant_id: str
    party_id: str
    snapshot_id: str
    owner_ids: tuple[str, ...]
    package_id: str
    algorithm: str
    tier: str
    parameters: Mapping[str, Any]
    asked: Mapping[str, Any]
    seed: int
    state: str
    turn: int
    priority: int
    life: int
    attempt: int
    worker: str | None
    beat_s: float | None
    not_before_s: float
    cancel_asked: int
    phase: str
    percent: int
    submitted_s: float
    started_s: float | None
    ended_s: float | None
    ran: Mapping[str, Any] = field(default_factory=dict)
    charged_bytes: int = 0
    model_id: str | None = None
    tidy: int = 0

    @property
    def is_at_work(self) -> bool:
        """Somebody should be at it: running or at the gate."""
        return self.state in states.AT_WORK

    @property
    def is_over(self) -> bool:
        return self.state in states.OVER

    @property
    def has_begun(self) -> bool:
        """It was counted in this life: from here on it has a receipt, whatever becomes of it."""
        return bool(self.ran)

    @property
    def ending(self) -> list[Any] | None:
        """How it is about to end, once that is settled: action, reasons for owners, for the buyer."""
        found: list[Any] | None = self.ran.get("ending")
        return found

    @property
    def is_cancelling(self) -> bool:
        return bool(self.cancel_asked) and not self.is_over

    def is_lost(self, now_s: float) -> bool:
        """It should be worked on, and whoever took it is gone."""
        return self.is_at_work and not _is_alive(self.worker, self.beat_s, now_s)


@dataclass(frozen=True, slots=True)
class StepRow:
    """One step in the life of a run, and why: for owners, and what the buyer is told."""

    action: str
    state: str
    who: str
    at_s: float
    why: tuple[Reason, ...]
    told: tuple[Reason, ...]
    note: str


def me() -> str:
    """This process as a worker: its host, its number, and when it started, so that the number names one process."""
    return f"{socket.gethostname()}:{os.getpid()}:{started_ticks(os.getpid())}"


def add_run(connection: Connection, run: Run, who: str, why: Sequence[Reason] = ()) -> None:
    """Write a new run down, with its first step."""
    row = {name: getattr(run, name) for name in Run.__dataclass_fields__}
    connection.execute(RUNS.insert().values(**{**row, "owner_ids": dump(run.owner_ids)}))
    _note(connection, run, states.SUBMIT, who, run.submitted_s, why, why)


def move(
    ws: Workspace,
    run: Run,
    action: str,
    *,
    who: str = "",
    why: Sequence[Reason] = (),
    told: Sequence[Reason] | None = None,
    note: str = "",
    **changes: Any,
) -> Run:
    """Take a run one step further; what ends or puts it back has no worker any more.

    Args:
        why: For owners.
        told: For the buyer; the same as `why` unless given.
        note: A person's own words, for owners.
        changes: Further columns.

    Raises:
        Rejected: Not from this state.
        RetryLater: Somebody else moved it meanwhile.
    """
    moved = _moved(run, action, changes)
    with writing(run_tables(ws), durable=True) as connection:
        _write(connection, run, moved)
        _note(connection, moved, action, who, time.time(), why, why if told is None else told, note)
    return moved


def take(ws: Workspace, most_at_once: int, *, worker: str, now_s: float) -> Run | None:
    """The next run for a worker, now its own; None when there is none to be had. One at the gate goes first."""
    with writing(run_tables(ws)) as connection:
        rows = list(
            map(read_row, connection.execute(select(RUNS).where(RUNS.c.state.in_((states.QUEUED, *states.AT_WORK)))))
        )
        idle = [run for run in rows if run.state == states.GATE and run.worker is None and run.not_before_s <= now_s]
        if idle:
            return _hold(connection, min(idle, key=lambda run: run.submitted_s), worker, now_s)
        queued = [run for run in rows if run.state == states.QUEUED and run.not_before_s <= now_s]
        chosen = states.choose(
            [states.Queued(run.id, run.party_id, run.priority, run.submitted_s) for run in queued],
            [run.party_id for run in rows if run.is_at_work],
            _last_starts(connection),
            most_at_once,
        )
        if chosen is None:
            return None
        run = next(one for one in queued if one.id == chosen.id)
        started = {"started_s": now_s, "worker": worker, "beat_s": now_s, "attempt": run.attempt + 1}
        moved = _moved(run, states.START, {**started, "phase": "", "percent": 0})
        _write(connection, run, moved)
        _note(connection, moved, states.START, "", now_s)
        return moved


def take_up(ws: Workspace, run: Run, *, worker: str, now_s: float) -> Run:
    """A run at the gate that nobody is at, now a worker's own.

    Raises:
        RetryLater: Somebody else was faster.
    """
    with writing(run_tables(ws)) as connection:
        return _hold(connection, run, worker, now_s)


def seize(ws: Workspace, run: Run, *, worker: str, now_s: float) -> Run:
    """Take a run away from a worker that is gone, unless it has been heard of since.

    Raises:
        RetryLater: Somebody else was faster, or it was heard of.
    """
    with updating(run_tables(ws)) as connection:
        mine = update(RUNS).where(RUNS.c.id == run.id, RUNS.c.turn == run.turn, RUNS.c.worker == run.worker)
        seized = mine.where(RUNS.c.beat_s == run.beat_s).values(worker=worker, beat_s=now_s)
        if not connection.execute(seized).rowcount:
            raise RetryLater("runs.busy", id=run.id[:12])
    return replace(run, worker=worker, beat_s=now_s)


def beat(ws: Workspace, run: Run, now_s: float, **told: Any) -> bool:
    """Say that a worker is still at its run; False when it is its run no more."""
    with updating(run_tables(ws)) as connection:
        mine = update(RUNS).where(RUNS.c.id == run.id, RUNS.c.turn == run.turn, RUNS.c.worker == run.worker)
        return bool(connection.execute(mine.values(beat_s=now_s, **told)).rowcount)


def mark(ws: Workspace, run: Run, beside: Callable[[Connection], None] | None = None, **told: Any) -> Run:
    """Note something of a run that is no step, in what the sandbox told of it.

    Args:
        ws: Whose run.
        run: As it was read.
        beside: What holds together with the note or not at all; done in its transaction.
        told: By name.

    Raises:
        RetryLater: Somebody else moved it meanwhile.
    """
    marked = replace(run, ran={**run.ran, **told})
    with writing(run_tables(ws), durable=True) as connection:
        mine = update(RUNS).where(RUNS.c.id == run.id, RUNS.c.turn == run.turn)
        if not connection.execute(mine.values(ran=dict(marked.ran))).rowcount:
            raise RetryLater("runs.busy", id=run.id[:12])
        if beside is not None:
            beside(connection)
    return marked


def is_cancel_asked(ws: Workspace, run_id: str) -> bool:
    """Whether a person has asked a run to end."""
    with reading(run_tables(ws)) as connection:
        return bool(connection.scalar(select(RUNS.c.cancel_asked).where(RUNS.c.id == run_id)))


def ask_to_cancel(ws: Workspace, run_id: str) -> None:
    """Note that a person wants a run to end; its worker looks every second."""
    with updating(run_tables(ws)) as connection:
        connection.execute(update(RUNS).where(RUNS.c.id == run_id).values(cancel_asked=1))


def find_untidy(ws: Workspace, ended_before_s: float) -> list[Run]:
    """Runs that are over and whose leavings are there still: all but checkpoints kept for whoever resumes them."""
    old = and_(RUNS.c.tidy == HOLDS_GONE, RUNS.c.state.in_(states.RESUMABLE), RUNS.c.ended_s < ended_before_s)
    fresh = and_(RUNS.c.tidy == 0, RUNS.c.state.in_(states.OVER))
    with reading(run_tables(ws)) as connection:
        return [read_row(row) for row in connection.execute(select(RUNS).where(or_(fresh, old)))]


def note_tidy(ws: Workspace, run: Run, tidy: int) -> None:
    """Note that what a run left is put away."""
    with updating(run_tables(ws)) as connection:
        connection.execute(update(RUNS).where(RUNS.c.id == run.id, RUNS.c.turn == run.turn).values(tidy=tidy))


def find_lost(ws: Workspace, now_s: float) -> list[Run]:
    """Runs that somebody should be at and nobody is."""
    return [run for run in list_rows(ws, state=states.AT_WORK) if run.worker is not None and run.is_lost(now_s)]


def note_worker(ws: Workspace, worker: str, now_s: float) -> None:
    """Say that a worker is here, at a run or not; those not heard of any more are forgotten."""
    with updating(run_tables(ws)) as connection:
        put(connection, WORKERS, {"worker": worker, "beat_s": now_s})
        connection.execute(delete(WORKERS).where(WORKERS.c.beat_s < now_s - 10 * SILENCE_S))


def leave(ws: Workspace, worker: str) -> None:
    """Say that a worker goes."""
    with updating(run_tables(ws)) as connection:
        connection.execute(delete(WORKERS).where(WORKERS.c.worker == worker))


def has_worker(ws: Workspace, now_s: float) -> bool:
    """Whether somebody is here to take runs."""
    with reading(run_tables(ws)) as connection:
        rows = connection.execute(select(WORKERS)).all()
    return any(_is_alive(row.worker, row.beat_s, now_s) for row in rows)


def get_row(ws: Workspace, id_or_prefix: str) -> Run:
    """A run by its id or the beginning of it.

    Raises:
        NotFound: There is none.
        UsageError: Several begin so.
    """
    text = id_or_prefix.strip().lower()
    query = select(RUNS).where(RUNS.c.id.startswith(text, autoescape=True)).limit(2)
    with reading(run_tables(ws)) as connection:
        rows = connection.execute(query).all() if len(text) >= _LEAST_LETTERS else []
    if not rows:
        raise NotFound("runs.none", id=id_or_prefix[:40])
    if len(rows) > 1:
        raise UsageError("runs.ambiguous", id=id_or_prefix[:40])
    return read_row(rows[0])


def list_rows(
    ws: Workspace, *, state: Iterable[str] = (), party: str | None = None, limit: int | None = None
) -> list[Run]:
    """Runs, the latest first; with `party` only those it is the buyer or an owner of."""
    query = select(RUNS).order_by(RUNS.c.submitted_s.desc(), RUNS.c.id).limit(limit)
    if wanted := tuple(state):
        query = query.where(RUNS.c.state.in_(wanted))
    if party is not None:
        owned = RUNS.c.owner_ids.contains(f'"{party}"', autoescape=True)
        query = query.where(or_(RUNS.c.party_id == party, owned))
    with reading(run_tables(ws)) as connection:
        return [read_row(row) for row in connection.execute(query)]


def steps_of(ws: Workspace, run_id: str) -> list[StepRow]:
    """The history of a run, the oldest first."""
    with reading(run_tables(ws)) as connection:
        rows = connection.execute(select(STEPS).where(STEPS.c.run_id == run_id).order_by(STEPS.c.turn)).all()
    return [
        StepRow(row.action, row.state, row.who, row.at_s, reasons(row.why), reasons(row.told), row.note) for row in rows
    ]


def read_row(row: Row[Any]) -> Run:
    """A run from its row."""
    values = dict(row._mapping)
    return Run(**{**values, "owner_ids": load(values["owner_ids"])})


def _hold(connection: Connection, run: Run, worker: str, now_s: float) -> Run:
    held = replace(run, worker=worker, beat_s=now_s)
    mine = update(RUNS).where(RUNS.c.id == run.id, RUNS.c.turn == run.turn, RUNS.c.worker.is_(None))
    if not connection.execute(mine.values(worker=worker, beat_s=now_s)).rowcount:
        raise RetryLater("runs.busy", id=run.id[:12])
    return held


def _moved(run: Run, action: str, changes: Mapping[str, Any]) -> Run:
    state = states.after(run.state, action)
    given: dict[str, Any] = {"worker": run.worker, "ended_s": None, **changes}
    if state in states.OVER:
        given |= {"ended_s": time.time(), "worker": None}
    if state not in states.AT_WORK:
        given["worker"] = None
    return replace(run, state=state, turn=run.turn + 1, **given)


def _write(connection: Connection, before: Run, moved: Run) -> None:
    kept = ("id",) if moved.cancel_asked != before.cancel_asked else ("id", "cancel_asked")
    row = {name: getattr(moved, name) for name in Run.__dataclass_fields__ if name not in kept}
    row["owner_ids"] = dump(moved.owner_ids)
    mine = update(RUNS).where(RUNS.c.id == before.id, RUNS.c.turn == before.turn)
    if not connection.execute(mine.values(**row)).rowcount:
        raise RetryLater("runs.busy", id=before.id[:12])


def _note(
    connection: Connection,
    run: Run,
    action: str,
    who: str,
    at_s: float,
    why: Sequence[Reason] = (),
    told: Sequence[Reason] = (),
    note: str = "",
) -> None:
    row = {"run_id": run.id, "turn": run.turn, "action": action, "state": run.state, "who": who, "at_s": at_s}
    said = {"why": plain(why), "told": plain(told), "note": " ".join(note.split())[:500]}
    connection.execute(STEPS.insert().values(**row, **said))


def _last_starts(connection: Connection) -> dict[str, float]:
    query = select(RUNS.c.party_id, func.max(RUNS.c.started_s)).group_by(RUNS.c.party_id)
    return {row[0]: float(row[1] or 0.0) for row in connection.execute(query)}


def _is_alive(worker: str | None, beat_s: float | None, now_s: float) -> bool:
    """On this host the process itself is asked as well; a number given to another process does not count."""
    if worker is None or now_s - (beat_s or 0.0) > SILENCE_S:
        return False
    host, pid, ticks = worker.rsplit(":", 2)
    return host != socket.gethostname() or str(started_ticks(int(pid))) == ticks


def plain(said: Sequence[Reason]) -> list[list[Any]]:
    """Reasons as JSON."""
    found: list[list[Any]] = json.loads(json.dumps([[one.code, dict(one.values)] for one in said], default=str))
    return found


def reasons(said: Sequence[Sequence[Any]]) -> tuple[Reason, ...]:
    """Reasons from JSON."""
    return tuple(Reason(code, tuple(values.items())) for code, values in said)
