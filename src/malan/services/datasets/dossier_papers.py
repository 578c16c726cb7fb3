"""What a dossier states, as data: sources, owners, processing, quality, provenance, and the card that names them.

Everything is read from the library, the log and the terms; what nobody has said is listed as open, never filled in.
Start at `papers`.
"""

from __future__ import annotations

import statistics as numbers
from collections import Counter, defaultdict
from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from malan.core.errors import NotFound
from malan.core.ids import digest_bytes
from malan.datasets.croissant import CONTEXT
from malan.ledger.statement import urn
from malan.rights.signals import usage_info
from malan.services.footage.owners import owner_names
from malan.services.journal import Logged, events_about, owner_key, read_event
from malan.services.log.facts import fraction_text
from malan.services.market.deal import Footage
from malan.services.market.product_card import samples, statistics

if TYPE_CHECKING:
    from malan.workspace import Workspace


def papers(ws: Workspace, footage: Footage, frozen_at: str) -> dict[str, Any]:
    """Every paper by its name, as JSON has it; that on provenance sums up what the others say.

    Raises:
        NotFound: An asset was never logged.
    """
    said: dict[str, Any] = {
        "sources": _sources(ws, footage),
        "owners": _owners(ws, footage),
        "processing": _processing(ws, footage),
        "quality": _quality(ws, footage),
        "samples": samples(ws, footage.manifest),
    }
    return said | {"provenance": _provenance(ws, footage, frozen_at, said)}


def card(footage: Footage, frozen_at: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """The Croissant 1.1 card of a data set that stays where it is: what can be fetched is its description."""
    manifest = b"".join(footage.manifest.lines())
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": footage.snapshot.name,
        "identifier": footage.snapshot.id,
        "url": f"urn:malan:snapshot:{footage.snapshot.id}",
        "version": "1.0.0",
        "datePublished": frozen_at[:10],
        "description": _description(footage),
        "creator": [{"@type": "sc:Organization", "name": owner["name"]} for owner in said["owners"]],
        "license": sorted({terms.name for terms in footage.terms.values()}),
        **usage_info(list(footage.terms.values())),
        "isLiveDataset": False,
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": "manifest",
                "name": "manifest.jsonl",
                "contentUrl": "manifest.jsonl",
                "encodingFormat": "application/jsonlines",
                "sha256": digest_bytes(manifest),
            }
        ],
    }


def logged(ws: Workspace, kind: str, urn_text: str) -> Logged:
    """The first event of a kind about a thing.

    Raises:
        NotFound: It was never logged.
    """
    places = events_about(ws, kind, urn_text)
    if not places:
        raise NotFound("log.not_logged", what=urn_text.rpartition(":")[2][:16])
    return read_event(ws, places[0])


def _sources(ws: Workspace, footage: Footage) -> list[dict[str, Any]]:
    """Source proof: each file by its digest, whose it is, under which terms, and when that was logged."""
    listed = []
    for asset_id, row in sorted(footage.assets.items()):
        ingest = logged(ws, "asset.ingest", urn("asset", asset_id))
        claims = events_about(ws, "asset.claim", urn("asset", asset_id))
        overrides = events_about(ws, "asset.override", urn("asset", asset_id))
        listed.append(
            {
                "asset": asset_id,
                "container": row.asset.container,
                "size_bytes": row.asset.size_bytes,
                "seconds": fraction_text(row.asset.duration),
                "owner": row.asset.owner_id,
                "terms": row.asset.terms_id,
                "registered": ingest.statement.time,
                "event": ingest.index,
                "terms_events": claims,
                "overridden_signals": overrides,
            }
        )
    return listed


def _owners(ws: Workspace, footage: Footage) -> list[dict[str, Any]]:
    """The owner chain: who holds which key, and which part of the footage."""
    names = owner_names(ws)
    seconds: dict[str, Fraction] = defaultdict(Fraction)
    for entry in footage.manifest.entries:
        seconds[footage.assets[entry.clip.asset_id].asset.owner_id] += entry.clip.span.duration
    whole = footage.seconds
    return [
        {
            "owner": owner_id,
            "name": names.get(owner_id, owner_id[:12]),
            "key": owner_key(ws, owner_id).key_id,
            "assets": sum(row.asset.owner_id == owner_id for row in footage.assets.values()),
            "seconds": fraction_text(seconds[owner_id]),
            "share": fraction_text(seconds[owner_id] / whole),
        }
        for owner_id in footage.owner_ids
    ]


def _processing(ws: Workspace, footage: Footage) -> dict[str, Any]:
    """By which rules the data set came to be: operators with versions, the choice of clips, the split."""
    producers: dict[str, set[str]] = defaultdict(set)
    for row in footage.assets.values():
        for producer, version in row.scan.items():
            producers[producer].add(str(version))
    snapshot = footage.snapshot
    authors = Counter(
        finding.author.partition(":")[0]
        for asset_id in footage.assets
        for finding in ws.library.findings(asset_id=asset_id)
    )
    return {
        "operators": {name: sorted(versions) for name, versions in sorted(producers.items())},
        "findings_by": dict(sorted(authors.items())),
        "choice": {name: value for name, value in snapshot.query.items() if name not in ("use", "limit", "offset")},
        "rights_asked": snapshot.query.get("use", "retrieve"),
        "split": {name: fraction_text(share) for name, share in snapshot.split_shares},
        "split_seed": snapshot.split_seed,
        "media_changed": False,
    }


def _quality(ws: Workspace, footage: Footage) -> dict[str, Any]:
    """The quality report: figures of the whole, and of each measure its spread over the clips that have it."""
    rows = ws.library.clips_by_id(entry.clip.id for entry in footage.manifest.entries)
    values: dict[str, list[float]] = defaultdict(list)
    for row in rows.values():
        for name, value in row.measures.items():
            values[name].append(float(value))
    groups = Counter(row.group_id for row in rows.values() if row.group_id)
    damaged = sum(
        any(finding.kind == "quality.damage" for finding in ws.library.findings(asset_id=one)) for one in footage.assets
    )
    return {
        **statistics(ws, footage.manifest),
        "measures": {
            name: {
                "clips": len(held),
                "least": min(held),
                "median": round(numbers.median(held), 4),
                "most": max(held),
            }
            for name, held in sorted(values.items())
        },
        "near_duplicates": sum(count - 1 for count in groups.values() if count > 1),
        "damaged_assets": damaged,
    }


def _provenance(ws: Workspace, footage: Footage, frozen_at: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """The 22 fields of the Data Provenance Standards (Data & Trust Alliance, 1.0.0); what nobody said is open."""
    snapshot, terms = footage.snapshot, footage.terms.values()
    issuer = ws.settings.organisation or ", ".join(owner["name"] for owner in said["owners"])
    registered = sorted(source["registered"] for source in said["sources"])
    territories = sorted({place for one in terms for place in one.territories})
    uses = sorted(set.intersection(*({*one.uses} for one in terms)))
    made_by = "partly made by AI, as its labels say" if _has_ai(ws, footage) else "no label or credential of AI found"
    fields: list[tuple[str, str, Any]] = [
        ("source", "Standards version used", "1.0.0"),
        ("source", "Dataset title/name", snapshot.name),
        ("source", "Unique metadata identifier", f"urn:malan:snapshot:{snapshot.id}"),
        ("source", "Metadata location", "croissant.json"),
        ("source", "Dataset issuer", issuer),
        ("source", "Description of the dataset", _description(footage)),
        ("provenance", "Source metadata for dataset", "sources.json"),
        ("provenance", "Source (if different from issuer)", [owner["name"] for owner in said["owners"]]),
        ("provenance", "Data origin geography", None),
        ("provenance", "Dataset issue date", frozen_at[:10]),
        ("provenance", "Date of previously issued version", "–"),
        ("provenance", "Range of dates for data generation", None),
        ("provenance", "Method", made_by),
        ("provenance", "Data format", sorted({row.asset.container for row in footage.assets.values()})),
        ("use", "Confidentiality classification", None),
        ("use", "Consent documentation location", "terms/, receipts/"),
        ("use", "Privacy enhancing technologies applied", None),
        ("use", "Data processing geography inclusion/exclusion", territories or None),
        ("use", "Data storage geography inclusion/exclusion", None),
        ("use", "License to use", sorted({one.licence or one.name for one in terms})),
        ("use", "Intended data use", uses),
        ("use", "Proprietary data presence", "see owners.json and terms/"),
    ]
    listed = [
        {"group": group, "field": name, "status": "open" if value in (None, [], "") else "stated", "value": value}
        for group, name, value in fields
    ]
    return {
        "standard": "Data Provenance Standards 1.0.0",
        "registered_from": registered[0],
        "registered_to": registered[-1],
        "fields": listed,
    }


def _has_ai(ws: Workspace, footage: Footage) -> bool:
    kinds = ("provenance.label", "provenance.credential")
    found = [finding for kind in kinds for finding in ws.library.findings_of(kind, footage.assets)]
    return any(finding.kind == kinds[0] or finding.value.get("ai_generated") for finding in found)


def _description(footage: Footage) -> str:
    hours = float(footage.seconds) / 3600
    return f"{len(footage.manifest.entries)} clips, {hours:.4f} h, {len(footage.assets)} files. Usable, not visible."
