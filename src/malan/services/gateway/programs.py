"""Programs that ask the gateway: their keys, budgets and use, as pages show and change them.

Start at `programs_page`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from malan.core.errors import UsageError
from malan.core.numbers import read_whole
from malan.rights.shares import read_money
from malan.services.access import ALL, Caller, may, require, scope
from malan.services.accounts.api_keys import DAYS
from malan.services.accounts.parties import list_parties
from malan.services.engines.settings import read_engines
from malan.services.gateway.keys import (
    ANY,
    Allowance,
    NewGatewayKey,
    currency_of,
    end_gateway_key,
    gateway_usage,
    make_gateway_key,
    raise_budget,
)

if TYPE_CHECKING:
    from malan.workspace import Workspace

USAGE_DAYS = 30
_CURRENCY = "CNY"  # of keys made on the page; the command makes others


def programs_page(ws: Workspace, *, caller: Caller) -> dict[str, Any]:
    """Keys with what they may and what is left, and what was used with each in a month: of all, or the caller's own."""
    mine = None if scope(caller, "accounts.see") == ALL else caller.party_id
    if mine is None:
        require(caller, "accounts.see")
    found = gateway_usage(ws, party=mine, days=USAGE_DAYS, caller=caller)
    now, may_change = time.time(), may(caller, "accounts")
    for key in found["keys"]:
        key["open"] = not key["ended"] and now < key["ends_s"]
        key["share"] = _share(key)
    parties = [one.name for one in list_parties(ws) if not one.is_disabled] if may_change else []
    models = list(read_engines(ws).names) if may_change else []
    return found | {"may_change": may_change, "parties": parties, "models": models}


def make_program(ws: Workspace, said: Mapping[str, str], *, caller: Caller) -> NewGatewayKey:
    """Make a key of what a form says; amounts are in whole units of the currency, exact to the smallest one.

    Raises:
        NotGranted: The caller may not.
        UsageError: What it shall be allowed makes no sense.
    """
    require(caller, "accounts")
    models = tuple(one for one in said.get("models", "").replace("，", ",").replace(",", " ").split() if one) or (ANY,)
    budget = said.get("budget", "").strip()
    allowance = Allowance(
        said.get("app", "").strip(),
        models,
        read_money(budget, _CURRENCY) if budget else None,
        _CURRENCY,
        most_a_minute=_count(said.get("rate", ""), 0),
        days=_count(said.get("days", ""), DAYS),
    )
    return make_gateway_key(ws, caller, said.get("party", ""), allowance)


def change_program(ws: Workspace, prefix: str, step: str, said: Mapping[str, str], *, caller: Caller) -> dict[str, Any]:
    """End a key, or give it another budget. See `end_gateway_key` and `raise_budget`."""
    require(caller, "accounts")
    if step == "end":
        return end_gateway_key(ws, caller, prefix)
    budget = read_money(said.get("budget", ""), currency_of(ws, caller, prefix))
    return raise_budget(ws, caller, prefix, budget)


def _share(key: Mapping[str, Any]) -> int | None:
    """How much of its budget a key has used or holds, in percent; None without a budget."""
    if key["left"] is None:
        return None
    used = key["spent"]["micro"] + key["held"]["micro"]
    whole = used + key["left"]["micro"]
    return min(100, round(100 * used / whole)) if whole else 100


def _count(text: str, otherwise: int) -> int:
    if not text.strip():
        return otherwise
    if (count := read_whole(text, 8)) is None:
        raise UsageError("admin.no_count", text=text[:40])
    return count
