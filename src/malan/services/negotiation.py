"""Contract negotiation with other organisations, in both roles, from a request or an offer to an agreement in force.

    consumer  request ─▶        ◀─ offer       accept ─▶        ◀─ agreement    verify ─▶      ◀─ finalized
    provider  ◀─ request        offer ─▶       ◀─ accepted      agree ─▶        ◀─ verified    finalize ─▶

What was negotiated by an equal of a published offer goes on by itself where the owner said `automatic`; everything else
waits for a person. Start at `open_exchange`, `request_contract` and `negotiate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, and_, or_, select

from malan.core.errors import NotFound, StoreError, UsageError
from malan.core.ids import digest_bytes
from malan.core.uuid7 import uuid7
from malan.runtime.database import ensure_tables, reading, updating
from malan.services import transfers
from malan.services.dsp import words
from malan.services.dsp.contracts import (
    AUTOMATIC,
    Contracts,
    LocalContracts,
    Offer,
    SignedAgreement,
    add_agreement,
    change_agreement,
    read_agreement,
    unstated_agreements,
)
from malan.services.dsp.errors import BadMessage, BadTransition
from malan.services.dsp.flow import (
    Act,
    Exchange,
    act,
    begin,
    participant_of,
    read_settings_of,
    receive,
    receive_first,
    show,
)
from malan.services.dsp.outbox import PAUSES_S, send_again
from malan.services.dsp.policy import check_offer, from_terms, id_of, same_rules, target_of
from malan.services.dsp.read import Message
from malan.services.dsp.tables import (
    Process,
    lock_process,
    metadata,
    new_process,
    now,
    processes,
    read_process,
    save_process,
)
from malan.services.dsp.words import NEGOTIATION
from malan.services.dsp.write import agreement_of, reasons_of
from malan.services.parties import terms_of

if TYPE_CHECKING:
    from malan.workspace import Workspace

__all__ = [
    "ACTS",
    "Exchange",
    "list_processes",
    "negotiate",
    "offer_contract",
    "offer_snapshot",
    "open_exchange",
    "receive_message",
    "receive_offer",
    "receive_request",
    "request_contract",
    "show_negotiation",
]


def open_exchange(
    ws: Workspace,
    base: str,
    *,
    contracts: Contracts | None = None,
    pauses_s: Sequence[float] = PAUSES_S,
    participant: str = "",
) -> Exchange:
    """The connector of a workspace; it answers, and sends once `sender.start()` was called.

    Args:
        ws: Whose.
        base: Where the server is reached, such as `http://127.0.0.1:8600`; `address` in the settings wins.
        contracts: Who keeps offers and grants; the workspace's own when not given.
        pauses_s: Between tries to send.
        participant: Our id; as set, or made from the log's name, when not given.

    Raises:
        UsageError: `exchange.toml` says something unknown or impossible.
    """
    ensure_tables(ws.database, metadata)
    file = read_settings_of(ws)
    settings = file.read()
    name = participant or participant_of(ws, settings)
    ws.keys.start()
    return Exchange(
        ws=ws,
        participant=name,
        key=lambda: ws.keys.actor("operator"),
        root=settings.address or f"{base.rstrip('/')}{words.ROOT}",
        settings=file.read,
        contracts=contracts or LocalContracts(ws),
        watchers=[behave],
        effects={**_EFFECTS, **transfers.EFFECTS},
        chores=[go_on],
        pauses_s=pauses_s,
    )


def was_used(ws: Workspace) -> bool:
    """Whether anything was ever exchanged here; makes nothing."""
    if not ws.settings.database and not (ws.root / "malan.db").is_file():
        return False
    from sqlalchemy import inspect

    return inspect(ws.database).has_table(processes.name)


def offer_snapshot(
    ws: Workspace,
    snapshot: str,
    policy: Mapping[str, Any] | None = None,
    *,
    title: str = "",
    formats: Sequence[str] = (words.COMPUTE_TO_DATA,),
    manner: str = AUTOMATIC,
    party: str | None = None,
) -> Offer:
    """Offer a snapshot to others under a policy; the same again is the same offer.

    Args:
        ws: Where it lies.
        snapshot: Its name or id.
        policy: Rules in ODRL (`permission`, `prohibition`, `obligation`); id and target are set here. The terms of
            its footage when not given, which must then be the same for all of it.
        title: What others read; the snapshot's name when not given.
        formats: How it may be used: compute to data, and `HttpData-PULL` where samples may leave.
        manner: `automatic`: whoever asks for exactly this gets it; `by_hand`: a person decides.
        party: Only for this participant.

    Raises:
        UsageError: Several terms hold for the footage, or they cannot be said in ODRL.
        BadMessage: The policy is no offer of the protocol.
    """
    from malan.services.datasets import show_snapshot

    saved, _ = show_snapshot(ws, snapshot)
    found = saved.snapshot
    dataset_id = f"urn:malan:snapshot:{found.id}"
    if policy is None:
        if len(found.terms_ids) != 1:
            raise UsageError("exchange.several_terms", snapshot=found.name, count=len(found.terms_ids))
        policy = from_terms(terms_of(ws, found.terms_ids[0]), dataset_id)
    rules = {key: value for key, value in policy.items() if not key.startswith("@") and key != "target"}
    whole = {"@id": "-", "@type": "Offer", "target": dataset_id, **rules}
    check_offer(whole, "policy")
    digest = digest_bytes(repr((sorted(whole.items()), party, tuple(formats), manner)).encode())
    whole["@id"] = f"urn:malan:offer:{digest[:32]}"
    offer = Offer(whole["@id"], dataset_id, whole, title or found.name, found.id, tuple(formats), manner, party)
    return LocalContracts(ws).offer(offer)


# What the other side sends.


def receive_request(ex: Exchange, party: str, said: Message) -> tuple[Process, bool]:
    """A first ContractRequestMessage: the negotiation it begins, and whether it is new.

    Raises:
        BadMessage: Nothing is offered under this id to this party, or the callback must not be called.
    """
    if not said.callback:
        raise BadMessage("exchange.bad_message", detail="callbackAddress")
    ex.addresses().check(said.callback)
    dataset_id = target_of(said.offer)
    if not ex.contracts.offers_of(dataset_id, party):
        raise BadMessage("exchange.not_offered", dataset=dataset_id[:200])
    process = new_process(
        words.NEGOTIATION_KIND,
        words.PROVIDER,
        party,
        said.callback,
        dataset_id,
        words.REQUESTED,
        peer_pid=said.consumer_pid,
        offer=dict(said.offer),
        first_sha256=said.sha256,
    )
    return receive_first(ex, process, said)


def receive_offer(ex: Exchange, party: str, said: Message) -> tuple[Process, bool]:
    """A first ContractOfferMessage, which a provider sends unasked: the negotiation it begins, and whether it is new.

    Raises:
        BadMessage: The callback must not be called.
    """
    if not said.callback:
        raise BadMessage("exchange.bad_message", detail="callbackAddress")
    ex.addresses().check(said.callback)
    process = new_process(
        words.NEGOTIATION_KIND,
        words.CONSUMER,
        party,
        said.callback,
        target_of(said.offer),
        words.OFFERED,
        peer_pid=said.provider_pid,
        offer=dict(said.offer),
        first_sha256=said.sha256,
    )
    return receive_first(ex, process, said)


def receive_message(ex: Exchange, pid: str, party: str, said: Message) -> Process:
    """Any later message of a negotiation; see `flow.receive`."""
    return receive(ex, NEGOTIATION, pid, party, said)


def show_negotiation(ex: Exchange, pid: str, party: str | None = None) -> Process:
    """A negotiation as it stands."""
    return show(ex, NEGOTIATION, pid, party)


# What we do.


def request_contract(
    ex: Exchange, party: str, connector: str, dataset_id: str, offer: Mapping[str, Any] | str
) -> Process:
    """Ask a provider for a dataset under an offer, or under the plain-use offer of an id.

    Raises:
        BadMessage: The address must not be called, or the offer is none.
    """
    policy: dict[str, Any]
    if isinstance(offer, str):
        policy = {"@id": offer, "@type": "Offer", "target": dataset_id, "permission": [{"action": "use"}]}
    else:
        policy = {**offer, "@type": "Offer", "target": dataset_id}
    check_offer(policy, "offer")
    process = new_process(
        words.NEGOTIATION_KIND,
        words.CONSUMER,
        party,
        connector.rstrip("/"),
        dataset_id,
        words.REQUESTED,
        offer=policy,
        asked=policy,
    )
    return begin(ex, process, words.CONTRACT_REQUEST, "negotiations/request", offer=policy)


def offer_contract(ex: Exchange, party: str, connector: str, offer_id: str) -> Process:
    """Offer something to a consumer unasked.

    Raises:
        NotFound: Nothing is offered to this party under this id.
    """
    found = next((offer for offer in ex.contracts.offers_for(party) if offer.offer_id == offer_id), None)
    if found is None:
        raise NotFound("exchange.no_offer", offer=offer_id[:200])
    policy = {**found.policy, "assigner": ex.participant, "assignee": party}
    process = new_process(
        words.NEGOTIATION_KIND,
        words.PROVIDER,
        party,
        connector.rstrip("/"),
        found.dataset_id,
        words.OFFERED,
        offer=policy,
    )
    return begin(ex, process, words.CONTRACT_OFFER, "negotiations/offers", offer=policy)


def negotiate(ex: Exchange, pid: str, action: str, *, turn: int | None = None, **given: Any) -> Process:
    """Do something in a negotiation: `offer`, `agree`, `finalize` as provider, `counter`, `accept`, `verify` as
    consumer, `terminate` as either.

    Args:
        ex: The connector.
        pid: Our id of the negotiation.
        action: See above.
        turn: When given, only if the negotiation has not moved since.
        given: `offer` (a policy, for `offer` and `counter`), `code` and `reason` (for `terminate`).

    Raises:
        NotYours: There is no such negotiation.
        BadTransition: Not now, or not in our role.
    """
    if action not in ACTS:
        raise BadTransition("exchange.action", action=action[:80], known=", ".join(ACTS))
    return act(ex, NEGOTIATION, pid, ACTS[action], given, turn=turn)


def resend(ex: Exchange, kind: str, pid: str) -> int:
    """Send again what was given up in a process; how many messages.

    Raises:
        NotYours: There is no such process.
    """
    with updating(ex.engine) as connection:
        process = lock_process(connection, kind, pid)
        count = send_again(connection, pid)
        save_process(connection, process.noted(problem=None))
    ex.sender.wake()
    return count


def list_processes(ws: Workspace, kind: str = words.NEGOTIATION_KIND) -> list[Process]:
    """All processes of a kind, the newest first."""
    ensure_tables(ws.database, metadata)
    with reading(ws.database) as connection:
        rows = connection.execute(select(processes.c.pid).where(processes.c.kind == kind).order_by(processes.c.pid))
        pids = [row.pid for row in rows]
        return [read_process(connection, kind, pid) for pid in reversed(pids)]


# What goes on by itself.


def behave(ex: Exchange, process: Process) -> None:
    """Go on in the background with what needs no person."""
    if _is_moving(process):
        ex.sender.do(lambda: step(ex, process))
    if process.kind == words.NEGOTIATION_KIND and process.state == words.FINALIZED:
        ex.sender.do(lambda: state_agreements(ex))


def step(ex: Exchange, process: Process) -> None:
    """Do the next thing in a process, unless it has moved or a person must decide."""
    if process.kind == words.TRANSFER_KIND:
        transfers.step(ex, process)
        return
    action = _next_action(ex, process)
    if action is None:
        return
    given = {"code": "exchange.other_terms", "reason": reasons_of(BadMessage("exchange.other_terms"))}
    try:
        negotiate(ex, process.pid, action, turn=process.turn, **(given if action == "terminate" else {}))
    except BadTransition:
        return  # moved on meanwhile


def go_on(ex: Exchange) -> None:
    """What a run that was killed left undone: steps not taken, agreements not stated."""
    moving = [and_(processes.c.role == role, processes.c.state == state) for role, state in _MOVING]
    with reading(ex.engine) as connection:
        rows = connection.execute(select(processes.c.pid, processes.c.kind).where(or_(*moving))).all()
    for row in rows:
        process = show(ex, words.MACHINES[row.kind], row.pid)
        if _is_moving(process) and not process.details.get("problem") and process.peer_pid:
            step(ex, process)
    state_agreements(ex)


def state_agreements(ex: Exchange) -> None:
    """State final agreements in the log and give their grants; what is stated already stays."""
    with reading(ex.engine) as connection:
        waiting = unstated_agreements(connection)
    for agreement in waiting:
        grant_id = ex.contracts.accept_agreement(agreement)
        with updating(ex.engine) as connection:
            change_agreement(connection, agreement, grant_id=grant_id)


_MOVING = {
    (words.PROVIDER, words.REQUESTED),
    (words.PROVIDER, words.ACCEPTED),
    (words.PROVIDER, words.VERIFIED),
    (words.CONSUMER, words.AGREED),
}


def _is_moving(process: Process) -> bool:
    if process.kind == words.TRANSFER_KIND:
        return transfers.is_moving(process)
    return (process.role, process.state) in _MOVING


def _next_action(ex: Exchange, process: Process) -> str | None:
    if process.role == words.PROVIDER:
        if process.state == words.VERIFIED:
            return "finalize"
        if process.state == words.ACCEPTED:  # what they accepted is an offer of ours
            return "agree" if ex.contracts.offers_of(process.subject, process.party) else None
        return "agree" if _is_as_published(ex, process) else None
    agreement = process.details.get("agreement") or {}
    is_ours = agreement.get("assignee") == ex.participant and agreement.get("assigner") == process.party
    return "verify" if is_ours and same_rules(agreement, process.details["offer"]) else "terminate"


def _is_as_published(ex: Exchange, process: Process) -> bool:
    """Whether what lies on the table is an offer of ours that needs no person."""
    offer = process.details["offer"]
    published = ex.contracts.offers_of(process.subject, process.party)
    return any(
        each.manner == AUTOMATIC and each.offer_id == id_of(offer) and same_rules(each.policy, offer)
        for each in published
    )


# What a message of theirs brings with it.


def _take_offer(_ex: Exchange, _connection: Connection, process: Process, said: Message) -> Mapping[str, Any]:
    if target_of(said.offer) != process.subject:
        raise BadMessage("exchange.bad_message", detail="offer.target")
    if said.callback:
        raise BadMessage("exchange.bad_message", detail="callbackAddress")
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


_EFFECTS = {
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
