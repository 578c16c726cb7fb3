"""The console searches by meaning where an encoder has an index, and only there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from console_client import TestClient
from onnx_factory import COLOURS
from services.meaning_place import stored_colours, with_encoder

from malan.services.clips.meaning import build_index
from malan.web.app import create_app
from malan.workspace import Workspace

pytest.importorskip("tokenizers")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Workspace, list[str], TestClient]]:
    ws = Workspace.create(tmp_path / "workspace")
    clips = stored_colours(ws, [(name,) for name in COLOURS])
    with_encoder(ws, tmp_path)
    with TestClient(create_app(ws), base_url="http://127.0.0.1:8600") as client:
        yield ws, clips, client
    ws.database.dispose()


def test_a_meaning_is_found_that_no_word_names(place: tuple[Workspace, list[str], TestClient]) -> None:
    ws, clips, client = place
    assert client.get("/search.json", params={"q": "a crimson wall"}).json()["cards"] == []
    build_index(ws)
    cards = client.get("/search.json", params={"q": "a crimson wall", "meaning": "1"}).json()["cards"]
    assert cards[0]["clip_id"] == clips[0]


def test_likeness_may_be_that_of_meaning(place: tuple[Workspace, list[str], TestClient]) -> None:
    ws, clips, client = place
    build_index(ws)
    found = client.get("/search.json", params={"like": clips[2], "meaning": "1"}).json()
    assert found["like"]["clip_id"] == clips[2]
    assert clips[2] not in [card["clip_id"] for card in found["cards"]]


def test_the_switch_is_there_only_with_an_index(place: tuple[Workspace, list[str], TestClient]) -> None:
    ws, _, client = place
    assert 'name="meaning"' not in client.get("/").text
    build_index(ws)
    assert 'name="meaning"' in client.get("/").text
    (ws.root / "models.toml").write_text("[engines")
    assert client.get("/").status_code == 200


def test_a_search_by_meaning_without_an_index_says_what_to_do(place: tuple[Workspace, list[str], TestClient]) -> None:
    _, _, client = place
    reply = client.get("/search.json", params={"q": "red", "meaning": "1"})
    assert reply.status_code in (400, 404, 422)
    assert "malan clip index" in reply.text
