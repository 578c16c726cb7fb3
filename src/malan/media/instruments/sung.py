"""Bows on snakeskin, bamboo and reeds: one line of pitch and breath drives a source, a fixed body colours it.

    notes, bends ─▶ pitch, force ─▶ waves with as many partials as fit ─┬─ body ─▶ (samples, 2)
                                            bow, breath (noise) ────────┘

Because the body stands still while the pitch trembles, every partial grows and shrinks on its way (what sampled notes
lack), and slurred notes are one tone that moves. Start reading at `sing_line`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

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
from malan.media.mastering import filtered

Indices = NDArray[np.int64]

_STRETCH = 1 << 19
_STEP = 48  # samples between two points of a curve: 1 ms
_TABLE = 2048
_HIGHEST_HZ = 17_000.0
_SLURRED_S = 0.035  # no more silence than this, and notes are one breath
_EDGE_S = 0.012


@dataclass(frozen=True)
class Voice:
    """An instrument that sings.

    Args:
        slope: dB each octave of partials falls, before the body.
        even: Of even partials from the fourth on, as a share.
        soft: How many dB more the highest partials fall when played softly.
        rises_s: Until a note is there.
        falls_s: Until it is gone.
        slides_s: From note to note.
        dips: How much force is left where bow or tongue changes.
        scoops: Cents below its pitch at which a new breath begins.
        trembles: Cents and share of force that long notes tremble by themselves; bends come on top.
        noise: Of bow or breath, against the tone.
        chiff: How much more of it where a note begins.
        rough: How uneven pitch (cents) and force are.
        modes: Of the body or the bell.
        floor_hz: Nothing sounds below.
        opens: Where the body begins to hold back, in Hz.
    """

    slope: float
    even: float
    soft: float
    rises_s: float
    falls_s: float
    slides_s: float
    dips: float
    scoops: float
    trembles: tuple[float, float]
    noise: float
    chiff: float
    rough: float
    modes: tuple[Mode, ...]
    floor_hz: float
    opens: float


SUNG: dict[str, Voice] = {
    # Pairs of skin and tube resonances, like formants of a voice (Waltham 2018)
    "erhu": Voice(
        4.2, 1.0, 9.0, 0.055, 0.07, 0.034, 0.55, 28.0, (0.0, 0.05), 0.035, 2.2, 3.5,
        ((430.0, 3.2, 0.8), (690.0, 5.0, 0.8), (1120.0, 3.5, 0.8), (1750.0, 4.0, 0.85), (2750.0, 3.0, 0.8),
         (3900.0, 3.0, 0.4)), 210.0, 6800.0,
    ),
    "datong": Voice(
        4.0, 1.0, 8.0, 0.040, 0.06, 0.040, 0.5, 38.0, (0.0, 0.06), 0.055, 2.6, 5.0,
        ((360.0, 3.2, 0.8), (780.0, 4.0, 0.9), (1350.0, 3.5, 0.7), (2100.0, 3.5, 0.7), (3100.0, 3.0, 0.55)),
        180.0, 6200.0,
    ),
    "jinghu": Voice(
        4.2, 1.0, 7.0, 0.022, 0.045, 0.020, 0.5, 20.0, (0.0, 0.04), 0.05, 2.4, 3.5,
        ((820.0, 3.0, 0.8), (1450.0, 4.0, 0.9), (2300.0, 3.5, 0.8), (3400.0, 3.0, 0.6), (4700.0, 3.0, 0.35)),
        330.0, 7000.0,
    ),
    # First formant of the membrane at 4 to 6 kHz, odd partials stronger, a second one above 10 kHz (Tsai 2003)
    "dizi": Voice(
        6.5, 0.5, 8.0, 0.030, 0.05, 0.010, 0.62, 22.0, (5.0, 0.13), 0.030, 3.5, 2.2,
        ((900.0, 0.7, 1.0), (4900.0, 2.2, 1.7), (11_500.0, 2.5, 0.9)), 260.0, 14_000.0,
    ),
    "xiao": Voice(
        14.0, 0.7, 9.0, 0.060, 0.09, 0.020, 0.7, 26.0, (6.0, 0.16), 0.055, 2.4, 2.2,
        ((650.0, 0.7, 1.0), (1900.0, 2.0, 0.25)), 180.0, 7000.0,
    ),
    "suona": Voice(
        3.0, 1.0, 7.0, 0.020, 0.045, 0.022, 0.45, 70.0, (17.0, 0.06), 0.012, 3.0, 3.0,
        ((1050.0, 2.6, 0.75), (1700.0, 4.0, 0.5), (2900.0, 3.2, 1.0), (3900.0, 4.0, 0.5)), 300.0, 5600.0,
    ),
}  # fmt: skip


def sing_line(voice: Voice, line: Line, seconds: float) -> Sound:
    """A line of single notes, (samples, 2); where two sound at once, the later one goes on."""
    count = round(seconds * RATE_HZ)
    tones = _alone(line.tones, seconds)
    if not tones:
        return np.zeros((count, 2), np.float32)
    points = count // _STEP + 2
    pitch, force = _pitches(voice, line, tones, points), _forces(voice, line, tones, points)
    turns, press = _turns(pitch, count), np.clip(force, 0, 1.1) ** 1.2
    out = np.zeros(count, np.float32)
    for one, two in pairwise([*tones, tones[-1]._replace(start_s=seconds + 1)]):
        _add(out, voice, turns, press, (one, two), seconds)
    out *= _fine(force, count)
    out += _air(voice, tones, turns, force)
    return on_grid(filtered(np.stack([out, out], axis=1), _bell(voice)))


def _turns(pitch: Floats, count: int) -> Sound:
    """How far the wave is in its turn at each sample, 0 to 1; a stretch at a time, because a piece may be long."""
    out, before = np.empty(count, np.float32), 0.0
    for first in range(0, count, _STRETCH):
        places = np.arange(first, min(first + _STRETCH, count)) / _STEP
        turns = before + np.cumsum(hertz_of(np.interp(places, np.arange(len(pitch)), pitch))) / RATE_HZ
        before = float(turns[-1] % 1.0)
        out[first : first + len(turns)] = turns % 1.0
    return out


def _fine(curve: Floats, count: int) -> Sound:
    """A curve at every sample."""
    out = np.empty(count, np.float32)
    for first in range(0, count, _STRETCH):
        places = np.arange(first, min(first + _STRETCH, count)) / _STEP
        out[first : first + len(places)] = np.interp(places, np.arange(len(curve)), curve)
    return out


def hertz_of(pitch: Floats) -> Floats:
    """Frequencies of pitches that need not be whole."""
    held: Floats = 440.0 * np.exp2((pitch - 69) / 12)
    return held


def _alone(tones: Sequence[Tone], seconds: float) -> list[Tone]:
    """One note at a time, inside the length; of two that begin together, the higher."""
    out: list[Tone] = []
    for tone in sorted(tones):
        if tone.start_s >= seconds:
            break
        if out and tone.start_s - out[-1].start_s < 0.012:
            out[-1] = max(out[-1], tone, key=lambda one: one.pitch)
            continue
        if out and out[-1].end_s > tone.start_s:
            out[-1] = out[-1]._replace(end_s=tone.start_s)
        out.append(tone)
    return out


def _is_slurred(one: Tone | None, two: Tone) -> bool:
    return one is not None and two.start_s - one.end_s <= _SLURRED_S


def _pitches(voice: Voice, line: Line, tones: Sequence[Tone], points: int) -> Floats:
    """Pitch at each point: notes, slides between them, scoops into new breaths, bends, what is not quite even."""
    clock = np.arange(points) * _STEP / RATE_HZ
    starts = np.array([tone.start_s for tone in tones])
    which = np.clip(np.searchsorted(starts, clock, "right") - 1, 0, len(tones) - 1)
    levels = np.array([float(tone.pitch) for tone in tones])
    away = [0.0] * len(tones)
    for number, tone in enumerate(tones):
        before = tones[number - 1] if number else None
        away[number] = levels[number - 1] - tone.pitch if _is_slurred(before, tone) else -voice.scoops / 100
    since = np.maximum(clock - starts[which], 0.0)
    long = np.array([voice.slides_s if abs(step) > 0.8 else 1.6 * voice.slides_s + 0.02 for step in away])
    out = levels[which] + np.array(away)[which] * np.exp(-((since / long[which]) ** 2) * 3)
    if line.bends:  # a bend stays until the next one
        times, cents = (np.array(row) for row in zip(*line.bends, strict=True))
        held_cents = np.append(0.0, cents)[np.searchsorted(times, clock, "right")]
        out += np.convolve(np.pad(held_cents, 6, mode="edge"), np.full(13, 1 / 13), "valid") / 100
    wave = _tremble(tones, clock, which, since)
    held: Floats = out + (wave * voice.trembles[0] + voice.rough * _wander(points, 1)) / 100
    return held


def _tremble(
    tones: Sequence[Tone], clock: Floats, which: Indices, since: Floats
) -> Floats:  # fmt: skip
    """A wave of some five and a half a second on what is long, growing."""
    lasts = np.array([tone.end_s - tone.start_s for tone in tones])[which]
    grows = np.clip((since - 0.22) / 0.35, 0, 1) * (lasts > 0.42)
    rate = 5.3 + 0.5 * _wander(len(clock), 3)
    held: Floats = np.sin(2 * np.pi * np.cumsum(rate) * _STEP / RATE_HZ) * grows
    return held


def _forces(voice: Voice, line: Line, tones: Sequence[Tone], points: int) -> Floats:
    """Force at each point: rise, swell and fall of each note, less where the bow turns, expression, trembling."""
    clock = np.arange(points) * _STEP / RATE_HZ
    out = np.zeros(points)
    for number, tone in enumerate(tones):
        before = tones[number - 1] if number else None
        after = tones[number + 1] if number + 1 < len(tones) else None
        ends = _is_slurred(tone, after) if after else False
        first = max(int(tone.start_s * RATE_HZ / _STEP), 0)
        over = after.start_s if after and ends else tone.end_s + 3 * voice.falls_s
        last = min(int((min(over, after.start_s) if after else over) * RATE_HZ / _STEP) + 1, points)
        time = clock[first:last] - tone.start_s
        begins = voice.dips if _is_slurred(before, tone) else 0.0
        shape = begins + (1 - begins) * (1 - np.exp(-np.maximum(time, 0) / (0.45 * voice.rises_s)))
        lasts = max(tone.end_s - tone.start_s, 0.05)
        shape *= 0.86 + 0.14 * np.sin(np.pi * np.clip(time / lasts, 0, 1) ** 0.8)
        gone = np.maximum(time - lasts + (0.012 if ends else 0.0), 0)
        shape *= (1 - (1 - voice.dips) * np.clip(gone / 0.012, 0, 1)) if ends else np.exp(-gone / (0.4 * voice.falls_s))
        out[first:last] = shape * (tone.force / 100) ** 1.3
    out = _smooth(out)
    if line.swells:
        times, values = zip(*line.swells, strict=True)
        out *= (np.interp(clock, times, values) / 127) ** 1.5
    starts = np.array([tone.start_s for tone in tones])
    which = np.clip(np.searchsorted(starts, clock, "right") - 1, 0, len(tones) - 1)
    wave = _tremble(tones, clock, which, np.maximum(clock - starts[which], 0))
    held: Floats = out * (1 + voice.trembles[1] * wave) * (1 + 0.012 * voice.rough * _wander(points, 2))
    return held


def _smooth(curve: Floats) -> Floats:
    """Without corners: a mean over five milliseconds."""
    return np.convolve(np.pad(curve, 2, mode="edge"), np.full(5, 0.2), "valid")


@lru_cache(maxsize=8)
def _wander(points: int, lot: int) -> Floats:
    """What wanders between −1 and 1, some four times a second."""
    lots = np.random.Generator(np.random.PCG64(31 + lot))
    every = round(0.11 * RATE_HZ / _STEP)
    knots = 2 * lots.random(points // every + 3) - 1
    return np.interp(np.arange(points) / every, np.arange(len(knots)), knots)


def _add(
    out: Sound, voice: Voice, turns: Sound, press: Floats, two: tuple[Tone, Tone], seconds: float
) -> None:  # fmt: skip
    """The wave of one note, until the next begins; both are there for 12 ms. The harder it is played the brighter it
    is, and because the bow or the lips move, no partial stays as it was."""
    one, following = two
    edge = round(_EDGE_S * RATE_HZ)
    start = max(round(one.start_s * RATE_HZ), 0)
    end = min(round(min(following.start_s, one.end_s + 4 * voice.falls_s, seconds) * RATE_HZ) + edge, len(out))
    if end - start < 2 * edge:
        return
    soft, loud, other = _waves(voice, one.pitch)
    wide = np.arange(start, end) / _STEP
    share = np.interp(wide, np.arange(len(press)), press).astype(np.float32)
    moved = np.interp(wide, np.arange(len(press)), _wander(len(press), 5)).astype(np.float32)
    place = turns[start:end] * np.float32(_TABLE)
    whole = np.minimum(place.astype(np.int32), _TABLE - 1)
    part = place - whole.astype(np.float32)
    made, more, away = (wave[whole] + part * (wave[whole + 1] - wave[whole]) for wave in (soft, loud - soft, other))
    made += share * more + moved * share * away
    slope = np.linspace(0.0, 1.0, edge, dtype=np.float32)
    made[:edge] *= slope
    made[-edge:] *= slope[::-1]
    out[start:end] += made


@lru_cache(maxsize=512)
def _waves(voice: Voice, pitch: int) -> tuple[Sound, Sound, Sound]:
    """A turn of the source at a pitch, played softly and loudly, and what changes when the place of the bow does: as
    many partials as there is room for, in phases that a stick-slip wave has."""
    low = hertz(pitch)
    number = np.arange(1, max(2, int(_HIGHEST_HZ / (low * 1.12))) + 1)
    octaves = np.log2(number)
    level = 10 ** (-voice.slope * octaves / 20) * np.where((number >= 4) & (number % 2 == 0), voice.even, 1.0)
    level *= np.array([0.82 + 0.36 * drawn(int(n), pitch) for n in number])
    waves, soft = [], 10 ** (-voice.soft * np.log2(1 + number * low / 1500) / 20)
    place = 0.5 * np.sin(2 * np.pi * number * 0.11 + drawn(pitch)) * np.minimum(1.0, number / 3)
    for share in (soft, np.ones(len(number)), place):
        here = level * share
        spectrum = np.zeros(_TABLE // 2 + 1, complex)
        spectrum[number] = here * np.exp(-0.5j * np.pi * (1 + 0.12 * octaves))
        wave = np.fft.irfft(spectrum, _TABLE) * _TABLE / 2
        loud = np.sqrt(((level * (share if share is not place else 1.0)) ** 2).sum())
        waves.append((0.25 * np.append(wave, wave[0]) / loud).astype(np.float32))
    return waves[0], waves[1], waves[2]


def _air(voice: Voice, tones: Sequence[Tone], turns: Sound, force: Floats) -> Sound:
    """Bow or breath: noise that follows the force and the turn of the wave, and more of it where a note begins."""
    lots = np.random.Generator(np.random.PCG64(53))
    noise = lots.random(len(turns), np.float32) - np.float32(0.5)
    noise[1:] -= np.float32(0.6) * noise[:-1].copy()
    burst = force.copy()
    clock = np.arange(len(force)) * _STEP / RATE_HZ
    for tone in tones:
        first = int(tone.start_s * RATE_HZ / _STEP)
        last = min(first + 90, len(force))
        burst[first:last] += voice.chiff * (tone.force / 100) * np.exp(-(clock[first:last] - tone.start_s) / 0.016)
    noise *= _fine(burst * voice.noise, len(turns))
    noise *= turns + np.float32(0.5)
    return noise


@lru_cache(maxsize=16)
def _bell(voice: Voice) -> Sound:
    """What the body makes of it, to the left and to the right; gone within 85 ms."""
    frequencies: Floats = np.fft.rfftfreq(8192, 1 / RATE_HZ).astype(np.float64)
    turn, shut = 1j * frequencies / voice.floor_hz, 1j * frequencies / voice.opens
    edges: Spectrum = (turn / (1 + turn)) ** 2 / (1 + shut) ** 2
    sides = [
        np.fft.irfft(body(frequencies, voice.modes, side=side, texture=0.12) * edges, 8192)[:4096] for side in (0, 1)
    ]
    return np.stack(sides, axis=1).astype(np.float32)
