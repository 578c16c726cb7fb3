"""Metering as a service: the meter of a workspace, rows of usage made from clips, and their pages stated in the ledger.

Start reading at `meter` and `usage_of`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from sqlalchemy import func, inspect, select

from malan.core import Clip
from malan.core.errors import NotFound
from malan.ledger.statement import Input, Subject, urn
from malan.rights.holders import Holders
from malan.rights.meter import OUTPUTS, Meter, Reservation
from malan.rights.meter_tables import USAGE
from malan.rights.pages import Page, Seen, list_pages, seal
from malan.rights.shares import Holder
from malan.rights.usage import MICROSECONDS, PAGE_ROWS, Usage
from malan.runtime.database import reading
from malan.services.journal import Fact, events_about, record
from malan.services.outputs.manifests import Source

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from malan.workspace import Workspace


def now_us() -> int:
    """Microseconds since 1970, by the clock of this machine."""
    return time.time_ns() // 1000


def meter(ws: Workspace) -> Meter:
    """The meter of a workspace."""
    return Meter(ws.database)


def divide_asset(ws: Workspace, asset_id: str, holders: Iterable[Holder]) -> str:
    """Say who holds which share of an asset from now on; use before now stays divided as it was.

    Raises:
        NotFound: The asset is not registered here.
        UsageError: The shares do not add to exactly one.
    """
    if asset_id not in ws.library.assets_by_id([asset_id]):
        raise NotFound("store.asset_unknown", id=asset_id)
    return Holders(ws.database).divide(asset_id, holders, now_us=now_us())


def usage_of(
    ws: Workspace, grant_id: str, snapshot_id: str, clips: Sequence[Clip], *, work: str, passes: int = 1
) -> list[Usage]:
    """Rows of usage for clips that are about to be handed over; what `Meter.consume` takes.

    Args:
        work: What they are handed over for: `run:<id>`, `output:<digest>`.
        passes: How many times each is handed over.

    Raises:
        NotFound: An asset is not registered here.
    """
    owners = _owners(ws, {clip.asset_id for clip in clips})
    holders = Holders(ws.database).now(owners)
    return [
        Usage(
            grant_id,
            snapshot_id,
            clip.asset_id,
            owners[clip.asset_id],
            holders[clip.asset_id],
            work,
            microseconds(clip.span.duration),
            passes,
        )
        for clip in clips
        if not clip.span.is_empty
    ]


def usage_of_output(
    ws: Workspace, grant_id: str, snapshot_id: str, output_id: str, sources: Sequence[Source]
) -> list[Usage]:
    """Rows of usage for a finished file: each stretch of footage for as long as it is shown or heard."""
    owners = {one.clip.asset_id: one.owner_id for one in sources}
    holders = Holders(ws.database).now(owners)
    return [
        Usage(
            grant_id,
            snapshot_id,
            one.clip.asset_id,
            one.owner_id,
            holders[one.clip.asset_id],
            f"output:{output_id}",
            microseconds(one.until_s - one.at_s),
        )
        for one in sources
        if one.until_s > one.at_s
    ]


def count_output(
    ws: Workspace,
    hold: Reservation,
    output_id: str,
    sources: Sequence[Source],
    *,
    snapshot_id: str = "-",
    within: Connection | None = None,
) -> bool:
    """Count a finished file under its grant, with what it stands on; the same file is counted once.

    Args:
        hold: A reservation of one output.

    Raises:
        NotGranted, Rejected: The meter refuses.
    """
    rows = usage_of_output(ws, hold.grant_id, snapshot_id, output_id, sources)
    if hold.unit == OUTPUTS:
        return meter(ws).consume(hold, 1, rows, key=output_id, within=within)
    return meter(ws).consume(hold, sum(row.amount for row in rows), rows, key=output_id, within=within)


def microseconds(seconds: Fraction) -> int:
    """A length as the meter counts it: whole microseconds, at least one. Exact halves go to the even number."""
    return max(1, round(seconds * MICROSECONDS))


def seal_usage(ws: Workspace, *, rows_a_page: int = PAGE_ROWS, seen: Seen | None = None) -> list[Page]:
    """Gather what was used into pages and state their roots in the ledger; all pages there are.

    From then on no row of them can be changed, taken out or slipped in without being noticed. Running it twice, or
    after a kill in the middle, does no harm.

    Args:
        seen: Told the rows of pages as they are made (see `rights.pages.seal`).

    Raises:
        ProofError: A page does not follow the one before it.
    """
    seal(ws.database, rows_a_page=rows_a_page, seen=seen)
    pages = list_pages(ws.database)
    unsaid = _first_unsaid(ws, pages)
    record(
        ws, [_page_fact(pages[number], pages[number - 1] if number else None) for number in range(unsaid, len(pages))]
    )
    return pages


def has_unsealed(ws: Workspace) -> bool:
    """Whether anything was used that is in no page yet; makes no table."""
    if not ws.settings.database and not (ws.root / "malan.db").is_file():
        return False
    if not inspect(ws.database).has_table(USAGE.name):
        return False
    pages = list_pages(ws.database)
    with reading(ws.database) as connection:
        last = connection.scalar(select(func.max(USAGE.c.seq))) or 0
    return last > (pages[-1].last_seq if pages else 0)


def page_event(ws: Workspace, page: Page) -> int | None:
    """Where the ledger states a page; None when it does not."""
    return next(iter(events_about(ws, "usage.root", urn("usage", page.digest))), None)


def _first_unsaid(ws: Workspace, pages: Sequence[Page]) -> int:
    """Pages are stated in their order, so the unsaid ones are the last."""
    number = len(pages)
    while number and page_event(ws, pages[number - 1]) is None:
        number -= 1
    return number


def _page_fact(page: Page, before: Page | None) -> Fact:
    inputs = () if before is None else (Input(urn("usage", before.digest), before.digest, "parentOf"),)
    return Fact(
        "usage.root",
        (Subject(urn("usage", page.digest), page.digest),),
        "usage.seal",
        inputs=inputs,
        facts={"page": page.number, "rows": page.rows, "root": page.root},
    )


def _owners(ws: Workspace, asset_ids: set[str]) -> dict[str, str]:
    found = ws.library.assets_by_id(sorted(asset_ids))
    if missing := sorted(asset_ids - set(found)):
        raise NotFound("store.asset_unknown", id=missing[0])
    return {asset_id: row.asset.owner_id for asset_id, row in found.items()}
