"""What an app needs to pick footage and show it: clips that may be used, what is known of them, where their file is.

Rights are part of the question, so that nothing is picked first and refused afterwards; the file of a clip is named
only to whoever may use it. Start reading at `candidates`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from malan.core.errors import UsageError
from malan.media.render import is_hdr
from malan.services.access import HOUSE, Caller
from malan.services.clips.cutting import Cutter
from malan.services.clips.relevance import Looks, Proof, proofs
from malan.services.clips.strips import Stretch, Strip, look_into, opened_strip, tiles_of
from malan.services.datasets.freezing import show_snapshot
from malan.services.market.granted import Opened, opened_by, require_source
from malan.services.uses import LOOKING, allowed_terms

if TYPE_CHECKING:
    from malan.core import Track
    from malan.media import PacketIndex
    from malan.services.clips.search import ClipQuery, ClipRow
    from malan.workspace import Workspace

MOST = 1000
_BY_ORDER = 0.1  # of the fit, for the order in which the index has clips with the same words
_Written = tuple[float, float, tuple[float, float, float, float]]


@dataclass(frozen=True)
class Candidate:
    """A clip that may be used: how well it fits the words (1 best), what it looks like, and when somebody speaks.

    `proof` says what of it has the words, where words were asked for; a clip without is as sure as can be. Stretches
    are seconds of the file. `captions` are those with burned-in words, with their box (x, y, width, height as shares of
    the picture).
    """

    row: ClipRow
    fit: float
    look: NDArray[np.float32] | None
    speech: tuple[Stretch, ...] = ()
    captions: tuple[_Written, ...] = ()
    proof: Proof | None = None

    @property
    def sure(self) -> float:
        """How sure it is that it shows what was asked for, 0 to 1."""
        return self.proof.sure if self.proof else 1.0


@dataclass(frozen=True)
class Footage:
    """The file behind a clip, as far as showing it needs."""

    path: Path
    video: Track
    sound_track: int | None
    timebase: Fraction
    is_hdr: bool


def candidates(
    ws: Workspace, query: ClipQuery, uses: Sequence[str], *, caller: Caller = HOUSE, most: int = MOST,
    every: bool = False,
) -> list[Candidate]:  # fmt: skip
    """Clips that match and may be used in every one of these ways, the surest first; near-duplicates once.

    Args:
        every: Only those with all of the words; else those with some come after them.

    Raises:
        UsageError: The query makes no sense.
        NotGranted: The caller's grant does not allow one of the uses.
    """
    query, opened = _within(ws, query, uses, caller)
    page = ws.library.search(replace(query, limit=MOST if opened else min(most, MOST)))
    hits = [hit for hit in page.hits if hit.has_all_words or not every]
    hits = [hit for hit in hits if opened is None or hit.row.id in opened.clip_ids][:most]
    rows, count = [hit.row for hit in hits], max(1, len(hits))
    if not query.text.strip():
        return _known(ws, rows, [1.0] * len(rows))
    looks = ws.library.descriptors_of(row.id for row in rows)
    proven = proofs(hits, query.text, looks)
    found = _known(ws, rows, [proof.sure * (1.0 - _BY_ORDER * n / count) for n, proof in enumerate(proven)], looks)
    surest = sorted(range(len(found)), key=lambda n: -found[n].fit)
    return [replace(found[n], proof=proven[n]) for n in surest]


def how_many(ws: Workspace, text: str, uses: Sequence[str], *, caller: Caller = HOUSE) -> int:
    """How many clips that may be used so have all of these words (beyond some thousand: at least so many)."""
    from malan.store import ClipQuery

    if caller.grant_id:
        return len(candidates(ws, ClipQuery(text=text), uses, caller=caller, every=True))
    page = ws.library.search(ClipQuery(text=text, terms_ids=_terms(ws, uses, None, caller), limit=1))
    return page.total if any(hit.has_all_words for hit in page.hits) else 0


def meant(
    ws: Workspace, text: str, uses: Sequence[str], engine: str, *, caller: Caller = HOUSE, most: int = 60
) -> list[Candidate]:
    """Clips that mean what a text says, by an encoder and its index; best first, `fit` by their order.

    Raises:
        NotFound, UsageError, NotGranted: See `meaning.find_meaning`.
    """
    from malan.services.clips.meaning import MeaningAsk, find_meaning
    from malan.store import ClipQuery

    query, opened = _within(ws, ClipQuery(limit=most), uses, caller)
    use, asks = (LOOKING, replace(caller, grant_id="")) if opened else (uses[0], caller)
    hits = find_meaning(ws, query, MeaningAsk(text), engine=engine, use=use, caller=asks).hits
    rows = [hit.row for hit in hits if opened is None or hit.row.id in opened.clip_ids]
    return _known(ws, rows, [1.0 - place / max(1, len(rows)) for place in range(len(rows))])


def chosen(ws: Workspace, clip_ids: Iterable[str], uses: Sequence[str], *, caller: Caller = HOUSE) -> list[Candidate]:
    """Clips somebody named, in their order.

    Raises:
        NotFound: One is not there.
        NotGranted: One may not be used so; it is named.
    """
    rows = [ws.library.clip(clip_id) for clip_id in clip_ids]
    opened = opened_by(ws, caller, uses) if caller.grant_id else None
    for row in rows:
        for use in uses:
            require_source(ws, row.clip, row.terms_id, use, row.id[:12], caller=caller, opened=opened)
    return _known(ws, rows, [1.0] * len(rows))


def of_snapshot(ws: Workspace, name: str, uses: Sequence[str], *, caller: Caller = HOUSE) -> list[Candidate]:
    """The clips of a snapshot that may be used so today.

    Raises:
        NotFound: There is no such snapshot.
    """
    _, manifest = show_snapshot(ws, name)
    found = ws.library.clips_by_id(entry.clip.id for entry in manifest.entries)
    if caller.grant_id:
        opened = opened_by(ws, caller, uses)
        rows = [row for row in found.values() if row.id in opened.clip_ids]
    else:
        terms = _terms(ws, uses, tuple(dict.fromkeys(row.terms_id for row in found.values())), caller)
        rows = [row for row in found.values() if row.terms_id in (terms or ())]
    return _known(ws, rows, [1.0] * len(rows))


def _within(ws: Workspace, query: ClipQuery, uses: Sequence[str], caller: Caller) -> tuple[ClipQuery, Opened | None]:
    """A query narrowed to what the caller may use so: by open terms, or to the files of its grant, whatever those
    allow others; then what the grant opens of them, to be held against each hit."""
    if not caller.grant_id:
        return replace(query, terms_ids=_terms(ws, uses, query.terms_ids, caller)), None
    opened = opened_by(ws, caller, uses)
    asset_ids = set(opened.spans) & set(query.asset_ids or opened.spans)
    return replace(query, asset_ids=tuple(sorted(asset_ids)) or ("-",)), opened


def _terms(ws: Workspace, uses: Sequence[str], among: tuple[str, ...] | None, caller: Caller) -> tuple[str, ...] | None:
    """Those of some terms that allow every use."""
    for use in uses:
        among = allowed_terms(ws, use, among, caller=caller)
    return among


def nearest(ws: Workspace, query: ClipQuery, uses: Sequence[str], *, caller: Caller = HOUSE) -> list[ClipRow]:
    """What comes closest when nothing matches: any of the words, what means the same where an encoder tells, any of
    the characters; else what there is. No bounds; three at most."""
    words = query.text.split()
    characters = [one for one in dict.fromkeys("".join(words)) if not one.isascii()]
    for text in (query.text, *words):
        if found := _loose(ws, query, text, uses, caller):
            return found
    if found := _like_in_meaning(ws, query.text, uses, caller):
        return found
    return next((found for text in (*characters, "") if (found := _loose(ws, query, text, uses, caller))), [])


def _loose(ws: Workspace, query: ClipQuery, text: str, uses: Sequence[str], caller: Caller) -> list[ClipRow]:
    loose = replace(query, text=text, labels=(), tags=(), at_least={}, at_most={}, min_duration_s=None)
    return [one.row for one in candidates(ws, loose, uses, caller=caller, most=3)]


def _like_in_meaning(ws: Workspace, text: str, uses: Sequence[str], caller: Caller) -> list[ClipRow]:
    from malan.services.clips.meaning import ready_encoder

    engine = ready_encoder(ws) if text.strip() else ""
    return [one.row for one in meant(ws, text, uses, engine, caller=caller, most=3)] if engine else []


class Shelf:
    """Files of clips, looked up once each.

    Args:
        uses: Asked for at every look.
    """

    def __init__(self, ws: Workspace, uses: Sequence[str], caller: Caller = HOUSE) -> None:
        self._ws, self._uses, self._caller = ws, tuple(uses), caller
        self._cutter = Cutter(ws)
        self._opened: Opened | None = opened_by(ws, caller, uses) if caller.grant_id else None
        self._is_hdr = lru_cache(maxsize=64)(is_hdr)
        self._index = lru_cache(maxsize=16)(self._read_index)

    def footage(self, row: ClipRow) -> Footage:
        """The file a clip is in.

        Raises:
            NotGranted: It may not be used so (any more).
            NotFound: The file is not where it was, or not what it was.
            UsageError: It has no moving picture.
        """
        for use in self._uses:
            require_source(self._ws, row.clip, row.terms_id, use, row.id[:12], caller=self._caller, opened=self._opened)
        asset = self._cutter.asset(row.clip.asset_id).asset
        video, sound = asset.first("video"), asset.first("audio")
        if video is None or video.shown_size_px is None:
            raise UsageError("app.no_picture", clip=row.id[:12])
        path = self._cutter.source(row.clip.asset_id)
        is_hdr = self._is_hdr(path, video.index)
        return Footage(path, video, sound.index if sound else None, row.clip.span.timebase, is_hdr)

    def frame_start(self, row: ClipRow, at_s: float) -> Fraction:
        """When the frame that is nearest to a moment of the file begins, in seconds, exact."""
        index, base = self._index(row.clip.asset_id), row.clip.span.timebase
        frame = index.frame_at(round(Fraction(at_s) / base))
        around = [int(index.frame_pts[n]) for n in (frame, min(frame + 1, index.frame_count - 1))]
        return min((tick * base for tick in around), key=lambda start: abs(start - Fraction(at_s)))

    def strip(self, row: ClipRow) -> Strip | None:
        """What the filmstrip of a clip tells."""
        return look_into(self._ws, [row]).get(row.id)

    def cells(self, row: ClipRow) -> list[tuple[float, NDArray[np.uint8]]]:
        """The pictures of a clip's filmstrip, RGB, each with its moment in seconds of the file; nothing is decoded.

        Raises:
            NotGranted, NotFound, UsageError: As `footage`.
        """
        width, height = self.footage(row).video.shown_size_px or (1, 1)
        strip = self._ws.library.filmstrip(row.id)
        if not strip:
            return []
        tiles = tiles_of(opened_strip(strip, "RGB"), width / height)
        length = row.span.end_s - row.span.start_s
        return [(row.span.start_s + number / len(tiles) * length, tile) for number, tile in enumerate(tiles)]

    def pictures(self, row: ClipRow, times_s: Sequence[float], height_px: int) -> list[NDArray[np.uint8]]:
        """What a clip shows at some moments of its file, small, upright, RGB; rights are asked as for the file."""
        from malan.media.thumbs import pictures

        footage, index = self.footage(row), self._index(row.clip.asset_id)
        frames = [index.frame_at(round(Fraction(at) / footage.timebase)) for at in times_s]
        return list(pictures(footage.path, index, frames, height_px=height_px))

    def _read_index(self, asset_id: str) -> PacketIndex:
        from malan.media import PacketIndex

        return PacketIndex.from_bytes(self._ws.library.index(asset_id))


def _known(
    ws: Workspace, rows: Sequence[ClipRow], fits: Sequence[float], looks: Looks | None = None
) -> list[Candidate]:
    """Looks of all in one read, unless they are known; speech and captions only of assets that have them."""
    looks = ws.library.descriptors_of(row.id for row in rows) if looks is None else looks
    speech = _stretches(ws, rows, "speech.segment", "speech_share")
    captions = _stretches(ws, rows, "text.caption", "caption_share")
    found = []
    for row, fit in zip(rows, fits, strict=True):
        said = tuple(
            (a, b) for a, b, _ in speech.get(row.clip.asset_id, ()) if a < row.span.end_s and b > row.span.start_s
        )
        written = tuple(
            one for one in captions.get(row.clip.asset_id, ()) if one[0] < row.span.end_s and one[1] > row.span.start_s
        )
        found.append(Candidate(row, fit, looks.get(row.id), said, written))
    return found


def _stretches(ws: Workspace, rows: Sequence[ClipRow], kind: str, measure: str) -> Mapping[str, list[_Written]]:
    asset_ids = {row.clip.asset_id for row in rows if (row.measures.get(measure) or 0) > 0}
    found: dict[str, list[_Written]] = {}
    if not asset_ids:
        return found
    assets = ws.library.assets_by_id(asset_ids)
    sizes = {one: video.shown_size_px for one, row in assets.items() if (video := row.asset.first("video"))}
    for finding in ws.library.findings_of(kind, asset_ids):
        span, asset_id = finding.clip.span, finding.clip.asset_id
        box = _box(finding.value.get("box"), sizes.get(asset_id))
        found.setdefault(asset_id, []).append((span.start_s, span.end_s, box))
    return found


def _box(said: object, size: tuple[int, int] | None) -> tuple[float, float, float, float]:
    """A box of pixels (left, top, right, bottom) as shares (x, y, width, height); else the lower fifth."""
    if size and isinstance(said, list | tuple) and len(said) == 4 and all(isinstance(one, int | float) for one in said):
        left, top, right, bottom = (float(one) for one in said)
        return left / size[0], top / size[1], (right - left) / size[0], (bottom - top) / size[1]
    return 0.05, 0.8, 0.9, 0.16
