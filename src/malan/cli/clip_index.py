"""`malan clip index`: what search by meaning stands on, one index a model; `measure-search`: how well search finds."""

from __future__ import annotations

from dataclasses import asdict
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
from malan.services.access import COMMAND_LINE


def index(
    model: Annotated[str, typer.Option("--model", help=speak("cli.clip.model"), show_default=False)] = "",
    rebuild: Annotated[bool, typer.Option("--rebuild", help=speak("cli.clip.rebuild"))] = False,
    listed: Annotated[bool, typer.Option("--list", help=speak("cli.clip.list_indexes"))] = False,
    drop: Annotated[str, typer.Option("--drop", help=speak("cli.clip.drop_index"), show_default=False)] = "",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.clips.meaning import build_index, drop_index, told

    ws = open_workspace(workspace)
    if drop:
        gone = drop_index(ws, drop, caller=COMMAND_LINE)
        print_json({"dropped": gone.model, "title": gone.title}) if as_json else print_line(
            speak("cli.clip.index_dropped", model=gone.title)
        )
    elif listed:
        _list(workspace, as_json)
    else:
        with progress_bar(speak("cli.clip.indexing"), quiet=as_json) as step:
            report = build_index(
                ws, model, rebuild=rebuild, progress=lambda done, total: step(done, total, ""), caller=COMMAND_LINE
            )
        said = told(report)
        print_json(said) if as_json else print_line(speak("cli.clip.indexed", **{**said, "model": report.model[:12]}))


def measure(
    truth: Annotated[Path, typer.Argument(help=speak("cli.clip.truth"))],
    model: Annotated[str, typer.Option("--model", help=speak("cli.clip.model"), show_default=False)] = "",
    top: Annotated[int, typer.Option("--top", help=speak("cli.clip.top"))] = 10,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.clips.search_measure import measure_search

    found = measure_search(open_workspace(workspace), truth, engine=model, top=top, caller=COMMAND_LINE)
    if as_json:
        print_json(asdict(found))
        return
    columns = [speak(f"cli.column.{column}") for column in ("way", "recall", "reciprocal_rank", "median_ms")]
    rows = [
        (speak(f"cli.clip.way_{one.way}"), f"{one.recall:.1%}", f"{one.reciprocal_rank:.3f}", f"{one.median_ms:.1f}")
        for one in found.ways
    ]
    print_table(columns, rows)
    print_line(speak("cli.clip.measured", questions=found.questions, clips=found.clips, top=found.top))
    for one in found.ways:
        if one.lost:
            print_line(speak("cli.clip.lost", way=speak(f"cli.clip.way_{one.way}"), queries="、".join(one.lost)[:400]))


def _list(workspace: WorkspaceOption, as_json: bool) -> None:
    from malan.services.clips.meaning import list_indexes, told

    found = list_indexes(open_workspace(workspace), caller=COMMAND_LINE)
    if as_json:
        print_json({"indexes": [told(one) for one in found]})
        return
    columns = [speak(f"cli.column.{column}") for column in ("encoder_model", "model_digest", "stands_for", "clips")]
    print_table(columns, [(one.title, one.model[:12], one.engine or "–", str(one.clips)) for one in found])
