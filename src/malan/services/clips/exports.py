"""Take clips out as files of their own. Every clip's terms are asked first; nothing is written when one denies.

Start reading at `export_clips`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from malan.core.time import timecode
from malan.services.access import HOUSE, Caller
from malan.services.clips.cutting import Cutter, item_suffix
from malan.services.outputs.manifests import Source
from malan.services.outputs.publish import Draft, publish
from malan.services.uses import require_use

if TYPE_CHECKING:
    from malan.store import ClipRow
    from malan.workspace import Workspace

APP = "clip.export"
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class ExportedClip:
    """A clip and the file it was cut to."""

    row: ClipRow
    path: Path
    size_bytes: int
    output_id: str  # digest of the file
    event: int  # where the log says it was published


def export_clips(
    ws: Workspace, clip_ids: Sequence[str], out: Path, *, progress: Progress | None = None, caller: Caller = HOUSE
) -> list[ExportedClip]:
    """Cut clips into the folder `out`: whole GOPs copied, edges encoded, all sound tracks kept.

    A file that is there already under the same name is the same clip and is cut again in its place.

    Raises:
        NotFound: A clip, or the file it comes from, is not there.
        NotGranted: The terms of one of the clips do not allow export today.
    """
    rows = [ws.library.clip(clip_id) for clip_id in dict.fromkeys(clip_ids)]
    for row in rows:
        require_use(ws, row.terms_id, "export", row.id[:12], caller=caller)
    out.mkdir(parents=True, exist_ok=True)
    cutter, done = Cutter(ws), []
    for number, row in enumerate(rows, 1):
        path = out / _file_name(row, item_suffix(cutter.asset(row.clip.asset_id).asset))
        draft = Draft(APP, "retrieve", path.name, (_source(row),), use="export")
        published = publish(ws, draft, partial(cutter.cut, row.clip), path, caller=caller)
        done.append(ExportedClip(row, path, path.stat().st_size, published.output_id, published.event))
        if progress:
            progress(number, len(rows), path.name)
    return done


def _source(row: ClipRow) -> Source:
    """The file shows the whole clip, from its own beginning."""
    return Source(row.clip, row.owner_id, row.terms_id, Fraction(0), row.span.duration)


def _file_name(row: ClipRow, suffix: str) -> str:
    """`film 00.01.02.500 1a2b3c4d.mp4`: sorts by film and time, and is legal on every system."""
    stem = Path(row.file_name).stem or "clip"
    safe = "".join(c if c.isprintable() and c not in '\\/:*?"<>|' else "_" for c in stem).strip(" .-")[:80]
    return f"{safe or 'clip'} {timecode(row.span.start_s).replace(':', '.')} {row.id[:8]}{suffix}"
