"""The cover is the best moment, in every format, with the title on it; a film that fails leaves nothing behind."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from media_factory import draw_film
from PIL import Image

from malan.apps.promo.cover import worth
from malan.apps.running import run_app
from malan.core.errors import MalanError
from malan.media.render.process import failure
from malan.rights import load_terms
from malan.services.footage.assets import add_assets
from malan.services.footage.scan import scan_assets
from malan.workspace import Workspace


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    root = tmp_path_factory.mktemp("cover")
    ws = Workspace.create(root / "ws")
    (root / "terms.toml").write_text('uses = ["retrieve", "derive", "export", "publish"]\n')
    film = draw_film(root / "film.mp4", (45,) * 3, size=(320, 180), options={"preset": "veryfast"}, audio=True)
    add_assets(ws, [film.path], owner="湖南台", terms=load_terms(root / "terms.toml", "湖南台"))
    scan_assets(ws, captions=False)
    return ws


def test_every_format_has_a_cover_of_its_size_and_the_title_is_on_it(library, tmp_path):
    asked = {"length": 3, "lines": 360, "format": ("16:9", "9:16"), "seed": 1}
    run_app(library, "promo", asked, tmp_path / "plain")
    run_app(library, "promo", {**asked, "title": "马栏"}, tmp_path / "titled")
    for name, size in (("cover.jpg", (640, 360)), ("cover-9x16.jpg", (360, 640))):
        plain, titled = (np.asarray(Image.open(tmp_path / one / name), int) for one in ("plain", "titled"))
        assert plain.shape[1::-1] == size
        white = titled.min(axis=2) > 235
        middle = white[size[1] // 4 : size[1] * 2 // 3, size[0] // 8 : -size[0] // 8]
        assert middle.sum() > 0.5 * white.sum() > 100
        assert titled[: size[1] // 8].mean() < plain[: size[1] // 8].mean()  # the picture steps back
    assert not list(tmp_path.rglob(".malan*"))


def test_a_sharp_bright_picture_is_worth_more_than_a_dark_or_flat_one():
    rng = np.random.default_rng(1)
    lively = rng.integers(30, 230, (90, 160, 3)).astype(np.uint8)
    flat = np.full((90, 160, 3), 120, np.uint8)
    assert worth(lively) > worth((lively * 0.1).astype(np.uint8)) > worth(np.zeros((90, 160, 3), np.uint8)) - 1e-9
    assert worth(lively) > worth(flat)


@pytest.mark.parametrize(
    "change",
    [
        {"clip": "0" * 64},
        {"music": "/dev/zero"},
        {"music": "missing.mp3"},
        {"voice": "broken.wav"},
        {"text": "\U0010fffd\u0378"},
    ],
)
def test_a_film_that_fails_leaves_nothing_behind(library, tmp_path, change, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.wav").write_bytes(b"RIFF" + bytes(3000))
    run_app(library, "promo", {"length": 3, "lines": 360, "plan_only": True}, tmp_path / "plan")
    board = json.loads((tmp_path / "plan" / "storyboard.json").read_text("utf-8"))
    (board["shots"][0] if set(change) & {"clip", "text"} else board).update(change)
    (tmp_path / "board.json").write_text(json.dumps(board), "utf-8")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "mine.txt").write_text("mine")
    for out in ("new", "kept"):
        with pytest.raises(MalanError):
            run_app(library, "promo", {"board": str(tmp_path / "board.json")}, tmp_path / out)
    assert not (tmp_path / "new").exists()
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["mine.txt"]


def test_why_a_value_is_refused_is_said_in_the_language_of_the_reader(library, tmp_path):
    with pytest.raises(MalanError) as refused:
        run_app(library, "promo", {"format": ("3:2",)}, tmp_path)
    assert "Input should be" not in refused.value.message("en") + refused.value.message("zh")


def test_a_board_with_an_endless_title_is_refused_at_once(tmp_path):
    from malan.apps.promo.board import parse_board

    said = {"shots": [{"clip": "0" * 64, "from_s": 0, "frames": 20}], "title": "长" * 5000}
    with pytest.raises(MalanError) as refused:
        parse_board(json.dumps(said), str(Path("board.json")))
    assert refused.value.values["where"] == "title"


def test_a_full_disk_is_called_that(tmp_path):
    words = "[out] Error writing trailer: No space left on device\nConversion failed!\n"
    assert failure(words, 1, tmp_path).code == "render.not_written"
    assert failure("Invalid data found\nConversion failed!\n", 1, tmp_path).values["detail"] == "Invalid data found"


def test_a_place_that_cannot_be_written_is_named(library, tmp_path):
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file", tmp_path / "file" / "inside", Path("/proc/malan")):
        with pytest.raises(MalanError) as refused:
            run_app(library, "promo", {"length": 3, "lines": 360}, place)
        assert refused.value.code == "app.not_written"
        assert str(place) in refused.value.message("zh") or str(tmp_path) in refused.value.message("zh")
    assert (tmp_path / "file").read_text() == "mine"
