"""Picture to video: five seconds of parallax at 1080p25 from a photograph of twelve megapixels, its depth given.

Beside it, in the same run: encoding the very same frames and nothing else (the limit), ffmpeg's zoompan from the same
photograph (the peer), and decoding and encoding a finished film. How steady a slow push is, is measured on both.
"""

from __future__ import annotations

import itertools
import statistics
import subprocess
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from common import Report, arguments, measure, median_cost, peak_rss_mb
from imageio_ffmpeg import get_ffmpeg_exe
from numpy.typing import NDArray
from PIL import Image

from malan.media.motion import (
    Wish,
    flat,
    make_scene,
    read_photo,
    read_plane,
    read_with_map,
    relief_from_map,
    shoot,
    weight_of,
)
from malan.media.motion.film import encoder
from malan.media.motion.scene import Scene
from malan.media.motion.shoot import frames_of

RATE = Fraction(25)
MOST_RATIO, LEAST_PSNR = 3.0, 40.0


def main() -> None:
    options = arguments(__doc__ or "")
    size, photo, seconds = ((640, 360), (1600, 1200), 1.0) if options.quick else ((1920, 1080), (4000, 3000), 5.0)
    report = Report(f"Picture to video: {seconds:g} s at {size[0]} × {size[1]} from {photo[0]} × {photo[1]}")
    with tempfile.TemporaryDirectory(prefix="malan-bench-") as folder:
        _bench(Path(folder), size, photo, seconds, 1 if options.quick else options.runs, report)
    report.add("peak memory", f"{peak_rss_mb():.0f} MB")
    report.show()
    if options.json:
        report.save(options.json)


def _bench(place: Path, size: tuple[int, int], photo: tuple[int, int], seconds: float, runs: int, out: Report) -> None:
    jpeg, depth = draw(place, photo)
    wish = Wish("orbit", round(seconds * RATE), seconds, size, depth=1.0)
    scene = _film(jpeg, depth, wish, place / "ours.mp4")
    raw = place / "frames.yuv"
    with raw.open("wb") as file:
        for frame in frames_of(scene, wish):
            file.writelines(plane.tobytes() for plane in (frame.y, frame.u, frame.v))
    turns = [
        (
            measure(lambda: _film(jpeg, depth, wish, place / "ours.mp4"))[0],
            measure(lambda: _encode(raw, size, place / "limit.mp4"))[0],
        )
        for _ in range(runs)
    ]  # in turns: ratios are taken within one, for a shared machine is not equally fast all the time
    wall = statistics.median(ours.wall_s / limit.wall_s for ours, limit in turns)
    cpu = statistics.median(ours.cpu_s / limit.cpu_s for ours, limit in turns)
    ours, limit = sorted(turns, key=lambda turn: turn[0].wall_s)[len(turns) // 2]
    peer, _ = median_cost(lambda: _zoompan(jpeg, size, seconds, place / "peer.mp4"), runs)
    both, _ = median_cost(lambda: _again(place / "ours.mp4", place / "again.mp4"), runs)
    out.add(
        "parallax, wall", f"{ours.wall_s:.2f} s ({wall:.2f} ×)", peer=f"zoompan {peer.wall_s:.2f} s",
        limit=f"encode only {limit.wall_s:.2f} s; decode + encode {both.wall_s:.2f} s", must="≤ 3 × encode only",
        met=wall <= MOST_RATIO,
    )  # fmt: skip
    out.add(
        "parallax, CPU", f"{ours.cpu_s:.2f} s ({cpu:.2f} ×)", peer=f"zoompan {peer.cpu_s:.2f} s",
        limit=f"encode only {limit.cpu_s:.2f} s; decode + encode {both.cpu_s:.2f} s",
    )  # fmt: skip
    holes = count_holes(wish, photo, depth)
    out.add("pixels without a picture, all frames", str(holes), must="0", met=holes == 0)
    _psnr(jpeg, scene, size, place / "ours.mp4", out)
    _jitter(jpeg, size, place, out)


def draw(place: Path, size: tuple[int, int]) -> tuple[Path, Path]:
    """A photograph-like picture, and its depth: ridges of hills with grain, pillars before them, lens noise."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / height
    rng = np.random.default_rng(1)
    grain = cv2.resize(rng.standard_normal((height // 6, width // 6)).astype(np.float32), size)
    picture = np.dstack([150 + 80 * y, 175 + 60 * y, 215 + 30 * y])
    depth = np.zeros((height, width), np.float32)
    for number in range(4):
        line = 0.42 + 0.13 * number + 0.05 * np.sin(x * (4 + 2 * number) + number)
        pillar = np.abs((x * (1.3 + 0.4 * number) + 0.3 * number) % 1 - 0.5) < 0.12
        line = np.where(pillar, line - 0.16, line)
        inside = y > line
        shade = np.asarray((120, 130, 125)) * (1 - number / 5) + np.asarray((40, 60, 35)) * (number / 5)
        picture = np.where(inside[..., None], shade + (14 + 4 * number) * grain[..., None], picture)
        depth = np.where(inside, 0.2 + 0.22 * number + 0.05 * y, depth)
    picture += rng.normal(0, 2.0, (height, width, 1))
    Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(place / "photo.jpg", quality=93)
    Image.fromarray((np.clip(depth, 0, 1) * 65_535).astype(np.uint16)).save(place / "depth.png")
    return place / "photo.jpg", place / "depth.png"


def _film(jpeg: Path, depth: Path, wish: Wish, out: Path) -> Scene:
    photo, plane = read_with_map(jpeg, depth, enough_px=round(2.2 * max(wish.size)))
    pixels = photo.pixels_HWC
    scene = make_scene(pixels, relief_from_map(pixels, plane), weight_of(pixels), wish)
    shoot(scene, wish, out, RATE)
    return scene


def _run(arguments: list[str]) -> None:
    subprocess.run([get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y", *arguments], check=True)


def _encode(raw: Path, size: tuple[int, int], out: Path) -> None:
    shape = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{size[0]}x{size[1]}", "-r", "25"]
    _run([*shape, "-i", str(raw), *encoder(RATE), str(out)])


def _zoompan(jpeg: Path, size: tuple[int, int], seconds: float, out: Path) -> None:
    move = f"zoompan=z='1+0.09*on/{seconds * 25:g}':d={seconds * 25:g}:s={size[0]}x{size[1]}:fps=25"
    centred = f"{move}:x='iw/2-iw/zoom/2':y='ih/2-ih/zoom/2'"
    _run(["-i", str(jpeg), "-vf", f"crop=iw:iw*9/16,{centred},format=yuv420p", *encoder(RATE), str(out)])


def _again(film: Path, out: Path) -> None:
    _run(["-i", str(film), *encoder(RATE), str(out)])


def count_holes(wish: Wish, photo: tuple[int, int], depth: Path) -> int:
    """Pixels of a white picture's film that are not white."""
    white = np.full((photo[1] // 2, photo[0] // 2, 3), 255, np.uint8)
    scene = make_scene(white, relief_from_map(white, read_plane(depth)), np.ones((12, 16), np.float32), wish)
    return sum(int((frame.y < 233).sum()) for frame in frames_of(scene, wish))


def _psnr(jpeg: Path, scene: Scene, size: tuple[int, int], film: Path, out: Report) -> None:
    """Luma of the first frame, drawn and encoded, against the part of the photograph it shows."""
    (x, y), per = scene.framed.middle, scene.framed.per_px
    box = (x - size[0] * per / 2, y - size[1] * per / 2, x + size[0] * per / 2, y + size[1] * per / 2)
    with Image.open(jpeg) as picture:
        framed = np.asarray(picture.resize(size, Image.Resampling.BICUBIC, box=box), np.float64)
    wanted = 16 + framed @ (0.182586, 0.614231, 0.062007)
    drawn = _decibels(scene.stage.draw(scene.path[0]).y, wanted)
    encoded = _decibels(_luma(film, size, 1)[0], wanted)
    out.add("first frame against the picture framed, PSNR of luma", f"{drawn:.1f} dB", must="≥ 40 dB",
            met=drawn >= LEAST_PSNR)  # fmt: skip
    out.add("the same after encoding", f"{encoded:.1f} dB", must="≥ 40 dB", met=encoded >= LEAST_PSNR)


def _decibels(a: NDArray[Any], b: NDArray[Any]) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(np.float64) - b) ** 2)))


def _luma(film: Path, size: tuple[int, int], count: int) -> NDArray[np.uint8]:
    command = [get_ffmpeg_exe(), "-v", "error", "-i", str(film), "-frames:v", str(count), "-f", "rawvideo"]
    done = subprocess.run([*command, "-pix_fmt", "yuv420p", "-"], capture_output=True, check=True)
    frames = np.frombuffer(done.stdout, np.uint8).reshape(-1, size[1] * 3 // 2, size[0])
    return frames[:, : size[1]]


def _jitter(jpeg: Path, size: tuple[int, int], place: Path, out: Report) -> None:
    """A slow push, both ways: how far a patch off the middle strays from the smooth curve through its places."""
    pixels = read_photo(jpeg).pixels_HWC
    wish = Wish("push", 75, 3.0, size)
    scene = make_scene(pixels, flat(pixels.shape[1::-1]), np.ones((12, 16), np.float32), wish)
    shoot(scene, wish, place / "push.mp4", RATE)
    _zoompan(jpeg, size, 3.0, place / "zoompan.mp4")
    ours, theirs = (_stray(_luma(place / name, size, 75)) for name in ("push.mp4", "zoompan.mp4"))
    out.add("jitter of a slow push, rms", f"{ours:.3f} px", peer=f"zoompan {theirs:.3f} px", must="≤ zoompan",
            met=ours <= theirs)  # fmt: skip


def _stray(frames: NDArray[np.uint8]) -> float:
    height, width = frames.shape[1:]
    patch = frames[:, height // 8 : height // 8 + height // 3, width // 10 : width // 10 + width // 3].astype(
        np.float32
    )
    window = cv2.createHanningWindow(patch.shape[:0:-1], cv2.CV_32F)
    steps = [cv2.phaseCorrelate(a, b, window)[0] for a, b in itertools.pairwise(patch[12:-12])]
    at = np.cumsum(np.asarray(steps), axis=0)
    when = np.linspace(-1, 1, len(at))
    smooth = np.stack([np.polyval(np.polyfit(when, at[:, axis], 4), when) for axis in (0, 1)], axis=1)
    return float(np.sqrt(np.mean((at - smooth) ** 2)))


if __name__ == "__main__":
    main()
