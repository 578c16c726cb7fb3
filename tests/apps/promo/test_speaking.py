"""Captions are spoken by a configured voice; the film says that a machine spoke."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from media_factory import draw_film
from onnx_factory import VOICE_TONES, write_voice

from malan.apps.running import run_app
from malan.core.errors import NotGranted, UsageError
from malan.media.labels import verify
from malan.rights import load_terms
from malan.services.footage.assets import add_assets
from malan.services.footage.scan import scan_assets
from malan.services.models.bases import add_base
from malan.workspace import Workspace

pytest.importorskip("sherpa_onnx")
CODE = "001191110000802100433B10001"  # a well-formed code of an organisation that does not exist
ASKED = {"length": 4, "lines": 360, "script": "马栏山水。", "own_sound": False}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    root = tmp_path_factory.mktemp("speaking")
    (root / "ws").mkdir()
    (root / "ws" / "malan.toml").write_text(f'organisation = "湖南台"\nproducer_code = "{CODE}"\n', "utf-8")
    ws = Workspace(root / "ws")
    (root / "terms.toml").write_text('uses = ["retrieve", "derive", "export", "publish"]\n')
    film = draw_film(root / "film.mp4", (45,) * 4, size=(320, 180), options={"preset": "veryfast"}, seed=5)
    add_assets(ws, [film.path], owner="湖南台", terms=load_terms(root / "terms.toml", "湖南台"))
    scan_assets(ws, captions=False)
    for name, licence in (("mouth", "MIT"), ("closed", "CC-BY-NC-4.0")):
        folder = write_voice(root / name)
        (folder / "README.md").write_text(name)  # another digest
        add_base(ws, folder, licence=licence, family="vits", name=name)
    rows = (f'[engines.{n}]\nkind = "speech"\nbackend = "sherpa"\nmodel = "{n}"\n' for n in ("mouth", "closed"))
    (ws.root / "models.toml").write_text("\n".join(rows))
    yield ws
    ws.database.dispose()


def test_captions_are_heard_and_the_film_is_labelled(library: Workspace, tmp_path: Path) -> None:
    _, told = run_app(library, "promo", {**ASKED, "speaker": "mouth"}, tmp_path)
    film = tmp_path / "promo-16x9.mp4"
    assert verify(film).label is not None
    assert not (tmp_path / "voice.wav").exists()
    spectrum = np.abs(np.fft.rfft(_sound(film)))
    hz = np.fft.rfftfreq(len(_sound(film)), 1 / 16_000)
    for tone in (VOICE_TONES[letter] for letter in "马栏山水"):
        near = spectrum[np.abs(hz - tone) < 15].max()
        assert near > 5 * np.median(spectrum[np.abs(hz - tone) < 300])
    assert told["notes"] is not None


def test_without_a_speaker_nothing_is_labelled(library: Workspace, tmp_path: Path) -> None:
    run_app(library, "promo", ASKED, tmp_path)
    assert verify(tmp_path / "promo-16x9.mp4").label is None


def test_a_speaker_without_words_is_refused(library: Workspace, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        run_app(library, "promo", {**ASKED, "script": "", "speaker": "mouth"}, tmp_path)
    assert refused.value.code == "promo.speaker_silent"


def test_a_voice_that_may_not_be_used_is_refused(library: Workspace, tmp_path: Path) -> None:
    with pytest.raises(NotGranted):
        run_app(library, "promo", {**ASKED, "speaker": "closed"}, tmp_path)


def _sound(film: Path) -> np.ndarray:
    """Mono samples at 16 kHz."""
    with av.open(str(film)) as container:
        resampler = av.AudioResampler("flt", "mono", 16_000)
        frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])
