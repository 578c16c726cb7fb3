"""`malan dataset`: freeze, list, show, prove, export."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Annotated

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
)
from malan.core.errors import UsageError
from malan.services.access import COMMAND_LINE

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True, help=speak("cli.dataset"))


@app.command(help=speak("cli.dataset.freeze"))
def freeze(
    name: Annotated[str, typer.Argument(help=speak("cli.dataset.name"))],
    where: Annotated[list[str] | None, typer.Option(help=speak("cli.where"))] = None,
    use: Annotated[str, typer.Option(help=speak("cli.use"))] = "retrieve",
    split: Annotated[list[str] | None, typer.Option(help=speak("cli.dataset.split"))] = None,
    seed: Annotated[int, typer.Option(help=speak("cli.dataset.seed"))] = 0,
    meant_for: Annotated[str | None, typer.Option("--for", help=speak("cli.dataset.for"), show_default=False)] = None,
    purpose: Annotated[str | None, typer.Option(help=speak("cli.dataset.purpose"), show_default=False)] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.accounts.acting import party_of
    from malan.services.clips.where import condition
    from malan.services.datasets.freezing import DEFAULT_SHARES, freeze_snapshot

    shares = dict(_share(text) for text in split) if split else DEFAULT_SHARES
    ws = open_workspace(workspace)
    party_id = party_of(ws, meant_for) if meant_for else None
    caller = replace(COMMAND_LINE, party_id=party_id, purpose=purpose)
    frozen = freeze_snapshot(
        ws, name, condition(" ".join(where or [])), use=use, shares=shares, seed=seed, caller=caller
    )
    snapshot = frozen.saved.snapshot
    if as_json:
        print_json(
            {
                "snapshot": snapshot.id,
                "name": snapshot.name,
                "clips": snapshot.clip_count,
                "clips_by_split": frozen.clips_by_split,
                "seconds_by_split": frozen.seconds_by_split,
                "denied_clips": frozen.denied_clips,
                "frozen_at": frozen.saved.frozen_at,
            }
        )
        return
    print_line(speak("cli.dataset.frozen", name=snapshot.name, clips=snapshot.clip_count, id=snapshot.id))
    columns = [speak(f"cli.column.{column}") for column in ("split", "clips", "seconds")]
    rows = [(s, str(n), f"{frozen.seconds_by_split[s]:.1f}") for s, n in frozen.clips_by_split.items()]
    print_table(columns, rows)
    if frozen.denied_clips:
        print_line(speak("cli.dataset.denied", clips=frozen.denied_clips, use=use))


@app.command("list", help=speak("cli.dataset.list"))
def list_(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    from malan.services.datasets.freezing import list_snapshots

    found = list_snapshots(open_workspace(workspace), caller=COMMAND_LINE)
    if as_json:
        rows = [{"snapshot": s.snapshot.id, "name": s.snapshot.name, "clips": s.snapshot.clip_count} for s in found]
        print_json({"snapshots": [row | {"frozen_at": s.frozen_at} for row, s in zip(rows, found, strict=True)]})
        return
    columns = [speak(f"cli.column.{column}") for column in ("name", "clips", "frozen", "id")]
    rows_shown = [(s.snapshot.name, str(s.snapshot.clip_count), s.frozen_at, s.snapshot.id[:16]) for s in found]
    print_table(columns, rows_shown)


@app.command(help=speak("cli.dataset.show"))
def show(
    name: Annotated[str, typer.Argument(help=speak("cli.dataset.name_or_id"))],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.datasets.freezing import show_snapshot

    saved, manifest = show_snapshot(open_workspace(workspace), name, caller=COMMAND_LINE)
    if as_json:
        lines = [{"clip": e.clip.id, "fragment": e.clip.fragment, "split": e.split} for e in manifest.entries]
        print_json({"snapshot": saved.snapshot, "frozen_at": saved.frozen_at, "clips": lines})
        return
    print_line(speak("cli.dataset.intact", name=saved.snapshot.name, clips=len(manifest.entries), id=manifest.root))
    columns = [speak(f"cli.column.{column}") for column in ("split", "clip", "fragment")]
    print_table(columns, [(e.split, e.clip.id[:16], e.clip.fragment) for e in manifest.entries[:50]])


@app.command(help=speak("cli.dataset.prove"))
def prove(
    name: Annotated[str, typer.Argument(help=speak("cli.dataset.name_or_id"))],
    clip: Annotated[str, typer.Argument(help=speak("cli.clip.id"))],
    workspace: WorkspaceOption = None,
) -> None:
    from malan.services.datasets.freezing import prove_clip

    print_json(prove_clip(open_workspace(workspace), name, clip, caller=COMMAND_LINE))


@app.command(help=speak("cli.dataset.export"))
def export(
    name: Annotated[str, typer.Argument(help=speak("cli.dataset.name_or_id"))],
    out: Annotated[Path, typer.Option(help=speak("cli.out"))],
    format_name: Annotated[str, typer.Option("--format", help=speak("cli.dataset.format"))] = "videofolder",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.datasets.freezing import export_snapshot

    with progress_bar(speak("cli.dataset.exporting"), quiet=as_json) as step:
        done = export_snapshot(open_workspace(workspace), name, format_name, out, progress=step, caller=COMMAND_LINE)
    if as_json:
        print_json(
            {
                "snapshot": done.snapshot.id,
                "format": done.format,
                "out": done.out,
                "clips": done.clips,
                "left_out": done.left_out,
                "size_bytes": done.size_bytes,
            }
        )
        return
    megabytes = f"{done.size_bytes / 1e6:.1f}"
    print_line(speak("cli.dataset.exported", name=done.snapshot.name, clips=done.clips, out=done.out, mb=megabytes))
    if done.left_out:
        print_line(speak("cli.dataset.left_out", clips=done.left_out, format=done.format))


@app.command(help=speak("cli.dataset.dossier"))
def dossier(
    name: Annotated[str, typer.Argument(help=speak("cli.dataset.name_or_id"))],
    out: Annotated[Path, typer.Option(help=speak("cli.out"))],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.access import COMMAND_LINE
    from malan.services.datasets.dossier import describe_dossier, write_dossier

    made = write_dossier(open_workspace(workspace), name, out, caller=COMMAND_LINE)
    if as_json:
        print_json(describe_dossier(made))
        return
    print_line(speak("cli.dataset.dossier_written", assets=made.assets, out=out, files=made.files, root=made.root[:16]))
    print_line(speak("cli.dataset.dossier_open", fields=", ".join(made.open_fields) or "–"))


@app.command("check-dossier", help=speak("cli.dataset.check_dossier"))
def check_dossier(
    folder: Annotated[Path, typer.Argument(help=speak("cli.dataset.dossier_folder"))],
    key: Annotated[str | None, typer.Option(help=speak("cli.dataset.dossier_key"), show_default=False)] = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.datasets.dossier import describe_dossier
    from malan.services.datasets.dossier_check import check_dossier as check

    found = check(folder, key)
    if as_json:
        print_json(describe_dossier(found) | {"key_given": key is not None})
        return
    print_line(speak("cli.dataset.dossier_holds", files=found.files, root=found.root[:16]))
    if key is None:
        print_line(speak("cli.dataset.dossier_self", key=found.vkey))


def _share(text: str) -> tuple[str, Fraction]:
    """`train=8/10` or `train=0.8`."""
    name, _, value = text.partition("=")
    try:
        return name.strip(), Fraction(value)
    except (ValueError, ZeroDivisionError):
        raise UsageError("dataset.shares", shares=text) from None
