"""What a job made, as clients read it: the rights are asked again before a byte leaves. Start at `job_file`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malan.apps.builtin import app_named
from malan.core.errors import NotFound, UsageError
from malan.services.access import Caller
from malan.services.jobs.queue import DONE, Job
from malan.services.market.granted import opened_by, require_source
from malan.services.outputs.manifests import sources_of

if TYPE_CHECKING:
    from malan.workspace import Workspace

VARIANTS = ("video", "audio", "thumbnail", "spritesheet")
_KINDS = {
    ".mp4": "video/mp4", ".mov": "video/quicktime", ".webm": "video/webm", ".wav": "audio/wav", ".mp3": "audio/mpeg",
    ".m4a": "audio/mp4", ".flac": "audio/flac", ".jpg": "image/jpeg", ".png": "image/png", ".mid": "audio/midi",
    ".json": "application/json", ".srt": "application/x-subrip", ".otio": "application/json", ".zip": "application/zip",
}  # fmt: skip
_FILMS = (".mp4", ".mov", ".webm")
_SOUNDS = (".wav", ".m4a", ".flac", ".mp3")
_MOST_SOURCES = 2_000
_TILES = 16


def enriched(ws: Workspace, told: Mapping[str, Any]) -> dict[str, Any]:
    """What an app left, with what every answer tells: seconds, provenance, sources, engine, mode."""
    found = {**told, "files": [{**one, "path": Path(one["path"]).name} for one in told.get("files", ())]}
    outputs = [one["output"] for one in told.get("files", ()) if one.get("output")]
    listed = [source for output in outputs[:1] for source in sources_of(ws, output).listed]
    found["sources"] = [
        {"clip": one.clip.id, "asset": one.clip.asset_id, "owner": one.owner_id,
         "at_s": round(float(one.at_s), 3), "until_s": round(float(one.until_s), 3)}
        for one in listed[:_MOST_SOURCES]
    ]  # fmt: skip
    found["provenance_id"] = outputs[0] if outputs else ""
    found.setdefault("engine", told.get("app", ""))
    return found


def job_file(ws: Workspace, job: Job, variant: str, *, caller: Caller) -> tuple[Path, str]:
    """The file of a job that is done, and its type.

    Args:
        ws: Whose.
        job: Done.
        variant: One of `VARIANTS`, or the name of a file it left.
        caller: Who reads it.

    Raises:
        NotFound: It left no such file.
        NotGranted: An owner does not allow it any more.
    """
    require_content(ws, job, caller)
    folder = ws.root / job.folder
    if variant in ("thumbnail", "spritesheet"):
        return _picture(folder, _first(job, folder, _FILMS), variant), "image/jpeg"
    if variant in ("video", "audio"):
        path = _first(job, folder, _FILMS if variant == "video" else _SOUNDS)
        return path, _KINDS[path.suffix]
    names = {str(one["path"]) for one in job.told.get("files", ())}
    if variant not in names or not (folder / variant).is_file():
        raise NotFound("gateway.no_variant", variant=variant[:80], known=", ".join((*VARIANTS, *sorted(names)))[:400])
    return folder / variant, _KINDS.get(Path(variant).suffix, "application/octet-stream")


def require_content(ws: Workspace, job: Job, caller: Caller) -> None:
    """Ask the owners of everything a job shows, as their terms stand now.

    Raises:
        NotGranted: One does not allow it any more.
    """
    if job.state != DONE:
        raise UsageError("gateway.not_made", id=job.id)
    uses = app_named(job.app).card.uses
    outputs = {str(one["output"]) for one in job.told.get("files", ()) if one.get("output")}
    sources = {source.clip.id: source for one in outputs for source in sources_of(ws, one).listed}
    if not sources or not uses:
        return
    caller = replace(caller, grant_id=str(job.request.get("grant") or ""))
    opened = opened_by(ws, caller, uses) if caller.grant_id else None
    assets = ws.library.assets_by_id(sorted({one.clip.asset_id for one in sources.values()}))
    for one in sources.values():
        row = assets.get(one.clip.asset_id)
        terms_id = row.asset.terms_id if row else one.terms_id
        for use in uses:
            require_source(ws, one.clip, terms_id, use, one.clip.id[:12], caller=caller, opened=opened)


def _first(job: Job, folder: Path, suffixes: tuple[str, ...]) -> Path:
    for one in job.told.get("files", ()):
        path = folder / str(one["path"])
        if path.suffix.lower() in suffixes and path.is_file():
            return path
    raise NotFound("gateway.no_variant", variant=suffixes[0][1:], known=", ".join(VARIANTS))


def _picture(folder: Path, film: Path, variant: str) -> Path:
    """A picture of a film, made once: its middle, or sixteen of its frames."""
    from malan.media.index import build_index
    from malan.media.thumbs import sprites, thumbnails

    path = folder / f"{film.stem}-{variant}.jpg"
    if path.is_file():
        return path
    index = build_index(film)
    if variant == "thumbnail":
        data = thumbnails(film, index, [index.frame_count // 2], height_px=360)[0]
    else:
        whole = index.span(0, index.frame_count).duration
        every = max(whole / _TILES, Fraction(1, 10))
        data = sprites(film, index, every_s=every, columns=4).sheets[0]
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_bytes(data)
    part.replace(path)
    return path
