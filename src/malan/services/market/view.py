"""The market as people see it in the console: the catalogue, a product with card, figures and samples, and contracts.

Shows what `products` and `contract_lookup` give a caller, in the reader's language, and says what the caller can do
next (`forms` does it). Start at `market_page`, `product_page` and `contract_page`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from malan.core import Terms
from malan.core.errors import MalanError
from malan.rights import bargain as table
from malan.rights.decide import Use, compile_terms, constraints
from malan.services.access import HOUSE, Caller, may
from malan.services.datasets.freezing import show_snapshot
from malan.services.footage.owners import owner_names
from malan.services.market.contract_lookup import describe_contract, get_contract, list_contracts
from malan.services.market.contract_rows import Contract, Damaged
from malan.services.market.product_card import samples, statistics
from malan.services.market.products import OFFERED, Product, get_product, list_products
from malan.services.spoken import kind_name, lasting, money, word
from malan.services.uses import today

if TYPE_CHECKING:
    from malan.workspace import Workspace

PAGE = 24
_PARTY = re.compile(r"\b[0-9a-f]{64}\b")
_MOST_CLIPS = 20_000  # of a product whose length and picture a list still looks up


@dataclass(frozen=True, slots=True)
class ProductRow:
    """A product in the catalogue."""

    id: str
    title: str
    state: str
    state_label: str
    owners: tuple[str, ...]
    clips: int
    lasts: str
    uses: tuple[str, ...]
    price: str
    automatic: bool
    is_mine: bool
    poster: str  # clip id of a sample; empty without one


@dataclass(frozen=True, slots=True)
class MarketPage:
    """Products, the newest first."""

    products: tuple[ProductRow, ...]
    total: int
    next_offset: int | None


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of terms, and what stands behind it."""

    name: str
    label: str
    value: str
    mark: str
    mark_label: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What terms answer a use today."""

    use: str
    label: str
    is_allowed: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with its name."""

    label: str
    value: str


@dataclass(frozen=True, slots=True)
class SampleRow:
    """A clip that anybody may look at."""

    clip_id: str
    asset_id: str
    lasts: str


@dataclass(frozen=True, slots=True)
class ProductPage:
    """A product with its card, figures and samples, and whether the caller can order it."""

    row: ProductRow
    snapshot: str
    made: str
    waits_for: tuple[str, ...]
    conditions: tuple[Condition, ...]
    answers: tuple[Answer, ...]
    figures: tuple[Figure, ...]
    samples: tuple[SampleRow, ...]
    can_order: bool
    names_buyer: bool  # an operator says for whom
    price_minor: int
    currency: str
    per: str


@dataclass(frozen=True, slots=True)
class ContractRow:
    """A contract in a list."""

    number: str
    state: str
    state_label: str
    buyer: str
    owners: tuple[str, ...]
    waits_for: tuple[str, ...]
    price: str
    opened: str


@dataclass(frozen=True, slots=True)
class ContractsPage:
    """The caller's contracts, the newest first."""

    contracts: tuple[ContractRow, ...]


@dataclass(frozen=True, slots=True)
class StepRow:
    """What somebody did, when, and why."""

    label: str
    party: str
    at: str
    reason: str


@dataclass(frozen=True, slots=True)
class ContractPage:
    """A contract with its terms, history and document, and what the caller can do now."""

    row: ContractRow
    product: str
    snapshot: str
    conditions: tuple[Condition, ...]
    answers: tuple[Answer, ...]
    steps: tuple[StepRow, ...]
    document: str  # its id; empty before there is one
    signed: tuple[str, ...]
    guarantees: tuple[Figure, ...]
    ceiling: Mapping[str, Any] | None
    grant: str
    actions: tuple[str, ...]
    price_minor: int
    currency: str
    per: str


def market_page(ws: Workspace, lang: str, *, offset: int = 0, caller: Caller = HOUSE) -> MarketPage:
    """What the caller may see on offer, the newest first."""
    found = list_products(ws, caller=caller)
    shown = tuple(_row(ws, one, lang, caller) for one in found[offset : offset + PAGE])
    following = offset + PAGE
    return MarketPage(shown, len(found), following if following < len(found) else None)


def product_page(ws: Workspace, product_id: str, lang: str, *, caller: Caller = HOUSE) -> ProductPage:
    """One product as the caller may see it.

    Raises:
        NotFound: There is none that this caller may see.
    """
    product = get_product(ws, product_id, caller=caller)
    _, manifest = show_snapshot(ws, product.snapshot_id)
    assets = {entry.clip.id: entry.clip.asset_id for entry in manifest.entries}
    names = owner_names(ws)
    is_own = caller.party_id in product.owner_ids and not caller.is_operator
    return ProductPage(
        row=_row(ws, product, lang, caller),
        snapshot=product.snapshot_id,
        made=product.made,
        waits_for=tuple(names.get(one, one[:12]) for one in product.owner_ids if one not in product.agreed),
        conditions=conditions(product.terms, lang, names),
        answers=answers(product.terms, lang, caller.party_id, names),
        figures=_figures(statistics(ws, manifest), lang),
        samples=tuple(
            SampleRow(one["clip"], assets[one["clip"]], lasting(one["seconds"], lang)) for one in samples(ws, manifest)
        ),
        can_order=may(caller, "order") and product.state == OFFERED and not is_own,
        names_buyer=caller.is_operator,
        price_minor=product.terms.price_minor or 0,
        currency=product.terms.currency or "CNY",
        per=product.terms.price_per,
    )


def contracts_page(ws: Workspace, lang: str, *, caller: Caller = HOUSE) -> ContractsPage:
    """The contracts of the caller; damaged ones are shown as such."""
    lines = [describe_contract(ws, one, whole=False) for one in list_contracts(ws, caller=caller)]
    return ContractsPage(tuple(_contract_row(line, lang) for line in lines))


def contract_page(ws: Workspace, number: str, lang: str, *, caller: Caller = HOUSE) -> ContractPage:
    """One contract of the caller's.

    Raises:
        NotFound: There is none to which this caller is a party.
        ProofError: It was changed where it is stored.
    """
    contract = get_contract(ws, number, caller=caller)
    said, names = describe_contract(ws, contract), owner_names(ws)
    document = said.get("agreement") or {}
    return ContractPage(
        row=_contract_row(said, lang),
        product=contract.product_id,
        snapshot=contract.snapshot_id,
        conditions=conditions(contract.terms, lang, names),
        answers=answers(contract.terms, lang, contract.buyer.id, names),
        steps=tuple(
            StepRow(word(f"market.step.{one['action']}", lang), one["party"], one["at"][:16], one["reason"])
            for one in said["steps"]
        ),
        document=document.get("id", ""),
        signed=tuple(document.get("signed", ())),
        guarantees=tuple(
            Figure(word(f"market.tier.{tier}", lang), text[lang])
            for tier, text in (document.get("guarantee") or {}).items()
        ),
        ceiling=document.get("ceiling"),
        grant=contract.grant_id or "",
        actions=_actions(contract, caller),
        price_minor=contract.terms.price_minor or 0,
        currency=contract.terms.currency or "CNY",
        per=contract.terms.price_per,
    )


def conditions(terms: Terms, lang: str, names: Mapping[str, str] | None = None) -> tuple[Condition, ...]:
    """Everything terms demand, in the order people read them."""
    shown = []
    for one in constraints(terms):
        value = _value(one.name, one.value, terms, lang, names or {})
        label = word(f"terms.condition.{one.name}", lang)
        shown.append(Condition(one.name, label, value, one.mark, word(f"terms.mark.{one.mark}", lang)))
    return tuple(shown)


def answers(
    terms: Terms, lang: str, party_id: str | None, names: Mapping[str, str] | None = None
) -> tuple[Answer, ...]:
    """What the uses that terms speak of would be answered today."""
    compiled = compile_terms(terms)
    found = []
    for use in terms.uses:
        decision = compiled.decide(Use(use, today(), party_id=party_id))
        reasons = tuple(_named(reason.text(lang), names or {}) for reason in decision.reasons)
        found.append(Answer(use, word(f"web.use.{use}", lang), decision.allowed, reasons))
    return tuple(found)


def _named(text: str, names: Mapping[str, str]) -> str:
    """A sentence with the names of parties in the place of their ids."""
    return _PARTY.sub(lambda found: names.get(found[0], found[0][:12]), text)


def price_text(minor: int | None, currency: str | None, per: str, lang: str) -> str:
    """`2500.00 CNY / deal`; free where nothing is asked."""
    if not minor:
        return word("market.free", lang)
    return f"{money(minor, currency or 'CNY', lang)} / {word(f'market.per.{per}', lang)}"


def _value(name: str, value: str, terms: Terms, lang: str, names: Mapping[str, str]) -> str:
    if name == "price":
        return price_text(terms.price_minor, terms.currency, terms.price_per, lang)
    if name == "recipients":
        return ", ".join(names.get(one, one[:12]) for one in terms.recipients)
    if name == "limits.clip_seconds":
        return lasting(float(value), lang) if value.isdigit() else value
    words = {"uses": "web.use", "tiers": "market.tier", "egress": "market.egress", "isolation": "market.level"}
    words |= {"prohibitions": "market.prohibition", "memorisation": "market.memorisation"}
    if name in words:
        return ", ".join(word(f"{words[name]}.{one}", lang) for one in value.split(", "))
    return value


def _row(ws: Workspace, product: Product, lang: str, caller: Caller) -> ProductRow:
    names, terms = owner_names(ws), product.terms
    saved, manifest = show_snapshot(ws, product.snapshot_id)
    is_small = saved.snapshot.clip_count <= _MOST_CLIPS
    seconds = sum((one.clip.span.duration for one in manifest.entries), Fraction(0)) if is_small else Fraction(0)
    first = next(iter(samples(ws, manifest, 1)), None) if is_small else None
    return ProductRow(
        id=product.id,
        title=product.title,
        state=product.state,
        state_label=word(f"product.state.{product.state}", lang),
        owners=tuple(names.get(one, one[:12]) for one in product.owner_ids),
        clips=saved.snapshot.clip_count,
        lasts=lasting(float(seconds), lang) if is_small else "",
        uses=tuple(word(f"web.use.{use}", lang) for use in terms.uses),
        price=price_text(terms.price_minor, terms.currency, terms.price_per, lang),
        automatic=product.automatic,
        is_mine=caller.party_id in product.owner_ids,
        poster=first["clip"] if first else "",
    )


def _figures(said: Mapping[str, Any], lang: str) -> tuple[Figure, ...]:
    seconds = Fraction(said["seconds"])
    rows = [
        ("length", lasting(float(seconds), lang)),
        ("clips", f"{said['clips']:,}"),
        ("assets", f"{said['assets']:,}"),
        ("resolutions", _counted(said["resolutions"])),
        ("languages", ", ".join(said["languages"])),
        ("content", _counted({_look(one, lang): n for one, n in said["content"].items()}, 8)),
        ("findings", _counted({kind_name(one, lang): n for one, n in said["findings"].items()}, 8)),
    ]
    return tuple(Figure(word(f"market.figure.{name}", lang), value) for name, value in rows if value)


def _look(label: str, lang: str) -> str:
    """`motion.class=pan` in words."""
    kind, _, name = label.partition("=")
    return word(f"look.{kind}.{name}", lang)


def _counted(said: Mapping[str, int], most: int = 4) -> str:
    ordered = sorted(said.items(), key=lambda one: (-one[1], one[0]))[:most]
    return " · ".join(f"{name} {count:,}" for name, count in ordered)


def _contract_row(said: Mapping[str, Any], lang: str) -> ContractRow:
    price = said["price"]
    return ContractRow(
        number=said["contract"],
        state=said["state"],
        state_label=word(f"contract.state.{said['state']}", lang),
        buyer=said["buyer"],
        owners=tuple(said["owners"]),
        waits_for=tuple(said["waits_for"]),
        price=price_text(price["minor"], price["currency"], price["per"], lang) if price else "–",
        opened=said["opened"][:10],
    )


def _actions(contract: Contract | Damaged, caller: Caller) -> tuple[str, ...]:
    """What the caller can do now: what the table of steps allows one of those it acts for."""
    if isinstance(contract, Damaged):
        return ()
    actors = contract.bargain.owner_ids if caller.is_operator else (caller.party_id or "",)
    steps = {"accept": table.ACCEPT, "sign": table.SIGN, "counter": table.COUNTER, "refuse": table.REFUSE}
    if len(actors) > 1:  # who acts for several owners accepts and signs for all of them, and speaks for none alone
        steps = {name: steps[name] for name in ("accept", "sign")}
    return tuple(name for name, step in steps.items() if any(_can(contract, step, who) for who in actors))


def _can(contract: Contract, action: str, who: str) -> bool:
    if action in (table.ACCEPT, table.SIGN) and who not in contract.bargain.waits_for:
        return False
    try:
        table.step(contract.bargain, action, who, "-" if action == table.COUNTER else None)
    except MalanError:
        return False
    return True
