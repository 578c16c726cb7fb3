"""The market in the console: two people who trade, what strangers see of it, and terms by a form."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from account_factory import party
from console_factory import make_workspace
from console_person import ORIGIN, PAGE, Person
from sqlalchemy import update

from malan.rights.terms import load_terms, read_terms
from malan.runtime.database import writing
from malan.services.access import COMMAND_LINE
from malan.services.datasets.freezing import freeze_snapshot
from malan.services.footage.owners import remember_terms
from malan.services.market.grants import grant_allows
from malan.services.market.products import Price, Product, offer_product
from malan.services.market.tables import CONTRACTS, market
from malan.store import ClipQuery
from malan.workspace import Workspace

OWNER, BUYER, RIVAL = "湖南台", "某模型公司", "另一家公司"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workspace, Product]]:
    ws, mine, _ = make_workspace(tmp_path_factory.mktemp("market"))
    for name, role, login in ((OWNER, "owner", "owner"), (BUYER, "buyer", "buyer"), (RIVAL, "buyer", "rival")):
        party(ws, name, role, login=login)
    row = ws.library.asset(mine.asset_id)
    said = {
        "uses": ["retrieve", "train"], "tiers": ["recipe", "code"], "limits": {"clip_seconds": 3600, "runs": 3},
        "prohibitions": ["likeness"], "attribution": "<b>湖南台</b>",
    }  # fmt: skip
    terms_id = remember_terms(ws, read_terms(said, OWNER, "test", "训练授权"))
    ws.library.put_assets([replace(row, asset=replace(row.asset, terms_id=terms_id), locations=())])
    freeze_snapshot(ws, "夜景", ClipQuery(asset_ids=(mine.asset_id,)), use="train", caller=COMMAND_LINE)
    yield ws, offer_product(ws, "夜景", price=Price.read("250000:CNY"))
    ws.database.dispose()


def test_an_order_becomes_a_grant_in_the_console(built: tuple[Workspace, Product]) -> None:
    ws, product = built
    owner, buyer = Person(ws, "owner"), Person(ws, "buyer", "zh")
    assert "夜景" in buyer.get("/market")
    page = buyer.get(f"/market/{product.id}")
    assert "2500.00 元 / 整单" in page
    assert len(re.findall(r'src="/thumbs/', page)) == 4
    assert "&lt;b&gt;湖南台&lt;/b&gt;" in page
    place = buyer.post(f"/market/{product.id}/order", amount="200000", ends="2030-01-31")
    assert re.fullmatch(r"/contracts/[0-9a-f]{16}", place)
    assert "Waiting for: 湖南台" in owner.get(place)
    assert owner.post(f"{place}/counter", amount="220000") == place
    buyer.post(f"{place}/accept")
    owner.post(f"{place}/sign")
    assert "已签署：湖南台" in buyer.get(place)
    buyer.post(f"{place}/sign")
    shown = buyer.client.get(f"{place}.json").json()
    assert (shown["row"]["state"], shown["actions"], shown["row"]["price"]) == ("signed", [], "2200.00 元 / 整单")
    assert grant_allows(ws, shown["grant"], "train").allowed
    assert [step["label"] for step in shown["steps"]] == ["下单", "还价", "接受", "签署", "签署"]
    document = buyer.client.get(f"{place}/document")
    assert document.headers["content-disposition"].startswith("attachment;")
    assert shown["document"]


def test_a_stranger_finds_neither_contract_nor_document(built: tuple[Workspace, Product]) -> None:
    ws, product = built
    place = Person(ws, "buyer").post(f"/market/{product.id}/order", ends="2031-01-31")
    rival = Person(ws, "rival")
    for path in (place, f"{place}.json", f"{place}/document", "/contracts/" + "0" * 16):
        rival.get(path, 404)
    rival.post(f"{place}/accept", 404)
    assert place.rpartition("/")[2][:8] not in rival.get("/contracts")


def test_a_wish_that_is_impossible_is_said_on_the_page_and_nothing_is_ordered(
    built: tuple[Workspace, Product],
) -> None:
    ws, product = built
    buyer = Person(ws, "buyer")
    before = buyer.client.get("/contracts.json").json()
    for said in ({"amount": "-1"}, {"amount": "1.5"}, {"ends": "2020-01-01"}, {"ends": "tomorrow"}, {"runs": "9999"}):
        page = buyer.post(f"/market/{product.id}/order", _refused(said), **said)
        assert 'role="alert"' in page
    assert buyer.client.get("/contracts.json").json() == before


def _refused(said: dict[str, str]) -> int:
    """Beyond the owner's terms is a conflict with them; what is no wish at all is a bad request."""
    return 409 if said.get("runs") or said.get("ends", "").startswith("2020") else 400


def test_a_form_from_elsewhere_or_of_another_session_does_nothing(built: tuple[Workspace, Product]) -> None:
    ws, product = built
    buyer, rival = Person(ws, "buyer"), Person(ws, "rival")
    for token in ("", "x", rival.token):
        reply = buyer.client.post(f"/market/{product.id}/order", data={"token": token}, headers=ORIGIN)
        assert reply.status_code in (403, 409)
    reply = buyer.client.post(
        f"/market/{product.id}/order", data={"token": buyer.token}, headers={"origin": "https://evil.example"}
    )
    assert reply.status_code == 403


def test_an_owner_does_not_order_its_own_and_a_buyer_writes_no_terms(built: tuple[Workspace, Product]) -> None:
    ws, product = built
    assert "/order" not in Person(ws, "owner").get(f"/market/{product.id}")
    Person(ws, "owner").post(f"/market/{product.id}/order", 403)
    Person(ws, "buyer").get("/terms", 403)


def test_a_damaged_contract_stands_in_the_list_as_damaged(built: tuple[Workspace, Product]) -> None:
    ws, product = built
    buyer = Person(ws, "buyer")
    number = buyer.post(f"/market/{product.id}/order", ends="2032-01-31").rpartition("/")[2]
    with writing(market(ws)) as connection:
        connection.execute(update(CONTRACTS).where(CONTRACTS.c.number == number).values(accepted="?"))
    assert "damaged" in buyer.get("/contracts")
    buyer.get(f"/contracts/{number}", 500)


# Terms by a form

FORM = {
    "name": '训练 "两年"', "owner": OWNER, "uses": ["train", "retrieve"], "tiers": "recipe", "egress": "adapter",
    "prohibitions": "likeness", "recipients": "某模型公司，另一家公司", "purposes": "research", "starts": "2026-01-01",
    "ends": "2027-12-31", "clip_seconds": "36000", "isolation": "sandbox", "minor": "250", "currency": "CNY",
    "per": "clip_second", "attribution": "湖南台 \\ ]\t".strip(),
}  # fmt: skip


def test_a_form_gives_the_file_that_says_the_same(built: tuple[Workspace, Product], tmp_path: Path) -> None:
    owner = Person(built[0], "owner")
    reply = owner.client.post("/terms", data={**FORM, "token": owner.token, "download": "1"}, headers=ORIGIN)
    assert reply.headers["content-type"] == "application/toml"
    path = tmp_path / "terms.toml"
    path.write_bytes(reply.content)
    terms = load_terms(path, OWNER)
    assert (terms.uses, terms.price_minor, terms.price_per) == (("retrieve", "train"), 250, "clip_second")
    assert (terms.name, terms.limits, len(terms.recipients)) == ('训练 "两年"', {"clip_seconds": 36000}, 2)
    assert (terms.starts, terms.ends, terms.other) == ("2026-01-01", "2027-12-31", {})
    page = owner.client.post("/terms", data={**FORM, "token": owner.token}, headers={**ORIGIN, **PAGE}).text
    assert "另一家公司" in page
    assert 'value="train" checked' in page


@pytest.mark.parametrize("ready", ["evaluate", "train", "promo", "archive", "public-domain", "cc-by"])
def test_ready_terms_fill_the_form_and_give_themselves_again(built: tuple[Workspace, Product], ready: str) -> None:
    from malan.services.market.terms import ready_terms
    from malan.services.market.terms_form import fill_form, read_form

    form = fill_form({}, "zh", ready)
    said = {name: [one.value for one in choices if one.is_chosen] for name, choices in form.choices.items()}
    said |= {name: [text] for name, text in form.texts.items() if text}
    said["isolation"] = [one.value for one in form.isolation if one.is_chosen]
    said["memorisation"] = [one.value for one in form.memorisation if one.is_chosen]
    said["per"] = [one.value for one in form.per if one.is_chosen]
    read = read_terms(tomllib.loads(read_form(said, "en").toml), "o", "form", ready)
    expected = ready_terms(ready, "o")
    assert replace(read, attribution="", price_minor=None, currency=None, price_per="deal") == replace(
        expected, attribution="", price_minor=None, currency=None, price_per="deal"
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"uses": ""}, {"ends": "2025-01-01"}, {"minor": "-1"}, {"minor": "2.5"}, {"clip_seconds": "1e9"},
        {"starts": "32.1.2026"}, {"isolation": "none at all"}, {"per": "fortnight"}, {"name": "a\nuses = []"},
        {"currency": "yuan"}, {"recipients": "\x00"},
    ],
    ids=str,
)  # fmt: skip
def test_a_form_that_says_something_impossible_is_refused_on_the_page(
    built: tuple[Workspace, Product], wrong: dict[str, str]
) -> None:
    owner = Person(built[0], "owner")
    reply = owner.client.post("/terms", data={**FORM, **wrong, "token": owner.token}, headers={**ORIGIN, **PAGE})
    assert (reply.status_code, 'role="alert"' in reply.text) == (400, True), reply.text[:500]


def test_no_text_of_a_form_becomes_anything_but_text() -> None:
    from malan.services.market.terms_form import write_toml

    for text in ('"', "\\", '"""', "a\nb = 1", "\x7f", "[x]", "🎬", "\u2028", '\\" = 1 #'):
        assert tomllib.loads(write_toml({"name": text, "list": [text], "t": {"x": text}})) == {
            "name": text, "list": [text], "t": {"x": text},
        }  # fmt: skip


def test_every_label_of_the_form_is_written_in_both_languages(built: tuple[Workspace, Product]) -> None:
    from malan.core.catalogue import catalogue
    from malan.rights.decide import EGRESS, LEVELS, TIERS
    from malan.rights.terms import PRICED, PROHIBITIONS

    for kind, known in (("tier", TIERS), ("egress", EGRESS), ("level", LEVELS), ("prohibition", PROHIBITIONS)):
        assert all(f"market.{kind}.{one}" in catalogue() for one in known)
    assert all(f"market.per.{one}" in catalogue() for one in PRICED)
    assert "允许做什么" in Person(built[0], "owner", "zh").get("/terms")
