"""What may be known of a product: its line in a list, its card, figures of its footage, and samples of it.

Figures hold no pixel and no word of the footage. Samples are clips that anybody may look at today, and nothing else.
Start at `describe_product`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from malan.core import Terms
from malan.datasets import Manifest
from malan.rights.common_ground import in_house
from malan.rights.decide import Use, compile_terms
from malan.services.datasets.freezing import list_snapshots, show_snapshot
from malan.services.footage.owners import owner_names, terms_of
from malan.services.market.products import Product
from malan.services.market.terms import describe_terms, explain
from malan.services.uses import today

if TYPE_CHECKING:
    from malan.workspace import Workspace

MOST_SAMPLES = 24


def describe_product(ws: Workspace, product: Product, *, whole: bool = True) -> dict[str, Any]:
    """A product as JSON: the line of a list or, `whole`, the entry of a catalogue."""
    names = owner_names(ws)
    terms = product.terms
    line: dict[str, Any] = {
        "product": product.id,
        "title": product.title,
        "state": product.state,
        "snapshot": product.snapshot_id,
        "owners": [{"id": one, "name": names.get(one, one[:12])} for one in product.owner_ids],
        "waits_for": [names.get(one, one[:12]) for one in product.owner_ids if one not in product.agreed],
        "uses": list(terms.uses),
        "price": {"minor": terms.price_minor, "currency": terms.currency, "per": terms.price_per},
        "automatic": product.automatic,
        "made": product.made,
    }
    if not whole:
        return line
    _, manifest = show_snapshot(ws, product.snapshot_id)
    return line | {
        "terms": describe_terms(explain(terms)),
        "statistics": statistics(ws, manifest),
        "samples": samples(ws, manifest),
    }


def statistics(ws: Workspace, manifest: Manifest) -> dict[str, Any]:
    """Figures of a snapshot: how much, how large, in which languages, what is known of it. No pixel, no word of it."""
    assets = ws.library.assets_by_id({entry.clip.asset_id for entry in manifest.entries})
    rows = ws.library.clips_by_id(entry.clip.id for entry in manifest.entries)
    tracks = [track for row in assets.values() for track in row.asset.tracks]
    sizes: Counter[str] = Counter()
    for entry in manifest.entries:
        video = assets[entry.clip.asset_id].asset.first("video") if entry.clip.asset_id in assets else None
        sizes["×".join(map(str, video.shown_size_px)) if video and video.shown_size_px else "–"] += 1
    seconds = sum((entry.clip.span.duration for entry in manifest.entries), Fraction(0))
    labels = Counter(label for row in rows.values() for label in row.labels)
    return {
        "seconds": f"{seconds.numerator}/{seconds.denominator}",
        "hours": round(float(seconds) / 3600, 4),
        "clips": len(manifest.entries),
        "shots": labels["shot.transition"],
        "assets": len(assets),
        "resolutions": dict(sizes.most_common()),
        "languages": sorted({track.language for track in tracks if track.language and track.kind != "video"}),
        "findings": {label: count for label, count in sorted(labels.items()) if "=" not in label},
        "content": {label: count for label, count in sorted(labels.items()) if "=" in label},
    }


def samples(ws: Workspace, manifest: Manifest, most: int = MOST_SAMPLES) -> list[dict[str, Any]]:
    """Clips that anybody may look at today, whoever it is, whatever for: what may be shown of a snapshot."""
    assets = ws.library.assets_by_id({entry.clip.asset_id for entry in manifest.entries})
    open_terms = set(_open_to_anybody(ws, {row.asset.terms_id for row in assets.values()}))
    shown = []
    for entry in manifest.entries:
        row = assets.get(entry.clip.asset_id)
        if row is None or row.asset.terms_id not in open_terms:
            continue
        seconds = round(float(entry.clip.span.duration), 3)
        shown.append({"clip": entry.clip.id, "fragment": entry.clip.fragment, "seconds": seconds})
        if len(shown) == most:
            break
    return shown


def _open_to_anybody(ws: Workspace, terms_ids: Iterable[str]) -> Iterable[str]:
    return (one for one in sorted(terms_ids) if is_open_to_anybody(terms_of(ws, one)))


def is_open_to_anybody(terms: Terms) -> bool:
    """Whether anybody at all may look at footage under these terms today."""
    return not in_house(terms) and compile_terms(terms).decide(Use("retrieve", today())).allowed


def has_samples(ws: Workspace, product: Product) -> bool:
    """Whether clips of a product may leave as samples: anybody may look at some of it, or export is part of it."""
    if "export" in product.terms.uses:
        return True
    return any(_open_to_anybody(ws, _terms_ids(ws, product.snapshot_id)))


def _terms_ids(ws: Workspace, snapshot_id: str) -> tuple[str, ...]:
    return next((one.snapshot.terms_ids for one in list_snapshots(ws) if one.snapshot.id == snapshot_id), ())
