"""Storyboards side by side as one picture, made of the filmstrips the scan kept: nothing is decoded.

Start reading at `draw_sheet`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from malan.apps.promo.board import Shot, Storyboard

if TYPE_CHECKING:
    from PIL.Image import Image

    from malan.apps.frame import Work
    from malan.services.clips.search import ClipRow

_HEIGHT, _GAP, _BAR = 108, 6, 22
_MOST = 24  # shots of a version that are shown
_GROUND, _INK, _DIM = (24, 24, 27), (244, 244, 245), (161, 161, 170)


def draw_sheet(boards: Sequence[Storyboard], work: Work, out: Path) -> Path:
    """One row a version: its shots with their seconds; long ones go on in the next row."""
    from PIL import Image, ImageDraw

    rows = [[_tile(shot, board, work) for shot in board.shots[:_MOST]] for board in boards]
    widest = max(tile.width for row in rows for tile in row)
    columns = min(6, max(len(row) for row in rows))
    lines = [row[at : at + columns] for row in rows for at in range(0, len(row), columns)]
    size = (columns * (widest + _GAP) + _GAP, len(lines) * (_HEIGHT + _BAR + _GAP) + _GAP)
    sheet = Image.new("RGB", size, _GROUND)
    pen = ImageDraw.Draw(sheet)
    top = _GAP
    for number, (board, row) in enumerate(zip(boards, rows, strict=True), 1):
        at = 0
        for place, tile in enumerate(row):
            column = place % columns
            left = _GAP + column * (widest + _GAP)
            sheet.paste(tile, (left, top))
            shot = board.shots[place]
            told = f"{number}.{place + 1}   {at / board.rate:.1f} s   +{shot.frames / board.rate:.1f} s"
            pen.text((left + 1, top + _HEIGHT + 5), told, fill=_INK if column == 0 else _DIM)
            at += shot.frames
            if column == columns - 1 or place == len(row) - 1:
                top += _HEIGHT + _BAR + _GAP
    held = io.BytesIO()
    sheet.save(held, "JPEG", quality=88)
    out.write_bytes(held.getvalue())
    return out


def _tile(shot: Shot, board: Storyboard, work: Work) -> Image:
    """The picture of the filmstrip that is nearest to the middle of the shot; grey where there is none."""
    from PIL import Image

    row = work.library.library.clip(shot.clip)
    strip = work.library.library.filmstrip(shot.clip)
    aspect = _aspect(row, work)
    size = (round(_HEIGHT * aspect), _HEIGHT)
    if strip is None:
        return Image.new("RGB", size, (64, 64, 64))
    with Image.open(io.BytesIO(strip)) as held:
        count = max(1, round(held.width / (held.height * aspect)))
        width = held.width // count
        length = max(1e-6, row.span.end_s - row.span.start_s)
        middle = (shot.from_s + shot.frames / board.rate / 2 - row.span.start_s) / length
        place = min(count - 1, max(0, int(middle * count)))
        return held.convert("RGB").crop((place * width, 0, (place + 1) * width, held.height)).resize(size)


def _aspect(row: ClipRow, work: Work) -> float:
    track = work.library.library.asset(row.clip.asset_id).asset.first("video")
    size = track.shown_size_px if track else None
    return size[0] / size[1] if size else 16 / 9
