"""Contract negotiation with other organisations, in both roles, from a request or an offer to an agreement in force.

    consumer  request ─▶        ◀─ offer       accept ─▶        ◀─ agreement    verify ─▶      ◀─ finalized
    provider  ◀─ request        offer ─▶       ◀─ accepted      agree ─▶        ◀─ verified    finalize ─▶

What was negotiated by an equal of a published offer goes on by itself where the owner said `automatic`; everything else
waits for a person. Start at `open_exchange`, `request_contract` and `negotiate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from malan.core.errors import NotFound, UsageError
from malan.core.ids import digest_bytes
from malan.runtime.database import ensure_tables, reading, updating
from malan.services.dsp import steps, words
from malan.services.dsp.automatic import behave, go_on
from malan.services.dsp.contracts import (
    AUTOMATIC,
    Contracts,
    LocalContracts,
    Offer,
)
from malan.services.dsp.errors import BadMessage, BadTransition
from malan.services.dsp.flow import (
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
from malan.services.dsp.policy import check_offer, from_terms, target_of
from malan.services.dsp.read import Message
from malan.services.dsp.steps import ACTS
from malan.services.dsp.tables import (
    Process,
    lock_process,
    metadata,
    new_process,
    processes,
    read_process,
    save_process,
)
from malan.services.dsp.words import NEGOTIATION
from malan.services.exchange import transfers

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
    from malan.services.market.catalogue import MarketContracts

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
        contracts=contracts or MarketContracts(ws),
        watchers=[behave],
        effects={**steps.EFFECTS, **transfers.EFFECTS},
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
        Rejected: Footage of it was taken back, or its owner allows nothing to others, or not any more.
        BadMessage: The policy is no offer of the protocol.
    """
    from malan.services.market.deal import check_deal, footage_of

    footage = footage_of(ws, snapshot)
    found = footage.snapshot
    dataset_id = f"urn:malan:snapshot:{found.id}"
    if policy is None:
        if len(footage.terms) != 1:
            raise UsageError("exchange.several_terms", snapshot=found.name, count=len(footage.terms))
        terms = next(iter(footage.terms.values()))
        check_deal(ws, footage, terms)
        policy = from_terms(terms, dataset_id)
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
