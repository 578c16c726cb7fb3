"""What is offered to whom, and what an agreement becomes: the protocol this connector needs, and ours behind it.

    offer_snapshot ─▶ Offer ─ negotiated ─▶ SignedAgreement ─ accept_agreement ─▶ grant ─ open_session ─▶ DataAddress

Start at `Contracts`; `LocalContracts` keeps offers beside the processes and states agreements in the log.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import Connection, Row, insert, or_, select, update

from malan.core.errors import NotFound, NotGranted, Rejected
from malan.core.ids import digest_bytes
from malan.ledger.statement import Input, Subject, urn
from malan.runtime.database import ensure_tables, reading, updating
from malan.services.dsp import words
from malan.services.dsp.policy import check_offer, id_of, target_of
from malan.services.dsp.tables import agreements, dump, load, metadata, now, offers
from malan.services.journal import Fact, record
from malan.services.uses import today

if TYPE_CHECKING:
    from malan.workspace import Workspace

AUTOMATIC, BY_HAND = "automatic", "by_hand"
SESSION_S = 3_600


@dataclass(frozen=True)
class Offer:
    """A dataset offered under terms. `manner` says whether an equal request is agreed to without a person."""

    offer_id: str
    dataset_id: str
    policy: Mapping[str, Any]  # with target
    title: str = ""
    snapshot_id: str | None = None
    formats: tuple[str, ...] = (words.COMPUTE_TO_DATA,)
    manner: str = BY_HAND
    party: str | None = None  # None: for everybody


@dataclass(frozen=True)
class SignedAgreement:
    """An agreement with one party; in force once it is finalized and until it has ended."""

    id: str
    role: str  # ours
    party: str
    dataset_id: str
    policy: Mapping[str, Any]
    negotiation: str = ""
    finalized: str | None = None
    grant_id: str | None = None
    ended: str | None = None

    @property
    def is_in_force(self) -> bool:
        return self.finalized is not None and self.ended is None


class Contracts(Protocol):
    """What the connector asks of whoever keeps offers, agreements and grants."""

    def offers_for(self, party: str) -> Sequence[Offer]:
        """What this party may see and ask for."""
        ...

    def offers_of(self, dataset_id: str, party: str) -> Sequence[Offer]:
        """The offers of one dataset to this party."""
        ...

    def formats_of(self, dataset_id: str) -> Sequence[str]:
        """How a dataset may be used under an agreement, also when it is offered no more."""
        ...

    def accept_agreement(self, agreement: SignedAgreement) -> str:
        """State a final agreement and give the grant; asked again, the same grant."""
        ...

    def check_agreement(self, agreement: SignedAgreement) -> None:
        """Raises:
        NotGranted: The agreement is not in force now.
        """
        ...

    def open_session(self, agreement: SignedAgreement, how: str, root: str, pid: str) -> Session:
        """Where and with which secret the other side uses what was agreed."""
        ...


@dataclass(frozen=True)
class Session:
    """An opened use: the address to tell the other side, and what is kept to recognise them."""

    data_address: Mapping[str, Any]
    kept: Mapping[str, Any]


class LocalContracts:
    """Offers and agreements in the workspace's database, grants stated in its log."""

    def __init__(self, ws: Workspace) -> None:
        self.ws = ws
        ensure_tables(ws.database, metadata)

    def offers_for(self, party: str) -> Sequence[Offer]:
        return self._offers(or_(offers.c.party.is_(None), offers.c.party == party), offers.c.withdrawn.is_(None))

    def offers_of(self, dataset_id: str, party: str) -> Sequence[Offer]:
        mine = or_(offers.c.party.is_(None), offers.c.party == party)
        return self._offers(offers.c.dataset_id == dataset_id, mine, offers.c.withdrawn.is_(None))

    def formats_of(self, dataset_id: str) -> Sequence[str]:
        found = self._offers(offers.c.dataset_id == dataset_id)
        return list(dict.fromkeys(one for offer in found for one in offer.formats))

    def accept_agreement(self, agreement: SignedAgreement) -> str:
        if agreement.grant_id:
            return agreement.grant_id
        self.check_agreement(agreement)
        digest = digest_bytes(dump(dict(agreement.policy)).encode())
        record(self.ws, _facts(agreement, digest, self._snapshot_of(agreement.dataset_id)))
        return f"G-{digest[:16]}"

    def check_agreement(self, agreement: SignedAgreement) -> None:
        if not agreement.is_in_force or not self._terms_hold(agreement):
            raise NotGranted("exchange.not_in_force", agreement=agreement.id[:100])

    def open_session(self, agreement: SignedAgreement, how: str, root: str, pid: str) -> Session:
        self.check_agreement(agreement)
        secret = secrets.token_urlsafe(32)
        address = {
            "@type": "DataAddress",
            "endpointType": how,
            "endpoint": f"{root}/data/{pid}",
            "endpointProperties": [
                {"@type": "EndpointProperty", "name": "authType", "value": "bearer"},
                {"@type": "EndpointProperty", "name": "authorization", "value": secret},
            ],
        }
        digest = hashlib.sha256(secret.encode()).hexdigest()
        return Session(address, {"secret_sha256": digest, "expires": int(time.time()) + SESSION_S, "format": how})

    def offer(self, offer: Offer) -> Offer:
        """Offer a dataset; the same offer again changes nothing.

        Raises:
            BadMessage: The policy is no offer of the protocol.
            Rejected: There is another offer of this id.
        """
        check_offer(offer.policy, "policy")
        known = self._offers(offers.c.offer_id == offer.offer_id)
        if known and known[0] != offer:
            raise Rejected("exchange.offer_exists", offer=offer.offer_id)
        if not known:
            with updating(self.ws.database) as connection:
                connection.execute(insert(offers).values(**_offer_row(offer)))
        return offer

    def all_offers(self) -> Sequence[Offer]:
        """Everything that is offered, to anybody."""
        return self._offers(offers.c.withdrawn.is_(None))

    def withdraw(self, offer_id: str) -> None:
        """Offer it no more; agreements made under it stay."""
        with updating(self.ws.database) as connection:
            connection.execute(update(offers).where(offers.c.offer_id == offer_id).values(withdrawn=now()))

    def _offers(self, *where: Any) -> list[Offer]:
        with reading(self.ws.database) as connection:
            rows = connection.execute(select(offers).where(*where).order_by(offers.c.dataset_id, offers.c.offer_id))
            return [_offer(row) for row in rows]

    def _terms_hold(self, agreement: SignedAgreement) -> bool:
        """Whether all footage is there, none taken back, and today lies within the period of its terms.

        What may be done with it, each use asks again.
        """
        from malan.services.market.deal import footage_of

        snapshot_id = self._snapshot_of(agreement.dataset_id) if agreement.role == words.PROVIDER else None
        if snapshot_id is None:
            return True
        try:
            terms = footage_of(self.ws, snapshot_id).terms.values()
        except (NotFound, Rejected):
            return False
        day = today().isoformat()
        return all((one.starts or day) <= day <= (one.ends or day) for one in terms)

    def _snapshot_of(self, dataset_id: str) -> str | None:
        return next((offer.snapshot_id for offer in self._offers(offers.c.dataset_id == dataset_id)), None)


def opens(kept: Mapping[str, Any], secret: str) -> bool:
    """Whether a secret is the one a session was opened with, and it has not run out."""
    digest = hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
    return hmac.compare_digest(digest, str(kept.get("secret_sha256", ""))) and time.time() < int(kept["expires"])


def add_agreement(connection: Connection, agreement: SignedAgreement) -> bool:
    """Keep an agreement; false when this party has another of the same id with us."""
    if read_agreement(connection, agreement.id, agreement.role, agreement.party) is not None:
        return False
    said = {name: getattr(agreement, name) for name in SignedAgreement.__dataclass_fields__}
    connection.execute(insert(agreements).values(**{**said, "policy": dump(dict(agreement.policy))}))
    return True


def read_agreement(connection: Connection, agreement_id: str, role: str, party: str) -> SignedAgreement | None:
    """An agreement with a party in which we have this role."""
    where = (agreements.c.id == agreement_id, agreements.c.role == role, agreements.c.party == party)
    row = connection.execute(select(agreements).where(*where)).one_or_none()
    return _agreement(row) if row else None


def change_agreement(connection: Connection, agreement: SignedAgreement, **values: Any) -> None:
    """Set what became of an agreement."""
    keys = (
        agreements.c.id == agreement.id,
        agreements.c.role == agreement.role,
        agreements.c.party == agreement.party,
    )
    connection.execute(update(agreements).where(*keys).values(**values))


def unstated_agreements(connection: Connection) -> list[SignedAgreement]:
    """Final agreements that have no grant yet: a run that was killed left them."""
    where = (agreements.c.finalized.is_not(None), agreements.c.grant_id.is_(None), agreements.c.ended.is_(None))
    return [_agreement(row) for row in connection.execute(select(agreements).where(*where))]


def _facts(agreement: SignedAgreement, digest: str, snapshot_id: str | None) -> list[Fact]:
    """The agreement as events: signed, and what it grants. Names and terms go in as commitments only."""
    inputs = (Input(urn("snapshot", snapshot_id), snapshot_id, "about"),) if snapshot_id else ()
    subject = Subject(urn("contract", digest), digest)
    policy = dict(agreement.policy)
    rules = digest_bytes(json.dumps({k: policy[k] for k in sorted(policy) if not k.startswith("@")}).encode())
    private = {"id": json.dumps(agreement.id), "party": json.dumps(agreement.party), "policy": json.dumps(policy)}
    signed = Fact("contract.sign", (subject,), "contract.sign", inputs, {"terms": rules}, private)
    if agreement.role != words.PROVIDER:
        return [signed]
    about = (Input(subject.urn, digest, "about"), *inputs)
    grant = Subject(urn("grant", f"G-{digest[:16]}"), digest)
    return [signed, Fact("access.grant", (grant,), "contract.grant", about, {"use": _uses(policy)})]


def _uses(policy: Mapping[str, Any]) -> str:
    """The actions that are permitted, as they stand."""
    rules = policy.get("permission") or []
    listed = rules if isinstance(rules, list) else [rules]
    actions = (one.get("action") for one in listed)
    return ",".join(sorted(str(one.get("@id") if isinstance(one, dict) else one) for one in actions))[:200] or "none"


def _offer(row: Row[Any]) -> Offer:
    formats = tuple(load(row.formats))
    return Offer(
        row.offer_id, row.dataset_id, load(row.policy), row.title, row.snapshot_id, formats, row.manner, row.party
    )


def _offer_row(offer: Offer) -> dict[str, Any]:
    said = {name: getattr(offer, name) for name in Offer.__dataclass_fields__}
    said |= {"policy": dump(dict(offer.policy)), "formats": dump(list(offer.formats)), "offered": now()}
    if offer.offer_id != id_of(offer.policy) or offer.dataset_id != target_of(offer.policy):
        raise Rejected("exchange.offer_exists", offer=offer.offer_id)
    return said


def _agreement(row: Row[Any]) -> SignedAgreement:
    said = dict(row._mapping)
    return SignedAgreement(**{**said, "policy": load(said["policy"]), "negotiation": said["negotiation"] or ""})
