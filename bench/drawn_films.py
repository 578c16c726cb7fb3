"""Draws films whose cuts are known, and writes each in every class of encode that a library meets.

Scenes are textures of several scales with things that move in front of a camera that moves too. Between them lie cuts,
dissolves and fades; inside them flashes, strobes, whip pans, passers-by and titles, which are no transitions. All
classes hold the same pictures. Start at `draw_films`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from shot_scoring import Row, Truth

Picture = NDArray[np.float32]  # (H, W, 3), RGB 0–255

RATE = 25
ROOM = 1.5  # canvas of a scene, in widths and heights of the picture
GRAIN = 1.2


@dataclass(frozen=True)
class Encode:
    """How a class of films is written."""

    name: str
    suffix: str
    codec: str
    options: dict[str, str]
    pixel_format: str = "yuv420p"
    drops_frames: bool = False  # some frames are missing, as a phone leaves them out in the dark


def _x264(**parameters: Any) -> dict[str, str]:
    told = ":".join(f"{key.replace('_', '-')}={value}" for key, value in parameters.items())
    return {"preset": "fast", "crf": "27", "x264-params": f"threads=1:{told}"}


ENCODES = (
    Encode("H.264, scene cuts", "scenecut.mp4", "libx264", _x264(keyint=250)),
    Encode("H.264, fixed GOP", "fixed.mp4", "libx264", _x264(keyint=48, min_keyint=48, scenecut=0, open_gop=1)),
    Encode("H.264, long GOP", "long.mkv", "libx264", _x264(keyint=600, scenecut=0)),
    Encode("H.264, variable rate", "vfr.mp4", "libx264", _x264(keyint=30, scenecut=0, bframes=0), drops_frames=True),
    Encode("MPEG-2", "mpeg2.ts", "mpeg2video", {"g": "12", "bf": "2", "b": "5M", "maxrate": "8M", "bufsize": "2M"}),
    Encode("MJPEG", "mjpeg.avi", "mjpeg", {"qmin": "4", "qmax": "4"}, "yuvj420p"),
    Encode("ProRes", "prores.mov", "prores_ks", {"profile": "0"}, "yuv422p10le"),
    Encode("HEVC", "hevc.mp4", "libx265", {"preset": "ultrafast", "x265-params": "log-level=none:pools=1"}),
    Encode("VP9", "vp9.webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "b": "1M", "threads": "1"}),
)


@dataclass
class Drawn:
    """A drawn film in one class of encode, and what it holds."""

    path: Path
    encode: Encode
    truth: Truth


@dataclass
class _Script:
    """What has been drawn so far."""

    frame: int = 0
    rows: list[Row] = field(default_factory=list)
    negatives: list[Row] = field(default_factory=list)


def draw_films(folder: Path, seed: int, shots: int, size: tuple[int, int] = (640, 360)) -> list[Drawn]:
    """One film of so many shots in every class whose encoder this machine has; in one pass over the pictures."""
    encodes = [encode for encode in ENCODES if _has_encoder(encode.codec)]
    script, kept = _Script(), np.random.default_rng([seed, 9])
    places: list[int] = []  # of the frames on the grid of the variable frame rate
    with ExitStack() as stack:
        writers = [_Writer(stack, folder / f"film{seed}_{e.suffix}", e, size) for e in encodes]
        for picture in _film(script, seed, shots, size):
            places.append(places[-1] + 1 + int(kept.choice(3, p=(0.8, 0.15, 0.05))) if places else 0)
            grainy = picture + kept.standard_normal(picture.shape[:2], np.float32)[..., None] * GRAIN
            frame = av.VideoFrame.from_ndarray(np.clip(grainy, 0, 255).astype(np.uint8), format="rgb24")
            for writer in writers:
                writer.write(frame, places[-1] if writer.encode.drops_frames else len(places) - 1)
        for writer in writers:
            writer.end()
    truth = Truth(tuple(script.rows), tuple(script.negatives))
    return [Drawn(writer.path, writer.encode, truth) for writer in writers]


def _has_encoder(name: str) -> bool:
    try:
        av.Codec(name, "w")
    except av.codec.codec.UnknownCodecError:
        return False
    return True


class _Writer:
    """One file being written."""

    def __init__(self, stack: ExitStack, path: Path, encode: Encode, size: tuple[int, int]) -> None:
        self.path, self.encode = path, encode
        self._container = stack.enter_context(av.open(str(path), "w"))
        self._stream = self._container.add_stream(encode.codec, rate=RATE, options=encode.options)
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = encode.pixel_format
        self._stream.codec_context.thread_count = 1

    def write(self, frame: av.VideoFrame, place: int) -> None:
        converted = frame.reformat(format=self.encode.pixel_format)
        converted.pts, converted.time_base = place, Fraction(1, RATE)
        self._container.mux(self._stream.encode(converted))

    def end(self) -> None:
        self._container.mux(self._stream.encode(None))


def _film(script: _Script, seed: int, shots: int, size: tuple[int, int]) -> Iterator[Picture]:
    rng = np.random.default_rng(seed)
    scene = _Scene(rng, size)
    for shot in range(shots):
        yield from _shot(script, scene, rng)
        if shot == shots - 1:
            return
        following = scene.elsewhere(rng) if rng.random() < 0.2 else _Scene(rng, size)
        yield from _transition(script, scene, following, rng)
        scene = following


def _shot(script: _Script, scene: _Scene, rng: np.random.Generator) -> Iterator[Picture]:
    """Some frames of one scene, in every third shot with something that is no transition."""
    length = int(rng.integers(18, 64))
    event = (
        str(rng.choice(("flash", "strobe", "whip", "passer", "title"))) if rng.random() < 0.33 and length > 36 else ""
    )
    begin = script.frame
    at = int(rng.integers(14, length - 18)) if event else 0
    for step in range(length):
        picture = scene.next(whip=event == "whip" and at <= step < at + 8)
        yield _with_event(picture, event, step - at)
        script.frame += 1
    if event:
        script.negatives.append(Row(begin + at - 1, begin + at + 12, "hard_negative"))


def _with_event(picture: Picture, event: str, since: int) -> Picture:
    height, width = picture.shape[:2]
    if (event == "flash" and 0 <= since < 2) or (event == "strobe" and since in (0, 3, 6)):
        return picture * 0.15 + np.float32(215)
    if event == "passer" and 0 <= since < 10:
        left = int(width * (since / 10 * 1.6 - 0.6))
        picture = picture.copy()
        picture[height // 6 :, max(left, 0) : max(left + width * 6 // 10, 0)] *= np.float32(0.25)
    if event == "title" and since >= 0:
        picture = picture.copy()
        picture[height * 3 // 4 : height * 7 // 8, width // 5 : width * 4 // 5] = (20, 20, 30)
    return picture


def _transition(script: _Script, old: _Scene, new: _Scene, rng: np.random.Generator) -> Iterator[Picture]:
    kind = str(rng.choice(("cut", "dissolve", "fade_black"), p=(0.78, 0.12, 0.10)))
    first = script.frame - 1
    if kind == "dissolve":
        frames = int(rng.integers(8, 24))
        for step in range(1, frames + 1):
            share = np.float32(step / (frames + 1))
            yield old.next() * (1 - share) + new.next() * share
        script.frame += frames
    if kind == "fade_black":
        out, dark, back = (int(n) for n in rng.integers((6, 2, 6), (16, 8, 16)))
        for step in range(1, out + 1):
            yield old.next() * np.float32(1 - step / out)
        for _ in range(dark):
            yield old.next() * np.float32(0)
        for step in range(1, back + 1):
            yield new.next() * np.float32(step / (back + 1))
        script.frame += out + dark + back
    script.rows.append(Row(first, script.frame, kind))


class _Scene:
    """A place with things in it, seen by a camera that may stand, pan, zoom or shake."""

    def __init__(self, rng: np.random.Generator, size: tuple[int, int]) -> None:
        self._size, self._rng = size, rng
        self._canvas = _canvas(rng, (int(size[0] * ROOM), int(size[1] * ROOM)))
        self._things = [_Thing(rng, size) for _ in range(int(rng.integers(1, 5)))]
        self._light = 0.35 if rng.random() < 0.2 else float(rng.uniform(0.7, 1.1))
        self._place_camera()

    def elsewhere(self, rng: np.random.Generator) -> _Scene:
        """The same place from another side: other things, other part of it, closer or farther."""
        other = _Scene(rng, self._size)
        other._canvas, other._light = self._canvas.transpose(Image.Transpose.FLIP_LEFT_RIGHT), self._light
        return other

    def _place_camera(self) -> None:
        rng = self._rng
        self._zoom = float(rng.uniform(0.6, 1.0))
        self._at = rng.uniform(0.2, 0.8, 2)
        way = str(rng.choice(("stand", "pan", "zoom", "shake"), p=(0.35, 0.35, 0.15, 0.15)))
        self._pan = rng.uniform(-0.006, 0.006, 2) * (way == "pan")
        self._zooming = float(rng.uniform(-0.004, 0.004)) * (way == "zoom")
        self._shake = 0.006 * (way == "shake")

    def next(self, whip: bool = False) -> Picture:
        """The next frame."""
        self._zoom = float(np.clip(self._zoom + self._zooming, 0.5, 1.0))
        self._at = np.clip(self._at + self._pan + np.array((0.09, 0.0)) * whip, 0, 1)
        at = np.clip(self._at + self._rng.normal(0, 1, 2) * self._shake, 0, 1)
        width, height = (side * self._zoom for side in self._size)
        left, top = at[0] * (self._canvas.width - width), at[1] * (self._canvas.height - height)
        view = self._canvas.resize(self._size, Image.Resampling.BILINEAR, (left, top, left + width, top + height))
        pen = ImageDraw.Draw(view)
        for thing in self._things:
            thing.move(pen)
        if whip:
            view = view.filter(ImageFilter.BoxBlur((12, 0)))
        return np.asarray(view, np.float32) * np.float32(self._light)


class _Thing:
    """Something of one colour that moves through the picture."""

    def __init__(self, rng: np.random.Generator, size: tuple[int, int]) -> None:
        self._size = size
        self._at = rng.uniform(0, 1, 2)
        self._way = rng.normal(0, 0.008, 2)
        self._half = rng.uniform(0.03, 0.14, 2)
        self._colour = tuple(int(c) for c in rng.integers(0, 256, 3))
        self._round = bool(rng.random() < 0.6)

    def move(self, pen: ImageDraw.ImageDraw) -> None:
        self._at = self._at + self._way
        self._way = np.where((self._at < 0) | (self._at > 1), -self._way, self._way)
        low, high = (self._at - self._half) * self._size, (self._at + self._half) * self._size
        draw = pen.ellipse if self._round else pen.rectangle
        draw((*low, *high), fill=self._colour)


def _canvas(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A texture: noise of several scales, each coarser one stronger, between a few colours."""
    width, height = size
    field = np.zeros((height, width), np.float32)
    for octave in range(1, 9):
        cells = rng.standard_normal((2**octave * 9 // 16 + 2, 2**octave + 1)).astype(np.float32)
        layer = Image.fromarray(cells).resize(size, Image.Resampling.BICUBIC)
        field += np.asarray(layer) / np.float32(rng.uniform(1.4, 1.9) ** octave)
    field = (field - field.min()) / max(float(np.ptp(field)), 1e-3)
    colours = rng.integers(0, 256, (4, 3)).astype(np.float32)
    stops = np.linspace(0, 1, 4)
    mixed = np.stack([np.interp(field, stops, colours[:, channel]) for channel in range(3)], axis=-1)
    return Image.fromarray(np.clip(mixed, 0, 255).astype(np.uint8))
