"""A library without media for tests of the market: owners, their terms, and snapshots that need no decoding."""

from __future__ import annotations

from fractions import Fraction

from prepared import prepared

from malan.core import Asset, Clip, Finding, Span, Terms, Track
from malan.core.ids import digest_record
from malan.rights.terms import party_id, read_terms
from malan.services.access import BUYER, OPERATOR, OWNER, Caller
from malan.services.clips.where import condition
from malan.services.datasets.freezing import freeze_snapshot
from malan.services.footage.owners import remember_owner, remember_terms
from malan.services.journal import record
from malan.services.log.facts import unlogged
from malan.services.market.contracts import accept_contract, order_product, sign_contract
from malan.services.market.products import Price, offer_product
from malan.store.rows import AssetRow, ScanRows
from malan.workspace import Workspace

STATION, STUDIO, BUYER_NAME, RIVAL = "湖南台", "橘洲工作室", "某模型公司", "另一家公司"
TRAIN = {
    "uses": ["retrieve", "train"],
    "tiers": ["recipe", "recipe-dp"],
    "egress": ["adapter", "metrics"],
    "limits": {"clip_seconds": 1_800_000, "runs": 20, "output_bytes": 50_000_000},
    "prohibitions": ["likeness"],
    "price": {"minor": 100, "currency": "CNY"},
}


CURATOR = Caller(party_id(BUYER_NAME), frozenset({OPERATOR}), "cli", purpose="research")
"""An operator who freezes for the buyer, so that terms for that buyer and purpose let clips in."""


def terms_of(owner: str, **changes: object) -> Terms:
    """Terms for training, or others."""
    return read_terms({**TRAIN, **changes}, owner, "test", "train")


def register(ws: Workspace, owner: str, terms: Terms, number: int = 1) -> str:
    """An asset of two clips that nobody drew; its id."""
    remember_owner(ws, owner)
    asset_id = digest_record("film", [owner, number])
    base = Fraction(1, 25)
    track = Track(0, "video", "h264", base, 0, 250, width_px=1920, height_px=1080)
    sound = Track(1, "audio", "aac", Fraction(1, 48_000), 0, 480_000, language="zho")
    terms_id = remember_terms(ws, terms)
    asset = Asset(asset_id, 1000, "mp4", Fraction(10), (track, sound), party_id(owner), terms_id)
    ws.library.put_assets([AssetRow(asset, title=f"{owner} {number}")])
    clips = tuple(Clip(asset_id, 0, Span(start, start + 125, base)) for start in (0, 125))
    found = tuple(Finding(clip, "shot.transition", "scan", "1", {"class": "cut"}) for clip in clips)
    ws.library.put_scan(ScanRows(asset_id, {"scan": "1"}, clips, found))
    record(ws, unlogged(ws, [asset], with_terms=True))
    return asset_id


@prepared
def pool(ws: Workspace, *, station: Terms | None = None, studio: Terms | None = None) -> str:
    """A snapshot with footage of two owners; its id."""
    register(ws, STATION, station or terms_of(STATION))
    register(ws, STUDIO, studio or terms_of(STUDIO))
    return freeze_snapshot(ws, "夜景", condition(""), caller=CURATOR).saved.snapshot.id


@prepared
def single(ws: Workspace, terms: Terms | None = None) -> str:
    """A snapshot with footage of one owner; its id."""
    register(ws, STATION, terms or terms_of(STATION))
    return freeze_snapshot(ws, "云海", condition(""), caller=CURATOR).saved.snapshot.id


def party(name: str) -> Caller:
    """Somebody who is signed in, with the roles of a party to contracts."""
    return Caller(party_id(name), frozenset({OWNER, BUYER}), "session", name=name)


@prepared
def granted(ws: Workspace) -> str:
    """A grant of two owners for the buyer; its id."""
    pool(ws)
    product = offer_product(ws, "夜景", price=Price.read("250000:CNY"))
    number = order_product(ws, product.id, BUYER_NAME).number
    accept_contract(ws, number)
    sign_contract(ws, number)
    grant_id = sign_contract(ws, number, caller=party(BUYER_NAME)).grant_id
    assert grant_id
    return grant_id
