"""The card of a dataset for machines: Croissant 1.1 (MLCommons), JSON-LD on schema.org.

It says what the files are, how the rows are read, whose the footage is and on which terms. Start at `croissant_card`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from malan.datasets.exporters.base import Exporter, View
from malan.datasets.exporters.folder import VideoFolder

CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "odrl": "http://www.w3.org/ns/odrl/2/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_COLUMNS = {"text": "sc:Text", "title": "sc:Text", "labels": "sc:Text", "clip": "sc:Text", "asset": "sc:Text",
            "start_s": "sc:Float", "end_s": "sc:Float", "owner": "sc:Text", "terms": "sc:Text"}  # fmt: skip


def croissant_card(view: View, exporter: Exporter, out: Path, *, frozen_on: str) -> dict[str, Any]:
    """The card of an export that was just written to `out`; single files are named with their digest.

    Args:
        view: The snapshot as exported.
        exporter: Which layout was written.
        out: Where; files named by the exporter are read once for their digest.
        frozen_on: ISO 8601 day the snapshot was frozen; its date of publication.
    """
    snapshot = view.snapshot
    owners = sorted({item.owner for item in view.items})
    seconds = sum(item.clip.span.duration for item in view.items)
    card: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": snapshot.name,
        "identifier": snapshot.id,
        "url": f"urn:malan:snapshot:{snapshot.id}",
        "version": "1.0.0",
        "datePublished": frozen_on,
        "description": f"{len(view.items)} clips, {float(seconds):.1f} s. Owners: {', '.join(owners)}.",
        "creator": [{"@type": "sc:Organization", "name": owner} for owner in owners],
        "license": sorted({item.terms for item in view.items}),
        "conditionsOfAccess": "Use only as the owners' terms allow; the terms of each clip stand in its row.",
        "creditText": "; ".join(sorted({item.attribution for item in view.items if item.attribution})),
        "citeAs": f"{snapshot.name} ({snapshot.id[:16]})",
        "isLiveDataset": False,
        "distribution": [_with_digest(resource, out) for resource in exporter.resources(view)],
    }
    if isinstance(exporter, VideoFolder):
        card["recordSet"] = [_records(split) for split in view.splits]
    return card


def _with_digest(resource: dict[str, Any], out: Path) -> dict[str, Any]:
    if resource["@type"] != "cr:FileObject":
        return resource
    return resource | {"sha256": hashlib.sha256((out / resource["contentUrl"]).read_bytes()).hexdigest()}


def _records(split: str) -> dict[str, Any]:
    """The rows of one `metadata.csv`, joined by file name to the video each names."""
    name, metadata, videos = f"clips-{split}", {"@id": f"metadata-{split}"}, {"@id": f"videos-{split}"}
    fields = [
        _field(f"{name}/{column}", kind, {"fileSet": metadata, "extract": {"column": column}})
        for column, kind in _COLUMNS.items()
    ]
    file_name = _field(f"{name}/file_name", "sc:Text", {"fileSet": metadata, "extract": {"column": "file_name"}})
    file_name["references"] = {"fileSet": videos, "extract": {"fileProperty": "filename"}}
    video = _field(f"{name}/video", "sc:VideoObject", {"fileSet": videos, "extract": {"fileProperty": "content"}})
    key = {"@id": f"{name}/clip"}
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "key": key, "field": [*fields, file_name, video]}


def _field(name: str, kind: str, source: dict[str, Any]) -> dict[str, Any]:
    return {"@type": "cr:Field", "@id": name, "name": name.rpartition("/")[2], "dataType": kind, "source": source}
