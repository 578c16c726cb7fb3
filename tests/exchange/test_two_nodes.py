"""Two Malan nodes negotiate and transfer with each other, over loopback, each trusting the other's key and no other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from nodes import Node, fresh, introduce, key_of, make_offer, node

from malan.services.dsp import words
from malan.services.dsp.catalogue import read_remote
from malan.services.dsp.contracts import BY_HAND, LocalContracts
from malan.services.dsp.errors import BadTransition
from malan.services.dsp.tables import Process
from malan.services.exchange import transfers
from malan.services.exchange.negotiation import (
    list_processes,
    negotiate,
    offer_contract,
    request_contract,
    show_negotiation,
)
from malan.services.journal import read_event
from malan.workspace import Workspace

ARCHIVE, STUDIO = "did:web:archive.example", "did:web:studio.example"


@dataclass
class Pair:
    archive: Node  # the provider
    studio: Node  # the consumer

    def twin(self, process: Process) -> Process:
        """The same process as the other side sees it."""
        there = self.archive if process.role == "consumer" else self.studio
        show = show_negotiation if process.kind == "negotiation" else transfers.show_transfer
        here = self.studio if process.role == "consumer" else self.archive
        return show(there.ex, show(here.ex, process.pid).peer_pid)

    def both_in(self, process: Process, state: str) -> Process:
        """The process, once both sides are in this state and nothing is on its way."""
        here = self.studio if process.role == "consumer" else self.archive
        show = show_negotiation if process.kind == "negotiation" else transfers.show_transfer
        wait(lambda: show(here.ex, process.pid).state == state)
        wait(lambda: bool(show(here.ex, process.pid).peer_pid) and self.twin(process).state == state)
        return show(here.ex, process.pid)


def wait(holds: Callable[[], object]) -> None:
    until = time.monotonic() + 15
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.fixture
def pair(workspace: Workspace, tmp_path: Path) -> Iterator[Pair]:
    """The archive on SQLite and then on PostgreSQL; the studio on SQLite."""
    studio = fresh(tmp_path / "studio")
    introduce(workspace, ARCHIVE, {STUDIO: key_of(studio)})
    introduce(studio, STUDIO, {ARCHIVE: key_of(workspace)})
    with ExitStack() as open_nodes:
        yield Pair(open_nodes.enter_context(node(workspace)), open_nodes.enter_context(node(studio)))
    studio.database.dispose()


def ask_for(pair: Pair, dataset: str) -> Process:
    found = {one.id: one for one in read_remote(pair.studio.ex, ARCHIVE, pair.archive.root)}[dataset]
    return request_contract(pair.studio.ex, ARCHIVE, pair.archive.root, dataset, found.offers[0])


def agreed(pair: Pair, dataset: str) -> tuple[Process, str]:
    process = pair.both_in(ask_for(pair, dataset), "FINALIZED")
    return process, str(process.details["agreement"]["@id"])


def test_they_come_to_an_agreement_and_use_what_was_agreed(pair: Pair) -> None:
    make_offer(pair.archive.ex.ws, "night-city", formats=(words.COMPUTE_TO_DATA, words.HTTP_PULL))
    process, agreement_id = agreed(pair, "night-city")
    wait(lambda: [e for e in _kinds(pair.archive) if e in ("contract.sign", "access.grant")] == GRANTED)
    wait(lambda: "contract.sign" in _kinds(pair.studio))
    assert "access.grant" not in _kinds(pair.studio)

    asked = transfers.request_transfer(pair.studio.ex, ARCHIVE, pair.archive.root, agreement_id)
    started = pair.both_in(asked, "STARTED")
    wait(lambda: transfers.show_transfer(pair.studio.ex, asked.pid).details.get("data_address"))
    address = transfers.show_transfer(pair.studio.ex, started.pid).details["data_address"]
    said = _open(address).json()
    assert (said["agreement"], said["format"]) == (agreement_id, words.COMPUTE_TO_DATA)
    assert said["grant"].startswith("G-")

    transfers.move_transfer(pair.archive.ex, pair.twin(started).pid, "suspend", code="quota")
    pair.both_in(started, "SUSPENDED")
    assert _open(address).status_code == 401
    transfers.move_transfer(pair.studio.ex, started.pid, "start")
    pair.both_in(started, "STARTED")
    assert _open(address).status_code == 200
    transfers.move_transfer(pair.studio.ex, started.pid, "complete")
    pair.both_in(started, "COMPLETED")
    assert _open(address).status_code == 401
    assert process.subject == "night-city"


GRANTED = ["contract.sign", "access.grant"]


def test_a_data_address_opens_to_its_secret_alone(pair: Pair) -> None:
    make_offer(pair.archive.ex.ws, "night-city")
    asked = transfers.request_transfer(pair.studio.ex, ARCHIVE, pair.archive.root, agreed(pair, "night-city")[1])
    pair.both_in(asked, "STARTED")
    wait(lambda: transfers.show_transfer(pair.studio.ex, asked.pid).details.get("data_address"))
    address = transfers.show_transfer(pair.studio.ex, asked.pid).details["data_address"]
    assert _open(address, secret="guessed").status_code == 401
    assert httpx.get(address["endpoint"]).status_code == 401
    assert httpx.get(f"{pair.archive.root}/data/urn:uuid:other").status_code == 401


def test_what_is_decided_by_hand_waits_for_a_person(pair: Pair) -> None:
    make_offer(pair.archive.ex.ws, "rare-reels", manner=BY_HAND)
    process = pair.both_in(ask_for(pair, "rare-reels"), "REQUESTED")
    theirs = pair.twin(process)
    pair.archive.ex.sender.wake()
    assert pair.twin(process).state == "REQUESTED"
    negotiate(pair.archive.ex, theirs.pid, "agree")
    pair.both_in(process, "FINALIZED")


def test_other_rules_than_published_wait_for_a_person(pair: Pair) -> None:
    made = make_offer(pair.archive.ex.ws, "night-city")
    cheaper = {**made.policy, "prohibition": []}
    process = request_contract(pair.studio.ex, ARCHIVE, pair.archive.root, "night-city", cheaper)
    pair.both_in(process, "REQUESTED")
    counter = negotiate(pair.archive.ex, pair.twin(process).pid, "offer")
    assert counter.details["offer"]["prohibition"]
    pair.both_in(process, "OFFERED")
    negotiate(pair.studio.ex, process.pid, "accept")
    pair.both_in(process, "FINALIZED")


def test_an_owner_offers_unasked_and_the_other_side_accepts(pair: Pair) -> None:
    made = make_offer(pair.archive.ex.ws, "night-city", party=STUDIO)
    process = offer_contract(pair.archive.ex, STUDIO, pair.studio.root, made.offer_id)
    pair.both_in(process, "OFFERED")
    negotiate(pair.studio.ex, pair.twin(process).pid, "accept")
    pair.both_in(process, "FINALIZED")


def test_an_agreement_with_other_rules_is_not_verified(pair: Pair) -> None:
    make_offer(pair.archive.ex.ws, "rare-reels", manner=BY_HAND)
    process = pair.both_in(ask_for(pair, "rare-reels"), "REQUESTED")
    _change_offer(pair.archive, pair.twin(process), permission=[{"action": "use"}])
    negotiate(pair.archive.ex, pair.twin(process).pid, "agree")
    ended = pair.both_in(process, "TERMINATED")
    assert ended.details["code"] == "exchange.other_terms"
    with pytest.raises(BadTransition):
        negotiate(pair.studio.ex, process.pid, "verify")


def test_an_offer_to_one_is_not_seen_by_another(pair: Pair) -> None:
    make_offer(pair.archive.ex.ws, "for-somebody-else", party="did:web:rival.example")
    make_offer(pair.archive.ex.ws, "for-you", party=STUDIO)
    found = read_remote(pair.studio.ex, ARCHIVE, pair.archive.root)
    assert [one.id for one in found] == ["for-you"]
    asked = request_contract(pair.studio.ex, ARCHIVE, pair.archive.root, "for-somebody-else", "offer:x")
    wait(lambda: show_negotiation(pair.studio.ex, asked.pid).details.get("problem"))
    assert list_processes(pair.archive.ex.ws) == []


def test_a_long_catalogue_comes_page_by_page(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(7):
        make_offer(pair.archive.ex.ws, f"reel-{number}")
    monkeypatch.setattr("malan.services.dsp.catalogue.catalog.__kwdefaults__", {"page": 3})
    found = read_remote(pair.studio.ex, ARCHIVE, pair.archive.root)
    assert [one.id for one in found] == [f"reel-{number}" for number in range(7)]


def test_a_withdrawn_offer_is_gone_and_its_agreement_stays(pair: Pair) -> None:
    made = make_offer(pair.archive.ex.ws, "night-city")
    _, agreement_id = agreed(pair, "night-city")
    LocalContracts(pair.archive.ex.ws).withdraw(made.offer_id)
    assert read_remote(pair.studio.ex, ARCHIVE, pair.archive.root) == []
    asked = transfers.request_transfer(pair.studio.ex, ARCHIVE, pair.archive.root, agreement_id)
    pair.both_in(asked, "STARTED")


def test_a_format_outside_the_agreement_is_refused(pair: Pair) -> None:
    make_offer(pair.archive.ex.ws, "night-city")
    _, agreement_id = agreed(pair, "night-city")
    asked = transfers.request_transfer(pair.studio.ex, ARCHIVE, pair.archive.root, agreement_id, words.HTTP_PULL)
    wait(lambda: transfers.show_transfer(pair.studio.ex, asked.pid).details.get("problem"))
    problem = transfers.show_transfer(pair.studio.ex, asked.pid).details["problem"]
    assert problem["detail"] == "400 exchange.format"


def test_what_a_killed_run_left_is_gone_on_with(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sides lose every step that would follow a commit, and come to the end by their chores."""
    make_offer(pair.archive.ex.ws, "night-city")
    for side in (pair.archive, pair.studio):
        monkeypatch.setattr(side.ex.sender, "do", lambda task: None)
    process = ask_for(pair, "night-city")
    for _ in range(4):
        pair.studio.ex.sender.wake()
        wait(lambda: not _waiting(pair))
        for side in (pair.archive, pair.studio):
            side.ex._do_chores()
    pair.both_in(process, "FINALIZED")


def _waiting(pair: Pair) -> bool:
    from sqlalchemy import func, select

    from malan.runtime.database import reading
    from malan.services.dsp.tables import outbox

    counts = []
    for side in (pair.archive, pair.studio):
        with reading(side.ex.engine) as connection:
            where = outbox.c.status == "waiting"
            counts.append(connection.scalar(select(func.count()).select_from(outbox).where(where)))
    return any(counts)


def _change_offer(side: Node, process: Process, **rules: object) -> None:
    from malan.runtime.database import updating
    from malan.services.dsp.tables import lock_process, save_process

    with updating(side.ex.engine) as connection:
        held = lock_process(connection, process.kind, process.pid)
        save_process(connection, held.noted(offer={**held.details["offer"], **rules}))


def _kinds(side: Node) -> list[str]:
    reader = side.ex.ws.log.reader
    return [read_event(side.ex.ws, at).statement.kind for at in range(reader.size)]


def _open(address: dict, secret: str | None = None) -> httpx.Response:
    values = {one["name"]: one["value"] for one in address["endpointProperties"]}
    return httpx.get(address["endpoint"], headers={"Authorization": f"Bearer {secret or values['authorization']}"})
