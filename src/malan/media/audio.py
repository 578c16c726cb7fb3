"""Decode the sound of a file as blocks of float samples on the file's clock.

Speech, loudness and waveform stand on it. It measures nothing. Start at `audio_blocks`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from numpy.typing import NDArray

from malan.core.errors import MediaError
from malan.media.open import has_decoder, open_media, read_only, read_packets
from malan.media.sniff import shown

Packet: TypeAlias = "av.Packet[AudioStream]"

_SETTLE = Fraction(1, 2)  # seconds decoded before what is wanted
_GAP = Fraction(1, 20)  # seconds a timestamp may differ from the count of samples before the count is corrected


@dataclass(frozen=True)
class AudioBlock:
    """A stretch of sound without a gap."""

    start: Fraction  # seconds on the clock that pictures use too, exact
    rate_hz: int
    samples: NDArray[np.float32]  # (T,) when mixed to one channel, else (T, C); -1 to 1

    @property
    def end(self) -> Fraction:
        """Seconds, excluded."""
        return self.start + Fraction(len(self.samples), self.rate_hz)


def audio_blocks(
    path: str | Path, track: int | None = None, *, rate: int | None = 16_000, mono: bool = True, block_s: float = 1.0
) -> Iterator[AudioBlock]:
    """The sound of one audio track (the first unless `track` names a stream) in blocks of about `block_s` seconds.

    Starts are exact: a hole in the sound is a hole between two blocks, never a shift of what follows. Packets that do
    not decode are such a hole. Where the file's clock falls back, time runs on, as in the packet index. Memory holds
    one block. `rate` None keeps the rate of the file; `mono` is the mean of all channels, so it never clips.

    Raises:
        MediaError: The file cannot be opened, has no sound, or nobody can decode it.
    """
    with open_media(path) as container:
        stream = audio_stream(container, track, path)
        read_only(container, stream)
        yield from _joined(_resampled(_decoded(container, stream), rate, mono), block_s)


def audio_between(
    path: str | Path, start: Fraction, end: Fraction, track: int | None = None, *, rate: int = 16_000
) -> Iterator[AudioBlock]:
    """The sound around `start` to `end`, in seconds on the file's clock, found by seeking; all channels.

    Blocks may begin a little before the start and run over the end; each says exactly where it lies. Decoding begins
    half a second before, so that codecs that look back have settled. Where the container cannot seek, it reads from
    the beginning.

    Raises:
        MediaError: The file cannot be opened, has no sound, or nobody can decode it.
    """
    with open_media(path) as container:
        stream = audio_stream(container, track, path)
        read_only(container, stream)
        with suppress(av.FFmpegError):
            container.seek(int((start - _SETTLE) / (stream.time_base or 1)), stream=stream)
        yield from _resampled(_within(_decoded(container, stream), end), rate, mono=False)


def _within(frames: Iterator[av.AudioFrame], end: Fraction) -> Iterator[av.AudioFrame]:
    for frame in frames:
        if frame.pts is not None and frame.time_base and frame.pts * frame.time_base >= end:
            return
        yield frame


def audio_stream(container: InputContainer, track: int | None, path: str | Path) -> AudioStream:
    """The audio track of that stream index, or the first one."""
    for stream in container.streams.audio:
        if track is None or stream.index == track:
            if not has_decoder(stream):
                raise MediaError("media.no_codec", path=shown(path), codec="?")
            return stream
    raise MediaError("media.no_audio", path=shown(path))


def _decoded(container: InputContainer, stream: AudioStream) -> Iterator[av.AudioFrame]:
    """Frames in file order; packets that do not decode are left out."""
    for packet in read_packets(container, stream):
        yield from _frames(stream, packet)
    yield from _frames(stream, None)


def _frames(stream: AudioStream, packet: Packet | None) -> list[av.AudioFrame]:
    try:
        return stream.decode(packet)
    except (av.FFmpegError, ValueError):
        return []


class _Run:
    """Sound without a gap and of one format: a start, and what is counted from there."""

    def __init__(self, frame: av.AudioFrame, start: Fraction, rate: int | None, mono: bool) -> None:
        self.start, self.format = start, _format(frame)
        self.rate_hz = rate or frame.sample_rate
        self._resampler = AudioResampler("flt", frame.layout.name, self.rate_hz)
        self._mono, self._taken, self._given = mono, 0, 0

    @property
    def end(self) -> Fraction:
        """Where the next frame starts if there is no gap."""
        return self.start + Fraction(self._taken, self.format[0])

    @property
    def given_end(self) -> Fraction:
        """Where the last block ended; resampling may give one sample more than its share."""
        return self.start + Fraction(self._given, self.rate_hz)

    def push(self, frame: av.AudioFrame | None) -> Iterator[AudioBlock]:
        """Sound that is ready; None gives the rest."""
        if frame is not None:
            frame.pts, frame.time_base = self._taken, Fraction(1, frame.sample_rate)
            self._taken += frame.samples
        for ready in self._resampler.resample(frame):
            samples = ready.to_ndarray().astype(np.float32, copy=False).reshape(ready.samples, -1)
            start = self.start + Fraction(self._given, self.rate_hz)
            self._given += len(samples)
            finite = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
            yield AudioBlock(start, self.rate_hz, finite.mean(axis=1) if self._mono else finite)


def _resampled(frames: Iterator[av.AudioFrame], rate: int | None, mono: bool) -> Iterator[AudioBlock]:
    run: _Run | None = None
    moved = Fraction(0)
    for frame in frames:
        start = None if frame.pts is None or not frame.time_base else frame.pts * frame.time_base + moved
        if run is not None and start is not None and start < run.end - _GAP:
            moved, start = moved + run.end - start, run.end
        if run is not None and not _continues(run, frame, start):
            yield from run.push(None)
            start, run = max(run.given_end, run.end if start is None else start), None
        run = run or _Run(frame, start or Fraction(0), rate, mono)
        yield from run.push(frame)
    if run is not None:
        yield from run.push(None)


def _continues(run: _Run, frame: av.AudioFrame, start: Fraction | None) -> bool:
    return run.format == _format(frame) and (start is None or abs(start - run.end) <= _GAP)


def _format(frame: av.AudioFrame) -> tuple[int, str, str]:
    return frame.sample_rate, frame.format.name, frame.layout.name


def _joined(blocks: Iterator[AudioBlock], block_s: float) -> Iterator[AudioBlock]:
    """Blocks of about the wished length, split where there is a gap."""
    held: list[AudioBlock] = []
    for block in blocks:
        if held and (block.start != held[-1].end or block.rate_hz != held[-1].rate_hz):
            yield _concatenated(held)
            held = []
        held.append(block)
        if held[-1].end - held[0].start >= block_s:
            yield _concatenated(held)
            held = []
    if held:
        yield _concatenated(held)


def _concatenated(blocks: list[AudioBlock]) -> AudioBlock:
    return AudioBlock(blocks[0].start, blocks[0].rate_hz, np.concatenate([b.samples for b in blocks]))
