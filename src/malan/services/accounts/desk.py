"""Parties as whoever administers them sees and changes them: one page each, steps that cannot lock everybody out.

    parties_page, party_page ─ what there is ─▶ admit, take_step ─▶ parties, api_keys (which check and log)

Passwords are made here and shown once; whoever gets one changes it. Start at `take_step`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from malan.core.errors import Rejected, UsageError
from malan.core.numbers import read_whole
from malan.services.access import OPERATOR, Caller, may, require
from malan.services.accounts.api_keys import DAYS, MOST_DAYS, describe_key, end_key, list_keys, make_key
from malan.services.accounts.parties import (
    Party,
    add_login,
    add_party,
    check_login,
    describe_party,
    end_login,
    find_party,
    has_accounts,
    list_parties,
    session_count,
    set_disabled,
    set_password,
    set_purpose,
    set_roles,
)
from malan.services.accounts.passwords import COST, Cost, new_password
from malan.services.accounts.sessions import sign_out_everywhere

if TYPE_CHECKING:
    from malan.workspace import Workspace

Said = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Done:
    """What a step left: the party as it stands, and what is shown only now: a password or a key."""

    party: Party
    login: str = ""
    password: str = ""
    key: str = ""


def parties_page(ws: Workspace, *, caller: Caller) -> dict[str, Any]:
    """Everybody who was admitted, by name; whether anybody has an account, and whether the caller may admit more."""
    listed = [describe_party(one) for one in list_parties(ws, caller=caller)]
    return {"parties": listed, "has_accounts": has_accounts(ws), "may_change": may(caller, "accounts")}


def party_page(ws: Workspace, name_or_id: str, *, caller: Caller) -> dict[str, Any]:
    """One party with its logins, how many browsers each is signed in with, and its keys.

    Raises:
        NotFound: There is no such party.
    """
    party = find_party(ws, name_or_id, caller=caller)
    now = time.time()
    keys = [describe_key(one) | {"open": one.is_open(now)} for one in list_keys(ws, caller, party.id)]
    logins = [{"login": one, "sessions": session_count(ws, one)} for one in party.logins]
    return describe_party(party) | {
        "logins": logins,
        "keys": keys,
        "may_change": may(caller, "accounts"),
        "is_me": party.id == caller.party_id,
        "days": DAYS,
        "most_days": MOST_DAYS,
    }


def admit(ws: Workspace, said: Said, *, caller: Caller, cost: Cost = COST) -> Done:
    """Admit a party, with a login where one is named.

    Raises:
        NotGranted: The caller may not.
        UsageError: A name, kind, role or login is impossible.
        Rejected: There is such a party or login, or the first to sign in could administer nothing.
    """
    require(caller, "accounts")
    login, roles, name = _first(said, "login"), list(said.get("role", ())), _first(said, "name")
    password = new_password()
    if login:
        _check_first(ws, OPERATOR in roles)
        check_login(login, password, name)
    kind, purpose = _first(said, "kind") or "person", _first(said, "purpose")
    party = add_party(ws, caller, name, kind=kind, has=roles, purpose=purpose or None)
    if not login:
        return Done(party)
    return Done(add_login(ws, caller, party.id, login, password, cost=cost), login, password)


def take_step(ws: Workspace, party: str, step: str, said: Said, *, caller: Caller, cost: Cost = COST) -> Done:
    """Do one of `STEPS` to a party.

    Raises:
        NotGranted: The caller may not.
        NotFound: There is no such party, login or key.
        UsageError: There is no such step, or what was said makes no sense.
        Rejected: Nobody could administer any more.
    """
    require(caller, "accounts")
    if step not in STEPS:
        raise UsageError("admin.no_step", step=step[:40])
    return STEPS[step](_Step(ws, find_party(ws, party, caller=caller), said, caller, cost))


@dataclass(frozen=True, slots=True)
class _Step:
    """A step that was asked for: to whom, with what, by whom."""

    ws: Workspace
    party: Party
    said: Said
    caller: Caller
    cost: Cost

    def word(self, name: str) -> str:
        return _first(self.said, name)


def _roles(asked: _Step) -> Done:
    wanted = set(asked.said.get("role", ()))
    if OPERATOR not in wanted:
        _check_others(asked)
    if asked.word("purpose") != (asked.party.purpose or ""):
        set_purpose(asked.ws, asked.caller, asked.party.id, asked.word("purpose")[:200])
    gone = set(asked.party.roles) - wanted
    return Done(set_roles(asked.ws, asked.caller, asked.party.id, add=wanted, remove=gone))


def _login(asked: _Step) -> Done:
    login, password = asked.word("login"), new_password()
    _check_first(asked.ws, OPERATOR in asked.party.roles)
    party = add_login(asked.ws, asked.caller, asked.party.id, login, password, cost=asked.cost)
    return Done(party, login, password)


def _password(asked: _Step) -> Done:
    """Another password, which opens an ended login again."""
    login, password = _own_login(asked), new_password()
    set_password(asked.ws, asked.caller, login, password, cost=asked.cost)
    return Done(asked.party, login, password)


def _end_login(asked: _Step) -> Done:
    _check_others(asked)
    end_login(asked.ws, asked.caller, _own_login(asked), party=asked.party.id)
    return Done(find_party(asked.ws, asked.party.id))


def _key(asked: _Step) -> Done:
    said = asked.word("days") or str(DAYS)
    if (days := read_whole(said, 5)) is None:
        raise UsageError("access.key_days", days=said[:20], most=MOST_DAYS)
    wanted, label = asked.said.get("role", ()), asked.word("label")
    made = make_key(asked.ws, asked.caller, asked.party.id, has=wanted, days=days, label=label)
    return Done(asked.party, key=made.text)


def _end_key(asked: _Step) -> Done:
    end_key(asked.ws, asked.caller, asked.word("prefix"), party=asked.party.id)
    return Done(asked.party)


def _disable(asked: _Step) -> Done:
    _check_others(asked)
    return Done(set_disabled(asked.ws, asked.caller, asked.party.id, is_disabled=True))


def _enable(asked: _Step) -> Done:
    return Done(set_disabled(asked.ws, asked.caller, asked.party.id, is_disabled=False))


def _sign_out(asked: _Step) -> Done:
    for login in asked.party.logins:
        sign_out_everywhere(asked.ws, login, caller=asked.caller)
    return Done(asked.party)


STEPS: Mapping[str, Callable[[_Step], Done]] = {
    "roles": _roles,
    "login": _login,
    "password": _password,
    "end-login": _end_login,
    "key": _key,
    "end-key": _end_key,
    "disable": _disable,
    "enable": _enable,
    "sign-out": _sign_out,
}
"""What may be done to a party, by the last part of the address."""


def _check_first(ws: Workspace, is_operator: bool) -> None:
    """The first login ends single-user mode: it must be somebody's who can go on administering."""
    if not is_operator and not has_accounts(ws):
        raise Rejected("admin.first_operator")


def _check_others(asked: _Step) -> None:
    """Somebody else can still administer, where accounts rule and this party is an operator."""
    if OPERATOR not in asked.party.roles or not asked.party.logins or asked.party.is_disabled:
        return
    others = [one for one in list_parties(asked.ws) if one.id != asked.party.id]
    if not any(OPERATOR in one.roles and one.logins and not one.is_disabled for one in others):
        raise Rejected("admin.last_operator", name=asked.party.name)


def _own_login(asked: _Step) -> str:
    """A login of this party, so that a page about one changes no other."""
    login = asked.word("login")
    if login not in asked.party.logins:
        raise UsageError("admin.other_login", login=login[:80], name=asked.party.name)
    return login


def _first(said: Said, name: str) -> str:
    return next(iter(said.get(name, ())), "").strip()
