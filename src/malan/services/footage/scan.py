"""Scan registered footage: shots and findings of each asset, into the library.

    assets ─ still to do? ─▶ one worker task an asset ─▶ rows, committed whole ─▶ near-duplicates grouped

An asset's scan is in the library entirely or not at all, and is ticked off after it is there: killed at any moment,
the next run goes on. An asset that the same operators have seen is passed over. Start reading at `scan_assets`.
"""

from __future__ import annotations

import itertools
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from malan.core.errors import MalanError, MediaError, NotFound
from malan.runtime.jobs import CANCELLED
from malan.runtime.limits import MIB, Limits
from malan.runtime.pool import Outcome, Task, WorkerPool
from malan.services.access import HOUSE, Caller, require
from malan.services.footage.kinds import SCAN, WRITERS
from malan.services.footage.people import bring_back
from malan.services.journal import Fact, record, start_log
from malan.services.log.facts import asset_scanned
from malan.services.uses import withdrawn_ids
from malan.store.rows import REFUSED, AssetRow, Extra, Location, ScanRows

if TYPE_CHECKING:
    from malan.runtime.jobs import Run
    from malan.services.footage.tasks import Scanned
    from malan.workspace import Workspace

Progress = Callable[[int, int, str], None]
_BATCH_ASSETS, _BATCH_BYTES, _BATCH_S = 64, 48 * MIB, 4.0
_TELL_S = 0.5
_SCAN_BYTES, _FRAME_BYTES = 320 * MIB, 600  # what a scan takes whatever its length, and for each frame of the film
_BUDGET_BYTES = 1150 * MIB  # of all scans of two workers; with what this process takes, Malan stays within 1.5 GB
_INDEX_BYTES = 3  # of the stored packet index a frame
_SORTED = 5000
_KEEPS_ITS_STATUS = frozenset(
    {"asset.no_path", "asset.not_the_same", "media.changed", "media.not_there"}
)  # says nothing of the footage


@dataclass(frozen=True, slots=True)
class ScannedAsset:
    """An asset that was scanned now, and what came of it."""

    asset_id: str
    path: str
    clips: int
    findings: int
    cpu_s: float


@dataclass(frozen=True, slots=True)
class FailedScan:
    """An asset that could not be scanned, and why. What it had before stays."""

    asset_id: str
    path: str
    error: MalanError


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What became of every asset that was asked for. `groups` counts the groups of near-duplicates in the library."""

    job_id: str | None
    scanned: tuple[ScannedAsset, ...]
    unchanged: tuple[str, ...]
    failed: tuple[FailedScan, ...]
    groups: int = 0
    was_cancelled: bool = False
    transcribed: int = 0  # assets whose speech was written down now
    lines: int = 0  # of speech
    speech_problem: MalanError | None = None  # why speech was not written down although a recogniser is configured


def scan_assets(
    ws: Workspace,
    asset_ids: Sequence[str] | None = None,
    *,
    captions: bool = True,
    again: bool = False,
    progress: Progress | None = None,
    caller: Caller = HOUSE,
) -> ScanReport:
    """Find shots and findings of assets: of those named by id or prefix, else of all that need it.

    An asset that has been scanned by the same operators in the same versions is left as it is, unless `again`. Where
    `models.toml` names a recogniser, speech is written down afterwards; that it could not be is told, not raised.

    Raises:
        NotFound: There is no such asset.
        RetryLater: Another job is writing to this library.
        StoreError: The library cannot be written; what was committed before stays.
    """
    require(caller, "scan")
    chosen = [ws.library.asset(asset_id).asset.id for asset_id in asset_ids or ()]
    bring_back(ws)
    spec: dict[str, Any] = {"asset_ids": sorted(chosen), "captions": captions, "again": again}
    job = ws.jobs.unfinished(SCAN, spec)
    states = _states(ws, spec)
    todo = [asset_id for asset_id, is_done in states.items() if again or not is_done]
    unchanged = tuple(asset_id for asset_id, is_done in states.items() if is_done and not again)
    if job is None and not todo:
        report = ScanReport(None, (), unchanged, (), groups=_count_groups(ws))
    else:
        job = job or ws.jobs.create(SCAN, spec, todo)
        report = _run_scan(ws, job.id, spec, unchanged, progress or _silent)
    return report if report.was_cancelled else _with_speech(ws, report, chosen, again, progress or _silent, caller)


def _with_speech(
    ws: Workspace, report: ScanReport, chosen: Sequence[str], again: bool, progress: Progress, caller: Caller
) -> ScanReport:
    """Write down what is said, where a recogniser is configured."""
    from malan.services.footage.transcripts import listeners, transcribe_assets

    try:
        if not listeners(ws):
            return report
        heard = transcribe_assets(ws, chosen or None, again=again, progress=progress, caller=caller)
    except MalanError as error:
        return replace(report, speech_problem=error)
    problem = heard.failed[0].error if heard.failed else None
    return replace(report, transcribed=len(heard.heard), lines=heard.lines, speech_problem=problem)


def resume_scan(ws: Workspace, job_id: str, progress: Progress | None = None) -> ScanReport:
    """Go on with an `asset.scan` job that was stopped or put back into the queue."""
    job = ws.jobs.get(job_id)
    bring_back(ws)
    return _run_scan(ws, job.id, job.spec, (), progress or _silent)


def required_producers(captions: bool) -> dict[str, str]:
    """Every operator that a scan runs, and its version."""
    from malan.curation.operators import all_operators
    from malan.curation.scan import PRODUCER, VERSION
    from malan.services.footage.tasks import CAPTIONS, CAPTIONS_VERSION

    operators = {operator.name: operator.version for operator in all_operators()}
    return {PRODUCER: VERSION} | operators | ({CAPTIONS: CAPTIONS_VERSION} if captions else {})


def _states(ws: Workspace, spec: Mapping[str, Any]) -> dict[str, bool]:
    """The assets a scan is about, and whether each has been scanned by all it takes."""
    chosen, required = frozenset(spec["asset_ids"]), required_producers(spec["captions"]).items()
    withdrawn = withdrawn_ids(ws)
    return {
        asset_id: status != REFUSED and required <= scan.items()
        for asset_id, status, scan in ws.library.scans()
        if (not chosen or asset_id in chosen) and asset_id not in withdrawn
    }


def _count_groups(ws: Workspace) -> int:
    return len(set(ws.library.groups().values()))


def _run_scan(
    ws: Workspace, job_id: str, spec: Mapping[str, Any], unchanged: tuple[str, ...], progress: Progress
) -> ScanReport:
    start_log(ws)
    with ws.jobs.running(job_id, not_beside=WRITERS) as run, _spool(ws) as spool:
        log = _Log(ws, spool)
        keys = _open_items(ws, run, spec)
        steps = _Steps(run, log, progress, len(keys))
        tasks = _tasks(ws, log, spool, keys, spec["captions"])
        with (
            WorkerPool(ws.settings.worker_count, limits=_limits(ws), budget_bytes=_budget_bytes(ws)) as pool,
            closing(pool.run(tasks, on_progress=steps.hear, on_wait=run.stop_if_asked)) as outcomes,
        ):
            try:
                for outcome in outcomes:
                    log.take(outcome)
                    steps.tell()
            finally:
                steps.commit()
            if ws.jobs.get(job_id).done:
                _group(ws, pool)
    was_cancelled = ws.jobs.get(job_id).state == CANCELLED
    return ScanReport(job_id, *log.results(unchanged), groups=_count_groups(ws), was_cancelled=was_cancelled)


@contextmanager
def _spool(ws: Workspace) -> Iterator[Path]:
    """A folder where pictures wait for their commit; what a killed run left in it goes first."""
    folder = ws.root / "spool"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _open_items(ws: Workspace, run: Run, spec: Mapping[str, Any]) -> list[str]:
    """What is still to do; for a job that was killed, what the library has already is ticked off first."""
    if not spec["again"]:
        states = _states(ws, spec)
        run.add_items(asset_id for asset_id, is_done in states.items() if not is_done)
        stored = [key for key in run.waiting() if states.get(key)]
        record(ws, [_stored_fact(ws, key) for key in stored])  # the run may have been killed before it could say so
        run.finish(stored)
    return _longest_first(ws, run.waiting())


def _longest_first(ws: Workspace, keys: list[str]) -> list[str]:
    """The same assets in an order that leaves no worker idle at the end; a very long list stays as it is."""
    if len(keys) > _SORTED:
        return keys
    rows = ws.library.assets_by_id(keys)
    return sorted(keys, key=lambda key: rows[key].asset.duration if key in rows else 0, reverse=True)


def _limits(ws: Workspace) -> Limits:
    timeout_s = float(ws.settings.file_timeout_s)
    return Limits(ws.settings.worker_memory_mb * MIB, timeout_s, timeout_s)


def _budget_bytes(ws: Workspace) -> int:
    """What all scans under way may take: films of ten hours come one after the other, others side by side."""
    return max(_BUDGET_BYTES, ws.settings.worker_count * (_SCAN_BYTES + 64 * MIB))


def _tasks(ws: Workspace, log: _Log, spool: Path, keys: Sequence[str], captions: bool) -> Iterator[Task]:
    """One task an asset whose file is where it was; the others are noted as failed."""
    threads = "one" if len(keys) >= ws.settings.worker_count else "auto"  # one film alone may use all cores
    for key in keys:
        try:
            place = _present(ws.library.asset(key))
        except MalanError as error:
            log.fail(key, str(error.values.get("path", "")), error)
            continue
        index = _stored_index(ws, key)
        looks = place.size_bytes, place.mtime_ns
        arguments = (place.path, key, *looks, index, str(spool / key), captions, threads)
        frames = 0 if index is None else len(index) // _INDEX_BYTES
        expected = _SCAN_BYTES + frames * _FRAME_BYTES
        yield Task("malan.services.footage.tasks:scan_asset", arguments, key=(key, place.path), expected_bytes=expected)


def _present(row: AssetRow) -> Location:
    """A place where the file lies as it was registered."""
    changed = False
    for place in row.locations:
        try:
            status = os.stat(place.path)  # noqa: PTH116  # keeps odd bytes as they are
        except (OSError, ValueError):
            continue
        if (status.st_size, status.st_mtime_ns) == (place.size_bytes, place.mtime_ns):
            return place
        changed = True
    path = row.locations[0].path if row.locations else "–"
    if changed:
        raise MediaError("asset.not_the_same", path=path)
    raise NotFound("asset.no_path", id=row.asset.id[:12], path=path)


def _stored_index(ws: Workspace, asset_id: str) -> bytes | None:
    try:
        return ws.library.index(asset_id)
    except NotFound:
        return None


def _group(ws: Workspace, pool: WorkerPool) -> None:
    """Group near-duplicates anew, in a worker: it looks at the whole library."""
    task = Task("malan.services.footage.tasks:find_groups", (str(ws.root / "library"),))
    changed = next(pool.run([task])).result()
    if changed:
        ws.library.set_groups(changed)


class _Steps:
    """Commits when enough is gathered, counts in the job, tells the caller, and stops when asked."""

    def __init__(self, run: Run, log: _Log, progress: Progress, total: int) -> None:
        self._run, self._log, self._progress, self._total = run, log, progress, total
        self._last = self._told = time.monotonic()

    def tell(self) -> None:
        self._progress(self._log.count, self._total, self._log.current)
        if self._log.is_full or time.monotonic() - self._last > _BATCH_S:
            self.commit()
            self._run.stop_if_asked()

    def commit(self) -> None:
        done, failures = self._log.commit()
        self._run.advance(0, current=self._log.current, failures=failures)
        self._run.finish(done)
        self._last = time.monotonic()

    def hear(self, key: tuple[str, str], told: tuple[str, float]) -> None:
        """A worker says how far it is; passed on twice a second at most. Runs in the pool's thread."""
        if time.monotonic() - self._told < _TELL_S:
            return
        self._told = time.monotonic()
        current = f"{PurePath(key[1]).name} · {told[0]} {told[1]:.0%}"
        self._progress(self._log.count, self._total, current)
        self._run.advance(0, current=current)


class _Log:
    """Results and failures, gathered until they are worth a commit."""

    def __init__(self, ws: Workspace, spool: Path) -> None:
        self._ws, self._library, self._spool = ws, ws.library, spool
        self._waiting: list[ScanRows] = []
        self._weight = 0
        self._failures: dict[str, MalanError] = {}
        self._scanned: list[ScannedAsset] = []
        self._failed: list[FailedScan] = []
        self.current = ""

    @property
    def count(self) -> int:
        return len(self._scanned) + len(self._failed)

    @property
    def is_full(self) -> bool:
        return len(self._waiting) >= _BATCH_ASSETS or self._weight >= _BATCH_BYTES or bool(self._failures)

    def results(
        self, unchanged: tuple[str, ...]
    ) -> tuple[tuple[ScannedAsset, ...], tuple[str, ...], tuple[FailedScan, ...]]:
        return tuple(self._scanned), unchanged, tuple(self._failed)

    def take(self, outcome: Outcome) -> None:
        asset_id, path = outcome.key
        self.current = PurePath(path).name
        if outcome.error is not None:
            self.fail(asset_id, path, outcome.error)
            return
        scanned: Scanned = outcome.value
        self._waiting.append(_scan_rows(asset_id, scanned, self._spool / asset_id))
        self._weight += scanned.weight_bytes
        counts = len(scanned.clips), len(scanned.findings), scanned.cpu_s
        self._scanned.append(ScannedAsset(asset_id, path, *counts))

    def fail(self, asset_id: str, path: str, error: MalanError) -> None:
        self._failures[asset_id] = error
        self._failed.append(FailedScan(asset_id, path, error))

    def commit(self) -> tuple[list[str], dict[str, MalanError]]:
        """Write what was gathered; the assets that are safe now, and the failures."""
        if self._waiting:
            self._library.put_scans(self._waiting)
            record(self._ws, [_fact(rows) for rows in self._waiting])
            for rows in self._waiting:
                (self._spool / rows.asset_id).unlink()
        for asset_id, error in self._failures.items():
            if error.code not in _KEEPS_ITS_STATUS:
                self._library.refuse_scan(asset_id, error.code, _plain(error.values))
        told = [rows.asset_id for rows in self._waiting], self._failures
        self._waiting, self._weight, self._failures = [], 0, {}
        return told


class _Pictures(Mapping[str, bytes]):
    """Pictures by clip id, read from the file they wait in when they are asked for."""

    def __init__(self, file: Path, sizes: Mapping[str, int], start: int) -> None:
        ends = itertools.accumulate(sizes.values(), initial=start)
        self._file = file
        self._places = {clip_id: (at, size) for (clip_id, size), at in zip(sizes.items(), ends, strict=False)}

    def __getitem__(self, clip_id: str) -> bytes:
        at, size = self._places[clip_id]
        with self._file.open("rb") as file:
            file.seek(at)
            return file.read(size)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _scan_rows(asset_id: str, scanned: Scanned, pictures: Path) -> ScanRows:
    return ScanRows(
        asset_id=asset_id,
        producers=scanned.producers,
        clips=scanned.clips,
        findings=scanned.findings,
        thumbnails=_Pictures(pictures, scanned.thumbnail_sizes, 0),
        filmstrips=_Pictures(pictures, scanned.filmstrip_sizes, sum(scanned.thumbnail_sizes.values())),
        descriptors=scanned.descriptors,
        extras=tuple(Extra(kept.kind, kept.value, kept.data) for kept in scanned.keepsakes),
    )


def _fact(rows: ScanRows) -> Fact:
    clips, findings = (clip.id for clip in rows.clips or ()), (finding.id for finding in rows.findings)
    return asset_scanned(rows.asset_id, clips, findings, rows.producers)


def _stored_fact(ws: Workspace, asset_id: str) -> Fact:
    producers = next(scan for found, _, scan in ws.library.scans() if found == asset_id)
    findings = [one for one in ws.library.findings(asset_id=asset_id) if one.producer in producers]
    clips = [row.id for row in ws.library.clips(asset_id)]
    return asset_scanned(asset_id, clips, [one.id for one in findings], dict(producers))


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value if isinstance(value, str | int | float | bool) else str(value) for key, value in values.items()}


def _silent(_done: int, _total: int, _current: str) -> None:
    """Progress nobody watches."""
