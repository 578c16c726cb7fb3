"""What owners say about code that is to learn from their footage: approved, rejected, or trusted with its publisher.

    Algorithm ─ approve_algorithm, reject_algorithm, revoke_approval, by each owner ─▶ Approval, asked before every run

An approval is for one digest: a new version is new code. An owner who trusts a publisher approves what that party
submits, until a rejection says otherwise. The last word counts, at the next run. Start reading at `approval_of`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Insert, insert, select

from malan.core import Decision, Reason
from malan.core.errors import NotFound, Rejected, UsageError
from malan.ledger.statement import Input, Subject, urn
from malan.runtime.database import reading, writing
from malan.services.access import ALL, HOUSE, OWNER, Caller, denied, scope
from malan.services.accounts.acting import acting, party_of
from malan.services.footage.owners import owner_names
from malan.services.journal import Fact, record
from malan.services.runs.algorithm_tables import DECISIONS, REQUESTS, TRUST, VERSIONS, algorithm_tables
from malan.services.runs.algorithms import (
    Algorithm,
    built_in_digests,
    find_algorithm,
    list_algorithms,
    load_package,
    versions_of,
)
from malan.training.package import Difference, compare_packages

if TYPE_CHECKING:
    from malan.workspace import Workspace

APPROVED, REJECTED, REVOKED = "approved", "rejected", "revoked"
TRUSTED, WAITING, BUILT_IN = "trusted", "waiting", "built-in"
GIVEN, TAKEN = "given", "taken"
LONGEST_REASON = 500
_REASONS = {
    APPROVED: "algorithm.is_approved",
    TRUSTED: "algorithm.is_trusted",
    BUILT_IN: "algorithm.needs_none",
    REJECTED: "algorithm.is_rejected",
    REVOKED: "algorithm.is_revoked",
    WAITING: "algorithm.is_waiting",
}


@dataclass(frozen=True)
class Approval:
    """Whether a version may run on footage of owners, and what each of them said: approved, trusted, …"""

    digest: str
    states: Mapping[str, str]  # by owner id
    decision: Decision

    @property
    def missing(self) -> tuple[str, ...]:
        """The owners who have not said yes; those who said no are among them."""
        return tuple(one for one, state in self.states.items() if state in (WAITING, REVOKED, REJECTED))

    @property
    def is_rejected(self) -> bool:
        return REJECTED in self.states.values()


@dataclass(frozen=True)
class Said:
    """Something an owner said about a version."""

    number: int
    digest: str
    owner_id: str
    decision: str
    reason: str
    person: str
    at: str


def approval_of(ws: Workspace, digest: str, owner_ids: Iterable[str]) -> Approval:
    """What owners say about a version today; to be asked before every run. Whoever is silent has not approved."""
    asked = sorted(set(owner_ids))
    if digest in built_in_digests():
        states = dict.fromkeys(asked, BUILT_IN)
    else:
        said, trusted = _last_words(ws, digest), _trusted_by(ws, digest)
        states = {one: said.get(one) or (TRUSTED if one in trusted else WAITING) for one in asked}
    names = owner_names(ws)
    allowed = bool(states) and all(state in (APPROVED, TRUSTED, BUILT_IN) for state in states.values())
    reasons = [
        Reason(_REASONS[state], (("owner", names.get(one, one[:12])), ("algorithm", digest[:12])))
        for one, state in states.items()
    ]
    return Approval(digest, states, Decision(allowed, tuple(reasons) or (Reason("algorithm.no_owners"),)))


def approved_for(ws: Workspace, digest: str, owner_ids: Iterable[str]) -> Decision:
    """The same as yes or no, with the word of each owner as a reason."""
    return approval_of(ws, digest, owner_ids).decision


def approve_algorithm(ws: Workspace, text: str, *, reason: str = "", caller: Caller = HOUSE) -> Approval:
    """Allow one version of an algorithm on the caller's footage. Twice does no harm.

    Args:
        ws: Where.
        text: Which, as `find_algorithm` takes it; a name alone only while there is one version of it.
        reason: Kept, and shown to the party that submitted it.
        caller: The owner; whoever runs this workspace from its folder decides for all owners that were asked.

    Raises:
        NotFound: There is none that the caller may see.
        Rejected: It comes with Malan and needs no approval.
        UsageError: Nobody was asked about it, or a name does not say which version.
        NotGranted: The caller is no owner.
    """
    return _decide(ws, text, APPROVED, reason, caller)


def reject_algorithm(ws: Workspace, text: str, *, reason: str, caller: Caller = HOUSE) -> Approval:
    """Refuse one version, also when its publisher is trusted. It can be approved later. See `approve_algorithm`."""
    return _decide(ws, text, REJECTED, reason, caller)


def revoke_approval(ws: Workspace, text: str, *, reason: str, caller: Caller = HOUSE) -> Approval:
    """Take an approval back: the next run waits again. What has begun goes on. See `approve_algorithm`."""
    return _decide(ws, text, REVOKED, reason, caller)


def trust_publisher(
    ws: Workspace,
    publisher: str,
    *,
    trusted: bool = True,
    reason: str = "",
    owners: Iterable[str] = (),
    caller: Caller = HOUSE,
) -> tuple[str, ...]:
    """Approve whatever a party submits, now and later, or stop doing so; for whom it was done.

    Args:
        ws: Where.
        publisher: The party, by name or id. Trust goes to the party that submits, not to a name in a file.
        trusted: Give trust, or take it.
        reason: Kept.
        owners: Owners for whom an operator at this machine does it; an owner does it for itself.
        caller: Who.

    Raises:
        NotFound: There is no such party.
        UsageError: Nothing says for which owner.
    """
    publisher_id = party_of(ws, publisher)
    mine = _owner_of(caller)
    owner_ids = (mine,) if mine else tuple(sorted(party_of(ws, one) for one in owners))
    if missing := {publisher_id, *owner_ids} - owner_names(ws).keys():
        raise NotFound("access.no_party", name=publisher[:80] if publisher_id in missing else caller.name)
    if not owner_ids:
        raise UsageError("algorithm.for_whom")
    state = GIVEN if trusted else TAKEN
    for owner_id in owner_ids:
        if (publisher_id in _trusts(ws, owner_id)) != trusted:
            _record_trust(ws, publisher_id, owner_id, state, _plain(reason), _person(caller))
    return owner_ids


def trusted_publishers(ws: Workspace, *, caller: Caller = HOUSE) -> dict[str, tuple[str, ...]]:
    """Which publishers each owner trusts: the caller's own word, or everybody's for who runs this workspace."""
    mine = _viewer(caller)
    with reading(algorithm_tables(ws)) as connection:
        owner_ids = [mine] if mine is not None else sorted(set(connection.scalars(select(TRUST.c.owner_id))))
    return {one: tuple(sorted(_trusts(ws, one))) for one in owner_ids}


def describe_trust(ws: Workspace, *, caller: Caller = HOUSE) -> list[dict[str, Any]]:
    """The same as JSON, by name."""
    names = owner_names(ws)
    return [
        {"owner": names.get(owner_id, owner_id[:12]), "trusts": [names.get(one, one[:12]) for one in trusted]}
        for owner_id, trusted in trusted_publishers(ws, caller=caller).items()
    ]


def compare_with_before(
    ws: Workspace, text: str, before: str | None = None, *, caller: Caller = HOUSE
) -> Difference | None:
    """What is new in a version.

    Args:
        ws: Where.
        text: Which version.
        before: What to compare with; without it, the newest earlier version that the caller approved, else the newest
            earlier one. None is returned when there is none.
        caller: Who asks; sees nothing that it may not see.
    """
    found = find_algorithm(ws, text, caller=caller)
    if before is not None:
        other: Algorithm | None = find_algorithm(ws, before, caller=caller)
    else:
        older = versions_of(list_algorithms(ws, caller=caller), found)
        mine = _viewer(caller)
        approved = [one for one in older if mine and _last_words(ws, one.digest).get(mine) == APPROVED]
        other = next(iter(approved or older), None)
    if other is None:
        return None
    return compare_packages(load_package(ws, other.digest), load_package(ws, found.digest))


def describe_approvals(
    ws: Workspace, algorithm: Algorithm, *, caller: Caller = HOUSE, lang: str | None = None
) -> dict[str, Any]:
    """Where a version stands with each owner that was asked, and all that was said, as far as the caller may know.

    Whoever submitted it sees who has yet to decide and what was decided, with the reasons given; an owner its own word.
    """
    mine = _viewer(caller)
    asked = _asked(ws, algorithm)
    if mine is not None and mine != algorithm.party_id:
        asked &= {mine}
    approval = approval_of(ws, algorithm.digest, asked)
    names = owner_names(ws)
    said = [one for one in said_about(ws, algorithm.digest) if one.owner_id in asked]
    return {
        "needs_approval": not algorithm.is_built_in,
        "allowed": approval.decision.allowed,
        "owners": [
            {"id": one, "name": names.get(one, one[:12]), "state": state} for one, state in approval.states.items()
        ],
        "reasons": [one.text(lang) for one in approval.decision.reasons],
        "history": [
            {
                "owner": names.get(one.owner_id, one.owner_id[:12]),
                "decision": one.decision,
                "reason": one.reason,
                "at": one.at,
            }
            for one in said
        ],
    }


def said_about(ws: Workspace, digest: str) -> list[Said]:
    """Everything that owners said about a version, the oldest first."""
    with reading(algorithm_tables(ws)) as connection:
        columns = (DECISIONS.c[name] for name in Said.__dataclass_fields__)
        rows = connection.execute(select(*columns).where(DECISIONS.c.digest == digest).order_by(DECISIONS.c.number))
        return [Said(*row) for row in rows]


def _decide(ws: Workspace, text: str, decision: str, reason: str, caller: Caller) -> Approval:
    found = find_algorithm(ws, text, caller=caller)
    same = [
        one for one in list_algorithms(ws, caller=caller) if (one.party_id, one.name) == (found.party_id, found.name)
    ]
    if text.strip() == found.name and len(same) > 1:  # who read one version must not decide on the next
        raise UsageError(
            "algorithm.which_version", name=found.name, references=", ".join(one.reference for one in same)
        )
    if found.is_built_in:
        raise Rejected("algorithm.needs_none", owner="", algorithm=found.reference)
    owner_ids = _deciders(ws, found, caller)
    words = _last_words(ws, found.digest)
    for owner_id in owner_ids:
        if words.get(owner_id) != decision:
            _record_word(ws, found.digest, owner_id, decision, _plain(reason), _person(caller))
    return approval_of(ws, found.digest, owner_ids)


def _deciders(ws: Workspace, algorithm: Algorithm, caller: Caller) -> tuple[str, ...]:
    """For which owners the caller decides."""
    mine = _owner_of(caller)
    if mine is not None:
        return (mine,)
    asked = _asked(ws, algorithm)
    if not asked:
        raise UsageError("algorithm.for_whom")
    return tuple(sorted(asked))


def _asked(ws: Workspace, algorithm: Algorithm) -> set[str]:
    """The owners who were asked about a version of this party."""
    mine = (REQUESTS.c.digest == algorithm.digest, REQUESTS.c.party_id == algorithm.party_id)
    with reading(algorithm_tables(ws)) as connection:
        return set(connection.scalars(select(REQUESTS.c.owner_id).where(*mine)))


def _viewer(caller: Caller) -> str | None:
    """The party that looks; None for whoever may see everything.

    Raises:
        NotGranted: The caller may see no algorithms.
    """
    if scope(caller, "algorithms.see") == ALL:
        return None
    return acting(caller, "algorithms.see")


def _owner_of(caller: Caller) -> str | None:
    """The owner who decides; None for whoever runs this workspace from its folder, and acts for all owners.

    Raises:
        NotGranted: Somebody else, an operator who is signed in from afar included: code is the owner's to approve.
    """
    if caller.is_operator and caller.via not in ("session", "key"):
        return acting(caller, "algorithms.decide")
    if OWNER not in caller.roles:
        raise denied(caller, "algorithms.decide")
    return caller.party_id or ""


def _record_word(ws: Workspace, digest: str, owner_id: str, decision: str, reason: str, person: str) -> None:
    """What widens is in the log before it holds; what narrows holds before it is in the log."""
    tag = secrets.token_hex(32)
    row = {"tag": tag, "digest": digest, "owner_id": owner_id, "decision": decision}
    row |= {"reason": reason, "person": person, "at": _now()}
    fact = Fact(
        "algorithm.decide",
        (Subject(urn("decision", tag), tag),),
        "algorithm.decide",
        inputs=(Input(urn("algorithm", digest), digest, "about"),),
        facts={"decision": decision},
        private={"owner": owner_id, "reason": reason},
        owners=(owner_id,),
    )
    _log_and_keep(ws, fact, insert(DECISIONS).values(**row), widens=decision == APPROVED)


def _record_trust(ws: Workspace, publisher_id: str, owner_id: str, state: str, reason: str, person: str) -> None:
    tag = secrets.token_hex(32)
    row = {"tag": tag, "owner_id": owner_id, "publisher_id": publisher_id, "state": state}
    row |= {"reason": reason, "person": person, "at": _now()}
    fact = Fact(
        "algorithm.trust",
        (Subject(urn("decision", tag), tag),),
        "algorithm.trust",
        facts={"state": state},
        private={"owner": owner_id, "publisher": publisher_id, "reason": reason},
        owners=(owner_id,),
    )
    _log_and_keep(ws, fact, insert(TRUST).values(**row), widens=state == GIVEN)


def _log_and_keep(ws: Workspace, fact: Fact, row: Insert, *, widens: bool) -> None:
    if widens:
        record(ws, [fact])
    with writing(algorithm_tables(ws), durable=True) as connection:
        connection.execute(row)
    if not widens:
        record(ws, [fact])


def _last_words(ws: Workspace, digest: str) -> dict[str, str]:
    return {one.owner_id: one.decision for one in said_about(ws, digest)}


def _trusted_by(ws: Workspace, digest: str) -> set[str]:
    """The owners who trust a party that submitted this version."""
    with reading(algorithm_tables(ws)) as connection:
        parties = set(connection.scalars(select(VERSIONS.c.party_id).where(VERSIONS.c.digest == digest)))
        owner_ids = set(connection.scalars(select(TRUST.c.owner_id)))
    return {one for one in owner_ids if _trusts(ws, one) & parties}


def _trusts(ws: Workspace, owner_id: str) -> set[str]:
    """The publishers an owner trusts today."""
    mine = select(TRUST.c.publisher_id, TRUST.c.state).where(TRUST.c.owner_id == owner_id).order_by(TRUST.c.number)
    with reading(algorithm_tables(ws)) as connection:
        states = {row.publisher_id: row.state for row in connection.execute(mine)}
    return {one for one, state in states.items() if state == GIVEN}


def _plain(reason: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in reason).split())[:LONGEST_REASON]


def _person(caller: Caller) -> str:
    return caller.login or caller.name or caller.via


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
