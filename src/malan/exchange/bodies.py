"""What comes in and goes out over HTTP: bodies with a limit, answers as JSON, errors with the type of their part.

Start at `read_body` and `failed`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from malan.core.errors import MalanError
from malan.services.dsp import words
from malan.services.dsp.errors import TooLong, TooSlow, bad, refusal_of
from malan.services.dsp.read import LARGEST_MESSAGE_BYTES, read_json
from malan.services.dsp.write import error_body, to_bytes

NO_PID = "urn:uuid:00000000-0000-0000-0000-000000000000"  # the nil UUID: an error must name both processes
PATIENCE_S = 30
_JSON = ("application/json", "application/ld+json")
HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'",
}


async def read_body(request: Request) -> bytes:
    """The body of a request, which must be JSON.

    Raises:
        BadMessage: Another type was declared.
        TooLong: It is longer than a message may be; the rest is not read.
        TooSlow: It did not come in time.
    """
    declared = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared not in _JSON:
        raise bad(f"Content-Type: {declared[:80]}")
    if int_of(request.headers.get("content-length")) > LARGEST_MESSAGE_BYTES:
        raise TooLong("exchange.too_long", most=LARGEST_MESSAGE_BYTES)
    held = bytearray()
    try:
        async with asyncio.timeout(PATIENCE_S):
            async for chunk in request.stream():
                held += chunk
                if len(held) > LARGEST_MESSAGE_BYTES:
                    raise TooLong("exchange.too_long", most=LARGEST_MESSAGE_BYTES)
    except TimeoutError:
        raise TooSlow("exchange.too_slow", seconds=PATIENCE_S) from None
    return bytes(held)


def answer(said: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(to_bytes(said), status, {**HEADERS, **(headers or {})}, "application/json")


def failed(error: MalanError, kind: str, body: bytes = b"", pid: str = "") -> Response:
    """A typed error of one part of the protocol."""
    refusal = refusal_of(error)
    pids = ("", "") if kind == words.CATALOG_ERROR else _pids(body, pid)
    headers = {"connection": "close"} if refusal.status in (408, 413) else {}
    if refusal.status == 401:
        headers["www-authenticate"] = "Bearer"
    return answer(error_body(kind, refusal, *pids), refusal.status, headers)


def int_of(text: str | None) -> int:
    """A number in a header; what is none counts as nothing."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else 0


def _pids(body: bytes, pid: str) -> tuple[str, str]:
    """The process ids as the other side said them."""
    said: Mapping[str, Any] = {}
    if 0 < len(body) <= LARGEST_MESSAGE_BYTES:
        try:
            said = read_json(body)
        except MalanError:
            said = {}
    found = [said.get(name, said.get(f"dspace:{name}")) for name in ("consumerPid", "providerPid")]
    consumer, provider = (one[:500] if isinstance(one, str) and one else pid or NO_PID for one in found)
    return consumer, provider
