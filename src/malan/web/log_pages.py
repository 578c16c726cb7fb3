"""The log, for those who may read it; and whose a file is that somebody holds: chosen here, or by its digest."""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.responses import Response

from malan.core.errors import MalanError, UsageError
from malan.services.files.uploads import MOST_BYTES
from malan.services.log import view as log_view
from malan.services.log.proofs import event_receipt
from malan.services.outputs.manifests import trace_output
from malan.services.views import Failure
from malan.web.failures import status_of
from malan.web.forms import firsts, read_files
from malan.web.gate import caller_of
from malan.web.language import language_of
from malan.web.pages import Pages

router = APIRouter()
_DIGEST = re.compile(r"[0-9a-f]{12,64}")
Before = Annotated[int | None, Query(ge=0, le=2**53)]
Index = Annotated[int, Path(ge=0, le=2**53)]


@router.get("/log", include_in_schema=False)
def log_page(request: Request, before: Before = None) -> Response:
    workspace, pages, lang = request.app.state.workspace, request.app.state.pages, language_of(request.scope)
    view = log_view.log_page(workspace, lang, before=before, caller=caller_of(request))
    return pages.html(request, "log.html", view=view)  # type: ignore[no-any-return]


@router.get("/log.json")
def log_json(request: Request, before: Before = None) -> Response:
    """Events of the log, the newest first."""
    workspace, lang = request.app.state.workspace, language_of(request.scope)
    return Pages.json(log_view.log_page(workspace, lang, before=before, caller=caller_of(request)))


@router.get("/log/{index}/receipt")
def receipt(request: Request, index: Index) -> Response:
    """Proof that an event is in the log: one file, checked offline against the log's key."""
    data = event_receipt(request.app.state.workspace, index, caller=caller_of(request))
    name = f"malan-event-{index}.tlog-proof"
    held = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(data, media_type="text/plain; charset=utf-8", headers=held)


@router.get("/trace", include_in_schema=False)
def trace_page(request: Request) -> Response:
    return _trace(request)


@router.post("/trace", include_in_schema=False, max_body_size=MOST_BYTES)
async def trace(request: Request) -> Response:
    """Whose footage is in a file; only its digest is kept, and that not longer than this answer takes."""
    async with read_files(request, 1) as (said, files):
        digest = firsts(said).get("digest", "").strip().lower()
        if files:
            digest = await run_in_threadpool(_digest, files[0][1])
        return await run_in_threadpool(_traced, request, digest)


def _traced(request: Request, digest: str) -> Response:
    try:
        if not _DIGEST.fullmatch(digest):
            raise UsageError("admin.no_digest", text=digest[:40])
        found = trace_output(request.app.state.workspace, digest, caller=caller_of(request))
    except MalanError as error:
        return _trace(request, digest=digest, error=error)
    return _trace(request, digest=digest, found=found)


def _digest(file: UploadFile) -> str:
    """The SHA-256 of what was sent, read in pieces."""
    return hashlib.file_digest(file.file, "sha256").hexdigest()  # type: ignore[arg-type]


def _trace(request: Request, *, digest: str = "", error: MalanError | None = None, found: Any = None) -> Response:
    failure = Failure.of(error, language_of(request.scope)) if error else None
    status, pages = status_of(error) if error else 200, request.app.state.pages
    reply: Response = pages.html(request, "trace.html", status=status, digest=digest, failure=failure, found=found)
    return reply
