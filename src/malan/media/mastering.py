"""From stems to a master: filters, a room, levels, loudness (ITU-R BS.1770-5) and true peak, in numpy.

    stems ─ high-pass, level, place ─┬─▶ dry ─┐
                                     └─ room ─┴─▶ mix ─ gain, limiter ─▶ master ─▶ WAV, 24 bits

Sound is float32 as (samples, 2) at 48 kHz. Everything is computed in one order, so the same stems give the same
bytes. Start reading at `mix_down` and `master`.
"""

from __future__ import annotations

import math
import wave
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from malan.core.errors import StoreError

RATE_HZ = 48_000
TRUE_PEAK_DBTP = -1.0
QUIETEST_LUFS = -70.0
_CLOSE_LU, _TRIES, _MOST_GAIN_DB = 0.1, 6, 60.0
_LOOK_S = 0.012  # the limiter sees a peak so long before it comes
_SAFE_DB = 0.15  # below the peak that is asked for: other meters interpolate otherwise
_BLOCK = 1 << 14
_THREADS = 2
_SHELF = ((1.53512485958697, -2.69169618940638, 1.19839281085285), (1.0, -1.69065929318241, 0.73248077421585))
_HIGH_PASS = ((1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621))

Sound = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Strip:
    """How a stem stands in the mix: level of its sounding parts in dB below full scale, place from −1 (left) to 1
    (right), share sent to the room, and below which frequency it makes room for the bass."""

    level_db: float
    pan: float = 0.0
    room: float = 0.2
    low_cut_hz: float = 0.0
    width: float = 1.0


@dataclass(frozen=True, slots=True)
class Mastered:
    """A master, and what was measured of it."""

    samples: Sound
    loudness_lufs: float
    true_peak_dbtp: float


@dataclass(frozen=True, slots=True)
class Mix:
    """A mix, and the stems that add to it, each with its share of the room; without them when nobody asked."""

    samples: Sound
    stems: tuple[Sound, ...] = ()


def mix_down(
    stems: Sequence[Sound], strips: Sequence[Strip], *, room_s: float, keep: bool = False
) -> Mix:  # fmt: skip
    """Mix stems, each brought to its level by how loud its sounding parts are; the kept ones add up to the mix.

    Args:
        stems: All of one length.
        room_s: Seconds until the room is 60 dB quieter; 0 for none.
        keep: Also give the stems as they stand in the mix.
    """
    count = len(stems[0])
    dry, sent = np.zeros((count, 2), np.float32), np.zeros((count, 2), np.float32)
    room = room_response(room_s) if room_s else None
    kept: list[Sound] = []
    for strip, placed in _in_turn(stems, strips):
        if keep:
            wet = filtered(placed * np.float32(strip.room), room) if room is not None else np.float32(0)
            kept.append(placed + wet)
        dry += placed
        sent += placed * np.float32(strip.room)
    return Mix(dry + filtered(sent, room) if room is not None else dry, tuple(kept))


def _in_turn(stems: Sequence[Sound], strips: Sequence[Strip]) -> Iterator[tuple[Strip, Sound]]:
    """Stems in their places, a few at a time side by side: numpy lets go of the interpreter."""
    with ThreadPoolExecutor(_THREADS) as hands:
        for first in range(0, len(stems), _THREADS):
            some = slice(first, first + _THREADS)
            yield from zip(strips[some], hands.map(_placed, stems[some], strips[some]), strict=True)


def _placed(stem: Sound, strip: Strip) -> Sound:
    """Cut, levelled, and moved: the sides narrowed, then balanced with equal power."""
    if strip.low_cut_hz:
        stem = filtered(stem, low_cut(strip.low_cut_hz))
    gain = 10 ** ((strip.level_db - sounding_level(stem)) / 20) if stem.any() else 0.0
    middle, side = stem.sum(axis=1) / 2, (stem[:, 0] - stem[:, 1]) / 2 * np.float32(strip.width)
    angle = (strip.pan + 1) * math.pi / 4
    left, right = (np.float32(gain * math.sqrt(2) * part(angle)) for part in (math.cos, math.sin))
    return np.stack([(middle + side) * left, (middle - side) * right], axis=1)


def sounding_level(stem: Sound) -> float:
    """How loud a stem is where it sounds, in dB: mean power of 0.4 s blocks no more than 12 dB below the loudest."""
    step = round(0.4 * RATE_HZ)
    count = len(stem) // step or 1
    power = (stem[: count * step].astype(np.float32) ** 2).reshape(count, -1).mean(axis=1)
    top = float(power.max())
    return 10 * math.log10(float(power[power >= top / 16].mean())) if top > 1e-12 else -120.0


def master(mix: Sound, target_lufs: float, *, peak_dbtp: float = TRUE_PEAK_DBTP, is_loop: bool = False) -> Mastered:
    """Bring a mix to its loudness and keep it below its true peak. Silence stays silent.

    Args:
        mix: What was mixed.
        target_lufs: Integrated loudness to reach.
        peak_dbtp: True peak not to pass.
        is_loop: Its end is followed by its beginning.
    """
    first = loudness(mix)
    if first <= QUIETEST_LUFS:
        return Mastered(mix, first, -120.0)
    gain, out, heard = target_lufs - first, mix, first
    for _ in range(_TRIES):  # the limiter takes some of it away
        out = limited(mix * np.float32(10 ** (gain / 20)), peak_dbtp - _SAFE_DB, is_loop=is_loop)
        heard = loudness(out)
        if abs(target_lufs - heard) <= _CLOSE_LU:
            break
        gain = min(gain + target_lufs - heard, _MOST_GAIN_DB)
    return Mastered(out, heard, 20 * math.log10(max(float(true_peaks(out).max()), 1e-6)))


def loudness(samples: Sound) -> float:
    """Integrated loudness in LUFS, gated (ITU-R BS.1770-5, annex 1); `QUIETEST_LUFS` for silence."""
    heard = weighted(samples)
    step = RATE_HZ // 10
    count = len(heard) // step
    if count < 4:
        heard, count = np.pad(heard, ((0, 4 * step - len(heard)), (0, 0))), 4
    tenths = (heard[: count * step].astype(np.float64) ** 2).sum(axis=1).reshape(count, step).mean(axis=1)
    blocks = np.convolve(tenths, np.full(4, 0.25), "valid")
    loud = blocks[blocks > 10 ** ((QUIETEST_LUFS + 0.691) / 10)]
    if not len(loud):
        return QUIETEST_LUFS
    gated = loud[loud > loud.mean() / 10]
    return float(-0.691 + 10 * np.log10(gated.mean()))


def weighted(samples: Sound) -> Sound:
    """Samples as the ear weighs them (ITU-R BS.1770-5, annex 1); 48 kHz."""
    return filtered(samples, _k_weighting())


def limited(samples: Sound, peak_db: float, *, is_loop: bool = False) -> Sound:
    """The same, nowhere above its true peak: gain falls before a peak and rises after it, smoothly."""
    most = np.float32(10 ** (peak_db / 20))
    peaks = true_peaks(samples, above=0.4 * float(most))
    if float(peaks.max()) <= most:
        return samples
    look = round(_LOOK_S * RATE_HZ)
    wanted = np.minimum(1.0, most / np.maximum(peaks, most)).astype(np.float32)
    padded = np.pad(wanted, 2 * look, mode="wrap") if is_loop else np.pad(wanted, 2 * look, constant_values=1.0)
    lowest = _sliding_lowest(padded, 2 * look + 1)  # as long as padded less 2 look
    window = np.hanning(2 * look + 3)[1:-1]
    kernel = (window / window.sum()).astype(np.float32)
    gain = filtered(lowest[:, None], kernel)[2 * look :, 0]
    out: Sound = samples * np.minimum(gain, 1.0)[:, None].astype(np.float32)
    return out


def _sliding_lowest(values: Sound, width: int) -> Sound:
    """The lowest of each `width` neighbours (van Herk): shorter by width − 1."""
    count = -(-len(values) // width) * width
    padded = np.pad(values, (0, count - len(values)), constant_values=1.0).reshape(-1, width)
    forth = np.minimum.accumulate(padded, axis=1).ravel()
    back = np.minimum.accumulate(padded[:, ::-1], axis=1)[:, ::-1].ravel()
    size = len(values) - width + 1
    lowest: Sound = np.minimum(back[:size], forth[width - 1 : width - 1 + size])
    return lowest


def true_peaks(samples: Sound, above: float | None = None) -> Sound:
    """The highest point at each sample and between it and the next one, over all channels, at four times the rate.

    Between samples that lie below `above` (a third of the highest, unless said otherwise) it does not look.
    """
    peaks: Sound = np.abs(samples).max(axis=1)
    near = 0.35 * float(peaks.max()) if above is None else above  # a peak between samples lies beside a high one
    step = 1 << 10
    count = -(-len(peaks) // step)
    tops = np.pad(peaks, (0, count * step - len(peaks))).reshape(count, step).max(axis=1)
    for number in np.flatnonzero(tops > near).tolist():
        start, end = number * step, min((number + 1) * step, len(samples))
        before, after = max(0, start - 12), min(len(samples), end + 12)
        piece = samples[before:after]
        for kernel in _between():
            for channel in range(samples.shape[1]):
                found = np.abs(np.convolve(piece[:, channel], kernel, "full"))[11 + start - before :][: end - start]
                np.maximum(peaks[start : start + len(found)], found, out=peaks[start : start + len(found)])
    return peaks


@lru_cache(maxsize=1)
def _between() -> tuple[Sound, ...]:
    """Three filters of 24 taps for a quarter, a half and three quarters of the way to the next sample."""
    steps = np.arange(24) - 11
    return tuple(
        (np.sinc(part - steps[::-1]) * np.cos(np.pi * (part - steps[::-1]) / 26) ** 2)[::-1].astype(np.float32)
        for part in (0.25, 0.5, 0.75)
    )


def filtered(samples: Sound, response: Sound) -> Sound:
    """Samples through a filter (one response, or one a channel), as long as they were, causal; by overlap and add."""
    response = response.reshape(len(response), -1)
    size = _BLOCK
    while size < 4 * len(response):
        size *= 2
    step = size - len(response) + 1
    count = -(-len(samples) // step)
    out = np.zeros((count * step + size, samples.shape[1]), np.float32)
    spectra = np.fft.rfft(response, size, axis=0).astype(np.complex64)
    for channel in range(samples.shape[1]):
        held = np.zeros(count * step, np.float32)
        held[: len(samples)] = samples[:, channel]
        spectrum = spectra[:, min(channel, spectra.shape[1] - 1)]
        made = np.fft.irfft(np.fft.rfft(held.reshape(count, step), size, axis=1) * spectrum, size, axis=1)
        for number in range(count):
            out[number * step : number * step + size, channel] += made[number]
    return out[: len(samples)]


@lru_cache(maxsize=1)
def _k_weighting() -> Sound:
    """Both filters of BS.1770 as one response; it has died away within 85 ms."""
    turns = np.exp(-2j * np.pi * np.arange(4097) / 8192)
    spectrum = np.ones(4097, complex)
    for above, below in (_SHELF, _HIGH_PASS):
        spectrum *= np.polyval(above[::-1], turns) / np.polyval(below[::-1], turns)
    return np.fft.irfft(spectrum, 8192)[:4096].astype(np.float32)


@lru_cache(maxsize=16)
def low_cut(frequency_hz: float) -> Sound:
    """A gentle high-pass of second order, as a response."""
    turn = 2 * math.pi * frequency_hz / RATE_HZ
    alpha, cosine = math.sin(turn) / math.sqrt(2), math.cos(turn)
    above = ((1 + cosine) / 2, -(1 + cosine), (1 + cosine) / 2)
    below = (1 + alpha, -2 * cosine, 1 - alpha)
    turns = np.exp(-2j * np.pi * np.arange(4097) / 8192)
    return np.fft.irfft(np.polyval(above[::-1], turns) / np.polyval(below[::-1], turns), 8192)[:4096].astype(np.float32)


@lru_cache(maxsize=4)
def room_response(seconds: float) -> Sound:
    """A room as (samples, 2): a pause, early reflections, a tail whose high tones die first. The same each time."""
    count = round(seconds * 1.1 * RATE_HZ)
    lots = np.random.Generator(np.random.PCG64(11))
    time = np.arange(count) / RATE_HZ
    noise = lots.standard_normal((count, 2))
    spectrum, pitch = np.fft.rfft(noise, axis=0), np.fft.rfftfreq(count, 1 / RATE_HZ)[:, None]
    low = np.fft.irfft(spectrum * ((pitch > 180) & (pitch < 2200)), count, axis=0)
    high = np.fft.irfft(spectrum * ((pitch >= 2200) & (pitch < 9000)), count, axis=0)
    tail = low * np.exp(-6.9 * time / seconds)[:, None] + high * np.exp(-6.9 * time / (0.45 * seconds))[:, None]
    tail *= np.minimum(time / 0.03, 1.0)[:, None]
    start = round(0.018 * RATE_HZ)
    out = np.zeros((count, 2))
    out[start:] = tail[: count - start]
    out /= np.sqrt((out**2).sum(axis=0))
    for number, at_s in enumerate((0.011, 0.017, 0.023, 0.031, 0.041)):
        out[round(at_s * RATE_HZ), number % 2] += 0.28 * 0.8**number
    return out.astype(np.float32)


def faded(samples: Sound, seconds: float) -> Sound:
    """The same with a smooth end of so many seconds, so that nothing is cut off."""
    count = min(round(seconds * RATE_HZ), len(samples))
    out = samples.copy()
    if count:
        out[-count:] *= (0.5 + 0.5 * np.cos(np.pi * np.arange(1, count + 1) / count)).astype(np.float32)[:, None]
    return out


def folded(samples: Sound, count: int) -> Sound:
    """The first `count` samples with what rang on after them added to their beginning: the end leads into the start."""
    out = samples[:count].copy()
    rest = samples[count:]
    while len(rest):
        out[: len(rest)] += rest[:count]
        rest = rest[count:]
    return out


def write_wav_24(samples: Sound, out: Path) -> None:
    """A WAV file of 24 bits at 48 kHz.

    Raises:
        StoreError: It cannot be written; nothing of it is left.
    """
    whole = np.clip(np.rint(samples.astype(np.float64) * 8388607), -8388608, 8388607).astype("<i4")
    held = whole.reshape(-1, 1).view(np.uint8).reshape(-1, 4)[:, :3]
    try:
        with out.open("wb") as place, wave.open(place, "wb") as file:
            file.setparams((samples.shape[1], 3, RATE_HZ, 0, "NONE", "not compressed"))
            file.setnframes(len(samples))
            file.writeframesraw(held.tobytes())
    except OSError as error:
        out.unlink(missing_ok=True)
        raise StoreError("render.not_written", path=str(out), detail=error.strerror or str(error)) from error
