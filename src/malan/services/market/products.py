"""Products: a snapshot that its owners offer to others, under terms and for a price.

    snapshot ─ offer_product, by every owner ─▶ draft ─▶ offered ─ withdraw_product ─▶ withdrawn

An offer never goes beyond what the owners' own terms allow. What others see of it are figures, and samples of those
clips that anybody may look at; nothing else. Start reading at `offer_product` and `show_product`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any
from unicodedata import is_normalized

from sqlalchemy import Connection, Row, select, update

from malan.core import Snapshot, Terms
from malan.core.errors import NotFound, ProofError, Rejected, UsageError
from malan.core.ids import digest_record
from malan.datasets import Manifest
from malan.ledger.statement import Input, Subject, urn
from malan.rights.agreement import MOST_OWNERS
from malan.rights.common_ground import in_house, looser, meet
from malan.rights.decide import Use, compile_terms
from malan.rights.terms import PRICED
from malan.runtime.database import add_new, reading, writing
from malan.services.access import HOUSE, Caller
from malan.services.accounts.acting import acting
from malan.services.datasets.freezing import list_snapshots, show_snapshot
from malan.services.footage.owners import owner_name, owner_names, remember_terms, terms_of
from malan.services.journal import Fact, record
from malan.services.market.tables import PRODUCTS, dump, load, market
from malan.services.market.terms import describe_terms, explain
from malan.services.uses import is_withdrawn, today

if TYPE_CHECKING:
    from malan.store import AssetRow
    from malan.workspace import Workspace

DRAFT, OFFERED, WITHDRAWN = "draft", "offered", "withdrawn"
MOST_SAMPLES = 24
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


@dataclass(frozen=True)
class Footage:
    """The footage of a snapshot as it stands today: whose it is and under which terms."""

    snapshot: Snapshot
    manifest: Manifest
    assets: dict[str, AssetRow]
    terms: dict[str, Terms]  # by id

    @cached_property
    def owner_ids(self) -> tuple[str, ...]:
        return tuple(sorted({row.asset.owner_id for row in self.assets.values()}))

    @property
    def seconds(self) -> Fraction:
        return sum((entry.clip.span.duration for entry in self.manifest.entries), Fraction(0))


def footage_of(ws: Workspace, snapshot: str) -> Footage:
    """The footage of a snapshot, all of it there.

    Raises:
        NotFound: There is no such snapshot, or an asset of it is gone.
        Rejected: An asset of it was taken back.
        ProofError: The manifest or terms are not what they were.
    """
    saved, manifest = show_snapshot(ws, snapshot)
    wanted = {entry.clip.asset_id for entry in manifest.entries}
    assets = ws.library.assets_by_id(wanted)
    if missing := wanted - set(assets):
        raise NotFound("contract.asset_gone", asset=min(missing)[:12])
    for row in assets.values():
        if is_withdrawn(row):
            raise Rejected("contract.asset_withdrawn", asset=row.asset.id[:12])
    terms_ids = {row.asset.terms_id for row in assets.values()}
    return Footage(saved.snapshot, manifest, assets, {one: terms_of(ws, one) for one in sorted(terms_ids)})


def check_deal(ws: Workspace, footage: Footage, terms: Terms) -> None:
    """Refuse terms that not every owner of the footage allows today.

    Raises:
        Rejected: They go beyond an owner's own terms, have ended, or the owner has set none.
    """
    for given in footage.terms.values():
        if in_house(given):
            raise Rejected("contract.in_house", owner=owner_name(ws, given.owner_id))
        if beyond := looser(terms, given):
            raise Rejected("contract.looser", conditions=", ".join(beyond))
    if terms.ends and terms.ends < today().isoformat():
        raise Rejected("contract.ended", ends=terms.ends)
    for text in (terms.name, terms.attribution or "", *terms.purposes, *terms.territories):
        if not is_normalized("NFC", text):
            raise UsageError("contract.spelling", text=text[:60])


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


def describe_product(ws: Workspace, product: Product, *, whole: bool = True) -> dict[str, Any]:
    """A product as JSON: the line of a list or, `whole`, the entry of a catalogue."""
    names = owner_names(ws)
    terms = product.terms
    line: dict[str, Any] = {
        "product": product.id,
        "title": product.title,
        "state": product.state,
        "snapshot": product.snapshot_id,
        "owners": [{"id": one, "name": names.get(one, one[:12])} for one in product.owner_ids],
        "waits_for": [names.get(one, one[:12]) for one in product.owner_ids if one not in product.agreed],
        "uses": list(terms.uses),
        "price": {"minor": terms.price_minor, "currency": terms.currency, "per": terms.price_per},
        "automatic": product.automatic,
        "made": product.made,
    }
    if not whole:
        return line
    _, manifest = show_snapshot(ws, product.snapshot_id)
    return line | {
        "terms": describe_terms(explain(terms)),
        "statistics": statistics(ws, manifest),
        "samples": samples(ws, manifest),
    }


def statistics(ws: Workspace, manifest: Manifest) -> dict[str, Any]:
    """Figures of a snapshot: how much, how large, in which languages, what is known of it. No pixel, no word of it."""
    assets = ws.library.assets_by_id({entry.clip.asset_id for entry in manifest.entries})
    rows = ws.library.clips_by_id(entry.clip.id for entry in manifest.entries)
    tracks = [track for row in assets.values() for track in row.asset.tracks]
    sizes: Counter[str] = Counter()
    for entry in manifest.entries:
        video = assets[entry.clip.asset_id].asset.first("video") if entry.clip.asset_id in assets else None
        sizes["×".join(map(str, video.shown_size_px)) if video and video.shown_size_px else "–"] += 1
    seconds = sum((entry.clip.span.duration for entry in manifest.entries), Fraction(0))
    labels = Counter(label for row in rows.values() for label in row.labels)
    return {
        "seconds": f"{seconds.numerator}/{seconds.denominator}",
        "hours": round(float(seconds) / 3600, 4),
        "clips": len(manifest.entries),
        "shots": labels["shot.transition"],
        "assets": len(assets),
        "resolutions": dict(sizes.most_common()),
        "languages": sorted({track.language for track in tracks if track.language and track.kind != "video"}),
        "findings": {label: count for label, count in sorted(labels.items()) if "=" not in label},
        "content": {label: count for label, count in sorted(labels.items()) if "=" in label},
    }


def samples(ws: Workspace, manifest: Manifest, most: int = MOST_SAMPLES) -> list[dict[str, Any]]:
    """Clips that anybody may look at today, whoever it is, whatever for: what may be shown of a snapshot."""
    assets = ws.library.assets_by_id({entry.clip.asset_id for entry in manifest.entries})
    open_terms = set(_open_to_anybody(ws, {row.asset.terms_id for row in assets.values()}))
    shown = []
    for entry in manifest.entries:
        row = assets.get(entry.clip.asset_id)
        if row is None or row.asset.terms_id not in open_terms:
            continue
        seconds = round(float(entry.clip.span.duration), 3)
        shown.append({"clip": entry.clip.id, "fragment": entry.clip.fragment, "seconds": seconds})
        if len(shown) == most:
            break
    return shown


def _open_to_anybody(ws: Workspace, terms_ids: Iterable[str]) -> Iterable[str]:
    return (one for one in sorted(terms_ids) if is_open_to_anybody(terms_of(ws, one)))


def is_open_to_anybody(terms: Terms) -> bool:
    """Whether anybody at all may look at footage under these terms today."""
    return not in_house(terms) and compile_terms(terms).decide(Use("retrieve", today())).allowed


def has_samples(ws: Workspace, product: Product) -> bool:
    """Whether clips of a product may leave as samples: anybody may look at some of it, or export is part of it."""
    if "export" in product.terms.uses:
        return True
    return any(_open_to_anybody(ws, _terms_ids(ws, product.snapshot_id)))


def _terms_ids(ws: Workspace, snapshot_id: str) -> tuple[str, ...]:
    return next((one.snapshot.terms_ids for one in list_snapshots(ws) if one.snapshot.id == snapshot_id), ())


def pool_id(owner_ids: Sequence[str]) -> str:
    """Whose terms an offer of these owners holds: the one owner's, or those of the pool."""
    return owner_ids[0] if len(owner_ids) == 1 else digest_record("pool", sorted(owner_ids))


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
