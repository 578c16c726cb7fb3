"""`malan up`: the console in the browser, on this machine only unless told otherwise.

The console is a face of its own: this process becomes it.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from malan.cli.show import WorkspaceOption, open_workspace, speak
from malan.core.errors import NotFound

if TYPE_CHECKING:
    from malan.workspace import Workspace

_TEST_SEED = "MALAN_DSP_TEST_SEED"

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(help=speak("cli.up"))
def up(
    workspace: WorkspaceOption = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help=speak("cli.up.port"))] = 8600,
    host: Annotated[str, typer.Option(help=speak("up.host"))] = "127.0.0.1",
    allow_host: Annotated[list[str] | None, typer.Option(help=speak("up.allow_host"))] = None,
    no_worker: Annotated[bool, typer.Option("--no-worker", help=speak("cli.up.no_worker"))] = False,
) -> None:
    try:
        ws = open_workspace(workspace)
    except NotFound:
        if not os.environ.get(_TEST_SEED):
            raise
        ws = None  # test mode works in a folder of its own
    become_console(ws, port=port, host=host, allowed=tuple(allow_host or ()), has_workers=not no_worker)


def become_console(
    ws: Workspace | None, *, port: int, host: str = "127.0.0.1", allowed: tuple[str, ...] = (), has_workers: bool = True
) -> None:
    """Replace this process by the console of a workspace; does not return.

    Args:
        ws: Whose; None in test mode.
        port, host, allowed: As `serve_console`.
        has_workers: Start workers for jobs of apps.
    """
    sys.stdout.flush()
    root = str(ws.root) if ws else ""
    said = [root, host, str(port), *allowed, *(() if has_workers else ("--no-worker",))]
    os.execv(sys.executable, [sys.executable, "-m", "malan.server", *said])  # noqa: S606
