"""What the frame does for every app: what a machine made is labelled, also where the app forgets to say so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from malan.apps import running
from malan.apps.builtin import all_apps, app_named
from malan.apps.frame import BY_MACHINE, Card, Made, Request, Work
from malan.apps.paying import expect
from malan.apps.running import read_request, run_app
from malan.core.errors import NotGranted, UsageError
from malan.media.labels import label_of, verify
from malan.services.access import Caller
from malan.services.outputs.publish import AiPart
from malan.services.settlement.app_bills import UNITS
from malan.workspace import Workspace

CODE = "001191440300708461136T10000"


class PaintRequest(Request):
    """What may be asked of the app of these tests."""

    mode: str = "diffuse"
    says: str = ""
    seconds: float = 2.0


class Paint:
    """An app that paints one picture and may or may not say what AI had to do with it."""

    card = Card("paint", "diffuse", meter="run", price_minor=7)
    request: type[Request] = PaintRequest

    def run(self, request: PaintRequest, work: Work) -> Made:
        ai = AiPart("composite") if request.says else None
        out = work.out / "picture.jpg"
        work.publish(self.card, "画", [], _paint, out, ai=ai, mode=request.mode)
        return Made({"picture": out})


def _paint(out: Path) -> None:
    picture = np.random.default_rng(1).integers(60, 120, (360, 640, 3)).astype("u1")
    Image.fromarray(picture).save(out, quality=92)


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace with a provider code, in which `paint` is an app."""
    Workspace.create(tmp_path / "ws")
    (tmp_path / "ws" / "malan.toml").write_text(f'producer_code = "{CODE}"\n', "utf-8")
    monkeypatch.setattr(running, "app_named", lambda name: Paint() if name == "paint" else app_named(name))
    return Workspace(tmp_path / "ws")


@pytest.mark.parametrize("mode", sorted(BY_MACHINE))
def test_what_a_machine_makes_is_labelled_whatever_the_app_says(ws: Workspace, tmp_path: Path, mode: str) -> None:
    run_app(ws, "paint", {"mode": mode}, tmp_path / "out")
    verdict = verify(tmp_path / "out" / "picture.jpg")
    assert verdict.verdict == "compliant"
    assert label_of(verdict) is not None


def test_what_people_assemble_carries_no_label(ws: Workspace, tmp_path: Path) -> None:
    run_app(ws, "paint", {"mode": "assemble"}, tmp_path / "out")
    assert label_of(verify(tmp_path / "out" / "picture.jpg")) is None


def test_an_app_may_say_that_ai_had_a_part_only(ws: Workspace, tmp_path: Path) -> None:
    told = run_app(ws, "paint", {"mode": "assemble", "says": "composite"}, tmp_path / "out")[1]
    assert label_of(verify(tmp_path / "out" / "picture.jpg")) is not None
    assert told["cost"]["minor"] == 7  # a run, however long


def test_without_a_provider_code_nothing_of_a_machine_leaves_the_house(ws: Workspace, tmp_path: Path) -> None:
    (ws.root / "malan.toml").write_text("", "utf-8")
    with pytest.raises(UsageError) as refused:
        run_app(Workspace(ws.root), "paint", {}, tmp_path / "out")
    assert refused.value.code == "publish.no_producer"
    assert not list((tmp_path / "out").glob("*.jpg"))


def test_every_app_has_a_card_that_can_be_billed_and_a_grant_to_run_under() -> None:
    for app in all_apps():
        assert app.card.meter in UNITS
        assert app.card.price_minor >= 0
        assert app.card.title("zh") != app.card.title("en")
        assert "grant" in app.request.model_fields


def test_an_app_that_foretells_nothing_is_expected_by_its_seconds(ws: Workspace, tmp_path: Path) -> None:
    expected = expect(Paint(), read_request(Paint(), {"seconds": 12.5}), Work(tmp_path, ws))
    assert (float(expected.seconds), expected.outputs) == (12.5, 1)


def test_files_of_this_machine_are_named_by_its_operator_only(ws: Workspace, tmp_path: Path) -> None:
    owner = Caller("p", frozenset({"owner"}), "session")
    with pytest.raises(NotGranted) as refused:
        run_app(ws, "promo", {"music": "/etc/hostname"}, tmp_path / "out", caller=owner)
    assert refused.value.code == "app.no_files"
