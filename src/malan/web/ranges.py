"""Files by byte range (RFC 9110, §14), so that a browser seeks in a film of any size without reading it all.

One range is answered with 206; several at once are not supported, and answered with the whole, as the RFC allows.
Start reading at `RangeResponse`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import anyio
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_CHUNK_BYTES = 512 * 1024
_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})", re.ASCII)


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and end (excluded) of a Range header; None when the whole is to be sent.

    A header that is not understood is ignored (§14.2).

    Raises:
        ValueError: The range lies outside; the answer is 416.
    """
    match = _RANGE.fullmatch(header.strip().replace(" ", "")) if header else None
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:  # the last n bytes
        begin, end = max(0, size - int(last)), size
        if int(last) == 0:
            raise ValueError(header)
    else:
        begin, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < int(first):
            return None
    if begin >= size or begin >= end:
        raise ValueError(header)
    return begin, end


class RangeResponse(Response):
    """A file, whole or in part. HEAD sends the headers alone.

    Args:
        path: The file; opened when the reply starts, read in pieces.
        etag: What names these bytes; quotes are added.
        media_type: Its type.
    """

    def __init__(self, path: Path, *, etag: str, media_type: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status_code=200, media_type=media_type, headers=dict(headers or {}))
        self.path = path
        self.etag = f'"{etag}"'
        self.headers["etag"] = self.etag
        self.headers["accept-ranges"] = "bytes"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        asked = Headers(scope=scope)
        with await anyio.to_thread.run_sync(self.path.open, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            begin, end = self._part(asked, size)
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            if scope["method"] == "HEAD" or self.status_code in (304, 416):
                end = begin
            await anyio.to_thread.run_sync(file.seek, begin)
            while begin < end:
                data = await anyio.to_thread.run_sync(file.read, min(_CHUNK_BYTES, end - begin))
                if not data:
                    raise OSError(f"{self.path} became shorter while it was sent")
                begin += len(data)
                await send({"type": "http.response.body", "body": data, "more_body": begin < end})
            if scope["method"] == "HEAD" or self.status_code in (304, 416) or size == 0:
                await send({"type": "http.response.body", "body": b""})

    def _part(self, asked: Headers, size: int) -> tuple[int, int]:
        """What to send; sets the status and the headers that tell."""
        if _names(asked.get("if-none-match"), self.etag):
            self.status_code = 304
            return 0, 0
        header = asked.get("range")
        if asked.get("if-range") not in (None, self.etag):
            header = None  # the reader has a part of other bytes: it gets all of these (§13.1.5)
        try:
            part = parse_range(header, size)
        except ValueError:
            self.status_code = 416
            self.headers["content-range"] = f"bytes */{size}"
            self.headers["content-length"] = "0"
            return 0, 0
        begin, end = part or (0, size)
        if part:
            self.status_code = 206
            self.headers["content-range"] = f"bytes {begin}-{end - 1}/{size}"
        self.headers["content-length"] = str(end - begin)
        return begin, end


def _names(header: str | None, etag: str) -> bool:
    """Whether an If-None-Match list names the tag; weak comparison (§13.1.2)."""
    listed = [part.strip().removeprefix("W/") for part in (header or "").split(",")]
    return etag in listed or "*" in listed
