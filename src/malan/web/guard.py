"""What every request passes and every reply carries: the rules that keep other pages out of the console.

Covered: a page of another site cannot read anything (Host check against DNS rebinding, no CORS, same-origin resource
policy), cannot change anything (Origin check), cannot frame the console; nothing that is shown can run as a script
(content security policy with a nonce, no inline script or style, no sniffing); oversized requests end early. Who asks
and what they may is `gate`'s.
Not covered: in single-user mode whoever can log in to this machine may use the console. Start at `Guard`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from malan.core.errors import MalanError, Rejected, UsageError
from malan.web.failures import failure_response
from malan.web.language import language_of

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MAX_URL_BYTES = 8_192
MAX_BODY_BYTES = 256 * 1024  # kept by the application that reads the body
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

Tell = Callable[[Request], Response]
_POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}' 'strict-dynamic'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'; object-src 'none'"
)


class Guard:
    """Middleware: checks Host, Origin and sizes, then adds the headers.

    Args:
        app: What answers.
        hosts: Names the console may be called by, without port.
        tell: The reply to more bytes than may be sent, where the limit itself would say it in bare words.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str] = LOOPBACK, tell: Tell | None = None) -> None:
        self.app, self._tell = app, tell
        self.hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        nonce = secrets.token_urlsafe(16)
        scope.setdefault("state", {})["nonce"] = nonce
        dressed = _dressing(send, nonce, is_encrypted=scope.get("scheme") == "https")
        try:
            self._check(scope)
        except MalanError as error:
            status = 421 if error.code == "web.host" else 403 if isinstance(error, Rejected) else 414
            reply = failure_response(error, language_of(scope), status=status)
            await reply(scope, receive, dressed)
            return
        await self.app(scope, receive, _worded(scope, receive, dressed, self._tell) if self._tell else dressed)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if len(scope["path"]) + len(scope["query_string"]) > MAX_URL_BYTES:
            raise UsageError("web.too_long", limit=MAX_URL_BYTES)
        host = headers.get("host", "")
        if _name(host) not in self.hosts or len(headers.getlist("host")) != 1:
            raise Rejected("web.host", host=host[:100])
        if scope["method"] not in _SAFE:
            _check_origin(headers, host)


def _name(host: str) -> str:
    """The name of `name:port`; IPv6 without its brackets."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _check_origin(headers: Headers, host: str) -> None:
    """A change must come from a page of this console. Programs other than browsers send neither header."""
    site = headers.get("sec-fetch-site")
    origin = headers.get("origin")
    is_ours = origin is None or urlsplit(origin).netloc.lower() == host.lower()
    if not is_ours or site not in (None, "same-origin", "none"):
        raise Rejected("web.origin", origin=(origin or site or "")[:100])


def _worded(scope: Scope, receive: Receive, send: Send, tell: Tell) -> Send:
    """Says in the reader's language, as a page or an envelope, what `RequestBodyLimitMiddleware` says in bare words."""
    is_bare = False

    async def worded(message: Message) -> None:
        nonlocal is_bare
        if message["type"] == "http.response.start":
            kind = Headers(raw=message["headers"]).get("content-type", "")
            is_bare = message["status"] == 413 and kind.startswith("text/plain")
        if not is_bare:
            await send(message)
        elif message["type"] == "http.response.body" and not message.get("more_body"):
            await tell(Request(scope, receive))(scope, receive, send)

    return worded


def _dressing(send: Send, nonce: str, *, is_encrypted: bool) -> Send:
    async def dressed(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["content-security-policy"] = _POLICY.format(nonce=nonce)
            headers["x-content-type-options"] = "nosniff"
            headers["x-frame-options"] = "DENY"
            headers["referrer-policy"] = "same-origin"
            headers["cross-origin-opener-policy"] = "same-origin"
            headers["cross-origin-resource-policy"] = "same-origin"
            headers["permissions-policy"] = "camera=(), microphone=(), geolocation=(), payment=()"
            if is_encrypted:
                headers["strict-transport-security"] = "max-age=31536000"
            headers.setdefault("cache-control", "no-store")
        await send(message)

    return dressed
