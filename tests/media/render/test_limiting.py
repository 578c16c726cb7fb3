"""The gain a mix needs is known before it is mastered: once is enough."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from malan.media.mastering import loudness
from malan.media.render import Format, Piece, Timeline, mix_sound, sound
from malan.media.render.limiting import gain_for

RATE = 48_000


def quiet_with_tops(seconds: int, seed: int) -> np.ndarray:
    """Noise that swells and dies away, with a drum here and there far above it: (samples, 2)."""
    lots = np.random.default_rng(seed)
    t = np.arange(seconds * RATE) / RATE
    swell = 10 ** (-1.2 * (1 + np.sin(2 * np.pi * t / 7)) / 2)
    made = 0.01 * lots.standard_normal((len(t), 2)) * swell[:, None]
    drum = np.sin(2 * np.pi * np.cumsum(120 + 900 * np.exp(-t[:6000] / 0.01)) / RATE) * np.exp(-t[:6000] / 0.03)
    for at in lots.integers(0, len(t) - 6000, seconds * 3):
        made[at : at + 6000] += 0.4 * drum[:, None]
    return made.astype(np.float32)


def test_a_limited_sound_stays_below_its_true_peak_also_after_it_is_encoded(tmp_path):
    """Bursts of white noise: an encoder lets them ring beyond what the limiter let pass."""
    lots, samples = np.random.default_rng(2), quiet_with_tops(6, 2)
    for at in range(0, len(samples) - 4000, 9000):
        samples[at : at + 4000] += 0.25 * lots.standard_normal((4000, 2)) * np.exp(-np.arange(4000) / 700)[:, None]
    made = mix_sound(film_of(samples, tmp_path), tmp_path / "out.m4a")
    assert made.true_peak_dbtp <= -1.4


def film_of(samples: np.ndarray, folder: Path) -> Timeline:
    path = folder / "sound.wav"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_f32le", rate=RATE, layout="stereo")
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1).astype("<f4"), format="flt", layout="stereo")
        frame.sample_rate = RATE
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    frames = len(samples) * 25 // RATE
    piece = Piece("a", str(path), Fraction(0), frames, (320, 180), gain_db=0.0, sound_track=0)
    return Timeline(Fraction(25), (piece,), (Format("16x9", 320, 180),))


@pytest.mark.parametrize("seed", [1, 2])
def test_one_mastering_reaches_the_loudness_where_a_limiter_takes_the_tops(tmp_path, monkeypatch, seed):
    monkeypatch.setattr(sound, "_TRIES", 1)
    made = mix_sound(film_of(quiet_with_tops(12, seed), tmp_path), tmp_path / "out.m4a")
    assert abs(made.loudness_lufs + 16) <= 0.4
    assert made.true_peak_dbtp <= -1.0


def test_what_stays_below_the_limit_needs_the_difference(tmp_path):
    samples = (0.05 * np.sin(2 * np.pi * 997 * np.arange(3 * RATE) / RATE))[:, None].repeat(2, axis=1)
    (tmp_path / "mix.f32").write_bytes(samples.astype("<f4").tobytes())
    assert gain_for(tmp_path / "mix.f32", RATE, -26.0, -20.0, 0.8) == 6.0


@pytest.mark.parametrize("count", [0, 30, 480, 4800])
def test_very_short_sounds_need_some_gain(tmp_path, count):
    (tmp_path / "mix.f32").write_bytes(np.full((count, 2), 0.3, "<f4").tobytes())
    assert np.isfinite(gain_for(tmp_path / "mix.f32", RATE, -20.0, -16.0, 0.3))


def test_long_sounds_are_weighed_as_a_whole(tmp_path, monkeypatch):
    """In pieces of a second, the same gain as at once: the filter reaches back into the piece before."""
    samples = quiet_with_tops(6, 5)
    (tmp_path / "mix.f32").write_bytes(samples.astype("<f4").tobytes())
    asked = (tmp_path / "mix.f32", RATE, loudness(samples), -16.0, 0.8)
    whole = gain_for(*asked)
    monkeypatch.setattr("malan.media.render.limiting._CHUNK_STEPS", 1000)
    assert abs(gain_for(*asked) - whole) < 0.01
