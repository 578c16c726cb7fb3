"""Files that people bring along for a run: kept under their digest, those of each party apart, for some days.

    photo.jpg ─▶ uploads/<party>/<digest>/photo.jpg      named from then on as `upload:<digest>/photo.jpg`

What a party brought it may name in its requests, and nobody else may. Start at `keep_upload`.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from malan.core.errors import NotFound, Rejected, StoreError, UsageError
from malan.services.access import Caller, require

if TYPE_CHECKING:
    from malan.workspace import Workspace

FOLDER = "uploads"
PREFIX = "upload:"
MOST_BYTES = 512 * 2**20  # of one file
MOST_KEPT_BYTES = 8 * 2**30  # of one party
_TOKEN = re.compile(rf"{PREFIX}([0-9a-f]{{64}})/([^/\\\x00-\x1f]{{1,100}})")
_PIECE = 2**20
_DAY_S = 86_400


def keep_upload(ws: Workspace, name: str, stream: BinaryIO, *, caller: Caller) -> str:
    """Keep a file; the name by which requests of the caller may speak of it. The same bytes are kept once.

    Args:
        name: What the file is called where it comes from; of it the last part is kept, for people to read.

    Raises:
        NotGranted: The caller may not run apps.
        UsageError: The file is empty, or too long.
        Rejected: The party has brought as much as is kept for one.
        StoreError: The disk does not take it.
    """
    require(caller, "app.run")
    place = folder_of(ws, caller)
    if _kept_bytes(place) > MOST_KEPT_BYTES:
        raise Rejected("upload.full", most=MOST_KEPT_BYTES >> 30)
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".coming-", dir=place) as coming:
            digest, part = _taken(stream, Path(coming) / _name(name))
            (place / digest).mkdir(exist_ok=True)
            part.replace(place / digest / part.name)
    except OSError as error:
        raise StoreError("app.not_written", path=FOLDER, detail=error.strerror or str(error)) from error
    return f"{PREFIX}{digest}/{part.name}"


def path_of(ws: Workspace, token: str, *, caller: Caller) -> Path:
    """Where a file lies that the caller brought; it is kept on from today.

    Raises:
        NotFound: The caller brought none of that name, or it was taken away since.
    """
    found = _TOKEN.fullmatch(token)
    path = folder_of(ws, caller) / found[1] / found[2] if found else None
    if path is None or not path.is_file():
        raise NotFound("upload.none", name=token.rpartition("/")[2][:100])
    os.utime(path.parent)
    return path


def is_brought(ws: Workspace, path: Path, *, caller: Caller) -> bool:
    """Whether a place is that of a file the caller brought."""
    try:
        return path.resolve().parent.parent == folder_of(ws, caller).resolve()
    except (OSError, ValueError):  # no name a file can have
        return False


def as_token(ws: Workspace, value: str, *, caller: Caller) -> str:
    """The name of a file the caller brought, given where it lies; any other value as it is.

    Raises:
        NotGranted: The caller may not run apps.
    """
    require(caller, "app.run")
    path = Path(value)
    return f"{PREFIX}{path.parent.name}/{path.name}" if value and is_brought(ws, path, caller=caller) else value


def folder_of(ws: Workspace, caller: Caller) -> Path:
    """Where what a party brings is kept; who runs this machine has a folder as well."""
    return ws.root / FOLDER / (caller.party_id or "house")


def sweep_uploads(ws: Workspace, now_s: float | None = None) -> int:
    """Take away what nobody has named for `result_days`; how many files."""
    days = ws.settings.result_days
    before = (time.time() if now_s is None else now_s) - days * _DAY_S
    old = [one for one in (ws.root / FOLDER).glob("*/*") if one.stat().st_mtime < before] if days else []
    for one in old:
        shutil.rmtree(one, ignore_errors=True)
    return len(old)


def _taken(stream: BinaryIO, target: Path) -> tuple[str, Path]:
    digest, size = hashlib.sha256(), 0
    with target.open("wb") as file:
        while piece := stream.read(_PIECE):
            size += len(piece)
            if size > MOST_BYTES:
                raise UsageError("web.too_long", limit=MOST_BYTES)
            digest.update(piece)
            file.write(piece)
    if not size:
        raise UsageError("upload.empty", name=target.name)
    return digest.hexdigest(), target


def _name(name: str) -> str:
    """The last part of a name, without what has a meaning in paths or is not seen."""
    last = re.split(r"[/\\]", name)[-1]
    shown = "".join(one for one in last if one.isprintable() and one not in ':*?"<>|').strip(" .")
    stem, dot, ending = shown.rpartition(".")
    return f"{stem[:80]}{dot}{ending[:15]}" if stem else shown[:80] or "file"


def _kept_bytes(place: Path) -> int:
    return sum(one.stat().st_size for one in place.glob("*/*") if one.is_file())
