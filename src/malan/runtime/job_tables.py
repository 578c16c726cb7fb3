"""The tables of jobs, and a job and an item as rows of them.

Start reading at `JobRow`; what is done with them is in `jobs.py`.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, Float, ForeignKey, Index, Integer, MetaData, RowMapping, String, Table

from malan.runtime.limits import started_ticks

QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"
WAITING = "waiting"  # an item nobody has finished
_SILENCE_S = 120.0  # after this a job of another host counts as dead

METADATA = MetaData()
JOBS = Table(
    "jobs",
    METADATA,
    Column("id", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("spec", JSON, nullable=False),
    Column("spec_digest", String, nullable=False),
    Column("state", String, nullable=False),
    Column("created_s", Float, nullable=False),
    Column("started_s", Float),
    Column("ended_s", Float),
    Column("beat_s", Float),
    Column("host", String),
    Column("pid", Integer),
    Column("pid_started", BigInteger),
    Column("cancel_asked", Integer, nullable=False, default=0),
    Column("total", Integer, nullable=False, default=0),
    Column("done", Integer, nullable=False, default=0),
    Column("failed", Integer, nullable=False, default=0),
    Column("current", String, nullable=False, default=""),
    Column("code", String),
    Column("values", JSON),
    Index("jobs_by_state", "state"),
    Index("jobs_by_time", "created_s"),
)
ITEMS = Table(
    "job_items",
    METADATA,
    Column("job_id", ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("key", String, primary_key=True),
    Column("position", Integer, nullable=False),
    Column("state", String, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("code", String),
    Column("values", JSON),
    Column("updated_s", Float),
    Index("items_by_position", "job_id", "position"),
)


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job as it stands. `state` is queued, running, done, failed or cancelled; times are seconds since 1970, UTC."""

    id: str
    kind: str
    spec: Mapping[str, Any]
    state: str
    created_s: float
    started_s: float | None = None
    ended_s: float | None = None
    beat_s: float | None = None
    host: str | None = None
    pid: int | None = None
    is_alive: bool = False  # running, and its process is there
    is_cancelling: bool = False
    total: int = 0
    done: int = 0
    failed: int = 0
    current: str = ""
    code: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_stopped(self) -> bool:
        """It was running and its process is gone: it can be taken up where it stands."""
        return self.state == RUNNING and not self.is_alive

    @property
    def can_go_on(self) -> bool:
        return self.state == QUEUED or self.is_stopped

    def remaining_s(self, now_s: float) -> float | None:
        """Seconds it will still take at the pace so far; None before anything is done."""
        ended = self.done + self.failed
        if not self.is_alive or not ended or self.started_s is None:
            return None
        return max(0.0, (now_s - self.started_s) / ended * (self.total - ended))


@dataclass(frozen=True, slots=True)
class ItemRow:
    """One item of a job: waiting, done or failed, with the error that ended it."""

    key: str
    state: str
    attempts: int = 0
    code: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    updated_s: float | None = None


def job_row(row: RowMapping) -> JobRow:
    given = {name: row[name] for name in JobRow.__dataclass_fields__ if name in row}
    return JobRow(
        **{**given, "values": row["values"] or {}},
        is_alive=row["state"] == RUNNING and _is_alive(row),
        is_cancelling=row["state"] == RUNNING and bool(row["cancel_asked"]),
    )


def item_row(row: RowMapping) -> ItemRow:
    given = {name: row[name] for name in ItemRow.__dataclass_fields__}
    return ItemRow(**{**given, "values": row["values"] or {}})


def _is_alive(row: RowMapping) -> bool:
    """On this host the process itself is asked; a pid that was given to another process does not count."""
    if row["host"] == socket.gethostname():
        return row["pid"] is not None and started_ticks(row["pid"]) == row["pid_started"]
    return time.time() - (row["beat_s"] or 0) < _SILENCE_S
