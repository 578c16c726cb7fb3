"""The Arrow schemas of the library, and the way from rows to Arrow and back.

Exact things stay exact: ticks are integers, fractions are two integers, JSON keeps what it was given. Only what search
compares is repeated as float. Start reading at `SCHEMAS`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from fractions import Fraction
from functools import cache
from pathlib import PurePath
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

import numpy as np
import pyarrow as pa

from malan.core import Asset, Clip, Finding, Span, Track
from malan.store.filters import sound
from malan.store.flatten import MEASURES
from malan.store.rows import AssetRow, ClipRow, Extra, Location
from malan.store.words import index_text

_SPAN = [
    ("asset_id", pa.string()),
    ("track", pa.int32()),
    ("start_ticks", pa.int64()),
    ("end_ticks", pa.int64()),
    ("timebase_num", pa.int64()),
    ("timebase_den", pa.int64()),
]

SPAN_COLUMNS = [name for name, _ in _SPAN]

SCHEMAS: Mapping[str, pa.Schema] = {
    "assets": pa.schema(
        [
            ("id", pa.string()),
            ("status", pa.string()),
            ("code", pa.string()),
            ("values", pa.string()),
            ("owner_id", pa.string()),
            ("terms_id", pa.string()),
            ("size_bytes", pa.int64()),
            ("container", pa.string()),
            ("duration_num", pa.int64()),
            ("duration_den", pa.int64()),
            ("tracks", pa.string()),
            ("title", pa.string()),
            ("tags", pa.list_(pa.string())),
            ("added_s", pa.float64()),
            ("scan", pa.string()),
        ]
    ),
    "locations": pa.schema(
        [
            ("path", pa.string()),
            ("size_bytes", pa.int64()),
            ("mtime_ns", pa.int64()),
            ("asset_id", pa.string()),
            ("code", pa.string()),
            ("values", pa.string()),
            ("seen_s", pa.float64()),
        ]
    ),
    "packet_indexes": pa.schema([("asset_id", pa.string()), ("data", pa.large_binary())]),
    "clips": pa.schema(
        [
            ("id", pa.string()),
            *_SPAN,
            ("start_s", pa.float64()),
            ("end_s", pa.float64()),
            ("duration_s", pa.float64()),
            ("owner_id", pa.string()),
            ("terms_id", pa.string()),
            ("title", pa.string()),
            ("file_name", pa.string()),
            ("caption", pa.string()),
            ("tags", pa.list_(pa.string())),
            ("labels", pa.list_(pa.string())),
            ("look", pa.list_(pa.string())),
            ("words", pa.string()),
            ("added_s", pa.float64()),
            *((name, pa.float32()) for name in MEASURES),
        ]
    ),
    "groups": pa.schema([("clip_id", pa.string()), ("group_id", pa.string())]),
    "findings": pa.schema(
        [
            ("id", pa.string()),
            ("clip_id", pa.string()),
            *_SPAN,
            ("kind", pa.string()),
            ("producer", pa.string()),
            ("version", pa.string()),
            ("value", pa.string()),
            ("confidence", pa.float64()),
            ("author", pa.string()),
            ("reason", pa.string()),
        ]
    ),
    "thumbnails": pa.schema(
        [
            ("clip_id", pa.string()),
            ("asset_id", pa.string()),
            ("jpeg", pa.large_binary()),
            ("filmstrip", pa.large_binary()),
        ]
    ),
    "extras": pa.schema(
        [("asset_id", pa.string()), ("kind", pa.string()), ("value", pa.string()), ("data", pa.large_binary())]
    ),
}

INDEXES: Mapping[str, Mapping[str, str]] = {
    "assets": {"id": "BTREE"},
    "locations": {"path": "BTREE", "asset_id": "BTREE"},
    "packet_indexes": {"asset_id": "BTREE"},
    "clips": {
        "id": "BTREE",
        "asset_id": "BTREE",
        "owner_id": "BITMAP",
        "terms_id": "BITMAP",
        "tags": "LABEL_LIST",
        "labels": "LABEL_LIST",
        "words": "INVERTED",
    },
    "groups": {"clip_id": "BTREE", "group_id": "BTREE"},
    "findings": {"clip_id": "BTREE", "asset_id": "BTREE"},
    "thumbnails": {"clip_id": "BTREE", "asset_id": "BTREE"},
    "extras": {"asset_id": "BTREE"},
}


def vector_field(size: int) -> pa.Field:
    """The column of descriptors of `size` numbers each; the clips table has it from the first descriptor on."""
    return pa.field("vector", pa.list_(pa.float32(), size))


def table_of(name: str, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=SCHEMAS[name])


def clips_table(rows: Sequence[ClipRow], vectors: Mapping[str, np.ndarray], vector_size: int) -> pa.Table:
    """Search rows, with the descriptor of each clip that has one."""
    table = table_of("clips", map(clip_to_arrow, rows))
    if not vector_size:
        return table
    vectors_ND = np.zeros((len(rows), vector_size), np.float32)  # clips, numbers
    missing = np.array([row.id not in vectors for row in rows], bool)
    for place, row in enumerate(rows):
        if not missing[place]:
            vectors_ND[place] = vectors[row.id]
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors_ND.ravel()), vector_size, mask=pa.array(missing))
    return table.append_column(vector_field(vector_size), column)


# Assets ---------------------------------------------------------------------------------------------------------------


def asset_to_arrow(row: AssetRow) -> dict[str, Any]:
    asset = row.asset
    return {
        "id": asset.id,
        "status": row.status,
        "code": row.code,
        "values": to_json(row.values),
        "owner_id": sound(asset.owner_id),
        "terms_id": sound(asset.terms_id),
        "size_bytes": asset.size_bytes,
        "container": asset.container,
        "duration_num": asset.duration.numerator,
        "duration_den": asset.duration.denominator,
        "tracks": to_json([_track_to_plain(track) for track in asset.tracks]),
        "title": sound(row.title),
        "tags": [sound(tag) for tag in row.tags],
        "added_s": row.added_s,
        "scan": to_json(row.scan),
    }


def asset_from_arrow(row: Mapping[str, Any], locations: Iterable[Location] = ()) -> AssetRow:
    asset = Asset(
        row["id"],
        row["size_bytes"],
        row["container"],
        Fraction(row["duration_num"], row["duration_den"]),
        tuple(_track_from_plain(track) for track in json.loads(row["tracks"])),
        row["owner_id"],
        row["terms_id"],
    )
    return AssetRow(
        asset,
        row["status"],
        row["code"],
        json.loads(row["values"]),
        row["title"],
        tuple(row["tags"]),
        row["added_s"],
        json.loads(row["scan"]),
        tuple(locations),
    )


def _track_to_plain(track: Track) -> dict[str, Any]:
    """Fields that are not None; a fraction as `[numerator, denominator]`."""
    given = {f.name: getattr(track, f.name) for f in fields(Track)}
    return {
        name: [value.numerator, value.denominator] if isinstance(value, Fraction) else value
        for name, value in given.items()
        if value is not None
    }


def _track_from_plain(plain: Mapping[str, Any]) -> Track:
    given: dict[str, Any] = {name: Fraction(*v) if isinstance(v, list) else v for name, v in plain.items()}
    return Track(**given)


# Locations ------------------------------------------------------------------------------------------------------------


def location_to_arrow(row: Location) -> dict[str, Any]:
    return {
        "path": path_text(row.path),
        "size_bytes": row.size_bytes,
        "mtime_ns": row.mtime_ns,
        "asset_id": row.asset_id,
        "code": row.code,
        "values": to_json(row.values),
        "seen_s": row.seen_s,
    }


def location_from_arrow(row: Mapping[str, Any]) -> Location:
    return Location(
        path_of(row["path"]),
        row["size_bytes"],
        row["mtime_ns"],
        row["asset_id"],
        row["code"],
        json.loads(row["values"]),
        row["seen_s"],
    )


def path_text(path: str) -> str:
    """The path as text that any tool can store, and that `path_of` turns back into the same bytes.

    Readable as it is where its bytes are UTF-8; else a percent-encoded `file://` URL (RFC 8089), which no path in
    normal form begins with.
    """
    raw = path.encode("utf-8", "surrogateescape")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return "file://" + quote_from_bytes(raw)
    return text


def path_of(text: str) -> str:
    if not text.startswith("file://"):
        return text
    return unquote_to_bytes(text.removeprefix("file://")).decode("utf-8", "surrogateescape")


def shown_name(path: str) -> str:
    """The file name for people and for search, without its extension."""
    return sound(PurePath(path).stem)


# Clips and findings ---------------------------------------------------------------------------------------------------


def clip_to_arrow(row: ClipRow) -> dict[str, Any]:
    span = row.clip.span
    return {
        "id": row.clip.id,
        **_span_to_arrow(row.clip),
        "start_s": span.start_s,
        "end_s": span.end_s,
        "duration_s": float(span.duration),
        "owner_id": sound(row.owner_id),
        "terms_id": sound(row.terms_id),
        "title": sound(row.title),
        "file_name": sound(row.file_name),
        "caption": sound(row.caption),
        "tags": [sound(tag) for tag in row.tags],
        "labels": [sound(label) for label in row.labels],
        "look": list(row.look),
        "words": index_text((row.title, row.file_name, row.caption, *row.tags, *row.look)),
        "added_s": row.added_s,
        **{name: row.measures.get(name) for name in MEASURES},
    }


def clip_from_arrow(row: Mapping[str, Any], group_id: str | None = None) -> ClipRow:
    return ClipRow(
        span_from_arrow(row),
        row["owner_id"],
        row["terms_id"],
        row["title"],
        row["file_name"],
        row["caption"],
        tuple(row["tags"]),
        tuple(row["labels"]),
        {name: row[name] for name in MEASURES if row.get(name) is not None},  # an older Malan's table has fewer
        row["added_s"],
        tuple(row.get("look") or ()),
        group_id,
    )


def finding_to_arrow(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.id,
        "clip_id": finding.clip.id,
        **_span_to_arrow(finding.clip),
        "kind": finding.kind,
        "producer": finding.producer,
        "version": finding.version,
        "value": to_json(finding.value),
        "confidence": finding.confidence,
        "author": sound(finding.author),
        "reason": None if finding.reason is None else sound(finding.reason),
    }


def finding_from_arrow(row: Mapping[str, Any]) -> Finding:
    return Finding(
        span_from_arrow(row),
        row["kind"],
        row["producer"],
        row["version"],
        json.loads(row["value"]),
        row["confidence"],
        row["author"],
        row["reason"],
    )


def _span_to_arrow(clip: Clip) -> dict[str, Any]:
    span = clip.span
    return {
        "asset_id": clip.asset_id,
        "track": clip.track,
        "start_ticks": span.start,
        "end_ticks": span.end,
        "timebase_num": span.timebase.numerator,
        "timebase_den": span.timebase.denominator,
    }


@cache
def _timebase(numerator: int, denominator: int) -> Fraction:
    """The same few come again and again; making one costs more than the rest of a row."""
    return Fraction(numerator, denominator)


def span_from_arrow(row: Mapping[str, Any]) -> Clip:
    timebase = _timebase(row["timebase_num"], row["timebase_den"])
    return Clip(row["asset_id"], row["track"], Span(row["start_ticks"], row["end_ticks"], timebase))


def extra_to_arrow(asset_id: str, extra: Extra) -> dict[str, Any]:
    return {"asset_id": asset_id, "kind": extra.kind, "value": to_json(extra.value), "data": extra.data}


def extra_from_arrow(row: Mapping[str, Any]) -> Extra:
    return Extra(row["kind"], json.loads(row["value"]), row["data"])


def to_json(value: Any) -> str:
    """Plain JSON; a text that UTF-8 cannot hold (a file name, say) is escaped and comes back as it was."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text
