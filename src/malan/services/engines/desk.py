"""The engines of a workspace as an operator looks at them: what is written down, and what is missing for each.

Nothing is loaded and nothing is asked over a network here. Start at `engines_page`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from malan.core.errors import MalanError
from malan.services.access import Caller, require
from malan.services.engines.opening import BACKENDS, check_row
from malan.services.engines.settings import ENGINES_FILE, EngineBook, EngineRow, read_engines
from malan.services.gateway.prices import Price, read_prices
from malan.services.models.rights import Asked, require_model_use
from malan.services.models.rows import find_model

if TYPE_CHECKING:
    from malan.workspace import Workspace

SHOWN = ("name", "kind", "backend", "model", "url", "device", "purpose")


def engines_page(ws: Workspace, lang: str, *, caller: Caller) -> dict[str, Any]:
    """Engines, the names that lead to them and prices; a file that cannot be read says why.

    Raises:
        NotGranted: The caller does not look after engines.
    """
    require(caller, "models.change")
    found: dict[str, Any] = {"file": ENGINES_FILE, "place": str(ws.root / ENGINES_FILE), "engines": [], "routes": []}
    try:
        book, prices = read_engines(ws), read_prices(ws)
    except MalanError as error:
        return found | {"error": {"code": error.code, "message": error.message(lang), "hint": error.hint(lang)}}
    found["engines"] = [_engine(ws, row, prices.get(row.name), lang, caller) for row in book.engines.values()]
    found["routes"] = [_route(book, name, prices.get(name)) for name in book.routes]
    return found | {"error": None}


def _engine(ws: Workspace, row: EngineRow, price: Price | None, lang: str, caller: Caller) -> dict[str, Any]:
    missing = list(_missing(ws, row, lang, caller))
    shown = {name: getattr(row, name) for name in SHOWN}
    return shown | {"key_env": row.key_env, "missing": missing, "ready": not missing, "price": _price(price)}


def _missing(ws: Workspace, row: EngineRow, lang: str, caller: Caller) -> Iterator[str]:
    """What stands in the way of asking this engine, as sentences."""
    try:
        backend = check_row(row, row.kind)
        if row.key_env and not os.environ.get(row.key_env):
            yield MalanError("admin.engine_key", variable=row.key_env).message(lang)
        if BACKENDS[row.backend].needs_weights and not backend.is_remote:
            model = find_model(ws, row.model)
            require_model_use(ws, model, Asked("apply", row.is_commercial, row.territory or None), caller=caller)
    except MalanError as error:
        yield error.message(lang)


def _route(book: EngineBook, name: str, price: Price | None) -> dict[str, Any]:
    return {"name": name, "to": list(book.routes[name]), "price": _price(price)}


def _price(price: Price | None) -> dict[str, Any] | None:
    """What is paid for what, in the smallest unit; None: free."""
    if price is None:
        return None
    units = {one.name: getattr(price, one.name) for one in fields(Price) if one.name != "currency"}
    return {"currency": price.currency, "units": {name: minor for name, minor in units.items() if minor}}
