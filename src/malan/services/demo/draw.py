"""Draws the demo's films into a folder: pictures from `paint`, captions, music and spoken lines, in every codec.

A film that is there already is left alone, so drawing goes on where it was interrupted. Start at `draw_library`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache
from multiprocessing import get_context
from pathlib import Path
from shutil import which
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from malan.services.demo.films import FILMS, OVERLAP, TERMS, Film, Shot
from malan.services.demo.paint import Picture, render
from malan.services.demo.scenes import SCENES

SOUND_RATE_HZ = 48_000
FONTS = (
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Bold.ttc",
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
)


@dataclass(frozen=True)
class Line:
    """A caption: what is said, from which frame to which (excluded), and its sound (mono float, may be empty)."""

    text: str
    first: int
    end: int
    speech: NDArray[np.float32]


def draw_library(folder: Path, step: Callable[[int, int, str], None], workers: int) -> dict[str, list[Path]]:
    """Draw what is not there yet; the files of each owner, and a `terms.toml` beside them."""
    files: dict[str, list[Path]] = {}
    for film in FILMS:
        files.setdefault(film.owner, []).append(folder / film.owner / film.name)
    for owner, text in TERMS.items():
        (folder / owner).mkdir(parents=True, exist_ok=True)
        (folder / owner / "terms.toml").write_text(text, "utf-8")
    missing = [film for film in FILMS if not (folder / film.owner / film.name).exists()]
    missing.sort(key=lambda film: -film.frame_count)
    with get_context("spawn").Pool(workers) as pool:
        for done, name in enumerate(pool.imap_unordered(_draw, [(film, folder) for film in missing])):
            step(done + 1, len(missing), name)
    return files


def _draw(task: tuple[Film, Path]) -> str:
    film, folder = task
    os.environ["SVT_LOG"] = "1"  # the AV1 encoder says nothing but errors
    path = folder / film.owner / film.name
    unfinished = path.with_name(f".{path.stem}.part{path.suffix}")
    if film.is_broken:
        unfinished.write_bytes(b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41" + bytes(range(256)) * 40)
    else:
        draw_film(film, unfinished)
    unfinished.rename(path)
    return film.name


def draw_film(film: Film, path: Path) -> None:
    """Write one film."""
    lines = _lines(film)
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream(film.codec, rate=film.rate, options=film.options)
        video.width, video.height = film.size
        video.pix_fmt = film.pixel_format
        video.codec_context.thread_count = 1
        audio: Any = container.add_stream(film.sound, rate=SOUND_RATE_HZ, layout="mono")
        for number, picture in enumerate(_pictures(film)):
            _caption(picture, film, number, lines)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, film.rate)
            container.mux(video.encode(frame.reformat(*film.size) if film.drawn_size else frame))
        container.mux(video.encode(None))
        for sound in _blocks(_sound(film, lines), audio):
            container.mux(audio.encode(sound))
        container.mux(audio.encode(None))


# --- pictures ----------------------------------------------------------------------------------------------------


def _pictures(film: Film) -> Iterator[Picture]:
    """All frames; a dissolve mixes the end of one shot with the start of the next, a fade goes through black."""
    tail: list[Picture] = []
    for number, shot in enumerate(film.shots):
        frames = list(_shot(shot, film.drawn_size or film.size))
        for step, before in enumerate(tail):
            frames[step] = _mix(before, frames[step], (step + 1) / (len(tail) + 1), shot.enters)
        follows = film.shots[number + 1].enters if number + 1 < len(film.shots) else "cut"
        tail = frames[-OVERLAP:] if follows != "cut" else []
        yield from frames[: len(frames) - len(tail)]


def _shot(shot: Shot, size: tuple[int, int]) -> Iterator[Picture]:
    width, height = size
    stage = SCENES[shot.scene](height, width, shot.seed)
    for frame in range(shot.frames):
        yield render(stage, width, frame, 200 + shot.travel_px * frame)


def _mix(before: Picture, after: Picture, share: float, how: str) -> Picture:
    if how == "dissolve":
        mixed = before * (1 - share) + after * share
    else:
        mixed = before * max(0.0, 1 - 2 * share) if share < 0.5 else after * (2 * share - 1)
    return mixed.astype(np.uint8)


# --- words -------------------------------------------------------------------------------------------------------


def _lines(film: Film) -> list[Line]:
    """Captions one after the other, each as long as it takes to say, none past the end of the film."""
    if not film.captions or _font(20) is None:
        return []
    lines, at = [], round(0.6 * film.rate)
    for text in film.captions:
        speech = _speak(text)
        frames = max(round(len(speech) / SOUND_RATE_HZ * film.rate) + 6, 8 + 4 * len(text))
        if at + frames < film.frame_count:
            lines.append(Line(text, at, at + frames, speech))
        at += frames + film.rate // 2
    return lines


def _speak(text: str) -> NDArray[np.float32]:
    """The words in Mandarin by espeak-ng; empty where it is not installed."""
    if which("espeak-ng") is None:
        return np.zeros(0, np.float32)
    wave = subprocess.run(
        ["espeak-ng", "-v", "cmn", "-s", "190", "--stdout", text], capture_output=True, check=True
    ).stdout
    samples = np.frombuffer(wave[44:], "<i2").astype(np.float32) / 32_768
    at = np.arange(0, len(samples) - 1, 22_050 / SOUND_RATE_HZ)
    return np.asarray(np.interp(at, np.arange(len(samples)), samples), np.float32)


@cache
def _font(size_px: int) -> Any:
    for name in FONTS:
        if Path(name).exists():
            return ImageFont.truetype(name, size_px, index=2)  # 2: Simplified Chinese
    return None


@lru_cache(maxsize=4)
def _text_picture(text: str, size: tuple[int, int]) -> tuple[int, NDArray[np.uint16], NDArray[np.uint16]]:
    """A caption on the lower third: the first row it touches, its colour and its cover (0–256)."""
    width, height = size
    font_px = min(min(width, height) // 12, int(width * 0.92 / len(text)))
    image = Image.new("LA", size, (0, 0))
    ImageDraw.Draw(image).text(
        (width // 2, int(height * (0.88 if width > height else 0.77))), text, anchor="mm", fill=(255, 255),
        font=_font(font_px), stroke_width=max(2, font_px // 12), stroke_fill=(0, 255),
    )  # fmt: skip
    colour, cover = (np.asarray(channel, np.uint16) for channel in image.split())
    rows = np.flatnonzero(cover.any(axis=1))
    used = slice(int(rows[0]), int(rows[-1]) + 1)
    return used.start, colour[used, :, None], cover[used, :, None] + cover[used, :, None] // 255


def _caption(picture: Picture, film: Film, number: int, lines: list[Line]) -> None:
    for line in lines:
        if line.first <= number < line.end:
            top, colour, cover = _text_picture(line.text, film.size)
            under = picture[top : top + len(colour)]
            under[:] = (colour * cover + under * (256 - cover)) >> 8


# --- sound -------------------------------------------------------------------------------------------------------


def _sound(film: Film, lines: list[Line]) -> NDArray[np.float32]:
    """A slow chord with a breath of wind, quieter while somebody speaks; fades in and out."""
    count = round(film.frame_count / film.rate * SOUND_RATE_HZ)
    time_s = np.arange(count, dtype=np.float32) / SOUND_RATE_HZ
    swell = 0.6 + 0.4 * np.sin(2 * np.pi * 0.11 * time_s)
    music = sum(np.sin(2 * np.pi * hz * time_s + np.sin(2 * np.pi * 0.3 * time_s)) for hz in film.chord_hz) * swell
    wind = np.convolve(np.random.default_rng(len(film.name)).normal(0, 1, count), np.ones(48) / 48, "same")
    mix = (0.05 * music + 0.03 * wind).astype(np.float32)
    for line in lines:
        start = round(line.first / film.rate * SOUND_RATE_HZ)
        voice = line.speech[: count - start]
        mix[start : start + len(voice)] = mix[start : start + len(voice)] * 0.35 + voice * 0.6
    edge = min(count // 4, SOUND_RATE_HZ // 2)
    mix[:edge] *= np.linspace(0, 1, edge)
    mix[count - edge :] *= np.linspace(1, 0, edge)
    return np.clip(mix, -0.98, 0.98).astype(np.float32)


def _blocks(samples: NDArray[np.float32], stream: Any) -> Iterator[av.AudioFrame]:
    """The sound as frames the encoder takes."""
    resampler = av.AudioResampler(
        stream.codec_context.format, "mono", SOUND_RATE_HZ, stream.codec_context.frame_size or 1024
    )
    for start in range(0, len(samples), 4096):
        frame = av.AudioFrame.from_ndarray(samples[None, start : start + 4096], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE_HZ, start, Fraction(1, SOUND_RATE_HZ)
        yield from resampler.resample(frame)
    yield from resampler.resample(None)
