"""Where the frame looks when a picture is cut to another shape: on the subject, on a path that does not jerk.

    a few small frames of a shot ─ movement, contrast to the surroundings, skin ─▶ weight of each place
        ─ best window at each moment ─▶ path: still if it can be, else the smoothest that keeps the subject inside

Start reading at `frame_shot`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from malan.media.render import Format, Key, View
from malan.media.render.graph import window

Floats = NDArray[np.float64]
Pictures = Sequence[NDArray[np.uint8]]
Box = tuple[float, float, float, float]

VERSION = 2  # of what is framed how; what was remembered of another is forgotten
LINES = 96  # height of the frames that are looked at
_STILL = 0.06  # of the picture's width: a subject that moves less is framed without moving
_SMOOTH = 30.0
_NARROW, _KEPT = 0.4, 0.46  # a narrow window that keeps less of the weight shows the whole on a blurred ground instead


@dataclass(frozen=True)
class Subject:
    """Where the weight of a picture lies: its middle and its spread, as shares; `profile` along x and y."""

    x: float
    y: float
    along_x: Floats
    along_y: Floats


def frame_shot(
    pictures: Pictures,
    times_s: Sequence[float],
    size: tuple[int, int],
    form: Format,
    active: Box = (0.0, 0.0, 1.0, 1.0),
) -> View:
    """How to cut a shot to a format.

    Args:
        pictures: A few frames of it, (H, W, 3) RGB, small; all of one size.
        times_s: When each is shown, from the beginning of the shot.
        size: Width and height of the picture in pixels, as shown.
        form: What it is cut to.
        active: The picture without black bars, as shares (x, y, width, height).
    """
    left, top, wide, high = active
    inner = (round(size[0] * wide), round(size[1] * high))
    width, height = window(inner, form, 1.0)
    share_x, share_y = width / inner[0], height / inner[1]
    zoom = window(size, form, 1.0)[0] / width
    if not pictures or min(share_x, share_y) > 0.98:
        return View((Key(0.0, left + wide / 2, top + high / 2),), zoom)
    subjects = subjects_of([_inside(picture, active) for picture in pictures])
    along_x = share_x <= share_y
    profiles = [one.along_x if along_x else one.along_y for one in subjects]
    share = min(share_x, share_y)
    centres = path(profiles, times_s, share)
    if share < _NARROW and _kept(profiles, centres, share) < _KEPT:
        return View((Key(0.0, left + wide / 2, top + high / 2),), is_whole=True)
    keys = [
        Key(at, left + wide * (centre if along_x else 0.5), top + high * (0.5 if along_x else centre))
        for at, centre in zip(times_s, centres, strict=True)
    ]
    is_still = max(centres) - min(centres) < 1e-6
    return View((keys[0],) if is_still else tuple(keys), zoom)


def _inside(picture: NDArray[np.uint8], active: Box) -> NDArray[np.uint8]:
    """A picture without its bars."""
    height, width = picture.shape[:2]
    x, y, wide, high = active
    return picture[round(y * height) : round((y + high) * height), round(x * width) : round((x + wide) * width)]


def subjects_of(pictures: Pictures) -> list[Subject]:
    """The subject in each of several frames of one shot."""
    stack = np.stack([np.asarray(one, np.float32) for one in pictures])
    luma = stack @ np.asarray([0.299, 0.587, 0.114], np.float32)
    moving = _movement(luma)
    found = []
    for place, picture in enumerate(stack):
        trust = _trust(moving[place])
        weight = (
            (1 - 0.9 * trust) * (_salience(luma[place]) + 1.2 * _rare(picture))
            + (1.5 + 4 * trust) * moving[place]
            + 0.8 * _skin(picture)
        )
        weight = _blur(weight, max(2, len(weight) // 24))
        weight = np.maximum(weight - 0.6 * weight.mean(), 0) + 1e-6
        weight *= _middle(weight.shape)
        weight /= weight.sum()
        along_x, along_y = weight.sum(axis=0), weight.sum(axis=1)
        centre_x = float((along_x * np.linspace(0, 1, len(along_x))).sum())
        centre_y = float((along_y * np.linspace(0, 1, len(along_y))).sum())
        found.append(Subject(centre_x, centre_y, along_x.astype(np.float64), along_y.astype(np.float64)))
    return found


def _trust(moving: NDArray[np.float32]) -> float:
    """How far movement alone tells the subject: much where little of the picture moves, and clearly."""
    share = float((moving > 0.25).mean())
    return float(np.clip((0.22 - share) / 0.12, 0, 1) * np.clip(share / 0.002, 0, 1))


def path(profiles: Sequence[Floats], times_s: Sequence[float], share: float) -> list[float]:
    """The middle of a window along one side, at each moment: the place that keeps the most, moved as little as can be.

    Args:
        profiles: The weight along the side at each moment, each adding to one.
        times_s: The moments, rising.
        share: How much of the side the window covers.
    """
    gains = np.stack([_gain(profile, share) for profile in profiles])  # (T, places)
    places = np.linspace(share / 2, 1 - share / 2, gains.shape[1])
    together = gains.mean(axis=0)
    still = int(np.argmax(together))
    wished = places[np.argmax(gains, axis=1)]
    loss = (gains.max(axis=1) - gains[:, still]).max()
    if wished.max() - wished.min() < _STILL or loss < 0.08:
        return [float(places[still])] * len(profiles)
    return _smooth(wished, gains.max(axis=1), np.asarray(times_s, np.float64), share)


def _smooth(wished: Floats, weight: Floats, times_s: Floats, share: float) -> list[float]:
    """Least squares between what is wished and even movement: the second difference is what the eye minds."""
    count = len(wished)
    second = np.zeros((max(0, count - 2), count))
    for row in range(count - 2):
        second[row, row : row + 3] = (1, -2, 1)
    first = np.diff(np.eye(count), axis=0)
    trust = np.diag(np.clip(weight / max(weight.max(), 1e-9), 0.1, 1))
    steps = float(np.median(np.diff(times_s))) if count > 1 else 1.0
    matrix = trust + _SMOOTH * second.T @ second + 0.3 * min(1.0, 0.25 / max(steps, 1e-3)) * first.T @ first
    found = np.linalg.solve(matrix, trust @ wished)
    return [float(one) for one in np.clip(found, share / 2, 1 - share / 2)]


def _gain(profile: Floats, share: float) -> Floats:
    """What a window keeps of the weight, by where it stands."""
    total = np.concatenate([[0.0], np.cumsum(profile)])
    length = len(profile)
    starts = np.linspace(0, (1 - share) * length, 48)
    ends = starts + share * length
    spots = np.arange(length + 1)
    return np.asarray(np.interp(ends, spots, total) - np.interp(starts, spots, total))


def _kept(profiles: Sequence[Floats], centres: Sequence[float], share: float) -> float:
    """The least of what the window keeps, over time."""
    kept = []
    for profile, centre in zip(profiles, centres, strict=True):
        length = len(profile)
        total = np.concatenate([[0.0], np.cumsum(profile)])
        ends = np.interp([(centre + share / 2) * length, (centre - share / 2) * length], np.arange(length + 1), total)
        kept.append(ends[0] - ends[1])
    return float(np.mean(kept))


def _movement(luma: NDArray[np.float32]) -> NDArray[np.float32]:
    """What moves otherwise than the picture as a whole."""
    if len(luma) < 2:
        return np.zeros_like(luma)
    change = np.abs(np.diff(luma, axis=0))
    change = np.concatenate([change[:1], np.maximum(change[:-1], change[1:]), change[-1:]])
    middle = np.median(change, axis=(1, 2), keepdims=True)
    strong = np.maximum(change - 2 * middle - 4, 0)
    return np.asarray(strong / max(float(strong.max()), 24.0), np.float32)


def _salience(luma: NDArray[np.float32]) -> NDArray[np.float32]:
    """Contrast to the surroundings at two sizes (after Itti, Koch, Niebur 1998), and sharpness."""
    small, wide = _blur(luma, 2), _blur(luma, max(6, len(luma) // 6))
    contrast = np.abs(small - wide)
    edges = np.abs(np.gradient(luma, axis=0)) + np.abs(np.gradient(luma, axis=1))
    found = contrast / max(float(contrast.max()), 16.0) + _blur(edges, 3) / max(float(edges.max()), 32.0)
    return np.asarray(found, np.float32)


def _rare(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Where the colour stands out from that of the picture as a whole."""
    red, green, blue = picture[..., 0], picture[..., 1], picture[..., 2]
    chroma = np.stack([0.5 * red - 0.419 * green - 0.081 * blue, 0.5 * blue - 0.169 * red - 0.331 * green])
    away = np.sqrt(((chroma - np.median(chroma, axis=(1, 2), keepdims=True)) ** 2).sum(axis=0))
    spread = np.median(away)
    strong = np.maximum(away - 2 * spread - 6, 0)
    share = float((strong > 0).mean())
    return np.asarray(strong / max(float(strong.max()), 40.0) * np.clip((0.4 - share) / 0.3, 0, 1), np.float32)


def _skin(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Where the colour is that of skin, of any shade, in the chroma of BT.601."""
    red, green, blue = picture[..., 0], picture[..., 1], picture[..., 2]
    cb = 128 - 0.169 * red - 0.331 * green + 0.5 * blue
    cr = 128 + 0.5 * red - 0.419 * green - 0.081 * blue
    inside = (cb > 77) & (cb < 127) & (cr > 135) & (cr < 173) & (red > green) & (red > 50)
    share = inside.mean()
    return np.asarray(inside * (1.0 if share < 0.35 else 0.2), np.float32)


def _middle(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """People put what matters near the middle: a gentle preference."""
    y, x = (np.linspace(-1, 1, side) for side in shape)
    return np.asarray(0.55 + 0.45 * np.exp(-(x[None, :] ** 2 / 0.9 + y[:, None] ** 2 / 1.2)), np.float32)


def _blur(picture: NDArray[np.float32], radius: int) -> NDArray[np.float32]:
    """A box blur along both sides."""
    found = picture
    for axis in (0, 1):
        padded = np.pad(found, [(radius + 1, radius) if one == axis else (0, 0) for one in (0, 1)], mode="edge")
        total = np.cumsum(padded, axis=axis, dtype=np.float64)
        size = found.shape[axis]
        low = np.take(total, range(size), axis=axis)
        high = np.take(total, range(2 * radius + 1, 2 * radius + 1 + size), axis=axis)
        found = np.asarray((high - low) / (2 * radius + 1), np.float32)
    return found
