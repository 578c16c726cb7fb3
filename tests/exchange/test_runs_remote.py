"""A partner's program trains here over the data address of its agreement, and sees what its buyer may see."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import pytest
from market_place import terms_of
from nodes import Node, fresh, introduce, key_of, node
from run_place import OPEN, SET, draw_library
from waiting import until

from malan.rights.terms import party_id
from malan.services.access import COMMAND_LINE
from malan.services.clips.where import condition
from malan.services.datasets.freezing import freeze_snapshot
from malan.services.dsp import words
from malan.services.dsp.catalogue import read_remote
from malan.services.exchange import transfers
from malan.services.exchange.negotiation import request_contract, show_negotiation
from malan.services.market.grants import list_grants, revoke_grant
from malan.services.market.products import Price, offer_product
from malan.services.runs.receipts import check_receipt
from malan.services.runs.worker import work
from malan.workspace import Workspace

ARCHIVE, STUDIO, OWNER = "did:web:archive.example", "did:web:studio.example", "湖南台"
CURATOR = replace(COMMAND_LINE, party_id=party_id(STUDIO))
WISH = {"algorithm": "tagger", "parameters": {"label_set": SET, "hidden": 0}}


@dataclass
class Session:
    """An opened transfer for computing: where, and the secret."""

    archive: Node
    studio: Node
    place: str
    secret: str

    @property
    def ws(self) -> Workspace:
        return self.archive.ex.ws

    def ask(self, method: str, path: str, body: Any = None, secret: str | None = None) -> httpx.Response:
        headers = {"authorization": f"Bearer {secret or self.secret}"}
        return httpx.request(method, f"{self.place}{path}", json=body, headers=headers, timeout=60)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    archive, studio = fresh(tmp_path / "archive"), fresh(tmp_path / "studio")
    draw_library(archive, {OWNER: terms_of(OWNER, **OPEN)})
    shares = {"train": Fraction(7, 10), "test": Fraction(3, 10)}
    freeze_snapshot(archive, "日夜", condition(""), caller=CURATOR, shares=shares)
    offer_product(archive, "日夜", price=Price.read("1:CNY"), automatic=True)
    introduce(archive, ARCHIVE, {STUDIO: key_of(studio)})
    introduce(studio, STUDIO, {ARCHIVE: key_of(archive)})
    with ExitStack() as opened:
        yield begin(opened.enter_context(node(archive)), opened.enter_context(node(studio)))
    archive.database.dispose()
    studio.database.dispose()


def begin(archive: Node, studio: Node, how: str = words.COMPUTE_TO_DATA) -> Session:
    (found,) = read_remote(studio.ex, ARCHIVE, archive.root)
    asked = request_contract(studio.ex, ARCHIVE, archive.root, found.id, found.offers[0])
    until(lambda: show_negotiation(studio.ex, asked.pid).state == "FINALIZED")
    until(lambda: list_grants(archive.ex.ws))
    agreement = str(show_negotiation(studio.ex, asked.pid).details["agreement"]["@id"])
    moved = transfers.request_transfer(studio.ex, ARCHIVE, archive.root, agreement, how)
    until(lambda: transfers.show_transfer(studio.ex, moved.pid).details.get("data_address"))
    said = transfers.show_transfer(studio.ex, moved.pid).details["data_address"]
    properties = {one["name"]: one["value"] for one in said["endpointProperties"]}
    session = Session(archive, studio, str(said["endpoint"]), str(properties["authorization"]))
    until(lambda: session.ask("GET", "").status_code == 200)
    return session


def test_a_run_is_submitted_watched_and_proved_from_elsewhere(session: Session) -> None:
    made = session.ask("POST", "/runs", WISH)
    assert made.status_code == 201, made.text
    run = made.json()["run"]
    assert [one["run"] for one in session.ask("GET", "/runs").json()["runs"]] == [run]
    assert session.ask("GET", f"/runs/{run}/receipt").status_code == 404
    work(session.ws, once=True)
    shown = session.ask("GET", f"/runs/{run}").json()
    assert shown["state"] == "released"
    assert not {"ran", "gate", "used", "worker"} & shown.keys()
    receipt = session.ask("GET", f"/runs/{run}/receipt")
    assert check_receipt(receipt.content)["copy"] == "party"


def test_a_run_is_cancelled_from_elsewhere(session: Session) -> None:
    run = session.ask("POST", "/runs", WISH).json()["run"]
    assert session.ask("POST", f"/runs/{run}/cancel", {}).json()["state"] == "cancelled"


NONSENSE: list[tuple[Any, int]] = [
    ({}, 400),
    ([], 400),
    ({**WISH, "extra": 1}, 400),
    ({**WISH, "algorithm": 7}, 400),
    ({**WISH, "parameters": []}, 400),
    ({**WISH, "seed": "1"}, 400),
    ({**WISH, "priority": "high"}, 400),
    ({**WISH, "tier": "code"}, 400),
    ({**WISH, "parameters": {"hidden": 10**9}}, 400),
    ({**WISH, "algorithm": "nothing"}, 404),
]


def test_nonsense_from_elsewhere_is_refused(session: Session) -> None:
    for body, status in NONSENSE:
        assert session.ask("POST", "/runs", body).status_code == status, body
    assert session.ask("GET", "/runs").json()["runs"] == []


def test_only_the_secret_of_an_open_session_opens_runs(session: Session) -> None:
    run = session.ask("POST", "/runs", WISH).json()["run"]
    for method, path, body in (
        ("POST", "/runs", WISH),
        ("GET", "/runs", None),
        ("GET", f"/runs/{run}", None),
        ("POST", f"/runs/{run}/cancel", {}),
    ):
        assert session.ask(method, path, body, secret="wrong").status_code == 401
    (grant,) = list_grants(session.ws)
    revoke_grant(session.ws, grant.grant.id, "over")
    assert session.ask("POST", "/runs", WISH).status_code in (400, 401, 403)
