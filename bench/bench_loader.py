"""Frames for training: Malan's loader over whole files against torchcodec + WebDataset over clips that were cut first.

An epoch is one random window of 16 frames from every shot, scaled and cropped to 256 × 256 px, in batches of eight,
shuffled, on all processors. The peer's clips are cut at the shots beforehand (same codec, GOP length and bit rate) and
packed into tar files; ours are spans of the source. Malan is measured twice: in its own process, and as a run gets it,
through shared memory into a sandbox. Contenders live in process groups of their own and are stopped while another is
measured; they take turns round by round, ratios are taken within a round. The peer runs with the interpreter named by
MALAN_BENCH_PYTHON.

Second: an epoch over latents that the first one left in the run's own scratch space, against that first one.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

FRAMES, SIZE_PX, BATCH, GOP = 16, 256, 8, 48
SHARDS = 2
Epoch = Callable[[int], Iterator[Any]]


# --- contenders: each makes an epoch of batches, uint8 (N, T, H, W, C) ----------------------------------------------


def malan(folder: Path, workers: int) -> Epoch:
    loader = _loader(folder, workers)

    def epoch(number: int) -> Iterator[Any]:
        asked = {"do": "batch", "of": "data", "deliver": ["frames"], "size": BATCH, "shuffle": True, "epoch": number}
        window = {"frames": FRAMES, "size_px": SIZE_PX}
        batch = 0
        while (found := loader.serve({**asked, "batch": batch, "window": window})) is not None:
            yield found["frames_NTHWC"]
            batch += 1

    return epoch


def torchcodec(folder: Path, workers: int) -> Epoch:
    import torch
    import webdataset
    from torchcodec.decoders import VideoDecoder
    from torchcodec.transforms import CenterCrop, Resize

    torch.set_num_threads(1)

    def window(data: bytes) -> Any:
        ways = [Resize(_scaled(folder)), CenterCrop((SIZE_PX, SIZE_PX))]
        decoder = VideoDecoder(data, num_ffmpeg_threads=1, dimension_order="NHWC", transforms=ways)
        room = decoder.metadata.num_frames - FRAMES
        first = int(torch.randint(0, room + 1, (1,))) if room > 0 else 0
        frames = decoder.get_frames_in_range(first, min(first + FRAMES, decoder.metadata.num_frames)).data
        return torch.cat([frames, frames[-1:].expand(FRAMES - len(frames), -1, -1, -1)]) if room < 0 else frames

    shards = [str(folder / f"{n}.tar") for n in range(SHARDS)]
    dataset = webdataset.WebDataset(shards, shardshuffle=True, empty_check=False).shuffle(100).to_tuple("mp4")
    dataset = dataset.map_tuple(window).batched(BATCH, partial=True)
    loader = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=workers, persistent_workers=True)
    return lambda _number: (batch[0] for batch in loader)


def in_a_sandbox(folder: Path, passes: int) -> dict[str, list[float]]:
    """Seconds of each pass as a run gets them, and those of passes over what the first of them left behind."""
    from malan.runtime.sandbox import RunLimits
    from malan.training.gate import Declared, Policy
    from malan.training.running import RunPlan
    from malan.training.running.run import TRAINING, run_phase

    source = IN_A_SANDBOX.encode()
    program = _Program({"main.py": source}, {"train": "main:train", "evaluate": "main:train"})
    table = {
        "type": "weights",
        "max_bytes": 10_000,
        "tensors": {"fresh": ["F32", [passes]], "cached": ["F32", [passes]]},
    }
    limits = RunLimits(memory_bytes=2 << 30, wall_s=600, scratch_bytes=512 << 20)
    loader = _loader(folder, len(os.sched_getaffinity(0)))
    window = {"frames": FRAMES, "size_px": SIZE_PX}
    policy = Policy(Declared.from_output(table))
    settings = {"passes": passes, "size": BATCH}
    plan = RunPlan(program, settings, 0, loader, loader, policy, limits, window=window)
    phase = run_phase(plan, TRAINING)
    if phase.ran.end != "ok":
        raise SystemExit(f"the run in the sandbox ended with {phase.ran.limit or phase.ran.end}")
    return {name: np.frombuffer(array.content, array.kind).tolist() for name, array in phase.model.items()}


IN_A_SANDBOX = """
import time
import numpy as np

def latents(frames_NTHWC):  # what an encoder leaves: an eighth of each side, half the frames, four channels
    n, t, h, w, c = frames_NTHWC.shape
    small = frames_NTHWC[:, ::2, ::4, ::4].astype(np.float32).reshape(n, t // 2, h // 8, 2, w // 8, 2, c).mean((3, 5))
    return np.concatenate([small, small.mean(-1, keepdims=True)], -1).astype(np.float16)

def train(job):
    fresh, cached = [], []
    for epoch in range(job.parameters["passes"]):
        began = time.perf_counter()
        for n, batch in enumerate(job.data.batches(job.parameters["size"], shuffle=True, epoch=epoch)):
            np.save(job.cache / f"{n}.npy", latents(batch["frames_NTHWC"]))
        fresh.append(time.perf_counter() - began)
        began = time.perf_counter()
        for path in sorted(job.cache.glob("*.npy")):
            assert np.isfinite(np.load(path).astype(np.float32).sum())
        cached.append(time.perf_counter() - began)
    return {"fresh": np.array(fresh), "cached": np.array(cached)}
"""


class _Program:
    """The little of an algorithm package that a run needs."""

    def __init__(self, files: dict[str, bytes], entry: dict[str, str]) -> None:
        self.files, self.entry, self.environment = files, entry, self
        self.packages = ("numpy",)


class _Spans:
    """The shots of one file as the footage of a loader."""

    def __init__(self, folder: Path) -> None:
        from malan.core import Clip
        from malan.media.index import build_index

        told = json.loads((folder / "shots.json").read_text())
        self.path = Path(told["source"])
        self.index = build_index(self.path)
        self.shots = {Clip("source", 0, self.index.span(a, b)): (a, b) for a, b in told["shots"]}

    def film(self, clip: Any) -> Any:
        from malan.training.loader import Film

        return Film(self.path, self.index, *self.shots[clip], is_upright=True)

    def sound(self, _clip: Any) -> Path:
        return self.path


def _loader(folder: Path, threads: int) -> Any:
    from malan.training.loader import Allowed, Holdings, Loader

    spans = _Spans(folder)
    return Loader(Holdings(tuple(spans.shots), footage=spans), Allowed(frozenset({"frames"})), threads=threads)


def _scaled(folder: Path) -> tuple[int, int]:
    height, width = json.loads((folder / "shots.json").read_text())["size"]
    scale = SIZE_PX / min(height, width)
    return max(SIZE_PX, round(height * scale)), max(SIZE_PX, round(width * scale))


# --- a contender: its own processes, one line in, one line out ------------------------------------------------------


def serve(name: str) -> None:
    """Answer requests until the line is closed: `open` makes a warm epoch, `read` a measured one."""
    epoch: Epoch = iter  # type: ignore[assignment]
    number = 0
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            if asked["do"] == "open":
                folder = Path(asked["folder"])
                if name == "sandbox":
                    answer = {"passes": in_a_sandbox(folder, asked["passes"])}
                    print(json.dumps(answer), flush=True)
                    continue
                epoch = {"malan": malan, "torchcodec": torchcodec}[name](folder, asked["workers"])
            answer = _read(epoch, number)
            number += 1
        except Exception as error:  # the edge between this bench and whatever a peer may do
            answer = {"failed": f"{type(error).__name__}: {error}".splitlines()[0][:160]}
        print(json.dumps(answer), flush=True)


def _read(epoch: Epoch, number: int) -> dict[str, float]:
    wall, windows = time.perf_counter(), 0
    for frames in epoch(number):
        assert tuple(frames.shape[1:]) == (FRAMES, SIZE_PX, SIZE_PX, 3)
        windows += len(frames)
    return {"wall_s": time.perf_counter() - wall, "windows": windows}


class Contender:
    """One reader and all its processes; stopped unless it is being asked."""

    def __init__(self, name: str) -> None:
        python = os.environ.get("MALAN_BENCH_PYTHON", sys.executable) if name == "torchcodec" else sys.executable
        self.failed = ""
        self._process = subprocess.Popen(
            [python, __file__, "--serve", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    def ask(self, **asked: Any) -> dict[str, Any]:
        """One request; CPU seconds are those of the whole group."""
        if self.failed:
            return {}
        assert self._process.stdin
        assert self._process.stdout
        before = _group_cpu_s(self._process.pid)
        try:
            os.killpg(self._process.pid, signal.SIGCONT)
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
            answer: dict[str, Any] = json.loads(self._process.stdout.readline())
            os.killpg(self._process.pid, signal.SIGSTOP)
        except (OSError, ValueError):
            answer = {"failed": "the process ended"}
        self.failed = answer.get("failed", "")
        return {**answer, "cpu_s": _group_cpu_s(self._process.pid) - before}

    def close(self) -> None:
        with suppress(OSError):
            os.killpg(self._process.pid, signal.SIGCONT)
        if self._process.stdin:
            with suppress(OSError):
                self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(20)
        with suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _group_cpu_s(leader: int) -> float:
    """CPU seconds of all living processes of a group, and of their children that ended."""
    total = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[2]) == leader:
                total += sum(map(int, fields[11:15]))
    return total / os.sysconf("SC_CLK_TCK")


# --- material -------------------------------------------------------------------------------------------------------


def prepare(folder: Path, quick: bool) -> dict[str, Any]:
    """The source with its shots, and the same shots as clips in tar files."""
    from common import footage_folder

    footage = footage_folder()
    if footage and not quick:
        source, shots = _spliced(footage)
    else:
        sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
        from media_factory import draw_film

        options = {"preset": "veryfast", "g": str(GOP), "sc_threshold": "0", "bf": "3"}
        film = draw_film(folder / "drawn.mp4", (24, 40, 30, 26), size=(320, 180), options=options)
        source, shots = film.path, list(zip((0, *film.cuts), (*film.cuts, film.frame_count), strict=True))
    size, clips_bytes = _cut_clips(source, shots, folder)
    told = {"source": str(source), "shots": shots, "size": size}
    (folder / "shots.json").write_text(json.dumps(told))
    return {**told, "clips_bytes": clips_bytes, "source_bytes": source.stat().st_size}


def _spliced(footage: Path) -> tuple[Path, list[tuple[int, int]]]:
    """A film of 78 shots, GOP 48 whatever the cuts; a transition belongs to no shot."""
    from malan.media.index import build_index

    source = footage / "synthetic/spliced_s2_fixedgop.mp4"
    rows = (footage / "synthetic/spliced_s2_fixedgop.shots.csv").read_text().splitlines()[1:]
    edges = [tuple(int(x) for x in row.split(",")[:2]) for row in rows]
    starts = [0, *(end for _, end in edges)]
    ends = [*(start + 1 for start, _ in edges), build_index(source).frame_count]
    return source, [(a, b) for a, b in zip(starts, ends, strict=True) if b - a >= FRAMES]


def _cut_clips(source: Path, shots: list[tuple[int, int]], folder: Path) -> tuple[tuple[int, int], int]:
    """Encode every shot by itself, as the source was, and pack them; returns the size and the bytes written."""
    import av

    rate_bits = round(source.stat().st_size * 8 / _seconds(source))
    with ExitStack() as stack:
        tars = [stack.enter_context(tarfile.open(folder / f"{n}.tar", "w")) for n in range(SHARDS)]
        container = stack.enter_context(av.open(str(source)))
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        frames = container.decode(stream)
        number, size = 0, (stream.codec_context.height, stream.codec_context.width)
        rate = Fraction(stream.average_rate or 25)
        for shot, (first, end) in enumerate(shots):
            out = io.BytesIO()
            with av.open(out, "w", format="mp4") as made:
                options = {
                    "preset": "veryfast",
                    "g": str(GOP),
                    "sc_threshold": "0",
                    "bf": "3",
                    "x264-params": "open-gop=1",
                }
                track = made.add_stream("libx264", rate=rate, options=options)
                track.width, track.height, track.pix_fmt, track.bit_rate = size[1], size[0], "yuv420p", rate_bits
                while number < end:
                    frame = next(frames)
                    if number >= first:
                        frame.pts, frame.time_base, frame.pict_type = number - first, 1 / rate, 0
                        made.mux(track.encode(frame))
                    number += 1
                made.mux(track.encode(None))
            info = tarfile.TarInfo(f"{shot:06}.mp4")
            info.size = out.tell()
            tars[shot % SHARDS].addfile(info, io.BytesIO(out.getvalue()))
    return size, sum((folder / f"{n}.tar").stat().st_size for n in range(SHARDS))


def _seconds(path: Path) -> float:
    import av

    with av.open(str(path)) as container:
        return float((container.duration or 1) / av.time_base)


def limit_per_s(folder: Path) -> float:
    """Windows a second of processor time if decoding from the governing key frame on were all there is to do."""
    import av

    from malan.media.payload import key_packets

    spans = _Spans(folder)
    with av.open(str(spans.path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "SLICE"
        cpu = time.process_time()
        frames = sum(1 for _ in container.decode(stream))
        frame_s = (time.process_time() - cpu) / frames
    keys, shown = key_packets(spans.index), spans.index.shown
    rng = np.random.default_rng(0)
    needed = []
    for first, end in spans.shots.values():
        start = first + int(rng.integers(0, max(1, end - first - FRAMES + 1)))
        packets = shown[start : min(start + FRAMES, end)]
        needed.append(packets.max() + 1 - keys[np.searchsorted(keys, packets[0], "right") - 1])
    return 1 / (float(np.mean(needed)) * frame_s)


# --- the bench ------------------------------------------------------------------------------------------------------


def main() -> None:
    from common import Report, arguments

    options = arguments(__doc__ or "")
    report = Report("Windows for training: 16 frames, 256 px")
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="malan-bench-") as name:
        folder = Path(name)
        told = prepare(folder, options.quick)
        rounds = 1 if options.quick else max(7, options.runs)
        measured = measure(folder, cores, rounds)
        shut_in = Contender("sandbox")
        try:
            passes = shut_in.ask(do="open", folder=name, passes=1 if options.quick else 5).get("passes")
        finally:
            shut_in.close()
        add_rows(report, told, measured, passes, cores, limit_per_s(folder))
    report.notes.append(
        "Windows a second by wall clock, CPU a window over all processes; medians of rounds in turns. The limit is "
        "decoding from the governing key frame to the end of the window and nothing else, on as many processors; a "
        "reader that skips frames nothing needs may come near it in spite of scaling. Bytes are what must be written "
        "before the first window can be read."
    )
    report.show()
    if options.json:
        report.save(options.json)


def measure(folder: Path, workers: int, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Rounds of all contenders, in an order that turns."""
    contenders = {name: Contender(name) for name in ("malan", "torchcodec")}
    try:
        for one in contenders.values():
            one.ask(do="open", folder=str(folder), workers=workers)
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in contenders}
        for turn in range(rounds):
            for name in list(contenders)[:: 1 if turn % 2 else -1]:
                found[name].append(contenders[name].ask(do="read"))
        return {name: [{"failed": one.failed}] if one.failed else found[name] for name, one in contenders.items()}
    finally:
        for one in contenders.values():
            one.close()


def add_rows(
    report: Any,
    told: dict[str, Any],
    measured: dict[str, list[dict[str, Any]]],
    passes: dict[str, list[float]] | None,
    cores: int,
    limit: float,
) -> None:
    mine, peer = measured["malan"], measured["torchcodec"]
    if "failed" in mine[0]:
        raise SystemExit(mine[0]["failed"])
    has_peer = "failed" not in peer[0]
    ratio = float(np.median([b["wall_s"] / a["wall_s"] for a, b in zip(mine, peer, strict=True)])) if has_peer else 1.0
    report.add(
        f"{len(told['shots'])} shots, {cores} processors",
        _shown(mine) + (f" ({ratio:.2f} × peer)" if has_peer else ""),
        peer=_shown(peer) if has_peer else f"none ({peer[0]['failed']})",
        limit=f"{limit * cores:.1f}/s",
        must="≥ 0.9 × peer" if has_peer else "",
        met=ratio >= 0.9 if has_peer else None,
    )
    report.add(
        "written beforehand",
        "0 B",
        peer=f"{told['clips_bytes'] / 1e6:.1f} MB of clips for {told['source_bytes'] / 1e6:.1f} MB",
        must="0 B",
        met=True,
    )
    if passes is None:
        raise SystemExit("no run in the sandbox")
    windows = mine[0]["windows"]
    fresh, cached = float(np.median(passes["fresh"])), float(np.median(passes["cached"]))
    in_process = float(np.median([one["wall_s"] for one in mine]))
    report.add("as a run gets them, in a sandbox", f"{windows / fresh:.1f}/s", limit=f"{windows / in_process:.1f}/s")
    share = cached / fresh
    report.add("an epoch from the run's cache ÷ without", f"{share:.1%}", must="≤ 30 %", met=share <= 0.3)


def _shown(rounds: list[dict[str, Any]]) -> str:
    windows = rounds[0]["windows"]
    wall = float(np.median([one["wall_s"] for one in rounds]))
    cpu = float(np.median([one["cpu_s"] for one in rounds]))
    return f"{windows / wall:.1f}/s, {cpu / windows * 1000:.0f} ms CPU"


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--serve":
        sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
        serve(sys.argv[2])
    else:
        main()
