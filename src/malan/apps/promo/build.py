"""From a storyboard to what is rendered: pieces with their files and views, what is written, where it all comes from.

    storyboard ─ lay ─▶ pieces, words, sources (all that sound needs) ─ framed ─▶ and how each format shows them

Rights are asked for every clip again: a storyboard may be days old. Start reading at `build`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING

from malan.apps.frame import Work
from malan.apps.promo.board import Shot, Storyboard
from malan.apps.promo.captions import Line, captions_of, cards_of
from malan.apps.promo.fonts import check_glyphs
from malan.apps.promo.looking import Asked, frame_pieces, still_seen
from malan.apps.promo.plan import USES
from malan.apps.promo.request import format_of
from malan.apps.promo.subjects import Box
from malan.apps.promo.writing import write_script
from malan.core import Clip, Span
from malan.core.errors import UsageError
from malan.media.render import Cover, Piece, Timeline, matrix_of, primaries_of
from malan.services.clips.picking import Candidate, Footage, Shelf, chosen
from malan.services.clips.strips import Face, faces_in, look_into
from malan.services.outputs.manifests import Source

if TYPE_CHECKING:
    from malan.services.clips.search import ClipRow


_EARLY_S = 0.16  # captions come and go softly
_AROUND = (0.012, 0.01)  # of the picture: what is covered beside and above a caption
_OF_FACE = 0.15


@dataclass(frozen=True)
class Built:
    """All that rendering and telling need."""

    timeline: Timeline
    rows: tuple[ClipRow, ...]  # of each shot
    footage: tuple[Footage, ...]  # of each shot
    sources: tuple[Source, ...]
    captions: tuple[Line, ...]


def build(board: Storyboard, script: str, work: Work) -> Built:
    """A storyboard as a timeline.

    Args:
        script: Words for captions over the whole film; shots' own texts win over it.

    Raises:
        NotGranted: A clip may not be used (any more); it is named.
        NotFound: A clip or its file is gone.
        UsageError: A shot reaches beyond its clip, the script is too long for the time, or no font can write it.
    """
    return framed(lay(board, script, work), work)


def lay(board: Storyboard, script: str, work: Work) -> Built:
    """The same without views: every picture is framed by its middle.

    Raises:
        NotGranted, NotFound, UsageError: As `build`.
    """
    known = chosen(work.library, [shot.clip for shot in board.shots], USES, caller=work.caller)
    shelf = Shelf(work.library, USES, work.caller)
    footage = [shelf.footage(one.row) for one in known]
    faces = faces_in(work.library, [one.row for one in known if one.captions])
    formats = tuple(format_of(shape, board.lines) for shape in dict.fromkeys(board.formats))
    pieces = tuple(
        _piece(board, shot, one, file, shelf, faces.get(one.row.id, ()))
        for shot, one, file in zip(board.shots, known, footage, strict=True)
    )
    lines = captions_of(board, script)
    written = [*cards_of(board), *lines]
    check_glyphs(line.text for line in written)
    scripts = {form.name: write_script(written, form, board.style) for form in formats} if written else {}
    timeline = Timeline(Fraction(board.rate), pieces, formats, scripts)
    rows = tuple(one.row for one in known)
    return Built(timeline, rows, tuple(footage), tuple(_sources(board, timeline, rows)), tuple(lines))


def framed(built: Built, work: Work) -> Built:
    """What was laid, with a view for every piece and format.

    Raises:
        MediaError: A file cannot be decoded.
    """
    timeline, rows = built.timeline, built.rows
    strips = look_into(work.library, list({row.id: row for row in rows}.values()))
    asked = [
        Asked(
            piece, row.clip.asset_id, strips[row.id].active if row.id in strips else (0.0, 0.0, 1.0, 1.0),
            has_faces=row.measures.get("face_share", 0.0) > 0,
            written=tuple((one.x, one.y, one.width, one.height) for one in piece.covers),
        )
        for piece, row in zip(timeline.pieces, rows, strict=True)
    ]  # fmt: skip
    views = frame_pieces(
        asked, timeline.rate, timeline.formats, work.library.folder("cache") / "views",
        lambda done: work.progress(done, len(rows), rows[done].file_name),
    )  # fmt: skip
    pieces = tuple(
        replace(piece, views=one, covers=still_seen(piece, one, timeline.formats))
        for piece, one in zip(timeline.pieces, views, strict=True)
    )
    return replace(built, timeline=replace(timeline, pieces=pieces))


def _piece(board: Storyboard, shot: Shot, one: Candidate, file: Footage, shelf: Shelf, faces: Sequence[Face]) -> Piece:
    length = shot.frames / board.rate
    span = one.row.span
    if shot.from_s < span.start_s - 0.05 or shot.from_s + length > span.end_s + 0.05:
        raise UsageError(
            "promo.beyond_clip", shot=board.shots.index(shot) + 1, clip=shot.clip[:12],
            start=f"{span.start_s:.2f}", end=f"{span.end_s:.2f}",
            from_s=f"{shot.from_s:.2f}", until_s=f"{shot.from_s + length:.2f}",
        )  # fmt: skip
    size = file.video.shown_size_px or (16, 16)
    size = (2 * (size[0] // 2), 2 * (size[1] // 2))
    return Piece(
        name=one.row.id,
        path=str(file.path),
        start=shelf.frame_start(one.row, shot.from_s),
        frames=shot.frames,
        size=size,
        track=file.video.index,
        covers=tuple(_covers(one, faces, shot.from_s, length)) if shot.cover_captions else (),
        gain_db=0.0 if shot.sound else None,
        sound_track=file.sound_track,
        is_interlaced=bool(file.video.is_interlaced),
        is_hdr=file.is_hdr,
        matrix=_matrix(str(file.path), file.video.index),
        primaries=primaries_of(file.path, file.video.index) if file.is_hdr else "",
    )


@lru_cache(maxsize=256)
def _matrix(path: str, track: int) -> str:
    return matrix_of(path, track)


def _covers(one: Candidate, faces: Sequence[Face], from_s: float, length_s: float) -> Iterator[Cover]:
    """Where old captions stand in a shot, and when; none where a face would be covered with them."""
    for begin, end, (x, y, wide, high) in one.captions:
        begin_s, end_s = begin - from_s - _EARLY_S, end - from_s + _EARLY_S
        if begin_s >= length_s or end_s <= 0:
            continue
        left, top = max(0.0, x - _AROUND[0]), max(0.0, y - _AROUND[1])
        right, bottom = min(1.0, x + wide + _AROUND[0]), min(1.0, y + high + _AROUND[1])
        if not any(_meet((left, top, right - left, bottom - top), face) for at, face in faces if begin <= at <= end):
            yield Cover(
                left, top, right - left, bottom - top, round(max(0.0, begin_s), 3), round(min(length_s, end_s), 3)
            )


def _meet(one: Box, other: Box) -> bool:
    """Whether two boxes have a good part of the second in common."""
    wide = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    high = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    return wide > 0 and high > 0 and wide * high > _OF_FACE * other[2] * other[3]


def _sources(board: Storyboard, timeline: Timeline, rows: Sequence[ClipRow]) -> list[Source]:
    """For every second of the promo the stretch of footage that is shown, exact to the tick."""
    found, at = [], 0
    for shot, piece, row in zip(board.shots, timeline.pieces, rows, strict=True):
        base = row.span.timebase
        first = round(piece.start / base)
        end = first + max(1, round(Fraction(shot.frames, board.rate) / base))
        used = Clip(row.clip.asset_id, row.clip.track, Span(first, end, base))
        parts = ("picture", "sound") if shot.sound else ("picture",)
        times = Fraction(at, board.rate), Fraction(at + shot.frames, board.rate)
        found.append(Source(used, row.owner_id, row.terms_id, *times, parts))
        at += shot.frames
    return found
