"""`malan init`: make a folder a workspace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from malan.cli.show import print_line, speak

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(help=speak("cli.init"))
def init(folder: Annotated[Path, typer.Argument(help=speak("cli.init.folder"))] = Path()) -> None:
    from malan.workspace import Workspace

    workspace = Workspace.create(folder)
    print_line(speak("workspace.created", path=workspace.root))
