"""Beats of a track, and where the cuts of a film fall.

Beats by onset strength and dynamic programming (Ellis 2007, "Beat Tracking by Dynamic Programming"): a tempo from the
autocorrelation of onsets, then the chain of onsets that is strong and even. Start reading at `beats_of` and
`lay_slots`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from malan.media.audio import audio_blocks

Floats = NDArray[np.float64]

_RATE_HZ, _HOP, _WINDOW = 16_000, 160, 1024
_LONGEST_S = 300.0
_LATE_S = 0.05  # an attack raises the strength as soon as it enters a window, near its end
_EVEN = 100.0  # how much an even pulse counts against strong onsets


@dataclass(frozen=True)
class Beats:
    """Seconds of the beats, and how fast they come. None of either where there is no pulse."""

    times_s: Floats
    tempo_bpm: float


def beats_of(path: str | Path, *, seconds: float = _LONGEST_S) -> Beats:
    """The beats of a track.

    Raises:
        MediaError: It has no sound, or cannot be read.
    """
    parts, length = [], 0
    for block in audio_blocks(path, rate=_RATE_HZ, mono=True):
        parts.append(np.asarray(block.samples, np.float32).reshape(-1))
        length += len(parts[-1])
        if length > seconds * _RATE_HZ:
            break
    samples = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    return find_beats(onsets(samples))


def onsets(samples_N: NDArray[np.float32]) -> Floats:
    """Onset strength, a hundred times a second: how much louder the bands of the spectrum get."""
    if len(samples_N) < _WINDOW:
        return np.zeros(0)
    frames = np.lib.stride_tricks.sliding_window_view(samples_N, _WINDOW)[::_HOP]
    bands = _bands()
    strength = np.zeros(len(frames))
    before = None
    for begin in range(0, len(frames), 2000):  # a few megabytes at a time
        spectrum = np.abs(np.fft.rfft(frames[begin : begin + 2000] * np.hanning(_WINDOW), axis=1))
        loud = np.log1p(100 * spectrum @ bands.T)
        shifted = np.vstack([loud[:1] if before is None else before, loud[:-1]])
        strength[begin : begin + len(loud)] = np.maximum(loud - shifted, 0).mean(axis=1)
        before = loud[-1:]
    smooth = np.convolve(strength, np.hanning(7) / np.hanning(7).sum(), "same")
    local = np.convolve(smooth, np.ones(101) / 101, "same")
    rising = np.maximum(smooth - local, 0)
    deviation = rising.std()
    return np.asarray(rising / deviation if deviation > 0 else rising)


def find_beats(strength_T: Floats) -> Beats:
    """The most even chain of strong onsets; nothing where no tempo stands out."""
    if len(strength_T) < 400 or not strength_T.any():
        return Beats(np.zeros(0), 0.0)
    lags = np.arange(25, 151)  # 40 to 240 beats a minute
    padded = np.concatenate([strength_T, np.zeros(len(strength_T))])
    spectrum = np.fft.rfft(padded)
    similar = np.fft.irfft(spectrum * np.conj(spectrum))[:151] / len(strength_T)
    usual = np.exp(-0.5 * (np.log2(lags / 50) / 0.9) ** 2)  # people tap near 120
    score = (similar[lags] - similar[25:151].mean()) * usual
    period = int(lags[int(np.argmax(score))])
    if score.max() <= 0.05:
        return Beats(np.zeros(0), 0.0)
    found = _chain(strength_T, period)
    gaps = np.diff(found)
    tempo = 6000.0 / float(np.median(gaps)) if len(gaps) else 0.0
    return Beats(found / 100.0 + _LATE_S, tempo)


def _chain(strength_T: Floats, period: int) -> Floats:
    """Frames of the best chain with steps near the period."""
    steps = np.arange(-2 * period, -period // 2 + 1)
    cost = -_EVEN / 10 * np.log(-steps / period) ** 2
    best = strength_T.copy()
    link = np.full(len(strength_T), -1)
    for at in range(len(strength_T)):
        earlier = at + steps
        usable = earlier >= 0
        if usable.any():
            values = best[earlier[usable]] + cost[usable]
            place = int(np.argmax(values))
            if values[place] > 0:
                best[at] += values[place]
                link[at] = earlier[usable][place]
    at = len(best) - period + int(np.argmax(best[-period:])) if len(best) > period else int(np.argmax(best))
    chain = []
    while at >= 0:
        chain.append(at)
        at = int(link[at])
    return np.asarray(chain[::-1], np.float64)


def _bands() -> Floats:
    """Thirty-two bands, evenly spaced to the ear."""
    edges = 700 * (10 ** (np.linspace(2595 * np.log10(1 + 60 / 700), 2595 * np.log10(1 + 7600 / 700), 34) / 2595) - 1)
    bins = np.fft.rfftfreq(_WINDOW, 1 / _RATE_HZ)
    rise = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    triangles = np.maximum(0, np.minimum(rise, fall))
    return np.asarray(triangles / np.maximum(triangles.sum(axis=1, keepdims=True), 1e-9))


PACES = {"lively": (1.1, 2.2), "calm": (2.4, 4.4), "documentary": (2.0, 3.6)}
"""Style → how long a shot is held, in seconds: shortest and longest."""


def lay_slots(length_s: float, rate: int, style: str, beats_s: Sequence[float], seed: int) -> list[int]:
    """How many frames each shot is held; together exactly the length. On beats where there are any.

    The first and the last shot are held a little longer: a film needs a beginning and an end.
    """
    total = round(length_s * rate)
    shortest, longest = PACES[style]
    shortest = min(shortest, length_s)
    draw = np.random.default_rng(seed)
    beats = np.asarray([round(beat * rate) for beat in beats_s if 0 < beat < length_s])
    slots: list[int] = []
    at = 0
    while at < total:
        left = total - at
        held = draw.uniform(shortest, longest) * rate * (1.25 if not slots else 1.0)
        if left <= longest * rate * 1.4:
            slots.append(left)
            break
        end = at + round(held)
        near = (
            beats[(beats >= at + shortest * rate * 0.8) & (beats <= at + longest * rate * 1.25)]
            if len(beats)
            else beats
        )
        if len(near):
            end = int(near[np.argmin(np.abs(near - end))])
        slots.append(end - at)
        at = end
    return slots
