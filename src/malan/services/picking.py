"""What an app needs to pick footage and show it: clips that may be used, what is known of them, where their file is.

Rights are part of the question, so that nothing is picked first and refused afterwards; the file of a clip is named
only to whoever may use it. Start reading at `candidates`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from malan.core.errors import NotFound, UsageError
from malan.services.access import HOUSE, Caller
from malan.services.cutting import Cutter
from malan.services.datasets import show_snapshot
from malan.services.uses import allowed_terms, require_use

if TYPE_CHECKING:
    from malan.core import Track
    from malan.services.clips import ClipQuery, ClipRow
    from malan.workspace import Workspace

MOST = 1000
Stretch = tuple[float, float]
_Written = tuple[float, float, tuple[float, float, float, float]]


@dataclass(frozen=True)
class Candidate:
    """A clip that may be used: how well it fits the words (1 best), what it looks like, and when somebody speaks.

    Stretches are seconds of the file. `captions` are those with burned-in words, with their box (x, y, width, height
    as shares of the picture).
    """

    row: ClipRow
    fit: float
    look: NDArray[np.float32] | None
    speech: tuple[Stretch, ...] = ()
    captions: tuple[_Written, ...] = ()


@dataclass(frozen=True)
class Footage:
    """The file behind a clip, as far as showing it needs."""

    path: Path
    video: Track
    sound_track: int | None
    timebase: Fraction


def candidates(
    ws: Workspace, query: ClipQuery, uses: Sequence[str], *, caller: Caller = HOUSE, most: int = MOST
) -> list[Candidate]:
    """Clips that match and may be used in every one of these ways, best first; near-duplicates once.

    Raises:
        UsageError: The query makes no sense.
    """
    terms = query.terms_ids
    for use in uses:
        terms = allowed_terms(ws, use, terms, caller=caller)
    page = ws.library.search(replace(query, terms_ids=terms, limit=min(most, MOST)))
    rows = [hit.row for hit in page.hits]
    count = max(1, len(rows))
    fits = [(1.0 - 0.5 * place / count) * (1.0 if hit.has_all_words else 0.5) for place, hit in enumerate(page.hits)]
    return _known(ws, rows, fits)


def chosen(ws: Workspace, clip_ids: Iterable[str], uses: Sequence[str], *, caller: Caller = HOUSE) -> list[Candidate]:
    """Clips somebody named, in their order.

    Raises:
        NotFound: One is not there.
        NotGranted: One may not be used so; it is named.
    """
    rows = [ws.library.clip(clip_id) for clip_id in clip_ids]
    for row in rows:
        for use in uses:
            require_use(ws, row.terms_id, use, row.id[:12], caller=caller)
    return _known(ws, rows, [1.0] * len(rows))


def of_snapshot(ws: Workspace, name: str, uses: Sequence[str], *, caller: Caller = HOUSE) -> list[Candidate]:
    """The clips of a snapshot that may be used so today.

    Raises:
        NotFound: There is no such snapshot.
    """
    _, manifest = show_snapshot(ws, name)
    found = ws.library.clips_by_id(entry.clip.id for entry in manifest.entries)
    terms = tuple(dict.fromkeys(row.terms_id for row in found.values()))
    for use in uses:
        terms = allowed_terms(ws, use, terms, caller=caller)
    rows = [row for row in found.values() if row.terms_id in terms]
    return _known(ws, rows, [1.0] * len(rows))


def nearest(ws: Workspace, query: ClipQuery, uses: Sequence[str], *, caller: Caller = HOUSE) -> list[ClipRow]:
    """What comes closest when nothing matches: any of the words, no bounds; three at most."""
    words = query.text.split()
    for text in (query.text, *words, ""):
        loose = replace(query, text=text, labels=(), tags=(), at_least={}, at_most={}, min_duration_s=None)
        if found := candidates(ws, loose, uses, caller=caller, most=3):
            return [one.row for one in found]
    return []


class Shelf:
    """Files of clips, looked up once each.

    Args:
        uses: Asked for at every look.
    """

    def __init__(self, ws: Workspace, uses: Sequence[str], caller: Caller = HOUSE) -> None:
        self._ws, self._uses, self._caller = ws, tuple(uses), caller
        self._cutter = Cutter(ws)

    def footage(self, row: ClipRow) -> Footage:
        """The file a clip is in.

        Raises:
            NotGranted: It may not be used so (any more).
            NotFound: The file is not where it was, or not what it was.
            UsageError: It has no moving picture.
        """
        for use in self._uses:
            require_use(self._ws, row.terms_id, use, row.id[:12], caller=self._caller)
        asset = self._cutter.asset(row.clip.asset_id).asset
        video, sound = asset.first("video"), asset.first("audio")
        if video is None or video.shown_size_px is None:
            raise UsageError("app.no_picture", clip=row.id[:12])
        path = self._cutter.source(row.clip.asset_id)
        return Footage(path, video, sound.index if sound else None, row.clip.span.timebase)

    def pictures(self, row: ClipRow, times_s: Sequence[float], height_px: int) -> list[NDArray[np.uint8]]:
        """What a clip shows at some moments of its file, small, upright, RGB; rights are asked as for the file."""
        from malan.media import PacketIndex
        from malan.media.thumbs import pictures

        footage = self.footage(row)
        index = PacketIndex.from_bytes(self._ws.library.index(row.clip.asset_id))
        frames = [index.frame_at(round(Fraction(at) / footage.timebase)) for at in times_s]
        return list(pictures(footage.path, index, frames, height_px=height_px))


def row_of(ws: Workspace, clip_id: str) -> ClipRow:
    """A clip by its whole id.

    Raises:
        NotFound: There is none.
    """
    found = ws.library.clips_by_id([clip_id])
    if clip_id not in found:
        raise NotFound("store.clip_unknown", id=clip_id[:12])
    return found[clip_id]


def _known(ws: Workspace, rows: Sequence[ClipRow], fits: Sequence[float]) -> list[Candidate]:
    """Looks of all in one read; speech and captions only of assets that have them."""
    looks = ws.library.descriptors_of(row.id for row in rows)
    speech = _stretches(ws, rows, "speech.segment", "speech_share")
    captions = _stretches(ws, rows, "text.caption", "caption_share")
    found = []
    for row, fit in zip(rows, fits, strict=True):
        said = tuple((a, b) for a, b, _ in speech.get(row.clip.asset_id, ()) if a < row.span.end_s and b > row.span.start_s)
        written = tuple(
            one for one in captions.get(row.clip.asset_id, ()) if one[0] < row.span.end_s and one[1] > row.span.start_s
        )
        found.append(Candidate(row, fit, looks.get(row.id), said, written))
    return found


def _stretches(
    ws: Workspace, rows: Sequence[ClipRow], kind: str, measure: str
) -> Mapping[str, list[_Written]]:
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
    """A box of pixels (left, top, right, bottom) as shares (x, y, width, height); the lower fifth where none is known."""
    if size and isinstance(said, list | tuple) and len(said) == 4 and all(isinstance(one, int | float) for one in said):
        left, top, right, bottom = (float(one) for one in said)
        return left / size[0], top / size[1], (right - left) / size[0], (bottom - top) / size[1]
    return 0.05, 0.8, 0.9, 0.16
