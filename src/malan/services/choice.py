"""What can be done with clips somebody picked: keep a list of them, or cut them into files.

Start reading at `write_list`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from malan.core.errors import NotFound
from malan.services.browse import file_name

if TYPE_CHECKING:
    from malan.store.rows import ClipRow
    from malan.workspace import Workspace

_MOST_EVENTS = 999  # event numbers have three digits


@dataclass(frozen=True, slots=True)
class ListFile:
    """A list of clips as a file to keep."""

    data: bytes
    media_type: str
    file_name: str


def write_list(ws: Workspace, clip_ids: Sequence[str], format: str) -> ListFile:
    """The clips as JSON, or as an edit decision list in the CMX 3600 layout, in the order given.

    Raises:
        NotFound: One of the clips is not there.
    """
    clips = _clips(ws, clip_ids)
    return _edl(ws, clips) if format == "edl" else _json(ws, clips)


def _clips(ws: Workspace, clip_ids: Sequence[str]) -> list[ClipRow]:
    found = ws.library.clips_by_id(clip_ids)
    for clip_id in clip_ids:
        if clip_id not in found:
            raise NotFound("store.clip_unknown", id=clip_id[:12])
    return [found[clip_id] for clip_id in dict.fromkeys(clip_ids)]


def _json(ws: Workspace, clips: Sequence[ClipRow]) -> ListFile:
    assets = ws.library.assets_by_id({row.clip.asset_id for row in clips})
    listed = [
        {
            "clip_id": row.id,
            "fragment": row.clip.fragment,
            "asset_id": row.clip.asset_id,
            "file": file_name(assets[row.clip.asset_id]),
            "track": row.clip.track,
            "start_s": row.span.start_s,
            "end_s": row.span.end_s,
            "owner_id": row.owner_id,
            "terms_id": row.terms_id,
        }
        for row in clips
    ]
    text = json.dumps({"clips": listed}, ensure_ascii=False, indent=2)
    return ListFile(text.encode("utf-8", "backslashreplace"), "application/json", "malan-clips.json")


def _edl(ws: Workspace, clips: Sequence[ClipRow]) -> ListFile:
    """CMX 3600, one event a clip, non-drop; source times count from the first frame of the file as 00:00:00:00."""
    assets = ws.library.assets_by_id({row.clip.asset_id for row in clips})
    lines, record = ["TITLE: MALAN", "FCM: NON-DROP FRAME"], 0
    for number, row in enumerate(clips[:_MOST_EVENTS], 1):
        asset = assets[row.clip.asset_id]
        track = asset.asset.first("video")
        rate = (track.mean_rate if track else None) or Fraction(25)
        origin = track.start_ticks * track.timebase if track else Fraction(0)
        first, last = (
            round((tick * row.span.timebase - origin) * rate) for tick in (row.span.start, row.span.end)
        )
        times = (first, last, record, record + last - first)
        where = " ".join(_smpte(frame, rate) for frame in times)
        lines.append(f"{number:03d}  {asset.asset.id[:8].upper():<8} V     C        {where}")
        lines += [f"* FROM CLIP NAME: {file_name(asset)}", f"* MALAN CLIP: {row.clip.fragment}"]
        record += last - first
    return ListFile("\n".join([*lines, ""]).encode(), "text/plain; charset=utf-8", "malan-clips.edl")


def _smpte(frame: int, rate: Fraction) -> str:
    """`HH:MM:SS:FF`; 29.97 counts 30 to the second (SMPTE ST 12-1, non-drop)."""
    per_second = max(1, round(rate))
    seconds, frames = divmod(max(0, frame), per_second)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{frames:02d}"
