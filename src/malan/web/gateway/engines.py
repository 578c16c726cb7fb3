"""Asking one engine for the routes that are not text: an endpoint is asked as it is, one of this machine in a thread.

What goes on in a thread is ended when whoever asked goes away, as soon as the engine looks. Start at `ask_endpoint` and
`with_engine`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from anyio import to_thread

from malan.core.errors import Rejected
from malan.inference.backends import Amount, Kind, Stop
from malan.services.engines.opening import open_engine
from malan.services.engines.settings import EngineRow
from malan.web.gateway.desk import key_of

if TYPE_CHECKING:
    from aiohttp import FormData

    from malan.services.access import Caller
    from malan.web.gateway.desk import Counter

T = TypeVar("T")


async def ask_endpoint(counter: Counter, row: EngineRow, path: str, body: bytes | FormData) -> tuple[bytes, str]:
    """The reply of a remote engine and its type."""
    return await counter.upstream.ask(
        row.name, row.url.rstrip("/") + path, body, key=key_of(row), timeout_s=row.timeout_s, at_once=row.at_once
    )


async def with_engine(
    counter: Counter, row: EngineRow, kind: Kind, caller: Caller, use: Callable[[Any, Stop], T],
    amount: Amount | None = None,
) -> T:  # fmt: skip
    """Use an engine of this machine: licence asked, its device waited for, memory for `amount` there.

    Raises:
        MalanError: As `services.engines.opening.open_engine`; what the engine says.
    """
    over = threading.Event()

    def stop() -> None:
        if over.is_set():
            raise Rejected("gateway.cancelled")

    def work() -> T:
        with open_engine(counter.ws, row.name, kind, caller=caller, stop=stop, amount=amount) as engine:
            return use(engine, stop)

    try:
        return await to_thread.run_sync(work, abandon_on_cancel=True, limiter=counter.seats)
    except asyncio.CancelledError:
        over.set()
        raise
