"""Footage that a caller may use under a grant instead of open terms: whole clips and stretches of them.

A caller that names a grant (`Caller.grant_id`) is answered by the signed agreement, never by the owner's open terms:
only clips of the agreed snapshot, only the agreed uses, nothing that was taken back. Start at `require_source`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from malan.core.errors import NotGranted
from malan.rights.decide import Use
from malan.services.access import Caller
from malan.services.market.grants import get_grant, grant_allows, granted_clips
from malan.services.uses import require_use, today

if TYPE_CHECKING:
    from malan.core import Clip
    from malan.workspace import Workspace

_NEAR_S = 1e-3  # a stretch is cut on frames, whose times are exact in the time base of their own file


@dataclass(frozen=True)
class Opened:
    """What a grant opens: its clips, and by asset the stretches they cover, in seconds."""

    clip_ids: frozenset[str]
    spans: Mapping[str, Sequence[tuple[float, float]]]

    def covers(self, clip: Clip) -> bool:
        """Whether a stretch lies inside clips of the grant, also of several that follow each other."""
        at = clip.span.start_s
        for start, end in self.spans.get(clip.asset_id, ()):
            if start <= at + _NEAR_S and end > at:
                at = end
        return at >= clip.span.end_s - _NEAR_S


def opened_by(ws: Workspace, caller: Caller, uses: Sequence[str]) -> Opened:
    """What the caller's grant opens for all of these uses.

    Raises:
        NotFound: There is no such grant of the caller's.
        NotGranted: The grant does not allow one of the uses; every reason is in the message.
    """
    grant_id = get_grant(ws, caller.grant_id, caller=caller).grant.id
    found: dict[str, list[tuple[float, float]]] = {}
    ids = set()
    for clip in _clips(ws, grant_id, caller, uses):
        ids.add(clip.id)
        found.setdefault(clip.asset_id, []).append((clip.span.start_s, clip.span.end_s))
    return Opened(frozenset(ids), {asset_id: sorted(spans) for asset_id, spans in found.items()})


def require_source(
    ws: Workspace, clip: Clip, terms_id: str, use: str, what: str, *, caller: Caller, opened: Opened | None = None
) -> None:
    """Go on only when the caller may use this stretch so: under its grant, if it names one, else under open terms.

    Args:
        what: How a refusal calls it: a clip, a second of a film.
        opened: What the grant opens, where it is known already; spares reading the snapshot again.

    Raises:
        NotGranted: It may not; every reason is in the message.
    """
    if not caller.grant_id:
        require_use(ws, terms_id, use, what, caller=caller)
        return
    asked = Use(use, today(), party_id=caller.party_id, purpose=caller.purpose)
    decision = grant_allows(ws, caller.grant_id, asked, asset_id=clip.asset_id, party=caller.party_id)
    if not decision.allowed:
        reasons = " ".join(reason.text() for reason in decision.reasons)
        raise NotGranted("rights.denied", what=what, use=use, reasons=reasons)
    if not (opened or opened_by(ws, caller, (use,))).covers(clip):
        raise NotGranted("app.grant.not_in_it", what=what, grant=caller.grant_id[:12])


def _clips(ws: Workspace, grant_id: str, caller: Caller, uses: Sequence[str]) -> Iterator[Clip]:
    asked = [Use(use, today(), party_id=caller.party_id, purpose=caller.purpose) for use in uses]
    for use in asked[1:]:
        next(iter(granted_clips(ws, grant_id, use)), None)  # refused here where the grant does not allow it
    return (entry.clip for entry in granted_clips(ws, grant_id, asked[0]))
