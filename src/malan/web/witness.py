"""The witness over HTTP (C2SP tlog-witness): POST `/add-checkpoint` for logs, GET `/<hash>/checkpoint` for monitors.

Anyone may ask: what counts is the signature of the log on what is asked. Covered: size and time of a request are
limited; an answer never tells more than the standard asks for; a failure inside is 503 and signs nothing. `malan log
witness serve` becomes `python -m malan.web.witness WORKSPACE HOST PORT`. Start at `create_witness_app`.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from malan.core.catalogue import say
from malan.core.errors import MalanError
from malan.services.log.witness import LARGEST_REQUEST_BYTES, WitnessDesk, show_witness
from malan.web.server import listen, run
from malan.workspace import Workspace

BODY_TIMEOUT_S = 30.0


def create_witness_app(ws: Workspace, *, body_timeout_s: float = BODY_TIMEOUT_S) -> FastAPI:
    """The witness of a workspace as an ASGI application.

    Args:
        ws: Whose witness.
        body_timeout_s: How long the body of a request may take to arrive.
    """
    desk = WitnessDesk(ws)

    async def add_checkpoint(request: Request) -> Response:
        try:
            body = await asyncio.wait_for(_body(request), body_timeout_s)
        except TimeoutError:
            return _plain(408)
        except ClientDisconnect:
            return _plain(400)
        try:
            answer = await run_in_threadpool(desk.answer, body)
        except MalanError as error:  # an edge: the operator reads why, the asker only that it failed
            sys.stderr.write(f"{say('cli.error')} {error.message()}\n")
            return _plain(503)
        return Response(answer.body, answer.status, {**_HEADERS, "content-type": answer.content_type})

    async def latest(request: Request) -> Response:
        try:
            note = await run_in_threadpool(desk.latest, request.path_params["origin_hash"])
        except MalanError as error:
            sys.stderr.write(f"{say('cli.error')} {error.message()}\n")
            return _plain(503)
        return _plain(404) if note is None else _plain(200, note)

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_route("/{origin_hash}/checkpoint", latest, methods=["GET"])
    app.add_route("/add-checkpoint", add_checkpoint, methods=["POST"])
    return app


def serve_witness(ws: Workspace, *, host: str, port: int) -> None:
    """Serve until interrupted; prints the address and the verifier key first.

    Raises:
        UsageError: The port is in use.
    """
    shown = show_witness(ws)
    listening = listen(host, port)
    name = f"[{host}]" if ":" in host else host
    sys.stdout.write(f"{say('cli.witness.serving', url=f'http://{name}:{listening.getsockname()[1]}')}\n{shown.vkey}\n")
    sys.stdout.flush()
    run(create_witness_app(ws), listening)


def main() -> int:
    """Serve the workspace named; an error is one line, its hint and its exit code."""
    root, host, port = sys.argv[1:]
    try:
        serve_witness(Workspace(Path(root)), host=host, port=int(port))
    except MalanError as error:
        sys.stderr.write(f"{say('cli.error')} {error.message()}\n  → {error.hint()}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 0
    return 0


_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


async def _body(request: Request) -> bytes:
    """The body, cut one byte past the limit: the witness then refuses it by its size."""
    held = bytearray()
    async for chunk in request.stream():
        held += chunk
        if len(held) > LARGEST_REQUEST_BYTES:
            break
    return bytes(held[: LARGEST_REQUEST_BYTES + 1])


def _plain(status: int, body: bytes = b"") -> Response:
    return Response(body, status, {**_HEADERS, "content-type": "text/plain; charset=utf-8"})


if __name__ == "__main__":
    sys.exit(main())
