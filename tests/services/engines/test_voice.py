"""A script is spoken line by line, each at its time, and says that a machine spoke."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx_factory import VOICE_TONES, write_voice

from malan.core.errors import NotGranted, UsageError
from malan.services.engines.voice import speak_script, voices
from malan.services.models.bases import add_base
from malan.services.models.rows import ModelRow
from malan.workspace import Workspace

pytest.importorskip("sherpa_onnx")
MOUTH = '[engines.mouth]\nkind = "speech"\nbackend = "sherpa"\nmodel = "mouth"\n'


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    ws = Workspace.create(tmp_path / "workspace")
    yield ws
    ws.database.dispose()


def with_mouth(ws: Workspace, tmp_path: Path, licence: str = "Apache-2.0") -> ModelRow:
    (ws.root / "models.toml").write_text(MOUTH)
    return add_base(ws, write_voice(tmp_path / "mouth"), licence=licence, family="vits", name="mouth")


def heard(path: Path, at_s: float) -> float:
    """The loudest frequency of a tenth of a second; 0 where it is silent."""
    with wave.open(str(path)) as file:
        rate = file.getframerate()
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768
    part = samples[round(at_s * rate) : round((at_s + 0.1) * rate)]
    return (
        float(np.argmax(np.abs(np.fft.rfft(part * np.hanning(len(part)), rate)))) if np.abs(part).max() > 0.01 else 0.0
    )


def test_lines_are_heard_at_their_times(ws: Workspace, tmp_path: Path) -> None:
    with_mouth(ws, tmp_path)
    said = speak_script(ws, ["马栏", "山水"], tmp_path / "out.wav", starts_s=[0.5, 2.0])
    assert [(one.start_s, one.end_s) for one in said.lines] == [(0.5, 0.7), (2.0, 2.2)]
    assert said.seconds == pytest.approx(2.2, abs=0.01)
    for letter, at_s in zip("马栏山水", (0.5, 0.6, 2.0, 2.1), strict=True):
        assert heard(said.path, at_s) == pytest.approx(VOICE_TONES[letter], abs=15)
    assert heard(said.path, 1.0) == 0


def test_lines_without_times_follow_one_another(ws: Workspace, tmp_path: Path) -> None:
    with_mouth(ws, tmp_path)
    said = speak_script(ws, ["马栏", "", "山水"], tmp_path / "out.wav")
    assert [one.text for one in said.lines] == ["马栏", "山水"]
    assert said.lines[1].start_s == pytest.approx(said.lines[0].end_s + 0.35, abs=0.01)


def test_a_line_that_runs_over_pushes_the_next_one_and_says_so(ws: Workspace, tmp_path: Path) -> None:
    with_mouth(ws, tmp_path)
    said = speak_script(ws, ["马栏山水" * 5, "水"], tmp_path / "out.wav", starts_s=[0.0, 1.0])
    assert said.lines[1].start_s >= said.lines[0].end_s
    assert said.lines[1].late_s == pytest.approx(1.0, abs=0.05)


def test_it_is_told_that_a_machine_spoke_and_with_which_model(ws: Workspace, tmp_path: Path) -> None:
    base = with_mouth(ws, tmp_path)
    said = speak_script(ws, ["马"], tmp_path / "out.wav")
    assert (said.ai.share, said.ai.model_ids) == ("composite", (base.id,))
    assert voices(ws) == ("mouth",)


@pytest.mark.parametrize(("lines", "starts"), [([], ()), (["", " "], ()), (["马"], (0.0, 1.0)), (["马"] * 501, ())])
def test_what_makes_no_script_is_refused(
    ws: Workspace, tmp_path: Path, lines: list[str], starts: tuple[float, ...]
) -> None:
    with_mouth(ws, tmp_path)
    with pytest.raises(UsageError):
        speak_script(ws, lines, tmp_path / "out.wav", starts_s=starts)


def test_without_a_voice_it_is_said_how_to_get_one(ws: Workspace, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as told:
        speak_script(ws, ["马"], tmp_path / "out.wav")
    assert "models.toml" in str(told.value)


def test_a_licence_that_forbids_it_is_told(ws: Workspace, tmp_path: Path) -> None:
    with_mouth(ws, tmp_path, "CC-BY-NC-4.0")
    with pytest.raises(NotGranted):
        speak_script(ws, ["马"], tmp_path / "out.wav")
