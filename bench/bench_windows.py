"""Random 16-frame windows: `ClipReader` against torchcodec, decord and a PyAV seek loop, on the same frames and output.

Each contender lives in a process of its own and is stopped while another is measured, so that threads that spin or read
ahead take nothing from whoever comes next. They take turns, round by round: what else the machine does hits all alike.
Medians of the rounds count, ratios within a round. Twice: with one thread each, and with all processors, where the
better of its two settings counts for a peer. Peers run with the interpreter named by MALAN_BENCH_PYTHON (this one when
unset), so that what they need stays out of Malan's environment.

Exactness: windows are compared with a full decode, by an 8 × 8 grid of mean luma, against windows shifted by up to
three frames.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

FRAMES = 16
CASE_S = 40.0  # after so long no further round of a case begins
CHECKED = 6  # windows whose frames are compared with a full decode
PEERS = ("torchcodec", "decord", "pyav")
Way = tuple[str, bool, tuple[str, ...]]
WAYS: tuple[Way, ...] = (
    ("mp4", False, PEERS),
    ("mp4", True, PEERS),
    ("mkv", False, ()),
    ("ts", False, ()),
)  # container, small, peers
Read = Callable[[list[tuple[int, int]]], Iterator[Any]]


def grid(frames_THWC: Any) -> np.ndarray:
    """Mean luma of 8 × 8 fields, (T, 64): enough to tell a frame from its neighbours, blind to rounding."""
    frames = np.asarray(frames_THWC)
    rows = np.array_split(frames.mean(axis=3, dtype=np.float32), 8, axis=1)
    cells = [c.mean(axis=(1, 2)) for row in rows for c in np.array_split(row, 8, axis=2)]
    return np.stack(cells, axis=1)


# --- readers: threads is 1, or 0 for as many as there are processors ------------------------------------------------


def malan(path: str, threads: int, size: tuple[int, int] | None, batch: bool) -> Read:
    from malan.media.index import build_index
    from malan.media.reader import ClipReader

    reader = ClipReader(path, build_index(path), threads=threads or None)
    if batch:
        return lambda windows: (b.frames_THWC for b in reader.windows(windows, size=size))
    return lambda windows: (reader.frames(a, b, size=size).frames_THWC for a, b in windows)


def torchcodec(path: str, threads: int, size: tuple[int, int] | None, batch: bool) -> Read:
    from torchcodec.decoders import VideoDecoder

    more = {}
    if size:
        from torchcodec.transforms import Resize

        more = {"transforms": [Resize((size[1], size[0]))]}
    decoder = VideoDecoder(path, seek_mode="approximate", num_ffmpeg_threads=threads, dimension_order="NHWC", **more)

    def together(windows: list[tuple[int, int]]) -> Iterator[Any]:
        frames = decoder.get_frames_at([n for a, b in windows for n in range(a, b)]).data.numpy()
        return (frames[i * FRAMES : (i + 1) * FRAMES] for i in range(len(windows)))

    if batch:
        return together
    return lambda windows: (decoder.get_frames_in_range(a, b).data.numpy() for a, b in windows)


def decord(path: str, threads: int, size: tuple[int, int] | None, batch: bool) -> Read:
    import decord as library

    more = {"width": size[0], "height": size[1]} if size else {}
    reader = library.VideoReader(path, num_threads=threads, **more)

    def together(windows: list[tuple[int, int]]) -> Iterator[Any]:
        frames = reader.get_batch([n for a, b in windows for n in range(a, b)]).asnumpy()
        return (frames[i * FRAMES : (i + 1) * FRAMES] for i in range(len(windows)))

    if batch:
        return together
    return lambda windows: (reader.get_batch(list(range(a, b))).asnumpy() for a, b in windows)


def pyav(path: str, threads: int, size: tuple[int, int] | None, _batch: bool) -> Read:
    import av

    container = av.open(path)
    stream = container.streams.video[0]
    stream.thread_type = "SLICE" if threads == 1 else "AUTO"
    stream.codec_context.thread_count = threads
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


# --- a contender: its own process, one line in, one line out ---------------------------------------------------------


def serve(reader: str) -> None:
    """Answer requests until the line is closed: open a file, read all windows once, check the first of them."""
    read: Read = iter
    for line in sys.stdin:
        asked = json.loads(line)
        windows = [tuple(w) for w in asked["windows"]]
        try:
            if asked["do"] == "open":
                size = tuple(asked["size"]) if asked["size"] else None
                read = READERS[reader](asked["path"], asked["threads"], size, asked["batch"])
                answer = read_once(read, windows[:4])
            elif asked["do"] == "read":
                answer = read_once(read, windows)
            else:
                answer = {"exact": exact_share(read, windows[:CHECKED], np.load(asked["truth"]))}
        except Exception as error:  # the edge between this bench and whatever a peer may do
            answer = {"failed": f"{type(error).__name__}: {error}".splitlines()[0][:120]}
        print(json.dumps(answer), flush=True)


def read_once(read: Read, windows: list[tuple[int, int]]) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    for frames in read(windows):
        assert len(frames) == FRAMES
    return {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}


def exact_share(read: Read, windows: list[tuple[int, int]], truth: np.ndarray) -> float:
    exact = [_is_window(truth, first, grid(frames)) for (first, _), frames in zip(windows, read(windows), strict=True)]
    return sum(exact) / len(exact)


def _is_window(truth: np.ndarray, first: int, seen: np.ndarray) -> bool:
    """Whether frames are nearer to the window asked for than to any that starts up to three frames away from it.

    As a whole: colour conversion and scaling differ a little between readers, in the same way for every frame.
    """
    starts = range(max(0, first - 3), min(len(truth) - len(seen), first + 3) + 1)
    away = {start: float(np.abs(truth[start : start + len(seen)] - seen).mean()) for start in starts}
    return away[first] <= min(away.values()) + 0.01


class Contender:
    """One reader in one process, with what it has measured of the case on hand."""

    def __init__(self, reader: str, threads: int) -> None:
        self.reader, self.threads = reader, threads
        python = sys.executable if reader == "malan" else os.environ.get("MALAN_BENCH_PYTHON", sys.executable)
        self._process = subprocess.Popen(
            [python, __file__, "--serve", reader],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.result = Result()

    def open(self, case: Case) -> None:
        """Take up a case; reads a few windows to warm up."""
        self.result = Result()
        self._asked = {"path": str(case.path), "size": case.size, "batch": case.batch, "windows": case.windows}
        self._ask("open")

    def read(self) -> None:
        self.result.rounds.append(self._ask("read"))

    def check(self, truth: Path) -> None:
        self.result.exact = self._ask("check", truth=str(truth)).get("exact", 0.0)

    def close(self) -> None:
        self._process.send_signal(signal.SIGCONT)
        if self._process.stdin:
            with suppress(OSError):  # it may have ended on its own
                self._process.stdin.close()
        self._process.wait()

    def _ask(self, do: str, **more: Any) -> dict[str, Any]:
        if self.result.failed:
            return {}
        pipes = self._process.stdin, self._process.stdout
        assert pipes[0]
        assert pipes[1]
        try:
            self._process.send_signal(signal.SIGCONT)
            pipes[0].write(json.dumps({"do": do, "threads": self.threads, **self._asked, **more}) + "\n")
            pipes[0].flush()
            answer: dict[str, Any] = json.loads(pipes[1].readline())
            self._process.send_signal(signal.SIGSTOP)
        except (OSError, ValueError):
            answer = {"failed": "the process ended"}
        self.result.failed = answer.get("failed", "")
        return answer


@dataclass
class Result:
    """What one contender made of one case."""

    rounds: list[dict[str, float]] = field(default_factory=list)
    exact: float = 0.0
    failed: str = ""

    @property
    def wall_s(self) -> float:
        return float(np.median([r["wall_s"] for r in self.rounds])) if not self.failed else float("inf")

    @property
    def cpu_s(self) -> float:
        return float(np.median([r["cpu_s"] for r in self.rounds]))

    def against(self, peer: Result) -> float:
        """How many times as fast as a peer: the median of the rounds, each compared within itself."""
        if peer.failed:
            return float("inf")
        return float(np.median([b["wall_s"] / a["wall_s"] for a, b in zip(self.rounds, peer.rounds, strict=True)]))


# --- the bench ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One file read in one way."""

    name: str
    path: Path
    windows: list[tuple[int, int]]
    size: tuple[int, int] | None
    batch: bool
    against: tuple[str, ...] = PEERS


def main() -> None:
    from common import Report, arguments

    options = arguments(__doc__ or "")
    rounds = 1 if options.quick else max(9, options.runs)
    report = Report("Random 16-frame windows (uint8 RGB)")
    contenders = [Contender(reader, threads) for reader in ("malan", *PEERS) for threads in (1, 0)]
    try:
        with tempfile.TemporaryDirectory(prefix="malan-bench-") as name:
            for place, source in enumerate(sources(Path(name), options.quick)):
                ways = WAYS if place == 0 else WAYS[:1]
                bench_file(report, contenders, source, ways, Path(name), 6 if options.quick else 10, rounds)
    finally:
        for contender in contenders:
            contender.close()
    report.notes.append(
        f"Windows a second by wall clock, CPU per window; medians of up to {rounds} rounds in turns. "
        "The limit is one thread decoding from the governing key frame to the last frame of the window and doing "
        "nothing else; a batch may beat it by sharing and by skipping frames nothing needs."
    )
    report.show()
    if options.json:
        report.save(options.json)


def sources(folder: Path, quick: bool) -> list[Path]:
    from common import footage_folder

    footage = footage_folder()
    if footage and not quick:
        return [footage / "video/bbb_1a_486p.mp4", footage / "synthetic/spliced_s2_fixedgop.mp4"]
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    from media_factory import draw_film

    options = {"preset": "veryfast", "g": "48", "sc_threshold": "0", "bf": "2"}
    return [draw_film(folder / "drawn.mp4", (60, 60), size=(640, 360), options=options).path]


def bench_file(
    report: Any, contenders: list[Contender], source: Path, ways: Sequence[Way], folder: Path, count: int, rounds: int
) -> None:
    files = prepare(folder, source)
    windows = draw_windows(files["mp4"], count)
    limit = f"{limit_per_s(files['mp4'], windows):.1f}/s"
    small = _short_side(files["mp4"], 256)
    walls: dict[tuple[str, bool], float] = {}
    for kind, is_small, peers in ways:
        size = small if is_small else None
        truth = full_decode(files["mp4"], windows[:CHECKED], size, folder)
        for batch in (False, True):
            name = f"{source.stem} {kind}{' → 256 px' if size else ''}, {'one batch' if batch else 'one by one'}"
            case = Case(name, files[kind], windows, size, batch, peers)
            measured = measure_case(contenders, case, truth, rounds)
            add_rows(report, case, measured, limit)
            walls.setdefault((kind, batch), measured["malan", 0].wall_s)
    for batch in (False, True) if ("mkv", True) in walls else ():
        ratio = walls["mkv", batch] / walls["mp4", batch]
        what = f"{source.stem}, time of mkv ÷ mp4, {'one batch' if batch else 'one by one'}"
        report.add(what, f"{ratio:.2f}", must="≤ 1.5", met=ratio <= 1.5)


def measure_case(contenders: list[Contender], case: Case, truth: Path, rounds: int) -> dict[tuple[str, int], Result]:
    """All contenders of a case, round by round, in an order that turns."""
    chosen = [c for c in contenders if c.reader == "malan" or c.reader in case.against]
    print(f"{case.name} …", file=sys.stderr, flush=True)
    for contender in chosen:
        contender.open(case)
    enough = time.monotonic() + CASE_S
    for turn in range(rounds):
        if turn and time.monotonic() > enough:
            break  # a busy machine: what was measured must do
        at = turn % len(chosen)
        for contender in chosen[at:] + chosen[:at]:
            contender.read()
    for contender in chosen:
        contender.check(truth)
    return {(c.reader, c.threads): c.result for c in chosen}


def add_rows(report: Any, case: Case, measured: dict[tuple[str, int], Result], limit: str) -> None:
    """One row with a thread each, one with all processors; of a peer the better setting."""
    for threads, words in ((1, "one thread"), (0, "all processors")):
        mine = measured["malan", threads]
        if mine.failed:
            raise SystemExit(mine.failed)
        found = {peer: min((measured[peer, t] for t in {1, threads}), key=lambda r: r.wall_s) for peer in case.against}
        best_s = min((r.wall_s for r in found.values()), default=float("inf"))
        need = 1.5 if case.batch else 0.9
        ratio = min((mine.against(r) for r in found.values()), default=1.0)
        has_peer = best_s < float("inf")
        report.add(
            f"{case.name}, {words}",
            _told(mine, case) + (f" ({ratio:.2f} × best)" if has_peer else ""),
            peer="; ".join(f"{peer} {_told(r, case)}" for peer, r in found.items()),
            limit=limit if threads == 1 else "",
            must="exact" + (f", ≥ {need} × best{' (aim)' if case.batch else ''}" if has_peer else ""),
            met=mine.exact == 1 and (not has_peer or ratio >= need),
        )


def _told(result: Result, case: Case) -> str:
    if result.failed:
        return f"none ({result.failed})"
    count = len(case.windows)
    return f"{count / result.wall_s:.1f}/s, {result.cpu_s / count * 1000:.0f} ms, exact {result.exact:.0%}"


def prepare(folder: Path, source: Path) -> dict[str, Path]:
    """The same packets as mp4, mkv and ts."""
    import imageio_ffmpeg

    files = {kind: folder / f"{source.stem}-copy.{kind}" for kind in ("mp4", "mkv", "ts")}
    for file in files.values():
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(source), "-map", "0:v:0", "-c", "copy"]
        subprocess.run([*command, str(file)], check=True)
    return files


def draw_windows(path: Path, count: int) -> list[tuple[int, int]]:
    """The same windows for everybody, anywhere in the film."""
    from malan.media.index import build_index

    starts = np.random.default_rng(5).integers(0, build_index(path).frame_count - FRAMES, count)
    return [(int(start), int(start) + FRAMES) for start in starts]


def full_decode(path: Path, windows: list[tuple[int, int]], size: tuple[int, int] | None, folder: Path) -> Path:
    """What a plain decode from the start shows in and around some windows; other frames stay far from everything."""
    import av

    width, height = size or (None, None)
    wanted = {n for first, end in windows for n in range(first - 3, end + 3)}
    found = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for number, frame in enumerate(container.decode(stream)):
            shown = np.full((1, 64), np.inf)
            if number in wanted:
                shown = grid(frame.to_ndarray(format="rgb24", width=width, height=height)[None])
            found.append(shown.astype(np.float32))
    truth = np.concatenate(found)
    np.save(folder / f"{path.stem}.npy", truth)
    return folder / f"{path.stem}.npy"


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


def _short_side(path: Path, pixels: int) -> tuple[int, int]:
    import av

    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        scale = pixels / min(context.width, context.height)
        return round(context.width * scale), round(context.height * scale)


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--serve":
        sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
        serve(sys.argv[2])
    else:
        main()
