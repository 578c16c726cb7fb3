"""The sound of a file, heard once: loudness, level, waveform and where people speak.

One decode feeds ffmpeg's R128 meter at the file's own rate and a 16 kHz mono mix for everything else. What comes out
are curves of a few values a second, so ten hours fit in some megabytes; operators cut their clip out of them. Start at
`hear`, then `Sound.between`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from malan.inference.speech import RATE_HZ, WINDOW, SpeechDetector
from malan.media.audio import audio_stream
from malan.media.open import open_media, read_only, read_packets

WINDOW_S = WINDOW / RATE_HZ  # 32 ms: one value of level, waveform and speech
STEP_S = 0.1  # one value of momentary loudness (EBU Tech 3341: 400 ms window)
FLOOR_DB = -100.0  # digital silence

_GAP_S = 0.05  # a timestamp that differs more than this from the count of samples is believed
_AHEAD = 64 * WINDOW  # samples collected before they are measured

_F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Sound:
    """What was heard of a stretch of sound. All curves lie on the clock that pictures use, in seconds.

    `times_s` and the arrays beside it have one value per 32 ms window; `momentary_times_s` and `momentary_lufs` one
    per 100 ms, the end of the 400 ms it was measured over. Speech is None when nobody asked for it.
    """

    start_s: float
    end_s: float
    times_s: NDArray[np.float64]
    level_db: _F32  # RMS of the mono mix, dBFS
    low: _F32  # least and greatest sample of the mono mix, -1 to 1
    high: _F32
    speech: _F32 | None  # probability
    momentary_times_s: NDArray[np.float64]
    momentary_lufs: _F32
    integrated_lufs: float | None  # of the stretch
    range_lu: float | None  # of the whole track only
    true_peak_dbtp: float | None  # of the whole track only
    damaged_s: tuple[tuple[float, float], ...] = ()

    def between(self, start_s: float, end_s: float) -> Sound | None:
        """The part that lies between two times, its loudness measured anew; None if nothing does."""
        first, end = np.searchsorted(self.times_s, (start_s - WINDOW_S / 2, end_s - WINDOW_S / 2))
        if end <= first:
            return None
        at, stop = np.searchsorted(self.momentary_times_s, (start_s + 0.2, end_s + 0.2))
        momentary = self.momentary_lufs[at:stop]
        return replace(
            self,
            start_s=max(start_s, self.start_s),
            end_s=min(end_s, self.end_s),
            times_s=self.times_s[first:end],
            level_db=self.level_db[first:end],
            low=self.low[first:end],
            high=self.high[first:end],
            speech=None if self.speech is None else self.speech[first:end],
            momentary_times_s=self.momentary_times_s[at:stop],
            momentary_lufs=momentary,
            integrated_lufs=gated_loudness(momentary),
            range_lu=None,
            true_peak_dbtp=None,
            damaged_s=tuple(s for s in self.damaged_s if s[0] < end_s and s[1] > start_s),
        )


def hear(
    path: str | Path,
    track: int | None = None,
    *,
    speech: bool = True,
    listen: Callable[[AudioFrame], None] | None = None,
) -> Sound | None:
    """Decode the first audio track (or the one named) once and measure it; None for a file without sound.

    Holes in the sound stay holes: times come from the file's timestamps. Packets that do not decode are passed over
    and reported in `damaged_s`. `listen` is called with every decoded frame, so that others share the decode.

    Raises:
        MediaError: The file cannot be opened.
    """
    with open_media(path) as container:
        if not container.streams.audio:
            return None
        stream = audio_stream(container, track, path)
        read_only(container, stream)
        ear = _Ear(speech)
        for frame in _frames(stream, read_packets(container, stream), ear.damaged):
            if listen is not None:
                listen(frame)
            ear.push(frame)
        return ear.report()


def gated_loudness(momentary_lufs: _F32) -> float | None:
    """Integrated loudness of 400 ms blocks by the two gates of ITU-R BS.1770-4 §2.8; None if all is below -70 LUFS."""
    loud = momentary_lufs[momentary_lufs > -70].astype(np.float64)
    if not len(loud):
        return None
    power = 10 ** (loud / 10)
    gated = power[loud > 10 * np.log10(power.mean()) - 10]
    return float(10 * np.log10(gated.mean()))


def _frames(
    stream: av.AudioStream, packets: Iterator[av.Packet[av.AudioStream]], damaged: list[tuple[float, float]]
) -> Iterator[AudioFrame]:
    last_s = 0.0
    for packet in _with_end(packets):
        if packet is not None and packet.pts is not None and packet.time_base:
            last_s = float(packet.pts * packet.time_base)
        try:
            frames = stream.decode(packet)
        except (av.FFmpegError, ValueError):
            length_s = float((packet.duration or 0) * packet.time_base) if packet and packet.time_base else 0.0
            damaged.append((last_s, last_s + length_s))
            continue
        yield from frames


def _with_end(packets: Iterator[av.Packet[av.AudioStream]]) -> Iterator[av.Packet[av.AudioStream] | None]:
    yield from packets
    yield None


@dataclass
class _Anchor:
    """From this much sound on, the file's clock reads this."""

    heard_s: float
    clock_s: float


class _Ear:
    """Takes decoded frames in order and builds the curves."""

    def __init__(self, speech: bool) -> None:
        self._meter: _LoudnessMeter | None = None
        self._mono: AudioResampler | None = None
        self._detector = SpeechDetector() if speech else None
        self._curves = _Curves()
        self._anchors: list[_Anchor] = []
        self._heard_s = Fraction(0)
        self._format: tuple[str, str, int] | None = None
        self._adapters: dict[tuple[str, str, int], AudioResampler] = {}
        self._waiting: list[_F32] = []
        self.damaged: list[tuple[float, float]] = []

    def push(self, frame: AudioFrame) -> None:
        if not frame.samples or not frame.sample_rate:
            return
        clock_s = None if frame.pts is None or not frame.time_base else float(frame.pts * frame.time_base)
        self._follow_clock(clock_s)
        length_s = Fraction(frame.samples, frame.sample_rate)
        frame.pts = None
        for same in self._adapted(frame):
            self._measure(same)
        self._heard_s += length_s

    def _follow_clock(self, clock_s: float | None) -> None:
        heard_s = float(self._heard_s)
        if not self._anchors:
            self._anchors.append(_Anchor(heard_s, clock_s or 0.0))
        elif clock_s is not None:
            last = self._anchors[-1]
            expected_s = last.clock_s + heard_s - last.heard_s
            if abs(clock_s - expected_s) > _GAP_S and clock_s > expected_s:
                self._anchors.append(_Anchor(heard_s, clock_s))

    def _adapted(self, frame: AudioFrame) -> list[AudioFrame]:
        """The frame in the format of the first one: some broadcasts change between programmes."""
        key = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._format is None:
            self._format = key
        if key == self._format:
            return [frame]
        adapter = self._adapters.setdefault(key, AudioResampler(*self._format))
        return adapter.resample(frame)

    def _measure(self, frame: AudioFrame) -> None:
        if self._meter is None or self._mono is None:
            self._meter, self._mono = _LoudnessMeter(frame), AudioResampler("s16", "mono", RATE_HZ)
        self._meter.push(frame)
        frame.pts = None
        for mono in self._mono.resample(frame):
            self._collect(mono)

    def _collect(self, mono: AudioFrame) -> None:
        # Sixteen bits, because libav then scales the mix so that it cannot clip; as float it would be 3 dB louder.
        self._waiting.append(mono.to_ndarray()[0].astype(np.float32) / 32768)
        if sum(map(len, self._waiting)) >= _AHEAD:
            self._flush(last=False)

    def _flush(self, *, last: bool) -> None:
        samples = np.concatenate(self._waiting) if self._waiting else np.zeros(0, np.float32)
        if last:
            samples = np.pad(samples, (0, -len(samples) % WINDOW))
        whole = len(samples) // WINDOW * WINDOW
        self._waiting = [samples[whole:]]
        self._curves.add(samples[:whole], self._detector)

    def report(self) -> Sound | None:
        if self._meter is None or self._mono is None:
            return None
        for mono in self._mono.resample(None):
            self._collect(mono)
        self._flush(last=True)
        self._meter.finish()
        level, low, high, speech = self._curves.joined()
        momentary = np.array(self._meter.momentary, np.float32)
        times_s = self._clock(np.arange(len(level)) * WINDOW_S)
        return Sound(
            start_s=self._anchors[0].clock_s,
            end_s=float(self._clock(np.array([float(self._heard_s)]))[0]),
            times_s=times_s,
            level_db=level,
            low=low,
            high=high,
            speech=speech,
            momentary_times_s=self._clock((np.arange(len(momentary)) + 1) * STEP_S),
            momentary_lufs=momentary,
            integrated_lufs=self._meter.integrated_lufs,
            range_lu=self._meter.range_lu,
            true_peak_dbtp=self._meter.true_peak_dbtp,
            damaged_s=tuple(self.damaged),
        )

    def _clock(self, heard_s: NDArray[Any]) -> NDArray[np.float64]:
        """Times on the file's clock of places in the sound."""
        starts = np.array([a.heard_s for a in self._anchors])
        clocks = np.array([a.clock_s for a in self._anchors])
        which = np.clip(np.searchsorted(starts, heard_s, side="right") - 1, 0, None)
        return np.asarray(clocks[which] + heard_s - starts[which], np.float64)


@dataclass
class _Curves:
    """One value per window of the mono mix."""

    level: list[_F32] = field(default_factory=list)
    low: list[_F32] = field(default_factory=list)
    high: list[_F32] = field(default_factory=list)
    speech: list[_F32] = field(default_factory=list)
    is_heard: bool = False

    def add(self, samples: _F32, detector: SpeechDetector | None) -> None:
        windows = samples.reshape(-1, WINDOW)
        power = np.einsum("nt,nt->n", windows, windows) / WINDOW
        self.level.append((10 * np.log10(np.maximum(power, 10 ** (FLOOR_DB / 10)))).astype(np.float32))
        self.low.append(windows.min(axis=1, initial=0))
        self.high.append(windows.max(axis=1, initial=0))
        if detector is not None:
            self.is_heard = True
            self.speech.append(detector.probabilities(samples))

    def joined(self) -> tuple[_F32, _F32, _F32, _F32 | None]:
        level, low, high = (np.concatenate(part) for part in (self.level, self.low, self.high))
        return level, low, high, np.concatenate(self.speech) if self.is_heard else None


class _LoudnessMeter:
    """EBU R128 by ffmpeg's ebur128 filter, with true peak."""

    def __init__(self, frame: AudioFrame) -> None:
        self._graph = av.filter.Graph()
        source = self._graph.add_abuffer(
            sample_rate=frame.sample_rate,
            format=frame.format,
            layout=frame.layout,
            time_base=Fraction(1, frame.sample_rate),
        )
        meter, sink = self._graph.add("ebur128", "metadata=1:peak=true"), self._graph.add("abuffersink")
        source.link_to(meter)
        meter.link_to(sink)
        self._graph.configure()
        self._samples = 0
        self._last: dict[str, str] = {}
        self.momentary: list[float] = []

    def push(self, frame: AudioFrame) -> None:
        frame.pts, frame.time_base = self._samples, Fraction(1, frame.sample_rate)
        self._samples += frame.samples
        self._graph.push(frame)
        self._drain()

    def finish(self) -> None:
        self._graph.push(None)
        self._drain()

    def _drain(self) -> None:
        while True:
            try:
                frame = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            words = frame.metadata
            if "lavfi.r128.M" in words:
                self._last = words
                self.momentary.append(max(FLOOR_DB, float(words["lavfi.r128.M"])))

    @property
    def integrated_lufs(self) -> float | None:
        value = self._value("I")
        return None if value is None or value <= -70 else value

    @property
    def range_lu(self) -> float | None:
        return self._value("LRA")

    @property
    def true_peak_dbtp(self) -> float | None:
        peak = self._value("true_peak")
        return None if peak is None or peak <= 0 else 20 * float(np.log10(peak))

    def _value(self, name: str) -> float | None:
        text = self._last.get(f"lavfi.r128.{name}")
        value = None if text is None else float(text)
        return None if value is None or not np.isfinite(value) else value
