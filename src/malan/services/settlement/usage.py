"""The usage a settlement stands on: pages read, checked against their roots, and summed in one pass.

Start reading at `read_usage`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from malan.core.errors import ProofError
from malan.rights.pages import Page, pages_of_works, read_page
from malan.services.settlement.metering import page_event, seal_usage

if TYPE_CHECKING:
    from malan.workspace import Workspace

Sums = Mapping[str, Mapping[str, int]]  # grant or work → division of holders → clip-microseconds


@dataclass(frozen=True, slots=True)
class Span:
    """Which usage a statement covers: before `until_us`, less what the one before it has had."""

    since_us: int = 0
    after_page: int = -1
    until_us: int = 0

    def holds(self, at_us: int, page: int) -> bool:
        return at_us < self.until_us and not (at_us < self.since_us and page <= self.after_page)

    def may_hold(self, page: Page) -> bool:
        """Every page since the last statement is read, so that an auditor sees that none was left out."""
        return page.number > self.after_page or (page.first_us < self.until_us and page.last_us >= self.since_us)


@dataclass(frozen=True, slots=True)
class UsageRead:
    """What was used, and the pages that say so: number and digest."""

    sums: Sums
    pages: tuple[tuple[int, str], ...]
    last_page: int


def by_grant(grant_id: str) -> str:
    """The key of `Sums` for all that was used under a grant; a work is its own key."""
    return f"grant {grant_id}"


def read_usage(ws: Workspace, span: Span, works: Collection[str]) -> UsageRead:
    """Seal what was used, and sum it by grant (what the span holds) and by work (all before its end).

    Raises:
        ProofError: A page is not what was sealed, or the ledger does not state it.
    """
    summed = _Summed(span, frozenset(works))
    pages = seal_usage(ws, seen=summed.add)  # rows that are hashed now need not be read again
    if any(pages[number : number + 1] != [page] for number, page in summed.pages.items()):
        summed = _Summed(span, frozenset(works))  # another sealed the same rows meanwhile, in other pages
    wanted = pages_of_works(ws.database, pages, works) | {page.number for page in pages if span.may_hold(page)}
    for page in (page for page in pages if page.number in wanted):
        if page_event(ws, page) is None:
            raise ProofError("meter.page_unlogged", number=page.number)
        if page.number not in summed.pages:
            summed.add(page, read_page(ws.database, page)[1])
    read = tuple((number, pages[number].digest) for number in sorted(wanted))
    return UsageRead(summed.sums(), read, len(pages) - 1)


@dataclass
class _Summed:
    """Running sums over checked pages."""

    span: Span
    works: frozenset[str]
    pages: dict[int, Page] = field(default_factory=dict)
    _grants: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    _works: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))

    def add(self, page: Page, rows: Sequence[Any]) -> None:
        self.pages[page.number] = page
        for _, grant, _, _, _, holders, work, _, _, amount, at_us in rows:
            if self.span.holds(at_us, page.number):
                self._grants[grant, holders] += amount
            if work in self.works and at_us < self.span.until_us:
                self._works[work, holders] += amount

    def sums(self) -> Sums:
        found: dict[str, dict[str, int]] = defaultdict(dict)
        for (grant, holders), amount in self._grants.items():
            found[by_grant(grant)][holders] = amount
        for (work, holders), amount in self._works.items():
            found[work][holders] = amount
        return found
