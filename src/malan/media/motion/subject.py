"""Where a picture wants to be looked at, and whether its subject can be told from the ground without a model.

    small picture ─ contrast, rare colour, skin, sharpness ─▶ weight of each place
        ─ GrabCut, from three beginnings ─▶ mask, confidence

The mask comes with a measure of how far it can be trusted: do the beginnings agree, do the colours differ, does its
rim follow edges, is it one thing. Start at `weight_of` and `find_subject`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from malan.media.motion.layers import guided
from malan.media.motion.opencv import cv2

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]

LOOK_PX = 128  # short side of what is weighed
CUT_PX = 240  # short side of what is cut out
_ROUNDS = 3
_EVERYWHERE = 0.45  # of the area, for most of the weight: there is nothing to cut out


@dataclass(frozen=True)
class Subject:
    """A subject that was cut out.

    Args:
        mask: (h, w), 1 inside, soft at the rim.
        confidence: 0 to 1; `relief.ENOUGH` says from where on to believe it.
        reasons: What went into it, each 0 to 1.
    """

    mask: Plane
    confidence: float
    reasons: dict[str, float]


def weight_of(pixels_HWC: Pixels) -> Plane:
    """How much each place draws the eye, small, 0 to 1."""
    small = _shrunk(pixels_HWC, LOOK_PX)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float32)
    luma = lab[..., 0]
    weight = _contrast(lab) + 0.9 * _sharp(luma) + 0.8 * _rare(lab) + 0.7 * _skin(small)
    weight = cv2.GaussianBlur(weight, (0, 0), min(luma.shape) / 24)
    weight = np.maximum(weight - 0.7 * float(weight.mean()), 0) * _middle(weight.shape)
    return np.asarray(weight / max(float(weight.max()), 1e-6), np.float32)


def with_faces(weight: Plane, boxes: Sequence[tuple[float, float, float, float]]) -> Plane:
    """The same where faces were found: they draw the eye more than anything else.

    Args:
        boxes: Left, top, width and height, as shares of the picture.
    """
    height, width = weight.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    found = weight * np.float32(0.35 if boxes else 1.0)
    for left, top, wide, high in boxes:
        off_x = ((x + 0.5) / width - left - wide / 2) / max(0.9 * wide, 2 / width)
        off_y = ((y + 0.5) / height - top - high / 2) / max(0.9 * high, 2 / height)
        found = np.maximum(found, np.exp(-(off_x**2 + off_y**2)))
    return np.asarray(found, np.float32)


def find_subject(pixels_HWC: Pixels, weight: Plane) -> Subject:
    """The subject cut out of its ground, and how far that is to be believed."""
    small = _shrunk(pixels_HWC, CUT_PX)
    height, width = small.shape[:2]
    heavy = cv2.resize(weight, (width, height), interpolation=cv2.INTER_LINEAR)
    if _spread(weight) > _EVERYWHERE:
        return Subject(np.zeros((height, width), np.float32), 0.0, {"stands out": 0.0})
    masks: list[Mask] = []
    for share in (0.88, 0.80, 0.93):
        grown = _grown(small, heavy, share)
        masks += [] if grown is None else [grown]
        if grown is None or _agree(masks) <= 0:  # all else would be in vain
            return Subject(np.zeros((height, width), np.float32), 0.0, {"agree": 0.0})
    votes = np.sum(masks, axis=0)
    mask = _one_thing(votes * 2 > len(masks))
    reasons = {
        "agree": _agree(masks),
        "colours": _apart(small, mask),
        "rim": _on_edges(small, mask),
        "whole": _whole(mask),
    }
    confidence = float(np.prod([np.clip(one, 0, 1) for one in reasons.values()]) ** (1 / len(reasons)))
    confidence = min(confidence, 1.15 * min(reasons.values()) + 0.1)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    soft = np.clip((guided(mask.astype(np.float32), grey, 4, 1e-3) - 0.15) / 0.7, 0, 1)
    return Subject(np.asarray(soft, np.float32), float(np.clip(confidence, 0, 1)), reasons)


def _spread(weight: Plane) -> float:
    """The share of the picture that holds most of the weight: about half of one without a subject."""
    heaviest = np.sort(weight.ravel())[::-1].cumsum()
    return float(np.searchsorted(heaviest, 0.6 * heaviest[-1])) / weight.size


def _shrunk(pixels: Pixels, short_px: int) -> Pixels:
    share = short_px / min(pixels.shape[:2])
    size = (max(8, round(pixels.shape[1] * share)), max(8, round(pixels.shape[0] * share)))
    found: Pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if share < 1 else cv2.INTER_LINEAR)
    return found


def _contrast(lab: Plane) -> Plane:
    """Difference to the surroundings at two sizes (after Itti, Koch, Niebur 1998)."""
    found = np.zeros(lab.shape[:2], np.float32)
    for near, wide in ((1.5, lab.shape[0] / 10), (3.0, lab.shape[0] / 4)):
        apart = cv2.GaussianBlur(lab, (0, 0), near) - cv2.GaussianBlur(lab, (0, 0), wide)
        found += np.linalg.norm(apart, axis=2)
    return np.asarray(found / max(float(np.quantile(found, 0.99)), 20.0), np.float32)


def _sharp(luma: Plane) -> Plane:
    """Fine detail: what the lens was focused on."""
    fine = np.abs(luma - cv2.GaussianBlur(luma, (0, 0), 1.2))
    spread = cv2.GaussianBlur(fine, (0, 0), 3.0)
    return np.asarray(spread / max(float(np.quantile(spread, 0.99)), 3.0), np.float32)


def _rare(lab: Plane) -> Plane:
    """Colours that little else in the picture has."""
    bins = np.clip((lab[..., 1:] - 96) / 8, 0, 7).astype(np.int32)
    index = bins[..., 0] * 8 + bins[..., 1]
    share = np.bincount(index.ravel(), minlength=64) / index.size
    return np.asarray(np.clip(1 - share[index] * 6, 0, 1), np.float32)


def _skin(pixels: Pixels) -> Plane:
    """Skin of any shade: a narrow range of hue at little saturation (after Chai and Ngan 1999)."""
    ycc = cv2.cvtColor(pixels, cv2.COLOR_RGB2YCrCb).astype(np.float32)
    cr, cb = ycc[..., 1], ycc[..., 2]
    found = ((cr > 136) & (cr < 173) & (cb > 80) & (cb < 126) & (ycc[..., 0] > 40)).astype(np.float32)
    return cv2.GaussianBlur(found, (0, 0), 1.5) if found.mean() < 0.4 else np.zeros_like(found)


def _middle(shape: tuple[int, ...]) -> Plane:
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    return np.asarray(0.35 + 0.65 * np.exp(-(x**2 / 0.9 + y**2 / 0.9)), np.float32)


def _grown(small: Pixels, heavy: Plane, share: float) -> Mask | None:
    """What GrabCut (Rother, Kolmogorov, Blake 2004) makes of the heaviest part; None where that is nothing or all."""
    high, low = np.quantile(heavy, 0.4 * share + 0.6), np.quantile(heavy, 0.45)
    said = np.full(heavy.shape, cv2.GC_PR_BGD, np.uint8)
    said[heavy > np.quantile(heavy, share - 0.2)] = cv2.GC_PR_FGD
    said[heavy >= max(float(high), 1e-3)] = cv2.GC_FGD
    said[heavy <= low] = cv2.GC_BGD if share > 0.85 else cv2.GC_PR_BGD
    rim = max(2, min(heavy.shape) // 60)
    said[:rim], said[:, :rim], said[:, -rim:] = cv2.GC_BGD, cv2.GC_BGD, cv2.GC_BGD
    if not (said == cv2.GC_FGD).any() or not (said == cv2.GC_BGD).any():
        return None
    cv2.setRNGSeed(1)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    try:
        cv2.grabCut(small, said, None, *models, _ROUNDS, cv2.GC_INIT_WITH_MASK)
    except cv2.error:  # too few colours to tell anything apart
        return None
    found = (said == cv2.GC_FGD) | (said == cv2.GC_PR_FGD)
    found[:rim], found[:, :rim], found[:, -rim:] = found[rim], found[:, rim : rim + 1], found[:, -rim - 1 : -rim]
    return found if 0.01 < found.mean() < 0.8 else None


def _one_thing(mask: Mask) -> Mask:
    """The largest connected part, closed, small holes filled."""
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(closed)
    if count < 2:
        return mask
    best = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    held = labels == best
    _, outside, sizes, _ = cv2.connectedComponentsWithStats((~held).astype(np.uint8))
    small = sizes[:, cv2.CC_STAT_AREA] < 0.01 * mask.size
    return np.asarray(held | (small[outside] & ~held))


def _agree(masks: list[Mask]) -> float:
    """The least overlap of any two, of their union."""
    found = [1.0]
    for n, one in enumerate(masks):
        for other in masks[n + 1 :]:
            found.append(float((one & other).sum()) / max(1.0, float((one | other).sum())))
    return (min(found) - 0.25) / 0.6


def _apart(small: Pixels, mask: Mask) -> float:
    """How little the colours of both sides have in common, near the rim."""
    near = cv2.dilate(mask.astype(np.uint8), np.ones((41, 41), np.uint8)) > 0
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)
    index = (lab[..., 0] // 16).astype(np.int32) * 256 + (lab[..., 1] // 16) * 16 + lab[..., 2] // 16

    def spread(where: Mask) -> NDArray[np.float64]:
        counted = np.bincount(index[where], minlength=4096).reshape(16, 16, 16).astype(np.float64)
        return np.asarray(cv2.GaussianBlur(counted.reshape(16, 256), (0, 0), 0.6).ravel() / max(1.0, counted.sum()))

    inside, outside = spread(mask), spread(near & ~mask)
    return (1 - float(np.minimum(inside, outside).sum()) - 0.35) / 0.5


def _on_edges(small: Pixels, mask: Mask) -> float:
    """The share of the rim that lies on an edge of the picture."""
    lab = cv2.GaussianBlur(cv2.cvtColor(small, cv2.COLOR_RGB2LAB), (0, 0), 1.0).astype(np.float32)
    step = np.linalg.norm(np.dstack([cv2.Sobel(lab, cv2.CV_32F, 1, 0), cv2.Sobel(lab, cv2.CV_32F, 0, 1)]), axis=2)
    best = cv2.dilate(step, np.ones((3, 3), np.uint8))
    solid = mask.astype(np.uint8)
    rim = (cv2.dilate(solid, np.ones((3, 3), np.uint8)) - cv2.erode(solid, np.ones((3, 3), np.uint8))) > 0
    rim[:2], rim[-2:], rim[:, :2], rim[:, -2:] = False, False, False, False
    if not rim.any():
        return 0.0
    return (float((best[rim] > max(40.0, float(np.quantile(step, 0.8)))).mean()) - 0.3) / 0.5


def _whole(mask: Mask) -> float:
    """Whether it is one thing of a sensible size that stands in the picture, on its lower edge if on any."""
    area = float(mask.mean())
    size = np.clip((area - 0.015) / 0.03, 0, 1) * np.clip((0.62 - area) / 0.12, 0, 1)
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return 0.0
    largest = max(contours, key=cv2.contourArea)
    hull = cv2.contourArea(cv2.convexHull(largest))
    solid = np.clip((cv2.contourArea(largest) / max(hull, 1.0) - 0.35) / 0.3, 0, 1)
    touching = np.concatenate([mask[3], mask[:, 3], mask[:, -4]]).mean()
    return float(size * solid * np.clip(1 - 3 * touching, 0, 1))
