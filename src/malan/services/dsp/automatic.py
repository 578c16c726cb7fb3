"""What goes on by itself: steps that need no person, taken in the background; by the next run if this one dies.

Start at `behave` and `go_on`.
"""

from __future__ import annotations

import logging

from sqlalchemy import and_, or_, select

from malan.core.errors import NotGranted
from malan.runtime.database import reading, updating
from malan.services.dsp import words
from malan.services.dsp.contracts import AUTOMATIC, change_agreement, unstated_agreements
from malan.services.dsp.errors import BadMessage, BadTransition
from malan.services.dsp.flow import Exchange, act, show
from malan.services.dsp.policy import id_of, same_rules
from malan.services.dsp.steps import ACTS
from malan.services.dsp.tables import Process, processes
from malan.services.dsp.words import NEGOTIATION
from malan.services.dsp.write import reasons_of
from malan.services.exchange import transfers

_log = logging.getLogger("malan.exchange")


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
        act(ex, NEGOTIATION, process.pid, ACTS[action], given if action == "terminate" else {}, turn=process.turn)
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
        try:
            grant_id = ex.contracts.accept_agreement(agreement)
        except NotGranted as error:
            _log.warning("exchange: %s", error)
            transfers.start_waiting(ex, agreement)  # they are refused
            continue
        with updating(ex.engine) as connection:
            change_agreement(connection, agreement, grant_id=grant_id)
        transfers.start_waiting(ex, agreement)


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
        return "agree" if is_as_published(ex, process) else None
    agreement = process.details.get("agreement") or {}
    is_ours = agreement.get("assignee") == ex.participant and agreement.get("assigner") == process.party
    return "verify" if is_ours and same_rules(agreement, process.details["offer"]) else "terminate"


def is_as_published(ex: Exchange, process: Process) -> bool:
    """Whether what lies on the table is an offer of ours that needs no person."""
    offer = process.details["offer"]
    published = ex.contracts.offers_of(process.subject, process.party)
    return any(
        each.manner == AUTOMATIC and each.offer_id == id_of(offer) and same_rules(each.policy, offer)
        for each in published
    )
