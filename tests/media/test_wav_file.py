"""The sound of a film as a WAV file: as long as it was, at its own rate, with the label it had."""

from __future__ import annotations

import wave
from pathlib import Path

import pytest
from media_factory import draw_film

from malan.core.errors import MediaError
from malan.media.labels import Label, label_of, verify, write_label
from malan.media.wav_file import write_wav


def test_sound_is_decoded_whole(tmp_path: Path) -> None:
    film = draw_film(tmp_path / "a.mp4", (30,), seed=3, audio=True)
    made = write_wav(film.path, tmp_path / "a.wav")
    assert made is not None
    with wave.open(str(tmp_path / "a.wav")) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getnframes()) == (
            made.rate_hz,
            made.channels,
            made.samples,
        )
    assert made.seconds == pytest.approx(30 / 25, abs=0.1)


def test_another_rate_is_given_when_asked_for(tmp_path: Path) -> None:
    film = draw_film(tmp_path / "a.mp4", (30,), seed=3, audio=True)
    made = write_wav(film.path, tmp_path / "a.wav", rate_hz=16_000)
    assert made is not None
    assert made.rate_hz == 16_000
    assert made.seconds == pytest.approx(30 / 25, abs=0.1)


def test_without_sound_there_is_no_file(tmp_path: Path) -> None:
    film = draw_film(tmp_path / "a.mp4", (10,), seed=3)
    assert write_wav(film.path, tmp_path / "a.wav") is None
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_what_cannot_be_decoded_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no film at all")
    with pytest.raises(MediaError):
        write_wav(tmp_path / "a.mp4", tmp_path / "a.wav")
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_the_label_of_what_ai_made_goes_along(tmp_path: Path) -> None:
    film = draw_film(tmp_path / "a.mp4", (20,), seed=3, audio=True)
    label = Label.first("001191440300708461136T1XGW3", "produce-1")
    write_label(film.path, tmp_path / "b.mp4", label)
    write_wav(tmp_path / "b.mp4", tmp_path / "b.wav")
    found = label_of(verify(tmp_path / "b.wav"))
    assert found is not None
    assert found.produce_id == "produce-1"
