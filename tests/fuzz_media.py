"""Throws broken files at probe, index, register, decode and audio: only a `MalanError` may come out, and soon.

    python tests/fuzz_media.py --minutes 30 [--keep FOLDER] [--seed N]

Every case follows from one number, so a failure is found again by that number. Cases run in a child process with a
limit on memory; one that dies or hangs is reported with its number, and the rest goes on. Start at `break_file`.
"""

from __future__ import annotations

import argparse
import os
import resource
import select
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from damage_factory import LONG_GOP, remux, tone, write_picture, write_sound, write_wav
from media_factory import draw_film

from malan.core.errors import MalanError
from malan.media import FrameDecoder, PacketIndex, audio_blocks, build_index, probe, register

MEMORY_BYTES = 3 << 30
CASE_SECONDS = 20
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF)


def draw_seeds(folder: Path) -> list[Path]:
    """Small good files of every kind."""
    films = {
        "a.mp4": ("libx264", LONG_GOP),
        "a.mkv": ("libx264", LONG_GOP),
        "a.ts": ("libx264", LONG_GOP),
        "a.avi": ("mpeg4", {"bf": "2", "g": "12"}),
        "b.avi": ("libx264", LONG_GOP),
        "a.webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
        "a.mxf": ("mpeg2video", {"g": "12"}),
        "b.ts": ("mpeg2video", {"bf": "2", "g": "12"}),
        "a.gif": ("gif", {}),
        "a.h264": ("libx264", LONG_GOP),
    }
    for name, (codec, options) in films.items():
        pixels = "rgb8" if codec == "gif" else "yuv420p"
        sound = name in {"a.mp4", "a.mkv", "a.ts"}
        draw_film(
            folder / name, (10, 12), size=(96, 54), codec=codec, options=options, pixel_format=pixels, audio=sound
        )
    remux(folder / "a.mp4", folder / "fast.mp4", options={"movflags": "faststart"})
    remux(folder / "a.mp4", folder / "parts.mp4", options={"movflags": "frag_keyframe+empty_moov"})
    for name in ("a.mp3", "a.flac", "a.ogg", "a.m4a"):
        write_sound(folder / name, tone(1, channels=2))
    write_wav(folder / "a.wav")
    write_picture(folder / "a.jpg")
    write_picture(folder / "a.png", codec="png", pixels="rgb24")
    write_picture(folder / "a.webp", codec="libwebp", pixels="yuv420p")
    return sorted(folder.iterdir())


def break_file(seeds: list[bytes], number: int) -> bytes:
    """The broken file of a case number: one good file after one to four kinds of damage."""
    rng = np.random.default_rng(number)
    data = bytearray(seeds[int(rng.integers(len(seeds)))])
    other = seeds[int(rng.integers(len(seeds)))]
    for _ in range(int(rng.integers(1, 5))):
        kind = KINDS[int(rng.integers(len(KINDS)))]
        kind(data, other, rng)
    return bytes(data)


Kind = Callable[[bytearray, bytes, np.random.Generator], None]


def _flip_bits(data: bytearray, _other: bytes, rng: np.random.Generator) -> None:
    for place in rng.integers(0, max(1, len(data)), int(rng.integers(1, 40))):
        if data:
            data[place % len(data)] ^= 1 << int(rng.integers(8))


def _flip_in_header(data: bytearray, _other: bytes, rng: np.random.Generator) -> None:
    for place in rng.integers(0, 1500, int(rng.integers(1, 10))):
        if data:
            data[place % len(data)] = int(rng.integers(256))


def _flip_at_end(data: bytearray, _other: bytes, rng: np.random.Generator) -> None:
    for place in rng.integers(1, 1500, int(rng.integers(1, 10))):
        if data:
            data[-(int(place) % len(data) or 1)] = int(rng.integers(256))


def _extreme_number(data: bytearray, _other: bytes, rng: np.random.Generator) -> None:
    width, value = int(rng.choice([2, 4, 8])), EXTREMES[int(rng.integers(len(EXTREMES)))]
    place = _place(data, rng)
    data[place : place + width] = bytes([value]) * width


def _cut(data: bytearray, _other: bytes, rng: np.random.Generator) -> None:
    del data[_place(data, rng) :]


def _cut_in_front(data: bytearray, _other: bytes, rng: np.random.Generator) -> None:
    del data[: _place(data, rng) // 2]


def _cut_out(data: bytearray, _other: bytes, rng: np.random.Generator) -> None:
    place = _place(data, rng)
    del data[place : place + int(rng.integers(1, 2000))]


def _insert(data: bytearray, other: bytes, rng: np.random.Generator) -> None:
    start = _place(other, rng)
    place = _place(data, rng)
    data[place:place] = other[start : start + int(rng.integers(1, 5000))]


def _repeat(data: bytearray, _other: bytes, rng: np.random.Generator) -> None:
    place = _place(data, rng)
    data[place:place] = data[place : place + int(rng.integers(1, 3000))] * int(rng.integers(1, 4))


KINDS: list[Kind] = [
    _flip_bits,
    _flip_in_header,
    _flip_at_end,
    _extreme_number,
    _cut,
    _cut_in_front,
    _cut_out,
    _insert,
    _repeat,
]


def _place(data: bytes | bytearray, rng: np.random.Generator) -> int:
    return int(rng.integers(0, len(data))) if len(data) else 0


def try_file(path: Path) -> None:
    """Everything Malan does with a file it has just met. A `MalanError` is an answer; all else is a defect."""
    for step in (probe, build_index, _register, _listen):
        try:
            step(path)
        except MalanError as error:
            error.message("zh")
            error.hint("en")


def _register(path: Path) -> None:
    found = register(path)
    if found.index is None:
        return
    index = PacketIndex.from_bytes(found.index.to_bytes())
    if not index.frame_count:
        return
    with FrameDecoder(path, index, threads="one") as decoder:
        for first in {0, index.frame_count // 2}:
            for number, _ in decoder.frames(first, first + 3):
                index.span(number, number + 1)


def _listen(path: Path) -> None:
    for block in audio_blocks(path):
        if block.end < block.start:
            raise AssertionError("a block ends before it starts")


@dataclass
class Findings:
    """What a run found."""

    cases: int = 0
    defects: dict[int, str] = field(default_factory=dict)


def fuzz(
    seeds: list[Path], first: int, *, most: int | None = None, seconds: float | None = None, keep: Path | None = None
) -> Findings:
    """Run cases from a number on, until there are enough or time is up."""
    found, number = Findings(), first
    ends = None if seconds is None else time.monotonic() + seconds
    while (most is None or number < first + most) and (ends is None or time.monotonic() < ends):
        left = None if most is None else first + most - number
        number = _run_child(seeds, number, left, ends, found)
    if keep is not None and found.defects:
        keep.mkdir(parents=True, exist_ok=True)
        contents = [path.read_bytes() for path in seeds]
        for case, story in found.defects.items():
            (keep / f"{case}.bin").write_bytes(break_file(contents, case))
            (keep / f"{case}.txt").write_text(story)
    return found


def _run_child(seeds: list[Path], number: int, most: int | None, ends: float | None, found: Findings) -> int:
    """Feed one child until it is done, dies or hangs; gives the next case number."""
    command = [sys.executable, __file__, "--child", str(number), "--most", str(most or -1), *map(str, seeds)]
    with tempfile.TemporaryFile() as noise, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=noise) as child:
        buffer, running, ready = b"", number - 1, select.poll()
        ready.register(child.stdout, select.POLLIN)
        while ends is None or time.monotonic() < ends:
            if not ready.poll(CASE_SECONDS * 1000):
                found.defects[running] = f"hangs for more than {CASE_SECONDS} s"
                break
            chunk = os.read(child.stdout.fileno(), 1 << 16)
            if not chunk:
                break
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in lines:
                kind, case, *story = line.decode("utf-8", "replace").split(" ", 2)
                running = int(case)
                found.cases += kind == "case"
                if kind == "defect":
                    found.defects[running] = story[0].replace("\\n", "\n")
        _end(child)
        if child.returncode not in (0, -15, -9) and running not in found.defects:
            noise.seek(0)
            found.defects[running] = f"died with {child.returncode}: {noise.read()[-2000:].decode('utf-8', 'replace')}"
        return running + 1


def _end(child: subprocess.Popen[bytes]) -> None:
    try:
        child.wait(timeout=0.5)
    except subprocess.TimeoutExpired:
        child.terminate()
        try:
            child.wait(timeout=2)
        except subprocess.TimeoutExpired:
            child.kill()


def _child(first: int, most: int, seeds: list[Path]) -> None:
    """Run cases one after the other, telling each before it begins."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    contents = [path.read_bytes() for path in seeds]
    out = os.fdopen(os.dup(1), "w", buffering=1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case"
        number = first
        while most < 0 or number < first + most:
            print("case", number, file=out)
            if os.environ.get("MALAN_FUZZ_DIE_AT") == str(number):  # to test the parent
                os.abort()
            path.write_bytes(break_file(contents, number))
            try:
                try_file(path)
            except BaseException:
                print("defect", number, traceback.format_exc().replace("\n", "\\n"), file=out)
            number += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--keep", type=Path, help="write the files that failed here")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--most", type=int, default=-1, help=argparse.SUPPRESS)
    parser.add_argument("seeds", nargs="*", type=Path, help="good files to break; small ones are drawn by default")
    given = parser.parse_args()
    if given.child is not None:
        _child(given.child, given.most, given.seeds)
        return
    with tempfile.TemporaryDirectory() as folder:
        seeds = given.seeds or draw_seeds(Path(folder))
        found = fuzz(seeds, given.seed * 1_000_000, seconds=given.minutes * 60, keep=given.keep)
    sys.stdout.write(f"{found.cases} cases, {len(found.defects)} defects\n")
    for case, story in found.defects.items():
        sys.stdout.write(f"\n--- case {case}\n{story}\n")
    sys.exit(1 if found.defects else 0)


if __name__ == "__main__":
    main()
