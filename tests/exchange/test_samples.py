"""Samples leave by a pull transfer as bytes: only what may leave, only to the secret, by range, and counted."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from console_factory import Shown, register
from media_factory import draw_film
from nodes import Node, fresh, introduce, key_of, node
from waiting import until

from malan.core import Terms
from malan.core.errors import ProofError, Rejected
from malan.rights.meter import CLIP_SECONDS
from malan.rights.terms import party_id, read_terms
from malan.services.access import COMMAND_LINE
from malan.services.datasets.freezing import freeze_snapshot
from malan.services.dsp import words
from malan.services.dsp.catalogue import read_remote
from malan.services.exchange import transfers
from malan.services.exchange.negotiation import request_contract, show_negotiation
from malan.services.footage.owners import remember_terms
from malan.services.footage.withdrawal import withdraw_asset
from malan.services.journal import record
from malan.services.log.facts import unlogged
from malan.services.market.grants import list_grants, revoke_grant
from malan.services.market.products import Price, offer_product
from malan.services.settlement.metering import meter
from malan.store import ClipQuery
from malan.workspace import Workspace

ARCHIVE, STUDIO, OWNER = "did:web:archive.example", "did:web:studio.example", "湖南台"
LENGTHS = (30, 25, 35)
CURATOR = replace(COMMAND_LINE, party_id=party_id(STUDIO))  # freezes what the studio may use


@dataclass
class Trade:
    """Two connectors; the archive has one film of three clips of a bit more than a second each."""

    archive: Node
    studio: Node
    film: Shown

    @property
    def ws(self) -> Workspace:
        return self.archive.ex.ws

    def agree(self) -> str:
        """The id of an agreement about the only product."""
        (found,) = read_remote(self.studio.ex, ARCHIVE, self.archive.root)
        asked = request_contract(self.studio.ex, ARCHIVE, self.archive.root, found.id, found.offers[0])
        until(lambda: show_negotiation(self.studio.ex, asked.pid).state == "FINALIZED")
        until(lambda: list_grants(self.ws))
        return str(show_negotiation(self.studio.ex, asked.pid).details["agreement"]["@id"])

    def pull(self, agreement: str, how: str = words.HTTP_PULL) -> tuple[str, str, str]:
        """Data address, secret, and our id of a started transfer."""
        asked = transfers.request_transfer(self.studio.ex, ARCHIVE, self.archive.root, agreement, how)
        until(lambda: transfers.show_transfer(self.studio.ex, asked.pid).details.get("data_address"))
        said = transfers.show_transfer(self.studio.ex, asked.pid).details["data_address"]
        properties = {one["name"]: one["value"] for one in said["endpointProperties"]}
        return str(said["endpoint"]), str(properties["authorization"]), asked.pid


@pytest.fixture
def trade(tmp_path: Path) -> Iterator[Trade]:
    archive, studio = fresh(tmp_path / "archive"), fresh(tmp_path / "studio")
    film = draw_film(tmp_path / "city.mp4", LENGTHS)
    shown = register(archive, film, owner=OWNER, uses=("retrieve", "train"), lengths=LENGTHS)
    introduce(archive, ARCHIVE, {STUDIO: key_of(studio)})
    introduce(studio, STUDIO, {ARCHIVE: key_of(archive)})
    with ExitStack() as opened:
        yield Trade(opened.enter_context(node(archive)), opened.enter_context(node(studio)), shown)
    archive.database.dispose()
    studio.database.dispose()


def put_under(trade: Trade, **said: Any) -> Terms:
    """The owner's terms of the film."""
    row = trade.ws.library.asset(trade.film.asset_id)
    terms = read_terms(said, OWNER, "test", "test")
    ends = replace(row.asset, terms_id=remember_terms(trade.ws, terms))
    trade.ws.library.put_assets([replace(row, asset=ends, locations=())])
    record(trade.ws, unlogged(trade.ws, [ends], with_terms=True))
    return terms


def offered(trade: Trade, **said: Any) -> str:
    """An agreement about a product of the film under these terms."""
    put_under(trade, **{"uses": ["retrieve", "train"], "limits": {"clip_seconds": 100, "runs": 3}, **said})
    freeze_snapshot(trade.ws, "city", ClipQuery(), use="train", caller=CURATOR)
    offer_product(trade.ws, "city", price=Price.read("1:CNY"), automatic=True)
    return trade.agree()


def get(address: str, secret: str, **headers: str) -> httpx.Response:
    return httpx.get(address, headers={"authorization": f"Bearer {secret}", **headers}, timeout=60)


def test_a_sample_is_fetched_by_range_and_counted_once_a_transfer(trade: Trade, tmp_path: Path) -> None:
    from malan.media import probe

    endpoint, secret, _ = trade.pull(offered(trade))
    listed = get(endpoint, secret).json()["samples"]
    assert {one["clip"] for one in listed} == {clip.id for clip in trade.film.clips}
    whole = get(listed[0]["address"], secret)
    assert (whole.status_code, whole.headers["content-type"]) == (200, "video/mp4")
    part = get(listed[0]["address"], secret, range="bytes=10-19")
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    assert get(listed[0]["address"], secret, range=f"bytes={len(whole.content)}-").status_code == 416
    (tmp_path / "sample.mp4").write_bytes(whole.content)
    seconds = float(probe(tmp_path / "sample.mp4").duration)
    assert seconds == pytest.approx(listed[0]["seconds"], abs=0.05)
    assert consumed(trade) == pytest.approx(listed[0]["seconds"], abs=0.001)
    assert get(listed[1]["address"], secret).status_code == 200
    assert consumed(trade) == pytest.approx(listed[0]["seconds"] + listed[1]["seconds"], abs=0.002)


def consumed(trade: Trade) -> float:
    (shown,) = list_grants(trade.ws)
    accounts = {one.unit: one for one in meter(trade.ws).accounts(shown.grant.id)}
    assert accounts[CLIP_SECONDS].reserved == 0
    return accounts[CLIP_SECONDS].consumed / 1e6


def test_a_sample_that_left_is_in_the_log_and_traced_to_its_clip(trade: Trade, tmp_path: Path) -> None:
    from malan.services.outputs.manifests import trace_output

    endpoint, secret, _ = trade.pull(offered(trade))
    listed = get(endpoint, secret).json()["samples"][0]
    (tmp_path / "found.mp4").write_bytes(get(listed["address"], secret).content)
    trace = trace_output(trade.ws, str(tmp_path / "found.mp4"))
    assert [one.source.clip.id for one in trace.sources] == [listed["clip"]]


def test_nobody_else_is_given_a_byte_nor_another_transfer(trade: Trade) -> None:
    agreement = offered(trade)
    (endpoint, _, _), (_, other, _) = trade.pull(agreement), trade.pull(agreement)
    clip = trade.film.clips[0].id
    for said in ("Bearer x", "Bearer", "Basic Zm9v", f"Bearer {other}", "Bearer " + "é" * 40):
        for address in (endpoint, f"{endpoint}/samples/{clip}", f"{endpoint}/samples/{'0' * 64}"):
            refused = httpx.get(address, headers={"authorization": said.encode()})
            assert (refused.status_code, b"ftyp" in refused.content) == (401, False)
    assert httpx.head(f"{endpoint}/samples/{clip}").status_code == 401


def test_a_session_for_use_inside_gives_no_samples(trade: Trade) -> None:
    endpoint, secret, _ = trade.pull(offered(trade), words.COMPUTE_TO_DATA)
    assert get(endpoint, secret).json()["samples"] == []
    assert get(f"{endpoint}/samples/{trade.film.clips[0].id}", secret).status_code == 404


def test_what_may_only_be_trained_on_does_not_leave(trade: Trade) -> None:
    agreement = offered(trade, uses=["train"])
    formats = trade.archive.ex.contracts.offers_for(STUDIO)[0].formats
    assert formats == (words.COMPUTE_TO_DATA,)
    asked = transfers.request_transfer(trade.studio.ex, ARCHIVE, trade.archive.root, agreement, words.HTTP_PULL)
    until(lambda: transfers.show_transfer(trade.studio.ex, asked.pid).details.get("problem"))


def test_export_to_one_party_gives_samples_to_it(trade: Trade) -> None:
    endpoint, secret, _ = trade.pull(offered(trade, uses=["train", "export"], recipients=[STUDIO]))
    assert len(get(endpoint, secret).json()["samples"]) == 3


@pytest.mark.parametrize("step", ["narrowed", "withdrawn", "revoked", "completed"])
def test_what_ends_it_ends_it_at_the_next_read_also_of_what_was_cut(trade: Trade, step: str) -> None:
    endpoint, secret, pid = trade.pull(offered(trade))
    address = f"{endpoint}/samples/{trade.film.clips[0].id}"
    assert get(address, secret).status_code == 200
    if step == "narrowed":
        put_under(trade, uses=["train"])
    elif step == "withdrawn":
        withdraw_asset(trade.ws, trade.film.asset_id, "x")
    elif step == "revoked":
        revoke_grant(trade.ws, list_grants(trade.ws)[0].grant.id, "x")
    else:
        transfers.move_transfer(trade.studio.ex, pid, "complete")
        until(lambda: transfers.show_transfer(trade.studio.ex, pid).state == "COMPLETED")
        until(lambda: get(endpoint, secret).status_code == 401)
    refused = get(address, secret)
    assert (refused.status_code in (400, 401, 403, 404), b"ftyp" in refused.content) == (True, False)


def test_when_the_meter_is_used_up_no_further_sample_leaves(trade: Trade) -> None:
    endpoint, secret, _ = trade.pull(offered(trade, limits={"clip_seconds": 2}))
    listed = get(endpoint, secret).json()["samples"]
    codes = [get(one["address"], secret).status_code for one in listed]
    assert codes[0] == 200
    assert codes[-1] != 200
    assert consumed(trade) <= 2
    assert get(listed[0]["address"], secret).status_code == 200  # of what was counted, any part may be read again


def test_while_another_is_cut_one_is_told_to_come_again_and_what_is_cut_still_leaves(
    trade: Trade, monkeypatch: pytest.MonkeyPatch
) -> None:
    from malan.services.clips import samples

    monkeypatch.setattr(samples, "_PATIENCE_S", 0.05)
    endpoint, secret, _ = trade.pull(offered(trade))
    first, second = (one["address"] for one in get(endpoint, secret).json()["samples"][:2])
    assert get(first, secret).status_code == 200
    with trade.archive.ex.one_at_a_time:
        assert {get(second, secret).status_code for _ in range(10)} == {503}
        assert get(first, secret).status_code == 200
    assert get(second, secret).status_code == 200


def test_a_transfer_asked_for_before_the_grant_is_stated_starts_once_it_is(
    trade: Trade, monkeypatch: pytest.MonkeyPatch
) -> None:
    contracts, may_state = trade.archive.ex.contracts, threading.Event()
    state = contracts.accept_agreement
    monkeypatch.setattr(contracts, "accept_agreement", lambda one: state(one) if may_state.wait(15) else "")
    put_under(trade, uses=["retrieve", "train"], limits={"clip_seconds": 100})
    freeze_snapshot(trade.ws, "city", ClipQuery(), use="train", caller=CURATOR)
    offer_product(trade.ws, "city", price=Price.read("1:CNY"), automatic=True)
    (found,) = read_remote(trade.studio.ex, ARCHIVE, trade.archive.root)
    negotiation = request_contract(trade.studio.ex, ARCHIVE, trade.archive.root, found.id, found.offers[0])
    until(lambda: show_negotiation(trade.studio.ex, negotiation.pid).state == "FINALIZED")
    agreement = str(show_negotiation(trade.studio.ex, negotiation.pid).details["agreement"]["@id"])
    asked = transfers.request_transfer(trade.studio.ex, ARCHIVE, trade.archive.root, agreement, words.HTTP_PULL)
    assert transfers.show_transfer(trade.studio.ex, asked.pid).state == "REQUESTED"
    may_state.set()
    until(lambda: transfers.show_transfer(trade.studio.ex, asked.pid).details.get("data_address"))
    said = transfers.show_transfer(trade.studio.ex, asked.pid).details["data_address"]
    secret = {one["name"]: one["value"] for one in said["endpointProperties"]}["authorization"]
    listed = get(str(said["endpoint"]), secret).json()["samples"]
    assert get(listed[0]["address"], secret).status_code == 200


def test_a_long_clip_is_shown_from_its_beginning(trade: Trade, monkeypatch: pytest.MonkeyPatch) -> None:
    from malan.services.clips import samples

    monkeypatch.setattr(samples, "LONGEST_S", 1)
    endpoint, secret, _ = trade.pull(offered(trade))
    assert {one["seconds"] for one in get(endpoint, secret).json()["samples"]} == {1.0}


def test_an_offer_with_samples_that_is_no_product_counts_too(trade: Trade) -> None:
    from malan.services.exchange.connector import offer_snapshot

    put_under(trade, uses=["retrieve"], recipients=[STUDIO], limits={"clip_seconds": 2})
    freeze_snapshot(trade.ws, "city", ClipQuery(), caller=CURATOR)
    offer_snapshot(trade.ws, COMMAND_LINE, "city", samples=True)
    (found,) = read_remote(trade.studio.ex, ARCHIVE, trade.archive.root)
    asked = request_contract(trade.studio.ex, ARCHIVE, trade.archive.root, found.id, found.offers[0])
    until(lambda: show_negotiation(trade.studio.ex, asked.pid).state == "FINALIZED")
    agreement = str(show_negotiation(trade.studio.ex, asked.pid).details["agreement"]["@id"])
    endpoint, secret, _ = trade.pull(agreement)
    until(lambda: get(endpoint, secret).json().get("grant"))
    listed = get(endpoint, secret).json()["samples"]
    codes = [get(one["address"], secret).status_code for one in listed]
    assert codes[0] == 200
    assert codes[-1] != 200


# The other side of it: Malan as consumer


def test_samples_are_fetched_into_a_folder_once(trade: Trade, tmp_path: Path) -> None:
    from malan.media import probe
    from malan.services.exchange.fetching import fetch_samples

    _, _, pid = trade.pull(offered(trade))
    out = tmp_path / "samples"
    found = fetch_samples(trade.studio.ex.ws, COMMAND_LINE, pid[-12:], out)
    assert {one.clip_id for one in found} == {clip.id for clip in trade.film.clips}
    assert all(probe(one.path).duration > 0.9 for one in found)
    counted = consumed(trade)
    assert fetch_samples(trade.studio.ex.ws, COMMAND_LINE, pid, out) == found
    assert consumed(trade) == counted
    transfers.move_transfer(trade.studio.ex, pid, "complete")
    with pytest.raises(Rejected):
        fetch_samples(trade.studio.ex.ws, COMMAND_LINE, pid, out)


def test_what_a_partner_says_becomes_no_path(trade: Trade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from malan.ledger.post import Reply
    from malan.services.exchange import fetching

    _, _, pid = trade.pull(offered(trade))
    for said in ([{"clip": "../../evil"}], [{"clip": "/etc/passwd"}], [{"clip": "a" * 65}], ["x"], {"clip": "a"}, None):
        body = json.dumps({"samples": said}).encode()
        monkeypatch.setattr(fetching, "ask", lambda *_a, body=body, **_k: Reply(200, "video/mp4", body))
        with pytest.raises(ProofError):
            fetching.fetch_samples(trade.studio.ex.ws, COMMAND_LINE, pid, tmp_path / "out")
    assert list((tmp_path / "out").glob("**/*")) == []
