"""The library of a workspace: assets, where they lie, their clips and findings, and what is needed to show them.

Everything that belongs together is written together: a reader, in any process and at any moment, sees an asset
without its scan or with all of it. Nothing here decodes, and nothing decides who may see what. Start reading at
`Library.put_assets` and `Library.put_scans`; searching is in `search.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from malan.core import Clip, Finding
from malan.core.errors import NotFound, StoreError, UsageError
from malan.core.ids import check_prefix
from malan.store import tables
from malan.store.filters import all_of, literal, one_of
from malan.store.flatten import flatten
from malan.store.published import Change, Tables, View, told_as_store_error
from malan.store.rows import REFUSED, REGISTERED, SCANNED, AssetRow, ClipRow, Extra, Location, ScanRows
from malan.store.search import ClipPage, ClipQuery, all_clips, find_clips
from malan.store.tending import make_indexes, needs_tending, tend

if TYPE_CHECKING:
    import numpy as np

_BATCH = 500  # values in one IN list
_OPERATOR = "author = 'operator'"


class Library:
    """Everything Malan knows about the footage of a workspace, in Lance tables below one folder.

    Args:
        root: The folder `library/` of the workspace; made at the first write.
        patience_s: How long a write waits for another program's write.
    """

    def __init__(self, root: Path, *, patience_s: float = 120.0) -> None:
        self._tables = Tables(root, patience_s=patience_s)

    def held(self) -> Library:
        """The library as it is now, for reading several things that must fit together; it cannot be written to.

        Good for half an hour, then what it stands on may be tidied away.
        """
        library = object.__new__(Library)
        library._tables = self._tables.held()
        return library

    # Assets -----------------------------------------------------------------------------------------------------------

    def put_assets(
        self,
        rows: Sequence[AssetRow],
        *,
        indexes: Mapping[str, bytes] | None = None,
        refused: Sequence[Location] = (),
    ) -> None:
        """Register assets with their locations and packet indexes, and note files that were refused; one commit.

        An asset that is known keeps its scan; owner, terms, title and tags become those given here, also in search.
        A location replaces what was known of the same path.
        """
        with self._tables.change() as change:
            known = _asset_rows(change.view, [row.asset.id for row in rows])
            merged = {row.asset.id: _keeping_scan(row, known.get(row.asset.id)) for row in rows}
            _replace_assets(change, merged.values(), known)
            places = [replace(place, asset_id=row.asset.id) for row in rows for place in row.locations]
            _replace_locations(change, [*places, *refused])
            _replace(change, "packet_indexes", "asset_id", list(indexes or ()), _index_rows(indexes or {}))
            moved = [id for id, row in merged.items() if id in known and _shows_as(row) != _shows_as(known[id])]
            _flatten_again(change, moved)
            _tend_if_due(change)

    def refuse_scan(self, asset_id: str, code: str, values: Mapping[str, Any]) -> None:
        """Note that the scan of an asset failed, and why; what it had before stays."""
        with self._tables.change() as change:
            row = _asset_rows(change.view, [asset_id]).get(asset_id)
            if row is None:
                raise NotFound("store.asset_unknown", id=asset_id)
            _replace_assets(change, [replace(row, status=REFUSED, code=code, values=values)], {asset_id: row})

    def asset(self, id_or_prefix: str) -> AssetRow:
        """One asset, by its id or a unique beginning of it.

        Raises:
            NotFound: There is none.
            UsageError: Several begin so, or it cannot be an id.
        """
        view = self._tables.view()
        asset_id = _only(view, "assets", id_or_prefix, "store.asset_unknown")
        return replace(_asset_rows(view, [asset_id])[asset_id], locations=tuple(_locations(view, [asset_id])))

    def assets(
        self, *, owner_id: str | None = None, status: str | None = None, limit: int | None = None, offset: int = 0
    ) -> list[AssetRow]:
        """Assets in the order of their registration, with their locations."""
        view = self._tables.view()
        where = all_of([_equals("owner_id", owner_id), _equals("status", status)])
        found = view.rows("assets", where).to_pylist()
        found.sort(key=lambda row: (row["added_s"], row["id"]))
        found = found[offset : None if limit is None else offset + limit]
        places: dict[str, list[Location]] = defaultdict(list)
        for place in _locations(view, [row["id"] for row in found]):
            places[str(place.asset_id)].append(place)
        return [tables.asset_from_arrow(row, places[row["id"]]) for row in found]

    def assets_by_id(self, asset_ids: Iterable[str]) -> dict[str, AssetRow]:
        """Many assets at once, with their locations; those that are not there are left out."""
        view, wanted = self._tables.view(), list(dict.fromkeys(asset_ids))
        places: dict[str, list[Location]] = defaultdict(list)
        for place in _locations(view, wanted):
            places[str(place.asset_id)].append(place)
        found = _asset_rows(view, wanted)
        return {id: replace(found[id], locations=tuple(places[id])) for id in wanted if id in found}

    def count_assets(self, *, owner_id: str | None = None, status: str | None = None) -> int:
        where = all_of([_equals("owner_id", owner_id), _equals("status", status)])
        return self._tables.view().count("assets", where)

    def owner_ids(self) -> list[str]:
        """Owners of at least one asset, sorted."""
        return self._distinct("assets", "owner_id")

    def terms_ids(self) -> list[str]:
        """Terms that at least one asset is under, sorted: ask the rights about each, then search."""
        return self._distinct("assets", "terms_id")

    def find_location(self, path: str, size_bytes: int, mtime_ns: int) -> Location | None:
        """What is known of a file that looks as it did when it was read; None when it is new or has changed."""
        found = self.locations_at([path]).get(path)
        if found is None or (found.size_bytes, found.mtime_ns) != (size_bytes, mtime_ns):
            return None
        return found

    def locations_at(self, paths: Iterable[str]) -> dict[str, Location]:
        """What is known of many paths at once; a path that is not known is not there."""
        view, found = self._tables.view(), {}
        for part in _parts(dict.fromkeys(tables.path_text(path) for path in paths)):
            for row in view.rows("locations", one_of("path", part)).to_pylist():
                place = tables.location_from_arrow(row)
                found[place.path] = place
        return found

    def refused(self) -> list[Location]:
        """Files that could not be registered, with the code and values of the reason."""
        found = self._tables.view().rows("locations", "code IS NOT NULL").to_pylist()
        return sorted((tables.location_from_arrow(row) for row in found), key=lambda place: place.path)

    def index(self, asset_id: str) -> bytes:
        """The packet index of an asset, as it was stored."""
        found = self._tables.view().rows("packet_indexes", _equals("asset_id", asset_id)).to_pylist()
        if not found:
            raise NotFound("store.index_unknown", id=asset_id)
        return bytes(found[0]["data"])

    # Scans ------------------------------------------------------------------------------------------------------------

    def put_scan(self, scan: ScanRows) -> None:
        """`put_scans` of one."""
        self.put_scans([scan])

    def put_scans(self, scans: Sequence[ScanRows]) -> None:
        """Write what scans learned, all in one commit: after it, everything is there; before it, nothing.

        Replaces exactly what the same producers wrote about the same assets before; findings by people stay. Doing it
        twice changes nothing. An asset that had been withdrawn meanwhile raises `NotFound` and nothing is written.
        """
        by_id = {scan.asset_id: scan for scan in scans}
        with self._tables.change() as change:
            known = _asset_rows(change.view, list(by_id))
            for asset_id in by_id:
                if asset_id not in known:
                    raise NotFound("store.asset_unknown", id=asset_id)
            again = [scan for scan in by_id.values() if known[scan.asset_id].scan]
            _forget_scans(change, again)
            _add_scans(change, list(by_id.values()))
            merged = [_scanned(known[scan.asset_id], scan) for scan in by_id.values()]
            _replace_assets(change, merged, known)
            _flatten_again(change, list(by_id), list(by_id.values()))
            _tend_if_due(change)

    def add_findings(self, findings: Sequence[Finding]) -> None:
        """Add what people found. The same finding twice is one; what operators found is not touched."""
        if any(finding.author == "operator" for finding in findings):
            raise ValueError("findings of operators come with put_scans, which replaces what they wrote before")
        with self._tables.change() as change:
            unique = {finding.id: finding for finding in findings}
            _delete_in(change, "findings", "id", unique)
            change.append("findings", _finding_table(unique.values()), make_indexes("findings"))
            _flatten_again(change, sorted({finding.clip.asset_id for finding in unique.values()}))
            _tend_if_due(change)

    def findings(
        self, *, clip_id: str | None = None, asset_id: str | None = None, kinds: Iterable[str] | None = None
    ) -> list[Finding]:
        """Findings about one clip, or about anything in one asset, in the order of their start."""
        if clip_id is None and asset_id is None:
            raise ValueError("findings of what? give clip_id or asset_id")
        parts = [_equals("clip_id", clip_id), _equals("asset_id", asset_id)]
        where = all_of([*parts, None if kinds is None else one_of("kind", kinds)])
        return _findings(self._tables.view(), where)

    # Clips ------------------------------------------------------------------------------------------------------------

    def clip(self, id_or_prefix: str) -> ClipRow:
        """One clip with its search row, by its id or a unique beginning of it."""
        view = self._tables.view()
        clip_id = _only(view, "clips", id_or_prefix, "store.clip_unknown")
        return self.clips_by_id([clip_id])[clip_id]

    def clips_by_id(self, clip_ids: Iterable[str]) -> dict[str, ClipRow]:
        """Many clips at once; those that are not there are left out."""
        view, wanted = self._tables.view(), list(dict.fromkeys(clip_ids))
        groups = _groups(view, wanted)
        found = {}
        for part in _parts(wanted):
            for row in view.rows("clips", one_of("id", part)).to_pylist():
                found[row["id"]] = tables.clip_from_arrow(row, groups.get(row["id"]))
        return {clip_id: found[clip_id] for clip_id in wanted if clip_id in found}

    def clips(self, asset_id: str) -> list[ClipRow]:
        """The clips of an asset in the order of time."""
        view = self._tables.view()
        rows = view.rows("clips", _equals("asset_id", asset_id)).to_pylist()
        groups = _groups(view, [row["id"] for row in rows])
        rows.sort(key=lambda row: (row["track"], row["start_s"], row["end_s"]))
        return [tables.clip_from_arrow(row, groups.get(row["id"])) for row in rows]

    def count_clips(self) -> int:
        return self._tables.view().count("clips")

    def search(self, query: ClipQuery) -> ClipPage:
        """Clips that match, best first. See `ClipQuery`."""
        with told_as_store_error(self._tables.root):
            return find_clips(self._tables.view(), query)

    def matching(self, query: ClipQuery) -> Iterator[ClipRow]:
        """Every clip that matches, however many, in no particular order: for freezing and counting, not for showing.

        Clips must have all words; pages and folding do not apply, likeness is refused.
        """
        with told_as_store_error(self._tables.root):
            yield from all_clips(self._tables.view(), query)

    def thumbnail(self, clip_id: str) -> bytes | None:
        """A JPEG of the clip, or None."""
        return self._picture(clip_id, "jpeg")

    def filmstrip(self, clip_id: str) -> bytes | None:
        """A JPEG with several moments of the clip side by side, or None."""
        return self._picture(clip_id, "filmstrip")

    def descriptor(self, clip_id: str) -> np.ndarray | None:
        """The vector that "similar to this" compares, or None."""
        found = _vectors(self._tables.view(), f"id = {literal(clip_id)}")
        return found.get(clip_id)

    def descriptors(self) -> Iterator[tuple[list[str], np.ndarray]]:
        """All descriptors in batches, `(clip ids, float32 array of one row a clip)`."""
        table = self._tables.view().get("clips")
        if table is None or "vector" not in table.schema.names:
            return
        for batch in table.to_batches(columns=["id", "vector"], filter="vector IS NOT NULL"):
            vectors_ND = batch["vector"].flatten().to_numpy().reshape(batch.num_rows, -1)  # clips, numbers
            yield batch["id"].to_pylist(), vectors_ND

    def extras(self, asset_id: str) -> dict[str, Extra]:
        """Curves, peaks and reports of an asset, by kind."""
        rows = self._tables.view().rows("extras", _equals("asset_id", asset_id)).to_pylist()
        return {row["kind"]: tables.extra_from_arrow(row) for row in rows}

    def extras_of_kind(self, kind: str) -> Iterator[tuple[str, Extra]]:
        """One kind of extra of every asset that has it, with the asset's id, read in batches."""
        table = self._tables.view().get("extras")
        if table is None:
            return
        for batch in table.to_batches(filter=_equals("kind", kind)):
            for row in batch.to_pylist():
                yield row["asset_id"], tables.extra_from_arrow(row)

    def groups(self) -> dict[str, str]:
        """Every clip that has near-duplicates, and the id of their group."""
        rows = self._tables.view().rows("groups")
        return {row["clip_id"]: row["group_id"] for row in rows.to_pylist()}

    def set_groups(self, groups: Mapping[str, str | None]) -> None:
        """Say which clips are near-duplicates: clip id → group id, None for a clip that is like no other.

        Clips that are not named keep their group. Costs a write of the names given, not of the clips.
        """
        rows = [{"clip_id": clip, "group_id": group} for clip, group in groups.items() if group is not None]
        with self._tables.change() as change:
            _replace(change, "groups", "clip_id", list(groups), rows)
            _tend_if_due(change)

    # Upkeep -----------------------------------------------------------------------------------------------------------

    def tend(self) -> None:
        """Compact the tables and bring all indexes up to date; searches are fastest afterwards.

        Happens by itself in parts while much is written; worth calling at the end of a long job.
        """
        with self._tables.change() as change:
            for name in list(change.tables):
                change.edit(name, tend)

    def _picture(self, clip_id: str, column: str) -> bytes | None:
        rows = self._tables.view().rows("thumbnails", _equals("clip_id", clip_id), [column])
        found = rows[column][0].as_py() if rows.num_rows else None
        return None if found is None else bytes(found)

    def _distinct(self, name: str, column: str) -> list[str]:
        rows = self._tables.view().rows(name, columns=[column])
        return sorted(rows[column].unique().to_pylist()) if rows.num_rows else []


# Reading --------------------------------------------------------------------------------------------------------------


def _equals(column: str, value: str | None) -> str | None:
    return None if value is None else f"{column} = {literal(value)}"


def _parts(values: Iterable[str]) -> Iterator[list[str]]:
    listed = list(values)
    for begin in range(0, len(listed), _BATCH):
        yield listed[begin : begin + _BATCH]


def _only(view: View, name: str, id_or_prefix: str, unknown: str) -> str:
    """The one id of a table that begins so."""
    prefix = check_prefix(id_or_prefix)
    where = f"starts_with(id, {literal(prefix)})" if len(prefix) < 64 else f"id = {literal(prefix)}"
    rows = view.rows(name, where, ["id"], limit=4)
    found = sorted(rows["id"].to_pylist()) if rows.num_rows else []
    if not found:
        raise NotFound(unknown, id=id_or_prefix)
    if len(found) > 1:
        raise UsageError("store.prefix_ambiguous", id=id_or_prefix, found=", ".join(id[:12] for id in found))
    return str(found[0])


def _asset_rows(view: View, asset_ids: Sequence[str]) -> dict[str, AssetRow]:
    found = [row for part in _parts(asset_ids) for row in view.rows("assets", one_of("id", part)).to_pylist()]
    return {row["id"]: tables.asset_from_arrow(row) for row in found}


def _locations(view: View, asset_ids: Sequence[str]) -> list[Location]:
    found = [r for part in _parts(asset_ids) for r in view.rows("locations", one_of("asset_id", part)).to_pylist()]
    return sorted((tables.location_from_arrow(row) for row in found), key=lambda place: (-place.seen_s, place.path))


def _findings(view: View, where: str | None) -> list[Finding]:
    found = [tables.finding_from_arrow(row) for row in view.rows("findings", where).to_pylist()]
    return sorted(found, key=lambda f: (f.clip.span.start_s, f.clip.span.end_s, f.kind, f.id))


def _groups(view: View, clip_ids: Sequence[str]) -> dict[str, str]:
    found = [row for part in _parts(clip_ids) for row in view.rows("groups", one_of("clip_id", part)).to_pylist()]
    return {row["clip_id"]: row["group_id"] for row in found}


# Writing --------------------------------------------------------------------------------------------------------------


def _delete_in(change: Change, name: str, column: str, values: Iterable[str], also: str | None = None) -> None:
    for part in _parts(values):
        change.delete(name, str(all_of([one_of(column, part), also])))


def _replace(change: Change, name: str, key: str, keys: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows of a table in place of those with these keys."""
    _delete_in(change, name, key, keys)
    change.append(name, tables.table_of(name, rows), make_indexes(name))


def _replace_assets(change: Change, rows: Iterable[AssetRow], known: Mapping[str, AssetRow]) -> None:
    """Writes only rows that differ from what is known."""
    differ = [row for row in rows if replace(row, locations=()) != known.get(row.asset.id)]
    _delete_in(change, "assets", "id", [row.asset.id for row in differ if row.asset.id in known])
    change.append("assets", tables.table_of("assets", map(tables.asset_to_arrow, differ)), make_indexes("assets"))


def _replace_locations(change: Change, places: Sequence[Location]) -> None:
    latest = {tables.path_text(place.path): tables.location_to_arrow(place) for place in places}
    _replace(change, "locations", "path", list(latest), list(latest.values()))


def _index_rows(indexes: Mapping[str, bytes]) -> list[dict[str, Any]]:
    return [{"asset_id": asset_id, "data": data} for asset_id, data in indexes.items()]


def _keeping_scan(row: AssetRow, known: AssetRow | None) -> AssetRow:
    """The row as given, with what a scan has said about the asset before."""
    if known is None:
        return row
    kept = replace(row, added_s=known.added_s, scan=known.scan)
    if row.status != REGISTERED:
        return kept
    return replace(kept, status=known.status, code=known.code, values=known.values)


def _shows_as(row: AssetRow) -> tuple[Any, ...]:
    return row.asset.owner_id, row.asset.terms_id, row.title, row.tags


def _scanned(row: AssetRow, scan: ScanRows) -> AssetRow:
    return replace(row, status=SCANNED, code=None, values={}, scan={**row.scan, **scan.producers})


def _forget_scans(change: Change, scans: Sequence[ScanRows]) -> None:
    """Remove what the same producers wrote before, and pictures of clips that will not be there any more."""
    by_producers: dict[frozenset[str], list[str]] = defaultdict(list)
    for scan in scans:
        by_producers[frozenset(scan.producers)].append(scan.asset_id)
    for producers, asset_ids in by_producers.items():
        _delete_in(change, "findings", "asset_id", asset_ids, f"{_OPERATOR} AND {one_of('producer', producers)}")
    recut = {scan.asset_id: scan.clips for scan in scans if scan.clips is not None}
    stay = {clip.id for clips in recut.values() for clip in clips}
    gone = [clip.id for clips in _clips_of(change.view, list(recut)).values() for clip in clips if clip.id not in stay]
    redrawn = [clip_id for scan in scans for clip_id in (*scan.thumbnails, *scan.filmstrips)]
    _delete_in(change, "thumbnails", "clip_id", dict.fromkeys([*gone, *redrawn]))
    for scan in scans:
        if scan.extras:
            kinds = one_of("kind", [extra.kind for extra in scan.extras])
            _delete_in(change, "extras", "asset_id", [scan.asset_id], kinds)


def _add_scans(change: Change, scans: Sequence[ScanRows]) -> None:
    findings = {finding.id: finding for scan in scans for finding in scan.findings}
    change.append("findings", _finding_table(findings.values()), make_indexes("findings"))
    pictures = [row for scan in scans for row in _picture_rows(scan)]
    change.append("thumbnails", tables.table_of("thumbnails", pictures), make_indexes("thumbnails"))
    extras = [tables.extra_to_arrow(scan.asset_id, extra) for scan in scans for extra in scan.extras]
    change.append("extras", tables.table_of("extras", extras), make_indexes("extras"))


def _finding_table(findings: Iterable[Finding]) -> pa.Table:
    return tables.table_of("findings", map(tables.finding_to_arrow, findings))


def _picture_rows(scan: ScanRows) -> Iterator[dict[str, Any]]:
    for clip_id in dict.fromkeys([*scan.thumbnails, *scan.filmstrips]):
        yield {
            "clip_id": clip_id,
            "asset_id": scan.asset_id,
            "jpeg": scan.thumbnails.get(clip_id),
            "filmstrip": scan.filmstrips.get(clip_id),
        }


# Search rows ----------------------------------------------------------------------------------------------------------


def _flatten_again(change: Change, asset_ids: Sequence[str], scans: Sequence[ScanRows] = ()) -> None:
    """Make the search rows of assets anew, from everything that is known of them now."""
    if not asset_ids:
        return
    view = change.view
    cut: dict[str, Sequence[Clip]] = dict(_clips_of(view, asset_ids))
    vectors = _vectors(view, one_of("asset_id", cut)) if cut else {}
    cut |= {scan.asset_id: scan.clips for scan in scans if scan.clips is not None}
    for scan in scans:
        vectors |= scan.descriptors
    rows = _flat_rows(view, cut)
    _delete_in(change, "clips", "asset_id", asset_ids)
    _append_clips(change, rows, vectors)


def _flat_rows(view: View, cut: Mapping[str, Sequence[Clip]]) -> list[ClipRow]:
    asset_ids = list(cut)
    assets, findings = _asset_rows(view, asset_ids), _findings_of(view, asset_ids)
    names = {str(place.asset_id): tables.shown_name(place.path) for place in reversed(_locations(view, asset_ids))}
    return [
        row
        for asset_id, clips in cut.items()
        for row in flatten(assets[asset_id], names.get(asset_id, ""), clips, findings[asset_id])
    ]


def _append_clips(change: Change, rows: Sequence[ClipRow], vectors: Mapping[str, np.ndarray]) -> None:
    known = change.view.get("clips")
    size = _vector_size(known, rows, vectors)
    if size and known is not None and "vector" not in known.schema.names:
        change.edit("clips", lambda table: table.add_columns(tables.vector_field(size)))
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


def _vectors(view: View, where: str) -> dict[str, np.ndarray]:
    table = view.get("clips")
    if table is None or "vector" not in table.schema.names:
        return {}
    rows = table.to_table(filter=f"({where}) AND vector IS NOT NULL", columns=["id", "vector"])
    vectors_ND = rows["vector"].combine_chunks().flatten().to_numpy().reshape(rows.num_rows, -1)  # clips, numbers
    return dict(zip(rows["id"].to_pylist(), vectors_ND, strict=True))


def _clips_of(view: View, asset_ids: Sequence[str]) -> dict[str, list[Clip]]:
    found: dict[str, list[Clip]] = defaultdict(list)
    for part in _parts(asset_ids):
        for row in view.rows("clips", one_of("asset_id", part), tables.SPAN_COLUMNS).to_pylist():
            found[row["asset_id"]].append(tables.span_from_arrow(row))
    return found


def _findings_of(view: View, asset_ids: Sequence[str]) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = defaultdict(list)
    for part in _parts(asset_ids):
        for finding in _findings(view, one_of("asset_id", part)):
            found[finding.clip.asset_id].append(finding)
    return found


def _tend_if_due(change: Change) -> None:
    for name in sorted(change.touched):
        if name in change.tables and needs_tending(change.tables[name]):
            change.edit(name, tend)
