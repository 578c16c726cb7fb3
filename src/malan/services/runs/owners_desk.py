"""What waits for a party's word, and what it may do next: the pages over approvals, runs and models.

Shows what `approvals`, `runs.view`, `models.cards` and `recall` give a caller, in the reader's language, as plain JSON,
and says which steps the caller may take. Decides nothing itself. Start at `approvals_page`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from malan.services.access import ALL, OWNER, Caller, may, scope
from malan.services.footage.owners import owner_names
from malan.services.models.cards import list_descriptions, show_model
from malan.services.outputs.recall import describe_recall, recall_model
from malan.services.runs import states
from malan.services.runs.algorithm_trials import describe_difference
from malan.services.runs.algorithms import Algorithm, describe_algorithm, find_algorithm, list_algorithms, load_package
from malan.services.runs.approvals import (
    APPROVED,
    REJECTED,
    TRUSTED,
    WAITING,
    compare_with_before,
    describe_approvals,
    trusted_publishers,
)
from malan.services.runs.folder import RunFolder
from malan.services.runs.rows import Run
from malan.services.runs.submission import get_run, list_runs
from malan.services.runs.view import describe_run

if TYPE_CHECKING:
    from malan.workspace import Workspace

MOST_RUNS = 100
_READABLE = 60_000  # bytes of a source file a page shows whole


def approvals_page(ws: Workspace, lang: str, *, caller: Caller) -> dict[str, Any]:
    """Code that somebody asked to run, what waits for the caller's word first; and runs the gate holds."""
    sent = [one for one in list_algorithms(ws, caller=caller) if not one.is_built_in]
    listed = [_algorithm(ws, one, lang, caller) for one in sent]
    listed.sort(key=lambda one: not one["waits"])  # stable: the newest first within each
    held = list_runs(ws, state=states.HELD, caller=caller) if may(caller, "runs.see") else []
    runs = [describe_run(ws, one, caller=caller, lang=lang) for one in held if _decides_run(one, caller)]
    waiting = sum(one["waits"] for one in listed) + len(runs)
    return {"algorithms": listed, "runs": runs, "waiting": waiting, "trusted": _trusted(ws, caller)}


def approval_page(ws: Workspace, digest: str, lang: str, *, caller: Caller) -> dict[str, Any]:
    """One version of an algorithm: what it is, asks for and is made of, what is new in it, and what owners said.

    Raises:
        NotFound: There is none that the caller may see.
    """
    found = find_algorithm(ws, digest, caller=caller)
    package = load_package(ws, found.digest)
    difference = None if found.is_built_in else compare_with_before(ws, found.digest, caller=caller)
    return {
        **describe_algorithm(ws, found, lang=lang),
        **_algorithm(ws, found, lang, caller),
        "sources": {path: _readable(data) for path, data in sorted(package.files.items())},
        "new": describe_difference(difference) if difference else None,
        "trust": _trust(ws, found, caller),
    }


def runs_page(ws: Workspace, lang: str, *, caller: Caller) -> dict[str, Any]:
    """The runs a caller may see, the latest first."""
    listed = list_runs(ws, limit=MOST_RUNS, caller=caller)
    waiting = approvals_page(ws, lang, caller=caller)["waiting"] if may(caller, "algorithms.decide") else 0
    runs = [describe_run(ws, one, caller=caller, whole=False, lang=lang) for one in listed]
    return {"runs": runs, "waiting": waiting}


def run_page(ws: Workspace, run: str, lang: str, *, caller: Caller) -> dict[str, Any]:
    """A run with all the caller may know of it, and the steps it may take.

    Raises:
        NotFound: There is none that the caller has or has given footage for.
    """
    found = get_run(ws, run, caller=caller)
    return describe_run(ws, found, caller=caller, lang=lang) | {"actions": _actions(ws, found, caller)}


def models_page(ws: Workspace, *, caller: Caller) -> dict[str, Any]:
    """The models a caller may see; whose, under which licence; adapters with the name of what they are attached to."""
    listed = list_descriptions(ws, caller=caller)
    names = {one["model"]: one["name"] for one in listed}
    return {"models": [one | {"base_name": names.get(one["base"] or "")} for one in listed]}


def model_page(ws: Workspace, model: str, *, caller: Caller) -> dict[str, Any]:
    """A model with what may be done with it and why; to who may recall it, also every file it had a part in.

    Raises:
        NotFound: There is none that the caller may see.
    """
    found = show_model(ws, model, caller=caller)
    seen = list_descriptions(ws, caller=caller)
    names = {one["model"]: one["name"] for one in seen}
    made = may(caller, "models.change")
    return found | {
        "base_name": names.get(found["base"] or ""),
        "adapters": [one for one in seen if one["base"] == found["model"]],
        "parts": [one | {"name": names.get(one["model"])} for one in found["parts"]],
        "outputs": describe_recall(recall_model(ws, model, reason="", dry=True, caller=caller)) if made else None,
    }


def _algorithm(ws: Workspace, found: Algorithm, lang: str, caller: Caller) -> dict[str, Any]:
    """A version in a list, and whether the caller's word is missing."""
    approval = describe_approvals(ws, found, caller=caller, lang=lang)
    mine = [one["state"] for one in approval["owners"] if _decides_for(one["id"], caller)]
    steps = ["approve"] * any(one not in (APPROVED, TRUSTED) for one in mine)
    steps += ["reject"] * any(one != REJECTED for one in mine)
    line = describe_algorithm(ws, found, whole=False, lang=lang)
    return line | {"approval": approval, "waits": WAITING in mine, "actions": steps}


def _trusted(ws: Workspace, caller: Caller) -> list[dict[str, Any]]:
    """Whom owners trust, a row for each; and whether the caller may take that trust back."""
    names = owner_names(ws)
    return [
        {"owner": owner, "owner_name": names.get(owner, owner[:12]), "publisher": one,
         "name": names.get(one, one[:12]), "may_change": _decides_for(owner, caller)}
        for owner, publishers in trusted_publishers(ws, caller=caller).items()
        for one in publishers
    ]  # fmt: skip


def _trust(ws: Workspace, found: Algorithm, caller: Caller) -> dict[str, Any] | None:
    """Who submitted a version, and for which owners the caller may trust that party; None where it may for nobody."""
    if found.is_built_in or not found.party_id:
        return None
    asked = describe_approvals(ws, found, caller=caller)["owners"]
    owners = [one["id"] for one in asked if _decides_for(one["id"], caller)]
    given = {one["owner"] for one in _trusted(ws, caller) if one["publisher"] == found.party_id}
    name = owner_names(ws).get(found.party_id, found.party_id[:12])
    return (
        {"publisher": found.party_id, "name": name, "owners": owners, "given": set(owners) <= given} if owners else None
    )


def _decides_for(owner_id: str, caller: Caller) -> bool:
    """Whether this owner's word is the caller's to give; an operator from afar gives nobody's (see `approvals`)."""
    if caller.is_operator and caller.via not in ("session", "key"):
        return True
    return OWNER in caller.roles and caller.party_id == owner_id


def _decides_run(run: Run, caller: Caller) -> bool:
    return scope(caller, "runs.decide") == ALL or (may(caller, "runs.decide") and caller.party_id in run.owner_ids)


def _actions(ws: Workspace, run: Run, caller: Caller) -> list[str]:
    """What the caller may do with a run as it stands, and what there is to fetch."""
    is_mine = scope(caller, "run") == ALL or (may(caller, "run") and caller.party_id == run.party_id)
    sees_log = scope(caller, "runs.see") == ALL or run.owner_ids == (caller.party_id,)
    found = {
        "decide": run.state == states.HELD and _decides_run(run, caller),
        "cancel": not run.is_over and not run.is_cancelling,
        "resume": run.state in states.RESUMABLE and is_mine,
        "receipt": run.is_over and run.has_begun,
        "log": sees_log and bool(RunFolder(ws, run.id).logs()),
    }
    return [name for name, holds in found.items() if holds]


def _readable(data: bytes) -> str | None:
    """A file of source as text; None for what nobody reads on a page."""
    if len(data) > _READABLE or b"\0" in data:
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None
