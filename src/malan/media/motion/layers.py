"""A picture and its relief, taken apart into layers, each of them smooth, so that no edge is ever stretched.

    relief ─ where does nearness jump? ─▶ thresholds ─ peel, from the front ─▶ layers, what lies behind filled

A layer is a picture with an alpha and a relief without jumps. Laid over each other at rest they are the picture. A
threshold that cuts through a slope is not seen: both sides hold the same colours there, at the same depth. Start at
`take_apart`.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from malan.media.motion.fill import fill_colour, push_pull
from malan.media.motion.opencv import cv2

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]

MOST_LAYERS = 4
_SOFT = 0.05  # how far around a threshold a slope is shared between two layers
_JUMP = 0.07  # a difference of nearness between neighbours that is an edge
_PART = 0.22  # neighbours within a layer part by so much of their distance at most
_LEAST_LAYER = 5e-4  # of the picture
_NEIGHBOURS = np.ones((5, 5), np.uint8)
_LEAST_GAIN = 1.5e-5  # height of edges that pass a threshold, for each number of the relief
_MIXED = 0.12  # of the way from the ground's colour to the layer's: a pixel that holds some of it
_LOOK_PX = 480  # short side of the relief that thresholds are chosen on


@dataclass(frozen=True)
class Layer:
    """What is drawn in one go.

    Args:
        pixels_HWC: uint8 RGB.
        alpha: (H, W) uint8; None of the last layer, which covers everything.
        relief: (h, w), coarse, of the same view: 0 farthest, 1 nearest; smooth.
    """

    pixels_HWC: Pixels
    alpha: Pixels | None
    relief: Plane


def take_apart(
    pixels_HWC: Pixels, relief: Plane, strength_px: float, cell_px: float, grain_px: float = 1.0
) -> list[Layer]:
    """Layers from back to front.

    Args:
        pixels_HWC: The picture.
        relief: (H, W) or smaller, of the same view.
        strength_px: By how many pixels the nearest may ever move against the farthest.
        cell_px: How many pixels of the picture share a number of a layer's relief.
        grain_px: Pixels made of one where the picture was enlarged: edges are as much wider, those of colour twice.
    """
    height, width = pixels_HWC.shape[:2]
    grid = (max(2, round(width / cell_px)), max(2, round(height / cell_px)))
    steep = _PART / max(strength_px / cell_px, 1e-6)
    pure: list[Future[Pixels]] = []
    front: list[tuple[Pixels, Plane]] = []
    rest, deep = pixels_HWC, crispened(relief)
    with ThreadPoolExecutor(1) as beside:  # a layer's own colours are worked out while the next one is cut
        for threshold in sorted(thresholds_of(deep), reverse=True):
            cut = _cut(rest, deep, threshold, grain_px)
            if (cut.alpha > 0.5).mean() < _LEAST_LAYER:
                continue
            behind = fill_colour(rest, cut.hole, strength_px + 6)
            pure.append(beside.submit(_pure, rest, behind, cut))
            own = np.round(cut.alpha * 255).astype(np.uint8)
            front.append((own, _gentle(_known(deep, cut.is_front, grid), steep)))
            rest, deep = behind, _filled(deep, cut)
        last = Layer(rest, None, _gentle(cv2.resize(deep, grid, interpolation=cv2.INTER_AREA), steep))
        found = [Layer(done.result(), *rows) for done, rows in zip(pure, front, strict=True)]
    return [last, *reversed(found)]


def crispened(relief: Plane) -> Plane:
    """A relief whose edges are edges: what lies between near and far at a jump belongs to the closer of both."""
    held = relief
    for _ in range(2):
        low, high = cv2.erode(held, _NEIGHBOURS), cv2.dilate(held, _NEIGHBOURS)
        held = np.where(high - low > _JUMP, np.where(held - low < high - held, low, high), held)
    return np.asarray(held, np.float32)


def thresholds_of(relief: Plane) -> list[float]:
    """Where to cut: the nearness that most and highest edges pass, again without those, while it is worth it."""
    share = _LOOK_PX / min(relief.shape)
    size = (max(2, round(relief.shape[1] * share)), max(2, round(relief.shape[0] * share)))
    small = cv2.resize(relief, size, interpolation=cv2.INTER_NEAREST) if share < 1 else relief
    kernel = np.ones((5, 5), np.uint8)
    low, high = cv2.erode(small, kernel).ravel(), cv2.dilate(small, kernel).ravel()
    edge = (high - low) > _JUMP
    low, high = low[edge], high[edge]
    places = np.linspace(0.05, 0.95, 46).astype(np.float32)
    found: list[float] = []
    first, least = 0.0, _LEAST_GAIN * small.size
    while len(found) < MOST_LAYERS - 1 and len(low):
        # an edge counts by its height, most where the cut lies in its middle
        rise = np.minimum(places[:, None] - low, high - places[:, None])
        gains = np.clip(rise, 0, None).sum(axis=1)
        best = int(np.argmax(gains))
        if gains[best] < max(least, 0.12 * first):
            break
        first = first or float(gains[best])
        found.append(float(places[best]))
        left = (low > places[best] - 0.02) | (high < places[best] + 0.02)
        low, high = low[left], high[left]
    return found


@dataclass(frozen=True)
class _Cut:
    """A layer parted from what is behind it.

    Args:
        alpha: Of the size of the picture.
        hole: Where what is behind cannot be seen, of the size of the picture.
        is_front, is_back: Of the size of the relief: whose nearness is that of the layer, of what is behind; on a
            slope both.
    """

    alpha: Plane
    hole: Mask
    is_front: Mask
    is_back: Mask


def _cut(pixels: Pixels, deep: Plane, threshold: float, grain_px: float) -> _Cut:
    """Part a picture at a nearness: softly over slopes, along its own edges where nearness jumps."""
    height, width = pixels.shape[:2]
    share = np.clip((deep - threshold) / (2 * _SOFT) + 0.5, 0, 1).astype(np.float32)
    low, high = cv2.erode(deep, _NEIGHBOURS), cv2.dilate(deep, _NEIGHBOURS)
    jumps = (high - low > _JUMP) & (low < threshold) & (high > threshold)
    whole = cv2.resize(share, (width, height), interpolation=cv2.INTER_LINEAR)
    near = cv2.resize(cv2.dilate(jumps.astype(np.uint8), _NEIGHBOURS), (width, height), interpolation=cv2.INTER_NEAREST)
    alpha, mixed = _along_edges(pixels, whole, near)
    rim = max(2, round(min(height, width) / 400), round(2.5 * grain_px))
    rims = np.ones((2 * rim + 1,) * 2, np.uint8)
    touched = cv2.dilate(((alpha > 0.04) | (whole > 0.5)).astype(np.uint8), rims)
    wisps = cv2.dilate((alpha > whole + 0.1).astype(np.uint8), rims)
    hole = (alpha > 0.98) | ((touched > 0) & ((alpha > 0.04) | mixed) & ((near > 0) | (wisps > 0)))
    wide = cv2.dilate(jumps.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return _Cut(alpha, hole, (share > 0.02) & ~(wide & (share < 0.98)), (share < 0.98) & ~(wide & (share > 0.02)))


def _along_edges(pixels: Pixels, whole: Plane, near: Pixels) -> tuple[Plane, Mask]:
    """The share of a layer, brought to the edges of the picture in the neighbourhood of jumps; and which pixels
    of the ground there hold something of the layer's colour."""
    if not near.any():
        return whole, np.zeros(whole.shape, np.bool_)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    fine = guided(whole, grey, max(2, round(min(whole.shape) / 320)), 1e-3)
    share = np.where(near > 0, np.clip((fine - 0.12) / 0.76, 0, 1), whole).astype(np.float32)
    return _with_wisps(pixels, share, near)


def _with_wisps(pixels: Pixels, share: Plane, near: Pixels) -> tuple[Plane, Mask]:
    """The same, and what lies just outside but has the colour of the layer there, not that of its ground.

    A rim that was drawn a little too far inside would otherwise stay behind when the layer moves. What goes on beyond
    the neighbourhood (a twig, a joint of the wall) belongs to the ground, whatever its colour.
    """
    height, width = share.shape
    few = (max(1, width // 4), max(1, height // 4))  # means need no more
    small, inside = (cv2.resize(one, few, interpolation=cv2.INTER_AREA) for one in (pixels, share))
    reach = max(3, round(min(few) / 45))
    around = cv2.dilate(cv2.resize(near, few, interpolation=cv2.INTER_NEAREST), np.ones((reach, reach), np.uint8))
    front, ground = (_mean_where(small, mask & (around == 0), 4 * reach + 1) for mask in (inside > 0.98, inside < 0.02))
    beyond = cv2.dilate(around, np.ones((5, 5), np.uint8))
    way = front - ground
    length = np.maximum((way * way).sum(axis=2), 1.0)
    trust = np.where(beyond > 0, np.clip((np.sqrt(length) - 40) / 50, 0, 1), 0).astype(np.float32)
    rows, columns = np.nonzero(
        (cv2.resize(beyond, (width, height), interpolation=cv2.INTER_NEAREST) > 0) & (share < 0.5)
    )
    at = np.minimum(rows // 4, few[1] - 1), np.minimum(columns // 4, few[0] - 1)
    along = ((pixels[rows, columns] - ground[at]) * way[at]).sum(axis=1) / length[at]
    likely = np.zeros(share.shape, np.float32)
    likely[rows, columns] = trust[at] * np.clip((along - 0.5) / 0.35, 0, 1)
    band = cv2.resize(around, (width, height), interpolation=cv2.INTER_NEAREST) > 0
    mixed = np.zeros(share.shape, np.uint8)
    mixed[rows, columns] = (trust[at] > 0.1) & (along > _MIXED)
    mixed = cv2.dilate(mixed, np.ones((3, 3), np.uint8))
    return np.maximum(share, np.where(band & _held(likely, share, band), likely, 0)), mixed > 0


def _held(likely: Plane, share: Plane, band: Mask) -> Mask:
    """Which of the likely pixels hang on the layer and end within the band; told at half the size."""
    height, width = share.shape
    half = (max(1, width // 2), max(1, height // 2))
    solid, some, inside = (
        cv2.resize(one.view(np.uint8) * np.uint8(255), half, interpolation=cv2.INTER_AREA) > 0
        for one in (share >= 0.5, likely > 0.15, band)
    )
    rim = cv2.dilate(solid.view(np.uint8), np.ones((3, 3), np.uint8)) > 0
    _, strand = cv2.connectedComponents((some & ~rim).view(np.uint8))
    goes_on = np.zeros(int(strand.max()) + 1, np.bool_)
    goes_on[strand[some & ~inside]] = True
    ends = some & (rim | ~goes_on[strand])
    _, part = cv2.connectedComponents((ends | solid).view(np.uint8))
    hangs = np.zeros(int(part.max()) + 1, np.bool_)
    hangs[part[solid]] = True
    hangs[0] = False
    held = (ends & hangs[part]).view(np.uint8)
    return np.asarray(cv2.resize(held, (width, height), interpolation=cv2.INTER_NEAREST) > 0)


def _mean_where(pixels: Pixels, mask: Mask, side: int) -> Plane:
    """The mean colour of what a mask marks, around each pixel; of all of it where there is none near."""
    weight = mask.astype(np.float32)
    colour = cv2.boxFilter(pixels * weight[..., None], -1, (side, side))
    total = cv2.boxFilter(weight, -1, (side, side))[..., None]
    everywhere = (pixels[mask].mean(axis=0) if mask.any() else np.full(3, 128.0)).astype(np.float32)
    return np.asarray(np.where(total > 1e-3, colour / np.maximum(total, 1e-3), everywhere), np.float32)


def guided(values: Plane, grey: Pixels, radius: int, eps: float) -> Plane:
    """Values with the edges of a picture (He, Sun, Tang 2013; at half size, He and Sun 2015)."""
    height, width = values.shape
    half = (max(1, width // 2), max(1, height // 2))
    guide = cv2.resize(grey, half, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    said = cv2.resize(values, half, interpolation=cv2.INTER_AREA)
    box = (2 * max(1, radius // 2) + 1,) * 2

    def mean(plane: Plane) -> Plane:
        found: Plane = cv2.boxFilter(plane, -1, box)
        return found

    mean_guide, mean_said = mean(guide), mean(said)
    slope = (mean(guide * said) - mean_guide * mean_said) / (mean(guide * guide) - mean_guide**2 + eps)
    level = mean(mean_said - slope * mean_guide)
    slope = mean(slope)
    slope, level = (cv2.resize(one, (width, height), interpolation=cv2.INTER_LINEAR) for one in (slope, level))
    return np.asarray(slope * (grey.astype(np.float32) / 255) + level, np.float32)


def _pure(pixels: Pixels, behind: Pixels, cut: _Cut) -> Pixels:
    """The layer's own colours: unmixed where a pixel holds both it and what is behind, gone on with where it ends."""
    height, width = cut.alpha.shape
    solid = cut.alpha >= 0.98
    half = (max(1, width // 2), max(1, height // 2))
    seen = np.where(solid, 255, 0).astype(np.uint8)
    lit = cv2.resize(cv2.bitwise_and(pixels, cv2.merge([seen] * 3)), half, interpolation=cv2.INTER_AREA)
    weight = cv2.resize(seen, half, interpolation=cv2.INTER_AREA)
    reach = 4 * max(2, round(min(height, width) / 400)) + 1
    colour, total = (cv2.boxFilter(one, cv2.CV_32F, (reach, reach)) for one in (lit, weight))
    near = np.clip(255 * colour / np.maximum(total, 1.0)[..., None], 0, 255).astype(np.uint8)
    own = cv2.resize(pixels, half, interpolation=cv2.INTER_AREA)
    cv2.copyTo(own, (total < 4.0).view(np.uint8), near)  # wisps without anything solid near
    near = cv2.resize(near, (width, height), interpolation=cv2.INTER_LINEAR)
    rows, columns = np.nonzero(~solid & (cut.alpha > 0.0) & cut.hole)
    a = cut.alpha[rows, columns][:, None]
    ground, gone_on = behind[rows, columns].astype(np.float32), near[rows, columns].astype(np.float32)
    unmixed = ground + (pixels[rows, columns] - ground) / np.maximum(a, 0.25)
    trust = np.clip(a * 4 - 0.6, 0, 1)
    pure: Pixels = cv2.copyTo(near, ((cut.alpha <= 0) & cut.hole).view(np.uint8), pixels.copy())
    pure[rows, columns] = np.clip(np.round(gone_on + (unmixed - gone_on) * trust), 0, 255)
    return pure


def _filled(deep: Plane, cut: _Cut) -> Plane:
    """The nearness of what is behind, going on under the layer."""
    weight = cut.is_back.astype(np.float32)
    around = push_pull(deep * weight, weight)
    return np.where(cut.is_back, deep, np.minimum(around, deep)).astype(np.float32)


def _known(deep: Plane, mask: Mask, grid: tuple[int, int]) -> Plane:
    """The nearness where a mask says so, in cells, going on around it."""
    weight = cv2.resize(mask.astype(np.float32), grid, interpolation=cv2.INTER_AREA)
    return push_pull(cv2.resize(deep * mask, grid, interpolation=cv2.INTER_AREA), weight)


def _gentle(relief: Plane, steep: float) -> Plane:
    """The least relief that is nowhere lower and nowhere rises by more than `steep` from cell to cell."""
    held = relief
    for _ in range(max(relief.shape)):
        spread = np.maximum(held, cv2.dilate(held, np.ones((3, 3), np.uint8)) - steep)
        if np.allclose(spread, held, atol=1e-4):
            break
        held = spread
    return np.asarray(cv2.GaussianBlur(held, (0, 0), 1.0), np.float32)
