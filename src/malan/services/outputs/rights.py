"""Whether a finished file may still be handed out: footage it shows may have been taken back since it was made.

Start reading at `require_output`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from malan.core.errors import NotGranted
from malan.ledger.statement import urn
from malan.services.journal import events_about, read_event
from malan.services.outputs.manifests import Source, read_sources
from malan.services.uses import is_withdrawn

if TYPE_CHECKING:
    from malan.workspace import Workspace


def withdrawn_sources(ws: Workspace, output_id: str) -> list[Source]:
    """The stretches of an output whose footage was taken back, or is not registered here any more.

    Raises:
        NotFound, ProofError: What the output stands on cannot be read.
    """
    events = events_about(ws, "media.publish", urn("output", output_id))
    if not events:
        return []
    inputs = read_event(ws, events[-1]).statement.inputs
    root = next(one.sha256 for one in inputs if one.urn.startswith(urn("sources", "")))
    listed = read_sources(ws, root).listed
    rows = ws.library.assets_by_id({one.clip.asset_id for one in listed})
    return [one for one in listed if one.clip.asset_id not in rows or is_withdrawn(rows[one.clip.asset_id])]


def require_output(ws: Workspace, output_id: str) -> None:
    """Go on only when nothing an output shows was taken back.

    Raises:
        NotGranted: Something was; the clip and the second are named.
    """
    gone = withdrawn_sources(ws, output_id)
    if gone:
        first = gone[0]
        raise NotGranted(
            "app.withdrawn", clip=first.clip.id[:12], at=f"{float(first.at_s):.2f}", until=f"{float(first.until_s):.2f}"
        )
