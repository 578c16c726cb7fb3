"""What the filmstrip of a clip tells: how light it is when, its bars, faces, and where one picture becomes another.

A filmstrip is a few small pictures the scan kept, so nothing is decoded to choose a shot. Start reading at `look_into`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from malan.services.clips.search import ClipRow
    from malan.workspace import Workspace

_BLACK, _LEAST_BAR = 0.09, 0.03
_CELLS = 8  # of a picture, a side, when it is held against the next
_LEAST_MOMENTS = 3
_ANOTHER, _STANDS_OUT = 0.3, 4.0  # one less correlation: of another picture, and so many times that of the others
_OTHER = 0.09  # of the pixels have another shade in another picture
_EVEN, _DRAWN, _MOST_DRAWN = 6, 60, 0.2  # codes: within a ground, off it; of a picture, what stands on a board
_AROUND = 0.25  # of the time between two pictures: dissolves begin before what is seen of them
Stretch = tuple[float, float]
Face = tuple[float, tuple[float, float, float, float]]
"""Seconds of the file at which it was seen, and its box in shares of the picture; an empty one where nobody said."""


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
    board: NDArray[np.float32] | None = None  # how far it is a board of text or a credit: a plain ground, little on it
    aspect: float = 0.0  # width over height of the picture without its bars; 0: not known
    faces_s: tuple[float, ...] = ()  # seconds of the file at which faces were seen


def look_into(ws: Workspace, rows: Sequence[ClipRow]) -> dict[str, Strip]:
    """What the filmstrips of some clips tell, by clip; those without one are left out. Nothing is decoded but them."""
    found = {}
    assets = ws.library.assets_by_id({row.clip.asset_id for row in rows})
    clear, faces = _clear(ws, rows), faces_in(ws, rows)
    for row in rows:
        strip, track = ws.library.filmstrip(row.id), assets[row.clip.asset_id].asset.first("video")
        size = track.shown_size_px if track else None
        if strip and size:
            read, aspect = read_strip(strip, size[0] / size[1]), size[0] / size[1]
            shown = aspect * read.active[2] / read.active[3]
            whole = _without_turn(clear[row.id], row, read.turn)
            found[row.id] = replace(
                read, clear=whole, aspect=shown, faces_s=tuple(dict.fromkeys(at for at, _ in faces.get(row.id, ())))
            )
    return found


def _without_turn(clear: Stretch, row: ClipRow, turn: Stretch | None) -> Stretch:
    """The longer part of a stretch, before or after the picture becomes another."""
    if turn is None:
        return clear
    start, length = row.span.start_s, row.span.end_s - row.span.start_s
    before, after = (clear[0], start + turn[0] * length), (start + turn[1] * length, clear[1])
    return max(before, after, key=lambda part: part[1] - part[0])


def faces_in(ws: Workspace, rows: Sequence[ClipRow]) -> dict[str, tuple[Face, ...]]:
    """When faces were seen in those clips that show any, and where; by clip."""
    wanted = [row.id for row in rows if row.measures.get("face_share", 0.0) > 0]
    found = ws.library.findings_about("privacy.face", wanted) if wanted else []
    return {one.clip.id: tuple(sorted(set(_faces(one.value.get("faces"))))) for one in found}


def _faces(said: object) -> Iterator[Face]:
    """When and where faces were seen; what somebody else's operator wrote otherwise is passed over."""
    for face in said if isinstance(said, list | tuple) else ():
        at = face.get("at_s") if isinstance(face, Mapping) else None
        box = face.get("box") if isinstance(face, Mapping) else None
        if isinstance(at, int | float):
            is_box = isinstance(box, list | tuple) and len(box) == 4 and all(isinstance(n, int | float) for n in box)
            x, y, wide, high = (float(n) for n in box) if isinstance(box, list | tuple) and is_box else (0.0,) * 4
            yield float(at), (x, y, wide, high)


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
    pictures = tiles_of(opened_strip(jpeg, "RGB"), aspect)
    tiles = pictures @ np.asarray((0.299, 0.587, 0.114), np.float32) / 255
    left, top, right, bottom = _bars(tiles.max(axis=0))
    inner = tiles[:, top:bottom, left:right]
    _, height, width = tiles.shape
    active = (left / width, top / height, (right - left) / width, (bottom - top) / height)
    light, spread, black = inner.mean(axis=(1, 2)), inner.std(axis=(1, 2)), (inner < _BLACK).mean(axis=(1, 2))
    plain = np.asarray([_board(one[top:bottom, left:right]) for one in pictures], np.float32)
    return Strip(light, spread, black, active, _turn(inner), board=plain)


def opened_strip(jpeg: bytes, mode: str) -> NDArray[np.uint8]:
    import io

    from PIL import Image

    with Image.open(io.BytesIO(jpeg)) as picture:
        return np.asarray(picture.convert(mode))


def tiles_of(strip: NDArray[Any], aspect: float) -> NDArray[Any]:
    """(N, H, W, …): the pictures that stand side by side in a filmstrip."""
    height, whole = strip.shape[:2]
    count = max(1, round(whole / (height * aspect)))
    width = whole // count
    return np.stack([strip[:, at * width : (at + 1) * width] for at in range(count)])


def _turn(tiles: NDArray[np.float64]) -> Stretch | None:
    """Between which moments the picture becomes another for good, where it is one picture before and one after.

    What changes all the time is a shot that moves, and what comes out of black is a fade. Another picture has other
    shades too: lights of a city at night that wander by are the same picture.
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
    is_turn = change > _ANOTHER and change > _STANDS_OUT * usual and _shades_apart(tiles[at], tiles[at + 1]) > _OTHER
    return ((at - _AROUND) / count, (at + 1 + _AROUND) / count) if is_turn else None


def _board(picture: NDArray[np.uint8]) -> float:
    """How far a picture is nothing but a ground of one colour with a little on it: letters, a sign. 0 to 1.

    What a camera sees is never so even: of real pictures less than half has one colour, of drawn boards four fifths.
    """
    pixels = picture[::2, ::2].reshape(-1, 3).astype(np.int16)
    away = np.abs(pixels - np.median(pixels, axis=0)).max(axis=1)
    ground, drawn = float((away <= _EVEN).mean()), float((away > _DRAWN).mean())
    return float(np.clip((ground - 0.6) / 0.15, 0, 1)) if 0.002 < drawn < _MOST_DRAWN else 0.0


def _shades_apart(one: NDArray[np.floating[Any]], other: NDArray[np.floating[Any]]) -> float:
    """How differently two pictures (0 to 1) share out sixteen shades, 0 to 1."""
    shares = [
        np.bincount((16 * np.clip(tile, 0, 0.999)).astype(int).ravel(), minlength=16) / tile.size
        for tile in (one, other)
    ]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


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
