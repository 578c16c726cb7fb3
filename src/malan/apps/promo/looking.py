"""How every shot is framed in every format: looked at side by side, and remembered, so that an edit looks at little.

Faces are looked for only in clips that showed some when they were scanned.

Start reading at `frame_pieces`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from malan.apps.promo.framing import LINES, VERSION, frame_formats
from malan.apps.promo.subjects import Box
from malan.core.ids import digest_record
from malan.inference.faces import FaceFinder, has_face_weights
from malan.media.render import Cover, Format, Key, Piece, View
from malan.media.render.graph import window
from malan.media.render.looks import look_along

LOOKS_A_SECOND = 6.0
_MOST_LOOKS = 48
_FACES_EVERY = 3  # looks, twice a second; between them heads are taken to move evenly
_ENLARGED = 2.0
_SAME_SHAPE = 0.03
_MOST_ENLARGED, _LEAST_LEFT = 1.3, 0.35  # of a picture whose captions are cut away; of its height that must be left
_MOST_KEPT, _LEFT = 4000, 3000

Views = dict[str, View]


@dataclass(frozen=True)
class Asked:
    """A piece to be framed: `active` is its picture without black bars, as shares; `asset` names its file.

    `written` is where old captions stand in it, as shares.
    """

    piece: Piece
    asset: str
    active: Box
    has_faces: bool = False
    written: tuple[Box, ...] = ()


def frame_pieces(
    asked: Sequence[Asked], rate: Fraction, formats: Sequence[Format], kept: Path, tell: Callable[[int], None]
) -> list[Views]:
    """The views of every piece.

    Args:
        kept: A folder in which they are remembered.
        tell: Given how many are done; what it raises ends the work.

    Raises:
        MediaError: A file cannot be decoded.
    """
    kept.mkdir(parents=True, exist_ok=True)
    _tidy(kept)
    wanted = any(one.has_faces for one in asked) and has_face_weights()
    finder = FaceFinder(enlarge=_ENLARGED) if wanted else None
    found = []
    with ThreadPoolExecutor(len(os.sched_getaffinity(0)), "malan-look") as pool:
        try:
            for done, views in enumerate(pool.map(lambda one: _views(one, rate, formats, kept, finder), asked)):
                tell(done)
                found.append(views)
        finally:
            pool.shutdown(cancel_futures=True)
    return found


def _views(one: Asked, rate: Fraction, formats: Sequence[Format], kept: Path, finder: FaceFinder | None) -> Views:
    """Remembered ones, else new ones. A picture is looked at only where something of it is cut off."""
    piece, eyes = one.piece, finder if one.has_faces else None
    actives = {form.name: without_written(one.active, one.written, piece.size, form) for form in formats}
    other = [form for form in formats if not _is_shape_of(actives[form.name], piece.size, form)]
    views: Views = {}
    for form in formats:
        if form not in other and _has_bars(actives[form.name]):
            views |= frame_formats((), (), piece.size, [form], actives[form.name])
    if not other:
        return views
    shapes = [[form.name, form.width, form.height, *(repr(float(n)) for n in actives[form.name])] for form in other]
    name = digest_record(
        "promo.views",
        [
            VERSION,
            one.asset,
            piece.track,
            str(piece.start),
            piece.frames,
            str(rate),
            list(piece.size),
            shapes,
            eyes is not None,
        ],
    )
    held = _recall(kept / f"{name}.json")
    if held is None:
        held = _looked(piece, actives, float(piece.frames / rate), other, eyes)
        _remember(kept / f"{name}.json", held)
    return views | held


def _is_shape_of(active: Box, size: tuple[int, int], form: Format) -> bool:
    shown = size[0] * active[2] / (size[1] * active[3])
    return abs(float(form.aspect) / shown - 1) <= _SAME_SHAPE


def without_written(active: Box, written: Sequence[Box], size: tuple[int, int], form: Format) -> Box:
    """The picture without the band in which old captions stand, where a format need not be enlarged much for that."""
    if not written:
        return active
    left, top, wide, high = active
    bottom = top + high
    above, below = min(box[1] for box in written), max(box[1] + box[3] for box in written)
    parts = [(left, top, wide, above - top), (left, below, wide, bottom - below)]
    best = max(parts, key=lambda part: part[3])
    if best[3] < _LEAST_LEFT * high:
        return active
    whole, rest = (window((round(size[0] * box[2]), round(size[1] * box[3])), form, 1.0)[0] for box in (active, best))
    return best if rest * _MOST_ENLARGED >= whole else active


def still_seen(piece: Piece, views: Views, formats: Sequence[Format]) -> tuple[Cover, ...]:
    """The covers of a piece that some format shows anything of."""
    return tuple(
        one for one in piece.covers if any(_shows(views.get(f.name, View()), piece.size, f, one) for f in formats)
    )


def _shows(view: View, size: tuple[int, int], form: Format, cover: Cover) -> bool:
    if view.is_whole:
        x, y, wide, high = view.part
        return x < cover.x + cover.width and x + wide > cover.x and y < cover.y + cover.height and y + high > cover.y
    wide, high = (length / side for length, side in zip(window(size, form, view.zoom), size, strict=True))
    return any(
        abs(_within(key.x, wide) - (cover.x + cover.width / 2)) < (wide + cover.width) / 2
        and abs(_within(key.y, high) - (cover.y + cover.height / 2)) < (high + cover.height) / 2
        for key in view.keys
    )


def _within(middle: float, length: float) -> float:
    """The middle of a window as it is shown: within the picture."""
    return min(max(middle, length / 2), 1 - length / 2) if length < 1 else 0.5


def _has_bars(active: Box) -> bool:
    return active[2] * active[3] < 0.99


def _looked(
    piece: Piece, actives: Mapping[str, Box], length_s: float, formats: Sequence[Format], finder: FaceFinder | None
) -> Views:
    a_second = min(LOOKS_A_SECOND, _MOST_LOOKS / length_s)
    seen = look_along(piece.path, piece.track, piece.start, length_s, a_second=a_second, lines=LINES)
    faces = faces_along(seen.pictures, finder) if finder else ()
    found: Views = {}
    for active in dict.fromkeys(actives[form.name] for form in formats):
        alike = [form for form in formats if actives[form.name] == active]
        found |= frame_formats(seen.pictures, seen.times_s, piece.size, alike, active, faces)
    return found


def faces_along(pictures: Sequence[NDArray[np.uint8]], finder: FaceFinder) -> list[list[Box]]:
    """The faces in each of some pictures of one shot, looked at two times a second.

    A face missed once between two is held; what is seen in one picture of several only is none.
    """
    found = [sorted((x, y, w, h) for x, y, w, h, _ in faces) for faces in finder.find(pictures[::_FACES_EVERY])]
    if sum(map(bool, found)) == 1 < len(found) - 1:
        return [[] for _ in pictures]
    held = [
        now or (before if after else [])
        for before, now, after in zip([[], *found], found, [*found[1:], []], strict=False)
    ]
    last = len(held) - 1
    return [
        _between(held[place // _FACES_EVERY], held[min(place // _FACES_EVERY + 1, last)], place % _FACES_EVERY)
        for place in range(len(pictures))
    ]


def _between(before: list[Box], after: list[Box], steps: int) -> list[Box]:
    """Faces so many looks after one picture, before the next: on their way where there are as many, else the nearer."""
    share = steps / _FACES_EVERY
    if len(before) != len(after):
        return before if share < 0.5 else after
    return [_on_the_way(one, other, share) for one, other in zip(before, after, strict=True)]


def _on_the_way(one: Box, other: Box, share: float) -> Box:
    x, y, wide, high = (a + share * (b - a) for a, b in zip(one, other, strict=True))
    return x, y, wide, high


def _recall(file: Path) -> Views | None:
    try:
        held = json.loads(file.read_text("utf-8"))
        return {
            name: View(
                tuple(Key(*map(float, key)) for key in said["keys"]), float(said["zoom"]), bool(said["is_whole"])
            )
            for name, said in held.items()
        }
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _view(said: dict[str, Any]) -> View:
    keys = tuple(Key(float(key["at_s"]), float(key["x"]), float(key["y"])) for key in said["keys"])
    x, y, wide, high = (float(side) for side in said["part"])
    return View(keys, float(said["zoom"]), bool(said["is_whole"]), (x, y, wide, high))


def _remember(file: Path, views: Views) -> None:
    told = {
        name: {**asdict(view), "keys": [[key.at_s, key.x, key.y] for key in view.keys]} for name, view in views.items()
    }
    work = file.with_name(f".malan-{os.getpid()}-{file.name}")
    work.write_text(json.dumps(told), "utf-8")
    work.replace(file)


def _tidy(kept: Path) -> None:
    """Forget the oldest when there are many."""
    files = list(kept.glob("*.json"))
    if len(files) > _MOST_KEPT:
        for file in sorted(files, key=lambda one: one.stat().st_mtime_ns)[: len(files) - _LEFT]:
            file.unlink(missing_ok=True)
