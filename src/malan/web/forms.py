"""Forms of the console: fields as they were sent, and the token that says a page of ours sent them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
    sent = await request.form(max_files=0, max_fields=_MOST_FIELDS)
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
