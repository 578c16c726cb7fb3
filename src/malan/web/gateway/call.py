"""One request of the gateway, as plain ASGI: read within limits, answered once. No framework on the way, for each layer
costs every request. Start reading at `Call`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Mapping
from functools import cached_property
from typing import Any, TypeVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from malan.core.errors import (
    MalanError,
    MediaError,
    MissingExtra,
    NotFound,
    NotGranted,
    Rejected,
    RetryLater,
    StoreError,
    UsageError,
)
from malan.inference.openai_passthrough import UpstreamBusy, UpstreamFailed
from malan.services.access import NotSignedIn
from malan.services.gateway.budget import OverBudget, TooFast
from malan.services.jobs.queue import TooManyJobs
from malan.web.language import language_of

MOST_JSON_BYTES = 32 * 2**20  # pictures come inside, as data:

T = TypeVar("T")

_STATUS: tuple[tuple[type[MalanError], int, str], ...] = (
    (OverBudget, 429, "insufficient_quota"),
    (TooFast, 429, "rate_limit_error"),
    (UpstreamBusy, 429, "rate_limit_error"),
    (TooManyJobs, 429, "rate_limit_error"),
    (UpstreamFailed, 502, "api_error"),
    (UsageError, 400, "invalid_request_error"),
    (MediaError, 400, "invalid_request_error"),
    (NotSignedIn, 401, "authentication_error"),
    (NotGranted, 403, "permission_error"),
    (NotFound, 404, "invalid_request_error"),
    (Rejected, 409, "invalid_request_error"),
    (RetryLater, 503, "api_error"),
    (MissingExtra, 501, "api_error"),
    (StoreError, 500, "api_error"),
)


_BY_CODE = {
    "web.too_long": 413, "gateway.expired": 410, "gateway.disk_full": 507,
    **dict.fromkeys((f"engines.{what}_memory" for what in ("needs", "size", "seconds", "weights")), 400),
}  # fmt: skip
"""Clients ask again where they hear 409: what never fits is nothing to ask again."""


class Gone(Exception):
    """Whoever asked does not wait any more."""


class Call:
    """A request and the way to answer it.

    Args:
        scope, receive, send: Of ASGI.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope, self.receive, self._send = scope, receive, send
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.status = 0  # of the answer; 0 as long as there is none
        self.parts: tuple[str, ...] = ()  # of the path
        self._is_read = False

    @cached_property
    def headers(self) -> Mapping[str, str]:
        """Names in small letters; of several of one name the last."""
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in self.scope["headers"]}

    @cached_property
    def query(self) -> Mapping[str, str]:
        from urllib.parse import parse_qsl

        try:
            return dict(parse_qsl(self.scope["query_string"].decode("latin-1"), max_num_fields=50))
        except ValueError:
            raise UsageError("gateway.bad_query") from None

    @property
    def lang(self) -> str:
        return language_of(self.scope)

    @property
    def token(self) -> str:
        """The key that was sent, as it was sent.

        Raises:
            NotSignedIn: None was.
        """
        kind, _, text = self.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not text.strip():
            raise NotSignedIn("gateway.no_key")
        return text.strip()

    async def body(self, most: int = MOST_JSON_BYTES) -> bytes:
        """The whole body.

        Raises:
            UsageError: It is longer than may be.
            Gone: The sender went away.
        """
        said = self.headers.get("content-length", "")
        if said.isascii() and said.isdigit() and int(said[:20]) > most:
            raise UsageError("web.too_long", limit=most)
        pieces, size = [], 0
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise Gone
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            if size > most:
                raise UsageError("web.too_long", limit=most)
            if not message.get("more_body"):
                self._is_read = True
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def json(self) -> dict[str, Any]:
        """The body as one object.

        Raises:
            UsageError: It is none.
        """
        return read_object(await self.body())

    async def unless_gone(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something for as long as somebody waits for it; the body must have been read.

        Raises:
            Gone: Nobody does any more, and it was ended.
        """
        doing = asyncio.ensure_future(work)
        watching = asyncio.ensure_future(self._until_gone())
        try:
            await asyncio.wait((doing, watching), return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                return doing.result()
            raise Gone
        finally:
            watching.cancel()
            if not doing.done():
                doing.cancel()
                await asyncio.gather(doing, return_exceptions=True)

    async def _until_gone(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def reply(
        self, body: bytes, kind: str = "application/json", status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        """Answer, whole."""
        await self.begin(kind, status, {"content-length": str(len(body)), **(headers or {})})
        await self._send({"type": "http.response.body", "body": b"" if self.method == "HEAD" else body})

    async def reply_json(self, said: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Answer with JSON."""
        await self.reply(dump(said), status=status, headers=headers)

    async def begin(self, kind: str, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Begin an answer that comes in pieces."""
        self.status = status
        named = {"content-type": kind, **(headers or {})}
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in named.items()]
        message: Message = {"type": "http.response.start", "status": status, "headers": raw}
        await self._send(message)

    async def piece(self, data: bytes, *, is_last: bool = False) -> None:
        """The next piece of an answer."""
        await self._send({"type": "http.response.body", "body": data, "more_body": not is_last})

    async def hand_over(self, app: ASGIApp) -> None:
        """Have something else answer."""

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
            await self._send(message)

        await app(self.scope, self.receive, noted)

    async def fail(self, error: MalanError, *, param: str | None = None) -> None:
        """Answer with an error, as OpenAI's clients read it."""
        status, _ = status_of(error)
        headers = {"www-authenticate": "Bearer"} if status == 401 else {}
        if status in (409, 425, 429, 503) and (wait := error.values.get("wait_s")) is not None:
            headers["retry-after"] = str(wait)
        if isinstance(error, OverBudget):
            headers["x-should-retry"] = "false"
        await self.reply_json(error_body(error, self.lang, param), status, headers)


class Early(RetryLater):
    """What is asked for is not made yet."""


def status_of(error: MalanError) -> tuple[int, str]:
    """The status of an error, and what kind of error OpenAI calls it."""
    if isinstance(error, Early):
        return 409, "invalid_request_error"
    if error.code.startswith("guard.refused"):
        return 400, "invalid_request_error"
    if error.code in _BY_CODE:
        return _BY_CODE[error.code], "invalid_request_error"
    return next(((status, sort) for kind, status, sort in _STATUS if isinstance(error, kind)), (500, "api_error"))


def error_body(error: MalanError, lang: str, param: str | None = None) -> dict[str, Any]:
    """An error as OpenAI's clients read it: the sentence and what to do about it, our stable code."""
    message = f"{error.message(lang)} {error.hint(lang)}".strip()
    told = {"message": message, "type": status_of(error)[1], "param": param, "code": error.code}
    return {"error": told}


def dump(said: Any) -> bytes:
    """JSON in as few bytes as it goes; what is no number in JSON is an error of whoever sent it."""
    return json.dumps(said, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8", "replace")


def header_of(said: Any) -> str:
    """JSON as a header carries it: ASCII alone."""
    return json.dumps(said, separators=(",", ":"), allow_nan=False)


def read_object(body: bytes) -> dict[str, Any]:
    """A JSON object from bytes.

    Raises:
        UsageError: It is none, or nested deeper than anybody means.
    """
    try:
        said = parse_json(body)
    except (ValueError, RecursionError):
        raise UsageError("gateway.no_json") from None
    if not isinstance(said, dict):
        raise UsageError("gateway.no_json")
    return said


def _no_number(name: str) -> float:
    """NaN and Infinity are no JSON (RFC 8259, §6)."""
    raise ValueError(name)


def parse_json(body: bytes) -> Any:
    """Any JSON; ValueError for what is none."""
    return json.loads(body, parse_constant=_no_number)


def text_of(said: Mapping[str, Any], name: str, default: str | None = None, *, most: int = 200_000) -> str:
    """A field that is text.

    Raises:
        UsageError: It is missing, something else, empty, or too long.
    """
    value = said.get(name, default)
    if not isinstance(value, str) or len(value) > most or (default is None and not value.strip()):
        raise UsageError("gateway.bad_field", field=name, wanted=f"text, 1–{most}")
    if any("\ud800" <= one <= "\udfff" for one in value):
        raise UsageError("gateway.bad_field", field=name, wanted="UTF-8")
    return value


def whole_of(said: Mapping[str, Any], name: str, default: int, least: int, most: int) -> int:
    """A field that is a whole number, or text of one.

    Raises:
        UsageError: It is something else, or out of bounds.
    """
    value = said.get(name, default)
    value = default if value is None else value
    if isinstance(value, str) and len(value) < 12 and value.removeprefix("-").isascii():
        value = int(value) if value.removeprefix("-").isdigit() else value
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise UsageError("gateway.bad_field", field=name, wanted=f"{least}–{most}")
    return value
