"""The lesson of the demo: a person labels shots, two owners grant a company their use, its algorithm comes to them.

What is drawn is known exactly, so the person says what is true. Two films stay unlabelled: on them the model shows what
it has learned. Each function is a step and calls the services everybody calls. Start reading at `label_drawn`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import PurePath
from typing import TYPE_CHECKING

from malan.core import Clip
from malan.core.errors import NotFound
from malan.datasets.split import split_assets
from malan.rights.terms import party_id
from malan.services.access import ANNOTATOR, BUYER, HOUSE, Caller, require
from malan.services.accounts.parties import add_party, find_party
from malan.services.clips.labels import Label, Labelled, label_each
from malan.services.clips.where import condition
from malan.services.datasets.freezing import Frozen, freeze_snapshot
from malan.services.demo.films import FILMS, OVERLAP, Film, Shot
from malan.services.market.contract_lookup import list_contracts
from malan.services.market.contracts import Contract, accept_contract, order_product, sign_contract
from malan.services.market.products import Price, offer_product
from malan.services.runs.rows import Run
from malan.services.runs.submission import Asked, get_run, submit_run
from malan.services.runs.worker import work

if TYPE_CHECKING:
    from malan.store import ClipRow
    from malan.workspace import Workspace

PERSON, COMPANY = "小满", "麓山影像模型公司"
LABEL_SET, MODEL, LESSON = "place", "place", "demo-place"
UNLABELLED = ("预告片.mkv", "雪线.webm")
_CITY, _INDOOR, _NATURE = "city", "indoor", "nature"
_PLACES: Mapping[str, str] = {
    "night_city": _CITY,
    "street_day": _CITY,
    "neon_rain": _CITY,
    "room": _INDOOR,
    "karst_peaks": _NATURE,
    "sea_sunrise": _NATURE,
    "tea_hills": _NATURE,
    "snow_ridge": _NATURE,
    "dusk_river": _NATURE,
    "forest_light": _NATURE,
}
_SHARES = {"train": Fraction(7, 10), "test": Fraction(3, 10)}
_SEEDS = 64  # splits that are compared
_BUYER = Caller(party_id(COMPANY), frozenset({BUYER}), "session", name=COMPANY)


@dataclass(frozen=True)
class Truth:
    """What is true of the clips of drawn films, and which of them nobody labels."""

    labelled: Mapping[Clip, str]
    unlabelled: Mapping[Clip, str]


def drawn_truth(ws: Workspace, *, caller: Caller = HOUSE) -> Truth:
    """Where each clip was drawn; clips that hold several shots are left out."""
    require(caller, "scan")
    by_name = {PurePath(row.locations[0].path).name: row.asset.id for row in ws.library.assets() if row.locations}
    labelled: dict[Clip, str] = {}
    unlabelled: dict[Clip, str] = {}
    for film in FILMS:
        if film.name in by_name:
            known = unlabelled if film.name in UNLABELLED else labelled
            known |= dict(_places(film, ws.library.clips(by_name[film.name])))
    return Truth(labelled, unlabelled)


def label_drawn(ws: Workspace, truth: Truth, *, caller: Caller = HOUSE) -> Labelled:
    """A person says of each shot where it was taken."""
    try:
        find_party(ws, PERSON)
    except NotFound:
        add_party(ws, caller, PERSON, has=(ANNOTATOR,))
    labels = {clip: (Label(LABEL_SET, place),) for clip, place in truth.labelled.items()}
    return label_each(ws, labels, by=PERSON, caller=caller)


def freeze_lesson(ws: Workspace, truth: Truth, *, caller: Caller = HOUSE) -> Frozen:
    """The labelled clips as one dataset, split by film so that both parts hold every place."""
    asked = condition(f"label=label.{LABEL_SET}")
    seed = even_seed(ws, truth.labelled)
    return freeze_snapshot(ws, LESSON, asked, use="train", shares=_SHARES, seed=seed, caller=caller)


def even_seed(ws: Workspace, places: Mapping[Clip, str]) -> int:
    """The seed whose split leaves most clips of the rarest place in either part.

    Encoders differ between machines, so films have other digests there, and a fixed seed another split.
    """
    weights: dict[str, Fraction] = defaultdict(Fraction)
    for clip in places:
        weights[clip.asset_id] += clip.span.duration
    rows = ws.library.clips_by_id(clip.id for clip in places)
    alike: dict[str, list[str]] = defaultdict(list)
    for row in rows.values():
        if row.group_id is not None:
            alike[row.group_id].append(row.clip.asset_id)

    def rarest(seed: int) -> int:
        parts = split_assets(weights, alike.values(), _SHARES, seed)
        counts = Counter((parts[clip.asset_id], place) for clip, place in places.items())
        owners = Counter((parts[row.clip.asset_id], row.owner_id) for row in rows.values())
        asked = [counts[part, place] for part in _SHARES for place in set(places.values())]
        return min(*asked, *(owners["train", row.owner_id] for row in rows.values()))

    return max(range(_SEEDS), key=lambda seed: (rarest(seed), -seed))


def agree(ws: Workspace, snapshot_id: str, title: str, *, caller: Caller = HOUSE) -> str:
    """The owners offer it, the company orders it, all sign; the id of the grant. An agreement that stands is kept."""
    for known in list_contracts(ws, caller=caller):
        if isinstance(known, Contract) and known.snapshot_id == snapshot_id and known.grant_id:
            return known.grant_id
    offer_product(ws, snapshot_id, price=Price.read("9900:CNY"), title=title, caller=caller)
    number = order_product(ws, title, COMPANY, caller=_BUYER).number
    accept_contract(ws, number, caller=caller)
    sign_contract(ws, number, caller=caller)
    signed = sign_contract(ws, number, caller=_BUYER)
    if signed.grant_id is None:
        raise NotFound("grant.none", id=number)
    return signed.grant_id


def train(ws: Workspace, grant_id: str, *, caller: Caller = HOUSE) -> Run:
    """The company submits the tagger under its grant, and a worker runs it, shut in, up to the gate."""
    require(caller, "scan")  # whoever plays the company here
    asked = Asked(name=MODEL, seed=1)
    run = submit_run(ws, "tagger", grant_id, {"label_set": LABEL_SET, "hidden": 0}, asked=asked, caller=_BUYER)
    work(ws, once=True)
    return get_run(ws, run.id)


def share_right(ws: Workspace, truth: Mapping[Clip, str], *, caller: Caller = HOUSE) -> tuple[int, int]:
    """Of the clips that nobody labelled: how many the model names rightly, and how many there are."""
    require(caller, "scan")
    right = 0
    for clip, place in truth.items():
        said = ws.library.findings(clip_id=clip.id, kinds=[f"tag.{LABEL_SET}"])
        right += any(one.value.get("label") == place for one in said)
    return right, len(truth)


def _places(film: Film, rows: list[ClipRow]) -> Iterator[tuple[Clip, str]]:
    """Each clip that lies within one shot, give or take a dissolve, and where that was drawn."""
    spans = list(_spans(film))
    for row in rows:
        start, end = row.span.start_s * film.rate, row.span.end_s * film.rate
        first, last, shot = max(spans, key=lambda one: min(end, one[1]) - max(start, one[0]))
        if min(end, last) - max(start, first) >= 0.8 * (end - start):
            yield row.clip, _PLACES[shot.scene]


def _spans(film: Film) -> Iterator[tuple[int, int, Shot]]:
    at = 0
    for shot in film.shots:
        at -= OVERLAP if shot.enters != "cut" else 0
        yield at, at + shot.frames, shot
        at += shot.frames
