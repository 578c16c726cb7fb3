"""Assets: the shelf of all, the page of one, its frame times, pictures and preview copy."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from malan.core.errors import MalanError, UsageError
from malan.services.clips import browse
from malan.services.footage import pictures, previews
from malan.services.footage import portrait as inspect
from malan.services.footage.withdrawal import withdraw_asset
from malan.services.views import Failure
from malan.web.failures import status_of
from malan.web.forms import firsts, read_form
from malan.web.gate import caller_of
from malan.web.language import language_of
from malan.web.pages import Pages

router = APIRouter()
Id = Annotated[str, Path(pattern=r"^[0-9a-f]{6,64}$")]
WholeId = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]
PAGE_ASSETS = 60
_KEPT = {"cache-control": "private, max-age=86400, immutable"}  # follows from the bytes: never anything else
_KEPT_A_WHILE = {"cache-control": "private, max-age=600"}  # another scan, or other terms, may change the answer


@router.get("/assets", include_in_schema=False)
def shelf(request: Request, offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0) -> Response:
    workspace, pages, lang = request.app.state.workspace, request.app.state.pages, language_of(request.scope)
    view = browse.list_assets(workspace, lang, limit=PAGE_ASSETS, offset=offset, caller=caller_of(request))
    return pages.html(request, "assets.html", view=view, offset=offset, step=PAGE_ASSETS)  # type: ignore[no-any-return]


@router.get("/assets.json")
def shelf_json(request: Request, offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0) -> Response:
    """Assets in the order of their registration."""
    lang = language_of(request.scope)
    return Pages.json(
        browse.list_assets(
            request.app.state.workspace, lang, limit=PAGE_ASSETS, offset=offset, caller=caller_of(request)
        )
    )


@router.get("/assets/{asset_id}.json")
def asset_json(request: Request, asset_id: Id) -> Response:
    """One asset: shots, captions, loudness, findings, tracks, terms."""
    return Pages.json(
        inspect.asset(request.app.state.workspace, asset_id, language_of(request.scope), caller=caller_of(request))
    )


@router.get("/assets/{asset_id}", include_in_schema=False)
def asset_page(request: Request, asset_id: Id) -> Response:
    return _asset(request, asset_id)


@router.get("/assets/{asset_id}/frames")
def frame_times(request: Request, asset_id: Id) -> Response:
    """When each frame is shown: little-endian float64 seconds, one more than there are frames (the end of the last)."""
    data = inspect.frame_times(request.app.state.workspace, asset_id, caller=caller_of(request))
    return Response(data, media_type="application/octet-stream", headers=_KEPT)


@router.get("/assets/{asset_id}/peaks")
def peaks(request: Request, asset_id: Id) -> Response:
    """The waveform: signed bytes, low and high in turn."""
    data = inspect.peaks(request.app.state.workspace, asset_id, caller=caller_of(request))
    return Response(data, media_type="application/octet-stream", headers=_KEPT_A_WHILE)


@router.get("/strips/{clip_id}.jpg")
def strip(request: Request, clip_id: WholeId) -> Response:
    """Several moments of a clip side by side."""
    return Response(
        pictures.strip(request.app.state.workspace, clip_id, caller=caller_of(request)),
        media_type="image/jpeg",
        headers=_KEPT_A_WHILE,
    )


@router.get("/thumbs/{clip_id}.jpg")
def thumb(request: Request, clip_id: WholeId) -> Response:
    """One picture of a clip."""
    return Response(
        pictures.thumbnail(request.app.state.workspace, clip_id, caller=caller_of(request)),
        media_type="image/jpeg",
        headers=_KEPT_A_WHILE,
    )


@router.post("/assets/{asset_id}/proxy")
def make_proxy(request: Request, asset_id: Id) -> Response:
    """Start making a preview copy, unless it is there or under way."""
    return Pages.json(
        previews.start_preview(
            request.app.state.workspace, asset_id, language_of(request.scope), caller=caller_of(request)
        )
    )


@router.get("/assets/{asset_id}/proxy.json")
def proxy_state(request: Request, asset_id: Id) -> Response:
    """How far the preview copy is."""
    return Pages.json(
        previews.describe_preview(
            request.app.state.workspace, asset_id, language_of(request.scope), caller=caller_of(request)
        )
    )


@router.post("/assets/{asset_id}/withdraw", include_in_schema=False)
async def withdraw(request: Request, asset_id: WholeId) -> Response:
    """Take an asset back for its owner: gone at the next read, everywhere."""
    return await run_in_threadpool(_withdraw, request, asset_id, firsts(await read_form(request)))


def _withdraw(request: Request, asset_id: str, said: dict[str, str]) -> Response:
    reason = said.get("reason", "").strip()
    try:
        if not reason or not said.get("sure"):
            raise UsageError("admin.not_sure")
        withdraw_asset(request.app.state.workspace, asset_id, reason, caller=caller_of(request))
    except MalanError as error:
        return _asset(request, asset_id, error, said)
    return RedirectResponse("/assets", status_code=303)


def _asset(
    request: Request, asset_id: str, error: MalanError | None = None, said: dict[str, str] | None = None
) -> Response:
    workspace, pages, lang = request.app.state.workspace, request.app.state.pages, language_of(request.scope)
    view = inspect.asset(workspace, asset_id, lang, caller=caller_of(request))
    failure, status = (Failure.of(error, lang), status_of(error)) if error else (None, 200)
    reply: Response = pages.html(request, "asset.html", status=status, view=view, failure=failure, said=said or {})
    return reply
