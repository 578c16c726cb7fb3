"""`malan asset …`: register footage, scan it, and see what there is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from malan.cli import asset_transcript
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
from malan.services.access import COMMAND_LINE

if TYPE_CHECKING:
    from malan.core import Asset, Finding, Track
    from malan.core.errors import MalanError
    from malan.services.footage.assets import AddReport, AssetRow, FileResult
    from malan.services.footage.scan import ScanReport

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help=speak("cli.asset"))

app.command("transcribe", help=speak("asset.cli.transcribe"))(asset_transcript.transcribe)
app.command("transcript", help=speak("asset.cli.transcript"))(asset_transcript.transcript)

OwnerOption = Annotated[str | None, typer.Option("--owner", help=speak("asset.cli.owner_filter"))]


@app.command(help=speak("asset.cli.add"))
def add(
    paths: Annotated[list[Path], typer.Argument(help=speak("asset.cli.add.paths"))],
    owner: Annotated[str, typer.Option("--owner", help=speak("asset.cli.add.owner"))],
    terms: Annotated[Path | None, typer.Option("--terms", help=speak("asset.cli.add.terms"))] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.rights.terms import load_terms
    from malan.services.footage.assets import add_assets

    ws = open_workspace(workspace, create=True)
    loaded = None if terms is None else load_terms(terms, owner)
    with progress_bar(speak("asset.cli.adding"), quiet=as_json) as step:
        report = add_assets(ws, paths, owner=owner, terms=loaded, progress=step, caller=COMMAND_LINE)
    print_json(_add_json(report)) if as_json else _print_added(report)
    if report.refused and not report.added and not report.known:
        raise typer.Exit(1)


@app.command("list", help=speak("asset.cli.list"))
def list_(
    owner: OwnerOption = None,
    refused: Annotated[bool, typer.Option("--refused", help=speak("asset.cli.list.refused"))] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.footage.assets import list_assets, list_refused
    from malan.services.footage.owners import owner_names

    ws = open_workspace(workspace)
    if refused:
        found = [_refusal(file.path, file.error) for file in list_refused(ws, caller=COMMAND_LINE)]
        print_json({"refused": found}) if as_json else _print_refusals(found)
        return
    rows, names = list_assets(ws, owner=owner, caller=COMMAND_LINE), owner_names(ws)
    if as_json:
        print_json({"assets": [_asset_json(row, names) for row in rows]})
        return
    columns = [speak(f"asset.cli.column.{name}") for name in ("id", "name", "owner", "duration", "tracks", "status")]
    print_table(columns, [_asset_line(row, names) for row in rows])
    print_line(speak("asset.cli.listed", count=len(rows)))


@app.command(help=speak("asset.cli.show"))
def show(
    asset_id: Annotated[str, typer.Argument(help=speak("asset.cli.id"))],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.core.catalogue import session_language
    from malan.services.footage.assets import show_asset
    from malan.services.footage.marks import marks_on
    from malan.services.footage.owners import owner_names
    from malan.services.spoken import summary_of

    ws = open_workspace(workspace)
    row, names = show_asset(ws, asset_id, caller=COMMAND_LINE), owner_names(ws)
    marks = marks_on(ws, row.asset.id, caller=COMMAND_LINE)
    if as_json:
        print_json({**_asset_json(row, names), "marks": [_mark_json(mark) for mark in marks]})
        return
    _print_asset(row, names)
    for mark in marks:
        print_line(f"  ! {summary_of(mark, session_language())}")


@app.command(help=speak("asset.cli.scan"))
def scan(
    asset_ids: Annotated[list[str] | None, typer.Argument(help=speak("asset.cli.scan.ids"))] = None,
    captions: Annotated[bool, typer.Option(help=speak("asset.cli.scan.captions"))] = True,
    again: Annotated[bool, typer.Option("--again", help=speak("asset.cli.scan.again"))] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.footage.scan import scan_assets

    ws = open_workspace(workspace)
    with progress_bar(speak("asset.cli.scanning"), quiet=as_json) as step:
        report = scan_assets(ws, asset_ids or None, captions=captions, again=again, progress=step, caller=COMMAND_LINE)
    print_json(_scan_json(report)) if as_json else _print_scanned(report)
    if report.failed and not report.scanned and not report.unchanged:
        raise typer.Exit(1)


@app.command(help=speak("asset.cli.withdraw"))
def withdraw(
    asset: Annotated[str, typer.Argument(help=speak("asset.cli.id"))],
    reason: Annotated[str, typer.Option(help=speak("asset.cli.reason"))],
    out: Annotated[Path | None, typer.Option(help=speak("cli.log.receipt_out"), show_default=False)] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from dataclasses import asdict

    from malan.services.footage.withdrawal import withdraw_asset, withdrawal_receipt
    from malan.services.log.proofs import write_receipt

    ws = open_workspace(workspace)
    taken = withdraw_asset(ws, asset, reason, caller=COMMAND_LINE)
    if out is not None:
        write_out(out, write_receipt(withdrawal_receipt(ws, taken)))
    if as_json:
        print_json({"event": taken.event, "receipt": out, "reach": asdict(taken.reach)})
        return
    print_line(speak("asset.cli.withdrawn", id=taken.asset.asset.id[:12], event=taken.event))
    for name, held in asdict(taken.reach).items():
        if name != "asset_id" and held:
            shown = str(held) if isinstance(held, int) else ", ".join(one[:12] for one in held)
            print_line(f"  {speak(f'asset.cli.reach.{name}')}: {shown}")


@app.command(help=speak("asset.cli.restore"))
def restore(
    asset: Annotated[str, typer.Argument(help=speak("asset.cli.id"))],
    owner: Annotated[str, typer.Option(help=speak("asset.cli.add.owner"))],
    terms: Annotated[Path, typer.Option(help=speak("asset.cli.add.terms"))],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.rights import load_terms
    from malan.services.footage.withdrawal import restore_asset

    row = restore_asset(open_workspace(workspace), asset, load_terms(terms, owner), caller=COMMAND_LINE)
    if as_json:
        print_json({"asset_id": row.asset.id, "terms": row.asset.terms_id})
    else:
        print_line(speak("asset.cli.restored", id=row.asset.id[:12]))


def _add_json(report: AddReport) -> dict[str, Any]:
    return {
        "added": [_file_json(file) for file in report.added],
        "known": [_file_json(file) for file in report.known],
        "refused": [_refusal(file.path, file.error) for file in report.refused],
        "passed_over": {
            "hidden": report.passed.hidden,
            "subtitles": report.passed.subtitles,
            "documents": report.passed.others,
        },
        "job_id": report.job_id,
        "cancelled": report.was_cancelled,
    }


def _file_json(file: FileResult) -> dict[str, Any]:
    return {
        "path": file.path,
        "asset_id": file.asset_id,
        "duration_s": file.duration_s,
        "size_bytes": file.size_bytes,
        "kinds": list(file.kinds),
        "subtitles": list(file.subtitles),
        "warnings": [{"code": code, "message": speak(code)} for code in file.warnings],
    }


def _refusal(path: str, error: MalanError) -> dict[str, str]:
    return {"path": path, "code": error.code, "message": error.message(), "hint": error.hint()}


def _print_added(report: AddReport) -> None:
    if not (report.added or report.known or report.refused):
        print_line(speak("asset.cli.nothing"))
        return
    seconds = sum(file.duration_s for file in report.added)
    counts = {"added": len(report.added), "known": len(report.known), "refused": len(report.refused)}
    print_line(speak("asset.cli.added", **counts, duration=_clock(seconds)))
    passed = report.passed
    if passed.hidden or passed.others or passed.subtitles:
        words = {"hidden": passed.hidden, "documents": passed.others, "subtitles": passed.subtitles}
        print_line(speak("asset.cli.passed_over", **words))
    for file in report.added:
        for code in file.warnings:
            print_line(f"  ! {file.path}: {speak(code)}")
    _print_refusals([_refusal(file.path, file.error) for file in report.refused])
    if report.was_cancelled:
        print_line(speak("asset.cli.cancelled"))


def _print_refusals(refused: list[dict[str, str]]) -> None:
    for file in refused:
        name = "" if file["path"] in file["message"] else f"{file['path']}: "
        print_line(f"  ✗ {name}{file['message']} {file['hint']}".rstrip())


def _asset_json(row: AssetRow, names: dict[str, str]) -> dict[str, Any]:
    asset = row.asset
    error = None if row.code is None else _refusal_of(row)
    return {
        "id": asset.id,
        "owner": names.get(asset.owner_id, asset.owner_id),
        "owner_id": asset.owner_id,
        "terms_id": asset.terms_id,
        "title": row.title,
        "tags": list(row.tags),
        "status": row.status,
        "error": error,
        "size_bytes": asset.size_bytes,
        "container": asset.container,
        "duration_s": float(asset.duration),
        "tracks": list(asset.tracks),
        "locations": [place.path for place in row.locations],
        "scanned_by": dict(row.scan),
        "added_s": row.added_s,
    }


def _mark_json(mark: Finding) -> dict[str, Any]:
    return {"kind": mark.kind, "value": dict(mark.value), "reason": mark.reason}


def _refusal_of(row: AssetRow) -> dict[str, str]:
    from malan.services.footage.assets import error_of

    error = error_of(row.code, row.values)
    return {"code": error.code, "message": error.message(), "hint": error.hint()}


def _asset_line(row: AssetRow, names: dict[str, str]) -> list[str]:
    asset = row.asset
    owner = names.get(asset.owner_id, asset.owner_id[:12])
    status = speak(f"asset.status.{row.status}")
    return [asset.id[:12], _name(row), owner, _clock(float(asset.duration)), _tracks(asset), status]


def _print_asset(row: AssetRow, names: dict[str, str]) -> None:
    asset = row.asset
    facts = {
        "id": asset.id,
        "name": row.title or _name(row),
        "owner": names.get(asset.owner_id, asset.owner_id),
        "terms": asset.terms_id,
        "duration": _clock(float(asset.duration)),
        "size": f"{asset.size_bytes:,}",
        "container": asset.container,
        "status": speak(f"asset.status.{row.status}"),
    }
    for name, value in facts.items():
        print_line(f"{speak(f'asset.cli.column.{name}')}: {value}")
    for track in asset.tracks:
        print_line(f"  {track.index}  {speak(f'asset.track.{track.kind}')}  {_track(track)}")
    for place in row.locations:
        print_line(f"  {place.path}")
    if row.code is not None:
        _print_refusals([{"path": "", **_refusal_of(row)}])


def _scan_json(report: ScanReport) -> dict[str, Any]:
    return {
        "scanned": [
            {"asset_id": s.asset_id, "clips": s.clips, "findings": s.findings, "cpu_s": s.cpu_s} for s in report.scanned
        ],
        "unchanged": list(report.unchanged),
        "failed": [{"asset_id": f.asset_id, **_refusal(f.path, f.error)} for f in report.failed],
        "near_duplicate_groups": report.groups,
        "job_id": report.job_id,
        "cancelled": report.was_cancelled,
        "transcribed": report.transcribed,
        "transcript_lines": report.lines,
        "speech_problem": _said(report.speech_problem),
    }


def _said(error: MalanError | None) -> dict[str, str] | None:
    return None if error is None else {"code": error.code, "message": error.message(), "hint": error.hint()}


def _print_scanned(report: ScanReport) -> None:
    clips, findings = sum(s.clips for s in report.scanned), sum(s.findings for s in report.scanned)
    counts = {"scanned": len(report.scanned), "unchanged": len(report.unchanged), "failed": len(report.failed)}
    print_line(speak("asset.cli.scanned", **counts, clips=clips, findings=findings, groups=report.groups))
    _print_refusals([_refusal(f.path, f.error) for f in report.failed])
    if report.transcribed:
        print_line(speak("asset.cli.scan.spoken", assets=report.transcribed, lines=report.lines))
    if report.speech_problem is not None:
        problem = report.speech_problem
        print_line(speak("asset.cli.scan.unheard", why=f"{problem.message()} {problem.hint()}".strip()))
    if report.was_cancelled:
        print_line(speak("asset.cli.cancelled"))


def _name(row: AssetRow) -> str:
    return Path(row.locations[0].path).name if row.locations else row.title


def _tracks(asset: Asset) -> str:
    return " · ".join(_track(t) for t in asset.tracks if t.kind in ("video", "audio", "image"))


def _track(track: Track) -> str:
    parts = [track.codec]
    if size := track.shown_size_px:
        parts.append(f"{size[0]}×{size[1]}")
    if track.mean_rate:
        parts.append(f"{float(track.mean_rate):.5g} fps")
    if track.sample_rate_hz:
        parts.append(f"{track.sample_rate_hz / 1000:g} kHz")
    if track.channels:
        parts.append(f"{track.channels} ch")
    if track.language:
        parts.append(track.language)
    return " ".join(parts)


def _clock(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
