"""Pages of usage: rows in their order, gathered, hashed, chained; what the ledger states of them is the service's.

Sealing waits for whoever is writing rows, so a page never grows afterwards. Reading a page checks it against its root:
nothing is summed that was not checked in the same pass. Start reading at `seal` and `read_page`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Engine, func, select

from malan.core.errors import ProofError
from malan.rights.meter_tables import METADATA, PAGES, USAGE
from malan.rights.usage import NOTHING_BEFORE, PAGE_ROWS, page_digest, page_root, usage_line
from malan.runtime.database import ensure_tables, hold_still, reading, writing

Seen = Callable[["Page", Sequence[Any]], None]

_COLUMNS = (
    USAGE.c.seq,
    USAGE.c.grant_id,
    USAGE.c.snapshot_id,
    USAGE.c.asset_id,
    USAGE.c.owner_id,
    USAGE.c.holders_id,
    USAGE.c.work,
    USAGE.c.microseconds,
    USAGE.c.passes,
    USAGE.c.amount,
    USAGE.c.at_us,
)


@dataclass(frozen=True, slots=True)
class Page:
    """A run of rows whose root is stated in the ledger under `digest`, which covers all pages before it."""

    number: int
    first_seq: int
    last_seq: int
    rows: int
    root: str
    first_us: int  # the earliest use in it, and the latest
    last_us: int
    digest: str


def seal(engine: Engine, *, rows_a_page: int = PAGE_ROWS, seen: Seen | None = None) -> list[Page]:
    """Put all rows that are in no page yet into pages, in their order; the new pages.

    Writers are held up for the moment it takes to see which row is the last, not while pages are hashed.

    Args:
        seen: Called with each page and the rows that were hashed for it, so that nobody has to read them again. Pages
            count only when they are among those returned: another may have sealed the same rows meanwhile.
    """
    ensure_tables(engine, METADATA)
    with writing(engine) as connection:
        hold_still(connection, USAGE)
        last, end = _last(connection), int(connection.scalar(select(func.max(USAGE.c.seq))) or 0)
    made: list[Page] = []
    before = last
    while found := _rows_after(engine, before, end, rows_a_page):
        before = _page(found, before)
        made.append(before)
        if seen is not None:
            seen(before, found)
    with writing(engine, durable=True) as connection:
        if not made or _last(connection) != last:  # another sealed the same rows meanwhile
            return []
        connection.execute(PAGES.insert(), [{name: getattr(one, name) for name in Page.__slots__} for one in made])
    return made


def list_pages(engine: Engine) -> list[Page]:
    """All pages in their order.

    Raises:
        ProofError: One does not follow the one before it.
    """
    ensure_tables(engine, METADATA)
    with reading(engine) as connection:
        pages = [Page(**row) for row in connection.execute(select(PAGES).order_by(PAGES.c.number)).mappings()]
    before, seq = NOTHING_BEFORE, 0
    for number, page in enumerate(pages):
        follows = page.number == number and seq < page.first_seq <= page.last_seq
        if not follows or page.digest != _digest(page, before):
            raise ProofError("meter.page_chain", number=number)
        before, seq = page.digest, page.last_seq
    return pages


def pages_of_works(engine: Engine, pages: Sequence[Page], works: Collection[str]) -> set[int]:
    """The numbers of the pages that hold rows of any of these works."""
    found: set[int] = set()
    with reading(engine) as connection:
        for work in sorted(works):
            query = select(USAGE.c.seq).where(USAGE.c.work == work).order_by(USAGE.c.seq)
            found |= _holding(pages, list(connection.scalars(query)))
    return found


def read_page(engine: Engine, page: Page) -> tuple[list[bytes], list[Any]]:
    """The lines of a page and its rows (columns in the order of `usage_line`), checked against the root.

    Raises:
        ProofError: They are not what was sealed.
    """
    with reading(engine) as connection:
        query = select(*_COLUMNS).where(USAGE.c.seq.between(page.first_seq, page.last_seq)).order_by(USAGE.c.seq)
        rows: list[Any] = list(connection.execute(query).all())
    lines = [usage_line(*row) for row in rows]
    if (found := page_root(lines)) != page.root:
        raise ProofError("meter.page_changed", root=page.root[:16], found=found[:16])
    return lines, rows


def _last(connection: Connection) -> Page | None:
    row = connection.execute(select(PAGES).order_by(PAGES.c.number.desc()).limit(1)).mappings().one_or_none()
    return Page(**row) if row else None


def _rows_after(engine: Engine, last: Page | None, end: int, most: int) -> list[Any]:
    after = USAGE.c.seq > (last.last_seq if last else 0)
    with reading(engine) as connection:
        query = select(*_COLUMNS).where(after, USAGE.c.seq <= end).order_by(USAGE.c.seq).limit(most)
        return list(connection.execute(query).all())


def _page(rows: Sequence[Any], before: Page | None) -> Page:
    number = before.number + 1 if before else 0
    root, times = page_root(usage_line(*row) for row in rows), [row.at_us for row in rows]
    page = Page(number, rows[0].seq, rows[-1].seq, len(rows), root, min(times), max(times), "")
    return replace(page, digest=_digest(page, before.digest if before else NOTHING_BEFORE))


def _digest(page: Page, before: str) -> str:
    return page_digest(page.number, page.rows, page.root, (page.first_us, page.last_us), before)


def _holding(pages: Sequence[Page], seqs: Sequence[int]) -> set[int]:
    """The pages these rows are in."""
    found, at = set(), 0
    for seq in seqs:
        while at < len(pages) and pages[at].last_seq < seq:
            at += 1
        if at < len(pages):
            found.add(pages[at].number)
    return found
