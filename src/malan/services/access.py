"""Who asks, and what each role may do: one table, asked before anything is read or written. It fails closed.

    Caller ─ require(caller, action, owner_id) ─▶ nothing, or NotGranted

A role may do an action to everything, or to what is its own only. An action that is not in the table is denied to all.
What owners allow others to do with footage is decided by their terms, in `uses`; both must say yes. Start at `ACTIONS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from malan.core.errors import MalanError, NotGranted

OWNER, BUYER, ANNOTATOR, REVIEWER, OPERATOR, AUDITOR = (
    "owner",
    "buyer",
    "annotator",
    "reviewer",
    "operator",
    "auditor",
)
ROLES = (OWNER, BUYER, ANNOTATOR, REVIEWER, OPERATOR, AUDITOR)

ALL, OWN = "all", "own"

_LOOK = {OPERATOR: ALL, BUYER: ALL, ANNOTATOR: ALL, REVIEWER: ALL, OWNER: OWN}  # buyers and staff: as terms allow

ACTIONS: Mapping[str, Mapping[str, str]] = {
    "asset.add": {OPERATOR: ALL, OWNER: OWN},
    "asset.withdraw": {OPERATOR: ALL, OWNER: OWN},
    "asset.restore": {OPERATOR: ALL, OWNER: OWN},
    "scan": {OPERATOR: ALL},
    "find": _LOOK,
    "show": _LOOK,
    "play": _LOOK,
    "list": _LOOK,
    "export": {OPERATOR: ALL, BUYER: ALL, OWNER: OWN},
    "publish": {OPERATOR: ALL, OWNER: OWN},
    "freeze": {OPERATOR: ALL, OWNER: OWN},
    "snapshots": {OPERATOR: ALL, BUYER: ALL, OWNER: OWN},
    "offer": {OPERATOR: ALL, OWNER: OWN},
    "order": {OPERATOR: ALL, BUYER: OWN},
    "sign": {OPERATOR: ALL, OWNER: OWN, BUYER: OWN},
    "run": {OPERATOR: ALL, BUYER: OWN},
    "runs.see": {OPERATOR: ALL, OWNER: OWN, BUYER: OWN},
    "runs.decide": {OPERATOR: ALL, OWNER: OWN},
    "algorithms.see": {OPERATOR: ALL, AUDITOR: ALL, OWNER: OWN, BUYER: OWN},
    "algorithms.submit": {OPERATOR: ALL, BUYER: OWN},
    "algorithms.decide": {OPERATOR: ALL, OWNER: OWN},
    "models.see": {OPERATOR: ALL, AUDITOR: ALL, OWNER: OWN, BUYER: OWN},
    "models.change": {OPERATOR: ALL},
    "models.approve": {OPERATOR: ALL, OWNER: OWN},
    "app.see": {OPERATOR: ALL, OWNER: ALL, BUYER: ALL, REVIEWER: ALL},
    "app.run": {OPERATOR: ALL, OWNER: ALL, BUYER: ALL, REVIEWER: ALL},
    "annotate": {OPERATOR: ALL, ANNOTATOR: ALL},
    "review": {OPERATOR: ALL, REVIEWER: ALL},
    "settle": {OPERATOR: ALL},
    "statements": {OPERATOR: ALL, AUDITOR: ALL, OWNER: OWN, BUYER: OWN},
    "dispute": {OPERATOR: ALL, OWNER: OWN, BUYER: OWN},
    "jobs.see": {OPERATOR: ALL},
    "jobs.change": {OPERATOR: ALL},
    "trace": {OPERATOR: ALL, AUDITOR: ALL},
    "library.see": {OPERATOR: ALL},  # the register as it stands, whatever terms allow; others ask `browse` and `views`
    "log.read": {OPERATOR: ALL, AUDITOR: ALL},
    "log.forget": {OPERATOR: ALL},
    "log.witness": {OPERATOR: ALL},
    "keys": {OPERATOR: ALL},
    "settings": {OPERATOR: ALL},
    "accounts": {OPERATOR: ALL},
    "accounts.see": {OPERATOR: ALL, AUDITOR: ALL},
    "own.account": dict.fromkeys(ROLES, OWN),
}
"""Action → role → to everything, or to its own only. Footage of others needs the consent of its terms as well."""


class NotSignedIn(MalanError):
    """Nobody is known to ask: no session, no key, or one that has ended."""

    exit_code = 3


@dataclass(frozen=True, slots=True)
class Caller:
    """The party on whose behalf something is done, what it may be here, and how it is known.

    `via` is one of: `house` (this program at work on its own behalf), `cli` (a person at this machine), `single-user`
    (the console on the loopback, before there are accounts), `session`, `key`.
    """

    party_id: str | None
    roles: frozenset[str]
    via: str
    login: str = ""
    name: str = ""
    purpose: str | None = None  # what the party uses footage for, where terms name purposes
    grant_id: str = ""  # the grant it acts under; then the agreement decides about footage, not open terms

    @property
    def is_operator(self) -> bool:
        return OPERATOR in self.roles

    def owns(self, owner_id: str) -> bool:
        """Whether something of this owner is the caller's own."""
        return self.party_id is not None and OWNER in self.roles and self.party_id == owner_id


HOUSE = Caller(None, frozenset({OPERATOR}), "house")
"""This program on its own behalf: what services do for each other, and what a job does that an operator started."""

COMMAND_LINE = Caller(None, frozenset({OPERATOR}), "cli")
"""Whoever may run commands in the workspace's folder may read its files: the operator."""

SINGLE_USER = Caller(None, frozenset({OPERATOR}), "single-user")
"""Whoever is at this machine, as long as nobody has an account."""


def scope(caller: Caller, action: str) -> str | None:
    """How far a caller may go with an action: `all`, `own`, or None for not at all."""
    scopes = {ACTIONS.get(action, {}).get(role) for role in caller.roles}
    return ALL if ALL in scopes else OWN if OWN in scopes else None


def may(caller: Caller | None, action: str) -> bool:
    """Whether a caller may do an action to anything at all: for faces, before they ask for the thing itself."""
    return caller is not None and scope(caller, action) is not None


def require(caller: Caller, action: str, *, owner_id: str | None = None) -> None:
    """Go on only when the caller may do this.

    Args:
        caller: Who asks.
        action: One of `ACTIONS`.
        owner_id: The party whose thing it is; without one, only who may do it to everything may do it.

    Raises:
        NotGranted: It may not, or nobody has written down that anybody may.
    """
    allowed = scope(caller, action)
    if allowed == ALL or (allowed == OWN and owner_id is not None and owner_id == caller.party_id):
        return
    raise denied(caller, action)


def denied(caller: Caller, action: str) -> NotGranted:
    """The refusal of an action: what was asked, by whom, and which roles may."""
    roles = [role for role in ROLES if role in caller.roles] or ["–"]
    able = [role for role in ROLES if role in ACTIONS.get(action, {})] or ["–"]
    return NotGranted("access.denied", action=action, name=caller.name or caller.via, roles=roles, able=able)
