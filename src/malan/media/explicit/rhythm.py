"""The rhythm 短长 短短, "AI" in Morse code, that labels sound (GB 45438-2025, 5.3): how it is made and how it is heard.

    ▁█▁███▁▁▁█▁█▁▁▁▁ programme        one unit is 0.12 s; letters are three units apart

The standard fixes the pattern alone, so the listener takes any tone, level and speed. Start at `rhythm` and
`find_rhythm`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

UNIT_S = 0.12
TONE_HZ = 1000.0
PATTERN = (1, 3, 1, 1)  # units of sound
GAPS = (1, 3, 1)  # units of silence between them
PAUSE_UNITS = 4  # before the programme
LISTEN_HZ = 16_000

_EDGE_S = 0.008  # a tone that starts at once clicks
_STEP_S = 0.005
_UNIT_RANGE_S = (0.04, 0.45)
_PURE = 0.6  # of the energy of a sound in one narrow band: a tone, not a voice


@dataclass(frozen=True)
class FoundRhythm:
    """Where a rhythm was heard, and its unit."""

    start_s: float
    end_s: float
    unit_s: float


def rhythm(rate_hz: int, amplitude: float) -> NDArray[np.float32]:
    """The rhythm and the pause after it, one channel. The peak is `amplitude`; no edge clicks."""
    parts = []
    for units, gap in zip(PATTERN, (*GAPS, PAUSE_UNITS), strict=True):
        parts += [_tone(units, rate_hz), np.zeros(round(gap * UNIT_S * rate_hz))]
    return (amplitude * np.concatenate(parts)).astype(np.float32)


def find_rhythm(samples: NDArray[np.float32], rate_hz: int) -> FoundRhythm | None:
    """The first place where a rhythm is heard; None where there is none. One channel."""
    level = _envelope(samples, rate_hz)
    if not len(level) or level.max() <= 0:
        return None
    for threshold in (0.5, 0.25, 0.12):  # of the loudest: the programme may be louder than the label
        runs = list(_runs(level > threshold * _loudest(level)))
        for number in range(len(runs) - 3):
            four = runs[number : number + 4]
            unit = _unit_of(four, runs[number - 1] if number else None)
            if unit and _is_one_tone(samples, rate_hz, four):
                return FoundRhythm(four[0][0] * _STEP_S, four[3][1] * _STEP_S, unit)
    return None


def _tone(units: int, rate_hz: int) -> NDArray[np.float64]:
    count, edge = round(units * UNIT_S * rate_hz), max(1, round(_EDGE_S * rate_hz))
    tone = np.sin(2 * np.pi * TONE_HZ * np.arange(count) / rate_hz)
    ramp = 0.5 - 0.5 * np.cos(np.pi * np.arange(edge) / edge)
    tone[:edge] *= ramp
    tone[-edge:] *= ramp[::-1]
    return tone


def _envelope(samples: NDArray[np.float32], rate_hz: int) -> NDArray[np.float64]:
    """RMS in steps of 5 ms, each over 10 ms."""
    step = max(1, round(_STEP_S * rate_hz))
    count = len(samples) // step
    power = (samples[: count * step].astype(np.float64) ** 2).reshape(count, step).mean(axis=1)
    return np.sqrt(np.convolve(power, [0.5, 0.5], "same"))


def _loudest(level: NDArray[np.float64]) -> float:
    return float(np.quantile(level, 0.98)) or float(level.max())


def _runs(is_on: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Starts and ends, in steps, of stretches that are on; holes of one step are closed."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], is_on.astype(np.int8), [0]])))
    start, end = -1, -1
    for a, b in edges.reshape(-1, 2).tolist():
        if start >= 0 and a - end <= 1:
            end = b
            continue
        if start >= 0:
            yield start, end
        start, end = a, b
    if start >= 0:
        yield start, end


def _unit_of(four: list[tuple[int, int]], before: tuple[int, int] | None) -> float:
    """The unit in seconds of four sounds that are short, long, short, short; 0 when they are not."""
    lengths = np.array([end - start for start, end in four]) * _STEP_S
    gaps = np.array([b[0] - a[1] for a, b in pairwise(four)]) * _STEP_S
    unit = float(np.median(lengths[[0, 2, 3]]))
    if not _UNIT_RANGE_S[0] <= unit <= _UNIT_RANGE_S[1]:
        return 0.0
    short, long = lengths[[0, 2, 3]] / unit, lengths[1] / unit
    well_spaced = (gaps / unit >= 0.3).all() and (gaps[[0, 2]] / unit <= 2.2).all() and gaps[1] / unit <= 8
    alone = before is None or (four[0][0] - before[1]) * _STEP_S >= 0.8 * unit
    return unit if (abs(short - 1) < 0.4).all() and 2 <= long <= 4.5 and well_spaced and alone else 0.0


def _is_one_tone(samples: NDArray[np.float32], rate_hz: int, four: list[tuple[int, int]]) -> bool:
    """Whether all four sounds are tones of about the same pitch."""
    pitches = []
    for start, end in four:
        first, last = (round(step * _STEP_S * rate_hz) for step in (start, end))
        sound = samples[first:last] * np.hanning(last - first)
        power = np.abs(np.fft.rfft(sound)) ** 2
        peak, width = int(power[1:].argmax()) + 1, max(2, round(40 * len(sound) / rate_hz))
        if power[max(0, peak - width) : peak + width + 1].sum() < _PURE * power.sum():
            return False
        pitches.append(peak * rate_hz / len(sound))
    return max(pitches) - min(pitches) <= 0.08 * max(pitches) + 20
