"""What runs cost: told before, billed once after, and counted under the grant they ran under, or given back."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from market_place import BUYER_NAME, CURATOR, STATION, party
from media_factory import draw_film

from malan.apps import running
from malan.apps.builtin import app_named
from malan.apps.frame import Made, Work
from malan.apps.running import quote_app, run_app
from malan.core.errors import NotFound, NotGranted, Rejected
from malan.rights import load_terms
from malan.rights.ledgerbook import balances
from malan.rights.meter import OUTPUTS
from malan.runtime.database import reading
from malan.services.clips.where import condition
from malan.services.datasets.freezing import freeze_snapshot
from malan.services.footage.assets import add_assets
from malan.services.footage.scan import scan_assets
from malan.services.market.contracts import accept_contract, order_product, sign_contract
from malan.services.market.grants import revoke_grant
from malan.services.market.products import Price, offer_product
from malan.services.settlement.app_bills import BILLS, bill_run, cost_of, list_bills
from malan.services.settlement.charges import charge_outputs, settlement_tables
from malan.services.settlement.metering import meter
from malan.services.settlement.tables import CHARGES
from malan.workspace import Workspace

BUYER = party(BUYER_NAME)
ASKED = {"length": 3, "lines": 360}
TERMS = 'uses = {uses}\n[limits]\noutputs = 3\n[price]\nminor = 900\ncurrency = "CNY"\nper = "output"\n'


def add(ws: Workspace, root: Path, owner: str, uses: str, seed: int) -> str:
    """A film of five drawn shots, scanned; its id."""
    film = draw_film(root / f"{owner}.mp4", (45,) * 5, size=(320, 180), options={"g": "50"}, audio=True, seed=seed)
    (root / "terms.toml").write_text(TERMS.format(uses=uses))
    add_assets(ws, [film.path], owner=owner, terms=load_terms(root / "terms.toml", owner))
    return film.path.name


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, str]:
    """A library of two owners, and a grant for the buyer on the footage of one of them."""
    root = tmp_path_factory.mktemp("money")
    ws = Workspace.create(root / "ws")
    add(ws, root, STATION, '["retrieve", "derive", "publish"]', 3)
    scan_assets(ws, captions=False)
    freeze_snapshot(ws, "成片素材", condition(""), caller=CURATOR)
    product = offer_product(ws, "成片素材", price=Price.read("900:CNY/output"))
    number = order_product(ws, product.id, BUYER_NAME).number
    accept_contract(ws, number)
    sign_contract(ws, number)
    grant_id = sign_contract(ws, number, caller=BUYER).grant_id
    assert grant_id
    add(ws, root, "别家片库", '["retrieve"]', 40)
    scan_assets(ws, captions=False)
    return ws, grant_id


def used(ws: Workspace, grant_id: str) -> tuple[int, int]:
    """Outputs counted, and held."""
    [one] = [one for one in meter(ws).accounts(grant_id) if one.unit == OUTPUTS]
    return one.consumed, one.reserved


def owed(ws: Workspace) -> int:
    """What the buyer owes for apps, by the book."""
    with reading(settlement_tables(ws)) as connection:
        return -balances(connection, f"customer:{BUYER.party_id}").get((f"customer:{BUYER.party_id}", "CNY"), 0)


def stopping(monkeypatch: pytest.MonkeyPatch, at: Callable[[Work], None]) -> None:
    """Let the app run to its end, and fail there."""
    promo = app_named("promo")
    run = type(promo).run

    def fails(self: object, request: object, work: Work) -> Made:
        made = run(self, request, work)
        at(work)
        return made

    monkeypatch.setattr(type(promo), "run", fails)


def test_a_quote_makes_nothing_and_is_what_the_run_costs(place: tuple[Workspace, str], tmp_path: Path) -> None:
    ws, _ = place
    asked = {**ASKED, "format": ("16:9", "1:1")}
    quote = quote_app(ws, "promo", asked)
    assert (quote["outputs"], quote["cost"]["units"], quote["cost"]["minor"]) == (2, 6.0, 30)
    assert list_bills(ws) == []
    told = run_app(ws, "promo", asked, tmp_path / "out")[1]
    assert told["cost"]["minor"] == 30
    assert told["cost"]["charged_to"] is None  # the house owes itself nothing
    assert owed(ws) == 0


def test_a_run_under_a_grant_is_billed_to_its_party_and_counted_with_its_sources(
    place: tuple[Workspace, str], tmp_path: Path
) -> None:
    ws, grant_id = place
    before = used(ws, grant_id)[0]
    for _ in range(2):  # the same request over the same library is the same run
        told = run_app(ws, "promo", {**ASKED, "grant": grant_id}, tmp_path / "out", caller=BUYER)[1]
    assert used(ws, grant_id) == (before + 1, 0)
    assert told["cost"]["charged_to"] == BUYER.party_id
    assert owed(ws) == told["cost"]["minor"] == 15
    assert {one["file"] for one in told["sources"]} == {STATION}
    assert charge_outputs(ws) == 1  # the owners' price, beside it
    with reading(settlement_tables(ws)) as connection:
        [row] = connection.execute(CHARGES.select().where(CHARGES.c.grant_id == grant_id)).mappings()
    assert (row["kind"], row["gross_minor"]) == ("output", 900)
    assert [one.run for one in list_bills(ws, caller=BUYER)] == [one.run for one in list_bills(ws) if one.party_id]


def test_a_run_that_fails_costs_nothing_and_gives_back_what_it_held(
    place: tuple[Workspace, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws, grant_id = place
    before, bills = used(ws, grant_id), len(list_bills(ws))
    asked = {"query": "zzqqxx", **ASKED, "grant": grant_id}
    with pytest.raises(NotFound):
        run_app(ws, "promo", asked, tmp_path / "out", caller=BUYER)
    assert used(ws, grant_id) == before
    assert len(list_bills(ws)) == bills


def test_a_run_that_is_taken_up_again_is_counted_and_billed_once(
    place: tuple[Workspace, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws, grant_id = place
    before, bills = used(ws, grant_id)[0], len(list_bills(ws))
    asked = {**ASKED, "grant": grant_id, "seed": 7}
    with monkeypatch.context() as once:
        stopping(once, lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run_app(ws, "promo", asked, tmp_path / "out", caller=BUYER)
    assert used(ws, grant_id) == (before + 1, 0)  # the film is there and logged, so it is counted
    assert len(list_bills(ws)) == bills
    run_app(ws, "promo", asked, tmp_path / "out", caller=BUYER)
    assert used(ws, grant_id) == (before + 1, 0)
    assert len(list_bills(ws)) == bills + 1


def test_a_clip_outside_the_grant_is_named_and_nothing_is_made(place: tuple[Workspace, str], tmp_path: Path) -> None:
    ws, grant_id = place
    other = next(
        row for asset in ws.library.assets() for row in ws.library.clips(asset.asset.id) if "别家" in row.file_name
    )
    with pytest.raises(NotGranted) as refused:
        run_app(ws, "promo", {**ASKED, "clips": (other.id,), "grant": grant_id}, tmp_path / "out", caller=BUYER)
    assert other.id[:12] in str(refused.value)
    assert not list(tmp_path.glob("out/*.mp4"))


def test_words_find_what_the_grant_opens_and_nothing_else(place: tuple[Workspace, str], tmp_path: Path) -> None:
    ws, grant_id = place
    asked = {**ASKED, "plan_only": True, "grant": grant_id}
    told = run_app(ws, "promo", {**asked, "query": STATION}, tmp_path / "own", caller=BUYER)[1]
    shown = {ws.library.clip(shot["clip"]).file_name for shot in told["board"]["shots"]}
    assert shown == {STATION}
    with pytest.raises(NotFound) as refused:
        run_app(ws, "promo", {**asked, "query": "别家片库"}, tmp_path / "other", caller=BUYER)
    assert "别家片库" not in str(refused.value.values["nearest"])


def test_somebody_elses_grant_is_not_there(place: tuple[Workspace, str], tmp_path: Path) -> None:
    ws, grant_id = place
    with pytest.raises(NotFound):
        run_app(ws, "promo", {**ASKED, "grant": grant_id}, tmp_path / "out", caller=party("另一家公司"))


def test_when_no_output_is_left_nothing_is_rendered(place: tuple[Workspace, str], tmp_path: Path) -> None:
    ws, grant_id = place
    asked = {**ASKED, "format": ("16:9", "9:16"), "grant": grant_id, "seed": 11}
    before = used(ws, grant_id)
    with pytest.raises(NotGranted) as refused:
        run_app(ws, "promo", asked, tmp_path / "out", caller=BUYER)
    assert refused.value.code == "meter.used_up"
    assert not (tmp_path / "out").exists()
    assert used(ws, grant_id) == before


def test_a_bill_stands_once_whatever_is_said_later(place: tuple[Workspace, str]) -> None:
    ws, _ = place
    first = bill_run(
        ws, "run-1", "music", cost_of("output_second", Fraction(601, 10), 5), party_id=BUYER.party_id or ""
    )
    again = bill_run(ws, "run-1", "music", cost_of("output_second", Fraction(900), 5), party_id=BUYER.party_id or "")
    assert first == again
    assert first.gross_minor == 300  # rounded down once
    with pytest.raises(Exception, match="app_bills"), ws.database.begin() as connection:
        connection.execute(BILLS.update().values(gross_minor=1))


def test_a_grant_that_was_taken_back_opens_nothing(place: tuple[Workspace, str], tmp_path: Path) -> None:
    ws, grant_id = place
    revoke_grant(ws, grant_id, "收回", caller=party(STATION))
    with pytest.raises(NotGranted):
        run_app(ws, "promo", {**ASKED, "grant": grant_id, "seed": 12}, tmp_path / "out", caller=BUYER)


def test_a_rule_pack_that_is_switched_on_refuses_before_any_work(place: tuple[Workspace, str], tmp_path: Path) -> None:
    ws, _ = place
    toml = (ws.root / "malan.toml").read_text("utf-8")
    (ws.root / "malan.toml").write_text(f'app_packs = "cn-microdrama"\n{toml}', "utf-8")
    guarded = Workspace(ws.root)
    try:
        with pytest.raises(Rejected) as refused:
            running.run_app(guarded, "promo", {**ASKED, "script": "买点冰 毒"}, tmp_path / "out")
    finally:
        (ws.root / "malan.toml").write_text(toml, "utf-8")
    said = refused.value
    assert (said.code, said.values["field"], said.values["rule"]) == ("guard.refused_input", "script", "CON-12")
    assert "第二十五条" in said.values["clause"]
    assert not (tmp_path / "out").exists()
