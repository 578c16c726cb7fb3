"""On whose behalf somebody acts: a person at this machine, by a name they type; and a caller in the market.

Start at `caller_for` for commands and at `acting` for what parties do with each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from malan.rights.terms import party_id
from malan.services.access import BUYER, COMMAND_LINE, OWNER, Caller, require
from malan.services.footage.owners import owner_names

if TYPE_CHECKING:
    from malan.workspace import Workspace


def caller_for(ws: Workspace, name_or_id: str | None) -> Caller:
    """A person at this machine who acts for a party; without one, the operator."""
    if name_or_id is None:
        return COMMAND_LINE
    party = party_of(ws, name_or_id)
    return Caller(party, frozenset({OWNER, BUYER}), "cli", name=name_or_id)


def party_of(ws: Workspace, name_or_id: str) -> str:
    """The id of a party from what a person typed: its name, known or not, or its id."""
    text = name_or_id.strip()
    return text if text in owner_names(ws) else party_id(text)


def acting(caller: Caller, action: str) -> str | None:
    """On whose behalf somebody acts in the market: a party, or None for an operator, who acts for the owners here.

    Raises:
        NotGranted: The caller may not do this at all.
    """
    if caller.is_operator:
        return None
    require(caller, action, owner_id=caller.party_id)
    return caller.party_id or ""
