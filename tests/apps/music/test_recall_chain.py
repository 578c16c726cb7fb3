"""A model is recalled: the song it wrote is marked, and so is the promo that was cut to that song."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from media_factory import draw_film
from model_factory import ANN, run_facts
from typer.testing import CliRunner

from malan.apps.running import run_app
from malan.inference.music_lm import VOCABULARY
from malan.inference.tensors import Tensor, write_tensors
from malan.media.labels.verify import verify
from malan.rights import load_terms
from malan.services.footage.assets import add_assets
from malan.services.footage.scan import scan_assets
from malan.services.log.reading import verify_log
from malan.services.models.registry import register_model
from malan.services.outputs.manifests import Source, log_output, trace_output
from malan.services.outputs.recall import marks_of, recall_model, restore_outputs
from malan.store import ClipQuery
from malan.workspace import Workspace

CODE = "001191110000802100433B10001"  # a well-formed code of an organisation that does not exist
USES = 'uses = ["retrieve", "derive", "export", "publish"]\n'


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, dict[str, Path]]:
    """A song by a model, and two promos: one that is cut to that song, one without it."""
    if shutil.which("fluidsynth") is None:
        pytest.skip("fluidsynth is not installed")
    place = tmp_path_factory.mktemp("chain")
    Workspace.create(place / "ws")
    (place / "ws" / "malan.toml").write_text(f'organisation = "湖南台"\nproducer_code = "{CODE}"\n', "utf-8")
    ws = Workspace(place / "ws")
    (place / "terms.toml").write_text(USES)
    terms = load_terms(place / "terms.toml", "湖南台")
    film = draw_film(place / "film.mp4", (60, 60, 60), options={"preset": "ultrafast"})
    add_assets(ws, [film.path], owner="湖南台", terms=terms)
    scan_assets(ws, captions=False)
    register_model(
        ws, write_tensors([Tensor.of(name, values) for name, values in weights().items()]), name="山歌",
        licence="Apache-2.0", run=run_facts(7, algorithm="music-lm", parameters={"heads": 4}),
        shares={ANN: Fraction(1)},
    )  # fmt: skip
    run_app(ws, "music", {"mode": "infer", "model": "山歌", "seconds": 8.0}, place / "song")
    song = place / "song" / "music.wav"
    asked = {"length": 3, "lines": 360, "seed": 3}
    run_app(ws, "promo", {**asked, "music": str(song)}, place / "with")
    run_app(ws, "promo", asked, place / "without")
    films = {name: place / name / "promo-16x9.mp4" for name in ("with", "without")}
    return ws, {"song": song, **films}


def weights(width: int = 32) -> dict[str, np.ndarray]:
    lots = np.random.default_rng(5)
    shapes = {"embed.weight": (VOCABULARY, width), "position.weight": (48, width), "norm.weight": (width,)}
    for block in ("blocks.0.", "blocks.1."):
        shapes |= {block + "norm1.weight": (width,), block + "norm2.weight": (width,)}
        shapes |= {block + "mix.weight": (3 * width, width), block + "out.weight": (width, width)}
        shapes |= {block + "up.weight": (4 * width, width), block + "down.weight": (width, 4 * width)}
    return {name: (0.3 * lots.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}


def outputs(ws: Workspace, files: dict[str, Path]) -> dict[str, str]:
    return {name: trace_output(ws, str(path)).output_id for name, path in files.items()}


def test_song_and_promo_are_found_marked_and_told_and_the_other_promo_is_not(chain) -> None:
    ws, files = chain
    ids = outputs(ws, files)
    found = recall_model(ws, "山歌", reason="训练素材被撤回")
    assert {one.output_id for one in found.outputs} == {ids["song"], ids["with"]}
    assert {one.app for one in found.outputs} == {"music", "promo"}
    assert set(marks_of(ws, list(ids.values()))) == {ids["song"], ids["with"]}

    from malan.cli.main import app

    for name in ("song", "with"):
        said = CliRunner().invoke(app, ["output", "trace", str(files[name]), "--workspace", str(ws.root), "--json"])
        assert json.loads(said.output)["recalled"][0]["reason"] == "训练素材被撤回"
    verify_log(ws)
    restore_outputs(ws, "山歌", reason="误会")
    assert marks_of(ws, list(ids.values())) == {}


def test_a_promo_with_a_song_of_a_machine_is_labelled_and_one_without_is_not(chain) -> None:
    _, files = chain
    assert verify(files["with"]).verdict == "compliant"
    assert verify(files["without"]).verdict != "compliant"


def test_an_output_that_came_into_the_library_leads_to_the_films_that_show_it(chain, tmp_path: Path) -> None:
    ws, files = chain
    (tmp_path / "terms.toml").write_text(USES)
    digest = outputs(ws, files)["with"]
    add_assets(ws, [files["with"]], owner="湖南台", terms=load_terms(tmp_path / "terms.toml", "湖南台"))
    scan_assets(ws, captions=False)
    row = next(hit.row for hit in ws.library.search(ClipQuery()).hits if hit.row.clip.asset_id == digest)
    shown = Source(row.clip, row.owner_id, row.terms_id, Fraction(0), row.span.duration)
    (tmp_path / "again.mp4").write_bytes(b"a film that shows it")
    again, _ = log_output(ws, tmp_path / "again.mp4", app="promo", mode="assemble", sources=[shown])
    assert again in {one.output_id for one in recall_model(ws, "山歌", reason="", dry=True).outputs}
