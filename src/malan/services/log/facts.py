"""What each step of the chain states in the log: one function an arrow, from what the step made to a `Fact`.

Digests and counts only: names, paths and queries are private data and stay out. Start at `asset_registered`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from malan.core import Asset, Snapshot
from malan.core.merkle import leaf_hash, merkle_root
from malan.ledger.statement import Input, Subject, urn
from malan.services.journal import Fact, events_about, read_event

if TYPE_CHECKING:
    from malan.workspace import Workspace


def asset_registered(asset: Asset) -> Fact:
    """add: an owner's footage is registered under terms. The owner's key signs too."""
    return Fact(
        "asset.ingest",
        (_asset_subject(asset.id),),
        "asset.add",
        facts={
            "container": asset.container,
            "duration": fraction_text(asset.duration),
            "size": asset.size_bytes,
            "terms": asset.terms_id,
        },
        owners=(asset.owner_id,),
    )


def terms_set(asset: Asset, number: int) -> Fact:
    """add: footage that is known comes under other terms, for the `number`th time."""
    return Fact(
        "asset.claim",
        (_asset_subject(asset.id),),
        "asset.add",
        facts={"terms": asset.terms_id, "number": number},
        owners=(asset.owner_id,),
    )


def unlogged(ws: Workspace, assets: Sequence[Asset], *, with_terms: bool) -> list[Fact]:
    """What the log does not say yet of assets as they stand: that they are registered and, `with_terms`, under which.

    Also finds what a run that was killed between library and log left unsaid.
    """
    places = ws.log.find_many([f"asset.ingest {urn('asset', asset.id)}" for asset in assets])
    facts = []
    for asset, ingests in zip(assets, places.values(), strict=True):
        if not ingests:
            facts.append(asset_registered(asset))
        if not ingests or not with_terms:
            continue
        claims = events_about(ws, "asset.claim", urn("asset", asset.id))
        if read_event(ws, (claims or ingests)[-1]).statement.facts["terms"] != asset.terms_id:
            facts.append(terms_set(asset, len(claims) + 1))
    return facts


def asset_scanned(
    asset_id: str, clip_ids: Iterable[str], finding_ids: Iterable[str], producers: Mapping[str, str]
) -> Fact:
    """scan: clips and findings of an asset, by the root over their sorted ids."""
    clips, findings = sorted(clip_ids), sorted(set(finding_ids))
    root = merkle_root([leaf_hash(bytes.fromhex(one)) for one in (*clips, *findings)]).hex()
    return Fact(
        "clip.derive",
        (Subject(urn("scan", root), root),),
        "asset.scan",
        inputs=(Input(urn("asset", asset_id), asset_id, "parentOf"),),
        facts={"clips": len(clips), "findings": len(findings)},
        parameters=dict(producers),
    )


def snapshot_frozen(snapshot: Snapshot) -> Fact:
    """freeze: a snapshot by the root of its manifest."""
    return Fact(
        "dataset.release",
        (Subject(urn("snapshot", snapshot.id), snapshot.id),),
        "dataset.freeze",
        facts={"clips": snapshot.clip_count, "terms": list(snapshot.terms_ids), "seed": snapshot.split_seed},
        private={"name": snapshot.name},
    )


def snapshot_exported(snapshot_id: str, format_name: str, digests: Mapping[str, str]) -> Fact:
    """export: the files of a snapshot written for somebody, by the root over their names and digests."""
    leaves = [leaf_hash(f"{name}\n{digest}".encode()) for name, digest in sorted(digests.items())]
    root = merkle_root(leaves).hex()
    return Fact(
        "dataset.export",
        (Subject(urn("export", root), root),),
        "dataset.export",
        inputs=(Input(urn("snapshot", snapshot_id), snapshot_id, "parentOf"),),
        facts={"format": format_name, "files": len(digests)},
    )


def fraction_text(value: Fraction) -> str:
    """A fraction as signed text: `25/2`, also `3/1`."""
    return f"{value.numerator}/{value.denominator}"


def _asset_subject(asset_id: str) -> Subject:
    return Subject(urn("asset", asset_id), asset_id)
