"""Parties and their accounts for tests, with hashes that cost nothing."""

from __future__ import annotations

from malan.services.access import COMMAND_LINE, Caller
from malan.services.accounts.parties import Party, add_login, add_party, caller_of_party
from malan.services.accounts.passwords import Cost
from malan.workspace import Workspace

CHEAP = Cost(log2_n=4)
PASSWORD = "a quiet night at the fence"


def party(ws: Workspace, name: str, *roles: str, login: str = "", kind: str = "person", purpose: str = "") -> Party:
    """A party admitted at the command line, with a login if one is named."""
    made = add_party(ws, COMMAND_LINE, name, kind=kind, has=roles, purpose=purpose or None)
    return add_login(ws, COMMAND_LINE, made.id, login, PASSWORD, cost=CHEAP) if login else made


def calling(ws: Workspace, name: str, *roles: str, purpose: str = "") -> Caller:
    """A party that asks, as after signing in."""
    found = caller_of_party(ws, party(ws, name, *roles, purpose=purpose).id, "session")
    assert found is not None
    return found
