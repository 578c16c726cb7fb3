"""What people found, kept where nothing else can make it again: in the database, beside the library.

    a person's finding ─▶ database (the truth, for good) ─▶ library (for searching; may be thrown away and built anew)

Taken back, a finding leaves the library and stays here: a snapshot frozen before still means what it meant. Which
findings people make is not decided here. Start reading at `keep_findings` and `bring_back`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    Index,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    Text,
    func,
    select,
    update,
)

from malan.core import Clip, Finding
from malan.core.merkle import leaf_hash, merkle_root
from malan.ledger.statement import Subject, urn
from malan.runtime.database import add_new, ensure_tables, reading, writing
from malan.services.journal import Fact, record

if TYPE_CHECKING:
    from malan.workspace import Workspace

_AT_ONCE = 400
_metadata = MetaData()
_findings = Table(
    "people_findings",
    _metadata,
    Column("id", String(64), primary_key=True),
    Column("asset_id", String(64), nullable=False),
    Column("clip", Text, nullable=False),  # JSON, as in manifests
    Column("kind", String(120), nullable=False),
    Column("producer", String(80), nullable=False),
    Column("version", String(80), nullable=False),
    Column("value", Text, nullable=False),  # JSON
    Column("author", String(80), nullable=False),
    Column("reason", Text),
    Column("made", String(40), nullable=False),
    Column("gone", String(40)),  # when it was taken back
    Column("turn", Integer, nullable=False),  # how often it was taken back or given again
    Index("people_findings_by_kind", "kind"),
)


@dataclass(frozen=True, slots=True)
class Kept:
    """A finding by a person, and when it was made and taken back."""

    finding: Finding
    made: str
    gone: str | None


def keep_findings(ws: Workspace, findings: Sequence[Finding]) -> None:
    """Keep findings of people for good, bring them into the library and state in the log how many there are.

    Running it twice changes nothing; what was taken back is there again.
    """
    unique = {finding.id: finding for finding in findings}
    if not unique:
        return
    with writing(_engine(ws), durable=True) as connection:
        add_new(connection, _findings, [_row(finding) for finding in unique.values()])
        number = _turned(connection, list(unique), _findings.c.gone.is_not(None), None)
    ws.library.add_findings(list(unique.values()))
    _state(ws, "annot.add", list(unique), {"findings": len(unique), "number": number})


def take_back(ws: Workspace, findings: Sequence[Finding]) -> None:
    """Take findings of people back: searches and later snapshots are without them, snapshots frozen before are not."""
    unique = {finding.id: finding for finding in findings}
    if not unique:
        return
    with writing(_engine(ws), durable=True) as connection:
        number = _turned(connection, list(unique), _findings.c.gone.is_(None), _now())
    ws.library.remove_findings(list(unique.values()))
    _state(ws, "annot.review", list(unique), {"accepted": 0, "rejected": len(unique), "number": number})


def bring_back(ws: Workspace) -> int:
    """Put into the library what people found and it has not: after it was thrown away and is built anew. How many."""
    with reading(_engine(ws)) as connection:
        rows = connection.execute(select(_findings).where(_findings.c.gone.is_(None))).all()
    if not rows:
        return 0
    assets = ws.library.assets_by_id({row.asset_id for row in rows})
    there = ws.library.finding_ids(row.id for row in rows)
    missing = [_finding(row) for row in rows if row.asset_id in assets and row.id not in there]
    if missing:
        ws.library.add_findings(missing)
    return len(missing)


def kept_findings(ws: Workspace, kind: str, ids: Iterable[str] | None = None) -> list[Kept]:
    """Findings of people of one kind, the oldest first: those in force, or exactly those of the `ids`, also if taken
    back since."""
    wanted = None if ids is None else set(ids)
    where = [_findings.c.kind == kind, *([] if wanted is not None else [_findings.c.gone.is_(None)])]
    with reading(_engine(ws)) as connection:
        rows = connection.execute(select(_findings).where(*where).order_by(_findings.c.made, _findings.c.id)).all()
    return [Kept(_finding(row), row.made, row.gone) for row in rows if wanted is None or row.id in wanted]


def kinds_kept(ws: Workspace) -> list[str]:
    """The kinds of findings that people made and that are in force, sorted."""
    with reading(_engine(ws)) as connection:
        return sorted(connection.scalars(select(_findings.c.kind).where(_findings.c.gone.is_(None)).distinct()))


def _turned(connection: Connection, ids: Sequence[str], those: ColumnElement[bool], gone: str | None) -> int:
    """Take back or give again those it is true of; how often that happened to all of the `ids` so far."""
    total = 0
    for part in _parts(ids):
        mine = _findings.c.id.in_(part)
        connection.execute(update(_findings).where(mine, those).values(gone=gone, turn=_findings.c.turn + 1))
        total += int(connection.scalar(select(func.coalesce(func.sum(_findings.c.turn), 0)).where(mine)) or 0)
    return total


def _state(ws: Workspace, kind: str, ids: Sequence[str], facts: dict[str, int]) -> None:
    """Digests only: who labelled what stays here. The number tells a new turn from the same thing said twice."""
    root = merkle_root([leaf_hash(bytes.fromhex(one)) for one in sorted(ids)]).hex()
    record(ws, [Fact(kind, (Subject(urn("findings", root), root),), kind, facts=facts)])


def _row(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.id,
        "asset_id": finding.clip.asset_id,
        "clip": json.dumps(finding.clip.to_value()),
        "kind": finding.kind,
        "producer": finding.producer,
        "version": finding.version,
        "value": json.dumps(dict(finding.value), ensure_ascii=False, sort_keys=True),
        "author": finding.author,
        "reason": finding.reason,
        "made": _now(),
        "turn": 0,
    }


def _finding(row: Row[Any]) -> Finding:
    clip, value = Clip.from_value(json.loads(row.clip)), json.loads(row.value)
    return Finding(clip, row.kind, row.producer, row.version, value, None, row.author, row.reason)


def _parts(ids: Iterable[str]) -> Iterator[list[str]]:
    listed = list(ids)
    for begin in range(0, len(listed), _AT_ONCE):
        yield listed[begin : begin + _AT_ONCE]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _engine(ws: Workspace) -> Engine:
    ensure_tables(ws.database, _metadata)
    return ws.database
