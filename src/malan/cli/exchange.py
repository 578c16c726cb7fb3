"""`malan exchange …`: offer snapshots to other organisations, look at theirs, ask, decide, use."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from malan.cli.show import JsonOption, WorkspaceOption, open_workspace, print_json, print_line, print_table, speak

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help=speak("cli.exchange"))

PartnerArgument = Annotated[str, typer.Argument(help=speak("exchange.cli.partner"))]
PidArgument = Annotated[str, typer.Argument(help=speak("exchange.cli.pid"))]


@app.command(help=speak("exchange.cli.show"))
def show(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    from malan.services.access import COMMAND_LINE
    from malan.services.exchange.connector import show_exchange

    shown = show_exchange(open_workspace(workspace), COMMAND_LINE)
    if as_json:
        print_json(asdict(shown))
        return
    for name in ("participant", "key", "address"):
        print_line(f"{speak(f'exchange.cli.column.{name}')}  {getattr(shown, name)}")
    if shown.partners:
        columns = [speak(f"exchange.cli.column.{name}") for name in ("name", "participant", "address")]
        print_table(columns, [(one.name, one.id, one.connector) for one in shown.partners])


@app.command(help=speak("exchange.cli.offer"))
def offer(
    snapshot: Annotated[str, typer.Argument(help=speak("exchange.cli.snapshot"))],
    samples: Annotated[bool, typer.Option("--samples", help=speak("exchange.cli.samples"))] = False,
    by_hand: Annotated[bool, typer.Option("--by-hand", help=speak("exchange.cli.by_hand"))] = False,
    only_for: Annotated[str, typer.Option("--only-for", help=speak("exchange.cli.only_for"))] = "",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.access import COMMAND_LINE
    from malan.services.exchange.connector import offer_snapshot

    ws = open_workspace(workspace)
    made = offer_snapshot(ws, COMMAND_LINE, snapshot, samples=samples, by_hand=by_hand, party=only_for)
    print_json(asdict(made)) if as_json else print_line(speak("exchange.cli.offered", offer=made.offer_id))


@app.command(help=speak("exchange.cli.offers"))
def offers(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    from malan.services.access import COMMAND_LINE
    from malan.services.exchange.connector import list_offers

    found = list_offers(open_workspace(workspace), COMMAND_LINE)
    if as_json:
        print_json({"offers": [asdict(one) for one in found]})
        return
    columns = [speak(f"exchange.cli.column.{name}") for name in ("title", "offer", "party", "manner")]
    manner = {name: speak(f"exchange.cli.manner.{name}") for name in ("automatic", "by_hand")}
    print_table(columns, [(one.title, one.offer_id, one.party or "", manner[one.manner]) for one in found])


@app.command(help=speak("exchange.cli.withdraw"))
def withdraw(
    offer_id: Annotated[str, typer.Argument(help=speak("exchange.cli.offer_id"))], workspace: WorkspaceOption = None
) -> None:
    from malan.services.access import COMMAND_LINE
    from malan.services.exchange.connector import withdraw_offer

    withdraw_offer(open_workspace(workspace), COMMAND_LINE, offer_id)
    print_line(speak("exchange.cli.withdrawn", offer=offer_id))


@app.command(help=speak("exchange.cli.browse"))
def browse(partner: PartnerArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    from malan.services.access import COMMAND_LINE
    from malan.services.exchange.connector import browse as browse_partner

    found = browse_partner(open_workspace(workspace), COMMAND_LINE, partner)
    if as_json:
        print_json({"datasets": [asdict(one) for one in found]})
        return
    columns = [speak(f"exchange.cli.column.{name}") for name in ("title", "dataset", "offers", "formats")]
    print_table(columns, [(one.title, one.id, str(len(one.offers)), ", ".join(one.formats)) for one in found])


@app.command(help=speak("exchange.cli.ask"))
def ask(
    partner: PartnerArgument,
    dataset: Annotated[str, typer.Argument(help=speak("exchange.cli.dataset"))],
    offer_id: Annotated[str, typer.Option("--offer", help=speak("exchange.cli.offer_id"))] = "",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.access import COMMAND_LINE
    from malan.services.exchange.connector import ask_for

    _tell(ask_for(open_workspace(workspace), COMMAND_LINE, partner, dataset, offer_id), as_json=as_json)


@app.command(help=speak("exchange.cli.use"))
def use(
    partner: PartnerArgument,
    agreement: Annotated[str, typer.Argument(help=speak("exchange.cli.agreement"))],
    how: Annotated[str, typer.Option("--format", help=speak("exchange.cli.format"))] = "",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.access import COMMAND_LINE
    from malan.services.exchange.connector import use as use_agreement

    _tell(use_agreement(open_workspace(workspace), COMMAND_LINE, partner, agreement, how), as_json=as_json)


@app.command(help=speak("exchange.cli.fetch"))
def fetch(
    pid: PidArgument,
    out: Annotated[Path, typer.Option(help=speak("exchange.cli.out"))],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.access import COMMAND_LINE
    from malan.services.exchange.fetching import fetch_samples

    found = fetch_samples(open_workspace(workspace), COMMAND_LINE, pid, out)
    if as_json:
        print_json({"samples": [{"clip": one.clip_id, "path": one.path, "bytes": one.size_bytes} for one in found]})
        return
    for one in found:
        print_line(f"{one.path}  {one.size_bytes:,}")


@app.command("list", help=speak("exchange.cli.list"))
def list_(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    from malan.services.access import COMMAND_LINE
    from malan.services.exchange.connector import describe_process, list_exchanges

    found = list_exchanges(open_workspace(workspace), COMMAND_LINE)
    if as_json:
        print_json({"processes": [describe_process(one) for one in found]})
        return
    columns = [speak(f"exchange.cli.column.{name}") for name in ("pid", "kind", "state", "party", "subject", "problem")]
    kinds = {name: speak(f"exchange.cli.kind.{name}") for name in ("negotiation", "transfer")}
    rows = []
    for one in found:
        problem = (one.details.get("problem") or {}).get("detail", "")
        rows.append((one.pid[-12:], kinds[one.kind], one.state, one.party, one.subject, str(problem)))
    print_table(columns, rows)


@app.command(help=speak("exchange.cli.move"))
def move(
    pid: PidArgument,
    action: Annotated[str, typer.Argument(help=speak("exchange.cli.action"))],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.access import COMMAND_LINE
    from malan.services.exchange.connector import move as move_process

    _tell(move_process(open_workspace(workspace), COMMAND_LINE, pid, action), as_json=as_json)


def _tell(process: object, *, as_json: bool) -> None:
    from malan.services.dsp.tables import Process
    from malan.services.exchange.connector import describe_process

    assert isinstance(process, Process)  # noqa: S101 - what every service above returns
    if as_json:
        print_json(describe_process(process))
    else:
        print_line(speak("exchange.cli.moved", pid=process.pid[-12:], state=process.state))
