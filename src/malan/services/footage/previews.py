"""Preview copies for browsers that cannot play a file as it is: made once, on demand, as a job.

The copy lies in the workspace's `proxies` folder and may be deleted at any time; the original is never touched.
Start reading at `start_preview`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from malan.core.errors import MalanError
from malan.runtime.jobs import CANCELLED, FAILED, QUEUED, RUNNING, JobRow
from malan.runtime.limits import MIB, Limits
from malan.runtime.pool import Task, WorkerPool
from malan.services.access import HOUSE, Caller
from malan.services.accounts.parties import caller_of_job
from malan.services.footage.playback import playback_of, proxy_path, source_of
from malan.services.jobs.beside import go_on_beside
from malan.services.uses import visible_asset
from malan.services.views import Failure, Playback

if TYPE_CHECKING:
    from malan.runtime.jobs import Run
    from malan.workspace import Workspace

KIND = "asset.proxy"
Progress = Callable[[int, int, str], None]
_STEPS = 100


def start_preview(ws: Workspace, asset_id: str, lang: str, *, caller: Caller = HOUSE) -> Playback:
    """Start making the preview copy of an asset unless it is there or under way; how far it is.

    Raises:
        NotFound: There is no such asset, or its file is gone.
        NotGranted: Its terms do not allow to look at it.
        MediaError: Its file has changed.
    """
    row = visible_asset(ws, asset_id, caller)
    path = source_of(ws, row, caller=caller)
    job, spec = _latest(ws, row.asset.id), _spec(row.asset.id, path, caller)
    if not proxy_path(ws, row.asset.id).is_file() and (job is None or not (job.is_alive or job.state == QUEUED)):
        again = job is not None and job.can_go_on and job.spec.get("party", "") == spec["party"]
        fresh = job if again and job else ws.jobs.create(KIND, spec, [row.asset.id])
        go_on_beside(ws, fresh.id)
    return describe_preview(ws, asset_id, lang, caller=caller)


def describe_preview(ws: Workspace, asset_id: str, lang: str, *, caller: Caller = HOUSE) -> Playback:
    """How an asset plays, and how far its preview copy is."""
    row = visible_asset(ws, asset_id, caller)
    playback = playback_of(ws, row, lang, caller=caller)
    if playback.proxy_state == "ready":
        return playback
    job = _latest(ws, row.asset.id)
    if job is None:
        return playback
    if job.is_alive or job.state == QUEUED:
        return replace(playback, proxy_state="running", proxy_progress=job.done / max(1, job.total))
    if job.state in (FAILED, CANCELLED, RUNNING):
        error = MalanError(job.code, **job.values) if job.code else MalanError("playback.proxy_gone")
        return replace(playback, proxy_state="failed", problem=Failure.of(error, lang))
    return playback  # done, and the copy deleted since


def resume_preview(ws: Workspace, job_id: str, progress: Progress | None = None) -> Path:
    """Make the preview copy that a job is about; it appears under its name when it is whole."""
    spec = ws.jobs.get(job_id).spec
    asset_id = spec["asset_id"]
    source = source_of(ws, ws.library.asset(asset_id), caller=caller_of_job(ws, spec))
    out = proxy_path(ws, asset_id)
    with ws.jobs.running(job_id) as run, _making(out) as unfinished:
        run.expect(_STEPS)
        steps = _Steps(run, progress, source.name)
        task = Task("malan.services.footage.preview_task:make_preview", (os.fspath(source), os.fspath(unfinished)))
        with (
            WorkerPool(1, limits=_limits(ws), threads=os.cpu_count() or 1) as pool,
            closing(pool.run([task], on_progress=lambda _task, share: steps.reach(share))) as outcomes,
        ):
            for outcome in outcomes:
                outcome.result()
        unfinished.replace(out)
        steps.reach(1.0)
    return out


@contextmanager
def _making(out: Path) -> Iterator[Path]:
    """Where a copy is made. Nothing of it stays, however the worker ends; what a killed run left goes first."""
    folder = out.with_suffix(".making")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder / out.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Steps:
    """Tells the job and the caller how far the copy is, in hundredths, and stops when asked."""

    def __init__(self, run: Run, progress: Progress | None, name: str) -> None:
        self._run, self._progress, self._name = run, progress, name
        self._told = 0

    def reach(self, share: float) -> None:
        self._run.stop_if_asked()
        done = int(share * _STEPS)
        if done <= self._told:
            return
        self._run.advance(done - self._told)
        self._told = done
        if self._progress:
            self._progress(done, _STEPS, self._name)


def _spec(asset_id: str, path: Path, caller: Caller) -> dict[str, str]:
    return {"asset_id": asset_id, "file": path.name, "party": caller.party_id or ""}


def _latest(ws: Workspace, asset_id: str) -> JobRow | None:
    return next((j for j in ws.jobs.list(limit=200) if j.kind == KIND and j.spec.get("asset_id") == asset_id), None)


def _limits(ws: Workspace) -> Limits:
    seconds = float(ws.settings.file_timeout_s)
    return Limits(ws.settings.worker_memory_mb * MIB, seconds, seconds * 4)
