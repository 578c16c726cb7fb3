"""The jobs of a workspace for the page that shows them: what runs and how far, what failed and why, what was refused.

Start reading at `jobs`.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import PurePath
from typing import TYPE_CHECKING

from malan.core.errors import MalanError
from malan.runtime.jobs import CANCELLED, DONE, FAILED, QUEUED, RUNNING, JobRow
from malan.services.access import HOUSE, Caller, require
from malan.services.clips.browse import shown
from malan.services.jobs import lines as job_lines
from malan.services.jobs.beside import go_on_beside
from malan.services.jobs.control import cancel_job, retry_job
from malan.services.jobs.waiting import unattended
from malan.services.spoken import word
from malan.services.views import Failure, JobsView, JobView, RefusedView
from malan.store.rows import REFUSED

if TYPE_CHECKING:
    from malan.store.rows import AssetRow, Location
    from malan.workspace import Workspace

_MOST_JOBS = 100
_MOST_REFUSED = 500
_BARS = 60
_BAR_S = 10.0


def jobs(ws: Workspace, lang: str, *, caller: Caller = HOUSE) -> JobsView:
    """Jobs, the latest first, and every file that was refused."""
    require(caller, "jobs.see")
    return Watcher(ws, lang).look()


class Watcher:
    """Looks at the jobs again and again; what was refused is read anew only when some job has moved on to it.

    Args:
        ws: Whose jobs.
        lang: The language of everything told.
    """

    def __init__(self, ws: Workspace, lang: str) -> None:
        self._ws, self._lang = ws, lang
        self._seen: object = None
        self._refused: tuple[RefusedView, ...] = ()
        self._refused_total = 0

    def look(self) -> JobsView:
        """The jobs as they stand."""
        own = self._ws.jobs.list(limit=_MOST_JOBS)
        both = [*own, *job_lines.lines(self._ws, limit=_MOST_JOBS)]
        rows = sorted(both, key=lambda row: row.created_s, reverse=True)[:_MOST_JOBS]
        seen = [(row.id, row.state, row.failed) for row in rows]
        if seen != self._seen:
            self._seen = seen
            self._read_refused()
        absent = unattended(self._ws, rows)
        views = tuple(job_view(row, self._lang, absent.get(row.id)) for row in rows)
        return JobsView(views, self._refused, self._refused_total, _running(rows), _throughput(self._ws, own))

    def _read_refused(self) -> None:
        files, scans = self._ws.library.refused(), self._ws.library.assets(status=REFUSED)
        self._refused_total = len(files) + len(scans)
        told = itertools.chain(_refused_files(files, self._lang), _refused_scans(scans, self._lang))
        self._refused = tuple(itertools.islice(told, _MOST_REFUSED))


def _throughput(ws: Workspace, rows: Iterable[JobRow]) -> tuple[tuple[str, float], ...]:
    """Items that ended in each of the last stretches of time, oldest first; nothing when nothing did."""
    now = time.time()
    since = (now // _BAR_S - _BARS + 1) * _BAR_S
    recent = [row.id for row in rows if row.is_alive or (row.ended_s or 0.0) >= since]
    pace = ws.jobs.pace(recent, since, _BAR_S) if recent else {}
    if not pace:
        return ()
    return tuple((_moment(since + n * _BAR_S), float(pace.get(n, 0))) for n in range(_BARS))


def count_running(ws: Workspace, *, caller: Caller = HOUSE) -> int:
    """How many jobs run."""
    require(caller, "jobs.see")
    return _running(ws.jobs.list(state=RUNNING)) + job_lines.count_running(ws)


def cancel(ws: Workspace, job_id: str, lang: str, *, caller: Caller = HOUSE) -> JobView:
    """Ask a job to stop; what it has done stays."""
    return job_view(cancel_job(ws, job_id, caller=caller), lang)


def _running(rows: Iterable[JobRow]) -> int:
    return sum(row.is_alive for row in rows)


def job_view(row: JobRow, lang: str, absent: MalanError | None = None) -> JobView:
    """A job as people see it. One whose process is gone reads as failed: it can be taken up again.

    What a key of the gateway pays for is asked for again with that key alone. `absent` says that nobody takes it.
    """
    error = Failure.of(MalanError(row.code, **row.values), lang) if row.code else None
    state = FAILED if row.is_stopped else row.state
    if row.is_stopped:
        error = Failure.of(MalanError("watch.stopped"), lang)
    began, ended = row.started_s, row.ended_s or (time.time() if row.is_alive else row.beat_s)
    return JobView(
        id=row.id,
        kind=row.kind,
        title=_title(row, lang),
        state=state,
        done=row.done + row.failed,
        total=row.total,
        failed=row.failed,
        unit=word(f"web.unit.{row.kind}", lang),
        detail=f"{absent.message(lang)} {absent.hint(lang)}" if absent else _detail(row, lang),
        started=_moment(row.started_s or row.created_s),
        ended=_moment(row.ended_s),
        seconds=round(ended - began, 1) if began and ended else 0.0,
        error=error,
        can_retry=not row.is_alive
        and not row.spec.get("key")
        and (state in (FAILED, CANCELLED) or (state == DONE and row.failed > 0)),
        can_cancel=state == QUEUED or (row.is_alive and not row.is_cancelling),
    )


def _title(row: JobRow, lang: str) -> str:
    """What the job is about: its kind, and the folders or the file it was given."""
    name = word(f"web.job.{row.kind}", lang)
    paths = row.spec.get("paths")
    if isinstance(paths, list) and paths:
        return f"{name} · {shown(_place([str(path) for path in paths]))}"
    if app := row.spec.get("app"):
        name = word(f"app.{app}", lang)
    file = row.spec.get("file")
    return f"{name} · {shown(str(file))}" if file else name


def _place(paths: list[str]) -> str:
    """Where files of a job lie, short: the last two parts of the path they have in common."""
    common = os.path.commonpath(paths) if len(paths) > 1 and all(map(os.path.isabs, paths)) else paths[0]
    parts = PurePath(common).parts
    return str(PurePath(*parts[-2:])) if len(parts) > 3 else common


def _detail(row: JobRow, lang: str) -> str:
    if row.is_alive and row.is_cancelling:
        return word("watch.cancelling", lang)
    if row.is_alive:
        return shown(row.current)
    return word("watch.failed_items", lang, n=row.failed) if row.failed else ""


def _refused_files(places: Iterable[Location], lang: str) -> Iterator[RefusedView]:
    for place in places:
        error = MalanError(place.code or "asset.refused", **dict(place.values))
        yield _refused(place.path, error, place.seen_s, lang)


def _refused_scans(rows: Iterable[AssetRow], lang: str) -> Iterator[RefusedView]:
    for row in rows:
        path = row.locations[0].path if row.locations else row.asset.id
        yield _refused(path, MalanError(row.code or "asset.refused", **dict(row.values)), 0.0, lang)


def _refused(path: str, error: MalanError, seen_s: float, lang: str) -> RefusedView:
    if "path" in error.values:  # it stands beside the sentence already
        error = MalanError(error.code, **{**error.values, "path": PurePath(str(error.values["path"])).name})
    return RefusedView(
        shown(path), error.code, shown(error.message(lang)), shown(error.hint(lang)), _moment(seen_s or None)
    )


def _moment(seconds: float | None) -> str:
    """Local time, to the second; only the time of day where it was today."""
    if seconds is None:
        return ""
    when, now = datetime.fromtimestamp(seconds, UTC).astimezone(), datetime.now(UTC).astimezone()
    return when.strftime("%H:%M:%S" if when.date() == now.date() else "%Y-%m-%d %H:%M")


def retry(ws: Workspace, job_id: str, lang: str, *, caller: Caller = HOUSE) -> JobView:
    """Put a job back into the queue and go on with it beside this program's other work.

    Raises:
        Rejected: It runs, or has ended with nothing left to do.
    """
    require(caller, "jobs.change")
    if job_lines.is_of_queue(job_id):
        return job_view(job_lines.line(ws, retry_job(ws, job_id, caller=caller).id), lang)
    job = ws.jobs.retry(job_id)
    go_on_beside(ws, job.id)
    return job_view(ws.jobs.get(job.id), lang)
