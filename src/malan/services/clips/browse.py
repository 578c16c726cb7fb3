"""Looking through the library: searching clips, listing assets, and what the filters offer.

Reads only. Rights are asked for each terms once and become part of the query; nothing is filtered afterwards.
Start reading at `search`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING

from malan.core import Span
from malan.core.catalogue import entry
from malan.curation.colour import NAMES as COLOUR_NAMES
from malan.rights.decide import USES
from malan.services.access import HOUSE, Caller
from malan.services.clips.search import find
from malan.services.footage.owners import owner_names, terms_of
from malan.services.spoken import clock, lasting, size, word
from malan.services.uses import LOOKING, allowed_terms, decide_use
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
    UseDecision,
)
from malan.store import ClipHit, ClipPage, ClipQuery, Evidence

if TYPE_CHECKING:
    from malan.store.rows import AssetRow, ClipRow
    from malan.workspace import Workspace


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """What somebody looks for. Empty and None mean "not asked"."""

    text: str = ""
    owner: str = ""  # id of a party
    min_duration_s: float | None = None
    max_duration_s: float | None = None
    motion: str = ""
    light: str = ""
    faces: str = ""
    colour: str = ""
    use: str = ""
    with_captions: bool = False
    with_speech: bool = False
    clean_only: bool = False
    sort: str = ""
    like: str = ""  # id of a clip
    group: str = ""  # near-duplicates of this group, unfolded
    by_meaning: bool = False  # words and likeness are taken for what they mean, where an encoder has an index
    limit: int = 24
    offset: int = 0


def search(ws: Workspace, request: SearchRequest, lang: str, *, caller: Caller = HOUSE) -> SearchView:
    """One page of clips, best first, each with why it was found and whether the caller may use it as asked for.

    Raises:
        NotFound: The clip to be similar to is not there.
        NotGranted: It may not be looked at.
    """
    rights = Rights(ws, lang, caller)
    seen = allowed_terms(ws, LOOKING, caller=caller)
    query = replace(_query(request), terms_ids=seen)
    page = _found(ws, request, query, caller)
    like = ws.library.clip(request.like) if request.like else None
    cards = _cards(ws, page.hits, rights, lang)
    likeness = _cards(ws, [ClipHit(like, 1.0)], rights, lang)[0] if like else None
    return SearchView(
        cards=cards,
        total=page.total,
        is_total_exact=page.is_total_exact,
        is_relaxed=page.relaxed,
        next_offset=page.next_offset,
        took_ms=round(page.took_ms, 1),
        library_clips=_count_clips(ws, seen, caller),
        library_assets=ws.library.count_assets(terms_ids=_listed(seen, caller)),
        like=likeness,
    )


def _found(ws: Workspace, request: SearchRequest, query: ClipQuery, caller: Caller) -> ClipPage:
    """By words and measures, or by meaning where that was asked for and there is something to look for."""
    use = request.use or LOOKING
    if not request.by_meaning or not (request.text or request.like) or request.group:
        return find(ws, query, use=use, caller=caller)
    from malan.services.clips.meaning import MeaningAsk, find_meaning, ready_encoder

    ask = MeaningAsk(clip=request.like) if request.like else MeaningAsk(request.text)
    asked = replace(query, text=request.text if request.like else "", similar_to=None, order="")
    return find_meaning(ws, asked, ask, engine=ready_encoder(ws), use=use, caller=caller)


def filters(ws: Workspace, lang: str, *, caller: Caller = HOUSE) -> Filters:
    """What can be chosen from."""
    from malan.services.clips.meaning import ready_encoder

    names = owner_names(ws)
    return Filters(
        owners=tuple(Choice(id, names.get(id, id[:12])) for id in _owner_ids(ws, caller)),
        motions=tuple(Choice(name, word(f"web.motion.{name}", lang)) for name in MOTIONS),
        lights=tuple(Choice(name, word(f"web.light.{name}", lang)) for name in LIGHTS),
        faces=tuple(Choice(name, word(f"web.faces.{name}", lang)) for name in FACES),
        colours=tuple(Choice(name, word(f"web.colour.{name}", lang)) for name in COLOURS),
        uses=tuple(Choice(use, word(f"web.use.{use}", lang)) for use in USES),
        by_meaning=bool(ready_encoder(ws)),
    )


def list_assets(ws: Workspace, lang: str, *, limit: int, offset: int = 0, caller: Caller = HOUSE) -> AssetList:
    """Assets that the caller may know of, in the order of their registration: to operators all."""
    terms_ids = _listed(allowed_terms(ws, LOOKING, caller=caller), caller)
    names, total = owner_names(ws), ws.library.count_assets(terms_ids=terms_ids)
    rows = ws.library.assets(limit=limit, offset=offset, terms_ids=terms_ids)
    following = offset + limit if offset + limit < total else None
    clips = ws.library.clip_ids(row.asset.id for row in rows)
    cards = (_asset_card(row, clips.get(row.asset.id, []), names, lang) for row in rows)
    return AssetList(tuple(cards), total, following)


class Rights:
    """Decisions of today for one caller, made once for each terms and use."""

    def __init__(self, ws: Workspace, lang: str, caller: Caller = HOUSE) -> None:
        self._ws, self._lang, self._caller = ws, lang, caller
        self._known: dict[str, tuple[UseDecision, ...]] = {}

    def decisions(self, terms_id: str) -> tuple[UseDecision, ...]:
        """One for each use. Terms that are not known here allow nothing."""
        if terms_id not in self._known:
            self._known[terms_id] = tuple(self._decide(terms_id, use) for use in USES)
        return self._known[terms_id]

    def badge(self, terms_id: str) -> RightsBadge:
        """What may be done beyond looking, in a few words."""
        allowed = [decision for decision in self.decisions(terms_id) if decision.is_allowed]
        further = [decision.label for decision in allowed if decision.use != LOOKING]
        uses = tuple(decision.use for decision in allowed)
        if further:
            return RightsBadge(" · ".join(further), "good", uses)
        code, tone = ("web.rights.look_only", "warn") if allowed else ("web.rights.nothing", "bad")
        return RightsBadge(word(code, self._lang), tone, uses)

    def _decide(self, terms_id: str, use: str) -> UseDecision:
        decision = decide_use(self._ws, terms_id, use, caller=self._caller)
        label = word(f"web.use.{use}", self._lang)
        reasons = (entry(r.code).text(self._lang, {**dict(r.values), "use": label}) for r in decision.reasons)
        return UseDecision(use, label, decision.allowed, tuple(reasons))


def file_name(row: AssetRow) -> str:
    """What an asset is called: the name of its file where it was last seen, else its title, else its id."""
    if row.locations:
        return shown(PurePath(row.locations[0].path).name)
    return row.title or row.asset.id[:12]


def shown(text: str) -> str:
    """Text that can be sent: bytes of odd file names and control characters become visible escapes."""
    safe = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in safe)


def _listed(seen: tuple[str, ...], caller: Caller) -> tuple[str, ...] | None:
    """The terms whose assets a caller is told of: all to operators, who also see what nobody may look at."""
    return None if caller.is_operator else seen


def _count_clips(ws: Workspace, seen: tuple[str, ...], caller: Caller) -> int:
    """How many clips there are, as far as the caller may know."""
    if caller.is_operator:
        return ws.library.count_clips()
    return ws.library.search(ClipQuery(terms_ids=seen, fold_duplicates=False, limit=1)).total


def _owner_ids(ws: Workspace, caller: Caller) -> list[str]:
    """The owners a caller may choose from: those of whose footage it may see anything."""
    if caller.is_operator:
        return ws.library.owner_ids()
    return sorted({terms_of(ws, terms_id).owner_id for terms_id in allowed_terms(ws, LOOKING, caller=caller)})


MOTIONS = ("static", "pan", "tilt", "zoom", "handheld", "action")
LIGHTS = ("night", "day")
FACES = ("people", "closeup", "none")
COLOURS = tuple(name for name, _ in COLOUR_NAMES)
# What "clean picture" means. A clip on which a measure is missing was not found wanting.
_CLEAN: Mapping[str, float] = {"black_share": 0.2, "freeze_share": 0.5}


def _query(request: SearchRequest) -> ClipQuery:
    labels = [f"motion.class={request.motion}"] if request.motion else []
    labels += [f"scene.light={request.light}"] if request.light else []
    labels += [f"privacy.face={request.faces}"] if request.faces else []
    labels += [f"colour.dominant={request.colour}"] if request.colour else []
    return ClipQuery(
        text=request.text,
        owner_ids=(request.owner,) if request.owner else (),
        min_duration_s=request.min_duration_s,
        max_duration_s=request.max_duration_s,
        labels=tuple(labels),
        at_most=_CLEAN if request.clean_only else {},
        has_speech=True if request.with_speech else None,
        has_captions=True if request.with_captions else None,
        group_id=request.group or None,
        similar_to=request.like or None,
        fold_duplicates=not request.group,
        order=request.sort,
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
        kind=kind_of(asset) if asset else "video",
        file=file_name(asset) if asset else shown(row.file_name),
        owner=names.get(row.owner_id, row.owner_id[:12]),
        start_s=span.start_s,
        end_s=span.end_s,
        at=clock(span.start_s - origin),
        lasts=_lasts(row, asset, lang),
        evidence=tuple(map(_evidence, hit.evidence)) or _caption(row),
        tags=tuple(_tags(row, lang)),
        colour=None,
        rights=rights.badge(row.terms_id),
        duplicates=hit.similar_count,
        group_id=row.group_id,
        score=round(hit.score, 4),
        aspect=aspect_of(asset) if asset else 16 / 9,
        share=_share(span, origin, asset),
    )


def first_second(asset: AssetRow) -> float:
    """Where the clock of an asset starts: what is shown counts from its first picture, or its first sound."""
    track = asset.asset.first("video") or asset.asset.first("audio")
    return float(track.start_ticks * track.timebase) if track else 0.0


def _lasts(row: ClipRow, asset: AssetRow | None, lang: str) -> str:
    still = asset is not None and kind_of(asset) == "image"
    return word("web.still", lang) if still else lasting(float(row.span.duration), lang)


def kind_of(asset: AssetRow) -> str:
    """What an asset is first of all: video, audio (a cover picture does not count), image or data."""
    return next((kind for kind in ("video", "audio", "image") if asset.asset.first(kind)), "data")


def _share(span: Span, origin: float, asset: AssetRow | None) -> tuple[float, float]:
    whole = float(asset.asset.duration) if asset else 0.0
    if whole <= 0:
        return 0.0, 1.0
    return round((span.start_s - origin) / whole, 6), round(min(1.0, (span.end_s - origin) / whole), 6)


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
        if kind == "privacy.face" and name in FACES[:2]:
            yield word(f"web.faces.{name}", lang)
    yield from row.tags


def _asset_card(row: AssetRow, clips: list[str], names: Mapping[str, str], lang: str) -> AssetCard:
    asset = row.asset
    kind = kind_of(row)
    return AssetCard(
        id=asset.id,
        file=file_name(row),
        owner=names.get(asset.owner_id, asset.owner_id[:12]),
        kind=kind,
        lasts=word("web.still", lang) if kind == "image" else clock(float(asset.duration), 0),
        duration_s=float(asset.duration),
        size=size(asset.size_bytes),
        status=row.status,
        status_label=word(f"web.status.{row.status}", lang),
        clips=len(clips),
        clip_id=clips[len(clips) // 3] if clips and kind != "audio" else None,
    )
