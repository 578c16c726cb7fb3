"""Looking through the library: searching clips, listing assets, and what the filters offer.

Reads only. Rights are asked for each terms once and become part of the query; nothing is filtered afterwards.
Start reading at `search`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

from malan.curation.colour import NAMES as COLOUR_NAMES
from malan.rights.decide import USES
from malan.services.parties import owner_names
from malan.services.spoken import clock, lasting, size, word
from malan.services.uses import decide_use
from malan.services.views import (
    AssetCard,
    AssetList,
    Choice,
    ClipCard,
    EvidenceLine,
    Filters,
    Piece,
    RightsBadge,
    SearchView,
)
from malan.store.search import ClipHit, ClipQuery, Evidence

if TYPE_CHECKING:
    from malan.store.rows import AssetRow, ClipRow
    from malan.workspace import Workspace

DEFAULT_USE = "retrieve"


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """What somebody looks for. Empty and None mean "not asked"."""

    text: str = ""
    owner: str = ""  # id of a party
    min_duration_s: float | None = None
    max_duration_s: float | None = None
    motion: str = ""
    light: str = ""
    colour: str = ""
    use: str = ""
    with_captions: bool = False
    with_speech: bool = False
    clean_only: bool = False
    sort: str = ""
    like: str = ""  # id of a clip
    group: str = ""  # near-duplicates of this group, unfolded
    limit: int = 24
    offset: int = 0


def search(ws: Workspace, request: SearchRequest, lang: str) -> SearchView:
    """One page of clips, best first, each with why it was found and whether its terms allow the use asked for.

    Raises:
        NotFound: The clip to be similar to is not there.
    """
    rights = Rights(ws, request.use or DEFAULT_USE, lang)
    like = ws.library.clip(request.like) if request.like else None
    query = _query(request, like.id if like else None, rights.allowed_terms() if request.use else None)
    page = ws.library.search(query)
    cards = _cards(ws, page.hits, rights, lang)
    likeness = _cards(ws, [ClipHit(like, 1.0)], rights, lang)[0] if like else None
    return SearchView(
        cards=cards,
        total=page.total,
        is_total_exact=page.is_total_exact,
        is_relaxed=page.relaxed,
        next_offset=page.next_offset,
        took_ms=round(page.took_ms, 1),
        library_clips=ws.library.count_clips(),
        library_assets=ws.library.count_assets(),
        like=likeness,
    )


def filters(ws: Workspace, lang: str) -> Filters:
    """What can be chosen from."""
    names = owner_names(ws)
    return Filters(
        owners=tuple(Choice(id, names.get(id, id[:12])) for id in ws.library.owner_ids()),
        motions=tuple(Choice(name, word(f"web.motion.{name}", lang)) for name in MOTIONS),
        lights=tuple(Choice(name, word(f"web.light.{name}", lang)) for name in LIGHTS),
        colours=tuple(Choice(name, word(f"web.colour.{name}", lang)) for name in COLOURS),
        uses=tuple(Choice(use, word(f"web.use.{use}", lang)) for use in USES),
    )


def list_assets(ws: Workspace, lang: str, *, limit: int, offset: int = 0) -> AssetList:
    """Assets in the order of their registration."""
    names, total = owner_names(ws), ws.library.count_assets()
    rows = ws.library.assets(limit=limit, offset=offset)
    following = offset + limit if offset + limit < total else None
    return AssetList(tuple(_asset_card(ws, row, names, lang) for row in rows), total, following)


class Rights:
    """Decisions on one use, made once for each terms.

    Args:
        use: One of `rights.decide.USES`.
    """

    def __init__(self, ws: Workspace, use: str, lang: str) -> None:
        self._ws, self.use, self._lang = ws, use, lang
        self._known: dict[str, RightsBadge] = {}

    def badge(self, terms_id: str) -> RightsBadge:
        """Whether the use is allowed today. Terms that are not known here allow nothing."""
        if terms_id not in self._known:
            self._known[terms_id] = self._decide(terms_id)
        return self._known[terms_id]

    def allowed_terms(self) -> tuple[str, ...]:
        return tuple(id for id in self._ws.library.terms_ids() if self.badge(id).is_allowed)

    def _decide(self, terms_id: str) -> RightsBadge:
        decision = decide_use(self._ws, terms_id, self.use)
        reasons = tuple(reason.text(self._lang) for reason in decision.reasons)
        return RightsBadge(self.use, decision.allowed, word(f"web.use.{self.use}", self._lang), reasons)


def file_name(row: AssetRow) -> str:
    """What an asset is called: the name of its file where it was last seen, else its title, else its id."""
    if row.locations:
        return shown(PurePath(row.locations[0].path).name)
    return row.title or row.asset.id[:12]


def shown(text: str) -> str:
    """Text that can be sent: bytes of odd file names and control characters become visible escapes."""
    safe = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in safe)


MOTIONS = ("static", "pan", "tilt", "zoom", "handheld", "action")
LIGHTS = ("night", "day")
COLOURS = tuple(name for name, _ in COLOUR_NAMES)
# What "clean picture" means. A clip on which a measure is missing was not found wanting.
_CLEAN: Mapping[str, float] = {"black_share": 0.2, "freeze_share": 0.5}


def _query(request: SearchRequest, like: str | None, terms_ids: tuple[str, ...] | None) -> ClipQuery:
    labels = [f"motion.class={request.motion}"] if request.motion else []
    labels += [f"scene.light={request.light}"] if request.light else []
    labels += [f"colour.dominant={request.colour}"] if request.colour else []
    return ClipQuery(
        text=request.text,
        owner_ids=(request.owner,) if request.owner else (),
        terms_ids=terms_ids,
        min_duration_s=request.min_duration_s,
        max_duration_s=request.max_duration_s,
        labels=tuple(labels),
        at_most=_CLEAN if request.clean_only else {},
        has_speech=True if request.with_speech else None,
        has_captions=True if request.with_captions else None,
        group_id=request.group or None,
        similar_to=like,
        fold_duplicates=not request.group,
        limit=request.limit,
        offset=request.offset,
    )


def _cards(ws: Workspace, hits: Iterable[ClipHit], rights: Rights, lang: str) -> tuple[ClipCard, ...]:
    found = list(hits)
    names = owner_names(ws) if found else {}
    assets = ws.library.assets_by_id({hit.row.clip.asset_id for hit in found})
    return tuple(_card(hit, assets.get(hit.row.clip.asset_id), names, rights, lang) for hit in found)


def _card(hit: ClipHit, asset: AssetRow | None, names: Mapping[str, str], rights: Rights, lang: str) -> ClipCard:
    row, span = hit.row, hit.row.span
    origin = first_second(asset) if asset else 0.0
    return ClipCard(
        clip_id=row.id,
        asset_id=row.clip.asset_id,
        fragment=row.clip.fragment,
        file=file_name(asset) if asset else shown(row.file_name),
        owner=names.get(row.owner_id, row.owner_id[:12]),
        start_s=span.start_s,
        end_s=span.end_s,
        at=clock(span.start_s - origin),
        lasts=lasting(float(span.duration), lang),
        evidence=tuple(map(_evidence, hit.evidence)) or _caption(row),
        tags=tuple(_tags(row, lang)),
        colour=None,
        rights=rights.badge(row.terms_id),
        duplicates=hit.similar_count,
        group_id=row.group_id,
        score=round(hit.score, 4),
        aspect=aspect_of(asset) if asset else 16 / 9,
    )


def first_second(asset: AssetRow) -> float:
    """Where the clock of an asset starts: what is shown counts from its first picture, or its first sound."""
    track = asset.asset.first("video") or asset.asset.first("audio")
    return float(track.start_ticks * track.timebase) if track else 0.0


def aspect_of(asset: AssetRow) -> float:
    """Width over height of the picture as it is shown; 16:9 where there is none."""
    track = asset.asset.first("video") or asset.asset.first("image")
    shown_size = track.shown_size_px if track else None
    return shown_size[0] / shown_size[1] if shown_size else 16 / 9


def _evidence(evidence: Evidence) -> EvidenceLine:
    """A snippet cut at its marks."""
    pieces, at, text = [], 0, evidence.snippet
    for begin, end in sorted(evidence.marks):
        if begin > at:
            pieces.append(Piece(text[at:begin], False))
        pieces.append(Piece(text[begin:end], True))
        at = end
    if at < len(text):
        pieces.append(Piece(text[at:], False))
    return EvidenceLine(evidence.field, tuple(pieces))


def _caption(row: ClipRow) -> tuple[EvidenceLine, ...]:
    """Without words to look for, what is said in the picture."""
    text = " ".join(row.caption.split())[:160]
    return (EvidenceLine("caption", (Piece(text, False),)),) if text else ()


def _tags(row: ClipRow, lang: str) -> Iterable[str]:
    """Motion and the owner's tags: what is worth a glance."""
    for label in row.labels:
        kind, _, name = label.partition("=")
        if kind == "motion.class" and name:
            yield word(f"web.motion.{name}", lang)
        if kind == "scene.light" and name in LIGHTS:
            yield word(f"web.light.{name}", lang)
    yield from row.tags


def _asset_card(ws: Workspace, row: AssetRow, names: Mapping[str, str], lang: str) -> AssetCard:
    asset = row.asset
    clips = ws.library.clips(asset.id)
    kind = next((k for k in ("video", "image", "audio") if asset.first(k)), "data")
    return AssetCard(
        id=asset.id,
        file=file_name(row),
        owner=names.get(asset.owner_id, asset.owner_id[:12]),
        kind=kind,
        lasts=clock(float(asset.duration), 0),
        duration_s=float(asset.duration),
        size=size(asset.size_bytes),
        status=row.status,
        status_label=word(f"web.status.{row.status}", lang),
        clips=len(clips),
        clip_id=clips[len(clips) // 3].id if clips else None,
    )
