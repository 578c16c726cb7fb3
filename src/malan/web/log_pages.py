"""The log, for those who may read it: the page and the same as JSON."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from malan.services.log import view as log_view
from malan.services.log.proofs import event_receipt
from malan.web.gate import caller_of
from malan.web.language import language_of
from malan.web.pages import Pages

router = APIRouter()
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
