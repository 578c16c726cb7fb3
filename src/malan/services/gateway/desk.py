"""One writer for many requests at once: what they hold and settle is committed together, so a commit costs all of them
one wait.

    request ─ await desk.reserve ─┐
    request ─ await desk.settle  ─┼─▶ queue ─▶ one thread: one transaction ─▶ each is told its own answer
    request ─ await desk.release ─┘

Nothing is answered before it is committed. Start at `Desk`.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from malan.core.errors import MalanError
from malan.runtime.database import updating
from malan.services.gateway.budget import LEASE_S, Use, release, reserve, settle, sweep
from malan.services.gateway.tables import gateway_tables

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from malan.workspace import Workspace

_MOST_AT_ONCE = 128  # of one transaction: others that write wait for its end
_SWEEP_S = 30.0

Work = Callable[["Connection"], Any]
Waiting = tuple[Work, "asyncio.AbstractEventLoop | None", "asyncio.Future[Any] | None"]


class Desk:
    """Holds and settles for requests of one process.

    Args:
        ws: Whose budgets.
    """

    def __init__(self, ws: Workspace) -> None:
        self._ws = ws
        self._queue: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    async def reserve(self, prefix: str, hold_id: str, micro: int) -> None:
        """Hold an amount; from here on it must be settled or released.

        Raises:
            NotSignedIn: The key opens nothing any more.
            TooFast, OverBudget: Its limits.
        """
        now_s = time.time()
        refused = await self._ask(lambda held: reserve(held, prefix, hold_id, micro, now_s, now_s + LEASE_S))
        if refused is not None:
            raise refused

    async def settle(self, use: Use) -> int:
        """Charge what was used; the amount charged."""
        return await self._ask(lambda held: settle(held, use)) or 0

    def release(self, hold_id: str, prefix: str) -> asyncio.Future[Any]:
        """Give a hold back, whether or not anybody waits for it."""
        return self._ask(lambda held: release(held, hold_id, prefix))

    def close(self) -> None:
        """Do what is left, then no more."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            thread.join(10)

    def _ask(self, work: Work) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        self._put((work, loop, answer))
        return answer

    def _put(self, waiting: Waiting) -> None:
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._serve, name="malan-gateway-desk", daemon=True)
                    self._thread.start()
        self._queue.put(waiting)

    def _serve(self) -> None:
        swept, over = 0.0, False
        while not over:
            batch, over = self._gather()
            if time.monotonic() - swept > _SWEEP_S:
                swept = time.monotonic()
                batch.append((lambda held: sweep(held, time.time()), None, None))
            if batch:
                self._carry_out(batch)

    def _gather(self) -> tuple[list[Waiting], bool]:
        """All that waits, at most so much; and whether it was the last."""
        batch: list[Waiting] = []
        one = self._queue.get()
        while one is not None:
            batch.append(one)
            if len(batch) >= _MOST_AT_ONCE:
                return batch, False
            try:
                one = self._queue.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    def _carry_out(self, batch: list[Waiting]) -> None:
        answers: list[Any]
        try:
            with updating(gateway_tables(self._ws)) as connection:
                answers = [work(connection) for work, _, _ in batch]
        except MalanError as error:
            answers = [error] * len(batch)
            failed = True
        except Exception as error:  # the edge of a thread: each request is told, the next batch goes on
            answers = [MalanError("web.defect", kind=type(error).__name__)] * len(batch)
            failed = True
        else:
            failed = False
        loops: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
        for (_, loop, future), answer in zip(batch, answers, strict=True):
            if loop is not None and future is not None:
                loops.setdefault(loop, []).append((future, answer))
        for loop, told in loops.items():
            if not loop.is_closed():
                loop.call_soon_threadsafe(_tell, told, failed)


def _tell(told: list[tuple[asyncio.Future[Any], Any]], failed: bool) -> None:
    for future, answer in told:
        if future.cancelled():
            continue
        if failed:
            future.set_exception(answer)
        else:
            future.set_result(answer)
