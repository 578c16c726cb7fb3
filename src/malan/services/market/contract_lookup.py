"""Contracts as they stand: found by their number, listed, said as JSON, and their agreements as files.

Whoever is not a party finds nothing. A contract whose row was changed where it is stored is listed as damaged, with
what is left of it. What moves a contract on is in `contracts`. Start at `get_contract`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import or_, select

from malan.core.errors import NotFound, Rejected, UsageError
from malan.rights.decide import USES, Use, compile_terms, constraints
from malan.runtime.database import reading
from malan.services.access import HOUSE, Caller
from malan.services.accounts.acting import acting
from malan.services.footage.owners import owner_names
from malan.services.market.contract_rows import (
    Contract,
    Damaged,
    is_party,
    read_contract,
    read_or_damaged,
)
from malan.services.market.tables import CONTRACTS, STEPS, market
from malan.services.market.terms import TermsShown, describe_terms
from malan.services.uses import today

if TYPE_CHECKING:
    from malan.workspace import Workspace


DAMAGED = "damaged"  # what a list calls a contract whose row was changed where it is stored


def export_contract(ws: Workspace, number: str, *, caller: Caller = HOUSE) -> bytes:
    """The file of an agreement with the signatures it has, for those who sign outside and for the records.

    Raises:
        NotFound: There is no such contract of the caller's.
        Rejected: Nothing is agreed yet.
    """
    contract = get_contract(ws, number, caller=caller)
    if contract.agreement is None:
        raise Rejected("contract.not_agreed", number=contract.number, state=contract.state)
    return contract.agreement.to_bundle() + b"\n"


def get_contract(ws: Workspace, number: str, *, caller: Caller = HOUSE) -> Contract:
    """A contract by its number or the beginning of it.

    Raises:
        NotFound: There is none to which this party is a party.
        UsageError: Several begin so.
    """
    party = acting(caller, "sign")
    text = number.strip().lower()
    with reading(market(ws)) as connection:
        query = select(CONTRACTS).where(CONTRACTS.c.number.startswith(text, autoescape=True))
        rows = [row for row in connection.execute(query) if is_party(row, party)] if len(text) >= 4 else []
        if not rows:
            raise NotFound("contract.none", number=number[:40])
        if len(rows) > 1:
            raise UsageError("dataset.ambiguous", text=number[:40])
        return read_contract(ws, connection, rows[0])


def list_contracts(ws: Workspace, *, caller: Caller = HOUSE) -> list[Contract | Damaged]:
    """The contracts of the caller (to an operator, all), the newest first; a damaged one as what is left of it."""
    party = acting(caller, "sign")
    with reading(market(ws)) as connection:
        query = select(CONTRACTS).order_by(CONTRACTS.c.opened.desc(), CONTRACTS.c.number)
        if party is not None:
            like = CONTRACTS.c.owner_ids.contains(f'"{party}"', autoescape=True)
            query = query.where(or_(CONTRACTS.c.buyer_id == party, like))
        rows = connection.execute(query).all()
        return [read_or_damaged(ws, connection, row) for row in rows if is_party(row, party)]


def describe_contract(ws: Workspace, contract: Contract | Damaged, *, whole: bool = True) -> dict[str, Any]:
    """A contract as JSON: the line of a list or, `whole`, with its terms, history and agreement."""
    names = owner_names(ws)
    if isinstance(contract, Damaged):
        return _damaged_line(contract, names)
    terms = contract.terms
    line: dict[str, Any] = {
        "contract": contract.number,
        "state": contract.state,
        "waits_for": [names.get(one, one[:12]) for one in contract.bargain.waits_for],
        "product": contract.product_id,
        "snapshot": contract.snapshot_id,
        "buyer": contract.buyer.name,
        "owners": [names.get(one, one[:12]) for one in contract.bargain.owner_ids],
        "price": {"minor": terms.price_minor, "currency": terms.currency, "per": terms.price_per},
        "grant": contract.grant_id,
        "opened": contract.opened,
    }
    if not whole:
        return line
    with reading(market(ws)) as connection:
        steps = connection.execute(select(STEPS).where(STEPS.c.number == contract.number).order_by(STEPS.c.turn)).all()
    line["terms"] = describe_terms(_explained(contract))
    line["steps"] = [
        {"action": one.action, "party": names.get(one.party_id, one.party_id[:12]), "at": one.at, "reason": one.reason}
        for one in steps
    ]
    if contract.agreement is not None:
        agreement = contract.agreement.agreement
        line["agreement"] = {"id": agreement.id, "guarantee": agreement.stated["guarantee"]}
        line["agreement"] |= {"ceiling": agreement.stated.get("ceiling"), "made": agreement.made}
        line["agreement"]["signed"] = sorted(names.get(one, one[:12]) for one in contract.agreement.signatures)
    return line


def _damaged_line(contract: Damaged, names: Mapping[str, str]) -> dict[str, Any]:
    """What still stands in a damaged row; nothing of it is proven."""
    return {
        "contract": contract.number,
        "state": DAMAGED,
        "waits_for": [],
        "product": contract.product_id,
        "snapshot": contract.snapshot_id,
        "buyer": names.get(contract.buyer_id, contract.buyer_id[:12]),
        "owners": [],
        "price": None,
        "grant": None,
        "opened": contract.opened,
    }


def _explained(contract: Contract) -> TermsShown:
    """The terms as they would answer the buyer today."""
    compiled = compile_terms(contract.terms)
    answers = {use: compiled.decide(Use(use, today(), party_id=contract.buyer.id)) for use in USES}
    return TermsShown(contract.terms, tuple(constraints(contract.terms)), answers)
