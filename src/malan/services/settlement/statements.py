"""Statements as they stand: which there are and in which state, who gets what of each, and what is in the book.

A party sees the statements that pay it, and of each its own rows. What makes a statement is in `periods`, objecting to
one in `disputes`. Start at `list_statements`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select

from malan.core.errors import NotFound, UsageError
from malan.ledger.statement import Subject, urn
from malan.rights.ledgerbook import balances, takers
from malan.runtime.database import reading
from malan.services.access import ALL, HOUSE, Caller, require, scope
from malan.services.settlement.charges import settlement_tables
from malan.services.settlement.tables import DISPUTES, PARTS, REVERSALS, STATEMENTS

if TYPE_CHECKING:
    from malan.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Settled:
    """A statement as it stands. `state` is draft, held (within the holdback), due, or reversed."""

    id: str
    period: str
    body: Mapping[str, Any]
    state: str
    due_us: int
    disputes: tuple[Mapping[str, Any], ...] = ()


def list_statements(ws: Workspace, *, caller: Caller = HOUSE) -> list[Settled]:
    """The statements that pay the caller (to operators and auditors, all), the oldest period first; of one period, the
    one that stands last."""
    if scope(caller, "statements") != ALL:
        require(caller, "statements", owner_id=caller.party_id)
        return [one for one in list_statements(ws) if caller.party_id in _paid(ws, one)]
    with reading(settlement_tables(ws)) as connection:
        rows = connection.execute(select(STATEMENTS).order_by(STATEMENTS.c.period, STATEMENTS.c.made_us)).all()
        return [settled_of(connection, row) for row in rows]


def get_statement(ws: Workspace, id_or_prefix: str, *, caller: Caller = HOUSE) -> Settled:
    """One statement by its id, the beginning of it, or its period.

    Raises:
        NotFound: There is none.
        UsageError: Several begin so.
    """
    text = id_or_prefix.strip().lower()
    listed = list_statements(ws, caller=caller)
    found = [one for one in listed if one.period == text and one.state != "reversed"]
    found = found or [one for one in listed if text and one.id.startswith(text)]
    if not found:
        raise NotFound("settle.unknown", id=id_or_prefix[:64])
    if len(found) > 1:
        raise UsageError("settle.ambiguous", id=id_or_prefix[:64])
    return found[0]


def tables_of(ws: Workspace, statement: Settled, *, caller: Caller = HOUSE) -> list[list[tuple[str, str, int]]]:
    """For each line of a statement who gets what: party, weight, amount; to a party, what itself gets."""
    if scope(caller, "statements") != ALL:
        require(caller, "statements", owner_id=caller.party_id)
        return [[row for row in table if row[0] == caller.party_id] for table in tables_of(ws, statement)]
    tables: list[list[tuple[str, str, int]]] = [[] for _ in statement.body["lines"]]
    query = select(PARTS.c.line, PARTS.c.party_id, PARTS.c.weight, PARTS.c.amount_minor)
    with reading(settlement_tables(ws)) as connection:
        for line, *row in connection.execute(query.where(PARTS.c.statement_id == statement.id)):
            tables[line].append((row[0], row[1], row[2]))
    return [sorted(table) for table in tables]


def _paid(ws: Workspace, statement: Settled) -> set[str]:
    """Who is in a statement."""
    return {party_id for table in tables_of(ws, statement) for party_id, _, _ in table}


def amounts_of_party(ws: Workspace, party_id: str, *, caller: Caller = HOUSE) -> dict[str, dict[str, int]]:
    """What a party has standing in the book, by currency: held back, and due."""
    require(caller, "statements", owner_id=party_id)
    with reading(settlement_tables(ws)) as connection:
        return {
            name: {
                currency: amount
                for (account, currency), amount in balances(connection, f"{name}:{party_id}").items()
                if account == f"{name}:{party_id}"
            }
            for name in ("held", "due")
        }


def live_rows(connection: Connection) -> Sequence[Any]:
    """Statements that were not reversed, by period."""
    undone = select(REVERSALS.c.statement_id)
    return connection.execute(
        select(STATEMENTS).where(STATEMENTS.c.id.not_in(undone)).order_by(STATEMENTS.c.period)
    ).all()


def settled_of(connection: Connection, row: Any) -> Settled:
    """A row of `STATEMENTS` with its disputes, in the state that the book gives it."""
    undone = connection.scalar(select(REVERSALS.c.at_us).where(REVERSALS.c.statement_id == row.id))
    disputes = select(DISPUTES).where(DISPUTES.c.statement_id == row.id).order_by(DISPUTES.c.number)
    told = tuple(dict(one) for one in connection.execute(disputes).mappings())
    state = "reversed" if undone is not None else "due" if takers(connection, "release", row.id) else "held"
    return Settled(row.id, row.period, json.loads(row.body), state, row.due_us, told)


def subject_of(statement_id: str) -> Subject:
    """How the ledger names a statement."""
    return Subject(urn("statement", statement_id), statement_id)
