"""What a job may cost, and what it did: its request, its seconds, what its app bills, and engines asked on the way.

    price = {currency, request, second: minor units, seconds: the most, quoted: of the app, asking: {engine: …}}

`asking` is for engines that an app asks beside the one that was asked for, such as the model that plans a film: the
most it may come to is held with the rest, and what it came to is charged. Start at `dearest_of`, `owed_for`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from malan.services.gateway.prices import Price
from malan.services.gateway.tables import MICRO


def asking(price: Price, engine: str, *, input_tokens: int, output_tokens: int) -> dict[str, Any]:
    """How an engine that may be asked on the way is priced in a job: the most it may come to, and its rates."""
    if price == Price():
        return {}
    most = price.micro(input_tokens=input_tokens, output_tokens=output_tokens)
    rates = {"input_million": price.input_million, "output_million": price.output_million, "request": price.request}
    return {engine: {"most": most, **rates}}


def dearest_of(price: Mapping[str, Any]) -> int:
    """The most a job may cost, in millionths of the smallest unit."""
    on_the_way = sum(int(one["most"]) for one in price.get("asking", {}).values())
    return cost_of(price, float(price.get("seconds", 0))) + int(price.get("quoted", 0)) * MICRO + on_the_way


def cost_of(price: Mapping[str, Any], seconds: float) -> int:
    """What so many seconds cost; begun ones whole."""
    begun = int(seconds) + (seconds > int(seconds))
    return (int(price.get("request", 0)) + int(price.get("second", 0)) * begun) * MICRO


def owed_for(price: Mapping[str, Any], told: Mapping[str, Any], seconds: float) -> tuple[int, int]:
    """What is owed for a job that is done, and how much of it the app has billed itself."""
    bill = told.get("cost") or {}
    billed = int(bill.get("minor", 0)) * MICRO if bill.get("currency") == price.get("currency") else 0
    on_the_way = sum(_asked(price, one) for one in told.get("asked", ()))
    return cost_of(price, seconds) + billed + on_the_way, billed


def _asked(price: Mapping[str, Any], use: Mapping[str, Any]) -> int:
    rates = price.get("asking", {}).get(use["engine"])
    if not rates:
        return 0
    known = Price("", int(rates["input_million"]), int(rates["output_million"]), int(rates["request"]))
    return min(int(rates["most"]), known.micro(input_tokens=int(use["input"]), output_tokens=int(use["output"])))
