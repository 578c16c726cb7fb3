"""Forms of the console: fields as they were sent, and the token that says a page of ours sent them.

Only `read_files` takes files; whoever calls it says what becomes of them, once it is known who sent the form.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from malan.core.errors import Rejected, UsageError
from malan.services.accounts.sessions import is_form_token
from malan.web.gate import caller_of, session_of

_MOST_FIELDS = 200
_LONGEST = 10_000


async def read_form(request: Request) -> Mapping[str, Sequence[str]]:
    """The fields of a form, each with all its values; the token is checked and taken out.

    Raises:
        Rejected: It does not come from a page of this session.
        UsageError: It has files, or more or longer fields than a form of ours.
    """
    return _fields(request, await request.form(max_files=0, max_fields=_MOST_FIELDS))


@asynccontextmanager
async def read_files(
    request: Request, most: int
) -> AsyncIterator[tuple[Mapping[str, Sequence[str]], list[tuple[str, UploadFile]]]]:
    """The fields of a form, and the files by the field they were chosen for; they are gone when the block is left.

    Raises:
        Rejected, UsageError: As `read_form`.
    """
    async with request.form(max_files=most, max_fields=_MOST_FIELDS) as sent:
        files = [(name, one) for name, one in sent.multi_items() if isinstance(one, UploadFile)]
        kept = FormData([(name, one) for name, one in sent.multi_items() if isinstance(one, str)])
        said = _fields(request, kept)
        yield said, [(name, one) for name, one in files if one.filename]


def _fields(request: Request, sent: FormData) -> Mapping[str, Sequence[str]]:
    said: dict[str, list[str]] = {}
    for name, value in sent.multi_items():
        if not isinstance(value, str) or len(value) > _LONGEST or len(name) > 60:
            raise UsageError("web.bad_request", detail=name[:60])
        said.setdefault(name, []).append(value)
    token = (said.pop("token", None) or [""])[0]
    if caller_of(request).via == "session" and not is_form_token(token, session_of(request)):
        raise Rejected("access.stale_form")
    return said


def firsts(said: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Each field with its first value."""
    return {name: values[0] for name, values in said.items() if values}
