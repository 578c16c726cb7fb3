"""The gongs and drums of Chinese opera, which General MIDI lacks: struck metal and skin as sums of dying tones.

大锣 falls in pitch after the stroke, 小锣 rises; 铙钹 is a cloud of tones; 板鼓 is short and dry. Computed, not
sampled: the same each time. Start reading at `play_gongs`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 48_000
BIG_GONG, CYMBALS, SMALL_GONG, DRUM, TALL_DRUM, CLAPPER = 52, 49, 67, 76, 43, 75  # as the score numbers them
_PLACES = {BIG_GONG: 0.15, CYMBALS: -0.3, SMALL_GONG: 0.4, DRUM: 0.0, TALL_DRUM: -0.1, CLAPPER: -0.05}
_LEVELS = {BIG_GONG: 1.0, CYMBALS: 0.62, SMALL_GONG: 0.6, DRUM: 0.62, TALL_DRUM: 0.9, CLAPPER: 0.55}

_HAND_S = 0.03

Sound = NDArray[np.float32]


def play_gongs(strokes: Iterable[tuple[float, int, int]], seconds: float) -> Sound:
    """Strokes as sound, (samples, 2).

    Args:
        strokes: When (seconds), what, and how hard (1 to 127). What is not known is not heard.
        seconds: How long the sound is.
    """
    count = round(seconds * RATE_HZ)
    out = np.zeros((count, 2), np.float32)
    held = sorted(stroke for stroke in strokes if stroke[1] in _PLACES and stroke[0] < seconds)
    following: dict[int, float] = {}
    for when, what, force in reversed(held):
        start = round(when * RATE_HZ)
        tone = _damped(_stroke(what, force > 88), following.get(what, seconds + 1) - when)[: count - start]
        following[what] = when
        angle = (_PLACES[what] + 1) * np.pi / 4
        gain = _LEVELS[what] * (force / 110) ** 1.8
        out[start : start + len(tone), 0] += tone * np.float32(gain * np.cos(angle))
        out[start : start + len(tone), 1] += tone * np.float32(gain * np.sin(angle))
    return out


def _damped(tone: Sound, until_s: float) -> Sound:
    """The hand stops what rings when the next stroke comes."""
    end, edge = round(until_s * RATE_HZ), round(_HAND_S * RATE_HZ)
    if end + edge >= len(tone):
        return tone
    out = tone[: end + edge].copy()
    out[end:] *= np.linspace(1.0, 0.0, edge, dtype=np.float32)
    return out


@lru_cache(maxsize=16)
def _stroke(what: int, is_hard: bool) -> Sound:
    lots = np.random.Generator(np.random.PCG64(what))
    ratios: tuple[float, ...]
    if what == BIG_GONG:
        ratios = (1.0, 1.27, 1.62, 1.99, 2.43, 2.9, 3.5, 4.3, 5.2, 6.3)
        bright = 0.86 if is_hard else 0.68
        return _metal(lots, 392.0, ratios, bright, 2.4, 0.6, glide=(0.11, 0.16), noise=0.4)
    if what == SMALL_GONG:
        ratios = (1.0, 1.52, 2.06, 2.71, 3.4, 4.6)
        return _metal(lots, 735.0, ratios, 0.62, 1.1, 0.34, glide=(-0.085, 0.07), noise=0.15)
    if what == CYMBALS:
        ratios = tuple(np.sort(lots.uniform(1.0, 9.0, 46)))
        return _metal(lots, 1150.0, ratios, 0.97, 0.9, 0.2, glide=(0.0, 1.0), noise=0.9)
    if what == TALL_DRUM:
        return _skin(lots, 92.0, 0.5, 0.16, click=0.12)
    if what == CLAPPER:
        return _skin(lots, 1350.0, 0.12, 0.018, click=0.9)
    return _skin(lots, 780.0, 0.16, 0.03, click=0.8)


def _metal(
    lots: np.random.Generator, pitch: float, ratios: tuple[float, ...], bright: float, seconds: float, decay_s: float,
    *, glide: tuple[float, float], noise: float,
) -> Sound:  # fmt: skip
    """Inharmonic tones, the higher the sooner gone, over a burst of noise; the pitch glides to its place."""
    time = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    bend = 1 + glide[0] * np.exp(-time / glide[1])
    turns = 2 * np.pi * np.cumsum(bend) / RATE_HZ
    out = np.zeros(len(time))
    for number, ratio in enumerate(ratios):
        level = bright**number * lots.uniform(0.7, 1.0)
        dies = decay_s / (0.55 + 0.45 * ratio**0.8)
        rises = 1 - np.exp(-time / (0.0015 + 0.004 * min(number, 4)))
        out += level * rises * np.exp(-time / dies) * np.sin(turns * pitch * ratio + lots.uniform(0, 6.28))
    burst = np.diff(lots.standard_normal(len(time) + 1)) * np.exp(-time / (0.03 + 0.3 * decay_s))
    return _finished(out / np.abs(out).max() + noise * burst / np.abs(burst).max(), time, seconds)


def _skin(lots: np.random.Generator, pitch: float, seconds: float, decay_s: float, *, click: float) -> Sound:
    """A drum: a tone that falls a little, two of its overtones, and the stick."""
    time = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    turns = 2 * np.pi * pitch * np.cumsum(1 + 0.25 * np.exp(-time / (0.4 * decay_s))) / RATE_HZ
    out = np.exp(-time / decay_s) * (np.sin(turns) + 0.5 * np.sin(1.59 * turns) + 0.25 * np.sin(2.3 * turns))
    stick = lots.standard_normal(len(time)) * np.exp(-time / 0.004)
    return _finished(out / np.abs(out).max() + click * stick / np.abs(stick).max(), time, seconds)


def _finished(out: NDArray[np.float64], time: NDArray[np.float64], seconds: float) -> Sound:
    """Without a jump at its end, its peak at a half."""
    out = out * np.minimum(1.0, (seconds - time) / 0.02)
    done: Sound = (0.5 * out / np.abs(out).max()).astype(np.float32)
    return done
