"""Waveforms hold the least and greatest sample of every bucket, on the clock of the file, for every track."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest

from malan.core.errors import MediaError
from malan.media.peaks import waveforms


def write_sound(path: Path, samples_CT: np.ndarray, rate: int = 8000, codec: str = "pcm_s16le") -> None:
    layout = {1: "mono", 2: "stereo"}[len(samples_CT)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        packed = np.ascontiguousarray((samples_CT.T * 32767).astype(np.int16)).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format="s16", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_peaks_are_those_of_the_samples(tmp_path: Path) -> None:
    samples = np.random.default_rng(1).uniform(-0.8, 0.8, (2, 8000 * 3))
    write_sound(tmp_path / "noise.wav", samples)
    (wave,) = waveforms(tmp_path / "noise.wav", per_second=50, levels=3, factor=4)
    buckets = samples.reshape(2, 150, 160)
    finest = wave.levels[0]
    assert np.abs(finest.low / 127 - buckets.min(axis=(0, 2))).max() < 0.01
    assert np.abs(finest.high / 127 - buckets.max(axis=(0, 2))).max() < 0.01


def test_coarser_levels_hold_the_extremes_of_the_finer(tmp_path: Path) -> None:
    write_sound(tmp_path / "noise.wav", np.random.default_rng(2).uniform(-1, 1, (1, 8001)) * np.linspace(0, 1, 8001))
    (wave,) = waveforms(tmp_path / "noise.wav", per_second=64, levels=3, factor=4)
    assert [level.per_second for level in wave.levels] == [64, 16, 4]
    for fine, coarse in zip(wave.levels, wave.levels[1:], strict=False):
        for i in range(len(coarse.low)):
            assert coarse.low[i] == fine.low[4 * i : 4 * i + 4].min()
            assert coarse.high[i] == fine.high[4 * i : 4 * i + 4].max()
    assert wave.level_for(10).per_second == 16
    assert wave.level_for(1000).per_second == 64


def test_bytes_are_low_and_high_in_turn(tmp_path: Path) -> None:
    write_sound(tmp_path / "step.wav", np.concatenate([np.full((1, 4000), -0.5), np.full((1, 4000), 0.25)], axis=1))
    (wave,) = waveforms(tmp_path / "step.wav", per_second=2, levels=1)
    assert np.frombuffer(wave.levels[0].to_bytes(), np.int8).tolist() == [-63, 0, 0, 32]


def test_all_tracks_come_from_one_pass_each_at_its_own_time(tmp_path: Path) -> None:
    """Two tones in one file; the second starts a second later."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", "sine=300:d=3"]
    command += ["-f", "lavfi", "-itsoffset", "1", "-i", "sine=500:d=2", "-map", "0", "-map", "1"]
    subprocess.run([*command, "-c:a", "flac", str(tmp_path / "two.mkv")], check=True)
    first, second = waveforms(tmp_path / "two.mkv", per_second=10, levels=1)
    assert (first.track, second.track) == (0, 1)
    assert first.levels[0].high[:10].min() > 5
    assert second.levels[0].high[:10].max() == 0
    assert second.levels[0].high[11:29].min() > 5


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_u8", "pcm_f32le", "pcm_s24le"])
def test_every_sample_format_gives_the_same_peaks(tmp_path: Path, codec: str) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", "sine=300:d=1:sample_rate=8000"]
    subprocess.run([*command, "-c:a", codec, str(tmp_path / "tone.wav")], check=True)
    (wave,) = waveforms(tmp_path / "tone.wav", per_second=10, levels=1)
    assert wave.levels[0].high.tolist() == pytest.approx([16] * 10, abs=1)
    assert wave.levels[0].low.tolist() == pytest.approx([-16] * 10, abs=1)


def test_a_film_without_sound_is_told(tmp_path: Path) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", "testsrc=d=0.2:s=64x64"]
    subprocess.run([*command, str(tmp_path / "mute.mp4")], check=True)
    with pytest.raises(MediaError) as caught:
        waveforms(tmp_path / "mute.mp4")
    assert caught.value.code == "media.no_audio"


def test_real_tracks_have_waves_as_long_as_their_sound(footage: Path) -> None:
    waves = waveforms(footage / "derived/sintel_multitrack.mkv")
    assert [wave.track for wave in waves] == [1, 2]
    for wave in waves:
        assert len(wave.levels[0].low) / 100 == pytest.approx(30, abs=0.3)
        assert wave.levels[0].high.max() > 20
