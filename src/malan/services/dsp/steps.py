"""What the messages of a negotiation do: what theirs bring with them, what ours say and leave behind.

Called by `flow` under the lock of the process. Start at `EFFECTS` and `ACTS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from malan.core.errors import StoreError
from malan.core.uuid7 import uuid7
from malan.services.dsp import words
from malan.services.dsp.contracts import SignedAgreement, add_agreement, change_agreement, read_agreement
from malan.services.dsp.errors import BadMessage
from malan.services.dsp.flow import Act, Effect, Exchange
from malan.services.dsp.policy import check_offer, id_of, target_of
from malan.services.dsp.read import Message
from malan.services.dsp.tables import Process, now
from malan.services.dsp.write import agreement_of

# What a message of theirs brings with it.


def _take_offer(_ex: Exchange, _connection: Connection, process: Process, said: Message) -> Mapping[str, Any]:
    if target_of(said.offer) != process.subject:
        raise BadMessage("exchange.bad_message", detail="offer.target")
    return {"offer": dict(said.offer)}


def _take_agreement(_ex: Exchange, connection: Connection, process: Process, said: Message) -> Mapping[str, Any]:
    policy = dict(said.agreement)
    if target_of(policy) != process.subject:
        raise BadMessage("exchange.bad_message", detail="agreement.target")
    signed = SignedAgreement(
        id_of(policy), words.CONSUMER, process.party, process.subject, policy, negotiation=process.pid
    )
    if not add_agreement(connection, signed):
        raise BadMessage("exchange.bad_message", detail="agreement.@id")
    return {"agreement": policy}


def _take_final(_ex: Exchange, connection: Connection, process: Process, _said: Message) -> Mapping[str, Any]:
    _finish(connection, process, finalized=now())
    return {}


def _take_end(_ex: Exchange, connection: Connection, process: Process, said: Message) -> Mapping[str, Any]:
    _finish(connection, process, ended=now())
    return {"ended_by": process.party, "code": said.code}


EFFECTS: Mapping[str, Effect] = {
    words.CONTRACT_REQUEST: _take_offer,
    words.CONTRACT_OFFER: _take_offer,
    words.CONTRACT_AGREEMENT: _take_agreement,
    words.CONTRACT_FINALIZED: _take_final,
    words.CONTRACT_TERMINATION: _take_end,
}


# What our acts say.

Said = tuple[dict[str, Any], dict[str, Any]]  # fields of the message, what is kept


def _make_offer(ex: Exchange, _connection: Connection, process: Process, given: Mapping[str, Any]) -> Said:
    published = ex.contracts.offers_of(process.subject, process.party)
    wanted = id_of(process.details["offer"])
    chosen = given.get("offer") or next(
        (each.policy for each in published if each.offer_id == wanted), process.details["offer"]
    )
    policy = {**chosen, "@type": "Offer", "target": process.subject}
    policy |= {"assigner": ex.participant, "assignee": process.party}
    check_offer(policy, "offer")
    return {"offer": policy}, {"offer": policy}


def _make_counter(_ex: Exchange, _connection: Connection, process: Process, given: Mapping[str, Any]) -> Said:
    policy = {**(given.get("offer") or process.details["offer"]), "@type": "Offer", "target": process.subject}
    check_offer(policy, "offer")
    return {"offer": policy}, {"offer": policy, "asked": policy}


def _make_agreement(ex: Exchange, connection: Connection, process: Process, _given: Mapping[str, Any]) -> Said:
    policy = agreement_of(
        process.details["offer"],
        f"urn:uuid:{uuid7()}",
        assigner=ex.participant,
        assignee=process.party,
        timestamp=now(),
    )
    signed = SignedAgreement(
        policy["@id"], words.PROVIDER, process.party, process.subject, policy, negotiation=process.pid
    )
    if not add_agreement(connection, signed):
        raise StoreError("exchange.defect")
    return {"agreement": policy}, {"agreement": policy}


def _make_final(_ex: Exchange, connection: Connection, process: Process, _given: Mapping[str, Any]) -> Said:
    _finish(connection, process, finalized=now())
    return {}, {}


def _make_end(ex: Exchange, connection: Connection, process: Process, given: Mapping[str, Any]) -> Said:
    _finish(connection, process, ended=now())
    said = {"code": given.get("code", "ended"), "reason": given.get("reason")}
    return said, {"ended_by": ex.participant, "code": said["code"]}


def _nothing(_ex: Exchange, _connection: Connection, _process: Process, _given: Mapping[str, Any]) -> Said:
    return {}, {}


ACTS: Mapping[str, Act] = {
    "offer": Act(words.CONTRACT_OFFER, "{pid}/offers", _make_offer),
    "agree": Act(words.CONTRACT_AGREEMENT, "{pid}/agreement", _make_agreement),
    "finalize": Act(words.CONTRACT_FINALIZED, "{pid}/events", _make_final),
    "counter": Act(words.CONTRACT_REQUEST, "{pid}/request", _make_counter),
    "accept": Act(words.CONTRACT_ACCEPTED, "{pid}/events", _nothing),
    "verify": Act(words.CONTRACT_VERIFICATION, "{pid}/agreement/verification", _nothing),
    "terminate": Act(words.CONTRACT_TERMINATION, "{pid}/termination", _make_end),
}


def _finish(connection: Connection, process: Process, **values: Any) -> None:
    """Set what became of the agreement of a negotiation, if there is one."""
    policy = process.details.get("agreement")
    if policy:
        signed = read_agreement(connection, id_of(policy), process.role, process.party)
        if signed:
            change_agreement(connection, signed, **values)
