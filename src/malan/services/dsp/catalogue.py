"""The catalogue a party sees: what is offered to it, as datasets with offers; and the catalogue of a partner, read.

Start at `catalog` and `read_remote`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from malan.core.errors import RetryLater
from malan.services.dsp import words
from malan.services.dsp.contracts import Offer
from malan.services.dsp.errors import BadMessage, NotYours, bad
from malan.services.dsp.flow import Exchange
from malan.services.dsp.policy import check_offer, listed
from malan.services.dsp.read import plain_form, read_json
from malan.services.dsp.write import catalog_body, dataset_body, service_body

PAGE = 100
_MOST_PAGES = 100
_NEXT = re.compile(r'<([^<>\s]{1,2000})>\s*;\s*rel="?next"?')


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


@dataclass(frozen=True)
class RemoteDataset:
    """A dataset of a partner: its offers as policies with target, and how it may be used."""

    id: str
    title: str
    offers: tuple[Mapping[str, Any], ...]
    formats: tuple[str, ...]


def read_remote(ex: Exchange, party: str, connector: str) -> list[RemoteDataset]:
    """The catalogue of a partner, page by page; what is not a dataset with an offer we can read is left out.

    Raises:
        BadMessage: The address must not be called, or the answer is no catalogue.
        RetryLater, ProofError: The partner does not answer, or refuses.
    """
    asked = {"@context": [words.CONTEXT], "@type": words.CATALOG_REQUEST}
    url, found = f"{connector.rstrip('/')}/catalog/request", []
    for _ in range(_MOST_PAGES):
        reply = ex.ask(party, url, asked)
        if reply.status != 200:
            raise RetryLater("exchange.answered", party=party, status=reply.status)
        said = plain_form(read_json(reply.body))
        if said.get("@type") != "Catalog":
            raise bad("Catalog")
        found += list(_remote(said))
        following = _NEXT.search(reply.link)
        if following is None or not following[1].startswith(connector.rstrip("/")):
            return found
        url = following[1]
    return found


def _remote(said: Mapping[str, Any]) -> Iterable[RemoteDataset]:
    for one in listed(said.get("dataset"), "dataset"):
        offers = []
        for policy in listed(one.get("hasPolicy"), "hasPolicy"):
            whole = {**policy, "target": one.get("@id")}
            try:
                check_offer(whole, "hasPolicy")
            except BadMessage:
                continue
            offers.append(whole)
        formats = [str(way.get("format"))[:500] for way in listed(one.get("distribution"), "distribution")]
        if offers:
            yield RemoteDataset(str(one["@id"]), str(one.get("title", ""))[:500], tuple(offers), tuple(formats))


def _by_dataset(offers: Iterable[Offer]) -> list[list[Offer]]:
    ordered = sorted(offers, key=lambda offer: (offer.dataset_id, offer.offer_id))
    return [list(group) for _, group in groupby(ordered, key=lambda offer: offer.dataset_id)]


def _dataset(ex: Exchange, offers: list[Offer]) -> dict[str, Any]:
    formats = dict.fromkeys(each for offer in offers for each in offer.formats)
    service = service_body(ex.root)
    return dataset_body(offers[0].dataset_id, offers[0].title, [offer.policy for offer in offers], formats, service)
