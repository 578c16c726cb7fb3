"""`malan up`: the console in the browser, on this machine only unless told otherwise."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Annotated

import typer

from malan.cli.show import WorkspaceOption, open_workspace, print_line, speak
from malan.core.errors import UsageError

if TYPE_CHECKING:
    from malan.workspace import Workspace

app = typer.Typer(add_completion=False)


@app.command(help=speak("cli.up"))
def up(
    workspace: WorkspaceOption = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help=speak("cli.up.port"))] = 8600,
    host: Annotated[str, typer.Option(help=speak("up.host"))] = "127.0.0.1",
    allow_host: Annotated[list[str] | None, typer.Option(help=speak("up.allow_host"))] = None,
) -> None:
    serve_console(open_workspace(workspace), port=port, host=host, allowed=tuple(allow_host or ()))


def serve_console(ws: Workspace, *, port: int = 8600, host: str = "127.0.0.1", allowed: tuple[str, ...] = ()) -> None:
    """Serve the console until interrupted.

    Args:
        ws: What is shown.
        port: 0 takes a free one.
        host: The address to listen on.
        allowed: Further names it may be called by.

    Raises:
        UsageError: The port is in use.
        NotFound: The console has not been built.
    """
    from malan.web.app import create_app
    from malan.web.built import read_built
    from malan.web.guard import LOOPBACK
    from malan.web.server import run

    read_built()
    listening = _listen(host, port)
    url = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
    print_line(speak("up.serving", url=url))
    print_line(speak("web.single_user" if host in LOOPBACK else "up.open"))
    run(create_app(ws, hosts=(*LOOPBACK, host, *allowed)), listening)


def _listen(host: str, port: int) -> socket.socket:
    """A bound socket, so that the address printed is the one that answers."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise UsageError("up.port_taken", host=host, port=port, detail=error.strerror) from error
    return listening
