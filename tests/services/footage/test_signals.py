"""What footage says of its own rights is noted when it is added; owners may say otherwise, and then the log says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from media_factory import draw_film
from typer.testing import CliRunner

from malan.cli.main import app
from malan.core.errors import UsageError
from malan.services.footage.assets import add_assets
from malan.services.footage.signals import look_for, publish_signals, signals_on
from malan.services.journal import read_event
from malan.services.market.terms import ready_terms
from malan.workspace import Workspace

RSL_SHUT = '<rsl xmlns="https://rslstandard.org/rsl"><content url="/"><license>{}</license></content></rsl>'
PROHIBITED = '<prohibits type="usage">ai-train</prohibits>'


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return draw_film(tmp_path_factory.mktemp("films") / "film.mp4", (8, 8), seed=5).path


@pytest.fixture
def copy(film, tmp_path):
    folder = tmp_path / "films"
    folder.mkdir()
    path = folder / "film.mp4"
    path.write_bytes(film.read_bytes())
    return path


def said(path: Path) -> dict[str, dict[str, str]]:
    return {source: dict(found) for source, found in look_for(str(path))}


def test_a_plain_file_says_nothing(copy):
    assert said(copy) == {}


def test_the_plus_property_in_the_file_is_read(copy):
    key = "http://ns.useplus.org/ldf/vocab/DMI-PROHIBITED-AIMLTRAINING"
    plus = f'xmlns:plus="http://ns.useplus.org/ldf/xmp/1.0/" plus:DataMining="{key}"'
    rdf = f'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description {plus}/></rdf:RDF>'
    packet = f'<x:xmpmeta xmlns:x="adobe:ns:meta/">{rdf}</x:xmpmeta>'.encode()
    box = b"uuid" + bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + packet  # XMP specification part 3, §1.2.7.1
    with copy.open("ab") as file:
        file.write((4 + len(box)).to_bytes(4, "big") + box)
    assert said(copy)["plus"] == {"ai_training": "notAllowed", "ai_generative_training": "notAllowed"}


def test_an_xmp_side_car_is_read(copy):
    packet = '<x xmlns:plus="http://ns.useplus.org/ldf/xmp/1.0/" plus:DataMining="DMI-PROHIBITED"/>'
    copy.with_suffix(".xmp").write_text(packet)
    assert set(said(copy)["plus"].values()) == {"notAllowed"}


@pytest.mark.parametrize("name", ["film.rsl", "film.mp4.rsl", "rsl.xml"])
def test_an_rsl_beside_the_file_is_read(copy, name):
    (copy.parent / name).write_text(RSL_SHUT.format(PROHIBITED))
    assert said(copy)["rsl"]["ai_training"] == "notAllowed"


def test_a_tdmrep_file_beside_is_read(copy):
    (copy.parent / "tdmrep.json").write_text(json.dumps([{"location": "/films/", "tdm-reservation": 1}]))
    assert said(copy)["tdmrep"]["ai_training"] == "notAllowed"


def test_hostile_neighbours_are_read_strictly_and_harm_nothing(copy):
    (copy.parent / "tdmrep.json").write_bytes(b"\xff" * 400_000)
    (copy.parent / "film.rsl").mkdir()
    (copy.parent / "rsl.xml").symlink_to("/dev/zero")
    copy.with_suffix(".xmp").write_bytes(b"\0" * 10)
    assert set(said(copy)["tdmrep"].values()) == {"notAllowed"}
    assert "rsl" not in said(copy)
    assert said(copy.parent / "not there.mp4") != {}


def test_it_is_found_with_the_footage_and_terms_against_it_are_logged(copy, tmp_path):
    (copy.parent / "film.rsl").write_text(RSL_SHUT.format(PROHIBITED))
    ws = Workspace.create(tmp_path / "ws")
    report = add_assets(ws, [copy], owner="湖南台")
    assert report.added[0].warnings == ("signal.input.notAllowed",)
    asset = report.added[0].asset_id
    assert signals_on(ws, [asset])[asset]["ai_training"] == "notAllowed"
    assert ws.log.find("asset.override") == []
    for _ in range(2):
        add_assets(ws, [copy], owner="湖南台", terms=ready_terms("train", "湖南台"))
    (place,) = ws.log.find("asset.override")
    event = read_event(ws, place)
    assert event.statement.facts["signals"] == ["ai_training"]
    assert len(event.key_ids) == 2
    add_assets(ws, [copy], owner="湖南台", terms=ready_terms("promo", "湖南台"))
    assert len(ws.log.find("asset.override")) == 1


@pytest.mark.parametrize("form", ["cawg", "tdmrep", "rsl", "croissant"])
def test_terms_are_told_in_every_format(form):
    told = publish_signals(ready_terms("train", "湖南台"), form, url="/films/*", policy_url="https://example.org/p")
    assert told["format"] == form
    assert len(told) > 1


@pytest.mark.parametrize("bad", [{"url": "films"}, {"url": "javascript:x"}, {"policy_url": 'https://x/"'}])
def test_what_is_no_address_is_refused(bad):
    with pytest.raises(UsageError):
        publish_signals(ready_terms("train", "湖南台"), "tdmrep", **bad)
    with pytest.raises(UsageError):
        publish_signals(ready_terms("train", "湖南台"), "moon")


def test_the_command_needs_no_workspace_for_a_file(tmp_path):
    (tmp_path / "t.toml").write_text('uses = ["retrieve"]\n')
    done = CliRunner().invoke(app, ["terms", "signals", str(tmp_path / "t.toml"), "--format", "rsl"])
    assert (done.exit_code, "prohibits" in done.output) == (0, True)
    done = CliRunner().invoke(app, ["terms", "signals", str(tmp_path / "t.toml"), "--format", "tdmrep", "--json"])
    assert json.loads(done.output)["headers"] == {"tdm-reservation": "1"}
