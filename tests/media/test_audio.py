"""Sound comes in blocks whose start is exact, holes and damage included."""

from __future__ import annotations

import itertools
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from damage_factory import flip_bits, tone, write_sound, write_wav
from media_factory import draw_film

from malan.core.errors import MediaError
from malan.media import AudioBlock, audio_blocks
from malan.media.audio import audio_between


def joined(blocks: list[AudioBlock]) -> np.ndarray:
    return np.concatenate([block.samples for block in blocks])


def loudest_hz(samples: np.ndarray, rate: int) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(samples))) * rate / len(samples))


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.ogg", "a.m4a", "a.mka"])
def test_a_tone_comes_back_at_its_pitch_and_length(tmp_path: Path, name: str) -> None:
    path = write_sound(tmp_path / name, tone(3, hz=1000))
    blocks = list(audio_blocks(path))
    sound = joined(blocks)
    assert loudest_hz(sound[16_000:32_000], 16_000) == pytest.approx(1000, abs=1)
    assert len(sound) / 16_000 == pytest.approx(3, abs=0.06)
    assert float(blocks[0].start) == pytest.approx(0, abs=0.03)


def test_blocks_follow_each_other_without_a_gap(tmp_path: Path) -> None:
    blocks = list(audio_blocks(write_sound(tmp_path / "a.m4a", tone(5)), block_s=0.5))
    assert len(blocks) >= 9
    assert all(a.end == b.start for a, b in itertools.pairwise(blocks))


def test_a_hole_is_a_hole_and_moves_nothing(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.mka", tone(6), codec="pcm_s16le", holes=((2, 4),))
    blocks = list(audio_blocks(path))
    gaps = [(a.end, b.start) for a, b in itertools.pairwise(blocks) if a.end != b.start]
    assert len(gaps) == 1
    assert float(gaps[0][0]) == pytest.approx(2, abs=0.03)
    assert float(gaps[0][1]) == pytest.approx(4, abs=0.03)
    assert float(blocks[-1].end) == pytest.approx(6, abs=0.03)


def test_all_channels_at_the_rate_of_the_file_when_asked(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.mka", tone(1, channels=6), codec="flac")
    block = next(audio_blocks(path, rate=None, mono=False))
    assert block.samples.shape[1] == 6
    assert block.rate_hz == 48_000
    assert block.samples.dtype == np.float32


def test_the_second_track_is_found_by_its_index(tmp_path: Path) -> None:
    path = two_tracks(tmp_path / "a.mka")
    first, second = (joined(list(audio_blocks(path, track)))[:16_000] for track in (0, 1))
    assert loudest_hz(first, 16_000) == pytest.approx(500, abs=2)
    assert loudest_hz(second, 16_000) == pytest.approx(2000, abs=2)


def test_sound_behind_a_film_is_read_without_its_pictures(tmp_path: Path) -> None:
    draw_film(tmp_path / "film.mp4", (50,), size=(64, 36), audio=True)
    sound = joined(list(audio_blocks(tmp_path / "film.mp4")))
    assert loudest_hz(sound[:16_000], 16_000) == pytest.approx(440, abs=2)


def test_damaged_packets_are_left_out(tmp_path: Path) -> None:
    good = write_sound(tmp_path / "a.mp3", tone(10))
    blocks = list(audio_blocks(flip_bits(good, tmp_path / "b.mp3", share=0.02, first=2000)))
    assert blocks
    assert all(a.end <= b.start for a, b in itertools.pairwise(blocks))
    assert np.isfinite(joined(blocks)).all()


def test_sound_never_starts_before_what_came_before_it(tmp_path: Path) -> None:
    one = write_sound(tmp_path / "a.ts", tone(3), codec="mp2")
    path = tmp_path / "twice.ts"
    path.write_bytes(one.read_bytes() * 2)
    blocks = list(audio_blocks(path))
    assert all(a.end <= b.start for a, b in itertools.pairwise(blocks))
    assert float(sum((b.end - b.start for b in blocks), Fraction(0))) == pytest.approx(6, abs=0.15)


def test_a_file_without_sound_says_so(tmp_path: Path) -> None:
    draw_film(tmp_path / "film.mp4", (5,), size=(64, 36))
    with pytest.raises(MediaError) as caught:
        list(audio_blocks(tmp_path / "film.mp4"))
    assert caught.value.code == "media.no_audio"


def test_start_is_exact_to_the_sample(tmp_path: Path) -> None:
    blocks = list(audio_blocks(write_wav(tmp_path / "a.wav", 2.5), rate=8_000, block_s=0.7))
    assert blocks[0].start == 0
    assert blocks[-1].end == Fraction(5, 2)


def two_tracks(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("flac", rate=48_000, layout="mono") for _ in range(2)]
        for stream, hz in zip(streams, (500, 2000), strict=True):
            frame = av.AudioFrame.from_ndarray(
                (tone(2, hz=hz).T * 32_000).astype(np.int16), format="s16p", layout="mono"
            )
            frame.sample_rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


def test_two_equal_channels_are_as_loud_as_one(tmp_path: Path) -> None:
    path = tmp_path / "stereo.wav"
    tone = np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000) * 0.9
    samples = np.repeat((tone * 32_767).astype("<i2"), 2)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(48_000)
        file.writeframes(samples.tobytes())
    heard = np.concatenate([block.samples for block in audio_blocks(path, rate=None)])
    assert np.allclose(heard, tone, atol=1e-3)


@pytest.mark.parametrize(("name", "most_off"), [("a.wav", 0), ("a.flac", 0), ("a.mp3", 0), ("a.m4a", 0), ("a.mka", 48)])
def test_a_stretch_found_by_seeking_is_the_one_that_lies_there(tmp_path: Path, name: str, most_off: int) -> None:
    """Exact where the container tells exact times; within the millisecond that Matroska rounds to."""
    seconds = np.arange(48_000 * 20) / 48_000
    path = write_sound(
        tmp_path / name, (0.3 * np.sin(2 * np.pi * (100 + 30 * seconds) * seconds)).astype(np.float32)[:, None]
    )
    whole = joined(list(audio_blocks(path, rate=48_000)))
    begins = round(next(audio_blocks(path, rate=48_000)).start * 48_000)
    for start in (Fraction(7, 3), Fraction(14)):
        found = np.zeros(48_000, np.float32)
        for block in audio_between(path, start, start + 1, rate=48_000):
            at = round((block.start - start) * 48_000)
            first, end = max(at, 0), min(at + len(block.samples), 48_000)
            if first < end:
                found[first:end] = block.samples[first - at : end - at, 0]
        at = round(start * 48_000) - begins
        likeness = [float(found[1000:40_000] @ whole[at + 1000 + off : at + 40_000 + off]) for off in range(-60, 61)]
        assert abs(int(np.argmax(likeness)) - 60) <= most_off
