"""An OpenAI-compatible endpoint, asked as it is: bytes go there, bytes come back, many at a time on one loop.

Covered: only addresses the operator wrote down are asked, exactly as written (no redirect is followed, no proxy of the
environment, no cookie kept); connecting, silence, the whole time and the size of a reply have an end; what the endpoint
says of itself is never shown with a key in it. Not covered: whether the endpoint tells the truth. Start at `Upstream`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from malan.core.errors import MalanError, RetryLater, UsageError

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession, FormData

CONNECT_S = 5.0
WHOLE_S = 1_800.0
MOST_REPLY_BYTES = 64 * 2**20
MOST_EVENT_BYTES = 2**20
_MOST_SAID = 200


class UpstreamFailed(MalanError):
    """The endpoint cannot be reached, hangs, or answers what nobody can read: another may be asked instead."""


class UpstreamBusy(RetryLater):
    """The endpoint has too much to do: another may be asked instead."""


class Upstream:
    """Connections to endpoints, shared by all requests of one loop.

    Args:
        most_reply_bytes: A longer reply is an error.
    """

    def __init__(self, most_reply_bytes: int = MOST_REPLY_BYTES) -> None:
        self._most = most_reply_bytes
        self._session: ClientSession | None = None
        self._places: dict[str, asyncio.Semaphore] = {}

    async def ask(
        self, name: str, url: str, body: bytes | FormData, *, key: str = "", timeout_s: float = 120.0, at_once: int = 0
    ) -> tuple[bytes, str]:
        """The reply to one POST, whole, and its content type.

        Args:
            name: Of the engine, for errors.
            url: The whole address.
            body: JSON, or a form.
            key: Sent as a bearer's; never shown.
            timeout_s: How long it may say nothing.
            at_once: How many may ask it at a time; 0: no limit.

        Raises:
            UpstreamFailed, UpstreamBusy: Another may be asked instead.
            UsageError: It does not take the request as it stands; nor would another.
        """
        async with self._asked(name, url, body, key, timeout_s, at_once) as reply:
            return await self._whole(name, reply), reply.content_type

    @asynccontextmanager
    async def events(
        self, name: str, url: str, body: bytes, *, key: str = "", timeout_s: float = 120.0, at_once: int = 0
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The data of each server-sent event, as it comes; a whole answer becomes the events it would have been.

        Raises:
            UpstreamFailed, UpstreamBusy, UsageError: As `ask`, also while it is read.
        """
        async with self._asked(name, url, body, key, timeout_s, at_once) as reply:
            if reply.content_type == "text/event-stream":
                yield self._events(name, reply, timeout_s)
            elif reply.content_type == "application/json":  # small servers answer whole
                with _failures(name, timeout_s):
                    whole = await self._whole(name, reply)
                yield _as_events(name, whole)
            else:
                raise UpstreamFailed("gateway.upstream_garbage", engine=name, detail=reply.content_type[:60])

    async def close(self) -> None:
        """Let go of all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    @asynccontextmanager
    async def _asked(
        self, name: str, url: str, body: bytes | FormData, key: str, timeout_s: float, at_once: int
    ) -> AsyncIterator[ClientResponse]:
        from aiohttp import ClientTimeout

        headers = {"accept-encoding": "identity"}
        if isinstance(body, bytes):
            headers["content-type"] = "application/json"
        if key:
            headers["authorization"] = f"Bearer {key}"
        limits = ClientTimeout(total=WHOLE_S, sock_connect=CONNECT_S, sock_read=timeout_s)
        with _failures(name, timeout_s):
            async with self._place(name, at_once):
                posting = self._open().post(url, data=body, headers=headers, timeout=limits, allow_redirects=False)
                async with posting as reply:
                    if reply.status != 200:
                        raise await self._refusal(name, reply, key)
                    yield reply

    def _open(self) -> ClientSession:
        if self._session is None:
            from aiohttp import ClientSession, DummyCookieJar, TCPConnector

            self._session = ClientSession(
                connector=TCPConnector(limit=0, ttl_dns_cache=60),
                cookie_jar=DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,  # identity was asked for: what is packed is not what was asked for
                skip_auto_headers=("user-agent",),
            )
        return self._session

    def _place(self, name: str, at_once: int) -> Any:
        from contextlib import nullcontext

        if not at_once:
            return nullcontext()
        return self._places.setdefault(f"{name}/{at_once}", asyncio.Semaphore(at_once))

    async def _whole(self, name: str, reply: ClientResponse) -> bytes:
        if (reply.content_length or 0) > self._most:
            raise UpstreamFailed("gateway.upstream_long", engine=name, most=self._most)
        if reply.headers.get("content-encoding", "identity") != "identity":
            raise UpstreamFailed("gateway.upstream_garbage", engine=name, detail="content-encoding")
        pieces, size = [], 0
        async for piece in reply.content.iter_any():
            size += len(piece)
            if size > self._most:
                raise UpstreamFailed("gateway.upstream_long", engine=name, most=self._most)
            pieces.append(piece)
        return b"".join(pieces)

    async def _events(self, name: str, reply: ClientResponse, timeout_s: float) -> AsyncIterator[bytes]:
        waiting, size = b"", 0
        data: list[bytes] = []
        pieces = aiter(reply.content.iter_any())
        while True:
            with _failures(name, timeout_s):
                piece = await anext(pieces, b"")
            if not piece:
                break
            size += len(piece)
            *lines, waiting = (waiting + piece).split(b"\n")
            if len(waiting) > MOST_EVENT_BYTES or size > self._most or sum(map(len, data)) > MOST_EVENT_BYTES:
                raise UpstreamFailed("gateway.upstream_long", engine=name, most=self._most)
            for raw in lines:
                line = raw.rstrip(b"\r")
                if line.startswith(b"data:"):
                    data.append(line[5:].removeprefix(b" "))
                elif not line and data:
                    yield b"\n".join(data)
                    data = []
        if waiting.strip() or data:
            raise UpstreamFailed("gateway.upstream_half", engine=name)

    async def _refusal(self, name: str, reply: ClientResponse, key: str) -> MalanError:
        """What a status other than 200 means; redirects are refusals too."""
        status = reply.status
        if status == 429:
            return UpstreamBusy("gateway.upstream_busy", engine=name, wait_s=_wait(reply.headers))
        if status in (400, 404, 413, 415, 422):
            said = (await reply.content.read(64 * 1024)).decode("utf-8", "replace")
            return UsageError("gateway.upstream_refused", engine=name, detail=said_by(said, key))
        return UpstreamFailed("gateway.upstream_status", engine=name, status=status)


async def _as_events(name: str, whole: bytes) -> AsyncIterator[bytes]:
    for event in pieces_of(name, whole):
        yield json.dumps(event).encode()


def pieces_of(name: str, whole: bytes) -> list[dict[str, Any]]:
    """A whole answer of a conversation as the pieces of a stream: the words, the ends, the count.

    Raises:
        UpstreamFailed: It is none.
    """
    try:
        said = json.loads(whole)
        choices, usage = said["choices"], said.get("usage")
        shared = {key: said[key] for key in ("id", "created", "model") if key in said}
        shared["object"] = "chat.completion.chunk"
        words = [{"index": n, "delta": one["message"], "finish_reason": None} for n, one in enumerate(choices)]
        ends: list[dict[str, Any]] = [
            {"index": n, "delta": {}, "finish_reason": one.get("finish_reason") or "stop"}
            for n, one in enumerate(choices)
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UpstreamFailed("gateway.upstream_garbage", engine=name, detail=type(error).__name__) from None
    counted = [{**shared, "choices": [], "usage": usage}] if usage else []
    return [{**shared, "choices": words}, {**shared, "choices": ends}, *counted]


@contextmanager
def _failures(name: str, timeout_s: float) -> Iterator[None]:
    """What the client library raises, in our words."""
    from aiohttp import ClientError, ClientPayloadError

    try:
        yield
    except TimeoutError:
        raise UpstreamFailed("gateway.upstream_silent", engine=name, seconds=round(timeout_s)) from None
    except ClientPayloadError:
        raise UpstreamFailed("gateway.upstream_half", engine=name) from None
    except ClientError as error:
        raise UpstreamFailed("gateway.upstream_gone", engine=name, detail=type(error).__name__) from None
    except ValueError as error:  # lines longer than a parser takes
        raise UpstreamFailed("gateway.upstream_garbage", engine=name, detail=type(error).__name__) from None


def said_by(text: str, key: str) -> str:
    """What an endpoint says is wrong, on one line, short, without our key."""
    try:
        said = json.loads(text)
        found = said.get("error", said)
        text = str(found.get("message", "") if isinstance(found, dict) else found)
    except (ValueError, AttributeError):
        text = ""
    text = text.replace(key, "…") if key else text
    return "".join(one if one.isprintable() else " " for one in text)[:_MOST_SAID]


def _wait(headers: Mapping[str, str]) -> int:
    said = headers.get("retry-after", "")
    return min(3600, int(said)) if said.isascii() and said.isdigit() and len(said) < 6 else 1
