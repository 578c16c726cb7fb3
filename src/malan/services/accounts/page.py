"""One's own account for the page that shows it, and what one may do with it. Start at `account_page`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from malan.core.errors import UsageError
from malan.services.access import Caller
from malan.services.accounts.api_keys import ApiKey, list_keys
from malan.services.accounts.parties import Party, find_party, session_count, set_password
from malan.services.accounts.passwords import COST, LEAST, Cost
from malan.services.accounts.sessions import sign_in, sign_out
from malan.services.spoken import word

if TYPE_CHECKING:
    from malan.workspace import Workspace


@dataclass(frozen=True, slots=True)
class KeyRow:
    """An API key, without its secret."""

    prefix: str
    label: str
    roles: tuple[str, ...]
    until: str
    is_open: bool


@dataclass(frozen=True, slots=True)
class AccountView:
    """Who is here and as what. In single-user mode there is no party."""

    via: str
    name: str
    login: str
    kind: str
    roles: tuple[str, ...]
    role_labels: tuple[str, ...]
    purpose: str | None
    log_name: str
    sessions: int
    keys: tuple[KeyRow, ...]
    least_password: int = LEAST


def account_page(ws: Workspace, lang: str, caller: Caller) -> AccountView:
    """The account of whoever asks."""
    party = find_party(ws, caller.party_id) if caller.party_id else None
    roles = tuple(sorted(caller.roles))
    labels = tuple(word(f"access.role.{role}", lang) for role in roles)
    if party is None:
        return AccountView(caller.via, "", "", "", roles, labels, None, "", 0, ())
    return AccountView(
        via=caller.via,
        name=party.name,
        login=caller.login,
        kind=word(f"access.kind.{party.kind}", lang),
        roles=roles,
        role_labels=labels,
        purpose=party.purpose,
        log_name=f"urn:malan:party:{party.tag}",
        sessions=session_count(ws, caller.login),
        keys=_keys(ws, caller, party),
    )


def change_own_password(
    ws: Workspace, caller: Caller, now: str, new: str, again: str, *, address: str = "", cost: Cost = COST
) -> None:
    """Give the caller's login another password; whoever does must know the one it has. All its sessions end.

    Raises:
        NotSignedIn, TooManyTries: The password now is another.
        UsageError: The new one is not typed twice alike, or easily guessed.
    """
    if new != again:
        raise UsageError("access.password_differs")
    proof = sign_in(ws, caller.login, now, address=address, cost=cost)
    sign_out(ws, proof.token)
    set_password(ws, caller, caller.login, new, cost=cost)


def _keys(ws: Workspace, caller: Caller, party: Party) -> tuple[KeyRow, ...]:
    now_s = time.time()
    return tuple(_key(one, now_s) for one in list_keys(ws, caller, party.id))


def _key(one: ApiKey, now_s: float) -> KeyRow:
    until = datetime.fromtimestamp(one.ends_s, UTC).date().isoformat()
    return KeyRow(one.prefix, one.label, one.roles, until, one.is_open(now_s))
