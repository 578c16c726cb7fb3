"""Settling a period: what was charged is divided by what was used, written into the book, and stated in the ledger.

    seal usage ─▶ read its pages, checked ─▶ lines ─▶ one transaction: statement, parts, postings ─▶ settle.compute

Every row of usage counts in exactly one period: its own, or the next when it came in after its own was settled. Money
is held back for some days, in which a right holder may dispute it; then it becomes due. Start at `settle_period`.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, func, select

from malan.core.canonical import canonical_json
from malan.core.errors import NotFound, ProofError, Rejected, RetryLater, UsageError
from malan.core.ids import digest_record
from malan.ledger.statement import Input, Subject, urn
from malan.rights.holders import Holders
from malan.rights.ledgerbook import Posting, balances, post, reverse, takers
from malan.rights.shares import Fee, fraction_text
from malan.rights.statement import BY_WORK, METHOD, Charge, Line, compute_line, statement_digest
from malan.rights.usage import MICROSECONDS
from malan.runtime.database import reading, shown_place, writing
from malan.services.access import ALL, HOUSE, Caller, require, scope
from malan.services.journal import Fact, record
from malan.services.settlement.charges import charge_outputs, keep_charge, settlement_tables
from malan.services.settlement.metering import now_us
from malan.services.settlement.tables import CHARGES, DISPUTES, LINES, PARTS, PRICES, REVERSALS, STATEMENTS
from malan.services.settlement.usage import Span, Sums, UsageRead, by_grant, read_usage

if TYPE_CHECKING:
    from malan.workspace import Workspace

HOLDBACK_DAYS = 30
_LONGEST_REASON = 2_000
_DAY_US = 86_400 * MICROSECONDS
_PERIOD = re.compile(r"(20\d\d)-(0[1-9]|1[0-2])")


@dataclass(frozen=True, slots=True)
class Settled:
    """A statement as it stands. `state` is draft, held (within the holdback), due, or reversed."""

    id: str
    period: str
    body: Mapping[str, Any]
    state: str
    due_us: int
    disputes: tuple[Mapping[str, Any], ...] = ()


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
    until_us, now = _end_of(period), now_us() if at_us is None else at_us
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


def list_statements(ws: Workspace, *, caller: Caller = HOUSE) -> list[Settled]:
    """The statements that pay the caller (to operators and auditors, all), the oldest period first; of one period, the
    one that stands last."""
    if scope(caller, "statements") != ALL:
        require(caller, "statements", owner_id=caller.party_id)
        return [one for one in list_statements(ws) if caller.party_id in _paid(ws, one)]
    with reading(settlement_tables(ws)) as connection:
        rows = connection.execute(select(STATEMENTS).order_by(STATEMENTS.c.period, STATEMENTS.c.made_us)).all()
        return [_settled(connection, row) for row in rows]


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


def _end_of(period: str) -> int:
    match = _PERIOD.fullmatch(period) if isinstance(period, str) else None
    if match is None:
        raise UsageError("settle.bad_period", period=str(period)[:20])
    year, month = int(match[1]), int(match[2])
    after = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    return int(after.timestamp()) * MICROSECONDS


def _standing(engine: Engine, period: str, fees: Sequence[Fee], holdback_days: int) -> Settled | None:
    """The statement of a period that stands, when it was made under these rules."""
    with reading(engine) as connection:
        for row in _live(connection):
            settled = _settled(connection, row)
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
        earlier = [row for row in _live(connection) if row.period < period]
    if not earlier:
        return Span()
    usage = json.loads(earlier[-1].body)["usage"]
    return Span(usage["until_us"], usage["last_page"])


def _live(connection: Connection) -> Sequence[Any]:
    """Statements that were not reversed, by period."""
    undone = select(REVERSALS.c.statement_id)
    return connection.execute(
        select(STATEMENTS).where(STATEMENTS.c.id.not_in(undone)).order_by(STATEMENTS.c.period)
    ).all()


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
        if any(row.period >= period for row in _live(connection)):
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


def _reverse(connection: Connection, statement: Settled, now: int) -> None:
    if takers(connection, "release", statement.id):
        raise Rejected("settle.released", id=statement.id[:12])
    last = max(row.period for row in _live(connection))
    if last > statement.period:  # which stands on where this one stopped
        raise Rejected("settle.not_last", period=statement.period, later=last)
    reverse(connection, f"settle:{statement.id}", now)
    connection.execute(REVERSALS.insert().values(statement_id=statement.id, at_us=now))


def _check_open(statement: Settled, now: int) -> None:
    if statement.state == "reversed":
        raise Rejected("settle.reversed", id=statement.id[:12])
    if statement.due_us <= now:
        raise Rejected("settle.released", id=statement.id[:12])


def _settled(connection: Connection, row: Any) -> Settled:
    undone = connection.scalar(select(REVERSALS.c.at_us).where(REVERSALS.c.statement_id == row.id))
    disputes = select(DISPUTES).where(DISPUTES.c.statement_id == row.id).order_by(DISPUTES.c.number)
    told = tuple(dict(one) for one in connection.execute(disputes).mappings())
    state = "reversed" if undone is not None else "due" if takers(connection, "release", row.id) else "held"
    return Settled(row.id, row.period, json.loads(row.body), state, row.due_us, told)


def _state(ws: Workspace, statement_id: str, body: Mapping[str, Any]) -> None:
    """Say in the ledger that a period was settled, and on which usage."""
    pages = body["usage"]["pages"]
    inputs = tuple(Input(urn("usage", digest), digest, "inputTo") for _, digest in pages[-1:])
    facts = {"period": body["period"]}
    record(ws, [Fact("settle.compute", (_subject(statement_id),), "settle.run", inputs=inputs, facts=facts)])


def _stated(ws: Workspace, statement_id: str) -> Settled:
    """Say in the ledger what became of a statement, also what a kill left unsaid; the statement as it stands."""
    statement, facts = get_statement(ws, statement_id), []
    for one in statement.disputes:
        private = {"party": one["party_id"], "reason": one["reason"]}
        for state in dict.fromkeys(("open", one["state"])):
            said = {"number": one["number"], "state": state}
            told = private if state == "open" else {}
            facts.append(Fact("settle.dispute", (_subject(statement_id),), "settle.dispute", facts=said, private=told))
    if statement.state == "reversed":
        period = {"period": statement.period}
        facts.append(Fact("settle.reverse", (_subject(statement_id),), "settle.reverse", facts=period))
    record(ws, facts)
    return statement


def _checked_reason(reason: str) -> str:
    plain = unicodedata.normalize("NFC", reason).strip() if isinstance(reason, str) else ""
    is_text = all(letter.isprintable() or letter == "\n" for letter in plain)
    if not 0 < len(plain) <= _LONGEST_REASON or not is_text:
        raise UsageError("settle.bad_reason", most=_LONGEST_REASON)
    return plain


def _subject(statement_id: str) -> Subject:
    return Subject(urn("statement", statement_id), statement_id)
