"""`/v1/models`: the names a key may ask for, and what each leads to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from malan.core.errors import NotFound
from malan.services.gateway.book import APP_MODELS
from malan.services.gateway.prices import price_for
from malan.web.gateway.call import Call

if TYPE_CHECKING:
    from malan.services.gateway.book import Named
    from malan.web.gateway.desk import Counter


async def list_models(counter: Counter, call: Call) -> None:
    """All of them."""
    policy = await counter.policy(call)
    named = counter.book.current()
    data = [_model(named, name, kind) for name, kind in named.names(policy)]
    await call.reply_json({"object": "list", "data": data})


async def get_model(counter: Counter, call: Call) -> None:
    """One of them."""
    policy = await counter.policy(call)
    named, asked = counter.book.current(), unquote(call.parts[0])
    found = [_model(named, name, kind) for name, kind in named.names(policy) if name == asked]
    if not found:
        raise NotFound("gateway.no_model", model=asked[:120])
    await call.reply_json(found[0])


def _model(named: Named, name: str, kind: str) -> dict[str, Any]:
    rows = [] if name in APP_MODELS and name not in named.book.names else list(named.book.routed(name))
    mode = APP_MODELS[name][1] if not rows else "diffuse" if kind == "video" else "infer"
    price = price_for(named.prices, name, rows[0] if rows else None)
    told = {
        "kind": kind, "mode": mode, "engines": [row.name for row in rows],
        "price": {key: getattr(price, key) for key in price.__slots__ if getattr(price, key)},
    }  # fmt: skip
    return {"id": name, "object": "model", "created": 0, "owned_by": "malan", "malan": told}
