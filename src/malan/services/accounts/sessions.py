"""Signing in with a password, and the sessions that follow from it. Start at `sign_in`.

Covered: a wrong login and a wrong password look and last the same; guessing gets slower with each try, for the login,
for the address and for both together, across processes and restarts; the try is counted before the password is looked
at, so a hundred tries at once are a hundred tries; a session ends after hours unused, after half a day in any case,
with a change of password, and when its party is shut out; the database holds no secret that opens one.
Not covered: who holds the cookie is the user. A password that was guessed elsewhere is right here too.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Connection, delete, or_, select, update

from malan.core.errors import RetryLater
from malan.runtime.database import put, reading, writing
from malan.services.access import HOUSE, Caller, NotSignedIn, require
from malan.services.accounts.parties import caller_in, plain_login
from malan.services.accounts.passwords import COST, Cost, check_password, hash_password, is_outdated
from malan.services.accounts.tables import accounts, engine_of, sessions, tries

if TYPE_CHECKING:
    from malan.workspace import Workspace

IDLE_S = 2 * 3600.0
LONGEST_S = 12 * 3600.0
_NOTED_EVERY_S = 60.0  # the last use of a session is written down no more often
_FREE = {"both": 5, "login": 30, "address": 50}  # tries before one has to wait
_FIRST_WAIT_S, _LONGEST_WAIT_S = 2.0, 900.0
_FORGOTTEN_S = 24 * 3600.0

_log = logging.getLogger("malan.access")


class TooManyTries(RetryLater):
    """Somebody guesses; the values say for how many seconds nothing is looked at."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session just begun: the secret for the cookie, shown to nobody else, and who it is."""

    token: str
    caller: Caller
    ends_s: float


def sign_in(
    ws: Workspace,
    login: str,
    password: str,
    *,
    address: str = "",
    former: str = "",
    now_s: float | None = None,
    cost: Cost = COST,
) -> SignedIn:
    """Begin a session.

    Args:
        ws: Where.
        login: As it was typed.
        password: As it was typed.
        address: Where the request came from.
        former: The session the browser had, which ends.
        now_s: The time, in seconds since 1970.
        cost: What passwords are hashed with today.

    Raises:
        NotSignedIn: Login or password is wrong, or the party is shut out: the same in every case.
        TooManyTries: Nothing was looked at.
    """
    now, plain = time.time() if now_s is None else now_s, plain_login(login)
    slots = _slots(plain or login, address)
    _count_try(ws, slots, now)
    with reading(engine_of(ws)) as connection:
        row = connection.execute(select(accounts).where(accounts.c.login == plain)).one_or_none()
    is_right = check_password(password, row.password if row else None, cost)
    caller = _caller(ws, plain, row.party_id) if row and is_right else None
    if row is None or caller is None:
        _log.warning("sign-in refused from %s", address or "-")
        raise NotSignedIn("access.wrong")
    fresh = hash_password(password, cost) if is_outdated(row.password, cost) else row.password
    with writing(engine_of(ws)) as connection:
        connection.execute(delete(tries).where(tries.c.id.in_([slots["both"], slots["login"]])))
        connection.execute(delete(sessions).where(or_(sessions.c.id == _id(former), sessions.c.ends_s < now)))
        still = accounts.c.login == plain, accounts.c.password == row.password
        if not connection.execute(update(accounts).where(*still).values(password=fresh, signed_in_s=now)).rowcount:
            raise NotSignedIn("access.wrong")  # changed in this very moment
        token = _begin(connection, plain, now)
    return SignedIn(token, caller, now + LONGEST_S)


def sign_in_as(ws: Workspace, login: str, *, former: str = "", now_s: float | None = None) -> SignedIn:
    """Begin a session for a login whose holder was recognised elsewhere; see `oidc`.

    Raises:
        NotSignedIn: There is no such login, it was ended, or its party is shut out.
    """
    now, plain = time.time() if now_s is None else now_s, plain_login(login)
    with reading(engine_of(ws)) as connection:
        row = connection.execute(select(accounts).where(accounts.c.login == plain)).one_or_none()
    caller = _caller(ws, plain, row.party_id) if row is not None and row.password else None
    if caller is None:
        raise NotSignedIn("access.wrong")
    with writing(engine_of(ws)) as connection:
        connection.execute(delete(sessions).where(or_(sessions.c.id == _id(former), sessions.c.ends_s < now)))
        still = accounts.c.login == plain, accounts.c.password != ""
        if not connection.execute(update(accounts).where(*still).values(signed_in_s=now)).rowcount:
            raise NotSignedIn("access.wrong")  # ended in this very moment
        token = _begin(connection, plain, now)
    return SignedIn(token, caller, now + LONGEST_S)


def caller_of_session(ws: Workspace, token: str, *, now_s: float | None = None) -> Caller | None:
    """Who holds a session, with the roles of this moment; None when there is none, or it has ended."""
    now = time.time() if now_s is None else now_s
    if not token or len(token) > 200:
        return None
    with reading(engine_of(ws)) as connection:
        row = connection.execute(select(sessions).where(sessions.c.id == _id(token))).one_or_none()
        if row is None or now >= row.ends_s or now >= row.seen_s + IDLE_S:
            return None
        party_id = connection.scalar(select(accounts.c.party_id).where(accounts.c.login == row.login))
        caller = caller_in(connection, party_id or "", "session", login=row.login)
    if caller is None:
        return None
    if now - row.seen_s > _NOTED_EVERY_S:
        with writing(engine_of(ws)) as connection:
            connection.execute(update(sessions).where(sessions.c.id == row.id).values(seen_s=now))
    return caller


def sign_out(ws: Workspace, token: str) -> None:
    """End one session."""
    with writing(engine_of(ws)) as connection:
        connection.execute(delete(sessions).where(sessions.c.id == _id(token)))


def sign_out_everywhere(ws: Workspace, login: str, *, caller: Caller = HOUSE) -> int:
    """End all sessions of a login, one's own unless the caller is an operator; how many there were."""
    if not caller.login or plain_login(caller.login) != plain_login(login):
        require(caller, "accounts")
    with writing(engine_of(ws)) as connection:
        return connection.execute(delete(sessions).where(sessions.c.login == plain_login(login))).rowcount


def form_token(secret: str) -> str:
    """What a form carries so that only a page of ours can have sent it; follows from the secret in the cookie."""
    return hmac.new(secret.encode("utf-8", "replace"), b"malan form", hashlib.sha256).hexdigest()


def is_form_token(given: str, secret: str) -> bool:
    """Whether a form was made for this cookie."""
    return bool(secret) and hmac.compare_digest(given.encode("utf-8", "replace"), form_token(secret).encode())


def _caller(ws: Workspace, login: str, party_id: str) -> Caller | None:
    with reading(engine_of(ws)) as connection:
        return caller_in(connection, party_id, "session", login=login)


def _begin(connection: Connection, login: str, now: float) -> str:
    token = secrets.token_urlsafe(32)
    row = {"id": _id(token), "login": login, "made_s": now, "seen_s": now, "ends_s": now + LONGEST_S}
    connection.execute(sessions.insert().values(**row))
    return token


def _id(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def _slots(login: str, address: str) -> dict[str, str]:
    said = {"both": f"{login}\n{address}", "login": f"{login}\n", "address": f"\n{address}"}
    return {name: _id(f"{name} {text}")[:32] for name, text in said.items()}


def _count_try(ws: Workspace, slots: dict[str, str], now: float) -> None:
    """Count one try in each place, or refuse it; counted before anything else is known."""
    with writing(engine_of(ws)) as connection:
        connection.execute(delete(tries).where(tries.c.last_s < now - _FORGOTTEN_S))
        known = {row.id: row for row in connection.execute(select(tries).where(tries.c.id.in_(slots.values())))}
        wait_s = max((row.until_s - now for row in known.values()), default=0.0)
        if wait_s <= 0:
            for name, slot in slots.items():
                count = 1 + (int(known[slot]._mapping["count"]) if slot in known else 0)
                row = {"id": slot, "count": count, "until_s": now + _wait_s(count, _FREE[name]), "last_s": now}
                put(connection, tries, row)
    if wait_s > 0:
        _log.warning("sign-in put off: too many tries")
        raise TooManyTries("access.too_many", seconds=max(1, round(wait_s)))


def _wait_s(count: int, free: int) -> float:
    """How long after this try the next one is looked at: nothing at first, then twice as long each time."""
    if count < free:
        return 0.0
    return min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0 ** min(count - free, 20))
