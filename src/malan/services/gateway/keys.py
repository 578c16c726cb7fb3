"""Keys of the gateway: a key of a party, and for which program, which models, how much money, how fast.

    make_gateway_key ─▶ api_keys (when it ends, whose) + gateway_keys (what it may)
    policy_of(text)  ─▶ Policy: who calls and what they may ask for

Such a key opens the gateway and nothing else. Start at `policy_of`.
"""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update

from malan.core.errors import NotFound, NotGranted, UsageError
from malan.rights.shares import check_currency
from malan.runtime.database import reading, writing
from malan.services.access import HOUSE, Caller, NotSignedIn, require
from malan.services.accounts.api_keys import DAYS, MARK, ApiKey, caller_of_key, end_key, list_keys, make_key
from malan.services.gateway.budget import is_open, shown_micro, usage_sums
from malan.services.gateway.tables import GATEWAY_KEYS, MICRO, gateway_tables

if TYPE_CHECKING:
    from malan.workspace import Workspace

ANY = "*"
_MOST_MINOR = 10**12
_MOST_A_MINUTE = 10**6
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Policy:
    """Who calls by a key, and what the key may."""

    prefix: str
    caller: Caller
    app: str
    models: frozenset[str]
    currency: str
    grant_id: str
    webhook_secret: str

    def may_ask(self, model: str) -> bool:
        return ANY in self.models or model in self.models

    @property
    def party_id(self) -> str:
        return self.caller.party_id or ""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a new key may.

    Args:
        app: The program it is for.
        models: Names it may ask for; `*` for all.
        budget_minor: In the smallest unit of the currency; None: no limit.
        currency: ISO 4217.
        most_a_minute: Requests; 0: no limit.
        days: How long it opens anything.
        grant_id: Under which royalties for models are owed; empty: that of the model's training.
    """

    app: str
    models: tuple[str, ...] = (ANY,)
    budget_minor: int | None = None
    currency: str = "CNY"
    most_a_minute: int = 0
    days: int = DAYS
    grant_id: str = ""


@dataclass(frozen=True, slots=True)
class NewGatewayKey:
    """A key just made: the only time its text and the secret of its webhooks are seen."""

    text: str
    key: ApiKey
    webhook_secret: str


def make_gateway_key(
    ws: Workspace, caller: Caller, name_or_id: str, allowance: Allowance, *, now_s: float | None = None
) -> NewGatewayKey:
    """Make a key for a program of a party.

    Raises:
        NotGranted: The caller may not.
        NotFound: There is no such party.
        UsageError: What it shall be allowed makes no sense.
    """
    _check(allowance)
    made = make_key(ws, caller, name_or_id, days=allowance.days, label=allowance.app, now_s=now_s)
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
    most = None if allowance.budget_minor is None else allowance.budget_minor * MICRO
    row = {
        "prefix": made.key.prefix, "party_id": made.key.party_id, "app": allowance.app,
        "models": list(dict.fromkeys(allowance.models)), "currency": allowance.currency, "most_micro": most,
        "held_micro": 0, "spent_micro": 0, "most_a_minute": allowance.most_a_minute, "minute": 0, "asked": 0,
        "grant_id": allowance.grant_id, "webhook_secret": secret,
    }  # fmt: skip
    with writing(gateway_tables(ws), durable=True) as connection:
        connection.execute(GATEWAY_KEYS.insert().values(**row))
    return NewGatewayKey(made.text, made.key, secret)


def list_gateway_keys(ws: Workspace, caller: Caller, name_or_id: str | None = None) -> list[dict[str, Any]]:
    """Keys of a party, or of all, with what they may and what is left, the newest first."""
    shown = list_keys(ws, caller, name_or_id)
    with reading(gateway_tables(ws)) as connection:
        rows = {row["prefix"]: row for row in map(dict, connection.execute(select(GATEWAY_KEYS)).mappings())}
    return [_described(key, rows[key.prefix]) for key in shown if key.prefix in rows]


def end_gateway_key(ws: Workspace, caller: Caller, prefix: str) -> dict[str, Any]:
    """Let a key open nothing any more, from the next request on, in every process.

    Raises:
        NotFound: There is none with this prefix.
        NotGranted: The caller may not.
    """
    plain = prefix.removeprefix(f"{MARK}_").partition("_")[0]
    row = _row(ws, plain)
    return _described(end_key(ws, caller, plain), row)


def raise_budget(ws: Workspace, caller: Caller, prefix: str, budget_minor: int) -> dict[str, Any]:
    """Give a key another budget, counted from its first day; not below what it has used or holds.

    Raises:
        UsageError: It is below, or impossible.
    """
    require(caller, "accounts")
    plain = prefix.removeprefix(f"{MARK}_").partition("_")[0]
    row = _row(ws, plain)
    if not 0 <= budget_minor <= _MOST_MINOR:
        raise UsageError("gateway.bad_budget", budget=budget_minor)
    most = budget_minor * MICRO
    keys = GATEWAY_KEYS.c
    with writing(gateway_tables(ws), durable=True) as connection:
        fits = update(GATEWAY_KEYS).where(keys.prefix == plain, keys.held_micro + keys.spent_micro <= most)
        if not connection.execute(fits.values(most_micro=most)).rowcount:
            used = shown_micro(row["spent_micro"] + row["held_micro"], row["currency"])
            raise UsageError("gateway.below_used", prefix=plain, used=used)
    found = [key for key in list_keys(ws, caller) if key.prefix == plain]
    return _described(found[0], _row(ws, plain))


def currency_of(ws: Workspace, caller: Caller, prefix: str) -> str:
    """In which currency a key pays.

    Raises:
        NotFound: There is none with this prefix.
        NotGranted: The caller may not.
    """
    require(caller, "accounts")
    return str(_row(ws, prefix.removeprefix(f"{MARK}_").partition("_")[0])["currency"])


def is_gateway_key(ws: Workspace, text: str) -> bool:
    """Whether a key is one of the gateway's, right or wrong."""
    prefix = text.strip().partition("_")[2].partition("_")[0]
    with reading(gateway_tables(ws)) as connection:
        found = connection.scalar(select(GATEWAY_KEYS.c.prefix).where(GATEWAY_KEYS.c.prefix == prefix[:20]))
    return found is not None


def policy_of(ws: Workspace, text: str, *, now_s: float | None = None) -> Policy:
    """Who calls by a key and what it may, as of this moment.

    Raises:
        NotSignedIn: It opens nothing; the same whatever is wrong with it.
        NotGranted: It is a key of the console, not of the gateway.
    """
    caller = caller_of_key(ws, text, now_s=now_s)
    prefix = text.strip().partition("_")[2].partition("_")[0]
    try:
        row = _row(ws, prefix)
    except NotFound:
        raise NotGranted("gateway.not_its_key") from None
    if caller.party_id != row["party_id"]:
        raise NotSignedIn("access.bad_key")
    return Policy(
        prefix, caller, row["app"], frozenset(row["models"]), row["currency"], row["grant_id"], row["webhook_secret"]
    )


def is_key_open(ws: Workspace, prefix: str) -> bool:
    """Whether a key opens anything now: not ended, its party not shut out."""
    with reading(gateway_tables(ws)) as connection:
        return is_open(connection, prefix, time.time())


def gateway_usage(
    ws: Workspace, *, party: str | None = None, days: int = 30, caller: Caller = HOUSE, now_s: float | None = None
) -> dict[str, Any]:
    """What was used in the last days, by key, model, engine and mode; of one party or of all.

    Raises:
        NotGranted: Of others the caller may see nothing.
    """
    keys = list_gateway_keys(ws, caller, party)
    since_s = (time.time() if now_s is None else now_s) - days * _DAY_S
    prefixes = [key["prefix"].removeprefix(f"{MARK}_") for key in keys]
    with reading(gateway_tables(ws)) as connection:
        rows = usage_sums(connection, prefixes, since_s) if prefixes else []
    shown = [
        {**{name: row[name] for name in ("app", "model", "engine", "mode", "route", "requests")},
         "prefix": f"{MARK}_{row['prefix']}", "input": row["input_amount"], "output": row["output_amount"],
         "cost": describe_cost(row["micro"], row["currency"])}
        for row in rows
    ]  # fmt: skip
    return {"days": days, "keys": keys, "usage": shown}


def describe_cost(micro: int, currency: str) -> dict[str, Any]:
    """An amount as JSON: exact, in millionths of the smallest unit, and as people write it."""
    return {"currency": currency, "micro": micro, "text": shown_micro(micro, currency)}


def _row(ws: Workspace, prefix: str) -> Mapping[str, Any]:
    with reading(gateway_tables(ws)) as connection:
        query = select(GATEWAY_KEYS).where(GATEWAY_KEYS.c.prefix == prefix[:20])
        row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise NotFound("access.no_key", prefix=prefix[:20])
    return dict(row)


def _described(key: ApiKey, row: Mapping[str, Any]) -> dict[str, Any]:
    left = None if row["most_micro"] is None else row["most_micro"] - row["spent_micro"] - row["held_micro"]
    return {
        "prefix": f"{MARK}_{key.prefix}",
        "party": key.party_id,
        "name": key.party,
        "app": row["app"],
        "models": list(row["models"]),
        "currency": row["currency"],
        "budget_minor": None if row["most_micro"] is None else row["most_micro"] // MICRO,
        "spent": describe_cost(row["spent_micro"], row["currency"]),
        "held": describe_cost(row["held_micro"], row["currency"]),
        "left": None if left is None else describe_cost(left, row["currency"]),
        "most_a_minute": row["most_a_minute"],
        "grant": row["grant_id"],
        "made_s": round(key.made_s),
        "ends_s": round(key.ends_s),
        "used_s": None if key.used_s is None else round(key.used_s),
        "ended": key.is_ended,
    }


def _check(allowance: Allowance) -> None:
    check_currency(allowance.currency)
    budget = allowance.budget_minor
    if budget is not None and not 0 <= budget <= _MOST_MINOR:
        raise UsageError("gateway.bad_budget", budget=budget)
    if not 0 <= allowance.most_a_minute <= _MOST_A_MINUTE:
        raise UsageError("gateway.bad_rate", rate=allowance.most_a_minute, most=_MOST_A_MINUTE)
    if not allowance.app.strip() or not allowance.app.isprintable():
        raise UsageError("gateway.no_app")
    if not allowance.models or not all(_is_name(name) for name in allowance.models):
        raise UsageError("gateway.bad_models")


def _is_name(text: str) -> bool:
    return bool(text) and len(text) <= 120 and text.isprintable()


def models_of(policy: Policy, names: Sequence[str]) -> list[str]:
    """Of these names those a key may ask for."""
    return [name for name in names if policy.may_ask(name)]
