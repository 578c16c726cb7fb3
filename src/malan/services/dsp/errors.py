"""What goes wrong in a process, with what the protocol calls it: the HTTP status and the type of the error message.

A face shows an `Answer`; no error changes a state. Start at `refusal_of`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from malan.core.errors import MalanError, NotFound, NotGranted, Rejected, RetryLater, UsageError


class BadMessage(UsageError):
    """The message is not one of the protocol, or says something impossible."""


class BadTransition(UsageError):
    """The message is not allowed in the state the process is in, or not from this side."""


class NotYours(NotFound):
    """There is no such process, or it is somebody else's: the two look the same from outside."""


class NotAuthenticated(NotGranted):
    """Who asks could not be established."""


class TooLong(UsageError):
    """More bytes than are read."""


class TooSlow(UsageError):
    """The bytes of a message did not come in time."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """How an error is told to the other side: HTTP status, code, sentences in both languages."""

    status: int
    code: str
    reasons: tuple[str, ...]


def refusal_of(error: MalanError) -> Refusal:
    """What the other side is told of an error of ours: nothing about what is inside here."""
    status = 400
    for kind, number in _STATUS.items():
        if isinstance(error, kind):
            status = number
            break
    else:
        if not isinstance(error, UsageError | NotGranted | Rejected):
            return Refusal(500, "exchange.defect", _both(MalanError("exchange.defect")))
    return Refusal(status, error.code, _both(error))


_STATUS: dict[type[MalanError], int] = {
    NotAuthenticated: 401,
    NotFound: 404,
    TooLong: 413,
    TooSlow: 408,
    RetryLater: 503,
}


def _both(error: MalanError) -> tuple[str, ...]:
    return error.message("en"), error.message("zh")


def bad(detail: str, /, **values: Any) -> BadMessage:
    """A message that cannot be read; `detail` names the place."""
    return BadMessage("exchange.bad_message", detail=detail[:200], **values)
