"""Waveforms to draw: the least and the greatest sample of every stretch of sound, at several zoom levels.

One pass over the file serves all its sound tracks. Start at `waveforms`.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from numpy.typing import NDArray

from malan.core.errors import MediaError
from malan.media.open import has_decoder, open_media, read_only, read_packets
from malan.media.sniff import shown

_PENDING_SAMPLES = 1 << 16  # samples gathered before they are reduced


@dataclass(frozen=True)
class Level:
    """One zoom level: bucket `i` covers `[i, i + 1) / per_second` seconds of the file's clock, from second 0.

    `low` and `high` are int8, -127 to 127 for -1 to 1, over all channels; 0 where there is no sound.
    """

    per_second: Fraction
    low: NDArray[np.int8]
    high: NDArray[np.int8]

    def to_bytes(self) -> bytes:
        """Low and high in turn, one signed byte each."""
        return np.stack([self.low, self.high], axis=1).tobytes()


@dataclass(frozen=True)
class Waveform:
    """The peaks of one sound track, the finest level first."""

    track: int
    levels: tuple[Level, ...]

    def level_for(self, per_second: float) -> Level:
        """The coarsest level that still has at least so many buckets a second, else the finest."""
        fine_enough = [level for level in self.levels if level.per_second >= per_second]
        return fine_enough[-1] if fine_enough else self.levels[0]


def waveforms(path: str | Path, *, per_second: int = 100, levels: int = 4, factor: int = 4) -> tuple[Waveform, ...]:
    """The peaks of every sound track of a file that can be decoded, in the order of the tracks.

    Packets that do not decode are silence. Memory: two bytes a bucket.

    Args:
        per_second: Buckets a second of the finest level.
        levels: How many levels.
        factor: How many buckets of a level make one of the next.

    Raises:
        MediaError: The file cannot be opened or has no sound that can be decoded.
    """
    with open_media(path) as container:
        streams = [stream for stream in container.streams.audio if has_decoder(stream)]
        if not streams:
            raise MediaError("media.no_audio", path=shown(path))
        read_only(container, *streams)
        tracks = {stream.index: _Track(stream, per_second) for stream in streams}
        for packet in read_packets(container, *streams):
            tracks[packet.stream_index].push(packet)
        return tuple(Waveform(number, track.finished(levels, factor)) for number, track in tracks.items())


class _Track:
    """Gathers the peaks of one track."""

    def __init__(self, stream: AudioStream, per_second: int) -> None:
        self._stream, self._per_second = stream, per_second
        self._low, self._high = np.zeros(1024, np.float32), np.zeros(1024, np.float32)
        self._count = 0
        self._pending: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
        self._pending_from, self._pending_count, self._rate = 0, 0, 0
        self._next = Fraction(0)  # second at which sound without a time of its own goes on

    def push(self, packet: av.Packet[AudioStream] | None) -> None:
        try:
            frames = self._stream.codec_context.decode(packet)
        except (av.FFmpegError, ValueError):
            return
        for frame in frames:
            self._add(frame)

    def _add(self, frame: av.AudioFrame) -> None:
        start_s = frame.pts * frame.time_base if frame.pts is not None and frame.time_base else self._next
        self._next = start_s + Fraction(frame.samples, frame.sample_rate)
        first = round(start_s * frame.sample_rate)
        joins = self._rate == frame.sample_rate and first == self._pending_from + self._pending_count
        if not joins or self._pending_count > _PENDING_SAMPLES:
            self._reduce()
            self._pending_from, self._rate = first, frame.sample_rate
        samples_CT = _as_float(frame)
        self._pending.append((samples_CT.min(axis=0), samples_CT.max(axis=0)))
        self._pending_count += frame.samples

    def _reduce(self) -> None:
        """Put what is gathered into its buckets."""
        if not self._pending_count:
            return
        low, high = (np.concatenate([p[i] for p in self._pending]) for i in (0, 1))
        skip = max(0, -self._pending_from)  # priming before second 0 is not heard
        low, high, start = low[skip:], high[skip:], self._pending_from + skip
        self._pending, self._pending_count = [], 0
        if not len(low):
            return
        bucket = (start + np.arange(len(low), dtype=np.int64)) * self._per_second // self._rate
        edges = np.flatnonzero(np.diff(bucket, prepend=bucket[0] - 1))
        places = bucket[edges]
        self._grow(int(places[-1]) + 1)
        self._low[places] = np.minimum(self._low[places], np.minimum.reduceat(low, edges))
        self._high[places] = np.maximum(self._high[places], np.maximum.reduceat(high, edges))

    def _grow(self, count: int) -> None:
        self._count = max(self._count, count)
        if count > len(self._low):
            more = max(count, 2 * len(self._low)) - len(self._low)
            self._low, self._high = np.pad(self._low, (0, more)), np.pad(self._high, (0, more))

    def finished(self, levels: int, factor: int) -> tuple[Level, ...]:
        self.push(None)
        self._reduce()
        low, high = (_int8(values[: self._count]) for values in (self._low, self._high))
        made = [Level(Fraction(self._per_second), low, high)]
        for _ in range(levels - 1):
            edges = np.arange(0, len(low), factor)
            if len(low):
                low, high = np.minimum.reduceat(low, edges), np.maximum.reduceat(high, edges)
            made.append(Level(made[-1].per_second / factor, low, high))
        return tuple(made)


def _as_float(frame: av.AudioFrame) -> NDArray[np.float32]:
    """Samples as (C, T), -1 to 1, whatever the format."""
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(frame.samples, -1).T
    plain = samples.astype(np.float32)
    if samples.dtype == np.uint8:
        return (plain - np.float32(128)) / np.float32(128)
    if samples.dtype.kind == "i":
        return plain / np.float32(2.0 ** (8 * samples.dtype.itemsize - 1))
    return np.nan_to_num(plain, nan=0.0, posinf=1.0, neginf=-1.0)


def _int8(values: NDArray[np.float32]) -> NDArray[np.int8]:
    return np.clip(np.round(values * 127), -127, 127).astype(np.int8)
