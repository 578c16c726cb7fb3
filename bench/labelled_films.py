"""Draws films of which is known, shot by shot, what a person would say: time of day, place, shot size, camera.

The demo's painters give the places; light, a person of some size before the camera and the camera's way are drawn
independently of them, so that no set follows from another. Every film has a grade of its own, as real ones have. Start
at `draw_films`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from malan.services.demo.paint import Stage, render
from malan.services.demo.scenes import SCENES

SIZE, RATE = (320, 180), 25
SETS = ("day-night", "in-out", "shot-size", "camera")
_OUTDOORS = ("karst_peaks", "sea_sunrise", "tea_hills", "snow_ridge", "street_day", "dusk_river", "forest_light")
_NIGHTS = ("night_city", "neon_rain")
_HEADS = {"close-up": (0.24, 0.42), "medium": (0.12, 0.19), "wide": (0.04, 0.075)}  # radius in heights of the picture

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Shot:
    """Frames from which to which (excluded), and what is true of them by label set."""

    first: int
    end: int
    truth: Mapping[str, str]


@dataclass(frozen=True)
class Film:
    """A film and its shots."""

    path: Path
    shots: tuple[Shot, ...]


def draw_films(folder: Path, count: int, shots: int, seed: int = 1) -> list[Film]:
    """So many films of so many shots; the same seed draws the same."""
    return [
        _film(folder / f"film{number:02}.mp4", np.random.default_rng([seed, number]), shots) for number in range(count)
    ]


def _film(path: Path, rng: np.random.Generator, count: int) -> Film:
    grade = rng.uniform(0.82, 1.12, 3)
    shots: list[Shot] = []
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "crf": "26"})
        stream.width, stream.height = SIZE
        stream.pix_fmt, stream.codec_context.thread_count = "yuv420p", 1
        at = 0
        for _ in range(count):
            truth, frames = _shot(rng, int(rng.integers(18, 34)))
            first = at
            for picture in frames:
                graded = np.clip(picture * grade + rng.normal(0, 2, (SIZE[1], SIZE[0], 1)), 0, 255).astype(np.uint8)
                frame = av.VideoFrame.from_ndarray(graded, format="rgb24")
                frame.pts, frame.time_base = at, Fraction(1, RATE)
                container.mux(stream.encode(frame))
                at += 1
            shots.append(Shot(first, at, truth))
        container.mux(stream.encode(None))
    return Film(path, tuple(shots))


def _shot(rng: np.random.Generator, frames: int) -> tuple[dict[str, str], Iterator[NDArray[np.float64]]]:
    """What is true of one shot, and its pictures."""
    inside = rng.random() < 0.35
    time = str(rng.choice(("day", "dusk", "night")))
    scene = "room" if inside else str(rng.choice(_NIGHTS if time == "night" and rng.random() < 0.4 else _OUTDOORS))
    size = "medium" if inside else str(rng.choice(tuple(_HEADS)))
    camera = str(rng.choice(("static", "pan", "handheld")))
    truth = {"day-night": time, "in-out": "indoor" if inside else "outdoor", "shot-size": size, "camera": camera}
    stage = SCENES[scene](SIZE[1], SIZE[0], int(rng.integers(1 << 30)))
    gain, tint = _light(rng, time, scene)
    return truth, _pictures(rng, stage, frames, camera, None if inside else size, gain * tint)


def _light(rng: np.random.Generator, time: str, scene: str) -> tuple[float, NDArray[np.float64]]:
    """How bright and of which colour; a scene that is night as it was painted stays so."""
    if scene in _NIGHTS:
        return float(rng.uniform(0.8, 1.3)), np.ones(3)
    gain = {"day": rng.uniform(0.72, 1.15), "dusk": rng.uniform(0.42, 0.8), "night": rng.uniform(0.16, 0.46)}[time]
    tint = {"day": (1, 1, 1), "dusk": (1.15, 0.95, 0.85), "night": (0.85, 0.95, 1.2)}[time]
    return float(gain), np.array(tint) * rng.uniform(0.93, 1.07, 3)


def _pictures(
    rng: np.random.Generator, stage: Stage, frames: int, camera: str, size: str | None, light: NDArray[np.float64]
) -> Iterator[NDArray[np.float64]]:
    travel = rng.uniform(1.2, 3.5) * (1 if rng.random() < 0.5 else -1) if camera == "pan" else 0.0
    shake = np.cumsum(rng.normal(0, 1.6, frames)) if camera == "handheld" else np.zeros(frames)
    person = _person(rng, size) if size else None
    sway = rng.uniform(0, 6)
    for frame in range(frames):
        picture = render(stage, SIZE[0], frame, 200 + travel * frame + shake[frame])
        if person is not None:
            _put(picture, person, int(2 * np.sin(frame * 0.2 + sway) - shake[frame] * 0.6))
        yield picture * light


def _person(rng: np.random.Generator, size: str) -> Image.Image:
    """A head with hair, a neck and shoulders, drawn once, on nothing."""
    width, height = SIZE
    head = rng.uniform(*_HEADS[size]) * height
    x, y = width * rng.uniform(0.25, 0.75), height * (0.5 if size == "close-up" else rng.uniform(0.35, 0.55))
    skin = tuple(int(one) for one in rng.uniform((150, 100, 70), (240, 200, 180)))
    hair, cloth = (tuple(int(one) for one in rng.uniform(10, most, 3)) for most in (90, 230))
    image = Image.new("RGBA", SIZE, (0, 0, 0, 0))
    pen = ImageDraw.Draw(image)
    pen.ellipse((x - 1.9 * head, y + 1.2 * head, x + 1.9 * head, y + 5 * head), fill=cloth)
    pen.rectangle((x - 1.9 * head, y + 3 * head, x + 1.9 * head, y + 3 * head + height), fill=cloth)
    pen.rectangle((x - 0.4 * head, y, x + 0.4 * head, y + 1.5 * head), fill=skin)
    pen.ellipse((x - 0.95 * head, y - 1.35 * head, x + 0.95 * head, y + 0.8 * head), fill=hair)
    pen.ellipse((x - 0.8 * head, y - head, x + 0.8 * head, y + head), fill=skin)
    for side in (-0.33, 0.33):
        pen.ellipse((x + side * head - 2, y - 2, x + side * head + 2, y + 2), fill=(30, 24, 24))
    return image


def _put(picture: Picture, person: Image.Image, shift: int) -> None:
    drawn = np.roll(np.asarray(person), shift, axis=1)
    there = drawn[..., 3] > 0
    picture[there] = drawn[there][:, :3]
