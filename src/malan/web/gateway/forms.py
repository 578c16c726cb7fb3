"""Forms with files, within limits: large ones are put on disk while they come. Start at `read_form`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from malan.core.errors import UsageError

if TYPE_CHECKING:
    from starlette.datastructures import FormData

    from malan.web.gateway.call import Call

MOST_BYTES = 64 * 2**20
_MOST_FIELD_BYTES = 2**20
_MOST_FIELDS = 100


@dataclass(frozen=True, slots=True)
class Form:
    """Fields as text; of several of one name the last."""

    data: FormData

    @property
    def fields(self) -> dict[str, str]:
        return {name: value for name, value in self.data.multi_items() if isinstance(value, str)}

    def name_of(self, field: str) -> str:
        """What a file is called where it comes from; for its ending only."""
        found = self.data.get(field)
        return (found.filename or "") if isinstance(found, UploadFile) else ""

    async def file(self, field: str, most: int) -> bytes | None:
        """The bytes of a file; None where the field holds none.

        Raises:
            UsageError: It is longer than may be.
        """
        found = self.data.get(field)
        if not isinstance(found, UploadFile):
            return None
        data = await found.read(most + 1)
        if len(data) > most:
            raise UsageError("web.too_long", limit=most)
        return data


@asynccontextmanager
async def read_form(call: Call, most: int = MOST_BYTES) -> AsyncIterator[Form]:
    """The form of a request; its files are gone when the block is left.

    Raises:
        UsageError: It is none, holds too much, or is too long.
    """
    said = call.headers.get("content-length", "")
    if said.isascii() and said.isdigit() and int(said[:20]) > most:
        raise UsageError("web.too_long", limit=most)
    size = 0

    async def counted() -> Message:
        nonlocal size
        message = await call.receive()
        size += len(message.get("body", b""))
        if size > most:
            raise UsageError("web.too_long", limit=most)
        return message

    request = Request(call.scope, counted)
    try:
        data = await request.form(max_files=4, max_fields=_MOST_FIELDS, max_part_size=_MOST_FIELD_BYTES)
    except (HTTPException, UnicodeDecodeError, KeyError, AssertionError) as error:
        detail = str(getattr(error, "detail", type(error).__name__))
        raise UsageError("gateway.no_form", detail=detail[:120]) from None
    try:
        yield Form(data)
    finally:
        await data.close()
