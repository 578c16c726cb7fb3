"""What is said in the footage, word by word: a recogniser of `models.toml` over the stretches in which people speak.

    speech.segment ─▶ stretches ─ a worker decodes ─▶ samples ─ engine ─▶ words ─▶ one commit an asset

A scan does it by itself where a recogniser is configured. An asset's transcript is in the library entirely or not at
all; one that the same model has heard is passed over. Sound is held a few minutes at a time, however long the film.
Start reading at `transcribe_assets`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from malan.core import Finding, Track
from malan.core.errors import MalanError, MediaError, NotFound, UsageError
from malan.core.ids import digest_record
from malan.curation.transcripts import (
    KIND as FINDING,
)
from malan.curation.transcripts import (
    PRODUCER,
    Line,
    Stretch,
    findings_of,
    lines_of,
    samples_of,
    stretches_of,
    to_srt,
)
from malan.runtime.jobs import CANCELLED
from malan.runtime.limits import MIB, Limits
from malan.runtime.pool import Task, WorkerPool
from malan.services.access import HOUSE, Caller, require
from malan.services.clips.browse import first_second
from malan.services.engines.opening import open_engine
from malan.services.engines.settings import EngineRow, read_engines
from malan.services.footage.kinds import TRANSCRIBE, WRITERS
from malan.services.journal import record, start_log
from malan.services.log.facts import asset_scanned
from malan.services.models.rows import find_model
from malan.services.uses import visible_asset, withdrawn_ids
from malan.store.rows import SCANNED, AssetRow, ScanRows

if TYPE_CHECKING:
    from malan.inference.backends import Listener
    from malan.runtime.jobs import Run
    from malan.workspace import Workspace

SEGMENTS = "speech.segment"
_CHUNK_S = 180.0  # seconds of speech decoded by one task
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class FailedTranscript:
    """An asset that could not be heard, and why. What it had before stays."""

    asset_id: str
    error: MalanError


@dataclass(frozen=True, slots=True)
class TranscriptReport:
    """What became of every asset that was asked for; `lines` and `seconds` count what was heard now."""

    engine: str
    model: str
    heard: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    failed: tuple[FailedTranscript, ...] = ()
    lines: int = 0
    seconds: float = 0.0
    was_cancelled: bool = False


@dataclass(frozen=True, slots=True)
class AssetTranscript:
    """What is said in an asset, in the order of time."""

    asset: AssetRow
    lines: tuple[Finding, ...]

    @property
    def srt(self) -> str:
        """As SubRip; times count from the first picture."""
        return to_srt(self.lines, origin_s=first_second(self.asset))


def listeners(ws: Workspace) -> tuple[str, ...]:
    """The recognisers that `models.toml` names; the first is used where nobody says which."""
    return tuple(row.name for row in read_engines(ws).of_kind("transcription"))


def transcribe_assets(
    ws: Workspace,
    asset_ids: Sequence[str] | None = None,
    *,
    engine: str = "",
    again: bool = False,
    progress: Progress | None = None,
    caller: Caller = HOUSE,
) -> TranscriptReport:
    """Write down what is said in assets: of those named by id or prefix, else of all that were scanned.

    Raises:
        NotFound: There is no such asset or engine.
        UsageError: No recogniser is configured.
        NotGranted: The caller may not, or the licence of the model forbids it.
        RetryLater: Another job is writing to this library.
    """
    require(caller, "scan")
    chosen = sorted(ws.library.asset(asset_id).asset.id for asset_id in asset_ids or ())
    row = _row(ws, engine)
    version = version_of(ws, row)
    states = _states(ws, chosen, version)
    todo = [asset_id for asset_id, is_done in states.items() if again or not is_done]
    unchanged = tuple(asset_id for asset_id, is_done in states.items() if is_done and not again)
    spec = {"asset_ids": chosen, "engine": row.name, "version": version, "again": again}
    job = ws.jobs.unfinished(TRANSCRIBE, spec)
    if job is None and not todo:
        return TranscriptReport(row.name, version, (), unchanged)
    if job is None:
        job = ws.jobs.create(TRANSCRIBE, spec, todo)
    return _run(ws, job.id, spec, unchanged, progress or _silent, caller)


def resume_transcripts(ws: Workspace, job_id: str, progress: Progress | None = None) -> TranscriptReport:
    """Go on with an `asset.transcribe` job that was stopped or put back into the queue."""
    return _run(ws, job_id, ws.jobs.get(job_id).spec, (), progress or _silent, HOUSE)


def transcript_of(ws: Workspace, asset: str, *, caller: Caller = HOUSE) -> AssetTranscript:
    """What is said in an asset that the caller may look at.

    Raises:
        NotFound: There is no such asset, as far as this caller is told.
    """
    row = visible_asset(ws, asset, caller)
    return AssetTranscript(row, tuple(ws.library.findings(asset_id=row.asset.id, kinds=(FINDING,))))


def version_of(ws: Workspace, row: EngineRow) -> str:
    """What tells one model from another: the digest of its weights; of one far away, its address and name there."""
    return digest_record("engine", [row.url, row.model]) if row.is_remote else find_model(ws, row.model).id


def _row(ws: Workspace, engine: str) -> EngineRow:
    book = read_engines(ws)
    if engine:
        return book.row(engine)
    rows = book.of_kind("transcription")
    if not rows:
        raise UsageError("transcript.no_engine")
    return rows[0]


def _states(ws: Workspace, chosen: Sequence[str], version: str) -> dict[str, bool]:
    """The assets this is about, and whether each has been heard by this model."""
    gone, wanted = withdrawn_ids(ws), frozenset(chosen)
    return {
        asset_id: scan.get(PRODUCER) == version
        for asset_id, status, scan in ws.library.scans()
        if (not wanted or asset_id in wanted) and asset_id not in gone and status == SCANNED
    }


def _run(
    ws: Workspace, job_id: str, spec: Mapping[str, Any], unchanged: tuple[str, ...], progress: Progress, caller: Caller
) -> TranscriptReport:
    start_log(ws)
    with ws.jobs.running(job_id, not_beside=WRITERS) as run:
        work = _Work(ws, run, spec, progress, caller)
        with work.listener():  # whether it may and can be opened at all
            pass
        work.all(run.waiting())
    cancelled = ws.jobs.get(job_id).state == CANCELLED
    heard, failed = tuple(work.heard), tuple(work.failed)
    return TranscriptReport(
        spec["engine"], spec["version"], heard, unchanged, failed, work.lines, round(work.seconds, 1), cancelled
    )


class _Work:
    """One job under way: assets one after the other, the next stretches decoded while these are heard.

    The recogniser is asked for anew each asset: others get a turn on its device between two.
    """

    def __init__(self, ws: Workspace, run: Run, spec: Mapping[str, Any], progress: Progress, caller: Caller) -> None:
        self._ws, self._run, self._progress, self._caller = ws, run, progress, caller
        self._version, self._engine = str(spec["version"]), str(spec["engine"])
        self.heard: list[str] = []
        self.failed: list[FailedTranscript] = []
        self.lines, self.seconds = 0, 0.0

    def listener(self) -> AbstractContextManager[Listener]:
        """The recogniser, for as long as it is used."""
        opened = open_engine(self._ws, self._engine, "transcription", caller=self._caller, stop=self._run.stop_if_asked)
        return cast("AbstractContextManager[Listener]", opened)

    def all(self, asset_ids: Sequence[str]) -> None:
        settings = self._ws.settings
        limits = Limits(settings.worker_memory_mb * MIB, float(settings.file_timeout_s))
        with WorkerPool(1, limits=limits) as pool:
            for done, asset_id in enumerate(asset_ids):
                self._progress(done, len(asset_ids), asset_id[:12])
                try:
                    self._one(pool, asset_id)
                except MalanError as error:
                    if error.code.startswith("job."):
                        raise
                    self._run.fail(asset_id, error)
                    self.failed.append(FailedTranscript(asset_id, error))
                else:
                    self._run.finish([asset_id])
                    self.heard.append(asset_id)
                self._run.stop_if_asked()
        self._progress(len(asset_ids), len(asset_ids), "")

    def _one(self, pool: WorkerPool, asset_id: str) -> None:
        """Hear one asset and write all of it."""
        row = self._ws.library.asset(asset_id)
        track = row.asset.first("audio")
        findings: tuple[Finding, ...] = ()
        if track is not None:
            lines = list(self._lines(pool, row, track))
            findings = tuple(findings_of(lines, asset_id, track, self._version, self._engine))
        producers = {PRODUCER: self._version}
        self._ws.library.put_scans([ScanRows(asset_id, producers, None, findings)])
        if findings:
            record(self._ws, [asset_scanned(asset_id, (), (one.id for one in findings), producers)])
        self.lines += len(findings)

    def _lines(self, pool: WorkerPool, row: AssetRow, track: Track) -> Iterator[Line]:
        segments = self._ws.library.findings(asset_id=row.asset.id, kinds=(SEGMENTS,))
        times = [(one.clip.span.start_s, one.clip.span.end_s) for one in segments if one.clip.track == track.index]
        stretches = stretches_of(times, end_s=max((end for _, end in times), default=0.0) + 1)
        if not stretches:
            return
        path = _path(row)
        tasks = (
            Task("malan.curation.transcripts:hear_stretches", (path, track.index, part), key=part)
            for part in _chunks(stretches)
        )
        heard = pool.run(tasks, ordered=True, on_wait=self._run.stop_if_asked)
        with self.listener() as listener, closing(heard) as outcomes:
            for outcome in outcomes:
                for (begin_s, end_s), data in zip(outcome.key, outcome.result(), strict=True):
                    said = listener.transcribe(samples_of(data), stop=self._run.stop_if_asked)
                    self.seconds += end_s - begin_s
                    yield from lines_of(said, begin_s, end_s)


def _chunks(stretches: Sequence[Stretch]) -> Iterator[list[Stretch]]:
    """Stretches that one task decodes."""
    part: list[Stretch] = []
    for one in stretches:
        if part and sum(end - begin for begin, end in part) + one[1] - one[0] > _CHUNK_S:
            yield part
            part = []
        part.append(one)
    if part:
        yield part


def _path(row: AssetRow) -> str:
    """A place where the file lies as it was registered.

    Raises:
        NotFound: It is not there any more.
        MediaError: It is not the same any more.
    """
    there = False
    for place in row.locations:
        try:
            status = Path(place.path).stat()
        except (OSError, ValueError):
            continue
        if (status.st_size, status.st_mtime_ns) == (place.size_bytes, place.mtime_ns):
            return place.path
        there = True
    path = row.locations[0].path if row.locations else "–"
    if there:
        raise MediaError("asset.not_the_same", path=path)
    raise NotFound("asset.no_path", id=row.asset.id[:12], path=path)


def _silent(_done: int, _total: int, _current: str) -> None:
    """Progress nobody watches."""
