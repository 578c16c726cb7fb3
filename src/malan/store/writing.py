"""Writing rows within one change of the tables: replacing what was there, and the search rows that follow from it.

Nothing here commits. Start reading at `replace_rows`; what a scan writes is in `forget_scans` and `add_scans`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from malan.core import Clip, Finding
from malan.core.errors import StoreError
from malan.store import tables
from malan.store.filters import all_of, one_of
from malan.store.flatten import flatten
from malan.store.published import Change, View
from malan.store.reading import asset_rows, clips_of, findings_of, locations_of, parts, vectors_where
from malan.store.rows import REGISTERED, SCANNED, AssetRow, ClipRow, Location, ScanRows
from malan.store.tending import make_indexes, needs_tending, tend

_OPERATOR = "author = 'operator'"


def delete_in(change: Change, name: str, column: str, values: Iterable[str], also: str | None = None) -> None:
    """Remove rows whose column has one of the values."""
    for part in parts(values):
        change.delete(name, str(all_of([one_of(column, part), also])))


def replace_rows(change: Change, name: str, key: str, keys: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows of a table in place of those with these keys."""
    delete_in(change, name, key, keys)
    change.append(name, tables.table_of(name, rows), make_indexes(name))


def replace_assets(change: Change, rows: Iterable[AssetRow], known: Mapping[str, AssetRow]) -> None:
    """Writes only rows that differ from what is known."""
    differ = [row for row in rows if replace(row, locations=()) != known.get(row.asset.id)]
    delete_in(change, "assets", "id", [row.asset.id for row in differ if row.asset.id in known])
    change.append("assets", tables.table_of("assets", map(tables.asset_to_arrow, differ)), make_indexes("assets"))


def replace_locations(change: Change, places: Sequence[Location]) -> None:
    """Note where files lie; what was known of the same path goes."""
    latest = {tables.path_text(place.path): tables.location_to_arrow(place) for place in places}
    replace_rows(change, "locations", "path", list(latest), list(latest.values()))


def index_rows(indexes: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """Packet indexes as rows."""
    return [{"asset_id": asset_id, "data": data} for asset_id, data in indexes.items()]


def keeping_scan(row: AssetRow, known: AssetRow | None) -> AssetRow:
    """The row as given, with what a scan has said about the asset before."""
    if known is None:
        return row
    kept = replace(row, added_s=known.added_s, scan=known.scan)
    if row.status != REGISTERED:
        return kept
    return replace(kept, status=known.status, code=known.code, values=known.values)


def shows_as(row: AssetRow) -> tuple[Any, ...]:
    """What of an asset is repeated in the search rows of its clips."""
    return row.asset.owner_id, row.asset.terms_id, row.title, row.tags


def scanned(row: AssetRow, scan: ScanRows) -> AssetRow:
    """The asset after a scan."""
    return replace(row, status=SCANNED, code=None, values={}, scan={**row.scan, **scan.producers})


def forget_scans(change: Change, scans: Sequence[ScanRows]) -> None:
    """Remove what the same producers wrote before, and pictures of clips that will not be there any more."""
    by_producers: dict[frozenset[str], list[str]] = defaultdict(list)
    for scan in scans:
        by_producers[frozenset(scan.producers)].append(scan.asset_id)
    for producers, asset_ids in by_producers.items():
        delete_in(change, "findings", "asset_id", asset_ids, f"{_OPERATOR} AND {one_of('producer', producers)}")
    recut = {scan.asset_id: scan.clips for scan in scans if scan.clips is not None}
    stay = {clip.id for clips in recut.values() for clip in clips}
    gone = [clip.id for clips in clips_of(change.view, list(recut)).values() for clip in clips if clip.id not in stay]
    redrawn = [clip_id for scan in scans for clip_id in (*scan.thumbnails, *scan.filmstrips)]
    delete_in(change, "thumbnails", "clip_id", dict.fromkeys([*gone, *redrawn]))
    delete_in(change, "groups", "clip_id", gone)
    for scan in scans:
        if scan.extras:
            kinds = one_of("kind", [extra.kind for extra in scan.extras])
            delete_in(change, "extras", "asset_id", [scan.asset_id], kinds)


def add_scans(change: Change, scans: Sequence[ScanRows]) -> None:
    """Write findings, pictures and extras of scans; search rows follow with `flatten_again`."""
    findings = {finding.id: finding for scan in scans for finding in scan.findings}
    change.append("findings", finding_table(findings.values()), make_indexes("findings"))
    pictures = [row for scan in scans for row in _picture_rows(scan)]
    change.append("thumbnails", tables.table_of("thumbnails", pictures), make_indexes("thumbnails"))
    extras = [tables.extra_to_arrow(scan.asset_id, extra) for scan in scans for extra in scan.extras]
    change.append("extras", tables.table_of("extras", extras), make_indexes("extras"))


def finding_table(findings: Iterable[Finding]) -> pa.Table:
    """Findings as Arrow rows."""
    return tables.table_of("findings", map(tables.finding_to_arrow, findings))


def _picture_rows(scan: ScanRows) -> Iterator[dict[str, Any]]:
    for clip_id in dict.fromkeys([*scan.thumbnails, *scan.filmstrips]):
        yield {
            "clip_id": clip_id,
            "asset_id": scan.asset_id,
            "jpeg": scan.thumbnails.get(clip_id),
            "filmstrip": scan.filmstrips.get(clip_id),
        }


def tend_if_due(change: Change) -> None:
    """Compact what this change left in many small pieces."""
    for name in sorted(change.touched):
        if name in change.tables and needs_tending(name, change.tables[name]):
            change.edit(name, tend(name))


# Search rows ----------------------------------------------------------------------------------------------------------


def flatten_again(change: Change, asset_ids: Sequence[str], scans: Sequence[ScanRows] = ()) -> None:
    """Make the search rows of assets anew, from everything that is known of them now."""
    if not asset_ids:
        return
    view = change.view
    cut: dict[str, Sequence[Clip]] = dict(clips_of(view, asset_ids))
    vectors = vectors_where(view, one_of("asset_id", cut)) if cut else {}
    cut |= {scan.asset_id: scan.clips for scan in scans if scan.clips is not None}
    for scan in scans:
        vectors |= scan.descriptors
    rows = _flat_rows(view, cut)
    delete_in(change, "clips", "asset_id", asset_ids)
    _append_clips(change, rows, vectors)


def _flat_rows(view: View, cut: Mapping[str, Sequence[Clip]]) -> list[ClipRow]:
    asset_ids = list(cut)
    assets, findings = asset_rows(view, asset_ids), findings_of(view, asset_ids)
    names = {str(place.asset_id): tables.shown_name(place.path) for place in reversed(locations_of(view, asset_ids))}
    return [
        row
        for asset_id, clips in cut.items()
        for row in flatten(assets[asset_id], names.get(asset_id, ""), clips, findings[asset_id])
    ]


def _append_clips(change: Change, rows: Sequence[ClipRow], vectors: Mapping[str, np.ndarray]) -> None:
    known = change.view.get("clips")
    size = _vector_size(known, rows, vectors)
    data = tables.clips_table(rows, vectors, size)
    change.append("clips", data, make_indexes("clips"))


def _vector_size(table: Any | None, rows: Sequence[ClipRow], vectors: Mapping[str, np.ndarray]) -> int:
    """How many numbers a descriptor has in this library, 0 while there is none; the first one decides."""
    has = table is not None and "vector" in table.schema.names
    given = [len(vectors[row.id]) for row in rows if row.id in vectors]
    size = int(table.schema.field("vector").type.list_size) if table is not None and has else max(given, default=0)
    for found in given:
        if found != size:
            raise StoreError("store.vector_size", found=found, known=size)
    return size
