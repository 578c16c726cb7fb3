"""What an owner decides on pages, what a run and a model show, and how little others learn of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import run_programs as programs
from account_factory import party
from console_client import TestClient
from console_person import BASE, PAGE, Person
from market_place import BUYER_NAME, RIVAL, STATION, STUDIO
from model_factory import release_adapter
from run_place import BUYER, SET, grant_on

from malan.services.runs.algorithms import find_algorithm, submit_algorithm
from malan.services.runs.approvals import said_about
from malan.services.runs.submission import get_run, submit_run
from malan.services.runs.worker import work
from malan.web.app import create_app
from malan.workspace import Workspace


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workspace, str]]:
    """A grant on footage of two owners; both, the buyer, a rival and an operator have accounts."""
    ws = Workspace.create(tmp_path_factory.mktemp("training") / "ws")
    grant = grant_on(ws, STATION, STUDIO, price="250:CNY/run")
    people = ((STATION, "owner"), (STUDIO, "owner"), (BUYER_NAME, "buyer"), (RIVAL, "buyer"))
    for (name, role), login in zip(people, ("station", "studio", "buyer", "rival"), strict=True):
        party(ws, name, role, login=login)
    party(ws, "Park", "operator", login="park")
    yield ws, grant
    ws.database.dispose()


def sent(ws: Workspace, grant: str, name: str) -> str:
    """The digest of code of the buyer's, its owners asked."""
    submit_algorithm(ws, programs.package(programs.LINE, name), grant=grant, caller=BUYER)
    return find_algorithm(ws, name).digest


def test_an_owner_reads_the_code_and_approves_it_and_the_buyer_reads_why(place: tuple[Workspace, str]) -> None:
    ws, grant = place
    digest = sent(ws, grant, "seen")
    station, buyer = Person(ws, "station", "zh"), Person(ws, "buyer")
    assert "待您审批" in station.get("/approvals")
    page = station.get(f"/approvals/{digest}")
    assert "def train(" in page
    assert "湖南台" in page
    assert STUDIO not in page, "an owner hears its own word, not the others'"
    assert station.post(f"/approvals/{digest}/approve", reason="代码清楚") == f"/approvals/{digest}"
    assert "代码清楚" in buyer.get(f"/approvals/{digest}")
    assert "waits for your word" not in buyer.get("/approvals")
    states = {one["name"]: one["state"] for one in buyer.json(f"/approvals/{digest}.json")["approval"]["owners"]}
    assert states == {STATION: "approved", STUDIO: "waiting"}


def test_a_word_without_the_token_of_the_page_is_not_taken(place: tuple[Workspace, str]) -> None:
    ws, grant = place
    digest = sent(ws, grant, "forged")
    Person(ws, "station").post(f"/approvals/{digest}/approve", 409, token="forged")
    assert said_about(ws, digest) == []


def test_others_neither_see_code_nor_give_a_word_on_it(place: tuple[Workspace, str]) -> None:
    ws, grant = place
    digest = sent(ws, grant, "private")
    rival, park = Person(ws, "rival"), Person(ws, "park")
    rival.get(f"/approvals/{digest}", 404)
    rival.post(f"/approvals/{digest}/approve", 403)
    page = park.get(f"/approvals/{digest}")
    assert "/approve" not in page, "an operator from afar gives no owner's word"
    park.post(f"/approvals/{digest}/approve", 403)
    assert said_about(ws, digest) == []


def test_what_the_gate_holds_is_released_by_owners_with_a_reason(place: tuple[Workspace, str]) -> None:
    ws, grant = place
    digest = sent(ws, grant, "held")
    run = submit_run(ws, "held", grant, caller=BUYER)
    station, studio, buyer = Person(ws, "station"), Person(ws, "studio", "zh"), Person(ws, "buyer")
    for owner in (station, studio):
        owner.post(f"/approvals/{digest}/approve")
    work(ws, once=True)
    path = f"/runs/{run.id}"
    assert path in station.get("/approvals")
    assert "待您决定" in studio.get(path)
    assert "Your decision" not in buyer.get(path)
    buyer.post(f"{path}/release", 403, reason="mine")
    assert "release, refuse" in station.post(f"{path}/release", 400, reason=" "), "without a reason it comes back"
    assert station.post(f"{path}/release", reason="fine") == path
    studio.post(f"{path}/release", reason="可以")
    assert get_run(ws, run.id).state == "released"
    shown = studio.get(path)
    assert "出域审查" in shown
    assert "<svg" in shown
    assert "The gate" not in buyer.get(path), "what was measured is for owners"


def test_a_run_is_shown_to_its_parties_in_their_copy_and_ended_by_them(place: tuple[Workspace, str]) -> None:
    ws, grant = place
    run = submit_run(ws, "tagger", grant, {"label_set": SET, "hidden": 0}, caller=BUYER)
    path = f"/runs/{run.id}"
    buyer = Person(ws, "buyer", "zh")
    assert run.id[:12] in buyer.get("/runs")
    assert "排队" in buyer.get(path)
    rival = Person(ws, "rival")
    assert run.id[:12] not in rival.get("/runs")
    rival.get(path, 404)
    rival.get(f"{path}/receipt", 404)
    rival.post(f"{path}/cancel", 404)
    assert buyer.post(f"{path}/cancel", reason="换一个") == path
    assert get_run(ws, run.id).state == "cancelled"
    assert f"{path}/cancel" not in buyer.get(path)
    buyer.post(f"{path}/cancel", 409)


def test_a_model_shows_whose_it_is_and_only_an_operator_may_recall_it(place: tuple[Workspace, str]) -> None:
    ws, _ = place
    made = release_adapter(ws)
    path, park = f"/models/{made.id}", Person(ws, "park", "zh")
    page = park.get(path)
    assert made.title in page
    for party_id, share in made.shares.items():
        assert f"{100 * float(share):.1f}%" in page, party_id
    assert made.id in park.get("/models")
    assert park.json("/models.json")["models"]
    rival = Person(ws, "rival")
    rival.get(path, 404)
    rival.post(f"{path}/recall", 403, reason="mine")


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_empty_pages_say_what_will_be_there(tmp_path: Any, lang: str) -> None:
    ws = Workspace.create(tmp_path / "ws")
    client = TestClient(create_app(ws), base_url=BASE)
    client.cookies.set("malan_language", lang)
    for path in ("/runs", "/approvals", "/models"):
        page = client.get(path, headers=PAGE)
        assert page.status_code == 200
        assert 'class="empty"' in page.text
        assert re.search(rf'<html lang="{lang}', page.text)
    ws.database.dispose()
