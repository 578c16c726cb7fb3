"""What can be done with clips somebody picked: keep a list of them, or cut them into files.

Lists may be kept of whatever may be found; cutting asks for the right to export. Start reading at `write_list`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from malan.core.errors import NotFound, NotGranted
from malan.core.ids import digest_record
from malan.datasets.exporters.timeline import EdlEvent, edl_event, edl_text
from malan.runtime.limits import MIB, Limits
from malan.runtime.pool import Task, WorkerPool
from malan.services.access import HOUSE, Caller
from malan.services.accounts.parties import caller_of_job
from malan.services.clips.browse import file_name, shown
from malan.services.jobs.beside import go_on_beside
from malan.services.spoken import word
from malan.services.uses import require_use, require_visible_clip

if TYPE_CHECKING:
    from malan.store.rows import AssetRow, ClipRow
    from malan.workspace import Workspace

KIND = "clip.export"
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class ListFile:
    """A list of clips as a file to keep."""

    data: bytes
    media_type: str
    file_name: str


@dataclass(frozen=True, slots=True)
class ExportStarted:
    """An export that runs as a job: where the files come to lie."""

    job_id: str
    folder: str
    count: int
    message: str


def start_export(ws: Workspace, clip_ids: Sequence[str], lang: str, *, caller: Caller = HOUSE) -> ExportStarted:
    """Start cutting clips into files in a folder of their own below the workspace's `exports`.

    Raises:
        NotFound: One of the clips is not there.
        NotGranted: The terms of one of them do not allow export today, or the caller is no operator: the files come to
            lie on this machine, where nobody else could fetch them. Nothing is started.
    """
    rows = _clips(ws, clip_ids, caller)
    for row in rows:
        require_use(ws, row.terms_id, "export", row.id[:12], lang, caller=caller)
    if not caller.is_operator:
        raise NotGranted("choice.not_here")
    listed = [row.id for row in rows]
    folder = ws.folder("exports") / f"clips-{digest_record('export', [caller.party_id or '', *listed])[:12]}"
    spec = {"clip_ids": listed, "file": folder.name, "party": caller.party_id or ""}
    job = ws.jobs.create(KIND, spec, listed)
    go_on_beside(ws, job.id)
    told = shown(str(folder))
    return ExportStarted(job.id, told, len(listed), word("choice.exporting", lang, n=len(listed), folder=told))


def resume_export(ws: Workspace, job_id: str, progress: Progress | None = None) -> Path:
    """Cut the clips a job is about, in a worker process; clips that are cut already are not cut again."""
    spec = ws.jobs.get(job_id).spec
    folder = ws.folder("exports") / str(spec["file"])
    with ws.jobs.running(job_id) as run:
        waiting = run.waiting()
        limits = Limits(ws.settings.worker_memory_mb * MIB, float(ws.settings.file_timeout_s))
        party = str(spec.get("party", ""))
        tasks = [
            Task("malan.services.clips.choice:cut_one", (str(ws.root), key, str(folder), party), key=key)
            for key in waiting
        ]
        with WorkerPool(1, limits=limits) as pool, closing(pool.run(tasks)) as outcomes:
            for done, outcome in enumerate(outcomes, 1):
                run.stop_if_asked()
                if outcome.error is not None:
                    run.fail(outcome.key, outcome.error)
                else:
                    run.finish([outcome.key])
                if progress:
                    progress(done, len(waiting), outcome.key[:12])
    return folder


def cut_one(workspace: str, clip_id: str, folder: str, party_id: str = "") -> str:
    """Cut one clip; called in a worker."""
    from malan.services.clips.exports import export_clips
    from malan.workspace import Workspace

    ws = Workspace(Path(workspace))
    [cut] = export_clips(ws, [clip_id], Path(folder), caller=caller_of_job(ws, {"party": party_id}))
    return str(cut.path)


def write_list(ws: Workspace, clip_ids: Sequence[str], format: str, *, caller: Caller = HOUSE) -> ListFile:
    """The clips as JSON, or as an edit decision list in the CMX 3600 layout, in the order given.

    Raises:
        NotFound: One of the clips is not there.
    """
    clips = _clips(ws, clip_ids, caller)
    return _edl(ws, clips) if format == "edl" else _json(ws, clips)


def _clips(ws: Workspace, clip_ids: Sequence[str], caller: Caller) -> list[ClipRow]:
    found = ws.library.clips_by_id(clip_ids)
    for clip_id in clip_ids:
        if clip_id not in found:
            raise NotFound("store.clip_unknown", id=clip_id[:12])
    for row in () if caller.is_operator else found.values():
        require_visible_clip(ws, row.id, row.terms_id, caller)
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
    """CMX 3600, one event a clip; source times count from the first frame of the file as 00:00:00:00."""
    assets = ws.library.assets_by_id({row.clip.asset_id for row in clips})
    events = [_event(row, assets[row.clip.asset_id]) for row in clips]
    return ListFile(edl_text("MALAN", events).encode(), "text/plain; charset=utf-8", "malan-clips.edl")


def _event(row: ClipRow, asset: AssetRow) -> EdlEvent:
    track = asset.asset.first("video")
    rate = (track.mean_rate if track else None) or Fraction(25)
    origin_s = track.start_ticks * track.timebase if track else Fraction(0)
    return edl_event(row.clip, file_name(asset), rate, origin_s)
