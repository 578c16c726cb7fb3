"""What every frame of a film shows, seen while captions are read: one decode serves all.

A few thousand points of each frame tell black, stillness and flashing. Twice a second the frame is made smaller once:
that picture tells stripes and is kept as evidence. Now and then a larger look tells combing and what a title card says.
Start at `PictureCheck.see`.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import av
import numpy as np
from numpy.typing import NDArray

from malan.apps.review.measure.flash import FlashMeter, luminance_table, saturated_red
from malan.apps.review.measure.reading import EXACT_S, CardReader
from malan.apps.review.measure.stripes import AREA as STRIPE_AREA
from malan.apps.review.measure.stripes import SIDE_PX, stripe_area
from malan.curation.captions.luma import View
from malan.curation.likeness import thumb_of
from malan.media.picture import clockwise, matrix

Luma = NDArray[np.uint8]

POINTS_SIDE_PX = 108  # short side of the small picture
OPENING_SIDE_PX = 240  # of the pictures of the opening that tell when a label goes
CLOSER_S = 0.5  # between closer looks: for stripes, and kept as evidence
KEPT_WIDTH_PX = 360
THUMB_S = 0.2  # between frames of the fingerprint
COMB_S = 1.0
BLACK_CODE = 36  # luma below which a point is black (legal range; 20 above black)
BLACK_SHARE = 0.985
STILL_CODES = 2
STILL_SHARE = 0.0008  # of the points may differ in a frozen picture
SHORTEST_FREEZE_S = 0.5
COMBED_SHARE = 0.012
_COMB_STEP = 14
_FULL = luminance_table(True)
_COMB_RUN = 7


@dataclass(frozen=True, slots=True)
class Stretch:
    """Seconds in which something was so, and how much of it."""

    start_s: float
    end_s: float
    value: float = 0.0


@dataclass
class _Run:
    """Collects neighbouring frames into stretches."""

    found: list[Stretch] = field(default_factory=list)
    _open: tuple[float, float, float] | None = None

    def add(self, holds: bool, start_s: float, end_s: float, value: float = 0.0) -> None:
        if holds and self._open:
            self._open = self._open[0], end_s, max(self._open[2], value)
        elif holds:
            self._open = start_s, end_s, value
        elif self._open:
            self.close()

    def close(self) -> list[Stretch]:
        if self._open:
            self.found.append(Stretch(*self._open))
            self._open = None
        return self.found


class PictureCheck:
    """Looks at each frame of a film once.

    Args:
        starts_s: Start of each frame, and the end of the last, in seconds from the first.
        read_at: Frames whose text is to be read.
        texts: Reads those, and is shown the opening.
        aspect: Width over height of a stored pixel.
    """

    def __init__(
        self, starts_s: NDArray[np.float64], read_at: frozenset[int], texts: CardReader, aspect: float = 1.0
    ) -> None:
        self._aspect, self.shown_px = aspect, (0, 0)
        self._starts, self._read_at, self._texts = starts_s, read_at, texts
        self._view: View | None = None
        self._size = (0, 0)
        self._before: Luma | None = None
        self._meter = FlashMeter()
        self._black, self._still, self._stripes, self._combed = _Run(), _Run(), _Run(), _Run()
        self._closer_until = self._comb_until = self._thumb_until = -1.0
        self._table = luminance_table(False)
        self._is_full = False
        self.kept: list[tuple[float, bytes]] = []  # time and JPEG
        self.thumbs: list[tuple[float, Luma]] = []  # time and 16 x 16 picture without bars, for fingerprints
        self.size_px = (0, 0)
        self.seen = 0

    def see(self, number: int, frame: av.VideoFrame) -> None:
        """Take the next frame."""
        start_s, end_s = float(self._starts[number]), float(self._starts[number + 1])
        small = self._small(frame)
        self._judge_light(small, start_s, end_s)
        self._judge_stillness(small, start_s, end_s)
        self._judge_flash(frame, small, start_s, end_s)
        if start_s >= self._closer_until:
            self._look_closer(frame, start_s)
        if start_s >= self._comb_until:
            self._judge_combing(frame, start_s)
        if start_s >= self._thumb_until:
            self._thumb_until = start_s + THUMB_S - 1e-6
            self.thumbs.append((start_s, thumb_of(without_bars(small))))
        if number in self._read_at:
            self._texts.read(number, View(1).small(frame), small)
        if start_s < EXACT_S:
            view = View(max(1, min(frame.width, frame.height) // OPENING_SIDE_PX))
            self._texts.keep(start_s, end_s, view.small(frame), view.step)
        self.seen += 1

    def stretches(self) -> dict[str, list[Stretch]]:
        """What was found, by kind, each in order."""
        found = {
            "black": self._black.close(), "freeze": self._still.close(),
            "pattern": self._stripes.close(), "combing": self._combed.close(),
            "flash": [], "flash_long": [], "red_flash": [],
        }  # fmt: skip
        found["freeze"] = [one for one in found["freeze"] if one.end_s - one.start_s >= SHORTEST_FREEZE_S]
        for one in self._meter.found():
            found[one.kind].append(Stretch(one.start_s, one.end_s, one.area))
        return found

    def _small(self, frame: av.VideoFrame) -> Luma:
        if self._view is None or self._size != (frame.width, frame.height):
            self._size = frame.width, frame.height
            self._view = View(max(1, min(frame.width, frame.height) // POINTS_SIDE_PX))
            self._before = None
            self._is_full = frame.format.name.startswith("yuvj") or int(frame.color_range or 0) == 2
            self._table = luminance_table(self._is_full)
            turned = clockwise(frame) in (90, 270)
            self.size_px = self._size[::-1] if turned else self._size
            wide = round(frame.width * self._aspect), frame.height
            self.shown_px = wide[::-1] if turned else wide
        return self._view.small(frame)

    def _judge_light(self, small: Luma, start_s: float, end_s: float) -> None:
        limit = BLACK_CODE - 16 if self._is_full else BLACK_CODE
        share = np.count_nonzero(small < limit) / small.size
        self._black.add(bool(share >= BLACK_SHARE), start_s, end_s, float(share))

    def _judge_stillness(self, small: Luma, start_s: float, end_s: float) -> None:
        is_same = False
        if self._before is not None:
            apart = small - self._before + np.uint8(STILL_CODES)  # wraps around, on purpose
            is_same = int(np.count_nonzero(apart > 2 * STILL_CODES)) <= STILL_SHARE * small.size
        self._still.add(is_same, start_s, end_s)
        self._before = small

    def _judge_flash(self, frame: av.VideoFrame, small: Luma, start_s: float, end_s: float) -> None:
        points = small[::2, ::2]
        self._meter.see(self._table[points], self._red(frame, points), start_s, end_s - start_s)

    def _red(self, frame: av.VideoFrame, points: Luma) -> NDArray[np.float32] | None:
        """Saturated red of the points; None when too little of the picture is red to matter."""
        if frame.format.name not in ("yuv420p", "yuvj420p"):
            frame = frame.reformat(
                points.shape[1] * 2, points.shape[0] * 2, format="yuv420p"
            )  # turned pictures keep their red; its place does not matter
        cr = _plane(frame, 2)
        across, down = max(1, cr.shape[1] // 54), max(1, cr.shape[0] // 54)
        part = cr[::down, ::across]
        if np.count_nonzero(part > 175) < 0.2 * part.size:
            return None
        y, cb = _plane(frame, 0), _plane(frame, 1)
        rows, columns = points.shape
        if clockwise(frame) in (90, 270):
            rows, columns = columns, rows
        red = saturated_red(_spread(y, rows, columns), _spread(cb, rows, columns),
                            _spread(cr, rows, columns), self._is_full)  # fmt: skip
        return red.reshape(points.shape)

    def _look_closer(self, frame: av.VideoFrame, start_s: float) -> None:
        """Stripes, and the picture kept as evidence, both of one smaller frame."""
        self._closer_until = start_s + CLOSER_S - 1e-6
        near = nearer(frame, self._aspect)
        gray = near.reformat(*_sides(near, SIDE_PX / min(near.width, near.height)), format="gray", interpolation="AREA")
        area = stripe_area(_FULL[_plane(gray, 0)])
        self._stripes.add(area >= STRIPE_AREA, start_s, start_s + CLOSER_S, area)
        self.kept.append((start_s, jpeg_of(near, self._aspect)))

    def _judge_combing(self, frame: av.VideoFrame, start_s: float) -> None:
        self._comb_until = start_s + COMB_S - 1e-6
        share = combed_share(_columns(frame))
        self._combed.add(share >= COMBED_SHARE, start_s, start_s + COMB_S, share)


def nearer(frame: av.VideoFrame, aspect: float = 1.0) -> av.VideoFrame:
    """A frame no larger than evidence and stripes ask for: eight bits, turned as it was stored."""
    scale = min(1.0, max(_evidence_scale(frame, aspect, KEPT_WIDTH_PX), SIDE_PX / min(frame.width, frame.height)))
    name = "yuvj420p" if frame.format.name.startswith("yuvj") or int(frame.color_range or 0) == 2 else "yuv420p"
    return frame.reformat(*_sides(frame, scale), format=name, src_colorspace=matrix(frame), interpolation="AREA")


def _sides(frame: av.VideoFrame, scale: float) -> tuple[int, int]:
    """Width and height at a scale: whole pixels, even, and enough for a block of stripes."""
    return max(32, round(frame.width * scale / 2) * 2), max(32, round(frame.height * scale / 2) * 2)


def _evidence_scale(frame: av.VideoFrame, aspect: float, width_px: int) -> float:
    return width_px / (frame.height if clockwise(frame) in (90, 270) else frame.width * aspect)


def jpeg_of(frame: av.VideoFrame, aspect: float = 1.0, width_px: int = KEPT_WIDTH_PX, quality: int = 72) -> bytes:
    """A frame as people see it, small, upright."""
    from PIL import Image

    turn = clockwise(frame)
    wide = frame.width * aspect
    scale = min(1.0, _evidence_scale(frame, aspect, width_px))
    size = max(2, round(wide * scale / 2) * 2), max(2, round(frame.height * scale / 2) * 2)
    picture = Image.fromarray(frame.reformat(*size, format="rgb24", interpolation="BILINEAR").to_ndarray())
    if turn:
        picture = picture.rotate(-turn, expand=True)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue()


def without_bars(small: Luma) -> Luma:
    """A picture without the black bars around it; the whole one when all is dark."""
    lit = small > BLACK_CODE
    rows, columns = np.flatnonzero(lit.any(axis=1)), np.flatnonzero(lit.any(axis=0))
    if len(rows) < 8 or len(columns) < 8:
        return small
    return small[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def combed_share(rows_HW: NDArray[np.uint8]) -> float:
    """Share of points that lie in runs of rows which jump to and fro, as two fields of different times do."""
    rows = rows_HW.astype(np.int16)
    above, here, below = rows[:-2], rows[1:-1], rows[2:]
    jump = here * 2 - above - below
    comb = (np.abs(jump) > 2 * _COMB_STEP) & (np.abs(above - below) < _COMB_STEP)
    turns = np.sign(jump[:-1]) != np.sign(jump[1:])
    run = comb[:-1] & comb[1:] & turns
    for _ in range(3):  # runs of `_COMB_RUN` rows and more
        run = run[:-1] & run[1:]
    return int(np.count_nonzero(run)) / max(1, int(run.size))


def _columns(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """Every eighth column of the stored luma, all rows: fields lie in stored rows, whatever the rotation."""
    if not frame.format.name.startswith(("yuv4", "yuvj4", "gray", "nv")) or frame.format.components[0].bits != 8:
        frame = frame.reformat(format="gray")
    return np.ascontiguousarray(_plane(frame, 0)[:, ::8], np.uint8)


def _plane(frame: av.VideoFrame, number: int) -> NDArray[np.uint8]:
    """One plane of a frame of eight bits, as stored."""
    plane = frame.planes[number]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, -1)
    return np.asarray(rows[:, : plane.width], np.uint8)


def _spread(plane: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.uint8]:
    """So many evenly spaced points of a plane."""
    at_y = (np.arange(rows) * plane.shape[0] // rows)[:, None]
    return np.asarray(plane[at_y, np.arange(columns) * plane.shape[1] // columns], np.uint8)
