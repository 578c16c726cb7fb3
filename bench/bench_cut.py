"""Cutting: `malan.media.cut` against a full encode and PySceneDetect's `split_video_ffmpeg`, on the same spans.

Two jobs on one film of ten minutes: take twelve spans out of it and join the rest, and write twelve clips. The limit is
a plain copy of all packets. Frames are compared with the source: how many come out, and what the first and last show.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import numpy as np
from common import Cost, Report, arguments, footage_folder, measure, median_cost

from malan.media.cut import Cutter, cut
from malan.media.index import PacketIndex, build_index
from malan.media.reader import ClipReader

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
SPANS = 12
ENCODE = ["-c:v", "libx264", "-c:a", "aac"]  # what ffmpeg does unless told otherwise: preset medium, crf 23


def film(folder: Path, quick: bool) -> Path:
    """Ten minutes of real, edited film (H.264 720p, B-frames, closed groups) with sound; a drawn one without it."""
    out, footage = folder / "film.mp4", footage_folder()
    if footage and not quick:
        source, times = footage / "synthetic/spliced_s1_scenecut.mp4", 3
    else:
        import sys

        sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
        from media_factory import draw_film

        options = {"preset": "veryfast", "g": "50", "bf": "2"}
        source = draw_film(folder / "drawn.mp4", (120, 90, 110), size=(640, 360), options=options, audio=True).path
        times = 1 if quick else 40
    command = [FFMPEG, "-v", "error", "-stream_loop", str(times), "-i", str(source), "-t", "600", "-c", "copy"]
    subprocess.run([*command, str(out)], check=True)
    return out


def spans_of(index: PacketIndex) -> list[tuple[int, int]]:
    """Twelve spans at random places in random lengths, apart from each other, none at a key frame on purpose."""
    rng, share = np.random.default_rng(11), index.frame_count // SPANS
    firsts = [i * share + int(rng.integers(5, share // 3)) for i in range(SPANS)]
    return [(first, first + int(rng.integers(share // 5, share // 2))) for first in firsts]


def rest_of(spans: list[tuple[int, int]], frames: int) -> list[tuple[int, int]]:
    """What is left when the spans are taken out."""
    edges = [0, *(edge for span in spans for edge in span), frames]
    return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b > a]


def encode_rest(path: Path, index: PacketIndex, kept: list[tuple[int, int]], out: Path) -> None:
    """The same frames through one ffmpeg filter graph, everything encoded."""
    times = [(span.start_s, span.end_s) for span in (index.span(*k) for k in kept)]
    video = "+".join(f"between(n,{a},{b - 1})" for a, b in kept)
    audio = "+".join(f"between(t,{a:.6f},{b:.6f})" for a, b in times)
    command = [FFMPEG, "-v", "error", "-y", "-i", str(path), "-vf", f"select='{video}',setpts=N/FRAME_RATE/TB"]
    command += ["-af", f"aselect='{audio}',asetpts=N/SR/TB"] if has_sound(path) else []
    subprocess.run([*command, *ENCODE, str(out)], check=True)


def has_sound(path: Path) -> bool:
    with av.open(str(path)) as container:
        return bool(container.streams.audio)


def wrong_frames(path: Path, index: PacketIndex, out: Path, ranges: list[tuple[int, int]]) -> int:
    """Frames that are missing or too many, and edges that show another frame than they should."""
    written = build_index(out)
    wrong = abs(written.frame_count - sum(b - a for a, b in ranges))
    at = 0
    with ClipReader(path, index) as before, ClipReader(out, written) as after:
        for first, end in ranges:
            for source, copy in ((first, at), (end - 1, at + end - first - 1)):
                wrong += copy >= written.frame_count or not _is_frame(before, source, after, copy)
            at += end - first
    return wrong


def _is_frame(before: ClipReader, source: int, after: ClipReader, copy: int) -> bool:
    """Whether a frame of a copy is nearer to its source than to the neighbours of that."""
    low, high = max(source - 1, 0), min(source + 2, before.index.frame_count)
    near_THWC = before.frames(low, high, size=90).frames_THWC.astype(np.int16)
    away = np.abs(near_THWC - after.frames(copy, copy + 1, size=90).frames_THWC).mean(axis=(1, 2, 3))
    return bool(away[source - low] <= away.min() + 0.2)


@contextmanager
def ffmpeg_on_path(folder: Path) -> Any:
    """PySceneDetect calls `ffmpeg`."""
    link, before = folder / "bin" / "ffmpeg", os.environ["PATH"]
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(FFMPEG)
    os.environ["PATH"] = f"{link.parent}:{before}"
    try:
        yield
    finally:
        os.environ["PATH"] = before


def split_by_peer(path: Path, spans: list[tuple[int, int]], folder: Path) -> Cost | str:
    try:
        from scenedetect import FrameTimecode, open_video, split_video_ffmpeg
    except ImportError as error:
        return str(error)
    rate = open_video(str(path)).frame_rate
    scenes = [(FrameTimecode(a, rate), FrameTimecode(b, rate)) for a, b in spans]
    with ffmpeg_on_path(folder):
        cost, code = measure(
            lambda: split_video_ffmpeg(
                str(path),
                scenes,
                output_dir=folder / "peer",
                show_progress=False,
                output_file_template="$SCENE_NUMBER.mp4",
            )
        )
    return cost if code == 0 else f"ended with {code}"


def main() -> None:
    options = arguments(__doc__ or "")
    report = Report("Cutting")
    with tempfile.TemporaryDirectory(prefix="malan-bench-") as name:
        folder = Path(name)
        path = film(folder, options.quick)
        index = build_index(path)
        spans = spans_of(index)
        runs = 1 if options.quick else options.runs
        copied, _ = median_cost(lambda: _plain_copy(path, folder / "copy.mp4"), runs)
        limit = f"copy of the file: {_told(copied)}"
        bench_rest(report, path, index, spans, folder, runs, limit)
        bench_clips(report, path, index, spans, folder, runs, limit)
        size = path.stat().st_size / 1e6
        report.notes.append(f"Film: {index.frame_count} frames, {size:.0f} MB, {len(index.key_frames)} key frames.")
    report.show()
    if options.json:
        report.save(options.json)


def bench_rest(
    report: Report, path: Path, index: PacketIndex, spans: list[tuple[int, int]], folder: Path, runs: int, limit: str
) -> None:
    kept, out = rest_of(spans, index.frame_count), folder / "rest.mp4"
    ours, done = median_cost(lambda: cut(path, index, [index.span(*k) for k in kept], out), runs)
    theirs, _ = measure(lambda: encode_rest(path, index, kept, folder / "encoded.mp4"))
    wrong = wrong_frames(path, index, out, kept)
    ratio = theirs.wall_s / ours.wall_s
    report.add(
        f"{SPANS} spans taken out, the rest joined",
        f"{_told(ours)}; {done.frames_encoded} of {done.frames} frames encoded; {wrong} frames wrong",
        peer=f"full encode, x264 defaults: {_told(theirs)} ({ratio:.0f} ×; CPU {theirs.cpu_s / ours.cpu_s:.0f} ×), "
        f"{wrong_frames(path, index, folder / 'encoded.mp4', kept)} frames wrong",
        limit=limit,
        must="≥ 20 × faster, 0 wrong",
        met=ratio >= 20 and wrong == 0,
    )


def bench_clips(
    report: Report, path: Path, index: PacketIndex, spans: list[tuple[int, int]], folder: Path, runs: int, limit: str
) -> None:
    (folder / "peer").mkdir()

    def clips() -> list[Any]:
        with Cutter(path, index) as cutter:
            return [cutter.cut([index.span(*span)], folder / f"{i}.mp4") for i, span in enumerate(spans)]

    ours, done = median_cost(clips, runs)
    wrong = sum(wrong_frames(path, index, d.path, [span]) for d, span in zip(done, spans, strict=True))
    theirs = split_by_peer(path, spans, folder)
    if isinstance(theirs, str):
        peer, met = f"split_video_ffmpeg: none ({theirs})", wrong == 0
    else:
        files = sorted((folder / "peer").glob("*.mp4"))
        off = sum(wrong_frames(path, index, file, [span]) for file, span in zip(files, spans, strict=True))
        ratio = theirs.wall_s / ours.wall_s
        times = f"{ratio:.0f} ×; CPU {theirs.cpu_s / ours.cpu_s:.0f} ×"
        peer = f"split_video_ffmpeg (x264 veryfast): {_told(theirs)} ({times}), {off} wrong"
        met = wrong == 0 and ratio > 1
    encoded = f"{sum(d.frames_encoded for d in done)} of {sum(d.frames for d in done)} frames encoded"
    report.add(
        f"{SPANS} clips written",
        f"{_told(ours)}; {encoded}; {wrong} frames wrong",
        peer=peer,
        limit=limit,
        must="faster, 0 wrong",
        met=met,
    )


def _plain_copy(path: Path, out: Path) -> None:
    subprocess.run([FFMPEG, "-v", "error", "-y", "-i", str(path), "-c", "copy", str(out)], check=True)


def _told(cost: Cost) -> str:
    return f"{cost.wall_s:.2f} s, CPU {cost.cpu_s:.2f} s"


if __name__ == "__main__":
    main()
