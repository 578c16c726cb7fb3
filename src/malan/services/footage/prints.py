"""Fingerprints of the library, to ask whether something in hand is footage of it. Start at `library_prints`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from malan.services.clips.browse import file_name
from malan.services.footage.owners import owner_names

if TYPE_CHECKING:
    from malan.curation.fingerprint import ClipPrint
    from malan.workspace import Workspace

PRINTS = "fingerprint.video"


@dataclass(frozen=True, slots=True)
class PrintOwner:
    """Whose footage a fingerprint is of, and under which terms."""

    asset_id: str
    file: str
    owner: str
    terms_id: str


def library_prints(ws: Workspace) -> tuple[list[ClipPrint], dict[str, PrintOwner]]:
    """The fingerprint of every scanned clip, and by asset whose it is."""
    from malan.curation.fingerprint import ClipPrint

    prints = [
        ClipPrint.from_bytes(clip_id, asset_id, data)
        for asset_id, extra in ws.library.extras_of_kind(PRINTS)
        for clip_id, data in _unpacked(extra.value, extra.data)
    ]
    names = owner_names(ws)
    rows = ws.library.assets_by_id({one.asset_id for one in prints})
    owners = {
        key: PrintOwner(key, file_name(row), names.get(row.asset.owner_id, row.asset.owner_id[:12]), row.asset.terms_id)
        for key, row in rows.items()
    }
    return [one for one in prints if one.asset_id in owners], owners


def _unpacked(sizes: Sequence[tuple[str, int]], data: bytes) -> Iterator[tuple[str, bytes]]:
    """The prints of an asset, kept one behind the other."""
    at = 0
    for clip_id, size in sizes:
        yield clip_id, data[at : at + size]
        at += size
