"""Models behind an address: registered, listed, refused by their licence, found by a recall."""

from __future__ import annotations

from pathlib import Path

import pytest

from malan.core.errors import NotGranted, Rejected, UsageError
from malan.services.engines.opening import ai_part, open_engine
from malan.services.engines.settings import read_engines
from malan.services.models.bases import add_base_from
from malan.services.models.endpoints import endpoint_id, endpoint_of
from malan.services.models.rights import retire_model
from malan.services.models.rows import list_rows
from malan.services.models.upkeep import check_model, remove_model
from malan.services.outputs.manifests import file_digest
from malan.services.outputs.publish import Draft, publish
from malan.services.outputs.recall import recall_model
from malan.workspace import Workspace

URL = "https://voices.example.org/v1"
NAMED = f"endpoint:{URL}#tts-9"


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    (tmp_path / "ws").mkdir()
    (tmp_path / "ws" / "malan.toml").write_text('producer_code = "001191110000802100433B10001"\nterritory = "CN"\n')
    (tmp_path / "ws" / "models.toml").write_text(
        f'[engines.voice]\nkind = "speech"\nbackend = "openai"\nurl = "{URL}/"\nmodel = "tts-9"\n'
    )
    return Workspace(tmp_path / "ws")


def add(ws: Workspace, licence: str = "MIT") -> str:
    return add_base_from(ws, NAMED, licence=licence, family="voices").id


def test_it_is_called_by_its_address_and_name_and_listed(ws: Workspace) -> None:
    row = read_engines(ws).row("voice")
    assert endpoint_of(ws, row) is None
    model = add(ws)
    assert model == endpoint_id(URL, "tts-9")
    assert [(one.title, one.form, one.size_bytes) for one in list_rows(ws)] == [("tts-9@1", "endpoint", 0)]
    assert endpoint_of(ws, row) is not None
    checked = check_model(ws, "tts-9")
    assert checked.is_well
    assert checked.engines == ("voice",)


@pytest.mark.parametrize(
    "wrong", ["endpoint:", "endpoint:ftp://a/v1#m", "endpoint:https://a/v1", "endpoint:https://u:p@a/v1#m",
              "endpoint:https://a/v1?x=1#m", "endpoint:https://[#m", "endpoint:https://a/v1#" + "m" * 400]
)  # fmt: skip
def test_what_is_no_address_is_refused(ws: Workspace, wrong: str) -> None:
    with pytest.raises(UsageError):
        add_base_from(ws, wrong, licence="MIT", family="voices")


def test_a_licence_that_forbids_it_keeps_the_engine_closed(ws: Workspace) -> None:
    add(ws, "CC-BY-NC-4.0")
    with pytest.raises(NotGranted), open_engine(ws, "voice", "speech"):
        pass


def test_what_it_made_is_found_by_a_recall(ws: Workspace, tmp_path: Path) -> None:
    from PIL import Image

    model = add(ws)
    part = ai_part(ws, "voice")
    assert part.model_ids == (model,)
    draft = Draft("speech", "infer", "t", (), ai=part)
    done = publish(ws, draft, lambda out: Image.new("RGB", (320, 180), "navy").save(out), tmp_path / "a.png")
    found = recall_model(ws, "tts-9", reason="投诉")
    assert [one.output_id for one in found.outputs] == [done.output_id] == [file_digest(done.path)]


def test_it_is_not_removed_while_an_engine_stands_on_it_and_a_retired_one_opens_no_more(ws: Workspace) -> None:
    add(ws)
    with pytest.raises(Rejected):
        remove_model(ws, "tts-9")
    retire_model(ws, "tts-9", reason="recalled by its provider")
    with pytest.raises(NotGranted), open_engine(ws, "voice", "speech"):
        pass
    (ws.root / "models.toml").write_text("")
    assert remove_model(ws, "tts-9").files == 0
