"""The connector as an ASGI application: every endpoint of the Dataspace Protocol 2025-1, in both roles.

    catalogue and version document · negotiations and transfers we provide · the same where we consume (callbacks)

Parses, asks `services`, shows; what a message does is decided there. Provider and consumer share the paths below
`negotiations/` and `transfers/`, because every process has an id of ours. Start at `create_exchange`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from malan import __version__
from malan.core.errors import MalanError, NotFound
from malan.exchange.bodies import HEADERS, answer, failed, int_of, read_body
from malan.services.clips import samples
from malan.services.dsp import words
from malan.services.dsp.catalogue import catalog, dataset
from malan.services.dsp.errors import NotAuthenticated
from malan.services.dsp.flow import Exchange
from malan.services.dsp.read import Message, read_json, read_message
from malan.services.dsp.tables import Process
from malan.services.dsp.write import process_body, version_body
from malan.services.exchange import negotiation, transfers
from malan.services.runs import remote as run_remote

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
PREFIXES = (words.ROOT, words.VERSION_PATH)
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")

_log = logging.getLogger("malan.exchange")

Work = Callable[[Request, str, bytes], Response]


def create_exchange(ex: Exchange, *, is_single_user: Callable[[], bool] = lambda: False) -> FastAPI:
    """The connector as an application.

    Args:
        ex: What answers.
        is_single_user: Whether the server can be reached from this machine only and has no accounts: then a program
            here may call without a token. Asked each time.
    """
    app = FastAPI(title="Malan", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.exchange, app.state.is_single_user = ex, is_single_user
    app.include_router(_router(ex))
    app.add_exception_handler(404, _no_such_place)
    app.add_exception_handler(405, _no_such_place)
    app.add_exception_handler(Exception, _broken)
    app.add_middleware(OneSlash)
    return app


class OneSlash:
    """Middleware: `…/2025-1/` and `/negotiations/` make `…/2025-1/negotiations`; peers join addresses as they like."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            head, marks, rest = scope["path"].partition(words.ROOT)
            while "//" in rest and not head:
                rest = rest.replace("//", "/")
            scope = {**scope, "path": f"{head}{marks}{rest}".rstrip("/") or "/"}
        await self.app(scope, receive, send)


def _router(ex: Exchange) -> APIRouter:
    router = APIRouter()

    def serve(method: str, path: str, kind: str, work: Work) -> None:
        async def endpoint(request: Request) -> Response:
            return await _served(ex, request, kind, work)

        router.add_api_route(f"{words.ROOT}{path}", endpoint, methods=[method], name=f"{method} {path}")

    async def version() -> Response:
        return answer(version_body(ex.participant))

    router.add_api_route(words.VERSION_PATH, version, methods=["GET"])
    serve("POST", "/catalog/request", words.CATALOG_ERROR, _catalog(ex))
    serve("GET", "/catalog/datasets/{id:path}", words.CATALOG_ERROR, _dataset(ex))
    serve("POST", "/negotiations/request", words.NEGOTIATION_ERROR, _first_request(ex))
    serve("POST", "/negotiations/offers", words.NEGOTIATION_ERROR, _first_offer(ex))
    serve("GET", "/negotiations/{pid}", words.NEGOTIATION_ERROR, _show(ex, negotiation.show_negotiation))
    for path, kinds in _NEGOTIATION.items():
        serve("POST", f"/negotiations/{{pid}}/{path}", words.NEGOTIATION_ERROR, _negotiation(ex, kinds))
    serve("POST", "/transfers/request", words.TRANSFER_ERROR, _first_transfer(ex))
    serve("GET", "/transfers/{pid}", words.TRANSFER_ERROR, _show(ex, transfers.show_transfer))
    for path, kind in _TRANSFER.items():
        serve("POST", f"/transfers/{{pid}}/{path}", words.TRANSFER_ERROR, _transfer(ex, kind))

    async def data(request: Request) -> Response:
        return await _data(ex, request)

    async def sample(request: Request) -> Response:
        return await _sample(ex, request)

    router.add_api_route(f"{words.ROOT}/data/{{pid}}", data, methods=["GET"])
    router.add_api_route(f"{words.ROOT}/data/{{pid}}/samples/{{clip}}", sample, methods=["GET", "HEAD"])
    _add_runs(ex, router)
    return router


def _add_runs(ex: Exchange, router: APIRouter) -> None:
    """What a session for computing is used for: submit, list, look, cancel, take the receipt."""

    async def runs(request: Request) -> Response:
        submits = request.method == "POST"
        return await _of_runs(ex, request, run_remote.submit_remote if submits else run_remote.list_remote)

    def one(work: Callable[..., dict[str, Any]]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            return await _of_runs(ex, request, work)

        return endpoint

    place = f"{words.ROOT}/data/{{pid}}/runs"
    router.add_api_route(place, runs, methods=["GET", "POST"])
    router.add_api_route(f"{place}/{{run}}", one(run_remote.show_remote), methods=["GET"])
    router.add_api_route(f"{place}/{{run}}/receipt", one(run_remote.receipt_remote), methods=["GET"])
    router.add_api_route(f"{place}/{{run}}/cancel", one(run_remote.cancel_remote), methods=["POST"])


_NEGOTIATION: dict[str, tuple[str, ...]] = {
    "request": (words.CONTRACT_REQUEST,),
    "offers": (words.CONTRACT_OFFER,),
    "events": (words.CONTRACT_EVENT,),
    "agreement": (words.CONTRACT_AGREEMENT,),
    "agreement/verification": (words.CONTRACT_VERIFICATION,),
    "termination": (words.CONTRACT_TERMINATION,),
}
_TRANSFER: dict[str, str] = {
    "start": words.TRANSFER_START,
    "suspension": words.TRANSFER_SUSPENSION,
    "completion": words.TRANSFER_COMPLETION,
    "termination": words.TRANSFER_TERMINATION,
}


async def _served(ex: Exchange, request: Request, kind: str, work: Work) -> Response:
    """One request from its body to its answer: who asks, then what; every failure in the words of the protocol."""
    body = b""
    try:
        party = await run_in_threadpool(_caller, ex, request)
        if request.method == "POST":
            body = await read_body(request)
        return await run_in_threadpool(work, request, party, body)
    except MalanError as error:
        where = request.client.host if request.client else "?"
        _log.warning("refused %s %r from %s: %s", request.method, request.url.path[:200], where, error.code)
        return failed(error, kind, body, str(request.path_params.get("pid", ""))[:500])


def _caller(ex: Exchange, request: Request) -> str:
    authorization = request.headers.get("authorization")
    return ex.caller(authorization, is_local=authorization is None and _is_local(request))


def _is_local(request: Request) -> bool:
    """Whether a program on this machine calls, and no page in its browser and no proxy for somebody else."""
    if request.client is None or request.client.host not in LOOPBACK:
        return False
    names = request.headers
    if any(name in names for name in (*_FORWARDED, "origin", "sec-fetch-site", "cookie")):
        return False
    try:
        is_named_so = urlsplit(f"//{names.get('host', '')}").hostname in LOOPBACK
    except ValueError:
        return False
    return is_named_so and bool(request.app.state.is_single_user())


def _catalog(ex: Exchange) -> Work:
    def work(request: Request, party: str, body: bytes) -> Response:
        read_message(body, words.CATALOG_REQUEST)
        page = catalog(ex, party, int_of(request.query_params.get("from")))
        links = {"previous": page.previous, "next": page.next}
        said = [f'<{ex.root}/catalog/request?from={at}>; rel="{name}"' for name, at in links.items() if at is not None]
        return answer(page.body, 200, {"link": ", ".join(said)} if said else None)

    return work


def _dataset(ex: Exchange) -> Work:
    return lambda request, party, _body: answer(dataset(ex, party, str(request.path_params["id"])))


def _first_request(ex: Exchange) -> Work:
    def work(_request: Request, party: str, body: bytes) -> Response:
        return _begun(*negotiation.receive_request(ex, party, read_message(body, words.CONTRACT_REQUEST)))

    return work


def _first_offer(ex: Exchange) -> Work:
    def work(_request: Request, party: str, body: bytes) -> Response:
        return _begun(*negotiation.receive_offer(ex, party, read_message(body, words.CONTRACT_OFFER)))

    return work


def _first_transfer(ex: Exchange) -> Work:
    def work(_request: Request, party: str, body: bytes) -> Response:
        return _begun(*transfers.receive_request(ex, party, read_message(body, words.TRANSFER_REQUEST)))

    return work


def _negotiation(ex: Exchange, kinds: tuple[str, ...]) -> Work:
    return _later(kinds, lambda pid, party, said: negotiation.receive_message(ex, pid, party, said))


def _transfer(ex: Exchange, kind: str) -> Work:
    return _later((kind,), lambda pid, party, said: transfers.receive_message(ex, pid, party, said))


def _later(kinds: tuple[str, ...], receive: Callable[[str, str, Message], Process]) -> Work:
    def work(request: Request, party: str, body: bytes) -> Response:
        return answer(_shown(receive(str(request.path_params["pid"]), party, read_message(body, *kinds))))

    return work


def _show(ex: Exchange, find: Callable[[Exchange, str, str | None], Process]) -> Work:
    return lambda request, party, _body: answer(_shown(find(ex, str(request.path_params["pid"]), party)))


async def _data(ex: Exchange, request: Request) -> Response:
    """What a data address opens, to whoever holds its secret."""
    pid = str(request.path_params["pid"])
    try:
        return answer(await run_in_threadpool(_session, ex, pid, _secret(request)))
    except MalanError as error:
        return failed(error, words.TRANSFER_ERROR, pid=pid[:500])


async def _sample(ex: Exchange, request: Request) -> Response:
    """The bytes of one sample, whole or by range (RFC 9110, §14), to whoever holds the secret of the session."""
    pid, clip_id = str(request.path_params["pid"]), str(request.path_params["clip"])
    try:
        file = await run_in_threadpool(samples.open_sample, ex, pid, _secret(request), clip_id)
        return FileResponse(file.path, media_type=file.mime, headers=HEADERS)
    except MalanError as error:
        return failed(error, words.TRANSFER_ERROR, pid=pid[:500])


async def _of_runs(ex: Exchange, request: Request, work: Callable[..., dict[str, Any]]) -> Response:
    """One request about runs, by whoever holds the secret of the session."""
    pid, given = str(request.path_params["pid"]), [*filter(None, [request.path_params.get("run")])]
    try:
        secret = _secret(request)
        if work is run_remote.submit_remote:
            given = [read_json(await read_body(request))]
        said = await run_in_threadpool(work, ex, pid, secret, *given)
        return answer(said, 201 if work is run_remote.submit_remote else 200)
    except MalanError as error:
        return failed(error, words.TRANSFER_ERROR, pid=pid[:500])


def _secret(request: Request) -> str:
    kind, _, secret = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer":
        raise NotAuthenticated("exchange.no_session")
    return secret


def _session(ex: Exchange, pid: str, secret: str) -> dict[str, Any]:
    process, agreement = transfers.open_data(ex, pid, secret)
    view = transfers.session_view(ex, process, agreement)
    return view | {"samples": samples.list_samples(ex, process, agreement)}


def _begun(process: Process, _is_new: bool) -> Response:
    return answer(_shown(process), 201)


def _shown(process: Process) -> dict[str, Any]:
    return process_body(process.machine.body, process.consumer_pid, process.provider_pid, process.state)


async def _broken(request: Request, error: Exception) -> Response:
    """A defect of ours: the log has the traceback, the other side a sentence."""
    return failed(MalanError("exchange.defect", kind=type(error).__name__), _error_kind(request))


async def _no_such_place(request: Request, _error: Exception) -> Response:
    return failed(NotFound("exchange.no_place", path=request.url.path[:200]), _error_kind(request))


def _error_kind(request: Request) -> str:
    kinds = {"negotiations": words.NEGOTIATION_ERROR, "transfers": words.TRANSFER_ERROR}
    return kinds.get(request.url.path.removeprefix(words.ROOT).strip("/").partition("/")[0], words.CATALOG_ERROR)
