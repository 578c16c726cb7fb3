"""`malan output`: from a finished file back to the owners of its footage, with proofs."""

from __future__ import annotations

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
from malan.core.time import timecode
from malan.services.access import COMMAND_LINE

if TYPE_CHECKING:
    from malan.services.outputs.manifests import Trace

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help=speak("cli.output"))

OutputArgument = Annotated[str, typer.Argument(help=speak("cli.output.file"))]


@app.command(help=speak("cli.output.trace"))
def trace(output: OutputArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    from malan.services.outputs.manifests import trace_output
    from malan.services.outputs.recall import describe_marks, marks_of

    ws = open_workspace(workspace)
    found = trace_output(ws, output, caller=COMMAND_LINE)
    marks = marks_of(ws, [found.output_id]).get(found.output_id, ())
    if as_json:
        print_json(trace_json(found) | {"recalled": describe_marks(marks)})
        return
    for mark in marks:
        values = {"index": mark.event, "time": mark.at[:19].replace("T", " "), "reason": mark.reason or "–"}
        print_line(speak("cli.output.recalled", model=mark.model_id[:16], **values))
    print_trace(found)


@app.command(help=speak("cli.output.prove"))
def prove(
    output: OutputArgument,
    out: Annotated[Path, typer.Option(help=speak("cli.log.receipt_out"))],
    clip: Annotated[str | None, typer.Option(help=speak("cli.output.clip"), show_default=False)] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.cli.log import say_receipt
    from malan.services.log.proofs import output_receipt, write_receipt
    from malan.services.outputs.manifests import trace_output

    ws = open_workspace(workspace)
    write_out(out, write_receipt(output_receipt(ws, output, clip, caller=COMMAND_LINE)))
    say_receipt(
        ws_path=workspace, out=out, index=trace_output(ws, output, caller=COMMAND_LINE).event.index, as_json=as_json
    )


def print_trace(found: Trace) -> None:
    """The way back as a table: what is shown when, from which file, whose it is, where the log says so."""
    statement = found.event.statement
    values = {"id": found.output_id[:16], "index": found.event.index, "time": statement.time[:19].replace("T", " ")}
    print_line(speak("cli.output.published", app=statement.facts["app"], mode=statement.facts["mode"], **values))
    columns = [speak(f"cli.column.{name}") for name in ("at", "owner", "file", "from", "to", "clip", "registered")]
    print_table(columns, [_row(one) for one in found.sources])
    print_line(speak("cli.output.verified", size=found.checkpoint_size))


def trace_json(found: Trace) -> dict[str, Any]:
    """The way back as JSON."""
    statement = found.event.statement
    return {
        "output": found.output_id,
        "app": statement.facts["app"],
        "mode": statement.facts["mode"],
        "event": {"index": found.event.index, "id": statement.id, "time": statement.time},
        "sources_root": found.sources_root,
        "log_size": found.checkpoint_size,
        "sources": [
            {
                "at_s": one.source.at_s,
                "until_s": one.source.until_s,
                "parts": one.source.parts,
                "clip": one.source.clip.id,
                "fragment": one.source.clip.fragment,
                "owner": one.owner,
                "owner_id": one.source.owner_id,
                "terms": one.source.terms_id,
                "file": one.file_name,
                "ingest_event": one.ingest_index,
                "scan_event": one.scan_index,
            }
            for one in found.sources
        ],
    }


def _row(one: Any) -> tuple[str, ...]:
    source, span = one.source, one.source.clip.span
    at = f"{timecode(float(source.at_s))} – {timecode(float(source.until_s))}"
    times = timecode(float(span.start * span.timebase)), timecode(float(span.end * span.timebase))
    return at, one.owner, one.file_name, *times, source.clip.id[:12], f"#{one.ingest_index}"
