"""The meter: how much of a grant is used, held and left. Counted by us, never by the buyer's code.

    reserve ─▶ held ─ consume, as often as something is handed over ─▶ consumed
                └── release, or the lease runs out ─▶ free again

Every change is one conditional statement on the account's row, so of two that race for the last second exactly one
wins, on SQLite and PostgreSQL, from any number of processes. What is consumed stands in the same transaction as the
rows that say what it was. Start reading at `Meter`.

Covered: a process that is killed at any moment leaves its hold to the lease and nothing else; a loss of power may undo
a hold, never a consumption whose transaction was `durable` (a consumption needs its hold, which was written before).
Not covered: whoever can write to the database and change the code; rows of usage that the ledger knows are safe.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, and_, bindparam, or_, select, update

from malan.core.errors import MalanError, NotFound, NotGranted, Rejected, RetryLater, UsageError
from malan.core.ids import digest_record
from malan.rights.meter_tables import ACCOUNTS, DELIVERIES, HELD, METADATA, RELEASED, RESERVATIONS, USAGE
from malan.rights.usage import MICROSECONDS, MOST, Usage, check_amount, check_id
from malan.runtime.database import add_new, ensure_tables, reading, updating

CLIP_SECONDS, RUNS, OUTPUTS, OUTPUT_BYTES = UNITS = ("clip_seconds", "runs", "outputs", "output_bytes")
LEASE_S = 600
_LONGEST_LEASE_S = 30 * 86_400


@dataclass(frozen=True, slots=True)
class Account:
    """One unit of one grant. Amounts are whole: clip-microseconds for `clip_seconds`, else a count."""

    grant_id: str
    unit: str
    most: int | None
    reserved: int
    consumed: int
    until_us: int | None
    closed: str | None

    @property
    def left(self) -> int | None:
        """What can still be reserved; None without a limit."""
        return None if self.most is None else self.most - self.reserved - self.consumed


@dataclass(frozen=True, slots=True)
class Reservation:
    """An amount held for somebody until it is used, released, or forgotten past its lease."""

    id: str
    grant_id: str
    unit: str
    amount: int
    used: int = 0
    state: str = HELD
    lease_us: int = 0


@dataclass(frozen=True, slots=True)
class Ask:
    """A wish to hold an amount. The same grant, unit and key are the same wish."""

    grant_id: str
    unit: str
    amount: int
    key: str
    lease_s: int = LEASE_S

    def __post_init__(self) -> None:
        check_unit(self.unit)
        check_amount(self.unit, self.amount)
        check_id("grant", self.grant_id)
        check_id("key", self.key)
        if not isinstance(self.lease_s, int) or not 0 < self.lease_s <= _LONGEST_LEASE_S:
            raise UsageError("meter.bad_lease", value=str(self.lease_s)[:40], most=_LONGEST_LEASE_S)

    @property
    def id(self) -> str:
        return digest_record("reservation", [self.grant_id, self.unit, self.key])


class Meter:
    """The meter of a workspace, in its database.

    Args:
        engine: The database.
        now_us: The clock, microseconds since 1970.
    """

    def __init__(self, engine: Engine, *, now_us: Callable[[], int] = lambda: time.time_ns() // 1000) -> None:
        ensure_tables(engine, METADATA)
        self._engine = engine
        self._now_us = now_us

    def open(self, grant_id: str, limits: Mapping[str, int | None], *, until_us: int | None = None) -> None:
        """Begin counting a grant; a unit that is not named may not be used at all. Opened again, nothing changes.

        Args:
            limits: The most that may be used of each unit (see `amounts_of`); None counts without a limit.
            until_us: When the grant ends.

        Raises:
            UsageError: An unknown unit, or a limit that is no whole number.
            Rejected: It is open with other limits.
        """
        rows = [_account_row(grant_id, unit, most, until_us) for unit, most in limits.items()]
        with updating(self._engine, durable=True) as connection:
            if not _accounts(connection, grant_id):
                add_new(connection, ACCOUNTS, rows)
            found = {one.unit: (one.most, one.until_us) for one in _accounts(connection, grant_id)}
            if found != {row["unit"]: (row["most"], row["until_us"]) for row in rows}:
                raise Rejected("meter.other_limits", grant=grant_id)

    def close(self, grant_id: str, reason: str) -> None:
        """Let nothing more be used, not even what is held: the grant was withdrawn, or has ended. Never reopened."""
        where = (ACCOUNTS.c.grant_id == grant_id, ACCOUNTS.c.closed.is_(None))
        with updating(self._engine, durable=True) as connection:
            if not _accounts(connection, grant_id):
                raise NotFound("meter.no_account", grant=grant_id, unit="–")
            connection.execute(update(ACCOUNTS).where(*where).values(closed=reason))

    def accounts(self, grant_id: str) -> list[Account]:
        """What is used, held and left of a grant."""
        with reading(self._engine) as connection:
            return _accounts(connection, grant_id)

    def reserve(self, grant_id: str, unit: str, amount: int, key: str, *, lease_s: int = LEASE_S) -> Reservation:
        """Hold an amount for a while; asked again with the same key, the same hold.

        Raises:
            NotGranted: There is no such account, it is closed, the grant has ended, or too little is left.
            RetryLater: Enough is left, but others hold it.
            Rejected: The key was used for another amount.
            UsageError: An amount that is not a whole number above zero, an unknown unit, a key no id can be.
        """
        (answer,) = self.reserve_many([Ask(grant_id, unit, amount, key, lease_s)])
        if isinstance(answer, MalanError):
            raise answer
        return answer

    def reserve_many(self, asks: Sequence[Ask]) -> list[Reservation | MalanError]:
        """Hold many amounts in one transaction; for each the hold, or why not. One refusal does not touch the rest."""
        answers = self._reserve(asks)
        forgotten = {ask.grant_id for ask, answer in zip(asks, answers, strict=True) if isinstance(answer, RetryLater)}
        return self._reserve(asks) if sum(self.sweep(grant_id) for grant_id in forgotten) else answers

    def _reserve(self, asks: Sequence[Ask]) -> list[Reservation | MalanError]:
        now = self._now_us()
        with suppress(_DoesNotFit), updating(self._engine) as connection:
            return _reserve_all(connection, asks, now)
        answers: dict[str, Reservation | MalanError] = {}
        with updating(self._engine) as connection:
            for ask in sorted(asks, key=lambda one: (one.grant_id, one.unit)):  # one order of locks for everybody
                answers[ask.id] = _reserve_one(connection, ask, now)
        return [answers[ask.id] for ask in asks]

    def get(self, reservation_id: str) -> Reservation:
        """A reservation as it stands.

        Raises:
            NotFound: There is none.
        """
        with reading(self._engine) as connection:
            return _reservation(connection, reservation_id)

    def consume(
        self,
        reservation: Reservation,
        amount: int,
        rows: Iterable[Usage] = (),
        *,
        key: str = "",
        within: Connection | None = None,
    ) -> bool:
        """Count what is handed over, with the rows that say what it is, before it is.

        Args:
            reservation: What it is taken from; its lease begins anew.
            amount: So much; for `clip_seconds` exactly what the rows add up to.
            rows: One for each stretch of footage.
            key: Names the delivery; the same key again changes nothing. Empty: every call is another delivery.
            within: The caller's transaction (`updating(engine, durable=True)`): all of it holds or nothing. Without
                one it is a transaction of its own.

        Returns:
            Whether it was counted now; False when it was before.

        Raises:
            NotGranted: The grant was closed or has ended.
            Rejected: The hold is used up, released or forgotten; or the key was used for another amount.
            UsageError: The rows add up to something else, or belong to another grant.
        """
        listed = _checked(reservation, amount, rows)
        with self._within(within) as connection:
            if not _deliver(connection, reservation, amount, key or token_hex(16)):
                return False
            now = self._now_us()
            _take(connection, reservation, amount, now)
            if listed:
                connection.execute(USAGE.insert(), [_usage_row(row, now) for row in listed])
            return True

    def renew(self, reservation: Reservation, lease_s: int = LEASE_S) -> None:
        """Say that a hold is still needed.

        Raises:
            Rejected: It was released or forgotten.
        """
        until = self._now_us() + lease_s * MICROSECONDS
        with updating(self._engine) as connection:
            if not connection.execute(_held(reservation.id).values(lease_us=until)).rowcount:
                raise Rejected("meter.not_held", id=reservation.id[:12])

    def release(self, reservation: Reservation, *, within: Connection | None = None) -> int:
        """Give back what was not used; how much. Released twice, nothing happens the second time."""
        with self._within(within) as connection:
            return _release(connection, reservation.id)

    def sweep(self, grant_id: str | None = None) -> int:
        """Release holds past their lease, left behind by runs that died; how many."""
        where = [RESERVATIONS.c.state == HELD, RESERVATIONS.c.lease_us <= self._now_us()]
        if grant_id is not None:
            where.append(RESERVATIONS.c.grant_id == grant_id)
        with reading(self._engine) as connection:
            ids = list(connection.scalars(select(RESERVATIONS.c.id).where(*where).order_by(RESERVATIONS.c.id)))
        for one in ids:  # each by itself: whoever uses one of them is not waited for while others are locked
            with updating(self._engine) as connection:
                _release(connection, one, past_us=self._now_us())
        return len(ids)

    @contextmanager
    def _within(self, connection: Connection | None) -> Iterator[Connection]:
        if connection is not None:
            with connection.begin_nested():  # what is refused leaves nothing in the caller's transaction
                yield connection
            return
        with updating(self._engine, durable=True) as own:
            yield own


def amounts_of(limits: Mapping[str, int]) -> dict[str, int]:
    """Limits as terms state them (seconds, counts) in the amounts of the meter (microseconds, counts)."""
    for unit in limits:
        check_unit(unit)
    return {unit: most * MICROSECONDS if unit == CLIP_SECONDS else most for unit, most in limits.items()}


def check_unit(unit: Any) -> None:
    """Raises:
    UsageError: Not one of `UNITS`.
    """
    if unit not in UNITS:
        raise UsageError("meter.unknown_unit", unit=str(unit)[:40], known=", ".join(UNITS))


def shown_amount(unit: str, amount: int) -> str:
    """An amount for people: seconds with their decimals, or a count. Exact."""
    if unit != CLIP_SECONDS:
        return str(amount)
    seconds, rest = divmod(amount, MICROSECONDS)
    return f"{seconds}.{rest:06}".rstrip("0").rstrip(".")


def _account_row(grant_id: str, unit: str, most: int | None, until_us: int | None) -> dict[str, Any]:
    check_id("grant", grant_id)
    check_unit(unit)
    if most is not None and most != 0:
        check_amount(unit, most)
    counts = {"reserved": 0, "consumed": 0}
    return {"grant_id": grant_id, "unit": unit, "most": most, "until_us": until_us, "closed": None, **counts}


def _accounts(connection: Connection, grant_id: str) -> list[Account]:
    rows = connection.execute(select(ACCOUNTS).where(ACCOUNTS.c.grant_id == grant_id).order_by(ACCOUNTS.c.unit))
    return [Account(**row) for row in rows.mappings()]


class _DoesNotFit(Exception):
    """Not all of it is new, or not all of it fits; undoes the transaction."""


def _reserve_all(connection: Connection, asks: Sequence[Ask], now: int) -> list[Reservation | MalanError]:
    """Everything at once, when all is new and all fits."""
    sums: dict[tuple[str, str], int] = defaultdict(int)
    for ask in asks:
        sums[ask.grant_id, ask.unit] += ask.amount
    rows = [_reservation_row(ask, now) for ask in asks]
    if add_new(connection, RESERVATIONS, rows) != len(rows):
        raise _DoesNotFit
    for (grant, unit), amount in sorted(sums.items()):
        if not connection.execute(_TAKE_HOLD, {"g": grant, "u": unit, "a": amount, "now": now}).rowcount:
            raise _DoesNotFit
    return [Reservation(**row) for row in rows]


def _reserve_one(connection: Connection, ask: Ask, now: int) -> Reservation | MalanError:
    with connection.begin_nested() as attempt:
        row = _reservation_row(ask, now)
        if not add_new(connection, RESERVATIONS, row):
            known = _reservation(connection, ask.id)
            return known if known.amount == ask.amount else Rejected("meter.key_used", key=ask.key)
        hold = {"g": ask.grant_id, "u": ask.unit, "a": ask.amount, "now": now}
        if connection.execute(_TAKE_HOLD, hold).rowcount:
            return Reservation(**row)
        attempt.rollback()
    return _refusal(connection, ask.grant_id, ask.unit, ask.amount, now)


def _reservation_row(ask: Ask, now: int) -> dict[str, Any]:
    return {
        "id": ask.id,
        "grant_id": ask.grant_id,
        "unit": ask.unit,
        "amount": ask.amount,
        "used": 0,
        "state": HELD,
        "lease_us": now + ask.lease_s * MICROSECONDS,
    }


def _is_open(now: Any) -> ColumnElement[bool]:
    return and_(ACCOUNTS.c.closed.is_(None), or_(ACCOUNTS.c.until_us.is_(None), ACCOUNTS.c.until_us > now))


_TAKE_HOLD = (
    update(ACCOUNTS)
    .where(ACCOUNTS.c.grant_id == bindparam("g"), ACCOUNTS.c.unit == bindparam("u"), _is_open(bindparam("now")))
    .where(
        or_(
            and_(ACCOUNTS.c.most.is_(None), ACCOUNTS.c.reserved + ACCOUNTS.c.consumed <= MOST - bindparam("a")),
            ACCOUNTS.c.reserved + ACCOUNTS.c.consumed + bindparam("a") <= ACCOUNTS.c.most,
        )
    )
    .values(reserved=ACCOUNTS.c.reserved + bindparam("a"))
)


def _refusal(connection: Connection, grant_id: str, unit: str, amount: int, now: int) -> MalanError:
    """Why an account does not give what was asked for."""
    account = next((one for one in _accounts(connection, grant_id) if one.unit == unit), None)
    if account is None:
        return NotGranted("meter.no_account", grant=grant_id, unit=unit)
    if account.closed is not None:
        return NotGranted("meter.closed", grant=grant_id, reason=account.closed)
    if account.until_us is not None and account.until_us <= now:
        return NotGranted("meter.ended", grant=grant_id, until=_moment(account.until_us))
    most = MOST if account.most is None else account.most
    told = {"grant": grant_id, "unit": unit, "asked": shown_amount(unit, amount)}
    if amount <= most - account.consumed:
        held, left = account.reserved, most - account.consumed - account.reserved
        return RetryLater("meter.held", **told, left=shown_amount(unit, left), held=shown_amount(unit, held))
    return NotGranted("meter.used_up", **told, left=shown_amount(unit, most - account.consumed))


def _checked(reservation: Reservation, amount: int, rows: Iterable[Usage]) -> list[Usage]:
    """The rows, when they say exactly what is counted."""
    check_amount(reservation.unit, amount)
    listed = list(rows)
    if stranger := next((row.grant_id for row in listed if row.grant_id != reservation.grant_id), None):
        raise UsageError("meter.other_grant", grant=reservation.grant_id, other=stranger)
    total = sum(row.amount for row in listed)
    if total != amount and (listed or reservation.unit == CLIP_SECONDS) and reservation.unit != OUTPUTS:
        raise UsageError("meter.rows_differ", amount=amount, total=total)
    return listed


def _deliver(connection: Connection, reservation: Reservation, amount: int, key: str) -> bool:
    check_id("key", key)
    row = {"reservation_id": reservation.id, "key": key, "amount": amount}
    if add_new(connection, DELIVERIES, row):
        return True
    mine = (DELIVERIES.c.reservation_id == reservation.id, DELIVERIES.c.key == key)
    if connection.scalar(select(DELIVERIES.c.amount).where(*mine)) != amount:
        raise Rejected("meter.key_used", key=key)
    return False


def _take(connection: Connection, reservation: Reservation, amount: int, now: int) -> None:
    """Held becomes consumed, on the hold and on the account."""
    fits = RESERVATIONS.c.used + amount <= RESERVATIONS.c.amount
    lease = max(now + LEASE_S * MICROSECONDS, reservation.lease_us)
    used = _held(reservation.id).where(fits).values(used=RESERVATIONS.c.used + amount, lease_us=lease)
    if not connection.execute(used).rowcount:
        raise Rejected("meter.not_held", id=reservation.id[:12])
    mine = (ACCOUNTS.c.grant_id == reservation.grant_id, ACCOUNTS.c.unit == reservation.unit)
    moved = {"reserved": ACCOUNTS.c.reserved - amount, "consumed": ACCOUNTS.c.consumed + amount}
    if not connection.execute(update(ACCOUNTS).where(*mine, _is_open(now)).values(**moved)).rowcount:
        raise _refusal(connection, reservation.grant_id, reservation.unit, amount, now)


def _release(connection: Connection, reservation_id: str, *, past_us: int | None = None) -> int:
    """Free what a hold has left; `past_us` only when its lease ended before."""
    change = _held(reservation_id).values(state=RELEASED)
    if past_us is not None:
        change = change.where(RESERVATIONS.c.lease_us <= past_us)
    if not connection.execute(change).rowcount:
        return 0
    one = _reservation(connection, reservation_id)
    mine = (ACCOUNTS.c.grant_id == one.grant_id, ACCOUNTS.c.unit == one.unit)
    left = one.amount - one.used
    connection.execute(update(ACCOUNTS).where(*mine).values(reserved=ACCOUNTS.c.reserved - left))
    return left


def _held(reservation_id: str) -> Any:
    return update(RESERVATIONS).where(RESERVATIONS.c.id == reservation_id, RESERVATIONS.c.state == HELD)


def _reservation(connection: Connection, reservation_id: str) -> Reservation:
    row = connection.execute(select(RESERVATIONS).where(RESERVATIONS.c.id == reservation_id)).mappings().one_or_none()
    if row is None:
        raise NotFound("meter.no_reservation", id=reservation_id[:12])
    return Reservation(**row)


def _usage_row(row: Usage, now: int) -> dict[str, Any]:
    return {name: getattr(row, name) for name in Usage.__dataclass_fields__} | {"amount": row.amount, "at_us": now}


def _moment(at_us: int) -> str:
    return datetime.fromtimestamp(at_us // MICROSECONDS, UTC).isoformat(timespec="minutes")
