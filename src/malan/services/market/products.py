"""Products: a snapshot that its owners offer to others, under terms and for a price.

    snapshot ─ offer_product, by every owner ─▶ draft ─▶ offered ─ withdraw_product ─▶ withdrawn

An offer never goes beyond what the owners' own terms allow (`deal`). What others may know of it is in `product_card`.
Start reading at `offer_product` and `get_product`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, select, update

from malan.core import Terms
from malan.core.errors import NotFound, ProofError, Rejected, UsageError
from malan.core.ids import digest_record
from malan.ledger.statement import Input, Subject, urn
from malan.rights.agreement import MOST_OWNERS
from malan.rights.common_ground import meet
from malan.rights.terms import PRICED
from malan.runtime.database import add_new, reading, writing
from malan.services.access import HOUSE, Caller
from malan.services.accounts.acting import acting
from malan.services.footage.owners import owner_names, remember_terms, terms_of
from malan.services.journal import Fact, record
from malan.services.market.deal import Footage, check_deal, footage_of, pool_id
from malan.services.market.tables import PRODUCTS, dump, load, market

if TYPE_CHECKING:
    from malan.workspace import Workspace

DRAFT, OFFERED, WITHDRAWN = "draft", "offered", "withdrawn"
_PRICE = re.compile(r"([0-9]{1,15}):([A-Z]{3})(?:/([a-z_]+))?")
_TITLE_LENGTH = 120


@dataclass(frozen=True)
class Product:
    """A snapshot on offer. `agreed` are the owners who offer it; it is offered once all do."""

    id: str
    snapshot_id: str
    title: str
    terms: Terms
    owner_ids: tuple[str, ...]
    agreed: tuple[str, ...]
    state: str
    automatic: bool
    made: str


@dataclass(frozen=True)
class Price:
    """An amount in the smallest unit of a currency, for the deal as a whole or for each unit of use."""

    minor: int
    currency: str
    per: str = "deal"

    @classmethod
    def read(cls, text: str) -> Price:
        """`250000:CNY`, `3:CNY/clip_second`.

        Raises:
            UsageError: It is not a price.
        """
        match = _PRICE.fullmatch(text.strip())
        if match is None or (match[3] or "deal") not in PRICED:
            raise UsageError("product.bad_price", price=text[:60])
        return cls(int(match[1]), match[2], match[3] or "deal")


def offer_product(
    ws: Workspace,
    snapshot: str,
    *,
    terms: Terms | None = None,
    price: Price | None = None,
    title: str = "",
    automatic: bool = False,
    caller: Caller = HOUSE,
) -> Product:
    """Offer a snapshot; with the id of a draft, offer that with the others. The same again changes nothing.

    Args:
        snapshot: Name or id of a snapshot, or id of a draft of which the party is an owner too.
        terms: Under which; without them, under what the terms of all its footage allow.
        price: For which; without it, that of the terms, which must then name one. Nobody gives away by default.
        automatic: Whoever orders exactly this gets it, without being accepted one by one.
        caller: The owner who offers; whoever runs this workspace does so for all owners.

    Raises:
        NotFound: There is no such snapshot, or the party owns nothing in it.
        Rejected: The terms go beyond the owners', or the product was withdrawn.
        UsageError: The title is impossible, or nothing says what it costs.
    """
    party = acting(caller, "offer")
    draft = _known(ws, snapshot)
    if draft is not None and party in (None, *draft.owner_ids):
        return _agree(ws, draft, footage_of(ws, draft.snapshot_id), party)
    footage = footage_of(ws, snapshot)
    if party not in (None, *footage.owner_ids):
        raise NotFound("dataset.none", text=snapshot[:80])
    if len(footage.owner_ids) > MOST_OWNERS:
        raise Rejected("contract.too_many_owners", most=MOST_OWNERS, count=len(footage.owner_ids))
    title = " ".join((title or footage.snapshot.name).split())
    if not title.isprintable() or len(title) > _TITLE_LENGTH:
        raise UsageError("dataset.bad_name", name=title[:_TITLE_LENGTH])
    offered = _priced(_whole(footage, terms, title), price)
    check_deal(ws, footage, offered)
    if price is None and not offered.price_minor and not offered.licence:
        raise UsageError("product.no_price")
    made = datetime.now(UTC).isoformat(timespec="seconds")
    product_id = digest_record("product", [footage.snapshot.id, remember_terms(ws, offered), title, automatic])
    fresh = Product(product_id, footage.snapshot.id, title, offered, footage.owner_ids, (), DRAFT, automatic, made)
    with writing(market(ws)) as connection:
        add_new(connection, PRODUCTS, _row(fresh))
    return _agree(ws, fresh, footage, party)


def withdraw_product(ws: Workspace, product: str, *, caller: Caller = HOUSE) -> Product:
    """Offer it no more; contracts that were agreed stay. One owner is enough.

    Raises:
        NotFound: There is no such product for this party.
        UsageError: The party owns nothing in it.
    """
    party = acting(caller, "offer")
    found = get_product(ws, product, caller=caller)
    _check_owner(ws, found.owner_ids, found.title, party)
    with writing(market(ws)) as connection:
        connection.execute(update(PRODUCTS).where(PRODUCTS.c.id == found.id).values(state=WITHDRAWN, changed=_now()))
    withdrawn = replace(found, state=WITHDRAWN)
    if found.state == OFFERED:
        _state(ws, withdrawn)
    return withdrawn


def list_products(ws: Workspace, *, caller: Caller = HOUSE) -> list[Product]:
    """What a party may see, the newest first: all that is offered to it, and what it owns."""
    return products_of(ws, acting(caller, "snapshots"))


def products_of(ws: Workspace, party: str | None) -> list[Product]:
    """The same, for a party by its id; None sees everything. What was changed where it is stored is left out."""
    with reading(market(ws)) as connection:
        rows = connection.execute(select(PRODUCTS).order_by(PRODUCTS.c.made.desc(), PRODUCTS.c.id)).all()
    found = []
    for row in rows:
        with suppress(ProofError, NotFound, ValueError):
            found.append(_product(ws, row))
    return [one for one in found if _may_see(one, party)]


def get_product(ws: Workspace, product: str, *, caller: Caller = HOUSE) -> Product:
    """A product by its id, the beginning of it, or its title.

    Raises:
        NotFound: There is none that this party may see.
        UsageError: Several begin so.
    """
    return find_product(ws, product, acting(caller, "snapshots"))


def find_product(ws: Workspace, product: str, party: str | None) -> Product:
    """The same, for a party by its id."""
    seen = products_of(ws, party)
    text = product.strip()
    found = [one for one in seen if len(text) >= 6 and one.id.startswith(text.lower())]
    found = found or [one for one in seen if one.title == text and one.state != WITHDRAWN]
    if not found:
        raise NotFound("product.none", id=text[:40])
    if len(found) > 1:
        raise UsageError("dataset.ambiguous", text=text[:40])
    return found[0]


def _whole(footage: Footage, terms: Terms | None, title: str) -> Terms:
    owner_id = pool_id(footage.owner_ids)
    if terms is None:
        return meet(list(footage.terms.values()), owner_id, title)
    return replace(terms, owner_id=owner_id)


def _priced(terms: Terms, price: Price | None) -> Terms:
    if price is None:
        return terms
    return replace(terms, price_minor=price.minor, currency=price.currency, price_per=price.per)


def _known(ws: Workspace, text: str) -> Product | None:
    """The product of this id, if there is one; its snapshot's id is another number."""
    if len(text) < 6:
        return None
    with reading(market(ws)) as connection:
        rows = connection.execute(select(PRODUCTS).where(PRODUCTS.c.id.startswith(text.lower(), autoescape=True))).all()
    return _product(ws, rows[0]) if len(rows) == 1 else None


def _agree(ws: Workspace, product: Product, footage: Footage, party: str | None) -> Product:
    """Note that an owner offers this; offered once all do."""
    check_deal(ws, footage, product.terms)
    with writing(market(ws)) as connection:
        stands = _locked(connection, product.id)
        if stands.state == WITHDRAWN:
            raise Rejected("product.withdrawn", id=product.id[:12])
        agreed = {*load(stands.agreed), *((party,) if party else product.owner_ids)}
        state = OFFERED if agreed >= set(product.owner_ids) else DRAFT
        values = {"agreed": dump(agreed), "state": state, "changed": _now()}
        connection.execute(update(PRODUCTS).where(PRODUCTS.c.id == product.id).values(**values))
    found = replace(product, agreed=tuple(sorted(agreed)), state=state, made=stands.made)
    if state == OFFERED:
        _state(ws, found)
    return found


def _state(ws: Workspace, product: Product) -> None:
    """Say in the log what is offered, signed by its owners."""
    fact = Fact(
        "product.offer",
        (Subject(urn("product", product.id), product.id),),
        "product.offer",
        inputs=(Input(urn("snapshot", product.snapshot_id), product.snapshot_id, "about"),),
        facts={"terms": product.terms.id, "state": product.state},
        private={"title": product.title},
        owners=product.owner_ids[:7],  # an entry holds eight signatures
    )
    record(ws, [fact])


def _check_owner(ws: Workspace, owner_ids: Sequence[str], what: str, party: str | None) -> None:
    if party is not None and party not in owner_ids:
        names = owner_names(ws)
        raise UsageError(
            "product.not_owner", name=what, owners=", ".join(names.get(one, one[:12]) for one in owner_ids)
        )


def _may_see(product: Product, party: str | None) -> bool:
    if party is None or party in product.owner_ids:
        return True
    meant = product.terms.recipients
    return product.state == OFFERED and (not meant or party in meant)


def _locked(connection: Connection, product_id: str) -> Row[Any]:
    return connection.execute(select(PRODUCTS).where(PRODUCTS.c.id == product_id).with_for_update()).one()


def _product(ws: Workspace, row: Row[Any]) -> Product:
    return Product(
        row.id,
        row.snapshot_id,
        row.title,
        terms_of(ws, row.terms_id),
        load(row.owner_ids),
        load(row.agreed),
        row.state,
        row.automatic,
        row.made,
    )


def _row(product: Product) -> dict[str, Any]:
    return {
        "id": product.id,
        "snapshot_id": product.snapshot_id,
        "title": product.title,
        "terms_id": product.terms.id,
        "owner_ids": dump(product.owner_ids),
        "agreed": dump(product.agreed),
        "state": product.state,
        "automatic": product.automatic,
        "made": product.made,
        "changed": product.made,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
