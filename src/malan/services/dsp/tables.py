"""Where processes, agreements, offers, messages and what is to be sent are kept.

    dsp_processes ─ one row a negotiation or transfer, ours by `pid`     dsp_messages ─ the bytes, as evidence
    dsp_outbox    ─ what is to be sent, at most one message a turn       dsp_offers, dsp_agreements, dsp_tokens

No statement here is of one database's dialect. Start at `Process`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Row,
    String,
    Table,
    Text,
    insert,
    select,
    update,
)

from malan.core.uuid7 import uuid7
from malan.services.dsp import words
from malan.services.dsp.errors import NotYours
from malan.services.dsp.words import MACHINES, Machine

LARGEST_REFUSED_BYTES = 4_096

metadata = MetaData()

processes = Table(
    "dsp_processes",
    metadata,
    Column("pid", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("role", String(16), nullable=False),  # ours
    Column("party", String(500), nullable=False),  # the participant across the table
    Column("peer_pid", String(500)),  # their id; not known before their first answer
    Column("state", String(16), nullable=False),
    Column("turn", Integer, nullable=False),  # rises with every transition
    Column("address", Text, nullable=False),  # where messages to them go
    Column("subject", String(500), nullable=False),  # dataset of a negotiation, agreement of a transfer
    Column("details", Text, nullable=False),  # JSON
    Column("opened", String(40), nullable=False),
    Column("changed", String(40), nullable=False),
    Index("dsp_processes_by_peer", "party", "kind", "role", "peer_pid", unique=True),
    Index("dsp_processes_by_subject", "kind", "subject"),
)

messages = Table(
    "dsp_messages",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("pid", String(64), nullable=False, index=True),
    Column("direction", String(4), nullable=False),  # in, out
    Column("type", String(80), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("body", LargeBinary, nullable=False),  # of a refused message, the beginning
    Column("outcome", String(80), nullable=False),  # the state it led to, or the code of the refusal
    Column("time", String(40), nullable=False),
)

outbox = Table(
    "dsp_outbox",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("pid", String(64), nullable=False),
    Column("turn", Integer, nullable=False),
    Column("type", String(80), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("party", String(500), nullable=False),
    Column("url", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("status", String(10), nullable=False),  # waiting, sent, failed
    Column("tries", Integer, nullable=False),
    Column("due", Float, nullable=False),  # seconds since 1970; claimed by moving it into the future
    Column("detail", Text, nullable=False),
    Index("dsp_outbox_once", "pid", "turn", "type", "sha256", unique=True),
    Index("dsp_outbox_due", "status", "due"),
)

offers = Table(
    "dsp_offers",
    metadata,
    Column("offer_id", String(500), primary_key=True),
    Column("dataset_id", String(500), nullable=False, index=True),
    Column("title", Text, nullable=False),
    Column("snapshot_id", String(64)),
    Column("policy", Text, nullable=False),  # JSON, with target
    Column("formats", Text, nullable=False),  # JSON list
    Column("manner", String(10), nullable=False),  # automatic, by_hand
    Column("party", String(500)),  # None: for everybody
    Column("withdrawn", String(40)),
    Column("offered", String(40), nullable=False),
)

agreements = Table(
    "dsp_agreements",
    metadata,
    Column("id", String(500), primary_key=True),
    Column("role", String(16), primary_key=True),  # ours
    Column("party", String(500), primary_key=True),
    Column("dataset_id", String(500), nullable=False),
    Column("policy", Text, nullable=False),  # JSON: the agreement as signed
    Column("negotiation", String(64)),
    Column("finalized", String(40)),  # None: agreed, not yet final
    Column("grant_id", String(200)),
    Column("ended", String(40)),
)

tokens = Table(
    "dsp_tokens",
    metadata,
    Column("issuer", String(500), primary_key=True),
    Column("jti", String(200), primary_key=True),
    Column("expires", Integer, nullable=False),
)


@dataclass(frozen=True)
class Process:
    """A negotiation or a transfer as it stands. Frozen: a transition returns a changed copy and writes it."""

    pid: str
    kind: str
    role: str
    party: str
    peer_pid: str
    state: str
    turn: int
    address: str
    subject: str
    details: Mapping[str, Any] = field(default_factory=dict)
    opened: str = ""
    changed: str = ""

    @property
    def machine(self) -> Machine:
        return MACHINES[self.kind]

    @property
    def is_over(self) -> bool:
        return self.state in self.machine.final

    @property
    def consumer_pid(self) -> str:
        return self.pid if self.role == words.CONSUMER else self.peer_pid

    @property
    def provider_pid(self) -> str:
        return self.pid if self.role == words.PROVIDER else self.peer_pid

    def moved(self, state: str, **details: Any) -> Process:
        """A copy in the next state, with more known of it."""
        return replace(self, state=state, turn=self.turn + 1, details={**self.details, **details}, changed=now())

    def noted(self, **details: Any) -> Process:
        """A copy in the same state, with more known of it."""
        return replace(self, details={**self.details, **details})

    def with_peer(self, pid: str) -> Process:
        """A copy, with the other side's id."""
        return replace(self, peer_pid=pid)


def new_process(kind: str, role: str, party: str, address: str, subject: str, state: str, **more: Any) -> Process:
    """A process that begins now, under a new id of ours."""
    peer_pid, at = more.pop("peer_pid", ""), now()
    return Process(f"urn:uuid:{uuid7()}", kind, role, party, peer_pid, state, 1, address, subject, more, at, at)


def add_process(connection: Connection, process: Process) -> None:
    """Write a new process."""
    connection.execute(insert(processes).values(**_row(process)))


def save_process(connection: Connection, process: Process) -> None:
    """Write what changed of a process whose row is locked."""
    row = _row(process)
    connection.execute(update(processes).where(processes.c.pid == row.pop("pid")).values(**row))


def lock_process(connection: Connection, kind: str, pid: str, party: str | None = None) -> Process:
    """A process, its row locked until the transaction ends.

    Raises:
        NotYours: There is none of this kind and id, or it is with somebody else than `party`.
    """
    found = connection.execute(select(processes).where(processes.c.pid == pid).with_for_update()).one_or_none()
    return _checked(found, kind, pid, party)


def read_process(connection: Connection, kind: str, pid: str, party: str | None = None) -> Process:
    """A process as it stands.

    Raises:
        NotYours: See `lock_process`.
    """
    found = connection.execute(select(processes).where(processes.c.pid == pid)).one_or_none()
    return _checked(found, kind, pid, party)


def find_by_peer(connection: Connection, kind: str, role: str, party: str, peer_pid: str) -> Process | None:
    """The process that a party calls `peer_pid`."""
    where = (processes.c.kind == kind, processes.c.role == role, processes.c.party == party)
    row = connection.execute(select(processes).where(*where, processes.c.peer_pid == peer_pid)).one_or_none()
    return _process(row) if row else None


def keep_message(
    connection: Connection, pid: str, direction: str, kind: str, digest: str, body: bytes, out: str
) -> None:
    """Keep the bytes of a message as evidence, with what came of it."""
    row = {"pid": pid, "direction": direction, "type": kind, "sha256": digest, "body": body}
    connection.execute(insert(messages).values(**row, outcome=out, time=now()))


def now() -> str:
    """Now in UTC, as it stands in records."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def load(text: str) -> Any:
    return json.loads(text)


def dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _checked(row: Row[Any] | None, kind: str, pid: str, party: str | None) -> Process:
    if row is None or row.kind != kind or (party is not None and row.party != party):
        raise NotYours("exchange.no_process", pid=pid[:100])
    return _process(row)


def _process(row: Row[Any]) -> Process:
    said = dict(row._mapping)
    return Process(**{**said, "peer_pid": said["peer_pid"] or "", "details": load(said["details"])})


def _row(process: Process) -> dict[str, Any]:
    said = {name: getattr(process, name) for name in Process.__dataclass_fields__}
    return {**said, "peer_pid": process.peer_pid or None, "details": dump(dict(process.details))}
