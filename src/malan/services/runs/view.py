"""A run as people see it: the buyer safe words, owners everything, both what it cost and what the grant has left.

What the program could shape to say something to its author is not in the buyer's copy: no log, no measured values, no
exact times; while code of the buyer's own runs, no progress either. Start reading at `describe_run`.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from malan.core.decisions import Reason
from malan.core.errors import NotFound
from malan.rights.meter import CLIP_SECONDS, shown_amount
from malan.rights.usage import MICROSECONDS
from malan.services.access import HOUSE, Caller
from malan.services.footage.owners import owner_names
from malan.services.market.grants import get_grant
from malan.services.runs import states
from malan.services.runs.algorithms import CODE
from malan.services.runs.folder import RunFolder
from malan.services.runs.gate import decisions_of, known_result
from malan.services.runs.meter import left_of, seconds_by_owner
from malan.services.runs.rows import Run, StepRow, steps_of
from malan.services.runs.rows import has_worker as is_anybody_here
from malan.training.gate.receipt import minutes_of

if TYPE_CHECKING:
    from malan.workspace import Workspace

_MINUTE_S = 60
_NAMES = {value: name for name, value in states.PRIORITIES.items()}


def describe_run(
    ws: Workspace, run: Run, *, caller: Caller = HOUSE, whole: bool = True, lang: str | None = None
) -> dict[str, Any]:
    """A run as JSON, in the copy that is the caller's: the line of a list or, `whole`, with history and cost.

    Reasons are in the language `lang`, else in that of the session.

    Raises:
        NotFound: The caller is no party to it.
    """
    sees_all = caller.is_operator or caller.party_id in run.owner_ids
    if not sees_all and caller.party_id != run.party_id:
        raise NotFound("runs.none", id=run.id[:12])
    names = owner_names(ws)
    line: dict[str, Any] = {
        "run": run.id,
        "state": run.state,
        "cancelling": run.is_cancelling,
        "algorithm": run.algorithm,
        "tier": run.tier,
        "grant": run.grant_id,
        "buyer": names.get(run.party_id, run.party_id[:12]),
        "owners": [names.get(one, one[:12]) for one in run.owner_ids],
        "priority": _NAMES.get(run.priority, str(run.priority)),
        "submitted": _moment(run.submitted_s),
        "model": run.model_id,
        **_progress(run, sees_all=sees_all),
    }
    if not whole:
        return line
    line |= {
        "package": run.package_id,
        "snapshot": run.snapshot_id,
        "parameters": dict(run.parameters),
        "asked": dict(run.asked),
        "seed": run.seed,
        "began": run.has_begun,
        "minutes": minutes_of(float(run.ran["wall_s"])) if "wall_s" in run.ran else None,
        "isolation": run.ran.get("level"),
        "epsilon": run.ran.get("epsilon"),
        "delta": run.ran.get("delta"),
        "cost": _cost(ws, run, exact=sees_all),
        "left": _left(ws, run, exact=sees_all),
        "steps": [_step(one, names, sees_all=sees_all, lang=lang) for one in steps_of(ws, run.id)],
    }
    if run.state == states.RELEASED and (result := known_result(ws, run)) is not None:
        line["metrics"] = dict(result.metrics)  # they left: the budget was charged for them
    line["reasons"] = next((one["reasons"] for one in reversed(line["steps"]) if one["reasons"]), [])
    return line | _for_owners(ws, run, names, lang) if sees_all else line


def has_worker(ws: Workspace) -> bool:
    """Whether somebody is here to take runs from the queue."""
    return is_anybody_here(ws, time.time())


def _progress(run: Run, *, sees_all: bool) -> dict[str, Any]:
    """How far it is. Of the buyer's own code the buyer is told the state alone: a percent is a message too."""
    is_told = run.is_at_work and (sees_all or run.tier != CODE)
    return {"phase": run.phase if is_told else None, "percent": run.percent if is_told else None}


def _cost(ws: Workspace, run: Run, *, exact: bool) -> dict[str, Any]:
    """What it took of the grant, and what is owed for it. How much footage a program asked for is a message as well:
    the buyer is told whole seconds, as in its receipt."""
    used_us = sum(seconds_by_owner(ws, run.id).values())
    terms = get_grant(ws, run.grant_id).signed.agreement.terms
    lives = run.life if run.has_begun else run.life - 1
    owed = lives * terms.price_minor if terms.price_per == "run" else 0
    if terms.price_per == "clip_second":
        owed = terms.price_minor * used_us // MICROSECONDS
    return {
        "runs": lives,
        "clip_seconds": shown_amount(CLIP_SECONDS, used_us) if exact else str(-(-used_us // MICROSECONDS)),
        "output_bytes": run.charged_bytes,
        "owed": {"minor": owed, "currency": terms.currency, "per": terms.price_per} if terms.price_minor else None,
    }


def _left(ws: Workspace, run: Run, *, exact: bool) -> dict[str, Any]:
    """What the grant has left, as people count it; None: without a limit."""
    found: dict[str, Any] = {unit: one["left"] for unit, one in left_of(ws, run.grant_id).items()}
    if not exact and found.get(CLIP_SECONDS) is not None:
        found[CLIP_SECONDS] -= found[CLIP_SECONDS] % MICROSECONDS
    return {unit: None if left is None else shown_amount(unit, left) for unit, left in found.items()}


def _step(step: StepRow, names: dict[str, str], *, sees_all: bool, lang: str | None) -> dict[str, Any]:
    said = {
        "action": step.action,
        "state": step.state,
        "at": _moment(step.at_s, exact=sees_all),
        "who": names.get(step.who, step.who[:12]),
        "reasons": [_reason(one, lang) for one in (step.why if sees_all else step.told)],
    }
    return said | {"note": step.note} if sees_all else said


def _for_owners(ws: Workspace, run: Run, names: dict[str, str], lang: str | None) -> dict[str, Any]:
    """What only owners and the operator are told: what was measured, whom it used, who decided what."""
    result = known_result(ws, run)
    used = seconds_by_owner(ws, run.id)
    gate = [
        {"step": one.name, "outcome": one.outcome, "reason": one.reason.text(lang), "measured": dict(one.evidence)}
        for one in (result.steps if result else ())
    ]
    decided = [one | {"owner": names.get(one["owner"], one["owner"][:12])} for one in decisions_of(ws, run)]
    return {
        "attempt": run.attempt,
        "worker": run.worker,
        "ran": {name: value for name, value in run.ran.items() if name not in ("facts", "ending")},
        "gate": gate,
        "metrics": dict(result.metrics) if result else {},
        "used": {names.get(owner, owner[:12]): shown_amount(CLIP_SECONDS, us) for owner, us in used.items()},
        "decisions": [{**one, "at": _moment(one.pop("at_s"))} for one in decided],
        "checkpoint": RunFolder(ws, run.id).has_checkpoint(),
    }


def _reason(reason: Reason, lang: str | None) -> dict[str, str]:
    return {"code": reason.code, "text": reason.text(lang)}


def _moment(at_s: float, *, exact: bool = False) -> str:
    """A time in UTC; in whole minutes where it is not for owners."""
    if exact:
        return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds")
    return datetime.fromtimestamp(at_s // _MINUTE_S * _MINUTE_S, UTC).isoformat(timespec="minutes")
