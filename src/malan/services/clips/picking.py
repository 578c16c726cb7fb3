"""What an app needs to pick footage and show it: clips that may be used, what is known of them, where their file is.

Rights are part of the question, so that nothing is picked first and refused afterwards; the file of a clip is named
only to whoever may use it. Start reading at `candidates`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from malan.core.errors import UsageError
from malan.media.render import is_hdr
from malan.services.access import HOUSE, Caller
from malan.services.clips.cutting import Cutter
from malan.services.datasets.freezing import show_snapshot
from malan.services.market.granted import Opened, opened_by, require_source
from malan.services.uses import LOOKING, allowed_terms

if TYPE_CHECKING:
    from malan.core import Track
    from malan.media import PacketIndex
    from malan.services.clips.search import ClipQuery, ClipRow
    from malan.workspace import Workspace

MOST = 1000
_BLACK, _LEAST_BAR = 0.09, 0.03
_CELLS = 8  # of a picture, a side, when it is held against the next
_LEAST_MOMENTS = 3
_ANOTHER, _STANDS_OUT = 0.3, 4.0  # one less correlation: of another picture, and so many times that of the others
_AROUND = 0.25  # of the time between two pictures: dissolves begin before what is seen of them
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
class Strip:
    """What the filmstrip of a clip tells, at moments evenly spread over it: one number a moment, 0 to 1.

    `active` is the picture without black bars, as shares (x, y, width, height). `turn` is where the picture becomes
    another, as shares of the clip: a dissolve nobody found.
    """

    light: NDArray[np.float32]  # mean brightness
    spread: NDArray[np.float32]  # standard deviation of brightness: nothing to see where it is near 0
    black: NDArray[np.float32]  # share of the active picture that is nearly black
    active: tuple[float, float, float, float]
    turn: Stretch | None = None
    clear: Stretch = (0.0, 1e9)  # seconds of the file without dissolves and fades at either end, nor a turn
    aspect: float = 0.0  # width over height of the picture without its bars; 0: not known
    faces_s: tuple[float, ...] = ()  # seconds of the file at which faces were seen


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
    """Clips that match and may be used in every one of these ways, best first; near-duplicates once.

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
    count = max(1, len(hits))
    fits = [(1.0 - 0.5 * place / count) * (1.0 if hit.has_all_words else 0.5) for place, hit in enumerate(hits)]
    return _known(ws, [hit.row for hit in hits], fits)


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
    """What comes closest when nothing matches: any of the words, no bounds; three at most."""
    words = query.text.split()
    for text in (query.text, *words, ""):
        loose = replace(query, text=text, labels=(), tags=(), at_least={}, at_most={}, min_duration_s=None)
        if found := candidates(ws, loose, uses, caller=caller, most=3):
            return [one.row for one in found]
    return []


def look_into(ws: Workspace, rows: Sequence[ClipRow]) -> dict[str, Strip]:
    """What the filmstrips of some clips tell, by clip; those without one are left out. Nothing is decoded but them."""
    found = {}
    assets = ws.library.assets_by_id({row.clip.asset_id for row in rows})
    clear, faces = _clear(ws, rows), _faces(ws, rows)
    for row in rows:
        strip, track = ws.library.filmstrip(row.id), assets[row.clip.asset_id].asset.first("video")
        size = track.shown_size_px if track else None
        if strip and size:
            read, aspect = read_strip(strip, size[0] / size[1]), size[0] / size[1]
            shown = aspect * read.active[2] / read.active[3]
            whole = _without_turn(clear[row.id], row, read.turn)
            found[row.id] = replace(read, clear=whole, aspect=shown, faces_s=faces.get(row.id, ()))
    return found


def _without_turn(clear: Stretch, row: ClipRow, turn: Stretch | None) -> Stretch:
    """The longer part of a stretch, before or after the picture becomes another."""
    if turn is None:
        return clear
    start, length = row.span.start_s, row.span.end_s - row.span.start_s
    before, after = (clear[0], start + turn[0] * length), (start + turn[1] * length, clear[1])
    return max(before, after, key=lambda part: part[1] - part[0])


def _faces(ws: Workspace, rows: Sequence[ClipRow]) -> dict[str, tuple[float, ...]]:
    """When faces were seen in those clips that show any."""
    wanted = [row.id for row in rows if row.measures.get("face_share", 0.0) > 0]
    found = ws.library.findings_about("privacy.face", wanted) if wanted else []
    return {one.clip.id: tuple(sorted(set(_moments(one.value.get("faces"))))) for one in found}


def _moments(faces: object) -> Iterator[float]:
    """When faces were seen; what somebody else's operator wrote otherwise is passed over."""
    for face in faces if isinstance(faces, list | tuple) else ():
        at = face.get("at_s") if isinstance(face, Mapping) else None
        if isinstance(at, int | float):
            yield float(at)


def _clear(ws: Workspace, rows: Sequence[ClipRow]) -> dict[str, Stretch]:
    """What lies between the transitions at both ends of each clip, by the frames where they begin and end."""
    begins: dict[tuple[str, float], tuple[float, float]] = {}
    for one in ws.library.findings_of("shot.transition", {row.clip.asset_id for row in rows}):
        span, said = one.clip.span, one.value
        frames = said.get("clip_end_frame", 0) - said.get("clip_first_frame", 0)
        if said.get("type") in ("dissolve", "fade") and frames > 0:
            step = (span.end_s - span.start_s) / frames
            before = (said["clip_first_frame"] - said["first_frame"]) * step
            after = (said["last_frame"] - said["clip_first_frame"]) * step
            begins[one.clip.asset_id, round(span.start_s, 3)] = (max(0.0, before), max(0.0, after))
    found = {}
    for row in rows:
        start, end, asset = row.span.start_s, row.span.end_s, row.clip.asset_id
        after = begins.get((asset, round(start, 3)), (0.0, 0.0))[1]
        before = begins.get((asset, round(end, 3)), (0.0, 0.0))[0]
        found[row.id] = (start + after, end - before)
    return found


def read_strip(jpeg: bytes, aspect: float) -> Strip:
    """A filmstrip in numbers.

    Args:
        aspect: Width over height of one of its pictures.
    """
    tiles = _tiles(_opened_strip(jpeg, "L").astype(np.float32) / 255, aspect)
    left, top, right, bottom = _bars(tiles.max(axis=0))
    inner = tiles[:, top:bottom, left:right]
    _, height, width = tiles.shape
    active = (left / width, top / height, (right - left) / width, (bottom - top) / height)
    light, spread, black = inner.mean(axis=(1, 2)), inner.std(axis=(1, 2)), (inner < _BLACK).mean(axis=(1, 2))
    return Strip(light, spread, black, active, _turn(inner))


def _opened_strip(jpeg: bytes, mode: str) -> NDArray[np.uint8]:
    import io

    from PIL import Image

    with Image.open(io.BytesIO(jpeg)) as picture:
        return np.asarray(picture.convert(mode))


def _tiles(strip: NDArray[Any], aspect: float) -> NDArray[Any]:
    """(N, H, W, …): the pictures that stand side by side in a filmstrip."""
    height, whole = strip.shape[:2]
    count = max(1, round(whole / (height * aspect)))
    width = whole // count
    return np.stack([strip[:, at * width : (at + 1) * width] for at in range(count)])


def _turn(tiles: NDArray[np.float64]) -> Stretch | None:
    """Between which moments the picture becomes another for good, where it is one picture before and one after.

    What changes all the time is a shot that moves, and what comes out of black is a fade.
    """
    count, height, width = tiles.shape
    rows, columns = min(_CELLS, height), min(_CELLS, width)
    cut = tiles[:, : height // rows * rows, : width // columns * columns]
    cells = cut.reshape(count, rows, -1, columns, cut.shape[2] // columns).mean(axis=(2, 4)).reshape(count, -1)
    cells = cells - cells.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(cells, axis=1)
    if count < _LEAST_MOMENTS or norms.min() < 1e-3:
        return None
    alike = (cells[1:] * cells[:-1]).sum(axis=1) / (norms[1:] * norms[:-1])
    at = int(np.argmin(alike))
    change, usual = 1 - alike[at], 1 - np.delete(alike, at).min()
    is_turn = change > _ANOTHER and change > _STANDS_OUT * usual
    return ((at - _AROUND) / count, (at + 1 + _AROUND) / count) if is_turn else None


def _bars(brightest: NDArray[np.float32]) -> tuple[int, int, int, int]:
    """The part of a picture that is ever lit: left, top, right, bottom. All where less than half is left."""
    found = []
    for axis in (1, 0):
        lit = np.flatnonzero(np.quantile(brightest, 0.9, axis=axis) > _BLACK)
        size = brightest.shape[1 - axis]
        first, last = (int(lit[0]), int(lit[-1]) + 1) if len(lit) else (0, size)
        even = min(first, size - last)  # bars come in pairs; what is dark on one side only is picture
        found.append((even, size - even) if even >= _LEAST_BAR * size and size - 2 * even >= size / 2 else (0, size))
    (top, bottom), (left, right) = found
    return left, top, right, bottom


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
        tiles = _tiles(_opened_strip(strip, "RGB"), width / height)
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


def _known(ws: Workspace, rows: Sequence[ClipRow], fits: Sequence[float]) -> list[Candidate]:
    """Looks of all in one read; speech and captions only of assets that have them."""
    looks = ws.library.descriptors_of(row.id for row in rows)
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
