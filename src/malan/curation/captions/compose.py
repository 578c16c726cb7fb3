"""One still picture per sighting, and from it one picture per line.

What stands still stays, what moves is darkened: the least value of every pixel over the life of the text. Lines are cut
where the standing strokes leave rows empty. Start at `line_pictures`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from malan.curation.captions.luma import Box, Luma, Mask
from malan.curation.captions.sighting import STOOD, Sighting
from malan.curation.captions.strokes import lines

Compose = Callable[[list[Luma]], Luma]

SIDE_MARGIN = 0.45  # of the line height, left and right of the outermost strokes
EDGE_MARGIN = 0.2  # of the line height, above and below
GAP_HEIGHTS = 2.2  # a wider gap in a line separates text from what merely stands beside it


@dataclass(frozen=True)
class LinePicture:
    """A line of a sighting, cut out. The box is in pixels of the picture as shown, before the sample aspect."""

    box: Box
    picture: Luma
    density: float  # share of the box that is strokes


def line_pictures(sighting: Sighting, compose: Compose) -> list[LinePicture]:
    """The lines of a sighting, top to bottom."""
    for share in STOOD:
        strokes = _near(sighting.strokes(share), sighting)
        boxes = [box for box in (_trimmed(box, strokes) for box in lines(strokes)) if box[2] > box[0]]
        if boxes:
            still = compose(sighting.pictures)
            return [_line_picture(box, strokes, still, sighting) for box in boxes]
    return []


def _line_picture(box: Box, strokes: Mask, still: Luma, sighting: Sighting) -> LinePicture:
    x0, y0, x1, y1 = box
    density = float(strokes[y0:y1, x0:x1].mean())
    return LinePicture(_shown(box, sighting.band, sighting.step), _cut(still, box, sighting.step), density)


def darkest(pictures: list[Luma]) -> Luma:
    """The least value of each pixel: light text stays, a moving background darkens."""
    return np.asarray(np.min(pictures, axis=0))


def lightest(pictures: list[Luma]) -> Luma:
    """The greatest value of each pixel, for dark text that has no outline."""
    return np.asarray(np.max(pictures, axis=0))


def middle(pictures: list[Luma]) -> Luma:
    """The median of each pixel."""
    return np.asarray(np.median(pictures, axis=0).astype(np.uint8))


def _near(strokes: Mask, sighting: Sighting) -> Mask:
    """The strokes of the block and of what continues it sideways; the rest of the band blanked."""
    x0, _, x1, _ = sighting.box
    reach = int(GAP_HEIGHTS * (sighting.box[3] - sighting.box[1]))
    near = strokes.copy()
    near[:, : max(0, x0 - reach)] = False
    near[:, x1 + reach :] = False
    return near


def _trimmed(box: Box, strokes: Mask) -> Box:
    """The box of a line without lone specks at its ends."""
    x0, y0, x1, y1 = box
    columns = strokes[y0:y1, x0:x1].sum(axis=0)
    height = y1 - y0
    reach = max(3, height // 3)
    if len(columns) < reach:
        return x0, y0, x0, y1
    support = np.convolve(columns, np.ones(reach), "same")
    solid = np.flatnonzero(support >= max(3, 0.35 * height))
    if not len(solid):
        return x0, y0, x0, y1
    runs = np.split(solid, np.flatnonzero(np.diff(solid) > GAP_HEIGHTS * height) + 1)
    best = max(runs, key=lambda run: columns[run].sum())
    return x0 + int(best[0]), y0, x0 + int(best[-1]) + 1, y1


def _cut(still: Luma, line: Box, step: int) -> Luma:
    x0, y0, x1, y1 = line
    height = y1 - y0
    side, edge = int(SIDE_MARGIN * height) + 1, int(EDGE_MARGIN * height) + 1
    return still[max(0, y0 - edge) * step : (y1 + edge) * step, max(0, x0 - side) * step : (x1 + side) * step]


def _shown(line: Box, band: Box, step: int) -> Box:
    x0, y0, x1, y1 = line
    return (x0 + band[0]) * step, (y0 + band[1]) * step, (x1 + band[0]) * step, (y1 + band[1]) * step
