"""What taking in a file costs: register and packet index against a plain demux and against hashing the same bytes.

python bench/bench_index.py [--quick] [--json OUT]
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from common import Report, arguments, footage_folder, median_cost

from malan.media import PacketIndex, build_index, register

HOUR_S = 3600
BYTES_PER_FRAME_MUST = 6
PLAIN_BYTES = 8 + 8 + 4 + 8 + 1
REGISTER_MUST = 1.25  # times a plain demux and a hash of the same file, one after the other
MEMORY_MUST_MB = 1500

MEASURE_MEMORY = """
import re, sys
from malan.media import register
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
before = peak()
found = register(sys.argv[1])
sys.stdout.write(f"{found.index.frame_count} {before} {peak()}")
"""


def main() -> None:
    given = arguments(__doc__ or "")
    report = Report("Register and packet index")
    with tempfile.TemporaryDirectory() as folder:
        for source, hours in _films(Path(folder), given.quick):
            _measure(report, source, hours, 1 if given.quick else given.runs)
        for path in _real_films(Path(folder)):
            _measure_size(report, path)
        _measure_memory(report, Path(folder), 0.2 if given.quick else 10)
    report.notes.append("CPU seconds count; a plain demux is PyAV reading every packet of every track and its fields.")
    report.show()
    if given.json:
        report.save(given.json)


def _films(folder: Path, quick: bool) -> list[tuple[Path, float]]:
    """Real films, repeated without a new encode until they last about an hour."""
    footage = footage_folder()
    if footage is None:
        return [(_drawn(folder), 0)]
    hours = 0.1 if quick else 1
    made = []
    for name in ("synthetic/spliced_s1_scenecut.mp4", "video/bbb_1b_360p.mp4"):
        for suffix in (".mp4", ".mkv") if not quick else (".mp4",):
            target = folder / (Path(name).stem + suffix)
            made.append((repeated(footage / name, target, hours), hours))
    made.append((footage / "derived/bbb_ntsc_480i_telecine.ts", 0))
    return made


def _real_films(folder: Path) -> list[Path]:
    """Films as they came: repeating one would make its index repeat too."""
    footage = footage_folder()
    names = ("synthetic/spliced_s1_scenecut.mp4", "synthetic/spliced_s2_fixedgop.mp4", "video/bbb_1b_360p.mp4")
    more = ("derived/bbb_ntsc_480i_telecine.ts", "derived/sintel_multitrack.mkv", "video/bbb_0_30_vp8.webm")
    return [_drawn(folder)] if footage is None else [footage / name for name in names + more]


def _drawn(folder: Path) -> Path:
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from media_factory import draw_film

    return draw_film(folder / "drawn.mp4", (500, 500), audio=True).path


def repeated(source: Path, target: Path, hours: float) -> Path:
    """The packets of a film over and over, times running on, until it lasts this long."""
    with av.open(str(source)) as first:
        length = Fraction(first.duration, av.time_base)
    rounds = max(1, round(hours * HOUR_S / length))
    with av.open(str(target), "w") as new:
        copies: dict[int, av.stream.Stream] = {}
        for turn in range(rounds):
            with av.open(str(source)) as old:
                streams = [s for s in old.streams if s.type in ("video", "audio")]
                for stream in streams:
                    if stream.index not in copies:
                        copies[stream.index] = new.add_stream_from_template(stream)
                for packet in old.demux(streams):
                    if packet.dts is None:
                        continue
                    shift = round(turn * (length + Fraction(1, 10)) / packet.time_base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = copies[packet.stream_index]
                    new.mux(packet)
    return target


def _measure(report: Report, path: Path, hours: float, runs: int) -> None:
    hashing, _ = median_cost(lambda: sha256(path), runs)
    plain, packets = median_cost(lambda: demux(path), runs)
    indexing, index = median_cost(lambda: build_index(path), runs)
    taking, _ = median_cost(lambda: register(path), runs)
    lasts = hours or float(index.span(0, index.frame_count).duration) / HOUR_S
    name = f"{path.name}, {lasts:.2f} h, {path.stat().st_size / 1e6:.0f} MB, {packets} packets"
    both = plain.cpu_s + hashing.cpu_s
    report.add(
        f"register: {name}",
        f"{taking.cpu_s / lasts * 1000:.0f} ms CPU ({taking.wall_s / lasts * 1000:.0f} wall) an hour",
        peer=f"demux, then hash: {both / lasts * 1000:.0f} ms ({taking.cpu_s / both:.2f} ×)",
        limit=f"hash alone: {hashing.cpu_s / lasts * 1000:.0f} ms",
        must=f"≤ {REGISTER_MUST} × peer" if hours else "",
        met=taking.cpu_s <= REGISTER_MUST * both if hours else None,
    )
    report.add(
        f"index: {path.name}",
        f"{indexing.cpu_s / lasts * 1000:.0f} ms CPU an hour",
        peer=f"plain demux: {plain.cpu_s / lasts * 1000:.0f} ms",
        limit=f"hash alone: {hashing.cpu_s / lasts * 1000:.0f} ms",
    )


def _measure_size(report: Report, path: Path) -> None:
    index = build_index(path)
    size = len(index.to_bytes()) / index.packet_count
    report.add(
        f"stored index: {path.name}, {index.packet_count} frames",
        f"{size:.2f} bytes a frame",
        limit=f"plain columns: {PLAIN_BYTES}",
        must=f"≤ {BYTES_PER_FRAME_MUST}",
        met=size <= BYTES_PER_FRAME_MUST,
    )


def _measure_memory(report: Report, folder: Path, hours: float) -> None:
    path = tiny_long_film(folder / "long.mp4", hours)
    done = subprocess.run([sys.executable, "-c", MEASURE_MEMORY, str(path)], capture_output=True, text=True, check=True)
    frames, before, after = map(int, done.stdout.split())
    (pack, data), (unpack, _) = _packing(build_index(path))
    report.add(
        f"memory to register {hours} h at 60 frames a second ({frames} frames)",
        f"{after / 1024:.0f} MB",
        limit=f"the imports alone: {before / 1024:.0f} MB",
        must=f"≤ {MEMORY_MUST_MB} MB",
        met=after / 1024 <= MEMORY_MUST_MB,
    )
    report.add("pack and unpack its index", f"{pack:.2f} s and {unpack:.2f} s CPU, {data / 1e6:.1f} MB")


def _packing(index: PacketIndex) -> tuple[tuple[float, int], tuple[float, int]]:
    pack, data = median_cost(index.to_bytes, 1)
    unpack, again = median_cost(lambda: PacketIndex.from_bytes(data), 1)
    return (pack.cpu_s, len(data)), (unpack.cpu_s, again.packet_count)


def tiny_long_film(path: Path, hours: float) -> Path:
    """A film of very many, very small packets: what an index of ten hours is like, without the bytes."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=60, options={"preset": "ultrafast", "g": "120"})
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        packets = []
        for number in range(120):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), number * 2, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 60)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        contents = [(bytes(p), p.is_keyframe, p.pts, p.dts, p.time_base) for p in packets]
        first = packets[0]
        for turn in range(int(hours * HOUR_S / 2)):
            for data, is_key, pts, dts, base in contents:
                packet = av.Packet(data)
                shift = int(turn * 2 / base)
                packet.pts, packet.dts, packet.time_base, packet.stream = pts + shift, dts + shift, base, first.stream
                packet.is_keyframe = is_key
                container.mux(packet)
    return path


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def demux(path: Path) -> int:
    """Every packet of every track, and the fields an index needs of it."""
    count = 0
    with av.open(str(path)) as container:
        for packet in container.demux():
            _ = packet.pts, packet.dts, packet.size, packet.pos, packet.is_keyframe
            count += 1
    return count


if __name__ == "__main__":
    main()
