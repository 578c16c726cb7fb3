"""`malan clip label`, `unlabel`, `labels`: what people say of clips, for search and for training."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from malan.cli.show import JsonOption, WorkspaceOption, open_workspace, print_json, print_line, print_table, speak
from malan.services.access import COMMAND_LINE

if TYPE_CHECKING:
    from malan.core import Clip
    from malan.services.clips.labels import Label, SetShown
    from malan.workspace import Workspace

WhichArgument = Annotated[list[str] | None, typer.Argument(help=speak("cli.clip.which"), show_default=False)]
AsOption = Annotated[list[str] | None, typer.Option("--as", help=speak("cli.clip.label_as"), show_default=False)]
ByOption = Annotated[str, typer.Option("--by", help=speak("cli.clip.label_by"), show_default=False)]


def label(
    which: WhichArgument = None,
    as_: AsOption = None,
    by: ByOption = "",
    also: Annotated[bool, typer.Option("--also", help=speak("cli.clip.label_also"))] = False,
    csv: Annotated[Path | None, typer.Option("--csv", help=speak("cli.clip.label_csv"), show_default=False)] = None,
    label_set: Annotated[str, typer.Option("--set", help=speak("cli.clip.label_set"), show_default=False)] = "",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.clips.labels import Label, label_each

    ws = open_workspace(workspace)
    labels = [Label.read(text) for text in as_ or ()]
    asked = _from_csv(ws, csv, label_set) if csv else dict.fromkeys(_clips(ws, which), labels)
    _require(bool(csv) != bool(labels))
    done = label_each(ws, asked, by=by, also=also, caller=COMMAND_LINE)
    if as_json:
        print_json({"clips": done.clips, "new": done.new, "replaced": done.replaced})
        return
    print_line(speak("cli.clip.labelled", clips=done.clips, new=done.new, replaced=done.replaced))


def unlabel(
    which: WhichArgument = None,
    as_: Annotated[list[str] | None, typer.Option("--as", help=speak("cli.clip.unlabel_as"))] = None,
    by: ByOption = "",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.clips.labels import unlabel_clips

    ws = open_workspace(workspace)
    _require(bool(as_))
    clips, gone = _clips(ws, which), 0
    for text in as_ or ():
        label_set, _, name = text.partition("=")
        gone += unlabel_clips(ws, clips, label_set, name, by=by, caller=COMMAND_LINE)
    print_json({"taken_back": gone}) if as_json else print_line(speak("cli.clip.unlabelled", count=gone))


def labels(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    from malan.services.clips.labels import label_sets
    from malan.services.footage.owners import owner_names

    ws = open_workspace(workspace)
    found, names = label_sets(ws, caller=COMMAND_LINE), owner_names(ws)
    if as_json:
        print_json({"sets": [_set_json(one, names) for one in found]})
    elif not found:
        print_line(speak("cli.clip.no_labels"))
    else:
        columns = [speak(f"cli.column.{column}") for column in ("label_set", "label_counts", "people", "orphans")]
        print_table(columns, [_set_line(one, names) for one in found])


def _clips(ws: Workspace, which: list[str] | None) -> list[Clip]:
    from malan.services.clips.labels import chosen_clips

    _require(bool(which))
    return chosen_clips(ws, which or [], caller=COMMAND_LINE)


def _from_csv(ws: Workspace, file: Path, label_set: str) -> dict[Clip, list[Label]]:
    from malan.core.errors import NotFound, UsageError
    from malan.services.clips.labels import read_csv

    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text("utf-8")
    except OSError as error:
        raise NotFound("tagger.no_file", path=str(file), detail=error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise UsageError("tagger.csv_columns", found="?") from error
    return read_csv(ws, text, label_set, caller=COMMAND_LINE)


def _require(given: bool) -> None:
    if not given:
        from malan.core.errors import UsageError

        raise UsageError("tagger.label_how")


def _set_json(one: SetShown, names: dict[str, str]) -> dict[str, object]:
    people = [names.get(person, person) for person in one.people]
    return {"set": one.name, "labels": dict(one.clips_by_label), "people": people, "orphans": one.orphans}


def _set_line(one: SetShown, names: dict[str, str]) -> tuple[str, ...]:
    counts = "  ".join(f"{name} {count}" for name, count in one.clips_by_label.items())
    people = ", ".join(names.get(person, person) for person in one.people)
    return one.name, counts, people, str(one.orphans)
