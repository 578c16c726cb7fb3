"""The balance of a mix, as a mastering engineer sees it: octaves against pink noise, and a gentle filter towards it.

Less than half of what is missing is given, three decibels at most: a dark piece becomes clearer, and stays dark.
Start reading at `balanced`.
"""

from __future__ import annotations

import numpy as np

from malan.media.mastering import RATE_HZ, Sound, filtered

OCTAVES_HZ = (63, 125, 250, 500, 1000, 2000, 4000, 8000, 14_000)
WANTED_DB = (-1.0, 0.0, 0.0, 0.0, 0.0, -1.0, -3.5, -8.0, -14.0)  # against pink noise, of music that was mastered
_SHARE, _MOST_DB, _LEAST_DB = 0.45, 3.0, -2.5
_EMPTY_DB = -36.0  # an octave with so little in it is left alone: there is nothing to raise but noise
_SIZE = 8192


def octave_levels(samples: Sound) -> list[float]:
    """How loud each octave is in dB, against the mean of those from 250 Hz to 2 kHz; pink noise is 0 everywhere."""
    mono, window = samples.mean(axis=1), np.hanning(_SIZE).astype(np.float32)
    starts = range(0, max(len(mono) - _SIZE, 1), 3 * _SIZE)
    pieces = [np.pad(mono[at : at + _SIZE], (0, max(0, _SIZE - len(mono[at : at + _SIZE])))) for at in starts]
    power = (np.abs(np.fft.rfft(np.stack(pieces) * window, axis=1)) ** 2).sum(axis=0)
    frequencies = np.fft.rfftfreq(_SIZE, 1 / RATE_HZ)
    inside = [(frequencies >= f / 2**0.5) & (frequencies < f * 2**0.5) for f in OCTAVES_HZ]
    levels = [10 * float(np.log10(power[one].sum() + 1e-12)) for one in inside]
    middle = sum(levels[2:6]) / 4
    return [level - middle for level in levels]


def balanced(samples: Sound) -> Sound:
    """The same, its octaves a little nearer to those of mastered music; silence stays silent."""
    if not samples.any():
        return samples
    gains = [
        min(max(_SHARE * (wanted - level), _LEAST_DB), _MOST_DB) if level > _EMPTY_DB else 0.0
        for level, wanted in zip(octave_levels(samples), WANTED_DB, strict=True)
    ]
    return filtered(samples, _response(gains))


def _response(gains_db: list[float]) -> Sound:
    """A filter with these gains at the octaves, smooth between them, as early as it can be (minimum phase)."""
    frequencies = np.fft.rfftfreq(_SIZE, 1 / RATE_HZ)
    places = np.log2(np.maximum(frequencies, 20.0))
    level = np.interp(places, np.log2(OCTAVES_HZ), gains_db) * np.log(10) / 20
    cepstrum = np.fft.irfft(level, _SIZE)
    cepstrum[1 : _SIZE // 2] *= 2
    cepstrum[_SIZE // 2 + 1 :] = 0
    response: Sound = np.fft.irfft(np.exp(np.fft.rfft(cepstrum)), _SIZE)[:2048].astype(np.float32)
    return response
