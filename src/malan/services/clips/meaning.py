"""Searching by meaning: text → shot and picture → shot, through an encoder of `models.toml`, blended with the words.

    thumbnails ─ encoder ─▶ index of that model          words ─▶ rank ┐
    text, picture or clip ─ encoder ─▶ nearest, as the terms allow ─▶ rank ┴─ reciprocal ranks ─▶ page

One index a model, by the digest of its weights, side by side: what one model says is never compared with another's.
Rights and filters are asked of the library at each search, so clips that were withdrawn are gone at once. Start reading
at `build_index` and `find_meaning`.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from malan.core.errors import NotFound, StoreError, UsageError
from malan.services.access import HOUSE, Caller, require
from malan.services.clips.search import find
from malan.services.engines.opening import open_engine
from malan.services.engines.settings import EngineRow, read_engines
from malan.services.models.rights import Asked, require_model_use
from malan.services.models.rows import find_model
from malan.services.uses import LOOKING, allowed_terms, require_use, require_visible_clip, withdrawn_ids
from malan.store.evidence import evidence_of
from malan.store.query import MOST_ON_PAGE, ClipHit, ClipPage, ClipQuery
from malan.store.vectors import IndexFacts, VectorIndex, indexes_below

if TYPE_CHECKING:
    from malan.inference.backends import Encoder
    from malan.store.rows import ClipRow
    from malan.workspace import Workspace

RANKED = 400  # clips that each side puts in order, at least
STEADY = 10  # how little the very first places count for (reciprocal rank fusion of two lists)
_BATCH = 128  # thumbnails in memory, and vectors of one commit
_FEW = 4000  # clips a narrow filter leaves that are compared one by one
_MORE = 8  # times as many are asked for when the filter left too few
_ENOUGH_PX = 512  # more than any encoder looks at

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class MeaningAsk:
    """What a shot should be like: words, a picture file, or a clip that is in the library; one of them."""

    text: str = ""
    picture: Path | None = None
    clip: str = ""


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What an indexing did. `bare` counts clips without a picture: sound alone has none."""

    engine: str
    model: str
    title: str
    added: int
    removed: int
    total: int
    bare: int


@dataclass(frozen=True, slots=True)
class IndexView:
    """An index as it stands: how many clips it has, and how many of the library it lacks."""

    model: str
    title: str
    engine: str  # of models.toml that stands on this model; empty when none does any more
    clips: int
    width: int


def encoders(ws: Workspace) -> tuple[str, ...]:
    """The encoders that `models.toml` names, in its order; the first is used where nobody says which."""
    return tuple(row.name for row in read_engines(ws).of_kind("encoder"))


def ready_encoder(ws: Workspace) -> str:
    """The first encoder that has an index; empty when search by meaning has nothing to stand on.

    A `models.toml` that cannot be read is none here: searching by words goes on.
    """
    made = {index.facts.model for index in indexes_below(_root(ws))}
    if not made:
        return ""
    try:
        rows = read_engines(ws).of_kind("encoder")
    except (UsageError, StoreError):
        return ""
    return next((row.name for row in rows if _digest(ws, row) in made), "")


def build_index(
    ws: Workspace,
    engine: str = "",
    *,
    rebuild: bool = False,
    progress: Progress | None = None,
    caller: Caller = HOUSE,
) -> IndexReport:
    """Bring the index of an encoder up to date: new clips come in, clips that are gone or withdrawn go out.

    Every batch is safe once it is written, so an indexing that was killed goes on where it was.

    Raises:
        NotFound: There is no encoder of that name.
        NotGranted: The caller may not, or the licence of the model forbids it.
        UsageError: No encoder is configured.
    """
    require(caller, "scan")
    row = _row(ws, engine)
    model = find_model(ws, row.model)
    index = VectorIndex(_root(ws), model.id)
    if rebuild:
        index.drop()
    wanted = _clips(ws)
    with _opened(ws, row.name, caller) as encoder:
        index.begin(IndexFacts(model.id, model.title, encoder.width))
    known = index.ids()
    removed = known - wanted.keys()
    index.forget(removed)
    missing = [clip_id for clip_id in wanted if clip_id not in known]
    added = _add(ws, index, missing, lambda: _opened(ws, row.name, caller), progress)
    if added or removed:
        index.tend()
    return IndexReport(row.name, model.id, model.title, added, len(removed), index.count(), len(missing) - added)


def list_indexes(ws: Workspace, *, caller: Caller = HOUSE) -> tuple[IndexView, ...]:
    """Every index there is, and which engine stands on its model."""
    require(caller, "scan")
    engines = {_digest(ws, row): row.name for row in reversed(read_engines(ws).of_kind("encoder"))}
    found = ((index.facts, index.count()) for index in indexes_below(_root(ws)))
    return tuple(IndexView(f.model, f.title, engines.get(f.model, ""), count, f.width) for f, count in found)


def drop_index(ws: Workspace, name: str, *, caller: Caller = HOUSE) -> IndexFacts:
    """Throw an index away, by engine, by name of the model, or by the beginning of its digest.

    Raises:
        NotFound: There is no such index.
    """
    require(caller, "scan")
    book = read_engines(ws).engines
    digest = _digest(ws, book[name]) if name in book else ""
    for index in indexes_below(_root(ws)):
        facts = index.facts
        if facts.model == digest or facts.title == name or (len(name) >= 6 and facts.model.startswith(name)):
            index.drop()
            return facts
    raise NotFound("meaning.no_index", model=name[:60])


def find_meaning(
    ws: Workspace,
    query: ClipQuery,
    ask: MeaningAsk,
    *,
    engine: str = "",
    use: str = LOOKING,
    caller: Caller = HOUSE,
) -> ClipPage:
    """One page of clips that mean what is asked, best first, whose terms allow the caller `use` today.

    Words are looked for as well, those of the query, else those asked for: what both sides find comes first. The score
    of a hit is its likeness; 0 where only its words were found.

    Raises:
        UsageError: Nothing, or too much, is asked for; no encoder is configured.
        NotFound: There is no index of this encoder yet, or no such clip.
        NotGranted: The clip to be like may not be looked at, or the licence of the model forbids its use.
        MediaError: The picture cannot be read.
    """
    began = time.perf_counter()
    if sum(map(bool, (ask.text.strip(), ask.picture, ask.clip))) != 1:
        raise UsageError("meaning.ask_one")
    row = _row(ws, engine)
    model = find_model(ws, row.model)
    index = VectorIndex(_root(ws), model.id)
    width = index.facts.width
    require_model_use(ws, model, Asked("apply", row.is_commercial, row.territory or None), caller=caller)
    vector, own = _vector(ws, index, row, ask, use, caller)
    if len(vector) != width:
        raise UsageError("meaning.width", width=width, found=len(vector))
    allowed = replace(query, text="", similar_to=None, order="", offset=0, limit=1)
    allowed = replace(allowed, terms_ids=allowed_terms(ws, use, query.terms_ids, caller=caller))
    reach = min(MOST_ON_PAGE, max(RANKED, 4 * (query.offset + query.limit)))
    meant = _meant(ws, index, vector, allowed, reach, own)
    worded = _worded(ws, query, ask, reach, use, caller)
    order = [clip_id for clip_id in _fused([list(meant), list(worded)]) if clip_id != own]
    return _page(ws, order, meant, worded, query, ask, began)


# The index ------------------------------------------------------------------------------------------------------------


def _root(ws: Workspace) -> Path:
    return ws.root / "library" / "meaning"


def _row(ws: Workspace, engine: str) -> EngineRow:
    book = read_engines(ws)
    if engine:
        return book.row(engine)
    rows = book.of_kind("encoder")
    if not rows:
        raise UsageError("meaning.no_encoder")
    return rows[0]


def _digest(ws: Workspace, row: EngineRow) -> str:
    """Of the weights an engine stands on; of a model that is not registered any more, none."""
    try:
        return find_model(ws, row.model).id
    except (NotFound, UsageError):
        return "0" * 64


def _opened(ws: Workspace, name: str, caller: Caller) -> AbstractContextManager[Encoder]:
    return cast("AbstractContextManager[Encoder]", open_engine(ws, name, "encoder", caller=caller))


def _clips(ws: Workspace) -> dict[str, None]:
    """Every clip of the library that is not withdrawn."""
    gone = withdrawn_ids(ws)
    assets = [asset_id for asset_id, _, _ in ws.library.scans() if asset_id not in gone]
    return {clip_id: None for ids in ws.library.clip_ids(assets).values() for clip_id in ids}


def _add(
    ws: Workspace,
    index: VectorIndex,
    clip_ids: Sequence[str],
    opened: Callable[[], AbstractContextManager[Encoder]],
    progress: Progress | None,
) -> int:
    """The encoder is asked for anew each batch: whoever searches meanwhile gets a turn on its device."""
    added = 0
    for at in range(0, len(clip_ids), _BATCH):
        jpegs = ws.library.thumbnails_of(clip_ids[at : at + _BATCH])
        for some, pictures in _alike(jpegs):
            with opened() as encoder:
                vectors = encoder.encode_pictures(pictures)
            index.put(some, vectors)
            added += len(some)
        if progress:
            progress(min(at + _BATCH, len(clip_ids)), len(clip_ids))
    return added


def _alike(jpegs: Mapping[str, bytes]) -> Iterator[tuple[list[str], NDArray[np.uint8]]]:
    """Pictures of one size together: what runs together costs less."""
    by_size: dict[tuple[int, ...], dict[str, NDArray[np.uint8]]] = {}
    for clip_id, jpeg in jpegs.items():
        picture = _pixels(jpeg)
        by_size.setdefault(picture.shape, {})[clip_id] = picture
    for same in by_size.values():
        yield list(same), np.stack(list(same.values()))


def _pixels(jpeg: bytes) -> NDArray[np.uint8]:
    """A thumbnail of ours as RGB."""
    from PIL import Image

    with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
        return np.asarray(image.convert("RGB"))


# Searching ------------------------------------------------------------------------------------------------------------


def _vector(
    ws: Workspace, index: VectorIndex, row: EngineRow, ask: MeaningAsk, use: str, caller: Caller
) -> tuple[NDArray[np.float32], str]:
    """What is looked for, and the clip it comes from, which is not to be found itself."""
    if ask.clip:
        like = ws.library.clip(ask.clip)
        require_visible_clip(ws, like.id, like.terms_id, caller)
        require_use(ws, like.terms_id, use, like.id[:12], caller=caller)
        known = index.vectors([like.id])
        if like.id in known:
            return known[like.id], like.id
        jpeg = ws.library.thumbnail(like.id)
        if jpeg is None:
            raise UsageError("store.no_descriptor", id=like.id[:12])
        return _seen(ws, row, _pixels(jpeg), caller), like.id
    if ask.picture is not None:
        from malan.media.motion import read_photo

        return _seen(ws, row, read_photo(ask.picture, enough_px=_ENOUGH_PX).pixels_HWC, caller), ""
    with _opened(ws, row.name, caller) as encoder:
        return np.asarray(encoder.encode_texts([ask.text])[0], np.float32), ""


def _seen(ws: Workspace, row: EngineRow, picture_HWC: NDArray[np.uint8], caller: Caller) -> NDArray[np.float32]:
    with _opened(ws, row.name, caller) as encoder:
        return np.asarray(encoder.encode_pictures(picture_HWC[None])[0], np.float32)


def _meant(
    ws: Workspace, index: VectorIndex, vector: NDArray[np.float32], allowed: ClipQuery, reach: int, own: str
) -> dict[str, float]:
    """Clip → likeness, best first: the nearest that the filters allow."""
    few = ws.library.few(allowed, _FEW)
    if few is not None:
        ids, likeness = index.among(vector, few)
        return dict(zip(ids[:reach], map(float, likeness), strict=False))
    found: dict[str, float] = {}
    total, asked, seen = index.count(), 2 * reach, 0
    while True:
        ids, likeness = index.nearest(vector, min(asked, total))
        fresh = ids[seen:]
        may = ws.library.among(allowed, fresh)
        found |= {one: float(like) for one, like in zip(fresh, likeness[seen:], strict=True) if one in may}
        seen = len(ids)
        if len(found) >= reach or asked >= total or not fresh:
            return dict(list(found.items())[: reach + bool(own)])
        asked *= _MORE


def _worded(
    ws: Workspace, query: ClipQuery, ask: MeaningAsk, reach: int, use: str, caller: Caller
) -> dict[str, ClipHit]:
    """What the words alone find, best first."""
    text = query.text.strip() or ask.text.strip()
    if not text:
        return {}
    asked = replace(query, text=text, similar_to=None, order="", fold_duplicates=False, offset=0, limit=reach)
    hits = find(ws, asked, use=use, caller=caller).hits
    return {hit.row.id: hit for hit in hits if hit.has_all_words}  # what has only some of them, meaning finds better


def _fused(rankings: Iterable[Sequence[str]]) -> list[str]:
    """One order from several: each place counts for 1 / (STEADY + place)."""
    scores: dict[str, float] = {}
    for ranking in rankings:
        for place, clip_id in enumerate(ranking, 1):
            scores[clip_id] = scores.get(clip_id, 0.0) + 1 / (STEADY + place)
    return sorted(scores, key=lambda clip_id: (-scores[clip_id], clip_id))


def _page(
    ws: Workspace,
    order: Sequence[str],
    meant: Mapping[str, float],
    worded: Mapping[str, ClipHit],
    query: ClipQuery,
    ask: MeaningAsk,
    began: float,
) -> ClipPage:
    rows = ws.library.clips_by_id(order)
    there = [rows[clip_id] for clip_id in order if clip_id in rows]
    shown, folded = _folded(there) if query.fold_duplicates else (there, {})
    end = query.offset + query.limit
    text = query.text.strip() or ask.text
    hits = tuple(
        ClipHit(
            row, meant.get(row.id, 0.0), True,
            worded[row.id].evidence if row.id in worded else evidence_of(row, text) if text else (),
            folded.get(row.group_id or "", 1) - 1 if row.group_id else 0,
        )
        for row in shown[query.offset : end]
    )  # fmt: skip
    took_ms = (time.perf_counter() - began) * 1000
    return ClipPage(hits, len(there), False, False, end if len(shown) > end else None, took_ms)


def _folded(rows: Sequence[ClipRow]) -> tuple[list[ClipRow], dict[str, int]]:
    """The best of each group of near-duplicates, and how many of each group were found."""
    counts: dict[str, int] = {}
    shown = []
    for row in rows:
        if row.group_id is None or row.group_id not in counts:
            shown.append(row)
        if row.group_id is not None:
            counts[row.group_id] = counts.get(row.group_id, 0) + 1
    return shown, counts


def told(report: IndexReport | IndexView) -> dict[str, Any]:
    """As plain JSON."""
    return {name: getattr(report, name) for name in report.__dataclass_fields__}
