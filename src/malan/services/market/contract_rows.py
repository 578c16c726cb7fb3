"""Contracts as rows: read, locked, changed step by step. Decides nothing; `contracts` does. Start at `Contract`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, select, update

from malan.core import Terms
from malan.core.errors import MalanError, NotFound, ProofError, RetryLater
from malan.rights import bargain as table
from malan.rights.agreement import Agreement, Signatory, SignedAgreement
from malan.rights.bargain import SIGNED, Bargain
from malan.runtime.database import writing
from malan.services.footage.owners import owner_name, terms_of
from malan.services.market.tables import CONTRACTS, SIGNATURES, STEPS, dump, load, market

if TYPE_CHECKING:
    from malan.workspace import Workspace


@dataclass(frozen=True)
class Contract:
    """A contract as it stands."""

    number: str
    product_id: str
    snapshot_id: str
    buyer: Signatory
    bargain: Bargain
    terms: Terms
    turn: int
    agreement: SignedAgreement | None
    opened: str
    changed: str

    @property
    def state(self) -> str:
        return self.bargain.state

    @property
    def grant_id(self) -> str | None:
        """The grant it became, revoked or not."""
        is_granted = self.agreement is not None and self.state in (SIGNED, table.REVOKED)
        return self.agreement.agreement.id if is_granted and self.agreement else None


@dataclass(frozen=True)
class Damaged:
    """What is left of a contract whose row does not hold together any more."""

    number: str
    product_id: str
    snapshot_id: str
    buyer_id: str
    opened: str
    problem: MalanError


def read_or_damaged(ws: Workspace, connection: Connection, row: Row[Any]) -> Contract | Damaged:
    """A contract from its row; one that was changed where it is stored must not hide the others."""
    try:
        return read_contract(ws, connection, row)
    except (ProofError, NotFound) as error:
        return Damaged(row.number, row.product_id, row.snapshot_id, row.buyer_id, row.opened, error)


def read_contract(ws: Workspace, connection: Connection, row: Row[Any]) -> Contract:
    """A contract from its row, with the agreement and signatures it has.

    Raises:
        ProofError: The agreement or terms were changed where they are stored.
    """
    try:
        return _read_contract(ws, connection, row)
    except ValueError:  # a list that is no JSON
        raise ProofError("contract.changed", number=row.number) from None


def _read_contract(ws: Workspace, connection: Connection, row: Row[Any]) -> Contract:
    signed = None
    if row.agreement is not None:
        agreement = Agreement.parse(row.agreement)
        found = connection.execute(select(SIGNATURES).where(SIGNATURES.c.agreement_id == agreement.id)).all()
        signed = SignedAgreement(agreement, {one.party_id: one.signature for one in found})
        _check_same(row, signed)
    bargain = Bargain(
        row.buyer_id,
        load(row.owner_ids),
        row.terms_id,
        row.state,
        frozenset(load(row.accepted)),
        frozenset(signed.signatures if signed else ()),
    )
    terms = signed.agreement.terms if signed else terms_of(ws, row.terms_id)
    buyer = Signatory(row.buyer_id, owner_name(ws, row.buyer_id), row.buyer_key)
    return Contract(
        row.number, row.product_id, row.snapshot_id, buyer, bargain, terms, row.turn, signed, row.opened, row.changed
    )


def _check_same(row: Row[Any], signed: SignedAgreement) -> None:
    """Raises:
    ProofError: The agreement is not that of this row, or a signed one has lost a signature.
    """
    agreement = signed.agreement
    is_same = (agreement.number, agreement.snapshot_id, agreement.buyer.id) == (
        row.number,
        row.snapshot_id,
        row.buyer_id,
    )
    if not is_same or (row.state in (SIGNED, table.REVOKED) and signed.missing):
        raise ProofError("contract.changed", number=row.number)


def lock_contract(connection: Connection, number: str) -> Row[Any]:
    """The row of a contract, which nobody else changes until the transaction ends."""
    return connection.execute(select(CONTRACTS).where(CONTRACTS.c.number == number).with_for_update()).one()


def save_step(ws: Workspace, contract: Contract, action: str, who: str, reason: str = "") -> Contract:
    """Write a step, unless somebody else made one meanwhile."""
    saved = replace(contract, turn=contract.turn + 1, changed=now())
    with writing(market(ws)) as connection:
        if lock_contract(connection, contract.number).turn != contract.turn:
            raise RetryLater("contract.busy", number=contract.number)
        update_contract(connection, saved)
        note_step(connection, saved, action, who, reason)
    return saved


def update_contract(connection: Connection, contract: Contract) -> None:
    """Write a contract whose row is locked."""
    row = contract_row(contract)
    number = row.pop("number")
    connection.execute(update(CONTRACTS).where(CONTRACTS.c.number == number).values(**row))


def note_step(connection: Connection, contract: Contract, action: str, who: str, reason: str = "") -> None:
    """Add a step to the history, which nobody changes."""
    row = {"number": contract.number, "turn": contract.turn, "action": action, "party_id": who}
    row |= {"terms_id": contract.terms.id, "reason": " ".join(reason.split())[:500], "at": contract.changed}
    connection.execute(STEPS.insert().values(**row))


def is_party(row: Row[Any], party: str | None) -> bool:
    """Whether a contract is a party's; None sees all."""
    if party is None or party == row.buyer_id:
        return True
    try:
        return party in load(row.owner_ids)
    except ValueError:
        return False


def contract_row(contract: Contract) -> dict[str, Any]:
    """A contract as a row."""
    return {
        "number": contract.number,
        "product_id": contract.product_id,
        "snapshot_id": contract.snapshot_id,
        "owner_ids": dump(contract.bargain.owner_ids),
        "buyer_id": contract.buyer.id,
        "buyer_key": contract.buyer.key,
        "terms_id": contract.bargain.terms_id,
        "state": contract.state,
        "accepted": dump(contract.bargain.accepted),
        "turn": contract.turn,
        "agreement": contract.agreement.agreement.to_bytes() if contract.agreement else None,
        "opened": contract.opened,
        "changed": contract.changed,
    }


def now() -> str:
    """Now in UTC, as it stands in records."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
