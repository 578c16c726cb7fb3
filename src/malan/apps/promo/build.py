"""From a storyboard to what is rendered: pieces with their files and views, what is written, where it all comes from.

    storyboard ─ lay ─▶ pieces, words, sources (all that sound needs) ─ framed ─▶ and how each format shows them

Rights are asked for every clip again: a storyboard may be days old. Start reading at `build`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING

from malan.apps.frame import Work
from malan.apps.promo.board import Shot, Storyboard
from malan.apps.promo.captions import Line, captions_of, cards_of
from malan.apps.promo.fonts import check_glyphs
from malan.apps.promo.looking import Asked, frame_pieces
from malan.apps.promo.plan import USES
from malan.apps.promo.request import format_of
from malan.apps.promo.writing import write_script
from malan.core import Clip, Span
from malan.core.errors import UsageError
from malan.media.render import Piece, Timeline, matrix_of, primaries_of
from malan.services.clips.picking import Candidate, Footage, Shelf, chosen
from malan.services.clips.strips import look_into
from malan.services.outputs.manifests import Source

if TYPE_CHECKING:
    from malan.services.clips.search import ClipRow


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
    formats = tuple(format_of(shape, board.lines) for shape in dict.fromkeys(board.formats))
    pieces = tuple(
        _piece(board, shot, one, file, shelf) for shot, one, file in zip(board.shots, known, footage, strict=True)
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
        )
        for piece, row in zip(timeline.pieces, rows, strict=True)
    ]  # fmt: skip
    views = frame_pieces(
        asked, timeline.rate, timeline.formats, work.library.folder("cache") / "views",
        lambda done: work.progress(done, len(rows), rows[done].file_name),
    )  # fmt: skip
    pieces = tuple(replace(piece, views=one) for piece, one in zip(timeline.pieces, views, strict=True))
    return replace(built, timeline=replace(timeline, pieces=pieces))


def _piece(board: Storyboard, shot: Shot, one: Candidate, file: Footage, shelf: Shelf) -> Piece:
    length = shot.frames / board.rate
    span = one.row.span
    if shot.from_s < span.start_s - 0.05 or shot.from_s + length > span.end_s + 0.05:
        raise UsageError(
            "promo.beyond_clip", clip=shot.clip[:12], start=f"{span.start_s:.2f}", end=f"{span.end_s:.2f}",
            from_s=f"{shot.from_s:.2f}", until_s=f"{shot.from_s + length:.2f}",
        )  # fmt: skip
    size = file.video.shown_size_px or (16, 16)
    size = (2 * (size[0] // 2), 2 * (size[1] // 2))
    covers = tuple(box for a, b, box in one.captions if a < shot.from_s + length and b > shot.from_s)
    return Piece(
        name=one.row.id,
        path=str(file.path),
        start=shelf.frame_start(one.row, shot.from_s),
        frames=shot.frames,
        size=size,
        track=file.video.index,
        covers=_together(covers) if shot.cover_captions else (),
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


def _together(
    boxes: Sequence[tuple[float, float, float, float]],
) -> tuple[tuple[float, float, float, float], ...]:
    """One box around all, a little larger; none where there is none."""
    if not boxes:
        return ()
    left, top = min(box[0] for box in boxes) - 0.01, min(box[1] for box in boxes) - 0.012
    right, bottom = max(box[0] + box[2] for box in boxes) + 0.01, max(box[1] + box[3] for box in boxes) + 0.012
    left, top, right, bottom = max(0.0, left), max(0.0, top), min(1.0, right), min(1.0, bottom)
    return ((left, top, right - left, bottom - top),)


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
