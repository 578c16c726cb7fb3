"""Finding clips and showing one, within what the terms of their owners allow today.

Rights are asked for each terms once and become part of the query, so that nothing is found first and hidden after.
Start reading at `find`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from malan.core import Finding
from malan.services.access import HOUSE, Caller
from malan.services.uses import LOOKING, allowed_terms, require_use, require_visible_clip

if TYPE_CHECKING:
    from malan.store import AssetRow
    from malan.store import ClipHit as ClipHit  # noqa: PLC0414  # faces take it from here
    from malan.store import ClipPage as ClipPage  # noqa: PLC0414  # faces take it from here
    from malan.store import ClipQuery as ClipQuery  # noqa: PLC0414  # faces take it from here
    from malan.store import ClipRow as ClipRow  # noqa: PLC0414  # faces take it from here
    from malan.workspace import Workspace


@dataclass(frozen=True, slots=True)
class ClipShown:
    """One clip with its asset and everything that was found about it, in the order of time."""

    row: ClipRow
    asset: AssetRow
    findings: tuple[Finding, ...]
    duplicates: tuple[ClipRow, ...]  # near-duplicates that may be seen, without the clip itself


def find(ws: Workspace, query: ClipQuery, *, use: str = LOOKING, caller: Caller = HOUSE) -> ClipPage:
    """One page of the clips that match and whose terms allow the caller `use` today, best first.

    Terms that are not on record allow nothing. A query that names terms is narrowed to those of them that allow it.

    Raises:
        UsageError: The query makes no sense.
        NotFound: The clip to be similar to is not there.
        NotGranted: The clip to be similar to may not be looked at.
    """
    if query.similar_to is not None:
        like = ws.library.clip(query.similar_to)
        require_visible_clip(ws, like.id, like.terms_id, caller)
        require_use(ws, like.terms_id, use, like.id[:12], caller=caller)
        query = replace(query, similar_to=like.id)
    return ws.library.search(replace(query, terms_ids=allowed_terms(ws, use, query.terms_ids, caller=caller)))


def show(ws: Workspace, id_or_prefix: str, *, caller: Caller = HOUSE) -> ClipShown:
    """One clip, by its id or a unique beginning of it.

    Raises:
        NotFound: There is none.
        NotGranted: Its terms do not allow to look at it today.
    """
    row = ws.library.clip(id_or_prefix)
    require_visible_clip(ws, row.id, row.terms_id, caller)
    asset = ws.library.asset(row.clip.asset_id)
    findings = [f for f in ws.library.findings(asset_id=asset.asset.id) if f.clip.span.overlaps(row.span)]
    return ClipShown(row, asset, tuple(findings), _duplicates(ws, row, caller))


def _duplicates(ws: Workspace, row: ClipRow, caller: Caller) -> tuple[ClipRow, ...]:
    if row.group_id is None:
        return ()
    from malan.store import ClipQuery

    group = ClipQuery(group_id=row.group_id, terms_ids=allowed_terms(ws, LOOKING, caller=caller), fold_duplicates=False)
    return tuple(other for other in ws.library.matching(group) if other.id != row.id)
