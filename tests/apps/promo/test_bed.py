"""Music is composed to the cuts of a promo where tags ask for it, and the film says that some of it was generated."""

from __future__ import annotations

import shutil
from pathlib import Path

import av
import pytest
from media_factory import draw_film

from malan.apps.running import run_app
from malan.rights import load_terms
from malan.services.footage.assets import add_assets
from malan.services.footage.scan import scan_assets
from malan.workspace import Workspace

CODE = "001191110000802100433B10001"  # a well-formed code of an organisation that does not exist


@pytest.mark.skipif(shutil.which("fluidsynth") is None, reason="fluidsynth is not installed")
def test_a_bed_is_as_long_as_the_film_and_the_same_every_time(tmp_path: Path) -> None:
    Workspace.create(tmp_path / "ws")
    (tmp_path / "ws" / "malan.toml").write_text(f'organisation = "湖南台"\nproducer_code = "{CODE}"\n', "utf-8")
    ws = Workspace.find(tmp_path / "ws")
    (tmp_path / "terms.toml").write_text('uses = ["retrieve", "derive", "export", "publish"]\n')
    film = draw_film(tmp_path / "film.mp4", (60, 60, 60), options={"preset": "ultrafast"})
    add_assets(ws, [film.path], owner="湖南台", terms=load_terms(tmp_path / "terms.toml", "湖南台"))
    scan_assets(ws, captions=False)
    asked = {"length": 4, "lines": 360, "bed": "calm，piano", "seed": 3}
    told = [run_app(ws, "promo", asked, tmp_path / name)[1] for name in ("one", "two")]
    assert abs(told[0]["loudness_lufs"] + 16) <= 0.5
    first, second = (sound_of(tmp_path / name / "promo-16x9.mp4") for name in ("one", "two"))
    assert first == second
    assert len(first) > 150  # four seconds of AAC
    assert not list((tmp_path / "one").glob("*.wav"))


def sound_of(path: Path) -> list[bytes]:
    with av.open(str(path)) as film:
        return [bytes(packet) for packet in film.demux(audio=0) if packet.size]
