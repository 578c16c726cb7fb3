"""What is heard: where people speak, how loud it is, where it is silent.

All three read the curves of one decode. Segments are findings about their own stretch of the audio track; loudness is
told of every clip and of the whole track.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from malan.core import Clip, Finding, Span
from malan.curation.operator import Batch, ClipView, finding
from malan.curation.sound import STEP_S, WINDOW_S, Sound

SPEECH_ON, SPEECH_OFF = 0.5, 0.35  # probabilities at which speech begins and ends (as Silero's own segmenter)
SHORTEST_SPEECH_S, SPEECH_PAUSE_S, SPEECH_MARGIN_S = 0.25, 0.3, 0.06
SILENCE_DB = -60.0  # dBFS, RMS of 32 ms
SHORTEST_SILENCE_S = 0.5
CURVE_POINTS = 800  # of the loudness curve kept in a finding

_Stretches = list[tuple[int, int]]


class SpeechSegments:
    """`speech.segment`, one a stretch of speech."""

    name = "speech.segment"
    version = "1"
    reads = frozenset({"sound", "speech"})
    emits = ("speech.segment",)

    def run(self, batch: Batch) -> Sequence[Finding]:
        return [f for view in batch.views if view.is_whole and view.sound for f in self._segments(view, view.sound)]

    def _segments(self, view: ClipView, sound: Sound) -> Iterator[Finding]:
        if sound.speech is None:
            return
        for first, end in speech_stretches(sound.speech):
            part = sound.speech[first:end]
            value = {"probability": part.mean(), "level_db": np.median(sound.level_db[first:end])}
            start_s, end_s = _times(sound, first, end, SPEECH_MARGIN_S)
            yield finding(self, _part(view, start_s, end_s), "speech.segment", value, confidence=float(part.mean()))


class Loudness:
    """`audio.loudness` of each clip and of the whole track (EBU R128)."""

    name = "audio.loudness"
    version = "1"
    reads = frozenset({"sound"})
    emits = ("audio.loudness",)

    def run(self, batch: Batch) -> Sequence[Finding]:
        return [self._measure(view, view.sound) for view in batch.views if view.sound]

    def _measure(self, view: ClipView, sound: Sound) -> Finding:
        loudest = float(sound.momentary_lufs.max()) if len(sound.momentary_lufs) else None
        value: dict[str, object] = {
            "integrated_lufs": sound.integrated_lufs,
            "loudest_lufs": loudest,
            "sample_peak_dbfs": _peak_db(sound),
        }
        if view.is_whole:
            curve, step_s = thinned(sound.momentary_lufs, CURVE_POINTS)
            value |= {
                "range_lu": sound.range_lu,
                "true_peak_dbtp": sound.true_peak_dbtp,
                "curve_start_s": sound.start_s,
                "curve_step_s": step_s,
                "curve_lufs": [round(float(v), 1) for v in curve],
            }
        return finding(self, view, "audio.loudness", value, confidence=1.0)


class Silence:
    """`audio.silence`, one a stretch of half a second or longer."""

    name = "audio.silence"
    version = "1"
    reads = frozenset({"sound"})
    emits = ("audio.silence",)

    def run(self, batch: Batch) -> Sequence[Finding]:
        return [f for view in batch.views if view.is_whole and view.sound for f in self._segments(view, view.sound)]

    def _segments(self, view: ClipView, sound: Sound) -> Iterator[Finding]:
        quiet = sound.level_db < SILENCE_DB
        for first, end in _runs(quiet):
            if (end - first) * WINDOW_S >= SHORTEST_SILENCE_S:
                value = {"level_db": sound.level_db[first:end].max(), "below_db": SILENCE_DB}
                part = _part(view, *_times(sound, first, end, 0.0))
                yield finding(self, part, "audio.silence", value, confidence=1.0)


def speech_stretches(probability: NDArray[np.float32]) -> _Stretches:
    """Windows in which people speak: hysteresis, short pauses bridged, short bursts dropped."""
    raw: _Stretches = []
    for first, end in _runs(probability > SPEECH_OFF):
        if probability[first:end].max() >= SPEECH_ON:
            if raw and (first - raw[-1][1]) * WINDOW_S <= SPEECH_PAUSE_S:
                raw[-1] = (raw[-1][0], end)
            else:
                raw.append((first, end))
    return [(first, end) for first, end in raw if (end - first) * WINDOW_S >= SHORTEST_SPEECH_S]


def thinned(curve: NDArray[np.float32], points: int) -> tuple[NDArray[np.float32], float]:
    """The loudest value of each of at most `points` equal stretches, and their length in seconds."""
    stride = max(1, -(-len(curve) // points))
    padded = np.pad(curve, (0, -len(curve) % stride), constant_values=-100.0)
    return padded.reshape(-1, stride).max(axis=1), stride * STEP_S


def _runs(mask: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    for first, end in zip(edges[::2], edges[1::2], strict=True):
        yield int(first), int(end)


def _times(sound: Sound, first: int, end: int, margin_s: float) -> tuple[float, float]:
    start_s, end_s = float(sound.times_s[first]) - margin_s, float(sound.times_s[end - 1]) + WINDOW_S + margin_s
    return max(sound.start_s, start_s), min(sound.end_s, end_s)


def _part(view: ClipView, start_s: float, end_s: float) -> ClipView:
    """A stretch of the same track, to the nearest tick."""
    base = view.clip.span.timebase
    start, end = (round(Fraction(edge) / base) for edge in (start_s, end_s))
    return ClipView(Clip(view.clip.asset_id, view.clip.track, Span(start, max(start, end), base)), start_s, end_s)


def _peak_db(sound: Sound) -> float | None:
    peak = max(float(-sound.low.min(initial=0)), float(sound.high.max(initial=0)))
    return 20 * float(np.log10(peak)) if peak > 0 else None
