"""The cover of a film, in each of its formats: the best moment of its best shots, with the title on it.

    shots ─ the best three ─▶ their filmstrips ─ sharp, lit, full of colour ─▶ one ─ framed, written on ─▶ jpg

Start reading at `draw_covers`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from malan.apps.promo.captions import Line
from malan.apps.promo.writing import write_script
from malan.media.render import Cover, Format, Key, Piece, Timeline, View
from malan.media.render.graph import input_options, picture_graph
from malan.media.render.process import from_fd, readable, run_ffmpeg
from malan.media.thumbs import encode_jpeg

if TYPE_CHECKING:
    from malan.apps.promo.board import Storyboard
    from malan.services.clips.picking import Shelf
    from malan.services.clips.search import ClipRow

Picture = NDArray[np.uint8]

_SHOTS = 3
_EDGES = 0.12  # of a shot, at either end: there things come and go
_ONE_FRAME = ("-frames:v", "1", "-pix_fmt", "rgb24", "-f", "rawvideo")
_COVERED = 0.8  # of what a moment is worth at which an old caption is covered
_SAME = 0.9  # of the best: then the better shot


def draw_covers(
    board: Storyboard, timeline: Timeline, rows: Sequence[ClipRow], shelf: Shelf, out: Path
) -> dict[str, Path]:
    """`cover.jpg` of the first format, `cover-9x16.jpg` and so on of the others; by what they are.

    Args:
        timeline: With a view for every piece and format.

    Raises:
        MediaError: The footage cannot be read.
    """
    place, offset = best_moment(board, rows, shelf, timeline.pieces)
    piece = timeline.pieces[place]
    at = shelf.frame_start(rows[place], board.shots[place].from_s + offset)
    still = still_of(piece, at, offset)
    title = [Line(board.title, Fraction(0), Fraction(60), "Cover")] if board.title.strip() else []
    files: dict[str, Path] = {}
    for form, picture in zip(timeline.formats, _drawn(board, timeline, still, title, out), strict=True):
        name = "cover" if not files else f"cover-{form.name}"
        files[name] = out / f"{name}.jpg"
        files[name].write_bytes(encode_jpeg(picture))
    return files


def still_of(piece: Piece, start: Fraction, offset: float) -> Piece:
    """One frame of a piece, from that second of its file on: framed as it is then, what stands there covered."""
    views = {name: _at(view, offset) for name, view in piece.views.items()}
    covers = tuple(replace(one, begin_s=0.0) for one in _standing(piece, offset))
    return replace(piece, start=start, frames=1, views=views, covers=covers)


def _standing(piece: Piece, offset: float) -> list[Cover]:
    """The old captions that are covered at a moment of a piece."""
    return [one for one in piece.covers if one.begin_s <= offset <= one.end_s]


def best_moment(
    board: Storyboard, rows: Sequence[ClipRow], shelf: Shelf, pieces: Sequence[Piece] = ()
) -> tuple[int, float]:
    """Which shot, and how many seconds into it: by the filmstrips, so that nothing is decoded to find it.

    Args:
        pieces: Those of the shots; moments at which nothing is covered go before others.
    """
    found: list[tuple[float, int, float]] = []
    places = sorted(range(len(rows)), key=lambda n: (-board.shots[n].score, n))[:_SHOTS]
    for place in places:
        shot = board.shots[place]
        length = shot.frames / board.rate
        cells = [(at - shot.from_s, picture) for at, picture in shelf.cells(rows[place])]
        inside = [one for one in cells if _EDGES * length <= one[0] <= (1 - _EDGES) * length]
        if not inside and cells:  # a short shot between two pictures of the strip: its middle, by the nearer one
            nearest = min(cells, key=lambda one: abs(one[0] - length / 2))
            inside = [(length / 2, nearest[1])]
        covered = [bool(pieces and _standing(pieces[place], offset)) for offset, _ in inside]
        found += [
            (worth(picture) * (_COVERED if hidden else 1.0), place, offset)
            for (offset, picture), hidden in zip(inside, covered, strict=True)
        ]
    if not found:  # no strips: the middle of the best shot
        return places[0], board.shots[places[0]].frames / board.rate / 2
    best = max(one[0] for one in found)
    good = [one for one in found if one[0] >= _SAME * best]
    return min(((places.index(place), -value, place, offset) for value, place, offset in good))[2:]


def worth(picture: Picture) -> float:
    """How much a picture (height, width, RGB) shows at a glance: sharp, neither dark nor burnt out, coloured."""
    rgb = picture.astype(np.float64) / 255
    grey = rgb @ (0.2126, 0.7152, 0.0722)
    edges = np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean()
    light = float(np.mean((grey > 0.06) & (grey < 0.96)))
    colour = float((rgb.max(axis=2) - rgb.min(axis=2)).mean())
    return float(min(1.0, edges / 0.12) + 0.8 * min(1.0, grey.std() / 0.22) + 0.5 * min(1.0, colour / 0.35)) * light


def _at(view: View, offset: float) -> View:
    """The window as it stands at a moment."""
    times = [key.at_s for key in view.keys]
    x, y = (float(np.interp(offset, times, [getattr(key, axis) for key in view.keys])) for axis in "xy")
    return replace(view, keys=(Key(0.0, x, y),))


def _drawn(board: Storyboard, timeline: Timeline, still: Piece, title: list[Line], out: Path) -> list[Picture]:
    """A frame in all formats, in one decode, with the title on it."""
    work = f".malan-{os.getpid()}-cover"
    scripts, raws = {}, [f"{work}-{form.name}.rgb" for form in timeline.formats]
    with ExitStack() as stack:
        for form in timeline.formats if title else ():
            scripts[form.name] = f"{work}-{form.name}.ass"
            stack.callback((out / scripts[form.name]).unlink, missing_ok=True)
            text = write_script(title, form, board.style)
            (out / scripts[form.name]).write_text(text, "utf-8")
        for raw in raws:
            stack.callback((out / raw).unlink, missing_ok=True)
        [fd] = stack.enter_context(readable([still.path]))
        alone = Timeline(timeline.rate, (still,), timeline.formats)
        arguments = ["-an", "-sn", "-dn", *input_options(still, timeline.rate), *from_fd(fd)]
        arguments += ["-filter_complex", picture_graph(alone, [0], scripts)]
        for form, raw in zip(timeline.formats, raws, strict=True):
            arguments += ["-map", f"[v{form.name}]", *_ONE_FRAME, f"file:{raw}"]
        run_ffmpeg(arguments, [fd], out)
        return [_picture(out / raw, form) for raw, form in zip(raws, timeline.formats, strict=True)]


def _picture(raw: Path, form: Format) -> Picture:
    return np.frombuffer(raw.read_bytes(), np.uint8).reshape(form.height, form.width, 3)
