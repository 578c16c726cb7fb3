"""Contracts: an order for a product, the terms that go back and forth, the agreement, and its signatures.

    order ─▶ counter … accept ─▶ agreed: one document ─ sign, by every owner and the buyer ─▶ Grant, in the log

What may happen when is one table (`rights.bargain`). Every step is checked against the footage as it stands that day,
and whoever is not a party finds nothing. Parties act by id; None is whoever runs this workspace, for the owners, never
for the buyer. Start at `order_product`; `contract_lookup` finds contracts, `grants` and `signing` do what follows.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from malan.core import Terms
from malan.core.errors import NotFound, ProofError, Rejected, RetryLater, UsageError
from malan.ledger.envelope import public_key_of
from malan.rights import bargain as table
from malan.rights.agreement import PROTOCOL, Agreement, Signatory, SignedAgreement
from malan.rights.agreement import SIGNED as SIGNED_BY_ALL
from malan.rights.bargain import AGREED, SIGNED, step
from malan.rights.terms import LIMITS, read_terms
from malan.runtime.database import add_new, reading, writing
from malan.services.access import HOUSE, Caller
from malan.services.accounts.acting import acting, party_of
from malan.services.footage.owners import owner_name, owner_names, remember_owner, remember_terms
from malan.services.journal import owner_key
from malan.services.market.contract_lookup import get_contract
from malan.services.market.contract_rows import (
    Contract,
    contract_row,
    lock_contract,
    note_step,
    now,
    read_contract,
    save_step,
    update_contract,
)
from malan.services.market.deal import Footage, check_deal, footage_of
from malan.services.market.grants import complete_grants, grant_row
from malan.services.market.products import OFFERED, Price, Product, find_product
from malan.services.market.signing import party_key, signing_key
from malan.services.market.tables import CONTRACTS, GRANTS, SIGNATURES, market

if TYPE_CHECKING:
    from malan.workspace import Workspace

__all__ = [
    "Changes",
    "Contract",
    "accept_agreement",
    "accept_contract",
    "add_signatures",
    "counter_contract",
    "order_product",
    "refuse_contract",
    "sign_contract",
]


MOST_OPEN = 200  # orders of one buyer that wait for somebody
_OPEN = (table.ORDERED, table.COUNTERED, AGREED)


@dataclass(frozen=True)
class Changes:
    """What an order or counter-offer asks to be otherwise; None leaves a thing as it is."""

    terms: Terms | None = None  # put in the place of all
    price: Price | None = None
    starts: str | None = None
    ends: str | None = None
    limits: Mapping[str, int] = field(default_factory=dict)
    uses: tuple[str, ...] = ()
    purposes: tuple[str, ...] = ()

    def apply(self, terms: Terms) -> Terms:
        """The terms with these changes.

        Raises:
            UsageError: A change is impossible: an end before the start, an unknown use or limit, a negative amount.
        """
        changed = self.terms or terms
        said: dict[str, Any] = {"uses": list(self.uses or changed.uses), "limits": {**changed.limits, **self.limits}}
        if set(said["limits"]) - set(LIMITS):
            key = min(set(said["limits"]) - set(LIMITS))
            raise UsageError("contract.bad_change", key=key, value=said["limits"][key], known=", ".join(LIMITS))
        said |= {day: given for day in ("starts", "ends") if (given := getattr(self, day) or getattr(changed, day))}
        if self.purposes:
            said["purposes"] = list(self.purposes)
        checked = read_terms(said, "-", changed.name, changed.name)  # the terms keep their owner
        price = self.price or Price(changed.price_minor, changed.currency, changed.price_per)
        return replace(
            changed,
            uses=checked.uses,
            starts=checked.starts,
            ends=checked.ends,
            limits=dict(checked.limits),
            purposes=checked.purposes if self.purposes else changed.purposes,
            price_minor=price.minor,
            currency=price.currency,
            price_per=price.per,
            owner_id=terms.owner_id,
            recipients=terms.recipients,
        )


def order_product(
    ws: Workspace,
    product: str,
    buyer: str,
    *,
    changes: Changes | None = None,
    key_id: str | None = None,
    caller: Caller = HOUSE,
) -> Contract:
    """Order a product, as it is offered or with other wishes. The owners answer; an automatic one is agreed at once.

    Args:
        product: Id, or title.
        buyer: Name of the buyer.
        changes: What should be otherwise than offered.
        key_id: Public key of a buyer who signs outside; without one, a key is made here.
        caller: Who acts; unless it is an operator, it must be the buyer.

    Raises:
        NotFound: The product is not offered to this buyer.
        Rejected: It is the buyer's own, or the wishes go beyond what the owners' terms allow.
        UsageError: A wish is impossible.
        RetryLater: The buyer has `MOST_OPEN` orders open.
    """
    party = acting(caller, "order")
    if party not in (None, party_of(ws, buyer)):
        raise NotFound("product.none", id=product[:40])
    buyer_id = party_of(ws, buyer)
    found = find_product(ws, product, buyer_id)
    if buyer_id != buyer.strip():
        remember_owner(ws, buyer)
    if buyer_id in found.owner_ids:
        raise Rejected("contract.own", party=owner_name(ws, buyer_id))
    if found.state != OFFERED:
        raise Rejected("product.not_offered", id=found.id[:12], state=found.state)
    asked = (changes or Changes()).apply(found.terms)
    asked = replace(asked, recipients=(buyer_id,))
    footage = _possible(ws, found.snapshot_id, asked, found.owner_ids)
    begun = table.opened(buyer_id, found.owner_ids, remember_terms(ws, asked))
    signatory = Signatory(buyer_id, owner_name(ws, buyer_id), _buyer_key(ws, buyer_id, key_id, found))
    contract = Contract(_number(), found.id, found.snapshot_id, signatory, begun, asked, 1, None, now(), now())
    if found.automatic and asked == replace(found.terms, recipients=(buyer_id,)):
        agreed = replace(begun, state=AGREED, accepted=begun.parties)
        contract = _with_agreement(ws, replace(contract, bargain=agreed), footage)
    with writing(market(ws)) as connection:
        still_open = (CONTRACTS.c.buyer_id == buyer_id, CONTRACTS.c.state.in_(_OPEN))
        if (connection.scalar(select(func.count()).select_from(CONTRACTS).where(*still_open)) or 0) >= MOST_OPEN:
            raise RetryLater("contract.too_many", buyer=signatory.name, most=MOST_OPEN)
        connection.execute(CONTRACTS.insert().values(**contract_row(contract)))
        note_step(connection, contract, "order", buyer_id)
    return contract


def counter_contract(ws: Workspace, number: str, changes: Changes, *, caller: Caller = HOUSE) -> Contract:
    """Put other terms on the table. Whatever was accepted before is open again.

    Raises:
        NotFound: There is no such contract of the caller's.
        UsageError: It changes nothing, is impossible, or nobody said who acts.
        Rejected: Not now; or the terms go beyond the owners'.
    """
    party = acting(caller, "sign")
    contract = get_contract(ws, number, caller=caller)
    who = _one_party(ws, contract, party)
    asked = changes.apply(contract.terms)
    if asked == contract.terms:
        raise UsageError("contract.no_change")
    after = step(contract.bargain, table.COUNTER, who, asked.id)
    _possible(ws, contract.snapshot_id, asked, contract.bargain.owner_ids)
    remember_terms(ws, asked)
    return save_step(ws, replace(contract, bargain=after, terms=asked), table.COUNTER, who)


def accept_contract(ws: Workspace, number: str, *, caller: Caller = HOUSE) -> Contract:
    """Accept what lies on the table; once everybody does, it becomes the agreement to sign.

    An operator accepts for all owners who are still waited for.

    Raises:
        NotFound: There is no such contract of the caller's.
        Rejected: Not now; or the footage or its terms do not allow it any more.
    """
    party = acting(caller, "sign")
    contract = get_contract(ws, number, caller=caller)
    owners = [one for one in contract.bargain.waits_for if one != contract.buyer.id]
    actors = [party] if party else owners or contract.bargain.owner_ids[:1]
    step(contract.bargain, table.ACCEPT, actors[0])
    footage = _possible(ws, contract.snapshot_id, contract.terms, contract.bargain.owner_ids)
    for who in actors:
        after = step(contract.bargain, table.ACCEPT, who)
        contract = replace(contract, bargain=after)
        if after.state == AGREED:
            contract = _with_agreement(ws, contract, footage)
        contract = save_step(ws, contract, table.ACCEPT, who)
    return contract


def refuse_contract(ws: Workspace, number: str, reason: str = "", *, caller: Caller = HOUSE) -> Contract:
    """End it before it is signed: the owners refuse, or the buyer takes the order back.

    Raises:
        NotFound: There is no such contract of the caller's.
        Rejected: It is signed or over.
        UsageError: Nobody said who acts.
    """
    party = acting(caller, "sign")
    contract = get_contract(ws, number, caller=caller)
    who = _one_party(ws, contract, party)
    after = step(contract.bargain, table.REFUSE, who)
    return save_step(ws, replace(contract, bargain=after), table.REFUSE, who, reason)


def sign_contract(ws: Workspace, number: str, *, caller: Caller = HOUSE) -> Contract:
    """Sign the agreement with the keys that are here; the last signature gives the grant. Signing twice does no harm.

    An operator signs for every owner.

    Raises:
        NotFound: There is no such contract of the caller's.
        Rejected: Nothing is agreed yet, the key is elsewhere, or the footage or terms do not allow it any more.
    """
    party = acting(caller, "sign")
    contract = _to_sign(ws, number, caller)
    if contract.agreement is None or contract.state != AGREED:
        return contract
    document = contract.agreement.agreement
    keys = {who: signing_key(ws, document, who) for who in ([party] if party else contract.bargain.owner_ids)}
    return _add(ws, contract, {who: key.sign(document.to_bytes()) for who, key in keys.items()})


def add_signatures(ws: Workspace, data: bytes, *, caller: Caller = HOUSE) -> Contract:
    """Take in the file of a contract that others have signed outside. The same again changes nothing.

    Raises:
        ProofError: It is not the agreement of that contract, byte for byte, or a signature in it does not hold.
        NotFound: There is no such contract of the caller's.
        Rejected: It was refused, or the footage or terms do not allow it any more.
    """
    signed = SignedAgreement.from_bundle(data)
    contract = _to_sign(ws, signed.agreement.number, caller)
    if contract.agreement is None or contract.agreement.agreement.id != signed.agreement.id:
        raise ProofError("contract.other_agreement", number=contract.number)
    if contract.state != AGREED:
        return contract
    return _add(ws, contract, signed.signatures)


def accept_agreement(ws: Workspace, product: Product, buyer: str, evidence: str) -> str:
    """The grant of a buyer who agreed to a product in messages of a protocol; asked again, the same grant.

    Args:
        ws: Where.
        product: What was agreed on, as it is offered.
        buyer: Name of the buyer in the protocol.
        evidence: Digest of the agreement there; the document signed by the owners names it.

    Raises:
        Rejected: The footage or its terms do not allow it any more.
    """
    number, buyer_id = evidence[:16], remember_owner(ws, buyer)
    with reading(market(ws)) as connection:
        known = connection.scalar(select(GRANTS.c.id).where(GRANTS.c.number == number))
    if known is None:
        terms = replace(product.terms, recipients=(buyer_id,))
        footage = _possible(ws, product.snapshot_id, terms, product.owner_ids)
        begun = table.opened(buyer_id, product.owner_ids, remember_terms(ws, terms))
        done = replace(begun, state=SIGNED, accepted=begun.parties)
        buyer_signs = Signatory(buyer_id, owner_name(ws, buyer_id), "")
        contract = Contract(number, product.id, product.snapshot_id, buyer_signs, done, terms, 1, None, now(), now())
        contract = _with_agreement(ws, contract, footage, evidence)
        known = _keep_agreed(ws, contract, sorted(footage.assets))
    complete_grants(ws)
    return str(known)


def _possible(ws: Workspace, snapshot_id: str, terms: Terms, owner_ids: Sequence[str]) -> Footage:
    """The footage, if every owner of it is at the table and their terms allow this today."""
    footage = footage_of(ws, snapshot_id)
    if set(footage.owner_ids) != set(owner_ids):
        raise Rejected("contract.looser", conditions="owners")
    check_deal(ws, footage, terms)
    return footage


def _with_agreement(ws: Workspace, contract: Contract, footage: Footage, evidence: str | None = None) -> Contract:
    """The contract with the document that everybody will sign."""
    names = owner_names(ws)
    owners = [Signatory(one, names.get(one, one), owner_key(ws, one).key_id) for one in contract.bargain.owner_ids]
    agreement = Agreement.draft(
        number=contract.number,
        made=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        owners=tuple(owners),
        buyer=contract.buyer,
        snapshot_id=contract.snapshot_id,
        clips=len(footage.manifest.entries),
        footage=footage.seconds,
        terms=contract.terms,
        form=PROTOCOL if evidence else SIGNED_BY_ALL,
        evidence=evidence,
    )
    return replace(contract, agreement=SignedAgreement(agreement))


def _keep_agreed(ws: Workspace, contract: Contract, asset_ids: Sequence[str]) -> str:
    """Write an agreement of a protocol, signed by the owners; the id of its grant. Of two at once, one is written."""
    if contract.agreement is None:
        raise ProofError("contract.changed", number=contract.number)
    document = contract.agreement.agreement
    signatures = {one: signing_key(ws, document, one).sign(document.to_bytes()) for one in contract.bargain.owner_ids}
    with writing(market(ws), durable=True) as connection:
        if not add_new(connection, CONTRACTS, contract_row(contract)):
            return str(connection.scalar(select(GRANTS.c.id).where(GRANTS.c.number == contract.number)))
        for party_id, signature in signatures.items():
            row = {"agreement_id": document.id, "party_id": party_id, "signature": signature, "at": now()}
            add_new(connection, SIGNATURES, row)
        add_new(connection, GRANTS, grant_row(document, asset_ids))
        note_step(connection, contract, "order", contract.buyer.id)
    return document.id


def _to_sign(ws: Workspace, number: str, caller: Caller) -> Contract:
    """A contract that can be signed now, or was signed before."""
    contract = get_contract(ws, number, caller=caller)
    if contract.state in (SIGNED, table.REVOKED):
        complete_grants(ws)
        return contract
    if contract.state != AGREED:
        raise Rejected("contract.not_agreed", number=contract.number, state=contract.state)
    _possible(ws, contract.snapshot_id, contract.terms, contract.bargain.owner_ids)
    return contract


def _add(ws: Workspace, contract: Contract, signatures: Mapping[str, bytes]) -> Contract:
    """Keep signatures; whoever adds the last one makes the grant, in one transaction with it."""
    if contract.agreement is None:
        raise ProofError("contract.changed", number=contract.number)
    SignedAgreement(contract.agreement.agreement, signatures).check()
    asset_ids = sorted(footage_of(ws, contract.snapshot_id).assets)
    with writing(market(ws), durable=True) as connection:
        row = lock_contract(connection, contract.number)
        stands = read_contract(ws, connection, row)
        if stands.agreement is None or stands.agreement.agreement.id != contract.agreement.agreement.id:
            raise RetryLater("contract.busy", number=contract.number)
        document, held = stands.agreement.agreement, dict(stands.agreement.signatures)
        for party_id, signature in signatures.items():
            if party_id in held or stands.state != AGREED:
                continue
            held[party_id] = signature
            row_kept = {"agreement_id": document.id, "party_id": party_id, "signature": signature, "at": now()}
            add_new(connection, SIGNATURES, row_kept)
            after = step(stands.bargain, table.SIGN, party_id)
            signed = SignedAgreement(document, dict(held))
            stands = replace(stands, bargain=after, agreement=signed, turn=stands.turn + 1, changed=now())
            update_contract(connection, stands)
            note_step(connection, stands, table.SIGN, party_id)
        if stands.state == SIGNED:
            add_new(connection, GRANTS, grant_row(document, asset_ids))
    complete_grants(ws)
    return stands


def _one_party(ws: Workspace, contract: Contract, party: str | None) -> str:
    """Who acts; without a party, the only owner there is."""
    owners = contract.bargain.owner_ids
    if party is None and len(owners) > 1:
        raise UsageError("contract.not_party", parties=", ".join(owner_name(ws, one) for one in owners))
    return party or owners[0]


def _buyer_key(ws: Workspace, buyer_id: str, key_id: str | None, product: Product) -> str:
    if key_id is None:
        return party_key(ws, buyer_id).key_id
    public_key_of(key_id)
    if key_id in {owner_key(ws, owner_id).key_id for owner_id in product.owner_ids}:
        raise Rejected("contract.key_taken")
    return key_id


def _number() -> str:
    """A number nobody can guess; the beginning of it is enough to name a contract."""
    return secrets.token_hex(8)
