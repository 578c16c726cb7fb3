"""Cutting a film into clips: rows in the library against files by PySceneDetect's split_video_ffmpeg, same shots."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from importlib.util import find_spec
from itertools import count, pairwise
from pathlib import Path

from common import Report, arguments, footage_folder, measure, median_cost

from malan.core import Asset, Clip, Finding, Track
from malan.core.ids import digest_bytes
from malan.curation.shots import Shot, detect_shots
from malan.media.index import PacketIndex, build_index
from malan.store import AssetRow, Library, Location, ScanRows

MUST_RATIO = 50


def a_film(folder: Path, quick: bool) -> Path:
    """A real film where there is one, else one drawn here."""
    footage = footage_folder()
    real = sorted((footage / "video").rglob("*.mp4"), key=lambda path: path.stat().st_size) if footage else []
    if real and not quick:
        return real[-1]
    sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
    from media_factory import draw_film

    return draw_film(folder / "film.mp4", (25,) * (4 if quick else 40), size=(320, 180)).path


def register(library: Library, path: Path, index: PacketIndex, number: int) -> AssetRow:
    """The film as an asset of its own; not counted, both sides have found it already."""
    track = Track(0, "video", "h264", Fraction(1, 90000))
    size = path.stat().st_size
    asset = Asset(digest_bytes(b"film %d" % number), size, "mp4", Fraction(1), (track,), "owner", "0" * 64)
    row = AssetRow(asset, locations=(Location(str(path), size, 0, asset.id),))
    library.put_assets([row], indexes={asset.id: index.to_bytes()})
    return row


def as_rows(library: Library, row: AssetRow, index: PacketIndex, shots: Sequence[Shot]) -> None:
    """All clips with their transition, searchable afterwards."""
    clips = tuple(Clip(row.asset.id, 0, index.span(shot.first, shot.end)) for shot in shots)
    found = [
        Finding(clip, "shot.transition", "shots", "1", {"type": shot.transition.type})
        for clip, shot in zip(clips, shots, strict=True)
    ]
    library.put_scan(ScanRows(row.asset.id, {"shots": "1"}, clips, tuple(found)))


def as_files(path: Path, out: Path, index: PacketIndex, shots: Sequence[Shot], **more: str) -> None:
    from scenedetect import FrameTimecode, split_video_ffmpeg

    times = [float(pts * index.timebase) for pts in (index.frame_pts[shot.first] for shot in shots)]
    last = float(index.span(shots[-1].first, shots[-1].end).end * index.timebase)
    marks = [FrameTimecode(time - times[0], fps=25.0) for time in [*times, last]]
    split_video_ffmpeg(str(path), list(pairwise(marks)), output_dir=out, **more)


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def one_fsync(folder: Path) -> None:
    with (folder / "one").open("wb") as out:
        out.write(b"x")
        out.flush()
        os.fsync(out.fileno())


def main() -> None:
    options = arguments(__doc__ or "")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        path = a_film(folder, options.quick)
        index = build_index(path)
        shots = detect_shots(path, index).shots
        library = Library(folder / "library")
        waiting = (register(library, path, index, number) for number in count())
        as_rows(library, next(waiting), index, shots)  # the tables are made
        before, costs = size_of(folder / "library"), []
        for _ in range(options.runs):
            row = next(waiting)
            costs.append(measure(partial(as_rows, library, row, index, shots))[0])
        wall_s, cpu_s = (statistics.median(part) for part in zip(*((c.wall_s, c.cpu_s) for c in costs), strict=True))
        written = (size_of(folder / "library") - before) / options.runs
        peer, ratio = "split_video_ffmpeg: PySceneDetect is not installed", None
        told = f"{wall_s * 1000:.0f} ms, CPU {cpu_s * 1000:.0f} ms"
        if find_spec("scenedetect"):
            files, _ = measure(lambda: as_files(path, folder / "files", index, shots))
            copying = {"arg_override": "-map 0:v:0 -c copy"}
            copies, _ = measure(lambda: as_files(path, folder / "copies", index, shots, **copying))
            ratio = files.wall_s / wall_s
            told += f": {ratio:.0f} × faster, CPU {files.cpu_s / cpu_s:.0f} ×"
            took = f"{files.wall_s:.1f} s, CPU {files.cpu_s:.1f} s; its -c copy {copies.wall_s:.1f} s"
            peer = f"split_video_ffmpeg {took}, {size_of(folder / 'files') / 1e6:.1f} MB"
        limit, _ = median_cost(lambda: one_fsync(folder), options.runs)
        report = Report(f"{len(shots)} clips of {path.name}, {path.stat().st_size / 1e6:.0f} MB")
        report.add(
            "clip creation, time",
            told,
            peer=peer,
            limit=f"one fsync {limit.wall_s * 1000:.1f} ms",
            must=f"≥ {MUST_RATIO} × faster",
            met=None if options.quick or ratio is None else ratio >= MUST_RATIO,
        )
        report.add(
            "clip creation, media bytes written",
            f"0 ({written / len(shots):.0f} bytes of rows and indexes a clip)",
            must="0",
            met=not [file for file in (folder / "library").rglob("*") if file.suffix in (".mp4", ".mkv", ".ts")],
        )
        report.show()
        if options.json:
            report.save(options.json)


if __name__ == "__main__":
    main()
