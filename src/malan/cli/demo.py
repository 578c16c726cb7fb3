"""`malan demo`: the whole chain, step by step, on films drawn on the spot or on the user's own footage.

Each step is the same service the commands and the console call; this file only orders them and shows what they say.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from malan.cli.show import open_workspace, print_line, progress_bar, speak
from malan.services.access import COMMAND_LINE

if TYPE_CHECKING:
    from malan.workspace import Workspace

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(help=speak("cli.demo"))
def demo(
    workspace: Annotated[Path, typer.Option(envvar="MALAN_WORKSPACE", help=speak("cli.workspace"))] = Path(
        "demo-workspace"
    ),
    footage: Annotated[Path | None, typer.Option(help=speak("cli.demo.footage"))] = None,
    owner: Annotated[str, typer.Option(help=speak("cli.demo.owner_option"))] = "",
    serve: Annotated[bool, typer.Option(help=speak("cli.demo.serve"))] = True,
    port: Annotated[int, typer.Option(min=0, max=65535, help=speak("cli.up.port"))] = 8600,
) -> None:
    began = time.monotonic()
    ws = open_workspace(workspace, create=True)
    files = _drawn(ws) if footage is None else {owner or speak("cli.demo.owner"): [footage.expanduser()]}
    _add(ws, files)
    _scan(ws)
    if footage is None:
        for words in ("夜景 航拍", "云海", "三年前"):
            _find(ws, words)
    _freeze(ws)
    _trace(ws)
    print_line(speak("cli.demo.done", seconds=f"{time.monotonic() - began:.0f}", workspace=ws.root))
    if serve:
        from malan.cli.up import become_console

        become_console(ws, port=port)


def _drawn(ws: Workspace) -> dict[str, list[Path]]:
    """The demo's own films, drawn where they are not there yet."""
    from malan.services.demo.draw import draw_library

    with progress_bar(speak("cli.demo.drawing")) as step:
        files = draw_library(ws.folder("footage"), step, ws.settings.worker_count)
    print_line(speak("cli.demo.drawn", files=sum(len(paths) for paths in files.values()), owners=len(files)))
    return files


def _add(ws: Workspace, files: dict[str, list[Path]]) -> None:
    from malan.rights import load_terms
    from malan.services.assets import add_assets

    for owner, paths in files.items():
        terms_file = paths[0].parent / "terms.toml"
        terms = load_terms(terms_file, owner) if terms_file.exists() and paths[0].is_file() else None
        with progress_bar(speak("cli.demo.adding", owner=owner)) as step:
            report = add_assets(ws, paths, owner=owner, terms=terms, progress=step, caller=COMMAND_LINE)
        counts = {"added": len(report.added), "known": len(report.known), "refused": len(report.refused)}
        print_line(speak("cli.demo.added", owner=owner, **counts))
        for file in report.refused[:5]:
            print_line(f"  ✗ {file.error.message()} {file.error.hint()}")
        if len(report.refused) > 5:
            print_line(speak("cli.demo.more_refused", count=len(report.refused) - 5))


def _scan(ws: Workspace) -> None:
    from malan.services.scan import scan_assets

    with progress_bar(speak("cli.demo.scanning")) as step:
        report = scan_assets(ws, progress=step, caller=COMMAND_LINE)
    print_line(
        speak(
            "cli.demo.scanned",
            scanned=len(report.scanned),
            unchanged=len(report.unchanged),
            clips=ws.library.count_clips(),
        )
    )
    for failed in report.failed[:5]:
        print_line(f"  ✗ {failed.asset_id[:12]}  {failed.error.message()}")


def _find(ws: Workspace, words: str) -> None:
    from malan.services import clips
    from malan.services.where import condition

    page = clips.find(ws, condition(words), caller=COMMAND_LINE)
    print_line(speak("cli.demo.found", words=words, count=page.total, ms=f"{page.took_ms:.0f}"))
    for hit in page.hits[:2]:
        span = hit.row.span
        why = "  ".join(f"{one.field}: {one.snippet}" for one in hit.evidence[:1])
        print_line(f"    {hit.row.file_name}  {span.start_s:.2f}–{span.end_s:.2f} s  {why}")


def _freeze(ws: Workspace) -> None:
    """A snapshot of every clip of a second or longer; the same clips give the same snapshot every time."""
    if not ws.library.count_clips():
        return
    from malan.services.datasets import freeze_snapshot
    from malan.services.where import condition

    frozen = freeze_snapshot(ws, "demo", condition("min-duration=1"), caller=COMMAND_LINE)
    splits = "  ".join(f"{split} {clips}" for split, clips in frozen.clips_by_split.items())
    snapshot = frozen.saved.snapshot
    print_line(speak("cli.demo.frozen", clips=snapshot.clip_count, splits=splits, id=snapshot.id[:16]))


def _trace(ws: Workspace) -> None:
    """Export one clip, and follow the file back to the owner of its footage."""
    from malan.cli.output import print_trace
    from malan.services.clips import find
    from malan.services.exports import export_clips
    from malan.services.log import verify_log
    from malan.services.outputs import trace_output
    from malan.services.where import condition

    found = find(ws, condition("min-duration=1"), use="export", caller=COMMAND_LINE).hits
    if not found:
        return
    exported = export_clips(ws, [found[0].row.id], ws.folder("exports"), caller=COMMAND_LINE)[0]
    print_line(speak("cli.demo.exported", file=exported.path.name))
    print_trace(trace_output(ws, str(exported.path), caller=COMMAND_LINE))
    verified = verify_log(ws, caller=COMMAND_LINE)
    print_line(speak("cli.log.whole", origin=verified.origin, size=verified.size, root=verified.root))
