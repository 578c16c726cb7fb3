"""A product never offers more than its owners allow, and shows no more of the footage than anybody may see."""

from __future__ import annotations

import pytest
from market_place import BUYER_NAME, RIVAL, STATION, STUDIO, party, pool, register, single, terms_of

from malan.core.errors import MalanError, NotFound, NotGranted, Rejected, UsageError
from malan.rights.terms import default_terms, party_id
from malan.services.access import AUDITOR, Caller
from malan.services.clips.where import condition
from malan.services.datasets.freezing import freeze_snapshot
from malan.services.footage.withdrawal import withdraw_asset
from malan.services.market.product_card import describe_product
from malan.services.market.products import Price, get_product, list_products, offer_product, withdraw_product
from malan.workspace import Workspace


@pytest.fixture
def local(tmp_path):
    """A workspace on SQLite alone: where the database plays no part."""
    return Workspace.create(tmp_path / "local")


def test_an_owner_offers_what_its_terms_allow(workspace):
    single(workspace)
    made = offer_product(workspace, "云海", price=Price.read("250000:CNY"), caller=party(STATION))
    assert (made.state, made.terms.uses, made.terms.price_minor) == ("offered", ("retrieve", "train"), 250_000)
    assert offer_product(workspace, "云海", price=Price.read("250000:CNY")).id == made.id
    assert [one.id for one in list_products(workspace)] == [made.id]
    assert len(workspace.log.find("product.offer")) == 1


def test_a_pool_offers_once_every_owner_does(workspace):
    pool(workspace)
    draft = offer_product(workspace, "夜景", caller=party(STATION))
    assert draft.state == "draft"
    assert list_products(workspace, caller=party(BUYER_NAME)) == []
    with pytest.raises(NotFound):
        offer_product(workspace, draft.id, caller=party(RIVAL))
    assert describe_product(workspace, draft)["waits_for"] == [STUDIO]
    assert offer_product(workspace, draft.id, caller=party(STUDIO)).state == "offered"
    assert [one.id for one in list_products(workspace, caller=party(BUYER_NAME))] == [draft.id]


def test_a_pool_offers_what_all_of_them_allow(local):
    pool(local, studio=terms_of(STUDIO, limits={"runs": 5}, ends="2099-12-31", purposes=["research"]))
    terms = offer_product(local, "夜景").terms
    assert (terms.limits["runs"], terms.limits["clip_seconds"], terms.ends) == (5, 1_800_000, "2099-12-31")
    assert terms.purposes == ("research",)


@pytest.mark.parametrize(
    ("changes", "condition_named"),
    [
        ({"uses": ["retrieve", "train", "generative_train"]}, "uses"),
        ({"limits": {"runs": 21, "clip_seconds": 1, "output_bytes": 1}}, "limits.runs"),
        ({"limits": {"runs": 1, "clip_seconds": 1}}, "limits.output_bytes"),
        ({"tiers": ["code"]}, "tiers"),
        ({"egress": ["samples"]}, "egress"),
        ({"isolation": "process"}, "isolation"),
        ({"prohibitions": []}, "prohibitions"),
        ({"moon": "full"}, "moon"),
    ],
)
def test_terms_beyond_the_owners_are_refused(local, changes, condition_named):
    single(local)
    with pytest.raises(Rejected, match="beyond") as told:
        offer_product(local, "云海", terms=terms_of(STATION, **changes))
    assert condition_named in told.value.values["conditions"]
    assert list_products(local) == []


def test_nobody_gives_away_by_default(local):
    single(local, terms_of(STATION, price={"minor": 0}))
    with pytest.raises(UsageError, match="costs"):
        offer_product(local, "云海")
    assert offer_product(local, "云海", price=Price.read("0:CNY")).state == "offered"
    free = terms_of(STATION, price={"minor": 0}, licence="CC-BY-4.0")
    assert offer_product(local, "云海", terms=free).terms.price_minor == 0


def test_owners_who_ask_different_prices_must_settle_on_one(local):
    pool(local, studio=terms_of(STUDIO, price={"minor": 7, "currency": "CNY"}))
    with pytest.raises(UsageError, match="costs"):
        offer_product(local, "夜景")


def test_footage_without_terms_stays_in_house(local):
    register(local, STATION, default_terms(STATION))
    freeze_snapshot(local, "云海", condition(""))
    with pytest.raises(Rejected, match="in house"):
        offer_product(local, "云海")


def test_footage_that_was_taken_back_cannot_be_offered(local):
    single(local)
    withdraw_asset(local, local.library.assets()[0].asset.id, "x")
    with pytest.raises(Rejected, match="taken back"):
        offer_product(local, "云海")


def test_terms_that_have_ended_cannot_be_offered(local):
    single(local)
    with pytest.raises(Rejected, match="ended"):
        offer_product(local, "云海", terms=terms_of(STATION, ends="2020-01-01"))


def test_a_stranger_finds_nothing_to_offer_or_withdraw(local):
    single(local)
    with pytest.raises(NotFound):
        offer_product(local, "云海", caller=party(RIVAL))
    made = offer_product(local, "云海")
    with pytest.raises(UsageError):
        withdraw_product(local, made.id, caller=party(RIVAL))
    with pytest.raises(NotGranted):
        list_products(local, caller=Caller(party_id("x"), frozenset({AUDITOR}), "session"))


def test_an_offer_to_some_is_not_there_for_others(local):
    single(local, terms_of(STATION, recipients=[BUYER_NAME]))
    made = offer_product(local, "云海")
    assert get_product(local, made.id, caller=party(BUYER_NAME)).id == made.id
    with pytest.raises(NotFound):
        get_product(local, made.id, caller=party(RIVAL))


def test_what_is_withdrawn_is_gone_and_stays_so(local):
    single(local)
    made = offer_product(local, "云海")
    assert withdraw_product(local, made.id, caller=party(STATION)).state == "withdrawn"
    assert list_products(local, caller=party(BUYER_NAME)) == []
    with pytest.raises(Rejected, match="withdrawn"):
        offer_product(local, "云海")


def test_the_entry_counts_and_shows_only_what_anybody_may_see(local):
    pool(local, studio=terms_of(STUDIO, recipients=[BUYER_NAME]))
    shown = describe_product(local, offer_product(local, "夜景"))
    counted = shown["statistics"]
    assert (counted["clips"], counted["shots"], counted["seconds"]) == (4, 4, "20/1")
    assert (counted["resolutions"], counted["languages"]) == ({"1920×1080": 4}, ["zho"])
    theirs = {row.asset.id for row in local.library.assets(owner_id=party_id(STUDIO))}
    assert len(shown["samples"]) == 2
    assert theirs.isdisjoint(sample["fragment"][:64] for sample in shown["samples"])


@pytest.mark.parametrize("text", ["-5:CNY", "2.5:CNY", "5", "5:cny", "5:CNY/moon", "", "1e3:CNY", "5 :CNY", "٣:CNY"])
def test_a_price_is_a_whole_number_of_a_currency(text):
    with pytest.raises(MalanError):
        Price.read(text)
