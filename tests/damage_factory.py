"""Makes awkward and damaged media out of good ones: other containers, cuts in the wrong place, flipped bits.

Packets are copied, so what is drawn into the frames stays readable. Start at `remux`.
"""

from __future__ import annotations

import wave
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

TS_PACKET = 188
LONG_GOP = {"preset": "veryfast", "x264-params": "open-gop=1:bframes=3:b-adapt=0:keyint=24:scenecut=0"}


def remux(
    source: Path,
    target: Path,
    *,
    skip: Callable[[int, av.Packet], bool] = lambda _number, _packet: False,
    change: Callable[[int, av.Packet], None] = lambda _number, _packet: None,
    rotation_deg: int | None = None,
    metadata: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Copy the picture packets of a file into another container, leaving out or changing some."""
    with av.open(str(source)) as old, av.open(str(target), "w", container_options=options or {}) as new:
        stream = old.streams.video[0]
        copy = new.add_stream_from_template(stream)
        if rotation_deg is not None:
            copy.set_display_rotation(rotation_deg)
        new.metadata.update(metadata or {})
        packets = [p for p in old.demux(stream) if p.size]
        for number, packet in enumerate(packets):
            if skip(number, packet):
                continue
            change(number, packet)
            packet.stream = copy
            new.mux(packet)
    return target


def from_key(number: int) -> Callable[[int, av.Packet], bool]:
    """For `skip`: leave out what comes before the key packet with this number."""
    seen = 0

    def skip(_number: int, packet: av.Packet) -> bool:
        nonlocal seen
        seen += packet.is_keyframe
        return seen <= number

    return skip


def cut_ts(source: Path, target: Path, share: float) -> Path:
    """A transport stream without its beginning: the tables stay, the picture starts anywhere."""
    data = source.read_bytes()
    first = int(len(data) // TS_PACKET * share) * TS_PACKET
    target.write_bytes(data[: 3 * TS_PACKET] + data[first:])
    return target


def flip_bits(source: Path, target: Path, *, share: float = 0.001, seed: int = 1, first: int = 0) -> Path:
    """A copy in which this share of the bytes from `first` on has one bit turned."""
    data = np.fromfile(source, np.uint8)
    rng = np.random.default_rng(seed)
    places = rng.integers(first, len(data), max(1, int(share * (len(data) - first))))
    data[places] ^= 1 << rng.integers(0, 8, len(places)).astype(np.uint8)
    target.write_bytes(data.tobytes())
    return target


def cut(source: Path, target: Path, share: float) -> Path:
    """The first part of a file."""
    data = source.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])
    return target


def write_sound(
    path: Path,
    samples: np.ndarray,
    *,
    rate: int = 48_000,
    codec: str | None = None,
    holes: tuple[tuple[float, float], ...] = (),
) -> Path:
    """Write float samples (T, C) as sound; `holes` are seconds left out, so that later sound keeps its time."""
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[samples.shape[1]]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec or _codec_for(path), rate=rate, layout=layout)
        for start in range(0, len(samples), 1024):
            if any(a * rate <= start < b * rate for a, b in holes):
                continue
            chunk = np.ascontiguousarray(samples[start : start + 1024].T.astype(np.float32))
            frame = av.AudioFrame.from_ndarray(chunk, format="fltp", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def tone(seconds: float, rate: int = 48_000, hz: float = 440, channels: int = 1) -> np.ndarray:
    """A sine at half volume, float (T, C)."""
    wave_form = 0.5 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)
    return np.repeat(wave_form[:, None], channels, axis=1)


def write_wav(path: Path, seconds: float = 1.0, rate: int = 8_000) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((tone(seconds, rate) * 32_000).astype("<i2").tobytes())
    return path


def write_picture(path: Path, size: tuple[int, int] = (64, 48), codec: str = "mjpeg", pixels: str = "yuvj420p") -> Path:
    """One picture file."""
    width, height = size
    picture = np.linspace(0, 255, width * height * 3).astype(np.uint8).reshape(height, width, 3)
    context = av.CodecContext.create(codec, "w")
    context.width, context.height, context.pix_fmt, context.time_base = width, height, pixels, Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels)
    path.write_bytes(b"".join(bytes(p) for p in [*context.encode(frame), *context.encode(None)]))
    return path


def full_decode(path: Path) -> Iterator[int | None]:
    """The time of every frame that plain libav decodes, in the order it shows them."""
    with av.open(f"file:{path}") as container:
        stream = container.streams.video[0]
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.FFmpegError:
                continue
            for frame in frames:
                yield frame.pts


def _codec_for(path: Path) -> str:
    by_name = {".wav": "pcm_s16le", ".mp3": "libmp3lame", ".flac": "flac", ".ogg": "libopus", ".m4a": "aac"}
    return by_name.get(path.suffix, "aac")
