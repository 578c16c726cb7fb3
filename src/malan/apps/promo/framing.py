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

LINES = 96  # height of the frames that are looked at
_STILL = 0.06  # of the picture's width: a subject that moves less is framed without moving
_SMOOTH = 30.0
_KEPT = 0.72  # of the weight inside the window; below this the whole picture is shown on a blurred ground


@dataclass(frozen=True)
class Subject:
    """Where the weight of a picture lies: its middle and its spread, as shares; `profile` along x and y."""

    x: float
    y: float
    along_x: Floats
    along_y: Floats


def frame_shot(pictures: Pictures, times_s: Sequence[float], size: tuple[int, int], form: Format) -> View:
    """How to cut a shot to a format.

    Args:
        pictures: A few frames of it, (H, W, 3) RGB, small; all of one size.
        times_s: When each is shown, from the beginning of the shot.
        size: Width and height of the picture in pixels, as shown.
        form: What it is cut to.
    """
    width, height = window(size, form, 1.0)
    share_x, share_y = width / size[0], height / size[1]
    if share_x > 0.98 and share_y > 0.98 or not pictures:
        return View()
    subjects = subjects_of(pictures)
    if share_x <= share_y:
        centres = path([one.along_x for one in subjects], times_s, share_x)
        kept = _kept([one.along_x for one in subjects], centres, share_x)
        keys = [Key(at, x, 0.5) for at, x in zip(times_s, centres, strict=True)]
    else:
        centres = path([one.along_y for one in subjects], times_s, share_y)
        kept = _kept([one.along_y for one in subjects], centres, share_y)
        keys = [Key(at, 0.5, y) for at, y in zip(times_s, centres, strict=True)]
    if kept < _KEPT * min(1.0, max(share_x, share_y) + 0.25) and min(share_x, share_y) < 0.4:
        return View(is_whole=True)
    is_still = max(centres) - min(centres) < 1e-6
    return View((keys[0],) if is_still else tuple(keys))


def subjects_of(pictures: Pictures) -> list[Subject]:
    """The subject in each of several frames of one shot."""
    stack = np.stack([np.asarray(one, np.float32) for one in pictures])
    luma = stack @ np.asarray([0.299, 0.587, 0.114], np.float32)
    moving = _movement(luma)
    found = []
    for place, picture in enumerate(stack):
        weight = _salience(luma[place]) + 1.5 * moving[place] + 0.8 * _skin(picture)
        weight = _blur(weight, max(2, len(weight) // 24))
        weight = np.maximum(weight - 0.6 * weight.mean(), 0) + 1e-6
        weight *= _middle(weight.shape)
        weight /= weight.sum()
        along_x, along_y = weight.sum(axis=0), weight.sum(axis=1)
        centre_x = float((along_x * np.linspace(0, 1, len(along_x))).sum())
        centre_y = float((along_y * np.linspace(0, 1, len(along_y))).sum())
        found.append(Subject(centre_x, centre_y, along_x.astype(np.float64), along_y.astype(np.float64)))
    return found


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
