"""What people here do with the connector: offer, look at partners' catalogues, ask, decide, use. Each call is checked.

Messages written here are sent by the running server (`malan up`). Start at `show_exchange`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from malan.core.errors import NotFound, UsageError
from malan.services.access import Caller, require
from malan.services.dsp import words
from malan.services.dsp.catalogue import RemoteDataset, read_remote
from malan.services.dsp.contracts import AUTOMATIC, BY_HAND, LocalContracts, Offer
from malan.services.dsp.flow import Exchange
from malan.services.dsp.policy import id_of
from malan.services.dsp.tables import Process
from malan.services.dsp.trust import Partner
from malan.services.exchange import negotiation, transfers

if TYPE_CHECKING:
    from malan.workspace import Workspace

DEFAULT_BASE = "http://127.0.0.1:8600"


@dataclass(frozen=True, slots=True)
class ExchangeShown:
    """What partners need to know of us, and whom we believe."""

    participant: str
    key: str
    address: str
    partners: tuple[Partner, ...]


def show_exchange(ws: Workspace, caller: Caller) -> ExchangeShown:
    """Our id, key and address, to give to partners; and the partners of `exchange.toml`."""
    require(caller, "snapshots")
    ex = open_here(ws)
    return ExchangeShown(ex.participant, ex.key().key_id, ex.root, tuple(ex.settings().partners.values()))


def offer_snapshot(
    ws: Workspace, caller: Caller, snapshot: str, *, samples: bool = False, by_hand: bool = False, party: str = ""
) -> Offer:
    """Offer a snapshot under the terms of its footage; the same again is the same offer.

    Args:
        ws: Where it lies.
        caller: Who offers.
        snapshot: Its name or id.
        samples: Samples may leave, by `HttpData-PULL`.
        by_hand: A person decides about every request.
        party: Only for this partner.
    """
    require(caller, "offer")
    formats = (words.COMPUTE_TO_DATA, words.HTTP_PULL) if samples else (words.COMPUTE_TO_DATA,)
    manner = BY_HAND if by_hand else AUTOMATIC
    open_here(ws)
    return negotiation.offer_snapshot(ws, snapshot, formats=formats, manner=manner, party=party or None)


def list_offers(ws: Workspace, caller: Caller) -> list[Offer]:
    """Everything that is offered now, also what only one partner sees."""
    require(caller, "offer")
    return list(LocalContracts(ws).all_offers())


def withdraw_offer(ws: Workspace, caller: Caller, offer_id: str) -> None:
    """Offer something no more; agreements stay.

    Raises:
        NotFound: Nothing is offered under this id.
    """
    require(caller, "offer")
    contracts = LocalContracts(ws)
    if offer_id not in [offer.offer_id for offer in contracts.all_offers()]:
        raise NotFound("exchange.no_offer", offer=offer_id[:200])
    contracts.withdraw(offer_id)


def browse(ws: Workspace, caller: Caller, partner: str) -> list[RemoteDataset]:
    """The catalogue of a partner."""
    require(caller, "order")
    ex = open_here(ws)
    found = _partner(ex, partner)
    return read_remote(ex, found.id, found.connector)


def ask_for(ws: Workspace, caller: Caller, partner: str, dataset: str, offer_id: str = "") -> Process:
    """Ask a partner for a dataset, under one of its offers as published.

    Raises:
        NotFound: It has no such dataset or offer.
    """
    require(caller, "order")
    ex = open_here(ws)
    found = _partner(ex, partner)
    for one in read_remote(ex, found.id, found.connector):
        for policy in one.offers:
            if one.id == dataset and offer_id in ("", id_of(policy)):
                return negotiation.request_contract(ex, found.id, found.connector, dataset, policy)
    raise NotFound("exchange.no_dataset", dataset=dataset[:200])


def use(ws: Workspace, caller: Caller, partner: str, agreement: str, how: str = "") -> Process:
    """Ask a partner for the use of what was agreed."""
    require(caller, "order")
    ex = open_here(ws)
    found = _partner(ex, partner)
    return transfers.request_transfer(ex, found.id, found.connector, agreement, how or words.COMPUTE_TO_DATA)


def list_exchanges(ws: Workspace, caller: Caller) -> list[Process]:
    """Negotiations and transfers, the newest first."""
    require(caller, "order")
    found = [*negotiation.list_processes(ws), *negotiation.list_processes(ws, words.TRANSFER_KIND)]
    return sorted(found, key=lambda process: process.changed, reverse=True)


def show_process(ws: Workspace, caller: Caller, pid: str) -> Process:
    """One negotiation or transfer, by our id or the end of it.

    Raises:
        NotFound: None, or several, have it.
    """
    found = [process for process in list_exchanges(ws, caller) if process.pid.endswith(pid)]
    if len(found) != 1 or len(pid) < 4:
        raise NotFound("exchange.no_process", pid=pid[:100])
    return found[0]


def move(ws: Workspace, caller: Caller, pid: str, action: str) -> Process:
    """Do something in a negotiation or transfer; `resend` sends again what was given up.

    Raises:
        NotFound: There is no such process.
        UsageError: Not now, or not in our role.
    """
    require(caller, "sign")
    process, ex = show_process(ws, caller, pid), open_here(ws)
    if action == "resend":
        negotiation.resend(ex, process.kind, process.pid)
        return process
    if process.kind == words.TRANSFER_KIND:
        return transfers.move_transfer(ex, process.pid, action, turn=process.turn)
    return negotiation.negotiate(ex, process.pid, action, turn=process.turn)


def describe_process(process: Process) -> dict[str, Any]:
    """A negotiation or transfer as `--json` prints it."""
    said = {name: getattr(process, name) for name in ("pid", "kind", "role", "party", "peer_pid", "state", "subject")}
    said |= {"opened": process.opened, "changed": process.changed}
    agreement: Mapping[str, Any] = process.details.get("agreement") or {}
    return {**said, "agreement": agreement.get("@id"), "problem": process.details.get("problem")}


def open_here(ws: Workspace) -> Exchange:
    """The connector of a workspace, for a command; a running server does the sending."""
    return negotiation.open_exchange(ws, DEFAULT_BASE)


def _partner(ex: Exchange, name: str) -> Partner:
    for partner in ex.settings().partners.values():
        if name in (partner.id, partner.name):
            if not partner.connector:
                raise UsageError("exchange.no_connector", party=partner.id)
            return partner
    known = ", ".join(partner.name or partner.id for partner in ex.settings().partners.values()) or "–"
    raise NotFound("exchange.no_partner", name=name[:200], known=known)
