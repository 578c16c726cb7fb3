"""The video app with a video model: exact length and shape, labelled, its models in the log, found by a recall."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import pytest
from model_factory import ANN, run_facts
from safetensors.numpy import save
from test_adapters import drawn

from malan.apps.running import run_app
from malan.media.labels.verify import glance
from malan.services.engines.opening import ai_part
from malan.services.models.bases import add_base
from malan.services.models.registry import register_model
from malan.services.models.rows import find_model
from malan.workspace import Workspace

CODE = "001191430000MA4L5XXX7X00001"


@pytest.fixture
def ws(tmp_path: Path, base: Callable[[str], Path]) -> Iterator[Workspace]:
    Workspace.create(tmp_path / "ws")
    (tmp_path / "ws" / "malan.toml").write_text(f'organisation = "湖南台"\nproducer_code = "{CODE}"\n', "utf-8")
    made = Workspace(tmp_path / "ws")
    add_base(made, Path(shutil.copytree(base("wan"), tmp_path / "wan")), licence="Apache-2.0", family="wan", name="wan")
    engine = '[engines.film]\nkind = "video"\nbackend = "diffusers"\nmodel = "wan"\n'
    (made.root / "models.toml").write_text(engine)
    yield made
    made.devices.close()


def test_a_description_becomes_a_labelled_film_of_exact_length(ws: Workspace, tmp_path: Path) -> None:
    weights = save(drawn(tmp_path / "wan", "wan"))
    night = register_model(
        ws, weights, name="night", base_id=find_model(ws, "wan").id, licence="Apache-2.0", run=run_facts(1),
        shares={ANN: Fraction(1)},
    )  # fmt: skip
    asked = {
        "prompt": "雾中的群山，竖屏", "mode": "diffuse", "seconds": 0.6, "lines": 360, "adapter": ("night",),
        "steps": 2, "model_lines": 32,
    }  # fmt: skip
    told = run_app(ws, "video", asked, tmp_path / "out")[1]
    film = tmp_path / "out" / "video-9x16.mp4"
    with av.open(str(film)) as opened:
        stream = opened.streams.video[0]
        assert (stream.width, stream.height, stream.frames) == (360, 640, 15)
    assert told["prompt"].startswith("雾中的群山")
    assert json.loads((tmp_path / "out" / "storyboard.json").read_text("utf-8"))["mode"] == "diffuse"
    assert glance(film)  # the implicit label
    [logged] = [one for one in told["files"] if one["what"] == "9x16"]
    assert logged["output"]
    assert {find_model(ws, "wan").id, night.id} <= set(ai_part(ws, "film", ["night"]).model_ids)
