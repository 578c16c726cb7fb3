"""Still pictures of a film as JPEG: thumbnails, contact sheets, and sprite sheets with their map.

Upright, square pixels, HDR in the range of usual screens, BT.601 full range as JFIF has it. A frame that cannot be
decoded is a grey picture, so that one damaged second does not cost the whole sheet. Suffix letters of arrays: T time,
H height, W width, C colour.
Start at `thumbnails`; `sprites` is what a player shows above its time line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

from malan.core.errors import MediaError, StoreError, UsageError
from malan.core.time import timecode
from malan.media.index import PacketIndex
from malan.media.reader import ClipReader
from malan.media.sniff import shown

_GREY = 64
_QUANTISER = 4  # 2 (best) to 31
_MOST_TILES = 10_000

Picture = NDArray[np.uint8]  # HWC, RGB, 0–255


def encode_jpeg(picture_HWC: Picture) -> bytes:
    """An RGB picture as a baseline JPEG; odd sides stay odd."""
    height, width = picture_HWC.shape[:2]
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuvj420p"
    encoder.time_base = Fraction(1, 25)
    encoder.options = {"qmin": str(_QUANTISER), "qmax": str(_QUANTISER), "huffman": "optimal"}
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture_HWC), format="rgb24").reformat(
        format="yuvj420p", dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.JPEG, threads=1
    )
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def thumbnails(path: str | Path, index: PacketIndex, frames: Sequence[int], *, height_px: int = 180) -> list[bytes]:
    """The frames as JPEG pictures of that height, upright, in the order asked.

    Raises:
        MediaError: The file cannot be opened.
        UsageError: A frame does not exist.
    """
    return [encode_jpeg(picture) for picture in pictures(path, index, frames, height_px=height_px)]


def pictures(path: str | Path, index: PacketIndex, frames: Sequence[int], *, height_px: int) -> Iterator[Picture]:
    """The same as arrays, (H, W, C). Groups of pictures that several frames share are decoded once."""
    with ClipReader(path, index, upright=True, in_range=True) as reader:
        width, height = reader.shape.shown(None)
        size = max(1, round(width * height_px / height)), height_px
        windows = [(frame, frame + 1) for frame in frames]
        try:
            yield from (batch.frames_THWC[0] for batch in list(reader.windows(windows, size=size)))
            return
        except MediaError:
            pass
        for window in windows:
            try:
                yield reader.frames(*window, size=size).frames_THWC[0]
            except MediaError:
                yield np.full((size[1], size[0], 3), _GREY, np.uint8)


def contact_sheet(
    path: str | Path,
    index: PacketIndex,
    frames: Sequence[int],
    out: str | Path,
    *,
    columns: int = 6,
    height_px: int = 120,
) -> None:
    """Write the frames as tiles of one JPEG, row by row, in the order given.

    Raises:
        UsageError: No frames, or more than a sheet holds.
        StoreError: The sheet could not be written.
    """
    if not 0 < len(frames) <= _MOST_TILES or columns < 1:
        raise UsageError("thumbs.bad_sheet", count=len(frames), most=_MOST_TILES)
    sheet = _tiled(list(pictures(path, index, frames, height_px=height_px)), min(columns, len(frames)))
    if max(sheet.shape[:2]) > 65_500:
        raise UsageError("thumbs.too_large", width=sheet.shape[1], height=sheet.shape[0])
    try:
        Path(out).write_bytes(encode_jpeg(sheet))
    except OSError as error:
        Path(out).unlink(missing_ok=True)
        raise StoreError("cutting.not_written", path=shown(out), detail=error.strerror or str(error)) from error


@dataclass(frozen=True)
class Cue:
    """Which tile shows a stretch of time: seconds, sheet number, place in its pixels."""

    start_s: float
    end_s: float
    sheet: int
    x_px: int
    y_px: int


@dataclass(frozen=True)
class Sprites:
    """Sheets of small pictures over a whole film, and which part of which sheet belongs to which time."""

    sheets: tuple[bytes, ...]  # JPEG
    tile_px: tuple[int, int]
    cues: tuple[Cue, ...]

    def to_webvtt(self, address: str = "sprites-{sheet}.jpg") -> str:
        """A WebVTT file as players read it: each cue names a sheet and a rectangle in it."""
        width, height = self.tile_px
        lines = ["WEBVTT", ""]
        for cue in self.cues:
            place = f"{address.format(sheet=cue.sheet)}#xywh={cue.x_px},{cue.y_px},{width},{height}"
            lines += [f"{timecode(cue.start_s)} --> {timecode(cue.end_s)}", place, ""]
        return "\n".join(lines)

    def to_json(self, address: str = "sprites-{sheet}.jpg") -> str:
        """The same map as JSON: `{"tile", "sheets", "cues": [[start_s, end_s, sheet, x, y], …]}`."""
        sheets = [address.format(sheet=i) for i in range(len(self.sheets))]
        cues = [[round(c.start_s, 6), round(c.end_s, 6), c.sheet, c.x_px, c.y_px] for c in self.cues]
        return json.dumps({"tile": list(self.tile_px), "sheets": sheets, "cues": cues})


def sprites(
    path: str | Path,
    index: PacketIndex,
    *,
    every_s: Fraction | int = 2,
    height_px: int = 90,
    columns: int = 10,
    rows: int = 10,
) -> Sprites:
    """One small picture for every `every_s` seconds of a film.

    A stretch that holds a key frame shows its first one, which costs one decode; else the frame in its middle.
    Seconds are those of the file's clock.
    """
    stretches = _stretches(index, Fraction(every_s))
    if not 0 < len(stretches) <= _MOST_TILES or min(columns, rows) < 1:
        raise UsageError("thumbs.bad_sheet", count=len(stretches), most=_MOST_TILES)
    tiles = pictures(path, index, [frame for *_, frame in stretches], height_px=height_px)
    sheets: list[bytes] = []
    cues: list[Cue] = []
    waiting: list[Picture] = []
    for number, ((start_s, end_s, _), tile) in enumerate(zip(stretches, tiles, strict=True)):
        place = number % (columns * rows)
        height, width = tile.shape[:2]
        cues.append(Cue(start_s, end_s, len(sheets), place % columns * width, place // columns * height))
        waiting.append(tile)
        if len(waiting) == columns * rows or number == len(stretches) - 1:
            sheets.append(encode_jpeg(_tiled(waiting, min(columns, len(waiting)))))
            waiting = []
    return Sprites(tuple(sheets), (width, height), tuple(cues))


def _stretches(index: PacketIndex, every: Fraction) -> list[tuple[float, float, int]]:
    """Start and end of each stretch in seconds, and the frame that stands for it."""
    if index.frame_count == 0 or every <= 0:
        return []
    whole = index.span(0, index.frame_count)
    count = int(-(-whole.duration // every))
    key_ticks = index.frame_pts[index.key_frames]
    found = []
    for i in range(min(count, _MOST_TILES + 1)):
        start = whole.start * whole.timebase + i * every
        end = min(start + every, whole.end * whole.timebase)
        first, stop = (int(t / whole.timebase) for t in (start, end))
        key = int(np.searchsorted(key_ticks, first))
        has_key = key < len(key_ticks) and key_ticks[key] < stop
        frame = int(index.key_frames[key]) if has_key else index.frame_at((first + stop) // 2)
        found.append((float(start), float(end), frame))
    return found


def _tiled(tiles: Sequence[Picture], columns: int) -> Picture:
    """Pictures of one size side by side, row by row, on black."""
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // columns)
    sheet_HWC = np.zeros((rows * height, columns * width, 3), np.uint8)
    for i, tile in enumerate(tiles):
        y, x = i // columns * height, i % columns * width
        sheet_HWC[y : y + height, x : x + width] = tile
    return sheet_HWC
