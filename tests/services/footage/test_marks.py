"""A credential that footage already carries is noted when it is added, whatever it is worth."""

from __future__ import annotations

from pathlib import Path

import pytest
from media_factory import draw_film

from malan.media.credentials import Chain, Credential, SourceType, new_chain, sign_media
from malan.services.footage.assets import add_assets
from malan.services.footage.marks import CREDENTIAL, marks_of, marks_on
from malan.workspace import Workspace


@pytest.fixture(scope="module")
def chain() -> Chain:
    return new_chain("Some Studio")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory, chain: Chain) -> Path:
    """A plain film, the same as AI made it, and the same by people; each signed but the first."""
    folder = tmp_path_factory.mktemp("films")
    plain = draw_film(folder / "plain.mp4", (8, 8), seed=3).path
    for name, source in (("ai", SourceType.AI_GENERATED), ("people", SourceType.CAPTURED)):
        credential = Credential(name, "Some Studio", source, training_mining={"ai_training": "notAllowed"})
        sign_media(plain, folder / f"{name}.mp4", chain, credential)
    broken = bytearray((folder / "people.mp4").read_bytes())
    broken[-100] ^= 1
    (folder / "broken.mp4").write_bytes(broken)
    return folder


def test_a_file_without_a_credential_has_no_mark(films):
    assert marks_of(films / "plain.mp4") == ()


@pytest.mark.parametrize(
    ("name", "kind", "state"), [("ai", "ai", "valid"), ("people", "intact", "valid"), ("broken", "broken", "invalid")]
)
def test_a_credential_is_noted_with_what_it_is_worth(films, name, kind, state):
    mark, signal = marks_of(films / f"{name}.mp4")
    assert (mark.kind, mark.value["class"], mark.value["state"]) == (CREDENTIAL, kind, state)
    assert mark.value["training_mining"] == {"ai_training": "notAllowed"}
    assert (signal.kind, signal.value["source"], signal.value["class"]) == ("rights.signal", "cawg", "notAllowed")


def test_ai_made_footage_is_noticed_when_added_and_found_by_it(films, tmp_path):
    ws = Workspace.create(tmp_path / "ws")
    report = add_assets(ws, [films], owner="湖南台")
    told = {Path(file.path).name: file.warnings for file in report.added}
    assert (told["ai.mp4"], told["plain.mp4"]) == (("credentials.input.ai", "signal.input.notAllowed"), ())
    made = next(file.asset_id for file in report.added if file.path.endswith("ai.mp4"))
    (finding,) = marks_on(ws, made)
    assert finding.value["ai_generated"] is True
