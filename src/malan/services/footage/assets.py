"""Register footage in place, and say what is registered.

    paths ─ walk ─▶ known? ─▶ worker reads the file once ─▶ rows, committed in batches

Nothing is copied or decoded. A file that looks as it did when it was read is not read again; the same bytes at another
place are one asset with two locations; a file that cannot be used becomes a row that says why. Killed at any moment,
the next run goes on: what was committed is known, the rest is read. Start reading at `add_assets`.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, TypeVar

from malan.core import Asset, Terms
from malan.core.catalogue import catalogue
from malan.core.errors import MalanError, Rejected, UsageError
from malan.rights.terms import default_terms, party_id
from malan.runtime.jobs import CANCELLED
from malan.runtime.limits import MIB, Limits
from malan.runtime.pool import Outcome, Task, WorkerPool
from malan.services.access import HOUSE, Caller, require
from malan.services.footage.kinds import ADD, WRITERS
from malan.services.footage.marks import findings_of
from malan.services.footage.owners import owner_names, remember_owner, remember_terms, terms_of
from malan.services.footage.signals import overridden
from malan.services.footage.walk import FoundFile, Passed, Unusable, walk
from malan.services.journal import record, start_log
from malan.services.log.facts import unlogged
from malan.services.uses import is_withdrawn
from malan.store.rows import AssetRow, Location

if TYPE_CHECKING:
    from malan.runtime.jobs import Run
    from malan.services.footage.tasks import FileRead
    from malan.workspace import Workspace

__all__ = [
    "AddReport",
    "AssetRow",
    "FileResult",
    "RefusedFile",
    "add_assets",
    "list_assets",
    "list_refused",
    "resume_add",
    "show_asset",
]

Progress = Callable[[int, int, str], None]
_Result = TypeVar("_Result", "FileResult", "RefusedFile")
_CHUNK = 512  # paths looked up in the library at once
_BATCH_FILES, _BATCH_BYTES, _BATCH_S = 1000, 32 * MIB, 4.0
_SLOWEST_BYTES_PER_S = 2_000_000  # a file that is read slower than this is given up


@dataclass(frozen=True, slots=True)
class FileResult:
    """A file that is registered now: where, as what, and what was noticed while reading it."""

    path: str
    asset_id: str
    duration_s: float = 0.0
    size_bytes: int = 0
    kinds: tuple[str, ...] = ()  # of its tracks
    subtitles: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RefusedFile:
    """A path that was not registered, and the error that says why."""

    path: str
    error: MalanError


@dataclass(frozen=True, slots=True)
class AddReport:
    """What became of every path. `passed` counts hidden files, documents and subtitles that were not looked at."""

    job_id: str
    added: tuple[FileResult, ...]
    known: tuple[FileResult, ...]
    refused: tuple[RefusedFile, ...]
    passed: Passed
    was_cancelled: bool = False


def add_assets(
    ws: Workspace,
    paths: Sequence[str | os.PathLike[str]],
    *,
    owner: str,
    terms: Terms | None = None,
    progress: Progress | None = None,
    caller: Caller = HOUSE,
) -> AddReport:
    """Register files and all files below folders, in place, to an owner and under terms.

    Without `terms`, what is new comes under the owner's in-house terms and what is known keeps the terms it has.
    Running twice adds nothing twice.

    Raises:
        UsageError: No paths, or no owner.
        NotGranted: The caller may not add footage, or not of this owner.
        RetryLater: Another job is writing to this library.
        StoreError: The disk is full or the library cannot be written; what was committed before stays.
    """
    if not paths:
        raise UsageError("asset.no_paths")
    require(caller, "asset.add", owner_id=party_id(owner))
    owner_id = remember_owner(ws, owner)
    terms_id = remember_terms(ws, terms) if terms else None
    spec: dict[str, Any] = {"paths": [os.path.abspath(os.fspath(p)) for p in paths], "owner": owner, "terms": terms_id}  # noqa: PTH100
    job = ws.jobs.unfinished(ADD, spec) or ws.jobs.create(ADD, spec)
    chosen = _Chosen(owner_id, terms_id, terms_id or remember_terms(ws, default_terms(owner)))
    return _run_add(ws, job.id, spec["paths"], chosen, progress or _silent)


def resume_add(ws: Workspace, job_id: str, progress: Progress | None = None) -> AddReport:
    """Go on with an `asset.add` job that was stopped or put back into the queue."""
    job = ws.jobs.get(job_id)
    owner, terms_id = job.spec["owner"], job.spec["terms"]
    default = terms_of(ws, terms_id).id if terms_id else remember_terms(ws, default_terms(owner))
    return _run_add(
        ws, job.id, job.spec["paths"], _Chosen(remember_owner(ws, owner), terms_id, default), progress or _silent
    )


def list_assets(
    ws: Workspace,
    *,
    owner: str | None = None,
    status: str | None = None,
    limit: int | None = None,
    offset: int = 0,
    caller: Caller = HOUSE,
) -> list[AssetRow]:
    """Registered assets in the order of their registration, each with its locations."""
    require(caller, "library.see")
    owner_id = None if owner is None else party_id(owner)
    return ws.library.assets(owner_id=owner_id, status=status, limit=limit, offset=offset)


def show_asset(ws: Workspace, asset_id: str, *, caller: Caller = HOUSE) -> AssetRow:
    """One asset by its id or a unique beginning of it, with all its locations."""
    require(caller, "library.see")
    return ws.library.asset(asset_id)


def list_refused(ws: Workspace, *, caller: Caller = HOUSE) -> list[RefusedFile]:
    """Files that could not be registered, with the reason, as of the last time they were tried."""
    require(caller, "library.see")
    return [RefusedFile(place.path, error_of(place.code, place.values)) for place in ws.library.refused()]


def error_of(code: str | None, values: Any) -> MalanError:
    """The error a row tells of; a code that only an older Malan knew reads as refused."""
    known = code if code is not None and code in catalogue() else "asset.refused"
    return MalanError(known, **dict(values))


@dataclass(frozen=True, slots=True)
class _Chosen:
    """What the caller chose: the owner, terms if any were given, and the terms of what is new."""

    owner_id: str
    terms_id: str | None
    new_terms_id: str


def _run_add(ws: Workspace, job_id: str, paths: Sequence[str], chosen: _Chosen, progress: Progress) -> AddReport:
    start_log(ws)
    book = _Book(ws, chosen)
    passed = Passed()
    with ws.jobs.running(job_id, not_beside=WRITERS) as run:
        total = sum(1 for _ in walk(paths))
        run.expect(total)
        steps = _Steps(run, book, progress, total)
        found = _new_files(book, steps, walk(paths, passed))
        with (
            WorkerPool(ws.settings.worker_count, limits=_limits(ws)) as pool,
            closing(pool.run((_task(ws, file) for file in found), on_wait=run.stop_if_asked)) as outcomes,
        ):
            try:
                for outcome in outcomes:
                    book.take(outcome)
                    steps.tell(outcome.key.path)
            finally:
                steps.commit()
    return AddReport(job_id, *book.results(), passed, was_cancelled=ws.jobs.get(job_id).state == CANCELLED)


def _limits(ws: Workspace) -> Limits:
    timeout_s = float(ws.settings.file_timeout_s)
    return Limits(ws.settings.worker_memory_mb * MIB, timeout_s, timeout_s)


def _task(ws: Workspace, file: FoundFile) -> Task:
    limits = _limits(ws)
    patience_s = min(limits.wall_s, 60 + file.size_bytes / _SLOWEST_BYTES_PER_S)
    limits = replace(limits, wall_s=patience_s, cpu_s=patience_s)
    return Task("malan.services.footage.tasks:read_file", (file.path,), key=file, limits=limits)


def _new_files(book: _Book, steps: _Steps, found: Iterable[FoundFile | Unusable]) -> Iterator[FoundFile]:
    """The files that have to be read; all others are booked at once."""
    found = iter(found)
    while chunk := list(itertools.islice(found, _CHUNK)):
        yield from book.sort_out(chunk)
        steps.tell(chunk[-1].path)


class _Steps:
    """Commits when a batch is full or old, counts in the job, tells the caller, and stops when asked."""

    def __init__(self, run: Run, book: _Book, progress: Progress, total: int) -> None:
        self._run, self._book, self._progress, self._total = run, book, progress, total
        self._last = time.monotonic()

    def tell(self, current: str) -> None:
        self._progress(self._book.count, max(self._total, self._book.count), PurePath(current).name)
        if self._book.is_full or time.monotonic() - self._last > _BATCH_S:
            self.commit(PurePath(current).name)
            self._run.stop_if_asked()

    def commit(self, current: str = "") -> None:
        done, failures = self._book.commit()
        self._run.advance(done, current=current, failures=failures)
        self._last = time.monotonic()


class _Book:
    """What is known and what is new, gathered until it is worth a commit."""

    def __init__(self, ws: Workspace, chosen: _Chosen) -> None:
        self._ws, self._library, self._chosen = ws, ws.library, chosen
        self._names = owner_names(ws)
        self._added: list[FileResult] = []
        self._known: list[FileResult] = []
        self._refused: list[RefusedFile] = []
        self._turn_page()

    def _turn_page(self) -> None:
        self._read: list[tuple[FoundFile, FileRead]] = []
        self._index_bytes = 0
        self._rows: dict[str, AssetRow] = {}  # by digest, with their locations
        self._met: dict[str, Asset] = {}  # by digest, all that was met, as it stands now
        self._refusals: dict[str, Location] = {}  # by path
        self._failures: dict[str, MalanError] = {}
        self._done = 0

    @property
    def count(self) -> int:
        return len(self._added) + len(self._known) + len(self._refused) + len(self._read)

    @property
    def is_full(self) -> bool:
        return len(self._read) + len(self._refusals) >= _BATCH_FILES or self._index_bytes >= _BATCH_BYTES

    def results(self) -> tuple[tuple[FileResult, ...], tuple[FileResult, ...], tuple[RefusedFile, ...]]:
        """What was added, known and refused, each in the order of paths."""
        return _by_path(self._added), _by_path(self._known), _by_path(self._refused)

    def sort_out(self, chunk: Sequence[FoundFile | Unusable]) -> Iterator[FoundFile]:
        """Book what needs no reading; the rest is returned to be read."""
        places = self._library.locations_at(item.path for item in chunk)
        assets = self._library.assets_by_id(place.asset_id for place in places.values() if place.asset_id)
        for item in chunk:
            place = places.get(item.path)
            if isinstance(item, Unusable):
                self._refuse(item.path, item.error)
            elif place is not None and _is_as_before(place, item) and place.asset_id in assets:
                self._recognise(item, assets[place.asset_id])
            else:
                yield item

    def take(self, outcome: Outcome) -> None:
        """Book a file that was read, or the error that ended the reading."""
        file: FoundFile = outcome.key
        if outcome.error is not None:
            self._refuse(file.path, outcome.error, file)
            return
        self._read.append((file, outcome.value))
        self._index_bytes += len(outcome.value.index or b"")

    def commit(self) -> tuple[int, dict[str, MalanError]]:
        """Write all that was gathered in one change; how many are done, and the failures by path."""
        known = self._library.assets_by_id(read.digest for _, read in self._read)
        indexes, findings = {}, []
        for file, read in self._read:
            self._place(file, read, known.get(read.digest))
            if read.digest in self._rows:
                findings += findings_of(self._rows[read.digest].asset, read.marks)
            if read.index is not None and read.digest in self._rows:
                indexes[read.digest] = read.index
        if self._rows or self._refusals:
            refused = list(self._refusals.values())
            self._library.put_assets(list(self._rows.values()), indexes=indexes, refused=refused, findings=findings)
        with_terms = self._chosen.terms_id is not None
        record(self._ws, unlogged(self._ws, list(self._met.values()), with_terms=with_terms))
        if with_terms:
            record(self._ws, overridden(self._ws, list(self._met.values())))
        told = self._done, self._failures
        self._turn_page()
        return told

    def _recognise(self, file: FoundFile, row: AssetRow) -> None:
        """A file that looks as it did: nothing to read. Terms given now replace those it has."""
        if row.asset.owner_id != self._chosen.owner_id:
            self._refuse(file.path, self._other_owner(file, row), file, keep_row=False)
            return
        if is_withdrawn(row):
            self._refuse(
                file.path, Rejected("asset.withdrawn", path=file.path, id=row.asset.id[:12]), file, keep_row=False
            )
            return
        self._met.setdefault(row.asset.id, row.asset)
        if self._chosen.terms_id not in (None, row.asset.terms_id):
            self._rows[row.asset.id] = self._with_terms(row)
            self._met[row.asset.id] = self._rows[row.asset.id].asset
        self._known.append(_result(file, row.asset))
        self._done += 1

    def _place(self, file: FoundFile, read: FileRead, known: AssetRow | None) -> None:
        """A file that was read: a new asset, or another place of one that is known or was met just before."""
        if known is not None and known.asset.owner_id != self._chosen.owner_id:
            self._refuse(file.path, self._other_owner(file, known), file)
            return
        if known is not None and is_withdrawn(known):
            self._refuse(file.path, Rejected("asset.withdrawn", path=file.path, id=known.asset.id[:12]), file)
            return
        met = self._rows.get(read.digest)
        row = met or (self._with_terms(known) if known else self._asset_row(file, read))
        self._rows[read.digest] = replace(row, locations=(*row.locations, _location(file, read)))
        self._met[read.digest] = row.asset
        is_new, notices = met is None and known is None, (mark.notice for mark in read.marks)
        (self._added if is_new else self._known).append(_result(file, row.asset, (*read.probe.warnings, *notices)))
        self._done += 1

    def _other_owner(self, file: FoundFile, row: AssetRow) -> MalanError:
        """The same bytes cannot belong to two owners: whoever comes second is told."""
        owner_id = row.asset.owner_id
        return Rejected("asset.other_owner", path=file.path, owner=self._names.get(owner_id, owner_id[:12]))

    def _with_terms(self, row: AssetRow) -> AssetRow:
        terms_id = self._chosen.terms_id or row.asset.terms_id
        return replace(row, asset=replace(row.asset, terms_id=terms_id), locations=())

    def _asset_row(self, file: FoundFile, read: FileRead) -> AssetRow:
        probe = read.probe
        asset = Asset(
            id=read.digest,
            size_bytes=read.size_bytes,
            container=probe.container,
            duration=probe.duration,
            tracks=probe.tracks,
            owner_id=self._chosen.owner_id,
            terms_id=self._chosen.new_terms_id,
        )
        title = probe.tags.get("title", "")
        return AssetRow(asset, title=title, tags=file.subtitles, added_s=time.time())

    def _refuse(self, path: str, error: MalanError, file: FoundFile | None = None, *, keep_row: bool = True) -> None:
        """Note a path that cannot be used, in a row of its own unless the path has one that is not in doubt."""
        size, mtime = (file.size_bytes, file.mtime_ns) if file else (0, 0)
        if keep_row:
            self._refusals[path] = Location(path, size, mtime, None, error.code, _plain(error.values), time.time())
        self._failures[path] = error
        self._refused.append(RefusedFile(path, error))


def _by_path(results: Iterable[_Result]) -> tuple[_Result, ...]:
    return tuple(sorted(results, key=lambda result: result.path))


def _is_as_before(place: Location, file: FoundFile) -> bool:
    return (place.size_bytes, place.mtime_ns) == (file.size_bytes, file.mtime_ns)


def _location(file: FoundFile, read: FileRead) -> Location:
    return Location(file.path, read.size_bytes, read.mtime_ns, read.digest, seen_s=time.time())


def _result(file: FoundFile, asset: Asset, warnings: tuple[str, ...] = ()) -> FileResult:
    kinds = tuple(dict.fromkeys(track.kind for track in asset.tracks))
    return FileResult(
        file.path, asset.id, round(float(asset.duration), 3), asset.size_bytes, kinds, file.subtitles, warnings
    )


def _plain(values: Any) -> dict[str, Any]:
    return {key: value if isinstance(value, str | int | float | bool) else str(value) for key, value in values.items()}


def _silent(_done: int, _total: int, _current: str) -> None:
    """Progress nobody watches."""
