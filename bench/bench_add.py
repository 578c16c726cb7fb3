"""Adding 10,000 files and one of ten hours: files a second beside a bare read, and memory of all processes together.

`--long` scans films of two and ten hours with sound and captions, one and two at once; else they last half an hour.

The limit is SHA-256 over the same files, read one after another: nothing that names files by their bytes can be
faster on one core. The peer is what other libraries do at import: open each file with libav and look at its header,
without reading it. Memory is the sum of the resident sizes of the command and all its workers, the highest of
samples taken every 50 ms.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from common import Report, arguments, measure

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from caption_film import Burned, draw_captions
from media_factory import draw_film

MOST_MB = 1536
_PARTS, _PART_S = 6, 20  # a long film repeats so many scenes of so many seconds
_SHOTS = (100, 60, 140, 75, 125)
_WORDS = (
    "harbour",
    "river",
    "morning",
    "answer",
    "window",
    "letter",
    "summer",
    "winter",
    "station",
    "garden",
    "brother",
)


def main() -> None:
    options = arguments(__doc__ or "", long="scan films of 2 and 10 hours whole, then two at once (takes hours)")
    report = Report("Adding footage")
    with tempfile.TemporaryDirectory(prefix="malan-bench-") as name:
        folder = Path(name)
        many_files(report, folder, 200 if options.quick else 10_000)
        one_long_file(report, folder, 40 if options.quick else 36_000)
        for seconds in (40,) if options.quick else (7200, 36_000) if options.long else (1800,):
            whole_scan(report, folder, seconds, films=1)
            whole_scan(report, folder, seconds, films=2)
    report.show()
    if options.json:
        report.save(options.json)


def many_files(report: Report, folder: Path, count: int) -> None:
    """A folder of small films, each with bytes of its own."""
    draw_many(folder / "many", count)
    files = sorted((folder / "many").rglob("*.mp4"))
    size_mb = sum(file.stat().st_size for file in files) / 1e6
    hashed, _ = measure(lambda: [digest(file) for file in files])
    headers, _ = measure(lambda: [look_at_header(file) for file in files])
    workspace = folder / "workspace"
    first, (said, peak_mb) = measure(lambda: malan("asset", "add", folder / "many", "--owner", "湖南台", at=workspace))
    assert len(said["added"]) == count, f"{len(said['added'])} of {count} added"
    rate, limit, peer = count / first.wall_s, count / hashed.wall_s, count / headers.wall_s
    report.add(
        f"add {count} files ({size_mb:.0f} MB): files/s wall",
        f"{rate:.0f} ({1000 * first.cpu_s / count:.2f} ms CPU a file)",
        peer=f"header only: {peer:.0f} ({1000 * headers.cpu_s / count:.2f} ms CPU)",
        limit=f"SHA-256: {limit:.0f} ({1000 * hashed.cpu_s / count:.2f} ms CPU)",
    )
    report.add(
        "memory while adding, all processes", f"{peak_mb:.0f} MB", must=f"≤ {MOST_MB} MB", met=peak_mb <= MOST_MB
    )
    second, (said, _) = measure(lambda: malan("asset", "add", folder / "many", "--owner", "湖南台", at=workspace))
    assert len(said["known"]) == count
    known = count / second.wall_s
    report.add(f"add the same {count} again: files/s wall", f"{known:.0f}", must="nothing read", met=known > rate)
    shutil.rmtree(folder / "many")


def one_long_file(report: Report, folder: Path, seconds: int) -> None:
    """One film of many hours, made by copying the packets of a minute."""
    path = folder / "long.mkv"
    draw_long(path, seconds)
    workspace = folder / "workspace of one"
    hashed, _ = measure(lambda: digest(path))
    cost, (_, peak_mb) = measure(lambda: malan("asset", "add", path, "--owner", "湖南台", at=workspace))
    hours = seconds / 3600
    report.add(
        f"add one film of {hours:.2g} h ({path.stat().st_size / 1e6:.0f} MB)",
        f"{cost.wall_s:.1f} s, {cost.cpu_s:.1f} s CPU",
        limit=f"SHA-256: {hashed.cpu_s:.1f} s CPU",
    )
    report.add("memory while adding it", f"{peak_mb:.0f} MB", must=f"≤ {MOST_MB} MB", met=peak_mb <= MOST_MB)
    cost, (said, peak_mb) = measure(lambda: malan("asset", "scan", "--no-captions", at=workspace))
    clips = said["scanned"][0]["clips"]
    report.add(f"scan it without captions ({clips} shots)", f"{cost.wall_s:.1f} s, {cost.cpu_s:.1f} s CPU")
    report.add("memory while scanning it", f"{peak_mb:.0f} MB", must=f"≤ {MOST_MB} MB", met=peak_mb <= MOST_MB)


def whole_scan(report: Report, folder: Path, seconds: int, films: int) -> None:
    """Films with sound and captions, scanned with both, at once: whatever they gather must not stay in memory."""
    place = folder / f"{films} of {seconds}"
    place.mkdir()
    for number in range(films):
        draw_long(place / f"{number}.mkv", seconds, seed=7 + number)
    workspace = place / "workspace"
    malan("asset", "add", place, "--owner", "湖南台", at=workspace)
    cost, (said, peak_mb) = measure(lambda: malan("asset", "scan", at=workspace))
    assert len(said["scanned"]) == films, f"{len(said['scanned'])} of {films} scanned"
    found = sum(scanned["findings"] for scanned in said["scanned"])
    report.add(
        f"scan {films} of {seconds / 3600:.2g} h at once, with sound and captions ({found} findings): memory",
        f"{peak_mb:.0f} MB; {cost.wall_s:.0f} s, {cost.cpu_s:.0f} s CPU",
        must=f"≤ {MOST_MB} MB",
        met=peak_mb <= MOST_MB,
    )
    shutil.rmtree(place)


def malan(*words: Any, at: Path) -> tuple[dict[str, Any], float]:
    """Run a command; its JSON, and the most memory it and its workers had together, MB."""
    command = [sys.executable, "-m", "malan", *map(str, words), "--workspace", str(at), "--json"]
    with tempfile.TemporaryFile() as answer:
        process = subprocess.Popen(command, stdout=answer)
        with watched(process.pid) as peak:
            process.wait()
        answer.seek(0)
        assert process.returncode == 0, f"{words} ended with {process.returncode}"
        return json.load(answer), peak[0] / 1e6


@contextmanager
def watched(pid: int) -> Iterator[list[int]]:
    """The highest resident size of a process and all below it so far, in bytes."""
    peak, over = [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            peak[0] = max(peak[0], sum(map(resident_bytes, family(pid))))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()


def family(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []
    return [pid, *(member for child in children for member in family(child))]


def resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def look_at_header(path: Path) -> int:
    with av.open(str(path)) as container:
        return len(container.streams)


def draw_many(folder: Path, count: int) -> None:
    """Copies of one film, each with its number in an empty box behind the end."""
    folder.mkdir()
    film = draw_film(folder / "film.mp4", (25, 25), size=(160, 96), audio=True).path
    content = film.read_bytes()
    film.unlink()
    for number in range(count):
        place = folder / f"{number // 100:03}"
        place.mkdir(exist_ok=True)
        (place / f"{number:05}.mp4").write_bytes(content + b"\0\0\0\x10free" + number.to_bytes(8, "big"))


def draw_long(path: Path, seconds: int, seed: int = 7) -> None:
    """Some minutes of film with cuts, burned-in captions and sound, their packets copied end to end."""
    parts = min(_PARTS, -(-seconds // _PART_S))
    sound = draw_film(path.with_name("sound.mp4"), (parts * _PART_S * 25,), size=(64, 36), audio=True).path
    scenes = [draw_scene(path.with_name(f"scene{part}.mp4"), seed + 100 * part) for part in range(parts)]
    with av.open(str(scenes[0])) as first, av.open(str(sound)) as heard, av.open(str(path), "w") as target:
        sources = first.streams.video[0], heard.streams.audio[0]
        tracks = [target.add_stream_from_template(source) for source in sources]
        packets = [p for part, scene in enumerate(scenes) for p in read_stored(scene, 0, part * _PART_S)]
        packets = sorted([*packets, *read_stored(sound, 1, 0)], key=lambda p: p.dts_s)
        for turn in range(max(1, seconds // (parts * _PART_S))):
            for stored in packets:
                target.mux(stored.packet(tracks[stored.track], sources, turn * parts * _PART_S))
    for file in (sound, *scenes):
        file.unlink()


def draw_scene(path: Path, seed: int) -> Path:
    """Some seconds of moving pictures with a caption every three."""
    words = [f"{_WORDS[(seed + i) % len(_WORDS)]} {_WORDS[(seed * 7 + i) % len(_WORDS)]}?" for i in range(6)]
    texts = [Burned(text, 75 * i + 10, 75 * i + 70, size_px=26) for i, text in enumerate(words)]
    return draw_captions(path, texts, _SHOTS, size=(480, 270), seed=seed)


@dataclass(frozen=True)
class Stored:
    """A packet of the picture (track 0) or of the sound (1), to be written many times."""

    track: int
    pts: int
    dts: int
    dts_s: float
    is_key: bool
    data: bytes

    def packet(self, track: Any, sources: Any, at_s: int) -> av.Packet[Any]:
        """The packet, moved back by so many seconds."""
        timebase = sources[self.track].time_base
        shift = round(at_s / timebase)
        packet = av.Packet(self.data)
        packet.pts, packet.dts, packet.time_base = self.pts + shift, self.dts + shift, timebase
        packet.is_keyframe, packet.stream = self.is_key, track
        return packet


def read_stored(path: Path, track: int, at_s: int) -> Iterator[Stored]:
    with av.open(str(path)) as container:
        stream = container.streams[-1] if track else container.streams.video[0]
        shift = round(at_s / stream.time_base)
        length_s = _PART_S if track == 0 else 1 << 30
        for packet in container.demux(stream):
            if packet.size and packet.pts is not None and packet.dts is not None and packet.pts >= 0:
                pts, dts = packet.pts + shift, packet.dts + shift
                if packet.dts * stream.time_base < length_s:
                    yield Stored(track, pts, dts, float(dts * stream.time_base), packet.is_keyframe, bytes(packet))


if __name__ == "__main__":
    main()
