"""Statements as people read them: who is owed what, for what, by which rule, and what can be done about it.

    statements_page ─▶ statement_page ─▶ the file that proves it (`statement_files`), `dispute`, `decide_dispute`

Amounts stay integers of the smallest unit. A party sees what pays it, everybody else's part stays out. Start at
`statement_page`.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from malan.core.errors import UsageError
from malan.core.numbers import read_whole
from malan.ledger.statement import urn
from malan.rights.shares import Fee
from malan.services.access import ALL, Caller, may, scope
from malan.services.footage.owners import owner_names
from malan.services.journal import events_about
from malan.services.log.keys import show_keys
from malan.services.settlement.app_bills import describe_bill, list_bills
from malan.services.settlement.periods import HOLDBACK_DAYS, release_due, settle_period
from malan.services.settlement.statements import Settled, amounts_of_party, get_statement, list_statements, tables_of

if TYPE_CHECKING:
    from malan.workspace import Workspace

MOST_BILLS, MOST_LINES = 100, 500


def statements_page(ws: Workspace, *, caller: Caller) -> dict[str, Any]:
    """Every statement that is the caller's to see, the newest first; what stands to each party; bills of app runs."""
    listed = list_statements(ws, caller=caller)
    names = owner_names(ws)
    parties = _parties(ws, listed, caller)
    owed = [_standing(ws, one, names, caller) for one in parties]
    bills = list_bills(ws, limit=MOST_BILLS, caller=caller)
    return {
        "statements": [_line(ws, one, caller) for one in reversed(listed)],
        "owed": sorted(owed, key=lambda one: one["name"]),
        "bills": [describe_bill(one) | {"at": _time(one.at_us), "name": names.get(one.party_id, "")} for one in bills],
        "all": scope(caller, "statements") == ALL,
        "may_settle": may(caller, "settle"),
        "period": _last_month(),
        "holdback_days": HOLDBACK_DAYS,
    }


def statement_page(ws: Workspace, statement: str, *, caller: Caller) -> dict[str, Any]:
    """One statement: lines with their charges and fees, parts by party, objections, and where the log has it.

    Raises:
        NotFound: There is none that the caller may see.
    """
    return _described(ws, get_statement(ws, statement, caller=caller), caller)


def draft_statement(ws: Workspace, said: Mapping[str, str], *, caller: Caller) -> dict[str, Any]:
    """What settling a month would give; nothing is written.

    Raises:
        NotGranted, UsageError, Rejected, ProofError: As `settle_period`.
    """
    period, fees, days = _rules(said)
    found = settle_period(ws, period, fees, holdback_days=days, draft=True, caller=caller)
    return _line(ws, found, caller) | {"fees": _fees(found), "lines": len(found.body["lines"])}


def settle_month(ws: Workspace, said: Mapping[str, str], *, caller: Caller) -> str:
    """Settle a month for good and make due what is past its holdback; the id of the statement.

    Raises:
        NotGranted, UsageError, Rejected, ProofError: As `settle_period`.
    """
    period, fees, days = _rules(said)
    found = settle_period(ws, period, fees, holdback_days=days, caller=caller)
    release_due(ws, caller=caller)
    return found.id


def _described(ws: Workspace, found: Settled, caller: Caller) -> dict[str, Any]:
    names, tables = owner_names(ws), tables_of(ws, found, caller=caller)
    mine, is_all = caller.party_id or "", scope(caller, "statements") == ALL
    lines = [_charge(line, table) for line, table in zip(found.body["lines"], tables, strict=True) if table or is_all]
    places = events_about(ws, "settle.compute", urn("statement", found.id))
    is_open = found.state == "held" and found.due_us > time.time_ns() // 1000
    disputes = [_dispute(one, names) for one in found.disputes if is_all or one["party_id"] == mine]
    return _line(ws, found, caller) | {
        "fees": _fees(found),
        "holdback_days": found.body["holdback_days"],
        "lines": lines[:MOST_LINES],
        "more_lines": max(0, len(lines) - MOST_LINES),
        "parts": _parts(found, tables, names),
        "disputes": disputes,
        "event": places[0] if places else None,
        "vkey": show_keys(ws).vkey,
        "may_dispute": is_open and any(party == mine for table in tables for party, _, _ in table),
        "may_decide": may(caller, "settle") and any(one["state"] == "open" for one in disputes),
        "all": is_all,
    }


def _line(ws: Workspace, found: Settled, caller: Caller) -> dict[str, Any]:
    """A statement in a list: its totals, and to a party what itself gets."""
    totals: dict[str, dict[str, int]] = defaultdict(lambda: {"gross": 0, "fees": 0, "net": 0})
    for line in found.body["lines"]:
        total = totals[line["charge"]["currency"]]
        total["gross"] += line["charge"]["gross_minor"]
        total["fees"] += sum(line["fees"].values())
        total["net"] += line["net"]
    own: dict[str, int] = defaultdict(int)
    if found.state != "draft" and scope(caller, "statements") != ALL:
        for line, table in zip(found.body["lines"], tables_of(ws, found, caller=caller), strict=True):
            own[line["charge"]["currency"]] += sum(amount for _, _, amount in table)
    return {
        "statement": found.id,
        "period": found.period,
        "state": found.state,
        "due": _day(found.due_us) if found.due_us else None,
        "totals": dict(totals),
        "own": dict(own),
        "open_disputes": sum(one["state"] == "open" for one in found.disputes),
    }


def _charge(line: Mapping[str, Any], table: list[tuple[str, str, int]]) -> dict[str, Any]:
    charge = line["charge"]
    return {
        "grant": charge["grant_id"],
        "kind": charge["kind"],
        "about": charge["about"],
        "currency": charge["currency"],
        "gross": charge["gross_minor"],
        "fees": sum(line["fees"].values()),
        "net": line["net"],
        "clip_seconds": round(int(line["used"]) / 1_000_000, 2),
        "amount": sum(amount for _, _, amount in table),
    }


def _parts(found: Settled, tables: list[list[tuple[str, str, int]]], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Who gets how much, the most first, with the part of the whole in that currency."""
    sums: dict[tuple[str, str], int] = defaultdict(int)
    net: dict[str, int] = defaultdict(int)
    for line, table in zip(found.body["lines"], tables, strict=True):
        currency = line["charge"]["currency"]
        net[currency] += line["net"]
        for party, _, amount in table:
            sums[party, currency] += amount
    rows = [
        {"party": party, "name": names.get(party, party[:12]), "currency": currency, "amount": amount,
         "share": amount / net[currency] if net[currency] else 0.0}
        for (party, currency), amount in sums.items()
    ]  # fmt: skip
    return sorted(rows, key=lambda one: -int(one["amount"]))


def _parties(ws: Workspace, listed: list[Settled], caller: Caller) -> set[str]:
    """Whom these statements pay, as far as the caller sees."""
    return {party for one in listed for table in tables_of(ws, one, caller=caller) for party, _, _ in table}


def _standing(ws: Workspace, party: str, names: Mapping[str, str], caller: Caller) -> dict[str, Any]:
    return {"party": party, "name": names.get(party, party[:12]), **amounts_of_party(ws, party, caller=caller)}


def _dispute(one: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    party = str(one["party_id"])
    return {"name": names.get(party, party[:12]), "state": one["state"], "reason": one["reason"]}


def _fees(found: Settled) -> list[dict[str, str]]:
    """Each fee with its rate in percent; exact where it has few places, as they usually do."""
    return [{"name": name, "percent": f"{float(100 * Fraction(rate)):.6g}"} for name, rate in found.body["fees"]]


def _rules(said: Mapping[str, str]) -> tuple[str, list[Fee], int]:
    """The month, the fees and the holdback of a form."""
    percent, written = said.get("fee", "").strip(), said.get("holdback_days", "").strip() or str(HOLDBACK_DAYS)
    if (days := read_whole(written, 4)) is None:
        raise UsageError("settle.bad_holdback", days=written[:20])
    whole, _, part = percent.partition(".")
    if percent and not ((whole + part).isascii() and (whole + part).isdigit() and len(percent) < 10):
        raise UsageError("settle.bad_fee", text=percent[:80])
    fees = [Fee("platform", Fraction(percent) / 100)] if percent and Fraction(percent) else []
    return said.get("period", "").strip(), fees, days


def _last_month() -> str:
    now = datetime.now(UTC)
    return f"{now.year - (now.month == 1)}-{(now.month - 2) % 12 + 1:02d}"


def _time(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1e6, UTC).isoformat(timespec="seconds")


def _day(at_us: int) -> str:
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).date().isoformat()
