"""Where strokes stand still: the marks that tell text laid over a film from the film below it.

An edge is a steep step between neighbouring pixels of a row. Edges that stay where they are while the picture moves,
or that come and go while the picture stays, are what captions are made of. `blocks` groups them into boxes shaped like
lines of text; `lines` splits a box into its lines. Whether it is text is for a reader to say, not for this module.
All coordinates are small ones (see `luma`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from malan.curation.captions.luma import Box, Luma, Mask, differs

EDGE = 40  # luma step between neighbours that counts as an edge
STILL = 18  # luma change between samples a standing pixel may show (compression noise)

CELL_H, CELL_W = 4, 8  # edges are counted in cells of so many pixels
CELL_EDGES = 5  # a cell with so many edges is lit
JOIN_CELLS = 3  # unlit cells that may lie between two characters of a line
MIN_EDGES = 36  # in a block
CLUTTER = 0.1  # share of lit cells from which nothing can be told apart
MAX_RUNS = 600
_ADD_BYTES, _TOP_BYTE = np.uint64(0x0101010101010101), np.uint64(56)  # the product's top byte is the sum of all bytes
MAX_HEIGHT = 0.3  # of the picture; a higher block is no caption


@dataclass(frozen=True)
class Marks:
    """What one sample shows: its small luma, its edges, and the edges that stand still since the sample before."""

    number: int
    luma: Luma
    edges: Mask
    still: Mask  # pixels whose luma did not change
    standing: Mask  # edges now and before, luma unchanged

    @classmethod
    def of(cls, number: int, luma: Luma, before: Marks | None) -> Marks:
        edges = np.zeros(luma.shape, np.bool_)
        edges[:, 1:] = differs(luma[:, 1:], luma[:, :-1], EDGE)
        if before is None:
            nothing = np.zeros(luma.shape, np.bool_)
            return cls(number, luma, edges, nothing, nothing)
        still = ~differs(luma, before.luma, STILL)
        return cls(number, luma, edges, still, edges & before.edges & still)


def blocks(marks: Mask) -> list[Box]:
    """Boxes of marks shaped like one or more lines of text; none where marks are everywhere."""
    if np.count_nonzero(marks) < MIN_EDGES:
        return []
    lit = _lit_cells(marks)
    if np.count_nonzero(lit) > CLUTTER * lit.size:
        return []
    if not (lit[1:] & lit[:-1]).any():
        return []
    found = [_to_pixels(box) for box in _components(_closed(lit))]
    return _stacked([box for box in found if _looks_like_line(box, marks)])


def lines(marks: Mask, min_height: int = 7) -> list[Box]:
    """The lines of text in a block of marks, top to bottom: rows between empty rows, each with its columns."""
    found = []
    for y0, y1 in _row_runs(marks, min_height):
        columns = np.flatnonzero(marks[y0:y1].sum(axis=0) > 0)
        if len(columns):
            found.append((int(columns[0]), y0, int(columns[-1]) + 1, y1))
    return found


def _lit_cells(marks: Mask) -> Mask:
    """Cells with enough marks. Eight pixels of a row are added at a time, as the bytes of one integer."""
    height, width = marks.shape[0] // CELL_H * CELL_H, marks.shape[1] // CELL_W * CELL_W
    words = np.ascontiguousarray(marks[:height, :width]).view(np.uint64)
    columns = np.add.reduce(words.reshape(height // CELL_H, CELL_H, width // CELL_W), axis=1)
    return np.asarray((columns * _ADD_BYTES) >> _TOP_BYTE >= CELL_EDGES)


def _closed(lit: Mask) -> Mask:
    """Gaps of up to JOIN_CELLS cells between lit cells of a row filled."""
    grown, shrunk = lit.copy(), None
    for shift in range(1, JOIN_CELLS + 1):
        grown[:, shift:] |= lit[:, :-shift]
    shrunk = grown.copy()
    for shift in range(1, JOIN_CELLS + 1):
        shrunk[:, :-shift] &= grown[:, shift:]
        shrunk[:, -shift:] = lit[:, -shift:]
    return shrunk | lit


def _components(lit: Mask) -> list[Box]:
    """Boxes of connected lit cells (runs of neighbouring rows that overlap)."""
    steps = np.diff(np.pad(lit, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, firsts = np.nonzero(steps == 1)
    ends = np.nonzero(steps == -1)[1]
    if len(rows) > MAX_RUNS:
        return []
    boxes: list[list[int]] = []
    open_boxes: list[tuple[int, int, int]] = []  # first, end, box of the runs one row above
    row_before = -2
    below: list[tuple[int, int, int]] = []
    owner: list[int] = []
    for row, first, end in zip(rows.tolist(), firsts.tolist(), ends.tolist(), strict=True):
        if row != row_before:
            open_boxes = below if row == row_before + 1 else []
            below, row_before = [], row
        mine = len(boxes)
        boxes.append([first, row, end, row + 1])
        owner.append(mine)
        for above_first, above_end, above in open_boxes:
            if above_first < end and above_end > first:
                _join(boxes, owner, above, mine)
        below.append((first, end, mine))
    return [(x0, y0, x1, y1) for number, (x0, y0, x1, y1) in enumerate(boxes) if owner[number] == number]


def _join(boxes: list[list[int]], owner: list[int], one: int, other: int) -> None:
    root, leaf = _root(owner, one), _root(owner, other)
    if root == leaf:
        return
    owner[leaf] = root
    a, b = boxes[root], boxes[leaf]
    boxes[root] = [min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])]


def _root(owner: list[int], number: int) -> int:
    while owner[number] != number:
        owner[number] = owner[owner[number]]
        number = owner[number]
    return number


def _to_pixels(cells: Box) -> Box:
    return cells[0] * CELL_W, cells[1] * CELL_H, cells[2] * CELL_W, cells[3] * CELL_H


def _looks_like_line(box: Box, marks: Mask) -> bool:
    """Wider than high, high enough to read, and marked densely."""
    width, height = box[2] - box[0], box[3] - box[1]
    if height > MAX_HEIGHT * marks.shape[0]:
        return False
    if height < 2 * CELL_H or width < 0.6 * height or width < 2 * CELL_W:
        return False
    inside = np.count_nonzero(marks[box[1] : box[3], box[0] : box[2]])
    return bool(inside >= MIN_EDGES and inside >= 0.08 * width * height)


def _stacked(boxes: list[Box]) -> list[Box]:
    """Lines that stand side by side or close above one another become one block."""
    merged = sorted(boxes, key=lambda b: b[1])
    changed = True
    while changed:
        changed = False
        for i, one in enumerate(merged):
            for j in range(i + 1, len(merged)):
                if _belong(one, merged[j]):
                    merged[i] = union(one, merged.pop(j))
                    changed = True
                    break
            if changed:
                break
    return merged


def _belong(one: Box, other: Box) -> bool:
    height = min(one[3] - one[1], other[3] - other[1])
    gap_y = max(one[1], other[1]) - min(one[3], other[3])
    gap_x = max(one[0], other[0]) - min(one[2], other[2])
    beside = gap_y < -0.5 * height and gap_x < 2.5 * height
    above = gap_y < 1.2 * height and gap_x < 0
    return beside or above


def union(one: Box, other: Box) -> Box:
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])


def overlap(one: Box, other: Box) -> float:
    """Shared area as a share of the smaller box."""
    return max(covered(one, other), covered(other, one))


def covered(box: Box, by: Box) -> float:
    """Share of a box that lies in another one."""
    width = min(box[2], by[2]) - max(box[0], by[0])
    height = min(box[3], by[3]) - max(box[1], by[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / ((box[2] - box[0]) * (box[3] - box[1]))


def _row_runs(marks: Mask, min_height: int) -> list[tuple[int, int]]:
    """Runs of rows that carry marks, split at the valleys between lines."""
    profile: NDArray[np.int64] = marks.sum(axis=1)
    if not profile.any():
        return []
    full = float(np.percentile(profile[profile > 0], 80))
    carries = profile > max(1.0, 0.12 * full)
    steps = np.diff(np.concatenate(([0], carries.astype(np.int8), [0])))
    runs = list(zip(np.flatnonzero(steps == 1).tolist(), np.flatnonzero(steps == -1).tolist(), strict=True))
    return _glued(runs, min_height)


def _glued(runs: list[tuple[int, int]], min_height: int) -> list[tuple[int, int]]:
    """Runs too thin to be a line (a stroke of 三, a dot of an i) joined with the nearest run, or dropped."""
    runs = list(runs)
    while len(runs) > 1:
        thin = [n for n, (y0, y1) in enumerate(runs) if y1 - y0 < min_height]
        if not thin:
            break
        n = thin[0]
        gaps = [
            (runs[m][0] - runs[n][1] if m > n else runs[n][0] - runs[m][1], m)
            for m in (n - 1, n + 1)
            if 0 <= m < len(runs)
        ]
        gap, m = min(gaps)
        one, other = runs[n], runs[m]
        keep = [r for k, r in enumerate(runs) if k not in (n, m)]
        if gap <= min_height:
            keep.append((min(one[0], other[0]), max(one[1], other[1])))
        else:
            keep.append(other)
        runs = sorted(keep)
    return [run for run in runs if run[1] - run[0] >= min_height]
