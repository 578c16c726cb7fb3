"""Every failure in one envelope: `{"error": {"code", "message", "hint"}}`, or a page that says the same."""

from __future__ import annotations

from dataclasses import asdict

from starlette.responses import JSONResponse, Response

from malan.core.errors import (
    MalanError,
    MediaError,
    NotFound,
    NotGranted,
    Rejected,
    RetryLater,
    UsageError,
)
from malan.services.access import NotSignedIn
from malan.services.views import Failure

_STATUS: tuple[tuple[type[MalanError], int], ...] = (
    (UsageError, 400),
    (NotSignedIn, 401),
    (NotGranted, 403),
    (NotFound, 404),
    (Rejected, 409),
    (MediaError, 409),
    (RetryLater, 503),
)


def status_of(error: MalanError) -> int:
    """The HTTP status of an error; what is nobody's request's fault is 500."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def failure_response(error: MalanError, lang: str, *, status: int | None = None) -> Response:
    """The envelope."""
    body = {"error": asdict(Failure.of(error, lang))}
    return JSONResponse(body, status_code=status or status_of(error), headers={"cache-control": "no-store"})
