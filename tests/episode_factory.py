"""Draws short vertical episodes whose faults are known: texts, labels, black, freeze, flashing, sound that clips.

The picture pans over soft colours, so nothing stands still but what is meant to. Start at `Plan` and `draw_episode`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from caption_film import chinese_font
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Span = tuple[float, float]
RATE = 25
NUMBER = "（马栏）网微剧备字（2026）第012号"


@dataclass(frozen=True)
class Text:
    """A text in the picture: its span in seconds, the middle in shares of the picture, height of a Chinese letter."""

    words: str
    span: Span
    middle: tuple[float, float] = (0.5, 0.78)
    height_share: float = 0.06  # of the short side


@dataclass(frozen=True)
class Plan:
    """One episode."""

    seconds: float = 6.0
    size: tuple[int, int] = (432, 768)
    texts: tuple[Text, ...] = ()
    black: Span | None = None
    freeze: Span | None = None
    silence: Span | None = None
    clipping: Span | None = None
    gain: float = 0.16
    flash: tuple[Span, float, float, float] | None = None  # span, flashes a second, luma low and high (0-255)
    red_flash: Span | None = None
    stripes: Span | None = None
    is_interlaced: bool = False
    pixel_aspect: Fraction = Fraction(1)
    sound_s: float | None = None  # None: as long as the picture; 0: none
    has_picture: bool = True
    seed: int = 1
    faults: frozenset[str] = field(default=frozenset())  # rules that must find something


def draw_episode(path: Path, plan: Plan) -> Path:
    """Write an episode."""
    with av.open(str(path), "w") as container:
        stream = None
        if plan.has_picture:
            stream = container.add_stream("libx264", rate=RATE, options=_options(plan))
            stream.width, stream.height = plan.size
            stream.pix_fmt = "yuv420p"
            stream.codec_context.sample_aspect_ratio = plan.pixel_aspect
        length_s = plan.seconds if plan.sound_s is None else plan.sound_s
        sound = container.add_stream("pcm_s16le" if path.suffix == ".mkv" else "aac", rate=48_000) if length_s else None
        if sound is not None:
            sound.layout = "mono"
        for number, picture in enumerate(_pictures(plan)) if stream else ():
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        if stream:
            container.mux(stream.encode(None))
        if sound is not None:
            _write_sound(container, sound, _samples(plan, length_s))
    return path


def _options(plan: Plan) -> dict[str, str]:
    options = {"preset": "ultrafast", "crf": "20"}
    return {**options, "x264-params": "tff=1"} if plan.is_interlaced else options


def _pictures(plan: Plan) -> Iterator[NDArray[np.uint8]]:
    width, height = plan.size
    count = round(plan.seconds * RATE)
    wall = _wall(plan.seed, width + 2 * count + 8, height)
    layers = [(text, *_layer(text, plan.size)) for text in plan.texts]
    before: NDArray[np.uint8] | None = None
    for number in range(count):
        at = number / RATE
        if before is not None and _inside(at, plan.freeze):
            yield before
            continue
        picture = wall[:, 2 * number : 2 * number + width].copy()
        _paint(picture, plan, at)
        for text, place, colour, cover in layers:
            if _inside(at, text.span):
                part = picture[place[1] : place[1] + cover.shape[0], place[0] : place[0] + cover.shape[1]]
                part[:] = (part * (1 - cover[..., None]) + colour * cover[..., None]).astype(np.uint8)
        if plan.is_interlaced:  # the lower field is a fiftieth of a second later
            later = wall[:, 2 * number + 8 : 2 * number + 8 + width]
            picture[1::2] = later[1::2]
        before = picture
        yield picture


def _paint(picture: NDArray[np.uint8], plan: Plan, at: float) -> None:
    height, width = picture.shape[:2]
    if _inside(at, plan.black):
        picture[:] = 0
    if plan.flash and _inside(at, plan.flash[0]):
        span, per_second, low, high = plan.flash
        half = max(1, round(RATE / per_second / 2))
        frames = round((at - span[0]) * RATE)
        picture[:] = int(high if frames // half % 2 else low)
    if _inside(at, plan.red_flash):
        frames = round((at - plan.red_flash[0]) * RATE) if plan.red_flash else 0
        picture[:] = (235, 0, 0) if frames // 2 % 2 else (40, 40, 40)
    if _inside(at, plan.stripes):
        columns = (np.arange(width) * 24 // width) % 2
        picture[: height * 3 // 4] = (columns * 215 + 20).astype(np.uint8)[None, :, None]


def _inside(at: float, span: Span | None) -> bool:
    return span is not None and span[0] - 1e-6 <= at < span[1] - 1e-6


def _wall(seed: int, width: int, height: int) -> NDArray[np.uint8]:
    """Soft colours that change slowly from place to place."""
    rng = np.random.default_rng(seed)
    small = rng.integers(60, 170, (max(2, height // 96), max(2, width // 96), 3), dtype=np.uint8)
    soft = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
    grain = np.asarray(
        Image.fromarray(rng.integers(-7, 8, (height // 4 + 1, width // 4 + 1)).astype(np.int8).view(np.uint8))
    )
    fine = np.repeat(np.repeat(grain.view(np.int8), 4, 0), 4, 1)[:height, :width, None]
    return np.clip(soft + fine, 30, 200).astype(np.uint8)


def _layer(text: Text, size: tuple[int, int]) -> tuple[tuple[int, int], NDArray[np.float32], NDArray[np.float32]]:
    """Place, colour and cover of a text: white with a black outline."""
    height_px = text.height_share * min(size)
    font = ImageFont.truetype(chinese_font() or "DejaVuSans-Bold.ttf", round(height_px / 0.92))
    edge = max(1, round(height_px / 14))
    probe = ImageDraw.Draw(Image.new("L", (1, 1)))
    box = probe.multiline_textbbox((0, 0), text.words, font=font, stroke_width=edge, align="center")
    area = int(box[2] - box[0]) + 2, int(box[3] - box[1]) + 2
    ink, cover = Image.new("L", area, 0), Image.new("L", area, 0)
    at = (1 - box[0], 1 - box[1])
    ImageDraw.Draw(ink).multiline_text(at, text.words, 255, font=font, align="center")
    ImageDraw.Draw(cover).multiline_text(at, text.words, 255, font=font, stroke_width=edge, align="center")
    place = round(text.middle[0] * size[0] - area[0] / 2), round(text.middle[1] * size[1] - area[1] / 2)
    place = max(0, min(size[0] - area[0], place[0])), max(0, min(size[1] - area[1], place[1]))
    colour = np.repeat(np.asarray(ink, np.float32)[..., None], 3, axis=2)
    return place, colour, np.asarray(cover, np.float32) / 255


def _samples(plan: Plan, length_s: float) -> NDArray[np.float32]:
    """A voice-like tone that never stops, unless it is meant to."""
    t = np.arange(round(length_s * 48_000)) / 48_000
    wave = np.sin(2 * np.pi * 220 * t) + 0.5 * np.sin(2 * np.pi * 660 * t + 1)
    wave *= plan.gain * (0.75 + 0.25 * np.sin(2 * np.pi * 3 * t))
    if plan.silence:
        wave[(t >= plan.silence[0]) & (t < plan.silence[1])] = 0
    if plan.clipping:
        inside = (t >= plan.clipping[0]) & (t < plan.clipping[1])
        wave[inside] = np.clip(wave[inside] * 14, -1, 1)
    return np.clip(wave, -1, 1).astype(np.float32)


def _write_sound(container: av.container.OutputContainer, stream: av.AudioStream, samples: NDArray[np.float32]) -> None:
    is_pcm = stream.codec_context.name == "pcm_s16le"
    for start in range(0, len(samples), 1024):
        part = samples[None, start : start + 1024]
        part = (part * 32767).astype(np.int16) if is_pcm else part
        frame = av.AudioFrame.from_ndarray(part, format="s16" if is_pcm else "fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, start, Fraction(1, 48_000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
