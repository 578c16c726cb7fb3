"""Sound heard once: levels and loudness by the book, times by the file's clock."""

from __future__ import annotations

import wave
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from malan.core.errors import NotFound
from malan.curation.sound import WINDOW_S, Sound, gated_loudness, hear

RATE = 48_000


def tone(seconds: float, amplitude: float, hertz: float = 997.0) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * hertz * np.arange(int(RATE * seconds)) / RATE)).astype(np.float32)


def write_wav(path: Path, samples: np.ndarray, channels: int = 2) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.repeat((samples * 32767).astype("<i2"), channels).tobytes())
    return path


def heard(path: Path) -> Sound:
    found = hear(path, speech=False)
    assert found is not None
    return found


def test_a_tone_of_minus_23_dbfs_in_both_channels_is_minus_23_lufs(tmp_path: Path) -> None:
    """EBU Tech 3341, case 1: a 1 kHz stereo sine of -23 dBFS peak measures -23.0 ±0.1 LUFS."""
    found = heard(write_wav(tmp_path / "t.wav", tone(6, 10 ** (-23 / 20), 1000)))
    assert found.integrated_lufs == pytest.approx(-23.0, abs=0.1)
    assert found.true_peak_dbtp == pytest.approx(-23.0, abs=0.2)


def test_a_part_is_measured_on_its_own(tmp_path: Path) -> None:
    found = heard(write_wav(tmp_path / "t.wav", np.concatenate([tone(4, 0.05), tone(4, 0.5)])))
    quiet, loud = found.between(0, 3.8), found.between(4.3, 8)
    assert quiet is not None
    assert loud is not None
    assert loud.integrated_lufs - quiet.integrated_lufs == pytest.approx(20, abs=0.3)
    assert found.between(20, 30) is None


def test_silence_has_no_loudness_but_a_level(tmp_path: Path) -> None:
    found = heard(write_wav(tmp_path / "t.wav", np.zeros(RATE * 2, np.float32)))
    assert found.integrated_lufs is None
    assert found.level_db.max() <= -99


def test_curves_cover_the_whole_sound(tmp_path: Path) -> None:
    found = heard(write_wav(tmp_path / "t.wav", tone(3.3, 0.2)))
    assert found.end_s == pytest.approx(3.3, abs=0.01)
    assert len(found.level_db) * WINDOW_S == pytest.approx(3.3, abs=0.05)
    assert found.high.max() == pytest.approx(0.2, abs=0.01)


def test_a_hole_in_the_sound_stays_a_hole(tmp_path: Path) -> None:
    path = tmp_path / "hole.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for start_s in (0.0, 5.0):
            samples = (tone(1.0, 0.3) * 32767).astype(np.int16)[None]
            for at in range(0, RATE, 4800):
                frame = av.AudioFrame.from_ndarray(samples[:, at : at + 4800], format="s16", layout="mono")
                frame.sample_rate, frame.time_base = RATE, Fraction(1, RATE)
                frame.pts = int(start_s * RATE) + at
                container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    found = heard(path)
    gap = np.diff(found.times_s)
    assert gap.max() == pytest.approx(4.0, abs=0.1)
    assert found.end_s == pytest.approx(6.0, abs=0.05)


def test_a_file_without_sound_gives_none(footage: Path) -> None:
    assert hear(footage / "video" / "sam2_juggle.mp4") is None


def test_damaged_sound_says_where(footage: Path) -> None:
    found = heard(footage / "damaged" / "bitflips.ts")
    assert found.damaged_s
    assert all(found.start_s - 1 <= start <= end <= found.end_s + 1 for start, end in found.damaged_s)


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        hear(tmp_path / "none.wav")


@pytest.mark.parametrize(("blocks", "lufs"), [([-23.0] * 10, -23.0), ([-23.0] * 10 + [-60.0] * 90, -23.0)])
def test_quiet_blocks_do_not_count(blocks: Sequence[float], lufs: float) -> None:
    assert gated_loudness(np.array(blocks, np.float32)) == pytest.approx(lufs, abs=0.01)


def test_our_gate_agrees_with_ffmpeg(footage: Path) -> None:
    found = heard(footage / "audio" / "music_vibe_ace.ogg")
    assert gated_loudness(found.momentary_lufs) == pytest.approx(found.integrated_lufs, abs=0.1)
