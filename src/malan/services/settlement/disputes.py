"""Objecting to a statement: what it gives a right holder stays held back until the operator has decided.

    dispute ─▶ open ─ decide_dispute ─┬─▶ rejected   the money becomes due in its time
                                      └─▶ upheld     the statement is reversed, the period can be settled anew

Both write to the ledger. Start at `dispute`.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from sqlalchemy import Connection, func, select

from malan.core.errors import NotFound, Rejected, UsageError
from malan.rights.ledgerbook import reverse, takers
from malan.runtime.database import writing
from malan.services.access import HOUSE, Caller, require
from malan.services.journal import Fact, record
from malan.services.settlement.charges import settlement_tables
from malan.services.settlement.metering import now_us
from malan.services.settlement.statements import Settled, get_statement, live_rows, subject_of
from malan.services.settlement.tables import DISPUTES, PARTS, REVERSALS

if TYPE_CHECKING:
    from malan.workspace import Workspace


_LONGEST_REASON = 2_000


def dispute(
    ws: Workspace,
    id_or_prefix: str,
    party_id: str,
    reason: str,
    *,
    at_us: int | None = None,
    caller: Caller = HOUSE,
) -> Settled:
    """Have a right holder object: what the statement gives that party stays held back until it is decided.

    Raises:
        NotGranted: The caller is somebody else, and no operator.
        NotFound: There is no such statement, or the party is not in it.
        Rejected: The holdback is over, or the statement was reversed.
        UsageError: A reason that is empty, too long, or no text.
    """
    require(caller, "dispute", owner_id=party_id)
    reason = _checked_reason(reason)
    statement, now = get_statement(ws, id_or_prefix), now_us() if at_us is None else at_us
    _check_open(statement, now)
    with writing(settlement_tables(ws), durable=True) as connection:
        mine = (PARTS.c.statement_id == statement.id, PARTS.c.party_id == party_id)
        if not connection.scalar(select(func.count()).select_from(PARTS).where(*mine)):
            raise NotFound("settle.not_in_it", party=party_id[:12], id=statement.id[:12])
        number = connection.scalar(select(func.count()).where(DISPUTES.c.statement_id == statement.id)) or 0
        row = {"statement_id": statement.id, "number": number, "party_id": party_id, "reason": reason}
        connection.execute(DISPUTES.insert().values(**row, state="open", opened_us=now))
    return _stated(ws, statement.id)


def decide_dispute(
    ws: Workspace, id_or_prefix: str, *, uphold: bool, at_us: int | None = None, caller: Caller = HOUSE
) -> Settled:
    """Decide all open disputes of a statement. Upheld: it is reversed, and the period can be settled anew.

    Raises:
        NotFound: None is open.
        Rejected: Upheld, but money of it was released already, or a later month is settled.
    """
    require(caller, "settle")
    statement, now = get_statement(ws, id_or_prefix), now_us() if at_us is None else at_us
    state = "upheld" if uphold else "rejected"
    with writing(settlement_tables(ws), durable=True) as connection:
        is_open = (DISPUTES.c.statement_id == statement.id, DISPUTES.c.state == "open")
        numbers = list(connection.scalars(select(DISPUTES.c.number).where(*is_open)))
        if not numbers:
            raise NotFound("settle.no_dispute", id=statement.id[:12])
        if uphold:
            _reverse(connection, statement, now)
        connection.execute(DISPUTES.update().where(*is_open).values(state=state))
    return _stated(ws, statement.id)


def _reverse(connection: Connection, statement: Settled, now: int) -> None:
    if takers(connection, "release", statement.id):
        raise Rejected("settle.released", id=statement.id[:12])
    last = max(row.period for row in live_rows(connection))
    if last > statement.period:  # which stands on where this one stopped
        raise Rejected("settle.not_last", period=statement.period, later=last)
    reverse(connection, f"settle:{statement.id}", now)
    connection.execute(REVERSALS.insert().values(statement_id=statement.id, at_us=now))


def _check_open(statement: Settled, now: int) -> None:
    if statement.state == "reversed":
        raise Rejected("settle.reversed", id=statement.id[:12])
    if statement.due_us <= now:
        raise Rejected("settle.released", id=statement.id[:12])


def _stated(ws: Workspace, statement_id: str) -> Settled:
    """Say in the ledger what became of a statement, also what a kill left unsaid; the statement as it stands."""
    statement, subject, facts = get_statement(ws, statement_id), subject_of(statement_id), []
    for one in statement.disputes:
        private = {"party": one["party_id"], "reason": one["reason"]}
        for state in dict.fromkeys(("open", one["state"])):
            said = {"number": one["number"], "state": state}
            told = private if state == "open" else {}
            facts.append(Fact("settle.dispute", (subject,), "settle.dispute", facts=said, private=told))
    if statement.state == "reversed":
        period = {"period": statement.period}
        facts.append(Fact("settle.reverse", (subject,), "settle.reverse", facts=period))
    record(ws, facts)
    return statement


def _checked_reason(reason: str) -> str:
    plain = unicodedata.normalize("NFC", reason).strip() if isinstance(reason, str) else ""
    is_text = all(letter.isprintable() or letter == "\n" for letter in plain)
    if not 0 < len(plain) <= _LONGEST_REASON or not is_text:
        raise UsageError("settle.bad_reason", most=_LONGEST_REASON)
    return plain
