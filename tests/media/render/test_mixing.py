"""Music gives way to a voice by as much as understanding needs, comes back after it, and never ends before the film."""

from __future__ import annotations

import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from malan.media.render import Format, Music, Piece, Timeline, mix_sound

RATE_HZ, TONE_HZ, VOICE_HZ = 48_000, 3001.7, 220.0


def sound_of(path: Path, hertz: float, length_s: float, parts: tuple[tuple[float, float], ...], level: float) -> str:
    """A tone that sounds in some parts of a file."""
    times = np.arange(int(RATE_HZ * length_s)) / RATE_HZ
    heard = sum(((times >= start) & (times < end)).astype(float) for start, end in parts)
    samples = (level * heard * np.sin(2 * np.pi * hertz * times) * 32767).astype("<i2")
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE_HZ)
        out.writeframes(samples.tobytes())
    return str(path)


def film(seconds: int) -> Timeline:
    return Timeline(Fraction(25), (Piece("ground", "", Fraction(0), 25 * seconds),), (Format("16x9", 640, 360),))


def level_of(path: Path, hertz: float, start_s: float, end_s: float) -> float:
    """Level of one tone in a stretch, dB."""
    with av.open(str(path)) as container:
        mono = av.AudioResampler("flt", "mono", RATE_HZ)
        parts = [out.to_ndarray()[0] for frame in container.decode(audio=0) for out in mono.resample(frame)]
    part = np.concatenate(parts)[int(start_s * RATE_HZ) : int(end_s * RATE_HZ)].astype(float)
    times = np.arange(len(part)) / RATE_HZ
    return float(20 * np.log10(abs(np.mean(part * np.exp(-2j * np.pi * hertz * times))) + 1e-9))


@pytest.mark.parametrize("voice_level", [0.08, 0.4])
def test_music_lies_well_below_a_voice_and_comes_back_after_it(tmp_path, voice_level):
    voice = sound_of(tmp_path / "voice.wav", VOICE_HZ, 4, ((0.0, 3.0),), voice_level)
    music = sound_of(tmp_path / "music.wav", TONE_HZ, 10, ((0.0, 10.0),), 0.25)
    made = mix_sound(film(8), tmp_path / "mix.m4a", music=Music(music), voice=voice)
    under, after = (level_of(made.path, TONE_HZ, *span) for span in ((1.0, 2.8), (5.0, 6.2)))
    assert after - under >= 8


def test_music_that_is_shorter_than_the_film_begins_again(tmp_path):
    music = sound_of(tmp_path / "music.wav", TONE_HZ, 2, ((0.0, 2.0),), 0.25)
    made = mix_sound(film(7), tmp_path / "mix.m4a", music=Music(music))
    assert abs(level_of(made.path, TONE_HZ, 4.2, 5.2) - level_of(made.path, TONE_HZ, 0.6, 1.6)) < 1.5
