"""Everything a library holds but times, as plain values: two libraries with equal portraits hold the same."""

from __future__ import annotations

import hashlib
from typing import Any

from malan.workspace import Workspace


def portrait(ws: Workspace) -> dict[str, Any]:
    library = ws.library
    rows = library.assets()
    clips = {row.asset.id: library.clips(row.asset.id) for row in rows}
    findings = [finding for row in rows for finding in library.findings(asset_id=row.asset.id)]
    ids = [clip.id for found in clips.values() for clip in found]
    return {
        "assets": sorted((row.asset.id, row.asset.owner_id, row.asset.terms_id, row.status, row.title) for row in rows),
        "scans": {row.asset.id: dict(row.scan) for row in rows},
        "places": sorted(place.path for row in rows for place in row.locations),
        "refused": sorted((place.path, place.code) for place in library.refused()),
        "indexes": {row.asset.id: digest(library.index(row.asset.id)) for row in rows},
        "clips": {asset_id: [clip.id for clip in found] for asset_id, found in clips.items()},
        "findings": sorted(finding.id for finding in findings),
        "pictures": {id: (digest(library.thumbnail(id)), digest(library.filmstrip(id))) for id in ids},
        "descriptors": {id: digest(vector.tobytes()) for id in ids if (vector := library.descriptor(id)) is not None},
        "extras": {row.asset.id: sorted(library.extras(row.asset.id)) for row in rows},
        "groups": library.groups(),
    }


def digest(data: bytes | None) -> str:
    return hashlib.sha256(data or b"").hexdigest()[:16]
