"""Keys for programs: shown once, kept as a hash, found by their prefix, with an end and no more roles than their party.

    mk_3kQ9…_<secret>     `mk_` and the prefix may be shown, the secret never again

Making and ending a key is in the log. Start at `make_key`.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update

from malan.core.errors import NotFound, UsageError
from malan.ledger.statement import Input, Subject, urn
from malan.runtime.database import reading, writing
from malan.services.access import ROLES, Caller, NotSignedIn, require
from malan.services.accounts.parties import Party, caller_of_party, find_party, list_parties, party_subject
from malan.services.accounts.tables import api_keys, engine_of
from malan.services.journal import Fact, record

if TYPE_CHECKING:
    from sqlalchemy import Row

    from malan.workspace import Workspace

MARK = "mk"
DAYS, MOST_DAYS = 90, 366
_DAY_S = 86_400.0
_NOTED_EVERY_S = 60.0
_NOBODY = hashlib.sha256(b"nobody").hexdigest()
_LETTERS = "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it may be shown."""

    prefix: str
    party_id: str
    party: str
    roles: tuple[str, ...]
    label: str
    made_s: float
    ends_s: float
    used_s: float | None
    is_ended: bool

    def is_open(self, now_s: float) -> bool:
        """Whether it opens anything at that time."""
        return not self.is_ended and now_s < self.ends_s


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made; `text` is the only time it is seen whole."""

    text: str
    key: ApiKey


def make_key(
    ws: Workspace,
    caller: Caller,
    name_or_id: str,
    *,
    has: Iterable[str] = (),
    days: int = DAYS,
    label: str = "",
    now_s: float | None = None,
) -> NewKey:
    """Make a key for a program of a party.

    Args:
        ws: Where.
        caller: Who makes it: an operator, or the party itself by a session.
        name_or_id: Whose.
        has: Its roles, of those the party has; without any, all of them.
        days: How long it opens anything.
        label: What it is for.
        now_s: The time.

    Raises:
        NotGranted: The caller may not.
        UsageError: The party has no such role, or the number of days is impossible.
    """
    party = find_party(ws, name_or_id)
    _require_own(caller, party)
    wanted = tuple(role for role in ROLES if role in (set(has) or set(party.roles)))
    if stray := sorted(set(has) - set(party.roles)):
        raise UsageError("access.key_role", role=stray[0], name=party.name, roles=", ".join(party.roles) or "–")
    if not 1 <= days <= MOST_DAYS or len(label) > 100 or not label.isprintable():
        raise UsageError("access.key_days", days=days, most=MOST_DAYS)
    now = time.time() if now_s is None else now_s
    prefix = "".join(secrets.choice(_LETTERS) for _ in range(10))
    secret = secrets.token_urlsafe(32)
    row = {
        "prefix": prefix, "digest": _digest(secret), "party_id": party.id, "roles": ",".join(wanted), "label": label,
        "made_s": now, "ends_s": now + days * _DAY_S, "is_ended": False,
    }  # fmt: skip
    record(ws, [_fact("key.issue", row, party, {"roles": list(wanted), "days": days}, {"label": label})])
    with writing(engine_of(ws)) as connection:
        connection.execute(api_keys.insert().values(**row))
    return NewKey(f"{MARK}_{prefix}_{secret}", _find(ws, prefix))


def list_keys(ws: Workspace, caller: Caller, name_or_id: str | None = None) -> list[ApiKey]:
    """Keys of a party, or of all, the newest first."""
    party = find_party(ws, name_or_id) if name_or_id else None
    if party is None or party.id != caller.party_id:  # everybody sees what is its own
        require(caller, "accounts.see")
    return [key for key in _all(ws) if party is None or key.party_id == party.id]


def end_key(ws: Workspace, caller: Caller, prefix: str, *, party: str | None = None, reason: str = "revoked") -> ApiKey:
    """Let a key open nothing any more, from the next request on.

    Args:
        ws: Where.
        caller: Who ends it: an operator, or its party by a session.
        prefix: Which, with or without `mk_`.
        party: Whose it must be; of anybody else there is no such key.
        reason: Why, for the log.

    Raises:
        NotFound: There is none with this prefix, or it is another party's.
        NotGranted: The caller may not.
    """
    key = _find(ws, prefix)
    if party is not None and key.party_id != party:
        raise NotFound("access.no_key", prefix=key.prefix)
    holder = find_party(ws, key.party_id)
    _require_own(caller, holder)
    with writing(engine_of(ws), durable=True) as connection:
        connection.execute(update(api_keys).where(api_keys.c.prefix == key.prefix).values(is_ended=True))
        digest = connection.scalar(select(api_keys.c.digest).where(api_keys.c.prefix == key.prefix))
    record(ws, [_fact("key.end", {"prefix": key.prefix, "digest": digest}, holder, {"reason": reason})])
    return _find(ws, key.prefix)


def caller_of_key(ws: Workspace, text: str, *, now_s: float | None = None) -> Caller:
    """Who calls with a key, with the roles that both the key and its party have now.

    Raises:
        NotSignedIn: It opens nothing: unknown, wrong, ended, or its party is shut out; the same in every case.
    """
    now = time.time() if now_s is None else now_s
    mark, _, rest = text.strip().partition("_")
    prefix, _, secret = rest.partition("_")
    with reading(engine_of(ws)) as connection:
        row = connection.execute(select(api_keys).where(api_keys.c.prefix == prefix[:20])).one_or_none()
    is_right = hmac.compare_digest(_digest(secret), row.digest if row else _NOBODY)
    if row is None or not is_right or mark != MARK or row.is_ended or now >= row.ends_s:
        raise NotSignedIn("access.bad_key")
    caller = caller_of_party(ws, row.party_id, "key")
    if caller is None:
        raise NotSignedIn("access.bad_key")
    if row.used_s is None or now - row.used_s > _NOTED_EVERY_S:
        with writing(engine_of(ws)) as connection:
            connection.execute(update(api_keys).where(api_keys.c.prefix == row.prefix).values(used_s=now))
    return replace(caller, roles=caller.roles & frozenset(row.roles.split(",")))


def has_open_keys(ws: Workspace, *, now_s: float | None = None) -> bool:
    """Whether any key opens anything."""
    now = time.time() if now_s is None else now_s
    return any(key.is_open(now) for key in _all(ws))


def describe_key(key: ApiKey) -> dict[str, Any]:
    """A key as JSON, without its secret."""
    return {
        "prefix": f"{MARK}_{key.prefix}",
        "party": key.party_id,
        "name": key.party,
        "roles": list(key.roles),
        "label": key.label,
        "made_s": round(key.made_s),
        "ends_s": round(key.ends_s),
        "used_s": None if key.used_s is None else round(key.used_s),
        "ended": key.is_ended,
    }


def _require_own(caller: Caller, party: Party) -> None:
    """Keys are made and ended by operators, or by their party when a person is there: no key makes another."""
    if caller.via == "session" and caller.party_id == party.id:
        return
    require(caller, "accounts")


def _all(ws: Workspace) -> list[ApiKey]:
    names = {party.id: party.name for party in list_parties(ws)}
    with reading(engine_of(ws)) as connection:
        rows = connection.execute(select(api_keys).order_by(api_keys.c.made_s.desc(), api_keys.c.prefix)).all()
    return [_shown(row, names) for row in rows]


def _find(ws: Workspace, prefix: str) -> ApiKey:
    plain = prefix.removeprefix(f"{MARK}_").partition("_")[0]
    found = [key for key in _all(ws) if key.prefix == plain]
    if not found:
        raise NotFound("access.no_key", prefix=plain[:20])
    return found[0]


def _shown(row: Row[Any], names: dict[str, str]) -> ApiKey:
    has = tuple(filter(None, row.roles.split(",")))
    name = names.get(row.party_id, row.party_id[:12])
    return ApiKey(
        row.prefix, row.party_id, name, has, row.label, row.made_s, row.ends_s, row.used_s, row.is_ended
    )  # fmt: skip


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def _fact(
    kind: str, row: dict[str, Any], party: Party, facts: dict[str, Any], private: dict[str, Any] | None = None
) -> Fact:
    body = hashlib.sha256(f"{row['prefix']}{row['digest']}".encode()).hexdigest()
    subject, owner = Subject(urn("credential", body), body), party_subject(party)
    inputs = (Input(owner.urn, owner.sha256, "about"),)
    return Fact(kind, (subject,), kind, inputs=inputs, facts=facts, private=private or {})
