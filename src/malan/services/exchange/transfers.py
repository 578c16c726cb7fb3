"""Transfers under agreements, in both roles: what starts is a session, not a copy.

    consumer  request ─▶    ◀─ start (address, secret)    either side: suspend, start again, complete, terminate

The format `malan:compute-to-data` opens the use of a snapshot here, inside; `HttpData-PULL` is for samples where the
owner lets them leave. Start at `request_transfer`, `move_transfer` and `open_data`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from sqlalchemy import Connection, select

from malan.core.errors import NotGranted
from malan.runtime.database import reading
from malan.services.dsp import words
from malan.services.dsp.contracts import SignedAgreement, opens, read_agreement
from malan.services.dsp.errors import BadMessage, BadTransition, NotAuthenticated, NotYours
from malan.services.dsp.flow import Act, Effect, Exchange, act, begin, receive, receive_first, show
from malan.services.dsp.read import Message
from malan.services.dsp.tables import Process, new_process, processes
from malan.services.dsp.words import TRANSFER

__all__ = [
    "ACTS",
    "move_transfer",
    "open_data",
    "receive_message",
    "receive_request",
    "request_transfer",
    "show_transfer",
]


def receive_request(ex: Exchange, party: str, said: Message) -> tuple[Process, bool]:
    """A TransferRequestMessage: the transfer it begins, and whether it is new; the same again is the same transfer.

    Raises:
        BadMessage: There is no agreement of this id in force with this party, the format is not part of it, or the
            callback must not be called.
    """
    ex.addresses().check(said.callback)
    agreement = agreement_with(ex, said.agreement_id, words.PROVIDER, party)
    if said.format not in ex.contracts.formats_of(agreement.dataset_id):
        raise BadMessage("exchange.format", format=said.format[:100])
    process = new_process(
        words.TRANSFER_KIND,
        words.PROVIDER,
        party,
        said.callback,
        agreement.id,
        words.REQUESTED,
        peer_pid=said.consumer_pid,
        format=said.format,
        first_sha256=said.sha256,
    )
    return receive_first(ex, process, said)


def receive_message(ex: Exchange, pid: str, party: str, said: Message) -> Process:
    """Any later message of a transfer; see `flow.receive`."""
    return receive(ex, TRANSFER, pid, party, said)


def show_transfer(ex: Exchange, pid: str, party: str | None = None) -> Process:
    """A transfer as it stands."""
    return show(ex, TRANSFER, pid, party)


def request_transfer(
    ex: Exchange, party: str, connector: str, agreement_id: str, how: str = words.COMPUTE_TO_DATA
) -> Process:
    """Ask a provider for the use of what was agreed.

    Raises:
        BadMessage: There is no agreement of this id in force with this party, or the address must not be called.
    """
    agreement = agreement_with(ex, agreement_id, words.CONSUMER, party)
    process = new_process(
        words.TRANSFER_KIND,
        words.CONSUMER,
        party,
        connector.rstrip("/"),
        agreement.id,
        words.REQUESTED,
        format=how,
    )
    return begin(ex, process, words.TRANSFER_REQUEST, "transfers/request", agreementId=agreement.id, format=how)


def move_transfer(ex: Exchange, pid: str, action: str, *, turn: int | None = None, **given: Any) -> Process:
    """`start` (as consumer: only to go on after a pause), `suspend`, `complete` or `terminate` a transfer.

    Args:
        ex: The connector.
        pid: Our id of the transfer.
        action: See above.
        turn: When given, only if the transfer has not moved since.
        given: `code` and `reason` for `suspend` and `terminate`.

    Raises:
        NotYours: There is no such transfer.
        BadTransition: Not now, or not in our role.
        NotGranted: The agreement is not in force any more.
    """
    if action not in ACTS:
        raise BadTransition("exchange.action", action=action[:80], known=", ".join(ACTS))
    return act(ex, TRANSFER, pid, ACTS[action], given, turn=turn)


def agreement_with(ex: Exchange, agreement_id: str, role: str, party: str) -> SignedAgreement:
    """An agreement in force with a party.

    Raises:
        BadMessage: There is none: unknown, not final, ended, or somebody else's.
    """
    with reading(ex.engine) as connection:
        found = read_agreement(connection, agreement_id, role, party)
    if found is None or not found.is_in_force:
        raise BadMessage("exchange.no_agreement", agreement=agreement_id[:100])
    return found


def open_data(ex: Exchange, pid: str, secret: str) -> tuple[Process, SignedAgreement]:
    """The transfer and agreement behind a data address, while it is open to whoever holds its secret.

    Raises:
        NotAuthenticated: There is no such transfer, it is not started, or the secret is not, or no longer, good.
        NotGranted: The agreement has ended.
    """
    try:
        process = show(ex, TRANSFER, pid)
    except NotYours:
        raise NotAuthenticated("exchange.no_session") from None
    kept = process.details.get("session") or {}
    is_open = process.role == words.PROVIDER and process.state == words.STARTED and kept
    if not is_open or not opens(kept, secret):
        raise NotAuthenticated("exchange.no_session")
    with reading(ex.engine) as connection:
        agreement = read_agreement(connection, process.subject, words.PROVIDER, process.party)
    if agreement is None:
        raise NotAuthenticated("exchange.no_session")
    ex.contracts.check_agreement(agreement)
    return process, agreement


def session_view(ex: Exchange, process: Process, agreement: SignedAgreement) -> dict[str, Any]:
    """What an opened session is for: the grant, the snapshot, the rules, and until when."""
    kept = process.details["session"]
    left_s = max(0, int(kept["expires"]) - int(time.time()))
    return {
        "transfer": process.pid,
        "agreement": agreement.id,
        "grant": agreement.grant_id,
        "dataset": agreement.dataset_id,
        "format": kept["format"],
        "policy": dict(agreement.policy),
        "seconds_left": left_s,
        "provider": ex.participant,
    }


def is_moving(process: Process) -> bool:
    """Whether the next thing is ours to do, without a person."""
    return (process.role, process.state) == (words.PROVIDER, words.REQUESTED)


def step(ex: Exchange, process: Process) -> None:
    """Start what was asked for, or say why not; not before the agreement has its grant, which is stated a moment later
    than the agreement is final."""
    if _waits_for_grant(ex, process):
        return
    try:
        move_transfer(ex, process.pid, "start", turn=process.turn)
    except NotGranted as error:
        move_transfer(ex, process.pid, "terminate", turn=process.turn, code=error.code)
    except BadTransition:
        return  # moved on meanwhile


def start_waiting(ex: Exchange, agreement: SignedAgreement) -> None:
    """Start the transfers that waited for the grant of an agreement."""
    where = (processes.c.kind == words.TRANSFER_KIND, processes.c.role == words.PROVIDER)
    waits = (processes.c.state == words.REQUESTED, processes.c.subject == agreement.id)
    with reading(ex.engine) as connection:
        pids = connection.scalars(select(processes.c.pid).where(*where, *waits)).all()
    for pid in pids:
        process = show(ex, TRANSFER, pid)
        if process.party == agreement.party and is_moving(process):
            step(ex, process)


def _waits_for_grant(ex: Exchange, process: Process) -> bool:
    with reading(ex.engine) as connection:
        found = read_agreement(connection, process.subject, process.role, process.party)
    if found is None or not found.is_in_force or found.grant_id is not None:
        return False
    with suppress(NotGranted):  # one that does not hold gets no grant, and the transfer is refused
        ex.contracts.check_agreement(found)
        return True
    return False


# What a message of theirs brings with it, and what our acts say.

Said = tuple[dict[str, Any], dict[str, Any]]


def _take_start(ex: Exchange, connection: Connection, process: Process, said: Message) -> Mapping[str, Any]:
    if process.role == words.PROVIDER:
        _still_agreed(ex, connection, process)
        return {}
    return {"data_address": said.data_address} if said.data_address else {}


def _take_end(_ex: Exchange, _connection: Connection, process: Process, said: Message) -> Mapping[str, Any]:
    return {"ended_by": process.party, "code": said.code}


EFFECTS: Mapping[str, Effect] = {
    words.TRANSFER_START: _take_start,
    words.TRANSFER_SUSPENSION: _take_end,
    words.TRANSFER_TERMINATION: _take_end,
}


def _make_start(ex: Exchange, connection: Connection, process: Process, _given: Mapping[str, Any]) -> Said:
    if process.role == words.CONSUMER:
        return {}, {}
    agreement = _still_agreed(ex, connection, process)
    session = ex.contracts.open_session(agreement, process.details["format"], ex.root, process.pid)
    return {"dataAddress": dict(session.data_address)}, {"session": dict(session.kept)}


def _make_end(ex: Exchange, _connection: Connection, _process: Process, given: Mapping[str, Any]) -> Said:
    said = {"code": given.get("code", "ended"), "reason": given.get("reason")}
    return said, {"ended_by": ex.participant, "code": said["code"]}


def _nothing(_ex: Exchange, _connection: Connection, _process: Process, _given: Mapping[str, Any]) -> Said:
    return {}, {}


ACTS: Mapping[str, Act] = {
    "start": Act(words.TRANSFER_START, "{pid}/start", _make_start),
    "suspend": Act(words.TRANSFER_SUSPENSION, "{pid}/suspension", _make_end),
    "complete": Act(words.TRANSFER_COMPLETION, "{pid}/completion", _nothing),
    "terminate": Act(words.TRANSFER_TERMINATION, "{pid}/termination", _make_end),
}


def _still_agreed(ex: Exchange, connection: Connection, process: Process) -> SignedAgreement:
    found = read_agreement(connection, process.subject, process.role, process.party)
    if found is None:
        raise NotGranted("exchange.not_in_force", agreement=process.subject[:100])
    ex.contracts.check_agreement(found)
    return found
