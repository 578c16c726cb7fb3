"""The catalogue a party sees: what is offered to it, as datasets with offers. Start at `catalog`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from malan.services.dsp import words
from malan.services.dsp.contracts import Offer
from malan.services.dsp.errors import NotYours, bad
from malan.services.dsp.flow import Exchange
from malan.services.dsp.write import catalog_body, dataset_body, service_body

PAGE = 100


@dataclass(frozen=True)
class CatalogPage:
    """A page of the catalogue and where its neighbours begin."""

    body: Mapping[str, Any]
    previous: int | None
    next: int | None


def catalog(ex: Exchange, party: str, start: int = 0, *, page: int = PAGE) -> CatalogPage:
    """What a party is offered, `page` datasets from the `start`th on.

    Raises:
        BadMessage: There is nothing so far down.
    """
    grouped = _by_dataset(ex.contracts.offers_for(party))
    if start < 0 or (start and start >= len(grouped)):
        raise bad("page")
    shown = [_dataset(ex, offers) for offers in grouped[start : start + page]]
    body = catalog_body(ex.root, ex.participant, service_body(ex.root), shown)
    return CatalogPage(
        body,
        max(0, start - page) if start else None,
        start + page if start + page < len(grouped) else None,
    )


def dataset(ex: Exchange, party: str, dataset_id: str) -> dict[str, Any]:
    """One dataset with the offers to this party.

    Raises:
        NotYours: There is none of this id, or it is not offered to this party.
    """
    offers = list(ex.contracts.offers_of(dataset_id, party))
    if not offers:
        raise NotYours("exchange.no_dataset", dataset=dataset_id[:200])
    return {"@context": [words.CONTEXT], **_dataset(ex, offers)}


def _by_dataset(offers: Iterable[Offer]) -> list[list[Offer]]:
    ordered = sorted(offers, key=lambda offer: (offer.dataset_id, offer.offer_id))
    return [list(group) for _, group in groupby(ordered, key=lambda offer: offer.dataset_id)]


def _dataset(ex: Exchange, offers: list[Offer]) -> dict[str, Any]:
    formats = dict.fromkeys(each for offer in offers for each in offer.formats)
    service = service_body(ex.root)
    return dataset_body(offers[0].dataset_id, offers[0].title, [offer.policy for offer in offers], formats, service)
