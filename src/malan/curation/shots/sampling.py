"""Turns decoded frames into block samples, without scaling or converting the picture.

A few thousand pixels are read straight from the planes of the frame; four luma pixels make a block. Start at `Sampler`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

import av
import numpy as np
from numpy.typing import NDArray

from malan.curation.shots.judge import Stretch
from malan.curation.shots.measure import COLUMNS, ROWS, Blocks

GAP = 5  # frames from one sample to the next up to which they belong to one stretch
_BATCH = 64
_BITS = {  # planar formats read in place, and their bits a sample
    **dict.fromkeys(("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "yuv411p", "yuv410p"), 8),
    **dict.fromkeys(("yuv420p10le", "yuv422p10le", "yuv444p10le"), 10),
    **dict.fromkeys(("yuv420p12le", "yuv422p12le", "yuv444p12le"), 12),
}


class Sampler:
    """Collects block samples by frame number, and hands them out as stretches of neighbouring frames."""

    def __init__(self) -> None:
        self._layout: tuple[int, ...] | str = ""
        self._luma_at = self._chroma_at = np.zeros(0, np.intp)
        self._shift = 0
        self._raw: list[tuple[int, NDArray[np.uint8]]] = []
        self._blocks: dict[int, Blocks] = {}

    def add(self, frame: av.VideoFrame, number: int) -> None:
        """Sample a frame; costs some hundredths of a millisecond."""
        if frame.format.name not in _BITS:
            frame = frame.reformat(format="yuv420p")
        planes = frame.planes
        layout = f"{frame.format.name} {planes[0].line_size} {planes[1].line_size} {frame.width} {frame.height}"
        if layout != self._layout:
            self._lay_out(frame)
            self._layout = layout
        kind = np.uint16 if self._shift else np.uint8
        points = [np.frombuffer(memoryview(planes[0]), kind).take(self._luma_at)]
        points += [np.frombuffer(memoryview(planes[i]), kind).take(self._chroma_at) for i in (1, 2)]
        sample = np.concatenate(points)
        self._raw.append((number, (sample >> self._shift).astype(np.uint8) if self._shift else sample))
        if len(self._raw) >= _BATCH:
            self._settle()

    def get(self, number: int) -> Blocks:
        """The blocks (3, H, W) of a sampled frame."""
        self._settle()
        return self._blocks[number]

    def __contains__(self, number: int) -> bool:
        self._settle()
        return number in self._blocks

    def forget_before(self, number: int) -> None:
        """Free samples that are not needed any more."""
        self._settle()
        for old in [n for n in self._blocks if n < number]:
            del self._blocks[old]

    def stretches(self, ignored: Iterable[int] = ()) -> Iterator[Stretch]:
        """Runs of samples with small gaps; what is missing is filled in between. Single samples are left out."""
        self._settle()
        numbers = np.array(sorted(set(self._blocks) - set(ignored)), np.int64)
        for part in np.split(numbers, np.flatnonzero(np.diff(numbers) > GAP) + 1):
            if len(part) > 1:
                yield self._stretch(part)

    def _stretch(self, numbers: NDArray[np.int64]) -> Stretch:
        first = int(numbers[0])
        blocks = np.empty((int(numbers[-1]) - first + 1, 3, ROWS, COLUMNS), np.uint8)
        known = np.zeros(len(blocks), bool)
        known[numbers - first] = True
        for number in numbers:
            blocks[number - first] = self._blocks[int(number)]
        for before, after in pairwise(numbers):
            for number in range(int(before) + 1, int(after)):
                late = (number - before) / (after - before)
                mixed = blocks[before - first] * (1 - late) + blocks[after - first] * late
                blocks[number - first] = mixed + 0.5
        return Stretch(first, blocks, known)

    def _settle(self) -> None:
        """Make blocks of the raw points collected so far."""
        if not self._raw:
            return
        points = np.stack([sample for _, sample in self._raw])
        luma = points[:, : 4 * ROWS * COLUMNS].reshape(-1, ROWS, 2, COLUMNS, 2)
        blocks = np.empty((len(points), 3, ROWS, COLUMNS), np.uint8)
        blocks[:, 0] = (luma.sum(axis=(2, 4), dtype=np.uint16) + 2) // 4
        blocks[:, 1:] = points[:, 4 * ROWS * COLUMNS :].reshape(-1, 2, ROWS, COLUMNS)
        self._blocks.update({number: blocks[i] for i, (number, _) in enumerate(self._raw)})
        self._raw.clear()

    def _lay_out(self, frame: av.VideoFrame) -> None:
        bits = _BITS[frame.format.name]
        luma, chroma = frame.planes[0], frame.planes[1]
        size = 1 if bits == 8 else 2
        self._shift = bits - 8
        self._luma_at = _grid(luma.width, luma.height, luma.line_size // size, 2)
        self._chroma_at = _grid(chroma.width, chroma.height, chroma.line_size // size, 1, luma.height > luma.width)


def _grid(width: int, height: int, stride: int, per_block: int, upright: bool | None = None) -> NDArray[np.intp]:
    """Offsets of evenly spread pixels, row by row of blocks; an upright picture is laid on its side."""
    upright = height > width if upright is None else upright
    across, down = (ROWS, COLUMNS) if upright else (COLUMNS, ROWS)
    rows = ((np.arange(down * per_block) + 0.5) * height / (down * per_block)).astype(np.intp)
    columns = ((np.arange(across * per_block) + 0.5) * width / (across * per_block)).astype(np.intp)
    offsets = rows[:, None] * stride + columns
    return np.ascontiguousarray(offsets.T if upright else offsets).ravel()
