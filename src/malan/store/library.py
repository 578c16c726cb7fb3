"""The library of a workspace: assets, where they lie, their clips and findings, and what is needed to show them.

Everything that belongs together is written together: a reader, in any process and at any moment, sees an asset
without its scan or with all of it. Nothing here decodes, and nothing decides who may see what. Start reading at
`Library.put_assets` and `Library.put_scans`; searching is in `search.py`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malan.core import Finding
from malan.core.errors import NotFound
from malan.store import tables
from malan.store.filters import all_of, literal, one_of
from malan.store.published import Tables, told_as_store_error
from malan.store.query import ClipPage, ClipQuery
from malan.store.reading import (
    asset_rows,
    equals,
    findings_where,
    groups_of,
    locations_of,
    only_id,
    parts,
    vectors_where,
)
from malan.store.rows import REFUSED, AssetRow, ClipRow, Extra, Location, ScanRows
from malan.store.search import all_clips, clips_among, few_clips, find_clips
from malan.store.tending import make_indexes, tend
from malan.store.writing import (
    add_scans,
    delete_in,
    finding_table,
    flatten_again,
    forget_scans,
    index_rows,
    keeping_scan,
    replace_assets,
    replace_locations,
    replace_rows,
    scanned,
    shows_as,
    tend_if_due,
)

if TYPE_CHECKING:
    import numpy as np


class Library:
    """Everything Malan knows about the footage of a workspace, in Lance tables below one folder.

    Args:
        root: The folder `library/` of the workspace; made at the first write.
        patience_s: How long a write waits for another program's write.
    """

    def __init__(self, root: Path, *, patience_s: float = 120.0) -> None:
        self._tables = Tables(root, patience_s=patience_s)

    @property
    def root(self) -> Path:
        """The folder the library lies in."""
        return self._tables.root

    @property
    def stamp(self) -> tuple[int, int, int]:
        """Changes whenever anything is written, by any program; costs one `stat` to ask."""
        return self._tables.stamp

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
        findings: Sequence[Finding] = (),
    ) -> None:
        """Register assets with their locations and packet indexes, and note files that were refused; one commit.

        An asset that is known keeps its scan; owner, terms, title and tags become those given here, also in search.
        A location replaces what was known of the same path. `findings` are what the files say about themselves.
        """
        with self._tables.change() as change:
            known = asset_rows(change.view, [row.asset.id for row in rows])
            merged = {row.asset.id: keeping_scan(row, known.get(row.asset.id)) for row in rows}
            replace_assets(change, merged.values(), known)
            places = [replace(place, asset_id=row.asset.id) for row in rows for place in row.locations]
            replace_locations(change, [*places, *refused])
            replace_rows(change, "packet_indexes", "asset_id", list(indexes or ()), index_rows(indexes or {}))
            moved = [id for id, row in merged.items() if id in known and shows_as(row) != shows_as(known[id])]
            unique = {finding.id: finding for finding in findings}
            delete_in(change, "findings", "id", [id for id, f in unique.items() if f.clip.asset_id in known])
            change.append("findings", finding_table(unique.values()), make_indexes("findings"))
            told = [finding.clip.asset_id for finding in unique.values() if finding.clip.asset_id in known]
            flatten_again(change, list(dict.fromkeys([*moved, *told])))
            tend_if_due(change)

    def refuse_scan(self, asset_id: str, code: str, values: Mapping[str, Any]) -> None:
        """Note that the scan of an asset failed, and why; what it had before stays."""
        with self._tables.change() as change:
            row = asset_rows(change.view, [asset_id]).get(asset_id)
            if row is None:
                raise NotFound("store.asset_unknown", id=asset_id)
            replace_assets(change, [replace(row, status=REFUSED, code=code, values=values)], {asset_id: row})

    def asset(self, id_or_prefix: str) -> AssetRow:
        """One asset, by its id or a unique beginning of it.

        Raises:
            NotFound: There is none.
            UsageError: Several begin so, or it cannot be an id.
        """
        view = self._tables.view()
        asset_id = only_id(view, "assets", id_or_prefix, "store.asset_unknown")
        return replace(asset_rows(view, [asset_id])[asset_id], locations=tuple(locations_of(view, [asset_id])))

    def assets(
        self,
        *,
        owner_id: str | None = None,
        status: str | None = None,
        terms_ids: Sequence[str] | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[AssetRow]:
        """Assets in the order of their registration, with their locations.

        Args:
            owner_id: Of this owner.
            status: In this state.
            terms_ids: Under one of these terms; None: under any, empty: none.
            limit: At most so many.
            offset: Without so many at the beginning.
        """
        where = all_of(
            [
                equals("owner_id", owner_id),
                equals("status", status),
                terms_ids if terms_ids is None else one_of("terms_id", terms_ids),
            ]
        )
        found = self._tables.view().rows("assets", where, ["id", "added_s"])
        if found.num_rows == 0:
            return []
        ids = found.sort_by([("added_s", "ascending"), ("id", "ascending")])["id"]
        return list(self.assets_by_id(ids[offset : None if limit is None else offset + limit].to_pylist()).values())

    def assets_by_id(self, asset_ids: Iterable[str]) -> dict[str, AssetRow]:
        """Many assets at once, with their locations; those that are not there are left out."""
        view, wanted = self._tables.view(), list(dict.fromkeys(asset_ids))
        places: dict[str, list[Location]] = defaultdict(list)
        for place in locations_of(view, wanted):
            places[str(place.asset_id)].append(place)
        found = asset_rows(view, wanted)
        return {id: replace(found[id], locations=tuple(places[id])) for id in wanted if id in found}

    def scans(self) -> Iterator[tuple[str, str, Mapping[str, str]]]:
        """Id, status and what was run (producer → version) of every asset, in the order of registration.

        Costs little memory a row: what most assets have in common is kept once.
        """
        rows = self._tables.view().rows("assets", columns=["id", "status", "scan", "added_s"])
        if not rows.num_rows:
            return
        known: dict[str, Mapping[str, str]] = {}
        rows = rows.sort_by([("added_s", "ascending"), ("id", "ascending")])
        for batch in rows.select(["id", "status", "scan"]).to_batches(max_chunksize=4096):
            for asset_id, status, scan in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                if scan not in known:
                    known[scan] = json.loads(scan)
                yield asset_id, status, known[scan]

    def count_assets(
        self, *, owner_id: str | None = None, status: str | None = None, terms_ids: Sequence[str] | None = None
    ) -> int:
        """How many assets there are, of an owner, in a state, under one of these terms."""
        where = all_of(
            [
                equals("owner_id", owner_id),
                equals("status", status),
                terms_ids if terms_ids is None else one_of("terms_id", terms_ids),
            ]
        )
        return self._tables.view().count("assets", where)

    def owner_ids(self) -> list[str]:
        """Owners of at least one asset, sorted."""
        return self._distinct("assets", "owner_id")

    def terms_ids(self) -> list[str]:
        """Terms that at least one asset is under, sorted: ask the rights about each, then search."""
        return self._distinct("assets", "terms_id")

    def locations_at(self, paths: Iterable[str]) -> dict[str, Location]:
        """What is known of many paths at once; a path that is not known is not there."""
        view, found = self._tables.view(), {}
        for part in parts(dict.fromkeys(tables.path_text(path) for path in paths)):
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
        found = self._tables.view().rows("packet_indexes", equals("asset_id", asset_id)).to_pylist()
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
            known = asset_rows(change.view, list(by_id))
            for asset_id in by_id:
                if asset_id not in known:
                    raise NotFound("store.asset_unknown", id=asset_id)
            again = [scan for scan in by_id.values() if known[scan.asset_id].scan]
            forget_scans(change, again)
            add_scans(change, list(by_id.values()))
            merged = [scanned(known[scan.asset_id], scan) for scan in by_id.values()]
            replace_assets(change, merged, known)
            flatten_again(change, list(by_id), list(by_id.values()))
            tend_if_due(change)

    def add_findings(self, findings: Sequence[Finding]) -> None:
        """Add what people found. The same finding twice is one; what operators found is not touched."""
        if any(finding.author == "operator" for finding in findings):
            raise ValueError("findings of operators come with put_scans, which replaces what they wrote before")
        with self._tables.change() as change:
            unique = {finding.id: finding for finding in findings}
            delete_in(change, "findings", "id", unique)
            change.append("findings", finding_table(unique.values()), make_indexes("findings"))
            flatten_again(change, sorted({finding.clip.asset_id for finding in unique.values()}))
            tend_if_due(change)

    def remove_findings(self, findings: Sequence[Finding]) -> None:
        """Take back what people found, or what a model said that is not to be used any more."""
        with self._tables.change() as change:
            delete_in(change, "findings", "id", dict.fromkeys(finding.id for finding in findings))
            flatten_again(change, sorted({finding.clip.asset_id for finding in findings}))
            tend_if_due(change)

    def replace_findings(self, producer: str, clip_ids: Sequence[str], findings: Sequence[Finding]) -> None:
        """Write what a producer says of clips in place of whatever it said of the same clips before; one commit.

        For producers that look at chosen clips (a model that is applied); what people said stays.
        """
        with self._tables.change() as change:
            delete_in(
                change, "findings", "clip_id", clip_ids, f"author = 'operator' AND {equals('producer', producer)}"
            )
            unique = {finding.id: finding for finding in findings}
            change.append("findings", finding_table(unique.values()), make_indexes("findings"))
            assets: dict[str, None] = {}
            for part in parts(clip_ids):
                rows = change.view.rows("clips", one_of("id", part), ["asset_id"])
                assets |= dict.fromkeys(rows["asset_id"].to_pylist() if rows.num_rows else [])
            flatten_again(change, sorted(assets))
            tend_if_due(change)

    def finding_ids(self, ids: Iterable[str]) -> set[str]:
        """Those of some findings that are here."""
        view, found = self._tables.view(), set[str]()
        for part in parts(dict.fromkeys(ids)):
            rows = view.rows("findings", one_of("id", part), ["id"])
            found |= set(rows["id"].to_pylist() if rows.num_rows else [])
        return found

    def producers(self, beginning: str) -> list[tuple[str, str]]:
        """Producers that begin so and their versions, of which there are findings, sorted."""
        where = f"starts_with(producer, {literal(beginning)})"
        rows = self._tables.view().rows("findings", where, ["producer", "version"])
        pairs = zip(rows["producer"].to_pylist(), rows["version"].to_pylist(), strict=True) if rows.num_rows else ()
        return sorted(set(pairs))

    def findings_by(self, producer: str) -> list[Finding]:
        """All that one producer found, in the order of start within each asset."""
        return findings_where(self._tables.view(), equals("producer", producer))

    def findings(
        self, *, clip_id: str | None = None, asset_id: str | None = None, kinds: Iterable[str] | None = None
    ) -> list[Finding]:
        """Findings about one clip, or about anything in one asset, in the order of their start."""
        if clip_id is None and asset_id is None:
            raise ValueError("findings of what? give clip_id or asset_id")
        parts = [equals("clip_id", clip_id), equals("asset_id", asset_id)]
        where = all_of([*parts, None if kinds is None else one_of("kind", kinds)])
        return findings_where(self._tables.view(), where)

    def findings_of(self, kind: str, asset_ids: Iterable[str]) -> list[Finding]:
        """Findings of one kind in many assets, in the order of their start."""
        view, listed = self._tables.view(), sorted(set(asset_ids))
        wheres = (all_of([equals("kind", kind), one_of("asset_id", part)]) for part in parts(listed))
        return [finding for where in wheres for finding in findings_where(view, where)]

    def findings_about(self, kind: str, clip_ids: Iterable[str]) -> list[Finding]:
        """Findings of one kind about these very clips, in the order of their start."""
        view, listed = self._tables.view(), sorted(set(clip_ids))
        wheres = (all_of([equals("kind", kind), one_of("clip_id", part)]) for part in parts(listed))
        return [finding for where in wheres for finding in findings_where(view, where)]

    # Clips ------------------------------------------------------------------------------------------------------------

    def clip(self, id_or_prefix: str) -> ClipRow:
        """One clip with its search row, by its id or a unique beginning of it."""
        view = self._tables.view()
        clip_id = only_id(view, "clips", id_or_prefix, "store.clip_unknown")
        return self.clips_by_id([clip_id])[clip_id]

    def clips_by_id(self, clip_ids: Iterable[str]) -> dict[str, ClipRow]:
        """Many clips at once; those that are not there are left out."""
        view, wanted = self._tables.view(), list(dict.fromkeys(clip_ids))
        groups = groups_of(view, wanted)
        found = {}
        for part in parts(wanted):
            for row in view.rows("clips", one_of("id", part)).to_pylist():
                found[row["id"]] = tables.clip_from_arrow(row, groups.get(row["id"]))
        return {clip_id: found[clip_id] for clip_id in wanted if clip_id in found}

    def clips(self, asset_id: str) -> list[ClipRow]:
        """The clips of an asset in the order of time."""
        view = self._tables.view()
        rows = view.rows("clips", equals("asset_id", asset_id)).to_pylist()
        groups = groups_of(view, [row["id"] for row in rows])
        rows.sort(key=lambda row: (row["track"], row["start_s"], row["end_s"]))
        return [tables.clip_from_arrow(row, groups.get(row["id"])) for row in rows]

    def clip_ids(self, asset_ids: Iterable[str]) -> dict[str, list[str]]:
        """Ids of the clips of many assets at once, each asset's in the order of time; reads nothing else of them."""
        view, found = self._tables.view(), defaultdict[str, list[str]](list)
        for part in parts(dict.fromkeys(asset_ids)):
            rows = view.rows("clips", one_of("asset_id", part), ["id", "asset_id", "start_s"])
            for row in sorted(rows.to_pylist(), key=lambda row: row["start_s"]):
                found[row["asset_id"]].append(row["id"])
        return dict(found)

    def clip_terms(self, clip_id: str) -> str:
        """The id of the terms a clip is under; cheaper than the whole clip."""
        rows = self._tables.view().rows("clips", equals("id", clip_id), ["terms_id"])
        if rows.num_rows == 0:
            raise NotFound("store.clip_unknown", id=clip_id)
        return str(rows["terms_id"][0].as_py())

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

    def among(self, query: ClipQuery, clip_ids: Sequence[str]) -> set[str]:
        """Those of some clips that a query allows; its words, order and page are not asked."""
        with told_as_store_error(self._tables.root):
            return clips_among(self._tables.view(), query, clip_ids)

    def few(self, query: ClipQuery, most: int) -> list[str] | None:
        """The ids of all clips that a query allows, where there are at most so many; else None."""
        with told_as_store_error(self._tables.root):
            return few_clips(self._tables.view(), query, most)

    def thumbnails_of(self, clip_ids: Iterable[str]) -> dict[str, bytes]:
        """A JPEG of each of many clips; clips without one are left out."""
        view, found = self._tables.view(), dict[str, bytes]()
        for part in parts(dict.fromkeys(clip_ids)):
            rows = view.rows("thumbnails", one_of("clip_id", part), ["clip_id", "jpeg"])
            for row in rows.to_pylist() if rows.num_rows else ():
                if row["jpeg"] is not None:
                    found[row["clip_id"]] = bytes(row["jpeg"])
        return found

    def thumbnail(self, clip_id: str) -> bytes | None:
        """A JPEG of the clip, or None."""
        return self._picture(clip_id, "jpeg")

    def filmstrip(self, clip_id: str) -> bytes | None:
        """A JPEG with several moments of the clip side by side, or None."""
        return self._picture(clip_id, "filmstrip")

    def descriptor(self, clip_id: str) -> np.ndarray | None:
        """The vector that "similar to this" compares, or None."""
        found = vectors_where(self._tables.view(), f"id = {literal(clip_id)}")
        return found.get(clip_id)

    def descriptors_of(self, clip_ids: Iterable[str]) -> dict[str, np.ndarray]:
        """The vectors of many clips at once; clips without one are left out."""
        view, found = self._tables.view(), dict[str, "np.ndarray"]()
        for part in parts(dict.fromkeys(clip_ids)):
            found |= vectors_where(view, one_of("id", part))
        return found

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
        rows = self._tables.view().rows("extras", equals("asset_id", asset_id)).to_pylist()
        return {row["kind"]: tables.extra_from_arrow(row) for row in rows}

    def extras_of_kind(self, kind: str) -> Iterator[tuple[str, Extra]]:
        """One kind of extra of every asset that has it, with the asset's id, read in batches."""
        table = self._tables.view().get("extras")
        if table is None:
            return
        for batch in table.to_batches(filter=equals("kind", kind)):
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
            replace_rows(change, "groups", "clip_id", list(groups), rows)
            tend_if_due(change)

    # Upkeep -----------------------------------------------------------------------------------------------------------

    def tend(self) -> None:
        """Compact the tables and bring all indexes up to date; searches are fastest afterwards.

        Happens by itself in parts while much is written; worth calling at the end of a long job.
        """
        with self._tables.change() as change:
            for name in list(change.tables):
                change.edit(name, tend(name))

    def _picture(self, clip_id: str, column: str) -> bytes | None:
        rows = self._tables.view().rows("thumbnails", equals("clip_id", clip_id), [column])
        found = rows[column][0].as_py() if rows.num_rows else None
        return None if found is None else bytes(found)

    def _distinct(self, name: str, column: str) -> list[str]:
        rows = self._tables.view().rows(name, columns=[column])
        return sorted(rows[column].unique().to_pylist()) if rows.num_rows else []
