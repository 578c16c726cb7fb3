"""Small pictures: filmstrips and thumbnails of clips, sent as the scan kept them, where the terms allow to look.

Start reading at `strip`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from malan.core.errors import NotFound
from malan.services.access import HOUSE, Caller
from malan.services.uses import require_visible_clip

if TYPE_CHECKING:
    from malan.workspace import Workspace


def strip(ws: Workspace, clip_id: str, *, caller: Caller = HOUSE) -> bytes:
    """A JPEG with several moments of a clip side by side; with one where the scan kept no more.

    Raises:
        NotFound: There is no such clip, or no picture of it.
        NotGranted: Its terms do not allow to look at it today.
    """
    _require_look(ws, clip_id, caller)
    return ws.library.filmstrip(clip_id) or _still(ws, clip_id)


def thumbnail(ws: Workspace, clip_id: str, *, caller: Caller = HOUSE) -> bytes:
    """A JPEG of a clip.

    Raises:
        NotFound: There is no such clip, or no picture of it.
        NotGranted: Its terms do not allow to look at it today.
    """
    _require_look(ws, clip_id, caller)
    return _still(ws, clip_id)


def _require_look(ws: Workspace, clip_id: str, caller: Caller) -> None:
    require_visible_clip(ws, clip_id, ws.library.clip_terms(clip_id), caller)


def _still(ws: Workspace, clip_id: str) -> bytes:
    found = ws.library.thumbnail(clip_id)
    if found is None:
        raise NotFound("web.no_picture", id=clip_id[:12])
    return found
