"""Who a request comes from, and whether they may come here: every request passes, before any page sees it.

    key of a program ─┐
    session cookie ───┼─▶ Caller ─ rule of the route ─▶ page, or 401 / 403 / the sign-in page
    single-user mode ─┘

Single-user mode: nobody has an account, the console listens on this machine only and is called by a name of this
machine, and no proxy stands in between; then whoever is at the machine is the operator. The first account ends it, for
good. Start at `Gate`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from malan.core.errors import MalanError, NotFound, NotGranted, Rejected
from malan.services.access import SINGLE_USER, Caller, NotSignedIn, denied, may
from malan.services.accounts.api_keys import caller_of_key
from malan.services.accounts.parties import has_accounts
from malan.services.accounts.sessions import caller_of_session
from malan.services.gateway.keys import is_gateway_key
from malan.web.guard import LOOPBACK
from malan.web.rules import PUBLIC, rule_of

if TYPE_CHECKING:
    from malan.workspace import Workspace

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")

Tell = Callable[[Request, MalanError, int | None], Response]


def caller_of(request: Request) -> Caller:
    """Who a request comes from, as the gate found it.

    Raises:
        NotSignedIn: Nobody; the request did not come through the gate, or the page is open to all.
    """
    found: Caller | None = getattr(request.state, "caller", None)
    if found is None:
        raise NotSignedIn("access.sign_in")
    return found


def session_of(request: Request) -> str:
    """The secret of the session cookie; empty when there is none."""
    return request.cookies.get(cookie_name(request), "")


def cookie_name(request: Request, name: str = "malan_session") -> str:
    """A name no other host and no unencrypted page can set, where the connection is encrypted (RFC 6265bis, §4.1.3)."""
    return f"__Host-{name}" if request.url.scheme == "https" else name


class Who:
    """Finds out who a request comes from.

    Args:
        ws: Whose accounts.
        hosts: Names the console may be called by. With any but those of this machine there is no single-user mode.
    """

    def __init__(self, ws: Workspace, hosts: Iterable[str]) -> None:
        self._ws = ws
        self.is_here_only = {host.lower() for host in hosts} <= set(LOOPBACK)
        self._has_accounts = False  # once true it stays so

    def __call__(self, request: Request) -> Caller | None:
        """The caller, with the roles of this moment; None for nobody.

        Raises:
            NotSignedIn: A key was sent that opens nothing.
        """
        said = request.headers.get("authorization")
        if said is not None:
            kind, _, text = said.partition(" ")
            token = text if kind.lower() == "bearer" else ""
            found = caller_of_key(self._ws, token)
            if is_gateway_key(self._ws, token):
                raise NotSignedIn("gateway.console")
            return found
        return caller_of_session(self._ws, session_of(request)) or self._single_user(request)

    def _single_user(self, request: Request) -> Caller | None:
        if not self.is_here_only or any(name in request.headers for name in _FORWARDED):
            return None
        self._has_accounts = self._has_accounts or has_accounts(self._ws)
        return None if self._has_accounts else SINGLE_USER


class Gate:
    """Middleware: nobody passes without being somebody who may.

    Args:
        app: What answers.
        routes: All routes of it.
        who: Finds out who asks.
        tell: Makes the reply to a refusal.
    """

    def __init__(self, app: ASGIApp, routes: list[BaseRoute], who: Who, tell: Tell) -> None:
        self.app, self._routes, self._who, self._tell = app, routes, who, tell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            caller = await self._admit(request)
        except MalanError as error:
            reply = self._refusal(request, error)
            await reply(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = caller
        await self.app(scope, receive, _own(send) if caller and caller.via == "session" else send)

    async def _admit(self, request: Request) -> Caller | None:
        """Who passes; None where everybody does."""
        path = self._route(request.scope)
        rule = None if path is None else rule_of(request.method, path)
        if rule == PUBLIC:
            return None
        caller = await run_in_threadpool(self._who, request)
        if caller is None:
            raise NotSignedIn("access.sign_in")
        request.state.caller = caller
        if caller.via == "session":
            _check_sender(request)
        if path is None:
            raise NotFound("web.no_page", path=request.url.path[:200])
        if rule is None:
            raise NotGranted("access.no_rule", path=path)
        if not may(caller, rule) and rule != "own.account":
            raise denied(caller, rule)
        return caller

    def _route(self, scope: Scope) -> str | None:
        """The path of the route that will answer, as it was declared; None when none will."""
        for route in self._routes:
            match, _ = route.matches(scope)
            if match == Match.FULL:
                return str(getattr(route, "path", ""))
        return None

    def _refusal(self, request: Request, error: MalanError) -> Response:
        if not isinstance(error, NotSignedIn):
            return self._tell(request, error, None)
        wants_page = "text/html" in request.headers.get("accept", "") and not request.url.path.endswith(".json")
        here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        if wants_page and request.method == "GET" and "authorization" not in request.headers:
            page = f"/sign-in?next={quote(here, safe='/')}" if here != "/" else "/sign-in"
            return RedirectResponse(page, status_code=303, headers={"cache-control": "no-store"})
        reply = self._tell(request, error, 401)
        reply.headers["www-authenticate"] = "Bearer"
        if request.headers.get("hx-request"):
            reply.headers["hx-redirect"] = "/sign-in"
        return reply


def _check_sender(request: Request) -> None:
    """A change made by cookie must say which page it comes from; `guard` has checked that it is one of ours."""
    headers = request.headers
    if request.method not in _SAFE and "origin" not in headers and "sec-fetch-site" not in headers:
        raise Rejected("web.origin", origin="–")


def _own(send: Send) -> Send:
    """What one person was shown is not shown to the next at the same browser: caches keep it apart by cookie."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).add_vary_header("cookie")
        await send(message)

    return sent


def first_page(caller: Caller) -> str:
    """Where somebody begins who asked for nothing in particular."""
    pages = (("/", "find"), ("/market", "snapshots"), ("/log", "log.read"), ("/jobs", "jobs.see"))
    return next((page for page, action in pages if may(caller, action)), "/account")
