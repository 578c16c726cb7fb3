"""How an asset can be played here: the file itself, or a preview copy where browsers cannot play it.

The file is sent only while it is the one that was registered: size and time of change are compared at each request.
Start reading at `playback_of`; copies are made in
`previews.py`.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from malan.core.errors import MalanError, MediaError, NotFound
from malan.media.probe import Probe
from malan.media.proxy import needs_proxy
from malan.services.access import HOUSE, Caller
from malan.services.clips.browse import file_name
from malan.services.spoken import word
from malan.services.uses import LOOKING, require_use, visible_asset
from malan.services.views import Failure, Playback

if TYPE_CHECKING:
    from malan.core import Asset
    from malan.store.rows import AssetRow, Location
    from malan.workspace import Workspace

# What the bytes are called; containers by the names the probe gives.
_MIME = {
    "mp4": "video/mp4",
    "m4v": "video/mp4",
    "mov": "video/mp4",
    "m4a": "audio/mp4",
    "webm": "video/webm",
    "matroska": "video/x-matroska",
    "ogg": "audio/ogg",
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "flac": "audio/flac",
}
_IMAGE_MIME = {"mjpeg": "image/jpeg", "png": "image/png", "webp": "image/webp", "gif": "image/gif"}
# Some browsers open Matroska although not all do; with these inside, trying costs nothing and may save the copy.
_WORTH_TRYING = frozenset({"h264", "vp8", "vp9", "av1", "aac", "mp3", "opus", "vorbis", "flac"})


@dataclass(frozen=True, slots=True)
class MediaFile:
    """A file that may be sent, and what it is."""

    path: Path
    mime: str
    stamp: str  # changes with the bytes


def open_media_file(ws: Workspace, asset_id: str, *, caller: Caller = HOUSE) -> MediaFile:
    """The file of an asset.

    Raises:
        NotFound: No such asset, or its file is no longer where it was.
        MediaError: Another file lies there now.
        NotGranted: The terms do not allow to look at it today.
    """
    row = visible_asset(ws, asset_id, caller)
    return MediaFile(source_of(ws, row, caller=caller), _mime(row.asset), asset_id)


def source_of(ws: Workspace, row: AssetRow, *, caller: Caller = HOUSE) -> Path:
    """Where the bytes of an asset are right now, if its terms allow to look at them.

    Raises:
        NotGranted: They do not.
        NotFound: The file is no longer where it was.
        MediaError: Another file lies there now.
    """
    require_use(ws, row.asset.terms_id, LOOKING, file_name(row), caller=caller, action="play")
    return _present(row, caller)


def open_proxy_file(ws: Workspace, asset_id: str, *, caller: Caller = HOUSE) -> MediaFile:
    """The preview copy of an asset.

    Raises:
        NotFound: None has been made.
        NotGranted: The terms do not allow to look at it today.
    """
    row = visible_asset(ws, asset_id, caller)
    require_use(ws, row.asset.terms_id, LOOKING, file_name(row), caller=caller, action="play")
    path = proxy_path(ws, asset_id)
    try:
        info = path.stat()
    except OSError:
        raise NotFound("playback.no_proxy", id=asset_id[:12]) from None
    return MediaFile(path, "video/mp4", f"{info.st_mtime_ns:x}")


def proxy_path(ws: Workspace, asset_id: str) -> Path:
    """Where the preview copy of an asset lies, whether or not it is there."""
    return ws.folder("proxies") / f"{asset_id}.mp4"


def playback_of(ws: Workspace, row: AssetRow, lang: str, *, caller: Caller = HOUSE) -> Playback:
    """How an asset plays: its addresses, whether it needs a preview copy, and what keeps it from playing."""
    problem = None
    try:
        source_of(ws, row, caller=caller)
    except MalanError as error:
        problem = Failure.of(error, lang)
    asset = row.asset
    reason = unplayable(row, lang)
    return Playback(
        url=f"/media/{asset.id}",
        kind=_kind(asset),
        mime=_mime(asset),
        needs_proxy=bool(reason),
        may_try=not reason or _is_worth_trying(asset),
        reason=reason,
        proxy_state="ready" if reason and proxy_path(ws, asset.id).is_file() else "none",
        proxy_url=f"/proxies/{asset.id}.mp4",
        proxy_progress=0.0,
        problem=problem,
    )


def _present(row: AssetRow, caller: Caller) -> Path:
    """Where the bytes of an asset are right now: the first of its places that still looks as when it was read.

    Only operators are told folders.
    """
    changed: Location | None = None
    for place in row.locations:
        try:
            info = os.stat(place.path)  # noqa: PTH116 - keeps odd bytes as they are
        except OSError:
            continue
        if stat.S_ISREG(info.st_mode) and (info.st_size, info.st_mtime_ns) == (place.size_bytes, place.mtime_ns):
            return Path(place.path)
        changed = place
    if changed is not None:
        raise MediaError("playback.changed", path=_told(changed.path, caller))
    path = row.locations[0].path if row.locations else row.asset.id[:12]
    raise NotFound("playback.missing", path=_told(path, caller))


def _told(path: str, caller: Caller) -> str:
    return path if caller.is_operator else PurePath(path).name


def _kind(asset: Asset) -> str:
    return next((kind for kind in ("video", "audio", "image") if asset.first(kind)), "none")


def _mime(asset: Asset) -> str:
    if _kind(asset) == "image":
        track = asset.first("image")
        return _IMAGE_MIME.get(track.codec if track else "", "application/octet-stream")
    names = asset.container.split(",")
    return next((_MIME[name] for name in names if name in _MIME), "application/octet-stream")


def unplayable(row: AssetRow, lang: str) -> str:
    """Why not every browser plays an asset as it is; empty when they do."""
    asset = row.asset
    if _kind(asset) == "image" and not _mime(asset).startswith("image/"):
        return word("playback.picture", lang, container=asset.container)
    reason = needs_proxy(_probe(asset))
    return reason.text(lang) if reason else ""


def _probe(asset: Asset) -> Probe:
    return Probe(asset.container, asset.duration, asset.size_bytes, asset.tracks, Fraction(0), {}, ())


def _is_worth_trying(asset: Asset) -> bool:
    played = [track for track in (asset.first("video"), asset.first("audio")) if track]
    return asset.container == "matroska" and all(track.codec in _WORTH_TRYING for track in played)
