"""Serves the console with uvicorn, on this machine only unless told otherwise; streams end when it stops.

Start reading at `serve_console`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from malan.core.catalogue import say
from malan.core.errors import UsageError
from malan.services.accounts.api_keys import has_open_keys
from malan.services.accounts.parties import has_accounts
from malan.web.built import read_built
from malan.web.guard import LOOPBACK

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI
    from starlette.types import ASGIApp

    from malan.workspace import Workspace

_GRACE_S = 2

Beside = Callable[["ASGIApp", str], "ASGIApp"]


def serve_console(
    ws: Workspace,
    *,
    port: int = 8600,
    host: str = "127.0.0.1",
    allowed: tuple[str, ...] = (),
    beside: Beside | None = None,
    needs_accounts: bool = True,
) -> None:
    """Serve the console until interrupted; prints its address first.

    Args:
        ws: What is shown.
        port: 0 takes a free one.
        host: The address to listen on.
        allowed: Further names it may be called by.
        beside: Puts another application beside the console, given the console and the address of the server.
        needs_accounts: Refuse to be reached by others while nobody has an account; else nobody gets in.

    Raises:
        UsageError: The port is in use, or others could reach the console and nobody has an account.
        NotFound: The console has not been built.
    """
    from malan.web.app import create_app

    read_built()
    others = [name for name in (host, *allowed) if name not in LOOPBACK]
    is_open = not has_accounts(ws)
    if others and is_open and needs_accounts and not has_open_keys(ws):
        raise UsageError("up.needs_accounts", names=", ".join(others))
    listening = listen(host, port)
    url = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
    print(say("up.serving", url=url))
    print(say("up.plain_http" if others else "web.single_user" if is_open else "up.accounts"), flush=True)
    app = create_app(ws, hosts=(*LOOPBACK, host, *allowed))
    run(app, listening, beside(app, url) if beside else None)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens, so that the address printed is the one that answers."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio: no delay only if named TCP
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(128)  # whoever follows the address at once waits a moment instead of being refused
    except OSError as error:
        listening.close()
        raise UsageError("up.port_taken", host=host, port=port, detail=error.strerror) from error
    return listening


def run(app: FastAPI, listening: socket.socket, whole: ASGIApp | None = None) -> None:
    """Serve until a signal ends it; `whole` is what answers when the application is only a part of it."""
    make_server(app, whole).run(sockets=[listening])


def make_server(app: FastAPI, whole: ASGIApp | None = None) -> uvicorn.Server:
    """A uvicorn server that tells open streams to end before it waits for them."""
    import uvicorn

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.state.is_stopping = True
            await super().shutdown(sockets)

    return Server(
        uvicorn.Config(
            whole or app,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_S,
            h11_max_incomplete_event_size=32_768,
        )
    )
