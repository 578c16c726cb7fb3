"""`malan log`: look at the log, prove what is in it, check all of it, give it to others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from malan.cli import log_anchor, log_witness
from malan.cli.show import (
    JsonOption,
    WorkspaceOption,
    fail,
    open_workspace,
    print_fields,
    print_json,
    print_line,
    print_table,
    progress_bar,
    speak,
    write_out,
)
from malan.services.access import COMMAND_LINE

if TYPE_CHECKING:
    from malan.services.log.reading import EventShown, LogVerified, Signer

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help=speak("cli.log"))

app.add_typer(log_witness.app, name="witness")
app.add_typer(log_anchor.app, name="anchor")

EventArgument = Annotated[str, typer.Argument(help=speak("cli.log.event"))]


@app.command(help=speak("cli.log.show"))
def show(
    about: Annotated[str | None, typer.Argument(help=speak("cli.log.about"), show_default=False)] = None,
    last: Annotated[int, typer.Option(min=1, help=speak("cli.log.last"))] = 20,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.log.reading import describe_event, list_events

    found = list_events(open_workspace(workspace), about=about, last=last, caller=COMMAND_LINE)
    if as_json:
        print_json({"events": [describe_event(shown) for shown in found]})
    elif about is not None and len(found) == 1:
        _print_event(found[0])
    else:
        columns = [speak(f"cli.column.{column}") for column in ("index", "time", "event", "about", "signed")]
        print_table(columns, [_line(shown) for shown in found])


@app.command(help=speak("cli.log.prove"))
def prove(
    event: EventArgument,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,  # noqa: ARG001 - a proof is JSON either way
) -> None:
    from malan.services.journal import read_event
    from malan.services.log.proofs import bundle
    from malan.services.log.reading import places_of

    ws = open_workspace(workspace)
    print_json(bundle(ws, read_event(ws, places_of(ws, event, caller=COMMAND_LINE)[-1], caller=COMMAND_LINE)))


@app.command(help=speak("cli.log.receipt"))
def receipt(
    event: EventArgument,
    out: Annotated[Path, typer.Option(help=speak("cli.log.receipt_out"))],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.log.proofs import event_receipt
    from malan.services.log.reading import places_of

    ws = open_workspace(workspace)
    place = places_of(ws, event, caller=COMMAND_LINE)[-1]
    write_out(out, event_receipt(ws, place, caller=COMMAND_LINE))
    say_receipt(ws_path=workspace, out=out, index=place, as_json=as_json)


@app.command(help=speak("cli.log.verify"))
def verify(
    folder: Annotated[Path | None, typer.Argument(help=speak("cli.log.folder"), show_default=False)] = None,
    key: Annotated[list[str] | None, typer.Option(help=speak("cli.log.key"))] = None,
    policy: Annotated[Path | None, typer.Option(help=speak("cli.witness.policy"))] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.log.reading import verify_log

    ws = open_workspace(workspace) if folder is None or not key else None
    with progress_bar(speak("cli.log.verifying"), quiet=as_json) as step:
        verified = verify_log(ws, folder, key or [], policy=policy, progress=step, caller=COMMAND_LINE)
    if as_json:
        print_json(_verified_json(verified))
    else:
        _print_verified(verified)
    if not verified.is_whole:
        raise typer.Exit(4)


@app.command(help=speak("cli.log.export"))
def export(
    out: Annotated[Path, typer.Argument(help=speak("cli.log.export_out"))],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.log.reading import export_log

    files = export_log(open_workspace(workspace), out, caller=COMMAND_LINE)
    if as_json:
        print_json({"out": out, "files": files})
    else:
        print_line(speak("cli.log.exported", files=files, out=out))


@app.command(help=speak("cli.log.forget"))
def forget(
    event: EventArgument,
    field: Annotated[list[str] | None, typer.Option(help=speak("cli.log.field"))] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.journal import forget as forget_data
    from malan.services.journal import read_event
    from malan.services.log.reading import places_of

    ws = open_workspace(workspace)
    place = places_of(ws, event, caller=COMMAND_LINE)[-1]
    fields = forget_data(ws, read_event(ws, place, caller=COMMAND_LINE), field or [], caller=COMMAND_LINE)
    if as_json:
        print_json({"index": place, "forgotten": fields})
    else:
        print_line(speak("cli.log.forgotten", index=place, fields=", ".join(fields)))


def say_receipt(*, ws_path: Path | None, out: Path, index: int, as_json: bool) -> None:
    """Tell where a receipt lies and how a stranger checks it."""
    from malan.services.log.keys import show_keys

    vkey = show_keys(open_workspace(ws_path), caller=COMMAND_LINE).vkey
    if as_json:
        print_json({"receipt": out, "index": index, "vkey": vkey})
        return
    print_line(speak("cli.log.receipt_written", out=out, index=index))
    print_line(f"  python -m malan.ledger.verify {out} --key {vkey}")


def _line(shown: EventShown) -> tuple[str, ...]:
    statement = shown.event.statement
    about = statement.subjects[0].urn.removeprefix("urn:malan:")[:28]
    signers = ", ".join(dict.fromkeys(one.shown for one in shown.signers))
    return str(shown.event.index), _time(statement.time), _kind(statement.kind), about, signers


def _print_event(shown: EventShown) -> None:
    statement = shown.event.statement
    print_line(f"{shown.event.index}  {_kind(statement.kind)}")
    fields: dict[str, list[str]] = {
        "time": [_time(statement.time)],
        "id": [statement.id],
        "signed": [_signer(one) for one in shown.signers],
        "about": [one.urn for one in statement.subjects],
        "from": [f"{one.urn} ({one.relation})" for one in statement.inputs],
        "facts": [f"{name}: {_value(value)}" for name, value in sorted(statement.facts.items())],
        "private": [f"{name}: {_value(value)}" for name, value in sorted(shown.private.items())],
        "forgotten": [", ".join(shown.forgotten)] if shown.forgotten else [],
    }
    print_fields({speak(f"cli.log.of_{name}"): values for name, values in fields.items() if values})


def _signer(one: Signer) -> str:
    return f"{one.shown}  {one.key_id}"


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _time(text: str) -> str:
    return text[:19].replace("T", " ")


def _kind(kind: str) -> str:
    return f"{kind} {speak(f'event.{kind}')}"


def _verified_json(verified: LogVerified) -> dict[str, object]:
    return {
        "whole": verified.is_whole,
        "origin": verified.origin,
        "size": verified.size,
        "root": verified.root,
        "events": verified.events,
        "index_rows": verified.index_rows,
        "cosigned_by": verified.cosigned_by,
        "claimed_by": verified.claimed_by,
        "damages": [{"code": one.code, "message": one.message(), **one.values} for one in verified.damages],
        "remarks": [{"code": one.code, "message": one.message(), **one.values} for one in verified.remarks],
    }


def _print_verified(verified: LogVerified) -> None:
    for damage in verified.damages:
        fail(damage)
    for remark in verified.remarks:
        print_line(remark.message())
    if not verified.is_whole:
        return
    print_line(speak("cli.log.whole", origin=verified.origin, size=verified.size, root=verified.root))
    witnesses = ", ".join(verified.cosigned_by)
    print_line(speak("cli.log.witnessed", names=witnesses) if witnesses else speak("cli.log.self_attested"))
    if verified.claimed_by:
        print_line(speak("cli.log.claimed", names=", ".join(verified.claimed_by)))
