"""Runs: an algorithm, a grant, parameters and a tier become a piece of work that survives every kill.

    submit ─▶ waiting for owners, or queued ─▶ a worker takes it (`runs.worker`) ─▶ the gate (`runs.gate`) ─▶ released …

The buyer of the grant submits, cancels and resumes; owners see everything and decide what the gate holds; both see what
it cost. What the buyer is told holds no value that the program chose. Start reading at `submit_run`.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from malan.core.decisions import Reason
from malan.core.errors import NotFound, Rejected, RetryLater, UsageError
from malan.core.ids import digest_record
from malan.runtime.database import add_new, writing
from malan.runtime.sandbox import read_log
from malan.services.access import HOUSE, Caller
from malan.services.accounts.acting import acting
from malan.services.market.grants import get_grant
from malan.services.models.rows import Named
from malan.services.runs import states
from malan.services.runs.algorithms import ask_owners, find_algorithm, load_package, tiers_of
from malan.services.runs.base import base_id
from malan.services.runs.checks import Wish, check_run, missing_approvals, refuse
from malan.services.runs.folder import RunFolder
from malan.services.runs.gate import ANSWERS, REFUSE, RELEASE, Register, end_run, judge_run, known_result, released_by
from malan.services.runs.receipts import OWNER_COPY, PARTY_COPY, Receipt, read_receipt
from malan.services.runs.rows import Run, add_run, ask_to_cancel, get_row, list_rows, me, move, take_up
from malan.services.runs.tables import DECISIONS, RUNS, run_tables
from malan.services.runs.worker import recover
from malan.training.gate.result import decline
from malan.training.package import read_settings, settle_parameters

if TYPE_CHECKING:
    from malan.workspace import Workspace

MOST_OPEN = 100  # runs of one party that wait or are at work
_DAY_S = 86_400.0
_MOST_SEED = 2**31 - 1


@dataclass(frozen=True)
class Asked:
    """What a buyer may say of a run beside its parameters.

    Args:
        tier: Who trains; empty for the first that the algorithm can run in.
        priority: `low` or `normal`; `high` is the operator's.
        name: Of the model; empty for one made from the algorithm's.
        purpose, territory: What for and where, for agreements that name them.
        base: The base model, for algorithms that start from one.
        seed: What random choices follow from; empty for one drawn now.
    """

    tier: str = ""
    priority: str = "normal"
    name: str = ""
    purpose: str | None = None
    territory: str | None = None
    base: str = ""
    seed: int | None = None


def submit_run(
    ws: Workspace,
    algorithm: str,
    grant: str,
    parameters: Mapping[str, Any] | list[str] | None = None,
    *,
    asked: Asked | None = None,
    caller: Caller = HOUSE,
) -> Run:
    """Ask for a run under a grant. It waits for the owners where its code needs their word, else it is queued.

    Args:
        ws: Where.
        algorithm: Name, `name@version` or digest.
        grant: Id, or the beginning of it.
        parameters: By name, or as `name=value` texts; the rest are defaults.
        asked: Tier, priority and more.
        caller: The party of the grant, or an operator for it.

    Raises:
        NotFound: There is no such grant or algorithm of the caller's.
        UsageError: A parameter, tier or priority makes no sense.
        NotGranted: Something stands in its way; every reason is told.
        RetryLater: The party has too many runs, or submitted too many today.
    """
    asked = asked or Asked()
    party = acting(caller, "run")
    shown = get_grant(ws, grant, caller=caller)
    if party not in (None, shown.grant.party_id):
        raise NotFound("grant.none", id=grant[:40])
    found = find_algorithm(ws, algorithm, caller=caller)
    package = load_package(ws, found.digest)
    given = read_settings(package.parameters, parameters) if isinstance(parameters, list) else dict(parameters or {})
    run = Run(
        id=digest_record("run", [shown.grant.id, found.digest, secrets.token_hex(16)]),
        grant_id=shown.grant.id,
        party_id=shown.grant.party_id,
        snapshot_id=shown.grant.snapshot_id,
        owner_ids=tuple(sorted(shown.grant.owner_ids)),
        package_id=found.digest,
        algorithm=found.reference,
        tier=asked.tier or tiers_of(package)[0],
        parameters=settle_parameters(package.parameters, given),
        asked=_asked(ws, asked),
        seed=_seed(asked),
        state=states.QUEUED,
        turn=0,
        priority=_priority(asked, caller),
        life=1,
        attempt=0,
        worker=None,
        beat_s=None,
        not_before_s=0.0,
        cancel_asked=0,
        phase="",
        percent=0,
        submitted_s=time.time(),
        started_s=None,
        ended_s=None,
    )
    check_run(ws, Wish.of(run))
    if missing := missing_approvals(ws, run):
        ask_owners(ws, found.digest, run.grant_id)
    return _enter(ws, run, party or "", missing)


def get_run(ws: Workspace, run: str, *, caller: Caller = HOUSE) -> Run:
    """A run by its id or the beginning of it, as it stands now: one whose worker died is seen to first.

    Raises:
        NotFound: There is none that the caller has or has given footage for.
        UsageError: Several begin so.
    """
    party = acting(caller, "runs.see")
    recover(ws)
    found = get_row(ws, run)
    if party not in (None, found.party_id, *found.owner_ids):
        raise NotFound("runs.none", id=run[:40])
    return found


def list_runs(ws: Workspace, *, state: str | None = None, limit: int = 100, caller: Caller = HOUSE) -> list[Run]:
    """The runs the caller may see, the latest first."""
    if state is not None and state not in states.STATES:
        raise UsageError("runs.no_state", state=state[:40], known=", ".join(states.STATES))
    party = acting(caller, "runs.see")
    recover(ws)
    return list_rows(ws, state=(state,) if state else (), party=party, limit=limit)


def cancel_run(ws: Workspace, run: str, reason: str = "", *, caller: Caller = HOUSE) -> Run:
    """End a run for good: at once when nobody is at it, else within a second or two.

    Raises:
        NotFound: There is no such run of the caller's.
        Rejected: It is over.
    """
    found, party = get_run(ws, run, caller=caller), acting(caller, "runs.see")
    if found.is_over:
        raise Rejected("runs.over", id=found.id[:12], state=found.state)
    if found.is_at_work:
        ask_to_cancel(ws, found.id)
        return get_row(ws, found.id)
    who = "owner" if party is not None and party in found.owner_ids else "buyer" if party else "operator"
    why = (Reason(f"runs.cancelled_by.{who}"),)
    return end_run(ws, found, states.CANCEL, why=why, who=party or "", note=reason)


def resume_run(ws: Workspace, run: str, *, caller: Caller = HOUSE) -> Run:
    """Put a run that stopped at a limit or failed back into the queue: it goes on from its last checkpoint.

    It is checked again, and counts as one more run of the grant.

    Raises:
        NotFound: There is no such run of the caller's.
        Rejected: It cannot be resumed.
        NotGranted: Something stands in its way now.
    """
    found, party = get_run(ws, run, caller=caller), acting(caller, "run")
    if party not in (None, found.party_id):
        raise NotFound("runs.none", id=run[:40])
    if found.state not in states.RESUMABLE:
        raise Rejected("runs.not_resumable", id=found.id[:12], state=found.state)
    check_run(ws, Wish.of(found))
    refuse(missing_approvals(ws, found))
    fresh: dict[str, Any] = {"life": found.life + 1, "attempt": 0, "ran": {}, "charged_bytes": 0}
    fresh |= {"phase": "", "percent": 0, "cancel_asked": 0, "tidy": 0}
    return move(ws, found, states.RESUME, who=party or "", not_before_s=0.0, **fresh)


def decide_run(
    ws: Workspace,
    run: str,
    answer: str,
    reason: str,
    *,
    caller: Caller = HOUSE,
    register: Register | None = None,
) -> Run:
    """An owner decides what the gate holds. One refusal refuses; it is released once every owner says so.

    An operator decides for all owners. What is released is charged to the output budget and handed over in this call.

    Raises:
        NotFound: There is no such run whose footage is the caller's.
        UsageError: Another answer, or no reason.
        Rejected: Nothing is held.
    """
    if answer not in ANSWERS or not reason.strip():
        raise UsageError("runs.bad_answer", answer=answer[:20], known=", ".join(ANSWERS))
    party = acting(caller, "runs.decide")
    found = get_run(ws, run, caller=caller)
    if party is not None and party not in found.owner_ids:
        raise NotFound("runs.none", id=run[:40])
    if found.state != states.HELD:
        raise Rejected("runs.not_held", id=found.id[:12], state=found.state)
    _note_decision(ws, found, (party,) if party else found.owner_ids, party or "", answer, reason)
    if answer == REFUSE:
        return _declined(ws, found, party or found.owner_ids[0], reason)
    if released_by(ws, found) is None:
        return get_row(ws, found.id)
    allowed = move(ws, found, states.ALLOW, who=party or "", why=(Reason("runs.allowed"),), note=reason)
    return _let_go(ws, allowed, register)


def run_log(ws: Workspace, run: str, *, caller: Caller = HOUSE) -> str:
    """What the program printed, made safe to show.

    It may hold anything the footage holds, so it is for the operator, and for an owner only where all of it is its own.

    Raises:
        NotFound: There is no such run, or it has printed nothing.
        NotGranted: It is not for the caller.
    """
    found, party = get_run(ws, run, caller=caller), acting(caller, "runs.see")
    if party is not None and (party,) != found.owner_ids:
        refuse([Reason("runs.log_is_owners")])
    logs = RunFolder(ws, found.id).logs()
    if not logs:
        raise NotFound("runs.no_log", id=found.id[:12])
    return "".join(read_log(path) for path in logs)


def run_receipt(ws: Workspace, run: str, *, caller: Caller = HOUSE) -> Receipt:
    """The receipt of a run that began and is over: the buyer's copy for the buyer, the owners' for everybody else.

    Raises:
        NotFound: There is no such run, or it has no receipt yet.
    """
    found, party = get_run(ws, run, caller=caller), acting(caller, "runs.see")
    is_owner = party is None or party in found.owner_ids
    return read_receipt(ws, found.id, OWNER_COPY if is_owner else PARTY_COPY)


def _enter(ws: Workspace, run: Run, who: str, missing: tuple[Reason, ...]) -> Run:
    """Write a run down, if its party has not too many already."""
    run = replace(run, state=states.WAITING) if missing else run
    mine = RUNS.c.party_id == run.party_id
    with writing(run_tables(ws), durable=True) as connection:
        count = select(func.count()).select_from(RUNS).where(mine)
        today = connection.scalar(count.where(RUNS.c.submitted_s > run.submitted_s - _DAY_S)) or 0
        if today >= ws.settings.runs_a_day:
            raise RetryLater("runs.too_many_today", most=ws.settings.runs_a_day)
        if (connection.scalar(count.where(RUNS.c.state.in_(states.OPEN))) or 0) >= MOST_OPEN:
            raise RetryLater("runs.too_many_open", most=MOST_OPEN)
        add_run(connection, run, who, missing)
    return run


def _asked(ws: Workspace, asked: Asked) -> dict[str, Any]:
    if asked.name:
        Named(asked.name)
    said = {name: getattr(asked, name) for name in ("name", "purpose", "territory", "base")}
    said["base_id"] = base_id(ws, asked.base)
    return {name: value for name, value in said.items() if value}


def _seed(asked: Asked) -> int:
    if asked.seed is None:
        return secrets.randbelow(_MOST_SEED)
    if not 0 <= asked.seed <= _MOST_SEED:
        raise UsageError("runs.bad_seed", most=_MOST_SEED)
    return asked.seed


def _priority(asked: Asked, caller: Caller) -> int:
    if asked.priority not in states.PRIORITIES:
        raise UsageError("runs.bad_priority", priority=asked.priority[:20], known=", ".join(states.PRIORITIES))
    found = states.PRIORITIES[asked.priority]
    if found > states.NORMAL and not caller.is_operator:
        raise UsageError("runs.high_is_operators")
    return found


def _note_decision(ws: Workspace, run: Run, owners: tuple[str, ...], by: str, answer: str, reason: str) -> None:
    """Write down what owners say; what one has said of this result stands."""
    said = {"answer": answer, "by": by, "reason": " ".join(reason.split())[:500], "at_s": time.time()}
    rows = [{"run_id": run.id, "life": run.life, "owner_id": owner, **said} for owner in owners]
    with writing(run_tables(ws), durable=True) as connection:
        add_new(connection, DECISIONS, rows)


def _declined(ws: Workspace, run: Run, who: str, reason: str) -> Run:
    result = known_result(ws, run)
    if result is None:
        raise Rejected("runs.not_held", id=run.id[:12], state=run.state)
    declined = decline(result, who)
    told = (Reason("runs.told.declined"),)
    return end_run(ws, run, states.REFUSE, why=declined.reasons, told=told, result=declined, who=who, note=reason)


def _let_go(ws: Workspace, run: Run, register: Register | None) -> Run:
    """Hand over what was decided to be released; a worker does it if this process is killed on the way."""
    from malan.services.runs.engine import register as real

    mine = take_up(ws, run, worker=me(), now_s=time.time())

    def no_bench() -> Any:
        raise Rejected("runs.not_held", id=run.id[:12], state=run.state)  # the verdict is known: nothing is run again

    return judge_run(ws, mine, no_bench, register or real)


__all__ = [
    "RELEASE",
    "Asked",
    "Run",
    "cancel_run",
    "decide_run",
    "get_run",
    "list_runs",
    "resume_run",
    "run_log",
    "run_receipt",
    "submit_run",
]
