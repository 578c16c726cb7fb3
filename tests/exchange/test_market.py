"""A product is in the catalogue of the connector, and what is agreed there is the same kind of grant as a contract."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from market_place import pool, single, terms_of
from nodes import Node, fresh, introduce, key_of, node
from waiting import until

from malan.core.errors import NotGranted
from malan.rights.terms import party_id
from malan.services.dsp.catalogue import read_remote
from malan.services.exchange import transfers
from malan.services.exchange.negotiation import list_processes, negotiate, request_contract, show_negotiation
from malan.services.market.catalogue import MarketContracts, offer_of
from malan.services.market.contract_lookup import export_contract, get_contract
from malan.services.market.grants import get_grant, grant_allows, list_grants, revoke_grant
from malan.services.market.products import Price, offer_product, withdraw_product
from malan.workspace import Workspace

ARCHIVE, STUDIO = "did:web:archive.example", "did:web:studio.example"


@pytest.fixture
def nodes(workspace: Workspace, tmp_path: Path) -> Iterator[tuple[Node, Node]]:
    """The archive on SQLite and then on PostgreSQL; the studio on SQLite."""
    studio = fresh(tmp_path / "studio")
    introduce(workspace, ARCHIVE, {STUDIO: key_of(studio)})
    introduce(studio, STUDIO, {ARCHIVE: key_of(workspace)})
    with ExitStack() as opened:
        yield opened.enter_context(node(workspace)), opened.enter_context(node(studio))
    studio.database.dispose()


def test_what_two_connectors_agree_on_is_a_grant(nodes: tuple[Node, Node]) -> None:
    archive, studio = nodes
    ws = archive.ex.ws
    pool(ws)
    product = offer_product(ws, "夜景", price=Price.read("250000:CNY"), automatic=True)
    (found,) = read_remote(studio.ex, ARCHIVE, archive.root)
    asked = request_contract(studio.ex, ARCHIVE, archive.root, found.id, found.offers[0])
    until(lambda: show_negotiation(studio.ex, asked.pid).state == "FINALIZED")
    until(lambda: list_grants(ws))
    (shown,) = list_grants(ws)
    assert shown.grant.party_id == party_id(STUDIO)
    assert set(shown.grant.signatures) == set(product.owner_ids)
    assert (shown.signed.agreement.form, shown.signed.missing) == ("dsp-2025-1", ())
    assert grant_allows(ws, shown.grant.id, "train").allowed
    assert get_contract(ws, shown.contract).state == "signed"
    assert b"dsp-2025-1" in export_contract(ws, shown.contract)

    agreement = str(show_negotiation(studio.ex, asked.pid).details["agreement"]["@id"])
    session = transfers.request_transfer(studio.ex, ARCHIVE, archive.root, agreement)
    until(lambda: transfers.show_transfer(studio.ex, session.pid).state == "STARTED")
    revoke_grant(ws, shown.grant.id, "not paid")
    late = transfers.request_transfer(studio.ex, ARCHIVE, archive.root, agreement)
    until(lambda: transfers.show_transfer(studio.ex, late.pid).state == "TERMINATED")


def test_a_product_that_is_not_automatic_waits_for_its_owner(nodes: tuple[Node, Node]) -> None:
    archive, studio = nodes
    single(archive.ex.ws)
    offer_product(archive.ex.ws, "云海")
    (found,) = read_remote(studio.ex, ARCHIVE, archive.root)
    asked = request_contract(studio.ex, ARCHIVE, archive.root, found.id, found.offers[0])
    until(lambda: show_negotiation(studio.ex, asked.pid).peer_pid)
    assert list_grants(archive.ex.ws) == []
    negotiate(archive.ex, list_processes(archive.ex.ws)[0].pid, "agree")
    until(lambda: list_grants(archive.ex.ws))


def test_only_what_is_on_offer_to_somebody_is_in_its_catalogue(tmp_path: Path) -> None:
    ws = fresh(tmp_path / "ws")
    single(ws, terms_of("湖南台", recipients=["某模型公司"]))
    product = offer_product(ws, "云海")
    contracts = MarketContracts(ws)
    assert [one.offer_id for one in contracts.offers_for("某模型公司")] == [offer_of(product).offer_id]
    assert contracts.offers_for(STUDIO) == []
    withdraw_product(ws, product.id)
    assert contracts.offers_for("某模型公司") == contracts.all_offers() == []
    ws.database.dispose()


def test_a_grant_that_was_taken_back_opens_nothing(tmp_path: Path) -> None:
    from malan.services.dsp.contracts import SignedAgreement

    ws = fresh(tmp_path / "ws")
    single(ws)
    offer = offer_of(offer_product(ws, "云海"))
    policy = {**offer.policy, "@id": "a:1", "@type": "Agreement", "assigner": ARCHIVE, "assignee": STUDIO}
    agreement = SignedAgreement("a:1", "provider", STUDIO, offer.dataset_id, policy, finalized="2026-11-22")
    contracts = MarketContracts(ws)
    grant_id = contracts.accept_agreement(agreement)
    assert contracts.accept_agreement(agreement) == grant_id == get_grant(ws, grant_id).grant.id
    held = SignedAgreement(**{**vars(agreement), "grant_id": grant_id})
    contracts.check_agreement(held)
    revoke_grant(ws, grant_id, "x")
    with pytest.raises(NotGranted):
        contracts.check_agreement(held)
    ws.database.dispose()
