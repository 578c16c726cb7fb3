"""`malan asset transcript`: what is said in an asset, to read or as subtitles; `transcribe`: write it down."""

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
    progress_bar,
    speak,
    write_out,
)
from malan.core.time import timecode
from malan.services.access import COMMAND_LINE

if TYPE_CHECKING:
    from malan.services.footage.transcripts import TranscriptReport


def transcript(
    asset: Annotated[str, typer.Argument(help=speak("asset.cli.id"))],
    srt: Annotated[Path | None, typer.Option(help=speak("asset.cli.transcript.srt"), show_default=False)] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.footage.transcripts import transcript_of

    found = transcript_of(open_workspace(workspace), asset, caller=COMMAND_LINE)
    if srt is not None:
        write_out(srt, found.srt.encode())
    lines = [
        {
            "start_s": round(one.clip.span.start_s, 3), "end_s": round(one.clip.span.end_s, 3), **one.value,
            "confidence": one.confidence, "version": one.version,
        }
        for one in found.lines
    ]  # fmt: skip
    if as_json:
        print_json({"asset": found.asset.asset.id, "lines": lines, **({"srt": str(srt)} if srt else {})})
    elif not lines:
        print_line(speak("asset.cli.transcript.none"))
    else:
        columns = [speak(f"cli.column.{column}") for column in ("from", "to", "value")]
        print_table(columns, [(timecode(one["start_s"]), timecode(one["end_s"]), str(one["text"])) for one in lines])


def transcribe(
    asset_ids: Annotated[list[str] | None, typer.Argument(help=speak("asset.cli.scan.ids"))] = None,
    engine: Annotated[str, typer.Option(help=speak("asset.cli.transcribe.engine"), show_default=False)] = "",
    again: Annotated[bool, typer.Option("--again", help=speak("asset.cli.transcribe.again"))] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.footage.transcripts import transcribe_assets

    ws = open_workspace(workspace)
    with progress_bar(speak("asset.cli.transcribing"), quiet=as_json) as step:
        report = transcribe_assets(
            ws, asset_ids or None, engine=engine, again=again, progress=step, caller=COMMAND_LINE
        )
    print_json(_json(report)) if as_json else _print(report)
    if report.failed and not report.heard and not report.unchanged:
        raise typer.Exit(1)


def _json(report: TranscriptReport) -> dict[str, Any]:
    failed = [
        {"asset_id": one.asset_id, "code": one.error.code, "message": one.error.message(), "hint": one.error.hint()}
        for one in report.failed
    ]
    return {
        "engine": report.engine, "model": report.model, "heard": list(report.heard),
        "unchanged": list(report.unchanged), "failed": failed, "lines": report.lines, "seconds": report.seconds,
        "cancelled": report.was_cancelled,
    }  # fmt: skip


def _print(report: TranscriptReport) -> None:
    counts = {"heard": len(report.heard), "unchanged": len(report.unchanged), "failed": len(report.failed)}
    print_line(speak("asset.cli.transcribed", **counts, lines=report.lines))
    for one in report.failed:
        print_line(f"{one.asset_id[:12]}  {one.error.message()}  {one.error.hint()}")
