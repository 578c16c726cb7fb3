"""Mixing and mastering: loudness and peak as other meters measure them, stems that add up, ends that close."""

from __future__ import annotations

import re
import subprocess
import wave

import numpy as np
import pytest

from malan.core.errors import MissingExtra
from malan.media.gongs import BIG_GONG, CYMBALS, DRUM, SMALL_GONG, play_gongs
from malan.media.mastering import (
    RATE_HZ,
    Strip,
    faded,
    filtered,
    folded,
    limited,
    loudness,
    low_cut,
    master,
    mix_down,
    room_response,
    true_peaks,
    write_wav_24,
)
from malan.media.midi import MidiFile, MidiNote, MidiTrack
from malan.media.soundfont import play


def noise(seconds: float, seed: int = 0, level: float = 0.1) -> np.ndarray:
    lots = np.random.default_rng(seed)
    swell = 0.3 + 0.7 * np.abs(np.sin(np.arange(round(seconds * RATE_HZ)) / RATE_HZ))[:, None]
    return (level * swell * lots.standard_normal((round(seconds * RATE_HZ), 2))).astype(np.float32)


def heard(path) -> tuple[float, float]:
    """Loudness and true peak as ffmpeg measures them."""
    from imageio_ffmpeg import get_ffmpeg_exe

    command = [
        get_ffmpeg_exe(),
        "-hide_banner",
        "-nostats",
        "-i",
        str(path),
        "-af",
        "ebur128=peak=true:framelog=quiet",
        "-f",
        "null",
        "-",
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return float(re.findall(r"I:\s+(-?[\d.]+) LUFS", said)[-1]), float(re.findall(r"Peak:\s+(-?[\d.]+) dBFS", said)[-1])


@pytest.mark.parametrize("target", [-23.0, -16.0, -9.0])
def test_a_master_is_as_loud_as_asked_and_below_its_peak(tmp_path, target):
    done = master(noise(6), target)
    write_wav_24(done.samples, tmp_path / "a.wav")
    measured, peak = heard(tmp_path / "a.wav")
    assert abs(measured - target) <= 0.2
    assert peak <= -0.9
    assert abs(done.loudness_lufs - measured) <= 0.1
    assert abs(done.true_peak_dbtp - peak) <= 0.25


def test_silence_stays_silent():
    assert not master(np.zeros((RATE_HZ, 2), np.float32), -16.0).samples.any()


def test_a_full_sine_has_the_loudness_of_the_standard():
    tone = 10 ** (-18 / 20) * np.sin(2 * np.pi * 997 * np.arange(4 * RATE_HZ) / RATE_HZ)
    assert abs(loudness(np.stack([tone, tone], 1).astype(np.float32)) + 18.0) < 0.1  # BS.1770, note on calibration


def test_a_peak_between_samples_is_seen():
    tone = np.sin(2 * np.pi * 12_000 * np.arange(RATE_HZ) / RATE_HZ + np.pi / 4)
    between = true_peaks(np.stack([tone, tone], 1).astype(np.float32)).max()
    assert np.abs(tone).max() < 0.71
    assert 0.97 < between < 1.03


def test_the_limiter_leaves_alone_what_is_low():
    quiet = noise(1, level=0.001)
    assert limited(quiet, -1.0) is quiet
    loud = limited(noise(2, level=0.8), -1.0)
    assert 20 * np.log10(true_peaks(loud).max()) <= -0.99


def test_kept_stems_add_up_to_the_mix():
    stems = [noise(2, seed) for seed in range(3)]
    strips = [Strip(-20, -0.5, 0.3, 120), Strip(-24, 0.5, 0.1), Strip(-22, 0, 0.4, 0, 0.5)]
    one, two = mix_down(stems, strips, room_s=1.0), mix_down(stems, strips, room_s=1.0, keep=True)
    assert np.abs(one.samples - two.samples).max() < 1e-5
    assert np.abs(np.sum(two.stems, axis=0) - two.samples).max() < 1e-5


def test_filters_agree_with_plain_convolution():
    samples, response = noise(0.6)[:, :1], low_cut(100.0)
    wanted = np.convolve(samples[:, 0], response)[: len(samples)]
    assert np.abs(filtered(samples, response)[:, 0] - wanted).max() < 1e-5


def test_a_low_cut_takes_lows_and_leaves_highs():
    time = np.arange(RATE_HZ) / RATE_HZ
    for pitch, least, most in ((30, 0.0, 0.15), (2000, 0.95, 1.05)):
        tone = np.sin(2 * np.pi * pitch * time).astype(np.float32)[:, None]
        level = np.abs(filtered(tone, low_cut(150.0))[RATE_HZ // 2 :]).max()
        assert least <= level <= most


def test_a_room_dies_away():
    room = room_response(1.5)
    energy = (room**2).sum(axis=1)
    assert energy[: RATE_HZ // 2].sum() > 100 * energy[-RATE_HZ // 4 :].sum()
    assert np.abs(np.corrcoef(room.T)[0, 1]) < 0.2


def test_ends_fade_and_loops_fold():
    samples = np.ones((1000, 2), np.float32)
    assert faded(samples, 100 / RATE_HZ)[-1, 0] < 1e-6
    assert faded(samples, 0).all()
    assert folded(samples, 600)[:, 0].tolist() == [2.0] * 400 + [1.0] * 200
    assert folded(samples, 300)[0, 0] == 4.0


def test_a_wav_holds_24_bits(tmp_path):
    write_wav_24(np.array([[1.0, -1.0], [0.5, 0.0]], np.float32), tmp_path / "a.wav")
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert (file.getsampwidth(), file.getnchannels(), file.getframerate()) == (3, 2, RATE_HZ)
        assert file.readframes(2).hex() == "ffff7f010080" + "000040" + "000000"


def piece(*programs: int) -> MidiFile:
    tracks = [MidiTrack(f"t{n}", n, program, (MidiNote(0, 480, 60, 90),)) for n, program in enumerate(programs)]
    return MidiFile(480, ((0, 500_000),), tuple(tracks))


def test_each_track_is_played_by_itself_and_the_same_each_time():
    one, two = play(piece(0, 73), 1.5), play(piece(0, 73), 1.5)
    assert [stem.shape for stem in one] == [(72_000, 2)] * 2
    for first, second in zip(one, two, strict=True):
        assert first.any()
        assert (first == second).all()
    assert np.abs(np.corrcoef(one[0][:, 0], one[1][:, 0])[0, 1]) < 0.9


def test_a_note_sounds_at_its_pitch():
    [stem] = play(MidiFile(480, ((0, 500_000),), (MidiTrack("a", 0, 73, (MidiNote(0, 960, 69, 100),)),)), 1.0)
    spectrum = np.abs(np.fft.rfft(stem[12_000:36_000, 0] * np.hanning(24_000)))
    assert abs(int(spectrum[50:1000].argmax() + 50) * 2 - 440) <= 4


def test_without_a_soundfont_the_hint_tells_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("MALAN_SOUNDFONT", str(tmp_path / "none.sf3"))
    with pytest.raises(MissingExtra) as missing:
        play(piece(0), 1.0)
    assert "musescore-general-soundfont-small" in missing.value.hint("zh")


def test_without_fluidsynth_the_hint_tells_what_to_install(monkeypatch):
    import ctypes

    def nothing(name):
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", nothing)
    with pytest.raises(MissingExtra) as missing:
        play(piece(0), 1.0)
    assert missing.value.code == "music.no_fluidsynth"


def test_a_soundfont_that_is_none_is_refused(monkeypatch, tmp_path):
    from malan.core.errors import MediaError

    (tmp_path / "bad.sf3").write_bytes(b"no soundfont")
    monkeypatch.setenv("MALAN_SOUNDFONT", str(tmp_path / "bad.sf3"))
    with pytest.raises(MediaError) as refused:
        play(piece(0), 1.0)
    assert refused.value.code == "music.bad_soundfont"


def pitch_at(samples: np.ndarray, start_s: float, low: int, high: int) -> float:
    """The strongest frequency of a short stretch."""
    first = round(start_s * RATE_HZ)
    spectrum = np.abs(np.fft.rfft(samples[first : first + 4800, 0] * np.hanning(4800), 48_000))
    return float(spectrum[low:high].argmax() + low)


def test_the_big_gong_falls_and_the_small_one_rises():
    big, small = (play_gongs([(0.0, what, 100)], 1.5) for what in (BIG_GONG, SMALL_GONG))
    assert pitch_at(big, 0.02, 300, 520) > pitch_at(big, 0.5, 300, 520) + 5
    assert pitch_at(small, 0.0, 600, 860) < pitch_at(small, 0.25, 600, 860) - 5


def test_a_stroke_is_damped_by_the_next():
    alone = play_gongs([(0.0, BIG_GONG, 100)], 1.0)
    followed = play_gongs([(0.0, BIG_GONG, 100), (0.3, BIG_GONG, 1)], 1.0)
    assert np.abs(followed[24_000:]).max() < 0.2 * np.abs(alone[24_000:]).max()
    assert not play_gongs([(0.0, 1, 100), (9.0, DRUM, 90)], 1.0).any()
    assert np.abs(play_gongs([(0.0, CYMBALS, 127)], 1.0)).max() <= 1.0
