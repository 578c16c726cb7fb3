"""Settling a period: what was charged is divided by what was used, written into the book, and stated in the ledger.

    seal usage ─▶ read its pages, checked ─▶ lines ─▶ one transaction: statement, parts, postings ─▶ settle.compute

Every row of usage counts in exactly one period: its own, or the next when it came in after its own was settled. Money
is held back for some days, in which a right holder may dispute it (`disputes`); then it becomes due. What stands is in
`statements`. Start at `settle_period`.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, func, select

from malan.core.canonical import canonical_json
from malan.core.errors import ProofError, Rejected, RetryLater, UsageError
from malan.core.ids import digest_record
from malan.ledger.statement import Input, urn
from malan.rights.holders import Holders
from malan.rights.ledgerbook import Posting, post, takers
from malan.rights.shares import Fee, fraction_text
from malan.rights.statement import BY_WORK, METHOD, Charge, Line, compute_line, statement_digest
from malan.rights.usage import MICROSECONDS
from malan.runtime.database import reading, shown_place, writing
from malan.services.access import HOUSE, Caller, require
from malan.services.journal import Fact, record
from malan.services.settlement.charges import charge_outputs, keep_charge, settlement_tables
from malan.services.settlement.metering import now_us
from malan.services.settlement.statements import Settled, list_statements, live_rows, settled_of, subject_of
from malan.services.settlement.tables import CHARGES, DISPUTES, LINES, PARTS, PRICES, REVERSALS, STATEMENTS
from malan.services.settlement.usage import Span, Sums, UsageRead, by_grant, read_usage

if TYPE_CHECKING:
    from malan.workspace import Workspace

HOLDBACK_DAYS = 30
_DAY_US = 86_400 * MICROSECONDS
_PERIOD = re.compile(r"(20\d\d)-(0[1-9]|1[0-2])")


def settle_period(
    ws: Workspace,
    period: str,
    fees: Sequence[Fee] = (),
    *,
    holdback_days: int = HOLDBACK_DAYS,
    draft: bool = False,
    at_us: int | None = None,
    caller: Caller = HOUSE,
) -> Settled:
    """Divide all that was charged up to the end of a month; settled again under the same rules, nothing changes.

    A charge under which nothing has been used yet waits for the period in which something is.

    Args:
        period: A month in UTC, `2026-11`.
        fees: What is taken from the gross first, each rounded down.
        holdback_days: How long what is owed to right holders can be disputed.
        draft: Compute and show; nothing is written to the book. The month need not be over.
        at_us: The time; now, unless said otherwise.
        caller: Who settles.

    Raises:
        NotGranted: The caller may not settle.
        UsageError: No such month, an impossible fee or holdback.
        Rejected: The month is not over, or it or a later one is settled already, under other rules.
        ProofError: Usage is not what the ledger holds; nothing is settled.
    """
    require(caller, "settle")
    until_us, now = period_end_us(period), now_us() if at_us is None else at_us
    if type(holdback_days) is not int or not 0 <= holdback_days <= 366:
        raise UsageError("settle.bad_holdback", days=str(holdback_days)[:20])
    if until_us > now and not draft:
        raise Rejected("settle.period_open", period=period)
    engine = settlement_tables(ws)
    if not draft and (stands := _standing(engine, period, fees, holdback_days)):
        _state(ws, stands.id, stands.body)
        return stands
    before = _before(engine, period)
    charge_outputs(ws)
    charges, prices, earlier = _to_divide(engine, period, until_us)
    works = {charge.about for charge in charges if charge.kind in BY_WORK}
    used = read_usage(ws, Span(before.since_us, before.after_page, until_us), works)
    charges += _priced(prices, used.sums, f"usage:{period}:{earlier}", until_us)
    lines = _lines(ws, charges, fees, used.sums)
    body = _body(period, fees, holdback_days, before, until_us, used, lines)
    if draft:
        return Settled(statement_digest(body), period, body, "draft", 0)
    settled = _keep(engine, body, lines, now) or _standing(engine, period, fees, holdback_days)
    if settled is None:  # another settled the month, and it was reversed, while this was computed
        raise RetryLater("database.busy", path=shown_place(engine))
    _state(ws, settled.id, settled.body)
    return settled


def release_due(ws: Workspace, *, at_us: int | None = None, caller: Caller = HOUSE) -> int:
    """Make due what is past its holdback and not disputed; to how many accounts. Running it twice does no harm."""
    require(caller, "settle")
    engine, now, count = settlement_tables(ws), now_us() if at_us is None else at_us, 0
    for statement in list_statements(ws):
        is_through = statement.state == "reversed" or (statement.state == "due" and not statement.disputes)
        if not is_through and statement.due_us <= now:
            with writing(engine, durable=True) as connection:
                count += _release(connection, statement.id, now)
    return count


def period_end_us(period: str) -> int:
    """The moment after a month, `2026-11`, in microseconds since 1970, UTC.

    Raises:
        UsageError: It is not a month.
    """
    match = _PERIOD.fullmatch(period) if isinstance(period, str) else None
    if match is None:
        raise UsageError("settle.bad_period", period=str(period)[:20])
    year, month = int(match[1]), int(match[2])
    after = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    return int(after.timestamp()) * MICROSECONDS


def _standing(engine: Engine, period: str, fees: Sequence[Fee], holdback_days: int) -> Settled | None:
    """The statement of a period that stands, when it was made under these rules."""
    with reading(engine) as connection:
        for row in live_rows(connection):
            settled = settled_of(connection, row)
            if settled.period > period:
                raise Rejected("settle.out_of_order", period=period, later=settled.period)
            if settled.period == period:
                rules = (settled.body["fees"], settled.body["holdback_days"])
                if rules != (_fees_json(fees), holdback_days):
                    raise Rejected("settle.already", period=period, id=settled.id[:12])
                return settled
    return None


def _before(engine: Engine, period: str) -> Span:
    """Where the statement before this period stopped."""
    with reading(engine) as connection:
        earlier = [row for row in live_rows(connection) if row.period < period]
    if not earlier:
        return Span()
    usage = json.loads(earlier[-1].body)["usage"]
    return Span(usage["until_us"], usage["last_page"])


def _to_divide(engine: Engine, period: str, until_us: int) -> tuple[list[Charge], list[Any], int]:
    """Charges that wait, prices by use, and how many statements the period has had."""
    with reading(engine) as connection:
        prices = list(connection.execute(select(PRICES).order_by(PRICES.c.grant_id)).all())
        return _waiting(connection, until_us), prices, _how_many(connection, period)


def _lines(ws: Workspace, charges: Iterable[Charge], fees: Sequence[Fee], used: Sums) -> list[Line]:
    """Every charge for which something was used, divided."""
    sets = Holders(ws.database).read({one for sums in used.values() for one in sums})
    for holders_id in {one for sums in used.values() for one in sums}:
        if holders_id not in sets:
            raise ProofError("settle.wrong", where=f"holders.{holders_id[:12]}")
    lines = []
    for charge in sorted(charges, key=lambda one: one.id):
        basis = used.get(charge.about if charge.kind in BY_WORK else by_grant(charge.grant_id))
        if basis:
            lines.append(compute_line(charge, fees, basis, sets))
    return lines


def _waiting(connection: Connection, until_us: int) -> list[Charge]:
    """Charges that fell due before a moment and are in no statement that stands. Those by use are made anew."""
    settled = select(LINES.c.charge_id).where(LINES.c.statement_id.not_in(select(REVERSALS.c.statement_id)))
    where = (CHARGES.c.at_us < until_us, CHARGES.c.kind != "usage", CHARGES.c.id.not_in(settled))
    query = select(CHARGES).where(*where).order_by(CHARGES.c.id)
    return [Charge(**row) for row in connection.execute(query).mappings()]


def _priced(prices: Iterable[Any], used: Sums, key: str, until_us: int) -> list[Charge]:
    """The charges that follow from prices by use, rounded down once."""
    made = []
    for price in prices:
        if gross := sum(used.get(by_grant(price.grant_id), {}).values()) * price.minor // price.per_us:
            charge_id = digest_record("charge", [price.grant_id, key])
            made.append(Charge(charge_id, price.grant_id, "usage", "", gross, price.currency, until_us - 1))
    return made


def _how_many(connection: Connection, period: str) -> int:
    """Statements a period has had, reversed ones among them."""
    return int(
        connection.scalar(select(func.count()).select_from(STATEMENTS).where(STATEMENTS.c.period == period)) or 0
    )


def _fees_json(fees: Sequence[Fee]) -> list[list[str]]:
    return [[fee.name, fraction_text(fee.rate)] for fee in sorted(fees, key=lambda one: one.name)]


def _body(
    period: str,
    fees: Sequence[Fee],
    holdback_days: int,
    before: Span,
    until_us: int,
    used: UsageRead,
    lines: Sequence[Line],
) -> dict[str, Any]:
    return {
        "method": METHOD,
        "period": period,
        "fees": _fees_json(fees),
        "holdback_days": holdback_days,
        "usage": {
            "since_us": before.since_us,
            "after_page": before.after_page,
            "until_us": until_us,
            "last_page": used.last_page,
            "pages": [[number, digest] for number, digest in used.pages],
        },
        "lines": [line.to_json() for line in lines],
    }


def _keep(engine: Engine, body: Mapping[str, Any], lines: Sequence[Line], now: int) -> Settled | None:
    """Statement, parts, charges and postings, in one transaction. None: another process settled meanwhile."""
    period = str(body["period"])
    due_us = now + int(body["holdback_days"]) * _DAY_US
    with writing(engine, durable=True) as connection:
        if any(row.period >= period for row in live_rows(connection)):
            return None
        again = _how_many(connection, period)
        body = {**body, "correction": again} if again else body
        statement_id = statement_digest(body)
        head = {"id": statement_id, "period": period, "body": canonical_json(dict(body)).decode()}
        connection.execute(STATEMENTS.insert().values(**head, made_us=now, due_us=due_us))
        for line in lines:
            keep_charge(connection, line.charge, period)
        _keep_parts(connection, statement_id, lines)
        post(connection, f"settle:{statement_id}", "settle", statement_id, now, _postings(statement_id, lines))
    return Settled(statement_id, period, body, "held", due_us)


def _keep_parts(connection: Connection, statement_id: str, lines: Sequence[Line]) -> None:
    if not lines:
        return
    connection.execute(LINES.insert(), [{"statement_id": statement_id, "charge_id": line.charge.id} for line in lines])
    parts = [
        {"statement_id": statement_id, "line": number, "party_id": party, "weight": weight, "amount_minor": amount}
        for number, line in enumerate(lines)
        for party, weight, amount in line.table
    ]
    connection.execute(PARTS.insert(), parts)


def _postings(statement_id: str, lines: Sequence[Line]) -> list[Posting]:
    """Gross from the buyers to the clearing account, from there to the fees and the right holders: it ends at zero."""
    clearing, postings = f"clearing:{statement_id}", []
    out: dict[tuple[str, str], int] = defaultdict(int)
    for line in lines:
        currency = line.charge.currency
        postings.append(Posting(f"buyer:{line.charge.grant_id}", clearing, currency, line.charge.gross_minor))
        for name, amount in line.fees.items():
            out[f"fee:{name}", currency] += amount
        for party, _, amount in line.table:
            out[f"held:{party}", currency] += amount
    postings += [
        Posting(clearing, account, currency, sum_) for (account, currency), sum_ in sorted(out.items()) if sum_
    ]
    return postings


def _release(connection: Connection, statement_id: str, now: int) -> int:
    disputed = select(DISPUTES.c.party_id).where(DISPUTES.c.statement_id == statement_id, DISPUTES.c.state == "open")
    waiting = {f"held:{party}" for party in connection.scalars(disputed)}
    had = {
        (account.replace("due:", "held:", 1), currency)
        for account, currency in takers(connection, "release", statement_id)
    }
    owed = _owed(connection, statement_id)
    fresh = {key: amount for key, amount in owed.items() if key not in had and key[0] not in waiting and amount}
    if not fresh:
        return 0
    postings = [
        Posting(account, account.replace("held:", "due:", 1), currency, amount)
        for (account, currency), amount in sorted(fresh.items())
    ]
    post(connection, f"release:{statement_id}:{len(had)}", "release", statement_id, now, postings)
    return len(postings)


def _owed(connection: Connection, statement_id: str) -> dict[tuple[str, str], int]:
    """What a statement gave to the held accounts."""
    body = json.loads(connection.scalar(select(STATEMENTS.c.body).where(STATEMENTS.c.id == statement_id)) or "{}")
    currencies = [line["charge"]["currency"] for line in body["lines"]]
    owed: dict[tuple[str, str], int] = defaultdict(int)
    query = select(PARTS.c.line, PARTS.c.party_id, PARTS.c.amount_minor).where(PARTS.c.statement_id == statement_id)
    for line, party, amount in connection.execute(query):
        owed[f"held:{party}", currencies[line]] += amount
    return owed


def _state(ws: Workspace, statement_id: str, body: Mapping[str, Any]) -> None:
    """Say in the ledger that a period was settled, and on which usage."""
    pages = body["usage"]["pages"]
    inputs = tuple(Input(urn("usage", digest), digest, "inputTo") for _, digest in pages[-1:])
    facts = {"period": body["period"]}
    record(ws, [Fact("settle.compute", (subject_of(statement_id),), "settle.run", inputs=inputs, facts=facts)])
