"""Orders and steps of a contract as people fill in forms for them. An empty field leaves a thing as it is.

Start at `order` and `act`; what the pages show is in `view`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from malan.core import Terms
from malan.core.errors import UsageError
from malan.core.numbers import read_whole
from malan.services.access import HOUSE, Caller
from malan.services.market.contract_lookup import get_contract
from malan.services.market.contracts import (
    Changes,
    accept_contract,
    counter_contract,
    order_product,
    refuse_contract,
    sign_contract,
)
from malan.services.market.products import Price, get_product

if TYPE_CHECKING:
    from malan.workspace import Workspace


def order(ws: Workspace, product_id: str, said: Mapping[str, str], *, caller: Caller = HOUSE) -> str:
    """Order a product by a form; the number of the contract.

    Args:
        ws: Where.
        product_id: Which.
        said: `buyer` (where an operator orders), and wishes: `amount`, `ends`, `clip_seconds`, `runs`.
        caller: Who orders.
    """
    product = get_product(ws, product_id, caller=caller)
    buyer = said.get("buyer", "").strip() if caller.is_operator else caller.name or caller.party_id or ""
    if not buyer:
        raise UsageError("market.no_buyer")
    changes = _changes(said, product.terms)
    return order_product(ws, product.id, buyer, changes=changes, caller=caller).number


def act(ws: Workspace, number: str, action: str, said: Mapping[str, str], *, caller: Caller = HOUSE) -> None:
    """Do a step in a contract by a form: `accept`, `refuse`, `sign` or `counter`.

    Raises:
        UsageError: There is no such step, or it changes nothing.
        NotFound, Rejected, NotGranted: As the step itself.
    """
    if action == "accept":
        accept_contract(ws, number, caller=caller)
    elif action == "refuse":
        refuse_contract(ws, number, said.get("reason", ""), caller=caller)
    elif action == "sign":
        sign_contract(ws, number, caller=caller)
    elif action == "counter":
        contract = get_contract(ws, number, caller=caller)
        counter_contract(ws, number, _changes(said, contract.terms), caller=caller)
    else:
        raise UsageError("web.bad_request", detail=f"action {action[:40]}")


def _changes(said: Mapping[str, str], terms: Terms) -> Changes:
    """Wishes as a form says them; an empty field leaves a thing as it is."""
    amount = _whole("amount", said.get("amount", ""))
    price = Price(amount, terms.currency or "CNY", terms.price_per) if amount is not None else None
    limits = {name: _whole(name, said.get(name, "")) for name in ("clip_seconds", "runs")}
    return Changes(
        price=price,
        ends=said.get("ends", "").strip() or None,
        limits={name: most for name, most in limits.items() if most is not None},
    )


def _whole(name: str, text: str) -> int | None:
    """A whole number, or nothing; amounts of money are of the smallest unit."""
    plain = text.strip()
    if not plain:
        return None
    if (count := read_whole(plain)) is None:
        raise UsageError("contract.bad_change", key=name, value=plain[:40], known="0, 1, 2, …")
    return count
