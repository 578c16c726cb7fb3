"""Turns decoded frames into block samples, without scaling or converting the picture.

A few thousand pixels are read straight from the planes of the frame; four luma pixels make a block. Start at `Sampler`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from malan.curation.shots.judge import Stretch
from malan.curation.shots.measure import COLUMNS, ROWS, Blocks

GAP = 5  # frames from one sample to the next up to which they belong to one stretch
_BATCH = 64
_BLOCKS = ROWS * COLUMNS
_LUMA = 4 * _BLOCKS
_BITS = {  # planar formats read in place, and their bits a sample
    **dict.fromkeys(("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "yuv411p", "yuv410p"), 8),
    **dict.fromkeys(("yuv420p10le", "yuv422p10le", "yuv444p10le"), 10),
    **dict.fromkeys(("yuv420p12le", "yuv422p12le", "yuv444p12le"), 12),
}


class Sampler:
    """Collects block samples by frame number, and hands them out as stretches of neighbouring frames."""

    def __init__(self) -> None:
        self._layout: tuple[str | int, ...] = ()
        self._luma_at = self._chroma_at = np.zeros(0, np.intp)
        self._shift = 0
        self._kind: type[np.uint8] | type[np.uint16] = np.uint8
        self._waiting: list[int] = []  # frames whose points wait to be made blocks
        self._points: list[NDArray[Any]] = []  # of each of them; many samplers see few frames
        self._blocks: dict[int, Blocks] = {}
        self._made: dict[bytes, Stretch] = {}

    def add(self, frame: av.VideoFrame, number: int) -> None:
        """Sample a frame; costs some hundredths of a millisecond."""
        if frame.format.name not in _BITS:
            frame = frame.reformat(format="yuv420p")
        luma, blue, red = frame.planes[:3]
        layout = (frame.format.name, luma.line_size, blue.line_size, frame.width, frame.height)
        if layout != self._layout:
            self._lay_out(frame)
            self._layout = layout
        kind = self._kind
        points = np.empty(_LUMA + 2 * _BLOCKS, kind)
        # the offsets lie inside the planes; "raise" would take through a buffer
        np.frombuffer(memoryview(luma), kind).take(self._luma_at, out=points[:_LUMA], mode="clip")
        np.frombuffer(memoryview(blue), kind).take(self._chroma_at, out=points[_LUMA:-_BLOCKS], mode="clip")
        np.frombuffer(memoryview(red), kind).take(self._chroma_at, out=points[-_BLOCKS:], mode="clip")
        self._waiting.append(number)
        self._points.append(points)
        if len(self._waiting) == _BATCH:
            self._settle()

    def get(self, number: int) -> Blocks:
        """The blocks (3, H, W) of a sampled frame."""
        if number not in self._blocks:
            self._settle()
        return self._blocks[number]

    def __contains__(self, number: int) -> bool:
        return number in self._blocks or number in self._waiting

    def forget_before(self, number: int) -> None:
        """Free samples that are not needed any more."""
        self._settle()
        for old in [n for n in self._blocks if n < number]:
            del self._blocks[old]

    def stretches(self) -> Iterator[Stretch]:
        """Runs of samples with small gaps; what is missing is filled in between. Single samples are left out.

        A run that has not grown since the last call is the same object.
        """
        self._settle()
        numbers = np.array(sorted(self._blocks), np.int64)
        parts = np.split(numbers, np.flatnonzero(np.diff(numbers) > GAP) + 1)
        self._made = {p.tobytes(): self._made.get(p.tobytes()) or self._stretch(p) for p in parts if len(p) > 1}
        yield from self._made.values()

    def _stretch(self, numbers: NDArray[np.int64]) -> Stretch:
        at = numbers - numbers[0]
        known = np.zeros(int(at[-1]) + 1, bool)
        known[at] = True
        blocks = np.empty((len(known), 3, ROWS, COLUMNS), np.uint8)
        blocks[at] = [self._blocks[number] for number in numbers.tolist()]
        # kept once: what was collected is a view of the stretch from now on
        self._blocks.update((number, blocks[i]) for number, i in zip(numbers.tolist(), at.tolist(), strict=True))
        missing = np.flatnonzero(~known)
        if len(missing):
            after = np.searchsorted(at, missing)
            late = ((missing - at[after - 1]) / (at[after] - at[after - 1])).astype(np.float32)[:, None, None, None]
            blocks[missing] = blocks[at[after - 1]] * (1 - late) + blocks[at[after]] * late + np.float32(0.5)
        return Stretch(int(numbers[0]), blocks, known)

    def _settle(self) -> None:
        """Make blocks of the points collected so far."""
        if not self._waiting:
            return
        points: NDArray[Any] = np.stack(self._points) >> self._shift
        blocks = np.empty((len(points), 3 * _BLOCKS), np.uint8)
        sums = np.full((len(points), _BLOCKS), 2, np.uint16)
        for corner in range(0, _LUMA, _BLOCKS):
            sums += points[:, corner : corner + _BLOCKS]
        blocks[:, :_BLOCKS] = sums >> 2
        blocks[:, _BLOCKS:] = points[:, _LUMA:]
        self._blocks.update(zip(self._waiting, blocks.reshape(-1, 3, ROWS, COLUMNS), strict=True))
        self._waiting.clear()
        self._points.clear()

    def _lay_out(self, frame: av.VideoFrame) -> None:
        self._settle()
        bits = _BITS[frame.format.name]
        luma, chroma = frame.planes[0], frame.planes[1]
        size = 1 if bits == 8 else 2
        self._shift = bits - 8
        self._kind = np.uint8 if bits == 8 else np.uint16
        self._luma_at = _grid(luma.width, luma.height, luma.line_size // size, 2)
        self._chroma_at = _grid(chroma.width, chroma.height, chroma.line_size // size, 1, luma.height > luma.width)


@lru_cache(16)
def _grid(width: int, height: int, stride: int, per_block: int, upright: bool | None = None) -> NDArray[np.intp]:
    """Offsets of evenly spread pixels: first of all blocks, row by row, one corner, then the next.

    An upright picture is laid on its side.
    """
    upright = height > width if upright is None else upright
    across, down = (ROWS, COLUMNS) if upright else (COLUMNS, ROWS)
    rows = ((np.arange(down * per_block) + 0.5) * height / (down * per_block)).astype(np.intp)
    columns = ((np.arange(across * per_block) + 0.5) * width / (across * per_block)).astype(np.intp)
    offsets = rows[:, None] * stride + columns
    corners = (offsets.T if upright else offsets).reshape(ROWS, per_block, COLUMNS, per_block)
    return np.ascontiguousarray(corners.transpose(1, 3, 0, 2)).ravel()
