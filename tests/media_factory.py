"""Draws small test films whose truth is known: which frame shows what, where the cuts are.

Every frame carries its own number as a row of black and white blocks (16 bits, most significant first) along the top
edge, so a decoded frame can be told apart from its neighbours after any lossy encode. Start at `draw_film`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

BITS = 16


@dataclass(frozen=True)
class Film:
    """A drawn film and its truth."""

    path: Path
    frame_count: int
    cuts: tuple[int, ...]  # first frame of each new shot
    rate: Fraction


def draw_film(
    path: Path,
    shot_lengths: Sequence[int] = (30, 25, 35),
    *,
    size: tuple[int, int] = (320, 180),
    rate: int | Fraction = 25,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    pixel_format: str = "yuv420p",
    seed: int = 7,
    audio: bool = False,
    slots: Sequence[int] | None = None,
) -> Film:
    """Write a film of textured, slowly panning shots with hard cuts between them; `audio` adds a 440 Hz tone.

    `slots` gives each frame its place on the grid of `rate`: leaving some out makes the frame rate variable.
    """
    rate = Fraction(rate)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options or {"preset": "veryfast"})
        stream.width, stream.height = size
        stream.pix_fmt = pixel_format
        sound = container.add_stream("aac", rate=48_000, layout="mono") if audio else None
        for number, picture in enumerate(pictures(shot_lengths, size, seed)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = slots[number] if slots else number, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            _tone(container, sound, float(sum(shot_lengths) / rate))
    return Film(path, sum(shot_lengths), tuple(int(c) for c in np.cumsum(shot_lengths)[:-1]), rate)


def pictures(shot_lengths: Sequence[int], size: tuple[int, int], seed: int) -> Iterator[NDArray[np.uint8]]:
    """The frames of a film, RGB uint8 (H, W, 3): one texture a shot, panning one pixel a frame, numbered."""
    width, height = size
    number = 0
    for shot, length in enumerate(shot_lengths):
        texture = _texture(seed + shot, width + length, height)
        for step in range(length):
            picture = texture[:, step : step + width].copy()
            write_number(picture, number)
            yield picture
            number += 1


def read_number(picture: NDArray[np.uint8]) -> int:
    """The number drawn into a frame; any RGB size works as long as a block is two pixels or wider."""
    height, width = picture.shape[:2]
    block, edge = width / BITS, max(2, height // 12)
    row = picture[edge // 4 : max(edge // 4 + 1, edge * 3 // 4)].mean(axis=(0, 2))
    bits = [
        row[int((i + 0.3) * block) : max(int((i + 0.3) * block) + 1, int((i + 0.7) * block))].mean() > 128
        for i in range(BITS)
    ]
    return sum(1 << (BITS - 1 - i) for i, bit in enumerate(bits) if bit)


def write_number(picture: NDArray[np.uint8], number: int) -> None:
    height, width = picture.shape[:2]
    for i in range(BITS):
        bit = number >> (BITS - 1 - i) & 1
        picture[: max(2, height // 12), i * width // BITS : (i + 1) * width // BITS] = 255 * bit


def _texture(seed: int, width: int, height: int) -> NDArray[np.uint8]:
    """Smooth random colour fields: low-resolution noise, blown up, with a base colour that differs by seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 20 + 2, width // 20 + 2, 3))
    base = rng.integers(0, 256, 3)
    rows, columns = np.arange(height) // 20, np.arange(width) // 20
    field = coarse[rows][:, columns]
    return ((field + base) // 2).astype(np.uint8)


def _tone(container: av.container.OutputContainer, stream: av.AudioStream, seconds: float) -> None:
    samples = np.sin(2 * np.pi * 440 * np.arange(int(48_000 * seconds)) / 48_000).astype(np.float32) * 0.2
    for start in range(0, len(samples), 1024):
        frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, start, Fraction(1, 48_000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
