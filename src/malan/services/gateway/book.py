"""What names lead to, as `models.toml` says now: engines in order of fallback, prices, apps that answer like models.

Read again when the file changes, and only then. Start reading at `Book.current`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from malan.core.errors import NotFound, NotGranted, UsageError
from malan.inference.backends import Kind
from malan.services.engines.settings import ENGINES_FILE, EngineBook, EngineRow, read_engines
from malan.services.gateway.keys import Policy
from malan.services.gateway.prices import Price, read_prices

if TYPE_CHECKING:
    from malan.workspace import Workspace

APP_MODELS: Mapping[str, tuple[str, str]] = {
    "malan-assemble": ("video", "assemble"),
    "malan-motion": ("video", "render"),
    "malan-compose": ("music", "compose"),
}
"""Names of ours that need no weights: what they make, and how."""


@dataclass(frozen=True, slots=True)
class Named:
    """All there is to ask for."""

    book: EngineBook
    prices: Mapping[str, Price]

    def rows(self, policy: Policy, model: str, kind: Kind) -> tuple[EngineRow, ...]:
        """Engines for a name, in order of fallback.

        Raises:
            NotFound: The name leads nowhere, or is not for this key: the same, for names are nobody else's business.
            UsageError: It leads to another kind.
        """
        if not policy.may_ask(model) or model not in self.book.names:
            raise NotFound("gateway.no_model", model=model[:120])
        rows = self.book.routed(model)
        if rows[0].kind != kind:
            raise UsageError("engines.other_kind", name=model, kind=rows[0].kind, wanted=kind)
        return rows

    def names(self, policy: Policy) -> list[tuple[str, str]]:
        """Every name a key may ask for, and the kind of it."""
        own = [(name, kind) for name, (kind, _) in APP_MODELS.items()]
        known = [(name, self.book.routed(name)[0].kind) for name in self.book.names]
        return [(name, kind) for name, kind in (*own, *known) if policy.may_ask(name)]


def check_currency_of(policy: Policy, currency: str) -> None:
    """Raises:
    NotGranted: The key's budget is in another currency than the price.
    """
    if currency and currency != policy.currency:
        raise NotGranted("gateway.currency", currency=currency, known=policy.currency)


class Book:
    """`models.toml` as it stands; one look at the file's date each time.

    Args:
        ws: Whose.
    """

    def __init__(self, ws: Workspace) -> None:
        self._ws = ws
        self._path = ws.root / ENGINES_FILE
        self._stamp: tuple[int, int] | None = None
        self._named: Named | None = None
        self._lock = threading.Lock()

    def current(self) -> Named:
        """Raises:
        UsageError: The file makes no sense.
        """
        try:
            found = self._path.stat()
            stamp = (found.st_mtime_ns, found.st_size)
        except OSError:
            stamp = (0, 0)
        with self._lock:
            if self._named is None or stamp != self._stamp:
                self._named = Named(read_engines(self._ws), read_prices(self._ws))
                self._stamp = stamp
            return self._named
