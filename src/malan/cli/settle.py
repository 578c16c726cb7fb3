"""`malan settle`: what was charged is divided by what was used; statements that anybody can compute anew."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from malan.cli.show import (
    JsonOption,
    WorkspaceOption,
    open_workspace,
    print_json,
    print_line,
    print_table,
    speak,
    write_out,
)
from malan.core.errors import UsageError
from malan.services.access import COMMAND_LINE

if TYPE_CHECKING:
    from malan.rights.shares import Fee
    from malan.services.settlement.statement_files import Checked
    from malan.services.settlement.statements import Settled
    from malan.workspace import Workspace

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help=speak("cli.settle"))

_ID = re.compile(r"[0-9a-f]{64}")
_MOST_BYTES = 1 << 30
_SHOWN = 50


@app.command(help=speak("cli.settle.charge"))
def charge(
    grant: Annotated[str, typer.Argument(help=speak("cli.settle.grant"))],
    amount: Annotated[int, typer.Option(help=speak("cli.settle.amount"))],
    key: Annotated[str, typer.Option(help=speak("cli.settle.key"))],
    currency: Annotated[str, typer.Option(help=speak("cli.settle.currency"))] = "CNY",
    about: Annotated[str, typer.Option(help=speak("cli.settle.about"), show_default=False)] = "",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.rights.shares import shown_money
    from malan.services.settlement.charges import charge as charge_grant

    kind = about.partition(":")[0] if about else "fee"
    made = charge_grant(
        open_workspace(workspace), grant, amount, currency, key=key, kind=kind, about=about, caller=COMMAND_LINE
    )
    if as_json:
        print_json({"charge": made.id, "grant": made.grant_id, "kind": made.kind, "about": made.about})
    else:
        print_line(speak("cli.settle.charged", amount=shown_money(made.gross_minor, made.currency), grant=grant))


@app.command(help=speak("cli.settle.run"))
def run(
    period: Annotated[str, typer.Option(help=speak("cli.settle.period"))],
    fee: Annotated[list[str] | None, typer.Option(help=speak("cli.settle.fee"))] = None,
    holdback_days: Annotated[int, typer.Option(help=speak("cli.settle.holdback"))] = 30,
    draft: Annotated[bool, typer.Option("--draft", help=speak("cli.settle.draft"))] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.settlement.periods import release_due, settle_period

    ws = open_workspace(workspace)
    statement = settle_period(
        ws, period, [_fee(text) for text in fee or []], holdback_days=holdback_days, draft=draft, caller=COMMAND_LINE
    )
    released = 0 if draft else release_due(ws, caller=COMMAND_LINE)
    if as_json:
        print_json(statement_json(statement) | {"released": released})
    else:
        _print_statement(statement)


@app.command(help=speak("cli.settle.show"))
def show(
    statement: Annotated[str | None, typer.Argument(help=speak("cli.settle.statement"), show_default=False)] = None,
    party: Annotated[str | None, typer.Option(help=speak("cli.settle.party"), show_default=False)] = None,
    out: Annotated[Path | None, typer.Option(help=speak("cli.settle.out"), show_default=False)] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.settlement.statements import get_statement, list_statements

    ws = open_workspace(workspace)
    if statement is None:
        _list(list_statements(ws, caller=COMMAND_LINE), as_json)
        return
    found, party_id = get_statement(ws, statement, caller=COMMAND_LINE), _party(party)
    if out is not None:
        _write(ws, found, party_id, out, as_json)
        return
    rows = _rows(ws, found, party_id)
    if as_json:
        print_json(statement_json(found) | {"parts": [dict(zip(_PART, row, strict=True)) for row in rows]})
        return
    _print_statement(found)
    _print_parts(rows)


@app.command(help=speak("cli.settle.verify"))
def verify(
    file: Annotated[Path, typer.Argument(help=speak("cli.settle.file"))],
    key: Annotated[list[str] | None, typer.Option(help=speak("cli.settle.log_key"))] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.log.keys import show_keys
    from malan.services.settlement.statement_files import check_statement_file

    data = _read(file)
    checked = check_statement_file(
        data, key or [show_keys(open_workspace(workspace), caller=COMMAND_LINE).vkey], name=str(file)
    )
    if as_json:
        print_json(_checked_json(checked))
    else:
        _print_checked(checked)


@app.command(help=speak("cli.settle.dispute"))
def dispute(
    statement: Annotated[str, typer.Argument(help=speak("cli.settle.statement"))],
    party: Annotated[str | None, typer.Option(help=speak("cli.settle.party"), show_default=False)] = None,
    reason: Annotated[str, typer.Option(help=speak("cli.settle.reason"), show_default=False)] = "",
    uphold: Annotated[bool, typer.Option("--uphold", help=speak("cli.settle.uphold"))] = False,
    reject: Annotated[bool, typer.Option("--reject", help=speak("cli.settle.reject"))] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.settlement.disputes import decide_dispute
    from malan.services.settlement.disputes import dispute as object_to

    if (party is not None) + uphold + reject != 1 or (party is not None and not reason.strip()):
        raise UsageError("settle.what_to_do")
    ws, party_id = open_workspace(workspace), _party(party)
    found = (
        object_to(ws, statement, party_id, reason, caller=COMMAND_LINE)
        if party_id
        else decide_dispute(ws, statement, uphold=uphold, caller=COMMAND_LINE)
    )
    print_json(statement_json(found)) if as_json else _print_statement(found)


def statement_json(statement: Settled) -> dict[str, Any]:
    """A statement as JSON; amounts in the smallest unit of their currency."""
    return {
        "statement": statement.id,
        "period": statement.period,
        "state": statement.state,
        "due": _day(statement.due_us) if statement.due_us else None,
        "fees": dict(statement.body["fees"]),
        "holdback_days": statement.body["holdback_days"],
        "lines": [_line_json(line) for line in statement.body["lines"]],
        "totals": _totals(statement.body["lines"]),
        "disputes": [{name: one[name] for name in ("number", "party_id", "state")} for one in statement.disputes],
    }


_PART = ("party", "currency", "amount")


def _line_json(line: dict[str, Any]) -> dict[str, Any]:
    charge = line["charge"]
    return {
        "charge": charge["id"],
        "grant": charge["grant_id"],
        "kind": charge["kind"],
        "about": charge["about"] or None,
        "currency": charge["currency"],
        "gross": charge["gross_minor"],
        "fees": line["fees"],
        "net": line["net"],
        "clip_microseconds": int(line["used"]),
        "parties": line["parties"],
    }


def _totals(lines: Sequence[dict[str, Any]]) -> dict[str, dict[str, int]]:
    totals: dict[str, dict[str, int]] = {}
    for line in lines:
        total = totals.setdefault(line["charge"]["currency"], {"gross": 0, "fees": 0, "net": 0})
        total["gross"] += line["charge"]["gross_minor"]
        total["fees"] += sum(line["fees"].values())
        total["net"] += line["net"]
    return totals


def _fee(text: str) -> Fee:
    from malan.rights.shares import Fee, read_fraction

    name, equals, rate = text.partition("=")
    if not equals:
        raise UsageError("settle.bad_fee", text=text[:80])
    return Fee(name, read_fraction(rate))


def _party(text: str | None) -> str | None:
    """The id of a party that was named."""
    from malan.rights import party_id

    return text if text is None or _ID.fullmatch(text) else party_id(text)


def _list(statements: Sequence[Settled], as_json: bool) -> None:
    if as_json:
        print_json({"statements": [statement_json(one) for one in statements]})
    elif not statements:
        print_line(speak("cli.settle.none"))
    else:
        columns = [speak(f"cli.settle.column.{name}") for name in ("period", "statement", "net", "state")]
        print_table(columns, [(one.period, one.id[:16], _net(one), _state(one)) for one in statements])


def _print_statement(statement: Settled) -> None:
    from malan.rights.meter import CLIP_SECONDS, shown_amount
    from malan.rights.shares import shown_money

    print_line(speak("cli.settle.headline", id=statement.id[:16], period=statement.period, state=_state(statement)))
    if not statement.body["lines"]:
        print_line(speak("cli.settle.nothing"))
        return
    names = ("grant", "kind", "gross", "net", "used", "parties")
    rows = []
    for line in map(_line_json, statement.body["lines"][:_SHOWN]):
        money = [shown_money(line[name], line["currency"]) for name in ("gross", "net")]
        used = shown_amount(CLIP_SECONDS, line["clip_microseconds"])
        rows.append((line["grant"], line["about"] or line["kind"], *money, used, str(line["parties"])))
    print_table([speak(f"cli.settle.column.{name}") for name in names], rows)


def _rows(ws: Workspace, statement: Settled, party_id: str | None) -> list[tuple[str, str, int]]:
    """Who gets how much of which currency, the most first."""
    from malan.services.settlement.statements import tables_of

    sums: dict[tuple[str, str], int] = {}
    for line, table in zip(statement.body["lines"], tables_of(ws, statement, caller=COMMAND_LINE), strict=True):
        for party, _, amount in table:
            if party_id in (None, party):
                key = (party, line["charge"]["currency"])
                sums[key] = sums.get(key, 0) + amount
    return sorted(((party, currency, amount) for (party, currency), amount in sums.items()), key=lambda row: -row[2])


def _print_parts(rows: Sequence[tuple[str, str, int]]) -> None:
    from malan.rights.shares import shown_money

    columns = [speak(f"cli.settle.column.{name}") for name in ("party", "amount")]
    print_table(columns, [(party[:16], shown_money(amount, currency)) for party, currency, amount in rows[:_SHOWN]])


def _write(ws: Workspace, statement: Settled, party_id: str | None, out: Path, as_json: bool) -> None:
    from malan.services.log.keys import show_keys
    from malan.services.settlement.statement_files import statement_file, write_statement

    write_out(out, write_statement(statement_file(ws, statement, party_id, caller=COMMAND_LINE)))
    vkey = show_keys(ws, caller=COMMAND_LINE).vkey
    if as_json:
        print_json({"statement": statement.id, "party": party_id, "out": out, "vkey": vkey})
    else:
        print_line(speak("cli.settle.written", path=out, vkey=vkey))


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as handle:
            data = handle.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UsageError("verify.unreadable", path=file, detail=error.strerror) from error
    if len(data) > _MOST_BYTES:
        raise UsageError("verify.unreadable", path=file, detail=f"> {_MOST_BYTES} B")
    return data


def _checked_json(checked: Checked) -> dict[str, Any]:
    return {
        "statement": checked.id,
        "period": checked.period,
        "party": checked.party,
        "lines": checked.lines,
        "rows": checked.rows,
        "amounts": dict(checked.amounts),
        "holds": True,
    }


def _print_checked(checked: Checked) -> None:
    from malan.rights.shares import shown_money

    told = {"id": checked.id[:16], "period": checked.period, "lines": checked.lines, "rows": checked.rows}
    print_line("✓ " + speak("cli.settle.holds", **told))
    for currency, amount in sorted(checked.amounts.items()):
        code = "cli.settle.gets" if checked.party else "cli.settle.all_get"
        print_line("  " + speak(code, party=(checked.party or "")[:16], amount=shown_money(amount, currency)))


def _net(statement: Settled) -> str:
    from malan.rights.shares import shown_money

    totals = _totals(statement.body["lines"])
    return ", ".join(shown_money(total["net"], currency) for currency, total in sorted(totals.items())) or "–"


def _state(statement: Settled) -> str:
    return speak(f"cli.settle.state.{statement.state}", due=_day(statement.due_us))


def _day(at_us: int) -> str:
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).date().isoformat()
