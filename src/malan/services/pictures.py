"""Small pictures: filmstrips and thumbnails of clips, the sheet under the timeline of an asset.

What the scan kept is sent as it is. Start reading at `strip`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from malan.core.errors import NotFound

if TYPE_CHECKING:
    from malan.workspace import Workspace


def strip(ws: Workspace, clip_id: str) -> bytes:
    """A JPEG with several moments of a clip side by side; with one where the scan kept no more.

    Raises:
        NotFound: There is no picture of it.
    """
    return ws.library.filmstrip(clip_id) or thumbnail(ws, clip_id)


def thumbnail(ws: Workspace, clip_id: str) -> bytes:
    """A JPEG of a clip.

    Raises:
        NotFound: There is no picture of it.
    """
    found = ws.library.thumbnail(clip_id)
    if found is None:
        raise NotFound("web.no_picture", id=clip_id[:12])
    return found
