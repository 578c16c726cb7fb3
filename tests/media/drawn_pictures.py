"""Pictures drawn by rule, with their exact depth: a ball before hills, and files that are hard to read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def ball_before_hills(width: int = 960, height: int = 720) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A red ball before blue hills under a sky: RGB, and nearness from 0 to 1."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    rng = np.random.default_rng(3)
    picture = np.dstack([150 + 60 * y / height, 180 + 40 * y / height, 235 - 10 * y / height])
    depth = np.zeros((height, width), np.float32)
    for number, (near, colour) in enumerate(((0.25, (110, 130, 170)), (0.45, (70, 95, 130)))):
        line = height * (0.45 + 0.18 * number) + 0.05 * height * np.sin(x / width * 9 + 2 * number)
        hill = y > line
        grain = 18 * np.sin(x / 5.0 + number) * np.sin(y / 7.0)
        picture = np.where(hill[..., None], np.asarray(colour) + grain[..., None], picture)
        depth = np.where(hill, near, depth)
    ball = (x - 0.55 * width) ** 2 + (y - 0.6 * height) ** 2 < (0.2 * height) ** 2
    shade = 30 * np.sin(x / 9.0) + 20 * np.cos(y / 11.0)
    picture = np.where(ball[..., None], np.dstack([190 + shade, 50 + 0 * x, 40 + 0 * x]), picture)
    depth = np.where(ball, 0.9, depth)
    picture = picture + rng.normal(0, 1.5, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8), depth.astype(np.float32)


def plain_texture(width: int = 640, height: int = 480) -> NDArray[np.uint8]:
    """Patches of any colour, without a subject."""
    rng = np.random.default_rng(5)
    coarse = rng.random((height // 20, width // 20, 3))
    return (np.kron(coarse, np.ones((20, 20, 1))) * 255).astype(np.uint8)


def vase_on_a_plain_ground(width: int = 640, height: int = 480) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A yellow vase before a grey wall: RGB, and where the vase is."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    vase = ((x - 0.47 * width) / (0.14 * width)) ** 2 + ((y - 0.55 * height) / (0.34 * height)) ** 2 < 1
    picture = np.dstack([120 + 20 * x / width, 125 + 20 * x / width, 130 + 20 * y / height])
    folds = 15 * np.sin(x / 6.0)
    picture = np.where(vase[..., None], np.dstack([210 + folds, 160 + folds, 30 + 0 * x]), picture)
    picture = picture + np.random.default_rng(4).normal(0, 2, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8), vase
