"""Reading rows of one view of the tables: what `Library` and its writers share. Start reading at `asset_rows`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from malan.core import Clip, Finding
from malan.core.errors import NotFound, UsageError
from malan.core.ids import check_prefix
from malan.store import tables
from malan.store.filters import literal, one_of
from malan.store.published import View
from malan.store.rows import AssetRow, Location

_BATCH = 500  # values in one IN list


def equals(column: str, value: str | None) -> str | None:
    """A column has this value; None, the value was not given: no condition."""
    return None if value is None else f"{column} = {literal(value)}"


def parts(values: Iterable[str]) -> Iterator[list[str]]:
    """The values in lists short enough for one condition."""
    listed = list(values)
    for begin in range(0, len(listed), _BATCH):
        yield listed[begin : begin + _BATCH]


def only_id(view: View, name: str, id_or_prefix: str, unknown: str) -> str:
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


def asset_rows(view: View, asset_ids: Sequence[str]) -> dict[str, AssetRow]:
    """Assets by id, without their locations; unknown ones are left out."""
    found = [row for part in parts(asset_ids) for row in view.rows("assets", one_of("id", part)).to_pylist()]
    return {row["id"]: tables.asset_from_arrow(row) for row in found}


def locations_of(view: View, asset_ids: Sequence[str]) -> list[Location]:
    """Where assets lie, the place seen last first."""
    found = [r for part in parts(asset_ids) for r in view.rows("locations", one_of("asset_id", part)).to_pylist()]
    return sorted((tables.location_from_arrow(row) for row in found), key=lambda place: (-place.seen_s, place.path))


def findings_where(view: View, where: str | None) -> list[Finding]:
    """Findings in the order of time."""
    found = [(row["id"], tables.finding_from_arrow(row)) for row in view.rows("findings", where).to_pylist()]
    found.sort(key=lambda pair: (pair[1].clip.span.start_s, pair[1].clip.span.end_s, pair[1].kind, pair[0]))
    return [finding for _, finding in found]


def groups_of(view: View, clip_ids: Sequence[str]) -> dict[str, str]:
    """The group of each clip that has one."""
    found = [row for part in parts(clip_ids) for row in view.rows("groups", one_of("clip_id", part)).to_pylist()]
    return {row["clip_id"]: row["group_id"] for row in found}


def vectors_where(view: View, where: str) -> dict[str, np.ndarray]:
    """Descriptors by clip id, of clips that have one."""
    table = view.get("clips")
    if table is None or "vector" not in table.schema.names:
        return {}
    rows = table.to_table(filter=f"({where}) AND vector IS NOT NULL", columns=["id", "vector"])
    vectors_ND = rows["vector"].combine_chunks().flatten().to_numpy().reshape(rows.num_rows, -1)  # clips, numbers
    return dict(zip(rows["id"].to_pylist(), vectors_ND, strict=True))


def clips_of(view: View, asset_ids: Sequence[str]) -> dict[str, list[Clip]]:
    """The clips of assets, by asset id."""
    found: dict[str, list[Clip]] = defaultdict(list)
    for part in parts(asset_ids):
        for row in view.rows("clips", one_of("asset_id", part), tables.SPAN_COLUMNS).to_pylist():
            found[row["asset_id"]].append(tables.span_from_arrow(row))
    return found


def findings_of(view: View, asset_ids: Sequence[str]) -> dict[str, list[Finding]]:
    """All findings in assets, by asset id."""
    found: dict[str, list[Finding]] = defaultdict(list)
    for part in parts(asset_ids):
        for finding in findings_where(view, one_of("asset_id", part)):
            found[finding.clip.asset_id].append(finding)
    return found
