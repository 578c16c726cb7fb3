"""`malan log anchor`: have a time-stamp authority or an evidence service state when the log stood so, and check it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from malan.cli.show import JsonOption, WorkspaceOption, fail, open_workspace, print_json, print_table, speak
from malan.services.access import COMMAND_LINE

if TYPE_CHECKING:
    from malan.services.log.anchors import AnchorShown

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True, help=speak("cli.anchor"))


@app.command(help=speak("cli.anchor.add"))
def add(
    name: Annotated[list[str] | None, typer.Argument(help=speak("cli.anchor.name"), show_default=False)] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.log.anchors import anchor_log

    _print(anchor_log(open_workspace(workspace), name or [], caller=COMMAND_LINE), as_json=as_json)


@app.command(help=speak("cli.anchor.check"))
def check(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    from malan.services.log.anchors import check_anchors

    _print(check_anchors(open_workspace(workspace), caller=COMMAND_LINE), as_json=as_json)


def _print(shown: list[AnchorShown], *, as_json: bool) -> None:
    from malan.services.log.anchors import describe_anchor

    if as_json:
        print_json({"anchors": [describe_anchor(each) for each in shown]})
    else:
        columns = [speak(f"cli.column.{column}") for column in ("anchor", "size", "time")]
        print_table(columns, [(each.name, str(each.size), each.time) for each in shown if not each.error])
        for each in shown:
            if each.error:
                fail(each.error)
    if codes := [each.error.exit_code for each in shown if each.error]:
        raise typer.Exit(max(codes))
