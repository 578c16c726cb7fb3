"""`malan grant`: what was granted to whom, what of it is used, and taking it back."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from malan.cli.show import (
    AsOption,
    JsonOption,
    WorkspaceOption,
    open_workspace,
    print_json,
    print_line,
    print_table,
    speak,
)
from malan.services.access import COMMAND_LINE

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help=speak("cli.grant"))

GrantArgument = Annotated[str, typer.Argument(help=speak("cli.grant.id"))]


@app.command("list", help=speak("cli.grant.list"))
def list_(acting_as: AsOption = None, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    from malan.services.accounts.acting import caller_for
    from malan.services.market.grants import damaged_grants, describe_grant, list_grants

    ws = open_workspace(workspace)
    found = [describe_grant(ws, one) for one in list_grants(ws, caller=caller_for(ws, acting_as))]
    damaged = damaged_grants(ws, caller=COMMAND_LINE) if acting_as is None else []
    if as_json:
        print_json({"grants": found, "damaged": damaged})
        return
    columns = [speak(f"cli.column.{name}") for name in ("grant", "buyer", "owners", "uses", "expires", "revoked")]
    rows = [
        (
            one["grant"][:16],
            one["party"],
            ", ".join(one["owners"]),
            " ".join(f"{'✓' if answer['allowed'] else '✗'}{use}" for use, answer in one["uses"].items()),
            one["expires"] or "–",
            (one["revoked"] or "–")[:10],
        )
        for one in found
    ]
    print_table(columns, rows)
    for grant in damaged:
        print_line("✗ " + speak("grant.damaged", grant=grant[:16]))


@app.command(help=speak("cli.grant.show"))
def show(
    grant: GrantArgument, acting_as: AsOption = None, workspace: WorkspaceOption = None, as_json: JsonOption = False
) -> None:
    from malan.services.accounts.acting import caller_for
    from malan.services.market.grants import describe_grant, get_grant

    ws = open_workspace(workspace)
    _print(describe_grant(ws, get_grant(ws, grant, caller=caller_for(ws, acting_as))), as_json=as_json)


@app.command(help=speak("cli.grant.revoke"))
def revoke(
    grant: GrantArgument,
    reason: Annotated[str, typer.Option(help=speak("cli.grant.reason"))],
    acting_as: AsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.accounts.acting import caller_for
    from malan.services.market.grants import describe_grant, revoke_grant

    ws = open_workspace(workspace)
    _print(describe_grant(ws, revoke_grant(ws, grant, reason, caller=caller_for(ws, acting_as))), as_json=as_json)


def _print(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    print_line(f"{found['grant'][:16]}  {found['party']}  ←  {', '.join(found['owners'])}")
    if found["revoked"]:
        print_line(speak("cli.grant.revoked", day=found["revoked"][:10], by=found["revoked_by"]))
    for use, answer in found["uses"].items():
        print_line(f"{'✓' if answer['allowed'] else '✗'} {use}: {' '.join(answer['reasons'])}")
    columns = [speak(f"cli.column.{name}") for name in ("unit", "most", "held", "used")]
    rows = [
        (unit, _amount(unit, one["most"]), _amount(unit, one["reserved"]), _amount(unit, one["consumed"]))
        for unit, one in found["used"].items()
    ]
    print_table(columns, rows)


def _amount(unit: str, amount: int | None) -> str:
    from malan.rights.meter import shown_amount

    return "–" if amount is None else shown_amount(unit, amount)
