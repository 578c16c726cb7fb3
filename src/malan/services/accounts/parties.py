"""Parties: people and organisations, the roles they have here, and the logins that speak for them.

    add_party ─▶ roles ─▶ add_login ─▶ somebody signs in (`sessions`) or a program calls (`api_keys`)

Every change of a role is in the log: what widens is logged before it holds, what narrows holds before it is logged.
The log names a party by a random tag; its name and id are private data. Start at `add_party`.
"""

from __future__ import annotations

import secrets
import time
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, delete, func, select, update

from malan.core.errors import NotFound, Rejected, UsageError
from malan.ledger.statement import Subject, urn
from malan.rights.terms import party_id as id_of_name
from malan.runtime.database import add_new, reading, writing
from malan.services.access import HOUSE, ROLES, Caller, require
from malan.services.accounts.passwords import COST, Cost, check_new_password, hash_password
from malan.services.accounts.tables import accounts, engine_of, profiles, roles, sessions
from malan.services.footage.owners import name_in, owner_names, remember_owner
from malan.services.journal import Fact, events_about, record

if TYPE_CHECKING:
    from malan.workspace import Workspace

KINDS = ("person", "organisation")
_LONGEST_NAME, _LONGEST_LOGIN = 200, 64


@dataclass(frozen=True, slots=True)
class Party:
    """A person or an organisation as it stands here."""

    id: str
    name: str
    kind: str
    roles: tuple[str, ...]
    logins: tuple[str, ...]
    purpose: str | None
    is_disabled: bool
    tag: str  # what the log calls it


def add_party(
    ws: Workspace,
    caller: Caller,
    name: str,
    *,
    kind: str = "person",
    has: Iterable[str] = (),
    purpose: str | None = None,
) -> Party:
    """Admit a party. One of the same name that owns footage already is the same party.

    Args:
        ws: Where.
        caller: Who admits it.
        name: As people write it.
        kind: One of `KINDS`.
        has: Its roles.
        purpose: What it uses footage for; asked of terms that name purposes.

    Raises:
        NotGranted: The caller may not.
        UsageError: The name, the kind or a role is impossible.
        Rejected: There is such a party.
    """
    require(caller, "accounts")
    name, wanted = _checked_name(name), _checked_roles(has)
    if kind not in KINDS:
        raise UsageError("access.bad_kind", kind=kind, kinds=", ".join(KINDS))
    party_id, tag = id_of_name(name), secrets.token_hex(32)
    if party_id in _rows(ws):
        raise Rejected("access.party_exists", name=name)
    facts = {"kind": kind, "roles": list(wanted)}
    record(ws, [Fact("party.admit", (_subject(tag),), "party.add", facts=facts, private=_private(party_id, name))])
    remember_owner(ws, name)
    row = {"party_id": party_id, "tag": tag, "kind": kind, "purpose": purpose, "made_s": time.time()}
    with writing(engine_of(ws)) as connection:
        if not add_new(connection, profiles, {**row, "is_disabled": False}):
            raise Rejected("access.party_exists", name=name)
        add_new(connection, roles, [{"party_id": party_id, "role": role} for role in wanted])
    return find_party(ws, name)


def list_parties(ws: Workspace, *, caller: Caller = HOUSE) -> list[Party]:
    """Everybody who was admitted, by name."""
    require(caller, "accounts.see")
    return sorted(_rows(ws).values(), key=lambda party: party.name.casefold())


def find_party(ws: Workspace, name_or_id: str, *, caller: Caller = HOUSE) -> Party:
    """A party by its name, a login of it, its id or a unique beginning of that.

    Raises:
        NotFound: There is none, or more than one.
    """
    require(caller, "accounts.see")
    known = _rows(ws)
    plain = name_or_id.strip()
    by_name = known.get(id_of_name(plain)) if plain else None
    login = plain_login(plain)
    found = [by_name] if by_name else [party for party in known.values() if login and login in party.logins]
    if not found and len(plain) >= 6:
        found = [party for party_id, party in known.items() if party_id.startswith(plain)]
    if len(found) != 1:
        raise NotFound("access.no_party", name=name_or_id[:80])
    return found[0]


def party_of_login(ws: Workspace, login: str, *, caller: Caller = HOUSE) -> Party:
    """The party a login speaks for.

    Raises:
        NotFound: There is no such login.
    """
    require(caller, "accounts.see")
    plain = plain_login(login)
    found = [party for party in _rows(ws).values() if plain in party.logins]
    if not found:
        raise NotFound("access.no_party", name=login[:80])
    return found[0]


def set_roles(
    ws: Workspace, caller: Caller, name_or_id: str, *, add: Iterable[str] = (), remove: Iterable[str] = ()
) -> Party:
    """Give a party roles and take roles from it; takes effect at its next request.

    Raises:
        NotGranted: The caller may not.
        UsageError: There is no such role.
        NotFound: There is no such party.
    """
    require(caller, "accounts")
    party = find_party(ws, name_or_id)
    more, less = set(_checked_roles(add)), set(_checked_roles(remove))
    after = tuple(role for role in ROLES if role in (set(party.roles) | more) - less)
    gone, new = set(party.roles) - set(after), set(after) - set(party.roles)
    _write_roles(ws, party, gone=gone)
    if gone or new:
        _log_change(ws, party, "party.roles", {"roles": list(after)})
    _write_roles(ws, party, new=new)
    return find_party(ws, party.id)


def set_disabled(ws: Workspace, caller: Caller, name_or_id: str, *, is_disabled: bool) -> Party:
    """Shut a party out, or let it in again: no session, key or password of it opens anything meanwhile.

    Raises:
        NotGranted: The caller may not.
        NotFound: There is no such party.
    """
    require(caller, "accounts")
    party = find_party(ws, name_or_id)
    if party.is_disabled == is_disabled:
        return party
    if is_disabled:
        _write_disabled(ws, party, is_disabled=True)
    _log_change(ws, party, "party.state", {"state": "disabled" if is_disabled else "enabled"})
    if not is_disabled:
        _write_disabled(ws, party, is_disabled=False)
    return find_party(ws, party.id)


def set_purpose(ws: Workspace, caller: Caller, name_or_id: str, purpose: str | None) -> Party:
    """Write down what a party uses footage for; None: it does not say."""
    require(caller, "accounts")
    party = find_party(ws, name_or_id)
    with writing(engine_of(ws)) as connection:
        connection.execute(update(profiles).where(profiles.c.party_id == party.id).values(purpose=purpose or None))
    return find_party(ws, party.id)


def add_login(ws: Workspace, caller: Caller, name_or_id: str, login: str, password: str, *, cost: Cost = COST) -> Party:
    """Let somebody sign in for a party. From the first one on, the console demands that everybody does.

    Raises:
        NotGranted: The caller may not.
        UsageError: The login cannot be one, or the password is easily guessed.
        Rejected: The login is taken.
    """
    require(caller, "accounts")
    party = find_party(ws, name_or_id)
    plain = check_login(login, password, party.name)
    row = {"login": plain, "party_id": party.id, "password": hash_password(password, cost), "changed_s": time.time()}
    with writing(engine_of(ws)) as connection:
        if not add_new(connection, accounts, row):
            raise Rejected("access.login_taken", login=plain)
    return find_party(ws, party.id)


def check_login(login: str, password: str, name: str) -> str:
    """A login as it is kept, if it and the password may be used for a party of this name.

    Raises:
        UsageError: One of them may not.
    """
    plain = plain_login(login)
    if not plain:
        raise UsageError("access.bad_login", login=login[:80], most=_LONGEST_LOGIN)
    check_new_password(password, plain, name)
    return plain


def set_password(ws: Workspace, caller: Caller, login: str, password: str, *, cost: Cost = COST) -> None:
    """Give a login another password, and end all its sessions. Also opens a login again that was ended.

    Raises:
        NotGranted: It is not the caller's own login, and it may not change those of others.
        UsageError: The password is easily guessed.
    """
    plain = plain_login(login)
    if not (plain and caller.login == plain):
        require(caller, "accounts")
    party = party_of_login(ws, plain)
    check_new_password(password, plain, party.name)
    _write_password(ws, plain, hash_password(password, cost))


def end_login(ws: Workspace, caller: Caller, login: str, *, party: str | None = None) -> None:
    """Let nobody sign in with a login any more; it stays taken.

    Raises:
        NotGranted: The caller may not.
        NotFound: There is no such login, or it is not this party's.
    """
    require(caller, "accounts")
    holder = party_of_login(ws, login)
    if party not in (None, holder.id):
        raise NotFound("access.no_party", name=login[:80])
    _write_password(ws, plain_login(login), "")


def has_accounts(ws: Workspace) -> bool:
    """Whether anybody was ever given a login: then nobody is let in without one, for good."""
    with reading(engine_of(ws)) as connection:
        return connection.scalar(select(accounts.c.login).limit(1)) is not None


def caller_of_party(ws: Workspace, party_id: str | None, via: str, *, login: str = "") -> Caller | None:
    """A party as somebody who asks, with the roles it has now; None for one that is not here or is shut out."""
    if party_id is None:
        return None
    with reading(engine_of(ws)) as connection:
        return caller_in(connection, party_id, via, login=login)


def caller_in(connection: Connection, party_id: str, via: str, *, login: str = "") -> Caller | None:
    """The same, within a transaction."""
    row = connection.execute(select(profiles).where(profiles.c.party_id == party_id)).one_or_none()
    if row is None or row.is_disabled:
        return None
    has = connection.scalars(select(roles.c.role).where(roles.c.party_id == party_id)).all()
    return Caller(party_id, frozenset(has) & frozenset(ROLES), via, login, name_in(connection, party_id), row.purpose)


def caller_of_job(ws: Workspace, spec: Mapping[str, Any]) -> Caller:
    """On whose behalf a job works: the party in its `party`, with the roles it has now, else this program."""
    party_id = spec.get("party") or None
    if party_id is None:
        return HOUSE
    return caller_of_party(ws, str(party_id), "job") or Caller(None, frozenset(), "job")


def plain_login(login: str) -> str:
    """A login as it is kept: width, case and spaces around do not matter. Empty for what cannot be one."""
    plain = unicodedata.normalize("NFKC", login).strip().casefold()
    is_fine = 2 <= len(plain) <= _LONGEST_LOGIN and all(c.isalnum() or c in "._@+-" for c in plain)
    return plain if is_fine else ""


def describe_party(party: Party) -> dict[str, Any]:
    """A party as JSON."""
    return {
        "party": party.id,
        "name": party.name,
        "kind": party.kind,
        "roles": list(party.roles),
        "logins": list(party.logins),
        "purpose": party.purpose,
        "disabled": party.is_disabled,
        "log_name": urn("party", party.tag),
    }


def party_subject(party: Party) -> Subject:
    """A party as the subject of an event."""
    return _subject(party.tag)


def _rows(ws: Workspace) -> dict[str, Party]:
    names, has, logins = owner_names(ws), defaultdict(list), defaultdict(list)
    with reading(engine_of(ws)) as connection:
        for row in connection.execute(select(roles)):
            has[row.party_id].append(row.role)
        for row in connection.execute(select(accounts.c.party_id, accounts.c.login).order_by(accounts.c.login)):
            logins[row.party_id].append(row.login)
        rows = connection.execute(select(profiles)).all()
    return {
        row.party_id: Party(
            row.party_id,
            names.get(row.party_id, row.party_id[:12]),
            row.kind,
            tuple(role for role in ROLES if role in has[row.party_id]),
            tuple(logins[row.party_id]),
            row.purpose,
            row.is_disabled,
            row.tag,
        )
        for row in rows
    }


def _checked_name(name: str) -> str:
    plain = " ".join(name.split())
    if not 1 <= len(plain) <= _LONGEST_NAME or not plain.isprintable():
        raise UsageError("access.bad_name", name=plain[:80], most=_LONGEST_NAME)
    return plain


def _checked_roles(names: Iterable[str]) -> tuple[str, ...]:
    wanted = list(names)
    for name in wanted:
        if name not in ROLES:
            raise UsageError("access.no_role", role=name, roles=", ".join(ROLES))
    return tuple(role for role in ROLES if role in wanted)


def _private(party_id: str, name: str) -> dict[str, str]:
    return {"name": name, "party": party_id}


def _subject(tag: str) -> Subject:
    return Subject(urn("party", tag), tag)


def _log_change(ws: Workspace, party: Party, kind: str, facts: dict[str, Any]) -> None:
    subject = party_subject(party)
    number = len(events_about(ws, kind, subject.urn)) + 1
    record(ws, [Fact(kind, (subject,), kind, facts={**facts, "number": number})])


def _write_roles(ws: Workspace, party: Party, *, gone: Iterable[str] = (), new: Iterable[str] = ()) -> None:
    with writing(engine_of(ws), durable=True) as connection:
        where = (roles.c.party_id == party.id, roles.c.role.in_(list(gone)))
        connection.execute(delete(roles).where(*where))
        add_new(connection, roles, [{"party_id": party.id, "role": role} for role in new])


def _write_disabled(ws: Workspace, party: Party, *, is_disabled: bool) -> None:
    with writing(engine_of(ws), durable=True) as connection:
        connection.execute(update(profiles).where(profiles.c.party_id == party.id).values(is_disabled=is_disabled))
        connection.execute(delete(sessions).where(sessions.c.login.in_(party.logins)))


def _write_password(ws: Workspace, login: str, hashed: str) -> None:
    values = {"password": hashed, "changed_s": time.time()}
    with writing(engine_of(ws), durable=True) as connection:
        connection.execute(update(accounts).where(accounts.c.login == login).values(**values))
        connection.execute(delete(sessions).where(sessions.c.login == login))


def session_count(ws: Workspace, login: str) -> int:
    """How many browsers are signed in with a login."""
    where = (sessions.c.login == login, sessions.c.ends_s > time.time())
    with reading(engine_of(ws)) as connection:
        return connection.scalar(select(func.count()).select_from(sessions).where(*where)) or 0
