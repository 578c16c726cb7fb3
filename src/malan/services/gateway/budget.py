"""Budgets that cannot be overrun: held before anything is asked of anybody, settled after, by conditions in the SQL.

    reserve ─▶ hold ─┬─ settle   what it cost, never more than was held; one row of usage
                     └─ release  nothing was delivered, nothing is owed

Each is one or two statements within the caller's transaction, so many requests share one commit. The key's end, the
party's, the rate and the budget are all conditions of the same UPDATE: what was revoked a moment ago is refused, by
whichever process. Start at `reserve`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Float,
    String,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    not_,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.types import TypeEngine

from malan.core.errors import MalanError, RetryLater
from malan.rights.shares import digits_of
from malan.services.access import NotSignedIn
from malan.services.accounts.tables import api_keys, profiles
from malan.services.gateway.tables import GATEWAY_HOLDS, GATEWAY_KEYS, GATEWAY_USAGE

if TYPE_CHECKING:
    from sqlalchemy import BindParameter, Connection, Exists, Insert, Select, Update
    from sqlalchemy.sql.dml import ReturningDelete

_PARAMETERS: Mapping[str, TypeEngine[Any]] = {
    "of": String(),
    "hold": BigInteger(),
    "this": BigInteger(),
    "now": Float(),
}
LEASE_S = 7_200.0  # a request takes no longer; what a killed server held is free again after it


class OverBudget(MalanError):
    """The key has not enough left: asking again changes nothing until somebody raises its budget."""


class TooFast(RetryLater):
    """More requests in this minute than the key may make."""


@dataclass(frozen=True, slots=True)
class Use:
    """What was used, as it is written down."""

    id: str
    prefix: str
    party_id: str
    app: str
    at_s: float
    route: str
    model: str
    engine: str
    mode: str
    currency: str
    input_amount: int = 0
    output_amount: int = 0
    micro: int = 0
    model_id: str = ""
    billed_micro: int = 0  # of which an app has written a bill


def reserve(
    connection: Connection, prefix: str, hold_id: str, micro: int, now_s: float, ends_s: float | None
) -> MalanError | None:
    """Hold an amount of a key's budget and count one request; why not, where it may not."""
    found = connection.execute(_taking(), {"of": prefix, "hold": micro, "now": now_s, "this": int(now_s // 60)})
    if not found.rowcount:
        return _why_not(connection, prefix, micro, now_s)
    connection.execute(_holding(), {"id": hold_id, "prefix": prefix, "micro": micro, "ends_s": ends_s})
    return None


def is_open(connection: Connection, prefix: str, now_s: float) -> bool:
    """Whether a key opens anything at this moment."""
    return connection.scalar(_asking(), {"of": prefix, "now": now_s}) is not None


def settle(connection: Connection, use: Use) -> int | None:
    """Turn a hold into what it cost; what was charged, None when the hold is gone and nothing was."""
    held = _take_hold(connection, use.id)
    if held is None:
        return None
    charged = min(use.micro, held)
    back = {"of": use.prefix, "hold": held, "cost": charged}
    connection.execute(_settling(), back)
    row = {name: getattr(use, name) for name in Use.__slots__}
    row |= {"micro": charged, "billed_micro": min(use.billed_micro, charged)}
    connection.execute(_noting(), row)
    return charged


def release(connection: Connection, hold_id: str, prefix: str) -> bool:
    """Give a hold back; False when it is gone already."""
    held = _take_hold(connection, hold_id)
    if held is None:
        return False
    connection.execute(_settling(), {"of": prefix, "hold": held, "cost": 0})
    return True


def sweep(connection: Connection, now_s: float) -> int:
    """Give back what servers held that are gone; how many holds."""
    over = select(GATEWAY_HOLDS.c.id, GATEWAY_HOLDS.c.prefix).where(GATEWAY_HOLDS.c.ends_s < now_s)
    return sum(release(connection, row.id, row.prefix) for row in connection.execute(over).all())


def _take_hold(connection: Connection, hold_id: str) -> int | None:
    """Take a hold away; of two that try, one gets it."""
    row = connection.execute(_giving_up(), {"of": hold_id}).one_or_none()
    return None if row is None else int(row[0])


@cache
def _taking() -> Update:
    """Kept, because building a statement takes as long as running it."""
    keys = GATEWAY_KEYS.c
    of, hold, this, now = (bindparam(name, type_=kind) for name, kind in _PARAMETERS.items())
    fits = or_(keys.most_micro.is_(None), keys.held_micro + keys.spent_micro + hold <= keys.most_micro)
    slow = or_(keys.most_a_minute == 0, keys.minute != this, keys.asked < keys.most_a_minute)
    return (
        update(GATEWAY_KEYS)
        .where(keys.prefix == of, _key_is_open(of, now), not_(_party_is_out()), fits, slow)
        .values(
            held_micro=keys.held_micro + hold,
            asked=case((keys.minute == this, keys.asked + 1), else_=1),
            minute=this,
        )
    )


@cache
def _asking() -> Select[str]:
    of, now = bindparam("of", type_=String()), bindparam("now", type_=Float())
    opens = (GATEWAY_KEYS.c.prefix == of, _key_is_open(of, now), not_(_party_is_out()))
    return select(GATEWAY_KEYS.c.prefix).where(*opens)


def _key_is_open(of: BindParameter[str], now: BindParameter[float]) -> Exists:
    return exists().where(api_keys.c.prefix == of, not_(api_keys.c.is_ended), api_keys.c.ends_s > now)


def _party_is_out() -> Exists:
    return exists().where(profiles.c.party_id == GATEWAY_KEYS.c.party_id, profiles.c.is_disabled)


@cache
def _holding() -> Insert:
    return insert(GATEWAY_HOLDS)


@cache
def _giving_up() -> ReturningDelete[int]:
    return delete(GATEWAY_HOLDS).where(GATEWAY_HOLDS.c.id == bindparam("of")).returning(GATEWAY_HOLDS.c.micro)


@cache
def _noting() -> Insert:
    return insert(GATEWAY_USAGE)


@cache
def _settling() -> Update:
    keys = GATEWAY_KEYS.c
    return (
        update(GATEWAY_KEYS)
        .where(keys.prefix == bindparam("of"))
        .values(held_micro=keys.held_micro - bindparam("hold"), spent_micro=keys.spent_micro + bindparam("cost"))
    )


def _why_not(connection: Connection, prefix: str, micro: int, now_s: float) -> MalanError:
    joined = GATEWAY_KEYS.join(api_keys, api_keys.c.prefix == GATEWAY_KEYS.c.prefix)
    query = select(GATEWAY_KEYS, api_keys.c.is_ended, api_keys.c.ends_s).select_from(joined)
    row = connection.execute(query.where(GATEWAY_KEYS.c.prefix == prefix)).one_or_none()
    if row is None or row.is_ended or row.ends_s <= now_s:
        return NotSignedIn("access.bad_key")
    if row.most_a_minute and row.minute == int(now_s // 60) and row.asked >= row.most_a_minute:
        return TooFast("gateway.too_fast", most=row.most_a_minute, wait_s=60 - int(now_s % 60))
    if row.most_micro is not None and row.held_micro + row.spent_micro + micro > row.most_micro:
        return OverBudget("gateway.over_budget", **budget_words(row._asdict(), micro))
    return NotSignedIn("access.bad_key")


def budget_words(row: Mapping[str, Any], micro: int) -> dict[str, Any]:
    """Amounts of a refusal, for people."""
    return {
        "needed": shown_micro(micro, row["currency"]),
        "left": shown_micro(row["most_micro"] - row["spent_micro"] - row["held_micro"], row["currency"]),
        "held": shown_micro(row["held_micro"], row["currency"]),
    }


def shown_micro(micro: int, currency: str) -> str:
    """An amount for people, exact: `0.000123 CNY`."""
    digits = digits_of(currency) + 6
    whole, rest = divmod(abs(micro), 10**digits)
    tail = f"{rest:0{digits}}".rstrip("0")
    return f"{'-' if micro < 0 else ''}{whole}{'.' + tail if tail else ''} {currency}"


def usage_sums(connection: Connection, prefixes: list[str], since_s: float) -> list[dict[str, Any]]:
    """What was used, by key, model, engine and mode."""
    use = GATEWAY_USAGE.c
    by = (use.prefix, use.app, use.model, use.engine, use.mode, use.route, use.currency)
    sums = (func.count().label("requests"), func.sum(use.input_amount).label("input_amount"),
            func.sum(use.output_amount).label("output_amount"), func.sum(use.micro).label("micro"))  # fmt: skip
    mine = use.prefix.in_(prefixes) if prefixes else true()
    query = select(*by, *sums).where(and_(mine, use.at_s >= since_s)).group_by(*by).order_by(*by)
    return [
        {**row, **{name: int(row[name] or 0) for name in ("requests", "input_amount", "output_amount", "micro")}}
        for row in map(dict, connection.execute(query).mappings())
    ]
