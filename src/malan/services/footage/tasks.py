"""What workers are asked to do with one file, or with the whole library. Runs in a process that may die.

Start reading at `read_file` and `scan_asset`. Imports nothing that writes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malan.core import Clip, Finding
from malan.core.errors import MediaError
from malan.media.decode import Threads
from malan.media.index import PacketIndex, build_index
from malan.media.open import open_plain
from malan.media.probe import Probe, probe
from malan.media.register import register
from malan.runtime.worker import report_progress
from malan.services.footage.marks import Mark, marks_of

if TYPE_CHECKING:
    import numpy as np

    from malan.curation.scan import ScanResult
    from malan.curation.sound import Sound

PRINTS, PEAKS, REPORT = "fingerprint.video", "audio.peaks", "scan.report"
CAPTIONS, CAPTIONS_VERSION = "captions", "1"
_MOST_PEAKS = 20_000  # pairs; enough for any screen


@dataclass(frozen=True, slots=True)
class FileRead:
    """All that registering a file learned: digest of its bytes, what it holds, and the packet index as bytes."""

    digest: str
    probe: Probe
    index: bytes | None
    size_bytes: int
    mtime_ns: int
    marks: tuple[Mark, ...] = ()  # what the file says about how it was made


@dataclass(frozen=True, slots=True)
class Keepsake:
    """Something about a whole asset that is kept beside its findings."""

    kind: str
    value: Any = None
    data: bytes = b""


@dataclass(frozen=True)
class Scanned:
    """All that is kept of a scan. Pictures wait in a file: first all thumbnails, then all filmstrips, in this order."""

    producers: Mapping[str, str]
    clips: tuple[Clip, ...]
    findings: tuple[Finding, ...]
    thumbnail_sizes: Mapping[str, int] = field(default_factory=dict)  # clip id → bytes
    filmstrip_sizes: Mapping[str, int] = field(default_factory=dict)
    descriptors: Mapping[str, np.ndarray] = field(default_factory=dict)
    keepsakes: tuple[Keepsake, ...] = ()
    cpu_s: float = 0.0

    @property
    def weight_bytes(self) -> int:
        """Roughly what it weighs while it waits to be written."""
        pictures = sum(self.thumbnail_sizes.values()) + sum(self.filmstrip_sizes.values())
        return pictures + 2000 * len(self.findings) + sum(len(k.data) for k in self.keepsakes)


def read_file(path: str) -> FileRead:
    """Read a file once: digest, probe and packet index belong to the same bytes."""
    fd = open_plain(path)
    try:
        before = os.fstat(fd)
    finally:
        os.close(fd)
    found, marks = register(path), marks_of(path)
    _check_unchanged(path, before.st_size, before.st_mtime_ns)
    index = None if found.index is None else found.index.to_bytes()
    return FileRead(found.digest, found.probe, index, before.st_size, before.st_mtime_ns, marks)


def scan_asset(
    path: str,
    asset_id: str,
    size_bytes: int,
    mtime_ns: int,
    index: bytes | None,
    pictures: str,
    captions: bool,
    threads: Threads = "one",
) -> Scanned:
    """Scan the file of an asset, which must look as it did when it was registered, before and after.

    Thousands of pictures would be in memory several times on their way through the line: they are written to the file
    `pictures` instead.
    """
    from malan.curation.scan import scan_file

    _check_unchanged(path, size_bytes, mtime_ns)
    reader = _captions(threads) if captions else None
    result = scan_file(path, asset_id, probe(path), _index(path, index), captions=reader, progress=_tell)
    _check_unchanged(path, size_bytes, mtime_ns)
    with Path(pictures).open("wb") as file:
        file.writelines((*result.thumbnails.values(), *result.filmstrips.values()))
    return _scanned(result, captions)


def find_groups(library: str) -> dict[str, str | None]:
    """Which clips of a library must change their group of near-duplicates: clip id → group id, None for none.

    A group is named by the first of its clip ids. Reads the library as it stands.
    """
    from malan.curation.fingerprint import ClipPrint, find_duplicates
    from malan.store import Library

    store = Library(Path(library))
    prints = [
        ClipPrint.from_bytes(clip_id, asset_id, data)
        for asset_id, extra in store.extras_of_kind(PRINTS)
        for clip_id, data in _unpacked(extra.value, extra.data)
    ]
    found = find_duplicates(prints).groups if len(prints) > 1 else ()
    new = {clip_id: group[0] for group in found for clip_id in group}
    old = store.groups()
    return {
        clip_id: new.get(clip_id) for clip_id in sorted(new.keys() | old.keys()) if new.get(clip_id) != old.get(clip_id)
    }


def _check_unchanged(path: str, size_bytes: int, mtime_ns: int) -> None:
    try:
        now = os.stat(path)  # noqa: PTH116  # keeps odd bytes as they are
    except OSError as error:
        raise MediaError("media.changed", path=path) from error
    if (now.st_size, now.st_mtime_ns) != (size_bytes, mtime_ns):
        raise MediaError("media.changed", path=path)


def _index(path: str, stored: bytes | None) -> PacketIndex | None:
    """The index as it was stored; of a still picture, which has none, the one frame there is."""
    if stored is not None:
        return PacketIndex.from_bytes(stored)
    try:
        return build_index(path)
    except MediaError:
        return None


def _captions(threads: Threads) -> Callable[[str, PacketIndex], Any]:
    from malan.curation.captions import read_captions
    from malan.inference.ocr import OnnxTextReader

    def told(done: int, total: int) -> None:
        _tell("captions", done / max(1, total))

    def read(path: str, index: PacketIndex) -> Any:
        return read_captions(path, index, OnnxTextReader(), threads=threads, progress=told)

    return read


def _tell(part: str, share: float) -> None:
    report_progress((part, round(float(share), 3)))


def _scanned(result: ScanResult, captions: bool) -> Scanned:
    return Scanned(
        producers={**result.producers, **({CAPTIONS: CAPTIONS_VERSION} if captions else {})},
        clips=result.clips,
        findings=result.findings,
        thumbnail_sizes={clip_id: len(data) for clip_id, data in result.thumbnails.items()},
        filmstrip_sizes={clip_id: len(data) for clip_id, data in result.filmstrips.items()},
        descriptors=result.descriptors,
        keepsakes=tuple(_keepsakes(result)),
        cpu_s=round(sum(cost.cpu_s for cost in result.costs.values()), 3),
    )


def _keepsakes(result: ScanResult) -> list[Keepsake]:
    kept = [Keepsake(REPORT, _report(result))]
    if result.sound is not None and len(result.sound.low):
        kept.append(_peaks(result.sound))
    if result.fingerprints:
        sizes = [[clip_id, len(data)] for clip_id, data in result.fingerprints.items()]
        kept.append(Keepsake(PRINTS, sizes, b"".join(result.fingerprints.values())))
    return kept


def _report(result: ScanResult) -> dict[str, Any]:
    """How the scan went: strategy, what was decoded, predicted and actual cost, and which parts failed."""
    shots = result.shots
    return {
        "strategy": shots.strategy if shots else None,
        "frames": shots.frames if shots else 0,
        "frames_decoded": sum(cost.frames_decoded for cost in result.costs.values()),
        "predicted_cpu_s": round(shots.predicted_cpu_s, 4) if shots else 0.0,
        "shots_cpu_s": round(shots.cpu_s, 4) if shots else 0.0,
        "costs": {name: round(cost.cpu_s, 4) for name, cost in result.costs.items()},
        "problems": [{"code": p.code, "message": p.message("en")} for p in result.problems],
    }


def _peaks(sound: Sound) -> Keepsake:
    """The waveform as signed bytes, low and high in turn, evenly spaced over the track."""
    import numpy as np

    count = min(_MOST_PEAKS, len(sound.low))
    edges = np.linspace(0, len(sound.low), count, endpoint=False).astype(int)
    low, high = np.minimum.reduceat(sound.low, edges), np.maximum.reduceat(sound.high, edges)
    pairs = np.clip(np.round(np.stack([low, high], 1) * 127), -127, 127).astype(np.int8)
    return Keepsake(PEAKS, {"count": count, "start_s": sound.start_s, "end_s": sound.end_s}, pairs.tobytes())


def _unpacked(sizes: list[tuple[str, int]], data: bytes) -> list[tuple[str, bytes]]:
    found, at = [], 0
    for clip_id, size in sizes:
        found.append((clip_id, data[at : at + size]))
        at += size
    return found
