"""`malan terms`: write, show and check what owners allow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from malan.cli.show import JsonOption, WorkspaceOption, open_workspace, print_json, print_line, print_table, speak
from malan.services.access import COMMAND_LINE

if TYPE_CHECKING:
    from malan.services.market.terms import TermsShown

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help=speak("cli.terms"))

OwnerOption = Annotated[str, typer.Option(help=speak("cli.terms.owner"))]
OdrlOption = Annotated[bool, typer.Option("--odrl", help=speak("cli.terms.odrl"))]


@app.command(help=speak("cli.terms.new"))
def new(
    name: Annotated[str | None, typer.Argument(help=speak("cli.terms.ready"), show_default=False)] = None,
    out: Annotated[Path | None, typer.Option(help=speak("cli.terms.out"), show_default=False)] = None,
    owner: OwnerOption = "",
    as_json: JsonOption = False,
) -> None:
    from malan.core.errors import Rejected
    from malan.services.market.terms import new_terms, ready_names

    if name is None:
        if as_json:
            print_json({"ready": ready_names()})
        else:
            print_table([speak("cli.column.name"), speak("cli.column.text")], ready_names().items())
        return
    body = new_terms(name, owner)
    if out is None:
        print_json({"name": name, "toml": body}) if as_json else print(body, end="")
        return
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(body)
    except FileExistsError:
        raise Rejected("terms.exists", path=str(out)) from None
    if as_json:
        print_json({"name": name, "path": out})
    else:
        print_line(speak("cli.terms.written", path=out))


@app.command(help=speak("cli.terms.check"))
def check(
    path: Annotated[Path, typer.Argument(help=speak("cli.terms.file"))],
    owner: OwnerOption = "owner",
    odrl: OdrlOption = False,
    as_json: JsonOption = False,
) -> None:
    from malan.services.market.terms import check_terms

    shown = check_terms(path, owner)
    _print(shown, odrl=odrl, as_json=as_json)
    if shown.terms.other:
        raise typer.Exit(1)


@app.command(help=speak("cli.terms.show"))
def show(
    terms: Annotated[str, typer.Argument(help=speak("cli.terms.id"))],
    odrl: OdrlOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.market.terms import stored_terms

    _print(stored_terms(open_workspace(workspace), terms, caller=COMMAND_LINE), odrl=odrl, as_json=as_json)


@app.command(help=speak("cli.terms.signals"))
def signals(
    file_or_id: Annotated[str, typer.Argument(help=speak("cli.terms.file_or_id"))],
    form: Annotated[str, typer.Option("--format", help=speak("cli.terms.format"))],
    url: Annotated[str, typer.Option(help=speak("cli.terms.url"))] = "/",
    policy_url: Annotated[str, typer.Option("--policy-url", help=speak("cli.terms.policy"), show_default=False)] = "",
    server: Annotated[str, typer.Option(help=speak("cli.terms.server"), show_default=False)] = "",
    owner: OwnerOption = "owner",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.footage.signals import find_terms, publish_signals

    ws = None if Path(file_or_id).is_file() else open_workspace(workspace)
    said = publish_signals(
        find_terms(ws, file_or_id, owner, caller=COMMAND_LINE), form, url=url, policy_url=policy_url, server=server
    )
    if form == "rsl" and not as_json:
        print(said["rsl"], end="")
    else:
        print_json(said if as_json else {name: value for name, value in said.items() if name != "format"})


def _print(shown: TermsShown, *, odrl: bool, as_json: bool) -> None:
    from malan.services.market.terms import describe_terms

    if odrl or as_json:
        print_json(describe_terms(shown, odrl=odrl))
        return
    print_line(f"{shown.terms.name}  {shown.terms.id[:12]}")
    columns = [speak(f"cli.column.{name}") for name in ("condition", "value", "mark")]
    rows = [(one.name, one.value, speak(f"terms.mark.{one.mark}")) for one in shown.constraints]
    print_table(columns, rows)
    for use, answer in shown.answers.items():
        reasons = " ".join(reason.text() for reason in answer.reasons)
        print_line(f"{'✓' if answer.allowed else '✗'} {use}: {reasons}")
