"""Plucked strings: the extended Karplus-Strong string (Jaffe & Smith, 1983), solved in frequency instead of by sample.

    nail ─ comb of where it plucks ─ 1 / (1 − loss · turn around the stiff string) ─ body ─▶ one inverse transform

The loop is exact: its delay needs no tuning filter, stiffness follows f_k = k f₀ √(1 + B k²) instead of an all-pass,
loss grows with frequency as it does in air and in the string. Two planes of vibration beat and die at two rates.
吟 and 按 move the pitch by reading a tone faster or slower; fingers of a 轮指 differ. Start reading at `pluck`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from malan.media.instruments.playing import (
    RATE_HZ,
    Floats,
    Line,
    Mode,
    Sound,
    Spectrum,
    Tone,
    body,
    drawn,
    hertz,
    on_grid,
)

_SAFE_DECAY = 6.9  # how much the window takes away, so that its end does not run into its beginning
_REPLUCK_S, _FINGERS = 0.16, 4
_HAND_S = 0.006


@dataclass(frozen=True)
class Strings:
    """An instrument.

    Args:
        decay_s: Until a tone at 220 Hz is 60 dB quieter.
        fall: How much sooner an octave higher dies, as a power.
        dull: Loss that grows with the square of kilohertz, against the loss at the bottom.
        stiffness: B at 220 Hz; it grows with pitch, as strings get shorter.
        place: Where the string is plucked, as a share of its length.
        nail_hz: Above it the nail gives less.
        warm: From which partial on a stroke falls by 6 dB an octave.
        knock: How much the body hears of the nail itself.
        modes: Of the body.
        ring_s: How long a tone goes on when its note is over; the hand then stops it.
        strings: A tone has so many; cents between them.
        trembles: Cents of 吟 on long notes; 0 for none.
    """

    decay_s: float
    fall: float
    dull: float
    stiffness: float
    place: float
    nail_hz: float
    warm: float
    knock: float
    modes: tuple[Mode, ...]
    ring_s: float
    strings: tuple[float, ...] = (0.0, 0.7)
    trembles: float = 0.0


PLUCKED: dict[str, Strings] = {
    "guzheng": Strings(
        5.2, 0.55, 0.035, 4e-5, 0.13, 7200.0, 2.4, 0.22,
        ((98.0, 7, 0.5), (176.0, 8, 0.7), (262.0, 7, 0.6), (410.0, 5, 0.9), (690.0, 4, 0.8), (1250.0, 2.5, 0.8),
         (2600.0, 2, 0.6)), 1.5, (0.0, 0.9), 24.0,
    ),
    "pipa": Strings(
        1.9, 0.5, 0.035, 9e-5, 0.085, 9000.0, 3.2, 0.75,
        ((190.0, 5, 0.25), (430.0, 4, 0.9), (640.0, 5, 1.1), (980.0, 3.5, 0.9), (1900.0, 2.5, 0.8), (3300.0, 2.5, 0.6)),
        0.12, (0.0, 1.4), 14.0,
    ),
    "zhongruan": Strings(
        2.4, 0.5, 0.12, 5e-5, 0.16, 4600.0, 1.0, 0.30,
        ((118.0, 6, 0.7), (205.0, 6, 1.0), (330.0, 5, 0.9), (520.0, 4, 0.7), (900.0, 3, 0.5)), 0.25, (0.0, 0.8), 10.0,
    ),
    "sanxian": Strings(
        1.0, 0.45, 0.09, 8e-5, 0.10, 7000.0, 2.2, 0.9,
        ((240.0, 4, 0.4), (410.0, 6, 1.1), (700.0, 5, 1.0), (1300.0, 4, 0.9), (2500.0, 3, 0.6)), 0.10, (0.0, 1.0), 0.0,
    ),
    "yueqin": Strings(
        1.2, 0.5, 0.07, 9e-5, 0.11, 8000.0, 2.6, 0.7,
        ((310.0, 4, 0.6), (560.0, 5, 1.0), (850.0, 5, 0.9), (1600.0, 3, 0.8), (3000.0, 3, 0.6)), 0.10,
        (0.0, 2.6, 0.8), 0.0,
    ),
    "yangqin": Strings(
        3.2, 0.6, 0.05, 6e-5, 0.11, 6500.0, 3.0, 0.35,
        ((150.0, 6, 0.5), (270.0, 6, 0.7), (480.0, 5, 0.8), (820.0, 4, 0.8), (1700.0, 2.5, 0.8), (3400.0, 2, 0.5)), 0.7,
        (0.0, 2.2, -1.9), 0.0,
    ),
}  # fmt: skip


def pluck(strings: Strings, line: Line, seconds: float) -> Sound:
    """A line on plucked strings, (samples, 2).

    A string that is plucked again is silent first; a tone that is over rings on as the instrument does.
    """
    count = round(seconds * RATE_HZ)
    out = np.zeros((count + 1, 2), np.float32)
    until = _stopped(strings, line.tones)
    finger, rack = 0, _Rack(strings)
    for number, tone in enumerate(line.tones):
        before = line.tones[number - 1] if number else None
        is_again = before is not None and before.pitch == tone.pitch and tone.start_s - before.start_s < _REPLUCK_S
        finger = (finger + 1) % _FINGERS if is_again else 0
        start = round(tone.start_s * RATE_HZ)
        if start >= count:
            continue
        lasts = min(until[number], seconds) - tone.start_s
        heard = rack.tone(tone.pitch, finger, (tone.force > 64) + (tone.force > 92), lasts)[
            : max(round(lasts * RATE_HZ), 64)
        ]
        heard = _moved(strings, heard, tone, before)[: count - start]
        gain = (tone.force / 100) ** 1.6 * (0.93 + 0.14 * drawn(number, tone.pitch))
        out[start : start + len(heard)] += _let_go(heard, _HAND_S) * np.float32(gain)
    return on_grid(out[:count])


def _stopped(strings: Strings, tones: Sequence[Tone]) -> list[float]:
    """When each tone is silent: soon after its note, or when its string is plucked again."""
    out, following = [0.0] * len(tones), dict[int, float]()
    for number in range(len(tones) - 1, -1, -1):
        tone = tones[number]
        out[number] = min(tone.end_s + strings.ring_s, following.get(tone.pitch, math.inf))
        following[tone.pitch] = tone.start_s + 0.004
    return out


def _let_go(heard: Sound, least_s: float) -> Sound:
    """The end of a tone under the hand: a short slope, longer for what rings longer."""
    edge = min(len(heard), max(round(least_s * RATE_HZ), len(heard) // 5))
    out = heard.copy()
    out[-edge:] *= np.linspace(1.0, 0.0, edge, dtype=np.float32)[:, None] ** 2
    return out


def _moved(strings: Strings, heard: Sound, tone: Tone, before: Tone | None) -> Sound:
    """上滑 from the step before now and then, and 吟 while a long note rings: read faster and slower."""
    lasts = tone.end_s - tone.start_s
    if not strings.trembles or lasts < 0.3:
        return heard
    time = np.arange(0, len(heard), 64) / RATE_HZ
    cents = np.zeros(len(time))
    step = tone.pitch - before.pitch if before else 0
    lot = drawn(tone.pitch, round(tone.start_s * 1000))
    if 2 <= step <= 3 and lot < 0.45:
        cents -= 100.0 * step * (0.5 + 0.5 * np.cos(np.pi * np.clip((time - 0.05) / 0.13, 0, 1)))
    if lasts >= 0.45 and lot > 0.3:
        grows = np.clip((time - 0.16) / 0.25, 0, 1) * np.clip(1.6 - time / 1.6, 0, 1)
        cents += strings.trembles * (0.6 + 0.6 * lot) * grows * np.sin(2 * np.pi * (5.2 + lot) * (time - 0.16))
    if not cents.any():
        return heard
    return _read_at(heard, cents)


def _read_at(heard: Sound, cents: Floats) -> Sound:
    """A tone read at a speed that changes (cents at every 64th sample), between samples by cubics."""
    speed = 2.0 ** (cents / 1200)
    coarse = np.concatenate([[0.0], np.cumsum(speed)[:-1] * 64])
    place = np.interp(np.arange(len(heard)), np.arange(len(cents)) * 64, coarse)
    place = place[place < len(heard) - 3]
    whole = np.maximum(place.astype(np.int64), 1)
    part = (place - whole)[:, None].astype(np.float32)
    a, b, c, d = heard[whole - 1], heard[whole], heard[whole + 1], heard[whole + 2]
    out: Sound = b + 0.5 * part * (c - a + part * (2 * a - 5 * b + 4 * c - d + part * (3 * (b - c) + d - a)))
    return out


class _Rack:
    """The tones of one instrument in one piece, each computed once; gone with the piece."""

    def __init__(self, strings: Strings) -> None:
        self._strings = strings
        self._tones: dict[tuple[int, int, int, int], Sound] = {}
        self._loops: dict[tuple[int, int], list[tuple[Floats, Spectrum]]] = {}

    def tone(self, pitch: int, finger: int, force: int, lasts_s: float) -> Sound:
        """One tone, at least so long or until it is gone."""
        goes = min(lasts_s, 0.75 * self._strings.decay_s * (220 / hertz(pitch)) ** self._strings.fall)
        size = 1 << min(max(math.ceil(math.log2(max(goes, 0.3) * RATE_HZ)), 15), 18)
        key = (pitch, finger, force, size)
        if key not in self._tones:
            self._tones[key] = self._sounded(*key)
        return self._tones[key]

    def _sounded(self, pitch: int, finger: int, force: int, size: int) -> Sound:
        strings, low, frequencies = self._strings, hertz(pitch), _frequencies(size)
        bright = strings.nail_hz * (0.5, 0.75, 1.05)[force] * (1.0, 0.82, 0.9, 0.74)[finger]
        nail = 1 / (1 + 1j * frequencies / bright)
        place = strings.place * (1 + 0.22 * finger)
        rung = sum((1 - np.exp(-2j * np.pi * place * partial)) * loop for partial, loop in self._loops_of(pitch, size))
        knock = strings.knock * (1.0, 0.8, 0.9, 0.7)[finger] / (1 + 1j * frequencies / bright)
        heard = nail**2 / (1 + 1j * frequencies / (strings.warm * low)) * rung + knock
        sides = [np.fft.irfft(heard * side, size) for side in _sides(strings, size)]
        time = np.arange(size)
        shape = np.exp(_SAFE_DECAY * time / size) * np.minimum(1.0, (size - time) / (0.1 * size)) ** 2
        out = np.stack(sides, axis=1) * shape[:, None]
        held: Sound = (out * (0.08 / math.sqrt(float((out[: RATE_HZ // 5] ** 2).mean())))).astype(np.float32)
        return held

    def _loops_of(self, pitch: int, size: int) -> list[tuple[Floats, Spectrum]]:
        if (pitch, size) not in self._loops:
            strings, low = self._strings, hertz(pitch)
            lasts, window = strings.decay_s * (220 / low) ** strings.fall, _SAFE_DECAY * RATE_HZ / size
            self._loops[pitch, size] = [
                _string(strings, _frequencies(size), low * 2 ** (cents / 1200), lasts * share, window)
                for cents, share in zip(strings.strings, (1.0, 0.62, 0.8), strict=False)
            ]
        return self._loops[pitch, size]


@lru_cache(maxsize=4)
def _frequencies(size: int) -> Floats:
    held: Floats = np.fft.rfftfreq(size, 1 / RATE_HZ).astype(np.float64)
    return held


@lru_cache(maxsize=12)
def _sides(strings: Strings, size: int) -> tuple[Spectrum, Spectrum]:
    """The body to the left and to the right."""
    frequencies = _frequencies(size)
    left, right = (body(frequencies, strings.modes, side=side) * _floor(frequencies) for side in (0, 1))
    return left, right


def _string(
    strings: Strings, frequencies: Floats, low: float, lasts: float, window: float
) -> tuple[Floats, Spectrum]:  # fmt: skip
    """Which partial each frequency would be, and what many turns around the string add up to."""
    stiff = strings.stiffness * (low / 220) ** 1.2
    ratio = frequencies / low
    root = np.sqrt(1 + 4 * stiff * ratio**2)
    partial = ratio * np.sqrt(2 / (1 + root))  # k, where f = k f₀ √(1 + B k²)
    delay = ratio / np.maximum(partial, 1e-9) / low / root  # of a group of waves around the string
    delay[0] = 1 / low
    dies = _SAFE_DECAY / lasts * (1 + strings.dull * lasts * (frequencies / 1000) ** 2 / (1 + frequencies / 9000))
    turn = np.exp(-2j * np.pi * partial)
    return partial, 1 / (1 - turn * np.exp(-(dies + window) * delay))


def _floor(frequencies: Floats) -> Spectrum:
    """No body sounds below some 60 Hz; and nothing jumps at the highest frequency, which would ring backwards."""
    turn = 1j * frequencies / 60.0
    shuts = np.cos(np.pi / 2 * np.clip((frequencies - 13_000) / 10_000, 0, 1)) ** 2
    held: Spectrum = (turn / (1 + turn)) ** 2 * shuts
    return held
