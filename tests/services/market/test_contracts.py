"""A contract comes about only as all its parties agreed, and what it allows ends when it must: at the next read."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from market_place import BUYER_NAME, RIVAL, STATION, STUDIO, party, pool, register, single, terms_of
from sqlalchemy import update

from malan.core.errors import MalanError, NotFound, NotGranted, ProofError, Rejected, RetryLater, UsageError
from malan.ledger.envelope import key_id_of
from malan.rights.agreement import SignedAgreement
from malan.rights.decide import Use
from malan.rights.meter import CLIP_SECONDS
from malan.rights.terms import party_id
from malan.runtime.database import writing
from malan.services.footage.withdrawal import reach_of, withdraw_asset
from malan.services.journal import read_event
from malan.services.log.keys import rotate_key
from malan.services.market import grants as grants_service
from malan.services.market.contract_lookup import describe_contract, export_contract, get_contract, list_contracts
from malan.services.market.contracts import (
    Changes,
    accept_contract,
    add_signatures,
    counter_contract,
    order_product,
    refuse_contract,
    sign_contract,
)
from malan.services.market.grants import (
    complete_grants,
    damaged_grants,
    describe_grant,
    get_grant,
    grant_allows,
    granted_clips,
    list_grants,
    revoke_grant,
)
from malan.services.market.products import Price, offer_product, withdraw_product
from malan.services.market.tables import CONTRACTS, GRANTS, market
from malan.services.outputs.manifests import Source
from malan.services.settlement.charges import charge_outputs, settlement_tables
from malan.services.settlement.metering import count_output, meter
from malan.services.settlement.tables import CHARGES
from malan.workspace import Workspace

PRICE = Price.read("250000:CNY")
KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)


@pytest.fixture
def local(tmp_path):
    """A workspace on SQLite alone: where the database plays no part."""
    return Workspace.create(tmp_path / "local")


def ordered(ws: Any, **more: Any) -> Any:
    """An order for footage of two owners."""
    pool(ws)
    product = offer_product(ws, "夜景", price=PRICE)
    return order_product(ws, product.id, BUYER_NAME, **more)


def granted(ws: Any, **more: Any) -> str:
    """A grant on it; its id."""
    number = ordered(ws, **more).number
    accept_contract(ws, number)
    sign_contract(ws, number)
    return sign_contract(ws, number, caller=party(BUYER_NAME)).grant_id


def signed_outside(data: bytes, key: Ed25519PrivateKey = KEY) -> bytes:
    held = SignedAgreement.from_bundle(data)
    key_id = key_id_of(key.public_key().public_bytes_raw())
    return held.with_signature(key_id, key.sign(held.agreement.to_bytes())).to_bundle()


# The way to a grant.


def test_an_order_becomes_a_grant_when_all_have_accepted_and_signed(workspace):
    number = ordered(workspace).number
    assert accept_contract(workspace, number, caller=party(STATION)).state == "ordered"
    assert accept_contract(workspace, number, caller=party(STUDIO)).state == "agreed"
    sign_contract(workspace, number, caller=party(STUDIO))
    assert sign_contract(workspace, number, caller=party(BUYER_NAME)).state == "agreed"
    contract = sign_contract(workspace, number, caller=party(STATION))
    assert contract.state == "signed"
    assert grant_allows(workspace, contract.grant_id, "train").allowed
    grant = get_grant(workspace, contract.grant_id).grant
    assert grant.id == contract.agreement.agreement.id
    assert set(grant.signatures) == {party_id(one) for one in (STATION, STUDIO, BUYER_NAME)}


def test_a_counter_offer_takes_back_what_was_accepted(workspace):
    number = ordered(workspace).number
    accept_contract(workspace, number, caller=party(STATION))
    cheaper = Changes(price=Price.read("200000:CNY"), ends="2099-01-31")
    assert counter_contract(workspace, number, cheaper, caller=party(BUYER_NAME)).bargain.waits_for == tuple(
        sorted((party_id(STATION), party_id(STUDIO)))
    )
    dearer = Changes(price=Price.read("220000:CNY"))
    assert counter_contract(workspace, number, dearer, caller=party(STUDIO)).state == "countered"
    accept_contract(workspace, number, caller=party(BUYER_NAME))
    contract = accept_contract(workspace, number, caller=party(STATION))
    assert (contract.state, contract.terms.price_minor, contract.terms.ends) == ("agreed", 220_000, "2099-01-31")
    steps = describe_contract(workspace, contract)["steps"]
    assert [one["action"] for one in steps] == ["order", "accept", "counter", "counter", "accept", "accept"]


def test_an_automatic_product_is_agreed_at_once_when_ordered_as_it_is(workspace):
    single(workspace)
    product = offer_product(workspace, "云海", price=PRICE, automatic=True)
    assert order_product(workspace, product.id, BUYER_NAME).state == "agreed"
    changes = Changes(price=Price.read("1:CNY"))
    assert order_product(workspace, product.id, RIVAL, changes=changes).state == "ordered"


def test_the_log_knows_the_contract_and_the_grant_and_no_names(local):
    grant_id = granted(local)
    (sign,) = local.log.find("contract.sign")
    event = read_event(local, sign)
    assert event.statement.subjects[0].sha256 == grant_id
    assert len(event.key_ids) == 3
    assert {one.field for one in event.statement.commitments} == {"buyer", "owners", "price"}
    assert BUYER_NAME.encode() not in event.entry
    assert len(local.log.find("access.grant")) == 1
    asset = local.library.assets()[0].asset.id
    assert reach_of(local, asset).grants == (grant_id,)


def test_the_meter_is_open_for_its_limits_and_the_price_is_owed(workspace):
    grant_id = granted(workspace, changes=Changes(limits={"clip_seconds": 3600}))
    accounts = {one.unit: one.most for one in meter(workspace).accounts(grant_id)}
    assert accounts == {"clip_seconds": 3_600_000_000, "runs": 20, "outputs": None, "output_bytes": 50_000_000}
    meter(workspace).reserve(grant_id, CLIP_SECONDS, 3_600_000_000, "run:1")
    with pytest.raises(NotGranted):
        meter(workspace).reserve(grant_id, "runs", 21, "run:2")
    with settlement_tables(workspace).connect() as connection:
        (owed,) = connection.execute(CHARGES.select()).all()
    assert (owed.grant_id, owed.gross_minor, owed.currency) == (grant_id, 250_000, "CNY")


def test_each_output_that_is_counted_is_owed_once_at_its_price(workspace):
    grant_id = granted(workspace, changes=Changes(price=Price.read("700:CNY/output")))
    clips = [entry.clip for entry in granted_clips(workspace, grant_id, "train")]
    owner_of = {one: row.asset for one, row in workspace.library.assets_by_id(c.asset_id for c in clips).items()}
    for film in ("a" * 64, "b" * 64):
        hold = meter(workspace).reserve(grant_id, "outputs", 1, film)
        assets = (owner_of[clip.asset_id] for clip in clips)
        sources = [
            Source(clip, asset.owner_id, asset.terms_id, Fraction(0), Fraction(2))
            for clip, asset in zip(clips, assets, strict=True)
        ]
        count_output(workspace, hold, film, sources)
    assert [charge_outputs(workspace) for _ in range(2)] == [2, 0]
    with settlement_tables(workspace).connect() as connection:
        owed = connection.execute(CHARGES.select().order_by(CHARGES.c.about)).all()
    assert [(one.kind, one.about, one.gross_minor) for one in owed] == [
        ("output", f"output:{film}", 700) for film in ("a" * 64, "b" * 64)
    ]


# Signing outside.


def test_a_buyer_from_elsewhere_signs_with_a_key_of_its_own(workspace):
    key_id = key_id_of(KEY.public_key().public_bytes_raw())
    number = ordered(workspace, key_id=key_id).number
    accept_contract(workspace, number)
    with pytest.raises(Rejected, match="outside"):
        sign_contract(workspace, number, caller=party(BUYER_NAME))
    back = signed_outside(export_contract(workspace, number))
    assert add_signatures(workspace, back).state == "agreed"
    contract = sign_contract(workspace, number)
    assert contract.state == "signed"
    assert add_signatures(workspace, back).grant_id == contract.grant_id
    assert len(list_grants(workspace)) == 1


def test_a_signature_under_another_contract_counts_for_nothing(local):
    key_id = key_id_of(KEY.public_key().public_bytes_raw())
    first = ordered(local, key_id=key_id)
    second = order_product(local, first.product_id, BUYER_NAME, key_id=key_id)
    for number in (first.number, second.number):
        accept_contract(local, number)
    old, new = (json.loads(export_contract(local, one.number)) for one in (first, second))
    taken = json.loads(signed_outside(export_contract(local, first.number)))["signatures"]
    forged = json.dumps({**new, "signatures": taken}, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    with pytest.raises(ProofError):
        add_signatures(local, forged.encode())
    assert old["agreement"] != new["agreement"]


def test_an_agreement_that_was_changed_is_not_taken_in(local):
    key_id = key_id_of(KEY.public_key().public_bytes_raw())
    number = ordered(local, key_id=key_id).number
    accept_contract(local, number)
    data = export_contract(local, number)
    cheap = data.replace(b"250000", b"150000")
    assert cheap != data
    with pytest.raises(ProofError):
        add_signatures(local, signed_outside(cheap))
    assert get_contract(local, number).agreement.signatures == {}


def test_the_key_of_another_party_is_not_taken(local):
    pool(local)
    product = offer_product(local, "夜景")
    owner = next(name for name in local.keys.names() if name.startswith("owner-"))
    with pytest.raises(Rejected, match="another party"):
        order_product(local, product.id, BUYER_NAME, key_id=local.keys.actor(owner).key_id)
    with pytest.raises(ProofError):
        order_product(local, product.id, BUYER_NAME, key_id="ed25519:AAAA")


def test_a_key_that_was_replaced_signs_nothing_new(local):
    number = ordered(local).number
    accept_contract(local, number)
    rotate_key(local, STATION)
    with pytest.raises(Rejected, match="replaced"):
        sign_contract(local, number)
    assert sign_contract(local, number, caller=party(STUDIO)).state == "agreed"


# Strangers and wrong moments.


@pytest.mark.parametrize(
    "do",
    [
        lambda ws, number, caller: get_contract(ws, number, caller=caller),
        lambda ws, number, caller: accept_contract(ws, number, caller=caller),
        lambda ws, number, caller: counter_contract(ws, number, Changes(ends="2099-01-01"), caller=caller),
        lambda ws, number, caller: refuse_contract(ws, number, caller=caller),
        lambda ws, number, caller: sign_contract(ws, number, caller=caller),
        lambda ws, number, caller: export_contract(ws, number, caller=caller),
    ],
)
def test_somebody_elses_contract_is_not_there(local, do):
    number = ordered(local).number
    with pytest.raises(NotFound) as told:
        do(local, number, party(RIVAL))
    with pytest.raises(NotFound) as nothing:
        do(local, "0" * 16, party(RIVAL))
    assert told.value.code == nothing.value.code
    assert list_contracts(local, caller=party(RIVAL)) == []
    assert get_contract(local, number).state == "ordered"


def test_somebody_elses_grant_is_not_there(workspace):
    grant_id = granted(workspace)
    for do in (
        lambda: get_grant(workspace, grant_id, caller=party(RIVAL)),
        lambda: revoke_grant(workspace, grant_id, "x", caller=party(RIVAL)),
    ):
        with pytest.raises(NotFound):
            do()
    assert not grant_allows(workspace, grant_id, "train", party=party_id(RIVAL)).allowed
    assert not grant_allows(workspace, grant_id, Use("train", date.today(), party_id(RIVAL))).allowed
    with pytest.raises(UsageError):
        revoke_grant(workspace, grant_id, "x", caller=party(BUYER_NAME))
    assert grant_allows(workspace, grant_id, "train", party=party_id(BUYER_NAME)).allowed


def test_nobody_orders_for_somebody_else_or_from_itself(local):
    pool(local)
    product = offer_product(local, "夜景")
    with pytest.raises(NotFound):
        order_product(local, product.id, BUYER_NAME, caller=party(RIVAL))
    with pytest.raises(Rejected, match="owns"):
        order_product(local, product.id, STATION)
    withdraw_product(local, product.id)
    with pytest.raises((NotFound, Rejected)):
        order_product(local, product.id, BUYER_NAME)


@pytest.mark.parametrize(
    "do",
    [
        lambda ws, number: accept_contract(ws, number, caller=party(BUYER_NAME)),
        sign_contract,
        export_contract,
        lambda ws, number: counter_contract(ws, number, Changes(), caller=party(BUYER_NAME)),
        lambda ws, number: counter_contract(ws, number, Changes(limits={"runs": 21}), caller=party(BUYER_NAME)),
        lambda ws, number: counter_contract(ws, number, Changes(limits={"runs": -1}), caller=party(BUYER_NAME)),
        lambda ws, number: counter_contract(ws, number, Changes(limits={"moons": 1}), caller=party(BUYER_NAME)),
        lambda ws, number: counter_contract(ws, number, Changes(ends="2020-01-01"), caller=party(BUYER_NAME)),
        lambda ws, number: counter_contract(ws, number, Changes(ends="tomorrow"), caller=party(BUYER_NAME)),
        lambda ws, number: counter_contract(
            ws, number, Changes(starts="2099-01-01", ends="2098-01-01"), caller=party(BUYER_NAME)
        ),
        lambda ws, number: counter_contract(ws, number, Changes(uses=("publish",)), caller=party(BUYER_NAME)),
        lambda ws, number: counter_contract(ws, number, Changes(uses=("fly",)), caller=party(BUYER_NAME)),
    ],
)
def test_what_cannot_be_now_changes_nothing(local, do):
    before = ordered(local)
    with pytest.raises(MalanError):
        do(local, before.number)
    assert get_contract(local, before.number).turn == before.turn


def test_what_was_refused_stays_refused(local):
    number = ordered(local).number
    assert refuse_contract(local, number, "too cheap", caller=party(STATION)).state == "refused"
    for do in (accept_contract, sign_contract, refuse_contract):
        with pytest.raises(Rejected):
            do(local, number, caller=party(STATION))


def test_two_who_move_at_once_do_not_overwrite_each_other(workspace, monkeypatch):
    number = ordered(workspace).number
    from malan.services.market import contracts

    real = contracts._possible

    def slow(*given: Any) -> Any:
        monkeypatch.setattr(contracts, "_possible", real)
        counter_contract(workspace, number, Changes(ends="2099-01-01"), caller=party(STUDIO))
        return real(*given)

    monkeypatch.setattr(contracts, "_possible", slow)
    with pytest.raises(RetryLater):
        accept_contract(workspace, number, caller=party(STATION))
    assert get_contract(workspace, number).state == "countered"


def test_of_many_signings_at_once_one_grant_comes(workspace):
    number = ordered(workspace).number
    accept_contract(workspace, number)
    callers = [party(STATION), party(STUDIO), party(BUYER_NAME)] * 3
    with ThreadPoolExecutor(6) as threads:
        states = list(threads.map(lambda caller: sign_contract(workspace, number, caller=caller).state, callers))
    assert "signed" in states
    assert len(list_grants(workspace)) == 1
    assert len(workspace.log.find("access.grant")) == 1


def test_terms_that_ended_or_footage_taken_back_before_signing_end_it(local, monkeypatch):
    number = ordered(local, changes=Changes(ends=date.today().isoformat())).number
    accept_contract(local, number)
    from malan.services.market import deal

    with monkeypatch.context() as later:
        later.setattr(deal, "today", lambda: date.today() + timedelta(days=2))
        with pytest.raises(Rejected, match="ended"):
            sign_contract(local, number)
    withdraw_asset(local, local.library.assets()[0].asset.id, "x")
    with pytest.raises(Rejected, match="taken back"):
        sign_contract(local, number)
    assert get_contract(local, number).agreement.signatures == {}


def test_owners_who_narrowed_their_terms_meanwhile_are_heard(local):
    number = ordered(local).number
    register(local, STATION, terms_of(STATION, uses=["retrieve"]))
    with pytest.raises(Rejected, match="beyond"):
        accept_contract(local, number)


def test_orders_do_not_pile_up_without_end(local, monkeypatch):
    from malan.services.market import contracts

    monkeypatch.setattr(contracts, "MOST_OPEN", 2)
    first = ordered(local)
    order_product(local, first.product_id, BUYER_NAME)
    with pytest.raises(RetryLater):
        order_product(local, first.product_id, BUYER_NAME)
    refuse_contract(local, first.number, caller=party(BUYER_NAME))
    order_product(local, first.product_id, BUYER_NAME)


# The end of a grant.


def test_a_grant_that_is_revoked_ends_at_the_next_read(workspace):
    grant_id = granted(workspace)
    shown = revoke_grant(workspace, grant_id, "not paid", caller=party(STUDIO))
    assert shown.revoked_by == party_id(STUDIO)
    decision = grant_allows(workspace, grant_id, "train")
    assert [reason.code for reason in decision.reasons] == ["grant.revoked"]
    with pytest.raises(NotGranted):
        meter(workspace).reserve(grant_id, "runs", 1, "late")
    assert revoke_grant(workspace, grant_id, "again").revoked == shown.revoked
    assert len(workspace.log.find("revoke")) == 1
    assert get_contract(workspace, shown.contract).state == "revoked"


def test_a_grant_past_its_end_is_refused(local):
    grant_id = granted(local, changes=Changes(ends="2099-12-31"))
    assert grant_allows(local, grant_id, Use("train", date(2099, 12, 31))).allowed
    decision = grant_allows(local, grant_id, Use("train", date(2100, 1, 1)))
    assert [reason.code for reason in decision.reasons] == ["rights.expired"]


def test_a_use_that_was_not_agreed_is_refused(local):
    grant_id = granted(local)
    assert not grant_allows(local, grant_id, "export").allowed
    assert not grant_allows(local, grant_id, Use("train", date.today(), tier="code")).allowed
    assert not grant_allows(local, "0" * 64, "train").allowed
    assert not grant_allows(local, grant_id, "train", asset_id="0" * 64).allowed


def test_footage_that_is_taken_back_leaves_the_grant_and_the_rest_stays(workspace):
    grant_id = granted(workspace)
    gone, stays = (row.asset.id for row in workspace.library.assets())
    assert len(list(granted_clips(workspace, grant_id, "train"))) == 4
    withdraw_asset(workspace, gone, "x")
    assert not grant_allows(workspace, grant_id, "train").allowed
    assert not grant_allows(workspace, grant_id, "train", asset_id=gone).allowed
    assert grant_allows(workspace, grant_id, "train", asset_id=stays).allowed
    assert {entry.clip.asset_id for entry in granted_clips(workspace, grant_id, "train")} == {stays}
    withdraw_asset(workspace, stays, "x")
    with pytest.raises(NotGranted):
        granted_clips(workspace, grant_id, "train")


def test_an_agreement_changed_in_the_database_allows_nothing(workspace):
    grant_id = granted(workspace)
    data = get_grant(workspace, grant_id).signed.agreement.to_bytes().replace(b"250000", b"150000")
    with writing(market(workspace)) as connection:
        connection.execute(update(CONTRACTS).values(agreement=data))
    assert [one.code for one in grant_allows(workspace, grant_id, "train").reasons] == ["grant.damaged"]
    assert (list_grants(workspace), damaged_grants(workspace)) == ([], [grant_id])
    with pytest.raises(ProofError):
        get_grant(workspace, grant_id)


@pytest.mark.parametrize(
    "spoilt",
    [
        {"agreement": b"{}"},
        {"agreement": b"\xff"},
        {"owner_ids": "no list"},
        {"accepted": ""},
        {"snapshot_id": "0" * 64},
        {"buyer_id": "0" * 64},
    ],
    ids=lambda said: " ".join(map(str, said)),
)
def test_one_contract_that_was_changed_where_it_is_stored_does_not_hide_the_others(local, spoilt):
    grant_id = granted(local)
    order = order_product(local, "夜景", RIVAL)
    assert get_grant(local, grant_id).contract != order.number
    damaged = get_grant(local, grant_id).contract
    with writing(market(local)) as connection:
        connection.execute(update(CONTRACTS).where(CONTRACTS.c.number == damaged).values(**spoilt))
    lines = {one["contract"]: one["state"] for one in _lines(local)}
    assert lines == {damaged: "damaged", order.number: "ordered"}
    with pytest.raises(ProofError):
        get_contract(local, damaged)


def _lines(ws: Workspace) -> list[dict[str, Any]]:
    return [describe_contract(ws, one, whole=False) for one in list_contracts(ws)]


def test_a_signed_contract_that_lost_a_signature_is_damaged(local):
    from malan.services.market.contract_rows import Damaged
    from malan.services.market.tables import SIGNATURES

    granted(local)
    with writing(market(local)) as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("ALTER TABLE contract_signatures DISABLE TRIGGER USER")
        else:
            listed = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'contract_signatures'"
            for (name,) in connection.exec_driver_sql(listed).all():
                connection.exec_driver_sql(f"DROP TRIGGER {name}")
        connection.execute(SIGNATURES.delete().where(SIGNATURES.c.party_id == party_id(STUDIO)))
    (line,) = list_contracts(local)
    assert isinstance(line, Damaged)


def test_a_run_that_was_killed_between_signature_and_log_is_caught_up(workspace, monkeypatch):
    number = ordered(workspace).number
    accept_contract(workspace, number)
    sign_contract(workspace, number)
    with monkeypatch.context() as killed:
        killed.setattr(grants_service, "record", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            sign_contract(workspace, number, caller=party(BUYER_NAME))
    with market(workspace).connect() as connection:
        grant_id = connection.execute(GRANTS.select()).one().id
    assert [one.code for one in grant_allows(workspace, grant_id, "train").reasons] == ["grant.not_stated"]
    assert complete_grants(workspace) == 1
    assert grant_allows(workspace, grant_id, "train").allowed
    assert describe_grant(workspace, get_grant(workspace, grant_id))["uses"]["train"]["allowed"]
