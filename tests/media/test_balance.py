"""A mix comes nearer to mastered music, gently; what is empty is left alone."""

from __future__ import annotations

import numpy as np

from malan.media.balance import OCTAVES_HZ, balanced, octave_levels
from malan.media.mastering import RATE_HZ


def coloured(slope_db, seconds=4.0):
    """Noise that falls by so many dB an octave against pink noise."""
    lots = np.random.Generator(np.random.PCG64(1))
    spectrum = np.fft.rfft(lots.standard_normal((round(seconds * RATE_HZ), 2)), axis=0)
    octaves = np.log2(np.maximum(np.fft.rfftfreq(round(seconds * RATE_HZ), 1 / RATE_HZ), 20.0) / 1000)
    spectrum *= (10 ** (-(3.01 + slope_db) * octaves / 20))[:, None]
    sound = np.fft.irfft(spectrum, axis=0)
    return (0.1 * sound / sound.std()).astype(np.float32)


def test_pink_noise_is_level():
    assert max(abs(level) for level in octave_levels(coloured(0.0))) < 0.8


def test_a_dark_mix_becomes_clearer_and_stays_dark():
    dark = coloured(6.0)
    before, after = octave_levels(dark), octave_levels(balanced(dark))
    place = OCTAVES_HZ.index(4000)
    assert 1.0 < after[place] - before[place] < 4.5
    assert after[place] < -3.5


def test_what_is_well_balanced_hardly_changes():
    well = coloured(1.2)
    assert max(abs(a - b) for a, b in zip(octave_levels(well), octave_levels(balanced(well)), strict=True)) < 3.2


def test_silence_and_what_is_short_pass():
    assert not balanced(np.zeros((4800, 2), np.float32)).any()
    assert balanced(coloured(3.0, 0.05)).shape == (2400, 2)
    assert balanced(coloured(3.0)).tobytes() == balanced(coloured(3.0)).tobytes()
