"""`malan key`: make, show, replace the keys of a workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from malan.cli.show import JsonOption, WorkspaceOption, open_workspace, print_json, print_line, print_table, speak
from malan.services.access import COMMAND_LINE

if TYPE_CHECKING:
    from malan.services.log.keys import KeysShown

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help=speak("cli.key"))


@app.command(help=speak("cli.key.init"))
def init(
    origin: Annotated[str | None, typer.Option(help=speak("cli.key.origin"), show_default=False)] = None,
    organisation: Annotated[str | None, typer.Option(help=speak("cli.key.organisation"), show_default=False)] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.log.keys import init_keys

    _print(init_keys(open_workspace(workspace), origin=origin, organisation=organisation, caller=COMMAND_LINE), as_json)


@app.command(help=speak("cli.key.show"))
def show(
    vkey: Annotated[bool, typer.Option("--vkey", help=speak("cli.key.vkey"))] = False,
    root: Annotated[bool, typer.Option("--media-root", help=speak("cli.key.media_root"))] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.log.keys import show_keys

    shown = show_keys(open_workspace(workspace), caller=COMMAND_LINE)
    if vkey and not as_json:
        print_line(shown.vkey)
    elif root and not as_json:
        print(shown.media_root_pem, end="")
    else:
        _print(shown, as_json)


@app.command(help=speak("cli.key.rotate"))
def rotate(
    name: Annotated[str, typer.Argument(help=speak("cli.key.name"))],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.log.keys import rotate_key, show_keys

    ws = open_workspace(workspace)
    rotated = rotate_key(ws, name, caller=COMMAND_LINE)
    if as_json:
        _print(show_keys(ws, caller=COMMAND_LINE), as_json)
        return
    print_line(speak("cli.key.rotated", name=rotated.holder or rotated.name, key=rotated.key_id))
    if rotated.name == "system":
        print_line(speak("cli.key.new_vkey", vkey=show_keys(ws, caller=COMMAND_LINE).vkey))


def _print(shown: KeysShown, as_json: bool) -> None:
    from malan.services.log.keys import describe_keys

    if as_json:
        print_json(describe_keys(shown))
        return
    print_line(speak("cli.key.log", origin=shown.origin))
    print_line(shown.vkey)
    columns = [speak(f"cli.column.{column}") for column in ("name", "role", "key", "holder", "former")]
    print_table(
        columns, [(key.name[:18], key.role, key.key_id, key.holder, str(len(key.former))) for key in shown.keys]
    )
