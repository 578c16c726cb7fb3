"""Random 16-frame windows: `ClipReader` against torchcodec, decord and a PyAV seek loop, on the same frames and output.

Peers run in their own process with the interpreter named by MALAN_BENCH_PYTHON (this one when unset), so that what they
need stays out of Malan's environment. Each peer runs with every setting that may be its best; its best counts.
Exactness: windows are compared with a full decode, by an 8 × 8 grid of mean luma, against windows shifted by up to
three frames.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

FRAMES = 16
CHECKED = 20  # windows whose frames are compared with a full decode
PEERS = {
    "torchcodec": ["approximate-1", "approximate-0"],  # seek mode, threads (0: as many as there are processors)
    "decord": ["0"],
    "pyav": ["AUTO", "SLICE"],
}


def grid(frames_THWC: Any) -> np.ndarray:
    """Mean luma of 8 × 8 fields, (T, 64): enough to tell a frame from its neighbours, blind to rounding."""
    frames = np.asarray(frames_THWC)
    rows = np.array_split(frames.mean(axis=3, dtype=np.float32), 8, axis=1)
    cells = [c.mean(axis=(1, 2)) for row in rows for c in np.array_split(row, 8, axis=2)]
    return np.stack(cells, axis=1)


# --- readers: (path, setting, size) -> call(windows) -> iterator of frames ------------------------------------------


def malan(path: str, _setting: str, size: tuple[int, int] | None, batch: bool) -> Callable[[list], Iterator]:
    from malan.media.index import build_index
    from malan.media.reader import ClipReader

    reader = ClipReader(path, build_index(path))
    if batch:
        return lambda windows: (b.frames_THWC for b in reader.windows(windows, size=size))
    return lambda windows: (reader.frames(a, b, size=size).frames_THWC for a, b in windows)


def torchcodec(path: str, setting: str, size: tuple[int, int] | None, batch: bool) -> Callable[[list], Iterator]:
    from torchcodec.decoders import VideoDecoder

    mode, threads = setting.split("-")
    more = {}
    if size:
        from torchcodec.transforms import Resize

        more = {"transforms": [Resize((size[1], size[0]))]}
    decoder = VideoDecoder(path, seek_mode=mode, num_ffmpeg_threads=int(threads), dimension_order="NHWC", **more)

    def together(windows: list) -> Iterator:
        frames = decoder.get_frames_at([n for a, b in windows for n in range(a, b)]).data.numpy()
        return (frames[i * FRAMES : (i + 1) * FRAMES] for i in range(len(windows)))

    if batch:
        return together
    return lambda windows: (decoder.get_frames_in_range(a, b).data.numpy() for a, b in windows)


def decord(path: str, setting: str, size: tuple[int, int] | None, batch: bool) -> Callable[[list], Iterator]:
    import decord as library

    more = {"width": size[0], "height": size[1]} if size else {}
    reader = library.VideoReader(path, num_threads=int(setting), **more)

    def together(windows: list) -> Iterator:
        frames = reader.get_batch([n for a, b in windows for n in range(a, b)]).asnumpy()
        return (frames[i * FRAMES : (i + 1) * FRAMES] for i in range(len(windows)))

    if batch:
        return together
    return lambda windows: (reader.get_batch(list(range(a, b))).asnumpy() for a, b in windows)


def pyav(path: str, setting: str, size: tuple[int, int] | None, _batch: bool) -> Callable[[list], Iterator]:
    import av

    container = av.open(path)
    stream = container.streams.video[0]
    stream.thread_type = setting
    times = sorted(p.pts for p in container.demux(stream) if p.pts is not None)
    width, height = size or (None, None)

    def one(first: int, end: int) -> np.ndarray:
        container.seek(times[first], stream=stream)
        frames = []
        for frame in container.decode(stream):
            if frame.pts >= times[first]:
                frames.append(frame.to_ndarray(format="rgb24", width=width, height=height))
            if len(frames) == end - first:
                break
        return np.stack(frames)

    return lambda windows: (one(a, b) for a, b in windows)


READERS = {"malan": malan, "torchcodec": torchcodec, "decord": decord, "pyav": pyav}


# --- one measurement, in its own process ----------------------------------------------------------------------------


def job(spec: dict[str, Any]) -> dict[str, Any]:
    """Read all windows `runs` times; median windows/s, CPU per window, share of exact windows."""
    size = tuple(spec["size"]) if spec["size"] else None
    started = time.perf_counter()
    read = READERS[spec["reader"]](spec["path"], spec["setting"], size, spec["batch"])
    opened = time.perf_counter() - started
    windows = [tuple(w) for w in spec["windows"]]
    next(iter(read(windows[:1])))
    walls, cpus = [], []
    for _ in range(spec["runs"]):
        wall, cpu = time.perf_counter(), time.process_time()
        for frames in read(windows):
            assert len(frames) == FRAMES
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    truth, seen, looked_at = np.load(spec["truth"]), 0, windows[:CHECKED]
    for (first, _), frames in zip(looked_at, read(looked_at), strict=True):
        seen += _is_window(truth, first, grid(frames))
    n = len(windows)
    return {
        "per_s": n / float(np.median(walls)),
        "cpu_ms": float(np.median(cpus)) / n * 1000,
        "exact": seen / len(looked_at),
        "open_s": opened,
    }


def _is_window(truth: np.ndarray, first: int, seen: np.ndarray) -> bool:
    """Whether frames are nearer to the window asked for than to any that starts up to three frames away from it.

    As a whole: colour conversion and scaling differ a little between readers, in the same way for every frame.
    """
    starts = range(max(0, first - 3), min(len(truth) - len(seen), first + 3) + 1)
    away = {start: float(np.abs(truth[start : start + len(seen)] - seen).mean()) for start in starts}
    return away[first] <= min(away.values()) + 0.01


def run_jobs(reader: str, specs: list[dict[str, Any]]) -> list[dict[str, Any] | str]:
    """All measurements of one reader in one process of its own; a reason as text where one fails."""
    python = sys.executable if reader == "malan" else os.environ.get("MALAN_BENCH_PYTHON", sys.executable)
    command = [python, __file__, "--jobs", json.dumps([{**s, "reader": reader} for s in specs])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3600, check=False)
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith(("{", '"'))]
    reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1][:120]
    return told + [reason] * (len(specs) - len(told))


def tell(spec: dict[str, Any]) -> str:
    """One measurement as a line of JSON; what a peer raises becomes text, whatever it is."""
    try:
        return json.dumps(job(spec))
    except Exception as error:  # the edge between this bench and whatever a peer may do
        return json.dumps(f"{type(error).__name__}: {error}".splitlines()[0][:120])


# --- the bench ------------------------------------------------------------------------------------------------------


def prepare(folder: Path, source: Path) -> dict[str, Path]:
    """The same packets as mp4, mkv and ts."""
    import imageio_ffmpeg

    files = {kind: folder / f"{source.stem}-copy.{kind}" for kind in ("mp4", "mkv", "ts")}
    for file in files.values():
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(source), "-map", "0:v:0", "-c", "copy"]
        subprocess.run([*command, str(file)], check=True)
    return files


def full_decode(path: Path, folder: Path) -> Path:
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        truth = np.concatenate([grid(f.to_ndarray(format="rgb24")[None]) for f in container.decode(stream)])
    np.save(folder / f"{path.stem}.npy", truth)
    return folder / f"{path.stem}.npy"


def best_of(reader: str, specs: list[dict[str, Any]], settings: list[str]) -> list[dict[str, Any] | str]:
    """For each spec the best result over all settings; a reason where none worked."""
    results = run_jobs(reader, [{**spec, "setting": setting} for spec in specs for setting in settings])
    groups = [results[i : i + len(settings)] for i in range(0, len(results), len(settings))]
    return [max((r for r in g if isinstance(r, dict)), key=lambda r: r["per_s"], default=g[0]) for g in groups]


def limit_per_s(path: Path, windows: list[tuple[int, int]]) -> float:
    """Windows/s if decoding the frames from the governing key frame on were all there is to do, one thread."""
    import av

    from malan.media.index import build_index
    from malan.media.payload import key_packets

    index = build_index(path)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "SLICE"
        cpu = time.process_time()
        frames = sum(1 for _ in container.decode(stream))
        frame_s = (time.process_time() - cpu) / frames
    keys = key_packets(index)
    needed = [index.shown[a:b].max() + 1 - keys[np.searchsorted(keys, index.shown[a], "right") - 1] for a, b in windows]
    return 1 / (float(np.mean(needed)) * frame_s)


def sources(folder: Path, quick: bool) -> list[Path]:
    from common import footage_folder

    footage = footage_folder()
    if footage and not quick:
        return [footage / "video/bbb_1a_486p.mp4", footage / "synthetic/spliced_s2_fixedgop.mp4"]
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    from media_factory import draw_film

    options = {"preset": "veryfast", "g": "48", "sc_threshold": "0", "bf": "2"}
    return [draw_film(folder / "drawn.mp4", (60, 60), size=(640, 360), options=options).path]


def main() -> None:
    from common import Report, arguments

    options = arguments(__doc__ or "")
    report = Report("Random 16-frame windows (uint8 RGB)")
    with tempfile.TemporaryDirectory(prefix="malan-bench-") as name:
        for source in sources(Path(name), options.quick):
            bench_file(report, source, Path(name), 6 if options.quick else 80, 1 if options.quick else options.runs)
    report.notes.append(
        "Peers: best of several settings each. The limit is one thread decoding from the governing key frame to the "
        "last frame of the window and doing nothing else; a batch may beat it by sharing and by skipping frames "
        "nothing needs. CPU is per window."
    )
    report.show()
    if options.json:
        report.save(options.json)


def bench_file(report: Any, source: Path, folder: Path, count: int, runs: int) -> None:
    files = prepare(folder, source)
    truth = full_decode(files["mp4"], folder)
    total = len(np.load(truth))
    starts = np.random.default_rng(5).integers(0, total - FRAMES, count)
    windows = [(int(s), int(s) + FRAMES) for s in starts]
    limit = f"{limit_per_s(files['mp4'], windows):.1f}/s"
    specs = []
    for kind, small in (("mp4", False), ("mp4", True), ("mkv", False), ("ts", False)):
        size = _short_side(files["mp4"], 256) if small else None
        spec = {"path": str(files[kind]), "kind": kind, "truth": str(truth), "windows": windows, "size": size}
        specs += [{**spec, "runs": runs, "batch": batch} for batch in (False, True)]
    found = {peer: best_of(peer, specs, s[:1] if runs == 1 else s) for peer, s in PEERS.items()}
    ours = best_of("malan", specs, [""])
    for i, spec in enumerate(specs):
        mine = ours[i]
        if isinstance(mine, str):
            raise SystemExit(mine)
        add_row(report, source.stem, spec, mine, {peer: results[i] for peer, results in found.items()}, limit)
    for batch, (mp4, mkv) in enumerate(((0, 4), (1, 5))):
        ratio = ours[mp4]["per_s"] / ours[mkv]["per_s"]
        what = f"{source.stem}, mp4 ÷ mkv, {'one batch' if batch else 'one by one'}"
        report.add(what, f"{ratio:.2f}", must="≤ 1.5", met=ratio <= 1.5)


def add_row(
    report: Any, name: str, spec: dict[str, Any], mine: dict[str, Any], peers: dict[str, Any], limit: str
) -> None:
    told = [
        f"{peer}: none ({r})"
        if isinstance(r, str)
        else f"{peer} {r['per_s']:.1f}/s, {r['cpu_ms']:.0f} ms, exact {r['exact']:.0%}"
        for peer, r in peers.items()
    ]
    best = max((r["per_s"] for r in peers.values() if isinstance(r, dict)), default=0.0)
    need = 1.5 if spec["batch"] else 0.9
    ratio = mine["per_s"] / best if best else float("nan")
    held = spec["kind"] == "mp4"
    report.add(
        f"{name} {spec['kind']}{' → 256 px' if spec['size'] else ''}, {'one batch' if spec['batch'] else 'one by one'}",
        f"{mine['per_s']:.1f}/s, {mine['cpu_ms']:.0f} ms, exact {mine['exact']:.1%} ({ratio:.2f} × best)",
        peer="; ".join(told),
        limit=limit,
        must=(f"exact, ≥ {need} × best" if held else "exact") + (" (aim)" if held and spec["batch"] else ""),
        met=mine["exact"] == 1 and (not held or not best or ratio >= need),
    )


def _short_side(path: Path, pixels: int) -> tuple[int, int]:
    import av

    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        scale = pixels / min(context.width, context.height)
        return round(context.width * scale), round(context.height * scale)


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--jobs":
        sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
        for each in json.loads(sys.argv[2]):
            print(tell(each), flush=True)
    else:
        main()
