"""The bytes of registered assets and of their preview copies, by range. No path ever comes from a request."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from malan.services.footage import playback
from malan.web.gate import caller_of
from malan.web.ranges import RangeResponse

router = APIRouter()
Id = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]
# The bytes behind an id cannot change, but the file may: ask each time, answer 304 as long as it is the same.
_ASK_AGAIN = {"cache-control": "private, no-cache"}


@router.get("/media/{asset_id}")
@router.head("/media/{asset_id}", include_in_schema=False)
def media(request: Request, asset_id: Id) -> Response:
    """An asset as it is on disk."""
    file = playback.open_media_file(request.app.state.workspace, asset_id, caller=caller_of(request))
    return RangeResponse(file.path, etag=asset_id, media_type=file.mime, headers=_ASK_AGAIN)


@router.get("/proxies/{asset_id}.mp4")
@router.head("/proxies/{asset_id}.mp4", include_in_schema=False)
def proxy(request: Request, asset_id: Id) -> Response:
    """The preview copy of an asset the browser cannot play."""
    file = playback.open_proxy_file(request.app.state.workspace, asset_id, caller=caller_of(request))
    return RangeResponse(file.path, etag=f"{asset_id}-proxy-{file.stamp}", media_type=file.mime, headers=_ASK_AGAIN)
