"""A video adapter as a buyer gets it: a base in the registry, a grant on films, a run, a model with its lineage.

The whole way through services: nothing here is put together by hand.
"""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed here; `make test-train` runs these")
pytest.importorskip("diffusers")

from market_place import BUYER_NAME, CURATOR, STATION, terms_of
from media_factory import draw_film
from run_place import BUYER, OPEN
from tiny_models import save_video_base

from malan.services.clips.where import condition
from malan.services.datasets.freezing import freeze_snapshot
from malan.services.footage.assets import add_assets
from malan.services.footage.scan import scan_assets
from malan.services.market.contracts import accept_contract, order_product, sign_contract
from malan.services.market.products import Price, offer_product
from malan.services.models.bases import add_base
from malan.services.models.registry import get_model
from malan.services.models.trace import trace_model
from malan.services.runs import checks as run_checks
from malan.services.runs.receipts import read_receipt
from malan.services.runs.submission import Asked, get_run, run_log, submit_run
from malan.services.runs.view import describe_run
from malan.services.runs.worker import work
from malan.workspace import Workspace

WANTED = {"rank": 4, "frames": 9, "size_px": 32, "tokens": 16, "steps": 30, "batch": 4, "together": 4, "rate": 2e-3}
LORA = {**OPEN, "uses": ["retrieve", "train", "generative_train"]}


@pytest.fixture
def place(tmp_path: Path) -> tuple[Workspace, str]:
    """Ten films of one owner, and a grant to train generators on what was frozen of them."""
    ws = Workspace.create(tmp_path / "ws")
    options = {"preset": "ultrafast", "g": "12"}
    for number in range(10):
        film = draw_film(tmp_path / f"{number}.mp4", (40, 30), seed=10 * number, options=options, size=(160, 90))
        add_assets(ws, [film.path], owner=STATION, terms=terms_of(STATION, **LORA))
    scan_assets(ws, captions=False)
    shares = {"train": Fraction(6, 10), "test": Fraction(4, 10)}
    freeze_snapshot(ws, "films", condition(""), caller=CURATOR, shares=shares)
    number = order_product(ws, offer_product(ws, "films", price=Price.read("100:CNY")).id, BUYER_NAME).number
    accept_contract(ws, number)
    sign_contract(ws, number)
    grant_id = sign_contract(ws, number, caller=BUYER).grant_id
    assert grant_id is not None
    return ws, grant_id


PRIVATE = {**WANTED, "epsilon": 8.0, "clip_norm": 0.5, "steps": 12, "rate": 5e-3}


def test_a_buyer_trains_a_private_adapter_and_the_receipt_says_what_it_cost(
    place: tuple[Workspace, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With six clips a useful ε drowns what is learned, so here the gate asks for no gain; all else is as ever."""
    ask = run_checks.ask_of
    monkeypatch.setattr(run_checks, "ask_of", lambda *what: {**ask(*what), "needs": frozenset({"frames"})})
    ws, grant = place
    base = add_base(ws, save_video_base("wan", tmp_path / "wan"), licence="Apache-2.0", family="wan", name="tiny-wan")
    asked = Asked(base=base.title, tier="recipe-dp")
    run = submit_run(ws, "video-lora", grant, PRIVATE, asked=asked, caller=BUYER)
    work(ws, once=True)
    run = get_run(ws, run.id)
    assert run.state == "released", (describe_run(ws, run)["reasons"], run_log(ws, run.id)[-2000:])
    for copy in ("owner", "party"):
        said = json.loads(read_receipt(ws, run.id, copy).body)
        assert said["tier"] == "recipe-dp"
        assert 0 < float(said["epsilon"]) <= 8.0
        assert 0 < float(said["delta"]) < 1 / 6
        assert "loss" not in said["metrics"] or float(said["metrics"]["loss"]) == -1
    assert json.loads(read_receipt(ws, run.id, "party").body)["memorisation"] == "nothing-found"
    assert get_model(ws, run.model_id or "").record.base_model_id == base.id


def test_a_buyer_trains_an_adapter_for_a_base_of_the_registry(place: tuple[Workspace, str], tmp_path: Path) -> None:
    ws, grant = place
    base = add_base(ws, save_video_base("wan", tmp_path / "wan"), licence="Apache-2.0", family="wan", name="tiny-wan")
    run = submit_run(ws, "video-lora", grant, WANTED, asked=Asked(base=base.title), caller=BUYER)
    work(ws, once=True)
    run = get_run(ws, run.id)
    assert run.state == "released", (describe_run(ws, run)["reasons"], run_log(ws, run.id)[-2000:])
    model = get_model(ws, run.model_id or "")
    assert model.record.base_model_id == base.id
    assert sum(model.shares.values()) == 1
    assert trace_model(ws, model.title)
