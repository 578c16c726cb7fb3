"""`malan model`: the registry of models: what there is, whose it is, where it comes from. Uses are in `model_uses`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from malan.cli import model_uses
from malan.cli.model_shown import owners_text, print_check, print_model
from malan.cli.model_uses import ModelArgument
from malan.cli.show import (
    AsOption,
    JsonOption,
    WorkspaceOption,
    open_workspace,
    print_json,
    print_line,
    print_table,
    progress_bar,
    speak,
    write_out,
)
from malan.core.catalogue import session_language
from malan.services.access import COMMAND_LINE

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help=speak("cli.model"))

NameOption = Annotated[str, typer.Option(help=speak("cli.model.name"), show_default=False)]
_MB = 10**6


@app.command("list", help=speak("cli.model.list"))
def list_(acting_as: AsOption = None, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    from malan.services.accounts.acting import caller_for
    from malan.services.models.cards import list_descriptions

    ws = open_workspace(workspace)
    found = list_descriptions(ws, caller=caller_for(ws, acting_as))
    if as_json:
        print_json({"models": found})
        return
    columns = [speak(f"cli.column.{name}") for name in ("name", "kind", "state", "licence", "owners", "id")]
    rows = [
        (
            one["name"],
            speak(f"models.card.kind.{one['kind']}"),
            speak(f"models.state.{one['state']}"),
            one["licence"]["id"],
            owners_text(one["shares"]),
            one["model"][:16],
        )
        for one in found
    ]
    print_table(columns, rows)


@app.command(help=speak("cli.model.show"))
def show(
    model: ModelArgument,
    card: Annotated[bool, typer.Option("--card", help=speak("cli.model.card"))] = False,
    acting_as: AsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.accounts.acting import caller_for
    from malan.services.models.cards import model_card, show_model

    ws = open_workspace(workspace)
    caller = caller_for(ws, acting_as)
    if card:
        sys.stdout.write(model_card(ws, model, session_language(), caller=caller))
        return
    found = show_model(ws, model, caller=caller)
    if as_json:
        print_json(found)
        return
    print_model(found)


@app.command(help=speak("cli.model.add"))
def add(
    place: Annotated[str, typer.Argument(help=speak("cli.model.place"))],
    licence: Annotated[str, typer.Option(help=speak("cli.model.licence"))],
    family: Annotated[str, typer.Option(help=speak("cli.model.family"))],
    name: NameOption = "",
    digest: Annotated[str, typer.Option(help=speak("cli.model.digest"), show_default=False)] = "",
    fetch: Annotated[bool, typer.Option("--fetch", help=speak("cli.model.fetch"))] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.models.bases import add_base_from
    from malan.services.models.cards import show_model

    ws = open_workspace(workspace)
    made = add_base_from(
        ws, place, licence=licence, family=family, name=name, digest=digest, fetch=fetch, caller=COMMAND_LINE
    )
    found = show_model(ws, made.id, caller=COMMAND_LINE)
    if as_json:
        print_json(found)
    else:
        print_line(speak("cli.model.added", name=made.title, id=made.id[:16], mb=f"{made.size_bytes / 1e6:.1f}"))


@app.command(help=speak("cli.model.pull"))
def pull(
    reference: Annotated[str, typer.Argument(help=speak("cli.model.reference"))],
    licence: Annotated[str, typer.Option(help=speak("cli.model.licence"))],
    family: Annotated[str, typer.Option(help=speak("cli.model.family"))],
    name: NameOption = "",
    digest: Annotated[str, typer.Option(help=speak("cli.model.digest"), show_default=False)] = "",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.models.cards import show_model
    from malan.services.models.upkeep import pull_base

    ws = open_workspace(workspace)
    with progress_bar(speak("cli.model.fetching"), quiet=as_json) as step:

        def tell(done: int, total: int) -> None:
            step(done // _MB, total // _MB)

        made = pull_base(
            ws, reference, licence=licence, family=family, name=name, digest=digest, tell=tell, caller=COMMAND_LINE
        )
    if as_json:
        print_json(show_model(ws, made.id, caller=COMMAND_LINE))
        return
    print_line(speak("cli.model.added", name=made.title, id=made.id[:16], mb=f"{made.size_bytes / 1e6:.1f}"))
    if not digest:
        print_line(speak("cli.model.pin", id=made.id))


@app.command(help=speak("cli.model.check"))
def check(
    model: Annotated[str, typer.Argument(help=speak("cli.model.checked"))],
    acting_as: AsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.accounts.acting import caller_for
    from malan.services.models.upkeep import check_model, describe_check

    ws = open_workspace(workspace)
    found = check_model(ws, model, caller=caller_for(ws, acting_as))
    if as_json:
        print_json(describe_check(found))
    else:
        print_check(found)
    if not found.is_well:
        raise typer.Exit(1)


@app.command(help=speak("cli.model.remove"))
def remove(model: ModelArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    from malan.services.models.upkeep import remove_model

    done = remove_model(open_workspace(workspace), model, caller=COMMAND_LINE)
    if as_json:
        said = {"model": done.model.id, "name": done.model.title, "forgotten": done.is_forgotten}
        print_json(said | {"files": done.files, "size_bytes": done.size_bytes})
        return
    print_line(speak("cli.model.removed" if done.is_forgotten else "cli.model.kept_retired", name=done.model.title))
    if done.files:
        print_line(speak("cli.model.files_deleted", files=done.files, mb=f"{done.size_bytes / 1e6:.1f}"))
    elif done.model.place:
        print_line(speak("cli.model.files_stay", place=str(done.model.place["folder"])))


@app.command(help=speak("cli.model.compare"))
def compare(
    first: ModelArgument,
    second: ModelArgument,
    acting_as: AsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.accounts.acting import caller_for
    from malan.services.models.cards import compare_models, figure_name

    ws = open_workspace(workspace)
    found = compare_models(ws, first, second, caller=caller_for(ws, acting_as))
    if as_json:
        print_json(found)
        return
    names = [one["name"] for one in found["models"]]
    rows = [
        (speak("models.card.licence"), *(one["licence"]["id"] for one in found["models"])),
        *((figure_name(name), *(value or "–" for value in values)) for name, values in found["metrics"].items()),
        *((owner, *(f"{float(share):.2%}" for share in shares)) for owner, shares in found["shares"].items()),
    ]
    print_table([speak("models.card.what"), *names], rows)
    if found["distance"] is not None:
        print_line(speak("cli.model.distance", distance=f"{found['distance']:.4g}"))
    if not found["same_split"]:
        print_line(speak("cli.model.other_split"))


app.command(help=speak("cli.model.merge"))(model_uses.merge)
app.command(help=speak("cli.model.export"))(model_uses.export)
app.command(help=speak("cli.model.serve"))(model_uses.serve)
app.command(help=speak("cli.model.apply"))(model_uses.apply)
app.command(help=speak("cli.model.approve"))(model_uses.approve)
app.command(help=speak("cli.model.retire"))(model_uses.retire)
app.command(help=speak("cli.model.recall"))(model_uses.recall)


@app.command(help=speak("cli.model.trace"))
def trace(
    model: ModelArgument,
    out: Annotated[Path | None, typer.Option(help=speak("cli.model.trace_out"), show_default=False)] = None,
    acting_as: AsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.accounts.acting import caller_for
    from malan.services.models.trace import describe_trace, model_receipt, trace_model

    ws = open_workspace(workspace)
    caller = caller_for(ws, acting_as)
    found = describe_trace(trace_model(ws, model, caller=caller))
    if out is not None:
        write_out(out, model_receipt(ws, model, caller=caller))
    if as_json:
        print_json(found)
        return
    for depth, one in enumerate(found["lineage"]):
        at = ", ".join(map(str, one["events"]))
        kind = speak(f"models.card.kind.{one['kind']}")
        print_line(
            f"{'  └ ' if depth else ''}{one['name']}  {kind}  {one['model'][:16]}  {speak('cli.model.at', at=at)}"
        )
        for used in one["assets"][:20]:
            mark = "✗" if used["withdrawn"] else "·"
            seconds = f"{float(used['clip_seconds']):.1f}"
            print_line(f"      {mark} {used['asset'][:16]}  {used['owner']}  {seconds} s")
    columns = [speak("models.card.owner"), speak("models.card.share"), "%"]
    print_table(columns, [(o["name"], str(o["share"]), f"{float(o['share']):.2%}") for o in found["owners"]])
