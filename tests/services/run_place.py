"""A library of clips of two kinds that people labelled, and a grant on it: what a run needs, without any media."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from market_place import BUYER_NAME, CURATOR, STATION, STUDIO, party, terms_of
from prepared import prepared

from malan.core import Asset, Clip, Span, Terms, Track
from malan.core.ids import digest_record
from malan.rights.terms import party_id
from malan.services.clips.labels import Label, label_each
from malan.services.clips.where import condition
from malan.services.datasets.freezing import freeze_snapshot
from malan.services.footage.owners import remember_owner, remember_terms
from malan.services.journal import record
from malan.services.log.facts import unlogged
from malan.services.market.contracts import Changes, accept_contract, order_product, sign_contract
from malan.services.market.products import Price, offer_product
from malan.store.features import LOOK_WIDTH
from malan.store.rows import AssetRow, ScanRows
from malan.workspace import Workspace

FILMS, CLIPS = 16, 4
SET, NAMES = "日夜", ("日", "夜")
BUYER = party(BUYER_NAME)
OWNER, SECOND = party(STATION), party(STUDIO)

OPEN: dict[str, Any] = {
    "tiers": ["recipe", "recipe-dp", "code"],
    "egress": ["adapter", "metrics", "weights"],
    "limits": {"clip_seconds": 100_000, "runs": 5, "output_bytes": 1_000_000},
    "prohibitions": [],
}


def draw_library(ws: Workspace, terms: dict[str, Terms], films: int = FILMS) -> None:
    """Films of each owner whose clips have one of two looks, and what a person said of each."""
    rng = np.random.default_rng(5)
    looks = rng.standard_normal((2, LOOK_WIDTH)).astype("f4")
    labels: dict[Clip, tuple[Label, ...]] = {}
    for owner, its_terms in terms.items():
        remember_owner(ws, owner)
        terms_id = remember_terms(ws, its_terms)
        rows, scans = [], []
        for film in range(films):
            asset_id = digest_record("film", [owner, film])
            track = Track(0, "video", "h264", Fraction(1, 25), 0, 250, width_px=1920, height_px=1080)
            rows.append(
                AssetRow(Asset(asset_id, 1000, "mp4", Fraction(10), (track,), party_id(owner), terms_id), title=owner)
            )
            clips = tuple(Clip(asset_id, 0, Span(50 * n, 50 * n + 50, Fraction(1, 25))) for n in range(CLIPS))
            found = {}
            for clip in clips:
                kind = int(rng.integers(2))
                look = looks[kind] + 0.7 * rng.standard_normal(LOOK_WIDTH).astype("f4")
                found[clip.id] = look / np.linalg.norm(look)
                labels[clip] = (Label(SET, NAMES[kind]),)
            scans.append(ScanRows(asset_id, {"scan": "1"}, clips, (), descriptors=found))
        ws.library.put_assets(rows)
        ws.library.put_scans(scans)
        record(ws, unlogged(ws, [row.asset for row in rows], with_terms=True))
    label_each(ws, labels)


@prepared
def grant_on(ws: Workspace, *owners: str, price: str = "100:CNY", changes: Changes | None = None, **said: Any) -> str:
    """A grant on drawn footage of these owners for the buyer; its id."""
    owners = owners or (STATION,)
    draw_library(ws, {owner: terms_of(owner, **{**OPEN, **said}) for owner in owners})
    freeze_snapshot(
        ws, "日夜", condition(""), caller=CURATOR, shares={"train": Fraction(7, 10), "test": Fraction(3, 10)}
    )
    product = offer_product(ws, "日夜", price=Price.read(price))
    number = order_product(ws, product.id, BUYER_NAME, changes=changes).number
    accept_contract(ws, number)
    sign_contract(ws, number)
    grant_id = sign_contract(ws, number, caller=BUYER).grant_id
    assert grant_id is not None
    return grant_id
