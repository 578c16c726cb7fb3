"""Products in the catalogue of the connector: what is agreed there becomes the same kind of grant as a signed contract.

    Product ─▶ offer of the protocol ─ negotiated, verified by the buyer ─▶ agreement, signed by the owners ─▶ Grant

A buyer elsewhere binds itself by authenticated messages, not by a signature on our document; the document names their
digest. Only what was agreed exactly as a product is offered becomes a grant here. Start at `MarketContracts`.
"""

from __future__ import annotations

from collections.abc import Sequence

from malan.core.errors import NotGranted
from malan.core.ids import digest_bytes
from malan.rights.terms import party_id
from malan.services.dsp import words
from malan.services.dsp.contracts import AUTOMATIC, BY_HAND, LocalContracts, Offer, SignedAgreement
from malan.services.dsp.policy import from_terms, same_rules
from malan.services.dsp.tables import dump
from malan.services.market.contracts import accept_agreement
from malan.services.market.grants import grant_allows, has_grant
from malan.services.market.product_card import has_samples
from malan.services.market.products import OFFERED, Product, products_of

__all__ = ["MarketContracts", "offer_of"]

_DATASET = "urn:malan:snapshot:"


class MarketContracts(LocalContracts):
    """What `LocalContracts` keeps, and every product on offer."""

    def offers_for(self, party: str) -> Sequence[Offer]:
        mine = [one for one in products_of(self.ws, party_id(party)) if one.state == OFFERED]
        return [*super().offers_for(party), *map(self._offered, mine)]

    def offers_of(self, dataset_id: str, party: str) -> Sequence[Offer]:
        return [one for one in self.offers_for(party) if one.dataset_id == dataset_id]

    def all_offers(self) -> Sequence[Offer]:
        found = [one for one in products_of(self.ws, None) if one.state == OFFERED]
        return [*super().all_offers(), *map(self._offered, found)]

    def formats_of(self, dataset_id: str) -> Sequence[str]:
        found = list(super().formats_of(dataset_id))
        products = [one for one in products_of(self.ws, None) if _DATASET + one.snapshot_id == dataset_id]
        return list(dict.fromkeys([*found, *(one for product in products for one in self._offered(product).formats)]))

    def accept_agreement(self, agreement: SignedAgreement) -> str:
        product = self._product_of(agreement)
        if agreement.grant_id or product is None:
            return super().accept_agreement(agreement)
        evidence = digest_bytes(dump([agreement.party, dict(agreement.policy)]).encode())
        return accept_agreement(self.ws, product, agreement.party, evidence)

    def check_agreement(self, agreement: SignedAgreement) -> None:
        super().check_agreement(agreement)
        if agreement.grant_id is None or not has_grant(self.ws, agreement.grant_id):
            return
        product = self._product_of(agreement)
        uses = product.terms.uses if product is not None else ()
        if not any(grant_allows(self.ws, agreement.grant_id, use).allowed for use in uses):
            raise NotGranted("exchange.not_in_force", agreement=agreement.id[:100])

    def _offered(self, product: Product) -> Offer:
        return offer_of(product, with_samples=has_samples(self.ws, product))

    def _product_of(self, agreement: SignedAgreement) -> Product | None:
        """The product that was agreed on, exactly as it is or was offered."""
        if agreement.role != words.PROVIDER:
            return None
        for product in products_of(self.ws, None):
            offer = offer_of(product)
            if offer.dataset_id == agreement.dataset_id and same_rules(offer.policy, agreement.policy):
                return product
        return None


def offer_of(product: Product, *, with_samples: bool = False) -> Offer:
    """A product as an offer of the protocol; `with_samples`, some of it may be fetched under an agreement."""
    dataset_id = _DATASET + product.snapshot_id
    offer_id = f"urn:malan:offer:{product.id[:32]}"
    policy = {**from_terms(product.terms, dataset_id), "@id": offer_id}
    manner = AUTOMATIC if product.automatic else BY_HAND
    formats = (words.COMPUTE_TO_DATA, words.HTTP_PULL) if with_samples else (words.COMPUTE_TO_DATA,)
    return Offer(offer_id, dataset_id, policy, product.title, product.snapshot_id, formats, manner)
