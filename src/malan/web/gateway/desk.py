"""What every route does for a request that costs something: who asks, which engines, hold, ask in turn, settle.

    key ─▶ policy ─▶ engines of the name ─▶ hold the dearest ─▶ ask one after the other ─▶ settle ─▶ answer

A request that fails is given back whole. Start at `Counter.paid`.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from anyio import CapacityLimiter
from starlette.concurrency import run_in_threadpool

from malan.core.errors import NotFound, NotGranted, UsageError
from malan.inference.backends import Kind
from malan.inference.openai_passthrough import Upstream, UpstreamBusy, UpstreamFailed
from malan.services.engines.settings import EngineRow
from malan.services.gateway.book import Book, Named, check_currency_of
from malan.services.gateway.budget import Use
from malan.services.gateway.desk import Desk
from malan.services.gateway.keys import Policy, describe_cost, is_key_open, policy_of
from malan.services.gateway.prices import dearest, price_for
from malan.services.models.endpoints import require_endpoint_use
from malan.web.gateway.call import Call

if TYPE_CHECKING:
    from malan.web.gateway.metrics import Counts
    from malan.workspace import Workspace

_KNOWN_S = 2.0
_MOST_OWN = 16  # requests that use engines of this machine at a time; the rest wait without taking a thread
_MOST_KNOWN = 10_000

T = TypeVar("T")


@dataclass
class Paid:
    """A request whose cost is held.

    Args:
        id: Of the request; of what is written down about it.
        policy: Who asks.
        model: As it was asked for.
        kind: Of the engines.
        rows: Who may answer, in order.
        named: What names lead to, as of now.
        currency: In which it is paid; empty: free.
        engine: Who answered.
    """

    id: str
    policy: Policy
    model: str
    kind: Kind
    rows: tuple[EngineRow, ...]
    named: Named
    currency: str
    engine: EngineRow | None = None
    is_settled: bool = False


class _Unlicensed(Exception):
    """An engine of a route may not be used; the next one may."""

    def __init__(self, error: NotGranted) -> None:
        self.error = error
        super().__init__(error.code)


class Counter:
    """Where requests are let in and paid.

    Args:
        ws: Whose engines and budgets.
        counts: What is counted for metrics.
    """

    def __init__(self, ws: Workspace, counts: Counts) -> None:
        self.ws, self.counts = ws, counts
        self.book, self.desk, self.upstream = Book(ws), Desk(ws), Upstream()
        self.seats = CapacityLimiter(_MOST_OWN)
        self._known: dict[bytes, tuple[float, Policy]] = {}
        self._licences: dict[tuple[str, str], float] = {}  # until when an endpoint's stands

    async def policy(self, call: Call) -> Policy:
        """Who asks, by a key that is open at this moment.

        Raises:
            NotSignedIn: The key opens nothing.
        """
        return await run_in_threadpool(self.policy_now, call)

    def policy_now(self, call: Call) -> Policy:
        """The same, for work that is in a thread already."""
        known = self._recent(call.token)
        if known is not None and is_key_open(self.ws, known.prefix):
            return known
        return self._read(call.token)

    async def known(self, call: Call) -> Policy:
        """Who asks, as known a moment ago: for what the database checks again before it costs anything.

        Raises:
            NotSignedIn: The key opens nothing.
        """
        known = self._recent(call.token)
        return known if known is not None else await run_in_threadpool(self._read, call.token)

    def _recent(self, token: str) -> Policy | None:
        """What was read of a key a moment ago. Whether it is open must be asked beside it."""
        found = self._known.get(_name(token))
        return found[1] if found and time.monotonic() - found[0] < _KNOWN_S else None

    def _read(self, token: str) -> Policy:
        found = policy_of(self.ws, token)
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()
        self._known[_name(token)] = (time.monotonic(), found)
        return found

    @asynccontextmanager
    async def paid(self, call: Call, model: str, kind: Kind, **use: int) -> AsyncIterator[Paid]:
        """A request whose cost is held for as long as the block; what is not settled in it is given back.

        Args:
            call: The request.
            model: The name asked for.
            kind: What it must lead to.
            use: The most that may be used: input_tokens, output_tokens, images, seconds, chars.

        Raises:
            NotSignedIn, NotFound, NotGranted, TooFast, OverBudget: It may not be asked.
        """
        policy = await self.known(call)
        named = self.book.current()
        rows = named.rows(policy, model, kind)
        micro, currency = dearest(named.prices, model, rows, **use)
        check_currency_of(policy, currency)
        paid = Paid(f"req_{uuid4().hex}", policy, model, kind, rows, named, currency)
        try:
            await self.desk.reserve(policy.prefix, paid.id, micro)
            yield paid
        finally:
            await self.give_back(paid)

    async def give_back(self, paid: Paid) -> None:
        """Give back what is held and not settled, before anybody is told that it failed; also when nobody waits."""
        if not paid.is_settled:
            paid.is_settled = True  # from here on it is the desk's
            await asyncio.shield(self.desk.release(paid.id, paid.policy.prefix))

    async def in_turn(self, paid: Paid, ask: Callable[[EngineRow], Awaitable[T]]) -> T:
        """Ask engine after engine until one answers; what a client did wrong is not tried again elsewhere.

        Raises:
            UpstreamFailed, UpstreamBusy: None did; what the last one said.
        """
        failed: Exception | None = None
        for row in paid.rows:
            began = time.perf_counter()
            try:
                await self._licensed(row)
                found = await ask(row)
            except (UpstreamFailed, UpstreamBusy, _Unlicensed) as error:
                code = error.error.code if isinstance(error, _Unlicensed) else error.code
                self.counts.failed(row.name, code)
                failed = error.error if isinstance(error, _Unlicensed) else error
            else:
                self.counts.answered(row.name, time.perf_counter() - began)
                paid.engine = row
                return found
        raise failed or NotFound("gateway.no_model", model=paid.model[:120])

    async def _licensed(self, row: EngineRow) -> None:
        """Whether what a remote engine stands on may be used, as known a moment ago; those here ask when they open.

        Raises:
            _Unlicensed: Its licence forbids it, or it was retired: another engine may be asked.
        """
        place = (row.url, row.model)
        if not row.is_remote or time.monotonic() < self._licences.get(place, 0.0):
            return
        try:
            await run_in_threadpool(require_endpoint_use, self.ws, row)
        except NotGranted as error:
            raise _Unlicensed(error) from None
        self._licences[place] = time.monotonic() + _KNOWN_S

    async def settle(self, paid: Paid, *, mode: str = "infer", provenance: str = "",
                     sources: tuple[dict[str, Any], ...] = (), **use: int) -> dict[str, Any]:  # fmt: skip
        """Charge what was used; what the answer tells of it."""
        row = paid.engine or paid.rows[0]
        price = price_for(paid.named.prices, paid.model, row)
        micro = price.micro(**use)
        taken = use.get("input_tokens", 0) + use.get("chars", 0)
        given = use.get("output_tokens", 0) + use.get("images", 0) + use.get("seconds", 0) * 1000
        policy = paid.policy
        written = Use(paid.id, policy.prefix, policy.party_id, policy.app, time.time(), paid.kind, paid.model, row.name,
                      mode, paid.currency or policy.currency, taken, given, micro)  # fmt: skip
        written = replace(written, model_id=row.model if not row.is_remote else "")
        settling = asyncio.ensure_future(self.desk.settle(written))
        paid.is_settled = True  # from here on it is the desk's, whatever becomes of this request
        charged = await asyncio.shield(settling)
        self.counts.used(row.name, taken, given, charged, written.currency)
        told = {"mode": mode, "engine": row.name, "provenance_id": provenance or paid.id, "sources": list(sources)}
        return told | {"cost": describe_cost(charged, written.currency)}

    async def close(self) -> None:
        await self.upstream.close()
        self.desk.close()


def _name(token: str) -> bytes:
    """Keys are kept in memory as a digest only."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def key_of(row: EngineRow) -> str:
    """The key of an endpoint, from the environment.

    Raises:
        UpstreamFailed: It is not there: another engine may be asked.
    """
    if not row.key_env:
        return ""
    key = os.environ.get(row.key_env, "").strip()
    if not key or not key.isprintable():
        raise UpstreamFailed("gateway.upstream_no_key", engine=row.name, variable=row.key_env)
    return key


def model_of(said: dict[str, Any]) -> str:
    """The name of the model that is asked for.

    Raises:
        UsageError: None is.
    """
    model = said.get("model")
    if not isinstance(model, str) or not model or len(model) > 200 or not model.isprintable():
        raise UsageError("gateway.bad_field", field="model", wanted="text, 1–200")
    return model
