"""How near everything in a picture is, from what there is to tell: a map, a mask, a model, or the picture alone.

A map is brought to the picture's own edges. Where nothing tells enough, the relief is flat, and says so. Start at
`relief_from_map`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from malan.core.errors import MediaError
from malan.media.motion.layers import guided
from malan.media.motion.opencv import cv2
from malan.media.motion.subject import Subject

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float32]
Origin = Literal["depth", "mask", "model", "subject", "flat"]

ENOUGH = 0.72  # confidence below which a subject is not believed: what was cut out wrongly by eye had 0.66 at most
WORK_PX = 540  # short side of a relief
_SAME_SHAPE = 0.03


@dataclass(frozen=True)
class Relief:
    """Nearness of the picture, (h, w), 0 farthest to 1 nearest, and where it is from.

    Args:
        confidence: 1 of what somebody gave; of a subject found in the picture, as far as it is to be believed.
        focus: The nearness that stands still.
    """

    near: Plane
    origin: Origin
    confidence: float = 1.0
    focus: float = 0.5

    @property
    def is_flat(self) -> bool:
        return self.origin == "flat"


def flat(size: tuple[int, int], confidence: float = 0.0) -> Relief:
    """No relief, of a picture of so much width and height."""
    return Relief(np.zeros(_work_size(size)[::-1], np.float32), "flat", confidence, 0.0)


def relief_from_map(pixels_HWC: Pixels, plane: Plane, origin: Origin = "depth", *, name: str = "") -> Relief:
    """A relief from a map of depth, bright near, of the picture's shape and any size.

    Raises:
        MediaError: It is of another shape, or the same everywhere.
    """
    check_shape(pixels_HWC, plane, name)
    size = _work_size(pixels_HWC.shape[1::-1])
    is_small = plane.shape[1] < size[0]
    near = cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR if is_small else cv2.INTER_AREA)
    low, high = (float(one) for one in np.quantile(near, (0.005, 0.995)))
    if high - low < 1e-4:
        raise MediaError("picture.even_map", name=name)
    near = np.clip((near - low) / (high - low), 0, 1).astype(np.float32)
    if is_small or origin == "model":
        grey = cv2.cvtColor(cv2.resize(pixels_HWC, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
        near = np.clip(guided(near, grey, 6, 4e-4), 0, 1).astype(np.float32)
    return Relief(near, origin, 1.0, _focus(near))


def relief_from_mask(pixels_HWC: Pixels, plane: Plane, *, name: str = "") -> Relief:
    """Two layers: what a mask marks white is in front.

    Raises:
        MediaError: It is of another shape, or marks everything or nothing.
    """
    check_shape(pixels_HWC, plane, name)
    inside = float((plane > 0.5).mean())
    if not 0.0005 < inside < 0.9995:
        raise MediaError("picture.even_map", name=name)
    return Relief(_staged(plane, pixels_HWC.shape[1::-1]), "mask", 1.0, 0.62)


def relief_from_subject(pixels_HWC: Pixels, subject: Subject) -> Relief:
    """The subject before its ground where it can be believed; else flat, with the confidence that was not enough."""
    size = pixels_HWC.shape[1::-1]
    if subject.confidence < ENOUGH:
        return flat(size, subject.confidence)
    return Relief(_staged(subject.mask, size), "subject", subject.confidence, 0.62)


def check_shape(pixels_HWC: Pixels, plane: Plane, name: str) -> None:
    """Raises:
    MediaError: A map is not of the picture's shape.
    """
    height, width = pixels_HWC.shape[:2]
    if abs((plane.shape[1] / plane.shape[0]) / (width / height) - 1) > _SAME_SHAPE:
        raise MediaError(
            "picture.other_shape", name=name, width=plane.shape[1], height=plane.shape[0],
            picture_width=width, picture_height=height,
        )  # fmt: skip


def _staged(mask: Plane, size: tuple[int, int]) -> Plane:
    """Something in front of a ground that comes nearer towards its lower edge; a little rounder than a board."""
    width, height = _work_size(size)
    front = cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA)
    solid = (front > 0.5).astype(np.uint8)
    inner = cv2.distanceTransform(solid, cv2.DIST_L2, cv2.DIST_MASK_5)
    round_ = np.clip(inner / (0.12 * min(width, height)), 0, 1)
    ground = np.linspace(0.05, 0.42, height, dtype=np.float32)[:, None] ** 1.0 + np.zeros((1, width), np.float32)
    near = 0.66 + 0.1 * np.sqrt(round_)
    return np.asarray(np.where(solid > 0, np.maximum(near, ground + 0.2), ground), np.float32)


def _focus(near: Plane) -> float:
    """Halfway between the ground and what stands before it, rather to the front: the subject should not swim."""
    low, high = (float(one) for one in np.quantile(near, (0.2, 0.9)))
    return 0.4 * low + 0.6 * high


def _work_size(size: tuple[int, int]) -> tuple[int, int]:
    share = min(1.0, WORK_PX / min(size))
    return max(2, round(size[0] * share)), max(2, round(size[1] * share))
